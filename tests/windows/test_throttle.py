"""Sources wait for a follower that is far behind: follower_lag_max.

SPDX-License-Identifier: MIT
"""
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import threading

from harness import Server, equal, stream_events, test, true, weir_path
from test_windows import MEMORY, START, caught_up, figure, until

BLOCKED = MEMORY.split("weir.join")[0] + """
local page = weir.service "page"
page:on("note", { weir.text, weir.time }, function(self, who, at) seen:emit { who = who, at = at } end)
weir.window("others", { from = seen, size = "1h", n = weir.count() })
"""


def blocked(folder, limit):
    """A server whose window `counts` takes nothing more: memory is full. The other one goes on."""
    server = Server(folder.write("blocked.lua", BLOCKED), folder.join("d"), "--shards", "2", "--limit", "memory_max=1000000",
                    "--limit", "follower_lag_max=%d" % limit)
    equal(server.post("/streams/seen", {"who": "first", "at": START}).status, 200, "before memory is full")
    until(lambda: caught_up(server), "the first is counted")
    fill(server)
    return server


def fill(server):
    """Rows until not one of 100 bytes has room."""
    for size in (60000, 6000, 600, 100):
        number = 0
        while server.post("/filler/f%d-%d/fill" % (size, number), [size]).status == 200:
            number += 1


def unblock(server):
    for number in range(20):
        server.post("/filler/f60000-%d/drop" % number, [])


def lag(server):
    return {f["type"]: f["lag"] for f in server.get("/streams/seen/info").json["followers"]}["counts"]


def event(i):
    return {"who": "g%d" % i, "at": START + i}


@test
def sources_are_refused_exactly_from_the_limit_on(folder):
    with blocked(folder, 10) as server:
        client = server.connect()
        sent = 1
        until(lambda: caught_up(server) or lag(server) > 0, "a start")
        for i in range(9):
            equal(server.post("/streams/seen", event(sent)).status, 200, "event %d" % i)
            sent += 1
            until(lambda i=i: lag(server) == i + 1, "a lag of %d" % (i + 1))
        equal(server.get("/streams/seen/info").json["held_by"], None, "one below the limit")
        equal(figure(server, 'stream_held{stream="seen"}'), 0)
        equal(server.post("/streams/seen", [event(sent + i) for i in range(3)]).status, 200, "the last one below takes a batch")
        sent += 3
        until(lambda: lag(server) == 12, "above the limit")
        refusals = [server.post("/streams/seen", event(99)), server.post("/streams/seen", [event(99)]),
                    server.request("POST", "/streams/seen", json.dumps(event(99)) + "\n", {"Content-Type": "application/x-ndjson"}),
                    server.request("POST", "/streams/seen", json.dumps(event(99)),
                                   {"Content-Type": "application/json", "ce-id": "1", "ce-source": "/s", "ce-type": "seen",
                                    "ce-specversion": "1.0"})]
        for reply in refusals:
            equal((reply.status, reply.headers["Retry-After"], reply.code), (429, "1", "overloaded"), "%r" % reply)
            said = reply.json
            equal((said["stream"], said["window"], said["lag"], said["limit"], said["applied"]), ("seen", "counts", 12, 10, False))
            true("seen waits for its window counts, 12 events behind" in said["detail"], said["detail"])
        error = client.ask("XADD", "seen", "*", "who", "g99", "at", str(START))
        true(error.code == "OVERLOADED" and "retry_after_ms=" in error.text and "window counts, 12 events behind" in error.text,
             "XADD: %r" % error)
        # What was applied is answered as ever, and transactions are never refused.
        equal(server.post("/page/note", ["g%d" % sent, START + sent]).status, 200, "an emit inside a transaction")
        sent += 1
        until(lambda: lag(server) == 13, "it counts")
        info = client.ask("INFO", "streams")
        true("held_by=counts" in info, info)
        true(figure(server, 'stream_held{stream="seen"}') == 1 and figure(server, "emits_held_total") >= 5, "metrics")
        held = [s for s in server.get("/").json["streams"] if s["name"] == "seen"][0]
        equal((held["held_by"], held["lag"]), ("counts", 13), "GET /")
        equal(server.get("/streams/seen/info").json["events"], sent, "nothing that was refused is there")
        server.kill()
        server.start()
        until(lambda: lag(server) == 13, "the same lag after a start")
        equal(server.post("/streams/seen", event(99)).status, 429, "and sources wait as before")
        unblock(server)
        until(lambda: lag(server) == 0, "there is room")
        equal(server.get("/streams/seen/info").json["held_by"], None)
        equal(server.post("/streams/seen", event(99)).status, 200, "sources go on")
        equal(server.post("/streams/seen/end").status, 200)
        until(lambda: server.get("/streams/counts/info").json["events"] >= sent + 1 and caught_up(server), "all windows are done")
        equal(sorted(e["event"]["who"] for e in stream_events(server, "counts")),
              sorted(["first", "g99"] + ["g%d" % i for i in range(1, sent)]), "each event once")


@test
def at_the_limit_itself_the_next_one_waits(folder):
    with blocked(folder, 3) as server:
        for i in range(3):
            equal(server.post("/streams/seen", event(i + 1)).status, 200)
            until(lambda i=i: lag(server) == i + 1, "a lag of %d" % (i + 1))
        equal(server.post("/streams/seen", event(9)).status, 429, "at the limit")


def on_terminal(seen, *words):
    """Runs a verb with stderr on a terminal, calling seen(what it showed so far): (exit code, stdout, what the terminal showed)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    process = subprocess.Popen([weir_path(), *words], stdout=subprocess.PIPE, stderr=slave, stdin=subprocess.DEVNULL)
    os.close(slave)
    shown = ""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not part:
            break
        shown += part.decode(errors="replace")
        seen(shown)
    out = process.stdout.read().decode()
    process.stdout.close()
    os.close(master)
    return process.wait(60), out, shown


@test
def load_and_emit_show_what_they_wait_for_and_go_on(folder):
    folder.write("seen.ndjson", "".join(json.dumps(event(i)) + "\n" for i in range(1200)))
    with blocked(folder, 100) as server:
        host, held, sent = "127.0.0.1:%d" % server.http, [], []

        def hold(at):
            """Fills the window up to the limit. How far behind it is gets known some time after the events are durable."""
            def is_held():
                held_by = server.get("/streams/seen/info").json["held_by"]
                if held_by is None:
                    more = [{"who": "h%d" % (len(sent) + i), "at": at} for i in range(20)]
                    if server.post("/streams/seen", more).status == 200:
                        sent.extend(more)
                return held_by == "counts"

            until(is_held, "the window is too far behind")

        def look(shown):
            if not held and "waits for window counts, " in shown:
                held.append(shown)
                # Only this ends it: without patience, for nothing is wrong with the server.
                unblock(server)

        hold(START)
        code, out, shown = on_terminal(look, "load", "stream", "seen", folder.join("seen.ndjson"), "--host", host, "--batch", "50",
                                       "--patience", "0")
        equal((code, out), (0, "1200 lines: 1200 events added, 0 there before\n"), shown)
        bar = re.search(r"\r.*0%  0 lines .*waits for window counts, (\d+) behind", held[0])
        true(bar and 100 <= int(bar[1]) <= len(sent), "the progress bar: " + held[0])
        true("waits" not in shown.rsplit("\r", 2)[1], "not at the end: " + shown[-300:])
        until(lambda: caught_up(server), "the window is done")
        fill(server)
        lines = "".join(json.dumps({"who": "i%d" % i, "at": START + 5000 + i}) + "\n" for i in range(100))
        one = subprocess.run([weir_path(), "emit", "seen", "--host", host], capture_output=True, text=True, timeout=60, input=lines)
        equal((one.returncode, one.stdout), (0, "100 events\n"), one.stderr)
        hold(START + 5000)
        more = subprocess.Popen([weir_path(), "emit", "seen", json.dumps({"who": "h7", "at": START + 5000}), "--host", host], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        true(re.match(r"weir: waits for window counts, \d\d\d behind", more.stderr.readline()), "one event says so")
        unblock(server)
        more.communicate(timeout=60)
        equal(more.returncode, 0)
        equal(server.post("/streams/seen/end").status, 200)
        counted = 1 + len(sent) + 1200 + 100 + 1
        until(lambda: sum(e["event"]["n"] for e in stream_events(server, "counts")) >= counted and caught_up(server), "all is counted")
        equal(sum(e["event"]["n"] for e in stream_events(server, "counts")), counted, "each event once")


SLOW = """
local weir = require "weir"
local card = weir.entity("card", { n = weir.int, sum = weir.int })
local moved = weir.stream("moved", { card = weir.text, n = weir.int }, { key = "card", allow = "anyone" })
card:follow(moved, { by = "card" }, function(self, e)
  local x = 0
  for i = 1, 5000 do x = (x * 31 + i) % 65537 end
  self.n, self.sum = self.n + 1, self.sum + e.n + (x < 0 and 1 or 0)
end)
"""


# A source's next batch comes after the feed has told twice of the one before: it judges who is held back at the end of the turn in which it
# told, so by the second time it has judged with that batch, however late it runs. Each source is one batch ahead of that at most.
@test
def many_sources_go_at_the_pace_of_a_slow_follower(folder):
    app, held, wrong = folder.write("slow.lua", SLOW), [], []
    with Server(app, folder.join("d"), "--shards", "2", "--limit", "follower_lag_max=100") as server:
        def source(number):
            for batch in range(10):
                body = [{"card": "c%d" % (i % 4), "n": number + batch} for i in range(200)]
                while True:
                    reply = server.post("/streams/moved", body, Idempotency_Key='"%d-%d"' % (number, batch))
                    if reply.status == 200:
                        server.get("/streams/moved/info")
                        server.get("/streams/moved/info")
                        break
                    held.append(reply)
                    if reply.status != 429 or reply.json["follower"] != "card" or reply.json["lag"] < 100:
                        wrong.append(reply)
                        return

        threads = [threading.Thread(target=source, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(wrong, [], "every refusal names the follower")
        true(held, "sources were held back")
        furthest = max(r.json["lag"] for r in held)
        true(furthest < 100 + 6 * 200, "and it is never much further behind: %d" % furthest)
        until(lambda: caught_up(server), "the follower is done")
        rows = [server.get("/card/c%d" % i).json for i in range(4)]
        equal([(row["n"], row["sum"]) for row in rows], [(3000, sum(50 * (n + b) for n in range(6) for b in range(10)))] * 4, "each event once")
