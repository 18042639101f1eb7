/*
 * replay.c - recovery: rows as the store hands them out, those of a checkpoint first, then changes by epoch.
 *
 * Of more entities than a cache has, what comes is kept back for a while, in which the lines of memory that it will be applied
 * to are fetched: where the entity would be found, then the entity, then its row. Each was a miss of the cache that all behind it
 * waited for (the software pipeline of Chen, Ailamaki, Gibbons and Mowry, "Improving Hash Join Performance through Prefetching",
 * ICDE 2004).
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

static struct weir_str patched(struct shard *s, const char *before, size_t len,
                               struct weir_str patch)
{
    MARK("recovery patches a row");
#ifdef MUTANT_patch_lost
    return (struct weir_str){ before, len };
#endif
    store_patch((struct weir_str){ before, len }, patch, &s->scratch);
    return buf_str(&s->scratch);
}

static struct weir_str entity_name(struct weir_str key)
{
    return (struct weir_str){ key.ptr + ENTITY_KEY_HEAD, key.len - ENTITY_KEY_HEAD };
}

static void entity_apply(struct shard *s, enum store_op op, struct weir_str key,
                         struct key_place place, struct weir_str value)
{
    struct weir_str name = entity_name(key);
    uint16_t type_id = load_be16(key.ptr + 1);
    if (op == STORE_PUT) {
        entity_set(s, entity_get_at(s, type_id, name, place), value);
        return;
    }
    struct entity *e = entity_look_at(s, type_id, name, place);
    if (e == NULL) {
        if (op == STORE_PATCH) MARK("a patch of an entity that was deleted behind it");
        return;
    }
    if (op == STORE_PATCH) {
        struct weir_str row = entity_row(e);
        entity_set(s, e, patched(s, row.ptr, row.len, value));
        return;
    }
    MARK("recovery deletes an entity");
    entity_set(s, e, STR_NIL);
    entity_maybe_remove(s, e);
}

static void row_apply(struct shard *s, uint8_t slot, enum store_op op, struct weir_str key,
                      struct weir_str value)
{
    if (op == STORE_PUT) {
        row_set(s, slot, key, value);
        return;
    }
    struct row *row = (struct row *)tree_find(&s->rows, key);
    if (row == NULL) return;
    if (op == STORE_PATCH) row_value_set(s, row, patched(s, row->value, row->value_len, value));
    else row_delete(s, row);
}

static void change_apply(struct engine *engine, const struct replayed *c, struct weir_str key,
                         struct weir_str value)
{
    if (c->entity) entity_apply(c->shard, c->op, key, c->place, value);
    else if (key.len > 0 && key.ptr[0] == ROW_EVENT)
        store_change(&engine->recovered_events, c->place.slot, key, value);
    else row_apply(c->shard, c->place.slot, c->op, key, value);
}

/* ---- what waits ---- */

/* The change that came so many before the next one; NULL: none, or it is applied. */
static inline struct replayed *change_at(struct replay *replay, size_t back)
{
    struct replayed *c = &replay->changes[(replay->count - back) & (REPLAY_CHANGES - 1)];
    return c->waits ? c : NULL;
}

static void change_end(struct replay *replay, struct replayed *c)
{
    struct weir_str key = { c->bytes.ptr, c->key_len }, value = STR_NIL;
    if (c->op != STORE_DELETE)
        value = (struct weir_str){ key.ptr + key.len, c->bytes.len - key.len };
    change_apply(replay->engine, c, key, value);
    c->waits = false;
}

static inline void change_expect(struct replay *replay, size_t back, enum expect step)
{
    const struct replayed *c = change_at(replay, back);
    if (c != NULL && c->entity)
        entity_expect(c->shard, load_be16(c->bytes.ptr + 1), c->place, step);
}

static void change_wait(struct replay *replay, struct replayed change, struct weir_str key,
                        struct weir_str value)
{
    struct replayed *c = change_at(replay, REPLAY_CHANGES);
    if (c != NULL) change_end(replay, c);
    c = &replay->changes[replay->count++ & (REPLAY_CHANGES - 1)];
    change.bytes = c->bytes;
    change.waits = true;
    change.key_len = key.len;
    *c = change;
    buf_reset(&c->bytes);
    buf_reserve(&c->bytes, key.len + value.len);
    ASSERT_SLOW(c->bytes.ptr != NULL || key.len + value.len == 0);
    if (key.len > 0) memcpy(c->bytes.ptr, key.ptr, key.len);
    if (value.len > 0) memcpy(c->bytes.ptr + key.len, value.ptr, value.len);
    c->bytes.len = key.len + value.len;
    change_expect(replay, 1, EXPECT_PLACE);
    change_expect(replay, REPLAY_CHANGES / 2, EXPECT_ENTITY);
    change_expect(replay, REPLAY_CHANGES * 3 / 4, EXPECT_ROW);
}

void replay_add(void *arg, uint8_t slot, enum store_op op, struct weir_str key,
                struct weir_str value)
{
    struct replay *replay = arg;
    struct engine *engine = replay->engine;
    struct replayed change = { .op = op,
                               .shard = &engine->shards[slot_shard(engine, slot)],
                               .entity = key.len >= ENTITY_KEY_HEAD && key.ptr[0] == ROW_ENTITY,
                               .place = { .slot = slot } };
    if (op == STORE_EXPECT) {
        change.shard->entities.expected += change.entity;
        return;
    }
    if (change.entity) {
        struct weir_str name = entity_name(key);
        change.place.hash = hash64(0, name.ptr, name.len);
    }
    bool near = change.shard->entity_count < REPLAY_FROM;
    /* behind those that wait, so that all stay in their order */
    if (replay->count > 0 || !near || ENV_CHANCE(engine->env, "replay.wait"))
        change_wait(replay, change, key, value);
    else change_apply(engine, &change, key, value);
}

void replay_end(struct replay *replay)
{
    for (size_t back = REPLAY_CHANGES; back > 0; back--) {
        struct replayed *c = change_at(replay, back);
        if (c != NULL) change_end(replay, c);
    }
    for (size_t i = 0; i < REPLAY_CHANGES; i++) buf_free(&replay->changes[i].bytes);
}
