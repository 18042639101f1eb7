"""Values at the edges, in virtual time.

SPDX-License-Identifier: MIT
"""
import os

from harness import equal, test, weir

HERE = os.path.dirname(os.path.abspath(__file__))


@test
def what_windows_make_of_odd_values(_):
    code, out, error = weir("test", os.path.join(HERE, "values_test.lua"))
    equal(code, 0, out + error)
