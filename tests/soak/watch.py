"""What the process and its directory take, looked at again and again, and what may be said of it at the end.

SPDX-License-Identifier: MIT
"""
import os
import statistics
import time

from harness import Fail, RespError, cpu_s, machine_s, status_of
from world import CHECKPOINT_BYTES, MIB, Actor

SAMPLES_MAX = 4000    # of a run, however long
OLD_S = 1800          # from then on a life says what the heap has come to; before it still finds its size
OTHERS_MAX = 0.25     # of the machine's time taken by programs that are not ours: above it latencies are not judged
FILE_BYTES = 65536    # of a stream kept by size: an eighth of what it keeps, or this; one may be begun, one not gone yet
LATEST_BYTES = 4 * MIB    # of a file of one kept as latest, which is compacted by whole files


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
    """{kind of file: [bytes on the disk of each, largest first]}."""
    found = {}
    for name in os.listdir(data):
        try:
            found.setdefault(name.split("-")[0], []).append(os.stat(os.path.join(data, name)).st_blocks * 512)
        except OSError:
            continue
    return {kind: sorted(sizes, reverse=True) for kind, sizes in found.items()}


def info(connection):
    answer = connection.ask("INFO")
    if isinstance(answer, RespError):
        raise ConnectionError(repr(answer))
    return dict(line.split(":", 1) for line in answer.split("\r\n") if ":" in line)


class Sample:
    def __init__(self, world, connection, done, keeps):
        self.done, self.own = done, sum(os.times()[:2])
        self.busy, self.all = machine_s()
        self.cpu = cpu_s(world.server.process.pid)
        self.at, self.shards, self.life = time.monotonic(), world.shards, world.started_at
        pid = world.server.process.pid
        self.rss, self.threads = status_of(pid)
        self.sockets, self.files, self.others = descriptors(pid, world.data)
        figures, kinds = info(connection), disk(world.data)
        self.there = sum(map(len, kinds.values()))
        self.state = int(figures["used_memory_rows"])
        kept = {name[len("stream_"):]: int(value.split("bytes=")[1].split(",")[0]) for name, value in figures.items() if name.startswith("stream_")}
        self.kept, self.latest = sum(kept.values()), kept.pop("prices")
        self.over = {name: size - keep for name, size in kept.items() for keep in [keeps[name]] if size > keep + 2 * max(keep // 8, FILE_BYTES)}
        logs = [size for kind in ("log", "spare", "reserve") for size in kinds.pop(kind, [])]
        checkpoints = kinds.pop("checkpoint", [])
        self.logs, self.segment = sum(logs), max(logs)
        # two are kept; a third is being written, or has just been and the oldest is not gone yet
        self.checkpoints, self.checkpoint = sum(checkpoints[:2]), max(checkpoints, default=0)
        self.writing = sum(checkpoints[2:]) + sum(kinds.pop("writing", []))
        self.other = sum(map(sum, kinds.values()))
        self.disk = self.logs + self.checkpoints + self.writing + self.other


class Watch(Actor):
    def __init__(self, world, dial, done):
        super().__init__(world, "watch")
        self.samples, self.dial, self.done = [], dial, done
        self.keeps = {s["name"]: s["keep_bytes"] for s in world.server.get("/streams").json["streams"]}

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
                sample = Sample(self.world, connection, self.done(), self.keeps)
            except (OSError, KeyError, Fail):
                connection = None    # it was killed meanwhile
                continue
            if self.world.is_quiet(time.monotonic()) and sample.life == self.world.started_at:
                self.samples.append(sample)

    def of_eighths(self, *numbers):
        return [s for s in self.samples if self.world.eighth(s.at) in numbers]

    def steps(self, numbers):
        """Pairs of samples of these eighths with no fault between them."""
        some = self.of_eighths(*numbers)
        return [(a, b) for a, b in zip(some, some[1:]) if a.life == b.life and b.at - a.at < 2 * self.every + 1]

    def spent(self, numbers):
        """Processor time of the server in all, and in ms for an operation with all that comes of it."""
        steps = self.steps(numbers)
        cpu = sum(b.cpu - a.cpu for a, b in steps)
        return cpu, cpu * 1e3 / max(1, sum(b.done - a.done for a, b in steps))

    def others(self, numbers):
        """The share of the machine that programs had which are not ours."""
        steps = self.steps(numbers)
        own = sum(b.cpu - a.cpu + b.own - a.own for a, b in steps)
        return max(0.0, sum(b.busy - a.busy for a, b in steps) - own) / max(1e-9, sum(b.all - a.all for a, b in steps))


# ---- judging ----

def median(samples, name):
    return statistics.median(getattr(s, name) for s in samples) if samples else 0


def memory(watch, long_life, records, say):
    """Rows: the second and third eighth beside the last two. The process: within its longest life, after its first fifth.

    records: request records that may have come since, in a run too short for any to go."""
    early, late = watch.of_eighths(1, 2), watch.of_eighths(6, 7)
    was, now = median(early, "state"), median(late, "state")
    say("rows in memory %.2f MB, then %.2f MB (%+.1f %%)" % (was / 1e6, now / 1e6, (now / was - 1) * 100))
    if now > was * 1.05 + records * 100:
        raise Fail("rows grow from %d to %d bytes at constant data" % (was, now))
    life = [s for s in watch.samples if s.life == long_life]
    first, last = life[len(life) // 5:len(life) * 2 // 5 + 1], life[len(life) * 4 // 5:]
    was, now, between = median(first, "rss"), median(last, "rss"), last[0].at - first[0].at
    say("resident %.1f MB, %.0f s later %.1f MB (%+.1f %%), most ever %.1f MB" % (
        was / 1e6, between, now / 1e6, (now / was - 1) * 100, max(s.rss for s in watch.samples) / 1e6))
    say("resident by eighth, MB: " + " ".join("%.1f" % (median(watch.of_eighths(n), "rss") / 1e6) for n in range(8)))
    # and in such a run the buffers of a checkpoint may come after the first look
    # events are kept in memory, too (64 MiB of them at most), and how many there are depends on where retention and compaction stand
    more = max(0, median(last, "kept") - median(first, "kept"))
    say("events kept %.1f MB, then %.1f" % (median(first, "kept") / 1e6, median(last, "kept") / 1e6))
    growth = 1.05 if life[-1].at - life[0].at >= OLD_S else 1.15
    if now > was * growth + 1.25 * more + records * 400 + (8 * MIB if records else 0):
        raise Fail("the process grows from %d to %d bytes of resident memory at constant data" % (was, now))


def open_files(watch, say):
    """Sockets and others are constant, for the number of shards; no more files are open than there are."""
    early, late = watch.of_eighths(1, 2, 3), watch.of_eighths(6, 7)
    both = sorted({s.shards for s in early} & {s.shards for s in late})
    if not both:
        raise Fail("early and late samples have no number of shards in common")
    for shards in both:
        before, after = ([s for s in some if s.shards == shards] for some in (early, late))
        for name in ("sockets", "others", "threads", "files"):
            was, now = max(getattr(s, name) for s in before), max(getattr(s, name) for s in after)
            say("%d shards: %s at most %d, then %d" % (shards, name, was, now))
            # how many files of a stream there are depends on where its retention just is, and early samples may be few
            there = max(s.there for s in after) if name == "files" else 0
            if now > max(was, there):
                raise Fail("%s of a process of %d shards: %d, later %d" % (name, shards, was, now))


def room(watch, say):
    """Beside the log 2.5 x what is alive, and a checkpoint that is being written. The log: two checkpoints back, and segments."""
    worst, at_worst = 0, watch.samples[0]
    for s in watch.samples:
        alive = max(s.checkpoint, s.state) + s.kept
        if s.checkpoints + s.other > 2.5 * alive + MIB:
            raise Fail("%d bytes beside the log for %d that are alive (%d of rows, %d of events)" % (s.checkpoints + s.other, alive, s.state, s.kept))
        if s.writing > 1.25 * max(s.checkpoint, s.state) + MIB:
            raise Fail("%d bytes of a checkpoint that is being written for %d of rows" % (s.writing, s.state))
        limit = 2 * max(CHECKPOINT_BYTES, s.state) + 8 * s.segment
        if s.logs > limit:
            raise Fail("%d bytes of log: more than twice the way between checkpoints and eight segments of %d" % (s.logs, s.segment))
        if s.over:
            raise Fail("streams that keep more than they should, and by how many bytes: %s" % s.over)
        if s.latest > LATEST_BYTES * 1.5:
            raise Fail("%d bytes of the stream that keeps the latest of 200 keys" % s.latest)
        if (s.checkpoints + s.other) / alive > worst:
            worst, at_worst = (s.checkpoints + s.other) / alive, s
    last = watch.samples[-1]
    say("events kept, by eighth, MB: %s; of the stream kept as latest at most %.2f" % (
        " ".join("%.1f" % (median(watch.of_eighths(n), "kept") / 1e6) for n in range(8)), max(s.latest for s in watch.samples) / 1e6))
    say("beside the log at most %.2f x what is alive: %.1f MB of checkpoints, the largest %.1f, and %.1f of other files with %.1f of events" % (
        worst, *(n / 1e6 for n in (at_worst.checkpoints, at_worst.checkpoint, at_worst.other, at_worst.kept))))
    say("at the end %.1f MB: %.1f of log and what is written ahead for it (segments of %.0f MiB), %.1f of checkpoints (one: %.1f), "
        "%.1f of events and the rest (%.1f kept)" % (
            last.disk / 1e6, last.logs / 1e6, last.segment / MIB, last.checkpoints / 1e6, last.checkpoint / 1e6, last.other / 1e6,
            last.kept / 1e6))
