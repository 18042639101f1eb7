/*
 * test_lua_sandbox.c - ways out of the sandbox, each a handler's body that must fail, and state outside rows.
 * SPDX-License-Identifier: MIT
 */
#include "fake_ctx.h"

#include <stdio.h>
#include <string.h>

static const char head[] =
    "local weir = require 'weir'\nlocal int, text, any = weir.int, weir.text, weir.any\n"
    "local a = weir.entity('a', { n = int, t = text })\n";

/* Runs the body as a handler. */
static const char *body(const char *text)
{
    static char app[8192], answer[1024];
    snprintf(app, sizeof(app), "%sa:on('go', {}, function(self)\n%s\nend)\n", head, text);
    struct lua_problem problem = { .line = 0 };
    struct fake *fake = fake_try(app, &problem);
    if (fake == NULL) {
        snprintf(answer, sizeof(answer), "load %d: %s", problem.line, problem.text);
        fake_files_reset();
        return answer;
    }
    snprintf(answer, sizeof(answer), "%s", fake_call(fake, "a", "x", "go", ""));
    const char *again = fake_call(fake, "a", "x", "go", ""); /* the state is as it was */
    if (strcmp(answer, again) != 0) fail_msg("first `%s`, then `%s`", answer, again);
    fake_destroy(fake);
    return answer;
}

static void probe_fails(void **state)
{
    (void)state;
    static const char *const probes[] = {
        "return io.open('/etc/passwd')",
        "return os.execute('true')",
        "return os.getenv('HOME')",
        "return debug.getregistry()",
        "return debug.getupvalue(print, 1)",
        "return package.loaded",
        "return package.loadlib('x', 'y')",
        "return require 'ffi'",
        "return require 'jit'",
        "return require 'io'",
        "return ffi.cdef 'int x;'",
        "return jit.off()",
        "return string.dump(pcall)",
        "return ('').dump(function() end)",
        "return load('return 1')()",
        "return loadstring('return 1')()",
        "return dofile('/etc/passwd')",
        "return loadfile('/etc/passwd')",
        "return collectgarbage('stop')",
        "return newproxy(true)",
        "return setfenv(1, {})",
        "return getfenv(0)",
        "return getfenv(1)",
        "return math.random()",
        "return math.randomseed(1)",
        "return print('x')",
        "return _G.io",
        "return module('x')",
        "return gcinfo()",
        "return table.foreach({}, pcall)",
        "getmetatable('').__index = {} ",
        "getmetatable('').__index.rep = nil",
        "string.rep = function() end",
        "rawset(string, 'rep', 1)",
        "rawset(math, 'floor', 1)",
        "table.insert(math, 1)",
        "table.insert(weir, 1)",
        "math.floor = nil",
        "weir.now = nil",
        "weir.x = 1",
        "x = 1",
        "ipairs = nil",
        "return y",
        "setmetatable('', {})",
        "setmetatable(self, {})",
        "getmetatable(self).__index = nil",
        "getmetatable(a 'k').__index = nil",
        "self.key = 'x'",
        "self.nothing = 1",
        "return self.nothing",
        "a('k').n = 1",
        "return a('k').n",
        "a.x = 1",
        "a:on('other', {}, function(self) end)",
        "weir.entity 'other'",
        "require 'weir'",
        "require '../../etc/passwd'",
        "require '/etc/passwd'",
        "rawset(self, 'n', 1)",
        "for k, v in next, weir do end",
        "return coroutine.wrap(function() weir.fail(1) end)()",
        "coroutine.yield(1)",
        "error({ code = 1 })",
        "error()",
        "error(nil)",
        "error(setmetatable({}, { __tostring = function() error('again') end }))",
        "xpcall(function() error() end, function() weir.entity 'b' end) error('end')",
        "return string.format('%p %q', 1)",
        "return ('x'):rep(-1):bad()",
        "return unpack({}, 1, 1e8)",
        "return select(-5, 1)",
        "return tostring(nil) .. nil",
        "return a('')",
        "return a({})",
        "return a(('k'):rep(2000))",
        "return a('\\255')",
        "return weir.fail('Not A Word')",
        "return weir.stream 'x'",
        "return weir.nothing",
        "return weir.date",
        "bit.band = nil",
        "coroutine.create = nil",
        "self:nothing()",
        "a('k').go('k')",
        "weir.all(5)",
        "weir.after('15x', 'go')",
        "weir.send(5, 'go')",
        "weir.after('1s', 'nothing')",
        "weir.round('x')",
        "weir.round(0/0)",
        "weir.round(1e300)",
        "weir.random(2, 1)",
        "weir.random(0.5, 1)",
        "weir.exists('x')",
        "weir.setting('x', text)",
        "weir.at(1.5, 'go')",
        "local f = load or loadstring f('x')",
        "return table.concat({ {} })",
        "self.t = self",
        "self.n = '5'",
        "self.n = 1.5",
        "self.n = 2^53",
        "self.n = 0/0",
        "self.n = nil",
        "self.t = 5",
        "self.t = '\\255'",
        /* other roads to the host, to shared tables, to byte code, to the compiler */
        "return io.popen('id')",
        "return io.write('x')",
        "return io.stdout",
        "return os.exit(1)",
        "return os.remove('x')",
        "return os.time()",
        "return debug.sethook(function() end)",
        "return debug.getinfo(1)",
        "return debug.setmetatable('', {})",
        "return debug.getlocal(1, 1)",
        "return debug.upvaluejoin(print, 1, print, 1)",
        "return xpcall(error, debug.traceback)",
        "return package.preload",
        "return package.cpath",
        "return require 'debug'",
        "return require 'os'",
        "return require 'string'",
        "return require 'jit.util'",
        "return require 'table.new'",
        "return require 'weir.test'",
        "return ffi.C.system('true')",
        "return ffi.new('int')",
        "return jit.util",
        "return jit.status()",
        "return load('\\27LJ')",
        "return load(function() return nil end)",
        "return loadstring('\\27LJ\\2')",
        "return string.dump(string.rep)",
        "return _ENV.io",
        "return getfenv(pcall)",
        "return getfenv(weir.now)",
        "return setfenv(function() end, {})",
        "return getmetatable('').__index('x')",
        "setmetatable(string, {})",
        "setmetatable(math, {})",
        "setmetatable(weir, {})",
        "setmetatable(table, { __index = {} })",
        "rawset(weir, 'now', 1)",
        "rawset(table, 'insert', 1)",
        "rawset(bit, 'band', 1)",
        "rawset(coroutine, 'wrap', 1)",
        "rawset(a, 'x', 1)",
        "rawset(a 'k', 'x', 1)",
        "rawget(self, 'n').x = 1",
        "setmetatable(a, {})",
        "setmetatable(a 'k', {})",
        "getmetatable(weir).__newindex = nil",
        "getmetatable(math).__newindex = nil",
        "getmetatable(a).__index = nil",
        "string.format = nil",
        "table.sort = nil",
        "pcall = nil",
        "self = nil self.n = 1",
        "return string.gfind('x', 'y')",
        "return table.setn({}, 5)",
        "return ('x'):rep(1e9)",
        "return ('%99999d'):format(1)",
        "return ('%d'):format('x')",
        "local f = function(...) return f(...) end return f()",
        "local t = setmetatable({}, {}) setmetatable(t, { __metatable = 1 }) setmetatable(t, {})",
        "local t = setmetatable({}, { __index = function(t, k) return t[k] end }) return t.x",
        "local t = {} t[1] = t self.t = t",
        "local t = {} t[1] = t return weir.fail('x', t)",
        "return string.gsub('x', 'x', function() error('out') end)",
        "table.sort({ 3, 2, 1 }, function() error('out') end)",
        "return coroutine.wrap(function() return io.open('x') end)()",
        "error(setmetatable({}, { __index = function() error('again') end }))",
        "return newproxy(newproxy(true))",
        "return getmetatable(newproxy(true))",
        "return ({ pcall(string.dump, pcall) })[2] .. nil",
        "self['__index'] = 1",
        "self['\\0'] = 1",
        "return weir['__index']",
        "return weir.test",
        "return weir.caller().roles.x.y",
        "weir.caller = nil",
    };
    for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++) {
        const char *got = body(probes[i]);
        if (strncmp(got, "handler ", 8) != 0 && strncmp(got, "load ", 5) != 0 &&
            strncmp(got, "budget ", 7) != 0)
            fail_msg("`%s` gave `%s`", probes[i], got);
    }
}

static void probe_is_harmless(void **state)
{
    (void)state;
    static const char *const fine[] = {
        "local t = setmetatable({}, { __gc = function() error('x') end }) t = nil",
        "assert(getmetatable('') == false and getmetatable(self) == false and getmetatable(a 'k') "
        "== false)",
        "local ok, why = pcall(error, 'x') assert(not ok and why == 'x')",
        "local ok = pcall(function() self.n = 'x' end) assert(not ok and self.n == 0)",
        "local c = coroutine.wrap(function(x) local y = coroutine.yield(x + 1) return y * 2 end) "
        "assert(c(1) == 2 and c(5) == 10)",
        "local m = string.match('key=val', '(%w+)=') assert(m == 'key') assert(('x'):rep(3) == "
        "'xxx')",
        "assert(a('k') == a('k')) local t = { [a 'k'] = 1 } assert(t[a 'k'] == 1 and a('k').key == "
        "'k' and a('k') ~= a('l'))",
        "assert(a('x') == self and self.key == 'x' and tostring(self) == 'a/x')",
        "assert(weir.span '1h30m' == 5400000 and weir.span '10ms' == 10 and weir.span '1d' == "
        "86400000)",
        "assert(weir.round(1.5) == 2 and weir.round(-1.5) == -2 and weir.round(0.4) == 0)",
        "assert(#weir.id() == 26) local n = weir.random(1, 6) assert(n >= 1 and n <= 6) "
        "assert(weir.random() < 1)",
        "assert(weir.now() == 1000000 and weir.caller().id == 'tester')",
        "assert(select('#', unpack { 1, 2, 3 }) == 3 and table.concat({ 1, 2 }, ',') == '1,2')",
        "local t = { 3, 1, 2 } table.sort(t) assert(t[1] == 1) table.insert(t, 1, 0) assert(t[1] "
        "== 0 and table.remove(t) == 3)",
        "local t = {} local function add(v) t[#t + 1] = v end add(1) add(2) t.n = #t assert(t.n == 2)",
        "assert(bit.band(6, 3) == 2 and math.floor(1.5) == 1 and tonumber('5') == 5)",
    };
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        const char *got = body(fine[i]);
        if (strncmp(got, "ok", 2) != 0) fail_msg("`%s` gave `%s`", fine[i], got);
    }
}

/* The whole file must be refused, in this line, with this in its words. */
static void refused(const char *file, int line, const char *words)
{
    static char app[8192];
    snprintf(app, sizeof(app), "%s%s", head, file);
    struct lua_problem problem = { .line = 0 };
    struct fake *fake = fake_try(app, &problem);
    if (fake != NULL) fail_msg("`%s` was taken", file);
    if (problem.line != line || strstr(problem.text, words) == NULL ||
        strcmp(problem.file, "app.lua") != 0)
        fail_msg("`%s`: %s:%d: %s", file, problem.file, problem.line, problem.text);
    fake_files_reset();
}

static void assignment_outside_a_handler_is_refused(void **state)
{
    (void)state;
    refused("local n = 0\na:on('go', {}, function(self)\n n = n + 1\nend)", 6, "assigns `n`");
    refused("local n\na:on('go', {}, function(self) n = nil end)", 5, "assigns `n`");
    refused("local n\na:on('go', {}, function(self) n = 'x' end)", 5, "assigns `n`");
    refused("local n\na:on('go', {}, function(self) n = 5 end)", 5, "assigns `n`");
    refused("local n = 0\nlocal function next()\n n = n + 1\nend\na:on('go', {}, function(self) "
            "next() end)",
            6, "assigns `n`");
    refused("local n = 0\na:on('go', {}, function(self)\n local f = function() return function() n "
            "= 1 end end\nend)",
            6, "assigns `n`");
    refused("local t = {}\nlocal n = 0\nfunction t.f() n = 2 end\na:on('go', {}, function(self) "
            "t.f() end)",
            6, "assigns `n`");
    refused("local function counter() local n = 0 return function() n = n + 1 return n end "
            "end\nlocal next = counter()\n"
            "a:on('go', {}, function(self) next() end)",
            4, "assigns `n`");
    /* tables, by name and down to a part of them */
    refused("local t = {}\na:on('go', {}, function(self)\n t.x = 1\nend)", 6, "changes the table `t`");
    refused("local t = {}\na:on('go', {}, function(self) t[#t + 1] = 5 end)", 5, "changes the table `t`");
    refused("local t = { d = { e = {} } }\na:on('go', {}, function(self) t.d.e[self.key] = true end)", 5, "changes the table `t`");
    refused("local t = {}\na:on('go', {}, function(self) t.n = (t.n or 0) + 1 end)", 5, "changes the table `t`");
    refused("local t = {}\nlocal function note(k) t[k] = k end\na:on('go', {}, function(self) note(1) end)", 5, "changes the table `t`");
    refused("local t = {}\na:on('go', {}, function(self) local u = {} if self.n > 0 then u = t end u.x = 1 end)", 5, "changes the table `t`");
    refused("a:on('go', {}, function(self)\n fresh = 1 end)", 5, "assigns the global `fresh`");
    refused("local n\nweir.entity('b', { n = int }, { check = function(r) n = r end })", 5,
            "assigns `n`");
    refused("local n\nweir.entity('b', { n = int { check = function(v) n = v return true end } })",
            5, "assigns `n`");
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal a = weir.entity('a', { n = weir.int })\n"
        "local function counter() local n = 0 return function() n = n + 1 return n end end\n"
        "a:on('go', { returns = weir.int }, function(self) local c = counter() c() local x = 1 "
        "local f = function() x = x + 1 end f() return c() + x end)");
    assert_string_equal(fake_call(fake, "a", "x", "go", ""), "ok 4");
    fake_destroy(fake);
}

static void byte_code_and_syntax_are_refused(void **state)
{
    (void)state;
    struct lua_problem problem;
    assert_null(fake_try("\x1bLJ\x02", &problem));
    fake_files_reset();
    assert_null(fake_try("local x = \n= 5", &problem));
    assert_int_equal(problem.line, 2);
    fake_files_reset();
}

/* Code too large for the compiler's tables is a mistake at load, not a crash: one text, many times over. */
static void refused_when_repeated(const char *begin, const char *part, int times)
{
    struct buf app = { 0 };
    struct lua_problem problem = { .line = 0 };
    buf_printf(&app, "%sa:on('go', {}, function(self) %s", head, begin);
    for (int i = 0; i < times; i++) {
        if (part) buf_add_text(&app, part);
        else buf_printf(&app, "local v%d = '%d'\n", i, i);
    }
    buf_add_text(&app, " end)\n");
    buf_add_byte(&app, 0);
    struct fake *fake = fake_try(app.ptr, &problem);
    if (fake != NULL) fail_msg("%d times `%s` was taken", times, part ? part : "local");
    assert_true(problem.text[0] != 0);
    fake_files_reset();
    buf_free(&app);
}

static void code_beyond_the_compiler_is_refused(void **state)
{
    (void)state;
    refused_when_repeated("", NULL, 300);
    refused_when_repeated("", NULL, 66000);
    refused_when_repeated("return ", "(", 20000);
    refused_when_repeated("", "do ", 20000);
    refused_when_repeated("local t = ", "{", 20000);
    refused_when_repeated("return function() ", "return function() ", 1000);
    refused_when_repeated("return ", "- ", 20000);
}

static void modules_stay_in_their_folder(void **state)
{
    (void)state;
    fake_file("money.lua",
              "return { cents = function(n) return n * 100 end, rate = rate_of and 1 or 2 }");
    struct lua_problem problem;
    assert_null(fake_try("local m = require 'money'", &problem));
    assert_string_equal(problem.file, "money.lua");
    assert_non_null(strstr(problem.text, "unknown global `rate_of`"));
    fake_files_reset();
    fake_file("money.lua",
              "helper = 5\nreturn { cents = function(n) return n * 100 + helper end }");
    fake_file("lib/tax.lua", "local money = require 'money' return 7");
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal money = require 'money'\n"
        "assert(require 'money' == money)\n"
        "local a = weir.entity('a', { n = weir.int })\n"
        "a:on('go', { returns = weir.int }, function(self) return money.cents(3) end)");
    assert_string_equal(fake_call(fake, "a", "x", "go", ""), "ok 305");
    fake_destroy(fake);
    fake_file("loop.lua", "");
    refused("require 'nothing'", 4, "nothing.lua cannot be read: ");
    refused("require '../x'", 4, "no module's name");
    refused("require '.x'", 4, "no module's name");
    refused("require 'x..y'", 4, "no module's name");
    fake_file("loop.lua", "require 'loop'");
    assert_null(fake_try("require 'loop'", &problem));
    assert_non_null(strstr(problem.text, "circle"));
    fake_files_reset();
}

static void kept_rows_are_dead(void **state)
{
    (void)state;
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal int, list, map = weir.int, weir.list, weir.map\n"
        "local a = weir.entity('a', { n = int, l = list(int), r = { x = int }, m = map(int, { x = "
        "int }) })\nlocal kept = {}\n"
        "local function keep(name, value) rawset(kept, name, value) end\n"
        "local function set_x(row) row.x = 1 end\n"
        "a:on('keep', {}, function(self) self.m:put(1, { x = 1 }) keep('self', self) keep('l', self.l) keep('r', self.r)\n"
        " keep('m', self.m) keep('row', self.m:get(1)) keep('scan', self.m:scan()) end)\n"
        "a:on('use', { weir.text }, function(self, what) if what == 'scan' then kept.scan() elseif "
        "what == 'm' then kept.m:count()\n"
        " elseif what == 'l' then return #kept.l elseif what == 'key' then return kept.self.key "
        "elseif what == 'eq' then return kept.self == self\n"
        " else set_x(kept[what]) end end)");
    static const char *const uses[] = { "self", "r", "row", "m", "l", "scan", "key", "eq" };
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        assert_string_equal(fake_call(fake, "a", "x", "keep", ""), "ok null");
        char args[40];
        snprintf(args, sizeof(args), "[\"%s\"]", uses[i]);
        const char *got = fake_call(fake, "a", "x", "use", args);
        if (strstr(got, "handler ended") == NULL) fail_msg("%s: %s", uses[i], got);
    }
    fake_destroy(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_fails),
        cmocka_unit_test(probe_is_harmless),
        cmocka_unit_test(assignment_outside_a_handler_is_refused),
        cmocka_unit_test(byte_code_and_syntax_are_refused),
        cmocka_unit_test(code_beyond_the_compiler_is_refused),
        cmocka_unit_test(modules_stay_in_their_folder),
        cmocka_unit_test(kept_rows_are_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
