"""weir.all: what parts mean does not depend on where their calls go, nor on how many are out at the same time.

Drawn programs, of parts of every form, are run on one shard, where all is in turn, and on three.
SPDX-License-Identifier: MIT
"""
import os
import random
import time

from harness import ROOT, RespError, Server, equal, patience, test, true

ALL = os.path.join(ROOT, "tests", "integration", "all.lua")
CELLS = "abcdefghijklmnopqrstuvwxyz"
PROGRAMS = 400


class Draw:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def cell(self):
        return self.random.choice(self.cells)

    def part(self, depth, reads):
        asks = reads or self.random.random() < 0.3
        form = "g" if self.random.random() < self.fails / 8 else self.random.choice("rrrrrrrrwsmhn")
        return form + self.cell() + ("?" if asks else "") + "(" + self.steps(depth - 1, asks) + ")"

    def steps(self, depth, reads):
        out = ""
        for _ in range(self.random.randrange(4)):
            step = self.random.randrange(20 if depth else 12)
            if step >= 13:
                out += ("t" if step == 13 else "") + "{" + "".join(self.part(depth, reads) for _ in range(self.random.randrange(1, 7))) + "}"
            elif step >= 8:
                out += "l" + self.cell()
            elif step >= 3:
                out += "a"
            elif step >= 1:
                out += "" if reads else "p" + ("z" if self.one_hears else self.cell())
            elif self.random.random() < self.fails:
                out += self.random.choice(("e", "f" + self.random.choice("uvwxy")))
        return out[:4000]

    def program(self):
        self.cells = CELLS[:25] if self.random.random() < 0.5 else CELLS[:self.random.randrange(2, 9)]
        self.one_hears = self.random.random() < 0.5
        self.fails = self.random.choice((0.02, 0.1, 0.3, 1))
        out = ""
        while "{" not in out:
            out = self.steps(3, False)
        return out


def rows(connection):
    connection.send(*[("CALL", "cell", c, "row") for c in CELLS])
    return [connection.read() for _ in CELLS]


def rows_judge(pair, where):
    """Once every message was heard, all rows are the same."""
    end = time.time() + 10
    while True:
        one, three = rows(pair[0]), rows(pair[1])
        if one == three or time.time() > end:
            equal(three, one, where)
            return


def plain(answer):
    return ("error", answer.code, answer.text) if isinstance(answer, RespError) else answer


def counter(server, name):
    lines = server.get("/metrics").body
    return int(next(line.split()[1] for line in (lines.decode() if isinstance(lines, bytes) else lines).splitlines() if line.startswith("weir_" + name + " ")))


@test
def drawn_parts_mean_the_same_on_any_shards(folder):
    seed = int(os.environ.get("ALL_SEED", random.randrange(1 << 30)))
    draw, failed = Draw(seed), 0
    budget = patience()
    with Server(ALL, folder.join("one"), "--shards", 1, *budget) as one, Server(ALL, folder.join("three"), "--shards", 3, *budget) as three:
        pair = [one.connect(), three.connect()]
        for n in range(PROGRAMS * 5 // 4):  # more than PROGRAMS calls go out, whatever is drawn
            program = draw.program()
            answers = [plain(c.call("cell", "a", "run", program, n)) for c in pair]
            equal(answers[1], answers[0], "ALL_SEED=%d tests/integration/run.py --only drawn_parts: program %d, %s" % (seed, n, program))
            failed += isinstance(answers[0], tuple)
            rows_judge(pair, "ALL_SEED=%d: after program %d, %s" % (seed, n, program))
        out = counter(three, "together_calls_total")
        true(out > PROGRAMS, "only %d calls were out: ALL_SEED=%d" % (out, seed))
        true(counter(three, "reruns_in_turn_total") > PROGRAMS // 20, "too few were run again in turn")
        equal(counter(one, "together_calls_total"), 0)
        true(PROGRAMS // 20 < failed < PROGRAMS * 3 // 4, "%d of %d failed" % (failed, PROGRAMS))


@test
def many_clients_at_once_leave_no_call_behind(folder):
    seed = int(os.environ.get("ALL_SEED", random.randrange(1 << 30)))
    draw = Draw(seed)
    with Server(ALL, folder.join("d"), "--shards", 3, "--threads", 2, *patience()) as server:
        clients = [server.connect() for _ in range(8)]
        for turn in range(12):
            for client in clients:
                client.send(*[("CALL", "cell", draw.random.choice(CELLS), "run", draw.program(), turn) for _ in range(8)])
            for client in clients:
                for _ in range(8):
                    answer = plain(client.read())
                    true(not (isinstance(answer, tuple) and answer[1] in ("TIMEOUT", "INTERNAL")), "ALL_SEED=%d: %r" % (seed, answer))
        end = time.time() + 20
        while counter(server, "open_transactions") > 0 and time.time() < end:
            pass
        equal(counter(server, "open_transactions"), 0, "ALL_SEED=%d" % seed)
        equal(server.stop(), 0)


@test
def a_coroutine_makes_its_parts_in_turn(folder):
    with Server(ALL, folder.join("d"), "--shards", 3) as server:
        connection = server.connect()
        for keys in ("bc", "de", "fg", "hi"):
            equal(connection.call("cell", "a", "routine", keys), 448)    # of each 7 * 31 + 7
        equal(counter(server, "together_calls_total"), 0)


@test
def a_part_that_runs_away_is_stopped_and_what_was_out_is_undone(folder):
    with Server(ALL, folder.join("d"), "--shards", 3, "--limit", "cpu_ms_max=50") as server:
        connection = server.connect()
        for key in "bcde":
            answer = connection.call("cell", "a", "spin", key)
            true(isinstance(answer, RespError) and answer.code == "BUDGET", repr(answer))
        equal([connection.call("cell", key, "look") for key in "abcde"], [0] * 5)
        connection.call("cell", "a", "run", "{rb(a)rc(a)rd(a)}", 0)
        equal([connection.call("cell", key, "look") for key in "bcd"], [7] * 3)
