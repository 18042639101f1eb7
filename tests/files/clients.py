"""Clients that know what was acknowledged, and what must be there for it.

Each unit (a row, or a pair of rows written in one transaction) takes the numbers 1, 2, 3 ... one after another, each
with an idempotency key of its own, so a number whose outcome is unknown is simply sent again. Then at any time
`last` is the acknowledged number or the one under way, `count` is the same, and the text is that number's.

SPDX-License-Identifier: MIT
"""
import json
import random
import threading
import time

from harness import Fail, Resp, RespError

REFUSED = ("DISKFULL", "OVERLOADED", "TIMEOUT", "SHUTDOWN", "LOADING")


def body(key, n, size):
    """The text of that number: as long as `size` says, another each time."""
    start = "%s=%d;" % (key, n)
    length = len(start) + (n * 2654435761 + len(key) * 40503) % max(size, 1)
    return (start * (length // len(start) + 1))[:length]


class Unit:
    def __init__(self, keys):
        self.keys = keys
        self.acknowledged = self.sent = self.refused = self.unknown = 0

    def command(self, size):
        n = self.sent = self.acknowledged + 1
        text = body(self.keys[0], n, size)
        handler = ("put",) if len(self.keys) == 1 else ("both", self.keys[1])
        return ("CALL.ONCE", "%s-%d" % (self.keys[0], n), "item", self.keys[0], *handler, n, text)


class Clients:
    """Threads that write until they are told to stop or the server goes. One Clients object lives as long as its data."""

    def __init__(self, seed, connections=3, singles=10, pairs=3, size=1500):
        self.size, self.threads, self.stopped = size, [], threading.Event()
        self.units = [[Unit(["c%d-%d" % (c, i)]) for i in range(singles)] +
                      [Unit(["c%d-p%d-a" % (c, i), "c%d-p%d-b" % (c, i)]) for i in range(pairs)]
                      for c in range(connections)]
        self.choose = random.Random(seed)
        self.errors = []
        self.first_unknown = None    # when
        self.cut_off = []            # when those were sent whose answer never came (wall clock)
        self.lock = threading.Lock()

    def every(self):
        return [unit for units in self.units for unit in units]

    def total(self, name):
        return sum(getattr(unit, name) for unit in self.every())

    # ---- writing ----

    def answered(self, unit, answer):
        if not isinstance(answer, RespError):
            if answer != unit.sent:
                raise Fail("%s: number %d answered %r" % (unit.keys[0], unit.sent, answer))
            unit.acknowledged = unit.sent
        elif answer.code == "UNKNOWN":
            unit.unknown += 1
            with self.lock:
                self.first_unknown = self.first_unknown or time.monotonic()
        elif answer.code in REFUSED:
            unit.refused += 1
        else:
            raise Fail("%s: %r" % (unit.keys[0], answer))

    def work(self, port, units):
        waiting = sent = 0
        try:
            connection = Resp(port)
            while not self.stopped.is_set():
                sent = time.time()
                connection.send(*[unit.command(self.size) for unit in units])
                waiting, unknown = len(units), sum(unit.unknown for unit in units)
                for unit in units:
                    self.answered(unit, connection.read())
                    waiting -= 1
                if sum(unit.unknown for unit in units) > unknown:
                    break    # told once is enough: the rest is for after the restart
            connection.close()
        except Fail as error:
            self.errors.append(str(error))
        except (ConnectionError, OSError):
            with self.lock:
                self.cut_off += [sent] * waiting

    def start(self, port):
        self.stopped.clear()
        self.first_unknown, self.cut_off = None, []
        self.threads = [threading.Thread(target=self.work, args=(port, units)) for units in self.units]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                raise Fail("a client waits for ever")
        self.threads = []
        if self.errors:
            raise Fail("; ".join(self.errors[:3]))

    def round(self, port):
        """Each unit once, on one connection: (acknowledged, refused, unknown)."""
        connection = Resp(port)
        before = [self.total(name) for name in ("acknowledged", "refused", "unknown")]
        units = self.every()
        connection.send(*[unit.command(self.size) for unit in units])
        for unit in units:
            self.answered(unit, connection.read())
        connection.close()
        return tuple(self.total(name) - old for name, old in zip(("acknowledged", "refused", "unknown"), before))

    # ---- judging ----

    def verify(self, port):
        """Everything acknowledged is there, once and whole. The number of rows looked at."""
        connection = Resp(port)
        units = self.every()
        connection.send(*[("GETROW", "item", key) for unit in units for key in unit.keys])
        rows = [[connection.read() for _ in unit.keys] for unit in units]
        connection.close()
        for unit, found in zip(units, rows):
            for key, row in zip(unit.keys, found):
                row = json.loads(row) if isinstance(row, str) else \
                    dict(zip(row[::2], row[1::2])) if isinstance(row, list) else {"count": 0, "last": 0, "text": ""}
                last = row["last"]
                if last not in (unit.acknowledged, unit.sent):
                    raise Fail("%s: %d was acknowledged, %d sent, %d is there" % (key, unit.acknowledged, unit.sent, last))
                if row["count"] != last:
                    raise Fail("%s: number %d after %d effects" % (key, last, row["count"]))
                if last and row["text"] != body(unit.keys[0], last, self.size):
                    raise Fail("%s: not the text of number %d: %r" % (key, last, row["text"][:80]))
                if last != rows_last(found[0]):
                    raise Fail("%s: half of a transaction is there" % key)
        return sum(map(len, rows))


def rows_last(row):
    if row is None:
        return 0
    return json.loads(row)["last"] if isinstance(row, str) else dict(zip(row[::2], row[1::2]))["last"]
