#!/usr/bin/env python3
"""Who may do what, and what is refused whoever asks: the real binary over raw sockets.

The tables of commands and of pages are asked of the server itself, so a new command or page is tested without
being named here. Ends with `N passed, N failed, N skipped`.

    tests/security/run.py [--build DIR] [--only TEXT]

SPDX-License-Identifier: MIT
"""
import argparse
import base64
import functools
import glob
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

import harness
from harness import Fail, Resp, RespError, Server, Skip, equal, test, true, weir, weir_path

APP = os.path.join(HERE, "app.lua")
NOAUTH = "NOAUTH Authentication required."
WRONGPASS = "WRONGPASS invalid username-password pair or user is disabled."
DEADLINE_S = 20

# What a stranger may send, and what any user may; all else, new commands included, is the operator's.
STRANGERS = {"auth", "hello", "quit", "reset"}
USERS = {"ping", "echo", "select", "client", "command", "help", "xdel", "xtrim", "xsetid"}
BY_HANDLER = {"call", "call.once"}
BY_ID = {"call.wait"}    # whoever asked, the operator, and who has the id of what somebody without a name asked
BY_STREAM = {
    "xadd": "XADD facts * n 1",
    "xlen": "XLEN facts",
    "xrange": "XRANGE facts - +",
    "xrevrange": "XREVRANGE facts + -",
    "xread": "XREAD STREAMS facts 0",
    "xreadgroup": "XREADGROUP GROUP g c STREAMS facts >",
    "xack": "XACK facts g 1-1",
    "xgroup": "XGROUP CREATE facts g 0",
    "xpending": "XPENDING facts g",
    "xclaim": "XCLAIM facts g c 0 1-1",
    "xautoclaim": "XAUTOCLAIM facts g c 0 0",
    "xinfo": "XINFO STREAM facts",
}


until = functools.partial(harness.until, seconds=DEADLINE_S)


def user_add(folder, name, *roles, file="users"):
    words = ["user", "add", name, "--users", folder.join(file)]
    for role in roles:
        words += ["--role", role]
    code, out, error = weir(*words)
    equal(code, 0, "weir user add: " + error)
    return out.strip()


class Users:
    """A folder with a file of three users: op, ann the clerk, bob without roles."""

    def __init__(self, folder):
        self.file = folder.join("users")
        self.op = user_add(folder, "op", "operator")
        self.ann = user_add(folder, "ann", "clerk", "auditor")
        self.bob = user_add(folder, "bob")


def serve(folder, *options, **more):
    return Server(APP, folder.join("d"), "--users", folder.join("users"), "--shards", "2", *options, **more)


def as_user(server, token, version=2):
    connection = Resp(server.resp, 2)
    equal(connection.ask("AUTH", token), "OK", "AUTH")
    if version == 3:
        connection.ask("HELLO", "3")
    return connection


def raw(port, data, half=True):
    """Sends bytes, ends our side, reads all that comes until the other ends its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
        try:
            connection.sendall(data)
            if half:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        got = b""
        while True:
            try:
                more = connection.recv(65536)
            except ConnectionResetError:
                return got
            if not more:
                return got
            got += more


def bearer(token):
    return {"Authorization": "Bearer " + token}


def basic(name, secret):
    return {"Authorization": "Basic " + base64.b64encode(("%s:%s" % (name, secret)).encode()).decode()}


def text_of(answer):
    return answer.text if isinstance(answer, RespError) else answer


# ---- the tables ----

def words_for(name, arity):
    if name == "call":
        return ["CALL", "box", "x", "closed"]
    if name == "call.once":
        return ["CALL.ONCE", "id", "box", "x", "closed"]
    if name in BY_STREAM:
        return BY_STREAM[name].split()
    return [name] + ["GET" if name == "config" else "ID" if name == "client" else "2" if name == "hello" else "0"] * (abs(arity) - 1)


@test
def each_command_needs_what_the_table_says(folder):
    users = Users(folder)
    with serve(folder) as server:
        operator = as_user(server, users.op)
        names = operator.ask("COMMAND", "LIST")
        arities = {entry[0]: entry[1] for entry in operator.ask("COMMAND", "INFO")}
        equal(sorted(arities), sorted(names), "COMMAND LIST and INFO")
        true(len(names) >= 16, "only %d commands" % len(names))
        true(STRANGERS | USERS | BY_HANDLER | BY_ID | set(BY_STREAM) <= set(names), "a command of the table is gone")
        for name in names + ["nothing"]:
            words = words_for(name, arities.get(name, 1))
            stranger = Resp(server.resp)
            answer = text_of(stranger.ask(*words))
            if name in STRANGERS:
                true(answer != NOAUTH, "%s refuses strangers" % name)
            else:
                equal(answer, NOAUTH, "a stranger's %s" % words)
            stranger.close()
            bob = as_user(server, users.bob)
            answer = str(text_of(bob.ask(*words)))
            if name in STRANGERS | USERS or name == "nothing":
                true(not answer.startswith("NOPERM"), "a user's %s: %s" % (words, answer))
            elif name in BY_HANDLER:
                equal(answer, "NOPERM User bob has no permissions to call box.closed")
            elif name in BY_ID:
                equal(answer.split()[0], "NOTFOUND", "a user's %s" % words)
            elif name in BY_STREAM:
                equal(answer, "NOPERM User bob has no permissions to %s the stream facts" %
                      ("emit into" if name == "xadd" else "read"))
            else:
                equal(answer, "NOPERM User bob has no permissions to run the '%s' command" % name)
            bob.close()
        for name in sorted(set(names) - STRANGERS):
            answer = str(text_of(operator.ask(*words_for(name, arities[name]))))
            true(not answer.startswith(("NOPERM", "NOAUTH")), "the operator's %s: %s" % (name, answer))
        operator.close()


@test
def a_stream_is_read_by_the_role_that_may_emit(folder):
    users = Users(folder)
    with serve(folder) as server:
        stranger, bob, ann, operator = Resp(server.resp), *[as_user(server, u) for u in (users.bob, users.ann, users.op)]
        for c in ann, operator:
            true(isinstance(c.ask("XADD", "hints", "*", "n", "1"), str), "XADD by the role")
        equal(ann.ask("XLEN", "hints"), 2)
        equal(ann.ask("XGROUP", "CREATE", "hints", "g", "0"), "OK")
        equal(len(ann.ask("XREADGROUP", "GROUP", "g", "ann", "STREAMS", "hints", ">")[0][1]), 2)
        equal(text_of(bob.ask("XADD", "hints", "*", "n", "1")), "NOPERM User bob has no permissions to emit into the stream hints")
        equal(text_of(bob.ask("XREAD", "BLOCK", "0", "STREAMS", "hints", "$")), "NOPERM User bob has no permissions to read the stream hints")
        # open to anyone is so for emitting only
        for c in stranger, bob, ann, operator:
            true(isinstance(c.ask("XADD", "mail", "*", "n", "1"), str), "XADD by anyone")
        equal(text_of(stranger.ask("XLEN", "mail")), NOAUTH)
        equal(text_of(stranger.ask("XADD", "hints", "*", "n", "1")), NOAUTH)
        equal(text_of(stranger.ask("XADD", "nothing", "*", "n", "1")), NOAUTH)
        for c, name in (bob, "bob"), (ann, "ann"):
            equal(text_of(c.ask("XLEN", "mail")), "NOPERM User %s has no permissions to read the stream mail" % name)
            equal(text_of(c.ask("XINFO", "GROUPS", "mail")), "NOPERM User %s has no permissions to read the stream mail" % name)
        equal(operator.ask("XLEN", "mail"), 4)
        equal(text_of(ann.ask("CALL", "_group", "hints/g", "ack")).split()[0], "NOHANDLER")
        for c in stranger, bob, ann, operator:
            c.close()


@test
def each_page_and_path_needs_what_it_says(folder):
    users = Users(folder)
    health = {"/livez", "/readyz", "/healthz"}
    with serve(folder) as server:
        server.request("POST", "/box/x/closed", [], bearer(users.op))
        index = server.request("GET", "/", headers=bearer(users.op)).json
        true(health <= set(index["health"]), index["health"])
        cases = [("GET", page, page in health, page in health) for page in index["health"]]
        cases += [("GET", "/", False, True), ("GET", "/box", False, True), ("GET", "/nothing", False, True)]
        for kind in index["types"]:
            key = "" if kind["service"] else "/x"
            if not kind["service"]:
                cases.append(("GET", "/%s/x" % kind["name"], False, False))
            cases += [("GET", "/%s/x/%s" % (kind["name"], name), False, False) for name in kind["maps"]]
            for handler in kind["handlers"]:
                path = "/%s%s/%s" % (kind["name"], key, handler["name"])
                for method in handler["methods"]:
                    cases.append((method, path, handler["allow"] == "anyone", handler["allow"] == "anyone"))
            cases += [("POST", "/%s%s/nothing" % (kind["name"], key), False, True), ("GET", "/%s/x/y/z" % kind["name"], False, True)]
        equal({s["name"]: s["methods"] for s in index["streams"]}, {n: ["GET", "POST"] for n in ("facts", "hints", "mail")})
        for stream in index["streams"]:
            mail = stream["allow"] == "anyone"  # opens emitting only
            cases += [("GET", stream[what], False, False) for what in ("path", "info", "groups")]
            cases.append(("POST", stream["path"], mail, mail))
        true(len(cases) >= 38, "only %d paths" % len(cases))
        for method, path, strangers, bobs in cases:
            body = None if method == "GET" else "{}"
            for version in ("", "?x=1"):
                reply = server.request(method, path + version, body)
                equal(reply.status == 401, not strangers, "a stranger's %s %s%s: %r" % (method, path, version, reply))
                if reply.status == 401:
                    equal(reply.headers["WWW-Authenticate"], 'Bearer realm="weir"')
                    equal(reply.code, "noauth")
            reply = server.request(method, path, body, bearer(users.bob))
            equal(reply.status == 403, not bobs, "bob's %s %s: %r" % (method, path, reply))
            if reply.status == 403:
                equal(reply.code, "noperm")
            reply = server.request(method, path, body, bearer(users.op))
            true(reply.status not in (401, 403), "the operator's %s %s: %r" % (method, path, reply))
            reply = server.request(method, path, body, bearer(users.op[:-1] + "!"))
            equal(reply.status == 401, path not in health, "a wrong token's %s %s: %r" % (method, path, reply))
        # bob sees of the application what he may call
        index = server.request("GET", "/", headers=bearer(users.bob)).json
        equal({h["name"] for t in index["types"] for h in t["handlers"]}, {"open", "note", "peek"})
        equal([t["maps"] for t in index["types"]], [[]])
        equal([(s["path"], s["methods"]) for s in index["streams"]], [("/streams/mail", ["POST"])])
        index = server.request("GET", "/", headers=bearer(users.ann)).json
        equal({s["name"]: s["methods"] for s in index["streams"]}, {"hints": ["GET", "POST"], "mail": ["POST"]})
        for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
            equal(server.request(method, "/box/x/closed").status, 405, method)


@test
def allow_is_judged_alike_on_both_doors(folder):
    users = Users(folder)
    tokens = {"": None, "op": users.op, "ann": users.ann, "bob": users.bob}
    roles = {"": [], "op": ["operator"], "ann": ["clerk", "auditor"], "bob": []}
    may = {"open": {"", "op", "ann", "bob"}, "clerks": {"op", "ann"}, "closed": {"op"}, "through": {"op", "ann"}}
    with serve(folder) as server:
        for name, token in tokens.items():
            connection = as_user(server, token) if token else Resp(server.resp)
            for handler, allowed in may.items():
                words = [handler] + (["y"] if handler == "through" else [])
                reply = server.request("POST", "/box/x/" + handler, words[1:], bearer(token) if token else {})
                answer = connection.call("box", "x", *words)
                if name in allowed:
                    equal(reply.json, {"id": name, "roles": roles[name]}, "%s calls %s" % (name, handler))
                    true(not isinstance(answer, RespError), "%s calls %s: %r" % (name, handler, answer))
                else:
                    equal(reply.status, 403 if name else 401, "%s calls %s" % (name, handler))
                    equal(answer.code, "NOPERM" if name else "NOAUTH", "%s calls %s" % (name, handler))
            connection.close()
        # a message has no caller, whoever caused it
        equal(server.request("POST", "/box/z/later", [], bearer(users.ann)).status, 200)
        until(lambda: server.request("GET", "/box/z", headers=bearer(users.op)).json.get("t") == "id= roles=0", "the message")
        equal(server.request("POST", "/tools/ask", [], bearer(users.ann)).json["id"], "ann")


@test
def a_repeat_by_another_caller_does_not_get_the_first_ones_answer(folder):
    users = Users(folder)
    with serve(folder) as server:
        ann, op = as_user(server, users.ann), as_user(server, users.op)
        words = ("CALL.ONCE", "key-1", "box", "x", "clerks")
        first = ann.ask(*words)
        equal(ann.ask(*words), first, "a repeat")
        equal(op.ask(*words).code, "IDEMPOTENCY", "another's repeat")
        equal(op.row("box", "x")["n"], 1)


# ---- naming oneself ----

@test
def auth_and_hello_speak_as_redis_does(folder):
    users = Users(folder)
    with serve(folder) as server:
        stranger = Resp(server.resp)
        equal(stranger.ask("AUTH", "nonsense").text, WRONGPASS)
        equal(stranger.ask("AUTH", "ann", users.bob).text, WRONGPASS, "another's token")
        equal(stranger.ask("AUTH", "nobody", users.bob).text, WRONGPASS)
        equal(stranger.ask("AUTH", "").text, WRONGPASS)
        equal(stranger.ask("AUTH", users.ann[:-1]).text, WRONGPASS, "a token cut short")
        true(stranger.ask("HELLO", "3").text.startswith("NOAUTH HELLO must be called with the client already authenticated, "
                                                        "otherwise the HELLO <proto> AUTH <user> <pass> option"), "HELLO")
        equal(stranger.ask("HELLO", "3", "AUTH", "ann", "x").text, WRONGPASS)
        equal(stranger.ask("HELLO", "9").code, "NOPROTO")
        equal(stranger.ask("PING").text, NOAUTH)
        equal(stranger.ask("HELLO", "3", "AUTH", "ann", users.ann, "SETNAME", "me")["proto"], 3)
        equal(stranger.ask("CLIENT", "GETNAME"), "me")
        equal(stranger.ask("PING"), "PONG")
        equal(stranger.ask("AUTH", "wrong").text, WRONGPASS)
        equal(stranger.ask("PING"), "PONG", "after a failed AUTH of a named connection")
        equal(stranger.ask("RESET"), "RESET")
        equal(stranger.ask("PING").text, NOAUTH, "after RESET")
        for words in (("AUTH", users.ann), ("AUTH", "ann", users.ann), ("AUTH", "default", users.ann)):
            equal(stranger.ask(*words), "OK", words[:2])
            equal(stranger.ask("RESET"), "RESET")
        # in one batch: what follows AUTH is the user's
        stranger.send(["PING"], ["AUTH", users.ann], ["PING"], ["CALL", "box", "x", "clerks"])
        equal(text_of(stranger.read()), NOAUTH)
        equal([stranger.read(), stranger.read()], ["OK", "PONG"])
        true(not isinstance(stranger.read(), RespError), "a call behind AUTH")
    with Server(APP, folder.join("e")) as server:
        anybody = server.connect()
        equal(anybody.ask("AUTH", "x").text, "ERR AUTH <password> called without any password configured for the default "
              "user. Are you sure your configuration is correct?")
        equal(anybody.ask("AUTH", "default", "x"), "OK")
        equal(anybody.ask("AUTH", "ann", "x").text, WRONGPASS)
        equal(server.post("/box/x/closed", []).json, {"id": "operator", "roles": ["operator"]})


@test
def http_takes_bearer_and_basic(folder):
    users = Users(folder)
    with serve(folder) as server:
        def status(headers):
            return server.request("POST", "/box/x/clerks", [], headers).status
        equal(status(bearer(users.ann)), 200)
        equal(status({"Authorization": "bearer   " + users.ann}), 200)
        equal(status(basic("ann", users.ann)), 200)
        equal(status(basic("", users.ann)), 200)
        for wrong in ("", "Bearer", "Bearer ", "Bearer x", "Basic", "Basic !!!!", "Basic " + users.ann, users.ann,
                      "Digest " + users.ann, "Bearer " + users.ann + "x", "Bearer " + users.ann + " x",
                      basic("bob", users.ann)["Authorization"], basic("ann", "")["Authorization"],
                      "Basic " + base64.b64encode(users.ann.encode()).decode()):
            equal(status({"Authorization": wrong}), 401, "Authorization: %s" % wrong[:20])
        equal(server.request("POST", "/box/x/open", [], {"Authorization": "Bearer x"}).status, 401, "an open path, named wrongly")
        equal(server.request("GET", "/livez", None, {"Authorization": "Bearer x"}).status, 200)
        head = b"POST /box/x/clerks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nAuthorization: Bearer %s\r\n" % users.ann.encode()
        true(raw(server.http, head + b"\r\n[]").startswith(b"HTTP/1.1 200"), "one header")
        true(raw(server.http, head + b"Authorization: Bearer x\r\n\r\n[]").startswith(b"HTTP/1.1 400"), "two headers")
        # each request of a connection names itself: the second is a stranger's
        second = b"POST /box/x/clerks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]"
        equal(re.findall(rb"HTTP/1.1 (\d+)", raw(server.http, head + b"\r\n[]" + second)), [b"200", b"401"])
        done = subprocess.run(["curl", "-s", "-u", "ann:" + users.ann, "-d", "[]", "localhost:%d/box/x/clerks" % server.http],
                              capture_output=True, text=True, timeout=30)
        equal(json.loads(done.stdout)["id"], "ann", "curl -u")


@test
def strangers_are_held_to_small_requests(folder):
    users = Users(folder)
    with serve(folder) as server:
        def answer(data):
            return raw(server.resp, data)
        equal(answer(b"*11\r\n"), b"-ERR Protocol error: unauthenticated multibulk length\r\n")
        equal(answer(b"*2\r\n$4\r\nAUTH\r\n$16385\r\n"), b"-ERR Protocol error: unauthenticated bulk length\r\n")
        equal(answer(b"*3\r\n$4\r\nAUTH\r\n$9000\r\n" + b"x" * 9000 + b"\r\n$9000\r\n"),
              b"-ERR Protocol error: unauthenticated bulk length\r\n")
        equal(answer(b"*10\r\n" + b"$1\r\nx\r\n" * 10), b"-" + NOAUTH.encode() + b"\r\n")
        equal(answer(b"*1000000\r\n"), b"-ERR Protocol error: invalid multibulk length\r\n")
        equal(answer(b"*1\r\n$536870912\r\n"), b"-ERR Protocol error: invalid bulk length\r\n")
        true(b"-NOAUTH" in answer(b"PING\r\n"), "inline")
        connection = as_user(server, users.op)
        equal(connection.call("box", "x", "many", *range(8)), 7, "12 words of a user")
        equal(connection.call("box", "x", "note", "x" * 20000), None, "20,000 bytes of a user")
        big = json.dumps(["x" * 16385])
        reply = server.request("POST", "/box/x/note", big)
        equal((reply.status, reply.headers["Connection"]), (401, "close"), "a stranger's large body")
        equal(server.request("POST", "/box/x/note", big, bearer(users.bob)).status, 200)
        equal(server.request("POST", "/box/x/note", json.dumps(["x" * 16000])).status, 200, "a stranger's small body")
        chunks = b"POST /box/x/note HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + b"4000\r\n" + b"x" * 0x4000 + \
                 b"\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
        true(raw(server.http, chunks).startswith(b"HTTP/1.1 401"), "a stranger's large body in chunks")


@test
def ten_wrong_secrets_close_the_connection(folder):
    users = Users(folder)
    with serve(folder) as server:
        stranger = Resp(server.resp)
        for _ in range(9):
            equal(stranger.ask("AUTH", "no").text, WRONGPASS)
        equal(stranger.ask("AUTH", users.ann), "OK", "the tenth is right")
        for _ in range(10):
            equal(stranger.ask("AUTH", "no").text, WRONGPASS)
        try:
            raise Fail("still open: %r" % stranger.ask("PING"))
        except ConnectionError:
            pass
        one = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n"
        equal(re.findall(rb"HTTP/1.1 (\d+)", raw(server.http, one * 15)), [b"401"] * 10)
        figures = server.request("GET", "/metrics", None, bearer(users.op)).body
        true('weir_auth_failures_total{door="http"} 10\n' in figures, "the figure of failures")
        true('weir_auth_failures_total{door="resp"} 19\n' in figures, "the figure of failures")
        true("wrong secrets" in server.trace_text(), "a line of trace")


@test
def who_names_nobody_is_closed_in_time(folder):
    users = Users(folder)
    with serve(folder, "--limit", "auth_ms_max=500") as server:
        named, guest = as_user(server, users.bob), Resp(server.resp)
        idle = [socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) for port in (server.resp, server.http)]
        begin = time.monotonic()
        slow = socket.create_connection(("127.0.0.1", server.resp), timeout=DEADLINE_S)
        slow.sendall(b"*2\r\n$4\r\nAUTH\r\n$4\r\n")        # and never more
        refused = Resp(server.resp)
        while True:                                       # what strangers may not have keeps nobody
            true(time.monotonic() - begin < DEADLINE_S, "a stranger who asks in vain stays")
            try:
                refused.ask("PING")
            except ConnectionError:
                break
            guest.call("box", "x", "open")                # what they may have, does
        for one in idle + [slow]:
            equal(one.recv(10), b"", "an idle stranger")
        true(time.monotonic() - begin >= 0.45, "closed too early")
        true(not isinstance(guest.call("box", "x", "open"), RespError), "a guest of an open handler")
        equal(named.ask("PING"), "PONG", "a user who was idle")


@test
def users_come_and_go_while_it_runs(folder):
    users = Users(folder)
    with serve(folder) as server:
        ann, bob = as_user(server, users.ann), as_user(server, users.bob)
        equal(weir("user", "remove", "ann", "--users", users.file)[0], 0)
        until(lambda: text_of(ann.ask("PING")) == NOAUTH, "ann is gone from her connection")
        equal(server.request("GET", "/", None, bearer(users.ann)).status, 401)
        equal(bob.ask("PING"), "PONG", "bob stays")
        again = user_add(folder, "ann", "clerk")
        true(again != users.ann, "a new token")
        until(lambda: server.request("GET", "/", None, bearer(again)).status == 200, "ann is back")
        equal(text_of(ann.ask("PING")), NOAUTH, "her old connection")
        equal(ann.ask("AUTH", users.ann).text, WRONGPASS)
        # a file that is wrong or open to others changes nothing, and is told
        good = open(users.file).read()
        with open(users.file, "w") as file:
            file.write("bob\n")
        until(lambda: "users_unreadable" in server.trace_text(), "the trace of a wrong file")
        equal(bob.ask("PING"), "PONG")
        equal(server.request("GET", "/", None, bearer(again)).status, 200)
        with open(users.file, "w") as file:
            file.write(good.replace("bob -", "bob clerk"))
        until(lambda: not isinstance(bob.call("box", "x", "clerks"), RespError), "bob's new role on his old connection")


@test
def the_operators_password_is_enough(folder):
    secret = "correct horse battery staple"
    path = folder.write("password", secret + "\n")
    os.chmod(path, 0o600)
    with Server(APP, folder.join("d"), "--password-file", path) as server:
        equal(server.report["users"], 1)
        connection = Resp(server.resp)
        equal(connection.ask("PING").text, NOAUTH)
        equal(connection.ask("AUTH", secret[:-1]).text, WRONGPASS)
        for words in (("AUTH", secret), ("AUTH", "operator", secret), ("AUTH", "default", secret)):
            equal(connection.ask(*words), "OK")
            true("# Server" in connection.ask("INFO"), "INFO")
            connection.ask("RESET")
        equal(server.request("POST", "/box/x/closed", [], basic("operator", secret)).json, {"id": "operator", "roles": ["operator"]})
        equal(server.request("POST", "/box/x/closed", []).status, 401)


# ---- secrets ----

def memory_of(pid):
    """What the process could leave in a core dump: its writable memory."""
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            if "w" not in rights or "[v" in line:
                continue
            begin, end = (int(n, 16) for n in span.split("-"))
            if end - begin > 1 << 32:
                raise Skip("a sanitizer's shadow of %d GiB is too much to search" % ((end - begin) >> 30))
            try:
                memory.seek(begin)
                yield memory.read(end - begin)
            except OSError:
                pass


@test
def secrets_are_left_nowhere(folder):
    users = Users(folder)
    wrong = "weir_wrongwrongwrongwrongwrongwrong99"
    password = "hocus pocus fidibus!"
    path = folder.write("password", password + "\n")
    os.chmod(path, 0o600)
    with serve(folder, "--password-file", path) as server:
        for secret in (users.ann, wrong, password):
            Resp(server.resp).ask("AUTH", secret)
            Resp(server.resp).ask("HELLO", "3", "AUTH", "ann", secret)
            Resp(server.resp).ask("HELLO", "3", "AUTH", "ann", secret, "WHAT")
            Resp(server.resp).ask("AUTH", secret, secret, secret)
            Resp(server.resp).ask("NOTHING", "AUTH", secret)
            server.request("POST", "/box/x/clerks", [], bearer(secret))
            server.request("POST", "/box/x/clerks", [], basic("ann", secret))
            server.request("POST", "/box/x/clerks", [], basic("bob", secret))
        connection = as_user(server, users.op)
        connection.call("box", "x", "clerks")
        canary = "canary-%d" % os.getpid()                 # what is no secret is found: the search works
        connection.call("box", "x", "note", canary)
        told = [str(connection.ask("INFO")), str(connection.ask("CLIENT", "LIST")), str(connection.ask("CONFIG", "GET", "*")),
                server.request("GET", "/metrics", None, bearer(users.op)).body, server.request("GET", "/", None, bearer(users.op)).body,
                server.trace_text(), open("/proc/%d/cmdline" % server.process.pid).read(), json.dumps(server.report)]
        secrets = [users.op, users.ann, wrong, password]
        for text in told:
            for secret in secrets + [hashlib.sha256(s.encode()).hexdigest() for s in secrets]:
                true(secret not in text, "a secret in %s..." % text[:60])
        needles = [s.encode() for s in secrets] + [base64.b64encode(b"ann:" + s.encode())[6:-4] for s in secrets]
        # the last command's bytes stand in the buffer until the next read: give it one
        for port in (server.resp, server.http):
            raw(port, b"\r\n")
        try:
            pieces = list(memory_of(server.process.pid))
        except PermissionError as reason:
            raise Skip("this machine lets nobody read a process's memory: %s" % reason) from None
        true(any(canary.encode() in piece for piece in pieces), "the memory that was read does not hold what it must")
        for needle in needles:
            for piece in pieces:
                place = piece.find(needle)
                true(place < 0, "a secret stays in memory: ...%r" % piece[max(0, place - 60):place + 20])
    for file in glob.glob(folder.join("d", "*")):
        with open(file, "rb") as data:
            content = data.read()
        true(not any(needle in content for needle in needles), "a secret in " + file)


# ---- starting ----

def start_code(*options, cwd=None):
    """Exit code and errors of a start that is expected to fail; Fail if it serves."""
    process = subprocess.Popen([weir_path(), "run", APP, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, cwd=cwd)
    try:
        out, error = process.communicate(timeout=DEADLINE_S) if not process.stdout.read(1) else ("served", "")
    finally:
        process.kill()
        process.wait()
    if out == "served":
        raise Fail("it started: %s" % (options,))
    return process.returncode, error


@test
def an_open_address_needs_users(folder):
    Users(folder)
    data = ("--data", folder.join("d"))
    for door, other in (("--http", "--resp"), ("--resp", "--http")):
        for host in ("0.0.0.0:0", "[::]:0", "192.0.2.1:0", "localhost.example:0"):
            code, error = start_code(*data, door, host, other, "none")
            equal(code, 78, host)
            true("users" in error and "--insecure-bind" in error, error)
    equal(os.path.exists(folder.join("d")), False, "data of a start that was refused")
    with serve(folder, http="0.0.0.0:0", resp="0.0.0.0:0") as server:
        equal(server.get("/livez").status, 200)
        equal(text_of(Resp(server.resp).ask("PING")), NOAUTH)
    with Server(APP, folder.join("e"), "--insecure-bind", http="0.0.0.0:0", resp="0.0.0.0:0") as server:
        equal(server.report["users"], None)
        equal(Resp(server.resp).ask("PING"), "PONG")


@test
def files_of_users_are_judged_before_they_are_trusted(folder):
    users = Users(folder)
    digest = open(users.file).read().split("sha256:")[1][:64]
    line = "ann clerk sha256:" + digest

    def refused(text, words, mode=0o600, option="--users", other=()):
        path = folder.write("file", text)
        os.chmod(path, mode)
        code, error = start_code("--data", folder.join("d"), option, path, *other)
        equal(code, 78, "%r: %s" % (text[:40], error))
        true(words in error, "%r: %s" % (text[:40], error))
        true(digest not in error and text.strip()[-20:] not in error or not text.strip(), "what is in the file is told: " + error)

    refused("# nobody\n\nann\n", "line 3")
    refused("ann clerk md5:%s\n" % digest[:32], "line 1")
    refused("ann clerk sha256:%s\n" % digest[:-1], "line 1")
    refused("ann clerk sha256:%s0\n" % digest, "line 1")
    refused(line + " more\n", "line 1")
    refused("a:b clerk sha256:%s\n" % digest, "a name is")
    refused("%s clerk sha256:%s\n" % ("a" * 65, digest), "a name is")
    refused("ann anyone sha256:%s\n" % digest, "roles are")
    refused("ann clerk,,x sha256:%s\n" % digest, "roles are")
    refused("ann cl-erk sha256:%s\n" % digest, "roles are")
    refused(line + "\n" + line.replace(digest, "0" * 64) + "\n", "twice")
    refused(line + "\n" + line.replace("ann", "bob") + "\n", "another user's")
    refused(line + "\n", "may be written by others", mode=0o622)
    refused("x" * ((1 << 20) - 1) + "\n", "line 1")
    refused("x" * (1 << 20) + "\nx", "1 MiB")
    refused("short\n", "16", option="--password-file")
    refused("\n", "16", option="--password-file")
    refused("two lines of password\nand one more\n", "one line", option="--password-file")
    refused("long enough it would be\n", "may be read", mode=0o644, option="--password-file")
    operator = folder.write("operator", "operator operator sha256:" + digest + "\n")
    os.chmod(operator, 0o600)
    refused("long enough it would be\n", "has one, too", option="--password-file", other=("--users", operator))
    code, error = start_code("--data", folder.join("d"), "--users", folder.join("nowhere"))
    equal(code, 78)
    true("nowhere" in error, error)
    code, error = start_code("--data", folder.join("d"), "--users", folder.path)
    equal(code, 78, "a folder")
    empty = folder.write("empty", "")
    with Server(APP, folder.join("d"), "--users", empty) as server:   # nobody is not everybody
        equal(server.get("/").status, 401)
        equal(server.report["users"], 0)


@test
def data_is_private_whatever_the_umask(folder):
    for umask in ("0000", "0022", "0777"):
        data = folder.join("d" + umask)
        with Server(APP, data, wrapper=("sh", "-c", "umask %s; exec \"$@\"" % umask, "sh")) as server:
            server.post("/box/x/open", [])
        equal(stat.S_IMODE(os.stat(data).st_mode), 0o700, "umask %s: %s" % (umask, data))
        files = os.listdir(data)
        true(len(files) >= 3, files)
        for name in files:
            equal(stat.S_IMODE(os.stat(os.path.join(data, name)).st_mode), 0o600, "umask %s: %s" % (umask, name))
        with Server(APP, data) as server:
            equal(server.get("/box/x/peek").json, 1, "after umask %s" % umask)


@test
def data_that_others_could_change_is_refused(folder):
    data = folder.join("d")
    with Server(APP, data) as server:
        server.post("/box/x/open", [])
    os.chmod(data, 0o707)
    before = {name: os.stat(os.path.join(data, name)).st_mtime_ns for name in os.listdir(data)}
    code, error = start_code("--data", data, "--http", "127.0.0.1:0", "--resp", "127.0.0.1:0")
    equal(code, 78)
    true("0700" in error, error)
    equal({name: os.stat(os.path.join(data, name)).st_mtime_ns for name in os.listdir(data)}, before, "its files")
    os.chmod(data, 0o700)
    with Server(APP, data) as server:
        equal(server.get("/box/x/peek").json, 1)
    if os.geteuid() != 0:
        raise Skip("only root can give a folder to another user")
    os.chown(data, 65534, 65534)
    code, error = start_code("--data", data, "--http", "127.0.0.1:0", "--resp", "127.0.0.1:0")
    equal(code, 78, "another user's folder")


@test
def data_files_that_are_links_are_refused(folder):
    data, away = folder.join("d"), folder.join("away")
    with Server(APP, data) as server:
        server.post("/box/x/open", [])
    os.mkdir(away)
    calls = 1
    for name in sorted(os.listdir(data)):
        shutil.move(os.path.join(data, name), os.path.join(away, name))
        content = open(os.path.join(away, name), "rb").read()
        os.symlink(os.path.join(away, name), os.path.join(data, name))
        if name == "reserve":            # holds no data: started without it, and never written through the link
            with Server(APP, data) as server:
                reply = server.post("/box/x/open", [])
                true(reply.status in (200, 507), repr(reply))   # without a reserve writes may be refused
            calls += reply.status == 200
        else:
            code, _ = start_code("--data", data, "--http", "127.0.0.1:0", "--resp", "127.0.0.1:0")
            true(code in (65, 73, 74, 78), "%s is a link: exit %d" % (name, code))
        equal(open(os.path.join(away, name), "rb").read(), content, "what the link %s names" % name)
        os.unlink(os.path.join(data, name))
        shutil.move(os.path.join(away, name), os.path.join(data, name))
    with Server(APP, data) as server:
        equal(server.get("/box/x/peek").json, calls)


# ---- HTTP and RESP on the wire ----

GOOD = b"POST /box/x/open HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]"


def post(*headers, body=b"[]", target=b"/box/x/open", method=b"POST"):
    return b"\r\n".join((method + b" " + target + b" HTTP/1.1",) + headers) + b"\r\n\r\n" + body


HOST, TWO = b"Host: localhost", b"Content-Length: 2"
REFUSED = [   # (what, bytes, status)
    ("two lengths that differ", post(HOST, TWO, b"Content-Length: 3"), b"400"),
    ("two lengths that agree", post(HOST, TWO, TWO), b"400"),
    ("a list of lengths", post(HOST, b"Content-Length: 2, 2"), b"400"),
    ("a length and chunks", post(HOST, TWO, b"Transfer-Encoding: chunked", body=b"2\r\n[]\r\n0\r\n\r\n"), b"400"),
    ("chunks and a length", post(HOST, b"Transfer-Encoding: chunked", TWO, body=b"2\r\n[]\r\n0\r\n\r\n"), b"400"),
    ("chunks twice", post(HOST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"2\r\n[]\r\n0\r\n\r\n"), b"400"),
    ("gzip, chunked", post(HOST, b"Transfer-Encoding: gzip, chunked", body=b"2\r\n[]\r\n0\r\n\r\n"), None),
    ("identity", post(HOST, b"Transfer-Encoding: identity", body=b""), None),
    ("chunked, spelt with a tab", post(HOST, b"Transfer-Encoding:\tx\tchunked", body=b"2\r\n[]\r\n0\r\n\r\n"), None),
    ("a space before the colon", post(HOST, b"Content-Length : 2"), b"400"),
    ("a negative length", post(HOST, b"Content-Length: -2"), b"400"),
    ("a signed length", post(HOST, b"Content-Length: +2"), b"400"),
    ("a hexadecimal length", post(HOST, b"Content-Length: 0x2"), b"400"),
    ("a length beyond 64 bits", post(HOST, b"Content-Length: 18446744073709551618"), b"400"),
    ("a large body", post(HOST, b"Content-Length: 1073741824"), b"413"),
    ("a chunk's length that is none", post(HOST, b"Transfer-Encoding: chunked", body=b"x\r\n[]\r\n0\r\n\r\n"), b"400"),
    ("a chunk beyond 64 bits", post(HOST, b"Transfer-Encoding: chunked", body=b"10000000000000002\r\n[]\r\n0\r\n\r\n"), b"400"),
    ("a chunk without CRLF", post(HOST, b"Transfer-Encoding: chunked", body=b"2\r\n[]xx0\r\n\r\n"), b"400"),
    ("a chunk that ends with LF", post(HOST, b"Transfer-Encoding: chunked", body=b"2\r\n[]\n0\r\n\r\n"), b"400"),
    ("a chunk's size that ends with LF", post(HOST, b"Transfer-Encoding: chunked", body=b"2\n[]\r\n0\r\n\r\n"), b"400"),
    ("a chunk's extension with LF", post(HOST, b"Transfer-Encoding: chunked", body=b"2;\nxx\r\n[]\r\n0\r\n\r\n"), b"400"),
    ("a chunk's size with a space", post(HOST, b"Transfer-Encoding: chunked", body=b"2 \r\n[]\r\n0\r\n\r\n"), b"400"),
    ("a chunk's size with 0x", post(HOST, b"Transfer-Encoding: chunked", body=b"0x2\r\n[]\r\n0\r\n\r\n"), b"400"),
    ("chunks that end with LF", post(HOST, b"Transfer-Encoding: chunked", body=b"2\r\n[]\r\n0\r\n\n"), b"400"),
    ("a trailer that ends with LF", post(HOST, b"Transfer-Encoding: chunked", body=b"2\r\n[]\r\n0\r\nX: 1\n\r\n"), b"400"),
    ("bare LF", GOOD.replace(b"\r\n", b"\n"), b"400"),
    ("one bare LF", GOOD.replace(b"localhost\r\n", b"localhost\n"), b"400"),
    ("bare CR", GOOD.replace(b"localhost\r\n", b"localhost\r"), b"400"),
    ("a folded header", post(HOST, b"X-A: 1\r\n 2", TWO), b"400"),
    ("NUL in a header", post(HOST, b"X-A: \0", TWO), b"400"),
    ("NUL in the path", post(HOST, TWO, target=b"/box/\0/open"), b"400"),
    ("%00", post(HOST, TWO, target=b"/box/%00/open"), b"400"),
    ("..", post(HOST, TWO, target=b"/box/../box/x/open"), b"400"),
    ("/..", post(HOST, TWO, target=b"/.."), b"400"),
    ("%2e%2e", post(HOST, TWO, target=b"/box/%2e%2e/open"), b"400"),
    ("%2E.", post(HOST, TWO, target=b"/box/%2E./open"), b"400"),
    ("%2e", post(HOST, TWO, target=b"/box/%2e/open"), b"400"),
    ("an empty part", post(HOST, TWO, target=b"/box//open"), b"400"),
    ("half an escape", post(HOST, TWO, target=b"/box/%4/open"), b"400"),
    ("no UTF-8", post(HOST, TWO, target=b"/box/%ff/open"), b"400"),
    ("overlong UTF-8", post(HOST, TWO, target=b"/box/%c0%ae%c0%ae/open"), b"400"),
    ("an absolute target", post(HOST, TWO, target=b"http://localhost/box/x/open"), b"400"),
    ("an absolute target elsewhere", post(HOST, TWO, target=b"http://example.com/box/x/open"), b"400"),
    ("no path", post(HOST, TWO, target=b"*"), b"400"),
    ("CONNECT", post(HOST, target=b"localhost:80", method=b"CONNECT", body=b""), b"400"),
    ("no Host", post(TWO), b"400"),
    ("two Hosts", post(HOST, HOST, TWO), b"400"),
    ("an unknown Host", post(b"Host: example.com", TWO), b"403"),
    ("an unknown Host with a port", post(b"Host: example.com:80", TWO), b"403"),
    ("a Host that ends like ours", post(b"Host: xlocalhost", TWO), b"403"),
    ("a Host that begins like ours", post(b"Host: localhost.example.com", TWO), b"403"),
    ("a Host of another address", post(b"Host: 10.0.0.1", TWO), b"403"),
    ("a Host with a user", post(b"Host: localhost:x@example.com", TWO), b"403"),
    ("an empty Host", post(b"Host: ", TWO), None),
    ("a foreign Origin", post(HOST, b"Origin: http://example.com", TWO), b"403"),
    ("an Origin of a file", post(HOST, b"Origin: null", TWO), b"403"),
    ("an Origin that begins like ours", post(HOST, b"Origin: http://localhost.example.com", TWO), b"403"),
    ("two Origins", post(HOST, b"Origin: http://localhost", b"Origin: http://example.com", TWO), b"400"),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
    ("HTTP/0.9", b"GET /\r\n\r\n", None),
    ("HTTP/1.11", GOOD.replace(b"HTTP/1.1", b"HTTP/1.11"), None),
    ("a long line", b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
    ("many headers", post(HOST, *[b"X-%d: 1" % i for i in range(101)], TWO), b"431"),
    ("an unknown Expect", post(HOST, b"Expect: 200-ok", TWO), b"417"),
]


@test
def malformed_and_foreign_http_is_refused_and_smuggles_nothing(folder):
    with Server(APP, folder.join("d")) as server:
        equal(re.findall(rb"HTTP/1.1 (\d+)", raw(server.http, GOOD + GOOD)), [b"200", b"200"])
        chunked = post(HOST, b"Transfer-Encoding: chunked", body=b"1;a=b\r\n[\r\n01\r\n]\r\n0\r\nX-A: 1\r\n\r\n", target=b"/box/y/open")
        for size in (1, 7, len(chunked)):     # well-framed, in pieces of any size, and what follows is the next request
            with socket.create_connection(("127.0.0.1", server.http), timeout=DEADLINE_S) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(chunked), size):
                    connection.sendall(chunked[at:at + size])
                connection.sendall(GOOD.replace(b"/x/", b"/y/"))
                connection.shutdown(socket.SHUT_WR)
                got = b"".join(iter(lambda: connection.recv(65536), b""))
                equal(re.findall(rb"HTTP/1.1 (\d+)", got), [b"200", b"200"], "chunks in pieces of %d" % size)
        equal(server.get("/box/x/peek").json, 2)
        for what, data, status in REFUSED:
            # a good request behind it in the same bytes must not run: the connection is closed
            behind = b"" if what in CLOSES_NOT else b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + GOOD
            statuses = re.findall(rb"HTTP/1.1 (\d+)", raw(server.http, data + behind))
            equal(len(statuses), 1, "%s: answers %s" % (what, statuses))
            true(statuses[0].startswith(b"4") or statuses[0].startswith(b"5"), "%s: %s" % (what, statuses))
            if status:
                equal(statuses[0], status, what)
            equal(server.get("/box/x/peek").json, 2, "what ran after %s" % what)
        for byte in (b"\x01", b"\x0b", b"\x7f", b"\x1b"):
            true(raw(server.http, post(HOST, b"X-A: " + byte, TWO)).startswith(b"HTTP/1.1 400"), "control %r" % byte)
        for origin in (b"http://localhost:%d" % server.http, b"http://127.0.0.1", b"https://localhost"):
            true(raw(server.http, post(HOST, b"Origin: " + origin, TWO)).startswith(b"HTTP/1.1 200"), "Origin %r" % origin)


# The framing of these is whole, so the next request of the connection is one.
CLOSES_NOT = {"%00", "..", "/..", "%2e%2e", "%2E.", "%2e", "an empty part", "half an escape", "no UTF-8",
              "overlong UTF-8"}


@test
def names_of_this_server_are_those_it_was_told(folder):
    users = Users(folder)
    def status(server, host, origin=None):
        lines = [b"Host: " + host, TWO, b"Authorization: Bearer " + users.op.encode()]
        if origin:
            lines.append(b"Origin: " + origin)
        return raw(server.http, post(*lines)).split(b" ")[1]
    with serve(folder, "--allow-host", "weir.example.com", http="0.0.0.0:0") as server:
        for host in (b"localhost", b"127.0.0.1:99", b"10.1.2.3", b"[fe80::1]:80", b"weir.example.com", b"WEIR.example.com:443"):
            equal(status(server, host), b"200", host)
        for host in (b"example.com", b"weir.example.com.", b"weir.example.com.evil.org", b"1.2.3", b"0x7f000001", b"[x]", b"[::1"):
            equal(status(server, host), b"403", host)
        equal(status(server, b"10.1.2.3", b"http://10.1.2.3"), b"200", "the same host")
        equal(status(server, b"weir.example.com", b"https://weir.example.com"), b"200")
        for origin in (b"http://6.6.6.6", b"http://evil.org", b"http://weir.example.com.evil.org", b"http://localhost@evil.org", b"ftp://localhost"):
            equal(status(server, b"10.1.2.3", origin), b"403", origin)
    with serve(folder) as server:
        equal(status(server, b"10.1.2.3"), b"403", "an address, on loopback")


@test
def http_on_the_resp_port_is_not_answered(folder):
    with Server(APP, folder.join("d")) as server:
        for data in (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nCALL box x open\r\n", b"Host: localhost\r\nCALL box x open\r\n",
                     b"GET / HTTP/1.1\r\n\r\nCALL box x open\r\n", b"post /x\r\nCALL box x open\r\n", b"host: x\r\nCALL box x open\r\n",
                     b"*1\r\n$4\r\nPOST\r\nCALL box x open\r\n", b"OPTIONS * HTTP/1.1\r\nCALL box x open\r\n"):
            equal(raw(server.resp, data), b"", data[:20])
            equal(server.get("/box/x/peek").json, 0, data[:20])


@test
def what_is_no_http_is_told_so_at_once_on_the_http_port(folder):
    ping = b"*1\r\n$4\r\nPING\r\n"
    with Server(APP, folder.join("d")) as server, Server(APP, folder.join("e"), resp="none") as alone:
        for data in (ping, b"*", b"PING\r\n", b"CALL box x open\r\n", b"ping", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /livez\r\n",
                     b"\r\n*1\r\n", b"X" * 17, b" GET / HTTP/1.1\r\n", b"GET / HTTP/1.1.1\r\n"):
            got = raw(server.http, data, half=False)        # our side stays open: it is the server that closes
            equal(re.findall(rb"HTTP/1.1 (\d+)", got), [b"400"], data)
            true(b"HTTP is spoken on this port" in got and b"port %d" % server.resp in got and b"Connection: close" in got, got)
        true(b"RESP" not in raw(alone.http, ping, half=False), "a door that is not there")
        # behind a request, and with what would be one behind it
        equal(re.findall(rb"HTTP/1.1 (\d+)", raw(server.http, GOOD + ping + GOOD, half=False)), [b"200", b"400"])
        equal(server.get("/box/x/peek").json, 1)
        true(server.trace_all().count("no HTTP on the HTTP port") == 12, server.trace_text())
        # what may become a request is waited for
        for data in (b"G", b"M-SEARCH", b"GET ", b"GET /" + b"x" * 100, GOOD[:-3], GOOD[:26]):
            with socket.create_connection(("127.0.0.1", server.http), timeout=DEADLINE_S) as connection:
                connection.sendall(data)
                connection.settimeout(0.1)
                try:
                    raise Fail("%r: %r" % (data, connection.recv(100)))
                except socket.timeout:
                    pass


@test
def a_byte_order_mark_is_named_and_skipped_before_lines(folder):
    mark = b"\xef\xbb\xbf"
    ce = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    binary = {"ce-" + name: value for name, value in ce.items()}
    with Server(APP, folder.join("d")) as server:
        def ask(path, body, kind="application/json", **more):
            return server.request("POST", path, body, {"Content-Type": kind, **more})
        equal(ask("/streams/facts/groups/g", b"").status, 200)
        for path, body, kind, more in (
                ("/box/x/open", b"[]", "application/json", {}), ("/box/x/open", b"", "application/json", {}),
                ("/box/x/open", b"[]", "application/x-ndjson", {}), ("/tools/ask", b"{}", "application/json", {}),
                ("/streams/facts", b'{"n":1}', "application/json", {}), ("/streams/facts", b'[{"n":1}]', "application/json", {}),
                ("/streams/facts", b'{"n":1}', "application/json", binary),
                ("/streams/facts", json.dumps({**ce, "data": {"n": 1}}).encode(), "application/cloudevents+json", {}),
                ("/streams/facts", json.dumps([{**ce, "data": {"n": 1}}]).encode(), "application/cloudevents-batch+json", {}),
                ("/streams/facts/groups/g/ack", b'{"ids":[]}', "application/json", {})):
            reply = ask(path, mark + body, kind, **more)
            equal((reply.status, reply.code), (400, "arg"), (path, body, reply))
            true("begins with a byte order mark" in reply.json["detail"] and reply.json["applied"] is False, (path, body, reply))
        equal((server.get("/box/x").status, server.get("/streams/facts/info").json["events"]), (404, 0))
        # files of lines from Windows
        lines = mark + b'{"n":1}\r\n{"n":2}\r\n'
        equal(ask("/streams/facts", lines, "application/x-ndjson").json["count"], 2)
        for body, count in ((mark + b'{"n":3}', 1), (mark, 0), (mark + b"\r\n", 0), (mark + b'\n\n{"n":4}', 1)):
            equal(ask("/streams/facts", body, "application/x-ndjson").json["count"], count, body)
        # wherever the bytes are split, and once only
        head = b"POST /streams/facts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
        for body, count in ((lines, 2), (mark + lines, None), (b"\n" + lines, None), (b'{"n":5}\n' + lines, None), (mark[:2] + b'{"n":6}\n', None)):
            for size in (1, 2, 3, len(body)):
                with socket.create_connection(("127.0.0.1", server.http), timeout=DEADLINE_S) as connection:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.sendall(head % len(body))
                    time.sleep(0.02)
                    for at in range(0, len(body), size):
                        try:
                            connection.sendall(body[at:at + size])
                        except OSError:
                            break
                        if at < 9:
                            time.sleep(0.005)
                    got = b"".join(iter(lambda: connection.recv(65536), b""))
                equal(got.startswith(b"HTTP/1.1 200"), count is not None, (body, size, got))
                true(count is None or b'"count":%d' % count in got, (body, size, got))


# ---- the command line ----

@test
def weir_user_keeps_the_file(folder):
    file = folder.join("users")
    code, out, error = weir("user", "add", "ann", "--users", file, "--role", "clerk")
    equal(code, 0, error)
    token = out.strip()
    true(re.fullmatch(r"weir_[0-9a-z]{32}", token), token)
    equal(stat.S_IMODE(os.stat(file).st_mode), 0o600)
    text = open(file).read()
    true(token not in text and hashlib.sha256(token.encode()).hexdigest() in text, "the file holds the digest of the token only")
    code, out, _ = weir("user", "add", "bob", "--users", file, "--role", "a", "--role", "b", "--json")
    equal((code, json.loads(out)["user"], json.loads(out)["roles"]), (0, "bob", ["a", "b"]))
    equal(json.loads(weir("user", "list", "--users", file, "--json")[1]),
          {"users": [{"user": "ann", "roles": ["clerk"]}, {"user": "bob", "roles": ["a", "b"]}]})
    true("ann" in weir("user", "list", "--users", file)[1], "list")
    with open(file, "a") as lines:
        lines.write("# by hand")      # without a line end
    weir("user", "add", "ben", "--users", file)
    equal(weir("user", "remove", "bob", "--users", file), (0, "", ""))
    text = open(file).read()
    true("# by hand\n" in text and "bob" not in text and "ben" in text, text)
    equal(json.loads(weir("user", "remove", "ben", "--users", file, "--json")[1]), {"removed": "ben"})
    equal(weir("user", "add", "ann", "--users", file)[0], 1, "a name twice")
    equal(weir("user", "remove", "zoe", "--users", file)[0], 1)
    for words in (("add",), ("add", "ann"), ("add", "--users", file), ("add", "a b", "--users", file), ("add", "a:b", "--users", file),
                  ("add", "x", "--role", "anyone", "--users", file), ("add", "x", "--role", "a,b", "--users", file),
                  ("list", "ann", "--users", file), ("remove", "ann", "--role", "x", "--users", file), ("rename", "ann", "--users", file), ()):
        equal(weir("user", *words)[0], 64, words)
    equal(weir("user", "add", "x", "--users", folder.join("no", "users"))[0], 74)
    equal(weir("user", "add", "x", "--users", "")[0], 64)
    true("there is no file" in weir("user", "list", "--users", folder.join("absent"))[2], "absent")
    before = open(file).read()
    with open("/dev/full", "w") as full:
        equal(subprocess.run([harness.weir_path(), "user", "add", "x", "--users", file], stdout=full, stderr=subprocess.DEVNULL).returncode, 74)
    pipe = os.pipe()
    os.close(pipe[0])
    equal(subprocess.run([harness.weir_path(), "user", "add", "x", "--users", file], stdout=pipe[1], stderr=subprocess.DEVNULL).returncode, 74)
    os.close(pipe[1])
    equal(open(file).read(), before, "a token that nobody saw is in no file")
    os.mkdir(folder.join("links"))
    os.symlink(file, folder.join("links", "users"))
    equal(weir("user", "add", "linked", "--users", folder.join("links", "users"))[0], 0)
    true(os.path.islink(folder.join("links", "users")) and "linked" in open(file).read(), "a link stays one")
    shutil.rmtree(folder.join("links"))
    os.chmod(file, 0o666)
    equal(weir("user", "add", "x", "--users", file)[0], 78, "a file that others may write")
    os.chmod(file, 0o640)
    equal(weir("user", "add", "x", "--users", file)[0], 0)
    equal(stat.S_IMODE(os.stat(file).st_mode), 0o640, "the mode stays")
    open(file + ".new", "w").close()
    equal(weir("user", "add", "y", "--users", file)[0], 74, "while another is at it")
    equal(sorted(os.listdir(folder.path)), ["users", "users.new"])
    code, out, _ = weir("user", "--help")
    true(code == 0 and "--role" in out and "weir user add ann" in out, out)


@test
def clients_name_themselves_without_showing_it(folder):
    users = Users(folder)
    token = folder.write("token", users.op + "\n")
    with serve(folder) as server:
        here = ("--host", "127.0.0.1:%d" % server.resp)
        with_token = dict(os.environ, WEIR_TOKEN=users.ann)
        bare = {k: v for k, v in os.environ.items() if k != "WEIR_TOKEN"}
        equal(weir("call", "box", "x", "open", *here, environment=bare)[0], 0)
        code, _, error = weir("call", "box", "x", "clerks", *here, environment=bare)
        true(code == 1 and error.startswith("weir: %s\n" % NOAUTH) and "--token-file" in error, error)
        code, out, error = weir("call", "box", "x", "clerks", *here, environment=with_token)
        equal((code, json.loads(out)["id"]), (0, "ann"), error)
        equal(weir("call", "box", "x", "clerks", *here, environment=dict(bare, WEIR_TOKEN=users.ann + "\n"))[0], 0, "with a line end")
        code, _, error = weir("get", "box", "x", *here, environment=with_token)
        equal(code, 1)
        true("NOPERM User ann" in error, error)
        equal(json.loads(weir("get", "box", "x", *here, "--token-file", token)[1])["n"], 3)
        equal(weir("get", "box", "x", *here, "--token-file", token, "--user", "op")[0], 0)
        equal(weir("stat", *here, "--token-file", token, "--json")[0], 0)
        code, _, error = weir("stat", *here, "--token-file", token, "--user", "ann")
        equal((code, error), (1, "weir: %s\n" % WRONGPASS))
        equal(weir("stat", *here, "--user", "ann", environment=bare)[0], 64)
        equal(weir("stat", *here, "--token-file", folder.join("nowhere"))[0], 64)
    with Server(APP, folder.join("e")) as server:
        equal(weir("get", "box", "x", "--host", "127.0.0.1:%d" % server.resp, "--token-file", token)[0], 1, "no row")
        equal(weir("call", "box", "x", "open", "--host", "127.0.0.1:%d" % server.resp, environment=with_token)[0], 0)


@test
def what_is_open_is_listed(folder):
    users = Users(folder)
    code, out, error = weir("check", APP)
    equal(code, 0, error)
    for line in ("open to anyone: box.open, box.note, box.peek, emitting into mail\n",
                 "open to the role clerk: box.clerks, box.through, box.later, tools.ask, stream hints\n"):
        true(line in out, out)
    true(re.search("closes once the server has users: .*box.clerks.*box.closed.*, stream facts, stream hints, reading mail\n", out), out)
    report = json.loads(weir("check", APP, "--json")[1])
    equal(report["open"], ["box.open", "box.note", "box.peek"])
    equal({s["name"]: s["allow"] for s in report["streams"]}, {"facts": None, "hints": "clerk", "mail": "anyone"})
    equal(report["roles"], {"clerk": ["box.clerks", "box.through", "box.later", "tools.ask"]})
    true("box.closed" in report["closes"] and "box.open" not in report["closes"], report["closes"])
    with serve(folder) as server:
        for name in ("open", "closes", "roles"):
            equal(server.report[name], report[name], name)
        equal(server.report["users"], 3)
        for name in report["open"] + report["closes"]:      # and it is true
            kind, handler = name.split(".")
            path = "/%s/%s" % (kind, handler) if kind == "tools" else "/%s/x/%s" % (kind, handler)
            status = server.request("POST", path, "{}").status
            equal(status == 401, name in report["closes"], "%s: %d" % (path, status))


def main():
    parser = argparse.ArgumentParser(description="Security tests.")
    options = harness.options_read(parser)
    code = harness.run_chosen(options)
    if code:
        print("again: tests/security/run.py --build %s --only NAME" % options.build)
    return code


if __name__ == "__main__":
    sys.exit(main())
