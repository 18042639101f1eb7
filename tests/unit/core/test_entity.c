/*
 * test_entity.c - entities and their rows beside a plain list: a row is as it was set last, wherever it lies; bytes are counted;
 * keys and rows of each length about the sizes of blocks.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/core_int.h"

#define ENTITIES 64u
#define BYTES 1100u
#define STEPS 60000u

struct known {
    struct entity *entity; /* NULL: none */
    size_t key_len, row_len;
    bool has_row;
    char key[BYTES], row[BYTES];
};

struct world {
    struct shard *shard;
    struct known known[ENTITIES];
    uint64_t random;
    unsigned inside, outside, moved; /* rows seen */
};

static uint64_t draw(struct world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % below;
}

static size_t draw_len(struct world *w)
{
    switch (draw(w, 4)) {
    case 0: return draw(w, 40);
    case 1: return draw(w, 130);
    case 2: return SLAB_BYTES_MAX - 80 + draw(w, 100);
    default: return draw(w, BYTES + 1);
    }
}

static void fill(struct world *w, char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) at[i] = (char)draw(w, 256);
}

/* As docs/operations/running.md says: 32 bytes beside the key, room for 8, in steps of 16; a row that does not fit, likewise. */
static uint64_t expected_bytes(const struct known *k)
{
    size_t used = 32 + k->key_len, block = (used + 8 + 15) / 16 * 16, bytes = used + 8 > 512 ? used + 8 + 16 : block;
    if (!k->has_row || (used + 8 <= 512 && used + k->row_len <= block)) return bytes;
    size_t row = k->row_len ? k->row_len : 1;
    return bytes + (row > 512 ? row + 16 : (row + 15) / 16 * 16);
}

static struct weir_str key_of(const struct known *k)
{
    return (struct weir_str){ k->key, k->key_len };
}

static void check(struct world *w)
{
    struct shard *s = w->shard;
    uint64_t memory = (s->entities.now.cap + s->entities.old.cap) * sizeof(uint64_t), state = 0;
    for (struct known *k = w->known; k < w->known + ENTITIES; k++) {
        if (k->entity == NULL) continue;
        assert_ptr_equal(entity_look(s, 3, key_of(k)), k->entity);
        assert_int_equal(entity_has_row(k->entity), k->has_row);
        struct weir_str row = entity_row(k->entity);
        assert_int_equal(row.ptr != NULL, k->has_row);
        assert_true(!k->has_row || str_eq(row, (struct weir_str){ k->row, k->row_len }));
        assert_true(str_eq(entity_key(k->entity), key_of(k)));
        memory += expected_bytes(k);
        state += k->has_row ? k->row_len : 0;
    }
    assert_int_equal(s->memory_bytes, memory);
    assert_int_equal(s->state_bytes, state);
}

static void add(struct world *w, struct known *k)
{
    /* the first bytes are its own: no two are alike */
    memcpy(k->key, &k, sizeof(k));
    k->key_len = sizeof(k) + draw_len(w) % (BYTES - sizeof(k));
    fill(w, k->key + sizeof(k), k->key_len - sizeof(k));
    k->has_row = false;
    k->entity = entity_get(w->shard, 3, key_of(k), 0);
    assert_false(entity_has_row(k->entity));
}

static void set(struct world *w, struct known *k)
{
    uint8_t before = k->entity->row_where;
    size_t room = (32 + k->key_len + 8 + 15) / 16 * 16 - 32 - k->key_len;
    k->row_len = draw(w, 2) ? room - 2 + draw(w, 5) : draw_len(w);
    k->has_row = true;
    fill(w, k->row, k->row_len);
    entity_set(w->shard, k->entity, (struct weir_str){ k->row, k->row_len });
    w->inside += k->entity->row_where == WHERE_INSIDE;
    w->outside += k->entity->row_where == WHERE_OUTSIDE;
    w->moved += before != WHERE_NONE && before != k->entity->row_where;
}

static void rows_are_as_they_were_set(void **state)
{
    struct world *w = mem_alloc(sizeof(*w));
    struct engine *engine = mem_alloc(sizeof(*engine));
    struct env env = { .self = w };
    w->random = 88172645463325252u;
    w->shard = mem_alloc(sizeof(*w->shard));
    w->shard->env = &env;
    w->shard->engine = engine;
    for (unsigned step = 0; step < STEPS; step++) {
        struct known *k = w->known + draw(w, ENTITIES);
        if (k->entity == NULL) {
            add(w, k);
        } else if (draw(w, 8) > 0) {
            set(w, k);
        } else {
            entity_set(w->shard, k->entity, STR_NIL);
            k->has_row = false;
            if (draw(w, 2)) {
                entity_maybe_remove(w->shard, k->entity);
                k->entity = NULL;
            }
        }
        if (step % 61 == 0) check(w);
    }
    check(w);
    assert_true(w->inside > 1000 && w->outside > 1000 && w->moved > 1000);
    state_free(w->shard);
    mem_free(w->shard);
    mem_free(engine);
    mem_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows_are_as_they_were_set) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
