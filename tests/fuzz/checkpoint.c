/*
 * checkpoint.c - the reader of checkpoints; see store.h.
 * SPDX-License-Identifier: MIT
 */
#include "store.h"

const char *const fuzz_words[] = { "\x02\x01", "\xff\xff\xff\xff\xff\xff\xff\xff", "\x06\x01", "\x05\x02\x40", NULL };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return store_target("checkpoint", data, size);
}
