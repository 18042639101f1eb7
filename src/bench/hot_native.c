/*
 * hot_native.c - the handlers of hot.lua in C.
 * SPDX-License-Identifier: MIT
 */
#include "bench/workload.h"

struct payment {
    struct weir_ref to;
    int64_t amount;
};

static const struct weir_field payment_fields[] = {
    WEIR_FIELD(struct payment, to, WEIR_REF, .type = "account"),
    WEIR_FIELD(struct payment, amount, WEIR_INT), WEIR_END
};
#define PAYMENT WEIR_SHAPE(struct payment, payment_fields)
#define NUMBER WEIR_SCALAR(WEIR_INT)

static struct weir_verb credit = {
    .type = "account", .handler = "credit", .args = NUMBER, .result = NUMBER
};

static enum weir_status account_credit(struct weir_ctx *ctx, void *row, const void *args,
                                       void *result)
{
    struct native_account *self = row;
    (void)ctx;
    self->balance += *(const int64_t *)args;
    *(int64_t *)result = self->balance;
    return WEIR_OK;
}

static enum weir_status account_pay_last(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result)
{
    const struct payment *in = args;
    (void)result;
    ((struct native_account *)row)->balance -= in->amount;
    return weir_call_last(ctx, in->to, &credit, &in->amount);
}

static enum weir_status account_pay(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct payment *in = args;
    ((struct native_account *)row)->balance -= in->amount;
    return weir_call(ctx, in->to, &credit, &in->amount, result);
}

static const struct weir_handler handlers[] = {
    { "open", WEIR_ON, native_account_open, NATIVE_ACCOUNT, WEIR_NOTHING, NULL },
    { "credit", WEIR_ON, account_credit, NUMBER, NUMBER, NULL },
    { "pay_last", WEIR_ON, account_pay_last, PAYMENT, NUMBER, NULL },
    { "pay", WEIR_ON, account_pay, PAYMENT, NUMBER, NULL },
    { "balance", WEIR_QUERY, native_account_balance, WEIR_NOTHING, NUMBER, NULL },
    WEIR_END
};

static const struct weir_entity account = {
    .name = "account",
    .row = NATIVE_ACCOUNT,
    .handlers = handlers,
};

enum weir_status hot_native(struct weir_app *app)
{
    struct weir_verb *const used[] = { &credit };
    return native_add(app, &account, 1, used, 1);
}
