/*
 * plot.h - latency against rate as a picture.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_PLOT_H
#define WEIR_BENCH_PLOT_H

#include "base/mem.h"

#define PLOT_LINES 4u
#define PLOT_POINTS_MAX 64u

/* One rate of a sweep. */
struct plot_point {
    double offered, throughput; /* a second */
    double us[PLOT_LINES];      /* p50, p90, p99, p99.9 */
    bool sustained;
};

/** An SVG: rates across, latencies up on a logarithmic scale. */
void plot_write(const struct plot_point *points, uint32_t count, const char *title,
                struct buf *out);

#endif
