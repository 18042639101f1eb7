/*
 * calendar.c - time zones from TZif files, and schedules.
 *
 * u8 length of the schedule's text, the text, and the rest is a file. What is parsed answers for any instant: periods hold
 * their instants and lie side by side, local times lead back, due times come in order and fit both ways.
 * SPDX-License-Identifier: MIT
 */
#include "data/cron.h"
#include "fuzz.h"

const char *const fuzz_words[] = { "* * * * *", "*/5 ", "0 0 29 2 *", "@daily", "@hourly", "1h30m", "100ms", "366d", "mon-fri", "jan", "1-5/2", ",", "0 30 2 * * *", "TZif2", "TZif3",
    "\nCET-1CEST,M3.5.0,M10.5.0/3\n", "\n<+03>-3\n", "\nEST5EDT,M3.2.0,M11.1.0\n", "\nX0Y167,J1/-167,J365/167\n", NULL };

static const int64_t instants[] = { 0, 1, -1, 951782400, 1700000000, 4102444800, -62135596800, 253402300799, INT64_C(1) << 54, -(INT64_C(1) << 54), INT32_MAX, INT32_MIN };

static void zone_check(const struct zone *zone)
{
    for (size_t i = 0; i < sizeof instants / sizeof instants[0]; i++) {
        int64_t at = instants[i];
        struct zone_period p = zone_period(zone, at);
        FUZZ_CHECK(p.from_s <= at && at < p.until_s, "%lld", (long long)at);
        FUZZ_CHECK(p.offset_s >= ZONE_OFFSET_S_MIN && p.offset_s <= ZONE_OFFSET_S_MAX, "%d", p.offset_s);
        FUZZ_CHECK(zone_offset_s(zone, at) == p.offset_s);
        if (p.until_s < INT64_C(1) << 54) FUZZ_CHECK(zone_period(zone, p.until_s).from_s == p.until_s, "%lld", (long long)p.until_s);
        if (at > INT64_C(1) << 53 || at < -(INT64_C(1) << 53)) continue;
        struct zone_instants back = zone_instants(zone, at + p.offset_s);
        FUZZ_CHECK(back.fit != ZONE_GAP && back.first_s <= at && at <= back.last_s, "%lld: %d %lld %lld", (long long)at, (int)back.fit, (long long)back.first_s,
                   (long long)back.last_s);
    }
}

static void schedule_check(const struct schedule *schedule, const struct zone *zone)
{
    int64_t at = INT64_C(1700000000000);
    for (int i = 0; i < 5; i++) {
        int64_t next = schedule_next(schedule, zone, at);
        FUZZ_CHECK(next > at, "%lld", (long long)next);
        if (next == INT64_MAX) break;
        FUZZ_CHECK(schedule_last(schedule, zone, next + 1) == next, "%lld", (long long)next);
        FUZZ_CHECK(schedule_next(schedule, zone, next - 1) == next, "%lld", (long long)next);
        at = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    struct arena arena = { 0 };
    struct schedule schedule;
    const char *why = NULL;
    size_t len = take_byte(&in), left = (size_t)(in.end - in.at);
    struct weir_str text = { (const char *)in.at, len < left ? len : left };
    in.at += text.len;
    struct weir_str file = take_rest(&in);
    const struct zone *zone = zone_parse(&arena, file, &why);
    FUZZ_CHECK(zone || (why && why[0]), "refused without a word");
    if (zone) zone_check(zone);
    why = NULL;
    if (schedule_parse(text, &arena, &schedule, &why)) {
        schedule_check(&schedule, zone_utc());
        if (zone) schedule_check(&schedule, zone);
    } else {
        FUZZ_CHECK(why && why[0] && str_is_utf8(str_of(why)), "%s", why ? why : "refused without a word");
    }
    (void)zone_name_is_good(text);
    arena_free(&arena);
    return 0;
}
