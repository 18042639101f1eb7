/*
 * place.h - where the threads run that others wait for: doors and log writer.
 *
 * Two things are asked of the kernel for them. A short slice, so that one that is woken runs soon, before a shard that computes.
 * And the processor that takes the interrupts of the disk: an idle server's answer waits for one sync, which ends with an interrupt;
 * a thread that sleeps on another processor must be woken there by a second one, which in a virtual machine costs as much
 * as a third of the sync. A disk whose queues have a processor each (most NVMe) needs nothing of this, and gets nothing.
 *
 * One process, one place. place_enter() and place_leave() belong to the thread they are about; the others to the main thread.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_PLACE_H
#define WEIR_OS_PLACE_H

#include <stdbool.h>

#define PLACE_NONE (-1)
#define PLACE_AUTO (-2)

/** This thread is one that others wait for, until place_leave(). */
void place_enter(void);
void place_leave(void);

/** Whether this process may use that processor. */
bool place_may_be(long processor);

/**
 * Keeps these threads, those there are and those to come, on one processor: the `wanted` one; or, with PLACE_AUTO, the one that takes
 * all interrupts of the disk with the folder `path`, if it is one and this process may use others, too. Returns it, or PLACE_NONE.
 */
int place_choose(int wanted, const char *path);

/** Now and then: lets them go anywhere while one processor is too little for them, and follows the interrupts. */
void place_look(void);

/** The interrupt of the only queue of the disk that has device number `major`:`minor`; PLACE_NONE if it has several queues, or nobody
 *  says. Below `root` lie proc and sys: "" but in tests. */
int place_interrupt(const char *root, unsigned major, unsigned minor);
/** The processor that takes it; PLACE_NONE if there are several, or nobody says. */
int place_of_interrupt(const char *root, int interrupt);

#endif
