#!/usr/bin/env python3
"""The engine on real files: kills, power cuts, failed syncs, full disks, damage. See README.md here.

    tests/files/run.py [--build DIR] [--only kill|power|sync|full|damage] [--budget SECONDS] [--seed N]

The budget is shared by the parts; without it they take what CI gives them. Ends with `N passed, N failed, N skipped`.

SPDX-License-Identifier: MIT
"""
import argparse
import concurrent.futures
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]

import harness
import machine

BUDGET = 32.0    # of CI
SHARES = {"kill": 0.3, "power": 0.25, "sync": 0.15, "full": 0.2, "damage": 0.1}


def enter_namespace():
    """Runs this program again where its mounts are its own."""
    if os.environ.get(machine.MARK) or os.geteuid() != 0 or not shutil.which("unshare"):
        return
    words = ["unshare", "-m", "--propagation", "private"]
    if subprocess.run([*words, "true"], capture_output=True).returncode == 0:
        os.environ[machine.MARK] = "1"
        os.execvp(words[0], [*words, sys.executable, os.path.abspath(__file__), *sys.argv[1:]])


class Part:
    """One claim: a function of (budget in seconds, seed, figures), where figures(text) notes what was reached."""

    def __init__(self, name, function, share):
        self.name, self.function, self.share = name, function, share

    def run(self, options):
        begin, notes, word, text = time.monotonic(), [], "passed", ""
        seed = options.seed ^ hash_of(self.function.__name__)
        try:
            self.function(options.budget * self.share, seed, notes.append)
        except harness.Skip as reason:
            word, text = "skipped", str(reason)
        except (harness.Fail, AssertionError) as reason:
            word, text = "failed", "%s\n%s" % (reason, "".join(traceback.format_exc(limit=-3)))
        except Exception:
            word, text = "failed", traceback.format_exc()
        mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "SKIP"}[word]
        lines = ["%s %s (%.1f s)%s" % (mark, self.function.__name__, time.monotonic() - begin, ": " + text if text else "")]
        lines += ["       " + note for note in notes]
        if word == "failed":
            lines.append("     again: tests/files/run.py --only %s --seed %d --budget %g"
                         % (self.function.__name__, options.seed, options.budget))
        print("\n".join(lines), flush=True)
        return word


def hash_of(text):
    return sum(ord(c) * 31 ** i for i, c in enumerate(text)) % (1 << 30)


def parts(options):
    import test_damage
    import test_full
    import test_kill
    import test_power
    import test_sync
    long_run = options.budget >= 200
    found = []
    for name, module in (("full", test_full), ("kill", test_kill), ("power", test_power), ("sync", test_sync),
                         ("damage", test_damage)):
        found += [Part(name, function, SHARES[name] / len(module.ALL)) for function in module.ALL]
    if long_run:
        found.append(Part("kill", test_kill.ready_within_two_seconds_with_256_mb_of_log, 0))
    return [part for part in found if options.only in part.name or options.only in part.function.__name__]


def main():
    parser = argparse.ArgumentParser(description="Tests on real files.")
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build"), help="the build folder")
    parser.add_argument("--only", default="", help="a part, or claims whose name holds this text")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of work, over two lanes")
    parser.add_argument("--seed", type=int, default=0, help="0: drawn")
    parser.add_argument("--jobs", type=int, default=2, help="claims at a time")
    options = parser.parse_args()
    options.seed = options.seed or random.SystemRandom().randrange(1, 1 << 30)
    harness.BUILD = os.path.abspath(options.build)
    if not os.access(harness.weir_path(), os.X_OK):
        print("no weir in %s; run `make` first\n0 passed, 1 failed, 0 skipped" % options.build)
        return 1
    enter_namespace()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    print("seed %d" % options.seed, flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        words = list(pool.map(lambda part: part.run(options), parts(options)))
    print("%d passed, %d failed, %d skipped" % tuple(words.count(word) for word in ("passed", "failed", "skipped")))
    return 1 if "failed" in words or not words else 0


if __name__ == "__main__":
    sys.exit(main())
