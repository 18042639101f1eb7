"""Streams over HTTP: emitting in each form, reading, server-sent events, CloudEvents, parked work.

SPDX-License-Identifier: MIT
"""
import functools
import http.client
import json
import os
import random
import socket
import struct
import threading
import time

import harness
from harness import Fail, Reply, RespError, Server, equal, stream_events, test, true, weir

HERE = os.path.dirname(os.path.abspath(__file__))
APP = os.path.join(HERE, "app.lua")
DEADLINE_S = 30
NDJSON = {"Content-Type": "application/x-ndjson"}


until = functools.partial(harness.until, seconds=DEADLINE_S)


def serve(folder, *options):
    return Server(APP, folder.join("d"), "--shards", "2", *options)


def number(event_id):
    epoch, n = event_id.split("-")
    return int(epoch), int(n)


def read_all(server, stream="moved", **parameters):
    return stream_events(server, stream, **parameters)


def lines_of(events):
    return b"".join(json.dumps(e).encode() + b"\n" for e in events)


def info(server, stream="moved"):
    return server.get("/streams/%s/info" % stream).json


class Events:
    """A connection that reads server-sent events."""

    def __init__(self, server, path, last=None, buffer=None):
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(("127.0.0.1", server.http))
        more = "Last-Event-ID: %s\r\n" % last if last else ""
        self.socket.sendall(("GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s\r\n" % (path, more)).encode())
        self.ended = False
        self.raw = None

    def begin(self):
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        equal(answer.status, 200, "server-sent events")
        equal(answer.headers["Content-Type"], "text/event-stream")
        self.raw = answer
        return self

    def next(self):
        """(id, event, data), or None at a clean end; ConnectionError at another."""
        fields = {}
        while True:
            try:
                line = self.raw.readline()
            except http.client.HTTPException as reason:
                raise ConnectionError(str(reason)) from None
            if not line:
                # HTTPResponse closes itself at the last chunk; a cut connection leaves a chunk unfinished
                return None
            line = line.decode().rstrip("\n")
            if line.startswith(":"):
                continue
            if not line:
                if "data" in fields:
                    return fields["id"], fields["event"], json.loads(fields["data"])
                fields = {}
                continue
            name, value = line.split(": ", 1)
            fields[name] = value

    def close(self):
        self.socket.close()


# ---- emitting ----

@test
def each_form_emits_and_reads_back_in_order(folder):
    with serve(folder) as server:
        one = server.post("/streams/moved", {"account": "a", "amount": 1})
        equal(one.status, 200, one)
        many = server.post("/streams/moved", [{"account": "a", "amount": 2}, {"account": "b", "amount": 3}]).json
        equal(many["count"], 2)
        none = server.post("/streams/moved", "[]")
        equal(none.json, {"count": 0, "first": None, "last": None})
        text = b'\n{"account":"b","amount":4}\r\n  \n{"account":"a","amount":5}'
        lines = server.request("POST", "/streams/moved", text, NDJSON).json
        equal(lines["count"], 2)
        empty = server.request("POST", "/streams/moved", b"\n \n", NDJSON).json
        equal(empty, {"count": 0, "first": None, "last": None})
        server.post("/account/a/deposit", [6])
        events = read_all(server)
        equal([(e["key"], e["event"]["amount"]) for e in events],
              [("a", 1), ("a", 2), ("b", 3), ("b", 4), ("a", 5), ("a", 6)])
        ids = [e["id"] for e in events]
        equal(ids[:5], [one.json["id"], many["first"], many["last"], lines["first"], lines["last"]])
        equal(sorted(ids, key=number), ids, "ids grow")
        equal([e["event"]["amount"] for e in read_all(server, key="a")], [1, 2, 5, 6], "key=")
        until(lambda: server.get("/account/a").json["sum"] == 14, "the follower")
        # pages: forward by `next` as from, backward by `next` as to
        page = server.get("/streams/moved?limit=4").json
        rest = server.get("/streams/moved?from=%s" % page["next"]).json
        equal([e["id"] for e in page["events"] + rest["events"]], ids)
        back, to = [], "now"
        while True:
            page = server.get("/streams/moved?reverse=1&limit=4&to=%s" % to).json
            back += [e["id"] for e in page["events"]]
            if not page["next"] or not page["events"]:
                break
            to = page["next"]
        equal(back, ids[::-1], "backward")
        equal([e["id"] for e in server.get("/streams/moved?from=%s&to=%s" % (ids[1], ids[3])).json["events"]], ids[1:4])
        # by time
        equal(server.get("/streams/moved?to=1000").json["events"], [])
        equal(len(server.get("/streams/moved?from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z").json["events"]), 6)
        equal(server.get("/streams/moved?from=2100-01-01T00:00:00Z").json["events"], [])
        equal(server.get("/streams/moved?from=now").json["events"], [])
        fresh = server.get("/streams/moved?from=now").json["next"]
        last = server.post("/streams/moved", {"account": "z", "amount": 9}).json["id"]
        equal([e["id"] for e in server.get("/streams/moved?from=%s" % fresh).json["events"]], [last], "behind now")
        figures = info(server)
        equal((figures["events"], figures["first"], figures["last"]), (7, ids[0], last))
        equal(figures["key"], "account")
        until(lambda: info(server)["followers"] == [{"type": "account", "position": last, "lag": 0, "in_flight": 0}],
              "the follower's position")
        equal([s["name"] for s in server.get("/streams").json["streams"]], ["moved", "open", "clerks"])
        page = server.get("/streams/moved?limit=1&format=cloudevents").json["events"][0]
        equal((page["specversion"], page["source"], page["type"], page["subject"], page["id"], page["data"]["amount"]),
              ("1.0", "/streams/moved", "moved", "a", ids[0], 1))
        metrics = until(lambda: (lambda t: t if 'weir_stream_events{stream="moved"} 7' in t else None)(
            server.get("/metrics").body), "the stream's figure in /metrics")
        true('weir_follower_lag_events{stream="moved",type="account"} 0' in metrics, "lag in /metrics")
        true("stream_moved:events=7," in server.connect().ask("INFO", "streams"), "INFO streams")


@test
def a_hundred_thousand_lines_are_counted(folder):
    count = 100000
    body = lines_of({"account": "k%d" % (i % 50), "amount": i} for i in range(count))
    with serve(folder) as server:
        answer = server.request("POST", "/streams/moved", body, {**NDJSON, "Expect": "100-continue"})
        equal(answer.status, 200, answer)
        equal(answer.json["count"], count)
        figures = info(server)
        equal((figures["events"], figures["first"], figures["last"]),
              (count, answer.json["first"], answer.json["last"]))
        amounts = [e["event"]["amount"] for e in read_all(server)]
        true(amounts == list(range(count)), "the order of lines")
        until(lambda: info(server)["followers"][0]["lag"] == 0, "the follower is through")
        equal(sum(server.get("/account/k%d" % i).json["sum"] for i in range(50)), count * (count - 1) // 2)


@test
def lines_tell_what_was_applied_and_continue_by_their_key(folder):
    good = [{"account": "a", "amount": i} for i in range(2500)]
    with serve(folder) as server:
        wrong = lines_of(good[:2300]) + b'{"account":"a","amount":"x"}\n' + lines_of(good[2300:])
        answer = server.request("POST", "/streams/moved", wrong, {**NDJSON, "Idempotency-Key": "load-1"})
        equal((answer.status, answer.code), (400, "arg"), answer)
        equal((answer.json["line"], answer.json["lines_applied"], answer.json["applied"]), (2301, 2000, "partly"))
        equal((answer.json["field"], answer.json["rule"]), ("amount", "type"))
        equal(info(server)["events"], 2000)
        # mended and sent again: the first 2000 are known
        answer = server.request("POST", "/streams/moved", lines_of(good), {**NDJSON, "Idempotency-Key": "load-1"})
        equal((answer.status, answer.json["count"]), (200, 2500), answer)
        equal([e["event"]["amount"] for e in read_all(server)], list(range(2500)))
        again = server.request("POST", "/streams/moved", lines_of(good), {**NDJSON, "Idempotency-Key": "load-1"})
        equal(again.json, answer.json, "a repeat")
        equal(again.headers["Idempotency-Replayed"], "true")
        server.kill()
        server.start()
        again = server.request("POST", "/streams/moved", lines_of(good), {**NDJSON, "Idempotency-Key": "load-1"})
        equal(again.json, answer.json, "a repeat after kill -9")
        other = server.request("POST", "/streams/moved", lines_of(good[1:]), {**NDJSON, "Idempotency-Key": "load-1"})
        equal((other.status, other.code, other.json["lines_applied"]), (422, "idempotency", 0))
        # the same key on another stream is another request
        equal(server.post("/streams/open", {"n": 1}, Idempotency_Key="load-1").status, 200)
        equal(info(server)["events"], 2500)
        # how the bytes come in does not matter: byte by byte at the seams, in chunks
        connection = http.client.HTTPConnection("127.0.0.1", server.http)
        text = lines_of(good)
        pieces = [text[at:at + 997] for at in range(0, len(text), 997)]
        connection.request("POST", "/streams/moved", iter(pieces), {**NDJSON, "Idempotency-Key": "load-1"}, encode_chunked=True)
        equal(json.loads(connection.getresponse().read()), answer.json, "in pieces")
        # another request of the same connection works on
        connection.request("GET", "/streams/moved/info")
        equal(json.loads(connection.getresponse().read())["events"], 2500)
        connection.close()
        # a body that is cut off: whole chunks of lines are in, the rest is not
        head = b"POST /streams/open HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n"
        raw = socket.create_connection(("127.0.0.1", server.http), timeout=DEADLINE_S)
        raw.sendall(head + lines_of({"n": i} for i in range(1500)))
        until(lambda: info(server, "open")["events"] == 1001, "the first chunk")
        raw.shutdown(socket.SHUT_WR)
        reply = http.client.HTTPResponse(raw)
        reply.begin()
        problem = json.loads(reply.read())
        equal((reply.status, problem["lines_applied"], problem["applied"]), (400, 1000, "partly"), problem)
        equal(info(server, "open")["events"], 1001)
        raw.close()


@test
def wrong_input_of_every_kind_emits_nothing(folder):
    ce = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    structured = {"Content-Type": "application/cloudevents+json"}
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    event = {"account": "a", "amount": 1}
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "Content-Type": "application/json"}

    def without(table, name, **more):
        return {**{k: v for k, v in table.items() if k != name}, **more}
    cases = [
        ("", {}, 400), ("{", {}, 400), ("7", {}, 400), ("null", {}, 400), ('"x"', {}, 400), ("[7]", {}, 400), ("[[]]", {}, 400),
        ("{}", {}, 400), ({"account": "a"}, {}, 400), ({**event, "more": 1}, {}, 400), ({"account": 1, "amount": 1}, {}, 400),
        ({"account": "a", "amount": 1.5}, {}, 422), ({"account": "a", "amount": 2**60}, {}, 422), ({"account": None, "amount": 1}, {}, 400),
        ('{"account":"a","amount":1,"amount":2}', {}, 400), ('{"account":"a","amount":1}{}', {}, 400),
        ([event, {"account": "a"}], {}, 400), ([event] * 1001, {}, 413), (b'{"account":"\xff","amount":1}', {}, 400),
        ("[" * 100 + "]" * 100, {}, 400), (b'{"account":"a","amount":1}\nx\n', NDJSON, 400), (b'[{"account":"a","amount":1}]\n', NDJSON, 400),
        (b'{"account":"' + b"x" * 1200000, NDJSON, 413), (event, {"Idempotency-Key": ""}, 400), (event, {"Idempotency-Key": "x" * 256}, 400),
        (b'{"account":"a",\n"amount":1}', NDJSON, 400), (b"x" * 1100000, {}, 413),
    ]
    for name in ce:
        cases.append((without({**ce, "data": event}, name), structured, 400))
        cases.append((event, without(headers, "ce-" + name), 400 if name not in ("specversion", "id") else 400))
        cases.append(([{**ce, "id": "0", "data": event}, without({**ce, "data": event}, name)], batch, 400))
    for more in ({"specversion": "0.3"}, {"id": ""}, {"id": 7}, {"source": ""}, {"source": "a\u0001b"}, {"type": ""}, {"subject": ""},
                 {"time": "yesterday"}, {"time": "12"}, {"data_base64": "e30="}, {"datacontenttype": "text/xml"}, {"Bad": 1},
                 {"data": None}, {"data": []}, {"data": "x"}, {"data": {"account": "a"}}):
        cases.append(({**ce, "data": event, **more}, structured, 400))
    cases += [
        (event, {**headers, "ce-Subject": "%zz"}, 400), (event, {**headers, "Content-Type": "text/plain"}, 400),
        (event, {**headers, "ce-datacontenttype": "application/json"}, 400), (event, {**headers, "ce-x_y": "1"}, 400),
        (event, {**headers, "Idempotency-Key": "k"}, 400), (event, {**headers, **{"ce-x%d" % i: "1" for i in range(40)}}, 400),
        ({**ce, "data": event}, {"Content-Type": "application/cloudevents+avro"}, 415), ({**ce, "data": event}, batch, 400),
        ([{**ce, "data": event}], structured, 400), ([{**ce, "data": event}] * 1001, batch, 413), ("{", structured, 400),
        ([7], batch, 400), ([None], batch, 400),
    ]
    with serve(folder) as server:
        for body, more, status in cases:
            answer = server.request("POST", "/streams/moved", body, more)
            equal(answer.status, status, "%s %s: %r" % (str(body)[:150], more, answer))
            problem = answer.json
            true(problem["detail"] and problem["applied"] is False, problem)
        for query in ("from=x", "from=1-", "to=-", "limit=0", "limit=10001", "limit=x", "reverse=2", "wait=10", "wait=x", "wait=s",
                      "format=xml", "what=1", "from=%zz", "reverse=1&wait=1s"):
            answer = server.get("/streams/moved?" + query)
            equal((answer.status, answer.code), (400, "arg"), query)
        for more in ({"Last-Event-ID": "x"},):
            equal(server.request("GET", "/streams/moved", headers={**more, "Accept": "text/event-stream"}).status, 400)
        equal(server.request("GET", "/streams/moved?reverse=1", headers={"Accept": "text/event-stream"}).status, 400)
        for method, path, status in (("POST", "/streams/none", 404), ("GET", "/streams/none", 404), ("POST", "/streams", 405),
                                     ("POST", "/streams/moved/info", 405), ("GET", "/streams/moved/x", 404), ("GET", "/streams/moved/info/x", 404),
                                     ("GET", "/streams/a/b/c/d/e/f", 404), ("PUT", "/streams/moved", 405), ("DELETE", "/parked/x", 405),
                                     ("POST", "/parked", 405), ("GET", "/parked/retry-all", 405), ("POST", "/parked/x/retry", 404),
                                     ("POST", "/parked/3-0000000000000000/retry", 404), ("POST", "/parked/3-0000000000000000/keep", 404),
                                     ("GET", "/parked?limit=0", 400), ("GET", "/parked?after=x", 400), ("GET", "/parked?after=9.", 400),
                                     ("GET", "/parked?after=0.1-0", 400), ("GET", "/parked?x=1", 400)):
            answer = server.request(method, path, "{}" if method == "POST" else None)
            equal(answer.status, status, "%s %s: %r" % (method, path, answer))
        equal(info(server)["events"], 0, "nothing was emitted")
    for line in ('weir.entity("parked", { n = weir.int })', 'weir.stream("parked", { n = weir.int })', 'weir.entity("streams", {})'):
        app = folder.write("bad.lua", 'local weir = require "weir"\nweir.entity("x", { n = weir.int })\n' + line + "\n")
        code, _, error = weir("check", app)
        true(code != 0 and "server's" in error + _, "%s: %d %s %s" % (line, code, _, error))


@test
def an_event_that_is_too_large_is_the_clients_mistake(folder):
    large = {"account": "a", "amount": 1, "note": "x" * 70000}
    ce = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    with serve(folder) as server:
        for body, more in ((large, {}), ([large], {}), (large, {"Idempotency-Key": "k"}), (json.dumps(large), NDJSON),
                           ({**ce, "data": large}, {"Content-Type": "application/cloudevents+json"}), ([{**ce, "data": large}], batch)):
            answer = server.request("POST", "/streams/moved", body, more)
            equal((answer.status, answer.code), (413, "toobig"), answer.body)
            true("event_bytes_max" in answer.body, answer.body)
        answer = server.connect().ask("XADD", "moved", "*", "account", "a", "amount", "1", "note", large["note"])
        true(isinstance(answer, RespError) and answer.code == "TOOBIG" and "event_bytes_max" in answer.text, repr(answer))
        equal(info(server)["events"], 0, "nothing was emitted")


@test
def what_is_reset_while_it_runs_is_whole_or_not_at_all(folder):
    """What a request holds stays until no shard reads it: makes the sanitizers' builds fail where it does not."""
    draw = random.Random(1)
    record = lambda n: {"account": "k%d" % n, "amount": n, "note": chr(97 + n % 26) * 100}
    lines = lines_of(map(record, range(3000)))
    batch = json.dumps([{"specversion": "1.0", "id": str(n), "source": "s", "type": "t", "data": record(n)} for n in range(500)]).encode()

    def post(path, body, kind):
        head = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (path, kind, len(body))
        return head.encode() + body

    with serve(folder) as server:
        equal(server.post("/streams/moved/groups/g").status, 200)
        for turn in range(120):
            port, data = ((server.http, post("/streams/moved", lines, "application/x-ndjson")),
                          (server.http, post("/streams/moved", batch, "application/cloudevents-batch+json")),
                          (server.http, post("/streams/moved/groups/g/read?consumer=c&limit=5", b"", "text/plain")),
                          (server.resp, b"XREADGROUP GROUP g c COUNT 5 STREAMS moved >\r\n" * 20))[turn % 4]
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(data)
                time.sleep(draw.random() * 0.01)
        events = read_all(server)
        true(events, "nothing came in")
        for event in events:
            equal(event["event"], {"at": None, **record(event["event"]["amount"])})
        equal(server.stop(), 0)


# ---- CloudEvents ----

@test
def cloudevents_in_three_modes_are_one_event_also_after_kill(folder):
    long_source = "urn:" + "x" * 400

    def binary(server, e):
        headers = {"ce-" + k: v.replace("%", "%25").replace(" ", "%20") for k, v in e.items() if k not in ("data", "datacontenttype")}
        return server.request("POST", "/streams/moved", e["data"], {**headers, "Content-Type": "application/json; charset=utf-8"})

    def structured(server, e):
        return server.request("POST", "/streams/moved", e, {"Content-Type": "application/cloudevents+json; charset=UTF-8"})

    def batched(server, events):
        return server.request("POST", "/streams/moved", events, {"Content-Type": "application/cloudevents-batch+json"})

    events = [{"specversion": "1.0", "id": "id %d" % i, "source": long_source if i % 2 else "/shop", "type": "com.example.moved",
               "subject": "acc%d" % (i % 3), "time": "2026-01-02T03:04:05.%03dZ" % i, "data": {"amount": i}} for i in range(30)]
    with serve(folder) as server:
        answers = {}
        for i, e in enumerate(events[:20]):
            answer = (binary if i % 2 else structured)(server, e)
            equal(answer.status, 200, answer)
            answers[i] = answer.json["id"]
        answer = batched(server, events)
        equal(answer.status, 200, answer)
        told = answer.json["events"]
        equal([t.get("replayed", False) for t in told], [True] * 20 + [False] * 10)
        for i, t in enumerate(told):
            answers.setdefault(i, t["id"])
            equal(t["id"], answers[i])
        for _ in range(2):
            for i, e in enumerate(events[:8]):
                for answer in (binary(server, e), structured(server, e)):
                    equal((answer.status, answer.json, answer.headers["Idempotency-Replayed"]), (200, {"id": answers[i]}, "true"))
            equal([t["id"] for t in batched(server, events).json["events"]], [answers[i] for i in range(30)])
            server.kill()
            server.start()
        kept = read_all(server)
        equal({e["id"] for e in kept}, set(answers.values()))
        equal(len(kept), 30, "each once")
        by_id = {e["id"]: e for e in kept}
        for i, e in enumerate(events):
            got = by_id[answers[i]]["event"]
            equal((got["account"], got["amount"], got["at"]), (e["subject"], i, e["time"] if i else "2026-01-02T03:04:05Z"))
        for key in ("acc0", "acc1", "acc2"):  # a batch keeps the order of each key
            equal([e["event"]["amount"] for e in kept if e["key"] == key and e["event"]["amount"] >= 20],
                  [i for i in range(20, 30) if "acc%d" % (i % 3) == key])
        # data that has the fields wins over attributes
        e = {**events[0], "id": "own", "data": {"account": "mine", "amount": 1, "at": "2020-01-01T00:00:00Z"}, "extension": "7", "dataschema": "x:y"}
        equal(structured(server, e).status, 200)
        got = read_all(server, key="mine")[0]["event"]
        equal((got["account"], got["at"]), ("mine", "2020-01-01T00:00:00Z"))
        # the same id with other data
        answer = binary(server, {**events[3], "data": {"amount": 999}})
        equal((answer.status, answer.code), (422, "idempotency"), answer)
        answer = batched(server, [{**events[0], "id": "new"}, {**events[1], "data": {"amount": 999}}, {**events[2], "id": "newer"}])
        equal((answer.status, answer.code, answer.json["applied"]), (422, "idempotency", "partly"), answer)
        told = answer.json["events"]
        true("id" in told[0] and told[1]["code"] == "idempotency" and "id" in told[2], told)
        equal(info(server)["events"], 33)
        equal(batched(server, []).json, {"events": []})
        # another source, or another stream, is another event
        equal(structured(server, {**events[0], "source": "/other"}).status, 200)
        equal(info(server)["events"], 34)
        answer = server.request("POST", "/streams/open", {**events[0], "data": {"n": 1}}, {"Content-Type": "application/cloudevents+json"})
        equal(answer.status, 200, answer)


# ---- waiting ----

@test
def a_long_poll_waits_for_an_event_and_not_longer(folder):
    with serve(folder) as server:
        answers = []

        def poll():
            answers.append((server.get("/streams/moved?from=now&wait=60m&key=wanted"), time.monotonic()))
        thread = threading.Thread(target=poll)
        thread.start()
        until(lambda: "weir_stream_reads 1" in server.get("/metrics").body, "the poll waits")
        server.get("/streams/moved?from=now")  # what is asked later is answered later: the poll knows by now where "now" was
        server.post("/streams/moved", {"account": "other", "amount": 1})
        server.post("/streams/moved", {"account": "wanted", "amount": 2})
        thread.join(DEADLINE_S)
        equal([e["event"]["amount"] for e in answers[0][0].json["events"]], [2])
        begin = time.monotonic()
        page = server.get("/streams/moved?from=now&wait=300ms").json
        true(time.monotonic() - begin >= 0.29, "it came before its time")
        equal(page["events"], [])
        equal(server.get("/streams/moved?wait=60s&limit=1").json["events"][0]["event"]["amount"], 1, "what is there comes at once")
        # draining takes waits back, and ends streams with their last chunk
        events = Events(server, "/streams/moved?from=now").begin()
        thread = threading.Thread(target=poll)
        thread.start()
        until(lambda: "weir_stream_reads 2" in server.get("/metrics").body, "both wait")
        begin = time.monotonic()
        equal(server.stop(), 0, "exit code")
        true(time.monotonic() - begin < 5, "draining waited for a reader")
        thread.join(DEADLINE_S)
        equal(answers[1][0].json["events"], [])
        equal(events.next(), None, "the end")


@test
def sent_events_come_once_and_in_order_over_kill_9(folder):
    count, got = 600, []
    with serve(folder) as server:
        emitting = threading.Event()

        def emit():
            i, connection = 0, None
            while i < count:
                try:
                    if connection is None:
                        connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=DEADLINE_S)
                    connection.request("POST", "/streams/moved", json.dumps({"account": "k%d" % (i % 7), "amount": i}),
                                       {"Idempotency-Key": "n%d" % i})
                    reply = connection.getresponse()
                    text = reply.read()
                except (OSError, http.client.HTTPException):
                    connection = None
                    emitting.wait(0.01)
                    continue
                if reply.status == 200:
                    i += 1
                elif reply.status not in (503, 504):
                    raise Fail(repr(text))
        emitter = threading.Thread(target=emit)
        emitter.start()
        kills, last, events = [100, 250, 450], None, None
        end = time.monotonic() + 4 * DEADLINE_S
        while len(got) < count:
            true(time.monotonic() < end, "only %d of %d events came" % (len(got), count))
            try:
                events = Events(server, "/streams/moved?from=oldest", last)
                events.begin()
                while len(got) < count:
                    event = events.next()
                    if event is None:
                        break
                    equal(event[1], "moved")
                    equal(event[0], event[2]["id"])
                    got.append(event[2])
                    last = event[0]
                    if kills and len(got) >= kills[0]:
                        kills.pop(0)
                        server.kill()
                        server.start()
                        break
            except (OSError, http.client.HTTPException):
                pass
            if events is not None:
                events.close()
        emitter.join(DEADLINE_S)
        equal(kills, [])
        equal([e["event"]["amount"] for e in got], list(range(count)), "every event once and in order")
        equal([e["id"] for e in read_all(server)], [e["id"] for e in got], "the same as the stream has")


@test
def a_slow_reader_of_sent_events_is_held_back_and_loses_nothing(folder):
    count, note = 3000, "x" * 2000
    with serve(folder) as server:
        slow = Events(server, "/streams/moved?from=oldest", buffer=4096)
        body = lines_of({"account": "a", "amount": i, "note": note} for i in range(count))
        equal(server.request("POST", "/streams/moved", body, NDJSON).status, 200)

        def sent():
            text = server.get("/metrics").body
            return int(text.split('weir_network_transmit_bytes_total{door="http"} ')[1].split()[0])
        # 6 MB wait: what the server sends without being read is what the sockets hold and no more
        idle = []

        def stopped():
            idle.append("weir_stream_reads 0" in server.get("/metrics").body)
            return len(idle) > 20 and all(idle[-20:])
        until(stopped, "reading stops")
        true(sent() < 5500000, "sent %d bytes to one who does not read" % sent())
        slow.begin()
        for i in range(count):
            equal(slow.next()[2]["event"]["amount"], i)
        slow.close()
        # one that ends by itself, and one that is asked for behind another request
        events = Events(server, "/streams/moved?limit=2").begin()
        equal([events.next()[2]["event"]["amount"] for _ in range(2)], [0, 1])
        equal(events.next(), None)
        last = info(server)["last"]
        events = Events(server, "/streams/moved?format=cloudevents&from=%s&to=%s" % (last, last)).begin()
        equal(events.next()[2]["data"]["amount"], count - 1)
        equal(events.next(), None)
        raw = socket.create_connection(("127.0.0.1", server.http), timeout=DEADLINE_S)
        post = json.dumps({"account": "b", "amount": 1})
        raw.sendall(("POST /streams/moved HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                     "GET /streams/moved?key=b&limit=1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n" % (len(post), post)).encode())
        text = b""
        while not text.endswith(b"0\r\n\r\n"):
            more = raw.recv(65536)
            if not more:
                break
            text += more
        true(text.count(b"HTTP/1.1 200 OK") == 2 and text.endswith(b"0\r\n\r\n"), text)
        true(b'"key":"b"' in text, text)
        raw.close()
        head = server.request("HEAD", "/streams/moved", headers={"Accept": "text/event-stream"})
        equal((head.status, head.body), (200, ""))


# ---- parked work ----

@test
def parked_work_is_listed_retried_and_dropped(folder):
    with serve(folder, "--limit", "message_attempts_max=1") as server:
        keys = ["p%d" % i for i in range(12)]

        def listed(limit=100):
            rows, after = [], ""
            while True:
                page = server.get("/parked?limit=%d%s" % (limit, after)).json
                true(len(page["parked"]) <= limit, "more than the limit")
                rows += page["parked"]
                if page["next"] is None:
                    return rows
                after = "&after=" + page["next"]
        for key in keys:
            server.post("/account/%s/break" % key, [])
            server.post("/streams/moved", {"account": key, "amount": 1})
        rows = until(lambda: (lambda r: r if len(r) == 12 else None)(listed()), "all are parked")
        equal(sorted(r["to"] for r in rows), sorted("account/" + k for k in keys))
        equal({(r["kind"], r["from"], r["error"].split(":")[0]) for r in rows}, {("event", "moved", rows[0]["error"].split(":")[0])})
        for limit in (1, 5):
            equal([r["id"] for r in listed(limit)], [r["id"] for r in rows], "limit %d" % limit)
        ids = {r["to"].split("/")[1]: r["id"] for r in rows}
        server.post("/account/p0/mend", [])
        equal(server.post("/parked/%s/retry" % ids["p0"]).json, {"done": 1})
        until(lambda: server.get("/account/p0").json["sum"] == 1, "p0 has its event")
        equal(server.post("/parked/%s/retry" % ids["p0"]).status, 404)
        equal(server.post("/parked/%s/drop" % ids["p1"]).json, {"done": 1})
        server.kill()
        server.start()
        equal(sorted(r["id"] for r in listed()), sorted(v for k, v in ids.items() if k not in ("p0", "p1")), "after kill -9")
        # the same over RESP
        connection = server.connect(3)
        page = connection.ask("PARKED", "LIST", "COUNT", "4")
        equal((len(page["parked"]), page["parked"][0]["kind"]), (4, "event"))
        true(page["parked"][0]["id"] in ids.values(), page)
        more = connection.ask("PARKED", "LIST", "AFTER", page["next"])
        equal((len(more["parked"]), more["next"]), (6, None))
        equal(connection.ask("PARKED", "DROP", ids["p2"]), 1)
        equal(connection.ask("PARKED", "DROP", ids["p2"]).code, "NOTFOUND")
        for words in (["LIST", "COUNT"], ["LIST", "COUNT", "0"], ["LIST", "AFTER", "x"], ["RETRY"], ["DROP", "ALL"], ["x"]):
            true(connection.ask("PARKED", *words).code in ("ARG", "NOTFOUND"), words)
        for key in keys[1:]:
            server.post("/account/%s/mend" % key, [])
        equal(connection.ask("PARKED", "RETRY", ids["p3"]), 1)
        equal(server.post("/parked/retry-all").json, {"done": 8})
        until(lambda: sum(server.get("/account/" + k).json["sum"] for k in keys) == 10, "all but the dropped ones")
        equal(listed(), [])


# ---- consumer groups ----

@test
def a_group_gives_each_event_to_one_consumer_until_it_is_acknowledged(folder):
    count = 400
    with serve(folder) as server:
        server.request("POST", "/streams/moved", lines_of({"account": "a", "amount": i} for i in range(count)), NDJSON)
        group = "/streams/moved/groups/workers"
        equal((server.post(group + "/read?consumer=x").status, server.post(group + "/read?consumer=x").code), (404, "nogroup"))
        equal(server.post(group).json, {"created": True})
        equal((server.post(group).status, server.post(group).code), (409, "busygroup"))
        got, wrong, lock = {}, [], threading.Lock()

        def work(name):
            while True:
                events = server.post("%s/read?consumer=%s&limit=7" % (group, name)).json["events"]
                if not events:
                    return
                with lock:
                    for e in events:
                        got.setdefault(e["id"], []).append((name, e["event"]["amount"]))
                if events[0]["event"]["amount"] % 2:
                    told = server.post(group + "/ack", {"ids": [e["id"] for e in events]})
                    if told.json != {"acknowledged": len(events)}:
                        wrong.append(told)
        threads = [threading.Thread(target=work, args=("c%d" % n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        equal(wrong, [])
        equal(sorted(amount for given in got.values() for _, amount in given), list(range(count)), "each to one")
        server.kill()
        server.start()
        equal(server.post(group + "/read?consumer=c0").json["events"], [], "nothing new after kill -9")
        left = 0
        for name in ("c0", "c1", "c2"):
            events = server.post("%s/read?consumer=%s&limit=1000&pending=true" % (group, name)).json["events"]
            for e in events:
                equal(got[e["id"]], [(name, e["event"]["amount"])], "pending with whom it was given")
            left += len(events)
            equal(server.post(group + "/ack", [e["id"] for e in events]).json, {"acknowledged": len(events)})
            equal(server.post("%s/read?consumer=%s&pending=true" % (group, name)).json["events"], [])
        true(0 < left < count, "%d were pending" % left)
        equal([(g["name"], g["pending"], g["consumers"]) for g in server.get("/streams/moved/groups").json["groups"]], [("workers", 0, 3)])
        equal(sorted(c["name"] for c in server.get(group).json["consumers"]), ["c0", "c1", "c2"])
        # it waits, and "now" begins behind what there is; the same group over RESP
        server.post("/streams/moved/groups/late?from=now")
        answers = []
        thread = threading.Thread(target=lambda: answers.append(server.post("/streams/moved/groups/late/read?consumer=x&wait=60s").json))
        thread.start()
        until(lambda: "weir_stream_reads 1" in server.get("/metrics").body, "the read waits")
        last = server.post("/streams/moved", {"account": "b", "amount": 77}).json["id"]
        thread.join(DEADLINE_S)
        equal([e["id"] for e in answers[0]["events"]], [last])
        equal(server.connect().ask("XACK", "moved", "late", last), 1)
        for path, body, status in (("/ack", "", 400), ("/ack", "{}", 400), ("/ack", '{"ids":7}', 400), ("/ack", '["x"]', 400), ("/ack", "[7]", 400),
                                   ("/read", None, 400), ("/read?consumer=", None, 400), ("/read?consumer=x&limit=0", None, 400),
                                   ("/read?consumer=x&wait=1", None, 400), ("/read?consumer=x&pending=2", None, 400), ("/read?x=1", None, 400),
                                   ("/other", None, 404), ("?from=x", None, 400), ("?limit=1", None, 400)):
            answer = server.post(group + path, body)
            equal(answer.status, status, "%s %s: %r" % (path, body, answer))
        equal(server.get(group + "/read?consumer=x").status, 405, "a GET moves nothing")


# ---- who may ----

@test
def roles_hold_for_streams_and_parked_work(folder):
    users = folder.join("users")
    tokens = {}
    for name, roles in (("op", ["operator"]), ("ann", ["clerk"]), ("bob", [])):
        code, out, error = weir("user", "add", name, "--users", users, *[w for r in roles for w in ("--role", r)])
        equal(code, 0, error)
        tokens[name] = {"Authorization": "Bearer " + out.strip()}
    tokens[None] = {}
    with serve(folder, "--users", users) as server:
        table = [  # who gets what: stranger, bob, ann, op
            ("POST", "/streams/open", {"n": 1}, (200, 200, 200, 200)), ("POST", "/streams/clerks", {"n": 1}, (401, 403, 200, 200)),
            ("POST", "/streams/moved", {"account": "a", "amount": 1}, (401, 403, 403, 200)), ("POST", "/streams/none", {}, (401, 404, 404, 404)),
            ("GET", "/streams/open", None, (401, 403, 403, 200)), ("GET", "/streams/clerks", None, (401, 403, 200, 200)),
            ("GET", "/streams/moved", None, (401, 403, 403, 200)), ("GET", "/streams/clerks/info", None, (401, 403, 200, 200)),
            ("GET", "/streams/none", None, (401, 404, 404, 404)), ("GET", "/streams", None, (401, 200, 200, 200)),
            ("GET", "/streams/clerks/groups", None, (401, 403, 200, 200)), ("POST", "/streams/clerks/groups/g", None, (401, 403, 200, 409)),
            ("POST", "/streams/open/groups/g/read?consumer=x", None, (401, 403, 403, 404)),
            ("GET", "/parked", None, (401, 403, 403, 200)), ("POST", "/parked/retry-all", None, (401, 403, 403, 200)),
            ("POST", "/parked/3-0000000000000000/drop", None, (401, 403, 403, 404)),
        ]
        for method, path, body, statuses in table:
            for who, status in zip((None, "bob", "ann", "op"), statuses):
                equal(server.request(method, path, body, tokens[who]).status, status, "%s: %s %s" % (who, method, path))
        for headers in ({"Accept": "text/event-stream"},):
            equal(server.request("GET", "/streams/moved", headers={**headers, **tokens["ann"]}).status, 403)
            equal(server.request("GET", "/streams/open", headers=headers).status, 401)
        names = {who: [s["name"] for s in server.request("GET", "/streams", headers=tokens[who]).json["streams"]] for who in ("bob", "ann", "op")}
        equal(names, {"bob": [], "ann": ["clerks"], "op": ["moved", "open", "clerks"]})
        # lines of strangers are bounded as all of theirs
        body = lines_of({"n": i} for i in range(3000))
        equal(server.request("POST", "/streams/open", body, NDJSON).status, 401)
        equal(server.request("POST", "/streams/open", body[:8000].rsplit(b"\n", 1)[0], NDJSON).status, 200)
        equal(server.request("POST", "/streams/open", body, {**NDJSON, **tokens["bob"]}).json["count"], 3000)
        equal(server.request("POST", "/streams/clerks", body, {**NDJSON, **tokens["bob"]}).status, 403, "refused before the body is read")
        # a stream of events ends when its reader's right is taken away
        raw = socket.create_connection(("127.0.0.1", server.http), timeout=DEADLINE_S)
        raw.sendall(("GET /streams/clerks HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nAuthorization: %s\r\n\r\n"
                     % tokens["ann"]["Authorization"]).encode())
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        equal(answer.status, 200)
        with open(users) as file:
            rows = [row for row in file if not row.startswith("ann ")]
        with open(users + ".new", "w") as file:
            file.writelines(rows)
        os.chmod(users + ".new", 0o600)
        os.rename(users + ".new", users)
        until(lambda: server.request("GET", "/streams/clerks", headers=tokens["ann"]).status == 401, "ann is gone")
        server.request("POST", "/streams/clerks", {"n": 77}, tokens["op"])
        text = answer.read().decode()
        raw.close()
        true('"n":77' not in text, "events for one who was removed")


assert Reply
