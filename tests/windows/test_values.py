"""Values at the edges, and silence, in virtual time.

SPDX-License-Identifier: MIT
"""
import os

from harness import equal, test, weir

HERE = os.path.dirname(os.path.abspath(__file__))


@test
def what_windows_make_of_odd_values(_):
    code, out, error = weir("test", os.path.join(HERE, "values_test.lua"))
    equal(code, 0, out + error)


@test
def a_window_has_a_silence_of_its_own(_):
    code, out, error = weir("test", os.path.join(HERE, "idle_test.lua"))
    equal(code, 0, out + error)
