"""Clients that offer a fixed load whatever the answers, and know what must have come of it.

Each operation has an idempotency key, so one whose outcome is unknown is sent again until it is known. What it adds to the
`twin` (a plain dictionary of rows, in Python) is either commutative or of rows that this client alone changes: so the twin is
the replay of all that was acknowledged, in whatever order. A latency counts from when the operation was due.

SPDX-License-Identifier: MIT
"""
import http.client
import json
import random
import socket
import struct
import time

from harness import Fail, Resp, RespError
from world import Actor

AGAIN = ("UNKNOWN", "TIMEOUT", "OVERLOADED", "LOADING", "SHUTDOWN", "DISKFULL", "PENDING")
AGAIN_HTTP = (202, 429, 503, 504, 507)
GONE = (OSError, http.client.HTTPException, ValueError)    # ValueError: a file closed under its reader
PRIME = 1000000007


class Client(Actor):
    """One operation after another, `rate` a second; who is late goes on at once until it is on time."""

    def __init__(self, world, name, rate):
        super().__init__(world, name)
        self.rate, self.choose = rate, random.Random("%d %s" % (world.seed, name))
        self.done = self.again = self.full = 0
        self.due, self.cut, self.connection = time.monotonic(), None, None

    @property
    def behind(self):
        """Seconds since what it has in hand, or does next, was due."""
        return max(0.0, time.monotonic() - self.due)

    def work(self):
        begin = time.monotonic() + self.choose.random() / self.rate
        n = 0
        while True:
            self.due = begin + n / self.rate
            wait = self.due - time.monotonic()
            if self.world.over.is_set() or (wait > 0 and self.world.over.wait(wait)):
                break
            n += 1
            self.perform(self.make(n), self.due)
            self.done += 1
        self.hang_up()

    def perform(self, operation, due):
        """Until its outcome is known."""
        begin = time.monotonic()
        while True:
            try:
                if self.connection is None:
                    if not self.world.wait_up():
                        return
                    self.connection = self.dial()
                cut, self.cut = self.cut, None
                if cut:
                    self.break_off(operation, cut)
                    raise ConnectionError("cut off, as it should be")
                answer = self.ask(operation)
            except GONE:
                self.hang_up()
                answer = None
            now = time.monotonic()
            if answer is not None:
                self.world.latency(due, now)
                self.acknowledged(operation, answer)
                return
            if self.world.failure:
                return
            if now - begin > self.world.window_s * 0.8:
                raise Fail("%s: no answer for %.0f s, and the server remembers ids for %.0f s only" % (self.name, now - begin, self.world.window_s))
            self.again += 1
            time.sleep(0.02)    # before the next try

    def hang_up(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def refused(self, word, text):
        if word in ("DISKFULL", 507):
            self.full += 1
        elif word not in AGAIN and word not in AGAIN_HTTP:
            raise Fail("%s: %s" % (self.name, text))

    # of each kind: make(n), acknowledged(operation, answer), dial(), ask(operation), raw(operation)

    def break_off(self, operation, how):
        """Sends the request, or a part of it, and resets the connection."""
        raw = self.raw(operation)
        door = socket.create_connection(("127.0.0.1", self.port()), timeout=10)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        door.sendall(raw if how == "after" else raw[:self.choose.randrange(1, len(raw))])
        door.close()
        self.hang_up()


class RespClient(Client):
    def dial(self):
        return Resp(self.world.server.resp, timeout=20)

    def port(self):
        return self.world.server.resp

    def ask(self, operation):
        answer = self.connection.ask(*operation.words)
        if isinstance(answer, RespError):
            self.refused(answer.code, repr(answer))
            return None
        return answer

    def raw(self, operation):
        words = [str(word).encode() for word in operation.words]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class HttpClient(Client):
    def dial(self):
        return http.client.HTTPConnection("127.0.0.1", self.world.server.http, timeout=20)

    def port(self):
        return self.world.server.http

    def headers(self, operation):
        return {"Idempotency-Key": '"%s"' % operation.id, "Content-Type": operation.kind}

    def ask(self, operation):
        self.connection.request("POST", operation.path, operation.body, self.headers(operation))
        reply = self.connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            self.refused(reply.status, "%d %s" % (reply.status, body[:300]))
            return None
        return json.loads(body)

    def raw(self, operation):
        headers = "".join("%s: %s\r\n" % pair for pair in self.headers(operation).items())
        return ("POST %s HTTP/1.1\r\nHost: soak\r\n%sContent-Length: %d\r\n\r\n%s" %
                (operation.path, headers, len(operation.body), operation.body)).encode()


class Operation:
    pass


def by_resp(ident, *words, **more):
    operation = Operation()
    operation.words = ("CALL.ONCE", ident, *words)
    operation.__dict__.update(more)
    return operation


def by_http(ident, path, body, kind="application/json", **more):
    operation = Operation()
    operation.id, operation.path, operation.kind = ident, path, kind
    operation.body = body if isinstance(body, str) else json.dumps(body)
    operation.__dict__.update(more)
    return operation


class Transfers(RespClient):
    """Between any two accounts: sums."""

    def __init__(self, world, name, rate, accounts):
        super().__init__(world, name, rate)
        self.balance, self.count = [0] * accounts, [0] * accounts

    def make(self, n):
        a, b = self.choose.sample(range(len(self.balance)), 2)
        amount = self.choose.randrange(1, 1000)
        return by_resp("%s-%d" % (self.name, n), "account", "a%d" % a, "transfer", "a%d" % b, amount, a=a, b=b, amount=amount)

    def acknowledged(self, o, answer):
        if answer != o.amount:
            raise Fail("%s: a transfer of %d answered %r" % (self.name, o.amount, answer))
        for place, amount in ((o.a, -o.amount), (o.b, o.amount)):
            self.balance[place] += amount
            self.count[place] += 1


def item_text(n):
    return ("item %d " % n) * (3 + n % 8)


class Puts(HttpClient):
    """Rows of a map: the newest `keep` of each box stay."""
    KEEP = 100

    def __init__(self, world, name, rate, boxes):
        super().__init__(world, name, rate)
        self.boxes = ["%s-%d" % (name, i) for i in range(boxes)]
        self.puts = [0] * boxes

    def make(self, n):
        place = n % len(self.boxes)
        number = self.puts[place] + 1
        return by_http("%s-%d" % (self.name, n), "/box/%s/put" % self.boxes[place], [number, item_text(number), self.KEEP], place=place, number=number)

    def acknowledged(self, o, answer):
        if answer != o.number:
            raise Fail("%s: put %d answered %r" % (self.name, o.number, answer))
        self.puts[o.place] = o.number


class Posts(RespClient):
    """A message to one of some boxes, and a timer."""

    def __init__(self, world, name, rate, targets):
        super().__init__(world, name, rate)
        self.posted = self.sum = self.squares = 0
        self.sent = {target: [0, 0, 0] for target in targets}    # last, count, sum

    def make(self, n):
        to = self.choose.choice(sorted(self.sent))
        return by_resp("%s-%d" % (self.name, n), "box", self.name, "post", to, n, to=to, n=n)

    def acknowledged(self, o, answer):
        if answer != o.n:
            raise Fail("%s: post %d answered %r" % (self.name, o.n, answer))
        self.posted, self.sum, self.squares = self.posted + 1, self.sum + o.n, (self.squares + o.n * o.n) % PRIME
        sent = self.sent[o.to]
        sent[0], sent[1], sent[2] = o.n, sent[1] + 1, sent[2] + o.n


class Asks(HttpClient):
    """Deferred answers of a gate that nobody else asks: 1, 2, 3 ..."""
    asked = 0

    def make(self, n):
        return by_http("%s-%d" % (self.name, n), "/box/%s/ask" % self.name, ["gate-of-" + self.name])

    def acknowledged(self, o, answer):
        self.asked += 1
        if answer != self.asked:
            raise Fail("%s: the answer %r, wanted %d" % (self.name, answer, self.asked))


class Prices(HttpClient):
    """Events of a stream kept as latest, some at a time."""
    BATCH, ITEMS = 5, 200

    def __init__(self, world, name, rate):
        super().__init__(world, name, rate)
        self.seen, self.price = {}, {}

    def make(self, n):
        events = [{"item": "i%d" % self.choose.randrange(self.ITEMS), "price": n * self.BATCH + i} for i in range(self.BATCH)]
        return by_http("%s-%d" % (self.name, n), "/streams/prices", events, events=events)

    def acknowledged(self, o, answer):
        if answer["count"] != self.BATCH:
            raise Fail("%s: %r" % (self.name, answer))
        for event in o.events:
            self.seen[event["item"]] = self.seen.get(event["item"], 0) + 1
            self.price[event["item"]] = event["price"]


class Ticks(HttpClient):
    """Lines with a time of their own, up to a second and a half ago: some are late."""
    BATCH, NAMES = 4, 8

    def __init__(self, world, name, rate):
        super().__init__(world, name, rate)
        self.counted, self.total = {}, {}

    def make(self, n):
        now = int(time.time() * 1000)
        events = [{"who": "w%d" % self.choose.randrange(self.NAMES), "n": n, "at": now - self.choose.randrange(1500)} for _ in range(self.BATCH)]
        return by_http("%s-%d" % (self.name, n), "/streams/ticks", "".join(json.dumps(e) + "\n" for e in events), "application/x-ndjson", events=events)

    def acknowledged(self, o, answer):
        if answer["count"] != self.BATCH:
            raise Fail("%s: %r" % (self.name, answer))
        for event in o.events:
            self.counted[event["who"]] = self.counted.get(event["who"], 0) + 1
            self.total[event["who"]] = self.total.get(event["who"], 0) + event["n"]


class Trades(RespClient):
    """Both sides of a join."""
    n = sum = squares = 0

    def make(self, n):
        return by_resp("%s-%d" % (self.name, n), "trader", self.name, "trade", n, n=n)

    def acknowledged(self, o, answer):
        if answer != o.n:
            raise Fail("%s: trade %d answered %r" % (self.name, o.n, answer))
        self.n, self.sum, self.squares = self.n + 1, self.sum + o.n, (self.squares + o.n * o.n) % PRIME


# ---- readers ----

class Reader(Actor):
    """Reads until it has what the clients made, once they have ended."""

    def __init__(self, world, name):
        super().__init__(world, name)
        self.read = self.again = 0
        self.ended = False

    def work(self):
        while not self.ended and not self.world.failure:
            if not self.world.wait_up():
                return
            try:
                self.session()
            except GONE:
                self.again += 1
                time.sleep(0.02)    # before the next try

    def refused(self, answer):
        if answer.code not in AGAIN:
            raise Fail("%s: %r" % (self.name, answer))
        raise ConnectionError("again")


def number(text):
    epoch, _, n = text.partition("-")
    return int(epoch), int(n)


class XRead(Reader):
    """All of `moved`, in order: each account's events are numbered without a gap."""

    def __init__(self, world, name, accounts):
        super().__init__(world, name)
        self.at, self.last, self.sum = "0-0", [0] * accounts, [0] * accounts

    def session(self):
        connection = Resp(self.world.server.resp, timeout=20)
        try:
            while not self.ended and not self.world.failure:
                answer = connection.ask("XREAD", "COUNT", "500", "BLOCK", "200", "STREAMS", "moved", self.at)
                if isinstance(answer, RespError):
                    self.refused(answer)
                for ident, fields in answer[0][1] if answer else ():
                    self.event(ident, dict(zip(fields[::2], fields[1::2])))
        finally:
            connection.close()

    def event(self, ident, fields):
        place, n = int(fields["account"][1:]), int(fields["n"])
        if n != self.last[place] + 1 or number(ident) <= number(self.at):
            raise Fail("%s: event %d of %s after %d; id %s after %s" % (self.name, n, fields["account"], self.last[place], ident, self.at))
        self.at, self.last[place] = ident, n
        self.sum[place] += int(fields["amount"])
        self.read += 1


class Seen:
    """Which of 1, 2, 3 ... were seen: up to where all of them, and those above."""

    def __init__(self):
        self.low, self.above = 0, set()

    def add(self, n):
        """False when it was seen before."""
        if n <= self.low or n in self.above:
            return False
        self.above.add(n)
        while self.low + 1 in self.above:
            self.low += 1
            self.above.remove(self.low)
        return True


class ServerSent(Reader):
    """The results of the join, as server-sent events: each once."""

    def __init__(self, world, name):
        super().__init__(world, name)
        self.at, self.seen = None, {}

    def session(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.world.server.http, timeout=1)
        try:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self.at} if self.at else {})}
            connection.request("GET", "/streams/pairs?from=oldest", headers=headers)
            reply = connection.getresponse()
            if reply.status != 200:
                if reply.status not in AGAIN_HTTP:
                    raise Fail("%s: %d %s" % (self.name, reply.status, reply.read(300)))
                raise ConnectionError("again")
            ident = None
            while not self.ended and not self.world.failure:
                line = reply.readline()    # a second without any: a new connection, behind the last
                if not line:
                    raise ConnectionError("the end")
                if line.startswith(b"id:"):
                    ident = line[3:].strip().decode()
                elif line.startswith(b"data:"):
                    event = json.loads(line[5:])["event"]
                    if not self.seen.setdefault(event["trader"], Seen()).add(event["n"]):
                        raise Fail("%s: %s of %s came twice" % (self.name, event["n"], event["trader"]))
                    self.at = ident
                    self.read += 1
        finally:
            connection.close()


class Group:
    """What the consumers of a group have acknowledged, of each account."""

    def __init__(self, world, accounts):
        self.world, self.seen = world, [Seen() for _ in range(accounts)]
        self.sum, self.read = [0] * accounts, 0

    def take(self, fields):
        place = int(fields["account"][1:])
        with self.world.lock:
            if self.seen[place].add(int(fields["n"])):
                self.sum[place] += int(fields["amount"])
                self.read += 1


class Consumer(Reader):
    """Of the group: at least once, and each acknowledged."""

    def __init__(self, world, name, group):
        super().__init__(world, name)
        self.group = group

    def session(self):
        connection = Resp(self.world.server.resp, timeout=20)
        try:
            at = "0"    # what it had when the last connection went
            while not self.ended and not self.world.failure:
                answer = connection.ask("XREADGROUP", "GROUP", "g", self.name, "COUNT", "200", "BLOCK", "200", "STREAMS", "moved", at)
                if isinstance(answer, RespError):
                    self.refused(answer)
                entries = answer[0][1] if answer else []
                if not entries:
                    at = ">"
                    continue
                for ident, fields in entries:
                    if fields is None:
                        raise Fail("%s: event %s was retired before it was acknowledged" % (self.name, ident))
                    self.group.take(dict(zip(fields[::2], fields[1::2])))
                    self.read += 1
                answer = connection.ask("XACK", "moved", "g", *[ident for ident, _ in entries])
                if isinstance(answer, RespError):
                    self.refused(answer)
        finally:
            connection.close()
