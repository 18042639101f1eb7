/*
 * lua_int.h - what the files of the Lua runtime share: application, virtual machine, invocation, userdata.
 *
 * A vm is one lua_State with its memory. Each shard has one, each thread that judges rules borrows one. All
 * are made by running the same sources: first in a vm that declares (fills the catalog), then in vms that
 * bind (find what was declared and keep the functions).
 *
 * Userdata carries its tag first, so that a C function can tell what it was given. Whatever points into a
 * row carries the serial of the invocation it belongs to and is dead in every other one.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_FUNC_LUA_INT_H
#define WEIR_FUNC_LUA_INT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "base/assert.h"
#include "base/slab.h"
#include "func/lua.h"
#include "os/watch.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LUA_NO_JIT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LUA_NO_JIT 1
#endif
#endif
#ifndef LUA_NO_JIT
#define LUA_NO_JIT 0
#endif

#define JUDGES_MAX 64u
#define SPEND_SLOTS 256u
#define NAME_BYTES_MAX 64u
#define FANOUT_MAX 256
#define HANDLES_RECENT 8192u /* a power of two; each keeps about 100 bytes alive */
#define LENT_MAX 8u          /* handles lent to one handler */
#define KEPT_MAX 32u         /* invocations kept for one handler */
#define NAMES_KNOWN 64u      /* a power of two */
#define NAMES_TRIED 4u       /* places that a name may have */
#define SHAPES_KNOWN 16u     /* a power of two */
/* luaL_error() of which the compiler knows that it never returns. */
#define lua_raise(L, ...) (luaL_error(L, __VA_ARGS__), __builtin_unreachable())

/* C stack that a call from C back into Lua must find below it; see stack_check(). */
#define STACK_USED_MAX ((size_t)56 * 1024)
/* Transaction memory that Lua's assignments may fill. */
#define SCRATCH_BYTES_MAX ((size_t)64 << 20)

/* ---- application ---------------------------------------------------------------------------------- */

/* One file's text, read once. */
struct source {
    char *path; /* as opened */
    char *name; /* its last part: what errors call it */
    char *folder;
    struct weir_str text;
    bool module; /* reached by require */
    struct source *next;
};

struct lua_app {
    struct catalog *catalog;
    struct env *env;
    char **settings;
    bool *settings_asked; /* by their places: a file that declares has asked for that name */
    struct lua_limits limits;
    void (*trace)(void *arg, const char *members);
    void *trace_arg;
    struct runtime runtime;
    struct source *sources, **sources_tail;
    struct arena arena;         /* sources and names */
    struct weir_str *functions; /* names of kept functions: "account:deposit"; place = number */
    uint32_t function_count, function_cap;
    struct vm *declarer; /* the vm that fills the catalog; NULL until the first load */
    bool jit;
    _Atomic uint32_t judge_taken[JUDGES_MAX];
    struct vm *judges[JUDGES_MAX];
};

/* handler->code, and check_arg of rules. */
struct lua_code {
    struct lua_app *app;
    uint32_t function;         /* its number */
    const struct field *field; /* rule of a field */
    _Atomic bool told;         /* of a rule: an error that it raised is in the trace */
    uint32_t lends;            /* by bit: parameters that the handler nowhere keeps; 0: `self` */
};

/* ---- virtual machine ------------------------------------------------------------------------------- */

struct block {
    struct block *prev, *next;
};

/* What one transaction has used of this vm: shared by its handlers that are in it. */
struct spend {
    struct spend *chain;
    const struct arena *txn; /* tells the transaction */
    int64_t bytes, collect_at;
    uint32_t ticks;
    uint32_t handlers;
};

/* One running or suspended handler. Kept for reuse while the vm lives. */
struct invocation {
    struct watch_run run;
    uint64_t serial;
    struct vm *vm;
    struct weir_ctx *ctx;
    const struct handler *handler;
    struct lua_type *type;
    void *row;
    const void *args;
    void *result;
    struct arena *arena;
    bool read_only, memory_hit;
    bool direct;     /* the handler stands at the bottom of its thread, not invoke_body() */
    bool ends;       /* its last act was a call that the engine makes now */
    bool went;       /* the last act of a part of `all` was a call that is out */
    struct all *all; /* the weir.all that is open, in this routine */
    lua_State *L;    /* its thread; at the bottom invoke_body() and result_body(), see enum place */
    int bottom;      /* how many values stay at its bottom between two handlers */
    uint32_t bound_lent;    /* by bit: handles among them, by the argument's place */
    bool bound;             /* kept for one handler, which stands there with its `self` */
    int anchor;             /* registry place of the thread; LUA_NOREF: none */
    struct ud_record *self; /* lent to one handler after the other; NULL before the first */
    int self_anchor;
    struct lent {
        struct ud_handle *handle; /* likewise, by the argument's place; NULL before the first */
        int anchor;
    } lent[LENT_MAX];
    uint32_t lent_out;    /* by bit: those that this handler has */
    struct ud_once *once; /* made and not called yet */
    struct spend *spend;
    const char *stack_top;
    void *grown; /* the list grown last and the room it has */
    size_t grown_room;
    struct invocation *next;
};

/* The handles of a vm; see lua_handle.c. */
struct handles {
    struct handle_entry *entries; /* by place in the array */
    uint32_t *buckets;            /* the first place, by hash */
    uint32_t cap;                 /* of both: 0 or a power of two */
    uint32_t free;                /* the first free place */
    int live;                     /* registry: place + 1 -> handle, weak */
    int recent;                   /* registry: those used last, by a place of their own */
    struct ud_handle *recents[HANDLES_RECENT]; /* the same */
};

/* Invocations that wait for the handler they ran last. */
struct kept {
    struct invocation *first;
    uint32_t count;
};

struct vm {
    lua_State *L;
    struct lua_app *app;
    bool declaring, loading, collecting;
    bool broken; /* stopped while a file was loaded */
    lua_CFunction
        request; /* of a test's vm: what a handler's name on a handle calls, closed over the name */
    struct lua_problem *problems; /* collecting: filled up to problem_max */
    unsigned problem_count, problem_max;
    struct slab slab;    /* small blocks, `spends` among them */
    struct block blocks; /* large ones: list head */
    size_t used;
    uint64_t limit; /* of the whole vm; 0: none */
    bool collect_fast;
    int *refs;                /* registry place by function number */
    struct lua_type **owners; /* of a handler: its type; by function number */
    struct kept *kept;        /* likewise */
    size_t idle_used;
    uint32_t ref_cap;
    struct lua_type *types;
    struct handles handles;
    struct invocation *current, *spare; /* the first changes with `live`: vm_run() */
    uint64_t serial, live;              /* the newest; of the current invocation, 0: none */
    int ffi;                            /* registry; lua_field.c */
    struct spend *spends[SPEND_SLOTS];
    struct arena arena;          /* shapes of a vm that binds; names */
    const struct source *source; /* being loaded */
    struct lua_test *test;       /* of `weir test`: handles make requests */
    struct buf json, text; /* scratch: kept here since an error may leave its user at any place */
    int records;           /* registry: metatable by shape */
    struct {
        const struct shape *shape; /* NULL: none yet */
        struct names *names;
    } shapes[SHAPES_KNOWN];               /* of records met last, by the shape's address */
    const struct shape *alike[2];         /* a pair of shapes found alike last */
    int list_meta, map_meta, ticket_meta; /* registry: those that are asked for all the time */
    int nothing;                          /* registry: a function in C that does nothing */
    int globals;                          /* registry: what every file sees */
    int modules;                          /* registry: path -> value */
    int envs;                             /* registry: path -> globals of the file */
    int load_line; /* of the file being loaded: where it is, and its chunk's name */
    const char *load_chunk;
    uint64_t started_ns; /* of the run under a sanitizer; see vm_hook() */
    uint64_t random;     /* seed of what happens outside transactions */
};

/* What Lua knows of an entity type or service. */
struct lua_type {
    struct lua_type *next;
    char *name;
    size_t name_len;
    bool service, declared;
    bool
        stand_in; /* `weir check` goes on with it after a mistake: what is declared for it goes nowhere */
    struct type *type; /* NULL until found in the catalog */
    struct key_form form;
    bool form_known;
    int object; /* registry: the entity object */
    int handle_meta;
    int once_meta, once_maker; /* registry: see once_open() */
    struct ud_once *once;      /* called, to be made again */
    int self_meta;             /* LUA_NOREF until needed */
    struct names *names;       /* of self */
};

/* ---- userdata --------------------------------------------------------------------------------------- */

enum ud_tag {
    UD_LIBRARY = 0x57454901,
    UD_TYPE,
    UD_HANDLE,
    UD_GIVEN_BACK, /* a lent handle between two handlers, one made to be called after that */
    UD_ONCE,
    UD_RECORD,
    UD_LIST,
    UD_MAP,
    UD_WALK,
    UD_STREAM,
    UD_OUTSIDE,
    UD_SECRET,
    UD_TICKET,
    UD_TEST,
    UD_AGGREGATE
};

struct ud_type {
    enum ud_tag tag;
    struct lua_type *type;
};
struct ud_handle {
    enum ud_tag tag;
    struct lua_type *type;
    uint32_t len;
    bool placed; /* `place` is known */
    struct key_place place;
    const char *key; /* of a lent one: the argument's, else `text` */
    char text[];
};
/* A handle that is called where it is made, and seen by nobody else; lua_handle.c. */
struct ud_once {
    enum ud_tag tag;
    int anchor; /* registry */
    struct lua_type *type;
    struct weir_str key; /* in the transaction's memory */
    struct key_place place;
    struct ud_once *next;
};
struct ud_record { /* known to compiled code up to `key`: lua_field.c */
    enum ud_tag tag;
    bool writable;
    uint64_t serial;
    const uint64_t *live; /* of the vm */
    char *base;
    struct weir_str key; /* of `self`, once it was asked for by compiled code */
    struct vm *vm;
    struct names *names;
    const struct shape *shape;
    struct lua_type *self; /* of `self`; NULL for other records */
};
/* Fields of a shape that were asked for, by the address of their name (lua_topointer()): equal texts are one in Lua, and the table of
 * names keeps those of fields. So that table is asked once for each field. */
struct names {
    struct known {
        const void *name; /* NULL: none yet */
        const struct field *field;
        bool fixed; /* part of the key: never assigned */
        bool whole; /* an int of 64 bits */
    } known[NAMES_KNOWN];
    int meta;  /* of a record's shape; registry: the metatable of its proxies */
    int texts; /* likewise; registry: the fields' names by place + 1 */
};
struct ud_list {
    enum ud_tag tag;
    bool writable;
    uint64_t serial;
    const struct field *field;
    struct weir_list *list;
};
struct ud_ticket {
    enum ud_tag tag;
    struct weir_ticket ticket;
};
struct ud_map {
    enum ud_tag tag;
    uint64_t serial;
    int map;
    const struct map_def *def;
};

/* ---- lua_state.c: vms, loading ------------------------------------------------------------------------ */
static inline struct vm *vm_of(lua_State *L)
{
    void *vm;
    lua_getallocf(L, &vm);
    return vm;
}
/** What runs from here on; NULL: nothing. */
static inline void vm_run(struct vm *vm, struct invocation *inv)
{
    vm->current = inv;
    vm->live = inv != NULL ? inv->serial : 0;
}
struct vm *vm_create(struct lua_app *app, bool declaring);
void vm_destroy(struct vm *vm);
/** Runs all sources of the application; false with the problem. */
bool vm_load_all(struct vm *vm, struct lua_problem *problem);
bool vm_load(struct vm *vm, const struct source *source, struct lua_problem *problem);
struct source *source_read(struct lua_app *app, const char *path, bool module, char *why,
                           size_t why_bytes);
/** Runs a file that is given, not required, in the vm that declares; false with the problem. */
bool source_declare(struct lua_app *app, const char *path, struct lua_problem *problem);
/** What to say behind an unknown global's name: ": ...". */
const char *global_hint(const char *name);
void problem_of(struct lua_problem *problem, const char *file, const char *message);
/** The number of a kept function; UINT32_MAX when a vm that binds meets one that was not declared. */
uint32_t function_number(struct vm *vm, const char *name);
/** Keeps the function on top of the stack (popped) as the number's. */
void function_keep(lua_State *L, uint32_t number);
/** Raises an error when little C stack is left; before each call from C into Lua. */
void stack_check(lua_State *L);
/** Raises the text with the line of the function at that level: 1 called this C function. */
_Noreturn void raise_at(lua_State *L, int level, const char *text);
bool name_is_fit(const char *name, size_t len);

/* ---- lua_types.c: declarations ------------------------------------------------------------------------- */
void types_open(lua_State *L); /* fills the module table on top */
struct lua_type *type_named(lua_State *L, const char *name, size_t len, bool service);
struct lua_type *type_known(const struct vm *vm, struct weir_str name); /* NULL: not yet */
struct type *type_resolve(struct vm *vm, struct lua_type *type);        /* NULL: not declared */
/** "bank.lua:12" of the Lua code that called; nil outside. */
struct weir_str where_called(lua_State *L, struct arena *arena);
extern const char *const lua_kind_words[];

struct builder {
    struct vm *vm;
    struct arena *arena;
    char path[200];
    unsigned depth;
};
/** Raises "FILE:LINE: text" of the Lua code that called. */
__attribute__((format(printf, 2, 3), noreturn)) void refuse(lua_State *L, const char *format, ...);
/** A table of fields at idx as a shape. */
struct shape *shape_build(struct builder *b, lua_State *L, int idx);
struct lua_code *code_new(struct builder *b, lua_State *L, const char *name);
void name_judge(lua_State *L, const char *what, const char *name, size_t len);
void need_file_level(lua_State *L, const char *what);
struct arena *builder_arena(struct vm *vm);
bool is_type(lua_State *L, int idx);
/** A declaration that `weir check` can go on after; `stand_in`: what it then gives. */
void declare_push(lua_State *L, lua_CFunction function, int upvalue, int stand_in);

/* ---- lua_stream.c: streams, emitting, following ---------------------------------------------------------- */
void streams_open(lua_State *L); /* metatables */
int weir_stream_lua(lua_State *L);
int stream_follow(lua_State *L);
int weir_every_lua(lua_State *L);
void stream_push(lua_State *L, struct weir_str name);
/** The name of the stream; nil when the value is none. */
struct weir_str stream_name(lua_State *L, int idx);
/** The stream that the value names; NULL when no file has declared it yet. */
struct stream *stream_find(lua_State *L, int idx);

/* ---- lua_window.c: windows, joins, aggregates ---------------------------------------------------------- */
void windows_open(lua_State *L); /* metatables; fills the module table on top */
int weir_window_lua(lua_State *L);
int weir_join_lua(lua_State *L);
where_fn lua_where; /* lua_call.c: of a struct lua_code */
fold_fn lua_fold;

/* ---- lua_outside.c: services outside ---------------------------------------------------------------------- */
void outsides_open(lua_State *L); /* metatables; fills the module table on top */
int weir_outside_lua(lua_State *L);
/** The name of the service; nil when the value is none. */
struct weir_str outside_name(lua_State *L, int idx);
int weir_secret_lua(lua_State *L);
const char *setting_find(struct vm *vm, const char *name);
double span_parse(const char *text); /* lua_call.c */
char *args_take(lua_State *L, struct invocation *inv, const struct handler *handler, int first);
/** What the transaction sent or asked last, for the handler to return. */
void ticket_push(lua_State *L, struct invocation *inv);

/* ---- lua_value.c: struct <-> Lua ------------------------------------------------------------------------ */
struct conv {
    struct arena *arena;
    struct vm *vm;
    bool starts; /* fields left out start as in a row */
    bool row;    /* nil where a row may hold it */
    bool alike;  /* JSON for comparing: an empty object is as an empty array, null as nothing */
    char path[96], text[256], rule[16];
};
/** As an initializer, without clearing the texts. */
static inline void conv_init(struct conv *c, struct vm *vm, struct arena *arena)
{
    c->arena = arena;
    c->vm = vm;
    c->starts = c->row = c->alike = false;
    c->path[0] = c->text[0] = c->rule[0] = 0;
}
/** Lua value at idx into the field of `base`. False with c->text. */
bool value_read(struct conv *c, lua_State *L, int idx, const struct field *field, char *base);
bool record_read(struct conv *c, lua_State *L, int idx, const struct shape *shape, char *base);
/** What stands at idx, for messages. */
const char *value_got(lua_State *L, int idx, char text[64]);
/** `one of "a" "b"`, cut where there are too many. */
const char *words_list(const struct weir_str *words, uint32_t count, char text[120]);
/** Pushes a copy. */
void value_push(lua_State *L, const struct field *field, const char *base);
void record_push(lua_State *L, const struct shape *shape, const char *base);
/** Pushes a live proxy for records and lists, a copy of anything else. */
void value_push_live(lua_State *L, const struct field *field, char *base, bool writable);
void json_push(lua_State *L, struct weir_str json);
/** Any Lua value as JSON; false with c->text. */
bool json_take(struct conv *c, lua_State *L, int idx, struct buf *out, unsigned depth);
/** A copy in the invocation's transaction memory; raises when too much is used. */
struct weir_str text_keep(lua_State *L, struct arena *arena, struct weir_str text);
/** The number at idx, if it is whole and within 2^53. */
static inline bool whole_take(lua_State *L, int idx, int64_t *n)
{
    double x = lua_tonumber(L, idx);
    if (!(x >= -(double)WEIR_INT_MAX && x <= (double)WEIR_INT_MAX)) return false; /* NaN, too */
    *n = (int64_t)x;
    return (double)*n == x;
}

/** An int of 64 bits; nil where it may be. */
static inline void int_push(lua_State *L, const struct field *field, const char *base)
{
    int64_t n;
    memcpy(&n, base + field->offset, sizeof(n));
    if (n == WEIR_NIL) lua_pushnil(L);
    else lua_pushnumber(L, (double)n);
}

/* ---- lua_field.c: fields in compiled handlers -------------------------------------------------------------- */
/** Puts functions that the compiler goes through before __index and __newindex of the metatable on top. At `names` is the
 *  table of names; numbers of fields that are never assigned are above by `key_part`. `is_self`: they know `self.key`, too. */
void fields_compile(lua_State *L, const struct shape *shape, int names, int key_part, bool is_self);

/* ---- lua_handle.c: handles ---------------------------------------------------------------------------------- */
void handles_open(lua_State *L);
void handles_free(struct handles *h);
void handle_push(lua_State *L, struct lua_type *type, struct weir_str key);
/** Pushes the handle if it lives: makes nothing in Lua's memory, so it may stand outside a protected call. */
bool handle_push_known(lua_State *L, struct lua_type *type, struct weir_str key);
/** Pushes the invocation's own handle for the argument at that place; makes nothing, unless it is the first: false then. */
bool handle_lend(lua_State *L, struct invocation *inv, uint32_t place, struct lua_type *type,
                 struct weir_str key);
/** The same, and makes the first. */
void handle_lend_first(lua_State *L, struct invocation *inv, uint32_t place, struct lua_type *type,
                       struct weir_str key);
/** Lends the handle of that place, which must be there, to another invocation of the same handler. */
static inline void handle_lend_again(struct invocation *inv, uint32_t place, struct weir_str key)
{
    struct ud_handle *handle = inv->lent[place].handle;
    handle->tag = UD_HANDLE;
    handle->key = key.ptr;
    handle->len = (uint32_t)key.len;
    handle->placed = false;
    inv->lent_out |= 1u << place;
}
void handles_give_back(struct invocation *inv);
/** What once_push() made, as it is called: it may be made again. False: it is none of this invocation's. */
bool once_take(struct invocation *inv, struct ud_once *once);
/** Those that were never called are not lent again. */
void once_give_up(struct invocation *inv);
/** Pushes a function of Lua whose first upvalue is what makes such handles of the type. */
void once_maker_push(lua_State *L, struct lua_type *type);
int handle_make(lua_State *L); /* __call of an entity */
void type_metatables(lua_State *L, struct lua_type *type);
/** The key of a typed or plain handle from Lua values at first..top. */
struct weir_str key_from(lua_State *L, struct lua_type *type, int first, struct buf *bytes);

/* ---- lua_row.c: proxies ------------------------------------------------------------------------------------- */
void rows_open(lua_State *L); /* metatables; helpers for the prelude into the table on top */
void *ud_test(lua_State *L, int idx, enum ud_tag tag);
/** Type and key of a handle or self; NULL when the value is neither. The key lives as the value does. */
struct lua_type *handle_get(lua_State *L, int idx, struct weir_str *key);
void self_push(lua_State *L, struct invocation *inv);
/** The invocation's own, which must be there: makes nothing, so it may stand outside a protected call. */
void self_lend(lua_State *L, struct invocation *inv);
/** Lends it to another invocation of the same handler. */
static inline void self_lend_again(struct invocation *inv)
{
    inv->self->writable = !inv->read_only;
    inv->self->serial = inv->serial;
    inv->self->base = inv->row;
}
/** What this vm keeps for a shape of records. */
struct names *shape_names(lua_State *L, const struct shape *shape);
void record_proxy_push(lua_State *L, const struct shape *shape, char *base, bool writable);
void list_proxy_push(lua_State *L, const struct field *field, struct weir_list *list,
                     bool writable);
struct ud_record *record_live(lua_State *L, int idx);
struct ud_list *list_live(lua_State *L, int idx);
void list_element_push(lua_State *L, struct ud_list *list, size_t i);

/* ---- lua_map.c ------------------------------------------------------------------------------------------ */
void maps_open(lua_State *L);
void map_push(lua_State *L, int map, const struct map_def *def);

/* ---- lua_call.c: the runtime, calls, the module in handlers ---------------------------------------------- */
void calls_open(lua_State *L); /* fills the module table on top */
struct invocation *invocation_here(lua_State *L, const char *what);
/** After any call into the engine: does not return when the transaction is doomed. */
void engine_check(lua_State *L, struct invocation *inv);
__attribute__((noreturn)) void abandon(struct invocation *inv);
/** Leaves and enters the code that may be stopped; around engine calls that may run other handlers. */
void invocation_pause(struct invocation *inv);
void invocation_continue(struct invocation *inv);
int handler_call(lua_State *L); /* closure: upvalue 1 the handler */
/** For an __index: the result is the handler's call, noted under the name, argument 2, in the table of upvalue 1. */
int handler_found(lua_State *L, struct handler *handler);
void runtime_init(struct lua_app *app);
bool rule_field(void *arg, const void *value);
/** What a rule raised on this thread since this was asked last; "" if none did. Until the next rule is asked. */
const char *rule_error_take(void);
bool rule_row(struct weir_ctx *ctx, struct type *type, const void *row, struct weir_str *code);
void judges_free(struct lua_app *app);
/** Runs the function on L's stack as lua_pcall() does, but stopped when it takes too long; -1 then, and the
 *  vm is unusable. */
int vm_call_watched(struct vm *vm, lua_State *L, struct watch_run *run, int args, int results);
void vm_hook(lua_State *L, lua_Debug *debug);

/* ---- lua_check.c: reading byte code ---------------------------------------------------------------------- */
/** Looks at every kept function and what it reaches; reports assignments to variables outside that are not among the `count`
 *  problems yet. Their count then. */
unsigned functions_check(struct vm *vm, struct lua_problem *problems, unsigned count, unsigned max);
void byte_code_verify(lua_State *L);
/** By bit, the parameters of which the function only reads and assigns fields, calls handlers, compares: nothing can hold
 *  them afterwards. 0: `self`. */
uint32_t function_lends(lua_State *L, int idx);
/** The line of a `return` that names more values than one, in the function itself; 0: none. What a call gives is not counted. */
int function_returns_more(lua_State *L, int idx);
/** By bit, the upvalues that the function, and functions in it, only call, each time to call at once a method of the one value that this
 *  gives: u(...):name(...). */
uint64_t function_calls_once(lua_State *L, int idx);
/** Kept functions, and what they reach, make handles once where they can. */
void functions_make_once(struct vm *vm);

/* ---- lua_test.c ------------------------------------------------------------------------------------------ */
struct lua_test;

#endif
