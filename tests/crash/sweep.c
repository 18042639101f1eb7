/*
 * sweep.c - the store in the simulated world, stopped at every file operation.
 *
 * A script of frames, shared syncs, big frames, segment changes, checkpoints, clean closes and killed processes is
 * run once to count its file operations. Then for every operation and every way a crash may leave the disk it is
 * run again up to there, half the time with a second crash inside recovery. A naive twin holds the rows after
 * each epoch. What must hold after recovery:
 *   - it succeeds, and its newest epoch is at least the last one that a sync confirmed and at most the last begun;
 *   - the rows are the twin's at exactly that epoch, so none is half there and none is invented;
 *   - recovering again gives the same, and what is written from there on survives the next crash.
 * A second sweep fails every operation instead: an error, a full disk, a sync that fails once and loses its pages
 * while the page cache still shows them. The idea is ALICE's (Pillai et al., "All File Systems Are Not Created
 * Equal", OSDI 2014); the last fault is from Rebello et al., "Can Applications Recover from fsync Failures?",
 * ATC 2020.
 *
 *   sweep [--seed N] [--steps N] [--outcomes N] [--stride N] [--faults-only | --crashes-only] [--run KIND,AT,WAY]
 *
 * Runs are made by child processes in batches: a crash leaves the memory of the interrupted call behind.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/sim.h"
#include "store/store.h"

#define KEYS 24u
#define EPOCHS_MAX 4096u
#define VALUE_BYTES_MAX 1400u
#define BATCH_RUNS 96u
#define WORKERS 2u
#define FILES_EXTRA_MAX 18u /* two manifests, two checkpoints, temporaries, four spares, the reserve, a few torn ends, the lock */
#define AFTER_STEPS 6u

enum kind { KIND_CRASH, KIND_FAULT, KIND_COUNT };
static const char *const kind_names[] = { "crash", "fault" };

struct rows {
    uint32_t stamp[KEYS]; /* of the change that wrote the row; 0: absent */
};

struct world {
    struct sim *sim;
    struct env *env;
    struct store *store;
    struct store_options options;
    uint64_t seed, random;
    unsigned steps;
    bool faulty; /* errors may come from anywhere once */
    struct rows states[EPOCHS_MAX];
    int64_t walls[EPOCHS_MAX];
    uint64_t epoch, begun, acked; /* written; most that may be found; least */
    struct rows got;
    uint32_t stamp;
    uint32_t files;
    struct buf parts[2];
    uint64_t opens, torn, poisons, full, checkpoints; /* what the run met */
    char why[512];
};

/* Counters of all runs; shared between processes. */
struct tally {
    _Atomic uint64_t runs, crashes, second_crashes, failed;
    _Atomic uint64_t torn, poisons, full, checkpoints;
};

#define SWEEP_CRASH_MODES \
    SIM_KEEP_NOTHING, SIM_KEEP_RANDOM, SIM_KEEP_PREFIX_TORN, SIM_KEEP_ALL, SIM_KEEP_RANDOM, SIM_KEEP_PREFIX_TORN, SIM_KEEP_RANDOM
#include "sweep.h"

/* ---- rows: every change has a stamp of its own, and the value follows from it ---- */

static size_t value_of(uint32_t key, uint32_t stamp, char *out)
{
    uint64_t x = ((uint64_t)stamp << 32 | key) * 0x9e3779b97f4a7c15u;
    size_t len = 8 + (size_t)(x >> 40) % (stamp % 5 == 0 ? VALUE_BYTES_MAX : 90);
    memcpy(out, &stamp, 4);
    for (size_t i = 4; i < len; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        out[i] = (char)(x >> 56);
    }
    return len;
}

static void row_found(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
    struct world *w = arg;
    char expected[VALUE_BYTES_MAX + 8];
    uint32_t number, stamp;
    if (op == STORE_EXPECT) return;
    if (key.len != 4) {
        fail(w, "a key that was never written", key.len, 0);
        return;
    }
    memcpy(&number, key.ptr, 4);
    if (number >= KEYS || slot != number % 8) {
        fail(w, "a key that was never written", number, slot);
        return;
    }
    if (value.ptr == NULL) {
        w->got.stamp[number] = 0;
        return;
    }
    if (value.len < 8) {
        fail(w, "a value that was never written", number, value.len);
        return;
    }
    memcpy(&stamp, value.ptr, 4);
    size_t len = value_of(number, stamp, expected);
    if (len != value.len || memcmp(expected, value.ptr, len) != 0) fail(w, "a damaged value", number, stamp);
    w->got.stamp[number] = stamp;
}

static void change(struct world *w, struct rows *rows, uint32_t number)
{
    char value[VALUE_BYTES_MAX + 8];
    struct buf *part = &w->parts[number % 2];
    struct weir_str key = { (const char *)&number, 4 };
    if (rows->stamp[number] != 0 && draw(w, 5) == 0) {
        store_change_delete(part, (uint8_t)(number % 8), key);
        rows->stamp[number] = 0;
        return;
    }
    uint32_t stamp = ++w->stamp;
    store_change(part, (uint8_t)(number % 8), key, (struct weir_str){ value, value_of(number, stamp, value) });
    rows->stamp[number] = stamp;
}

/* ---- opening and judging ---- */

static void count_file(void *arg, const char *name)
{
    ++*(uint32_t *)arg;
}

static bool judge(struct world *w, const struct store_recovery *recovery)
{
    uint64_t epoch = recovery->durable_epoch;
    if (w->why[0] != '\0') return false;
    if (epoch < w->acked) return fail(w, "a confirmed epoch is lost: found, confirmed", epoch, w->acked);
    if (epoch > w->begun) return fail(w, "an epoch that was never begun: found, begun", epoch, w->begun);
    for (uint32_t i = 0; i < KEYS; i++) {
        if (w->got.stamp[i] != w->states[epoch].stamp[i]) {
            return fail(w, "the rows are not those of the recovered epoch: epoch, row", epoch, i);
        }
    }
    if (recovery->wall_ms != w->walls[epoch])
        return fail(w, "another wall clock time than the epoch's", (uint64_t)recovery->wall_ms, (uint64_t)w->walls[epoch]);
    if (recovery->damaged_checkpoints != 0 && !w->faulty)
        return fail(w, "a crash left a named checkpoint damaged", recovery->damaged_checkpoints, 0);
    struct store_stats stats;
    store_stats(w->store, &stats);
    w->files = 0;
    int dir = w->env->dir_open(w->env, "/data", false);
    w->env->dir_list(w->env, dir, count_file, &w->files);
    w->env->dir_close(w->env, dir);
    if (w->files > stats.segment_count + FILES_EXTRA_MAX)
        return fail(w, "files pile up: files, segments", w->files, stats.segment_count);
    return true;
}

static bool open_and_judge(struct world *w)
{
    struct store_recovery recovery;
    char error[400];
    enum weir_status st = WEIR_IO;
    for (int tries = 0; tries < (w->faulty ? 2 : 1) && st != WEIR_OK; tries++) {
        memset(&w->got, 0, sizeof(w->got));
        st = store_open(w->env, "/data", &w->options, row_found, w, &w->store, &recovery, error, sizeof(error));
        if (st != WEIR_OK && st != WEIR_IO && st != WEIR_DISKFULL) break;
    }
    if (st != WEIR_OK) {
        fail(w, "recovery refuses", st, 0);
        size_t len = strlen(w->why);
        snprintf(w->why + len, sizeof(w->why) - len, ": %s", error);
        return false;
    }
    w->opens++;
    w->torn += recovery.torn_bytes > 0;
    if (!judge(w, &recovery)) return false;
    /* What recovery found it has made durable. */
    w->epoch = w->acked = w->begun = recovery.durable_epoch;
    return true;
}

/* ---- the script ---- */

static bool restart(struct world *w, bool clean)
{
    struct store *store = w->store;
    w->store = NULL;
    if (clean) store_close(store);
    else store_abandon(store);
    return open_and_judge(w);
}

static bool frame(struct world *w, unsigned changes)
{
    if (w->epoch + 2 >= EPOCHS_MAX) return fail(w, "the script is too long", w->epoch, 0);
    uint64_t epoch = w->epoch + 1;
    struct rows *rows = &w->states[epoch];
    *rows = w->states[w->epoch];
    buf_reset(&w->parts[0]);
    buf_reset(&w->parts[1]);
    for (unsigned i = 0; i < changes; i++) change(w, rows, (uint32_t)draw(w, KEYS));
    struct weir_str parts[2] = { buf_str(&w->parts[0]), buf_str(&w->parts[1]) };
    w->walls[epoch] = w->walls[w->epoch] + 1 + (int64_t)draw(w, 3);
    struct store_frame f = { .epoch = epoch, .wall_ms = w->walls[epoch], .parts = parts, .part_count = 2 };
    w->begun = epoch;
    enum weir_status st = WEIR_DISKFULL;
    for (int tries = 0; tries < 3 && st == WEIR_DISKFULL; tries++) {
        st = store_write(w->store, &f);
        w->full += st == WEIR_DISKFULL;
    }
    if (st == WEIR_OK) {
        w->epoch = epoch;
        return true;
    }
    if (!w->faulty || st != WEIR_POISONED) return fail(w, "a frame is refused", st, epoch);
    w->poisons++;
    return restart(w, false);
}

static bool confirm(struct world *w)
{
    enum weir_status st = store_sync(w->store);
    if (st == WEIR_OK) {
        w->acked = w->epoch;
        struct store_stats stats;
        store_stats(w->store, &stats);
        if (stats.durable_epoch < w->epoch) return fail(w, "confirmed, yet not counted as durable", stats.durable_epoch, w->epoch);
        return true;
    }
    if (!w->faulty || st != WEIR_POISONED) return fail(w, "a sync is refused", st, w->epoch);
    if (store_sync(w->store) != WEIR_POISONED) return fail(w, "a poisoned log syncs again", w->epoch, 0);
    w->poisons++;
    return restart(w, false);
}

static bool rows_add(struct world *w, uint32_t from, uint32_t to)
{
    struct buf batch = { 0 };
    char value[VALUE_BYTES_MAX + 8];
    for (uint32_t i = from; i < to; i++) {
        uint32_t stamp = w->states[w->epoch].stamp[i];
        if (stamp == 0) continue;
        struct weir_str key = { (const char *)&i, 4 };
        store_change(&batch, (uint8_t)(i % 8), key, (struct weir_str){ value, value_of(i, stamp, value) });
    }
    enum weir_status st = store_checkpoint_add(w->store, buf_str(&batch));
    buf_free(&batch);
    return st == WEIR_OK;
}

/* Over several epochs, as the engine does it, its end too. */
static bool checkpoint(struct world *w)
{
    uint64_t opens = w->opens;
    bool good = store_checkpoint_begin(w->store, w->epoch + 1) == WEIR_OK;
    for (uint32_t at = 0; at < KEYS && good; at += 8) {
        good = rows_add(w, at, at + 8);
        if (!frame(w, 2) || !confirm(w)) return false;
        if (w->opens != opens) return true; /* poisoned, and started again: this checkpoint is gone */
    }
    enum weir_status st = good ? WEIR_OK : WEIR_IO;
    for (bool more = true; more && st == WEIR_OK;) {
        st = store_checkpoint_finish(w->store, &more);
        if (!more || st != WEIR_OK || draw(w, 4) != 0) continue;
        if (!frame(w, 2) || !confirm(w)) return false;
        if (w->opens != opens) return true;
    }
    if (st == WEIR_OK) {
        w->checkpoints++;
        return true;
    }
    if (!w->faulty) return fail(w, "a checkpoint fails", st, w->epoch);
    store_checkpoint_abort(w->store);
    struct store_stats stats;
    store_stats(w->store, &stats);
    if (!stats.poisoned) return true;
    w->poisons++;
    return restart(w, false);
}

static bool step(struct world *w)
{
    uint64_t what = draw(w, 100);
    if (what < 48) return frame(w, 1 + (unsigned)draw(w, 5)) && confirm(w);
    if (what < 62) return frame(w, 2) && frame(w, 3) && frame(w, 1) && confirm(w);
    if (what < 66) return frame(w, 40) && confirm(w); /* may be bigger than a segment */
    if (what < 72) return frame(w, 2);
    if (what < 80) {
        (void)store_prepare(w->store);
        return true;
    }
    if (what < 91) return checkpoint(w);
    return restart(w, what < 96);
}

static void script(void *arg)
{
    struct world *w = arg;
    if (!open_and_judge(w)) return;
    for (unsigned i = 0; i < w->steps; i++) {
        if (!step(w)) return;
    }
    if (w->store != NULL) store_close(w->store);
    w->store = NULL;
}

static void reopen(void *arg)
{
    open_and_judge(arg);
}

static void go_on(void *arg)
{
    struct world *w = arg;
    for (unsigned i = 0; i < AFTER_STEPS; i++) {
        if (!frame(w, 3) || !confirm(w)) return;
    }
}

/* ---- one run ---- */

static struct world *world_create(uint64_t seed, unsigned steps, uint64_t way)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->sim = sim_create(seed * 1000003u + way);
    w->env = sim_env(w->sim);
    w->options = (struct store_options){ 4096, 16384, 0 };
    w->random = seed;
    w->seed = seed;
    w->steps = steps;
    return w;
}

static void world_destroy(struct world *w)
{
    if (w->store != NULL) store_abandon(w->store);
    buf_free(&w->parts[0]);
    buf_free(&w->parts[1]);
    sim_destroy(w->sim);
    mem_free(w);
}

static void forget(struct world *w)
{
    w->store = NULL;
}

/* Recovers, recovers again, writes on, loses the power and recovers once more. */
static void aftermath(struct world *w)
{
    if (w->why[0] == '\0' && w->store == NULL) sim_guard(w->sim, reopen, w);
    if (w->why[0] != '\0') return;
    uint64_t epoch = w->epoch;
    power_cut(w, SIM_KEEP_NOTHING);
    sim_guard(w->sim, reopen, w);
    if (w->why[0] == '\0' && w->epoch != epoch) fail(w, "a second recovery finds another epoch", w->epoch, epoch);
    if (w->why[0] != '\0') return;
    sim_guard(w->sim, go_on, w);
    if (w->why[0] != '\0') return;
    power_cut(w, SIM_KEEP_NOTHING);
    sim_guard(w->sim, reopen, w);
}

struct options {
    uint64_t seed, outcomes, stride;
    unsigned steps;
    bool kinds[KIND_COUNT], one, verbose;
    uint64_t one_kind, one_at, one_way;
};

static bool run_one(const struct options *o, enum kind kind, uint64_t at, uint64_t way, struct tally *tally)
{
    struct world *w = world_create(o->seed, o->steps, way);
    if (kind == KIND_CRASH) run_crash(w, at, way, tally);
    else run_fault(w, at, way);
    bool good = w->why[0] == '\0';
    tally->runs++;
    tally->torn += w->torn;
    tally->poisons += w->poisons;
    tally->full += w->full;
    tally->checkpoints += w->checkpoints;
    if (!good) {
        tally->failed++;
        printf("FAIL %s\n  again: sweep --seed %llu --steps %u --run %d,%llu,%llu   (%s at operation %llu)\n", w->why,
               (unsigned long long)o->seed, o->steps, (int)kind, (unsigned long long)at, (unsigned long long)way,
               kind_names[kind], (unsigned long long)at);
        fflush(stdout);
        w->store = NULL;
    }
    world_destroy(w);
    return good;
}

static uint64_t count_operations(const struct options *o, char *why, size_t why_bytes)
{
    struct world *w = world_create(o->seed, o->steps, 0);
    sim_guard(w->sim, script, w);
    uint64_t operations = sim_operations(w->sim);
    snprintf(why, why_bytes, "%s", w->why);
    world_destroy(w);
    return operations;
}

/* ---- batches in child processes ---- */

static void batch(const struct options *o, enum kind kind, uint64_t first, uint64_t count, uint64_t ways, struct tally *tally)
{
    for (uint64_t i = first; i < first + BATCH_RUNS && i < count; i++) {
        if (!run_one(o, kind, 1 + i / ways * o->stride, i % ways, tally)) exit(1);
    }
    exit(0);
}

/* A child that an assertion ended has failed as well. */
static bool reap(struct tally *tally)
{
    int status;
    if (wait(&status) < 0) return false;
    if (WIFEXITED(status) && WEXITSTATUS(status) <= 1) return WEXITSTATUS(status) == 0;
    tally->failed++;
    printf("FAIL a run ended by itself: status %d\n", status);
    return false;
}

static void sweep(const struct options *o, enum kind kind, uint64_t operations, struct tally *tally)
{
    uint64_t ways = kind == KIND_CRASH ? o->outcomes : FAULTS;
    uint64_t count = (operations + o->stride - 1) / o->stride * ways;
    unsigned running = 0;
    bool good = true;
    for (uint64_t first = 0; first < count && good; first += BATCH_RUNS) {
        if (running == WORKERS) {
            good = reap(tally);
            running--;
        }
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) batch(o, kind, first, count, ways, tally);
        if (child > 0) running++;
        else batch(o, kind, first, count, ways, tally);
    }
    for (; running > 0; running--) (void)reap(tally);
}

static bool options_read(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(name, "--faults-only") == 0) {
            o->kinds[KIND_CRASH] = false;
            continue;
        }
        if (strcmp(name, "--crashes-only") == 0) {
            o->kinds[KIND_FAULT] = false;
            continue;
        }
        i++;
        if (strcmp(name, "--seed") == 0) o->seed = strtoull(value, NULL, 10);
        else if (strcmp(name, "--steps") == 0) o->steps = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(name, "--outcomes") == 0) o->outcomes = strtoull(value, NULL, 10);
        else if (strcmp(name, "--stride") == 0) o->stride = strtoull(value, NULL, 10);
        else if (strcmp(name, "--run") == 0) {
            o->one = true;
            run_read(value, &o->one_kind, &o->one_at, &o->one_way);
        } else return false;
    }
    return o->steps > 0 && o->outcomes > 0 && o->stride > 0;
}

int main(int argc, char **argv)
{
    struct options o = { .seed = 1, .outcomes = MODES, .stride = 1, .steps = 90, .kinds = { true, true } };
    char why[512];
    if (!options_read(&o, argc, argv)) {
        fprintf(stderr, "usage: sweep [--seed N] [--steps N] [--outcomes N] [--stride N] [--faults-only | --crashes-only] "
                        "[--run KIND,AT,WAY]\n");
        return 64;
    }
    struct tally *tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED) return 71;
    if (o.one) return run_one(&o, (enum kind)o.one_kind, o.one_at, o.one_way, tally) ? 0 : 1;
    uint64_t operations = count_operations(&o, why, sizeof(why));
    if (why[0] != '\0') {
        printf("FAIL without any crash: %s (seed %llu)\n", why, (unsigned long long)o.seed);
        tally->failed++;
    }
    for (int kind = 0; kind < KIND_COUNT && tally->failed == 0; kind++) {
        if (o.kinds[kind]) sweep(&o, (enum kind)kind, operations, tally);
    }
    printf("sweep: seed %llu, %llu operations, %llu runs, %llu crashes, %llu of them twice; met %llu torn ends, %llu poisoned "
           "logs, %llu full disks, %llu checkpoints\n",
           (unsigned long long)o.seed, (unsigned long long)operations, (unsigned long long)tally->runs,
           (unsigned long long)tally->crashes, (unsigned long long)tally->second_crashes, (unsigned long long)tally->torn,
           (unsigned long long)tally->poisons, (unsigned long long)tally->full, (unsigned long long)tally->checkpoints);
    /* A sweep that met nothing proves nothing. */
    bool vacuous = tally->failed == 0 && (tally->runs == 0 || tally->checkpoints == 0 || (o.kinds[KIND_CRASH] && tally->torn == 0) ||
                                          (o.kinds[KIND_FAULT] && tally->poisons == 0));
    if (vacuous) printf("FAIL nothing of interest was met\n");
    printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)(tally->runs - (tally->failed < tally->runs ? tally->failed : tally->runs)),
           (unsigned long long)(tally->failed + vacuous));
    return tally->failed || vacuous ? 1 : 0;
}
