/*
 * ycsb.c - YCSB-T: transfers of one unit between accounts; with --mix m also reads, and updates that add one;
 * with --mix read or update nothing but these.
 *
 * After K. Psarakis et al., "Styx: Transactional Stateful Functions on Streaming Dataflows" (their client: a uniform, b by
 * zipf, b != a, amount 1), and A. Dey et al., "YCSB+T", ICDEW 2014. Checked: each account holds what it began with, less
 * what it sent, plus what it got; so no money was made or lost.
 * SPDX-License-Identifier: MIT
 */
#include <stdatomic.h>

#include "bench/draw.h"

enum { OPEN, TRANSFER, BALANCE, RECEIVE };
static const struct verb verbs[] = { { "account", "open" },
                                     { "account", "transfer" },
                                     { "account", "balance" },
                                     { "account", "receive" },
                                     { NULL, NULL } };
enum { KIND_TRANSFER, KIND_READ, KIND_UPDATE };
static const char *const kinds[] = { "transfer", "read", "update", NULL };
static const char *const mixes[] = { "transfer", "m", "update", "read", "a",
                                     "b",        "c", "e",      "f",    NULL };
enum { MIX_TRANSFER, MIX_M, MIX_UPDATE, MIX_READ };
#define MIX_ROWS 4u /* from here on those of ycsb_rows.c */
static const struct bench_param *const params[] = {
    &param_keys, &param_zipf, &param_cross, &param_initial, &param_mix, &param_hot, NULL
};

struct ycsb {
    uint64_t keys, initial;
    uint32_t mix;
    _Atomic int64_t updates; /* that were done: each adds one */
    struct draw draw;
    _Atomic int32_t *change; /* of each balance, by the transfers that were done */
    uint64_t wrong, first_wrong;
    int64_t first_found, sum;
};

static void ycsb_destroy(void *ptr)
{
    struct ycsb *self = ptr;
    draw_deinit(&self->draw);
    mem_free(self->change);
    mem_free(self);
}

static void *ycsb_create(struct workload_setup *setup)
{
    struct ycsb *self = mem_alloc(sizeof(*self));
    if (setting_number(setup, "keys", 10000, 2, 100000000, &self->keys) &&
        setting_number(setup, "initial", 1000000, 0, 1000000000, &self->initial) &&
        setting_word(setup, "mix", mixes, &self->mix) &&
        draw_init(&self->draw, setup, 'u', self->keys, 0)) {
        self->change = mem_alloc(self->keys * sizeof(*self->change));
        return self;
    }
    ycsb_destroy(self);
    return NULL;
}

static uint64_t ycsb_count(void *ptr)
{
    return ((struct ycsb *)ptr)->keys;
}

static void ycsb_load(void *ptr, uint64_t place, struct shot *shot)
{
    struct ycsb *self = ptr;
    shot_begin(shot, OPEN, 0);
    shot_key_number(shot, 'u', place);
    shot_int(shot, (int64_t)self->initial);
}

static uint32_t kind_draw(const struct ycsb *self, struct random *random)
{
    if (self->mix != MIX_M)
        return self->mix == MIX_READ     ? KIND_READ
               : self->mix == MIX_UPDATE ? KIND_UPDATE
                                         : KIND_TRANSFER;
    uint64_t n = random_below(random, 100);
    return n < 10 ? KIND_TRANSFER : n < 55 ? KIND_READ : KIND_UPDATE;
}

static void ycsb_next(void *ptr, struct random *random, struct shot *shot)
{
    struct ycsb *self = ptr;
    uint64_t a, b;
    uint32_t kind = kind_draw(self, random);
    draw_two(&self->draw, random, &a, &b);
    if (kind != KIND_TRANSFER) {
        if (kind == KIND_READ) shot_begin(shot, BALANCE, KIND_READ);
        else shot_begin(shot, RECEIVE, KIND_UPDATE);
        shot_key_number(shot, 'u', b);
        shot->note[0] = (int64_t)b;
        return;
    }
    shot_begin(shot, TRANSFER, KIND_TRANSFER);
    shot_key_number(shot, 'u', a);
    shot_text_number(shot, 'u', b);
    shot->note[0] = (int64_t)a;
    shot->note[1] = (int64_t)b;
}

static void change_add(struct ycsb *self, int64_t account, int32_t n)
{
    atomic_fetch_add_explicit(&self->change[account], n, memory_order_relaxed);
}

static enum outcome ycsb_judge(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct ycsb *self = ptr;
    if (shot->kind == KIND_UPDATE && answer->kind == ANSWER_NIL) {
        change_add(self, shot->note[0], 1);
        atomic_fetch_add_explicit(&self->updates, 1, memory_order_relaxed);
        return OUTCOME_DONE;
    }
    if (shot->kind == KIND_READ && answer->kind == ANSWER_NUMBER) return OUTCOME_DONE;
    if (shot->kind == KIND_TRANSFER && answer->kind == ANSWER_NUMBER && answer->number >= 0) {
        change_add(self, shot->note[0], -1);
        change_add(self, shot->note[1], 1);
        return OUTCOME_DONE;
    }
    return answer_outcome(answer, shot->kind == KIND_TRANSFER ? "check" : NULL);
}

static void ycsb_verify(void *ptr, uint64_t place, struct shot *shot)
{
    struct ycsb *self = ptr;
    if (place == 0) self->sum = (int64_t)(self->wrong = 0);
    shot_begin(shot, BALANCE, 0);
    shot_key_number(shot, 'u', place);
    shot->note[0] = (int64_t)place;
}

static void ycsb_verified(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct ycsb *self = ptr;
    int64_t found = answer->kind == ANSWER_NUMBER ? answer->number : -1;
    self->sum += found;
    if (found == (int64_t)self->initial + self->change[shot->note[0]]) return;
    if (self->wrong++ > 0) return;
    self->first_wrong = (uint64_t)shot->note[0];
    self->first_found = found;
}

static bool ycsb_conclude(void *ptr, struct buf *what)
{
    struct ycsb *self = ptr;
    int64_t total = (int64_t)(self->initial * self->keys) + self->updates;
    if (self->wrong > 0 || self->sum != total) {
        buf_printf(
            what,
            "the accounts hold %lld, not %lld; %llu of them are wrong, first u%llu: %lld, not "
            "%lld",
            (long long)self->sum, (long long)total, (unsigned long long)self->wrong,
            (unsigned long long)self->first_wrong, (long long)self->first_found,
            (long long)self->initial + self->change[self->first_wrong]);
        return false;
    }
    buf_printf(what, "%llu accounts hold what they sent and got, together %lld",
               (unsigned long long)self->keys, (long long)self->sum);
    return true;
}

static const struct workload *ycsb_choose(struct workload_setup *setup)
{
    uint32_t mix;
    if (!setting_word(setup, "mix", mixes, &mix)) return NULL;
    return mix < MIX_ROWS ? &workload_ycsb : &workload_ycsb_rows;
}

extern const char ycsb_lua[];
const struct workload workload_ycsb = {
    .name = "ycsb",
    .about = "YCSB-T: transfers between two of N accounts; --mix transfer, read, update, m (45 % "
             "reads, 45 %\n               "
             "updates, 10 % transfers), or YCSB's a, b, c, e, f on records of ten fields",
    .choose = ycsb_choose,
    .params = params,
    .verbs = verbs,
    .kinds = kinds,
    .lua = ycsb_lua,
    .parallel = true,
    .native = ycsb_native,
    .create = ycsb_create,
    .destroy = ycsb_destroy,
    .load_count = ycsb_count,
    .load = ycsb_load,
    .next = ycsb_next,
    .judge = ycsb_judge,
    .verify_count = ycsb_count,
    .verify = ycsb_verify,
    .verified = ycsb_verified,
    .conclude = ycsb_conclude,
};
