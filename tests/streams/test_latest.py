"""Streams kept as `latest`: compaction by key under load, readers, groups, followers and kill -9.

SPDX-License-Identifier: MIT
"""
import json
import os
import random
import time

from harness import Server, equal, test, true
import test_http
from killer import Killer
from test_http import NDJSON, lines_of, number, read_all, until

HERE = os.path.dirname(os.path.abspath(__file__))
APP = os.path.join(HERE, "latest.lua")
OPTIONS = None  # run.py's: events, seed
KEYS = 1000
BODY = 5000  # events of one request


def info(server, stream="prices"):
    return test_http.info(server, stream)


def serve(folder, *limits):
    """Compacts whenever there is something, looks often, checkpoints often."""
    words = [w for limit in ("retention_check_ms=20", "compact_bytes_min=1", "compact_dirty_percent=1",
                             "checkpoint_bytes_min=1048576", *limits) for w in ("--limit", limit)]
    return Server(APP, folder.join("d"), "--shards", "2", "--log-format", "json", *words)


def compactions(server):
    """What the trace tells of them."""
    found = []
    for line in server.trace_all().splitlines():
        if '"stream_compacted"' in line:
            found.append(json.loads(line))
    return found


@test
def a_stream_shrinks_to_the_newest_event_of_each_key_under_kills(folder):
    draw = random.Random(OPTIONS.seed)
    total = OPTIONS.events
    model = {}
    with serve(folder, "tombstone_keep_ms=1") as server:
        c = server.connect()
        equal(c.ask("XGROUP", "CREATE", "prices", "g", "0"), "OK")
        equal(server.post("/streams/prices", [{"item": "i%d" % n, "price": -1, "gone": False} for n in range(20)]).json["count"], 20)
        model.update(("i%d" % n, [1, -1]) for n in range(20))
        (_, delivered), = c.ask("XREADGROUP", "GROUP", "g", "c", "COUNT", "20", "STREAMS", "prices", ">")
        equal(len(delivered), 20)
        c.close()
        killer = Killer(server, draw, max(1.0, total / 120000))
        emitted = 20
        try:
            while emitted < total:
                batch = []
                for price in range(emitted, min(emitted + BODY, total)):
                    item = "i%d" % draw.randrange(KEYS)
                    batch.append({"item": item, "price": price, "gone": False})
                    model.setdefault(item, [0, 0])
                    model[item][0] += 1
                    model[item][1] = price
                if emitted < total // 2 <= emitted + len(batch):
                    killer.once()
                emitted += len(batch)
                reply = killer.request("POST", "/streams/prices", lines_of(batch),
                                       {**NDJSON, "Idempotency-Key": "b%d" % emitted})
                equal((reply.status, reply.json["count"]), (200, len(batch)), reply)
            until(lambda: killer.kills >= 1 or killer.reason, "a kill")
        finally:
            killer.end()
        equal(len(model), KEYS, "keys")
        # some end: they go, and nothing of them comes back
        ended = ["i%d" % n for n in range(50)]
        equal(server.post("/streams/prices", [{"item": i, "price": 0, "gone": True} for i in ended]).json["count"], 50)
        nudges, again = [0], [time.monotonic()]

        def shrunk():
            if info(server)["events"] == KEYS - len(ended):
                return True
            if time.monotonic() > again[0]:  # an end younger than its delay waits for the next compaction: give it one
                nudges[0] += 20  # more than a hundredth of what is left
                equal(server.post("/streams/prices", [{"item": "i999", "price": nudges[0], "gone": False}] * 20).json["count"], 20)
                again[0] = time.monotonic() + 1
            return False
        until(shrunk, "one event of each key is left")
        until(lambda: info(server)["followers"][0]["lag"] == 0, "the follower is done")
        if nudges[0]:
            model["i999"][0] += nudges[0]
            model["i999"][1] = nudges[0]
        # a late reader has the same map
        events = read_all(server, "prices")
        equal([e["id"] for e in events], sorted({e["id"] for e in events}, key=number), "in order, each once")
        equal({e["key"]: e["event"]["price"] for e in events}, {i: p for i, (_, p) in model.items() if i not in ended})
        equal(len(events), KEYS - len(ended))
        c = server.connect()
        equal(c.ask("XLEN", "prices"), len(events))
        equal([i for i, _ in c.ask("XRANGE", "prices", "-", "+")], [e["id"] for e in events])
        equal([i for i, _ in c.ask("XREVRANGE", "prices", "+", "-")], [e["id"] for e in events[::-1]])
        # who stopped at an event that is no more goes on behind it
        page = server.get("/streams/prices?from=%s&limit=5" % delivered[0][0]).json
        equal([e["id"] for e in page["events"]], [e["id"] for e in events[:5]])
        # what a group has pending and is no more is told; the rest comes
        pending = c.ask("XREADGROUP", "GROUP", "g", "c", "STREAMS", "prices", "0")[0][1]
        equal(pending, [[i, None] for i, _ in delivered], "pending, and no more there")
        got = []
        while True:
            answer = c.ask("XREADGROUP", "GROUP", "g", "d", "COUNT", "300", "STREAMS", "prices", ">")
            if not answer:
                break
            got += [i for i, _ in answer[0][1]]
        equal(got, [e["id"] for e in events], "what the group still gets")
        # the follower saw every event, also those that are no more
        rows = {i: server.get("/item/%s" % i).json for i in model}
        equal({i: r["seen"] for i, r in rows.items()}, {i: n + (i in ended) for i, (n, _) in model.items()}, "seen once each")
        equal([i for i, r in rows.items() if r["gone"]], [i for i in model if i in ended])
        done = compactions(server)
        # how many there were is a matter of how fast the events came (2 and 3 were seen)
        true(done and all(d["left"] <= d["events"] for d in done), "compactions: %d" % len(done))
        print("     %d events, %d kills, %d compactions, %d bytes left" % (emitted, killer.kills, len(done), info(server)["bytes"]))
        # and all is so after a restart
        server.kill()
        server.start()
        equal(read_all(server, "prices"), events)
        equal(info(server)["events"], len(events))


@test
def a_stream_is_told_as_what_it_is(folder):
    with serve(folder) as server:
        prices, days = info(server, "prices"), info(server, "days")
        equal((prices["latest"], prices["tombstone"], prices["keep_ms"]), (True, "gone", 0))
        equal((days["latest"], days["tombstone"], days["keep_ms"]), (True, None, 3 * 86400000))
        # younger than three days: all stay
        for _ in range(5):
            equal(server.post("/streams/days", [{"item": "a", "price": n} for n in range(1000)]).json["count"], 1000)
        equal(server.post("/streams/prices", [{"item": "a", "price": n, "gone": False} for n in range(100)]).json["count"], 100)
        until(lambda: info(server, "prices")["events"] == 1, "the other stream is compacted")
        equal(info(server, "days")["events"], 5000, "all of the last days are there")


@test
def an_end_is_seen_for_its_delay(folder):
    with serve(folder, "tombstone_keep_ms=3600000") as server:
        server.post("/streams/prices", [{"item": "a", "price": n, "gone": False} for n in range(100)])
        server.post("/streams/prices", {"item": "a", "price": 0, "gone": True})
        until(lambda: info(server)["events"] == 1, "only the end is left")
        last, = read_all(server, "prices")
        equal(last["event"], {"item": "a", "price": 0, "gone": True})
        # a key may come back
        server.post("/streams/prices", {"item": "a", "price": 7, "gone": False})
        until(lambda: [e["event"]["price"] for e in read_all(server, "prices")] == [7], "the new life only")


@test
def a_group_is_told_what_of_its_pending_is_no_more(folder):
    with serve(folder) as server:
        c = server.connect()
        c.ask("XGROUP", "CREATE", "prices", "g", "0")
        server.post("/streams/prices", [{"item": "i%d" % n, "price": n, "gone": False} for n in range(20)])
        (_, delivered), = c.ask("XREADGROUP", "GROUP", "g", "c", "COUNT", "10", "STREAMS", "prices", ">")
        # of what is pending, some in the middle go; of what is not delivered yet, too
        again = [2, 3, 7, 15]
        server.post("/streams/prices", [{"item": "i%d" % n, "price": -n, "gone": False} for n in again])
        until(lambda: info(server)["events"] == 20, "the older four go")
        pending = c.ask("XREADGROUP", "GROUP", "g", "c", "STREAMS", "prices", "0")[0][1]
        equal(pending, [[i, None if n in again else fields] for n, (i, fields) in enumerate(delivered)])
        (_, rest), = c.ask("XREADGROUP", "GROUP", "g", "d", "COUNT", "100", "STREAMS", "prices", ">")
        prices = [int(dict(zip(f[::2], f[1::2]))["price"]) for _, f in rest]
        equal(prices, [n for n in range(10, 20) if n not in again] + [-n for n in again])
        equal(c.ask("XAUTOCLAIM", "prices", "g", "d", "0", "0")[2], [delivered[n][0] for n in again[:3]])
        equal(c.ask("XACK", "prices", "g", *[i for i, _ in delivered + rest]), 7 + len(rest))
        equal(c.ask("XPENDING", "prices", "g")[0], 0)
