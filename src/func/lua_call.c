/*
 * lua_call.c - the runtime: running handlers, calls between them, and `weir` as handlers use it.
 *
 * Each handler runs in a Lua thread of its own on the fiber that the engine switched to; it is suspended in
 * the middle of a C function called from Lua, never by lua_yield(), so that calls may stand anywhere: in
 * comparators, in callbacks of gsub, in metamethods. Many C stacks in one Lua state: Tarantool does the same.
 *
 * A doomed transaction never returns into Lua: after each call into the engine comes engine_check(), which
 * abandons the fiber. A handler that runs too long is left by a jump (os/watch.h); the whole vm is then thrown
 * away, for it may be half changed, and a new one is made from the sources.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "data/duration.h"

/* A new thread's stack has room for so many without growing. */
#define DIRECT_ARGS_MAX 8u
/* Garbage to have gathered before an idle shard collects. */
#define IDLE_BYTES ((size_t)64 * 1024)

/* A shard's state: stays when its vm is replaced. */
struct lua_shard {
    struct lua_app *app;
    struct env *env;
    struct vm *vm;
    uint32_t ticks_max;
};

/* What stays at the bottom of an invocation's thread. So that calling it makes nothing, and costs no look into the registry. */
enum place {
    PLACE_INVOKE = 1, /* invoke_body() */
    PLACE_RESULT,     /* result_body() */
    PLACE_FUNCTION,   /* of one that is bound: the handler */
    PLACE_SELF,       /* its `self` */
    PLACE_LENT        /* handles lent to it, by the argument's place; nil where there is none */
};

/* ---- what one transaction uses ---- */

static struct spend *spend_find(struct vm *vm, const struct arena *txn)
{
    size_t slot = ((uintptr_t)txn >> 6) % SPEND_SLOTS;
    struct spend *spend = vm->spends[slot];
    while (spend != NULL && spend->txn != txn) spend = spend->chain;
    if (spend == NULL) {
        spend = slab_alloc(&vm->slab, sizeof(*spend));
        *spend = (struct spend){ .txn = txn,
                                 .collect_at = (int64_t)vm->app->limits.lua_bytes_max / 2,
                                 .chain = vm->spends[slot] };
        vm->spends[slot] = spend;
    }
    return spend;
}

static void spend_leave(struct vm *vm, struct spend *spend)
{
    if (--spend->handlers > 0) return;
    struct spend **at = &vm->spends[((uintptr_t)spend->txn >> 6) % SPEND_SLOTS];
    while (*at != spend) at = &(*at)->chain;
    *at = spend->chain;
    slab_free(&vm->slab, spend, sizeof(*spend));
}

/* ---- invocations ---- */

static int invoke_body(lua_State *L), result_body(lua_State *L);

static struct invocation *invocation_make(struct vm *vm)
{
    struct invocation *inv = vm->spare;
    if (inv != NULL) {
        vm->spare = inv->next;
    } else {
        inv = arena_alloc(&vm->arena, sizeof(*inv));
        inv->anchor = LUA_NOREF;
    }
    if (inv->anchor == LUA_NOREF) {
        inv->L = lua_newthread(vm->L);
        inv->anchor = luaL_ref(vm->L, LUA_REGISTRYINDEX);
        lua_pushcfunction(inv->L, invoke_body);
        lua_pushcfunction(inv->L, result_body);
    }
    inv->vm = vm;
    inv->bound = false;
    inv->bottom = PLACE_RESULT;
    return inv;
}

static struct invocation *invocation_take(struct vm *vm, const struct lua_code *code)
{
    struct kept *kept = &vm->kept[code->function];
    struct invocation *inv = kept->first;
    if (inv != NULL) {
        kept->first = inv->next;
        kept->count--;
    } else {
        inv = invocation_make(vm);
        inv->type = vm->owners[code->function];
        if (inv->type->type == NULL) type_resolve(vm, inv->type);
    }
    inv->serial = ++vm->serial;
    inv->memory_hit = false;
    inv->ends = false;
    inv->went = false;
    inv->all = NULL;
    inv->grown = NULL;
    return inv;
}

/* Puts the handler that it ran, and what was lent to that, to the bottom of its thread, to be found there by the next one.
 * Makes nothing. */
static void invocation_bind(struct invocation *inv, const struct lua_code *code)
{
    const struct shape *args = inv->handler->args;
    lua_State *L = inv->L;
    if (!(code->lends & 1) || inv->self == NULL || inv->self->self != inv->type ||
        args->count > DIRECT_ARGS_MAX)
        return;
    lua_settop(L, PLACE_RESULT);
    lua_rawgeti(L, LUA_REGISTRYINDEX, inv->vm->refs[code->function]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, inv->self_anchor);
    for (uint32_t i = 0; i < args->count; i++) {
        if (inv->lent_out & 1u << i) lua_rawgeti(L, LUA_REGISTRYINDEX, inv->lent[i].anchor);
        else lua_pushnil(L);
    }
    inv->bound_lent = inv->lent_out;
    inv->bottom = PLACE_SELF + (int)args->count;
    inv->bound = true;
}

/* `clean`: its thread ended by itself and may be used again. */
static void invocation_give(struct invocation *inv, bool clean)
{
    struct vm *vm = inv->vm;
    const struct lua_code *code = inv->handler->code;
    struct kept *kept = &vm->kept[code->function];
    struct invocation **list = &vm->spare;
    if (clean && !inv->bound && kept->count < KEPT_MAX) invocation_bind(inv, code);
    if (clean && inv->bound && kept->count < KEPT_MAX) {
        lua_settop(inv->L, inv->bottom);
        kept->count++;
        list = &kept->first;
    } else if (clean) {
        lua_settop(inv->L, PLACE_RESULT);
    } else {
        luaL_unref(vm->L, LUA_REGISTRYINDEX, inv->anchor);
        inv->anchor = LUA_NOREF;
    }
    handles_give_back(inv);
    if (inv->once != NULL) once_give_up(inv);
    spend_leave(vm, inv->spend);
    inv->spend = NULL;
    inv->serial = 0;
    inv->next = *list;
    *list = inv;
}

void invocation_pause(struct invocation *inv)
{
    vm_run(inv->vm, NULL);
    watch_switch(NULL);
}

void invocation_continue(struct invocation *inv)
{
    vm_run(inv->vm, inv);
    watch_switch(&inv->run);
}

void abandon(struct invocation *inv)
{
    invocation_pause(inv);
    ctx_abandon(inv->ctx);
}

void engine_check(lua_State *L, struct invocation *inv)
{
    if (weir_failed(inv->ctx) != WEIR_OK) abandon(inv);
}

struct invocation *invocation_here(lua_State *L, const char *what)
{
    struct invocation *inv = vm_of(L)->current;
    if (inv == NULL || inv->ctx == NULL) luaL_error(L, "weir.%s works in handlers only", what);
    return inv;
}

/* Does not return: the transaction fails with an engine's status. */
__attribute__((noreturn, format(printf, 3, 4))) static void fail_with(struct invocation *inv,
                                                                      enum weir_status status,
                                                                      const char *format, ...)
{
    char text[480];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ctx_fail(inv->ctx, status, "%s", text);
    abandon(inv);
}

/* ---- running code that may be stopped ---- */

/* Under a sanitizer the compiler of LuaJIT is off, and a hook that counts instructions stands for the timer. */
void vm_hook(lua_State *L, lua_Debug *debug)
{
    struct vm *vm = vm_of(L);
    struct watch_run *run = vm->app->env ? watch_switch(NULL) : NULL;
    if (run == NULL) return;
    uint64_t now = vm->app->env->thread_cpu_ns(vm->app->env);
    if (vm->started_ns != 0 &&
        now - vm->started_ns > (uint64_t)run->ticks_max * WATCH_TICK_MS * 1000000u) {
        *run->ticks = run->ticks_max;
        siglongjmp(run->jump, 1);
    }
    watch_switch(run);
}

int vm_call_watched(struct vm *vm, lua_State *L, struct watch_run *run, int args, int results)
{
#if !LUA_NO_JIT
    (void)watch_thread();
#else
    if (vm->app->env) vm->started_ns = vm->app->env->thread_cpu_ns(vm->app->env);
#endif
    struct watch_run *volatile outer = NULL;
    if (sigsetjmp(run->jump, 0) != 0) {
        watch_switch(outer);
        return -1;
    }
    outer = watch_switch(run);
    int status = lua_pcall(L, args, results, 0);
    watch_switch(outer);
    return status;
}

static uint32_t ticks_of(const struct lua_app *app)
{
    uint64_t ticks = app->limits.cpu_ms_max / WATCH_TICK_MS;
    return ticks == 0 ? 1 : ticks > 1000000 ? 1000000 : (uint32_t)ticks;
}

static const char *text_on_stack(lua_State *L, struct weir_str text)
{
    lua_pushlstring(L, text.ptr ? text.ptr : "", text.len);
    return lua_tostring(L, -1);
}

/* What the handler returned, on top of the stack. */
static int result_take(lua_State *L, struct invocation *inv)
{
    const struct ud_ticket *later = ud_test(L, -1, UD_TICKET);
    if (later != NULL) {
        if (weir_defer(inv->ctx, later->ticket) != WEIR_OK) abandon(inv);
        return 0;
    }
    const struct shape *result = inv->handler->result;
    if (result->count == 0 || inv->result == NULL) return 0;
    struct conv conv;
    conv_init(&conv, inv->vm, inv->arena);
    bool fine = result->scalar
                    ? value_read(&conv, L, lua_gettop(L), &result->fields[0], inv->result)
                    : record_read(&conv, L, lua_gettop(L), result, inv->result);
    if (fine) return 0;
    const char *at = text_on_stack(L, inv->handler->at);
    return luaL_error(L, "%s: the result%s%s: %s", at, conv.path[0] != 0 ? ", " : "", conv.path,
                      conv.text);
}

/* These two stand at the bottom of each handler's thread, so that calling them makes nothing. */
static int result_body(lua_State *L)
{
    return result_take(L, vm_of(L)->current);
}

/* The argument's type and key; NULL unless it is a handle. */
static struct lua_type *ref_of(const struct invocation *inv, const struct field *f,
                               struct weir_str *key)
{
    if (f->kind != WEIR_REF) return NULL;
    memcpy(key, (const char *)inv->args + f->offset, sizeof(*key));
    return key->ptr != NULL ? type_known(inv->vm, f->type) : NULL;
}

static bool code_lends(const struct lua_code *code, uint32_t arg)
{
    return arg < LENT_MAX && (code->lends & 2u << arg);
}

static int invoke_body(lua_State *L)
{
    struct vm *vm = vm_of(L);
    struct invocation *inv = vm->current;
    const struct lua_code *code = inv->handler->code;
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->refs[code->function]);
    self_push(L, inv);
    const struct shape *args = inv->handler->args;
    luaL_checkstack(L, (int)args->count + 10, "arguments");
    for (uint32_t i = 0; i < args->count; i++) {
        struct weir_str key;
        struct lua_type *type = ref_of(inv, &args->fields[i], &key);
        if (type != NULL && code_lends(code, i)) handle_lend_first(L, inv, i, type, key);
        else value_push(L, &args->fields[i], inv->args);
    }
    lua_call(L, (int)args->count + 1, 1);
    return inv->ends ? 0 : result_take(L, inv);
}

/* ---- the short way: what makes nothing in Lua's memory needs no protection ---- */

static bool arg_push_plain(struct invocation *inv, const struct lua_code *code, uint32_t i)
{
    const struct field *f = &inv->handler->args->fields[i];
    if (f->kind == WEIR_INT || f->kind == WEIR_TIME || f->kind == WEIR_FLOAT ||
        f->kind == WEIR_BOOL) {
        value_push(inv->L, f, inv->args);
        return true;
    }
    struct weir_str key;
    struct lua_type *type = ref_of(inv, f, &key);
    if (type == NULL) return false;
    return code_lends(code, i) ? handle_lend(inv->L, inv, i, type, key)
                               : handle_push_known(inv->L, type, key);
}

/* Pushes the handler, `self` and its arguments, if all of them are there or plain numbers. */
static bool direct_push(struct invocation *inv, const struct lua_code *code)
{
    const struct shape *args = inv->handler->args;
    if (!(code->lends & 1) || inv->self == NULL || inv->type->self_meta == LUA_NOREF ||
        args->count > DIRECT_ARGS_MAX)
        return false;
    lua_rawgeti(inv->L, LUA_REGISTRYINDEX, inv->vm->refs[code->function]);
    self_lend(inv->L, inv);
    for (uint32_t i = 0; i < args->count; i++) {
        if (arg_push_plain(inv, code, i)) continue;
        lua_settop(inv->L, inv->bottom);
        return false;
    }
    return true;
}

/* The same of an invocation that has run this handler before. */
static bool bound_push(struct invocation *inv, const struct lua_code *code)
{
    lua_State *L = inv->L;
    const struct shape *args = inv->handler->args;
    lua_pushvalue(L, PLACE_FUNCTION);
    lua_pushvalue(L, PLACE_SELF);
    self_lend_again(inv);
    for (uint32_t i = 0; i < args->count; i++) {
        struct weir_str key;
        if (inv->bound_lent & 1u << i) {
            memcpy(&key, (const char *)inv->args + args->fields[i].offset, sizeof(key));
            if (key.ptr != NULL) {
                lua_pushvalue(L, PLACE_LENT + (int)i);
                handle_lend_again(inv, i, key);
                continue;
            }
        }
        if (arg_push_plain(inv, code, i)) continue;
        lua_settop(L, inv->bottom);
        return false;
    }
    return true;
}

/* Nothing, whole numbers and bools; false: the result is something else, or wrong. */
static bool result_take_plain(struct invocation *inv)
{
    const struct shape *result = inv->handler->result;
    int type = lua_type(inv->L, -1);
    if (type == LUA_TUSERDATA) return false; /* it may be a ticket */
    if (result->count == 0 || inv->result == NULL) return true;
    const struct field *f = &result->fields[0];
    char *at = (char *)inv->result + f->offset;
    int64_t n;
    if (!result->scalar) return false;
    if (type == LUA_TNIL && f->kind == WEIR_ANY) {
        memset(at, 0, f->size);
    } else if (type == LUA_TNUMBER && f->kind == WEIR_INT && f->size == 8 &&
               whole_take(inv->L, -1, &n)) {
        int_store(f, at, n);
    } else if (type == LUA_TBOOLEAN && f->kind == WEIR_BOOL) {
        *at = lua_toboolean(inv->L, -1) != 0;
    } else {
        return false;
    }
    return true;
}

static int invoke_run(struct invocation *inv)
{
    struct vm *vm = inv->vm;
    const struct lua_code *code = inv->handler->code;
    inv->direct = inv->bound ? bound_push(inv, code) : direct_push(inv, code);
    if (!inv->direct) {
        lua_pushvalue(inv->L, PLACE_INVOKE);
        return vm_call_watched(vm, inv->L, &inv->run, 0, 0);
    }
    int status = vm_call_watched(vm, inv->L, &inv->run, (int)inv->handler->args->count + 1, 1);
    if (status != 0 || inv->ends || result_take_plain(inv)) return status;
    lua_pushvalue(inv->L, PLACE_RESULT);
    lua_insert(inv->L, -2);
    return vm_call_watched(vm, inv->L, &inv->run, 1, 0);
}

static struct vm *vm_ready(struct lua_app *app)
{
    struct lua_problem problem;
    struct vm *vm = vm_create(app, false);
    if (vm_load_all(vm, &problem)) return vm;
    vm_destroy(vm);
    return NULL;
}

/* One that handlers run in. */
static struct vm *vm_of_shard(struct lua_app *app)
{
    struct vm *vm = vm_ready(app);
    if (vm != NULL) functions_make_once(vm);
    return vm;
}

/* The handler ran too long: its vm goes, with all that is suspended in it. Returns to no one. */
__attribute__((noreturn)) static void invocation_stopped(struct lua_shard *shard,
                                                         struct weir_ctx *ctx)
{
    const struct handler *handler = ctx_handler(ctx);
    struct lua_app *app = shard->app;
    *ctx_user(ctx) = NULL;
    ctx_state_lost(ctx);
    vm_destroy(shard->vm);
    shard->vm = vm_of_shard(app);
    ctx_fail(ctx, WEIR_BUDGET, "cpu: more than %llu ms (cpu_ms_max) in %.*s (%.*s:%.*s)",
             (unsigned long long)app->limits.cpu_ms_max, STR_ARG(handler->at),
             STR_ARG(handler->type->name), STR_ARG(handler->name));
    ctx_abandon(ctx);
}

/* Does the error say where it is: "bank.lua:12: ..."? */
static bool error_is_placed(const char *text)
{
    const char *colon = strchr(text, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    return digits > 0 && colon[1 + digits] == ':';
}

static enum weir_status error_report(struct invocation *inv, int status)
{
    struct lua_app *app = inv->vm->app;
    if (status == LUA_ERRMEM || inv->memory_hit) {
        return ctx_fail(inv->ctx, WEIR_BUDGET,
                        "memory: not enough memory: %.*s (%.*s:%.*s) needs more than %llu bytes "
                        "(lua_bytes_max)",
                        STR_ARG(inv->handler->at), STR_ARG(inv->handler->type->name),
                        STR_ARG(inv->handler->name), (unsigned long long)app->limits.lua_bytes_max);
    }
    const char *text = lua_type(inv->L, -1) == LUA_TSTRING ? lua_tostring(inv->L, -1) : NULL;
    if (text == NULL) {
        return ctx_fail(inv->ctx, WEIR_HANDLER, "%.*s: error with a value that is no text (%s)",
                        STR_ARG(inv->handler->at), luaL_typename(inv->L, -1));
    }
    if (error_is_placed(text)) return ctx_fail(inv->ctx, WEIR_HANDLER, "%.480s", text);
    /* A tail call, as `return self.lines:append { ... }`: the line is gone when the error comes, the handler is known. */
    return ctx_fail(inv->ctx, WEIR_HANDLER, "%.*s: in %.*s:%.*s: %.400s", STR_ARG(inv->handler->at),
                    STR_ARG(inv->handler->type->name), STR_ARG(inv->handler->name), text);
}

static void collector_reset(struct vm *vm)
{
    if (!vm->collect_fast) return;
    vm->collect_fast = false;
    lua_gc(vm->L, LUA_GCSETSTEPMUL, 200);
}

static enum weir_status lua_invoke(void *state, struct weir_ctx *ctx, const struct handler *handler,
                                   void *row, const void *args, void *result)
{
    struct lua_shard *shard = state;
    struct vm *vm = shard->vm;
    if (vm == NULL)
        return ctx_fail(ctx, WEIR_HANDLER,
                        "the Lua state of this shard could not be made again: the files load "
                        "differently each time");
    struct invocation *outer = vm->current, *inv = invocation_take(vm, handler->code);
    inv->ctx = ctx;
    inv->handler = handler;
    inv->row = row;
    inv->args = args;
    inv->result = result;
    inv->arena = ctx_arena(ctx);
    inv->read_only = ctx_read_only(ctx);
    inv->stack_top = __builtin_frame_address(0);
    inv->spend = outer != NULL && outer->arena == inv->arena ? outer->spend
                                                             : spend_find(vm, inv->arena);
    inv->spend->handlers++;
    inv->run.ticks = &inv->spend->ticks;
    inv->run.ticks_max = shard->ticks_max;
    *ctx_user(ctx) = inv;
    vm_run(vm, inv);
    int status = invoke_run(inv);
    if (status < 0) invocation_stopped(shard, ctx);
    vm_run(vm, outer);
    *ctx_user(ctx) = NULL;
    enum weir_status st = WEIR_OK;
    if (status != 0 || inv->memory_hit) st = error_report(inv, status);
    invocation_give(inv, status != LUA_ERRMEM && !inv->memory_hit);
    collector_reset(vm);
    return st;
}

static void lua_dropped(void *state, void *user)
{
    struct invocation *inv = user;
    if (inv != NULL) invocation_give(inv, false);
}

static void lua_idle(void *state)
{
    struct lua_shard *shard = state;
    struct vm *vm = shard->vm;
    if (vm == NULL) return;
    if (vm->used < vm->idle_used) vm->idle_used = vm->used;
    if (vm->used - vm->idle_used < IDLE_BYTES + vm->idle_used / 2) return;
    lua_gc(vm->L, LUA_GCSTEP, 64);
    vm->idle_used = vm->used;
}

static void *lua_shard_start(void *self, struct env *env, uint32_t index)
{
    struct lua_app *app = self;
    (void)watch_allow((const void *)(uintptr_t)&lua_newstate);
    struct lua_shard *shard = mem_alloc(sizeof(*shard));
    shard->app = app;
    shard->env = env;
    shard->ticks_max = ticks_of(app);
    shard->vm = vm_of_shard(app);
    return shard;
}

static void lua_shard_stop(void *self, void *state)
{
    struct lua_shard *shard = state;
    vm_destroy(shard->vm);
    mem_free(shard);
}

void runtime_init(struct lua_app *app)
{
    app->runtime = (struct runtime){ .name = "lua",
                                     .drops = true,
                                     .self = app,
                                     .shard_start = lua_shard_start,
                                     .shard_stop = lua_shard_stop,
                                     .invoke = lua_invoke,
                                     .dropped = lua_dropped,
                                     .idle = lua_idle };
}

/* ---- rules: Lua functions over values, run in vms of their own on whatever thread judges ---- */

static struct vm *judge_take(struct lua_app *app, uint32_t *slot)
{
    for (uint32_t i = 0; i < JUDGES_MAX; i++) {
        uint32_t free = 0;
        if (!atomic_compare_exchange_strong(&app->judge_taken[i], &free, 1)) continue;
        if (app->judges[i] == NULL) {
            (void)watch_allow((const void *)(uintptr_t)&lua_newstate);
            app->judges[i] = vm_ready(app);
            if (app->judges[i] != NULL)
                app->judges[i]->limit = app->judges[i]->used + app->limits.lua_bytes_max;
        }
        *slot = i;
        return app->judges[i];
    }
    return NULL;
}

struct judged {
    struct lua_code *code;
    const struct shape *shape; /* of a row; NULL: a field */
    const void *value;
    bool kept;
    char word[NAME_BYTES_MAX + 1];
};

static int judge_body(lua_State *L)
{
    struct judged *judged = lua_touserdata(L, 1);
    struct vm *vm = vm_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->refs[judged->code->function]);
    if (judged->shape != NULL) {
        record_push(L, judged->shape, judged->value);
    } else {
        /* the engine gives the value itself, wherever it stands in its struct */
        struct field one = *judged->code->field;
        one.offset = 0;
        value_push(L, &one, judged->value);
    }
    lua_call(L, 1, 2);
    judged->kept = lua_toboolean(L, -2);
    if (lua_type(L, -1) == LUA_TSTRING && name_is_fit(lua_tostring(L, -1), lua_objlen(L, -1)))
        snprintf(judged->word, sizeof(judged->word), "%s", lua_tostring(L, -1));
    return 0;
}

/* Runs `body` on its own state, outside any transaction. 0, or the error with a sentence in `why`; -1: it took too
 * long. */
static int judge_run(struct lua_app *app, lua_CFunction body, void *arg, char *why,
                     size_t why_bytes)
{
    uint32_t slot = 0;
    struct watch_run *outer = watch_switch(NULL);
    struct vm *vm = judge_take(app, &slot);
    if (vm == NULL) {
        watch_switch(outer);
        snprintf(why, why_bytes, "no Lua state is free");
        return LUA_ERRRUN;
    }
    uint32_t ticks = 0;
    struct watch_run run = { .ticks = &ticks, .ticks_max = ticks_of(app) };
    lua_State *L = vm->L;
    lua_pushcfunction(L, body);
    lua_pushlightuserdata(L, arg);
    int status = vm_call_watched(vm, L, &run, 1, 0);
    if (status < 0) snprintf(why, why_bytes, "it took too long");
    else if (status == LUA_ERRMEM) snprintf(why, why_bytes, "not enough memory");
    else if (status != 0)
        snprintf(why, why_bytes, "%s", lua_tostring(L, -1) ? lua_tostring(L, -1) : "an error");
    if (status < 0 || status == LUA_ERRMEM) {
        vm_destroy(vm);
        app->judges[slot] = NULL;
    } else {
        lua_settop(L, 0);
    }
    atomic_store(&app->judge_taken[slot], 0);
    watch_switch(outer);
    return status;
}

static _Thread_local char rule_why[300];

const char *rule_error_take(void)
{
    static _Thread_local char taken[sizeof(rule_why)];
    memcpy(taken, rule_why, sizeof(taken));
    rule_why[0] = 0;
    return taken;
}

/* The answer has no room for what a rule raised, and who asks is not who wrote it: once for each rule, in the trace. */
static void rule_trace(const struct lua_app *app, struct lua_code *code)
{
    if (app->trace == NULL || atomic_exchange(&code->told, true)) return;
    struct buf line = { 0 };
    buf_add_text(&line, "\"event\":\"rule_failed\",\"level\":\"error\",\"rule\":");
    json_write_text(&line, app->functions[code->function]);
    buf_add_text(&line, ",\"error\":");
    json_write_text(&line, str_of(rule_why));
    buf_add_byte(&line, 0);
    app->trace(app->trace_arg, line.ptr);
    buf_free(&line);
}

/* False when the rule is broken, raises an error, or takes too long. */
static bool judge(struct judged *judged)
{
    struct lua_code *code = judged->code;
    int status = judge_run(code->app, judge_body, judged, rule_why, sizeof(rule_why));
    if (status != 0) {
        snprintf(judged->word, sizeof(judged->word), "%s", status < 0 ? "cpu" : "error");
        str_make_utf8(rule_why);
        rule_trace(code->app, code);
    }
    return status == 0 && judged->kept;
}

/* ---- functions of windows: they see an event, and nothing else ---- */

struct looked {
    const struct lua_code *code;
    const struct shape *shape;
    const void *event;
    struct weir_str acc; /* fold: JSON */
    struct buf *out;
    bool keep;
};
static _Thread_local char looked_why[200];

static int where_body(lua_State *L)
{
    struct looked *looked = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->refs[looked->code->function]);
    record_push(L, looked->shape, looked->event);
    lua_call(L, 1, 1);
    looked->keep = lua_toboolean(L, -1);
    return 0;
}

bool lua_where(void *code, const struct shape *shape, const void *event, bool *keep,
               const char **why)
{
    struct looked looked = { .code = code, .shape = shape, .event = event };
    *why = looked_why;
    if (judge_run(looked.code->app, where_body, &looked, looked_why, sizeof(looked_why)) != 0)
        return false;
    *keep = looked.keep;
    return true;
}

static int fold_body(lua_State *L)
{
    struct looked *looked = lua_touserdata(L, 1);
    struct vm *vm = vm_of(L);
    struct conv conv = { .vm = vm };
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->refs[looked->code->function]);
    json_push(L, looked->acc);
    record_push(L, looked->shape, looked->event);
    lua_call(L, 2, 1);
    /* The state's own buffer: an error may leave from any place. */
    buf_reset(&vm->json);
    if (!json_take(&conv, L, lua_gettop(L), &vm->json, 0))
        return luaL_error(L, "what it returned: %s", conv.text);
    buf_add_str(looked->out, buf_str(&vm->json));
    return 0;
}

bool lua_fold(void *code, struct weir_str acc, const struct shape *shape, const void *event,
              struct buf *out, const char **why)
{
    struct looked looked = { .code = code, .shape = shape, .event = event, .acc = acc, .out = out };
    *why = looked_why;
    return judge_run(looked.code->app, fold_body, &looked, looked_why, sizeof(looked_why)) == 0;
}

bool rule_field(void *arg, const void *value)
{
    struct judged judged = { .code = arg, .value = value };
    return judge(&judged);
}

bool rule_row(struct weir_ctx *ctx, struct type *type, const void *row, struct weir_str *code)
{
    struct judged judged = {
        .code = type->check_arg, .shape = type->row, .value = row, .word = "check"
    };
    if (judge(&judged)) return true;
    *code = arena_copy(ctx_arena(ctx), str_of(judged.word));
    return false;
}

void judges_free(struct lua_app *app)
{
    for (uint32_t i = 0; i < JUDGES_MAX; i++) vm_destroy(app->judges[i]);
}

/* ---- calls ---- */

char *args_take(lua_State *L, struct invocation *inv, const struct handler *handler, int first)
{
    const struct shape *shape = handler->args;
    int given = lua_gettop(L) - first + 1;
    if (given > (int)shape->count) {
        fail_with(inv, WEIR_ARG, "%.*s:%.*s takes %u argument%s, got %d",
                  STR_ARG(handler->type->name), STR_ARG(handler->name), shape->count,
                  shape->count == 1 ? "" : "s", given);
    }
    char *args = arena_alloc(inv->arena, shape->size + 8u);
    if (shape->count == 0) return args;
    struct conv conv;
    conv_init(&conv, inv->vm, inv->arena);
    lua_settop(L, first - 1 + (int)shape->count);
    for (uint32_t i = 0; i < shape->count; i++) {
        if (value_read(&conv, L, first + (int)i, &shape->fields[i], args)) continue;
        fail_with(inv, WEIR_ARG, "%.*s:%.*s: %s: %s", STR_ARG(handler->type->name),
                  STR_ARG(handler->name), conv.path, conv.text);
    }
    return args;
}

/* A handle remembers where its key lies. */
static struct key_place handle_place(struct weir_ctx *ctx, struct ud_handle *handle)
{
    if (handle->placed) return handle->place;
    handle->place = ctx_place(ctx, handle->type->type,
                              (struct weir_str){ handle->key, handle->len });
    handle->placed = true;
    return handle->place;
}

/* What a handler is called on: a handle, `self` or a service, its key in memory that stays while the transaction runs.
 * False when it is none of the handler's type. */
static bool target_take(lua_State *L, struct invocation *inv, const struct handler *handler,
                        struct weir_str *key, struct key_place *place)
{
    enum ud_tag *tag = lua_touserdata(L, 1);
    *key = STR("");
    if (tag != NULL && *tag == UD_HANDLE) {
        struct ud_handle *handle = (void *)tag;
        if (handle->type->type != handler->type) return false;
        *key = (struct weir_str){ handle->key, handle->len };
        *place = handle_place(inv->ctx, handle);
        /* that of a lent one lies among the arguments */
        if (handle->key == handle->text) *key = text_keep(L, inv->arena, *key);
        return true;
    }
    if (tag != NULL && *tag == UD_ONCE) {
        struct ud_once *once = (void *)tag;
        if (once->type->type != handler->type || !once_take(inv, once)) return false;
        *key = once->key;
        *place = once->place;
        ctx_expect(inv->ctx, handler->type, *place, true);
        return true;
    }
    struct lua_type *type = tag != NULL && *tag == UD_TYPE ? ((struct ud_type *)tag)->type
                                                           : handle_get(L, 1, key);
    if (type == NULL || type->type != handler->type) return false;
    *key = text_keep(L, inv->arena, *key);
    *place = type_place(handler->type, *key);
    return true;
}

/* `return other:f()` in a handler: a tail call, whose caller's frame is gone. Below this function stands what ran the
 * handler, invoke_body() or nothing; under a pcall, a comparator, a callback there is more, in a routine another thread. */
static bool is_last_act(lua_State *L, const struct invocation *inv)
{
    lua_Debug debug;
    return L == inv->L && ctx_may_end(inv->ctx) &&
           lua_getstack(L, inv->direct ? 1 : 2, &debug) == 0;
}

static int all_body(lua_State *L);

static void ticket_value_push(lua_State *L, struct weir_ticket value)
{
    struct ud_ticket *ticket = lua_newuserdata(L, sizeof(*ticket));
    ticket->tag = UD_TICKET;
    ticket->ticket = value;
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->ticket_meta);
    lua_setmetatable(L, -2);
}

/* The same at the end of a part of weir.all: below stands what runs the parts. */
static bool is_last_of_part(lua_State *L, const struct invocation *inv)
{
    lua_Debug debug;
    if (L != inv->L || lua_getstack(L, 1, &debug) == 0) return false;
    lua_getinfo(L, "f", &debug);
    bool last = lua_tocfunction(L, -1) == all_body;
    lua_pop(L, 1);
    return last;
}

/* What a call answered, pushed; how many values that is. */
static int answer_push(lua_State *L, struct invocation *inv, const struct handler *handler,
                       const char *result, struct weir_ticket ticket)
{
    if (ticket.place != 0) {
        ticket_value_push(L, ticket);
        return 1;
    }
    if (handler->result->count == 0) return 0;
    if (handler->result->scalar) value_push(L, &handler->result->fields[0], result);
    else record_push(L, handler->result, result);
    return 1;
}

static int do_nothing(lua_State *L)
{
    return 0;
}

/* The same, if it makes nothing, so that no error may come. */
static bool answer_push_plain(lua_State *L, const struct handler *handler, const char *result,
                              struct weir_ticket ticket)
{
    const struct field *f = &handler->result->fields[0];
    if (ticket.place != 0 || !handler->result->scalar) return false;
    if (f->kind == WEIR_ANY) {
        struct weir_str json;
        memcpy(&json, result + f->offset, sizeof(json));
        if (json.ptr == NULL) lua_pushnil(L);
        return json.ptr == NULL;
    }
    if (f->kind != WEIR_INT && f->kind != WEIR_TIME && f->kind != WEIR_FLOAT &&
        f->kind != WEIR_BOOL)
        return false;
    value_push(L, f, result);
    return true;
}

/* Others may have run while this handler waited; see all_together(). */
static void routine_note(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->nothing);
    lua_call(L, 0, 0);
}

/* account("ann"):deposit(5); upvalue 1: the handler. */
int handler_call(lua_State *L)
{
    const struct handler *handler = lua_touserdata(L, lua_upvalueindex(1));
    struct invocation *inv = vm_of(L)->current;
    if (inv == NULL || inv->ctx == NULL)
        return luaL_error(L, "handlers are called from handlers, not at the file level");
    struct weir_str key;
    struct key_place place;
    if (!target_take(L, inv, handler, &key, &place)) {
        const enum ud_tag *tag = lua_touserdata(L, 1);
        bool ended = tag != NULL && *tag == UD_GIVEN_BACK;
        return luaL_error(L, ended ? "the handler that made this handle has ended"
                                   : "a handler is called with a colon: h:name(...)");
    }
    stack_check(L);
    void *args = args_take(L, inv, handler, 2);
    if (is_last_act(L, inv) && ctx_call_last(inv->ctx, handler, key, place, args)) {
        inv->ends = true;
        return 0;
    }
    if (inv->all != NULL && is_last_of_part(L, inv) &&
        ctx_all_call(inv->all, handler, key, place, args)) {
        inv->went = true;
        return 0;
    }
    const void *result;
    invocation_pause(inv);
    enum weir_status st = ctx_call_at(inv->ctx, handler, key, place, args, &result);
    invocation_continue(inv);
    if (st != WEIR_OK) abandon(inv);
    struct weir_ticket ticket = weir_ticket(inv->ctx);
    if (answer_push_plain(L, handler, result, ticket)) return 1;
    lua_settop(L, 1);
    routine_note(L);
    return answer_push(L, inv, handler, result, ticket);
}

int handler_found(lua_State *L, struct handler *handler)
{
    lua_pushlightuserdata(L, handler);
    lua_pushcclosure(L, handler_call, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(1));
    return 1;
}

/* Runs the part: 1 the list, 2 the function or nil; its result is pushed. */
static void part_run(lua_State *L, struct ud_list *list, size_t i)
{
    bool over = !lua_isnil(L, 2);
    if (over) lua_pushvalue(L, 2);
    if (list != NULL) list_element_push(L, list, i);
    else lua_rawgeti(L, 1, (int)i + 1);
    lua_call(L, over ? 1 : 0, 1);
}

/* 1 list, 2 function or nil, 3 results, 4 how many: runs the parts, and leaves out results that are still to come. */
static int all_body(lua_State *L)
{
    struct invocation *inv = vm_of(L)->current;
    struct ud_list *list = ud_test(L, 1, UD_LIST);
    size_t count = (size_t)lua_tointeger(L, 4);
    for (size_t i = 0; i < count; i++) {
        if (!ctx_all_next(inv->all, i)) abandon(inv);
        part_run(L, list, i);
        if (inv->went) lua_pop(L, 1);
        else lua_rawseti(L, 3, (int)i + 1);
        inv->went = false;
    }
    return 0;
}

/*
 * An error leaves when what is out has come back: if that failed, the error has never happened.
 * False: nothing was done, they are to be made in turn.
 *
 * LuaJIT keeps, for its compiled code, which routine runs; it notes that when a function in C is entered or returns, but not
 * when an error leaves one. Others may have run while this one waited, so something is called before an error may come: else
 * compiled code behind a pcall would go on in another handler's routine, on its stack.
 */
static bool all_together(lua_State *L, struct invocation *inv, size_t count)
{
    lua_pushvalue(L, lua_upvalueindex(1)); /* all_body */
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_pushinteger(L, (lua_Integer)count);
    struct all *all = ctx_all_begin(inv->ctx,
                                    count); /* from here on no error leaves before its end */
    if (all == NULL) return false;
    inv->all = all;
    int error = lua_pcall(L, 4, 0, 0);
    inv->all = NULL;
    inv->went = false;
    invocation_pause(inv);
    enum weir_status st = ctx_all_end(all);
    invocation_continue(inv);
    if (st != WEIR_OK) abandon(inv);
    routine_note(L);
    if (error != 0) lua_error(L);
    for (size_t i = 0; i < count; i++) {
        void *result;
        struct weir_ticket ticket;
        const struct handler *handler = ctx_all_answer(all, i, &result, &ticket);
        if (handler != NULL && answer_push(L, inv, handler, result, ticket) > 0)
            lua_rawseti(L, 3, (int)i + 1);
    }
    return true;
}

/* Runs the parts in turn; their last calls, where they go to other shards, at the same time (core/all.c). Results come in
 * order. */
static int weir_all(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "all");
    bool over = !lua_isnoneornil(L, 2);
    if (!lua_istable(L, 1) && ud_test(L, 1, UD_LIST) == NULL)
        return luaL_error(L, "weir.all takes a list and a function, or a list of functions");
    if (over && !lua_isfunction(L, 2))
        return luaL_error(L, "weir.all takes a function of one element");
    struct ud_list *list = ud_test(L, 1, UD_LIST);
    size_t count = list ? list_live(L, 1)->list->count : lua_objlen(L, 1);
    if (count > FANOUT_MAX)
        fail_with(inv, WEIR_BUDGET, "weir.all over %zu elements: at most %d", count, FANOUT_MAX);
    stack_check(L);
    lua_settop(L, 2);
    lua_createtable(L, (int)count, 0);
    bool done = L == inv->L && all_together(L, inv, count);
    lua_settop(L, 3);
    for (size_t i = 0; i < count && !done; i++) {
        part_run(L, list, i);
        lua_rawseti(L, 3, (int)i + 1);
    }
    return 1;
}

void ticket_push(lua_State *L, struct invocation *inv)
{
    ticket_value_push(L, weir_ticket(inv->ctx));
}

static int ticket_tostring(lua_State *L)
{
    lua_pushliteral(L, "ticket");
    return 1;
}

static const struct handler *handler_named(lua_State *L, struct lua_type *lt, int idx)
{
    struct type *type = type_resolve(vm_of(L), lt);
    struct weir_str name = STR_NIL;
    if (lua_type(L, idx) == LUA_TSTRING) name.ptr = lua_tolstring(L, idx, &name.len);
    else luaL_error(L, "a handler is named by a text, got %s", luaL_typename(L, idx));
    const struct handler *handler = type ? type_handler(type, name) : NULL;
    if (handler == NULL) luaL_error(L, "`%s` has no handler `%s`", lt->name, name.ptr);
    return handler;
}

/* What is done later answers nobody: a query would do nothing. */
static const struct handler *writer_named(lua_State *L, struct lua_type *lt, int idx,
                                          const char *what)
{
    const struct handler *handler = handler_named(L, lt, idx);
    if (handler->kind == WEIR_QUERY)
        luaL_error(L, "%s to %s:%s does nothing, as that is a query: name a handler that writes",
                   what, lt->name, lua_tostring(L, idx));
    return handler;
}

static int weir_send_lua(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "send");
    struct weir_str key = STR("");
    struct ud_type *service = ud_test(L, 1, UD_TYPE);
    struct lua_type *type = service && service->type->service ? service->type
                                                              : handle_get(L, 1, &key);
    if (type == NULL)
        return luaL_error(L, "weir.send takes a handle, the name of a handler and its arguments");
    const struct handler *handler = writer_named(L, type, 2, "a message");
    key = text_keep(L, inv->arena, key);
    void *args = args_take(L, inv, handler, 3);
    if (ctx_send(inv->ctx, handler, key, args) != WEIR_OK) abandon(inv);
    engine_check(L, inv);
    ticket_push(L, inv);
    return 1;
}

/* Milliseconds of "1h30m"; -1 when malformed, or too long for a whole number. */
double span_parse(const char *text)
{
    int64_t ms;
    return duration_read(str_of(text), &ms) && ms <= WEIR_INT_MAX ? (double)ms : -1;
}

static double span_read(lua_State *L, int idx)
{
    double ms = lua_tonumber(L, idx);
    if (lua_type(L, idx) == LUA_TNUMBER && ms == floor(ms) && ms >= 0 && ms <= (double)WEIR_INT_MAX)
        return ms;
    ms = lua_type(L, idx) == LUA_TSTRING ? span_parse(lua_tostring(L, idx)) : -1;
    if (ms < 0)
        luaL_error(L, "a span is a text as \"1h30m\" (ms, s, m, h, d, w) or whole milliseconds");
    return ms;
}

static int weir_span(lua_State *L)
{
    lua_pushnumber(L, span_read(L, 1));
    return 1;
}

static int timer_set(lua_State *L, struct invocation *inv, double time_ms)
{
    if (inv->type->service)
        return luaL_error(L, "a service has no timers: timers belong to an entity");
    const struct handler *handler = writer_named(L, inv->type, 2, "a timer");
    void *args = args_take(L, inv, handler, 3);
    if (ctx_timer(inv->ctx, handler, (int64_t)time_ms, args) != WEIR_OK) abandon(inv);
    engine_check(L, inv);
    return 0;
}

static int weir_after_lua(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "after");
    return timer_set(L, inv, (double)weir_now(inv->ctx) + span_read(L, 1));
}

static int weir_at_lua(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "at");
    double time_ms = lua_tonumber(L, 1);
    if (lua_type(L, 1) != LUA_TNUMBER || time_ms != floor(time_ms) ||
        fabs(time_ms) > (double)WEIR_INT_MAX)
        return luaL_error(L, "weir.at takes a time in whole milliseconds");
    return timer_set(L, inv, time_ms);
}

static int weir_cancel_lua(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "cancel");
    if (inv->type->service) return luaL_error(L, "a service has no timers");
    const struct handler *handler = handler_named(L, inv->type, 1);
    void *args = lua_gettop(L) > 1 ? args_take(L, inv, handler, 2) : NULL;
    if (ctx_timer_cancel(inv->ctx, handler, args) != WEIR_OK) abandon(inv);
    engine_check(L, inv);
    return 0;
}

/* ---- failing ---- */

static int weir_fail_lua(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "fail");
    size_t len = 0;
    const char *code = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    bool word = code != NULL && name_is_fit(code, len);
    for (size_t i = 0; word && i < len; i++) word = code[i] < 'A' || code[i] > 'Z';
    if (!word)
        return luaL_error(
            L, "weir.fail takes a lower-case word and a detail: weir.fail(\"not_free\", seat)");
    if (word_is_engines(code))
        return luaL_error(L,
                          "weir.fail: `%s` is the engine's own word, which says what only the "
                          "engine knows: take another",
                          code);
    struct weir_str json = STR_NIL;
    if (!lua_isnoneornil(L, 2)) {
        struct conv conv = { .arena = inv->arena, .vm = inv->vm };
        buf_reset(&inv->vm->json);
        if (!json_take(&conv, L, 2, &inv->vm->json, 0))
            return luaL_error(L, "the detail of weir.fail: %s", conv.text);
        json = text_keep(L, inv->arena, buf_str(&inv->vm->json));
    }
    weir_fail_json(inv->ctx, arena_cstr(inv->arena, (struct weir_str){ code, len }), json);
    abandon(inv);
}

/* ---- the rest of the module ---- */

static int weir_now_lua(lua_State *L)
{
    lua_pushnumber(L, (double)weir_now(invocation_here(L, "now")->ctx));
    return 1;
}

static int weir_random_lua(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "random");
    uint64_t bits = weir_random(inv->ctx);
    if (lua_gettop(L) == 0) {
        lua_pushnumber(L, (double)(bits >> 11) * 0x1p-53);
        return 1;
    }
    double low = lua_tonumber(L, 1), high = lua_tonumber(L, 2);
    bool whole = lua_type(L, 1) == LUA_TNUMBER && lua_type(L, 2) == LUA_TNUMBER &&
                 low == floor(low) && high == floor(high);
    if (!whole || low > high || fabs(low) > (double)WEIR_INT_MAX ||
        fabs(high) > (double)WEIR_INT_MAX)
        return luaL_error(L, "weir.random takes nothing, or two whole numbers, the smaller first");
    uint64_t count = (uint64_t)(high - low) + 1;
    lua_pushnumber(L, low + (double)(uint64_t)(((unsigned __int128)bits * count) >> 64));
    return 1;
}

static int weir_id_lua(lua_State *L)
{
    struct weir_str id = weir_id(invocation_here(L, "id")->ctx);
    lua_pushlstring(L, id.ptr, id.len);
    return 1;
}

static int weir_exists_lua(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "exists");
    struct weir_str key;
    struct lua_type *type = handle_get(L, 1, &key);
    if (type == NULL || type->service)
        return luaL_error(L, "weir.exists takes a handle, got %s", luaL_typename(L, 1));
    const char *name = arena_cstr(inv->arena, (struct weir_str){ type->name, type->name_len });
    key = text_keep(L, inv->arena, key);
    invocation_pause(inv);
    bool exists = weir_exists(inv->ctx, name, (struct weir_ref){ key });
    invocation_continue(inv);
    engine_check(L, inv);
    lua_pushboolean(L, exists);
    return 1;
}

static int weir_delete_lua(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "delete");
    if (inv->read_only) return luaL_error(L, "a query may not write");
    if (inv->type->service) return luaL_error(L, "a service has no row to delete");
    if (weir_delete(inv->ctx) != WEIR_OK) abandon(inv);
    engine_check(L, inv);
    return 0;
}

static int weir_trace_lua(lua_State *L)
{
    struct invocation *inv = invocation_here(L, "trace");
    int count = lua_gettop(L);
    lua_pushliteral(L, "");
    for (int i = 1; i <= count; i++) {
        struct weir_str key;
        if (i > 1) lua_pushliteral(L, " ");
        if (handle_get(L, i, &key) != NULL) lua_pushlstring(L, key.ptr, key.len);
        else if (lua_type(L, i) == LUA_TNUMBER || lua_type(L, i) == LUA_TSTRING)
            lua_pushvalue(L, i);
        else if (lua_isboolean(L, i)) lua_pushstring(L, lua_toboolean(L, i) ? "true" : "false");
        else if (lua_isnil(L, i)) lua_pushliteral(L, "nil");
        else {
            struct conv conv = { .arena = inv->arena, .vm = inv->vm };
            buf_reset(&inv->vm->json);
            bool fine = json_take(&conv, L, i, &inv->vm->json, 0);
            lua_pushlstring(L, fine ? inv->vm->json.ptr : luaL_typename(L, i),
                            fine ? inv->vm->json.len : strlen(luaL_typename(L, i)));
        }
        lua_concat(L, lua_gettop(L) - count);
    }
    weir_trace(inv->ctx, lua_tostring(L, -1));
    return 0;
}

static int weir_caller_lua(lua_State *L)
{
    struct weir_ctx *ctx = invocation_here(L, "caller")->ctx;
    struct weir_str id = weir_caller(ctx), roles = ctx_roles(ctx);
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, id.ptr ? id.ptr : "", id.len);
    lua_setfield(L, -2, "id");
    lua_newtable(L);
    for (size_t at = 0, n = 1; at < roles.len; n++) {
        size_t end = at;
        while (end < roles.len && roles.ptr[end] != ',') end++;
        lua_pushlstring(L, roles.ptr + at, end - at);
        lua_rawseti(L, -2, (int)n);
        at = end + 1;
    }
    lua_setfield(L, -2, "roles");
    return 1;
}

/* Half away from zero: what people mean by rounding money. */
static int weir_round(lua_State *L)
{
    double x = lua_tonumber(L, 1);
    if (lua_type(L, 1) != LUA_TNUMBER || !isfinite(x) || fabs(x) > (double)WEIR_INT_MAX)
        return luaL_error(L, "weir.round takes a number within 2^53, got %s",
                          lua_tostring(L, 1) ? lua_tostring(L, 1) : luaL_typename(L, 1));
    lua_pushnumber(L, round(x));
    return 1;
}

void calls_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "send", weir_send_lua },     { "after", weir_after_lua },   { "at", weir_at_lua },
        { "cancel", weir_cancel_lua }, { "span", weir_span },         { "now", weir_now_lua },
        { "random", weir_random_lua }, { "id", weir_id_lua },         { "fail", weir_fail_lua },
        { "exists", weir_exists_lua }, { "delete", weir_delete_lua }, { "trace", weir_trace_lua },
        { "caller", weir_caller_lua }, { "round", weir_round },       { NULL, NULL }
    };
    luaL_register(L, NULL, functions);
    lua_pushcfunction(L, all_body);
    lua_pushcclosure(L, weir_all, 1);
    lua_setfield(L, -2, "all");
    lua_pushcfunction(L, do_nothing);
    vm_of(L)->nothing = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    lua_pushcfunction(L, ticket_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    vm_of(L)->ticket_meta = luaL_ref(L, LUA_REGISTRYINDEX);
}
