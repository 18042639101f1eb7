#!/usr/bin/env python3
"""Windows and joins: the real binary beside an offline program over the same files, kill -9. Ends with `N passed, N failed, N skipped`.

    tests/windows/run.py [--build DIR] [--only TEXT]

SPDX-License-Identifier: MIT
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
sys.path.insert(0, HERE)

import harness


def main():
    parser = argparse.ArgumentParser(description="Windows and joins.")
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--only", default="", help="tests whose name holds this text")
    parser.add_argument("--jobs", type=int, default=2, help="tests at a time")
    options = parser.parse_args()
    harness.BUILD = os.path.abspath(options.build)
    if not os.access(harness.weir_path(), os.X_OK):
        print("no weir in %s; run `make` first\n0 passed, 1 failed, 0 skipped" % options.build)
        return 1
    import test_windows
    assert test_windows
    return harness.run([t for t in harness.TESTS if options.only in t.__name__], options.jobs)


if __name__ == "__main__":
    sys.exit(main())
