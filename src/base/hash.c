/*
 * hash.c - CRC-32C and XXH3-64.
 *
 * CRC-32C is the reflected polynomial 0x82F63B78 (Castagnoli et al., IEEE Transactions on
 * Communications 41, 1993). x86-64 has it as an instruction since SSE4.2, asked for at run time; the
 * table is for the rest. A CRC is linear, so the table is written as the XOR of eight constants and is
 * read-only from the start.
 * SPDX-License-Identifier: MIT
 */
#include "base/hash.h"

#include "base/sanitize_int.h"
#ifdef WEIR_MSAN
#define XXH_INLINE_ALL               /* so that the sanitizer sees what is hashed */
#define static_assert _Static_assert /* which that wants, and "assert.h" is ours */
#endif
#include <xxhash.h>

#define T1(i)                                                                                      \
    (((i)&1 ? 0xf26b8303u : 0) ^ ((i)&2 ? 0xe13b70f7u : 0) ^ ((i)&4 ? 0xc79a971fu : 0) ^           \
     ((i)&8 ? 0x8ad958cfu : 0) ^ ((i)&16 ? 0x105ec76fu : 0) ^ ((i)&32 ? 0x20bd8edeu : 0) ^         \
     ((i)&64 ? 0x417b1dbcu : 0) ^ ((i)&128 ? 0x82f63b78u : 0))
#define T4(i) T1(i), T1((i) + 1), T1((i) + 2), T1((i) + 3)
#define T16(i) T4(i), T4((i) + 4), T4((i) + 8), T4((i) + 12)
#define T64(i) T16(i), T16((i) + 16), T16((i) + 32), T16((i) + 48)

static const uint32_t crc_table[256] = { T64(0), T64(64), T64(128), T64(192) };

static uint32_t crc_by_table(uint32_t crc, const uint8_t *at, size_t len)
{
    for (; len; at++, len--) crc = crc >> 8 ^ crc_table[(crc ^ *at) & 0xff];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_by_sse42(uint32_t crc, const uint8_t *at,
                                                               size_t len)
{
    uint64_t wide = crc;
    for (; len >= 8; at += 8, len -= 8) wide = __builtin_ia32_crc32di(wide, load_le64(at));
    crc = (uint32_t)wide;
    for (; len; at++, len--) crc = __builtin_ia32_crc32qi(crc, *at);
    return crc;
}
#endif

uint32_t crc32c(uint32_t seed, const void *bytes, size_t len)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ~crc_by_sse42(~seed, bytes, len);
#endif
    return ~crc_by_table(~seed, bytes, len);
}

uint64_t hash64(uint64_t seed, const void *bytes, size_t len)
{
    return XXH3_64bits_withSeed(bytes, len, seed);
}
