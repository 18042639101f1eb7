#!/usr/bin/env python3
"""Histories of many concurrent clients against the real engine, judged by the history checker.

On 1, 2, 4 and 8 shards, without faults and under kill -9 of what the user started (now and then SIGTERM, or a kill
during recovery), restarted at once, sometimes with another number of shards; through the RESP and HTTP doors
(harness/history.lua, client.c) and through libweir (harness/history_app.c, embedded.c). A failure prints its seed,
where its history was kept, and the command that runs it again.

    tests/history/run.py [--build DIR] [--budget SECONDS] [--txns N] [--seed N] [--only WORD]

--txns is per test, and kills grow with it; --budget repeats all tests with new seeds until the time is used.

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
TXNS, KILL_EVERY, MUTANTS = 6000, 2000, 4
COUNTERS = ("wounds_total", "deaths_total", "multi_shard_total", "tail_commits_total", "together_calls_total", "reruns_in_turn_total", "dedup_hits_total", "checkpoints_total", "timeouts_total",
            "messages_delivered_total", "timers_fired_total")
POLICIES = ("wound_wait", "wait_die", "no_wait")
SUMS = {"begun": 0, "ok": 0, "failed": 0, "unknown": 0, "http": 0, "embedded": 0, **{name: 0 for name in COUNTERS}}
OPTIONS = None


def program(*names):
    path = os.path.join(harness.BUILD, "tests", *names)
    true(os.path.exists(path), "%s is not built" % path)
    return path


def least(txns):
    """Below this a history says little: for the checker. Under a sanitizer deadlines pass, and deaths with their pauses take most
    of the time."""
    share, rate = (0.8, 10) if harness.sanitizers() else (0.9, 50)
    return ["--min-txns", txns, "--min-ok-share", share, "--min-aborts", txns // 500, "--min-rate", rate]


def check(history, name, seed, *options):
    """The checker's first line, or a failure with the history kept."""
    done = subprocess.run([program("check", "weir-check-history"), *map(str, options), history], capture_output=True,
                          text=True, timeout=600)
    if done.returncode == 0:
        return done.stdout.split("\n")[0]
    kept = os.path.join(harness.BUILD, "history-%s-%d.txt" % (name, seed))
    shutil.copy(history, kept)
    raise Fail("history kept as %s; again: tests/history/run.py --seed %d --txns %d --only %s\n%s%s" % (
        kept, OPTIONS.seed, OPTIONS.txns, name, done.stdout[-3000:], done.stderr[-1000:]))


def answers(op):
    """Where an operation holds numbers that the engine answered: (list, index) of each."""
    found = []
    for i, value in enumerate(op):
        if i < {"append": 3, "write": 3, "deposit": 3, "transfer": 4}.get(op[0], 2):
            continue
        found += [(value, j) for j in range(len(value))] if isinstance(value, list) else [(op, i)]
    return found


def check_notices(history, seed):
    """One changed number in one answer of a history that is good: the checker must not miss it."""
    choice = random.Random(seed)
    with open(history) as file:
        lines = file.readlines()
    places = [n for n, line in enumerate(lines) if line[0] == "t" and " r=ok " in line]
    tries = missed = 0
    while tries < MUTANTS:
        n = choice.choice(places)
        head, _, ops = lines[n].partition(" o=")
        ops = json.loads(ops)
        found = [place for op in ops if op[0] != "send" for place in answers(op)]
        if not found or " id=" in head:  # of two answers to one id either may be taken
            continue
        where, i = choice.choice(found)
        where[i] += choice.choice([-1, 1])
        tries += 1
        done = subprocess.run([program("check", "weir-check-history"), "-"], stdout=subprocess.PIPE, text=True, input="".join(
            [*lines[:n], head + " o=" + json.dumps(ops, separators=(",", ":")) + "\n", *lines[n + 1:]]))
        if done.returncode != 1:
            missed += 1
            print("     missed: line %d of %s as %s" % (n + 1, history, ops))
    true(missed == 0, "seed %d: %d of %d changed answers were not noticed" % (seed, missed, tries))


def progress(process):
    """What a load says, line by line: a number begun, or another word."""
    for line in process.stdout:
        line = line.strip()
        yield int(line) if line.isdigit() else line


class Killed:
    """A server that is killed and started again at its port."""

    def __init__(self, folder, shards, policy):
        self.shards, self.sums, self.windows = shards, dict.fromkeys(COUNTERS, 0), []
        # A sanitizer takes these to the standard limits of what a handler, and who waits, may take.
        budget = ("--limit", "cpu_ms_max=2000", "--limit", "queue_wait_max_ms=60000") if harness.sanitizers() else ()
        self.server = Server(APP, folder.join("data"), "--shards", shards, "--threads", shards,
                             "--limit", "checkpoint_bytes_min=200000", "--conflict-policy", policy, *budget)
        self.command = self.server.command
        self.command[self.command.index("--resp") + 1] = "127.0.0.1:%d" % self.server.resp
        self.command[self.command.index("--http") + 1] = "127.0.0.1:%d" % self.server.http

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
        begin = time.monotonic_ns()
        if choice.random() < 0.2:
            equal(self.server.stop(), 0, "exit code after SIGTERM")
        else:
            self.server.kill()
        self.server.process.stdout.close()
        if choice.random() < 0.3:
            self.start_and_kill(choice.random() * 0.04)
        self.start(choice.choice([1, 2, 3, 4, 8]) if choice.random() < 0.3 else self.shards)
        self.windows.append((begin, time.monotonic_ns()))


def served(folder, name, shards, kills, policy="wound_wait"):
    seed = OPTIONS.seed * 100 + shards * 10 + (kills > 0) + 3 * POLICIES.index(policy)
    txns = OPTIONS.txns
    choice = random.Random(seed)
    faults = sorted(choice.randrange(txns // 20, txns - txns // 20) for _ in range(kills))
    history, windows = folder.join("history.txt"), folder.join("windows.txt")
    killed = Killed(folder, shards, policy)
    counts, always_several = None, shards > 1
    with killed.server:
        client = subprocess.Popen([program("history", "history_client"), "--port", str(killed.server.resp), "--http",
                                   str(killed.server.http), "--history", history, "--txns", str(txns), "--seed", str(seed), "--drop", "700"],
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
    with open(windows, "w") as file:
        file.writelines("%d %d\n" % window for window in killed.windows)
    said = check(history, name, seed, *least(txns), "--min-multi-shard", 0.3 if always_several else 0, "--windows", windows)
    print("     seed %d: %s, %d resent, %d wounds, %d deaths, %d answers remembered, %d checkpoints, %.0f /s" % (
        seed, said, counts["resent"], killed.sums["wounds_total"], killed.sums["deaths_total"], killed.sums["dedup_hits_total"],
        killed.sums["checkpoints_total"], counts["begun"] / counts["seconds"]), flush=True)
    if txns <= TXNS:
        check_notices(history, seed)
    true(killed.sums["dedup_hits_total"] > 0, "no repeated request got its first answer")
    for key in ("begun", "ok", "failed", "unknown", "http"):
        SUMS[key] += counts[key]
    for key in COUNTERS:
        SUMS[key] += killed.sums[key]


def merge(events, history, txns):
    """The events of all lives as a history: what was begun and never answered is unknown."""
    waiting = {}
    with open(events) as lines, open(history, "w") as out:
        for i in range((txns // 3000 + 1) * 12):  # WORK_ACCOUNT_AGE and WORK_ACCOUNTS of work.h
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
    txns = OPTIONS.txns
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
            shards = choice.choice([1, 2, 3, 4, 8])
    merge(events, history, txns)
    said = check(history, name, seed, *least(txns))
    print("     seed %d: %s" % (seed, said), flush=True)
    SUMS["embedded"] += txns


def enough(folder):
    print("     %(begun)d begun through the doors (%(http)d answers over HTTP), %(embedded)d in a program; %(ok)d ok, %(failed)d refused, %(unknown)d "
          "unknown; %(multi_shard_total)d over several shards, %(tail_commits_total)d of them decided by the last call's, %(together_calls_total)d calls at the same time, %(reruns_in_turn_total)d undone for them, %(wounds_total)d wounds, %(deaths_total)d deaths, %(dedup_hits_total)d answers "
          "remembered, %(checkpoints_total)d checkpoints, %(timeouts_total)d timeouts, %(messages_delivered_total)d messages, "
          "%(timers_fired_total)d timers" % SUMS, flush=True)
    true(SUMS["begun"] >= 8 * OPTIONS.txns, "fewer transactions than were wanted")
    true(SUMS["failed"] * 200 >= SUMS["begun"], "fewer than one abort in 200")
    true(SUMS["http"] * 50 >= SUMS["begun"], "hardly anything over HTTP")
    true(SUMS["wounds_total"] >= 1000, "fewer than 1,000 wounds")
    true(SUMS["deaths_total"] >= 1000, "fewer than 1,000 deaths")
    true(SUMS["messages_delivered_total"] >= 1000 and SUMS["timers_fired_total"] >= 1000, "hardly a message or timer")
    true(SUMS["multi_shard_total"] >= SUMS["begun"] * 0.3, "fewer than 30 % over several shards")
    true(SUMS["tail_commits_total"] * 100 >= SUMS["begun"], "fewer than one tail-commit in 100")
    true(SUMS["together_calls_total"] >= SUMS["begun"] * 0.1, "hardly a call at the same time as others")
    true(SUMS["reruns_in_turn_total"] * 200 >= SUMS["begun"], "fewer than one in 200 was undone to be made in turn")
    true(SUMS["checkpoints_total"] > 0, "no checkpoint was taken")


def tests():
    every = []
    kills = max(2, OPTIONS.txns // KILL_EVERY)
    for run, shards, faults, word in ([(served, n, 0, "history_of_%s_shards_is_serializable") for n in (1, 2, 4, 8)] +
                                      [(served, n, kills, "history_of_%s_shards_survives_kills") for n in (1, 2, 4, 8)] +
                                      [(embedded, n, kills, "history_of_a_program_on_%s_shards_survives_kills") for n in (1, 2, 4, 8)]):
        name = word % {1: "one", 2: "two", 4: "four", 8: "eight"}[shards]

        def one(folder, run=run, name=name, shards=shards, kills=faults):
            run(folder, name, shards, kills)
        one.__name__ = name
        every.append(one)
    for policy, shards in (("wait_die", 4), ("no_wait", 2)):
        name = "history_under_%s_survives_kills" % policy

        def other(folder, name=name, shards=shards, policy=policy):
            served(folder, name, shards, kills, policy)
        other.__name__ = name
        every.append(other)
    enough.__name__ = "histories_hold_aborts_and_wounds_enough"
    return every if OPTIONS.only else every + [enough]


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description="Histories against the real engine.")
    parser.add_argument("--build", default=harness.BUILD, help="the build folder")
    parser.add_argument("--txns", type=int, default=TXNS, help="transactions of each test")
    parser.add_argument("--budget", type=float, default=0, help="seconds: all tests again with new seeds until they are used")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1000000))
    parser.add_argument("--only", default="", help="only tests with this in their name")
    OPTIONS = parser.parse_args()
    harness.BUILD = os.path.abspath(OPTIONS.build)
    deadline = time.monotonic() + OPTIONS.budget

    def rounds():
        """All tests, and again while there is time."""
        while True:
            yield from (test for test in tests() if OPTIONS.only in test.__name__)
            if time.monotonic() >= deadline:
                return
            OPTIONS.seed += 1
    return harness.run(rounds(), 1)


if __name__ == "__main__":
    sys.exit(main())
