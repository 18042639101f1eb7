/*
 * secret.c - SHA-256, equal-time comparison, wiping.
 * Source: NIST, FIPS PUB 180-4, "Secure Hash Standard", 2015, sections 4.1.2, 5.1.1, 6.2.
 * SPDX-License-Identifier: MIT
 */
#include "base/secret.h"

#include <string.h>

static const uint32_t rounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};

static uint32_t turn(uint32_t n, int bits)
{
    return n >> bits | n << (32 - bits);
}

static uint32_t load_be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void store_be32(uint8_t *at, uint32_t n)
{
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(n >> (24 - 8 * i));
}

static void sha256_block(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++) w[i] = load_be32(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        uint32_t small = turn(a, 7) ^ turn(a, 18) ^ a >> 3;
        uint32_t large = turn(b, 17) ^ turn(b, 19) ^ b >> 10;
        w[i] = w[i - 16] + small + w[i - 7] + large;
    }
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t e = turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t one = v[7] + e + choice + rounds[i] + w[i];
        uint32_t a = turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22);
        uint32_t two = a + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
    secret_wipe(w, sizeof w);
    secret_wipe(v, sizeof v);
}

void sha256(struct weir_str text, uint8_t digest[SHA256_BYTES])
{
    uint32_t state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    uint8_t last[128] = { 0 };
    size_t at = 0, blocks;
    for (; text.len - at >= 64; at += 64) sha256_block(state, (const uint8_t *)text.ptr + at);
    size_t left = text.len - at;
    if (left > 0) memcpy(last, text.ptr + at, left);
    last[left] = 0x80;
    blocks = left < 56 ? 1 : 2; /* 8 bytes at the end hold the length */
    uint64_t bits = (uint64_t)text.len * 8;
    store_be32(last + 64 * blocks - 8, (uint32_t)(bits >> 32));
    store_be32(last + 64 * blocks - 4, (uint32_t)bits);
    for (size_t i = 0; i < blocks; i++) sha256_block(state, last + 64 * i);
    for (int i = 0; i < 8; i++) store_be32(digest + 4 * i, state[i]);
    secret_wipe(last, sizeof last);
}

/* Nothing may be known of `n` to the compiler, so that it cannot end a comparison early. */
static uint64_t opaque(uint64_t n)
{
    __asm__("" : "+r"(n));
    return n;
}

bool secret_eq(const void *a, const void *b, size_t len)
{
    const char *left = a, *right = b;
    uint64_t differs = 0;
    size_t at = 0;
    for (; len - at >= 8; at += 8) {
        uint64_t x, y;
        memcpy(&x, left + at, 8);
        memcpy(&y, right + at, 8);
        differs = opaque(differs | (x ^ y));
    }
    for (; at < len; at++) differs = opaque(differs | (uint8_t)(left[at] ^ right[at]));
    return differs == 0;
}

void secret_wipe(void *bytes, size_t len)
{
    explicit_bzero(bytes, len);
}
