/*
 * slab.h - small blocks cut from larger ones and kept by size for reuse: for what comes and goes all the time.
 *
 * The first 16 MiB come in small chunks, what is beyond on large pages of the processor, where the kernel gives them: a
 * random look into many blocks then costs no walk through page tables. One thread; a block goes back to the slab it came
 * from, with the size it was asked for. Chunks are given back to the heap all at once, at the end. After the slab allocator
 * of Bonwick, "The Slab Allocator", USENIX Summer 1994, without its constructors. Under the address sanitizer a free block
 * is poisoned.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_SLAB_H
#define WEIR_BASE_SLAB_H

#include <stddef.h>

#define SLAB_BYTES_MAX ((size_t)512)
#define SLAB_STEP ((size_t)16)

/* Zero it to begin; slab_destroy() at the end. */
struct slab {
    void *free[SLAB_BYTES_MAX / SLAB_STEP];
    struct slab_chunk *chunks;
    size_t chunk_count;
    char *at, *end; /* what is left of the newest chunk */
};

/** 1 to SLAB_BYTES_MAX bytes, aligned to 16, not zeroed; never NULL. */
void *slab_alloc(struct slab *slab, size_t bytes);
void slab_free(struct slab *slab, void *block, size_t bytes);
/** Takes back all blocks, freed or not. */
void slab_destroy(struct slab *slab);

#endif
