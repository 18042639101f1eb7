/*
 * store.h - damage and forgery done to a small data directory, for the targets of its three kinds of files.
 *
 * A directory with segments, two checkpoints and both manifests is written by the real writer. An input is a list of
 * patches to the files of one kind, and a byte that says which checksums are made right again afterwards:
 *
 *   u8 what is made right; then patches: u8 operation, u8 file, u16 place, and what the operation needs
 *
 * Nothing made right: damage. The reader must refuse, or give the very state of an epoch that the writer wrote. Made
 * right: a forgery, which no reader could tell; it must be refused or taken without breaking any promise, and what is
 * taken must be readable again after more was written.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_FUZZ_STORE_H
#define WEIR_TESTS_FUZZ_STORE_H

#include "../unit/store/twin.h"
#include "fuzz.h"
#include "store/store_int.h"

#define FILES_MAX 16u
#define FILE_BYTES_MAX 65536u
#define PATCHES_MAX 64u

enum made_right { RIGHT_FILE_HEADERS = 1, RIGHT_RECORD_HEADERS = 2, RIGHT_PAYLOADS = 4, RIGHT_CHAIN = 8, RIGHT_CLEAN = 16 };

struct copy {
    char name[ENV_NAME_MAX];
    uint64_t sequence;
    struct buf bytes;
};

struct directory {
    struct copy files[FILES_MAX];
    unsigned count;
    uint8_t uuid[16];
    struct twin *twin; /* what the writer wrote: its values by epoch */
};

static struct directory templates[2]; /* after a power cut, after a clean stop */

static void template_make(struct directory *d, bool clean)
{
    struct twin *t = twin_create(11);
    struct twin_files files;
    t->options = (struct store_options){ 1024, 1024, 0 };
    FUZZ_CHECK(twin_open(t) == WEIR_OK, "%s", t->error);
    for (int i = 0; i < 3; i++) {
        twin_commit(t, 9);
        FUZZ_CHECK(twin_checkpoint(t) == WEIR_OK);
    }
    twin_commit(t, 14);
    (void)store_prepare(t->store);
    if (clean) twin_close(t);
    else twin_power_cut(t, SIM_KEEP_NOTHING);
    twin_list(t, "", &files);
    for (unsigned i = 0; i < files.count; i++) {
        if (strcmp(files.names[i], "lock") == 0) continue;
        FUZZ_CHECK(d->count < FILES_MAX);
        struct copy *copy = &d->files[d->count++];
        snprintf(copy->name, sizeof copy->name, "%s", files.names[i]);
        twin_read(t, copy->name, &copy->bytes);
        const char *dash = strrchr(copy->name, '-');
        copy->sequence = dash ? strtoull(dash + 1, NULL, 16) : 0;
        if (strncmp(copy->name, "manifest", 8) == 0) memcpy(d->uuid, copy->bytes.ptr + 16, 16);
    }
    d->twin = t;
}

/* ---- patches ---- */

static void patch(struct directory *d, const char *kind, struct bytes *in)
{
    struct copy *of[FILES_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < d->count; i++)
        if (strncmp(d->files[i].name, kind, strlen(kind)) == 0) of[count++] = &d->files[i];
    uint8_t operation = take_byte(in);
    struct copy *copy = of[take_byte(in) % count];
    struct buf *bytes = &copy->bytes;
    uint64_t place = take_le(in, 2), value;
    if (operation % 8 == 6) { /* longer: with what follows in the input */
        size_t len = (size_t)take_le(in, 2) % 512;
        for (size_t i = 0; i < len && bytes->len < FILE_BYTES_MAX; i++) buf_add_byte(bytes, take_byte(in));
        return;
    }
    if (bytes->len == 0) return;
    size_t at = (size_t)(place % bytes->len), left = bytes->len - at;
    switch (operation % 8) {
    case 0: bytes->ptr[at] = (char)take_byte(in); break;
    case 1: bytes->ptr[at] ^= (char)(1 << take_byte(in) % 8); break;
    case 2:
    case 3: /* a number, where numbers stand */
        at &= ~(size_t)(operation % 8 == 2 ? 7 : 3);
        value = take_le(in, operation % 8 == 2 ? 8 : 4);
        if (at + 8 <= bytes->len) {
            if (operation % 8 == 2) store_le64(bytes->ptr + at, value);
            else store_le32(bytes->ptr + at, (uint32_t)value);
        }
        break;
    case 4: bytes->len = at; break;
    case 5: { /* a block of another place, perhaps of another file */
        struct buf *other = &of[take_byte(in) % count]->bytes;
        size_t from = (size_t)take_le(in, 2), len = take_byte(in);
        if (from > other->len) from = other->len;
        if (len > other->len - from) len = other->len - from;
        if (len > left) len = left;
        memmove(bytes->ptr + at, other->ptr + from, len);
        break;
    }
    default: { /* bytes as they come */
        size_t len = take_byte(in);
        for (size_t i = 0; i < len && i < left; i++) bytes->ptr[at + i] = (char)take_byte(in);
        break;
    }
    }
}

/* ---- making right ---- */

static uint64_t seed_of(const struct directory *d, uint64_t sequence, uint64_t offset)
{
    struct store store = { 0 };
    memcpy(store.uuid, d->uuid, 16);
    return store_seed(&store, sequence, offset);
}

static void right_records(const struct directory *d, struct copy *copy, uint8_t right, uint64_t *chain)
{
    char *bytes = copy->bytes.ptr;
    for (size_t at = FILE_HEADER_BYTES; at + RECORD_HEADER_BYTES <= copy->bytes.len && load_le32(bytes + at) == 0x4d524657u;) {
        uint64_t len = load_le64(bytes + at + 8), room = copy->bytes.len - at - RECORD_HEADER_BYTES;
        uint64_t seed = seed_of(d, copy->sequence, at);
        if (right & RIGHT_CHAIN) store_le64(bytes + at + 40, *chain);
        if ((right & RIGHT_PAYLOADS) && len <= room) store_le64(bytes + at + 48, hash64(seed, bytes + at + RECORD_HEADER_BYTES, len));
        if (right & RIGHT_RECORD_HEADERS) store_le32(bytes + at + 60, crc32c((uint32_t)seed, bytes + at, 60));
        *chain = load_le64(bytes + at + 48);
        if (len > room) break;
        at += RECORD_HEADER_BYTES + ((len + 7) & ~UINT64_C(7));
    }
}

static void right_blocks(const struct directory *d, struct copy *copy, uint8_t right)
{
    char *bytes = copy->bytes.ptr;
    uint64_t rows = 0, count = 0, hash = 0;
    for (size_t at = FILE_HEADER_BYTES; at + 32 <= copy->bytes.len && load_le32(bytes + at) == 0x4b424357u;) {
        uint64_t len = load_le64(bytes + at + 8), room = copy->bytes.len - at - 32, seed = seed_of(d, copy->sequence, at);
        char *payload = bytes + at + 32;
        if (len > room) len = room;
        if (load_le32(bytes + at + 4) == 2 && len == 32 && (right & RIGHT_CHAIN)) {
            store_le64(payload, rows);
            store_le64(payload + 8, count);
            store_le64(payload + 16, hash);
        }
        if (right & RIGHT_PAYLOADS) store_le64(bytes + at + 16, hash64(seed, payload, len));
        if (right & RIGHT_RECORD_HEADERS) store_le32(bytes + at + 28, crc32c((uint32_t)seed, bytes + at, 28));
        (void)changes_apply((struct weir_str){ payload, len }, NULL, NULL, &rows);
        count++;
        hash = hash * 31 + load_le64(bytes + at + 16);
        at += 32 + len;
    }
}

static void make_right(struct directory *d, uint8_t right)
{
    uint64_t chain = 0;
    for (unsigned i = 0; i < d->count; i++) { /* logs in order of their sequence: the chain goes through them */
        struct copy *copy = &d->files[i];
        char *bytes = copy->bytes.ptr;
        size_t len = copy->bytes.len;
        if (len < FILE_HEADER_BYTES) continue;
        bool manifest = strncmp(copy->name, "manifest", 8) == 0;
        if (strncmp(copy->name, "log", 3) == 0) right_records(d, copy, right, &chain);
        else if (strncmp(copy->name, "checkpoint", 10) == 0) right_blocks(d, copy, right);
        if (right & RIGHT_FILE_HEADERS) store_le32(bytes + 60, crc32c(0, bytes, 60));
        if (manifest && (right & RIGHT_PAYLOADS) && len >= FILE_HEADER_BYTES + 8)
            store_le64(bytes + len - 8, hash64(load_le64(bytes + 32), bytes, len - 8));
    }
}

/* ---- judging ---- */

static void judge(struct twin *t, bool clean, bool forged)
{
    enum weir_status st = twin_open(t);
    if (st != WEIR_OK) {
        FUZZ_CHECK(st == WEIR_CORRUPT || st == WEIR_NEWER, "status %d: %s", (int)st, t->error);
        FUZZ_CHECK(t->error[0] != 0, "refused without a word");
        return;
    }
    if (!forged) {
        FUZZ_CHECK(twin_matches(t), "a state that no epoch had, at epoch %llu", (unsigned long long)t->recovery.durable_epoch);
        FUZZ_CHECK(!clean || t->recovery.durable_epoch == t->epoch, "epochs after a clean stop are gone, and nothing said so");
        FUZZ_CHECK(clean || t->recovery.durable_epoch + PATCHES_MAX >= t->epoch);
    }
    /* Goes on: what is written now is there at the next start. */
    uint64_t epoch = t->recovery.durable_epoch;
    if (epoch > INT64_MAX || t->recovery.wall_ms > INT64_MAX / 2) {
        store_abandon(t->store);
        t->store = NULL;
        return;
    }
    struct buf batch = { 0 }, value = { 0 };
    twin_value(77, 40, &value);
    store_change(&batch, 3, (struct weir_str){ "\3", 1 }, buf_str(&value));
    struct weir_str part = buf_str(&batch);
    int64_t wall = t->recovery.wall_ms < 0 ? 0 : t->recovery.wall_ms;
    struct store_frame frame = { .epoch = epoch + 1, .wall_ms = wall + 1, .parts = &part, .part_count = 1 };
    st = store_write(t->store, &frame);
    if (st == WEIR_OK) st = store_sync(t->store);
    FUZZ_CHECK(st == WEIR_OK || st == WEIR_DISKFULL, "status %d", (int)st);
    twin_power_cut(t, SIM_KEEP_NOTHING);
    enum weir_status again = twin_open(t);
    FUZZ_CHECK(again == WEIR_OK, "what was taken before is refused now: %s", t->error);
    FUZZ_CHECK(st != WEIR_OK || (t->recovery.durable_epoch == epoch + 1 && t->got[3] == 77), "an epoch written after recovery is gone");
    store_abandon(t->store);
    t->store = NULL;
    buf_free(&batch);
    buf_free(&value);
}

static int store_target(const char *kind, const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    if (templates[0].count == 0) {
        template_make(&templates[0], false);
        template_make(&templates[1], true);
    }
    uint8_t right = take_byte(&in);
    bool clean = right & RIGHT_CLEAN;
    const struct directory *from = &templates[clean];
    struct directory d = *from;
    for (unsigned i = 0; i < d.count; i++) {
        d.files[i].bytes = (struct buf){ 0 };
        buf_add_str(&d.files[i].bytes, buf_str(&from->files[i].bytes));
    }
    for (unsigned i = 0; i < PATCHES_MAX && in.at < in.end; i++) patch(&d, kind, &in);
    make_right(&d, right);
    struct twin *t = twin_create(5);
    t->options = from->twin->options;
    t->epoch = from->twin->epoch;
    memcpy(t->values, from->twin->values, sizeof t->values);
    int dir = t->env.dir_open(&t->env, "/data", true);
    for (unsigned i = 0; i < d.count; i++) {
        int fd = t->env.open(&t->env, dir, d.files[i].name, ENV_WRITE | ENV_CREATE);
        if (d.files[i].bytes.len > 0) t->env.write(&t->env, fd, d.files[i].bytes.ptr, d.files[i].bytes.len, 0);
        t->env.sync(&t->env, fd);
        t->env.close(&t->env, fd);
        buf_free(&d.files[i].bytes);
    }
    t->env.dir_sync(&t->env, dir);
    t->env.dir_close(&t->env, dir);
    judge(t, clean, (right & 15) != 0);
    twin_destroy(t);
    return 0;
}

#endif
