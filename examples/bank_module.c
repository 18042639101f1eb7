/*
 * bank_module.c - the bank of bank.lua in C, as a service that `weir run` loads.
 *
 *     gcc -std=gnu17 -shared -fPIC -Iinclude examples/bank_module.c -o bank.so
 *     build/weir run ./bank.so
 *     curl localhost:8080/account/ann/deposit -d '[100]'
 *
 * Money is whole cents.
 * SPDX-License-Identifier: MIT
 */
#include <weir/weir.h>

struct account {
    int64_t balance;
};
struct amount {
    int64_t amount;
};
struct transfer {
    struct weir_ref to;
    int64_t amount;
};

static const struct weir_field account_fields[] = {
    WEIR_FIELD(struct account, balance, WEIR_INT, .min = WEIR_BOUND(0)), WEIR_END
};
static const struct weir_field amount_fields[] = {
    WEIR_FIELD(struct amount, amount, WEIR_INT, .min = WEIR_BOUND(1)), WEIR_END
};
static const struct weir_field transfer_fields[] = {
    WEIR_FIELD(struct transfer, to, WEIR_REF, .type = "account"),
    WEIR_FIELD(struct transfer, amount, WEIR_INT, .min = WEIR_BOUND(1)), WEIR_END
};

#define AMOUNT WEIR_SHAPE(struct amount, amount_fields)
#define TRANSFER WEIR_SHAPE(struct transfer, transfer_fields)
#define BALANCE WEIR_SCALAR(WEIR_INT)

/* What a handler calls; weir_use() checks it once all is loaded. */
static struct weir_verb deposit = {
    .type = "account", .handler = "deposit", .args = AMOUNT, .result = BALANCE
};

static enum weir_status account_deposit(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    struct account *self = row;
    const struct amount *in = args;
    (void)ctx;
    self->balance += in->amount;
    *(int64_t *)result = self->balance;
    return WEIR_OK;
}

static enum weir_status account_withdraw(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result)
{
    struct account *self = row;
    const struct amount *in = args;
    (void)ctx;
    /* Below 0 breaks the field's `min`: nothing of the request happens. */
    self->balance -= in->amount;
    *(int64_t *)result = self->balance;
    return WEIR_OK;
}

static enum weir_status account_transfer(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result)
{
    struct account *self = row;
    const struct transfer *in = args;
    struct amount amount = { in->amount };
    self->balance -= in->amount;
    /* The same transaction, on whatever shard `to` lives; `to` may be this very account. */
    enum weir_status status = weir_call(ctx, in->to, &deposit, &amount, NULL);
    *(int64_t *)result = self->balance;
    return status;
}

static enum weir_status account_balance(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    const struct account *self = row;
    (void)ctx;
    (void)args;
    *(int64_t *)result = self->balance;
    return WEIR_OK;
}

static const struct weir_handler account_handlers[] = {
    { "deposit", WEIR_ON, account_deposit, AMOUNT, BALANCE, NULL },
    { "withdraw", WEIR_ON, account_withdraw, AMOUNT, BALANCE, NULL },
    { "transfer", WEIR_ON, account_transfer, TRANSFER, BALANCE, NULL },
    { "balance", WEIR_QUERY, account_balance, WEIR_NOTHING, BALANCE, NULL },
    WEIR_END
};

static const struct weir_entity account = {
    .name = "account",
    .row = WEIR_SHAPE(struct account, account_fields),
    .handlers = account_handlers,
};

enum weir_status weir_module(struct weir_app *app)
{
    enum weir_status status = weir_add_entity(app, &account);
    if (status != WEIR_OK) return status;
    return weir_use(app, &deposit);
}
