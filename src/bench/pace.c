/*
 * pace.c - how fast the processors are at the moment.
 *
 * In a virtual machine neither stays what it was: its processors are threads of the host's cores, alone there or beside somebody else's
 * work, and now near to each other, now not. So both are measured:
 *
 * Four chains of additions that do not wait for each other: a core of its own does four in a cycle or nearly, one whose other
 * hardware thread is busy, perhaps with another machine's work, two thirds of that, and what is measured here beside them is
 * slower by as much. They need no memory: a neighbour who fills caches is not seen.
 *
 * A cache line that two threads send to and fro: some 50 ns there and back between the two hardware threads of a core, 100 under one
 * last-level cache, 500 between two or between sockets. What threads hand to each other costs in proportion.
 * SPDX-License-Identifier: MIT
 */
#include "bench/pace.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "os/env.h"

#define SLICES 5u
#define SLICE_S 0.004
#define ROUNDS 20000u
#define ADDED_IN_ROUND 16u
#define TRIPS 200u
#define TRIP_SLICES 51u
#define LOOKS_MAX 20000u

static double now_s(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The compiler may neither leave one out nor make one of two. */
static inline void add_one(uint64_t *n)
{
    (*n)++;
    __asm__ volatile("" : "+r"(*n));
}

static inline void add_each(uint64_t *a, uint64_t *b, uint64_t *c, uint64_t *d)
{
    add_one(a);
    add_one(b);
    add_one(c);
    add_one(d);
}

static double slice(void)
{
    uint64_t a = 0, b = 0, c = 0, d = 0, rounds = 0;
    double begin = now_s(CLOCK_THREAD_CPUTIME_ID), took;
    do {
        for (uint32_t i = 0; i < ROUNDS; i++) {
            add_each(&a, &b, &c, &d);
            add_each(&a, &b, &c, &d);
            add_each(&a, &b, &c, &d);
            add_each(&a, &b, &c, &d);
        }
        rounds += ROUNDS;
        took = now_s(CLOCK_THREAD_CPUTIME_ID) - begin;
    } while (took < SLICE_S);
    return (double)(rounds * ADDED_IN_ROUND) / took / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *found, size_t count)
{
    qsort(found, count, sizeof(found[0]), compare);
    return found[count / 2];
}

/* ---- a line that goes to and fro ---- */

struct line {
    _Alignas(128) _Atomic uint64_t there;
    _Alignas(128) _Atomic uint64_t back;
    cpu_set_t last;
};
#define LINE_ENDS UINT64_MAX

/* A turn that lasts until the end. */
static uint64_t line_answer(void *arg)
{
    struct line *line = arg;
    (void)sched_setaffinity(0, sizeof(line->last), &line->last);
    uint64_t seen = 0, now;
    do {
        while ((now = atomic_load_explicit(&line->there, memory_order_acquire)) == seen) {}
        seen = now;
        atomic_store_explicit(&line->back, now, memory_order_release);
    } while (now != LINE_ENDS);
    return ENV_NEVER;
}

/* False: the other does not run, for so many looks. */
static bool line_send(struct line *line, uint64_t n, uint64_t looks)
{
    atomic_store_explicit(&line->there, n, memory_order_release);
    while (atomic_load_explicit(&line->back, memory_order_acquire) != n)
        if (looks-- == 0) return false;
    return true;
}

/* The calling thread has been put on a processor of its own. 0: others took turns with the two. */
static double line_measure(struct line *line)
{
    double found[TRIP_SLICES];
    struct env *env = env_real();
    struct actor other = { .name = "bench", .turn = line_answer, .self = line };
    uint64_t n = 1;
    if (env->actor_start(env, &other) != 0) return 0;
    bool runs = line_send(line, n, UINT64_MAX); /* it has started */
    for (uint32_t i = 0; i < TRIP_SLICES && runs; i++) {
        double begin = now_s(CLOCK_MONOTONIC);
        for (uint32_t t = 0; t < TRIPS && runs; t++) runs = line_send(line, ++n, LOOKS_MAX);
        found[i] = (now_s(CLOCK_MONOTONIC) - begin) / TRIPS * 1e9;
    }
    atomic_store_explicit(&line->there, LINE_ENDS, memory_order_release);
    env->actor_stop(env, &other);
    return runs ? median(found, TRIP_SLICES) : 0;
}

static double line_ns(void)
{
    struct line line = { 0 };
    cpu_set_t before, first;
    int count = 0;
    if (sched_getaffinity(0, sizeof(before), &before) != 0) return 0;
    CPU_ZERO(&first);
    CPU_ZERO(&line.last);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &before)) continue;
        if (count++ == 0) CPU_SET(cpu, &first);
        CPU_ZERO(&line.last);
        CPU_SET(cpu, &line.last);
    }
    if (count < 2 || sched_setaffinity(0, sizeof(first), &first) != 0) return 0;
    double ns = line_measure(&line);
    (void)sched_setaffinity(0, sizeof(before), &before);
    return ns;
}

struct pace pace_measure(void)
{
    double found[SLICES];
    for (uint32_t i = 0; i < SLICES; i++) found[i] = slice();
    return (struct pace){ .additions = median(found, SLICES), .line_ns = line_ns() };
}
