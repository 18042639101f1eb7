/*
 * lua_types.c - declarations: types, entities, services, handlers, settings.
 *
 * A type in Lua is a table with a metatable of ours, an entity type its object, a record a plain table. They
 * become shapes in the catalog's arena. Fields are ordered by name, since Lua's tables have no order. A vm
 * that binds goes the same way, with shapes of its own that it forgets: what it is after are the functions,
 * which it knows by their names ("account:deposit", "account.balance").
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TYPE_META "weir.type"
#define KIND_MAP 100
#define WORDS_MAX 256

const char *const lua_kind_words[] = { "nothing", "int",  "float",    "bool",     "text", "bytes",
                                       "time",    "enum", "a handle", "a record", "list", "any" };

/* ---- errors ---- */

static bool where_line(lua_State *L, lua_Debug *debug)
{
    for (int level = 0; lua_getstack(L, level, debug); level++) {
        lua_getinfo(L, "Sl", debug);
        if (debug->currentline > 0) return true;
    }
    return false;
}

struct weir_str where_called(lua_State *L, struct arena *arena)
{
    lua_Debug debug;
    if (!where_line(L, &debug)) return STR_NIL;
    return arena_printf(arena, "%s:%d", debug.short_src, debug.currentline);
}

void refuse(lua_State *L, const char *format, ...)
{
    lua_Debug debug;
    if (where_line(L, &debug)) lua_pushfstring(L, "%s:%d: ", debug.short_src, debug.currentline);
    else lua_pushliteral(L, "");
    va_list args;
    va_start(args, format);
    char text[480];
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    lua_pushstring(L, text);
    lua_concat(L, 2);
    lua_error(L);
    __builtin_unreachable();
}

/* ---- type values ---- */

bool is_type(lua_State *L, int idx)
{
    if (!lua_istable(L, idx) || !lua_getmetatable(L, idx)) return false;
    luaL_getmetatable(L, TYPE_META);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static void type_push(lua_State *L, int kind)
{
    lua_newtable(L);
    lua_pushinteger(L, kind);
    lua_setfield(L, -2, "kind");
    luaL_getmetatable(L, TYPE_META);
    lua_setmetatable(L, -2);
}

static int type_kind(lua_State *L, int idx)
{
    lua_getfield(L, idx, "kind");
    int kind = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return kind;
}

static const char *kind_word(int kind)
{
    return kind == KIND_MAP ? "map" : lua_kind_words[kind];
}

static void option_judge(lua_State *L, int kind, const char *name)
{
    static const char *const later[] = { "unique",    "index", "was",       "from",
                                         "on_delete", "with",  "everywhere" };
    bool bounds = kind == WEIR_INT || kind == WEIR_FLOAT || kind == WEIR_TEXT ||
                  kind == WEIR_BYTES || kind == WEIR_LIST || kind == WEIR_TIME;
    bool start = kind == WEIR_INT || kind == WEIR_FLOAT || kind == WEIR_TEXT || kind == WEIR_BOOL ||
                 kind == WEIR_ENUM;
    if (bounds && (strcmp(name, "min") == 0 || strcmp(name, "max") == 0)) return;
    if (start && strcmp(name, "default") == 0) return;
    if (kind != KIND_MAP && strcmp(name, "check") == 0) return;
    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
        if (strcmp(name, later[i]) == 0)
            refuse(L, "the option `%s` of %s comes with a later release", name, kind_word(kind));
    }
    refuse(L, "%s has no option `%s`; it has%s%s%s", kind_word(kind), name,
           bounds ? " min, max," : "", start ? " default," : "",
           kind != KIND_MAP ? " check" : " none");
}

/* A type called with a table: the same with options. */
static int type_options(lua_State *L)
{
    if (lua_gettop(L) != 2 || !lua_istable(L, 2) || is_type(L, 2))
        refuse(L, "options of a type are a table: int { min = 0 }");
    int kind = type_kind(L, 1);
    lua_newtable(L);
    for (lua_pushnil(L); lua_next(L, 1) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 3);
    }
    for (lua_pushnil(L); lua_next(L, 2) != 0;) {
        if (lua_type(L, -2) != LUA_TSTRING)
            refuse(L, "options of %s have names: { min = 0 }", kind_word(kind));
        option_judge(L, kind, lua_tostring(L, -2));
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 3);
    }
    luaL_getmetatable(L, TYPE_META);
    lua_setmetatable(L, 3);
    return 1;
}

static bool is_any_type(lua_State *L, int idx)
{
    return is_type(L, idx) || ud_test(L, idx, UD_TYPE) != NULL || lua_istable(L, idx);
}

static int type_enum(lua_State *L)
{
    if (!lua_istable(L, 1) || is_type(L, 1))
        refuse(L, "enum takes a list of words: enum { \"free\", \"held\" }");
    size_t count = lua_objlen(L, 1), keys = 0;
    for (lua_pushnil(L); lua_next(L, 1) != 0; keys++) {
        size_t len = 0;
        const char *word = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
        if (word == NULL || len == 0 || len > NAME_BYTES_MAX)
            refuse(L, "the words of an enum are texts of 1 to 64 bytes");
        lua_pop(L, 1);
    }
    if (count == 0 || count != keys || count > WORDS_MAX)
        refuse(L, "enum takes a list of 1 to %d words", WORDS_MAX);
    type_push(L, WEIR_ENUM);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "words");
    return 1;
}

static int type_list(lua_State *L)
{
    if (lua_gettop(L) != 1 || !is_any_type(L, 1)) refuse(L, "list takes one type: list(text)");
    if (is_type(L, 1) && type_kind(L, 1) == KIND_MAP)
        refuse(L, "a list cannot hold maps: make them entities");
    type_push(L, WEIR_LIST);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "element");
    return 1;
}

static int type_opt(lua_State *L)
{
    if (lua_gettop(L) != 1 || !is_any_type(L, 1)) refuse(L, "opt takes one type: opt(int)");
    if (ud_test(L, 1, UD_TYPE) != NULL) {
        type_push(L, WEIR_REF);
        lua_pushvalue(L, 1);
        lua_setfield(L, -2, "entity");
    } else if (!is_type(L, 1)) {
        refuse(L, "a record cannot be opt: it has no nil; make its fields opt");
    } else {
        int kind = type_kind(L, 1);
        if (kind == WEIR_LIST || kind == KIND_MAP || kind == WEIR_BOOL)
            refuse(L, "a %s cannot be opt: it has no nil%s", kind_word(kind),
                   kind == WEIR_BOOL ? "; use an enum" : "");
        lua_newtable(L);
        for (lua_pushnil(L); lua_next(L, 1) != 0;) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -4);
        }
        luaL_getmetatable(L, TYPE_META);
        lua_setmetatable(L, -2);
    }
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "optional");
    return 1;
}

static int map_type_make(lua_State *L)
{
    if (lua_gettop(L) != 2 || !is_any_type(L, 1) || !is_any_type(L, 2))
        refuse(L, "map takes the type of its key and of its value: map(int, { at = time })");
    type_push(L, KIND_MAP);
    if (is_type(L, 1) || ud_test(L, 1, UD_TYPE) != NULL) {
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, 1);
        lua_rawseti(L, -2, 1);
    } else {
        lua_pushvalue(L, 1);
    }
    lua_setfield(L, -2, "keys");
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "value");
    return 1;
}

/* ---- shapes ---- */

static void path_add(struct builder *b, const char *text)
{
    size_t len = strlen(b->path);
    snprintf(b->path + len, sizeof(b->path) - len, "%s", text);
}

static struct shape *scalar_build(struct builder *b, lua_State *L, int idx);

static bool option_get(lua_State *L, int idx, const char *name)
{
    lua_pushstring(L, name);
    lua_rawget(L, idx);
    if (!lua_isnil(L, -1)) return true;
    lua_pop(L, 1);
    return false;
}

static void bound_build(struct builder *b, lua_State *L, int idx, struct field *f, const char *name,
                        bool *has, int64_t *n, double *x)
{
    if (!option_get(L, idx, name)) return;
    if (lua_type(L, -1) != LUA_TNUMBER) refuse(L, "%s: `%s` is a number", b->path, name);
    double value = lua_tonumber(L, -1);
    bool whole = value == floor(value) && fabs(value) <= (double)WEIR_INT_MAX;
    if (f->kind != WEIR_FLOAT && !whole) refuse(L, "%s: `%s` is a whole number", b->path, name);
    if (!isfinite(value)) refuse(L, "%s: `%s` is a finite number", b->path, name);
    bool length = f->kind == WEIR_TEXT || f->kind == WEIR_BYTES || f->kind == WEIR_LIST;
    if (length && value < 0) refuse(L, "%s: `%s` bounds a length: 0 or more", b->path, name);
    if (f->kind == WEIR_LIST && value > SHAPE_LIST_MAX)
        refuse(L, "%s: `%s` is at most %u: a list holds no more, a map does", b->path, name,
               SHAPE_LIST_MAX);
    *has = true;
    *n = whole ? (int64_t)value : (int64_t)fmax(fmin(value, 9e15), -9e15);
    *x = value;
    lua_pop(L, 1);
}

static void start_build(struct builder *b, lua_State *L, int idx, struct field *f)
{
    if (!option_get(L, idx, "default")) return;
    char at[16] __attribute__((aligned(16))) = { 0 };
    struct conv conv = { .arena = b->arena, .vm = b->vm };
    struct field one = *f;
    one.offset = 0;
    one.optional = false;
    if (!value_read(&conv, L, lua_gettop(L), &one, at))
        refuse(L, "%s: default: %s", b->path, conv.text);
    f->has_start = true;
    if (f->kind == WEIR_FLOAT) memcpy(&f->start_float, at, sizeof(double));
    else if (f->kind == WEIR_TEXT) memcpy(&f->start_text, at, sizeof(struct weir_str));
    else if (f->kind == WEIR_BOOL) f->start_int = at[0] != 0;
    else f->start_int = int_load(&one, (const char *)at + one.offset);
    lua_pop(L, 1);
}

/* A field without a default may start outside its bounds: a `create` that fills it is right. A default that its own rule refuses
 * is right nowhere. */
static void start_judge(const struct builder *b, lua_State *L, const struct field *f)
{
    if (!f->has_start || (f->kind != WEIR_INT && f->kind != WEIR_FLOAT && f->kind != WEIR_TEXT))
        return;
    double start = f->kind == WEIR_TEXT    ? (double)f->start_text.len
                   : f->kind == WEIR_FLOAT ? f->start_float
                                           : (double)f->start_int;
    bool below = f->has_min && start < f->float_min;
    if (below || (f->has_max && start > f->float_max))
        refuse(L, "%s: the default is %s", b->path, below ? "below min" : "above max");
}

static void words_build(struct builder *b, lua_State *L, int idx, struct field *f)
{
    lua_getfield(L, idx, "words");
    f->word_count = (uint32_t)lua_objlen(L, -1);
    struct weir_str *words = arena_alloc(b->arena, f->word_count * sizeof(*words));
    for (uint32_t i = 0; i < f->word_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        size_t len;
        const char *word = lua_tolstring(L, -1, &len);
        words[i] = arena_copy(b->arena, (struct weir_str){ word, len });
        for (uint32_t j = 0; j < i; j++) {
            if (str_eq(words[i], words[j]))
                refuse(L, "%s: the enum has the word `%s` twice", b->path, word);
        }
        lua_pop(L, 1);
    }
    f->words = words;
    lua_pop(L, 1);
}

struct lua_code *code_new(struct builder *b, lua_State *L, const char *name)
{
    uint32_t number = function_number(b->vm, name);
    if (number == UINT32_MAX) refuse(L, "%s was not there when the application was declared", name);
    struct lua_code *code = arena_alloc(b->arena, sizeof(*code));
    code->app = b->vm->app;
    code->function = number;
    return code;
}

static void check_build(struct builder *b, lua_State *L, int idx, struct field *f)
{
    if (!option_get(L, idx, "check")) return;
    if (!lua_isfunction(L, -1) || lua_iscfunction(L, -1))
        refuse(L, "%s: `check` is a function of the value", b->path);
    struct lua_code *code = code_new(b, L, b->path);
    code->field = f;
    function_keep(L, code->function);
    f->check = rule_field;
    f->check_arg = code;
}

static uint32_t int_size(enum weir_kind kind)
{
    switch (kind) {
    case WEIR_BOOL: return sizeof(bool);
    case WEIR_TEXT:
    case WEIR_BYTES:
    case WEIR_ANY:
    case WEIR_REF: return sizeof(struct weir_str);
    case WEIR_LIST: return sizeof(struct weir_list);
    default: return 8;
    }
}

static void ref_build(struct builder *b, lua_State *L, const struct lua_type *type, struct field *f)
{
    if (type->service)
        refuse(L, "%s: `%s` is a service and no type of a value", b->path, type->name);
    f->kind = WEIR_REF;
    f->size = sizeof(struct weir_ref);
    f->type = arena_copy(b->arena, str_of(type->name));
}

/* Records and lists count alike, as they do in C: whatever walks a value calls itself for each. */
static void depth_enter(struct builder *b, lua_State *L)
{
    if (++b->depth > SHAPE_DEPTH_MAX)
        refuse(L, "%s: types nested deeper than %u: records and lists", b->path, SHAPE_DEPTH_MAX);
}

/* The type at idx into the field, whose name and id are set. */
static void field_build(struct builder *b, lua_State *L, int idx, struct field *f)
{
    idx = idx < 0 ? lua_gettop(L) + 1 + idx : idx;
    luaL_checkstack(L, 20, "types");
    struct ud_type *entity = ud_test(L, idx, UD_TYPE);
    if (entity != NULL) {
        ref_build(b, L, entity->type, f);
        return;
    }
    if (lua_isfunction(L, idx))
        refuse(L, "%s: a function is no type; list, opt, enum and map take theirs: list(text)",
               b->path);
    if (!lua_istable(L, idx))
        refuse(L, "%s: expected a type, got %s", b->path, luaL_typename(L, idx));
    if (!is_type(L, idx)) {
        f->kind = WEIR_RECORD;
        f->shape = shape_build(b, L, idx);
        f->size = f->shape->size;
        return;
    }
    int kind = type_kind(L, idx);
    if (kind == KIND_MAP) refuse(L, "%s: a map belongs among the fields of an entity", b->path);
    f->kind = (enum weir_kind)kind;
    f->size = int_size(f->kind);
    f->optional = option_get(L, idx, "optional");
    if (f->optional) lua_pop(L, 1);
    if (kind == WEIR_REF) {
        lua_getfield(L, idx, "entity");
        ref_build(b, L, ((struct ud_type *)lua_touserdata(L, -1))->type, f);
        lua_pop(L, 1);
        check_build(b, L, idx, f);
        return;
    }
    if (kind == WEIR_ENUM) words_build(b, L, idx, f);
    if (kind == WEIR_LIST) {
        lua_getfield(L, idx, "element");
        size_t len = strlen(b->path);
        path_add(b, "[]");
        f->shape = !is_type(L, -1) && lua_istable(L, -1) ? shape_build(b, L, lua_gettop(L))
                                                         : scalar_build(b, L, lua_gettop(L));
        b->path[len] = 0;
        lua_pop(L, 1);
    }
    bound_build(b, L, idx, f, "min", &f->has_min, &f->min, &f->float_min);
    bound_build(b, L, idx, f, "max", &f->has_max, &f->max, &f->float_max);
    if (f->has_min && f->has_max && f->float_min > f->float_max)
        refuse(L, "%s: min is above max", b->path);
    start_build(b, L, idx, f);
    start_judge(b, L, f);
    check_build(b, L, idx, f);
}

static struct shape *scalar_build(struct builder *b, lua_State *L, int idx)
{
    if (!is_type(L, idx) && lua_istable(L, idx)) return shape_build(b, L, idx);
    depth_enter(b, L);
    struct shape *shape = arena_alloc(b->arena, sizeof(*shape));
    shape->fields = arena_alloc(b->arena, sizeof(struct field));
    shape->count = 1;
    shape->scalar = true;
    shape->fields[0].name = STR("");
    shape->fields[0].id = 1;
    field_build(b, L, idx, &shape->fields[0]);
    shape_layout(shape);
    b->depth--;
    return shape;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of a table's fields, in order, in the arena. */
static const char **names_sorted(struct builder *b, lua_State *L, int idx, uint32_t *count)
{
    *count = 0;
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            refuse(L, "%s: fields have names: { street = text }", b->path);
        ++*count;
    }
    if (*count > SHAPE_FIELDS_MAX) refuse(L, "%s: more than %u fields", b->path, SHAPE_FIELDS_MAX);
    const char **names = arena_alloc(b->arena, (*count + 1) * sizeof(*names));
    uint32_t i = 0;
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        size_t len;
        const char *name = lua_tolstring(L, -2, &len);
        if (!name_is_fit(name, len))
            refuse(L,
                   "%s: `%.80s` is no name for a field: a letter, then letters, digits and _, at "
                   "most %u",
                   b->path, name, NAME_BYTES_MAX);
        names[i++] = arena_cstr(b->arena, (struct weir_str){ name, len });
    }
    qsort(names, *count, sizeof(*names), name_order);
    return names;
}

struct shape *shape_build(struct builder *b, lua_State *L, int idx)
{
    depth_enter(b, L);
    struct shape *shape = arena_alloc(b->arena, sizeof(*shape));
    const char **names = names_sorted(b, L, idx, &shape->count);
    shape->fields = arena_alloc(b->arena, (shape->count + 1) * sizeof(struct field));
    for (uint32_t i = 0; i < shape->count; i++) {
        struct field *f = &shape->fields[i];
        f->name = str_of(names[i]);
        f->id = i + 1;
        size_t len = strlen(b->path);
        path_add(b, ".");
        path_add(b, names[i]);
        lua_getfield(L, idx, names[i]);
        field_build(b, L, lua_gettop(L), f);
        lua_pop(L, 1);
        b->path[len] = 0;
    }
    shape_layout(shape);
    b->depth--;
    return shape;
}

/* ---- entities and services ---- */

struct type *type_resolve(struct vm *vm, struct lua_type *type)
{
    if (vm->app->catalog == NULL) return NULL;
    if (type->type == NULL)
        type->type = catalog_type(vm->app->catalog,
                                  (struct weir_str){ type->name, type->name_len });
    if (type->type != NULL && !vm->declaring && !type->form_known) {
        type->form = type->type->key;
        type->form_known = true;
    }
    return type->type;
}

struct lua_type *type_known(const struct vm *vm, struct weir_str name)
{
    struct lua_type *type = vm->types;
    while (type != NULL && !str_eq(name, (struct weir_str){ type->name, type->name_len }))
        type = type->next;
    return type;
}

struct lua_type *type_named(lua_State *L, const char *name, size_t len, bool service)
{
    struct vm *vm = vm_of(L);
    struct lua_type *type = type_known(vm, (struct weir_str){ name, len });
    if (type != NULL && type->service != service)
        refuse(L, "`%s` is both an entity and a service: names of types are global", name);
    if (type != NULL) return type;
    type = mem_alloc(sizeof(*type));
    type->name = arena_cstr(&vm->arena, (struct weir_str){ name, len });
    type->name_len = len;
    type->service = service;
    type->object = type->handle_meta = type->self_meta = LUA_NOREF;
    type->once_meta = type->once_maker = LUA_NOREF;
    type->next = vm->types;
    vm->types = type;
    struct ud_type *object = lua_newuserdata(L, sizeof(*object));
    *object = (struct ud_type){ .tag = UD_TYPE, .type = type };
    luaL_getmetatable(L, "weir.entity");
    lua_setmetatable(L, -2);
    type->object = luaL_ref(L, LUA_REGISTRYINDEX);
    type_metatables(L, type);
    return type;
}

void name_judge(lua_State *L, const char *what, const char *name, size_t len)
{
    static const char *const reserved[] = { "streams", "requests", "sql",  "metrics", "livez",
                                            "readyz",  "openapi",  "weir", "parked" };
    if (!name_is_fit(name, len))
        refuse(L, "`%.80s` is no name for %s: a letter, then letters, digits and _, at most %u",
               name, what, NAME_BYTES_MAX);
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strcmp(name, reserved[i]) == 0)
            refuse(L, "the name `%s` is the server's: take another for %s", name, what);
    }
}

void need_file_level(lua_State *L, const char *what)
{
    if (!vm_of(L)->loading) refuse(L, "%s belongs to the file level, not into handlers", what);
}

struct arena *builder_arena(struct vm *vm)
{
    return vm->declaring ? &vm->app->catalog->arena : &vm->arena;
}

static void map_build(struct builder *b, lua_State *L, int idx, struct map_def *map)
{
    lua_getfield(L, idx, "keys");
    int keys = lua_gettop(L);
    map->key_count = (uint32_t)lua_objlen(L, keys);
    if (map->key_count == 0 || map->key_count > WEIR_KEY_PARTS_MAX)
        refuse(L, "%s: a map's key has 1 to %d parts", b->path, WEIR_KEY_PARTS_MAX);
    for (uint32_t i = 0; i < map->key_count; i++) {
        struct field part = { .name = STR("") };
        lua_rawgeti(L, keys, (int)i + 1);
        field_build(b, L, lua_gettop(L), &part);
        lua_pop(L, 1);
        switch (part.kind) {
        case WEIR_INT:
        case WEIR_TEXT:
        case WEIR_TIME:
        case WEIR_ENUM:
        case WEIR_BOOL:
        case WEIR_REF: break;
        default:
            refuse(L, "%s: %s cannot be part of a map's key", b->path, lua_kind_words[part.kind]);
        }
        if (part.optional) refuse(L, "%s: a part of a map's key cannot be opt", b->path);
        map->key[i] = part.kind;
        map->key_type[i] = part.type;
        map->key_words[i] = part.words;
        map->key_word_count[i] = part.word_count;
    }
    lua_getfield(L, idx, "value");
    map->value = scalar_build(b, L, lua_gettop(L));
    lua_pop(L, 2);
}

/* Splits the fields table at idx into the row's fields (left on the stack as a new table) and maps. */
static void fields_split(struct builder *b, lua_State *L, int idx, struct type *type)
{
    uint32_t count;
    const char **names = names_sorted(b, L, idx, &count);
    lua_newtable(L);
    int rest = lua_gettop(L);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(names[i], "key") == 0)
            refuse(L, "%s: `key` is the entity's own key: name the field otherwise", b->path);
        lua_getfield(L, idx, names[i]);
        if (is_type(L, -1) && type_kind(L, -1) == KIND_MAP) {
            struct map_def map = { .name = str_of(names[i]) };
            size_t len = strlen(b->path);
            path_add(b, ".");
            path_add(b, names[i]);
            map_build(b, L, lua_gettop(L), &map);
            b->path[len] = 0;
            if (type != NULL && catalog_add_map(b->vm->app->catalog, type, &map) == NULL)
                refuse(L, "%s: the map `%s` is there already", b->path, names[i]);
            lua_pop(L, 1);
        } else {
            lua_setfield(L, rest, names[i]);
        }
    }
}

static void entity_options(struct builder *b, lua_State *L, int idx, struct lua_type *lt,
                           struct type *type, const struct shape *row)
{
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, "key") == 0) {
            if (lua_type(L, -1) != LUA_TSTRING)
                refuse(L, "%s: `key` is a text: key = \"{w}:i\"", b->path);
            const char *why = "";
            struct weir_str text = arena_copy(b->arena, str_of(lua_tostring(L, -1)));
            if (!key_form_parse(b->arena, text, row, &lt->form, &why))
                refuse(L, "%s: key: %s", b->path, why);
            lt->form_known = true;
            if (type != NULL) {
                type->key_text = text;
                type->key = lt->form;
            }
        } else if (strcmp(name, "check") == 0) {
            if (!lua_isfunction(L, -1) || lua_iscfunction(L, -1))
                refuse(L, "%s: `check` is a function of the row", b->path);
            struct lua_code *code = code_new(b, L, b->path);
            lua_pushvalue(L, -1);
            function_keep(L, code->function);
            if (type != NULL) {
                type->check = rule_row;
                type->check_arg = code;
            }
        } else if (strcmp(name, "everywhere") == 0 || strcmp(name, "unique") == 0) {
            refuse(L, "the option `%s` of an entity comes with a later release", name);
        } else {
            refuse(L, "%s: an entity has no option `%s`; it has key and check", b->path, name);
        }
    }
}

static void entity_declare(lua_State *L, struct lua_type *lt)
{
    struct vm *vm = vm_of(L);
    struct builder b = { .vm = vm, .arena = builder_arena(vm) };
    snprintf(b.path, sizeof(b.path), "%s", lt->name);
    struct type *type = NULL;
    if (lt->declared) refuse(L, "the entity `%s` is declared twice", lt->name);
    lt->declared = true;
    if (vm->declaring) {
        type = catalog_add_type(vm->app->catalog, (struct weir_str){ lt->name, lt->name_len },
                                false);
        if (type == NULL)
            refuse(L, "the type `%s` is there already: names are global over all files", lt->name);
        type->at = where_called(L, b.arena);
        type->row = arena_alloc(b.arena, sizeof(*type->row));
        lt->type = type;
    }
    fields_split(&b, L, 2, type);
    struct shape *row = shape_build(&b, L, lua_gettop(L));
    if (type != NULL) type->row = row;
    lua_pop(L, 1);
    if (!lua_isnoneornil(L, 3)) {
        if (!lua_istable(L, 3)) refuse(L, "%s: the options of an entity are a table", lt->name);
        entity_options(&b, L, 3, lt, type, row);
    }
    lt->form_known = true;
}

static int weir_entity_lua(lua_State *L)
{
    need_file_level(L, "weir.entity");
    size_t len;
    if (lua_type(L, 1) != LUA_TSTRING)
        refuse(L, "weir.entity takes a name: weir.entity(\"account\", { balance = int })");
    const char *name = lua_tolstring(L, 1, &len);
    name_judge(L, "an entity", name, len);
    lua_settop(L, 3);
    struct lua_type *type = type_named(L, name, len, false);
    if (!lua_isnil(L, 2)) {
        if (!lua_istable(L, 2) || is_type(L, 2))
            refuse(L, "%s: the fields of an entity are a table", name);
        entity_declare(L, type);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, type->object);
    return 1;
}

static int weir_service_lua(lua_State *L)
{
    need_file_level(L, "weir.service");
    size_t len;
    if (lua_type(L, 1) != LUA_TSTRING || lua_gettop(L) != 1)
        refuse(L, "weir.service takes a name: weir.service \"shop\"");
    const char *name = lua_tolstring(L, 1, &len);
    name_judge(L, "a service", name, len);
    struct lua_type *lt = type_named(L, name, len, true);
    struct vm *vm = vm_of(L);
    if (vm->declaring && !lt->declared) {
        struct catalog *catalog = vm->app->catalog;
        struct type *type = catalog_add_type(catalog, (struct weir_str){ lt->name, lt->name_len },
                                             true);
        if (type == NULL)
            refuse(L, "the type `%s` is there already: names are global over all files", name);
        type->at = where_called(L, &catalog->arena);
        if (type->row == NULL) type->row = arena_alloc(&catalog->arena, sizeof(*type->row));
        lt->type = type;
    }
    lt->declared = true;
    lua_rawgeti(L, LUA_REGISTRYINDEX, lt->object);
    return 1;
}

/* ---- handlers ---- */

static struct weir_str parameter_name(struct builder *b, lua_State *L, int function, uint32_t i)
{
    lua_pushvalue(L, function);
    const char *name = lua_getlocal(L, NULL, (int)i + 2);
    struct weir_str text = name != NULL && name_is_fit(name, strlen(name))
                               ? arena_copy(b->arena, str_of(name))
                               : arena_printf(b->arena, "arg%u", i + 1);
    lua_pop(L, 1);
    return text;
}

static struct shape *parameters_build(struct builder *b, lua_State *L, int signature, int function)
{
    struct shape *shape = arena_alloc(b->arena, sizeof(*shape));
    shape->count = (uint32_t)lua_objlen(L, signature);
    if (shape->count > SHAPE_FIELDS_MAX)
        refuse(L, "%s: more than %u parameters", b->path, SHAPE_FIELDS_MAX);
    shape->fields = arena_alloc(b->arena, (shape->count + 1) * sizeof(struct field));
    for (uint32_t i = 0; i < shape->count; i++) {
        struct field *f = &shape->fields[i];
        f->id = i + 1;
        f->name = parameter_name(b, L, function, i);
        for (uint32_t j = 0; j < i; j++) {
            if (str_eq(shape->fields[j].name, f->name))
                f->name = arena_printf(b->arena, "arg%u", i + 1);
        }
        size_t len = strlen(b->path);
        char part[24];
        snprintf(part, sizeof(part), "/%u", i + 1);
        path_add(b, part);
        lua_rawgeti(L, signature, (int)i + 1);
        field_build(b, L, lua_gettop(L), f);
        lua_pop(L, 1);
        b->path[len] = 0;
    }
    lua_pushvalue(L, function);
    const char *more = lua_getlocal(L, NULL, (int)shape->count + 2);
    if (more != NULL)
        refuse(L, "%s: the parameter `%s` has no type in the signature", b->path, more);
    lua_pop(L, 1);
    shape_layout(shape);
    return shape;
}

static void signature_judge(struct builder *b, lua_State *L, int signature, struct handler *handler)
{
    size_t count = lua_objlen(L, signature), positions = 0;
    for (lua_pushnil(L); lua_next(L, signature) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TNUMBER) {
            positions++;
            continue;
        }
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        if (strcmp(name, "returns") == 0) continue;
        if (strcmp(name, "allow") != 0)
            refuse(L, "%s: a signature has no `%s`; it has types in order, returns and allow",
                   b->path, name);
        size_t len;
        const char *role = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &len) : NULL;
        if (role == NULL || !name_is_fit(role, len))
            refuse(L, "%s: `allow` is \"anyone\" or a role", b->path);
        handler->allow = arena_copy(b->arena, str_of(role));
    }
    if (positions != count)
        refuse(L, "%s: a parameter's type is nil: is its name misspelt?", b->path);
}

static struct shape *result_build(struct builder *b, lua_State *L, int signature)
{
    size_t len = strlen(b->path);
    path_add(b, "/returns");
    if (!option_get(L, signature, "returns")) type_push(L, WEIR_ANY);
    struct shape *shape = scalar_build(b, L, lua_gettop(L));
    lua_pop(L, 1);
    b->path[len] = 0;
    return shape;
}

/* account:on("deposit", { int }, function(self, amount) ... end); upvalue 1: the kind. */
static int handler_add(lua_State *L)
{
    struct vm *vm = vm_of(L);
    enum weir_verb_kind kind = (enum weir_verb_kind)lua_tointeger(L, lua_upvalueindex(1));
    const char *verb = kind == WEIR_ON ? "on" : kind == WEIR_QUERY ? "query" : "create";
    need_file_level(L, verb);
    struct ud_type *object = ud_test(L, 1, UD_TYPE);
    if (object == NULL)
        refuse(L, "write account:%s(\"name\", { types }, function), with a colon", verb);
    struct lua_type *lt = object->type;
    if (lua_type(L, 2) != LUA_TSTRING || !lua_istable(L, 3) || is_type(L, 3) ||
        !lua_isfunction(L, 4) || lua_iscfunction(L, 4))
        refuse(L,
               "%s:%s takes a name, a signature and a function: %s:%s(\"name\", { int }, "
               "function(self, n) ... end)",
               lt->name, verb, lt->name, verb);
    size_t len;
    const char *name = lua_tolstring(L, 2, &len);
    struct builder b = { .vm = vm, .arena = builder_arena(vm) };
    snprintf(b.path, sizeof(b.path), "%s:%s", lt->name, name);
    if (!name_is_fit(name, len) || strcmp(name, "key") == 0)
        refuse(L,
               "`%.80s` is no name for a handler: a letter, then letters, digits and _, at most "
               "%u, and not `key`",
               name, NAME_BYTES_MAX);
    if (lt->service && kind == WEIR_CREATE)
        refuse(L, "%s: a service has no entity to create", b.path);
    if (!lt->declared)
        refuse(L, "%s: declare the entity before its handlers, in this file", b.path);
    struct handler handler = { .name = { name, len }, .kind = kind, .runtime = &vm->app->runtime };
    signature_judge(&b, L, 3, &handler);
    int more = vm->declaring ? function_returns_more(L, 4) : 0;
    if (more != 0)
        refuse(L,
               "%s returns more than one value, in line %d: a handler has one result; put them in "
               "a table, return { a, b }",
               b.path, more);
    handler.args = parameters_build(&b, L, 3, 4);
    handler.result = result_build(&b, L, 3);
    struct lua_code *code = code_new(&b, L, b.path);
    code->lends = function_lends(L, 4);
    handler.code = code;
    handler.at = where_called(L, b.arena);
    if (vm->declaring && !lt->stand_in) {
        if (catalog_add_handler(vm->app->catalog, lt->type, &handler) == NULL)
            refuse(L, "%s is declared twice", b.path);
        if (kind == WEIR_CREATE) lt->type->has_create = true;
    }
    lua_pushvalue(L, 4);
    function_keep(L, code->function);
    vm->owners[code->function] = lt;
    return 0;
}

/* ---- settings ---- */

const char *setting_find(struct vm *vm, const char *name)
{
    const struct lua_app *app = vm->app;
    size_t len = strlen(name);
    const char *found = NULL;
    for (size_t i = 0; app->settings[i] != NULL; i++) {
        const char *at = app->settings[i];
        if (strncmp(at, name, len) != 0 || at[len] != '=') continue;
        found = at + len + 1;
        if (vm->declaring) app->settings_asked[i] = true; /* shards bind at the same time */
    }
    return found;
}

bool lua_app_setting_unasked(const struct lua_app *app, char *name, size_t name_bytes)
{
    for (size_t i = 0; app->settings[i] != NULL; i++) {
        const char *at = app->settings[i];
        if (app->settings_asked[i] || strcmp(at, "weir.jit=off") == 0) continue;
        snprintf(name, name_bytes, "%.*s", (int)strcspn(at, "="), at);
        return true;
    }
    return false;
}

/* weir.setting("hold", text { default = "15m" }) */
static int weir_setting(lua_State *L)
{
    struct vm *vm = vm_of(L);
    need_file_level(L, "weir.setting");
    if (lua_type(L, 1) != LUA_TSTRING || !is_type(L, 2))
        refuse(L, "weir.setting takes a name and a type: weir.setting(\"hold\", text)");
    struct builder b = { .vm = vm, .arena = &vm->arena };
    snprintf(b.path, sizeof(b.path), "setting `%s`", lua_tostring(L, 1));
    int kind = type_kind(L, 2);
    if (kind != WEIR_INT && kind != WEIR_FLOAT && kind != WEIR_BOOL && kind != WEIR_TEXT &&
        kind != WEIR_ENUM)
        refuse(L, "%s: a setting is int, float, bool, text or enum", b.path);
    struct shape *shape = scalar_build(&b, L, 2);
    void *value = arena_alloc(b.arena, shape->size + 8u);
    const char *text = setting_find(vm, lua_tostring(L, 1));
    if (text == NULL) {
        if (!shape->fields[0].has_start)
            refuse(L, "%s has no default and is not set: --set %s=...", b.path, lua_tostring(L, 1));
        shape_start(shape, value);
    } else {
        struct problem problem = { 0 };
        struct weir_str copy = arena_copy(b.arena, str_of(text));
        if (field_read_text(&shape->fields[0], copy, b.arena, value, &problem) != WEIR_OK ||
            shape_judge(shape, value, false, &problem) != WEIR_OK)
            refuse(L, "%s: %s", b.path, problem.text);
    }
    value_push(L, &shape->fields[0], value);
    return 1;
}

/* ---- opening ---- */

static int type_index(lua_State *L)
{
    struct vm *vm = vm_of(L);
    struct ud_type *object = ud_test(L, 1, UD_TYPE);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    if (object == NULL) refuse(L, "no entity type");
    static const char *const verbs[] = { "", "on", "query", "create" };
    for (int kind = WEIR_ON; kind <= WEIR_CREATE && vm->loading; kind++) {
        if (strcmp(name, verbs[kind]) != 0) continue;
        lua_pushvalue(L, lua_upvalueindex(kind));
        return 1;
    }
    if (strcmp(name, "follow") == 0 && vm->loading) {
        lua_pushvalue(L, lua_upvalueindex(WEIR_CREATE + 1));
        return 1;
    }
    if (strcmp(name, "find") == 0 || strcmp(name, "scan") == 0)
        refuse(L, "%s:%s comes with a later release", object->type->name, name);
    if (!object->type->service || vm->loading) {
        refuse(L, "`%s` has no %s; handlers are called on an entity of it: %s(\"key\"):%s()",
               object->type->name, name, object->type->name, name);
    }
    if (vm->request != NULL) {
        lua_pushvalue(L, 2);
        lua_pushcclosure(L, vm->request, 1);
        return 1;
    }
    struct type *type = type_resolve(vm, object->type);
    struct handler *handler = type ? type_handler(type, str_of(name)) : NULL;
    if (handler == NULL)
        refuse(L, "the service `%s` has no handler `%s`", object->type->name, name);
    lua_pushlightuserdata(L, handler);
    lua_pushcclosure(L, handler_call, 1);
    return 1;
}

static int type_tostring(lua_State *L)
{
    struct ud_type *object = ud_test(L, 1, UD_TYPE);
    lua_pushstring(L, object ? object->type->name : "entity");
    return 1;
}

/* Every declaration goes through here: `weir check` notes a mistake and goes on. Upvalue 1: the function. */
static int declare(lua_State *L)
{
    struct vm *vm = vm_of(L);
    if (vm->test != NULL)
        refuse(L, "this is no test file but an application: a test file requires weir.test, and "
                  "names the application: t.app \"bank.lua\"");
    if (!vm->collecting) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
        return lua_gettop(L);
    }
    int args = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    for (int i = 1; i <= args; i++) lua_pushvalue(L, i);
    if (lua_pcall(L, args, LUA_MULTRET, 0) == 0) return lua_gettop(L) - args;
    if (vm->problem_count < vm->problem_max)
        problem_of(&vm->problems[vm->problem_count++], vm->source->name,
                   lua_tostring(L, -1) ? lua_tostring(L, -1) : "");
    lua_settop(L, args);
    int stand_in = (int)lua_tointeger(L, lua_upvalueindex(2));
    if (stand_in == 0) return 0;
    if (stand_in < 0) {
        size_t len = 0;
        const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
        if (name == NULL || !name_is_fit(name, len)) name = "entity", len = 6;
        if (stand_in == -3) {
            stream_push(L, (struct weir_str){ name, len });
            return 1;
        }
        for (struct lua_type *type = vm->types; type != NULL; type = type->next) {
            if (strcmp(type->name, name) == 0) {
                lua_rawgeti(L, LUA_REGISTRYINDEX, type->object);
                return 1;
            }
        }
        struct lua_type *type = type_named(L, name, len, stand_in == -2);
        type->declared = type->stand_in = true;
        lua_rawgeti(L, LUA_REGISTRYINDEX, type->object);
        return 1;
    }
    type_push(L, stand_in);
    return 1;
}

void declare_push(lua_State *L, lua_CFunction function, int upvalue, int stand_in)
{
    lua_pushinteger(L, upvalue);
    lua_pushcclosure(L, function, 1);
    lua_pushinteger(L, stand_in);
    lua_pushcclosure(L, declare, 2);
}

static void type_meta_open(lua_State *L)
{
    luaL_newmetatable(L, TYPE_META);
    declare_push(L, type_options, 0, WEIR_ANY);
    lua_setfield(L, -2, "__call");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    luaL_newmetatable(L, "weir.entity");
    for (int kind = WEIR_ON; kind <= WEIR_CREATE; kind++) declare_push(L, handler_add, kind, 0);
    declare_push(L, stream_follow, 0, 0);
    lua_pushcclosure(L, type_index, 4);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, handle_make);
    lua_setfield(L, -2, "__call");
    lua_pushcfunction(L, type_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void types_open(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction function;
        int stand_in;
    } functions[] = { { "stream", weir_stream_lua, -3 },    { "every", weir_every_lua, 0 },
                      { "window", weir_window_lua, -3 },    { "join", weir_join_lua, -3 },
                      { "outside", weir_outside_lua, -3 },  { "secret", weir_secret_lua, 0 },
                      { "enum", type_enum, WEIR_ANY },      { "list", type_list, WEIR_ANY },
                      { "opt", type_opt, WEIR_ANY },        { "map", map_type_make, WEIR_ANY },
                      { "entity", weir_entity_lua, -1 },    { "service", weir_service_lua, -2 },
                      { "setting", weir_setting, WEIR_ANY } };
    static const enum weir_kind plain[] = { WEIR_INT,   WEIR_FLOAT, WEIR_BOOL, WEIR_TEXT,
                                            WEIR_BYTES, WEIR_TIME,  WEIR_ANY };
    type_meta_open(L);
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        declare_push(L, functions[i].function, 0, functions[i].stand_in);
        lua_setfield(L, -2, functions[i].name);
    }
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        type_push(L, plain[i]);
        lua_setfield(L, -2, lua_kind_words[plain[i]]);
    }
}
