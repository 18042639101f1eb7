#!/usr/bin/env python3
"""Streams and parked work over HTTP: the real binary, curl-like requests, kill -9. Ends with `N passed, N failed, N skipped`.

    tests/streams/run.py [--build DIR] [--only TEXT] [--seed S] [--events N | --budget SECONDS]

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

EVENTS_S = 3000  # events for each second of a budget: about what all tests take together


def main():
    parser = argparse.ArgumentParser(description="Streams over HTTP.")
    parser.add_argument("--seed", type=int, default=1, help="of the drawn tests")
    parser.add_argument("--budget", type=float, default=0, help="seconds for what may be long")
    parser.add_argument("--events", type=int, default=40000, help="of each test that counts them under kills")
    options = harness.options_read(parser)
    if options.budget:
        options.events = max(options.events, min(1000000, int(options.budget * EVENTS_S)))
    import test_begin
    import test_http
    import test_latest
    import test_stock
    test_latest.OPTIONS = test_stock.OPTIONS = options
    assert test_begin and test_http
    return harness.run_chosen(options)


if __name__ == "__main__":
    sys.exit(main())
