"""T9: the disk is full, in six places, on three kinds of disk: the process stays, reads work, writes are refused with
DISKFULL and 507, and within two seconds after room returns they go on. A start while it is full works.

  log write    room that the log's segment had is taken away behind its back (holes punched), or RLIMIT_FSIZE is met
               in its middle
  segment      no room for the next segment
  checkpoint   room for the log but not for a checkpoint
  manifest     room, but no free inode for the manifest; RLIMIT_FSIZE: a stop that cannot write it
  start        the tail of the log cannot be written again after a kill
  trace        stderr goes to a file on the full disk

SPDX-License-Identifier: MIT
"""
import contextlib
import json
import os
import resource
import signal
import threading
import time

from clients import Clients
from harness import Fail, Folder, Resp, RespError, Skip, equal, true
from machine import MIB, Filler, Image, Server, punch_zeros, run, tmpfs, until, want_root

RESUME_S = 2.0


# ---- the three kinds of disk ----

class Space:
    """A file system of our own that a filler fills."""

    def __init__(self, path, kind):
        self.path, self.kind, self.filler = path, kind, Filler(path)
        self.inodes = []

    def fill(self, leave=0):
        self.filler.fill(leave)

    def free(self):
        self.filler.free()
        for name in self.inodes:
            with contextlib.suppress(OSError):
                os.unlink(name)
        self.inodes = []

    def fill_inodes(self, leave):
        """No name more than `leave` can be made."""
        try:
            while len(self.inodes) < 200000:
                name = os.path.join(self.path, "inode-%d" % len(self.inodes))
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
                self.inodes.append(name)
        except OSError:
            pass
        for name in self.inodes[len(self.inodes) - leave:]:
            os.unlink(name)
        self.inodes = self.inodes[:len(self.inodes) - leave]


class Limited:
    """RLIMIT_FSIZE of the process."""
    kind = "limit"

    def __init__(self, path):
        self.path, self.server = path, None

    def limit(self, size):
        resource.prlimit(self.server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def free(self):
        if self.server.alive():
            self.limit(resource.RLIM_INFINITY)


@contextlib.contextmanager
def disk(kind):
    if kind == "limit":
        with Folder() as folder:
            yield Limited(folder.path)
    elif kind == "tmpfs":
        with tmpfs(48 * MIB) as path:
            run("mount", "-o", "remount,nr_inodes=2000", path)
            yield Space(path, kind)
    else:
        with tmpfs(160 * MIB) as folder, Image(folder, "ext4", 64 * MIB) as image:
            yield Space(image.path, kind)


# ---- what must hold ----

def refused(server, clients, seconds=20):
    """Writes until they are refused, then asks by HTTP."""
    end = time.monotonic() + seconds
    connection = Resp(server.resp)
    answer, n = None, 0
    while not (isinstance(answer, RespError) and answer.code == "DISKFULL"):
        if time.monotonic() > end:
            raise Fail("writes are not refused, the last answer: %r" % (answer,))
        words = [("CALL", "item", "filling-%d" % (i % 40), "put", n + i, "f" * 8000) for i in range(16)]
        connection.send(*words)
        answers = []
        with contextlib.suppress(TimeoutError):
            connection.socket.settimeout(1)
            answers = [connection.read() for _ in words]
        if len(answers) < len(words):    # they wait for room: ask on another connection
            connection = Resp(server.resp)
        for found in answers:
            if isinstance(found, RespError):
                answer = found
                true(found.code in ("DISKFULL", "UNKNOWN"), repr(found))
        n += len(words)
        if not answers:
            answer = Resp(server.resp, timeout=20).call("item", "one-more", "put", 1, "x")
    reply = server.post("/item/filling-0/put", [0, "x" * 100])
    equal((reply.status, reply.code), (507, "diskfull"), "a write by HTTP")


def reads_work(server, clients):
    true(server.alive(), "the process went: %s" % server.trace_text())
    clients.verify(server.resp)
    equal(server.get("/item/c0-0").status, 200, "a read by HTTP")
    equal(server.get("/livez").status, 200, "/livez")


def resumed(server, clients):
    """Seconds until a write is taken again."""
    begin = time.monotonic()

    def taken():
        return not isinstance(Resp(server.resp, timeout=5).call("item", "resumed", "put", 1, "x"), RespError)
    until(taken, RESUME_S, "writes go on after room returned")
    took = time.monotonic() - begin
    if took > RESUME_S:
        raise Fail("writes went on after %.2f s" % took)
    acknowledged, _, unknown = clients.round(server.resp)
    equal((acknowledged, unknown), (len(clients.every()), 0), "acknowledged, unknown after room returned")
    clients.verify(server.resp)
    return took


def starts_again(server, clients):
    """While it is full: after a kill."""
    server.kill()
    server.start()
    reads_work(server, clients)


def warm(server, clients, rounds=6):
    for _ in range(rounds):
        acknowledged, _, _ = clients.round(server.resp)
        equal(acknowledged, len(clients.every()), "acknowledged while there is room")
    server.settled()


# ---- the six places ----

def log_write(space, server, clients):
    warm(server, clients)
    path, size, end = server.segment()
    if space.kind == "limit":
        space.limit(end + 1500)
    else:
        os.sync()
        punch_zeros(path, end + 1500)
        space.fill()
    refused(server, clients)
    now, _, tail = server.segment()
    true(now == path and tail + 300000 < size, "the segment had room to its end: %s at %d of %d" % (now, tail, size))
    reads_work(server, clients)
    if space.kind != "limit":
        starts_again(server, clients)
    space.free()


def segment(space, server, clients):
    warm(server, clients)
    if space.kind == "limit":
        space.limit(os.stat(server.segment()[0]).st_size)
    else:
        space.fill()
    refused(server, clients)
    reads_work(server, clients)
    if space.kind != "limit":
        starts_again(server, clients)
        refused(server, clients)
    space.free()


class Again(Exception):
    """The place was not reached; from the start."""


def checkpoint(space, server, clients):
    warm(server, clients)
    connection = Resp(server.resp)

    def write(keys):
        connection.send(*[("CALL", "item", "big-%d" % key, "put", 1, "b" * 60000) for key in keys])
        return [connection.read() for _ in keys]
    for begin in range(0, 48, 16):    # 2.8 MB of rows; the log since the last checkpoint is below the limit
        true(not any(isinstance(answer, RespError) for answer in write(range(begin, begin + 16))), "rows are written")
    server.settled()
    if space.kind == "limit":
        space.limit(max(server.segment()[2] + 1500000, 2000000))
    else:
        space.fill(leave=1 * MIB)
    end, soon = time.monotonic() + 20, time.monotonic() + 1
    while "checkpoint_failed" not in server.trace_text():
        # One may have been made just before the room went, or the next segment met the limit first: then there is no room
        # for the log that a checkpoint waits for.
        if '"event":"disk_full"' in server.trace_text() and ('"event":"checkpoint"' in server.trace_text() or time.monotonic() > soon):
            space.free()
            raise Again("the log was full before a checkpoint")
        if time.monotonic() > end:
            raise Fail("no checkpoint failed\n" + server.trace_text())
        for answer in write(range(4)):    # UNKNOWN: what was under way as the log met the limit
            true(not isinstance(answer, RespError) or answer.code in ("DISKFULL", "UNKNOWN"), repr(answer))
    reads_work(server, clients)
    equal(server.files("writing-"), [], "what is left of the checkpoint")
    if space.kind != "limit":
        starts_again(server, clients)
    space.free()


def manifest(space, server, clients):
    warm(server, clients)
    if space.kind == "limit":
        space.limit(50)
        equal(server.stop(), 0, "exit code of a stop that cannot write the manifest")
        server.start()
        space.server = server
        return
    space.fill_inodes(leave=1)
    refused(server, clients)
    reads_work(server, clients)
    equal(len(server.files("log-")) <= 2, True, "segments that no manifest names")
    space.free()


def start(space, server, clients):
    warm(server, clients, 12)
    end = server.segment()[2]
    server.kill()
    if space.kind == "limit":
        server.wrapper = ["prlimit", "--fsize=%d:unlimited" % (end + 4096)]
    else:
        space.fill()
    for _ in range(3):
        server.start()
        reads_work(server, clients)
        server.kill()
        if space.kind != "limit":
            space.fill()
    server.start()
    reads_work(server, clients)
    refused(server, clients)
    reads_work(server, clients)
    server.wrapper = []
    space.free()


def trace(space, server, clients):
    warm(server, clients)
    if space.kind == "limit":
        # Behind the limit already: what is appended finds no room. The data directory's files lie below it.
        os.truncate(server.given, 65 * MIB)
        server.wrapper = ["prlimit", "--fsize=%d:unlimited" % (64 * MIB)]
        server.kill()
        before = os.stat(server.given).st_size
        server.start()
        reads_work(server, clients)
        clients.round(server.resp)
        equal(os.stat(server.given).st_size, before, "bytes of the trace")
    else:
        space.fill()
        starts_again(server, clients)
        space.free()
        resumed(server, clients)
        server.settled()
        space.fill()
        with open(server.given, "ab", buffering=0) as file, contextlib.suppress(OSError):    # its last block is full too
            block = os.statvfs(server.given).f_bsize
            while file.write(b"\n" * (-os.fstat(file.fileno()).st_size % block or block)):
                continue
        before = os.stat(server.given).st_size
        refused(server, clients)    # an event, and no room to tell it
        equal(os.stat(server.given).st_size, before, "bytes of the trace")
        reads_work(server, clients)
    server.wrapper = []
    space.free()
    if space.kind == "limit":
        os.truncate(server.given, 0)


TRIES = 12    # about one in three is not reached
PLACES = [log_write, segment, checkpoint, manifest, start, trace]


def full(place, kind, seed):
    options = ["--shards", 2, "--log-format", "json"]
    if place is checkpoint:
        options += ["--limit", "checkpoint_bytes_min=3500000"]
    with disk(kind) as space:
        given = os.path.join(space.path, "trace") if place is trace else None
        with Server(os.path.join(space.path, "d"), *options, trace=given) as server:
            space.server = server
            clients = Clients(seed, size=1200)
            place(space, server, clients)
            took = resumed(server, clients)
            equal(server.stop(), 0, "exit code at the end")
            if place is trace:
                true("trace_dropped" in server.trace_text(), "lines were dropped and not counted: " + server.trace_text())
            server.start()
            equal(server.report["clean"], True, "a clean stop")
            clients.verify(server.resp)
            return took


def full_disk(kind):
    def claim(budget, seed, figures):
        if kind != "limit":
            want_root()
        end, done, slowest, times = time.monotonic() + budget, 0, 0, {}
        while done == 0 or time.monotonic() < end:
            for place in PLACES:
                begin = time.monotonic()
                try:
                    for again in range(TRIES):
                        try:
                            slowest = max(slowest, full(place, kind, seed + done))
                            break
                        except Again as why:
                            if again == TRIES - 1:
                                raise Fail("not reached in %d tries: %s" % (TRIES, why)) from why
                except (Fail, OSError) as error:
                    raise Fail("%s: %s" % (place.__name__, error)) from error
                times.setdefault(place.__name__, time.monotonic() - begin)
            done += 1
        figures("%s: %d times in %d places, no exit, writes went on after at most %.2f s" % (kind, done, len(PLACES), slowest))
        figures(", ".join("%s %.1f s" % item for item in times.items()))
    claim.__name__ = "full_%s_stops_writes_only" % kind
    return claim


ALL = [full_disk("tmpfs"), full_disk("ext4"), full_disk("limit")]
