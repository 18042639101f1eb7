/*
 * hot.c - every request pays one unit into one account: the busiest entity there can be, with --cross 100 always on another
 * shard than the payer's.
 *
 * --last no compares: there the payer's shard decides, and the account is held until it has heard so. Checked: each
 * payer has what it began with less what it paid, and the one account all of that.
 * SPDX-License-Identifier: MIT
 */
#include "bench/workload.h"

enum { OPEN, PAY_LAST, PAY, BALANCE };
static const struct verb verbs[] = { { "account", "open" },
                                     { "account", "pay_last" },
                                     { "account", "pay" },
                                     { "account", "balance" },
                                     { NULL, NULL } };
static const char *const kinds[] = { "pay", NULL };
static const char *const lasts[] = { "yes", "no", NULL };
static const struct bench_param param_last = {
    "last", "WORD", "does the call end the request, so that its shard decides? yes or no"
};
static const struct bench_param *const params[] = { &param_keys, &param_cross, &param_initial,
                                                    &param_last, NULL };

#define PAYER 'p'
#define HOT "hot"

struct hot {
    uint64_t keys, initial;
    uint32_t last;
    double cross; /* share of payers on another shard; below 0: any */
    uint64_t *near, *far;
    uint64_t near_count, far_count;
    uint32_t *paid; /* by payer */
    uint64_t sum, wrong;
    char first[120];
};

static void hot_destroy(void *ptr)
{
    struct hot *self = ptr;
    mem_free(self->near);
    mem_free(self->far);
    mem_free(self->paid);
    mem_free(self);
}

static bool payers_part(struct hot *self, struct workload_setup *setup)
{
    struct shot shot;
    uint32_t home = key_shard(str_of(HOT), setup->shards);
    self->near = mem_alloc(self->keys * sizeof(*self->near));
    self->far = mem_alloc(self->keys * sizeof(*self->far));
    for (uint64_t k = 0; k < self->keys; k++) {
        shot_key_number(&shot, PAYER, k);
        bool far = key_shard((struct weir_str){ shot.key, shot.key_len }, setup->shards) != home;
        if (far) self->far[self->far_count++] = k;
        else self->near[self->near_count++] = k;
    }
    if ((self->far_count > 0 || self->cross <= 0) && (self->near_count > 0 || self->cross >= 1))
        return true;
    snprintf(setup->why, sizeof(setup->why),
             "--cross wants payers here and there: see --shards and --keys");
    return false;
}

static void *hot_create(struct workload_setup *setup)
{
    struct hot *self = mem_alloc(sizeof(*self));
    double percent = 0;
    if (setting_number(setup, "keys", 10000, 1, 100000000, &self->keys) &&
        setting_number(setup, "initial", 1000000, 0, 1000000000, &self->initial) &&
        setting_word(setup, "last", lasts, &self->last) &&
        setting_share(setup, "cross", 0, 100, &percent)) {
        self->cross = setting_text(setup, "cross") ? percent / 100 : -1;
        self->paid = mem_alloc(self->keys * sizeof(*self->paid));
        if (self->cross < 0 || payers_part(self, setup)) return self;
    }
    hot_destroy(self);
    return NULL;
}

static uint64_t hot_count(void *ptr)
{
    return ((struct hot *)ptr)->keys + 1;
}

/* The last place is the one account. */
static void place_key(const struct hot *self, uint64_t place, struct shot *shot)
{
    if (place == self->keys) shot_key(shot, HOT);
    else shot_key_number(shot, PAYER, place);
}

static void hot_load(void *ptr, uint64_t place, struct shot *shot)
{
    const struct hot *self = ptr;
    shot_begin(shot, OPEN, 0);
    place_key(self, place, shot);
    shot_int(shot, place == self->keys ? 0 : (int64_t)self->initial);
}

static void hot_next(void *ptr, struct random *random, struct shot *shot)
{
    const struct hot *self = ptr;
    uint64_t payer = random_below(random, self->keys);
    if (self->cross >= 0) {
        bool far = random_share(random) < self->cross;
        payer = far ? self->far[random_below(random, self->far_count)]
                    : self->near[random_below(random, self->near_count)];
    }
    shot_begin(shot, self->last == 0 ? PAY_LAST : PAY, 0);
    shot_key_number(shot, PAYER, payer);
    shot_text(shot, str_of(HOT));
    shot_int(shot, 1);
    shot->note[0] = (int64_t)payer;
}

static enum outcome hot_judge(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct hot *self = ptr;
    if (answer->kind != ANSWER_NUMBER || answer->number < 1) return answer_outcome(answer, "check");
    self->paid[shot->note[0]]++;
    self->sum++;
    return OUTCOME_DONE;
}

static void hot_verify(void *ptr, uint64_t place, struct shot *shot)
{
    struct hot *self = ptr;
    if (place == 0) self->wrong = 0;
    shot_begin(shot, BALANCE, 0);
    place_key(self, place, shot);
    shot->note[0] = (int64_t)place;
}

static void hot_verified(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct hot *self = ptr;
    uint64_t place = (uint64_t)shot->note[0];
    int64_t found = answer->kind == ANSWER_NUMBER ? answer->number : -1;
    int64_t due = place == self->keys ? (int64_t)self->sum
                                      : (int64_t)self->initial - self->paid[place];
    if (found == due || self->wrong++ > 0) return;
    snprintf(self->first, sizeof(self->first), "%.*s: %lld, not %lld", (int)shot->key_len,
             shot->key, (long long)found, (long long)due);
}

static bool hot_conclude(void *ptr, struct buf *what)
{
    const struct hot *self = ptr;
    if (self->wrong > 0) {
        buf_printf(what, "%llu accounts are wrong, first %s", (unsigned long long)self->wrong,
                   self->first);
        return false;
    }
    buf_printf(what, "one account got all that %llu others paid, %llu",
               (unsigned long long)self->keys, (unsigned long long)self->sum);
    return true;
}

extern const char hot_lua[];
const struct workload workload_hot = {
    .name = "hot",
    .about = "Payments of N accounts, all to one",
    .params = params,
    .verbs = verbs,
    .kinds = kinds,
    .lua = hot_lua,
    .native = hot_native,
    .create = hot_create,
    .destroy = hot_destroy,
    .load_count = hot_count,
    .load = hot_load,
    .next = hot_next,
    .judge = hot_judge,
    .verify_count = hot_count,
    .verify = hot_verify,
    .verified = hot_verified,
    .conclude = hot_conclude,
};
