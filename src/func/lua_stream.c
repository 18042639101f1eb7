/*
 * lua_stream.c - streams in Lua: declaring, emitting, following.
 *
 *   local paid = weir.stream("paid", { order = order, total = int }, { key = "order", keep = "90d" })
 *   paid:emit { order = self, total = 6 }
 *   user:follow(paid, { by = "buyer", from = "now" }, function(self, event, meta) ... end)
 *
 * A stream is known by its name, like a type; weir.stream "paid" alone names one that another file declares.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <stdio.h>
#include <string.h>

#define STREAM_META "weir.stream"

struct ud_stream {
    enum ud_tag tag;
    struct stream *stream; /* NULL until it is looked up */
    size_t len;
    char name[];
};

void stream_push(lua_State *L, struct weir_str name)
{
    struct ud_stream *ud = lua_newuserdata(L, sizeof(*ud) + name.len + 1);
    ud->tag = UD_STREAM;
    ud->stream = NULL;
    ud->len = name.len;
    memcpy(ud->name, name.ptr, name.len);
    ud->name[name.len] = 0;
    luaL_getmetatable(L, STREAM_META);
    lua_setmetatable(L, -2);
}

struct weir_str stream_name(lua_State *L, int idx)
{
    struct ud_stream *ud = ud_test(L, idx, UD_STREAM);
    return ud ? (struct weir_str){ ud->name, ud->len } : STR_NIL;
}

static struct stream *stream_resolve(lua_State *L, struct ud_stream *ud)
{
    struct catalog *catalog = vm_of(L)->app->catalog;
    if (ud->stream == NULL && catalog != NULL)
        ud->stream = catalog_stream(catalog, (struct weir_str){ ud->name, ud->len });
    return ud->stream;
}

struct stream *stream_find(lua_State *L, int idx)
{
    struct ud_stream *ud = ud_test(L, idx, UD_STREAM);
    return ud ? stream_resolve(L, ud) : NULL;
}

/* ---- declaring ---- */

static int field_place(const struct shape *shape, const char *name)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        if (str_eq(shape->fields[i].name, str_of(name))) return (int)i;
    }
    return -1;
}

static void options_read(struct builder *b, lua_State *L, int idx, struct stream *stream)
{
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        if (strcmp(name, "latest") == 0)
            refuse(L, "stream %s: write keep = \"latest\", or keep = \"latest, 7d\"", b->path);
        if (text == NULL) refuse(L, "stream %s: the option `%s` is a text", b->path, name);
        if (strcmp(name, "key") == 0 || strcmp(name, "time") == 0 ||
            strcmp(name, "tombstone") == 0) {
            int place = field_place(stream->event, text);
            if (place < 0)
                refuse(L, "stream %s: `%s` names a field of the event; it has no `%s`", b->path,
                       name, text);
            if (name[0] == 'k') stream->key_field = place;
            else if (name[1] == 'i') stream->time_field = place;
            else stream->gone_field = place;
        } else if (strcmp(name, "keep") == 0) {
            if (!stream_keep_parse(str_of(text), stream))
                refuse(L,
                       "stream %s: `keep` is a duration (\"90d\"), a size (\"512MB\"), "
                       "\"forever\", \"latest\" or \"latest, 7d\"",
                       b->path);
        } else if (strcmp(name, "allow") == 0) {
            if (!name_is_fit(text, strlen(text)))
                refuse(L, "stream %s: `allow` is \"anyone\" or a role", b->path);
            stream->allow = arena_copy(b->arena, str_of(text));
        } else {
            refuse(L,
                   "stream %s: there is no option `%s`; it has key, time, keep, tombstone, allow",
                   b->path, name);
        }
    }
}

int weir_stream_lua(lua_State *L)
{
    need_file_level(L, "weir.stream");
    size_t len;
    if (lua_type(L, 1) != LUA_TSTRING)
        refuse(L,
               "weir.stream takes a name: weir.stream(\"paid\", { order = order, total = int })");
    const char *name = lua_tolstring(L, 1, &len);
    struct vm *vm = vm_of(L);
    name_judge(L, "a stream", name, len);
    lua_settop(L, 3);
    if (!lua_isnil(L, 2)) {
        struct builder b = { .vm = vm, .arena = builder_arena(vm) };
        snprintf(b.path, sizeof(b.path), "%s", name);
        if (!lua_istable(L, 2) || is_type(L, 2))
            refuse(L, "stream %s: the fields of an event are a table", name);
        if (!lua_isnil(L, 3) && !lua_istable(L, 3))
            refuse(L, "stream %s: the options are a table: { key = \"order\", keep = \"90d\" }",
                   name);
        struct stream stream = { .name = { name, len },
                                 .event = shape_build(&b, L, 2),
                                 .key_field = -1,
                                 .time_field = -1,
                                 .gone_field = -1,
                                 .keep_ms = STREAM_KEEP_MS_DEFAULT };
        if (stream.event->count == 0) refuse(L, "stream %s: an event has at least one field", name);
        if (lua_istable(L, 3)) options_read(&b, L, 3, &stream);
        stream.at = where_called(L, b.arena);
        if (vm->declaring && catalog_add_stream(vm->app->catalog, &stream) == NULL)
            refuse(L, "the stream `%s` is declared twice", name);
    }
    stream_push(L, (struct weir_str){ name, len });
    return 1;
}

/* ---- following ---- */

int stream_follow(lua_State *L)
{
    need_file_level(L, "follow");
    struct vm *vm = vm_of(L);
    struct ud_type *object = ud_test(L, 1, UD_TYPE);
    struct ud_stream *ud = ud_test(L, 2, UD_STREAM);
    if (object == NULL || ud == NULL)
        refuse(L, "write card:follow(stream, { by = \"card\" }, function(self, event, meta) ... "
                  "end)");
    struct lua_type *lt = object->type;
    /* A service needs no options: ledger:follow(paid, function ...). */
    int function = lua_isfunction(L, 3) ? 3 : 4;
    if (!lua_isfunction(L, function) || lua_iscfunction(L, function))
        refuse(L, "%s:follow(%s) takes a function(self, event, meta)", lt->name, ud->name);
    const char *by = "", *from = "oldest";
    if (function == 4) {
        if (!lua_istable(L, 3)) refuse(L, "%s:follow: the options are a table", lt->name);
        for (lua_pushnil(L); lua_next(L, 3) != 0; lua_pop(L, 1)) {
            const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
            const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
            if (text != NULL && strcmp(name, "by") == 0) by = text;
            else if (text != NULL && strcmp(name, "from") == 0) from = text;
            else refuse(L, "%s:follow has the options by = \"field\" and from = \"now\"", lt->name);
        }
    }
    if (!lt->declared)
        refuse(L, "%s: declare the entity before what it follows, in this file", lt->name);
    struct builder b = { .vm = vm, .arena = builder_arena(vm) };
    snprintf(b.path, sizeof(b.path), "%s:@%s", lt->name, ud->name);
    struct stream *stream = stream_resolve(L, ud);
    if (stream == NULL)
        refuse(L, "%s follows `%s`, which no file has declared yet", lt->name, ud->name);
    struct lua_code *code = code_new(&b, L, b.path);
    code->lends = function_lends(L, function);
    if (vm->declaring && !lt->stand_in) {
        struct handler handler = { .runtime = &vm->app->runtime,
                                   .code = code,
                                   .at = where_called(L, b.arena) };
        const char *why = "";
        struct follower *follower = catalog_add_follower(vm->app->catalog, stream, lt->type,
                                                         str_of(by), &handler, &why);
        if (follower == NULL) refuse(L, "%s follows %s: %s", lt->name, ud->name, why);
        if (!follow_from_parse(str_of(from), follower))
            refuse(L, "%s follows %s: `from` is \"oldest\", \"now\", an event id or a time",
                   lt->name, ud->name);
    }
    lua_pushvalue(L, function);
    function_keep(L, code->function);
    vm->owners[code->function] = lt;
    return 0;
}

/* ---- schedules ---- */

/* weir.every("0 3 * * *", ledger "main", "close_day", { zone = "Europe/Berlin", missed = "once", name = "x" }) */
int weir_every_lua(lua_State *L)
{
    need_file_level(L, "weir.every");
    struct vm *vm = vm_of(L);
    struct weir_str key = STR("");
    struct ud_type *service = ud_test(L, 2, UD_TYPE);
    struct lua_type *target = service && service->type->service ? service->type
                                                                : handle_get(L, 2, &key);
    if (lua_type(L, 1) != LUA_TSTRING || target == NULL || lua_type(L, 3) != LUA_TSTRING)
        refuse(L,
               "weir.every takes when, whom and the name of a handler: weir.every(\"0 3 * * *\", "
               "ledger \"main\", \"close_day\")");
    struct schedule_def def = { .type = { target->name, target->name_len },
                                .key = key,
                                .handler_name = str_of(lua_tostring(L, 3)),
                                .text = str_of(lua_tostring(L, 1)) };
    struct weir_str missed = STR("");
    if (!lua_isnoneornil(L, 4)) {
        if (!lua_istable(L, 4)) refuse(L, "weir.every: the options are a table");
        for (lua_pushnil(L); lua_next(L, 4) != 0; lua_pop(L, 1)) {
            const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
            const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
            if (text != NULL && strcmp(name, "zone") == 0) def.zone_name = str_of(text);
            else if (text != NULL && strcmp(name, "missed") == 0) missed = str_of(text);
            else if (text != NULL && strcmp(name, "name") == 0) def.name = str_of(text);
            else refuse(L, "weir.every has the options zone, missed and name, each a text");
        }
    }
    def.at = where_called(L, builder_arena(vm));
    const char *why = "";
    if (vm->declaring && !catalog_add_schedule(vm->app->catalog, vm->app->env, &def, missed, &why))
        refuse(L, "weir.every: %s", why);
    return 0;
}

/* ---- emitting ---- */

static int stream_emit(lua_State *L)
{
    struct ud_stream *ud = ud_test(L, 1, UD_STREAM);
    if (ud == NULL) return luaL_error(L, "write paid:emit { ... }, with a colon");
    struct invocation *inv = invocation_here(L, "emit");
    struct stream *stream = stream_resolve(L, ud);
    if (stream == NULL) return luaL_error(L, "there is no stream `%s`", ud->name);
    struct conv conv = { .arena = inv->arena, .vm = vm_of(L) };
    void *event = arena_alloc(inv->arena, stream->event->size + 8u);
    if (!record_read(&conv, L, 2, stream->event, event))
        return luaL_error(L, "an event of %s%s%s: %s", ud->name, conv.path[0] ? ", " : "",
                          conv.path, conv.text);
    if (ctx_emit(inv->ctx, stream, event) != WEIR_OK) abandon(inv);
    engine_check(L, inv);
    return 0;
}

static int stream_tostring(lua_State *L)
{
    struct ud_stream *ud = ud_test(L, 1, UD_STREAM);
    lua_pushstring(L, ud ? ud->name : "stream");
    return 1;
}

void streams_open(lua_State *L)
{
    luaL_newmetatable(L, STREAM_META);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, stream_emit);
    lua_setfield(L, -2, "emit");
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, stream_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
