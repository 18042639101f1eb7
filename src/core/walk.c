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

struct take {
    struct buf *out, key;
};

static void entity_take(void *arg, const struct entity *e)
{
    struct take *self = arg;
    if (!entity_has_row(e)) return;
    buf_reset(&self->key);
    key_entity(&self->key, e->type_id, entity_key(e));
    store_change(self->out, e->slot, buf_str(&self->key), entity_row(e));
}

/* Large rows end a slice early, so that a batch is never much more than `full` bytes. */
static void walk_entities(struct shard *s, struct buf *out, unsigned rows, size_t full)
{
    struct walk *w = &s->walk;
    struct take take = { .out = out };
    for (unsigned n = 0; n < rows && out->len < full && w->hash != INDEX_WALKED; n++)
        w->hash = index_walk(&s->entities, w->hash, entity_take, &take);
    buf_free(&take.key);
    if (w->hash == INDEX_WALKED) w->in_rows = true;
}

/* True at the end. */
static bool walk_rows(struct shard *s, struct buf *out, unsigned rows, size_t full)
{
    struct walk *w = &s->walk;
    for (unsigned n = 0; n < rows && out->len < full; n++) {
        struct row *row = (struct row *)tree_seek(&s->rows, buf_str(&w->row_at), w->row_at.len > 0);
        if (row == NULL) return true;
#ifdef MUTANT_dedup_not_in_checkpoint
        if (row->item.key.ptr[0] == ROW_RECORD) {
            buf_reset(&w->row_at);
            buf_add_str(&w->row_at, row->item.key);
            continue;
        }
#endif
        store_change(out, row->slot, row->item.key,
                     (struct weir_str){ row->value, row->value_len });
        buf_reset(&w->row_at);
        buf_add_str(&w->row_at, row->item.key);
    }
    return false;
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
