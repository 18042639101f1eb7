"""What budgets and curves share: runs of `weir bench` whose checks passed, servers of our own, medians, the machine.

SPDX-License-Identifier: MIT
"""
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
# What the kernel counts for a process of several threads grows in steps: less than this is no time to divide by.
CPU_S_MIN = 0.01
NEVER = 10 ** 12        # bytes of log that no run reaches: no checkpoint
# Cost is measured here, not shedding: no request is refused because the machine was busy with something else.
PATIENT = ("--limit", "queue_wait_max_ms=1000000", "--limit", "request_deadline_ms=1000000")


class Broken(Exception):
    """A run that failed, or whose state was not what its answers said."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def introspected(build, name):
    with open(os.path.join(build, "meson-info", name), encoding="utf-8") as file:
        return json.load(file)


def machine(build):
    """One line: what was measured, and on what."""
    options = {option["name"]: option["value"] for option in introspected(build, "intro-buildoptions.json")}
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True, check=False)
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    how = "%s, -O%s" % (options["buildtype"], options["optimization"]) + (", optimised at link time" if options.get("b_lto") else "") + (
        ", by a profile" if options.get("b_pgo") == "use" else "")
    return "Commit %s, %s; %d cores, %s, %.0f GB; load %.1f before" % (
        commit.stdout.strip() or "unknown", how, os.cpu_count(),
        model or platform.machine(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, os.getloadavg()[0])


def folder_is_disk(folder):
    """False when a sync costs nothing there."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=False).stdout.strip()
    return kind not in ("tmpfs", "ramfs")


def number(n):
    if n is None:
        return ""
    return "{:,.0f}".format(n) if abs(n) >= 100 else "%.3g" % n


def spread(values, form=number):
    """The median, and between what it lies."""
    return form(statistics.median(values)) if len(values) == 1 else "%s (%s to %s)" % (
        form(statistics.median(values)), form(min(values)), form(max(values)))


NEAR_NS = 250       # there and back: more than within a last-level cache takes, less than between two


def line_ns(point):
    """What a cache line took between processors, before and after it was measured; 0: not known."""
    return [point.get(when, {}).get("line_ns", 0) for when in ("before", "after")]


def is_near(point):
    """A virtual machine's processors are moved about by its host: all along under one last-level cache."""
    return "before" not in point or os.cpu_count() == 1 or all(0 < ns <= NEAR_NS for ns in line_ns(point))


WHOLE = 0.85         # of the most additions seen: less is a core that others work on, too


def additions(point):
    """G a second, before and after it was measured."""
    return [point.get(when, {}).get("additions", 0) for when in ("before", "after")]


def rank(point, most):
    """2: beside near processors that had their cores for themselves, as far as the most additions seen tell. 1: near ones. 0: else."""
    if not is_near(point):
        return 0
    return 2 if "before" not in point or min(additions(point)) >= WHOLE * most else 1


def is_far(point):
    return min(line_ns(point)) > NEAR_NS


def pace(points):
    """What the processors were like beside what was measured."""
    points = [point for point in points if "before" in point]
    if not points:
        return "What the processors were like is not known"
    added = [figure for point in points for figure in additions(point)]
    lines = [ns for point in points for ns in line_ns(point)]
    return ("Before and after them a processor did %s G additions a second, and a cache line to another and back took %s ns" % (
        spread(added, "{:.1f}".format), spread(lines, "{:.0f}".format)))


class Weir:
    """The program under test, and a folder for its work on the disk of `build`."""

    def __init__(self, build, folder=None, requests=None):
        """`requests`: so many in each run, whatever time was asked for."""
        self.requests = requests
        self.build = os.path.abspath(build)
        self.path = os.path.join(self.build, "weir")
        self.folder = tempfile.mkdtemp(dir=os.path.abspath(folder or build), prefix="bench-")
        self.count = 0
        if not folder_is_disk(self.folder):
            self.close()
            raise SystemExit("%s is in memory, where a sync costs nothing: --folder names another" % (folder or build))

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def place(self):
        self.count += 1
        return os.path.join(self.folder, "%03d" % self.count)

    def figures(self, *words, seconds=None, keep=None, timeout=600):
        """A run of `weir bench`, with all points; Broken unless its own checks held."""
        place = keep or self.place()
        path = place + ".json"
        spans = []
        if seconds and self.requests and "--sweep" not in words:
            spans = ["--requests", str(self.requests)]
        elif seconds:
            spans = ["--seconds", str(seconds), "--warmup", str(seconds / 5)]
        command = [self.path, "bench", *map(str, words), *spans, "--json", path]
        if "--connect" not in words:
            command += ["--data", place, *PATIENT]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise Broken("%s: not done within %d s" % (" ".join(command), timeout)) from None
        finally:
            if not keep:
                shutil.rmtree(place, ignore_errors=True)
        if done.returncode != 0 or "BROKEN" in done.stdout or "holds " not in done.stdout:
            raise Broken("%s: exit code %d\n%s%s" % (" ".join(command), done.returncode, done.stdout[-2000:], done.stderr[-2000:]))
        with open(path, encoding="utf-8") as file:
            figures = json.load(file)
        os.unlink(path)
        for point in figures["points"]:
            if point["failed"]:
                raise Broken("%s: %d requests failed: %s" % (" ".join(command), point["failed"], point["causes"]))
            if not point["completed"]:
                raise Broken("%s: nothing was answered within the measured span" % " ".join(command))
        return figures

    def point(self, *words, **more):
        return self.figures(*words, **more)["points"][0]


def cpu_us(point):
    """Of all the engine's threads, a request."""
    return sum(point["server_threads_us"].values()) / point["completed"]


def thread_us(point, name):
    """Of the engine's threads of that name, a request."""
    return point["server_threads_us"].get(name, 0) / point["completed"]


class Server:
    """`weir run`, and one connection to it."""

    def __init__(self, weir, app, data, *words):
        with open(data + ".trace", "w+", encoding="utf-8") as trace:
            # pylint: disable=consider-using-with  # __exit__ waits for it
            self.process = subprocess.Popen([weir.path, "run", app, "--data", data, "--http", "none", "--resp", "127.0.0.1:0", "--json",
                                             *map(str, words)], stdout=subprocess.PIPE, stderr=trace, text=True)
            line = self.process.stdout.readline()
            if not line:
                self.process.wait(timeout=60)
                trace.seek(0)
                raise Broken("weir run %s: %s" % (app, trace.read()[-2000:]))
        self.report = json.loads(line)
        self.port = int(self.report["resp"].rsplit(":", 1)[1])
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()
        self.process.terminate()
        self.process.stdout.close()
        if self.process.wait(timeout=60) != 0:
            raise Broken("weir run ended with %d" % self.process.returncode)

    def send(self, commands):
        self.socket.sendall(b"".join(b"*%d\r\n%s" % (len(words), b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
                                     for words in ([str(word).encode() for word in words] for words in commands)))

    def read(self):
        """A number or a text; an error is Broken."""
        line = self.file.readline()
        if line[:1] == b":":
            return int(line[1:])
        if line[:1] == b"$":
            return None if line[1:3] == b"-1" else self.file.read(int(line[1:]) + 2)[:-2].decode()
        if line[:1] == b"+":
            return line[1:-2].decode()
        raise Broken("weir run answered %r" % line)

    def ask(self, *words):
        self.send([words])
        return self.read()

    def info(self):
        lines = (line.split(":", 1) for line in self.ask("INFO").splitlines() if ":" in line)
        return {name: int(value) for name, value in lines if value.isdigit()}

    def sum(self, kind, names, handler, batch=1000):
        """Of what the handler of each answers."""
        total = 0
        for at in range(0, len(names), batch):
            some = names[at:at + batch]
            self.send(("CALL", kind, name, handler) for name in some)
            total += sum(self.read() for _ in some)
        return total

    def cpu_s(self):
        """All threads, in seconds."""
        total = 0
        for task in os.listdir("/proc/%d/task" % self.process.pid):
            with open("/proc/%d/task/%s/schedstat" % (self.process.pid, task), encoding="utf-8") as file:
                total += int(file.read().split()[0])
        return total / 1e9

    def resident_bytes(self):
        with open("/proc/%d/status" % self.process.pid, encoding="utf-8") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))


def readme_write(name, text):
    """Puts it between `<!-- name -->` and `<!-- end of name -->` of bench/README.md."""
    path = os.path.join(HERE, "README.md")
    first, last = "<!-- %s -->\n" % name, "<!-- end of %s -->\n" % name
    with open(path, encoding="utf-8") as file:
        whole = file.read()
    if whole.count(first) != 1 or whole.count(last) != 1:
        raise SystemExit("%s has no place for %s" % (path, name))
    head, rest = whole.split(first)
    with open(path, "w", encoding="utf-8") as file:
        file.write(head + first + text.rstrip("\n") + "\n" + last + rest.split(last)[1])
