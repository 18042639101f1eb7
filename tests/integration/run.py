#!/usr/bin/env python3
"""The program as its user meets it: real binary, public doors. Ends with `N passed, N failed, N skipped`.

    tests/integration/run.py [--build DIR] [--only TEXT]

SPDX-License-Identifier: MIT
"""
import argparse
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness


def main():
    parser = argparse.ArgumentParser(description="Integration tests.")
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--only", default="", help="tests whose name holds this text")
    parser.add_argument("--jobs", type=int, default=2, help="tests at a time")
    options = parser.parse_args()
    harness.BUILD = os.path.abspath(options.build)
    if not os.access(harness.weir_path(), os.X_OK):
        print("no weir in %s; run `make` first\n0 passed, 1 failed, 0 skipped" % options.build)
        return 1
    import test_cli_streams
    import test_deferred
    import test_durable
    import test_start
    import test_tools
    import test_wrong_input
    assert test_cli_streams and test_deferred and test_durable and test_start and test_tools and test_wrong_input
    return harness.run([t for t in harness.TESTS if options.only in t.__name__], options.jobs)


if __name__ == "__main__":
    sys.exit(main())
