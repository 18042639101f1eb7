/*
 * test_patch.c - changes that carry only the bytes of a row which differ: made, read, and met in recovery by any state of the row.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/store_int.h"
#include "../base/draw.h"

#define BYTES_MAX 300u

struct state {
    bool there;
    size_t len;
    char bytes[BYTES_MAX];
};

static const struct weir_str name = { "key", 3 };

static void change_take(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
    struct state *state = arg;
    assert_int_equal(slot, 9);
    assert_true(str_eq(key, STR("a-key")));
    if (op == STORE_PATCH) {
        struct buf now = { 0 };
        if (!state->there) return;
        store_patch((struct weir_str){ state->bytes, state->len }, value, &now);
        assert_true(now.len <= BYTES_MAX);
        if (now.len > 0) memcpy(state->bytes, now.ptr, now.len);
        state->len = now.len;
        buf_free(&now);
        return;
    }
    state->there = op == STORE_PUT;
    state->len = value.len;
    if (value.len > 0) memcpy(state->bytes, value.ptr, value.len);
}

static void replay(struct state *state, struct weir_str changes)
{
    uint64_t count = 0;
    assert_true(changes_apply(changes, change_take, state, &count));
}

static void state_assert(const struct state *got, const struct state *wanted)
{
    assert_int_equal(got->there, wanted->there);
    if (!wanted->there) return;
    assert_int_equal(got->len, wanted->len);
    assert_memory_equal(got->bytes, wanted->bytes, wanted->len);
}

static bool patch_add(struct buf *out, const struct state *before, const struct state *now)
{
    return store_change_patch(out, 9, STR("a-"), name, (struct weir_str){ before->bytes, before->len },
                              (struct weir_str){ now->bytes, now->len });
}

/* The patch is those bytes, and makes the one of the other. */
static void patch_assert(struct state *before, const struct state *now, struct weir_str wanted)
{
    struct buf out = { 0 };
    assert_true(patch_add(&out, before, now));
    assert_memory_equal(out.ptr, "\11\3\5a-key", 8);
    assert_int_equal(out.len, 8 + wanted.len);
    assert_memory_equal(out.ptr + 8, wanted.ptr, wanted.len);
    replay(before, buf_str(&out));
    state_assert(before, now);
    buf_free(&out);
}

static void a_patch_is_what_differs(void **state)
{
    struct state before = { .there = true, .len = 200 }, now;
    for (size_t i = 0; i < before.len; i++) before.bytes[i] = (char)i;
    now = before;
    now.bytes[3] = 'x';
    now.bytes[6] = 'y'; /* two bytes between them stay: cheaper in one */
    now.bytes[199] = 'z';
    patch_assert(&before, &now, STR("\310\1" "\3\4x\4\5y" "\300\1\1z"));
    patch_assert(&before, &now, STR("\310\1" "\310\1\0")); /* nothing */
    memcpy(now.bytes + 200, "more", 4);
    now.len = 204;
    patch_assert(&before, &now, STR("\314\1" "\310\1\4more"));
    now.len = 100;
    patch_assert(&before, &now, STR("\144" "\144\0"));
}

static void a_patch_longer_than_half_the_row_is_none(void **state)
{
    struct state before = { .there = true, .len = 64 }, now = before;
    struct buf out = { 0 };
    buf_add_str(&out, STR("before"));
    memset(now.bytes, 1, 33);
    assert_false(patch_add(&out, &before, &now));
    memset(now.bytes, 0, 33);
    for (size_t i = 0; i < now.len; i += 5) now.bytes[i] = 1; /* few bytes, but two numbers for each */
    assert_false(patch_add(&out, &before, &now));
    memmove(now.bytes + 1, now.bytes, now.len - 1); /* everything moves */
    for (size_t i = 0; i < now.len; i++) before.bytes[i] = (char)i;
    memcpy(now.bytes + 1, before.bytes, now.len);
    now.len++;
    assert_false(patch_add(&out, &before, &now));
    assert_true(str_eq(buf_str(&out), STR("before")));
    buf_free(&out);
}

static void state_draw(uint64_t *d, struct state *now)
{
    unsigned what = (unsigned)draw_below(d, 12);
    if (!now->there || what == 0) {
        now->there = true;
        now->len = draw_below(d, 8) == 0 ? 0 : 20 + (size_t)draw_below(d, 80);
        for (size_t i = 0; i < now->len; i++) now->bytes[i] = (char)draw_below(d, 4);
    } else if (what == 1) {
        now->there = false;
    } else if (what < 6) { /* another end */
        size_t len = 20 + (size_t)draw_below(d, 80);
        for (size_t i = now->len; i < len; i++) now->bytes[i] = (char)draw_below(d, 4);
        now->len = len;
    } else {
        for (unsigned n = (unsigned)draw_below(d, 5); n > 0 && now->len > 0; n--)
            now->bytes[draw_below(d, now->len)] = (char)draw_below(d, 256);
    }
}

/* A checkpoint has the row as it was after any of the changes that the log is read from: reading all of them gives the last. */
static void changes_end_the_same_from_any_state(void **state)
{
    enum { CHANGES = 24 };
    static struct state states[CHANGES + 1];
    unsigned patches = 0, of_other = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        uint64_t d = seed;
        struct buf log = { 0 };
        memset(states, 0, sizeof(states));
        if (draw_below(&d, 2)) state_draw(&d, &states[0]);
        for (unsigned i = 0; i < CHANGES; i++) {
            const struct state *before = &states[i];
            struct state *now = &states[i + 1];
            *now = *before;
            state_draw(&d, now);
            if (!now->there) {
                store_change_delete(&log, 9, STR("a-key"));
                continue;
            }
            bool patched = before->there && patch_add(&log, before, now);
            patches += patched;
            of_other += patched && before->len != now->len;
            if (!patched) store_change(&log, 9, STR("a-key"), (struct weir_str){ now->bytes, now->len });
        }
        for (unsigned i = 0; i <= CHANGES; i++) {
            struct state got = states[i];
            replay(&got, buf_str(&log));
            state_assert(&got, &states[CHANGES]);
        }
        buf_free(&log);
    }
    assert_true(patches > 10000 && of_other > 1000);
}

/* What passes can be applied. */
static void damaged_patches_are_refused_or_fit(void **state)
{
    unsigned taken = 0, refused = 0;
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        uint64_t d = seed;
        struct state before = { .there = true, .len = 8 + (size_t)draw_below(&d, 60) }, now;
        struct buf log = { 0 };
        for (size_t i = 0; i < before.len; i++) before.bytes[i] = (char)draw_below(&d, 256);
        now = before;
        now.bytes[draw_below(&d, now.len)] ^= 1;
        if (patch_add(&log, &before, &now)) {
            for (unsigned n = 1 + (unsigned)draw_below(&d, 2); n > 0; n--)
                log.ptr[8 + draw_below(&d, log.len - 8)] = (char)draw_below(&d, 256);
            if (draw_below(&d, 8) == 0) log.len--;
            uint64_t count = 0;
            struct state *exact = mem_alloc(sizeof(*exact));
            *exact = before;
            bool good = changes_apply(buf_str(&log), NULL, NULL, &count);
            taken += good;
            refused += !good;
            if (good && count == 1) replay(exact, buf_str(&log));
            mem_free(exact);
        }
        buf_free(&log);
    }
    assert_true(taken > 1000 && refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_patch_is_what_differs),
        cmocka_unit_test(a_patch_longer_than_half_the_row_is_none),
        cmocka_unit_test(changes_end_the_same_from_any_state),
        cmocka_unit_test(damaged_patches_are_refused_or_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
