/*
 * graph.c - the direct serialization graph of the transactions, and cycles in it.
 *
 * Adya, "Weak Consistency: A Generalized Theory and Optimistic Implementations for Distributed Transactions",
 * MIT 1999, and its use on observed histories in Kingsbury and Alvaro, "Elle", VLDB 2020. Real time is a chain
 * of nodes, one for each end of a transaction in order of time: a transaction's end leads into the chain, and
 * the chain leads into every transaction that begins later; so real time costs O(n) edges. A cycle is there if
 * nodes are left when those without a way in and those without a way out are taken away again and again (Kahn,
 * "Topological Sorting of Large Networks", CACM 1962); the shortest one is then looked for among the rest.
 * SPDX-License-Identifier: MIT
 */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct edge {
    uint32_t from, to, key;
    uint8_t kind;
};

static struct edge *edges;
static uint64_t edge_count, edge_capacity;
static uint64_t *first;  /* of each node, in `edges` sorted by from */
static uint32_t node_count;

void graph_add(uint32_t from, uint32_t to, enum edge_kind kind, uint32_t key)
{
    if (from == to) return;
    if (edge_count == edge_capacity) {
        edge_capacity = edge_capacity == 0 ? 65536 : edge_capacity * 2;
        edges = grow(edges, edge_capacity, sizeof *edges);
    }
    edges[edge_count++] = (struct edge){ from, to, key, (uint8_t)kind };
}

uint64_t graph_edge_count(void)
{
    return edge_count;
}

/* ---- real time ---- */

struct moment {
    int64_t at;
    uint32_t txn;
    bool is_end;
};

static int moment_order(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return (int)x->is_end - (int)y->is_end; /* at one moment beginnings come first: they overlap */
}

static bool takes_part(const struct txn *txn)
{
    return txn->outcome == OUTCOME_OK || txn->outcome == OUTCOME_FAIL || txn->applied;
}

static void add_time(const struct history *history)
{
    struct moment *moments = grow(NULL, (size_t)history->txn_count * 2 + 1, sizeof *moments);
    size_t count = 0;
    for (uint32_t i = 0; i < history->txn_count; i++) {
        const struct txn *txn = &history->txns[i];
        if (!takes_part(txn)) continue;
        moments[count++] = (struct moment){ txn->start, i, false };
        if (txn->outcome != OUTCOME_UNKNOWN && txn->end != TIME_NEVER)
            moments[count++] = (struct moment){ txn->end, i, true };
    }
    qsort(moments, count, sizeof *moments, moment_order);
    uint32_t last = NONE;
    for (size_t i = 0; i < count; i++) {
        if (!moments[i].is_end) {
            if (last != NONE) graph_add(last, moments[i].txn, EDGE_TIME, NONE);
            continue;
        }
        uint32_t node = node_count++;
        graph_add(moments[i].txn, node, EDGE_TIME, NONE);
        if (last != NONE) graph_add(last, node, EDGE_TIME, NONE);
        last = node;
    }
    free(moments);
}

/* ---- cycles ---- */

static void sort_edges(void)
{
    first = calloc((size_t)node_count + 2, sizeof *first);
    struct edge *sorted = grow(NULL, edge_count + 1, sizeof *sorted);
    for (uint64_t i = 0; i < edge_count; i++) first[edges[i].from + 1]++;
    for (uint32_t i = 0; i < node_count; i++) first[i + 1] += first[i];
    uint64_t *at = grow(NULL, (size_t)node_count + 1, sizeof *at);
    memcpy(at, first, ((size_t)node_count + 1) * sizeof *at);
    for (uint64_t i = 0; i < edge_count; i++) sorted[at[edges[i].from]++] = edges[i];
    free(at);
    free(edges);
    edges = sorted;
}

/* Marks as gone every node that lies on no cycle of these kinds of edges. Returns how many are left. */
static uint32_t peel(unsigned kinds, bool forward, bool *gone)
{
    uint32_t *degree = calloc((size_t)node_count + 1, sizeof *degree), *queue = grow(NULL, (size_t)node_count + 1, sizeof *queue);
    uint32_t head = 0, tail = 0, left = 0;
    uint64_t *back_first = NULL;
    uint32_t *back = NULL;
    if (!forward) { /* edges the other way round */
        back_first = calloc((size_t)node_count + 2, sizeof *back_first);
        back = grow(NULL, edge_count + 1, sizeof *back);
        for (uint64_t i = 0; i < edge_count; i++) back_first[edges[i].to + 1]++;
        for (uint32_t i = 0; i < node_count; i++) back_first[i + 1] += back_first[i];
        uint64_t *at = grow(NULL, (size_t)node_count + 1, sizeof *at);
        memcpy(at, back_first, ((size_t)node_count + 1) * sizeof *at);
        for (uint64_t i = 0; i < edge_count; i++) back[at[edges[i].to]++] = (uint32_t)i;
        free(at);
    }
    for (uint64_t i = 0; i < edge_count; i++) {
        const struct edge *e = &edges[i];
        if ((kinds & 1u << e->kind) && !gone[e->from] && !gone[e->to]) degree[forward ? e->to : e->from]++;
    }
    for (uint32_t i = 0; i < node_count; i++)
        if (!gone[i] && degree[i] == 0) queue[tail++] = i;
    while (head < tail) {
        uint32_t node = queue[head++];
        gone[node] = true;
        uint64_t begin = forward ? first[node] : back_first[node], end = forward ? first[node + 1] : back_first[node + 1];
        for (uint64_t i = begin; i < end; i++) {
            const struct edge *e = forward ? &edges[i] : &edges[back[i]];
            uint32_t other = forward ? e->to : e->from;
            if ((kinds & 1u << e->kind) && !gone[other] && --degree[other] == 0) queue[tail++] = other;
        }
    }
    for (uint32_t i = 0; i < node_count; i++) left += !gone[i];
    free(degree);
    free(queue);
    free(back);
    free(back_first);
    return left;
}

/* The shortest way from `start` back to itself, as edge numbers; 0 when there is none. */
static uint32_t shortest(unsigned kinds, const bool *gone, uint32_t start, uint64_t *way, uint32_t limit)
{
    uint64_t *came = grow(NULL, (size_t)node_count + 1, sizeof *came);
    uint32_t *queue = grow(NULL, (size_t)node_count + 1, sizeof *queue), *depth = calloc((size_t)node_count + 1, sizeof *depth);
    uint32_t head = 0, tail = 0, length = 0;
    queue[tail++] = start;
    while (head < tail && length == 0) {
        uint32_t node = queue[head++];
        if (depth[node] + 1 >= limit) break;
        for (uint64_t i = first[node]; i < first[node + 1]; i++) {
            const struct edge *e = &edges[i];
            if (!(kinds & 1u << e->kind) || gone[e->to]) continue;
            if (e->to == start) {
                length = depth[node] + 1;
                way[length - 1] = i;
                for (uint32_t at = node, k = length - 1; at != start; at = edges[came[at]].from) way[--k] = came[at];
                break;
            }
            if (depth[e->to] != 0) continue;
            depth[e->to] = depth[node] + 1;
            came[e->to] = i;
            queue[tail++] = e->to;
        }
    }
    free(came);
    free(queue);
    free(depth);
    return length;
}

#define WAY_MAX 64u
#define STARTS_MAX 200u

static void report_cycle(const struct history *history, unsigned kinds, const bool *gone, const char *name)
{
    static const char *const kind_names[] = { "ww", "wr", "rw", "time" };
    uint64_t way[WAY_MAX], best[WAY_MAX];
    uint32_t best_len = 0, tried = 0;
    for (uint32_t i = 0; i < history->txn_count && tried < STARTS_MAX; i++) {
        if (gone[i]) continue;
        uint32_t len = shortest(kinds, gone, i, way, best_len ? best_len : WAY_MAX);
        tried++;
        if (len == 0 || (best_len != 0 && len >= best_len)) continue;
        best_len = len;
        memcpy(best, way, sizeof best);
    }
    char text[1500] = "";
    size_t at = 0;
    unsigned anti = 0, timed = 0;
    for (uint32_t i = 0; i < best_len && at < sizeof text - 120; i++) {
        const struct edge *e = &edges[best[i]];
        anti += e->kind == EDGE_RW;
        timed += e->kind == EDGE_TIME;
        if (e->from >= history->txn_count) continue;
        const struct key *key = e->key == NONE ? NULL : &history->keys[e->key];
        at += (size_t)snprintf(text + at, sizeof text - at, "line %u -%s%s%.*s-> ", history->txns[e->from].line,
                               kind_names[e->kind], key ? " " : "", key ? (int)key->name_len : 0, key ? key->name : "");
    }
    const char *found = name;
    if (strcmp(name, "G2") == 0 && anti == 1) found = "G-single";
    if (timed > 0) found = "real-time";
    report(found, "a cycle of %u: %s(again)", best_len, text);
}

void graph_check(const struct history *history)
{
    node_count = history->txn_count;
    add_time(history);
    sort_edges();
    static const struct {
        unsigned kinds;
        const char *name;
    } levels[] = { { 1u << EDGE_WW, "G0" },
                   { 1u << EDGE_WW | 1u << EDGE_WR, "G1c" },
                   { 1u << EDGE_WW | 1u << EDGE_WR | 1u << EDGE_RW, "G2" },
                   { 1u << EDGE_WW | 1u << EDGE_WR | 1u << EDGE_RW | 1u << EDGE_TIME, "real-time" } };
    bool *gone = calloc((size_t)node_count + 1, sizeof *gone);
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        /* The widest level first would tell at once that all is well; the others only name what is found. */
        memset(gone, 0, node_count);
        peel(15u, true, gone);
        if (peel(15u, false, gone) == 0) break;
        memset(gone, 0, node_count);
        peel(levels[i].kinds, true, gone);
        if (peel(levels[i].kinds, false, gone) == 0) continue;
        report_cycle(history, levels[i].kinds, gone, levels[i].name);
        break;
    }
    free(gone);
    free(first);
    free(edges);
    edges = NULL;
    edge_count = edge_capacity = 0;
}
