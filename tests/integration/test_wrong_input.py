"""Wrong input of every kind gets the documented error on both doors and changes nothing.

SPDX-License-Identifier: MIT
"""
import json
import os
import socket

from harness import BANK, ROOT, Fail, Resp, RespError, Server, equal, test, true

WRONG = os.path.join(ROOT, "tests", "integration", "wrong.lua")


def refused_http(server, path, body, status, code, method="POST"):
    reply = server.request(method, path, body)
    if isinstance(status, int):
        status = (status,)
    true(reply.status in status, "%s %s: got %r, wanted %s" % (method, path, reply, status))
    if code:
        true("problem+json" in (reply.headers.get("Content-Type") or ""), "%s: no problem+json: %s" % (path, reply.headers))
        equal(reply.code, code, path)
    true(any("request" in name.lower() for name in reply.headers.keys()), "%s: no request id in %s" % (path, reply.headers.keys()))
    return reply


def refused_resp(connection, words, code):
    answer = connection.ask(*words)
    true(isinstance(answer, RespError), "%s: got %r, wanted -%s" % (words[:4], answer, code))
    equal(answer.code, code, " ".join(map(str, words))[:80])
    return answer


def check_all(server, cases, unchanged):
    """cases: (HTTP path, body, status, word, RESP words or None, RESP code)."""
    connection = server.connect()
    for path, body, status, word, words, code in cases:
        before = unchanged(connection)
        refused_http(server, path, body, status, word)
        equal(unchanged(connection), before, "rows after %s" % path)
        if words:
            refused_resp(connection, words, code)
            equal(unchanged(connection), before, "rows after %s" % (words[:4],))
    equal(connection.ask("PING"), "PONG")
    connection.close()


@test
def bank_refuses_wrong_arguments_and_changes_nothing(folder):
    with Server(BANK, folder.join("d")) as server:
        server.post("/account/ann/deposit", [100])
        call = lambda *words: ("CALL", "account", "ann") + words
        big = 2 ** 53
        check_all(server, [
            ("/account/ann/deposit", "[", 400, None, None, None),
            ("/account/ann/deposit", "nonsense", 400, None, None, None),
            ("/account/ann/deposit", '"text"', 400, None, None, None),
            ("/nowhere/ann/deposit", [1], 404, "notype", ("CALL", "nowhere", "ann", "deposit", 1), "NOTYPE"),
            ("/account/ann/nothing", [1], 404, "nohandler", call("nothing", 1), "NOHANDLER"),
            ("/account/ann/deposit", [], 400, "arg", call("deposit"), "ARG"),
            ("/account/ann/deposit", [1, 2], 400, "arg", call("deposit", 1, 2), "ARG"),
            ("/account/ann/deposit", {"amount": 1, "more": 2}, 400, "arg", None, None),
            ("/account/ann/deposit", {"amuont": 1}, 400, "arg", None, None),
            ("/account/ann/deposit", ["x"], 400, "arg", call("deposit", "x"), "ARG"),
            ("/account/ann/deposit", [None], 400, "arg", None, None),
            ("/account/ann/deposit", [True], 400, "arg", call("deposit", "true"), "ARG"),
            ("/account/ann/deposit", [[1]], 400, "arg", call("deposit", "[1]"), "ARG"),
            ("/account/ann/deposit", [0], 400, "arg", call("deposit", 0), "ARG"),
            ("/account/ann/deposit", [-5], 400, "arg", call("deposit", -5), "ARG"),
            ("/account/ann/deposit", "[1.5]", (400, 422), None, None, None),
            ("/account/ann/deposit", [big], 422, "range", call("deposit", big), "RANGE"),
            ("/account/ann/deposit", [10 ** 30], 422, "range", call("deposit", 10 ** 30), "RANGE"),
            ("/account/ann/withdraw", [101], 422, "check", call("withdraw", 101), "CHECK"),
            ("/account/ann/transfer", ["bob", 101], 422, "check", call("transfer", "bob", 101), "CHECK"),
            ("/account/ann/transfer", [5, 1], 400, "arg", None, None),
        ], lambda c: (c.row("account", "ann"), c.row("account", "bob")))


@test
def a_sum_beyond_the_largest_number_is_refused(folder):
    with Server(BANK, folder.join("d")) as server:
        most = 2 ** 53 - 1
        equal(server.post("/account/ann/deposit", [most]).json, most)
        reply = server.post("/account/ann/deposit", [1])
        true(reply.status in (422, 500), repr(reply))
        equal(server.get("/account/ann/balance").json, most)


@test
def a_key_that_is_too_long_is_refused(folder):
    with Server(BANK, folder.join("d")) as server:
        connection = server.connect()
        equal(connection.call("account", "k" * 1024, "deposit", 1), 1)
        answer = connection.call("account", "k" * 1025, "deposit", 1)
        true(isinstance(answer, RespError), repr(answer))
        equal(answer.code, "TOOBIG")
        true(server.post("/account/%s/deposit" % ("k" * 1025), [1]).status in (413, 414), "HTTP takes a key of 1,025 bytes")
        equal(connection.ask("PING"), "PONG")
        true(server.post("/account//deposit", [1]).status in (400, 404), "HTTP takes an empty key")


@test
def a_body_that_is_too_large_is_refused(folder):
    with Server(WRONG, folder.join("d")) as server:
        body = '["%s"]' % ("x" * (2 << 20))
        try:
            status = server.post("/thing/a/note", body).status
        except (ConnectionError, BrokenPipeError):
            status = 413   # refused and closed while it was still being sent
        equal(status, 413)
        connection = server.connect()
        try:
            answer = connection.call("thing", "a", "note", "x" * (2 << 20))
            true(isinstance(answer, RespError), repr(answer))
        except (ConnectionError, BrokenPipeError):
            pass
        with_new = server.connect()
        equal(with_new.row("thing", "a"), None)
        equal(with_new.call("thing", "a", "set", 1), 1)


@test
def broken_rules_and_lua_errors_undo_everything(folder):
    with Server(WRONG, folder.join("d")) as server:
        equal(server.post("/thing/a/set", [7]).json, 7)
        call = lambda *words: ("CALL", "thing", "a") + words
        check_all(server, [
            ("/thing/a/set", [1001], 422, "check", call("set", 1001), "CHECK"),
            ("/thing/a/set", [-1], 422, "check", call("set", -1), "CHECK"),
            ("/thing/a/note", ["x" * 21], 422, "check", call("note", "x" * 21), "CHECK"),
            ("/thing/a/boom", [], 500, "handler", call("boom"), "HANDLER"),
            ("/thing/a/half", [], (422, 500), None, None, None),
            ("/thing/a/sneaky", [], 500, "handler", call("sneaky"), "HANDLER"),
            ("/thing/a/refuse", ["tired"], 422, "not_now", call("refuse", "tired"), "APPERR"),
            ("/thing/a/refuse_caught", [], 422, "not_now", call("refuse_caught"), "APPERR"),
            ("/thing/a/both", ["b", 5000], 422, "check", call("both", "b", 5000), "CHECK"),
            ("/thing/a/deep", [], 500, "budget", call("deep"), "BUDGET"),
            ("/thing/a/many", [[1, 2, 3, 4], "up"], 400, "arg", call("many", "[1,2,3,4]", "up"), "ARG"),
            ("/thing/a/many", [[1], "sideways"], 400, "arg", call("many", "[1]", "sideways"), "ARG"),
            ("/place/1:x/visit", [], 400, "arg", ("CALL", "place", "1:x", "visit"), "ARG"),
            ("/place/1/visit", [], 400, "arg", ("CALL", "place", "1", "visit"), "ARG"),
        ], lambda c: (c.row("thing", "a"), c.row("thing", "b"), c.row("place", "1:2")))
        reply = server.post("/thing/a/boom", [])
        true("wrong.lua:" in reply.body, "no file and line in %r" % reply)
        reply = server.post("/thing/a/refuse", ["tired"])
        true("tired" in reply.body, "no detail in %r" % reply)


@test
def an_applications_detail_is_shown_by_both_doors_whatever_its_word(folder):
    with Server(WRONG, folder.join("d")) as server:
        connection = server.connect()
        members = lambda pairs: [name for name, _ in pairs]
        for word, status in (("exists", 409), ("notfound", 404), ("toobig", 413), ("arg", 400), ("check", 422), ("mine", 422)):
            shown = "-APPERR mine " if word == "mine" else "-%s " % word.upper()
            for detail in ("taken", {"status": 1, "code": "z", "detail": 2}, [1], 5):
                reply = refused_http(server, "/thing/a/fails", [word, detail], status, word)
                equal((reply.json["status"], reply.json["detail"]), (status, detail), reply.body)
                names = json.loads(reply.body, object_pairs_hook=members)
                equal(len(set(names)), len(names), "a member twice: " + reply.body)
                answer = connection.call("thing", "a", "fails", word, json.dumps(detail))
                equal(repr(answer), shown + (detail if detail == "taken" else json.dumps(detail, separators=(",", ":"), sort_keys=True)))
            reply = refused_http(server, "/thing/a/fails", [word], status, word)
            equal(json.loads(reply.body, object_pairs_hook=members).count("detail"), 0 if word == "mine" else 1)
        equal(repr(connection.call("thing", "a", "fails", "mine", "null")), "-APPERR mine")
        equal(repr(connection.call("thing", "a", "fails", "exists", "null")), "-EXISTS the entity exists already")


@test
def what_a_json_body_may_leave_out_a_query_string_and_resp_may(folder):
    with Server(WRONG, folder.join("d")) as server:
        connection = server.connect()
        server.post("/thing/a/set", [1])
        equal(server.get("/thing/a/left_out").status, 400)
        refused_resp(connection, ("CALL", "thing", "a", "left_out"), "ARG")
        given = [("a", 1), ("b", 2), ("c", "up"), ("d", 4), ("e", "x")]
        for count, wanted in ((1, "1 7 down nil nil"), (2, "1 2 down nil nil"), (3, "1 2 up nil nil"), (4, "1 2 up 4 nil"), (5, "1 2 up 4 x")):
            equal(server.post("/thing/a/left_out", [value for _, value in given[:count]]).json, wanted)
            equal(server.get("/thing/a/left_out?" + "&".join("%s=%s" % pair for pair in given[:count])).json, wanted)
            equal(connection.call("thing", "a", "left_out", *(value for _, value in given[:count])), wanted)
        equal(server.get("/thing/a/left_out?e=x&a=1").json, "1 7 down nil x")


@test
def numbers_are_whole_by_their_value_and_shown_as_they_came(folder):
    with Server(WRONG, folder.join("d")) as server:
        connection = server.connect()
        for text, value in (("1.0", 1), ("1e3", 1000), ("-2.50e1", -25), ("9007199254740991.0", 2 ** 53 - 1)):
            equal(server.post("/thing/a/count", "[%s]" % text).json, value)
        equal(server.post("/thing/a/moment", "[1.75e12]").json, "2025-06-15T15:06:40Z")
        for text, shown in (("1234567.5", "a whole number expected, got 1234567.5"), ("9007199254740992", "9007199254740992 is out of range"),
                            ("9007199254740992.0", "9007199254740992 is out of range"), ("1e300", "1e+300 is out of range")):
            equal(refused_http(server, "/thing/a/count", "[%s]" % text, 422, "range").json["detail"], "n: " + shown)
        for text in ("9007199254740992", "9223372036854775808", "-12345678901234567890123", "1" + "0" * 30):
            equal(refused_resp(connection, ("CALL", "thing", "a", "count", text), "RANGE").text, "RANGE n: %s is out of range" % text)
            equal(refused_resp(connection, ("CALL", "thing", "a", "moment", text), "RANGE").text, "RANGE at: %s is out of range" % text)
            equal(refused_http(server, "/thing/a/count?n=" + text, None, 422, "range", "GET").json["detail"], "n: %s is out of range" % text)


@test
def runaway_handlers_are_stopped_and_others_go_on(folder):
    # Three loops of 100 ms of CPU go before the others on the one shard. A busy machine makes them a second, and who measures its pace
    # by them expects the others to wait for minutes and refuses them as overloaded, which is not what is tested here.
    with Server(WRONG, folder.join("d"), "--shards", 1, "--limit", "queue_wait_max_ms=600000",
                "--limit", "request_deadline_ms=60000") as server:
        equal(server.post("/thing/a/set", [7]).json, 7)
        connection = server.connect()
        for handler in ("loop", "pcall_loop", "bomb", "big_string"):
            reply = refused_http(server, "/thing/a/%s" % handler, [], 500, "budget")
            refused_resp(connection, ("CALL", "thing", "a", handler), "BUDGET")
            equal(connection.row("thing", "a")["n"], 7, "after " + handler)
            equal(connection.call("thing", "b", "set", 3), 3, "another entity after " + handler)
            true("budget" in reply.body.lower(), repr(reply))
        # Together with work that must not suffer: everything else is answered as if nothing were wrong.
        other = server.connect()
        connection.send(*[("CALL", "thing", "a", "loop")] * 3)
        other.send(*[("CALL", "thing", "c%d" % i, "set", i) for i in range(200)])
        equal([other.read() for _ in range(200)], list(range(200)))
        true(all(isinstance(connection.read(), RespError) for _ in range(3)), "a loop was answered")


@test
def broken_protocol_closes_only_its_connection(folder):
    with Server(BANK, folder.join("d")) as server:
        good = server.connect()
        equal(good.call("account", "ann", "deposit", 5), 5)
        for garbage in (b"*1\r\n$-5\r\n", b"*99999999\r\n", b"*1\r\n$99999999999\r\n", b"*-7\r\n*x\r\n"):
            bad = server.connect()
            bad.socket.sendall(garbage)
            bad.socket.settimeout(5)
            answer = b""
            try:
                while True:
                    more = bad.socket.recv(4096)
                    if not more:
                        break
                    answer += more
            except TimeoutError:
                raise Fail("%r: neither refused nor closed (%r)" % (garbage, answer)) from None
            except ConnectionError:
                pass
            true(not answer or answer.startswith(b"-"), "%r: %r" % (garbage, answer))
        refused = Resp(server.http)
        refused.socket.sendall(b"NOT HTTP AT ALL\r\n\r\n")
        line = refused.socket.recv(4096)
        true(line.startswith(b"HTTP/1.1 400") or not line, repr(line))
        equal(good.call("account", "ann", "balance"), 5)
        equal(server.get("/account/ann/balance").json, 5)


@test
def unknown_commands_and_wrong_counts_are_told(folder):
    with Server(BANK, folder.join("d")) as server:
        connection = server.connect()
        for words in (("NOSUCH",), ("CALL",), ("CALL", "account"), ("GETROW", "account"), ("CALL.ONCE", "x", "account")):
            true(isinstance(connection.ask(*words), RespError), "%s is answered" % (words,))
        refused_resp(connection, ("GETROW", "nowhere", "x"), "NOTYPE")
        equal(connection.row("account", "nobody"), None)
        equal(server.get("/account/nobody").status, 404)
        equal(server.request("DELETE", "/account/ann").status in (404, 405), True, "DELETE")
        equal(connection.ask("PING"), "PONG")


def raw_http(server, request):
    """The whole answer to these bytes."""
    with socket.create_connection(("127.0.0.1", server.http), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return answer.decode()


@test
def a_method_that_a_path_has_not_is_told_those_that_it_has(folder):
    with Server(BANK, folder.join("d")) as server:
        server.post("/account/ann/deposit", [5])
        for path, allow, others in (("/account/ann", "GET, HEAD", ["POST"]), ("/account", "GET, HEAD", ["POST"]), ("/", "GET, HEAD", ["POST"]),
                                    ("/account/ann/balance", "GET, HEAD, POST", []), ("/account/ann/deposit", "POST", ["GET", "HEAD"]),
                                    ("/streams/none", "GET, HEAD, POST", []), ("/parked/retry-all", "GET, HEAD, POST", [])):
            for method in ("PUT", "DELETE", "PATCH", "OPTIONS", *others):
                reply = server.request(method, path, "[5]")
                equal((reply.status, reply.headers["Allow"]), (405, allow), "%s %s" % (method, path))
        equal(server.get("/account/ann/balance").json, 5)
        true(raw_http(server, b"GET / HTTP/2.1\r\nHost: localhost\r\n\r\n").startswith("HTTP/1.1 505 HTTP Version Not Supported\r\n"), "505")
        answer = raw_http(server, b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        true(answer.startswith("HTTP/1.1 400 ") and "CONNECT" in answer, answer)


@test
def the_page_of_a_type_shows_a_first_command_of_that_type(folder):
    with Server([BANK, WRONG], folder.join("d")) as server:
        for name in ("account", "thing", "place"):
            true("/%s/KEY/" % name in server.get("/" + name).json["example"], server.get("/" + name).body)


@test
def foreign_origins_and_hosts_are_refused(folder):
    with Server(BANK, folder.join("d")) as server:
        equal(server.post("/account/ann/deposit", [1], Origin="http://evil.example").status, 403)
        equal(server.request("POST", "/account/ann/deposit", [1], {"Host": "evil.example"}).status in (400, 403, 421), True)
        equal(server.get("/account/ann").status, 404)
        equal(server.post("/account/ann/deposit", [1], Origin="http://localhost:%d" % server.http).status, 200)
