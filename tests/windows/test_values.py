"""Values at the edges, and silence, in virtual time.

SPDX-License-Identifier: MIT
"""
import os

from harness import lua_tests_pass, test

HERE = os.path.dirname(os.path.abspath(__file__))


@test
def what_windows_make_of_odd_values(_):
    lua_tests_pass(HERE, "values_test.lua")


@test
def a_window_has_a_silence_of_its_own(_):
    lua_tests_pass(HERE, "idle_test.lua")
