#!/usr/bin/env python3
"""A history of ours as JSON lines in Jepsen's shape, for Elle (elle-cli) or any other checker.

    to_jepsen.py [FILE] > history.jsonl

Lists and registers go over; accounts have no counterpart there and are left out, with the transactions that hold
nothing else. A client whose transaction has an unknown outcome goes on as another process, as Jepsen wants.
SPDX-License-Identifier: MIT
"""
import json
import sys


def operations(ops, is_ok):
    for op in ops:
        kind, key = op[0], op[1][1:]
        if op[1][0] == "a":
            continue
        if kind == "append":
            yield ["append", key, op[2]]
        elif kind == "write":
            yield ["w", key, op[2]]
        else:
            value = op[2] if is_ok and len(op) > 2 else None
            if op[1][0] == "r" and isinstance(value, list):
                value = value[1]
            yield ["r", key, value if value != 0 or op[1][0] == "l" else None]


def convert(lines):
    """Lines of JSON, in order of time."""
    events, process_of, processes = [], {}, 0
    last = 0
    for number, line in enumerate(lines):
        if line[:1] not in ("t", "f"):
            continue
        head, _, ops = line.rstrip("\n").partition(" o=")
        fields = dict(word.split("=", 1) for word in head.split()[1:])
        outcome = fields["r"]
        value = list(operations(json.loads(ops), outcome == "ok"))
        is_final = line[0] == "f" and "s" not in fields
        start = int(fields.get("s", 1 << 60))
        end = int(fields.get("e", start + 1)) if not is_final else start + 1
        if value:
            kind = {"ok": "ok", "fail": "fail"}.get(outcome, "info")
            events.append((start, end, number, "final" if is_final else fields["c"], kind, value))
        last = max(last, end)
    flat = []
    for start, end, number, client, kind, value in events:
        asked = [[f, k, None if f == "r" else v] for f, k, v in value]
        flat.append((start, 1, number, client, "invoke", asked))
        flat.append((end if kind != "info" else start, 2 if kind == "info" else 0, number, client, kind, value))
    flat.sort(key=lambda event: (event[0], event[1] if event[1] else -1, event[2]))
    owner = {}
    for index, (time, _, number, client, kind, value) in enumerate(flat):
        if kind == "invoke":
            if client not in process_of or process_of[client] in owner.values():
                process_of[client], processes = processes, processes + 1
            owner[number] = process_of[client]
        process = owner[number]
        if kind in ("ok", "fail"):
            del owner[number]  # an info keeps its process for ever
        yield json.dumps({"index": index, "type": kind, "f": "txn", "process": process, "time": time, "value": value}) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1]) if len(sys.argv) > 1 else sys.stdin as file:
        sys.stdout.writelines(convert(file))
