/*
 * lua_row.c - the row as Lua sees it: proxies over the working struct.
 *
 * A proxy holds a pointer into the struct and the serial of its invocation, so one that is kept longer, or
 * used by another handler, is refused. Fields are found by name through a table made once per shape: a
 * number is a field, a negative one a map, a function a handler. A list's element is reached through the
 * list, by place; taking an element out gives a copy.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define KEY_PART 100000 /* added to the number of a field that is part of the key: never assigned */
#define KEPT_TEXT "a row was kept after its handler ended: rows are borrowed"
#define WALKED_TEXT "a map is walked by its scan() and counted by its count()"

void *ud_test(lua_State *L, int idx, enum ud_tag tag)
{
    enum ud_tag *ud = lua_touserdata(L, idx); /* all that handlers can have carry a tag */
    return ud != NULL && *ud == tag ? ud : NULL;
}

static struct invocation *owner_of(lua_State *L, uint64_t serial)
{
    struct invocation *inv = vm_of(L)->current;
    if (inv == NULL || inv->serial != serial) luaL_error(L, KEPT_TEXT);
    return inv;
}

struct ud_record *record_live(lua_State *L, int idx)
{
    struct ud_record *record = ud_test(L, idx, UD_RECORD);
    if (record == NULL) luaL_error(L, "expected a row or record, got %s", luaL_typename(L, idx));
    owner_of(L, record->serial);
    return record;
}

/* What is asked of a map that only lists and records have. */
static void map_refuse(lua_State *L, int idx)
{
    if (ud_test(L, idx, UD_MAP) != NULL) luaL_error(L, WALKED_TEXT);
}

struct ud_list *list_live(lua_State *L, int idx)
{
    struct ud_list *list = ud_test(L, idx, UD_LIST);
    if (list == NULL) map_refuse(L, idx);
    if (list == NULL) luaL_error(L, "expected a list, got %s", luaL_typename(L, idx));
    owner_of(L, list->serial);
    return list;
}

static void conv_row(struct conv *conv, lua_State *L)
{
    struct vm *vm = vm_of(L);
    conv_init(conv, vm, vm->current->arena);
    conv->row = true;
}

static void need_writable(lua_State *L, bool writable)
{
    if (!writable) luaL_error(L, "a query may not write");
}

/* ---- records ---- */

/* Assigns in whole, so that a wrong value leaves the old one. */
static void field_assign(lua_State *L, int idx, const struct field *f, char *base,
                         const char *owner)
{
    char scratch[16] __attribute__((aligned(16))) = { 0 };
    struct conv conv;
    conv_row(&conv, L);
    struct field one = *f;
    one.offset = 0;
    char *value = f->size <= sizeof(scratch) ? scratch : arena_alloc(conv.arena, f->size);
    if (!value_read(&conv, L, idx, &one, value)) {
        luaL_error(L, "%s%s%s: %s", owner,
                   owner[0] != 0 && conv.path[0] != 0 && conv.path[0] != '[' ? "." : "", conv.path,
                   conv.text);
    }
    memcpy(base + f->offset, value, f->size);
}

static const char *shape_owner(const struct ud_record *record)
{
    return record->self ? record->self->name : "";
}

static int record_missing(lua_State *L, const struct ud_record *record)
{
    const char *name = lua_tostring(L, 2);
    return luaL_error(L, "%s has no field `%s`", record->self ? record->self->name : "the record",
                      name ? name : luaL_typename(L, 2));
}

/* self.name where no field has that name: the key, or a handler, remembered in the table of fields. */
static int self_extra(lua_State *L, struct ud_record *record)
{
    struct weir_str name = STR_NIL;
    if (lua_type(L, 2) == LUA_TSTRING) name.ptr = lua_tolstring(L, 2, &name.len);
    if (str_eq(name, STR("key"))) {
        struct weir_str key = record->self->service ? STR("") : weir_self(vm_of(L)->current->ctx);
        lua_pushlstring(L, key.ptr, key.len);
        return 1;
    }
    struct type *type = type_resolve(vm_of(L), record->self);
    struct handler *handler = type && name.ptr ? type_handler(type, name) : NULL;
    if (handler == NULL)
        return luaL_error(L, "`%s` has no field or handler `%s`", record->self->name,
                          name.ptr ? name.ptr : luaL_typename(L, 2));
    return handler_found(L, handler);
}

/* The record whose metamethod this is: nobody else can call it. */
static struct ud_record *record_own(lua_State *L)
{
    struct ud_record *record = lua_touserdata(L, 1);
    const struct invocation *inv = record->vm->current;
    if (inv == NULL || inv->serial != record->serial) owner_of(L, record->serial); /* raises */
    return record;
}

static size_t name_place(const void *name, size_t tried)
{
    return (((uintptr_t)name >> 4) + tried) % NAMES_KNOWN;
}

/* The field that argument 2 names, if it was asked for before; NULL: the table must be asked. */
static inline const struct known *field_known(lua_State *L, const struct ud_record *record)
{
    const void *name = lua_topointer(L, 2);
    const struct known *known = record->names->known;
    size_t at = name_place(name, 0);
    for (size_t i = 1; known[at].name != name; i++) {
        if (i == NAMES_TRIED) return NULL;
        at = name_place(name, i);
    }
    return name != NULL ? &known[at] : NULL;
}

/* The number of a field as the table of names has it. */
static const struct field *field_learn(lua_State *L, const struct ud_record *record, int place)
{
    const struct field *field = &record->shape->fields[place % KEY_PART];
    const void *name = lua_topointer(L, 2);
    size_t at = name_place(name, 0);
    for (size_t i = 0; i < NAMES_TRIED && record->names->known[at].name != NULL; i++)
        at = name_place(name, i);
    record->names->known[at] = (struct known){ .name = name,
                                               .field = field,
                                               .fixed = place >= KEY_PART,
                                               .whole = field->kind == WEIR_INT &&
                                                        field->size == 8 };
    return field;
}

/* What is no int that was asked for before. */
__attribute__((noinline)) static int record_index_slow(lua_State *L, struct ud_record *record,
                                                       const struct known *known)
{
    if (known != NULL) {
        value_push_live(L, known->field, record->base, record->writable && !known->fixed);
        return 1;
    }
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_type(L, -1) == LUA_TNUMBER) {
        int place = (int)lua_tointeger(L, -1);
        if (place < 0) {
            map_push(L, -place - 1, &record->self->type->maps[-place - 1]);
            return 1;
        }
        value_push_live(L, field_learn(L, record, place), record->base,
                        record->writable && place < KEY_PART);
        return 1;
    }
    if (!lua_isnil(L, -1)) return 1;
    return record->self ? self_extra(L, record) : record_missing(L, record);
}

/* Upvalue 1: name -> number. */
static int record_index(lua_State *L)
{
    struct ud_record *record = record_own(L);
    const struct known *known = field_known(L, record);
    if (known == NULL || !known->whole) return record_index_slow(L, record, known);
    int_push(L, known->field, record->base);
    return 1;
}

__attribute__((noinline)) static int record_newindex_slow(lua_State *L, struct ud_record *record,
                                                          const struct known *known)
{
    if (known != NULL && !known->fixed && record->writable) {
        field_assign(L, 3, known->field, record->base, shape_owner(record));
        return 0;
    }
    lua_settop(L, 3);
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (lua_type(L, -1) != LUA_TNUMBER) {
        const char *name = lua_tostring(L, 2);
        if (record->self && name && strcmp(name, "key") == 0)
            return luaL_error(L, "`key` is what %s is found by: it is never assigned",
                              record->self->name);
        return record_missing(L, record);
    }
    int place = (int)lua_tointeger(L, -1);
    if (place < 0)
        return luaL_error(L, "`%s` is a map: put, append and remove change it", lua_tostring(L, 2));
    if (place >= KEY_PART)
        return luaL_error(L, "`%s` is part of the key: it is never assigned", lua_tostring(L, 2));
    need_writable(L, record->writable);
    lua_pop(L, 1);
    field_assign(L, 3, field_learn(L, record, place), record->base, shape_owner(record));
    return 0;
}

static int record_newindex(lua_State *L)
{
    struct ud_record *record = record_own(L);
    const struct known *known = field_known(L, record);
    int64_t n;
    if (known == NULL || !known->whole || known->fixed || !record->writable ||
        lua_type(L, 3) != LUA_TNUMBER || !whole_take(L, 3, &n))
        return record_newindex_slow(L, record, known);
    memcpy(record->base + known->field->offset, &n, sizeof(n));
    return 0;
}

struct lua_type *handle_get(lua_State *L, int idx, struct weir_str *key)
{
    const enum ud_tag *tag = lua_touserdata(L, idx);
    if (tag != NULL && *tag == UD_HANDLE) {
        const struct ud_handle *handle = (const void *)tag;
        *key = (struct weir_str){ handle->key, handle->len };
        return handle->type;
    }
    if (tag == NULL || *tag != UD_RECORD) return NULL;
    const struct ud_record *record = (const void *)tag;
    if (record->self == NULL) return NULL;
    struct invocation *inv = owner_of(L, record->serial);
    *key = record->self->service ? STR("") : weir_self(inv->ctx);
    return record->self;
}

static int self_tostring(lua_State *L)
{
    struct weir_str key;
    struct lua_type *type = handle_get(L, 1, &key);
    if (type == NULL) {
        lua_pushliteral(L, "record");
        return 1;
    }
    lua_pushfstring(L, "%s/", type->name);
    lua_pushlstring(L, key.ptr, key.len);
    lua_concat(L, 2);
    return 1;
}

/* One function for handles and self, so that Lua compares one with the other, too. */
static int handle_eq(lua_State *L)
{
    struct weir_str a, b;
    struct lua_type *type = handle_get(L, 1, &a);
    lua_pushboolean(L, type != NULL && type == handle_get(L, 2, &b) && str_eq(a, b));
    return 1;
}

static void meta_finish(lua_State *L)
{
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
}

static void shape_names_push(lua_State *L, const struct shape *shape)
{
    lua_createtable(L, 0, (int)shape->count);
    for (uint32_t i = 0; i < shape->count; i++) {
        lua_pushlstring(L, shape->fields[i].name.ptr, shape->fields[i].name.len);
        lua_pushinteger(L, (int)i);
        lua_rawset(L, -3);
    }
}

static void shape_texts_push(lua_State *L, const struct shape *shape)
{
    lua_createtable(L, (int)shape->count, 0);
    for (uint32_t i = 0; i < shape->count; i++) {
        lua_pushlstring(L, shape->fields[i].name.ptr, shape->fields[i].name.len);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* Metatable over the table of names on top (replaced). */
static void record_meta_push(lua_State *L, const struct shape *shape, bool is_self)
{
    int names = lua_gettop(L);
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, names);
    lua_pushcclosure(L, record_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, names);
    lua_pushcclosure(L, record_newindex, 1);
    lua_setfield(L, -2, "__newindex");
    fields_compile(L, shape, names, KEY_PART, is_self);
    meta_finish(L);
    lua_remove(L, names);
}

/* Names and metatable of a shape, made at first sight. */
static struct names *shape_learn(lua_State *L, const struct shape *shape)
{
    struct vm *vm = vm_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->records);
    lua_pushlightuserdata(L, (void *)(uintptr_t)shape);
    lua_rawget(L, -2);
    if (lua_isnil(L, -1)) {
        struct names *names = arena_alloc(&vm->arena, sizeof(*names));
        lua_pop(L, 1);
        shape_names_push(L, shape);
        record_meta_push(L, shape, false);
        lua_pushlightuserdata(L, names);
        lua_setfield(L, -2, "names");
        lua_pushvalue(L, -1);
        names->meta = luaL_ref(L, LUA_REGISTRYINDEX);
        shape_texts_push(L, shape);
        names->texts = luaL_ref(L, LUA_REGISTRYINDEX);
        lua_pushlightuserdata(L, (void *)(uintptr_t)shape);
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
    }
    lua_getfield(L, -1, "names");
    struct names *names = lua_touserdata(L, -1);
    lua_pop(L, 3);
    size_t at = ((uintptr_t)shape >> 4) % SHAPES_KNOWN;
    vm->shapes[at].shape = shape;
    vm->shapes[at].names = names;
    return names;
}

struct names *shape_names(lua_State *L, const struct shape *shape)
{
    const struct vm *vm = vm_of(L);
    size_t at = ((uintptr_t)shape >> 4) % SHAPES_KNOWN;
    return vm->shapes[at].shape == shape ? vm->shapes[at].names : shape_learn(L, shape);
}

void record_proxy_push(lua_State *L, const struct shape *shape, char *base, bool writable)
{
    struct vm *vm = vm_of(L);
    struct names *names = shape_names(L, shape);
    struct ud_record *record = lua_newuserdata(L, sizeof(*record));
    *record = (struct ud_record){ .tag = UD_RECORD,
                                  .writable = writable,
                                  .serial = vm->current->serial,
                                  .live = &vm->live,
                                  .base = base,
                                  .vm = vm,
                                  .names = names,
                                  .shape = shape };
    lua_rawgeti(L, LUA_REGISTRYINDEX, names->meta);
    lua_setmetatable(L, -2);
}

static void self_meta_make(lua_State *L, struct lua_type *lt)
{
    const struct type *type = lt->type;
    shape_names_push(L, type->row);
    for (uint32_t i = 0; i < type->key.count; i++) {
        lua_pushlstring(L, type->key.part[i].name.ptr, type->key.part[i].name.len);
        lua_pushvalue(L, -1);
        lua_rawget(L, -3);
        lua_pushinteger(L, lua_tointeger(L, -1) + KEY_PART);
        lua_remove(L, -2);
        lua_rawset(L, -3);
    }
    for (uint32_t i = 0; i < type->map_count; i++) {
        lua_pushlstring(L, type->maps[i].name.ptr, type->maps[i].name.len);
        lua_pushinteger(L, -(int)i - 1);
        lua_rawset(L, -3);
    }
    record_meta_push(L, type->row, true);
    luaL_getmetatable(L, "weir.row");
    lua_getfield(L, -1, "__eq");
    lua_setfield(L, -3, "__eq");
    lua_getfield(L, -1, "__tostring");
    lua_setfield(L, -3, "__tostring");
    lua_pop(L, 1);
    lt->self_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    lt->names = arena_alloc(&vm_of(L)->arena, sizeof(*lt->names));
}

static void self_fill(struct ud_record *record, const struct invocation *inv)
{
    *record = (struct ud_record){ .tag = UD_RECORD,
                                  .writable = !inv->read_only,
                                  .serial = inv->serial,
                                  .live = &inv->vm->live,
                                  .base = inv->row,
                                  .vm = inv->vm,
                                  .names = inv->type->names,
                                  .shape = inv->type->type->row,
                                  .self = inv->type };
}

static struct ud_record *self_new(lua_State *L, struct invocation *inv)
{
    struct lua_type *lt = inv->type;
    if (lt->self_meta == LUA_NOREF) self_meta_make(L, lt);
    struct ud_record *record = lua_newuserdata(L, sizeof(*record));
    self_fill(record, inv);
    lua_rawgeti(L, LUA_REGISTRYINDEX, lt->self_meta);
    lua_setmetatable(L, -2);
    return record;
}

/* A new one for each call of a handler that might keep it, so that one kept too long is refused. */
void self_push(lua_State *L, struct invocation *inv)
{
    bool lends = ((const struct lua_code *)inv->handler->code)->lends & 1;
    if (lends && inv->self != NULL && inv->type->self_meta != LUA_NOREF) {
        self_lend(L, inv);
        return;
    }
    struct ud_record *record = self_new(L, inv);
    if (!lends || inv->self != NULL) return;
    lua_pushvalue(L, -1);
    inv->self_anchor = luaL_ref(L, LUA_REGISTRYINDEX);
    inv->self = record;
}

void self_lend(lua_State *L, struct invocation *inv)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, inv->self_anchor);
    if (inv->self->self != inv->type) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, inv->type->self_meta);
        lua_setmetatable(L, -2);
    }
    self_fill(inv->self, inv);
}

/* ---- lists ---- */

void list_proxy_push(lua_State *L, const struct field *field, struct weir_list *list, bool writable)
{
    struct ud_list *proxy = lua_newuserdata(L, sizeof(*proxy));
    *proxy = (struct ud_list){ .tag = UD_LIST,
                               .writable = writable,
                               .serial = vm_of(L)->current->serial,
                               .field = field,
                               .list = list };
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->list_meta);
    lua_setmetatable(L, -2);
}

static char *item_at(const struct ud_list *list, size_t i)
{
    return (char *)list->list->items + i * list->field->shape->size;
}

void list_element_push(lua_State *L, struct ud_list *list, size_t i)
{
    const struct shape *shape = list->field->shape;
    if (i >= list->list->count) lua_pushnil(L);
    else if (shape->scalar) value_push_live(L, &shape->fields[0], item_at(list, i), list->writable);
    else record_proxy_push(L, shape, item_at(list, i), list->writable);
}

static void element_copy_push(lua_State *L, struct ud_list *list, size_t i)
{
    const struct shape *shape = list->field->shape;
    if (shape->scalar) value_push(L, &shape->fields[0], item_at(list, i));
    else record_push(L, shape, item_at(list, i));
}

/* Lua value at idx as a new element's struct, in the transaction's memory. */
static char *element_read(lua_State *L, struct ud_list *list, int idx)
{
    const struct shape *shape = list->field->shape;
    struct conv conv;
    conv_row(&conv, L);
    char *item = arena_alloc(conv.arena, shape->size + 8u);
    bool fine = shape->scalar ? value_read(&conv, L, idx, &shape->fields[0], item)
                              : record_read(&conv, L, idx, shape, item);
    if (!fine) {
        luaL_error(L, "element of `%s`%s%s: %s",
                   list->field->name.len ? list->field->name.ptr : "list",
                   conv.path[0] != 0 ? ", " : "", conv.path, conv.text);
    }
    return item;
}

/* Room for one more: the list grown last has some to spare. */
static void list_grow(lua_State *L, struct ud_list *list)
{
    struct invocation *inv = vm_of(L)->current;
    size_t size = list->field->shape->size, count = list->list->count;
    if (count >= SHAPE_LIST_MAX)
        luaL_error(L, "a list holds at most %d elements: a map holds more", (int)SHAPE_LIST_MAX);
    if (inv->grown == list->list->items && inv->grown != NULL && count < inv->grown_room) return;
    size_t room = count < 4 ? 8 : count * 2;
    char *items = arena_alloc(inv->arena, room * size);
    if (list->list->items != NULL) memcpy(items, list->list->items, count * size);
    list->list->items = items;
    inv->grown = items;
    inv->grown_room = room;
}

static void list_put(lua_State *L, struct ud_list *list, size_t at, int idx)
{
    size_t size = list->field->shape->size;
    char *item = element_read(L, list, idx);
    if (at == list->list->count) {
        list_grow(L, list);
        list->list->count++;
    }
    memcpy(item_at(list, at), item, size);
}

static void list_drop(struct ud_list *list, size_t at)
{
    size_t size = list->field->shape->size;
    memmove(item_at(list, at), item_at(list, at + 1), (list->list->count - at - 1) * size);
    list->list->count--;
}

static size_t place_read(lua_State *L, int idx, size_t max)
{
    double n = lua_tonumber(L, idx);
    if (lua_type(L, idx) != LUA_TNUMBER || n != floor(n) || n < 1 || n > (double)max)
        luaL_error(L, "a list has no place %s",
                   lua_tostring(L, idx) ? lua_tostring(L, idx) : luaL_typename(L, idx));
    return (size_t)n - 1;
}

static int list_index(lua_State *L)
{
    struct ud_list *list = list_live(L, 1);
    double n = lua_tonumber(L, 2);
    if (lua_type(L, 2) != LUA_TNUMBER)
        return luaL_error(L, "a list has places 1..n, no `%s`",
                          lua_tostring(L, 2) ? lua_tostring(L, 2) : "?");
    if (n < 1 || n > (double)list->list->count || n != floor(n)) lua_pushnil(L);
    else list_element_push(L, list, (size_t)n - 1);
    return 1;
}

static int list_newindex(lua_State *L)
{
    struct ud_list *list = list_live(L, 1);
    need_writable(L, list->writable);
    size_t at = place_read(L, 2, list->list->count + 1);
    if (!lua_isnil(L, 3)) {
        list_put(L, list, at, 3);
        return 0;
    }
    if (at == list->list->count) return 0;
    if (at + 1 != list->list->count)
        return luaL_error(
            L, "only the last place of a list may become nil: table.remove takes out others");
    list->list->count--;
    return 0;
}

static int list_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)list_live(L, 1)->list->count);
    return 1;
}

/* The iterator of ipairs(list). */
static int list_next(lua_State *L)
{
    struct ud_list *list = list_live(L, 1);
    size_t i = (size_t)lua_tointeger(L, 2);
    if (i >= list->list->count) return 0;
    lua_pushinteger(L, (lua_Integer)i + 1);
    list_element_push(L, list, i);
    return 2;
}

/* A plain table of a list's elements (records copied) or of a record's fields; anything else as it is. */
static int proxy_copy(lua_State *L)
{
    lua_settop(L, 1);
    if (ud_test(L, 1, UD_RECORD) != NULL) {
        struct ud_record *record = record_live(L, 1);
        record_push(L, record->shape, record->base);
    } else {
        struct ud_list *list = list_live(L, 1);
        lua_createtable(L, (int)list->list->count, 0);
        for (size_t i = 0; i < list->list->count; i++) {
            element_copy_push(L, list, i);
            lua_rawseti(L, 2, (int)i + 1);
        }
    }
    return 1;
}

/* For the prelude: what is wrong with the value is told with the line of the prelude's caller. */
static int proxy_copy_for(lua_State *L)
{
    const struct ud_list *list = ud_test(L, 1, UD_LIST);
    const struct ud_record *record = ud_test(L, 1, UD_RECORD);
    uint64_t serial = list != NULL ? list->serial : record != NULL ? record->serial : 0;
    const struct invocation *inv = vm_of(L)->current;
    if (ud_test(L, 1, UD_MAP) != NULL) raise_at(L, 2, WALKED_TEXT);
    if (list == NULL && record == NULL) raise_at(L, 2, "expected a table or a list, got userdata");
    if (inv == NULL || inv->serial != serial) raise_at(L, 2, KEPT_TEXT);
    return proxy_copy(L);
}

/* pairs() of a list walks places, of a row or record its fields as they are now. */
static int proxy_pairs(lua_State *L)
{
    map_refuse(L, 1);
    if (ud_test(L, 1, UD_LIST) != NULL) {
        lua_pushcfunction(L, list_next);
        lua_pushvalue(L, 1);
        lua_pushinteger(L, 0);
        return 3;
    }
    proxy_copy(L);
    lua_getglobal(L, "next");
    lua_pushvalue(L, 2);
    lua_pushnil(L);
    return 3;
}

static int list_insert(lua_State *L)
{
    struct ud_list *list = list_live(L, 1);
    need_writable(L, list->writable);
    int args = lua_gettop(L);
    if (args != 2 && args != 3) return luaL_error(L, "wrong number of arguments to `insert`");
    size_t count = list->list->count, at = args == 2 ? count : place_read(L, 2, count + 1);
    size_t size = list->field->shape->size;
    char *item = element_read(L, list, args);
    list_grow(L, list);
    memmove(item_at(list, at + 1), item_at(list, at), (count - at) * size);
    memcpy(item_at(list, at), item, size);
    list->list->count++;
    return 0;
}

static int list_remove(lua_State *L)
{
    struct ud_list *list = list_live(L, 1);
    need_writable(L, list->writable);
    if (list->list->count == 0) return 0;
    size_t at = lua_isnoneornil(L, 2) ? list->list->count - 1 : place_read(L, 2, list->list->count);
    element_copy_push(L, list, at);
    list_drop(list, at);
    return 1;
}

/* list := the table's elements; for sort. */
static int list_fill(lua_State *L)
{
    struct ud_list *list = list_live(L, 1);
    need_writable(L, list->writable);
    struct field whole = *list->field;
    whole.offset = 0;
    field_assign(L, 2, &whole, (char *)list->list, "");
    return 0;
}

/* Metatables; the prelude's helpers go into the table on top. */
void rows_open(lua_State *L)
{
    static const luaL_Reg list_meta[] = { { "__index", list_index },
                                          { "__newindex", list_newindex },
                                          { "__len", list_len },
                                          { NULL, NULL } };
    static const luaL_Reg helpers[] = { { "list_next", list_next },
                                        { "copy", proxy_copy_for },
                                        { "pairs", proxy_pairs },
                                        { "insert", list_insert },
                                        { "remove", list_remove },
                                        { "fill", list_fill },
                                        { NULL, NULL } };
    lua_newtable(L);
    luaL_register(L, NULL, list_meta);
    meta_finish(L);
    vm_of(L)->list_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_newmetatable(L, "weir.row");
    lua_pushcfunction(L, handle_eq);
    lua_setfield(L, -2, "__eq");
    lua_pushcfunction(L, self_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    luaL_register(L, NULL, helpers);
}
