#!/usr/bin/env python3
"""Weir beside other systems: the same durable transfers, clients and machine, in one run.

    bench/peers/run.py [--build DIR] [--only redis,postgres-rc,...] [--clients 1x1,16x32] [--pairs 3] [--seconds 5] [--warmup 1]
                       [--keys 1000,10000] [--shards N] [--folder DIR] [--keep] [--json FILE]

For each peer and count of clients: Weir, the peer, Weir, the peer ..., each time a fresh server with fresh data. Prints a table in
Markdown; what it measures and what not is in README.md beside it. Exit code 1 when money was lost, or a peer that is installed did not answer.
SPDX-License-Identifier: MIT
"""
import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import namedtuple

from common import HERE, Failed, Server
from peers import PEERS, PIPELINED, Weir

ROOT = os.path.dirname(os.path.dirname(HERE))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))
import runs  # pylint: disable=wrong-import-position
from runs import folder_is_disk, number, say, spread  # pylint: disable=wrong-import-position
Setting = namedtuple("Setting", "connections pipeline keys")
CLIENTS = [(1, 1), (16, 1), (64, 1), (16, PIPELINED)]
# At one request under way each transaction takes at least one flush; some are let off for what the disk merges at the edges.
PER_FLUSH_MAX = 1.5


class Cell:
    """One row: a peer at one setting, or Weir alone (peer is None)."""

    def __init__(self, peer, setting, note=""):
        self.peer, self.setting, self.note = peer, setting, note
        self.weir, self.other = [], []    # points, a pair at each place
        self.far = []                     # ratios of pairs that were left out for their processors
        self.failed = ""

    def name(self):
        where = "in this process, " if self.peer is None or self.peer.where == "process" else ""
        return "%s%d x %d, %s accounts" % (where, self.setting.connections, self.setting.pipeline, "{:,}".format(self.setting.keys))


class Bench:
    def __init__(self, options):
        self.options, self.count, self.weir = options, 0, Weir(options)

    def one(self, who, setting, seed, **more):
        """One run in a folder of its own, removed afterwards."""
        self.count += 1
        folder = os.path.join(self.options.folder, "%03d-%s" % (self.count, who.name))
        os.mkdir(folder)
        os.chmod(folder, 0o755)
        try:
            point, what = who.run(setting, folder, seed, **more)
        finally:
            if not self.options.keep:
                shutil.rmtree(folder, ignore_errors=True)
        say("  %-13s %9s a second, p50 %s us, p99 %s us; %s" % (who.name, number(point["throughput"]), number(point["latency_us"]["p50"]),
                                                        number(point["latency_us"]["p99"]), what))
        if setting == Setting(1, 1, setting.keys) and 0 < PER_FLUSH_MAX * point["syncs"] < point["completed"]:
            raise Failed("%s answered %d transfers, one at a time, with %d flushes of the disk: not durable when answered" % (
                who.name, point["completed"], point["syncs"]))
        return point

    def pair(self, cell, seed, in_process):
        """Again where the machine's processors were not near each other all along (runs.py), up to --tries times."""
        for left in reversed(range(self.options.tries)):
            weir = self.one(self.weir, cell.setting, seed, in_process=in_process)
            other = self.one(cell.peer, cell.setting, seed) if cell.peer else None
            both = [point for point in (weir, other) if point]
            if left == 0 or all(map(runs.is_near, both)):
                return weir, other
            if other and all(map(runs.is_far, both)):
                cell.far.append(weir["throughput"] / other["throughput"])

    def cell(self, cell):
        say("%s, %s" % (cell.peer.title if cell.peer else "Weir alone", cell.name()))
        in_process = cell.peer is None or cell.peer.where == "process"
        for pair in range(self.options.pairs):
            seed = self.options.seed + pair
            try:
                weir, other = self.pair(cell, seed, in_process)
            except (Failed, subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
                cell.failed = str(error) or type(error).__name__
                say("  FAILED: %s" % cell.failed)
                return
            cell.weir.append(weir)
            if other:
                cell.other.append(other)


# ---- the table ----

def median(points, *path):
    """Of one figure; None where it is not known."""
    values = []
    for point in points:
        for step in path:
            point = (point or {}).get(step)
        values.append(point)
    return None if not values or None in values else statistics.median(values)


def latency(points):
    return "%s / %s" % (number(median(points, "latency_us", "p50")), number(median(points, "latency_us", "p99"))) if points else ""


def processor(points):
    server, client = median(points, "server_cpu_us", "per_request"), median(points, "client_cpu_us", "per_request")
    if client is None:
        return ""
    return "%.1f + %.1f" % (server, client) if server is not None else "%.1f in all" % client


def per_flush(points):
    values = [point["completed"] / point["syncs"] for point in points if point["syncs"]]
    if not values:
        return "not known" if points else ""
    median_value = statistics.median(values)
    return ("%.1f" if median_value >= 0.95 else "%.2f") % median_value


def ratio_of(cell):
    return [a["throughput"] / b["throughput"] for a, b in zip(cell.weir, cell.other)]


HEAD = ("peer", "clients", "Weir, transfers/s", "peer, transfers/s", "Weir : peer", "Weir, p50 / p99 us", "peer, p50 / p99 us",
        "Weir, processor us", "peer, processor us", "Weir, transfers a flush", "peer, transfers a flush", "remarks")


def row(cell):
    title = cell.peer.title if cell.peer else "(Weir alone)"
    cells = [title, cell.name()] + [""] * (len(HEAD) - 3) + [cell.note]
    if cell.weir:
        cells[2] = spread([point["throughput"] for point in cell.weir])
        cells[5], cells[7], cells[9] = latency(cell.weir), processor(cell.weir), per_flush(cell.weir)
    if cell.other:
        ratios = ratio_of(cell)
        cells[3], cells[4] = spread([point["throughput"] for point in cell.other]), spread(ratios, "{:.2f}".format)
        cells[6], cells[8], cells[10] = latency(cell.other), processor(cell.other), per_flush(cell.other)
        retries, failed = median(cell.other, "retries"), sum(point.get("failed", 0) for point in cell.other)
        if retries:
            cells[11] += "%.2f retries a transfer at the peer. " % retries
        if failed:
            cells[11] += "%d transfers failed at the peer. " % failed
        if statistics.median(ratios) < 1:
            cells[11] += "**The peer wins**: (why is to be found out)"
    both = cell.weir + cell.other
    if both and not all(map(runs.is_near, both)):
        cells[11] += "%d of %d runs beside processors that were near all along. " % (sum(map(runs.is_near, both)), len(both))
    if cell.far:
        cells[11] += "Ratio where they were far from each other: %s. " % spread(cell.far, "{:.2f}".format)
    if cell.failed:
        cells[11] = "FAILED: " + cell.failed.replace("|", "/")
    return "| %s |" % " | ".join(text.strip() for text in cells)


def table(bench, cells):
    o = bench.options
    versions = ", ".join(dict.fromkeys("%s %s" % (cell.peer.name, cell.peer.version) for cell in cells if cell.peer and not cell.note))
    lines = ["Weir %s on %s shards; %s. %s, %d cores, clients on the machine, %d interleaved pairs of %g s after %g s of warm-up; medians, "
             "lowest to highest in brackets; processor time is server + client, a transfer. Pairs not beside "
             "processors near each other were repeated up to %d times. %s." % (
                 bench.weir.version or "?", bench.weir.shards or "?", versions or "no peer", platform.machine(), os.cpu_count(), o.pairs,
                 o.seconds, o.warmup, o.tries, runs.pace([point for cell in cells for point in cell.weir + cell.other])), "",
             "| %s |" % " | ".join(HEAD), "|%s" % (" --- |" * len(HEAD))]
    return "\n".join(lines + [row(cell) for cell in cells])


# ---- what is run ----

def is_asked(kind, names):
    return any(kind.name == name or kind.name.startswith(name + "-") for name in names)


def rows_of(options, peer, reason):
    """Those that are left out have a note instead of figures."""
    cells = []
    for keys in options.keys:
        for connections, pipeline in CLIENTS if peer.where == "network" else [(1, 1)]:
            if (connections, pipeline) in options.clients:
                setting = Setting(connections, pipeline, keys)
                why = reason or peer.why_not(setting)
                cells.append(Cell(peer, setting, "left out: " + why if why else ""))
    return cells


def cells_of(options, names):
    cells, in_process = [], False
    for kind in PEERS:
        if not is_asked(kind, names):
            continue
        peer = kind(options)
        reason = peer.install()
        if reason:
            say("%s is left out: %s" % (peer.name, reason))
        cells += rows_of(options, peer, reason)
        in_process |= peer.where == "process"
    if in_process and (16, PIPELINED) in options.clients:
        cells += [Cell(None, Setting(16, PIPELINED, keys)) for keys in options.keys]
    return cells


def loader_build(options):
    """The loader, with SQLite and LMDB if they came only after Meson had looked for them."""
    known = subprocess.run(["meson", "introspect", "--dependencies", options.build], capture_output=True, text=True, check=True).stdout
    names = {item["name"] for item in json.loads(known)}
    if not {"sqlite3", "lmdb"} <= names:
        subprocess.run(["meson", "setup", "--reconfigure", options.build], stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["ninja", "-C", options.build, "weir", "bench/peers/load"], stdout=subprocess.DEVNULL, check=True)


def options_read():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--only", default=",".join(kind.name for kind in PEERS), help="peers; postgres means both of its rows")
    parser.add_argument("--clients", default=",".join("%dx%d" % pair for pair in CLIENTS), help="connections x requests under way on each")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warmup", type=float, default=1)
    parser.add_argument("--keys", default="1000", help="accounts; several with commas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=0, help="of Weir; 0: as it chooses")
    parser.add_argument("--tries", type=int, default=3, help="of a pair beside processors that are near each other")
    parser.add_argument("--folder", help="on the disk that is to be measured (that of --build)")
    parser.add_argument("--keep", action="store_true", help="leave data and traces of each run there")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.keys = [int(word) for word in options.keys.split(",")]
    options.clients = [tuple(map(int, word.split("x"))) for word in options.clients.split(",")]
    names = options.only.split(",")
    for name in names:
        if not any(is_asked(kind, [name]) for kind in PEERS):
            parser.error("no peer %s; there are %s" % (name, ", ".join(kind.name for kind in PEERS)))
    for pair in options.clients:
        if pair not in CLIENTS:
            parser.error("--clients: of %s" % ", ".join("%dx%d" % known for known in CLIENTS))
    if options.pairs < 1 or min(options.keys) < 2 or options.seconds <= 0:
        parser.error("at least one pair, two accounts and some time")
    return options, names


def main():
    options, names = options_read()
    parent = os.path.abspath(options.folder or options.build)
    options.folder = tempfile.mkdtemp(dir=parent, prefix="peers-")
    os.chmod(options.folder, 0o755)    # PostgreSQL runs as a user of its own
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bench, cells = Bench(options), []
    try:
        if not folder_is_disk(options.folder):
            say("%s is in memory, where a sync costs nothing: --folder names another" % options.folder)
            return 64
        cells = cells_of(options, names)
        loader_build(options)
        for cell in cells:
            if not cell.note:
                bench.cell(cell)
    finally:
        for server in list(Server.running):
            server.stop()
        if not options.keep:
            shutil.rmtree(options.folder, ignore_errors=True)
    print(table(bench, cells))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"weir": bench.weir.version, "shards": bench.weir.shards, "cores": os.cpu_count(), "seconds": options.seconds, "warmup": options.warmup, "rows": [
                {"peer": cell.peer.name if cell.peer else None, "version": cell.peer.version if cell.peer else None, **cell.setting._asdict(),
                 "left_out": cell.note or None, "failed": cell.failed or None, "weir": cell.weir, "other": cell.other, "ratios": ratio_of(cell)}
                for cell in cells]}, file, indent=1)
    failures = [cell for cell in cells if cell.failed]
    for cell in failures:
        say("FAILED: %s, %s: %s" % (cell.peer.name if cell.peer else "weir", cell.name(), cell.failed))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
