/*
 * maps.c - maps owned by an entity, as its handlers see them: the committed rows under the transaction's own
 * changes. Each map row is a row of its own; the entity's lock covers them all, so a walk sees no phantoms.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

#define KEY_END "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

static const struct map_def *map_at(struct weir_ctx *f, int map)
{
    struct type *type = f->handler->type;
    if (map >= 0 && (uint32_t)map < type->map_count && !type->service) return &type->maps[map];
    ctx_fail(f, WEIR_HANDLER, "%.*s has no map %d", STR_ARG(type->name), map);
    return NULL;
}

static void map_prefix(struct buf *out, struct weir_ctx *f, const struct map_def *map)
{
    key_owned(out, ROW_MAP, f->entity->type_id, entity_key(f->entity));
    buf_add_byte(out, (uint8_t)(map->id >> 8));
    buf_add_byte(out, (uint8_t)map->id);
}

static bool key_fits(struct weir_ctx *f, const struct map_def *map, const struct weir_key *key,
                     bool whole)
{
    if (key->count > map->key_count || (whole && key->count != map->key_count)) {
        ctx_fail(f, WEIR_ARG, "the map `%.*s` has keys of %u parts, not %u", STR_ARG(map->name),
                 map->key_count, key->count);
        return false;
    }
    for (uint32_t i = 0; i < key->count; i++) {
        bool text = map->key[i] == WEIR_TEXT || map->key[i] == WEIR_REF;
        const struct weir_part *part = &key->part[i];
        if (text && (part->text.ptr == NULL || part->text.len > KEY_BYTES_MAX ||
                     !str_is_utf8(part->text))) {
            ctx_fail(f, WEIR_ARG,
                     "part %u of a key of the map `%.*s` is not a text of at most %u bytes", i + 1,
                     STR_ARG(map->name), KEY_BYTES_MAX);
            return false;
        }
        if (!text &&
            (part->text.ptr != NULL || part->n > WEIR_INT_MAX || part->n < -WEIR_INT_MAX)) {
            ctx_fail(f, WEIR_RANGE,
                     "part %u of a key of the map `%.*s` is not a whole number in range", i + 1,
                     STR_ARG(map->name));
            return false;
        }
    }
    return true;
}

static struct overlay *map_row(struct weir_ctx *f, const struct map_def *map,
                               const struct weir_key *key)
{
    if (!key_fits(f, map, key, true)) return NULL;
    struct buf *bytes = &f->txn->shard->scratch;
    buf_reset(bytes);
    map_prefix(bytes, f, map);
    map_key_write(map->key, *key, bytes);
    return overlay_get(f->txn, f->access, buf_str(bytes));
}

/* The struct of a present row, decoded at first sight. */
static void *row_value(struct weir_ctx *f, struct overlay *o)
{
    if (o->value != NULL) return o->value;
    o->value = arena_alloc(&f->txn->arena, o->map->value->size + 8u);
    if (unpack(o->map->value, o->packed, &f->txn->arena, false, o->value) != WEIR_OK)
        ctx_fail(f, WEIR_CORRUPT, "a stored row of the map `%.*s` cannot be read",
                 STR_ARG(o->map->name));
    return o->value;
}

/*
 * The struct, for a handler that may change it. Queries in Lua are given no way to; one in C is trusted with the struct, and what it
 * did to rows that no caller of its had before is looked at.
 */
static void *row_lend(struct weir_ctx *f, struct overlay *o)
{
    if (!f->read_only) {
        o->editable = true;
        o->reader = NULL;
    } else if (!o->editable && f->handler->runtime == &native_runtime) {
        o->editable = true;
        o->reader = f;
    }
    return row_value(f, o);
}

static void *scratch_value(struct weir_ctx *f, const struct map_def *map)
{
    return arena_alloc(&f->txn->arena, (map ? map->value->size : 1024u) + 8u);
}

static bool may_write(struct weir_ctx *f, const struct map_def *map)
{
    if (!f->read_only) return true;
    ctx_fail(f, WEIR_HANDLER, "the query `%.*s` changes the map `%.*s`", STR_ARG(f->handler->name),
             STR_ARG(map->name));
    return false;
}

const void *weir_map_get(struct weir_ctx *f, int at, struct weir_key key)
{
    const struct map_def *map = frame_is_doomed(f) ? NULL : map_at(f, at);
    struct overlay *o = map ? map_row(f, map, &key) : NULL;
    return o != NULL && o->present ? row_value(f, o) : NULL;
}

void *weir_map_edit(struct weir_ctx *f, int at, struct weir_key key)
{
    if (frame_is_doomed(f)) return scratch_value(f, NULL);
    const struct map_def *map = map_at(f, at);
    if (map == NULL) return scratch_value(f, NULL);
    struct overlay *o = map_row(f, map, &key);
    if (o == NULL) return scratch_value(f, map);
    return o->present ? row_lend(f, o) : NULL;
}

/* Makes an absent row present, with start values. */
static void *overlay_make(struct weir_ctx *f, struct overlay *o)
{
    if (!o->present) {
        o->present = true;
        o->changed = true;
        o->packed = STR_NIL;
        o->value = arena_alloc(&f->txn->arena, o->map->value->size + 8u);
        shape_start(o->map->value, o->value);
        f->access->map_delta[o->map - f->access->type->maps]++;
    }
    return row_lend(f, o);
}

void *weir_map_put(struct weir_ctx *f, int at, struct weir_key key)
{
    if (frame_is_doomed(f)) return scratch_value(f, NULL);
    const struct map_def *map = map_at(f, at);
    if (map == NULL) return scratch_value(f, NULL);
    struct overlay *o = may_write(f, map) ? map_row(f, map, &key) : NULL;
    return o ? overlay_make(f, o) : scratch_value(f, map);
}

void *weir_map_append(struct weir_ctx *f, int at, int64_t *n)
{
    *n = 0;
    if (frame_is_doomed(f)) return scratch_value(f, NULL);
    const struct map_def *map = map_at(f, at);
    if (map == NULL) return scratch_value(f, NULL);
    if (map->key_count != 1 || map->key[0] != WEIR_INT) {
        ctx_fail(f, WEIR_HANDLER, "append needs a map with one int key; `%.*s` has another",
                 STR_ARG(map->name));
        return scratch_value(f, map);
    }
    struct weir_scan last = { .reverse = true, .limit = 1 };
    struct weir_key key = { 0 };
    void *row;
    int64_t next = weir_map_next(f, at, &last, &key, &row) ? key.part[0].n + 1 : 1;
    if (frame_is_doomed(f)) return scratch_value(f, map);
    *n = next;
    return weir_map_put(f, at, WEIR_KEY(weir_number(next)));
}

bool weir_map_remove(struct weir_ctx *f, int at, struct weir_key key)
{
    const struct map_def *map = frame_is_doomed(f) ? NULL : map_at(f, at);
    if (map == NULL || !may_write(f, map)) return false;
    struct overlay *o = map_row(f, map, &key);
    if (o == NULL || !o->present) return false;
    o->present = false;
    o->changed = true;
    o->editable = false;
    o->value = NULL;
    f->access->map_delta[map - f->access->type->maps]--;
    return true;
}

int64_t weir_map_count(struct weir_ctx *f, int at)
{
    const struct map_def *map = frame_is_doomed(f) ? NULL : map_at(f, at);
    if (map == NULL) return 0;
    struct buf from = { 0 }, to = { 0 };
    map_prefix(&from, f, map);
    map_prefix(&to, f, map);
    buf_add_text(&to, KEY_END);
    int64_t count = (int64_t)tree_count(&f->txn->shard->rows, buf_str(&from), buf_str(&to));
    buf_free(&from);
    buf_free(&to);
    if (f->access->map_delta != NULL) count += f->access->map_delta[map - f->access->type->maps];
    return count;
}

/* ---- walks ---- */

/* Prefix and bounds are written once for a walk; where it stands, if it has begun, is scan->at. */
static struct map_walk *walk_begin(struct weir_ctx *f, const struct map_def *map,
                                   const struct weir_scan *scan)
{
    struct txn *t = f->txn;
    struct access *a = f->access;
    if (!key_fits(f, map, &scan->from, false) || !key_fits(f, map, &scan->to, false)) return NULL;
    struct buf bytes = { 0 };
    map_prefix(&bytes, f, map);
    size_t prefix_len = bytes.len;
    map_key_write(map->key, scan->reverse ? scan->from : scan->to, &bytes);
    if (a->walk == NULL) a->walk = arena_alloc(&t->arena, sizeof(*a->walk));
    struct map_walk *w = a->walk;
    *w = (struct map_walk){ .scan = scan,
                            .map = map,
                            .bound = arena_copy(&t->arena, buf_str(&bytes)) };
    w->prefix = (struct weir_str){ w->bound.ptr, prefix_len };
    bytes.len = prefix_len;
    map_key_write(map->key, scan->reverse ? scan->to : scan->from, &bytes);
    if (scan->reverse) buf_add_text(&bytes, KEY_END);
    struct weir_str from = scan->started ? scan->at : buf_str(&bytes);
    w->at = scan->at;
    w->kept = tree_seek_place(&t->shard->rows, from, scan->started, scan->reverse, &w->kept_place);
    w->own = tree_seek_place(&a->overlay, from, scan->started, scan->reverse, &w->own_place);
    buf_free(&bytes);
    return w;
}

/* The walk again after a step: nothing is sought anew but what has changed meanwhile. */
static struct map_walk *walk_resume(struct weir_ctx *f, const struct map_def *map,
                                    const struct weir_scan *scan)
{
    struct access *a = f->access;
    struct map_walk *w = a->walk;
    const struct tree *rows = &f->txn->shard->rows;
    if (w == NULL || !scan->started || w->scan != scan || w->map != map ||
        w->at.ptr != scan->at.ptr)
        return walk_begin(f, map, scan);
    if (w->kept_place.changes != rows->changes)
        w->kept = tree_seek_place(rows, w->at, true, scan->reverse, &w->kept_place);
    if (w->own_place.changes != a->overlay.changes)
        w->own = tree_seek_place(&a->overlay, w->at, true, scan->reverse, &w->own_place);
    return w;
}

static bool beyond(struct weir_str key, struct weir_str bound, bool reverse)
{
    if (reverse) return str_cmp(key, bound) < 0;
    bool within = key.len >= bound.len && memcmp(key.ptr, bound.ptr, bound.len) == 0;
    return !within && str_cmp(key, bound) > 0;
}

static void walk_pass_kept(struct weir_ctx *f, struct map_walk *w)
{
    w->kept = tree_step(&f->txn->shard->rows, &w->kept_place, w->kept->key, w->scan->reverse);
}

/* The committed row as an overlay. Adding it moves what is beyond it in the other tree, but not which item that is. */
static struct overlay *walk_take_kept(struct weir_ctx *f, struct map_walk *w)
{
    struct access *a = f->access;
    struct overlay *o = overlay_of_row(f->txn, a, w->map, (struct row *)w->kept);
    if (o == NULL) return NULL;
    w->own_place = (struct tree_place){ .changes = a->overlay.changes };
    walk_pass_kept(f, w);
    return o;
}

/* Both trees in one order; a row in both is the transaction's. NULL at the end. */
static struct overlay *walk_next(struct weir_ctx *f, struct map_walk *w)
{
    bool reverse = w->scan->reverse;
    for (;;) {
        struct tree_item *kept = tree_item_has_prefix(w->kept, w->prefix) ? w->kept : NULL;
        struct tree_item *own = tree_item_has_prefix(w->own, w->prefix) ? w->own : NULL;
        if (kept == NULL && own == NULL) return NULL;
        int order = kept == NULL ? 1 : own == NULL ? -1 : str_cmp(kept->key, own->key);
        if (reverse && kept != NULL && own != NULL) order = -order;
        if (beyond(order < 0 ? kept->key : own->key, w->bound, reverse)) return NULL;
        if (order < 0) return walk_take_kept(f, w);
        if (order == 0) walk_pass_kept(f, w);
        struct overlay *o = (struct overlay *)own;
        w->own = tree_step(&f->access->overlay, &w->own_place, own->key, reverse);
        if (o->present) return o;
    }
}

bool weir_map_next(struct weir_ctx *f, int at, struct weir_scan *scan, struct weir_key *key,
                   void **row)
{
    const struct map_def *map = frame_is_doomed(f) ? NULL : map_at(f, at);
    if (map == NULL || (scan->limit > 0 && scan->seen >= scan->limit)) return false;
    struct map_walk *w = walk_resume(f, map, scan);
    struct overlay *o = w ? walk_next(f, w) : NULL;
    if (o == NULL) return false;
    struct weir_str part = { o->item.key.ptr + w->prefix.len, o->item.key.len - w->prefix.len };
    bool found = map_key_read(map->key, part, &f->txn->arena, key);
    scan->started = true;
    scan->at = w->at = o->item.key;
    scan->seen++;
    *row = row_lend(f, o);
    return found;
}
