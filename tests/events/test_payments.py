"""examples/payments.lua with a bank that fails at random and is killed, as is the server: each order is charged once.

SPDX-License-Identifier: MIT
"""
import collections
import json
import os
import random
import signal
import socket
import subprocess
import sys

from common import until
from harness import EXAMPLES, Folder, RespError, Server, equal, true

SECRET = "Bearer 8c1f"
HERE = os.path.dirname(os.path.abspath(__file__))


class Bank:
    """The bank's process. Its listening socket is ours and outlives it, so that its port stays its own."""

    def __init__(self, book, seed):
        self.book, self.seed = book, seed
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = "http://127.0.0.1:%d" % self.socket.getsockname()[1]
        self.start()

    def start(self):
        self.seed += 1
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "bank.py"), "--book", self.book, "--socket",
             str(self.socket.fileno()), "--seed", str(self.seed), "--authorization", SECRET],
            pass_fds=[self.socket.fileno()], stdout=subprocess.PIPE)
        equal(self.process.stdout.readline(), b"ready\n", "the bank")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)
        self.process.stdout.close()

    def entries(self):
        """What it has decided: whole lines of the book."""
        try:
            with open(self.book, "rb") as file:
                return [json.loads(line) for line in file if line.endswith(b"\n")]
        except FileNotFoundError:
            return []


def rows(server, count):
    connection = server.connect()
    connection.send(*[("GETROW", "order", "o%d" % i) for i in range(count)])
    found = [connection.read() for _ in range(count)]
    connection.close()
    return [json.loads(row) if isinstance(row, str) else dict(zip(row[::2], row[1::2])) for row in found]


def pay(server, todo, answers):
    """Sends what is not acknowledged yet; what the server did not answer stays for the next time. PENDING is an
    acknowledgement; what the handler of the bank's answer returns may come at once, and is then in `answers`."""
    connection = server.connect()
    try:
        connection.send(*todo.values())
        for command in list(todo):
            answer = connection.read()
            if not isinstance(answer, RespError):
                answers[command] = answer
            else:
                true(answer.text.startswith("PENDING "), "%s: %r" % (command, answer))
            del todo[command]
    except ConnectionError:
        pass
    connection.close()


def each_order_is_charged_once_under_kills_of_both_sides(budget, seed, note):
    choose = random.Random(seed)
    count, kills = (60, 4) if budget < 30 else (int(budget * 10), 30)
    with Folder() as folder:
        bank = Bank(folder.join("book"), seed % 1000000)
        os.environ["BANK_KEY"] = SECRET    # of the server; so it stands in no list of processes
        try:
            with Server(os.path.join(EXAMPLES, "payments.lua"), folder.join("data"), "--set", "bank_url=" + bank.url,
                        "--limit", "request_deadline_ms=100") as server:
                charge(choose, server, bank, count, kills)
                note("%d orders, %d kills of each side, %d charges" %
                     (count, kills, sum(e["status"] == 201 for e in bank.entries())))
        finally:
            bank.kill()
            bank.socket.close()


def charge(choose, server, bank, count, kills):
    todo = {i: ("CALL.ONCE", "pay-%d" % i, "order", "o%d" % i, "pay", choose.randint(1, 100000)) for i in range(count)}
    amounts, commands, answers = {"o%d" % i: command[-1] for i, command in todo.items()}, dict(todo), {}
    part = len(todo) // (2 * kills) + 1
    for kill in range(2 * kills):
        some = {i: todo.pop(i) for i in list(todo)[:part]}
        pay(server, some, answers)
        todo.update(some)
        decided = len(bank.entries()) + choose.randrange(1, part)
        open_orders = count - len(todo) - len(bank.entries())
        if open_orders > 0:
            until(lambda: len(bank.entries()) >= min(decided, count - len(todo)), "the bank goes on")
        victim = bank if kill % 2 else server
        victim.kill()
        victim.start()
    while todo:
        pay(server, todo, answers)

    def ended():
        found = rows(server, count)
        return found if all(row["status"] in ("paid", "refused", "silent") for row in found) else None
    found = until(ended, lambda: "every order ended: %s" % collections.Counter(
        row["status"] for row in rows(server, count)), 120)
    entries = bank.entries()
    keys = collections.Counter(entry["reference"] for entry in entries)
    equal({r: n for r, n in keys.items() if n != 1}, {}, "orders with more than one Idempotency-Key")
    equal(len({entry["key"] for entry in entries}), count, "Idempotency-Keys that the bank decided")
    book = {entry["reference"]: entry for entry in entries}
    for i, row in enumerate(found):
        entry = book["o%d" % i]
        equal(entry["amount"], amounts["o%d" % i], "the amount of o%d at the bank" % i)
        equal([row["status"], row["charge"]], ["paid", entry["id"]] if entry["status"] == 201 else ["refused", ""],
              "o%d, of which the bank says %r" % (i, entry))
    last = {}
    pay(server, dict(commands), last)
    equal(len(last), count, "orders whose call, repeated at the end, is answered")
    for i, row in enumerate(found):
        for answer in [last[i]] + ([answers[i]] if i in answers else []):
            got = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2]))
            equal(got, {"status": row["status"], "charge": row["charge"]}, "the deferred answer for o%d" % i)
