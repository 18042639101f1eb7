/*
 * store.c - a data directory: opening, locking, file headers, errors; the door of this room.
 *
 *   open -> (recovered) -> write, sync, write, sync ... -> close
 * A failed write or sync of the log poisons it: nothing is synced again, nothing more is accepted.
 * SPDX-License-Identifier: MIT
 */
#include "store/store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "store/store_int.h"

/* ---- changes ---- */

void store_change(struct buf *batch, uint8_t slot, struct weir_str key, struct weir_str value)
{
    store_change_of(batch, slot, STR(""), key, value);
}

void store_change_delete(struct buf *batch, uint8_t slot, struct weir_str key)
{
    buf_reserve(batch, 12 + key.len);
    char *at = store_change_head(batch->ptr + batch->len, slot, STORE_DELETE, STR(""), key);
    batch->len = (size_t)(at - batch->ptr);
}

/* The first byte from `at` on in which both differ. */
static size_t same_until(const char *a, const char *b, size_t at, size_t len)
{
    while (at + 256 <= len && memcmp(a + at, b + at, 256) == 0) at += 256;
    while (at + 8 <= len && load_le64(a + at) == load_le64(b + at)) at += 8;
    while (at < len && a[at] == b[at]) at++;
    return at;
}

/* The end of what differs from `at` on, with less than eight equal bytes in a row in it: another pair of numbers costs, too. */
static size_t differ_until(const char *a, const char *b, size_t at, size_t len)
{
    size_t end = at + 1;
    while (end + 8 <= len && load_le64(a + end) != load_le64(b + end)) end += 8;
    if (end + 8 > len) end = len;
    while (a[end - 1] == b[end - 1]) end--;
    return end;
}

bool store_change_patch(struct buf *batch, uint8_t slot, struct weir_str head, struct weir_str key,
                        struct weir_str before, struct weir_str value)
{
    size_t both = before.len < value.len ? before.len : value.len;
    buf_reserve(batch, 22 + head.len + key.len + value.len + 20);
    char *at = store_change_head(batch->ptr + batch->len, slot, STORE_PATCH, head, key);
    const char *patch = at;
    at = varint_put(at, value.len);
    for (size_t done = 0, from, to; done < value.len; done = to) {
        from = same_until(before.ptr, value.ptr, done, both);
        to = from < both ? differ_until(before.ptr, value.ptr, from, both) : value.len;
        if (from == both && before.len >= value.len) from = to;
        if ((size_t)(at - patch) + (to - from) > value.len / 2) return false;
        at = varint_put(varint_put(at, from - done), to - from);
        memcpy(at, value.ptr + from, to - from);
        at += to - from;
    }
    batch->len = (size_t)(at - batch->ptr);
    return true;
}

void store_patch(struct weir_str before, struct weir_str patch, struct buf *out)
{
    struct reader reader = reader_of(patch);
    size_t len = reader_varint(&reader);
    buf_reset(out);
    buf_reserve(out, len + 1); /* an empty value is one, too */
    buf_add(out, before.ptr, before.len < len ? before.len : len);
    if (out->len < len) memset(out->ptr + out->len, 0, len - out->len);
    out->len = len;
    for (char *at = out->ptr; reader.at < reader.end;) {
        at += reader_varint(&reader);
        struct weir_str bytes = reader_bytes(&reader, reader_varint(&reader));
        memcpy(at, bytes.ptr, bytes.len);
        at += bytes.len;
    }
}

/* ---- names, headers, errors ---- */

void store_name(char *out, const char *kind, uint64_t sequence)
{
    snprintf(out, ENV_NAME_MAX, "%s-%016llx", kind, (unsigned long long)sequence);
}

uint64_t store_seed(const struct store *store, uint64_t sequence, uint64_t offset)
{
    char bytes[32];
#ifdef MUTANT_store_stale_record
    sequence = 0;
#endif
    memcpy(bytes, store->uuid, 16);
    store_le64(bytes + 16, sequence);
    store_le64(bytes + 24, offset);
    return hash64(0x57454952u, bytes, sizeof(bytes));
}

static const char *const magics[] = { "", "WEIRLOG", "WEIRCKP", "WEIRMAN", "WEIREVT" };

void file_header(const struct store *store, enum file_kind kind, uint64_t sequence, uint32_t flags,
                 uint64_t copied, uint8_t out[FILE_HEADER_BYTES])
{
    memset(out, 0, FILE_HEADER_BYTES);
    memcpy(out, magics[kind], 8);
    store_le32(out + 8, STORE_VERSION);
    store_le32(out + 12, kind);
    memcpy(out + 16, store->uuid, 16);
    store_le64(out + 32, sequence);
    store_le64(out + 40, copied);
    store_le32(out + 48, flags);
    store_le32(out + 60, crc32c(0, out, 60));
}

enum weir_status file_header_check(const struct store *store, enum file_kind kind,
                                   uint64_t sequence, const char *bytes)
{
    static const char zeros[8] = { 0 };
    if (memcmp(bytes, magics[kind], 8) != 0 || load_le32(bytes + 60) != crc32c(0, bytes, 60))
        return WEIR_CORRUPT;
    if (load_le32(bytes + 8) > STORE_VERSION ||
        (file_flags(bytes) & ~(uint32_t)(FILE_RECYCLED | FILE_COMPACTED_HEADS | FILE_PATCHES)))
        return WEIR_NEWER;
    bool good = load_le32(bytes + 8) == STORE_VERSION && load_le32(bytes + 12) == kind &&
                memcmp(bytes + 16, store->uuid, 16) == 0 && load_le64(bytes + 32) == sequence &&
                memcmp(bytes + 52, zeros, 8) == 0;
    return good ? WEIR_OK : WEIR_CORRUPT;
}

enum weir_status status_of_errno(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG ? WEIR_DISKFULL : WEIR_IO;
}

enum weir_status store_fail(struct store *store, enum weir_status st, const char *format, ...)
{
    if (store->error == NULL || store->error[0] != '\0') return st;
    va_list args;
    va_start(args, format);
    vsnprintf(store->error, store->error_bytes, format, args);
    va_end(args);
    return st;
}

enum weir_status store_poison(struct store *store, const char *what, uint64_t sequence, int error)
{
    MARK("poisoned");
    store->stats.poisoned = true;
    snprintf(store->stats.poison, sizeof(store->stats.poison),
             "%s of log-%016llx failed at %llu, epoch %llu, error %d: the log is closed to "
             "writing; restart to recover",
             what, (unsigned long long)sequence, (unsigned long long)store->offset,
             (unsigned long long)store->written_epoch, error);
    return WEIR_POISONED;
}

enum weir_status file_read(struct store *store, const char *name, struct buf *out)
{
    struct env *env = store->env;
    int fd = env->open(env, store->dir, name, ENV_READ);
    if (fd < 0) return fd == -ENOENT ? WEIR_NOTFOUND : WEIR_IO;
    int64_t size = env->size(env, fd);
    enum weir_status st = WEIR_IO;
    buf_reset(out);
    if (size >= 0) {
        buf_reserve(out, (size_t)size + 1);
        int64_t got = env->read(env, fd, out->ptr, (size_t)size, 0);
        if (got >= 0) {
            out->len = (size_t)got;
            st = WEIR_OK;
        }
    }
    env->close(env, fd);
    return st;
}

/* ---- opening ---- */

struct listing {
    struct store *store;
    uint64_t newest; /* sequence in any name: new names go above it */
    bool any_log;
};

static bool name_is(const char *name, const char *kind, uint64_t *sequence)
{
    size_t len = strlen(kind);
    if (strncmp(name, kind, len) != 0 || name[len] != '-' || strlen(name + len + 1) != 16)
        return false;
    *sequence = 0;
    for (const char *at = name + len + 1; *at; at++) {
        const char *digits = "0123456789abcdef", *digit = strchr(digits, *at);
        if (digit == NULL) return false;
        *sequence = *sequence << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

static void list_one(void *arg, const char *name)
{
    struct listing *l = arg;
    uint64_t sequence = 0;
    bool ours = name_is(name, "log", &sequence) || name_is(name, "checkpoint", &sequence);
    if (ours) l->any_log = true;
    bool leftover = ours ? !manifest_names(l->store, name)
                         : name_is(name, "writing", &sequence) ||
                               name_is(name, "spare", &sequence) || manifest_is_temporary(name);
    bool torn = !ours && !leftover && name_is(name, "torn", &sequence);
    if (strcmp(name, RESERVE_NAME) == 0) log_reserve_found(l->store);
    if (!ours && !leftover && !torn) return;
    if (sequence > l->newest) l->newest = sequence;
    if (torn) l->store->torn_count++;
    if (torn) buf_add(&l->store->torn, name, strlen(name) + 1);
    if (leftover) buf_add(&l->store->leftovers, name, strlen(name) + 1);
}

/* A log file above all that the manifest names, with epochs of its own: the manifest is a copy from before it. */
static enum weir_status refuse_old_manifest(struct store *store)
{
    const struct buf *names = &store->leftovers;
    uint64_t newest = store->segments[store->segment_count - 1].sequence, sequence;
    for (size_t at = 0; at < names->len; at += strlen(names->ptr + at) + 1) {
        const char *name = names->ptr + at;
        if (!name_is(name, "log", &sequence) || sequence <= newest ||
            !log_file_was_used(store, name, sequence))
            continue;
        return store_fail(
            store, WEIR_CORRUPT,
            "the manifest is older than %s, whose epochs it does not name: was a part of the "
            "directory restored? restore all of it",
            name);
    }
    return WEIR_OK;
}

void store_remove_leftovers(struct store *store)
{
    struct buf *names = &store->leftovers;
    for (size_t at = 0; at < names->len; at += strlen(names->ptr + at) + 1) {
        MARK("a leftover file is removed");
        (void)store->env->unlink(store->env, store->dir, names->ptr + at);
    }
    buf_free(names);
}

/* Before the first manifest a lone segment is what an interrupted first start leaves; a log with records but
 * without manifests is not. */
static bool any_log_has_records(struct store *store)
{
    const struct buf *names = &store->leftovers;
    struct buf bytes = { 0 };
    bool data = false;
    for (size_t at = 0; at < names->len && !data; at += strlen(names->ptr + at) + 1) {
        const char *name = names->ptr + at;
        if (strncmp(name, "log-", 4) != 0 || file_read(store, name, &bytes) != WEIR_OK) continue;
        data = log_begins_with_record(buf_str(&bytes));
    }
    buf_free(&bytes);
    return data;
}

static enum weir_status open_new(struct store *store)
{
    struct env *env = store->env;
    uint64_t high = env->random(env), low = env->random(env);
    memcpy(store->uuid, &high, 8);
    memcpy(store->uuid + 8, &low, 8);
    int fd;
    enum weir_status st = log_create_segment(store, store->options.segment_bytes_first, &fd);
    if (st != WEIR_OK)
        return store_fail(store, st, "cannot create the first log segment: %s",
                          weir_status_text(st));
    log_begin_segment(store, fd);
    return WEIR_OK;
}

static enum weir_status open_existing(struct store *store, bool repair, store_apply_fn *apply,
                                      void *arg, struct store_recovery *recovery)
{
    uint64_t begin;
    uint32_t checkpoints = store->checkpoint_count;
    enum weir_status st = checkpoint_load(store, apply, arg, recovery, &begin);
    if (st != WEIR_OK) return st;
    st = log_recover(store, begin, apply, arg, recovery);
    if (st != WEIR_OK) return st;
    /* Epochs without effects have no frames: the checkpoint may have been begun above the last frame. What comes now
     * must be above it too, or the next recovery took it for a part of the checkpoint. */
    if (recovery->durable_epoch + 1 < begin) {
        MARK("the checkpoint begins above the last frame");
        recovery->durable_epoch = store->written_epoch = begin - 1;
    }
    if (ENV_CHANCE(store->env, "store.repair")) repair = true;
    if (!recovery->clean || (!repair && checkpoints == store->checkpoint_count)) return WEIR_OK;
    MARK("a manifest is repaired at a clean start");
    st = manifest_write(store, true);
    /* On a full disk the one good slot must do. */
    return st == WEIR_OK || st == WEIR_DISKFULL
               ? WEIR_OK
               : store_fail(store, st, "cannot write the manifest again: %s", weir_status_text(st));
}

static enum weir_status open_locked(struct store *store, const char *path, store_apply_fn *apply,
                                    void *arg, struct store_recovery *recovery)
{
    struct env *env = store->env;
    int error = env->dir_lock(env, store->dir);
    if (error == -EWOULDBLOCK)
        return store_fail(
            store, WEIR_LOCKED,
            "%s is in use by another weir; stop that, or give this one another data directory",
            path);
    if (error == -ELOOP)
        return store_fail(store, WEIR_CONFIG,
                          "%s/lock is a link: remove it, files of data are plain", path);
    if (error < 0) return store_fail(store, WEIR_IO, "cannot lock %s: %s", path, strerror(-error));
    /* Names that a killed process changed may be known to the cache alone. */
    error = env->dir_sync(env, store->dir);
    if (error < 0) return store_fail(store, WEIR_IO, "cannot sync %s: %s", path, strerror(-error));
    bool found = false, repair = false;
    enum weir_status st = manifest_read(store, &found, &repair);
    if (st != WEIR_OK) return st;
    struct listing listing = { .store = store };
    error = env->dir_list(env, store->dir, list_one, &listing);
    if (error < 0) return store_fail(store, WEIR_IO, "cannot list %s: %s", path, strerror(-error));
    if (listing.newest >= store->next_sequence) store->next_sequence = listing.newest + 1;
    if (found &&
        store->segment_count == 0) /* the first manifest is written with the first segment */
        return store_fail(store, WEIR_CORRUPT,
                          "the manifest of %s names no log; restore a copy of the directory", path);
    if (!found && listing.any_log && any_log_has_records(store))
        return store_fail(store, WEIR_CORRUPT,
                          "%s has logs but no manifest: which files are live is lost; restore "
                          "a copy of the directory",
                          path);
    if (!found && store->options.existing)
        return store_fail(store, WEIR_CONFIG, "there is no data in %s", path);
    if (found) st = refuse_old_manifest(store);
    if (st == WEIR_OK)
        st = found ? open_existing(store, repair, apply, arg, recovery) : open_new(store);
    if (st == WEIR_OK) store_remove_leftovers(store);
    return st;
}

enum weir_status store_open(struct env *env, const char *path, const struct store_options *options,
                            store_apply_fn *apply, void *arg, struct store **out,
                            struct store_recovery *recovery, char *error, size_t error_bytes)
{
    *out = NULL;
    *recovery = (struct store_recovery){ 0 };
    if (error_bytes > 0) error[0] = '\0';
    struct store *store = mem_alloc(sizeof(*store));
    store->env = env;
    store->options = *options;
    if (store->options.torn_files_max == 0) store->options.torn_files_max = STORE_TORN_FILES_MAX;
    store->fd = store->next_fd = store->making_fd = store->checkpoint_fd = -1;
    store->next_sequence = 1;
    store->error = error;
    store->error_bytes = error_bytes;
    enum weir_status st;
    store->dir = env->dir_open(env, path, !options->existing);
    if (store->dir == -EPERM)
        st = store_fail(store, WEIR_CONFIG,
                        "the data directory %s belongs to another user or may be written by "
                        "everybody: it must be the user's that runs weir, with mode 0700",
                        path);
    else if (store->dir < 0)
        st = store_fail(store, WEIR_CONFIG,
                        "cannot open the data directory %s: %s: check the path and its owner", path,
                        strerror(-store->dir));
    else st = open_locked(store, path, apply, arg, recovery);
    store->error = NULL;
    buf_free(&store->leftovers);
    buf_free(&store->torn);
    if (st == WEIR_POISONED) st = WEIR_IO; /* before it is open, there is nothing to poison */
    if (st != WEIR_OK) {
        store_abandon(store);
        return st;
    }
    snprintf(store->id, sizeof(store->id), "%016llx", (unsigned long long)load_le64(store->uuid));
    store->stats.disk_free_bytes = env->dir_free_bytes(env, store->dir);
    *out = store;
    return WEIR_OK;
}

/* ---- the door ---- */

enum weir_status store_write(struct store *store, const struct store_frame *frame)
{
    if (store->stats.poisoned) return WEIR_POISONED;
    ASSERT(frame->epoch > store->written_epoch && frame->wall_ms >= store->wall_ms);
    enum weir_status st = log_append(store, frame);
    if (st == WEIR_IO)
        return store_poison(store, "creating a segment", store->next_sequence - 1, EIO);
    return st;
}

enum weir_status store_sync(struct store *store)
{
    if (store->stats.poisoned) return WEIR_POISONED;
    return log_sync(store);
}

bool store_prepare(struct store *store)
{
    return !store->stats.poisoned && log_prepare(store);
}

bool store_prepare_is_due(const struct store *store)
{
    return !store->stats.poisoned && log_prepare_is_due(store);
}

enum weir_status store_name_events(struct store *store)
{
    return store->stats.poisoned ? WEIR_POISONED : manifest_write(store, false);
}

uint64_t store_events_named(const struct store *store)
{
    return store->heads_named;
}

const char *store_id(const struct store *store)
{
    return store->id;
}

void store_stats(const struct store *store, struct store_stats *stats)
{
    *stats = store->stats;
    stats->disk_full = store->no_segment || store->no_room || store->reserve_wanted;
    stats->segment_count = store->segment_count;
    stats->checkpoint_count = store->checkpoint_count;
}

void store_close(struct store *store)
{
    store_checkpoint_abort(store);
    if (!store->stats.poisoned) log_making_drop(store);
    if (!store->stats.poisoned && store->fd >= 0) {
        enum weir_status st = store->unsynced ? log_sync(store) : WEIR_OK;
        /* The clean mark is in the manifest: a file of its own, so a failed sync leaves none behind. */
        if (st == WEIR_OK && !ENV_CHANCE(store->env, "store.close_unclean"))
            (void)manifest_write(store, true);
    }
    store_abandon(store);
}

void store_abandon(struct store *store)
{
    struct env *env = store->env;
    checkpoint_abandon(store);
    if (store->fd >= 0) env->close(env, store->fd);
    if (store->next_fd >= 0) env->close(env, store->next_fd);
    if (store->making_fd >= 0) env->close(env, store->making_fd);
    if (store->dir >= 0) env->dir_close(env, store->dir);
    mem_free(store->segments);
    mem_free(store->heads);
    buf_free(&store->scratch);
    mem_free(store->tail);
    mem_free(store->piece);
    mem_free(store);
}
