/*
 * txn.c - what a transaction holds on one shard: locks, working rows, judgement at return, and applying.
 *
 * There is no undo: committed bytes stay untouched until the decision, working structs live in the
 * transaction's arena. A handler's changes are found when it returns: its row is compared with a copy of the
 * struct as it was, or, where that would be no less work or the row has lists, packed and compared by bytes.
 * What differs is judged against the declared rules, and logged at COMMIT as the full new value.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

/* ---- records ---- */

static void txns_grow(struct shard *s)
{
    if (s->txn_cap > 0) MARK("table of transactions grows");
    size_t first = ENV_CHANCE(s->env, "txn.small_table") ? 2 : 256;
    size_t cap = s->txn_cap ? s->txn_cap * 2 : first;
    struct txn **table = mem_alloc(cap * sizeof(struct txn *));
    for (size_t i = 0; i < s->txn_cap; i++) {
        struct txn *next;
        for (struct txn *t = s->txns[i]; t != NULL; t = next) {
            next = t->chain;
            uint64_t at = (t->id * 0x9e3779b97f4a7c15u >> 32) & (cap - 1);
            t->chain = table[at];
            table[at] = t;
        }
    }
    mem_free(s->txns);
    s->txns = table;
    s->txn_cap = cap;
}

static struct txn **txn_place(struct shard *s, uint64_t id)
{
    return &s->txns[(id * 0x9e3779b97f4a7c15u >> 32) & (s->txn_cap - 1)];
}

struct txn *txn_find(struct shard *s, uint64_t id)
{
    if (s->txn_cap == 0) return NULL;
    struct txn *t = *txn_place(s, id);
    while (t != NULL && t->id != id) t = t->chain;
    return t;
}

struct txn *txn_begin(struct shard *s, uint64_t id, struct age age)
{
    if (s->txn_count >= s->txn_cap) txns_grow(s);
    struct txn *t = s->txn_free;
    if (t != NULL) {
        s->txn_free = t->chain;
        memset((char *)t + offsetof(struct txn, id), 0, sizeof(*t) - offsetof(struct txn, id));
    } else {
        t = mem_alloc(sizeof(*t));
    }
    t->id = id;
    t->age = age;
    t->shard = s;
    t->sends_tail = &t->sends;
    t->emits_tail = &t->emits;
    t->asks_tail = &t->asks;
    t->chain = *txn_place(s, id);
    *txn_place(s, id) = t;
    s->txn_count++;
    return t;
}

void txn_end(struct txn *t)
{
    struct shard *s = t->shard;
    ASSERT(t->top == NULL);
    for (struct access *a = t->accesses; a != NULL; a = a->next) {
        if (t->shares) {
            share_release(s, a);
            continue;
        }
        ASSERT(a->entity->lock->owner == t);
        lock_release(s, a->entity);
    }
    struct txn **at = txn_place(s, t->id);
    while (*at != t) at = &(*at)->chain;
    *at = t->chain;
    arena_reset(&t->arena);
    buf_reset(&t->trace);
    t->accesses = NULL;
    t->chain = s->txn_free;
    s->txn_free = t;
    s->txn_count--;
}

enum weir_status txn_doom(struct txn *t, enum weir_status status, struct weir_str code,
                          struct weir_str detail, struct weir_str text)
{
    if (t->failure.status != WEIR_OK) MARK("a second failure in one transaction");
    if (t->failure.status == WEIR_OK) {
        const struct weir_ctx *f = t->shard->running;
        t->failure.status = status;
        t->failure.turn = f != NULL && f->txn == t ? turn_of(f) : 0;
        t->failure.code = arena_copy(&t->arena, code);
        t->failure.detail = detail.ptr ? arena_copy(&t->arena, detail) : STR_NIL;
        t->failure.text = arena_copy(&t->arena, text);
    }
    return t->failure.status;
}

/* ---- accesses ---- */

static inline void access_begin(struct access *a, struct txn *t, struct entity *e)
{
    a->entity = e;
    a->overlay.arena = &t->arena;
    a->overlays_tail = &a->overlays;
    a->type = type_of(t->shard, e->type_id);
    a->packed = entity_row(e);
    a->exists = a->packed.ptr != NULL;
    a->next = t->accesses;
    t->accesses = a;
    t->access_count++;
    if (e->version > t->read_epoch) t->read_epoch = e->version;
}

struct access *txn_access(struct txn *t, struct entity *e)
{
    if (e->lock->access != NULL) return e->lock->access;
    struct access *a = arena_alloc(&t->arena, sizeof(*a));
    access_begin(a, t, e);
    e->lock->access = a;
    return a;
}

struct access *txn_share(struct txn *t, struct entity *e)
{
    for (struct share *share = e->lock->readers; share != NULL; share = share->next) {
        if (share->txn == t) return &share->access;
    }
    struct share *share = arena_alloc(&t->arena, sizeof(*share));
    access_begin(&share->access, t, e);
    share->txn = t;
    share->next = e->lock->readers;
    e->lock->readers = share;
    return &share->access;
}

static void row_start(struct access *a, void *row)
{
    shape_start(a->type->row, row);
    if (a->type->key.count > 0) {
        /* its texts point into the entity, which stays while it is locked */
        (void)key_apply(&a->type->key, a->type->row, entity_key(a->entity), row);
    }
}

static void row_copy(struct access *a, struct arena *arena)
{
    size_t bytes = a->type->row->size;
    if (a->before == NULL) a->before = arena_alloc(arena, bytes);
    memcpy(a->before, a->row, bytes);
}

/* The row is as committed. */
static inline void row_decoded(struct access *a, struct arena *arena)
{
    if (a->type->row->heavy) row_copy(a, arena);
}

/* The row has been judged. What its texts point to may be the handler's own and soon be gone. */
static inline void row_judged(struct access *a, struct arena *arena)
{
    const struct shape *shape = a->type->row;
    if (shape->deep) shape_keep_texts(shape, a->before, arena, a->row);
    if (shape->heavy) row_copy(a, arena);
}

const void *access_copy(const struct access *a, struct arena *arena)
{
    size_t bytes = a->type->row->size;
    if (a->before != NULL && memcmp(a->before, a->row, bytes) == 0) return a->before;
    return memcpy(arena_alloc(arena, bytes), a->row, bytes);
}

/* Rows written before their type's key was declared may say something else than the key, which holds. */
static void row_apply_key(struct access *a)
{
    const struct type *type = a->type;
    size_t bytes = type->row->size;
    bool fits = key_apply(&type->key, type->row, entity_key(a->entity), a->row);
    if (a->before == NULL) return;
    if (memcmp(a->before, a->row, bytes) == 0) a->entity->keyed = fits;
    else memcpy(a->before, a->row, bytes);
}

static bool row_decode(struct txn *t, struct access *a)
{
    a->row = arena_alloc(&t->arena, a->type->row->size + 8u);
    if (!a->exists) {
        row_start(a, a->row);
        return true;
    }
    if (unpack(a->type->row, a->packed, &t->arena, false, a->row) != WEIR_OK) {
        txn_doom(t, WEIR_CORRUPT, STR(""), STR_NIL,
                 arena_printf(&t->arena, "the stored row of %.*s `%.*s` cannot be read",
                              STR_ARG(a->type->name), STR_ARG(entity_key(a->entity))));
        return false;
    }
    row_decoded(a, &t->arena);
    if (a->type->key.count > 0 && !a->entity->keyed) row_apply_key(a);
    return true;
}

/* Decodes the row for the first handler and judges that the handler fits the entity's state. */
bool access_open(struct weir_ctx *f)
{
    struct access *a = f->access;
    struct txn *t = f->txn;
    const struct handler *h = f->handler;
    if (!h->builtin && a->type->has_create) {
        if (h->kind == WEIR_CREATE && a->exists) {
            MARK("create: exists already");
            txn_doom(t, WEIR_EXISTS, STR(""), STR_NIL,
                     arena_printf(&t->arena, "%.*s `%.*s` exists already", STR_ARG(a->type->name),
                                  STR_ARG(entity_key(a->entity))));
            return false;
        }
        if (h->kind != WEIR_CREATE && !a->exists) {
            MARK("no create yet");
            txn_doom(t, WEIR_NOTFOUND, STR(""), STR_NIL,
                     arena_printf(&t->arena,
                                  "there is no %.*s `%.*s`: it begins with a create handler",
                                  STR_ARG(a->type->name), STR_ARG(entity_key(a->entity))));
            return false;
        }
    }
    if (a->row == NULL && !row_decode(t, a)) return false;
    if (h->kind == WEIR_CREATE && !a->exists) {
        a->exists = true;
        a->changed = true;
    }
    return true;
}

/* ---- judgement ---- */

static enum weir_status doom_problem(struct txn *t, const struct problem *problem,
                                     struct weir_str where)
{
    struct buf detail = { 0 };
    buf_add_text(&detail, "{\"field\":");
    json_write_text(&detail, str_of(problem->field));
    buf_add_text(&detail, ",\"rule\":");
    json_write_text(&detail, str_of(problem->rule));
    buf_add_byte(&detail, '}');
    struct weir_str text = arena_printf(&t->arena, "%.*s: %s", STR_ARG(where), problem->text);
    txn_doom(t, problem->status, STR(""), buf_str(&detail), text);
    buf_free(&detail);
    return problem->status;
}

static enum weir_status doom_size(struct txn *t, const char *what, size_t bytes, uint64_t limit,
                                  const char *name)
{
    return txn_doom(t, WEIR_BUDGET, STR(""), STR_NIL,
                    arena_printf(&t->arena, "%s of %zu bytes is above %s = %llu", what, bytes, name,
                                 (unsigned long long)limit));
}

static bool count_written(struct txn *t, size_t bytes)
{
    t->bytes_written += bytes;
    if (t->bytes_written <= t->shard->engine->limits.txn_bytes_max) return true;
    doom_size(t, "a transaction", t->bytes_written, t->shard->engine->limits.txn_bytes_max,
              "txn_bytes_max");
    return false;
}

/* Packs, compares, judges one map row that a handler could change. */
static enum weir_status overlay_judge(struct weir_ctx *f, struct overlay *o, bool *wrote)
{
    struct txn *t = f->txn;
    struct buf *scratch = &t->shard->scratch;
    buf_reset(scratch);
    pack(o->map->value, o->value, scratch);
    if (o->packed.ptr != NULL && str_eq(o->packed, buf_str(scratch))) return WEIR_OK;
    if (f->read_only) {
        return txn_doom(t, WEIR_HANDLER, STR(""), STR_NIL,
                        arena_printf(&t->arena, "the query `%.*s` changed a row of `%.*s`",
                                     STR_ARG(f->handler->name), STR_ARG(o->map->name)));
    }
    struct problem problem;
    problem_clear(&problem);
    if (shape_judge(o->map->value, o->value, true, &problem) != WEIR_OK) {
        return doom_problem(t, &problem,
                            arena_printf(&t->arena, "%.*s `%.*s`, map %.*s",
                                         STR_ARG(f->access->type->name),
                                         STR_ARG(entity_key(f->entity)), STR_ARG(o->map->name)));
    }
    if (scratch->len > t->shard->engine->limits.row_bytes_max) {
        return doom_size(t, "a map row", scratch->len, t->shard->engine->limits.row_bytes_max,
                         "row_bytes_max");
    }
    if (!count_written(t, scratch->len)) return WEIR_BUDGET;
    o->packed = arena_copy(&t->arena, buf_str(scratch));
    shape_keep_texts(o->map->value, NULL, &t->arena, o->value);
    o->changed = true;
    *wrote = true;
    return WEIR_OK;
}

static enum weir_status overlays_judge(struct weir_ctx *f, bool *wrote)
{
    struct access *a = f->access;
    for (struct overlay *o = a->overlays; o != NULL; o = o->next) {
        if (o->present && o->editable && o->map != NULL) {
            enum weir_status st = overlay_judge(f, o, wrote);
            if (st != WEIR_OK) return st;
        }
        if (o->changed && o->present) *wrote = true;
    }
    return WEIR_OK;
}

/* A query may be asked by a handler of its own entity that has not returned: what that one changed is not the query's. Its row has
 * been compared with a copy. */
static enum weir_status query_judge(struct weir_ctx *f)
{
    bool wrote;
    if (f->handler->runtime != &native_runtime) return WEIR_OK;
    for (struct overlay *o = f->access->overlays; o != NULL; o = o->next) {
        if (o->reader != f) continue;
        o->editable = false;
        o->reader = NULL;
        enum weir_status st = overlay_judge(f, o, &wrote);
        if (st != WEIR_OK) return st;
    }
    return WEIR_OK;
}

/* The rule over the whole row. */
static __attribute__((noinline)) enum weir_status row_check_whole(struct weir_ctx *f)
{
    struct access *a = f->access;
    struct txn *t = f->txn;
    struct weir_str code = STR("");
    if (!a->type->check(f, a->type, a->row, &code)) {
        if (t->failure.status != WEIR_OK) return t->failure.status;
        struct buf detail = { 0 };
        buf_add_text(&detail, "{\"rule\":");
        json_write_text(&detail, code);
        buf_add_byte(&detail, '}');
        txn_doom(t, WEIR_CHECK, STR(""), buf_str(&detail),
                 arena_printf(&t->arena, "%.*s `%.*s` breaks its rule `%.*s`",
                              STR_ARG(a->type->name), STR_ARG(entity_key(a->entity)),
                              STR_ARG(code)));
        buf_free(&detail);
        return WEIR_CHECK;
    }
    return WEIR_OK;
}

static inline enum weir_status row_check(struct weir_ctx *f)
{
    struct access *a = f->access;
    struct txn *t = f->txn;
    struct problem problem;
    problem_clear(&problem);
    if (shape_judge_change(a->type->row, a->row, a->before, true, &problem) != WEIR_OK) {
        return doom_problem(t, &problem,
                            arena_printf(&t->arena, "%.*s `%.*s`", STR_ARG(a->type->name),
                                         STR_ARG(entity_key(a->entity))));
    }
    return a->type->check != NULL ? row_check_whole(f) : WEIR_OK;
}

/* The row packed as if nothing had ever been assigned: only the key's parts. */
static struct weir_str packed_start(struct access *a, struct txn *t)
{
    if (a->type->key.count == 0) return STR("");
    void *row = arena_alloc(&t->arena, a->type->row->size + 8u);
    row_start(a, row);
    struct buf bytes = { 0 };
    pack(a->type->row, row, &bytes);
    struct weir_str copy = arena_copy(&t->arena, buf_str(&bytes));
    buf_free(&bytes);
    return copy;
}

/* What is part of the key is not the handler's to change: Lua refuses it, what C did is undone. */
static void key_restore(struct access *a)
{
    const struct type *type = a->type;
    if (a->before == NULL || type->key.row != type->row) {
        (void)key_apply(&type->key, type->row, entity_key(a->entity), a->row);
        return;
    }
    for (uint32_t i = 0; i < type->key.count; i++) {
        const struct field *f = &type->row->fields[type->key.part[i].place];
        memcpy((char *)a->row + f->offset, (const char *)a->before + f->offset, f->size);
    }
}

/* When a handler returned: finds what it changed, judges the rules, keeps the packed form. */
enum weir_status access_judge(struct weir_ctx *f)
{
    struct access *a = f->access;
    struct txn *t = f->txn;
    if (f->handler->builtin) return WEIR_OK;
    if (f->read_only) return query_judge(f);
    bool wrote_rows = false;
    enum weir_status st = overlays_judge(f, &wrote_rows);
    if (st != WEIR_OK) return st;
    if (a->type->key.count > 0 && f->handler->runtime == &native_runtime) key_restore(a);
    if (a->before != NULL && memcmp(a->before, a->row, a->type->row->size) == 0) return WEIR_OK;
    struct buf *scratch = &t->shard->scratch;
    buf_reset(scratch);
    pack(a->type->row, a->row, scratch);
    struct weir_str now = buf_str(scratch);
    if (a->packed.ptr != NULL && a->exists && str_eq(a->packed, now)) {
        if (a->before != NULL) memcpy(a->row, a->before, a->type->row->size);
        return WEIR_OK;
    }
    if (!a->exists) {
        if (!wrote_rows && str_eq(now, packed_start(a, t))) return WEIR_OK;
        a->exists = true;
    }
    if (now.len > t->shard->engine->limits.row_bytes_max) {
        return doom_size(t, "a row", now.len, t->shard->engine->limits.row_bytes_max,
                         "row_bytes_max");
    }
    if (!count_written(t, now.len)) return WEIR_BUDGET;
    a->packed = arena_copy(&t->arena, now);
    a->changed_again = a->changed;
    a->changed = true;
    st = row_check(f);
    if (st == WEIR_OK) row_judged(a, &t->arena);
    return st;
}

/* weir_delete(): row, map rows and timers go; the handler goes on with a row of start values. */
void access_erase(struct weir_ctx *f)
{
    struct access *a = f->access;
    struct txn *t = f->txn;
    struct shard *s = t->shard;
    static const enum row_kind kinds[] = { ROW_MAP, ROW_TIMER };
    for (size_t k = 0; k < 2; k++) {
        struct buf prefix = { 0 };
        key_owned(&prefix, kinds[k], a->entity->type_id, entity_key(a->entity));
        for (struct tree_item *i = tree_seek(&s->rows, buf_str(&prefix), false); i != NULL;
             i = tree_seek(&s->rows, i->key, true)) {
            if (!tree_item_has_prefix(i, buf_str(&prefix))) break;
            if (overlay_get(t, a, i->key) == NULL) break;
        }
        buf_free(&prefix);
    }
    for (struct overlay *o = a->overlays; o != NULL; o = o->next) {
        if (o->present && o->map != NULL) a->map_delta[o->map - a->type->maps]--;
        o->changed = o->changed || o->present;
        o->present = false;
        o->editable = false;
    }
    a->exists = false;
    a->changed = true;
    a->packed = STR_NIL;
    a->before = NULL;
    row_start(a, a->row);
}

/* ---- overlays ---- */

static const struct map_def *map_of_key(struct access *a, struct weir_str key)
{
    uint16_t type_id;
    struct weir_str name, rest;
    if (key.ptr[0] != ROW_MAP || !key_owned_parse(key, &type_id, &name, &rest) || rest.len < 2)
        return NULL;
    uint16_t id = load_be16(rest.ptr);
    for (uint32_t i = 0; i < a->type->map_count; i++) {
        if (a->type->maps[i].id == id) return &a->type->maps[i];
    }
    return NULL;
}

/* NULL once a limit is passed (the transaction is doomed). */
static struct overlay *overlay_add(struct txn *t, struct access *a, const struct map_def *map,
                                   struct weir_str key, struct row *row)
{
    if (++t->map_row_count > t->shard->engine->limits.map_rows_max) {
        txn_doom(
            t, WEIR_BUDGET, STR(""), STR_NIL,
            arena_printf(&t->arena,
                         "a transaction touches more than map_rows_max = %llu map rows and timers",
                         (unsigned long long)t->shard->engine->limits.map_rows_max));
        return NULL;
    }
    struct overlay *o = arena_alloc(&t->arena, sizeof(*o));
    o->item.key = arena_copy(&t->arena, key);
    o->map = map;
    if (a->map_delta == NULL)
        a->map_delta = arena_alloc(&t->arena, (a->type->map_count + 1) * sizeof(int64_t));
    if (row != NULL) {
        o->row = row;
        o->present = true;
        o->packed = (struct weir_str){ row->value, row->value_len };
    }
    tree_add(&a->overlay, &o->item);
    *a->overlays_tail = o;
    a->overlays_tail = &o->next;
    return o;
}

/* The transaction's view of a row, committed or not. */
struct overlay *overlay_get(struct txn *t, struct access *a, struct weir_str key)
{
    struct overlay *o = (struct overlay *)tree_find(&a->overlay, key);
    if (o != NULL) return o;
    return overlay_add(t, a, map_of_key(a, key), key,
                       (struct row *)tree_find(&t->shard->rows, key));
}

struct overlay *overlay_of_row(struct txn *t, struct access *a, const struct map_def *map,
                               struct row *row)
{
    return overlay_add(t, a, map, row->item.key, row);
}

struct overlay *overlay_next(struct txn *t, struct access *a, struct weir_str prefix,
                             struct weir_str at, bool after)
{
    for (;;) {
        struct tree_item *kept = tree_seek(&t->shard->rows, at, after);
        struct tree_item *own = tree_seek(&a->overlay, at, after);
        if (!tree_item_has_prefix(kept, prefix)) kept = NULL;
        if (!tree_item_has_prefix(own, prefix)) own = NULL;
        if (kept == NULL && own == NULL) return NULL;
        int order = kept == NULL ? 1 : own == NULL ? -1 : str_cmp(kept->key, own->key);
        if (order < 0) return overlay_get(t, a, kept->key);
        struct overlay *o = (struct overlay *)own;
        if (o->present) return o;
        at = o->item.key;
        after = true;
    }
}

/* ---- applying: after the decision, nothing here can fail ---- */

/* Where a change of this epoch goes. */
static inline struct buf *effects_of(struct shard *s, uint64_t epoch)
{
    ASSERT(epoch > s->sealed_local);
    if (epoch > s->effect_epoch) s->effect_epoch = epoch;
    shard_wanted(s, epoch);
    return &s->buffers[epoch % EPOCH_BUFFERS];
}

void effect_put(struct shard *s, uint64_t epoch, uint8_t slot, struct weir_str key,
                struct weir_str value)
{
    store_change(effects_of(s, epoch), slot, key, value);
}

/* A change of less is not worth looking for what stays. */
#define PATCHED_FROM 64u

/* False: the whole row is to be put. It was `before`, NULL if it was not. */
static inline bool effect_patch(struct shard *s, uint64_t epoch, uint8_t slot, struct weir_str head,
                                struct weir_str key, struct weir_str before, struct weir_str value)
{
    if (before.ptr == NULL || (value.len < PATCHED_FROM && !ENV_CHANCE(s->env, "txn.patch")))
        return false;
    return store_change_patch(effects_of(s, epoch), slot, head, key, before, value);
}

void effect_delete(struct shard *s, uint64_t epoch, uint8_t slot, struct weir_str key)
{
    store_change_delete(effects_of(s, epoch), slot, key);
}

/* The committed row. */
static struct row *overlay_row(const struct shard *s, const struct overlay *o)
{
    if (o->map == NULL) return (struct row *)tree_find(&s->rows, o->item.key);
    ASSERT_SLOW(o->row == (struct row *)tree_find(&s->rows, o->item.key));
    return o->row;
}

static void apply_overlay(struct shard *s, struct access *a, struct overlay *o, uint64_t epoch)
{
    struct row *row = overlay_row(s, o);
    bool is_timer = o->item.key.ptr[0] == ROW_TIMER;
    if (!o->present) {
        if (row == NULL) return;
        if (is_timer) s->timer_count--;
        row_delete(s, row);
        effect_delete(s, epoch, a->entity->slot, o->item.key);
        return;
    }
    if (row != NULL && row->value_len == o->packed.len &&
        memcmp(row->value, o->packed.ptr, o->packed.len) == 0) {
        /* A timer that fired and set itself anew for the same moment: the same row, but out of the heap. */
#ifndef MUTANT_H19
        if (is_timer && !row->heap.place) timer_index(s, row);
#endif
        return;
    }
    bool is_new = row == NULL;
    if (is_new) row = row_add(s, a->entity->slot, o->item.key);
    if (o->map == NULL || !effect_patch(s, epoch, a->entity->slot, STR(""), o->item.key,
                                        (struct weir_str){ row->value, row->value_len }, o->packed))
        effect_put(s, epoch, a->entity->slot, o->item.key, o->packed);
    row_value_set(s, row, o->packed);
    if (is_timer) {
        if (is_new) s->timer_count++;
        timer_index(s, row);
    } else if (o->item.key.ptr[0] == ROW_ASK) {
        ask_index(s, row, epoch);
    }
}

static void apply_row(struct shard *s, struct access *a, uint64_t epoch)
{
    struct entity *e = a->entity;
    struct weir_str before = entity_row(e);
    if (!a->exists && before.ptr == NULL) MARK("made and deleted in one transaction");
    if (!a->exists && before.ptr == NULL) return;
    if (a->changed_again && a->exists && before.ptr != NULL && str_eq(a->packed, before)) return;
    if (a->type == s->engine->catalog->answers)
        answer_change(s, e, a->exists ? a->packed : STR_NIL, epoch);
    if (!a->exists) {
        MARK("an entity's row is deleted");
        buf_reset(&s->scratch);
        key_entity(&s->scratch, e->type_id, entity_key(e));
        entity_set(s, e, STR_NIL);
        effect_delete(s, epoch, e->slot, buf_str(&s->scratch));
        return;
    }
    char head[ENTITY_KEY_HEAD];
    key_entity_head(head, e->type_id);
#ifdef MUTANT_patch_of_new_row
    entity_set(s, e, a->packed);
    before = entity_row(e);
#endif
    struct weir_str key = { head, sizeof(head) };
    if (!effect_patch(s, epoch, e->slot, key, entity_key(e), before, a->packed))
        store_change_of(effects_of(s, epoch), e->slot, key, entity_key(e), a->packed);
    entity_set(s, e, a->packed);
}

static int64_t overlay_growth(const struct shard *s, const struct overlay *o)
{
    const struct row *row = overlay_row(s, o);
    int64_t before = row != NULL ? (int64_t)(row->value_len + o->item.key.len) : 0;
    return (o->present ? (int64_t)(o->packed.len + o->item.key.len) : 0) - before;
}

bool txn_grows(const struct txn *t)
{
    if (t->participants != 0 || t->send_count > 0) return true;
    int64_t growth = 0;
    for (struct access *a = t->accesses; a != NULL; a = a->next) {
        const struct entity *e = a->entity;
        if (a->changed)
            growth += (a->exists ? (int64_t)(a->packed.len + e->key_len) : 0) -
                      (entity_has_row(e) ? (int64_t)e->row_len + e->key_len : 0);
        for (const struct overlay *o = a->overlays; o != NULL; o = o->next) {
            if (o->changed) growth += overlay_growth(t->shard, o);
        }
    }
    return growth > 0;
}

/* COMMIT(epoch) on this shard: every change of this record becomes the committed state and a log record of
 * that epoch. The epoch is open here, by E3 of the protocol. */
void txn_apply(struct txn *t, uint64_t epoch, uint64_t clock)
{
    struct shard *s = t->shard;
    ASSERT(epoch >= t->read_epoch || t->root == NULL);
    for (struct access *a = t->accesses; a != NULL; a = a->next) {
        uint64_t effects = s->buffers[epoch % EPOCH_BUFFERS].len;
        if (a->changed) apply_row(s, a, epoch);
        for (struct overlay *o = a->overlays; o != NULL; o = o->next) {
            if (o->changed) apply_overlay(s, a, o, epoch);
        }
        if (s->buffers[epoch % EPOCH_BUFFERS].len != effects) a->entity->version = epoch;
    }
    for (struct send *send = t->sends; send != NULL; send = send->next) {
        outbox_put(s, send->sender->slot, send, epoch);
        s->stats.messages_sent_total++;
        send->sender->version = epoch;
    }
    if (t->emits != NULL) emits_apply(t, epoch, clock);
    if (t->asks != NULL) asks_apply(t, epoch, clock);
    if (t->trace.len > 0) engine_trace(s->engine, "%.*s", (int)t->trace.len, t->trace.ptr);
}
