"""A server that is killed again and again.

SPDX-License-Identifier: MIT
"""
import http.client
import threading


class Killer:
    """Kills the server and starts it again, at moments that are drawn; requests meanwhile are sent again."""

    def __init__(self, server, draw, pause, started=None):
        """`pause`: seconds between two kills, at most; `started()` is called after each start."""
        self.server, self.draw, self.pause, self.started = server, draw, pause, started
        self.up, self.over, self.asked, self.kills = threading.Event(), threading.Event(), threading.Event(), 0
        self.reason = None
        self.up.set()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while True:
                self.asked.wait(self.draw.uniform(self.pause / 2, self.pause))
                if self.over.is_set():
                    return
                self.asked.clear()
                self.up.clear()
                self.server.kill()
                self.kills += 1
                self.server.start()
                if self.started:
                    self.started()
                self.up.set()
        except BaseException as reason:
            self.reason = reason
            self.up.set()

    def once(self):
        """One kill now, beside what goes on: a fast machine may be done before the first is drawn."""
        self.asked.set()

    def request(self, *words):
        """Until it is answered by a server that lives."""
        while True:
            self.up.wait()
            if self.reason:
                raise self.reason
            try:
                reply = self.server.request(*words)
            except (OSError, http.client.HTTPException):
                continue
            if reply.status not in (502, 503):
                return reply

    def end(self):
        self.over.set()
        self.asked.set()
        self.thread.join()
        if self.reason:
            raise self.reason
