"""Followers that begin "now" or at a time, in virtual time.

SPDX-License-Identifier: MIT
"""
import os

from harness import lua_tests_pass, test

HERE = os.path.dirname(os.path.abspath(__file__))


@test
def a_new_follower_begins_where_it_first_began_over_power_cuts(_):
    lua_tests_pass(HERE, "begin_test.lua")
