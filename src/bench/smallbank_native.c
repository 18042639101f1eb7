/*
 * smallbank_native.c - the handlers of smallbank.lua in C.
 * SPDX-License-Identifier: MIT
 */
#include "bench/workload.h"

struct account {
    struct weir_str name;
};
struct balance {
    int64_t balance;
};
struct amount {
    int64_t amount;
};
struct open {
    struct weir_str name;
    int64_t saved, held;
};
struct send {
    struct weir_ref to;
    int64_t amount;
};
struct multi {
    struct weir_ref a, b, c;
    int64_t amount;
};

static const struct weir_field account_fields[] = { WEIR_FIELD(struct account, name, WEIR_TEXT),
                                                    WEIR_END };
static const struct weir_field savings_fields[] = {
    WEIR_FIELD(struct balance, balance, WEIR_INT, .min = WEIR_BOUND(0)), WEIR_END
};
static const struct weir_field checking_fields[] = { WEIR_FIELD(struct balance, balance, WEIR_INT),
                                                     WEIR_END };
static const struct weir_field amount_fields[] = { WEIR_FIELD(struct amount, amount, WEIR_INT),
                                                   WEIR_END };
static const struct weir_field positive_fields[] = {
    WEIR_FIELD(struct amount, amount, WEIR_INT, .min = WEIR_BOUND(0)), WEIR_END
};
static const struct weir_field open_fields[] = { WEIR_FIELD(struct open, name, WEIR_TEXT),
                                                 WEIR_FIELD(struct open, saved, WEIR_INT),
                                                 WEIR_FIELD(struct open, held, WEIR_INT),
                                                 WEIR_END };
static const struct weir_field send_fields[] = {
    WEIR_FIELD(struct send, to, WEIR_REF, .type = "account"),
    WEIR_FIELD(struct send, amount, WEIR_INT, .min = WEIR_BOUND(0)), WEIR_END
};
static const struct weir_field multi_fields[] = {
    WEIR_FIELD(struct multi, a, WEIR_REF, .type = "account"),
    WEIR_FIELD(struct multi, b, WEIR_REF, .type = "account"),
    WEIR_FIELD(struct multi, c, WEIR_REF, .type = "account"),
    WEIR_FIELD(struct multi, amount, WEIR_INT, .min = WEIR_BOUND(0)), WEIR_END
};
#define AMOUNT WEIR_SHAPE(struct amount, amount_fields)
#define POSITIVE WEIR_SHAPE(struct amount, positive_fields)
#define OPEN WEIR_SHAPE(struct open, open_fields)
#define SEND WEIR_SHAPE(struct send, send_fields)
#define MULTI WEIR_SHAPE(struct multi, multi_fields)
#define NUMBER WEIR_SCALAR(WEIR_INT)

enum { SAVINGS, CHECKING, TABLES };
static struct weir_verb open_of[TABLES] = { { "savings", "open", AMOUNT, WEIR_NOTHING, NULL },
                                            { "checking", "open", AMOUNT, WEIR_NOTHING, NULL } };
static struct weir_verb add_to[TABLES] = { { "savings", "add", AMOUNT, WEIR_NOTHING, NULL },
                                           { "checking", "add", AMOUNT, WEIR_NOTHING, NULL } };
static struct weir_verb empty_of[TABLES] = { { "savings", "empty", WEIR_NOTHING, NUMBER, NULL },
                                             { "checking", "empty", WEIR_NOTHING, NUMBER, NULL } };
static struct weir_verb read_of[TABLES] = { { "savings", "read", WEIR_NOTHING, NUMBER, NULL },
                                            { "checking", "read", WEIR_NOTHING, NUMBER, NULL } };
static struct weir_verb pay = { "checking", "pay", AMOUNT, WEIR_NOTHING, NULL };
static struct weir_verb known = { "account", "known", WEIR_NOTHING, WEIR_NOTHING, NULL };

/* ---- savings and checking ---- */

static enum weir_status balance_open(struct weir_ctx *ctx, void *row, const void *args,
                                     void *result)
{
    (void)ctx;
    (void)result;
    ((struct balance *)row)->balance = ((const struct amount *)args)->amount;
    return WEIR_OK;
}

static enum weir_status balance_add(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    (void)ctx;
    (void)result;
    ((struct balance *)row)->balance += ((const struct amount *)args)->amount;
    return WEIR_OK;
}

static enum weir_status balance_empty(struct weir_ctx *ctx, void *row, const void *args,
                                      void *result)
{
    struct balance *self = row;
    (void)ctx;
    (void)args;
    *(int64_t *)result = self->balance;
    self->balance = 0;
    return WEIR_OK;
}

static enum weir_status balance_read(struct weir_ctx *ctx, void *row, const void *args,
                                     void *result)
{
    (void)ctx;
    (void)args;
    *(int64_t *)result = ((const struct balance *)row)->balance;
    return WEIR_OK;
}

static enum weir_status checking_pay(struct weir_ctx *ctx, void *row, const void *args,
                                     void *result)
{
    struct balance *self = row;
    int64_t amount = ((const struct amount *)args)->amount;
    (void)result;
    if (self->balance < amount) return weir_fail(ctx, "insufficient", STR_NIL);
    self->balance -= amount;
    return WEIR_OK;
}

/* ---- account ---- */

static struct weir_ref me(struct weir_ctx *ctx)
{
    return (struct weir_ref){ weir_self(ctx) };
}

static enum weir_status account_known(struct weir_ctx *ctx, void *row, const void *args,
                                      void *result)
{
    (void)args;
    (void)result;
    return ((const struct account *)row)->name.len > 0
               ? WEIR_OK
               : weir_fail(ctx, "no_account", weir_self(ctx));
}

static enum weir_status account_open(struct weir_ctx *ctx, void *row, const void *args,
                                     void *result)
{
    const struct open *in = args;
    (void)result;
    ((struct account *)row)->name = in->name;
    weir_call(ctx, me(ctx), &open_of[SAVINGS], &(struct amount){ in->saved }, NULL);
    return weir_call(ctx, me(ctx), &open_of[CHECKING], &(struct amount){ in->held }, NULL);
}

static enum weir_status account_balance(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    int64_t saved = 0, held = 0;
    account_known(ctx, row, args, result);
    weir_call(ctx, me(ctx), &read_of[SAVINGS], NULL, &saved);
    enum weir_status status = weir_call(ctx, me(ctx), &read_of[CHECKING], NULL, &held);
    *(int64_t *)result = saved + held;
    return status;
}

static enum weir_status account_deposit(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    account_known(ctx, row, args, result);
    return weir_call(ctx, me(ctx), &add_to[CHECKING], args, NULL);
}

static enum weir_status account_transact(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result)
{
    account_known(ctx, row, args, result);
    return weir_call(ctx, me(ctx), &add_to[SAVINGS], args, NULL);
}

static enum weir_status account_check(struct weir_ctx *ctx, void *row, const void *args,
                                      void *result)
{
    int64_t amount = ((const struct amount *)args)->amount, all = 0;
    if (account_balance(ctx, row, args, &all) == WEIR_OK && all < amount) amount += 100;
    *(int64_t *)result = amount;
    return weir_call(ctx, me(ctx), &add_to[CHECKING], &(struct amount){ -amount }, NULL);
}

static enum weir_status account_amalgamate(struct weir_ctx *ctx, void *row, const void *args,
                                           void *result)
{
    struct weir_ref to = *(const struct weir_ref *)args;
    int64_t saved = 0, held = 0;
    account_known(ctx, row, args, result);
    weir_call(ctx, to, &known, NULL, NULL);
    weir_call(ctx, me(ctx), &empty_of[SAVINGS], NULL, &saved);
    weir_call(ctx, me(ctx), &empty_of[CHECKING], NULL, &held);
    *(int64_t *)result = saved + held;
    return weir_call(ctx, to, &add_to[CHECKING], &(struct amount){ saved + held }, NULL);
}

static enum weir_status account_send(struct weir_ctx *ctx, void *row, const void *args,
                                     void *result)
{
    const struct send *in = args;
    account_known(ctx, row, args, result);
    weir_call(ctx, in->to, &known, NULL, NULL);
    weir_call(ctx, me(ctx), &pay, &(struct amount){ in->amount }, NULL);
    return weir_call(ctx, in->to, &add_to[CHECKING], &(struct amount){ in->amount }, NULL);
}

static enum weir_status account_multi(struct weir_ctx *ctx, void *row, const void *args,
                                      void *result)
{
    const struct multi *in = args;
    struct amount one = { in->amount };
    (void)row;
    (void)result;
    weir_call(ctx, me(ctx), &pay, &(struct amount){ 3 * in->amount }, NULL);
    weir_call(ctx, in->a, &add_to[CHECKING], &one, NULL);
    weir_call(ctx, in->b, &add_to[CHECKING], &one, NULL);
    return weir_call(ctx, in->c, &add_to[CHECKING], &one, NULL);
}

/* ---- the tables ---- */

static const struct weir_field to_fields[] = {
    WEIR_FIELD(struct send, to, WEIR_REF, .type = "account"), WEIR_END
};
static const struct weir_handler savings_handlers[] = {
    { "open", WEIR_ON, balance_open, AMOUNT, WEIR_NOTHING, NULL },
    { "add", WEIR_ON, balance_add, AMOUNT, WEIR_NOTHING, NULL },
    { "empty", WEIR_ON, balance_empty, WEIR_NOTHING, NUMBER, NULL },
    { "read", WEIR_QUERY, balance_read, WEIR_NOTHING, NUMBER, NULL },
    WEIR_END
};
static const struct weir_handler checking_handlers[] = {
    { "open", WEIR_ON, balance_open, AMOUNT, WEIR_NOTHING, NULL },
    { "add", WEIR_ON, balance_add, AMOUNT, WEIR_NOTHING, NULL },
    { "empty", WEIR_ON, balance_empty, WEIR_NOTHING, NUMBER, NULL },
    { "read", WEIR_QUERY, balance_read, WEIR_NOTHING, NUMBER, NULL },
    { "pay", WEIR_ON, checking_pay, AMOUNT, WEIR_NOTHING, NULL },
    WEIR_END
};
static const struct weir_handler account_handlers[] = {
    { "open", WEIR_ON, account_open, OPEN, WEIR_NOTHING, NULL },
    { "known", WEIR_QUERY, account_known, WEIR_NOTHING, WEIR_NOTHING, NULL },
    { "balance", WEIR_QUERY, account_balance, WEIR_NOTHING, NUMBER, NULL },
    { "deposit_checking", WEIR_ON, account_deposit, POSITIVE, WEIR_NOTHING, NULL },
    { "transact_savings", WEIR_ON, account_transact, AMOUNT, WEIR_NOTHING, NULL },
    { "write_check", WEIR_ON, account_check, POSITIVE, NUMBER, NULL },
    { "amalgamate",
      WEIR_ON,
      account_amalgamate,
      { .size = sizeof(struct weir_ref), .fields = to_fields },
      NUMBER,
      NULL },
    { "send_payment", WEIR_ON, account_send, SEND, WEIR_NOTHING, NULL },
    { "multi_transfer", WEIR_ON, account_multi, MULTI, WEIR_NOTHING, NULL },
    WEIR_END
};
static const struct weir_entity entities[] = {
    { .name = "account",
      .row = WEIR_SHAPE(struct account, account_fields),
      .handlers = account_handlers },
    { .name = "savings",
      .row = WEIR_SHAPE(struct balance, savings_fields),
      .handlers = savings_handlers },
    { .name = "checking",
      .row = WEIR_SHAPE(struct balance, checking_fields),
      .handlers = checking_handlers },
};

enum weir_status smallbank_native(struct weir_app *app)
{
    struct weir_verb *const used[] = { &open_of[0],  &open_of[1],  &add_to[0],  &add_to[1],
                                       &empty_of[0], &empty_of[1], &read_of[0], &read_of[1],
                                       &pay,         &known };
    return native_add(app, entities, sizeof(entities) / sizeof(entities[0]), used,
                      sizeof(used) / sizeof(used[0]));
}
