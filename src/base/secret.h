/*
 * secret.h - what secrets need: a digest, a comparison that takes the same time whatever differs, wiping.
 *
 * SHA-256 as in FIPS 180-4, here because a digest of a token stands in a file that people and their tools make,
 * too (`printf %s "$TOKEN" | sha256sum`). It is fast on purpose, so it is for random secrets only: a secret of
 * 128 random bits cannot be guessed from its digest, one that a person chose can.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_SECRET_H
#define WEIR_BASE_SECRET_H

#include "base/mem.h"

#define SHA256_BYTES 32u

void sha256(struct weir_str text, uint8_t digest[SHA256_BYTES]);
/** Reads all bytes of both, wherever they differ. */
bool secret_eq(const void *a, const void *b, size_t len);
/** Overwrites with zeros; never left out by the compiler. */
void secret_wipe(void *bytes, size_t len);

#endif
