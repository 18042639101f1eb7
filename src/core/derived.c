/*
 * derived.c - declaring windows and joins: the streams they make, and what they need to see of their sources.
 *
 * A derived stream is an ordinary stream that the engine alone emits into. Its source is followed by a follower
 * without a handler: derive.c works on what it is given. Of each event the feed decodes only the fields of the group
 * and the time (follower->route), the operator only what it aggregates (follower->read).
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stdio.h>

#include "core/core_int.h"
#include "data/duration.h"

const char *aggregate_word(enum aggregate_kind kind)
{
    switch (kind) {
    case AGGREGATE_COUNT: return "count";
    case AGGREGATE_SUM: return "sum";
    case AGGREGATE_MIN: return "min";
    case AGGREGATE_MAX: return "max";
    case AGGREGATE_AVG: return "avg";
    case AGGREGATE_FIRST: return "first";
    case AGGREGATE_LAST: return "last";
    case AGGREGATE_DISTINCT: return "distinct";
    case AGGREGATE_TOP: return "top";
    case AGGREGATE_FOLD: return "fold";
    }
    return "?";
}

/* ---- shapes ---- */

/* Fields of its own in the standard layout, whatever struct the source's shape describes. */
static struct shape *shape_loose(struct arena *arena, const struct shape *from)
{
    struct shape *shape = arena_alloc(arena, sizeof(*shape));
    shape->count = from->count;
    shape->scalar = from->scalar;
    shape->fields = arena_alloc(arena, (from->count + 1) * sizeof(struct field));
    for (uint32_t i = 0; i < from->count; i++) {
        struct field *f = &shape->fields[i];
        *f = from->fields[i];
        f->inline_text = false;
        if (f->shape != NULL) f->shape = shape_loose(arena, f->shape);
    }
    shape_layout(shape);
    return shape;
}

struct picked {
    struct arena *arena;
    struct shape *shape;
};

static int field_find(const struct shape *shape, struct weir_str name)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        if (str_eq(shape->fields[i].name, name)) return (int)i;
    }
    return -1;
}

/* "left.amount" is the field `amount` in the record `left`: what a window over a join looks at. */
static struct weir_str path_head(struct weir_str path, struct weir_str *rest)
{
    size_t len = 0;
    while (len < path.len && path.ptr[len] != '.') len++;
    *rest = (struct weir_str){ path.ptr + len + 1, path.len > len ? path.len - len - 1 : 0 };
    return (struct weir_str){ path.ptr, len };
}

static struct weir_str path_last(struct weir_str path)
{
    struct weir_str rest, last = path;
    for (; path.len > 0; path = rest) last = path_head(path, &rest);
    return last;
}

/* A copy of the field that a path names, with its place in the whole struct. */
static bool path_find(const struct shape *shape, struct weir_str path, struct field *out)
{
    uint32_t offset = 0;
    for (struct weir_str rest;; path = rest) {
        int at = field_find(shape, path_head(path, &rest));
        if (at < 0) return false;
        *out = shape->fields[at];
        out->offset += offset;
        if (rest.len == 0) return true;
        if (out->kind != WEIR_RECORD || out->optional) return false;
        offset = out->offset;
        shape = out->shape;
    }
}

static struct picked pick_begin(struct arena *arena, const struct shape *from)
{
    struct picked p = { arena, arena_alloc(arena, sizeof(struct shape)) };
    p.shape->fields = arena_alloc(arena, (from->count + DERIVED_BY_MAX + 1) * sizeof(struct field));
    return p;
}

static void pick(struct picked *p, const struct field *from)
{
    if (field_find(p->shape, from->name) >= 0) return;
    struct field *f = &p->shape->fields[p->shape->count++];
    *f = *from;
    f->inline_text = false;
    if (f->shape != NULL) f->shape = shape_loose(p->arena, f->shape);
}

static void pick_path(struct picked *p, const struct shape *from, struct weir_str path)
{
    struct weir_str rest, head = path_head(path, &rest);
    const struct field *field = &from->fields[field_find(from, head)];
    if (rest.len == 0) {
        pick(p, field);
        return;
    }
    int at = field_find(p->shape, head);
    struct picked inner = { p->arena, NULL };
    if (at < 0) {
        /* Of the record only what is asked for. */
        inner = pick_begin(p->arena, field->shape);
        at = (int)p->shape->count++;
        p->shape->fields[at] = *field;
        p->shape->fields[at].shape = inner.shape;
    } else {
        inner.shape = (struct shape *)(uintptr_t)p->shape->fields[at].shape;
    }
    pick_path(&inner, field->shape, rest);
}

static void picked_layout(struct shape *shape)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        if (shape->fields[i].kind == WEIR_RECORD)
            picked_layout((struct shape *)(uintptr_t)shape->fields[i].shape);
    }
    shape_layout(shape);
}

/* ---- what is wrong ---- */

struct adding {
    struct catalog *catalog;
    struct derived *d;
    char *why;
    size_t why_bytes;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct adding *a, const char *format, ...)
{
    if (a->failed) return;
    va_list args;
    a->failed = true;
    va_start(args, format);
    vsnprintf(a->why, a->why_bytes, format, args);
    va_end(args);
}

static bool kind_groups(enum weir_kind kind)
{
    return kind != WEIR_RECORD && kind != WEIR_LIST && kind != WEIR_ANY && kind != WEIR_FLOAT;
}

static bool kind_is_name(enum weir_kind kind)
{
    return kind == WEIR_TEXT || kind == WEIR_REF;
}

static void judge_by(struct adding *a)
{
    struct derived *d = a->d;
    for (uint32_t side = 0; side < d->in_count; side++) {
        const struct stream *stream = d->in[side]->stream;
        for (uint32_t i = 0; i < d->by_count; i++) {
            struct field field;
            if (!path_find(stream->event, d->by[side][i], &field))
                wrong(a, "`by` names fields of the event; %.*s has no `%.*s`",
                      STR_ARG(stream->name), STR_ARG(d->by[side][i]));
            else if (!kind_groups(field.kind))
                wrong(a,
                      "`by`: `%.*s` cannot tell groups apart: its kind is no number, text or "
                      "reference",
                      STR_ARG(d->by[side][i]));
        }
    }
    for (uint32_t i = 0; i < d->by_count && d->in_count == 2 && !a->failed; i++) {
        struct field left, right;
        (void)path_find(d->in[0]->stream->event, d->by[0][i], &left);
        (void)path_find(d->in[1]->stream->event, d->by[1][i], &right);
        if (left.kind != right.kind && !(kind_is_name(left.kind) && kind_is_name(right.kind)))
            wrong(a, "`by`: `%.*s` of %.*s and `%.*s` of %.*s are of two kinds",
                  STR_ARG(d->by[0][i]), STR_ARG(d->in[0]->stream->name), STR_ARG(d->by[1][i]),
                  STR_ARG(d->in[1]->stream->name));
    }
}

static void judge_sizes(struct adding *a)
{
    struct derived *d = a->d;
    bool spans = d->kind == WINDOW_SPAN || d->kind == JOIN_SPAN;
    if (d->kind == JOIN_AS_OF ? d->size < 0 : d->size <= 0)
        wrong(a, "its size is a duration above zero");
    else if (d->size > WEIR_INT_MAX / 4 || d->late_ms > WEIR_INT_MAX / 4)
        wrong(a, "a duration is too long");
    else if (spans && (d->slide <= 0 || d->slide > d->size))
        wrong(a, "`slide` is a duration up to `size`");
    else if (spans && (d->size + d->slide - 1) / d->slide > WINDOW_OVERLAP_MAX)
        wrong(a, "an event would lie in more than %d windows: choose a longer `slide`",
              WINDOW_OVERLAP_MAX);
    if (d->correct_ms > 0 && d->kind != WINDOW_SPAN)
        wrong(a,
              "`correct` goes with `size`: a session that is closed could not be told from the one "
              "that a late event begins, and `last` answers each event once");
    if (d->correct_ms < 0 || d->correct_ms > WEIR_INT_MAX / 4) wrong(a, "a duration is too long");
    if (d->idle_ms != 0 && d->idle_ms < 10) wrong(a, "`idle` is at least 10ms");
}

/* ---- aggregates ---- */

static bool aggregate_takes(enum aggregate_kind kind, enum weir_kind field)
{
    switch (kind) {
    case AGGREGATE_COUNT:
    case AGGREGATE_FOLD: return false;
    case AGGREGATE_SUM:
    case AGGREGATE_AVG: return field == WEIR_INT || field == WEIR_FLOAT;
    case AGGREGATE_MIN:
    case AGGREGATE_MAX:
    case AGGREGATE_TOP: return field == WEIR_INT || field == WEIR_FLOAT || field == WEIR_TIME;
    case AGGREGATE_FIRST:
    case AGGREGATE_LAST:
    case AGGREGATE_DISTINCT: return field != WEIR_RECORD && field != WEIR_LIST;
    }
    return false;
}

/* The column that it fills. */
static struct field aggregate_column(struct adding *a, const struct aggregate *g,
                                     const struct field *in)
{
    struct field f = { .name = g->name, .kind = WEIR_INT };
    switch (g->kind) {
    case AGGREGATE_COUNT:
    case AGGREGATE_DISTINCT: break;
    case AGGREGATE_SUM: f.kind = in->kind; break;
    case AGGREGATE_AVG: f.kind = WEIR_FLOAT; break;
    case AGGREGATE_MIN:
    case AGGREGATE_MAX:
    case AGGREGATE_FIRST:
    case AGGREGATE_LAST:
        f.kind = in->kind;
        f.type = in->type;
        f.words = in->words;
        f.word_count = in->word_count;
        break;
    case AGGREGATE_TOP: {
        struct shape *element = arena_alloc(&a->catalog->arena, sizeof(*element));
        element->fields = arena_alloc(&a->catalog->arena, sizeof(struct field));
        element->fields[0] = (struct field){ .name = STR(""), .kind = in->kind, .id = 1 };
        element->count = 1;
        element->scalar = true;
        shape_layout(element);
        f.kind = WEIR_LIST;
        f.shape = element;
        break;
    }
    case AGGREGATE_FOLD: f.kind = WEIR_ANY; break;
    }
    /* A group without a value in that field has none to show. */
    f.optional = g->kind == AGGREGATE_MIN || g->kind == AGGREGATE_MAX || g->kind == AGGREGATE_AVG ||
                 g->kind == AGGREGATE_FIRST || g->kind == AGGREGATE_LAST;
    return f;
}

static const struct field *aggregate_judge(struct adding *a, const struct aggregate *g)
{
    const struct shape *event = a->d->in[0]->stream->event;
    const char *word = aggregate_word(g->kind);
    bool without = g->kind == AGGREGATE_COUNT || g->kind == AGGREGATE_FOLD;
    struct field *in = arena_alloc(&a->catalog->arena, sizeof(*in));
    if (without) in = NULL;
    else if (!path_find(event, g->field, in))
        wrong(a, "%.*s: weir.%s names a field of the event; it has no `%.*s`", STR_ARG(g->name),
              word, STR_ARG(g->field));
    else if (!aggregate_takes(g->kind, in->kind))
        wrong(a, "%.*s: weir.%s cannot be taken of `%.*s`: its kind does not fit", STR_ARG(g->name),
              word, STR_ARG(g->field));
    if (g->kind == AGGREGATE_TOP && (g->top < 1 || g->top > AGGREGATE_TOP_MAX))
        wrong(a, "%.*s: weir.top keeps 1 to %u values", STR_ARG(g->name), AGGREGATE_TOP_MAX);
    if (g->kind == AGGREGATE_FOLD && a->d->kind == WINDOW_SESSION)
        wrong(a,
              "%.*s: a fold cannot join two sessions that an event connects; use other aggregates",
              STR_ARG(g->name));
    return in;
}

/* ---- streams ---- */

/* A column of the results. */
static int column_add(struct adding *a, struct shape *shape, struct field f)
{
    if (field_find(shape, f.name) >= 0) {
        wrong(a, "two columns are called `%.*s`", STR_ARG(f.name));
        return -1;
    }
    if (shape->count >= SHAPE_FIELDS_MAX) {
        wrong(a, "more than %u columns", SHAPE_FIELDS_MAX);
        return -1;
    }
    f.inline_text = false;
    f.check = NULL;
    f.has_min = f.has_max = false;
    shape->fields[shape->count] = f;
    return (int)shape->count++;
}

/* Members of the application's struct in place of the standard layout: each column by its name. */
static void layout_as(struct adding *a, struct shape *shape, const struct shape *row)
{
    for (uint32_t i = 0; i < shape->count && !a->failed; i++) {
        struct field *f = &shape->fields[i];
        int at = field_find(row, f->name);
        const struct field *member = at < 0 ? NULL : &row->fields[at];
        if (member == NULL) {
            wrong(a, "its row has no member for the column `%.*s`", STR_ARG(f->name));
        } else if (member->kind != f->kind ||
                   (f->kind == WEIR_LIST &&
                    (!member->shape->scalar ||
                     member->shape->fields[0].kind != f->shape->fields[0].kind))) {
            wrong(a, "the member `%.*s` of its row is of another kind than the column",
                  STR_ARG(f->name));
        } else if (f->kind == WEIR_RECORD) {
            layout_as(a, (struct shape *)(uintptr_t)f->shape, member->shape);
            f->size = member->size;
        } else if (member->size != f->size || member->inline_text) {
            wrong(a,
                  "the member `%.*s` of its row: whole numbers are int64_t, texts struct weir_str",
                  STR_ARG(f->name));
        }
        if (member != NULL) f->offset = member->offset;
    }
    if (!a->failed && row->count != shape->count)
        wrong(a, "its row has %u members, and there are %u columns", row->count, shape->count);
    shape->size = row->size;
}

static struct shape *result_shape(struct adding *a)
{
    struct arena *arena = &a->catalog->arena;
    struct derived *d = a->d;
    struct shape *shape = arena_alloc(arena, sizeof(*shape));
    shape->fields = arena_alloc(arena, (SHAPE_FIELDS_MAX + 1) * sizeof(struct field));
    for (uint32_t i = 0; i < d->by_count; i++) {
        struct field f;
        (void)path_find(d->in[0]->stream->event, d->by[0][i], &f);
        f.name = d->by_names[i].len > 0 ? d->by_names[i] : path_last(d->by[0][i]);
        (void)column_add(a, shape, f);
    }
    struct field time = { .kind = WEIR_TIME };
    d->column_time = d->column_from = d->column_to = d->column_final = d->column_revision = -1;
    if (d->in_count == 2) {
        for (uint32_t side = 0; side < 2; side++) {
            struct field f = { .name = side ? STR("right") : STR("left"),
                               .kind = WEIR_RECORD,
                               .shape = shape_loose(arena, d->in[side]->stream->event) };
            d->column_side[side] = column_add(a, shape, f);
        }
        time.name = STR("time");
        d->column_time = column_add(a, shape, time);
    }
    if (d->kind != JOIN_WITHIN && d->kind != JOIN_AS_OF) {
        time.name = STR("from");
        d->column_from = column_add(a, shape, time);
        time.name = STR("to");
        d->column_to = column_add(a, shape, time);
    }
    if (d->in_count == 1) {
        d->column_time = d->column_to;
        d->column_final = column_add(a, shape,
                                     (struct field){ .name = STR("final"), .kind = WEIR_BOOL });
        if (d->correct_ms > 0)
            d->column_revision = column_add(
                a, shape, (struct field){ .name = STR("revision"), .kind = WEIR_INT });
    }
    for (uint32_t i = 0; i < d->aggregate_count && !a->failed; i++) {
        struct aggregate *g = &d->aggregates[i];
        const struct field *in = aggregate_judge(a, g);
        if (a->failed) break;
        int at = column_add(a, shape, aggregate_column(a, g, in));
        g->column = at < 0 ? 0 : (uint32_t)at;
    }
    shape_layout(shape);
    if (d->row != NULL) layout_as(a, shape, d->row);
    d->group = shape_clone(arena, shape);
    d->group->count = d->by_count;
    for (uint32_t i = 0; i < d->by_count; i++) d->group->fields[i].id = i + 1;
    for (uint32_t side = 0; d->in_count == 2 && !a->failed && side < 2; side++)
        d->pair[side] = shape_clone(arena, shape->fields[d->column_side[side]].shape);
    return shape;
}

static struct shape *late_shape(struct adding *a)
{
    struct arena *arena = &a->catalog->arena;
    const struct derived *d = a->d;
    struct shape *shape = arena_alloc(arena, sizeof(*shape));
    shape->fields = arena_alloc(arena, (SHAPE_FIELDS_MAX + 2) * sizeof(struct field));
    struct field why = { .name = STR("why"), .kind = WEIR_TEXT };
    if (d->in_count == 1) {
        const struct shape *event = d->in[0]->stream->event;
        struct shape *loose = shape_loose(arena, event);
        memcpy(shape->fields, loose->fields, loose->count * sizeof(struct field));
        shape->count = loose->count;
        if (field_find(event, why.name) < 0 && shape->count < SHAPE_FIELDS_MAX)
            shape->fields[shape->count++] = why;
    } else {
        shape->fields[shape->count++] = (struct field){ .name = STR("side"), .kind = WEIR_TEXT };
        shape->fields[shape->count++] = (struct field){ .name = STR("event"), .kind = WEIR_ANY };
        shape->fields[shape->count++] = why;
    }
    shape_layout(shape);
    if (d->late_row != NULL) layout_as(a, shape, d->late_row);
    return shape;
}

static struct stream *side_stream(struct adding *a, const struct stream *options,
                                  struct weir_str name, struct shape *event)
{
    struct stream stream = { .name = name,
                             .event = event,
                             .key_field = -1,
                             .time_field = -1,
                             .gone_field = -1,
                             .keep_ms = options->keep_ms,
                             .keep_bytes = options->keep_bytes,
                             .at = a->d->at,
                             .from = a->d };
    struct stream *made = catalog_add_stream(a->catalog, &stream);
    if (made == NULL) wrong(a, "there is a stream called `%.*s` already", STR_ARG(name));
    return made;
}

static void streams_add(struct adding *a, const struct stream *options)
{
    struct derived *d = a->d;
    struct arena *arena = &a->catalog->arena;
    struct shape *result = result_shape(a);
    if (a->failed) return;
    d->out = side_stream(a, options, d->name, result);
    if (a->failed) return;
    if (d->by_count == 1 && kind_is_name(result->fields[0].kind)) d->out->key_field = 0;
    d->out->time_field = d->column_time;
    if (d->kind == WINDOW_SPAN || d->kind == WINDOW_SESSION) d->out->time_shift = -1;
    struct shape *late = late_shape(a);
    if (a->failed) return;
    d->late = side_stream(a, options, arena_printf(arena, "%.*s_late", STR_ARG(d->name)), late);
    if (a->failed || d->in_count == 2) return;
    const struct stream *source = d->in[0]->stream;
    d->late->key_field = source->key_field;
    d->late->time_field = source->time_field;
    d->late->time_shift = source->time_shift;
    d->late_read = shape_clone(arena, d->late->event);
    d->late_read->count = source->event->count; /* `why` is filled in beside */
}

/* ---- followers ---- */

static void follower_shapes(struct adding *a, uint32_t side)
{
    struct derived *d = a->d;
    struct arena *arena = &a->catalog->arena;
    struct follower *f = d->in[side];
    const struct shape *event = f->stream->event;
    struct picked route = pick_begin(arena, event), read = pick_begin(arena, event);
    for (uint32_t i = 0; i < d->by_count; i++) pick_path(&route, event, d->by[side][i]);
    f->route_time = -1;
    if (f->stream->time_field >= 0) {
        pick(&route, &event->fields[f->stream->time_field]);
        f->route_time = field_find(route.shape, event->fields[f->stream->time_field].name);
    }
    picked_layout(route.shape);
    f->route = route.shape;
    f->group = pick_begin(arena, route.shape)
                   .shape; /* in the same struct, but numbers of its own */
    for (uint32_t i = 0; i < d->by_count; i++) {
        (void)path_find(route.shape, d->by[side][i], &f->group->fields[i]);
        f->group->fields[i].id = i + 1;
    }
    f->group->count = d->by_count;
    f->group->size = route.shape->size;
    bool whole = d->in_count == 2 || d->where != NULL;
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        const struct aggregate *g = &d->aggregates[i];
        whole = whole || g->kind == AGGREGATE_FOLD;
        if (g->field.len > 0) pick_path(&read, event, g->field);
    }
    picked_layout(read.shape);
    f->read = whole ? shape_loose(arena, event) : read.shape;
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        struct aggregate *g = &d->aggregates[i];
        struct field *in = arena_alloc(arena, sizeof(*in));
        if (g->field.len > 0 && path_find(f->read, g->field, in)) g->in = in;
    }
}

static void follower_add(struct adding *a, struct stream *stream)
{
    struct catalog *catalog = a->catalog;
    struct derived *d = a->d;
    struct follower *f = arena_alloc(&catalog->arena, sizeof(*f));
    struct type *name = arena_alloc(&catalog->arena, sizeof(*name));
    name->name = d->name;
    name->service = true;
    *f = (struct follower){
        .stream = stream, .type = name, .by = -1, .derived = d, .side = d->in_count
    };
    d->in[d->in_count++] = f;
}

/* ---- what it computes, as text ---- */

static void text_make(struct adding *a)
{
    static const char *const words[] = {
        [WINDOW_SPAN] = "window",      [WINDOW_SESSION] = "sessions", [WINDOW_LAST] = "last",
        [JOIN_WITHIN] = "join within", [JOIN_SPAN] = "join window",   [JOIN_AS_OF] = "join as of"
    };
    struct derived *d = a->d;
    struct buf out = { 0 };
    buf_printf(&out, "%s ", words[d->kind]);
    duration_write(&out, d->size);
    if (d->slide > 0 && d->slide != d->size) {
        buf_add_text(&out, " every ");
        duration_write(&out, d->slide);
    }
    if (d->correct_ms > 0) {
        buf_add_text(&out, " corrected for ");
        duration_write(&out, d->correct_ms);
    }
    for (uint32_t side = 0; side < d->in_count; side++) {
        buf_printf(&out, "%s%.*s", side ? " and " : " of ", STR_ARG(d->in[side]->stream->name));
        for (uint32_t i = 0; i < d->by_count; i++) {
            buf_printf(&out, "%s%.*s", i ? "," : " by ", STR_ARG(d->by[side][i]));
            /* A column that is called otherwise is something else. */
            if (side == 0 && d->by_names[i].len > 0 &&
                !str_eq(d->by_names[i], path_last(d->by[0][i])))
                buf_printf(&out, " as %.*s", STR_ARG(d->by_names[i]));
        }
    }
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        const struct aggregate *g = &d->aggregates[i];
        buf_printf(&out, " %.*s=%s", STR_ARG(g->name), aggregate_word(g->kind));
        if (g->kind == AGGREGATE_TOP) buf_printf(&out, "%u", g->top);
        if (g->sketch) buf_add_text(&out, "~");
        if (g->field.len > 0) buf_printf(&out, "(%.*s)", STR_ARG(g->field));
    }
    d->text = arena_copy(&a->catalog->arena, buf_str(&out));
    buf_free(&out);
}

static void texts_copy(struct arena *arena, struct derived *d)
{
    d->name = arena_copy(arena, d->name);
    d->at = d->at.ptr ? arena_copy(arena, d->at) : STR_NIL;
    for (uint32_t i = 0; i < d->by_count; i++) {
        d->by[0][i] = arena_copy(arena, d->by[0][i]);
        d->by[1][i] = arena_copy(arena, d->by[1][i]);
        d->by_names[i] = arena_copy(arena, d->by_names[i].ptr ? d->by_names[i] : STR(""));
    }
    struct aggregate *items = arena_alloc(arena, (d->aggregate_count + 1) * sizeof(*items));
    for (uint32_t i = 0; i < d->aggregate_count; i++) {
        items[i] = d->aggregates[i];
        items[i].name = arena_copy(arena, items[i].name);
        items[i].field = arena_copy(arena, items[i].field.ptr ? items[i].field : STR(""));
        items[i].start = arena_copy(arena, items[i].start.ptr ? items[i].start : STR("null"));
    }
    d->aggregates = items;
}

struct derived *catalog_add_derived(struct catalog *catalog, const struct derived *from,
                                    struct stream *left, struct stream *right,
                                    const struct stream *options, char *why, size_t why_bytes)
{
    struct derived *d = arena_alloc(&catalog->arena, sizeof(*d));
    struct adding a = { .catalog = catalog, .d = d, .why = why, .why_bytes = why_bytes };
    *d = *from;
    d->in_count = 0;
    if (d->by_count > DERIVED_BY_MAX) wrong(&a, "`by` names more than %u fields", DERIVED_BY_MAX);
    if (d->aggregate_count > DERIVED_AGGREGATES_MAX)
        wrong(&a, "more than %u aggregates", DERIVED_AGGREGATES_MAX);
    if (right == NULL && d->aggregate_count == 0)
        wrong(&a, "it has no aggregate: n = weir.count() is one");
    if (a.failed) return NULL;
    texts_copy(&catalog->arena, d);
    follower_add(&a, left);
    if (right != NULL) follower_add(&a, right);
    judge_by(&a);
    judge_sizes(&a);
    if (!a.failed) streams_add(&a, options);
    if (a.failed) return NULL;
    for (uint32_t side = 0; side < d->in_count; side++) follower_shapes(&a, side);
    text_make(&a);
    catalog->followers = mem_realloc(catalog->followers, (catalog->follower_count + d->in_count) *
                                                             sizeof(struct follower *));
    for (uint32_t side = 0; side < d->in_count; side++) {
        d->in[side]->place = catalog->follower_count;
        catalog->followers[catalog->follower_count++] = d->in[side];
    }
    catalog->deriveds = mem_realloc(catalog->deriveds,
                                    (catalog->derived_count + 1) * sizeof(struct derived *));
    d->place = catalog->derived_count;
    catalog->deriveds[catalog->derived_count++] = d;
    return d;
}

/* ---- numbers on disk ---- */

void numbers_take(struct shape *to, const struct shape *from)
{
    for (uint32_t i = 0; i < to->count; i++) {
        int at = field_find(from, to->fields[i].name);
        ASSERT(at >= 0);
        to->fields[i].id = from->fields[at].id;
        to->fields[i].base = from->fields[at].base;
        if (to->fields[i].shape != NULL)
            numbers_take((struct shape *)(uintptr_t)to->fields[i].shape, from->fields[at].shape);
    }
}

/* A group has one key: it is packed against the starts of the left event's fields, also where the right one's differ. */
static void group_bases(const struct derived *d)
{
    const struct shape *left = d->in[0]->group;
    for (uint32_t i = 0; i < d->by_count; i++) {
        struct field of = { .base = NULL };
        ASSERT(path_find(d->in[0]->route, d->by[0][i], &of)); /* as it was when this was declared */
        left->fields[i].base = of.base;
        const struct field *base = of.base;
        if (base == NULL && d->in_count == 2) base = &left->fields[i];
        d->group->fields[i].base = base;
        if (d->in_count == 2) d->in[1]->group->fields[i].base = base;
    }
}

void derived_bind(const struct derived *d)
{
    for (uint32_t side = 0; side < d->in_count; side++) {
        const struct follower *f = d->in[side];
        numbers_take(f->route, f->stream->event);
        numbers_take(f->read, f->stream->event);
    }
    group_bases(d);
    for (uint32_t side = 0; d->in_count == 2 && side < 2; side++)
        numbers_take(d->pair[side], d->in[side]->stream->event);
    if (d->late_read != NULL) numbers_take(d->late_read, d->in[0]->stream->event);
}
