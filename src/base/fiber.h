/*
 * fiber.h - switched stacks: a function that can be suspended in its middle and resumed later.
 *
 * A fiber runs on the thread that switches into it. fiber_switch_in() runs it until it suspends or ends;
 * fiber_suspend(), called inside, goes back. A fiber may be dropped while suspended: its stack is reused
 * without unwinding, so only stacks that hold nothing but arena or garbage-collected memory are dropped.
 * Context switch: about 30 lines of assembly for x86-64 and arm64, ucontext elsewhere and with
 * -Dfiber=ucontext. Stacks are mmap'ed with a guard page below. The sanitizers are told of each switch.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_FIBER_H
#define WEIR_BASE_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#define FIBER_STACK_BYTES_DEFAULT ((size_t)128 * 1024)

struct fiber;
struct fiber_pool; /* of one thread; last in, first out, so that warm stacks are used again */

struct fiber_pool *fiber_pool_create(size_t stack_bytes, unsigned count_max);
void fiber_pool_destroy(struct fiber_pool *pool);
/** NULL when count_max fibers are in use. Not started: fiber_switch_in() starts it. */
struct fiber *fiber_take(struct fiber_pool *pool, void (*fn)(void *arg), void *arg);
/** Runs the fiber until it suspends (true) or its function returned (false; it then is back in the pool). */
bool fiber_switch_in(struct fiber *fiber);
/** Inside a fiber: back to whoever switched in. */
void fiber_suspend(struct fiber *fiber);
/** Puts a suspended fiber back without running the rest of it. */
void fiber_drop(struct fiber *fiber);
unsigned fiber_pool_in_use(const struct fiber_pool *pool);
/** Inside a fiber: bytes of its stack in use. */
size_t fiber_stack_used(const struct fiber *fiber);
/** A slot for the user: e.g. the Lua thread that goes with this stack. */
void **fiber_user(struct fiber *fiber);

#endif
