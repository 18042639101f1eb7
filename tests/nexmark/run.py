#!/usr/bin/env python3
"""Nexmark's queries against the real binary, over kill -9, compared row by row with an offline recomputation.

    tests/nexmark/run.py [--build DIR] [--only TEXT] [--budget SECONDS] [--seed N]

The offline program reads what the streams hold and knows nothing of the engine. Ends with `N passed, N failed, N skipped`.
SPDX-License-Identifier: MIT
"""
import argparse
import json
import os
import random
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]

import generate
import harness
from harness import Fail, Server, equal, test, true
from offline import milliseconds

APP = os.path.join(ROOT, "bench", "nexmark.lua")
CI_SECONDS = 12
OPTIONS = None
DEADLINE_S = 120


def until(condition, what):
    """Polls until the condition holds; its value."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise Fail("not within %d s: %s" % (DEADLINE_S, what))


def read_all(server, stream):
    """All events of a stream, page by page."""
    items, start = [], "oldest"
    while True:
        page = server.get("/streams/%s?from=%s&limit=10000" % (stream, start)).json
        if not page["events"]:
            return items
        items += page["events"]
        start = page["next"]


def send(server, items, choose, kills):
    """Each run of events of one stream is a POST under a key of its own: what a kill cut off is sent again."""
    batches, most = [], max(1, len(items) // 150)
    for stream, event in items:
        if not batches or batches[-1][0] != stream or len(batches[-1][1]) >= most:
            batches.append((stream, []))
        batches[-1][1].append(event)
    strikes = set(choose.sample(range(len(batches)), kills)) if kills else ()
    for n, (stream, some) in enumerate(batches):
        body = b"".join(json.dumps(event).encode() + b"\n" for event in some)
        if n in strikes:
            server.kill()
            server.start()
        answer = server.post("/streams/" + stream, body, Content_Type="application/x-ndjson", Idempotency_Key="batch-%d" % n)
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
    out = {name: sorted(tuple(field(f)(item["event"]) for f in fields) for item in read_all(server, name))
           for name, fields in SHAPES.items()}
    out["q8"] = sorted((e["left"]["person"], milliseconds(e["from"]), milliseconds(e["to"]), e["right"]["auction"])
                       for e in (item["event"] for item in read_all(server, "q8")))
    connection = server.connect()
    rows = ((to, connection.row("hot", str(to))) for to, _, _ in wanted["hot"])
    out["hot"] = sorted((to, row["auction"], int(row["bids"])) for to, row in rows if row)
    connection.close()
    return out


def compare(folder, server):
    for name in ("persons", "auctions", "bids", "arrived"):
        folder.write(name + ".ndjson", "".join(json.dumps(item) + "\n" for item in read_all(server, name)))
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
            send(server, items[:half], choose, kills // 2)
            equal(server.stop(), 0, "exit code")
            server.command[server.command.index("--shards") + 1] = str(restart_shards)
            server.start()
            items = items[half:]
        send(server, items, choose, kills)
        end_input(server)
        until(lambda: all_followed(server), "everything followed")
        return compare(folder, server)
