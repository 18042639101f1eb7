"""What clients, faults and samples share: the server and whether it is up, a histogram, what went wrong.

SPDX-License-Identifier: MIT
"""
import math
import os
import threading
import time

from harness import Fail, Server

HERE = os.path.dirname(os.path.abspath(__file__))
APP = os.path.join(HERE, "soak.lua")
MIB = 1 << 20
CHECKPOINT_BYTES = 4 * MIB    # of log between two checkpoints; with more data than that: as many as the data


class Histogram:
    """Of times in seconds: buckets of 1 %, so its size does not depend on how many there were."""

    STEP = math.log(1.01)

    def __init__(self):
        self.counts, self.total, self.most = {}, 0, 0.0

    def add(self, seconds):
        place = int(math.log(max(seconds, 1e-6) * 1e6) / self.STEP)
        self.counts[place] = self.counts.get(place, 0) + 1
        self.total += 1
        self.most = max(self.most, seconds)

    def merge(self, other):
        for place, count in other.counts.items():
            self.counts[place] = self.counts.get(place, 0) + count
        self.total += other.total
        self.most = max(self.most, other.most)
        return self

    def percentile(self, share):
        """In seconds; 0 when there is nothing."""
        left = self.total * share
        for place in sorted(self.counts):
            left -= self.counts[place]
            if left <= 0:
                return math.exp((place + 0.5) * self.STEP) / 1e6
        return 0.0


class World:
    def __init__(self, folder, seed, seconds, window_s):
        self.seed, self.seconds, self.window_s = seed, seconds, window_s
        self.data = folder.join("data")
        limits = {"checkpoint_bytes_min": CHECKPOINT_BYTES, "dedup_window_ms": int(window_s * 1000),
                  "dedup_window_min_ms": int(window_s * 1000), "compact_bytes_min": 65536}
        self.shards = 2
        self.server = Server(APP, self.data, "--shards", self.shards, "--threads", 2,
                             *[word for pair in limits.items() for word in ("--limit", "%s=%d" % pair)])
        self.up, self.over = threading.Event(), threading.Event()
        self.up.set()
        self.failure = None
        self.begun = self.started_at = time.monotonic()
        self.quiet_from = self.begun    # no fault, and all clients are on time again; infinite while that is not so
        self.eighths = [Histogram() for _ in range(8)]
        self.disturbed = Histogram()
        self.lock = threading.Lock()

    # ---- the server ----

    def restart(self, how, shards=None):
        """Its end, by kill -9 or by SIGTERM, and its start; seconds that the start took."""
        self.up.clear()
        if how == "kill":
            self.server.kill()
        else:
            code = self.server.stop()
            if code != 0:
                raise Fail("seed %d: a clean stop ended with exit code %d\n%s" % (self.seed, code, self.server.trace_text()))
        self.server.process.stdout.close()
        if shards:
            self.shards = shards
            self.server.command[self.server.command.index("--shards") + 1] = str(shards)
        begin = time.monotonic()
        self.server.start()
        self.started_at = time.monotonic()
        self.up.set()
        return self.started_at - begin

    def wait_up(self):
        """False when the run is over by a failure."""
        while not self.up.wait(0.1):
            if self.failure:
                return False
        return True

    # ---- time ----

    def eighth(self, now):
        return min(7, max(0, int((now - self.begun) / self.seconds * 8)))

    def is_quiet(self, now):
        return now >= self.quiet_from

    def latency(self, due, now):
        with self.lock:
            if self.is_quiet(due):
                self.eighths[self.eighth(due)].add(now - due)
            else:
                self.disturbed.add(now - due)

    def fail(self, reason):
        with self.lock:
            self.failure = self.failure or reason
        self.over.set()


class Actor(threading.Thread):
    """A thread of the world; what it raises ends the run."""

    def __init__(self, world, name):
        super().__init__(daemon=True, name=name)
        self.world = world

    def run(self):
        try:
            self.work()
        except BaseException as reason:  # told by the runner
            self.world.fail(reason)
