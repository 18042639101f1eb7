"""Events, messages and timers take effect once: over kills, and when they were parked and a person let them run.

SPDX-License-Identifier: MIT
"""
import os
import random

from common import PATIENT, parked, send_through, until
from harness import EXAMPLES, Fail, Folder, Server, Skip, equal, true

APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "once.lua")
KINDS = ("event", "message", "timer")
SOURCES, SINKS, PUTS_MAX = 8, 3, 1500    # rows that one query may look at: 10,000


def told(server, wanted):
    """What differs from `wanted`: {(sink, source): puts}."""
    connection = server.connect()
    pairs = [(sink, source, kind) for sink, source in wanted for kind in KINDS]
    connection.send(*[("CALL", "sink", sink, "told", kind, source) for sink, source, kind in pairs])
    odd = []
    for sink, source, kind in pairs:
        got = [int(n) for n in connection.read()]
        if got != [wanted[sink, source]] * 2:
            odd.append("%s of %s at %s: %d put, %d took effect, %d times in all" %
                       (kind, source, sink, wanted[sink, source], *got))
    connection.close()
    return odd


def settle(server, wanted, seconds=90):
    until(lambda: not told(server, wanted), lambda: "; ".join(told(server, wanted)[:4]), seconds)


def puts(choose, count, start, sources=SOURCES):
    commands, wanted, next_n = [], {}, dict(start)
    for _ in range(count):
        source, sink = "s%d" % choose.randrange(sources), "k%d" % choose.randrange(SINKS)
        n = next_n[source] = next_n.get(source, 0) + 1
        commands.append(("CALL.ONCE", "%s-%d" % (source, n), "source", source, "put", sink, n))
        wanted[sink, source] = wanted.get((sink, source), 0) + 1
    return commands, wanted, next_n


def events_messages_and_timers_take_effect_once_over_kills(budget, seed, note):
    choose = random.Random(seed)
    count, kills = min(int(budget * 80), SOURCES * PUTS_MAX), 3 if budget < 30 else 25
    with Folder() as folder, Server(APP, folder.join("data"), "--shards", 3, *PATIENT) as server:
        commands, wanted, _ = puts(choose, count, {})
        send_through(server, commands, [choose.randrange(count) for _ in range(kills)])
        server.kill()    # with consequences under way
        server.start()
        settle(server, wanted)
        server.kill()
        server.start()
        equal(told(server, wanted), [], "after one more kill")
        note("%d puts with three consequences each, %d kills" % (count, kills + 2))


def parked_work_is_seen_retried_and_takes_effect_once(budget, seed, note):
    choose = random.Random(seed)
    with Folder() as folder, Server(APP, folder.join("data"), "--shards", 2, "--limit", "message_attempts_max=3",
                                    *PATIENT) as server:
        if parked(server) is None:
            raise Skip("this build has no GET /parked")
        commands, wanted, next_n = puts(choose, 30, {}, 3)
        send_through(server, commands, [])
        settle(server, wanted)
        for sink in range(SINKS):
            equal(server.post("/sink/k%d/jam" % sink, [True]).status, 200, "jam")
        more, added, _ = puts(choose, 30, next_n, 3)
        send_through(server, more, [choose.randrange(30)])
        for pair in added:
            wanted[pair] = wanted.get(pair, 0) + added[pair]

        def all_kinds():
            found = parked(server)
            return found if {item["kind"] for item in found} == set(KINDS) and \
                sum(item["kind"] == "timer" for item in found) == 30 else None
        found = until(all_kinds, lambda: "30 timers, and messages and events, parked: %s" % parked(server)[:3])
        true(all("jammed" in item["error"] for item in found), "each parked thing tells its error: %r" % found[:3])
        server.kill()
        server.start()
        until(lambda: len(parked(server)) >= len(found), "what was parked is seen after a kill")
        for sink in range(SINKS):
            equal(server.post("/sink/k%d/jam" % sink, [False]).status, 200, "jam")
        before = told(server, wanted)
        true(before, "what is parked does not run by itself")
        decided = 0
        while True:    # what waited behind a parked message or event may be parked in its turn
            items = parked(server)
            if not items and not told(server, wanted):
                break
            for item in items:
                reply = server.post("/parked/%s/retry" % item["id"])
                if reply.status not in (200, 404):
                    raise Fail("retry of %r: %r" % (item, reply))
                decided += reply.status == 200
            until(lambda: parked(server) or not told(server, wanted), lambda: "; ".join(told(server, wanted)[:4]))
        server.kill()
        server.start()
        equal(told(server, wanted), [], "after one more kill")
        note("%d parked, %d retried" % (len(found), decided))


def an_order_that_cannot_be_packed_is_seen_and_redeemed_by_hand(budget, seed, note):
    with Folder() as folder, Server(os.path.join(EXAMPLES, "orders.lua"), folder.join("data"), "--set", "hold=1s",
                                    "--limit", "message_attempts_max=3") as server:
        equal(server.post("/item/pen/restock", [10]).json, 10)
        equal(server.post("/order/paid/place", ["pen", 2]).status, 200)
        equal(server.post("/order/late/place", ["pen", 3]).status, 200)
        equal(server.post("/order/paid/pay", []).status, 200)
        server.kill()    # with a timer pending
        server.start()
        until(lambda: server.get("/order/late").json["status"] == "expired", "the order that was not paid expires")
        equal(server.get("/item/pen").json["stock"], 8, "its goods go back once")
        if parked(server) is None:
            raise Skip("this build has no GET /parked; expiry by timer was seen")
        item = until(lambda: parked(server), "the message that cannot be packed is parked")[0]
        equal([item["kind"], item["from"], item["to"], item["handler"]], ["message", "order/paid", "depot/main", "pack"])
        true("no_boxes" in item["error"], "its error is told: %r" % item)
        equal(server.post("/depot/main/boxes", [5]).json, 5)
        server.kill()
        server.start()
        equal(server.get("/order/paid").json["status"], "paid", "parked work does not run by itself")
        equal([i["id"] for i in until(lambda: parked(server), "it is seen after a kill")], [item["id"]])
        equal(server.post("/parked/%s/retry" % item["id"]).status, 200)
        until(lambda: server.get("/order/paid").json["status"] == "packed", "the order is packed")
        equal(server.post("/parked/%s/retry" % item["id"]).status, 404, "a second retry")
        server.kill()
        server.start()
        equal(parked(server), [], "parked after all")
        equal([server.get("/order/paid").json["packed"], server.get("/depot/main").json["packed"]], [1, 1], "packed")
