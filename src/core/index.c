/*
 * index.c - where the entities of a shard are found, by type and key: a hash table with open addressing.
 *
 * A place is one word: the entity's address, and above it a tag of 16 bits of its hash. So a key is found with two misses of
 * the cache, the place and the entity: what lies between its home and its place is passed over by the tags alone. Homes are in
 * the order of hashes, by their highest bits, so a walk that goes by hashes may go on after the table has grown. Removal
 * closes the gap (Knuth, The Art of Computer Programming, volume 3, 6.4, algorithm R): no place is marked as deleted.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

#define BITS_FIRST 10u
#define ADDRESS_BITS 48u
#define AHEAD 8u /* places, to fetch what lies there */

static struct entity *entity_of(uint64_t place)
{
    return (struct entity *)(uintptr_t)(place & ((UINT64_C(1) << ADDRESS_BITS) - 1));
}

static uint64_t tag_of(uint64_t hash)
{
    return hash >> 32 << ADDRESS_BITS;
}

static size_t home_of(const struct index *index, uint32_t hash)
{
    return hash >> (32 - index->bits);
}

static size_t after(const struct index *index, size_t at)
{
    return (at + 1) & (index->cap - 1);
}

/* The free place that ends the search for that hash. */
static size_t place_free(const struct index *index, uint32_t hash)
{
    size_t at = home_of(index, hash);
    while (index->places[at] != 0) at = after(index, at);
    return at;
}

static void index_grow(struct shard *s)
{
    struct index *index = &s->entities, old = *index;
    if (old.bits > 0) MARK("index of entities grows");
    if (old.bits > 0 && s->walk.active) MARK("index of entities grows during a walk");
    unsigned first = ENV_CHANCE(s->env, "state.small_index") ? 1 : BITS_FIRST;
    index->bits = old.bits > 0 ? old.bits + 1 : first;
    ASSERT(index->bits <= 32);
    index->cap = (size_t)1 << index->bits;
    index->places = mem_alloc(index->cap * sizeof(*index->places));
    s->memory_bytes += (index->cap - old.cap) * sizeof(*index->places);
    for (size_t i = 0; i < old.cap; i++) {
        if (i + AHEAD < old.cap && old.places[i + AHEAD] != 0)
            fetch(entity_of(old.places[i + AHEAD]));
        if (old.places[i] == 0) continue;
        index->places[place_free(index, entity_of(old.places[i])->hash)] = old.places[i];
    }
    mem_free(old.places);
}

struct entity *index_find(const struct index *index, uint16_t type_id, struct weir_str key,
                          uint64_t hash)
{
    if (index->bits == 0) return NULL;
    uint64_t tag = tag_of(hash), place;
    for (size_t at = home_of(index, (uint32_t)hash); (place = index->places[at]) != 0;
         at = after(index, at)) {
        if ((place ^ tag) >> ADDRESS_BITS != 0) continue;
        struct entity *e = entity_of(place);
        if (e->hash == (uint32_t)hash && e->type_id == type_id && str_eq(entity_key(e), key))
            return e;
    }
    return NULL;
}

void index_expect(const struct index *index, uint64_t hash)
{
    if (index->bits > 0) fetch(&index->places[home_of(index, (uint32_t)hash)]);
}

const struct entity *index_guess(const struct index *index, uint64_t hash)
{
    if (index->bits == 0) return NULL;
    uint64_t tag = tag_of(hash), place;
    size_t at = home_of(index, (uint32_t)hash);
    while ((place = index->places[at]) != 0 && (place ^ tag) >> ADDRESS_BITS != 0)
        at = after(index, at);
    return entity_of(place);
}

/* At most three quarters are used: a search ends after 8 places, and those are a cache line or two. */
void index_add(struct shard *s, struct entity *e, uint64_t hash)
{
    struct index *index = &s->entities;
    ASSERT((uintptr_t)e >> ADDRESS_BITS == 0);
    while ((s->entity_count + 1) * 4 > index->cap * 3) index_grow(s);
    e->hash = (uint32_t)hash;
    index->places[place_free(index, e->hash)] = (uintptr_t)e | tag_of(hash);
    s->entity_count++;
}

void index_remove(struct shard *s, const struct entity *e)
{
    struct index *index = &s->entities;
    size_t mask = index->cap - 1, hole = home_of(index, e->hash);
    while (entity_of(index->places[hole]) != e) hole = after(index, hole);
    /* Who is not nearer to its home than the hole is takes its place. */
    for (size_t at = after(index, hole); index->places[at] != 0; at = after(index, at)) {
        size_t home = home_of(index, entity_of(index->places[at])->hash);
        if (((at - home) & mask) < ((at - hole) & mask)) continue;
        index->places[hole] = index->places[at];
        hole = at;
    }
    index->places[hole] = 0;
    s->entity_count--;
}

struct entity *index_next(const struct index *index, size_t *at)
{
    while (*at < index->cap && index->places[*at] == 0) ++*at;
    return *at < index->cap ? entity_of(index->places[(*at)++]) : NULL;
}

uint64_t index_walk(const struct index *index, uint64_t from, index_take_fn *take, void *arg)
{
    if (index->bits == 0) return INDEX_WALKED;
    size_t home = home_of(index, (uint32_t)from);
    fetch(entity_of(index->places[(home + AHEAD) & (index->cap - 1)]));
    for (size_t at = home; index->places[at] != 0; at = after(index, at)) {
        const struct entity *e = entity_of(index->places[at]);
        if (home_of(index, e->hash) == home) take(arg, e);
    }
    return (uint64_t)(home + 1) << (32 - index->bits);
}

void index_free(struct index *index)
{
    mem_free(index->places);
}
