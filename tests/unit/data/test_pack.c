/*
 * test_pack.c - the packed form: what goes in comes out, equal structs give equal bytes, fields may come and go, and bytes
 * that nobody wrote are refused or read as something that packs again.
 * SPDX-License-Identifier: MIT
 */
#include "forms.h"

static void row_comes_out_as_it_went_in(void **state)
{
    struct shape *shape = form(&wide_shape);
    for (int i = 0; i < 2000; i++) {
        struct buf packed = { 0 }, again = { 0 };
        struct wide value = some_wide(), out, copy;
        pack(shape, &value, &packed);
        assert_int_equal(unpack(shape, buf_str(&packed), &forms_arena, i % 2, &out), WEIR_OK);
        assert_true(same_wide(&value, &out));
        shape_copy(shape, &value, &forms_arena, &copy);
        pack(shape, &copy, &again);
        assert_true(str_eq(buf_str(&packed), buf_str(&again)));
        buf_free(&packed);
        buf_free(&again);
    }
}

static void start_packs_to_nothing(void **state)
{
    struct shape *shape = form(&wide_shape);
    struct buf packed = { 0 };
    struct wide value, out;
    shape_start(shape, &value);
    pack(shape, &value, &packed);
    assert_int_equal(packed.len, 0);
    assert_int_equal(unpack(shape, STR(""), &forms_arena, true, &out), WEIR_OK);
    assert_true(same_wide(&value, &out));
    buf_free(&packed);
}

/* Bytes of the declared form, by hand: docs/formats/rows.md. */
static void bytes_are_the_documented_ones(void **state)
{
    struct shape *shape = form(&inner_shape);
    struct buf packed = { 0 };
    int64_t ns[] = { 1, -1 };
    struct inner value = { .n = 3, .t = STR("ab"), .ns = { ns, 2 } };
    pack(shape, &value, &packed);
    static const char wanted[] = "\x04\x06" "\x0a\x02" "ab" "\x0e\x07\x02" "\x02\x04\x02" "\x02\x04\x01";
    assert_int_equal(packed.len, sizeof(wanted) - 1);
    assert_memory_equal(packed.ptr, wanted, sizeof(wanted) - 1);
    buf_free(&packed);
}

static void fields_may_come_and_go(void **state)
{
    static const struct weir_field more[] = { WEIR_FIELD(struct inner, n, WEIR_INT, .start = WEIR_BOUND(7)), WEIR_END };
    static const struct weir_shape fewer = { .size = sizeof(struct inner), .fields = more };
    struct shape *all = form(&inner_shape), *one = form(&fewer);
    for (int i = 0; i < 200; i++) {
        struct buf packed = { 0 };
        struct inner value = some_inner(), out = { 0 };
        pack(all, &value, &packed);
        assert_int_equal(unpack(one, buf_str(&packed), &forms_arena, true, &out), WEIR_OK); /* unknown ones are skipped */
        assert_int_equal(out.n, value.n);
        buf_reset(&packed);
        pack(one, &value, &packed);
        assert_int_equal(unpack(all, buf_str(&packed), &forms_arena, true, &out), WEIR_OK); /* absent ones start */
        assert_true(out.n == value.n && out.t.ptr == NULL && out.ns.count == 0);
        buf_free(&packed);
    }
}

static void wrong_bytes_are_refused_or_pack_again(void **state)
{
    struct shape *shape = form(&wide_shape);
    unsigned refused = 0, taken = 0;
    for (int i = 0; i < 20000; i++) {
        struct arena arena = { 0 };
        struct buf packed = { 0 }, again = { 0 };
        struct wide value = some_wide(), out, second;
        pack(shape, &value, &packed);
        for (uint64_t n = 1 + draw(3); n > 0 && packed.len > 0; n--) packed.ptr[draw(packed.len)] = (char)draw(256);
        if (draw(4) == 0 && packed.len > 0) packed.len = (size_t)draw(packed.len);
        /* a block of exactly the size, so that the address sanitizer sees a read beyond */
        char *exact = mem_realloc(NULL, packed.len + !packed.len);
        if (packed.len) memcpy(exact, packed.ptr, packed.len);
        enum weir_status st = unpack(shape, (struct weir_str){ exact, packed.len }, &arena, true, &out);
        assert_true(st == WEIR_OK || st == WEIR_CORRUPT);
        if (st == WEIR_OK) {
            pack(shape, &out, &again);
            assert_int_equal(unpack(shape, buf_str(&again), &arena, true, &second), WEIR_OK);
            taken++;
        } else {
            refused++;
        }
        mem_free(exact);
        buf_free(&packed);
        buf_free(&again);
        arena_free(&arena);
        if (i % 1000 == 0) arena_reset(&forms_arena), shape = form(&wide_shape);
    }
    assert_true(refused > 1000 && taken > 1000);
}

static void counts_beyond_the_bytes_are_refused(void **state)
{
    struct shape *shape = form(&inner_shape);
    struct inner out;
    assert_int_equal(unpack(shape, STR("\x0e\x06\xff\xff\xff\xff\x0f\x00"), &forms_arena, true, &out), WEIR_CORRUPT);
    assert_int_equal(unpack(shape, STR("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"), &forms_arena, true, &out), WEIR_CORRUPT);
    assert_int_equal(unpack(shape, STR("\x0a\x05"
                                       "abcd"), &forms_arena, true, &out), WEIR_CORRUPT);
    assert_int_equal(unpack(shape, STR("\x05xxxxxxx"), &forms_arena, true, &out), WEIR_CORRUPT); /* a double for a whole number, cut */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_comes_out_as_it_went_in), cmocka_unit_test(start_packs_to_nothing),
        cmocka_unit_test(bytes_are_the_documented_ones), cmocka_unit_test(fields_may_come_and_go),
        cmocka_unit_test(wrong_bytes_are_refused_or_pack_again), cmocka_unit_test(counts_beyond_the_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, forms_free);
}
