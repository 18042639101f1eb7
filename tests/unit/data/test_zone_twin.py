#!/usr/bin/env python3
"""Compares our time zones with Python's zoneinfo: every zone of this system, offsets at random instants and
around changes, local times with gaps and folds.

    test_zone_twin.py PROBE [--seed N] [--zone NAME]

SPDX-License-Identifier: MIT
"""
import argparse
import datetime
import os
import random
import subprocess
import sys

try:
    import zoneinfo
except ImportError:
    zoneinfo = None

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1)
FOLDERS = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo")  # as src/core/zone_load.c has them
FIRST, LAST = -2 * 10**9, 4102444800 + 10**9  # 1906 to 2131


def offset(zone, at):
    moment = datetime.datetime.fromtimestamp(at, UTC) if at >= 0 else EPOCH.replace(tzinfo=UTC) + \
        datetime.timedelta(seconds=at)
    return int(moment.astimezone(zone).utcoffset().total_seconds())


def instants(zone, local):
    """(fit, first, last) of a local time, by asking both folds."""
    naive = EPOCH + datetime.timedelta(seconds=local)
    found = sorted({at for fold in (0, 1)
                    for at in [local - int(zone.utcoffset(naive.replace(fold=fold)).total_seconds())]
                    if at + offset(zone, at) == local})
    if len(found) == 2:
        return "fold", found[0], found[1]
    if found:
        return "once", found[0], found[0]
    # A gap: the first instant at which the clock shows more.
    low, high = local - 100000, local + 100000
    while high - low > 1:
        middle = (low + high) // 2
        if middle + offset(zone, middle) >= local:
            high = middle
        else:
            low = middle
    return "gap", high, high


def change_between(zone, low, high):
    """An instant at which the offset changes; None where both ends have the same."""
    if offset(zone, low) == offset(zone, high):
        return None
    before = offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


def questions(zone, draw):
    for _ in range(12):
        at = draw.randrange(FIRST, LAST)
        yield "at", at
        yield "local", at
    for _ in range(4):
        at = draw.randrange(0, LAST)
        change = change_between(zone, at, at + 180 * 86400)
        if change is None:
            continue
        for near in (-1, 0, 1):
            yield "at", change + near
        for side in (offset(zone, change - 1), offset(zone, change)):
            for near in (-1800, -1, 0, 1, 1799):
                yield "local", change + side + near


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("probe")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--zone")
    options = parser.parse_args()
    folder = next((f for f in FOLDERS if os.path.exists(os.path.join(f, "Europe/Berlin"))), None)
    if zoneinfo is None or folder is None:
        print("SKIPPED: %s" % ("Python has no zoneinfo (3.9 and newer do)" if zoneinfo is None else
                               "this system has no tzdata (package tzdata)"))
        print("0 passed, 0 failed, 1 skipped")
        return 77
    # Only the system's files: not those of Python's own package, which may be of another year.
    zoneinfo.reset_tzpath([folder])
    names = [options.zone] if options.zone else sorted(
        name for name in zoneinfo.available_timezones() if os.path.exists(os.path.join(folder, name)))
    asked, expected, where = [], [], []
    for name in names:
        zone = zoneinfo.ZoneInfo(name)
        draw = random.Random(f"{options.seed} {name}")
        asked.append(f"zone {name}")
        expected.append("ok")
        where.append(name)
        for kind, n in questions(zone, draw):
            asked.append(f"{kind} {n}")
            expected.append(str(offset(zone, n)) if kind == "at" else "%s %d %d" % instants(zone, n))
            where.append(name)
    answer = subprocess.run([options.probe], input="\n".join(asked) + "\n", capture_output=True, text=True,
                            timeout=60)
    got = answer.stdout.splitlines()
    bad = {}
    for name, question, want, have in zip(where, asked, expected, got + ["nothing"] * len(asked)):
        if want != have:
            bad.setdefault(name, f"{question}: Python {want}, we {have}")
    for name, what in list(bad.items())[:10]:
        print(f"{name}: {what}\n  replay: {sys.argv[0]} {options.probe} --seed {options.seed} --zone {name}")
    failed = len(bad)
    if answer.returncode != 0 or len(got) != len(asked) or (not options.zone and len(names) < 100):
        print(f"probe: exit {answer.returncode}, {len(got)} answers of {len(asked)}, {len(names)} zones")
        failed = max(failed, 1)
    folds, gaps = (sum(e.startswith(word) for e in expected) for word in ("fold", "gap"))
    print(f"{len(names)} zones, {len(asked)} questions, {folds} in folds, {gaps} in gaps, seed {options.seed}")
    # a zone is a test
    print(f"{max(len(names) - failed, 0)} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
