/*
 * draw.h - keys to ask for: one, or two that lie on one shard or on two, as --keys, --zipf and --cross want it.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_DRAW_H
#define WEIR_BENCH_DRAW_H

#include "bench/workload.h"

struct draw {
    uint64_t keys;
    struct zipf zipf;
    double cross;   /* share of pairs on two shards; below 0: as the keys fall */
    double hot;     /* share of pairs whose second one is key 0 */
    uint8_t *shard; /* of each key; only with --cross */
};

/** Of keys `letter`0 to `letter`keys-1, `theta` being the skew unless --zipf says otherwise. False with setup->why; draw_deinit() in any case. */
bool draw_init(struct draw *draw, struct workload_setup *setup, char letter, uint64_t keys,
               double theta);
void draw_deinit(struct draw *draw);
/** By the skew. */
uint64_t draw_one(const struct draw *draw, struct random *random);
/** Two different ones, the first uniform, the second by the skew. */
void draw_two(const struct draw *draw, struct random *random, uint64_t *a, uint64_t *b);

#endif
