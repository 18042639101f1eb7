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

struct sim {
    struct env env;
    uint64_t random_state, trace;
    uint64_t now_ns;
    int64_t wall_ms; /* at now_ns 0 */
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
/** Ends the simulated machine in the middle of a call. */
void sim_crash_now(struct sim *sim);
void sim_disk_env(struct sim *sim);
void sim_disk_free(struct sim *sim);
void sim_disk_crash(struct sim *sim, enum sim_crash_mode mode);

#endif
