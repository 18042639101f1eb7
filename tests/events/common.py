"""What the parts share: sending in order over kills, waiting for a condition.

SPDX-License-Identifier: MIT
"""
import time

from harness import Fail, RespError

PATIENT = ("--limit", "queue_wait_max_ms=600000", "--limit", "request_deadline_ms=600000")


def until(condition, what, seconds=60):
    """Looks until condition() gives something true, which is the result."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Fail("after %d s still not: %s" % (seconds, what() if callable(what) else what))
        time.sleep(0.01)    # between two looks


def send_through(server, commands, kill_at, window=40):
    """Sends commands in order over one connection, each with an id of its own (CALL.ONCE), so that what a kill left open
    is sent again. Kills the server when so many were acknowledged, with a window of others under way. The answers."""
    answers, kills, connection = [], sorted(kill_at), server.connect()
    while len(answers) < len(commands):
        at = len(answers)
        connection.send(*commands[at:at + window])
        try:
            for _ in commands[at:at + window]:
                answer = connection.read()
                if isinstance(answer, RespError):
                    raise Fail("%r: %r" % (commands[len(answers)], answer))
                answers.append(answer)
                if kills and len(answers) >= kills[0]:
                    kills.pop(0)
                    raise ConnectionError("killed")
        except ConnectionError:
            server.kill()
            connection.close()
            server.start()
            connection = server.connect()
    connection.close()
    return answers


def parked(server):
    """What waits for a person; None when this build has no door to it."""
    reply = server.get("/parked?limit=1000")
    return reply.json["parked"] if reply.status == 200 else None
