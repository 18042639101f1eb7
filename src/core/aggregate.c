/*
 * aggregate.c - count, sum, min, max, avg, first, last, distinct, top and folds of the events of a window.
 *
 * Exact distinct keeps the values themselves. The sketch is HyperLogLog (Flajolet, Fusy, Gandouet, Meunier, AOFA 2007)
 * with 2^11 registers, so a standard error of 1.04 / sqrt(2048) = 2.3 %, and linear counting while registers are empty;
 * hashes have 64 bits, so the correction for large counts is not needed.
 * SPDX-License-Identifier: MIT
 */
#include "core/aggregate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"

#define SKETCH_BITS 11u
#define SKETCH_REGISTERS (1u << SKETCH_BITS)

static _Thread_local char reason[256];

/* ---- values ---- */

static bool kind_is_whole(enum weir_kind kind)
{
    return kind == WEIR_INT || kind == WEIR_TIME || kind == WEIR_ENUM;
}

static int64_t whole_of(const struct field *f, const void *event)
{
    int64_t n;
    memcpy(&n, (const char *)event + f->offset, sizeof(n));
    return n;
}

static double real_of(const struct field *f, const void *event)
{
    double n;
    memcpy(&n, (const char *)event + f->offset, sizeof(n));
    return n;
}

static bool is_nil(const struct field *f, const void *event)
{
    if (kind_is_whole(f->kind)) return whole_of(f, event) == WEIR_NIL;
    if (f->kind == WEIR_FLOAT) return isnan(real_of(f, event));
    if (f->kind == WEIR_BOOL) return false;
    return text_load(f, (const char *)event + f->offset).ptr == NULL;
}

/* The bytes of a value: equal values have equal ones. */
static struct weir_str value_bytes(const struct field *f, const void *event)
{
    const char *at = (const char *)event + f->offset;
    if (f->kind == WEIR_BOOL) return (struct weir_str){ at, 1 };
    /* -0 is 0 to everybody who compares them. */
    static const double zero;
    if (f->kind == WEIR_FLOAT && real_of(f, event) == 0)
        return (struct weir_str){ (const char *)&zero, 8 };
    if (kind_is_whole(f->kind) || f->kind == WEIR_FLOAT) return (struct weir_str){ at, 8 };
    return text_load(f, at);
}

static void value_show(const struct field *f, struct weir_str bytes, void *row)
{
    char *at = (char *)row + f->offset;
    if (f->kind == WEIR_BOOL || kind_is_whole(f->kind) || f->kind == WEIR_FLOAT)
        memcpy(at, bytes.ptr, bytes.len);
    else memcpy(at, &bytes, sizeof(bytes));
}

/* ---- distinct ---- */

static void hash_add(struct aggregate_state *s, uint64_t hash)
{
    if (s->hash_count == s->hash_cap) {
        s->hash_cap = s->hash_cap ? s->hash_cap * 2 : 8;
        s->hashes = mem_realloc(s->hashes, s->hash_cap * sizeof(uint64_t));
    }
    s->hashes[s->hash_count++] = hash;
}

static bool value_is_among(const struct aggregate_state *s, struct weir_str value, uint64_t hash)
{
    bool maybe = false;
    for (uint32_t i = 0; i < s->hash_count && !maybe; i++) maybe = s->hashes[i] == hash;
    if (!maybe) return false;
    struct reader reader = reader_of(buf_str(&s->bytes));
    while (reader.at < reader.end) {
        struct weir_str other = reader_bytes(&reader, reader_varint(&reader));
        if (str_eq(other, value)) return true;
    }
    return false;
}

static void distinct_put(struct aggregate_state *s, struct weir_str value, uint64_t hash)
{
    buf_add_varint(&s->bytes, value.len);
    buf_add_str(&s->bytes, value);
    hash_add(s, hash);
    s->count++;
}

static void sketch_begin(struct aggregate_state *s)
{
    static const char zeros[SKETCH_REGISTERS];
    if (s->bytes.len == 0) buf_add(&s->bytes, zeros, sizeof(zeros));
}

static void sketch_put(struct aggregate_state *s, uint64_t hash)
{
    sketch_begin(s);
    uint64_t rest = hash << SKETCH_BITS;
    uint8_t rank = rest == 0 ? 64 - SKETCH_BITS + 1 : (uint8_t)(__builtin_clzll(rest) + 1);
    uint8_t *at = (uint8_t *)s->bytes.ptr + (hash >> (64 - SKETCH_BITS));
    if (*at < rank) *at = rank;
    s->count++;
}

static int64_t sketch_estimate(const struct aggregate_state *s)
{
    double sum = 0, m = SKETCH_REGISTERS;
    uint32_t empty = 0;
    if (s->bytes.len != SKETCH_REGISTERS) return 0;
    for (uint32_t i = 0; i < SKETCH_REGISTERS; i++) {
        uint8_t rank = (uint8_t)s->bytes.ptr[i];
        sum += ldexp(1.0, -(int)rank);
        empty += rank == 0;
    }
    double estimate = 0.7213 / (1 + 1.079 / m) * m * m / sum;
    if (estimate <= 2.5 * m && empty > 0) estimate = m * log(m / empty);
    return (int64_t)(estimate + 0.5);
}

/* ---- top ---- */

static bool slot_is_below(const struct field *f, const char *at, const char *value)
{
    int64_t a, b;
    double x, y;
    memcpy(&a, at, 8);
    memcpy(&b, value, 8);
    memcpy(&x, at, 8);
    memcpy(&y, value, 8);
    return f->kind == WEIR_FLOAT ? x < y : a < b;
}

static void top_put(const struct aggregate *g, struct aggregate_state *s, const char *value)
{
    size_t n = s->bytes.len / 8, place = 0;
    while (place < n && !slot_is_below(g->in, s->bytes.ptr + 8 * place, value)) place++;
    if (place >= g->top) return;
    if (n < g->top) buf_add(&s->bytes, value, 8);
    else n--;
    memmove(s->bytes.ptr + 8 * (place + 1), s->bytes.ptr + 8 * place, 8 * (n - place));
    memcpy(s->bytes.ptr + 8 * place, value, 8);
}

/* ---- adding ---- */

/* An event is before another by its time, of equal ones by its id. */
static bool is_before(int64_t time_a, struct event_id a, int64_t time_b, struct event_id b)
{
    return time_a != time_b ? time_a < time_b : event_id_cmp(a, b) < 0;
}

static const char *refuse_sum(const struct aggregate *g, const char *numbers)
{
    snprintf(reason, sizeof(reason), "range: %.*s would leave the %s numbers", STR_ARG(g->name),
             numbers);
    return reason;
}

static bool is_sum(const struct aggregate *g)
{
    return g->kind == AGGREGATE_SUM || g->kind == AGGREGATE_AVG;
}

/* Infinity would be nil in JSON, and no later event could bring the sum back. */
static const char *sum_fits(const struct aggregate *g, const struct aggregate_state *s,
                            int64_t whole, double real)
{
    int64_t sum = s->whole + whole; /* both within 2^53 */
    if (sum > WEIR_INT_MAX || sum < -WEIR_INT_MAX) return refuse_sum(g, "exact whole");
    return isfinite(s->real + real) ? NULL : refuse_sum(g, "finite");
}

static const char *refuse_values(const struct aggregate *g, const struct aggregate_limits *limits)
{
    snprintf(reason, sizeof(reason), "limit: %.*s would hold more than window_values_max = %llu",
             STR_ARG(g->name), (unsigned long long)limits->values_max);
    return reason;
}

static const char *refuse_bytes(const struct aggregate_limits *limits)
{
    snprintf(reason, sizeof(reason),
             "limit: the window would hold more than window_bytes_max = %llu",
             (unsigned long long)limits->bytes_max);
    return reason;
}

/* Whether one aggregate can take the event; *bytes: what it would hold then. */
static const char *may_add(const struct aggregate *g, struct aggregate_state *s,
                           const struct aggregate_event *e, const struct aggregate_limits *limits,
                           uint64_t *bytes)
{
    const char *why = NULL;
    *bytes += s->bytes.len;
    if (g->kind == AGGREGATE_FOLD) {
        struct weir_str acc = s->count ? buf_str(&s->bytes) : g->start;
        buf_reset(&s->next);
        if (!g->fold(g->fold_arg, acc, e->shape, e->event, &s->next, &why)) {
            snprintf(reason, sizeof(reason), "error: %.*s: %.180s", STR_ARG(g->name), why);
            return reason;
        }
        *bytes += s->next.len - s->bytes.len;
        return NULL;
    }
    if (g->in == NULL || is_nil(g->in, e->event)) return NULL;
    if (is_sum(g) && g->in->kind == WEIR_INT) return sum_fits(g, s, whole_of(g->in, e->event), 0);
    if (is_sum(g)) return sum_fits(g, s, 0, real_of(g->in, e->event));
    if (g->kind == AGGREGATE_FIRST || g->kind == AGGREGATE_LAST)
        *bytes += value_bytes(g->in, e->event).len;
    if (g->kind == AGGREGATE_TOP) *bytes += 8;
    if (g->kind != AGGREGATE_DISTINCT || g->sketch) return NULL;
    struct weir_str value = value_bytes(g->in, e->event);
    s->known = value_is_among(s, value, hash64(0, value.ptr, value.len));
    if (s->known) return NULL;
    *bytes += value.len + 2;
    return s->hash_count >= limits->values_max ? refuse_values(g, limits) : NULL;
}

static void numbers_add(const struct aggregate *g, struct aggregate_state *s, int64_t whole,
                        double real, int64_t count)
{
    bool first = s->count == 0;
    switch (g->kind) {
    case AGGREGATE_MIN:
        if (first || whole < s->whole) s->whole = whole;
        if (first || real < s->real) s->real = real;
        break;
    case AGGREGATE_MAX:
        if (first || whole > s->whole) s->whole = whole;
        if (first || real > s->real) s->real = real;
        break;
    default:
        s->whole += whole;
        s->real += real;
        break;
    }
    s->count += count;
}

static void edge_add(const struct aggregate *g, struct aggregate_state *s, int64_t time,
                     struct event_id id, struct weir_str value)
{
    bool earlier = is_before(time, id, s->time, s->id);
    if (s->count > 0 && earlier != (g->kind == AGGREGATE_FIRST)) return;
    s->time = time;
    s->id = id;
    buf_reset(&s->bytes);
    buf_add_str(&s->bytes, value);
    s->count = 1;
}

static void add(const struct aggregate *g, struct aggregate_state *s,
                const struct aggregate_event *e)
{
    if (g->kind == AGGREGATE_COUNT) {
        s->count++;
        return;
    }
    if (g->kind == AGGREGATE_FOLD) {
        struct buf old = s->bytes;
        s->bytes = s->next;
        s->next = old;
        s->count++;
        return;
    }
    if (is_nil(g->in, e->event)) return;
    bool real = g->in->kind == WEIR_FLOAT;
    struct weir_str value;
    switch (g->kind) {
    case AGGREGATE_SUM:
    case AGGREGATE_AVG:
    case AGGREGATE_MIN:
    case AGGREGATE_MAX:
        numbers_add(g, s, real ? 0 : whole_of(g->in, e->event), real ? real_of(g->in, e->event) : 0,
                    1);
        break;
    case AGGREGATE_FIRST:
    case AGGREGATE_LAST: edge_add(g, s, e->time, e->id, value_bytes(g->in, e->event)); break;
    case AGGREGATE_DISTINCT:
        value = value_bytes(g->in, e->event);
        if (g->sketch) sketch_put(s, hash64(0, value.ptr, value.len));
        else if (!s->known) distinct_put(s, value, hash64(0, value.ptr, value.len));
        break;
    case AGGREGATE_TOP:
        top_put(g, s, value_bytes(g->in, e->event).ptr);
        s->count++;
        break;
    case AGGREGATE_COUNT:
    case AGGREGATE_FOLD: break;
    }
}

const char *aggregates_add(const struct derived *d, struct aggregate_state *states,
                           const struct aggregate_event *e, const struct aggregate_limits *limits)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        const char *why = may_add(&d->aggregates[i], &states[i], e, limits, &bytes);
        if (why != NULL) return why;
    }
    if (bytes > limits->bytes_max) return refuse_bytes(limits);
    for (uint32_t i = 0; i < d->aggregate_count; i++) add(&d->aggregates[i], &states[i], e);
    return NULL;
}

/* ---- joining two windows: sessions that an event connects ---- */

/* What both hold counts once: sessions of the same few hundred shops are not twice as many shops. */
static uint64_t union_bytes(const struct aggregate_state *to, const struct aggregate_state *from,
                            uint64_t *values)
{
    struct reader reader = reader_of(buf_str(&from->bytes));
    uint64_t bytes = to->bytes.len;
    *values = to->hash_count;
    for (uint32_t i = 0; reader.at < reader.end; i++) {
        const char *at = reader.at;
        struct weir_str value = reader_bytes(&reader, reader_varint(&reader));
        if (value_is_among(to, value, from->hashes[i])) continue;
        bytes += (uint64_t)(reader.at - at);
        ++*values;
    }
    return bytes;
}

static const char *may_join(const struct aggregate *g, const struct aggregate_state *to,
                            const struct aggregate_state *from,
                            const struct aggregate_limits *limits, uint64_t *bytes)
{
    uint64_t most = to->bytes.len > from->bytes.len ? to->bytes.len : from->bytes.len, values;
    uint64_t both = to->bytes.len + from->bytes.len;
    if (g->kind == AGGREGATE_TOP) {
        *bytes += both < 8u * g->top ? both : 8u * g->top;
    } else if (g->kind == AGGREGATE_DISTINCT && !g->sketch) {
        *bytes += union_bytes(to, from, &values);
        if (values > limits->values_max) return refuse_values(g, limits);
    } else {
        *bytes += most; /* of two edges one stays; registers lie on one another */
    }
    return is_sum(g) ? sum_fits(g, to, from->whole, from->real) : NULL;
}

static void join(const struct aggregate *g, struct aggregate_state *to,
                 const struct aggregate_state *from)
{
    struct reader reader = reader_of(buf_str(&from->bytes));
    if (from->count == 0) return;
    switch (g->kind) {
    case AGGREGATE_COUNT: to->count += from->count; break;
    case AGGREGATE_SUM:
    case AGGREGATE_AVG:
    case AGGREGATE_MIN:
    case AGGREGATE_MAX: numbers_add(g, to, from->whole, from->real, from->count); break;
    case AGGREGATE_FIRST:
    case AGGREGATE_LAST: edge_add(g, to, from->time, from->id, buf_str(&from->bytes)); break;
    case AGGREGATE_DISTINCT:
        if (g->sketch) {
            sketch_begin(to);
            for (uint32_t i = 0; i < SKETCH_REGISTERS; i++) {
                if ((uint8_t)to->bytes.ptr[i] < (uint8_t)from->bytes.ptr[i])
                    to->bytes.ptr[i] = from->bytes.ptr[i];
            }
            to->count += from->count;
            break;
        }
        while (reader.at < reader.end) {
            struct weir_str value = reader_bytes(&reader, reader_varint(&reader));
            uint64_t hash = hash64(0, value.ptr, value.len);
            if (!value_is_among(to, value, hash)) distinct_put(to, value, hash);
        }
        break;
    case AGGREGATE_TOP:
        for (size_t i = 0; i + 8 <= from->bytes.len; i += 8) top_put(g, to, from->bytes.ptr + i);
        to->count += from->count;
        break;
    case AGGREGATE_FOLD: break; /* refused for sessions when it is declared */
    }
}

const char *aggregates_join(const struct derived *d, struct aggregate_state *to,
                            struct aggregate_state *from, const struct aggregate_limits *limits)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        const char *why = may_join(&d->aggregates[i], &to[i], &from[i], limits, &bytes);
        if (why != NULL) return why;
    }
    if (bytes > limits->bytes_max) return refuse_bytes(limits);
    for (uint32_t i = 0; i < d->aggregate_count; i++) join(&d->aggregates[i], &to[i], &from[i]);
    return NULL;
}

/* ---- stored ---- */

bool aggregates_are_fixed(const struct derived *d)
{
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        const struct aggregate *g = &d->aggregates[i];
        bool edge = g->kind == AGGREGATE_FIRST || g->kind == AGGREGATE_LAST;
        if (g->kind == AGGREGATE_TOP || g->kind == AGGREGATE_FOLD ||
            (g->kind == AGGREGATE_DISTINCT && !g->sketch) ||
            (edge && !kind_is_whole(g->in->kind) && g->in->kind != WEIR_FLOAT &&
             g->in->kind != WEIR_BOOL))
            return false;
    }
    return true;
}

uint64_t aggregates_bytes(const struct derived *d, const struct aggregate_state *states)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < d->aggregate_count; i++) bytes += states[i].bytes.len;
    return bytes;
}

void aggregates_write(const struct derived *d, const struct aggregate_state *states,
                      struct buf *out)
{
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        const struct aggregate *g = &d->aggregates[i];
        const struct aggregate_state *s = &states[i];
        bool real = g->in != NULL && g->in->kind == WEIR_FLOAT;
        char eight[8];
        buf_add_varint(out, (uint64_t)s->count);
        switch (g->kind) {
        case AGGREGATE_COUNT: break;
        case AGGREGATE_SUM:
        case AGGREGATE_AVG:
        case AGGREGATE_MIN:
        case AGGREGATE_MAX:
            if (!real) {
                buf_add_varint(out, zigzag(s->whole));
                break;
            }
            memcpy(eight, &s->real, 8);
            buf_add(out, eight, 8);
            break;
        case AGGREGATE_FIRST:
        case AGGREGATE_LAST:
            buf_add_varint(out, zigzag(s->time));
            buf_add_varint(out, s->id.epoch);
            buf_add_varint(out, s->id.n);
            buf_add_varint(out, s->bytes.len);
            buf_add_str(out, buf_str(&s->bytes));
            break;
        case AGGREGATE_DISTINCT:
        case AGGREGATE_TOP:
        case AGGREGATE_FOLD:
            buf_add_varint(out, s->bytes.len);
            buf_add_str(out, buf_str(&s->bytes));
            break;
        }
    }
}

static void distinct_hashes(struct aggregate_state *s)
{
    struct reader values = reader_of(buf_str(&s->bytes));
    s->hash_count = 0;
    while (values.at < values.end && !values.failed) {
        struct weir_str value = reader_bytes(&values, reader_varint(&values));
        hash_add(s, hash64(0, value.ptr, value.len));
    }
}

bool aggregates_read(const struct derived *d, struct aggregate_state *states, struct reader *reader)
{
    aggregates_reset(d, states);
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        const struct aggregate *g = &d->aggregates[i];
        struct aggregate_state *s = &states[i];
        bool real = g->in != NULL && g->in->kind == WEIR_FLOAT;
        s->count = (int64_t)reader_varint(reader);
        switch (g->kind) {
        case AGGREGATE_COUNT: break;
        case AGGREGATE_SUM:
        case AGGREGATE_AVG:
        case AGGREGATE_MIN:
        case AGGREGATE_MAX:
            if (real) {
                struct weir_str eight = reader_bytes(reader, 8);
                if (!reader->failed) memcpy(&s->real, eight.ptr, 8);
            } else {
                s->whole = unzigzag(reader_varint(reader));
            }
            break;
        case AGGREGATE_FIRST:
        case AGGREGATE_LAST:
            s->time = unzigzag(reader_varint(reader));
            s->id.epoch = reader_varint(reader);
            s->id.n = reader_varint(reader);
            buf_add_str(&s->bytes, reader_bytes(reader, reader_varint(reader)));
            break;
        case AGGREGATE_DISTINCT:
        case AGGREGATE_TOP:
        case AGGREGATE_FOLD:
            buf_add_str(&s->bytes, reader_bytes(reader, reader_varint(reader)));
            if (g->kind == AGGREGATE_DISTINCT && !g->sketch) distinct_hashes(s);
            break;
        }
    }
    return !reader->failed;
}

/* ---- shown ---- */

static void show_number(const struct field *f, const struct aggregate *g,
                        const struct aggregate_state *s, void *row)
{
    char *at = (char *)row + f->offset;
    double average = 0;
    if (g->kind == AGGREGATE_AVG) {
        double sum = g->in->kind == WEIR_FLOAT ? s->real : (double)s->whole;
        average = sum / (double)s->count;
        memcpy(at, &average, sizeof(average));
    } else if (f->kind == WEIR_FLOAT) {
        memcpy(at, &s->real, sizeof(s->real));
    } else {
        memcpy(at, &s->whole, sizeof(s->whole));
    }
}

void aggregates_show(const struct derived *d, const struct aggregate_state *states,
                     struct arena *arena, void *row)
{
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        const struct aggregate *g = &d->aggregates[i];
        const struct aggregate_state *s = &states[i];
        const struct field *f = &d->out->event->fields[g->column];
        char *at = (char *)row + f->offset;
        int64_t n;
        struct weir_list list;
        struct weir_str json;
        switch (g->kind) {
        case AGGREGATE_COUNT: memcpy(at, &s->count, sizeof(s->count)); break;
        case AGGREGATE_SUM: show_number(f, g, s, row); break;
        case AGGREGATE_AVG:
        case AGGREGATE_MIN:
        case AGGREGATE_MAX:
            if (s->count > 0) show_number(f, g, s, row);
            else value_set_nil(f, (char *)row + f->offset); /* the group left zeros there */
            break;
        case AGGREGATE_FIRST:
        case AGGREGATE_LAST:
            if (s->count > 0) value_show(f, buf_str(&s->bytes), row);
            else value_set_nil(f, (char *)row + f->offset);
            break;
        case AGGREGATE_DISTINCT:
            n = g->sketch ? sketch_estimate(s) : s->count;
            memcpy(at, &n, sizeof(n));
            break;
        case AGGREGATE_TOP:
            list.count = s->bytes.len / 8;
            list.items = arena_alloc(arena, s->bytes.len + 8);
            if (s->bytes.len > 0) memcpy(list.items, s->bytes.ptr, s->bytes.len);
            memcpy(at, &list, sizeof(list));
            break;
        case AGGREGATE_FOLD:
            json = s->count ? buf_str(&s->bytes) : g->start;
            memcpy(at, &json, sizeof(json));
            break;
        }
    }
}

void aggregates_reset(const struct derived *d, struct aggregate_state *states)
{
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        struct aggregate_state *s = &states[i];
        *s = (struct aggregate_state){
            .bytes = s->bytes, .hashes = s->hashes, .hash_cap = s->hash_cap, .next = s->next
        };
        buf_reset(&s->bytes);
    }
}

void aggregates_free(const struct derived *d, struct aggregate_state *states)
{
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        buf_free(&states[i].bytes);
        buf_free(&states[i].next);
        mem_free(states[i].hashes);
    }
}
