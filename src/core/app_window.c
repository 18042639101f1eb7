/*
 * app_window.c - weir_add_window() and weir_add_join(): windows and joins from C tables.
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <stdio.h>

#include "core/app.h"
#include "core/core_int.h"
#include "data/duration.h"

static_assert((int)WEIR_COUNT == (int)AGGREGATE_COUNT && (int)WEIR_TOP == (int)AGGREGATE_TOP,
              "weir.h and catalog.h number aggregates alike");

/* A window or join while it is read. */
struct reading {
    struct weir_app *app;
    const char *what, *name, *why;
    struct derived d;
    struct stream options;
};

static void wrong(struct reading *r, const char *why)
{
    if (r->why == NULL) r->why = why;
}

static int64_t span_of(struct reading *r, const char *text)
{
    int64_t ms = 0;
    if (text != NULL && !duration_read(str_of(text), &ms))
        wrong(r, "a duration is written \"90s\" or \"1h30m\"");
    return ms;
}

static struct stream *source_of(struct reading *r, const char *name)
{
    struct stream *stream = name ? catalog_stream(r->app->catalog, str_of(name)) : NULL;
    if (stream == NULL) wrong(r, "a stream that it looks at was not added before it");
    return stream;
}

static struct weir_str trimmed(struct weir_str text)
{
    while (text.len > 0 && text.ptr[0] == ' ') text.ptr++, text.len--;
    while (text.len > 0 && text.ptr[text.len - 1] == ' ') text.len--;
    return text;
}

/* "field", or "a = b". */
static void by_of(struct reading *r, const char *const *by, bool join)
{
    struct derived *d = &r->d;
    for (; by != NULL && *by != NULL; by++) {
        struct weir_str text = str_of(*by);
        const char *equals = memchr(text.ptr, '=', text.len);
        size_t len = equals ? (size_t)(equals - text.ptr) : text.len;
        struct weir_str first = trimmed((struct weir_str){ text.ptr, len }), second = first;
        if (equals) second = trimmed((struct weir_str){ equals + 1, text.len - len - 1 });
        if (d->by_count == DERIVED_BY_MAX) {
            wrong(r, "`by` names more than 8 fields");
            return;
        }
        d->by[0][d->by_count] = join ? first : second;
        d->by[1][d->by_count] = second;
        if (!join && equals) d->by_names[d->by_count] = first;
        d->by_count++;
    }
}

static void row_of(struct reading *r, const struct weir_shape *from, const struct shape **to)
{
    struct shape *shape;
    const char *why = NULL;
    if (from->size == 0 && from->fields == NULL) return;
    if (!shape_of(&r->app->catalog->arena, from, &shape, &why)) wrong(r, why);
    else *to = shape;
}

static void aggregates_of(struct reading *r, const struct weir_aggregate *from)
{
    struct derived *d = &r->d;
    uint32_t count = 0;
    while (from != NULL && from[count].name != NULL) count++;
    d->aggregates = arena_alloc(&r->app->catalog->arena, (count + 1) * sizeof(struct aggregate));
    for (d->aggregate_count = 0; d->aggregate_count < count; d->aggregate_count++, from++) {
        if (from->kind < WEIR_COUNT || from->kind > WEIR_TOP)
            wrong(r, "an aggregate without a kind");
        d->aggregates[d->aggregate_count] = (struct aggregate){
            .name = str_of(from->name),
            .kind = (enum aggregate_kind)from->kind,
            .field = from->field ? str_of(from->field) : STR(""),
            .top = from->top,
            .sketch = from->sketch
        };
    }
}

/* `where` sees the application's struct; the operator has its own. */
struct native_where {
    bool (*where)(const void *event);
    const struct stream *stream;
};

static bool where_call(void *arg, const struct shape *shape, const void *event, bool *keep,
                       const char **why)
{
    const struct native_where *native = arg;
    struct arena arena = { 0 };
    struct buf packed = { 0 };
    void *own = arena_alloc(&arena, native->stream->event->size + 8u);
    pack(shape, event, &packed);
    bool good = unpack(native->stream->event, buf_str(&packed), &arena, false, own) == WEIR_OK;
    if (good) *keep = native->where(own);
    else *why = "the event does not fit its struct";
    buf_free(&packed);
    arena_free(&arena);
    return good;
}

static void keep_of(struct reading *r, const char *keep)
{
    r->options.keep_ms = STREAM_KEEP_MS_DEFAULT;
    if (keep != NULL && (!stream_keep_parse(str_of(keep), &r->options) || r->options.latest))
        wrong(r, "`keep` is a duration (90d), a size (512MB) or `forever`");
}

static enum weir_status reading_end(struct reading *r, struct stream *left, struct stream *right)
{
    struct weir_app *app = r->app;
    char why[400] = "";
    r->d.name = str_of(r->name);
    if (r->why == NULL && catalog_add_derived(app->catalog, &r->d, left, right, &r->options, why,
                                              sizeof(why)) != NULL)
        return WEIR_OK;
    if (app->why[0] == '\0')
        snprintf(app->why, sizeof(app->why), "%s %s: %s", r->what, r->name, r->why ? r->why : why);
    return WEIR_CONFIG;
}

enum weir_status weir_add_window(struct weir_app *app, const struct weir_window *from)
{
    struct reading r = { .app = app, .what = "window", .name = from->name ? from->name : "?" };
    struct derived *d = &r.d;
    int64_t size = span_of(&r, from->size), gap = span_of(&r, from->gap),
            last = span_of(&r, from->last), slide = span_of(&r, from->slide);
    struct stream *stream = source_of(&r, from->from);
    if (from->name == NULL) wrong(&r, "it has no name");
    if ((size > 0) + (gap > 0) + (last > 0) != 1 || (slide > 0 && size == 0))
        wrong(&r, "it has one of `size` (with `slide` or without), `gap` and `last`");
    d->kind = gap > 0 ? WINDOW_SESSION : last > 0 ? WINDOW_LAST : WINDOW_SPAN;
    d->size = size + gap + last;
    d->slide = slide > 0 ? slide : size;
    d->late_ms = span_of(&r, from->late);
    d->idle_ms = span_of(&r, from->idle);
    d->correct_ms = span_of(&r, from->correct);
    d->early = from->early;
    keep_of(&r, from->keep);
    by_of(&r, from->by, false);
    aggregates_of(&r, from->aggregates);
    row_of(&r, &from->row, &d->row);
    row_of(&r, &from->late_row, &d->late_row);
    if (from->where != NULL && stream != NULL) {
        struct native_where *native = arena_alloc(&app->catalog->arena, sizeof(*native));
        *native = (struct native_where){ from->where, stream };
        d->where = where_call;
        d->where_arg = native;
    }
    return reading_end(&r, stream, NULL);
}

enum weir_status weir_add_join(struct weir_app *app, const struct weir_join *from)
{
    struct reading r = { .app = app, .what = "join", .name = from->name ? from->name : "?" };
    struct derived *d = &r.d;
    bool as_of = from->as_of != NULL, any = as_of && strcmp(from->as_of, "any") == 0;
    int64_t size = span_of(&r, from->size), slide = span_of(&r, from->slide),
            within = span_of(&r, !as_of ? from->within
                                 : any  ? NULL
                                        : from->as_of);
    struct stream *left = source_of(&r, from->left), *right = source_of(&r, from->right);
    if (from->name == NULL) wrong(&r, "it has no name");
    if ((size > 0) + as_of + (from->within != NULL) != 1 || (slide > 0 && size == 0))
        wrong(&r, "it has one of `within`, `size` (with `slide` or without) and `as_of`");
    d->kind = as_of ? JOIN_AS_OF : size > 0 ? JOIN_SPAN : JOIN_WITHIN;
    d->size = size + within;
    d->slide = slide > 0 ? slide : size;
    d->late_ms = span_of(&r, from->late);
    d->idle_ms = span_of(&r, from->idle);
    keep_of(&r, from->keep);
    by_of(&r, from->by, true);
    if (d->by_count == 0) wrong(&r, "`by` names the fields that must be equal");
    row_of(&r, &from->row, &d->row);
    row_of(&r, &from->late_row, &d->late_row);
    return reading_end(&r, left, right);
}
