/*
 * maps_module.c - a map in C: queries that look, one that their own entity asks while it changes rows, one that changes what it was
 * given to look at; and an answer that lies in the row.
 * SPDX-License-Identifier: MIT
 */
#include <weir/weir.h>

struct pile {
    int64_t n;
    struct weir_str name;
};
struct item {
    int64_t v;
};
struct pair {
    int64_t k, v;
};

static const struct weir_field pile_fields[] = { WEIR_FIELD(struct pile, n, WEIR_INT),
                                                 WEIR_FIELD(struct pile, name, WEIR_TEXT), WEIR_END };
static const struct weir_field item_fields[] = { WEIR_FIELD(struct item, v, WEIR_INT), WEIR_END };
static const struct weir_field pair_fields[] = { WEIR_FIELD(struct pair, k, WEIR_INT),
                                                 WEIR_FIELD(struct pair, v, WEIR_INT), WEIR_END };

#define NUMBER WEIR_SCALAR(WEIR_INT)
#define TEXT WEIR_SCALAR(WEIR_TEXT)
#define PAIR WEIR_SHAPE(struct pair, pair_fields)

static struct weir_verb sum = { .type = "pile", .handler = "sum", .args = WEIR_NOTHING, .result = NUMBER };

static enum weir_status pile_put(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct pair *in = args;
    struct item *item = weir_map_put(ctx, 0, WEIR_KEY(weir_number(in->k)));
    (void)row;
    (void)result;
    item->v = in->v;
    return WEIR_OK;
}

static enum weir_status pile_sum(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct pile *self = row;
    struct weir_scan scan = { .limit = 0 };
    struct weir_key key;
    int64_t total = self->n;
    void *at;
    (void)args;
    while (weir_map_next(ctx, 0, &scan, &key, &at)) total += ((const struct item *)at)->v;
    *(int64_t *)result = total;
    return WEIR_OK;
}

/* Changes the row and a row of the map, and asks before either is judged. */
static enum weir_status pile_sum_within(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct pair *in = args;
    struct pile *self = row;
    self->n++;
    struct item *item = weir_map_edit(ctx, 0, WEIR_KEY(weir_number(in->k)));
    if (item == NULL) return weir_fail(ctx, "absent", weir_self(ctx));
    item->v += in->v;
    return weir_call(ctx, (struct weir_ref){ weir_self(ctx) }, &sum, NULL, result);
}

static enum weir_status pile_meddle(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct weir_scan scan = { .limit = 1 };
    struct weir_key key;
    void *at;
    (void)row;
    (void)args;
    (void)result;
    if (weir_map_next(ctx, 0, &scan, &key, &at)) ((struct item *)at)->v++;
    return WEIR_OK;
}

static enum weir_status pile_name(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct pile *self = row;
    (void)ctx;
    (void)result;
    self->name = *(const struct weir_str *)args;
    return WEIR_OK;
}

/* Answers a text of the row as it lies there, and changes what stands before it. */
static enum weir_status pile_count(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct pile *self = row;
    (void)ctx;
    self->n = *(const int64_t *)args;
    *(struct weir_str *)result = self->name;
    return WEIR_OK;
}

static const struct weir_handler pile_handlers[] = {
    { "put", WEIR_ON, pile_put, PAIR, WEIR_NOTHING, NULL },
    { "sum", WEIR_QUERY, pile_sum, WEIR_NOTHING, NUMBER, NULL },
    { "sum_within", WEIR_ON, pile_sum_within, PAIR, NUMBER, NULL },
    { "name", WEIR_ON, pile_name, TEXT, WEIR_NOTHING, NULL },
    { "count", WEIR_ON, pile_count, NUMBER, TEXT, NULL },
    { "meddle", WEIR_QUERY, pile_meddle, WEIR_NOTHING, WEIR_NOTHING, NULL },
    WEIR_END
};
static const struct weir_map pile_maps[] = { { "items", { WEIR_INT }, WEIR_SHAPE(struct item, item_fields) }, WEIR_END };
static const struct weir_entity pile = {
    .name = "pile", .row = WEIR_SHAPE(struct pile, pile_fields), .maps = pile_maps, .handlers = pile_handlers
};

enum weir_status weir_module(struct weir_app *app)
{
    enum weir_status status = weir_add_entity(app, &pile);
    return status == WEIR_OK ? weir_use(app, &sum) : status;
}
