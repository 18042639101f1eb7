/*
 * lua_handle.c - handles: the address of an entity as a Lua value.
 *
 * Handles of one entity are one value as long as any of them lives, so that they are equal and one key of a table. So
 * a handle is looked for before one is made: first among those used lately, which the collector cannot take; then among
 * all that live. The latter stand in a weak array, and a hash table outside Lua's memory tells the place by the
 * key. So nobody makes the key a text of Lua's to find its handle. A place whose handle the collector took is found
 * empty when its key comes again, or when places run out.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <math.h>
#include <string.h>

#include "base/hash.h"

#define PLACES_FIRST 1024u /* a power of two */
#define NO_PLACE UINT32_MAX

struct handle_entry {
    uint64_t hash;
    struct lua_type *type;
    uint32_t next; /* of the same bucket, or of the free ones */
};

/* ---- the table of all that live ---- */

static uint64_t handle_hash(const struct lua_type *type, struct weir_str key)
{
    return hash64(0, key.ptr, key.len) ^ (uintptr_t)type * UINT64_C(0x9e3779b97f4a7c15);
}

static bool handle_is(const struct ud_handle *handle, const struct lua_type *type,
                      struct weir_str key)
{
    return handle->type == type && str_eq(key, (struct weir_str){ handle->key, handle->len });
}

static void entry_link(struct handles *h, uint32_t place)
{
    uint32_t *bucket = &h->buckets[h->entries[place].hash % h->cap];
    h->entries[place].next = *bucket;
    *bucket = place;
}

static void entries_grow(struct handles *h, uint32_t cap)
{
    h->entries = mem_realloc(h->entries, cap * sizeof(h->entries[0]));
    h->buckets = mem_realloc(h->buckets, cap * sizeof(h->buckets[0]));
    for (uint32_t i = h->cap; i < cap; i++) h->entries[i].type = NULL;
    h->cap = cap;
}

/* A larger array, with the handles of the one on top of the stack, which it replaces. */
static void live_grow(lua_State *L, struct handles *h, uint32_t cap)
{
    lua_createtable(L, (int)cap, 0);
    luaL_getmetatable(L, "weir.weak");
    lua_setmetatable(L, -2);
    for (uint32_t i = 1; i <= h->cap; i++) {
        lua_rawgeti(L, -2, (int)i);
        lua_rawseti(L, -2, (int)i);
    }
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, h->live);
    lua_replace(L, -2);
    entries_grow(h, cap);
}

/* The array of handles is on top. Places whose handles were collected become free; too few of them: there come more. */
static void places_free(lua_State *L, struct handles *h)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < h->cap; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        if (lua_isnil(L, -1)) h->entries[i].type = NULL;
        else taken++;
        lua_pop(L, 1);
    }
    if (h->cap == 0) {
        lua_createtable(L, HANDLES_RECENT, 0);
        lua_rawseti(L, LUA_REGISTRYINDEX, h->recent);
    }
    if (taken >= h->cap / 2) live_grow(L, h, h->cap == 0 ? PLACES_FIRST : h->cap * 2);
    h->free = NO_PLACE;
    for (uint32_t i = 0; i < h->cap; i++) h->buckets[i] = NO_PLACE;
    for (uint32_t i = 0; i < h->cap; i++) {
        if (h->entries[i].type != NULL) {
            entry_link(h, i);
        } else {
            h->entries[i].next = h->free;
            h->free = i;
        }
    }
}

/* Pushes the handle over the array of them, which is on top, if it is there. */
static bool live_find(lua_State *L, const struct handles *h, const struct lua_type *type,
                      struct weir_str key, uint64_t hash)
{
    if (h->cap == 0) return false;
    for (uint32_t i = h->buckets[hash % h->cap]; i != NO_PLACE; i = h->entries[i].next) {
        if (h->entries[i].hash != hash || h->entries[i].type != type) continue;
        lua_rawgeti(L, -1, (int)i + 1);
        const struct ud_handle *handle = lua_touserdata(L, -1);
        if (handle != NULL && handle_is(handle, type, key)) return true;
        lua_pop(L, 1);
    }
    return false;
}

static void handle_new(lua_State *L, struct lua_type *type, struct weir_str key)
{
    struct ud_handle *handle = lua_newuserdata(L, sizeof(*handle) + key.len + 1);
    handle->tag = UD_HANDLE;
    handle->type = type;
    handle->len = (uint32_t)key.len;
    handle->placed = false;
    handle->key = handle->text;
    memcpy(handle->text, key.ptr, key.len);
    handle->text[key.len] = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, type->handle_meta);
    lua_setmetatable(L, -2);
}

/* The same where it is not there. What may fail for want of memory comes before anything is changed. */
static void live_add(lua_State *L, struct handles *h, struct lua_type *type, struct weir_str key,
                     uint64_t hash)
{
    if (h->free == NO_PLACE) places_free(L, h);
    handle_new(L, type, key);
    uint32_t place = h->free;
    h->free = h->entries[place].next;
    h->entries[place].hash = hash;
    h->entries[place].type = type;
    entry_link(h, place);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (int)place + 1);
}

/* ---- those used lately ---- */

/* Cheap: two keys of one place only cost a look into the table of handles. */
static uint32_t recent_place(struct weir_str key)
{
    uint64_t head = 0, tail = 0;
    memcpy(&head, key.ptr, key.len < 8 ? key.len : 8);
    if (key.len > 8) tail = load_le64(key.ptr + key.len - 8);
    head = (head ^ key.len) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(((head ^ tail) * UINT64_C(0xd6e8feb86659fd93)) >> 40) % HANDLES_RECENT;
}

/* The handle on top is the one used last. */
static void recent_note(lua_State *L, struct handles *h, uint32_t place)
{
    h->recents[place] = lua_touserdata(L, -1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->recent);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (int)place + 1);
    lua_pop(L, 1);
}

bool handle_push_known(lua_State *L, struct lua_type *type, struct weir_str key)
{
    struct handles *h = &vm_of(L)->handles;
    uint32_t place = recent_place(key);
    if (h->recents[place] != NULL && handle_is(h->recents[place], type, key)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, h->recent);
        lua_rawgeti(L, -1, (int)place + 1);
        lua_remove(L, -2);
        return true;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->live);
    bool found = live_find(L, h, type, key, handle_hash(type, key));
    if (found) recent_note(L, h, place);
    lua_remove(L, found ? -2 : -1);
    return found;
}

void handle_push(lua_State *L, struct lua_type *type, struct weir_str key)
{
    if (handle_push_known(L, type, key)) return;
    struct handles *h = &vm_of(L)->handles;
    lua_rawgeti(L, LUA_REGISTRYINDEX, h->live);
    live_add(L, h, type, key, handle_hash(type, key));
    recent_note(L, h, recent_place(key));
    lua_remove(L, -2);
}

/* ---- lent to a handler ---- */

/* A parameter that the handler nowhere keeps (function_lends()) is one handle for each handler in turn: it has the
 * argument's key, and between two handlers none. */
bool handle_lend(lua_State *L, struct invocation *inv, uint32_t place, struct lua_type *type,
                 struct weir_str key)
{
    struct ud_handle *handle = inv->lent[place].handle;
    if (handle == NULL) return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, inv->lent[place].anchor);
    if (handle->type != type) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, type->handle_meta);
        lua_setmetatable(L, -2);
    }
    handle->type = type;
    handle_lend_again(inv, place, key);
    return true;
}

void handle_lend_first(lua_State *L, struct invocation *inv, uint32_t place, struct lua_type *type,
                       struct weir_str key)
{
    if (handle_lend(L, inv, place, type, key)) return;
    struct ud_handle *handle = lua_newuserdata(L, sizeof(*handle));
    *handle = (struct ud_handle){ .tag = UD_GIVEN_BACK };
    inv->lent[place].anchor = luaL_ref(L, LUA_REGISTRYINDEX);
    inv->lent[place].handle = handle;
    (void)handle_lend(L, inv, place, type, key);
}

void handles_give_back(struct invocation *inv)
{
    for (; inv->lent_out != 0; inv->lent_out &= inv->lent_out - 1)
        inv->lent[__builtin_ctz(inv->lent_out)].handle->tag = UD_GIVEN_BACK;
}

/* ---- as values ---- */

/* The call of the handler whose name is argument 2, for an __index; noted in the table of upvalue 1. */
static int handler_find(lua_State *L, struct lua_type *lt)
{
    struct type *type = type_resolve(vm_of(L), lt);
    size_t len;
    const char *name = lua_tolstring(L, 2, &len);
    struct handler *found = type ? type_handler(type, (struct weir_str){ name, len }) : NULL;
    if (found != NULL) return handler_found(L, found);
    return luaL_error(L,
                      type ? "`%s` has no handler `%s`; fields are read by a query"
                           : "the entity `%s` is declared nowhere (`%s`)",
                      lt->name, name);
}

static int handle_index(lua_State *L)
{
    struct ud_handle *handle = ud_test(L, 1, UD_HANDLE);
    if (handle == NULL || lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "a handle has handlers and `key`");
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1)) return 1;
    size_t len;
    const char *name = lua_tolstring(L, 2, &len);
    if (strcmp(name, "key") == 0) {
        lua_pushlstring(L, handle->key, handle->len);
        return 1;
    }
    if (vm_of(L)->request != NULL) {
        lua_pushvalue(L, 2);
        lua_pushcclosure(L, vm_of(L)->request, 1);
        return 1;
    }
    return handler_find(L, handle->type);
}

static int handle_newindex(lua_State *L)
{
    return luaL_error(L,
                      "a handle cannot be written: only an entity's own handlers change its row");
}

/* Handlers met before are found without leaving Lua, which costs less than calling C; its arguments: the table of them,
 * handle_index(). */
static const char index_source[] = "local known, other = ...\n"
                                   "return function(handle, name)\n"
                                   "  local found = known[name]\n"
                                   "  if found ~= nil then return found end\n"
                                   "  return other(handle, name)\n"
                                   "end\n";

void type_metatables(lua_State *L, struct lua_type *type)
{
    luaL_getmetatable(L, "weir.row");
    lua_createtable(L, 0, 5);
    if (luaL_loadbuffer(L, index_source, sizeof(index_source) - 1, "=weir") != 0) lua_error(L);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, handle_index, 1);
    lua_call(L, 2, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, handle_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_getfield(L, -2, "__eq");
    lua_setfield(L, -2, "__eq");
    lua_getfield(L, -2, "__tostring");
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    type->handle_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
}

static bool part_read(lua_State *L, int idx, enum weir_kind kind, struct weir_part *part)
{
    struct weir_str key;
    double n = lua_tonumber(L, idx);
    part->kind = kind;
    if (kind == WEIR_REF && handle_get(L, idx, &key) != NULL) {
        part->text = key;
        return true;
    }
    if (kind == WEIR_TEXT || kind == WEIR_BYTES || kind == WEIR_REF) {
        if (lua_type(L, idx) != LUA_TSTRING) return false;
        part->text.ptr = lua_tolstring(L, idx, &part->text.len);
        return true;
    }
    if (lua_type(L, idx) != LUA_TNUMBER || n != floor(n) || fabs(n) > (double)WEIR_INT_MAX)
        return false;
    part->n = (int64_t)n;
    return true;
}

struct weir_str key_from(lua_State *L, struct lua_type *type, int first, struct buf *bytes)
{
    type_resolve(vm_of(L), type);
    int count = lua_gettop(L) - first + 1;
    uint32_t parts = type->form.count;
    struct weir_str key;
    if (parts == 0 || (count == 1 && parts > 1 && lua_type(L, first) == LUA_TSTRING)) {
        if (count != 1 || lua_type(L, first) != LUA_TSTRING)
            luaL_error(L, "a handle of `%s` takes one text, its key", type->name);
        key.ptr = lua_tolstring(L, first, &key.len);
    } else {
        struct weir_part part[WEIR_KEY_PARTS_MAX] = { { .kind = WEIR_NONE } };
        if (count != (int)parts)
            luaL_error(L, "a handle of `%s` takes the %d parts of its key, got %d", type->name,
                       (int)parts, count);
        for (uint32_t i = 0; i < parts; i++) {
            if (!part_read(L, first + (int)i, type->form.part[i].kind, &part[i]))
                luaL_error(L, "part %d of a key of `%s` is %s, got %s", (int)i + 1, type->name,
                           lua_kind_words[type->form.part[i].kind],
                           luaL_typename(L, first + (int)i));
        }
        buf_reset(bytes);
        if (!key_build(&type->form, part, bytes))
            luaL_error(L, "only the last part of a key may hold a colon");
        key = buf_str(bytes);
    }
    if (key.len == 0 || key.len > KEY_BYTES_MAX)
        luaL_error(L, "a key of `%s` is a text of 1 to %d bytes", type->name, (int)KEY_BYTES_MAX);
    if (!str_is_utf8(key)) luaL_error(L, "a key is text in UTF-8");
    return key;
}

/* The key that a type's object is called with, at first..top. */
static struct weir_str handle_key(lua_State *L, struct lua_type *type, int first)
{
    if (lua_istable(L, first)) luaL_error(L, "options of a reference come with a later release");
    type_resolve(vm_of(L), type);
    if (vm_of(L)->loading && !type->form_known)
        luaL_error(L, "declare the entity `%s` before making handles of it", type->name);
    return key_from(L, type, first, &vm_of(L)->text);
}

int handle_make(lua_State *L)
{
    struct ud_type *object = ud_test(L, 1, UD_TYPE);
    if (object == NULL) return luaL_error(L, "no entity type");
    if (object->type->service)
        return luaL_error(L, "`%s` is a service: it has handlers and no entities",
                          object->type->name);
    handle_push(L, object->type, handle_key(L, object->type, 2));
    return 1;
}

/* ---- made to be called ---- */

/* Nobody but the call sees the handle of `type(key):handler(...)`. Where a function does nothing else with an upvalue that holds a type once the
 * files are loaded (function_calls_once(); none is assigned later), it gets another upvalue instead: a function that makes no handle but
 * lends one until that is called. So a call of one entity of many makes nothing in Lua's memory, which costs the collector's look
 * at all that lives, and the key is in the engine's hands before the arguments are evaluated (ctx_expect()).
 * Between making and call come the arguments: calls that lend others, an error, a yield. What is not called when the invocation ends is
 * never lent again: a routine that goes on with it later calls nothing. */
static int once_push(lua_State *L)
{
    struct lua_type *type = lua_touserdata(L, lua_upvalueindex(1));
    struct invocation *inv = vm_of(L)->current;
    struct weir_str key = handle_key(L, type, 1);
    if (inv == NULL ||
        type->type == NULL) { /* what is wrong is said by who is asked for the handler */
        handle_push(L, type, key);
        return 1;
    }
    key = text_keep(L, inv->arena, key);
    struct ud_once *once = type->once;
    if (once == NULL) {
        once = lua_newuserdata(L, sizeof(*once));
        *once = (struct ud_once){ .tag = UD_GIVEN_BACK, .type = type };
        lua_rawgeti(L, LUA_REGISTRYINDEX, type->once_meta);
        lua_setmetatable(L, -2);
        once->anchor = luaL_ref(L, LUA_REGISTRYINDEX);
    } else {
        type->once = once->next;
    }
    once->tag = UD_ONCE;
    once->key = key;
    once->place = type_place(type->type, key);
    ctx_expect(inv->ctx, type->type, once->place, false);
    once->next = inv->once;
    inv->once = once;
    lua_rawgeti(L, LUA_REGISTRYINDEX, once->anchor);
    return 1;
}

bool once_take(struct invocation *inv, struct ud_once *once)
{
    struct ud_once **at = &inv->once;
    while (*at != NULL && *at != once) at = &(*at)->next;
    if (*at == NULL) return false;
    *at = once->next;
    once->tag = UD_GIVEN_BACK;
    once->next = once->type->once;
    once->type->once = once;
    return true;
}

void once_give_up(struct invocation *inv)
{
    for (struct ud_once *once = inv->once; once != NULL; once = once->next) {
        once->tag = UD_GIVEN_BACK;
        luaL_unref(inv->vm->L, LUA_REGISTRYINDEX, once->anchor);
    }
    inv->once = NULL;
}

/* A handler that is not in their table of those that were called before: 1 that table, 2 the name. */
static int once_index(lua_State *L)
{
    return handler_find(L, lua_touserdata(L, lua_upvalueindex(2)));
}

static const char maker_source[] = "local make = ...\n"
                                   "return function() return make end\n";

/* Such handles find a handler in a table, not by a function: they have no `key` to be asked for. */
static void once_open(lua_State *L, struct lua_type *type)
{
    lua_createtable(L, 0, 2);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, -2);
    lua_pushlightuserdata(L, type);
    lua_pushcclosure(L, once_index, 2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    type->once_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    if (luaL_loadbuffer(L, maker_source, sizeof(maker_source) - 1, "=weir") != 0) lua_error(L);
    lua_pushlightuserdata(L, type);
    lua_pushcclosure(L, once_push, 1);
    lua_call(L, 1, 1);
    type->once_maker = luaL_ref(L, LUA_REGISTRYINDEX);
}

void once_maker_push(lua_State *L, struct lua_type *type)
{
    if (type->once_maker == LUA_NOREF) once_open(L, type);
    lua_rawgeti(L, LUA_REGISTRYINDEX, type->once_maker);
}

/* The arrays, empty: the first handle makes them large. */
void handles_open(lua_State *L)
{
    struct handles *h = &vm_of(L)->handles;
    luaL_newmetatable(L, "weir.weak");
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_pop(L, 1);
    lua_newtable(L);
    h->live = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    h->recent = luaL_ref(L, LUA_REGISTRYINDEX);
    h->free = NO_PLACE;
}

void handles_free(struct handles *h)
{
    mem_free(h->entries);
    mem_free(h->buckets);
}
