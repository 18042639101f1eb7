#!/usr/bin/env python3
"""The overload table (T17): each row with its pass figure, against the real binary. Ends with `N passed, N failed, N skipped`.

    tests/overload/run.py [--build DIR] [--only TEXT] [--budget SECONDS] [--seed N] [--judge]

SPDX-License-Identifier: MIT
"""
import argparse
import os
import resource
import sys
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import rows
import rows_hostile
import rows_load
from harness import Fail, Folder, Skip

CI_SECONDS = 45


def attempt(function, options):
    """("passed" | "failed" | "skipped", may be tried again, what it said, why)."""
    run = rows.Run(options.budget / CI_SECONDS, options.seed, options.judge)
    try:
        with Folder() as folder:
            function(folder, run)
        return "passed", False, run.words, ""
    except rows.Hopeless as reason:
        return "skipped", False, run.words, str(reason)
    except Skip as reason:
        return "skipped", True, run.words, str(reason)
    except rows.Missed as reason:
        return "failed", True, run.words, str(reason)
    except (Fail, AssertionError) as reason:
        return "failed", False, run.words, "%s\n%s" % (reason, "".join(traceback.format_exc(limit=-2)))
    except Exception:
        return "failed", False, run.words, traceback.format_exc()


def main():
    parser = argparse.ArgumentParser(description="The overload table.")
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--budget", type=float, default=CI_SECONDS, help="seconds of work, about")
    parser.add_argument("--seed", type=int, default=1, help="of the keys that are drawn")
    parser.add_argument("--judge", action="store_true", help="a missed figure of time fails; else it is shown and skipped")
    options = parser.parse_args()
    rows.harness.BUILD = os.path.abspath(options.build)
    assert rows_hostile and rows_load
    if not os.access(rows.harness.weir_path(), os.X_OK):
        print("no weir in %s; run `make` first\n0 passed, 1 failed, 0 skipped" % options.build)
        return 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 65536), hard))
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for function in [f for f in rows.ROWS if options.only in f.__name__]:
        begin = time.monotonic()
        word, again, words, why = attempt(function, options)
        if again:
            print("     %s: once more, since: %s" % (function.__name__, why), flush=True)
            word, _, words, why = attempt(function, options)
        counts[word] += 1
        mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "SKIP"}[word]
        print("%s %s (%.1f s)%s" % (mark, function.__name__, time.monotonic() - begin, ": " + why if why else ""))
        for line in words:
            print("       " + line)
        if word == "failed":
            print("     again: tests/overload/run.py --only %s --budget %g --seed %d%s" % (
                function.__name__, options.budget, options.seed, " --judge" * options.judge))
        sys.stdout.flush()
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
