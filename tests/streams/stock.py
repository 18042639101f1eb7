#!/usr/bin/env python3
"""A stock Redis client library (redis-py) on a stream while the server is killed; test_stock.py starts it.

    stock.py produce PORTFILE KEYS EVENTS    each key's events are numbered 1, 2, 3 ...; what was lost is sent again
    stock.py consume PORTFILE EVENTS         a worker of the group "g", until it has acknowledged as many
    stock.py read PORTFILE                   all from the start: count, sum and last of each key

The port stands in a file, since it changes with each start. Prints one line of JSON.

SPDX-License-Identifier: MIT
"""
import json
import sys
import time

import redis

STREAM = "moved"
CHUNK = 500
AGAIN = (redis.ConnectionError, redis.TimeoutError, OSError, ValueError)  # ValueError: the file is being written
DEADLINE_S = 60


def connect(port_file):
    """A connection to a server that answers."""
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            with open(port_file) as file:
                client = redis.Redis(port=int(file.read()), decode_responses=True, socket_timeout=30)
            client.ping()
            return client
        except (*AGAIN, redis.ResponseError):
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def page(client, after, count=10000):
    """Events behind an id."""
    return [(i, f["account"], int(f["amount"])) for i, f in client.xrange(STREAM, "(" + after if after != "0" else "-", "+", count)]


def produce(port_file, keys, total):
    sent = resent = 0
    numbers = {"r%d" % k: 0 for k in range(keys)}
    client, mark = connect(port_file), "0"
    while sent < total:
        chunk = []
        for n in range(sent, min(sent + CHUNK, total)):
            key = "r%d" % (n % keys)
            numbers[key] += 1
            chunk.append((key, numbers[key]))
        sent += len(chunk)
        left, newest = chunk, mark
        while left:
            try:
                pipe = client.pipeline(transaction=False)
                for key, number in left:
                    pipe.xadd(STREAM, {"account": key, "amount": number})
                answers = pipe.execute(raise_on_error=False)
                if any(isinstance(a, Exception) for a in answers):
                    raise redis.ConnectionError(str(answers))
                newest = max(answers, key=lambda i: tuple(map(int, i.split("-"))))
                left = []
            except AGAIN:
                # Which of them are there? All of this chunk lie behind what was the newest before it.
                client, at = connect(port_file), mark
                while True:
                    try:
                        there = page(client, at)
                    except AGAIN:
                        client = connect(port_file)
                        continue
                    if not there:
                        break
                    at = newest = there[-1][0]
                    found = {(key, number) for _, key, number in there}
                    left = [e for e in left if e not in found]
                resent += len(left)
        mark = newest
    return {"sent": sent, "resent": resent}


def consume(port_file, total):
    seen, last, again, disorder = set(), {}, 0, 0
    client, at = connect(port_file), "0"
    end = time.monotonic() + DEADLINE_S
    while len(seen) < total and time.monotonic() < end:
        try:
            answer = client.xreadgroup("g", "worker", {STREAM: at}, count=200, block=200)
            entries = answer[0][1] if answer else []
            if not entries:
                at = ">"
                continue
            end = time.monotonic() + DEADLINE_S
            for i, fields in entries:
                key, number = fields["account"], int(fields["amount"])
                if i in seen:
                    again += 1
                    continue
                seen.add(i)
                disorder += number != last.get(key, 0) + 1
                last[key] = number
            client.xack(STREAM, "g", *[i for i, _ in entries])
        except AGAIN:
            client, at = connect(port_file), "0"  # what was delivered and not acknowledged comes once more
        except redis.ResponseError as error:
            if str(error).split()[0] not in ("UNKNOWN", "TIMEOUT", "OVERLOADED", "LOADING", "SHUTDOWN"):
                raise
            client, at = connect(port_file), "0"
    return {"seen": len(seen), "again": again, "disorder": disorder, "last": last}


def read(port_file):
    client, at, model, disorder = connect(port_file), "0", {}, 0
    while True:
        there = page(client, at)
        if not there:
            return {"model": model, "disorder": disorder}
        for i, key, number in there:
            one = model.setdefault(key, [0, 0, 0])
            disorder += number != one[2] + 1
            model[key] = [one[0] + 1, one[1] + number, number]
        at = there[-1][0]


def main():
    what, words = sys.argv[1], sys.argv[2:]
    run = {"produce": produce, "consume": consume, "read": read}[what]
    print(json.dumps(run(words[0], *map(int, words[1:]))))


if __name__ == "__main__":
    main()
