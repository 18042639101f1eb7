/*
 * sweep_events.c - logs of events in the simulated world, stopped at every file operation.
 *
 * A script appends events of a few keys to two logs, of which one is compacted by key, syncs and names heads as
 * checkpoints do, compacts step by step with appends and readers between the steps, and restarts. It is run once to count
 * its file operations; then for each operation and each way a crash may leave the disk it is run again up to there, half
 * the time with a second crash inside recovery. The log of epochs is played by the script: after a start all events are
 * appended again, and those that files hold are not taken twice. What must hold:
 *   - opening succeeds; an event is there once, in order, forward, backward and in every count;
 *   - of the compacted log there is what some compaction, at least the last one named for sure, and none else would have
 *     left: of the events up to where it went the newest of each key, but for keys that ended; and all above;
 *   - walks held over a compaction go on behind what they gave out.
 * A second sweep fails every operation instead.
 *
 *   sweep_events [--seed N] [--steps N] [--outcomes N] [--run KIND,AT,WAY]
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/sim.h"
#include "store/events.h"

#define LOGS 2u
#define KEYS 9u
#define EVENTS_MAX 4096u
#define BATCH_RUNS 64u
#define FILES_MAX 40u

enum kind { KIND_CRASH, KIND_FAULT, KIND_COUNT };

struct fact {
    struct event_id id;
    uint8_t key, len;
    bool gone; /* ends its key */
};

struct world {
    struct sim *sim;
    struct env *env;
    struct store *store;
    struct events *events;
    struct event_log *logs[LOGS];
    uint64_t seed, random;
    unsigned steps;
    bool faulty;
    struct fact facts[LOGS][EVENTS_MAX];
    uint32_t count[LOGS], cover; /* of log 0: events that the newest compaction took */
    uint32_t covers[EVENTS_MAX], cover_count; /* of each compaction, oldest first; 0: none */
    uint32_t named;                           /* the oldest of `covers` that a start may find */
    uint32_t taken;                           /* by the one that runs */
    struct event_walk walk;
    struct event_id walked;
    bool walking;
    uint64_t epoch;
    uint64_t compactions, opens, poisons, given_up, dropped;
    char why[400];
};

struct tally {
    _Atomic uint64_t runs, crashes, second_crashes, failed, compactions, poisons, given_up, dropped;
};

#define SWEEP_CRASH_MODES \
    SIM_KEEP_NOTHING, SIM_KEEP_RANDOM, SIM_KEEP_PREFIX_TORN, SIM_KEEP_ALL, SIM_KEEP_RANDOM, SIM_KEEP_PREFIX_TORN, SIM_KEEP_GARBLED, SIM_KILL
#include "sweep.h"

static const struct events_options options = { 200, 700, 900 };

/* ---- events, and what must be there of them ---- */

static struct event event_of(const struct fact *fact, char *bytes)
{
    bytes[0] = (char)('a' + fact->key);
    memset(bytes + 1, fact->gone ? 'x' : 'v', fact->len);
    return (struct event){ .id = fact->id,
                           .time_ms = (int64_t)fact->id.epoch * 10,
                           .key = { bytes, 1 },
                           .value = { bytes + 1, fact->len } };
}

static bool value_is_gone(void *arg, const struct event *e)
{
    return e->value.len > 0 && e->value.ptr[0] == 'x';
}

/* Whether event i is left by a compaction of the first `cover`. */
static bool stays(const struct world *w, uint32_t i, uint32_t cover)
{
    if (i >= cover) return true;
    const struct fact *facts = w->facts[0];
    if (facts[i].gone) return false;
    for (uint32_t k = i + 1; k < cover; k++)
        if (facts[k].key == facts[i].key) return false;
    return true;
}

static bool event_is(struct world *w, const struct event *e, const struct fact *fact)
{
    char bytes[300];
    struct event expected = event_of(fact, bytes);
    return event_id_cmp(e->id, fact->id) == 0 && e->time_ms == expected.time_ms &&
           str_eq(e->key, expected.key) && str_eq(e->value, expected.value);
}

/* The log holds exactly what a compaction of the first `cover` leaves; silently false when not. */
static bool log_holds(struct world *w, unsigned l, uint32_t cover, bool counts)
{
    struct event_walk walk;
    struct event e;
    uint32_t left = 0;
    bool good = true;
    event_walk_begin(&walk, w->logs[l], (struct event_id){ 0, 0 }, false);
    for (uint32_t i = 0; i < w->count[l] && good; i++) {
        if (l == 0 && !stays(w, i, cover)) continue;
        good = event_walk_next(&walk, &e) && event_is(w, &e, &w->facts[l][i]);
        left++;
    }
    good = good && !event_walk_next(&walk, &e) && walk.status == WEIR_OK;
    event_walk_end(&walk);
    if (!good || !counts) return good;
    struct event_log_info info;
    event_log_info(w->logs[l], &info);
    if (info.count != left) return fail(w, "the count is not that of the events", info.count, left);
    /* Backward, and counted from each. */
    event_walk_begin(&walk, w->logs[l], (struct event_id){ UINT64_MAX, UINT64_MAX }, true);
    uint64_t behind = 0;
    for (uint32_t i = w->count[l]; i-- > 0;) {
        if (event_log_count_after(w->logs[l], w->facts[l][i].id) != behind) {
            event_walk_end(&walk);
            return fail(w, "another count after an event", i, behind);
        }
        if (l == 0 && !stays(w, i, cover)) continue;
        behind++;
        if (!event_walk_next(&walk, &e) || !event_is(w, &e, &w->facts[l][i])) {
            event_walk_end(&walk);
            return fail(w, "another event, backward", i, cover);
        }
    }
    event_walk_end(&walk);
    return true;
}

/* ---- opening and judging ---- */

static void row_found(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
}

static void count_file(void *arg, const char *name)
{
    if (memcmp(name, "events-", 7) == 0) ++*(uint32_t *)arg;
}

static bool judge(struct world *w)
{
    uint32_t found = UINT32_MAX;
    for (uint32_t i = w->named; i < w->cover_count && found == UINT32_MAX; i++)
        if (log_holds(w, 0, w->covers[i], false)) found = i;
    if (found == UINT32_MAX)
        return fail(w, "no compaction leaves what is there: named, made", w->named, w->cover_count);
    w->cover_count = found + 1;
    w->named = found;
    w->cover = w->covers[found];
    for (unsigned l = 0; l < LOGS; l++)
        if (!log_holds(w, l, w->cover, true)) return fail(w, "a log is not what it was", l, w->cover);
    uint32_t files = 0;
    int dir = w->env->dir_open(w->env, "/data", false);
    w->env->dir_list(w->env, dir, count_file, &files);
    w->env->dir_close(w->env, dir);
    return files <= FILES_MAX || fail(w, "files pile up", files, 0);
}

static bool open_and_judge(struct world *w)
{
    struct store_recovery recovery;
    struct store_options store_options = { 4096, 16384, 0, 0 };
    char error[400] = "";
    enum weir_status st = WEIR_IO;
    w->walking = false;
    for (int tries = 0; tries < (w->faulty ? 2 : 1) && st != WEIR_OK; tries++) {
        w->events = NULL;
        st = store_open(w->env, "/data", &store_options, row_found, w, &w->store, &recovery, error,
                        sizeof(error));
        if (st == WEIR_OK) {
            st = events_open(w->store, &options, &w->events, error, sizeof(error));
            if (st != WEIR_OK) {
                store_abandon(w->store);
                w->store = NULL;
            }
        }
        if (st != WEIR_OK && st != WEIR_IO && st != WEIR_DISKFULL) break;
    }
    if (st != WEIR_OK) {
        fail(w, "a start is refused", st, 0);
        size_t len = strlen(w->why);
        snprintf(w->why + len, sizeof(w->why) - len, ": %s", error);
        return false;
    }
    w->opens++;
    for (unsigned l = 0; l < LOGS; l++) {
        w->logs[l] = events_log(w->events, (uint16_t)(l + 1), 0);
        for (uint32_t i = 0; i < w->count[l]; i++) {
            char bytes[300];
            struct event e = event_of(&w->facts[l][i], bytes);
            (void)event_log_append(w->logs[l], &e);
        }
    }
    return judge(w);
}

static bool restart(struct world *w, bool clean)
{
    struct store *store = w->store;
    if (w->walking) event_walk_end(&w->walk);
    events_close(w->events);
    w->events = NULL;
    w->store = NULL;
    if (clean) store_close(store);
    else store_abandon(store);
    return open_and_judge(w);
}

static bool poisoned(struct world *w, const char *what)
{
    if (!w->faulty) return fail(w, what, 0, 0);
    w->poisons++;
    return restart(w, false);
}

/* ---- the script ---- */

static bool append(struct world *w)
{
    w->epoch++;
    for (uint64_t n = 1 + draw(w, 12); n > 0; n--) {
        unsigned l = draw(w, 4) == 0;
        if (w->count[l] == EVENTS_MAX) return fail(w, "the script is too long", 0, 0);
        struct fact *fact = &w->facts[l][w->count[l]++];
        *fact = (struct fact){ .id = { w->epoch, 1000 - n },
                               .key = (uint8_t)draw(w, KEYS),
                               .len = (uint8_t)draw(w, draw(w, 9) == 0 ? 250 : 40),
                               .gone = draw(w, 8) == 0 };
        fact->gone = fact->gone && fact->len > 0;
        char bytes[300];
        struct event e = event_of(fact, bytes);
        if (!event_log_append(w->logs[l], &e)) return fail(w, "an event is not taken", l, w->count[l]);
        if (event_log_append(w->logs[l], &e)) return fail(w, "an event is taken twice", l, 0);
    }
    return true;
}

/* As the feed and the writer do: heads, a manifest with them, then files go. */
static bool name_heads(struct world *w)
{
    uint32_t made = w->cover_count - 1;
    store_event_heads(w->store, events_heads(w->events));
    enum weir_status st = store_name_events(w->store);
    if (st == WEIR_POISONED) return poisoned(w, "a manifest is refused");
    if (st != WEIR_OK) return w->faulty || fail(w, "a manifest fails", st, 0);
    w->named = made;
    events_named(w->events, store_events_named(w->store));
    return true;
}

static bool sync_all(struct world *w)
{
    enum weir_status st = events_sync(w->events);
    if (st == WEIR_POISONED) return poisoned(w, "a sync is refused");
    if (st != WEIR_OK) return w->faulty || fail(w, "a sync finds no room", st, 0);
    return name_heads(w);
}

static bool walk_some(struct world *w)
{
    struct event e;
    if (!w->walking) event_walk_begin(&w->walk, w->logs[0], w->walked = (struct event_id){ 0, 0 }, false);
    w->walking = true;
    for (uint64_t n = draw(w, 30); n > 0; n--) {
        if (!event_walk_next(&w->walk, &e)) {
            if (w->walk.status != WEIR_OK && !w->faulty) return fail(w, "a walk fails", w->walk.status, 0);
            /* At the end: nothing above what was given. */
            if (w->walk.status == WEIR_OK && event_log_count_after(w->logs[0], w->walked) != 0)
                return fail(w, "a walk ends before the end", w->walked.epoch, w->walked.n);
            event_walk_end(&w->walk);
            w->walking = false;
            return true;
        }
        if (event_id_cmp(e.id, w->walked) <= 0) return fail(w, "a walk goes back", e.id.epoch, e.id.n);
        /* Nothing that is there is left out. */
        uint64_t behind = event_log_count_after(w->logs[0], e.id);
        if (event_log_count_after(w->logs[0], w->walked) != behind + 1)
            return fail(w, "a walk leaves something out", e.id.epoch, e.id.n);
        w->walked = e.id;
    }
    return true;
}

static bool compact(struct world *w)
{
    struct event_compaction how = { .safe = { UINT64_MAX, UINT64_MAX },
                                    .before_ms = INT64_MAX,
                                    .bytes_min = 1,
                                    .memory_bytes = 1 << 20,
                                    .is_gone = value_is_gone,
                                    .gone_before_ms = INT64_MAX };
    uint32_t taken = w->count[0];
    enum weir_status st = event_log_compact(w->logs[0], &how);
    if (st == WEIR_NOMORE) return true;
    if (st == WEIR_POISONED) return poisoned(w, "a compaction poisons");
    if (st != WEIR_OK) return w->faulty || fail(w, "a compaction does not begin", st, 0);
    for (;;) {
        struct event_compacted figures;
        bool done;
        uint64_t opens = w->opens;
        st = events_compact(w->events, &done, &figures);
        if (st == WEIR_POISONED) return poisoned(w, "a compaction poisons");
        if (st != WEIR_OK) {
            w->given_up++;
            if (!w->faulty) return fail(w, "a compaction is given up", st, 0);
            return log_holds(w, 0, w->cover, true) || fail(w, "given up, and not as before", st, 0);
        }
        if (done) {
            w->compactions++;
            w->dropped += figures.events_before - figures.events_after;
            w->cover = w->covers[w->cover_count++] = taken;
            if (!log_holds(w, 0, taken, true)) return fail(w, "compaction leaves something else", taken, 0);
            return draw(w, 4) == 0 || name_heads(w);
        }
        uint64_t what = draw(w, 10);
        bool good = what == 0   ? append(w)
                    : what == 1 ? sync_all(w)
                    : what < 5  ? walk_some(w)
                                : events_write(w->events) || true;
        if (!good) return false;
        if (w->opens != opens) return true; /* poisoned, and started again */
    }
}

static bool step(struct world *w)
{
    uint64_t what = draw(w, 100);
    if (what < 55) return append(w);
    if (what < 65) return events_write(w->events) || true;
    if (what < 75) return sync_all(w);
    if (what < 82) return walk_some(w);
    if (what < 95) return compact(w);
    return restart(w, what < 98);
}

static void script(void *arg)
{
    struct world *w = arg;
    if (!open_and_judge(w)) return;
    for (unsigned i = 0; i < w->steps; i++)
        if (!step(w)) return;
    if (!sync_all(w) || !restart(w, true)) return;
}

static void reopen(void *arg)
{
    open_and_judge(arg);
}

static void go_on(void *arg)
{
    struct world *w = arg;
    if (append(w) && compact(w) && append(w) && sync_all(w)) (void)restart(w, false);
}

/* ---- one run ---- */

static struct world *world_create(uint64_t seed, unsigned steps, uint64_t way)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->sim = sim_create(seed * 1000003u + way);
    w->env = sim_env(w->sim);
    w->random = w->seed = seed;
    w->steps = steps;
    w->cover_count = 1; /* no compaction */
    return w;
}

/* What a machine that stopped had in memory is left to the end of the process. */
static void forget(struct world *w)
{
    w->store = NULL;
    w->events = NULL;
}

static void aftermath(struct world *w)
{
    if (w->why[0] == '\0' && w->store == NULL) sim_guard(w->sim, reopen, w);
    if (w->why[0] != '\0') return;
    sim_guard(w->sim, go_on, w);
    if (w->why[0] != '\0') return;
    power_cut(w, SIM_KEEP_NOTHING);
    sim_guard(w->sim, reopen, w);
}

struct sweep {
    uint64_t seed, outcomes;
    unsigned steps;
    bool one;
    uint64_t kind, at, way;
};

static bool run_one(const struct sweep *o, enum kind kind, uint64_t at, uint64_t way, struct tally *tally)
{
    struct world *w = world_create(o->seed, o->steps, way);
    if (kind == KIND_CRASH) run_crash(w, at, way, tally);
    else run_fault(w, at, way);
    bool good = w->why[0] == '\0';
    tally->runs++;
    tally->compactions += w->compactions;
    tally->poisons += w->poisons;
    tally->given_up += w->given_up;
    tally->dropped += w->dropped;
    if (!good) {
        tally->failed++;
        printf("FAIL %s\n  again: sweep_events --seed %llu --steps %u --run %d,%llu,%llu\n", w->why,
               (unsigned long long)o->seed, o->steps, (int)kind, (unsigned long long)at,
               (unsigned long long)way);
        fflush(stdout);
    }
    return good;
}

static uint64_t count_operations(const struct sweep *o, struct tally *tally)
{
    struct world *w = world_create(o->seed, o->steps, 0);
    sim_guard(w->sim, script, w);
    if (w->why[0] != '\0') {
        printf("FAIL without any crash: %s (seed %llu)\n", w->why, (unsigned long long)o->seed);
        tally->failed++;
    }
    return sim_operations(w->sim);
}

static void sweep(const struct sweep *o, enum kind kind, uint64_t operations, struct tally *tally)
{
    uint64_t ways = kind == KIND_CRASH ? o->outcomes : FAULTS;
    for (uint64_t first = 0; first < operations * ways && tally->failed == 0; first += BATCH_RUNS) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            for (uint64_t i = first; i < first + BATCH_RUNS && i < operations * ways; i++)
                if (!run_one(o, kind, 1 + i / ways, i % ways, tally)) _exit(1);
            _exit(0);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
            printf("FAIL a run ended by itself: status %d, runs %d,%llu ...\n", status, (int)kind,
                   (unsigned long long)(1 + first / ways));
            tally->failed++;
        }
    }
}

int main(int argc, char **argv)
{
    struct sweep o = { .seed = 1, .outcomes = MODES, .steps = 60 };
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0) o.seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--steps") == 0) o.steps = (unsigned)strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--outcomes") == 0) o.outcomes = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--run") == 0) {
            o.one = true;
            run_read(argv[i + 1], &o.kind, &o.at, &o.way);
        } else {
            fprintf(stderr, "usage: sweep_events [--seed N] [--steps N] [--outcomes N] [--run KIND,AT,WAY]\n");
            return 64;
        }
    }
    struct tally *tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED) return 71;
    if (o.one) return run_one(&o, (enum kind)o.kind, o.at, o.way, tally) ? 0 : 1;
    uint64_t operations = count_operations(&o, tally);
    for (int kind = 0; kind < KIND_COUNT; kind++) sweep(&o, (enum kind)kind, operations, tally);
    printf("sweep_events: seed %llu, %llu operations, %llu runs, %llu crashes, %llu of them twice; met %llu compactions that "
           "dropped %llu events, %llu given up, %llu poisoned\n",
           (unsigned long long)o.seed, (unsigned long long)operations, (unsigned long long)tally->runs,
           (unsigned long long)tally->crashes, (unsigned long long)tally->second_crashes,
           (unsigned long long)tally->compactions, (unsigned long long)tally->dropped,
           (unsigned long long)tally->given_up, (unsigned long long)tally->poisons);
    bool vacuous = tally->failed == 0 && (tally->compactions < 100 || tally->dropped < 100 || tally->given_up == 0 ||
                                          tally->poisons == 0 || tally->second_crashes == 0);
    if (vacuous) printf("FAIL nothing of interest was met\n");
    printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)(tally->runs - (tally->failed < tally->runs ? tally->failed : tally->runs)),
           (unsigned long long)(tally->failed + vacuous));
    return tally->failed || vacuous ? 1 : 0;
}
