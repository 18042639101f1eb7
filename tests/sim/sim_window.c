/*
 * sim_window.c - windows and joins through crashes: their results are what a naive twin makes of the streams alone.
 *
 *   sim_window [--seed N] [--seeds COUNT] [--txns N] [--crashes N]
 *
 * Clients emit batches of events with disordered times into two streams; the engine has every kind of window and join over
 * them, a window over a window's results, and over a third stream one that closes because that stream is idle. The world
 * crashes and starts again with another number of shards and other limits. Then both streams end. The twin reads the
 * two streams as they are and computes each window and pair by loops over all events; the results and the late events
 * must be the same rows, each once.
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "core/app.h"
#include "core/feed.h"
#include "os/sim.h"
#include "seeds.h"

#define CLIENTS 6
#define KEYS 5
#define BATCH_MAX 6
#define QUIET_EVENTS 20

/* ---- the application ---- */

struct move {
    struct weir_str key;
    int64_t n, at;
};
static const struct weir_field move_fields[] = { WEIR_FIELD(struct move, key, WEIR_TEXT), WEIR_FIELD(struct move, n, WEIR_INT),
                                                 WEIR_FIELD(struct move, at, WEIR_TIME), WEIR_END };
enum { LEFT, RIGHT, QUIET, SOURCES };
static struct weir_stream sources[SOURCES] = {
    { .name = "left", .event = WEIR_SHAPE(struct move, move_fields), .key = "key", .time = "at", .keep = "forever" },
    { .name = "right", .event = WEIR_SHAPE(struct move, move_fields), .key = "key", .time = "at", .keep = "forever" },
    { .name = "quiet", .event = WEIR_SHAPE(struct move, move_fields), .key = "key", .time = "at", .keep = "forever" },
};
static const struct weir_handler no_handlers[] = { WEIR_END };
static const struct weir_service nothing = { "nothing", no_handlers };

/* acc * 3 + n, so that the order of events tells. */
static bool fold(void *arg, struct weir_str acc, const struct shape *shape, const void *event, struct buf *out, const char **why)
{
    int64_t n = 0, sum = 0;
    for (size_t i = 0; i < acc.len; i++) sum = sum * 10 + (acc.ptr[i] - '0');
    for (uint32_t i = 0; i < shape->count; i++)
        if (str_eq(shape->fields[i].name, STR("n"))) memcpy(&n, (const char *)event + shape->fields[i].offset, sizeof(n));
    buf_printf(out, "%lld", (long long)((sum * 3 + n) % 1000003));
    return true;
}

static bool is_fifth(int64_t n)
{
    return n % 5 == 0;
}

static bool where(void *arg, const struct shape *shape, const void *event, bool *keep, const char **why)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < shape->count; i++)
        if (str_eq(shape->fields[i].name, STR("n"))) memcpy(&n, (const char *)event + shape->fields[i].offset, sizeof(n));
    *keep = !is_fifth(n);
    return true;
}

#define OF(name_, kind_) { .name = STR(name_), .kind = kind_, .field = STR("n") }
static struct aggregate aggregates[] = {
    { .name = STR("count"), .kind = AGGREGATE_COUNT },
    OF("sum", AGGREGATE_SUM), OF("min", AGGREGATE_MIN), OF("max", AGGREGATE_MAX), OF("avg", AGGREGATE_AVG),
    OF("first", AGGREGATE_FIRST), OF("last", AGGREGATE_LAST), OF("distinct", AGGREGATE_DISTINCT),
    { .name = STR("top"), .kind = AGGREGATE_TOP, .field = STR("n"), .top = 3 },
    { .name = STR("fold"), .kind = AGGREGATE_FOLD, .start = STR("7"), .fold = fold },
};
#define ALL (sizeof(aggregates) / sizeof(aggregates[0]))
static struct aggregate of_pairs[] = { { .name = STR("most"), .kind = AGGREGATE_MAX, .field = STR("right.n") },
                                       { .name = STR("pairs"), .kind = AGGREGATE_COUNT },
                                       { .name = STR("sum"), .kind = AGGREGATE_SUM, .field = STR("left.n") } };
static struct aggregate of_counts[] = { { .name = STR("sum"), .kind = AGGREGATE_SUM, .field = STR("count") } };

#define BY_KEY .by = { { STR("key") }, { STR("key") } }, .by_count = 1
static struct derived deriveds[] = {
    { .name = STR("tumble"), .kind = WINDOW_SPAN, .size = 100, .slide = 100, .late_ms = 50, BY_KEY, .aggregates = aggregates, .aggregate_count = ALL },
    { .name = STR("hop"), .kind = WINDOW_SPAN, .size = 100, .slide = 30, .late_ms = 20, BY_KEY, .aggregates = aggregates, .aggregate_count = ALL, .where = where },
    { .name = STR("session"), .kind = WINDOW_SESSION, .size = 40, .late_ms = 30, BY_KEY, .aggregates = aggregates, .aggregate_count = ALL - 1 },
    { .name = STR("recent"), .kind = WINDOW_LAST, .size = 60, .late_ms = 40, BY_KEY, .aggregates = aggregates, .aggregate_count = ALL - 1 },
    { .name = STR("early"), .kind = WINDOW_SPAN, .size = 80, .slide = 80, .late_ms = 50, .early = true, .aggregates = aggregates, .aggregate_count = 2 },
    { .name = STR("within"), .kind = JOIN_WITHIN, .size = 15, .late_ms = 40, BY_KEY },
    { .name = STR("pairs"), .kind = JOIN_SPAN, .size = 40, .slide = 20, .late_ms = 40, BY_KEY },
    { .name = STR("as_of"), .kind = JOIN_AS_OF, .late_ms = 40, BY_KEY },
    { .name = STR("chained"), .kind = WINDOW_SPAN, .size = 300, .slide = 300, .aggregates = of_counts, .aggregate_count = 1 },
    { .name = STR("idle"), .kind = WINDOW_SPAN, .size = 100, .slide = 100, .idle_ms = 200, BY_KEY, .aggregates = aggregates, .aggregate_count = 1 },
    { .name = STR("nested"), .kind = WINDOW_SPAN, .size = 200, .slide = 200, .by = { { STR("right.key") } }, .by_names = { STR("whose") },
      .by_count = 1, .aggregates = of_pairs, .aggregate_count = 3 },
    { .name = STR("fixed"), .kind = WINDOW_SPAN, .size = 60, .slide = 30, .late_ms = 20, .correct_ms = 70, BY_KEY, .aggregates = aggregates,
      .aggregate_count = ALL },
    { .name = STR("of_fixed"), .kind = WINDOW_SPAN, .size = 300, .slide = 300, .aggregates = of_counts, .aggregate_count = 1 },
};
enum { TUMBLE, HOP, SESSION, RECENT, EARLY, WITHIN, PAIRS, AS_OF, CHAINED, IDLE, NESTED, FIXED, OF_FIXED, DERIVEDS };

static void app_make(struct weir_app *app)
{
    app_init(app, catalog_create());
    ASSERT(weir_add_service(app, &nothing) == WEIR_OK);
    for (int i = 0; i < SOURCES; i++) ASSERT(weir_add_stream(app, &sources[i]) == WEIR_OK);
    for (int i = 0; i < DERIVEDS; i++) {
        struct stream *left = catalog_stream(app->catalog, i == CHAINED ? STR("tumble") : i == OF_FIXED ? STR("fixed") : i == IDLE ? STR("quiet")
                                             : i == NESTED ? STR("within") : STR("left"));
        struct stream *right = i == WITHIN || i == PAIRS || i == AS_OF ? catalog_stream(app->catalog, STR("right")) : NULL;
        struct stream options = { 0 };
        char why[300] = "";
        if (catalog_add_derived(app->catalog, &deriveds[i], left, right, &options, why, sizeof(why)) == NULL) {
            printf("%s: %s\n", deriveds[i].name.ptr, why);
            abort();
        }
    }
    if (!app_finish(app)) {
        printf("app: %s\n", app->why);
        abort();
    }
}

/* ---- rows as text ---- */

struct rows {
    char **items;
    size_t count, cap;
};

static void rows_free(struct rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) mem_free(rows->items[i]);
    mem_free(rows->items);
    *rows = (struct rows){ 0 };
}

static void rows_take(struct rows *rows, struct buf *line)
{
    buf_add_byte(line, 0);
    if (rows->count == rows->cap) {
        rows->cap = rows->cap ? rows->cap * 2 : 64;
        rows->items = mem_realloc(rows->items, rows->cap * sizeof(char *));
    }
    rows->items[rows->count++] = line->ptr;
    *line = (struct buf){ 0 };
}

static int text_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void shape_text(const struct shape *shape, const char *at, struct buf *out)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        const char *value = at + f->offset;
        int64_t n;
        double x;
        struct weir_list list;
        if (!shape->scalar) buf_printf(out, "%.*s=", STR_ARG(f->name));
        switch (f->kind) {
        case WEIR_BOOL: buf_printf(out, "%d", *value); break;
        case WEIR_FLOAT:
            memcpy(&x, value, sizeof(x));
            buf_printf(out, "%.9g", x);
            break;
        case WEIR_RECORD:
            buf_add_text(out, "{ ");
            shape_text(f->shape, value, out);
            buf_add_text(out, "}");
            break;
        case WEIR_LIST:
            memcpy(&list, value, sizeof(list));
            for (size_t k = 0; k < list.count; k++) shape_text(f->shape, (const char *)list.items + k * f->shape->size, out);
            break;
        case WEIR_TEXT:
        case WEIR_ANY: buf_add_str(out, text_load(f, value)); break;
        default:
            memcpy(&n, value, sizeof(n));
            buf_printf(out, "%lld", (long long)n);
            break;
        }
        buf_add_text(out, " ");
    }
}

/* ---- the twin ---- */

struct item {
    char key[4];
    int64_t n, at;
    struct event_id id;
    int64_t seen; /* the largest time before it; INT64_MIN: none */
};
struct items {
    struct item *items;
    size_t count, cap;
};

static int64_t low_of(const struct item *e, int64_t late)
{
    return e->seen == INT64_MIN ? INT64_MIN : e->seen - late;
}

static int64_t floor_to(int64_t t, int64_t step)
{
    int64_t q = t / step;
    if (q * step > t) q--;
    return q * step;
}

static int item_before(const struct item *a, const struct item *b)
{
    if (a->at != b->at) return a->at < b->at;
    return event_id_cmp(a->id, b->id) < 0;
}

/* The aggregates of some events, given in the order of their ids. */
static void aggregates_text(const struct item **in, size_t count, uint32_t which, struct buf *out)
{
    int64_t sum = 0, min = INT64_MAX, max = INT64_MIN, acc = 7, top[3], tops = 0;
    const struct item *first = in[0], *last = in[0];
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_new = true;
        for (size_t k = 0; k < i; k++) is_new = is_new && in[k]->n != in[i]->n;
        distinct += is_new;
        sum += in[i]->n;
        if (in[i]->n < min) min = in[i]->n;
        if (in[i]->n > max) max = in[i]->n;
        if (item_before(in[i], first)) first = in[i];
        if (item_before(last, in[i])) last = in[i];
        acc = (acc * 3 + in[i]->n) % 1000003;
    }
    for (int64_t limit = INT64_MAX; tops < 3;) {
        int64_t best = INT64_MIN, times = 0;
        for (size_t i = 0; i < count; i++) if (in[i]->n < limit && in[i]->n > best) best = in[i]->n;
        if (best == INT64_MIN) break;
        for (size_t i = 0; i < count; i++) times += in[i]->n == best;
        for (; times > 0 && tops < 3; times--) top[tops++] = best;
        limit = best;
    }
    buf_printf(out, "count=%zu ", count);
    if (which > 1) buf_printf(out, "sum=%lld ", (long long)sum);
    if (which > 2) {
        buf_printf(out, "min=%lld max=%lld avg=%.9g first=%lld last=%lld distinct=%zu top=", (long long)min, (long long)max,
                   (double)sum / (double)count, (long long)first->n, (long long)last->n, distinct);
        for (int64_t i = 0; i < tops; i++) buf_printf(out, "%lld ", (long long)top[i]);
        buf_add_text(out, " ");
    }
    if (which > 9) buf_printf(out, "fold=%lld ", (long long)acc);
}

static void revision_add(struct rows *rows, const char *key, int64_t from, int64_t to, int64_t revision, const struct item **in, size_t count,
                         uint32_t which)
{
    struct buf line = { 0 };
    buf_printf(&line, "key=%s from=%lld to=%lld final=1 revision=%lld ", key, (long long)from, (long long)to, (long long)revision);
    aggregates_text(in, count, which, &line);
    rows_take(rows, &line);
}

static void result_add(struct rows *rows, const char *key, int64_t from, int64_t to, bool final, const struct item **in, size_t count,
                       uint32_t which)
{
    struct buf line = { 0 };
    if (key != NULL) buf_printf(&line, "key=%s ", key);
    buf_printf(&line, "from=%lld to=%lld final=%d ", (long long)from, (long long)to, final);
    aggregates_text(in, count, which, &line);
    rows_take(rows, &line);
}

static void late_add(struct rows *late, const struct item *e)
{
    struct buf line = { 0 };
    buf_printf(&line, "key=%s n=%lld at=%lld why=late ", e->key, (long long)e->n, (long long)e->at);
    rows_take(late, &line);
}

static bool same_group(const struct derived *d, const struct item *a, const struct item *b)
{
    return d->by_count == 0 || strcmp(a->key, b->key) == 0;
}

/* Each window [from, to) of each group: all events in it that were not late for it. */
static void twin_span(const struct derived *d, const struct items *all, struct rows *out, struct rows *late)
{
    const struct item **in = mem_alloc((all->count + 1) * sizeof(*in));
    for (size_t i = 0; i < all->count; i++) {
        const struct item *e = &all->items[i];
        if (d->where != NULL && is_fifth(e->n)) continue;
        bool taken = false;
        for (int64_t from = floor_to(e->at, d->slide); from > e->at - d->size; from -= d->slide) {
            size_t count = 0;
            bool is_first = true;
            if (from + d->size <= low_of(e, d->late_ms)) continue;
            taken = true;
            for (size_t k = 0; k < all->count; k++) {
                const struct item *o = &all->items[k];
                if (o->at < from || o->at >= from + d->size || from + d->size <= low_of(o, d->late_ms) || !same_group(d, e, o) ||
                    (d->where != NULL && is_fifth(o->n)))
                    continue;
                is_first = is_first && k >= i;
                in[count++] = o;
                if (d->early && k == i) result_add(out, NULL, from, from + d->size, false, in, count, d->aggregate_count);
            }
            if (is_first) result_add(out, d->by_count ? e->key : NULL, from, from + d->size, true, in, count, d->aggregate_count);
        }
        if (!taken) late_add(late, e);
    }
    mem_free(in);
}

/* With `correct`: a row of all events that came in time, then one for each that came later, but not too late. */
static void twin_corrected(const struct derived *d, const struct items *all, struct rows *out, struct rows *late)
{
    const struct item **in = mem_alloc((all->count + 1) * sizeof(*in));
    for (size_t i = 0; i < all->count; i++) {
        const struct item *e = &all->items[i];
        bool taken = false;
        for (int64_t from = floor_to(e->at, d->slide); from > e->at - d->size; from -= d->slide) {
            int64_t to = from + d->size, revision = 0;
            size_t count = 0, timely = 0;
            bool is_first = true;
            if (to + d->correct_ms <= low_of(e, d->late_ms)) continue;
            taken = true;
            for (size_t k = 0; k < all->count; k++) {
                const struct item *o = &all->items[k];
                if (o->at < from || o->at >= to || to + d->correct_ms <= low_of(o, d->late_ms) || strcmp(o->key, e->key) != 0) continue;
                is_first = is_first && k >= i;
                in[count++] = o;
                if (to > low_of(o, d->late_ms)) timely = count;
            }
            if (!is_first) continue;
            if (timely > 0) revision_add(out, e->key, from, to, revision++, in, timely, d->aggregate_count);
            while (timely < count) revision_add(out, e->key, from, to, revision++, in, ++timely, d->aggregate_count);
        }
        if (!taken) late_add(late, e);
    }
    mem_free(in);
}

/* Sessions are lists of events; one is closed for an event whose watermark has reached its end. */
struct session {
    const struct item **in;
    size_t count;
    int64_t from, to;
    const char *key;
    bool gone;
};

static void twin_session(const struct derived *d, const struct items *all, struct rows *out, struct rows *late)
{
    struct session *sessions = mem_alloc((all->count + 1) * sizeof(*sessions));
    size_t count = 0;
    for (size_t i = 0; i < all->count; i++) {
        const struct item *e = &all->items[i];
        int64_t low = low_of(e, d->late_ms);
        struct session made = { mem_alloc((all->count + 1) * sizeof(*made.in)), 0, e->at, e->at + d->size, e->key, false };
        bool touches = false;
        for (size_t k = 0; k < count; k++) {
            struct session *s = &sessions[k];
            if (s->gone || strcmp(s->key, e->key) != 0 || s->to <= low || s->from >= e->at + d->size || s->to <= e->at) continue;
            touches = true;
            for (size_t m = 0; m < s->count; m++) made.in[made.count++] = s->in[m];
            if (s->from < made.from) made.from = s->from;
            if (s->to > made.to) made.to = s->to;
            s->gone = true;
        }
        if (!touches && made.to <= low) {
            late_add(late, e);
            mem_free(made.in);
            continue;
        }
        made.in[made.count++] = e;
        sessions[count++] = made;
    }
    for (size_t k = 0; k < count; k++) {
        struct session *s = &sessions[k];
        if (!s->gone) result_add(out, s->key, s->from, s->to, true, s->in, s->count, d->aggregate_count);
        mem_free(s->in);
    }
    mem_free(sessions);
}

static void twin_last(const struct derived *d, const struct items *all, struct rows *out, struct rows *late)
{
    const struct item **in = mem_alloc((all->count + 1) * sizeof(*in));
    for (size_t i = 0; i < all->count; i++) {
        const struct item *e = &all->items[i];
        size_t count = 0;
        if (e->at < low_of(e, d->late_ms)) {
            late_add(late, e);
            continue;
        }
        for (size_t k = 0; k < all->count; k++) {
            const struct item *o = &all->items[k];
            if (o->at >= low_of(o, d->late_ms) && strcmp(o->key, e->key) == 0 && o->at <= e->at && o->at > e->at - d->size)
                in[count++] = o;
        }
        result_add(out, e->key, e->at - d->size, e->at, true, in, count, d->aggregate_count);
    }
    mem_free(in);
}

static void pair_add(struct rows *out, const struct item *l, const struct item *r, int64_t time, const int64_t *from, int64_t size)
{
    struct buf line = { 0 };
    buf_printf(&line, "key=%s left={ key=%s n=%lld at=%lld } right={ key=%s n=%lld at=%lld } time=%lld ", l->key, l->key, (long long)l->n,
               (long long)l->at, r->key, (long long)r->n, (long long)r->at, (long long)time);
    if (from != NULL) buf_printf(&line, "from=%lld to=%lld ", (long long)*from, (long long)(*from + size));
    rows_take(out, &line);
}

static void join_late(struct rows *late, const char *side, const struct item *e)
{
    struct buf line = { 0 };
    buf_printf(&line, "side=%s n=%lld at=%lld ", side, (long long)e->n, (long long)e->at);
    rows_take(late, &line);
}

static bool join_takes(const struct derived *d, const struct item *e)
{
    int64_t low = low_of(e, d->late_ms);
    return d->kind == JOIN_SPAN ? floor_to(e->at, d->slide) + d->size > low : e->at >= low;
}

static void twin_join(const struct derived *d, const struct items *left, const struct items *right, struct rows *out, struct rows *late)
{
    for (size_t k = 0; k < right->count; k++) if (!join_takes(d, &right->items[k])) join_late(late, "right", &right->items[k]);
    for (size_t i = 0; i < left->count; i++) {
        const struct item *l = &left->items[i], *best = NULL;
        if (!join_takes(d, l)) {
            join_late(late, "left", l);
            continue;
        }
        for (size_t k = 0; k < right->count; k++) {
            const struct item *r = &right->items[k];
            if (!join_takes(d, r) || strcmp(l->key, r->key) != 0) continue;
            if (d->kind == JOIN_WITHIN && llabs(l->at - r->at) <= d->size) pair_add(out, l, r, l->at > r->at ? l->at : r->at, NULL, 0);
            if (d->kind == JOIN_AS_OF && r->at <= l->at && (best == NULL || item_before(best, r))) best = r;
            if (d->kind != JOIN_SPAN) continue;
            for (int64_t from = floor_to(l->at, d->slide); from > l->at - d->size; from -= d->slide) {
                int64_t to = from + d->size;
                if (r->at >= from && r->at < to && to > low_of(l, d->late_ms) && to > low_of(r, d->late_ms)) pair_add(out, l, r, to - 1, &from, d->size);
            }
        }
        if (best != NULL) pair_add(out, l, best, l->at, NULL, 0);
    }
}

/* Over the rows of `tumble`: none is late, for its watermark is that of what it is made of. */
static void twin_chained(const struct rows *tumble, struct rows *out)
{
    int64_t ends[1000], sums[1000];
    size_t count = 0;
    for (size_t i = 0; i < tumble->count; i++) {
        long long from, to, final, events;
        ASSERT(sscanf(strstr(tumble->items[i], "from="), "from=%lld to=%lld final=%lld", &from, &to, &final) == 3);
        ASSERT(sscanf(strstr(tumble->items[i], "count="), "count=%lld", &events) == 1);
        int64_t end = floor_to(to - 1, 300) + 300;
        size_t k = 0;
        while (k < count && ends[k] != end) k++;
        if (k == count) {
            ASSERT(count < 1000);
            ends[count] = end;
            sums[count++] = 0;
        }
        sums[k] += events;
    }
    for (size_t k = 0; k < count; k++) {
        struct buf line = { 0 };
        buf_printf(&line, "from=%lld to=%lld final=1 sum=%lld ", (long long)ends[k] - 300, (long long)ends[k], (long long)sums[k]);
        rows_take(out, &line);
    }
}

/* Over the pairs of `within`, by what is inside them. */
static void twin_nested(const struct rows *pairs, struct rows *out)
{
    struct { char key[4]; int64_t end, count, sum, most; } groups[1000];
    size_t count = 0;
    for (size_t i = 0; i < pairs->count; i++) {
        char key[4];
        long long ln, lat, rn, rat, time;
        ASSERT(sscanf(pairs->items[i], "key=%3s left={ key=%*s n=%lld at=%lld } right={ key=%*s n=%lld at=%lld } time=%lld", key, &ln, &lat, &rn,
                      &rat, &time) == 6);
        int64_t end = floor_to(time, 200) + 200;
        size_t k = 0;
        while (k < count && (groups[k].end != end || strcmp(groups[k].key, key) != 0)) k++;
        if (k == count) {
            ASSERT(count < 1000);
            memset(&groups[count], 0, sizeof(groups[0]));
            memcpy(groups[count].key, key, sizeof(key));
            groups[count++].end = end;
        }
        groups[k].count++;
        groups[k].sum += ln;
        if (rn > groups[k].most) groups[k].most = rn;
    }
    for (size_t k = 0; k < count; k++) {
        struct buf line = { 0 };
        buf_printf(&line, "whose=%s from=%lld to=%lld final=1 most=%lld pairs=%lld sum=%lld ", groups[k].key, (long long)groups[k].end - 200,
                   (long long)groups[k].end, (long long)groups[k].most, (long long)groups[k].count, (long long)groups[k].sum);
        rows_take(out, &line);
    }
}

/* ---- the world ---- */

enum phase { EMITTING, ENDING, SOURCES_READ, RESULTS_READ, OVER };

struct client {
    struct request request;
    bool busy, answered;
    uint64_t number;
};
struct world {
    struct sim *sim;
    struct env *env;
    struct weir_app app;
    struct engine *engine;
    struct port *port;
    struct actor actor;
    struct client clients[CLIENTS];
    struct feed_read read;
    bool reading;
    uint32_t read_stream;
    struct event_id read_at;
    enum phase phase;
    uint64_t begun, target, ends, refused, waited, held;
    uint64_t settled_ns, give_up_ns, pass_ns;
    bool stop, giving_up, last_life, wrong;
    struct items in[SOURCES];
    struct rows wanted[2 * DERIVEDS], got[2 * DERIVEDS];
    uint64_t seed, late_total, result_total;
    int64_t pace;
};

static const struct stream *world_stream(struct world *w, uint32_t i)
{
    return w->app.catalog->streams[i];
}

/* Content follows from the number alone, so that a repeat is the same request. */
static void batch_make(struct world *w, struct client *c)
{
    struct request *r = &c->request;
    uint64_t x = (c->number + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ w->seed;
    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 32;
    bool quiet = c->number < QUIET_EVENTS;
    const struct stream *stream = world_stream(w, quiet ? QUIET : x & 1 ? LEFT : RIGHT);
    size_t count = 1 + (x >> 1) % BATCH_MAX;
    struct move *moves = arena_alloc(&r->arena, count * sizeof(*moves));
    for (size_t i = 0; i < count; i++) {
        uint64_t y = x * (i + 3) * UINT64_C(0x94d049bb133111eb);
        y ^= y >> 31;
        moves[i].key = arena_printf(&r->arena, "k%llu", (unsigned long long)(y >> 8) % KEYS);
        moves[i].n = (int64_t)((y >> 16) % 40);
        /* Most in order, some a little late, some very; some far ahead in streams that jump. */
        int64_t back = (y >> 24) % 8 == 0 ? (int64_t)((y >> 28) % 200) : (int64_t)((y >> 28) % 40);
        moves[i].at = (int64_t)c->number * w->pace + 1000 - back;
        if ((y >> 40) % 64 == 0) moves[i].at += 90;
        if (quiet) moves[i].at = (int64_t)c->number * 30;
    }
    struct weir_list *list = arena_alloc(&r->arena, sizeof(*list));
    *list = (struct weir_list){ moves, count };
    r->handler = stream->batch;
    r->args = list;
}

static void submit(struct world *w, struct client *c)
{
    struct arena arena = c->request.arena;
    arena_reset(&arena);
    c->request = (struct request){ .arena = arena };
    if (c->answered) c->number = w->begun++;
    c->answered = false;
    batch_make(w, c);
    c->request.id = arena_printf(&c->request.arena, "r%llu", (unsigned long long)c->number);
    c->request.key = c->request.id;
    c->busy = true;
    port_submit(w->port, &c->request);
}

static void submit_end(struct world *w, struct client *c, uint32_t which)
{
    struct arena arena = c->request.arena;
    arena_reset(&arena);
    c->request = (struct request){ .arena = arena };
    c->request.handler = world_stream(w, which)->end;
    c->request.key = STR("end");
    c->request.args = arena_alloc(&c->request.arena, 8);
    c->busy = true;
    port_submit(w->port, &c->request);
}

static void take(struct world *w, struct client *c)
{
    c->busy = false;
    bool held = c->request.status == WEIR_OVERLOADED, full = c->request.status == WEIR_OOM && !w->last_life;
    if (held || full) {
        /* It comes again. Where memory is full (a request's record takes some, too) nothing may go on: this life is over. */
        w->held += held;
        w->giving_up = w->giving_up || (!w->last_life && ++w->refused % 200 == 0);
        return;
    }
    if (c->request.status != WEIR_OK) {
        printf("unexpected answer %s: %.*s\n", weir_status_word(c->request.status), STR_ARG(c->request.text));
        abort();
    }
    if (w->phase == EMITTING) c->answered = true;
    else w->ends++;
}

static void read_next(struct world *w)
{
    if (w->reading) return;
    w->read = (struct feed_read){ .op = FEED_READ, .stream = world_stream(w, w->read_stream), .from = w->read_at, .count = 500 };
    w->reading = true;
    feed_submit(w->port, &w->read);
}

static void source_take(struct world *w, const struct feed_item *item)
{
    struct items *in = &w->in[w->read_stream];
    struct arena arena = { 0 };
    struct move move = { 0 };
    if (in->count == in->cap) {
        in->cap = in->cap ? in->cap * 2 : 256;
        in->items = mem_realloc(in->items, in->cap * sizeof(struct item));
    }
    ASSERT(feed_unpack(w->read.stream, item->value, &arena, &move) == WEIR_OK);
    struct item *e = &in->items[in->count];
    *e = (struct item){ .n = move.n, .at = move.at, .id = item->id, .seen = INT64_MIN };
    memcpy(e->key, move.key.ptr, move.key.len);
    if (in->count > 0) {
        const struct item *before = e - 1;
        e->seen = before->seen > before->at ? before->seen : before->at;
    }
    in->count++;
    arena_free(&arena);
}

static void result_take(struct world *w, const struct feed_item *item)
{
    const struct stream *stream = w->read.stream;
    const struct derived *d = stream->from;
    bool late = stream == d->late;
    struct arena arena = { 0 };
    struct buf line = { 0 };
    char *event = arena_alloc(&arena, stream->event->size + 8u);
    ASSERT(feed_unpack(stream, item->value, &arena, event) == WEIR_OK);
    if (late && d->in_count == 2) {
        /* the event is JSON: a part of it will do */
        struct weir_str side = text_load(&stream->event->fields[0], event + stream->event->fields[0].offset),
                        json = text_load(&stream->event->fields[1], event + stream->event->fields[1].offset);
        struct move move = { 0 };
        struct problem problem = { 0 };
        ASSERT(json_read(d->in[0]->stream->event, json, &arena, &move, &problem) == WEIR_OK);
        buf_printf(&line, "side=%.*s n=%lld at=%lld ", STR_ARG(side), (long long)move.n, (long long)move.at);
    } else {
        shape_text(stream->event, event, &line);
    }
    if (!late && d->out->key_field >= 0 && !str_eq(item->key, text_load(&stream->event->fields[0], event))) w->wrong = true;
    rows_take(&w->got[2 * d->place + late], &line);
    arena_free(&arena);
}

static void twin_run(struct world *w)
{
    const struct items *left = &w->in[LEFT];
    for (uint32_t i = 0; i < DERIVEDS; i++) {
        const struct derived *d = w->app.catalog->deriveds[i];
        struct rows *out = &w->wanted[2 * i], *late = &w->wanted[2 * i + 1];
        if (i == CHAINED) twin_chained(&w->wanted[2 * TUMBLE], out);
        else if (i == OF_FIXED) twin_chained(&w->wanted[2 * FIXED], out);
        else if (i == FIXED) twin_corrected(d, left, out, late);
        else if (i == NESTED) twin_nested(&w->wanted[2 * WITHIN], out);
        else if (i == IDLE) twin_span(d, &w->in[QUIET], out, late);
        else if (d->in_count == 2) twin_join(d, left, &w->in[RIGHT], out, late);
        else if (d->kind == WINDOW_SPAN) twin_span(d, left, out, late);
        else if (d->kind == WINDOW_SESSION) twin_session(d, left, out, late);
        else twin_last(d, left, out, late);
    }
}

static bool rows_are_all(struct world *w)
{
    for (uint32_t i = 0; i < 2 * DERIVEDS; i++) if (w->got[i].count < w->wanted[i].count) return false;
    return true;
}

static void read_over(struct world *w)
{
    w->read_at = (struct event_id){ 0, 0 };
    w->read_stream++;
    if (w->phase == SOURCES_READ && w->read_stream == SOURCES) {
        twin_run(w);
        w->phase = RESULTS_READ;
        w->give_up_ns = w->env->mono_ns(w->env) + UINT64_C(30000000000);
    }
    if (w->phase != RESULTS_READ || w->read_stream < w->app.catalog->stream_count) return;
    uint64_t now = w->env->mono_ns(w->env);
    if (rows_are_all(w) && w->settled_ns == 0) w->settled_ns = now + UINT64_C(1000000000);
    /* A while longer, for rows that should not come. */
    if ((w->settled_ns != 0 && now >= w->settled_ns) || now >= w->give_up_ns) {
        w->phase = OVER;
        w->stop = true;
        return;
    }
    for (uint32_t i = 0; i < 2 * DERIVEDS; i++) rows_free(&w->got[i]);
    w->read_stream = SOURCES;
    w->pass_ns = now + 300000000; /* reads cost no virtual time: without a pause it would stand still */
}

static void read_take(struct world *w)
{
    w->reading = false;
    for (struct feed_item *item = w->read.items; item != NULL; item = item->next) {
        if (w->phase == SOURCES_READ) source_take(w, item);
        else result_take(w, item);
        w->read_at = (struct event_id){ item->id.epoch, item->id.n + 1 };
    }
    bool end = w->read.item_count == 0;
    if (w->read.status != WEIR_OK) w->wrong = true;
    feed_read_free(&w->read);
    if (end) read_over(w);
}

static uint64_t clients_turn(void *self)
{
    struct world *w = self;
    struct request *r;
    while ((r = port_next(w->port)) != NULL) take(w, (struct client *)r);
    while (feed_next(w->port) != NULL) read_take(w);
    uint32_t busy = 0;
    struct engine_stats stats;
    engine_stats(w->engine, &stats);
    w->waited += stats.windows_waiting > 0;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        if (!c->busy && w->phase == EMITTING && !w->giving_up && (!c->answered || w->begun < w->target)) submit(w, c);
        busy += c->busy;
    }
    if (busy == 0 && w->phase == EMITTING && !w->last_life) w->stop = w->giving_up || sim_choose(w->sim, 20) == 0;
    if (busy == 0 && w->phase == EMITTING && w->last_life) {
        w->phase = ENDING;
        submit_end(w, &w->clients[0], LEFT);
        submit_end(w, &w->clients[1], RIGHT);
    }
    if (w->phase == ENDING && w->ends == 2) {
        w->phase = SOURCES_READ;
        w->read_stream = 0;
    }
    port_flush(w->port);
    if (!w->stop && w->phase >= SOURCES_READ && w->env->mono_ns(w->env) >= w->pass_ns) read_next(w);
    return w->stop ? ENV_NEVER : w->env->mono_ns(w->env) + (w->phase == RESULTS_READ ? 20000000 : 1000000);
}

static void world_open(void *arg)
{
    struct world *w = arg;
    char error[512];
    struct store_recovery recovery;
    app_make(&w->app);
    uint32_t shards = 1u << sim_choose(w->sim, 3);
    struct engine_options options = { .env = w->env, .data = "data", .shards = shards,
                                      .threads = 1 + (uint32_t)sim_choose(w->sim, shards), .ports = 1, .catalog = w->app.catalog };
    options.store = (struct store_options){ 32 << 10, 256 << 10, 0 };
    options.event_block_bytes = 300 + sim_choose(w->sim, 700);
    options.event_file_bytes = 2000 + sim_choose(w->sim, 4000);
    options.event_cache_bytes = 1000 + sim_choose(w->sim, 4000);
    options.limits.retention_check_ms = sim_choose(w->sim, 2) ? 5 : 5000;
    options.limits.follow_window = 1 + sim_choose(w->sim, 64);
    options.limits.request_deadline_ms = 60000;
    options.limits.queue_wait_max_ms = 60000;
    options.limits.checkpoint_bytes_min = 40000;
    if (sim_choose(w->sim, 2) == 0) options.limits.epoch_bytes_max = 500 + sim_choose(w->sim, 5000);
    if (sim_choose(w->sim, 2) == 0) options.limits.follower_lag_max = 1 + sim_choose(w->sim, 30);
    /* Windows wait at once, or after a while; in the last life there is room, and all must come. */
    if (!w->last_life && sim_choose(w->sim, 3) == 0) options.limits.memory_max = 20000 + sim_choose(w->sim, 200000);
    enum weir_status st = engine_open(&options, &w->engine, &recovery, error, sizeof(error));
    if (st != WEIR_OK) {
        printf("engine_open: %s: %s\n", weir_status_word(st), error);
        abort();
    }
    w->reading = false;
    w->actor = (struct actor){ .name = "clients", .turn = clients_turn, .self = w };
    w->port = engine_port(w->engine, 0, &w->actor);
    w->env->actor_start(w->env, &w->actor);
    engine_start(w->engine);
}

static void world_close(void *arg)
{
    struct world *w = arg;
    feed_read_free(&w->read);
    w->env->actor_stop(w->env, &w->actor);
    engine_close(w->engine);
    w->engine = NULL;
    app_deinit(&w->app);
    catalog_destroy(w->app.catalog);
}

static bool is_stopped(void *arg)
{
    return ((struct world *)arg)->stop;
}

static bool compare(struct world *w)
{
    bool good = !w->wrong;
    for (uint32_t i = 0; i < 2 * DERIVEDS; i++) {
        struct rows *a = &w->wanted[i], *b = &w->got[i];
        if (a->count > 0) qsort(a->items, a->count, sizeof(char *), text_order);
        if (b->count > 0) qsort(b->items, b->count, sizeof(char *), text_order);
        if (i & 1) w->late_total += b->count;
        else w->result_total += b->count;
        size_t x = 0, y = 0, shown = 0;
        while ((x < a->count || y < b->count) && shown < 6) {
            int order = x == a->count ? 1 : y == b->count ? -1 : strcmp(a->items[x], b->items[y]);
            if (order != 0) {
                printf("  %s%s: %s %s\n", deriveds[i / 2].name.ptr, i & 1 ? "_late" : "", order < 0 ? "missing" : "not wanted",
                       order < 0 ? a->items[x] : b->items[y]);
                good = false;
                shown++;
            }
            x += order <= 0;
            y += order >= 0;
        }
    }
    return good;
}

static bool run_seed(uint64_t seed, uint64_t txns, uint64_t crashes)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->sim = sim_create(seed);
    w->env = sim_env(w->sim);
    w->seed = seed * 7919;
    w->pace = 1 + (int64_t)(seed % 9);
    for (int i = 0; i < CLIENTS; i++) w->clients[i].answered = true;
    bool stuck = false;
    for (uint64_t life = 0; life <= crashes && !stuck; life++) {
        w->stop = w->giving_up = false;
        w->target = QUIET_EVENTS + txns * (life + 1) / (crashes + 1);
        w->last_life = life == crashes;
        if (life < crashes)
            sim_crash_at(w->sim, 1 + sim_choose(w->sim, 60 + txns / (crashes + 1) * 2), (enum sim_crash_mode)sim_choose(w->sim, 4));
        bool alive = sim_guard(w->sim, world_open, w);
        if (alive) alive = sim_run(w->sim, is_stopped, w, UINT64_C(36000000000000));
        stuck = !alive && !sim_crashed(w->sim);
        if (alive) {
            if (w->phase == OVER) stuck = !compare(w);
            alive = sim_guard(w->sim, world_close, w);
            sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
        }
        if (!alive) {
            for (int i = 0; i < CLIENTS; i++) w->clients[i].busy = false;
            if (!w->reading) feed_read_free(&w->read);
            if (w->engine != NULL) engine_abandon(w->engine);
            w->engine = NULL;
            app_deinit(&w->app);
            catalog_destroy(w->app.catalog);
        }
    }
    /* Not vacuous: each kind gave rows, and some events were late. */
    bool good = !stuck && w->phase == OVER && w->late_total > 0;
    for (uint32_t i = 0; i < DERIVEDS; i++) good = good && w->got[2 * i].count > 0;
    size_t corrections = 0;
    for (size_t i = 0; i < w->got[2 * FIXED].count; i++) corrections += strstr(w->got[2 * FIXED].items[i], " revision=0 ") == NULL;
    good = good && corrections > 0;
    printf("seed %llu: %zu and %zu events, %llu results, %llu late, %llu turns with waiting windows, %llu held back: %s\n", (unsigned long long)seed, w->in[LEFT].count,
           w->in[RIGHT].count, (unsigned long long)w->result_total, (unsigned long long)w->late_total, (unsigned long long)w->waited,
           (unsigned long long)w->held, good ? "ok" : "WRONG");
    if (!good) printf("  again: sim_window --seed %llu --txns %llu --crashes %llu\n", (unsigned long long)seed, (unsigned long long)txns, (unsigned long long)crashes);
    for (int i = 0; i < CLIENTS; i++) arena_free(&w->clients[i].request.arena);
    for (int i = 0; i < SOURCES; i++) mem_free(w->in[i].items);
    for (int i = 0; i < 2 * DERIVEDS; i++) {
        rows_free(&w->wanted[i]);
        rows_free(&w->got[i]);
    }
    sim_destroy(w->sim);
    mem_free(w);
    return good;
}

int main(int argc, char **argv)
{
    return seeds_main(argc, argv, 200, run_seed);
}
