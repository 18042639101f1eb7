"""Followers that begin "now" or at a time, in virtual time.

SPDX-License-Identifier: MIT
"""
import os

from harness import equal, test, weir

HERE = os.path.dirname(os.path.abspath(__file__))


@test
def a_new_follower_begins_where_it_first_began_over_power_cuts(_):
    code, out, error = weir("test", os.path.join(HERE, "begin_test.lua"))
    equal(code, 0, out + error)
