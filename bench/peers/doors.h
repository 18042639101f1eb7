/*
 * doors.h - ways to peers that speak no RESP, for the driver of `weir bench` (bench/driver.h).
 *
 * They know the three verbs of its workload ycsb by their places.
 * SPDX-License-Identifier: MIT
 */
#ifndef BENCH_PEERS_DOORS_H
#define BENCH_PEERS_DOORS_H

#include "bench/driver.h"

enum { VERB_OPEN, VERB_TRANSFER, VERB_BALANCE, VERB_COUNT };

/** Tarantool's binary protocol: calls of stored functions. NULL with the reason. */
struct door *door_iproto_open(const struct workload *workload, int port, int pid,
                              uint32_t connections, uint32_t pipeline, char *error,
                              size_t error_bytes);

/** SQLite and LMDB in this process, one transaction at a time, each synced before the next. NULL with the reason. */
struct door *door_sqlite_open(const char *folder, char *error, size_t error_bytes);
struct door *door_lmdb_open(const char *folder, char *error, size_t error_bytes);

#endif
