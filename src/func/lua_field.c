/*
 * lua_field.c - the fields of rows and records for the compiler: metamethods in Lua over FFI, which traces go through.
 *
 * LuaJIT compiles no call of a metamethod in C, so a handler that reads `self.x` by one stays in the interpreter from there on.
 * These read and assign whole numbers, floats, bools, texts and words of an enum in place; what they do not know (handles, maps, lists, nil, a
 * wrong type, a row kept too long) they give to the metamethods in C, whose errors and rules so are the only ones. They are made
 * anew for each shape, as functions of one prototype would share traces, and called until they have a trace of their
 * own, as a handler that the compiler gives up calls them from the interpreter, where FFI is slow. Nobody but these functions
 * has FFI. Without the compiler they are not made.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <string.h>

#define FIELD_CALLS 200 /* LuaJIT compiles a function at some 112 */

/* The beginning of struct ud_record, and its struct of the row as whole numbers, floats, texts and bytes. */
static const char record_ctype[] =
    "struct {\n"
    "  uint32_t tag; bool writable; uint64_t serial; const uint64_t *live;\n"
    "  union { int64_t *wholes; double *floats; const char **texts; bool *bools; };\n"
    "  const char *key; size_t key_len;\n"
    "} *";
_Static_assert(offsetof(struct ud_record, tag) == 0 && offsetof(struct ud_record, writable) == 4 &&
                   offsetof(struct ud_record, serial) == 8 &&
                   offsetof(struct ud_record, live) == 16 &&
                   offsetof(struct ud_record, base) == 24 && offsetof(struct ud_record, key) == 32,
               "record_ctype");
_Static_assert(sizeof(bool) == 1 && sizeof(enum ud_tag) == 4 && sizeof(size_t) == 8 &&
                   offsetof(struct weir_str, ptr) == 0 && offsetof(struct weir_str, len) == 8,
               "record_ctype");

/*
 * The tables have the fields of a kind by name: `wholes` and those like it where a field lies, in its own size; `words` a
 * table of the enum's words from 0 on, where it lies at -1; `numbers` one of the numbers by word, where it lies at 0.
 * `return f(x)` of a function in C ends no trace: what is compiled has none.
 */
static const char functions[] =
    "local ffi, Record, text_set, key_find, get, set, has_key,\n"
    "  wholes, floats, bools, texts, words, whole_sets, float_sets, bool_sets, text_sets, numbers "
    "= ...\n"
    "local cast, string, tonumber, type, floor = ffi.cast, ffi.string, tonumber, type, math.floor\n"
    "local function index(self, key)\n"
    "  local at = wholes[key]\n"
    "  if at then\n"
    "    local r = cast(Record, self)\n"
    "    if r.serial == r.live[0] then\n"
    "      local n = tonumber(r.wholes[at])\n"
    "      if n ~= -0x1p63 then return n end\n"
    "    end\n"
    "    return get(self, key)\n"
    "  end\n"
    "  at = texts[key]\n"
    "  if at then\n"
    "    local r = cast(Record, self)\n"
    "    if r.serial == r.live[0] then\n"
    "      local text = r.texts[at]\n"
    "      if text ~= nil then\n"
    "        local copy = string(text, r.wholes[at + 1])\n"
    "        return copy\n"
    "      end\n"
    "    end\n"
    "    return get(self, key)\n"
    "  end\n"
    "  at = words[key]\n"
    "  if at then\n"
    "    local r = cast(Record, self)\n"
    "    if r.serial == r.live[0] then\n"
    "      local word = at[tonumber(r.wholes[at[-1]])]\n"
    "      if word then return word end\n"
    "    end\n"
    "    return get(self, key)\n"
    "  end\n"
    "  at = floats[key]\n"
    "  if at then\n"
    "    local r = cast(Record, self)\n"
    "    if r.serial == r.live[0] then\n"
    "      local x = r.floats[at]\n"
    "      if x == x then return x end\n"
    "    end\n"
    "    return get(self, key)\n"
    "  end\n"
    "  at = bools[key]\n"
    "  if at then\n"
    "    local r = cast(Record, self)\n"
    "    if r.serial == r.live[0] then return r.bools[at] end\n"
    "    return get(self, key)\n"
    "  end\n"
    "  if has_key and key == 'key' then\n"
    "    local r = cast(Record, self)\n"
    "    if r.serial == r.live[0] and key_find(r) then\n"
    "      local copy = string(r.key, r.key_len)\n"
    "      return copy\n"
    "    end\n"
    "  end\n"
    "  return get(self, key)\n"
    "end\n"
    "local function newindex(self, key, value)\n"
    "  if type(value) == 'number' then\n"
    "    local at = whole_sets[key]\n"
    "    if at then\n"
    "      local r = cast(Record, self)\n"
    "      if r.writable and r.serial == r.live[0] and floor(value) == value and value > -0x1p53 "
    "and value < 0x1p53 then\n"
    "        r.wholes[at] = value\n"
    "        return\n"
    "      end\n"
    "      return set(self, key, value)\n"
    "    end\n"
    "    at = float_sets[key]\n"
    "    if at then\n"
    "      local r = cast(Record, self)\n"
    "      if r.writable and r.serial == r.live[0] and value - value == 0 then\n"
    "        r.floats[at] = value\n"
    "        return\n"
    "      end\n"
    "    end\n"
    "  elseif type(value) == 'string' then\n"
    "    local at = text_sets[key]\n"
    "    if at then\n"
    "      local r = cast(Record, self)\n"
    "      if r.writable and r.serial == r.live[0] and text_set(r, at, value, #value) then return "
    "end\n"
    "      return set(self, key, value)\n"
    "    end\n"
    "    at = numbers[key]\n"
    "    if at then\n"
    "      local n, r = at[value], cast(Record, self)\n"
    "      if n and r.writable and r.serial == r.live[0] then\n"
    "        r.wholes[at[0]] = n\n"
    "        return\n"
    "      end\n"
    "    end\n"
    "  elseif type(value) == 'boolean' then\n"
    "    local at = bool_sets[key]\n"
    "    if at then\n"
    "      local r = cast(Record, self)\n"
    "      if r.writable and r.serial == r.live[0] then\n"
    "        r.bools[at] = value\n"
    "        return\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "  return set(self, key, value)\n"
    "end\n"
    "return index, newindex\n";

/* In the order of the tables, those of fields that are assigned likewise behind. */
enum place { WHOLES, FLOATS, BOOLS, TEXTS, WORDS, PLACES };

/* PLACES: none of those. */
static enum place place_of(const struct field *f)
{
    enum place place = PLACES;
    if ((f->kind == WEIR_INT || f->kind == WEIR_TIME) && f->size == 8) place = WHOLES;
    else if (f->kind == WEIR_FLOAT && f->size == 8) place = FLOATS;
    else if (f->kind == WEIR_BOOL) return BOOLS;
    else if (f->kind == WEIR_ENUM && f->size == 8) place = WORDS;
    else if ((f->kind == WEIR_TEXT || f->kind == WEIR_BYTES) && !f->inline_text) place = TEXTS;
    return f->offset % 8 == 0 ? place : PLACES;
}

/* ---- what compiled code calls: neither Lua nor errors; false: the way by C says why not ---- */

/* `place`: of the text in words, twice, and one more if it is of bytes. */
static bool text_set(struct ud_record *record, size_t place, const char *ptr, size_t len)
{
    struct weir_str text = { ptr, len };
    if (record->names == NULL) return true; /* warm() */
    struct invocation *inv = record->vm->current;
    if (inv->arena->used > SCRATCH_BYTES_MAX) return false;
    if (place % 2 == 0 && !str_is_utf8(text)) return false;
    text = arena_copy(inv->arena, text);
    memcpy(record->base + place / 2 * 8, &text, sizeof(text));
    return true;
}

static bool key_find(struct ud_record *record)
{
    const struct invocation *inv = record->vm->current;
    if (record->self == NULL) return false;
    record->key = record->self->service ? STR("") : weir_self(inv->ctx);
    return true;
}

/* ---- making them ---- */

/* A field that they know, by the name that the table of names has for it. */
struct met {
    const struct field *field;
    struct weir_str name;
};

static void words_push(lua_State *L, const struct field *f, bool sets)
{
    lua_newtable(L);
    for (uint32_t i = 0; i < f->word_count; i++) {
        lua_pushlstring(L, f->words[i].ptr, f->words[i].len);
        if (sets) {
            lua_pushinteger(L, (lua_Integer)i);
            lua_rawset(L, -3);
        } else {
            lua_rawseti(L, -2, (int)i);
        }
    }
    lua_pushinteger(L, (lua_Integer)(f->offset / 8));
    lua_rawseti(L, -2, sets ? 0 : -1);
}

static void place_set(lua_State *L, int table, const struct met *met, bool sets)
{
    const struct field *f = met->field;
    lua_Integer words = (lua_Integer)(f->offset / 8);
    enum place place = place_of(f);
    lua_pushlstring(L, met->name.ptr, met->name.len);
    if (place == WORDS) words_push(L, f, sets);
    else if (place == BOOLS) lua_pushinteger(L, (lua_Integer)f->offset);
    else if (place == TEXTS && sets) lua_pushinteger(L, words * 2 + (f->kind == WEIR_BYTES));
    else lua_pushinteger(L, words);
    lua_rawset(L, table);
}

/* Pushes `function` as one that compiled code calls; FFI's table is at `ffi`. */
static void c_function_push(lua_State *L, int ffi, const char *ctype, void (*function)(void))
{
    void *address;
    memcpy(&address, &function, sizeof(address));
    lua_getfield(L, ffi, "cast");
    lua_pushstring(L, ctype);
    lua_pushlightuserdata(L, address);
    lua_call(L, 2, 1);
}

/* ffi, the type of records and the functions in C, once for each vm. */
static void ffi_push(lua_State *L)
{
    struct vm *vm = vm_of(L);
    static const char *const members[] = { "weir_record", "weir_text_set", "weir_key_find" };
    if (vm->ffi == LUA_NOREF) {
        lua_pushcfunction(L, luaopen_ffi);
        lua_pushliteral(L, "ffi");
        lua_call(L, 1, 1);
        int ffi = lua_gettop(L);
        lua_getfield(L, ffi, "typeof");
        lua_pushlstring(L, record_ctype, sizeof(record_ctype) - 1);
        lua_call(L, 1, 1);
        lua_setfield(L, ffi, members[0]);
        c_function_push(L, ffi, "bool (*)(void *, size_t, const char *, size_t)",
                        (void (*)(void))text_set);
        lua_setfield(L, ffi, members[1]);
        c_function_push(L, ffi, "bool (*)(void *)", (void (*)(void))key_find);
        lua_setfield(L, ffi, members[2]);
        vm->ffi = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->ffi);
    int ffi = lua_gettop(L);
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        lua_getfield(L, ffi, members[i]);
}

/* Calls until the compiler has met that field. */
static void warm(lua_State *L, int meta, const struct shape *shape, const struct met *met,
                 bool sets)
{
    uint64_t live = 1;
    lua_pushlstring(L, met->name.ptr, met->name.len);
    int at = lua_gettop(L);
    struct ud_record *record = lua_newuserdata(L, sizeof(*record) + shape->size + 16u);
    *record = (struct ud_record){ .tag = UD_RECORD,
                                  .writable = true,
                                  .serial = live,
                                  .live = &live,
                                  .vm = vm_of(L),
                                  .base = (char *)(record + 1) };
    memset(record->base, 0, shape->size + 16u);
    if (place_of(met->field) == TEXTS) {
        struct weir_str text = STR("x");
        memcpy(record->base + met->field->offset, &text, sizeof(text));
    }
    lua_pushvalue(L, meta);
    lua_setmetatable(L, -2);
    for (int i = 0; i < FIELD_CALLS; i++) {
        lua_pushvalue(L, at);
        lua_gettable(L, at + 1);
        if (sets) {
            lua_pushvalue(L, at);
            lua_insert(L, -2);
            lua_settable(L, at + 1);
        }
        lua_settop(L, at + 1);
    }
    record->live = &vm_of(L)->live; /* should somebody find it: dead */
    lua_settop(L, at - 1);
}

struct job {
    const struct shape *shape;
    int key_part;
    bool has_key;
};

/* Arguments: the metatable, the table of names, the job. */
static int fields_make(lua_State *L)
{
    enum { META = 1, NAMES };
    const struct job *job = lua_touserdata(L, 3);
    const struct shape *shape = job->shape;
    luaL_checkstack(L, 32, "fields");
    if (luaL_loadbuffer(L, functions, sizeof(functions) - 1, "=weir") != 0) lua_error(L);
    int function = lua_gettop(L);
    ffi_push(L);
    lua_getfield(L, META, "__index");
    lua_getfield(L, META, "__newindex");
    lua_pushboolean(L, job->has_key);
    int tables = lua_gettop(L) + 1;
    for (int i = 0; i < 2 * PLACES; i++) lua_newtable(L);
    struct met met[2 * PLACES] = { 0 };
    bool any = job->has_key;
    lua_pushnil(L);
    while (lua_next(L, NAMES) != 0) {
        int number = (int)lua_tointeger(L, -1);
        lua_pop(L, 1);
        const struct field *f = number < 0 ? NULL : &shape->fields[number % job->key_part];
        enum place place = f == NULL ? PLACES : place_of(f);
        if (place == PLACES) continue;
        struct met one = { .field = f };
        one.name.ptr = lua_tolstring(L, -1, &one.name.len);
        place_set(L, tables + (int)place, &one, false);
        met[place] = one;
        any = true;
        if (number >= job->key_part) continue;
        place_set(L, tables + PLACES + (int)place, &one, true);
        met[PLACES + place] = one;
    }
    if (!any) return 0;
    lua_call(L, lua_gettop(L) - function, 2);
    lua_setfield(L, META, "__newindex");
    lua_setfield(L, META, "__index");
    for (int i = 0; i < 2 * PLACES; i++)
        if (met[i].field != NULL) warm(L, META, shape, &met[i], i >= PLACES);
    return 0;
}

void fields_compile(lua_State *L, const struct shape *shape, int names, int key_part, bool is_self)
{
    if (LUA_NO_JIT || !vm_of(L)->app->jit) return;
    struct job job = { shape, key_part, is_self };
    int meta = lua_gettop(L);
    stack_check(L);
    lua_pushliteral(L, "key");
    lua_rawget(L, names);
    if (!lua_isnil(L, -1)) job.has_key = false; /* a field of that name */
    lua_pop(L, 1);
    lua_pushcfunction(L, fields_make);
    lua_pushvalue(L, meta);
    lua_pushvalue(L, names);
    lua_pushlightuserdata(L, &job);
    /* Not the time of the handler that happens to be the first. */
    struct watch_run *run = watch_switch(NULL);
    int status = lua_pcall(L, 3, 0, 0);
    (void)watch_switch(run);
    if (status != 0) lua_error(L);
}
