/*
 * hash.h - checksums and hashes: CRC32C for small headers, XXH3-64 for payloads and keys.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/** CRC-32C (Castagnoli), hardware where there is; `seed` chains. */
uint32_t crc32c(uint32_t seed, const void *bytes, size_t len);
/** XXH3-64 with seed (libxxhash). Stable over versions: may stand on disk. */
uint64_t hash64(uint64_t seed, const void *bytes, size_t len);

static inline void store_le32(void *at, uint32_t n)
{
    __builtin_memcpy(at, &n, 4);
}
static inline void store_le64(void *at, uint64_t n)
{
    __builtin_memcpy(at, &n, 8);
}
static inline uint32_t load_le32(const void *at)
{
    uint32_t n;
    __builtin_memcpy(&n, at, 4);
    return n;
}
static inline uint64_t load_le64(const void *at)
{
    uint64_t n;
    __builtin_memcpy(&n, at, 8);
    return n;
}
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Weir's files are little-endian and so are its loads: add byte swaps here first"
#endif

#endif
