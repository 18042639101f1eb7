/*
 * jepsen.c - histories of Jepsen and Elle, one JSON object a line, turned into lines of our own.
 *
 *   {"index":3,"type":"invoke|ok|fail|info","f":"txn","process":1,"time":123,"value":[["append",7,12],["r",9,[1,4]]]}
 *
 * Order is that of the lines, as in Elle; "time" and "index" are not read. A transaction is told at the line of
 * its completion, with that line's number as its end, so that numbers in reports are those of the file. What
 * never completes follows at the end as unknown. A file with an append holds lists, any other registers; null is
 * an empty list, or a register that was never written. Writes of registers do not say what they replaced; where
 * their transaction read or wrote the key before, they replaced that.
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE /* memmem */
#include "history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REG_NIL "-999999999999999999"
#define MICRO_MAX 64

struct event {
    char type; /* i invoke, o ok, f fail, n info */
    int64_t process;
    bool is_client;
    const char *value, *value_end;
};

/* A process and the line at which it began what it is doing. */
struct process {
    int64_t number;
    uint32_t line; /* 0: idle */
    const char *value, *value_end;
};

struct jepsen {
    char *out;
    size_t len, capacity;
    struct process *processes;
    uint32_t process_count, process_size; /* a hash table, at most half full */
    bool is_list;
    uint32_t line;
};

struct part {
    const char *ptr;
    size_t len;
};

__attribute__((noreturn)) static void malformed(const struct jepsen *jepsen, const char *what)
{
    fprintf(stderr, "weir-check-history: line %u: %s\n", jepsen->line, what);
    exit(2);
}

__attribute__((format(printf, 2, 3))) static void print(struct jepsen *jepsen, const char *format, ...)
{
    for (;;) {
        va_list args;
        va_start(args, format);
        size_t room = jepsen->capacity - jepsen->len;
        int len = vsnprintf(jepsen->out + jepsen->len, room, format, args);
        va_end(args);
        if (len >= 0 && (size_t)len < room) {
            jepsen->len += (size_t)len;
            return;
        }
        jepsen->capacity = jepsen->capacity * 2 + (size_t)len;
        jepsen->out = grow(jepsen->out, jepsen->capacity, 1);
    }
}

bool jepsen_is(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r')) i++;
    return i < len && text[i] == '{';
}

static const char *skip_spaces(const char *ptr, const char *end)
{
    while (ptr < end && (*ptr == ' ' || *ptr == '\t' || *ptr == '\r')) ptr++;
    return ptr;
}

/* Behind the JSON value at ptr. */
static const char *value_end(const struct jepsen *jepsen, const char *ptr, const char *end)
{
    unsigned depth = 0;
    for (; ptr < end; ptr++) {
        if (*ptr == '"') {
            for (ptr++; ptr < end && *ptr != '"'; ptr++)
                if (*ptr == '\\') ptr++;
            if (ptr >= end) malformed(jepsen, "a text is not closed");
        } else if (*ptr == '[' || *ptr == '{') {
            depth++;
        } else if (*ptr == ']' || *ptr == '}') {
            if (depth == 0) return ptr;
            depth--;
        } else if (*ptr == ',' && depth == 0) {
            return ptr;
        }
    }
    malformed(jepsen, "the line is not one JSON object");
}

static bool key_is(const char *key, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(key, word, len) == 0;
}

static struct event take_event(const struct jepsen *jepsen, const char *ptr, const char *end)
{
    struct event event = { 0 };
    ptr = skip_spaces(ptr, end);
    if (ptr == end || *ptr != '{') malformed(jepsen, "an event is a JSON object");
    do {
        ptr = skip_spaces(ptr + 1, end);
        if (ptr == end || *ptr != '"') malformed(jepsen, "a name was expected");
        const char *key = ++ptr;
        while (ptr < end && *ptr != '"') ptr++;
        size_t key_len = (size_t)(ptr - key);
        ptr = skip_spaces(ptr + (ptr < end), end);
        if (ptr == end || *ptr != ':') malformed(jepsen, "a name is followed by a colon");
        const char *value = skip_spaces(ptr + 1, end);
        ptr = value_end(jepsen, value, end);
        if (key_is(key, key_len, "type") && ptr - value >= 4)
            event.type = value[1] == 'i' && value[3] == 'f' ? 'n' : value[1];
        if (key_is(key, key_len, "process")) {
            const char *cursor = value;
            event.is_client = parse_int(&cursor, ptr, &event.process);
        }
        if (key_is(key, key_len, "value")) {
            event.value = value;
            event.value_end = ptr;
        }
    } while (ptr < end && *ptr == ',');
    if (event.type == 0 || strchr("iofn", event.type) == NULL)
        malformed(jepsen, "type is invoke, ok, fail or info");
    return event;
}

static struct process *process_find(struct jepsen *jepsen, int64_t number)
{
    if (jepsen->process_count * 2 >= jepsen->process_size) {
        struct process *old = jepsen->processes;
        uint32_t old_size = jepsen->process_size;
        jepsen->process_size = old_size == 0 ? 256 : old_size * 2;
        jepsen->processes = grow(NULL, jepsen->process_size, sizeof *jepsen->processes);
        jepsen->process_count = 0;
        for (uint32_t i = 0; i < jepsen->process_size; i++) jepsen->processes[i].number = -1;
        for (uint32_t i = 0; i < old_size; i++)
            if (old[i].number >= 0 && old[i].line > 0) *process_find(jepsen, old[i].number) = old[i];
        free(old);
    }
    uint64_t place = (uint64_t)number * 0x9e3779b97f4a7c15u >> 20;
    for (;; place++) {
        struct process *process = &jepsen->processes[place & (jepsen->process_size - 1)];
        if (process->number == number) return process;
        if (process->number >= 0) continue;
        *process = (struct process){ .number = number };
        jepsen->process_count++;
        return process;
    }
}

/* The elements of a JSON array, at most `max`; the number of them. */
static unsigned take_parts(const struct jepsen *jepsen, const char *ptr, const char *end,
                           struct part *parts, unsigned max)
{
    unsigned count = 0;
    ptr = skip_spaces(ptr, end);
    if (ptr == end || *ptr != '[') malformed(jepsen, "an array was expected");
    ptr = skip_spaces(ptr + 1, end);
    while (ptr < end && *ptr != ']') {
        const char *stop = value_end(jepsen, ptr, end);
        if (count == max) malformed(jepsen, "too many elements");
        parts[count].ptr = ptr;
        parts[count++].len = (size_t)(stop - ptr);
        ptr = *stop == ',' ? skip_spaces(stop + 1, end) : stop;
    }
    return count;
}

static bool part_is(const struct part *part, const char *word)
{
    return key_is(part->ptr, part->len, word);
}

#define TEXT(part) (int)(part).len, (part).ptr

/* What this transaction knows to be in the register before its operation `n`, or NULL. */
static const struct part *known_before(const struct jepsen *jepsen, const struct part *ops, unsigned n,
                                       struct part *micro, const struct part *key)
{
    while (n-- > 0) {
        unsigned count = take_parts(jepsen, ops[n].ptr, ops[n].ptr + ops[n].len, micro, 3);
        if (count == 3 && micro[1].len == key->len && memcmp(micro[1].ptr, key->ptr, key->len) == 0)
            return &micro[2];
    }
    return NULL;
}

static void print_op(struct jepsen *jepsen, const struct part *ops, unsigned n, bool is_ok)
{
    struct part micro[3], other[3];
    if (take_parts(jepsen, ops[n].ptr, ops[n].ptr + ops[n].len, micro, 3) < 2)
        malformed(jepsen, "an operation is [f, key, value]");
    struct part key = micro[1];
    if (key.len > 2 && *key.ptr == '"') key = (struct part){ key.ptr + 1, key.len - 2 };
    bool is_nil = part_is(&micro[2], "null");
    const char *separator = n > 0 ? "," : "";
    if (part_is(&micro[0], "\"append\"")) {
        print(jepsen, "%s[\"append\",\"l%.*s\",%.*s]", separator, TEXT(key), TEXT(micro[2]));
    } else if (part_is(&micro[0], "\"w\"")) {
        const struct part *before = is_ok ? known_before(jepsen, ops, n, other, &micro[1]) : NULL;
        print(jepsen, "%s[\"write\",\"r%.*s\",%.*s", separator, TEXT(key), TEXT(micro[2]));
        if (before != NULL && part_is(before, "null")) print(jepsen, "," REG_NIL);
        else if (before != NULL) print(jepsen, ",%.*s", TEXT(*before));
        print(jepsen, "]");
    } else if (part_is(&micro[0], "\"r\"")) {
        print(jepsen, "%s[\"read\",\"%c%.*s\"", separator, jepsen->is_list ? 'l' : 'r', TEXT(key));
        if (is_ok && is_nil) print(jepsen, jepsen->is_list ? ",[]" : "," REG_NIL);
        else if (is_ok) print(jepsen, ",%.*s", TEXT(micro[2]));
        print(jepsen, "]");
    } else {
        malformed(jepsen, "an operation is append, r or w");
    }
}

static void print_txn(struct jepsen *jepsen, const struct process *process, const struct event *event)
{
    static const char *const outcomes[] = { "ok", "fail", "unknown" };
    unsigned outcome = event->type == 'o' ? 0 : event->type == 'f' ? 1 : 2;
    struct part ops[MICRO_MAX];
    const char *ptr = outcome == 0 ? event->value : process->value;
    const char *end = outcome == 0 ? event->value_end : process->value_end;
    if (ptr == NULL) malformed(jepsen, "value is missing");
    unsigned count = take_parts(jepsen, ptr, end, ops, MICRO_MAX);
    print(jepsen, "t c=%lld s=%u e=%u r=%s o=[", (long long)process->number, process->line,
          jepsen->line, outcomes[outcome]);
    for (unsigned i = 0; i < count; i++) print_op(jepsen, ops, i, outcome == 0);
    print(jepsen, "]\n");
}

static void take_line(struct jepsen *jepsen, const char *ptr, const char *end)
{
    if (skip_spaces(ptr, end) == end) {
        print(jepsen, "#\n");
        return;
    }
    struct event event = take_event(jepsen, ptr, end);
    if (!event.is_client) { /* the nemesis */
        print(jepsen, "#\n");
        return;
    }
    struct process *process = process_find(jepsen, event.process);
    if (event.type == 'i') {
        if (process->line > 0) malformed(jepsen, "this process has not completed its last transaction");
        *process = (struct process){ event.process, jepsen->line, event.value, event.value_end };
        print(jepsen, "#\n");
        return;
    }
    if (process->line == 0) malformed(jepsen, "this process has not invoked anything");
    print_txn(jepsen, process, &event);
    process->line = 0;
}

void jepsen_convert(char **text, size_t *len)
{
    const char *ptr = *text, *end = *text + *len;
    struct jepsen jepsen = { .is_list = memmem(ptr, *len, "\"append\"", 8) != NULL };
    jepsen.capacity = *len + 1024;
    jepsen.out = grow(NULL, jepsen.capacity, 1);
    while (ptr < end) {
        const char *stop = memchr(ptr, '\n', (size_t)(end - ptr));
        if (stop == NULL) stop = end;
        jepsen.line++;
        take_line(&jepsen, ptr, stop);
        ptr = stop + 1;
    }
    struct event never = { .type = 'n' };
    for (uint32_t i = 0; i < jepsen.process_size; i++) {
        jepsen.line++;
        if (jepsen.processes[i].number >= 0 && jepsen.processes[i].line > 0)
            print_txn(&jepsen, &jepsen.processes[i], &never);
        else
            print(&jepsen, "#\n");
    }
    if (!jepsen.is_list) print(&jepsen, "n " REG_NIL "\n"); /* nothing was written: no number that is */
    free(jepsen.processes);
    *text = jepsen.out;
    *len = jepsen.len;
}
