"""Timers that are all due at once when the server comes back: each fires once, and clients hardly notice.

SPDX-License-Identifier: MIT
"""
import json
import os
import selectors
import threading
import time

from common import PATIENT, until
from harness import Fail, Folder, RespError, Server, Skip, equal

APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "alarms.lua")
PER_CALL, CLIENTS, REQUESTS_MIN, TIMES, TRIES = 1000, 24, 300, 5, 3


class Clients(threading.Thread):
    """Connections with one request under way each; (when it began, how long it took) of each request."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.connections = [server.connect() for _ in range(CLIENTS)]
        self.stopped, self.took, self.error = threading.Event(), [], None

    def ask(self, number):
        self.connections[number].send(("CALL", "counter", "c%d" % number, "add"))
        return time.monotonic()

    def run(self):
        try:
            selector, begun = selectors.DefaultSelector(), []
            for number, connection in enumerate(self.connections):
                selector.register(connection.socket, selectors.EVENT_READ, number)
                begun.append(self.ask(number))
            while not self.stopped.is_set():
                for key, _ in selector.select(1):
                    number, answer = key.data, self.connections[key.data].read()
                    if isinstance(answer, RespError):
                        raise Fail("a client: %r" % answer)
                    self.took.append((begun[number], time.monotonic() - begun[number]))
                    begun[number] = self.ask(number)
        except Exception as error:    # told by the thread that waits for this one
            self.error = error
        for connection in self.connections:
            connection.close()


def rung(server, boxes):
    connection = server.connect()
    connection.send(*[("GETROW", "box", "b%d" % b) for b in range(boxes)])
    rows = [connection.read() for _ in range(boxes)]
    connection.close()
    return [json.loads(row)["rung"] if isinstance(row, str) else int(dict(zip(row[::2], row[1::2]))["rung"])
            for row in rows]


def p99(took):
    took = sorted(t for _, t in took)
    return took[len(took) * 99 // 100]


def measure(server, least):
    """Clients from the start of the server until no timer is left and so many requests were answered: what each took,
    and how long there were timers."""
    clients, begin = Clients(server), time.monotonic()
    clients.start()
    try:
        until(lambda: clients.error or pending(server) == 0, "all timers fired", 300)
        took = time.monotonic() - begin
        until(lambda: clients.error or len(clients.took) >= least, "clients are answered", 60)
    finally:
        clients.stopped.set()
        clients.join(60)
    if clients.error:
        raise clients.error
    return clients.took, took


def pending(server):
    text = server.get("/metrics").body
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith("weir_timers_pending "))))


def hurry(server):
    """Above whatever else this machine does, where that is allowed: both runs are to measure Weir. Linux shares processors
    among sessions first, and a server that has much to do would be held up by its own share."""
    try:
        with open("/proc/%d/autogroup" % server.process.pid, "w") as file:
            file.write("-15")
    except OSError:
        pass


def attempt(count, note):
    boxes = count // PER_CALL
    with Folder() as folder, Server(APP, folder.join("data"), "--shards", 2, *PATIENT) as server:
        connection = server.connect()
        begin = time.time()
        due = int((begin + 1 + count / 20000) * 1000)    # later than the last is set
        for at in range(0, boxes, 10):
            some = range(at, min(at + 10, boxes))
            connection.send(*[("CALL", "box", "b%d" % b, "fill", PER_CALL, due) for b in some])
            for _ in some:
                answer = connection.read()
                if isinstance(answer, RespError):
                    raise Fail("fill: %r" % answer)
        late = time.time() * 1000 > due
        connection.close()
        server.kill()
        until(lambda: time.time() * 1000 > due, "the moment when all are due", 600)
        server.start()
        hurry(server)
        with_timers, took = measure(server, REQUESTS_MIN)
        equal(rung(server, boxes), [PER_CALL] * boxes, "each timer fired once")
        server.kill()
        server.start()
        hurry(server)
        without, _ = measure(server, len(with_timers))
        equal(rung(server, boxes), [PER_CALL] * boxes, "each timer fired once, after one more kill")
        if late:
            note("(the timers were set too slowly: some were due before the kill)")
        ratio = p99(with_timers) / p99(without)
        note("%d timers in %.2f s, %d requests; p99 %.1f ms with, %.1f ms without: %.1f times" %
             (count, took, len(with_timers), p99(with_timers) * 1e3, p99(without) * 1e3, ratio))
        return ratio


def timers_due_at_once_after_downtime_keep_clients_within_5_times(budget, seed, note, judged):
    """A busy machine may disturb one of the two runs: the best of three counts, where time is judged."""
    count = 20000 if budget < 60 else 1000000
    ratios = []
    while len(ratios) < (TRIES if judged else 1):
        ratios.append(attempt(count, note))
        if ratios[-1] <= TIMES:
            return
    text = "p99 with timers is %s times that without" % ", ".join("%.1f" % r for r in ratios)
    if not judged:
        raise Skip(text + ", and time is judged with --judge only")
    load, processors = os.getloadavg()[0], os.cpu_count()
    if load > 2 * processors:
        raise Skip("%s, on a machine that is too busy to tell: load %.1f on %d processors" % (text, load, processors))
    raise Fail(text)
