/*
 * checkpoint.c - all rows in one file, so that the log need not be read from the beginning.
 *
 * Blocks of row changes, each with its checksum, then a footer that counts and hashes them; read back and
 * verified before the manifest names it. The two newest are kept: if one is found bad, the older and the
 * longer log serve. Form: docs/formats/checkpoint.md.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>

#include "store/store_int.h"

#define BLOCK_MAGIC 0x4b424357u /* "WCBK" */
#define BLOCK_HEADER_BYTES 32u
#define BLOCK_BYTES_MAX (64u << 20)

enum block_kind { BLOCK_ROWS = 1, BLOCK_FOOTER = 2 };

static void block_encode(const struct store *store, uint64_t sequence, uint64_t offset,
                         enum block_kind kind, struct weir_str payload, char *out, uint64_t *hash)
{
    *hash = hash64(store_seed(store, sequence, offset), payload.ptr, payload.len);
    memset(out, 0, BLOCK_HEADER_BYTES);
    store_le32(out, BLOCK_MAGIC);
    store_le32(out + 4, kind);
    store_le64(out + 8, payload.len);
    store_le64(out + 16, *hash);
    store_le32(out + 28, crc32c((uint32_t)store_seed(store, sequence, offset), out, 28));
}

static int64_t block_write(struct store *store, enum block_kind kind, struct weir_str payload,
                           uint64_t *hash)
{
    struct env *env = store->env;
    struct buf *out = &store->scratch;
    buf_reset(out);
    buf_reserve(out, BLOCK_HEADER_BYTES + payload.len);
    block_encode(store, store->checkpoint_sequence, store->checkpoint_offset, kind, payload,
                 out->ptr, hash);
    out->len = BLOCK_HEADER_BYTES;
    buf_add_str(out, payload);
    int64_t error = env->write(env, store->checkpoint_fd, out->ptr, out->len,
                               store->checkpoint_offset);
    if (error < 0) return error;
    env->sync_begin(env, store->checkpoint_fd, store->checkpoint_offset, out->len);
    store->checkpoint_offset += out->len;
    return error;
}

/* ---- writing ---- */

static enum weir_status checkpoint_fail(struct store *store, int64_t error)
{
    MARK("a checkpoint cannot be written");
    store_checkpoint_abort(store);
    return status_of_errno((int)-error);
}

enum weir_status store_checkpoint_begin(struct store *store, uint64_t begin)
{
    struct env *env = store->env;
    ASSERT(store->checkpoint_fd < 0);
    char name[ENV_NAME_MAX];
    store->checkpoint_sequence = store->next_sequence++;
    store->checkpoint_begin = begin;
    store->checkpoint_offset = FILE_HEADER_BYTES;
    store->checkpoint_rows = store->checkpoint_blocks = store->checkpoint_hash = 0;
    store_name(name, "writing", store->checkpoint_sequence);
    int fd = env->open(env, store->dir, name, ENV_WRITE | ENV_CREATE);
    if (fd < 0) return status_of_errno(-fd);
    store->checkpoint_fd = fd;
    uint8_t header[FILE_HEADER_BYTES];
    file_header(store, FILE_CHECKPOINT, store->checkpoint_sequence, 0, 0, header);
    int64_t error = env->write(env, fd, header, sizeof(header), 0);
    return error < 0 ? checkpoint_fail(store, error) : WEIR_OK;
}

enum weir_status store_checkpoint_add(struct store *store, struct weir_str batch)
{
    ASSERT(store->checkpoint_fd >= 0);
    if (batch.len == 0) return WEIR_OK;
    uint64_t rows = 0, hash;
    ASSERT(changes_apply(batch, NULL, NULL, &rows));
    int64_t error = block_write(store, BLOCK_ROWS, batch, &hash);
    if (error >= 0 && ENV_CHANCE(store->env, "checkpoint.sync_early"))
        error = store->env->sync(store->env, store->checkpoint_fd);
    if (error < 0) return checkpoint_fail(store, error);
    store->checkpoint_rows += rows;
    store->checkpoint_blocks++;
    store->checkpoint_hash = store->checkpoint_hash * 31 + hash;
    return WEIR_OK;
}

void store_checkpoint_abort(struct store *store)
{
    if (store->checkpoint_fd < 0) return;
    char name[ENV_NAME_MAX];
    store->env->close(store->env, store->checkpoint_fd);
    store->checkpoint_fd = -1;
    store_name(name, "writing", store->checkpoint_sequence);
    (void)store->env->unlink(store->env, store->dir, name);
}

/* ---- reading ---- */

struct blocks {
    struct store *store;
    int fd;
    uint64_t sequence, offset, rows, count, hash;
    struct buf bytes;
};

/* The next block's payload in b->bytes; WEIR_NOMORE at a good footer. */
static enum weir_status block_read(struct blocks *b, uint64_t *begin)
{
    struct env *env = b->store->env;
    char head[BLOCK_HEADER_BYTES];
    uint64_t seed = store_seed(b->store, b->sequence, b->offset);
    int64_t got = env->read(env, b->fd, head, sizeof(head), b->offset);
    if (got < 0) return WEIR_IO;
    if (got < (int64_t)sizeof(head) || load_le32(head) != BLOCK_MAGIC || load_le32(head + 24) != 0)
        return WEIR_CORRUPT;
    if (load_le32(head + 28) != crc32c((uint32_t)seed, head, 28)) return WEIR_CORRUPT;
    uint64_t len = load_le64(head + 8);
    int64_t size = env->size(env, b->fd);
    if (size < 0) return WEIR_IO;
    if (len > BLOCK_BYTES_MAX || len > (uint64_t)size) return WEIR_CORRUPT;
    buf_reset(&b->bytes);
    buf_reserve(&b->bytes, len + 1);
    got = env->read(env, b->fd, b->bytes.ptr, len, b->offset + BLOCK_HEADER_BYTES);
    if (got < 0) return WEIR_IO;
    b->bytes.len = len;
    uint64_t hash = load_le64(head + 16);
    if ((uint64_t)got < len || hash64(seed, b->bytes.ptr, len) != hash) return WEIR_CORRUPT;
    b->offset += BLOCK_HEADER_BYTES + len;
    if (load_le32(head + 4) == BLOCK_FOOTER) {
        if (len != 32 || load_le64(b->bytes.ptr) != b->rows ||
            load_le64(b->bytes.ptr + 8) != b->count || load_le64(b->bytes.ptr + 16) != b->hash)
            return WEIR_CORRUPT;
        *begin = load_le64(b->bytes.ptr + 24);
        return WEIR_NOMORE;
    }
    if (load_le32(head + 4) != BLOCK_ROWS) return WEIR_CORRUPT;
    b->count++;
    b->hash = b->hash * 31 + hash;
    return WEIR_OK;
}

/* Reads the whole file; with `apply`, hands its rows out. */
static enum weir_status checkpoint_read(struct store *store, const char *name, uint64_t sequence,
                                        uint64_t expected_begin, store_apply_fn *apply, void *arg,
                                        uint64_t *rows)
{
    struct env *env = store->env;
    struct blocks b = { .store = store, .sequence = sequence, .offset = FILE_HEADER_BYTES };
    char header[FILE_HEADER_BYTES];
    uint64_t begin = 0;
    b.fd = env->open(env, store->dir, name, ENV_READ);
    if (b.fd < 0) return b.fd == -ENOENT ? WEIR_CORRUPT : WEIR_IO;
    int64_t got = env->read(env, b.fd, header, sizeof(header), 0);
    enum weir_status st = got < 0 ? WEIR_IO
                          : got < (int64_t)sizeof(header)
                              ? WEIR_CORRUPT
                              : file_header_check(store, FILE_CHECKPOINT, sequence, header);
    while (st == WEIR_OK) {
        st = block_read(&b, &begin);
        if (st == WEIR_OK && !changes_apply(buf_str(&b.bytes), apply, arg, &b.rows))
            st = WEIR_CORRUPT;
    }
    env->close(env, b.fd);
    buf_free(&b.bytes);
    *rows = b.rows;
    if (st != WEIR_NOMORE) return st;
    return begin == expected_begin ? WEIR_OK : WEIR_CORRUPT;
}

enum weir_status store_checkpoint_finish(struct store *store)
{
    struct env *env = store->env;
    ASSERT(store->checkpoint_fd >= 0);
    char temporary[ENV_NAME_MAX], name[ENV_NAME_MAX], footer[32];
    uint64_t sequence = store->checkpoint_sequence, begin = store->checkpoint_begin, hash, rows;
    store_name(temporary, "writing", sequence);
    store_name(name, "checkpoint", sequence);
    store_le64(footer, store->checkpoint_rows);
    store_le64(footer + 8, store->checkpoint_blocks);
    store_le64(footer + 16, store->checkpoint_hash);
    store_le64(footer + 24, begin);
    int64_t error = block_write(store, BLOCK_FOOTER, (struct weir_str){ footer, sizeof(footer) },
                                &hash);
#ifndef MUTANT_store_checkpoint_not_synced
    if (error >= 0) error = env->sync(env, store->checkpoint_fd);
#endif
    if (error < 0) return checkpoint_fail(store, error);
    env->close(env, store->checkpoint_fd);
    store->checkpoint_fd = -1;
    error = env->rename(env, store->dir, temporary, name);
#ifndef MUTANT_store_checkpoint_dir_not_synced
    if (error >= 0) error = env->dir_sync(env, store->dir);
#endif
    enum weir_status st = error < 0
                              ? status_of_errno((int)-error)
                              : checkpoint_read(store, name, sequence, begin, NULL, NULL, &rows);
    if (st == WEIR_OK && ENV_CHANCE(env, "store.checkpoint_bad")) st = WEIR_IO;
    if (st != WEIR_OK) {
        MARK("a checkpoint is not as it was written");
        (void)env->unlink(env, store->dir, name);
        return st;
    }
    /* The new one in, the oldest out, in one manifest; then the files go. */
    struct checkpoint gone = { 0 };
    store->checkpoints[store->checkpoint_count++] = (struct checkpoint){ sequence, begin };
    if (store->checkpoint_count > CHECKPOINTS_KEPT) {
        gone = store->checkpoints[0];
        memmove(store->checkpoints, store->checkpoints + 1,
                CHECKPOINTS_KEPT * sizeof(struct checkpoint));
        store->checkpoint_count = CHECKPOINTS_KEPT;
    }
    /* The first checkpoint has the whole log behind it as its second. */
    struct cut cut = { 0 };
    uint64_t needed = store->checkpoints[0].begin < begin ? store->checkpoints[0].begin : begin;
    if (store->checkpoint_count == CHECKPOINTS_KEPT) log_cut_plan(store, needed, &cut);
    st = manifest_write(store, false);
    if (st != WEIR_OK) {
        MARK("a checkpoint cannot be named");
        if (cut.count > 0) log_cut_undo(store, &cut);
        if (st != WEIR_POISONED) (void)env->unlink(env, store->dir, name);
        if (gone.sequence != 0) {
            memmove(store->checkpoints + 1, store->checkpoints,
                    CHECKPOINTS_KEPT * sizeof(struct checkpoint));
            store->checkpoints[0] = gone;
            store->checkpoint_count++;
        }
        store->checkpoint_count--;
        return st;
    }
    if (cut.count > 0) MARK("the log is cut");
    store->stats.log_bytes_since_checkpoint = 0;
    if (gone.sequence != 0) {
        store_name(name, "checkpoint", gone.sequence);
        (void)env->unlink(env, store->dir, name);
    }
    log_cut_finish(store, &cut);
    return WEIR_OK;
}

enum weir_status checkpoint_load(struct store *store, store_apply_fn *apply, void *arg,
                                 struct store_recovery *recovery, uint64_t *begin)
{
    *begin = 0;
    uint32_t had = store->checkpoint_count;
    while (store->checkpoint_count > 0) {
        struct checkpoint *c = &store->checkpoints[store->checkpoint_count - 1];
        char name[ENV_NAME_MAX];
        uint64_t rows;
        store_name(name, "checkpoint", c->sequence);
        enum weir_status st = checkpoint_read(store, name, c->sequence, c->begin, NULL, NULL,
                                              &rows);
        if (st == WEIR_OK && store->checkpoint_count > 1 &&
            ENV_CHANCE(store->env, "store.older_checkpoint")) {
            MARK("recovery takes the older checkpoint");
            store->checkpoint_count--;
            continue;
        }
        if (st == WEIR_OK) {
            *begin = c->begin;
            if (c->begin <= store->cut_epoch)
                return store_fail(
                    store, WEIR_CORRUPT,
                    "the log behind %s was cut: needed from epoch %llu, cut up to %llu", name,
                    (unsigned long long)c->begin, (unsigned long long)store->cut_epoch);
            return checkpoint_read(store, name, c->sequence, c->begin, apply, arg, &recovery->rows);
        }
        if (st == WEIR_IO || st == WEIR_NEWER)
            return store_fail(store, st, "cannot read %s: %s", name, weir_status_text(st));
        MARK("recovery skips a damaged checkpoint");
        store->checkpoint_count--; /* the older one, or the whole log */
        recovery->damaged_checkpoints++;
    }
    if (store->cut_epoch == 0) return WEIR_OK; /* the log is whole */
    return store_fail(store, WEIR_CORRUPT,
                      had == 2 ? "both checkpoints are damaged, and the log before them is gone; "
                                 "restore a copy of the directory"
                               : "the only checkpoint is damaged, and the log before it is gone; "
                                 "restore a copy of the directory");
}
