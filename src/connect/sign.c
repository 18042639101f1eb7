/*
 * sign.c - the signature of webhooks: HMAC-SHA256 (RFC 2104, FIPS 180-4) by OpenSSL's libcrypto.
 *
 * The time stands inside what is signed, so that a signature that was overheard grows old.
 * SPDX-License-Identifier: MIT
 */
#include "connect/outside.h"

#include <inttypes.h>
#include <stdio.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/assert.h"
#include "base/mem.h"

#define HMAC_BYTES 32

void outside_sign(struct weir_str secret, int64_t unix_seconds, struct weir_str body,
                  char signature[OUTSIDE_SIGNATURE_BYTES])
{
    struct buf text = { 0 };
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_bytes = 0;
    ASSERT(secret.len <= INT32_MAX);
    buf_printf(&text, "%" PRId64 ".", unix_seconds);
    buf_add_str(&text, body);
    const void *done = HMAC(EVP_sha256(), secret.ptr, (int)secret.len,
                            (const unsigned char *)text.ptr, text.len, mac, &mac_bytes);
    /* it fails for lack of memory only, and memory never fails upwards */
    ASSERT(done != NULL && mac_bytes == HMAC_BYTES);
    buf_free(&text);
    int len = snprintf(signature, OUTSIDE_SIGNATURE_BYTES, "t=%" PRId64 ",v1=", unix_seconds);
    ASSERT(len > 0 && len + 2 * HMAC_BYTES < OUTSIDE_SIGNATURE_BYTES);
    for (unsigned i = 0; i < HMAC_BYTES; i++)
        snprintf(signature + len + 2 * i, 3, "%02x", (unsigned)mac[i]);
}
