#!/usr/bin/env python3
"""What each query's result must be, recomputed from the streams' contents alone. Knows nothing of the engine.

    tests/nexmark/offline.py FOLDER     # of NAME.ndjson: persons, auctions, bids, arrived; prints the results as JSON
    tests/nexmark/offline.py --karimov sum|join FOLDER     # of purchases and ads

A line is { id, time, event }, in the order of the stream. A window of a stream ends when the watermark, the largest event time of
the events before less `late`, reaches its end; an event is late for a window that has ended at its place. At the end of
the input all windows end.
SPDX-License-Identifier: MIT
"""
import collections
import datetime
import json
import os
import sys

LATE_MS, SIZE_MS, SLIDE_MS = 2000, 10000, 2000
KARIMOV_LATE_MS = 0    # as in his benchmark: what is out of order over the end of a window is late
NEAR = ("OR", "ID", "CA")


def milliseconds(value):
    """Of a time as JSON has it: a number, or RFC 3339."""
    if isinstance(value, (int, float)):
        return int(value)
    moment = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return round((moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)).total_seconds() * 1000)


def read(folder, name):
    with open(os.path.join(folder, name + ".ndjson"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def placed(items, late_ms, size_ms, slide_ms, own_time=True):
    """(event, start of a window) for each window an event counts in; and the late events."""
    inside, late, newest = [], [], None
    for item in items:
        at = milliseconds(item["event"]["at"] if own_time else item["time"])
        if not own_time and newest is not None:
            at = max(at, newest)    # the order of the stream is that of arrival: its time does not go back
        first = at // slide_ms * slide_ms
        starts = [first - k * slide_ms for k in range((size_ms + slide_ms - 1) // slide_ms) if first - k * slide_ms + size_ms > at]
        open_starts = [start for start in starts if newest is None or start + size_ms > newest - late_ms]
        inside += [(item["event"], start) for start in open_starts]
        if not open_starts:
            late.append(item["event"])
        newest = at if newest is None else max(newest, at)
    return inside, late


def sums(items, late_ms, size_ms, slide_ms, by, begin, fold, own_time=True):
    """{ (group, from, to): value }"""
    found = {}
    inside, late = placed(items, late_ms, size_ms, slide_ms, own_time)
    for event, start in inside:
        place = (event[by] if by else "", start, start + size_ms)
        found[place] = fold(found.get(place, begin), event)
    return found, late


def count(n, event):
    return n + 1


def results(persons, auctions, bids, arrived):
    """Each query's result as a sorted list of tuples."""
    out = {}
    out["q1"] = sorted((b["event"]["auction"], b["event"]["bidder"], b["event"]["price"] * 908 // 1000,
                        milliseconds(b["event"]["at"])) for b in bids)
    known = {p["event"]["person"]: p["event"] for p in persons}
    out["q3"] = sorted((known[a["person"]]["name"], known[a["person"]]["city"], known[a["person"]]["state"], a["auction"])
                       for a in (item["event"] for item in auctions)
                       if a["category"] == 10 and a["person"] in known and known[a["person"]]["state"] in NEAR)
    counts, late = sums(bids, LATE_MS, SIZE_MS, SLIDE_MS, "auction", 0, count)
    out["counts"] = sorted((*place, n) for place, n in counts.items())
    out["counts_late"] = sorted((b["auction"], b["bidder"], b["price"], milliseconds(b["at"])) for b in late)
    hot = {}
    for (name, _, to), n in counts.items():
        best = hot.get(to, (0, ""))
        if n > best[0] or (n == best[0] and name < best[1]):
            hot[to] = (n, name)
    out["hot"] = sorted((to, name, n) for to, (n, name) in hot.items())
    highest, _ = sums(bids, LATE_MS, SIZE_MS, SIZE_MS, None, 0, lambda most, b: max(most, b["price"]))
    out["q7"] = sorted((start, to, price) for (_, start, to), price in highest.items())
    sellers = collections.defaultdict(list)
    for a, start in placed(auctions, LATE_MS, SIZE_MS, SIZE_MS)[0]:
        sellers[a["person"], start].append(a["auction"])
    out["q8"] = sorted((p["person"], start, start + SIZE_MS, name) for p, start in placed(persons, LATE_MS, SIZE_MS, SIZE_MS)[0]
                       for name in sellers[p["person"], start])
    arrivals, _ = sums(arrived, 0, SIZE_MS, SIZE_MS, "bidder", 0, count, own_time=False)
    out["q12"] = sorted((*place, n) for place, n in arrivals.items())
    return out


def karimov_sum(purchases, ads):
    found, _ = sums(purchases, KARIMOV_LATE_MS, 8000, 4000, "pack", (0, 0), lambda s, e: (s[0] + e["price"], s[1] + 1))
    return sorted((*place, *row) for place, row in found.items())


def karimov_join(purchases, ads):
    """Each pair once for each window that both lie in."""
    shown = collections.defaultdict(list)
    for a, start in placed(ads, KARIMOV_LATE_MS, 8000, 4000)[0]:
        shown[a["user"], a["pack"], start].append(milliseconds(a["at"]))
    return sorted((p["user"], p["pack"], start, start + 8000, p["price"], milliseconds(p["at"]), at)
                  for p, start in placed(purchases, KARIMOV_LATE_MS, 8000, 4000)[0] for at in shown[p["user"], p["pack"], start])


if __name__ == "__main__" and sys.argv[1] == "--karimov":
    json.dump({"sum": karimov_sum, "join": karimov_join}[sys.argv[2]](*(read(sys.argv[3], n) for n in ("purchases", "ads"))), sys.stdout)
elif __name__ == "__main__":
    json.dump(results(*(read(sys.argv[1], name) for name in ("persons", "auctions", "bids", "arrived"))), sys.stdout)
