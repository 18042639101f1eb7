/*
 * test_lua_types.c - declarations: what reaches the catalog, what is refused and in which words; `weir check`.
 * SPDX-License-Identifier: MIT
 */
#include "fake_ctx.h"

#include <stdio.h>
#include <string.h>

#include "core/catalog.h"

static const char head[] = "local weir = require 'weir'\n"
                           "local int, float, bool, text, bytes, time, any = weir.int, weir.float, "
                           "weir.bool, weir.text, weir.bytes, weir.time, weir.any\n"
                           "local enum, list, opt, map = weir.enum, weir.list, weir.opt, weir.map\n"
                           "local b = weir.entity('b', { n = int })\n";

static void declarations_fill_the_catalog(void **state)
{
    (void)state;
    static char app[4096];
    snprintf(
        app, sizeof(app), "%s%s", head,
        "local order = weir.entity 'order'\n"
        "weir.entity('order', { who = b, zip = text { max = 5 }, lines = list { item = b, n = int "
        "{ min = 1, max = 9 } } { min = 1 },\n"
        "  log = map({ int, b, enum { 'x', 'y' } }, { at = time }) }, { key = nil })\n"
        "order:create('place', { b, opt(int), list(text), allow = 'anyone', returns = { a = int, z "
        "= text } }, function(self, who, n, more) end)\n"
        "order:query('all', {}, function(self) end)\n"
        "local shop = weir.service 'shop'\n"
        "shop:on('go', { int, int, returns = list(int), allow = 'clerk' }, function(self) end)\n");
    struct fake *fake = fake_create(app);
    const struct catalog *catalog = fake_catalog(fake);
    const struct type *order = catalog_type(catalog, STR("order"));
    assert_int_equal(order->row->count, 3);
    assert_true(str_eq(order->row->fields[0].name, STR("lines")) &&
                str_eq(order->row->fields[1].name, STR("who")));
    assert_true(order->row->fields[0].has_min && order->row->fields[0].min == 1 &&
                order->row->fields[0].shape->fields[1].max == 9);
    assert_true(str_eq(order->row->fields[1].type, STR("b")) && order->has_create);
    assert_int_equal(order->map_count, 1);
    assert_true(order->maps[0].key_count == 3 && order->maps[0].key[1] == WEIR_REF &&
                order->maps[0].key_word_count[2] == 2);
    const struct handler *place = type_handler(order, STR("place"));
    assert_true(place->kind == WEIR_CREATE && str_eq(place->allow, STR("anyone")) &&
                str_eq(place->at, STR("app.lua:8")));
    assert_true(place->args->count == 3 && str_eq(place->args->fields[2].name, STR("more")) &&
                place->args->fields[1].optional);
    assert_true(place->result->count == 2 && !place->result->scalar);
    const struct handler *all = type_handler(order, STR("all"));
    assert_true(all->kind == WEIR_QUERY && all->result->scalar &&
                all->result->fields[0].kind == WEIR_ANY && all->allow.ptr == NULL);
    const struct type *shop = catalog_type(catalog, STR("shop"));
    assert_true(shop->service &&
                str_eq(type_handler(shop, STR("go"))->args->fields[0].name, STR("arg1")));
    fake_destroy(fake);
}

static void mistake_is_named_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } mistakes[] = {
        { "weir.entity('a', { n = int { least = 0 } })", "no option `least`" },
        { "weir.entity('a', { n = int { unique = true } })",
          "`unique` of int comes with a later release" },
        { "weir.entity('a', { n = text { index = true } })", "comes with a later release" },
        { "weir.entity('a', { n = b { on_delete = 'cascade' } })", "later release" },
        { "weir.entity('a', { n = int { was = 'm' } })", "later release" },
        { "weir.entity('a', { n = int }, { everywhere = true })", "later release" },
        { "weir.entity('a', { n = int }, { unique = {} })", "later release" },
        { "weir.stream('s', {})", "stream s: an event has at least one field" },
        { "weir.stream('s', { n = int }, { key = 'm' })", "it has no `m`" },
        { "weir.stream('s', { n = int }, { keep = '9x' })", "`keep` is a duration" },
        { "weir.stream('s', { n = int }, { latest = true })", "write keep = \"latest\"" },
        { "weir.stream('s', { t = text }, { key = 't', keep = 'latest, 5MB' })", "`keep` is a duration" },
        { "weir.stream('s', { t = text }, { key = 't', keep = 'latest,' })", "`keep` is a duration" },
        { "weir.stream('s', { t = text }, { key = 't', keep = 'latest', tombstone = 'x' })", "it has no `x`" },
        { "weir.stream('s', { n = int }, { color = 'red' })", "no option `color`" },
        { "weir.stream('s', { n = int }) weir.stream('s', { n = int })", "declared twice" },
        { "b:follow(weir.stream('s', { n = int }), {}, function() end)", "`by` names the event's field" },
        { "weir.entity('a', {}):follow(weir.stream 's', {}, function() end)", "no file has declared" },
        { "weir.entity('a', {}):follow(weir.stream('s', { n = int }), { by = 'n' }, function() end)",
          "a text or a reference" },
        { "weir.view('s', {})", "weir.view comes with a later release" },
        { "weir.window('s', {})", "`from` is the stream that it looks at" },
        { "weir.window('s', { from = 5 })", "`from` is a stream, as weir.stream gives it" },
        { "weir.window('s', { from = weir.stream 't', size = '1h' })", "no file has declared the stream `t`" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), size = '1h' })", "it has no aggregate" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), c = weir.count() })",
          "one of `size` (with `slide` or without), `gap` and `last`" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), size = '1h', gap = '1m', c = weir.count() })",
          "one of `size` (with `slide` or without), `gap` and `last`" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), size = 'x', c = weir.count() })", "`size` is a duration" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), size = '1h', slide = '2h', c = weir.count() })",
          "`slide` is a duration up to `size`" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), size = '1h', slide = '1s', c = weir.count() })",
          "more than 1000 windows" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), size = '1h', c = weir.sum 'm' })", "it has no `m`" },
        { "weir.window('s', { from = weir.stream('t', { n = text }), size = '1h', c = weir.sum 'n' })", "its kind does not fit" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), by = 'm', size = '1h', c = weir.count() })", "has no `m`" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), size = '1h', to = weir.count() })", "two columns are called `to`" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), size = '1h', c = weir.count(), color = 'red' })",
          "`color` is no option and no aggregate" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), gap = '1h', c = weir.fold(0, function() end) })",
          "a fold cannot join two sessions" },
        { "weir.window('t', { from = weir.stream('t', { n = int }), size = '1h', c = weir.count() })", "a stream called `t` already" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), size = '1h', keep = 'latest', c = weir.count() })",
          "`keep` is a duration, a size or \"forever\"" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), c = weir.count(), size = '1h', last = '1m' })",
          "exactly one of `size`" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), c = weir.count(), gap = '1h', size = '0s' })",
          "`size` is at least 1ms" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), c = weir.count(), size = '1h', slide = 0 })",
          "`slide` is at least 1ms" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), c = weir.count(), size = '1h', early = 'yes' })",
          "`early` is true or false" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), c = weir.count(), size = '1h', where = 5 })",
          "`where` is a function of the event" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), c = weir.count(), size = '1h', idle = '0s' })",
          "`idle` is at least 10ms" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), c = weir.count(), size = '1h', idle = '9ms' })",
          "`idle` is at least 10ms" },
        { "weir.window('s', { from = weir.stream('t', { n = int }), c = weir.count(), size = '1h', correct = '0s' })",
          "`correct` is at least 1ms" },
        { "weir.distinct('n', { sketch = 1 })",
          "`sketch` is true or false" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = int }), by = 'n', within = '1s', as_of = true })",
          "exactly one of `within`, `size`" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = int }), by = 'n', within = '1s', as_of = '1h' })",
          "exactly one of `within`, `size`" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = int }), by = 'n', size = '1s', as_of = true })",
          "exactly one of `within`, `size`" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = int }), by = 'n', within = '1s', size = '1s' })",
          "exactly one of `within`, `size`" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = int }), by = 'n', as_of = false })",
          "exactly one of `within`, `size`" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = int }), by = 'n', as_of = {} })",
          "`as_of` is true, or how old the right event may be" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = int }), by = 'n', as_of = '0s' })",
          "`as_of` is at least 1ms" },
        { "weir.top(0, 'n')", "weir.top takes how many, 1 to 100" },
        { "weir.sum()", "weir.sum takes the name of a field" },
        { "weir.count 'n'", "weir.count takes nothing" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = int }), within = '1s' })",
          "`by` names the fields that must be equal" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = text }), by = 'n', within = '1s' })",
          "are of two kinds" },
        { "weir.join('j', { left = weir.stream('l', { n = int }), right = weir.stream('r', { n = int }), by = 'n' })",
          "one of `within`, `size`" },
        { "weir.outside('s', {})", "outside s: `url` says where it is" },
        { "weir.every('5s')", "weir.every takes when, whom and the name" },
        { "local d = weir.date", "weir.date comes with a later release" },
        { "weir.password {}", "weir.password comes with a later release" },
        { "weir.secret 'x'", "the secret `x` is not set: --set x=" },
        { "b:follow({}, {}, function() end)", "write card:follow(stream" },
        { "b:find {}", "b:find comes with a later release" },
        { "weir.entity('a', { n = 5 })", "expected a type, got number" },
        { "weir.entity('a', { n = list })", "a function is no type" },
        { "weir.entity('a', { n = nt })", "unknown global `nt`" },
        { "print('x')", "unknown global `print`: weir.trace(...)" },
        { "local n = os.time()", "unknown global `os`: a handler does not reach outside" },
        { "weir.entity('a', { key = int })", "`key` is the entity's own key" },
        { "weir.entity('a', { _n = int })", "`_n` is no name" },
        { "weir.entity('a', { ['a b'] = int })", "is no name" },
        { "weir.entity('a', { int })", "fields have names" },
        { "weir.entity('a', int)", "the fields of an entity are a table" },
        { "weir.entity('streams', {})", "the server's" },
        { "weir.entity('metrics', {})", "the server's" },
        { "weir.entity('_a', {})", "is no name" },
        { "weir.entity('', {})", "is no name" },
        { "weir.entity(5)", "takes a name" },
        { "weir.entity('b', { n = int })", "declared twice" },
        { "weir.service 'b'", "both an entity and a service" },
        { "weir.entity('a', { n = int }, { key = '{w}:i' })", "key" },
        { "weir.entity('a', { n = int }, { key = 5 })", "`key` is a text" },
        { "weir.entity('a', { n = int }, { check = 5 })", "`check` is a function" },
        { "weir.entity('a', { n = int }, { what = 5 })", "no option `what`" },
        { "weir.entity('a', { n = int { min = 5, max = 1 } })", "min is above max" },
        { "weir.entity('a', { n = int { min = 1.5 } })", "whole number" },
        { "weir.entity('a', { n = int { min = '1' } })", "is a number" },
        { "weir.entity('a', { n = int { default = 'x' } })", "default" },
        { "weir.entity('a', { n = text { max = -1 } })", "bounds a length" },
        { "weir.entity('a', { n = bool { min = 1 } })", "no option `min`" },
        { "weir.entity('a', { n = enum {} })", "1 to 256 words" },
        { "weir.entity('a', { n = enum { 'x', 'x' } })", "twice" },
        { "weir.entity('a', { n = enum { 'x', 5 } })", "words of an enum" },
        { "weir.entity('a', { n = enum { 'x' } { default = 'y' } })", "default" },
        { "weir.entity('a', { n = opt(list(int)) })", "cannot be opt" },
        { "weir.entity('a', { n = opt { x = int } })", "cannot be opt" },
        { "weir.entity('a', { n = list(5) })", "list takes one type" },
        { "weir.entity('a', { n = list(map(int, int)) })", "cannot hold maps" },
        { "local t = int for i = 1, 3000 do t = list(t) end weir.entity('a', { n = t })",
          "types nested deeper than 8: records and lists" },
        { "local t = int for i = 1, 8 do t = list(t) end weir.entity('a', { n = t })",
          "a.n[][][][][][][][]: types nested deeper than 8" },
        { "local t = int for i = 1, 5 do t = list { x = t } end weir.entity('a', { n = list(list(list(t))) })",
          "types nested deeper than 8" },
        { "local t = int for i = 1, 9 do t = list(t) end b:on('x', { t }, function(self, v) end)",
          "types nested deeper than 8" },
        { "weir.entity('a', { n = list(int) { max = 2000 } })", "a.n: `max` is at most 1000" },
        { "weir.entity('a', { n = list(int) { min = 1001 } })", "a.n: `min` is at most 1000" },
        { "weir.entity('a', { n = int { min = 5, default = 3 } })", "a.n: the default is below min" },
        { "weir.entity('a', { n = float { max = 1, default = 1.5 } })", "a.n: the default is above max" },
        { "weir.entity('a', { n = text { max = 2, default = 'abc' } })", "a.n: the default is above max" },
        { "weir.entity('a', { n = int { least = 0 } })", "; it has min, max, default, check" },
        { "weir.entity('a', { n = bool { least = 0 } })", "; it has default, check" },
        { "weir.entity('a', { n = opt(b) { min = 1 } })", "a handle has no option `min`; it has check" },
        { "b:on(('x'):rep(65), {}, function(self) end)", "at most 64, and not `key`" },
        { "weir.entity('a', { n = { m = map(int, int) } })", "a map belongs" },
        { "weir.entity('a', { n = map(float, int) })", "cannot be part of a map's key" },
        { "weir.entity('a', { n = map(opt(int), int) })", "cannot be opt" },
        { "weir.entity('a', { n = map({ int, int, int, int, int }, int) })", "1 to 4 parts" },
        { "weir.entity('a', { n = map(int) })", "map takes" },
        { "b:on('x', { int }, function(self) end, 1) b:on('x', {}, function(self) end)",
          "declared twice" },
        { "b:on('x', {}, function(self) return self.n, 2 end)",
          "b:x returns more than one value, in line 6: a handler has one result; put them in a table" },
        { "b:query('x', { text }, function(self, s) return 1, s:find('x') end)", "b:x returns more than one value" },
        { "b:on('x', {}, function(self, n) end)", "the parameter `n` has no type" },
        { "b:on('x', { int, nil, int }, function(self) end)", "type is nil" },
        { "b:on('x', { int, allows = 'anyone' }, function(self) end)", "has no `allows`" },
        { "b:on('x', { int, allow = 5 }, function(self) end)", "`allow` is" },
        { "b:on('x', { int, allow = 'Any One' }, function(self) end)", "`allow` is" },
        { "b:on('x', { 5 }, function(self) end)", "expected a type" },
        { "b:on('x', int, function(self) end)", "takes a name, a signature and a function" },
        { "b:on('x', function(self) end)", "takes a name, a signature and a function" },
        { "b:on('key', {}, function(self) end)", "no name for a handler" },
        { "b:on('a b', {}, function(self) end)", "no name for a handler" },
        { "b.on('x', {}, function(self) end)", "with a colon" },
        { "b:at('x', {}, function(self) end)", "has no at" },
        { "weir.entity('later'):on('x', {}, function(self) end)",
          "declare the entity before its handlers" },
        { "weir.service('s'):create('x', {}, function(self) end)", "no entity to create" },
        { "weir.entity('a', { s = weir.service 's' })", "is a service" },
        { "weir.setting('x', int)", "is not set" },
        { "weir.setting('x', list(int))", "a setting is" },
        { "weir.setting('bad', int)", "setting `bad`" },
        { "weir.now()", "in handlers only" },
        { "b('x'):go()", "has no handler `go`" },
        { "error('mine')", "mine" },
        { "local x = nil + 1", "arithmetic" },
    };
    static char app[4096];
    static const char *const settings[] = { "bad=x", NULL };
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct lua_problem problem = { .line = 0 };
        fake_settings(settings);
        snprintf(app, sizeof(app), "%s\n%s", head, mistakes[i].text);
        struct fake *fake = fake_try(app, &problem);
        if (fake != NULL) fail_msg("`%s` was taken", mistakes[i].text);
        if (problem.line != 6 || strstr(problem.text, mistakes[i].words) == NULL)
            fail_msg("`%s`: %s:%d: %s", mistakes[i].text, problem.file, problem.line, problem.text);
        fake_files_reset();
    }
}

/* Two lists in each of which another nests are no deeper than one; C counts the same way. */
static void types_nest_as_deep_as_in_c(void **state)
{
    (void)state;
    static char app[4096];
    snprintf(app, sizeof(app), "%s%s", head,
             "local t, r = int, { x = int } for i = 1, 7 do t = list(t) end for i = 1, 6 do r = list { x = r, y = r } end\n"
             "weir.entity('a', { n = t, m = t, r = r, s = { x = list(list(list(list(list(text))))) } })\n"
             "b:on('x', { list(t), list(t), returns = t }, function(self, v, w) return v[1] end)\n");
    struct fake *fake = fake_create(app);
    assert_string_equal(fake_call(fake, "b", "k", "x", "[[[[[[[[[7]]]]]]]],[]]"), "ok [[[[[[[7]]]]]]]");
    fake_destroy(fake);
}

static void unknown_reference_is_found_at_the_end(void **state)
{
    (void)state;
    struct lua_problem problem = { .line = 0 };
    assert_null(fake_try(
        "local weir = require 'weir'\nweir.entity('a', { x = weir.entity 'nowhere' })", &problem));
    assert_non_null(strstr(problem.text, "nowhere"));
    fake_files_reset();
}

static void latest_needs_a_key_and_an_end_of_a_key_needs_latest(void **state)
{
    (void)state;
    static const char *const mistakes[][2] = {
        { "{ keep = 'latest' }", "`keep` = latest needs `key`" },
        { "{ keep = 'latest, 7d' }", "`keep` = latest needs `key`" },
        { "{ key = 't', keep = 'latest', tombstone = 't' }", "names a field of type bool" },
        { "{ key = 't', tombstone = 'e' }", "goes with `keep` = latest only" },
    };
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        struct lua_problem problem = { .line = 0 };
        static char app[512];
        snprintf(app, sizeof(app),
                 "local weir = require 'weir'\nweir.stream('s', { t = weir.text, e = weir.bool }, %s)",
                 mistakes[i][0]);
        assert_null(fake_try(app, &problem));
        assert_non_null(strstr(problem.text, "stream `s`"));
        if (strstr(problem.text, mistakes[i][1]) == NULL) fail_msg("%s", problem.text);
        fake_files_reset();
    }
}

static void setting_comes_from_outside(void **state)
{
    (void)state;
    static const char *const settings[] = { "hold=20m", "n=7", "f=1.5", "on=true",
                                            "e=y",      "n=8", NULL };
    fake_settings(settings);
    static char app[4096];
    snprintf(app, sizeof(app), "%s%s", head,
             "local hold, n, f, on, e, d = weir.setting('hold', text { default = '15m' }), "
             "weir.setting('n', int), weir.setting('f', float),\n"
             "  weir.setting('on', bool), weir.setting('e', enum { 'x', 'y' }), weir.setting('d', "
             "text { default = 'dd' })\n"
             "b:on('get', {}, function(self) return { hold, n, f, on, e, d } end)\n");
    struct fake *fake = fake_create(app);
    assert_string_equal(fake_call(fake, "b", "x", "get", ""),
                        "ok [\"20m\",8,1.5,true,\"y\",\"dd\"]");
    fake_destroy(fake);
}

static void check_finds_all_mistakes(void **state)
{
    (void)state;
    struct lua_problem problems[20];
    static char app[4096];
    snprintf(app, sizeof(app), "%s%s", head,
             "local n = 0\n"                                           /* 5 */
             "weir.entity('a', { x = int { least = 1 }, y = text })\n" /* 6 */
             "b:on('x', {}, function(self, n) end)\n"                  /* 7 */
             "b:on('y', {}, function(self)\n"                          /* 8 */
             "  n = 1\n"                                               /* 9 */
             "  fresh = 2\n"                                           /* 10 */
             "  return lenght(self.n)\n"                               /* 11 */
             "end)\n"
             "local c = weir.entity('c', { _x = int })\n"                       /* 13 */
             "c:on('z', { int }, function(self, v) return undefined_one end)\n" /* 14 */
             "weir.entity('sql', {})\n");                                       /* 15 */
    unsigned count = fake_check(app, problems, 20);
    static const int lines[] = { 6, 7, 13, 15, 9, 10, 11, 14 };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        bool found = false;
        for (unsigned p = 0; p < count; p++) found = found || problems[p].line == lines[i];
        if (!found) fail_msg("line %d is not among the %u found", lines[i], count);
    }
    assert_int_equal(count, sizeof(lines) / sizeof(lines[0]));
    fake_files_reset();
    assert_int_equal(fake_check("local weir = require 'weir'\nlocal x = = 1", problems, 20), 1);
    assert_int_equal(problems[0].line, 2);
    fake_files_reset();
    static const char *const first[][2] = {
        { "local a = weir.entity('a', {})", "unknown global `weir`: begin the file with local weir = require" },
        { "local weir = require 'weir'\nlocal x = int { min = 1 }", "unknown global `int`: a type is a member of weir" },
        { "local weir = require 'weir'\nlocal a = weir.entity('a', {})\na:on('f', {}, function(self) print('x') end)",
          "unknown global `print`: weir.trace(...)" },
    };
    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        assert_int_equal(fake_check(first[i][0], problems, 20), 1);
        assert_non_null(strstr(problems[0].text, first[i][1]));
        fake_files_reset();
    }
    assert_int_equal(fake_check(head, problems, 20), 0);
    fake_files_reset();
}

/* Files that are one application are judged as one, each beside those before it; a mistake is told once. */
static void check_judges_files_together(void **state)
{
    (void)state;
    struct lua_problem problems[20];
    fake_file("more.lua", "local weir = require 'weir'\nlocal b = weir.entity 'b'\n"
                          "b:on('x', { weir.int }, function(self, n) self.n = n end)\n"
                          "b:follow(weir.stream 's', { by = 'b' }, function(self, e) end)\n"
                          "weir.service 'shop':on('go', {}, function(self) b('x'):x(1) return nope end)\n");
    assert_int_equal(fake_check("local weir = require 'weir'\nlocal b = weir.entity('b', { n = weir.int })\n"
                                "weir.stream('s', { b = b })\n"
                                "b:on('y', {}, function(self) return nowhere end)\n",
                                problems, 20),
                     2);
    assert_true(strcmp(problems[0].file, "app.lua") == 0 && problems[0].line == 4);
    assert_true(strcmp(problems[1].file, "more.lua") == 0 && problems[1].line == 5);
    fake_files_reset();
    fake_file("more.lua", "local weir = require 'weir'\nweir.entity('b', {})");
    assert_int_equal(fake_check("local weir = require 'weir'\nweir.entity('b', {})", problems, 20), 1);
    assert_non_null(strstr(problems[0].text, "b"));
    assert_string_equal(problems[0].file, "more.lua");
    fake_files_reset();
}

/* One mistake is one problem: what stands in for what was refused is good for the rest of the file. */
static void check_tells_a_mistake_once(void **state)
{
    (void)state;
    static const char *const files[] = {
        "local s = weir.service 'no name' s:on('x', {}, function(self) end) s:query('x', {}, function(self) end)",
        "local s = weir.service 'sql' s:on('x', {}, function(self) s:x() end)",
        "local e = weir.entity('sql', { n = weir.int }) e:on('x', { e }, function(self, o) o:x(self) end)",
        "local e = weir.entity('1', {}) e:on('x', {}, function(self) end) e:on('y', {}, function(self) end)",
        "local e = weir.entity('sql', {}) e:follow(weir.stream('t', { e = weir.text }), { by = 'e' }, function(self, e) end)",
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct lua_problem problems[20];
        static char app[512];
        snprintf(app, sizeof(app), "local weir = require 'weir'\n%s", files[i]);
        unsigned count = fake_check(app, problems, 20);
        if (count != 1) fail_msg("%s: %u, %s, %s", files[i], count, problems[0].text, problems[1].text);
        fake_files_reset();
    }
}

static void check_knows_what_is_in_weir(void **state)
{
    (void)state;
    struct lua_problem problems[20];
    unsigned count = fake_check("local weir = require 'weir'\nlocal w, b = weir, weir.entity('b', { n = weir.int })\n"
                                "local function helper(x) return weir.rond(x) end\n"               /* 3 */
                                "b:on('x', {}, function(self)\n"
                                "  weir.now() local f = weir.random\n"
                                "  if self.n > 1 then weir.notthere(1) end\n"                     /* 6 */
                                "  return weir.all({ 1 }, function(i) return w.views + i end)\n"  /* 7 */
                                "end)\n"
                                "b:on('y', { weir.any }, function(self, weir) return helper(weir.notthere) end)\n",
                                problems, 20);
    assert_int_equal(count, 3);
    static const int lines[] = { 3, 6, 7 };
    for (size_t i = 0; i < 3; i++) {
        bool found = false;
        for (unsigned p = 0; p < count; p++)
            found = found || (problems[p].line == lines[i] && strstr(problems[p].text, "there is no weir."));
        if (!found) fail_msg("line %d", lines[i]);
    }
    fake_files_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declarations_fill_the_catalog),
        cmocka_unit_test(mistake_is_named_with_its_line),
        cmocka_unit_test(types_nest_as_deep_as_in_c),
        cmocka_unit_test(unknown_reference_is_found_at_the_end),
        cmocka_unit_test(latest_needs_a_key_and_an_end_of_a_key_needs_latest),
        cmocka_unit_test(setting_comes_from_outside),
        cmocka_unit_test(check_finds_all_mistakes),
        cmocka_unit_test(check_judges_files_together),
        cmocka_unit_test(check_tells_a_mistake_once),
        cmocka_unit_test(check_knows_what_is_in_weir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
