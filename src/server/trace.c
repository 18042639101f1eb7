/*
 * trace.c - one line per event on stderr.
 *
 * Rooms hand over the members of a JSON object. As JSON: {"time":...,"level":...,members}. For people:
 * the time, the event's word, then name=value for the rest; level only when it is not "info". A line is
 * written by one call, so lines of several threads do not mix. A line that finds no room (a full disk behind
 * stderr) is dropped and counted, and the next one that does is followed by the count: tracing never stops the engine.
 * SPDX-License-Identifier: MIT
 */
#include "server/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"

/* Year, month and day from days since 1970: Howard Hinnant, "chrono-compatible low-level date algorithms". */
static void date_of(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned place = (5 * of_year + 2) / 153;
    *day = of_year - (153 * place + 2) / 5 + 1;
    *month = place < 10 ? place + 3 : place - 9;
    *year = (int64_t)year_of_era + era * 400 + (*month <= 2);
}

static void time_text(int64_t wall_ms, struct buf *out)
{
    int64_t days = wall_ms / 86400000, ms = wall_ms % 86400000, year;
    unsigned month, day;
    date_of(days, &year, &month, &day);
    buf_printf(out, "%04" PRId64 "-%02u-%02uT%02d:%02d:%02d.%03dZ", year, month, day,
               (int)(ms / 3600000), (int)(ms / 60000 % 60), (int)(ms / 1000 % 60),
               (int)(ms % 1000));
}

/* The end of a JSON value that starts at `at`. */
static const char *value_end(const char *at)
{
    int depth = 0;
    bool quoted = false;
    for (; *at; at++) {
        if (quoted) {
            if (*at == '\\' && at[1]) at++;
            else if (*at == '"') quoted = false;
        } else if (*at == '"') {
            quoted = true;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            depth--;
        } else if (*at == ',' && depth == 0) {
            break;
        }
    }
    return at;
}

/* Takes the next `"name":value` off *at. A value that is a plain string comes without its quotes. */
static bool member_next(const char **at, struct weir_str *name, struct weir_str *value)
{
    const char *begin = *at;
    while (*begin == ',' || *begin == ' ') begin++;
    if (*begin != '"') return false;
    const char *close = strchr(begin + 1, '"');
    if (!close || close[1] != ':') return false;
    const char *from = close + 2, *end = value_end(from);
    *name = (struct weir_str){ begin + 1, (size_t)(close - begin - 1) };
    *value = (struct weir_str){ from, (size_t)(end - from) };
    if (value->len >= 2 && *from == '"' && !memchr(from + 1, ' ', value->len - 2) &&
        !memchr(from + 1, '\\', value->len - 2)) {
        *value = (struct weir_str){ from + 1, value->len - 2 };
    }
    *at = end;
    return true;
}

static void human_line(const char *members, struct buf *out)
{
    struct weir_str name, value, event = STR("event"), level = STR_NIL;
    for (const char *at = members; member_next(&at, &name, &value);) {
        if (str_eq(name, STR("event"))) event = value;
        if (str_eq(name, STR("level")) && !str_eq(value, STR("info"))) level = value;
    }
    if (level.len) buf_printf(out, " %.*s:", STR_ARG(level));
    buf_printf(out, " %.*s", STR_ARG(event));
    for (const char *at = members; member_next(&at, &name, &value);) {
        if (str_eq(name, STR("event")) || str_eq(name, STR("level"))) continue;
        buf_printf(out, " %.*s=%.*s", STR_ARG(name), STR_ARG(value));
    }
}

static void line_make(const struct trace *trace, const char *members, struct buf *line)
{
    if (trace->json) buf_add_text(line, "{\"time\":\"");
    time_text(trace->env->wall_ms(trace->env), line);
    if (trace->json) {
        bool has_level = strstr(members, "\"level\":") != NULL;
        buf_printf(line, "\",%s%s}\n", has_level ? "" : "\"level\":\"info\",", members);
    } else {
        human_line(members, line);
        buf_add_text(line, "\n");
    }
}

void trace_write(void *arg, const char *members)
{
    struct trace *trace = arg;
    struct buf line = { 0 };
    uint32_t dropped = atomic_load(&trace->dropped);
    /* What was dropped may have left its beginning there. */
    if (dropped != 0) buf_add_byte(&line, '\n');
    line_make(trace, members, &line);
    if (fwrite(line.ptr, 1, line.len, stderr) != line.len) {
        clearerr(stderr);
        atomic_fetch_add(&trace->dropped, 1);
    } else if (dropped != 0 && atomic_compare_exchange_strong(&trace->dropped, &dropped, 0)) {
        char text[64];
        snprintf(text, sizeof text, "\"event\":\"trace_dropped\",\"lines\":%u", dropped);
        trace_write(trace, text);
    }
    buf_free(&line);
}

void trace_event(struct trace *trace, const char *format, ...)
{
    char members[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(members, sizeof members, format, args);
    va_end(args);
    trace_write(trace, members);
}
