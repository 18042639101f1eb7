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
    options = harness.options_read(parser)
    import test_all
    import test_change
    import test_cli_streams
    import test_deferred
    import test_durable
    import test_limits
    import test_maps
    import test_sockets
    import test_start
    import test_tools
    import test_wrong_input
    assert (test_all and test_change and test_cli_streams and test_deferred and test_durable and test_limits and test_maps and test_sockets
            and test_start and test_tools and test_wrong_input)
    return harness.run_chosen(options)


if __name__ == "__main__":
    sys.exit(main())
