/*
 * fake_ctx.h - a stand-in for the engine: rows in memory, calls made directly, one fiber per handler.
 *
 * What the Lua runtime needs of core, without locks, epochs or shards: so that its tests fail for its own
 * mistakes only. A transaction that fails leaves no trace; one that calls gate:wait() is suspended until
 * fake_step(), and may be dropped there. Files are texts given by name.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_FAKE_CTX_H
#define WEIR_TESTS_FAKE_CTX_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "func/lua.h"

struct fake;
struct fake_txn;

/** An application of one file "app.lua" (and further texts given before by fake_file). Fails the test on a mistake. */
struct fake *fake_create(const char *text);
/** The same, but gives the mistake. NULL then. */
struct fake *fake_try(const char *text, struct lua_problem *problem);
/** The mistakes of "app.lua" and, after it, of files whose names begin with "more". */
unsigned fake_check(const char *text, struct lua_problem *problems, unsigned max);
void fake_destroy(struct fake *fake);
/** A further file; before fake_create(). fake_files_reset() forgets them. */
void fake_file(const char *path, const char *text);
void fake_files_reset(void);
void fake_settings(const char *const *settings);
void fake_cpu_ms(uint64_t ms);

/** Runs type/key/handler with arguments in JSON; answers "ok JSON" or "word text" / "code detail". Until the next call. */
const char *fake_call(struct fake *fake, const char *type, const char *key, const char *handler,
                      const char *args);
/** The row as JSON, "none" without one. */
const char *fake_row(struct fake *fake, const char *type, const char *key);
/** The rows of a map as "key=value key=value". */
const char *fake_map(struct fake *fake, const char *type, const char *key, const char *map);
/** Messages, timers, traces since the last call of this, one a line. */
const char *fake_effects(struct fake *fake);

/** How many handlers ended in a call that the engine made after them. */
unsigned fake_last_calls(struct fake *fake);

struct fake_txn *fake_begin(struct fake *fake, const char *type, const char *key,
                            const char *handler, const char *args);
/** True while it waits. */
bool fake_step(struct fake_txn *txn);
const char *fake_end(struct fake_txn *txn); /* the answer; frees */
void fake_drop(struct fake_txn *txn);       /* as if wounded */
bool fake_lost(const struct fake_txn *txn); /* its runtime's state went with another's */
struct catalog *fake_catalog(struct fake *fake);
void fake_idle(struct fake *fake);
void fake_now(struct fake *fake, int64_t ms);

#endif
