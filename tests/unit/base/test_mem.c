/*
 * test_mem.c - memory, buffers, readers, arenas, strings and the status table.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/sanitize_int.h"
#include "draw.h"
#include "weir/status.h"

static void mem_alloc_is_zeroed_and_large_blocks_stand_on_a_cache_line(void **state)
{
    for (size_t bytes = 0; bytes < 5000; bytes += 37) {
        char *ptr = mem_alloc(bytes);
        assert_non_null(ptr);
        for (size_t i = 0; i < bytes; i++) assert_int_equal(ptr[i], 0);
        if (bytes >= 256) assert_int_equal((uintptr_t)ptr % 64, 0);
        memset(ptr, 1, bytes);
        mem_free(ptr);
    }
}

static void buf_grows_and_keeps_its_bytes(void **state)
{
    struct buf buf = { 0 };
    assert_int_equal(buf_str(&buf).len, 0);
    assert_non_null(buf_str(&buf).ptr);
    for (int i = 0; i < 1000; i++) buf_printf(&buf, "%d,", i);
    buf_add_text(&buf, "end");
    buf_add_byte(&buf, '!');
    buf_add_str(&buf, STR_NIL);
    assert_int_equal(buf.len, 10 * 2 + 90 * 3 + 900 * 4 + 4);
    assert_memory_equal(buf.ptr, "0,1,2,", 6);
    assert_memory_equal(buf.ptr + buf.len - 8, "999,end!", 8);
    buf_reset(&buf);
    assert_int_equal(buf_str(&buf).len, 0);
    buf_free(&buf);
    assert_null(buf.ptr);
}

static void varint_returns_what_was_written(void **state)
{
    struct buf buf = { 0 };
    uint64_t numbers[64 * 3], random = 7;
    for (unsigned i = 0; i < 64; i++) {
        numbers[3 * i] = (uint64_t)1 << i;
        numbers[3 * i + 1] = ((uint64_t)1 << i) - 1;
        numbers[3 * i + 2] = draw(&random) >> i;
    }
    for (unsigned i = 0; i < 192; i++) {
        size_t before = buf.len;
        buf_add_varint(&buf, numbers[i]);
        assert_in_range(buf.len - before, 1, 10);
    }
    buf_add_varint(&buf, UINT64_MAX);
    struct reader reader = reader_of(buf_str(&buf));
    for (unsigned i = 0; i < 192; i++) assert_true(reader_varint(&reader) == numbers[i]);
    assert_true(reader_varint(&reader) == UINT64_MAX);
    assert_false(reader.failed);
    assert_ptr_equal(reader.at, reader.end);
    buf_free(&buf);
}

static void zigzag_maps_small_numbers_to_small_numbers(void **state)
{
    const int64_t numbers[] = { 0, -1, 1, -2, 2, INT64_MAX, INT64_MIN };
    assert_true(zigzag(-1) == 1 && zigzag(1) == 2 && zigzag(INT64_MIN) == UINT64_MAX);
    for (unsigned i = 0; i < 7; i++) assert_true(unzigzag(zigzag(numbers[i])) == numbers[i]);
}

static void reader_refuses_what_is_cut_or_too_large(void **state)
{
    struct reader reader = reader_of(STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    assert_int_equal(reader_varint(&reader), 0); /* 65 bits */
    assert_true(reader.failed);
    reader = reader_of(STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    assert_int_equal(reader_varint(&reader), 0); /* 11 groups */
    assert_true(reader.failed);
    reader = reader_of(STR("\x80"));
    assert_int_equal(reader_varint(&reader), 0);
    assert_true(reader.failed);
    reader = reader_of(STR("abc"));
    assert_int_equal(reader_bytes(&reader, 4).len, 0);
    assert_true(reader.failed);
    assert_int_equal(reader_byte(&reader), 0); /* it sticks */
    reader = reader_of(STR("abc"));
    assert_int_equal(reader_bytes(&reader, SIZE_MAX).len, 0);
    assert_true(reader.failed);
    reader = reader_of(STR_NIL);
    assert_int_equal(reader_bytes(&reader, 0).len, 0);
    assert_false(reader.failed);
    reader = reader_of(STR("abc"));
    assert_true(str_eq(reader_bytes(&reader, 3), STR("abc")));
    assert_false(reader.failed);
}

static void arena_gives_zeroed_aligned_memory_again_and_again(void **state)
{
    struct arena arena = { 0 };
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t random = seed;
        char *blocks[200];
        size_t sizes[200], sum = 0;
        for (unsigned i = 0; i < 200; i++) {
            sizes[i] = draw_below(&random, i % 50 == 0 ? 100000 : 300);
            blocks[i] = arena_alloc(&arena, sizes[i]);
            sum += sizes[i];
            CHECK(seed, (uintptr_t)blocks[i] % 16 == 0);
            for (size_t k = 0; k < sizes[i]; k++) CHECK(seed, blocks[i][k] == 0);
            memset(blocks[i], (int)(i + 1), sizes[i]);
        }
        CHECK(seed, arena.used == sum);
        for (unsigned i = 0; i < 200; i++)
            for (size_t k = 0; k < sizes[i]; k++) CHECK(seed, blocks[i][k] == (char)(i + 1));
        arena_reset(&arena);
        assert_int_equal(arena.used, 0);
    }
    arena_free(&arena);
}

static void arena_copies_text(void **state)
{
    struct arena arena = { 0 };
    struct weir_str copy = arena_copy(&arena, STR("entity"));
    assert_true(str_eq(copy, STR("entity")));
    assert_string_equal(arena_cstr(&arena, STR("key")), "key");
    assert_string_equal(arena_cstr(&arena, STR_NIL), "");
    assert_true(str_eq(arena_printf(&arena, "%d-%s", 7, "x"), STR("7-x")));
    assert_int_equal(arena_copy(&arena, STR_NIL).len, 0);
    arena_free(&arena);
}

static void arena_reset_poisons_what_it_takes_back(void **state)
{
#ifdef WEIR_ASAN
    struct arena arena = { 0 };
    char *ptr = arena_alloc(&arena, 24);
    assert_false(__asan_address_is_poisoned(ptr + 23));
    assert_true(__asan_address_is_poisoned(ptr + 24));
    arena_reset(&arena);
    assert_true(__asan_address_is_poisoned(ptr));
    arena_free(&arena);
#else
    skip();
#endif
}

static void str_cmp_orders_as_memcmp_shorter_first(void **state)
{
    const struct weir_str order[] = { STR_NIL,   STR("\0"), STR("\0\0"), STR("a"),    STR("a\0"),
                                      STR("aa"), STR("b"),  STR("\x7f"), STR("\x80"), STR("\xff") };
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 10; k++) {
            int is = str_cmp(order[i], order[k]);
            assert_int_equal((is > 0) - (is < 0), (i > k) - (i < k));
            assert_int_equal(str_eq(order[i], order[k]), i == k);
        }
    }
}

static void str_is_utf8_follows_the_unicode_table(void **state)
{
    const struct weir_str good[] = {
        STR_NIL,
        STR("plain"),
        STR("\0"),
        STR("\xc2\x80"),
        STR("\xdf\xbf"),
        STR("\xe0\xa0\x80"),
        STR("\xed\x9f\xbf"),
        STR("\xee\x80\x80"),
        STR("\xef\xbf\xbf"),
        STR("\xf0\x90\x80\x80"),
        STR("\xf4\x8f\xbf\xbf"),
        STR("12345678 then \xe2\x82\xac and more of it"),
        STR("1234567\xc3\xa9"),
    };
    const struct weir_str bad[] = {
        STR("\x80"),
        STR("\xbf"),
        STR("\xc0\x80"),
        STR("\xc1\xbf"),
        STR("\xc2"),
        STR("\xc2\x7f"),
        STR("\xc2\xc0"),
        STR("\xe0\x9f\xbf"),
        STR("\xe0\xa0"),
        STR("\xed\xa0\x80"),
        STR("\xed\xbf\xbf"),
        STR("\xe1\x80\x7f"),
        STR("\xf0\x8f\xbf\xbf"),
        STR("\xf4\x90\x80\x80"),
        STR("\xf5\x80\x80\x80"),
        STR("\xff"),
        STR("\xf1\x80\x80"),
        STR("12345678\x80"),
        STR("1234567\xc3"),
        STR("\xf1\x80\x80\x80\x80"),
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) assert_true(str_is_utf8(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) assert_false(str_is_utf8(bad[i]));
}

/* All sequences of up to three bytes against a decoder written from the definition. */
static bool naive_utf8(const uint8_t *at, size_t len)
{
    while (len) {
        size_t need = at[0] < 0x80       ? 1
                      : at[0] >> 5 == 6  ? 2
                      : at[0] >> 4 == 14 ? 3
                      : at[0] >> 3 == 30 ? 4
                                         : 0;
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        if (need == 0 || need > len) return false;
        uint32_t point = need == 1 ? at[0] : at[0] & (0x7fu >> need);
        for (size_t i = 1; i < need; i++) {
            if (at[i] >> 6 != 2) return false;
            point = point << 6 | (at[i] & 0x3f);
        }
        if (point < least[need] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
            return false;
        at += need;
        len -= need;
    }
    return true;
}

static void str_is_utf8_agrees_with_the_definition(void **state)
{
    for (uint32_t n = 0; n < 1u << 20; n++) {
        /* every pair of leading bytes, thinned in the tail */
        uint8_t bytes[4] = { (uint8_t)(n >> 12), (uint8_t)(n >> 4),
                             (uint8_t)(0x70 + (n & 3) * 0x18), 0x80 };
        size_t len = 1 + (n >> 2 & 3);
        assert_int_equal(str_is_utf8((struct weir_str){ (const char *)bytes, len }),
                         naive_utf8(bytes, len));
        /* and somewhere in a longer text, which is read in larger pieces */
        uint8_t text[100];
        size_t at = n * 7 % 90, whole = at + len + n % 7;
        if (n % 5 > 0) continue;
        memset(text, 'a', sizeof(text));
        memcpy(text + at, bytes, len);
        assert_int_equal(str_is_utf8((struct weir_str){ (const char *)text, whole }),
                         naive_utf8(text, whole));
    }
}

static void status_table_answers_for_every_number(void **state)
{
    assert_string_equal(weir_status_word(WEIR_NOTFOUND), "notfound");
    assert_int_equal(weir_status_http(WEIR_NOTFOUND), 404);
    assert_string_equal(weir_status_text(WEIR_OK), "done");
    for (int n = -1; n < 300; n++) {
        assert_non_null(weir_status_word((enum weir_status)n));
        assert_non_null(weir_status_text((enum weir_status)n));
        assert_in_range(weir_status_http((enum weir_status)n), 200, 599);
    }
}

static void text_print_cuts_behind_a_whole_character(void **state)
{
    static const struct {
        const char *text;
        size_t bytes;
        const char *want;
    } cases[] = { { "abc", 4, "abc" },
                  { "abc", 3, "ab" },
                  { "abc", 1, "" },
                  { "a\xc3\xa9", 3, "a" },
                  { "a\xc3\xa9", 4, "a\xc3\xa9" },
                  { "a\xe2\x82\xac!", 4, "a" },
                  { "a\xe2\x82\xac!", 5, "a\xe2\x82\xac" },
                  { "\xf0\x9f\x98\x80x", 5, "\xf0\x9f\x98\x80" },
                  { "\xf0\x9f\x98\x80x", 4, "" },
                  { "a\xffz", 8, "a?z" },
                  { "a\xc3", 8, "a?" } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[8];
        memset(out, 'x', sizeof(out));
        text_print(out, cases[i].bytes, "%s", cases[i].text);
        if (strcmp(out, cases[i].want) != 0) fail_msg("case %zu gives `%s`", i, out);
    }
}

static void int_text_is_what_printf_writes(void **state)
{
    static const int64_t edges[] = { 0, 9, 10, -1, INT64_MAX, INT64_MIN, -10, 99, 100 };
    uint64_t random = 1;
    for (int i = 0; i < 2000; i++) {
        int64_t n = i < 9 ? edges[i] : (int64_t)(draw(&random) >> draw_below(&random, 64));
        char out[INT_TEXT_MAX], want[32];
        size_t len = int_text(n, out);
        int wanted = snprintf(want, sizeof(want), "%lld", (long long)n);
        if (len != (size_t)wanted || memcmp(out, want, len) != 0) fail_msg("%s is written %.*s", want, (int)len, out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mem_alloc_is_zeroed_and_large_blocks_stand_on_a_cache_line),
        cmocka_unit_test(buf_grows_and_keeps_its_bytes),
        cmocka_unit_test(varint_returns_what_was_written),
        cmocka_unit_test(zigzag_maps_small_numbers_to_small_numbers),
        cmocka_unit_test(reader_refuses_what_is_cut_or_too_large),
        cmocka_unit_test(arena_gives_zeroed_aligned_memory_again_and_again),
        cmocka_unit_test(arena_copies_text),
        cmocka_unit_test(arena_reset_poisons_what_it_takes_back),
        cmocka_unit_test(str_cmp_orders_as_memcmp_shorter_first),
        cmocka_unit_test(str_is_utf8_follows_the_unicode_table),
        cmocka_unit_test(str_is_utf8_agrees_with_the_definition),
        cmocka_unit_test(status_table_answers_for_every_number),
        cmocka_unit_test(text_print_cuts_behind_a_whole_character),
        cmocka_unit_test(int_text_is_what_printf_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
