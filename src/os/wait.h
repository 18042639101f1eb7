/*
 * wait.h - threads that are not actors: a lock with a place to wait, and a pointer per thread.
 *
 * For the edge where a foreign program's threads call in (server/embed.c). Inside the engine nothing
 * locks: shards speak through rings.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_WAIT_H
#define WEIR_OS_WAIT_H

#include <stdbool.h>

#include "base/mem.h"

struct wait;

struct wait *wait_create(void);
void wait_destroy(struct wait *wait);
void wait_lock(struct wait *wait);
void wait_unlock(struct wait *wait);
/** Locked: lets go, sleeps until woken or `timeout_ms` (0: no limit) passed, locks again. May also wake for
 *  no reason: test the condition in a loop. False after the time. */
bool wait_sleep(struct wait *wait, unsigned timeout_ms);
/** Locked: wakes all who sleep. */
void wait_wake(struct wait *wait);

/* A pointer per thread. `ended` runs on a thread that ends with its pointer set. */
struct wait_slot;
struct wait_slot *wait_slot_create(void (*ended)(void *ptr));
void wait_slot_destroy(struct wait_slot *slot);
void wait_slot_set(struct wait_slot *slot, void *ptr);
void *wait_slot_get(struct wait_slot *slot);

#endif
