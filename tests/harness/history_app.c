/*
 * history_app.c - see history_app.h.
 * SPDX-License-Identifier: MIT
 */
#include "history_app.h"

#include <stdio.h>
#include <string.h>

/* ---- shapes ---- */

static const struct weir_shape int_shape = WEIR_SCALAR(WEIR_INT);
static const char *const op_words[] = { "append", "read", "write", "get", "transfer", "audit", "cycle", NULL };
static const struct weir_field op_fields[] = {
    WEIR_FIELD(struct op, kind, WEIR_ENUM, .words = op_words), WEIR_FIELD(struct op, key, WEIR_TEXT),
    WEIR_FIELD(struct op, to, WEIR_TEXT), WEIR_FIELD(struct op, value, WEIR_INT), WEIR_END
};
static const struct weir_shape op_shape = WEIR_SHAPE(struct op, op_fields);
static const struct weir_field result_fields[] = {
    WEIR_FIELD(struct op_result, a, WEIR_INT), WEIR_FIELD(struct op_result, b, WEIR_INT),
    WEIR_FIELD(struct op_result, c, WEIR_INT), WEIR_FIELD(struct op_result, d, WEIR_INT),
    WEIR_FIELD(struct op_result, items, WEIR_LIST, .shape = &int_shape, .max = WEIR_BOUND(100000)), WEIR_END
};
static const struct weir_shape result_shape = WEIR_SHAPE(struct op_result, result_fields);
static const struct weir_field ops_fields[] = {
    WEIR_FIELD(struct ops, ops, WEIR_LIST, .shape = &op_shape, .min = WEIR_BOUND(1), .max = WEIR_BOUND(8)), WEIR_END
};
const struct weir_shape history_ops_shape = WEIR_SHAPE(struct ops, ops_fields);
const struct weir_shape history_results_shape = WEIR_SCALAR(WEIR_LIST, .shape = &result_shape);

struct account {
    int64_t balance, seq;
};
static const struct weir_field account_fields[] = {
    WEIR_FIELD(struct account, balance, WEIR_INT, .min = WEIR_BOUND(0), .start = WEIR_BOUND(HISTORY_BALANCE)),
    WEIR_FIELD(struct account, seq, WEIR_INT), WEIR_END
};
struct move {
    struct weir_ref to;
    int64_t amount;
};
static const struct weir_field move_fields[] = {
    WEIR_FIELD(struct move, to, WEIR_REF, .type = "account"), WEIR_FIELD(struct move, amount, WEIR_INT), WEIR_END
};
struct moved {
    int64_t a, b, c, d;
};
static const struct weir_field moved_fields[] = {
    WEIR_FIELD(struct moved, a, WEIR_INT), WEIR_FIELD(struct moved, b, WEIR_INT),
    WEIR_FIELD(struct moved, c, WEIR_INT), WEIR_FIELD(struct moved, d, WEIR_INT), WEIR_END
};

static struct weir_verb credit = { "account", "credit", WEIR_SCALAR(WEIR_INT), WEIR_SHAPE(struct moved, moved_fields) };
static struct weir_verb transfer = { "account", "transfer", WEIR_SHAPE(struct move, move_fields),
                                     WEIR_SHAPE(struct moved, moved_fields) };
static struct weir_verb cycle = { "account", "cycle", WEIR_SHAPE(struct move, move_fields),
                                  WEIR_SHAPE(struct moved, moved_fields) };
static struct weir_verb relay = { "account", "relay", WEIR_SHAPE(struct move, move_fields),
                                  WEIR_SHAPE(struct moved, moved_fields) };
static struct weir_verb audit = { "account", "audit", WEIR_NOTHING, WEIR_SHAPE(struct moved, moved_fields) };
static struct weir_verb append = { "list", "append", WEIR_SCALAR(WEIR_INT), WEIR_SCALAR(WEIR_INT) };
static struct weir_verb read_list = { "list", "read", WEIR_NOTHING,
    WEIR_SCALAR(WEIR_LIST, .shape = &int_shape, .max = WEIR_BOUND(100000)) };
static struct weir_verb write_reg = { "reg", "write", WEIR_SCALAR(WEIR_INT), WEIR_SCALAR(WEIR_INT) };
static struct weir_verb get_reg = { "reg", "get", WEIR_NOTHING, WEIR_SCALAR(WEIR_INT) };

/* ---- account ---- */

static enum weir_status account_credit(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct account *self = row;
    struct moved *out = result;
    out->c = ++self->seq;
    out->d = self->balance;
    self->balance += *(const int64_t *)args;
    return WEIR_OK;
}

static enum weir_status account_transfer(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct account *self = row;
    const struct move *in = args;
    struct moved *out = result, other;
    if (self->balance < in->amount) { /* an answer about state: the checker judges it as a read */
        char *text = weir_scratch(ctx, 64);
        snprintf(text, 64, "[%lld,%lld]", (long long)self->seq, (long long)self->balance);
        return weir_fail_json(ctx, "insufficient", (struct weir_str){ text, strlen(text) });
    }
    out->a = ++self->seq;
    out->b = self->balance;
    self->balance -= in->amount;
    weir_call(ctx, in->to, &credit, &in->amount, &other);
    out->c = other.c;
    out->d = other.d;
    return WEIR_OK;
}

/* A cycle: this account calls the other, which calls back into this one. */
static enum weir_status account_cycle(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct account *self = row;
    const struct move *in = args;
    struct move back = { .to = { weir_self(ctx) }, .amount = in->amount };
    struct moved *out = result, other;
    out->a = ++self->seq;
    out->b = self->balance;
    self->balance -= in->amount;
    weir_call(ctx, in->to, &relay, &back, &other);
    out->c = other.c;
    out->d = other.d;
    return WEIR_OK;
}

/* Takes the amount and gives half of it straight back: the caller's row changes under its feet. */
static enum weir_status account_relay(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct account *self = row;
    const struct move *in = args;
    struct moved *out = result;
    int64_t zero = 0;
    out->c = ++self->seq;
    out->d = self->balance;
    self->balance += in->amount;
    struct moved ignored;
    return weir_call(ctx, in->to, &credit, &zero, &ignored);
}

static enum weir_status account_audit(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct account *self = row;
    struct moved *out = result;
    out->a = self->seq;
    out->b = self->balance;
    return WEIR_OK;
}

static const struct weir_handler account_handlers[] = {
    { "credit", WEIR_ON, account_credit, WEIR_SCALAR(WEIR_INT), WEIR_SHAPE(struct moved, moved_fields), "anyone" },
    { "transfer", WEIR_ON, account_transfer, WEIR_SHAPE(struct move, move_fields), WEIR_SHAPE(struct moved, moved_fields), "anyone" },
    { "cycle", WEIR_ON, account_cycle, WEIR_SHAPE(struct move, move_fields), WEIR_SHAPE(struct moved, moved_fields), "anyone" },
    { "relay", WEIR_ON, account_relay, WEIR_SHAPE(struct move, move_fields), WEIR_SHAPE(struct moved, moved_fields), NULL },
    { "audit", WEIR_QUERY, account_audit, WEIR_NOTHING, WEIR_SHAPE(struct moved, moved_fields), "anyone" },
    WEIR_END
};
static const struct weir_entity account_entity = { .name = "account",
    .row = WEIR_SHAPE(struct account, account_fields), .handlers = account_handlers };

/* ---- list: a map, so that it may grow ---- */

struct list_row {
    int64_t count;
};
static const struct weir_field list_fields[] = { WEIR_FIELD(struct list_row, count, WEIR_INT), WEIR_END };
static const struct weir_map list_maps[] = { { "items", { WEIR_INT }, WEIR_SCALAR(WEIR_INT) }, WEIR_END };

static enum weir_status list_append(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct list_row *self = row;
    int64_t n;
    int64_t *item = weir_map_append(ctx, 0, &n);
    *item = *(const int64_t *)args;
    *(int64_t *)result = self->count = n;
    return WEIR_OK;
}

static enum weir_status list_read(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct weir_list *out = result;
    struct weir_scan scan = { 0 };
    struct weir_key key;
    void *item;
    int64_t count = weir_map_count(ctx, 0);
    int64_t *items = weir_scratch(ctx, (size_t)(count + 1) * sizeof(int64_t));
    while (weir_map_next(ctx, 0, &scan, &key, &item)) items[out->count++] = *(int64_t *)item;
    out->items = items;
    return WEIR_OK;
}

static const struct weir_handler list_handlers[] = {
    { "append", WEIR_ON, list_append, WEIR_SCALAR(WEIR_INT), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "read", WEIR_QUERY, list_read, WEIR_NOTHING, WEIR_SCALAR(WEIR_LIST, .shape = &int_shape, .max = WEIR_BOUND(100000)), "anyone" },
    WEIR_END
};
static const struct weir_entity list_entity = { .name = "list", .row = WEIR_SHAPE(struct list_row, list_fields),
                                                .maps = list_maps, .handlers = list_handlers };

/* ---- register ---- */

struct reg {
    int64_t value;
};
static const struct weir_field reg_fields[] = { WEIR_FIELD(struct reg, value, WEIR_INT), WEIR_END };

static enum weir_status reg_write(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct reg *self = row;
    *(int64_t *)result = self->value;
    self->value = *(const int64_t *)args;
    return WEIR_OK;
}

static enum weir_status reg_get(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ((const struct reg *)row)->value;
    return WEIR_OK;
}

static const struct weir_handler reg_handlers[] = {
    { "write", WEIR_ON, reg_write, WEIR_SCALAR(WEIR_INT), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "get", WEIR_QUERY, reg_get, WEIR_NOTHING, WEIR_SCALAR(WEIR_INT), "anyone" },
    WEIR_END
};
static const struct weir_entity reg_entity = { .name = "reg", .row = WEIR_SHAPE(struct reg, reg_fields),
                                               .handlers = reg_handlers };

/* ---- the service ---- */

static void run_one(struct weir_ctx *ctx, const struct op *op, struct op_result *out)
{
    struct weir_ref key = { op->key };
    struct move move = { .to = { op->to }, .amount = op->value };
    struct moved moved = { 0 };
    switch ((enum op_kind)op->kind) {
    case OP_APPEND: weir_call(ctx, key, &append, &op->value, &out->a); return;
    case OP_READ: weir_call(ctx, key, &read_list, NULL, &out->items); return;
    case OP_WRITE: weir_call(ctx, key, &write_reg, &op->value, &out->a); return;
    case OP_GET: weir_call(ctx, key, &get_reg, NULL, &out->a); return;
    case OP_TRANSFER: weir_call(ctx, key, &transfer, &move, &moved); break;
    case OP_AUDIT: weir_call(ctx, key, &audit, NULL, &moved); break;
    case OP_CYCLE: weir_call(ctx, key, &cycle, &move, &moved); break;
    }
    out->a = moved.a;
    out->b = moved.b;
    out->c = moved.c;
    out->d = moved.d;
}

static enum weir_status work_run(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct ops *in = args;
    const struct op *ops = in->ops.items;
    struct weir_list *out = result;
    struct op_result *results = weir_scratch(ctx, in->ops.count * sizeof(*results));
    for (size_t i = 0; i < in->ops.count; i++) {
        run_one(ctx, &ops[i], &results[i]);
        if (weir_failed(ctx) != WEIR_OK) return weir_failed(ctx);
    }
    out->items = results;
    out->count = in->ops.count;
    return WEIR_OK;
}

static const struct weir_handler work_handlers[] = {
    { "look", WEIR_QUERY, work_run, WEIR_SHAPE(struct ops, ops_fields), WEIR_SCALAR(WEIR_LIST, .shape = &result_shape), "anyone" },
    { "run", WEIR_ON, work_run, WEIR_SHAPE(struct ops, ops_fields), WEIR_SCALAR(WEIR_LIST, .shape = &result_shape), "anyone" },
    WEIR_END
};
static const struct weir_service work_service = { "work", work_handlers };

enum weir_status history_app(struct weir_app *app)
{
    struct weir_verb *verbs[] = { &credit, &transfer, &cycle, &relay, &audit, &append, &read_list, &write_reg, &get_reg };
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) weir_use(app, verbs[i]);
    enum weir_status st = weir_add_entity(app, &account_entity);
    if (st == WEIR_OK) st = weir_add_entity(app, &list_entity);
    if (st == WEIR_OK) st = weir_add_entity(app, &reg_entity);
    if (st == WEIR_OK) st = weir_add_service(app, &work_service);
    return st;
}
