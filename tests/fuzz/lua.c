/*
 * lua.c - the loader of Lua applications, and what handlers may call.
 *
 * The first byte picks: the text is a whole file, or the body of a handler of a small application that has a row of every
 * kind, a map and a service. What loads is run: each handler twice with plain arguments. A second run must answer as
 * the first when the first left no trace (a state is never left damaged), and every answer is text that may be shown.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "../unit/func/fake_ctx.h"
#include "base/sanitize_int.h"
#include "core/catalog.h"
#include "fuzz.h"

#define TEXT_BYTES_MAX 8192u
#define HANDLERS_MAX 6u

const char *const fuzz_words[] = { "local ", "function", "end", "return ", "self", "self.n", "self.t", "self.list", "self.rec.x", "self.m", ":get(1)", ":put(1, { v = 1 })",
    ":append { v = 2 }", ":scan()", ":delete(1)", "weir.", "weir.now()", "weir.fail('no', 1)", "weir.send(a 'k', 'go')", "weir.after('1s', 'go')", "weir.cancel 'go'",
    "weir.all({ a 'k' }, function(o) return o.key end)", "weir.delete()", "weir.exists(a 'k')", "weir.round(1.5)", "weir.random(1, 6)", "weir.id()", "weir.caller()",
    "weir.entity('b', { n = int })", "weir.service 's'", "weir.setting('x', int { default = 1 })", "a:on('h', { int }, function(self, n) end)", "a:query('q', {}, function(self) end)",
    "pcall(", "error(", "coroutine.wrap(function() ", "table.insert(", "table.remove(", "table.sort(", "table.concat(", "string.rep('x', 9)", "string.format('%q', ",
    "setmetatable({}, { __index = ", "tostring(", "tonumber(", "unpack(", "select('#', ", "ipairs(", "pairs(", "next, ", "{", "}", "[[", "]]", "--[==[", "'\\255'", "0/0", "1e308",
    "2^53", "nil", "and", "or", "not ", "..", "==", "#", "%d+", "\x1bLJ\x02", "goto a ::a::", "for i = 1, 3 do ", "while false do ", "repeat until true ", "if x then ", NULL };

static const char head[] =
    "local weir = require 'weir'\nlocal int, text, list, opt, enum, any, record, map = weir.int, weir.text, weir.list, weir.opt, weir.enum, weir.any, weir.record, weir.map\n"
    "local a = weir.entity('a', { n = int, t = text, list = list(int), e = enum { 'x', 'y' }, o = opt(int), rec = record { x = int, y = text }, "
    "any = any, m = map(int, { v = int }) })\nlocal s = weir.service 's'\ns:on('go', {}, function() return end)\n"
    "a:on('other', { int, returns = int }, function(self, n) self.n = self.n + n return self.n end)\na:on('go', {}, function(self)\n";

/* Under a sanitizer nothing stops the C code of a pattern. */
static bool is_endless_here(const char *text)
{
#if defined(WEIR_ASAN) || defined(WEIR_TSAN)
    return strstr(text, "find") || strstr(text, "match") || strstr(text, "gsub");
#else
    return false;
#endif
}

static void run_handlers(struct fake *fake)
{
    static const char *const args[] = { "", "[1]", "[\"k\",2]" };
    const struct catalog *catalog = fake_catalog(fake);
    unsigned done = 0;
    for (uint32_t i = 0; i < catalog->type_count; i++) {
        const struct type *type = catalog->types[i];
        for (uint32_t h = 0; h < type->handler_count && done < HANDLERS_MAX; h++, done++) {
            char name[128], of[128];
            if (type->name.len >= sizeof of || type->handlers[h]->name.len >= sizeof name) continue;
            if (str_eq(type->name, STR("gate"))) continue;
            snprintf(of, sizeof of, "%.*s", STR_ARG(type->name));
            snprintf(name, sizeof name, "%.*s", STR_ARG(type->handlers[h]->name));
            for (size_t n = 0; n < 3; n++) {
                const char *answer = fake_call(fake, of, type->service ? "" : "k", name, args[n]);
                FUZZ_CHECK(answer[0] != 0, "an empty answer of %s:%s", of, name);
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[TEXT_BYTES_MAX + sizeof head + 16];
    struct bytes in = bytes_of(data, size);
    uint8_t way = take_byte(&in);
    struct weir_str given = take_rest(&in);
    if (given.len > TEXT_BYTES_MAX || memchr(given.ptr, 0, given.len)) return 0; /* the stand-in's files end at a NUL */
    snprintf(text, sizeof text, way & 1 ? "%s%.*s\nend)\n" : "%s%.*s", way & 1 ? head : "", STR_ARG(given));
    if (is_endless_here(text)) return 0;
    struct lua_problem problem = { .line = 0 };
    fake_files_reset();
    fake_cpu_ms(4); /* a file then has 200 ms */
    struct fake *fake = fake_try(text, &problem);
    if (fake == NULL) {
        FUZZ_CHECK(problem.text[0] != 0, "refused without a word");
        FUZZ_CHECK(memchr(problem.text, 0, sizeof problem.text) && memchr(problem.file, 0, sizeof problem.file));
        fake_files_reset();
    } else {
        run_handlers(fake);
        fake_destroy(fake);
    }
    if (way & 2) {
        fake_cpu_ms(4);
        struct lua_problem problems[4];
        FUZZ_CHECK(fake_check(text, problems, 4) <= 4);
        fake_files_reset();
    }
    return 0;
}
