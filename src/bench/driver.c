/*
 * driver.c - see driver.h.
 *
 * Open loop: the schedule is drawn on its own, so a slow server moves nothing in it. A request that finds no room waits
 * unsent, its latency running. After the end what was due before is still sent and waited for, as long again as the
 * measurement was; what is unsent even then is counted at the age it has by then: a lower bound, and no knee is hidden.
 * SPDX-License-Identifier: MIT
 */
#include "bench/driver.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include "os/clock.h"

#define SECOND UINT64_C(1000000000)
#define SILENCE_MAX (60 * SECOND)

uint64_t mono_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static volatile sig_atomic_t interrupted;

void driver_interrupt(int signal)
{
    interrupted = signal;
}

struct cpu cpu_used(int who)
{
    struct rusage u;
    getrusage(who, &u);
    return (struct cpu){ (uint64_t)u.ru_utime.tv_sec * 1000000 + (uint64_t)u.ru_utime.tv_usec,
                         (uint64_t)u.ru_stime.tv_sec * 1000000 + (uint64_t)u.ru_stime.tv_usec };
}

void driver_fail(struct driver *d, const char *format, ...)
{
    va_list args;
    if (d->error[0]) return;
    va_start(args, format);
    vsnprintf(d->error, sizeof(d->error), format, args);
    va_end(args);
}

static void counts_reset(struct driver *d)
{
    d->again_count = 0;
    d->place = d->count = d->in_flight = d->completed = d->unsent = 0;
    d->began = d->ended = false;
    memset(&d->unsent_ns, 0, sizeof(d->unsent_ns));
    memset(d->kind, 0, sizeof(d->kind));
    memset(&d->lag, 0, sizeof(d->lag));
    memset(d->cause, 0, sizeof(d->cause));
    d->last_answer_ns = mono_ns();
}

void driver_deinit(struct driver *d)
{
    mem_free(d->again);
}

void driver_begin_all(struct driver *d, enum pass pass)
{
    counts_reset(d);
    d->pass = pass;
    d->rate = 0;
    d->count = pass == PASS_LOAD ? d->workload->load_count(d->self)
                                 : d->workload->verify_count(d->self);
}

void driver_begin_measure(struct driver *d, double warm_s, double seconds, double rate, bool steady,
                          uint64_t seed)
{
    counts_reset(d);
    d->pass = PASS_MEASURE;
    d->rate = rate;
    d->steady = steady;
    d->random.state = seed;
    d->arrival.state = ~seed;
    d->warm_ns = mono_ns();
    d->due_ns = (double)d->warm_ns;
    d->begin_ns = d->warm_ns + (uint64_t)(warm_s * (double)SECOND);
    d->end_ns = d->begin_ns + (uint64_t)(seconds * (double)SECOND);
    d->give_up_ns = d->end_ns + (uint64_t)(seconds * (double)SECOND);
}

void driver_begin_measure_count(struct driver *d, uint64_t requests, double rate, bool steady,
                                uint64_t seed)
{
    driver_begin_measure(d, 0, 0, rate, steady, seed);
    d->count = requests;
    d->end_ns = d->give_up_ns = DRIVER_NEVER;
}

/* All requests of a counted pass were taken. */
static bool all_taken(const struct driver *d)
{
    return d->count > 0 && d->place == d->count;
}

/* ---- taking ---- */

/* The moment that the next request is due at, and on to the one after it. */
static uint64_t due_take(struct driver *d)
{
    uint64_t due = (uint64_t)d->due_ns;
    double gap = d->steady ? 1.0 : -log(1.0 - random_share(&d->arrival));
    d->due_ns += gap * (double)SECOND / d->rate;
    return due;
}

static bool take_due(struct driver *d, uint64_t now, struct shot *shot)
{
    if (all_taken(d)) return false;
    if (d->rate == 0) {
        if (now >= d->end_ns) return false;
        shot->due_ns = now;
        return true;
    }
    if (d->due_ns > (double)now || d->due_ns >= (double)d->end_ns || now >= d->give_up_ns)
        return false;
    shot->due_ns = due_take(d);
    if (shot->due_ns >= d->begin_ns) histogram_add(&d->lag, now - shot->due_ns);
    return true;
}

bool driver_take(struct driver *d, uint64_t now, struct shot *shot)
{
    if (d->error[0]) return false;
    if (d->pass == PASS_MEASURE) {
        if (!take_due(d, now, shot)) return false;
        d->place++;
        d->workload->next(d->self, &d->random, shot);
    } else if (d->again_count > 0) {
        struct shot *next = shot->next;
        *shot = d->again[--d->again_count];
        shot->next = next;
        shot->due_ns = now;
    } else {
        if (d->place == d->count) return false;
        shot->due_ns = now;
        if (d->pass == PASS_LOAD) d->workload->load(d->self, d->place++, shot);
        else d->workload->verify(d->self, d->place++, shot);
    }
    d->in_flight++;
    return true;
}

uint64_t driver_next_due(const struct driver *d)
{
    if (d->error[0]) return DRIVER_NEVER;
    if (d->pass != PASS_MEASURE)
        return d->place < d->count || d->again_count > 0 ? 0 : DRIVER_NEVER;
    if (all_taken(d)) return DRIVER_NEVER;
    if (d->rate == 0) return mono_ns() < d->end_ns ? 0 : DRIVER_NEVER;
    return d->due_ns < (double)d->end_ns ? (uint64_t)d->due_ns : DRIVER_NEVER;
}

bool driver_done(const struct driver *d)
{
    if (d->error[0]) return true;
    if (d->in_flight > 0) return false;
    if (d->pass != PASS_MEASURE) return d->place == d->count && d->again_count == 0;
    return d->ended && (d->rate == 0 || d->count > 0 || d->due_ns >= (double)d->end_ns);
}

/* ---- answers ---- */

static void cause_count(struct driver *d, const char *word, uint64_t count)
{
    for (uint32_t i = 0; i < CAUSES_MAX; i++) {
        struct cause *cause = &d->cause[i];
        if (cause->count == 0) snprintf(cause->word, sizeof(cause->word), "%s", word);
        else if (strcmp(cause->word, word) != 0) continue;
        cause->count += count;
        return;
    }
}

static void cause_add(struct driver *d, const struct answer *answer)
{
    char lower[sizeof(d->cause[0].word)];
    struct weir_str word = answer->kind == ANSWER_ERROR ? answer->word : STR("answer");
    size_t len = word.len < sizeof(lower) ? word.len : sizeof(lower) - 1;
    for (size_t c = 0; c < len; c++)
        lower[c] = (char)(word.ptr[c] >= 'A' && word.ptr[c] <= 'Z' ? word.ptr[c] + 32
                                                                   : word.ptr[c]);
    lower[len] = 0;
    cause_count(d, lower, 1);
}

static void tally_add(struct tally *tally, enum outcome outcome, uint64_t latency)
{
    switch (outcome) {
    case OUTCOME_DONE: tally->done++; break;
    case OUTCOME_REFUSED: tally->refused++; break;
    case OUTCOME_FAILED: tally->failed++; break;
    case OUTCOME_UNKNOWN: tally->unknown++; break;
    case OUTCOME_WRONG: tally->wrong++; break;
    }
    histogram_add(&tally->latency, latency);
}

static void measured(struct driver *d, const struct shot *shot, const struct answer *answer,
                     uint64_t now)
{
    enum outcome outcome = d->workload->judge(d->self, shot, answer);
    const struct verb *verb = &d->workload->verbs[shot->verb];
    if (outcome == OUTCOME_WRONG)
        driver_fail(d, "%s %.*s %s was answered %s%.*s", verb->type, (int)shot->key_len, shot->key,
                    verb->handler, answer->kind == ANSWER_ERROR ? "" : "what it cannot be: ",
                    STR_ARG(answer->text));
    if (outcome == OUTCOME_UNKNOWN)
        driver_fail(d, "an outcome is unknown, so the state cannot be judged: %.*s",
                    STR_ARG(answer->text));
    if (d->began && !d->ended && (outcome == OUTCOME_DONE || outcome == OUTCOME_REFUSED))
        d->completed++;
    if (shot->due_ns < d->begin_ns || shot->due_ns >= d->end_ns) return;
    tally_add(&d->kind[shot->kind], outcome, now - shot->due_ns);
    if (outcome != OUTCOME_DONE) cause_add(d, answer);
}

static void again_add(struct driver *d, const struct shot *shot)
{
    if (d->again_count == d->again_room) {
        d->again_room = d->again_room ? d->again_room * 2 : 64;
        d->again = mem_realloc(d->again, d->again_room * sizeof(*d->again));
    }
    d->again[d->again_count++] = *shot;
}

void driver_answer(struct driver *d, const struct shot *shot, const struct answer *answer,
                   uint64_t now)
{
    d->in_flight--;
    d->last_answer_ns = now;
    if (d->pass == PASS_MEASURE) {
        measured(d, shot, answer, now);
    } else if (answer_is_error(answer, "overloaded")) {
        again_add(d, shot);
    } else if (answer->kind == ANSWER_ERROR) {
        const struct verb *verb = &d->workload->verbs[shot->verb];
        driver_fail(d, "%s %.*s %s: %.*s", verb->type, (int)shot->key_len, shot->key, verb->handler,
                    STR_ARG(answer->text));
    } else if (d->pass == PASS_VERIFY) {
        d->workload->verified(d->self, shot, answer);
    }
}

/* What was due and never sent has waited at least until now. */
static void unsent_count(struct driver *d, uint64_t now)
{
    while (d->due_ns < (double)d->end_ns) {
        uint64_t due = due_take(d);
        if (due < d->begin_ns) continue;
        d->unsent++;
        histogram_add(&d->unsent_ns, now - due);
        histogram_add(&d->lag, now - due);
    }
}

void driver_turn(struct driver *d, uint64_t now)
{
    if (d->in_flight > 0 && now > d->last_answer_ns && now - d->last_answer_ns > SILENCE_MAX)
        driver_fail(d, "%llu requests have not been answered for %llu s",
                    (unsigned long long)d->in_flight, (unsigned long long)(SILENCE_MAX / SECOND));
    if (interrupted) driver_fail(d, "stopped by a signal");
    if (d->in_flight == 0) d->last_answer_ns = now;
    if (d->pass != PASS_MEASURE || d->error[0]) return;
    if (!d->began && now >= d->begin_ns) {
        if (!d->door->figures(d->door, &d->at_begin)) driver_fail(d, "the server tells no figures");
        d->began = true;
        d->began_ns = mono_ns();
    }
    if (all_taken(d) && d->in_flight == 0 && !d->ended) d->end_ns = now;
    if (!d->ended && now >= d->end_ns) {
        d->ended = true;
        d->ended_ns = now;
        if (!d->door->figures(d->door, &d->at_end)) driver_fail(d, "the server tells no figures");
    }
    if (d->rate > 0 && now >= d->give_up_ns) unsent_count(d, now);
}

static void tally_join(struct tally *into, const struct tally *from)
{
    into->done += from->done;
    into->refused += from->refused;
    into->failed += from->failed;
    into->unknown += from->unknown;
    into->wrong += from->wrong;
    histogram_merge(&into->latency, &from->latency);
}

void driver_sum(struct driver *d)
{
    memset(&d->all, 0, sizeof(d->all));
    d->all.latency = d->unsent_ns;
    for (uint32_t i = 0; i < WORKLOAD_KINDS_MAX; i++) tally_join(&d->all, &d->kind[i]);
}

void driver_add(struct driver *d, const struct driver *other)
{
    d->completed += other->completed;
    d->unsent += other->unsent;
    histogram_merge(&d->unsent_ns, &other->unsent_ns);
    for (uint32_t i = 0; i < WORKLOAD_KINDS_MAX; i++) tally_join(&d->kind[i], &other->kind[i]);
    histogram_merge(&d->lag, &other->lag);
    for (uint32_t i = 0; i < CAUSES_MAX && other->cause[i].count > 0; i++)
        cause_count(d, other->cause[i].word, other->cause[i].count);
    if (other->error[0]) driver_fail(d, "%s", other->error);
}
