/*
 * lua_check.c - what can be seen without running: byte code that assigns variables outside a handler, and
 * everything else `weir check` finds.
 *
 * State outside rows is neither undone nor shared among shards, so a handler may not assign variables
 * outside itself, nor change tables that they hold. Looked at are the functions that were given as handlers and whatever Lua
 * functions they reach through upvalues and tables. The dump's format is LuaJIT's lj_bcdump.h, version 2:
 * prototypes come children first; an upvalue marked local belongs to the enclosing function.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Those that mark where the form of the operands changes; lj_bc.h. */
enum opcode {
    OP_ISEQV = 4,
    OP_ISTC = 12,
    OP_IST = 14,
    OP_ISTYPE = 16,
    OP_MOV = 18,
    OP_ADDVN = 22,
    OP_ADDVV = 32,
    OP_CAT = 38,
    OP_UGET = 45,
    OP_USETV = 46,
    OP_USETP = 49,
    OP_UCLO = 50,
    OP_GGET = 54,
    OP_GSET = 55,
    OP_TGETV = 56,
    OP_TGETS = 57,
    OP_TGETB = 58,
    OP_TGETR = 59,
    OP_TSETV = 60,
    OP_TSETS = 61,
    OP_TSETB = 62,
    OP_TSETM = 63,
    OP_TSETR = 64,
    OP_CALLM = 65,
    OP_CALL = 66,
    OP_ITERC = 69,
    OP_VARG = 71,
    OP_RETM = 73,
    OP_RET = 74,
    OP_RET0 = 75,
    OP_RET1 = 76
};
enum {
    DUMP_STRIPPED = 2,
    UPVALUE_LOCAL = 0x8000,
    UPVALUE_INDEX = 0x3fff,
    REACHED_MAX = 20000,
    TABLES_MAX = 8
};

struct proto {
    const uint8_t *code, *upvalues, *lines, *names_end;
    const char *upvalue_names;
    uint32_t code_count, upvalue_count, line_first, line_count;
    uint32_t constants; /* place of the first of its strings in dump.strings */
    uint32_t constant_count;
    uint32_t *children, child_count;
    uint8_t parameters;
};

struct dump {
    struct buf bytes;
    struct arena arena;
    struct proto *protos;
    uint32_t proto_count, proto_cap;
    uint32_t open[1000], open_count; /* prototypes not yet claimed by a parent */
    struct weir_str *strings;
    uint32_t string_count, string_cap;
};

struct finder {
    struct vm *vm;
    void (*look)(struct finder *f, lua_State *L, int function);
    struct lua_problem *problems;
    unsigned count, max;
    const char *file;
};

/* ---- reading a dump ---- */

static int dump_write(lua_State *L, const void *bytes, size_t len, void *arg)
{
    buf_add(arg, bytes, len);
    return 0;
}

static uint32_t uleb(struct reader *r)
{
    return (uint32_t)reader_varint(r);
}

static void string_add(struct dump *d, struct weir_str text)
{
    if (d->string_count == d->string_cap) {
        d->string_cap = d->string_cap ? d->string_cap * 2 : 64;
        d->strings = mem_realloc(d->strings, d->string_cap * sizeof(d->strings[0]));
    }
    d->strings[d->string_count++] = text;
}

static void table_value_skip(struct reader *r)
{
    uint32_t kind = uleb(r);
    if (kind >= 5) reader_bytes(r, kind - 5);
    else if (kind == 4) uleb(r), uleb(r);
    else if (kind == 3) uleb(r);
}

static void constant_read(struct dump *d, struct proto *p, struct reader *r)
{
    uint32_t kind = uleb(r);
    struct weir_str text = STR_NIL;
    if (kind >= 5) {
        text = reader_bytes(r, kind - 5);
    } else if (kind == 0) {
        if (d->open_count > 0) p->children[p->child_count++] = d->open[--d->open_count];
    } else if (kind == 1) {
        uint32_t array = uleb(r), hash = uleb(r);
        for (uint32_t i = 0; i < array && !r->failed; i++) table_value_skip(r);
        for (uint32_t i = 0; i < hash * 2 && !r->failed; i++) table_value_skip(r);
    } else {
        for (uint32_t i = 0; i < (kind == 4 ? 4u : 2u); i++) uleb(r);
    }
    string_add(d, text);
}

/* Numbers: the lowest bit of the first byte tells a double (two parts) from an int; 33 bits then. */
static void number_skip(struct reader *r)
{
    uint8_t first = (uint8_t)*r->at;
    uint8_t byte = reader_byte(r);
    while (byte & 0x80 && !r->failed) byte = reader_byte(r);
    if (first & 1) uleb(r);
}

static void proto_read(struct dump *d, struct reader *r)
{
    if (d->proto_count == d->proto_cap) {
        d->proto_cap = d->proto_cap ? d->proto_cap * 2 : 16;
        d->protos = mem_realloc(d->protos, d->proto_cap * sizeof(d->protos[0]));
    }
    struct proto *p = &d->protos[d->proto_count];
    *p = (struct proto){ .constants = d->string_count };
    reader_byte(r);
    p->parameters = reader_byte(r);
    reader_byte(r);
    p->upvalue_count = reader_byte(r);
    p->constant_count = uleb(r);
    uint32_t numbers = uleb(r);
    p->code_count = uleb(r);
    uint32_t debug = uleb(r);
    if (debug > 0) {
        p->line_first = uleb(r);
        p->line_count = uleb(r);
    }
    p->code = (const uint8_t *)reader_bytes(r, (size_t)p->code_count * 4).ptr;
    p->upvalues = (const uint8_t *)reader_bytes(r, (size_t)p->upvalue_count * 2).ptr;
    p->children = arena_alloc(&d->arena, (p->constant_count + 1) * sizeof(uint32_t));
    for (uint32_t i = 0; i < p->constant_count && !r->failed; i++) constant_read(d, p, r);
    for (uint32_t i = 0; i < numbers && !r->failed; i++) number_skip(r);
    struct weir_str lines = reader_bytes(r, debug);
    p->lines = (const uint8_t *)lines.ptr;
    size_t width = p->line_count < 256 ? 1 : p->line_count < 65536 ? 2 : 4;
    if (debug > 0 && lines.len >= p->code_count * width)
        p->upvalue_names = lines.ptr + p->code_count * width;
    if (d->open_count < sizeof(d->open) / sizeof(d->open[0]))
        d->open[d->open_count++] = d->proto_count;
    d->proto_count++;
}

static bool dump_read(struct dump *d)
{
    struct reader r = reader_of(buf_str(&d->bytes));
    struct weir_str head = reader_bytes(&r, 4);
    if (r.failed || memcmp(head.ptr, "\x1bLJ\x02", 4) != 0) return false;
    uint32_t flags = uleb(&r);
    if (!(flags & DUMP_STRIPPED)) reader_bytes(&r, uleb(&r));
    for (;;) {
        uint32_t len = uleb(&r);
        if (r.failed || len == 0) break;
        struct weir_str bytes = reader_bytes(&r, len);
        if (r.failed) break;
        struct reader one = reader_of(bytes);
        proto_read(d, &one);
    }
    return d->proto_count > 0;
}

static void dump_free(struct dump *d)
{
    if (d == NULL) return;
    buf_free(&d->bytes);
    arena_free(&d->arena);
    mem_free(d->protos);
    mem_free(d->strings);
    mem_free(d);
}

/* Of the Lua function at idx; its prototype is the last one. NULL when it cannot be read. */
static struct dump *function_dump(lua_State *L, int idx)
{
    struct dump *d = mem_alloc(sizeof(*d));
    lua_pushvalue(L, idx);
    lua_dump(L, dump_write, &d->bytes);
    lua_pop(L, 1);
    if (dump_read(d)) return d;
    dump_free(d);
    return NULL;
}

/* Where the upvalue comes from: a place among the parent's upvalues, or its registers (UPVALUE_LOCAL). */
static uint32_t upvalue_mark(const struct proto *p, uint32_t u)
{
    return (uint32_t)p->upvalues[u * 2] | (uint32_t)p->upvalues[u * 2 + 1] << 8;
}

/* The operands C and B as one. */
static uint32_t op_wide(const uint8_t *op)
{
    return (uint32_t)op[2] | (uint32_t)op[3] << 8;
}

/* ---- judging ---- */

static int line_of(const struct proto *p, uint32_t pc)
{
    uint32_t delta = 0;
    if (p->upvalue_names == NULL) return (int)p->line_first;
    if (p->line_count < 256) delta = p->lines[pc];
    else if (p->line_count < 65536)
        delta = (uint32_t)p->lines[pc * 2] | (uint32_t)p->lines[pc * 2 + 1] << 8;
    else memcpy(&delta, p->lines + pc * 4, 4);
    return (int)(p->line_first + delta);
}

static const char *upvalue_name(const struct proto *p, uint32_t i)
{
    const char *at = p->upvalue_names;
    if (at == NULL) return "?";
    while (i-- > 0) at += strlen(at) + 1;
    return at;
}

/* What is wrong, with the name that it is about: said once a line. */
__attribute__((format(printf, 4, 5))) static void report(struct finder *f, int line,
                                                         const char *name, const char *format, ...)
{
    for (unsigned i = 0; i < f->count; i++) {
        if (f->problems[i].line == line && strcmp(f->problems[i].file, f->file) == 0 &&
            strstr(f->problems[i].text, name))
            return;
    }
    if (f->count == f->max) return;
    struct lua_problem *problem = &f->problems[f->count++];
    *problem = (struct lua_problem){ .line = line };
    snprintf(problem->file, sizeof(problem->file), "%s", f->file);
    va_list args;
    va_start(args, format);
    vsnprintf(problem->text, sizeof(problem->text), format, args);
    va_end(args);
}

/* True if the globals of the function on top of the stack have the name. */
static bool global_is_known(lua_State *L, int function, const char *name)
{
    int top = lua_gettop(L);
    bool known = false;
    lua_getfenv(L, function);
    if (lua_getmetatable(L, -1)) {
        lua_getfield(L, -1, "__index");
        if (lua_istable(L, -1)) {
            lua_pushstring(L, name);
            lua_rawget(L, -2);
            known = !lua_isnil(L, -1);
        }
    } else {
        known = true;
    }
    lua_settop(L, top);
    return known;
}

/* May the instruction hand on what the register holds, or overwrite it? Indexing it with another value, comparing and
 * testing it do neither, nor does giving it to a field of `self` (register 0), which keeps a copy of the key.
 * Operands: A, then C and B, which together are D. Calls, loops and returns take a row of registers from A on. */
static bool op_hands_on(const uint8_t *op, uint8_t r, bool self_lends)
{
    bool a = op[1] == r, c = op[2] == r, b = op[3] == r, d = c && op[3] == 0;
    unsigned code = op[0];
    if (code < OP_ISEQV) return a || d;
    if (code < OP_ISTC) return false;
    if (code < OP_ISTYPE) return code < OP_IST && (a || d);
    if (code < OP_MOV) return a;
    if (code < OP_ADDVN) return a || d;
    if (code < OP_ADDVV) return a || b;
    if (code < OP_CAT) return a || b || c;
    if (code == OP_CAT) return a || (op[3] <= r && r <= op[2]);
    if (code <= OP_UGET) return a; /* constants, and variables outside */
    if (code == OP_USETV) return d;
    if (code <= OP_UCLO) return false;
    if (code < OP_TGETV) return a;
    if (code == OP_TGETV || code == OP_TSETV) return a || c;
    if (code == OP_TSETS) return a && (r == 0 || op[3] != 0 || !self_lends);
    if (code == OP_TGETS || code == OP_TGETB || code == OP_TSETB) return a;
    if (code == OP_TGETR || code == OP_TSETR) return true; /* not made from sources */
    if (code == OP_TSETM) return op[1] <= r + 1;
    if (code == OP_ITERC || code == OP_ITERC + 1) return op[1] <= r + 3;
    if (code == OP_VARG) return true;
    if (code == OP_RET1) return a;
    return code != OP_RET0 && op[1] <= r;
}

/* Does register r, which holds what a variable outside holds, or a part of that, become the table of an assignment? Looked at
 * is the code as it stands, up to what may give the value to somebody else or put another one in its place. */
static bool changes_through(const struct proto *p, uint32_t pc, uint8_t r, uint32_t depth,
                            uint32_t *where)
{
    for (; pc < p->code_count; pc++) {
        const uint8_t *op = p->code + (size_t)pc * 4;
        bool table = op[3] == r;
        if (op[0] >= OP_TSETV && op[0] <= OP_TSETB && table) {
            *where = pc;
            return true;
        }
        if (op[0] >= OP_TGETV && op[0] <= OP_TGETB && table && depth < TABLES_MAX &&
            changes_through(p, pc + 1, op[1], depth + 1, where))
            return true;
        if (op_hands_on(op, r, false)) return false;
    }
    return false;
}

static struct weir_str constant_of(const struct dump *d, const struct proto *p, uint32_t place)
{
    if (place >= p->constant_count) return STR_NIL;
    return d->strings[p->constants + p->constant_count - 1 - place];
}

/* weir.name, where the variable outside holds the module: what there is not, the handler would find out when it runs. */
static void member_judge(struct finder *f, lua_State *L, int function, int upvalue, int line,
                         struct weir_str name)
{
    int top = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, f->vm->modules);
    lua_getfield(L, -1, "weir");
    if (name.ptr == NULL || lua_getupvalue(L, function, upvalue) == NULL ||
        !lua_rawequal(L, -1, -2) || !lua_getmetatable(L, -1)) {
        lua_settop(L, top);
        return;
    }
    lua_getfield(L, -1, "__index");
    lua_pushlstring(L, name.ptr, name.len);
    lua_rawget(L, -2);
    char member[80];
    snprintf(member, sizeof(member), "weir.%.*s", STR_ARG(name));
    if (lua_isnil(L, -1)) report(f, line, member, "there is no %s", member);
    lua_settop(L, top);
}

/* `outer` tells for each upvalue which one of the function looked at first it is, from 1; 0: none, it belongs to that. */
static void proto_judge(struct finder *f, lua_State *L, int function, struct dump *d,
                        uint32_t place, const uint8_t *outer)
{
    const struct proto *p = &d->protos[place];
    for (uint32_t pc = 0; pc < p->code_count; pc++) {
        const uint8_t *op = p->code + (size_t)pc * 4;
        uint32_t wide = op_wide(op), where = 0;
        if (f->vm->collecting && op[0] == OP_UGET && wide < p->upvalue_count && outer[wide] &&
            pc + 1 < p->code_count && op[4] == OP_TGETS && op[7] == op[1])
            member_judge(f, L, function, outer[wide], line_of(p, pc), constant_of(d, p, op[6]));
        if (op[0] >= OP_USETV && op[0] <= OP_USETP && op[1] < p->upvalue_count && outer[op[1]]) {
            report(f, line_of(p, pc), upvalue_name(p, op[1]),
                   "a handler assigns `%s`, a variable outside of it, which is neither undone nor "
                   "shared by shards: keep state in fields of the row",
                   upvalue_name(p, op[1]));
        } else if (op[0] == OP_UGET && wide < p->upvalue_count && outer[wide] &&
                   changes_through(p, pc + 1, op[1], 0, &where)) {
            report(f, line_of(p, where), upvalue_name(p, wide),
                   "a handler changes the table `%s`, which is outside of it: that is neither "
                   "undone nor shared by shards; keep state in fields of the row, or in a map",
                   upvalue_name(p, wide));
        } else if ((op[0] == OP_GSET || op[0] == OP_GGET) && wide < p->constant_count) {
            struct weir_str text = constant_of(d, p, wide);
            char name[80];
            snprintf(name, sizeof(name), "%.*s", STR_ARG(text));
            if (op[0] == OP_GSET) {
                report(f, line_of(p, pc), name,
                       "a handler assigns the global `%s`: globals are constants once the file is "
                       "loaded; keep state in fields of the row, or write `local`",
                       name);
            } else if (f->vm->collecting && !global_is_known(L, function, name)) {
                report(f, line_of(p, pc), name, "unknown global `%s`%s", name, global_hint(name));
            }
        }
    }
    for (uint32_t i = 0; i < p->child_count; i++) {
        const struct proto *child = &d->protos[p->children[i]];
        uint8_t inner[256];
        for (uint32_t u = 0; u < child->upvalue_count; u++) {
            uint32_t mark = upvalue_mark(child, u);
            uint32_t up = mark & UPVALUE_INDEX;
            inner[u] = !(mark & UPVALUE_LOCAL) && up < p->upvalue_count ? outer[up] : 0;
        }
        proto_judge(f, L, function, d, p->children[i], inner);
    }
}

static void function_judge(struct finder *f, lua_State *L, int idx)
{
    lua_Debug debug;
    lua_pushvalue(L, idx);
    lua_getinfo(L, ">S", &debug);
    char file[256];
    snprintf(file, sizeof(file), "%s", debug.source[0] == '@' ? debug.source + 1 : debug.source);
    f->file = file;
    struct dump *d = function_dump(L, idx);
    uint8_t outer[256];
    for (size_t i = 0; i < sizeof(outer); i++)
        outer[i] = (uint8_t)(i + 1); /* LuaJIT has 60 at most */
    if (d != NULL) proto_judge(f, L, idx, d, d->proto_count - 1, outer);
    f->file = NULL;
    dump_free(d);
}

/* ---- what leaves a handler ---- */

/* x:f(...) copies x behind the function's place and then reads the function from it: MOV, TGETS. What a handle or `self`
 * gives is a handler of the engine's, which keeps nothing, or cannot be called. */
static bool op_begins_method(const uint8_t *op, const uint8_t *next, uint8_t r)
{
    return op[0] == OP_MOV && op[2] == r && op[3] == 0 && next[0] == OP_TGETS && next[3] == r &&
           (op[1] == next[1] + 1 || op[1] == next[1] + 2); /* by how LuaJIT was built */
}

static bool proto_lends(const struct dump *d, uint8_t r, bool self_lends)
{
    const struct proto *p = &d->protos[d->proto_count - 1];
    for (uint32_t pc = 0; pc < p->code_count; pc++) {
        const uint8_t *op = p->code + (size_t)pc * 4;
        if (pc + 1 < p->code_count && op_begins_method(op, op + 4, r)) continue;
        if (op_hands_on(op, r, self_lends)) return false;
    }
    for (uint32_t i = 0; i < p->child_count; i++) {
        const struct proto *child = &d->protos[p->children[i]];
        for (uint32_t u = 0; u < child->upvalue_count; u++) {
            uint32_t mark = upvalue_mark(child, u);
            if ((mark & UPVALUE_LOCAL) && (mark & UPVALUE_INDEX) == r) return false;
        }
    }
    return true;
}

uint32_t function_lends(lua_State *L, int idx)
{
    struct dump *d = function_dump(L, idx);
    if (d == NULL) return 0;
    uint32_t lends = 0, parameters = d->protos[d->proto_count - 1].parameters;
    for (uint32_t i = 0; i < parameters && i < 32; i++) {
        if (proto_lends(d, (uint8_t)i, lends & 1)) lends |= 1u << i;
    }
    dump_free(d);
    return lends;
}

int function_returns_more(lua_State *L, int idx)
{
    struct dump *d = function_dump(L, idx);
    const struct proto *p = d != NULL ? &d->protos[d->proto_count - 1] : NULL;
    int line = 0;
    for (uint32_t pc = 0; p != NULL && line == 0 && pc < p->code_count; pc++) {
        const uint8_t *op = p->code + (size_t)pc * 4;
        bool listed = op[0] == OP_RET && op_wide(op) > 2; /* one more than there are values */
        bool before_more = op[0] == OP_RETM && op_wide(op) > 0;
        if (listed || before_more) line = line_of(p, pc);
    }
    dump_free(d);
    return line;
}

/* ---- handles that are made to be called ---- */

/* What the instruction puts into register r is called next, and of what that gives a method is taken, which overwrites it. What
 * comes between uses other registers, for nothing in the source names this one. */
static bool op_calls_once(const struct proto *p, uint32_t pc)
{
    const uint8_t *op = p->code + (size_t)pc * 4;
    uint8_t r = op[1];
    for (uint32_t left = p->code_count - pc; left > 3; left--) {
        op += 4;
        if (!op_hands_on(op, r, false)) continue;
        bool call = (op[0] == OP_CALL || op[0] == OP_CALLM) && op[1] == r && op[3] == 2;
        return call && op_begins_method(op + 4, op + 8, r) && op[9] == r;
    }
    return false;
}

enum uses { USES_NONE, USES_ONCE, USES_OTHERWISE };

static enum uses upvalue_uses(const struct dump *d, const struct proto *p, uint32_t u)
{
    enum uses uses = USES_NONE;
    for (uint32_t pc = 0; pc < p->code_count; pc++) {
        const uint8_t *op = p->code + (size_t)pc * 4;
        if (op[0] >= OP_USETV && op[0] <= OP_USETP && op[1] == u) return USES_OTHERWISE;
        if (op[0] != OP_UGET || op_wide(op) != u) continue;
        if (!op_calls_once(p, pc)) return USES_OTHERWISE;
        uses = USES_ONCE;
    }
    for (uint32_t i = 0; i < p->child_count; i++) {
        const struct proto *child = &d->protos[p->children[i]];
        for (uint32_t v = 0; v < child->upvalue_count; v++) {
            if (upvalue_mark(child, v) & UPVALUE_LOCAL) continue;
            if ((upvalue_mark(child, v) & UPVALUE_INDEX) != u) continue;
            enum uses inner = upvalue_uses(d, child, v);
            if (inner == USES_OTHERWISE) return inner;
            if (inner == USES_ONCE) uses = inner;
        }
    }
    return uses;
}

uint64_t function_calls_once(lua_State *L, int idx)
{
    struct dump *d = function_dump(L, idx);
    if (d == NULL) return 0;
    const struct proto *p = &d->protos[d->proto_count - 1];
    uint64_t once = 0;
    for (uint32_t u = 0; u < p->upvalue_count && u < 64; u++) {
        if (upvalue_uses(d, p, u) == USES_ONCE) once |= UINT64_C(1) << u;
    }
    dump_free(d);
    return once;
}

/* Upvalues that hold a type of entities, and are used for nothing else, get what makes handles once. */
static void function_make_once(struct finder *f, lua_State *L, int idx)
{
    bool read = false;
    uint64_t once = 0;
    for (int u = 1; u <= 64 && lua_getupvalue(L, idx, u) != NULL; u++) {
        struct ud_type *object = ud_test(L, -1, UD_TYPE);
        bool entity = object != NULL && !object->type->service;
        if (entity && !read) once = function_calls_once(L, idx); /* most functions need no look */
        read = read || entity;
        if (entity && (once >> (u - 1) & 1)) {
            once_maker_push(L, object->type);
            lua_upvaluejoin(L, idx, u, lua_gettop(L), 1);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
}

/* ---- what handlers reach ---- */

enum { SEEN = 1, QUEUE = 2 }; /* stack places in reach_body */

static void reach_add(lua_State *L, int *count)
{
    bool want = lua_istable(L, -1) || (lua_isfunction(L, -1) && !lua_iscfunction(L, -1));
    lua_pushvalue(L, -1);
    if (want) lua_rawget(L, SEEN);
    if (want && lua_isnil(L, -1) && *count < REACHED_MAX) {
        lua_pushvalue(L, -2);
        lua_pushboolean(L, 1);
        lua_rawset(L, SEEN);
        lua_pushvalue(L, -2);
        lua_rawseti(L, QUEUE, ++*count);
    }
    lua_pop(L, 2);
}

static int reach_body(lua_State *L)
{
    struct finder *f = lua_touserdata(L, 1);
    struct vm *vm = f->vm;
    lua_settop(L, 0);
    lua_newtable(L);
    lua_newtable(L);
    int count = 0;
    for (uint32_t i = 0; i < vm->ref_cap; i++) {
        if (vm->refs[i] == LUA_NOREF) continue;
        lua_rawgeti(L, LUA_REGISTRYINDEX, vm->refs[i]);
        reach_add(L, &count);
    }
    for (int done = 1; done <= count; done++) {
        lua_rawgeti(L, QUEUE, done);
        int at = lua_gettop(L);
        if (lua_istable(L, at)) {
            for (lua_pushnil(L); lua_next(L, at) != 0;) reach_add(L, &count);
        } else {
            f->look(f, L, at);
            for (int u = 1; lua_getupvalue(L, at, u) != NULL; u++) reach_add(L, &count);
        }
        lua_settop(L, QUEUE);
    }
    return 0;
}

unsigned functions_check(struct vm *vm, struct lua_problem *problems, unsigned count, unsigned max)
{
    struct finder finder = {
        .vm = vm, .look = function_judge, .problems = problems, .count = count, .max = max
    };
    if (lua_cpcall(vm->L, reach_body, &finder) != 0) lua_settop(vm->L, 0);
    return finder.count;
}

void functions_make_once(struct vm *vm)
{
    struct finder finder = { .vm = vm, .look = function_make_once };
    if (lua_cpcall(vm->L, reach_body, &finder) != 0) lua_settop(vm->L, 0);
}

/* ---- what each handler reaches, for pictures ---- */

struct reach {
    struct vm *vm;
    void (*found)(void *arg, const struct type *from, struct weir_str handler, enum lua_reach what,
                  struct weir_str name);
    void *arg;
    uint32_t function;
};

/* The value on top of the stack, which stays: told, if it is something to tell, once per handler. */
static void reach_tell(struct reach *r, lua_State *L)
{
    struct weir_str stream = stream_name(L, -1), outside = outside_name(L, -1);
    struct ud_type *type = ud_test(L, -1, UD_TYPE);
    struct ud_handle *handle = ud_test(L, -1, UD_HANDLE);
    struct lua_type *named = type ? type->type : handle ? handle->type : NULL;
    if (!stream.ptr && !outside.ptr && !named) return;
    lua_pushvalue(L, -1);
    lua_rawget(L, SEEN);
    bool seen = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (seen) return;
    lua_pushvalue(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, SEEN);
    struct weir_str handler = r->vm->app->functions[r->function];
    const char *colon = memchr(handler.ptr, ':', handler.len);
    if (colon)
        handler = (struct weir_str){ colon + 1, handler.len - (size_t)(colon + 1 - handler.ptr) };
    if (named)
        r->found(r->arg, r->vm->owners[r->function]->type, handler, LUA_REACH_TYPE,
                 (struct weir_str){ named->name, named->name_len });
    else
        r->found(r->arg, r->vm->owners[r->function]->type, handler,
                 stream.ptr ? LUA_REACH_STREAM : LUA_REACH_OUTSIDE, stream.ptr ? stream : outside);
}

static int reach_handler(lua_State *L)
{
    struct reach *r = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_newtable(L);
    lua_newtable(L);
    int count = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, r->vm->refs[r->function]);
    reach_add(L, &count);
    for (int done = 1; done <= count; done++) {
        lua_rawgeti(L, QUEUE, done);
        int at = lua_gettop(L);
        if (lua_istable(L, at)) {
            for (lua_pushnil(L); lua_next(L, at) != 0;) {
                reach_tell(r, L);
                reach_add(L, &count);
            }
        } else {
            for (int u = 1; lua_getupvalue(L, at, u) != NULL; u++) {
                reach_tell(r, L);
                reach_add(L, &count);
            }
        }
        lua_settop(L, QUEUE);
    }
    return 0;
}

void lua_app_reach(struct lua_app *app,
                   void (*found)(void *arg, const struct type *from, struct weir_str handler,
                                 enum lua_reach what, struct weir_str name),
                   void *arg)
{
    struct vm *vm = app->declarer;
    struct reach reach = { .vm = vm, .found = found, .arg = arg };
    if (vm == NULL) return;
    for (uint32_t i = 0; i < vm->ref_cap && i < app->function_count; i++) {
        if (vm->refs[i] == LUA_NOREF || vm->owners[i] == NULL) continue; /* rules have no owner */
        reach.function = i;
        if (lua_cpcall(vm->L, reach_handler, &reach) != 0) lua_settop(vm->L, 0);
    }
}

/* Pushes the source, then its function, which has the upvalue `n`. */
static void verify_push(lua_State *L, const char *text)
{
    lua_pushfstring(L, "local n\nreturn %s", text);
    ASSERT(luaL_loadbuffer(L, lua_tostring(L, -1), lua_objlen(L, -1), "=verify") == 0);
    lua_call(L, 0, 1);
}

/* The numbers of the operations are those of this LuaJIT, or nothing works: tried on a function that assigns. */
void byte_code_verify(lua_State *L)
{
    static const char text[] =
        "local n\nreturn function()\n n = 1\n fresh = n\n return function() local m; n = m end end";
    struct lua_problem problems[4];
    struct vm *vm = vm_of(L);
    struct finder finder = { .vm = vm, .problems = problems, .max = 4 };
    ASSERT(luaL_loadbuffer(L, text, sizeof(text) - 1, "=verify") == 0);
    lua_call(L, 0, 1);
    function_judge(&finder, L, lua_gettop(L));
    lua_pop(L, 1);
    ASSERT(finder.count == 3 &&
           problems[0].line + problems[1].line + problems[2].line == 3 + 4 + 5);
    static const struct {
        const char *text;
        uint32_t lends; /* 1: s, 2: x */
    } tries[] = {
        { "function(s, x) s.a = s.b + x; if x > 1 then s[x] = s[x].c end; for i = 1, x do s.n = i "
          "end; return s.a end",
          1 },
        { "function(s, x) for k, v in pairs(x) do s.a = v .. s.b end x:f(s.c, s.d) return s.e end",
          1 },
        { "function(s, x) return s end", 2 },
        { "function(s, x) return x(s) end", 0 },
        { "function(s, x) x(s) end", 0 },
        { "function(s, x) s:f(1) end", 3 },
        { "function(s, x) s:f(x) end", 1 },
        { "function(s, x) x:f(s) end", 2 },
        { "function(s, x) x:f(1, s.a, x.key); return x:g { s.b } end", 3 },
        { "function(s, x) x:f(x) end", 1 },
        { "function(s, x) local y = x:f(1, function() return 2 end); x:f(y, y:f()) end", 3 },
        { "function(s, x) local y = x:f(1, function() return x end) end", 1 },
        { "function(s, x) s:f(x.f(x)) end", 1 },
        { "function(s, x) x.f(x) end", 1 },
        { "function(s, x) x.f(1) end", 3 },
        { "function(s, x) x.s = s end", 2 },
        { "function(s, x) x[s] = 1 end", 2 },
        { "function(s, x) x[1] = s end", 2 },
        { "function(s, x) local y = x[s]; x.z = y end", 2 },
        { "function(s, x) local y = s; x.z = y end", 2 },
        { "function(s, x) s = x; s.y = 1 end", 0 },
        { "function(s, x) s.y = x end", 3 },
        { "function(s, x) s[1] = x end", 1 },
        { "function(s, x) s.y.z = x end", 1 },
        { "function(s, x, y) y.z = x end", 5 },
        { "function(s, x) s = {}; s.y = x end", 0 },
        { "function(s, x) local y = s.y; y.z = x end", 1 },
        { "function(s, x) return { s } end", 2 },
        { "function(s, x) return { 1, x } end", 1 },
        { "function(s, x) return s.f, x end", 1 },
        { "function(s, x) return x.f, s end", 2 },
        { "function(s, x) return s .. x end", 0 },
        { "function(s, x) return 'a' .. x.key .. s.b end", 3 },
        { "function(s, x) return s == x or s ~= x or x == nil or x == 'a' end", 3 },
        { "function(s, x) if x and not s then return 1 end end", 3 },
        { "function(s, x) return s < x end", 0 },
        { "function(s, x) return s and x end", 0 },
        { "function(s, x) return x or s.y end", 1 },
        { "function(s, x) return #s end", 2 },
        { "function(s, x) n = s end", 2 },
        { "function(s, x) fresh = s end", 2 },
        { "function(s, x) fresh = x end", 1 },
        { "function(s, x) return function() return s end end", 2 },
        { "function(s, x) return function() return x end end", 1 },
        { "function(s, x) return function() x:f() end end", 1 },
        { "function(s, x) x = s.y; x:f() end", 1 },
        { "function(s, x) for i = 1, 3 do x:f(i) end end", 3 },
        { "function(s, x) for k in pairs(s.y) do x:f(k) end end", 3 },
        { "function(s, x) for k in x do s.y = k end end", 1 },
        { "function(s) local x, y = s.a, s.b; y.z = x end", 1 },
        { "function(s, ...) return ... end", 0 },
        { "function(s, x) return function() return function() return s end end end", 2 },
    };
    static const struct {
        const char *text;
        bool once;
    } calls[] = {
        { "function(s, x) n(x):f() end", true },
        { "function(s, x) return n(x):f(1, n(s):g(n(x, 1):h())) end", true },
        { "function(s, x) n(x and 'a' or s.b .. 'c', s:k()):f(); return 1 end", true },
        { "function(s, x) for i = 1, x do s.y = n(i):f { s.b } end end", true },
        { "function(s, x) return function(i) return n(i):f() end end", true },
        { "function(s, x) local n = n; n(x):f() end", false },
        { "function(s, x) local y = n(x); y:f() end", false },
        { "function(s, x) local y = n(x):f(); return y, n end", false },
        { "function(s, x) n(x):f(); n(x):f(n(x)) end", false },
        { "function(s, x) n(x):f(); n(x).f(1) end", false },
        { "function(s, x) n(x).f:g() end", false },
        { "function(s, x) n:f(x) end", false },
        { "function(s, x) s.f(n):g() end", false },
        { "function(s, x) s.f(n(x)):g() end", false },
        { "function(s, x) return n(x) end", false },
        { "function(s, x) return n == x end", false },
        { "function(s, x) (x or n)(s):f() end", true },
        { "function(s, x) (n or x)(s):f() end", false },
        { "function(s, x) n(x):f(); return function() return n end end", false },
        { "function(s, x) n(x):f(); return function() return function() n = 1 end end end", false },
        { "function(s, x) n(x):f(); return function(n) return n end end", true },
        { "function(s, x) return fresh(x):f() end", false },
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        verify_push(L, calls[i].text);
        ASSERT((function_calls_once(L, lua_gettop(L)) != 0) == calls[i].once);
        lua_pop(L, 2);
    }
    static const struct {
        const char *text;
        int line;
    } returns[] = {
        { "function(s, x)\n return s, x end", 3 },
        { "function(s, x)\n return s, x(s) end", 3 },
        { "function(s, ...)\n return s, ... end", 3 },
        { "function(s, x) if x then return end\n local y = function() return x end\n return y, 1 "
          "end",
          4 },
        { "function(s, x) if s then return x end end", 0 },
        { "function(s, x) return x(s, 1, 2) end", 0 },
        { "function(s, x) return (x(s)) end", 0 },
        { "function(s, ...) return ... end", 0 },
        { "function(s, x) return function() return s, x end end", 0 },
    };
    for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
        verify_push(L, returns[i].text);
        ASSERT(function_returns_more(L, lua_gettop(L)) == returns[i].line);
        lua_pop(L, 2);
    }
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        verify_push(L, tries[i].text);
        ASSERT(function_lends(L, lua_gettop(L)) == tries[i].lends);
        lua_pop(L, 2);
    }
}

/* ---- weir check ---- */

unsigned lua_app_check(struct lua_app *app, const char *path, struct lua_problem *problems,
                       unsigned count, unsigned max)
{
    struct lua_problem problem;
    if (app->declarer == NULL) app->declarer = vm_create(app, true);
    struct vm *vm = app->declarer;
    if (vm->broken || count >= max) return count;
    vm->collecting = true;
    vm->problems = problems;
    vm->problem_count = count;
    vm->problem_max = max;
    bool loaded = source_declare(app, path, &problem);
    if (!loaded && vm->problem_count < max) problems[vm->problem_count++] = problem;
    return vm->broken ? vm->problem_count : functions_check(vm, problems, vm->problem_count, max);
}
