/*
 * graph.h - the dataflow of an application as nodes and edges, and how it is written.
 *
 * What is declared is certain: what follows what, what a schedule runs, which keys a row holds. What a handler emits,
 * asks and calls is found by reading its code (lua_app_reach()): what it mentions. Native handlers cannot be read.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_SERVER_GRAPH_H
#define WEIR_SERVER_GRAPH_H

#include "core/catalog.h"
#include "func/lua.h"

enum graph_kind { GRAPH_SCHEDULE, GRAPH_SERVICE, GRAPH_ENTITY, GRAPH_STREAM, GRAPH_OUTSIDE };
#define GRAPH_KINDS 5u

/* In the order in which the drawing keeps them pointing forward. */
enum graph_link { GRAPH_RUNS, GRAPH_EMITS, GRAPH_ASKS, GRAPH_FEEDS, GRAPH_CALLS, GRAPH_REFERS };
#define GRAPH_LINKS 6u

struct graph_node {
    enum graph_kind kind;
    struct weir_str name;
    const void *of;         /* the type, stream, schedule_def or outside_def */
    struct weir_str *lines; /* what it consists of, for people */
    uint32_t line_count;
};

struct graph_edge {
    enum graph_link link;
    uint32_t from, to;
    struct buf label; /* handlers or fields */
};

struct graph {
    struct graph_node *nodes;
    struct graph_edge *edges;
    uint32_t node_count, edge_count;
    struct weir_str title;
    struct arena arena;
};

/** `lua` may be NULL. Borrows the catalog until graph_deinit(). */
void graph_init(struct graph *graph, const struct catalog *catalog, struct lua_app *lua);
void graph_deinit(struct graph *graph);

const char *graph_kind_word(enum graph_kind kind);
const char *graph_link_word(enum graph_link link);
void graph_write_text(const struct graph *graph, struct buf *out);
void graph_write_dot(const struct graph *graph, struct buf *out);
void graph_write_json(const struct graph *graph, struct buf *out);
/** Laid out in columns from left to right; see draw.c. */
void graph_write_svg(const struct graph *graph, struct buf *out);

#endif
