/*
 * signal.h - what concerns the process as a whole: being asked to stop, and how many processors it has.
 *
 * SIGTERM, SIGINT and, if it is not ignored, SIGHUP are blocked in every thread and taken by the one that waits, so no
 * handler runs anywhere and no call of another thread is interrupted. SIGPIPE is ignored: a send to a closed
 * connection answers an error instead.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_SIGNAL_H
#define WEIR_OS_SIGNAL_H

/** Blocks SIGTERM, SIGINT and SIGHUP for this thread and all it starts later. Call before any thread starts. */
void signal_start(void);
/** Waits up to `timeout_ms` for one of them: its number, or 0. */
int signal_wait(unsigned timeout_ms);
/** Ends the process at once, nothing flushed. */
__attribute__((noreturn)) void signal_exit(int code);
/** Processors this process may use; at least 1. */
unsigned signal_processors(void);

#endif
