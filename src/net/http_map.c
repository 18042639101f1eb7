/*
 * http_map.c - GET /{type}/{key}/{map}: rows of a map, page by page.
 *
 * A page is a bare array. Whether there are more rows than `limit` is asked behind a full page: the two rows from its
 * last one on, whose second is where the next page begins (Link, RFC 8288). So a page may be as large as the engine
 * lets it, and only full ones cost a second query.
 * SPDX-License-Identifier: MIT
 */
#include "net/http_int.h"

#define PAGE_ROWS 100 /* without `limit` */

/* A walk, and the page that it gave. */
struct walk {
    struct arena arena;
    struct map_query query; /* as it was asked for */
    const struct handler *handler;
    struct weir_str key;
    struct buf page;
    struct weir_str last; /* key of its last row, in `page` */
};

static void walk_dropped(struct call *call)
{
    struct walk *walk = call->state;
    arena_free(&walk->arena);
    buf_free(&walk->page);
    mem_free(walk);
}

static void walk_submit(struct call *call, const struct map_query *query,
                        void (*then)(struct call *))
{
    struct walk *walk = call->state;
    struct arena arena = call->request.arena;
    arena_reset(&arena);
    size_t bytes = walk->handler->args->size;
    struct map_query *args = arena_alloc(&arena, bytes > sizeof(*args) ? bytes : sizeof(*args));
    *args = *query;
    call->request = (struct request){
        .arena = arena, .handler = walk->handler, .key = walk->key, .args = args
    };
    call->resumed = then;
    call_submit(call);
}

/* ---- the next page ---- */

/* The key of a row's JSON, {"key":...,"value":...}. */
static struct weir_str row_key(const char *row, const char *end)
{
    const char *key = row + sizeof("{\"key\":") - 1;
    return (struct weir_str){ key, (size_t)(json_skip(key, end, NULL) - key) };
}

/* How many rows of a page there are, up to `most`, and the key of the last of them. */
static int64_t rows_count(struct weir_str page, int64_t most, struct weir_str *key)
{
    const char *at = page.ptr + 1, *end = page.ptr + page.len;
    int64_t count = 0;
    while (count < most && at < end && *at != ']') {
        const char *row = at;
        at = json_skip(row, end, NULL);
        *key = row_key(row, at);
        if (at < end && *at == ',') at++;
        count++;
    }
    return count;
}

/* As a bound has it: the parts of a key of several, {"k1":...,"k2":...}, as an array. */
static struct weir_str key_bound(struct arena *arena, struct weir_str key)
{
    struct buf array = { 0 };
    if (key.len == 0 || key.ptr[0] != '{') return arena_copy(arena, key);
    const char *end = key.ptr + key.len;
    for (const char *at = key.ptr; at < end && *at != '}';) {
        const char *value = json_skip(at + 1, end, NULL) + 1; /* behind the name, the colon */
        at = json_skip(value, end, NULL);
        buf_add_byte(&array, array.len > 0 ? ',' : '[');
        buf_add(&array, value, (size_t)(at - value));
    }
    buf_add_byte(&array, ']');
    struct weir_str bound = arena_copy(arena, buf_str(&array));
    buf_free(&array);
    return bound;
}

static void add_parameter(struct buf *out, const char *name, struct weir_str value)
{
    static const char digits[] = "0123456789ABCDEF";
    buf_printf(out, "%s%s=", out->len > 0 ? "&" : "?", name);
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        bool bare = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    c == '-' || c == '_' || c == '.' || c == '~';
        if (!bare) buf_add_byte(out, '%');
        buf_add_byte(out, bare ? c : (uint8_t)digits[c >> 4]);
        if (!bare) buf_add_byte(out, (uint8_t)digits[c & 15]);
    }
}

/* The page that begins with this row, relative to the one that was asked for. */
static struct weir_str next_page(struct walk *walk, struct weir_str key)
{
    const struct map_query *query = &walk->query;
    struct weir_str bound = key_bound(&walk->arena, key);
    struct weir_str from = query->reverse ? query->from : bound;
    struct weir_str to = query->reverse ? bound : query->to;
    struct buf out = { 0 };
    if (from.len > 0) add_parameter(&out, "from", from);
    if (to.len > 0) add_parameter(&out, "to", to);
    if (query->limit > 0) buf_printf(&out, "&limit=%lld", (long long)query->limit);
    if (query->reverse) buf_add_text(&out, "&reverse=true");
    struct weir_str next = arena_copy(&walk->arena, buf_str(&out));
    buf_free(&out);
    return next;
}

static struct weir_str answered_page(const struct call *call)
{
    return *(const struct weir_str *)call->request.result;
}

/* The rows from the last one of the page on came; it may have gone since. */
static void next_resumed(struct call *call)
{
    struct walk *walk = call->state;
    struct weir_str key = STR_NIL;
    enum weir_status status = call->request.status;
    if (status != WEIR_OK && status != WEIR_NOTFOUND) {
        call_answer(call);
        return;
    }
    bool more = status == WEIR_OK && rows_count(answered_page(call), 1, &key) > 0;
    if (more && str_eq(key, walk->last)) more = rows_count(answered_page(call), 2, &key) > 1;
    if (more) call->next_page = next_page(walk, key);
    call->request.status = WEIR_OK;
    call->fresh = true;
    http_answer_body(call, 200, "application/json", &walk->page);
}

static void walk_resumed(struct call *call)
{
    struct walk *walk = call->state;
    struct map_query query = walk->query;
    int64_t limit = query.limit > 0 ? query.limit : PAGE_ROWS;
    bool full = call->request.status == WEIR_OK &&
                rows_count(answered_page(call), limit, &walk->last) == limit;
    if (!full) {
        call_answer(call);
        return;
    }
    buf_add_str(&walk->page, answered_page(call));
    buf_add_byte(&walk->page, '\n');
    (void)rows_count(buf_str(&walk->page), limit, &walk->last);
    *(query.reverse ? &query.to : &query.from) = key_bound(&walk->arena, walk->last);
    query.limit = 2;
    walk_submit(call, &query, next_resumed);
}

/* ---- the question ---- */

/* A bound of a map walk: JSON as it stands; for a key of texts, a bare word too. A time is either. */
static struct weir_str bound_json(struct call *call, const struct map_def *map,
                                  struct weir_str text)
{
    enum weir_kind kind = map->key[0];
    bool number = kind == WEIR_INT || kind == WEIR_BOOL || kind == WEIR_TIME;
    bool json = text.len > 0 && (text.ptr[0] == '[' || text.ptr[0] == '"' || number);
    if (json && json_is_valid(text)) return text;
    struct buf *out = &call->conn->net->scratch;
    buf_reset(out);
    json_write_text(out, text);
    return buf_str(out);
}

/* One parameter of a map walk, of which those in `given` came; NULL or what is wrong with it. */
static const char *walk_parameter(struct call *call, const struct map_def *map,
                                  struct weir_str name, struct weir_str value, unsigned *given)
{
    struct walk *walk = call->state;
    struct map_query *query = &walk->query;
    uint64_t limit;
    static const char *const names[] = { "from", "to", "limit", "reverse" };
    unsigned place = 0;
    while (place < 4 && !str_eq(name, str_of(names[place]))) place++;
    if (place == 4) return "a walk takes from, to, limit and reverse";
    if (*given & 1u << place) return "a walk takes each of from, to, limit and reverse once";
    *given |= 1u << place;
    if (place < 2) {
        if (value.len == 0)
            return "from and to are keys: left out for an open end, the empty text is %22%22";
        struct weir_str bound = arena_copy(&walk->arena, bound_json(call, map, value));
        *(place == 0 ? &query->from : &query->to) = bound;
    } else if (place == 2) {
        if (!http_count_read(value, 1000, &limit)) return "limit is a whole number of 1 to 1000";
        query->limit = (int64_t)limit;
    } else {
        query->reverse = str_eq(value, STR("true")) || str_eq(value, STR("1")) || value.len == 0;
        if (!query->reverse && !str_eq(value, STR("false")) && !str_eq(value, STR("0")))
            return "reverse is true or false";
    }
    return NULL;
}

void http_route_map(struct call *call, const struct http_state *http, const struct path *path,
                    const struct type *type, int place)
{
    struct weir_str query = path->query, name, value;
    const char *fault = NULL;
    unsigned given = 0;
    int more = 0;
    const struct handler *handler = engine_map_query(call->conn->net->engine, type);
    if (!call_is_admitted(call, handler)) return;
    if (!http_is_read(http)) {
        http_refuse_method(call, "GET, HEAD");
        return;
    }
    if (!key_is_fit(call, path->segment[1])) return;
    struct walk *walk = mem_alloc(sizeof(*walk));
    call->state = walk;
    call->dropped = walk_dropped;
    walk->handler = handler;
    walk->key = arena_copy(&walk->arena, path->segment[1]);
    walk->query.map = place;
    while (!fault && (more = http_parameter(&walk->arena, &query, &name, &value)) > 0)
        fault = walk_parameter(call, &type->maps[place], name, value, &given);
    if (fault || more < 0)
        call_refuse(call, WEIR_ARG, "%s",
                    fault ? fault : "a parameter is not UTF-8 in percent escapes");
    else walk_submit(call, &walk->query, walk_resumed);
}
