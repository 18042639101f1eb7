"""A service that misbehaves on request, for the tests of outside calls.

SPDX-License-Identifier: MIT
"""
import asyncio
import collections
import email.utils
import socket
import ssl
import threading
import time


class Service:
    """HTTP/1.1 at a free port of 127.0.0.1, on a thread of its own. The path says how to behave; what a path
    does `first` it does to the first request of each id only, and answers the next ones."""

    def __init__(self, certificate=None, listen=True):
        self.seen = []  # (time, method, path, headers, body) in order
        self.ids = collections.Counter()
        self.effects = collections.Counter()
        self.connections = self.at_once = self.most_at_once = 0
        self.held = asyncio.Event()
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.tls = certificate is not None
        self.context = None
        if self.tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        if listen:
            self.listen()

    def listen(self):
        """Until then connections are refused."""
        start = asyncio.start_server(self.serve, sock=self.socket, ssl=self.context, backlog=1024)
        self.server = asyncio.run_coroutine_threadsafe(start, self.loop).result(30)

    def url(self, host="127.0.0.1"):
        return "%s://%s:%d" % ("https" if self.tls else "http", host, self.port)

    def let_go(self):
        """Ends every /hold."""
        self.loop.call_soon_threadsafe(self.held.set)

    def close(self):
        async def end():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()
        self.socket.close()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while await self.request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def request(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = dict(line.lower().split(": ", 1) if ": " in line else (line.lower().rstrip(":"), "")
                       for line in head[1:-2])
        raw = dict(line.split(": ", 1) for line in head[1:-2] if ": " in line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        name = headers.get("idempotency-key", "")
        self.ids[name] += 1
        self.seen.append((time.monotonic(), method, path, raw, body))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self.answer(writer, method, path.split("?")[0].split("/")[1:], name, body)
        finally:
            self.at_once -= 1

    async def reply(self, writer, status, body=b"{}", headers=()):
        lines = ["HTTP/1.1 %d Word" % status, "Content-Length: %d" % len(body), "Content-Type: application/json"]
        writer.write(("\r\n".join(lines + list(headers)) + "\r\n\r\n").encode() + body)
        await writer.drain()
        return True

    async def answer(self, writer, method, words, name, body):
        word, rest = words[0], words[1:]
        first = self.ids[name] == 1
        if word == "load":
            self.effects[name] += 1
            return await self.reply(writer, 200, body)
        if word == "status":
            return await self.reply(writer, int(rest[0]), b"" if rest[0] == "204" else b'{"status":%s}' % rest[0].encode())
        if word == "flaky":  # that status as often
            if self.ids[name] <= int(rest[1]):
                return await self.reply(writer, int(rest[0]))
        elif word == "wait" and first:
            when = {"seconds": "1", "date": email.utils.formatdate(time.time() + 3, usegmt=True)}[rest[1]]
            return await self.reply(writer, int(rest[0]), headers=["Retry-After: " + when])
        elif word == "cut" and first:  # the effect, but no answer
            self.effects[name] += 1
            return False
        elif word == "half" and first:
            self.effects[name] += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
            await writer.drain()
            return False
        elif word == "garbage" and first:
            writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
            await writer.drain()
            return False
        elif word == "hold" and (first or rest == ["always"]):
            await self.held.wait()
        elif word == "big":
            writer.write(b"HTTP/1.1 200 OK\r\n" + (b"" if rest[1:] else b"Content-Length: %s\r\n" % rest[0].encode()) +
                         b"\r\n")
            for _ in range(int(rest[0]) // 1000):
                writer.write(b"x" * 1000)
                await writer.drain()
            return False
        elif word == "headers" and first:
            return await self.reply(writer, 200, headers=["X-%d: %s" % (n, "y" * 1000) for n in range(100)])
        elif word == "chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            await writer.drain()
            return True
        elif word == "moved":
            return await self.reply(writer, 308, headers=["Location: " + "/" + "/".join(rest)])
        self.effects[name] = self.effects[name] or 1
        return await self.reply(writer, 200, b"" if method == "HEAD" else b'{"ok":true}')
