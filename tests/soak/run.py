#!/usr/bin/env python3
"""The soak (T15): everything at once at a constant size, a fault every few minutes, and nothing grows, drifts or is lost.

    tests/soak/run.py [--build DIR] [--budget SECONDS] [--seed N] [--judge] [--rate X]

Ends with `N passed, N failed, N skipped`: a test is what may be said of the whole run.

SPDX-License-Identifier: MIT
"""
import argparse
import hashlib
import json
import os
import random
import resource
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]

import harness
import clients
import watch
from harness import Fail, Folder, RespError, Skip, equal, true, until
from world import MIB, Actor, Histogram, World

BUDGET = 25           # of CI
ACCOUNTS, TARGETS = 100, ["r%d" % i for i in range(4)]
BALLAST, BALLAST_BYTES = 200, 40000    # rows that lie there
FAULT_EVERY = 300     # seconds, in a long run
SETTLE = 60           # seconds for clients to be on time again after a fault
DRIFT = 1.2           # of p99
WORK_DRIFT = 1.3      # of processor time: caches that others use, and clocks of processors, make 10 or 20 % of it


# ---- faults ----

class Faults(Actor):
    """One after the other, each at its time. In the third quarter the process lives on, so that its memory can be judged."""
    LIVE = ("cut", "pause", "full")
    ALL = ("kill", "cut", "reshard", "pause", "kill", "full", "reshard", "cut")

    def __init__(self, world, everyone):
        super().__init__(world, "faults")
        self.everyone, self.choose = everyone, random.Random(world.seed)
        self.every = min(FAULT_EVERY, world.seconds / 10)
        self.counts, self.starts, self.recoveries = {}, Histogram(), Histogram()

    def work(self):
        world, n = self.world, 0
        while True:
            n += 1
            wait = world.begun + n * self.every - time.monotonic()
            if n * self.every > world.seconds - self.every / 2 or world.over.wait(max(0, wait)):
                return
            quarter = world.eighth(time.monotonic()) // 2
            kinds = self.LIVE if quarter == 2 else self.ALL
            kind = kinds[n % len(kinds)]
            with world.lock:
                world.quiet_from = float("inf")
            getattr(self, kind)()
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.recovered(kind)

    def recovered(self, kind):
        """All clients are on time again."""
        begin = time.monotonic()
        self.until(lambda: all(c.behind < 0.1 for c in self.everyone), "clients are on time again after %s" % kind)
        self.recoveries.add(time.monotonic() - begin)
        with self.world.lock:
            self.world.quiet_from = time.monotonic() + min(1, self.every / 5)

    def until(self, condition, what):
        until(lambda: self.world.over.is_set() or condition(), what, SETTLE)

    def kill(self):
        self.starts.add(self.world.restart("kill"))

    def reshard(self):
        self.starts.add(self.world.restart("stop", 5 - self.world.shards))    # 2 and 3 in turns

    def pause(self):
        """The whole process stands still, as a virtual machine does that is moved."""
        os.kill(self.world.server.process.pid, signal.SIGSTOP)
        self.world.over.wait(1)
        os.kill(self.world.server.process.pid, signal.SIGCONT)

    def cut(self):
        """A third of the clients reset their connection within a request, or before its answer."""
        cut = self.choose.sample(self.everyone, max(2, len(self.everyone) // 3))
        for client in cut:
            client.cut = self.choose.choice(("within", "after"))
        self.until(lambda: all(c.cut is None for c in cut), "clients cut their connections")

    def full(self):
        """No file may grow: writes are refused, and go on when there is room."""
        pid, before = self.world.server.process.pid, sum(c.full for c in self.everyone)
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, hard))
        try:
            self.until(lambda: sum(c.full for c in self.everyone) > before, "writes are refused on a full disk")
            self.world.over.wait(0.3)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


# ---- the replay ----

def twin(load):
    """{(type, key): row} of all entities, from what clients were told."""
    rows = {}
    for place in range(ACCOUNTS):
        balance, n = sum(c.balance[place] for c in load["transfers"]), sum(c.count[place] for c in load["transfers"])
        rows["account", "a%d" % place] = {"balance": balance, "n": n, "seen": n, "total": balance, "odd": 0, "counted": n, "windowed": balance}
    empty = {"puts": 0, "asked": 0, "posted": 0, "rung": 0, "rung_sum": 0, "rung_squares": 0, "odd": 0}
    for c in load["puts"]:
        for name, puts in zip(c.boxes, c.puts):
            rows["box", name] = dict(empty, puts=puts, items={str(n): clients.item_text(n) for n in range(max(1, puts - c.KEEP + 1), puts + 1)})
    for c in load["posts"]:
        rows["box", c.name] = dict(empty, posted=c.posted, rung=c.posted, rung_sum=c.sum, rung_squares=c.squares)
    for to in TARGETS:
        rows["box", to] = dict(empty, senders={c.name: dict(zip(("last", "count", "sum"), c.sent[to])) for c in load["posts"] if c.sent[to][0]})
    for c in load["asks"]:
        rows["box", c.name] = dict(empty, asked=c.asked)
        rows["gate", "gate-of-" + c.name] = {"n": c.asked}
    for c in load["prices"]:
        for name in c.seen:
            rows["item", name] = {"seen": c.seen[name], "price": c.price[name]}
    for name in {who for c in load["ticks"] for who in c.counted}:
        rows["tally", name] = {"counted": sum(c.counted.get(name, 0) for c in load["ticks"]), "total": sum(c.total.get(name, 0) for c in load["ticks"])}
    for c in load["trades"]:
        rows["trader", c.name] = {"n": c.n, "met": c.n, "sum": c.sum, "squares": c.squares}
    return rows


def rows_read(server, wanted):
    """The same from the server, and how many events were late."""
    rows, late = {}, 0
    connection = server.connect()
    for kind, key in wanted:
        row = connection.row(kind, key) or {}
        late += row.pop("late", 0)
        for name in ("items", "senders"):
            if name in wanted[kind, key]:
                row[name] = map_read(server, "/%s/%s/%s" % (kind, key, name))
        rows[kind, key] = row
    connection.close()
    return rows, late


def map_read(server, path):
    reply = server.get(path + "?limit=1000")
    equal(reply.status, 200, path)
    return {str(row["key"]): row["value"] for row in reply.json}


def digest(rows):
    text = json.dumps(sorted((kind, key, row) for (kind, key), row in rows.items()), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(got, wanted):
    return ["%s/%s: %s %r, wanted %r" % (*name, field, got[name].get(field), wanted[name][field])
            for name in wanted for field in wanted[name] if got[name].get(field) != wanted[name][field]] + \
           ["%s/%s: %s was not wanted" % (*name, field) for name in wanted for field in got[name] if field not in wanted[name]]


# ---- the run ----

class Soak:
    def __init__(self, options):
        self.options, self.words = options, []

    def say(self, text):
        self.words.append(text)

    def clients_make(self, world, rate):
        # operations a second at rate 1: 126; each transfer is an event at two accounts, with their followers and windows
        return {
            "transfers": [clients.Transfers(world, "t%d" % i, 20 * rate, ACCOUNTS) for i in range(2)],
            "puts": [clients.Puts(world, "p0", 20 * rate, 4)],
            "posts": [clients.Posts(world, "m%d" % i, 10 * rate, TARGETS) for i in range(2)],
            "asks": [clients.Asks(world, "d0", 8 * rate)],
            "prices": [clients.Prices(world, "l0", 10 * rate)],
            "ticks": [clients.Ticks(world, "k%d" % i, 4 * rate) for i in range(2)],
            "trades": [clients.Trades(world, "j0", 20 * rate)],
        }

    def prepare(self, world):
        connection = world.server.connect()
        for n in range(BALLAST):
            equal(connection.call("ballast", "b%d" % n, "fill", chr(97 + n % 26) * BALLAST_BYTES), None, "ballast")
        equal(connection.ask("XGROUP", "CREATE", "moved", "g", "0"), "OK")
        connection.close()

    def run(self, world):
        self.prepare(world)
        self.load = self.clients_make(world, self.options.rate)
        self.everyone = [c for some in self.load.values() for c in some]
        self.group = clients.Group(world, ACCOUNTS)
        self.xread, self.sse = clients.XRead(world, "xread", ACCOUNTS), clients.ServerSent(world, "sse")
        self.readers = [self.xread, self.sse] + [clients.Consumer(world, "c%d" % i, self.group) for i in range(2)]
        self.watch = watch.Watch(world, lambda: world.server.connect(), lambda: sum(c.done for c in self.everyone))
        self.faults = Faults(world, self.everyone)
        world.begun = world.quiet_from = time.monotonic()
        for actor in self.everyone + self.readers + [self.watch, self.faults]:
            actor.start()
        world.over.wait(world.seconds)
        world.over.set()
        for actor in [self.faults, *self.everyone, self.watch]:
            actor.join(120)
            if actor.is_alive():
                raise Fail("%s does not end" % actor.name)
        self.settled(world)
        if world.failure:
            raise world.failure

    def settled(self, world):
        """What follows from the last requests is done."""
        self.wanted = twin(self.load)
        seconds = 60

        def same():
            self.got, self.late = rows_read(world.server, self.wanted)
            return world.failure or not differences(self.got, self.wanted)
        try:
            until(same, "the state is the replay's", seconds)
            until(lambda: world.failure or (self.xread.read == self.group.read == sum(self.xread.last) and
                                            sum(self.xread.last) == sum(r["n"] for (k, _), r in self.wanted.items() if k == "account") and
                                            self.sse.read == sum(c.n for c in self.load["trades"])), "readers have read all", seconds)
        except Fail as reason:
            found = differences(self.got, self.wanted)
            if not found:
                raise
            raise Fail("%s: %d differences: %s" % (reason, len(found), "; ".join(found[:6]))) from None
        finally:
            for reader in self.readers:
                reader.ended = True
        for reader in self.readers:
            reader.join(30)

    # ---- what may be said of it: each a test ----

    def the_state_is_what_an_independent_replay_gives(self, world):
        equal(digest(self.got), digest(self.wanted), "state")
        true(self.late > 0, "no event was late")
        acknowledged = sum(c.done for c in self.everyone)
        self.say("%d operations acknowledged (%d tries more), %d rows, hash %s; %d events late for their window" % (
            acknowledged, sum(c.again for c in self.everyone), len(self.wanted), digest(self.got), self.late))
        true(acknowledged > 0.5 * world.seconds * sum(c.rate for c in self.everyone), "the load was not offered: %d operations" % acknowledged)
        for how, shards in (("kill", None), ("stop", 5 - world.shards)):
            world.restart(how, shards)
            equal(digest(rows_read(world.server, self.wanted)[0]), digest(self.wanted), "state after %s" % how)

    def messages_timers_windows_and_the_schedule_happen_once(self, world):
        # their sums are in the rows; here: nothing is left, nothing was parked, no second was left out
        standing = 1 + len(self.load["posts"])    # of the schedule, and the one that each of them keeps taking back

        def left():
            found = {name: int(value) for name, value in watch.info(world.server.connect()).items() if value.isdigit()}
            return found["messages_pending"], found["answers_pending"], found["timers_pending"] - standing - found["answers_kept"]
        try:
            until(lambda: left() == (0, 0, 0), "all is done", 30)
        except Fail:
            equal(left(), (0, 0, 0), "messages, answers and timers that are left, but those that stand")
        equal(world.server.get("/parked").json["parked"], [], "parked work")
        clock = world.server.get("/clock/main").json
        equal(clock["odd"], 0, "seconds that came out of turn")
        equal(clock["runs"], (clock["last"] - clock["first"]) // 1000 + 1, "runs of the schedule")
        true(clock["runs"] >= world.seconds - 2, "the schedule ran %d times in %.0f s" % (clock["runs"], world.seconds))
        for name in ("pairs_late", "pairs"):
            events = world.server.get("/streams/%s/info" % name).json["events"]
            true((events == 0) == (name == "pairs_late"), "%d events of %s" % (events, name))
        self.say("%d seconds of the schedule" % clock["runs"])

    def readers_and_consumers_get_each_event(self, world):
        balance = {k: r["balance"] for (kind, k), r in self.wanted.items() if kind == "account"}
        for name, sums in (("XREAD", self.xread.sum), ("the group", self.group.sum)):
            equal({"a%d" % i: n for i, n in enumerate(sums)}, balance, "sums of what %s read" % name)
        equal(world.server.connect().ask("XPENDING", "moved", "g")[0], 0, "pending")
        until(lambda: world.server.get("/streams/prices/info").json["bytes"] < 2 * MIB, "the stream kept as latest is compacted", 30)
        self.say("XREAD %d, group %d (%d delivered again), server-sent %d events; %d times they connected again" % (
            self.xread.read, self.group.read, sum(r.read for r in self.readers[2:]) - self.group.read, self.sse.read, sum(r.again for r in self.readers)))

    def each_fault_is_got_over(self, world):
        self.say("%s; slowest start %.2f s; on time again within %.2f s; longest latency %.1f s" % (
            ", ".join("%d %s" % (n, kind) for kind, n in sorted(self.faults.counts.items())), self.faults.starts.most,
            self.faults.recoveries.most, world.disturbed.most))
        missing = set(Faults.ALL) - set(self.faults.counts)
        true(not missing, "faults that did not happen: %s" % ", ".join(sorted(missing)))

    def memory_stays_at_constant_data(self, world):
        lives = {}
        for s in self.watch.samples:
            lives.setdefault(s.life, []).append(s.at)
        longest = max(lives, key=lambda life: lives[life][-1] - lives[life][0])
        full = world.seconds / 8 >= world.window_s
        watch.memory(self.watch, longest, 0 if full else sum(c.done for c in self.everyone), self.say)

    def descriptors_stay(self, world):
        watch.open_files(self.watch, self.say)

    def the_disk_holds_what_is_alive_and_no_more(self, world):
        watch.room(self.watch, self.say)

    def latencies_do_not_drift(self, world):
        first, last = (Histogram().merge(world.eighths[a]).merge(world.eighths[b]) for a, b in ((1, 2), (6, 7)))
        self.say("p50 and p99 in ms, by eighth: " + ", ".join("%.1f %.1f" % (h.percentile(0.5) * 1e3, h.percentile(0.99) * 1e3) for h in world.eighths))
        drift = last.percentile(0.99) / first.percentile(0.99)
        text = "p99 %.1f ms, later %.1f ms: %.2f times" % (first.percentile(0.99) * 1e3, last.percentile(0.99) * 1e3, drift)
        self.say("share of other programs in the machine, by eighth: " + " ".join("%.2f" % self.watch.others([n]) for n in range(8)))
        if drift <= DRIFT:
            self.say(text)
            return
        if not self.options.judge:
            raise Skip(text + "; time is judged with --judge")
        others = max(self.watch.others([1, 2]), self.watch.others([6, 7]))
        if others > watch.OTHERS_MAX:
            raise Skip(text + "; too noisy a machine to judge: others took %.0f %% of it" % (others * 100))
        raise Fail(text)

    def work_does_not_drift(self, world):
        """Processor time, which other programs hardly change: what a lookup or a queue that grows would show in."""
        work = [self.watch.work_ms([n]) for n in range(8)]
        self.say("processor time of an operation with all that comes of it, in ms, by eighth: " + " ".join("%.2f" % w for w in work))
        first, last = self.watch.work_ms([1, 2]), self.watch.work_ms([6, 7])
        if last > first * WORK_DRIFT:
            raise (Fail if self.options.judge else Skip)("%.2f ms, later %.2f ms%s" % (first, last, "" if self.options.judge else "; judged with --judge"))

    TESTS = (the_state_is_what_an_independent_replay_gives, messages_timers_windows_and_the_schedule_happen_once,
             readers_and_consumers_get_each_event, each_fault_is_got_over, memory_stays_at_constant_data, descriptors_stay,
             the_disk_holds_what_is_alive_and_no_more, work_does_not_drift, latencies_do_not_drift)


def again(options):
    print("     again: tests/soak/run.py --budget %d --seed %d --rate %g%s" % (
        options.budget, options.seed, options.rate, " --judge" * options.judge), flush=True)


def main():
    parser = argparse.ArgumentParser(description="The soak.")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds in all, about; 28800 for a night")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 30))
    parser.add_argument("--judge", action="store_true", help="a p99 that drifts fails; else it is shown and skipped")
    parser.add_argument("--rate", type=float, default=1.0, help="times the usual load")
    options = harness.options_read(parser)
    print("seed %d" % options.seed, flush=True)
    soak, counts = Soak(options), {"passed": 0, "failed": 0, "skipped": 0}
    with Folder() as folder:
        world = World(folder, options.seed, max(12, options.budget - 10), 60 if options.budget >= 600 else 30)
        with world.server:
            try:
                soak.run(world)
                tests = [test for test in Soak.TESTS if options.only in test.__name__]
            except Exception as reason:
                tests = ()
                world.fail(reason)
                print("FAIL the run\n%s" % "".join(traceback.format_exception(reason)), flush=True)
                if world.server.process.poll() is not None:
                    print("the server ended with exit code %s" % world.server.process.returncode)
                print(world.server.trace_text())
                counts["failed"] = 1
            for test in tests:
                soak.words, word, text = [], "passed", ""
                try:
                    test(soak, world)
                except Skip as reason:
                    word, text = "skipped", str(reason)
                except Exception as reason:
                    word, text = "failed", "%s\n%s" % (reason, "" if isinstance(reason, Fail) else traceback.format_exc())
                counts[word] += 1
                print("%s %s%s" % ({"passed": "ok  ", "failed": "FAIL", "skipped": "SKIP"}[word], test.__name__, ": " + text if text else ""))
                for line in soak.words:
                    print("       " + line)
    if counts["failed"]:
        again(options)
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
