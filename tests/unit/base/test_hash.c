/*
 * test_hash.c - checksums against published vectors.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "draw.h"

/* RFC 3720, appendix B.4, and the check value of the CRC catalogues. */
static void crc32c_matches_published_vectors(void **state)
{
    char bytes[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    memset(bytes, 0, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) bytes[i] = (char)i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++) bytes[i] = (char)(31 - i);
    assert_int_equal(crc32c(0, bytes, 32), 0x113fdb5c);
    assert_int_equal(crc32c(0, "", 0), 0);
}

static uint32_t naive_crc(uint32_t seed, const uint8_t *bytes, size_t len)
{
    uint32_t crc = ~seed;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void crc32c_agrees_with_the_definition_and_chains(void **state)
{
    uint8_t bytes[300];
    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t random = seed;
        size_t from = draw_below(&random, 8), len = draw_below(&random, 290);
        size_t cut = len ? draw_below(&random, len) : 0;
        for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)draw(&random);
        uint32_t whole = crc32c(0, bytes + from, len);
        CHECK(seed, whole == naive_crc(0, bytes + from, len));
        CHECK(seed, whole == crc32c(crc32c(0, bytes + from, cut), bytes + from + cut, len - cut));
    }
}

/* These stand on disk: the value must not change with the library. */
static void hash64_is_xxh3(void **state)
{
    assert_true(hash64(0, "", 0) == 0x2d06800538d394c2u);
    assert_true(hash64(0, "a", 1) != hash64(1, "a", 1));
    assert_true(hash64(0, "a", 1) == 0xe6c632b61e964e1fu);
}

static void loads_are_little_endian(void **state)
{
    char bytes[9] = { 0 };
    store_le64(bytes + 1, 0x0102030405060708u);
    assert_int_equal(bytes[1], 8);
    assert_int_equal(load_le32(bytes + 1), 0x05060708);
    assert_true(load_le64(bytes + 1) == 0x0102030405060708u);
    store_le32(bytes + 1, 7);
    assert_true(load_le64(bytes + 1) == 0x0102030400000007u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_matches_published_vectors),
        cmocka_unit_test(crc32c_agrees_with_the_definition_and_chains),
        cmocka_unit_test(hash64_is_xxh3),
        cmocka_unit_test(loads_are_little_endian),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
