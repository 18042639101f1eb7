/*
 * graph.c - the direct serialization graph with real time, and its smallest cycles.
 *
 * Nodes 0 .. T-1 are transactions. Real time would need an edge for each pair of transactions where
 * one ended before the other began; a chain of barriers, one per end in order of time, says the same
 * with O(T) edges: a transaction leads to the barrier of its end, a barrier to the next one and to
 * the transactions that start before the next. These edges are not stored: they follow from the
 * sorted arrays. Nor are those of a process stored: a client's transaction leads to its next one.
 *
 * A history is strictly serializable if no cycle exists (Adya, "Weak Consistency", MIT 1999; Papadimitriou,
 * "The Serializability of Concurrent Database Updates", JACM 1979). Strongly connected components by
 * Tarjan, "Depth-First Search and Linear Graph Algorithms", SIAM J. Computing 1972, without recursion.
 * Only if there is one are the subsets of edges searched, weakest first, to give the anomaly its name (Elle's):
 * ww alone G0, with wr G1c, with one rw G-single or lost-update, with more G2-item; each of them again with the
 * order of processes, and then with real time. Without a component, the order in which they were closed,
 * reversed, is a serial order that respects every edge: replay.c runs it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND_SHIFT 28
#define KEY_MASK ((1u << KIND_SHIFT) - 1)
#define ALL_KINDS 31u
#define STARTS_MAX 400     /* breadth-first searches per component: the smallest cycle of these */
#define VISITS_MAX 4000000 /* nodes that the searches of one component may visit in all */

struct edge {
    uint32_t from, to;
    uint32_t label; /* kind and key */
};

struct link {
    uint32_t to;
    uint32_t label;
};

struct moment {
    int64_t time;
    uint32_t txn;
};

static struct edge *edges;
static uint64_t edge_count, edge_capacity;
static unsigned forgotten;

void graph_forget(enum edge_kind kind)
{
    forgotten |= 1u << kind;
}

struct graph {
    const struct history *history;
    uint32_t txn_count, barrier_count, node_count;
    uint64_t *link_first; /* links[link_first[t] .. link_first[t + 1]) leave transaction t */
    struct link *links;
    struct moment *ends;   /* barrier i stands for ends[i] */
    struct moment *starts; /* sorted; only transactions of the graph */
    uint32_t start_count;
    uint32_t *start_first; /* starts[start_first[i] .. start_first[i + 1]) follow barrier i */
    uint32_t *barrier_of;  /* of each transaction, or NONE */
    uint32_t *process_next; /* the same client's next transaction, or NONE */
    uint32_t *order;       /* transactions, in a serial order where there are no components */
    uint32_t order_first;
    unsigned kinds;        /* that are not forgotten */
    uint32_t *component;   /* found by graph_components: 0 for nodes that are in no cycle */
    uint32_t *parent;      /* of a search, with the label of the edge; valid where mark == round */
    uint32_t *parent_label;
    uint32_t *mark;
    uint32_t *queue, *queue_next; /* nodes as far, and one transaction farther */
    uint32_t round;
    uint64_t visits;
};

void graph_add(uint32_t from, uint32_t to, enum edge_kind kind, uint32_t key)
{
    if (edge_count == edge_capacity) {
        edge_capacity = edge_capacity == 0 ? 4096 : edge_capacity * 2;
        edges = grow(edges, edge_capacity, sizeof *edges);
    }
    edges[edge_count++] =
        (struct edge){ from, to, (uint32_t)kind << KIND_SHIFT | (key & KEY_MASK) };
}

uint64_t graph_edge_count(void)
{
    return edge_count;
}

static int moment_compare(const void *left, const void *right)
{
    const struct moment *a = left, *b = right;
    if (a->time != b->time) return a->time < b->time ? -1 : 1;
    return a->txn < b->txn ? -1 : a->txn > b->txn;
}

static void build_links(struct graph *graph)
{
    graph->link_first = grow(NULL, (size_t)graph->txn_count + 2, sizeof *graph->link_first);
    memset(graph->link_first, 0, ((size_t)graph->txn_count + 2) * sizeof *graph->link_first);
    for (uint64_t i = 0; i < edge_count; i++) graph->link_first[edges[i].from + 2]++;
    for (uint32_t i = 1; i < graph->txn_count + 2; i++)
        graph->link_first[i] += graph->link_first[i - 1];
    graph->links = grow(NULL, (size_t)edge_count + 1, sizeof *graph->links);
    for (uint64_t i = 0; i < edge_count; i++)
        graph->links[graph->link_first[edges[i].from + 1]++] =
            (struct link){ edges[i].to, edges[i].label };
}

static void build_time(struct graph *graph)
{
    const struct history *history = graph->history;
    uint32_t count = graph->txn_count;
    graph->ends = grow(NULL, (size_t)count + 1, sizeof *graph->ends);
    graph->starts = grow(NULL, (size_t)count + 1, sizeof *graph->starts);
    graph->barrier_of = grow(NULL, (size_t)count + 1, sizeof *graph->barrier_of);
    for (uint32_t i = 0; i < count; i++) {
        const struct txn *txn = &history->txns[i];
        graph->barrier_of[i] = NONE;
        if (txn_is_absent(txn)) continue;
        graph->starts[graph->start_count++] = (struct moment){ txn->start, i };
        if (txn->end != TIME_NEVER)
            graph->ends[graph->barrier_count++] = (struct moment){ txn->end, i };
    }
    qsort(graph->ends, graph->barrier_count, sizeof *graph->ends, moment_compare);
    qsort(graph->starts, graph->start_count, sizeof *graph->starts, moment_compare);
    graph->start_first = grow(NULL, (size_t)graph->barrier_count + 2, sizeof *graph->start_first);
    uint32_t start = 0;
    for (uint32_t i = 0; i < graph->barrier_count; i++) {
        graph->barrier_of[graph->ends[i].txn] = i;
        /* Equal times are concurrent: a start belongs after the last barrier that is before it. */
        while (start < graph->start_count && graph->starts[start].time <= graph->ends[i].time)
            start++;
        graph->start_first[i] = start;
    }
    graph->start_first[graph->barrier_count] = graph->start_count;
}

/* Clients do one thing after another: `starts` is in order of time. */
static void build_processes(struct graph *graph)
{
    const struct history *history = graph->history;
    uint32_t client_max = 0;
    for (uint32_t i = 0; i < graph->txn_count; i++)
        if (history->txns[i].client > client_max) client_max = history->txns[i].client;
    /* LIMIT: numbers of clients below ten million; others get no edges of processes, only of time. */
    if (client_max >= 10000000) client_max = 9999999;
    uint32_t *last = grow(NULL, (size_t)client_max + 1, sizeof *last);
    memset(last, 0xff, ((size_t)client_max + 1) * sizeof *last);
    graph->process_next = grow(NULL, (size_t)graph->txn_count + 1, sizeof *graph->process_next);
    memset(graph->process_next, 0xff, ((size_t)graph->txn_count + 1) * sizeof *graph->process_next);
    for (uint32_t i = 0; i < graph->start_count; i++) {
        uint32_t number = graph->starts[i].txn;
        const struct txn *txn = &history->txns[number];
        if (txn->final || txn->client > client_max || txn->is_effect) continue;
        uint32_t *before = &last[txn->client];
        if (*before != NONE && history->txns[*before].end <= txn->start)
            graph->process_next[*before] = number;
        *before = number;
    }
    free(last);
}

/* The next successor of a node over the wanted kinds of edges; false when there is none left. */
static bool successor(const struct graph *graph, uint32_t node, unsigned kinds, uint32_t *cursor,
                      uint32_t *to, uint32_t *label)
{
    *label = (uint32_t)EDGE_TIME << KIND_SHIFT;
    bool is_timed = kinds & 1u << EDGE_TIME;
    uint32_t barrier = node - graph->txn_count;
    if (node < graph->txn_count) {
        uint64_t first = graph->link_first[node];
        uint32_t count = (uint32_t)(graph->link_first[node + 1] - first);
        while (*cursor < count) {
            const struct link *link = &graph->links[first + (*cursor)++];
            if (!(kinds & 1u << (link->label >> KIND_SHIFT))) continue;
            *to = link->to;
            *label = link->label;
            return true;
        }
        if (*cursor == count) {
            (*cursor)++;
            if (kinds & 1u << EDGE_PROCESS && graph->process_next[node] != NONE) {
                *to = graph->process_next[node];
                *label = (uint32_t)EDGE_PROCESS << KIND_SHIFT;
                return true;
            }
        }
        if (!is_timed || *cursor > count + 1 || graph->barrier_of[node] == NONE) return false;
        (*cursor)++;
        *to = graph->txn_count + graph->barrier_of[node];
        return true;
    }
    if (!is_timed) return false;
    uint32_t first = graph->start_first[barrier], stop = graph->start_first[barrier + 1];
    if (*cursor < stop - first) {
        *to = graph->starts[first + (*cursor)++].txn;
        return true;
    }
    if (*cursor > stop - first || barrier + 1 == graph->barrier_count) return false;
    (*cursor)++;
    *to = node + 1;
    return true;
}

struct tarjan {
    uint32_t *number, *low, *cursor, *path, *stack;
    uint32_t path_len, stack_len, next, component_count;
};

static void tarjan_close(struct tarjan *tarjan, struct graph *graph, uint32_t node)
{
    bool is_single = tarjan->stack[tarjan->stack_len - 1] == node;
    if (!is_single) tarjan->component_count++;
    uint32_t member;
    do {
        member = tarjan->stack[--tarjan->stack_len];
        tarjan->low[member] = NONE; /* closed: off the stack */
        graph->component[member] = is_single ? 0 : tarjan->component_count;
        if (member < graph->txn_count) graph->order[--graph->order_first] = member;
    } while (member != node);
}

static void tarjan_enter(struct tarjan *tarjan, uint32_t node)
{
    tarjan->number[node] = tarjan->low[node] = ++tarjan->next;
    tarjan->cursor[node] = 0;
    tarjan->path[tarjan->path_len++] = node;
    tarjan->stack[tarjan->stack_len++] = node;
}

static void tarjan_walk(struct tarjan *tarjan, struct graph *graph, unsigned kinds)
{
    while (tarjan->path_len > 0) {
        uint32_t node = tarjan->path[tarjan->path_len - 1], to, label;
        if (successor(graph, node, kinds, &tarjan->cursor[node], &to, &label)) {
            if (tarjan->number[to] == 0)
                tarjan_enter(tarjan, to);
            else if (tarjan->low[to] != NONE && tarjan->number[to] < tarjan->low[node])
                tarjan->low[node] = tarjan->number[to];
            continue;
        }
        tarjan->path_len--;
        uint32_t low = tarjan->low[node];
        if (low == tarjan->number[node]) {
            tarjan_close(tarjan, graph, node);
        } else {
            uint32_t above = tarjan->path[tarjan->path_len - 1];
            if (low < tarjan->low[above]) tarjan->low[above] = low;
        }
    }
}

/* Gives each node the number of its component, 0 for those that are alone; returns how many. */
static uint32_t graph_components(struct graph *graph, unsigned kinds)
{
    uint32_t count = graph->node_count;
    uint32_t *memory = grow(NULL, (size_t)count * 5 + 1, sizeof *memory);
    struct tarjan tarjan = { .number = memory, .low = memory + count,
                             .cursor = memory + (size_t)count * 2, .path = memory + (size_t)count * 3,
                             .stack = memory + (size_t)count * 4 };
    memset(tarjan.number, 0, count * sizeof *tarjan.number);
    graph->order_first = graph->txn_count;
    /* Along the barriers first, so that walks are short and near each other in memory. */
    for (uint32_t i = 0; i < count; i++) {
        if (tarjan.number[i] != 0) continue;
        tarjan_enter(&tarjan, i);
        tarjan_walk(&tarjan, graph, kinds);
    }
    free(memory);
    return tarjan.component_count;
}

/*
 * A shortest way inside one component, counted in transactions: steps into barriers are free, so a node
 * enters the level at hand where it is a barrier and the next level where it is a transaction.
 */
static bool search(struct graph *graph, uint32_t from, uint32_t target, unsigned kinds,
                   uint32_t len_max)
{
    uint32_t count = 1;
    graph->round++;
    graph->queue[0] = from;
    for (uint32_t len = 0; count > 0 && len < len_max; len++) {
        uint32_t next_count = 0;
        for (uint32_t head = 0; head < count && graph->visits < VISITS_MAX; head++) {
            uint32_t node = graph->queue[head], cursor = 0, to, label;
            graph->visits++;
            while (successor(graph, node, kinds, &cursor, &to, &label)) {
                if (graph->component[to] != graph->component[from] ||
                    graph->mark[to] == graph->round)
                    continue;
                graph->mark[to] = graph->round;
                graph->parent[to] = node;
                graph->parent_label[to] = label;
                if (to == target) return true;
                if (to < graph->txn_count) graph->queue_next[next_count++] = to;
                else graph->queue[count++] = to;
            }
        }
        uint32_t *queue = graph->queue;
        graph->queue = graph->queue_next;
        graph->queue_next = queue;
        count = next_count;
    }
    return false;
}

struct cycle {
    uint32_t *nodes, *labels; /* labels[i] leads from nodes[i] to the next */
    uint32_t len, txn_count;
};

static void cycle_keep(struct graph *graph, struct cycle *cycle, uint32_t from, uint32_t target,
                       uint32_t closing_label)
{
    uint32_t len = 0;
    for (uint32_t node = target;; node = graph->parent[node]) {
        len++;
        if (node == from && len > 1) break;
    }
    bool is_closed = from == target; /* the way itself is a cycle: its first node is its last */
    if (is_closed) len--;
    cycle->nodes = grow(cycle->nodes, len, sizeof *cycle->nodes);
    cycle->labels = grow(cycle->labels, len, sizeof *cycle->labels);
    uint32_t node = target, label = closing_label;
    cycle->txn_count = 0;
    if (is_closed) {
        label = graph->parent_label[node];
        node = graph->parent[node];
    }
    for (uint32_t i = len; i-- > 0;) {
        cycle->nodes[i] = node;
        cycle->labels[i] = label;
        cycle->txn_count += node < graph->txn_count;
        if (i == 0) break;
        label = graph->parent_label[node];
        node = graph->parent[node];
    }
    cycle->len = len;
}

/* The smallest cycle through any of the first nodes of a component. */
static void find_cycle(struct graph *graph, const uint32_t *members, uint32_t member_count,
                       unsigned kinds, struct cycle *best)
{
    uint32_t step = member_count > STARTS_MAX ? member_count / STARTS_MAX : 1;
    for (uint32_t i = 0; i < member_count; i += step) {
        if (members[i] >= graph->txn_count) continue;
        uint32_t limit = best->len > 0 ? best->txn_count - 1 : NONE;
        if (search(graph, members[i], members[i], kinds, limit))
            cycle_keep(graph, best, members[i], members[i], 0);
        if (best->txn_count == 2) return;
    }
}

/* The smallest cycle with one rw edge: for each such edge the shortest way back without. */
static void find_single(struct graph *graph, const uint32_t *members, uint32_t member_count,
                        unsigned kinds, struct cycle *best)
{
    for (uint32_t i = 0; i < member_count; i++) {
        uint32_t from = members[i];
        if (from >= graph->txn_count) continue;
        for (uint64_t j = graph->link_first[from]; j < graph->link_first[from + 1]; j++) {
            const struct link *link = &graph->links[j];
            if (link->label >> KIND_SHIFT != EDGE_RW) continue;
            if (graph->component[link->to] != graph->component[from]) continue;
            uint32_t limit = best->len > 0 ? best->txn_count - 2 : NONE;
            if (search(graph, link->to, from, kinds & ~(1u << EDGE_RW), limit))
                cycle_keep(graph, best, link->to, from, link->label);
            if (best->txn_count == 2) return;
        }
    }
}

static size_t describe(const struct graph *graph, const struct cycle *cycle, char *text, size_t size)
{
    static const char *const names[] = { "ww", "wr", "rw" };
    size_t len = 0;
    unsigned shown = 0;
    for (uint32_t i = 0; i <= cycle->len && len + 200 < size; i++) {
        uint32_t node = cycle->nodes[i % cycle->len];
        uint32_t label = cycle->labels[i % cycle->len];
        bool is_txn = node < graph->txn_count;
        if (is_txn) {
            const struct txn *txn = &graph->history->txns[node];
            len += (size_t)snprintf(text + len, size - len, "line %u", txn->line);
            if (++shown > 12) {
                len += (size_t)snprintf(text + len, size - len, " ...");
                break;
            }
        }
        if (i == cycle->len || !is_txn) continue;
        unsigned kind = label >> KIND_SHIFT;
        if (kind >= EDGE_PROCESS) {
            len += (size_t)snprintf(text + len, size - len, kind == EDGE_TIME ? " -ended before-> "
                                                                              : " -same client-> ");
        } else {
            const struct key *key = &graph->history->keys[label & KEY_MASK];
            len += (size_t)snprintf(text + len, size - len, " -%s %.*s-> ", names[kind],
                                    (int)(key->name_len > 40 ? 40 : key->name_len), key->name);
        }
    }
    return len;
}

/* One rw edge and writes of one key only: a write was based on a version that was replaced. */
static bool is_lost_update(const struct graph *graph, const struct cycle *cycle)
{
    unsigned writes = 0;
    for (uint32_t i = 0; i < cycle->len; i++) {
        if ((cycle->labels[i] & KEY_MASK) != (cycle->labels[0] & KEY_MASK)) return false;
        writes += cycle->labels[i] >> KIND_SHIFT == EDGE_WW;
    }
    return writes == cycle->len - 1 && graph->txn_count > 0;
}

static void report_cycle(const struct graph *graph, const char *kind, const struct cycle *cycle)
{
    char text[4096];
    /* A cycle is told from a transaction, so turn it until one stands first. */
    struct cycle turned = *cycle;
    uint32_t shift = 0;
    while (cycle->nodes[shift] >= graph->txn_count) shift++;
    turned.nodes = grow(NULL, cycle->len, sizeof *turned.nodes);
    turned.labels = grow(NULL, cycle->len, sizeof *turned.labels);
    for (uint32_t i = 0; i < cycle->len; i++) {
        turned.nodes[i] = cycle->nodes[(i + shift) % cycle->len];
        turned.labels[i] = cycle->labels[(i + shift) % cycle->len];
    }
    describe(graph, &turned, text, sizeof text);
    report(kind, "%s", text);
    free(turned.nodes);
    free(turned.labels);
}

static uint32_t *sort_members(struct graph *graph, uint32_t component_count, uint32_t *first)
{
    memset(first, 0, ((size_t)component_count + 2) * sizeof *first);
    for (uint32_t i = 0; i < graph->node_count; i++) first[graph->component[i]]++;
    uint32_t sum = 0;
    for (uint32_t i = 1; i < component_count + 2; i++) {
        uint32_t count = i <= component_count ? first[i] : 0;
        first[i] = sum;
        sum += count;
    }
    uint32_t *members = grow(NULL, (size_t)sum + 1, sizeof *members);
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (graph->component[i] != 0) members[first[graph->component[i]]++] = i;
    for (uint32_t i = component_count + 1; i > 0; i--) first[i] = first[i - 1];
    first[0] = first[1] = 0;
    return members;
}

/* Names the cycles of one set of edges: one for each component. */
static uint32_t classify(struct graph *graph, unsigned kinds, const char *name, const char *suffix)
{
    uint32_t count = graph_components(graph, kinds & graph->kinds);
    uint32_t *first = grow(NULL, (size_t)count + 3, sizeof *first);
    uint32_t *members = sort_members(graph, count, first);
    for (uint32_t i = 1; i <= count; i++) {
        struct cycle cycle = { 0 };
        const uint32_t *part = members + first[i];
        uint32_t part_count = first[i + 1] - first[i];
        const char *base = name;
        graph->visits = 0;
        if (kinds & 1u << EDGE_RW) find_single(graph, part, part_count, kinds & graph->kinds, &cycle);
        if (cycle.len > 0) base = is_lost_update(graph, &cycle) ? "lost-update" : "G-single";
        if (cycle.len == 0) graph->visits = 0;
        if (cycle.len == 0) find_cycle(graph, part, part_count, kinds & graph->kinds, &cycle);
        char kind[32];
        snprintf(kind, sizeof kind, "%s%s", base, suffix);
        if (cycle.len > 0)
            report_cycle(graph, kind, &cycle);
        else
            report(kind, "a cycle of %u transactions and barriers, too large to be told",
                   part_count);
        free(cycle.nodes);
        free(cycle.labels);
    }
    free(members);
    free(first);
    return count;
}

static void name_cycles(struct graph *graph)
{
    const unsigned ww = 1u << EDGE_WW, wr = 1u << EDGE_WR, rw = 1u << EDGE_RW;
    const struct {
        unsigned kinds;
        const char *suffix;
    } orders[] = { { 0, "" },
                   { 1u << EDGE_PROCESS, "-process" },
                   { 1u << EDGE_PROCESS | 1u << EDGE_TIME, "-realtime" } };
    graph->parent = grow(NULL, graph->node_count, sizeof *graph->parent);
    graph->parent_label = grow(NULL, graph->node_count, sizeof *graph->parent_label);
    graph->mark = grow(NULL, graph->node_count, sizeof *graph->mark);
    graph->queue = grow(NULL, (size_t)graph->node_count + 1, sizeof *graph->queue);
    graph->queue_next = grow(NULL, (size_t)graph->node_count + 1, sizeof *graph->queue_next);
    memset(graph->mark, 0, graph->node_count * sizeof *graph->mark);
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        if (classify(graph, ww | orders[i].kinds, "G0", orders[i].suffix) > 0) return;
        if (classify(graph, ww | wr | orders[i].kinds, "G1c", orders[i].suffix) > 0) return;
        if (classify(graph, ww | wr | rw | orders[i].kinds, "G2-item", orders[i].suffix) > 0) return;
    }
}

uint32_t *graph_check(const struct history *history)
{
    struct graph graph = { .history = history, .txn_count = history->txn_count,
                           .kinds = ALL_KINDS & ~forgotten };
    build_links(&graph);
    free(edges);
    edges = NULL;
    build_time(&graph);
    build_processes(&graph);
    graph.node_count = graph.txn_count + graph.barrier_count;
    graph.component = grow(NULL, (size_t)graph.node_count + 1, sizeof *graph.component);
    graph.order = grow(NULL, (size_t)graph.txn_count + 1, sizeof *graph.order);
    uint32_t *order = graph.order;
    if (graph_components(&graph, graph.kinds) > 0) {
        name_cycles(&graph);
        free(order);
        order = NULL;
    }
    free(graph.component);
    free(graph.parent);
    free(graph.parent_label);
    free(graph.mark);
    free(graph.queue);
    free(graph.queue_next);
    free(graph.link_first);
    free(graph.links);
    free(graph.ends);
    free(graph.starts);
    free(graph.start_first);
    free(graph.barrier_of);
    free(graph.process_next);
    return order;
}
