"""Deferred answers: who calls a handler that returned what `send` gave is answered by the later transaction.

SPDX-License-Identifier: MIT
"""
import contextlib
import os
import random
import re
import time

from harness import Fail, RespError, Server, equal, test, true, weir

APP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "deferred.lua")
# What fails is parked after some 20 ms, and who waits is told so after 200.
SHORT = ("--limit", "request_deadline_ms=200", "--limit", "message_attempts_max=2")


def pending_id(answer):
    found = re.match(r"PENDING ([0-9a-z]{26}) ", answer.text) if isinstance(answer, RespError) else None
    true(found, "not pending: %r" % (answer,))
    return found.group(1)


def parked(server, count):
    """Waits until so many are parked: their ids."""
    deadline = time.monotonic() + 30
    while True:
        found = server.get("/parked").json["parked"]
        if len(found) == count:
            return [work["id"] for work in found]
        if time.monotonic() > deadline:
            raise Fail("not %d parked: %r" % (count, found))
        time.sleep(0.01)    # between two looks


def connected(server):
    return contextlib.closing(server.connect())


@test
def a_deferred_answer_is_the_later_transactions_over_both_doors(folder):
    with Server(APP, folder.join("d"), "--shards", "3") as server, connected(server) as resp:
        server.post("/gate/g/set", [True])
        equal(resp.call("box", "a", "ask", "g"), 1, "RESP, in its own type")
        equal(server.post("/box/b/ask", ["g"]).json, 2, "HTTP")
        equal(server.post("/box/c/relay", [["d", "e", "f"], "g"]).json, 3, "over four messages")
        equal(server.post("/desk/go", ["g"]).json, 4, "of a handler that it called")
        equal(resp.row("box", "of the desk")["asked"], 1)
        once = server.post("/box/a/ask", ["g"], Idempotency_Key="k")
        again = server.post("/box/a/ask", ["g"], Idempotency_Key="k")
        equal([once.json, again.json, again.headers["Idempotency-Replayed"]], [5, 5, "true"])
        equal([resp.ask("CALL.ONCE", "i", "box", "a", "ask", "g") for _ in range(2)], [6, 6])
        equal(resp.ask("CALL.ONCE", "i", "box", "a", "ask", "h").text.split()[0], "IDEMPOTENCY", "another payload")
        wrong = server.post("/box/w/wrong", ["g"])
        equal([wrong.status, wrong.code], [500, "handler"], "another `returns`")
        equal([resp.row("box", "w"), resp.row("gate", "g")["n"]], [None, 6], "and nothing is done")


@test
def what_is_still_to_come_is_pending_until_it_is_retried_and_then_the_same_for_all_who_wait(folder):
    with Server(APP, folder.join("d"), "--shards", "2", *SHORT) as server, connected(server) as resp:
        first = server.post("/box/a/ask", ["g"], Idempotency_Key="k")
        equal([first.status, first.json["status"], first.json["applied"]], [202, "pending", True], first)
        equal([first.headers["Location"], first.headers["Retry-After"]], ["/requests/" + first.json["request_id"], "1"])
        again = server.post("/box/a/ask", ["g"], Idempotency_Key="k")
        equal([again.status, again.json], [202, first.json], "a repeat waits for the same")
        equal(server.get(first.headers["Location"] + "?wait=0").status, 202)
        other = pending_id(resp.call("box", "b", "ask", "g"))
        equal(pending_id(resp.ask("CALL.WAIT", other, "BLOCK", "10")), other)
        equal(resp.row("box", "a")["asked"], 1)
        work = parked(server, 2)
        shown = {w["request"] for w in server.get("/parked").json["parked"]}
        equal(shown, {first.json["request_id"], other}, "what is parked names the requests that wait for it")
        server.kill()
        server.start()
        equal(server.get(first.headers["Location"] + "?wait=0").status, 202, "after a kill")
        server.post("/gate/g/set", [True])
        for at in work:
            server.post("/parked/%s/retry" % at)
        with connected(server) as resp:
            wait = ["CALL.WAIT", other, "BLOCK", "5000"]
            answers = [answer_of(server, first.headers["Location"]), eventually(lambda: resp.ask(*wait))]
            equal(sorted(answers), [1, 2])
            equal(server.post("/box/a/ask", ["g"], Idempotency_Key="k").json, answers[0], "by its key")
            for _ in range(2):
                equal([server.get(first.headers["Location"]).json, resp.ask(*wait)], answers, "and ever after")
            server.kill()
            server.start()
        equal(server.get(first.headers["Location"]).json, answers[0], "kept over a kill")
        cli = ["--host", "127.0.0.1:%d" % server.resp]
        code, out, _ = weir("call", *cli, "box", "z", "ask", "g")
        equal([code, out.strip()], [0, "3"], "weir call")
        code, out, error = weir("call", *cli, "box", "z", "ask", "shut")
        equal([code, out, "PENDING" in error], [1, "", True], error)
        code, out, _ = weir("wait", *cli, other)
        equal([code, out.strip()], [0, str(answers[1])], "weir wait")


def eventually(ask):
    """Asks until it is not pending."""
    for _ in range(150):
        answer = ask()
        if not isinstance(answer, RespError) or not answer.text.startswith("PENDING"):
            return answer
    raise Fail("still pending")


def answer_of(server, path):
    for _ in range(150):
        reply = server.get(path)
        if reply.status != 202:
            equal(reply.status, 200, reply)
            return reply.json
    raise Fail("still pending: %s" % path)


@test
def what_a_person_drops_answers_with_the_failure_it_was_parked_for(folder):
    with Server(APP, folder.join("d"), "--shards", "3", *SHORT) as server:
        first = server.post("/box/a/relay", [["b"], "g"])
        equal(first.status, 202)
        work, = parked(server, 1)
        server.kill()
        server.start()
        server.post("/parked/%s/drop" % work)
        for _ in range(150):
            reply = server.get(first.headers["Location"])
            if reply.status != 202:
                break
        equal([reply.status, reply.code, reply.json["detail"]], [422, "shut", {"gate": "g"}], reply)
        equal(reply.json["request_id"], first.json["request_id"])
        server.kill()
        server.start()
        equal(server.get(first.headers["Location"]).body, reply.body, "kept")


@test
def an_answer_is_read_by_who_asked_for_it_and_the_operator(folder):
    names = {}
    for name, roles in (("op", ["--role", "operator"]), ("ann", []), ("bob", [])):
        _, secret, _ = weir("user", "add", name, "--users", folder.join("users"), *roles)
        names[name] = {"Authorization": "Bearer " + secret.strip()}
    with Server(APP, folder.join("d"), "--users", folder.join("users"), *SHORT) as server:
        path = server.request("POST", "/box/a/ask", ["g"], names["ann"]).headers["Location"]
        got = {name: server.request("GET", path + "?wait=0", None, head).status for name, head in names.items()}
        equal([got, server.get(path).status], [{"ann": 202, "bob": 403, "op": 202}, 401], "ann's")
        path = server.post("/box/b/ask", ["g"]).headers["Location"]
        equal([server.get(path + "?wait=0").status, server.request("GET", path, None, names["bob"]).status], [202, 202],
              "a stranger's: whoever has the id")
        nowhere = "/requests/" + "0" * 26
        equal([server.get(nowhere).status, server.request("GET", nowhere, None, names["ann"]).status], [401, 404])
        equal(server.request("POST", path, [], names["ann"]).status, 405)
        equal([server.get(path + "?wait=x").code, server.get("/requests").code], ["arg", "notfound"])


@test
def more_deferred_answers_than_deferred_max_are_refused_and_nothing_is_done(folder):
    with Server(APP, folder.join("d"), "--shards", "1", "--limit", "deferred_max=2", *SHORT) as server:
        paths = [server.post("/box/%d/ask" % i, ["g"]).headers["Location"] for i in range(2)]
        refused = server.post("/box/c/ask", ["g"])
        equal([refused.status, refused.code], [429, "overloaded"])
        true("deferred_max = 2" in refused.json["detail"], refused)
        equal(server.get("/box/c").status, 404)
        server.kill()
        server.start()
        equal(server.post("/box/c/ask", ["g"]).status, 429, "they are counted again at a start")
        equal([server.get(path + "?wait=0").status for path in paths], [202, 202])


@test
def a_server_that_stops_lets_nobody_wait(folder):
    with Server(APP, folder.join("d"), "--shards", "2", "--limit", "request_deadline_ms=60000") as server:
        with connected(server) as resp:
            resp.send(["CALL", "box", "a", "ask", "g"])
            while server.get("/box/a").status != 200:
                time.sleep(0.01)    # between two looks
            begin = time.monotonic()
            server.process.terminate()
            pending_id(resp.read())
            equal(server.process.wait(20), 0)
            true(time.monotonic() - begin < 9, "it waited for the deadline")


@test
def each_gets_its_own_answer_once_over_kills_and_other_shard_counts(folder):
    """Answers number what a gate did: taken together they are 1 to n, each once, and the same for every repeat."""
    seed = random.SystemRandom().randrange(1 << 32)
    choose, gates, count, kills = random.Random(seed), 4, 240, 6
    todo = {"r%d" % i: ["box", "b%d" % choose.randrange(40), "relay", "[%s]" % ",".join(
        '"b%d"' % choose.randrange(40) for _ in range(choose.randrange(3))), "g%d" % choose.randrange(gates)]
        for i in range(count)}
    answers = {}
    with Server(APP, folder.join("d"), "--shards", "2", "--limit", "message_attempts_max=1000") as server:
        for gate in range(gates):
            server.post("/gate/g%d/set" % gate, [True])
        words = list(todo)
        for kill in range(kills + 2):
            # One more life after the last kill: all of them again.
            some = words if kill > kills else choose.sample(words, 120)
            with connected(server) as resp:
                resp.send(*[["CALL.ONCE", i, *todo[i]] for i in some])
                reach = len(some) if kill >= kills else choose.randrange(60)
                try:
                    for at, i in enumerate(some):
                        if at == reach:
                            server.kill()
                        answer = resp.read()
                        true(isinstance(answer, int), "seed %d, %s: %r" % (seed, i, answer))
                        equal(answers.setdefault(i, answer), answer, "seed %d, a repeat of %s" % (seed, i))
                except ConnectionError:
                    pass
            if kill < kills:
                server.command[server.command.index("--shards") + 1] = str(choose.randrange(1, 5))
                server.start()
        equal(len(answers), count)
        for gate in range(gates):
            got = sorted(answers[i] for i in words if todo[i][-1] == "g%d" % gate)
            with connected(server) as resp:
                equal(got, list(range(1, len(got) + 1)), "seed %d, gate %d" % (seed, gate))
                equal(resp.row("gate", "g%d" % gate)["n"], len(got), "seed %d" % seed)
