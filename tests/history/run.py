#!/usr/bin/env python3
"""Histories of many concurrent clients against the real engine, judged by the history checker.

On 1, 2 and 4 shards, without faults and under kill -9 of what the user started (now and then SIGTERM, or a kill
during recovery), restarted at once, sometimes with another number of shards; through the RESP door (harness/
history.lua, client.c) and through libweir (harness/history_app.c, embedded.c). A failure prints its seed and
where its history was kept.

    tests/history/run.py [--build DIR] [--large] [--seed N] [--only WORD]

SPDX-License-Identifier: MIT
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import harness  # noqa: E402
from harness import Fail, Server, equal, true  # noqa: E402

APP = os.path.join(harness.ROOT, "tests", "harness", "history.lua")
TXNS, EMBEDDED_TXNS, KILLS = 18000, 20000, 6
COUNTERS = ("wounds_total", "multi_shard_total", "dedup_hits_total", "checkpoints_total", "timeouts_total")
SUMS = {"begun": 0, "ok": 0, "failed": 0, "unknown": 0, "embedded": 0, **{name: 0 for name in COUNTERS}}
OPTIONS = None


def program(*names):
    path = os.path.join(harness.BUILD, "tests", *names)
    true(os.path.exists(path), "%s is not built" % path)
    return path


def check(history, name, seed, *options):
    """The checker's first line, or a failure with the history kept."""
    done = subprocess.run([program("check", "weir-check-history"), *map(str, options), history], capture_output=True,
                          text=True, timeout=600)
    if done.returncode == 0:
        return done.stdout.split("\n")[0]
    kept = os.path.join(harness.BUILD, "history-%s-%d.txt" % (name, seed))
    shutil.copy(history, kept)
    raise Fail("seed %d, history kept as %s:\n%s%s" % (seed, kept, done.stdout[-3000:], done.stderr[-1000:]))


def progress(process):
    """What a load says, line by line: a number begun, or another word."""
    for line in process.stdout:
        line = line.strip()
        yield int(line) if line.isdigit() else line


class Killed:
    """A server that is killed and started again at its port."""

    def __init__(self, folder, shards):
        self.shards, self.sums = shards, dict.fromkeys(COUNTERS, 0)
        self.server = Server(APP, folder.join("data"), "--shards", shards, "--threads", shards,
                             "--limit", "checkpoint_bytes_min=200000")
        self.command = self.server.command
        self.command[self.command.index("--resp") + 1] = "127.0.0.1:%d" % self.server.resp

    def count(self):
        """Adds what this life counted. Close before a kill, so that little is missed."""
        client = harness.Resp(self.server.resp, timeout=10)
        for line in client.ask("INFO").split("\r\n"):
            name, _, value = line.partition(":")
            if name in self.sums:
                self.sums[name] += int(value)
        client.close()

    def start(self, shards):
        for option in ("--shards", "--threads"):
            self.command[self.command.index(option) + 1] = str(shards)
        self.shards = shards
        for attempt in range(20):  # somebody's outgoing connection may sit on the port for a moment
            try:
                self.server.start()
                return
            except Fail:
                if self.server.process.returncode != 78 or attempt == 19:
                    raise
                time.sleep(0.1)

    def start_and_kill(self, delay):
        """Ends in the middle of opening, or soon after it."""
        process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait(30)

    def fault(self, choice):
        self.count()
        if choice.random() < 0.2:
            equal(self.server.stop(), 0, "exit code after SIGTERM")
        else:
            self.server.kill()
        self.server.process.stdout.close()
        if choice.random() < 0.3:
            self.start_and_kill(choice.random() * 0.04)
        self.start(choice.choice([1, 2, 3, 4]) if choice.random() < 0.3 else self.shards)


def served(folder, name, shards, kills):
    seed = OPTIONS.seed * 100 + shards * 10 + (kills > 0)
    txns = TXNS * (10 if OPTIONS.large else 1)
    choice = random.Random(seed)
    faults = sorted(choice.randrange(txns // 20, txns - txns // 20) for _ in range(kills))
    history = folder.join("history.txt")
    killed = Killed(folder, shards)
    counts, always_several = None, shards > 1
    with killed.server:
        client = subprocess.Popen([program("history", "history_client"), "--port", str(killed.server.resp), "--history",
                                   history, "--txns", str(txns), "--seed", str(seed), "--drop", "700"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            for said in progress(client):
                if isinstance(said, str) and said.startswith("{"):
                    counts = json.loads(said)
                while isinstance(said, int) and faults and said >= faults[0]:
                    faults.pop(0)
                    time.sleep(choice.random() * 0.03)
                    killed.fault(choice)
                    always_several = always_several and killed.shards > 1
            true(client.wait(30) == 0 and counts is not None,
                 "seed %d: the client ended with %d: %s\n%s" % (seed, client.wait(), client.stderr.read()[-2000:],
                                                               killed.server.trace_text()[-2000:]))
        finally:
            client.kill()
            client.wait()
            client.stdout.close()
            client.stderr.close()
        killed.count()
        equal(killed.server.stop(), 0, "exit code after SIGTERM")
    if not kills:
        equal(counts["losses"], 0, "connections lost though nothing was killed")
    said = check(history, name, seed, "--min-txns", txns, "--min-ok-share", 0.9, "--min-aborts", txns // 200,
                 "--min-multi-shard", 0.3 if always_several else 0)
    print("     seed %d: %s, %d resent, %d wounds, %d answers remembered, %d checkpoints, %.0f /s" % (
        seed, said, counts["resent"], killed.sums["wounds_total"], killed.sums["dedup_hits_total"],
        killed.sums["checkpoints_total"], counts["begun"] / counts["seconds"]), flush=True)
    true(killed.sums["dedup_hits_total"] > 0, "no repeated request got its first answer")
    for key in ("begun", "ok", "failed", "unknown"):
        SUMS[key] += counts[key]
    for key in COUNTERS:
        SUMS[key] += killed.sums[key]


def merge(events, history):
    """The events of all lives as a history: what was begun and never answered is unknown."""
    waiting = {}
    with open(events) as lines, open(history, "w") as out:
        for i in range(12):
            out.write("i a%d 1000\n" % i)
        for line in lines:
            true(line.endswith("\n"), "the events end in the middle of a line")
            kind, number, text = line.split(" ", 2)
            number = text[0] + number
            if kind == "b" and number in waiting:
                out.write(waiting[number])
            if kind == "b":
                waiting[number] = text
            else:
                waiting.pop(number)
                out.write(text)
        out.writelines(text for text in waiting.values() if text[0] == "t")


def embedded(folder, name, shards, kills):
    seed = OPTIONS.seed * 100 + 50 + shards
    txns = EMBEDDED_TXNS * (10 if OPTIONS.large else 1)
    choice = random.Random(seed)
    faults = sorted(choice.randrange(txns // 20, txns - txns // 20) for _ in range(kills))
    events, history = folder.join("events.txt"), folder.join("history.txt")
    while True:
        life = subprocess.Popen([program("history", "history_embedded"), folder.join("data"), events, "--txns", str(txns),
                                 "--seed", str(seed), "--shards", str(shards)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        try:
            for said in progress(life):
                if isinstance(said, int) and faults and said >= faults[0]:
                    faults.pop(0)
                    time.sleep(choice.random() * 0.03)
                    life.send_signal(signal.SIGKILL)
                    break
            code, text = life.wait(120), life.stderr.read()
        finally:
            life.kill()
            life.wait()
            life.stdout.close()
            life.stderr.close()
        if code == 0:
            break
        true(code == -signal.SIGKILL, "seed %d: it ended with %d: %s" % (seed, code, text[-2000:]))
        if choice.random() < 0.3:
            shards = choice.choice([1, 2, 3, 4])
    merge(events, history)
    said = check(history, name, seed, "--min-txns", txns, "--min-ok-share", 0.9, "--min-aborts", txns // 200)
    print("     seed %d: %s" % (seed, said), flush=True)
    SUMS["embedded"] += txns


def enough(folder):
    print("     %(begun)d begun through the door, %(embedded)d in a program; %(ok)d ok, %(failed)d refused, %(unknown)d "
          "unknown; %(multi_shard_total)d over several shards, %(wounds_total)d wounds, %(dedup_hits_total)d answers "
          "remembered, %(checkpoints_total)d checkpoints, %(timeouts_total)d timeouts" % SUMS, flush=True)
    true(SUMS["begun"] >= 100000, "fewer than 100,000 transactions")
    true(SUMS["failed"] >= 1000, "fewer than 1,000 aborts")
    true(SUMS["wounds_total"] >= 1000, "fewer than 1,000 wounds")
    true(SUMS["multi_shard_total"] >= SUMS["begun"] * 0.3, "fewer than 30 % over several shards")
    true(SUMS["checkpoints_total"] > 0, "no checkpoint was taken")


def tests():
    every = []
    for run, shards, kills, word in ([(served, n, 0, "history_of_%s_shards_is_serializable") for n in (1, 2, 4)] +
                                     [(served, n, KILLS, "history_of_%s_shards_survives_kills") for n in (1, 2, 4)] +
                                     [(embedded, 2, KILLS, "history_of_a_program_on_%s_shards_survives_kills")]):
        name = word % {1: "one", 2: "two", 4: "four"}[shards]

        def one(folder, run=run, name=name, shards=shards, kills=kills):
            run(folder, name, shards, kills)
        one.__name__ = name
        every.append(one)
    enough.__name__ = "histories_hold_aborts_and_wounds_enough"
    return every + [enough]


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description="Histories against the real engine.")
    parser.add_argument("--build", default=harness.BUILD, help="the build folder")
    parser.add_argument("--large", action="store_true", help="ten times as many transactions")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1000000))
    parser.add_argument("--only", default="", help="only tests with this in their name")
    OPTIONS = parser.parse_args()
    harness.BUILD = os.path.abspath(OPTIONS.build)
    return harness.run([test for test in tests() if OPTIONS.only in test.__name__], 1)


if __name__ == "__main__":
    sys.exit(main())
