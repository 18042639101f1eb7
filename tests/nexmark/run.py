#!/usr/bin/env python3
"""Nexmark's queries against the real binary, over kill -9, compared row by row with an offline recomputation.

    tests/nexmark/run.py [--build DIR] [--only TEXT] [--budget SECONDS] [--seed N]

The offline program reads what the streams hold and knows nothing of the engine. Ends with `N passed, N failed, N skipped`.
SPDX-License-Identifier: MIT
"""
import argparse
import functools
import gzip
import http.client
import json
import os
import random
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]

import generate
import harness
import offline
from harness import Fail, Server, equal, stream_events, test, true
from offline import milliseconds

APP = os.path.join(ROOT, "bench", "nexmark.lua")
CI_SECONDS = 12
OPTIONS = None
DEADLINE_S = 120


until = functools.partial(harness.until, seconds=DEADLINE_S)


def send(server, items, choose, kills, name):
    """Each run of events of one stream is a POST under a key of its own: what a kill cut off is sent again."""
    batches, most = [], max(1, len(items) // 150)
    for stream, event in items:
        if not batches or batches[-1][0] != stream or len(batches[-1][1]) >= most:
            batches.append((stream, []))
        batches[-1][1].append(event)
    strikes = set(choose.sample(range(len(batches)), kills))
    for n, (stream, some) in enumerate(batches):
        body = b"".join(json.dumps(event).encode() + b"\n" for event in some)
        words = {"Content_Type": "application/x-ndjson", "Idempotency_Key": "%s-%d" % (name, n)}
        if n in strikes:
            blow = threading.Timer(choose.random() * 0.01, server.kill)    # somewhere in it, or just before or after
            blow.start()
            try:
                server.post("/streams/" + stream, body, **words)
            except (OSError, http.client.HTTPException):
                pass
            blow.join()
            server.start()
        answer = server.post("/streams/" + stream, body, **words)
        equal(answer.status, 200, "batch %d: %s" % (n, answer.body[:300]))


def all_followed(server):
    """Nobody lags: what was emitted has taken effect everywhere, results of results included."""
    return all(f["lag"] == 0 for s in server.get("/streams").json["streams"] for f in s.get("followers", ()))


def field(name):
    return lambda e: milliseconds(e[name]) if name in ("from", "to", "at") else e[name]


SHAPES = {"q1": ("auction", "bidder", "price", "at"), "q3": ("name", "city", "state", "auction"),
          "counts": ("auction", "from", "to", "n"), "counts_late": ("auction", "bidder", "price", "at"),
          "q7": ("from", "to", "price"), "q12": ("bidder", "from", "to", "n")}


def found(server, wanted):
    out = {name: sorted(tuple(field(f)(item["event"]) for f in fields) for item in stream_events(server, name))
           for name, fields in SHAPES.items()}
    out["q8"] = sorted((e["left"]["person"], milliseconds(e["from"]), milliseconds(e["to"]), e["right"]["auction"])
                       for e in (item["event"] for item in stream_events(server, "q8")))
    connection = server.connect()
    rows = ((to, connection.row("hot", str(to))) for to, _, _ in wanted["hot"])
    out["hot"] = sorted((to, row["auction"], int(row["bids"])) for to, row in rows if row)
    connection.close()
    return out


def compare(folder, server):
    for name in ("persons", "auctions", "bids", "arrived"):
        items = stream_events(server, name)
        equal(server.get("/streams/%s/info" % name).json["events"], len(items), "events of %s, its end not counted" % name)
        folder.write(name + ".ndjson", "".join(json.dumps(item) + "\n" for item in items))
    done = subprocess.run([sys.executable, os.path.join(HERE, "offline.py"), folder.path], capture_output=True, text=True, check=True)
    wanted = {name: [tuple(row) for row in rows] for name, rows in json.loads(done.stdout).items()}
    got = found(server, wanted)
    for name, rows in wanted.items():
        if got[name] != rows:
            more, less = sorted(set(got[name]) - set(rows)), sorted(set(rows) - set(got[name]))
            raise Fail("%s: %d rows, %d wanted; too many: %r; missing: %r" % (name, len(got[name]), len(rows), more[:3], less[:3]))
        true(rows, "nothing to compare in " + name)
    return {name: len(rows) for name, rows in wanted.items()}


def nexmark(folder, shards, kills, count, restart_shards=None):
    choose = random.Random(OPTIONS.seed)
    items = list(generate.events(OPTIONS.seed, count))
    with Server(APP, folder.join("d"), "--shards", shards) as server:
        if restart_shards:
            half = len(items) // 2
            send(server, items[:half], choose, kills // 2, "first")
            equal(server.stop(), 0, "exit code")
            server.command[server.command.index("--shards") + 1] = str(restart_shards)
            server.start()
            items = items[half:]
        send(server, items, choose, kills, "more")
        end_input(server)
        until(lambda: all_followed(server), "everything followed")
        return compare(folder, server)


def end_input(server):
    """No more events: all windows end. What follows from events is given time to be emitted before its own stream ends."""
    for stream in ("persons", "auctions", "bids"):
        equal(server.post("/streams/%s/end" % stream).status, 200, "end of " + stream)
    until(lambda: all_followed(server), "what was sent is followed")
    equal(server.post("/streams/arrived/end").status, 200, "end of arrived")


@test
def queries_equal_an_offline_recomputation(folder):
    print("       rows: %r" % nexmark(folder, 2, 0, round(6000 * OPTIONS.scale)))


@test
def queries_equal_an_offline_recomputation_over_kills(folder):
    kills = round(6 * OPTIONS.scale)
    print("       %d kills, rows: %r" % (kills, nexmark(folder, 4, kills, round(6000 * OPTIONS.scale))))


@test
def queries_go_on_on_another_number_of_shards(folder):
    print("       rows: %r" % nexmark(folder, 3, 2, round(4000 * OPTIONS.scale), restart_shards=2))


# ---- Karimov's aggregation and join ----

def karimov_events(count):
    """Purchases and advertisements, out of order by up to 1.5 s. Few users, so that some meet."""
    choose = random.Random(OPTIONS.seed)
    for n in range(count):
        event = {"user": choose.randrange(40), "pack": "p%d" % choose.randrange(10), "at": generate.BASE_MS + n * 30 - choose.randrange(1500)}
        if n % 2:
            yield "ads", event
        else:
            yield "purchases", {**event, "price": choose.randrange(1, 100)}


def karimov(folder, query, shards, kills, fields):
    """The rows of the results, what the offline program makes of the streams, and how many."""
    choose = random.Random(OPTIONS.seed)
    app = os.path.join(ROOT, "bench", "karimov.lua")
    with Server(app, folder.join("d"), "--shards", shards, "--set", "query=" + query) as server:
        send(server, list(karimov_events(round(3000 * OPTIONS.scale))), choose, kills, query)
        for stream in ("purchases", "ads"):
            equal(server.post("/streams/%s/end" % stream).status, 200, "end of " + stream)
        until(lambda: all_followed(server), "everything followed")
        for name in ("purchases", "ads"):
            folder.write(name + ".ndjson", "".join(json.dumps(item) + "\n" for item in stream_events(server, name)))
        got = sorted(fields(item["event"]) for item in stream_events(server, "results"))
    done = subprocess.run([sys.executable, os.path.join(HERE, "offline.py"), "--karimov", query, folder.path], capture_output=True,
                          text=True, check=True)
    wanted = [tuple(row) for row in json.loads(done.stdout)]
    if got != wanted:
        raise Fail("%s: %d rows, %d wanted; too many: %r; missing: %r" % (
            query, len(got), len(wanted), sorted(set(got) - set(wanted))[:3], sorted(set(wanted) - set(got))[:3]))
    true(wanted, "nothing to compare")
    print("       %s: %d rows over %d kills" % (query, len(wanted), kills))


@test
def karimovs_sums_equal_an_offline_recomputation_over_kills(folder):
    karimov(folder, "sum", 2, round(3 * OPTIONS.scale),
            lambda e: (e["pack"], milliseconds(e["from"]), milliseconds(e["to"]), e["total"], e["n"]))


@test
def karimovs_join_equals_an_offline_recomputation_over_kills(folder):
    karimov(folder, "join", 4, round(3 * OPTIONS.scale),
            lambda e: (e["left"]["user"], e["left"]["pack"], milliseconds(e["from"]), milliseconds(e["to"]), e["left"]["price"],
                       milliseconds(e["left"]["at"]), milliseconds(e["right"]["at"])))


# ---- hours of real flights, by event time ----

def departures():
    """The 20,000 flights of `make demo`, some reported out of order, and one in 50 hours too late."""
    choose = random.Random(OPTIONS.seed)
    with gzip.open(os.path.join(ROOT, "examples", "data", "flights-20k.json.gz"), "rt") as file:
        flights = json.load(file)
    moments = []
    for flight in flights[:round(4000 * OPTIONS.scale)]:
        at = milliseconds(flight["date"].replace("/", "-").replace(" ", "T") + ":00Z")
        heard = at + choose.randrange(20 * 60000) + (choose.randrange(6 * 3600000) if choose.random() < 0.02 else 0)
        moments.append((heard, {"airport": flight["origin"], "delay": flight["delay"], "at": at}))
    return [event for _, event in sorted(moments, key=lambda moment: moment[0])]


def hours(server):
    until(lambda: all_followed(server), "everything followed")
    fields = ("airport", "from", "to", "flights", "delay", "longest")
    told = sorted(tuple(field(f)(item["event"]) for f in fields) for item in stream_events(server, "hourly"))
    late = sorted((e["airport"], e["delay"], milliseconds(e["at"])) for e in (i["event"] for i in stream_events(server, "hourly_late")))
    return told, late


def hours_wanted(items):
    def more(sums, event):
        flights, delay, longest = sums
        return flights + 1, delay + event["delay"], max(longest, event["delay"])
    found, late = offline.sums(items, 1800000, 3600000, 3600000, "airport", (0, 0, -1 << 60), more)
    return sorted((*place, *sums) for place, sums in found.items()), sorted((e["airport"], e["delay"], milliseconds(e["at"])) for e in late)


@test
def hours_of_real_flights_are_the_same_from_a_file_live_and_offline(folder):
    events = departures()
    path = folder.write("departures.ndjson", "".join(json.dumps(event) + "\n" for event in events))
    app = os.path.join(ROOT, "examples", "delays.lua")
    with Server(app, folder.join("file"), "--shards", 2) as server:
        done = subprocess.run([harness.weir_path(), "load", "stream", "departed", path, "--end", "--host", "127.0.0.1:%d" % server.http],
                              capture_output=True, text=True)
        equal(done.returncode, 0, "weir load: " + done.stderr)
        from_file = hours(server)
        wanted = hours_wanted(stream_events(server, "departed"))
    with Server(app, folder.join("live"), "--shards", 3) as server:
        send(server, [("departed", event) for event in events], random.Random(OPTIONS.seed), 3, "live")
        equal(server.post("/streams/departed/end").status, 200)
        live = hours(server)
        rows = {row["key"]: row for row in airports(server, {event["airport"] for event in events})}
    equal(from_file == wanted, True, "from a file as offline")
    equal(live == wanted, True, "live, over 3 kills, as offline")
    true(wanted[0] and wanted[1], "hours and late reports")
    for name, row in rows.items():
        own = [w for w in wanted[0] if w[0] == name]
        equal(int(row["hours"]), len(own), "hours of " + name)
        equal(int(row["unheard"]), len([w for w in wanted[1] if w[0] == name]), "late reports of " + name)
        if own:
            equal(int(row["worst"]), max(w[4] for w in own), "worst hour of " + name)
    print("       %d flights, %d hours, %d too late" % (len(events), len(wanted[0]), len(wanted[1])))


def airports(server, names):
    connection = server.connect()
    for name in sorted(names):
        row = connection.row("airport", name)
        if row:
            yield {**row, "key": name}
    connection.close()


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description="Nexmark's queries over kill -9 against an offline recomputation.")
    parser.add_argument("--budget", type=float, default=CI_SECONDS, help="seconds of work, about")
    parser.add_argument("--seed", type=int, default=0, help="0: drawn")
    OPTIONS = harness.options_read(parser)
    OPTIONS.scale = OPTIONS.budget / CI_SECONDS
    OPTIONS.seed = OPTIONS.seed or random.SystemRandom().randrange(1, 1 << 30)
    print("seed %d" % OPTIONS.seed)
    return harness.run_chosen(OPTIONS)


if __name__ == "__main__":
    sys.exit(main())
