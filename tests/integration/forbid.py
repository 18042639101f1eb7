#!/usr/bin/env python3
"""Runs a program that may not make one call of the kernel, as in a container that forbids it: forbid.py NUMBER PROGRAM ...

The call fails with EPERM; everything else is as it was. Exit code 125: this kernel has no filters of calls.

SPDX-License-Identifier: MIT
"""
import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER, PR_SET_NO_NEW_PRIVS = 22, 2, 38
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # of a word; constant; constant
ALLOW, FAIL = 0x7FFF0000, 0x00050000


def step(code, if_true, if_false, value):
    return struct.pack("HBBI", code, if_true, if_false, value)


def main():
    number = int(sys.argv[1])
    steps = (step(LOAD, 0, 0, 0), step(EQUAL, 0, 1, number), step(RETURN, 0, 0, FAIL | errno.EPERM),
             step(RETURN, 0, 0, ALLOW))
    code = ctypes.create_string_buffer(b"".join(steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program):
        sys.exit(125)
    os.execvp(sys.argv[2], sys.argv[2:])


main()
