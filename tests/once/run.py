#!/usr/bin/env python3
"""Exactly once, against the real binary under kill -9, over RESP (CALL.ONCE) and HTTP (Idempotency-Key).

Sources send inputs with unique ids. Each accepted input must be in four places as often as the answer says: in the
ledger's audit list, in a total on another shard, in the output that a message reaches, and, where it set one, in a
fired timer. Compared at the end: what was sent, acknowledged, is in the state, is in the outputs; and the order of
each source. An input without an id whose connection is lost is unknown: 0 or 1, the same in every place.

    tests/once/run.py [--build DIR] [--inputs N] [--seed N] [--only WORD]

SPDX-License-Identifier: MIT
"""
import argparse
import collections
import glob
import json
import os
import random
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import harness  # noqa: E402
from harness import Fail, Resp, RespError, Server, equal, true  # noqa: E402

APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "once.lua")
INPUTS, SOURCES, LEDGERS, WINDOW, KILL_EVERY = 3600, 12, 4, 8, 500
DEADLINE = 60
OPTIONS = None


class Http:
    """One HTTP connection, one request at a time; gives status and the body's bytes."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, path, arguments, key=None):
        body = json.dumps(arguments).encode()
        head = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n" % (
            path, len(body), "Idempotency-Key: %s\r\n" % key if key else "")
        self.socket.sendall(head.encode() + body)

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        length = 0
        while True:
            header = self.file.readline()
            if header == b"\r\n":
                break
            if not header:
                raise ConnectionError("closed")
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self.file.read(length)
        if len(body) != length:
            raise ConnectionError("closed")
        return int(line.split()[1]), body

    def close(self):
        self.file.close()
        self.socket.close()


class Input:
    def __init__(self, source, n, choice):
        self.source, self.n = source, n
        self.id = "%s-%d" % (source, n)
        self.has_key = choice.random() < 0.85
        self.is_bad = choice.random() < 0.05
        self.delay = choice.randrange(1, 1500) if choice.random() < 0.1 else 0
        self.payload = ("refuse" if self.is_bad else "accept") + "x" * choice.randrange(0, 200)
        self.ledger = "l%d" % (int(source[1:]) % LEDGERS)
        self.outcome = None  # ok, refused, unknown
        self.is_loose = False  # in flight when one before it was turned away: it may overtake that
        self.turned_away = []
        self.answer = None

    def arguments(self, payload=None):
        return [self.id, self.source, self.n, self.delay, payload or self.payload]

    def command(self, payload=None):
        head = ["CALL.ONCE", self.id] if self.has_key else ["CALL"]
        return [*head, "ledger", self.ledger, "take", *self.arguments(payload)]


class Door:
    """A source's way in. take() reads one answer: (ok | refused | idempotency | busy | unknown, bytes)."""

    def __init__(self, world, is_http):
        self.is_http = is_http
        self.connection = Http(world.server.http) if is_http else Resp(world.server.resp)

    def send(self, item, payload=None):
        if self.is_http:
            self.connection.send("/ledger/%s/take" % item.ledger, item.arguments(payload), item.id if item.has_key else None)
        else:
            self.connection.send(item.command(payload))

    def take(self):
        if self.is_http:
            status, body = self.connection.read()
            if status == 200:
                return "ok", body
            word = json.loads(body).get("code")
        else:
            answer = self.connection.read()
            if not isinstance(answer, RespError):
                return "ok", answer
            body, word = answer.text, answer.text.split(" ")[1 if answer.code == "APPERR" else 0].lower()
            status = {"refused": 422, "idempotency": 422, "unknown": 504}.get(word, 503)
        kinds = {("refused", 422): "refused", ("idempotency", 422): "idempotency", ("unknown", 504): "unknown",
                 ("loading", 503): "busy", ("shutdown", 503): "busy", ("overloaded", 429): "busy", ("overloaded", 503): "busy"}
        if (word, status) not in kinds:
            raise Fail("seed %d: an answer that no source should get: %s %r" % (OPTIONS.seed, status, body))
        return kinds[word, status], body

    def ask(self, item, payload=None):
        self.send(item, payload)
        return self.take()

    def close(self):
        self.connection.close()


class World:
    """The server, its kills, and what all sources share."""

    def __init__(self, folder, shards, choice, kills, inputs):
        self.data = folder.join("data")
        self.server = Server(APP, self.data, "--shards", shards, "--threads", shards, "--limit", "checkpoint_bytes_min=300000",
                             *harness.patience())
        for door in ("--resp", "--http"):
            self.server.command[self.server.command.index(door) + 1] = "127.0.0.1:%d" % (
                self.server.resp if door == "--resp" else self.server.http)
        self.lock, self.died = threading.Lock(), threading.Event()
        self.choice, self.answered, self.failure = choice, 0, None
        self.faults = sorted(choice.randrange(inputs // 20, inputs - inputs // 20) for _ in range(kills))
        self.before = [n % 2 == 0 for n in range(kills)]    # of both kinds, in whatever order
        choice.shuffle(self.before)
        self.kills_before = self.kills_after = self.cuts = 0
        self.counts = collections.Counter()

    def kill(self):
        self.server.kill()
        self.died.set()

    def note(self, source):
        """An answer came. At some the server dies: now, or before the source reads its next one."""
        with self.lock:
            self.answered += 1
            if not self.faults or self.answered < self.faults[0] or self.died.is_set():
                return
            self.faults.pop(0)
            if self.before.pop():
                source.is_killer = True
            else:
                self.kills_after += 1
                self.kill()

    def kill_before_answer(self):
        with self.lock:
            if not self.died.is_set():
                self.kills_before += 1
                self.kill()

    def segments(self):
        return sorted(os.path.basename(path) for path in glob.glob(os.path.join(self.data, "log-*")))

    def restart(self):
        self.server.process.stdout.close()
        self.cuts += self.segments()[0] > "log-0000000000000001"
        for attempt in range(50):  # somebody's outgoing connection may sit on the port for a moment
            try:
                self.server.start()
                break
            except Fail:
                if self.server.process.returncode != 78 or attempt == 49:
                    raise
                time.sleep(0.1)
        self.died.clear()

    def info(self, *names):
        client = Resp(self.server.resp)
        text = client.ask("INFO")
        client.close()
        found = dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)
        return [int(found.get(name, -1)) for name in names]

    def settle(self):
        """Until no message and no timer is pending."""
        deadline = time.monotonic() + DEADLINE
        while True:
            messages, timers, lost, late = self.info("messages_pending", "timers_pending", "messages_failed", "timers_failed")
            true(lost == 0 and late == 0, "%d messages and %d timers failed for good" % (lost, late))
            if messages == 0 and timers == 0:
                return
            true(time.monotonic() < deadline, "%d messages, %d timers pending after %d s" % (messages, timers, DEADLINE))


class Source(threading.Thread):
    def __init__(self, world, number, count):
        super().__init__()
        self.world, self.name_, self.is_http = world, "s%d" % number, number % 3 == 2
        self.choice = random.Random(OPTIONS.seed * 1000 + number)
        self.inputs = [Input(self.name_, n, self.choice) for n in range(count)]
        self.next, self.pending = 0, collections.deque()
        self.door = self.other = None
        self.is_killer = False
        self.done = []

    def run(self):
        try:
            while self.next < len(self.inputs) or self.pending:
                try:
                    self.turn()
                except (ConnectionError, OSError, socket.timeout):
                    self.lost()
        except Exception as problem:  # told by the main thread
            self.world.failure = self.world.failure or problem
        finally:
            self.lost()

    def lost(self):
        for door in (self.door, self.other):
            if door:
                try:
                    door.close()
                except OSError:
                    pass
        self.door = self.other = None
        for item in self.pending:
            if not item.has_key:
                item.outcome = "unknown"
        self.pending = collections.deque(item for item in self.pending if item.has_key)

    def connect(self):
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                self.door, self.other = Door(self.world, self.is_http), Door(self.world, self.is_http)
                break
            except OSError:
                if time.monotonic() > deadline or self.world.failure:
                    raise Fail("the server does not come back") from None
        for item in self.pending if not self.is_http else ():
            self.world.counts["resent"] += 1
            self.door.send(item)
        if self.is_http and self.pending:
            self.world.counts["resent"] += 1
            self.door.send(self.pending[0])

    def turn(self):
        if self.door is None:
            self.connect()
        while self.next < len(self.inputs) and len(self.pending) < (1 if self.is_http else WINDOW):
            item = self.inputs[self.next]
            self.next += 1
            self.pending.append(item)
            self.door.send(item)
        head = self.pending[0]
        is_double = head.has_key and not head.is_bad and self.choice.random() < 0.1
        if is_double:  # the same request a second time, while the first runs
            self.other.send(head)
        if self.is_killer:
            self.is_killer = False
            self.world.kill_before_answer()
        outcome, answer = self.door.take()
        if outcome in ("busy", "unknown"):
            self.turned_away(head, answer)
            if not head.has_key and outcome == "unknown":
                head.outcome = "unknown"
                self.pending.popleft()
            raise ConnectionError("again")  # on a new connection, in the old order
        wanted = "refused" if head.is_bad else "ok"
        true(outcome == wanted, "seed %d: input %s was answered %s %r, not %s" % (OPTIONS.seed, head.id, outcome, answer, wanted))
        self.pending.popleft()
        head.outcome, head.answer = outcome, answer
        self.world.note(self)
        if is_double:
            self.same(head, self.other.take(), "doubled")
        if outcome == "ok" and head.has_key:
            self.done.append(head)
        if self.done and self.choice.random() < 0.05:
            item = self.choice.choice(self.done)
            self.same(item, self.other.ask(item), "repeated")
        if self.done and self.choice.random() < 0.03:
            item = self.choice.choice(self.done)
            outcome, answer = self.other.ask(item, "another")
            if outcome in ("busy", "unknown"):
                raise ConnectionError("again")
            equal(outcome, "idempotency", "seed %d: id %s with another payload" % (OPTIONS.seed, item.id))
            self.world.counts["reused"] += 1

    def turned_away(self, head, answer):
        """A server that is loading or overloaded refuses one request and may take the next of the pipeline."""
        self.world.counts["turned away"] += 1
        for item in self.pending:
            item.is_loose = True
            item.turned_away.append("%s %s" % (head.id, answer))

    def same(self, item, got, kind):
        outcome, answer = got
        if outcome in ("busy", "unknown"):
            raise ConnectionError("again")
        equal((outcome, answer), (item.outcome, item.answer), "seed %d: input %s %s" % (OPTIONS.seed, item.id, kind))
        self.world.counts[kind] += 1


def read_all(client, kind, key, handler):
    rows, start = [], 1
    while True:
        page = [dict(zip(row[::2], row[1::2])) if isinstance(row, list) else row
                for row in client.call(kind, key, handler, start)]
        rows += page
        if len(page) < 500:
            return rows
        start += len(page)


def judge(world, sources):
    """The multisets. Returns how many inputs there were of each outcome."""
    client = Resp(world.server.resp)
    ledgers = {"l%d" % i: read_all(client, "ledger", "l%d" % i, "page") for i in range(LEDGERS)}
    outputs = {key: read_all(client, "output", key, "page") for key in ledgers}
    alarms = [row for key in ledgers for row in read_all(client, "ledger", key, "alarm_page")]
    totals = sum(client.call("total", "t%d" % i, "read") for i in range(4))
    client.close()
    where = "seed %d: " % OPTIONS.seed
    in_state = collections.Counter(row["id"] for rows in ledgers.values() for row in rows)
    in_outputs = collections.Counter(row["id"] for rows in outputs.values() for row in rows)
    rang = collections.Counter(row["id"] for row in alarms)
    sent = {item.id: item for source in sources for item in source.inputs}
    outcomes = collections.Counter()
    for item in sent.values():
        outcomes[item.outcome] += 1
        true(item.outcome is not None, where + "input %s has no outcome" % item.id)
        found = in_state[item.id]
        if item.outcome != "unknown":
            equal(found, int(item.outcome == "ok"), where + "effects of input %s, which was answered %s" % (item.id, item.outcome))
        true(found <= (0 if item.is_bad else 1), where + "input %s has %d effects" % (item.id, found))
        equal(in_outputs[item.id], found, where + "outputs of input %s, which is %s" % (item.id, item.outcome))
        equal(rang[item.id], found if item.delay else 0, where + "alarms of input %s, which is %s" % (item.id, item.outcome))
    equal(set(in_state) | set(in_outputs) | set(rang), set(in_state) & set(sent), where + "things that nobody sent")
    equal(totals, sum(in_state.values()), where + "the totals on the other shards")
    early = [row for row in alarms if row["fired"] < row["due"]]
    equal(early, [], where + "timers that fired early")
    for key, rows in ledgers.items():
        # A message follows the order of its sender's commits.
        equal([row["id"] for row in outputs[key]], [row["id"] for row in rows], where + "order of %s in its output" % key)
        last = {}
        for row in rows:
            item = sent[row["id"]]
            if not item.has_key or item.is_loose:
                continue
            true(row["n"] > last.get(row["source"], -1), where + "input %s came after %d" % (row["id"], last.get(row["source"], -1)))
            last[row["source"]] = row["n"]
    loose = sum(item.is_loose for item in sent.values())
    true(loose * 3 <= len(sent), where + "%d of %d inputs may come in any order" % (loose, len(sent)))
    return outcomes, len(alarms)


def multisets(folder, shards, inputs, kills):
    choice = random.Random(OPTIONS.seed + shards)
    world = World(folder, shards, choice, kills, inputs)
    sources = [Source(world, number, inputs // SOURCES) for number in range(SOURCES)]
    begin = time.monotonic()
    with world.server:
        for source in sources:
            source.start()
        for source in sources:
            while source.is_alive():
                if world.died.wait(0.01):
                    world.restart()
        if world.died.is_set():
            world.restart()
        if world.failure:
            raise world.failure
        world.settle()
        seconds = time.monotonic() - begin
        outcomes, alarms = judge(world, sources)
        # All of it again from the disk, and all answers remembered.
        world.kill()
        world.restart()
        world.settle()
        equal(judge(world, sources)[0], outcomes, "outcomes after another restart")
        for source in sources:
            door = Door(world, source.is_http)
            for item in source.done[-20:]:
                equal(door.ask(item), ("ok", item.answer), "seed %d: the answer to %s after the restart" % (OPTIONS.seed, item.id))
            door.close()
        equal(judge(world, sources)[0], outcomes, "outcomes after repeating")
    print("     seed %d, %d shards: %d inputs: %d acknowledged, %d refused, %d unknown; %d timers; %d kills before an answer and "
          "%d after one, %d of the restarts on a cut log; %d resent, %d doubled, %d repeated, %d with another payload, %d turned away; %.0f /s" % (
              OPTIONS.seed, shards, sum(outcomes.values()), outcomes["ok"], outcomes["refused"], outcomes["unknown"], alarms,
              world.kills_before, world.kills_after, world.cuts, world.counts["resent"], world.counts["doubled"],
              world.counts["repeated"], world.counts["reused"], world.counts["turned away"], sum(outcomes.values()) / seconds), flush=True)
    true(outcomes["ok"] >= 0.75 * sum(outcomes.values()), "fewer than 75 % acknowledged")
    true(world.kills_before > 0 and world.kills_after > 0, "not every kind of kill happened")
    for kind in ("resent", "doubled", "repeated", "reused"):
        true(world.counts[kind] > 0, "nothing was %s" % kind)
    true(world.cuts > 0 or inputs < 3000, "the log was never cut")


def inputs_take_effect_once_on_two_shards(folder):
    multisets(folder, 2, OPTIONS.inputs, max(4, OPTIONS.inputs // KILL_EVERY))


def inputs_take_effect_once_on_four_shards(folder):
    multisets(folder, 4, OPTIONS.inputs, max(4, OPTIONS.inputs // KILL_EVERY))


def answers_survive_log_checkpoint_and_cut(folder):
    """The same bytes from the log, from a checkpoint, and from a checkpoint whose log is gone; over both doors."""
    world = World(folder, 2, random.Random(OPTIONS.seed), 0, 1000)
    with world.server:
        items = [Input("s0", n, random.Random(OPTIONS.seed + n)) for n in range(40)]
        for item in items:
            item.has_key, item.is_bad = True, False
            item.payload = "accept"
        doors = [Door(world, False), Door(world, True)]
        for n, item in enumerate(items):
            item.outcome, item.answer = doors[n % 2].ask(item)
            equal(item.outcome, "ok", "an input")

        def again(when):
            doors = [Door(world, False), Door(world, True)]
            for n, item in enumerate(items):
                equal(doors[n % 2].ask(item), ("ok", item.answer), "the answer to %s %s" % (item.id, when))
                equal(doors[n % 2].ask(item, "another")[0], "idempotency", "%s with another payload %s" % (item.id, when))
            for door in doors:
                door.close()
        again("at once")
        equal(world.info("checkpoints_total"), [0], "checkpoints before there is a log for one")
        world.kill()
        world.restart()
        again("from the log")
        filler, n = Resp(world.server.resp), 0
        deadline = time.monotonic() + DEADLINE

        def fill():
            nonlocal n
            filler.send(*[("CALL", "ledger", "l3", "take", "f%d" % (n + i), "f", n + i, 0, "accept") for i in range(100)])
            for _ in range(100):
                true(not isinstance(filler.read(), RespError), "a filler was refused")
            n += 100
            true(time.monotonic() < deadline, "no checkpoint, or no cut, in %d s" % DEADLINE)
        while world.info("checkpoints_total") == [0]:
            fill()
        world.kill()
        world.restart()
        again("from a checkpoint")
        filler = Resp(world.server.resp)
        while world.segments()[0] == "log-0000000000000001":
            fill()
        world.kill()
        world.restart()
        again("from a checkpoint and a cut log")
        client = Resp(world.server.resp)
        equal(len(read_all(client, "ledger", "l0", "page")), 40, "inputs in the state")


def timers_due_while_it_is_down_fire_once_after_it(folder):
    world = World(folder, 4, random.Random(OPTIONS.seed), 0, 1000)
    with world.server:
        client = Resp(world.server.resp)
        # Some due before the kill, most while it is down, some after.
        count, due = 120, 0
        for n in range(count):
            delay = 1 + n * 10
            client.send(("CALL", "ledger", "l%d" % (n % 4), "take", "d%d" % n, "d", n, delay, "accept"))
        for n in range(count):
            true(isinstance(client.read(), str), "an input was refused")
        due = time.time() + count * 10 / 1000 * 0.8
        while world.info("timers_fired_total")[0] < 5:
            pass
        world.kill()
        down = int(time.time() * 1000)
        while time.time() < due:  # the downtime itself is the test
            time.sleep(0.01)
        up = int(time.time() * 1000)
        world.restart()
        world.settle()
        client = Resp(world.server.resp)
        alarms = [row for i in range(4) for row in read_all(client, "ledger", "l%d" % i, "alarm_page")]
        equal(collections.Counter(row["id"] for row in alarms), collections.Counter("d%d" % n for n in range(count)), "alarms")
        equal([row for row in alarms if row["fired"] < row["due"]], [], "timers that fired early")
        missed = [row for row in alarms if down < row["due"] < up]
        true(len(missed) > 10, "only %d timers were due while it was down" % len(missed))
        equal([row for row in missed if row["fired"] < up], [], "timers that fired while it was down")
        equal(world.info("timers_pending"), [0], "timers left")


def an_error_is_not_remembered_and_leaves_nothing(folder):
    """A refused input may be sent again with the same id, and then take effect."""
    world = World(folder, 2, random.Random(OPTIONS.seed), 0, 1000)
    with world.server:
        for is_http in (False, True):
            door, item = Door(world, is_http), Input("s%d" % is_http, 0, random.Random(OPTIONS.seed))
            item.has_key, item.delay, item.payload = True, 50, "refuse"
            equal(door.ask(item)[0], "refused", "an input that is refused")
            equal(door.ask(item)[0], "refused", "the same again")
            equal(door.ask(item, "accept")[0], "ok", "the same id, accepted this time")
            equal(door.ask(item, "refuse")[0], "idempotency", "the refused payload after that")
        world.settle()
        client = Resp(world.server.resp)
        for key in ("l0", "l1"):
            equal([len(read_all(client, kind, key, "page")) for kind in ("ledger", "output")], [1, 1], "entries of " + key)
            equal(len(read_all(client, "ledger", key, "alarm_page")), 1, "alarms of " + key)


TESTS = [answers_survive_log_checkpoint_and_cut, timers_due_while_it_is_down_fire_once_after_it,
         an_error_is_not_remembered_and_leaves_nothing, inputs_take_effect_once_on_two_shards,
         inputs_take_effect_once_on_four_shards]


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description="Exactly once, under kills.")
    parser.add_argument("--build", default=harness.BUILD, help="the build folder")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="inputs of each test with sources")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1000000))
    parser.add_argument("--only", default="", help="only tests with this in their name")
    OPTIONS = parser.parse_args()
    harness.BUILD = os.path.abspath(OPTIONS.build)
    code = harness.run([test for test in TESTS if OPTIONS.only in test.__name__], 1)
    if code:
        print("again: tests/once/run.py --seed %d --inputs %d" % (OPTIONS.seed, OPTIONS.inputs))
    return code


if __name__ == "__main__":
    sys.exit(main())
