"""What was acknowledged survives: kill -9, repeats, full disks, other shard counts, native code.

SPDX-License-Identifier: MIT
"""
import os
import random
import shutil
import subprocess
import threading
import time

from harness import BANK, BUILD, ROOT, Fail, RespError, Server, Skip, compile_c, equal, sanitizers, test, true

WRONG = os.path.join(ROOT, "tests", "integration", "wrong.lua")


def deposits_until_killed(server, seconds, connections=4):
    """Pipelined deposits of 1 from several connections; {key: (acknowledged, sent)}."""
    counts, lock = {}, threading.Lock()

    def work(number):
        acknowledged, sent = {}, {}
        try:
            connection = server.connect()
            while True:
                keys = ["k%d-%d" % (number, i) for i in range(16)]
                for key in keys:
                    sent[key] = sent.get(key, 0) + 1
                connection.send(*[("CALL", "account", key, "deposit", 1) for key in keys])
                for key in keys:
                    answer = connection.read()
                    if isinstance(answer, RespError):
                        raise Fail(repr(answer))
                    acknowledged[key] = acknowledged.get(key, 0) + 1
        except (ConnectionError, OSError):
            pass
        with lock:
            for key, n in sent.items():
                counts[key] = (acknowledged.get(key, 0), n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    server.kill()
    for thread in threads:
        thread.join()
    return counts


@test
def kill_9_loses_nothing_acknowledged(folder):
    totals = {}
    with Server(BANK, folder.join("d"), "--shards", 2) as server:
        for _ in range(3):
            for key, (acknowledged, sent) in deposits_until_killed(server, 0.4).items():
                low, high = totals.get(key, (0, 0))
                totals[key] = (low + acknowledged, high + sent)
            server.start()
            connection = server.connect()
            for key, (low, high) in totals.items():
                balance = (connection.row("account", key) or {"balance": 0})["balance"]
                true(low <= balance <= high, "%s: %d acknowledged, %d there, %d sent" % (key, low, balance, high))
                totals[key] = (balance, balance)
        true(sum(low for low, _ in totals.values()) > 0, "nothing was acknowledged")


@test
def transfers_conserve_money_over_kills(folder):
    seed = random.randrange(1 << 30)
    with Server(BANK, folder.join("d"), "--shards", 4) as server:
        connection = server.connect()
        for i in range(20):
            equal(connection.call("account", "a%d" % i, "deposit", 1000), 1000)
        for round_number in range(2):
            def work(number):
                choose = random.Random(seed + number + 100 * round_number)
                try:
                    mine = server.connect()
                    while True:
                        mine.send(*[("CALL", "account", "a%d" % choose.randrange(20), "transfer",
                                     "a%d" % choose.randrange(20), choose.randrange(1, 50)) for _ in range(16)])
                        for _ in range(16):
                            mine.read()
                except (ConnectionError, OSError):
                    pass
            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            time.sleep(0.5)
            server.kill()
            for thread in threads:
                thread.join()
            server.start()
            connection = server.connect()
            balances = [connection.call("account", "a%d" % i, "balance") for i in range(20)]
            equal(sum(balances), 20000, "sum with seed %d" % seed)
            true(min(balances) >= 0, "a balance below zero with seed %d" % seed)


@test
def a_clean_stop_leaves_a_checkpoint_where_there_is_much_more_log_than_state(folder):
    data = folder.join("d")

    def checkpoints():
        return [name for name in os.listdir(data) if name.startswith("checkpoint-")]

    # from a sixteenth of that on
    with Server(BANK, data, "--shards", 2, "--limit", "checkpoint_bytes_min=4000000") as server:
        connection = server.connect()

        def deposit(count):
            for _ in range(count):
                connection.send(*[("CALL", "account", "a%d" % (i % 50), "deposit", 1) for i in range(1000)])
                for _ in range(1000):
                    connection.read()

        deposit(1)
        equal(server.stop(), 0)
        equal(checkpoints(), [], "of little log")
        server.start()
        connection = server.connect()
        deposit(30)
        equal(checkpoints(), [], "while it runs")
        equal(server.stop(), 0)
        first = checkpoints()
        equal(len(first), 1, "at the stop")
        server.start()
        connection = server.connect()
        equal([connection.call("account", "a%d" % i, "balance") for i in range(50)], [31 * 20] * 50)
        equal(server.stop(), 0)
        equal(checkpoints(), first, "nothing was written since")


@test
def a_repeat_gets_the_first_answer_also_after_a_kill(folder):
    with Server(BANK, folder.join("d")) as server:
        connection = server.connect()
        equal(connection.ask("CALL.ONCE", "id-1", "account", "ann", "deposit", 10), 10)
        equal(connection.ask("CALL.ONCE", "id-1", "account", "ann", "deposit", 10), 10)
        equal(server.post("/account/ann/deposit", [5], Idempotency_Key="id-2").json, 15)
        equal(server.post("/account/ann/deposit", [5], Idempotency_Key="id-2").json, 15)
        reply = server.post("/account/ann/deposit", [6], Idempotency_Key="id-2")
        equal((reply.status, reply.code), (422, "idempotency"))
        answer = connection.ask("CALL.ONCE", "id-1", "account", "ann", "deposit", 11)
        equal(getattr(answer, "code", answer), "IDEMPOTENCY")
        server.kill()
        server.start()
        connection = server.connect()
        equal(connection.ask("CALL.ONCE", "id-1", "account", "ann", "deposit", 10), 10)
        equal(server.post("/account/ann/deposit", [5], Idempotency_Key="id-2").json, 15)
        equal(connection.call("account", "ann", "balance"), 15)
        # An error applied nothing and is not recorded: the repeat runs again.
        equal(connection.ask("CALL.ONCE", "id-3", "account", "bob", "withdraw", 1).code, "CHECK")
        equal(connection.call("account", "bob", "deposit", 1), 1)
        equal(connection.ask("CALL.ONCE", "id-3", "account", "bob", "withdraw", 1), 0)


@test
def the_same_data_opens_with_another_shard_count(folder):
    total = 0
    for shards in (1, 4, 2):
        with Server(BANK, folder.join("d"), "--shards", shards) as server:
            connection = server.connect()
            for i in range(40):
                equal(connection.call("account", "a%d" % i, "deposit", 1), total + 1)
            total += 1
            if shards == 4:
                server.kill()


def tmpfs_wrapper(folder, megabytes):
    """A command prefix that runs with a small tmpfs at `folder`."""
    if shutil.which("unshare") is None:
        raise Skip("no unshare to make a small file system with")
    wrapper = ["unshare", "-m", "sh", "-c",
               'mount -t tmpfs -o size=%dm tmpfs "$0" && exec "$@"' % megabytes, folder]
    if os.geteuid() != 0:
        wrapper[1:2] = ["-r", "-m"]
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode != 0:
        raise Skip("THE FULL DISK IS NOT TESTED: this machine lets no tmpfs be mounted")
    return wrapper


@test
def a_full_disk_refuses_writes_and_keeps_answering_reads(folder):
    os.mkdir(folder.join("small"))
    wrapper = tmpfs_wrapper(folder.join("small"), 12)
    with Server(BANK, folder.join("small", "d"), "--shards", 1, wrapper=wrapper) as server:
        connection = server.connect()
        acknowledged, refused = 0, None
        begin = time.monotonic()
        while refused is None and time.monotonic() - begin < 40:
            names = ["%d-%s" % (acknowledged + i, "n" * 900) for i in range(64)]
            connection.send(*[("CALL", "account", name, "deposit", 1) for name in names])
            for name in names:
                answer = connection.read()
                if isinstance(answer, RespError):
                    refused = refused or answer
                elif refused is None:
                    last = name
                    acknowledged += 1
        true(refused is not None, "12 MB took %d accounts" % acknowledged)
        equal(refused.code, "DISKFULL")
        true(acknowledged > 100, "refused after %d" % acknowledged)
        equal(connection.call("account", last, "balance"), 1, "a read with the disk full")
        reply = server.post("/account/one-more-%s/deposit" % ("n" * 900), [1])
        equal((reply.status, reply.code), (507, "diskfull"))
        equal(server.get("/livez").status, 200)


@test
def the_bank_in_c_answers_as_the_one_in_lua(folder):
    so = folder.join("bank.so")
    compile_c(["-std=gnu17", "-shared", "-fPIC", "-Iinclude", *sanitizers(), "examples/bank_module.c", "-o", so],
              "the native service")
    seed = random.randrange(1 << 30)
    answers = []
    for app, data in ((BANK, "lua"), (so, "c")):
        choose = random.Random(seed)
        with Server(app, folder.join(data)) as server:
            connection, got = server.connect(), []
            for _ in range(400):
                key, other = "a%d" % choose.randrange(4), "a%d" % choose.randrange(4)
                words = choose.choice([("deposit", choose.randrange(-1, 60)), ("withdraw", choose.randrange(0, 60)),
                                       ("transfer", other, choose.randrange(0, 60)), ("balance",), ("nothing",),
                                       ("deposit",), ("deposit", "x")])
                answer = connection.call("account", key, *words)
                got.append((words, answer.code if isinstance(answer, RespError) else answer))
            got.append([connection.row("account", "a%d" % i) for i in range(4)])
        answers.append(got)
    for a, b in zip(*answers):
        equal(b, a, "seed %d: C beside Lua" % seed)


def embedded(folder):
    program = folder.join("bank_embedded")
    compile_c(["-std=gnu17", "-Iinclude", *sanitizers(), "examples/bank_embedded.c", "-L" + BUILD, "-lweir",
               "-Wl,-rpath," + BUILD, "-pthread", "-o", program], "the embedding program")
    return program


@test
def the_embedded_bank_builds_as_documented_and_runs(folder):
    program = embedded(folder)
    for _ in range(2):   # twice: the second run finds the data of the first
        done = subprocess.run([program, folder.join("d")], capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, done.stdout + done.stderr)
        true("total" in done.stdout and "check" in done.stdout, done.stdout)
    true("total    800" in done.stdout, done.stdout)


@test
def the_embedded_bank_survives_kill_9(folder):
    program = embedded(folder)
    there = 0
    for round_number in range(3):
        process = subprocess.Popen([program, folder.join("d"), "serve", "4"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True, bufsize=1)
        equal(process.stdout.readline(), "ready\n")
        process.stdin.write("b balance ann\n")
        process.stdin.flush()
        balance = int(process.stdout.readline().split()[2])
        true(balance >= there, "%d acknowledged, %d there" % (there, balance))
        there = balance
        sent = 0

        def feed():
            nonlocal sent
            try:
                while True:
                    process.stdin.write("r%d-%d deposit ann 1 r%d-%d\n" % (round_number, sent, round_number, sent))
                    sent += 1
            except (OSError, ValueError):
                pass

        feeder = threading.Thread(target=feed)
        feeder.start()
        for _ in range(200):
            words = process.stdout.readline().split()
            equal(words[1], "ok", words)
            there += 1
        process.kill()
        process.wait(10)
        feeder.join()
        process.stdout.close()
        try:
            process.stdin.close()
        except OSError:
            pass
    true(there >= 600, "only %d" % there)
