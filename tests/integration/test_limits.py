"""messages_pending_max and timers_max: no more than that are begun, and those that are there go on all the same. And the page that
lists all limits.

SPDX-License-Identifier: MIT
"""
import os
import re

from harness import ROOT, Server, equal, test, true, until, weir

APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "limits.lua")
LIMIT = ("--limit", "messages_pending_max=3")


def arrived(server, key, count):
    until(lambda: server.get("/runner/" + key).json.get("arrived", 0) >= count, "%d arrived at %s" % (count, key), 30)


@test
def full_senders_that_hand_on_to_each_other_go_on(folder):
    for shards in (1, 3):
        with Server(APP, folder.join("d%d" % shards), "--shards", shards, *LIMIT) as server:
            for key, way in (("a", ["b", "a"]), ("b", ["a", "b"]), ("c", ["c"])):
                # who has to hand on already has no room for three more: refused until those have gone
                until(lambda: server.post("/runner/%s/send" % key, [3, way, 20]).status == 200, "%s sends" % key, 30)
            for key in "abc":
                arrived(server, key, 3)
            equal(server.get("/parked").json["parked"], [], "%d shards" % shards)


@test
def a_fourth_message_is_refused_and_nothing_of_its_transaction_is_done(folder):
    with Server(APP, folder.join("d"), "--shards", "1", *LIMIT) as server:
        refused = server.post("/runner/a/send", [4, ["b"], 0])
        equal([refused.status, refused.code], [429, "overloaded"])
        true("messages_pending_max = 3" in refused.json["detail"], refused.json)
        equal(server.get("/runner/a").status, 404, "it was never there")
        equal(server.post("/runner/a/send", [3, ["b"], 0]).status, 200)
        arrived(server, "b", 3)
        equal(server.post("/runner/c/split", [["d"]]).status, 200)
        arrived(server, "d", 1)


@test
def a_delivery_makes_room_for_one_message_only(folder):
    with Server(APP, folder.join("d"), "--shards", "1", "--limit", "messages_pending_max=1",
                "--limit", "message_attempts_max=2") as server:
        equal(server.post("/runner/a/split", [["b", "b"]]).status, 200)
        work, = until(lambda: server.get("/parked").json["parked"], "what sends two for one is parked", 30)
        true("messages_pending_max = 1" in work["error"], work)


@test
def timers_at_their_limit_are_moved_cancelled_and_set_anew_by_themselves(folder):
    with Server(APP, folder.join("d"), "--shards", "1", "--limit", "timers_max=2") as server:
        equal(server.post("/clock/a/every", [1]).status, 200)
        equal(server.post("/clock/b/later", [1]).status, 200)
        refused = server.post("/clock/c/later", [1])
        equal([refused.status, refused.code], [429, "overloaded"])
        true("timers_max = 2" in refused.json["detail"], refused.json)
        equal(server.get("/clock/c").status, 404, "it was never there")
        equal(server.post("/clock/b/later", [2]).status, 200, "moved")
        until(lambda: server.get("/clock/a").json.get("ticks", 0) >= 3, "three ticks", 30)
        equal(server.get("/parked").json["parked"], [])
        equal(server.post("/clock/b/instead").status, 200, "one taken back makes room for one")
        equal(server.post("/clock/c/later", [1]).status, 429)
        equal(server.post("/clock/b/both").status, 429, "but not for two")
        equal(server.post("/clock/b/none").status, 200)
        equal(server.post("/clock/c/later", [1]).status, 200)


@test
def the_page_of_limits_has_each_with_its_default(folder):
    code, out, error = weir("run", "--limits")
    equal(code, 0, error)
    there = {line.split()[0]: int(line.split()[1]) for line in out.splitlines()}
    true(len(there) > 50, out)
    with open(os.path.join(ROOT, "docs", "reference", "limits.md")) as file:
        rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", file.read(), re.M)
    shown = {name: int(default.replace(",", "")) for name, default in rows}
    equal(len(shown), len(rows), "a limit has one row")
    for name in sorted(there.keys() | shown.keys()):
        equal(shown.get(name), there.get(name), "%s in docs/reference/limits.md, and what the program says" % name)


@test
def an_address_outside_that_is_too_long_is_refused_when_it_is_asked(folder):
    app = folder.write("far.lua", """
local weir = require "weir"
local a = weir.entity("a", { n = weir.int })
local far = weir.outside("far", { url = "http://127.0.0.1:1" })
a:on("go", { weir.int }, function(self, n) self.n = n; far:ask("GET /" .. ("x"):rep(n - #"http://127.0.0.1:1" - 1)) end)
""")
    with Server(app, folder.join("d")) as server:
        equal(server.post("/a/a/go", [8192]).status, 200)
        refused = server.post("/a/a/go", [8193])
        equal((refused.status, refused.code), (500, "budget"))
        true("8193 bytes, at most 8192" in refused.json["detail"], refused.json)
        equal(server.get("/a/a").json["n"], 8192)
