/*
 * test_secret.c - SHA-256 against the vectors of FIPS 180-4 and RFC 6234; comparison; wiping.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/secret.h"

static const char *hex_of(struct weir_str text)
{
    static char hex[2 * SHA256_BYTES + 1];
    uint8_t digest[SHA256_BYTES];
    sha256(text, digest);
    for (size_t i = 0; i < SHA256_BYTES; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return hex;
}

static void digest_is_that_of_the_standard(void **state)
{
    (void)state;
    assert_string_equal(hex_of(STR("")),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_string_equal(hex_of(STR("abc")),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(hex_of(STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
                        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    assert_string_equal(
        hex_of(STR("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklm"
                   "nopqklmnopqrlmnopqrsmnopqrstnopqrstu")),
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
    char *million = mem_alloc(1000000);
    memset(million, 'a', 1000000);
    assert_string_equal(hex_of((struct weir_str){ million, 1000000 }),
                        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    mem_free(million);
}

/* The padding's edges: every length around one block gives another digest, from any alignment. */
static void digest_depends_on_each_byte_and_the_length(void **state)
{
    (void)state;
    char room[140] = { 0 };
    char seen[130][2 * SHA256_BYTES + 1];
    for (size_t len = 0; len < 130; len++) {
        snprintf(seen[len], sizeof seen[len], "%s", hex_of((struct weir_str){ room + len % 8, len }));
        for (size_t i = 0; i < len; i++) assert_string_not_equal(seen[i], seen[len]);
    }
    for (size_t i = 0; i < 64; i++) {
        room[i] = 1;
        assert_string_not_equal(hex_of((struct weir_str){ room, 64 }), seen[64]);
        room[i] = 0;
    }
}

static void comparison_sees_each_byte(void **state)
{
    (void)state;
    uint8_t a[32] = { 0 }, b[32] = { 0 };
    assert_true(secret_eq(a, b, 32));
    assert_true(secret_eq(a, b, 0));
    for (size_t i = 0; i < 32; i++) {
        b[i] = 0x80;
        assert_false(secret_eq(a, b, 32));
        b[i] = 0;
    }
    memset(a, 0xff, sizeof a);
    secret_wipe(a, sizeof a);
    assert_true(secret_eq(a, b, 32));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digest_is_that_of_the_standard),
        cmocka_unit_test(digest_depends_on_each_byte_and_the_length),
        cmocka_unit_test(comparison_sees_each_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
