/*
 * histogram.c - see histogram.h.
 *
 * Bucket of v with its highest bit at b >= 7: (b - 6) * 128 + the seven bits below the highest.
 * SPDX-License-Identifier: MIT
 */
#include "bench/histogram.h"

#include <math.h>

#define STEP_BITS 7u

static uint32_t bucket_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS) return (uint32_t)ns;
    uint32_t high = 63u - (uint32_t)__builtin_clzll(ns);
    uint32_t place = (high - STEP_BITS + 1) * HISTOGRAM_STEPS +
                     (uint32_t)((ns >> (high - STEP_BITS)) & (HISTOGRAM_STEPS - 1));
    return place < HISTOGRAM_BUCKETS ? place : HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into it. */
static uint64_t bucket_end(uint32_t place)
{
    if (place < HISTOGRAM_STEPS) return place;
    uint32_t shift = place / HISTOGRAM_STEPS - 1;
    uint64_t step = place % HISTOGRAM_STEPS;
    return ((HISTOGRAM_STEPS + step + 1) << shift) - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count++;
    h->sum += (double)ns;
    if (ns > h->max) h->max = ns;
    h->bucket[bucket_of(ns)]++;
}

uint64_t histogram_quantile(const struct histogram *h, double share)
{
    if (h->count == 0) return 0;
    uint64_t wanted = (uint64_t)ceil(share * (double)h->count), seen = 0;
    if (wanted == 0) wanted = 1;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen < wanted) continue;
        uint64_t end = bucket_end(i);
        return end < h->max ? end : h->max;
    }
    return h->max;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max) into->max = from->max;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) into->bucket[i] += from->bucket[i];
}
