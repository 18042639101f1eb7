/*
 * test_lua_rows.c - rows, lists, records, maps, any, handles, calls, messages, timers as handlers use them.
 * SPDX-License-Identifier: MIT
 */
#include "fake_ctx.h"

#include <stdio.h>
#include <string.h>

static const char head[] =
    "local weir = require 'weir'\n"
    "local int, float, bool, text, bytes, time, any = weir.int, weir.float, weir.bool, weir.text, "
    "weir.bytes, weir.time, weir.any\n"
    "local enum, list, opt, map = weir.enum, weir.list, weir.opt, weir.map\n"
    "local b = weir.entity('b', { n = int })\n"
    "local a = weir.entity('a', { i = int { min = -5, max = 100 }, f = float, b = bool, t = text { "
    "max = 10 }, y = bytes, at = time,\n"
    "  e = enum { 'free', 'held' }, h = b, o = opt(int), ot = opt(text), of = opt(float), oe = "
    "opt(enum { 'x', 'y' }),\n"
    "  r = { street = text, zip = { code = text } }, l = list(int), lr = list { who = b, n = int "
    "}, ll = list(list(int)), j = any,\n"
    "  d = int { default = 7 }, dt = text { default = 'hi' }, de = enum { 'p', 'q' } { default = "
    "'q' }, even = int { check = function(n) return n % 2 == 0 end },\n"
    "  m = map(int, { from = b, body = text, n = int { default = 3 } }), mt = map(text, int), mm = "
    "map({ text, b, bool, enum { 'u', 'v' } }, bool), ml = map(int, list(text)) },\n"
    "  { check = function(r) if r.i == 66 then return false, 'no_66' end if r.i == 67 then return "
    "false end return true end })\n"
    "b:on('add', { int { min = 1 }, returns = int }, function(self, n) self.n = self.n + n return "
    "self.n end)\n"
    "b:on('fail', {}, function(self) self.n = 50 weir.fail('refused', { why = self, list = { 1, "
    "2.5, 'x' } }) end)\n"
    "b:on('err', {}, function(self) error('oops') end)\n"
    "b:on('echo', { list { k = text, v = opt(int) }, opt(text), returns = { l = list(text), s = "
    "opt(text), n = int } }, function(self, l, s)\n"
    "  local out = {} for i, e in ipairs(l) do out[i] = e.k .. (e.v or '-') end l[1] = nil return "
    "{ l = out, s = s, n = #out } end)\n"
    "b:query('get', { returns = int }, function(self) return self.n end)\n"
    "b:query('write', {}, function(self) self.n = 1 end)\n"
    "b:query('calls', {}, function(self) b('z'):add(1) end)\n"
    "b:on('nothing', {}, function(self) end)\n"
    "b:on('wrong', { returns = int }, function(self) return 'x' end)\n"
    "local kept = {}\n"
    "local function read(row) return row.i end\n"
    "local function write(row) row.i = 1 end\n"
    "b:on('read_kept', { returns = int }, function(self) return read(kept.self) end)\n"
    "b:on('write_kept', {}, function(self) write(kept.self) end)\n"
    "b:query('look', { returns = int }, function(self)\n"
    "for i = 1, 500 do if i == 400 then self.n = 1 end rawset(kept, 1, self.n) end end)\n"
    "a:query('look', {}, function(self) end) "
    "b:on('many', { returns = int }, function(self) for i = 1, 499 do self.n = self.n + i end return self.n end)\n";

struct probe {
    const char *text, *want;
};

#define SAID_MAX 64
#define SAID_BYTES 300

/* Runs each body as a handler of a fresh entity; `want` is how the answer begins. `said` (NULL: not wanted): the answers. */
static void run(const struct probe *probes, size_t count, char (*said)[SAID_BYTES])
{
    static char app[65536];
    size_t used = (size_t)snprintf(app, sizeof(app), "%s", head);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(app + used, sizeof(app) - used,
                                 "a:on('h%zu', {}, function(self)\n%s\nend)\n", i, probes[i].text);
    struct fake *fake = fake_create(app);
    for (size_t i = 0; i < count; i++) {
        char name[32], key[32];
        snprintf(name, sizeof(name), "h%zu", i);
        snprintf(key, sizeof(key), "k%zu", i);
        const char *got = fake_call(fake, "a", key, name, "");
        if (strncmp(got, probes[i].want, strlen(probes[i].want)) != 0)
            fail_msg("`%s` gave `%s`, not `%s`", probes[i].text, got, probes[i].want);
        if (said != NULL) snprintf(said[i], SAID_BYTES, "%s", got);
    }
    fake_destroy(fake);
}
#define RUN(probes) run(probes, sizeof(probes) / sizeof(probes[0]), NULL)

static void field_takes_its_type_only(void **state)
{
    (void)state;
    static const struct probe probes[] = {
        { "return { self.i, self.f, self.b, self.t, self.y, self.e, self.d, self.dt, self.de, "
          "self.j == nil, self.at == nil, self.h == nil, self.o == nil, #self.l }",
          "ok [0,0,false,\"\",\"\",\"free\",7,\"hi\",\"q\",true,true,true,true,0]" },
        { "self.i = 5 self.f = 1.5 self.b = true self.t = 'x' self.e = 'held' self.h = b 'q' "
          "self.at = 5 self.o = 1 return { self.i, self.f, self.b, self.t, self.e, self.h, "
          "self.at, self.o }",
          "ok [5,1.5,true,\"x\",\"held\",\"q\",5,1]" },
        { "self.o = 1 self.o = nil self.ot = 'x' self.ot = nil self.of = 1 self.of = nil self.oe = "
          "'x' self.oe = nil self.h = b 'x' self.h = nil self.at = 1 self.at = nil self.j = 1 "
          "self.j = nil return self.o == nil and self.ot == nil and self.of == nil and self.oe == "
          "nil and self.h == nil and self.at == nil and self.j == nil",
          "ok true" },
        { "self.i = 1.5", "handler app.lua:" },
        { "self.i = 'x'", "handler app.lua:" },
        { "self.i = true", "handler" },
        { "self.i = nil", "handler" },
        { "self.f = 'x'", "handler" },
        { "self.f = 1/0", "handler" },
        { "self.b = 1", "handler" },
        { "self.b = nil", "handler" },
        { "self.t = 5", "handler" },
        { "self.t = '\\255'", "handler" },
        { "self.y = '\\255' return #self.y", "ok 1" },
        { "self.e = 'gone'", "handler" },
        { "self.e = 1", "handler" },
        { "self.h = 'key'", "handler" },
        { "self.h = a 'x'", "handler" },
        { "self.h = self", "handler" },
        { "self.l = 5", "handler" },
        { "self.l = { 1, 'x' }", "handler" },
        { "self.l = { 1, nil, 3 }", "handler" },
        { "self.l = { x = 1 }", "handler" },
        { "self.r = { street = 'x' }", "handler" },
        { "self.r = { street = 'x', zip = { code = 'y' }, more = 1 }", "handler" },
        { "self.m = {}", "handler" },
        { "self.add = 1", "handler" },
        { "self.j = function() end", "handler" },
        { "self.j = { 1, x = 2 }", "handler app.lua:114: a.j: a table with both names and numbers cannot be JSON" },
        { "self.j = { 1, nil, 3 }", "handler app.lua:117: a.j: a list with a hole cannot be JSON: nil, as which null is read" },
        { "self.j = { x = { nil, 3 } }", "handler app.lua:120: a.j: a list with a hole" },
        { "self.j = { 1, nil, 3, x = 1 }", "handler app.lua:123: a.j: a table with both names" },
        { "self.j = { [0] = 1 }", "handler app.lua:126: a.j: a table whose keys are not names, nor 1..n" },
        { "return { 1, nil, 3 }", "handler" },
        { "self.key = 'x'", "handler app.lua:132: `key` is what a is found by: it is never assigned" },
        { "local t = {} t.t = t self.j = t", "handler" },
        { "self.j = 0/0", "handler" },
        { "self.i = 101", "check i" },
        { "self.i = -6", "check i" },
        { "self.i = 1000 self.i = 1", "ok" },
        { "self.t = '12345678901'", "check t" },
        { "self.even = 3", "check even" },
        { "self.even = 4", "ok" },
        { "self.i = 66", "check no_66" },
        { "self.i = 67", "check check" },
    };
    RUN(probes);
}

/* In loops that the compiler meets, then with what the short ways do not take; the interpreter alone says the same. */
static void fields_are_the_same_in_compiled_loops(void **state)
{
    (void)state;
    static const struct probe probes[] = {
        { "for i = 1, 500 do self.i = self.i + 1 if self.i > 90 then self.i = -5 end end return self.i", "ok 20" },
        { "for i = 1, 500 do self.i = i % 50 if i == 400 then self.i = 'x' end end", "handler app.lua:33: a.i: expected int, got \"x\"" },
        { "for i = 1, 500 do self.i = i == 400 and 0.5 or i % 50 end", "handler app.lua:36: a.i: expected int: a whole number within 2^53" },
        { "for i = 1, 500 do self.d = i * (2 ^ 53 / 400) end", "handler app.lua:" },
        { "for i = 1, 500 do self.d = i == 400 and 0/0 or 1 end", "handler app.lua:42: a.d: expected int: a whole number" },
        { "for i = 1, 500 do self.d = i == 400 and -1/0 or 1 end", "handler app.lua:45: a.d: expected int: a whole number" },
        { "for i = 1, 500 do self.d = i == 400 and 2^53 - 1 or -(2^53 - 1) end return self.d", "ok -9007199254740991" },
        { "for i = 1, 500 do self.d = i == 400 and 2^53 or 1 end", "handler app.lua:" },
        { "local n = 0 for i = 1, 500 do self.o = i % 3 > 0 and i or nil n = n + (self.o or 1000) end return { n, self.o }",
          "ok [249667,500]" },
        { "local n = 0 for i = 1, 500 do self.at = i > 400 and i or nil n = n + (self.at or 0) end return n", "ok 45050" },
        { "for i = 1, 500 do self.i = i == 400 and nil or 1 end return self.i", "ok 1" },
        { "for i = 1, 500 do if i == 400 then self.i = nil else self.i = 1 end end", "handler app.lua:63: a.i: expected int, got nil" },
        { "local s = 0 for i = 1, 500 do self.f = i / 4 s = s + self.f end return s", "ok 31312.5" },
        { "for i = 1, 500 do self.f = i == 400 and 1/0 or i end", "handler app.lua:69: a.f: expected a finite number, got inf" },
        { "for i = 1, 500 do self.f = i == 400 and 0/0 or i end", "handler app.lua:" },
        { "for i = 1, 500 do if i == 400 then self.f = '1' else self.f = i end end", "handler app.lua:75: a.f: expected a finite number" },
        { "local n = 0 for i = 1, 500 do if i > 400 then self.of = nil else self.of = i end n = n + (self.of or 0) end return { n, self.of }",
          "ok [80200" },
        { "local n = 0 for i = 1, 500 do self.b = not self.b if self.b then n = n + 1 end end return { n, self.b }", "ok [250,false]" },
        { "for i = 1, 500 do if i == 400 then self.b = 1 else self.b = true end end", "handler app.lua:84: a.b: expected bool, got 1" },
        { "local s = '' for i = 1, 500 do self.t = 'v' .. i % 7 if #s < 20 then s = s .. self.t end end return s", "ok \"v1v2v3v4v5v6v0v1v2v3\"" },
        { "self.y = 'a\\0b' local n = 0 for i = 1, 500 do n = n + #self.y end return n", "ok 1500" },
        { "local n = 0 for i = 1, 500 do if i == 400 then self.ot = nil elseif i == 1 then self.ot = 'abc' end "
          "n = n + #(self.ot or '') end return n", "ok 1197" },
        { "self.y = '' local n = 0 for i = 1, 500 do n = n + #self.y end return n", "ok 0" },
        { "for i = 1, 500 do if i == 400 then self.i = self.nope end end", "handler app.lua:99: `a` has no field or handler `nope`" },
        { "local k = { 'i', 'f', 'b', 't', 'y', 'at', 'o', 'e', 'key', 'd', 'h', 'j' } local n = 0 "
          "for i = 1, 600 do if self[k[i % #k + 1]] then n = n + 1 end end return n", "ok 350" },
        { "local k = { 'i', 'd', 'f', 'o' } for i = 1, 600 do self[k[i % #k + 1]] = i % 50 end return { self.i, self.d, self.f, self.o }",
          "ok [0,47,48,49]" },
        { "local n = 0 for i = 1, 500 do self.r.zip.code = 'c' .. i % 3 n = n + #self.r.zip.code self.r.street = self.r.zip.code end "
          "return { n, self.r.street }", "ok [1000,\"c2\"]" },
        { "for i = 1, 20 do self.lr[i] = { who = b 'w', n = i } end local n = 0 "
          "for round = 1, 40 do for i = 1, #self.lr do self.lr[i].n = self.lr[i].n + 1 n = n + self.lr[i].n end end return n", "ok 24800" },
        { "for i = 1, 500 do if i == 400 then self.m = 1 end self.i = 1 end", "handler app.lua:" },
        { "for i = 1, 500 do self.i = self.i + (i == 400 and weir.fail('stop') or 0) end", "stop " },
        { "rawset(kept, 'self', self) for i = 1, 300 do read(self) end return b('k'):read_kept()",
          "handler app.lua:22: a row was kept after its handler ended: rows are borrowed" },
        { "rawset(kept, 'self', self) for i = 1, 300 do write(self) end return b('k'):write_kept()",
          "handler app.lua:23: a row was kept after its handler ended: rows are borrowed" },
        { "for i = 1, 500 do self.e = i % 2 == 0 and 'held' or 'free' end return self.e", "ok \"held\"" },
        { "local n = 0 for i = 1, 500 do self.oe = i % 3 == 0 and 'y' or i % 3 == 1 and 'x' or nil if self.oe == 'y' then n = n + 1 end end "
          "return { n, self.oe }", "ok [166]" },
        { "for i = 1, 500 do self.e = i == 400 and 'gone' or 'held' end", "handler app.lua:1" },
        { "for i = 1, 500 do self.e = i == 400 and 1 or 'held' end", "handler app.lua:1" },
        { "for i = 1, 500 do self.t = i == 400 and '\\255' or 'x' .. i end", "handler app.lua:1" },
        { "for i = 1, 500 do self.y = i == 400 and '\\255' or 'x' .. i end return { #self.y, self.y }", "ok [4,\"x500\"]" },
        { "for i = 1, 500 do self.y = i == 500 and '\\255\\0' or 'x' .. i end return #self.y", "ok 2" },
        { "self.t = 'abc' for i = 1, 500 do self.r.street = self.t self.t = self.r.street end return self.t", "ok \"abc\"" },
        { "local n = 0 for i = 1, 500 do n = n + #self.key end return { n, self.key }", "ok [1500,\"k40\"]" },
        { "for i = 1, 500 do if i == 400 then self.key = 'x' end self.i = 1 end", "handler app.lua:1" },
        { "local part = ('x'):rep(300000) for i = 1, 500 do self.y = part end", "budget" },
        { "return b('k'):look()", "handler app.lua:27: a query may not write" },
        { "return b('k'):many()", "ok 124750" },
    };
    enum { COUNT = sizeof(probes) / sizeof(probes[0]) };
    static char compiled[SAID_MAX][SAID_BYTES], interpreted[SAID_MAX][SAID_BYTES];
    static const char *const off[] = { "weir.jit=off", NULL };
    assert_true(COUNT <= SAID_MAX);
    run(probes, COUNT, compiled);
    fake_settings(off);
    run(probes, COUNT, interpreted);
    fake_settings(NULL);
    for (size_t i = 0; i < COUNT; i++) assert_string_equal(compiled[i], interpreted[i]);
}

static void list_and_record_are_part_of_the_row(void **state)
{
    (void)state;
    static const struct probe probes[] = {
        { "self.l = { 3, 1, 2 } self.l[4] = 9 self.l[1] = 4 local s = '' for i, v in "
          "ipairs(self.l) do s = s .. i .. v end return s .. #self.l",
          "ok \"142132494\"" },
        { "for i = 1, 100 do table.insert(self.l, i) end table.insert(self.l, 1, 0) "
          "table.remove(self.l, 2) return { #self.l, self.l[1], self.l[2], self.l[100], "
          "self.l[101] == nil }",
          "ok [100,0,2,100,true]" },
        { "self.l = { 3, 1, 2 } table.sort(self.l) local x = table.concat(self.l, '-') "
          "table.sort(self.l, function(p, q) return p > q end) return { x, unpack(self.l) }",
          "ok [\"1-2-3\",3,2,1]" },
        { "self.l = { 1, 2 } self.l[#self.l] = nil return #self.l", "ok 1" },
        { "self.l = { 1, 2 } self.l[1] = nil", "handler" },
        { "self.l[3] = 1", "handler" },
        { "self.l[1] = 'x'", "handler" },
        { "self.l.x = 1", "handler" },
        { "return self.l.x", "handler" },
        { "self.l[1.5] = 1", "handler" },
        { "table.insert(self.l, 5, 1)", "handler" },
        { "for i = 1, 1001 do self.l[i] = i end", "handler" },
        { "local t = {} for i = 1, 1001 do t[i] = i end self.l = t", "handler" },
        { "self.lr = { { who = b 'x', n = 1 }, { who = b 'y', n = 2 } } self.lr[2].n = 5 "
          "self.lr[2].who:add(3) local gone = table.remove(self.lr, 1) return { gone.n, "
          "self.lr[1].n, self.lr[1].who, #self.lr }",
          "ok [1,5,\"y\",1]" },
        { "self.lr[1] = { who = b 'x', n = 1 } self.lr[1].n = 'x'", "handler" },
        { "self.lr[1] = { who = b 'x' }", "handler" },
        { "self.lr[1] = { who = b 'x', n = 1, z = 1 }", "handler" },
        { "self.ll = { { 1 }, { 2, 3 } } self.ll[2][2] = 7 table.insert(self.ll[1], 5) return { "
          "self.ll[2][2], #self.ll[1], self.ll }",
          "ok [7,2,[[1,5],[2,7]]]" },
        { "self.r.street = 'x' self.r.zip.code = 'c' self.r.zip = { code = 'd' } return { "
          "self.r.street, self.r.zip.code, self.r }",
          "ok [\"x\",\"d\",{\"street\":\"x\",\"zip\":{\"code\":\"d\"}}]" },
        { "self.r = { street = 's', zip = { code = 'z' } } local n = 0 for k, v in pairs(self.r) "
          "do n = n + 1 end for i, v in pairs(self.l) do n = n + 1 end return n",
          "ok 2" },
        { "local t = { 1, 2 } self.l = t t[1] = 9 return self.l[1]", "ok 1" },
        { "self.l = { 1 } self.l = self.l return #self.l", "ok 1" },
        { "self.j = { x = { 1, 2, { y = 'z\\n\"' } }, n = 1.5, b = false } local j = self.j j.x[1] "
          "= 9 return { self.j.x[1], self.j.x[3].y, self.j.n, self.j.b, j.x[1] }",
          "ok [1,\"z\\n\\\"\",1.5,false,9]" },
        { "self.j = self.l self.j = {} self.j = 'x' self.j = true self.j = b 'k' return self.j",
          "ok \"k\"" },
    };
    RUN(probes);
}

static void map_rows_are_the_rows_themselves(void **state)
{
    (void)state;
    static const struct probe probes[] = {
        { "local n = self.m:append { from = b 'x', body = 'one' } local k = self.m:append { from = "
          "b 'y', body = 'two', n = 9 } local r = self.m:get(1) r.body = 'changed' return { n, k, "
          "self.m:get(1).body, self.m:get(1).n, self.m:get(2).n, self.m:get(3) == nil, "
          "self.m:count() }",
          "ok [1,2,\"changed\",3,9,true,2]" },
        { "self.m:put(5, {}) self.m:put(5, { body = 'x' }) local k, r = self.m:last() local f = "
          "self.m:first() return { k, r.body, f, self.m:remove(5), self.m:remove(5), "
          "self.m:count(), self.m:first() == nil }",
          "ok [5,\"x\",5,true,false,0,true]" },
        { "for i = 1, 9 do self.m:put(i, { n = i }) end local s = '' for k, r in self.m:scan { "
          "from = 3, to = 8, reverse = true, limit = 3 } do s = s .. k .. r.n r.n = 0 end return s "
          ".. self.m:get(8).n",
          "ok \"8877660\"" },
        { "for i = 1, 5 do self.m:put(i, {}) end for k in self.m:scan() do self.m:remove(k) end "
          "return self.m:count()",
          "ok 0" },
        { "self.mt:put('b', 2) self.mt:put('a', 1) local s = '' for k, v in self.mt:scan() do s = "
          "s .. k .. v end return { s, self.mt:get 'a', self.mt:get 'z' == nil }",
          "ok [\"a1b2\",1,true]" },
        { "self.mm:put('x', b 'k', true, 'v', true) self.mm:put('x', b 'j', false, 'u', true) "
          "self.mm:put('y', b 'j', false, 'u', true) local s = '' for t, h, f, e, v in "
          "self.mm:scan { from = { 'x' }, to = { 'x' } } do s = s .. t .. h.key .. tostring(f) .. "
          "e .. tostring(v) end return s",
          "ok \"xjfalseutruexktruevtrue\"" },
        { "self.ml:put(1, { 'x' }) local l = self.ml:get(1) l[2] = 'y' return self.ml:get(1)",
          "ok [\"x\",\"y\"]" },
        { "self.m:put('x', {})", "handler" },
        { "self.m:put(1.5, {})", "handler" },
        { "self.m:put(1)", "handler" },
        { "self.m:get()", "handler" },
        { "self.m:get(1, 2)", "handler" },
        { "self.m:put(1, { nothing = 1 })", "handler" },
        { "self.m:put(1, { n = 'x' })", "handler" },
        { "self.mt:append(1)", "handler" },
        { "self.mt:put('x', 'y')", "handler" },
        { "self.mt:put('x', nil)", "handler" },
        { "self.m.x = 1", "handler app.lua:81: a row of a map is not assigned: put(key, value) makes or replaces it" },
        { "return #self.m", "handler app.lua:84: a map has no `#`: its count() gives the number of rows" },
        { "for k, v in pairs(self.m) do end", "handler app.lua:87: a map is walked by its scan() and counted by its count()" },
        { "for k, v in ipairs(self.m) do end", "handler app.lua:90: a map is walked" },
        { "table.insert(self.m, 1)", "handler app.lua:93: a map is walked" },
        { "local x = unpack(self.m)", "handler app.lua:96: a map is walked by its scan() and counted by its count()" },
        { "local x = table.concat(self.m)", "handler app.lua:99: a map is walked by its scan() and counted by its count()" },
        { "table.sort(self.m)", "handler app.lua:102: a map is walked by its scan() and counted by its count()" },
        { "table.sort(self.l, 5)", "handler app.lua:105: the order of a sort is a function, got number" },
        { "local x = unpack(b('x'))", "handler app.lua:108: expected a table or a list, got userdata" },
        { "return unpack(self.m)", "handler" },
        { "self.m:nothing()", "handler" },
        { "self.m.get(1)", "handler" },
        { "self.m:scan { form = 1 }", "handler" },
        { "self.m:scan { limit = 0 }", "handler" },
        { "self.m:scan { from = { 1, 2 } }", "handler" },
        { "self.mm:put('x', 'k', true, 'v', true)", "handler" },
        { "self.mm:put('x', a 'k', true, 'v', true)", "handler" },
        { "self.mm:put('x', b 'k', true, 'w', true)",
          "handler app.lua:135: part 4 of the key of map `mm` is one of \"u\" \"v\", got \"w\"" },
        { "self.mm:get('x', 'k', true, 'v')", "handler app.lua:138: part 2 of the key of map `mm` is a handle of its type, got \"k\"" },
        { "self.mm:get('x')", "handler app.lua:141: mm:get takes 4 arguments, got 1" },
        { "self.m:get()", "handler app.lua:144: m:get takes 1 argument, got 0" },
    };
    RUN(probes);
}

static void calls_cross_as_values(void **state)
{
    (void)state;
    static const struct probe probes[] = {
        { "local given = { 0, -5, 10, 123456789012345, 9007199254740991, -9007199254740991, 1.5, "
          "-0.25, 1e300, 1e-3, 12e15 } self.j = given local n = 0 "
          "for i, x in ipairs(self.j) do n = n + (x == given[i] and 1 or 0) end return { n, "
          "self.j }",
          "ok [11,[0,-5,10,123456789012345,9007199254740991,-9007199254740991,1.5,-0.25,1e+300,0."
          "001,1.2e+16]]" },
        { "return b('c1'):add(5) + b('c1'):add(2)", "ok 12" },
        { "return { self.h == nil, b('c1'):get() }", "ok [true,7]" },
        { "local t = { { k = 'x', v = 1 }, { k = 'y' } } local r = b('c'):echo(t, nil) return { r, "
          "#t }",
          "ok [{\"l\":[\"x1\",\"y-\"],\"n\":2},2]" },
        { "self.lr = { { who = b 'x', n = 1 } } return b('c'):echo({}, 'z')",
          "ok {\"l\":[],\"n\":0,\"s\":\"z\"}" },
        { "return b('c'):nothing()", "ok null" },
        { "b('c'):add(0)", "arg" },
        { "b('c'):add('x')", "arg" },
        { "b('c'):add()", "arg" },
        { "b('c'):add(1, 2)", "arg" },
        { "b('c'):echo({ { v = 1 } })", "arg" },
        { "b('c'):add(1) pcall(function() b('c'):add('x') end) return 1", "arg" },
        { "self.i = 5 pcall(function() b('c'):fail() end) return 1",
          "refused {\"list\":[1,2.5,\"x\"],\"why\":\"c\"}" },
        { "while true do pcall(function() b('c'):err() end) end", "handler app.lua:" },
        { "b('c'):wrong()", "handler" },
        { "b('c'):write()", "handler" },
        { "b('c'):calls()", "handler" },
        { "b('c'):add(1) weir.fail('notfound', 'x')", "notfound \"x\"" },
        { "weir.fail 'mine'", "mine " },
        { "local r = weir.all({ 1, 2, 3 }, function(n) return b('all' .. n):add(n) end) return r",
          "ok [1,2,3]" },
        { "self.l = { 4, 5 } return weir.all(self.l, function(n) return b('p' .. n):add(n) end)",
          "ok [4,5]" },
        { "return weir.all { function() return b('q'):add(1) end, function() return 'x' end }",
          "ok [1,\"x\"]" },
        { "local t = {} for i = 1, 257 do t[i] = i end weir.all(t, function() end)", "budget" },
        { "local s = ('abc'):gsub('.', function(c) return b('g'):add(1) end) return s",
          "ok \"123\"" },
        { "return { weir.exists(b 'c1'), weir.exists(b 'never') }", "ok [true,false]" },
        { "self.i = 5 weir.delete() return self.i", "ok 0" },
    };
    RUN(probes);
}

/* A parameter that a handler nowhere keeps is one handle, lent to it; one that it keeps is its own and stays what it was. */
static void handles_are_what_they_were(void **state)
{
    (void)state;
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal int, text, list = weir.int, weir.text, weir.list\n"
        "local p = weir.entity('p', {})\n"
        "local q = weir.entity('q', { h = p, n = int })\nlocal kept = {}\n"
        "p:on('walk', { p, weir.opt(p), int, returns = text }, function(self, x, y, n)\n"
        "  if n == 0 then return x.key .. (y and y.key or '-') end\n"
        "  local got = x:walk(p('k' .. n), n > 2 and p('l' .. n) or nil, n - 1)\n"
        "  return self.key .. '<' .. x.key .. '<' .. (y and y.key or '-') .. '<' .. got end)\n"
        "p:on('pay', { p, returns = text }, function(self, x) if x == self then return 'self' end "
        "return x:paid(self) end)\n"
        "p:on('paid', { p, returns = text }, function(self, x) return x.key .. '>' .. self.key "
        "end)\n"
        "q:on('own', { p, int, returns = text }, function(self, x, n) self.h = x self.n = n\n"
        "  local got = x:walk(p 'i', nil, n) return self.h.key .. (self.h == x and '=' or '!') .. "
        "got end)\n"
        "q:on('keep', { p }, function(self, x) rawset(kept, #kept + 1, x); rawset(kept, x, x.key) end)\n"
        "q:on('close', { p }, function(self, x) rawset(kept, #kept + 1, { key = 'f', "
        "f = function() return x.key end }) end)\n"
        "q:on('kept', { p, returns = text }, function(self, x) local got = ''\n"
        "  for _, h in ipairs(kept) do got = got .. (type(h) == 'table' and h.f() or h.key .. "
        "kept[h]) end\n"
        "  return got .. tostring(kept[x]) end)");
    static const struct {
        const char *type, *key, *handler, *args, *want;
    } calls[] = {
        { "p", "a", "walk", "[\"b\", \"c\", 3]", "ok \"a<b<c<b<k3<l3<k3<k2<-<k1-\"" },
        { "p", "a", "pay", "[\"a\"]", "ok \"self\"" },
        { "p", "a", "pay", "[\"b\"]", "ok \"a>b\"" },
        { "q", "a", "own", "[\"b\", 0]", "ok \"b=i-\"" },
        { "q", "a", "own", "[\"c\", 2]", "ok \"c=c<i<-<i<k2<-<k1-\"" },
        { "q", "a", "keep", "[\"b\"]", "ok null" },
        { "q", "a", "own", "[\"d\", 1]", "ok \"d=d<i<-<k1-\"" },
        { "q", "a", "close", "[\"c\"]", "ok null" },
        { "q", "a", "keep", "[\"a\"]", "ok null" },
        { "p", "z", "pay", "[\"y\"]", "ok \"z>y\"" },
        { "q", "a", "kept", "[\"a\"]", "ok \"bbcaaa\"" },
        { "q", "a", "kept", "[\"x\"]", "ok \"bbcaanil\"" },
    };
    for (size_t i = 0; i < 3 * sizeof(calls) / sizeof(calls[0]); i++) {
        size_t n = i % (sizeof(calls) / sizeof(calls[0]));
        if (i >= sizeof(calls) / sizeof(calls[0]) && calls[n].type[0] == 'q') continue;
        const char *got = fake_call(fake, calls[n].type, calls[n].key, calls[n].handler,
                                    calls[n].args);
        if (strcmp(got, calls[n].want) != 0)
            fail_msg("%s %s gave %s, not %s", calls[n].handler, calls[n].args, got, calls[n].want);
    }
    fake_destroy(fake);
}

/* A handler's thread waits for its next call with what was lent to it: each call still has its own row and handle, also where
 * more of them run than are kept, after errors, and with a nil where the last one had a handle. */
static void threads_wait_for_their_handler(void **state)
{
    (void)state;
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal int, opt = weir.int, weir.opt\n"
        "local p = weir.entity('p', { n = int })\n"
        "p:on('down', { opt(p), int, weir.bool, returns = int }, function(self, to, n, bad)\n"
        "  self.n = n\n"
        "  if n == 0 then if bad then error 'bottom' end return 0 end\n"
        "  if not to then return -1 end\n"
        "  local below = to:down(n ~= 50 and p('k' .. n) or nil, n - 1, bad)\n"
        "  return below + self.n end)");
    static const struct {
        const char *args, *want;
    } calls[] = {
        { "[\"b\", 40, false]", "ok 820" }, { "[\"b\", 40, true]", "bottom" },
        { "[\"b\", 3, false]", "ok 6" },    { "[null, 3, false]", "ok -1" },
        { "[\"b\", 50, false]", "ok 49" },  { "[\"b\", 2, true]", "bottom" },
        { "[\"b\", 40, false]", "ok 820" },
    };
    for (size_t i = 0; i < 3 * sizeof(calls) / sizeof(calls[0]); i++) {
        size_t n = i % (sizeof(calls) / sizeof(calls[0]));
        const char *got = fake_call(fake, "p", "a", "down", calls[n].args);
        if (strstr(got, calls[n].want) == NULL)
            fail_msg("%s gave %s, not %s", calls[n].args, got, calls[n].want);
    }
    assert_non_null(strstr(fake_row(fake, "p", "a"), "\"n\":40"));
    assert_non_null(strstr(fake_row(fake, "p", "k3"), "\"n\":1"));
    assert_non_null(strstr(fake_row(fake, "p", "k40"), "\"n\":38"));
    fake_destroy(fake);
}

/* JSON that goes through Lua is what it was, also what a table cannot say. */
static void json_stays_what_it_was(void **state)
{
    (void)state;
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal a = weir.entity('a', { x = weir.any })\n"
        "a:on('echo', { weir.any }, function(self, x) self.x = x; return self.x end)\n"
        "a:on('touch', { weir.any }, function(self, x) x.new, x.n = 1, nil; return x end)\n"
        "a:on('add', { weir.any }, function(self, x) x[#x + 1] = 5; return x end)\n"
        "a:on('marked', {}, function(self) return { a = setmetatable({}, { __json = 2 }), b = setmetatable({}, { __json = 1e9 }),\n"
        "  c = setmetatable({}, { __json = {} }), d = setmetatable({ 7 }, { __json = 'x' }) } end)");
    static const char *const same[] = { "{}", "[]", "[1,null,2]", "[null]", "{\"a\":null,\"b\":1}", "[null,{\"a\":{},\"b\":[[]],\"c\":[null,{}]}]" };
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        char args[100], wanted[100];
        snprintf(args, sizeof(args), "[%s]", same[i]);
        snprintf(wanted, sizeof(wanted), "ok %s", same[i]);
        assert_string_equal(fake_call(fake, "a", "x", "echo", args), wanted);
    }
    char deep[200], wanted[200]; /* 64 go, the arguments count outside */
    for (int i = 0, levels = 63; i < 2; i++, levels++) {
        snprintf(deep, sizeof(deep), "[%.*s1%.*s]", levels, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                 levels, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
        snprintf(wanted, sizeof(wanted), "ok %.*s", 2 * levels + 1, deep + 1);
        if (i == 0) assert_string_equal(fake_call(fake, "a", "x", "echo", deep), wanted);
        else assert_non_null(strstr(fake_call(fake, "a", "x", "echo", deep), "arg"));
    }
    assert_string_equal(fake_call(fake, "a", "x", "touch", "[{\"m\":null,\"n\":null}]"), "ok {\"m\":null,\"n\":null,\"new\":1}");
    assert_string_equal(fake_call(fake, "a", "x", "touch", "[{}]"), "ok {\"new\":1}");
    assert_string_equal(fake_call(fake, "a", "x", "touch", "[{\"new\":null}]"), "ok {\"new\":1}");
    assert_string_equal(fake_call(fake, "a", "x", "add", "[{}]"), "ok [5]");
    assert_string_equal(fake_call(fake, "a", "x", "add", "[[1,2]]"), "ok [1,2,5]");
    assert_string_equal(fake_call(fake, "a", "x", "marked", ""), "ok {\"a\":[null,null],\"b\":[],\"c\":{},\"d\":[7]}");
    fake_destroy(fake);
}

/* Many more than are kept by the collector: found again while they live, made anew afterwards. */
static void handles_come_and_go(void **state)
{
    (void)state;
    fake_cpu_ms(20000); /* a sanitizer is slow */
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal int = weir.int\nlocal a = weir.entity('a', { n = int "
        "})\n"
        "local b = weir.entity('b', { n = int })\nlocal fixed = a 'k1'\n"
        "a:on('go', { int, int, returns = int }, function(self, from, to)\n"
        "  local mine = { [fixed] = true }\n"
        "  for i = from, to do local h = a('k' .. i) mine[h] = true mine[b('k' .. i)] = true end\n"
        "  local n = 0\n"
        "  for i = from, to do n = n + (mine[a('k' .. i)] and 1 or 0) + (mine[b('k' .. i)] and 1 "
        "or 0) end\n"
        "  return n + (mine[a 'k1'] and 1 or 0) end)");
    for (int round = 0; round < 12; round++) {
        char args[64], want[64];
        int from = round % 3 == 2 ? 2 : 1000 * round + 2, count = round % 2 ? 5000 : 300;
        snprintf(args, sizeof(args), "[%d, %d]", from, from + count - 1);
        snprintf(want, sizeof(want), "ok %d", 2 * count + 1);
        assert_string_equal(fake_call(fake, "a", "x", "go", args), want);
    }
    fake_destroy(fake);
    fake_cpu_ms(0);
}

/* `type(key):handler(...)` in functions that use the type for nothing else: one object does for all of them, and each call is still of its own
 * entity, whatever comes between its making and its call. */
static void handles_are_made_to_be_called(void **state)
{
    (void)state;
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal int, text = weir.int, weir.text\n"
        "local p = weir.entity('p', { n = int })\n"
        "local t = weir.entity('t', { w = int, i = text, n = int }, { key = '{w}:i' })\n"
        "local kept, other = {}, weir.entity 'other'\n"
        "p:on('nowhere', {}, function(self) other('x'):f() end)\n"
        "local function helper(k) return p(k):cat 'h' end\n"
        "p:on('cat', { text, returns = text }, function(self, x) self.n = self.n + 1 return "
        "self.key .. x end)\n"
        "p:on('deep', { int, returns = text }, function(self, n)\n"
        "  if n == 0 then return '.' end\n"
        "  return self.key .. p('k' .. n):deep(n - 1) .. p('l' .. n):cat(p('m' .. n):cat '') end)\n"
        "t:on('add', { int, returns = text }, function(self, n) self.n = self.n + n return self.w "
        ".. self.i .. self.n end)\n"
        "p:on('nest', { returns = text }, function(self) return p('a'):cat(p('b'):cat(p('c'):cat "
        "'d')) end)\n"
        "p:on('helper', { returns = text }, function(self) return helper 'x' .. p('y'):cat '' "
        "end)\n"
        "p:on('typed', { returns = text }, function(self) return t(3, 'q'):add(2) .. t('3:q'):add(3) "
        "end)\n"
        "p:on('fails', { returns = text }, function(self) local n = 0\n"
        "  for i = 1, 300 do if not pcall(function() return p('e' .. i):cat(error 'e') end) then n "
        "= n + 1 end end\n"
        "  return n .. p('f'):cat '' end)\n"
        "p:on('yields', { returns = text }, function(self)\n"
        "  local f = coroutine.wrap(function() return p('g'):cat(coroutine.yield()) end) f()\n"
        "  local g = coroutine.wrap(function() return p('h'):cat(coroutine.yield()) end) g()\n"
        "  return p('i'):cat(f '1') .. p('j'):cat(g '2') end)\n"
        "p:on('keeps', {}, function(self)\n"
        "  rawset(kept, 1, coroutine.create(function() return p('g'):cat(coroutine.yield()) end)) "
        "coroutine.resume(kept[1]) end)\n"
        "p:on('goes_on', { returns = text }, function(self)\n"
        "  return p('j'):cat(tostring(select(2, coroutine.resume(kept[1], '3')))) end)\n"
        "p:on('all', { returns = text }, function(self)\n"
        "  return table.concat(weir.all({ 'a', 'b', 'c' }, function(k) return p(k):cat '!' end)) "
        "end)\n"
        "p:on('last', { text, returns = text }, function(self, k) return p(k):cat '<' end)\n"
        "p:on('same', { returns = text }, function(self)\n"
        "  local mine = { [p 'a'] = 'A' } return mine[p 'a'] .. p('a'):cat '' .. tostring(p 'a' == "
        "p 'a') end)\n"
        "p:on('no_handler', {}, function(self) p('a'):none() end)\n"
        "p:on('no_key', {}, function(self) p(1):cat '' end)\n"
        "p:on('empty', {}, function(self) p(''):cat '' end)\n"
        "p:on('table', {}, function(self) p({}):cat '' end)\n"
        "p:on('parts', {}, function(self) t(1):add(1) end)\n"
        "p:on('wrong', {}, function(self) p('a'):cat({}) end)\n"
        "p:on('call_key', {}, function(self) p('a'):key() end)\n");
    static const struct {
        const char *handler, *args, *want;
    } calls[] = {
        { "nest", "", "ok \"abcd\"" },
        { "deep", "[2]", "ok \"sk2.l1m1l2m2\"" },
        { "helper", "", "ok \"xhy\"" },
        { "typed", "", "ok \"3q23q5\"" },
        { "fails", "", "ok \"300f\"" },
        { "yields", "", "ok \"ig1jh2\"" },
        { "all", "", "ok \"a!b!c!\"" },
        { "last", "[\"z\"]", "ok \"z<\"" },
        { "same", "", "ok \"Aatrue\"" },
        { "nowhere", "", "the entity `other` is declared nowhere (`f`)" },
        { "no_handler", "", "`p` has no handler `none`; fields are read by a query" },
        { "no_key", "", "a handle of `p` takes one text, its key" },
        { "empty", "", "a key of `p` is a text of 1 to 1024 bytes" },
        { "table", "", "options of a reference come with a later release" },
        { "parts", "", "a handle of `t` takes the 2 parts of its key, got 1" },
        { "wrong", "", "p:cat" },
        { "call_key", "", "`p` has no handler `key`" },
        { "keeps", "", "ok null" },
        { "goes_on", "", "ok \"jthe handler that made this handle has ended\"" },
        { "nest", "", "ok \"abcd\"" },
    };
    for (size_t i = 0; i < 2 * sizeof(calls) / sizeof(calls[0]); i++) {
        size_t n = i % (sizeof(calls) / sizeof(calls[0]));
        const char *want = calls[n].want;
        if (i > n && strcmp(calls[n].handler, "typed") == 0) want = "ok \"3q73q10\"";
        const char *got = fake_call(fake, "p", "s", calls[n].handler, calls[n].args);
        if (strstr(got, want) == NULL)
            fail_msg("%s %s gave %s, not %s", calls[n].handler, calls[n].args, got, want);
    }
    assert_string_equal(fake_row(fake, "p", "h"), "{\"n\":2}");
    assert_string_equal(fake_row(fake, "p", "g"), "{\"n\":2}");
    assert_string_equal(fake_row(fake, "p", "e1"), "none");
    fake_destroy(fake);
}

/* `return other:f()` and nothing else: whatever has a frame of its own below the call is no end of a handler. */
static void last_acts_are_seen(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
        bool last;
    } acts[] = {
        { "return b('c'):add(5)", "ok 5", true },
        { "self.i = 7 return b('c'):add(5)", "ok 5", true },
        { "local x = b('c'):add(5) return x", "ok 5", false },
        { "return (b('c'):add(5))", "ok 5", false },
        { "return b('c'):add(5) + 1", "ok 6", false },
        { "b('c'):add(5)", "ok null", false },
        { "local function f() return b('c'):add(5), 2 end return (f())", "ok 5", false },
        { "return { b('c'):add(5) }", "ok [5]", false },
        { "local function f(h) return h:add(5) end return f(b 'c')", "ok 5", true },
        { "local function f(h) return h:add(5) end local x = f(b 'c') return x + 1", "ok 6",
          false },
        { "local function f(h, ...) return h:add(...) end return f(b 'c', 5)", "ok 5", true },
        { "local function f(h, ...) return h:add(...) end f(b 'c', 5) return 1", "ok 1", false },
        { "return pcall(function() return b('c'):add(5) end)", "ok true", false },
        { "return select(2, pcall(function() return b('c'):add(5) end))", "ok 5", false },
        { "local c = b('c') return pcall(c.add, c, 5)", "ok true", false },
        { "local c = b('c') return xpcall(function() return c:add(5) end, function() end)",
          "ok true", false },
        { "return (('a'):gsub('.', function() return b('c'):add(5) end))", "ok \"5\"", false },
        { "return ('a'):gsub('.', function() return b('c'):add(5) end)", "ok \"5\"", false },
        { "local t = { 2, 1 } table.sort(t, function(x, y) return b('c'):add(1) and x < y end) "
          "return t",
          "ok [1,2]", false },
        { "return weir.all { function() return b('c'):add(5) end }", "ok [5]", false },
        { "local c = setmetatable({}, { __call = function(_, n) return b('c'):add(n) end }) return "
          "c(5)",
          "ok 5", true },
        { "local c = setmetatable({}, { __index = function() return b('c'):add(5) end }) return "
          "c.x",
          "ok 5", false },
        { "local c = setmetatable({}, { __add = function() return b('c'):add(5) end }) return c + "
          "c",
          "ok 5", false },
        { "for i = 1, 200 do b('c'):add(1) end return b('c'):add(1)", "ok 201", true },
        { "return b('c'):echo({}, 'z')", "ok {\"l\":[],\"n\":0,\"s\":\"z\"}", false },
        { "self.i = 200 return b('c'):add(5)", "check", false },
        { "return b('c'):add(0)", "arg", true },
        { "return b('c'):fail()", "refused", true },
        { "return b('c'):err()", "handler", true },
    };
    static char app[65536];
    size_t count = sizeof(acts) / sizeof(acts[0]);
    size_t used = (size_t)snprintf(app, sizeof(app), "%s", head);
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(app + used, sizeof(app) - used,
                                 "a:on('h%zu', {}, function(self)\n%s\nend)\n", i, acts[i].text);
    used += (size_t)snprintf(app + used, sizeof(app) - used,
                             "a:on('warm', {}, function(self) self.i = 1 end)\n");
    for (size_t i = 0; i < 2 * count; i++) {
        const char *text = acts[i / 2].text, *want = acts[i / 2].want;
        struct fake *fake = fake_create(app);
        char name[32];
        snprintf(name, sizeof(name), "h%zu", i / 2);
        if (i % 2)
            fake_call(fake, "a", "other", "warm",
                      ""); /* a used thread may run a handler the short way */
        const char *got = fake_call(fake, "a", "k", name, "");
        if (strncmp(got, want, strlen(want)) != 0 ||
            fake_last_calls(fake) != (acts[i / 2].last ? 1 : 0))
            fail_msg("%s\n  gave %s, %u last calls, %s", text, got, fake_last_calls(fake),
                     i % 2 ? "warm" : "cold");
        fake_destroy(fake);
    }
}

static void effects_wait_for_the_commit(void **state)
{
    (void)state;
    static char app[8192];
    snprintf(app, sizeof(app), "%s%s", head,
             "a:on('later', { int, b }, function(self, n, h) end)\n"
             "a:on('go', {}, function(self) weir.send(b 'x', 'add', 5) weir.after('15m', 'later', "
             "1, b 'k') weir.at(77, 'later', 2, b 'k')\n"
             " weir.cancel('later', 1, b 'k') weir.cancel 'later' weir.send(self, 'later', 3, b "
             "'k') weir.trace('n', 1, true, self, { 1 }) end)\n"
             "a:on('bad', {}, function(self) weir.send(b 'x', 'add', 5) weir.send(b 'x', 'add', 0) "
             "end)\n"
             "a:on('bad2', {}, function(self) weir.after('1s', 'later', 1) end)\n"
             "a:query('bad3', {}, function(self) weir.send(b 'x', 'add', 5) end)\n");
    struct fake *fake = fake_create(app);
    assert_string_equal(fake_call(fake, "a", "k", "go", ""), "ok null");
    assert_string_equal(fake_effects(fake),
                        "send b/x:add {\"n\":5}\ntimer a/k:later at 1900000 "
                        "{\"n\":1,\"h\":\"k\"}\ntimer a/k:later at 77 {\"n\":2,\"h\":\"k\"}\n"
                        "cancel a/k:later {\"n\":1,\"h\":\"k\"}\ncancel a/k:later all\nsend "
                        "a/k:later {\"n\":3,\"h\":\"k\"}\ntrace n 1 true k [1]\n");
    assert_int_equal(strncmp(fake_call(fake, "a", "k", "bad", ""), "arg", 3), 0);
    assert_int_equal(strncmp(fake_call(fake, "a", "k", "bad2", ""), "arg", 3), 0);
    assert_int_equal(strncmp(fake_call(fake, "a", "k", "bad3", ""), "handler", 7), 0);
    assert_string_equal(fake_effects(fake), "");
    fake_destroy(fake);
}

static void typed_keys_and_services(void **state)
{
    (void)state;
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal int, text = weir.int, weir.text\n"
        "local stock = weir.entity('stock', { w = int, i = int, n = int }, { key = '{w}:i' })\n"
        "local named = weir.entity('named', { n = int })\n"
        "local main = named 'main'\n"
        "local shop = weir.service 'shop'\n"
        "stock:on('take', { int, returns = int }, function(self, n) self.n = self.n + n + self.w * "
        "1000 + self.i return self.n end)\n"
        "stock:on('bad', {}, function(self) self.w = 5 end)\n"
        "named:create('open', { int }, function(self, n) self.n = n end)\n"
        "named:on('add', { int, returns = int }, function(self, n) self.n = self.n + n return "
        "self.n end)\n"
        "shop:on('go', { text, allow = 'anyone' }, function(self, who) main:open(5) return { "
        "stock(3, 117):take(1), stock('4:2'):take(1), stock(3, 117).key, self:other(), "
        "shop:other(), main:add(2) } end)\n"
        "shop:query('other', { returns = int }, function(self) return 42 end)\n"
        "shop:on('wrong', {}, function(self) return stock(3) end)\n"
        "shop:on('wrong2', {}, function(self) return stock('x', 1) end)\n"
        "shop:on('wrong3', {}, function(self) return shop 'x' end)\n"
        "shop:on('wrong4', {}, function(self) named('none'):add(1) end)\n"
        "shop:on('wrong5', {}, function(self) weir.after('1s', 'go') end)\n");
    assert_string_equal(fake_call(fake, "shop", "", "go", "[\"ann\"]"),
                        "ok [3118,4003,\"3:117\",42,42,7]");
    assert_string_equal(fake_row(fake, "stock", "3:117"), "{\"i\":117,\"n\":3118,\"w\":3}");
    assert_int_equal(strncmp(fake_call(fake, "stock", "1:1", "bad", ""), "handler", 7), 0);
    static const char *const wrong[] = { "wrong", "wrong2", "wrong3", "wrong5" };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(strncmp(fake_call(fake, "shop", "", wrong[i], ""), "handler", 7), 0);
    assert_int_equal(strncmp(fake_call(fake, "shop", "", "wrong4", ""), "notfound", 8), 0);
    assert_int_equal(strncmp(fake_call(fake, "shop", "", "go", "[\"ann\"]"), "exists", 6), 0);
    fake_destroy(fake);
}

static void row_is_kept_over_transactions(void **state)
{
    (void)state;
    static char app[8192];
    snprintf(app, sizeof(app), "%s%s", head,
             "a:on('set', {}, function(self) self.t = 'x' self.l = { 1, 2 } self.r.street = 's' "
             "self.h = b 'q' self.j = { k = 1 } self.m:put(4, { body = 'z' }) end)\n"
             "a:on('more', {}, function(self) self.l[3] = 3 self.m:get(4).n = 8 self.j = { k = "
             "self.j.k + 1 } end)\n");
    struct fake *fake = fake_create(app);
    assert_string_equal(fake_call(fake, "a", "k", "set", ""), "ok null");
    assert_string_equal(fake_call(fake, "a", "k", "more", ""), "ok null");
    assert_non_null(strstr(fake_row(fake, "a", "k"), "\"l\":[1,2,3]"));
    assert_non_null(strstr(fake_row(fake, "a", "k"), "\"j\":{\"k\":2}"));
    assert_string_equal(fake_map(fake, "a", "k", "m"), "4={\"body\":\"z\",\"from\":null,\"n\":8}");
    fake_destroy(fake);
}

/* Rules over single fields, where they can stand; nil is not judged. */
static void rules_of_fields_are_asked(void **state)
{
    (void)state;
    struct fake *fake = fake_create(
        "local weir = require 'weir'\nlocal int, opt, list = weir.int, weir.opt, weir.list\n"
        "local function good(h) return h.key ~= 'bad' end\n"
        "local b = weir.entity('b', {})\n"
        "local a = weir.entity('a', { h = opt(b) { check = good }, l = list(opt(b) { check = good }), "
        "e = int { check = function(n) return n == 0 or nothing.x end } })\n"
        "a:on('raises', {}, function(self) self.e = 1 end)\n"
        "a:on('set', { opt(b) }, function(self, h) self.h = h end)\n"
        "a:on('put', { b }, function(self, h) self.l = { b 'x', h } end)\n"
        "a:on('arg', { opt(b) { check = good } }, function(self, h) end)\n");
    static const char *const calls[][3] = {
        { "set", "[\"fine\"]", "ok" },      { "set", "[\"bad\"]", "check h: h: its rule" },
        { "set", "[null]", "ok" },          { "put", "[\"fine\"]", "ok" },
        { "put", "[\"bad\"]", "check l[2]" }, { "arg", "[\"bad\"]", "check" },
        { "arg", "[null]", "ok" },
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        const char *got = fake_call(fake, "a", "k", calls[i][0], calls[i][1]);
        if (strncmp(got, calls[i][2], strlen(calls[i][2])) != 0)
            fail_msg("%s %s gave %s", calls[i][0], calls[i][1], got);
    }
    /* what it raised is told once */
    fake_effects(fake);
    for (int i = 0; i < 2; i++)
        assert_string_equal(fake_call(fake, "a", "r", "raises", ""), "check e: e: its rule does not hold");
    assert_string_equal(fake_effects(fake),
                        "\"event\":\"rule_failed\",\"level\":\"error\",\"rule\":\"a.e\",\"error\":\"app.lua:5: "
                        "unknown global `nothing`: is it misspelt, or its `local` further down?\"\n");
    fake_destroy(fake);
}

/* What an application cannot know of itself is no word of its; those about a request are. */
static void engine_keeps_its_words(void **state)
{
    (void)state;
    static const struct probe probes[] = {
        { "weir.fail 'unknown'", "handler app.lua:30: weir.fail: `unknown` is the engine's own word" },
        { "weir.fail 'ok'", "handler" },
        { "weir.fail 'pending'", "handler app.lua:" },
        { "weir.fail 'timeout'", "handler app.lua:" },
        { "weir.fail 'overloaded'", "handler app.lua:" },
        { "weir.fail 'shutdown'", "handler app.lua:" },
        { "weir.fail 'loading'", "handler app.lua:" },
        { "weir.fail 'diskfull'", "handler app.lua:" },
        { "weir.fail 'oom'", "handler app.lua:" },
        { "weir.fail 'idempotency'", "handler app.lua:" },
        { "weir.fail 'budget'", "handler app.lua:" },
        { "weir.fail 'denied'", "handler app.lua:" },
        { "weir.fail('noperm', 1)", "noperm 1" },
        { "weir.fail('noauth', 1)", "noauth 1" },
        { "weir.fail('arg', 1)", "arg 1" },
        { "weir.fail('exists', 1)", "exists 1" },
        { "weir.fail('check', 1)", "check 1" },
        { "weir.fail('range', 1)", "range 1" },
        { "weir.fail('toobig', 1)", "toobig 1" },
        { "weir.fail('full', 1)", "full 1" },
    };
    RUN(probes);
}

static void errors_say_where_and_what(void **state)
{
    (void)state;
    static const struct probe probes[] = {
        { "return self.mt:append(1)", "handler app.lua:29: in a:h0: mt:append needs a map" },
        { "return self.m:append { bdy = 1 }", "handler app.lua:32: in a:h1: m.bdy: there is no such field" },
        { "return table.insert(self.l, 5, 1)", "handler app.lua:35: in a:h2: a list has no place 5" },
        { "error('mine', 0)", "handler app.lua:38: in a:h3: mine" },
        { "error('mine')", "handler app.lua:42: mine" },
        { "b('c'):add(1, 2)", "arg b:add takes 1 argument, got 2" },
        { "b('c'):echo(1, 2, 3)", "arg b:echo takes 2 arguments, got 3" },
        { "weir.after('1s', 'look')", "handler app.lua:51: a timer to a:look does nothing, as that is a query" },
        { "weir.at(0, 'look')", "handler app.lua:54: a timer" },
        { "weir.send(b 'x', 'get')", "handler app.lua:57: a message to b:get does nothing, as that is a query" },
        { "weir.send(b 'x', 'add', 1)", "ok" },
        { "local t = {} for i = 1, 1e6 do t[i] = {} end", "budget memory: not enough memory: app.lua:62 (a:h11) needs more than 8388608 bytes (lua_bytes_max)" },
        { "while true do end", "budget cpu: more than 100 ms (cpu_ms_max) in app.lua:65" },
    };
    RUN(probes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(field_takes_its_type_only),
        cmocka_unit_test(fields_are_the_same_in_compiled_loops),
        cmocka_unit_test(list_and_record_are_part_of_the_row),
        cmocka_unit_test(map_rows_are_the_rows_themselves),
        cmocka_unit_test(calls_cross_as_values),
        cmocka_unit_test(handles_are_what_they_were),
        cmocka_unit_test(threads_wait_for_their_handler),
        cmocka_unit_test(handles_come_and_go),
        cmocka_unit_test(handles_are_made_to_be_called),
        cmocka_unit_test(last_acts_are_seen),
        cmocka_unit_test(effects_wait_for_the_commit),
        cmocka_unit_test(typed_keys_and_services),
        cmocka_unit_test(json_stays_what_it_was),
        cmocka_unit_test(row_is_kept_over_transactions),
        cmocka_unit_test(rules_of_fields_are_asked),
        cmocka_unit_test(engine_keeps_its_words),
        cmocka_unit_test(errors_say_where_and_what),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
