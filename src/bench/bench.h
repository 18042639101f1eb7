/*
 * bench.h - `weir bench`: a workload against a server of its own, a running one, or the engine inside this process.
 *
 * One thread makes the load, in process several if wanted. Closed loop: `connections` x `pipeline` requests are always under way. Open loop
 * (`rate`): requests are due by a schedule drawn beforehand, and a latency counts from when its request was due, sent
 * or not: what waits because the server is slow is not left out (G. Tene's "coordinated omission").
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_BENCH_H
#define WEIR_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define BENCH_PARAMS_MAX 32u
#define BENCH_LOADERS_MAX 8u

/* An option of one or several workloads, e.g. --keys; the same name means the same in each. */
struct bench_param {
    const char *name;  /* "keys" */
    const char *value; /* "N" for the help */
    const char *text;
};

struct bench_setting {
    const char *name, *text;
};

struct bench_options {
    const char *workload;
    struct bench_setting settings[BENCH_PARAMS_MAX]; /* of the workload, as given */
    unsigned setting_count;
    const char *program;      /* the weir that serves */
    const char *app;          /* a file instead of the workload's own application; NULL: its own */
    const char *connect_host; /* a running server; NULL: starts one */
    int connect_port;
    bool in_process;           /* the engine in this process instead of a server */
    bool native;               /* handlers in C; only in this process */
    const char *data;          /* folder to work in; NULL: a new one here, removed at the end */
    const char *const *limits; /* passed to the server, NULL-terminated; may be NULL */
    const char *const *app_settings; /* likewise: "name=value" of the application */
    const char *conflict_policy;     /* likewise; NULL: wound_wait */
    const char *io_processor;        /* likewise; NULL: auto */
    uint32_t shards, threads;
    uint32_t connections, pipeline;
    uint32_t loaders; /* threads that make the load; more than one only in this process */
    double rate;      /* requests a second; 0: closed loop */
    bool steady;      /* a request each 1/rate seconds, instead of a Poisson process */
    double seconds, warmup_seconds;
    uint64_t requests; /* instead of seconds, and nothing before that is not measured; 0: seconds */
    uint64_t seed;
    bool sweep;       /* first the peak, then open loops up to the knee */
    const char *plot; /* file for a picture of the sweep; NULL: none */
    const char *json; /* file for all figures; NULL: none */
    FILE *out, *err;
};
#define BENCH_OPTIONS                                                                              \
    ((struct bench_options){ .connections = 16,                                                    \
                             .pipeline = 32,                                                       \
                             .loaders = 1,                                                         \
                             .seconds = 10,                                                        \
                             .warmup_seconds = 2,                                                  \
                             .seed = 1 })

/** Runs it, verifies what it left, and reports. The exit code: 0; 1 when the workload's invariant does not hold or
 *  requests failed; 64, 69, 74, 78 as server.h has them. */
int bench_run(const struct bench_options *options);

/** The options of all workloads, each once; returns the count. */
unsigned bench_params(const struct bench_param **params);
/** The workloads' names and what they are, for the help. */
void bench_workloads_print(FILE *out);
bool bench_workload_exists(const char *name);
/** For suggestions: NULL behind the last one. */
const char *bench_workload_name(unsigned place);

#endif
