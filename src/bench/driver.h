/*
 * driver.h - one pass of a workload: which request is due when, and what became of it.
 *
 * A door runs a pass: it takes shots that are due, sends them in whatever way is its own, and gives each back with its
 * answer. The driver keeps the clock of the pass, its histograms and its counts.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_DRIVER_H
#define WEIR_BENCH_DRIVER_H

#include <sys/resource.h>

#include "bench/histogram.h"
#include "bench/workload.h"

#define DRIVER_NEVER UINT64_MAX
#define CAUSES_MAX 16u
#define FIGURE_THREADS_MAX 8u

enum pass { PASS_LOAD, PASS_MEASURE, PASS_VERIFY };

/* Processor time in microseconds. */
struct cpu {
    uint64_t user_us, system_us;
};

/* Processor time of a server's threads of one name, together. */
struct thread_cpu {
    char name[16];
    uint64_t ns;
};

/* What can be read of a server and of ourselves at one moment. */
struct figures {
    struct cpu server, client;
    bool server_known;                            /* false: it runs elsewhere */
    struct thread_cpu thread[FIGURE_THREADS_MAX]; /* of the server; zeroed ones behind */
    uint64_t syncs, log_bytes, commits, failures, wounds, deaths, multi_shard, overloads, timeouts,
        in_turn, together, local_calls, remote_calls, checkpoints, entities, memory_bytes;
    uint64_t pending; /* messages, and events that their follower has not done */
};

/* Answers that were no success, by their word. */
struct cause {
    char word[32];
    uint64_t count;
};

struct tally {
    uint64_t done, refused, failed, unknown, wrong;
    struct histogram latency;
};

struct door;

struct driver {
    const struct workload *workload;
    void *self;
    enum pass pass;
    struct random random;  /* of requests */
    struct random arrival; /* of when they are due: the same whatever is asked */
    struct door *door;
    /* when, all of them mono_ns */
    double rate; /* 0: closed loop */
    bool steady;
    uint64_t warm_ns, begin_ns, end_ns, give_up_ns;
    double due_ns; /* of the next; open loop */
    uint64_t last_answer_ns;
    bool began, ended;
    struct figures at_begin, at_end;
    uint64_t began_ns, ended_ns; /* when those were read */
    /* what */
    uint64_t place, count; /* load, verify, or a measured pass of so many requests; else 0 */
    uint64_t in_flight, completed, unsent;
    struct shot *again; /* load, verify: what the server had no time for */
    uint32_t again_count, again_room;
    struct tally kind[WORKLOAD_KINDS_MAX], all; /* `all`: by driver_sum() */
    struct histogram unsent_ns;                 /* how long those had waited */
    struct histogram lag; /* from when a request was due to when it was sent */
    struct cause cause[CAUSES_MAX];
    char error[512]; /* the pass failed */
};

uint64_t mono_ns(void);
/** The pass that runs, and each later one, fails: somebody wants an end. For a signal handler. */
void driver_interrupt(int signal);

void driver_deinit(struct driver *d);
/** Load or verify: all requests, closed loop; one that is answered `overloaded` is sent again. */
void driver_begin_all(struct driver *d, enum pass pass);
/** Measure: from now on, `warm_s` that are not counted, then `seconds`. rate 0: closed loop. */
void driver_begin_measure(struct driver *d, double warm_s, double seconds, double rate, bool steady,
                          uint64_t seed);
/** Measure `requests` instead, from now on until the last answer. */
void driver_begin_measure_count(struct driver *d, uint64_t requests, double rate, bool steady,
                                uint64_t seed);

/** After a measured pass: counts all kinds together, and what was never sent. */
void driver_sum(struct driver *d);

/* ---- for doors ---- */

/** Fills in the next request if one is due. */
bool driver_take(struct driver *d, uint64_t now, struct shot *shot);
/** Gives it back. */
void driver_answer(struct driver *d, const struct shot *shot, const struct answer *answer,
                   uint64_t now);
/** Adds what another driver has counted in the same pass. */
void driver_add(struct driver *d, const struct driver *other);
/** Once a turn: reads figures when it is time, gives up when nothing is answered. */
void driver_turn(struct driver *d, uint64_t now);
/** When the next request will be due; DRIVER_NEVER: none will. In a closed loop always now. */
uint64_t driver_next_due(const struct driver *d);
bool driver_done(const struct driver *d);
__attribute__((format(printf, 2, 3))) void driver_fail(struct driver *d, const char *format, ...);

/* A way to a server, or to the engine. */
struct door {
    /** Until driver_done(). False: the pass failed, driver->error says why. */
    bool (*run)(struct door *door, struct driver *d);
    bool (*figures)(struct door *door, struct figures *figures);
    void (*close)(struct door *door);
};

/** Over RESP, `connections` with up to `pipeline` requests each. NULL with the reason. `pid` 0: the server's processor time is not known. */
struct door *door_resp_open(const struct workload *workload, const char *host, int port, int pid,
                            uint32_t connections, uint32_t pipeline, char *error,
                            size_t error_bytes);
/** How many shards the server has, on how many threads; as they were where it does not tell. */
void door_resp_shards(struct door *door, uint32_t *shards, uint32_t *threads);

struct door_port_options {
    const char *app;  /* a Lua file; NULL: the workload's own handlers in C */
    const char *data; /* folder */
    uint32_t shards, threads;
    uint32_t in_flight; /* requests at most */
    uint32_t
        loaders; /* threads that make the load, 1 to BENCH_LOADERS_MAX; no more than in_flight */
    const char *const *limits;   /* "name=number", NULL-terminated; may be NULL */
    const char *const *settings; /* of the application in Lua, likewise */
    const char *conflict_policy; /* its word; NULL: wound_wait */
};
/** The engine in this process. NULL with the reason. */
struct door *door_port_open(const struct workload *workload,
                            const struct door_port_options *options, char *error,
                            size_t error_bytes);
/** Fills in what is 0, by the processors. */
void door_port_shards(uint32_t *shards, uint32_t *threads);

/** Of getrusage(): RUSAGE_SELF or RUSAGE_THREAD. */
struct cpu cpu_used(int who);
bool cpu_of_process(int pid, struct cpu *cpu);
/** Of its threads, by name; those that have ended are not in it. `threads` has FIGURE_THREADS_MAX places. */
void cpu_of_threads(int pid, struct thread_cpu *threads);

#endif
