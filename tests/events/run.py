#!/usr/bin/env python3
"""Events, messages, timers and calls outside against the real binary: once, in order, over kill -9.

    tests/events/run.py [--build DIR] [--only TEXT] [--budget SECONDS] [--seed N]

The budget is shared by the parts (from 300 s on: a million timers). Ends with `N passed, N failed, N skipped`.

SPDX-License-Identifier: MIT
"""
import argparse
import inspect
import os
import random
import sys
import time
import traceback

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]

import harness
import test_asks
import test_guide
import test_once
import test_payments
import test_timers
import test_voter

BUDGET = 24.0    # of CI
PARTS = [(test_guide.the_examples_of_the_guide_run, 0.0),
         (test_guide.the_reference_describes_all_of_lua, 0.0),
         (test_guide.the_c_of_the_guide_stands_in_its_files, 0.0),
         (test_asks.what_can_never_be_sent_is_refused_when_it_is_asked, 0.0),
         (test_voter.voters_leaderboard_equals_a_serial_replay, 0.2),
         (test_voter.voters_leaderboard_equals_a_serial_replay_over_kills, 0.2),
         (test_once.events_messages_and_timers_take_effect_once_over_kills, 0.2),
         (test_once.parked_work_is_seen_retried_and_takes_effect_once, 0.1),
         (test_once.an_order_that_cannot_be_packed_is_seen_and_redeemed_by_hand, 0.1),
         (test_timers.timers_due_at_once_after_downtime_keep_clients_within_5_times, 0.2),
         (test_payments.each_order_is_charged_once_under_kills_of_both_sides, 0.2)]


def run(function, budget, options):
    begin, notes, word, text = time.monotonic(), [], "passed", ""
    try:
        judged = [options.judge] if "judged" in inspect.signature(function).parameters else []
        function(budget, options.seed, notes.append, *judged)
    except harness.Skip as reason:
        word, text = "skipped", str(reason)
    except (harness.Fail, AssertionError) as reason:
        word, text = "failed", "%s\n%s" % (reason, "".join(traceback.format_exc(limit=-3)))
    except Exception:
        word, text = "failed", traceback.format_exc()
    mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "SKIP"}[word]
    print("%s %s (%.1f s): %s" % (mark, function.__name__, time.monotonic() - begin, "; ".join(notes + [text]).strip("; ")))
    if word == "failed":
        print("again: tests/events/run.py --build %s --only %s --budget %g --seed %d" %
              (options.build, function.__name__, options.budget, options.seed))
    sys.stdout.flush()
    return word


def main():
    parser = argparse.ArgumentParser(description="Events, messages, timers and calls outside.")
    parser.add_argument("--build", default="build", help="the build folder")
    parser.add_argument("--only", default="", help="parts whose name holds this text")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds, about")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--judge", action="store_true", help="a missed figure of time fails; else it is shown and skipped")
    options = parser.parse_args()
    harness.BUILD = os.path.abspath(options.build)
    if not os.access(harness.weir_path(), os.X_OK):
        print("no weir in %s; run `make` first\n0 passed, 1 failed, 0 skipped" % options.build)
        return 1
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for function, share in PARTS:
        if options.only in function.__name__:
            counts[run(function, options.budget * share, options)] += 1
    print("%(passed)d passed, %(failed)d failed, %(skipped)d skipped" % counts)
    return 1 if counts["failed"] or not counts["passed"] + counts["skipped"] else 0


if __name__ == "__main__":
    sys.exit(main())
