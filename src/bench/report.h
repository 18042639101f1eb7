/*
 * report.h - the figures of one run, as text and as JSON.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_REPORT_H
#define WEIR_BENCH_REPORT_H

#include "bench/driver.h"
#include "bench/pace.h"

/* What stays the same over the points of a run. */
struct report {
    const struct bench_options *options;
    const struct workload *workload;
    const char *where; /* "RESP" */
    uint32_t shards, threads, cores;
    struct pace before, after; /* of the point */
};

void report_head(const struct report *r, FILE *out);
/** One measured point; the driver has finished it. */
void report_point(const struct report *r, const struct driver *d, FILE *out);
void report_head_json(const struct report *r, struct buf *out);
void report_point_json(const struct report *r, const struct driver *d, struct buf *out);
const char *report_commit(void);
double report_throughput(const struct driver *d);

#endif
