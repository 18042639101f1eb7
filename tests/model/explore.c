/*
 * explore.c - breadth first through every state that any order of steps reaches, then backwards from the ends.
 *
 * States are packed (zero bytes left out) one behind the other in one arena and found through an open-addressed
 * hash set; two states are the same only if all their bytes are. Each keeps the state it was first reached
 * from, so that a broken rule prints as the shortest way to it. Forward edges are kept: a state from which no
 * end can be reached is a deadlock or a livelock, and the first of them is reported like a broken rule.
 * Source: the usual explicit-state search, as in Holzmann, "The Spin Model Checker", 2003, without reductions.
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACKED_MAX (sizeof(struct state) + sizeof(struct state) / 8 + 2)

struct node {
    uint64_t at; /* in the arena */
    uint32_t parent;
    uint32_t edges; /* place of its first edge */
};
struct space {
    uint8_t *bytes;
    size_t bytes_len, bytes_cap;
    struct node *nodes;
    size_t node_count, node_cap;
    uint32_t *edges;
    size_t edge_count, edge_cap;
    uint32_t *table; /* 1 + node */
    size_t table_cap;
};

static void *grow(void *ptr, size_t *cap, size_t want, size_t size)
{
    if (want <= *cap) return ptr;
    size_t larger = *cap ? *cap + *cap / 2 : 1024;
    while (larger < want) larger += larger / 2;
    ptr = realloc(ptr, larger * size);
    if (ptr == NULL) {
        fprintf(stderr, "model: out of memory\n");
        exit(71);
    }
    *cap = larger;
    return ptr;
}

/* Per eight bytes: which are not zero, then those. */
static size_t pack(const struct state *st, uint8_t *out)
{
    const uint8_t *in = (const uint8_t *)st;
    size_t len = 0;
    for (size_t i = 0; i < sizeof(*st); i += 8) {
        size_t mask_at = len++, n = sizeof(*st) - i < 8 ? sizeof(*st) - i : 8;
        uint64_t word = 0;
        uint8_t mask = 0;
        memcpy(&word, in + i, n);
        for (size_t j = 0; word != 0; j++, word >>= 8) {
            if ((word & 0xff) == 0) continue;
            mask |= (uint8_t)(1u << j);
            out[len++] = (uint8_t)word;
        }
        out[mask_at] = mask;
    }
    return len;
}

static size_t unpack(const uint8_t *in, struct state *st)
{
    uint8_t *out = (uint8_t *)st;
    size_t len = 0;
    memset(st, 0, sizeof(*st));
    for (size_t i = 0; i < sizeof(*st); i += 8) {
        uint8_t mask = in[len++];
        for (size_t j = 0; mask != 0; j++, mask >>= 1) {
            if (mask & 1) out[i + j] = in[len++];
        }
    }
    return len;
}

static uint64_t hash(const uint8_t *ptr, size_t len)
{
    uint64_t h = len;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, ptr + i, len - i < 8 ? len - i : 8);
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    return h ^ h >> 32;
}

static size_t node_len(const struct space *space, size_t i)
{
    return (i + 1 < space->node_count ? space->nodes[i + 1].at : space->bytes_len) -
           space->nodes[i].at;
}

static void table_grow(struct space *space)
{
    free(space->table);
    space->table_cap = space->table_cap ? space->table_cap * 2 : 1 << 16;
    space->table = calloc(space->table_cap, sizeof(*space->table));
    if (space->table == NULL) exit(71);
    for (size_t i = 0; i < space->node_count; i++) {
        size_t at = hash(space->bytes + space->nodes[i].at, node_len(space, i)) &
                    (space->table_cap - 1);
        while (space->table[at]) at = (at + 1) & (space->table_cap - 1);
        space->table[at] = (uint32_t)(i + 1);
    }
}

/* The node of a state, a new one if it was never seen. */
static uint32_t space_add(struct space *space, const struct state *st, uint32_t parent)
{
    uint8_t packed[PACKED_MAX];
    size_t len = pack(st, packed);
    if (space->node_count * 2 >= space->table_cap) table_grow(space);
    size_t at = hash(packed, len) & (space->table_cap - 1);
    for (; space->table[at]; at = (at + 1) & (space->table_cap - 1)) {
        uint32_t i = space->table[at] - 1;
        if (node_len(space, i) == len &&
            memcmp(space->bytes + space->nodes[i].at, packed, len) == 0)
            return i;
    }
    space->bytes = grow(space->bytes, &space->bytes_cap, space->bytes_len + len, 1);
    space->nodes = grow(space->nodes, &space->node_cap, space->node_count + 1,
                        sizeof(*space->nodes));
    memcpy(space->bytes + space->bytes_len, packed, len);
    space->nodes[space->node_count] = (struct node){ .at = space->bytes_len, .parent = parent };
    space->bytes_len += len;
    space->table[at] = (uint32_t)(space->node_count + 1);
    return (uint32_t)space->node_count++;
}

/* Prints the steps from the start to node `to`, then `last` if it is not NULL. */
static void trace_print(struct model *m, const struct space *space, uint32_t to,
                        const struct step *last)
{
    size_t len = 1;
    for (uint32_t i = to; i != 0; i = space->nodes[i].parent) len++;
    uint32_t *way = malloc(len * sizeof(*way));
    if (way == NULL) exit(71);
    size_t n = len;
    for (uint32_t i = to; n > 0; i = space->nodes[i].parent) way[--n] = i;
    struct state before, after;
    for (size_t i = 0; i + 1 < len; i++) {
        struct step steps[STEPS_MAX];
        unpack(space->bytes + space->nodes[way[i]].at, &before);
        int count = state_steps(m, &before, steps);
        for (int j = 0; j < count; j++) {
            uint8_t packed[PACKED_MAX];
            after = before;
            if (!state_step(m, &after, steps[j])) continue;
            size_t packed_len = pack(&after, packed);
            if (packed_len != node_len(space, way[i + 1]) ||
                memcmp(packed, space->bytes + space->nodes[way[i + 1]].at, packed_len) != 0)
                continue;
            printf("%4zu  ", i + 1);
            step_print(m, &before, &after, steps[j]);
            break;
        }
    }
    if (last != NULL) {
        unpack(space->bytes + space->nodes[to].at, &before);
        after = before;
        (void)state_step(m, &after, *last);
        printf("%4zu  ", len);
        step_print(m, &before, &after, *last);
    }
    free(way);
}

/* The first state from which none of the marked can be reached; marks all that can. -1: none. */
static int64_t find_stuck(const struct space *space, uint8_t *good)
{
    size_t n = space->node_count;
    uint32_t *first = calloc(n + 1, sizeof(*first)),
             *back = malloc((space->edge_count + 1) * sizeof(*back));
    uint32_t *queue = malloc(n * sizeof(*queue));
    if (first == NULL || back == NULL || queue == NULL) exit(71);
    for (size_t i = 0; i < space->edge_count; i++) first[space->edges[i]]++;
    uint32_t sum = 0;
    for (size_t i = 0; i <= n; i++) {
        uint32_t count = first[i];
        first[i] = sum;
        sum += count;
    }
    uint32_t *fill = malloc((n + 1) * sizeof(*fill));
    if (fill == NULL) exit(71);
    memcpy(fill, first, (n + 1) * sizeof(*fill));
    for (size_t i = 0; i < n; i++) {
        size_t end = i + 1 < n ? space->nodes[i + 1].edges : space->edge_count;
        for (size_t j = space->nodes[i].edges; j < end; j++)
            back[fill[space->edges[j]]++] = (uint32_t)i;
    }
    size_t head = 0, tail = 0;
    for (size_t i = 0; i < n; i++) {
        if (good[i]) queue[tail++] = (uint32_t)i;
    }
    while (head < tail) {
        uint32_t i = queue[head++];
        for (uint32_t j = first[i]; j < first[i + 1]; j++) {
            if (good[back[j]]) continue;
            good[back[j]] = 1;
            queue[tail++] = back[j];
        }
    }
    free(first);
    free(back);
    free(fill);
    free(queue);
    for (size_t i = 0; i < n; i++) {
        if (!good[i]) return (int64_t)i;
    }
    return -1;
}

/* Reports the first dead end, or else the first state that can go on but never come to an end. */
static const char *check_ends(struct model *m, const struct space *space, uint8_t *good, bool trace)
{
    for (size_t i = 0; i < space->node_count; i++) {
        size_t end = i + 1 < space->node_count ? space->nodes[i + 1].edges : space->edge_count;
        if (good[i] || space->nodes[i].edges != end) continue;
        if (trace) trace_print(m, space, (uint32_t)i, NULL);
        return "deadlock: nothing can happen, and a transaction is not finished";
    }
    int64_t stuck = find_stuck(space, good);
    if (stuck < 0) return NULL;
    if (trace) trace_print(m, space, (uint32_t)stuck, NULL);
    return "livelock: from here on a transaction can never finish";
}

struct exploration explore(struct model *m, uint64_t states_max, bool trace)
{
    struct space space = { 0 };
    struct exploration result = { 0 };
    struct state st, next;
    uint8_t *good = NULL;
    size_t good_cap = 0, level_end = 1;
    state_init(m, &st);
    (void)space_add(&space, &st, 0);
    for (size_t i = 0; i < space.node_count && result.broken == NULL; i++) {
        struct step steps[STEPS_MAX];
        if (i == level_end) {
            level_end = space.node_count;
            result.depth++;
        }
        unpack(space.bytes + space.nodes[i].at, &st);
        space.nodes[i].edges = (uint32_t)space.edge_count;
        good = grow(good, &good_cap, i + 1, 1);
        good[i] = state_is_final(m, &st);
        int count = state_steps(m, &st, steps);
        for (int j = 0; j < count; j++) {
            next = st;
            if (!state_step(m, &next, steps[j])) continue;
            result.steps++;
            if (m->broken != NULL) {
                result.broken = m->broken;
                if (trace) trace_print(m, &space, (uint32_t)i, &steps[j]);
                break;
            }
            space.edges = grow(space.edges, &space.edge_cap, space.edge_count + 1,
                               sizeof(*space.edges));
            space.edges[space.edge_count++] = space_add(&space, &next, (uint32_t)i);
        }
        if (space.node_count > states_max) result.broken = "model limit: more states than --states";
    }
    if (result.broken == NULL) result.broken = check_ends(m, &space, good, trace);
    result.states = space.node_count;
    result.bytes = space.bytes_cap + space.node_cap * sizeof(struct node) +
                   space.edge_cap * sizeof(uint32_t) + space.table_cap * sizeof(uint32_t);
    free(space.bytes);
    free(space.nodes);
    free(space.edges);
    free(space.table);
    free(good);
    return result;
}
