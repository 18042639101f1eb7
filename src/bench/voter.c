/*
 * voter.c - Voter: a call from a phone, drawn at random, votes for one of six contestants (VoltDB's example application).
 *
 * As there: half of the calls are for the favourite of their area, half for anybody, 1 % for nobody there is; 2 votes a phone.
 * Areas and their states are numbers here, 300 and 50; a phone is one of --keys. A call that is not counted is an answer, not
 * a failure.
 *
 * Checked: each contestant has in each area the votes that were answered so, and so has each phone that called.
 * SPDX-License-Identifier: MIT
 */
#include "bench/workload.h"

#define AREAS 300u
#define STATES 50u
#define CONTESTANTS 6u
#define VOTES_MAX 2
#define NOBODY 999

enum { VOTE, OPEN, AUDIT_AREA, AUDIT_PHONE };
static const struct verb verbs[] = { { "phone", "vote" },
                                     { "area", "open" },
                                     { "area", "audit" },
                                     { "phone", "audit" },
                                     { NULL, NULL } };
static const char *const kinds[] = { "vote", NULL };
static const struct bench_param *const params[] = { &param_keys, NULL };

struct voter {
    uint64_t keys, numbers; /* numbers: of phones in an area */
    uint8_t *count;         /* of each phone, answered */
    uint64_t *called;       /* phones with votes */
    uint64_t called_count, called_room;
    uint64_t votes[AREAS][CONTESTANTS];
    uint64_t answers[3], wrong;
    char first[160];
};

static void voter_destroy(void *ptr)
{
    struct voter *self = ptr;
    mem_free(self->count);
    mem_free(self->called);
    mem_free(self);
}

static void *voter_create(struct workload_setup *setup)
{
    struct voter *self = mem_alloc(sizeof(*self));
    if (!setting_number(setup, "keys", 3000000, AREAS, 3000000000, &self->keys)) {
        voter_destroy(self);
        return NULL;
    }
    self->numbers = self->keys / AREAS;
    self->count = mem_alloc(self->numbers * AREAS);
    return self;
}

static uint64_t voter_load_count(void *ptr)
{
    return AREAS;
}

static void voter_load(void *ptr, uint64_t place, struct shot *shot)
{
    char state[8];
    int len = snprintf(state, sizeof(state), "S%u", (unsigned)(place % STATES));
    shot_begin(shot, OPEN, 0);
    shot_key(shot, "%llu", (unsigned long long)place);
    shot_text(shot, (struct weir_str){ state, (size_t)len });
    shot_int(shot, CONTESTANTS);
}

/* Most areas have one of their own; the rest like the first. */
static int64_t favourite(uint64_t area)
{
    return area % 10 < 7 ? (int64_t)(area * 7 % CONTESTANTS) + 1 : 1;
}

static void voter_next(void *ptr, struct random *random, struct shot *shot)
{
    struct voter *self = ptr;
    uint64_t area = random_below(random, AREAS), number = random_below(random, self->numbers);
    int64_t contestant = favourite(area);
    if (random_below(random, 100) == 0) contestant = NOBODY;
    else if (random_below(random, 2) == 0) contestant = random_between(random, 1, CONTESTANTS);
    shot_begin(shot, VOTE, VOTE);
    shot_key(shot, "%llu:%llu", (unsigned long long)area, (unsigned long long)number);
    shot_int(shot, contestant);
    shot_int(shot, VOTES_MAX);
    shot->note[0] = (int64_t)area;
    shot->note[1] = (int64_t)(area * self->numbers + number);
}

static void vote_note(struct voter *self, const struct shot *shot)
{
    uint64_t phone = (uint64_t)shot->note[1];
    self->votes[shot->note[0]][shot->arg[0].n - 1]++;
    if (self->count[phone]++ > 0) return;
    if (self->called_count == self->called_room) {
        self->called_room = self->called_room ? self->called_room * 2 : 1024;
        self->called = mem_realloc(self->called, self->called_room * sizeof(*self->called));
    }
    self->called[self->called_count++] = phone;
}

static enum outcome voter_judge(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct voter *self = ptr;
    if (answer->kind != ANSWER_NUMBER) return answer_outcome(answer, NULL);
    if (answer->number < 0 || answer->number > 2 ||
        (shot->arg[0].n == NOBODY) != (answer->number == 1))
        return OUTCOME_WRONG;
    self->answers[answer->number]++;
    if (answer->number == 0) vote_note(self, shot);
    return OUTCOME_DONE;
}

static uint64_t voter_verify_count(void *ptr)
{
    return AREAS + ((struct voter *)ptr)->called_count;
}

static void voter_verify(void *ptr, uint64_t place, struct shot *shot)
{
    struct voter *self = ptr;
    if (place == 0) self->wrong = 0;
    shot_begin(shot, place < AREAS ? AUDIT_AREA : AUDIT_PHONE, 0);
    if (place < AREAS) {
        shot_key(shot, "%llu", (unsigned long long)place);
        shot->note[0] = (int64_t)place;
        return;
    }
    uint64_t phone = self->called[place - AREAS], area = phone / self->numbers;
    shot_key(shot, "%llu:%llu", (unsigned long long)area,
             (unsigned long long)phone - area * self->numbers);
    shot->note[0] = (int64_t)phone;
}

static void wrong(struct voter *self, const struct shot *shot, int64_t found, uint64_t wanted)
{
    if (self->wrong++ > 0) return;
    snprintf(self->first, sizeof(self->first), "%s %.*s has %lld votes, not %llu",
             verbs[shot->verb].type, (int)shot->key_len, shot->key, (long long)found,
             (unsigned long long)wanted);
}

static void voter_verified(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct voter *self = ptr;
    uint64_t place = (uint64_t)shot->note[0];
    uint32_t wanted = shot->verb == AUDIT_AREA ? CONTESTANTS : 2;
    if (answer->kind != ANSWER_NUMBERS || answer->count != wanted) {
        wrong(self, shot, -1, 0);
        return;
    }
    for (uint32_t i = 0; i < wanted; i++) {
        uint64_t due = shot->verb == AUDIT_AREA ? self->votes[place][i] : self->count[place];
        if (answer->numbers[i] != (int64_t)due) wrong(self, shot, answer->numbers[i], due);
    }
}

static bool voter_conclude(void *ptr, struct buf *what)
{
    struct voter *self = ptr;
    if (self->wrong > 0) {
        buf_printf(what, "%llu are wrong, first %s", (unsigned long long)self->wrong, self->first);
        return false;
    }
    buf_printf(
        what,
        "%llu votes of %llu phones are counted by phone, area and contestant; %llu for nobody "
        "and %llu too many are not",
        (unsigned long long)self->answers[0], (unsigned long long)self->called_count,
        (unsigned long long)self->answers[1], (unsigned long long)self->answers[2]);
    return true;
}

extern const char voter_lua[];
const struct workload workload_voter = {
    .name = "voter",
    .about = "Voter: calls of phones, two votes each, for six contestants in 300 areas",
    .params = params,
    .verbs = verbs,
    .kinds = kinds,
    .lua = voter_lua,
    .create = voter_create,
    .destroy = voter_destroy,
    .load_count = voter_load_count,
    .load = voter_load,
    .next = voter_next,
    .judge = voter_judge,
    .verify_count = voter_verify_count,
    .verify = voter_verify,
    .verified = voter_verified,
    .conclude = voter_conclude,
};
