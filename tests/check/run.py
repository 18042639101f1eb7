#!/usr/bin/env python3
"""Checks the checker: good histories must pass, planted anomalies must be found.

    run.py [--build DIR] [--seed N] [--txns N]

Golden histories with the class that must be named (golden.txt), the same with a hole in the graph for the replay to
find, the same in Jepsen's shape; 1,000 good and 1,000 bad ones of generate.c; one large one within its time.
Here is a second generator, written apart: it runs transactions one after another on a small model and gives them overlapping times: good by
construction. Each plant then changes one thing that no strictly serializable system could have shown.
SPDX-License-Identifier: MIT
"""
import argparse
import copy
import os
import random
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LISTS, REGS, ACCOUNTS, START = 4, 3, 5, 1000


def generate(seed, count, unknown=0.0):
    """A good history: dicts with s, e, r, ops; then final reads."""
    rng = random.Random(seed)
    lists, regs = {"l%d" % i: [] for i in range(LISTS)}, {"r%d" % i: 0 for i in range(REGS)}
    accounts = {"a%d" % i: [0, START] for i in range(ACCOUNTS)}
    txns, value = [], 0
    for n in range(count):
        ops = []
        for _ in range(rng.randint(1, 5)):
            kind = rng.choice(["append", "append", "read", "write", "get", "transfer", "audit"])
            value += 1
            if kind == "append":
                key = rng.choice(list(lists))
                lists[key].append(value)
                ops.append(["append", key, value, len(lists[key])])
            elif kind == "read":
                key = rng.choice(list(lists))
                ops.append(["read", key, list(lists[key])])
            elif kind == "write":
                key = rng.choice(list(regs))
                ops.append(["write", key, value, regs[key]])
                regs[key] = value
            elif kind == "get":
                key = rng.choice(list(regs))
                ops.append(["read", key, regs[key]])
            elif kind == "audit":
                key = rng.choice(list(accounts))
                ops.append(["read", key, list(accounts[key])])
            else:
                a, b = rng.sample(list(accounts), 2)
                amount = rng.randint(0, min(20, accounts[a][1]))
                answers = []
                for key, change in ((a, -amount), (b, amount)):
                    accounts[key][0] += 1
                    answers.append(list(accounts[key]))
                    accounts[key][1] += change
                ops.append(["transfer", a, b, amount, *answers])
        result = "unknown" if rng.random() < unknown else "ok"
        txns.append({"s": n * 10, "e": n * 10 + rng.randint(5, 28), "r": result, "ops": ops})
    final = [["read", k, v] for k, v in lists.items()] + [["read", k, v] for k, v in regs.items()] + \
        [["read", k, v] for k, v in accounts.items()]
    txns.append({"final": True, "r": "ok", "ops": copy.deepcopy(final)})
    return txns


def text(txns):
    import json
    lines = ["i a%d %d" % (i, START) for i in range(ACCOUNTS)]
    for n, t in enumerate(txns):
        ops = t["ops"]
        if t["r"] != "ok":
            ops = [op[:4] if op[0] == "transfer" else op[:3] if op[0] in ("append", "write") else op[:2] for op in ops]
        head = "f c=0" if t.get("final") else "t c=%d s=%d e=%d" % (n % 7, t["s"], t["e"])
        if "id" in t:
            head += " id=" + t["id"]
        lines.append("%s r=%s%s o=%s" % (head, t["r"], " x=app" if t["r"] == "fail" else "", json.dumps(ops, separators=(",", ":"))))
    return "\n".join(lines) + "\n"


def ops_of(txns, *kinds, key=None, final=False):
    return [(t, op) for t in txns for op in t["ops"]
            if op[0] in kinds and bool(t.get("final")) == final and t["r"] == "ok" and (key is None or op[1][0] == key)]


def pick(rng, found):
    return rng.choice(found)


def last_read(txns, rng, least=3):
    return pick(rng, [(t, op) for t, op in ops_of(txns, "read", key="l") if len(op[2]) >= least])


def swap(txns, rng):
    _, op = last_read(txns, rng)
    op[2][0], op[2][1] = op[2][1], op[2][0]


def lose_last(txns, rng):
    _, op = pick(rng, [(t, o) for t, o in ops_of(txns, "read", key="l", final=True) if o[2]])
    op[2].pop()


def lose_middle(txns, rng):
    _, op = last_read(txns, rng)
    op[2].pop(1)


def double(txns, rng):
    _, op = last_read(txns, rng)
    op[2].append(op[2][0])


def phantom(txns, rng):
    _, op = last_read(txns, rng)
    op[2].append(999999)


def seen_failure(txns, rng):
    t, op = pick(rng, ops_of(txns[:20], "append"))
    t["r"] = "fail"


def stale_list(txns, rng):
    t, op = pick(rng, [(t, o) for t, o in ops_of(txns[len(txns) // 2:], "read", key="l") if len(o[2]) > 8])
    t["ops"] = [["read", op[1], op[2][:3]]]


def lost_register(txns, rng):
    found = [(t, o) for t, o in ops_of(txns, "write")]
    by = {}
    for t, op in found:
        by.setdefault(op[1], []).append(op)
    ops = pick(rng, [o for o in by.values() if len(o) > 4])
    ops[3][3] = ops[2][3]


def stale_register(txns, rng):
    first = {}
    for t, op in ops_of(txns[:15], "write"):
        first.setdefault(op[1], op[2])
    t, op = pick(rng, [(t, o) for t, o in ops_of(txns[30:], "read", key="r") if o[1] in first])
    t["ops"] = [["read", op[1], first[op[1]]]]


def phantom_register(txns, rng):
    _, op = pick(rng, ops_of(txns, "read", key="r"))
    op[2] = 888888


def final_register(txns, rng):
    writes = {}
    for _, op in ops_of(txns, "write"):
        writes.setdefault(op[1], []).append(op[2])
    key = pick(rng, [k for k, v in writes.items() if len(v) > 2])
    for _, op in ops_of(txns, "read", final=True):
        if op[1] == key:
            op[2] = writes[key][0]


def seq_gap(txns, rng):
    _, op = pick(rng, ops_of(txns[10:], "transfer"))
    op[4][0] += 3


def seq_twice(txns, rng):
    found = {}
    for _, op in ops_of(txns, "transfer"):
        found.setdefault(op[1], []).append(op)
    ops = pick(rng, [o for o in found.values() if len(o) > 2])
    ops[1][4][0] = ops[0][4][0]


def balance_off(txns, rng):
    _, op = pick(rng, ops_of(txns[5:], "transfer"))
    op[4][1] += 1


def receiver_off(txns, rng):
    _, op = pick(rng, ops_of(txns[5:], "transfer"))
    op[5][1] -= 1


def negative(txns, rng):
    _, op = pick(rng, ops_of(txns[5:], "read", key="a"))
    op[2][1] = -5


def final_balance(txns, rng):
    _, op = pick(rng, ops_of(txns, "read", key="a", final=True))
    op[2][1] += 7


def audit_stale(txns, rng):
    t, op = pick(rng, [(t, o) for t, o in ops_of(txns[40:], "read", key="a") if o[2][0] > 6])
    t["ops"] = [["read", op[1], [0, START]]]


def half_unknown(txns, rng):
    t = pick(rng, [t for t in txns if not t.get("final") and
                   len({op[1] for op in t["ops"] if op[0] == "append"}) > 1 and not any(o[0] == "write" for o in t["ops"])])
    t["r"] = "unknown"
    op = next(o for o in t["ops"] if o[0] == "append")
    for other in txns:
        for o in other["ops"]:
            if o[0] == "read" and o[1] == op[1] and op[2] in o[2]:
                o[2].remove(op[2])
            if o[0] == "append" and o[1] == op[1] and len(o) > 3 and o[3] > op[3]:
                o[3] -= 1


def twice(txns, rng):
    found = [t for t in txns if not t.get("final") and t["ops"][0][0] == "append"]
    a, b = found[2], found[9]
    a["id"] = b["id"] = "same"


def wrong_length(txns, rng):
    _, op = pick(rng, ops_of(txns[10:], "append"))
    op[3] += 1


def own_append(txns, rng):
    t, op = pick(rng, ops_of(txns[20:], "append"))
    at = t["ops"].index(op)
    t["ops"].insert(at + 1, ["read", op[1], [11, 12]])


PLANTS = [swap, lose_last, lose_middle, double, phantom, seen_failure, stale_list, lost_register, stale_register,
          phantom_register, final_register, seq_gap, seq_twice, balance_off, receiver_off, negative, final_balance,
          audit_stale, half_unknown, twice, wrong_length, own_append]


def golden():
    """(name, class, text) of each history in golden.txt."""
    with open(os.path.join(HERE, "golden.txt")) as file:
        blocks = file.read().split("\n== ")[1:]
    for block in blocks:
        head, _, lines = block.partition("\n")
        name, _, kind = head.rpartition(": ")
        yield name, kind.strip(), lines


class Judge:
    def __init__(self, build):
        self.folder = os.path.join(build, "tests", "check")
        self.passed = self.failed = self.skipped = 0

    def note(self, right, text):
        self.passed, self.failed = self.passed + bool(right), self.failed + (not right)
        if not right:
            print("FAIL " + text)

    def check(self, history, *options):
        run = subprocess.run([os.path.join(self.folder, "weir-check-history"), *map(str, options), "-"], input=history,
                             capture_output=True, text=True)
        first = next((line.split()[1].rstrip(":") for line in run.stdout.splitlines() if line.startswith("ANOMALY")), "ok")
        return run.returncode, first, run.stdout + run.stderr

    def many(self, *options):
        run = subprocess.run([os.path.join(self.folder, "check_generate"), "--checker",
                              os.path.join(self.folder, "weir-check-history"), *map(str, options)],
                             capture_output=True, text=True)
        print(run.stdout, end="")
        self.note(run.returncode == 0, "generated histories " + " ".join(map(str, options)))


def golden_histories(judge):
    histories, replayed = list(golden()), 0
    for name, wanted, lines in histories:
        code, first, said = judge.check(lines)
        judge.note(first == wanted and code == (wanted != "ok"), "golden `%s`: wanted %s, got %s (exit code %d)\n%s" % (
            name, wanted, first, code, said))
    # Without the edges that show a cycle only the replay is left, and it must not need them.
    for name, wanted, lines in histories:
        if not wanted.startswith(("G-", "G2-", "G1c")):
            continue
        forget = "rw" if wanted.startswith("G-") or wanted.startswith("G2") else "wr"
        code, first, said = judge.check(lines, "--forget", forget)
        replayed += 1
        judge.note(code == 1 and first in ("replay", wanted), "golden `%s` without its %s edges: got %s\n%s" % (
            name, forget, first, said))
    print("%d golden histories; %d of them again with a hole in the graph, for the replay to find" % (
        len(histories), replayed))
    judge.note(len(histories) >= 60, "fewer than 60 golden histories")


def shortest_cycles(judge):
    """Of a ring of three and one of two that share transactions, the one of two is told; time costs nothing."""
    line = "t c=%d s=%d e=%d r=ok o=[%s]\n"
    skew = line % (0, 0, 90, '["read","l1",[]],["read","l3",[]],["append","l2",1,1]') + line % (
        1, 1, 91, '["read","l2",[]],["append","l3",2,1]') + line % (2, 2, 92, '["read","l3",[]],["append","l1",3,1]')
    said = judge.check(skew)[2]
    judge.note(said.count("-rw ") == 2 and said.startswith("ANOMALY G2-item: line "), "not the shortest cycle: %s" % said)
    stale = line % (0, 0, 5, '["append","l1",1,1]') + "".join(
        line % (n, n * 10, n * 10 + 5, '["append","l2",%d,%d]' % (n, n)) for n in range(1, 50)) + line % (
            90, 1000, 1001, '["read","l1",[]]')
    said = judge.check(stale)[2]
    judge.note("G-single-realtime: line 1 -ended before-> line 51 -rw l1-> line 1\n" in said or
               "G-single-realtime: line 51 -rw l1-> line 1 -ended before-> line 51\n" in said, "not the shortest way: %s" % said)


def vacuous_runs(judge):
    second = 1000000000
    busy = "".join("t c=0 s=%d e=%d r=%s o=[[\"append\",\"l1\",%d]]\n" % (n * second // 100, n * second // 100 + 1, "ok" if n % 5 else
                                                                        "fail", n) for n in range(100))
    limits = ("--min-ok-share", 0.9, "--min-rate", 50)
    judge.note(judge.check(busy, *limits)[0] == 3, "a fifth of failures outside of faults passes")
    with tempfile.NamedTemporaryFile("w", suffix=".windows") as file:
        file.write("0 %d\n%d %d\n" % (second * 3 // 10, second // 2, second * 2))
        file.flush()
        quiet = "".join(line + "\n" for n, line in enumerate(busy.splitlines()) if n % 5 or n <= 30 or n >= 50)
        code, _, said = judge.check(quiet, *limits, "--windows", file.name)
        judge.note(code == 0, "failures inside of faults count: %s" % said)
        judge.note(judge.check(quiet, *limits)[0] == 3, "failures count where no fault is told of")
    slow = busy.replace("r=fail", "r=ok")
    judge.note(judge.check(slow, *limits)[0] == 0, "100 transactions a second are too few")
    judge.note(judge.check("".join(slow.splitlines(True)[::3]), *limits)[0] == 3, "33 transactions a second are enough")
    judge.note(judge.check(slow, "--min-txns", 101)[0] == 3, "100 transactions pass for 101")


def converted(judge):
    """Lists and registers of ours in Jepsen's shape get the same verdict."""
    sys.path.insert(0, HERE)
    import to_jepsen
    count = 0
    for name, wanted, lines in golden():
        if (lines.startswith("{") or not wanted.startswith("G") or " by=" in lines or '"a1"' in lines or '"write"' in lines or
                "refusal" in name):
            continue
        count += 1
        first = judge.check("".join(to_jepsen.convert(lines.splitlines())))[1]
        same = {wanted, wanted.replace("-process", "-realtime")}
        judge.note(first in same, "golden `%s` as Jepsen's: wanted %s, got %s" % (name, wanted, first))
    judge.note(count >= 15, "only %d histories converted" % count)


def large(judge, txns):
    """A million in one file, within its time and memory."""
    with tempfile.NamedTemporaryFile("w", suffix=".history") as file:
        subprocess.run([os.path.join(judge.folder, "check_generate"), "--txns", str(txns), "--seed", "7"], stdout=file, check=True)
        child = subprocess.Popen([os.path.join(judge.folder, "weir-check-history"), file.name], stdout=subprocess.PIPE, text=True)
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        child.stdout.close()
    seconds, megabytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    print("%d transactions in one history: %.2f s of processor time, %.0f MB" % (txns, seconds, megabytes))
    judge.note(child.returncode == 0, "%d transactions: %s" % (txns, said))
    if "-asan" in judge.folder or "-tsan" in judge.folder:
        print("SKIP time and memory of a large history: a sanitizer slows it down")
        judge.skipped += 1
        return
    judge.note(seconds <= 5 * txns / 1e6 + 0.2, "slower than 1,000,000 transactions in 5 s")
    judge.note(megabytes <= 1024 * txns / 1e6 + 32, "more than 1 GB for 1,000,000 transactions")


def sanitized():
    """What a sanitizer finds must not look like an anomaly: both end with 1 by default."""
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        os.environ[name] = (os.environ[name] + ":" if os.environ.get(name) else "") + "exitcode=99"


def main():
    sanitized()
    parser = argparse.ArgumentParser(description="Checks the checker.")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1000000))
    parser.add_argument("--txns", type=int, default=200000, help="in the one large history")
    options = parser.parse_args()
    judge = Judge(os.path.abspath(options.build))
    golden_histories(judge)
    shortest_cycles(judge)
    vacuous_runs(judge)
    converted(judge)
    for seed in range(40):
        code, first, _ = judge.check(text(generate(seed, 120, unknown=0.1 if seed % 2 else 0)))
        judge.note(code == 0, "good seed %d: %s" % (seed, first))
    for plant in PLANTS:
        for seed in range(3):
            txns = generate(seed * 31 + 5, 120)
            plant(txns, random.Random(seed))
            judge.note(judge.check(text(txns))[0] == 1, "%s seed %d is not found" % (plant.__name__, seed))
    count = 200 if "-asan" in judge.folder or "-tsan" in judge.folder else 1000
    judge.many("--seed", options.seed, "--count", count)
    judge.many("--seed", options.seed, "--count", count, "--planted")
    large(judge, options.txns)
    if judge.failed:
        print("again: tests/check/run.py --build %s --seed %d" % (options.build, options.seed))
    print("%d passed, %d failed, %d skipped" % (judge.passed, judge.failed, judge.skipped))
    return judge.failed != 0


if __name__ == "__main__":
    sys.exit(main())
