/*
 * swarm.c - the whole engine, all shards, on one thread in a simulated world; a program that runs many seeds.
 *
 *   sim_swarm [--seed S] [--seeds N] [--seed-file FILE] [--budget SECONDS] [--twice] [--jobs N] [--report FILE]
 *   sim_swarm --sweep [--seed S] [--stride N] [--outcomes N] [--first OP] [--budget SECONDS] [--at OP,OUTCOME]
 *
 * A seed draws a plan: which work, which faults, which limits (plan_make()). It runs in lives: clients ask, faults
 * happen, the life ends by a crash, a kill, a close. Then faults stop, and within 120 simulated seconds everything
 * must be answered, delivered, fired: 60 for the last timers to be due, 60 for the rest. What is judged: README.md here.
 *
 * A sweep runs one script of several lives and, at each file operation, forks: the child's machine loses its power there,
 * in one of several ways, half the time once more inside recovery; it then goes on to the end of the same oracles.
 * SPDX-License-Identifier: MIT
 */
#include "swarm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "store/store_int.h"

#define MARKS_MAX 512
#define CHANCES_MAX 128
#define LIVENESS_NS (120 * SECOND_NS)
#define LIFE_NS (UINT64_C(7200) * SECOND_NS)
#define RUN_SECONDS_MAX 60 /* of processor time: longer is a run that does not end */

/* Sums over all runs; shared between processes. */
struct tally {
    _Atomic uint64_t runs, failed, simulated_ms, begun, ok, failures, refused, unknown, replays, commits, multi, tails, wounds, deaths, wait_die, no_wait, checkpoints,
        delivered, fired, opens, open_failures, poisons, frames, window_rows, window_late, latest, rot_seeds, rot_found, rot_cut, tidy, histories, states, seconds;
    _Atomic uint64_t faults[SIM_FAULT_KINDS], crashes[8], least_ok;
    _Atomic uint64_t marks[MARKS_MAX];
    struct {
        char name[48];
        _Atomic uint64_t taken, asked;
    } chances[CHANCES_MAX];
    _Atomic uint32_t chances_lock;
};

struct options {
    uint64_t seed, seeds, stride, outcomes, first, at, outcome, txns;
    double budget;
    unsigned jobs;
    bool twice, sweep, one, in_process, verbose, until_failure;
    const char *seed_file, *report, *checker;
};

static struct tally *tally;
static struct options options = { .seed = 1, .seeds = 1, .stride = 1, .outcomes = 8, .first = 1, .jobs = 2 };
static char checker_path[4096];
static int64_t blocks_before;
static struct sim *clock_sim; /* whose clock a handler sets back */

__attribute__((noreturn)) void wrong(struct world *w, const char *format, ...)
{
    va_list args;
    printf("FAIL seed %" PRIu64 ": ", w->seed);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n  again: %s\n", w->again);
    fflush(stdout);
    _exit(1);
}

/* A run that does not end is ended by SIGXCPU; a busy machine must not look like one. */
static void run_limit(void)
{
    struct rlimit limit = { RUN_SECONDS_MAX, RUN_SECONDS_MAX };
    setrlimit(RLIMIT_CPU, &limit);
}

/* ---- plans ---- */

uint64_t plan_draw(struct world *w, uint64_t n)
{
    uint64_t z = (w->draw += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return n ? z % n : z;
}

static bool flip(struct world *w, uint64_t in_ten)
{
    return plan_draw(w, 10) < in_ten;
}

static uint64_t pick(struct world *w, const uint64_t *values, size_t count)
{
    return values[plan_draw(w, count)];
}
#define PICK(w, ...)                                                                                                      \
    pick(w, (const uint64_t[]){ __VA_ARGS__ }, sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

static void plan_work(struct world *w)
{
    struct plan *p = &w->plan;
    for (int i = 0; i < 7; i++) p->kinds[i] = flip(w, 7);
    if (!p->kinds[OP_TRANSFER] && !p->kinds[OP_APPEND]) p->kinds[PICK(w, OP_TRANSFER, OP_APPEND, OP_WRITE)] = true;
    p->work = flip(w, 9);
    p->direct = flip(w, 6);
    p->box = flip(w, 7) || !p->work;
    p->thing = flip(w, 5);
    p->query = flip(w, 5);
    p->ids = flip(w, 6);
    p->misuse = flip(w, 4);
    p->refused = flip(w, 2);
    p->pauses = flip(w, 7);
    p->clients = (uint32_t)PICK(w, 1, 4, 8, 12, 24, 24);
    p->lives = 2 + (uint32_t)plan_draw(w, 6);
    p->txns = options.txns ? options.txns : 1400;
    box_plan = (struct box_plan){ .fail_one_in = p->refused ? 0 : PICK(w, 0, 16, 16, 5), .delay_max_ms = 1 + (int64_t)PICK(w, 400, 5000, 50000),
                                  .timer_step_ms = 1 };
}

/* Rates are drawn so that most lives get through, and each kind comes now and then. */
static void plan_faults(struct world *w)
{
    struct plan *p = &w->plan;
    static const enum sim_fault_kind kinds[] = { SIM_READ_EIO, SIM_WRITE_EIO, SIM_WRITE_ENOSPC, SIM_NAME_EIO, SIM_SYNC_EIO,
                                                 SIM_SYNC_ENOSPC, SIM_SYNC_REVERT, SIM_SYNC_LATE };
    p->tidy = flip(w, 3);
    p->crash = !p->tidy && flip(w, 8);
    p->kill = flip(w, 6);
    p->chances = flip(w, 6);
    p->clock = flip(w, 4);
    p->disk_full = flip(w, 3);
    if (flip(w, 6)) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
            if (flip(w, 3)) p->faults.per_million[kinds[i]] = (uint32_t)PICK(w, 300, 1000, 5000, 15000);
        }
    }
    if (flip(w, 3)) p->faults.per_million[SIM_SLOW] = (uint32_t)PICK(w, 1000, 20000);
    if (flip(w, 3)) p->faults.per_million[SIM_FREEZE] = (uint32_t)PICK(w, 20, 200, 1000);
    p->rot = plan_draw(w, 6) == 0;
    if (!p->rot) return;
    p->lives += 1;
    switch (plan_draw(w, 4)) {
    case 0: p->rot_faults.per_million[SIM_LATENT] = (uint32_t)PICK(w, 30000, 200000); break;
    case 1: p->rot_faults.per_million[SIM_LOST_WRITE] = (uint32_t)PICK(w, 10000, 60000); break;
    case 2: p->rot_faults.per_million[SIM_MISDIRECTED] = (uint32_t)PICK(w, 10000, 60000); break;
    default: p->flip = true; break;
    }
}

static void plan_limits(struct world *w)
{
    struct plan *p = &w->plan;
    struct engine_limits *l = &p->limits;
    uint64_t segment = PICK(w, 4096, 4096, 8192, 32768, 131072, 1048576);
    uint64_t most = segment * PICK(w, 1, 4, 16); /* zeros of big ones cost more than they find */
    p->store = (struct store_options){ segment, most < 1048576 ? most : 1048576, 0 };
    l->checkpoint_bytes_min = PICK(w, 2000, 6000, 20000, 60000, 500000);
    l->request_deadline_ms = PICK(w, 60000, 60000, 60000, 2000, 50);
    l->queue_wait_max_ms = PICK(w, 60000, 60000, 1000, 20);
    l->roots_max = PICK(w, 0, 0, 1, 2, 8);
    l->fibers_max = PICK(w, 0, 0, 12, 40);
    l->epoch_bytes_max = PICK(w, 0, 0, 1, 300, 5000);
    l->requests_max = PICK(w, 0, 0, 0, 1, 4);
    l->messages_pending_max = p->refused ? 0 : PICK(w, 0, 0, 3, 20); /* what failed for good counts for ever */
    l->call_depth_max = PICK(w, 0, 0, 0, 8);
    l->message_attempts_max = p->refused ? PICK(w, 1, 2, 3) : 40;
    p->ring_capacity = (uint32_t)PICK(w, 0, 0, 1, 2, 8);
    p->short_window = plan_draw(w, 8) == 0;
    if (!p->short_window) return;
    /* Records go soon: so nothing may hold up a request long enough for its record to go before its answer. */
    l->dedup_window_ms = 90000;
    l->dedup_window_min_ms = 40000;
    l->dedup_rows_max = PICK(w, 0, 60);
    p->clock = p->disk_full = p->misuse = p->chances = false; /* a disk that is called full again and again, too */
    p->faults = (struct sim_faults){ 0 };
}

static void clock_back(int64_t ms)
{
    sim_wall_jump(clock_sim, -ms);
}

static void plan_events(struct world *w)
{
    struct plan *p = &w->plan;
    box_plan.streams = true;
    box_plan.keep = p->keep_bytes ? "6KB" : "forever";
    if (p->group && box_plan.fail_one_in == 5) box_plan.fail_one_in = 16;
    p->event_block_bytes = PICK(w, 300, 600, 2000, 0);
    p->event_file_bytes = PICK(w, 2000, 6000, 20000, 0);
    p->event_cache_bytes = PICK(w, 1000, 5000, 0);
    p->limits.follow_window = PICK(w, 0, 1, 8, 64);
    p->limits.retention_check_ms = PICK(w, 0, 5, 100);
}

static void plan_asks(struct world *w)
{
    struct plan *p = &w->plan;
    box_plan.asks = true;
    box_plan.timeout_ms = (int64_t)PICK(w, 1000, 5000, 0);
    box_plan.give_up_ms = (int64_t)PICK(w, 0, 0, 3000);
    box_plan.hooks = flip(w, 5);
    p->outside.in_flight_max = PICK(w, 0, 0, 1, 3);
    p->outside.calls_max = PICK(w, 0, 0, 2);
    p->outside.untaken_max = PICK(w, 0, 0, 1);
}

/* A tick sends a message for each run that was missed, as many as that may be. */
static void plan_schedules(struct world *w)
{
    struct plan *p = &w->plan;
    static const char *const every[] = { "7s", "30s", "5m" };
    static const int64_t every_ms[] = { 7000, 30000, 300000 };
    uint64_t draw = plan_draw(w, 3);
    box_plan.schedules = true;
    box_plan.every = every[draw];
    box_plan.every_ms = every_ms[draw];
    p->limits.messages_pending_max = 0;
}

static void plan_flows(struct world *w)
{
    struct plan *p = &w->plan;
    p->streams = flip(w, 5);
    p->keep_bytes = p->streams && plan_draw(w, 3) == 0;
    p->group = p->streams && !p->keep_bytes && flip(w, 6);
    p->asks = flip(w, 3);
    p->schedules = flip(w, 3);
    box_plan.timer_step_ms = (int64_t)PICK(w, 1, 50, 500);
    if (!p->short_window && plan_draw(w, 4) == 0) box_plan.clock_back = clock_back;
    if (p->streams) plan_events(w);
    if (p->asks) plan_asks(w);
    if (p->schedules) plan_schedules(w);
    if (p->streams || p->asks) p->box = true;
    /* Limits that some of the work meets, never all of it. */
    p->limits.call_depth_max = PICK(w, 0, 0, 0, 3, 8);
    p->limits.entities_max = PICK(w, 0, 0, 0, 4);
    p->limits.sends_max = p->schedules || p->refused ? 0 : PICK(w, 0, 0, 0, 1);
    p->limits.answer_bytes_max = PICK(w, 0, 0, 0, 1);
    p->limits.memory_max = PICK(w, 0, 0, 0, 0, 0, 60000, 200000);
    if (plan_draw(w, 8) == 0) p->limits.fibers_max = 2;
    if (!p->rot || plan_draw(w, 3) != 0) return;
    p->cut = true;
    p->flip = false;
    p->rot_faults = (struct sim_faults){ 0 };
}

/* Compaction often and early, so that it is there before followers are. */
static void plan_compaction(struct world *w)
{
    struct engine_limits *l = &w->plan.limits;
    l->retention_check_ms = PICK(w, 1, 5, 100);
    l->compact_bytes_min = PICK(w, 1, 200, 4000);
    l->compact_dirty_percent = PICK(w, 1, 30, 60);
    l->compact_memory_bytes = PICK(w, 1, 100000);
    l->tombstone_keep_ms = PICK(w, 1, 1, 2000, 0);
}

static void plan_keeping(struct world *w)
{
    struct plan *p = &w->plan;
    static const char *const sizes[] = { "6KB", "1KB", "500B", "300ms", "20s" };
    if (p->keep_bytes) { /* small files, looked at often: what a follower has not done is the next to go */
        box_plan.keep = sizes[plan_draw(w, 5)];
        p->event_block_bytes = PICK(w, 100, 300, 600);
        p->event_file_bytes = PICK(w, 200, 500, 2000);
        p->limits.retention_check_ms = PICK(w, 1, 1, 5, 100);
        p->limits.follow_window = PICK(w, 1, 1, 8, 64);
        p->limits.checkpoint_bytes_min = PICK(w, 1000, 2000);
        if (p->limits.epoch_bytes_max == 1) p->limits.epoch_bytes_max = 300;
        box_plan.slow = true;
    }
    if (!p->streams || p->keep_bytes || plan_draw(w, 3) != 0) return;
    static const char *const latest[] = { "latest", "latest", "latest, 1s" };
    p->latest = box_plan.latest = true;
    box_plan.slow = flip(w, 3);
    box_plan.keep = latest[plan_draw(w, 3)];
    plan_compaction(w);
}

static void plan_windows(struct world *w)
{
    struct plan *p = &w->plan;
    static const char *const keeps[] = { "forever", "forever", "2KB", "latest" };
    if (!flip(w, 2)) return;
    p->windows = windows_draw(plan_draw(w, 0));
    p->windows_keep = keeps[plan_draw(w, 4)];
    p->windows_pace = (int64_t)PICK(w, 1, 3, 9);
    p->limits.follow_window = PICK(w, 0, 1, 8, 64);
    p->event_block_bytes = PICK(w, 300, 600, 2000, 0);
    p->event_file_bytes = PICK(w, 1000, 2000, 6000, 0);
    p->event_cache_bytes = PICK(w, 1000, 5000, 0);
    p->limits.follower_lag_max = PICK(w, 0, 0, 2, 30);
    if (!p->latest) plan_compaction(w);
}

static void plan_make(struct world *w)
{
    w->draw = w->seed * 0xd1342543de82ef95u + 7;
    plan_work(w);
    plan_faults(w);
    plan_limits(w);
    plan_flows(w);
    plan_keeping(w);
    plan_windows(w);
    /* Answers that are kept go early, then: not where somebody asks for one again much later. */
    if (!w->plan.clock && !w->plan.short_window && !w->plan.misuse && !w->plan.pauses)
        w->plan.limits.deferred_max = PICK(w, 0, 0, 4, 30);
    w->plan.policy = (enum conflict_policy)PICK(w, CONFLICT_WOUND_WAIT, CONFLICT_WOUND_WAIT, CONFLICT_WAIT_DIE, CONFLICT_NO_WAIT);
}

static void plan_print(const struct world *w)
{
    const struct plan *p = &w->plan;
    printf("plan:%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s, ops %d%d%d%d%d%d%d, %u clients, %u lives;%s%s%s%s%s%s%s%s%s, faults", p->work ? " work" : "",
           p->direct ? " direct" : "", p->box ? " box" : "", p->thing ? " thing" : "", p->query ? " query" : "", p->ids ? " ids" : "",
           p->misuse ? " misuse" : "", p->refused ? " refused" : "", p->pauses ? " pauses" : "", p->streams ? " streams" : "",
           p->keep_bytes || p->latest ? " kept as " : "", p->keep_bytes || p->latest ? box_plan.keep : "", p->group ? " group" : "", p->asks ? " asks" : "", p->schedules ? " schedules" : "", p->windows ? " windows" : "",
           box_plan.clock_back ? " clock-back" : "", p->kinds[0], p->kinds[1], p->kinds[2],
           p->kinds[3], p->kinds[4], p->kinds[5], p->kinds[6], p->clients, p->lives, p->crash ? " crash" : "", p->kill ? " kill" : "",
           p->tidy ? " tidy" : "", p->chances ? " chances" : "", p->disk_full ? " full" : "", p->clock ? " clock" : "",
           p->rot ? " rot" : "", p->flip ? " flip" : p->cut ? " cut" : "", p->short_window ? " short" : "");
    for (int i = 0; i < SIM_FAULT_KINDS; i++) {
        if (p->faults.per_million[i]) printf(" %s=%u", sim_fault_name((enum sim_fault_kind)i), p->faults.per_million[i]);
        if (p->rot_faults.per_million[i]) printf(" rot:%s=%u", sim_fault_name((enum sim_fault_kind)i), p->rot_faults.per_million[i]);
    }
    if (p->windows) printf("; windows %x, sources kept %s, pace %d", p->windows, p->windows_keep, (int)p->windows_pace);
    printf("; %s", conflict_policy_word(p->policy));
    printf("; segment %llu to %llu, ring %u, limits", (unsigned long long)p->store.segment_bytes_first,
           (unsigned long long)p->store.segment_bytes_max, p->ring_capacity);
#define X(name, value, text)                                                                                              \
    if (p->limits.name) printf(" " #name "=%llu", (unsigned long long)p->limits.name);
    ENGINE_LIMITS(X)
#undef X
    printf("\n");
}

/* The script of a sweep: all the work, small files, no faults but the power cuts. The stream is kept by size, for ever
 * with a group, as latest, for ever with windows beside it. */
static void plan_script(struct world *w)
{
    struct plan *p = &w->plan;
    unsigned kind = w->seed % 4;
    *p = (struct plan){ .work = true, .direct = true, .box = true, .thing = true, .query = true, .ids = true,
                        .streams = true, .asks = true, .schedules = true, .group = kind % 2 == 1, .keep_bytes = kind == 0, .latest = kind == 2,
                        .windows = kind == 3 ? windows_draw(w->seed * 37) : 0, .windows_keep = "1KB", .windows_pace = 9,
                        .event_block_bytes = 300, .event_file_bytes = 600, .event_cache_bytes = 2000,
                        .clients = 8, .lives = 4, .txns = options.txns ? options.txns : 320, .ring_capacity = 8 };
    for (int i = 0; i < 7; i++) p->kinds[i] = true;
    p->store = (struct store_options){ 4096, 8192, 0 };
    p->limits.checkpoint_bytes_min = 5000;
    p->limits.message_attempts_max = 40;
    p->limits.request_deadline_ms = p->limits.queue_wait_max_ms = 60000;
    p->limits.retention_check_ms = 5;
    p->limits.compact_bytes_min = p->limits.compact_dirty_percent = p->limits.tombstone_keep_ms = 1;
    box_plan = (struct box_plan){ .fail_one_in = 16, .delay_max_ms = 400, .timer_step_ms = 10, .streams = true, .asks = true,
                                  .schedules = true, .hooks = true, .latest = p->latest,
                                  .keep = p->keep_bytes ? "500B" : p->latest ? "latest" : "forever", .every = "7s", .every_ms = 7000,
                                  .timeout_ms = 1000 };
}

/* ---- the engine's lives ---- */

static void count_chance(void *arg, const char *name, uint64_t taken)
{
    for (int i = 0; i < CHANCES_MAX; i++) {
        if (tally->chances[i].name[0] == '\0') snprintf(tally->chances[i].name, sizeof(tally->chances[i].name), "%s", name);
        if (strcmp(tally->chances[i].name, name) != 0) continue;
        tally->chances[i].asked++;
        tally->chances[i].taken += taken;
        return;
    }
}

static void app_open(struct world *w)
{
    app_init(&w->app, catalog_create());
    if (history_app(&w->app) != WEIR_OK || box_app(&w->app) != WEIR_OK ||
        (w->plan.windows && windows_app(w) != WEIR_OK) || !app_finish(&w->app))
        wrong(w, "app: %s", w->app.why);
    struct type *account = catalog_type(w->app.catalog, STR("account")), *work = catalog_type(w->app.catalog, STR("work")),
                *box = catalog_type(w->app.catalog, STR("box")), *thing = catalog_type(w->app.catalog, STR("thing"));
    static const char *const names[] = { "make", "put", "drop", "look", "unmake" };
    w->work[HOW_RUN] = type_handler(work, STR("run"));
    w->work[HOW_LOOK] = type_handler(work, STR("look"));
    w->work[HOW_TRANSFER] = type_handler(account, STR("transfer"));
    w->act = type_handler(box, STR("act"));
    w->box_look = type_handler(box, STR("look"));
    w->flash = type_handler(thing, STR("flash"));
    w->meddle = type_handler(box, STR("meddle"));
    w->clock_look = type_handler(catalog_type(w->app.catalog, STR("clock")), STR("look"));
    static const char *const schedule_ops[] = { "run", "pause", "resume" };
    struct type *schedule = catalog_type(w->app.catalog, STR("_schedule"));
    for (int i = 0; i < 3; i++) w->schedule[i] = schedule ? type_handler(schedule, str_of(schedule_ops[i])) : NULL;
    for (int i = 0; i < 5; i++) w->thing[i] = type_handler(thing, str_of(names[i]));
}

static void app_close(struct world *w)
{
    app_deinit(&w->app);
    catalog_destroy(w->app.catalog);
    w->app.catalog = NULL;
}

struct opening {
    struct world *w;
    enum weir_status status;
    struct store_recovery recovery;
    char error[512];
};

static void engine_begin(void *arg)
{
    struct opening *o = arg;
    struct world *w = o->w;
    static const uint32_t shard_counts[] = { 1, 2, 4, 8, 3 };
    w->shards = shard_counts[sim_choose(w->sim, 5)];
    struct engine_options eo = { .env = w->env, .data = "data", .shards = w->shards,
                                 .threads = 1 + (uint32_t)sim_choose(w->sim, w->shards), .ports = 1 + (uint32_t)w->plan.asks,
                                 .catalog = w->app.catalog, .event_block_bytes = w->plan.event_block_bytes,
                                 .event_file_bytes = w->plan.event_file_bytes, .event_cache_bytes = w->plan.event_cache_bytes,
                                 .limits = w->plan.limits, .conflict_policy = w->plan.policy, .store = w->plan.store,
                                 .ring_capacity = w->plan.ring_capacity };
    o->status = engine_open(&eo, &w->engine, &o->recovery, o->error, sizeof(o->error));
}

/* The newest frame is the catalog's own, if this start was the first to use its names: then recovery ended before it. */
static void judge_opening(struct world *w, struct opening *o, unsigned lost)
{
    char why[400];
    w->opens++;
    if (o->recovery.damaged_checkpoints > 0 && !lost && w->plan.faults.per_million[SIM_READ_EIO] == 0)
        wrong(w, "%u damaged checkpoints by crashes alone", o->recovery.damaged_checkpoints);
    if (!model_recover(w->model, &o->recovery, lost, why, sizeof(why))) wrong(w, "%s", why);
    int64_t age = w->plan.short_window ? (int64_t)w->plan.limits.dedup_window_min_ms : 86400000;
    if (!model_compare(w->model, w->engine, age, why, sizeof(why))) wrong(w, "after recovery: %s", why);
    /* The engine's time stands still where the clock was set back: schedules begun then are due that much later. */
    int64_t now = atomic_load(&w->engine->now_ms);
    w->opened_ms = now;
    if (now > w->env->wall_ms(w->env) && now > w->born_ms) w->born_ms = now;
}

static void model_judge(struct world *w, const char *when)
{
    char why[400];
    int64_t age = w->plan.short_window ? (int64_t)w->plan.limits.dedup_window_min_ms : 86400000;
    if (model_wrong(w->model, why, sizeof(why))) wrong(w, "%s", why);
    if (!model_compare(w->model, w->engine, age, why, sizeof(why))) wrong(w, "%s: %s", when, why);
}

static void engine_run(struct world *w)
{
    w->actor = (struct actor){ .name = "clients", .turn = clients_turn, .self = w };
    w->port = engine_port(w->engine, 0, &w->actor);
    flows_begin(w);
    bank_open(w);
    if (w->born_ms == 0) w->born_ms = w->env->wall_ms(w->env);
    w->env->actor_start(w->env, &w->actor);
    engine_start(w->engine);
}

static void stats_take(struct world *w)
{
    struct engine_stats s;
    engine_stats(w->engine, &s);
    w->wounds += s.wounds_total;
    w->deaths += s.deaths_total;
    w->commits += s.commits_total;
    w->multi += s.multi_shard_total;
    w->tails += s.tail_commits_total;
    w->checkpoints += s.checkpoints_total;
    w->delivered += s.messages_delivered_total;
    w->fired += s.timers_fired_total;
    w->poisons += atomic_load(&w->engine->poisoned);
    model_saw(w->model, atomic_load(&w->engine->now_ms));
}

/* `whole`: it stopped between calls, so that its parts can be freed. */
static void engine_gone(struct world *w, bool whole)
{
    clients_lost(w);
    if (w->app.catalog == NULL) return; /* it never came to be */
    bank_close(w, whole && w->engine != NULL);
    if (w->engine != NULL) {
        stats_take(w);
        engine_abandon(w->engine);
    }
    w->engine = NULL;
    app_close(w);
}

static void engine_end(void *arg)
{
    struct world *w = arg;
    stats_take(w);
    w->env->actor_stop(w->env, &w->actor);
    bank_close(w, true);
    engine_close(w->engine);
    w->engine = NULL;
}

static bool is_stopped(void *arg)
{
    return ((struct world *)arg)->stop;
}

static bool is_drained(void *arg)
{
    struct world *w = arg;
    bool answered = asks_drain(w->flows.asks);
    return engine_drain(w->engine) && answered;
}

static bool is_poisoned(struct world *w)
{
    return w->engine != NULL && atomic_load(&w->engine->poisoned) != 0;
}

static bool stopped_or_poisoned(void *arg)
{
    struct world *w = arg;
    return w->stop || is_poisoned(w);
}

/* What adds to memory is refused, perhaps all that is left to do, and points taken by chance may keep shards turning meanwhile. */
#define REFUSED_STEPS 1000000u
static bool stopped_or_refused(void *arg)
{
    struct world *w = arg;
    return stopped_or_poisoned(w) || w->refused_steps++ >= REFUSED_STEPS;
}

enum ending { END_CRASH_AT, END_KILL_AT, END_CRASH, END_KILL, END_CLOSE, END_DRAIN, ENDINGS };
static const enum sim_crash_mode power_modes[] = { SIM_KEEP_NOTHING, SIM_KEEP_RANDOM, SIM_KEEP_PREFIX_TORN, SIM_KEEP_GARBLED, SIM_KEEP_ALL };

static enum sim_crash_mode power_mode(struct world *w)
{
    return power_modes[sim_choose(w->sim, 5)];
}

static enum ending ending_draw(struct world *w, bool careful)
{
    enum ending ends[ENDINGS + 1]; /* one of them may stand twice */
    unsigned n = 0;
    const struct plan *p = &w->plan;
    if (p->crash && !careful) ends[n++] = END_CRASH_AT, ends[n++] = END_CRASH_AT;
    if (p->kill && p->crash) ends[n++] = END_KILL_AT;
    if (!careful) ends[n++] = END_CRASH;
    if (p->kill) ends[n++] = END_KILL;
    ends[n++] = END_CLOSE;
    ends[n++] = END_DRAIN;
    return ends[sim_choose(w->sim, n)];
}

static void faults_off(struct world *w)
{
    sim_faults_set(w->sim, NULL);
    sim_disk_limit(w->sim, 0);
    w->disk_limit_until_ns = 0;
    w->pause_until_ns = 0;
    w->faults_on = false;
    box_plan.clock_back = NULL;
}

#define LOG_NAMES_MAX 400u
struct log_names {
    unsigned count;
    char names[LOG_NAMES_MAX][ENV_NAME_MAX];
};

/* A flip at rest, somewhere in some file. */
static void rot_flip(struct world *w)
{
    static const char *const kinds[] = { "log", "checkpoint", "manifest-a", "manifest-b", "events" };
    int dir = w->env->dir_open(w->env, "data", false);
    bool done = dir < 0;
    for (unsigned tries = 0; tries < 400 && !done; tries++) {
        char name[ENV_NAME_MAX], path[ENV_NAME_MAX + 8];
        uint64_t kind = sim_choose(w->sim, w->plan.streams ? 5 : 4);
        if (kind == 4) snprintf(name, sizeof(name), "events-0001-%08x", (unsigned)sim_choose(w->sim, 60));
        else if (kind < 2) snprintf(name, sizeof(name), "%s-%016llx", kinds[kind], (unsigned long long)sim_choose(w->sim, 200));
        else snprintf(name, sizeof(name), "%s", kinds[kind]);
        int fd = w->env->open(w->env, dir, name, ENV_READ);
        if (fd < 0) continue;
        int64_t size = w->env->size(w->env, fd);
        w->env->close(w->env, fd);
        snprintf(path, sizeof(path), "data/%s", name);
        done = size > 0 && sim_flip(w->sim, path, sim_choose(w->sim, (uint64_t)size), (int)sim_choose(w->sim, 8));
    }
    if (dir >= 0) w->env->dir_close(w->env, dir);
}

static void log_note(void *arg, const char *name)
{
    struct log_names *logs = arg;
    if (strncmp(name, "log-", 4) != 0 || logs->count == LOG_NAMES_MAX) return;
    snprintf(logs->names[logs->count++], ENV_NAME_MAX, "%s", name);
}

static void log_zero(struct world *w, int dir, const char *name, bool all)
{
    struct env *env = w->env;
    int fd = env->open(env, dir, name, ENV_WRITE);
    uint64_t size = fd >= 0 ? (uint64_t)env->size(env, fd) : 0, from = FILE_HEADER_BYTES;
    if (size <= FILE_HEADER_BYTES) return;
    if (!all) from += sim_choose(w->sim, size - FILE_HEADER_BYTES);
    char *zeros = calloc(1, size - from);
    if (zeros == NULL) abort();
    env->write(env, fd, zeros, size - from, from);
    env->sync(env, fd);
    env->close(env, fd);
    free(zeros);
}

/* Frames of its own, and not those of an earlier life of the file. */
static bool log_has_frames(struct world *w, int dir, const char *name)
{
    char bytes[FILE_HEADER_BYTES + 4];
    int fd = w->env->open(w->env, dir, name, ENV_READ);
    int64_t got = fd >= 0 ? w->env->read(w->env, fd, bytes, sizeof(bytes), 0) : 0;
    if (fd >= 0) w->env->close(w->env, fd);
    if (got < (int64_t)sizeof(bytes)) return false;
    return (file_flags(bytes) & FILE_RECYCLED) == 0 && memcmp(bytes + FILE_HEADER_BYTES, "WFRM", 4) == 0;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Part of the oldest of several segments reads as zeros: what comes behind does not fit any more. Or all of all do: the
 * manifest knows better. But not where the oldest is the current one, whose end nobody knows. */
static void rot_cut(struct world *w)
{
    struct log_names logs = { 0 };
    bool all = sim_choose(w->sim, 2);
    int dir = w->env->dir_open(w->env, "data", false);
    if (dir < 0) return;
    w->env->dir_list(w->env, dir, log_note, &logs);
    qsort(logs.names, logs.count, ENV_NAME_MAX, name_order);
    bool fits = logs.count >= 3 && log_has_frames(w, dir, logs.names[1]);
    for (unsigned i = 0; i < logs.count && fits; i++) {
        if (all || i == 0) log_zero(w, dir, logs.names[i], all);
    }
    w->env->dir_close(w->env, dir);
}

/* Opens until it works: with faults once or twice, then without. False: the machine crashed inside. */
static bool life_open(struct world *w, unsigned lost, bool *refused)
{
    struct opening o = { .w = w };
    uint64_t late = sim_faults_fired(w->sim, SIM_SYNC_LATE);
    *refused = false;
    for (unsigned tries = 0;; tries++) {
        /* What a late failure of the last try has lost only the page cache has: no power cut before it is written again. */
        if (sim_faults_fired(w->sim, SIM_SYNC_LATE) != late) sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
        app_open(w);
        w->engine = NULL;
        if (!sim_guard(w->sim, engine_begin, &o)) {
            w->engine = NULL;
            app_close(w);
            return false;
        }
        if (o.status == WEIR_OK) break;
        app_close(w);
        w->open_failures++;
        if (lost > 0) {
            if (o.status != WEIR_CORRUPT && o.status != WEIR_IO) wrong(w, "rot is refused as %s: %s", weir_status_word(o.status), o.error);
            *refused = true;
            return true;
        }
        bool faulty = w->faults_on && (o.status == WEIR_IO || o.status == WEIR_DISKFULL);
        faulty |= w->plan.chances && o.status == WEIR_DISKFULL; /* a branch that was forced */
        if (!faulty) wrong(w, "it does not start: %s: %s", weir_status_word(o.status), o.error);
        if (tries > 0) faults_off(w);
    }
    judge_opening(w, &o, lost);
    return true;
}

static void stuck(struct world *w, const char *what)
{
    struct engine_stats s;
    engine_stats(w->engine, &s);
    wrong(w, "%s: %u requests not answered, %llu messages pending (%llu failed), %llu timers pending (%llu failed), %llu answers "
          "deferred, %llu kept, %llu transactions open, epoch %llu, durable %llu, wanted %llu; numbered %lld, followed %lld; emitted %llu, heard %lld; asked %lld, told %lld", what, w->busy, (unsigned long long)s.messages_pending,
          (unsigned long long)s.messages_failed, (unsigned long long)s.timers_pending, (unsigned long long)s.timers_failed,
          (unsigned long long)s.answers_pending, (unsigned long long)s.answers_kept,
          (unsigned long long)s.open_transactions, (unsigned long long)s.epoch, (unsigned long long)s.durable_epoch,
          (unsigned long long)atomic_load(&w->engine->wanted), (long long)w->sum.numbered, (long long)w->sum.followed,
          (unsigned long long)w->emitted, (long long)w->sum.heard, (long long)w->sum.asked, (long long)w->sum.told);
}

/* One life with faults. Ends with the engine gone. */
static bool life_run(struct world *w, uint32_t life, bool careful, bool rot)
{
    struct plan *p = &w->plan;
    enum ending end = ending_draw(w, careful);
    bool refused;
    w->stop = w->quiet_wanted = w->silent = false;
    w->target = p->txns * (life + 1) / p->lives;
    w->faults_on = true;
    sim_faults_set(w->sim, careful ? NULL : &p->faults);
    uint64_t left = p->txns / p->lives;
    if (end == END_CRASH_AT || end == END_KILL_AT) {
        uint64_t at = 1 + sim_choose(w->sim, sim_choose(w->sim, 4) ? 40 + left / 2 : 14);
        sim_crash_at(w->sim, at, end == END_KILL_AT ? SIM_KILL : power_mode(w));
    }
    bool alive = life_open(w, 0, &refused);
    if (alive) {
        if (careful || rot) { /* a second try of the start was without */
            w->faults_on = true;
            sim_faults_set(w->sim, rot ? &p->rot_faults : &p->faults);
        }
        engine_run(w);
        uint64_t steps = sim_choose(w->sim, 40000);
        bool early = end == END_DRAIN && sim_choose(w->sim, 2) == 0; /* in the middle of the work */
        if (end == END_CRASH || end == END_KILL || early) {
            while (!stopped_or_poisoned(w) && steps-- > 0 && !sim_crashed(w->sim)) {
                if (!sim_step(w->sim) && !sim_crashed(w->sim) && !sim_advance(w->sim, LIFE_NS)) break;
            }
        } else if (p->limits.memory_max != 0 || p->limits.deferred_max != 0 || (rot && p->limits.follower_lag_max != 0)) {
            w->refused_steps = 0;
            (void)sim_run(w->sim, stopped_or_refused, w, 60 * SECOND_NS);
            w->silent = true;
        } else if (!sim_run(w->sim, stopped_or_poisoned, w, LIFE_NS) && !sim_crashed(w->sim)) {
            stuck(w, "stuck");
        }
        if (early && !sim_crashed(w->sim)) {
            (void)is_drained(w);
            for (steps = 300; steps > 0 && (sim_step(w->sim) || sim_advance(w->sim, SECOND_NS)); steps--) {}
        }
        alive = !sim_crashed(w->sim);
    }
    if (alive && is_poisoned(w)) { /* the process is about to end: some answers go out, all unknown or durable */
        w->silent = true;
        for (uint64_t n = sim_choose(w->sim, 3000); n > 0 && (sim_step(w->sim) || sim_advance(w->sim, SECOND_NS)); n--) {}
    }
    if (alive && end == END_DRAIN && !is_poisoned(w)) {
        w->silent = true;
        bool drained = sim_run(w->sim, is_drained, w, LIFE_NS);
        alive = !sim_crashed(w->sim);
        if (alive && !drained && !is_poisoned(w)) stuck(w, "stuck in draining");
    }
    tally->crashes[alive && end <= END_KILL_AT ? END_CLOSE : end]++;
    if (alive && (end == END_CRASH || end == END_KILL) && !is_poisoned(w)) {
        sim_crash(w->sim, end == END_KILL ? SIM_KILL : power_mode(w));
        engine_gone(w, true);
        return true;
    }
    if (alive) {
        alive = sim_guard(w->sim, engine_end, w);
        if (alive) {
            clients_lost(w);
            app_close(w);
            if (sim_open_handles(w->sim) != 0) wrong(w, "%u handles are open after close", sim_open_handles(w->sim));
        }
    }
    if (!alive) engine_gone(w, false);
    sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
    return alive;
}

/* ---- the second phase: no faults, everything comes to its end ---- */

static void last_life(struct world *w)
{
    bool refused;
    faults_off(w);
    sim_chances(w->sim, false);
    sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
    sim_on_operation(w->sim, NULL, NULL);
    sim_wall_rate(w->sim, 1000);
    struct plan *p = &w->plan;
    p->limits.request_deadline_ms = p->limits.queue_wait_max_ms = 60000;
    w->silent = false;
    w->calm = true;
    p->limits.messages_pending_max = p->limits.requests_max = p->limits.epoch_bytes_max = p->limits.memory_max = 0;
    p->limits.fibers_max = p->limits.entities_max = p->limits.call_depth_max = p->limits.answer_bytes_max = 0;
    p->limits.deferred_max = p->limits.follower_lag_max = 0;
    if (!life_open(w, 0, &refused)) wrong(w, "a crash without a plan");
    /* A clock that was set back holds up time until it catches up: not a fault that stops, so it is set right here. */
    int64_t behind = model_wall(w->model) - w->env->wall_ms(w->env);
    if (behind > 0) sim_wall_jump(w->sim, behind);
    engine_run(w);
    /* First what is missing of the seed's work: in a world without faults, but with all that they left behind. */
    w->stop = w->quiet_wanted = false;
    w->target = p->txns;
    if (!sim_run(w->sim, is_stopped, w, LIFE_NS)) stuck(w, "stuck after the faults");
    w->stop = false;
    w->quiet_wanted = true;
    w->env->actor_wake(w->env, &w->actor);
    if (!sim_run(w->sim, is_stopped, w, LIVENESS_NS)) stuck(w, "not quiet within 120 s");
    w->stop = false;
    w->final = true;
    flows_final(w);
    w->env->actor_wake(w->env, &w->actor);
    if (!sim_run(w->sim, is_stopped, w, LIVENESS_NS) || w->busy != 0) stuck(w, "not all of the last reads are answered");
    if (!sim_run(w->sim, is_drained, w, LIVENESS_NS)) stuck(w, "stuck in draining");
    model_judge(w, "at the end");
    stats_take(w);
    w->env->actor_stop(w->env, &w->actor);
    bank_close(w, true);
    clients_lost(w);
    engine_close(w->engine);
    w->engine = NULL;
    app_close(w);
    if (sim_open_handles(w->sim) != 0) wrong(w, "%u handles are open after the last close", sim_open_handles(w->sim));
}

static void sums_judge(struct world *w)
{
    const struct box *sum = &w->sum;
    if (sum->sent != sum->received || sum->set != sum->fired || sum->duplicates != 0 || sum->disorder != 0 || sum->early != 0 ||
        (uint64_t)sum->done + w->given_up != w->acts || sum->nudged != 0 || (sum->doubtful != 0 && box_plan.give_up_ms == 0))
        wrong(w, "%" PRIu64 " acts, done %" PRId64 "; sent %" PRId64 ", received %" PRId64 "; set %" PRId64 ", fired %" PRId64 "; twice %"
              PRId64 ", out of order %" PRId64 ", early %" PRId64, w->acts, sum->done, sum->sent, sum->received, sum->set, sum->fired,
              sum->duplicates, sum->disorder, sum->early);
    if (w->hooks_parked > (box_plan.give_up_ms ? sum->hooked : 0))
        wrong(w, "%" PRId64 " webhooks are parked, %" PRId64 " were made", w->hooks_parked, sum->hooked);
    int64_t parked = sum->refused + sum->balked + sum->shunned - held_back(w);
    if (w->parked_seen != parked)
        wrong(w, "%" PRId64 " messages, events and timers must be parked, %" PRId64 " are", parked, w->parked_seen);
    flows_judge(w);
}

/* Hash of the files whose content recovery must not change, by name. */
struct files {
    struct world *w;
    int dir;
    uint64_t hash, count;
};
static void file_hash(void *arg, const char *name)
{
    struct files *f = arg;
    struct env *env = f->w->env;
    if (strncmp(name, "log-", 4) != 0 && strncmp(name, "checkpoint-", 11) != 0) return;
    int fd = env->open(env, f->dir, name, ENV_READ);
    int64_t size = fd >= 0 ? env->size(env, fd) : 0;
    char *bytes = malloc((size_t)size + 1);
    if (bytes == NULL || fd < 0) abort();
    env->read(env, fd, bytes, (size_t)size, 0);
    env->close(env, fd);
    f->hash = f->hash * 31 + hash64(hash64(1, name, strlen(name)), bytes, (size_t)size);
    f->count++;
    free(bytes);
}
static uint64_t files_hash(struct world *w)
{
    struct files f = { .w = w };
    f.dir = w->env->dir_open(w->env, "data", false);
    w->env->dir_list(w->env, f.dir, file_hash, &f);
    w->env->dir_close(w->env, f.dir);
    return f.hash;
}

/* Opening and closing again changes nothing: neither after a clean stop, nor after a recovery that was cut short. */
static void reopen_judge(struct world *w)
{
    bool refused;
    uint64_t files = files_hash(w), state = model_hash(w->model), synced = model_synced(w->model);
    for (int n = 0; n < 3; n++) {
        if (!life_open(w, 0, &refused)) wrong(w, "a crash without a plan");
        if (model_synced(w->model) != synced || model_hash(w->model) != state) wrong(w, "recovery %d finds another state", n + 1);
        if (n == 0) engine_close(w->engine);
        else engine_abandon(w->engine);
        w->engine = NULL;
        if (n == 0 && files_hash(w) != files) wrong(w, "a start after a clean stop changes logs or checkpoints");
        app_close(w);
        if (n == 1) sim_crash(w->sim, SIM_KEEP_NOTHING);
    }
}

static void history_judge(struct world *w)
{
    char path[64];
    fclose(w->history);
    w->history = NULL;
    snprintf(path, sizeof(path), "/tmp/weir-sim-%ld.hist", (long)getpid());
    FILE *f = fopen(path, "w");
    if (f == NULL || fwrite(w->history_text, 1, w->history_len, f) != w->history_len || fclose(f) != 0) wrong(w, "cannot write %s", path);
    free(w->history_text);
    int out[2];
    if (pipe(out) != 0) wrong(w, "no pipe");
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], 1);
        execl(checker_path, checker_path, path, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    char text[300] = "";
    size_t len = 0;
    for (ssize_t n; len < sizeof(text) - 1 && (n = read(out[0], text + len, sizeof(text) - 1 - len)) > 0;) len += (size_t)n;
    char rest[4096];
    while (read(out[0], rest, sizeof(rest)) > 0) {}
    close(out[0]);
    int status = 0;
    waitpid(child, &status, 0);
    unlink(path);
    text[strcspn(text, "\n")] = '\0';
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) wrong(w, "the checker (status %x): %s", status, text);
    tally->histories++;
}

/* ---- a seed ---- */

static struct world *world_create(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));
    if (w == NULL) abort();
    w->seed = seed;
    w->sim = sim_create(seed);
    w->env = sim_env(w->sim);
    clock_sim = w->sim;
    w->model = model_create();
    model_use(w->model);
    w->windows = windows_create();
    w->history = open_memstream(&w->history_text, &w->history_len);
    for (int i = 0; i < ACCOUNTS; i++) fprintf(w->history, "i a%d %d\n", i, HISTORY_BALANCE);
    return w;
}

static void tally_add(struct world *w)
{
    tally->simulated_ms += w->env->mono_ns(w->env) / 1000000;
    tally->begun += w->begun;
    tally->ok += w->ok;
    tally->failures += w->failed;
    tally->refused += w->refused;
    tally->unknown += w->unknown;
    tally->replays += w->replays;
    tally->commits += w->commits;
    tally->multi += w->multi;
    tally->tails += w->tails;
    tally->wounds += w->wounds;
    tally->deaths += w->deaths;
    tally->wait_die += w->plan.policy == CONFLICT_WAIT_DIE;
    tally->no_wait += w->plan.policy == CONFLICT_NO_WAIT;
    tally->checkpoints += w->checkpoints;
    tally->delivered += w->delivered;
    tally->fired += w->fired;
    tally->opens += w->opens;
    tally->open_failures += w->open_failures;
    tally->poisons += w->poisons;
    tally->frames += model_frames(w->model);
    tally->window_rows += w->window_rows;
    tally->window_late += w->window_late;
    tally->latest += w->plan.latest;
    tally->rot_seeds += w->plan.rot;
    tally->rot_found += w->rot_found;
    tally->rot_cut += w->rot_cut;
    tally->tidy += w->plan.tidy;
    uint64_t least = tally->least_ok;
    while ((least == 0 || w->ok < least) && !atomic_compare_exchange_weak(&tally->least_ok, &least, w->ok)) {}
    for (int i = 0; i < SIM_FAULT_KINDS; i++) tally->faults[i] += sim_faults_fired(w->sim, (enum sim_fault_kind)i);
    uint32_t unlocked = 0;
    while (!atomic_compare_exchange_weak(&tally->chances_lock, &unlocked, 1)) unlocked = 0;
    sim_chances_each(w->sim, count_chance, NULL);
    atomic_store(&tally->chances_lock, 0);
}

static void marks_add(void)
{
#ifdef WEIR_MARKS
    struct mark *m;
    for (size_t i = 0; i < MARKS_MAX && (m = mark_at(i)) != NULL; i++) tally->marks[i] += m->count;
#endif
}

static uint64_t world_destroy(struct world *w)
{
    uint64_t hash = sim_trace_hash(w->sim);
    for (uint32_t i = 0; i < CLIENTS_MAX; i++) arena_free(&w->clients[i].request.arena);
    for (uint32_t i = 0; i < CONSUMERS; i++) arena_free(&w->flows.consumers[i].request.arena);
    windows_destroy(w->windows);
    sim_destroy(w->sim);
    model_use(NULL);
    model_destroy(w->model);
#ifdef WEIR_MARKS
    /* A machine that stops in the middle of a call loses what that call held; any other end gives all back. */
    if (w->plan.tidy && !w->plan.asks && mem_blocks() != blocks_before) /* asks: reports in the engine are lost with it */
        wrong(w, "%lld blocks of memory are not given back", (long long)(mem_blocks() - blocks_before));
#endif
    free(w);
    return hash;
}

/* The lives before the last; false if rot was found: then there is nothing to go on with. */
static bool lives_run(struct world *w)
{
    struct plan *p = &w->plan;
    bool careful = false, refused;
    for (uint32_t life = 0; life + 1 < p->lives; life++) {
        bool rot = p->rot && life + 2 == p->lives;
        uint64_t late = sim_faults_fired(w->sim, SIM_SYNC_LATE), opens = w->opens;
        life_run(w, life, careful, rot);
        /* What a late failure has lost lives in the page cache until a start has written it again, and come to its end. */
        careful = sim_faults_fired(w->sim, SIM_SYNC_LATE) != late || (careful && w->opens == opens);
        if (!careful) sim_clock_add(w->sim, sim_choose(w->sim, p->short_window ? SECOND_NS : p->pauses ? 100 * SECOND_NS : 1000));
        if (!rot) continue;
        faults_off(w);
        if (p->flip) rot_flip(w);
        if (p->cut) rot_cut(w);
        sim_crash(w->sim, SIM_KEEP_RANDOM);
        uint64_t synced = model_synced(w->model);
        if (!life_open(w, 2, &refused)) wrong(w, "a crash without a plan");
        w->rot_found += refused;
        if (refused) return false;
        bool cut = model_synced(w->model) < synced;
        w->rot_cut += cut;
        engine_close(w->engine);
        w->engine = NULL;
        app_close(w);
        if (cut || sim_faults_fired(w->sim, SIM_LATENT) > 0 || p->flip || p->cut || p->streams || p->windows) return false;
    }
    return true;
}

static uint64_t run_seed(uint64_t seed)
{
#ifdef WEIR_MARKS
    blocks_before = mem_blocks();
#endif
    struct world *w = world_create(seed);
    snprintf(w->again, sizeof(w->again), "build/tests/sim/sim_swarm --seed %" PRIu64, seed);
    plan_make(w);
    sim_chances(w->sim, w->plan.chances);
    if (options.verbose) plan_print(w);
    if (lives_run(w)) {
        last_life(w);
        sums_judge(w);
        reopen_judge(w);
        history_judge(w);
    } else {
        fclose(w->history);
        free(w->history_text);
    }
    if (options.verbose)
        printf("seed %" PRIu64 ": %" PRIu64 " begun, %" PRIu64 " ok, %" PRIu64 " failed, %" PRIu64 " refused, %" PRIu64
               " unknown, %" PRIu64 " lives opened, %.1f simulated s, trace %016llx\n", seed, w->begun, w->ok, w->failed, w->refused,
               w->unknown, w->opens, (double)w->env->mono_ns(w->env) / 1e9, (unsigned long long)sim_trace_hash(w->sim));
    tally_add(w);
    return world_destroy(w);
}

/* ---- the sweep ---- */

struct sweep {
    struct world *w;
    unsigned running;
    bool child;
    uint64_t outcome;
    time_t end;
};
static struct sweep sweep;

static void reap(void)
{
    int status;
    if (wait(&status) < 0) return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
    tally->failed++;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1) printf("FAIL a run ended by itself: status %x\n", status);
}

static void crash_here(uint64_t operation, uint64_t outcome)
{
    struct world *w = sweep.w;
    static const enum sim_crash_mode modes[] = { SIM_KEEP_NOTHING, SIM_KEEP_RANDOM, SIM_KEEP_PREFIX_TORN, SIM_KEEP_ALL,
                                                 SIM_KEEP_GARBLED, SIM_KILL,        SIM_KEEP_RANDOM,      SIM_KEEP_PREFIX_TORN };
    sweep.child = true;
    sweep.outcome = outcome;
    snprintf(w->again, sizeof(w->again), "build/tests/sim/sim_swarm --sweep --seed %" PRIu64 " --at %" PRIu64 ",%" PRIu64, w->seed,
             operation, outcome);
    sim_on_operation(w->sim, NULL, NULL);
    sim_reseed(w->sim, outcome);
    sim_crash_at(w->sim, 0, modes[outcome % 8]);
    run_limit();
    tally->states++;
}

static bool sweep_here(void *arg, uint64_t operation)
{
    if (options.one) {
        if (operation != options.at) return false;
        crash_here(operation, options.outcome);
        return true;
    }
    if (operation < options.first || (operation - options.first) % options.stride != 0 || tally->failed > 0) return false;
    if (options.budget > 0 && time(NULL) >= sweep.end) return false;
    for (uint64_t outcome = 0; outcome < options.outcomes; outcome++) {
        if (sweep.running == options.jobs) reap(), sweep.running--;
        fflush(stdout);
        pid_t pid = fork();
        if (pid < 0) continue;
        if (pid == 0) {
            crash_here(operation, outcome);
            return true;
        }
        sweep.running++;
    }
    return false;
}

/* A life of the script: open, ask, close or be killed. False: it crashed. */
static bool script_life(struct world *w, uint64_t target, bool close)
{
    bool refused;
    w->stop = w->quiet_wanted = false;
    w->target = target;
    if (!life_open(w, 0, &refused)) return false;
    engine_run(w);
    if (!sim_run(w->sim, is_stopped, w, LIFE_NS) && !sim_crashed(w->sim)) stuck(w, "stuck");
    bool alive = !sim_crashed(w->sim);
    if (alive && close) {
        alive = sim_guard(w->sim, engine_end, w);
        if (alive) clients_lost(w), app_close(w);
    } else if (alive) {
        sim_crash(w->sim, SIM_KILL);
        engine_gone(w, true);
        return true;
    }
    if (!alive) engine_gone(w, false);
    return alive;
}

static void run_sweep(void)
{
    struct world *w = world_create(options.seed);
    sweep.w = w;
    sweep.end = time(NULL) + (time_t)options.budget;
    snprintf(w->again, sizeof(w->again), "build/tests/sim/sim_swarm --sweep --seed %" PRIu64 " --stride 1000000", options.seed);
    plan_script(w);
    w->calm = true;
    sim_on_operation(w->sim, sweep_here, NULL);
    for (uint32_t life = 0; life < w->plan.lives && !sweep.child; life++)
        (void)script_life(w, w->plan.txns * (life + 1) / w->plan.lives, life % 2 == 0);
    if (sweep.child) {
        if (sweep.outcome % 2) { /* again, inside recovery or shortly after */
            sim_crash_at(w->sim, 1 + sim_choose(w->sim, 14), power_modes[sim_choose(w->sim, 5)]);
            tally->states += !script_life(w, w->begun + 20, true);
            sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
        } else {
            (void)script_life(w, w->begun + 20, true);
        }
    }
    uint64_t operations = sim_operations(w->sim);
    last_life(w);
    sums_judge(w);
    if (!sweep.child || sweep.outcome % 4 == 0) reopen_judge(w);
    if (!sweep.child || sweep.outcome % 4 == 1) history_judge(w);
    tally_add(w);
    marks_add();
    if (sweep.child && !options.one) _exit(0);
    for (; sweep.running > 0; sweep.running--) reap();
    printf("sweep: seed %" PRIu64 ", script of %" PRIu64 " file operations, %" PRIu64 " crash states, %" PRIu64 " recoveries, %" PRIu64
           " checkpoints, %" PRIu64 " histories checked\n", options.seed, operations, (uint64_t)tally->states, (uint64_t)tally->opens,
           (uint64_t)tally->checkpoints, (uint64_t)tally->histories);
    bool vacuous = !options.one && (tally->states == 0 || tally->checkpoints == 0);
    if (vacuous) printf("FAIL nothing of interest was met\n");
    printf("%" PRIu64 " passed, %" PRIu64 " failed, 0 skipped\n", (uint64_t)tally->states - (tally->failed < tally->states ? tally->failed : tally->states),
           (uint64_t)tally->failed + vacuous);
    exit(tally->failed || vacuous ? 1 : 0);
}

/* ---- many seeds ---- */

static void seed_child(uint64_t seed)
{
    run_limit();
    uint64_t hash = run_seed(seed);
    marks_add();
    if (options.twice && run_seed(seed) != hash) {
        printf("FAIL seed %" PRIu64 ": two runs differ\n  again: build/tests/sim/sim_swarm --seed %" PRIu64 " --twice\n", seed, seed);
        fflush(stdout);
        _exit(1);
    }
    fflush(stdout);
    _exit(0);
}

struct job {
    pid_t pid;
    uint64_t seed;
};
static struct job jobs[64];

static void seed_reap(void)
{
    int status;
    pid_t pid = wait(&status);
    if (pid < 0) return;
    for (unsigned i = 0; i < 64; i++) {
        if (jobs[i].pid != pid) continue;
        jobs[i].pid = 0;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
        tally->failed++;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)
            printf("FAIL seed %" PRIu64 ": the process ended with status %x\n  again: build/tests/sim/sim_swarm --seed %" PRIu64 "\n",
                   jobs[i].seed, status, jobs[i].seed);
    }
    fflush(stdout);
}

static unsigned running;

static void seed_start(uint64_t seed)
{
    if (running == options.jobs) seed_reap(), running--;
    tally->runs++;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) seed_child(seed);
    for (unsigned i = 0; i < 64; i++) {
        if (jobs[i].pid != 0) continue;
        jobs[i] = (struct job){ pid, seed };
        break;
    }
    running++;
}

static void report_write(void)
{
    FILE *f = options.report ? fopen(options.report, "w") : NULL;
    if (f == NULL) return;
#ifdef WEIR_MARKS
    struct mark *m;
    for (size_t i = 0; i < MARKS_MAX && (m = mark_at(i)) != NULL; i++)
        fprintf(f, "mark\t%s\t%s\t%" PRIu64 "\n", m->name, m->file, (uint64_t)tally->marks[i]);
#endif
    for (int i = 0; i < CHANCES_MAX && tally->chances[i].name[0]; i++)
        fprintf(f, "chance\t%s\t%" PRIu64 "\t%" PRIu64 "\n", tally->chances[i].name, (uint64_t)tally->chances[i].asked, (uint64_t)tally->chances[i].taken);
    for (int i = 0; i < SIM_FAULT_KINDS; i++)
        fprintf(f, "fault\t%s\t\t%" PRIu64 "\n", sim_fault_name((enum sim_fault_kind)i), (uint64_t)tally->faults[i]);
    static const char *const ends[] = { "crash inside a call", "kill inside a call", "crash between turns", "kill between turns", "close", "drain and close" };
    for (int i = 0; i < ENDINGS; i++) fprintf(f, "end\t%s\t\t%" PRIu64 "\n", ends[i], (uint64_t)tally->crashes[i]);
#define SUM(name) fprintf(f, "sum\t" #name "\t\t%" PRIu64 "\n", (uint64_t)tally->name)
    SUM(runs), SUM(failed), SUM(simulated_ms), SUM(begun), SUM(ok), SUM(failures), SUM(refused), SUM(unknown), SUM(replays), SUM(commits),
        SUM(multi), SUM(tails), SUM(wounds), SUM(deaths), SUM(wait_die), SUM(no_wait), SUM(checkpoints), SUM(delivered), SUM(fired), SUM(opens), SUM(open_failures), SUM(poisons), SUM(frames),
        SUM(window_rows), SUM(window_late), SUM(latest), SUM(rot_seeds), SUM(rot_found), SUM(rot_cut), SUM(tidy), SUM(histories), SUM(states), SUM(least_ok);
    fclose(f);
}

static void run_seeds(void)
{
    time_t begin = time(NULL), end = begin + (time_t)options.budget;
    FILE *f = options.seed_file ? fopen(options.seed_file, "r") : NULL;
    char line[200];
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (line[0] >= '0' && line[0] <= '9') seed_start(strtoull(line, NULL, 10));
    }
    if (f != NULL) fclose(f);
    for (uint64_t i = 0; i < options.seeds; i++) {
        if (options.budget > 0 && time(NULL) >= end) break;
        if (options.until_failure && tally->failed > 0) break;
        seed_start(options.seed + i);
    }
    for (; running > 0; running--) seed_reap();
    double seconds = (double)(time(NULL) - begin);
    uint64_t runs = tally->runs ? (uint64_t)tally->runs : 1;
    printf("swarm: %" PRIu64 " seeds from %" PRIu64 " in %.0f s, %.1f simulated min and %" PRIu64 " transactions committed for clients a seed; "
           "%" PRIu64 " commits, %" PRIu64 " over shards (%" PRIu64 " tail-commits), %" PRIu64 " recoveries, %" PRIu64 " checkpoints, %" PRIu64 " poisoned logs, %" PRIu64
           " messages, %" PRIu64 " timers\n",
           runs, options.seed, seconds, (double)tally->simulated_ms / 60000.0 / (double)runs, (uint64_t)tally->ok / runs,
           (uint64_t)tally->commits, (uint64_t)tally->multi, (uint64_t)tally->tails, (uint64_t)tally->opens, (uint64_t)tally->checkpoints, (uint64_t)tally->poisons,
           (uint64_t)tally->delivered, (uint64_t)tally->fired);
    report_write();
    printf("%" PRIu64 " passed, %" PRIu64 " failed, 0 skipped\n", (uint64_t)(tally->runs - tally->failed), (uint64_t)tally->failed);
}

/* A simulated crash leaves a call in its middle, as a power cut would: what that call held is lost, not leaked. */
__attribute__((visibility("default"))) const char *__asan_default_options(void); // the sanitizer looks it up from its own library
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static bool options_read(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        char *end;
        if (strcmp(name, "--twice") == 0) options.twice = true;
        else if (strcmp(name, "--sweep") == 0) options.sweep = true;
        else if (strcmp(name, "--verbose") == 0) options.verbose = true;
        else if (strcmp(name, "--until-failure") == 0) options.until_failure = true;
        else if (strcmp(name, "--in-process") == 0) options.in_process = true;
        else if (i++, strcmp(name, "--seed") == 0) options.seed = strtoull(value, NULL, 10);
        else if (strcmp(name, "--seeds") == 0) options.seeds = strtoull(value, NULL, 10);
        else if (strcmp(name, "--txns") == 0) options.txns = strtoull(value, NULL, 10);
        else if (strcmp(name, "--stride") == 0) options.stride = strtoull(value, NULL, 10);
        else if (strcmp(name, "--outcomes") == 0) options.outcomes = strtoull(value, NULL, 10);
        else if (strcmp(name, "--first") == 0) options.first = strtoull(value, NULL, 10);
        else if (strcmp(name, "--budget") == 0) options.budget = strtod(value, NULL);
        else if (strcmp(name, "--jobs") == 0) options.jobs = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(name, "--seed-file") == 0) options.seed_file = value;
        else if (strcmp(name, "--report") == 0) options.report = value;
        else if (strcmp(name, "--checker") == 0) options.checker = value;
        else if (strcmp(name, "--at") == 0) {
            options.one = true;
            options.at = strtoull(value, &end, 10);
            options.outcome = strtoull(*end ? end + 1 : end, NULL, 10);
        } else return false;
    }
    return options.stride > 0 && options.jobs > 0 && options.jobs <= 64;
}

int main(int argc, char **argv)
{
    if (!options_read(argc, argv)) {
        fprintf(stderr, "usage: sim_swarm [--seed S] [--seeds N] [--seed-file FILE] [--budget SECONDS] [--twice] [--verbose]\n"
                        "       sim_swarm --sweep [--seed S] [--stride N] [--outcomes N] [--first OP] [--at OP,OUTCOME]\n");
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* what is said before an abort must be seen */
    const char *slash = strrchr(argv[0], '/');
    snprintf(checker_path, sizeof(checker_path), "%.*s/../check/weir-check-history", slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
    if (options.checker != NULL) snprintf(checker_path, sizeof(checker_path), "%s", options.checker);
    tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED) return 71;
    if (options.sweep) run_sweep();
    if (options.in_process) {
        run_seed(options.seed);
        return 0;
    }
    run_seeds();
    return tally->failed ? 1 : 0;
}
