#!/usr/bin/env python3
"""Restate's server, its service in Node, and clients in a closed loop: HTTP/1.1, connections kept. One line of JSON at the end.

Called by ../run.py, as root in a network namespace of its own, whose loopback --loopback brings up. Each client is a thread with one request under way.
SPDX-License-Identifier: MIT
"""
import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from common import INITIAL, Failed, Server, Span, free_port    # pylint: disable=wrong-import-position

# Tuned for it: few partitions on few cores, no journals kept, nothing said that is no warning.
CONFIG = """
default-num-partitions = 4
default-journal-retention = "0s"
log-filter = "warn"
disable-telemetry = true
listen-mode = "tcp"
base-dir = "%(folder)s/data"
bind-address = "127.0.0.1:%(node)d"
advertised-address = "http://127.0.0.1:%(node)d/"
[admin]
bind-address = "127.0.0.1:%(admin)d"
advertised-admin-endpoint = "http://127.0.0.1:%(admin)d/"
disable-web-ui = true
[ingress]
bind-address = "127.0.0.1:%(ingress)d"
advertised-ingress-endpoint = "http://127.0.0.1:%(ingress)d/"
"""


def post(connection, path, value=None):
    connection.request("POST", path, json.dumps(value) if value is not None else None, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise Failed("%s: %d %s" % (path, answer.status, text[:200]))
    return json.loads(text) if text else None


class Clients:
    """Threads, each with a connection; `work(connection, number)` until it returns False."""

    def __init__(self, count, port):
        self.count, self.port, self.error = count, port, None
        self.threads = []

    def start(self, work):
        def loop(number):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                while self.error is None and work(connection, number):
                    continue
                connection.close()
            except (Failed, OSError, http.client.HTTPException, ValueError) as error:
                self.error = "%s: %s" % (type(error).__name__, error)
        self.threads = [threading.Thread(target=loop, args=(number,)) for number in range(self.count)]
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join()
        if self.error:
            raise Failed(self.error)


def measure(options, port, pid):
    drawn = [random.Random(options.seed * 1000003 + n) for n in range(options.clients)]
    done, going = [], threading.Event()    # (when, microseconds)
    going.set()
    clients = Clients(options.clients, port)

    def transfer(connection, number):
        a, b = drawn[number].sample(range(options.keys), 2)
        begin = time.time()
        left = post(connection, "/bank/transfer", {"from": "u%d" % a, "to": "u%d" % b, "amount": 1})
        end = time.time()
        if not isinstance(left, int) or left < 0:
            raise Failed("a transfer was answered %r" % left)
        done.append((end, (end - begin) * 1e6))
        return going.is_set()

    clients.start(transfer)
    time.sleep(options.warmup)
    # The clients are threads of this process, and the servers are its children: theirs is the sum of both.
    span = Span(pid[0], pid[1], options.folder)
    own = time.process_time()
    time.sleep(options.seconds)
    span.end()
    own = time.process_time() - own
    going.clear()
    clients.join()
    servers = sum(b - a for a, b in zip(span.first[:2], span.last[:2]))
    span.first[:2], span.last[:2] = [0, 0], [servers, own * 1e6]
    return span.point([took for when, took in done if span.begin <= when < span.finish])


def count_money(options, port):
    left, found = list(range(options.keys)), []
    clients = Clients(8, port)

    def ask(connection, _):
        try:
            key = left.pop()
        except IndexError:
            return False
        found.append(post(connection, "/account/u%d/balance" % key))
        return True

    clients.start(ask)
    clients.join()
    if sum(found) != options.keys * INITIAL:
        raise Failed("money is lost or made: the accounts hold %d, not %d" % (sum(found), options.keys * INITIAL))
    return "%d accounts hold together %d" % (len(found), sum(found))


def serve(options):
    ports = {name: free_port() for name in ("ingress", "admin", "node", "service")}
    config = os.path.join(options.folder, "restate.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG % {"folder": options.folder, **ports})
    for name in ("server", "service"):
        os.makedirs(os.path.join(options.folder, name), exist_ok=True)
    with Server([options.server, "--config-file", config, "--no-logo"], os.path.join(options.folder, "server")) as server, \
            Server(["node", options.service], os.path.join(options.folder, "service"),
                   {"PEERS_PORT": str(ports["service"]), "PEERS_INITIAL": str(INITIAL), "NODE_ENV": "production",
                    "RESTATE_LOGGING": "WARN"}) as service:
        server.wait_port(ports["ingress"], "restate-server")
        server.wait_port(ports["admin"], "restate-server's admin")
        service.wait_port(ports["service"], "node")
        admin = http.client.HTTPConnection("127.0.0.1", ports["admin"], timeout=60)
        post(admin, "/deployments", {"uri": "http://127.0.0.1:%d" % ports["service"]})
        point = measure(options, ports["ingress"], (server.pid, service.pid))
        return {"holds": True, "what": count_money(options, ports["ingress"]), "point": point}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--server", "--service", "--folder"):
        parser.add_argument(name, required=True)
    for name in ("--clients", "--keys", "--seed"):
        parser.add_argument(name, type=int, required=True)
    for name in ("--seconds", "--warmup"):
        parser.add_argument(name, type=float, required=True)
    parser.add_argument("--loopback", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if options.loopback:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    try:
        print(json.dumps(serve(options)))
    except Failed as failed:
        print("drive.py: %s" % failed, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
