/*
 * lua_value.c - values between structs and Lua, and JSON for `any`.
 *
 * Reading judges Lua's types only (a whole number, a word of the enum, exactly these fields); declared rules
 * are judged by the engine when a handler returns. Texts are copied into the transaction's memory, so no
 * struct ever points into a Lua state.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_ITEMS_MAX 100000u

struct weir_str text_keep(lua_State *L, struct arena *arena, struct weir_str text)
{
    struct invocation *inv = vm_of(L)->current;
    if (inv != NULL && inv->arena == arena && arena->used > SCRATCH_BYTES_MAX) {
        inv->memory_hit = true;
        luaL_error(L, "not enough memory: the values of this transaction take more than %d bytes",
                   (int)SCRATCH_BYTES_MAX);
    }
    return arena_copy(arena, text);
}

/* ---- Lua to struct ---- */

static bool wrong(struct conv *c, const char *name, size_t len, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Notes the first mistake, with the field's name in front; outer fields put theirs before it. */
static bool wrong(struct conv *c, const char *name, size_t len, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(c->path, sizeof(c->path), "%.*s", (int)len, name);
    snprintf(c->text, sizeof(c->text), "%s", text);
    return false;
}

static void path_before(struct conv *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void path_before(struct conv *c, const char *format, ...)
{
    char front[64], path[sizeof(c->path) + 80];
    va_list args;
    va_start(args, format);
    vsnprintf(front, sizeof(front), format, args);
    va_end(args);
    snprintf(path, sizeof(path), "%s%s%s", front, c->path[0] != 0 && c->path[0] != '[' ? "." : "",
             c->path);
    snprintf(c->path, sizeof(c->path), "%.90s", path);
}

const char *value_got(lua_State *L, int idx, char text[64])
{
    if (lua_type(L, idx) == LUA_TNUMBER) snprintf(text, 64, "%.14g", lua_tonumber(L, idx));
    else if (lua_type(L, idx) == LUA_TSTRING) snprintf(text, 64, "\"%.40s\"", lua_tostring(L, idx));
    else if (lua_type(L, idx) == LUA_TBOOLEAN)
        snprintf(text, 64, "%s", lua_toboolean(L, idx) ? "true" : "false");
    else if (ud_test(L, idx, UD_LIST) != NULL) snprintf(text, 64, "a list");
    else if (ud_test(L, idx, UD_HANDLE) != NULL) snprintf(text, 64, "a handle");
    else snprintf(text, 64, "%s", luaL_typename(L, idx));
    return text;
}

static bool expected(struct conv *c, lua_State *L, int idx, const struct field *f, const char *what)
{
    char text[64];
    snprintf(c->rule, sizeof(c->rule), "type");
    return wrong(c, f->name.ptr ? f->name.ptr : "", f->name.len, "expected %s, got %s", what,
                 value_got(L, idx, text));
}

static bool whole_read(struct conv *c, lua_State *L, int idx, const struct field *f, char *base)
{
    int64_t n;
    if (lua_type(L, idx) != LUA_TNUMBER)
        return expected(c, L, idx, f, f->kind == WEIR_TIME ? "time in milliseconds" : "int");
    if (!whole_take(L, idx, &n))
        return expected(c, L, idx, f, "int: a whole number within 2^53 (weir.round(x) makes one)");
    int bits = (int)f->size * 8;
    if (bits < 64 && (n < -((int64_t)1 << (bits - 1)) || n >= (int64_t)1 << (bits - 1)))
        return expected(c, L, idx, f,
                        bits == 8    ? "int of 8 bits"
                        : bits == 16 ? "int of 16 bits"
                                     : "int of 32 bits");
    int_store(f, base + f->offset, n);
    return true;
}

static bool text_read(struct conv *c, lua_State *L, int idx, const struct field *f, char *base)
{
    if (lua_type(L, idx) != LUA_TSTRING) return expected(c, L, idx, f, lua_kind_words[f->kind]);
    struct weir_str text;
    text.ptr = lua_tolstring(L, idx, &text.len);
    if (f->kind == WEIR_TEXT && !str_is_utf8(text)) {
        snprintf(c->rule, sizeof(c->rule), "utf8");
        return wrong(c, f->name.ptr ? f->name.ptr : "", f->name.len,
                     "expected text in UTF-8; bytes keep anything");
    }
    if (f->inline_text) {
        if (text.len > f->size) return expected(c, L, idx, f, "a shorter text");
        memset(base + f->offset, 0, f->size);
        memcpy(base + f->offset, text.ptr, text.len);
        return true;
    }
    text = text_keep(L, c->arena, text);
    memcpy(base + f->offset, &text, sizeof(text));
    return true;
}

const char *words_list(const struct weir_str *words, uint32_t count, char text[120])
{
    size_t used = (size_t)snprintf(text, 120, "one of");
    for (uint32_t i = 0; i < count && used < 90; i++) {
        snprintf(text + used, 120 - used, " \"%.*s\"", STR_ARG(words[i]));
        used = strlen(text);
    }
    return text;
}

static bool enum_read(struct conv *c, lua_State *L, int idx, const struct field *f, char *base)
{
    if (lua_type(L, idx) == LUA_TSTRING) {
        struct weir_str word;
        word.ptr = lua_tolstring(L, idx, &word.len);
        for (uint32_t i = 0; i < f->word_count; i++) {
            if (!str_eq(word, f->words[i])) continue;
            int_store(f, base + f->offset, i);
            return true;
        }
    }
    char words[120];
    return expected(c, L, idx, f, words_list(f->words, f->word_count, words));
}

static bool ref_read(struct conv *c, lua_State *L, int idx, const struct field *f, char *base)
{
    struct weir_str key;
    struct lua_type *type = handle_get(L, idx, &key);
    if (type == NULL || !str_eq((struct weir_str){ type->name, type->name_len }, f->type)) {
        char what[120];
        snprintf(what, sizeof(what), "a handle of `%.*s`%s%s", STR_ARG(f->type),
                 type ? ", not of " : "", type ? type->name : "");
        return expected(c, L, idx, f, what);
    }
    struct weir_ref ref = { text_keep(L, c->arena, key) };
    memcpy(base + f->offset, &ref, sizeof(ref));
    return true;
}

/* Pushes element i of a table or of a live list. */
static void element_push(lua_State *L, int idx, size_t i)
{
    struct ud_list *list = ud_test(L, idx, UD_LIST);
    if (list != NULL) list_element_push(L, list, i);
    else lua_rawgeti(L, idx, (int)i + 1);
}

static bool list_read(struct conv *c, lua_State *L, int idx, const struct field *f, char *base)
{
    luaL_checkstack(L, 10, "values");
    size_t count = 0, keys = 0;
    if (ud_test(L, idx, UD_LIST) != NULL) {
        count = list_live(L, idx)->list->count;
    } else if (lua_istable(L, idx)) {
        count = lua_objlen(L, idx);
        for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) keys++;
        if (keys != count) return expected(c, L, idx, f, "a list 1..n without holes or names");
    } else {
        return expected(c, L, idx, f, "a list");
    }
    if (count > SHAPE_LIST_MAX) {
        snprintf(c->rule, sizeof(c->rule), "max");
        return wrong(c, f->name.ptr ? f->name.ptr : "", f->name.len,
                     "%zu elements are more than a list's %u", count, SHAPE_LIST_MAX);
    }
    struct weir_list list = { .count = count };
    if (count > 0) list.items = arena_alloc(c->arena, count * f->shape->size);
    bool starts = c->starts;
    c->starts = false;
    for (size_t i = 0; i < count; i++) {
        char *item = (char *)list.items + i * f->shape->size;
        element_push(L, idx, i);
        int at = lua_gettop(L);
        bool fine = f->shape->scalar ? value_read(c, L, at, &f->shape->fields[0], item)
                                     : record_read(c, L, at, f->shape, item);
        if (!fine) {
            path_before(c, "%.*s[%zu]", STR_ARG(f->name), i + 1);
            return false;
        }
        lua_pop(L, 1);
    }
    c->starts = starts;
    memcpy(base + f->offset, &list, sizeof(list));
    return true;
}

static bool any_read(struct conv *c, lua_State *L, int idx, const struct field *f, char *base)
{
    luaL_checkstack(L, 10, "values");
    struct buf *json = &c->vm->json;
    buf_reset(json);
    if (!json_take(c, L, idx, json, 0)) {
        snprintf(c->path, sizeof(c->path), "%.*s", STR_ARG(f->name));
        return false;
    }
    struct weir_str text = text_keep(L, c->arena, buf_str(json));
    memcpy(base + f->offset, &text, sizeof(text));
    return true;
}

static bool nil_read(struct conv *c, lua_State *L, int idx, const struct field *f, char *base)
{
    bool may = f->optional || f->kind == WEIR_ANY ||
               (c->row && (f->kind == WEIR_TIME || f->kind == WEIR_REF));
    if (!may) {
        snprintf(c->rule, sizeof(c->rule), "missing");
        return wrong(c, f->name.ptr ? f->name.ptr : "", f->name.len, "expected %s, got nil",
                     f->kind == WEIR_REF ? "a handle" : lua_kind_words[f->kind]);
    }
    if (f->kind == WEIR_FLOAT) {
        double nil = (double)NAN;
        memcpy(base + f->offset, &nil, sizeof(nil));
    } else if (f->kind == WEIR_INT || f->kind == WEIR_TIME || f->kind == WEIR_ENUM) {
        int_store(f, base + f->offset, WEIR_NIL);
    } else {
        memset(base + f->offset, 0, f->size);
    }
    return true;
}

bool value_read(struct conv *c, lua_State *L, int idx, const struct field *f, char *base)
{
    if (lua_type(L, idx) <= LUA_TNIL) return nil_read(c, L, idx, f, base);
    switch (f->kind) {
    case WEIR_INT:
    case WEIR_TIME: return whole_read(c, L, idx, f, base);
    case WEIR_ENUM: return enum_read(c, L, idx, f, base);
    case WEIR_TEXT:
    case WEIR_BYTES: return text_read(c, L, idx, f, base);
    case WEIR_REF: return ref_read(c, L, idx, f, base);
    case WEIR_LIST: return list_read(c, L, idx, f, base);
    case WEIR_ANY: return any_read(c, L, idx, f, base);
    case WEIR_BOOL: {
        if (!lua_isboolean(L, idx)) return expected(c, L, idx, f, "bool");
        bool value = lua_toboolean(L, idx);
        memcpy(base + f->offset, &value, sizeof(value));
        return true;
    }
    case WEIR_FLOAT: {
        double x = lua_tonumber(L, idx);
        if (lua_type(L, idx) != LUA_TNUMBER || !isfinite(x))
            return expected(c, L, idx, f, "a finite number");
        memcpy(base + f->offset, &x, sizeof(x));
        return true;
    }
    case WEIR_RECORD: {
        bool starts = c->starts;
        c->starts = false;
        bool fine = record_read(c, L, idx, f->shape, base + f->offset);
        c->starts = starts;
        if (!fine) path_before(c, "%.*s", STR_ARG(f->name));
        return fine;
    }
    default: return expected(c, L, idx, f, "nothing");
    }
}

static bool field_is_in(const struct shape *shape, struct weir_str name)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        if (str_eq(shape->fields[i].name, name)) return true;
    }
    return false;
}

/* Whether a struct of one is a struct of the other, too: the same fields at the same places, of kinds that say all by themselves. */
static bool shapes_alike(struct vm *vm, const struct shape *a, const struct shape *b)
{
    if (vm->alike[0] == a && vm->alike[1] == b) return true;
    if (!shape_same_layout(a, b)) return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct field *f = &a->fields[i], *g = &b->fields[i];
        bool plain = f->kind == WEIR_INT || f->kind == WEIR_FLOAT || f->kind == WEIR_BOOL ||
                     f->kind == WEIR_TEXT || f->kind == WEIR_BYTES;
        if (!plain || f->optional != g->optional || !str_eq(f->name, g->name)) return false;
    }
    vm->alike[0] = a;
    vm->alike[1] = b;
    return true;
}

/* The table at idx has a key that is no field: false, naming one. */
static bool unknown_field(struct conv *c, lua_State *L, int idx, const struct shape *shape)
{
    struct weir_str name = STR("?");
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        name = STR("?");
        if (lua_type(L, -2) == LUA_TSTRING) name.ptr = lua_tolstring(L, -2, &name.len);
        if (!field_is_in(shape, name)) break;
    }
    snprintf(c->rule, sizeof(c->rule), "unknown");
    return wrong(c, name.ptr, name.len < 60 ? name.len : 60, "there is no such field");
}

bool record_read(struct conv *c, lua_State *L, int idx, const struct shape *shape, char *base)
{
    luaL_checkstack(L, 10, "values");
    struct ud_record *live = ud_test(L, idx, UD_RECORD);
    if (live != NULL && record_live(L, idx)->shape == shape) {
        shape_copy(shape, live->base, c->arena, base);
        return true;
    }
    if (live != NULL && shapes_alike(c->vm, live->shape, shape)) {
        memcpy(base, live->base,
               shape->size); /* no lists; texts do not change while the transaction runs */
        return true;
    }
    if (live == NULL && !lua_istable(L, idx)) {
        struct field whole = { .name = STR("") };
        return expected(c, L, idx, &whole, "a record");
    }
    memset(base, 0, shape->size);
    if (c->starts) shape_start(shape, base);
    lua_rawgeti(L, LUA_REGISTRYINDEX, shape_names(L, shape)->texts);
    int texts = lua_gettop(L);
    uint32_t found = 0, keys = 0;
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        lua_rawgeti(L, texts, (int)i + 1);
        if (live != NULL) lua_gettable(L, idx);
        else lua_rawget(L, idx);
        bool given = !lua_isnil(L, -1);
        found += given;
        if ((given || !c->starts) && !value_read(c, L, texts + 1, f, base)) return false;
        lua_settop(L, texts);
    }
    lua_pop(L, 1);
    if (live != NULL) return true;
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) keys++;
    return keys == found || unknown_field(c, L, idx, shape);
}

/* ---- struct to Lua ---- */

static void text_push(lua_State *L, struct weir_str text)
{
    if (text.ptr == NULL) lua_pushnil(L);
    else lua_pushlstring(L, text.ptr, text.len);
}

static void whole_push(lua_State *L, const struct field *f, const char *base)
{
    int64_t n = int_load(f, base + f->offset);
    if (f->size == 8 && n == WEIR_NIL) lua_pushnil(L);
    else if (f->kind != WEIR_ENUM) lua_pushnumber(L, (double)n);
    else if (n >= 0 && n < (int64_t)f->word_count)
        lua_pushlstring(L, f->words[n].ptr, f->words[n].len);
    else lua_pushnil(L);
}

static void list_push(lua_State *L, const struct field *f, const struct weir_list *list)
{
    luaL_checkstack(L, 10, "values");
    lua_createtable(L, (int)list->count, 0);
    for (size_t i = 0; i < list->count; i++) {
        const char *item = (const char *)list->items + i * f->shape->size;
        if (f->shape->scalar) value_push(L, &f->shape->fields[0], item);
        else record_push(L, f->shape, item);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

void value_push(lua_State *L, const struct field *f, const char *base)
{
    const char *at = base + f->offset;
    struct weir_str text;
    switch (f->kind) {
    case WEIR_INT:
    case WEIR_TIME:
    case WEIR_ENUM: whole_push(L, f, base); return;
    case WEIR_FLOAT: {
        double x;
        memcpy(&x, at, sizeof(x));
        if (isnan(x)) lua_pushnil(L);
        else lua_pushnumber(L, x);
        return;
    }
    case WEIR_BOOL: lua_pushboolean(L, *at != 0); return;
    case WEIR_TEXT:
    case WEIR_BYTES:
        if (f->inline_text) {
            lua_pushlstring(L, at, strnlen(at, f->size));
            return;
        }
        memcpy(&text, at, sizeof(text));
        text_push(L, text);
        return;
    case WEIR_REF:
        memcpy(&text, at, sizeof(text));
        if (text.ptr == NULL) lua_pushnil(L);
        else handle_push(L, type_named(L, f->type.ptr, f->type.len, false), text);
        return;
    case WEIR_RECORD: record_push(L, f->shape, at); return;
    case WEIR_LIST: list_push(L, f, (const struct weir_list *)at); return;
    case WEIR_ANY:
        memcpy(&text, at, sizeof(text));
        if (text.ptr == NULL || text.len == 0) lua_pushnil(L);
        else json_push(L, text);
        return;
    default: lua_pushnil(L);
    }
}

void record_push(lua_State *L, const struct shape *shape, const char *base)
{
    luaL_checkstack(L, 10, "values");
    lua_createtable(L, 0, (int)shape->count);
    lua_rawgeti(L, LUA_REGISTRYINDEX, shape_names(L, shape)->texts);
    for (uint32_t i = 0; i < shape->count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        value_push(L, &shape->fields[i], base);
        lua_rawset(L, -4);
    }
    lua_pop(L, 1);
}

void value_push_live(lua_State *L, const struct field *f, char *base, bool writable)
{
    if (f->kind == WEIR_RECORD) record_proxy_push(L, f->shape, base + f->offset, writable);
    else if (f->kind == WEIR_LIST)
        list_proxy_push(L, f, (struct weir_list *)(base + f->offset), writable);
    else value_push(L, f, base);
}

/* ---- JSON to Lua ---- */

struct json_reader {
    const char *at, *end;
    lua_State *L;
    unsigned depth;
};

static void json_value(struct json_reader *r);

static void json_space(struct json_reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

__attribute__((noreturn)) static void json_bad(struct json_reader *r)
{
    luaL_error(r->L, "a value of type any holds malformed JSON");
    __builtin_unreachable();
}

static char json_peek(struct json_reader *r)
{
    json_space(r);
    if (r->at >= r->end) json_bad(r);
    return *r->at;
}

static unsigned hex4(struct json_reader *r)
{
    unsigned n = 0;
    if (r->end - r->at < 4) json_bad(r);
    for (int i = 0; i < 4; i++) {
        char c = *r->at++;
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 99;
        if (digit == 99) json_bad(r);
        n = n * 16 + digit;
    }
    return n;
}

static void utf8_add(luaL_Buffer *out, unsigned n)
{
    if (n < 0x80) {
        luaL_addchar(out, (char)n);
    } else if (n < 0x800) {
        luaL_addchar(out, (char)(0xc0 | n >> 6));
        luaL_addchar(out, (char)(0x80 | (n & 63)));
    } else if (n < 0x10000) {
        luaL_addchar(out, (char)(0xe0 | n >> 12));
        luaL_addchar(out, (char)(0x80 | (n >> 6 & 63)));
        luaL_addchar(out, (char)(0x80 | (n & 63)));
    } else {
        luaL_addchar(out, (char)(0xf0 | n >> 18));
        luaL_addchar(out, (char)(0x80 | (n >> 12 & 63)));
        luaL_addchar(out, (char)(0x80 | (n >> 6 & 63)));
        luaL_addchar(out, (char)(0x80 | (n & 63)));
    }
}

static void json_escape(struct json_reader *r, luaL_Buffer *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->at >= r->end) json_bad(r);
    char c = *r->at++;
    if (c == 'u') {
        unsigned n = hex4(r);
        if (n >= 0xd800 && n < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' &&
            r->at[1] == 'u') {
            r->at += 2;
            n = 0x10000 + ((n - 0xd800) << 10) + (hex4(r) - 0xdc00);
        }
        utf8_add(out, n);
        return;
    }
    const char *place = c == 0 ? NULL : strchr(from, c);
    if (place == NULL) json_bad(r);
    luaL_addchar(out, to[place - from]);
}

static void json_string(struct json_reader *r)
{
    const char *start = ++r->at;
    while (r->at < r->end && *r->at != '"' && *r->at != '\\') r->at++;
    if (r->at < r->end && *r->at == '"') {
        lua_pushlstring(r->L, start, (size_t)(r->at++ - start));
        return;
    }
    luaL_Buffer out;
    luaL_buffinit(r->L, &out);
    luaL_addlstring(&out, start, (size_t)(r->at - start));
    for (;;) {
        if (r->at >= r->end) json_bad(r);
        char c = *r->at++;
        if (c == '"') break;
        if (c == '\\') json_escape(r, &out);
        else luaL_addchar(&out, c);
    }
    luaL_pushresult(&out);
}

/*
 * What a table cannot say of the JSON that it comes from, so that it is written as it was read: a metatable with, under
 * MARK, how many elements an array with null had; the names of an object's members that were null, none of an empty object.
 */
#define MARK "__json"

/* Takes it from the top, for the table below. */
static void mark_set(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_insert(L, -2);
    lua_setfield(L, -2, MARK);
    lua_setmetatable(L, -2);
}

/* Pushes it, and says of what type it is; LUA_TNIL: there is none, and nothing is pushed. */
static int mark_push(lua_State *L, int idx)
{
    if (!lua_getmetatable(L, idx)) return LUA_TNIL;
    lua_pushliteral(L, MARK);
    lua_rawget(L, -2);
    lua_remove(L, -2);
    int type = lua_type(L, -1);
    double count = lua_tonumber(L, -1);
    /* anybody may set a metatable */
    if (type == LUA_TTABLE || (type == LUA_TNUMBER && count >= 1 && count <= JSON_ITEMS_MAX))
        return type;
    lua_pop(L, 1);
    return LUA_TNIL;
}

static void json_array(struct json_reader *r)
{
    lua_State *L = r->L;
    bool nulls = false;
    int i = 1;
    lua_newtable(L);
    r->at++;
    for (; json_peek(r) != ']'; i++) {
        json_value(r);
        nulls = nulls || lua_isnil(L, -1);
        lua_rawseti(L, -2, i);
        if (json_peek(r) == ',') r->at++;
        else if (*r->at != ']') json_bad(r);
    }
    r->at++;
    if (!nulls) return;
    lua_pushinteger(L, i - 1);
    mark_set(L);
}

/* Name and null are on top of the object: the name goes to the others of that kind, which stand above the object. */
static void null_note(lua_State *L, int object, int *nulls)
{
    lua_pop(L, 1);
    if (*nulls == 0) {
        lua_newtable(L);
        lua_insert(L, object + 1);
    }
    lua_rawseti(L, object + 1, ++*nulls);
}

static void json_object(struct json_reader *r)
{
    lua_State *L = r->L;
    int nulls = 0;
    bool empty = true;
    lua_newtable(L);
    int object = lua_gettop(L);
    r->at++;
    while (json_peek(r) != '}') {
        if (*r->at != '"') json_bad(r);
        json_string(r);
        if (json_peek(r) != ':') json_bad(r);
        r->at++;
        json_value(r);
        empty = false;
        if (lua_isnil(L, -1)) null_note(L, object, &nulls);
        else lua_rawset(L, object);
        if (json_peek(r) == ',') r->at++;
        else if (*r->at != '}') json_bad(r);
    }
    r->at++;
    if (empty) lua_newtable(L);
    if (empty || nulls > 0) mark_set(L);
}

/* The short way for whole numbers; false: it is something else. */
static bool json_whole(struct json_reader *r)
{
    const char *at = r->at;
    bool minus = *at == '-';
    at += minus;
    const char *first = at;
    int64_t n = 0;
    while (at < r->end && *at >= '0' && *at <= '9' && at - first < 16) n = n * 10 + (*at++ - '0');
    if (at == first || at - first == 16) return false;
    if (at < r->end && strchr("+-.eE", *at) != NULL && *at != 0) return false;
    lua_pushnumber(r->L, minus ? -(double)n : (double)n);
    r->at = at;
    return true;
}

static void json_number(struct json_reader *r)
{
    if (json_whole(r)) return;
    char text[64];
    size_t len = 0;
    while (r->at < r->end && len < sizeof(text) - 1 && strchr("+-.eE0123456789", *r->at) != NULL)
        text[len++] = *r->at++;
    text[len] = 0;
    char *end;
    double x = strtod(text, &end);
    if (len == 0 || *end != 0) json_bad(r);
    lua_pushnumber(r->L, x);
}

static void json_value(struct json_reader *r)
{
    luaL_checkstack(r->L, 8, "JSON");
    char c = json_peek(r);
    bool nested = c == '[' || c == '{';
    if (nested && ++r->depth > JSON_DEPTH_MAX) json_bad(r);
    size_t left = (size_t)(r->end - r->at);
    if (c == '"') {
        json_string(r);
    } else if (c == '[') {
        json_array(r);
    } else if (c == '{') {
        json_object(r);
    } else if (left >= 4 && memcmp(r->at, "null", 4) == 0) {
        lua_pushnil(r->L);
        r->at += 4;
    } else if (left >= 4 && memcmp(r->at, "true", 4) == 0) {
        lua_pushboolean(r->L, 1);
        r->at += 4;
    } else if (left >= 5 && memcmp(r->at, "false", 5) == 0) {
        lua_pushboolean(r->L, 0);
        r->at += 5;
    } else {
        json_number(r);
    }
    if (nested) r->depth--;
}

void json_push(lua_State *L, struct weir_str json)
{
    struct json_reader r = { .at = json.ptr, .end = json.ptr + json.len, .L = L };
    json_value(&r);
}

/* ---- Lua to JSON ---- */

static bool json_wrong(struct conv *c, const char *text)
{
    snprintf(c->rule, sizeof(c->rule), "type");
    c->path[0] = 0;
    snprintf(c->text, sizeof(c->text), "%s", text);
    return false;
}

/* The shortest of the forms that reads back as the same number. */
static void number_write(double x, struct buf *out)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    buf_add_text(out, text);
}

static bool json_take_number(struct conv *c, double x, struct buf *out)
{
    if (!isfinite(x)) return json_wrong(c, "a number that is not finite cannot be JSON");
    if (x == floor(x) && fabs(x) <= (double)WEIR_INT_MAX) {
        char digits[INT_TEXT_MAX];
        buf_add(out, digits, int_text((int64_t)x, digits));
    } else {
        number_write(x, out);
    }
    return true;
}

/* A table that is neither 1..n nor has names only. */
static bool json_refuse_table(struct conv *c, lua_State *L, int idx)
{
    bool names = false, places = true;
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        double n = lua_tonumber(L, -2);
        if (lua_type(L, -2) == LUA_TSTRING) names = true;
        else places = places && lua_type(L, -2) == LUA_TNUMBER && n >= 1 && n == floor(n);
    }
    if (names) return json_wrong(c, "a table with both names and numbers cannot be JSON");
    if (!places) return json_wrong(c, "a table whose keys are not names, nor 1..n, cannot be JSON");
    return json_wrong(c,
                      "a list with a hole cannot be JSON: nil, as which null is read, has no place "
                      "in a list");
}

static bool json_take_list(struct conv *c, lua_State *L, int idx, size_t count, struct buf *out,
                           unsigned depth)
{
    buf_add_byte(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0) buf_add_byte(out, ',');
        element_push(L, idx, i);
        if (lua_isnil(L, -1) && lua_istable(L, idx)) return json_refuse_table(c, L, idx);
        if (!json_take(c, L, lua_gettop(L), out, depth + 1)) return false;
        lua_pop(L, 1);
    }
    buf_add_byte(out, ']');
    return true;
}

static int text_order(const void *a, const void *b)
{
    return str_cmp(*(const struct weir_str *)a, *(const struct weir_str *)b);
}

/* Names in order, so that equal tables give equal bytes. */
static bool json_take_object(struct conv *c, lua_State *L, int idx, size_t count, struct buf *out,
                             unsigned depth)
{
    struct weir_str *names = lua_newuserdata(L, (count + 1) * sizeof(*names));
    size_t i = 0;
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || i == count) return json_refuse_table(c, L, idx);
        names[i].ptr = lua_tolstring(L, -2, &names[i].len);
        i++;
    }
    qsort(names, i, sizeof(*names), text_order);
    buf_add_byte(out, '{');
    for (size_t n = 0; n < i; n++) {
        if (!str_is_utf8(names[n])) return json_wrong(c, "a name that is not UTF-8 cannot be JSON");
        if (n > 0) buf_add_byte(out, ',');
        json_write_text(out, names[n]);
        buf_add_byte(out, ':');
        lua_pushlstring(L, names[n].ptr, names[n].len);
        lua_rawget(L, idx);
        if (!json_take(c, L, lua_gettop(L), out, depth + 1)) return false;
        lua_pop(L, 1);
    }
    buf_add_byte(out, '}');
    lua_pop(L, 1);
    return true;
}

/* A copy of the table at idx on top, with null where the array or object that it was read from had null and it has nothing; 0
 * for an array, else the names. */
static void nulls_push(lua_State *L, int idx, int mark, size_t count)
{
    lua_newtable(L);
    int copy = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, idx) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, copy);
    }
    for (size_t i = 1; i <= count; i++) {
        if (mark != 0) lua_rawgeti(L, mark, (int)i);
        else lua_pushinteger(L, (lua_Integer)i);
        lua_pushvalue(L, -1);
        lua_rawget(L, copy);
        bool there = !lua_isnil(L, -1);
        lua_pop(L, 1);
        lua_pushlightuserdata(L, NULL);
        if (there) lua_pop(L, 2);
        else lua_rawset(L, copy);
    }
}

static bool json_take_plain(struct conv *c, lua_State *L, int idx, struct buf *out, unsigned depth)
{
    size_t keys = 0, count = lua_objlen(L, idx);
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) keys++;
    if (keys > JSON_ITEMS_MAX)
        return json_wrong(c, "a table of more than 100000 entries is too large for JSON");
    if (keys == count) return json_take_list(c, L, idx, count, out, depth);
    return json_take_object(c, L, idx, keys, out, depth);
}

/* The same of a table with a mark, which is on top and goes. */
static bool json_take_marked(struct conv *c, lua_State *L, int idx, int type, struct buf *out,
                             unsigned depth)
{
    int mark = lua_gettop(L);
    luaL_checkstack(L, 16, "JSON");
    size_t count = type == LUA_TNUMBER ? (size_t)lua_tointeger(L, mark) : lua_objlen(L, mark);
    if (count > 0) {
        nulls_push(L, idx, type == LUA_TNUMBER ? 0 : mark, count);
        idx = mark + 1;
    } else {
        lua_pushnil(L);
        if (lua_next(L, idx) == 0) {
            buf_add_text(out, "{}");
            lua_settop(L, mark - 1);
            return true;
        }
    }
    bool fine = json_take_plain(c, L, idx, out, depth);
    if (fine) lua_settop(L, mark - 1);
    return fine;
}

static bool json_take_table(struct conv *c, lua_State *L, int idx, struct buf *out, unsigned depth)
{
    int type = c->alike ? LUA_TNIL : mark_push(L, idx);
    return type == LUA_TNIL ? json_take_plain(c, L, idx, out, depth)
                            : json_take_marked(c, L, idx, type, out, depth);
}

static bool json_take_userdata(struct conv *c, lua_State *L, int idx, struct buf *out,
                               unsigned depth)
{
    struct weir_str key;
    if (handle_get(L, idx, &key) != NULL) {
        json_write_text(out, key);
        return true;
    }
    if (ud_test(L, idx, UD_LIST) != NULL)
        return json_take_list(c, L, idx, list_live(L, idx)->list->count, out, depth);
    if (ud_test(L, idx, UD_RECORD) != NULL) {
        struct ud_record *record = record_live(L, idx);
        record_push(L, record->shape, record->base);
        bool fine = json_take_table(c, L, lua_gettop(L), out, depth);
        lua_pop(L, 1);
        return fine;
    }
    return json_wrong(c, "a library, type or map cannot be JSON");
}

bool json_take(struct conv *c, lua_State *L, int idx, struct buf *out, unsigned depth)
{
    int type = lua_type(L, idx);
    if (depth >= JSON_DEPTH_MAX && (type == LUA_TTABLE || type == LUA_TUSERDATA))
        return json_wrong(c, "a table nested deeper than 64 cannot be JSON (or it holds itself)");
    if (out->len > JSON_BYTES_MAX) return json_wrong(c, "JSON of more than 1 MiB");
    luaL_checkstack(L, 10, "JSON");
    switch (type) {
    case LUA_TNIL:
    case LUA_TNONE: buf_add_text(out, "null"); return true;
    case LUA_TBOOLEAN: buf_add_text(out, lua_toboolean(L, idx) ? "true" : "false"); return true;
    case LUA_TNUMBER: return json_take_number(c, lua_tonumber(L, idx), out);
    case LUA_TSTRING: {
        struct weir_str text;
        text.ptr = lua_tolstring(L, idx, &text.len);
        if (!str_is_utf8(text)) return json_wrong(c, "a text that is not UTF-8 cannot be JSON");
        json_write_text(out, text);
        return true;
    }
    case LUA_TLIGHTUSERDATA: buf_add_text(out, "null"); return true; /* nulls_push() */
    case LUA_TTABLE: return json_take_table(c, L, idx, out, depth);
    case LUA_TUSERDATA: return json_take_userdata(c, L, idx, out, depth);
    default: return json_wrong(c, "a function or routine cannot be JSON");
    }
}
