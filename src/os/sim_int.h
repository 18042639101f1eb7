/*
 * sim_int.h - what the simulated world's files share.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_SIM_INT_H
#define WEIR_OS_SIM_INT_H

#include <setjmp.h>

#include "base/mem.h"
#include "os/sim.h"

struct sim_actor;
struct sim_dir;

#define SIM_CHANCES_MAX 128u
#define SIM_CHANCE_PLACES 1024u

struct sim_chance {
    const char *name;
    uint32_t per_mille; /* 0: not chosen for this seed */
    uint64_t taken;
};

struct sim {
    struct env env;
    uint64_t random_state, trace;
    uint64_t now_ns;
    int64_t wall_ms; /* at wall_since_ns */
    uint64_t wall_since_ns;
    uint32_t wall_rate; /* per mille */
    struct sim_faults faults;
    bool faulty; /* some rate is not 0 */
    uint64_t fired[SIM_FAULT_KINDS];
    struct sim_chance chances[SIM_CHANCES_MAX];
    uint32_t chance_count;
    struct {
        const char *name; /* by its address: one name may have several */
        uint32_t place;
    } chance_places[SIM_CHANCE_PLACES];
    uint64_t chance_seed;
    bool (*on_operation)(void *arg, uint64_t operation);
    void *on_operation_arg;
    struct sim_actor *actors;
    uint32_t actor_count;
    jmp_buf jump;
    bool jump_set, crashed;
    uint64_t operations, crash_at;
    enum sim_crash_mode crash_mode;
    uint64_t fault_at;
    enum sim_fault fault;
    uint64_t disk_limit;
    struct sim_dir *dirs;
    struct sim_fd *fds;
    uint32_t fd_count; /* handles given out so far */
};

uint64_t sim_random(struct sim *sim);
void sim_trace(struct sim *sim, uint64_t n);
/** Does this fault come now? Counts it. */
bool sim_fault(struct sim *sim, enum sim_fault_kind kind);
/** Ends the simulated machine in the middle of a call. */
void sim_crash_now(struct sim *sim);
void sim_disk_env(struct sim *sim);
void sim_disk_free(struct sim *sim);
void sim_disk_crash(struct sim *sim, enum sim_crash_mode mode);

#endif
