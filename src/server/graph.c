/*
 * graph.c - the dataflow of an application: found in the catalog, written as text, DOT and JSON; `weir graph`.
 * SPDX-License-Identifier: MIT
 */
#include "server/graph.h"

#include <inttypes.h>
#include <stdio.h>

#include "data/duration.h"
#include "server/describe.h"
#include "server/load.h"
#include "server/server.h"

static const char *const kind_words[GRAPH_KINDS] = { "schedule", "service", "entity", "stream",
                                                     "outside" };
static const char *const link_words[GRAPH_LINKS] = { "runs",  "emits", "asks",
                                                     "feeds", "calls", "refers to" };

const char *graph_kind_word(enum graph_kind kind)
{
    return kind_words[kind];
}

const char *graph_link_word(enum graph_link link)
{
    return link_words[link];
}

/* ---- finding ---- */

static struct graph_node *node_add(struct graph *g, enum graph_kind kind, struct weir_str name,
                                   const void *of, uint32_t lines_max)
{
    g->nodes = mem_realloc(g->nodes, (g->node_count + 1) * sizeof(struct graph_node));
    struct graph_node *node = &g->nodes[g->node_count++];
    *node = (struct graph_node){ .kind = kind, .name = name, .of = of };
    node->lines = arena_alloc(&g->arena, (lines_max + 1) * sizeof(struct weir_str));
    return node;
}

static uint32_t node_of(const struct graph *g, const void *of)
{
    uint32_t i = 0;
    while (i < g->node_count && g->nodes[i].of != of) i++;
    return i;
}

static struct graph_edge *edge_find(const struct graph *g, enum graph_link link, uint32_t from,
                                    uint32_t to)
{
    for (uint32_t i = 0; i < g->edge_count; i++) {
        struct graph_edge *edge = &g->edges[i];
        if (edge->link == link && edge->from == from && edge->to == to) return edge;
    }
    return NULL;
}

/* True if the label, names with commas between, holds the name. */
static bool label_holds(const struct buf *label, struct weir_str name)
{
    size_t at = 0;
    while (at < label->len) {
        const char *comma = memchr(label->ptr + at, ',', label->len - at);
        size_t end = comma ? (size_t)(comma - label->ptr) : label->len;
        if (str_eq((struct weir_str){ label->ptr + at, end - at }, name)) return true;
        at = end + 2;
    }
    return false;
}

static void edge_add(struct graph *g, enum graph_link link, uint32_t from, uint32_t to,
                     struct weir_str label)
{
    if (from >= g->node_count || to >= g->node_count) return;
    struct graph_edge *edge = edge_find(g, link, from, to);
    if (!edge) {
        g->edges = mem_realloc(g->edges, (g->edge_count + 1) * sizeof(struct graph_edge));
        edge = &g->edges[g->edge_count++];
        *edge = (struct graph_edge){ .link = link, .from = from, .to = to };
    }
    if (label.len == 0 || label_holds(&edge->label, label)) return;
    buf_printf(&edge->label, "%s%.*s", edge->label.len ? ", " : "", STR_ARG(label));
}

static bool joined(const struct graph *g, uint32_t a, uint32_t b)
{
    for (uint32_t i = 0; i < g->edge_count; i++) {
        const struct graph_edge *edge = &g->edges[i];
        if (edge->link == GRAPH_REFERS) continue;
        if ((edge->from == a && edge->to == b) || (edge->from == b && edge->to == a)) return true;
    }
    return false;
}

static void refer(struct graph *g, const struct catalog *catalog, uint32_t from,
                  struct weir_str type, struct weir_str label)
{
    uint32_t to = node_of(g, catalog_type(catalog, type));
    if (to != from && !joined(g, from, to)) edge_add(g, GRAPH_REFERS, from, to, label);
}

/* Whose keys a shape holds. */
static void refer_shape(struct graph *g, const struct catalog *catalog, uint32_t from,
                        const struct shape *shape, struct weir_str label)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *field = &shape->fields[i];
        struct weir_str name = label.len ? label : field->name;
        if (field->kind == WEIR_REF) refer(g, catalog, from, field->type, name);
        else if (field->shape) refer_shape(g, catalog, from, field->shape, name);
    }
}

static void refer_type(struct graph *g, const struct catalog *catalog, uint32_t from,
                       const struct type *type)
{
    refer_shape(g, catalog, from, type->row, STR_NIL);
    for (uint32_t m = 0; m < type->map_count; m++) {
        const struct map_def *map = &type->maps[m];
        for (uint32_t k = 0; k < map->key_count; k++)
            if (map->key[k] == WEIR_REF) refer(g, catalog, from, map->key_type[k], map->name);
        refer_shape(g, catalog, from, map->value, map->name);
    }
    for (uint32_t h = 0; h < type->handler_count; h++)
        if (!type->handlers[h]->hidden)
            refer_shape(g, catalog, from, type->handlers[h]->args, type->handlers[h]->name);
}

struct reaching {
    struct graph *graph;
    const struct catalog *catalog;
};

/* A handler's code mentions something. */
static void reached(void *arg, const struct type *from, struct weir_str handler,
                    enum lua_reach what, struct weir_str name)
{
    struct reaching *r = arg;
    enum graph_link link = what == LUA_REACH_STREAM    ? GRAPH_EMITS
                           : what == LUA_REACH_OUTSIDE ? GRAPH_ASKS
                                                       : GRAPH_CALLS;
    const void *to = what == LUA_REACH_STREAM    ? (const void *)catalog_stream(r->catalog, name)
                     : what == LUA_REACH_OUTSIDE ? (const void *)catalog_outside(r->catalog, name)
                                                 : (const void *)catalog_type(r->catalog, name);
    uint32_t a = node_of(r->graph, from), b = node_of(r->graph, to);
    struct weir_str label = handler;
    if (label.len > 0 && label.ptr[0] == '@')
        label = arena_printf(&r->graph->arena, "on %.*s", (int)label.len - 1, label.ptr + 1);
    if (a != b) edge_add(r->graph, link, a, b, label);
}

static void add_span(struct arena *arena, struct graph_node *node, const struct stream *stream)
{
    int64_t ms = stream->keep_ms;
    uint64_t bytes = stream->keep_bytes;
    struct buf out = { 0 };
    buf_add_text(&out, stream->latest ? "keep latest of a key" : "keep");
    if (stream->latest && ms > 0) buf_add_text(&out, ", all for");
    if (ms > 0) buf_add_text(&out, " ");
    if (ms > 0) duration_write(&out, ms);
    if (bytes > 0) {
        buf_add_text(&out, ms > 0 ? ", " : " ");
        describe_size(bytes, &out);
    }
    if (!stream->latest && ms == 0 && bytes == 0) buf_add_text(&out, " forever");
    struct weir_str line = arena_copy(arena, buf_str(&out));
    buf_free(&out);
    node->lines[node->line_count++] = line;
}

static struct weir_str field_line(struct arena *arena, const struct field *field, const char *mark)
{
    static const char *const words[] = {
        [WEIR_INT] = "int",   [WEIR_FLOAT] = "float",   [WEIR_BOOL] = "bool",
        [WEIR_TEXT] = "text", [WEIR_BYTES] = "bytes",   [WEIR_TIME] = "time",
        [WEIR_ENUM] = "enum", [WEIR_RECORD] = "record", [WEIR_LIST] = "list",
        [WEIR_ANY] = "any",
    };
    bool ref = field->kind == WEIR_REF;
    bool known = (size_t)field->kind < sizeof(words) / sizeof(words[0]) && words[field->kind];
    struct weir_str kind = ref ? field->type : str_of(known ? words[field->kind] : "?");
    return arena_printf(arena, "%.*s %.*s%s", STR_ARG(field->name), STR_ARG(kind), mark);
}

static void add_stream(struct graph *g, const struct stream *stream)
{
    struct graph_node *node = node_add(g, GRAPH_STREAM, stream->name, stream,
                                       stream->event->count + 2);
    for (uint32_t i = 0; i < stream->event->count; i++)
        node->lines[node->line_count++] = field_line(&g->arena, &stream->event->fields[i],
                                                     (int)i == stream->key_field    ? "  (key)"
                                                     : (int)i == stream->time_field ? "  (time)"
                                                                                    : "");
    if (stream->from != NULL && stream->from->out == stream)
        node->lines[node->line_count++] = stream->from->text;
    add_span(&g->arena, node, stream);
}

static void add_type(struct graph *g, const struct type *type)
{
    enum graph_kind kind = type->service ? GRAPH_SERVICE : GRAPH_ENTITY;
    struct graph_node *node = node_add(g, kind, type->name, type, type->handler_count);
    for (uint32_t h = 0; h < type->handler_count; h++) {
        const struct handler *handler = type->handlers[h];
        if (handler->hidden) continue;
        struct buf line = { 0 };
        buf_printf(&line, "%.*s(", STR_ARG(handler->name));
        for (uint32_t a = 0; a < handler->args->count; a++)
            buf_printf(&line, "%s%.*s", a ? ", " : "", STR_ARG(handler->args->fields[a].name));
        buf_add_text(&line, ")");
        node->lines[node->line_count++] = arena_copy(&g->arena, buf_str(&line));
        buf_free(&line);
    }
}

/* The host alone: the rest of a URL may be secret. */
static struct weir_str url_host(struct weir_str url)
{
    const char *host = url.ptr, *end = url.ptr + url.len;
    for (size_t i = 0; i + 3 <= url.len && host == url.ptr; i++)
        if (memcmp(url.ptr + i, "://", 3) == 0) host = url.ptr + i + 3;
    for (const char *at = host; at < end; at++)
        if (memchr("/?#", *at, 3)) end = at;
    for (const char *at = host; at < end; at++)
        if (*at == '@') host = at + 1;
    return (struct weir_str){ host, (size_t)(end - host) };
}

static void nodes_find(struct graph *g, const struct catalog *catalog)
{
    for (uint32_t i = 0; i < catalog->schedule_count; i++) {
        const struct schedule_def *def = catalog->schedules[i];
        struct graph_node *node = node_add(g, GRAPH_SCHEDULE, def->name, def, 1);
        node->lines[node->line_count++] = arena_printf(&g->arena, "%.*s %.*s", STR_ARG(def->text),
                                                       STR_ARG(def->zone_name));
    }
    for (uint32_t i = 0; i < catalog->type_count; i++)
        if (!catalog->types[i]->builtin) add_type(g, catalog->types[i]);
    for (uint32_t i = 0; i < catalog->stream_count; i++) add_stream(g, catalog->streams[i]);
    for (uint32_t i = 0; i < catalog->outside_count; i++) {
        const struct outside_def *def = catalog->outsides[i];
        struct graph_node *node = node_add(g, GRAPH_OUTSIDE, def->name, def, 1);
        node->lines[node->line_count++] = url_host(def->url);
    }
}

void graph_init(struct graph *graph, const struct catalog *catalog, struct lua_app *lua)
{
    memset(graph, 0, sizeof *graph);
    nodes_find(graph, catalog);
    for (uint32_t i = 0; i < catalog->schedule_count; i++) {
        const struct schedule_def *def = catalog->schedules[i];
        edge_add(graph, GRAPH_RUNS, node_of(graph, def), node_of(graph, def->handler->type),
                 arena_printf(&graph->arena, "%.*s%s%.*s", STR_ARG(def->key),
                              def->key.len ? ": " : "", STR_ARG(def->handler_name)));
    }
    struct reaching reaching = { graph, catalog };
    if (lua) lua_app_reach(lua, reached, &reaching);
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        const struct follower *follower = catalog->followers[i];
        const struct field *by = follower->by >= 0 ? &follower->stream->event->fields[follower->by]
                                                   : NULL;
        const struct derived *derived = follower->derived;
        if (derived != NULL) {
            edge_add(graph, GRAPH_FEEDS, node_of(graph, follower->stream),
                     node_of(graph, derived->out),
                     derived->by_count ? arena_printf(&graph->arena, "by %.*s",
                                                      STR_ARG(derived->by[follower->side][0]))
                                       : STR_NIL);
            continue;
        }
        edge_add(graph, GRAPH_FEEDS, node_of(graph, follower->stream),
                 node_of(graph, follower->type),
                 by ? arena_printf(&graph->arena, "by %.*s", STR_ARG(by->name)) : STR_NIL);
    }
    for (uint32_t i = 0; i < catalog->derived_count; i++) {
        const struct derived *derived = catalog->deriveds[i];
        edge_add(graph, GRAPH_EMITS, node_of(graph, derived->out), node_of(graph, derived->late),
                 STR("late"));
    }
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct graph_node *node = &graph->nodes[i];
        if (node->kind == GRAPH_ENTITY || node->kind == GRAPH_SERVICE)
            refer_type(graph, catalog, i, node->of);
        else if (node->kind == GRAPH_STREAM)
            refer_shape(graph, catalog, i, ((const struct stream *)node->of)->event, STR_NIL);
    }
}

void graph_deinit(struct graph *graph)
{
    for (uint32_t i = 0; i < graph->edge_count; i++) buf_free(&graph->edges[i].label);
    mem_free(graph->nodes);
    mem_free(graph->edges);
    arena_free(&graph->arena);
}

/* ---- writing ---- */

void graph_write_text(const struct graph *graph, struct buf *out)
{
    int width = 8;
    for (uint32_t i = 0; i < graph->node_count; i++)
        if ((int)graph->nodes[i].name.len > width) width = (int)graph->nodes[i].name.len;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct graph_node *node = &graph->nodes[i];
        bool type = node->kind == GRAPH_ENTITY || node->kind == GRAPH_SERVICE;
        buf_printf(out, "%-9s %.*s", kind_words[node->kind], STR_ARG(node->name));
        for (uint32_t l = 0; l < node->line_count && !type; l++)
            buf_printf(out, "%s%.*s", l ? ", " : "   ", STR_ARG(node->lines[l]));
        buf_add_text(out, "\n");
        for (uint32_t e = 0; e < graph->edge_count; e++) {
            const struct graph_edge *edge = &graph->edges[e];
            if (edge->from != i) continue;
            struct weir_str to = graph->nodes[edge->to].name;
            buf_printf(out, "  %-9s -> %.*s", link_words[edge->link], STR_ARG(to));
            if (edge->label.len)
                buf_printf(out, "%*s  (%.*s)", width - (int)to.len, "",
                           STR_ARG(buf_str(&edge->label)));
            buf_add_text(out, "\n");
        }
    }
}

/* A quoted string of DOT. */
static void dot_text(struct buf *out, struct weir_str text)
{
    buf_add_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '"' || text.ptr[i] == '\\') buf_add_byte(out, '\\');
        buf_add_byte(out, (uint8_t)text.ptr[i]);
    }
    buf_add_byte(out, '"');
}

void graph_write_dot(const struct graph *graph, struct buf *out)
{
    static const char *const shapes[GRAPH_KINDS] = { "shape=note", "shape=component", "shape=box",
                                                     "shape=cds", "shape=box3d" };
    buf_add_text(out, "digraph weir {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n"
                      "  edge [fontname=\"sans-serif\", fontsize=10];\n");
    for (uint32_t i = 0; i < graph->node_count; i++) {
        buf_printf(out, "  n%u [%s, label=", i, shapes[graph->nodes[i].kind]);
        dot_text(out, graph->nodes[i].name);
        buf_add_text(out, "];\n");
    }
    for (uint32_t e = 0; e < graph->edge_count; e++) {
        const struct graph_edge *edge = &graph->edges[e];
        struct buf label = { 0 };
        buf_printf(&label, "%s%s%.*s", link_words[edge->link], edge->label.len ? " " : "",
                   STR_ARG(buf_str(&edge->label)));
        buf_printf(out, "  n%u -> n%u [label=", edge->from, edge->to);
        dot_text(out, buf_str(&label));
        buf_printf(out, "%s];\n", edge->link == GRAPH_REFERS ? ", style=dashed" : "");
        buf_free(&label);
    }
    buf_add_text(out, "}\n");
}

void graph_write_json(const struct graph *graph, struct buf *out)
{
    buf_add_text(out, "{\"nodes\":[");
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct graph_node *node = &graph->nodes[i];
        buf_printf(out, "%s{\"kind\":\"%s\",\"name\":", i ? ",\n" : "\n", kind_words[node->kind]);
        json_write_text(out, node->name);
        buf_add_text(out, ",\"lines\":[");
        for (uint32_t l = 0; l < node->line_count; l++) {
            if (l) buf_add_text(out, ",");
            json_write_text(out, node->lines[l]);
        }
        buf_add_text(out, "]}");
    }
    buf_add_text(out, "],\n\"edges\":[");
    for (uint32_t e = 0; e < graph->edge_count; e++) {
        const struct graph_edge *edge = &graph->edges[e];
        const struct graph_node *from = &graph->nodes[edge->from], *to = &graph->nodes[edge->to];
        buf_printf(out, "%s{\"link\":\"%s\",\"from\":[\"%s\",", e ? ",\n" : "\n",
                   link_words[edge->link], kind_words[from->kind]);
        json_write_text(out, from->name);
        buf_printf(out, "],\"to\":[\"%s\",", kind_words[to->kind]);
        json_write_text(out, to->name);
        buf_add_text(out, "],\"label\":");
        json_write_text(out, buf_str(&edge->label));
        buf_add_text(out, "}");
    }
    buf_add_text(out, "]}\n");
}

/* ---- weir graph ---- */

static struct weir_str title_of(struct arena *arena, const struct server_graph_options *options)
{
    struct buf text = { 0 };
    for (unsigned i = 0; i < options->file_count; i++) {
        const char *slash = strrchr(options->files[i], '/');
        buf_printf(&text, "%s%s", i ? ", " : "", slash ? slash + 1 : options->files[i]);
    }
    struct weir_str title = arena_copy(arena, buf_str(&text));
    buf_free(&text);
    return title;
}

int server_graph(const struct server_graph_options *options)
{
    static const struct {
        const char *name;
        void (*write)(const struct graph *graph, struct buf *out);
    } formats[] = { { "text", graph_write_text },
                    { "dot", graph_write_dot },
                    { "svg", graph_write_svg },
                    { "json", graph_write_json } };
    struct load_options load_options = {
        .files = options->files,
        .file_count = options->file_count,
        .lua = { .env = env_real(), .settings = options->settings },
    };
    size_t format = 0, count = sizeof formats / sizeof formats[0];
    while (format < count && strcmp(options->format, formats[format].name) != 0) format++;
    if (format == count) {
        fprintf(options->err, "weir: --format %s: text, dot, svg or json\n", options->format);
        return SERVER_EXIT_USAGE;
    }
    struct load load = { 0 };
    int code = SERVER_EXIT_OK;
    if (load_open(&load_options, &load) == WEIR_OK) {
        struct graph graph;
        struct buf out = { 0 };
        graph_init(&graph, load.catalog, load.lua);
        graph.title = title_of(&graph.arena, options);
        formats[format].write(&graph, &out);
        fwrite(out.ptr ? out.ptr : "", 1, out.len, options->out); /* judged by who gave it */
        buf_free(&out);
        graph_deinit(&graph);
    } else {
        fprintf(options->err, "weir: %s\n", load.error);
        code = SERVER_EXIT_FAILED;
    }
    load_close(&load);
    return code;
}
