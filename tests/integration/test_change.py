"""Another version of an application over data that there is: what is stored means what it meant, or the start is refused.

SPDX-License-Identifier: MIT
"""
import os
import re
import shutil

from harness import Server, equal, test, true, weir

FIRST = """
local weir = require "weir"
local int, float, bool, text, time, enum = weir.int, weir.float, weir.bool, weir.text, weir.time, weir.enum
local list, map, opt = weir.list, weir.map, weir.opt
local other = weir.entity("other", { n = int })
local box = weir.entity("box", {
  n = int { default = 3 }, zero = int, maybe = opt(int), half = float, f = float { default = 0.5 }, on = bool { default = true },
  t = text { default = "some" }, at = time, e = enum { "a", "b", "c" }, who = other,
  rec = { x = int { default = 7 }, y = text }, some = list(int { default = 9 }), words = list(enum { "p", "q" }),
  rows = map(int, { v = int { default = 4 } }), named = map({ text, enum { "l", "r" } }, int),
}, {})
local place = weir.entity("place", { w = int, i = int, n = int }, { key = "{w}:i" })
local happened = weir.stream("happened", { n = int { default = 6 }, m = int })
local shop = weir.service "shop"
place:on("touch", {}, function(self) self.n = 1 end)
other:on("touch", {}, function(self) self.n = 1 end)
box:on("fill", { other }, function(self, o)
  self.who, self.e = o, "b"
  self.some, self.words = { 9, 1 }, { "q" }
  self.rows:append {}
  self.named:put("x", "r", 0)
  happened:emit { n = 6, m = 1 }
  place(1, 2):touch()
  weir.after("1h", "later", 5, "five")
end)
box:on("later", { int, text }, function(self, n, t) end)
box:on("never", { int }, function(self, n) end)
box:on("count", { returns = int }, function(self) return 5 end)
"""
STORED = {"n": 3, "zero": 0, "maybe": None, "half": 0, "f": 0.5, "on": True, "t": "some", "at": None, "e": "b", "who": "o", "rec": {"x": 7, "y": ""},
          "some": [9, 1], "words": ["q"]}

# What is changed, by what; part of the refusal, or what of the row is other than before.
CHANGES = [
    ("another start", ("int { default = 3 }", "int { default = 30 }"), {}),
    ("a start where there was none", ("zero = int", "zero = int { default = 8 }"), {}),
    ("a start of a float where there was none", ("half = float", "half = float { default = 0.5 }"), {}),
    ("no start any more", ("int { default = 3 }", "int"), {}),
    ("opt", ("zero = int", "zero = opt(int)"), {}),
    ("opt no longer: what was nil has its start", ("maybe = opt(int)", "maybe = int { default = 2 }"), {"maybe": 2}),
    ("starts of other types", ("default = 0.5", "default = 1.5"), ("default = true", "default = false"), ('"some"', '"other"'), {}),
    ("a start of an enum", ('enum { "a", "b", "c" }', 'enum { "a", "b", "c" } { default = "c" }'), {}),
    ("starts within", ("default = 7", "default = 70"), ("default = 9", "default = 90"), {}),
    ("a field more, in a record, too", ("y = text", "y = text, z = int { default = 1 }"), ("at = time", 'at = time, late = text { default = "new" }'),
     {"rec": {"x": 7, "y": "", "z": 1}, "late": "new"}),
    ("a field less", ("maybe = opt(int), ", ""), {"maybe": ...}),
    ("a rule that what is stored breaks", ("int { default = 3 }", "int { default = 30, min = 10 }"), {}),
    ("a word more", ('"a", "b", "c"', '"a", "b", "c", "d"'), {}),
    ("a word in front", ('"a", "b", "c"', '"z", "a", "b", "c"'), "`a` is word 1 of `row/box.e` in the data"),
    ("words the other way round", ('"a", "b", "c"', '"a", "c", "b"'), "`b` is word 2 of `row/box.e`"),
    ("the last word less", ('"a", "b", "c"', '"a", "b"'), "`c` is word 3 of `row/box.e`"),
    ("a word of a list", ('list(enum { "p", "q" })', 'list(enum { "q", "p" })'), "`p` is word 1 of `row/box.words.`"),
    ("another type", ("n = int { default = 3 }", "n = float"), "`row/box/n` has another type than in the data"),
    ("another type of a list", ("list(int { default = 9 })", "list(text)"), "`row/box.some/=` has another type", ("{ 9, 1 }", "{}")),
    ("records in a list", ("list(int { default = 9 })", "list { v = int }"), "`row/box.some` has another type", ("{ 9, 1 }", "{}")),
    ("a reference to another type", ("who = other", "who = place"), ("self.who, self.e = o,", "self.e ="),
     ("local box", 'local place = weir.entity "place"\nlocal box'), "`row/box/who` refers to another type"),
    ("another key of a map", ("map({ text, enum", "map({ int, enum"), ('put("x"', "put(1"), "the key of the map `box.named` has other parts"),
    ("a part more of a map's key", ("map(int, { v", "map({ int, int }, { v"), ("self.rows:append {}", ""), "the key of the map `box.rows` has other parts"),
    ("words of a map's key", ('enum { "l", "r" }', 'enum { "r", "l" }'), "`l` is word 1 of `mapkey/box/named.2`"),
    ("a map less", ("named = map({ text, enum { \"l\", \"r\" } }, int),", ""), ('self.named:put("x", "r", 0)', ""), {}),
    ("a key that routes otherwise", ('"{w}:i"', '"w:{i}"'), "the key of `place` has another form"),
    ("a typed key for a plain one", ("}, {})\nlocal place", '}, { key = "zero" })\nlocal place'), "the key of `box` has another form"),
    ("parts of a key called otherwise", ("w = int, i = int", "house = int, i = int"), ('"{w}:i"', '"{house}:i"'), {}),
    ("parameters that a timer has the old ones of", ('"later", { int, text }', '"later", { text, int }'), ('5, "five"', '"five", 5'),
     "a timer waits in the data for `box:later`"),
    ("another start of a parameter", ('"later", { int, text }', '"later", { int { default = 5 }, text }'), "a timer waits in the data for `box:later`"),
    ("a parameter more", ('"later", { int, text }, function(self, n, t)', '"later", { int, text, int }, function(self, n, t, m)'),
     ('5, "five"', '5, "five", 1'), "a timer waits in the data for `box:later`"),
    ("an optional parameter more", ('"later", { int, text }, function(self, n, t)', '"later", { int, text, opt(int) }, function(self, n, t, m)'), {}),
    ("parameters of what nothing waits for", ('"never", { int }', '"never", { text }'), {}),
    ("a handler less", ('box:on("never"', 'box:on("ever"'), {}),
    ("an entity that was a service", ('weir.service "shop"', 'weir.entity("shop", { n = int })'), "`type/shop` has another type"),
    ("an event's field of another type", ("default = 6 }, m = int", 'default = 6 }, m = text'), ("m = 1", 'm = ""'), "`event/happened/m` has another type"),
    ("another start of an event's field", ("default = 6", "default = 60"), {}),
]


def changed(pairs):
    text = FIRST
    for old, new in pairs:
        equal(text.count(old), 1, old)
        text = text.replace(old, new)
    return text


def first_data(folder):
    folder.write("first.lua", FIRST)
    with Server(folder.join("first.lua"), folder.join("d")) as server:
        equal(server.post("/box/b/fill", '["o"]').status, 200)
        equal(server.post("/box/b/count", "[]", **{"Idempotency-Key": "k"}).json, 5)
        equal(server.get("/box/b").json, STORED)
        equal(server.stop(), 0)


@test
def what_is_stored_stays_or_the_start_is_refused(folder):
    first_data(folder)
    for number, (what, *pairs) in enumerate(CHANGES):
        expected = next(part for part in pairs if not isinstance(part, tuple))
        app = folder.write("next%d.lua" % number, changed([part for part in pairs if isinstance(part, tuple)]))
        if isinstance(expected, str):
            for verb in (("check", app, "--data", folder.join("d")), ("run", app, "--data", folder.join("d"), "--http", "none", "--resp", "127.0.0.1:0")):
                code, out, error = weir(*verb)
                true(code in (1, 78) and expected in out + error, "%s: %s said %d: %s%s" % (what, verb[0], code, out[-300:], error))
            continue
        data = folder.join("d%d" % number)
        shutil.copytree(folder.join("d"), data)
        wanted = {name: value for name, value in {**STORED, **expected}.items() if value is not ...}
        for _ in range(2):      # what the first start notes, the second one reads
            with Server(app, data) as server:
                equal(server.get("/box/b").json, wanted, what)
                equal(server.get("/box/b/rows").json, [{"key": 1, "value": {"v": 4}}], what)
                events = server.get("/streams/happened").json["events"]
                equal([event["event"] for event in events], [{"n": 6, "m": 1}], what)
        shutil.rmtree(data)


@test
def a_changed_start_is_one_of_new_rows_for_good(folder):
    first_data(folder)
    later = folder.write("later.lua", changed([("int { default = 3 }", "int { default = 30 }")]))
    for app in (later, folder.join("first.lua"), later):    # back and forth
        with Server(app, folder.join("d")) as server:
            key = "b" + re.sub(r"\W", "", app)
            equal(server.post("/box/%s/fill" % key, '["o"]').status, 200)
            equal(server.get("/box/b").json["n"], 3)
            equal(server.get("/box/" + key).json["n"], 30 if app == later else 3)
    with Server(later, folder.join("d")) as server:
        equal(server.get("/box/b" + re.sub(r"\W", "", later)).json["n"], 30)
        equal(server.get("/box/b" + re.sub(r"\W", "", folder.join("first.lua"))).json["n"], 3)


@test
def a_repeat_is_not_answered_in_another_type(folder):
    first_data(folder)
    later = folder.write("later.lua", changed([("returns = int", "returns = text"), ("return 5", 'return "five"')]))
    repeat = ("/box/b/count", "[]")
    with Server(later, folder.join("d")) as server:
        equal(server.post(*repeat, **{"Idempotency-Key": "k"}).code, "idempotency")
        equal(server.post(*repeat, **{"Idempotency-Key": "k2"}).json, "five")
        equal(server.post(*repeat, **{"Idempotency-Key": "k2"}).json, "five")
    with Server(folder.join("first.lua"), folder.join("d")) as server:
        equal(server.post(*repeat, **{"Idempotency-Key": "k"}).json, 5)
        equal(server.post(*repeat, **{"Idempotency-Key": "k2"}).code, "idempotency")


@test
def parameters_may_change_when_nothing_waits_any_more(folder):
    first_data(folder)
    later = folder.write("later.lua", changed([('"later", { int, text }', '"later", { text, int }'), ('5, "five"', '"five", 5')]))
    gone = folder.write("gone.lua", changed([('weir.after("1h", "later", 5, "five")', "weir.cancel \"later\"")]))
    equal(weir("check", later, "--data", folder.join("d"))[0], 1)
    with Server(gone, folder.join("d")) as server:
        equal(server.post("/box/b/fill", '["o"]').status, 200)
    equal(weir("check", later, "--data", folder.join("d"))[0], 0)


@test
def a_check_leaves_no_names_behind(folder):
    first_data(folder)
    for word in ("d", "e", "d"):
        app = folder.write("%s.lua" % word, changed([('"a", "b", "c"', '"a", "b", "c", "%s"' % word), ("zero = int", "new = %s, zero = int" % ("int" if word == "d" else "text"))]))
        code, out, error = weir("check", app, "--data", folder.join("d"))
        equal(code, 0, out + error)
    equal(weir("check", folder.join("first.lua"), "--data", folder.join("d"))[0], 0)


@test
def a_check_of_data_that_is_not_there_makes_none(folder):
    app = folder.write("first.lua", FIRST)
    code, out, error = weir("check", app, "--data", folder.join("typo"))
    true(code == 1 and "No such file" in error, error)
    true(not os.path.exists(folder.join("typo")), "the directory was made")
    os.mkdir(folder.join("empty"), 0o700)
    code, out, error = weir("check", app, "--data", folder.join("empty"))
    true(code == 1 and "there is no data in" in error, error)
    for path in (app, folder.join("nowhere", "d")):     # a mistake, nothing to wait for
        code, out, error = weir("run", app, "--data", path, "--http", "none", "--resp", "127.0.0.1:0")
        true(code == 78 and "cannot open the data directory" in error, "%d %s" % (code, error))
