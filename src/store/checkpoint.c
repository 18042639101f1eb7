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
    enum weir_status st = status_of_errno((int)-error);
    store_checkpoint_abort(store);
    if (st == WEIR_DISKFULL) log_spares_drop(store, 0);
    return st;
}

enum weir_status store_checkpoint_begin(struct store *store, uint64_t begin)
{
    struct env *env = store->env;
    ASSERT(store->checkpoint_fd < 0 && store->checkpoint_ending == NULL);
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

static enum weir_status blocks_open(struct blocks *b, struct store *store, uint64_t sequence)
{
    struct env *env = store->env;
    char name[ENV_NAME_MAX], header[FILE_HEADER_BYTES];
    *b = (struct blocks){ .store = store, .sequence = sequence, .offset = FILE_HEADER_BYTES };
    store_name(name, "checkpoint", sequence);
    b->fd = env->open(env, store->dir, name, ENV_READ);
    if (b->fd < 0) return b->fd == -ENOENT ? WEIR_CORRUPT : WEIR_IO;
    int64_t got = env->read(env, b->fd, header, sizeof(header), 0);
    if (got < 0) return WEIR_IO;
    if (got < (int64_t)sizeof(header)) return WEIR_CORRUPT;
    return file_header_check(store, FILE_CHECKPOINT, sequence, header);
}

static void blocks_close(struct blocks *b)
{
    if (b->fd >= 0) b->store->env->close(b->store->env, b->fd);
    buf_free(&b->bytes);
}

/* One block; with `apply`, hands its rows out. WEIR_NOMORE: the file is whole and ended. */
static enum weir_status blocks_next(struct blocks *b, uint64_t expected_begin,
                                    store_apply_fn *apply, void *arg)
{
    uint64_t begin = 0;
    enum weir_status st = block_read(b, &begin);
    if (st == WEIR_OK && !changes_apply(buf_str(&b->bytes), apply, arg, &b->rows))
        return WEIR_CORRUPT;
    return st == WEIR_NOMORE && begin != expected_begin ? WEIR_CORRUPT : st;
}

/* Reads the whole file. */
static enum weir_status checkpoint_read(struct store *store, const struct checkpoint *c,
                                        store_apply_fn *apply, void *arg, uint64_t *rows)
{
    struct blocks b;
    enum weir_status st = blocks_open(&b, store, c->sequence);
    while (st == WEIR_OK) st = blocks_next(&b, c->begin, apply, arg);
    blocks_close(&b);
    *rows = b.rows;
    return st == WEIR_NOMORE ? WEIR_OK : st;
}

/* ---- the end of writing, in pieces ---- */

enum ending_state { ENDING_CHECK, ENDING_FILES };

struct checkpoint_ending {
    enum ending_state state;
    struct blocks blocks;   /* ENDING_CHECK: being read back */
    struct checkpoint gone; /* ENDING_FILES: to be deleted, if its sequence is not 0 */
    struct cut cut;         /* likewise */
};

static void ending_free(struct store *store)
{
    struct checkpoint_ending *e = store->checkpoint_ending;
    if (e == NULL) return;
    blocks_close(&e->blocks);
    mem_free(e->cut.gone);
    mem_free(e);
    store->checkpoint_ending = NULL;
}

void checkpoint_abandon(struct store *store)
{
    if (store->checkpoint_fd >= 0) store->env->close(store->env, store->checkpoint_fd);
    store->checkpoint_fd = -1;
    ending_free(store);
}

/* Deletes one file of those that the manifest names no more; false when none is left. */
static bool files_delete_one(struct store *store)
{
    struct checkpoint_ending *e = store->checkpoint_ending;
    if (e->gone.sequence == 0) return log_cut_one(store, &e->cut);
    char name[ENV_NAME_MAX];
    store_name(name, "checkpoint", e->gone.sequence);
    (void)store->env->unlink(store->env, store->dir, name);
    e->gone.sequence = 0;
    return true;
}

void store_checkpoint_abort(struct store *store)
{
    struct checkpoint_ending *e = store->checkpoint_ending;
    const char *kind = store->checkpoint_fd >= 0               ? "writing"
                       : e != NULL && e->state == ENDING_CHECK ? "checkpoint"
                                                               : NULL;
    while (e != NULL && e->state == ENDING_FILES && files_delete_one(store)) {}
    checkpoint_abandon(store);
    if (kind == NULL) return;
    char name[ENV_NAME_MAX];
    store_name(name, kind, store->checkpoint_sequence);
    (void)store->env->unlink(store->env, store->dir, name);
}

/* The footer, and the name under which it is read back. */
static enum weir_status ending_begin(struct store *store)
{
    struct env *env = store->env;
    ASSERT(store->checkpoint_fd >= 0);
    char temporary[ENV_NAME_MAX], name[ENV_NAME_MAX], footer[32];
    uint64_t hash;
    store_name(temporary, "writing", store->checkpoint_sequence);
    store_name(name, "checkpoint", store->checkpoint_sequence);
    store_le64(footer, store->checkpoint_rows);
    store_le64(footer + 8, store->checkpoint_blocks);
    store_le64(footer + 16, store->checkpoint_hash);
    store_le64(footer + 24, store->checkpoint_begin);
    int64_t error = block_write(store, BLOCK_FOOTER, (struct weir_str){ footer, sizeof(footer) },
                                &hash);
#ifndef MUTANT_store_checkpoint_not_synced
    if (error >= 0) error = env->sync(env, store->checkpoint_fd);
#endif
    if (error < 0) return checkpoint_fail(store, error);
    env->close(env, store->checkpoint_fd);
    store->checkpoint_fd = -1;
    struct checkpoint_ending *e = store->checkpoint_ending = mem_alloc(sizeof(*e));
    e->blocks.fd = -1;
    error = env->rename(env, store->dir, temporary, name);
#ifndef MUTANT_store_checkpoint_dir_not_synced
    if (error >= 0) error = env->dir_sync(env, store->dir);
#endif
    return error < 0 ? status_of_errno((int)-error)
                     : blocks_open(&e->blocks, store, store->checkpoint_sequence);
}

/* The new one in, the oldest out, in one manifest; then the files may go. */
static enum weir_status ending_name(struct store *store)
{
    struct checkpoint_ending *e = store->checkpoint_ending;
    uint64_t begin = store->checkpoint_begin;
    store->checkpoints[store->checkpoint_count++] = (struct checkpoint){ store->checkpoint_sequence,
                                                                         begin };
    if (store->checkpoint_count > CHECKPOINTS_KEPT) {
        e->gone = store->checkpoints[0];
        memmove(store->checkpoints, store->checkpoints + 1,
                CHECKPOINTS_KEPT * sizeof(struct checkpoint));
        store->checkpoint_count = CHECKPOINTS_KEPT;
    }
    /* The first checkpoint has the whole log behind it as its second. */
    uint64_t needed = store->checkpoints[0].begin < begin ? store->checkpoints[0].begin : begin;
    if (store->checkpoint_count == CHECKPOINTS_KEPT) log_cut_plan(store, needed, &e->cut);
    enum weir_status st = manifest_write(store, false);
    if (st == WEIR_OK) {
        if (e->cut.count > 0) MARK("the log is cut");
        store->stats.log_bytes_since_checkpoint = 0;
        e->state = ENDING_FILES;
        return WEIR_OK;
    }
    MARK("a checkpoint cannot be named");
    if (e->cut.count > 0) log_cut_undo(store, &e->cut);
    if (e->gone.sequence != 0) {
        memmove(store->checkpoints + 1, store->checkpoints,
                CHECKPOINTS_KEPT * sizeof(struct checkpoint));
        store->checkpoints[0] = e->gone;
        store->checkpoint_count++;
    }
    store->checkpoint_count--;
    return st;
}

/* The next block, or, behind the last, the name. */
static enum weir_status ending_check(struct store *store)
{
    struct blocks *blocks = &store->checkpoint_ending->blocks;
    enum weir_status st = blocks_next(blocks, store->checkpoint_begin, NULL, NULL);
    if (st == WEIR_OK) return WEIR_OK;
    if (st == WEIR_NOMORE && !ENV_CHANCE(store->env, "store.checkpoint_bad"))
        return ending_name(store);
    MARK("a checkpoint is not as it was written");
    return st == WEIR_NOMORE ? WEIR_IO : st;
}

enum weir_status store_checkpoint_finish(struct store *store, bool *more)
{
    struct checkpoint_ending *e = store->checkpoint_ending;
    if (e != NULL && e->state == ENDING_FILES) {
        *more = files_delete_one(store);
        if (!*more) ending_free(store);
        return WEIR_OK;
    }
    enum weir_status st = e == NULL ? ending_begin(store) : ending_check(store);
    *more = st == WEIR_OK;
    if (*more) return WEIR_OK;
    /* Half named: then its file may not go. */
    if (st == WEIR_POISONED) checkpoint_abandon(store);
    else store_checkpoint_abort(store);
    return st;
}

struct announce {
    store_apply_fn *apply;
    void *arg;
};

static void row_announce(void *arg, uint8_t slot, enum store_op op, struct weir_str key,
                         struct weir_str value)
{
    const struct announce *self = arg;
    self->apply(self->arg, slot, STORE_EXPECT, key, STR_NIL);
}

enum weir_status checkpoint_load(struct store *store, store_apply_fn *apply, void *arg,
                                 struct store_recovery *recovery, uint64_t *begin)
{
    struct announce announce = { apply, arg };
    *begin = 0;
    uint32_t had = store->checkpoint_count;
    while (store->checkpoint_count > 0) {
        struct checkpoint *c = &store->checkpoints[store->checkpoint_count - 1];
        char name[ENV_NAME_MAX];
        uint64_t rows;
        store_name(name, "checkpoint", c->sequence);
        enum weir_status st = checkpoint_read(store, c, row_announce, &announce, &rows);
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
            return checkpoint_read(store, c, apply, arg, &recovery->rows);
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
