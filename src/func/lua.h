/*
 * lua.h - applications written in Lua: loading them into a catalog, and the runtime that runs their handlers.
 *
 * A file is a service; `require "money"` loads money.lua beside it. Loading runs the file once to learn its
 * types; each shard then has a state of its own, made from the same sources (kept in memory), so a change
 * on disk does not reach a running engine.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_FUNC_LUA_H
#define WEIR_FUNC_LUA_H

#include "core/engine.h"

struct lua_app;

/* Every limit of Lua handlers by its name, with its default. 0 in an option struct means the default. */
#define LUA_LIMITS(X)                                                                              \
    X(cpu_ms_max, 100, "CPU time of one Lua handler in milliseconds")                              \
    X(lua_bytes_max, 8388608, "bytes of Lua memory of one transaction")

struct lua_limits {
#define X(name, value, text) uint64_t name;
    LUA_LIMITS(X)
#undef X
};

struct lua_options {
    struct env *env;
    const char *const *settings; /* "name=value", NULL-terminated; may be NULL */
    struct lua_limits limits;
    void (*trace)(void *arg, const char *members);
    void *trace_arg;
};

/** False when there is no limit of that name. */
bool lua_limit_set(struct lua_limits *limits, struct weir_str name, uint64_t value);

/* One mistake found in an application. */
struct lua_problem {
    char file[256];
    int line;
    char text[512]; /* what is wrong and how to put it right */
};

/** An application to load files into. */
struct lua_app *lua_app_create(struct catalog *catalog, const struct lua_options *options);
/** Loads one file: declares its types in the catalog. WEIR_CONFIG, with the problem (the first one). */
enum weir_status lua_app_load(struct lua_app *app, const char *path, struct lua_problem *problem);
/** For `weir check`: loads the file as lua_app_load() does, but goes on after a mistake and adds all that it finds to the
 *  `count` problems; returns their count then, at most `max`. Afterwards the application is good for further files only. */
unsigned lua_app_check(struct lua_app *app, const char *path, struct lua_problem *problems,
                       unsigned count, unsigned max);
/** True with the name of a setting that no file loaded has asked for, as a setting or a secret: misspelt, most likely. */
bool lua_app_setting_unasked(const struct lua_app *app, char *name, size_t name_bytes);
/** What the code of handlers mentions, directly or through functions and tables that it uses: each type, stream and
 *  service outside once per handler. `handler` is "@STREAM" for one that follows. For pictures: whether the handler does
 *  something with it cannot be known. */
enum lua_reach { LUA_REACH_TYPE, LUA_REACH_STREAM, LUA_REACH_OUTSIDE };
void lua_app_reach(struct lua_app *app,
                   void (*found)(void *arg, const struct type *from, struct weir_str handler,
                                 enum lua_reach what, struct weir_str name),
                   void *arg);
/** The runtime of all files loaded; ready once all are loaded. */
const struct runtime *lua_app_runtime(struct lua_app *app);
void lua_app_destroy(struct lua_app *app);

/** Runs a test file (`weir test`) against the engine in the simulator; see src/func/README.md. Results go to
 *  `each`; returns false when the file itself does not load (problem says why). */
struct lua_test_result {
    const char *name;
    bool passed;
    const char *message; /* why not, with file:line */
};
bool lua_test_run(const char *path, uint64_t seed, const char *only,
                  void (*each)(void *arg, const struct lua_test_result *result), void *arg,
                  struct lua_problem *problem);

#endif
