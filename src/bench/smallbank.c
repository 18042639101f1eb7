/*
 * smallbank.c - SmallBank: six short transactions on the savings and checking accounts of customers.
 *
 * M. Alomari et al., "The Cost of Serializability on Platforms That Use Snapshot Isolation", ICDE 2008; weights, amounts and
 * SendPayment as in BenchBase, whose Amalgamate loses money and is not copied. `--mix snapper`: only transfers from one
 * customer to three others (Y. Liu et al., "Hybrid Deterministic and Nondeterministic Execution of Transactions in Actor
 * Systems", SIGMOD 2022).
 *
 * Checked: what each customer has, savings and checking together, is what the answers add up to: initial, plus deposits
 * and what others sent, less checks with their penalties, withdrawals and what was sent. Checks and Amalgamate answer how much it was.
 * SPDX-License-Identifier: MIT
 */
#include "bench/draw.h"

enum {
    AMALGAMATE,
    BALANCE,
    DEPOSIT_CHECKING,
    SEND_PAYMENT,
    TRANSACT_SAVINGS,
    WRITE_CHECK,
    MULTI_TRANSFER,
    OPEN
};
static const struct verb verbs[] = {
    { "account", "amalgamate" },
    { "account", "balance" },
    { "account", "deposit_checking" },
    { "account", "send_payment" },
    { "account", "transact_savings" },
    { "account", "write_check" },
    { "account", "multi_transfer" },
    { "account", "open" },
    { NULL, NULL },
};
static const char *const kinds[] = { "amalgamate",       "balance",
                                     "deposit_checking", "send_payment",
                                     "transact_savings", "write_check",
                                     "multi_transfer",   NULL };
static const uint32_t weights[] = { 15, 15, 15, 25, 15, 15 }; /* of 100 */
static const char *const mixes[] = { "standard", "snapper", NULL };
static const struct bench_param *const params[] = { &param_keys,    &param_zipf, &param_cross,
                                                    &param_initial, &param_mix,  NULL };

/* Cents. */
#define DEPOSIT 130
#define PAYMENT 500
#define WITHDRAWAL 2020
#define CHECK 500
#define TRANSFER 1
#define INITIAL_MIN 1000000
#define INITIAL_MAX 5000000

struct smallbank {
    uint64_t keys, initial; /* initial 0: drawn from a bell between INITIAL_MIN and _MAX */
    uint32_t mix;
    struct draw draw;
    int64_t *expected; /* of each customer */
    uint64_t wrong, first_wrong;
    int64_t first_found, sum, expected_sum;
};

static void smallbank_destroy(void *ptr)
{
    struct smallbank *self = ptr;
    draw_deinit(&self->draw);
    mem_free(self->expected);
    mem_free(self);
}

static void *smallbank_create(struct workload_setup *setup)
{
    struct smallbank *self = mem_alloc(sizeof(*self));
    if (setting_number(setup, "keys", 18000, 4, 100000000, &self->keys) &&
        setting_number(setup, "initial", 0, 0, 1000000000, &self->initial) &&
        setting_word(setup, "mix", mixes, &self->mix) &&
        draw_init(&self->draw, setup, 'c', self->keys, 0)) {
        self->expected = mem_alloc(self->keys * sizeof(*self->expected));
        return self;
    }
    smallbank_destroy(self);
    return NULL;
}

static uint64_t smallbank_count(void *ptr)
{
    return ((struct smallbank *)ptr)->keys;
}

/* The mean of four draws: near enough to BenchBase's Gaussian, and never out of range. */
static int64_t balance_draw(const struct smallbank *self, struct random *random)
{
    int64_t sum = 0;
    if (self->initial > 0) return (int64_t)self->initial;
    for (int i = 0; i < 4; i++) sum += random_between(random, INITIAL_MIN, INITIAL_MAX);
    return sum / 4;
}

static void smallbank_load(void *ptr, uint64_t place, struct shot *shot)
{
    struct smallbank *self = ptr;
    struct random random = { place };
    int64_t saved = balance_draw(self, &random), held = balance_draw(self, &random);
    self->expected[place] = saved + held;
    shot_begin(shot, OPEN, 0);
    shot_key_number(shot, 'c', place);
    shot_text_number(shot, 'N', place);
    shot_int(shot, saved);
    shot_int(shot, held);
}

static uint32_t kind_draw(const struct smallbank *self, struct random *random)
{
    uint64_t n = random_below(random, 100);
    uint32_t kind = 0;
    if (self->mix == 1) return MULTI_TRANSFER;
    while (n >= weights[kind]) n -= weights[kind++];
    return kind;
}

static void multi_transfer(const struct smallbank *self, struct random *random, struct shot *shot,
                           uint64_t first)
{
    uint64_t other[3] = { first };
    for (uint32_t i = 0; i < 3; i++) {
        bool again;
        do {
            if (i > 0) other[i] = draw_one(&self->draw, random);
            again = i > 0 && other[i] == (uint64_t)shot->note[0];
            for (uint32_t j = 0; j < i; j++) again |= other[i] == other[j];
        } while (again);
        shot_text_number(shot, 'c', other[i]);
        shot->note[1 + i] = (int64_t)other[i];
    }
    shot_int(shot, TRANSFER);
}

static void smallbank_next(void *ptr, struct random *random, struct shot *shot)
{
    struct smallbank *self = ptr;
    uint64_t a, b = 0;
    uint32_t kind = kind_draw(self, random);
    if (kind == AMALGAMATE || kind == SEND_PAYMENT || kind == MULTI_TRANSFER)
        draw_two(&self->draw, random, &a, &b);
    else a = draw_one(&self->draw, random);
    shot_begin(shot, kind, kind);
    shot_key_number(shot, 'c', a);
    shot->note[0] = (int64_t)a;
    shot->note[1] = (int64_t)b;
    switch (kind) {
    case AMALGAMATE: shot_text_number(shot, 'c', b); break;
    case DEPOSIT_CHECKING: shot_int(shot, DEPOSIT); break;
    case SEND_PAYMENT:
        shot_text_number(shot, 'c', b);
        shot_int(shot, PAYMENT);
        break;
    case TRANSACT_SAVINGS: shot_int(shot, -WITHDRAWAL); break;
    case WRITE_CHECK: shot_int(shot, CHECK); break;
    case MULTI_TRANSFER: multi_transfer(self, random, shot, b); break;
    default: break;
    }
}

static void move(struct smallbank *self, int64_t from, int64_t to, int64_t amount)
{
    self->expected[from] -= amount;
    self->expected[to] += amount;
}

static enum outcome smallbank_judge(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct smallbank *self = ptr;
    const int64_t *n = shot->note;
    bool numbered = shot->kind == AMALGAMATE || shot->kind == BALANCE || shot->kind == WRITE_CHECK;
    if (answer_is_error(answer, "insufficient")) return OUTCOME_REFUSED;
    if (answer->kind != (numbered ? ANSWER_NUMBER : ANSWER_NIL))
        return answer_outcome(answer, shot->kind == TRANSACT_SAVINGS ? "check" : NULL);
    switch (shot->kind) {
    case AMALGAMATE: move(self, n[0], n[1], answer->number); break;
    case DEPOSIT_CHECKING: self->expected[n[0]] += DEPOSIT; break;
    case SEND_PAYMENT: move(self, n[0], n[1], PAYMENT); break;
    case TRANSACT_SAVINGS: self->expected[n[0]] -= WITHDRAWAL; break;
    case WRITE_CHECK:
        if (answer->number != CHECK && answer->number != CHECK + 100) return OUTCOME_WRONG;
        self->expected[n[0]] -= answer->number;
        break;
    case MULTI_TRANSFER:
        for (uint32_t i = 1; i <= 3; i++) move(self, n[0], n[i], TRANSFER);
        break;
    default: break;
    }
    return OUTCOME_DONE;
}

static void smallbank_verify(void *ptr, uint64_t place, struct shot *shot)
{
    struct smallbank *self = ptr;
    if (place == 0) {
        self->sum = self->expected_sum = 0;
        self->wrong = 0;
    }
    shot_begin(shot, BALANCE, 0);
    shot_key_number(shot, 'c', place);
    shot->note[0] = (int64_t)place;
}

static void smallbank_verified(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct smallbank *self = ptr;
    int64_t found = answer->kind == ANSWER_NUMBER ? answer->number : INT64_MIN / 2;
    self->sum += found;
    self->expected_sum += self->expected[shot->note[0]];
    if (found == self->expected[shot->note[0]]) return;
    if (self->wrong++ > 0) return;
    self->first_wrong = (uint64_t)shot->note[0];
    self->first_found = found;
}

static bool smallbank_conclude(void *ptr, struct buf *what)
{
    struct smallbank *self = ptr;
    if (self->wrong > 0) {
        buf_printf(what,
                   "the customers have %lld, not %lld; %llu of them are wrong, first c%llu: %lld, "
                   "not %lld",
                   (long long)self->sum, (long long)self->expected_sum,
                   (unsigned long long)self->wrong, (unsigned long long)self->first_wrong,
                   (long long)self->first_found, (long long)self->expected[self->first_wrong]);
        return false;
    }
    buf_printf(what, "%llu customers have what the answers add up to, together %lld",
               (unsigned long long)self->keys, (long long)self->sum);
    return true;
}

extern const char smallbank_lua[];
const struct workload workload_smallbank = {
    .name = "smallbank",
    .about = "SmallBank: six transactions on savings and checking; --mix standard or snapper",
    .params = params,
    .verbs = verbs,
    .kinds = kinds,
    .lua = smallbank_lua,
    .native = smallbank_native,
    .create = smallbank_create,
    .destroy = smallbank_destroy,
    .load_count = smallbank_count,
    .load = smallbank_load,
    .next = smallbank_next,
    .judge = smallbank_judge,
    .verify_count = smallbank_count,
    .verify = smallbank_verify,
    .verified = smallbank_verified,
    .conclude = smallbank_conclude,
};
