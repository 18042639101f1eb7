/*
 * lua_outside.c - services outside in Lua: declaring them, secrets, asking.
 *
 *   local bank = weir.outside("bank", { url = weir.setting("bank_url", text), give_up = "10m",
 *                                       headers = { Authorization = weir.secret "bank_key" } })
 *   bank:ask("POST /charges", { amount = self.total }, "charged")
 *
 * A secret is a value that only `outside` can read: it shows as "secret" and cannot be taken apart.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTSIDE_META "weir.outside"
#define SECRET_META "weir.secret"
#define HEADERS_MAX 64u
#define RETRY_MAX 32u

struct ud_outside {
    enum ud_tag tag;
    const struct outside_def *def; /* NULL until it is looked up */
    size_t len;
    char name[];
};
struct ud_secret {
    enum ud_tag tag;
    size_t len;
    char text[];
};

struct weir_str outside_name(lua_State *L, int idx)
{
    struct ud_outside *ud = ud_test(L, idx, UD_OUTSIDE);
    return ud ? (struct weir_str){ ud->name, ud->len } : STR_NIL;
}

/* ---- secrets ---- */

/* BANK_KEY for bank_key: what stands in the environment is in no list of processes. */
static const char *secret_in_environment(const char *name, size_t len)
{
    char upper[NAME_BYTES_MAX + 1];
    for (size_t i = 0; i <= len; i++) upper[i] = (char)toupper((unsigned char)name[i]);
    return getenv(upper);
}

/* weir.secret "bank_key": from --set, else the environment as BANK_KEY. */
int weir_secret_lua(lua_State *L)
{
    need_file_level(L, "weir.secret");
    size_t len;
    const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    if (name == NULL || !name_is_fit(name, len))
        refuse(L, "weir.secret takes a name: weir.secret \"bank_key\"");
    const char *text = setting_find(vm_of(L), name);
    if (text == NULL) text = secret_in_environment(name, len);
    if (text == NULL)
        refuse(L,
               "the secret `%s` is not set: --set %s=..., or an environment variable of the name "
               "in capitals",
               name, name);
    size_t bytes = strlen(text);
    struct ud_secret *secret = lua_newuserdata(L, sizeof(*secret) + bytes + 1);
    secret->tag = UD_SECRET;
    secret->len = bytes;
    memcpy(secret->text, text, bytes + 1);
    luaL_getmetatable(L, SECRET_META);
    lua_setmetatable(L, -2);
    return 1;
}

static int secret_tostring(lua_State *L)
{
    lua_pushliteral(L, "secret");
    return 1;
}

/* A text or a secret at the top of the stack. */
static bool text_or_secret(lua_State *L, struct arena *arena, struct weir_str *out)
{
    struct ud_secret *secret = ud_test(L, -1, UD_SECRET);
    struct weir_str text = { NULL, 0 };
    if (secret != NULL) text = (struct weir_str){ secret->text, secret->len };
    else if (lua_type(L, -1) == LUA_TSTRING) text.ptr = lua_tolstring(L, -1, &text.len);
    if (text.ptr == NULL) return false;
    *out = arena_copy(arena, text);
    return true;
}

/* ---- declaring ---- */

static void headers_read(struct builder *b, lua_State *L, struct outside_def *def)
{
    if (!lua_istable(L, -1))
        refuse(L, "outside %s: headers are a table: { Accept = \"...\" }", b->path);
    def->header_names = arena_alloc(b->arena, HEADERS_MAX * sizeof(struct weir_str));
    def->header_values = arena_alloc(b->arena, HEADERS_MAX * sizeof(struct weir_str));
    int headers = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, headers) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || def->header_count == HEADERS_MAX ||
            !text_or_secret(L, b->arena, &def->header_values[def->header_count]))
            refuse(L, "outside %s: a header is a name and a text or secret; at most %u", b->path,
                   HEADERS_MAX);
        lua_pushvalue(L, -2);
        def->header_names[def->header_count++] = arena_copy(b->arena, str_of(lua_tostring(L, -1)));
        lua_pop(L, 1);
    }
}

static void retry_read(struct builder *b, lua_State *L, struct outside_def *def)
{
    size_t count = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    if (count == 0 || count > RETRY_MAX)
        refuse(L, "outside %s: `retry` lists statuses: { 409, 423 }", b->path);
    def->retry = arena_alloc(b->arena, count * sizeof(uint16_t));
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, (int)i);
        lua_Integer status = lua_tointeger(L, -1);
        if (status < 100 || status > 599)
            refuse(L, "outside %s: `retry` lists statuses: { 409 }", b->path);
        def->retry[def->retry_count++] = (uint16_t)status;
        lua_pop(L, 1);
    }
}

static int64_t span_read(struct builder *b, lua_State *L, const char *name)
{
    double ms = lua_type(L, -1) == LUA_TSTRING ? span_parse(lua_tostring(L, -1)) : -1;
    if (ms < 1 || ms > 3e12) refuse(L, "outside %s: `%s` is a duration: \"10m\"", b->path, name);
    return (int64_t)ms;
}

static void option_read(struct builder *b, lua_State *L, const char *name, struct outside_def *def)
{
    if (strcmp(name, "url") == 0) {
        if (lua_type(L, -1) != LUA_TSTRING) refuse(L, "outside %s: `url` is a text", b->path);
        def->url = arena_copy(b->arena, str_of(lua_tostring(L, -1)));
        bool http = strncmp(def->url.ptr, "http://", 7) == 0 ||
                    strncmp(def->url.ptr, "https://", 8) == 0;
        if (!http) refuse(L, "outside %s: `url` begins with http:// or https://", b->path);
    } else if (strcmp(name, "headers") == 0) {
        headers_read(b, L, def);
    } else if (strcmp(name, "secret") == 0) {
        if (!text_or_secret(L, b->arena, &def->secret))
            refuse(L, "outside %s: `secret` is a weir.secret", b->path);
    } else if (strcmp(name, "id_header") == 0 && lua_type(L, -1) == LUA_TSTRING) {
        def->id_header = arena_copy(b->arena, str_of(lua_tostring(L, -1)));
    } else if (strcmp(name, "retry") == 0) {
        retry_read(b, L, def);
    } else if (strcmp(name, "timeout") == 0) {
        def->timeout_ms = span_read(b, L, name);
    } else if (strcmp(name, "give_up") == 0) {
        def->give_up_ms = span_read(b, L, name);
    } else {
        refuse(L,
               "outside %s: there is no option `%s`; it has url, headers, secret, id_header, "
               "retry, timeout, give_up",
               b->path, name);
    }
}

int weir_outside_lua(lua_State *L)
{
    need_file_level(L, "weir.outside");
    struct vm *vm = vm_of(L);
    size_t len;
    const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    if (name == NULL || !lua_istable(L, 2))
        refuse(L, "weir.outside takes a name and options: weir.outside(\"bank\", { url = "
                  "\"https://...\" })");
    name_judge(L, "a service outside", name, len);
    struct builder b = { .vm = vm, .arena = builder_arena(vm) };
    snprintf(b.path, sizeof(b.path), "%s", name);
    struct outside_def def = { .name = { name, len }, .at = where_called(L, b.arena) };
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1))
        option_read(&b, L, lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?", &def);
    if (def.url.len == 0) refuse(L, "outside %s: `url` says where it is", name);
    if (vm->declaring && catalog_add_outside(vm->app->catalog, &def) == NULL)
        refuse(L, "the outside `%s` is declared twice", name);
    struct ud_outside *ud = lua_newuserdata(L, sizeof(*ud) + len + 1);
    ud->tag = UD_OUTSIDE;
    ud->def = NULL;
    ud->len = len;
    memcpy(ud->name, name, len + 1);
    luaL_getmetatable(L, OUTSIDE_META);
    lua_setmetatable(L, -2);
    return 1;
}

/* ---- asking ---- */

static bool line_is_good(struct weir_str line)
{
    static const char *const methods[] = { "GET ", "POST ", "PUT ", "PATCH ", "DELETE ", "HEAD " };
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        size_t len = strlen(methods[i]);
        if (line.len > len && memcmp(line.ptr, methods[i], len) == 0) return line.ptr[len] == '/';
    }
    return false;
}

/* bank:ask("POST /charges", body, "charged", ...) */
static int outside_ask(lua_State *L)
{
    struct ud_outside *ud = ud_test(L, 1, UD_OUTSIDE);
    if (ud == NULL)
        return luaL_error(L, "write bank:ask(\"POST /charges\", body, \"handler\"), with a colon");
    struct invocation *inv = invocation_here(L, "ask");
    if (ud->def == NULL && vm_of(L)->app->catalog != NULL)
        ud->def = catalog_outside(vm_of(L)->app->catalog, (struct weir_str){ ud->name, ud->len });
    if (ud->def == NULL) return luaL_error(L, "there is no outside `%s`", ud->name);
    struct weir_str line = STR("");
    if (lua_type(L, 2) == LUA_TSTRING) line.ptr = lua_tolstring(L, 2, &line.len);
    if (!line_is_good(line))
        return luaL_error(L, "%s:ask begins with a method and a path: \"POST /charges\"", ud->name);
    struct vm *vm = inv->vm;
    struct conv conv = { .arena = inv->arena, .vm = vm };
    struct weir_str body = STR("");
    buf_reset(&vm->json);
    if (!lua_isnoneornil(L, 3)) {
        if (!json_take(&conv, L, 3, &vm->json, 0)) return luaL_error(L, "the body: %s", conv.text);
        body = text_keep(L, inv->arena, buf_str(&vm->json));
    }
    line = text_keep(L, inv->arena, line);
    const struct handler *handler = NULL;
    char *args = NULL;
    if (!lua_isnoneornil(L, 4)) {
        struct type *type = type_resolve(vm, inv->type);
        if (lua_type(L, 4) != LUA_TSTRING)
            return luaL_error(L, "%s:ask names a handler of this entity for the answer", ud->name);
        handler = type ? type_handler(type, str_of(lua_tostring(L, 4))) : NULL;
        if (handler == NULL)
            return luaL_error(L, "`%s` has no handler `%s`", inv->type->name, lua_tostring(L, 4));
        if (handler->kind == WEIR_QUERY)
            return luaL_error(L, "the answer goes to a handler that writes: %s:%s is a query",
                              inv->type->name, lua_tostring(L, 4));
        /* In the place of the answer, which is not there yet. */
        lua_createtable(L, 0, 3);
        lua_pushliteral(L, "unknown");
        lua_setfield(L, -2, "outcome");
        lua_pushinteger(L, 0);
        lua_setfield(L, -2, "status");
        lua_pushliteral(L, "");
        lua_setfield(L, -2, "id");
        lua_replace(L, 4);
        args = args_take(L, inv, handler, 4);
    }
    if (ctx_ask(inv->ctx, ud->def, line, body, handler, args) != WEIR_OK) abandon(inv);
    engine_check(L, inv);
    ticket_push(L, inv);
    return 1;
}

static int outside_tostring(lua_State *L)
{
    struct ud_outside *ud = ud_test(L, 1, UD_OUTSIDE);
    lua_pushstring(L, ud ? ud->name : "outside");
    return 1;
}

static void meta_open(lua_State *L, const char *name, lua_CFunction tostring)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

void outsides_open(lua_State *L)
{
    meta_open(L, SECRET_META, secret_tostring);
    lua_pop(L, 1);
    meta_open(L, OUTSIDE_META, outside_tostring);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, outside_ask);
    lua_setfield(L, -2, "ask");
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    /* weir.answer: what a handler for answers takes first. */
    lua_getfield(L, -1, "enum");
    lua_createtable(L, 2, 0);
    lua_pushliteral(L, "answered");
    lua_rawseti(L, -2, 1);
    lua_pushliteral(L, "unknown");
    lua_rawseti(L, -2, 2);
    lua_call(L, 1, 1);
    lua_createtable(L, 0, 4);
    lua_insert(L, -2);
    lua_setfield(L, -2, "outcome");
    lua_getfield(L, -2, "int");
    lua_setfield(L, -2, "status");
    lua_getfield(L, -2, "any");
    lua_setfield(L, -2, "body");
    lua_getfield(L, -2, "text");
    lua_setfield(L, -2, "id");
    lua_setfield(L, -2, "answer");
}
