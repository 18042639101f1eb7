"""What the process and its directory take, looked at again and again, and what may be said of it at the end.

SPDX-License-Identifier: MIT
"""
import os
import statistics
import time

from harness import Fail, RespError
from world import CHECKPOINT_BYTES, MIB, Actor

SAMPLES_MAX = 4000    # of a run, however long
OTHERS_MAX = 0.25     # of the machine's time taken by programs that are not ours: above it latencies are not judged
KEEP_BYTES = MIB      # of each stream in soak.lua that is kept by size; a file of it is an eighth
LATEST_BYTES = 4 * MIB    # of the one that is kept as latest, until its compaction comes round
TICKS = os.sysconf("SC_CLK_TCK")


def status(pid):
    """(resident bytes, threads)."""
    found = {}
    with open("/proc/%d/status" % pid) as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "Threads"):
                found[name] = int(rest.split()[0])
    return found["VmRSS"] * 1024, found["Threads"]


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as file:
        words = file.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / TICKS


def machine_s():
    """Seconds of processors: busy, and all there are."""
    with open("/proc/stat") as file:
        numbers = [int(n) / TICKS for n in file.readline().split()[1:9]]
    return sum(numbers) - numbers[3] - numbers[4], sum(numbers)


def descriptors(pid, data):
    """(sockets, files of the data directory, others)."""
    counts, folder = [0, 0, 0], "/proc/%d/fd" % pid
    for name in os.listdir(folder):
        try:
            target = os.readlink(os.path.join(folder, name))
        except OSError:
            continue
        counts[0 if target.startswith("socket:") else 1 if target.startswith(data) else 2] += 1
    return tuple(counts)


def disk(data):
    """{kind of file: [files, bytes on the disk, of the largest]}."""
    found = {}
    for name in os.listdir(data):
        try:
            size = os.stat(os.path.join(data, name)).st_blocks * 512
        except OSError:
            continue
        one = found.setdefault(name.split("-")[0], [0, 0, 0])
        found[name.split("-")[0]] = [one[0] + 1, one[1] + size, max(one[2], size)]
    return found


def info(connection):
    answer = connection.ask("INFO")
    if isinstance(answer, RespError):
        raise ConnectionError(repr(answer))
    return dict(line.split(":", 1) for line in answer.split("\r\n") if ":" in line)


class Sample:
    def __init__(self, world, connection, done):
        self.done, self.own = done, sum(os.times()[:2])
        self.busy, self.all = machine_s()
        self.cpu = cpu_s(world.server.process.pid)
        self.at, self.shards, self.life = time.monotonic(), world.shards, world.started_at
        pid = world.server.process.pid
        self.rss, self.threads = status(pid)
        self.sockets, self.files, self.others = descriptors(pid, world.data)
        figures, kinds = info(connection), disk(world.data)
        self.state = int(figures["used_memory_rows"])
        kept = {name: int(value.split("bytes=")[1].split(",")[0]) for name, value in figures.items() if name.startswith("stream_")}
        self.kept, self.latest = sum(kept.values()), kept.pop("stream_prices")
        self.stream = max(kept.values())
        self.logs, self.segment, self.checkpoint, self.checkpoints, self.other = 0, 0, 0, 0, 0
        for kind, (_, total, largest) in kinds.items():
            if kind in ("log", "spare", "reserve"):
                self.logs, self.segment = self.logs + total, max(self.segment, largest)
            elif kind == "checkpoint":
                self.checkpoint, self.checkpoints = largest, total
            else:
                self.other += total
        self.disk = self.logs + self.checkpoints + self.other


class Watch(Actor):
    def __init__(self, world, dial, done):
        super().__init__(world, "watch")
        self.samples, self.dial, self.done = [], dial, done

    def work(self):
        self.every = max(0.25, self.world.seconds / SAMPLES_MAX)
        connection = None
        while not self.world.over.wait(self.every):
            if not self.world.is_quiet(time.monotonic()):
                if connection:
                    connection.close()
                connection = None
                continue
            try:
                connection = connection or self.dial()
                sample = Sample(self.world, connection, self.done())
            except (OSError, KeyError, Fail):
                connection = None    # it was killed meanwhile
                continue
            if self.world.is_quiet(time.monotonic()) and sample.life == self.world.started_at:
                self.samples.append(sample)

    def of_eighth(self, number):
        return [s for s in self.samples if self.world.eighth(s.at) == number]

    def steps(self, numbers):
        """Pairs of samples of these eighths with no fault between them."""
        some = [s for s in self.samples if self.world.eighth(s.at) in numbers]
        return [(a, b) for a, b in zip(some, some[1:]) if a.life == b.life and b.at - a.at < 2 * self.every + 1]

    def work_ms(self, numbers):
        """Processor time of the server for an operation, with all that comes of it."""
        steps = self.steps(numbers)
        return sum(b.cpu - a.cpu for a, b in steps) * 1e3 / max(1, sum(b.done - a.done for a, b in steps))

    def others(self, numbers):
        """The share of the machine that programs had which are not ours."""
        steps = self.steps(numbers)
        own = sum(b.cpu - a.cpu + b.own - a.own for a, b in steps)
        return max(0.0, sum(b.busy - a.busy for a, b in steps) - own) / max(1e-9, sum(b.all - a.all for a, b in steps))


# ---- judging ----

def median(samples, name):
    return statistics.median(getattr(s, name) for s in samples) if samples else 0


def memory(watch, long_life, records, say):
    """Rows: the second eighth beside the last. The process: within its longest life, after its first fifth.

    records: request records that may have come since, in a run too short for any to go."""
    early, late = watch.of_eighth(1), watch.of_eighth(7)
    if not early or not late:
        raise Fail("no samples in the second or the last eighth")
    was, now = median(early, "state"), median(late, "state")
    say("rows in memory %.2f MB, then %.2f MB (%+.1f %%)" % (was / 1e6, now / 1e6, (now / was - 1) * 100))
    if now > was * 1.05 + records * 100:
        raise Fail("rows grow from %d to %d bytes at constant data" % (was, now))
    life = [s for s in watch.samples if s.life == long_life]
    first, last = life[len(life) // 5:len(life) * 2 // 5 + 1], life[len(life) * 4 // 5:]
    was, now, between = median(first, "rss"), median(last, "rss"), last[0].at - first[0].at
    say("resident %.1f MB, %.0f s later %.1f MB (%+.1f %%), most ever %.1f MB" % (
        was / 1e6, between, now / 1e6, (now / was - 1) * 100, max(s.rss for s in watch.samples) / 1e6))
    say("resident by eighth, MB: " + " ".join("%.1f" % (median(watch.of_eighth(n), "rss") / 1e6) for n in range(8)))
    # and in such a run the buffers of a checkpoint may come after the first look
    if now > was * 1.05 + records * 400 + (8 * MIB if records else 0):
        raise Fail("the process grows from %d to %d bytes of resident memory at constant data" % (was, now))


def open_files(watch, say):
    """Sockets and others are constant, for the number of shards; no more files are open than there are."""
    early, late = [s for n in (1, 2, 3) for s in watch.of_eighth(n)], [s for n in (6, 7) for s in watch.of_eighth(n)]
    both = sorted({s.shards for s in early} & {s.shards for s in late})
    if not both:
        raise Fail("early and late samples have no number of shards in common")
    for shards in both:
        before, after = ([s for s in some if s.shards == shards] for some in (early, late))
        for name in ("sockets", "others", "threads", "files"):
            was, now = max(getattr(s, name) for s in before), max(getattr(s, name) for s in after)
            say("%d shards: %s at most %d, then %d" % (shards, name, was, now))
            # how many files of a stream there are depends on where its retention just is
            if now > was + (3 if name == "files" else 0):
                raise Fail("%s of a process of %d shards: %d, later %d" % (name, shards, was, now))


def room(watch, say):
    """Beside the log: 2.5 x what is alive, and a file of its own for each stream. The log: two checkpoints back, and segments."""
    worst = 0
    for s in watch.samples:
        alive = s.checkpoint + s.kept
        limit = 2.5 * alive + CHECKPOINT_BYTES
        if s.checkpoint and s.checkpoints + s.other > limit:
            raise Fail("%d bytes beside the log for %d that are alive (%d of a checkpoint, %d of events)" % (
                s.checkpoints + s.other, alive, s.checkpoint, s.kept))
        if s.stream > KEEP_BYTES * 1.25:
            raise Fail("%d bytes of a stream that keeps %d" % (s.stream, KEEP_BYTES))
        if s.latest > LATEST_BYTES:
            raise Fail("%d bytes of the stream that keeps the latest of 200 keys" % s.latest)
        if s.checkpoint:
            worst = max(worst, (s.checkpoints + s.other) / alive)
        limit = 2 * max(CHECKPOINT_BYTES, s.state) + 5 * s.segment
        if s.logs > limit:
            raise Fail("%d bytes of log: more than twice the way between checkpoints and five segments of %d" % (s.logs, s.segment))
    last = watch.samples[-1]
    say("streams at most %.2f MB, the one kept as latest %.2f MB" % (max(s.stream for s in watch.samples) / 1e6, max(s.latest for s in watch.samples) / 1e6))
    say("at the end %.1f MB: %.1f of log and what is written ahead for it (segments of %.0f MiB), %.1f of checkpoints (one: %.1f), "
        "%.1f of events and the rest (%.1f kept); beside the log at most %.2f x what is alive" % (
            last.disk / 1e6, last.logs / 1e6, last.segment / MIB, last.checkpoints / 1e6, last.checkpoint / 1e6, last.other / 1e6,
            last.kept / 1e6, worst))
