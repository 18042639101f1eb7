/*
 * draw.h - numbers from a seed, and a line that names the seed of a failed run.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TEST_DRAW_H
#define WEIR_TEST_DRAW_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* splitmix64 */
static inline uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t draw_below(uint64_t *state, uint64_t n)
{
    return draw(state) % n;
}

/* Like assert_true(), and says which seed it was. */
#define CHECK(seed, condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("seed %llu: ", (unsigned long long)(seed));                                \
            assert_true(condition);                                                                \
        }                                                                                          \
    } while (0)

#endif
