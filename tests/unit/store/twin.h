/*
 * twin.h - a store in the simulated world beside a naive twin of its rows, for the tests of this room.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_STORE_TWIN_H
#define WEIR_TESTS_STORE_TWIN_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "os/sim.h"
#include "store/store.h"

#define TWIN_KEYS 8u
#define TWIN_EPOCHS 512u

struct twin {
    struct sim *sim;
    struct env env; /* the simulator's, where a test may put a call of its own */
    struct store_options options;
    struct store *store;
    struct store_recovery recovery;
    char error[400];
    uint64_t values[TWIN_EPOCHS][TWIN_KEYS]; /* epoch that wrote the row; 0: absent */
    uint64_t got[TWIN_KEYS];
    uint64_t epoch;
    size_t value_bytes;
    bool wrong; /* a row that was never written */
};

static inline void twin_row(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
    struct twin *t = arg;
    if (op == STORE_EXPECT) return;
    if (key.len != 1 || (uint8_t)key.ptr[0] >= TWIN_KEYS || slot != (uint8_t)key.ptr[0]) {
        t->wrong = true;
        return;
    }
    uint64_t epoch = 0;
    if (value.ptr != NULL && value.len < 8) t->wrong = true;
    else if (value.ptr != NULL) memcpy(&epoch, value.ptr, 8);
    for (size_t i = 8; value.ptr != NULL && i < value.len; i++) {
        if ((uint8_t)value.ptr[i] != (uint8_t)(epoch + i)) t->wrong = true;
    }
    t->got[(uint8_t)key.ptr[0]] = epoch;
}

static inline void twin_value(uint64_t epoch, size_t bytes, struct buf *out)
{
    buf_reset(out);
    buf_add(out, &epoch, 8);
    for (size_t i = 8; i < bytes; i++) buf_add_byte(out, (uint8_t)(epoch + i));
}

static inline struct twin *twin_create(uint64_t seed)
{
    struct twin *t = mem_alloc(sizeof(*t));
    t->sim = sim_create(seed);
    t->env = *sim_env(t->sim);
    t->options = (struct store_options){ ENV_BLOCK_BYTES, 4 * ENV_BLOCK_BYTES, 0 };
    t->value_bytes = 40;
    return t;
}

static inline void twin_destroy(struct twin *t)
{
    if (t->store != NULL) store_abandon(t->store);
    sim_destroy(t->sim);
    mem_free(t);
}

static inline enum weir_status twin_open(struct twin *t)
{
    memset(t->got, 0, sizeof(t->got));
    t->wrong = false;
    return store_open(&t->env, "/data", &t->options, twin_row, t, &t->store, &t->recovery, t->error, sizeof(t->error));
}

/** Rows are those of the recovered epoch, no more and no less. */
static inline bool twin_matches(struct twin *t)
{
    uint64_t epoch = t->recovery.durable_epoch;
    return !t->wrong && epoch <= t->epoch && memcmp(t->got, t->values[epoch], sizeof(t->got)) == 0;
}

static inline enum weir_status twin_write(struct twin *t)
{
    uint64_t epoch = t->epoch + 1;
    struct buf batch = { 0 }, value = { 0 };
    assert_true(epoch < TWIN_EPOCHS);
    memcpy(t->values[epoch], t->values[epoch - 1], sizeof(t->got));
    uint8_t put = (uint8_t)(epoch % TWIN_KEYS), gone = (uint8_t)((epoch + 3) % TWIN_KEYS);
    twin_value(epoch, t->value_bytes, &value);
    store_change(&batch, put, (struct weir_str){ (const char *)&put, 1 }, buf_str(&value));
    t->values[epoch][put] = epoch;
    if (epoch % 5 == 0) {
        store_change_delete(&batch, gone, (struct weir_str){ (const char *)&gone, 1 });
        t->values[epoch][gone] = 0;
    }
    struct weir_str part = buf_str(&batch);
    struct store_frame frame = { .epoch = epoch, .wall_ms = 1000 + (int64_t)epoch, .parts = &part, .part_count = 1 };
    enum weir_status st = store_write(t->store, &frame);
    if (st == WEIR_OK) t->epoch = epoch;
    buf_free(&batch);
    buf_free(&value);
    return st;
}

static inline void twin_commit(struct twin *t, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(twin_write(t), WEIR_OK);
        assert_int_equal(store_sync(t->store), WEIR_OK);
    }
}

static inline enum weir_status twin_checkpoint(struct twin *t)
{
    struct buf batch = { 0 }, value = { 0 };
    enum weir_status st = store_checkpoint_begin(t->store, t->epoch + 1);
    for (uint8_t key = 0; key < TWIN_KEYS && st == WEIR_OK; key++) {
        if (t->values[t->epoch][key] == 0) continue;
        buf_reset(&batch);
        twin_value(t->values[t->epoch][key], t->value_bytes, &value);
        store_change(&batch, key, (struct weir_str){ (const char *)&key, 1 }, buf_str(&value));
        st = store_checkpoint_add(t->store, buf_str(&batch));
    }
    for (bool more = true; st == WEIR_OK && more;) st = store_checkpoint_finish(t->store, &more);
    buf_free(&batch);
    buf_free(&value);
    return st;
}

static inline void twin_close(struct twin *t)
{
    store_close(t->store);
    t->store = NULL;
}

static inline void twin_power_cut(struct twin *t, enum sim_crash_mode mode)
{
    store_abandon(t->store);
    t->store = NULL;
    sim_crash(t->sim, mode);
}

static inline struct store_stats twin_stats(struct twin *t)
{
    struct store_stats stats;
    store_stats(t->store, &stats);
    return stats;
}

/* ---- files ---- */

#define TWIN_FILES 256u

struct twin_files {
    char names[TWIN_FILES][ENV_NAME_MAX];
    unsigned count;
};

static inline void twin_files_add(void *arg, const char *name)
{
    struct twin_files *files = arg;
    assert_true(files->count < TWIN_FILES);
    snprintf(files->names[files->count++], ENV_NAME_MAX, "%s", name);
}

/** Files whose names begin with `prefix`, in order. */
static inline unsigned twin_list(struct twin *t, const char *prefix, struct twin_files *files)
{
    struct twin_files all = { .count = 0 };
    int dir = t->env.dir_open(&t->env, "/data", false);
    t->env.dir_list(&t->env, dir, twin_files_add, &all);
    t->env.dir_close(&t->env, dir);
    files->count = 0;
    for (unsigned i = 0; i < all.count; i++) {
        if (strncmp(all.names[i], prefix, strlen(prefix)) == 0) twin_files_add(files, all.names[i]);
    }
    return files->count;
}

static inline void twin_read(struct twin *t, const char *name, struct buf *out)
{
    int dir = t->env.dir_open(&t->env, "/data", false), fd = t->env.open(&t->env, dir, name, ENV_READ);
    assert_true(fd >= 0);
    int64_t size = t->env.size(&t->env, fd);
    buf_reset(out);
    buf_reserve(out, (size_t)size + 1);
    out->len = (size_t)t->env.read(&t->env, fd, out->ptr, (size_t)size, 0);
    t->env.close(&t->env, fd);
    t->env.dir_close(&t->env, dir);
}

/** Makes `bytes` the durable content of the file. */
static inline void twin_replace(struct twin *t, const char *name, const void *bytes, size_t len)
{
    int dir = t->env.dir_open(&t->env, "/data", false), fd = t->env.open(&t->env, dir, name, ENV_WRITE | ENV_CREATE);
    assert_true(fd >= 0);
    assert_int_equal(t->env.truncate(&t->env, fd, 0), 0);
    assert_int_equal(t->env.write(&t->env, fd, bytes, len, 0), (int64_t)len);
    assert_int_equal(t->env.sync(&t->env, fd), 0);
    t->env.close(&t->env, fd);
    assert_int_equal(t->env.dir_sync(&t->env, dir), 0);
    t->env.dir_close(&t->env, dir);
}

static inline void twin_flip(struct twin *t, const char *name, uint64_t offset, int bit)
{
    char path[ENV_NAME_MAX + 8];
    snprintf(path, sizeof(path), "/data/%s", name);
    assert_true(sim_flip(t->sim, path, offset, bit));
}

#endif
