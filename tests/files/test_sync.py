"""T8: a sync of the log that really fails: the image of a file system lies on a tmpfs without room.

Zeros of the image are given back and the tmpfs is filled, so a block that the log takes into use cannot be kept: each request
one page, see `honest` in machine.py.

Through the page cache (ext4 with data=journal knows no other way) fdatasync fails; tried again it would answer 0 and lie
("Can Applications Recover from fsync Failures?", ATC 2020). So: exit code 74 within a second of the failure, no
acknowledgement for that epoch, `unknown` for all who wait, and after the repair everything acknowledged is there.

Past it the write itself is told: where it is for want of room and nothing of the frame is there, the server waits for room and
refuses meanwhile; else it ends with 74, too.

SPDX-License-Identifier: MIT
"""
import contextlib
import datetime
import http.client
import json
import os
import threading
import time

from clients import Clients
from harness import Fail, equal, true
from machine import MIB, SHUT_NOLOGFLUSH, Filler, Image, Server, pause, tmpfs

OPTIONS = ("--shards", 2, "--log-format", "json")
WAITING_S = 0.02    # who sent that long before the failure was surely waiting
OUTER = {"ext4": 96 * MIB, "xfs": 112 * MIB, "btrfs": 128 * MIB}


class Poster:
    """One HTTP client that posts until it is refused or cut off."""

    def __init__(self, port):
        self.port, self.last, self.answers = port, None, 0
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            while True:
                self.last = None
                connection.request("POST", "/item/web/put", json.dumps([1, "x" * 3000]))
                answer = connection.getresponse()
                text = answer.read().decode()
                self.last = (answer.status, text)
                if answer.status != 200:
                    return
                self.answers += 1
        except OSError:
            pass
        finally:
            connection.close()


def failed_at(text):
    """When the newest failure was, by the trace."""
    found = [line for line in text.splitlines() if "log_failed" in line]
    true(found, "no failure in the trace: " + text)
    when = json.loads(found[-1])["time"].replace("Z", "+00:00")
    return datetime.datetime.fromisoformat(when).timestamp()


def write_without_room(image, filler, server, clients):
    """From now on clients write, and a block that the log takes into use cannot be kept."""
    clients.round(server.resp)
    server.settled()
    os.sync()
    image.punch()
    filler.fill()
    clients.start(server.resp)


@contextlib.contextmanager
def world(kind, seed, options=""):
    """(image, filler, server, clients): a server on a file system whose image lies on a tmpfs."""
    with tmpfs(OUTER[kind]) as folder:
        filler, clients = Filler(folder), Clients(seed)
        with Image(folder, kind, OUTER[kind] * 2, honest=True, options=options) as image, \
                Server(os.path.join(image.path, "d"), *OPTIONS) as server:
            yield image, filler, server, clients
            equal(server.stop(), 0, "exit code at the end")


def start_again(image, server, clients):
    """On what the disk got."""
    image.unmount()
    image.mount()
    server.start()
    clients.verify(server.resp)


def fail_sync(image, filler, server, clients):
    """Writes until a sync fails. Seconds from there to the exit."""
    write_without_room(image, filler, server, clients)
    poster = Poster(server.http)
    code = server.ended(30)
    ended = time.time()
    if code is None:
        raise Fail("no sync failed in 30 s")
    clients.stop()
    poster.thread.join(30)
    equal(code, 74, "exit code\n" + server.trace_text())
    failed = failed_at(server.trace_text())
    true(clients.first_unknown, "nobody was told `unknown`")
    waited = [failed - sent for sent in clients.cut_off if sent < failed - WAITING_S]
    equal(waited, [], "requests that waited for the sync and were cut off without an answer")
    # 507: a segment made ahead met the lack of room first, and refused it before it ran. 503: it came after the failure.
    true(poster.last is None or poster.last[0] in (504, 507, 503, 200), poster.last)
    if poster.last and poster.last[0] == 504:
        true(json.loads(poster.last[1])["code"] in ("unknown", "outcome_unknown"), poster.last)
    slow = ended - failed
    true(slow <= 1, "the process went %.2f s after the failure" % slow)
    return slow, poster.last is not None and poster.last[0] == 504


def failed_sync_ends_ext4_with_74(budget, seed, figures):
    rounds, slowest, posts, again = 0, 0, 0, 0
    end = time.monotonic() + budget
    with world("ext4", seed, ",data=journal") as (image, filler, server, clients):
        while rounds == 0 or time.monotonic() < end:
            slow, posted = fail_sync(image, filler, server, clients)
            true("sync of log-" in server.trace_text(), "not the sync failed: " + server.trace_text())
            slowest, posts, rounds = max(slowest, slow), posts + posted, rounds + 1
            filler.free()
            # Where the file system goes on, its cache shows what the disk never got: the start must not believe it.
            if writable(image.path):
                server.start()
                clients.verify(server.resp)
                again += 1
                image.cut(SHUT_NOLOGFLUSH)
                server.kill()
            start_again(image, server, clients)
    true(clients.total("acknowledged") > 0, "nothing was acknowledged")
    figures("ext4: %d failed syncs, exit 74 after at most %.2f s, %d unknown (%d by HTTP), %d acknowledged and there; "
            "%d starts on the cache of the failed sync" % (rounds, slowest, clients.total("unknown"), posts,
                                                           clients.total("acknowledged"), again))


def writable(path):
    try:
        name = os.path.join(path, "probe")
        with open(name, "wb") as file:
            file.write(b"x")
            os.fsync(file.fileno())
        os.unlink(name)
        return True
    except OSError:
        return False


def fail_write(image, filler, server, clients):
    """Writes until a write of the log is refused; then there is room again. Whether the server went on."""
    write_without_room(image, filler, server, clients)
    end = time.monotonic() + 30
    while server.alive() and "disk_full" not in server.trace_text():
        true(time.monotonic() < end, "no write failed in 30 s, %d acknowledged\n%s" % (clients.total("acknowledged"), server.trace_text()))
        pause(0.01)
    filler.free()
    acknowledged = clients.total("acknowledged")
    while server.alive() and clients.total("acknowledged") < acknowledged + 20:
        true(time.monotonic() < end + 30, "room again, and nothing is written: " + server.trace_text())
        pause(0.01)
    clients.stop()
    if not server.alive():
        equal(server.ended(30), 74, "exit code\n" + server.trace_text())
        true("write of log-" in server.trace_text() or "sync of log-" in server.trace_text(), server.trace_text())
        return False
    clients.verify(server.resp)
    server.kill()
    return True


def write_failure(kind, budget, seed, figures):
    rounds = on = 0
    end = time.monotonic() + budget
    with world(kind, seed) as (image, filler, server, clients):
        while rounds == 0 or time.monotonic() < end:
            on += fail_write(image, filler, server, clients)
            rounds += 1
            start_again(image, server, clients)
    figures("%s: %d writes without room, %d waited out, %d ends with 74, %d acknowledged and there" %
            (kind, rounds, on, rounds - on, clients.total("acknowledged")))


def failed_write_loses_nothing_on_ext4(budget, seed, figures):
    write_failure("ext4", budget, seed, figures)


def failed_write_loses_nothing_on_xfs(budget, seed, figures):
    write_failure("xfs", budget, seed, figures)


def failed_write_loses_nothing_on_btrfs(budget, seed, figures):
    write_failure("btrfs", budget, seed, figures)


ALL = [failed_sync_ends_ext4_with_74, failed_write_loses_nothing_on_ext4, failed_write_loses_nothing_on_xfs,
       failed_write_loses_nothing_on_btrfs]
