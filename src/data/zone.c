/*
 * zone.c - TZif files and POSIX TZ texts.
 *
 * TZif (RFC 8536, 3): header of 44 bytes, block with 4-byte times, and from version 2 on a second header, block
 * with 8-byte times, and the footer between newlines. Only the last block is read. Header: "TZif", version,
 * 15 reserved bytes, then six counts of 4 bytes (high byte first): isutc, isstd, leap, time, type, char.
 * Block: time x (4 or 8) instants, time x 1 type, type x 6 (offset 4, summer 1, name 1), chars, leap seconds,
 * isstd, isutc.
 *
 * A zone keeps the offset that each transition leads to. Before the first the offset is that of type 0;
 * from the last on it is the footer's, or without a footer the last's.
 * SPDX-License-Identifier: MIT
 */
#include "data/zone.h"

#include "data/civil.h"

/* Beyond this no transition is taken, so that sums of times never overflow. zic writes -2^59 for "ever". */
#define INSTANT_MAX (INT64_C(1) << 60)
#define TYPES_MAX 256u
#define HEADER_BYTES 44u
#define RULE_HOURS_MAX 167

enum rule_kind {
    RULE_JULIAN,  /* J1 to J365: 29 February is never counted */
    RULE_ZERO,    /* 0 to 365: it is */
    RULE_WEEKDAY, /* M month.week.weekday: week 5 is the last */
};

/* When in each year clocks change. */
struct rule {
    enum rule_kind kind;
    unsigned day; /* julian, zero: the day; weekday: 0 (Sunday) to 6 */
    unsigned month, week;
    int32_t time_s; /* after midnight, local time before the change */
};

/* What a POSIX TZ text says. */
struct footer {
    bool present, summer;
    int32_t offset_s, summer_offset_s;
    struct rule begin, end; /* of summer time */
};

struct zone {
    uint32_t count;          /* of transitions */
    const int64_t *at_s;     /* ascending */
    const int32_t *offset_s; /* from each on */
    int32_t first_offset_s;
    struct footer footer;
};

static const struct zone utc = { 0 };

const struct zone *zone_utc(void)
{
    return &utc;
}

/* ---- POSIX TZ texts ---- */

static bool take(struct reader *in, char c)
{
    if (in->at == in->end || *in->at != c) return false;
    in->at++;
    return true;
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "CET" or "<+1030>": at least three characters, which nobody needs here. */
static bool read_name(struct reader *in)
{
    bool quoted = take(in, '<');
    size_t len = 0;
    for (; in->at < in->end; in->at++, len++) {
        char c = *in->at;
        if (!is_letter(c) && !(quoted && (is_digit(c) || c == '+' || c == '-'))) break;
    }
    return len >= 3 && (!quoted || take(in, '>'));
}

static bool read_count(struct reader *in, int32_t min, int32_t max, int32_t *n)
{
    const char *begin = in->at;
    *n = 0;
    while (in->at < in->end && is_digit(*in->at) && in->at - begin < 3)
        *n = *n * 10 + (*in->at++ - '0');
    return in->at > begin && *n >= min && *n <= max;
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool read_clock(struct reader *in, int32_t hours_max, int32_t *seconds)
{
    int32_t hour, minute = 0, second = 0;
    bool minus = take(in, '-');
    if (!minus) take(in, '+');
    if (!read_count(in, 0, hours_max, &hour)) return false;
    if (take(in, ':')) {
        if (!read_count(in, 0, 59, &minute)) return false;
        if (take(in, ':') && !read_count(in, 0, 59, &second)) return false;
    }
    *seconds = hour * 3600 + minute * 60 + second;
    if (minus) *seconds = -*seconds;
    return true;
}

static bool read_rule(struct reader *in, struct rule *rule)
{
    int32_t n = 0, month = 0, week = 0;
    bool good;
    if (take(in, 'M')) {
        rule->kind = RULE_WEEKDAY;
        good = read_count(in, 1, 12, &month) && take(in, '.') && read_count(in, 1, 5, &week) &&
               take(in, '.') && read_count(in, 0, 6, &n);
    } else if (take(in, 'J')) {
        rule->kind = RULE_JULIAN;
        good = read_count(in, 1, 365, &n);
    } else {
        rule->kind = RULE_ZERO;
        good = read_count(in, 0, 365, &n);
    }
    rule->day = (unsigned)n;
    rule->month = (unsigned)month;
    rule->week = (unsigned)week;
    rule->time_s = 2 * 3600;
    return good && (!take(in, '/') || read_clock(in, RULE_HOURS_MAX, &rule->time_s));
}

/* "CET-1CEST,M3.5.0,M10.5.0/3". In it west is positive. */
static bool read_footer(struct weir_str text, struct footer *footer, const char **why)
{
    struct reader in = reader_of(text);
    int32_t west = 0;
    *why = "the footer is no POSIX TZ text";
    if (!read_name(&in) || !read_clock(&in, 24, &west)) return false;
    footer->present = true;
    footer->offset_s = -west;
    if (in.at == in.end) return true;
    if (!read_name(&in)) return false;
    footer->summer = true;
    footer->summer_offset_s = footer->offset_s + 3600;
    if (in.at < in.end && *in.at != ',') {
        if (!read_clock(&in, 24, &west)) return false;
        footer->summer_offset_s = -west;
    }
    *why = "the footer has summer time and no rule for it";
    if (in.at == in.end) return false;
    *why = "the footer's rule for summer time is malformed";
    return take(&in, ',') && read_rule(&in, &footer->begin) && take(&in, ',') &&
           read_rule(&in, &footer->end) && in.at == in.end;
}

/* Local time of the change in a year. */
static int64_t rule_local_s(const struct rule *rule, int64_t year)
{
    int64_t days = civil_days(year, 1, 1);
    switch (rule->kind) {
    case RULE_ZERO: days += rule->day; break;
    case RULE_JULIAN:
        days += rule->day - 1;
        if (rule->day >= 60 && civil_month_days(year, 2) == 29) days++;
        break;
    case RULE_WEEKDAY: {
        int64_t first = civil_days(year, rule->month, 1);
        unsigned day = (rule->day + 7 - civil_weekday(first)) % 7 + 7 * (rule->week - 1);
        while (day >= civil_month_days(year, rule->month)) day -= 7;
        days = first + day;
        break;
    }
    }
    return days * CIVIL_DAY_S + rule->time_s;
}

struct change {
    int64_t at_s;
    int32_t offset_s;
};

/* Keeps them in order of time. Of two at the same instant the one added later counts: where summer time lasts
 * all year, it ends as the next begins. */
static void change_add(struct change *changes, unsigned *count, int64_t at_s, int32_t offset_s)
{
    unsigned i = (*count)++;
    for (; i > 0 && changes[i - 1].at_s > at_s; i--) changes[i] = changes[i - 1];
    changes[i] = (struct change){ at_s, offset_s };
}

static struct zone_period footer_period(const struct footer *f, int64_t at_s)
{
    struct zone_period period = { INT64_MIN, INT64_MAX, f->offset_s };
    if (!f->summer) return period;
    /* Rules may reach a week into the next year or the last: two years to each side hold a change for sure. */
    struct change changes[10];
    unsigned count = 0;
    int64_t year = civil_of_days(civil_floor(at_s + f->offset_s, CIVIL_DAY_S)).year;
    for (int64_t y = year - 2; y <= year + 2; y++) {
        change_add(changes, &count, rule_local_s(&f->begin, y) - f->offset_s, f->summer_offset_s);
        change_add(changes, &count, rule_local_s(&f->end, y) - f->summer_offset_s, f->offset_s);
    }
    for (unsigned i = 0; i < count && period.until_s == INT64_MAX; i++) {
        if (changes[i].at_s <= at_s) {
            period.from_s = changes[i].at_s;
            period.offset_s = changes[i].offset_s;
        } else {
            period.until_s = changes[i].at_s;
        }
    }
    return period;
}

/* ---- TZif ---- */

struct header {
    uint8_t version;
    uint32_t utc_count, std_count, leap_count, time_count, type_count, char_count;
};

static uint64_t read_be(struct reader *in, unsigned bytes)
{
    uint64_t n = 0;
    while (bytes--) n = n << 8 | reader_byte(in);
    return n;
}

static bool read_header(struct reader *in, struct header *header, const char **why)
{
    *why = "this is no TZif file";
    if (!str_eq(reader_bytes(in, 4), STR("TZif"))) return false;
    header->version = reader_byte(in);
    reader_bytes(in, 15);
    header->utc_count = (uint32_t)read_be(in, 4);
    header->std_count = (uint32_t)read_be(in, 4);
    header->leap_count = (uint32_t)read_be(in, 4);
    header->time_count = (uint32_t)read_be(in, 4);
    header->type_count = (uint32_t)read_be(in, 4);
    header->char_count = (uint32_t)read_be(in, 4);
    *why = "the TZif file is cut short";
    return !in->failed;
}

static uint64_t block_bytes(const struct header *h, unsigned width)
{
    return (uint64_t)h->time_count * (width + 1) + (uint64_t)h->type_count * 6 + h->char_count +
           (uint64_t)h->leap_count * (width + 4) + h->std_count + h->utc_count;
}

static bool header_is_good(const struct header *h, const char **why)
{
    *why = "the zone counts leap seconds";
    if (h->leap_count) return false;
    *why = "the TZif header's counts do not agree";
    return h->type_count > 0 && h->type_count <= TYPES_MAX && h->char_count > 0 &&
           (h->utc_count == 0 || h->utc_count == h->type_count) &&
           (h->std_count == 0 || h->std_count == h->type_count);
}

/* The block's bytes are all there. */
static bool read_block(struct reader *in, const struct header *h, unsigned width,
                       struct arena *arena, struct zone *zone, const char **why)
{
    int64_t *at_s = arena_alloc(arena, h->time_count * sizeof(*at_s));
    int32_t *offset_s = arena_alloc(arena, h->time_count * sizeof(*offset_s));
    int32_t type_offset_s[TYPES_MAX] = { 0 };
    *why = "the zone's transitions are not in order of time";
    for (uint32_t i = 0; i < h->time_count; i++) {
        uint64_t n = read_be(in, width);
        at_s[i] = width == 4 ? (int32_t)(uint32_t)n : (int64_t)n;
        if (at_s[i] > INSTANT_MAX || at_s[i] < -INSTANT_MAX || (i > 0 && at_s[i] <= at_s[i - 1]))
            return false;
    }
    struct weir_str types = reader_bytes(in, h->time_count);
    *why = "a type of the zone's local times is malformed";
    for (uint32_t i = 0; i < h->type_count; i++) {
        type_offset_s[i] = (int32_t)(uint32_t)read_be(in, 4);
        bool good = reader_byte(in) <= 1; /* summer or not */
        good &= reader_byte(in) < h->char_count;
        if (!good || type_offset_s[i] < ZONE_OFFSET_S_MIN || type_offset_s[i] > ZONE_OFFSET_S_MAX)
            return false;
    }
    *why = "a transition leads to no type of local time";
    for (uint32_t i = 0; i < h->time_count; i++) {
        uint8_t type = (uint8_t)types.ptr[i];
        if (type >= h->type_count) return false;
        offset_s[i] = type_offset_s[type];
    }
    reader_bytes(in, h->char_count + h->std_count + h->utc_count);
    zone->count = h->time_count;
    zone->at_s = at_s;
    zone->offset_s = offset_s;
    zone->first_offset_s = type_offset_s[0];
    return true;
}

const struct zone *zone_parse(struct arena *arena, struct weir_str bytes, const char **why)
{
    struct zone *zone = arena_alloc(arena, sizeof(*zone));
    struct reader in = reader_of(bytes);
    struct header h;
    unsigned width = 4;
    *why = "the TZif file is longer than any should be";
    if (bytes.len > ZONE_BYTES_MAX || !read_header(&in, &h, why)) return NULL;
    if (h.version) {
        uint64_t skipped = block_bytes(&h, width);
        *why = "the TZif file is cut short";
        if (skipped > (size_t)(in.end - in.at)) return NULL;
        reader_bytes(&in, skipped);
        if (!read_header(&in, &h, why)) return NULL;
        width = 8;
    }
    if (!header_is_good(&h, why)) return NULL;
    *why = "the TZif file is cut short";
    if (block_bytes(&h, width) > (size_t)(in.end - in.at)) return NULL;
    if (!read_block(&in, &h, width, arena, zone, why)) return NULL;
    if (width == 4) return zone;
    *why = "the footer is not between newlines";
    if (!take(&in, '\n')) return NULL;
    const char *end = in.at < in.end ? memchr(in.at, '\n', (size_t)(in.end - in.at)) : NULL;
    if (!end) return NULL;
    struct weir_str text = { in.at, (size_t)(end - in.at) };
    if (text.len && !read_footer(text, &zone->footer, why)) return NULL;
    return zone;
}

bool zone_name_is_good(struct weir_str name)
{
    char last = '/';
    if (name.len == 0 || name.len > ZONE_NAME_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!is_letter(c) && !is_digit(c) && c != '_' && c != '+' && c != '-' && c != '/')
            return false;
        if (c == '/' && last == '/') return false;
        last = c;
    }
    return last != '/';
}

/* ---- instants and local times ---- */

struct zone_period zone_period(const struct zone *zone, int64_t at_s)
{
    uint32_t low = 0, high = zone->count; /* transitions below low are at or before at_s */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (zone->at_s[middle] <= at_s) low = middle + 1;
        else high = middle;
    }
    struct zone_period period = { INT64_MIN, INT64_MAX, zone->first_offset_s };
    if (low == zone->count && zone->footer.present) period = footer_period(&zone->footer, at_s);
    else if (low > 0) period.offset_s = zone->offset_s[low - 1];
    if (low > 0 && zone->at_s[low - 1] > period.from_s) period.from_s = zone->at_s[low - 1];
    if (low < zone->count) period.until_s = zone->at_s[low];
    return period;
}

int32_t zone_offset_s(const struct zone *zone, int64_t at_s)
{
    return zone_period(zone, at_s).offset_s;
}

struct zone_instants zone_instants(const struct zone *zone, int64_t local_s)
{
    /* Before this instant no offset brings the clock up to local_s. */
    struct zone_period period = zone_period(zone, local_s - ZONE_OFFSET_S_MAX);
    for (;; period = zone_period(zone, period.until_s)) {
        int64_t at_s = local_s - period.offset_s;
        if (at_s >= period.until_s) continue;
        if (at_s < period.from_s)
            return (struct zone_instants){ ZONE_GAP, period.from_s, period.from_s };
        struct zone_instants found = { ZONE_ONCE, at_s, at_s };
        /* And from here on none brings it down to local_s any more. */
        while (period.until_s <= local_s - ZONE_OFFSET_S_MIN) {
            period = zone_period(zone, period.until_s);
            at_s = local_s - period.offset_s;
            if (at_s < period.from_s || at_s >= period.until_s) continue;
            found.fit = ZONE_FOLD;
            found.last_s = at_s;
        }
        return found;
    }
}
