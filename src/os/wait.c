/*
 * wait.c - wait.h on POSIX threads.
 * SPDX-License-Identifier: MIT
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/wait.h"

#include <pthread.h>
#include <time.h>

#include "base/assert.h"

struct wait {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
};

struct wait_slot {
    pthread_key_t key;
};

struct wait *wait_create(void)
{
    struct wait *wait = mem_alloc(sizeof *wait);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
#ifdef __linux__
    /* A clock that is set must not stretch a sleep. */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    ASSERT(pthread_mutex_init(&wait->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&wait->cond, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    return wait;
}

void wait_destroy(struct wait *wait)
{
    if (!wait) return;
    pthread_cond_destroy(&wait->cond);
    pthread_mutex_destroy(&wait->mutex);
    mem_free(wait);
}

void wait_lock(struct wait *wait)
{
    ASSERT(pthread_mutex_lock(&wait->mutex) == 0);
}

void wait_unlock(struct wait *wait)
{
    ASSERT(pthread_mutex_unlock(&wait->mutex) == 0);
}

bool wait_sleep(struct wait *wait, unsigned timeout_ms)
{
    if (timeout_ms == 0) return pthread_cond_wait(&wait->cond, &wait->mutex) == 0;
    struct timespec until;
#ifdef __linux__
    clock_gettime(CLOCK_MONOTONIC, &until);
#else
    clock_gettime(CLOCK_REALTIME, &until);
#endif
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return pthread_cond_timedwait(&wait->cond, &wait->mutex, &until) == 0;
}

void wait_wake(struct wait *wait)
{
    pthread_cond_broadcast(&wait->cond);
}

struct wait_slot *wait_slot_create(void (*ended)(void *ptr))
{
    struct wait_slot *slot = mem_alloc(sizeof *slot);
    if (pthread_key_create(&slot->key, ended) == 0) return slot;
    mem_free(slot);
    return NULL;
}

void wait_slot_destroy(struct wait_slot *slot)
{
    if (!slot) return;
    pthread_key_delete(slot->key);
    mem_free(slot);
}

void wait_slot_set(struct wait_slot *slot, void *ptr)
{
    ASSERT(pthread_setspecific(slot->key, ptr) == 0);
}

void *wait_slot_get(struct wait_slot *slot)
{
    return pthread_getspecific(slot->key);
}
