/*
 * ring.c - single producer, single consumer; head and tail count for ever, their difference is the fill.
 *
 * Lamport, "Specifying Concurrent Program Modules", 1983, with each side keeping a copy of the other's
 * counter (Lee et al., MCRingBuffer, 2010), so that a busy ring touches the other's cache line once a
 * batch. Order that readers may rely on: slots, tail, mark when written; mark, tail, slots when read.
 * SPDX-License-Identifier: MIT
 */
#include "base/ring.h"

#include "base/assert.h"
#include "base/mem.h"

void ring_init(struct ring *ring, uint32_t capacity)
{
    ASSERT(capacity > 0 && (capacity & (capacity - 1)) == 0);
    memset(ring, 0, sizeof(*ring));
    ring->slots = mem_alloc(capacity * sizeof(void *));
    ring->mask = capacity - 1;
}

void ring_deinit(struct ring *ring)
{
    mem_free(ring->slots);
    ring->slots = NULL;
}

bool ring_push(struct ring *ring, void *message)
{
    if (ring->tail_local - ring->head_seen > ring->mask) {
        ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
        if (ring->tail_local - ring->head_seen > ring->mask) return false;
    }
    ring->slots[ring->tail_local++ & ring->mask] = message;
    return true;
}

bool ring_publish(struct ring *ring, uint64_t mark)
{
    bool fresh = false;
    if (atomic_load_explicit(&ring->tail, memory_order_relaxed) != ring->tail_local) {
        atomic_store_explicit(&ring->tail, ring->tail_local, memory_order_release);
        fresh = true;
    }
    uint64_t mark_old = atomic_load_explicit(&ring->mark, memory_order_relaxed);
    ASSERT(mark >= mark_old);
    if (mark != mark_old) atomic_store_explicit(&ring->mark, mark, memory_order_release);
    return fresh;
}

void *ring_pop(struct ring *ring)
{
    if (ring->head_local == ring->tail_seen) {
        ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
        if (ring->head_local == ring->tail_seen) return NULL;
    }
    void *message = ring->slots[ring->head_local++ & ring->mask];
    atomic_store_explicit(&ring->head, ring->head_local, memory_order_release);
    return message;
}

void *ring_ahead(const struct ring *ring, uint32_t n)
{
    if (ring->tail_seen - ring->head_local <= n) return NULL;
    return ring->slots[(ring->head_local + n) & ring->mask];
}

uint64_t ring_mark(struct ring *ring)
{
    return atomic_load_explicit(&ring->mark, memory_order_acquire);
}

bool ring_is_empty(struct ring *ring)
{
    if (ring->head_local != ring->tail_seen) return false;
    ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return ring->head_local == ring->tail_seen;
}
