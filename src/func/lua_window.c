/*
 * lua_window.c - windows and joins in Lua.
 *
 *   local hourly = weir.window("hourly", { from = used, by = "shop", size = "1h", late = "2m",
 *                                          total = weir.sum "amount", n = weir.count() })
 *   local hits   = weir.join("hits", { left = ads, right = buys, by = { "user", "pack" }, within = "8s" })
 *
 * Both give a stream. An entry whose value is an aggregate is a column. `where` and folds are functions of an event
 * alone: they run outside transactions, on whatever thread has the event.
 * SPDX-License-Identifier: MIT
 */
#include "func/lua_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES_MAX (3 * NAME_BYTES_MAX) /* "left.right.amount" */
#define AGGREGATE_META "weir.aggregate"
#define IDLE_MS_MIN 10

struct ud_aggregate {
    enum ud_tag tag;
    enum aggregate_kind kind;
    uint32_t top;
    bool sketch;
    int start, fold; /* registry */
    char field[PATH_BYTES_MAX + 1];
};

/* ---- aggregates ---- */

static struct ud_aggregate *aggregate_push(lua_State *L, enum aggregate_kind kind)
{
    struct ud_aggregate *ud = lua_newuserdata(L, sizeof(*ud));
    *ud = (struct ud_aggregate){
        .tag = UD_AGGREGATE, .kind = kind, .start = LUA_NOREF, .fold = LUA_NOREF
    };
    luaL_getmetatable(L, AGGREGATE_META);
    lua_setmetatable(L, -2);
    return ud;
}

static void field_take(lua_State *L, int idx, struct ud_aggregate *ud)
{
    size_t len = 0;
    const char *name = lua_type(L, idx) == LUA_TSTRING ? lua_tolstring(L, idx, &len) : NULL;
    if (name == NULL || len == 0 || len > PATH_BYTES_MAX)
        refuse(L, "weir.%s takes the name of a field: weir.sum \"amount\"",
               aggregate_word(ud->kind));
    memcpy(ud->field, name, len + 1);
}

/* weir.sum "amount" and its like; upvalue: the kind. */
static int of_field(lua_State *L)
{
    enum aggregate_kind kind = (enum aggregate_kind)lua_tointeger(L, lua_upvalueindex(1));
    lua_settop(L, 2);
    field_take(L, 1, aggregate_push(L, kind));
    return 1;
}

static int of_count(lua_State *L)
{
    if (lua_gettop(L) > 0) refuse(L, "weir.count takes nothing: it counts events");
    aggregate_push(L, AGGREGATE_COUNT);
    return 1;
}

/* weir.distinct "shop", weir.distinct("shop", { sketch = true }) */
static int of_distinct(lua_State *L)
{
    lua_settop(L, 2);
    bool sketch = false;
    if (!lua_isnil(L, 2)) {
        if (!lua_istable(L, 2))
            refuse(L, "weir.distinct: the options are a table: { sketch = true }");
        for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), "sketch") != 0)
                refuse(L, "weir.distinct has the option sketch = true");
            if (!lua_isboolean(L, -1)) refuse(L, "weir.distinct: `sketch` is true or false");
            sketch = lua_toboolean(L, -1);
        }
    }
    struct ud_aggregate *ud = aggregate_push(L, AGGREGATE_DISTINCT);
    field_take(L, 1, ud);
    ud->sketch = sketch;
    return 1;
}

/* weir.top(3, "amount") */
static int of_top(lua_State *L)
{
    lua_settop(L, 2);
    double n = lua_type(L, 1) == LUA_TNUMBER ? lua_tonumber(L, 1) : 0;
    if (!(n >= 1 && n <= AGGREGATE_TOP_MAX && n == (double)(uint32_t)n))
        refuse(L, "weir.top takes how many, 1 to %u, and a field: weir.top(3, \"amount\")",
               AGGREGATE_TOP_MAX);
    struct ud_aggregate *ud = aggregate_push(L, AGGREGATE_TOP);
    ud->top = (uint32_t)n;
    field_take(L, 2, ud);
    return 1;
}

/* weir.fold({ n = 0 }, function(acc, event) ... return acc end) */
static int of_fold(lua_State *L)
{
    lua_settop(L, 2);
    if (!lua_isfunction(L, 2) || lua_iscfunction(L, 2))
        refuse(L, "weir.fold takes a start and a function(acc, event) that returns the next acc");
    struct ud_aggregate *ud = aggregate_push(L, AGGREGATE_FOLD);
    lua_pushvalue(L, 1);
    ud->start = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, 2);
    ud->fold = luaL_ref(L, LUA_REGISTRYINDEX);
    return 1;
}

/* ---- options ---- */

struct reading {
    struct builder b;
    const char *what; /* "window" or "join" */
    struct derived d;
    struct stream options, *left, *right;
    int64_t gap, last, within, size, slide, age;
    bool as_of;
};

static int64_t span_take(lua_State *L, struct reading *r, const char *name)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    double ms = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : span_parse(text);
    if (!(ms >= 0 && ms <= (double)WEIR_INT_MAX && ms == (double)(int64_t)ms))
        refuse(L, "%s %s: `%s` is a duration: \"90s\", \"1h30m\"", r->what, r->b.path, name);
    return (int64_t)ms;
}

/* Of what nothing lasts, and 0 would be as if it were not there. */
static int64_t span_take_least(lua_State *L, struct reading *r, const char *name, int64_t least)
{
    int64_t ms = span_take(L, r, name);
    if (ms < least) refuse(L, "%s %s: `%s` is at least %dms", r->what, r->b.path, name, (int)least);
    return ms;
}

static struct stream *source_take(lua_State *L, struct reading *r, const char *name)
{
    struct weir_str stream = stream_name(L, -1);
    if (stream.ptr == NULL)
        refuse(L, "%s %s: `%s` is a stream, as weir.stream gives it", r->what, r->b.path, name);
    struct stream *found = stream_find(L, -1);
    if (found == NULL)
        refuse(L, "%s %s: no file has declared the stream `%.*s` yet", r->what, r->b.path,
               STR_ARG(stream));
    return found;
}

static int by_order(const void *a, const void *b)
{
    return str_cmp(((const struct weir_str *)a)[0], ((const struct weir_str *)b)[0]);
}

/* "shop", { "user", "pack" }; of a join { id = "seller" }: the left field and the right one; of a window
 * { shop = "right.shop" }: what the column is called, and the field. */
static void by_take(lua_State *L, struct reading *r, bool join)
{
    struct weir_str pairs[DERIVED_BY_MAX][2];
    uint32_t count = 0, listed = 0;
    if (lua_type(L, -1) == LUA_TSTRING) {
        r->d.by[0][0] = r->d.by[1][0] = arena_copy(r->b.arena, str_of(lua_tostring(L, -1)));
        r->d.by_count = 1;
        return;
    }
    if (!lua_istable(L, -1))
        refuse(L, "%s %s: `by` is a field of the event or a list of them", r->what, r->b.path);
    int table = lua_gettop(L);
    for (int i = 1;; i++, listed++) {
        lua_rawgeti(L, table, i);
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        if (name == NULL || count == DERIVED_BY_MAX) break;
        pairs[count][0] = pairs[count][1] = arena_copy(r->b.arena, str_of(name));
        count++;
        lua_pop(L, 1);
    }
    if (!lua_isnil(L, -1))
        refuse(L, "%s %s: `by` lists at most %u names of fields", r->what, r->b.path,
               DERIVED_BY_MAX);
    lua_pop(L, 1);
    for (lua_pushnil(L); lua_next(L, table) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TNUMBER) continue;
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING ||
            count == DERIVED_BY_MAX)
            refuse(L, "%s %s: `by` lists names of fields, or %s", r->what, r->b.path,
                   join ? "left = \"right\" where they differ" : "column = \"field\"");
        if (!join) name_judge(L, "a column", lua_tostring(L, -2), strlen(lua_tostring(L, -2)));
        pairs[count][0] = arena_copy(r->b.arena, str_of(lua_tostring(L, -2)));
        pairs[count][1] = arena_copy(r->b.arena, str_of(lua_tostring(L, -1)));
        count++;
    }
    qsort(pairs[listed], count - listed, sizeof(pairs[0]), by_order);
    for (uint32_t i = 0; i < count; i++) {
        r->d.by[0][i] = pairs[i][join ? 0 : 1];
        r->d.by[1][i] = pairs[i][1];
        if (!join && i >= listed) r->d.by_names[i] = pairs[i][0];
    }
    r->d.by_count = count;
}

static struct lua_code *function_take(lua_State *L, struct reading *r, const char *name)
{
    char full[320];
    snprintf(full, sizeof(full), "%s %s.%s", r->what, r->b.path, name);
    struct lua_code *code = code_new(&r->b, L, full);
    lua_pushvalue(L, -1);
    function_keep(L, code->function);
    return code;
}

static void aggregate_take(lua_State *L, struct reading *r, const char *name)
{
    const struct ud_aggregate *ud = ud_test(L, -1, UD_AGGREGATE);
    name_judge(L, "a column", name, strlen(name));
    if (r->d.aggregate_count == DERIVED_AGGREGATES_MAX)
        refuse(L, "window %s: more than %u aggregates", r->b.path, DERIVED_AGGREGATES_MAX);
    struct aggregate *g = &r->d.aggregates[r->d.aggregate_count++];
    *g = (struct aggregate){ .name = arena_copy(r->b.arena, str_of(name)),
                             .kind = ud->kind,
                             .field = arena_copy(r->b.arena, str_of(ud->field)),
                             .top = ud->top,
                             .sketch = ud->sketch };
    if (ud->kind != AGGREGATE_FOLD) return;
    struct conv conv = { .vm = r->b.vm };
    struct buf json = { 0 };
    lua_rawgeti(L, LUA_REGISTRYINDEX, ud->start);
    bool good = json_take(&conv, L, lua_gettop(L), &json, 0);
    g->start = arena_copy(r->b.arena, buf_str(&json));
    buf_free(&json);
    if (!good) refuse(L, "window %s: %s: the start of the fold: %s", r->b.path, name, conv.text);
    lua_pop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ud->fold);
    g->fold = lua_fold;
    g->fold_arg = function_take(L, r, name);
    lua_pop(L, 1);
}

/* Options that windows and joins share; false: another. */
static bool option_common(lua_State *L, struct reading *r, const char *name)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (strcmp(name, "late") == 0) r->d.late_ms = span_take(L, r, name);
    else if (strcmp(name, "idle") == 0) r->d.idle_ms = span_take_least(L, r, name, IDLE_MS_MIN);
    else if (strcmp(name, "size") == 0) r->size = span_take_least(L, r, name, 1);
    else if (strcmp(name, "slide") == 0) r->slide = span_take_least(L, r, name, 1);
    else if (strcmp(name, "keep") == 0) {
        if (text == NULL || !stream_keep_parse(str_of(text), &r->options) || r->options.latest)
            refuse(L, "%s %s: `keep` is a duration, a size or \"forever\"", r->what, r->b.path);
    } else {
        return false;
    }
    return true;
}

static void option_window(lua_State *L, struct reading *r, const char *name)
{
    if (ud_test(L, -1, UD_AGGREGATE) != NULL) return; /* in the order of their names, later */
    if (option_common(L, r, name)) return;
    if (strcmp(name, "from") == 0) r->left = source_take(L, r, name);
    else if (strcmp(name, "by") == 0) by_take(L, r, false);
    else if (strcmp(name, "gap") == 0) r->gap = span_take_least(L, r, name, 1);
    else if (strcmp(name, "last") == 0) r->last = span_take_least(L, r, name, 1);
    else if (strcmp(name, "correct") == 0) r->d.correct_ms = span_take_least(L, r, name, 1);
    else if (strcmp(name, "early") == 0) {
        if (!lua_isboolean(L, -1)) refuse(L, "window %s: `early` is true or false", r->b.path);
        r->d.early = lua_toboolean(L, -1);
    } else if (strcmp(name, "where") == 0) {
        if (!lua_isfunction(L, -1) || lua_iscfunction(L, -1))
            refuse(L, "window %s: `where` is a function of the event: true to count it", r->b.path);
        r->d.where = lua_where;
        r->d.where_arg = function_take(L, r, name);
    } else {
        refuse(L,
               "window %s: `%s` is no option and no aggregate; it has from, by, size, slide, gap, "
               "last, late, correct, idle, early, where, keep",
               r->b.path, name);
    }
}

static void option_join(lua_State *L, struct reading *r, const char *name)
{
    if (option_common(L, r, name)) return;
    if (strcmp(name, "left") == 0) r->left = source_take(L, r, name);
    else if (strcmp(name, "right") == 0) r->right = source_take(L, r, name);
    else if (strcmp(name, "by") == 0) by_take(L, r, true);
    else if (strcmp(name, "within") == 0) r->within = span_take_least(L, r, name, 1);
    else if (strcmp(name, "as_of") == 0) {
        bool span = lua_isstring(L, -1);
        if (!span && !lua_isboolean(L, -1))
            refuse(L, "join %s: `as_of` is true, or how old the right event may be: \"1h\"",
                   r->b.path);
        r->as_of = span || lua_toboolean(L, -1);
        if (span) r->age = span_take_least(L, r, name, 1);
    } else {
        refuse(
            L,
            "join %s: there is no option `%s`; it has left, right, by, within, size, slide, as_of, "
            "late, idle, keep",
            r->b.path, name);
    }
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of the table's entries, sorted: what is declared does not depend on the order in a hash table. */
static const char **entry_names(lua_State *L, struct reading *r, uint32_t *count)
{
    *count = 0;
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            refuse(L, "%s %s: its options have names", r->what, r->b.path);
        (*count)++;
    }
    const char **names = arena_alloc(r->b.arena, (*count + 1) * sizeof(*names));
    uint32_t i = 0;
    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1))
        names[i++] = arena_cstr(r->b.arena, str_of(lua_tostring(L, -2)));
    qsort(names, *count, sizeof(*names), name_order);
    return names;
}

static void options_read(lua_State *L, struct reading *r, bool join)
{
    uint32_t count;
    const char **names = entry_names(L, r, &count);
    r->d.aggregates = arena_alloc(r->b.arena, DERIVED_AGGREGATES_MAX * sizeof(struct aggregate));
    for (uint32_t i = 0; i < count; i++) {
        lua_getfield(L, 2, names[i]);
        if (join) option_join(L, r, names[i]);
        else option_window(L, r, names[i]);
        if (!join && ud_test(L, -1, UD_AGGREGATE) != NULL) aggregate_take(L, r, names[i]);
        lua_settop(L, 2);
    }
}

static void window_kind_choose(lua_State *L, struct reading *r)
{
    int kinds = (r->size > 0) + (r->gap > 0) + (r->last > 0);
    if (r->left == NULL) refuse(L, "window %s: `from` is the stream that it looks at", r->b.path);
    if (kinds != 1 || (r->slide > 0 && r->size == 0))
        refuse(
            L,
            "window %s: it has exactly one of `size` (with `slide` or without), `gap` and `last`",
            r->b.path);
    r->d.kind = r->gap > 0 ? WINDOW_SESSION : r->last > 0 ? WINDOW_LAST : WINDOW_SPAN;
    r->d.size = r->size + r->gap + r->last;
    r->d.slide = r->slide > 0 ? r->slide : r->size;
}

static void join_kind_choose(lua_State *L, struct reading *r)
{
    if (r->left == NULL || r->right == NULL)
        refuse(L, "join %s: `left` and `right` are the two streams", r->b.path);
    if (r->d.by_count == 0)
        refuse(L, "join %s: `by` names the fields that must be equal", r->b.path);
    int kinds = (r->size > 0) + (r->within > 0) + r->as_of;
    if (kinds != 1 || (r->slide > 0 && r->size == 0))
        refuse(
            L,
            "join %s: it has exactly one of `within`, `size` (with `slide` or without) and `as_of`",
            r->b.path);
    r->d.kind = r->as_of ? JOIN_AS_OF : r->size > 0 ? JOIN_SPAN : JOIN_WITHIN;
    r->d.size = r->size + r->within + r->age;
    r->d.slide = r->slide > 0 ? r->slide : r->size;
}

static int derived_declare(lua_State *L, const char *what, bool join)
{
    struct vm *vm = vm_of(L);
    size_t len = 0;
    lua_settop(L, 2);
    const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    if (name == NULL || !lua_istable(L, 2))
        refuse(L,
               "weir.%s takes a name and a table: weir.window(\"hourly\", { from = used, by = "
               "\"shop\", size = \"1h\", n = weir.count() })",
               what);
    name_judge(L, "a stream", name, len);
    struct reading r = { .what = what,
                         .b = { .vm = vm, .arena = builder_arena(vm) },
                         .options = { .keep_ms = STREAM_KEEP_MS_DEFAULT } };
    snprintf(r.b.path, sizeof(r.b.path), "%s", name);
    r.d.name = (struct weir_str){ name, len };
    options_read(L, &r, join);
    if (join) join_kind_choose(L, &r);
    else window_kind_choose(L, &r);
    r.d.at = where_called(L, r.b.arena);
    char why[400] = "";
    if (vm->declaring && catalog_add_derived(vm->app->catalog, &r.d, r.left, r.right, &r.options,
                                             why, sizeof(why)) == NULL)
        refuse(L, "%s %s: %s", what, name, why);
    stream_push(L, (struct weir_str){ name, len });
    return 1;
}

int weir_window_lua(lua_State *L)
{
    need_file_level(L, "weir.window");
    return derived_declare(L, "window", false);
}

int weir_join_lua(lua_State *L)
{
    need_file_level(L, "weir.join");
    return derived_declare(L, "join", true);
}

void windows_open(lua_State *L)
{
    static const struct {
        const char *name;
        lua_CFunction function;
        enum aggregate_kind kind;
    } functions[] = {
        { "count", of_count, AGGREGATE_COUNT },
        { "sum", of_field, AGGREGATE_SUM },
        { "min", of_field, AGGREGATE_MIN },
        { "max", of_field, AGGREGATE_MAX },
        { "avg", of_field, AGGREGATE_AVG },
        { "first", of_field, AGGREGATE_FIRST },
        { "last", of_field, AGGREGATE_LAST },
        { "top", of_top, AGGREGATE_TOP },
        { "distinct", of_distinct, AGGREGATE_DISTINCT },
        { "fold", of_fold, AGGREGATE_FOLD },
    };
    luaL_newmetatable(L, AGGREGATE_META);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        lua_pushinteger(L, functions[i].kind);
        lua_pushcclosure(L, functions[i].function, 1);
        lua_setfield(L, -2, functions[i].name);
    }
}
