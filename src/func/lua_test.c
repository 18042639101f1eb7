/*
 * lua_test.c - `weir test`: the real engine in the simulator, driven by a Lua file.
 *
 * The file runs in a vm of its own, where `app.account("ann"):deposit(5)` is a request through a port, waited
 * for in virtual time. Each case starts with an empty disk and an engine of three shards; the seed decides
 * the order in which they run. A crash keeps what was synced, and opens the data again.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/ask.h"
#include "core/feed.h"
#include "os/sim.h"

#define TEST_SHARDS 3u
#define ANSWER_LIMIT_NS (120 * UINT64_C(1000000000))
#define CASES_MAX 1000u
#define SETTINGS_MAX 64u

/* One run of `weir test`. */
/* What a service outside answered, on its way into the engine. */
struct outside_report {
    struct request request;
    struct outside_report *next;
};

struct lua_test {
    struct vm *vm;
    struct lua_app *shell; /* of the file's own vm; its catalog is that of the engine that runs */
    struct lua_app *app;   /* what is tested */
    struct catalog *catalog;
    struct sim *sim;
    struct engine *engine;
    struct port *port;
    struct actor actor;
    struct request *asked, *answered;
    uint64_t seed;
    char path[512];                   /* of the application */
    char caller[64], roles[256];      /* the operator, or as t.as() says */
    char code[64];                    /* word of the last failed request */
    char trouble[400];                /* of a function of t.outside; fails the case */
    char pending[64];                 /* id of the last request whose answer was still to come */
    char *settings[SETTINGS_MAX + 1]; /* "name=value", of t.app's second argument */
    unsigned setting_count;
    struct feed_read read; /* of t.events */
    bool reading;
    struct outside_report *reports; /* given to the engine, not back yet */
    int outsides;                   /* registry: name -> function that plays the service */
    int cases;                      /* registry: list of { name, function } */
    unsigned case_count;
};

/* ---- the engine under test ---- */

static void submit(struct lua_test *test, struct request *request)
{
    struct env *env = sim_env(test->sim);
    port_submit(test->port, request, env->mono_ns(env));
    port_flush(test->port);
}

/* The function that plays the service, below its request: what it answers. An error in it cannot leave through the engine, so
 * the case ends with the first one. */
static bool outside_answer(struct lua_test *test, int *status, struct buf *body)
{
    lua_State *L = test->vm->L;
    struct conv conv = { .vm = test->vm };
    const char *why = NULL;
    bool answered = false;
    if (lua_pcall(L, 1, 1, 0) != 0) {
        why = lua_tostring(L, -1) ? lua_tostring(L, -1) : "an error that is no text";
    } else if (lua_istable(L, -1)) {
        lua_getfield(L, -1, "status");
        *status = lua_isnil(L, -1) ? 200 : (int)lua_tointeger(L, -1);
        lua_getfield(L, -2, "body");
        answered = lua_isnil(L, -1) || json_take(&conv, L, lua_gettop(L), body, 0);
        if (!answered) why = conv.text;
    } else if (!lua_isnil(L, -1)) {
        why = "it gives a table, or nil for no answer";
    }
    if (why != NULL && test->trouble[0] == 0)
        snprintf(test->trouble, sizeof(test->trouble), "in the function of t.outside: %s", why);
    return answered;
}

/* The test plays the service: function(request) gives { status, body }, or nil for one that never answers. */
static void outside_play(struct lua_test *test, struct ask *one)
{
    lua_State *L = test->vm->L;
    int top = lua_gettop(L), status = 0;
    enum ask_outcome outcome = ASK_UNKNOWN;
    struct outside_report *report = mem_alloc(sizeof(*report));
    struct request *request = &report->request;
    struct buf body = { 0 };
    lua_rawgeti(L, LUA_REGISTRYINDEX, test->outsides);
    lua_pushlstring(L, one->outside ? one->outside->name.ptr : "",
                    one->outside ? one->outside->name.len : 0);
    lua_rawget(L, -2);
    if (lua_isfunction(L, -1)) {
        const char *space = memchr(one->line.ptr, ' ', one->line.len);
        size_t method = space ? (size_t)(space - one->line.ptr) : one->line.len;
        lua_createtable(L, 0, 4);
        lua_pushlstring(L, one->line.ptr, method);
        lua_setfield(L, -2, "method");
        lua_pushlstring(L, one->line.ptr + method + 1, one->line.len - method - 1);
        lua_setfield(L, -2, "path");
        lua_pushlstring(L, one->id.ptr, one->id.len);
        lua_setfield(L, -2, "id");
        if (one->body.len > 0) json_push(L, one->body);
        else lua_pushnil(L);
        lua_setfield(L, -2, "body");
        if (outside_answer(test, &status, &body)) outcome = ASK_ANSWERED;
    }
    lua_settop(L, top);
    ask_report(test->engine, one, outcome, status, buf_str(&body), STR("the test gave no answer"),
               request);
    request->user = test;
    report->next = test->reports;
    test->reports = report;
    submit(test, request);
    buf_free(&body);
    ask_free(one);
}

static void report_free(struct lua_test *test, const struct request *request)
{
    struct outside_report **at = &test->reports;
    while (&(*at)->request != request) at = &(*at)->next;
    struct outside_report *report = *at;
    *at = report->next;
    arena_free(&report->request.arena);
    mem_free(report);
}

static uint64_t port_turn(void *self)
{
    struct lua_test *test = self;
    for (struct ask *one; (one = ask_next(test->engine)) != NULL;) outside_play(test, one);
    if (feed_next(test->port) != NULL) test->reading = false;
    if (test->asked != NULL) {
        submit(test, test->asked);
        test->asked = NULL;
    }
    for (struct request *request; (request = port_next(test->port)) != NULL;) {
        if (request->user != test) {
            test->answered = request;
            break;
        }
        report_free(test, request);
    }
    return ENV_NEVER;
}

static void types_forget(struct vm *vm)
{
    for (struct lua_type *type = vm->types; type != NULL; type = type->next) {
        type->type = NULL;
        type->form_known = false;
    }
}

static void app_close(struct lua_test *test)
{
    lua_app_destroy(test->app);
    if (test->catalog != NULL) catalog_destroy(test->catalog);
    test->app = NULL;
    test->catalog = test->shell->catalog = NULL;
    types_forget(test->vm);
}

/* Loads the application anew: a catalog serves one opening of the data. */
static bool app_open(struct lua_test *test, char *why, size_t why_bytes)
{
    struct lua_problem problem;
    struct lua_options options = { .env = env_real(),
                                   .settings = (const char *const *)test->settings };
    app_close(test);
    test->catalog = test->shell->catalog = catalog_create();
    test->app = lua_app_create(test->catalog, &options);
    if (lua_app_load(test->app, test->path, &problem) != WEIR_OK) {
        if (problem.line > 0)
            snprintf(why, why_bytes, "%.80s:%d: %.480s", problem.file, problem.line, problem.text);
        else snprintf(why, why_bytes, "%.200s: %.380s", problem.file, problem.text);
        return false;
    }
    char name[80];
    if (lua_app_setting_unasked(test->app, name, sizeof(name))) {
        snprintf(why, why_bytes, "t.app: the application asks for no setting or secret `%s`", name);
        return false;
    }
    return catalog_finish(test->catalog, why, why_bytes);
}

static bool engine_up(struct lua_test *test, char *why, size_t why_bytes)
{
    if (!app_open(test, why, why_bytes)) return false;
    const struct runtime *runtimes[] = { lua_app_runtime(test->app) };
    struct engine_options options = { .env = sim_env(test->sim),
                                      .data = "data",
                                      .shards = TEST_SHARDS,
                                      .threads = TEST_SHARDS,
                                      .ports = 1,
                                      .catalog = test->catalog,
                                      .runtimes = runtimes,
                                      .runtime_count = 1 };
    struct store_recovery recovery;
    if (engine_open(&options, &test->engine, &recovery, why, why_bytes) != WEIR_OK) {
        test->engine = NULL;
        return false;
    }
    test->actor = (struct actor){ .name = "test", .turn = port_turn, .self = test };
    test->port = engine_port(test->engine, 0, &test->actor);
    ask_sender(test->engine, &test->actor);
    sim_env(test->sim)->actor_start(sim_env(test->sim), &test->actor);
    engine_start(test->engine);
    return true;
}

/* As if the power were cut; nothing is written. */
static void engine_down(struct lua_test *test)
{
    sim_crash(test->sim, SIM_KEEP_NOTHING);
    if (test->engine != NULL) engine_abandon(test->engine);
    test->engine = NULL;
    test->asked = test->answered = NULL;
    while (test->reports != NULL) report_free(test, &test->reports->request);
}

static bool is_answered(void *arg)
{
    return ((struct lua_test *)arg)->answered != NULL;
}

static bool never(void *arg)
{
    return false;
}

/* ---- requests ---- */

static struct lua_test *test_here(lua_State *L)
{
    return vm_of(L)->test;
}

static void ask(lua_State *L, struct lua_test *test, struct request *request)
{
    struct env *env = sim_env(test->sim);
    request->caller = arena_copy(&request->arena, str_of(test->caller));
    request->roles = arena_copy(&request->arena, str_of(test->roles));
    test->asked = request;
    env->actor_wake(env, &test->actor);
    sim_run(test->sim, is_answered, test, ANSWER_LIMIT_NS);
    if (test->answered != request) luaL_error(L, "no answer within two minutes of virtual time");
    test->answered = NULL;
}

static void request_free(struct request *request)
{
    arena_free(&request->arena);
    mem_free(request);
}

static struct request *request_make(const struct handler *handler, struct weir_str key)
{
    struct request *request = mem_alloc(sizeof(*request));
    request->handler = handler;
    request->key = arena_copy(&request->arena, key);
    return request;
}

/* What a rule has raised, which the engine's answer does not tell. */
static void rule_push(lua_State *L)
{
    const char *why = rule_error_take();
    if (why[0] != 0) lua_pushfstring(L, " (the rule: %s)", why);
    else lua_pushliteral(L, "");
}

/* Raises the failure; t.fails() finds its word in test->code. */
static void failure_raise(lua_State *L, struct lua_test *test, const struct request *request,
                          const char *path)
{
    snprintf(test->code, sizeof(test->code), "%.*s", STR_ARG(request->code));
    if (request->status != WEIR_FAILED)
        snprintf(test->code, sizeof(test->code), "%s", weir_status_word(request->status));
    if (request->status == WEIR_PENDING)
        snprintf(test->pending, sizeof(test->pending), "%.*s", STR_ARG(request->request_id));
    luaL_where(L, 1);
    lua_pushfstring(L, "%s: %s ", path, test->code);
    lua_pushlstring(L, request->detail.ptr ? request->detail.ptr : "",
                    request->detail.ptr ? request->detail.len : 0);
    lua_pushliteral(L, " ");
    lua_pushlstring(L, request->text.ptr ? request->text.ptr : "",
                    request->text.ptr ? request->text.len : 0);
    rule_push(L);
    lua_concat(L, 6);
}

static bool args_fill(lua_State *L, struct lua_test *test, struct request *request,
                      const char *path)
{
    const struct shape *shape = request->handler->args;
    char *args = arena_alloc(&request->arena, shape->size + 8u);
    struct conv conv = { .arena = &request->arena, .vm = vm_of(L) };
    struct problem problem = { 0 };
    int given = lua_gettop(L) - 1;
    bool fine = given <= (int)shape->count;
    if (!fine)
        snprintf(conv.text, sizeof(conv.text), "%d arguments are more than %u", given,
                 shape->count);
    lua_settop(L, 1 + (int)shape->count);
    for (uint32_t i = 0; fine && i < shape->count; i++)
        fine = value_read(&conv, L, 2 + (int)i, &shape->fields[i], args);
    if (fine && shape->count > 0 && shape_judge(shape, args, false, &problem) != WEIR_OK) {
        fine = false;
        snprintf(conv.text, sizeof(conv.text), "%s", problem.text);
    }
    request->args = args;
    if (fine) return true;
    snprintf(test->code, sizeof(test->code), "arg");
    luaL_where(L, 1);
    lua_pushfstring(L, "%s: arg: %s %s", path, conv.path, conv.text);
    rule_push(L);
    lua_concat(L, 3);
    return false;
}

/* Of an answered request, which it frees. */
static int result_push(lua_State *L, struct lua_test *test, struct request *request,
                       const char *path)
{
    if (request->status != WEIR_OK) {
        failure_raise(L, test, request, path);
        request_free(request);
        return lua_error(L);
    }
    const struct shape *shape = request->handler->result;
    lua_settop(L, 1);
    if (shape->count == 0 || request->result == NULL) lua_pushnil(L);
    else if (shape->scalar) value_push(L, &shape->fields[0], request->result);
    else record_push(L, shape, request->result);
    request_free(request);
    return 1;
}

/* app.account("ann"):deposit(5); upvalue 1: the handler's name. */
static int test_call(lua_State *L)
{
    struct lua_test *test = test_here(L);
    if (test->engine == NULL) return luaL_error(L, "requests belong into t.case");
    struct weir_str key = STR("");
    struct ud_type *service = ud_test(L, 1, UD_TYPE);
    struct lua_type *lt = service ? service->type : handle_get(L, 1, &key);
    if (lt == NULL) return luaL_error(L, "a handler is called with a colon");
    const char *name = lua_tostring(L, lua_upvalueindex(1));
    struct type *type = type_resolve(test->vm, lt);
    const struct handler *handler = type ? type_handler(type, str_of(name)) : NULL;
    if (handler == NULL) return luaL_error(L, "`%s` has no handler `%s`", lt->name, name);
    char path[200];
    snprintf(path, sizeof(path), "%s/%.*s:%s", lt->name, (int)(key.len < 80 ? key.len : 80),
             key.ptr, name);
    if (!handler_admits(handler, str_of(test->roles))) {
        snprintf(test->code, sizeof(test->code), "%s", test->caller[0] ? "noperm" : "noauth");
        return luaL_error(L, "%s: %s: %s is not open to the caller", path, test->code, name);
    }
    (void)rule_error_take();
    struct request *request = request_make(handler, key);
    if (!args_fill(L, test, request, path)) {
        request_free(request);
        return lua_error(L);
    }
    ask(L, test, request);
    return result_push(L, test, request, path);
}

/* t.wait(): the answer of the last request that failed with `pending`, now or within a request's time. */
static int test_wait(lua_State *L)
{
    struct lua_test *test = test_here(L);
    if (test->engine == NULL || test->pending[0] == 0)
        return luaL_error(L, "t.wait: no request has failed with `pending`");
    struct request *request = request_make(engine_wait_query(test->engine), STR(""));
    request->answer_id = arena_copy(&request->arena, str_of(test->pending));
    request->waits = true;
    ask(L, test, request);
    return result_push(L, test, request, "t.wait");
}

/* ---- t ---- */

static int test_row(lua_State *L)
{
    struct lua_test *test = test_here(L);
    struct weir_str key;
    struct lua_type *lt = handle_get(L, 1, &key);
    struct type *type = lt ? type_resolve(test->vm, lt) : NULL;
    if (type == NULL || test->engine == NULL)
        return luaL_error(L, "t.row takes a handle: t.row(app.account \"ann\")");
    struct request *request = request_make(engine_row_query(test->engine, type), key);
    request->args = arena_alloc(&request->arena, request->handler->args->size + 8u);
    ask(L, test, request);
    if (request->status == WEIR_NOTFOUND) {
        lua_pushnil(L);
    } else if (request->status != WEIR_OK) {
        failure_raise(L, test, request, "t.row");
        request_free(request);
        return lua_error(L);
    } else {
        value_push(L, &request->handler->result->fields[0], request->result);
    }
    request_free(request);
    return 1;
}

static void value_show(lua_State *L, int idx, struct buf *out)
{
    struct conv conv = { .vm = vm_of(L), .alike = true };
    size_t len = out->len;
    if (json_take(&conv, L, idx, out, 0)) return;
    out->len = len;
    buf_add_text(out, luaL_typename(L, idx));
}

/* Values are equal when they say the same as JSON: handles by key, tables by content. */
static int test_equal(lua_State *L)
{
    struct vm *vm = vm_of(L);
    lua_settop(L, 2);
    if (lua_rawequal(L, 1, 2)) return 0;
    buf_reset(&vm->json);
    buf_reset(&vm->text);
    value_show(L, 1, &vm->json);
    value_show(L, 2, &vm->text);
    bool comparable = !lua_isfunction(L, 1) && !lua_isfunction(L, 2);
    if (comparable && str_eq(buf_str(&vm->json), buf_str(&vm->text))) return 0;
    luaL_where(L, 1);
    lua_pushliteral(L, "got ");
    lua_pushlstring(L, vm->json.ptr, vm->json.len);
    lua_pushliteral(L, ", not ");
    lua_pushlstring(L, vm->text.ptr, vm->text.len);
    lua_concat(L, 5);
    return lua_error(L);
}

static int test_fails(lua_State *L)
{
    struct lua_test *test = test_here(L);
    const char *want = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    test->code[0] = 0;
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_pcall(L, 0, 0, 0) == 0)
        return luaL_error(L, "expected the failure `%s`, and nothing failed", want);
    if (test->code[0] == 0) return lua_error(L);
    if (strcmp(test->code, want) != 0)
        return luaL_error(L, "expected the failure `%s`, got: %s", want, lua_tostring(L, -1));
    return 0;
}

static int test_pass(lua_State *L)
{
    struct lua_test *test = test_here(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->modules);
    lua_getfield(L, -1, "weir");
    lua_getfield(L, -1, "span");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    if (test->engine == NULL) return luaL_error(L, "t.pass belongs into t.case");
    sim_run(test->sim, never, NULL, (uint64_t)lua_tonumber(L, -1) * 1000000u);
    return 0;
}

static void caller_reset(struct lua_test *test)
{
    snprintf(test->caller, sizeof(test->caller), ROLE_OPERATOR);
    snprintf(test->roles, sizeof(test->roles), ROLE_OPERATOR);
}

/* t.as { id = "ann", roles = { "clerk" } }: the next requests are hers, as a door would take them, `allow` included;
 * without an id they are a stranger's. t.as() gives the operator back. */
static int test_as(lua_State *L)
{
    struct lua_test *test = test_here(L);
    caller_reset(test);
    if (lua_isnoneornil(L, 1)) return 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_getfield(L, 1, "id");
    const char *id = lua_tostring(L, -1);
    if (id && strlen(id) >= sizeof(test->caller)) return luaL_error(L, "t.as: id is too long");
    snprintf(test->caller, sizeof(test->caller), "%s", id ? id : "");
    lua_getfield(L, 1, "roles");
    test->roles[0] = 0;
    if (lua_isnil(L, -1)) return 0;
    if (!lua_istable(L, -1)) return luaL_error(L, "t.as: roles is a list of words");
    size_t used = 0;
    for (size_t i = 1; i <= lua_objlen(L, -1); i++) {
        size_t len;
        lua_rawgeti(L, -1, (int)i);
        const char *role = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
        if (!role || !name_is_fit(role, len) || strcmp(role, HANDLER_ANYONE) == 0 ||
            used + len + 2 > sizeof(test->roles))
            return luaL_error(L, "t.as: roles is a list of words");
        used += (size_t)snprintf(test->roles + used, sizeof(test->roles) - used, "%s%s",
                                 i > 1 ? "," : "", role);
        lua_pop(L, 1);
    }
    return 0;
}

static int test_crash(lua_State *L)
{
    struct lua_test *test = test_here(L);
    char why[512];
    if (test->engine == NULL) return luaL_error(L, "t.crash belongs into t.case");
    engine_down(test);
    if (!engine_up(test, why, sizeof(why))) return luaL_error(L, "after the crash: %s", why);
    return 0;
}

static int test_case(lua_State *L)
{
    struct lua_test *test = test_here(L);
    luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (test->case_count == CASES_MAX)
        return luaL_error(L, "more than %d cases in a file", (int)CASES_MAX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, test->cases);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, (int)++test->case_count);
    return 0;
}

static int app_index(lua_State *L)
{
    struct lua_test *test = test_here(L);
    size_t len;
    const char *name = luaL_checklstring(L, 2, &len);
    struct type *type = catalog_type(test->catalog, (struct weir_str){ name, len });
    if (type == NULL) return luaL_error(L, "the application has no type `%s`", name);
    struct lua_type *lt = type_named(L, name, len, type->service);
    lua_rawgeti(L, LUA_REGISTRYINDEX, lt->object);
    return 1;
}

static void settings_read(lua_State *L, struct lua_test *test, int idx);

static int test_app(lua_State *L)
{
    struct lua_test *test = test_here(L);
    const char *name = luaL_checkstring(L, 1);
    char why[600];
    if (test->path[0] != 0) return luaL_error(L, "a test file has one application");
    size_t len = strlen(name);
    if (len < 4 || strcmp(name + len - 4, ".lua") != 0)
        return luaL_error(L, "t.app takes an application in Lua, a .lua file: `%s` is none", name);
    if (name[0] == '/') snprintf(test->path, sizeof(test->path), "%s", name);
    else snprintf(test->path, sizeof(test->path), "%s/%s", vm_of(L)->source->folder, name);
    if (lua_istable(L, 2)) settings_read(L, test, 2);
    if (!app_open(test, why, sizeof(why))) return luaL_error(L, "%s", why);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, app_index);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    return 1;
}

/* t.outside("bank", function(request) return { status = 201, body = { ... } } end) */
static int test_outside(lua_State *L)
{
    struct lua_test *test = test_here(L);
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (test->catalog == NULL ||
        catalog_outside(test->catalog, (struct weir_str){ name, len }) == NULL)
        return luaL_error(L, "the application has no outside `%s`", name);
    lua_rawgeti(L, LUA_REGISTRYINDEX, test->outsides);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_rawset(L, -3);
    return 0;
}

static const struct stream *stream_here(lua_State *L, struct lua_test *test, const char *what)
{
    size_t len;
    const char *name = luaL_checklstring(L, 1, &len);
    const struct stream *stream = test->catalog ? catalog_stream(test->catalog,
                                                                 (struct weir_str){ name, len })
                                                : NULL;
    if (stream == NULL) luaL_error(L, "the application has no stream `%s`", name);
    if (test->engine == NULL) luaL_error(L, "t.%s belongs into t.case", what);
    return stream;
}

/* A request of the stream's, as a door makes it; raises its failure. */
static void stream_ask(lua_State *L, struct lua_test *test, struct request *request,
                       const char *what)
{
    ask(L, test, request);
    bool failed = request->status != WEIR_OK;
    if (failed) failure_raise(L, test, request, what);
    request_free(request);
    if (failed) lua_error(L);
}

/* t.emit("measured", { sensor = "s1", celsius = 20 }): an event from outside. */
static int test_emit(lua_State *L)
{
    struct lua_test *test = test_here(L);
    const struct stream *stream = stream_here(L, test, "emit");
    luaL_checktype(L, 2, LUA_TTABLE);
    struct request *request = request_make(stream->emit, stream->name);
    void *event = arena_alloc(&request->arena, stream->event->size + 8u);
    struct conv conv = { .vm = vm_of(L) };
    struct buf json = { 0 };
    struct problem problem = { 0 };
    if (!json_take(&conv, L, 2, &json, 0)) {
        snprintf(problem.text, sizeof(problem.text), "%s", conv.text);
    } else if (json_read(stream->event, buf_str(&json), &request->arena, event, &problem) ==
               WEIR_OK) {
        (void)shape_judge(stream->event, event, false, &problem);
    }
    buf_free(&json);
    if (problem.text[0] != 0) {
        request_free(request);
        snprintf(test->code, sizeof(test->code), "arg");
        return luaL_error(L, "t.emit: %s", problem.text);
    }
    if (stream->key_field >= 0) {
        const struct field *key = &stream->event->fields[stream->key_field];
        struct weir_str text = text_load(key, (const char *)event + key->offset);
        if (text.len > 0) request->key = arena_copy(&request->arena, text);
    }
    request->args = event;
    stream_ask(L, test, request, "t.emit");
    return 0;
}

/* t.finish "measured": no event will come any more; windows over it close. */
static int test_finish(lua_State *L)
{
    struct lua_test *test = test_here(L);
    const struct stream *stream = stream_here(L, test, "finish");
    struct request *request = request_make(stream->end, stream->name);
    request->args = arena_alloc(&request->arena, 8);
    stream_ask(L, test, request, "t.finish");
    return 0;
}

static bool is_read(void *arg)
{
    return !((struct lua_test *)arg)->reading;
}

/* t.events "sold": what the stream holds, oldest first: { id, time, key, event }. */
static int test_events(lua_State *L)
{
    struct lua_test *test = test_here(L);
    const struct stream *stream = stream_here(L, test, "events");
    test->read = (struct feed_read){ .op = FEED_READ, .stream = stream, .count = FEED_COUNT_MAX };
    test->reading = true;
    feed_submit(test->port, &test->read);
    sim_run(test->sim, is_read, test, ANSWER_LIMIT_NS);
    if (test->reading) return luaL_error(L, "no answer within two minutes of virtual time");
    struct arena arena = { 0 };
    int place = 0;
    lua_createtable(L, (int)test->read.item_count, 0);
    for (const struct feed_item *item = test->read.items; item != NULL; item = item->next) {
        char id[EVENT_ID_TEXT_MAX];
        void *event = arena_alloc(&arena, stream->event->size + 8u);
        if (feed_unpack(stream, item->value, &arena, event) != WEIR_OK) continue;
        lua_createtable(L, 0, 4);
        lua_pushlstring(L, id, event_id_write(item->id, id));
        lua_setfield(L, -2, "id");
        lua_pushnumber(L, (double)item->time_ms);
        lua_setfield(L, -2, "time");
        lua_pushlstring(L, item->key.ptr, item->key.len);
        lua_setfield(L, -2, "key");
        record_push(L, stream->event, event);
        lua_setfield(L, -2, "event");
        lua_rawseti(L, -2, ++place);
    }
    arena_free(&arena);
    feed_read_free(&test->read);
    return 1;
}

/* The application's settings and secrets: t.app("shop.lua", { bank_url = "http://bank" }) */
static void settings_read(lua_State *L, struct lua_test *test, int idx)
{
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        bool fits = lua_isboolean(L, -1) || lua_isstring(L, -1);
        if (lua_type(L, -2) != LUA_TSTRING || !fits)
            luaL_error(L, "t.app: a setting is a name with a text, number or boolean");
        lua_pushvalue(L, -2);
        lua_pushliteral(L, "=");
        if (lua_isboolean(L, -3)) lua_pushstring(L, lua_toboolean(L, -3) ? "true" : "false");
        else lua_pushvalue(L, -3);
        lua_concat(L, 3);
        size_t len;
        const char *text = lua_tolstring(L, -1, &len);
        if (test->setting_count == SETTINGS_MAX)
            luaL_error(L, "more than %d settings", (int)SETTINGS_MAX);
        char *copy = mem_alloc(len + 1);
        memcpy(copy, text, len);
        test->settings[test->setting_count++] = copy;
        lua_pop(L, 1);
    }
}

static int test_later(lua_State *L)
{
    const char *name = lua_tostring(L, 2);
    return luaL_error(L, "there is no t.%s", name ? name : "?");
}

static int test_open(lua_State *L)
{
    static const luaL_Reg functions[] = { { "app", test_app },       { "case", test_case },
                                          { "equal", test_equal },   { "fails", test_fails },
                                          { "pass", test_pass },     { "row", test_row },
                                          { "as", test_as },         { "crash", test_crash },
                                          { "events", test_events }, { "outside", test_outside },
                                          { "emit", test_emit },     { "finish", test_finish },
                                          { "wait", test_wait },     { NULL, NULL } };
    struct vm *vm = vm_of(L);
    lua_newtable(L);
    vm->test->cases = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    vm->test->outsides = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->modules);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, test_later);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "weir.test");
    return 0;
}

/* ---- running ---- */

static int case_push(lua_State *L)
{
    struct lua_test *test = test_here(L);
    int place = (int)lua_tointeger(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, test->cases);
    lua_rawgeti(L, -1, place);
    lua_rawgeti(L, -1, 2);
    lua_call(L, 0, 0);
    return 0;
}

static const char *case_name(lua_State *L, struct lua_test *test, int place)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, test->cases);
    lua_rawgeti(L, -1, place);
    lua_rawgeti(L, -1, 1);
    return lua_tostring(L, -1);
}

static void case_run(struct lua_test *test, int place, const char *only,
                     void (*each)(void *arg, const struct lua_test_result *result), void *arg)
{
    lua_State *L = test->vm->L;
    char why[600] = "";
    struct lua_test_result result = { .name = case_name(L, test, place), .passed = true };
    if (only != NULL && strstr(result.name, only) == NULL) {
        lua_settop(L, 0);
        return;
    }
    test->sim = sim_create(test->seed);
    test->pending[0] = test->trouble[0] = 0;
    caller_reset(test);
    if (!engine_up(test, why, sizeof(why))) {
        result.passed = false;
        result.message = why;
    } else {
        lua_pushcfunction(L, case_push);
        lua_pushinteger(L, place);
        result.passed = lua_pcall(L, 1, 0, 0) == 0;
        if (!result.passed)
            result.message = lua_tostring(L, -1) ? lua_tostring(L, -1) : "an error that is no text";
        if (test->trouble[0] != 0) {
            result.passed = false; /* whatever else failed may come from it */
            result.message = test->trouble;
        }
    }
    engine_down(test);
    each(arg, &result);
    sim_destroy(test->sim);
    test->sim = NULL;
    lua_settop(L, 0);
}

bool lua_test_run(const char *path, uint64_t seed, const char *only,
                  void (*each)(void *arg, const struct lua_test_result *result), void *arg,
                  struct lua_problem *problem)
{
    struct lua_options options = { .env = env_real() };
    struct lua_test *test = mem_alloc(sizeof(*test));
    char why[512];
    *problem = (struct lua_problem){ .line = 0 };
    test->seed = seed;
    test->shell = lua_app_create(NULL, &options);
    test->vm = vm_create(test->shell, false);
    test->vm->test = test;
    test->vm->request = test_call;
    struct source *source = source_read(test->shell, path, false, why, sizeof(why));
    bool loaded = source != NULL && lua_cpcall(test->vm->L, test_open, NULL) == 0 &&
                  vm_load(test->vm, source, problem);
    if (source == NULL) {
        problem_of(problem, path, "");
        snprintf(problem->text, sizeof(problem->text), "%s", why);
    } else if (loaded && test->path[0] == 0) {
        loaded = false;
        problem_of(problem, source->name,
                   "the file tests no application: local app = t.app \"bank.lua\"");
    }
    for (unsigned i = 1; loaded && i <= test->case_count; i++)
        case_run(test, (int)i, only, each, arg);
    app_close(test);
    vm_destroy(test->vm);
    lua_app_destroy(test->shell);
    for (unsigned i = 0; i < test->setting_count; i++) mem_free(test->settings[i]);
    mem_free(test);
    return loaded;
}
