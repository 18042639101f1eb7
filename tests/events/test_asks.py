"""Asks that can never be sent, in virtual time.

SPDX-License-Identifier: MIT
"""
import os

from harness import equal, weir

HERE = os.path.dirname(os.path.abspath(__file__))


def what_can_never_be_sent_is_refused_when_it_is_asked(budget, seed, note):
    code, out, error = weir("test", os.path.join(HERE, "asks_test.lua"))
    equal(code, 0, out + error)
