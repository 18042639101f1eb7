/*
 * test_lua_test.c - `weir test` runs Lua handlers in the real engine, simulated; argument: the folder of tour_test.lua.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "func/lua.h"

static const char *folder;

struct tally {
    unsigned passed, failed;
    uint64_t seed;
    bool quiet;
    char message[512];
};

static void each(void *arg, const struct lua_test_result *result)
{
    struct tally *tally = arg;
    if (result->passed) {
        tally->passed++;
        return;
    }
    tally->failed++;
    snprintf(tally->message, sizeof(tally->message), "%s", result->message);
    if (!tally->quiet)
        print_error("seed %llu, %s: %s\n", (unsigned long long)tally->seed, result->name,
                    result->message);
}

static void run(const char *file, const char *only, struct tally *tally)
{
    char path[600];
    struct lua_problem problem;
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    if (!lua_test_run(path, tally->seed, only, each, tally, &problem))
        fail_msg("%s:%d: %s", problem.file, problem.line, problem.text);
}

static void tour_passes_with_every_seed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct tally tally = { .seed = seed };
        run("tour_test.lua", NULL, &tally);
        assert_int_equal(tally.failed, 0);
        assert_int_equal(tally.passed, 9);
    }
}

static void deferred_answers_come_with_every_seed(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct tally tally = { .seed = seed };
        run("deferred_test.lua", NULL, &tally);
        assert_int_equal(tally.failed, 0);
        assert_int_equal(tally.passed, 8);
    }
}

static void only_the_named_case_runs(void **state)
{
    (void)state;
    struct tally tally = { .seed = 1 };
    run("tour_test.lua", "cycles", &tally);
    assert_int_equal(tally.passed, 1);
}

static void failing_case_says_where(void **state)
{
    (void)state;
    struct tally tally = { .seed = 1, .quiet = true };
    run("fails_test.lua", NULL, &tally);
    assert_int_equal(tally.failed, 4);
    assert_non_null(
        strstr(tally.message, "fails_test.lua:19: expected the failure `exists`, got: "));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tour_passes_with_every_seed),
        cmocka_unit_test(deferred_answers_come_with_every_seed),
        cmocka_unit_test(only_the_named_case_runs),
        cmocka_unit_test(failing_case_says_where),
    };
    if (argc < 2) return 64;
    folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
