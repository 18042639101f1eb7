/*
 * test_lua_test.c - `weir test` runs Lua handlers in the real engine, simulated; argument: the folder of tour_test.lua.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Case by case: what a function of t.outside, or a rule, raised. */
static void trouble_is_told(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "equal outside", "in the function of t.outside: troubled_test.lua:13: got 1, not 2" },
        { "text outside", "in the function of t.outside: it gives a table, or nil for no answer" },
        { "body outside", "in the function of t.outside: a function or routine cannot be JSON" },
        { "a rule raises", "its rule does not hold (the rule: troubled.lua:5: no such n)" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tally tally = { .seed = 1, .quiet = true };
        run("troubled_test.lua", cases[i][0], &tally);
        assert_int_equal(tally.failed, 1);
        if (strstr(tally.message, cases[i][1]) == NULL) fail_msg("%s: %s", cases[i][0], tally.message);
    }
    struct tally tally = { .seed = 1 };
    run("troubled_test.lua", "fine", &tally);
    assert_int_equal(tally.passed, 1);
}

/* What is given instead of a test file, or to t.app. */
static void file_that_is_none_is_told(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        { "local weir = require 'weir' local a = weir.entity('a', {})", "this is no test file but an application" },
        { "local weir = require 'weir' local s = weir.service 's'", "this is no test file but an application" },
        { "require('weir.test').app 'bank.so'", "t.app takes an application in Lua" },
        { "require('weir.test').app(path, { holt = true })", "asks for no setting or secret `holt`" },
        { "require('weir.test').app(path, { hold = {} })", "a text, number or boolean" },
    };
    char place[] = "/tmp/weir-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(place));
    snprintf(path, sizeof(path), "%s/none_test.lua", place);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct tally tally = { .seed = 1 };
        struct lua_problem problem;
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fprintf(file, "local path = '%s/troubled.lua' %s\n", folder, files[i][0]);
        fclose(file);
        bool loaded = lua_test_run(path, 1, NULL, each, &tally, &problem);
        remove(path);
        assert_false(loaded);
        if (strstr(problem.text, files[i][1]) == NULL || problem.line != 1) fail_msg("%s: %s", files[i][0], problem.text);
    }
    rmdir(place);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tour_passes_with_every_seed),
        cmocka_unit_test(deferred_answers_come_with_every_seed),
        cmocka_unit_test(only_the_named_case_runs),
        cmocka_unit_test(failing_case_says_where),
        cmocka_unit_test(trouble_is_told),
        cmocka_unit_test(file_that_is_none_is_told),
    };
    if (argc < 2) return 64;
    folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
