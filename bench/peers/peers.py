"""Weir and each peer: how it is installed and how one run of it goes.

A run is a fresh server with fresh data, 1,000 accounts (or as asked), a warm-up, the measured span, and the accounts counted. It
returns the figures as `weir bench --json` has them, or raises Failed.
SPDX-License-Identifier: MIT
"""
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from common import HERE, INITIAL, Failed, Server, Span, die_with_us, free_port, run

PIPELINED = 32


class Peer:
    name, title, where = "", "", "network"
    unpipelined = None    # why it has no pipelined row

    def __init__(self, options):
        self.options = options
        self.version = ""

    def install(self):
        """None, or why it cannot be."""
        return self.install_by(os.path.join(HERE, self.name.split("-", maxsplit=1)[0], "install"))

    def install_by(self, *words):
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
        sys.stderr.write("".join("%s: %s\n" % (self.name, line) for line in done.stderr.splitlines()))
        if done.returncode == 0:
            return None
        return "not installed: %s" % (done.stderr.strip().splitlines() or ["exit code %d" % done.returncode])[-1]

    def why_not(self, setting):
        return self.unpipelined if setting.pipeline > 1 else None

    def load(self, folder, setting, seed, *words):
        """The generator of `weir bench` against this peer (load.c)."""
        o = self.options
        out = run([os.path.join(o.build, "bench/peers/load"), self.name, "--folder", folder, "--connections", str(setting.connections),
                   "--pipeline", str(setting.pipeline), "--keys", str(setting.keys), "--seconds", str(o.seconds), "--warmup",
                   str(o.warmup), "--seed", str(seed), *words], loader_folder(folder), 120 + 3 * (o.seconds + o.warmup))
        result = json.loads(out.splitlines()[-1])
        return result["point"], result["what"]

    def run(self, setting, folder, seed):
        raise NotImplementedError


def loader_folder(folder):
    """Where a client keeps its trace, beside that of the server."""
    path = os.path.join(folder, "client")
    os.makedirs(path, exist_ok=True)
    return path


def version_of(*command):
    out = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    found = re.search(r"\d+\.\d+(\.\d+)*", out.stdout + out.stderr)
    return found.group(0) if found else "?"


class Weir(Peer):
    """`weir bench` as it is: it starts its server itself, or has the engine in its own process."""
    name, title, shards = "weir", "Weir", 0

    def install(self):
        return None

    def run(self, setting, folder, seed, in_process=False):
        o, file = self.options, os.path.join(folder, "figures.json")
        out = run([os.path.join(o.build, "weir"), "bench", "ycsb", "--keys", str(setting.keys), "--connections",
                   str(setting.connections), "--pipeline", str(setting.pipeline), "--seconds", str(o.seconds), "--warmup",
                   str(o.warmup), "--seed", str(seed), "--json", file] + (["--shards", str(o.shards)] if o.shards else []) +
                  (["--in-process", "--lang", "c"] if in_process else []), folder, 120 + 3 * (o.seconds + o.warmup))
        with open(file, encoding="utf-8") as text:
            figures = json.load(text)
        self.version, self.shards = figures["commit"], figures["shards"]
        holds = re.search(r"^holds\s+(.*)$", out, re.M)
        if not holds:
            raise Failed("weir bench did not say that the money is there")
        return figures["points"][0], holds.group(1)


class Redis(Peer):
    name, title = "redis", "Redis, functions, appendfsync always"

    def install(self):
        reason = super().install()
        self.version = reason or version_of("redis-server", "--version")
        return reason

    def run(self, setting, folder, seed):
        port = free_port()
        with Server(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--daemonize", "no", "--save", "",
                     "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--io-threads", "1"],
                    folder) as server:
            server.wait_port(port, "redis-server")
            with open(os.path.join(HERE, "redis/bank.lua"), encoding="utf-8") as file:
                loaded = subprocess.run(["redis-cli", "-p", str(port), "-x", "FUNCTION", "LOAD"], input=file.read(), text=True,
                                        capture_output=True, check=False, timeout=60)
            if loaded.stdout.strip().strip('"') != "bank":
                raise Failed("FUNCTION LOAD: %s%s" % (loaded.stdout.strip(), loaded.stderr.strip()))
            return self.load(folder, setting, seed, "--port", str(port), "--pid", str(server.pid))


class Tarantool(Peer):
    name, title = "tarantool", "Tarantool, stored functions, wal_mode fsync"

    def install(self):
        reason = super().install()
        self.version = reason or version_of("tarantool", "--version")
        return reason

    def run(self, setting, folder, seed):
        port = free_port()
        with Server(["tarantool", os.path.join(HERE, "tarantool/bank.lua")], folder, {"PEERS_PORT": str(port)}) as server:
            server.wait_port(port, "tarantool")
            return self.load(folder, setting, seed, "--port", str(port), "--pid", str(server.pid))


class Postgres(Peer):
    isolation = ""
    unpipelined = "pgbench's pipeline is one transaction, which is other work"

    def install(self):
        reason = super().install()
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: float(path.split("/")[4]))
        self.bin = os.path.dirname(found[-1]) if found else os.path.dirname(shutil.which("initdb") or "")
        if not reason and not self.bin:
            reason = "no initdb"
        if not reason and self.user and not self.reaches(self.options.folder):
            reason = "user %s cannot reach %s; --folder names another folder" % (self.user, self.options.folder)
        self.version = reason or version_of(self.tool("postgres"), "--version")
        return reason

    @property
    def user(self):
        """It refuses to run as root."""
        return "postgres" if os.getuid() == 0 else None

    def reaches(self, folder):
        return subprocess.run([*die_with_us(self.user), "test", "-x", folder], check=False).returncode == 0

    def tool(self, name):
        return os.path.join(self.bin, name)

    def run(self, setting, folder, seed):
        data, port = os.path.join(folder, "data"), free_port()
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "on",
                    "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "1GB", "max_wal_size": "8GB",
                    "checkpoint_timeout": "15min", "max_connections": "200", "enable_seqscan": "off",
                    "default_transaction_isolation": self.isolation}
        os.mkdir(data, 0o700)
        if self.user:
            shutil.chown(data, self.user)
        with Server([self.tool("initdb"), "-D", data, "-U", "bench", "-A", "trust", "-N", "--locale", "C", "-E", "UTF8"], folder,
                    user=self.user) as init:
            if init.process.wait(timeout=120) != 0:
                raise Failed("initdb: %s" % init.last_words())
        words = [self.tool("postgres"), "-D", data]
        for name, value in settings.items():
            words += ["-c", "%s=%s" % (name, value)]
        # SIGINT: ends the sessions that are left and stops
        with Server(words, folder, user=self.user, stop=signal.SIGINT) as server:
            env = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "bench", "PGDATABASE": "postgres", "PGCONNECT_TIMEOUT": "10"}
            server.wait_until(lambda: subprocess.run([self.tool("pg_isready"), "-q"], env={**os.environ, **env},
                                                     check=False).returncode == 0, "postgres")
            client = loader_folder(folder)
            psql = [self.tool("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
            run(psql + ["-v", "keys=%d" % setting.keys, "-v", "initial=%d" % INITIAL, "-f", os.path.join(HERE, "postgres/schema.sql")],
                client, env=env)
            point = self.measure(setting, client, env, server, seed)
            found = run(psql + ["-c", "SELECT count(*), sum(balance) FROM account"], client, env=env).strip()
        if found != "%d|%d" % (setting.keys, setting.keys * INITIAL):
            raise Failed("money is lost or made: the accounts and what they hold are %s, not %d|%d" % (
                found, setting.keys, setting.keys * INITIAL))
        return point, "%d accounts hold together %d" % (setting.keys, setting.keys * INITIAL)

    def measure(self, setting, client, env, server, seed):
        """pgbench runs somewhat longer than what is counted, by the times in its own log."""
        o = self.options
        seconds = int(o.seconds + o.warmup + 2.5)
        with Server([self.tool("pgbench"), "-n", "-M", "prepared", "-c", str(setting.connections), "-j", "1", "-T", str(seconds),
                     "-f", os.path.join(HERE, "postgres/transfer.pgbench"), "-D", "keys=%d" % setting.keys, "--random-seed", str(seed),
                     "--max-tries", "1000", "-l", "--log-prefix", "transfers"], client, env) as pgbench:
            time.sleep(o.warmup + 0.5)    # connecting takes part of it
            span = Span(server.pid, pgbench.pid, client)
            time.sleep(o.seconds)
            span.end()
            if pgbench.process.poll() is not None or pgbench.process.wait(timeout=120) != 0:
                raise Failed("pgbench: %s" % pgbench.last_words())
        latencies, failed, retries = [], 0, 0
        for path in glob.glob(os.path.join(client, "transfers.*")):
            with open(path, encoding="utf-8") as file:
                for line in file:
                    words = line.split()    # client, number, latency or "failed", script, second, microsecond, retries
                    if not span.begin <= int(words[4]) + int(words[5]) / 1e6 < span.finish:
                        continue
                    retries += int(words[6])
                    if words[2].isdigit():
                        latencies.append(int(words[2]))
                    else:
                        failed += 1
        point = span.point(latencies, failed)
        return {**point, "retries": retries / point["completed"]}


class PostgresReadCommitted(Postgres):
    name, title, isolation = "postgres-rc", "PostgreSQL, READ COMMITTED, rows locked in order", "read committed"


class PostgresSerializable(Postgres):
    name, title, isolation = "postgres-ser", "PostgreSQL, SERIALIZABLE", "serializable"


class Restate(Peer):
    name, title = "restate", "Restate, virtual objects (no isolation of transfers)"
    unpipelined = "HTTP/1.1 without pipelining"

    def install(self):
        self.folder = os.path.join(self.options.build, "peers-restate")
        reason = self.install_by(os.path.join(HERE, "restate/install"), self.folder)
        if not reason and not glob.glob(self.server_path()):
            reason = "npm left no server for this machine"
        self.version = reason or version_of(glob.glob(self.server_path())[0], "--version")
        return reason

    def server_path(self):
        return os.path.join(self.folder, "node_modules/@restatedev/restate-server-*/bin/restate-server")

    def run(self, setting, folder, seed):
        # In a network of its own where that is allowed: the server looks for updates on the Internet.
        alone = ["unshare", "--net"] if os.getuid() == 0 and shutil.which("unshare") else []
        out = run([*alone, sys.executable, os.path.join(HERE, "restate/drive.py"), "--server", glob.glob(self.server_path())[0], "--service",
                   os.path.join(self.folder, "bank.mjs"), "--folder", folder, "--clients", str(setting.connections), "--keys",
                   str(setting.keys), "--seconds", str(self.options.seconds), "--warmup", str(max(5, self.options.warmup)),
                   "--seed", str(seed)] + (["--loopback"] if alone else []), loader_folder(folder), 300 + 3 * self.options.seconds)
        result = json.loads(out.splitlines()[-1])
        return result["point"], result["what"]


class InProcess(Peer):
    where = "process"

    def why_not(self, setting):
        return None

    def run(self, setting, folder, seed):
        return self.load(folder, setting, seed)


class Sqlite(InProcess):
    name, title = "sqlite", "SQLite, WAL, synchronous FULL"

    def install(self):
        reason = super().install()
        self.version = reason or version_of("pkg-config", "--modversion", "sqlite3")
        return reason


class Lmdb(InProcess):
    name, title = "lmdb", "LMDB"

    def install(self):
        reason = super().install()
        self.version = reason or version_of("pkg-config", "--modversion", "lmdb")
        return reason


PEERS = [Redis, Tarantool, PostgresReadCommitted, PostgresSerializable, Restate, Sqlite, Lmdb]
