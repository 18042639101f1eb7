/*
 * assert.c - the end of a process that found one of its own promises broken.
 *
 * _Exit() and not abort(): nothing that is buffered may still be written, and 70 tells the service
 * manager that a restart is no cure.
 * SPDX-License-Identifier: MIT
 */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "weir: broken promise: %s (%s:%d)\n", condition, file, line);
    _Exit(70);
}
