#!/usr/bin/env python3
"""Checks the checker: good histories must pass, planted anomalies must be found.

    run.py --build DIR

A generator runs transactions one after another on a small model and gives them overlapping times: good by
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

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
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


# small histories by hand: (start, end, ops)
def hand(*txns, final):
    return [{"s": s, "e": e, "r": "ok", "ops": ops} for s, e, ops in txns] + [{"final": True, "r": "ok", "ops": final}]


HAND = {
    "write-skew": hand((0, 90, [["read", "l1", []], ["append", "l2", 1, 1]]), (1, 91, [["read", "l2", []], ["append", "l1", 2, 1]]),
                       final=[["read", "l1", [2]], ["read", "l2", [1]]]),
    "fractured-read": hand((0, 90, [["append", "l1", 1, 1], ["append", "l2", 2, 1]]), (1, 91, [["read", "l1", [1]], ["read", "l2", []]]),
                           final=[["read", "l1", [1]], ["read", "l2", [2]]]),
    "intermediate-read": hand((0, 90, [["append", "l1", 1, 1], ["append", "l1", 2, 2]]), (1, 91, [["read", "l1", [1]]]),
                              final=[["read", "l1", [1, 2]]]),
    "circular-reads": hand((0, 90, [["append", "l1", 1, 1], ["read", "l2", [2]]]), (1, 91, [["append", "l2", 2, 1], ["read", "l1", [1]]]),
                           final=[["read", "l1", [1]], ["read", "l2", [2]]]),
    "write-order": hand((0, 90, [["append", "l1", 1, 1], ["append", "l2", 2, 2]]), (1, 91, [["append", "l1", 3, 2], ["append", "l2", 4, 1]]),
                        final=[["read", "l1", [1, 3]], ["read", "l2", [4, 2]]]),
    "real-time": hand((0, 10, [["append", "l1", 1, 1]]), (20, 30, [["read", "l1", []]]), final=[["read", "l1", [1]]]),
    "real-time-register": hand((0, 10, [["write", "r1", 5, 0]]), (20, 30, [["read", "r1", 0]]), final=[["read", "r1", 5]]),
    "long-fork": hand((0, 90, [["append", "l1", 1, 1]]), (1, 91, [["append", "l2", 2, 1]]),
                      (2, 92, [["read", "l1", [1]], ["read", "l2", []]]), (3, 93, [["read", "l1", []], ["read", "l2", [2]]]),
                      final=[["read", "l1", [1]], ["read", "l2", [2]]]),
    "three-cycle": hand((0, 90, [["read", "l1", []], ["append", "l2", 1, 1]]), (1, 91, [["read", "l2", []], ["append", "l3", 2, 1]]),
                        (2, 92, [["read", "l3", []], ["append", "l1", 3, 1]]),
                        final=[["read", "l1", [3]], ["read", "l2", [1]], ["read", "l3", [2]]]),
    "lost-append": hand((0, 10, [["append", "l1", 1, 1]]), final=[["read", "l1", []]]),
    "money-made": hand((0, 10, [["transfer", "a1", "a2", 5, [1, 1000], [1, 1000]]]),
                       final=[["read", "a1", [1, 1000]], ["read", "a2", [1, 1005]]]),
}
PLANTS = [swap, lose_last, lose_middle, double, phantom, seen_failure, stale_list, lost_register, stale_register,
          phantom_register, final_register, seq_gap, seq_twice, balance_off, receiver_off, negative, final_balance,
          audit_stale, half_unknown, twice, wrong_length, own_append]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    options = parser.parse_args()
    checker = os.path.join(os.path.abspath(options.build), "tests/check/weir-check-history")
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "h")

        def judge(name, txns, good):
            nonlocal passed, failed
            with open(path, "w") as file:
                file.write(text(txns))
            run = subprocess.run([checker, path], capture_output=True, text=True)
            right = run.returncode == (0 if good else 1)
            passed, failed = passed + right, failed + (not right)
            if not right:
                print("FAIL %s: %s" % (name, run.stdout.strip().splitlines()[:2] or run.stderr.strip()))

        for seed in range(40):
            judge("good seed %d" % seed, generate(seed, 120, unknown=0.1 if seed % 2 else 0), True)
        for name, txns in HAND.items():
            judge(name, txns, False)
        for plant in PLANTS:
            for seed in range(3):
                txns = generate(seed * 31 + 5, 120)
                plant(txns, random.Random(seed))
                judge("%s seed %d" % (plant.__name__, seed), txns, False)
        print("40 good histories; %d planted ones of %d kinds" % (len(HAND) + 3 * len(PLANTS), len(HAND) + len(PLANTS)))
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
