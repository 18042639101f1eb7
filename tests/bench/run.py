#!/usr/bin/env python3
"""`weir bench`: its figures add up, its checks fail when the state is wrong, and its mistakes are explained.

    tests/bench/run.py [--build DIR] [--only TEXT]

Runs are tiny: nothing here judges speed. Ends with `N passed, N failed, N skipped`.
SPDX-License-Identifier: MIT
"""
import argparse
import json
import os
import select
import signal
import subprocess
import sys
import xml.etree.ElementTree

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

import harness
from harness import Server, equal, test, true, until, weir

SHORT = ("--seconds", "0.5", "--warmup", "0.1")


def bench(folder, workload, *options, code=0):
    """One run; (stdout, stderr, JSON or None). The folder it works in must be gone afterwards."""
    path = folder.join("figures.json")
    got, out, err = weir("bench", workload, *(() if "--requests" in options else SHORT), "--json", path, *options, cwd=folder.path, timeout=120)
    equal(got, code, "exit code of bench %s %s:\n%s%s" % (workload, options, out, err))
    equal([name for name in os.listdir(folder.path) if name.startswith("weir-bench-")], [], "left behind")
    figures = None
    if os.path.exists(path):
        with open(path) as file:
            figures = json.load(file)
    return out, err, figures


def lua_of(name):
    with open(os.path.join(ROOT, "src", "bench", name + ".lua")) as file:
        return file.read()


def planted(folder, workload, right, wrong):
    """Its application with one mistake."""
    text = lua_of(workload)
    equal(text.count(right), 1, "the plant has its place: " + right)
    return folder.write(workload + ".lua", text.replace(right, wrong))


def figures_add_up(figures, workload, shards, few=False):
    equal((figures["workload"], figures["shards"]), (workload, shards))
    true(figures["commit"] and figures["version"] and figures["cores"] >= 1, "a figure comes with its commit")
    for point in figures["points"]:
        latency = point["latency_us"]
        true(point["done"] > 0 and point["throughput"] > 0, "requests were done: %s" % point)
        equal(latency["count"], point["done"] + point["refused"] + point["failed"] + point["unsent"], "latencies")
        order = [latency[name] for name in ("p50", "p90", "p99", "p99.9", "max")]
        true(order == sorted(order) and order[0] > 0, "quantiles in order: %s" % order)
        equal(sum(kind["done"] for kind in point["kinds"].values()), point["done"], "kinds")
        equal(sum(point["causes"].values()), point["refused"] + point["failed"], "causes")
        true(point["commits"] > 0 and point["syncs"] > 0 and point["log_bytes"] > 0, "the engine's figures")
        threads = point["server_threads_us"]
        # where few requests are under way, those who wait run the shards' turns
        true(threads["weir-log"] > 0 and "bench" not in threads, "the engine's threads: %s" % threads)
        true(threads.get("weir-shards", 0) > 0 or few, "the engine's threads: %s" % threads)
        for side in ("server_cpu_us", "client_cpu_us"):
            true(point[side]["user"] + point[side]["system"] >= 0, side)


def each_workload(folder, *options, shards=2):
    for workload in ("ycsb", "smallbank", "fan", "hot", *(() if "c" in options else ("voter",))):
        keys = 300000 if workload == "voter" else 500
        out, _, figures = bench(folder, workload, "--keys", keys, "--shards", shards, *options)
        true("holds " in out, out)
        figures_add_up(figures, workload, shards, few="--pipeline" in options)


@test
def figures_over_resp_add_up_and_the_state_holds(folder):
    each_workload(folder)


@test
def figures_of_the_engine_in_process_add_up_in_lua(folder):
    each_workload(folder, "--in-process")


@test
def figures_of_the_engine_in_process_add_up_in_c(folder):
    each_workload(folder, "--in-process", "--lang", "c", shards=1)


@test
def several_loaders_share_one_workload(folder):
    each_workload(folder, "--in-process", "--loaders", 3, "--connections", 1, "--pipeline", 4)
    each_workload(folder, "--in-process", "--lang", "c", "--loaders", 8)
    bench(folder, "ycsb", "--keys", 500, "--rate", 5000, "--in-process", "--loaders", 2)


@test
def each_mix_of_ycsb_is_what_it_says_and_its_state_holds(folder):
    shares = {"m": {"read": 45, "update": 45, "transfer": 10}, "a": {"read": 50, "update": 50}, "b": {"read": 95, "update": 5},
              "c": {"read": 100},
              "update": {"update": 100}, "read": {"read": 100}, "e": {"scan": 95, "insert": 5}, "f": {"read": 50, "modify": 50}}
    for mix, wanted in shares.items():
        for more in ((), ("--in-process",)):
            out, _, figures = bench(folder, "ycsb", "--mix", mix, "--keys", 1200, "--requests", 3000, *more)
            point = figures["points"][0]
            true("holds " in out, out)
            for kind, figure in point["kinds"].items():
                share = 100 * figure["done"] / point["done"]
                true(abs(share - wanted.get(kind, 0)) < 8, "mix %s: %.1f %% %s" % (mix, share, kind))


@test
def rows_that_an_application_forgets_or_mixes_up_are_found(folder):
    plants = [("a", "self.changes = self.changes + 1\nend)\n\nrecord:on(\"modify", "end)\n\nrecord:on(\"modify", "changes of record"),
              ("a", "  self[names[field + 1]] = value\n", "  self[names[field % 9 + 1]] = value\n", "a field of record"),
              ("e", "  self.rows:put(n, row)\n", "  if n % 97 > 0 then self.rows:put(n, row) end\n", "records in range")]
    for mix, right, wrong, finding in plants:
        text = lua_of("ycsb_rows")
        true(right in text, "the plant has its place: " + right)
        app = folder.write("rows.lua", text.replace(right, wrong, 1))
        # scans of a range with holes answer too few, and that is found before the state is looked at
        out, err, _ = bench(folder, "ycsb", "--mix", mix, "--keys", 200, "--app", app, code=1)
        true(finding in err or (mix == "e" and "was answered" in err), out + err)


@test
def money_that_an_application_loses_is_found(folder):
    plants = {"ycsb": ("self.balance = self.balance + 1\n", 'if self.key ~= "u7" then self.balance = self.balance + 1 end\n'),
              "smallbank": ("checking(to.key):add(all)", "checking(to.key):add(all - all % 2)"),
              "hot": ("self.balance = self.balance + amount\n", "self.balance = self.balance + (self.balance == 30 and 0 or amount)\n"),
              "voter": ("if counted then", "if counted and votes ~= 3 then"),
              "fan": ("  self.n = self.n + (work(loops) > 0 and 1 or 0)\nend", "  self.n = math.max(1, self.n)\nend")}
    for workload, (right, wrong) in plants.items():
        text = lua_of(workload)
        true(right in text, "the plant has its place in " + workload)
        app = folder.write(workload + ".lua", text.replace(right, wrong))
        for more in ((), ("--in-process",)):
            out, err, figures = bench(folder, workload, "--keys", 30000 if workload == "voter" else 50, "--app", app, *more, code=1)
            true("BROKEN" in out and "the invariant of %s is broken" % workload in err, out + err)
            true(figures["points"][0]["done"] > 0, "it ran")


@test
def a_fan_is_as_wide_and_lies_on_as_many_shards_as_asked(folder):
    for calls, spread in ((1, 1), (5, 1), (4, 4), (7, 3)):
        for more in ((), ("--lang", "c"), ("--together", 1), ("--lang", "c", "--together", 1)):
            point = bench(folder, "fan", "--keys", 300, "--calls", calls, "--spread", spread, "--shards", 4, "--key-bytes", 30, "--value-bytes", 700,
                          "--work", 50, "--requests", 2000, "--in-process", *more)[2]["points"][0]
            equal((point["done"], point["local_calls"] + point["remote_calls"] >= 2000 * (calls - 1)), (2000, True))
            equal(point["multi_shard"], 2000 if spread > 1 else 0, "of %d shards" % spread)
            # calls lie around the spread in turn, beginning with the first handler's own shard
            if spread == calls:
                true(point["local_calls"] == 0, "%s" % point)
            equal(point["together"], point["remote_calls"] if "--together" in more else 0)


@test
def a_hot_account_is_in_every_transfer(folder):
    """Each of 49 others has one unit to give."""
    for more in ((), ("--cross", 100, "--shards", 2)):
        figures = bench(folder, "ycsb", "--keys", 50, "--initial", 1, "--hot", 100, "--requests", 5000, "--in-process", "--lang", "c", *more)[2]
        if not more:
            equal(figures["points"][0]["done"], 49)
        else:
            point = figures["points"][0]
            true(0 < point["done"] < 49 and point["multi_shard"] == point["done"], "only from the other shard: %s" % point)


SMALL = ("--items", 200, "--customers", 40)


@test
def tpcc_keeps_its_consistency_conditions_in_lua_and_c(folder):
    for more in (("--mix", "two"), ("--mix", "full"), ("--mix", "full", "--in-process"), ("--mix", "full", "--in-process", "--lang", "c"),
                 ("--mix", "neworder", "--in-process", "--lang", "c")):
        out, _, figures = bench(folder, "tpcc", *SMALL, "--warehouses", 6, "--shards", 2, *more)
        figures_add_up(figures, "tpcc", 2)
        point = figures["points"][0]
        true("holds        conditions 1 to 12 of clause 3.3.2" in out, out)
        true(point["multi_shard"] > 0, "lines and payments from another warehouse: %s" % point)
        kinds = {kind for kind, figure in point["kinds"].items() if figure["done"]}
        equal(kinds, {"two": {"new_order", "payment"}, "neworder": {"new_order"},
                      "full": {"new_order", "payment", "order_status", "delivery", "stock_level"}}[more[1]])


@test
def both_languages_do_the_same_transactions_of_tpcc(folder):
    """Equal requests, one after another, leave equal figures behind."""
    said = [bench(folder, "tpcc", *SMALL, "--mix", "full", "--requests", 1500, "--connections", 1, "--pipeline", 1, "--in-process",
                  "--lang", lang)[0] for lang in ("lua", "c")]
    said = [[line for line in out.splitlines() if line.startswith(("holds", "answers"))] for out in said]
    equal(said[0], said[1])


@test
def each_broken_condition_of_tpcc_is_found(folder):
    plants = [("self.ytd = self.ytd + amount\n  warehouse", "warehouse", "condition 1"),
              ("self.unsent:put(order, true)\n  return", "self.unsent:put(order + 1, true)\n  return", "condition 2"),
              ("self.next_order = order + 1", "self.next_order = order + (order == 50 and 2 or 1)", "condition 3"),
              ("count = #lines, lines = bought })\n  self.unsent:put(order, true)\n  return", "count = #lines + 1, lines = bought })\n"
               "  self.unsent:put(order, true)\n  return", "condition 4"),
              ("  order.carrier = carrier\n", "", "condition 5"),
              ("    l.delivered = weir.now()\n", "", "condition 7"),
              ("warehouse(self.w):took(amount)", "warehouse(self.w):took(amount + 1)", "condition 1"),
              ("at = weir.now(), w = w, d = d, amount = amount }", "at = weir.now(), w = w, d = d, amount = amount - 1 }", "condition 8"),
              ("self.balance, self.deliveries = self.balance + amount, ", "self.balance, self.deliveries = self.balance, ", "condition 10"),
              ("left = left + 91", "left = left + 90", "are left of")]
    for right, wrong, finding in plants:
        app = planted(folder, "tpcc", right, wrong)
        mix = "two" if finding in ("condition 2", "condition 3") else "full"     # no delivery takes the traces away
        out, err, _ = bench(folder, "tpcc", *SMALL, "--mix", mix, "--app", app, "--in-process", "--requests", 2000, code=1)
        true("BROKEN" in out and finding in err, "%s: %s%s" % (finding, out, err))


@test
def reservations_take_a_room_and_a_seat_or_nothing(folder):
    for more in ((), ("--in-process",)):
        out, _, figures = bench(folder, "travel", "--shards", 2, *more)
        figures_add_up(figures, "travel", 2)
        point = bench(folder, "travel", "--mix", "reserve", "--initial", 7, "--requests", 4000, "--shards", 2, *more)[2]["points"][0]
        true(point["causes"]["sold_out"] > 500 and point["multi_shard"] > 0, "sold out: %s" % point)
    plants = [("  seat:reserve(guest)\n", "", "flight"), ("  self.hotel, self.flight, self.user = room, seat, guest\n",
               "  self.hotel, self.flight, self.user = room, seat, guest\n  if self.key == 'o77' then weir.delete() end\n", "order 77 was answered"),
              ("self.guests:append(guest)", "if self.free % 9 > 0 then self.guests:append(guest) end", "guests"),
              ("room:reserve(guest)", "if self.key ~= 'o99' then room:reserve(guest) end", "hotel")]
    for right, wrong, finding in plants:
        app = planted(folder, "travel", right, wrong)
        out, err, _ = bench(folder, "travel", "--mix", "reserve", "--requests", 2000, "--app", app, code=1)
        true("BROKEN" in out and finding in err, "%s: %s%s" % (finding, out, err))


MARKET_SEEDS = 8
MARKET_PLANTS = [
    # a checkout is there as a whole
    ("for i = 1, #lines do stock(lines[i].p):confirm", "for i = 1, #lines - 1 do stock(lines[i].p):confirm", "left in stock"),
    ("  shipment(self.c, self.n):prepare(#lines, parcels)\n", "  if #lines < 9 then shipment(self.c, self.n):prepare(#lines, parcels) end\n", "parcels"),
    ("vouchers[i] } end", "vouchers[i] - 1 } end", "vouchers"),
    # the stock has the version of its product
    ("  stock(self.p):follow(self.version, gone)\n", "  if self.version % 2 == 1 then stock(self.p):follow(self.version, gone) end\n", "version of the stock"),
    # prices come into carts, none of them twice
    ("  for c in self.carts:scan {} do weir.send(cart(c), \"reprice\", self.p, self.price, self.changes) end\n", "", "price number"),
    ("held.price, held.change = price, change end", "held.price, held.change = price, change - 2 end", "checkout was answered"),
    ("function(self, c) self.carts:remove(c) end", "function(self, c) if c % 5 > 0 then self.carts:remove(c) end end", "carts"),
    # sellers see each step, one after another
    ("  tell(self, PAID)\n", "", "open orders"),
    ("  tell(self, INVOICED)\n", "  tell(self, PAID)\n  tell(self, INVOICED)\n", "steps out of order"),
    # a dashboard is of one state
    ("self.value = self.open + 1, self.value + e.amount\n", "self.value = self.open + 1, self.value + e.amount + (e.n == 2 and 1 or 0)\n",
     "dashboard was answered"),
    # a parcel is delivered once, the last one ends its order, the customer is told
    ("      self.waiting:remove(place)\n", "      if c % 7 > 0 then self.waiting:remove(place) end\n", "delivered anew"),
    ("    order(self.c, self.n):conclude()\n", "", "total"),
    ("self.spent + total end)", "self.spent + total - (total % 20 == 0 and 1 or 0) end)", "spent"),
]


@test
def the_market_keeps_what_it_promises_over_services(folder):
    for more in (("--zipf", "0.9"), ("--in-process",), ("--in-process", "--initial", 60)):
        out, _, figures = bench(folder, "market", "--keys", 500, "--shards", 2, *more)
        figures_add_up(figures, "market", 2)
        point = figures["points"][0]
        true("holds " in out and "settled" in out and point["multi_shard"] > 0, out)
        equal(sorted(kind for kind, figure in point["kinds"].items() if figure["done"]),
              ["add", "checkout", "dashboard", "delivery", "price", "product"])
    true("(0 were left out)" not in out, "60 of each are sold out: " + out)


@test
def each_promise_that_a_market_breaks_is_found(folder):
    for place, (right, wrong, finding) in enumerate(MARKET_PLANTS):
        app = planted(folder, "market", right, wrong)
        # some show only when two meet: what a request finds depends on how far messages and events are
        for seed in range(1, MARKET_SEEDS + 1):
            found = weir("bench", "market", "--keys", "200", "--requests", "4000", "--in-process", "--app", app, "--seed", str(seed),
                         "--data", folder.join("market-%d-%d" % (place, seed)))
            if found[0] != 0:
                break
        equal(found[0], 1, "exit code with `%s` (%d seeds)" % (wrong, MARKET_SEEDS))
        true(finding in found[2], "%s: %s" % (finding, found[2]))


@test
def state_that_somebody_else_changes_is_found(folder):
    """The same server, and one deposit from outside while the workload runs."""
    app = folder.write("ycsb.lua", lua_of("ycsb"))
    with Server(app, folder.join("data"), "--http", "none") as server:
        running = subprocess.Popen([harness.weir_path(), "bench", "ycsb", "--connect", "127.0.0.1:%d" % server.resp, "--keys", "50",
                                    "--seconds", "1", "--warmup", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        client = server.connect()
        started = client.ask("INFO")
        until(lambda: info(client, "commits_total") > 500, "the workload runs", 30)
        client.call("account", "u3", "receive")
        out, err = running.communicate(timeout=60)
        equal(running.returncode, 1, out + err)
        true("BROKEN" in out and "first u3" in err, out + err)
        true(started, "a connection beside it")


def info(client, name):
    for line in str(client.ask("INFO")).splitlines():
        if line.startswith(name + ":"):
            return int(line.split(":")[1])
    return 0


@test
def an_open_loop_offers_the_same_requests_whatever_comes_back(folder):
    """The number of requests due in a span is the schedule's alone: equal for equal seeds, over any door."""
    def due(*options):
        figures = bench(folder, "ycsb", "--keys", 100, "--rate", 2000, *options)[2]
        return figures["points"][0]["latency_us"]["count"]

    counts = [due("--seed", 5), due("--seed", 5, "--in-process"), due("--seed", 5, "--in-process", "--lang", "c"),
              due("--seed", 6), due("--schedule", "steady")]
    equal(counts[0], counts[1])
    equal(counts[0], counts[2])
    true(counts[3] != counts[0], "another seed has another schedule: %s" % counts)
    true(abs(counts[4] - 1000) <= 1, "steady: %s" % counts)


@test
def a_number_of_requests_is_exactly_that_number_and_the_same_ones(folder):
    doors = ((), ("--in-process",), ("--in-process", "--lang", "c"), ("--rate", 20000))
    points = [bench(folder, "smallbank", "--keys", 5000, "--initial", 3000, "--requests", 3001, *door)[2]["points"][0] for door in doors]
    for point in points:
        equal(point["done"] + point["refused"], 3001, "requests: %s" % point)
        equal((point["completed"], point["latency_us"]["count"]), (3001, 3001), "counted: %s" % point)
        equal({kind: figure["done"] + figure["refused"] for kind, figure in point["kinds"].items()},
              {kind: figure["done"] + figure["refused"] for kind, figure in points[0]["kinds"].items()}, "the same of each kind")


@test
def settings_reach_the_application(folder):
    app = folder.write("ycsb.lua", lua_of("ycsb").replace("local int", 'local START = require("weir").setting("start", require("weir").int)\nlocal int', 1))
    for more in ((), ("--in-process",)):
        bench(folder, "ycsb", "--keys", 50, "--app", app, "--set", "start=7", *more)
        _, err, _ = bench(folder, "ycsb", "--keys", 50, "--app", app, *more, code=78)
        true("start" in err and "{" not in err, err)


@test
def what_could_not_be_written_is_told_before_it_is_measured(folder):
    for option in ("--json", "--plot"):
        for path in (folder.join("nowhere", "x"), folder.path):
            code, out, err = weir("bench", "ycsb", *(("--sweep",) if option == "--plot" else ()), option, path)
            true(code == 74 and path in err and out == "", "%d %s%s" % (code, out, err))


@test
def a_server_that_stands_still_shows_in_the_latencies_of_all_that_were_due(folder):
    """Coordinated omission: the server is stopped for 0.6 of 2 seconds, so about that share of requests waited."""
    app = folder.write("ycsb.lua", lua_of("ycsb"))
    path = folder.join("figures.json")
    with Server(app, folder.join("data"), "--http", "none") as server:
        client = server.connect()
        told = info(client, "shards"), info(client, "threads")
        command = [harness.weir_path(), "bench", "ycsb", "--connect", "127.0.0.1:%d" % server.resp, "--keys", "100", "--rate", "500",
                   "--connections", "1", "--pipeline", "4", "--seconds", "2", "--warmup", "0", "--json", path]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        until(lambda: info(client, "commits_total") > 200, "it measures", 30)
        os.kill(server.process.pid, signal.SIGSTOP)
        select.select([], [], [], 0.6)              # how long the server stands: what is measured, not waited for
        os.kill(server.process.pid, signal.SIGCONT)
        out = running.communicate(timeout=60)[0]
        equal(running.returncode, 0, out.decode())
    with open(path) as file:
        figures = json.load(file)
    equal((figures["shards"], figures["threads"]), told, "as the server tells them")
    point = figures["points"][0]
    true(point["latency_us"]["max"] > 500000, "somebody waited all of it: %s" % point["latency_us"])
    # 500 a second x 0.5 s of waiting more than 0.1 s; a client that waits for answers would have counted 4
    true(point["latency_us"]["p90"] > 100000, "and many waited long: %s" % point["latency_us"])


@test
def rates_beyond_what_there_is_are_called_unsustained_and_the_rest_is_counted(folder):
    out, _, figures = bench(folder, "ycsb", "--keys", 100, "--rate", 20000000)
    point = figures["points"][0]
    true(point["unsent"] > 0 and "never sent" in out, out)
    true(point["latency_us"]["max"] >= 500000, "what was never sent is as old as the run: %s" % point["latency_us"])


@test
def a_sweep_ends_at_its_knee_and_draws_it(folder):
    plot = folder.join("sweep.svg")
    out, _, figures = bench(folder, "ycsb", "--keys", 100, "--sweep", "--plot", plot, "--in-process", "--seconds", "0.2")
    points = figures["points"]
    true(len(points) >= 2 and points[0]["loop"] == "closed" and points[1]["loop"] == "poisson", "peak, then rates")
    offered = [point["offered"] for point in points[1:]]
    equal(offered, sorted(offered), "rates go up")
    true("peak" in out and out.count("holds ") == len(points), "each point is verified: " + out)
    root = xml.etree.ElementTree.parse(plot).getroot()
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    equal(len(circles), 4 * len(offered), "a mark for each rate and quantile")


@test
def pairs_lie_on_as_many_shards_as_asked(folder):
    for percent in (0, 100):
        figures = bench(folder, "ycsb", "--keys", 1000, "--shards", 4, "--cross", percent, "--zipf", "0.9")[2]
        point = figures["points"][0]
        share = 100 * point["multi_shard"] / point["commits"]
        true(abs(share - percent) <= 2, "%d asked, %.1f found" % (percent, share))


@test
def accounts_that_are_empty_refuse_and_nothing_is_lost(folder):
    for more in ((), ("--in-process", "--lang", "c")):
        point = bench(folder, "ycsb", "--keys", 20, "--initial", 1, *more)[2]["points"][0]
        true(point["refused"] > 0 and point["causes"]["check"] == point["refused"], point["causes"])


@test
def a_signal_ends_run_and_server(folder):
    running = subprocess.Popen([harness.weir_path(), "bench", "ycsb", "--keys", "50", "--seconds", "600"], cwd=folder.path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.stdout.readline()
    running.send_signal(signal.SIGINT)
    try:
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    equal(running.returncode, 1, out + err)
    true("signal" in err, err)
    equal(os.listdir(folder.path), [], "left behind")


@test
def a_benchmark_that_is_killed_takes_its_server_along(folder):
    running = subprocess.Popen([harness.weir_path(), "bench", "ycsb", "--keys", "50", "--seconds", "600"], cwd=folder.path,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        running.stdout.readline()
        with open("/proc/%d/task/%d/children" % (running.pid, running.pid)) as file:
            server = os.pidfd_open(int(file.read().split()[0]))
    finally:
        running.kill()
        running.communicate()
    true(select.select([server], [], [], 60)[0], "the server has ended")
    os.close(server)


MISTAKES = [
    ((), 64, "WORKLOAD is missing"),
    (("ycbs",), 64, "did you mean `weir bench ycsb`?"),
    (("ycsb", "more"), 64, "one word too many"),
    (("ycsb", "--key", "7"), 64, "did you mean --keys?"),
    (("ycsb", "--keys", "1"), 64, "--keys 1: a whole number from 2"),
    (("ycsb", "--keys", "10x"), 64, "--keys 10x"),
    (("ycsb", "--zipf", "1"), 64, "--zipf 1: a number from 0 to 0.999"),
    (("ycsb", "--zipf", "nan"), 64, "--zipf nan"),
    (("ycsb", "--cross", "101", "--shards", "2"), 64, "--cross 101"),
    (("ycsb", "--cross", "50", "--shards", "1"), 64, "--cross wants two shards"),
    (("ycsb", "--mix", "z"), 64, "--mix z: one of transfer, m"),
    (("ycsb", "--mix", "a", "--initial", "5"), 64, "takes no --initial"),
    (("ycsb", "--mix", "a", "--lang", "c", "--in-process"), 64, "in Lua only"),
    (("smallbank", "--mix", "tpcc"), 64, "--mix tpcc: one of standard, snapper"),
    (("ycsb", "--rate", "fast"), 64, "--rate fast: a number from 1"),
    (("ycsb", "--rate", "0"), 64, "--rate 0"),
    (("ycsb", "--rate", "nan"), 64, "--rate nan"),
    (("ycsb", "--seconds", "0"), 64, "--seconds 0"),
    (("ycsb", "--connections", "0"), 64, "--connections 0: a whole number from 1 to 10000"),
    (("ycsb", "--loaders", "9", "--in-process"), 64, "--loaders 9"),
    (("ycsb", "--io-processor", "none", "--in-process"), 64, "--io-processor: of a server"),
    (("ycsb", "--loaders", "2"), 64, "--loaders: with --in-process"),
    (("ycsb", "--loaders", "3", "--in-process", "--connections", "2", "--pipeline", "1"), 64, "a request under way for each"),
    (("ycsb", "--connections", "10001"), 64, "--connections 10001"),
    (("ycsb", "--pipeline", "-1"), 64, "--pipeline -1"),
    (("ycsb", "--seed", "x"), 64, "--seed x"),
    (("tpcc", "--items", "99"), 64, "--items 99: a whole number from 100"),
    (("tpcc", "--mix", "transfer"), 64, "--mix transfer: one of two, full, neworder"),
    (("fan", "--together", "2"), 64, "--together 2: a whole number from 0 to 1"),
    (("fan", "--calls", "33"), 64, "--calls 33: a whole number from 1 to 32"),
    (("fan", "--key-bytes", "4"), 64, "too few for 10000 keys"),
    (("fan", "--calls", "32", "--key-bytes", "200"), 64, "are more than 1200"),
    (("fan", "--spread", "2", "--shards", "1"), 64, "--spread 2: wants"),
    (("fan", "--keys", "3", "--calls", "4"), 64, "as many --keys"),
    (("fan", "--keys", "5", "--spread", "2", "--shards", "4"), 64, "more --keys are wanted"),
    (("ycsb", "--hot", "101"), 64, "--hot 101"),
    (("ycsb", "--warehouses", "2"), 64, "takes no --warehouses"),
    (("market", "--keys", "99"), 64, "--keys 99: a whole number from 100"),
    (("ycsb", "--requests", "0"), 64, "--requests 0: a whole number from 1 to 1000000000"),
    (("ycsb", "--requests", "5"), 64, "in place of --seconds"),
    (("ycsb", "--schedule", "random", "--rate", "5"), 64, "poisson or steady"),
    (("ycsb", "--schedule", "steady"), 64, "with --rate or --sweep"),
    (("ycsb", "--rate", "5", "--sweep"), 64, "--rate or --sweep"),
    (("ycsb", "--plot", "x.svg"), 64, "with --sweep"),
    (("ycsb", "--lang", "c"), 64, "with --in-process"),
    (("ycsb", "--lang", "go", "--in-process"), 64, "lua or c"),
    (("ycsb", "--connect", "127.0.0.1:1", "--in-process"), 64, "not both"),
    (("ycsb", "--connect", "127.0.0.1:1", "--shards", "2"), 64, "has its shards"),
    (("ycsb", "--connect", "127.0.0.1:1"), 69, "no server at 127.0.0.1:1"),
    (("ycsb", "--app", "no.lua"), 78, "no.lua"),
    (("ycsb", "--app", "no.lua", "--in-process"), 78, "no.lua"),
    (("ycsb", "--limit", "nothing=1"), 78, "nothing"),
    (("ycsb", "--limit", "nothing=1", "--in-process"), 78, "nothing"),
    (("ycsb", "--limit", "cpu_ms_max=200", "--in-process", "--lang", "c"), 78, "cpu_ms_max"),
    (("ycsb", "--json", "no/such/folder.json"), 74, "no/such/folder.json"),
    (("ycsb", "--data", "no/such/folder"), 74, "no/such/folder"),
]


@test
def each_mistake_is_explained(folder):
    for words, code, text in MISTAKES:
        got, out, err = weir("bench", *words, "--seconds", "0.1" if "--seconds" not in words else "0", cwd=folder.path)
        equal(got, code, "%s:\n%s%s" % (words, out, err))
        true(text in err, "%s: %s" % (words, err))
        equal(os.listdir(folder.path), [], "%s left something" % (words,))


@test
def the_help_names_every_workload_and_option(folder):
    _, help_all, _ = weir("help", "bench", cwd=folder.path)
    equal(help_all, weir("bench", "--help")[1])
    for word in ("ycsb", "smallbank", "tpcc", "travel", "voter", "market", "hot", "--last", "--warehouses", "--keys", "--zipf", "--cross", "--initial", "--mix", "--rate", "--sweep", "--in-process"):
        true(word in help_all, word)


@test
def data_that_is_there_is_not_overwritten(folder):
    kept = folder.join("kept")
    bench(folder, "ycsb", "--keys", 50, "--data", kept)
    true(os.path.isdir(os.path.join(kept, "data")), "kept")
    _, err, _ = bench(folder, "ycsb", "--keys", 50, "--data", kept, code=78)
    true("holds data already" in err, err)


# ---- bench/budgets, bench/curves ----

def tool(folder, name, *words):
    """A run of one with tiny data; (stdout, JSON)."""
    path = folder.join("figures.json")
    done = subprocess.run([sys.executable, os.path.join(ROOT, "bench", name), "--build", harness.BUILD, "--tiny", "--json", path, *words],
                          capture_output=True, text=True, timeout=300)
    equal(done.returncode, 0, done.stdout + done.stderr)
    with open(path) as file:
        return done.stdout, json.load(file)


@test
def budgets_measure_each_row_and_judge_it(folder):
    out, figures = tool(folder, "budgets")
    rows = {row["row"]: row for row in figures["rows"]}
    for name, row in rows.items():
        true(len(row["values"]) == 1 or name == "cross-far", name)
        value, up = (row["values"] or [0])[0], row["target"] > row["floor"]
        verdict = "target" if (value >= row["target"] if up else value <= row["target"]) else \
            "floor" if (value >= row["floor"] if up else value <= row["floor"]) else "missed"
        if row["values"]:
            equal(row["verdict"], verdict, name)
        true(" %s |" % row["what"] in out, "%s stands in the table:\n%s" % (name, out))
        true(value > 0 or name in ("cross-far", "aborts", "lua", "idle-cpu", "memory") or name.startswith("logic"), "%s: %s" % (name, value))
    true(20 < rows["log"]["values"][0] < 1000 and rows["idle-rss"]["values"][0] < 500, "of a size that can be: %s" % rows)


@test
def curves_have_a_figure_for_each_place_and_a_picture(folder):
    out, figures = tool(folder, "curves", "--out", folder.path)
    for name, curve in figures["curves"].items():
        root = xml.etree.ElementTree.parse(folder.join(name + ".svg")).getroot()
        marks = sum(e.tag.endswith("circle") for e in root.iter())
        true("plots/%s.svg" % name in out, out)
        if name == "rates":
            equal(marks, 4 * (len(curve["points"]) - 1), "marks of rates")
            continue
        equal(marks, len(curve["points"]) * len(curve["places"]), "marks of " + name)
        for line in curve["points"].values():
            true(all(points and points[0]["done"] > 0 for points in line.values()), name)
    equal(figures["curves"]["size"]["places"], [10000])
    true("50 M entities are left out" in out, "what is left out is said")


@test
def a_run_whose_state_is_wrong_ends_budgets_and_curves(folder):
    sys.path.insert(0, os.path.join(ROOT, "bench"))
    import runs
    app = folder.write("ycsb.lua", lua_of("ycsb").replace("self.balance = self.balance + 1\n", 'if self.key ~= "u7" then self.balance = self.balance + 1 end\n'))
    program = runs.Weir(harness.BUILD, harness.BUILD)
    try:
        program.point("ycsb", "--keys", 50, "--requests", 500)
        program.point("ycsb", "--keys", 50, "--requests", 500, "--app", app)
        raise harness.Fail("money was lost, and nobody said so")
    except runs.Broken as error:
        true("BROKEN" in str(error), error)
    finally:
        program.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    return harness.run_chosen(harness.options_read(parser))


if __name__ == "__main__":
    sys.exit(main())
