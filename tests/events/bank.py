#!/usr/bin/env python3
"""A bank that fails at random: POST /charges { amount, reference } with an Idempotency-Key.

    tests/events/bank.py --book FILE [--port N | --socket FD] [--fail 0.3] [--seed N]
                         [--authorization TEXT]

What it decides is in the book, synced, before it answers; a key that is in the book gets the answer of the first time.
Amounts that end in 3 are refused (402), others charged (201). It fails before deciding (503), after it (the connection
is closed without an answer), and may be killed at any moment. Try examples/payments.lua with it.

SPDX-License-Identifier: MIT
"""
import argparse
import http.server
import json
import os
import random
import socket
import threading


class Book:
    def __init__(self, path):
        self.lock, self.entries = threading.Lock(), {}
        self.file = open(path, "ab+")
        self.file.seek(0)
        whole = 0
        for line in self.file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            entry = json.loads(line)
            self.entries[entry["key"]] = entry
        self.file.truncate(whole)    # a kill may leave half a line: it was never answered
        self.file.seek(0, os.SEEK_END)

    def decide(self, key, body):
        with self.lock:
            if key not in self.entries:
                status = 402 if body["amount"] % 10 == 3 else 201
                entry = {"key": key, "reference": body["reference"], "amount": body["amount"], "status": status,
                         "id": "c%d" % len(self.entries)}
                self.file.write(json.dumps(entry).encode() + b"\n")
                self.file.flush()
                os.fsync(self.file.fileno())
                self.entries[key] = entry
            return self.entries[key]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.authorization not in (None, self.headers["Authorization"]):
            return self.answer(401, {})
        with self.server.dice_lock:
            dice = self.server.dice.random() / (self.server.fail or 1e-9)
        if dice < 0.5:
            return self.answer(503, {})
        entry = self.server.book.decide(self.headers["Idempotency-Key"], body)
        if dice < 1:
            self.close_connection = True
            return None
        return self.answer(entry["status"], {"id": entry["id"]})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass    # clients may go at any moment


def main():
    parser = argparse.ArgumentParser(description="A bank that fails at random.")
    parser.add_argument("--book", required=True, help="the file of what was decided")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--socket", type=int, help="a listening socket that was inherited")
    parser.add_argument("--fail", type=float, default=0.3, help="share of requests that fail")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--authorization", help="what the header of that name must be")
    options = parser.parse_args()
    server = Server(("127.0.0.1", options.port), Handler, bind_and_activate=options.socket is None)
    if options.socket is not None:
        server.socket.close()
        server.socket = socket.socket(fileno=options.socket)
    server.book, server.fail = Book(options.book), options.fail
    server.authorization = options.authorization
    server.dice, server.dice_lock = random.Random(options.seed), threading.Lock()
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
