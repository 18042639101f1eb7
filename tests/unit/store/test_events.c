/*
 * test_events.c - a log of events beside a naive twin, over drawn appends, trims, compactions and restarts.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "os/sim.h"
#include "store/events.h"

#define FACTS 6000u
#define KEYS 40u
#define VALUE_MAX 300u

struct fact {
    struct event_id id;
    int64_t time_ms;
    uint16_t key, len;
    bool gone;
};

/* A store with one log, and what should be in it. */
struct bench {
    struct sim *sim;
    struct env *env;
    struct store *store;
    struct events *events;
    struct event_log *log;
    struct events_options options;
    struct fact facts[FACTS];
    uint32_t count;
    uint64_t epoch, number, dropped;
    int64_t now;
};

static void row_found(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
    fail_msg("a row where there is none");
}

static void bench_open(struct bench *b)
{
    struct store_options options = { 4096, 16384, 0, 0 };
    struct store_recovery recovery;
    char error[400];
    assert_int_equal(store_open(b->env, "/data", &options, row_found, NULL, &b->store, &recovery, error,
                                sizeof(error)),
                     WEIR_OK);
    assert_int_equal(events_open(b->store, &b->options, &b->events, error, sizeof(error)), WEIR_OK);
    b->log = events_log(b->events, 7, 0);
}

static struct bench *bench_create(uint64_t seed)
{
    struct bench *b = calloc(1, sizeof(*b));
    b->sim = sim_create(seed);
    b->env = sim_env(b->sim);
    b->now = 1000;
    b->epoch = 1;
    b->options = (struct events_options){ 400, 2000, 3000 };
    bench_open(b);
    return b;
}

static void bench_close(struct bench *b)
{
    events_close(b->events);
    store_close(b->store);
}

static void bench_destroy(struct bench *b)
{
    bench_close(b);
    sim_destroy(b->sim);
    free(b);
}

static struct event event_of(const struct fact *f, char *bytes)
{
    int len = snprintf(bytes, 16, "key-%u", f->key);
    memset(bytes + len, f->gone ? 'x' : 'v', f->len);
    return (struct event){ f->id, f->time_ms, { bytes, (size_t)len }, { bytes + len, f->len } };
}

static void add(struct bench *b, uint16_t key, uint16_t len, bool gone)
{
    char bytes[VALUE_MAX + 16];
    if (sim_choose(b->sim, 3) > 0) b->epoch++;
    b->now += (int64_t)sim_choose(b->sim, 30);
    assert_true(b->count < FACTS);
    struct fact *f = &b->facts[b->count++];
    *f = (struct fact){ { b->epoch, ++b->number * 1024 }, b->now, key, len, gone };
    struct event e = event_of(f, bytes);
    assert_true(event_log_append(b->log, &e));
    assert_false(event_log_append(b->log, &e));
}

static void add_some(struct bench *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        add(b, (uint16_t)sim_choose(b->sim, KEYS), (uint16_t)(1 + sim_choose(b->sim, 80)),
            sim_choose(b->sim, 10) == 0);
}

static void name_heads(struct bench *b)
{
    store_event_heads(b->store, events_heads(b->events));
    assert_int_equal(store_name_events(b->store), WEIR_OK);
    events_named(b->events, store_events_named(b->store));
}

static bool is_gone(void *arg, const struct event *e)
{
    return e->value.ptr[0] == 'x';
}

static void assert_event(const struct event *e, const struct fact *f)
{
    char bytes[VALUE_MAX + 16];
    struct event expected = event_of(f, bytes);
    assert_int_equal(event_id_cmp(e->id, f->id), 0);
    assert_int_equal(e->time_ms, f->time_ms);
    assert_true(str_eq(e->key, expected.key) && str_eq(e->value, expected.value));
}

/* Forward from a place, backward from a place, counts, times and figures: all as the twin's list. */
static void assert_as_twin(struct bench *b)
{
    struct event_walk walk;
    struct event e;
    struct event_log_info info;
    event_log_info(b->log, &info);
    assert_int_equal(info.count, b->count);
    if (b->count > 0) assert_int_equal(event_id_cmp(info.first, b->facts[0].id), 0);
    uint32_t from = (uint32_t)sim_choose(b->sim, b->count + 1);
    struct event_id at = from < b->count ? b->facts[from].id : (struct event_id){ UINT64_MAX, 0 };
    event_walk_begin(&walk, b->log, at, false);
    for (uint32_t i = from; i < b->count; i++) {
        assert_true(event_walk_next(&walk, &e));
        assert_event(&e, &b->facts[i]);
    }
    assert_false(event_walk_next(&walk, &e));
    assert_int_equal(walk.status, WEIR_OK);
    event_walk_end(&walk);
    event_walk_begin(&walk, b->log, at, true);
    for (uint32_t i = from < b->count ? from + 1 : b->count; i-- > 0;) {
        assert_true(event_walk_next(&walk, &e));
        assert_event(&e, &b->facts[i]);
    }
    assert_false(event_walk_next(&walk, &e));
    event_walk_end(&walk);
    for (uint32_t i = 0; i < b->count; i += 1 + (uint32_t)sim_choose(b->sim, 9)) {
        struct event_id id = b->facts[i].id;
        assert_int_equal(event_log_count_after(b->log, id), b->count - i - 1);
        /* An id between two events, and one just before. */
        assert_int_equal(event_log_count_after(b->log, (struct event_id){ id.epoch, id.n + 1 }),
                         b->count - i - 1);
        assert_int_equal(event_log_count_after(b->log, (struct event_id){ id.epoch, id.n - 1 }), b->count - i);
        /* The first that is not older; times grow. */
        uint32_t first = i;
        while (first > 0 && b->facts[first - 1].time_ms >= b->facts[i].time_ms) first--;
        struct event_id found = event_log_find_time(b->log, b->facts[i].time_ms);
        assert_int_equal(event_id_cmp(found, b->facts[first].id), 0);
    }
    assert_int_equal(event_log_count_after(b->log, (struct event_id){ 0, 0 }), b->count);
    assert_int_equal(event_log_count_after(b->log, (struct event_id){ UINT64_MAX, 0 }), 0);
}

/* ---- compaction ---- */

static bool newest_of_key(const struct bench *b, uint32_t i, uint32_t end)
{
    for (uint32_t k = i + 1; k < end; k++)
        if (b->facts[k].key == b->facts[i].key) return false;
    return true;
}

/* Runs one to its end, with appends between its steps when `busy`; what the log then holds is judged event by event and becomes the twin's. */
static bool compact(struct bench *b, const struct event_compaction *how, bool busy)
{
    struct event_compacted figures;
    bool done = false;
    enum weir_status st = event_log_compact(b->log, how);
    if (st == WEIR_NOMORE) return false;
    assert_int_equal(st, WEIR_OK);
    assert_true(event_log_compacts(b->log) && events_compacting(b->events));
    assert_int_equal(event_log_compact(b->log, how), WEIR_NOMORE); /* one at a time */
    assert_false(event_log_trim(b->log, INT64_MAX, 1, (struct event_id){ UINT64_MAX, 0 }));
    for (unsigned steps = 0; !done; steps++) {
        assert_true(steps < 100000);
        assert_int_equal(events_compact(b->events, &done, &figures), WEIR_OK);
        if (busy && sim_choose(b->sim, 20) == 0) add_some(b, 3);
    }
    assert_false(events_compacting(b->events));
    struct event_walk walk;
    struct event e;
    bool kept[FACTS] = { 0 };
    uint32_t i = 0, end = 0, left = 0;
    event_walk_begin(&walk, b->log, (struct event_id){ 0, 0 }, false);
    while (event_walk_next(&walk, &e)) {
        while (i < b->count && event_id_cmp(b->facts[i].id, e.id) < 0) end = ++i; /* dropped */
        assert_true(i < b->count);
        assert_event(&e, &b->facts[i]);
        kept[i++] = true;
        left++;
    }
    event_walk_end(&walk);
    /* What is left has been kept up to `end`; the last events may have gone as well. */
    if (i < b->count) end = b->count;
    assert_int_equal(figures.stream, 7);
    assert_int_equal(figures.events_before - figures.events_after, b->count - left);
    for (uint32_t k = 0; k < b->count; k++) {
        const struct fact *f = &b->facts[k];
        bool young = f->time_ms >= how->before_ms || event_id_cmp(f->id, how->safe) > 0;
        bool ended = how->is_gone && f->gone && f->time_ms < how->gone_before_ms;
        if (!kept[k]) assert_true(!young && (!newest_of_key(b, k, b->count) || ended));
        /* Below the last one dropped only the newest of each key is there. */
        if (kept[k] && k < end) assert_true(newest_of_key(b, k, end) && !ended);
    }
    b->dropped += b->count - left;
    for (uint32_t k = 0, n = 0; k < b->count; k++)
        if (kept[k]) b->facts[n++] = b->facts[k];
    b->count = left;
    return true;
}

static const struct event_compaction all = { .safe = { UINT64_MAX, UINT64_MAX },
                                             .before_ms = INT64_MAX,
                                             .bytes_min = 1,
                                             .memory_bytes = 1 << 20 };

static void a_log_is_as_its_twin(void **state)
{
    uint64_t compactions = 0, dropped = 0, trimmed = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct bench *b = bench_create(seed);
        for (unsigned step = 0; step < 120; step++) {
            uint64_t what = sim_choose(b->sim, 100);
            if (what < 50) {
                add_some(b, 1 + (unsigned)sim_choose(b->sim, 40));
            } else if (what < 65) {
                assert_int_equal(events_sync(b->events), WEIR_OK);
                name_heads(b);
            } else if (what < 85) {
                struct event_compaction how = all;
                how.memory_bytes = sim_choose(b->sim, 2) ? 1 : 1 << 20; /* a file at a time */
                how.bytes_min = 1 + sim_choose(b->sim, 4000);
                how.dirty_percent = (uint32_t)sim_choose(b->sim, 60);
                if (sim_choose(b->sim, 3) == 0) how.before_ms = b->now - (int64_t)sim_choose(b->sim, 2000);
                if (sim_choose(b->sim, 3) == 0 && b->count > 0)
                    how.safe = b->facts[sim_choose(b->sim, b->count)].id;
                if (sim_choose(b->sim, 2)) how.is_gone = is_gone;
                how.gone_before_ms = b->now - (int64_t)sim_choose(b->sim, 3000);
                compactions += compact(b, &how, true);
                if (sim_choose(b->sim, 2)) name_heads(b);
            } else if (what < 90) {
                struct event_log_info info;
                if (event_log_trim(b->log, b->now - 3000, 0, (struct event_id){ UINT64_MAX, 0 })) {
                    event_log_info(b->log, &info);
                    assert_true(info.count > 0 && info.count < b->count);
                    uint32_t gone = b->count - (uint32_t)info.count;
                    assert_true(b->facts[gone - 1].time_ms < b->now - 3000);
                    memmove(b->facts, b->facts + gone, info.count * sizeof(struct fact));
                    b->count = (uint32_t)info.count;
                    trimmed++;
                }
            } else {
                assert_int_equal(events_sync(b->events), WEIR_OK);
                name_heads(b);
                bench_close(b);
                /* Blocks of another size: what is there keeps its own. */
                b->options.block_bytes = 100 + sim_choose(b->sim, 800);
                bench_open(b);
                assert_int_equal(sim_open_handles(b->sim) > 8, 0);
            }
            assert_as_twin(b);
        }
        dropped += b->dropped;
        bench_destroy(b);
    }
    assert_true(compactions > 300 && dropped > 5000 && trimmed > 20);
}

static void compaction_leaves_the_newest_of_each_key(void **state)
{
    struct bench *b = bench_create(1);
    add_some(b, 2000);
    assert_true(compact(b, &all, false));
    assert_int_equal(b->count, KEYS);
    name_heads(b);
    bench_close(b);
    bench_open(b);
    assert_as_twin(b);
    /* Nothing new: nothing to do. */
    assert_false(compact(b, &all, false));
    struct event_log_info info;
    event_log_info(b->log, &info);
    assert_int_equal(info.files, 1);
    bench_destroy(b);
}

static void compaction_waits_until_it_is_worth_it(void **state)
{
    struct bench *b = bench_create(2);
    struct event_compaction how = all;
    struct event_log_info info;
    add_some(b, 300);
    event_log_info(b->log, &info);
    how.bytes_min = info.bytes + 1;
    assert_int_equal(event_log_compact(b->log, &how), WEIR_NOMORE);
    how.bytes_min = info.bytes;
    how.dirty_percent = 100; /* never compacted: all is new */
    assert_true(compact(b, &how, false));
    /* Now what is clean counts: half of all must be new. */
    how.bytes_min = 1;
    how.dirty_percent = 50;
    event_log_info(b->log, &info);
    uint64_t clean = info.bytes;
    unsigned added = 0;
    while (info.bytes - clean < clean) {
        assert_int_equal(event_log_compact(b->log, &how), WEIR_NOMORE);
        add_some(b, 1);
        added++;
        event_log_info(b->log, &info);
    }
    assert_true(added > 1);
    assert_true(compact(b, &how, false));
    bench_destroy(b);
}

/* A key that ended is there until the delay has passed, then nothing of it is. */
static void an_ended_key_goes_after_its_delay(void **state)
{
    struct bench *b = bench_create(3);
    struct event_compaction how = all;
    how.is_gone = is_gone;
    add(b, 1, 5, false);
    add(b, 2, 5, false);
    add(b, 1, 5, true);
    b->now += 5000;
    int64_t ended = b->facts[2].time_ms;
    how.gone_before_ms = ended; /* not older than that */
    assert_true(compact(b, &how, false));
    assert_int_equal(b->count, 2);
    assert_true(b->facts[1].gone);
    add(b, 3, 5, false);
    how.gone_before_ms = ended + 1;
    assert_true(compact(b, &how, false));
    assert_int_equal(b->count, 2);
    assert_int_equal(b->facts[0].key, 2);
    assert_int_equal(b->facts[1].key, 3);
    /* All may go: the log is empty, and its ids go on. */
    add(b, 2, 5, true);
    add(b, 3, 5, true);
    how.gone_before_ms = INT64_MAX;
    assert_true(compact(b, &how, false));
    assert_int_equal(b->count, 0);
    name_heads(b);
    bench_close(b);
    bench_open(b);
    struct event_log_info info;
    event_log_info(b->log, &info);
    assert_int_equal(info.count, 0);
    assert_int_equal(info.files, 0);
    assert_int_equal(info.last.epoch, b->epoch);
    add(b, 2, 5, false);
    assert_as_twin(b);
    bench_destroy(b);
}

/* Heads made for the sake of one log must not break another that was never synced. */
static void heads_of_a_log_that_was_never_synced(void **state)
{
    struct bench *b = bench_create(4);
    struct event_log *other = events_log(b->events, 8, 0);
    struct event e = { { 1, 1 }, 1, STR("k"), STR("v") };
    assert_true(event_log_append(other, &e));
    add_some(b, 100);
    assert_true(compact(b, &all, false));
    name_heads(b);
    bench_close(b);
    bench_open(b);
    assert_as_twin(b);
    other = events_log(b->events, 8, 0);
    assert_int_equal(event_log_count_after(other, (struct event_id){ 0, 0 }), 0);
    assert_true(event_log_append(other, &e)); /* the log of epochs has it still */
    bench_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_is_as_its_twin),
        cmocka_unit_test(compaction_leaves_the_newest_of_each_key),
        cmocka_unit_test(compaction_waits_until_it_is_worth_it),
        cmocka_unit_test(an_ended_key_goes_after_its_delay),
        cmocka_unit_test(heads_of_a_log_that_was_never_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
