"""T10: damage to the files: every way and place in process (damage.c), a sample with the real binary.

SPDX-License-Identifier: MIT
"""
import json
import os
import random
import shutil
import subprocess
import time

import harness
from clients import Clients
from harness import Fail, Folder, Skip, equal, true
from machine import Server

CASES_PER_S = 8000    # of damage.c on one core
CASES = 160000        # of damage.c with each byte and one bit of it


def sweep(budget, seed, figures, *options):
    program = os.path.join(harness.BUILD, "tests", "files", "files_damage")
    if not os.access(program, os.X_OK):
        raise Skip("no files_damage in the build folder")
    stride = max(1, int(CASES / (CASES_PER_S * budget)))
    bits = 8 if budget * CASES_PER_S > 5 * CASES else 1
    words = [program, "--seed", str(seed % 1000 + 1), "--stride", str(stride), "--bits", str(bits), *options]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60 + 40 * budget)
    lines = done.stdout.splitlines()
    if done.returncode != 0:
        raise Fail("%s\n%s%s" % (" ".join(words), "\n".join(lines[:30]), done.stderr[:2000]))
    for line in [lines[0] + ", stride %d, %d of 8 bits" % (stride, bits), *lines[1:]]:
        figures(line)


def damage_after_a_clean_stop_is_refused_or_harmless(budget, seed, figures):
    sweep(budget, seed, figures)


def damage_after_an_unclean_stop_cuts_the_last_frame_at_most(budget, seed, figures):
    sweep(budget, seed, figures, "--unclean")


def real_binary_refuses_damage_with_65(budget, seed, figures):
    """Flips in used bytes of a directory that the program itself left."""
    choose = random.Random(seed)
    end = time.monotonic() + budget
    counts = {"refused": 0, "harmless": 0}
    with Folder() as folder, Server(folder.join("d"), "--shards", 2, "--limit", "checkpoint_bytes_min=30000") as server:
        clients = Clients(seed, connections=1, singles=8, pairs=2, size=400)
        while len(server.files("checkpoint-")) < 2:
            clients.round(server.resp)
        for _ in range(4):
            clients.round(server.resp)
        equal(server.stop(), 0, "exit code")
        shutil.copytree(server.data, folder.join("whole"))
        places = []
        for name in server.files():
            if name.startswith(("log-", "checkpoint-", "manifest-")):
                used = server.written(name)
                places += [(name, at) for at in range(used)]
        while sum(counts.values()) < 10 or time.monotonic() < end:
            name, at = choose.choice(places)
            bit = choose.randrange(8)
            shutil.rmtree(server.data)
            shutil.copytree(folder.join("whole"), server.data)
            with open(os.path.join(server.data, name), "r+b") as file:
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1 << bit]))
            what = "%s at %d bit %d" % (name, at, bit)
            server.spawn()
            line = server.process.stdout.readline()
            if not line:
                equal(server.ended(30), 65, "exit code for %s: %s" % (what, server.trace_text()))
                text = server.trace_text().strip().splitlines()[-1]
                true(any(word in text for word in ("log-", "checkpoint", "manifest")), "%s: %s" % (what, text))
                true(any(word in text for word in ("lost", "gone", "newer", "older")), "%s: %s" % (what, text))
                counts["refused"] += 1
                continue
            port = int(json.loads(line)["resp"].rsplit(":", 1)[1])
            clients.verify(port)
            counts["harmless"] += 1
            server.kill()
    true(counts["refused"] > 0 and sum(counts.values()) >= 10, counts)
    figures("real binary: %d flips refused with 65, %d harmless, %d bytes used" % (counts["refused"], counts["harmless"],
                                                                                  len(places)))


ALL = [damage_after_a_clean_stop_is_refused_or_harmless, damage_after_an_unclean_stop_cuts_the_last_frame_at_most,
       real_binary_refuses_damage_with_65]
