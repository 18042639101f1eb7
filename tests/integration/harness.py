"""What the integration tests share: starting the real binary, HTTP and RESP clients, counting.

SPDX-License-Identifier: MIT
"""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLES = os.path.join(ROOT, "examples")
BANK = os.path.join(EXAMPLES, "bank.lua")
BUILD = os.path.join(ROOT, "build")


class Skip(Exception):
    """This machine cannot run the test; the text says why."""


class Fail(Exception):
    """An expectation did not hold."""


class RespError:
    """An error reply; compares by its first word."""

    def __init__(self, text):
        self.text = text
        self.code = text.split(" ", 1)[0]

    def __repr__(self):
        return "-" + self.text


def equal(got, wanted, what=""):
    if got != wanted:
        raise Fail("%s: got %r, wanted %r" % (what or "value", got, wanted))


def true(condition, what):
    if not condition:
        raise Fail(what)


def weir_path():
    return os.path.join(BUILD, "weir")


def weir(*words, cwd=None, timeout=60, environment=None):
    """Runs a verb to its end: (exit code, stdout, stderr)."""
    done = subprocess.run([weir_path(), *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=timeout,
                          env=environment, errors="replace")
    return done.returncode, done.stdout, done.stderr


def lua_tests_pass(*path):
    """All cases of a test file in Lua."""
    code, out, error = weir("test", os.path.join(*path))
    equal(code, 0, out + error)


def compile_c(arguments, what):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        raise Skip("no C compiler for " + what)
    done = subprocess.run([compiler, *arguments], capture_output=True, text=True, cwd=ROOT)
    equal(done.returncode, 0, done.stderr)


def sanitizers():
    """The flags of a sanitized build, which what is linked to it needs too."""
    name = os.path.basename(BUILD)
    return ["-fsanitize=address,undefined"] if "asan" in name else ["-fsanitize=thread"] if "tsan" in name else []


def patience():
    """Options of a server: what a sanitizer does between two instructions of a handler counts as the handler's."""
    return ("--limit", "cpu_ms_max=2000") if sanitizers() else ()


class Resp:
    """One RESP connection. ask() is one command; send() and read() pipeline."""

    def __init__(self, port, version=2, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 16)
        if version == 3:
            self.ask("HELLO", "3")

    def send(self, *commands):
        parts = []
        for words in commands:
            parts.append(b"*%d\r\n" % len(words))
            for word in words:
                word = word if isinstance(word, bytes) else str(word).encode()
                parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
        self.socket.sendall(b"".join(parts))

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RespError(rest.decode(errors="replace"))
        if kind in b":(":
            return int(rest)
        if kind == b",":
            return float(rest)
        if kind == b"#":
            return rest == b"t"
        if kind == b"_":
            return None
        if kind in b"$=!":
            if rest == b"-1":
                return None
            body = self.file.read(int(rest) + 2)
            if len(body) != int(rest) + 2:
                raise ConnectionError("closed")
            text = body[:-2].decode(errors="replace")
            return RespError(text) if kind == b"!" else text[4:] if kind == b"=" else text
        if kind in b"*~>":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"%":
            return {self.read(): self.read() for _ in range(int(rest))}
        raise Fail("not RESP: %r" % line)

    def ask(self, *words):
        self.send(words)
        return self.read()

    def call(self, kind, key, handler, *arguments):
        return self.ask("CALL", kind, key, handler, *arguments)

    def row(self, kind, key):
        """The row as a dict, or None."""
        row = self.ask("GETROW", kind, key)
        if isinstance(row, str):
            return json.loads(row)
        if isinstance(row, list):
            return dict(zip(row[::2], row[1::2]))
        return row

    def close(self):
        try:
            self.file.close()
            self.socket.close()
        except OSError:
            pass


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The error's machine word, wherever problem+json carries it."""
        problem = self.json
        return problem.get("code") or str(problem.get("type", "")).rsplit("/", 1)[-1].rsplit("#", 1)[-1]

    def __repr__(self):
        return "%d %s" % (self.status, self.body[:300])


class Server:
    """A running `weir run` on free ports. Use it as a context: it is stopped at the end, by force if need be."""

    def __init__(self, app, data, *options, wrapper=(), http="127.0.0.1:0", resp="127.0.0.1:0"):
        self.command = [*wrapper, weir_path(), "run", *([app] if isinstance(app, str) else app), "--data", data,
                        "--http", http, "--resp", resp, "--json", *map(str, options)]
        self.trace = tempfile.TemporaryFile("w+")
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=self.trace, text=True,
                                        start_new_session=True)
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(30)
            raise Fail("the server did not start: exit code %d\n%s" % (code, self.trace_text()))
        self.report = json.loads(line)
        self.http = int(self.report["http"].rsplit(":", 1)[1]) if "http" in self.report else 0
        self.resp = int(self.report["resp"].rsplit(":", 1)[1]) if "resp" in self.report else 0

    def trace_all(self):
        self.trace.flush()
        self.trace.seek(0)
        return self.trace.read()

    def trace_text(self):
        return self.trace_all()[-4000:]

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self, timeout=20):
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise Fail("SIGTERM did not end the server\n" + self.trace_text()) from None
        return self.process.returncode

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=30)
        try:
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read().decode(errors="replace"))
        finally:
            connection.close()

    def post(self, path, body=None, **headers):
        return self.request("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def get(self, path):
        return self.request("GET", path)

    def connect(self, version=2):
        return Resp(self.resp, version)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self.process.stdout.close()
        self.trace.close()


class Folder:
    """A folder that goes at the end."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="weir-test-")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def join(self, *names):
        return os.path.join(self.path, *names)

    def write(self, name, text):
        with open(self.join(name), "w") as file:
            file.write(text)
        return self.join(name)


TICKS = os.sysconf("SC_CLK_TCK")


def status_of(pid):
    """(resident bytes, threads) of a process."""
    found = {}
    with open("/proc/%d/status" % pid) as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "Threads"):
                found[name] = int(rest.split()[0])
    return found["VmRSS"] * 1024, found["Threads"]


def cpu_s(pid):
    """Seconds of processor time that a process has had."""
    with open("/proc/%d/stat" % pid) as file:
        words = file.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICKS


def machine_s():
    """Seconds of all processors: busy, and all there are."""
    with open("/proc/stat") as file:
        numbers = [int(n) / TICKS for n in file.readline().split()[1:9]]
    return sum(numbers) - numbers[3] - numbers[4], sum(numbers)


def until(condition, what, seconds):
    """Polls until the condition holds; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise Fail("not within %d s: %s" % (seconds, what))


def stream_events(server, stream, **parameters):
    """All events of a stream, page by page."""
    events, start = [], "oldest"
    query = "".join("&%s=%s" % pair for pair in parameters.items())
    while True:
        page = server.get("/streams/%s?from=%s&limit=10000%s" % (stream, start, query)).json
        if not page["events"]:
            return events
        events += page["events"]
        start = page["next"]


TESTS = []


def test(function):
    """A test takes a Folder. Its name is a claim."""
    TESTS.append(function)
    return function


def run(tests, workers):
    """Runs the tests and prints a line for each and the sum; the exit code."""
    lock, todo = threading.Lock(), iter(tests)  # which may go on while they run
    counts = {"passed": 0, "failed": 0, "skipped": 0}

    def one(function):
        begin = time.monotonic()
        word, text = "passed", ""
        try:
            with Folder() as folder:
                function(folder)
        except Skip as reason:
            word, text = "skipped", str(reason)
        except (Fail, AssertionError) as reason:
            word, text = "failed", "%s\n%s" % (reason, "".join(traceback.format_exc(limit=-2)))
        except Exception:
            word, text = "failed", traceback.format_exc()
        with lock:
            counts[word] += 1
            mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "SKIP"}[word]
            print("%s %s (%.1f s)%s" % (mark, function.__name__, time.monotonic() - begin, ": " + text if text else ""),
                  flush=True)

    def work():
        while True:
            with lock:
                function = next(todo, None)
            if function is None:
                return
            one(function)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] else 0


def options_read(parser):
    """The options of a runner: its own and those of all. Ends the runner where there is no program to test."""
    global BUILD
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="the build folder")
    parser.add_argument("--only", default="", help="tests whose name holds this text")
    parser.add_argument("--jobs", type=int, default=2, help="tests at a time")
    options = parser.parse_args()
    BUILD = os.path.abspath(options.build)
    if not os.access(weir_path(), os.X_OK):
        print("no weir in %s; run `make` first\n0 passed, 1 failed, 0 skipped" % options.build)
        sys.exit(1)
    return options


def run_chosen(options):
    """Runs the tests that are loaded and whose names `--only` allows; the exit code."""
    return run([t for t in TESTS if options.only in t.__name__], options.jobs)
