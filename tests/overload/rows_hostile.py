"""Rows about what no good client does: not reading, dripping bytes, giant lengths, giant pipelines, runaway handlers.

SPDX-License-Identifier: MIT
"""
import select
import socket
import threading
import time

import harness
from harness import RespError, cpu_s, equal, status_of, true
from rows import (Others, Peak, bounded, info, judge, load, load_end, load_start, no_error, row,
                  server, until)


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


@row
def readers_that_never_read_are_closed_at_the_output_limit(folder, run):
    count, most, soft, inside = 100, 1 << 20, 256 << 10, 8 << 20
    allowed = (count * most + inside) * 1.1
    asked = command(b"CALL", b"item", b"k", b"big", b"60000") * 200    # 12 MB of answers each
    with server(folder, "--limit", "output_bytes_max=%d" % most, "--limit", "output_soft_bytes=%d" % soft,
                "--limit", "output_soft_ms=1000", "--limit", "answer_bytes_max=%d" % inside,
                "--limit", "queue_wait_max_ms=9999999", "--limit", "request_deadline_ms=9999999") as one:
        connection = one.connect()
        equal(len(connection.call("item", "k", "big", 60000)), 60000)
        readers = []
        with Peak(one) as peak:
            for _ in range(count):
                reader = socket.socket()
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                reader.connect(("127.0.0.1", one.resp))
                reader.sendall(asked)
                readers.append(reader)
            until(lambda: int(info(connection)["connected_clients"]) == 1, 30, "every slow reader is closed")
        lines = one.trace_all().count('reason="slow reader"')
        equal(lines, count, "lines of trace on slow readers")
        for reader in readers:
            reader.close()
        run.say("%d closed, memory grew %.1f MB, %.0f MB allowed", count, peak.growth / 1e6, allowed / 1e6)
        bounded(run, peak.growth <= allowed, "memory grew by %d bytes for %d readers of %d" % (peak.growth, count, most))


@row
def clients_that_drip_bytes_are_closed_in_time(folder, run):
    time_ms, count = (10000, 1000) if run.long else (2000, 1000)
    kinds = ((0, b"GET /item/k HTTP/1.1\r\nHost: localhost\r\n", b"X"),
             (0, b"POST /item/k/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\n[", b" "),
             (1, b"*4\r\n$4\r\nCALL\r\n$100\r\n", b"y"))
    with server(folder, "--limit", "header_ms_max=%d" % time_ms) as one:
        others = Others(one)
        seconds = max(1.0, time_ms / 1000 - 1)
        p99 = [load(one, "--connections", 8, "--seconds", seconds)["p99_us"] / 1e3]
        drips = {}
        poll = select.poll()
        for i in range(count):
            door, first, byte = kinds[i % 3]
            one_socket = socket.create_connection(("127.0.0.1", one.resp if door else one.http))
            one_socket.sendall(first)
            drips[one_socket.fileno()] = (one_socket, byte, time.monotonic())
            poll.register(one_socket.fileno(), select.POLLIN | select.POLLHUP)
        process = load_start(one, "--connections", 8, "--seconds", seconds)
        next_drip, longest, told = time.monotonic() + 0.5, 0.0, 0
        deadline = time.monotonic() + 3 * time_ms / 1000 + 20
        while drips:
            true(time.monotonic() < deadline, "%d of %d still open" % (len(drips), count))
            for fd, _ in poll.poll(50):
                drip, _, since = drips[fd]
                try:
                    more = drip.recv(4096)
                except ConnectionError:
                    more = b""
                told += more.startswith(b"HTTP/1.1 408 ")
                if not more:
                    longest = max(longest, time.monotonic() - since)
                    poll.unregister(fd)
                    drip.close()
                    del drips[fd]
            if time.monotonic() >= next_drip:
                next_drip = time.monotonic() + 0.5
                for drip, byte, _ in drips.values():
                    try:
                        drip.send(byte, socket.MSG_DONTWAIT)
                    except OSError:
                        pass
        p99.append(load_end(process)["p99_us"] / 1e3)
        p99.append(load(one, "--connections", 8, "--seconds", seconds)["p99_us"] / 1e3)
        true(told >= count // 2, "HTTP 408 came %d times" % told)
        run.say("%d closed, the last after %.1f s, p99 ms of others %s", count, longest, " ".join("%.1f" % p for p in p99))
        # A closed connection lingers for a second, so that its answer is read.
        judge(run, [("seconds to the last close", longest, time_ms / 1000 + 2, "<="),
                    ("p99 ms of others", p99[1], 2 * max(p99[0], p99[2]), "<=")], [p99[0], p99[2]], others.share())


@row
def a_giant_pipeline_is_answered_in_order_from_little_memory(folder, run):
    count, clients = (1000000, 4) if run.long else (40000, 3)
    with server(folder, "--limit", "queue_wait_max_ms=60000", "--limit", "request_deadline_ms=60000") as one:
        asker = one.connect()

        def pipeline(key, n, problems):
            connection = one.connect()
            words = command(b"CALL", b"item", key, b"add") * n
            sender = threading.Thread(target=connection.socket.sendall, args=(words,))
            sender.start()
            try:
                for i in range(n):
                    answer = connection.read()
                    if answer != i + 1:
                        raise ValueError("%s: answer %d is %r" % (key, i + 1, answer))
            except (OSError, ValueError) as problem:
                problems.append(problem)
            sender.join()
            connection.close()

        problems = []
        for name in (b"warm", b"warm-too"):
            pipeline(name, 8000, problems)
        with Peak(one) as peak:
            threads = [threading.Thread(target=pipeline, args=(b"k%d" % i, count, problems)) for i in range(clients)]
            for thread in threads:
                thread.start()
            ahead = 0
            while any(thread.is_alive() for thread in threads):
                ahead = max(ahead, int(info(asker)["requests_in_flight"]))
                threads[0].join(0.02)
        true(not problems, repr(problems[:2]))
        run.say("%d x %d in order, at most %d ahead, memory grew %.2f MiB per client", clients, count, ahead,
                peak.growth / clients / (1 << 20))
        true(0 < ahead <= clients * 1024, "%d requests of %d clients in the engine" % (ahead, clients))
        bounded(run, peak.growth <= clients * (2 << 20), "memory grew by %d bytes for %d clients" % (peak.growth, clients))


def told(port, first, rest=b""):
    """What the server says to these bytes until it closes."""
    one = socket.create_connection(("127.0.0.1", port), timeout=20)
    text = b""
    try:
        one.sendall(first)
        for at in range(0, len(rest), 65536):
            one.sendall(rest[at:at + 65536])
        while True:
            more = one.recv(65536)
            if not more:
                break
            text += more
    except ConnectionError:
        pass    # closed while more was being sent
    finally:
        one.close()
    return text


@row
def giant_lengths_are_refused_from_the_length_alone(folder, run):
    post = b"POST /item/k/add HTTP/1.1\r\nHost: localhost\r\n"
    headers = b"".join(b"X-%d: 1\r\n" % i for i in range(100000))
    cases = (("resp", b"*2\r\n$536870912\r\n", b"", b"-ERR Protocol error: invalid bulk length\r\n"),
             ("resp", b"*2147483647\r\n", b"", b"-ERR Protocol error: invalid multibulk length\r\n"),
             ("resp", b"*3\r\n$4\r\nCALL\r\n$1048577\r\n", b"", b"-ERR Protocol error: invalid bulk length\r\n"),
             ("http", post + b"Content-Length: 1073741824\r\n\r\n", b"", b"HTTP/1.1 413 "),
             ("http", post + b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n", b"", b"HTTP/1.1 413 "),
             ("http", b"GET /item/k HTTP/1.1\r\nHost: localhost\r\n", headers, b"HTTP/1.1 431 "),
             ("http", b"GET /item/", b"u" * 1000000, b"HTTP/1.1 414 "))
    with server(folder) as one:
        connection = one.connect()
        equal(connection.call("item", "k", "add"), 1)

        def case(door, first, rest, wanted):
            text = told(one.resp if door == "resp" else one.http, first, rest)
            # Where more was on its way the refusal may be lost with the reset that follows.
            if not text.startswith(wanted) and (text or not rest):
                wrong.append("%r...: %r" % (first[:40], text[:120]))
            seen[wanted] = seen.get(wanted, 0) + bool(text)

        def round_of(times):
            threads = [threading.Thread(target=case, args=each) for each in cases * times]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        seen, wrong = {}, []
        round_of(2)
        begin = status_of(one.process.pid)[0]
        with Peak(one) as peak:
            round_of(2)
        true(not wrong, "; ".join(wrong[:3]))
        true(all(seen.values()), "never seen: %s" % [w for w, n in seen.items() if not n])
        equal(connection.call("item", "k", "add"), 2, "nothing of it ran, and the next one does")
        run.say("%d cases, memory grew %d KiB", len(cases), peak.growth >> 10)
        bounded(run, peak.most - begin < 1 << 20, "memory grew by %d bytes" % peak.growth)


@row
def runaway_handlers_are_stopped_in_time_beside_an_unhurt_shard(folder, run):
    names = ("loop", "pcall_loop", "bomb") + (() if harness.sanitizers() else ("pattern",))
    with server(folder, "--shards", 2, "--threads", 2, "--limit", "queue_wait_max_ms=60000",
                "--limit", "request_deadline_ms=60000", pinned=False) as one:
        others = Others(one)
        connection, beside = one.connect(), one.connect()
        figures = []
        for name in names:
            spent = []
            for _ in range(2):
                before = cpu_s(one.process.pid)
                answer = connection.call("item", "bad", name)
                spent.append(cpu_s(one.process.pid) - before)
                true(isinstance(answer, RespError) and answer.code == "BUDGET", "%s: %r" % (name, answer))
                true(connection.row("item", "bad") is None, "%s has left a row" % name)
            figures.append(("%s: ms of CPU" % name, 1e3 * min(spent), 200 + 1e3 / 100, "<="))
        # A key of the other shard is one that is read while a loop runs. The loop's own shard answers after it.
        def is_beside(key):
            connection.send(("CALL", "item", "bad", "loop"))
            true(beside.row("item", key) is None, "a row that nobody wrote")
            running = not select.select([connection.socket], [], [], 0)[0]
            connection.read()
            return running

        key = next((key for key in map("k{}".format, range(64)) if all(is_beside(key) for _ in range(3))), None)
        true(key is not None, "none of 64 keys was read while a loop ran on the other shard")
        # All shards' changes become durable together, epoch by epoch, and a shard seals its epoch between handlers only: so
        # who commits beside a loop may wait for the rest of it and for all of the next; and where epochs are as far ahead as
        # they may be, for as much again before it begins. Loops are stopped some milliseconds after their budget.
        p99, loops = [], 3 + round(12 * run.scale)
        for bad in (False, True, False):
            if bad:
                connection.send(*[("CALL", "item", "bad", "loop")] * loops)
            p99.append(load(one, "--connections", 4, "--key", key, "--seconds", 1.2 * run.scale, "--warm", 0.2)["p99_us"] / 1e3)
            if bad:
                for _ in range(loops):
                    true(connection.read().code == "BUDGET", "a loop")
        run.say("p99 ms on the other shard %s", " ".join("%.1f" % p for p in p99))
        judge(run, figures + [("p99 ms on the other shard", p99[1], 3 * max(p99[0], p99[2]) + 4 * (100 + 10), "<=")],
              [p99[0], p99[2]], others.share())
