/*
 * test_duration.c - durations and sizes as people write them.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "data/duration.h"

static void durations_add_up(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = { { "0s", 0 }, { "7ms", 7 }, { "1s", 1000 }, { "1h30m", 5400000 }, { "2w1d", 1296000000 }, { "90s500ms", 90500 },
                 { "1m1m", 120000 }, { "99999999999999999999w", INT64_MAX }, { "9223372036854775807ms1ms", INT64_MAX } };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t ms = -1;
        if (!duration_read(str_of(good[i].text), &ms) || ms != good[i].ms) fail_msg("%s is %lld", good[i].text, (long long)ms);
    }
}

static void written_durations_read_the_same(void **state)
{
    static const int64_t some[] = { 0, 7, 999, 1000, 60000, 5400000, 86400000, 1296000000, 1296000001, INT64_MAX };
    static const struct {
        int64_t ms;
        const char *text;
    } known[] = { { 0, "0s" }, { 10000, "10s" }, { 5400000, "1h30m" }, { 604800000, "7d" }, { 1500, "1s500ms" } };
    struct buf out = { 0 };
    int64_t ms;
    for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
        buf_reset(&out);
        duration_write(&out, some[i]);
        assert_true(duration_read(buf_str(&out), &ms));
        assert_int_equal(ms, some[i]);
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        buf_reset(&out);
        duration_write(&out, known[i].ms);
        assert_true(str_eq(buf_str(&out), str_of(known[i].text)));
    }
    buf_free(&out);
}

static void sizes_are_of_1024(void **state)
{
    int64_t bytes;
    assert_true(size_read(STR("1B"), &bytes));
    assert_int_equal(bytes, 1);
    assert_true(size_read(STR("1TB2GB3MB4KB5B"), &bytes));
    assert_int_equal(bytes, (INT64_C(1) << 40) + (INT64_C(2) << 30) + (INT64_C(3) << 20) + (INT64_C(4) << 10) + 5);
}

static void what_is_neither_is_refused(void **state)
{
    static const char *const bad[] = { "",    "5",     "s",    "-1s",  "1.5h", "1 h",  " 1h", "1h ",
                                       "1H",  "1hour", "1h30", "1h,2m", "1mb",  "1e3s", "+1s", "10kB" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t n = -1;
        if (duration_read(str_of(bad[i]), &n) || n != 0) fail_msg("`%s` is a duration of %lld", bad[i], (long long)n);
        if (size_read(str_of(bad[i]), &n) || n != 0) fail_msg("`%s` is a size of %lld", bad[i], (long long)n);
    }
    int64_t n;
    assert_false(duration_read(STR("1MB"), &n));
    assert_false(size_read(STR("1m"), &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(durations_add_up),
                                        cmocka_unit_test(written_durations_read_the_same), cmocka_unit_test(sizes_are_of_1024),
                                        cmocka_unit_test(what_is_neither_is_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
