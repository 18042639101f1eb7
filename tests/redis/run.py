#!/usr/bin/env python3
"""Streams through the RESP door, as Redis clients know them: real binary, raw sockets, redis-cli, redis-py.

Ends with `N passed, N failed, N skipped`. A failure of a drawn test prints its seed.

    tests/redis/run.py [--build DIR] [--only TEXT] [--seed N] [--events N]

SPDX-License-Identifier: MIT
"""
import argparse
import functools
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

import harness
from harness import Fail, Resp, RespError, Server, Skip, equal, test, true

APP = os.path.join(HERE, "app.lua")
DEADLINE_S = 30
OPTIONS = None


until = functools.partial(harness.until, seconds=DEADLINE_S)


def serve(folder, *options):
    """A loaded machine is slow, never too busy."""
    return Server(APP, folder.join("data"), "--shards", "2", "--limit", "request_deadline_ms=60000",
                  "--limit", "queue_wait_max_ms=60000", *options)


def drawn(function):
    """A test with a random generator; a failure tells how to run it again."""
    def run(folder):
        try:
            function(folder, random.Random(OPTIONS.seed))
        except Exception as reason:
            raise Fail("%s\nagain: tests/redis/run.py --only %s --seed %d" %
                       (reason, function.__name__, OPTIONS.seed)) from reason
    run.__name__ = function.__name__
    return test(run)


def wire(connection, *words):
    """The bytes of one answer."""
    connection.send(words)
    got = []

    def line():
        text = connection.file.readline()
        got.append(text)
        return text

    def one():
        head = line()
        kind, rest = head[:1], head[1:-2]
        if kind == b"$" and rest != b"-1":
            got.append(connection.file.read(int(rest) + 2))
        elif kind == b"*" and rest != b"-1":
            for _ in range(int(rest)):
                one()
        elif kind == b"%":
            for _ in range(2 * int(rest)):
                one()
    one()
    return b"".join(got).decode()


def number(event):
    return tuple(map(int, event.split("-")))


def add(connection, account, amount):
    event = connection.ask("XADD", "moved", "*", "account", account, "amount", amount)
    true(isinstance(event, str) and number(event) > (0, 0), "XADD: %r" % event)
    return event


def entry(event, account, amount):
    return [event, ["account", account, "amount", str(amount)]]


def error(answer, text):
    true(isinstance(answer, RespError), "no error but %r, wanted %s" % (answer, text))
    equal(answer.text, text, "error")


# ---- forms ----

@test
def answers_have_the_form_of_redis_in_both_protocols(folder):
    with serve(folder) as server:
        two, three = server.connect(2), server.connect(3)
        a, b = add(two, "ann", 5), add(two, "bob", -7)

        def bulk(text):
            return "$%d\r\n%s\r\n" % (len(text), text)

        def event(name, account, amount):
            return "*2\r\n" + bulk(name) + "*4\r\n" + bulk("account") + bulk(account) + bulk("amount") + bulk(amount)

        first, second = event(a, "ann", "5"), event(b, "bob", "-7")
        for c in two, three:
            equal(wire(c, "XLEN", "moved"), ":2\r\n")
            equal(wire(c, "XRANGE", "moved", "-", "+"), "*2\r\n" + first + second)
            equal(wire(c, "XREVRANGE", "moved", "+", "-", "COUNT", "1"), "*1\r\n" + second)
            equal(wire(c, "XRANGE", "empty", "-", "+"), "*0\r\n")
        equal(wire(two, "XREAD", "COUNT", "1", "STREAMS", "moved", "0"), "*1\r\n*2\r\n" + bulk("moved") + "*1\r\n" + first)
        equal(wire(three, "XREAD", "COUNT", "1", "STREAMS", "moved", "0"), "%1\r\n" + bulk("moved") + "*1\r\n" + first)
        for c, none in (two, "*-1\r\n"), (three, "_\r\n"):
            equal(wire(c, "XREAD", "STREAMS", "moved", "$"), none)
            equal(wire(c, "XREAD", "BLOCK", "1", "STREAMS", "moved", "empty", "$", "0"), none)
            equal(wire(c, "XRANGE", "moved", "-", "+", "COUNT", "0"), none)
        equal(wire(two, "XGROUP", "CREATE", "moved", "g", "0"), "+OK\r\n")
        equal(wire(two, "XPENDING", "moved", "g"), "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n")
        equal(wire(three, "XPENDING", "moved", "g"), "*4\r\n:0\r\n_\r\n_\r\n_\r\n")
        equal(wire(two, "XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "moved", ">"),
              "*1\r\n*2\r\n" + bulk("moved") + "*1\r\n" + first)
        equal(wire(three, "XREADGROUP", "GROUP", "g", "d", "STREAMS", "moved", ">"),
              "%1\r\n" + bulk("moved") + "*1\r\n" + second)
        equal(wire(two, "XREADGROUP", "GROUP", "g", "d", "STREAMS", "moved", ">"), "*-1\r\n")
        equal(wire(two, "XREADGROUP", "GROUP", "g", "c", "STREAMS", "moved", a), "*1\r\n*2\r\n" + bulk("moved") + "*0\r\n")
        equal(wire(two, "XPENDING", "moved", "g"), "*4\r\n:2\r\n" + bulk(a) + bulk(b) + "*2\r\n*2\r\n" + bulk("c") +
              bulk("1") + "*2\r\n" + bulk("d") + bulk("1"))
        equal(wire(two, "XCLAIM", "moved", "g", "c", "0", b, "JUSTID"), "*1\r\n" + bulk(b))
        equal(wire(two, "XCLAIM", "moved", "g", "d", "0", b), "*1\r\n" + second)
        equal(wire(two, "XAUTOCLAIM", "moved", "g", "c", "0", "-", "COUNT", "1"), "*3\r\n" + bulk(b) + "*1\r\n" + first + "*0\r\n")
        equal(wire(three, "XAUTOCLAIM", "moved", "g", "c", "0", "(" + a, "JUSTID"), "*3\r\n" + bulk("0-0") + "*1\r\n" + bulk(b) + "*0\r\n")
        equal(wire(two, "XACK", "moved", "g", a, a, "1-1"), ":1\r\n")
        info = three.ask("XINFO", "STREAM", "moved")
        equal(list(info), ["length", "radix-tree-keys", "radix-tree-nodes", "last-generated-id", "max-deleted-entry-id",
                           "entries-added", "recorded-first-entry-id", "groups", "first-entry", "last-entry"])
        equal((info["length"], info["groups"], info["first-entry"], info["last-entry"], info["last-generated-id"]),
              (2, 1, entry(a, "ann", 5), entry(b, "bob", -7), b))
        equal(two.ask("XINFO", "STREAM", "empty")[-4:], ["first-entry", None, "last-entry", None])
        equal(three.ask("XINFO", "GROUPS", "moved"), [{"name": "g", "consumers": 2, "pending": 1, "last-delivered-id": b,
                                                       "entries-read": 2, "lag": 0}])
        consumers = three.ask("XINFO", "CONSUMERS", "moved", "g")
        equal([(c["name"], c["pending"]) for c in consumers], [("c", 1), ("d", 0)])
        equal(wire(two, "XGROUP", "CREATECONSUMER", "moved", "g", "e"), ":1\r\n")
        equal(wire(two, "XGROUP", "CREATECONSUMER", "moved", "g", "e"), ":0\r\n")
        equal(wire(two, "XGROUP", "DELCONSUMER", "moved", "g", "c"), ":1\r\n")
        equal(wire(two, "XGROUP", "DESTROY", "moved", "g"), ":1\r\n")
        equal(wire(two, "XGROUP", "DESTROY", "moved", "g"), ":0\r\n")
        equal(wire(two, "XACK", "moved", "g", a), ":0\r\n")


@test
def values_of_every_kind_go_in_and_come_out(folder):
    values = {"t": "gr\u00fc\u00df\n\u0000e", "i": "-9007199254740991", "f": "0.1", "b": "true", "w": "1577836800000",
              "e": "green", "l": "[1,2,3]", "r": '{"x":1,"y":"z"}', "a": '{"k":[null]}', "o": "4"}
    with serve(folder) as server:
        c = server.connect()
        words = [w for pair in values.items() for w in pair]
        whole = c.ask("XADD", "kinds", "*", *words)
        true(isinstance(whole, str), "XADD: %r" % whole)
        del values["o"], values["a"]
        c.ask("XADD", "kinds", "NOMKSTREAM", "*", *[w for pair in values.items() for w in pair])
        (_, first), (_, second) = c.ask("XRANGE", "kinds", "-", "+")
        got = dict(zip(first[::2], first[1::2]))
        equal(got.pop("a"), '{"k":[null]}')
        equal(got.pop("o"), "4")
        equal(got, values)
        equal(dict(zip(second[::2], second[1::2])), values, "fields that are nil are left out")


@test
def ranges_are_whole_and_page_by_count(folder):
    with serve(folder) as server:
        c = server.connect()
        for n in range(0, 2500, 500):
            c.send(*[("XADD", "moved", "*", "account", "a%d" % (k % 9), "amount", k) for k in range(n, n + 500)])
            true(all(isinstance(c.read(), str) for _ in range(500)), "an XADD failed")
        whole = c.ask("XRANGE", "moved", "-", "+")
        equal(sorted(int(f[3]) for _, f in whole), list(range(2500)))
        ids = [number(i) for i, _ in whole]
        equal(ids, sorted(set(ids)), "ids grow")
        equal(c.ask("XREVRANGE", "moved", "+", "-"), whole[::-1])
        equal(c.ask("XRANGE", "moved", "-", "+", "COUNT", "2400"), whole[:2400])
        paged, at = [], "-"
        while True:
            page = c.ask("XRANGE", "moved", at, "+", "COUNT", "333")
            paged += page
            if len(page) < 333:
                break
            at = "(" + page[-1][0]
        equal(paged, whole)
        i, j = whole[100][0], whole[200][0]
        equal(c.ask("XRANGE", "moved", i, j), whole[100:201])
        equal(c.ask("XRANGE", "moved", "(" + i, "(" + j), whole[101:200])
        equal(c.ask("XREVRANGE", "moved", "(" + j, "(" + i), whole[101:200][::-1])
        epoch = i.split("-")[0]
        equal(c.ask("XRANGE", "moved", epoch, epoch), [e for e in whole if e[0].startswith(epoch + "-")])
        equal(c.ask("XRANGE", "moved", j, i), [])
        equal(c.ask("XRANGE", "moved", "0", "0-0"), [])
        equal(c.ask("XREAD", "COUNT", "1", "STREAMS", "moved", "+"), [["moved", whole[-1:]]])
        read, at = [], "0"
        while True:
            answer = c.ask("XREAD", "COUNT", "700", "STREAMS", "moved", at)
            if answer is None:
                break
            read += answer[0][1]
            at = read[-1][0]
        equal(read, whole)


@test
def wrong_input_is_refused_and_changes_nothing(folder):
    invalid = "ERR Invalid stream ID specified as stream command argument"
    number_text = "ERR value is not an integer or out of range"
    nogroup = "NOGROUP No such key 'moved' or consumer group 'no'"
    noname = "NOGROUP No such consumer group 'no' for key name 'moved'"
    cases = [
        ("XADD moved * amount 1", None), ("XADD moved * account a", "ARG the field amount is missing"),
        ("XADD moved * account a amount", "ERR wrong number of arguments for 'xadd' command"),
        ("XADD moved NOMKSTREAM * account", "ERR wrong number of arguments for 'xadd' command"),
        ("XADD moved * account a amount x", "ARG amount: int expected, got `x`"),
        ("XADD moved * account a amount 1 more 2", "ARG an event has no field more"),
        ("XADD moved * account a amount 1 amount 2", "ARG the field amount is given twice"),
        ("XADD moved 1-1 account a amount 1", "ERR the ids of events are the engine's: write *"),
        ("XADD moved 1-* account a amount 1", "ERR the ids of events are the engine's: write *"),
        ("XADD moved MAXLEN ~ 5 * account a amount 1",
         "ERR MAXLEN is refused: how long events are kept is declared with the stream (keep)"),
        ("XADD nothing * n 1", "NOTYPE no stream nothing: the application declares them"),
        ("XADD account * n 1", "NOTYPE no stream account: the application declares them"),
        ("XADD kinds * t x", None), ("XLEN nothing", "NOTYPE no stream nothing: the application declares them"),
        ("XRANGE moved a b", invalid), ("XRANGE moved 1- 2", invalid), ("XRANGE moved ( +", invalid),
        ("XRANGE moved (- +", invalid), ("XRANGE moved 18446744073709551616 +", invalid),
        ("XRANGE moved (18446744073709551615-18446744073709551615 +", "ERR invalid start ID for the interval"),
        ("XRANGE moved - (0-0", "ERR invalid end ID for the interval"),
        ("XRANGE moved - + COUNT", "ERR syntax error"), ("XRANGE moved - + LIMIT 1", "ERR syntax error"),
        ("XRANGE moved - + COUNT x", number_text),
        ("XREAD STREAMS moved", None), ("XREAD COUNT 1 moved 0", "ERR syntax error"),
        ("XREAD STREAMS moved 0 0", "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified."),
        ("XREAD BLOCK x STREAMS moved 0", "ERR timeout is not an integer or out of range"),
        ("XREAD BLOCK -1 STREAMS moved 0", "ERR timeout is negative"), ("XREAD COUNT x STREAMS moved 0", number_text),
        ("XREAD STREAMS moved >", "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> "
         "<consumer> option."),
        ("XREAD NOACK STREAMS moved 0", "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead."),
        ("XREAD GROUP g c STREAMS moved 0", "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."),
        ("XREAD STREAMS nothing 0", "NOTYPE no stream nothing: the application declares them"),
        ("XREADGROUP COUNT 1 BLOCK 1 STREAMS moved >", "ERR Missing GROUP option for XREADGROUP"),
        ("XREADGROUP GROUP no c STREAMS moved >", nogroup + " in XREADGROUP with GROUP option"),
        ("XREADGROUP GROUP no c STREAMS moved 0", nogroup + " in XREADGROUP with GROUP option"),
        ("XREADGROUP GROUP g c STREAMS moved x", invalid),
        ("XREADGROUP GROUP g c STREAMS moved $", None),
        ("XREADGROUP GROUP g c STREAMS moved empty >", "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an "
         "ID or '>' must be specified."),
        ("XGROUP CREATE moved g 0", "BUSYGROUP Consumer Group name already exists"),
        ("XGROUP CREATE moved h x", invalid), ("XGROUP CREATE moved h 0 WHAT", "ERR syntax error"),
        ("XGROUP CREATE nothing h 0 MKSTREAM", "NOTYPE no stream nothing: the application declares them"),
        ("XGROUP CREATE moved h 0 ENTRIESREAD x", number_text),
        ("XGROUP SETID moved no 0", noname), ("XGROUP CREATECONSUMER moved no c", noname),
        ("XGROUP DELCONSUMER moved no c", noname), ("XGROUP WHAT moved", None), ("XGROUP CREATE moved", None),
        ("XACK moved g x", invalid), ("XPENDING moved no", nogroup), ("XPENDING moved no - + 1", nogroup),
        ("XPENDING moved g - +", "ERR syntax error"), ("XPENDING moved g - + x", number_text),
        ("XPENDING moved g IDLE x - + 1", number_text), ("XPENDING moved g x + 1", invalid),
        ("XCLAIM moved no c 0 1-1", nogroup), ("XCLAIM moved g c x 1-1", "ERR Invalid min-idle-time argument for XCLAIM"),
        ("XCLAIM moved g c 0 x", invalid), ("XCLAIM moved g c 0 1-1 WHAT", "ERR Unrecognized XCLAIM option 'WHAT'"),
        ("XCLAIM moved g c 0 1-1 FORCE", "ERR FORCE is refused: only what the group has delivered can be claimed"),
        ("XAUTOCLAIM moved no c 0 0", nogroup), ("XAUTOCLAIM moved g c 0 x", invalid),
        ("XAUTOCLAIM moved g c x 0", "ERR Invalid min-idle-time argument for XAUTOCLAIM"),
        ("XAUTOCLAIM moved g c 0 0 COUNT 0", "ERR COUNT must be > 0"), ("XAUTOCLAIM moved g c 0 0 WHAT", "ERR syntax error"),
        ("XINFO STREAM nothing", "NOTYPE no stream nothing: the application declares them"), ("XINFO STREAM moved FULL", None),
        ("XINFO CONSUMERS moved no", noname), ("XINFO WHAT", None), ("XDEL moved 1-1", None), ("XTRIM moved MAXLEN 1", None),
        ("XSETID moved 1-1", None), ("CALL _group moved/g ack", None), ("CALL _group moved/g create", None),
    ]
    with serve(folder) as server:
        c = server.connect()
        event = add(c, "ann", 1)
        c.ask("XGROUP", "CREATE", "moved", "g", "0")
        c.ask("XREADGROUP", "GROUP", "g", "c", "STREAMS", "moved", ">")
        before = [c.ask(*w.split()) for w in ("XINFO STREAM moved", "XINFO GROUPS moved", "XLEN kinds")]
        for line, text in cases:
            answer = c.ask(*line.split())
            true(isinstance(answer, RespError), "%s: %r" % (line, answer))
            if text is not None:
                equal(answer.text, text, line)
        long = "x" * 256
        for words in (("XGROUP", "CREATE", "moved", long, "0"), ("XGROUP", "CREATE", "moved", "", "0"),
                      ("XGROUP", "CREATE", "moved", b"\xff", "0"), ("XREADGROUP", "GROUP", "g", long, "STREAMS", "moved", ">"),
                      ("XADD", "moved", "*", "account", "x" * 1025, "amount", "1"),
                      ("XADD", "moved", "*", "account", b"\xff", "amount", "1"),
                      ("XADD", b"\x00", "*", "n", "1"), ("XREAD", "STREAMS", *["moved"] * 33, *["0"] * 33)):
            answer = c.ask(*words)
            true(isinstance(answer, RespError) and answer.code in ("ARG", "TOOBIG", "NOTYPE"), "%r: %r" % (words, answer))
        equal([c.ask(*w.split()) for w in ("XINFO STREAM moved", "XINFO GROUPS moved", "XLEN kinds")], before)
        equal(c.ask("XRANGE", "moved", "-", "+"), [entry(event, "ann", 1)])


# ---- waiting ----

@test
def waiting_reads_wake_in_their_turn(folder):
    with serve(folder) as server:
        reader, writer = server.connect(), server.connect(3)
        reader.send(("PING",), ("XREAD", "BLOCK", "0", "STREAMS", "moved", "empty", "$", "$"), ("ECHO", "after"),
                    ("XADD", "kinds", "*", "t", "x", "i", "1", "f", "1", "b", "1", "w", "1", "e", "red", "l", "[]", "r",
                     '{"x":1,"y":""}'))
        equal(reader.read(), "PONG", "an answer before the waiting one")
        until(lambda: writer.ask("XLEN", "kinds") == 1, "a request behind a waiting read runs")
        event = writer.ask("XADD", "empty", "*", "n", "3")
        equal(reader.read(), [["empty", [[event, ["n", "3"]]]]])
        equal(reader.read(), "after")
        true(isinstance(reader.read(), str), "the last answer")
        begin = time.monotonic()
        equal(reader.ask("XREAD", "BLOCK", "120", "STREAMS", "moved", "$"), None)
        true(time.monotonic() - begin > 0.11, "BLOCK ended early")
        writer.ask("XGROUP", "CREATE", "moved", "g", "$")
        many = [server.connect() for _ in range(4)]
        for i, c in enumerate(many):
            c.send(("XREADGROUP", "GROUP", "g", "c%d" % i, "COUNT", "1", "BLOCK", "0", "STREAMS", "moved", ">"))
        until(lambda: len(writer.ask("XINFO", "CONSUMERS", "moved", "g")) == 4, "four consumers wait")
        ids = [add(writer, "ann", n) for n in range(4)]
        got = [c.read() for c in many]
        equal(sorted(number(g[0][1][0][0]) for g in got), sorted(map(number, ids)), "each event to one consumer")
        equal(writer.ask("XPENDING", "moved", "g")[0], 4)
        reader.send(("XREAD", "BLOCK", "0", "STREAMS", "moved", "$"))
        reader.send(("QUIT",))
        equal((reader.read(), reader.read()), (None, "OK"), "QUIT behind a waiting read")
        last = server.connect()
        last.send(("XREAD", "BLOCK", "0", "STREAMS", "moved", "$"))
        begin = time.monotonic()
        equal(server.stop(), 0, "exit code with a read that waits")
        true(time.monotonic() - begin < 8, "the waiting read held the stop back")


@test
def reads_are_limited_and_go_with_their_connection(folder):
    with serve(folder, "--limit", "reads_max=4", "--limit", "reads_conn_max=3") as server:
        waiting = [server.connect() for _ in range(4)]
        c = server.connect()
        for w in waiting:
            w.send(("XREAD", "BLOCK", "0", "STREAMS", "empty", "$"))
        until(lambda: isinstance(c.ask("XREAD", "BLOCK", "1", "STREAMS", "empty", "0"), RespError), "reads_max is reached")
        equal(c.ask("XLEN", "empty").code, "OVERLOADED")
        for w in waiting:
            w.close()
        until(lambda: c.ask("XLEN", "empty") == 0, "the reads of closed connections are given back")
        # what does not wait is held, not refused
        c.send(*[("XLEN", "empty")] * 100)
        equal([c.read() for _ in range(100)], [0] * 100)
        # more waits on one connection than it may have: those above are refused, the others wait on
        c.send(*[("XREAD", "BLOCK", "0", "STREAMS", "empty", "$")] * 5, ("XLEN", "empty"), ("PING",))
        out = lambda: re.search(r"^weir_stream_reads (\d+)", server.get("/metrics").body, re.M).group(1)
        until(lambda: out() == "3", "three wait")
        time.sleep(0.2)
        equal(out(), "3", "reads that wait on")
        event = server.connect().ask("XADD", "empty", "*", "n", "1")
        equal([c.read() for _ in range(3)], [[["empty", [[event, ["n", "1"]]]]]] * 3)
        for _ in range(3):
            error(c.read(), "OVERLOADED retry_after_ms=200 too many reads at once: reads_max, reads_conn_max")
        equal(c.read(), "PONG")
    with serve(folder, "--limit", "reads_conn_max=1") as server:
        c = server.connect()
        begin = time.monotonic()
        equal(c.ask("XREAD", "BLOCK", "300", "STREAMS", "empty", "$"), None)
        true(time.monotonic() - begin > 0.25, "one may wait")


@test
def all_limits_are_in_config_get(folder):
    _, listed, _ = harness.weir("run", "--limits")
    names = re.findall(r"^ +([a-z_]+) +\d", listed, re.M)
    with serve(folder, "--limit", "cpu_ms_max=123") as server:
        pairs = server.connect().ask("CONFIG", "GET", "*")
        got = dict(zip(pairs[::2], pairs[1::2]))
        equal([name for name in names if name not in got], [])
        equal((got["cpu_ms_max"], got["lua_bytes_max"]), ("123", "8388608"))


@test
def names_of_clients_are_judged(folder):
    with serve(folder) as server:
        c = server.connect()
        for name, what in (("x" * 64, "be longer than 63 bytes."), ("a b", "contain spaces, newlines or special characters."),
                           ("x y" * 30, "contain spaces, newlines or special characters.")):
            error(c.ask("CLIENT", "SETNAME", name), "ERR Client names cannot " + what)
            error(c.ask("HELLO", "2", "SETNAME", name), "ERR Client names cannot " + what)
            error(c.ask("CLIENT", "SETINFO", "LIB-NAME", name), "ERR lib-name and lib-ver cannot " + what)
        equal(c.ask("CLIENT", "SETNAME", "x" * 63), "OK")
        equal(c.ask("CLIENT", "GETNAME"), "x" * 63)


@test
def figures_stand_in_their_sections_and_can_be_alarmed_on(folder):
    def sections(connection):
        found = {}
        for line in connection.ask("INFO").splitlines():
            if line.startswith("# "):
                name = line[2:]
            elif line:
                found.setdefault(name, {})[line.split(":")[0]] = line.split(":", 1)[1]
        return found

    def metric(server, name, kind):
        page = server.get("/metrics").body
        found = re.search(r"^# HELP %s \S.*\n# TYPE %s %s\n%s (\d+)$" % (name, name, kind, name), page, re.M)
        true(found, "%s is not in /metrics" % name)
        return int(found.group(1))

    def alarms(server):
        return [metric(server, "weir_" + name, "gauge") for name in ("degraded", "disk_full", "log_failed")]
    with serve(folder) as server:
        c = server.connect()
        info = sections(c)
        equal(sorted(info["Memory"]), ["used_memory_rows"])
        for name in ("total_commands_processed", "unknown_total", "shed_total", "commits_total"):
            equal([s for s in info if name in info[s]], ["Stats"], name)
        equal(sections(c)["Stats"]["total_commands_processed"], str(int(info["Stats"]["total_commands_processed"]) + 1))
        one = c.ask("INFO", "stats")
        true(one.startswith("# Stats\r\n") and one.endswith("\r\n\r\n") and "\r\nunknown_total:0\r\n" in one and one.count("# ") == 1, one)
        equal(metric(server, "weir_overloads_total", "counter"), int(info["Stats"]["shed_total"]))
        equal((alarms(server), info["Persistence"]["degraded"]), ([0, 0, 0], ""))
        # no file may grow any more
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        words = ("XADD", "kinds", "*", "t", "x" * 30000, *"i 1 f 1 b 1 w 0 e red l [] a 1".split(), "r", '{"x":1,"y":""}')
        c.send(words)
        until(lambda: alarms(server) == [1, 1, 0], "the disk is full")
        equal(sections(server.connect())["Persistence"]["degraded"], "disk_full")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: alarms(server) == [0, 0, 0], "there is room again")
        true(isinstance(c.read(), str), "the event that waited for room")


@test
def who_sends_too_slowly_is_told(folder):
    with serve(folder, "--limit", "header_ms_max=200") as server:
        c = server.connect()
        c.socket.sendall(b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nEC")
        equal(c.read(), "PONG")
        error(c.read(), "ERR Protocol error: the command came too slowly")
        equal(c.file.read(), b"", "closed")


@test
def groups_and_consumers_are_limited(folder):
    with serve(folder) as server:
        c = server.connect()
        c.send(*[("XGROUP", "CREATE", "empty", "g%d" % n, "0") for n in range(257)])
        answers = [c.read() for _ in range(257)]
        equal(answers.count("OK"), 256)
        equal([a.text for a in answers if a != "OK"], ["ERR a stream has at most 256 groups, a group 1000 consumers"])
        equal(len(c.ask("XINFO", "GROUPS", "empty")), 256)
        c.send(*[("XGROUP", "CREATECONSUMER", "empty", "g1", "c%d" % n) for n in range(1001)])
        equal([c.read() for _ in range(1001)][:1000], [1] * 1000)
        equal(len(c.ask("XINFO", "CONSUMERS", "empty", "g1")), 1000)
        equal(c.ask("XGROUP", "DESTROY", "empty", "g1"), 1)
        equal(c.ask("XGROUP", "CREATE", "empty", "g1", "0"), "OK")
        equal(c.ask("XINFO", "CONSUMERS", "empty", "g1"), [])


@test
def a_group_with_much_pending_goes_in_steps(folder):
    with serve(folder) as server:
        c = server.connect()
        for n in range(0, 2600, 650):
            c.send(*[("XADD", "moved", "*", "account", "a", "amount", k) for k in range(n, n + 650)])
            true(all(isinstance(c.read(), str) for _ in range(650)), "an XADD failed")
        c.ask("XGROUP", "CREATE", "moved", "g", "0")
        taken = []
        while True:
            answer = c.ask("XREADGROUP", "GROUP", "g", "a" if len(taken) < 1500 else "b", "STREAMS", "moved", ">")
            if answer is None:
                break
            taken += [i for i, _ in answer[0][1]]
        equal(len(set(taken)), 2600)
        listed = c.ask("XPENDING", "moved", "g", "-", "+", "5000")
        equal([e[0] for e in listed], taken, "a listing of several steps")
        own = [e[0] for e in listed if e[1] == "a"]
        equal([e[0] for e in c.ask("XPENDING", "moved", "g", "-", "+", "5000", "a")], own)
        history, at = [], "0"
        while True:
            (_, page), = c.ask("XREADGROUP", "GROUP", "g", "a", "STREAMS", "moved", at)
            if not page:
                break
            history += [i for i, _ in page]
            at = page[-1][0]
        equal(history, own)
        equal(c.ask("XGROUP", "DELCONSUMER", "moved", "g", "a"), len(own))
        equal(c.ask("XPENDING", "moved", "g")[0], 2600 - len(own))
        equal(c.ask("XGROUP", "DESTROY", "moved", "g"), 1)
        equal(c.row("_group", "moved/g"), None, "nothing is left")
        equal(c.ask("XGROUP", "CREATE", "moved", "g", "0"), "OK")
        equal(c.ask("XPENDING", "moved", "g")[0], 0)


@test
def what_retention_took_is_told(folder):
    with serve(folder, "--limit", "retention_check_ms=20", "--limit", "checkpoint_bytes_min=65536") as server:
        c = server.connect()
        c.ask("XGROUP", "CREATE", "short", "g", "0")
        c.ask("XADD", "short", "*", "n", 0)
        (_, [(first, _)]), = c.ask("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "short", ">")

        def gone():
            c.send(*[("XADD", "short", "*", "n", n) for n in range(1000)])
            for _ in range(1000):
                c.read()
            return c.ask("XRANGE", "short", "-", "+", "COUNT", "1")[0][0] != first
        until(gone, "the oldest file goes")
        equal(c.ask("XREADGROUP", "GROUP", "g", "c", "STREAMS", "short", "0"), [["short", [[first, None]]]])
        equal(c.ask("XAUTOCLAIM", "short", "g", "d", "0", "0"), ["0-0", [], [first]])
        equal(c.ask("XPENDING", "short", "g")[0], 0, "what is no more is no longer pending")


@test
def answers_are_limited_and_lose_nothing(folder):
    with serve(folder, "--limit", "output_bytes_max=400000", "--limit", "output_soft_bytes=200000") as server:
        c = server.connect()
        big = '"%s"' % ("x" * 30000)
        words = ["i", "1", "f", "1", "b", "1", "w", "1", "e", "red", "l", "[]", "r", '{"x":1,"y":""}', "a", big]
        ids = [c.ask("XADD", "kinds", "*", "t", str(n), *words) for n in range(12)]
        true(all(isinstance(i, str) for i in ids), "XADD: %r" % ids)
        equal(c.ask("XRANGE", "kinds", "-", "+").code, "TOOBIG")
        equal(len(c.ask("XRANGE", "kinds", "-", "+", "COUNT", "2")), 2)
        read, at = [], "0"
        while True:
            answer = c.ask("XREAD", "STREAMS", "kinds", at)
            if answer is None:
                break
            read += [i for i, _ in answer[0][1]]
            at = read[-1]
        equal(read, ids)
        c.ask("XGROUP", "CREATE", "kinds", "g", "0")
        taken = []
        while True:
            answer = c.ask("XREADGROUP", "GROUP", "g", "c", "STREAMS", "kinds", "kinds", ">", ">")
            if answer is None:
                break
            taken += [i for _, entries in answer for i, _ in entries]
        equal(taken, ids)
        equal(c.ask("XCLAIM", "kinds", "g", "d", "0", *ids).code, "TOOBIG")
        history, at = [], "0"
        while True:
            (_, page), = c.ask("XREADGROUP", "GROUP", "g", "d", "STREAMS", "kinds", at)
            if not page:
                break
            history += [i for i, _ in page]
            at = history[-1]
        equal(history, ids, "what was claimed is there to be read")


# ---- groups against a twin ----

class Twin:
    """A consumer group as a dict: event -> [consumer, tries]."""

    def __init__(self, events):
        self.events, self.at, self.pending = events, 0, {}

    def take(self, consumer, count, noack):
        got = self.events[self.at:self.at + count]
        self.at += len(got)
        for event in got:
            if not noack:
                self.pending[event] = [consumer, 1]
        return got


@drawn
def groups_do_what_their_twin_does(folder, draw):
    with serve(folder) as server:
        c = server.connect(draw.choice((2, 3)))
        c.ask("XGROUP", "CREATE", "moved", "g", "$")
        ids = [add(c, "a%d" % draw.randrange(5), n) for n in range(150)]
        ids.sort(key=number)
        twin = Twin(ids)
        names = ["x", "y", "z"]
        for step in range(300):
            what = draw.randrange(8)
            consumer = draw.choice(names)
            some = draw.sample(ids, draw.randrange(1, 6))
            if what < 2:
                count, noack = draw.randrange(1, 6), draw.random() < 0.2
                answer = c.ask("XREADGROUP", "GROUP", "g", consumer, "COUNT", count, *["NOACK"] * noack, "STREAMS", "moved", ">")
                answer = dict(answer) if answer is not None else {}
                equal([i for i, _ in answer.get("moved", [])], twin.take(consumer, count, noack), "take %d" % step)
            elif what < 4:
                equal(c.ask("XACK", "moved", "g", *some), sum(twin.pending.pop(i, None) is not None for i in some), "ack %d" % step)
            elif what == 4:
                just = draw.random() < 0.5
                answer = c.ask("XCLAIM", "moved", "g", consumer, "0", *some, *["JUSTID"] * just)
                wanted = sorted((i for i in some if i in twin.pending), key=number)
                equal([i if just else i[0] for i in answer], wanted, "claim %d" % step)
                for i in wanted:
                    twin.pending[i] = [consumer, twin.pending[i][1] + (not just)]
            elif what == 5:
                start, count = draw.choice(ids), draw.randrange(1, 8)
                cursor, entries, gone = c.ask("XAUTOCLAIM", "moved", "g", consumer, "0", start, "COUNT", count)
                able = sorted((i for i in twin.pending if number(i) >= number(start)), key=number)
                equal((cursor, [i for i, _ in entries], gone), (able[count] if len(able) > count else "0-0", able[:count], []))
                for i in able[:count]:
                    twin.pending[i] = [consumer, twin.pending[i][1] + 1]
            elif what == 6:
                answer = dict(c.ask("XREADGROUP", "GROUP", "g", consumer, "COUNT", "4", "STREAMS", "moved", "0"))["moved"]
                own = sorted((i for i, p in twin.pending.items() if p[0] == consumer), key=number)[:4]
                equal([i for i, _ in answer], own, "history %d" % step)
                for i in own:
                    twin.pending[i][1] += 1
            elif draw.random() < 0.2:
                known = {e["name"] if isinstance(e, dict) else e[1] for e in c.ask("XINFO", "CONSUMERS", "moved", "g")}
                had = [i for i, p in twin.pending.items() if p[0] == consumer]
                equal(c.ask("XGROUP", "DELCONSUMER", "moved", "g", consumer), len(had) if consumer in known else 0)
                for i in had:
                    del twin.pending[i]
            listed = c.ask("XPENDING", "moved", "g", "-", "+", "1000")
            equal([(e[0], e[1], e[3]) for e in listed], [(i, *twin.pending[i]) for i in sorted(twin.pending, key=number)],
                  "pending after step %d" % step)
        count, _, _, by = c.ask("XPENDING", "moved", "g")
        equal(count, len(twin.pending))
        equal(sum(int(n) for _, n in by or []), count)


# ---- kills ----

@drawn
def each_event_is_acknowledged_once_over_kills(folder, draw):
    total, workers = OPTIONS.events, 3
    acked, doubted, lock, done = {}, set(), threading.Lock(), threading.Event()
    failures = []
    with serve(folder) as server:
        c = server.connect()
        equal(c.ask("XGROUP", "CREATE", "moved", "g", "0"), "OK")
        c.close()

        def connect():
            while not done.is_set():
                try:
                    return Resp(server.resp, 2, timeout=10)
                except OSError:
                    time.sleep(0.01)
            raise ConnectionError("done")

        def produce():
            """Each event once, whatever happens to the answer: CALL.ONCE has an id."""
            left = list(range(total))
            while left:
                try:
                    c = connect()
                    while left:
                        batch = left[:32]
                        c.send(*[("CALL.ONCE", "event-%d" % n, "streams", "-", "moved", "a%d" % (n % 11), n) for n in batch])
                        answers = [c.read() for _ in batch]
                        left = [n for n, a in zip(batch, answers) if isinstance(a, RespError)] + left[len(batch):]
                except OSError:
                    pass

        def acknowledge(c, name, ids):
            with lock:
                doubted.update(ids)
            for i in ids:  # one by one: the answer says of which
                c.send(("XACK", "moved", "g", i))
            for i in ids:
                answer = c.read()
                with lock:
                    true(answer in (0, 1), "XACK: %r" % answer)
                    if answer == 1:
                        acked[i] = acked.get(i, 0) + 1
                    doubted.discard(i)

        def consume(name):
            while not done.is_set():
                try:
                    c = connect()
                    at = "0"
                    while not done.is_set():
                        answer = c.ask("XREADGROUP", "GROUP", "g", name, "COUNT", "20", "BLOCK", "100", "STREAMS", "moved", at)
                        if isinstance(answer, RespError):
                            if answer.code in ("UNKNOWN", "TIMEOUT", "OVERLOADED", "LOADING", "SHUTDOWN"):
                                at = "0"
                                continue
                            raise Fail("XREADGROUP: %r" % answer)
                        entries = answer[0][1] if answer else []
                        if not entries:
                            at = ">"
                            continue
                        acknowledge(c, name, [i for i, _ in entries])
                except OSError:
                    pass
                except Exception as reason:
                    failures.append(reason)
                    return

        def emitted():
            try:
                return server.connect().ask("XLEN", "moved")
            except OSError:
                return 0

        threads = [threading.Thread(target=produce)] + [threading.Thread(target=consume, args=("c%d" % n,)) for n in range(workers)]
        for t in threads:
            t.start()
        try:
            for kill in range(2):
                goal = total * (kill + 1) // 3 + draw.randrange(total // 10)
                until(lambda: emitted() >= goal or failures, "event %d" % goal)
                server.kill()
                server.start()
            threads[0].join(60)

            def over():
                c = server.connect()
                group, = c.ask("XINFO", "GROUPS", "moved")
                return failures or (c.ask("XLEN", "moved") == total and group[5] == 0 and group[11] == 0)
            until(over, "all is consumed")
        finally:
            done.set()
            for t in threads:
                t.join(60)
        if failures:
            raise failures[0]
        c = server.connect()
        whole = [i for i, _ in c.ask("XRANGE", "moved", "-", "+")]
        equal(len(whole), total, "events")
        equal([i for i, n in acked.items() if n != 1], [], "events acknowledged twice")
        equal(sorted(set(whole) - set(acked) - doubted), [], "events never acknowledged")
        equal(sorted(set(acked) - set(whole)), [], "events from nowhere")
        rows = [c.row("account", "a%d" % n) for n in range(11)]

        def followed():
            rows[:] = [c.row("account", "a%d" % n) or {"seen": 0, "sum": 0} for n in range(11)]
            return sum(int(r["seen"]) for r in rows) >= total
        until(followed, "the follower has seen all")
        equal(sum(int(r["seen"]) for r in rows), total, "events followed")
        equal(sum(int(r["sum"]) for r in rows), total * (total - 1) // 2, "sum of what was followed")


# ---- stock clients ----

@test
def redis_cli_produces_and_consumes(folder):
    if not shutil.which("redis-cli"):
        raise Skip("there is no redis-cli")
    with serve(folder) as server:
        def cli(*words):
            done = subprocess.run(["redis-cli", "-p", str(server.resp), *words], capture_output=True, text=True, timeout=60)
            equal(done.returncode, 0, "redis-cli: " + done.stderr)
            return done.stdout.strip()
        event = cli("XADD", "moved", "*", "account", "ann", "amount", "5")
        equal(cli("XLEN", "moved"), "1")
        equal(cli("XRANGE", "moved", "-", "+").split(), [event, "account", "ann", "amount", "5"])
        equal(cli("XGROUP", "CREATE", "moved", "g", "0", "MKSTREAM"), "OK")
        equal(cli("-3", "XREADGROUP", "GROUP", "g", "c", "STREAMS", "moved", ">").split(), ["moved", event, "account", "ann", "amount", "5"])
        equal(cli("XACK", "moved", "g", event), "1")


@test
def redis_py_produces_and_consumes(folder):
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import redis"], capture_output=True).returncode == 0:
            break
    else:
        raise Skip("there is no Python with the package redis (Debian: python3-redis)")
    with serve(folder) as server:
        done = subprocess.run([python, os.path.join(HERE, "client.py"), str(server.resp)], capture_output=True, text=True, timeout=120)
        equal(done.returncode, 0, done.stdout + done.stderr)


def main():
    global OPTIONS
    parser = argparse.ArgumentParser(description="Streams as Redis clients know them.")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn tests")
    parser.add_argument("--events", type=int, default=5000, help="of the test with kills")
    OPTIONS = harness.options_read(parser)
    return harness.run_chosen(OPTIONS)


if __name__ == "__main__":
    sys.exit(main())
