/*
 * state.c - the tables of a shard: entities by (type, key), all other rows in one ordered tree.
 *
 * Committed values are immutable: a change replaces the bytes, so readers of the old ones (the walk of a
 * checkpoint, a working copy) are only bound by the entity's lock. Keys on disk: docs/formats/rows.md.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

/* ---- keys ---- */

/* Typed keys must say what their type declares: "{w}:i" wants two whole numbers. */
bool type_key_fits(const struct type *type, struct weir_str key)
{
    return type->key.count == 0 || key_apply(&type->key, type->row, key, NULL);
}

static void add_be16(struct buf *out, uint16_t n)
{
    buf_add_byte(out, (uint8_t)(n >> 8));
    buf_add_byte(out, (uint8_t)n);
}

void key_entity(struct buf *out, uint16_t type_id, struct weir_str key)
{
    char head[ENTITY_KEY_HEAD];
    key_entity_head(head, type_id);
    buf_reserve(out, sizeof(head) + key.len);
    buf_add(out, head, sizeof(head));
    buf_add(out, key.ptr, key.len);
}

void key_owned(struct buf *out, enum row_kind kind, uint16_t type_id, struct weir_str key)
{
    buf_add_byte(out, (uint8_t)kind);
    add_be16(out, type_id);
    add_be16(out, (uint16_t)key.len);
    buf_add_str(out, key);
}

bool key_owned_parse(struct weir_str bytes, uint16_t *type_id, struct weir_str *key,
                     struct weir_str *rest)
{
    if (bytes.len < 5) return false;
    size_t len = load_be16(bytes.ptr + 3);
    if (bytes.len < 5 + len) return false;
    *type_id = load_be16(bytes.ptr + 1);
    *key = (struct weir_str){ bytes.ptr + 5, len };
    *rest = (struct weir_str){ bytes.ptr + 5 + len, bytes.len - 5 - len };
    return true;
}

/* ---- entities ---- */

/* Without the bits that make the slot: those are alike for many entities of a shard. */
static uint64_t entity_mix(uint16_t type_id, uint64_t key_hash)
{
    return (key_hash >> 8) ^ type_id * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t entity_hash(uint16_t type_id, struct weir_str key)
{
    return entity_mix(type_id, hash64(0, key.ptr, key.len));
}

/* What rows take in memory: the value, its key, what holds them, and what the allocator and the indexes add. */
#define BLOCK_EXTRA 16u
#define ROW_EXTRA (4 * sizeof(void *))

static size_t block_cost(size_t bytes)
{
    if (bytes > SLAB_BYTES_MAX) return bytes + BLOCK_EXTRA;
    return (bytes + SLAB_STEP - 1) / SLAB_STEP * SLAB_STEP;
}

/* Not zeroed. A small one may be filled up to its cost. */
static void *block_alloc(struct shard *s, size_t bytes)
{
    if (bytes > SLAB_BYTES_MAX) return mem_realloc(NULL, bytes);
    return slab_alloc(&s->slab, block_cost(bytes));
}

static void block_free(struct shard *s, void *block, size_t bytes)
{
    if (bytes <= SLAB_BYTES_MAX) slab_free(&s->slab, block, block_cost(bytes));
    else mem_free(block);
}

static size_t entity_bytes(size_t key_len)
{
    return sizeof(struct entity) + key_len;
}

/* With room for a row's address, or for the row. */
static size_t entity_block(size_t key_len)
{
    return entity_bytes(key_len) + sizeof(char *);
}

static size_t row_bytes(size_t len)
{
    return len ? len : 1;
}

/* A small row lies behind the key, in what its block has beyond what was asked for: no block and no miss of the cache more. */
static bool row_fits(const struct entity *e, size_t len)
{
    size_t block = entity_block(e->key_len);
    return block <= SLAB_BYTES_MAX && entity_bytes(e->key_len) + len <= block_cost(block);
}

static uint64_t entity_row_cost(const struct entity *e)
{
    return e->row_where == WHERE_OUTSIDE ? block_cost(row_bytes(e->row_len)) : 0;
}

static void entity_row_free(struct shard *s, struct entity *e)
{
    if (e->row_where == WHERE_OUTSIDE) block_free(s, entity_row_at(e), row_bytes(e->row_len));
}

struct entity *entity_look(struct shard *s, uint16_t type_id, struct weir_str key)
{
    return index_find(&s->entities, type_id, key, entity_hash(type_id, key));
}

struct entity *entity_get(struct shard *s, uint16_t type_id, struct weir_str key, uint8_t slot)
{
    struct key_place place = { hash64(0, key.ptr, key.len), slot };
    return entity_get_at(s, type_id, key, place);
}

/* Each step for who comes back some time later. */
void entity_expect(struct shard *s, uint16_t type_id, struct key_place place, enum expect step)
{
    uint64_t hash = entity_mix(type_id, place.hash);
    if (step == EXPECT_PLACE) {
        index_expect(&s->entities, hash);
        return;
    }
    const struct entity *e = index_guess(&s->entities, hash);
    if (e != NULL && step == EXPECT_ENTITY) {
        fetch(e);
        fetch((const char *)e + CACHE_LINE);
    } else if (e != NULL) {
        struct weir_str row = entity_row(e);
        fetch_bytes(row.ptr, row.len);
    }
}

struct entity *entity_look_at(struct shard *s, uint16_t type_id, struct weir_str key,
                              struct key_place place)
{
    return index_find(&s->entities, type_id, key, entity_mix(type_id, place.hash));
}

struct entity *entity_get_at(struct shard *s, uint16_t type_id, struct weir_str key,
                             struct key_place place)
{
    uint64_t hash = entity_mix(type_id, place.hash);
    struct entity *e = index_find(&s->entities, type_id, key, hash);
    if (e != NULL) return e;
    e = block_alloc(s, entity_block(key.len));
    memset(e, 0, entity_bytes(0));
    e->type_id = type_id;
    e->slot = place.slot;
    e->key_len = (uint16_t)key.len;
    memcpy(e->key, key.ptr, key.len);
    index_add(s, e, hash);
    s->memory_bytes += block_cost(entity_block(key.len));
    return e;
}

static void entity_remove(struct shard *s, struct entity *e)
{
    index_remove(s, e);
    s->memory_bytes -= block_cost(entity_block(e->key_len));
    ASSERT(e->lock == NULL);
    block_free(s, e, entity_block(e->key_len));
}

void entity_set(struct shard *s, struct entity *e, struct weir_str value)
{
    if (entity_has_row(e) && value.ptr != NULL && value.len == e->row_len) {
        memcpy(entity_row_at(e), value.ptr, value.len);
        return;
    }
    s->state_bytes -= e->row_len;
    s->memory_bytes -= entity_row_cost(e);
    entity_row_free(s, e);
    e->row_where = WHERE_NONE;
    e->row_len = 0;
    if (value.ptr == NULL) return;
    char *at = e->key + e->key_len;
    e->row_where = row_fits(e, value.len) ? WHERE_INSIDE : WHERE_OUTSIDE;
    e->row_len = (uint32_t)value.len;
    if (e->row_where == WHERE_OUTSIDE) {
        char *block = block_alloc(s, row_bytes(value.len));
        memcpy(at, &block, sizeof(block));
        at = block;
    }
    memcpy(at, value.ptr, value.len);
    s->state_bytes += value.len;
    s->memory_bytes += entity_row_cost(e);
}

static bool entity_is_used(const struct entity *e)
{
    return entity_has_row(e) || e->lock != NULL;
}

struct lock *entity_lock(struct shard *s, struct entity *e)
{
    struct lock *lock = e->lock;
    if (lock != NULL) return lock;
    if (s->lock_free != NULL) {
        lock = s->lock_free;
        s->lock_free = lock->next;
        lock->next = NULL;
    } else {
        lock = block_alloc(s, sizeof(*lock));
        *lock = (struct lock){ 0 };
    }
    return e->lock = lock;
}

void entity_settle(struct shard *s, struct entity *e)
{
    struct lock *lock = e->lock;
    if (lock->pending > 0 || lock->owner != NULL || lock->head != NULL) return;
    lock->next = s->lock_free;
    s->lock_free = lock;
    e->lock = NULL;
    if (!entity_has_row(e)) entity_maybe_remove(s, e);
}

/* A ghost goes when nobody locks it, nothing hangs on it and, for a tombstone, its deletion is durable: until
 * then whoever finds the row absent must wait for that epoch. */
void entity_maybe_remove(struct shard *s, struct entity *e)
{
    if (e->listed || entity_is_used(e)) return;
    if (e->version <= atomic_load_explicit(&s->engine->durable, memory_order_relaxed)) {
        entity_remove(s, e);
        return;
    }
    if (s->ghost_count == s->ghost_cap) {
        s->ghost_cap = s->ghost_cap ? s->ghost_cap * 2 : 64;
        s->ghosts = mem_realloc(s->ghosts, s->ghost_cap * sizeof(struct entity *));
    }
    MARK("a tombstone waits for its sync");
    s->ghosts[s->ghost_count++] = e;
    e->listed = true;
}

void ghosts_reap(struct shard *s, uint64_t durable)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->ghost_count; i++) {
        struct entity *e = s->ghosts[i];
        if (!entity_is_used(e) && e->version > durable) {
            s->ghosts[kept++] = e;
            continue;
        }
        e->listed = false;
        entity_maybe_remove(s, e);
    }
    s->ghost_count = kept;
}

/* ---- other rows ---- */

static void row_value_free(struct shard *s, struct row *row)
{
    if (row->value == NULL) return;
    s->memory_bytes -= block_cost(row_bytes(row->value_len));
    block_free(s, row->value, row_bytes(row->value_len));
}

static size_t row_block(const struct row *row)
{
    return sizeof(*row) + row->item.key.len;
}

void row_value_set(struct shard *s, struct row *row, struct weir_str value)
{
    size_t now = row_bytes(value.len), before = row_bytes(row->value_len);
    if (row->value == NULL || block_cost(now) != block_cost(before)) {
        char *block = block_alloc(s, now);
        s->memory_bytes += block_cost(now);
        row_value_free(s, row);
        row->value = block;
    }
    memcpy(row->value, value.ptr, value.len);
    s->state_bytes += value.len - row->value_len;
    row->value_len = (uint32_t)value.len;
}

struct row *row_add(struct shard *s, uint8_t slot, struct weir_str key)
{
    struct row *row = block_alloc(s, sizeof(*row) + key.len);
    memset(row, 0, sizeof(*row));
    memcpy((char *)(row + 1), key.ptr, key.len);
    row->item.key = (struct weir_str){ (char *)(row + 1), key.len };
    row->slot = slot;
    tree_add(&s->rows, &row->item);
    s->memory_bytes += block_cost(row_block(row)) + ROW_EXTRA;
    return row;
}

struct row *row_set(struct shard *s, uint8_t slot, struct weir_str key, struct weir_str value)
{
    struct row *row = (struct row *)tree_find(&s->rows, key);
    if (row == NULL) row = row_add(s, slot, key);
    row_value_set(s, row, value);
    return row;
}

void row_delete(struct shard *s, struct row *row)
{
    struct tree_item *item = tree_remove(&s->rows, row->item.key);
    ASSERT(item == &row->item);
    if (row->heap.place) heap_remove(&s->timers, &row->heap);
    row_unpark(s, row);
    s->state_bytes -= row->value_len;
    s->memory_bytes -= block_cost(row_block(row)) + ROW_EXTRA;
    row_value_free(s, row);
    block_free(s, row, row_block(row));
}

bool memory_takes(struct shard *s, uint64_t more)
{
    const struct engine *engine = s->engine;
    uint64_t max = engine->limits.memory_max, others = 0;
    if (max == 0) return true;
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        if (i != s->index)
            others += atomic_load_explicit(&engine->shards[i].published.memory_bytes,
                                           memory_order_relaxed);
    }
    if (s->memory_bytes + others + more <= max) return true;
    /* What is refused moves nothing: an index half grown would stay so, with both tables. */
    index_settle(s);
    return s->memory_bytes + others + more <= max;
}

/* ---- all of it ---- */

void state_free(struct shard *s)
{
    size_t at = 0;
    for (struct entity *e; (e = index_next(&s->entities, &at)) != NULL;) {
        entity_row_free(s, e);
        block_free(s, e, entity_block(e->key_len));
    }
    struct tree_item *item = tree_seek(&s->rows, STR(""), false);
    while (item != NULL) {
        struct tree_item *next = tree_seek(&s->rows, item->key, true);
        row_delete(s, (struct row *)item);
        item = next;
    }
    slab_destroy(&s->slab);
    tree_free(&s->rows);
    heap_free(&s->timers);
    index_free(&s->entities);
    mem_free(s->ghosts);
}
