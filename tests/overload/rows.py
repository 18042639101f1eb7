"""What the rows share: servers on a core of their own, the load generator, memory and CPU of a process, judging.

SPDX-License-Identifier: MIT
"""
import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))

import harness
from harness import Fail, RespError, Server, Skip, cpu_s, machine_s, status_of, true

APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "app.lua")
CPUS = sorted(os.sched_getaffinity(0))
SPREAD_MAX = 1.5    # of two baselines of one run: above it the machine is too noisy to judge
OTHERS_MAX = 0.25   # of the machine's time taken by programs that are not ours: likewise
OTHERS_HOPELESS = 0.5   # and from here on a second try is in vain


class Missed(Fail):
    """A figure of time was missed on a machine that is quiet enough to judge."""


class Hopeless(Skip):
    """Not judged, and a second try would not be either."""


class Run:
    """What a row knows of its run: how much longer than in CI (1.0), the seed, whether time is judged, what it says."""

    def __init__(self, scale, seed, judged):
        self.scale, self.seed, self.judged = scale, seed, judged
        self.words = []

    def say(self, text, *values):
        self.words.append(text % values if values else text)

    @property
    def long(self):
        return self.scale >= 3


def on_core(number):
    return ("taskset", "-c", str(CPUS[number % len(CPUS)])) if len(CPUS) > 1 else ()


def server(folder, *options, pinned=True):
    return Server(APP, folder.join("d"), "--shards", 1, *options, wrapper=on_core(0) if pinned else ())


def load_start(one, *words):
    path = os.path.join(harness.BUILD, "tests", "overload", "overload_load")
    return subprocess.Popen([*on_core(1), path, "--port", str(one.resp), *map(str, words)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def load_end(process, timeout=120):
    out, error = process.communicate(timeout=timeout)
    true(process.returncode == 0, "load: exit %d: %s" % (process.returncode, error.strip()))
    return json.loads(out)


def load(one, *words):
    return load_end(load_start(one, *words))


def open_files(one):
    return len(os.listdir("/proc/%d/fd" % one.process.pid))


def info(connection):
    pairs = (line.split(":", 1) for line in connection.ask("INFO").split("\r\n") if ":" in line)
    return dict(pairs)


def until(condition, seconds, what):
    """Polls until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        true(time.monotonic() < end, "not within %g s: %s" % (seconds, what))
        threading.Event().wait(0.01)


class Peak:
    """The largest resident memory of a server while the block runs."""

    def __init__(self, one):
        self.one, self.ended = one, threading.Event()
        self.begin = self.most = status_of(one.process.pid)[0]

    def _look(self):
        while not self.ended.wait(0.01):
            try:
                self.most = max(self.most, status_of(self.one.process.pid)[0])
            except (OSError, Fail):
                return

    def __enter__(self):
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    @property
    def growth(self):
        return self.most - self.begin


class Others:
    """The share of the machine's time that went to programs which are not this test's."""

    def __init__(self, *servers):
        self.servers = servers
        self.begin = machine_s()
        self.own = self._own()

    def _own(self):
        times = os.times()
        return sum(times[:4]) + sum(cpu_s(one.process.pid) for one in self.servers if one.process.poll() is None)

    def share(self):
        busy, total = machine_s()
        own = self._own() - self.own
        return max(0.0, (busy - self.begin[0] - own) / max(0.01, total - self.begin[1]))


def judge(run, figures, baselines, others):
    """figures: (name, value, limit, "<=" or ">="). When one is missed, raises Missed; or a Skip, where time is not judged
    in this run or the machine is too noisy to say whose fault it is."""
    missed = []
    for name, value, limit, sign in figures:
        good = value <= limit if sign == "<=" else value >= limit
        run.say("%s %.4g (%s %.4g)%s", name, value, sign, limit, "" if good else " MISSED")
        if not good:
            missed.append("%s is %.4g, wanted %s %.4g" % (name, value, sign, limit))
    spread = max(baselines) / max(1e-9, min(baselines))
    run.say("baselines differ by x%.2f, others took %.0f %% of the machine", spread, 100 * others)
    if not missed:
        return
    if not run.judged:
        raise Hopeless("figures of time are judged with --judge only: " + "; ".join(missed))
    if spread > SPREAD_MAX or others > OTHERS_MAX:
        raise (Hopeless if others > OTHERS_HOPELESS else Skip)(
            "too noisy to judge (baselines x%.2f, at most x%g; others %.0f %%, at most %.0f %%): %s" % (
            spread, SPREAD_MAX, 100 * others, 100 * OTHERS_MAX, "; ".join(missed)))
    raise Missed("; ".join(missed))


def bounded(run, good, text):
    """A figure of memory: judged but under a sanitizer, which takes memory of its own."""
    if not good and harness.sanitizers():
        run.say("not judged under a sanitizer: %s", text)
    else:
        true(good, text)


def no_error(answer, what):
    true(not isinstance(answer, RespError), "%s: %r" % (what, answer))
    return answer


ROWS = []


def row(function):
    """A row of the table: takes a Folder and a Run. Its name is a claim."""
    ROWS.append(function)
    return function
