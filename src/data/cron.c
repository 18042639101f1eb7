/*
 * cron.c - parsing schedules, and finding due times without walking through time.
 *
 * A schedule is a set of local times, given as one set for each field; match_from() finds the next of them
 * field by field, carrying as in an addition. The zone then turns local time into instants, in the two ways
 * that cron.h describes. For fixed times the argument is this: let high(t) be the latest that the local clock
 * has shown up to t. A local time is due when high() first reaches it; so the first due time after t belongs to
 * the first local time above high(t), and due times are in the order of local times.
 * SPDX-License-Identifier: MIT
 */
#include "data/cron.h"

#include "data/civil.h"
#include "data/duration.h"

#define YEAR_MAX 9999
#define OFFSET_S_SPAN (ZONE_OFFSET_S_MAX - ZONE_OFFSET_S_MIN)

/* ---- parsing ---- */

struct field {
    const char *name;
    uint8_t min, max;
    const char *words; /* three letters each, from min on */
};

static const struct field second_field = { "second", 0, 59, NULL };
static const struct field fields[] = {
    { "minute", 0, 59, NULL },
    { "hour", 0, 23, NULL },
    { "day of the month", 1, 31, NULL },
    { "month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec" },
    { "weekday", 0, 7, "sunmontuewedthufrisat" },
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

struct parse {
    struct arena *arena;
    const char **why;
};

#define REFUSE(parse, ...) (*(parse)->why = arena_printf((parse)->arena, __VA_ARGS__).ptr, false)

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The part before the separator; the text keeps what is behind it. False when the text is used up: its
 * pointer is then NULL. */
static bool split(struct weir_str *text, char separator, struct weir_str *part)
{
    if (!text->ptr) return false;
    const char *at = text->len ? memchr(text->ptr, separator, text->len) : NULL;
    *part = *text;
    *text = STR_NIL;
    if (at) {
        size_t len = (size_t)(at - part->ptr);
        *text = (struct weir_str){ at + 1, part->len - len - 1 };
        part->len = len;
    }
    return true;
}

/* Of at most four digits. */
static bool read_digits(struct weir_str text, unsigned *n)
{
    *n = 0;
    if (text.len == 0 || text.len > 4) return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i])) return false;
        *n = *n * 10 + (unsigned)(text.ptr[i] - '0');
    }
    return true;
}

static bool read_word(const struct field *field, struct weir_str text, unsigned *n)
{
    if (!field->words || text.len != 3) return false;
    for (const char *word = field->words; *word; word += 3) {
        bool same = true;
        /* | 0x20 makes ASCII letters small and turns nothing else into one */
        for (unsigned i = 0; i < 3; i++) same &= (text.ptr[i] | 0x20) == word[i];
        if (!same) continue;
        *n = field->min + (unsigned)(word - field->words) / 3;
        return true;
    }
    return false;
}

static bool read_value(struct parse *parse, const struct field *field, struct weir_str text,
                       unsigned *n)
{
    if (read_word(field, text, n)) return true;
    if (read_digits(text, n) && *n >= field->min && *n <= field->max) return true;
    return REFUSE(parse, "`%.*s` is no %s: %u to %u%s", STR_ARG(text), field->name, field->min,
                  field->max, field->words ? ", or the first three letters of its name" : "");
}

/* "*", "5", "1-5", "mon-fri" */
static bool read_range(struct parse *parse, const struct field *field, struct weir_str text,
                       unsigned *from, unsigned *to)
{
    struct weir_str rest = text, part;
    *from = field->min;
    *to = field->max == 7 ? 6 : field->max; /* 7 is Sunday a second time */
    if (str_eq(text, STR("*"))) return true;
    split(&rest, '-', &part);
    if (!read_value(parse, field, part, from)) return false;
    *to = *from;
    if (!rest.ptr) return true;
    if (!read_value(parse, field, rest, to)) return false;
    /* mon-sun */
    if (field->max == 7 && *to == 0 && *from > 0 && !is_digit(rest.ptr[0])) *to = 7;
    if (*from <= *to) return true;
    return REFUSE(parse, "`%.*s` runs backwards; write two ranges with a comma", STR_ARG(text));
}

/* One part of a list: a range, perhaps with a step. */
static bool read_part(struct parse *parse, const struct field *field, struct weir_str text,
                      uint64_t *bits)
{
    struct weir_str rest = text, range;
    unsigned from, to, step = 1, step_max = field->max == 7 ? 6 : field->max - field->min;
    split(&rest, '/', &range);
    if (!read_range(parse, field, range, &from, &to)) return false;
    if (rest.ptr) {
        bool single = from == to && !memchr(range.ptr, '-', range.len);
        if (single)
            return REFUSE(parse, "`%.*s`: a step needs a range, as in %u-%u/%.*s", STR_ARG(text),
                          from, field->max, STR_ARG(rest));
        if (!read_digits(rest, &step) || step < 1 || step > step_max)
            return REFUSE(parse, "`%.*s`: a step is 1 to %u here", STR_ARG(text), step_max);
    }
    for (unsigned n = from; n <= to; n += step) *bits |= UINT64_C(1) << n;
    return true;
}

/* A list. *starts_open: it begins with `*`. */
static bool read_field(struct parse *parse, const struct field *field, struct weir_str text,
                       uint64_t *bits, bool *starts_open)
{
    struct weir_str part;
    *bits = 0;
    *starts_open = text.ptr[0] == '*';
    while (split(&text, ',', &part)) {
        if (part.len == 0) return REFUSE(parse, "the %s has an empty part", field->name);
        if (!read_part(parse, field, part, bits)) return false;
    }
    return true;
}

/* Weekdays come and go, so a date that exists at all falls on each of them within 400 years. */
static bool has_date(const struct schedule *s)
{
    if (s->any_day) return true;
    for (unsigned month = 1; month <= 12; month++) {
        uint32_t there = (2u << civil_month_days(2000, month)) - 2;
        if (s->months >> month & 1 && s->days & there) return true;
    }
    return false;
}

static bool read_fields(struct parse *parse, struct weir_str *texts, size_t count,
                        struct schedule *s)
{
    uint64_t bits[FIELD_COUNT];
    bool open[FIELD_COUNT], second_open = false;
    s->seconds = 1;
    if (count == FIELD_COUNT + 1 &&
        !read_field(parse, &second_field, *texts++, &s->seconds, &second_open))
        return false;
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (!read_field(parse, &fields[i], texts[i], &bits[i], &open[i])) return false;
    }
    s->minutes = bits[0];
    s->hours = (uint32_t)bits[1];
    s->days = (uint32_t)bits[2];
    s->months = (uint32_t)bits[3];
    s->weekdays = (uint32_t)((bits[4] | bits[4] >> 7) & 0x7f);
    s->any_day = !open[2] && !open[4];
    s->by_real_time = second_open || open[0] || open[1];
    return has_date(s) || REFUSE(parse, "none of its months has such a day");
}

static bool read_interval(struct parse *parse, struct weir_str text, struct schedule *s)
{
    if (!duration_read(text, &s->interval_ms))
        return REFUSE(parse, "`%.*s` is no interval such as 5s, 90s or 1h30m (ms, s, m, h, d, w)",
                      STR_ARG(text));
    if (s->interval_ms > SCHEDULE_INTERVAL_MS_MAX)
        return REFUSE(parse, "`%.*s`: an interval is at most 366 days", STR_ARG(text));
    if (s->interval_ms >= SCHEDULE_INTERVAL_MS_MIN) return true;
    return REFUSE(parse, "`%.*s`: an interval is at least %d ms", STR_ARG(text),
                  (int)SCHEDULE_INTERVAL_MS_MIN);
}

static bool read_nickname(struct weir_str text, struct weir_str *meaning)
{
    static const struct {
        const char *name, *meaning;
    } nicknames[] = {
        { "@yearly", "0 0 1 1 *" }, { "@annually", "0 0 1 1 *" }, { "@monthly", "0 0 1 * *" },
        { "@weekly", "0 0 * * 0" }, { "@daily", "0 0 * * *" },    { "@midnight", "0 0 * * *" },
        { "@hourly", "0 * * * *" },
    };
    for (size_t i = 0; i < sizeof(nicknames) / sizeof(nicknames[0]); i++) {
        if (!str_eq(text, str_of(nicknames[i].name))) continue;
        *meaning = str_of(nicknames[i].meaning);
        return true;
    }
    return false;
}

static struct weir_str trimmed(struct weir_str text)
{
    while (text.len && is_space(text.ptr[text.len - 1])) text.len--;
    while (text.len && is_space(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    return text;
}

static bool read_text(struct parse *parse, struct weir_str text, struct schedule *s)
{
    struct weir_str texts[FIELD_COUNT + 2] = { 0 };
    size_t count = 0;
    if (text.len > SCHEDULE_TEXT_MAX)
        return REFUSE(parse, "a schedule has at most %u bytes", SCHEDULE_TEXT_MAX);
    text = trimmed(text);
    if (text.len && text.ptr[0] == '@' && !read_nickname(text, &text))
        return REFUSE(parse, "`%.*s` is unknown: @hourly, @daily, @weekly, @monthly or @yearly",
                      STR_ARG(text));
    for (size_t at = 0; at < text.len && count < FIELD_COUNT + 2; count++) {
        size_t begin = at;
        while (at < text.len && !is_space(text.ptr[at])) at++;
        texts[count] = (struct weir_str){ text.ptr + begin, at - begin };
        while (at < text.len && is_space(text.ptr[at])) at++;
    }
    if (count == FIELD_COUNT || count == FIELD_COUNT + 1)
        return read_fields(parse, texts, count, s);
    if (count == 1 && is_digit(text.ptr[0])) return read_interval(parse, text, s);
    return REFUSE(parse, "a schedule is `minute hour day month weekday`, the same with seconds "
                         "first, a nickname such as @daily, or an interval such as 5s");
}

bool schedule_parse(struct weir_str text, struct arena *arena, struct schedule *schedule,
                    const char **why)
{
    struct parse parse = { arena, why };
    *schedule = (struct schedule){ 0 };
    /* what is refused is quoted to people */
    bool good = str_is_utf8(text) ? read_text(&parse, text, schedule)
                                  : REFUSE(&parse, "a schedule is text in UTF-8");
    if (good) return true;
    *schedule = (struct schedule){ 0 };
    return false;
}

/* ---- local times ---- */

/* The lowest bit at or above n; -1: none. */
static int bit_from(uint64_t bits, int n)
{
    bits = bits >> n << n;
    return bits ? __builtin_ctzll(bits) : -1;
}

/* The first second of the day at or above second_of_day that fits; -1: none. */
static int64_t clock_from(const struct schedule *s, int64_t second_of_day)
{
    int hour = (int)(second_of_day / 3600), minute = (int)(second_of_day / 60 % 60);
    int second = bit_from(s->seconds, (int)(second_of_day % 60));
    if (!(s->hours >> hour & 1)) {
        minute = second = -1;
    } else {
        if (second < 0 || !(s->minutes >> minute & 1)) {
            minute = bit_from(s->minutes, minute + 1);
            second = -1;
        }
        if (minute < 0) hour++;
    }
    hour = bit_from(s->hours, hour);
    if (hour < 0) return -1;
    if (minute < 0) minute = bit_from(s->minutes, 0);
    if (second < 0) second = bit_from(s->seconds, 0);
    return hour * 3600 + minute * 60 + second;
}

/* The first day at or after `days` that fits; INT64_MAX: none by YEAR_MAX. */
static int64_t day_from(const struct schedule *s, int64_t days)
{
    struct civil date = civil_of_days(days);
    while (date.year <= YEAR_MAX) {
        if (s->months >> date.month & 1) {
            unsigned last = civil_month_days(date.year, date.month);
            unsigned weekday = civil_weekday(days);
            for (; date.day <= last; date.day++, days++, weekday = (weekday + 1) % 7) {
                bool day = s->days >> date.day & 1, fits = s->weekdays >> weekday & 1;
                if (s->any_day ? day || fits : day && fits) return days;
            }
        }
        date.year += date.month == 12;
        date.month = date.month % 12 + 1;
        date.day = 1;
        days = civil_days(date.year, date.month, 1);
    }
    return INT64_MAX;
}

/* The first local time at or after local_s that fits; INT64_MAX: none. */
static int64_t match_from(const struct schedule *s, int64_t local_s)
{
    int64_t days = civil_floor(local_s, CIVIL_DAY_S);
    int64_t clock_s = clock_from(s, local_s - days * CIVIL_DAY_S);
    int64_t day = day_from(s, clock_s < 0 ? days + 1 : days);
    if (day == INT64_MAX) return INT64_MAX;
    if (day > days) clock_s = clock_from(s, 0);
    return day * CIVIL_DAY_S + clock_s;
}

/* ---- instants ---- */

/* The latest that the local clock has shown up to at_s. */
static int64_t high_local_s(const struct zone *zone, int64_t at_s)
{
    struct zone_period period = zone_period(zone, at_s);
    int64_t high_s = at_s + period.offset_s;
    /* What lies further back was at a lower local time, whatever the offsets. */
    int64_t from_s = at_s - OFFSET_S_SPAN;
    while (period.from_s > from_s) {
        int64_t last_s = period.from_s - 1;
        period = zone_period(zone, last_s);
        if (last_s + period.offset_s > high_s) high_s = last_s + period.offset_s;
    }
    return high_s;
}

static int64_t next_fixed(const struct schedule *s, const struct zone *zone, int64_t after_s)
{
    int64_t local_s = match_from(s, high_local_s(zone, after_s) + 1);
    return local_s == INT64_MAX ? INT64_MAX : zone_instants(zone, local_s).first_s;
}

static int64_t next_real(const struct schedule *s, const struct zone *zone, int64_t after_s)
{
    int64_t at_s = after_s + 1;
    while (at_s <= SCHEDULE_TIME_MS_MAX / 1000) {
        struct zone_period period = zone_period(zone, at_s);
        int64_t local_s = match_from(s, at_s + period.offset_s);
        if (local_s == INT64_MAX) break;
        at_s = local_s - period.offset_s;
        if (at_s < period.until_s) return at_s;
        at_s = period.until_s;
    }
    return INT64_MAX;
}

int64_t schedule_next(const struct schedule *schedule, const struct zone *zone, int64_t after_ms)
{
    int64_t next_ms;
    if (after_ms >= SCHEDULE_TIME_MS_MAX) return INT64_MAX;
    if (after_ms < SCHEDULE_TIME_MS_MIN) after_ms = SCHEDULE_TIME_MS_MIN - 1;
    if (schedule->interval_ms) {
        next_ms = (civil_floor(after_ms, schedule->interval_ms) + 1) * schedule->interval_ms;
    } else {
        int64_t after_s = civil_floor(after_ms, 1000);
        int64_t next_s = schedule->by_real_time ? next_real(schedule, zone, after_s)
                                                : next_fixed(schedule, zone, after_s);
        if (next_s > SCHEDULE_TIME_MS_MAX / 1000) return INT64_MAX;
        next_ms = next_s * 1000;
    }
    return next_ms > SCHEDULE_TIME_MS_MAX ? INT64_MAX : next_ms;
}

int64_t schedule_last(const struct schedule *schedule, const struct zone *zone, int64_t before_ms)
{
    /* Behind `high` no due time is left before before_ms; `low` goes back until one is behind it. */
    int64_t high = before_ms > SCHEDULE_TIME_MS_MAX ? SCHEDULE_TIME_MS_MAX + 1 : before_ms;
    int64_t low = high, due = INT64_MAX;
    before_ms = high;
    for (int64_t step = 1000; due >= before_ms; step *= 2) {
        if (low < SCHEDULE_TIME_MS_MIN) return INT64_MIN;
        high = low;
        low -= step;
        due = schedule_next(schedule, zone, low);
    }
    /* Each turn halves what is between, and ends when the one after `due` is too late. */
    for (;;) {
        int64_t next = schedule_next(schedule, zone, due);
        if (next >= before_ms) return due;
        due = next;
        int64_t middle = due + (high - due) / 2;
        next = schedule_next(schedule, zone, middle);
        if (next < before_ms) due = next;
        else high = middle;
    }
}

/* ---- what was missed ---- */

bool schedule_policy_parse(struct weir_str word, enum schedule_policy *policy)
{
    static const char *const words[] = { "once", "all", "skip" };
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (!str_eq(word, str_of(words[i]))) continue;
        *policy = (enum schedule_policy)i;
        return true;
    }
    return false;
}

static uint32_t missed_all(const struct schedule *schedule, const struct zone *zone,
                           int64_t last_ms, int64_t now_ms, int64_t *due_ms, bool *cut)
{
    uint32_t count = 0;
    int64_t due = schedule_next(schedule, zone, last_ms);
    for (; due <= now_ms && count < SCHEDULE_MISSED_MAX; count++) {
        due_ms[count] = due;
        due = schedule_next(schedule, zone, due);
    }
    *cut = due <= now_ms;
    if (!*cut) return count;
    due = now_ms + 1;
    for (uint32_t i = count; i > 0; i--) due = due_ms[i - 1] = schedule_last(schedule, zone, due);
    return count;
}

uint32_t schedule_missed(const struct schedule *schedule, const struct zone *zone, int64_t last_ms,
                         int64_t now_ms, enum schedule_policy policy, int64_t *due_ms, bool *cut)
{
    *cut = false;
    if (now_ms > SCHEDULE_TIME_MS_MAX) now_ms = SCHEDULE_TIME_MS_MAX;
    if (now_ms <= last_ms) return 0;
    if (policy == SCHEDULE_ALL) return missed_all(schedule, zone, last_ms, now_ms, due_ms, cut);
    int64_t due = schedule_last(schedule, zone, now_ms + 1);
    if (due <= last_ms) return 0; /* INT64_MIN: nor any before */
    if (policy == SCHEDULE_SKIP && now_ms - due > SCHEDULE_LATE_MS) return 0;
    due_ms[0] = due;
    return 1;
}
