/*
 * test_lua_runaway.c - handlers that never end, eat memory or nest too deep; suspended ones by the thousand.
 * SPDX-License-Identifier: MIT
 */
#include "fake_ctx.h"

#include <stdio.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static const char app[] =
    "local weir = require 'weir'\n"
    "local int, text, list, any = weir.int, weir.text, weir.list, weir.any\n"
    "local gate = weir.service 'gate'\n"
    "local a = weir.entity('a', { n = int, t = text, e = int { check = function(n) while n == 7 do "
    "end return true end } })\n"
    "a:on('add', { int, returns = int }, function(self, n) self.n = self.n + n return self.n end)\n"
    "a:on('loop', {}, function(self) self.n = 99 while true do end end)\n"
    "a:on('loop_calls', {}, function(self) local x = 0 while true do x = math.floor(x + 1.5) end "
    "end)\n"
    "a:on('loop_pcall', {}, function(self) while true do pcall(function() while true do end end) "
    "end end)\n"
    "a:on('loop_error', {}, function(self) while true do pcall(error, 'x') end end)\n"
    "a:on('tail', {}, function(self) local function f(n) return f(n + 1) end return f(1) end)\n"
    "a:on('pattern', {}, function(self) return (('a'):rep(400):find('.-.-.-.-.-b')) end)\n"
    "a:on('loop_table', {}, function(self) while true do local t = {} for i = 1, 100 do t[i] = i "
    "end end end)\n"
    "a:on('loop_text', {}, function(self) local i = 0 while true do i = i + 1 local s = 'k' .. i "
    "end end)\n"
    "a:on('loop_row', {}, function(self) while true do self.n = self.n + 1 end end)\n"
    "a:on('loop_sort', {}, function(self) while true do local t = {} for i = 1, 50 do t[i] = -i "
    "end table.sort(t, function(x, y) return x < y end) end end)\n"
    "a:on('loop_routine', {}, function(self) local f = coroutine.wrap(function() while true do end "
    "end) f() end)\n"
    "a:on('inner', {}, function(self) self.n = 5 a('spin'):loop() end)\n"
    "a:on('rule', {}, function(self) self.e = 7 end)\n"
    "a:on('bomb', {}, function(self) local t = {} for i = 1, 1e9 do t[i] = { i } end end)\n"
    "a:on('bomb_pcall', {}, function(self) pcall(function() local t = {} for i = 1, 1e9 do t[i] = "
    "{ i } end end) end)\n"
    "a:on('rep', {}, function(self) local s = ('x'):rep(1e9) end)\n"
    "a:on('concat', {}, function(self) local s = 'x' for i = 1, 40 do s = s .. s end end)\n"
    "a:on('format', {}, function(self) local t = {} for i = 1, 1e6 do t[i] = ('%099d'):format(i) "
    "end end)\n"
    "a:on('garbage', { returns = int }, function(self) local n = 0 for i = 1, 300000 do n = n + "
    "#('k' .. i .. ('x'):rep(60)) end return n end)\n"
    "a:on('deep', {}, function(self) local function f(n) return 1 + f(n + 1) end return f(1) end)\n"
    "a:on('deep_gsub', {}, function(self) local function f() return (('a'):gsub('a', f)) end "
    "return f() end)\n"
    "a:on('deep_sort', {}, function(self) local function f() table.sort({ 1, 2, 3 }, f) return "
    "true end return f() end)\n"
    "a:on('deep_wrap', {}, function(self) local function f() return coroutine.wrap(f)() end return "
    "f() end)\n"
    "a:on('deep_pcall', {}, function(self) local function f() return pcall(f) end return f() end)\n"
    "a:on('deep_text', {}, function(self) local t = setmetatable({}, { __tostring = function(t) "
    "return tostring(t) end }) return tostring(t) end)\n"
    "a:on('deep_format', {}, function(self) local t = setmetatable({}, { __tostring = function(t) "
    "return ('%s'):format(t) end }) return tostring(t) end)\n"
    "a:on('deep_index', {}, function(self) local t = {} setmetatable(t, { __index = function(t, k) "
    "return t[k + 1] end }) return t[1] end)\n"
    "a:on('deep_xpcall', {}, function(self) local function h() return xpcall(error, h) end return "
    "xpcall(error, h) end)\n"
    "a:on('deep_meta', {}, function(self) local t = {} setmetatable(t, { __lt = function(x, y) "
    "return x < y end }) return t < setmetatable({}, getmetatable(t)) end)\n"
    "a:on('deep_all', {}, function(self) local function f() return weir.all { f } end return f() "
    "end)\n"
    "a:on('deep_call', {}, function(self) self:deep_call() end)\n"
    "a:on('fill_text', {}, function(self) for i = 1, 1e9 do self.t = ('x'):rep(60000) .. i end "
    "end)\n"
    "a:on('wait', { int, returns = int }, function(self, n)\n"
    "  local sum, keep = 0, {}\n"
    "  for i = 1, 3 do\n"
    "    keep[i] = { n, i }\n"
    "    local order = { 3, 1, 2 }\n"
    "    table.sort(order, function(x, y) gate:wait() return x < y end)\n"
    "    sum = sum + keep[i][1] * order[i]\n"
    "  end\n"
    "  return sum\n"
    "end)\n";

static struct fake *open_app(void)
{
    return fake_create(app);
}

static void expect_start(const char *got, const char *want)
{
    if (strncmp(got, want, strlen(want)) != 0) fail_msg("got `%s`, not `%s...`", got, want);
}

static void stopped_after_its_cpu_time(void **state)
{
    (void)state;
    static const char *const kinds[] = { "loop",     "loop_calls", "loop_pcall",   "loop_error",
                                         "tail",     "pattern",    "loop_table",   "loop_text",
                                         "loop_row", "loop_sort",  "loop_routine", "inner" };
    fake_cpu_ms(30);
    struct fake *fake = open_app();
    int rounds = SANITIZED ? 1 : 3;
    for (int round = 0; round < rounds; round++) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
            if (SANITIZED && strcmp(kinds[i], "pattern") == 0) continue; /* a hook sees no C code */
            const char *got = fake_call(fake, "a", "x", kinds[i], "");
            if (strncmp(got, "budget cpu: more than 30 ms (cpu_ms_max) in app.lua:", 51) != 0)
                fail_msg("%s: %s", kinds[i], got);
            assert_string_equal(fake_row(fake, "a", "x"),
                                round == 0 && i == 0 ? "none" : fake_row(fake, "a", "x"));
            assert_string_equal(fake_call(fake, "a", kinds[i], "add", "[2]"), round == 0 ? "ok 2"
                                                                              : round == 1
                                                                                  ? "ok 4"
                                                                                  : "ok 6");
        }
    }
    fake_destroy(fake);
}

static void file_is_stopped(const char *text, int line, const char *why)
{
    struct lua_problem problem;
    fake_cpu_ms(10);
    assert_null(fake_try(text, &problem));
    expect_start(problem.text, why);
    assert_string_equal(problem.file, "app.lua");
    assert_int_equal(problem.line, line);
}

/* Without a budget such a file kept the server from starting. */
static void file_that_never_ends_is_refused_with_its_line(void **state)
{
    (void)state;
    fake_files_reset();
    file_is_stopped("local weir = require 'weir'\nwhile true do end\n", 2, "the file does not end");
    file_is_stopped("\n\nwhile true do pcall(function() while true do end end) end\n", 3,
                    "the file does not end");
    file_is_stopped("while true do pcall(error, 'x') end\n", 1, "the file does not end");
    if (!SANITIZED) /* a hook sees no C code */
        file_is_stopped("\nlocal s = ('a'):rep(400):find('.-.-.-.-.-b')\n", 2, "the file does not end");
}

static void file_that_eats_memory_is_refused_with_its_line(void **state)
{
    (void)state;
    struct lua_problem problem;
    fake_files_reset();
    fake_cpu_ms(20000);
    assert_null(fake_try("local t = {}\nfor i = 1, 1e9 do t[i] = { i } end\n", &problem));
    expect_start(problem.text, "not enough memory: more than");
    assert_int_equal(problem.line, 2);
    assert_int_equal(fake_check("local t = {}\nfor i = 1, 1e9 do t[i] = { i } end\n", &problem, 1),
                     1);
    expect_start(problem.text, "not enough memory: more than");
    fake_files_reset();
}

static void rule_that_never_ends_is_broken(void **state)
{
    (void)state;
    struct fake *fake = open_app();
    expect_start(fake_call(fake, "a", "x", "rule", ""), "check");
    assert_string_equal(fake_call(fake, "a", "x", "add", "[2]"), "ok 2");
    fake_destroy(fake);
}

static void memory_ends_at_its_limit(void **state)
{
    (void)state;
    static const char *const kinds[] = { "bomb",   "bomb_pcall", "rep",
                                         "concat", "format",     "fill_text" };
    fake_cpu_ms(20000);
    struct fake *fake = open_app();
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *got = fake_call(fake, "a", "x", kinds[i], "");
        if (strncmp(got, "budget memory: not enough memory", 30) != 0)
            fail_msg("%s: %s", kinds[i], got);
        assert_string_equal(fake_call(fake, "a", kinds[i], "add", "[2]"), "ok 2");
    }
    fake_destroy(fake);
}

static void garbage_is_no_memory_held(void **state)
{
    (void)state;
    fake_cpu_ms(20000);
    struct fake *fake = open_app();
    for (int i = 0; i < 3; i++) {
        expect_start(fake_call(fake, "a", "x", "garbage", ""), "ok ");
        fake_idle(fake);
    }
    fake_destroy(fake);
}

static void deep_recursion_is_an_error(void **state)
{
    (void)state;
    static const char *const kinds[] = { "deep",        "deep_gsub", "deep_sort",   "deep_wrap",
                                         "deep_pcall",  "deep_text", "deep_format", "deep_index",
                                         "deep_xpcall", "deep_meta", "deep_all",    "deep_call" };
    fake_cpu_ms(300);
    struct fake *fake = open_app();
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *got = fake_call(fake, "a", "x", kinds[i], "");
        bool fine = strncmp(got, "handler ", 8) == 0 || strncmp(got, "budget ", 7) == 0 ||
                    strncmp(got, "ok", 2) == 0;
        if (!fine) fail_msg("%s: %s", kinds[i], got);
        assert_string_equal(fake_call(fake, "a", kinds[i], "add", "[2]"), "ok 2");
    }
    fake_destroy(fake);
}

static void suspended_handlers_finish_or_are_dropped(void **state)
{
    (void)state;
    enum { WIDE = SANITIZED ? 100 : 1000, ROUNDS = SANITIZED ? 2 : 10 };
    struct fake *fake = open_app();
    static struct fake_txn *txn[WIDE];
    uint32_t seed = 20261124;
    unsigned finished = 0, dropped = 0;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned open = WIDE;
        for (int i = 0; i < WIDE; i++) {
            char key[24], args[24];
            snprintf(key, sizeof(key), "k%d", i % 50);
            snprintf(args, sizeof(args), "[%d]", i);
            txn[i] = fake_begin(fake, "a", key, "wait", args);
        }
        while (open > 0) {
            seed = seed * 1664525u + 1013904223u;
            int i = (int)((seed >> 8) % WIDE);
            if (txn[i] == NULL) {
                while (txn[i] == NULL) i = (i + 1) % WIDE;
            }
            if ((seed >> 4) % 16 == 0) {
                fake_drop(txn[i]);
                dropped++;
            } else if (fake_step(txn[i])) {
                continue;
            } else {
                char want[32];
                snprintf(want, sizeof(want), "ok %d", i * 6);
                assert_string_equal(fake_end(txn[i]), want);
                finished++;
            }
            txn[i] = NULL;
            open--;
        }
        fake_idle(fake);
    }
    assert_true(finished > WIDE && dropped > WIDE / 2);
    fake_destroy(fake);
}

static void a_stopped_handler_takes_the_suspended_with_it(void **state)
{
    (void)state;
    struct fake *fake = open_app();
    struct fake_txn *waiting = fake_begin(fake, "a", "w", "wait", "[1]");
    assert_true(fake_step(waiting));
    expect_start(fake_call(fake, "a", "x", "loop", ""), "budget cpu");
    assert_true(fake_lost(waiting));
    fake_drop(waiting);
    assert_string_equal(fake_call(fake, "a", "w", "add", "[2]"), "ok 2");
    fake_destroy(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_after_its_cpu_time),
        cmocka_unit_test(file_that_never_ends_is_refused_with_its_line),
        cmocka_unit_test(file_that_eats_memory_is_refused_with_its_line),
        cmocka_unit_test(rule_that_never_ends_is_broken),
        cmocka_unit_test(memory_ends_at_its_limit),
        cmocka_unit_test(garbage_is_no_memory_held),
        cmocka_unit_test(deep_recursion_is_an_error),
        cmocka_unit_test(suspended_handlers_finish_or_are_dropped),
        cmocka_unit_test(a_stopped_handler_takes_the_suspended_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
