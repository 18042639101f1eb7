/*
 * ring.h - a bounded queue from one producer thread to one consumer thread, with an epoch mark.
 *
 * The mark says: every message of an epoch at or below it that this producer will ever send is already in
 * the ring. It is stored after the tail and loaded before it: a consumer that sees mark m
 * and then drains to the tail it loads afterwards has seen all messages sent before m was stored.
 * Publishing is explicit, so that one store serves a batch.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_RING_H
#define WEIR_BASE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Four cache lines, for each is written by one thread at most; what both read for each message is never written. */
struct ring {
    _Alignas(64) _Atomic uint64_t tail; /* written by the producer, read by the consumer */
    _Atomic uint64_t mark;              /* the same; stored after tail with release */
    _Alignas(64) _Atomic uint64_t
        head;            /* written by the consumer, read by the producer when it seems full */
    uint64_t head_local; /* consumer only */
    uint64_t tail_seen;  /* consumer only */
    _Alignas(64) uint64_t tail_local; /* producer only: filled but perhaps not yet published */
    uint64_t head_seen;               /* producer only */
    _Alignas(64) void **slots;
    uint64_t mask;
};

/** `capacity` is a power of two. */
void ring_init(struct ring *ring, uint32_t capacity);
void ring_deinit(struct ring *ring);
/** Producer: false when full. The pointer is given away at the next ring_publish(). */
bool ring_push(struct ring *ring, void *message);
/** Producer: makes the pushed visible, then the mark. True if any message became visible. */
bool ring_publish(struct ring *ring, uint64_t mark);
/** Consumer: next message or NULL. */
void *ring_pop(struct ring *ring);
/** Consumer: what will be popped after `n` others, as far as the last pop saw; NULL: it saw no such. */
void *ring_ahead(const struct ring *ring, uint32_t n);
/** Consumer: the mark, loaded (acquire) before a look at the tail. */
uint64_t ring_mark(struct ring *ring);
/** Consumer: true if nothing published is left unread. */
bool ring_is_empty(struct ring *ring);

#endif
