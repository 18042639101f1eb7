"""Nexmark's events from a seed, in the order of arrival: out of order by a bounded disorder, a few beyond it.

SPDX-License-Identifier: MIT
"""
import random

BASE_MS = 1_700_000_000_000
STATES = ("OR", "ID", "CA", "NY", "WA", "TX")
CITIES = ("Phoenix", "Portland", "Boise", "Kent", "Bend", "Seattle")


def events(seed, count, gap_ms=20, disorder_ms=1500, late_ms=20000, late_share=0.01):
    """(stream, event) each. Who has an auction may come after it: both orders occur."""
    choose = random.Random(seed)
    people = auctions = 0
    for n in range(count):
        at = BASE_MS + n * gap_ms - choose.randrange(disorder_ms)
        if choose.random() < late_share:
            at -= choose.randrange(late_ms)
        turn = n % 50
        if turn == 0:
            people += 1
            yield "persons", {"person": "p%d" % people, "name": "name %d" % people, "city": choose.choice(CITIES),
                              "state": choose.choice(STATES), "at": at}
        elif turn < 4:
            auctions += 1
            # Some sellers are not known yet.
            yield "auctions", {"auction": "a%d" % auctions, "person": "p%d" % choose.randrange(max(1, people - 8), people + 3),
                               "category": choose.randrange(10, 15), "at": at}
        else:
            hot = auctions - auctions % 10 or 1
            name = hot if choose.random() < 0.5 else choose.randrange(max(1, auctions - 100), auctions + 1)
            yield "bids", {"auction": "a%d" % name, "bidder": "p%d" % choose.randrange(max(1, people - 100), people + 1),
                           "price": int(100 * 10 ** (choose.random() * 4)), "at": at}
