"""Windows and joins declared in C: embedded.c through kills and other numbers of shards.

SPDX-License-Identifier: MIT
"""
import os
import subprocess
import time

import harness
from harness import Fail, Skip, equal, test

CARDS = 5
DEADLINE_S = 60
REFUSED = ["window tens: its row has no member for the column `card`", 'window tens: a duration is written \\"90s\\" or \\"1h30m\\"',
           "window tens: it has one of `size` (with `slide` or without), `gap` and `last`",
           "window tens: a stream that it looks at was not added before it", "join pairs: its row has no member for the column `card`",
           "join pairs: the member `amount` of its row: whole numbers are int64_t, texts struct weir_str",
           "join pairs: `by` names the fields that must be equal"]


def program(*words):
    path = os.path.join(harness.BUILD, "tests", "windows", "windows_embedded")
    if not os.path.exists(path):
        raise Skip("libweir is not built")
    return [path, *map(str, words)]


def start(*words):
    return subprocess.Popen(program(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def cards(process):
    """What it prints next: a list of numbers for each card."""
    rows = []
    for line in iter(process.stdout.readline, ".\n"):
        if not line or line.startswith("error"):
            raise Fail("the program ended: %r" % line)
        rows.append([int(word) for word in line.split()])
    return rows


def wanted():
    """Of events 0 to 129, then 3 once more, then 200, which nothing but closes what was there."""
    rows = []
    for card in range(CARDS):
        mine = [i for i in range(130) if i % CARDS == card]
        windows = {}
        for i in mine:
            windows.setdefault(i // 10, []).append(i)
        paired = mine + [200] * (card == 0)
        rows.append([len(windows), len(mine), sum(mine), sum(map(max, windows.values())), sum(i % 2 for i in mine), len(paired),
                     sum(i + 1 for i in paired), 3 * (card == 3)])
    return rows


@test
def c_tables_declare_windows_and_joins(folder):
    data, process = folder.join("d"), None
    for shards, first, last in ((2, 0, 60), (3, 60, 130), (1, 3, 4), (4, 200, 201)):
        process = start(data, shards, first, last)
        rows = cards(process)
        if last == 201:
            break
        process.kill()
        process.wait(30)
    deadline = time.monotonic() + DEADLINE_S
    while rows != wanted() and time.monotonic() < deadline:
        process.stdin.write("\n")
        process.stdin.flush()
        rows = cards(process)
    equal(rows, wanted(), "what C handlers made of results")
    process.stdin.close()
    equal(process.wait(60), 0, "its end")
    # And it stays so: each result came once.
    process = start(data, 2, "state")
    equal(cards(process), wanted(), "after another start")
    process.stdin.close()
    equal(process.wait(60), 0)


@test
def what_is_wrong_in_c_tables_is_told(folder):
    done = subprocess.run(program(folder.join("d"), 1, "wrong"), capture_output=True, text=True, timeout=60)
    equal((done.returncode, done.stdout.splitlines()), (0, ['"%s"' % line for line in REFUSED]))
