/*
 * histogram.h - counts of times in nanoseconds, by buckets that grow with the value.
 *
 * As G. Tene's HdrHistogram: each power of two has 128 buckets of equal width, so a value is known to 1/128 (0.8 %); below 128
 * it is exact. Quantiles are the upper end of their bucket, so never too good. (Debian packages it for Go and Java only.)
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_HISTOGRAM_H
#define WEIR_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 128u
#define HISTOGRAM_POWERS 36u /* up to 2^42 ns, 73 minutes */
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * HISTOGRAM_POWERS)

/* Zero it to begin. */
struct histogram {
    uint64_t count, max;
    double sum;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns);
/** The least value that `share` of all are at or below, 0 when there is none. */
uint64_t histogram_quantile(const struct histogram *h, double share);
void histogram_merge(struct histogram *into, const struct histogram *from);

#endif
