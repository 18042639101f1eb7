/*
 * lua_state.c - vms: memory, the sandbox, loading of files and modules.
 *
 * All memory of a vm is in its slab or hangs in one list, so that a vm whose handler was stopped in its middle is
 * thrown away block by block, without running any of its code. Memory is charged to the transaction whose handler runs;
 * a charge past the limit is refused, which Lua turns into its error "not enough memory". Garbage of others
 * is counted too, so on the way to the limit the collector is made to run in full.
 *
 * The sandbox names what is allowed, never what is not. Libraries are userdata over hidden tables, so that
 * nothing in them can be replaced; a file's globals move to such a hidden table once it is loaded.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <luajit.h>
#include <stdio.h>
#include <string.h>

#define LOAD_HANDLERS 50u /* a file may run as long as so many handlers while it is loaded */
#define LOAD_MS_MAX 60000u
#define LOAD_BYTES_MAX ((size_t)64 << 20)

/* ---- memory ---- */

/* The collector's settings are plain numbers of the state: they may be set while memory is asked for. */
static void collect_soon(struct vm *vm, struct spend *spend)
{
    int64_t limit = (int64_t)vm->app->limits.lua_bytes_max;
    lua_gc(vm->L, LUA_GCSETSTEPMUL, 0);
    lua_gc(vm->L, LUA_GCRESTART, 0);
    vm->collect_fast = true;
    spend->collect_at = spend->bytes + limit / 8;
}

static bool charge(struct vm *vm, size_t old_bytes, size_t new_bytes)
{
    struct invocation *inv = vm->current;
    if (new_bytes > old_bytes && vm->limit != 0 && vm->used + (new_bytes - old_bytes) > vm->limit)
        return false;
    if (inv == NULL || inv->spend == NULL) return true;
    struct spend *spend = inv->spend;
    int64_t more = (int64_t)new_bytes - (int64_t)old_bytes;
    if (more > 0 && spend->bytes + more > (int64_t)vm->app->limits.lua_bytes_max) {
        inv->memory_hit = true;
        return false;
    }
    spend->bytes += more;
    if (more > 0 && spend->bytes > spend->collect_at && vm->L != NULL) collect_soon(vm, spend);
    return true;
}

/* Large blocks hang in a list. */
static void *block_resize(struct vm *vm, void *ptr, size_t bytes)
{
    struct block *block = ptr ? (struct block *)ptr - 1 : NULL;
    if (block != NULL) {
        block->prev->next = block->next;
        block->next->prev = block->prev;
    }
    block = mem_realloc(block, sizeof(*block) + bytes);
    block->prev = &vm->blocks;
    block->next = vm->blocks.next;
    block->prev->next = block;
    block->next->prev = block;
    return block + 1;
}

static void block_free(void *ptr)
{
    struct block *block = (struct block *)ptr - 1;
    block->prev->next = block->next;
    block->next->prev = block->prev;
    mem_free(block);
}

static void *vm_alloc(void *arg, void *ptr, size_t old_bytes, size_t new_bytes)
{
    struct vm *vm = arg;
    if (ptr == NULL) old_bytes = 0;
    if (!charge(vm, old_bytes, new_bytes)) return NULL;
    vm->used += new_bytes - old_bytes;
    if (old_bytes > SLAB_BYTES_MAX && new_bytes > SLAB_BYTES_MAX)
        return block_resize(vm, ptr, new_bytes);
    void *made = NULL;
    if (new_bytes > 0)
        made = new_bytes <= SLAB_BYTES_MAX ? slab_alloc(&vm->slab, new_bytes)
                                           : block_resize(vm, NULL, new_bytes);
    if (old_bytes == 0) return made;
    if (made != NULL) memcpy(made, ptr, old_bytes < new_bytes ? old_bytes : new_bytes);
    if (old_bytes <= SLAB_BYTES_MAX) slab_free(&vm->slab, ptr, old_bytes);
    else block_free(ptr);
    return made;
}

void raise_at(lua_State *L, int level, const char *text)
{
    luaL_where(L, level);
    lua_pushstring(L, text);
    lua_concat(L, 2);
    lua_error(L);
    __builtin_unreachable();
}

static void stack_check_at(lua_State *L, int level)
{
    struct invocation *inv = vm_of(L)->current;
    if (inv == NULL || inv->stack_top == NULL) return;
    if ((size_t)(inv->stack_top - (const char *)__builtin_frame_address(0)) > STACK_USED_MAX)
        raise_at(L, level, "stack overflow: calls are nested too deep");
}

void stack_check(lua_State *L)
{
    stack_check_at(L, 1);
}

/* For the prelude: the line told is that of its caller. */
static int lua_stack_check(lua_State *L)
{
    stack_check_at(L, 2);
    return 0;
}

/* ---- frozen things ---- */

static int refuse_library(lua_State *L)
{
    return luaL_error(L, "libraries are constants");
}

static int refuse_global(lua_State *L)
{
    return luaL_error(
        L,
        "assignment to global `%s`: globals are constants once the file is loaded; keep state in "
        "fields of the row",
        lua_tostring(L, 2) ? lua_tostring(L, 2) : "?");
}

const char *global_hint(const char *name)
{
    static const char outside[] = ": a handler does not reach outside, as it may be undone and run "
                                  "again; weir.now(), weir.random() and weir.outside are for that";
    static const char code[] = ": no code is made while an application runs; require \"name\" "
                               "takes name.lua from beside the file";
    static const struct {
        const char *name, *hint;
    } hints[] = {
        { "weir", ": begin the file with local weir = require \"weir\"" },
        { "print",
          ": weir.trace(...) writes a line to the trace, when the transaction has committed" },
        { "os", outside },
        { "io", outside },
        { "load", code },
        { "loadstring", code },
        { "loadfile", code },
        { "dofile", code }
    };
    static const char *const types[] = { "int",  "float", "bool", "text", "bytes", "time",
                                         "enum", "list",  "map",  "opt",  "any" };
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if (strcmp(name, hints[i].name) == 0) return hints[i].hint;
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(name, types[i]) == 0)
            return ": a type is a member of weir, as weir.int; give it a local name at the top of "
                   "the file";
    }
    return ": is it misspelt, or its `local` further down?";
}

static int unknown_global(lua_State *L)
{
    const char *name = lua_tostring(L, 2) ? lua_tostring(L, 2) : "?";
    return luaL_error(L, "unknown global `%s`%s", name, global_hint(name));
}

/* Turns the table on top into a library. */
static void library_wrap(lua_State *L)
{
    enum ud_tag *tag = lua_newuserdata(L, sizeof(*tag));
    *tag = UD_LIBRARY;
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_library);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

/* Gives the table at the top a metatable whose only duty is to name unknown globals. */
static void refuse_unknown(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, unknown_global);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

/* ---- the sandbox ---- */

static const char *const base_names[] = {
    "assert", "error",  "getmetatable", "next",     "pcall", "rawequal", "rawget",
    "rawset", "select", "setmetatable", "tonumber", "type",  "xpcall",   NULL
};
static const char *const math_names[] = { "abs",   "acos", "asin",  "atan", "atan2", "ceil",
                                          "cos",   "cosh", "deg",   "exp",  "floor", "fmod",
                                          "frexp", "huge", "ldexp", "log",  "log10", "max",
                                          "min",   "modf", "pi",    "pow",  "rad",   "sin",
                                          "sinh",  "sqrt", "tan",   "tanh", NULL };
static const char *const string_names[] = { "byte",  "char", "find",    "gmatch", "len",   "lower",
                                            "match", "rep",  "reverse", "sub",    "upper", NULL };
static const char *const table_names[] = { "maxn", NULL };
static const char *const bit_names[] = { "arshift", "band",   "bnot", "bor", "bswap",
                                         "bxor",    "lshift", "rol",  "ror", "rshift",
                                         "tobit",   "tohex",  NULL };
static const char *const coroutine_names[] = { "create", "running", "status", "yield", NULL };

/* Functions of the standard libraries that must know rows' lists, or that call from C back into Lua. */
static const char prelude[] =
    "local c, string, table, coroutine = ...\n"
    "local type, ipairs, pairs, unpack, error = type, ipairs, pairs, unpack, error\n"
    "local insert, remove, concat, sort = table.insert, table.remove, table.concat, table.sort\n"
    "local gsub, create, resume = string.gsub, coroutine.create, coroutine.resume\n"
    "local check, copy = c.stack_check, c.copy\n"
    "local base, strings, tables, routines = {}, {}, {}, {}\n"
    "local tostring, format = tostring, string.format\n"
    "function base.tostring(v)\n"
    "  if type(v) == 'table' then check() end\n"
    "  return tostring(v)\n"
    "end\n"
    "function strings.format(...)\n"
    "  check()\n"
    "  return format(...)\n"
    "end\n"
    "function base.ipairs(t)\n"
    "  if type(t) == 'userdata' then return c.list_next, t, 0 end\n"
    "  return ipairs(t)\n"
    "end\n"
    "function base.pairs(t)\n"
    "  if type(t) == 'userdata' then return c.pairs(t) end\n"
    "  return pairs(t)\n"
    "end\n"
    "function base.unpack(t, i, j)\n"
    "  if type(t) == 'userdata' then t = copy(t) end\n"
    "  return unpack(t, i, j)\n"
    "end\n"
    "tables.unpack = base.unpack\n"
    "function tables.insert(t, ...)\n"
    "  if type(t) == 'userdata' then return c.insert(t, ...) end\n"
    "  return insert(t, ...)\n"
    "end\n"
    "function tables.remove(t, i)\n"
    "  if type(t) == 'userdata' then return c.remove(t, i) end\n"
    "  if i == nil then return remove(t) end\n"
    "  return remove(t, i)\n"
    "end\n"
    "function tables.concat(t, ...)\n"
    "  if type(t) == 'userdata' then t = copy(t) end\n"
    "  return concat(t, ...)\n"
    "end\n"
    "function tables.sort(t, less)\n"
    "  check()\n"
    "  if type(t) == 'userdata' then\n"
    "    if less ~= nil and type(less) ~= 'function' then\n"
    "      error('the order of a sort is a function, got ' .. type(less), 2)\n"
    "    end\n"
    "    local sorted = copy(t)\n"
    "    sort(sorted, less)\n"
    "    return c.fill(t, sorted)\n"
    "  end\n"
    "  return sort(t, less)\n"
    "end\n"
    "function strings.gsub(s, pattern, with, n)\n"
    "  check()\n"
    "  return gsub(s, pattern, with, n)\n"
    "end\n"
    "function routines.resume(...)\n"
    "  check()\n"
    "  return resume(...)\n"
    "end\n"
    "local function pass(ok, ...)\n"
    "  if not ok then error((...), 0) end\n"
    "  return ...\n"
    "end\n"
    "function routines.wrap(f)\n"
    "  local routine = create(f)\n"
    "  return function(...)\n"
    "    check()\n"
    "    return pass(resume(routine, ...))\n"
    "  end\n"
    "end\n"
    "return base, strings, tables, routines\n";

static void pick(lua_State *L, int from, int to, const char *const *names)
{
    for (; *names != NULL; names++) {
        lua_getfield(L, from, *names);
        lua_setfield(L, to, *names);
    }
}

/* Sets sandbox[name] to the library made of the picked names and those of the table at `more` (0: none). */
static void library_open(lua_State *L, int sandbox, const char *name, const char *const *names,
                         int more)
{
    lua_newtable(L);
    int table = lua_gettop(L);
    lua_getfield(L, LUA_GLOBALSINDEX, name);
    pick(L, lua_gettop(L), table, names);
    lua_pop(L, 1);
    if (more != 0) {
        for (lua_pushnil(L); lua_next(L, more) != 0;) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_settable(L, table);
        }
    }
    library_wrap(L);
    lua_setfield(L, sandbox, name);
}

/* ("x"):rep(2) goes through the metatable of strings: the sandbox's string library, locked. */
static void strings_lock(lua_State *L, int sandbox)
{
    lua_pushliteral(L, "");
    lua_createtable(L, 0, 2);
    lua_getfield(L, sandbox, "string");
    lua_getmetatable(L, -1);
    lua_getfield(L, -1, "__index");
    lua_setfield(L, -4, "__index");
    lua_pop(L, 2);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

static void prelude_run(lua_State *L, int sandbox)
{
    int top = lua_gettop(L);
    if (luaL_loadbuffer(L, prelude, sizeof(prelude) - 1, "=weir") != 0) lua_error(L);
    lua_newtable(L);
    lua_pushcfunction(L, lua_stack_check);
    lua_setfield(L, -2, "stack_check");
    rows_open(L);
    lua_getglobal(L, "string");
    lua_getglobal(L, "table");
    lua_getglobal(L, "coroutine");
    lua_call(L, 4, 4);
    pick(L, LUA_GLOBALSINDEX, sandbox, base_names);
    lua_pushnil(L);
    while (lua_next(L, top + 1) != 0) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_settable(L, sandbox);
    }
    library_open(L, sandbox, "string", string_names, top + 2);
    library_open(L, sandbox, "table", table_names, top + 3);
    library_open(L, sandbox, "coroutine", coroutine_names, top + 4);
    library_open(L, sandbox, "math", math_names, 0);
    library_open(L, sandbox, "bit", bit_names, 0);
    lua_settop(L, top);
}

static int module_unknown(lua_State *L)
{
    static const char *const later[] = { "view", "date", "password", "authenticate" };
    const char *name = lua_tostring(L, 2);
    for (size_t i = 0; name != NULL && i < sizeof(later) / sizeof(later[0]); i++) {
        if (strcmp(name, later[i]) == 0)
            return luaL_error(L, "weir.%s comes with a later release", name);
    }
    return luaL_error(L, "there is no weir.%s", name ? name : "?");
}

static void module_open(lua_State *L)
{
    lua_newtable(L);
    types_open(L);
    calls_open(L);
    maps_open(L);
    streams_open(L);
    outsides_open(L);
    windows_open(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, module_unknown);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    library_wrap(L);
}

static int lua_require(lua_State *L);

#if !LUA_NO_JIT
/* Each type takes some traces of its own (lua_field.c): room for hundreds of types. */
static void jit_room(lua_State *L)
{
    lua_getglobal(L, "jit");
    lua_getfield(L, -1, "opt");
    lua_getfield(L, -1, "start");
    lua_pushliteral(L, "maxtrace=10000");
    lua_pushliteral(L, "maxmcode=16384");
    lua_call(L, 2, 0);
    lua_pop(L, 2);
}
#endif

static int vm_open(lua_State *L)
{
    struct vm *vm = vm_of(L);
    static const lua_CFunction opens[] = { luaopen_base, luaopen_table, luaopen_string,
                                           luaopen_math, luaopen_bit,   luaopen_jit };
    static const char *const names[] = { "", "table", "string", "math", "bit", "jit" };
    for (size_t i = 0; i < sizeof(opens) / sizeof(opens[0]); i++) {
        lua_pushcfunction(L, opens[i]);
        lua_pushstring(L, names[i]);
        lua_call(L, 1, 0);
    }
#if LUA_NO_JIT
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
#else
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | (vm->app->jit ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
    jit_room(L);
#endif
    lua_newtable(L);
    vm->records = luaL_ref(L, LUA_REGISTRYINDEX);
    handles_open(L);
    lua_newtable(L);
    vm->modules = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    vm->envs = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    int sandbox = lua_gettop(L);
    prelude_run(L, sandbox);
    strings_lock(L, sandbox);
    lua_pushcfunction(L, lua_require);
    lua_setfield(L, sandbox, "require");
    lua_pushliteral(L, "Lua 5.1");
    lua_setfield(L, sandbox, "_VERSION");
    lua_pushvalue(L, sandbox);
    refuse_unknown(L);
    vm->globals = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->modules);
    module_open(L);
    lua_setfield(L, -2, "weir");
    if (vm->declaring) byte_code_verify(L);
    lua_settop(L, 0);
    return 0;
}

struct vm *vm_create(struct lua_app *app, bool declaring)
{
    struct vm *vm = mem_alloc(sizeof(*vm));
    vm->app = app;
    vm->declaring = declaring;
    vm->ffi = LUA_NOREF;
    vm->blocks.prev = vm->blocks.next = &vm->blocks;
    lua_State *L = lua_newstate(vm_alloc, vm);
    ASSERT(L != NULL);
    vm->L = L;
    vm->random = app->env ? app->env->random(app->env) : 1;
    ASSERT(lua_cpcall(L, vm_open, NULL) == 0);
#if LUA_NO_JIT
    lua_sethook(L, vm_hook, LUA_MASKCOUNT, 10000);
#endif
    return vm;
}

/* Never lua_close(): it would run on a state that may have been left in its middle. */
void vm_destroy(struct vm *vm)
{
    if (vm == NULL) return;
    for (struct block *block = vm->blocks.next, *next; block != &vm->blocks; block = next) {
        next = block->next;
        mem_free(block);
    }
    slab_destroy(&vm->slab);
    handles_free(&vm->handles);
    for (struct lua_type *type = vm->types, *next; type != NULL; type = next) {
        next = type->next;
        mem_free(type);
    }
    buf_free(&vm->json);
    buf_free(&vm->text);
    mem_free(vm->refs);
    mem_free(vm->owners);
    mem_free(vm->kept);
    arena_free(&vm->arena);
    mem_free(vm);
}

/* ---- kept functions ---- */

uint32_t function_number(struct vm *vm, const char *name)
{
    struct lua_app *app = vm->app;
    struct weir_str text = str_of(name);
    for (uint32_t i = 0; i < app->function_count; i++) {
        if (str_eq(app->functions[i], text)) return i;
    }
    if (!vm->declaring) return UINT32_MAX;
    if (app->function_count == app->function_cap) {
        app->function_cap = app->function_cap ? app->function_cap * 2 : 64;
        app->functions = mem_realloc(app->functions, app->function_cap * sizeof(app->functions[0]));
    }
    app->functions[app->function_count] = arena_copy(&app->arena, text);
    return app->function_count++;
}

void function_keep(lua_State *L, uint32_t number)
{
    struct vm *vm = vm_of(L);
    if (number >= vm->ref_cap) {
        uint32_t cap = number + 64;
        vm->refs = mem_realloc(vm->refs, cap * sizeof(vm->refs[0]));
        vm->owners = mem_realloc(vm->owners, cap * sizeof(vm->owners[0]));
        vm->kept = mem_realloc(vm->kept, cap * sizeof(vm->kept[0]));
        for (uint32_t i = vm->ref_cap; i < cap; i++) {
            vm->refs[i] = LUA_NOREF;
            vm->owners[i] = NULL;
            vm->kept[i] = (struct kept){ .first = NULL };
        }
        vm->ref_cap = cap;
    }
    vm->refs[number] = luaL_ref(L, LUA_REGISTRYINDEX);
}

bool name_is_fit(const char *name, size_t len)
{
    if (len == 0 || len > NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && (i == 0 || (c != '_' && (c < '0' || c > '9')))) return false;
    }
    return true;
}

/* ---- sources ---- */

static char *text_copy(struct arena *arena, const char *text, size_t len)
{
    return arena_cstr(arena, (struct weir_str){ text, len });
}

static struct source *source_find(struct lua_app *app, const char *path)
{
    for (struct source *source = app->sources; source != NULL; source = source->next) {
        if (strcmp(source->path, path) == 0) return source;
    }
    return NULL;
}

static bool text_read(struct env *env, const char *folder, const char *name, struct arena *arena,
                      struct weir_str *text, char *why, size_t why_bytes)
{
    int dir = env->dir_open(env, folder, false);
    int fd = dir < 0 ? dir : env->open(env, dir, name, ENV_READ);
    int64_t size = fd < 0 ? fd : env->size(env, fd);
    if (size > 4 << 20) size = -27; /* EFBIG */
    char *bytes = NULL;
    if (size >= 0) {
        bytes = arena_alloc(arena, (size_t)size + 1);
        size = env->read(env, fd, bytes, (size_t)size, 0);
    }
    if (fd >= 0) env->close(env, fd);
    if (dir >= 0) env->dir_close(env, dir);
    if (size < 0) {
        snprintf(why, why_bytes, "cannot be read: %s", strerror((int)-size));
        return false;
    }
    *text = (struct weir_str){ bytes, (size_t)size };
    return true;
}

struct source *source_read(struct lua_app *app, const char *path, bool module, char *why,
                           size_t why_bytes)
{
    struct source *source = source_find(app, path);
    if (source != NULL) return source;
    const char *slash = strrchr(path, '/');
    source = arena_alloc(&app->arena, sizeof(*source));
    source->path = text_copy(&app->arena, path, strlen(path));
    source->name = text_copy(&app->arena, slash ? slash + 1 : path,
                             strlen(slash ? slash + 1 : path));
    source->folder = slash == NULL   ? text_copy(&app->arena, ".", 1)
                     : slash == path ? text_copy(&app->arena, "/", 1)
                                     : text_copy(&app->arena, path, (size_t)(slash - path));
    source->module = module;
    if (!text_read(app->env, source->folder, source->name, &app->arena, &source->text, why,
                   why_bytes))
        return NULL;
    if (app->sources_tail == NULL) app->sources_tail = &app->sources;
    *app->sources_tail = source;
    app->sources_tail = &source->next;
    return source;
}

/* ---- loading ---- */

/* Pushes the compiled chunk with a table of globals of its own; raises. */
static void chunk_push(lua_State *L, const struct source *source)
{
    struct vm *vm = vm_of(L);
    char chunk[256];
    snprintf(chunk, sizeof(chunk), "@%.200s", source->name);
    if (luaL_loadbufferx(L, source->text.ptr, source->text.len, chunk, "t") != 0) lua_error(L);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->globals);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->envs);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, source->path);
    lua_pop(L, 1);
    lua_setfenv(L, -2);
}

/* Moves what the file assigned to a hidden table that also holds the sandbox. */
static void globals_freeze(lua_State *L, const char *path)
{
    struct vm *vm = vm_of(L);
    int top = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->envs);
    lua_getfield(L, -1, path);
    int env = lua_gettop(L);
    lua_newtable(L);
    int hidden = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->globals);
    int tables[2] = { lua_gettop(L), env };
    for (int t = 0; t < 2; t++) {
        for (lua_pushnil(L); lua_next(L, tables[t]) != 0;) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, hidden);
        }
    }
    for (lua_pushnil(L); lua_next(L, env) != 0;) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, env);
    }
    lua_pushvalue(L, hidden);
    refuse_unknown(L);
    lua_getmetatable(L, env);
    lua_pushvalue(L, hidden);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_global);
    lua_setfield(L, -2, "__newindex");
    lua_settop(L, top);
}

static bool module_name_is_fit(const char *name)
{
    char before = '.';
    for (const char *at = name; *at != 0; before = *at++) {
        bool word = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                    (*at >= '0' && *at <= '9') || *at == '_';
        if (!word && (*at != '.' || before == '.')) return false;
    }
    return before != '.' && strlen(name) <= NAME_BYTES_MAX;
}

static int lua_require(lua_State *L)
{
    struct vm *vm = vm_of(L);
    const char *name = luaL_checkstring(L, 1);
    if (!vm->loading) return luaL_error(L, "require belongs to the file level, not into handlers");
    if (!module_name_is_fit(name))
        return luaL_error(L, "require: `%s` is no module's name: letters, digits, _ and .", name);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->modules);
    lua_getfield(L, -1, name);
    if (strncmp(name, "weir", 4) == 0 && (name[4] == 0 || name[4] == '.')) {
        if (lua_isnil(L, -1)) return luaL_error(L, "there is no module `%s` here", name);
        return 1;
    }
    lua_pop(L, 1);
    if (vm->request != NULL) return luaL_error(L, "a test file requires weir and weir.test only");
    char path[512];
    int used = snprintf(path, sizeof(path), "%s/", vm->source->folder);
    for (const char *at = name; *at != 0 && used < 480; at++) path[used++] = *at == '.' ? '/' : *at;
    snprintf(path + used, sizeof(path) - (size_t)used, ".lua");
    lua_getfield(L, -1, path);
    if (lua_type(L, -1) == LUA_TLIGHTUSERDATA)
        return luaL_error(L, "require: `%s` requires itself in a circle", name);
    if (!lua_isnil(L, -1)) return 1;
    char why[600];
    struct source *source = vm->declaring ? source_read(vm->app, path, true, why, sizeof(why))
                                          : source_find(vm->app, path);
    if (source == NULL && !vm->declaring)
        return luaL_error(L, "a module was not there when declaring");
    if (source == NULL) return luaL_error(L, "require: %s %s", path, why);
    const struct source *outer = vm->source;
    lua_pushlightuserdata(L, vm);
    lua_setfield(L, -3, path);
    vm->source = source;
    chunk_push(L, source);
    lua_call(L, 0, 1);
    vm->source = outer;
    globals_freeze(L, path);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->modules);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, path);
    lua_pop(L, 1);
    return 1;
}

void problem_of(struct lua_problem *problem, const char *file, const char *message)
{
    *problem = (struct lua_problem){ .line = 0 };
    const char *colon = strchr(message, ':');
    int line = 0, used = 0;
    if (colon != NULL && colon - message < (ptrdiff_t)sizeof(problem->file) &&
        sscanf(colon, ":%d:%n", &line, &used) == 1 && used > 0) {
        snprintf(problem->file, sizeof(problem->file), "%.*s", (int)(colon - message), message);
        problem->line = line;
        message = colon + used;
        if (*message == ' ') message++;
    } else {
        snprintf(problem->file, sizeof(problem->file), "%s", file);
    }
    snprintf(problem->text, sizeof(problem->text), "%s", message);
}

static int source_run(lua_State *L)
{
    struct vm *vm = vm_of(L);
    chunk_push(L, vm->source);
    lua_call(L, 0, 0);
    globals_freeze(L, vm->source->path);
    return 0;
}

/* Where the file is that is being loaded, so that one that is stopped is named with its line. */
static void load_hook(lua_State *L, lua_Debug *debug)
{
    struct vm *vm = vm_of(L);
    if (debug->event == LUA_HOOKLINE) {
        vm->load_line = debug->currentline;
        vm->load_chunk = lua_getinfo(L, "S", debug) ? debug->source : NULL;
        return;
    }
    vm_hook(L, debug);
}

static void load_hook_set(struct vm *vm, bool loading)
{
    int mask = loading ? LUA_MASKLINE : 0;
    vm->load_line = 0;
#if LUA_NO_JIT
    mask |= LUA_MASKCOUNT;
#endif
    lua_sethook(vm->L, mask == 0 ? NULL : loading ? load_hook : vm_hook, mask, 10000);
}

static void problem_at_load(struct vm *vm, const struct source *source, int line,
                            struct lua_problem *problem)
{
    problem_of(problem, source->name, "");
    if (line == 0 || vm->load_chunk == NULL || vm->load_chunk[0] != '@') return;
    snprintf(problem->file, sizeof(problem->file), "%s", vm->load_chunk + 1);
    problem->line = line;
}

/* A file that never ends, or eats all memory, is a mistake like others: the start must not hang on it. */
bool vm_load(struct vm *vm, const struct source *source, struct lua_problem *problem)
{
    lua_State *L = vm->L;
    uint32_t ticks = 0;
    uint64_t ms = vm->app->limits.cpu_ms_max * LOAD_HANDLERS, limit = vm->limit;
    struct watch_run run = { .ticks = &ticks, .ticks_max = (uint32_t)(ms / WATCH_TICK_MS + 1) };
    if (ms > LOAD_MS_MAX) run.ticks_max = LOAD_MS_MAX / WATCH_TICK_MS;
    vm->source = source;
    vm->loading = true;
    vm->limit = vm->used + LOAD_BYTES_MAX;
    (void)watch_allow((const void *)(uintptr_t)&lua_newstate);
    load_hook_set(vm, true);
    lua_pushcfunction(L, source_run);
    int status = vm_call_watched(vm, L, &run, 0, 0);
    int line = vm->load_line;
    vm->limit = limit;
    if (status >= 0) load_hook_set(vm, false);
    vm->loading = false;
    vm->source = NULL;
    if (status == 0) return true;
    if (status < 0) {
        vm->broken = true; /* stopped anywhere: it can only be freed */
        problem_at_load(vm, source, line, problem);
        snprintf(problem->text, sizeof(problem->text),
                 "the file does not end: it was stopped after %u ms of running while it was loaded",
                 run.ticks_max * WATCH_TICK_MS);
        return false;
    }
    if (status == LUA_ERRMEM) {
        problem_at_load(vm, source, line, problem);
        snprintf(problem->text, sizeof(problem->text),
                 "not enough memory: more than %zu bytes while the file was loaded",
                 LOAD_BYTES_MAX);
        lua_settop(L, 0);
        return false;
    }
    problem_of(problem, source->name,
               lua_tostring(L, -1) ? lua_tostring(L, -1) : "the file failed to load");
    lua_settop(L, 0);
    return false;
}

bool vm_load_all(struct vm *vm, struct lua_problem *problem)
{
    for (const struct source *source = vm->app->sources; source != NULL; source = source->next) {
        if (!source->module && !vm_load(vm, source, problem)) return false;
    }
    return true;
}

/* ---- the application ---- */

bool lua_limit_set(struct lua_limits *limits, struct weir_str name, uint64_t value)
{
#define X(member, standard, text)                                                                  \
    if (str_eq(name, STR(#member))) {                                                              \
        limits->member = value;                                                                    \
        return true;                                                                               \
    }
    LUA_LIMITS(X)
#undef X
    return false;
}

struct lua_app *lua_app_create(struct catalog *catalog, const struct lua_options *options)
{
    struct lua_app *app = mem_alloc(sizeof(*app));
    app->catalog = catalog;
    app->env = options->env;
#define X(member, standard, text)                                                                  \
    app->limits.member = options->limits.member ? options->limits.member : (standard);
    LUA_LIMITS(X)
#undef X
    app->trace = options->trace;
    app->trace_arg = options->trace_arg;
    app->jit = true;
    size_t count = 0;
    while (options->settings != NULL && options->settings[count] != NULL) count++;
    app->settings = mem_alloc((count + 1) * sizeof(char *));
    app->settings_asked = mem_alloc((count + 1) * sizeof(bool));
    for (size_t i = 0; i < count; i++)
        app->settings[i] = text_copy(&app->arena, options->settings[i],
                                     strlen(options->settings[i]));
    for (size_t i = 0; i < count; i++) {
        if (strcmp(app->settings[i], "weir.jit=off") == 0) app->jit = false;
    }
    runtime_init(app);
    return app;
}

bool source_declare(struct lua_app *app, const char *path, struct lua_problem *problem)
{
    char why[600];
    *problem = (struct lua_problem){ .line = 0 };
    if (source_find(app, path) != NULL && !source_find(app, path)->module) {
        problem_of(problem, path, "the file is given twice");
        return false;
    }
    struct source *source = source_read(app, path, false, why, sizeof(why));
    if (source == NULL) {
        problem_of(problem, path, "");
        snprintf(problem->text, sizeof(problem->text), "%.500s", why);
        return false;
    }
    source->module = false;
    return vm_load(app->declarer, source, problem);
}

enum weir_status lua_app_load(struct lua_app *app, const char *path, struct lua_problem *problem)
{
    if (app->declarer == NULL) app->declarer = vm_create(app, true);
    if (!source_declare(app, path, problem)) return WEIR_CONFIG;
    return functions_check(app->declarer, problem, 0, 1) > 0 ? WEIR_CONFIG : WEIR_OK;
}

const struct runtime *lua_app_runtime(struct lua_app *app)
{
    return &app->runtime;
}

void lua_app_destroy(struct lua_app *app)
{
    if (app == NULL) return;
    judges_free(app);
    vm_destroy(app->declarer);
    mem_free(app->functions);
    mem_free(app->settings);
    mem_free(app->settings_asked);
    arena_free(&app->arena);
    mem_free(app);
}
