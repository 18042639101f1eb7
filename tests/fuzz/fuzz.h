/*
 * fuzz.h - what the targets share. Each target is one function; who calls it is libFuzzer or main.c.
 *
 * A target keeps no state from one input to the next that could change what it does: any input replays alone.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_FUZZ_H
#define WEIR_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Pieces of the language that is decoded, for main.c's mutations; NULL-terminated. */
extern const char *const fuzz_words[];

/* A decoder broke a promise: says which, and ends as a crash does. */
#define FUZZ_CHECK(condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s:", __FILE__, __LINE__, #condition);                 \
            fprintf(stderr, " " __VA_ARGS__);                                                      \
            fputc('\n', stderr);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* An input read as a sequence of choices; what is missing is zero. */
struct bytes {
    const uint8_t *at, *end;
};
static inline struct bytes bytes_of(const uint8_t *data, size_t size)
{
    return (struct bytes){ data, data + size };
}
static inline uint8_t take_byte(struct bytes *b)
{
    return b->at < b->end ? *b->at++ : 0;
}
static inline uint64_t take_le(struct bytes *b, unsigned count)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < count; i++) n |= (uint64_t)take_byte(b) << (8 * i);
    return n;
}
static inline struct weir_str take_rest(struct bytes *b)
{
    struct weir_str rest = { (const char *)b->at, (size_t)(b->end - b->at) };
    b->at = b->end;
    return rest;
}

#endif
