/*
 * main.c - the model's command line.
 *
 *     model --list                            scenarios and mutants
 *     model [--large] [SCENARIO...]           explores them clean; --large adds the large ones
 *     model --mutant NAME [SCENARIO]          must be caught; the scenario of the table if none is named
 *     model --mutants                         all mutants; and what may be allowed, which must hold
 *     --trace  prints the way to what is broken     --states N  gives up above (default 12,000,000)
 *
 * Ends with 0 when every clean run holds and every mutant is caught.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

struct mutant_row {
    const char *name, *scenario, *text;
};
static const struct mutant_row mutants[] = { { "none", "", "" },
#define X(name, scenario, text) { #name, scenario, text },
                                             MUTANTS(X){ "", "", "" },
                                             LIBERTIES(X)
#undef X
};

struct options {
    enum mutant mutant;
    bool all_mutants, large, trace;
    uint64_t states_max;
};

/* What the clean runs have met, so that a property cannot hold because nothing happened. */
static struct model met;

static const struct scenario *scenario_find(const char *name)
{
    for (size_t i = 0; i < scenario_count; i++) {
        if (strcmp(scenarios[i].name, name) == 0) return &scenarios[i];
    }
    fprintf(stderr, "model: there is no scenario `%s`; see --list\n", name);
    exit(64);
}

static enum mutant mutant_find(const char *name)
{
    for (size_t i = 1; i < MUTANT_END; i++) {
        if (strcmp(mutants[i].name, name) == 0) return (enum mutant)i;
    }
    fprintf(stderr, "model: there is no mutant `%s`; see --list\n", name);
    exit(64);
}

static void met_add(const struct model *m)
{
    for (size_t i = 0; i <= MSG_DONE; i++) met.handled[i] += m->handled[i];
    for (size_t i = 0; i <= STEP_CRASH; i++) met.done[i] += m->done[i];
    met.retries += m->retries;
    met.failures += m->failures;
    met.replays += m->replays;
    met.fired += m->fired;
    met.cancelled += m->cancelled;
    met.tails += m->tails;
    met.deaths += m->deaths;
    met.shared += m->shared;
    met.outs += m->outs;
    met.in_turn += m->in_turn;
    met.tails_wounded += m->tails_wounded;
}

/* One run, one line. True: as it must be. */
static bool run_one(const struct scenario *scenario, enum mutant mutant,
                    const struct options *options)
{
    struct model m = { .scenario = scenario, .mutant = mutant };
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    struct exploration x = explore(&m, options->states_max, options->trace);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (mutant == MUTANT_NONE) met_add(&m);
    double seconds = (double)(end.tv_sec - start.tv_sec) +
                     (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    bool limit = x.broken != NULL && strncmp(x.broken, "model limit", 11) == 0;
    bool breaks = mutant != MUTANT_NONE && mutant < MUTANT_COUNT;
    bool pass = !limit && (x.broken != NULL) == breaks;
    if (mutant > MUTANT_COUNT) pass = pass && m.tails > 0;
    printf("%s %s %s: ", pass ? "pass" : "FAIL", mutant ? mutants[mutant].name : "clean",
           scenario->name);
    if (mutant > MUTANT_COUNT)
        printf("%s (%llu states, %.2f s)\n", x.broken ? x.broken : "holds",
               (unsigned long long)x.states, seconds);
    else if (mutant && x.broken)
        printf("caught, %s (%llu states, %.2f s)\n", x.broken, (unsigned long long)x.states,
               seconds);
    else if (mutant)
        printf("not caught (%llu states, %.2f s)\n", (unsigned long long)x.states, seconds);
    else
        printf("%s%s%llu states, %llu steps, depth %u, %llu MiB, %.2f s\n",
               x.broken ? x.broken : "", x.broken ? "; " : "", (unsigned long long)x.states,
               (unsigned long long)x.steps, x.depth, (unsigned long long)(x.bytes >> 20), seconds);
    fflush(stdout);
    return pass;
}

/* Every kind of message and step, retries and failures must have been met. */
static bool met_print(void)
{
    bool all = met.retries && met.deaths && met.shared && met.failures && met.replays && met.fired && met.cancelled &&
               met.tails && met.tails_wounded && met.outs && met.in_turn;
    for (size_t i = MSG_CALL; i <= MSG_DONE; i++) all &= met.handled[i] != 0;
    for (size_t i = 0; i <= STEP_CRASH; i++) all &= met.done[i] != 0;
    printf("%s clean coverage:", all ? "pass" : "FAIL");
    for (size_t i = MSG_CALL; i <= MSG_DONE; i++)
        printf(" %s %llu", message_names[i], (unsigned long long)met.handled[i]);
    printf(", retries %llu, %llu of them after deaths, failures %llu, crashes %llu\n",
           (unsigned long long)met.retries, (unsigned long long)met.deaths,
           (unsigned long long)met.failures, (unsigned long long)met.done[STEP_CRASH]);
    printf("  requests replayed %llu, timers fired %llu, cancelled %llu, checkpoints %llu, "
           "tail-commits "
           "%llu, of roots wounded meanwhile %llu\n",
           (unsigned long long)met.replays, (unsigned long long)met.fired,
           (unsigned long long)met.cancelled, (unsigned long long)met.done[STEP_NAME],
           (unsigned long long)met.tails, (unsigned long long)met.tails_wounded);
    printf("  two calls out %llu times, %llu attempts undone to be made in turn\n",
           (unsigned long long)met.outs, (unsigned long long)met.in_turn);
    return all;
}

static void list(void)
{
    for (size_t i = 0; i < scenario_count; i++)
        printf("scenario %-14s %s%s\n", scenarios[i].name, scenarios[i].text,
               scenarios[i].large ? " (large)" : "");
    for (size_t i = 1; i < MUTANT_END; i++)
        if (i != MUTANT_COUNT)
            printf("mutant   %-24s %-14s %s\n", mutants[i].name, mutants[i].scenario,
                   mutants[i].text);
}

int main(int argc, char **argv)
{
    struct options options = { .states_max = 12000000 };
    bool good = true, named = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            list();
            return 0;
        }
        if (strcmp(argv[i], "--trace") == 0) options.trace = true;
        else if (strcmp(argv[i], "--large") == 0) options.large = true;
        else if (strcmp(argv[i], "--mutants") == 0) options.all_mutants = true;
        else if (strcmp(argv[i], "--mutant") == 0 && i + 1 < argc)
            options.mutant = mutant_find(argv[++i]);
        else if (strcmp(argv[i], "--states") == 0 && i + 1 < argc)
            options.states_max = strtoull(argv[++i], NULL, 10);
        else if (argv[i][0] == '-') {
            fprintf(stderr, "model: unknown option %s\n", argv[i]);
            return 64;
        } else {
            named = true;
        }
    }
    for (int i = 1; i < argc && named; i++) {
        if (strcmp(argv[i], "--mutant") == 0 || strcmp(argv[i], "--states") == 0) i++;
        else if (argv[i][0] != '-')
            good &= run_one(scenario_find(argv[i]), options.mutant, &options);
    }
    if (named) return good ? 0 : 1;
    if (options.mutant)
        return run_one(scenario_find(mutants[options.mutant].scenario), options.mutant, &options)
                   ? 0
                   : 1;
    for (size_t i = 1; i < MUTANT_END && options.all_mutants; i++)
        if (i != MUTANT_COUNT)
            good &= run_one(scenario_find(mutants[i].scenario), (enum mutant)i, &options);
    for (size_t i = 0; i < scenario_count && !options.all_mutants; i++) {
        if (!scenarios[i].large || options.large)
            good &= run_one(&scenarios[i], MUTANT_NONE, &options);
    }
    if (!options.all_mutants) good &= met_print();
    return good ? 0 : 1;
}
