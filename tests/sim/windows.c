/*
 * windows.c - windows and joins in the swarm: their results are what a naive twin makes of the events in the log.
 *
 * Clients emit batches of events with disordered times into two streams, into one that is idle at times and into one
 * whose events have no time of their own; a seed has some of the windows and joins below, over them and over a window's
 * results. Their sources are kept for ever, by size or as latest: what goes must have been worked on before. In the last
 * life the streams end. Then the twin reads the events that the model has seen in the log's frames, computes each window
 * and pair by loops over all of them, and the log must have the same results and late events, each once, and no
 * other. At the end all streams are read through the feed.
 * SPDX-License-Identifier: MIT
 */
#include "swarm.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"

#define KEYS 5
#define MOVES_MAX 200 /* requests: the twin takes the square of it */
#define SETTLE_NS SECOND_NS

/* ---- the application ---- */

static const struct weir_field move_fields[] = { WEIR_FIELD(struct move, key, WEIR_TEXT), WEIR_FIELD(struct move, n, WEIR_INT),
                                                 WEIR_FIELD(struct move, at, WEIR_TIME), WEIR_END };
static const struct weir_field plain_fields[] = { WEIR_FIELD(struct move, key, WEIR_TEXT), WEIR_FIELD(struct move, n, WEIR_INT), WEIR_END };
enum { LEFT, RIGHT, QUIET, PLAIN, SOURCES };
static struct weir_stream sources[SOURCES] = {
    { .name = "left", .event = WEIR_SHAPE(struct move, move_fields), .key = "key", .time = "at" },
    { .name = "right", .event = WEIR_SHAPE(struct move, move_fields), .key = "key", .time = "at" },
    { .name = "quiet", .event = WEIR_SHAPE(struct move, move_fields), .key = "key", .time = "at" },
    { .name = "plain", .event = WEIR_SHAPE(struct move, plain_fields), .key = "key" },
};

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
    { .name = STR("by_clock"), .kind = WINDOW_SPAN, .size = 2000, .slide = 2000, BY_KEY, .aggregates = aggregates, .aggregate_count = ALL },
    { .name = STR("nested"), .kind = WINDOW_SPAN, .size = 200, .slide = 200, .by = { { STR("right.key") } }, .by_names = { STR("whose") },
      .by_count = 1, .aggregates = of_pairs, .aggregate_count = 3 },
    { .name = STR("fixed"), .kind = WINDOW_SPAN, .size = 60, .slide = 30, .late_ms = 20, .correct_ms = 70, BY_KEY, .aggregates = aggregates,
      .aggregate_count = ALL },
    { .name = STR("of_fixed"), .kind = WINDOW_SPAN, .size = 300, .slide = 300, .aggregates = of_counts, .aggregate_count = 1 },
};
enum { TUMBLE, HOP, SESSION, RECENT, EARLY, WITHIN, PAIRS, AS_OF, CHAINED, IDLE, BY_CLOCK, NESTED, FIXED, OF_FIXED, DERIVEDS };

struct rows {
    char **items;
    size_t count, cap;
};
struct windows {
    const struct derived *defs[DERIVEDS]; /* of this life; NULL: not in this seed */
    uint64_t asked, taken, ended;         /* requests; events in those that are answered; streams that ended */
    struct rows wanted[2 * DERIVEDS], got[2 * DERIVEDS];
    uint64_t look_ns, settled_ns, give_up_ns;
    enum { WINDOWS_WORK, WINDOWS_WAIT, WINDOWS_READ, WINDOWS_OVER } phase;
    struct feed_read read;
    bool reading;
    uint32_t read_stream;
    struct event_id read_at;
    uint64_t read_count;
};

uint32_t windows_draw(uint64_t draw)
{
    static const int over[][2] = { { CHAINED, TUMBLE }, { NESTED, WITHIN }, { OF_FIXED, FIXED } };
    uint32_t mask = (uint32_t)draw & ((1u << DERIVEDS) - 1);
    for (int i = 0; i < 3; i++)
        if (mask & 1u << over[i][0]) mask |= 1u << over[i][1];
    return mask;
}

static struct stream *source_of(const struct world *w, uint32_t i)
{
    return catalog_stream(w->app.catalog, str_of(sources[i].name));
}

enum weir_status windows_app(struct world *w)
{
    enum weir_status st = WEIR_OK;
    for (int i = 0; i < SOURCES && st == WEIR_OK; i++) {
        sources[i].keep = w->plan.windows_keep;
        st = weir_add_stream(&w->app, &sources[i]);
    }
    for (int i = 0; i < DERIVEDS && st == WEIR_OK; i++) {
        w->windows->defs[i] = NULL;
        if (!(w->plan.windows >> i & 1)) continue;
        const char *of = i == CHAINED ? "tumble" : i == OF_FIXED ? "fixed" : i == NESTED ? "within" : NULL;
        struct stream *left = of ? catalog_stream(w->app.catalog, str_of(of)) : source_of(w, i == IDLE ? QUIET : i == BY_CLOCK ? PLAIN : LEFT);
        struct stream *right = i == WITHIN || i == PAIRS || i == AS_OF ? source_of(w, RIGHT) : NULL;
        struct stream how = { 0 };
        char why[300] = "";
        w->windows->defs[i] = catalog_add_derived(w->app.catalog, &deriveds[i], left, right, &how, why, sizeof(why));
        if (w->windows->defs[i] == NULL) wrong(w, "%s: %s", deriveds[i].name.ptr, why);
    }
    return st;
}

/* ---- rows as text ---- */

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
    int64_t seen; /* the largest time before it, also by control events; INT64_MIN: none */
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

/* ---- what the log has ---- */

struct gathering {
    struct world *w;
    const struct derived *def; /* whose control events count */
    bool has_time;
    const struct stream *stream;
    struct items *items;
    int64_t seen;
};

static void item_gather(void *arg, struct event_id id, int64_t time_ms, struct weir_str key, struct weir_str value)
{
    struct gathering *g = arg;
    struct items *in = g->items;
    if (value_is_control(value)) {
        uint16_t derived;
        int64_t time;
        int what = control_read(value, &derived, &time);
        if (what == CONTROL_END) g->seen = INT64_MAX;
        if (what == CONTROL_BEAT && derived == g->def->id && time > g->seen) g->seen = time;
        return;
    }
    if (in->count == in->cap) {
        in->cap = in->cap ? in->cap * 2 : 256;
        in->items = mem_realloc(in->items, in->cap * sizeof(struct item));
    }
    struct arena arena = { 0 };
    struct move move = { .n = 0 };
    ASSERT(feed_unpack(g->stream, value, &arena, &move) == WEIR_OK && str_eq(key, move.key));
    if (!g->has_time) move.at = time_ms > g->seen ? time_ms : g->seen;
    struct item *e = &in->items[in->count++];
    *e = (struct item){ .n = move.n, .at = move.at, .id = id, .seen = g->seen };
    memcpy(e->key, move.key.ptr, move.key.len);
    if (e->at > g->seen) g->seen = e->at;
    arena_free(&arena);
}

static struct items gather(struct world *w, const struct derived *def, uint32_t source)
{
    struct items items = { 0 };
    struct gathering g = { w, def, source != PLAIN, source_of(w, source), &items, INT64_MIN };
    model_events_each(w->model, g.stream->id, item_gather, &g);
    return items;
}

struct results {
    struct world *w;
    const struct stream *stream;
    struct rows *rows;
};

static void result_gather(void *arg, struct event_id id, int64_t time_ms, struct weir_str key, struct weir_str value)
{
    struct results *r = arg;
    const struct stream *stream = r->stream;
    const struct derived *d = stream->from;
    bool late = stream == d->late;
    struct arena arena = { 0 };
    struct buf line = { 0 };
    char *event = arena_alloc(&arena, stream->event->size + 8u);
    ASSERT(feed_unpack(stream, value, &arena, event) == WEIR_OK);
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
    if (!late && d->out->key_field >= 0 && !str_eq(key, text_load(&stream->event->fields[0], event)))
        wrong(r->w, "a result %" PRIu64 "-%" PRIu64 " of `%.*s` has another key: %.*s", id.epoch, id.n, STR_ARG(stream->name), STR_ARG(key));
    rows_take(r->rows, &line);
    arena_free(&arena);
}

static void rows_all_free(struct rows *rows)
{
    for (uint32_t i = 0; i < 2 * DERIVEDS; i++) rows_free(&rows[i]);
}

static void results_gather(struct world *w)
{
    struct windows *x = w->windows;
    rows_all_free(x->got);
    for (uint32_t i = 0; i < DERIVEDS; i++) {
        if (x->defs[i] == NULL) continue;
        struct results r = { w, x->defs[i]->out, &x->got[2 * i] };
        model_events_each(w->model, r.stream->id, result_gather, &r);
        if (x->defs[i]->late == NULL) continue;
        r = (struct results){ w, x->defs[i]->late, &x->got[2 * i + 1] };
        model_events_each(w->model, r.stream->id, result_gather, &r);
    }
}

static void twin_run(struct world *w)
{
    struct windows *x = w->windows;
    for (uint32_t i = 0; i < DERIVEDS; i++) {
        const struct derived *d = x->defs[i];
        struct rows *out = &x->wanted[2 * i], *late = &x->wanted[2 * i + 1];
        if (d == NULL) continue;
        if (i == CHAINED) twin_chained(&x->wanted[2 * TUMBLE], out);
        if (i == OF_FIXED) twin_chained(&x->wanted[2 * FIXED], out);
        if (i == NESTED) twin_nested(&x->wanted[2 * WITHIN], out);
        if (i == CHAINED || i == OF_FIXED || i == NESTED) continue;
        struct items left = gather(w, d, i == IDLE ? QUIET : i == BY_CLOCK ? PLAIN : LEFT), right = { 0 };
        if (d->in_count == 2) right = gather(w, d, RIGHT);
        if (d->in_count == 2) twin_join(d, &left, &right, out, late);
        else if (i == FIXED) twin_corrected(d, &left, out, late);
        else if (d->kind == WINDOW_SPAN) twin_span(d, &left, out, late);
        else if (d->kind == WINDOW_SESSION) twin_session(d, &left, out, late);
        else twin_last(d, &left, out, late);
        mem_free(left.items);
        mem_free(right.items);
    }
}

static bool rows_are_all(const struct windows *x)
{
    for (uint32_t i = 0; i < 2 * DERIVEDS; i++)
        if (x->got[i].count < x->wanted[i].count) return false;
    return true;
}

static void results_judge(struct world *w)
{
    struct windows *x = w->windows;
    bool good = true;
    for (uint32_t i = 0; i < 2 * DERIVEDS; i++) {
        struct rows *a = &x->wanted[i], *b = &x->got[i];
        if (a->count > 0) qsort(a->items, a->count, sizeof(char *), text_order);
        if (b->count > 0) qsort(b->items, b->count, sizeof(char *), text_order);
        size_t k = 0, m = 0, shown = 0;
        while ((k < a->count || m < b->count) && shown < 6) {
            int order = k == a->count ? 1 : m == b->count ? -1 : strcmp(a->items[k], b->items[m]);
            if (order != 0) {
                printf("  %s%s: %s %s\n", deriveds[i / 2].name.ptr, i & 1 ? "_late" : "", order < 0 ? "missing" : "not wanted",
                       order < 0 ? a->items[k] : b->items[m]);
                good = false;
                shown++;
            }
            k += order <= 0;
            m += order >= 0;
        }
        w->window_rows += b->count;
        w->window_late += i & 1 ? b->count : 0;
    }
    if (!good) wrong(w, "results of windows are not those of a loop over all events");
}

/* ---- what clients ask ---- */

bool windows_intend(struct world *w, struct client *c)
{
    struct windows *x = w->windows;
    if (x->asked == MOVES_MAX) return false;
    c->kind = C_MOVE;
    c->with_id = true;
    c->number = x->asked++;
    return true;
}

/* Content follows from the number alone, so that a repeat is the same request. */
const struct handler *windows_batch(struct world *w, struct client *c)
{
    struct request *r = &c->request;
    uint64_t z = (c->number + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ w->seed * 7919;
    z ^= z >> 29;
    z *= UINT64_C(0xbf58476d1ce4e5b9);
    z ^= z >> 32;
    uint32_t source = z % 8 == 0 ? QUIET : z % 8 == 1 ? PLAIN : z & 1 ? LEFT : RIGHT;
    size_t count = 1 + (z >> 3) % 6;
    struct move *moves = arena_alloc(&r->arena, count * sizeof(*moves));
    for (size_t i = 0; i < count; i++) {
        uint64_t y = z * (i + 3) * UINT64_C(0x94d049bb133111eb);
        y ^= y >> 31;
        moves[i].key = arena_printf(&r->arena, "k%llu", (unsigned long long)(y >> 8) % KEYS);
        moves[i].n = (int64_t)((y >> 16) % 40);
        /* Most in order, some a little late, some very; some far ahead in streams that jump. */
        int64_t back = (y >> 24) % 8 == 0 ? (int64_t)((y >> 28) % 200) : (int64_t)((y >> 28) % 40);
        moves[i].at = (int64_t)c->number * w->plan.windows_pace + 1000 - back;
        if ((y >> 40) % 64 == 0) moves[i].at += 90;
    }
    c->batch = (struct weir_list){ moves, count };
    r->args = &c->batch;
    return source_of(w, source)->batch;
}

void windows_batch_done(struct world *w, const struct client *c)
{
    const struct request *r = &c->request;
    if (r->status != WEIR_OK) wrong(w, "a batch of events is answered %s: %.*s", weir_status_word(r->status), STR_ARG(r->text));
    size_t count = (size_t)((const struct emitted *)r->result)->count;
    if (count != c->batch.count) wrong(w, "%zu events are answered as %zu", c->batch.count, count);
    w->windows->taken += count;
}

/* The idle stream does not end: its windows close for that it is idle. */
const uint32_t windows_ends = 3;

const struct handler *windows_end(struct world *w, struct client *c)
{
    static const uint32_t which[] = { LEFT, RIGHT, PLAIN };
    c->request.args = arena_alloc(&c->request.arena, 8);
    return source_of(w, which[c->number])->end;
}

void windows_end_done(struct world *w, const struct client *c)
{
    if (c->request.status != WEIR_OK) wrong(w, "the end of a stream is answered %s", weir_status_word(c->request.status));
    w->windows->ended++;
}

/* ---- the end: results are awaited, judged, and read ---- */

static void count_one(void *arg, struct event_id id, int64_t time_ms, struct weir_str key, struct weir_str value)
{
    *(uint64_t *)arg += !value_is_control(value);
}

static uint64_t logged(const struct world *w, const struct stream *stream)
{
    uint64_t count = 0;
    model_events_each(w->model, stream->id, count_one, &count);
    return count;
}

static void results_look(struct world *w)
{
    struct windows *x = w->windows;
    uint64_t now = w->env->mono_ns(w->env);
    if (now < x->look_ns) return;
    x->look_ns = now + SECOND_NS / 5;
    results_gather(w);
    if (rows_are_all(x) && x->settled_ns == 0) x->settled_ns = now + SETTLE_NS; /* a while longer, for rows that should not come */
    if (!(x->settled_ns != 0 && now >= x->settled_ns) && now < x->give_up_ns) return;
    results_judge(w);
    uint64_t events = 0;
    for (uint32_t i = 0; i < SOURCES; i++) events += logged(w, source_of(w, i));
    if (events != x->taken) wrong(w, "%" PRIu64 " events of windows' sources are in the log, %" PRIu64 " were taken", events, x->taken);
    x->phase = WINDOWS_READ;
}

static void read_over(struct world *w)
{
    struct windows *x = w->windows;
    const struct stream *stream = w->app.catalog->streams[x->read_stream];
    uint64_t all = logged(w, stream);
    bool source = stream->from == NULL, whole = !source || strcmp(w->plan.windows_keep, "forever") == 0;
    bool latest = strcmp(w->plan.windows_keep, "latest") == 0; /* by size all may go: the newest file may be empty */
    if (whole ? x->read_count != all : x->read_count > all || (latest && all > 0 && x->read_count == 0))
        wrong(w, "%" PRIu64 " events of `%.*s` are read, %" PRIu64 " are in the log", x->read_count, STR_ARG(stream->name), all);
    x->read_stream++;
    x->read_count = 0;
    x->read_at = (struct event_id){ 0, 0 };
}

static void read_next(struct world *w)
{
    struct windows *x = w->windows;
    const struct catalog *catalog = w->app.catalog;
    while (x->read_stream < catalog->stream_count && catalog->streams[x->read_stream]->from == NULL &&
           catalog->streams[x->read_stream]->id < source_of(w, LEFT)->id)
        x->read_stream++;
    if (x->read_stream == catalog->stream_count) {
        x->phase = WINDOWS_OVER;
        return;
    }
    x->read = (struct feed_read){ .op = FEED_READ, .stream = catalog->streams[x->read_stream], .from = x->read_at, .count = 500, .user = x };
    x->reading = true;
    feed_submit(w->port, &x->read);
}

void windows_take(struct world *w)
{
    struct windows *x = w->windows;
    x->reading = false;
    if (x->read.status != WEIR_OK) wrong(w, "a read of `%.*s` is answered %s", STR_ARG(x->read.stream->name), weir_status_word(x->read.status));
    for (const struct feed_item *item = x->read.items; item != NULL; item = item->next) {
        judge_item(w, x->read.stream, item);
        if (event_id_cmp(item->id, x->read_at) < 0) wrong(w, "a reader gets events out of order");
        x->read_at = (struct event_id){ item->id.epoch, item->id.n + 1 };
        x->read_count++;
    }
    bool end = x->read.item_count == 0;
    feed_read_free(&x->read);
    if (end) read_over(w);
}

void windows_turn(struct world *w)
{
    struct windows *x = w->windows;
    if (!w->plan.windows || !w->final) return;
    if (x->phase == WINDOWS_WORK && x->ended == windows_ends) {
        twin_run(w);
        x->phase = WINDOWS_WAIT;
        x->give_up_ns = w->env->mono_ns(w->env) + 60 * SECOND_NS;
    }
    if (x->phase == WINDOWS_WAIT) results_look(w);
    if (x->phase == WINDOWS_READ && !x->reading) read_next(w);
}

bool windows_over(const struct world *w)
{
    return !w->plan.windows || w->windows->phase == WINDOWS_OVER;
}

bool windows_owns(const struct world *w, const struct feed_read *read)
{
    return read == &w->windows->read;
}

struct windows *windows_create(void)
{
    struct windows *x = calloc(1, sizeof(*x));
    if (x == NULL) abort();
    return x;
}

void windows_destroy(struct windows *x)
{
    rows_all_free(x->wanted);
    rows_all_free(x->got);
    free(x);
}
