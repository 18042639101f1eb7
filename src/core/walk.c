/*
 * walk.c - a shard's part of a fuzzy checkpoint: all its committed rows, in slices between turns.
 *
 * begin is the first epoch this shard has not sealed (H9 1): whatever the walk misses or sees too early is in
 * the log from there on as full values, so replaying the log over the walked rows gives the state at its end.
 * Entities are walked along their list, other rows by key: neither moves when tables grow.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

#define ROWS_PER_SLICE 512u

static void walk_begin(struct shard *s)
{
    struct walk *w = &s->walk;
    w->active = true;
    w->in_rows = false;
    w->at = s->first;
#ifdef MUTANT_checkpoint_begin
    w->begin = s->epoch + 1;
#else
    w->begin = s->sealed_local + 1;
#endif
    buf_reset(&w->row_at);
    atomic_store_explicit(&w->begun, atomic_load(&w->wanted), memory_order_release);
    s->env->actor_wake(s->env, &s->engine->writer.actor);
}

static void walk_entities(struct shard *s, struct buf *out)
{
    struct walk *w = &s->walk;
    struct buf key = { 0 };
    for (unsigned n = 0; n < ROWS_PER_SLICE && w->at != NULL; n++) {
        struct entity *e = w->at;
        w->at = e->next;
        if (e->blob == NULL) continue;
        buf_reset(&key);
        key_entity(&key, e->type_id, entity_key(e));
        store_change(out, e->slot, buf_str(&key), (struct weir_str){ e->blob, e->blob_len });
    }
    buf_free(&key);
    if (w->at == NULL) w->in_rows = true;
}

/* True at the end. */
static bool walk_rows(struct shard *s, struct buf *out)
{
    struct walk *w = &s->walk;
    for (unsigned n = 0; n < ROWS_PER_SLICE; n++) {
        struct row *row = (struct row *)tree_seek(&s->rows, buf_str(&w->row_at), w->row_at.len > 0);
        if (row == NULL) return true;
        store_change(out, row->slot, row->item.key,
                     (struct weir_str){ row->value, row->value_len });
        buf_reset(&w->row_at);
        buf_add_str(&w->row_at, row->item.key);
    }
    return false;
}

void walk_step(struct shard *s)
{
    struct walk *w = &s->walk;
    if (!w->active) walk_begin(s);
    if (atomic_load_explicit(&w->batch, memory_order_acquire) != NULL)
        return; /* the writer has not taken the last */
    struct walk_batch *batch = mem_alloc(sizeof(*batch));
    bool over = false;
    while (!over && batch->bytes.len < CHECKPOINT_BATCH_BYTES / 4) {
        if (!w->in_rows) walk_entities(s, &batch->bytes);
        else over = walk_rows(s, &batch->bytes);
    }
    if (over) {
        w->active = false;
        w->end = s->effect_epoch;
    }
    atomic_store_explicit(&w->batch, batch, memory_order_release);
    if (over) atomic_store_explicit(&w->ended, atomic_load(&w->wanted), memory_order_release);
    s->env->actor_wake(s->env, &s->engine->writer.actor);
}
