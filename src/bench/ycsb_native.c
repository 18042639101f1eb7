/*
 * ycsb_native.c - the handlers of ycsb.lua in C.
 * SPDX-License-Identifier: MIT
 */
#include "bench/workload.h"

struct transfer {
    struct weir_ref to;
};

static const struct weir_field transfer_fields[] = {
    WEIR_FIELD(struct transfer, to, WEIR_REF, .type = "account"), WEIR_END
};
#define TRANSFER WEIR_SHAPE(struct transfer, transfer_fields)
#define NUMBER WEIR_SCALAR(WEIR_INT)

static struct weir_verb receive = {
    .type = "account", .handler = "receive", .args = WEIR_NOTHING, .result = WEIR_NOTHING
};

static enum weir_status account_receive(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    (void)ctx;
    (void)args;
    (void)result;
    ((struct native_account *)row)->balance++;
    return WEIR_OK;
}

static enum weir_status account_transfer(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result)
{
    struct native_account *self = row;
    enum weir_status status = weir_call(ctx, ((const struct transfer *)args)->to, &receive, NULL,
                                        NULL);
    *(int64_t *)result = --self->balance; /* below 0 breaks `min`: nothing of the request happens */
    return status;
}

static const struct weir_handler handlers[] = {
    { "open", WEIR_ON, native_account_open, NATIVE_ACCOUNT, WEIR_NOTHING, NULL },
    { "receive", WEIR_ON, account_receive, WEIR_NOTHING, WEIR_NOTHING, NULL },
    { "transfer", WEIR_ON, account_transfer, TRANSFER, NUMBER, NULL },
    { "balance", WEIR_QUERY, native_account_balance, WEIR_NOTHING, NUMBER, NULL },
    WEIR_END
};

static const struct weir_entity account = {
    .name = "account",
    .row = NATIVE_ACCOUNT,
    .handlers = handlers,
};

enum weir_status ycsb_native(struct weir_app *app)
{
    struct weir_verb *const used[] = { &receive };
    return native_add(app, &account, 1, used, 1);
}
