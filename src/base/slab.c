/*
 * slab.c - blocks by size class; a class is a list of free blocks, linked through their first bytes.
 * SPDX-License-Identifier: MIT
 */
#include "base/slab.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/sanitize_int.h"

#define CHUNK_BYTES ((size_t)32 * 1024)
/* 16 MiB, from which on chunks are large pages: the last one is not used in whole, and less is in the caches anyway. */
#define CHUNKS_SMALL 512u

struct slab_chunk {
    struct slab_chunk *next;
    size_t bytes; /* with `next` 16 bytes, so `first` is aligned as the chunk is */
    char first[];
};

static size_t class_of(size_t bytes)
{
    return (bytes - 1) / SLAB_STEP;
}

/* What is left of the last chunk is smaller than a block: it waits for the end. */
static void *slab_cut(struct slab *slab, size_t whole)
{
    if ((size_t)(slab->end - slab->at) < whole) {
        bool large = slab->chunk_count++ >= CHUNKS_SMALL;
        size_t bytes = large ? MEM_PAGE_BYTES : CHUNK_BYTES;
        struct slab_chunk *chunk = large ? mem_pages(bytes) : mem_realloc(NULL, bytes);
        chunk->next = slab->chunks;
        chunk->bytes = bytes;
        slab->chunks = chunk;
        slab->at = chunk->first;
        slab->end = (char *)chunk + bytes;
        MEM_POISON(chunk->first, slab->end - slab->at);
    }
    void *block = slab->at;
    slab->at += whole;
    return block;
}

void *slab_alloc(struct slab *slab, size_t bytes)
{
    ASSERT(bytes > 0 && bytes <= SLAB_BYTES_MAX);
    size_t class = class_of(bytes);
    void *block = slab->free[class];
    if (block == NULL) {
        block = slab_cut(slab, (class + 1) * SLAB_STEP);
        MEM_UNPOISON(block, bytes);
        return block;
    }
    MEM_UNPOISON(block, bytes < sizeof(void *) ? sizeof(void *) : bytes);
    memcpy(&slab->free[class], block, sizeof(void *));
    return block;
}

void slab_free(struct slab *slab, void *block, size_t bytes)
{
    size_t class = class_of(bytes);
    MEM_UNPOISON(block, sizeof(void *));
    memcpy(block, &slab->free[class], sizeof(void *));
    slab->free[class] = block;
    MEM_POISON(block, (class + 1) * SLAB_STEP);
}

void slab_destroy(struct slab *slab)
{
    for (struct slab_chunk *chunk = slab->chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        MEM_UNPOISON(chunk->first, chunk->bytes - sizeof(*chunk));
        mem_free(chunk);
    }
    *slab = (struct slab){ 0 };
}
