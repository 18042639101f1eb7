/*
 * history_app.c - see history_app.h.
 * SPDX-License-Identifier: MIT
 */
#include "history_app.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- shapes ---- */

static const struct weir_shape int_shape = WEIR_SCALAR(WEIR_INT);
static const char *const op_words[] = { "append", "read", "write", "get", "transfer", "audit", "cycle",
    "count", "tally", "send", "later", "both", "turn", "walk", NULL };
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

/* What the one who pays has to say; who gets the money says both, as the last act of the transfer. */
struct paid {
    struct weir_ref from;
    int64_t amount, a, b;
};
static const struct weir_field paid_fields[] = {
    WEIR_FIELD(struct paid, from, WEIR_REF, .type = "account"), WEIR_FIELD(struct paid, amount, WEIR_INT),
    WEIR_FIELD(struct paid, a, WEIR_INT), WEIR_FIELD(struct paid, b, WEIR_INT), WEIR_END
};
static struct weir_verb take = { "account", "take", WEIR_SHAPE(struct paid, paid_fields), WEIR_SHAPE(struct moved, moved_fields) };
static struct weir_verb take_back = { "account", "take_back", WEIR_SHAPE(struct paid, paid_fields),
                                      WEIR_SHAPE(struct moved, moved_fields) };
static struct weir_verb glance = { "account", "glance", WEIR_SHAPE(struct move, move_fields), WEIR_SHAPE(struct moved, moved_fields) };
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

struct post {
    struct weir_ref to;
    int64_t value;
};
static const struct weir_field post_fields[] = {
    WEIR_FIELD(struct post, to, WEIR_REF, .type = "list"), WEIR_FIELD(struct post, value, WEIR_INT), WEIR_END
};
struct later {
    int64_t delay, value;
};
static const struct weir_field later_fields[] = {
    WEIR_FIELD(struct later, delay, WEIR_INT), WEIR_FIELD(struct later, value, WEIR_INT), WEIR_END
};
static struct weir_verb post = { "list", "post", WEIR_SHAPE(struct post, post_fields), WEIR_NOTHING };
static struct weir_verb later = { "list", "later", WEIR_SHAPE(struct later, later_fields), WEIR_NOTHING };
static struct weir_verb count_up = { "tally", "count_up", WEIR_SCALAR(WEIR_INT), WEIR_SCALAR(WEIR_INT) };
static struct weir_verb read_tally = { "tally", "read", WEIR_NOTHING,
    WEIR_SCALAR(WEIR_LIST, .shape = &int_shape, .max = WEIR_BOUND(100000)) };
static struct weir_verb set_node = { "node", "set", WEIR_SCALAR(WEIR_INT), WEIR_NOTHING };
static struct weir_verb get_node = { "node", "get", WEIR_NOTHING, WEIR_SCALAR(WEIR_INT) };

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
    if (in->amount % 4 != 0) { /* the last act: the other's shard may decide, unless it calls back */
        struct paid paid = { { weir_self(ctx) }, in->amount, out->a, out->b };
        return weir_call_last(ctx, in->to, in->amount % 4 == 3 ? &take_back : &take, &paid);
    }
    memset(&other, 0x7f, sizeof(other));
    enum weir_status st = weir_call(ctx, in->to, &credit, &in->amount, &other);
    /* the engine's promise to handlers that do not look: zeros, and the attempt is over */
    if (st != WEIR_OK && (other.c != 0 || other.d != 0 || weir_failed(ctx) == WEIR_OK)) abort();
    out->c = other.c;
    out->d = other.d;
    return WEIR_OK;
}

static enum weir_status account_take(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct account *self = row;
    const struct paid *in = args;
    *(struct moved *)result = (struct moved){ in->a, in->b, ++self->seq, self->balance };
    self->balance += in->amount;
    return WEIR_OK;
}

/* Sees through the one who pays what both have changed: a handler within each of the two. */
static enum weir_status account_take_back(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct paid *in = args;
    struct move self = { { weir_self(ctx) }, 0 };
    struct moved seen;
    enum weir_status st = weir_call(ctx, in->from, &glance, &self, &seen);
    if (st == WEIR_OK && (seen.a != in->a || seen.b != in->b - in->amount)) abort();
    return account_take(ctx, row, args, result);
}

static enum weir_status account_glance(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct account *self = row;
    struct moved ignored;
    *(struct moved *)result = (struct moved){ .a = self->seq, .b = self->balance };
    return weir_call(ctx, ((const struct move *)args)->to, &audit, NULL, &ignored);
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
    { "take", WEIR_ON, account_take, WEIR_SHAPE(struct paid, paid_fields), WEIR_SHAPE(struct moved, moved_fields), NULL },
    { "take_back", WEIR_ON, account_take_back, WEIR_SHAPE(struct paid, paid_fields), WEIR_SHAPE(struct moved, moved_fields), NULL },
    { "glance", WEIR_QUERY, account_glance, WEIR_SHAPE(struct move, move_fields), WEIR_SHAPE(struct moved, moved_fields), NULL },
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

static enum weir_status list_post(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct post *in = args;
    return weir_send(ctx, in->to, &append, &in->value);
}

static enum weir_status list_later(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct later *in = args;
    return weir_after(ctx, in->delay, "append", &in->value);
}

static const struct weir_handler list_handlers[] = {
    { "post", WEIR_ON, list_post, WEIR_SHAPE(struct post, post_fields), WEIR_NOTHING, "anyone" },
    { "later", WEIR_ON, list_later, WEIR_SHAPE(struct later, later_fields), WEIR_NOTHING, "anyone" },
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

/* ---- tally: every transaction proves what the ones before it left ---- */

struct tally_row {
    int64_t count, sum;
};
struct counted {
    int64_t value, sum;
};
static const struct weir_field tally_fields[] = {
    WEIR_FIELD(struct tally_row, count, WEIR_INT), WEIR_FIELD(struct tally_row, sum, WEIR_INT), WEIR_END
};
static const struct weir_field counted_fields[] = {
    WEIR_FIELD(struct counted, value, WEIR_INT), WEIR_FIELD(struct counted, sum, WEIR_INT), WEIR_END
};
static const struct weir_map tally_maps[] = { { "rows", { WEIR_INT }, WEIR_SHAPE(struct counted, counted_fields) }, WEIR_END };

static int64_t mix(int64_t sum, int64_t value)
{
    return (sum * 31 + value) % 1000000007;
}

static enum weir_status tally_count_up(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct tally_row *self = row;
    struct weir_scan scan = { .from = WEIR_KEY(weir_number(self->count - 8)), .to = WEIR_KEY(weir_number(self->count)) };
    struct weir_key key;
    int64_t sum = 0, last = 0, value = *(const int64_t *)args;
    bool is_good = true;
    void *item;
    while (weir_map_next(ctx, 0, &scan, &key, &item)) {
        const struct counted *counted = item;
        if (last > 0) is_good &= key.part[0].n == last + 1 && counted->sum == mix(sum, counted->value);
        else if (key.part[0].n == 1) is_good &= counted->sum == mix(0, counted->value);
        last = key.part[0].n;
        sum = counted->sum;
    }
    if (!is_good || last != self->count || sum != self->sum) return weir_fail(ctx, "selfcheck", weir_self(ctx));
    self->count++;
    self->sum = mix(sum, value);
    *(struct counted *)weir_map_put(ctx, 0, WEIR_KEY(weir_number(self->count))) = (struct counted){ value, self->sum };
    *(int64_t *)result = self->count;
    return WEIR_OK;
}

static enum weir_status tally_read(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct weir_list *out = result;
    struct weir_scan scan = { 0 };
    struct weir_key key;
    void *item;
    int64_t *items = weir_scratch(ctx, (size_t)(weir_map_count(ctx, 0) + 1) * sizeof(int64_t));
    while (weir_map_next(ctx, 0, &scan, &key, &item)) items[out->count++] = ((struct counted *)item)->value;
    out->items = items;
    return WEIR_OK;
}

static const struct weir_handler tally_handlers[] = {
    { "count_up", WEIR_ON, tally_count_up, WEIR_SCALAR(WEIR_INT), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "read", WEIR_QUERY, tally_read, WEIR_NOTHING, WEIR_SCALAR(WEIR_LIST, .shape = &int_shape, .max = WEIR_BOUND(100000)), "anyone" },
    WEIR_END
};
static const struct weir_entity tally_entity = { .name = "tally", .row = WEIR_SHAPE(struct tally_row, tally_fields),
                                                 .maps = tally_maps, .handlers = tally_handlers };

/* ---- ring: three pointers turned at a time; it must stay one ring of all nodes ---- */

struct node {
    int64_t next; /* and 1; 0 is the next number */
};
static const struct weir_field node_fields[] = { WEIR_FIELD(struct node, next, WEIR_INT), WEIR_END };

static enum weir_status node_set(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct node *)row)->next = *(const int64_t *)args;
    return WEIR_OK;
}

static enum weir_status node_get(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ((const struct node *)row)->next;
    return WEIR_OK;
}

static const struct weir_handler node_handlers[] = {
    { "set", WEIR_ON, node_set, WEIR_SCALAR(WEIR_INT), WEIR_NOTHING, NULL },
    { "get", WEIR_QUERY, node_get, WEIR_NOTHING, WEIR_SCALAR(WEIR_INT), NULL },
    WEIR_END
};
static const struct weir_entity node_entity = { .name = "node", .row = WEIR_SHAPE(struct node, node_fields),
                                                .handlers = node_handlers };

static struct weir_ref node_ref(struct weir_ctx *ctx, struct weir_str ring, int64_t n)
{
    char *text = weir_scratch(ctx, ring.len + 24);
    snprintf(text, ring.len + 24, "%.*s:%d", (int)ring.len, ring.ptr, (int)n);
    return (struct weir_ref){ { text, strlen(text) } };
}

static int64_t ring_next(struct weir_ctx *ctx, struct weir_str ring, int64_t n)
{
    int64_t next = 0;
    weir_call(ctx, node_ref(ctx, ring, n), &get_node, NULL, &next);
    return next > 0 ? next - 1 : (n + 1) % HISTORY_RING;
}

static void ring_point(struct weir_ctx *ctx, struct weir_str ring, int64_t from, int64_t to)
{
    to++;
    weir_call(ctx, node_ref(ctx, ring, from), &set_node, &to, NULL);
}

static int64_t ring_turn(struct weir_ctx *ctx, struct weir_str ring, int64_t n)
{
    int64_t two = ring_next(ctx, ring, n), three = ring_next(ctx, ring, two), four = ring_next(ctx, ring, three);
    ring_point(ctx, ring, n, three);
    ring_point(ctx, ring, three, two);
    ring_point(ctx, ring, two, four);
    return HISTORY_RING;
}

static int64_t ring_walk(struct weir_ctx *ctx, struct weir_str ring)
{
    int64_t n = 0, steps = 0;
    do {
        n = ring_next(ctx, ring, n);
        steps++;
    } while (n != 0 && steps <= HISTORY_RING && weir_failed(ctx) == WEIR_OK);
    return steps;
}

/* ---- the service ---- */

static void run_step(struct weir_ctx *ctx, const struct op *op, struct op_result *out)
{
    struct weir_ref key = { op->key }, to = { op->to };
    struct post letter = { to, op->value };
    struct later alarm = { op->value % 200, op->value };
    struct moved one = { 0 }, two = { 0 };
    switch ((enum step_kind)op->kind) {
    case STEP_COUNT: weir_call(ctx, key, &count_up, &op->value, &out->a); return;
    case STEP_TALLY: weir_call(ctx, key, &read_tally, NULL, &out->items); return;
    case STEP_SEND: weir_call(ctx, key, &post, &letter, NULL); return;
    case STEP_LATER: weir_call(ctx, key, &later, &alarm, NULL); return;
    case STEP_TURN: out->a = ring_turn(ctx, op->key, op->value % HISTORY_RING); return;
    case STEP_WALK: out->a = ring_walk(ctx, op->key); return;
    case STEP_BOTH:
        weir_call_all(ctx, (const struct weir_call[]){ { key, &audit, NULL, &one }, { to, &audit, NULL, &two } }, 2);
        *out = (struct op_result){ .a = one.a, .b = one.b, .c = two.a, .d = two.b };
    }
}


static void run_one(struct weir_ctx *ctx, const struct op *op, struct op_result *out)
{
    struct weir_ref key = { op->key };
    struct move move = { .to = { op->to }, .amount = op->value };
    struct moved moved = { 0 };
    if (op->kind > OP_CYCLE) {
        run_step(ctx, op, out);
        return;
    }
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

/* What run_one() would call, if that is one call: false for the others. */
static bool call_of(struct weir_ctx *ctx, const struct op *op, struct op_result *out, struct moved *moved, struct weir_call *call)
{
    struct move *move = weir_scratch(ctx, sizeof(*move));
    *move = (struct move){ .to = { op->to }, .amount = op->value };
    call->to = (struct weir_ref){ op->key };
    if (op->kind > OP_CYCLE) return false;
    switch ((enum op_kind)op->kind) {
    case OP_APPEND: *call = (struct weir_call){ call->to, &append, &op->value, &out->a }; break;
    case OP_READ: *call = (struct weir_call){ call->to, &read_list, NULL, &out->items }; break;
    case OP_WRITE: *call = (struct weir_call){ call->to, &write_reg, &op->value, &out->a }; break;
    case OP_GET: *call = (struct weir_call){ call->to, &get_reg, NULL, &out->a }; break;
    case OP_TRANSFER: *call = (struct weir_call){ call->to, &transfer, move, moved }; break;
    case OP_AUDIT: *call = (struct weir_call){ call->to, &audit, NULL, moved }; break;
    case OP_CYCLE: *call = (struct weir_call){ call->to, &cycle, move, moved }; break;
    }
    return true;
}

/* The operations from `at` on that are one call each, all at once; how many they are. */
static size_t run_together(struct weir_ctx *ctx, const struct op *ops, struct op_result *results, size_t count)
{
    struct weir_call calls[8];
    struct moved moved[8] = { 0 };
    size_t n = 0;
    while (n < count && call_of(ctx, &ops[n], &results[n], &moved[n], &calls[n])) n++;
    if (n < 2) return 0;
    weir_call_all(ctx, calls, n);
    for (size_t i = 0; i < n; i++) {
        if (calls[i].result != &moved[i]) continue;
        results[i] = (struct op_result){ .a = moved[i].a, .b = moved[i].b, .c = moved[i].c, .d = moved[i].d };
    }
    return n;
}

/* One after the other; those of every other sixteen values as far as they go at the same time, which must show in nothing. */
static enum weir_status work_run(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct ops *in = args;
    const struct op *ops = in->ops.items;
    struct weir_list *out = result;
    struct op_result *results = weir_scratch(ctx, in->ops.count * sizeof(*results));
    for (size_t i = 0, n; i < in->ops.count; i += n) {
        n = ops[i].value / 16 % 2 != 0 ? 0 : run_together(ctx, ops + i, results + i, in->ops.count - i);
        if (n == 0) {
            run_one(ctx, &ops[i], &results[i]);
            n = 1;
        }
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
    struct weir_verb *verbs[] = { &credit, &transfer, &cycle, &relay, &audit, &append, &read_list, &write_reg, &get_reg,
                                  &post, &later, &count_up, &read_tally, &set_node, &get_node, &take, &take_back, &glance };
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) weir_use(app, verbs[i]);
    enum weir_status st = weir_add_entity(app, &account_entity);
    if (st == WEIR_OK) st = weir_add_entity(app, &list_entity);
    if (st == WEIR_OK) st = weir_add_entity(app, &reg_entity);
    if (st == WEIR_OK) st = weir_add_entity(app, &tally_entity);
    if (st == WEIR_OK) st = weir_add_entity(app, &node_entity);
    if (st == WEIR_OK) st = weir_add_service(app, &work_service);
    return st;
}
