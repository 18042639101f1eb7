/*
 * asks.h - the sender of what handlers asked outside: takes durable requests from the engine, calls, reports.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CONNECT_ASKS_H
#define WEIR_CONNECT_ASKS_H

#include "core/engine.h"
#include "connect/outside.h"

struct asks;

/** A sender on this port of the engine (its own); NULL when the application declares no service outside. `outside` gives
 *  limits, allow-list, transport; its env and owner are set here. Before engine_start(). WEIR_CONFIG with `error`. */
enum weir_status asks_open(struct engine *engine, uint32_t port,
                           const struct outside_options *outside, struct asks **asks, char *error,
                           size_t error_bytes);
/** No attempt begins any more; true when none is in flight. Poll it. */
bool asks_drain(struct asks *asks);
/** What was not answered stays a row and is sent again after the next start. Before engine_close(). */
void asks_close(struct asks *asks);

#endif
