"""The real binary, file systems of our own, and what keeps them from outliving the run.

All mounts are made in a mount namespace of the runner's own (run.py enters it), so they go with its last process
whatever ends it; loop devices are attached by mount and let go with it. Servers die with the runner.

SPDX-License-Identifier: MIT
"""
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time

import harness
from harness import Fail, Skip

HERE = os.path.dirname(os.path.abspath(__file__))
APP = os.path.join(HERE, "app.lua")
os.environ["PATH"] += ":/usr/sbin:/sbin"
MARK = "WEIR_FILES_NAMESPACE"
FS_IOC_SHUTDOWN = 0x8004587D
SHUT_DEFAULT, SHUT_LOGFLUSH, SHUT_NOLOGFLUSH = 0, 1, 2
FALLOC_PUNCH = 1 | 2    # keep the size, punch a hole
MIB = 1 << 20

libc = ctypes.CDLL(None, use_errno=True)


def pause(seconds):
    """A moment chosen by chance: when to strike, not a wait for something."""
    threading.Event().wait(seconds)


def until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Fail("after %g s still not: %s" % (seconds, what))
        pause(0.002)


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError("%s: %s" % (" ".join(map(str, words)), (done.stderr or done.stdout).strip()))
    return done.stdout


# ---- servers ----

class Server(harness.Server):
    """A server that is started often, may be killed before it is ready, and never outlives the runner."""

    def __init__(self, data, *options, wrapper=(), trace=None, start=True):
        self.data, self.wrapper, self.wait_start, self.given = data, list(wrapper), start, trace
        die = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self.process, self.ready_s = None, 0
        super().__init__(APP, data, *options, wrapper=[*die])
        self.plain = self.command

    def spawn(self):
        if self.process:
            self.process.stdout.close()
        if self.given:
            self.trace.close()
            self.trace = open(self.given, "a+")
        self.process = subprocess.Popen(self.wrapper + self.command, stdout=subprocess.PIPE, stderr=self.trace, text=True,
                                        start_new_session=True)

    def start(self):
        if not self.wait_start:
            self.wait_start = True
            return
        begin = time.monotonic()
        self.spawn()
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(30)
            raise Fail("the server did not start: exit code %d\n%s" % (code, self.trace_text()))
        self.ready_s = time.monotonic() - begin
        self.report = json.loads(line)
        self.http = int(self.report["http"].rsplit(":", 1)[1])
        self.resp = int(self.report["resp"].rsplit(":", 1)[1])

    def trace_text(self):
        with open("/proc/self/fd/%d" % self.trace.fileno(), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4000))
            return file.read().decode(errors="replace").lstrip("\0")

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def alive(self):
        return self.process.poll() is None

    def ended(self, seconds):
        """The exit code, or None."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def files(self, prefix=""):
        with contextlib.suppress(OSError):
            return sorted(name for name in os.listdir(self.data) if name.startswith(prefix))
        return []

    def settled(self, seconds=10):
        """Waits until the log writer has made what it makes ahead: three looks with nothing changed."""
        seen, same = None, 0
        end = time.monotonic() + seconds
        while same < 3:
            now = [(name, os.stat(os.path.join(self.data, name)).st_size) for name in self.files()
                   if os.path.exists(os.path.join(self.data, name))]
            same = same + 1 if now == seen else 0
            seen = now
            if time.monotonic() > end:
                raise Fail("the data directory does not come to rest")
            pause(0.02)

    def segment(self):
        """(path, bytes, end of what is written) of the segment in use."""
        best = None
        for name in self.files("log-"):
            path = os.path.join(self.data, name)
            with open(path, "rb") as file:
                text = file.read()
            if text[64:68] == b"WFRM" or best is None:
                best = (path, len(text), len(text.rstrip(b"\0")))
        return best

    def segment_path(self, name):
        return os.path.join(self.data, name)

    def written(self, name):
        """Bytes of a segment that are in use."""
        with open(self.segment_path(name), "rb") as file:
            return len(file.read().rstrip(b"\0"))

    def __exit__(self, *_):
        if self.process:
            if self.process.poll() is None:
                self.kill()
            self.process.stdout.close()
        self.trace.close()


# ---- file systems ----

def want_root():
    if os.environ.get(MARK) != "1":
        raise Skip("no mount namespace here (needs root and unshare)")


@contextlib.contextmanager
def mounted(kind, source, path, options=""):
    os.makedirs(path, exist_ok=True)
    try:
        run("mount", "-t", kind, *(["-o", options] if options else []), source, path)
    except OSError as error:
        raise Skip("cannot mount %s: %s" % (kind, error)) from None
    try:
        yield path
    finally:
        unmount(path)


def unmount(path):
    for _ in range(500):
        done = subprocess.run(["umount", path], capture_output=True, text=True)
        if done.returncode == 0 or "not mounted" in done.stderr or "no mount" in done.stderr:
            return
        pause(0.01)   # a killed process may still hold files for a moment
    subprocess.run(["umount", "-l", path], capture_output=True)


@contextlib.contextmanager
def tmpfs(size):
    want_root()
    path = tempfile.mkdtemp(prefix="weir-files-")
    try:
        with mounted("tmpfs", "tmpfs", path, "size=%d" % size):
            yield path
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(path)


MKFS = {"ext4": ("mkfs.ext4", "-q", "-F", "-m", "0"), "xfs": ("mkfs.xfs", "-q", "-f"), "btrfs": ("mkfs.btrfs", "-q", "-f")}
BYTES_MIN = {"ext4": 32 * MIB, "xfs": 320 * MIB, "btrfs": 160 * MIB}


BLOCK_4096 = {"ext4": ("-b", "4096"), "xfs": ("-s", "size=4096"), "btrfs": ("-s", "4096")}


class Image:
    """A file system in a sparse file, mounted through a loop device.

    `honest`: its requests are whole pages, one each. Linux's loop driver answers "done" to a write of which only a
    first part had room (seen on 6.18: two pages, the second in a hole of a full tmpfs, fsync 0), which no log survives."""

    def __init__(self, folder, kind, size, honest=False, options=""):
        if not shutil.which(MKFS[kind][0]):
            raise Skip("no %s here" % MKFS[kind][0])
        if not os.path.exists("/dev/loop-control"):
            raise Skip("no loop devices here")
        self.kind, self.file, self.path = kind, os.path.join(folder, kind + ".img"), os.path.join(folder, kind)
        with open(self.file, "wb") as file:
            file.truncate(max(size, BYTES_MIN[kind]))
        run(*MKFS[kind], *(BLOCK_4096[kind] if honest else ()), self.file)
        os.makedirs(self.path, exist_ok=True)
        self.is_mounted, self.honest, self.options = False, honest, options

    def mount(self):
        try:
            run("mount", "-t", self.kind, "-o", "loop" + self.options, self.file, self.path)
        except OSError as error:
            raise Skip("cannot mount %s through a loop device: %s" % (self.kind, error)) from None
        self.is_mounted = True
        if self.honest:
            self.one_page_a_request()

    def one_page_a_request(self):
        device = os.path.basename(run("findmnt", "-n", "-o", "SOURCE", "--mountpoint", self.path).strip())
        path = "/sys/block/%s/queue/max_sectors_kb" % device
        try:
            with open(path, "w") as file:
                file.write("4")
        except OSError as error:
            self.unmount()
            raise Skip("requests of a loop device cannot be kept to one page: %s: %s" % (path, error)) from None

    def unmount(self):
        if self.is_mounted:
            unmount(self.path)
        self.is_mounted = False

    def cut(self, flag):
        """The power goes. NOLOGFLUSH: what was not synced is lost."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, FS_IOC_SHUTDOWN, struct.pack("I", flag))
        finally:
            os.close(handle)

    def punch(self):
        """Gives the zeros in the image back: writing there needs room again."""
        punch_zeros(self.file, 0)

    def __enter__(self):
        self.mount()
        return self

    def __exit__(self, *_):
        self.unmount()


def punch_zeros(path, begin, step=64 << 10):
    zeros = bytes(step)
    handle = os.open(path, os.O_RDWR)
    try:
        size = os.fstat(handle).st_size
        at = (begin + 4095) // 4096 * 4096
        while at < size:
            with contextlib.suppress(OSError):
                at = os.lseek(handle, at, os.SEEK_DATA) // 4096 * 4096
            piece = os.pread(handle, step, at)
            if not piece:
                break
            if piece == zeros[:len(piece)]:
                punch(handle, at, len(piece))
            else:
                for part in range(0, len(piece), 4096):
                    if piece[part:part + 4096] == zeros[:len(piece[part:part + 4096])]:
                        punch(handle, at + part, 4096)
            at += len(piece)
    finally:
        os.close(handle)


def punch(handle, at, size):
    if libc.fallocate(handle, FALLOC_PUNCH, ctypes.c_long(at), ctypes.c_long(size)) != 0:
        raise Skip("no holes can be made here: %s" % os.strerror(ctypes.get_errno()))


class Filler:
    """Takes the room of a file system, but `leave` bytes, and gives it back."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "filler")

    def fill(self, leave=0):
        with open(self.path, "ab", buffering=0) as file:
            for _ in range(2 if leave == 0 else 1):    # what was set aside for the first is settled by its sync
                for step in (4 * MIB, 256 << 10, 4096):
                    block = b"x" * step
                    with contextlib.suppress(OSError):
                        while leave == 0 or self.room() - step > leave:
                            file.write(block)
                with contextlib.suppress(OSError):
                    os.fsync(file.fileno())

    def room(self):
        found = os.statvfs(os.path.dirname(self.path))
        return found.f_bavail * found.f_frsize

    def free(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
