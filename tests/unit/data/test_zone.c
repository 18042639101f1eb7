/*
 * test_zone.c - zones from files made by hand: transitions, footers, gaps and folds, damage.
 *
 * One argument, a seed, runs the random tests with that seed alone.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "../base/draw.h"
#include "data/civil.h"
#include "tzif.h"

static uint64_t only_seed;

#define AGREE(seed, condition)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            print_error("seed %llu; replay: build/tests/unit/data/test_data_zone %llu\n",          \
                        (unsigned long long)(seed), (unsigned long long)(seed));                   \
        assert_true(condition);                                                                    \
    } while (0)

/* Of a wall clock or of UTC, as the C library counts. */
static int64_t seconds_of(int year, int month, int day, int hour, int minute, int second)
{
    struct tm tm = { .tm_year = year - 1900,
                     .tm_mon = month - 1,
                     .tm_mday = day,
                     .tm_hour = hour,
                     .tm_min = minute,
                     .tm_sec = second };
    return timegm(&tm);
}

static const struct zone *footer_zone(struct arena *arena, const char *footer)
{
    const char *why = "";
    const struct zone *zone = zone_of_footer(arena, footer, &why);
    if (!zone) print_error("%s: %s\n", footer, why);
    assert_non_null(zone);
    return zone;
}

/* ---- calendar ---- */

static void civil_agrees_with_the_c_library(void **state)
{
    for (int64_t days = -800000; days < 3000000; days += 7 - days % 3) {
        time_t at = days * 86400;
        struct tm tm;
        gmtime_r(&at, &tm);
        struct civil date = civil_of_days(days);
        assert_int_equal(date.year, tm.tm_year + 1900);
        assert_int_equal(date.month, tm.tm_mon + 1);
        assert_int_equal(date.day, tm.tm_mday);
        assert_int_equal(civil_weekday(days), tm.tm_wday);
        assert_int_equal(civil_days(date.year, date.month, date.day), days);
        int64_t next = civil_days(date.year, date.month, civil_month_days(date.year, date.month)) +
                       1;
        assert_int_equal(civil_of_days(next).day, 1);
        assert_true(next > days && next <= days + 31);
    }
}

/* ---- offsets ---- */

static void zone_utc_is_always_zero(void **state)
{
    int64_t ends = INT64_C(1) << 54;
    assert_int_equal(zone_offset_s(zone_utc(), -ends), 0);
    assert_int_equal(zone_offset_s(zone_utc(), ends), 0);
    struct zone_instants found = zone_instants(zone_utc(), 1234567);
    assert_int_equal(found.fit, ZONE_ONCE);
    assert_int_equal(found.first_s, 1234567);
    assert_int_equal(found.last_s, 1234567);
}

static void zone_holds_type_zero_then_transitions_then_the_footer(void **state)
{
    static const int64_t at_s[] = { -(INT64_C(1) << 59), -1000, 1000 };
    static const uint8_t type[] = { 1, 2, 1 };
    static const int32_t offset_s[] = { 3208, 3600, 7200 };
    struct arena arena = { 0 };
    for (unsigned version = '1'; version <= '4'; version++) {
        struct tzif from = { .version = version == '1' ? 0 : (uint8_t)version,
                             .count = 3,
                             .at_s = at_s,
                             .type = type,
                             .type_count = 3,
                             .offset_s = offset_s,
                             .footer = "CET-1CEST,M3.5.0,M10.5.0/3" };
        if (version == '1') { /* 32 bits and no footer */
            from.at_s++;
            from.type++;
            from.count--;
        }
        struct buf bytes = { 0 };
        const char *why = "";
        tzif_write(&bytes, &from);
        const struct zone *zone = zone_parse(&arena, buf_str(&bytes), &why);
        assert_non_null(zone);
        assert_int_equal(zone_offset_s(zone, -1001), version == '1' ? 3208 : 3600);
        assert_int_equal(zone_offset_s(zone, -1000), 7200);
        assert_int_equal(zone_offset_s(zone, 999), 7200);
        assert_int_equal(zone_offset_s(zone, 1000), 3600);
        struct zone_period period = zone_period(zone, 0);
        assert_true(period.from_s == -1000 && period.until_s == 1000);
        int32_t summer = zone_offset_s(zone, seconds_of(2050, 7, 1, 0, 0, 0));
        assert_int_equal(summer, version == '1' ? 3600 : 7200);
        /* the footer's periods begin no earlier than the last transition */
        assert_int_equal(zone_period(zone, 1001).from_s, 1000);
        if (version != '1') assert_int_equal(zone_offset_s(zone, at_s[0] - 1), 3208);
        buf_free(&bytes);
    }
    arena_free(&arena);
}

static void zone_follows_the_rules_of_its_footer(void **state)
{
    static const struct {
        const char *footer;
        int year, month, day, hour, minute; /* UTC: the first minute of the new offset */
        int32_t before_s, after_s;
    } known[] = {
        { "CET-1CEST,M3.5.0,M10.5.0/3", 2024, 3, 31, 1, 0, 3600, 7200 },
        { "CET-1CEST,M3.5.0,M10.5.0/3", 2024, 10, 27, 1, 0, 7200, 3600 },
        { "CET-1CEST,M3.5.0,M10.5.0/3", 2100, 3, 28, 1, 0, 3600, 7200 },
        { "EST5EDT,M3.2.0,M11.1.0", 2024, 3, 10, 7, 0, -18000, -14400 },
        { "EST5EDT4:00:00,M3.2.0/02:00:00,M11.1.0/2", 2024, 11, 3, 6, 0, -14400, -18000 },
        { "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 2024, 4, 6, 15, 0, 39600, 37800 },
        { "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 2024, 10, 5, 15, 30, 37800, 39600 },
        { "IST-1GMT0,M10.5.0,M3.5.0/1", 2024, 3, 31, 1, 0, 0, 3600 },
        { "IST-1GMT0,M10.5.0,M3.5.0/1", 2024, 10, 27, 1, 0, 3600, 0 },
        { "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 2024, 3, 31, 1, 0, -7200, -3600 },
        { "IST-2IDT,M3.4.4/26,M10.5.0", 2024, 3, 29, 0, 0, 7200, 10800 },
        { "AAA0BBB,J60/0,J300/0", 2024, 3, 1, 0, 0, 0, 3600 }, /* leap year: J60 is 1 March */
        { "AAA0BBB,J60/0,J300/0", 2023, 3, 1, 0, 0, 0, 3600 },
        { "AAA0BBB,J59/0,J300/0", 2024, 2, 28, 0, 0, 0, 3600 },
        { "AAA0BBB,59/0,299/0", 2024, 2, 29, 0, 0, 0, 3600 },
        { "AAA0BBB,59/0,299/0", 2023, 3, 1, 0, 0, 0, 3600 },
        { "AAA0BBB,0/-167,100/0", 2023, 12, 25, 1, 0, 0, 3600 }, /* begins in the year before */
        { "AAA0BBB,100/0,365/167", 2025, 1, 6, 22, 0, 3600, 0 }, /* ends in the year after */
    };
    struct arena arena = { 0 };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const struct zone *zone = footer_zone(&arena, known[i].footer);
        int64_t at_s = seconds_of(known[i].year, known[i].month, known[i].day, known[i].hour,
                                  known[i].minute, 0);
        if (zone_offset_s(zone, at_s - 1) != known[i].before_s) print_error("row %zu\n", i);
        assert_int_equal(zone_offset_s(zone, at_s - 1), known[i].before_s);
        assert_int_equal(zone_offset_s(zone, at_s), known[i].after_s);
        assert_int_equal(zone_period(zone, at_s - 1).until_s, at_s);
        assert_int_equal(zone_period(zone, at_s).from_s, at_s);
    }
    const struct zone *always = footer_zone(&arena, "XXX3EDT4,0/0,J365/23");
    for (int64_t at_s = seconds_of(2023, 12, 20, 0, 0, 0), end = at_s + 400 * 86400; at_s < end;
         at_s += 600)
        assert_int_equal(zone_offset_s(always, at_s), -4 * 3600);
    arena_free(&arena);
}

/* ---- local times ---- */

static void instants_are(const struct zone *zone, int64_t local_s, enum zone_fit fit,
                         int64_t first_s, int64_t last_s)
{
    struct zone_instants found = zone_instants(zone, local_s);
    assert_int_equal(found.fit, fit);
    assert_int_equal(found.first_s, first_s);
    assert_int_equal(found.last_s, last_s);
}

static void zone_names_gaps_and_folds(void **state)
{
    struct arena arena = { 0 };
    const struct zone *berlin = footer_zone(&arena, "CET-1CEST,M3.5.0,M10.5.0/3");
    int64_t gap_s = seconds_of(2024, 3, 31, 1, 0, 0), at_two = seconds_of(2024, 3, 31, 2, 0, 0);
    instants_are(berlin, at_two - 1, ZONE_ONCE, gap_s - 1, gap_s - 1);
    instants_are(berlin, at_two, ZONE_GAP, gap_s, gap_s);
    instants_are(berlin, at_two + 3599, ZONE_GAP, gap_s, gap_s);
    instants_are(berlin, at_two + 3600, ZONE_ONCE, gap_s, gap_s);
    int64_t fold_s = seconds_of(2024, 10, 27, 0, 0, 0); /* local 2:00, the first time */
    at_two = seconds_of(2024, 10, 27, 2, 0, 0);
    instants_are(berlin, at_two - 1, ZONE_ONCE, fold_s - 1, fold_s - 1);
    instants_are(berlin, at_two, ZONE_FOLD, fold_s, fold_s + 3600);
    instants_are(berlin, at_two + 3599, ZONE_FOLD, fold_s + 3599, fold_s + 7199);
    instants_are(berlin, at_two + 3600, ZONE_ONCE, fold_s + 7200, fold_s + 7200);

    const struct zone *howe = footer_zone(&arena, "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0");
    gap_s = seconds_of(2024, 10, 5, 15, 30, 0);
    at_two = seconds_of(2024, 10, 6, 2, 0, 0);
    instants_are(howe, at_two + 1799, ZONE_GAP, gap_s, gap_s);
    instants_are(howe, at_two + 1800, ZONE_ONCE, gap_s, gap_s);
    fold_s = seconds_of(2024, 4, 6, 14, 30, 0);
    instants_are(howe, seconds_of(2024, 4, 7, 1, 30, 0), ZONE_FOLD, fold_s, fold_s + 1800);
    arena_free(&arena);
}

/* Apia left out 30 December 2011. */
static void zone_may_leave_out_a_day(void **state)
{
    struct arena arena = { 0 };
    struct buf bytes = { 0 };
    const char *why = "";
    const int64_t jump_s = seconds_of(2011, 12, 30, 10, 0, 0);
    static const uint8_t type[] = { 1 };
    static const int32_t offset_s[] = { -10 * 3600, 14 * 3600 };
    struct tzif from = { '2', 1, &jump_s, type, 2, offset_s, "" };
    tzif_write(&bytes, &from);
    const struct zone *zone = zone_parse(&arena, buf_str(&bytes), &why);
    assert_non_null(zone);
    int64_t missing_s = seconds_of(2011, 12, 30, 0, 0, 0);
    instants_are(zone, missing_s - 1, ZONE_ONCE, jump_s - 1, jump_s - 1);
    instants_are(zone, missing_s, ZONE_GAP, jump_s, jump_s);
    instants_are(zone, missing_s + 86399, ZONE_GAP, jump_s, jump_s);
    instants_are(zone, missing_s + 86400, ZONE_ONCE, jump_s, jump_s);
    buf_free(&bytes);
    arena_free(&arena);
}

#define TWIN_COUNT 12u

/* Clocks that change every few seconds by up to a minute, beside a walk over all instants. */
static void zone_twin(uint64_t seed)
{
    uint64_t random = seed;
    int64_t at_s[TWIN_COUNT], t = (int64_t)draw_below(&random, 100) - 50;
    uint8_t type[TWIN_COUNT];
    int32_t offset_s[TWIN_COUNT + 1];
    for (unsigned i = 0; i <= TWIN_COUNT; i++) offset_s[i] = (int32_t)draw_below(&random, 121) - 60;
    for (unsigned i = 0; i < TWIN_COUNT; i++) {
        at_s[i] = t += 1 + (int64_t)draw_below(&random, 60);
        type[i] = (uint8_t)draw_below(&random, TWIN_COUNT + 1);
    }
    struct tzif from = { '2', TWIN_COUNT, at_s, type, TWIN_COUNT + 1, offset_s, "" };
    struct arena arena = { 0 };
    struct buf bytes = { 0 };
    const char *why = "";
    tzif_write(&bytes, &from);
    const struct zone *zone = zone_parse(&arena, buf_str(&bytes), &why);
    AGREE(seed, zone != NULL);
    for (int64_t local_s = -200; local_s < 900; local_s++) {
        struct zone_instants found = zone_instants(zone, local_s);
        int64_t reached_s = INT64_MIN, last_s = 0;
        unsigned count = 0;
        for (t = local_s - 61; t <= local_s + 61; t++) {
            int32_t offset = offset_s[0];
            for (unsigned i = 0; i < TWIN_COUNT && at_s[i] <= t; i++) offset = offset_s[type[i]];
            AGREE(seed, zone_offset_s(zone, t) == offset);
            if (t + offset >= local_s && reached_s == INT64_MIN) reached_s = t;
            /* what comes back to a time that the clock has jumped over is of no interest */
            if (t + offset != local_s || (count == 0 && reached_s != t)) continue;
            count++;
            last_s = t;
        }
        AGREE(seed, found.first_s == reached_s);
        AGREE(seed, found.fit == (count == 0 ? ZONE_GAP : count == 1 ? ZONE_ONCE : ZONE_FOLD));
        AGREE(seed, found.last_s == (count ? last_s : reached_s));
    }
    buf_free(&bytes);
    arena_free(&arena);
}

static void zone_agrees_with_a_walk_over_all_instants(void **state)
{
    for (uint64_t seed = 1; seed <= 40; seed++)
        if (!only_seed || seed == only_seed) zone_twin(seed);
    if (only_seed > 40) zone_twin(only_seed);
}

/* ---- what is refused ---- */

static void zone_refuses_malformed_footers(void **state)
{
    static const char *const bad[] = {
        "C-1",
        "CET",
        "CET-",
        "CET-25",
        "CET-1:60",
        "CET-1:00:60",
        "<+1-1",
        "<>-1",
        "CET-1CEST",
        "CET-1CEST,",
        "CET-1CEST,M3",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M0.5.0,M10.5.0",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1CEST,M3.0.0,M10.5.0",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,J0,J1",
        "CET-1CEST,J1,J366",
        "CET-1CEST,0,366",
        "CET-1CEST,M3.5.0/168,M10.5.0",
        "CET-1CEST,M3.5.0/-168,M10.5.0",
        "CET-1CEST,M3.5.0,M10.5.0/3x",
        "CET-1CE,M3.5.0,M10.5.0",
        "CET-1CEST-2-,M3.5.0,M10.5.0",
        "CET--1",
        " CET-1",
        "CET-1 ",
        "CET-0001",
    };
    struct arena arena = { 0 };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *why = "";
        if (zone_of_footer(&arena, bad[i], &why)) print_error("accepted: %s\n", bad[i]);
        assert_null(zone_of_footer(&arena, bad[i], &why));
        assert_non_null(strstr(why, "footer"));
    }
    arena_free(&arena);
}

static void refused(struct arena *arena, const struct tzif *from, const char *part)
{
    struct buf bytes = { 0 };
    const char *why = "";
    tzif_write(&bytes, from);
    assert_null(zone_parse(arena, buf_str(&bytes), &why));
    if (!strstr(why, part)) print_error("`%s` does not say `%s`\n", why, part);
    assert_non_null(strstr(why, part));
    buf_free(&bytes);
}

static void zone_refuses_what_does_not_agree(void **state)
{
    static const int64_t up[] = { 1, 2 }, equal[] = { 2, 2 }, far[] = { 1, INT64_MAX };
    static const uint8_t type[] = { 0, 1 }, type_high[] = { 0, 2 };
    static const int32_t offset_s[] = { 0, 3600 }, east[] = { 0, 93600 }, west[] = { 0, -90000 };
    struct arena arena = { 0 };
    struct tzif good = { '2', 2, up, type, 2, offset_s, "" }, from = good;
    from.at_s = equal;
    refused(&arena, &from, "order");
    from.at_s = far;
    refused(&arena, &from, "order");
    from = good;
    from.type = type_high;
    refused(&arena, &from, "no type");
    from = good;
    from.offset_s = east;
    refused(&arena, &from, "malformed");
    from.offset_s = west;
    refused(&arena, &from, "malformed");
    from = good;
    from.type_count = 0;
    refused(&arena, &from, "counts");

    struct buf bytes = { 0 };
    const char *why = "";
    tzif_write(&bytes, &good);
    assert_non_null(zone_parse(&arena, buf_str(&bytes), &why));
    for (size_t len = 0; len < bytes.len; len++) /* every cut */
        assert_null(zone_parse(&arena, (struct weir_str){ bytes.ptr, len }, &why));
    size_t second = 44 + 6 + 4; /* header and block of the first part */
    bytes.ptr[second + 31] = 1; /* a leap second */
    assert_null(zone_parse(&arena, buf_str(&bytes), &why));
    assert_non_null(strstr(why, "leap"));
    bytes.ptr[second + 31] = 0;
    bytes.ptr[second + 23] = 1; /* marks of UTC for one of two types */
    assert_null(zone_parse(&arena, buf_str(&bytes), &why));
    bytes.ptr[second + 23] = 0;
    size_t name = second + 44 + 2 * (8 + 1) +
                  5; /* where the first type's name begins, of 4 bytes */
    bytes.ptr[name] = 4;
    assert_null(zone_parse(&arena, buf_str(&bytes), &why));
    assert_non_null(strstr(why, "malformed"));
    bytes.ptr[name] = 3;
    assert_non_null(zone_parse(&arena, buf_str(&bytes), &why));
    bytes.ptr[0] = 't';
    assert_null(zone_parse(&arena, buf_str(&bytes), &why));
    assert_null(zone_parse(&arena, (struct weir_str){ "", 0 }, &why));
    buf_reserve(&bytes, ZONE_BYTES_MAX + 1);
    memset(bytes.ptr, 0, ZONE_BYTES_MAX + 1);
    bytes.len = ZONE_BYTES_MAX + 1;
    assert_null(zone_parse(&arena, buf_str(&bytes), &why));
    buf_free(&bytes);
    arena_free(&arena);
}

/* Whatever is accepted keeps the header's promises. */
static void zone_survives(uint64_t seed, struct arena *arena, struct weir_str bytes)
{
    const char *why = "";
    uint64_t random = seed;
    const struct zone *zone = zone_parse(arena, bytes, &why);
    if (!zone) {
        AGREE(seed, why[0] != 0);
        return;
    }
    for (unsigned i = 0; i < 20; i++) {
        int64_t at_s = (int64_t)(draw(&random) >> draw_below(&random, 64)) >> 9;
        if (i % 2) at_s = -at_s;
        struct zone_period period = zone_period(zone, at_s);
        AGREE(seed, period.from_s <= at_s && at_s < period.until_s);
        AGREE(seed, period.offset_s >= ZONE_OFFSET_S_MIN && period.offset_s <= ZONE_OFFSET_S_MAX);
        struct zone_instants found = zone_instants(zone, at_s + period.offset_s);
        AGREE(seed, found.fit != ZONE_ONCE || found.first_s == at_s);
        AGREE(seed, found.first_s <= at_s && found.first_s <= found.last_s);
        AGREE(seed, found.fit != ZONE_FOLD || found.last_s >= at_s);
    }
}

static void zone_survives_damage(void **state)
{
    static const int64_t at_s[] = { -5000, 5, 1000000 };
    static const uint8_t type[] = { 1, 0, 1 };
    static const int32_t offset_s[] = { 3600, 7200 };
    struct tzif good = { '2', 3, at_s, type, 2, offset_s, "CET-1CEST,M3.5.0,M10.5.0/3" };
    struct arena arena = { 0 };
    for (uint64_t seed = 1; seed <= 20000; seed++) {
        if (only_seed && seed != only_seed) continue;
        uint64_t random = seed;
        struct buf bytes = { 0 };
        tzif_write(&bytes, &good);
        for (uint64_t i = 0, n = 1 + draw_below(&random, 3); i < n; i++)
            bytes.ptr[draw_below(&random, bytes.len)] ^= (char)(1u << draw_below(&random, 8));
        zone_survives(seed, &arena, buf_str(&bytes));
        buf_free(&bytes);
        arena_reset(&arena);
    }
    arena_free(&arena);
}

static void zone_names_lead_into_the_folder_only(void **state)
{
    static const char *const good[] = {
        "UTC",        "Europe/Berlin", "America/Argentina/Buenos_Aires",
        "Etc/GMT+12", "EST5EDT",       "Antarctica/DumontDUrville"
    };
    static const char *const bad[] = { "",
                                       "/",
                                       "/etc/passwd",
                                       "Europe/",
                                       "Europe//Berlin",
                                       "..",
                                       "../shadow",
                                       "Europe/../../x",
                                       "a.b",
                                       "a b",
                                       "Z\xc3\xbcrich",
                                       "a\\b",
                                       "a\nb" };
    char room[ZONE_NAME_MAX + 2];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(zone_name_is_good(str_of(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(zone_name_is_good(str_of(bad[i])));
    memset(room, 'a', sizeof(room));
    assert_true(zone_name_is_good((struct weir_str){ room, ZONE_NAME_MAX }));
    assert_false(zone_name_is_good((struct weir_str){ room, ZONE_NAME_MAX + 1 }));
    assert_false(zone_name_is_good((struct weir_str){ "UTC\0x", 5 }));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(civil_agrees_with_the_c_library),
        cmocka_unit_test(zone_utc_is_always_zero),
        cmocka_unit_test(zone_holds_type_zero_then_transitions_then_the_footer),
        cmocka_unit_test(zone_follows_the_rules_of_its_footer),
        cmocka_unit_test(zone_names_gaps_and_folds),
        cmocka_unit_test(zone_may_leave_out_a_day),
        cmocka_unit_test(zone_agrees_with_a_walk_over_all_instants),
        cmocka_unit_test(zone_refuses_malformed_footers),
        cmocka_unit_test(zone_refuses_what_does_not_agree),
        cmocka_unit_test(zone_survives_damage),
        cmocka_unit_test(zone_names_lead_into_the_folder_only),
    };
    if (argc > 1) only_seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
