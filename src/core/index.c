/*
 * index.c - where the entities of a shard are found, by type and key: a hash table with open addressing.
 *
 * A place is one word: the entity's address, and above it a tag of 16 bits of its hash. So a key is found with two misses of
 * the cache, the place and the entity: what lies between its home and its place is passed over by the tags alone. Homes are in
 * the order of hashes, by their highest bits, so a walk that goes by hashes may go on after the table has grown. Removal
 * closes the gap (Knuth, The Art of Computer Programming, volume 3, 6.4, algorithm R): no place is marked as deleted.
 *
 * It grows by a table of twice the size, into which each addition moves some places of the old one, in order and in whole
 * clusters: from a free place, `origin`, to another one. So no cluster lies on both sides, and the home of a hash says
 * in which table it is: nobody waits for all that are there.
 *
 * A checkpoint has them in the order of their hashes. In a table for as many as have come so far those would all have their homes
 * at its beginning, and each search would go through all of them; so it begins with room for all that will come.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

#define BITS_FIRST 10u
#define ADDRESS_BITS 48u
#define AHEAD 8u  /* places, to fetch what lies there */
#define MOVES 32u /* places an addition moves at least, while the old table is there */

static struct entity *entity_of(uint64_t place)
{
    return (struct entity *)(uintptr_t)(place & ((UINT64_C(1) << ADDRESS_BITS) - 1));
}

static uint64_t tag_of(uint64_t hash)
{
    return hash >> 32 << ADDRESS_BITS;
}

static size_t home_of(const struct table *table, uint32_t hash)
{
    return hash >> (32 - table->bits);
}

static size_t after(const struct table *table, size_t at)
{
    return (at + 1) & (table->cap - 1);
}

/* ---- the two tables ---- */

static const struct table *table_of(const struct index *index, uint32_t hash)
{
    const struct table *old = &index->old;
    if (old->bits == 0) return &index->now;
    size_t behind = (home_of(old, hash) - index->origin) & (old->cap - 1);
    return behind < index->moved ? &index->now : old;
}

static struct table table_new(unsigned bits)
{
    struct table table = { .cap = (size_t)1 << bits, .bits = bits };
    size_t bytes = table.cap * sizeof(*table.places);
    table.places = bytes % MEM_PAGE_BYTES == 0 ? mem_map(bytes) : mem_alloc(bytes);
    return table;
}

static void table_free(struct table *table)
{
    size_t bytes = table->cap * sizeof(*table->places);
    if (bytes % MEM_PAGE_BYTES == 0) mem_unmap(table->places, bytes);
    else mem_free(table->places);
    *table = (struct table){ 0 };
}

/* The free place that ends the search for that hash. */
static size_t place_free(const struct table *table, uint32_t hash)
{
    size_t at = home_of(table, hash);
    while (table->places[at] != 0) at = after(table, at);
    return at;
}

/* At least so many places, and on to a free one; behind the last, what its cluster has beyond the end. */
static void index_move(struct shard *s, size_t most)
{
    struct index *index = &s->entities;
    struct table *old = &index->old;
    size_t mask = old->cap - 1;
    for (size_t begun = index->moved;; index->moved++) {
        size_t at = (index->origin + index->moved) & mask;
        uint64_t place = old->places[at], ahead = old->places[(at + AHEAD) & mask];
        if (place == 0 && index->moved >= old->cap) break;
        if (place == 0 && index->moved - begun >= most) return;
        if (ahead != 0) fetch(entity_of(ahead));
        if (place == 0) continue;
        index->now.places[place_free(&index->now, entity_of(place)->hash)] = place;
        old->places[at] = 0;
    }
    s->memory_bytes -= old->cap * sizeof(*old->places);
    table_free(old);
}

void index_settle(struct shard *s)
{
    if (s->entities.old.bits > 0) index_move(s, SIZE_MAX);
}

static void index_grow(struct shard *s)
{
    struct index *index = &s->entities;
    if (index->old.bits > 0) MARK("index of entities must grow again before it has grown");
    index_settle(s);
    if (index->now.bits > 0) MARK("index of entities grows");
    if (index->now.bits > 0 && s->walk.active) MARK("index of entities grows during a walk");
    bool small = ENV_CHANCE(s->env, "state.small_index");
    struct table *old = &index->old;
    *old = index->now;
    unsigned bits = old->bits > 0 ? old->bits + 1 : small ? 1 : BITS_FIRST;
    while (!small && index->expected * 4 > (size_t)3 << bits) bits++;
    index->now = table_new(bits);
    ASSERT(index->now.bits <= 32);
    s->memory_bytes += index->now.cap * sizeof(*index->now.places);
    index->moved = index->origin = 0;
    if (old->bits == 0) return;
    while (old->places[index->origin] != 0) index->origin++;
}

struct entity *index_find(const struct index *index, uint16_t type_id, struct weir_str key,
                          uint64_t hash)
{
    if (index->now.bits == 0) return NULL;
    const struct table *table = table_of(index, (uint32_t)hash);
    uint64_t tag = tag_of(hash), place;
    for (size_t at = home_of(table, (uint32_t)hash); (place = table->places[at]) != 0;
         at = after(table, at)) {
        if ((place ^ tag) >> ADDRESS_BITS != 0) continue;
        struct entity *e = entity_of(place);
        if (e->hash == (uint32_t)hash && e->type_id == type_id && str_eq(entity_key(e), key))
            return e;
    }
    return NULL;
}

void index_expect(const struct index *index, uint64_t hash)
{
    if (index->now.bits == 0) return;
    const struct table *table = table_of(index, (uint32_t)hash);
    fetch(&table->places[home_of(table, (uint32_t)hash)]);
}

const struct entity *index_guess(const struct index *index, uint64_t hash)
{
    if (index->now.bits == 0) return NULL;
    const struct table *table = table_of(index, (uint32_t)hash);
    uint64_t tag = tag_of(hash), place;
    size_t at = home_of(table, (uint32_t)hash);
    while ((place = table->places[at]) != 0 && (place ^ tag) >> ADDRESS_BITS != 0)
        at = after(table, at);
    return entity_of(place);
}

/* At most three quarters are used: a search ends after 8 places, and those are a cache line or two. */
void index_add(struct shard *s, struct entity *e, uint64_t hash)
{
    struct index *index = &s->entities;
    ASSERT((uintptr_t)e >> ADDRESS_BITS == 0);
    while ((s->entity_count + 1) * 4 > index->now.cap * 3) index_grow(s);
    if (index->old.bits > 0) index_move(s, ENV_CHANCE(s->env, "state.move_one") ? 1 : MOVES);
    e->hash = (uint32_t)hash;
    const struct table *table = table_of(index, e->hash);
    table->places[place_free(table, e->hash)] = (uintptr_t)e | tag_of(hash);
    s->entity_count++;
}

void index_remove(struct shard *s, const struct entity *e)
{
    const struct table *table = table_of(&s->entities, e->hash);
    size_t mask = table->cap - 1, hole = home_of(table, e->hash);
    while (entity_of(table->places[hole]) != e) hole = after(table, hole);
    /* Who is not nearer to its home than the hole is takes its place. */
    for (size_t at = after(table, hole); table->places[at] != 0; at = after(table, at)) {
        size_t home = home_of(table, entity_of(table->places[at])->hash);
        if (((at - home) & mask) < ((at - hole) & mask)) continue;
        table->places[hole] = table->places[at];
        hole = at;
    }
    table->places[hole] = 0;
    s->entity_count--;
}

struct entity *index_next(const struct index *index, size_t *at)
{
    const struct table *now = &index->now, *old = &index->old;
    for (; *at < now->cap + old->cap; ++*at) {
        uint64_t place = *at < now->cap ? now->places[*at] : old->places[*at - now->cap];
        if (place == 0) continue;
        ++*at;
        return entity_of(place);
    }
    return NULL;
}

uint64_t index_walk(const struct index *index, uint64_t from, index_take_fn *take, void *arg)
{
    if (index->now.bits == 0) return INDEX_WALKED;
    const struct table *table = table_of(index, (uint32_t)from);
    size_t home = home_of(table, (uint32_t)from);
    const struct entity *near = entity_of(table->places[(home + AHEAD / 2) & (table->cap - 1)]);
    fetch(entity_of(table->places[(home + AHEAD) & (table->cap - 1)]));
    if (near != NULL) row_expect(near);
    for (size_t at = home; table->places[at] != 0; at = after(table, at)) {
        const struct entity *e = entity_of(table->places[at]);
        if (home_of(table, e->hash) == home) take(arg, e);
    }
    return (uint64_t)(home + 1) << (32 - table->bits);
}

void index_free(struct index *index)
{
    table_free(&index->now);
    table_free(&index->old);
}
