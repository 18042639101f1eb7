/*
 * test_damage.c - one byte of a data directory is changed, at every place: it is refused, or it changed nothing.
 *
 * After a clean stop the answer must be the whole state or a refusal. After a power cut damage to the last epoch
 * may look like a torn tail: then the state is that of the epoch before, never a mixture.
 * SPDX-License-Identifier: MIT
 */
#include "twin.h"

#include "store/store_int.h"

/* A small directory with all kinds of files: two checkpoints, a log of several segments, one prepared. */
static struct twin *directory(bool clean)
{
    struct twin *t = twin_create(11);
    t->options = (struct store_options){ 1024, 1024, 0 };
    assert_int_equal(twin_open(t), WEIR_OK);
    for (int i = 0; i < 3; i++) {
        twin_commit(t, 9);
        assert_int_equal(twin_checkpoint(t), WEIR_OK);
    }
    twin_commit(t, 4);
    (void)store_prepare(t->store);
    if (clean) twin_close(t);
    else twin_power_cut(t, SIM_KEEP_NOTHING);
    return t;
}

struct seen {
    unsigned refused, whole, shorter;
};

/* Opens what was damaged, judges it, and if it opens goes on: the damage must not come back. */
static void judge(struct twin *t, bool clean, const char *name, uint64_t at, struct seen *seen)
{
    enum weir_status st = twin_open(t);
    if (st != WEIR_OK) {
        if (st != WEIR_CORRUPT && st != WEIR_NEWER) fail_msg("%s at %llu: status %d", name, (unsigned long long)at, st);
        assert_true(strlen(t->error) > 10);
        seen->refused++;
        return;
    }
    if (!twin_matches(t)) fail_msg("%s at %llu: a wrong state", name, (unsigned long long)at);
    if (t->recovery.durable_epoch != t->epoch) {
        if (clean || t->recovery.durable_epoch + 1 < t->epoch)
            fail_msg("%s at %llu: epoch %llu of %llu, and not noticed", name, (unsigned long long)at,
                     (unsigned long long)t->recovery.durable_epoch, (unsigned long long)t->epoch);
        seen->shorter++;
    } else {
        seen->whole++;
    }
    t->epoch = t->recovery.durable_epoch;
    twin_commit(t, 2);
    twin_power_cut(t, SIM_KEEP_NOTHING);
    if (twin_open(t) != WEIR_OK || t->recovery.durable_epoch != t->epoch || !twin_matches(t))
        fail_msg("%s at %llu: not well after going on: %s", name, (unsigned long long)at, t->error);
}

enum damage { FLIP, TRUNCATE, ZERO, STALE, EXTEND };

static void damage(struct twin *t, const char *name, enum damage kind, uint64_t at, const struct buf *bytes)
{
    struct buf copy = { 0 };
    buf_add(&copy, bytes->ptr, bytes->len);
    switch (kind) {
    case FLIP: copy.ptr[at] ^= (char)(1 << at % 8); break;
    case TRUNCATE: copy.len = at; break;
    case ZERO: memset(copy.ptr + at, 0, bytes->len - at < 64 ? bytes->len - at : 64); break;
    case STALE: /* the block before it once more: misdirected */
        if (at >= 64) memcpy(copy.ptr + at, bytes->ptr + at - 64, bytes->len - at < 64 ? bytes->len - at : 64);
        break;
    case EXTEND: buf_add(&copy, bytes->ptr, at + 1); break;
    }
    twin_replace(t, name, copy.ptr, copy.len);
    buf_free(&copy);
}

static void sweep(bool clean, enum damage kind, unsigned stride)
{
    struct twin_files files;
    struct seen seen = { 0 };
    struct twin *t = directory(clean);
    unsigned count = twin_list(t, "", &files), kinds = 0;
    twin_destroy(t);
    for (unsigned f = 0; f < count; f++) {
        const char *name = files.names[f];
        uint64_t size = 1;
        if (strcmp(name, "lock") == 0 || strcmp(name, "reserve") == 0 || strncmp(name, "torn-", 5) == 0) continue;
        kinds |= name[0] == 'l' ? 1u : name[0] == 'c' ? 2u : name[0] == 'm' ? 4u : 0;
        for (uint64_t at = 0; at < size; at += stride) {
            struct buf bytes = { 0 };
            t = directory(clean);
            twin_read(t, name, &bytes);
            size = bytes.len;
            damage(t, name, kind, at, &bytes);
            judge(t, clean, name, at, &seen);
            buf_free(&bytes);
            twin_destroy(t);
        }
    }
    assert_int_equal(kinds, 7);
    assert_true(seen.refused > 0 && seen.whole > 0);
    print_message("  %u refused, %u changed nothing, %u took the epoch before\n", seen.refused, seen.whole, seen.shorter);
}

static void flipped_bit_is_refused_or_changes_nothing(void **state)
{
    sweep(true, FLIP, 1);
}

static void flipped_bit_after_power_cut_never_mixes(void **state)
{
    sweep(false, FLIP, 3);
}

static void truncation_is_refused_or_changes_nothing(void **state)
{
    sweep(true, TRUNCATE, 1);
}

static void zeroed_block_is_refused_or_changes_nothing(void **state)
{
    sweep(true, ZERO, 64);
}

static void misdirected_block_is_refused_or_changes_nothing(void **state)
{
    sweep(true, STALE, 64);
}

static void longer_file_is_refused_or_changes_nothing(void **state)
{
    sweep(true, EXTEND, 97);
}

static void manifest_flags_set(struct twin *t, const char *name, uint32_t flags)
{
    struct buf bytes = { 0 };
    twin_read(t, name, &bytes);
    store_le32(bytes.ptr + 48, flags);
    store_le32(bytes.ptr + 60, crc32c(0, bytes.ptr, 60));
    store_le64(bytes.ptr + bytes.len - 8, hash64(load_le64(bytes.ptr + 32), bytes.ptr, bytes.len - 8));
    twin_replace(t, name, bytes.ptr, bytes.len);
    buf_free(&bytes);
}

static uint32_t manifest_flags(struct twin *t, const char *name)
{
    struct buf bytes = { 0 };
    twin_read(t, name, &bytes);
    uint32_t flags = load_le32(bytes.ptr + 48);
    buf_free(&bytes);
    return flags;
}

/* A log may get patches: its manifest must say so before, to versions that would take them for damage. */
static void data_of_a_version_without_patches_is_marked(void **state)
{
    for (int clean = 0; clean < 2; clean++) {
        struct twin *t = directory(clean);
        manifest_flags_set(t, "manifest-a", 0);
        manifest_flags_set(t, "manifest-b", 0);
        assert_int_equal(twin_open(t), WEIR_OK);
        assert_true(twin_matches(t) && t->recovery.durable_epoch == t->epoch);
        assert_true((manifest_flags(t, "manifest-a") | manifest_flags(t, "manifest-b")) == FILE_PATCHES);
        twin_close(t);
        manifest_flags_set(t, "manifest-a", FILE_PATCHES << 1);
        assert_int_equal(twin_open(t), WEIR_NEWER);
        assert_non_null(strstr(t->error, "newer weir"));
        twin_destroy(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flipped_bit_is_refused_or_changes_nothing),
        cmocka_unit_test(flipped_bit_after_power_cut_never_mixes),
        cmocka_unit_test(truncation_is_refused_or_changes_nothing),
        cmocka_unit_test(zeroed_block_is_refused_or_changes_nothing),
        cmocka_unit_test(misdirected_block_is_refused_or_changes_nothing),
        cmocka_unit_test(longer_file_is_refused_or_changes_nothing),
        cmocka_unit_test(data_of_a_version_without_patches_is_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
