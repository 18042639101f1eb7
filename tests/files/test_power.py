"""T7: power cuts on ext4 and XFS of our own, by FS_IOC_SHUTDOWN: what was not synced is gone, as from a real disk.

A cut without a flush of the journal (NOLOGFLUSH) is the hard one; LOGFLUSH and DEFAULT keep more and are drawn too.
After each: unmount, mount (the file system recovers), start, and everything acknowledged is there and whole.

SPDX-License-Identifier: MIT
"""
import collections
import os
import random
import time

from clients import Clients
from harness import Fail, equal, true
from machine import MIB, SHUT_DEFAULT, SHUT_LOGFLUSH, SHUT_NOLOGFLUSH, Image, Server, pause, tmpfs

OPTIONS = ("--shards", 2, "--limit", "checkpoint_bytes_min=150000")
FLAGS = {SHUT_NOLOGFLUSH: "nologflush", SHUT_LOGFLUSH: "logflush", SHUT_DEFAULT: "default"}


def strike(server, clients, choose, image, flag):
    """Cuts the power at a moment of a drawn kind, and sees the process end."""
    kind = choose.choices(("moment", "checkpoint", "start"), (6, 2, 2))[0]
    if kind == "start":
        server.kill()
        server.spawn()
        pause(choose.uniform(0, 1.5 * server.ready_s))
    else:
        clients.start(server.resp)
        pause(choose.uniform(0, 0.1))
        end = time.monotonic() + 0.5
        while kind == "checkpoint" and not server.files("writing-") and time.monotonic() < end:
            pause(0.0005)
    image.cut(flag)
    # Who writes must find out, answer `unknown`, and go. Before it is ready nobody writes.
    code = None if kind == "start" else server.ended(10)
    server.kill()
    clients.stop()
    if kind != "start" and code != 74:
        raise Fail("exit code %r after the power cut\n%s" % (code, server.trace_text()))
    return kind


def cut(kind, budget, seed, figures):
    choose = random.Random(seed)
    kinds, flags, rows = collections.Counter(), collections.Counter(), 0
    clients = Clients(seed)
    with tmpfs(1024 * MIB) as folder, Image(folder, kind, 96 * MIB) as image:
        with Server(os.path.join(image.path, "d"), *OPTIONS) as server:
            end = time.monotonic() + budget
            while time.monotonic() < end or sum(kinds.values()) < 4:
                flag = choose.choices((SHUT_NOLOGFLUSH, SHUT_LOGFLUSH, SHUT_DEFAULT), (8, 1, 1))[0]
                kinds[strike(server, clients, choose, image, flag)] += 1
                flags[FLAGS[flag]] += 1
                image.unmount()
                image.mount()
                server.start()
                rows += clients.verify(server.resp)
            clients.round(server.resp)
            clients.verify(server.resp)
            equal(server.stop(), 0, "exit code at the end")
    true(clients.total("acknowledged") > 5 * sum(kinds.values()), "only %d acknowledged" % clients.total("acknowledged"))
    figures("%s: %d cuts (%s; %s), %d acknowledged, %d unknown, %d rows looked at, 0 lost, 0 doubled"
            % (kind, sum(kinds.values()), ", ".join("%d %s" % (n, k) for k, n in sorted(kinds.items())),
               ", ".join("%d %s" % (n, k) for k, n in sorted(flags.items())), clients.total("acknowledged"),
               clients.total("unknown"), rows))


def power_cuts_on_ext4_lose_nothing_acknowledged(budget, seed, figures):
    cut("ext4", budget, seed, figures)


def power_cuts_on_xfs_lose_nothing_acknowledged(budget, seed, figures):
    cut("xfs", budget, seed, figures)


ALL = [power_cuts_on_ext4_lose_nothing_acknowledged, power_cuts_on_xfs_lose_nothing_acknowledged]
