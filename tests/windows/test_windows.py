"""Windows and joins of the real binary beside offline.py, which knows the input files only.

SPDX-License-Identifier: MIT
"""
import datetime
import functools
import json
import os
import random
import re
import subprocess
import sys

import harness
from harness import Fail, Server, equal, stream_events, test, true, weir

HERE = os.path.dirname(os.path.abspath(__file__))
APP = os.path.join(HERE, "app.lua")
DEADLINE_S = 60
SEED = int(os.environ.get("WINDOWS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
STREAMS = [name + late for name in ("spend", "hop", "visit", "recent", "everyone", "dear", "amended", "hottest", "hits", "campaigns", "slots", "cause")
           for late in ("", "_late")]
START = 1700000000000


def events_make(rng, count, extra):
    """Times go on by 40 ms an event; most are up to a second behind, some far more; now and then a pause or a jump."""
    now, made = START, []
    for i in range(count):
        now += rng.choice((0, 10, 40, 90)) + (rng.randrange(3000, 20000) if rng.random() < 0.003 else 0)
        back = rng.randrange(0, 1000) if rng.random() < 0.9 else rng.randrange(0, 12000)
        at = max(START, now - back)
        made.append(dict({"user": "u%d" % rng.randrange(12), "pack": "p%d" % rng.randrange(5), "at": at}, **extra(rng)))
    return made


def inputs(folder, count=4000):
    """Two files, and what offline.py makes of them."""
    print("    WINDOWS_SEED=%d" % SEED, flush=True)
    rng = random.Random(SEED)
    sets = {"buys": events_make(rng, count, lambda r: {"price": r.randrange(0, 1000)}),
            "ads": events_make(rng, count, lambda r: {"campaign": r.randrange(100)})}
    for name, events in sets.items():
        folder.write(name + ".ndjson", "".join(json.dumps(e) + "\n" for e in events))
    done = subprocess.run([sys.executable, os.path.join(HERE, "offline.py"), folder.join("buys.ndjson"), folder.join("ads.ndjson")],
                          capture_output=True, text=True, timeout=300, check=True)
    return sets, {name: canonical(rows) for name, rows in json.loads(done.stdout).items()}


def milliseconds(value):
    if isinstance(value, str) and value[:2] in ("20", "19") and value.endswith("Z"):
        moment = datetime.datetime.fromisoformat(value[:-1] + "+00:00")
        return round((moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(milliseconds=1))
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number
    if isinstance(value, dict):
        return {k: milliseconds(v) for k, v in value.items()}
    return value


def canonical(rows):
    return sorted(json.dumps(milliseconds(row), sort_keys=True) for row in rows)


until = functools.partial(harness.until, seconds=DEADLINE_S)


def caught_up(server):
    """Nothing is left to do for any window or follower."""
    streams = server.get("/streams").json["streams"]
    return all(f["lag"] == 0 and f["in_flight"] == 0 for s in streams for f in s["followers"])


def compare(server, wanted):
    """Each row of each stream, once: waits until there are as many, then until all is quiet."""
    for name in STREAMS:
        until(lambda name=name: server.get("/streams/%s/info" % name).json["events"] >= len(wanted[name]),
              "%s has %d rows" % (name, len(wanted[name])))
    until(lambda: caught_up(server), "all windows are done")
    for name in STREAMS:
        rows = [e["event"] for e in stream_events(server, name)]
        for row in rows if name == "spend" else ():
            about = row.pop("about")  # a sketch: two of the five values may share a register
            true(abs(about - row["packs"]) <= 1, "the sketch says %d of %r" % (about, row))
        got = canonical(rows)
        if got != wanted[name]:
            missing, extra = sorted(set(wanted[name]) - set(got)), sorted(set(got) - set(wanted[name]))
            raise Fail("WINDOWS_SEED=%d %s: %d rows, wanted %d; missing %s; not wanted %s" %
                       (SEED, name, len(got), len(wanted[name]), missing[:3], extra[:3]))
    spent, seen = {}, {}
    for row in map(json.loads, wanted["spend"]):
        spent[row["user"]] = spent.get(row["user"], 0) + row["total"]
        seen[row["user"]] = seen.get(row["user"], 0) + 1
    for user in spent:
        row = until(lambda user=user: server.get("/user/" + user).json, "a row")
        equal((row["spent"], row["windows"]), (spent[user], seen[user]), "what the follower of spend did for " + user)


def not_vacuous(wanted):
    for name in STREAMS:
        if name not in ("hottest_late", "campaigns_late", "everyone_late", "dear_late"):
            true(len(wanted[name]) > 0, "the input gives rows for " + name)
    true(max(json.loads(r)["revision"] for r in wanted["amended"]) > 1, "windows corrected more than once")
    true(any(len(json.loads(r)["path"]) > 6 for r in wanted["dear"]), "folds of several events")


def load(server, folder, name):
    code, _, err = weir("load", "stream", name, folder.join(name + ".ndjson"), "--host", "127.0.0.1:%d" % server.http, "--end",
                        timeout=120)
    equal(code, 0, "weir load: " + err)


@test
def a_file_gives_what_the_offline_program_computes(folder):
    _, wanted = inputs(folder)
    not_vacuous(wanted)
    with Server(APP, folder.join("d"), "--shards", "2") as server:
        load(server, folder, "buys")
        load(server, folder, "ads")
        compare(server, wanted)


@test
def the_live_stream_under_kill_9_gives_the_same_rows(folder):
    sets, wanted = inputs(folder)
    rng = random.Random(SEED + 1)
    queues = {name: [events[i:i + 25] for i in range(0, len(events), 25)] for name, events in sets.items()}
    places = {name: 0 for name in queues}
    total = sum(map(len, queues.values()))
    kills = sorted(rng.sample(range(5, total), 6))
    with Server(APP, folder.join("d"), "--shards", "1") as server:
        sent = 0
        while any(places[n] < len(queues[n]) for n in queues):
            name = rng.choice([n for n in queues if places[n] < len(queues[n])])
            key = "%s-%d" % (name, places[name])
            reply = server.post("/streams/" + name, queues[name][places[name]], Idempotency_Key='"%s"' % key)
            equal(reply.status, 200, "a batch: %r" % reply)
            places[name] += 1
            sent += 1
            if kills and sent >= kills[0]:
                kills.pop(0)
                server.kill()
                server.command[server.command.index("--shards") + 1] = str(rng.choice((1, 2, 3, 4)))
                server.start()
        equal(kills, [], "all kills happened")
        for name in queues:
            equal(server.post("/streams/%s/end" % name).status, 200, "the end of " + name)
        server.kill()
        server.start()
        compare(server, wanted)


IDLE = """
local weir = require "weir"
local seen = weir.stream("seen", { who = weir.text, at = weir.time }, { key = "who", time = "at" })
weir.window("short", { from = seen, by = "who", size = "1s", late = "1s", idle = "200ms", n = weir.count() })
weir.window("waits", { from = seen, by = "who", size = "1s", late = "1s", n = weir.count() })
"""


@test
def an_idle_stream_closes_its_windows_and_only_where_asked(folder):
    app = folder.write("idle.lua", IDLE)
    with Server(app, folder.join("d"), "--shards", "2") as server:
        for i in range(5):
            equal(server.post("/streams/seen", {"who": "a%d" % (i % 2), "at": START + 100 * i}).status, 200)
        until(lambda: server.get("/streams/short/info").json["events"] == 2, "the idle stream's windows close")
        rows = canonical([e["event"] for e in stream_events(server, "short")])
        equal({json.loads(r)["who"]: json.loads(r)["n"] for r in rows}, {"a0": 3, "a1": 2}, "counts")
        equal(server.get("/streams/waits/info").json["events"], 0, "a window without `idle` waits")
        server.kill()
        server.start()
        # What was idle is in the stream: after a start the same event is late for the one and not for the other.
        equal(server.post("/streams/seen", {"who": "a0", "at": START}).status, 200)
        until(lambda: server.get("/streams/short_late/info").json["events"] == 1, "an event behind the idle time is late")
        equal(len(stream_events(server, "seen")), 6, "control events are never shown")
        equal(server.post("/streams/seen/end").status, 200)
        until(lambda: server.get("/streams/waits/info").json["events"] == 2, "the end closes the others")
        equal(sorted(e["event"]["n"] for e in stream_events(server, "waits")), [2, 4])


LIMITS = """
local weir = require "weir"
local seen = weir.stream("seen", { who = weir.text, n = weir.int, at = weir.time }, { key = "who", time = "at" })
weir.window("kinds", { from = seen, size = "1h", names = weir.distinct "who" })
weir.window("sums", { from = seen, size = "1h", total = weir.sum "n" })
weir.window("folds", { from = seen, size = "1h", all = weir.fold(0, function(acc, e) return acc + (e.n == 0 and "x" or 1) end) })
weir.window("near", { from = seen, last = "1h", n = weir.count() })
weir.join("both", { left = seen, right = seen, by = "who", within = "1h" })
"""


@test
def what_passes_a_limit_goes_to_the_late_stream_with_the_reason(folder):
    app = folder.write("limits.lua", LIMITS)
    limits = [word for name in ("window_values_max=3", "window_events_max=4", "join_events_max=2") for word in ("--limit", name)]
    with Server(app, folder.join("d"), "--shards", "2", *limits) as server:
        for i, (who, n) in enumerate([("a", 1), ("b", 1 << 52), ("c", 1 << 52), ("d", 0), ("a", 1)]):
            equal(server.post("/streams/seen", {"who": who, "n": n, "at": START + i}).status, 200)
        equal(server.post("/streams/seen/end").status, 200)
        until(lambda: caught_up(server), "all windows are done")
        late = lambda name: [(e["event"]["who"], e["event"]["why"]) for e in stream_events(server, name + "_late")]
        for name, who, why in (("kinds", "d", "limit: names would hold more than window_values_max = 3"),
                               ("sums", "c", "range: total would leave the exact whole numbers"),
                               ("near", "a", "limit: the span holds more than window_events_max events")):
            equal(until(lambda name=name: late(name), name + "_late"), [(who, why)], name)
        (who, why), = until(lambda: late("folds"), "folds_late")
        true(who == "d" and why.startswith("error: all: "), "an error of a fold: %s %s" % (who, why))
        results = lambda name, field: until(lambda: [e["event"][field] for e in stream_events(server, name)], name)
        equal(results("kinds", "names"), [3])
        equal(results("sums", "total"), [(1 << 52) + 2])
        equal(results("folds", "all"), [4])


MEMORY = """
local weir = require "weir"
local filler = weir.entity("filler", { bytes = weir.text })
filler:on("fill", { weir.int }, function(self, n) self.bytes = ("x"):rep(n) end)
filler:on("drop", {}, function(self) weir.delete() end)
local seen = weir.stream("seen", { who = weir.text, at = weir.time }, { key = "who", time = "at", allow = "anyone" })
weir.window("counts", { from = seen, by = "who", size = "1s", n = weir.count() })
weir.join("pairs", { left = seen, right = seen, by = "who", within = "500ms" })
"""


def figure(server, name):
    return int(re.search(r"^weir_%s (\d+)$" % re.escape(name), server.get("/metrics").body, re.M).group(1))


def see(server, groups, at):
    """An event of each group, which no request record remembers."""
    for i in range(0, len(groups), 500):
        equal(server.post("/streams/seen", [{"who": g, "at": at} for g in groups[i:i + 500]]).status, 200, "events go on")


@test
def at_memory_max_windows_wait_and_go_on_when_there_is_room(folder):
    app = folder.write("memory.lua", MEMORY)
    with Server(app, folder.join("d"), "--shards", "2", "--limit", "memory_max=800000") as server:
        for i in range(10):
            equal(server.post("/filler/f%d/fill" % i, [60000]).status, 200, "rows that take the memory")
        groups = ["g%d" % i for i in range(3000)]
        see(server, groups, START)
        until(lambda: figure(server, "windows_waiting") == 4, "both wait on both shards")
        equal(server.post("/filler/new/fill", [60000]).status, 503, "a row that adds to the memory")
        used = figure(server, "memory_bytes")
        true(used <= 900000, "rows stay at the limit, but for cursors: %d" % used)
        see(server, groups[:500], START + 100)
        lag = lambda: {f["type"]: f["lag"] for f in server.get("/streams/seen/info").json["followers"]}
        true(until(lag, "a lag")["counts"] > 0, "it shows: %r" % lag())
        equal(server.get("/streams/seen/info").json["events"], 3500, "events are kept")
        true(server.trace_all().count("window_waits stream=") >= 4, "the trace says so")
        server.kill()
        server.start()
        until(lambda: figure(server, "windows_waiting") == 4, "they wait after a start, too")
        # What is due closes meanwhile: nothing yet, for no watermark has passed.
        equal(server.get("/streams/counts/info").json["events"], 0, "nothing is due")
        for i in range(10):
            equal(server.post("/filler/f%d/drop" % i, []).status, 200, "a deletion")
        server.command[server.command.index("memory_max=800000")] = "memory_max=8000000"
        until(lambda: figure(server, "windows_waiting") < 4 or caught_up(server), "there is room")
        server.kill()
        server.start()
        equal(server.post("/streams/seen/end").status, 200)
        until(lambda: server.get("/streams/counts/info").json["events"] >= 3000 and caught_up(server), "all windows are done")
        counts = {e["event"]["who"]: e["event"]["n"] for e in stream_events(server, "counts")}
        true(counts == {g: 2 if i < 500 else 1 for i, g in enumerate(groups)}, "each event once")
        equal(len(stream_events(server, "counts")), 3000, "each window once")
        equal(len(stream_events(server, "pairs")), 2500 + 500 * 4, "each pair once")
        equal(stream_events(server, "counts_late") + stream_events(server, "pairs_late"), [], "nothing is late")


@test
def what_is_due_closes_while_windows_wait(folder):
    app = folder.write("memory.lua", MEMORY.split("weir.join")[0])
    with Server(app, folder.join("d"), "--shards", "1", "--limit", "memory_max=300000") as server:
        see(server, ["g%d" % i for i in range(900)], START)
        # Their second is over at the last of these: 900 windows close, and so there is room for 900 more.
        see(server, ["h%d" % i for i in range(900)], START + 1000)
        see(server, ["i%d" % i for i in range(900)], START + 2000)
        until(lambda: server.get("/streams/counts/info").json["events"] == 1800, "those that are due have closed")
        until(lambda: caught_up(server), "none waits")
        equal(figure(server, "windows_waiting"), 0)


@test
def windows_wait_exactly_when_memory_is_above_the_limit(folder):
    app = folder.write("memory.lua", MEMORY.split("weir.join")[0])

    def rows(server, count):
        """Cursors of all 256 slots, and so many windows."""
        until(lambda: figure(server, "rows") == names + 256 + count, "%d windows are rows" % count)
        return figure(server, "memory_bytes")

    def filled(name, *options):
        server = Server(app, folder.join(name), "--shards", "1", *options)
        for i in range(20):
            see(server, ["g%02d" % i], START)
            taken = rows(server, i + 1)
        return server, taken

    with Server(app, folder.join("empty")) as server:
        names = figure(server, "rows")
    server, used = filled("free")
    server.__exit__(None, None, None)
    # Below the limit one more is taken; at it, too, for it is not above; above it waits.
    for more, taken in ((1, 1), (0, 1), (-1, 0)):
        server, _ = filled("d%d" % more, "--limit", "memory_max=%d" % (used + more))
        try:
            see(server, ["h00"], START)
            see(server, ["h01"], START)
            until(lambda: figure(server, "windows_waiting") == 1, "it waits")
            equal(figure(server, "rows"), names + 256 + 20 + taken, "limit %+d" % more)
            see(server, ["g00"] * 5, START)
            equal(server.get("/streams/seen/info").json["events"], 27)
        finally:
            server.__exit__(None, None, None)


@test
def results_are_emitted_by_nobody_else_and_definitions_stay(folder):
    app = folder.write("idle.lua", IDLE)
    with Server(app, folder.join("d")) as server:
        reply = server.post("/streams/short", {"who": "a", "from": 0, "to": 1, "final": True, "n": 1})
        equal(reply.status, 403, "emitting a result over HTTP: %r" % reply)
        client = server.connect()
        error = client.ask("XADD", "short", "*", "who", "a", "n", "1")
        true(repr(error).startswith("-"), "XADD of a result: %r" % error)
        equal(server.stop(), 0)
    code, _, err = weir("run", folder.write("idle2.lua", IDLE.replace('size = "1s"', 'size = "2s"')), "--data", folder.join("d"), "--http",
                        "127.0.0.1:0", "--resp", "none")
    true(code != 0 and "computes something else than in the data" in err, "another size under the same name: %d %s" % (code, err))


@test
def graph_and_check_show_windows_and_joins(_):
    code, out, err = weir("graph", APP)
    equal(code, 0, err)
    for part in ("window 10s of buys by user ", "spend_late", "join within 2s of ads by user,pack and buys by user,pack"):
        true(part in out, "%s in %s" % (part, out))
    edges = json.loads(weir("graph", APP, "--format", "json")[1])["edges"]
    pairs = {(e["link"], e["from"][1], e["to"][1]) for e in edges}
    for edge in (("feeds", "buys", "spend"), ("feeds", "spend", "user"), ("feeds", "hop", "hottest"), ("feeds", "ads", "hits"),
                 ("feeds", "buys", "hits"), ("emits", "spend", "spend_late")):
        true(edge in pairs, "%r is drawn" % (edge,))
    true("by left.pack,left.user as whose" in out and "spent=sum(right.price)" in out, "paths are shown: " + out)


@test
def paths_into_pairs_are_judged_at_load(folder):
    with open(APP) as file:
        app = file.read()
    for options, wanted in (('by = "left.usr", n = weir.count()', "hits has no `left.usr`"),
                            ('by = "user.x", n = weir.count()', "hits has no `user.x`"),
                            ('by = "left", n = weir.count()', "`left` cannot tell groups apart"),
                            ('n = weir.sum "right.pack"', "cannot be taken of `right.pack`"),
                            ('n = weir.sum "right.nope"', "it has no `right.nope`"),
                            ('by = { ["a b"] = "left.user" }, n = weir.count()', "`a b` is no name for a column"),
                            ('by = { "user", "left.user" }, n = weir.count()', "two columns are called `user`")):
        code, _, err = weir("check", folder.write("bad.lua", app + 'weir.window("bad", { from = hits, size = "1s", %s })\n' % options))
        true(code != 0 and wanted in err, "%s: %s" % (options, err))


@test
def corrections_are_of_windows_by_size_only(folder):
    with open(APP) as file:
        app = file.read()
    for options, wanted in (('gap = "1s", correct = "1s", n = weir.count()', "`correct` goes with `size`"),
                            ('last = "1s", correct = "1s", n = weir.count()', "`correct` goes with `size`"),
                            ('size = "1s", correct = "soon", n = weir.count()', "`correct` is a duration"),
                            ('size = "1s", correct = "1s", revision = weir.count()', "two columns are called `revision`")):
        code, _, err = weir("check", folder.write("bad.lua", app + 'weir.window("bad", { from = buys, %s })\n' % options))
        true(code != 0 and wanted in err, "%s: %s" % (options, err))
    out = weir("graph", APP)[1]
    true("window 6s every 3s corrected for 5s of buys by user" in out, "the graph: " + out)


MEET = """
local weir = require "weir"
local int, text, opt = weir.int, weir.text, weir.opt
local one = weir.entity("one", { n = int })
local l = weir.stream("l", { who = text%s, id = opt(int), n = int })
local r = weir.stream("r", { who = text, id = int, n = int })
weir.join("by_who", { left = l, right = r, by = "who", within = "1h" })
weir.join("by_id", { left = l, right = r, by = "id", within = "1h" })
weir.window("per", { from = l, by = "who", size = "1h", n = weir.count() })
one:on("left", { text, int }, function(self, who, id) l:emit { who = who, id = id, n = 1 } end)
one:on("right", { text, int }, function(self, who, id) r:emit { who = who, id = id, n = 2 } end)
"""


@test
def sides_whose_fields_start_otherwise_meet(folder):
    app = folder.write("first.lua", MEET % ' { default = "x" }')
    later = folder.write("later.lua", MEET % ' { default = "y" }')
    pairs = [("x", 0), ("y", 1), ("", 2)]
    with Server(app, folder.join("d")) as server:
        for who, number in pairs:
            for side in ("left", "right"):
                equal(server.post("/one/o/" + side, [who, number]).status, 200)
    with Server(later, folder.join("d")) as server:     # the groups that wait in the data are those of the values, not of the starts
        for who, number in pairs:
            equal(server.post("/one/o/right", [who, number]).status, 200)
        equal(server.post("/streams/l/end").status, 200)
        equal(server.post("/streams/r/end").status, 200)

        def rows(stream, count):
            def come():
                got = [event["event"] for event in stream_events(server, stream)]
                return got if len(got) >= count else None
            return harness.until(come, stream, DEADLINE_S)

        for stream, place in (("by_who", 0), ("by_id", 1)):
            got = [row["left"][("who", "id")[place]] for row in rows(stream, 6)]
            equal(sorted(got), sorted(2 * [pair[place] for pair in pairs]), stream)
        equal(sorted((row["who"], row["n"]) for row in rows("per", 3)), [("", 1), ("x", 1), ("y", 1)])
