"""Processes of our own, and what the kernel says of them and of the disk.

SPDX-License-Identifier: MIT
"""
import os
import shutil
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
INITIAL = 1000000    # what each account holds at first, in all peers as in `weir bench ycsb`
TICK_US = 1000000 // os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A peer that does not start, does not answer or lost money."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_us(user=None):
    """Words in front of a command: it is killed when this process is, however that ends; may run as another user."""
    if not shutil.which("setpriv"):
        return []
    words = ["setpriv", "--pdeathsig", "KILL"]
    if user:
        words += ["--reuid", user, "--regid", user, "--clear-groups"]
    return words


class Server:
    """One process, in a session of its own with all that it starts; stopped when the `with` is left."""
    running = []

    def __init__(self, command, folder, env=None, user=None, stop=signal.SIGTERM, output="trace"):
        """What it says goes to files of the folder: errors to `trace`, all else to `output`."""
        self.stop_signal, self.trace, self.output = stop, os.path.join(folder, "trace"), os.path.join(folder, output)
        with open(self.trace, "ab") as trace, open(self.output, "ab" if output == "trace" else "wb") as out:
            # pylint: disable=consider-using-with  # __exit__ waits for it
            self.process = subprocess.Popen(die_with_us(user) + command, cwd=folder, env={**os.environ, **(env or {})},
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=trace, start_new_session=True)
        self.pid = self.process.pid
        Server.running.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def last_words(self):
        with open(self.trace, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
        return " / ".join(lines[-3:])[-400:]

    def wait_until(self, ready, what, seconds=60):
        end = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None:
                raise Failed("%s ended: %s" % (what, self.last_words()))
            if time.monotonic() > end:
                raise Failed("%s did not serve within %d s: %s" % (what, seconds, self.last_words()))
            time.sleep(0.05)

    def wait_port(self, port, what):
        self.wait_until(lambda: port_open(port), what)

    def group(self, number):
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def stop(self):
        """Asks it, then ends whatever of its session is left."""
        if self in Server.running:
            Server.running.remove(self)
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                pass
        self.group(signal.SIGKILL)
        self.process.wait(timeout=20)


def port_open(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(command, folder, seconds=120, env=None):
    """A command to its end; its output. Failed when it fails or takes longer."""
    with Server(command, folder, env, output="output") as server:
        try:
            code = server.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed("%s did not end within %d s" % (os.path.basename(command[0]), seconds)) from None
        if code != 0:
            raise Failed(server.last_words() or "%s: exit code %d" % (os.path.basename(command[0]), code))
        with open(server.output, encoding="utf-8", errors="replace") as file:
            return file.read()


def cpu_of_tree(pid):
    """Microseconds of a process, its descendants, and those of them that have ended."""
    times, children = {}, {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open("/proc/%s/stat" % name, encoding="utf-8", errors="replace") as file:
                words = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        times[int(name)] = sum(map(int, words[11:15]))    # user, system, and both of children waited for
        children.setdefault(int(words[1]), []).append(int(name))
    total, left = 0, [pid]
    while left:
        at = left.pop()
        total += times.get(at, 0)
        left += children.get(at, [])
    return total * TICK_US


def disk_flushes(folder):
    """Cache flushes of the whole disk so far; 0: not known. As load.c counts them."""
    device = os.stat(folder).st_dev
    path = "/sys/dev/block/%d:%d" % (os.major(device), os.minor(device))
    if os.path.exists(path + "/partition"):
        path += "/.."
    try:
        with open(path + "/stat", encoding="utf-8") as file:
            return int(file.read().split()[15])
    except (OSError, IndexError):
        return 0


class Span:
    """From here to end(): time, processor time and flushes."""

    def __init__(self, server_pid, client_pid, folder):
        self.pids, self.folder = (server_pid, client_pid), folder
        self.begin, self.first = time.time(), self.read()

    def read(self):
        return [cpu_of_tree(pid) for pid in self.pids] + [disk_flushes(self.folder)]

    def end(self):
        self.last, self.finish = self.read(), time.time()

    def point(self, latencies_us, failed=0):
        """The figures as load.c and `weir bench` write them; `latencies_us` of the requests answered within the span."""
        done, server_us, client_us, flushes = len(latencies_us), *(b - a for a, b in zip(self.first, self.last))
        ranked = sorted(latencies_us)
        if not done:
            raise Failed("nothing was answered within the measured span")
        return {"throughput": done / (self.finish - self.begin), "completed": done, "failed": failed, "syncs": flushes,
                "latency_us": {name: ranked[min(done - 1, int(share * done))] for name, share in
                               (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1))},
                "server_cpu_us": {"per_request": server_us / done}, "client_cpu_us": {"per_request": client_us / done}}
