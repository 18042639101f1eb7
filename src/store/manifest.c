/*
 * manifest.c - which files are the data: two slots with the same content but for their generation.
 *
 * A change writes and syncs both under temporary names, then renames one after the other, each followed by a sync
 * of the directory. Space runs out, if it does, before the first rename: then nothing changed. A crash between the
 * renames leaves new content in one slot and old in the other, and nothing that the old one names is gone yet.
 * After the second either slot is enough: damage to one loses nothing. (With the content in one slot only, damage
 * to the newer would bring back an older list, and with it lose what later segments hold.) A file is deleted only
 * once both are durable. Form: docs/formats/manifest.md.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>

#include "store/store_int.h"

#define MANIFEST_BYTES_MAX (1u << 20)

static const char *const names[2] = { "manifest-a",
                                      "manifest-b" }; /* of even and odd generations */
static const char *const temporaries[2] = { "manifest-a-tmp", "manifest-b-tmp" };

static void add_le64(struct buf *out, uint64_t n)
{
    char bytes[8];
    store_le64(bytes, n);
    buf_add(out, bytes, 8);
}

static uint64_t take_le64(struct reader *reader)
{
    struct weir_str bytes = reader_bytes(reader, 8);
    return reader->failed ? 0 : load_le64(bytes.ptr);
}

static void manifest_encode(const struct store *store, uint64_t generation, bool clean,
                            struct buf *out)
{
    uint8_t header[FILE_HEADER_BYTES];
    uint32_t flags = FILE_PATCHES;
    for (uint32_t i = 0; i < store->head_count; i++)
        if (store->heads[i].first_file & EVENT_FILE_COMPACTED) flags |= FILE_COMPACTED_HEADS;
    file_header(store, FILE_MANIFEST, generation, flags, 0, header);
    buf_add(out, header, sizeof(header));
    add_le64(out, store->stats.durable_epoch);
    add_le64(out, (uint64_t)store->durable_wall_ms);
    add_le64(out, store->cut_epoch);
    add_le64(out, store->cut_chain);
    add_le64(out, clean);
    add_le64(out, store->next_sequence);
    add_le64(out, store->segment_count);
    for (uint32_t i = 0; i < store->segment_count; i++) {
        add_le64(out, store->segments[i].sequence);
        add_le64(out, store->segments[i].bytes);
    }
    add_le64(out, store->checkpoint_count);
    for (uint32_t i = 0; i < store->checkpoint_count; i++) {
        add_le64(out, store->checkpoints[i].sequence);
        add_le64(out, store->checkpoints[i].begin);
    }
    add_le64(out, store->heads_serial);
    add_le64(out, store->head_count);
    for (uint32_t i = 0; i < store->head_count; i++) {
        const struct event_head *h = &store->heads[i];
        const uint64_t numbers[] = { h->stream, h->first_file,  h->last_file,
                                     h->size,   h->first_block, h->blocks,
                                     h->chain,  h->epoch,       h->n };
        for (size_t n = 0; n < sizeof(numbers) / sizeof(numbers[0]); n++) add_le64(out, numbers[n]);
    }
    add_le64(out, hash64(generation, out->ptr, out->len));
}

static bool manifest_decode(struct store *store, struct weir_str bytes, uint64_t generation)
{
    if (bytes.len < FILE_HEADER_BYTES + 8 || bytes.len > MANIFEST_BYTES_MAX) return false;
    if (load_le64(bytes.ptr + bytes.len - 8) != hash64(generation, bytes.ptr, bytes.len - 8))
        return false;
    struct reader reader = reader_of(
        (struct weir_str){ bytes.ptr + FILE_HEADER_BYTES, bytes.len - FILE_HEADER_BYTES - 8 });
    store->known_durable = take_le64(&reader);
    store->durable_wall_ms = (int64_t)take_le64(&reader);
    store->cut_epoch = take_le64(&reader);
    store->cut_chain = take_le64(&reader);
    store->was_clean = take_le64(&reader) == 1;
    store->next_sequence = take_le64(&reader);
    uint64_t segments = take_le64(&reader);
    if (segments > SEGMENTS_MAX) return false;
    store->segment_count = 0;
    if (store->segment_cap < segments + 1) {
        store->segment_cap = (uint32_t)segments + 16;
        store->segments = mem_realloc(store->segments, store->segment_cap * sizeof(struct segment));
    }
    for (uint64_t i = 0; i < segments; i++) {
        struct segment *s = &store->segments[store->segment_count++];
        *s = (struct segment){ .sequence = take_le64(&reader) };
        s->bytes = take_le64(&reader);
    }
    uint64_t checkpoints = take_le64(&reader);
    if (checkpoints > CHECKPOINTS_KEPT) return false;
    store->checkpoint_count = 0;
    for (uint64_t i = 0; i < checkpoints; i++) {
        struct checkpoint *c = &store->checkpoints[store->checkpoint_count++];
        c->sequence = take_le64(&reader);
        c->begin = take_le64(&reader);
    }
    store->heads_serial = store->heads_named = take_le64(&reader);
    uint64_t heads = take_le64(&reader);
    if (heads > EVENT_HEADS_MAX) return false;
    store->heads = mem_realloc(store->heads, (heads + 1) * sizeof(struct event_head));
    store->head_count = 0;
    for (uint64_t i = 0; i < heads; i++) {
        struct event_head *h = &store->heads[store->head_count++];
        uint64_t *const numbers[] = { &h->stream, &h->first_file,  &h->last_file,
                                      &h->size,   &h->first_block, &h->blocks,
                                      &h->chain,  &h->epoch,       &h->n };
        for (size_t n = 0; n < sizeof(numbers) / sizeof(numbers[0]); n++)
            *numbers[n] = take_le64(&reader);
    }
    store->generation = generation;
    return !reader.failed && reader.at == reader.end;
}

/* What one of the two names holds: its generation, or 0; the engine's id is taken from the first good one. */
static uint64_t manifest_peek(struct store *store, const char *name, struct buf *bytes,
                              enum weir_status *st)
{
    *st = file_read(store, name, bytes);
    if (*st != WEIR_OK || bytes->len < FILE_HEADER_BYTES + 8) return 0;
    uint64_t generation = load_le64(bytes->ptr + 32);
    if (hash64(generation, bytes->ptr, bytes->len - 8) != load_le64(bytes->ptr + bytes->len - 8))
        return 0;
    struct store claimed = *store;
    memcpy(claimed.uuid, bytes->ptr + 16, sizeof(claimed.uuid));
    *st = file_header_check(&claimed, FILE_MANIFEST, generation, bytes->ptr);
    return *st == WEIR_OK ? generation : 0;
}

enum weir_status manifest_read(struct store *store, bool *found, bool *repair)
{
    struct buf bytes[2] = { { 0 }, { 0 } };
    enum weir_status st[2];
    uint64_t generation[2];
    bool present[2];
    *repair = false;
    for (int i = 0; i < 2; i++) {
        generation[i] = manifest_peek(store, names[i], &bytes[i], &st[i]);
        present[i] = st[i] != WEIR_NOTFOUND;
    }
    enum weir_status result = WEIR_OK;
    int best = generation[1] > generation[0];
    *found = present[0] || present[1];
    if (st[0] == WEIR_NEWER || st[1] == WEIR_NEWER) {
        result = store_fail(store, WEIR_NEWER,
                            "the data was written by a newer weir; nothing was changed");
    } else if (st[0] == WEIR_IO || st[1] == WEIR_IO) {
        result = store_fail(store, WEIR_IO, "cannot read the manifest");
    } else if (*found && generation[best] == 0) {
        result = store_fail(
            store, WEIR_CORRUPT,
            "both manifests (manifest-a, manifest-b) are damaged: the list of live files is lost");
    } else if (*found) {
        memcpy(store->uuid, bytes[best].ptr + 16, sizeof(store->uuid));
        if (!manifest_decode(store, buf_str(&bytes[best]), generation[best]))
            result = store_fail(store, WEIR_CORRUPT, "%s is damaged", names[best]);
        /* Two whole slots hold the same from behind the header to before the checksum. */
        const struct buf *one = &bytes[0], *other = &bytes[1];
        *repair = (file_flags(bytes[best].ptr) & FILE_PATCHES) == 0 ||
                  generation[best] != generation[!best] + 1 || one->len != other->len ||
                  memcmp(one->ptr + FILE_HEADER_BYTES, other->ptr + FILE_HEADER_BYTES,
                         one->len - FILE_HEADER_BYTES - 8) != 0;
        if (generation[!best] != 0 &&
            memcmp(one->ptr + 16, other->ptr + 16, sizeof(store->uuid)) != 0)
            result = store_fail(store, WEIR_CORRUPT,
                                "manifest-a and manifest-b are of two data directories");
    }
    buf_free(&bytes[0]);
    buf_free(&bytes[1]);
    return result;
}

#ifdef MUTANT_store_manifest_in_place
static enum weir_status slots_write(struct store *store, struct buf bytes[2], int first)
{
    struct env *env = store->env;
    for (int i = 0; i < 2; i++) {
        int fd = env->open(env, store->dir, names[i], ENV_WRITE | ENV_CREATE);
        if (fd < 0 || env->truncate(env, fd, 0) < 0 ||
            env->write(env, fd, bytes[i].ptr, bytes[i].len, 0) < 0)
            return WEIR_IO;
        env->close(env, fd);
    }
    for (int i = 0; i < 2; i++) {
        int fd = env->open(env, store->dir, names[i], ENV_WRITE);
        if (fd < 0 || env->sync(env, fd) < 0) return WEIR_IO;
        env->close(env, fd);
    }
    return env->dir_sync(env, store->dir) < 0 ? WEIR_IO : WEIR_OK;
}
#else
/* A file of its own each time: one whose sync failed before is never synced again. */
static int64_t temporary_write(struct store *store, const char *name, const struct buf *bytes)
{
    struct env *env = store->env;
    int gone = env->unlink(env, store->dir, name);
    if (gone < 0 && gone != -ENOENT) return gone;
    int fd = env->open(env, store->dir, name, ENV_WRITE | ENV_CREATE);
    if (fd < 0) return fd;
    int64_t error = env->write(env, fd, bytes->ptr, bytes->len, 0);
#ifndef MUTANT_store_manifest_not_synced
    if (error >= 0) error = env->sync(env, fd);
#endif
    env->close(env, fd);
    return error;
}

static enum weir_status slots_write(struct store *store, struct buf bytes[2], int first)
{
    struct env *env = store->env;
    int64_t error = 0;
    for (int i = 0; i < 2 && error >= 0; i++)
        error = temporary_write(store, temporaries[i], &bytes[i]);
    if (error < 0) {
        MARK("a manifest cannot be written");
        for (int i = 0; i < 2; i++) (void)env->unlink(env, store->dir, temporaries[i]);
        return status_of_errno((int)-error);
    }
    for (int n = 0; n < 2 && error >= 0; n++) {
        int i = n == 0 ? first : 1 - first;
        error = env->rename(env, store->dir, temporaries[i], names[i]);
#ifndef MUTANT_store_manifest_dir_not_synced
        if (error >= 0) error = env->dir_sync(env, store->dir);
#endif
    }
    return error < 0
               ? store_poison(store, "naming the files", store->next_sequence - 1, (int)-error)
               : WEIR_OK;
}
#endif

enum weir_status manifest_write(struct store *store, bool clean)
{
    struct buf bytes[2] = { { 0 }, { 0 } };
    ASSERT(!store->stats.poisoned && store->segment_count > 0);
    /* The slot of the older generation goes first: the newest content is always in one of them. */
    int first = (int)((store->generation + 1) % 2);
    manifest_encode(store, store->generation + 1, clean, &bytes[first]);
    manifest_encode(store, store->generation + 2, clean, &bytes[1 - first]);
    enum weir_status st = slots_write(store, bytes, first);
    buf_free(&bytes[0]);
    buf_free(&bytes[1]);
    if (st == WEIR_OK) store->generation += 2;
    if (st == WEIR_OK) store->heads_named = store->heads_serial;
    return st;
}

bool manifest_is_temporary(const char *name)
{
    return strcmp(name, temporaries[0]) == 0 || strcmp(name, temporaries[1]) == 0;
}

bool manifest_names(const struct store *store, const char *name)
{
    char live[ENV_NAME_MAX];
    for (uint32_t i = 0; i < store->segment_count; i++) {
        store_name(live, "log", store->segments[i].sequence);
        if (strcmp(live, name) == 0) return true;
    }
    for (uint32_t i = 0; i < store->checkpoint_count; i++) {
        store_name(live, "checkpoint", store->checkpoints[i].sequence);
        if (strcmp(live, name) == 0) return true;
    }
    return false;
}
