/*
 * sim.c - the simulated world: actors by a seeded scheduler, a clock moved by hand.
 *
 * The idea is FoundationDB's: the same code as in production, on one thread, with every choice drawn from a
 * seed (Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key Value Store", SIGMOD 2021,
 * section 4). The disk: sim_disk.c.
 * SPDX-License-Identifier: MIT
 */
#include "os/sim.h"

#include <errno.h>

#include "base/assert.h"
#include "base/hash.h"
#include "os/sim_int.h"

#define STEP_NS_MAX 2000u
#define FREEZE_NS_MAX UINT64_C(1000000000)
#define ACTORS_MAX 128u

struct sim_actor {
    struct actor *actor;
    uint64_t wish;
    uint64_t frozen_until;
    bool woken;
};

/* splitmix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014. */
uint64_t sim_random(struct sim *sim)
{
    uint64_t z = (sim->random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void sim_trace(struct sim *sim, uint64_t n)
{
    sim->trace = (sim->trace ^ n) * 0x100000001b3u;
}

uint64_t sim_choose(struct sim *sim, uint64_t n)
{
    return n ? sim_random(sim) % n : 0;
}

uint64_t sim_trace_hash(const struct sim *sim)
{
    return sim->trace;
}

/* ---- the table of calls: time, randomness, actors; no sockets ---- */

static uint64_t env_mono(struct env *env)
{
    return ((struct sim *)env->self)->now_ns;
}

static int64_t env_wall(struct env *env)
{
    struct sim *sim = env->self;
    return sim->wall_ms +
           (int64_t)((sim->now_ns - sim->wall_since_ns) / 1000u * sim->wall_rate / 1000000u);
}

static uint32_t chance_find(struct sim *sim, const char *name)
{
    uint32_t place = 0;
    while (place < sim->chance_count && strcmp(sim->chances[place].name, name) != 0) place++;
    return place;
}

/* Points are chosen by name and seed, so that a run takes some often and never others: a swarm, not a soup. */
static bool env_chance(struct env *env, const char *name)
{
    struct sim *sim = env->self;
    uint32_t at = (uint32_t)((uintptr_t)name * 0x9e3779b1u >> 7) % SIM_CHANCE_PLACES;
    while (sim->chance_places[at].name != NULL && sim->chance_places[at].name != name)
        at = (at + 1) % SIM_CHANCE_PLACES;
    if (sim->chance_places[at].name == NULL) {
        sim->chance_places[at].name = name;
        sim->chance_places[at].place = chance_find(sim, name);
    }
    struct sim_chance *c = &sim->chances[sim->chance_places[at].place];
    if (c->name == NULL) {
        ASSERT(sim->chance_count < SIM_CHANCES_MAX);
        static const uint32_t rates[] = { 2, 10, 50, 200, 500 };
        uint64_t hash = hash64(sim->chance_seed, name, strlen(name));
        sim->chance_count++;
        *c = (struct sim_chance){ .name = name,
                                  .per_mille = hash % 4 == 0 ? rates[(hash >> 8) % 5] : 0 };
    }
    if (c->per_mille == 0 || sim_choose(sim, 1000) >= c->per_mille) return false;
    c->taken++;
    return true;
}

static uint64_t env_random(struct env *env)
{
    return sim_random(env->self);
}

static struct sim_actor *find(struct sim *sim, const struct actor *actor)
{
    for (uint32_t i = 0; i < sim->actor_count; i++) {
        if (sim->actors[i].actor == actor) return &sim->actors[i];
    }
    return NULL;
}

static int env_actor_start(struct env *env, struct actor *actor)
{
    struct sim *sim = env->self;
    if (sim->actor_count == ACTORS_MAX) return -EAGAIN;
    sim->actors[sim->actor_count++] = (struct sim_actor){ .actor = actor, .woken = true };
    return 0;
}

static void env_actor_wake(struct env *env, struct actor *actor)
{
    struct sim_actor *a = find(env->self, actor);
    if (a != NULL) a->woken = true;
}

static void env_actor_stop(struct env *env, struct actor *actor)
{
    struct sim *sim = env->self;
    struct sim_actor *a = find(sim, actor);
    if (a == NULL) return;
    *a = sim->actors[--sim->actor_count];
}

static int no_listen(struct env *env, const char *host, int port)
{
    return -ENOSYS;
}
static int no_fd(struct env *env, int fd)
{
    return -ENOSYS;
}
static int64_t no_recv(struct env *env, int fd, void *bytes, size_t len)
{
    return -ENOSYS;
}
static int64_t no_send(struct env *env, int fd, const void *bytes, size_t len)
{
    return -ENOSYS;
}
static bool no_sock_calls(struct env *env, struct actor *actor, struct env_sock_call *calls,
                          int count)
{
    for (int i = 0; i < count; i++) calls[i].done = -ENOSYS;
    return false;
}
static void no_close(struct env *env, int fd)
{
}
static int no_poll_add(struct env *env, struct actor *actor, int fd, void *user, bool write)
{
    return -ENOSYS;
}
static int no_poll_change(struct env *env, struct actor *actor, int fd, void *user, bool read,
                          bool write)
{
    return -ENOSYS;
}
static void no_poll_remove(struct env *env, struct actor *actor, int fd)
{
}
static int no_poll_wait(struct env *env, struct actor *actor, struct env_event *events, int max,
                        uint64_t until_ns)
{
    return -ENOSYS;
}

struct sim *sim_create(uint64_t seed)
{
    struct sim *sim = mem_alloc(sizeof(*sim));
    sim->random_state = seed * 0x9e3779b97f4a7c15u + 1;
    sim->trace = 0xcbf29ce484222325u ^ seed;
    sim->now_ns = 1000000;
    sim->wall_ms = INT64_C(1700000000000);
    sim->wall_rate = 1000;
    sim->chance_seed = seed;
    sim->actors = mem_alloc(ACTORS_MAX * sizeof(struct sim_actor));
    sim->env = (struct env){ .self = sim,
                             .cuts_turns = true,
                             .mono_ns = env_mono,
                             .wall_ms = env_wall,
                             .random = env_random,
                             .thread_cpu_ns = env_mono,
                             .actor_start = env_actor_start,
                             .actor_wake = env_actor_wake,
                             .actor_pass = env_actor_wake,
                             .actor_stop = env_actor_stop,
                             .listen = no_listen,
                             .local_port = no_fd,
                             .accept = no_fd,
                             .recv = no_recv,
                             .send = no_send,
                             .sock_calls = no_sock_calls,
                             .sock_close = no_close,
                             .poll_add = no_poll_add,
                             .poll_change = no_poll_change,
                             .poll_remove = no_poll_remove,
                             .poll_wait = no_poll_wait };
    sim_disk_env(sim);
    return sim;
}

void sim_destroy(struct sim *sim)
{
    sim_disk_free(sim);
    mem_free(sim->actors);
    mem_free(sim);
}

struct env *sim_env(struct sim *sim)
{
    return &sim->env;
}

/* ---- running ---- */

/* One turn; a crash in it comes back here. Kept apart, so that no local lives across the jump. */
static void step_actor(struct sim *sim, uint32_t index)
{
    struct sim_actor *a = &sim->actors[index];
    struct actor *actor = a->actor;
    a->woken = false;
    uint64_t wish = actor->turn(actor->self);
    a = find(sim, actor); /* turns may start and stop actors */
    if (a == NULL) return;
    a->wish = wish;
    if (wish == 0) a->woken = true;
}

bool sim_step(struct sim *sim)
{
    uint32_t due[ACTORS_MAX], count = 0;
    if (sim->crashed) return false;
    for (uint32_t i = 0; i < sim->actor_count; i++) {
        struct sim_actor *a = &sim->actors[i];
        if (a->frozen_until > sim->now_ns) continue;
        if (a->woken || a->wish <= sim->now_ns) due[count++] = i;
    }
    if (count == 0) return false;
    uint32_t chosen = due[sim_choose(sim, count)];
    sim_trace(sim, chosen);
    if (sim->faulty && sim_fault(sim, SIM_FREEZE)) {
        sim->actors[chosen].frozen_until = sim->now_ns + sim_choose(sim, FREEZE_NS_MAX);
        return true;
    }
    sim->now_ns += sim_choose(sim, STEP_NS_MAX);
    sim->jump_set = true;
    if (setjmp(sim->jump) == 0) step_actor(sim, chosen);
    sim->jump_set = false;
    return !sim->crashed;
}

bool sim_advance(struct sim *sim, uint64_t max_ns)
{
    uint64_t next = ENV_NEVER;
    for (uint32_t i = 0; i < sim->actor_count; i++) {
        const struct sim_actor *a = &sim->actors[i];
        uint64_t wish = a->woken ? sim->now_ns : a->wish;
        if (wish < a->frozen_until) wish = a->frozen_until;
        if (wish < next && (a->woken || a->wish != ENV_NEVER)) next = wish;
    }
    if (next == ENV_NEVER) return false;
    uint64_t most = max_ns < ENV_NEVER - sim->now_ns ? sim->now_ns + max_ns : ENV_NEVER;
    uint64_t to = next < most ? next : most;
    if (to > sim->now_ns) sim->now_ns = to;
    return true;
}

bool sim_run(struct sim *sim, bool (*done)(void *arg), void *arg, uint64_t limit_ns)
{
    uint64_t end = limit_ns < ENV_NEVER - sim->now_ns ? sim->now_ns + limit_ns : ENV_NEVER;
    while (!done(arg)) {
        if (sim_step(sim)) continue;
        if (sim->crashed || sim->now_ns >= end) return false;
        if (!sim_advance(sim, end - sim->now_ns)) return done(arg);
    }
    return true;
}

void sim_clock_add(struct sim *sim, uint64_t ns)
{
    sim->now_ns += ns;
}

void sim_wall_jump(struct sim *sim, int64_t ms)
{
    sim->wall_ms += ms;
}

void sim_wall_rate(struct sim *sim, uint32_t per_mille)
{
    sim->wall_ms = env_wall(&sim->env);
    sim->wall_since_ns = sim->now_ns;
    sim->wall_rate = per_mille;
}

/* ---- what goes wrong by chance ---- */

bool sim_fault(struct sim *sim, enum sim_fault_kind kind)
{
    if (!sim->faulty || sim->faults.per_million[kind] == 0) return false;
    if (sim_choose(sim, 1000000) >= sim->faults.per_million[kind]) return false;
    sim->fired[kind]++;
    sim_trace(sim, 2000u + kind);
    return true;
}

void sim_faults_set(struct sim *sim, const struct sim_faults *faults)
{
    sim->faults = faults ? *faults : (struct sim_faults){ 0 };
    sim->faulty = false;
    for (int i = 0; i < SIM_FAULT_KINDS; i++) sim->faulty |= sim->faults.per_million[i] != 0;
}

uint64_t sim_faults_fired(const struct sim *sim, enum sim_fault_kind kind)
{
    return sim->fired[kind];
}

const char *sim_fault_name(enum sim_fault_kind kind)
{
    static const char *const names[] = {
#define X(name, text) #name,
        SIM_FAULTS(X)
#undef X
    };
    return names[kind];
}

void sim_chances(struct sim *sim, bool on)
{
    sim->env.chance = on ? env_chance : NULL;
}

void sim_chances_each(const struct sim *sim,
                      void (*each)(void *arg, const char *name, uint64_t taken), void *arg)
{
    for (uint32_t i = 0; i < sim->chance_count; i++)
        each(arg, sim->chances[i].name, sim->chances[i].taken);
}

void sim_on_operation(struct sim *sim, bool (*crash)(void *arg, uint64_t operation), void *arg)
{
    sim->on_operation = crash;
    sim->on_operation_arg = arg;
}

void sim_reseed(struct sim *sim, uint64_t seed)
{
    sim->random_state = sim->random_state * 31 + seed * 0x9e3779b97f4a7c15u + 1;
}

bool sim_guard(struct sim *sim, void (*fn)(void *arg), void *arg)
{
    sim->jump_set = true;
    if (setjmp(sim->jump) == 0) fn(arg);
    sim->jump_set = false;
    return !sim->crashed;
}

bool sim_crashed(const struct sim *sim)
{
    return sim->crashed;
}

/* The machine stops: actors and handles are gone, the disk keeps what the mode leaves of it. The next call of
 * dir_open() is the next start. */
void sim_crash(struct sim *sim, enum sim_crash_mode mode)
{
    sim_disk_crash(sim, mode);
    sim->actor_count = 0;
    sim->crashed = false;
    sim->crash_at = 0;
}

void sim_crash_now(struct sim *sim)
{
    enum sim_crash_mode mode = sim->crash_mode;
    sim_crash(sim, mode);
    sim->crashed = true;
    if (sim->jump_set) longjmp(sim->jump, 1);
}
