/*
 * test_chunk.c - the frames of chunked bodies: what is well-formed passes in pieces of any size, every byte of the
 * frame that is changed to one with another meaning does not.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/net_int.h"

static bool fits(struct weir_str text, size_t piece, enum chunk_state end)
{
    struct chunks chunks = { 0 };
    struct buf body = { 0 };
    bool whole = true;
    for (size_t at = 0; at < text.len && whole; at += piece) {
        size_t len = text.len - at < piece ? text.len - at : piece, used;
        whole = chunks_take(&chunks, text.ptr + at, len, 100, &body, &used) == CHUNKS_MORE && used == len;
    }
    buf_free(&body);
    return whole && chunks.state == end;
}

static bool passes(const char *bytes, size_t len)
{
    struct chunks chunks = { 0 };
    struct buf body = { 0 };
    size_t used;
    bool whole = chunks_take(&chunks, bytes, len, 100, &body, &used) == CHUNKS_MORE && used == len;
    buf_free(&body);
    return whole;
}

static const char *const good[] = {
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "1\r\na\r\n0002\r\nbc\r\n000\r\n\r\n",
    "A\r\n0123456789\r\n0\r\n\r\n",
    "a;name=value;x=\"y\"\r\n0123456789\r\n0;z\r\n\r\n",
    "2\r\n\r\n\r\n0\r\n\r\n", /* data that looks like a frame */
    "1\r\na\r\n0\r\nX-A: 1\r\nX-B:\t2\r\n\r\n",
};

static const char *const bad[] = {
    "\r\n",           ";a\r\n",         "x\r\n",          "-1\r\n",        "+1\r\n",
    "0x1\r\n",        " 1\r\n",         "1 \r\n",         "1\n",           "1\r\r\n",
    "1;\n\r\n",       "1;a\0b",         "1\r\nab",        "1\r\na\n",      "1\r\na\rx",
    "1\r\naxx0\r\n",  "0\r\n\n",        "0\r\n\rx",       "0\r\nX\n",      "0\r\nX: 1\rY",
    "0\r\n X: 1\r\n", "1\r\na\r\n\r\n", "0\r\n\r\nmore", "1000000000000000\r\n",
};

static void well_framed_passes_in_any_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        for (size_t piece = 1; piece < 40; piece++)
            if (!fits(str_of(good[i]), piece, CHUNK_DONE)) fail_msg("%s by %zu", good[i], piece);
}

static void ill_framed_does_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t len = strlen(bad[i]);
        if (i == 11) len = 5; /* with its NUL */
        if (passes(bad[i], len)) fail_msg("%s passed", bad[i]);
        for (size_t piece = 1; piece < 8; piece++)
            for (enum chunk_state end = CHUNK_SIZE; end <= CHUNK_DONE; end++)
                assert_false(fits((struct weir_str){ bad[i], len }, piece, end));
    }
}

static void cut_short_is_never_done(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        for (size_t len = 0; len < strlen(good[i]); len++)
            assert_false(fits((struct weir_str){ good[i], len }, 3, CHUNK_DONE));
}

static void data_is_put_together(void **state)
{
    (void)state;
    static const char *const data[] = { "", "hello", "abc", "0123456789", "0123456789", "\r\n", "a" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct chunks chunks = { 0 };
        struct buf body = { 0 };
        size_t used;
        assert_int_equal(chunks_take(&chunks, good[i], strlen(good[i]), 100, &body, &used), CHUNKS_MORE);
        assert_true(str_eq(buf_str(&body), str_of(data[i])));
        buf_free(&body);
    }
}

static void too_much_is_refused_from_its_length(void **state)
{
    (void)state;
    for (size_t most = 9; most <= 11; most++) {
        static const char text[] = "4\r\nabcd\r\n6\r\nefghij";
        struct chunks chunks = { 0 };
        struct buf body = { 0 };
        size_t used;
        enum chunks_found found = chunks_take(&chunks, text, sizeof text - 1, most, &body, &used);
        assert_int_equal(found, most < 10 ? CHUNKS_TOO_MANY : CHUNKS_MORE);
        assert_int_equal(body.len, most < 10 ? 4 : 10);
        buf_free(&body);
    }
    struct chunks chunks = { 0 };
    struct buf body = { 0 };
    size_t used;
    assert_int_equal(chunks_take(&chunks, "fffffffffffffff\r\n", 17, 100, &body, &used), CHUNKS_TOO_MANY);
    assert_int_equal(body.cap, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_framed_passes_in_any_pieces),
        cmocka_unit_test(ill_framed_does_not),
        cmocka_unit_test(cut_short_is_never_done),
        cmocka_unit_test(data_is_put_together),
        cmocka_unit_test(too_much_is_refused_from_its_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
