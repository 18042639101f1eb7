#!/usr/bin/env python3
"""Windows and joins: the real binary beside an offline program over the same files, kill -9; sources that wait. Ends with `N passed, N failed, N skipped`.

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
    options = harness.options_read(parser)
    import test_embedded
    import test_throttle
    import test_values
    import test_windows
    assert test_embedded and test_windows and test_throttle and test_values
    return harness.run_chosen(options)


if __name__ == "__main__":
    sys.exit(main())
