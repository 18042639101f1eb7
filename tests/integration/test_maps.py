"""Maps of entities: each step of a walk is what a list changed in the same way says, also while the transaction and others change rows.

SPDX-License-Identifier: MIT
"""
import os
import random
import urllib.parse

from harness import ROOT, RespError, Server, compile_c, equal, sanitizers, test, true

MAPS = os.path.join(ROOT, "tests", "integration", "maps.lua")


@test
def walks_meet_each_row_once_in_order_whatever_changes_meanwhile(folder):
    seed = int(os.environ.get("MAPS_SEED", random.randrange(1 << 30)))
    where = "MAPS_SEED=%d tests/integration/run.py --only walks_meet" % seed
    with Server(MAPS, folder.join("d"), "--shards", 2, "--threads", 1) as server:
        connection = server.connect()
        judged = 0
        for turn in range(12):
            # 32 at a time on 8 boxes over two shards: walks wait for calls while others commit
            calls = [("CALL", "box", "b%d" % (n % 8), "walk", seed + 1000 * turn + n, 12, "true" if n % 2 else "false") for n in range(32)]
            connection.send(*calls)
            for call in calls:
                answer = connection.read()
                true(isinstance(answer, int), "%s: %s: %r" % (where, call, answer))
                judged += answer
        true(judged > 5000, "%s: only %d steps were judged" % (where, judged))
        equal(server.stop(), 0)


@test
def a_query_asked_by_its_own_entity_sees_what_is_changed_so_far(folder):
    with Server(MAPS, folder.join("d")) as server:
        connection = server.connect()
        equal(connection.call("box", "a", "sum_within", 5), [0, 6])
        equal(connection.call("box", "a", "sum_within", 5), [6, 12])
        equal(connection.call("box", "a", "sum"), 12)


def module(folder):
    so = folder.join("maps.so")
    compile_c(["-std=gnu17", "-shared", "-fPIC", "-Iinclude", *sanitizers(), "tests/integration/maps_module.c", "-o", so], "a module")
    return so


@test
def so_does_one_in_c_and_what_it_changes_itself_is_refused(folder):
    with Server(module(folder), folder.join("d")) as server:
        connection = server.connect()
        for k in range(1, 5):
            equal(connection.call("pile", "a", "put", k, 10 * k), None)
        equal(connection.call("pile", "a", "sum"), 100)
        equal(connection.call("pile", "a", "sum_within", 2, 7), 108)
        equal(connection.call("pile", "a", "sum"), 108)
        answer = connection.call("pile", "a", "meddle")
        true(isinstance(answer, RespError) and "changed a row of `items`" in answer.text, repr(answer))
        equal(connection.call("pile", "a", "sum"), 108)


@test
def a_text_of_the_row_is_answered_as_it_was_when_the_handler_returned(folder):
    with Server(module(folder), folder.join("d")) as server:
        connection = server.connect()
        name = "".join(chr(ord("a") + i % 26) for i in range(100))
        equal(connection.call("pile", "a", "name", name), None)
        for turn, n in enumerate((1, 1000, 2 ** 40, 5, 2 ** 50, 0)):
            equal(connection.call("pile", "a", "count", n), name, "n = %d" % n)
            for _ in range(2):      # and the record of the request
                equal(connection.ask("CALL.ONCE", "id%d" % turn, "pile", "a", "count", n + 2 ** (8 * turn)), name, "once, n = %d" % n)


@test
def the_argument_of_a_handler_with_a_scalar_has_no_name_in_a_body(folder):
    with Server(module(folder), folder.join("d")) as server:
        for body in ({"name": "x"}, {}, "5"):
            reply = server.post("/pile/a/name", body)
            equal((reply.status, reply.json["detail"]), (400, "the argument comes in an array, as [1]: it has no name"))
        equal(server.post("/pile/a/name?value=x", None).status, 200)
        equal(server.post("/pile/a/name", ["y"]).status, 200)
        equal(server.get("/pile/a").json["name"], "y")
        for body in ("", "[]", "{}"):
            equal(server.post("/pile/a/sum", body).status, 200, body)


@test
def rows_are_answered_as_records_whole_or_by_name(folder):
    with Server(MAPS, folder.join("d")) as server:
        connection = server.connect()
        connection.call("box", "a", "fill", 3)
        equal(server.request("GET", "/box/a/rows_of").json, [{"note": "", "v": v} for v in (1, 2, 3)])
        equal(server.request("GET", "/box/a/values_of").json, [{"v": v} for v in (1, 2, 3)])


@test
def a_row_counts_once_for_map_rows_max_however_often_it_is_met(folder):
    with Server(MAPS, folder.join("d"), "--limit", "map_rows_max=40") as server:
        connection = server.connect()
        equal(connection.call("box", "a", "fill", 40), None)
        equal(connection.call("box", "a", "twice", 40), 80)
        answer = connection.call("box", "a", "fill", 41)
        true(isinstance(answer, RespError) and answer.code == "BUDGET", repr(answer))
    with Server(MAPS, folder.join("d"), "--limit", "map_rows_max=39") as server:
        connection = server.connect()
        equal(connection.call("box", "a", "twice", 39), 78)
        answer = connection.call("box", "a", "twice", 40)
        true(isinstance(answer, RespError) and answer.code == "BUDGET", repr(answer))


@test
def bounds_over_http_stand_bare_or_as_json_and_once(folder):
    with Server(MAPS, folder.join("d")) as server:
        server.post("/shelf/s/stock", [])
        values = lambda path: [row["value"] for row in server.get("/shelf/s/" + path).json]
        for bound in ("1750000000003", "[1750000000003]", "2025-06-15T15:06:40.003Z", "%222025-06-15T15:06:40.003Z%22", "2025-06-15T17:06:40.003%2B02:00"):
            equal(values("at?from=" + bound), [3, 4, 5], bound)
            equal(values("at?reverse&to=" + bound), [3, 2, 1], bound)
        equal(values("plain?from=%22%22&to=a"), [1])
        for query, what in (("from=", "left out"), ("to=", "left out"), ("from=a&from=b", "once"), ("limit=1&limit=2", "once"), ("reverse&reverse", "once")):
            reply = server.get("/shelf/s/plain?" + query)
            equal((reply.status, reply.code), (400, "arg"), query)
            true(what in reply.json["detail"], reply.body)
        equal(server.get("/shelf/s/at?from=then").status, 400)


@test
def pages_over_http_go_on_at_their_link_until_the_last(folder):
    def pages(server, path):
        """All rows, page by page, and how many pages there were."""
        rows, count, url = [], 0, urllib.parse.urljoin("http://x/", path)
        while url:
            reply = server.get(url[len("http://x"):])
            equal(reply.status, 200, url)
            page, link = reply.json, reply.headers.get("Link")
            rows, count = rows + page, count + 1
            true(not link or (link.startswith("<?") and link.endswith('>; rel="next"') and page), link)
            url = urllib.parse.urljoin(url, link[1:link.index(">")]) if link else None
        return rows, count

    with Server(MAPS, folder.join("d")) as server:
        connection = server.connect()
        connection.call("box", "a", "fill", 1000)
        server.post("/shelf/s/stock", [])
        whole = server.get("/box/a/rows?limit=1000")
        equal((len(whole.json), whole.headers.get("Link")), (1000, None), "a full page that is the last")
        for path, count, wanted in (("rows", 10, range(1, 1001)), ("rows?limit=999", 2, range(1, 1001)), ("rows?limit=1000", 1, range(1, 1001)),
                                    ("rows?limit=7&from=20&to=40", 3, range(20, 41)), ("rows?limit=1&reverse&from=990", 11, range(1000, 989, -1)),
                                    ("rows?from=2000", 1, ()), ("rows?limit=21&from=20&to=40", 1, range(20, 41))):
            rows, seen = pages(server, "/box/a/" + path)
            equal(([row["key"] for row in rows], seen), (list(wanted), count), path)
        for name in ("at", "by", "plain"):
            all_rows = server.get("/shelf/s/" + name).json
            equal(len(all_rows), 5)
            equal(pages(server, "/shelf/s/%s?limit=2" % name), (all_rows, 3))
            equal(pages(server, "/shelf/s/%s?limit=1&reverse=1" % name), (all_rows[::-1], 5))
        equal(pages(server, "/shelf/s/by?limit=2&from=a%20b&to=[%22a%20b%22,4]"), (server.get("/shelf/s/by?to=[%22a%20b%22,4]").json, 2))
        equal(server.request("HEAD", "/shelf/s/by?limit=1").headers["Link"], '<?from=%5B%22a%20b%22%2C2%5D&limit=1>; rel="next"')
