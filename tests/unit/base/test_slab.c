/*
 * test_slab.c - blocks keep what is written into them, whatever else comes and goes.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/slab.h"
#include "draw.h"

#define BLOCKS 300

struct held {
    uint8_t *ptr;
    size_t bytes;
    uint8_t mark;
};

static void slab_blocks_do_not_overlap(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        uint64_t random = seed;
        struct slab slab = { 0 };
        struct held held[BLOCKS] = { 0 };
        for (int step = 0; step < 5000; step++) {
            struct held *h = &held[draw_below(&random, BLOCKS)];
            if (h->ptr == NULL) {
                h->bytes = 1 + draw_below(&random, SLAB_BYTES_MAX);
                h->ptr = slab_alloc(&slab, h->bytes);
                h->mark = (uint8_t)step;
                CHECK(seed, (uintptr_t)h->ptr % 16 == 0);
                memset(h->ptr, h->mark, h->bytes);
                continue;
            }
            for (size_t i = 0; i < h->bytes; i++) CHECK(seed, h->ptr[i] == h->mark);
            slab_free(&slab, h->ptr, h->bytes);
            h->ptr = NULL;
        }
        slab_destroy(&slab);
    }
}

static void slab_uses_a_freed_block_again(void **state)
{
    struct slab slab = { 0 };
    void *first = slab_alloc(&slab, 40);
    slab_free(&slab, first, 40);
    assert_ptr_equal(slab_alloc(&slab, 48), first); /* the same class */
    assert_ptr_not_equal(slab_alloc(&slab, 49), first);
    slab_destroy(&slab);
    assert_null(slab.chunks);
}

/* Beyond its small chunks a slab takes large pages; each block is as good as one before. */
static void slab_grows_into_large_pages(void **state)
{
    (void)state;
    enum { COUNT = 48000, BYTES = 512 }; /* 24 MiB */
    struct slab slab = { 0 };
    uint32_t **blocks = test_calloc(COUNT, sizeof(*blocks));
    for (uint32_t i = 0; i < COUNT; i++) {
        blocks[i] = slab_alloc(&slab, BYTES);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t k = 0; k < BYTES / sizeof(uint32_t); k++) blocks[i][k] = i;
    }
    assert_true(slab.chunk_count > 512 && slab.chunk_count < 520);
    for (uint32_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < BYTES / sizeof(uint32_t); k++) assert_int_equal(blocks[i][k], i);
    }
    test_free(blocks);
    slab_destroy(&slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slab_blocks_do_not_overlap),
        cmocka_unit_test(slab_uses_a_freed_block_again),
        cmocka_unit_test(slab_grows_into_large_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
