/*
 * exit.c - the engine ends by _Exit(70) when a promise is broken or memory is out: for libFuzzer that is a crash.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

void __wrap__Exit(int code) __attribute__((noreturn));
void __wrap__Exit(int code)
{
    fprintf(stderr, "the engine ended with exit code %d\n", code);
    abort();
}
