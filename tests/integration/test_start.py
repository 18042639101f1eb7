"""Starting, refusing to start, stopping; the command line.

SPDX-License-Identifier: MIT
"""
import json
import os
import re
import signal
import socket
import subprocess
import time

from harness import BANK, EXAMPLES, ROOT, RespError, Server, Skip, equal, test, true, weir, weir_path

WRONG = os.path.join(ROOT, "tests", "integration", "wrong.lua")
ANY = ("--http", "127.0.0.1:0", "--resp", "127.0.0.1:0")


@test
def a_data_directory_in_use_exits_73(folder):
    with Server(BANK, folder.join("d")):
        code, _, error = weir("run", BANK, "--data", folder.join("d"), *ANY)
        equal(code, 73, error)
        true("in use" in error or "lock" in error, error)


@test
def a_taken_port_exits_78_before_the_data_is_touched(folder):
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen(1)
    place = "127.0.0.1:%d" % taken.getsockname()[1]
    for door in ("--http", "--resp"):
        other = "--resp" if door == "--http" else "--http"
        code, _, error = weir("run", BANK, "--data", folder.join("d"), door, place, other, "127.0.0.1:0")
        equal(code, 78, error)
        true("in use" in error and place.rsplit(":", 1)[1] in error, error)
    true(not os.path.exists(folder.join("d")), "the data directory was made")
    taken.close()


@test
def an_unreadable_or_broken_application_exits_78(folder):
    cases = [
        (folder.join("absent.lua"), "absent.lua"),
        (folder.path + "/", ""),
        (folder.write("syntax.lua", "local weir = require 'weir'\nlocal x = = 1\n"), "syntax.lua:2"),
        (folder.write("raises.lua", "local weir = require 'weir'\n\nerror 'broken'\n"), "raises.lua:3"),
        (folder.write("reserved.lua", "local weir = require 'weir'\nweir.entity('streams', {})\n"), "streams"),
        (folder.write("native.so", "not a shared object"), "native.so"),
        (folder.write("app.txt", "x"), "app.txt"),
    ]
    for path, text in cases:
        code, _, error = weir("run", path, "--data", folder.join("d"), *ANY)
        equal(code, 78, "%s: %s" % (path, error))
        true(text in error, "%s: %s" % (path, error))


@test
def an_address_that_is_not_loopback_exits_78(folder):
    for door in ("--http", "--resp"):
        code, _, error = weir("run", BANK, "--data", folder.join("d"), door, "0.0.0.0:0")
        equal(code, 78, error)
        true("127.0.0.1" in error and "--users" in error, error)


@test
def a_file_that_runs_away_while_it_is_loaded_exits_78(folder):
    for name, text, why in (("cpu", "\nwhile true do pcall(function() while true do end end) end\n", "the file does not end"),
                            ("memory", "local t = {}\nfor i = 1, 1e9 do t[i] = { i } end\n", "not enough memory")):
        code, _, error = weir("run", folder.write(name + ".lua", text), "--data", folder.join("d"), *ANY)
        equal(code, 78, error)
        true("%s.lua:2: %s" % (name, why) in error, error)


@test
def damaged_data_exits_65(folder):
    with Server(BANK, folder.join("d")) as server:
        for i in range(50):
            server.post("/account/a%d/deposit" % i, [1])
        server.kill()
    # Damage in the middle of the log: the largest file, well before its used end.
    files = sorted((os.path.join(folder.join("d"), name) for name in os.listdir(folder.join("d")) if name.startswith("log-")),
                   key=os.path.getsize)
    with open(files[-1], "r+b") as file:
        content = file.read()
        used = len(content.rstrip(b"\0"))
        true(used > 600, "the log is nearly empty: %s" % files[-1])
        file.seek(used // 2)
        byte = content[used // 2]
        file.seek(used // 2)
        file.write(bytes([byte ^ 0x55]))
    code, _, error = weir("run", BANK, "--data", folder.join("d"), *ANY)
    equal(code, 65, error)
    true(re.search(r"epoch|offset|corrupt|damaged", error), error)


@test
def sigterm_answers_what_runs_and_exits_0(folder):
    # On a busy machine the last of 500 wait longer than the second after which they would be refused.
    with Server(BANK, folder.join("d"), "--limit", "queue_wait_max_ms=60000", "--limit", "request_deadline_ms=60000") as server:
        connection = server.connect()
        connection.send(*[("CALL", "account", "a%d" % (i % 10), "deposit", 1) for i in range(500)])
        for _ in range(100):
            connection.read()
        server.process.terminate()
        acknowledged = 100
        try:
            while acknowledged < 500:
                if not isinstance(connection.read(), RespError):
                    acknowledged += 1
        except (ConnectionError, OSError):
            pass
        equal(server.process.wait(15), 0, "exit code")
        server.start()
        connection = server.connect()
        there = sum((connection.row("account", "a%d" % i) or {"balance": 0})["balance"] for i in range(10))
        true(acknowledged <= there <= 500, "%d acknowledged, %d there" % (acknowledged, there))
        true(server.report["clean"], "the stop was not clean")


@test
def a_second_signal_forces_exit_130(folder):
    with Server(WRONG, folder.join("d"), "--limit", "cpu_ms_max=4000", "--shards", 1) as server:
        equal(server.post("/thing/a/set", [1]).json, 1)
        connection = server.connect()
        connection.send(("CALL", "thing", "a", "loop"))
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        equal(server.process.wait(3), 130, "exit code")


@test
def health_metrics_and_info_are_served(folder):
    with Server(BANK, folder.join("d")) as server:
        server.post("/account/ann/deposit", [1])
        for path in ("/livez", "/readyz", "/metrics"):
            equal(server.get(path).status, 200, path)
        metrics = server.get("/metrics").body
        true(re.search(r"^weir_\w+_total ", metrics, re.M), metrics[:500])
        true("# TYPE" in metrics, metrics[:500])
        info = server.connect().ask("INFO")
        true("durable_epoch" in info, info)
        code, out, error = weir("stat", "--host", "127.0.0.1:%d" % server.resp, "--json")
        equal(code, 0, error)
        true(json.loads(out), out)
        code, out, error = weir("stat", "--host", "127.0.0.1:%d" % server.resp)
        true(code == 0 and "durable_epoch" in out, out + error)


@test
def call_and_get_answer_and_exit_as_documented(folder):
    with Server(BANK, folder.join("d")) as server:
        host = ("--host", "127.0.0.1:%d" % server.resp)
        equal(weir("call", "account", "ann", "deposit", 100, *host)[:2], (0, "100\n"))
        equal(weir("call", "account", "ann", "transfer", "bob", 30, "--id", "t1", *host)[:2], (0, "70\n"))
        equal(weir("call", "account", "ann", "transfer", "bob", 30, "--id", "t1", *host)[:2], (0, "70\n"))
        code, out, _ = weir("get", "account", "bob", *host)
        equal((code, json.loads(out)), (0, {"balance": 30}))
        code, out, error = weir("call", "account", "ann", "withdraw", 1000, *host)
        true(code == 1 and out == "" and "CHECK" in error, error)
        equal(weir("get", "account", "nobody", *host)[0], 1)
        code, _, error = weir("call", "account", "ann", "deposit", -5, *host)
        true(code == 1 and "ARG" in error, error)
    code, _, error = weir("get", "account", "ann", "--host", "127.0.0.1:1")
    equal(code, 69, error)


@test
def mistakes_on_the_command_line_exit_64_and_suggest(folder):
    for words, hint in ((("rnu",), "weir run"), (("stats",), "weir stat"), (("run", BANK, "--dta", "x"), "--data"),
                        (("get", "account"), "KEY is missing"), ((), "usage"), (("run",), "application"),
                        (("load",), "`stream` is missing"), (("load", "stream"), "STREAM is missing"),
                        (("load", "stream", "moved"), "FILE.ndjson is missing"), (("parked",), "what to do is missing"),
                        (("run", BANK, "--shards", "x"), "--shards"), (("run", BANK, "--limit", "x=1"), "limit"),
                        *((("run", BANK, "--limit", "roots_max" + value), "above 0") for value in ("", "=", "=0", "=-1", "= 7", "=+7", "=7.0", "=7k")),
                        (("run", BANK, "--limit", "fibers_max=4294967296"), "at most 1000000000"), (("run", BANK, "--limit", "cpu_ms_max=10000000000000000000000"), "at most"),
                        (("run", BANK, "--io-processor", "x"), "auto, none"), (("run", BANK, "--io-processor", "4000"), "auto, none"),
                        (("run", BANK, "--io-processor", "-1"), "auto, none"), (("run", BANK, "--conflict-policy", "die"), "wait_die"), (("bench", "ycsb", "--conflict-policy", "die"), "wait_die")):
        code, _, error = weir(*words)
        equal(code, 64, "%s: %s" % (words, error))
        true(hint in error, "%s: %s" % (words, error))


@test
def every_verb_has_help(folder):
    for verb in ("run", "call", "get", "stat", "check", "new", "test", "version"):
        code, out, _ = weir(verb, "--help")
        true(code == 0 and "usage: weir " + verb in out and "--json" in out, verb + ": " + out)
    equal(weir("version")[0], 0)
    true(json.loads(weir("version", "--json")[1])["version"], "no version")


@test
def a_new_application_passes_its_tests_and_runs(folder):
    code, out, error = weir("new", "hello", cwd=folder.path)
    true(code == 0 and "weir run hello.lua" in out, out + error)
    equal(weir("new", "hello", cwd=folder.path)[0], 74, "overwriting")
    code, out, error = weir("check", "hello.lua", cwd=folder.path)
    equal(code, 0, out + error)
    code, out, error = weir("test", "hello_test.lua", cwd=folder.path)
    equal(code, 0, out + error)
    with Server(folder.join("hello.lua"), folder.join("d")) as server:
        equal(server.post("/counter/visits/add", [1]).json, 1)
        equal(server.get("/counter/visits/value").json, 1)


@test
def the_examples_pass_check_and_their_tests(folder):
    for name in ("bank", "shop", "flights", "orders", "voter", "payments"):
        settings = ("--set", "bank_url=http://bank", "--set", "bank_key=k") if name == "payments" else ()
        code, out, error = weir("check", os.path.join(EXAMPLES, name + ".lua"), *settings)
        true(code == 0 and "closes once the server has users" in out, name + ": " + out + error)
    for name in sorted(name for name in os.listdir(EXAMPLES) if name.endswith("_test.lua")):
        code, out, error = weir("test", os.path.join(EXAMPLES, name))
        true(code == 0 and re.search(r"^\d+ passed, 0 failed", out, re.M), name + ": " + out + error)


@test
def a_failing_case_is_reported_with_file_line_and_seed(folder):
    folder.write("bank.lua", open(BANK).read())
    test_file = folder.write("x_test.lua", 'local t = require "weir.test"\nlocal app = t.app "bank.lua"\n'
                             't.case("adds", function()\n  t.equal(app.account("a"):deposit(1), 2)\nend)\n')
    code, out, error = weir("test", test_file)
    equal(code, 1, out + error)
    true("x_test.lua:4" in out and "--seed" in error, out + error)


@test
def a_file_that_cannot_be_read_is_named_once_with_the_reason(folder):
    path, reason = folder.join("absent.lua"), os.strerror(2)
    equal(weir("run", path, *ANY)[2], "weir: %s: cannot be read: %s\n" % (path, reason))
    equal(weir("check", path)[2], "%s: cannot be read: %s\n1 mistake\n" % (path, reason))
    equal(weir("check", "/tmp")[2], "/tmp: cannot be read: %s\n1 mistake\n" % os.strerror(21))
    equal(weir("test", path)[2], "weir: %s: cannot be read: %s\n" % (path, reason))
    app = folder.write("app.lua", 'local x = require "parts.x"\n')
    equal(weir("check", app)[2], "app.lua:1: require: %s cannot be read: %s\n1 mistake\n" % (folder.join("parts/x.lua"), reason))


@test
def a_test_file_that_does_not_load_is_told_as_json(folder):
    for text, line, words in (("local x = = 1", 1, "unexpected symbol"), ('local t = require "weir.test"\nt.app "no.lua"', 2, "no.lua: cannot be read"),
                              ('local t = require "weir.test"\n', 0, "the file tests no application")):
        code, out, error = weir("test", folder.write("x_test.lua", text), "--json")
        true(code == 78 and error == "" and out.count("\n") == 1, out + error)
        told = json.loads(out)
        true(told["line"] == line and told["file"] == "x_test.lua" and words in told["error"], out)
    told = json.loads(weir("test", folder.join("none_test.lua"), "--json")[1])
    true(told["line"] == 0 and told["file"] == folder.join("none_test.lua") and "cannot be read" in told["error"], told)


@test
def keep_is_shown_as_it_was_declared(folder):
    keeps = ("64KB", "30d12h, 10GB", "1s500ms", "1MB512KB", "forever", "latest", "latest, 7d")
    path = folder.write("app.lua", 'local weir = require "weir"\n' +
                        "".join('weir.stream("s%d", { n = weir.text }, { key = "n", keep = "%s" })\n' % one for one in enumerate(keeps)))
    code, out, error = weir("check", path)
    equal(code, 0, out + error)
    equal([line.split("keep ")[1] for line in out.splitlines() if "keep " in line], list(keeps))


@test
def only_runs_what_it_names_and_says_so_again(folder):
    folder.write("bank.lua", open(BANK).read())
    test_file = folder.write("x_test.lua", 'local t = require "weir.test"\nlocal app = t.app "bank.lua"\n'
                             't.case("it\'s one", function() t.equal(1, 2) end)\nt.case("two", function() end)\n')
    code, out, error = weir("test", test_file, "--only", "it's")
    true(code == 1 and "0 passed, 1 failed" in out and error.endswith(" --only 'it'\\''s'\n"), out + error)
    code, out, error = weir("test", test_file, "--only", "three")
    true(code == 1 and "no case of" in error and "`three`" in error, out + error)
    equal(weir("test", test_file, "--only", "two")[0], 0)


@test
def files_are_checked_together_with_the_settings_that_they_ask_for(folder):
    one = folder.write("one.lua", 'local weir = require "weir"\nlocal a = weir.entity("a", { n = weir.int })\n'
                       'local hold = weir.setting("hold", weir.text { default = "1m" })\n')
    two = folder.write("two.lua", 'local weir = require "weir"\nlocal a = weir.entity "a"\n'
                       'a:on("f", { weir.int }, function(self, n) self.n = n end)\n'
                       'local limit = weir.setting("limit", weir.int { default = 1 })\n')
    code, out, error = weir("check", one, two, "--set", "hold=2m", "--set", "limit=5", "--set", "weir.jit=off")
    true(code == 0 and "no mistakes" in out, out + error)
    code, out, error = weir("check", two, one)
    true(code == 1 and "two.lua:3" in error, error)
    for verb in (("check",), ("run", "--data", folder.join("d"))):
        code, out, error = weir(verb[0], one, two, *verb[1:], "--set", "hlod=2m")
        true(code != 0 and "--set hlod=...: no file asks for" in error, error)


@test
def check_reports_mistakes_with_file_and_line(folder):
    path = folder.write("bad.lua", 'local weir = require "weir"\nlocal e = weir.entity("e", { n = weir.int })\n'
                        'local count = 0\ne:on("f", {}, function(self) count = count + 1 end)\n')
    code, out, error = weir("check", path)
    equal(code, 1, out + error)
    true("bad.lua:4" in error, error)
    code, out, _ = weir("check", path, "--json")
    true(code == 1 and json.loads(out)["mistakes"][0]["line"] == 4, out)


@test
def start_up_says_what_is_served_and_what_to_type(folder):
    process = subprocess.Popen([weir_path(), "run", BANK, "--data", folder.join("d"), *ANY], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    text = ""
    while "Try:" not in text:
        line = process.stdout.readline()
        true(line, "ended early: " + text)
        text += line
    try:
        for part in ("http://127.0.0.1:", "resp", "transfer(to account, amount int >= 1)", "open to anyone"):
            true(part in text, "no %r in:\n%s" % (part, text))
        command = text.split("Try:", 1)[1].strip()
        answer = subprocess.run(["sh", "-c", command.replace("curl ", "curl -sS --fail ", 1)], capture_output=True,
                                text=True, timeout=20)
        equal(answer.returncode, 0, command + answer.stderr)
    finally:
        process.terminate()
        equal(process.wait(15), 0)
        process.stdout.close()


@test
def the_trace_is_json_on_demand(folder):
    with Server(BANK, folder.join("d"), "--log-format", "json") as server:
        server.stop()
        lines = [json.loads(line) for line in server.trace_text().splitlines()]
        events = [line["event"] for line in lines]
        true("started" in events and "drained" in events, events)
        true(all("time" in line and "level" in line for line in lines), lines)


@test
def a_request_has_one_id_on_all_shards(folder):
    """It is made by whoever asks first: here handlers on other shards, some at the same time, before or without the root's; the door says it."""
    app = folder.write("ids.lua", '''local weir = require "weir"
local cell = weir.entity("cell", { n = weir.int })
cell:on("tell", { weir.text, returns = weir.int }, function(self, next)
  weir.trace("told")
  self.n = self.n + 1
  if next ~= "" then cell(next):tell("") end
  return self.n
end)
cell:on("go", { weir.list(weir.text), weir.bool, returns = weir.int }, function(self, keys, first)
  if first then weir.trace("went") end
  weir.all(keys, function(key) return cell(key):tell(key .. "x") end)
  return #keys
end)
''')
    told = {}
    with Server(app, folder.join("d"), "--log-format", "json", "--shards", "4") as server:
        for i in range(24):
            keys = ["%s%d" % (letter, i) for letter in "abcdefgh"]
            reply = server.post("/cell/root%d/go" % i, [keys, i % 2 == 0])
            equal(reply.status, 200, reply.body)
            told[reply.headers["X-Request-Id"]] = 16 + (i % 2 == 0)
        server.stop()
        lines = server.trace_all().splitlines()
    equal(len(told), 24)
    counts = {}
    for line in lines:      # one a shard, with what all of its handlers told
        if '"event":"app"' in line:
            id = json.loads(line)["request"]
            counts[id] = counts.get(id, 0) + line.count('"told"') + line.count('"went"')
    equal(counts, told)


@test
def the_commands_in_the_heads_of_the_examples_work(folder):
    expected = {"bank.lua": [100, 70, 30], "shop.lua": [None, 10, 100, {"total": 6}]}
    for name, wanted in expected.items():
        with open(os.path.join(EXAMPLES, name)) as file:
            commands = re.findall(r"^--\s+(curl .*)$", file.read(), re.M)
        with Server(os.path.join(EXAMPLES, name), folder.join(name)) as server:
            got = []
            for command in commands:
                command = command.replace("localhost:8080", "localhost:%d" % server.http).replace("curl ", "curl -sS ", 1)
                got.append(json.loads(subprocess.check_output(["sh", "-c", command], text=True)))
            equal(got, wanted, name)


@test
def the_commands_of_the_readme_work(folder):
    path = os.path.join(ROOT, "README.md")
    if not os.path.exists(path):
        raise Skip("no README.md yet")
    with open(path) as file:
        blocks = re.findall(r"```(?:sh|console|text)?\n(.*?)```", file.read(), re.S)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    pairs, at = [], 0
    while at < len(lines):
        line = lines[at].removeprefix("$ ")
        if line.startswith("curl ") and "/account/" in line:
            wanted = lines[at + 1] if at + 1 < len(lines) else ""
            pairs.append((line.split("  #")[0], wanted if re.match(r'^(-?\d+|[\[{"].*|null|true|false)$', wanted) else None))
        at += 1
    if not pairs:
        raise Skip("README.md shows no curl to the bank")
    with Server(BANK, folder.join("d")) as server:
        for command, wanted in pairs:
            typed = re.sub(r"(localhost|127\.0\.0\.1):8080", "localhost:%d" % server.http, command)
            out = subprocess.check_output(["sh", "-c", typed.replace("curl ", "curl -sS ", 1)], text=True).strip()
            if wanted is not None:
                true(out == wanted or json.loads(out) == json.loads(wanted), "%s: got %s, wanted %s" % (command, out, wanted))


@test
def redis_cli_connects_and_gets_typed_replies(folder):
    try:
        subprocess.run(["redis-cli", "--version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise Skip("no redis-cli on this machine") from None
    with Server(BANK, folder.join("d")) as server:
        def cli(*words):
            done = subprocess.run(["redis-cli", "-p", str(server.resp), *words], capture_output=True, text=True, timeout=20)
            return done.stdout.strip()
        equal(cli("PING"), "PONG")
        equal(cli("CALL", "account", "ann", "deposit", "5"), "5")
        equal(cli("--no-raw", "CALL", "account", "ann", "balance"), "(integer) 5")
        true("balance" in cli("GETROW", "account", "ann"), "no row")
        equal(cli("-3", "CALL", "account", "ann", "balance"), "5")
        true(cli("CALL", "account", "ann", "withdraw", "9").startswith("CHECK"), "no -CHECK")
        done = subprocess.run(["redis-benchmark", "-p", str(server.resp), "-n", "2000", "-c", "8", "-P", "16", "-q",
                               "CALL", "account", "b", "deposit", "1"], capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, done.stdout + done.stderr)
        equal(cli("CALL", "account", "b", "balance"), "2000")


@test
def a_terminal_that_closes_drains_but_not_under_nohup(folder):
    with Server(BANK, folder.join("d")) as server:
        server.process.send_signal(signal.SIGHUP)
        equal(server.process.wait(20), 0)
        true("drained complete=true" in server.trace_text(), server.trace_text())
    with Server(BANK, folder.join("d"), wrapper=("nohup",)) as server:
        server.process.send_signal(signal.SIGHUP)
        equal(server.post("/account/ann/deposit", "[1]").status, 200)
        equal(server.stop(), 0)
