"""Stock clients, redis-py and curl, produce and consume many events while the server is killed.

SPDX-License-Identifier: MIT
"""
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time

from harness import Fail, Server, Skip, equal, test, true
from killer import Killer
from test_http import until

HERE = os.path.dirname(os.path.abspath(__file__))
OPTIONS = None  # run.py's
KEYS = 25
BODY = 5000


def python_with_redis():
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import redis"], capture_output=True).returncode == 0:
            return python
    raise Skip("there is no Python with the package redis (Debian: python3-redis)")


class Worker(threading.Thread):
    """A function that may fail, on a thread."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.call, self.value, self.reason = run, None, None
        self.start()

    def run(self):
        try:
            self.value = self.call()
        except BaseException as reason:
            self.reason = reason

    def result(self):
        self.join()
        if self.reason:
            raise self.reason
        return self.value


def curl_produces(folder, server, total):
    """Bodies of lines; each is sent again under its Idempotency-Key until curl has the answer."""
    again = 0
    body = folder.join("lines")
    numbers = [0] * KEYS
    for first in range(0, total, BODY):
        with open(body, "w") as file:
            for n in range(first, min(first + BODY, total)):
                numbers[n % KEYS] += 1
                file.write('{"account":"c%d","amount":%d}\n' % (n % KEYS, numbers[n % KEYS]))
        end = time.monotonic() + 60
        while True:
            done = subprocess.run(["curl", "-sS", "--max-time", "30", "-w", "\n%{http_code}", "-H", "Content-Type: application/x-ndjson",
                                   "-H", "Idempotency-Key: body-%d" % first, "--data-binary", "@" + body,
                                   "http://127.0.0.1:%d/streams/moved" % server.http], capture_output=True, text=True, timeout=60)
            answer, code = done.stdout.rsplit("\n", 1) if done.returncode == 0 else ("", done.returncode)
            if code == "200":
                equal(json.loads(answer)["count"], min(BODY, total - first), answer)
                break
            true(done.returncode != 0 or code in ("503", "502"), "curl: %s %s %s" % (code, answer, done.stderr))
            true(time.monotonic() < end, "curl has no answer: %s %s" % (code, done.stderr))
            again += 1
            time.sleep(0.02)
    return again


def curl_consumes(server, total):
    """Server-sent events, on from the last one after each kill: count, order by key, times begun."""
    seen, last, disorder, at, begun = 0, {}, 0, None, 0
    end = time.monotonic() + 60
    while seen < total:
        true(time.monotonic() < end, "no event for a minute: %d of %d" % (seen, total))
        begun += 1
        program = subprocess.Popen(["curl", "-sN", "-H", "Accept: text/event-stream", *(["-H", "Last-Event-ID: " + at] if at else []),
                                    "http://127.0.0.1:%d/streams/moved?from=oldest" % server.http], stdout=subprocess.PIPE, text=True)
        try:
            event = None
            for line in program.stdout:
                if line.startswith("id: "):
                    event = line[4:].strip()
                elif line.startswith("data: ") and line.endswith("\n"):
                    data = json.loads(line[6:])
                elif line == "\n" and event:
                    fields = data.get("event", data)
                    key, number = fields["account"], fields["amount"]
                    disorder += number != last.get(key, 0) + 1
                    last[key] = number
                    at, event = event, None
                    seen += 1
                    end = time.monotonic() + 60
                    if seen == total:
                        break
        finally:
            program.kill()
            program.wait()
            program.stdout.close()
        time.sleep(0.02)
    return {"seen": seen, "disorder": disorder, "last": last, "begun": begun}


def curl_reads(server):
    """A read model, page by page."""
    model, disorder, at = {}, 0, "oldest"
    while True:
        done = subprocess.run(["curl", "-sS", "http://127.0.0.1:%d/streams/moved?from=%s&limit=10000" % (server.http, at)],
                              capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, done.stderr)
        page = json.loads(done.stdout)
        if not page["events"]:
            return {"model": model, "disorder": disorder}
        for e in page["events"]:
            one = model.setdefault(e["key"], [0, 0, 0])
            number = e["event"]["amount"]
            disorder += number != one[2] + 1
            model[e["key"]] = [one[0] + 1, one[1] + number, number]
        at = page["next"]


@test
def stock_clients_produce_and_consume_exactly_under_kills(folder):
    if not shutil.which("curl"):
        raise Skip("there is no curl")
    python = python_with_redis()
    draw = random.Random(OPTIONS.seed)
    half = OPTIONS.events // 2
    total = 2 * half
    port_file = folder.join("port")
    with Server(os.path.join(HERE, "stock.lua"), folder.join("d"), "--shards", "2", "--limit", "checkpoint_bytes_min=8388608") as server:
        def write_port():
            with open(port_file + ".new", "w") as file:
                file.write(str(server.resp))
            os.rename(port_file + ".new", port_file)

        def redis_py(*words):
            done = subprocess.run([python, os.path.join(HERE, "stock.py"), *map(str, words)], capture_output=True, text=True)
            if done.returncode != 0:
                raise Fail("stock.py %s: %s" % (words[0], done.stderr))
            return json.loads(done.stdout)

        def emitted():
            try:
                return server.connect().ask("XLEN", "moved")
            except (OSError, AttributeError):
                return 0

        write_port()
        equal(server.connect().ask("XGROUP", "CREATE", "moved", "g", "0"), "OK")
        begin = time.monotonic()
        killer = Killer(server, draw, max(1.5, total / 60000), write_port)
        try:
            workers = [Worker(lambda: redis_py("produce", port_file, KEYS, half)), Worker(lambda: curl_produces(folder, server, half)),
                       Worker(lambda: redis_py("consume", port_file, total)), Worker(lambda: curl_consumes(server, total))]
            for part in (1, 2):
                until(lambda: emitted() >= total * part // 3 or killer.kills >= part, "a third of the events")
                killer.once()
            produced, again, worker, listener = [w.result() for w in workers]
        finally:
            killer.end()
        took = time.monotonic() - begin
        true(killer.kills >= 2, "kills fell into the run: %d" % killer.kills)
        equal(produced["sent"], half)
        # each key's events are 1, 2, 3 ... without a gap, for who listened meanwhile ...
        last = {kind + str(k): half // KEYS + (k < half % KEYS) for kind in "rc" for k in range(KEYS)}
        equal((worker["seen"], worker["disorder"], worker["last"]), (total, 0, last), "the worker of the group")
        equal((listener["seen"], listener["disorder"], listener["last"]), (total, 0, last), "the listener")
        c = server.connect()
        group, = c.ask("XINFO", "GROUPS", "moved")
        group = dict(zip(group[::2], group[1::2]))
        equal((group["pending"], group["lag"], c.ask("XLEN", "moved")), (0, 0, total))
        # ... and for who comes late and reads from the start
        model = {key: [n, n * (n + 1) // 2, n] for key, n in last.items()}
        late = time.monotonic()
        equal(redis_py("read", port_file), {"model": model, "disorder": 0}, "read model over Redis")
        equal(curl_reads(server), {"model": model, "disorder": 0}, "read model over curl")
        late = time.monotonic() - late

        def rows():
            return {key: server.get("/account/" + key).json for key in model}
        until(lambda: sum(r.get("seen", 0) for r in rows().values()) == total, "the follower has seen all")
        equal({key: [r["seen"], r["sum"], r["last"]] for key, r in rows().items()}, model, "the follower")
        equal(sum(r["disorder"] for r in rows().values()), 0, "the follower's order")
        print("     %d events by redis-py and curl in %.0f s, %d kills; %d sent again by redis-py, %d bodies by curl, %d given again to "
              "the worker, %d times listened; two late readers %.0f s"
              % (total, took, killer.kills, produced["resent"], again, worker["again"], listener["begun"], late))
