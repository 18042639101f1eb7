#!/usr/bin/env python3
"""Computes all windows and joins of app.lua from the two input files, knowing nothing of Weir.

    offline.py BUYS.ndjson ADS.ndjson    prints { stream: [rows] } as JSON; rows are dictionaries, times in milliseconds

The order of the lines is the order of the stream. The watermark at a line is the largest time of the lines before it,
less what the window allows as lateness; a line is late for a window that ends at or before its watermark.

SPDX-License-Identifier: MIT
"""
import collections
import json
import sys

NEVER = float("-inf")


def lines(path):
    """Events with `seen`, the largest time before them, and their place."""
    events, seen = [], NEVER
    with open(path) as file:
        for place, line in enumerate(file):
            event = json.loads(line)
            event["seen"], event["place"] = seen, place
            seen = max(seen, event["at"])
            events.append(event)
    return events


def plain(event):
    return {k: v for k, v in event.items() if k not in ("seen", "place")}


def spans(at, size, slide):
    """Starts of the windows that hold a time."""
    start = at // slide * slide
    while start > at - size:
        yield start
        start -= slide


def windows(events, by, size, slide, late):
    """{ (group, start): events } and those that are late for all of their windows."""
    held, lost = collections.defaultdict(list), []
    for e in events:
        open_spans = [s for s in spans(e["at"], size, slide) if s + size > e["seen"] - late]
        for start in open_spans:
            held[tuple(e[k] for k in by), start].append(e)
        if not open_spans:
            lost.append(dict(plain(e), why="late"))
    return held, lost


def rows_of(held, by, size, columns):
    rows = []
    for (group, start), events in held.items():
        row = dict(zip(by, group), **{"from": start, "to": start + size, "final": True})
        row.update(columns(events))
        rows.append(row)
    return rows


def count_total(events):
    return {"n": len(events), "total": sum(e["price"] for e in events)}


def spend(events):
    prices = [e["price"] for e in events]
    in_time = sorted(events, key=lambda e: (e["at"], e["place"]))
    return dict(count_total(events), least=min(prices), most=max(prices), mean=sum(prices) / len(prices),
                opened=in_time[0]["pack"], closed=in_time[-1]["pack"], packs=len({e["pack"] for e in events}),
                best=sorted(prices, reverse=True)[:3])


def sessions(events, gap, late):
    """Sessions of each user: [from, to, events]; what has ended at an event's watermark is not touched any more."""
    made, lost = collections.defaultdict(list), []
    for e in events:
        low, start, end, members = e["seen"] - late, e["at"], e["at"] + gap, [e]
        touched = [s for s in made[e["user"]] if s[1] > low and s[0] < end and e["at"] < s[1]]
        if not touched and end <= low:
            lost.append(dict(plain(e), why="late"))
            continue
        for s in touched:
            made[e["user"]].remove(s)
            start, end, members = min(start, s[0]), max(end, s[1]), members + s[2]
        made[e["user"]].append([start, end, members])
    rows = [dict({"user": user, "from": s[0], "to": s[1], "final": True}, **count_total(s[2])) for user in made for s in made[user]]
    return rows, lost


def recent(events, span, late):
    lost = [dict(plain(e), why="late") for e in events if e["at"] < e["seen"] - late]
    groups = collections.defaultdict(list)
    for e in events:
        if e["at"] >= e["seen"] - late:
            groups[e["user"], e["pack"]].append(e)
    rows = []
    for (user, pack), members in groups.items():
        for e in members:
            inside = [o for o in members if e["at"] - span < o["at"] <= e["at"]]
            rows.append(dict({"user": user, "pack": pack, "from": e["at"] - span, "to": e["at"], "final": True}, **count_total(inside)))
    return rows, lost


def early(events, size, late):
    """A row at each event, and the last."""
    held, lost, rows = collections.Counter(), [], []
    for e in events:
        start = e["at"] // size * size
        if start + size <= e["seen"] - late:
            lost.append(dict(plain(e), why="late"))
            continue
        held[start] += 1
        rows.append({"from": start, "to": start + size, "final": False, "n": held[start]})
    rows += [{"from": start, "to": start + size, "final": True, "n": n} for start, n in held.items()]
    return rows, lost


def amended(events, by, size, slide, late, correct):
    """A row of all that came in time, and one more for each event that came up to `correct` later."""
    held, lost, rows = collections.defaultdict(list), [], []
    for e in events:
        low = e["seen"] - late
        starts = [s for s in spans(e["at"], size, slide) if s + size + correct > low]
        for start in starts:
            held[e[by], start].append((start + size > low, e))
        if not starts:
            lost.append(dict(plain(e), why="late"))
    for (group, start), members in held.items():
        timely = sum(in_time for in_time, _ in members)
        for revision, count in enumerate(range(timely or 1, len(members) + 1)):
            rows.append(dict({by: group, "from": start, "to": start + size, "final": True, "revision": revision},
                             **count_total([e for _, e in members[:count]])))
    return rows, lost


def join(left, right, by, late, takes, pairs):
    """Pairs of equal groups; each side is late by its own watermark."""
    lost = [{"side": side, "event": plain(e), "why": "late"} for side, events in (("left", left), ("right", right))
            for e in events if not takes(e, e["seen"] - late)]
    groups = collections.defaultdict(list)
    for r in right:
        if takes(r, r["seen"] - late):
            groups[tuple(r[k] for k in by)].append(r)
    rows = []
    for l in left:
        if takes(l, l["seen"] - late):
            for r, more in pairs(l, groups[tuple(l[k] for k in by)]):
                rows.append(dict({k: l[k] for k in by}, left=plain(l), right=plain(r), **more))
    return rows, lost


def within(distance):
    return lambda l, rights: [(r, {"time": max(l["at"], r["at"])}) for r in rights if abs(l["at"] - r["at"]) <= distance]


def in_window(size, late):
    def pairs(l, rights):
        start = l["at"] // size * size
        return [(r, {"time": start + size - 1, "from": start, "to": start + size}) for r in rights if r["at"] // size * size == start]
    return pairs


def newest(l, rights):
    before = [r for r in rights if r["at"] <= l["at"]]
    return [(max(before, key=lambda r: (r["at"], r["place"])), {"time": l["at"]})] if before else []


def main():
    buys, ads = lines(sys.argv[1]), lines(sys.argv[2])
    out = {}
    held, out["spend_late"] = windows(buys, ["user"], 10000, 10000, 2000)
    out["spend"] = rows_of(held, ["user"], 10000, spend)
    held, out["hop_late"] = windows(buys, ["pack"], 8000, 4000, 1000)
    out["hop"] = rows_of(held, ["pack"], 8000, count_total)
    out["visit"], out["visit_late"] = sessions(buys, 3000, 1000)
    out["recent"], out["recent_late"] = recent(buys, 5000, 1000)
    out["everyone"], out["everyone_late"] = early(buys, 10000, 2000)
    out["amended"], out["amended_late"] = amended(buys, "user", 6000, 3000, 1000, 5000)
    dear = [e for e in buys if e["price"] > 500]
    held, out["dear_late"] = windows(dear, ["user"], 10000, 10000, 2000)
    out["dear"] = rows_of(held, ["user"], 10000, lambda events: {"path": "".join(e["pack"] + ";" for e in events)})
    # Over results: a result's time is its last moment, and none is late.
    groups = collections.defaultdict(list)
    for row in out["hop"]:
        groups[(row["to"] - 1) // 4000 * 4000].append(row)
    out["hottest"] = [{"from": start, "to": start + 4000, "final": True, "most": max(r["total"] for r in rows), "packs": len(rows)}
                      for start, rows in groups.items()]
    out["hottest_late"] = []
    timely = lambda e, low: e["at"] >= low
    out["hits"], out["hits_late"] = join(ads, buys, ["user", "pack"], 2000, timely, within(2000))
    groups = collections.defaultdict(list)
    for row in out["hits"]:
        groups[row["left"]["pack"], row["left"]["user"], row["time"] // 10000 * 10000].append(row)
    out["campaigns"] = [{"pack": pack, "whose": user, "from": start, "to": start + 10000, "final": True,
                         "spent": sum(r["right"]["price"] for r in rows), "dearest": max(r["right"]["price"] for r in rows),
                         "ads": len({r["left"]["campaign"] for r in rows})} for (pack, user, start), rows in groups.items()]
    out["campaigns_late"] = []
    out["slots"], out["slots_late"] = join(ads, buys, ["user", "pack"], 1000, lambda e, low: e["at"] // 4000 * 4000 + 4000 > low,
                                           in_window(4000, 1000))
    out["cause"], out["cause_late"] = join(buys, ads, ["user"], 2000, timely, newest)
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
