/*
 * watch.h - stops code of others that runs for too long, in CPU time of its thread.
 *
 * A thread that runs such code has one timer on its own CPU clock. Each tick is charged to the run that is
 * current then, so beginning and ending a run costs two stores and no system call. When a run's ticks are
 * used up, the signal's handler jumps to the place the run prepared, but only from inside code that was
 * named with watch_allow() (or machine code made at run time): there no lock is held and no structure of
 * ours is half changed. Anywhere else it looks again a little later.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_WATCH_H
#define WEIR_OS_WATCH_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#define WATCH_TICK_MS 10u
#define WATCH_SIGNAL (SIGRTMIN + 3)

struct watch_run {
    sigjmp_buf jump; /* sigsetjmp(run->jump, 0) on the stack the run is on */
    uint32_t *ticks; /* shared by all runs of one transaction */
    uint32_t ticks_max;
};

/** Names the shared object that holds `function` as one whose code may be left by a jump. Before any thread is
 *  watched, and again after more objects were loaded. False when it is not found. */
bool watch_allow(const void *function);
/** Begins ticking on the calling thread, once; false when the kernel refuses. It ends with the thread. */
bool watch_thread(void);
/** Makes `run` (or NULL) the current one of this thread; returns the one before. */
struct watch_run *watch_switch(struct watch_run *run);

#endif
