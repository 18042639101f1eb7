/*
 * test_full.c - room: what the store keeps aside is bounded, and a disk that something else filled stops writes only.
 * SPDX-License-Identifier: MIT
 */
#include "twin.h"

#include "../base/draw.h"

static unsigned torn_count(struct twin *t)
{
    struct twin_files files;
    return twin_list(t, "torn-", &files);
}

/* Power cuts that leave the beginning of a frame: each start puts one end aside. */
static void store_keeps_few_torn_ends(void **state)
{
    for (unsigned max = 1; max <= STORE_TORN_FILES_MAX; max += 3) {
        struct twin *t = twin_create(7);
        t->options.torn_files_max = max;
        t->value_bytes = 3000; /* sectors that the frame before has a part of cannot be torn */
        unsigned cuts = 0;
        assert_int_equal(twin_open(t), WEIR_OK);
        for (unsigned i = 0; i < 120; i++) {
            twin_commit(t, 1);
            uint64_t acked = t->epoch;
            assert_int_equal(twin_write(t), WEIR_OK);
            twin_power_cut(t, SIM_KEEP_PREFIX_TORN);
            assert_int_equal(twin_open(t), WEIR_OK);
            assert_true(t->recovery.durable_epoch >= acked && twin_matches(t));
            t->epoch = t->recovery.durable_epoch;
            cuts += t->recovery.torn_bytes > 0;
            assert_true(torn_count(t) <= max);
        }
        assert_true(cuts > 2 * max && torn_count(t) == max);
        twin_destroy(t);
    }
}

/* A start that is cut short again and again leaves nothing behind each time. */
static void failed_starts_pile_up_nothing(void **state)
{
    struct twin *t = twin_create(7);
    t->value_bytes = 900;
    assert_int_equal(twin_open(t), WEIR_OK);
    do {
        twin_commit(t, 1);
        assert_int_equal(twin_write(t), WEIR_OK);
        twin_power_cut(t, SIM_KEEP_PREFIX_TORN);
        assert_int_equal(twin_open(t), WEIR_OK);
        t->epoch = t->recovery.durable_epoch;
    } while (t->recovery.torn_bytes == 0);
    twin_commit(t, 1);
    assert_int_equal(twin_write(t), WEIR_OK);
    twin_power_cut(t, SIM_KEEP_PREFIX_TORN);
    unsigned failures = 0;
    struct twin_files files;
    unsigned before = twin_list(t, "", &files);
    for (uint64_t at = 1; at < 200; at++) {
        sim_fault_at(t->sim, at, SIM_FAULT_EIO);
        enum weir_status st = twin_open(t);
        sim_fault_at(t->sim, 0, SIM_FAULT_NONE);
        if (st == WEIR_OK) break;
        failures++;
        assert_true(twin_list(t, "", &files) <= before + 3); /* two manifests on their way, a new segment */
    }
    assert_true(failures > 5);
    assert_true(twin_matches(t));
    twin_destroy(t);
}

/* Everything free is taken by someone else. */
static void disk_fill(struct twin *t)
{
    struct twin_files files;
    struct buf bytes = { 0 };
    uint64_t used = 0;
    unsigned count = twin_list(t, "", &files);
    for (unsigned i = 0; i < count; i++) {
        twin_read(t, files.names[i], &bytes);
        used += bytes.len;
    }
    buf_free(&bytes);
    sim_disk_limit(t->sim, used);
}

static void store_starts_on_a_disk_that_others_filled(void **state)
{
    struct twin *t = twin_create(9);
    assert_int_equal(twin_open(t), WEIR_OK);
    for (unsigned i = 0; i < 30; i++) {
        twin_commit(t, 1);
        while (store_prepare(t->store)) continue;
    }
    for (unsigned i = 0; i < 4; i++) { /* each start must leave a reserve for the next */
        disk_fill(t);
        twin_power_cut(t, SIM_KEEP_ALL);
        assert_int_equal(twin_open(t), WEIR_OK);
        assert_int_equal(t->recovery.durable_epoch, t->epoch);
        assert_true(twin_matches(t));
        (void)store_prepare(t->store); /* what the start gave back may be used again */
        assert_false(twin_stats(t).poisoned);
    }
    enum weir_status st = WEIR_OK;
    for (unsigned i = 0; i < 200 && st == WEIR_OK; i++) {
        st = twin_write(t);
        if (st == WEIR_OK) assert_int_equal(store_sync(t->store), WEIR_OK);
    }
    assert_int_equal(st, WEIR_DISKFULL);
    sim_disk_limit(t->sim, 0);
    while (store_prepare(t->store)) continue;
    assert_false(twin_stats(t).disk_full);
    twin_commit(t, 20);
    twin_power_cut(t, SIM_KEEP_NOTHING);
    assert_int_equal(twin_open(t), WEIR_OK);
    assert_int_equal(t->recovery.durable_epoch, t->epoch);
    assert_true(twin_matches(t));
    twin_destroy(t);
}

/* What a disk that fails does to the segment and the reserve made ahead stops no write: only want of room does. */
static void a_preparation_that_fails_is_no_full_disk(void **state)
{
    unsigned failures = 0, poisoned = 0;
    for (unsigned run = 0; run < 20 * 16; run++) { /* after 0 to 19 frames, the first to the sixteenth operation fails */
        struct twin *t = twin_create(7);
        assert_int_equal(twin_open(t), WEIR_OK);
        twin_commit(t, run / 16);
        sim_fault_at(t->sim, run % 16 + 1, SIM_FAULT_EIO);
        while (store_prepare(t->store)) continue;
        sim_fault_at(t->sim, 0, SIM_FAULT_NONE);
        assert_false(twin_stats(t).disk_full);
        if (twin_stats(t).poisoned) {
            poisoned++; /* a manifest that may be half named */
        } else {
            failures += twin_stats(t).prepare_failed;
            while (store_prepare(t->store)) continue;
            assert_false(twin_stats(t).prepare_failed || twin_stats(t).disk_full);
            twin_commit(t, 5);
        }
        twin_destroy(t);
    }
    assert_true(failures > 3 && poisoned > 0);
}

/* ---- the next segment, made a piece at a time ---- */

static int64_t (*plain_write)(struct env *env, int fd, const void *bytes, size_t len, uint64_t offset);
static uint64_t written;

static int64_t counted_write(struct env *env, int fd, const void *bytes, size_t len, uint64_t offset)
{
    written += len;
    return plain_write(env, fd, bytes, len, offset);
}

/* With the preparation only when it is due, as under load: no frame waits for a segment, and no piece is large. */
static void the_next_segment_is_made_in_time_and_in_pieces(void **state)
{
    struct twin *t = twin_create(11);
    t->options = (struct store_options){ 1 << 20, 4 << 20, 0 };
    t->value_bytes = 60000;
    plain_write = t->env.write;
    t->env.write = counted_write;
    assert_int_equal(twin_open(t), WEIR_OK);
    unsigned pieces = 0;
    uint64_t segments = twin_stats(t).segment_count;
    while (twin_stats(t).segment_count < segments + 4) {
        written = 0;
        twin_commit(t, 1);
        assert_true(written < 2 * t->value_bytes);
        for (; store_prepare_is_due(t->store); pieces++) { /* as many as the frame was large for */
            written = 0;
            assert_true(store_prepare(t->store));
            assert_true(written <= 256 << 10);
        }
    }
    assert_true(pieces > 4 * 4);
    /* a start finds one that is being made, and nothing of it stays */
    struct twin_files files;
    while (!store_prepare_is_due(t->store)) twin_commit(t, 1);
    unsigned before = twin_list(t, "log-", &files);
    for (unsigned i = 0; i < 4 && twin_list(t, "log-", &files) == before; i++) assert_true(store_prepare(t->store));
    assert_int_equal(twin_list(t, "log-", &files), before + 1);
    twin_power_cut(t, SIM_KEEP_ALL);
    assert_int_equal(twin_open(t), WEIR_OK);
    assert_int_equal(t->recovery.durable_epoch, t->epoch);
    assert_true(twin_matches(t));
    assert_true(twin_list(t, "log-", &files) <= before + 1); /* the tail is written again into a new one */
    twin_destroy(t);
}

/* ---- files of segments that were cut, used again ---- */

static unsigned spare_count(struct twin *t)
{
    struct twin_files files;
    return twin_list(t, "spare-", &files);
}

/* Commits, with all that can be prepared behind each; gives what preparing wrote. */
static uint64_t commit_prepared(struct twin *t, unsigned count)
{
    uint64_t made = 0;
    for (unsigned i = 0; i < count; i++) {
        twin_commit(t, 1);
        written = 0;
        while (store_prepare(t->store)) continue;
        made += written;
    }
    return made;
}

static struct twin *twin_of_small_segments(uint64_t seed, uint64_t reserve)
{
    struct twin *t = twin_create(seed);
    t->options = (struct store_options){ 2 * ENV_BLOCK_BYTES, 16 * ENV_BLOCK_BYTES, reserve };
    t->value_bytes = 3000;
    plain_write = t->env.write;
    t->env.write = counted_write;
    assert_int_equal(twin_open(t), WEIR_OK);
    return t;
}

/* Segments have doubled meanwhile, so the first that are cut are too small for the next. */
static void a_log_that_is_cut_fills_no_more_files_with_zeros(void **state)
{
    struct twin *t = twin_of_small_segments(13, 0);
    uint64_t since = 0, made = 0;
    for (unsigned cycle = 0; cycle < 12; cycle++) {
        if (cycle == 5) made = 0, since = t->epoch;
        made += commit_prepared(t, 36); /* two segments and a half */
        assert_int_equal(twin_checkpoint(t), WEIR_OK);
        assert_true(spare_count(t) <= 4);
        if (cycle >= 5) assert_true(spare_count(t) > 0);
    }
    uint64_t log = (t->epoch - since) * t->value_bytes;
    assert_true(made > 0 && made * 8 < log); /* a block for each segment, and two manifests */
    twin_power_cut(t, SIM_KEEP_RANDOM);
    assert_int_equal(twin_open(t), WEIR_OK);
    assert_int_equal(t->recovery.durable_epoch, t->epoch);
    assert_true(twin_matches(t));
    assert_int_equal(spare_count(t), 0);
    twin_destroy(t);
}

/* They are room: the log goes on in them, and what else needs room gets theirs. */
static void spare_files_give_way_on_a_full_disk(void **state)
{
    for (unsigned run = 0; run < 2; run++) {
        struct twin *t = twin_of_small_segments(17 + run, 0);
        for (unsigned cycle = 0; cycle < 6; cycle++) {
            (void)commit_prepared(t, 48);
            assert_int_equal(twin_checkpoint(t), WEIR_OK);
        }
        assert_true(spare_count(t) >= 2);
        uint64_t before = t->epoch;
        disk_fill(t);
        if (run == 0) { /* a checkpoint */
            assert_int_equal(twin_checkpoint(t), WEIR_DISKFULL);
            assert_int_equal(spare_count(t), 0);
            assert_int_equal(twin_checkpoint(t), WEIR_OK);
        } else { /* the log */
            enum weir_status st = WEIR_OK;
            while (st == WEIR_OK) {
                st = twin_write(t);
                if (st == WEIR_OK) assert_int_equal(store_sync(t->store), WEIR_OK);
                while (store_prepare(t->store)) continue;
            }
            assert_int_equal(st, WEIR_DISKFULL);
            assert_int_equal(spare_count(t), 0);
            assert_true((t->epoch - before) * t->value_bytes > 2 * 16 * ENV_BLOCK_BYTES);
        }
        twin_power_cut(t, SIM_KEEP_NOTHING);
        assert_int_equal(twin_open(t), WEIR_OK);
        assert_int_equal(t->recovery.durable_epoch, t->epoch);
        assert_true(twin_matches(t));
        twin_destroy(t);
    }
}

/* A frame larger than segments are: of the spares only a larger one will do, and stays where others give way. */
static void a_large_frame_gets_a_spare_that_is_large_enough(void **state)
{
    unsigned written_some = 0;
    for (unsigned run = 0; run < 60; run++) {
        struct twin *t = twin_of_small_segments(23, 20 * ENV_BLOCK_BYTES);
        for (unsigned cycle = 0; cycle < 3 + run % 3; cycle++) {
            (void)commit_prepared(t, 16 + run % 5 * 4);
            if (cycle == 2) { /* a segment of its own, which is cut and kept, too */
                t->value_bytes = 30 * ENV_BLOCK_BYTES;
                twin_commit(t, 1);
                t->value_bytes = 3000;
            }
            assert_int_equal(twin_checkpoint(t), WEIR_OK);
        }
        (void)commit_prepared(t, run / 15);
        for (unsigned i = 0; i < 2; i++) assert_int_equal(twin_checkpoint(t), WEIR_OK);
        disk_fill(t);
        t->value_bytes = 30 * ENV_BLOCK_BYTES;
        enum weir_status st = twin_write(t);
        if (st == WEIR_OK) assert_int_equal(store_sync(t->store), WEIR_OK);
        else assert_int_equal(st, WEIR_DISKFULL);
        written_some += st == WEIR_OK;
        twin_power_cut(t, SIM_KEEP_NOTHING);
        assert_int_equal(twin_open(t), WEIR_OK);
        assert_int_equal(t->recovery.durable_epoch, t->epoch);
        twin_destroy(t);
    }
    assert_true(written_some > 0 && written_some < 60);
}

/* ---- a limit of the file's size, as RLIMIT_FSIZE sets it ---- */

static uint64_t size_limit = UINT64_MAX;

/* What the limit lets through of a block goes through the page cache, which writes the rest of it as it was. */
static int64_t limited_write(struct env *env, int fd, const void *bytes, size_t len, uint64_t offset)
{
    if (offset + len <= size_limit) return plain_write(env, fd, bytes, len, offset);
    if (offset >= size_limit) return -EFBIG;
    char *mixed = mem_aligned(ENV_BLOCK_BYTES, len);
    memset(mixed, 0, len);
    (void)env->read(env, fd, mixed, len, offset);
    memcpy(mixed, bytes, size_limit - offset);
    (void)plain_write(env, fd, mixed, len, offset);
    mem_free(mixed);
    return -EFBIG;
}

static void a_frame_past_the_size_limit_waits_for_room(void **state)
{
    for (uint64_t limit = 64; limit < 6000; limit += limit < 1024 || (limit > 4000 && limit < 4400) ? 7 : 97) {
        struct twin *t = twin_create(3);
        t->options.segment_bytes_first = 2 * ENV_BLOCK_BYTES;
        plain_write = t->env.write;
        t->env.write = limited_write;
        size_limit = UINT64_MAX;
        assert_int_equal(twin_open(t), WEIR_OK);
        twin_commit(t, 2);
        size_limit = limit;
        enum weir_status st = WEIR_OK;
        for (unsigned i = 0; i < 60 && st == WEIR_OK; i++) {
            st = twin_write(t);
            if (st == WEIR_OK) assert_int_equal(store_sync(t->store), WEIR_OK);
        }
        assert_int_equal(st, WEIR_DISKFULL);
        assert_int_equal(twin_write(t), WEIR_DISKFULL);
        if (limit % 2 == 0) {
            twin_power_cut(t, SIM_KEEP_ALL);
            size_limit = UINT64_MAX;
            assert_int_equal(twin_open(t), WEIR_OK);
            assert_int_equal(t->recovery.durable_epoch, t->epoch);
            assert_true(twin_matches(t));
        }
        size_limit = UINT64_MAX;
        twin_commit(t, 5);
        twin_power_cut(t, SIM_KEEP_NOTHING);
        assert_int_equal(twin_open(t), WEIR_OK);
        assert_int_equal(t->recovery.durable_epoch, t->epoch);
        assert_true(twin_matches(t));
        twin_destroy(t);
    }
}

/* A frame that was refused with its bytes written is wiped out, and the next one goes to another file. The wiping must be on
 * the disk by then, or after a power cut the chain of records went on from a frame that was never taken. */
static void a_frame_refused_does_not_come_back_before_the_next(void **state)
{
    unsigned refused = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct twin *t = twin_create(seed);
        assert_int_equal(twin_open(t), WEIR_OK);
        twin_commit(t, 1 + (unsigned)(seed % 4));
        sim_fault_at(t->sim, 1, SIM_FAULT_ENOSPC);
        refused += twin_write(t) == WEIR_DISKFULL;
        sim_fault_at(t->sim, 0, SIM_FAULT_NONE);
        t->value_bytes = 2 * ENV_BLOCK_BYTES; /* more than the file has room for */
        twin_commit(t, 2);
        twin_power_cut(t, SIM_KEEP_RANDOM);
        enum weir_status st = twin_open(t);
        CHECK(seed, st == WEIR_OK && t->recovery.durable_epoch == t->epoch && twin_matches(t));
        twin_destroy(t);
    }
    assert_int_equal(refused, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_keeps_few_torn_ends),
        cmocka_unit_test(failed_starts_pile_up_nothing),
        cmocka_unit_test(store_starts_on_a_disk_that_others_filled),
        cmocka_unit_test(a_preparation_that_fails_is_no_full_disk),
        cmocka_unit_test(the_next_segment_is_made_in_time_and_in_pieces),
        cmocka_unit_test(a_log_that_is_cut_fills_no_more_files_with_zeros),
        cmocka_unit_test(spare_files_give_way_on_a_full_disk),
        cmocka_unit_test(a_large_frame_gets_a_spare_that_is_large_enough),
        cmocka_unit_test(a_frame_past_the_size_limit_waits_for_room),
        cmocka_unit_test(a_frame_refused_does_not_come_back_before_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
