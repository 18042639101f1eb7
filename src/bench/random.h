/*
 * random.h - what workloads draw from: equal seeds give equal requests.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_RANDOM_H
#define WEIR_BENCH_RANDOM_H

#include <stdint.h>

/* Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014. */
struct random {
    uint64_t state;
};
static inline uint64_t random_next(struct random *r)
{
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
/** From 0 to below n; n at least 1. */
static inline uint64_t random_below(struct random *r, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)random_next(r) * n) >> 64);
}
/** From `low` to `high`, both included. */
static inline int64_t random_between(struct random *r, int64_t low, int64_t high)
{
    return low + (int64_t)random_below(r, (uint64_t)(high - low + 1));
}
/** From 0 to below 1. */
static inline double random_share(struct random *r)
{
    return (double)(random_next(r) >> 11) * 0x1p-53;
}

/*
 * Ranks 0 to n-1, the k-th with a weight of 1/(k+1)^theta: J. Gray et al., "Quickly generating billion-record synthetic
 * databases", SIGMOD 1994, as YCSB has it, but unscrambled: the hot keys are 0, 1, 2...
 */
struct zipf {
    uint64_t n;
    double theta, alpha, zeta, eta, half;
};
/** theta from 0 (uniform) to below 1. Takes time in proportion to n. */
void zipf_init(struct zipf *zipf, uint64_t n, double theta);
uint64_t zipf_next(const struct zipf *zipf, struct random *r);

#endif
