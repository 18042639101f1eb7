/*
 * fan.c - one transaction over --calls entities, in whatever form is asked: on --spread shards, with keys of --key-bytes, rows
 * of --value-bytes, --work in each handler. For curves of cost (bench/curves), not for comparisons with others.
 *
 * The first handler calls the others one after another, or with --together by weir.all; each adds one to its entity. Checked: each was added to as often
 * as it was answered, and its row is as long as it was made.
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>

#include "bench/workload.h"

#define CALLS_MAX 32u
static_assert(CALLS_MAX <= SHOT_CELLS_MAX, "the entities of a request are noted in its cells");

enum { OPEN, RUN, AUDIT };
static const struct verb verbs[] = {
    { "cell", "open" }, { "cell", "run" }, { "cell", "audit" }, { NULL, NULL }
};
static const char *const kinds[] = { "run", NULL };
static const struct bench_param param_calls = { "calls", "N",
                                                "handlers in a transaction, 1 to 32 (2)" };
static const struct bench_param param_spread = {
    "spread", "N", "shards that each transaction is on (as the keys fall)"
};
static const struct bench_param param_key_bytes = { "key-bytes", "N", "of each key (9)" };
static const struct bench_param param_value_bytes = {
    "value-bytes", "N", "of a text in each row that nobody changes (0)"
};
static const struct bench_param param_work = {
    "work", "N", "multiplications in each handler, one after another (0)"
};
static const struct bench_param param_together = {
    "together", "0|1", "calls by weir.all, which may be under way at the same time (0)"
};
static const struct bench_param *const params[] = { &param_keys,        &param_calls,
                                                    &param_spread,      &param_key_bytes,
                                                    &param_value_bytes, &param_work,
                                                    &param_together,    NULL };

struct fan {
    uint64_t keys, calls, spread, key_bytes, value_bytes, work, together;
    uint32_t *changes; /* of each entity, answered */
    uint32_t shards;
    uint8_t *shard;     /* of each entity; only with --spread */
    uint32_t *of_shard; /* the entities of shard s: places first[s] to below first[s + 1] */
    uint64_t *first;
    uint64_t wrong, first_wrong;
    int64_t first_found[2];
};

static void fan_destroy(void *ptr)
{
    struct fan *self = ptr;
    mem_free(self->changes);
    mem_free(self->shard);
    mem_free(self->of_shard);
    mem_free(self->first);
    mem_free(self);
}

/* "c", then the number in as many digits as there is room for. */
static void key_write(const struct fan *self, uint64_t n, char *out)
{
    for (uint64_t i = self->key_bytes; --i > 0; n /= 10) out[i] = (char)('0' + n % 10);
    out[0] = 'c';
}

static bool settings_fit(const struct fan *self, struct workload_setup *setup)
{
    uint64_t numbers = 1;
    for (uint64_t i = 1; i < self->key_bytes && numbers < self->keys; i++) numbers *= 10;
    if (numbers < self->keys)
        snprintf(setup->why, sizeof(setup->why), "--key-bytes %llu: too few for %llu keys",
                 (unsigned long long)self->key_bytes, (unsigned long long)self->keys);
    else if ((self->calls - 1) * self->key_bytes > SHOT_TEXT_BYTES_MAX)
        snprintf(setup->why, sizeof(setup->why),
                 "--calls %llu: keys of %llu bytes each are more than %u",
                 (unsigned long long)self->calls, (unsigned long long)self->key_bytes,
                 SHOT_TEXT_BYTES_MAX);
    else if (self->keys < self->calls)
        snprintf(setup->why, sizeof(setup->why), "--calls %llu: wants as many --keys",
                 (unsigned long long)self->calls);
    else if (self->spread > self->calls || self->spread > setup->shards)
        snprintf(setup->why, sizeof(setup->why),
                 "--spread %llu: wants as many --calls and --shards",
                 (unsigned long long)self->spread);
    return setup->why[0] == 0;
}

/* Which entities each shard has. False: one has too few. */
static bool shards_note(struct fan *self, struct workload_setup *setup)
{
    char key[SHOT_KEY_BYTES_MAX];
    self->shards = setup->shards;
    self->shard = mem_alloc(self->keys);
    self->of_shard = mem_alloc(self->keys * sizeof(*self->of_shard));
    self->first = mem_alloc((self->shards + 1) * sizeof(*self->first));
    for (uint64_t k = 0; k < self->keys; k++) {
        key_write(self, k, key);
        self->shard[k] = (uint8_t)key_shard((struct weir_str){ key, self->key_bytes },
                                            self->shards);
        self->first[self->shard[k] + 1]++;
    }
    for (uint32_t s = 0; s < self->shards; s++) {
        if (self->first[s + 1] < self->calls) {
            snprintf(setup->why, sizeof(setup->why),
                     "--spread: more --keys are wanted: shard %u has %llu", s,
                     (unsigned long long)self->first[s + 1]);
            return false;
        }
        self->first[s + 1] += self->first[s];
    }
    uint64_t *next = mem_alloc(self->shards * sizeof(*next));
    for (uint32_t s = 0; s < self->shards; s++) next[s] = self->first[s];
    for (uint64_t k = 0; k < self->keys; k++) self->of_shard[next[self->shard[k]]++] = (uint32_t)k;
    mem_free(next);
    return true;
}

static void *fan_create(struct workload_setup *setup)
{
    struct fan *self = mem_alloc(sizeof(*self));
    if (setting_number(setup, "keys", 10000, 1, 100000000, &self->keys) &&
        setting_number(setup, "calls", 2, 1, CALLS_MAX, &self->calls) &&
        setting_number(setup, "spread", 0, 1, 64, &self->spread) &&
        setting_number(setup, "key-bytes", 9, 2, SHOT_KEY_BYTES_MAX - 1, &self->key_bytes) &&
        setting_number(setup, "value-bytes", 0, 0, 32768, &self->value_bytes) &&
        setting_number(setup, "work", 0, 0, 1000000, &self->work) &&
        setting_number(setup, "together", 0, 0, 1, &self->together) && settings_fit(self, setup) &&
        (self->spread == 0 || shards_note(self, setup))) {
        self->changes = mem_alloc(self->keys * sizeof(*self->changes));
        return self;
    }
    fan_destroy(self);
    return NULL;
}

static uint64_t fan_count(void *ptr)
{
    return ((struct fan *)ptr)->keys;
}

static void begin(const struct fan *self, uint32_t verb, uint64_t place, struct shot *shot)
{
    shot_begin(shot, verb, 0);
    key_write(self, place, shot->key);
    shot->key_len = (uint32_t)self->key_bytes;
}

static void fan_load(void *ptr, uint64_t place, struct shot *shot)
{
    struct fan *self = ptr;
    begin(self, OPEN, place, shot);
    shot_int(shot, (int64_t)self->value_bytes);
}

/* Another than those before it, on the shard that is `i` further on around the spread. */
static uint64_t other_draw(const struct fan *self, struct random *random, const struct shot *shot,
                           uint64_t i)
{
    uint64_t n, k;
    do {
        if (self->spread == 0) {
            n = random_below(random, self->keys);
        } else {
            uint64_t s = (self->shard[shot->cell[0]] + i % self->spread) % self->shards;
            n = self->of_shard[self->first[s] +
                               random_below(random, self->first[s + 1] - self->first[s])];
        }
        for (k = 0; k < i && (uint64_t)shot->cell[k] != n; k++) continue;
    } while (k < i);
    return n;
}

static void fan_next(void *ptr, struct random *random, struct shot *shot)
{
    struct fan *self = ptr;
    char others[SHOT_TEXT_BYTES_MAX];
    shot->cell[0] = (int64_t)random_below(random, self->keys);
    for (uint64_t i = 1; i < self->calls; i++) {
        uint64_t n = other_draw(self, random, shot, i);
        shot->cell[i] = (int64_t)n;
        key_write(self, n, others + (i - 1) * self->key_bytes);
    }
    begin(self, RUN, (uint64_t)shot->cell[0], shot);
    shot_text(shot, (struct weir_str){ others, (self->calls - 1) * self->key_bytes });
    shot_int(shot, (int64_t)self->key_bytes);
    shot_int(shot, (int64_t)self->work);
    shot_int(shot, (int64_t)self->together);
}

static enum outcome fan_judge(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct fan *self = ptr;
    if (answer->kind != ANSWER_NUMBER || answer->number < 1) return answer_outcome(answer, NULL);
    for (uint64_t i = 0; i < self->calls; i++) self->changes[shot->cell[i]]++;
    return OUTCOME_DONE;
}

static void fan_verify(void *ptr, uint64_t place, struct shot *shot)
{
    struct fan *self = ptr;
    if (place == 0) self->wrong = 0;
    begin(self, AUDIT, place, shot);
    shot->note[0] = (int64_t)place;
}

static void fan_verified(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct fan *self = ptr;
    bool numbers = answer->kind == ANSWER_NUMBERS && answer->count == 2;
    int64_t n = numbers ? answer->numbers[0] : -1, bytes = numbers ? answer->numbers[1] : -1;
    if (n == self->changes[shot->note[0]] && bytes == (int64_t)self->value_bytes) return;
    if (self->wrong++ > 0) return;
    self->first_wrong = (uint64_t)shot->note[0];
    self->first_found[0] = n;
    self->first_found[1] = bytes;
}

static bool fan_conclude(void *ptr, struct buf *what)
{
    struct fan *self = ptr;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < self->keys; i++) sum += self->changes[i];
    if (self->wrong > 0) {
        buf_printf(what,
                   "%llu entities are wrong, first number %llu: added to %lld times, not %u, with "
                   "%lld bytes, not %llu",
                   (unsigned long long)self->wrong, (unsigned long long)self->first_wrong,
                   (long long)self->first_found[0], self->changes[self->first_wrong],
                   (long long)self->first_found[1], (unsigned long long)self->value_bytes);
        return false;
    }
    buf_printf(what, "%llu entities were added to %llu times, as answered",
               (unsigned long long)self->keys, (unsigned long long)sum);
    return true;
}

extern const char fan_lua[];
const struct workload workload_fan = {
    .name = "fan",
    .about = "one transaction over as many entities as asked: what calls, keys, rows, shards cost",
    .params = params,
    .verbs = verbs,
    .kinds = kinds,
    .lua = fan_lua,
    .native = fan_native,
    .create = fan_create,
    .destroy = fan_destroy,
    .load_count = fan_count,
    .load = fan_load,
    .next = fan_next,
    .judge = fan_judge,
    .verify_count = fan_count,
    .verify = fan_verify,
    .verified = fan_verified,
    .conclude = fan_conclude,
};
