"""examples/voter.lua against a replay in Python that counts the calls one by one.

SPDX-License-Identifier: MIT
"""
import os
import random

from common import PATIENT, send_through, until
from harness import EXAMPLES, Folder, Server, equal

CONTESTANTS, LIMIT, RECENT = 6, 2, 100


def calls(choose, count):
    """As VoltDB's PhoneCallGenerator: areas have favourites, half choose freely, 1 in 100 a number that is nobody's.
    Here 1 in 10 calls comes from a phone that has called before."""
    areas = [(200 + i, choose.randint(1, CONTESTANTS) if choose.random() < 0.7 else 1) for i in range(300)]
    made = []
    for _ in range(count):
        area, favourite = choose.choice(areas)
        phone = "%d%07d" % (area, choose.randrange(10**7))
        if made and choose.random() < 0.1:
            phone = choose.choice(made)[0]
        contestant = favourite if choose.random() < 0.5 else choose.randint(1, CONTESTANTS)
        made.append((phone, 999 if choose.random() < 0.01 else contestant))
    return made


def best(points, sign):
    return sorted(points, key=lambda c: (-sign * points[c], c))[:3]


def replay(made, every):
    """The row and the boards as they must be."""
    tally, ballots, recent, boards = {c: 0 for c in range(1, CONTESTANTS + 1)}, {}, [], {}
    row = {"counted": 0, "unknown": 0, "over": 0, "running": False}

    def ranks():
        trend = {}
        for c in recent:
            if c in tally:
                trend[c] = trend.get(c, 0) + 1
        return {"top": best(tally, 1), "bottom": best(tally, -1), "trending": best(trend, 1)}

    for phone, contestant in made:
        if contestant not in tally:
            row["unknown"] += 1
            continue
        if sum(ballots.get((c, phone), 0) for c in tally) >= LIMIT:
            row["over"] += 1
            continue
        row["counted"] += 1
        tally[contestant] += 1
        ballots[contestant, phone] = ballots.get((contestant, phone), 0) + 1
        recent = (recent + [contestant])[-RECENT:]
        row.update(ranks())
        if row["counted"] % every == 0:
            out = returned = 0
            if len(tally) > 1:
                out = row["bottom"][0]
                gone = [key for key in ballots if key[0] == out]
                returned = sum(ballots.pop(key) for key in gone)
                del tally[out]
                row.update(ranks())
            boards[row["counted"]] = {**ranks(), "out": out, "returned": returned}
    return row, boards, tally


def voted(budget, seed, note, kills):
    choose = random.Random(seed)
    count = 900 if budget < 30 else int(budget * 150)
    every = min(2000, count // 12)    # one that leaves takes its ballots along, of which a transaction reaches 10,000
    made = calls(choose, count)
    with Folder() as folder, Server(os.path.join(EXAMPLES, "voter.lua"), folder.join("data"), "--set",
                                    "every=%d" % every, "--shards", 2, *PATIENT) as server:
        server.post("/show/live/open", [CONTESTANTS])
        commands = [("CALL.ONCE", "call-%d" % i, "show", "live", "vote", phone, contestant)
                    for i, (phone, contestant) in enumerate(made)]
        send_through(server, commands, [choose.randrange(count) for _ in range(kills)])

        def counted():
            row = server.get("/show/live").json
            return row if row["counted"] + row["unknown"] + row["over"] == count and not row["running"] else None
        row = until(counted, lambda: "all %d calls counted: %s" % (count, server.get("/show/live")), 120)
        wanted, boards, tally = replay(made, every)
        found = {r["key"]: r["value"] for r in server.get("/show/live/boards?limit=1000").json}
        equal(sorted(found), sorted(boards), "votes with a leaderboard")
        for n in boards:
            equal(found[n], boards[n], "the leaderboard after %d votes" % n)
        equal(row, wanted, "the show")
        equal({r["key"]: r["value"] for r in server.get("/show/live/tally").json}, tally, "the tally")
        note("%d calls, %d leaderboards, %d kills" % (count, len(boards), kills))


def voters_leaderboard_equals_a_serial_replay(budget, seed, note):
    voted(budget, seed, note, 0)


def voters_leaderboard_equals_a_serial_replay_over_kills(budget, seed, note):
    voted(budget, seed + 1, note, 3 if budget < 30 else 20)
