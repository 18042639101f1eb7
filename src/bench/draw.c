/*
 * draw.c - see draw.h.
 * SPDX-License-Identifier: MIT
 */
#include "bench/draw.h"

#define CROSS_FREE (-1.0)
#define DRAWS_MAX 100000u
#define DRAWS_OF_ONE 1000u

static bool shards_note(struct draw *draw, struct workload_setup *setup, char letter)
{
    bool seen[256] = { false };
    uint32_t count = 0;
    struct shot shot;
    draw->shard = mem_alloc(draw->keys);
    for (uint64_t k = 0; k < draw->keys; k++) {
        shot_key_number(&shot, letter, k);
        uint32_t shard = key_shard((struct weir_str){ shot.key, shot.key_len }, setup->shards);
        draw->shard[k] = (uint8_t)shard;
        count += !seen[shard];
        seen[shard] = true;
    }
    if (count > 1 || draw->cross == 0.0) return true;
    snprintf(setup->why, sizeof(setup->why),
             "--cross wants two shards with keys, and there is one: see --shards and --keys");
    return false;
}

bool draw_init(struct draw *draw, struct workload_setup *setup, char letter, uint64_t keys,
               double theta)
{
    double percent, hot;
    *draw = (struct draw){ .keys = keys, .cross = CROSS_FREE };
    if (!setting_share(setup, "zipf", theta, 0.999, &theta) ||
        !setting_share(setup, "cross", 0, 100, &percent) ||
        !setting_share(setup, "hot", 0, 100, &hot))
        return false;
    draw->hot = hot / 100;
    if (setting_text(setup, "cross")) {
        draw->cross = percent / 100;
        if (!shards_note(draw, setup, letter)) return false;
    }
    zipf_init(&draw->zipf, keys, theta);
    return true;
}

void draw_deinit(struct draw *draw)
{
    mem_free(draw->shard);
}

uint64_t draw_one(const struct draw *draw, struct random *random)
{
    return zipf_next(&draw->zipf, random);
}

void draw_two(const struct draw *draw, struct random *random, uint64_t *a, uint64_t *b)
{
    bool across = draw->shard && random_share(random) < draw->cross;
    bool hot = draw->hot > 0 && random_share(random) < draw->hot;
    uint32_t draws = 0;
    *a = random_below(random, draw->keys);
    do {
        *b = hot ? 0 : zipf_next(&draw->zipf, random);
        /* A hot key may be alone on its shard: then another first one is drawn, too. */
        if (++draws % DRAWS_OF_ONE == 0 || hot) *a = random_below(random, draw->keys);
    } while (*b == *a ||
             (draw->shard && draws < DRAWS_MAX && (draw->shard[*a] != draw->shard[*b]) != across));
}
