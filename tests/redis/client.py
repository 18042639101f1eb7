"""A stock Redis client library (redis-py) produces into and consumes from a running server; run.py starts it.

    client.py PORT

SPDX-License-Identifier: MIT
"""
import sys

import redis


def consume(client, name, consumer, wanted):
    """Reads and acknowledges as an ordinary worker until the group has nothing new; the events."""
    got = []
    while len(got) < wanted:
        answer = client.xreadgroup(name, consumer, {"moved": ">"}, count=64, block=50)
        if not answer:
            break
        for _, entries in answer:
            got += [(event, int(fields["amount"])) for event, fields in entries]
            assert client.xack("moved", name, *[event for event, _ in entries]) == len(entries)
    return got


def main():
    port = int(sys.argv[1])
    client = redis.Redis(port=port, decode_responses=True)
    pipe = client.pipeline(transaction=False)
    for n in range(500):
        pipe.xadd("moved", {"account": "a%d" % (n % 7), "amount": n})
    ids = pipe.execute()
    assert len(set(ids)) == 500
    assert client.xlen("moved") == 500
    whole = client.xrange("moved")
    assert [event for event, _ in whole] == sorted(ids, key=lambda i: tuple(map(int, i.split("-"))))
    assert client.xrevrange("moved", count=1)[0][0] == whole[-1][0]
    for account in range(7):  # in order for each key
        amounts = [int(f["amount"]) for _, f in whole if f["account"] == "a%d" % account]
        assert amounts == list(range(account, 500, 7)), amounts
    at, read = "0", []
    while True:
        answer = client.xread({"moved": at}, count=100)
        if not answer:
            break
        read += answer[0][1]
        at = read[-1][0]
    assert read == whole
    assert client.xgroup_create("moved", "py", id="0", mkstream=True)
    try:
        client.xgroup_create("moved", "py", id="0")
        raise AssertionError("a second group of that name")
    except redis.ResponseError as error:
        assert "BUSYGROUP" in str(error), error
    (_, first), = client.xreadgroup("py", "lost", {"moved": ">"}, count=10)
    assert client.xpending("moved", "py")["pending"] == 10
    pending = client.xpending_range("moved", "py", "-", "+", 100, consumername="lost")
    assert [p["message_id"] for p in pending] == [event for event, _ in first]
    claimed = client.xclaim("moved", "py", "one", 0, [event for event, _ in first[:5]])
    assert claimed == first[:5], claimed
    answer = client.xautoclaim("moved", "py", "two", 0, start_id="0-0", count=100)
    assert answer[1] == first, answer
    got = consume(client, "py", "one", 245) + consume(client, "py", "two", 245)
    assert sorted(amount for _, amount in got) == sorted(int(f["amount"]) for _, f in whole[10:])
    assert client.xack("moved", "py", *[event for event, _ in first]) == 10
    assert client.xpending("moved", "py")["pending"] == 0
    assert client.xinfo_stream("moved")["length"] == 500
    group, = client.xinfo_groups("moved")
    assert (group["name"], group["pending"], group["consumers"], group["lag"]) == ("py", 0, 3, 0), group
    assert {c["name"] for c in client.xinfo_consumers("moved", "py")} == {"lost", "one", "two"}
    assert client.xgroup_delconsumer("moved", "py", "lost") == 0
    assert client.xgroup_setid("moved", "py", "0")
    assert len(consume(client, "py", "one", 500)) == 500
    assert client.xgroup_destroy("moved", "py") == 1
    print("redis-py %s: 500 events" % redis.__version__)


if __name__ == "__main__":
    main()
