/*
 * walk.c - a shard's part of a fuzzy checkpoint: all its committed rows, in slices between turns.
 *
 * begin is the first epoch this shard has not sealed (H9 1): whatever the walk misses or sees too early is in
 * the log from there on, whole or as patches, so replaying the log over the walked rows gives the state at its end.
 * Entities are walked in the order of their hashes, other rows by key: none can be missed.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

#define ROWS_PER_SLICE 512u
#define REST 16u /* times a slice, from its beginning to the next */
#define WAIT_NS 100000u
#define AHEAD 8u /* rows, to fetch what is there, and half as far ahead what that points to */

static void walk_begin(struct shard *s)
{
    struct walk *w = &s->walk;
    w->active = true;
    w->in_rows = false;
    w->hash = 0;
#ifdef MUTANT_checkpoint_begin
    w->begin = s->epoch + 1;
#else
    w->begin = s->sealed_local + 1;
#endif
    buf_reset(&w->row_at);
    atomic_store_explicit(&w->begun, atomic_load(&w->wanted), memory_order_release);
    s->env->actor_wake(s->env, &s->engine->writer.actor);
}

static void entity_take(void *arg, const struct entity *e)
{
    struct buf *out = arg;
    char head[ENTITY_KEY_HEAD];
    if (!entity_has_row(e)) return;
    key_entity_head(head, e->type_id);
    store_change_of(out, e->slot, (struct weir_str){ head, sizeof(head) }, entity_key(e),
                    entity_row(e));
}

/* Large rows end a slice early, so that a batch is never much more than `full` bytes. */
static void walk_entities(struct shard *s, struct buf *out, unsigned rows, size_t full)
{
    struct walk *w = &s->walk;
    for (unsigned n = 0; n < rows && out->len < full && w->hash != INDEX_WALKED; n++)
        w->hash = index_walk(&s->entities, w->hash, entity_take, out);
    if (w->hash == INDEX_WALKED) w->in_rows = true;
}

static void row_fetch(const struct tree_place *place)
{
    const struct row *far = (const struct row *)tree_peek(place, AHEAD);
    const struct row *near = (const struct row *)tree_peek(place, AHEAD / 2);
    if (far != NULL) fetch(far);
    if (near == NULL) return;
    fetch(near->item.key.ptr);
    fetch_bytes(near->value, near->value_len);
}

/* True at the end. */
static bool walk_rows(struct shard *s, struct buf *out, unsigned rows, size_t full)
{
    struct walk *w = &s->walk;
    struct tree_place place;
    struct weir_str at = STR_NIL;
    struct tree_item *item = tree_seek_place(&s->rows, buf_str(&w->row_at), w->row_at.len > 0,
                                             false, &place);
    for (unsigned n = 0; item != NULL && n < rows && out->len < full; n++) {
        const struct row *row = (const struct row *)item;
        row_fetch(&place);
        at = item->key;
#ifdef MUTANT_dedup_not_in_checkpoint
        if (at.ptr[0] != ROW_RECORD)
#endif
            store_change(out, row->slot, at, (struct weir_str){ row->value, row->value_len });
        item = tree_step(&s->rows, &place, at, false);
    }
    if (at.ptr != NULL) {
        buf_reset(&w->row_at);
        buf_add_str(&w->row_at, at);
    }
    return item == NULL;
}

/* A slice, at most a sixteenth of the shard's time: a shard that has little left would fall behind by the whole walk. */
void walk_step(struct shard *s)
{
    struct walk *w = &s->walk;
    if (!w->active) walk_begin(s);
    uint64_t begun_ns = s->env->mono_ns(s->env);
    if (begun_ns < w->next_ns) return;
    if (atomic_load_explicit(&w->batch, memory_order_acquire) != NULL ||
        ENV_CHANCE(s->env, "walk.wait")) {
        MARK("walk waits for the writer");
        w->next_ns = begun_ns + WAIT_NS; /* it has not taken the last */
        return;
    }
    if (w->filling == NULL) w->filling = mem_alloc(sizeof(*w->filling));
    struct buf *out = &w->filling->bytes;
    bool over = false, few = ENV_CHANCE(s->env, "walk.few");
    unsigned rows = few ? 1 : ROWS_PER_SLICE;
    size_t full = few ? 1 : CHECKPOINT_BATCH_BYTES / 4;
    do {
        if (!w->in_rows) walk_entities(s, out, rows, full);
        else over = walk_rows(s, out, rows, full);
    } while (few && !over && out->len == 0);
    w->next_ns = begun_ns;
    if (!atomic_load_explicit(&s->engine->draining, memory_order_relaxed))
        w->next_ns += REST * (s->env->mono_ns(s->env) - begun_ns);
    if (out->len < full && !over) return;
    if (over) {
        w->active = false;
        w->end = s->effect_epoch;
    }
    atomic_store_explicit(&w->batch, w->filling, memory_order_release);
    w->filling = NULL;
    if (over) atomic_store_explicit(&w->ended, atomic_load(&w->wanted), memory_order_release);
    s->env->actor_wake(s->env, &s->engine->writer.actor);
}
