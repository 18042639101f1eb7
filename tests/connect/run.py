#!/usr/bin/env python3
"""Outside calls over real sockets, against a service that misbehaves. Ends with `N passed, N failed, N skipped`.

    tests/connect/run.py [--build DIR] [--only TEXT]

SPDX-License-Identifier: MIT
"""
import argparse
import hashlib
import hmac
import os
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "integration")]

import harness  # noqa: E402
from harness import Skip, equal, test, true  # noqa: E402
from service import Service  # noqa: E402

TIMEOUT = 60
LOAD_CALLS, LOAD_AT_ONCE = 10000, 100


class Client:
    """One outside_client."""

    def __init__(self, *options):
        path = os.path.join(harness.BUILD, "tests", "connect", "outside_client")
        self.process = subprocess.Popen([path, *map(str, options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def say(self, word, *pairs, **named):
        words = [word, *["%s=%s" % pair for pair in list(pairs) + list(named.items())]]
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()

    def call(self, url, line, *pairs, **named):
        self.say("call", ("url", url), ("line", line), *pairs, **{"backoff": 20, **named})

    def line(self):
        """The next one, as fields."""
        text = self.process.stdout.readline()
        if not text:
            harness.true(False, "the client ended: " + self.process.stderr.read())
        return text.rstrip("\n").split("\t")

    def stats(self):
        """(calls, in flight, attempts)"""
        self.say("stats")
        words = self.line()
        equal(words[0], "stats")
        return [int(word) for word in words[1:]]

    def until(self, condition, what):
        """Asks for the numbers until they satisfy."""
        end = time.monotonic() + TIMEOUT
        while not condition(*self.stats()):
            true(time.monotonic() < end, "never " + what)

    def end(self, *last):
        """Closes stdin; what came back, by id."""
        out, err = self.process.communicate("".join(word + "\n" for word in last), timeout=TIMEOUT)
        equal(self.process.returncode, 0, "exit code (stderr: %s)" % err)
        return {words[0]: Back(words) for words in (line.split("\t") for line in out.splitlines())}


class Back:
    """A call that is back."""

    def __init__(self, words):
        self.outcome, self.status, self.attempts = words[1], int(words[2]), int(words[3])
        self.cut, self.error, self.bytes = words[4] == "1", words[5], int(words[6])
        self.body = words[7] if len(words) > 7 else ""

    def __repr__(self):
        return repr(self.__dict__)


def is_answer(back, status, attempts, body=None):
    equal((back.outcome, back.status, back.attempts), ("answered", status, attempts), repr(back))
    if body is not None:
        equal(back.body, body, "body")


class Served:
    """A service and a client."""

    def __init__(self, *options, **more):
        self.service, self.client = Service(**more), Client(*options)

    def __enter__(self):
        return self.service, self.client

    def __exit__(self, *failure):
        self.client.__exit__(*failure)
        self.service.close()


@test
def request_arrives_as_it_was_written(folder):
    with Served() as (service, client):
        client.call(service.url() + "/v1/", "POST /status/201?x=%20y", ("header", "Authorization: Bearer abc"),
                    ("header", "X-Empty: "), id="one", body='{"amount":1}')
        client.call(service.url(), "GET /status/200", id="two", id_header="X-Request-Id")
        client.call(service.url(), "DELETE /status/204", id="three")
        client.call(service.url(), "HEAD /ok", id="four")
        client.call(service.url(), "POST /chunked", ("header", "Content-Type: application/cloudevents+json"), id="five",
                    body="{}")
        client.call(service.url(), "PUT /long", id="six", body='"%s"' % ("x" * 1048000))
        backs = client.end()
        seen = {path: (method, headers, body) for _, method, path, headers, body in service.seen}
        equal(len(seen), 6)
        method, headers, body = seen["/v1/status/201?x=%20y"]
        equal((method, body), ("POST", b'{"amount":1}'))
        for name, value in {"Idempotency-Key": "one", "Authorization": "Bearer abc", "Content-Length": "12",
                            "Content-Type": "application/json", "Host": "127.0.0.1:%d" % service.port}.items():
            equal(headers.get(name), value, name)
        true(headers["User-Agent"].startswith("weir/"), "User-Agent")
        equal(seen["/status/200"][0], "GET")
        equal(seen["/status/200"][1].get("X-Request-Id"), "two")
        true("Idempotency-Key" not in seen["/status/200"][1], "one id header only")
        true("Content-Type" not in seen["/status/204"][1], "no body, no type")
        equal(seen["/chunked"][1]["Content-Type"], "application/cloudevents+json")
        is_answer(backs["one"], 200, 1)
        is_answer(backs["two"], 200, 1, '{"status":200}')
        is_answer(backs["three"], 204, 1, "")
        is_answer(backs["five"], 200, 1, "abcde")
        is_answer(backs["six"], 200, 1)


@test
def statuses_are_answers_or_tried_again(folder):
    with Served() as (service, client):
        for status in (200, 202, 301, 400, 402, 404, 409, 422):
            client.call(service.url(), "POST /status/%d" % status, id="a%d" % status)
        for status in (408, 425, 429, 500, 502, 503, 504, 418):
            client.call(service.url(), "POST /flaky/%d/2" % status, id="r%d" % status, retry=418)
        client.call(service.url(), "POST /flaky/404/2", id="hook", only_2xx=1)
        client.call(service.url(), "POST /status/500", id="never", give_up=1500)
        backs = client.end()
        for status in (200, 202, 301, 400, 402, 404, 409, 422):
            is_answer(backs["a%d" % status], status, 1)
        for status in (408, 425, 429, 500, 502, 503, 504, 418):
            is_answer(backs["r%d" % status], 200, 3)
            equal(service.ids["r%d" % status], 3)
        is_answer(backs["hook"], 200, 3)
        equal((backs["never"].outcome, backs["never"].status), ("unknown", 500))
        true(backs["never"].attempts >= 3, "tried until time was up: %r" % backs["never"])


@test
def broken_connections_are_tried_again_under_the_same_id(folder):
    kinds = ("cut", "half", "garbage", "headers")
    with Served() as (service, client):
        for kind in kinds:
            client.call(service.url(), "POST /" + kind, id=kind, body="1")
        backs = client.end()
        for kind in kinds:
            is_answer(backs[kind], 200, 2)
            equal(service.ids[kind], 2, kind)
            equal(service.effects[kind], 1, "effects of a service that honours ids")


@test
def service_says_when_to_try_again(folder):
    with Served() as (service, client):
        client.call(service.url(), "POST /wait/429/seconds", id="seconds")
        client.call(service.url(), "POST /wait/503/date", id="date")
        backs = client.end()
        times = {}
        for at, _, _, headers, _ in service.seen:
            times.setdefault(headers["Idempotency-Key"], []).append(at)
        for name, least in (("seconds", 1.0), ("date", 1.5)):
            is_answer(backs[name], 200, 2)
            gap = times[name][1] - times[name][0]
            true(least <= gap < 10, "%s: after %.2f s" % (name, gap))


@test
def service_that_is_down_is_tried_until_it_is_up(folder):
    with Served(listen=False) as (service, client):
        client.call(service.url(), "POST /ok", id="a")
        client.call(service.url(), "POST /ok", id="late", give_up=300)
        client.until(lambda calls, in_flight, attempts: attempts >= 4, "attempts")
        service.listen()
        backs = client.end()
        equal(backs["a"].outcome, "answered")
        true(backs["a"].attempts > 1, "an attempt was refused: %r" % backs["a"])
        equal(service.ids["a"], 1)


@test
def service_that_stays_down_leaves_the_outcome_unknown(folder):
    with Served(listen=False) as (service, client):
        client.call(service.url(), "POST /ok", id="a", give_up=1500)
        client.call("http://no-such-host.invalid", "POST /ok", id="b", give_up=1500)
        backs = client.end()
        equal((backs["a"].outcome, backs["a"].status), ("unknown", 0))
        true("connect" in backs["a"].error.lower(), backs["a"].error)
        equal(backs["b"].outcome, "unknown")


@test
def silent_service_times_out(folder):
    with Served() as (service, client):
        client.call(service.url(), "POST /hold", id="once", timeout=1000)
        client.call(service.url(), "POST /hold/always", id="always", timeout=300, give_up=1500)
        backs = client.end()
        equal((backs["once"].outcome, backs["once"].status), ("answered", 200))
        true(backs["once"].attempts >= 2, "tried again: %r" % backs["once"])
        equal((backs["always"].outcome, backs["always"].status), ("unknown", 0))
        true(1 <= service.ids["always"] <= backs["always"].attempts, "the same id with each attempt")
        true("in time" in backs["always"].error, backs["always"].error)


@test
def long_answer_is_cut(folder):
    with Served("--answer-max", 50000) as (service, client):
        client.call(service.url(), "GET /big/50000", id="fits")
        client.call(service.url(), "GET /big/51000", id="more")
        client.call(service.url(), "GET /big/100000000/unsaid", id="endless")
        backs = client.end()
        is_answer(backs["fits"], 200, 1)
        equal((backs["fits"].bytes, backs["fits"].cut), (50000, False))
        for name in ("more", "endless"):
            is_answer(backs[name], 200, 1)
            equal((backs[name].bytes, backs[name].cut), (50000, True), name)


@test
def redirect_is_the_answer_unless_asked(folder):
    with Served() as (service, client):
        client.call(service.url(), "POST /moved/status/201", id="answer", body="1")
        client.call(service.url(), "POST /moved/status/201", id="followed", body="12", redirects=2)
        client.call(service.url("localhost"), "POST /moved/moved/status/201", id="stopped", redirects=1)
        backs = client.end()
        is_answer(backs["answer"], 308, 1)
        is_answer(backs["followed"], 201, 2)
        is_answer(backs["stopped"], 308, 2)
        equal([body for _, _, path, _, body in service.seen if path == "/status/201"], [b"12"])


@test
def signature_is_verified_by_the_receiver(folder):
    secret = "whsec_" + os.urandom(16).hex()
    with Served() as (service, client):
        client.call(service.url(), "POST /flaky/500/1", id="a", body='{"ü":1}', secret=secret)
        client.call(service.url(), "POST /ok", id="b", secret=secret)
        client.call(service.url(), "POST /ok", id="c", body="1")
        is_answer(client.end()["a"], 200, 2)
        signed = 0
        for _, _, _, headers, body in service.seen:
            value = headers.get("Weir-Signature")
            if headers["Idempotency-Key"] == "c":
                equal(value, None)
                continue
            parts = dict(part.split("=") for part in value.split(","))
            text = parts["t"].encode() + b"." + body
            true(hmac.compare_digest(hmac.new(secret.encode(), text, hashlib.sha256).hexdigest(), parts["v1"]), value)
            true(abs(time.time() - int(parts["t"])) < 60, "t is now: " + value)
            signed += 1
        equal(signed, 3)


@test
def cancelled_call_comes_back_at_once(folder):
    with Served() as (service, client):
        client.call(service.url(), "POST /hold/always", id="a")
        client.call(service.url(), "POST /ok", id="b")
        equal(client.line()[:2], ["b", "answered"])
        client.until(lambda calls, in_flight, attempts: in_flight == 1, "in flight")
        client.say("cancel", id="a")
        equal(client.line()[:2], ["a", "cancelled"])
        equal(client.end(), {})


@test
def stop_gives_pending_calls_back(folder):
    with Served("--per-host", 5) as (service, client):
        for n in range(50):
            client.call(service.url(), "POST /hold/always", id=n)
        client.until(lambda calls, in_flight, attempts: in_flight == 5, "in flight")
        backs = client.end("stop")
        equal(sorted(map(int, backs)), list(range(50)))
        equal({back.outcome for back in backs.values()}, {"abandoned"})
        equal(sum(back.attempts for back in backs.values()), 5)


@test
def ten_thousand_calls_are_answered_once_each(folder):
    with Served("--in-flight", LOAD_AT_ONCE, "--per-host", LOAD_AT_ONCE) as (service, client):
        client.say("load", url=service.url(), count=LOAD_CALLS)
        word, wrong, attempts, ms = client.line()
        equal((word, wrong, attempts), ("load", "0", str(LOAD_CALLS)))
        client.end()
        equal(len(service.effects), LOAD_CALLS)
        equal(set(service.effects.values()), {1})
        equal({int(name) for name in service.effects}, set(range(LOAD_CALLS)))
        true(service.connections <= LOAD_AT_ONCE, "connections are used again: %d" % service.connections)
        print("     %d calls, %d at once, %d connections: %d calls/s" %
              (LOAD_CALLS, LOAD_AT_ONCE, service.connections, LOAD_CALLS * 1000 // max(int(ms), 1)))


@test
def certificates_are_verified(folder):
    if not shutil.which("openssl"):
        raise Skip("no openssl command to make a certificate with")
    key, certificate = folder.join("key.pem"), folder.join("certificate.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=test", "-addext",
                    "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, timeout=TIMEOUT)
    with Served("--ca", certificate, certificate=(certificate, key)) as (service, client):
        client.call(service.url(), "POST /status/201", id="good", body="1")
        equal(client.line()[:4], ["good", "answered", "201", "1"])
        client.call(service.url("localhost"), "POST /status/201", id="other-name")
        client.until(lambda calls, in_flight, attempts: attempts >= 3, "tried again")
        client.say("cancel", id="other-name")
        with Client() as stranger:
            stranger.call(service.url(), "POST /status/201", id="untrusted")
            stranger.until(lambda calls, in_flight, attempts: attempts >= 2, "tried again")
            stranger.say("cancel", id="untrusted")
            backs = {**client.end(), **stranger.end()}
        for name in ("other-name", "untrusted"):
            equal((backs[name].outcome, backs[name].status), ("cancelled", 0))
            true("certificate" in backs[name].error.lower(), backs[name].error)
        equal(len(service.seen), 1)


def embedded(folder, service, *words):
    """The embedding program; its data outlives it."""
    return subprocess.Popen([os.path.join(harness.BUILD, "tests", "connect", "connect_embedded"), folder.join("d"),
                             service.url(), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process):
    out, _ = process.communicate(timeout=TIMEOUT)
    equal(process.returncode, 0, "exit code (stdout: %s)" % out)
    return out.split()


@test
def an_embedding_program_asks_outside_and_gets_its_deferred_answer(folder):
    service = Service()
    try:
        equal(said(embedded(folder, service, "o1", "POST /status/201")), ["201001"])
        equal(said(embedded(folder, service, "o1", "POST /flaky/503/1", "k")), ["200002"], "tried again")
        equal(said(embedded(folder, service, "o1", "POST /flaky/503/1", "k")), ["200002"], "the same id again")
        equal(len(service.seen), 3)
    finally:
        service.close()


@test
def what_an_embedding_program_asked_goes_on_after_a_kill_under_the_same_id(folder):
    service = Service()
    try:
        process = embedded(folder, service, "o1", "POST /hold", "k")
        equal(process.stdout.readline(), "pending\n", "past its deadline")
        process.kill()
        process.communicate(timeout=TIMEOUT)
        equal(said(embedded(folder, service, "o1", "POST /hold", "k")), ["200001"], "its second attempt is answered")
        equal(len({headers["Idempotency-Key"] for _, _, _, headers, _ in service.seen}), 1, "ids")
        service.let_go()
        idle = embedded(folder, service)
        equal(idle.stdout.readline(), "ready\n")
        equal(said(idle), [], "stops")
    finally:
        service.close()


def main():
    parser = argparse.ArgumentParser(description="Outside calls over real sockets.")
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--only", default="", help="tests whose name holds this text")
    options = parser.parse_args()
    harness.BUILD = os.path.abspath(options.build)
    return harness.run([t for t in harness.TESTS if options.only in t.__name__], 2)


if __name__ == "__main__":
    sys.exit(main())
