"""Asks that can never be sent, in virtual time.

SPDX-License-Identifier: MIT
"""
import os

from harness import lua_tests_pass

HERE = os.path.dirname(os.path.abspath(__file__))


def what_can_never_be_sent_is_refused_when_it_is_asked(budget, seed, note):
    lua_tests_pass(HERE, "asks_test.lua")
