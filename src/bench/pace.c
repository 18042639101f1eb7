/*
 * pace.c - how fast a processor is at the moment.
 *
 * Four chains of additions that do not wait for each other: a core of its own does four in a cycle or nearly, one whose other
 * hardware thread is busy, perhaps with another machine's work, two thirds of that, and what is measured here beside them is
 * slower by as much. They need no memory: a neighbour who fills caches is not seen.
 * SPDX-License-Identifier: MIT
 */
#include "bench/pace.h"

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define SLICES 5u
#define SLICE_S 0.004
#define ROUNDS 20000u
#define ADDED_IN_ROUND 16u

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
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
    double begin = now_s(), took;
    do {
        for (uint32_t i = 0; i < ROUNDS; i++) {
            add_each(&a, &b, &c, &d);
            add_each(&a, &b, &c, &d);
            add_each(&a, &b, &c, &d);
            add_each(&a, &b, &c, &d);
        }
        rounds += ROUNDS;
        took = now_s() - begin;
    } while (took < SLICE_S);
    return (double)(rounds * ADDED_IN_ROUND) / took / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double pace_measure(void)
{
    double found[SLICES];
    for (uint32_t i = 0; i < SLICES; i++) found[i] = slice();
    qsort(found, SLICES, sizeof(found[0]), compare);
    return found[SLICES / 2];
}
