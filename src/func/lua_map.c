/*
 * lua_map.c - maps owned by an entity: get, put, append, remove, scan, first, last, count.
 *
 * A record met here is the map's row itself, so changing it changes the map. A value is read in whole before
 * the map is touched: a wrong one leaves the map as it was.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <math.h>
#include <string.h>

struct ud_walk {
    enum ud_tag tag;
    uint64_t serial;
    int map;
    const struct map_def *def;
    struct weir_scan scan;
};

/* For messages: left on the stack. */
static const char *map_name(lua_State *L, const struct map_def *def)
{
    lua_pushlstring(L, def->name.ptr, def->name.len);
    return lua_tostring(L, -1);
}

void map_push(lua_State *L, int map, const struct map_def *def)
{
    struct ud_map *proxy = lua_newuserdata(L, sizeof(*proxy));
    *proxy = (struct ud_map){
        .tag = UD_MAP, .serial = vm_of(L)->current->serial, .map = map, .def = def
    };
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->map_meta);
    lua_setmetatable(L, -2);
}

static struct ud_map *map_live(lua_State *L, struct invocation **inv)
{
    struct ud_map *map = ud_test(L, 1, UD_MAP);
    if (map == NULL) lua_raise(L, "write map:get(key), with a colon");
    *inv = vm_of(L)->current;
    if (*inv == NULL || (*inv)->serial != map->serial)
        lua_raise(L, "a map was kept after its handler ended");
    return map;
}

static void need_write(lua_State *L, const struct invocation *inv)
{
    if (inv->read_only) luaL_error(L, "a query may not write");
}

/* ---- keys ---- */

static bool part_read(lua_State *L, int idx, const struct map_def *def, uint32_t i,
                      struct weir_part *part)
{
    double n = lua_tonumber(L, idx);
    part->kind = def->key[i];
    switch (def->key[i]) {
    case WEIR_TEXT:
        if (lua_type(L, idx) != LUA_TSTRING) return false;
        part->text.ptr = lua_tolstring(L, idx, &part->text.len);
        return str_is_utf8(part->text);
    case WEIR_REF: {
        struct lua_type *type = handle_get(L, idx, &part->text);
        return type != NULL &&
               str_eq((struct weir_str){ type->name, type->name_len }, def->key_type[i]);
    }
    case WEIR_BOOL: part->n = lua_toboolean(L, idx); return lua_isboolean(L, idx);
    case WEIR_ENUM: {
        if (lua_type(L, idx) != LUA_TSTRING) return false;
        struct weir_str word;
        word.ptr = lua_tolstring(L, idx, &word.len);
        for (uint32_t w = 0; w < def->key_word_count[i]; w++) {
            part->n = w;
            if (str_eq(word, def->key_words[i][w])) return true;
        }
        return false;
    }
    default:
        if (lua_type(L, idx) != LUA_TNUMBER || n != floor(n) || fabs(n) > (double)WEIR_INT_MAX)
            return false;
        part->n = (int64_t)n;
        return true;
    }
}

static void part_keep(lua_State *L, struct invocation *inv, int idx, const struct map_def *def,
                      uint32_t i, struct weir_key *key)
{
    if (!part_read(L, idx, def, i, &key->part[i])) {
        char words[120], value[64];
        const char *what = def->key[i] == WEIR_REF ? "a handle of its type"
                                                   : lua_kind_words[def->key[i]];
        if (def->key[i] == WEIR_ENUM)
            what = words_list(def->key_words[i], def->key_word_count[i], words);
        luaL_error(L, "part %d of the key of map `%s` is %s, got %s", (int)i + 1, map_name(L, def),
                   what, value_got(L, idx, value));
    }
    if (key->part[i].kind == WEIR_TEXT || key->part[i].kind == WEIR_REF)
        key->part[i].text = text_keep(L, inv->arena, key->part[i].text);
}

static struct weir_key key_read(lua_State *L, struct invocation *inv, const struct map_def *def,
                                int first)
{
    struct weir_key key = { .count = def->key_count };
    for (uint32_t i = 0; i < def->key_count; i++) part_keep(L, inv, first + (int)i, def, i, &key);
    return key;
}

static void part_push(lua_State *L, const struct map_def *def, uint32_t i,
                      const struct weir_part *part)
{
    switch (def->key[i]) {
    case WEIR_TEXT:
        lua_pushlstring(L, part->text.ptr ? part->text.ptr : "", part->text.len);
        return;
    case WEIR_REF:
        handle_push(L, type_named(L, def->key_type[i].ptr, def->key_type[i].len, false),
                    part->text);
        return;
    case WEIR_BOOL: lua_pushboolean(L, part->n != 0); return;
    case WEIR_ENUM:
        if (part->n >= 0 && part->n < (int64_t)def->key_word_count[i])
            lua_pushlstring(L, def->key_words[i][part->n].ptr, def->key_words[i][part->n].len);
        else lua_pushnil(L);
        return;
    default: lua_pushnumber(L, (double)part->n);
    }
}

static int row_push(lua_State *L, const struct invocation *inv, const struct map_def *def,
                    void *row)
{
    if (row == NULL) lua_pushnil(L);
    else if (def->value->scalar) value_push_live(L, &def->value->fields[0], row, !inv->read_only);
    else record_proxy_push(L, def->value, row, !inv->read_only);
    return 1;
}

static void need_args(lua_State *L, const struct map_def *def, int args, const char *verb)
{
    int given = lua_gettop(L) - 1;
    if (given != args)
        luaL_error(L, "%s:%s takes %d argument%s, got %d", map_name(L, def), verb, args,
                   args == 1 ? "" : "s", given);
}

/* ---- methods ---- */

static int map_get(lua_State *L)
{
    struct invocation *inv;
    struct ud_map *map = map_live(L, &inv);
    need_args(L, map->def, (int)map->def->key_count, "get");
    struct weir_key key = key_read(L, inv, map->def, 2);
    void *row = inv->read_only ? (void *)(uintptr_t)weir_map_get(inv->ctx, map->map, key)
                               : weir_map_edit(inv->ctx, map->map, key);
    engine_check(L, inv);
    return row_push(L, inv, map->def, row);
}

/* The value at idx as a struct of the map's value. */
static void *value_take(lua_State *L, struct invocation *inv, const struct map_def *def, int idx)
{
    const struct shape *shape = def->value;
    struct conv conv = { .arena = inv->arena, .vm = inv->vm, .row = true, .starts = true };
    char *value = arena_alloc(inv->arena, shape->size + 8u);
    bool fine;
    if (shape->scalar) {
        conv.starts = false;
        fine = value_read(&conv, L, idx, &shape->fields[0], value);
    } else {
        fine = record_read(&conv, L, idx, shape, value);
    }
    if (!fine)
        luaL_error(L, "%s%s%s: %s", map_name(L, def), conv.path[0] != 0 ? "." : "", conv.path,
                   conv.text);
    return value;
}

static int map_put(lua_State *L)
{
    struct invocation *inv;
    struct ud_map *map = map_live(L, &inv);
    need_write(L, inv);
    need_args(L, map->def, (int)map->def->key_count + 1, "put");
    struct weir_key key = key_read(L, inv, map->def, 2);
    void *value = value_take(L, inv, map->def, lua_gettop(L));
    void *row = weir_map_put(inv->ctx, map->map, key);
    engine_check(L, inv);
    memcpy(row, value, map->def->value->size);
    return 0;
}

static int map_append(lua_State *L)
{
    struct invocation *inv;
    struct ud_map *map = map_live(L, &inv);
    need_write(L, inv);
    if (map->def->key_count != 1 || map->def->key[0] != WEIR_INT)
        return luaL_error(L, "%s:append needs a map whose key is one int", map_name(L, map->def));
    need_args(L, map->def, 1, "append");
    void *value = value_take(L, inv, map->def, 2);
    int64_t n = 0;
    void *row = weir_map_append(inv->ctx, map->map, &n);
    engine_check(L, inv);
    memcpy(row, value, map->def->value->size);
    lua_pushnumber(L, (double)n);
    return 1;
}

static int map_remove(lua_State *L)
{
    struct invocation *inv;
    struct ud_map *map = map_live(L, &inv);
    need_write(L, inv);
    need_args(L, map->def, (int)map->def->key_count, "remove");
    struct weir_key key = key_read(L, inv, map->def, 2);
    bool was = weir_map_remove(inv->ctx, map->map, key);
    engine_check(L, inv);
    lua_pushboolean(L, was);
    return 1;
}

static int map_count(lua_State *L)
{
    struct invocation *inv;
    struct ud_map *map = map_live(L, &inv);
    int64_t n = weir_map_count(inv->ctx, map->map);
    engine_check(L, inv);
    lua_pushnumber(L, (double)n);
    return 1;
}

/* Pushes the key's parts and the row; 0 values at the end. */
static int walk_step(lua_State *L, struct invocation *inv, int map, const struct map_def *def,
                     struct weir_scan *scan)
{
    struct weir_key key = { 0 };
    void *row = NULL;
    bool more = weir_map_next(inv->ctx, map, scan, &key, &row);
    engine_check(L, inv);
    if (!more) return 0;
    luaL_checkstack(L, WEIR_KEY_PARTS_MAX + 4, "map rows");
    for (uint32_t i = 0; i < def->key_count; i++) part_push(L, def, i, &key.part[i]);
    row_push(L, inv, def, row);
    return (int)def->key_count + 1;
}

static int walk_next(lua_State *L)
{
    struct ud_walk *walk = lua_touserdata(L, lua_upvalueindex(1));
    struct invocation *inv = vm_of(L)->current;
    if (inv == NULL || inv->serial != walk->serial)
        return luaL_error(L, "a scan was kept after its handler ended");
    lua_settop(L, 0);
    return walk_step(L, inv, walk->map, walk->def, &walk->scan);
}

static void option_push(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, 2);
}

/* A bound of a scan: one part, or a list of parts that may be a prefix. */
static void bound_read(lua_State *L, struct invocation *inv, const struct map_def *def,
                       const char *name, struct weir_key *key)
{
    option_push(L, name);
    int at = lua_gettop(L);
    if (lua_istable(L, at)) {
        size_t count = lua_objlen(L, at);
        if (count > def->key_count)
            luaL_error(L, "`%s` has more parts than the key of `%s`", name, map_name(L, def));
        key->count = (uint32_t)count;
        for (uint32_t i = 0; i < count; i++) {
            lua_rawgeti(L, at, (int)i + 1);
            part_keep(L, inv, lua_gettop(L), def, i, key);
            lua_pop(L, 1);
        }
    } else if (!lua_isnil(L, at)) {
        key->count = 1;
        part_keep(L, inv, at, def, 0, key);
    }
    lua_pop(L, 1);
}

static void scan_read(lua_State *L, struct invocation *inv, const struct map_def *def,
                      struct weir_scan *scan)
{
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, "from") != 0 && strcmp(name, "to") != 0 && strcmp(name, "reverse") != 0 &&
            strcmp(name, "limit") != 0)
            luaL_error(L, "a scan has no option `%s`; it has from, to, reverse and limit", name);
    }
    bound_read(L, inv, def, "from", &scan->from);
    bound_read(L, inv, def, "to", &scan->to);
    option_push(L, "reverse");
    scan->reverse = lua_toboolean(L, -1);
    option_push(L, "limit");
    double limit = lua_tonumber(L, -1);
    if (!lua_isnil(L, -1) &&
        (lua_type(L, -1) != LUA_TNUMBER || limit != floor(limit) || limit < 1 || limit > 1e9))
        luaL_error(L, "`limit` is a whole number of 1 or more");
    scan->limit = (int64_t)limit;
    lua_pop(L, 2);
}

static int map_scan(lua_State *L)
{
    struct invocation *inv;
    struct ud_map *map = map_live(L, &inv);
    struct weir_scan scan = { .limit = 0 };
    if (!lua_isnoneornil(L, 2)) {
        if (!lua_istable(L, 2))
            return luaL_error(L, "a scan's options are a table: scan { from = 1, limit = 10 }");
        scan_read(L, inv, map->def, &scan);
    }
    struct ud_walk *walk = lua_newuserdata(L, sizeof(*walk));
    *walk = (struct ud_walk){
        .tag = UD_WALK, .serial = inv->serial, .map = map->map, .def = map->def, .scan = scan
    };
    lua_pushcclosure(L, walk_next, 1);
    return 1;
}

static int map_end(lua_State *L, bool reverse)
{
    struct invocation *inv;
    struct ud_map *map = map_live(L, &inv);
    struct weir_scan scan = { .reverse = reverse, .limit = 1 };
    return walk_step(L, inv, map->map, map->def, &scan);
}

static int map_first(lua_State *L)
{
    return map_end(L, false);
}

static int map_last(lua_State *L)
{
    return map_end(L, true);
}

static int map_unknown(lua_State *L)
{
    return luaL_error(
        L, "a map has no `%s`; it has get, put, append, remove, scan, first, last and count",
        lua_tostring(L, 2) ? lua_tostring(L, 2) : luaL_typename(L, 2));
}

static int map_len(lua_State *L)
{
    return luaL_error(L, "a map has no `#`: its count() gives the number of rows");
}

static int map_newindex(lua_State *L)
{
    return luaL_error(L, "a row of a map is not assigned: put(key, value) makes or replaces it");
}

void maps_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "get", map_get },       { "put", map_put },     { "append", map_append },
        { "remove", map_remove }, { "scan", map_scan },   { "first", map_first },
        { "last", map_last },     { "count", map_count }, { NULL, NULL }
    };
    lua_newtable(L);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, map_unknown);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, map_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushcfunction(L, map_len);
    lua_setfield(L, -2, "__len");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    vm_of(L)->map_meta = luaL_ref(L, LUA_REGISTRYINDEX);
}
