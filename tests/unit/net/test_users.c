/*
 * test_users.c - the file of users, and finding one by a secret.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/hash.h"
#include "core/catalog.h"
#include "net/users.h"

#define ANN "ann clerk,auditor sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
#define BOB "bob - sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"

static char why[256];

static struct users *read_users(struct weir_str text)
{
    struct users *users = users_create();
    if (!users_parse(users, text, why, sizeof why)) fail_msg("%s", why);
    return users;
}

static void a_secret_finds_its_user(void **state)
{
    (void)state;
    struct users *users = read_users(STR("# comment\n\n  \t\n" ANN "\t" BOB "\r\n"));
    assert_int_equal(users->count, 2);
    const struct user *ann = users_by_secret(users, STR("abc")), *bob = users_by_secret(users, STR(""));
    assert_true(ann && str_eq(ann->name, STR("ann")) && str_eq(ann->roles, STR("clerk,auditor")));
    assert_true(bob && str_eq(bob->name, STR("bob")) && bob->roles.len == 0);
    assert_null(users_by_secret(users, STR("abd")));
    assert_null(users_by_secret(users, STR("ab")));
    assert_ptr_equal(users_by_both(users, STR("ann"), STR("abc")), ann);
    assert_null(users_by_both(users, STR("bob"), STR("abc")));
    assert_null(users_by_both(users, STR("an"), STR("abc")));
    assert_null(users_by_both(users, STR(""), STR("abc")));
    assert_null(users_by_name(users, STR("zoe")));
    users_destroy(users);
    users = read_users(STR(""));
    assert_null(users_by_secret(users, STR("")));
    users_destroy(users);
    users_destroy(NULL);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct buf text = { 0 };
    struct users *users = read_users(STR(ANN BOB));
    for (uint32_t i = 0; i < users->count; i++) user_write(&users->list[i], &text);
    struct users *again = read_users(buf_str(&text));
    assert_int_equal(again->count, users->count);
    for (uint32_t i = 0; i < users->count; i++) {
        assert_true(str_eq(again->list[i].name, users->list[i].name) &&
                    str_eq(again->list[i].roles, users->list[i].roles));
        assert_memory_equal(again->list[i].digest, users->list[i].digest, SHA256_BYTES);
    }
    users_destroy(users);
    users_destroy(again);
    buf_free(&text);
}

/* Every prefix of a good file, and every byte of it changed, is read or refused, and never finds another's user. */
static void damage_never_gives_a_user(void **state)
{
    (void)state;
    static const char good[] = ANN;
    char room[sizeof good];
    for (size_t at = 0; at + 1 < sizeof good; at++) {
        for (int c = 0; c < 256; c++) {
            memcpy(room, good, sizeof good);
            if (room[at] == (char)c) continue;
            room[at] = (char)c;
            struct users *users = users_create();
            bool read = users_parse(users, (struct weir_str){ room, sizeof good - 1 }, why, sizeof why);
            const struct user *found = users_by_secret(users, STR("abc"));
            bool in_digest = at > 24 && at + 2 < sizeof good;
            if (read && in_digest && found) /* the case of a digit may differ */
                assert_true((room[at] ^ good[at]) == 0x20);
            if (!read) assert_true(strlen(why) > 0 && !strstr(why, "ba7816"));
            users_destroy(users);
        }
        struct users *users = users_create();
        bool read = users_parse(users, (struct weir_str){ good, at }, why, sizeof why);
        assert_true(!read || users->count == 0 || at + 2 == sizeof good);
        users_destroy(users);
    }
}

static void roles_are_whole_words(void **state)
{
    (void)state;
    assert_true(roles_hold(STR("clerk"), STR("clerk")));
    assert_true(roles_hold(STR("a,clerk"), STR("clerk")) && roles_hold(STR("clerk,b"), STR("clerk")));
    assert_false(roles_hold(STR("clerks"), STR("clerk")) || roles_hold(STR("aclerk"), STR("clerk")));
    assert_false(roles_hold(STR(""), STR("")) || roles_hold(STR_NIL, STR_NIL));
    assert_false(roles_hold(STR("a,,b"), STR("")));
    struct handler open = { .allow = STR("anyone") }, clerks = { .allow = STR("clerk") }, closed = { 0 };
    assert_true(handler_admits(&open, STR_NIL) && handler_admits(&open, STR("x")));
    assert_true(handler_admits(&clerks, STR("x,clerk")) && handler_admits(&clerks, STR("operator")));
    assert_false(handler_admits(&clerks, STR_NIL) || handler_admits(&clerks, STR("anyone")));
    assert_true(handler_admits(&closed, STR("a,operator")));
    assert_false(handler_admits(&closed, STR("clerk")) || handler_admits(&closed, STR_NIL));
    assert_false(user_role_is_fit(STR("anyone")) || user_role_is_fit(STR("a,b")) ||
                 user_role_is_fit(STR("")) || user_role_is_fit(STR("1a")));
    assert_false(user_name_is_fit(STR("a b")) || user_name_is_fit(STR("a:b")) ||
                 user_name_is_fit(STR("-a")) || user_name_is_fit((struct weir_str){ "a\0b", 3 }));
    assert_true(user_name_is_fit(STR("ann@example.com")) && user_role_is_fit(STR("Clerk_2")));
}

static uint64_t number_of(void *arg)
{
    uint64_t *n = arg;
    uint64_t number = hash64(1, n, sizeof *n);
    ++*n;
    return number;
}

static void tokens_use_all_their_bits(void **state)
{
    (void)state;
    char token[TOKEN_BYTES], seen[TOKEN_BYTES][128] = { { 0 } };
    uint64_t n = 0;
    for (int i = 0; i < 2000; i++) {
        token_make(number_of, &n, token);
        assert_memory_equal(token, TOKEN_PREFIX, 5);
        for (size_t at = 5; at < TOKEN_BYTES; at++) seen[at][(unsigned char)token[at]] = 1;
    }
    for (size_t at = 5; at < TOKEN_BYTES; at++) {
        int kinds = 0;
        for (int c = 0; c < 128; c++) kinds += seen[at][c];
        assert_int_equal(kinds, 32);
    }
    assert_int_equal(n, 2000 * 4); /* 40 bits of each */
}

static void a_password_is_long_and_one_line(void **state)
{
    (void)state;
    struct users *users = users_create();
    assert_false(users_add_password(users, STR("fifteen letters\n"), why, sizeof why));
    assert_false(users_add_password(users, STR("more than one line\nof it"), why, sizeof why));
    assert_false(users_add_password(users, STR(""), why, sizeof why));
    assert_true(users_add_password(users, STR("sixteen letters!\r\n"), why, sizeof why));
    assert_false(users_add_password(users, STR("sixteen letters?"), why, sizeof why));
    const struct user *user = users_by_both(users, STR("operator"), STR("sixteen letters!"));
    assert_true(user && str_eq(user->roles, STR("operator")));
    users_destroy(users);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_finds_its_user),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(damage_never_gives_a_user),
        cmocka_unit_test(roles_are_whole_words),
        cmocka_unit_test(tokens_use_all_their_bits),
        cmocka_unit_test(a_password_is_long_and_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
