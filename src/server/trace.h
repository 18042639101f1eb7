/*
 * trace.h - one line per event on stderr, for people or as JSON.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_SERVER_TRACE_H
#define WEIR_SERVER_TRACE_H

#include <stdatomic.h>

#include "os/env.h"
#include "weir/weir.h"

struct trace {
    struct env *env;
    bool json;
    _Atomic uint32_t dropped; /* lines that found no room since the last one that did; any thread */
};

/** Writes one event, given as JSON members without braces ("\"event\":\"x\",\"n\":1"). Any thread. The
 *  signature is that of the trace calls of every room; `arg` is a struct trace. */
void trace_write(void *arg, const char *members);
/** As trace_write(), formatted. */
void trace_event(struct trace *trace, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
