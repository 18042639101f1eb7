"""T6: kill -9 again and again, at random moments, while starting, while a checkpoint is written, while stopping.

kill -9 keeps the page cache, so this finds faults of the process, not of the disk (that is test_power.py).

SPDX-License-Identifier: MIT
"""
import collections
import os
import random
import signal
import time

from clients import Clients
from harness import Fail, Folder, equal, true
from machine import Server, pause, until

OPTIONS = ("--shards", 2, "--limit", "checkpoint_bytes_min=150000")


def strike(server, clients, choose, kind):
    """One kill of that kind; what kind it came to be."""
    if kind == "start":
        server.kill()
        server.spawn()
        pause(choose.uniform(0, 1.5 * server.ready_s))
        return kind
    clients.start(server.resp)
    if kind == "checkpoint":
        end = time.monotonic() + 0.6
        while not server.files("writing-") and time.monotonic() < end:
            pause(0.0005)
        return kind if server.files("writing-") else "moment"
    pause(choose.uniform(0, 0.08))
    if kind == "stop":
        server.process.send_signal(signal.SIGTERM)
        pause(choose.uniform(0, 0.01))
    return kind


def kill_9_loop_loses_and_doubles_nothing(budget, seed, figures):
    """Cycles until the budget is spent; each ends with a start and a look at every row."""
    choose = random.Random(seed)
    end = time.monotonic() + budget
    kinds, slowest, rows = collections.Counter(), 0, 0
    clients = Clients(seed)
    with Folder() as folder, Server(folder.join("d"), *OPTIONS) as server:
        while time.monotonic() < end or sum(kinds.values()) < 10:
            kind = choose.choices(("moment", "start", "checkpoint", "stop"), (5, 3, 2, 1))[0]
            kind = strike(server, clients, choose, kind)
            server.kill()
            clients.stop()
            kinds[kind] += 1
            server.start()
            slowest = max(slowest, server.ready_s)
            rows += clients.verify(server.resp)
        clients.round(server.resp)
        clients.verify(server.resp)
        true(len(server.files("torn-")) <= 4, server.files("torn-"))
        equal(server.stop(), 0, "exit code at the end")
    acknowledged = clients.total("acknowledged")
    true(acknowledged > 50 * sum(kinds.values()) / 10, "only %d acknowledged" % acknowledged)
    true(all(kinds[kind] for kind in ("moment", "start")), kinds)
    figures("%d kills (%s), %d acknowledged, %d rows looked at, 0 lost, 0 doubled, slowest start %.2f s"
            % (sum(kinds.values()), ", ".join("%d %s" % (n, kind) for kind, n in sorted(kinds.items())), acknowledged,
               rows, slowest))


def ready_within_two_seconds_with_256_mb_of_log(budget, seed, figures):
    """Once, when the budget allows."""
    with Folder() as folder, Server(folder.join("d"), "--shards", 1, "--limit", "checkpoint_bytes_min=%d" % (1 << 40),
                                    "--limit", "row_bytes_max=1048576") as server:
        clients = Clients(seed, connections=2, singles=64, pairs=0, size=120000)
        begin, size = time.monotonic(), 0
        clients.start(server.resp)

        def enough():
            nonlocal size
            size = sum(os.stat(server.segment_path(name)).st_size for name in server.files("log-"))
            return size >= (320 << 20) or clients.errors
        until(enough, 120, "256 MB of log")
        server.kill()
        clients.stop()
        written = sum(server.written(name) for name in server.files("log-"))
        true(written >= 256 << 20, "%d bytes written" % written)
        server.start()
        clients.verify(server.resp)
        figures("ready %.2f s after the start with %d MB of log (written in %.0f s)"
                % (server.ready_s, written >> 20, time.monotonic() - begin))
        if server.ready_s > 2:
            raise Fail("ready after %.2f s" % server.ready_s)


ALL = [kill_9_loop_loses_and_doubles_nothing]
