/*
 * manifest.c - which files are the data: two generations, written in turns.
 *
 * A new manifest is written to a name of its own, synced, renamed over the older of manifest-a and manifest-b,
 * and the directory synced; the valid one of the higher generation wins. So one bad manifest costs nothing,
 * and a file is deleted only once the manifest that does not name it is durable. Form: docs/formats/manifest.md.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "store/store_int.h"

#define MANIFEST_BYTES_MAX (1u << 20)

static const char *const names[2] = { "manifest-a", "manifest-b" };

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

static void manifest_encode(const struct store *store, struct buf *out)
{
    uint8_t header[FILE_HEADER_BYTES];
    file_header(store, FILE_MANIFEST, store->generation, header);
    buf_add(out, header, sizeof(header));
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
    add_le64(out, hash64(store->generation, out->ptr, out->len));
}

static bool manifest_decode(struct store *store, struct weir_str bytes, uint64_t generation)
{
    if (bytes.len < FILE_HEADER_BYTES + 8 || bytes.len > MANIFEST_BYTES_MAX) return false;
    if (load_le64(bytes.ptr + bytes.len - 8) != hash64(generation, bytes.ptr, bytes.len - 8)) return false;
    struct reader reader = reader_of((struct weir_str){ bytes.ptr + FILE_HEADER_BYTES, bytes.len - FILE_HEADER_BYTES - 8 });
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
    store->generation = generation;
    return !reader.failed && reader.at == reader.end;
}

/* What one of the two names holds: its generation, or 0; the engine's id is taken from the first good one. */
static uint64_t manifest_peek(struct store *store, const char *name, struct buf *bytes, enum weir_status *st)
{
    *st = file_read(store, name, bytes);
    if (*st != WEIR_OK || bytes->len < FILE_HEADER_BYTES + 8) return 0;
    uint64_t generation = load_le64(bytes->ptr + 32);
    if (hash64(generation, bytes->ptr, bytes->len - 8) != load_le64(bytes->ptr + bytes->len - 8)) return 0;
    struct store claimed = *store;
    memcpy(claimed.uuid, bytes->ptr + 16, sizeof(claimed.uuid));
    *st = file_header_check(&claimed, FILE_MANIFEST, generation, bytes->ptr);
    return *st == WEIR_OK ? generation : 0;
}

enum weir_status manifest_read(struct store *store, bool *found)
{
    struct buf bytes[2] = { { 0 }, { 0 } };
    enum weir_status st[2];
    uint64_t generation[2];
    bool present[2];
    for (int i = 0; i < 2; i++) {
        generation[i] = manifest_peek(store, names[i], &bytes[i], &st[i]);
        present[i] = st[i] != WEIR_NOTFOUND;
    }
    enum weir_status result = WEIR_OK;
    int best = generation[1] > generation[0];
    *found = present[0] || present[1];
    if (st[0] == WEIR_NEWER || st[1] == WEIR_NEWER) {
        result = store_fail(store, WEIR_NEWER, "the data was written by a newer weir; nothing was changed");
    } else if (st[0] == WEIR_IO || st[1] == WEIR_IO) {
        result = store_fail(store, WEIR_IO, "cannot read the manifest");
    } else if (*found && generation[best] == 0) {
        result = store_fail(store, WEIR_CORRUPT, "both manifests (manifest-a, manifest-b) are damaged: the list of live files is lost");
    } else if (*found) {
        memcpy(store->uuid, bytes[best].ptr + 16, sizeof(store->uuid));
        if (!manifest_decode(store, buf_str(&bytes[best]), generation[best]))
            result = store_fail(store, WEIR_CORRUPT, "%s is damaged", names[best]);
    }
    buf_free(&bytes[0]);
    buf_free(&bytes[1]);
    return result;
}

enum weir_status manifest_write(struct store *store)
{
    struct env *env = store->env;
    struct buf bytes = { 0 };
    store->generation++;
    manifest_encode(store, &bytes);
#ifdef MUTANT_store_manifest_in_place
    const char *name = names[store->generation % 2];
    int fd = env->open(env, store->dir, names[0], ENV_WRITE | ENV_CREATE);
    (void)name;
#else
    const char *name = "manifest-tmp";
    int fd = env->open(env, store->dir, name, ENV_WRITE | ENV_CREATE);
#endif
    int64_t error = fd;
    if (fd >= 0) {
        error = env->truncate(env, fd, 0);
        if (error >= 0) error = env->write(env, fd, bytes.ptr, bytes.len, 0);
#ifndef MUTANT_store_manifest_not_synced
        if (error >= 0) error = env->sync(env, fd);
#endif
        env->close(env, fd);
    }
    buf_free(&bytes);
#ifndef MUTANT_store_manifest_in_place
    if (error >= 0) error = env->rename(env, store->dir, name, names[store->generation % 2]);
#endif
#ifndef MUTANT_store_manifest_dir_not_synced
    if (error >= 0) error = env->dir_sync(env, store->dir);
#endif
    if (error >= 0) return WEIR_OK;
    store->generation--;
    return status_of_errno((int)-error);
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
