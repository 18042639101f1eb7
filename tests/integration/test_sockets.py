"""Many connections at once: read and answered together (io_uring), and one by one where that is forbidden.

SPDX-License-Identifier: MIT
"""
import os
import socket
import struct
import subprocess
import sys

from harness import BANK, Server, Skip, equal, test, true

FORBID = os.path.join(os.path.dirname(os.path.abspath(__file__)), "forbid.py")
IO_URING_SETUP = "425"  # on every processor
CONNECTIONS, WAVES, DEEP = 50, 5, 20
ECHO_BYTES = 300000  # more than a socket takes at once


def polled_by(server):
    info = server.connect().ask("INFO", "server")
    return next(line for line in info.splitlines() if line.startswith("multiplexing_api:"))


def crowd(server):
    clients = [server.connect() for _ in range(CONNECTIONS)]
    for wave in range(WAVES):
        for i, one in enumerate(clients):
            one.send(*[("CALL", "account", "a%d" % i, "deposit", i + 1)] * DEEP)
        for i, one in enumerate(clients):
            answers = [one.read() for _ in range(DEEP)]
            equal(answers, [(i + 1) * (wave * DEEP + k) for k in range(1, DEEP + 1)])
    texts = ["%d " % i * (ECHO_BYTES // len("%d " % i)) for i in range(CONNECTIONS)]
    for one, text in zip(clients, texts):
        one.send(("ECHO", text))
    for one, text in zip(clients, texts):
        true(one.read() == text, "an ECHO came back otherwise")
    # every second one goes without a word, its answers unread
    for one in clients:
        one.send(*[("CALL", "account", "last", "deposit", 1)] * DEEP)
    for one in clients[::2]:
        one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
    for one in clients[1::2]:
        answers = [one.read() for _ in range(DEEP)]
        true(answers == sorted(answers), answers)
        equal(len(set(answers)), DEEP)
    equal(clients[1].row("account", "a7")["balance"], 8 * WAVES * DEEP)


@test
def many_connections_are_read_and_answered_together(folder):
    with Server(BANK, folder.join("d")) as server:
        polled = polled_by(server)
        if polled == "multiplexing_api:epoll":
            raise Skip("the kernel gives no io_uring to a process here")
        equal(polled, "multiplexing_api:epoll, io_uring")
        crowd(server)


@test
def without_io_uring_they_are_answered_alike(folder):
    wrapper = [sys.executable, FORBID, IO_URING_SETUP]
    if subprocess.run([*wrapper, "true"], check=False).returncode == 125:
        raise Skip("this kernel has no filters of calls")
    with Server(BANK, folder.join("d"), wrapper=wrapper) as server:
        equal(polled_by(server), "multiplexing_api:epoll")
        crowd(server)
