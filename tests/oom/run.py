#!/usr/bin/env python3
"""The real program while one allocation fails: the engine's, and those of libc, LuaJIT and jansson (T12).

    run.py --build DIR [--only TEXT] [--every]

--every: each allocation that a start makes is refused once (some 800, under a minute), not six of them.

tests/oom/fail.c is put before malloc by the loader and shares a file with this test. The program must answer an error and
go on, or end with an exit code of its table and say why; never with a signal. Started again it must hold what it
answered.
SPDX-License-Identifier: MIT
"""
import argparse
import mmap
import os
import signal
import struct
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))

import harness
from harness import Fail, RespError, Server

CODES = (0, 70, 73, 74, 78)
APP = os.path.join(harness.EXAMPLES, "bank.lua")
passed = failed = skipped = 0


class Failing:
    """A server whose allocations are counted, and one of them refused."""

    def __init__(self, folder, at=0):
        self.path = os.path.join(folder, "fail")
        with open(self.path, "wb") as out:
            out.write(struct.pack("<QQQ", 0, at, 0) + bytes(4072))
        self.file = open(self.path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)
        self.wrapper = ("env", "WEIR_FAIL=" + self.path, "LD_PRELOAD=" + os.path.join(harness.BUILD, "tests/oom/weir_fail.so"))

    def count(self):
        return struct.unpack_from("<Q", self.map, 0)[0]

    def fail_in(self, n):
        struct.pack_into("<QQ", self.map, 8, self.count() + n, 0)

    def failed(self):
        return struct.unpack_from("<Q", self.map, 16)[0] == 1


def says_why(text):
    """A line for people, or for programs, as the server was asked to write here."""
    return "weir: " in text or '"error":' in text


def ended_well(server, what):
    code = server.process.returncode
    text = server.trace_text()
    if code not in CODES:
        raise Fail("%s: exit code %d\n%s" % (what, code, text))
    if code != 0 and not says_why(text):
        raise Fail("%s: exit code %d without a word: %r" % (what, code, text))


def judge(folder, answered, asked):
    with Server(APP, os.path.join(folder, "data")) as server:
        balance = server.connect().call("account", "a", "balance")
        if not answered <= balance <= asked:
            raise Fail("%d were answered, %d asked for, the restart has %r" % (answered, asked, balance))


def deposits(server, failing, body):
    """One after the other until the program ends or the failure has passed: (answered, asked)."""
    answered = asked = 0
    try:
        client = server.connect()
        for turn in range(400):
            asked += 1
            reply = client.call("account", "a", "deposit", 1)
            if isinstance(reply, RespError):
                if reply.code not in ("OOM", "BUDGET", "UNKNOWN", "HANDLER", "ERR"):
                    raise Fail("an answer of %r" % reply)
                asked -= reply.code in ("OOM", "BUDGET", "HANDLER") # not applied
            else:
                answered += 1
            if body and turn % 3 == 0:
                server.request("POST", "/account/b/deposit", body)
            if failing.failed() and turn > 30:
                break
    except (OSError, ConnectionError):
        pass
    return answered, asked


def serving(n, body=None):
    def run(folder):
        failing = Failing(folder)
        with Server(APP, os.path.join(folder, "data"), wrapper=failing.wrapper) as server:
            failing.fail_in(n)
            answered, asked = deposits(server, failing, body)
            if not failing.failed():
                raise Fail("no allocation failed: nothing was tested")
            if server.process.poll() is None and server_is_gone(server):
                server.process.wait(30)
            if server.process.poll() is None:
                server.stop()
            ended_well(server, "allocation %d while serving" % n)
        judge(folder, answered, asked)
    return run


def server_is_gone(server):
    try:
        server.connect().ask("PING")
        return False
    except (OSError, ConnectionError):
        return True


def starts_take(folder):
    """How many allocations a start and a stop make, none failing."""
    data = os.path.join(folder, "data")
    with Server(APP, data) as server:
        server.connect().call("account", "a", "deposit", 5)
        server.kill()
    failing = Failing(folder)
    with Server(APP, data, wrapper=failing.wrapper) as server:
        before = failing.count()
        server.stop()
    return before


def starting(share):
    """A share of all that a start makes; a whole number: that one."""
    def run(folder):
        n = share if isinstance(share, int) else 0
        if not n:
            with tempfile.TemporaryDirectory() as other:
                n = int(starts_take(other) * share)
        data = os.path.join(folder, "data")
        with Server(APP, data) as server:
            client = server.connect()
            for _ in range(5):
                client.call("account", "a", "deposit", 1)
            server.kill()
        failing = Failing(folder, n)
        try:
            with Server(APP, data, wrapper=failing.wrapper) as server:
                server.stop()
                ended_well(server, "allocation %d at the start" % n)
        except Fail as fail:
            if "did not start: exit code" not in str(fail):
                raise
            code = int(str(fail).split("exit code ")[1].split()[0])
            if code not in CODES or not says_why(str(fail)):
                raise Fail("allocation %d at the start: %s" % (n, fail)) from None
        if not failing.failed():
            raise Fail("no allocation failed: nothing was tested")
        judge(folder, 5, 5)
    return run


def stopping(n):
    def run(folder):
        failing = Failing(folder)
        with Server(APP, os.path.join(folder, "data"), wrapper=failing.wrapper) as server:
            answered, asked = deposits_plain(server, 20)
            failing.fail_in(n)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(30)
            ended_well(server, "allocation %d at the stop" % n)
        judge(folder, answered, asked)
    return run


def deposits_plain(server, count):
    client = server.connect()
    for _ in range(count):
        harness.true(isinstance(client.call("account", "a", "deposit", 1), int), "a deposit")
    return count, count


def main():
    global passed, failed, skipped
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--only", default="")
    parser.add_argument("--every", action="store_true", help="refuse each allocation of a start")
    options = parser.parse_args()
    harness.BUILD = os.path.abspath(options.build)
    if "-asan" in harness.BUILD or "-tsan" in harness.BUILD:
        print("skip the real program: a sanitizer has a malloc of its own; the simulated scenarios run")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    starts = (1, 20)
    if options.every:
        with tempfile.TemporaryDirectory() as folder:
            starts = range(1, starts_take(folder) + 1)
    cases = [("start, allocation %d" % n, starting(n)) for n in starts]
    cases += [("start, allocation at %d %%" % (100 * share), starting(share)) for share in (0.2, 0.5, 0.8, 0.95)]
    # 400 requests make about 20: what they need is kept
    cases += [("serve, allocation %d" % n, serving(n)) for n in (1, 2, 3, 5, 8, 13)]
    cases += [("1 MB bodies, allocation %d" % n, serving(n, "[" + "1," * 400000 + "1]")) for n in (3, 60, 5000, 500000)]
    cases += [("stop, allocation %d" % n, stopping(n)) for n in (1, 2, 4)]
    for name, run in cases:
        if options.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                run(folder)
                passed += 1
                print("ok   " + name, flush=True)
            except Fail as fail:
                failed += 1
                print("FAIL %s: %s\n     again: tests/oom/run.py --build %s --only %r" % (name, fail, options.build, name), flush=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
