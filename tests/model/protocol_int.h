/*
 * protocol_int.h - what protocol.c and disk.c share.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_MODEL_PROTOCOL_INT_H
#define WEIR_MODEL_PROTOCOL_INT_H

#include "model.h"

/* Every if on a mutant leaves one rule out. */
#define IS(name) (m->mutant == MUTANT_##name)

static inline uint8_t max_of(uint8_t a, uint8_t b)
{
    return a > b ? a : b;
}

void breaks(struct model *m, const char *rule);
const struct handler *handler_at(const struct model *m, int h);
int root_entity(const struct model *m, int t);
int root_shard(const struct model *m, int t);
int sender_shard(const struct model *m, int t);
bool handler_writes(const struct model *m, int h, int e);
/** All effects of t on shard s, given what has become of it. */
uint32_t txn_effects(const struct model *m, const struct state *st, int t, int s);
bool txn_writes(const struct model *m, const struct state *st, int t);
bool is_decided(const struct txn *txn);
/** Makes a message known to its receiver. */
void hint(struct model *m, struct state *st, int t);

/* disk.c */
bool may_write(const struct model *m, const struct state *st);
void write_frame(struct model *m, struct state *st);
void sync_frame(struct model *m, struct state *st);
bool may_begin_checkpoint(const struct model *m, const struct state *st);
void begin_checkpoint(struct state *st);
/** A walk is asked of the shard, or under way. */
bool walk_is_owed(const struct state *st, int s);
void walk(struct model *m, struct state *st, int s);
bool may_name_checkpoint(const struct model *m, const struct state *st);
void name_checkpoint(struct model *m, struct state *st);
void crash(struct model *m, struct state *st, int kept, bool damaged);

#endif
