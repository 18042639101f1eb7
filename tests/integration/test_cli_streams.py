"""The verbs around streams: graph, tail, emit, load, parked, schedule.

A binary whose server has no /streams or /parked yet is asked for them first; those tests are then skipped aloud.

SPDX-License-Identifier: MIT
"""
import glob
import json
import os
import re
import signal
import subprocess
import threading
import time
import xml.etree.ElementTree

from harness import EXAMPLES, Server, Skip, equal, test, true, weir, weir_path

APP = """
local weir = require "weir"
local int, text = weir.int, weir.text
local account = weir.entity("account", { balance = int, seen = int, sum = int, last = int, friend = weir.entity "user" })
local user = weir.entity("user", { name = text })
local moved = weir.stream("moved", { account = account, amount = int }, { key = "account", keep = "1d", allow = "clerk" })
local audit = weir.service "audit"
local function tell(self, amount) moved:emit { account = self, amount = amount } end
account:on("deposit", { int { min = 1 }, returns = int }, function(self, amount)
  self.balance = self.balance + amount
  tell(self, amount)
  return self.balance
end)
account:on("heal", {}, function(self) self.last = 1 end)
account:follow(moved, { by = "account" }, function(self, e)
  if e.amount == 13 and self.last == 0 then weir.fail("unlucky", "thirteen") end
  self.seen = self.seen + 1
  self.sum = self.sum + e.amount
end)
audit:on("close", {}, function(self) account("main"):heal() end)
local counter = weir.entity("counter", { n = int })
counter:on("tick", {}, function(self) self.n = self.n + 1 end)
weir.every("0 3 * * *", counter "a", "tick", { zone = "Europe/Berlin", name = "nightly" })
weir.every("1000h", audit, "close")
"""
OUTSIDE = """
local bank = weir.outside("bank", { url = "https://key:hidden@bank.example/v1?secret=1" })
account:on("ask", {}, function(self) bank:ask("POST /x", {}, "heal") end)
"""


def serve(folder, *options, http="127.0.0.1:0", endpoint="/streams"):
    """A server of the app; skips when it has no such endpoint yet."""
    server = Server(folder.write("app.lua", APP), folder.join("data"), "--shards", 2, *options, http=http)
    if endpoint and not serves(server, endpoint):
        server.stop()
        raise Skip("this binary serves no %s yet" % endpoint)
    return server


def serves(server, endpoint, headers=None):
    """Whether the server has the endpoint, which lists what is named like it; earlier ones answer otherwise."""
    answer = server.request("GET", endpoint, headers=headers)
    return answer.status == 200 and endpoint[1:] in answer.json


def at(server, *words, wanted=0, **more):
    """Runs a verb at the server's HTTP door; what it printed."""
    code, out, err = weir(*words, "--host", "127.0.0.1:%d" % server.http, **more)
    equal(code, wanted, "%s: %s%s" % (" ".join(map(str, words)), out, err))
    return out if wanted == 0 else err


def until(what, look, seconds=30):
    """Looks again until it is true."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        true(time.monotonic() < end, "never came: " + what)
        time.sleep(0.02)


def events(server):
    """All (id, event) of the stream."""
    lines = at(server, "tail", "moved", "--from", "oldest", "--json").splitlines()
    return [(e["id"], e["event"]) for e in map(json.loads, lines)]


# ---- graph ----

def graph_json(path, *options):
    code, out, err = weir("graph", path, "--json", *options)
    equal(code, 0, err)
    graph = json.loads(out)
    return graph["nodes"], {(e["from"][1], e["link"], e["to"][1], e["label"]) for e in graph["edges"]}


@test
def graph_shows_what_is_declared_and_what_handlers_mention(folder):
    app = folder.write("app.lua", APP + OUTSIDE)
    nodes, edges = graph_json(app)
    equal(sorted((n["kind"], n["name"]) for n in nodes),
          [("entity", "account"), ("entity", "counter"), ("entity", "user"), ("outside", "bank"), ("schedule", "audit:close"),
           ("schedule", "nightly"), ("service", "audit"), ("stream", "moved")])
    equal(edges, {("account", "emits", "moved", "deposit"), ("moved", "feeds", "account", "by account"),
                  ("account", "asks", "bank", "ask"), ("audit", "calls", "account", "close"),
                  ("account", "refers to", "user", "friend"), ("nightly", "runs", "counter", "a: tick"),
                  ("audit:close", "runs", "audit", "close")})
    code, text, _ = weir("graph", app)
    true(re.search(r"^entity +account\n(  .*\n)*  emits +-> moved +\(deposit\)$", text, re.M), text)
    code, dot, _ = weir("graph", app, "--format", "dot")
    true(dot.startswith("digraph") and dot.count("->") == len(edges) and dot.count("style=dashed") == 1, dot)
    for form in ("text", "dot", "svg", "json"):
        code, out, _ = weir("graph", app, "--format", form)
        true(code == 0 and "hidden" not in out and "secret" not in out, "a URL's secrets are drawn: " + out)


def boxes(svg):
    """Name -> (x, y, width, height) of each box, as drawn."""
    space = "{http://www.w3.org/2000/svg}"
    found = {}
    for group in svg.iter(space + "g"):
        frame, name = group.find(space + "rect"), group.find(space + "text").text
        found[(group.get("class"), name)] = tuple(float(frame.get(a)) for a in ("x", "y", "width", "height"))
    return found


def svg_is_drawn(path, *options):
    nodes, edges = graph_json(path, *options)
    code, out, err = weir("graph", path, "--format", "svg", *options)
    equal(code, 0, err)
    equal(weir("graph", path, "--format", "svg", *options)[1], out, "the same drawing twice")
    svg = xml.etree.ElementTree.fromstring(out)
    placed = boxes(svg)
    equal(set(placed), {(n["kind"], n["name"]) for n in nodes}, path)
    wide, high = float(svg.get("width")), float(svg.get("height"))
    list_of = sorted(placed.items())
    for i, (name, (x, y, w, h)) in enumerate(list_of):
        true(0 <= x and x + w <= wide and 0 <= y and y + h <= high, "%s lies outside" % (name,))
        for other, (x2, y2, w2, h2) in list_of[i + 1:]:
            true(x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y, "%s lies on %s" % (name, other))
    curves = [p for p in svg.iter("{http://www.w3.org/2000/svg}path") if "C" in p.get("d")]
    equal(len(curves), len(edges), "edges drawn in " + path)
    return out


@test
def graph_draws_every_box_and_edge_without_overlap(folder):
    svg_is_drawn(folder.write("app.lua", APP + OUTSIDE))
    for path in sorted(glob.glob(os.path.join(EXAMPLES, "*.lua"))):
        if weir("check", path)[0] == 0:
            svg_is_drawn(path)
    # A ring, a fan, many columns, names that XML must escape in what they say.
    lines = ['local weir = require "weir"', "local int = weir.int"]
    for i in range(30):
        lines.append('local e%d = weir.entity("e%d", { n = int })' % (i, i))
        lines.append('local s%d = weir.stream("s%d", { e = weir.text }, { key = "e" })' % (i, i))
    for i in range(30):
        lines.append('e%d:on("go", {}, function(self) s%d:emit { e = "a" } s%d:emit { e = "b" } end)' % (i, i, i * 7 % 30))
        lines.append('e%d:follow(s%d, { by = "e" }, function(self, e) end)' % ((i + 1) % 30 if i % 3 else i, i))
    lines.append('weir.every("1h", e0 "<a&b>", "go", { name = "x<&>\\"y" })')
    text = svg_is_drawn(folder.write("ring.lua", "\n".join(lines)))
    true("&lt;a&amp;b&gt;" in text, "what stands in the application is escaped")


@test
def graph_names_what_is_wrong(folder):
    code, _, err = weir("graph", folder.write("bad.lua", 'local weir = require "weir"\nweir.entity("a", { n = weir.int })\nfoo()\n'))
    true(code == 1 and "bad.lua:3" in err, err)
    code, _, err = weir("graph", folder.write("app.lua", APP), "--format", "png")
    true(code == 64 and "svg" in err, err)
    equal(weir("graph")[0], 64)


# ---- what needs no server ----

@test
def verbs_of_streams_name_the_fix(folder):
    nowhere = ("--host", "127.0.0.1:1")
    for words in (("tail", "moved"), ("emit", "moved", "{}"), ("parked", "list"), ("schedule", "list"),
                  ("load", "stream", "moved", folder.write("a.ndjson", "{}\n"))):
        equal(weir(words[0], "--help")[0], 0, words[0])
        code, out, err = weir(*words, *nowhere)
        true(code == 69 and "weir run" in err and out == "", "%r: %d %s%s" % (words, code, out, err))
    for words, hint in ((("parked", "lst"), "did you mean list?"), (("parked", "retry"), "weir parked list"),
                        (("parked", "list", "3"), "no id"), (("schedule", "paus", "x"), "did you mean pause?"),
                        (("schedule", "pause"), "weir schedule list"), (("emit", "moved", "--id", "x"), "weir load stream"),
                        (("load", "map", "a", "b"), "usage"), (("load", "stream", "a", "b", "--batch", "0"), "1 to 1000"),
                        (("load", "stream", "a", "b", "--batch", "1001"), "1000"), (("tail", "a", "--limit", "x"), "whole number"),
                        (("emit", "moved", "{}", "--user", "ann"), "--token-file")):
        code, _, err = weir(*words, *nowhere)
        true(code == 64 and hint in err, "%r: %d %s" % (words, code, err))
    code, _, err = weir("load", "stream", "moved", folder.join("absent"), *nowhere)
    true(code == 74 and "absent" in err, err)


# ---- what every verb does ----

def shell(line, **more):
    """(exit code, stdout, stderr) of a line of the shell, in which $W is the program."""
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "W": weir_path(), **{name: str(value) for name, value in more.items()}})
    return done.returncode, done.stdout, done.stderr


@test
def an_answer_that_cannot_be_printed_is_no_success(folder):
    with serve(folder) as server:
        at(server, "emit", "moved", '{"account":"ann","amount":1}')
        here = {"R": "127.0.0.1:%d" % server.resp, "H": "127.0.0.1:%d" % server.http, "APP": folder.join("app.lua")}
        for words in ("version", "--help", "help run", "check $APP", "graph $APP", "call account ann heal --host $R", "stat --host $R",
                      "tail moved --host $H", "tail moved --from oldest --host $H", "schedule list --host $H"):
            for to in ("/dev/full", "&-"):
                code, _, err = shell("exec $W %s >%s" % (words, to), **here)
                true(code == 74 and "cannot write the output" in err, "%s >%s: %d %s" % (words, to, code, err))


@test
def what_is_printed_never_goes_where_the_server_reads(folder):
    """A descriptor that the caller closed would be the connection's, or the log's, number."""
    with serve(folder) as server:
        many = "".join('{"account":"bob","amount":%d}\n' % n for n in range(2000))
        code, _, err = shell("printf %s \"$MANY\" | $W emit moved --host $H", MANY=many, H="127.0.0.1:%d" % server.http)
        equal(code, 0, err)
        code, _, err = shell("exec $W tail moved --from oldest --host $H >&-", H="127.0.0.1:%d" % server.http)
        true("toobig" not in err and "request" not in err, err)
    server = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *server.command])
    try:
        opened = lambda: [os.readlink("/proc/%d/fd/%d" % (server.pid, fd)) for fd in range(3)]
        until("the program", lambda: "weir" in os.readlink("/proc/%d/exe" % server.pid))
        until("its descriptors", lambda: len(os.listdir("/proc/%d/fd" % server.pid)) > 6)
        equal(opened(), ["/dev/null"] * 3)
    finally:
        server.kill()
        server.wait()


@test
def errors_are_json_where_json_is_asked_for(folder):
    with serve(folder) as server:
        resp, http = ("--host", "127.0.0.1:%d" % server.resp), ("--host", "127.0.0.1:%d" % server.http)
        nowhere = ("--host", "127.0.0.1:1")
        for words, code, hint in ((("get", "account", "nobody", *resp), 1, "no row"), (("get", "account", "nobody", *nowhere), 69, "weir run"),
                                  (("stat", *nowhere), 69, "weir run"), (("stat", *http), 69, "RESP door"),
                                  (("call", "account", "ann", "heal", *http), 69, "RESP door")):
            got, out, err = weir(*words, "--json")
            true(got == code and out == "" and hint in json.loads(err)["error"], "%r: %d %s%s" % (words, got, out, err))
        for words, code, hint in ((("parked", "list", *nowhere), 69, "weir run"), (("schedule", "list", *nowhere), 69, "weir run"),
                                  (("parked", "show", "x", *http), 1, "weir parked list"), (("tail", "moved", *resp), 69, "HTTP door"),
                                  (("schedule", "show", "x", *http), 1, "weir schedule list"), (("schedule", "run", "x", *http), 1, "no such")):
            got, out, err = weir(*words, "--json")
            true(got == code and out == "" and hint in json.loads(err)["error"]["detail"], "%r: %d %s%s" % (words, got, out, err))
        file = folder.write("bad.ndjson", lines(5) + "x\n")
        code, out, err = weir("load", "stream", "moved", file, "--batch", "5", "--json", *http)
        equal((code, json.loads(out), json.loads(err)["error"]["code"]), (1, {"lines": 5, "added": 5, "there_before": 0, "refused_line": 6}, "arg"))
        got, _, err = weir("load", "stream", "moved", folder.write("worse.ndjson", "x\n"), *http)
        true(got == 1 and "worse.ndjson:1; no line is in the stream" in err, err)


@test
def words_that_other_programs_take_get_a_hint(folder):
    app = folder.write("app.lua", APP)
    equal(weir("bench", "nope")[2].splitlines()[0], "weir: no workload `nope`")
    true("did you mean `weir bench ycsb`" in weir("bench", "ycb")[2], "a workload that is near")
    for words, hint in ((("tail", "-f", "moved"), "-f; options begin with two dashes"), (("get", "a", "b", "c"), "too many: c"),
                        (("stat", "--host", ""), "HOST:PORT"), (("stat", "--host", "http://localhost:6400"), "HOST:PORT"),
                        (("stat", "--host", "[::1"), "HOST:PORT"), (("stat", "--host", "localhost:"), "HOST:PORT"),
                        (("stat", "--host", "localhost:+1"), "whole number"), (("parked", "list", "--limit", "0"), "from 1"),
                        (("run", app, "--http", ""), "HOST:PORT"), (("run", app, "--data", ""), "which directory"),
                        (("run", app, "--allow-host", "http://x.example"), "name alone"), (("run", app, "--allow-host", ""), "name alone"),
                        (("check", app, "--set", "size"), "NAME=VALUE"), (("graph", app, "--set", "=5"), "NAME=VALUE"),
                        (("run", app, "--set", ""), "NAME=VALUE"), (("bench", "ycsb", "--set", "x"), "NAME=VALUE"),
                        (("run", app, "--http", "127.0.0.1:9", "--resp", "127.0.0.1:9"), "one port")):
        code, out, err = weir(*words)
        true(code == 64 and hint in err and out == "", "%r: %d %s%s" % (words, code, out, err))


@test
def what_a_server_says_to_try_works(folder):
    head = 'local weir = require "weir"\nlocal int, text, list = weir.int, weir.text, weir.list\n'
    handler = 'local a = weir.entity("a", { n = int })\na:on("go", { %s }, function(self) self.n = 1 end)\n'
    apps = ('weir.stream("s", { n = int { min = 7 }, t = text, at = weir.time }, { time = "at" })\n',
            handler % "text { min = 8 }, text { max = 3 }, weir.float { max = 0.5 }, weir.float { min = 2 }",
            handler % 'list(int) { min = 3 }, list({ x = text { max = 1 }, y = weir.enum { "p", "q" } })')
    here = ["127.0.0.1:0"] * len(apps)
    if os.path.exists("/proc/net/if_inet6") and open("/proc/net/if_inet6").read():
        here[0] = "[::]:0"
    for n, app in enumerate(apps):
        server = subprocess.Popen([weir_path(), "run", folder.write("try%d.lua" % n, head + app), "--data", folder.join("data%d" % n),
                                   "--http", here[n], "--insecure-bind", "--resp", "none"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        silence = threading.Timer(20, server.kill)  # one that says nothing of the kind goes on for ever
        silence.start()
        try:
            line = next((line[6:].strip() for line in server.stdout if line.startswith("Try:")), None)
            true(line, "nothing to try: " + app)
            done = subprocess.run(["sh", "-c", line + " -s -f -o /dev/null"], capture_output=True, text=True, timeout=30)
            equal(done.returncode, 0, line)
        finally:
            silence.cancel()
            server.kill()
            server.communicate()


@test
def an_answer_still_to_come_names_the_verb_that_waits(folder):
    with Server(os.path.join(os.path.dirname(__file__), "deferred.lua"), folder.join("data"), "--limit", "request_deadline_ms=300") as server:
        here = ("--host", "127.0.0.1:%d" % server.resp)
        code, _, err = weir("call", "box", "b", "ask", "g", *here)
        wait = re.search("`weir (wait [0-9a-z]{26})`", err)
        true(code == 1 and wait, "%d %s" % (code, err))
        equal(weir("call", "gate", "g", "set", "true", *here)[0], 0)
        equal(until("the answer", lambda: weir(*wait[1].split(), *here)[1]), "1\n")


@test
def new_writes_both_files_or_none(folder):
    folder.write("a_test.lua", "mine")
    code, _, err = weir("new", "a", cwd=folder.path)
    true(code == 74 and "left alone" in err, err)
    equal(sorted(os.listdir(folder.path)), ["a_test.lua"])
    equal(open(folder.join("a_test.lua")).read(), "mine")


@test
def bytes_are_printed_whole(folder):
    app = folder.write("bytes.lua", 'local weir = require "weir"\nlocal a = weir.entity("a", { n = weir.int })\n'
                                    'a:on("get", { returns = weir.bytes }, function(self) return "x\\0y\\255\\195\\188" end)\n')
    with Server(app, folder.join("data")) as server:
        call = [weir_path(), "call", "a", "k", "get", "--host", "127.0.0.1:%d" % server.resp]
        equal(subprocess.run(call, capture_output=True, timeout=60).stdout, b"x\0y\xff\xc3\xbc\n")
        shown = json.loads(subprocess.run([*call, "--json"], capture_output=True, timeout=60).stdout.decode("utf-8"))
        equal(shown.encode("utf-8", "surrogateescape"), b"x\0y\xff\xc3\xbc")


# ---- tail, emit ----

@test
def emit_adds_and_tail_shows(folder):
    with serve(folder) as server:
        first = at(server, "emit", "moved", '{"account":"ann","amount":1}').strip()
        true(re.fullmatch(r"\d+-\d+", first), first)
        again = [at(server, "emit", "moved", '{"account":"ann","amount":2}', "--id", 'a "1"\\') for _ in range(2)]
        equal(again[0], again[1], "the id of a repeat")
        equal(at(server, "tail", "moved", "--from", "oldest").count("\n"), 2)
        many = "".join('{"account":"bob","amount":%d}\n' % n for n in range(100, 2600))
        done = subprocess.run([weir_path(), "emit", "moved", "--json", "--host", "127.0.0.1:%d" % server.http],
                              input=many, capture_output=True, text=True, timeout=60)
        equal((done.returncode, done.stdout), (0, '{"count":2500}\n'), done.stderr)
        stream = events(server)
        equal([e["amount"] for _, e in stream], [1, 2, *range(100, 2600)], "order")
        equal(stream[0][0], first)
        newest = at(server, "tail", "moved").splitlines()
        equal([json.loads(line.split("  ")[3])["amount"] for line in newest], list(range(2590, 2600)))
        equal(newest[-1].split("  ")[2], "bob")
        equal(at(server, "tail", "moved", "--limit", 3).splitlines(), newest[-3:])
        equal([json.loads(line)["id"] for line in at(server, "tail", "moved", "--json", "--from", stream[7][0], "--limit", 2).splitlines()],
              [stream[7][0], stream[8][0]])
        equal(at(server, "tail", "moved", "--from", "now"), "")
        true("amount" in at(server, "emit", "moved", '{"account":"ann","amount":"x"}', wanted=1), "the field is named")
        true("GET /streams" in at(server, "tail", "nothing", wanted=1), "what there is")
        true('"error"' in at(server, "tail", "nothing", "--json", wanted=1), "errors as JSON")
        equal(len(events(server)), 2502, "what is refused adds nothing")


@test
def tail_follows_over_a_kill_and_prints_each_event_once(folder):
    with serve(folder) as server:
        port = server.http
        at(server, "emit", "moved", '{"account":"a","amount":1}')
        out = open(folder.join("out"), "w+")
        tail = subprocess.Popen([weir_path(), "tail", "moved", "--from", "oldest", "--follow", "--json", "--limit", "4",
                                 "--host", "127.0.0.1:%d" % port], stdout=out, stderr=subprocess.PIPE, text=True)
        printed = lambda: open(folder.join("out")).read().splitlines()
        try:
            until("the first event", lambda: len(printed()) == 1)
            at(server, "emit", "moved", '{"account":"a","amount":2}')
            until("the second event", lambda: len(printed()) == 2)
            server.kill()
            server.command[server.command.index("--http") + 1] = "127.0.0.1:%d" % port
            server.start()
            at(server, "emit", "moved", '{"account":"a","amount":3}')
            at(server, "emit", "moved", '{"account":"a","amount":4}')
            equal(tail.wait(60), 0, "tail ends after --limit")
        finally:
            tail.kill()
            tail.communicate()
            out.close()
        equal([json.loads(line)["event"]["amount"] for line in printed()], [1, 2, 3, 4])


@test
def callers_name_themselves_over_http(folder):
    users = folder.join("users")
    token = json.loads(weir("user", "add", "cleo", "--role", "clerk", "--users", users, "--json")[1])["token"]
    file = folder.write("token", token + "\n")
    os.chmod(file, 0o600)
    with serve(folder, "--users", users, endpoint=None) as server:
        if not serves(server, "/streams", {"Authorization": "Bearer " + token}):
            raise Skip("this binary serves no /streams yet")
        true("--token-file" in at(server, "tail", "moved", wanted=1), "the fix is named")
        event = '{"account":"ann","amount":1}'
        at(server, "emit", "moved", event, "--token-file", file)
        at(server, "emit", "moved", event, "--token-file", file, "--user", "cleo")
        at(server, "emit", "moved", event, environment={**os.environ, "WEIR_TOKEN": token})
        at(server, "emit", "moved", event, "--token-file", file, "--user", "ann", wanted=1)
        equal(at(server, "tail", "moved", "--token-file", file).count("\n"), 3)
        true("noperm" in at(server, "parked", "list", "--token-file", file, wanted=1), "parked work is the operator's")


# ---- load ----

def lines(count):
    return "".join('{"account":"k%d","amount":%d}\n' % (n % 7, n) for n in range(count))


@test
def load_stream_adds_each_line_once_under_kills_of_both_sides(folder):
    count = 4000
    file = folder.write("in.ndjson", lines(count))
    with serve(folder) as server:
        port = server.http
        command = [weir_path(), "load", "stream", "moved", file, "--batch", "20", "--json", "--host", "127.0.0.1:%d" % port]
        held = lambda: json.loads(server.get("/streams/moved/info").body)["events"]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            until("a part of the file", lambda: held() > 200)
            server.kill()
            server.command[server.command.index("--http") + 1] = "127.0.0.1:%d" % port
            server.start()
            until("more of it after the server's kill", lambda: held() > 600)
            true(load.poll() is None, "the load outlived the server")
            load.send_signal(signal.SIGKILL)
            load.communicate()
            equal(load.returncode, -signal.SIGKILL)
            left = held()
            true(left < count, "killed too late to show anything: %d" % left)
            load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            out, err = load.communicate(timeout=120)
        finally:
            if load.poll() is None:
                load.kill()
                load.communicate()
        equal(load.returncode, 0, err)
        report = json.loads(out)
        equal((report["lines"], report["added"] + report["there_before"]), (count, count))
        true(report["there_before"] >= 600, report)
        equal([e["amount"] for _, e in events(server)], list(range(count)), "each line once, in order")
        out = at(server, "load", "stream", "moved", file, "--batch", 20)
        equal(out, "%d lines: 0 events added, %d there before\n" % (count, count))
        equal(held(), count)


@test
def load_stream_names_the_line_that_is_refused(folder):
    with serve(folder) as server:
        bad = lines(9).splitlines(True)
        bad[7] = '{"account":"k","amount":"seven"}\n'
        file = folder.write("bad.ndjson", "".join(bad))
        err = at(server, "load", "stream", "moved", file, "--batch", 3, wanted=1)
        true("bad.ndjson:8" in err and "lines 1 to 6" in err and "amount" in err, err)
        equal(len(events(server)), 6, "whole batches only")
        folder.write("bad.ndjson", lines(9)[:-1])  # without the last line end; put right
        equal(at(server, "load", "stream", "moved", file, "--batch", 3), "9 lines: 3 events added, 6 there before\n")
        folder.write("bad.ndjson", "\n\n" + lines(1) + "\n")
        equal(json.loads(at(server, "load", "stream", "moved", file, "--json")), {"lines": 4, "added": 1, "there_before": 0})
        equal(at(server, "load", "stream", "moved", folder.write("empty", "")), "0 lines: 0 events added, 0 there before\n")


# ---- parked work, schedules ----

@test
def parked_work_is_seen_retried_and_dropped(folder):
    with serve(folder, "--limit", "message_attempts_max=1", endpoint="/parked") as server:
        parked = lambda: json.loads(at(server, "parked", "list", "--json"))
        row = lambda key: json.loads(server.get("/account/" + key).body)
        equal(at(server, "parked", "list"), "")
        for key in ("ann", "bob"):
            server.post("/account/%s/deposit" % key, [13])
            server.post("/account/%s/deposit" % key, [1])
        items = until("two that are parked", lambda: len(parked()) == 2 and parked())
        equal([(i["kind"], i["handler"], "unlucky" in i["error"]) for i in items], [("event", "@moved", True)] * 2)
        ids = {i["to"]: i["id"] for i in items}
        equal(set(ids), {"account/ann", "account/bob"})
        true(ids["account/ann"] in at(server, "parked", "list"), "listed as text")
        equal(at(server, "parked", "list", "--limit", 1).count("\n"), 1)
        true("unlucky" in at(server, "parked", "show", ids["account/ann"]), "shown with its error")
        equal(json.loads(at(server, "parked", "show", ids["account/bob"], "--json"))["to"], "account/bob")
        at(server, "parked", "retry", ids["account/ann"])
        until("it fails again and is parked", lambda: len(parked()) == 2)
        server.post("/account/ann/heal")
        at(server, "parked", "retry-all")
        until("ann's event took effect", lambda: row("ann")["sum"] == 14)
        until("bob's is parked again", lambda: [i["to"] for i in parked()] == ["account/bob"])
        equal(at(server, "parked", "drop", parked()[0]["id"]), "dropped\n")
        until("bob's next event took effect", lambda: row("bob")["sum"] == 1)
        equal(parked(), [])
        for word in ("show", "retry", "drop"):
            at(server, "parked", word, ids["account/bob"], wanted=1)


@test
def schedules_are_listed_paused_resumed_and_run(folder):
    with serve(folder, endpoint=None) as server:
        listed = lambda: {s["name"]: s for s in json.loads(at(server, "schedule", "list", "--json"))}
        until("their first look", lambda: all(s["row"].get("next") for s in listed().values()))
        all_of = listed()
        equal(set(all_of), {"nightly", "audit:close"})
        equal((all_of["nightly"]["every"], all_of["nightly"]["zone"], all_of["nightly"]["to"], all_of["nightly"]["handler"]),
              ("0 3 * * *", "Europe/Berlin", "counter/a", "tick"))
        true("nightly" in at(server, "schedule", "list"), "listed as text")
        true("paused       true" in at(server, "schedule", "pause", "nightly"), "paused")
        equal(listed()["nightly"]["row"]["paused"], True)
        at(server, "schedule", "run", "nightly")
        until("the run", lambda: server.get("/counter/a").status == 200 and json.loads(server.get("/counter/a").body)["n"] == 1)
        equal(json.loads(at(server, "schedule", "resume", "nightly", "--json"))["row"]["paused"], False)
        at(server, "schedule", "pause", "audit:close")
        for word in ("show", "pause", "resume", "run"):
            true("weir schedule list" in at(server, "schedule", word, "nothing", wanted=1), word)
