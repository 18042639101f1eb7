/*
 * model.h - what must be on the disk: every frame that the log writer gave to the store, row by row.
 *
 * Calls of store_write() and store_sync() are seen by the linker's --wrap. The model keeps the rows as of the newest
 * synced epochs and the frames behind them; after a recovery the engine's rows must be those of exactly one epoch,
 * none older than the newest sync. It shares no table with the engine.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_MODEL_H
#define WEIR_TESTS_MODEL_H

#include "core/core_int.h"

struct model;

struct model *model_create(void);
void model_destroy(struct model *model);
/** The model that wrapped calls feed; NULL: none. */
void model_use(struct model *model);
/** May an answer that depends on this epoch go out? */
bool model_acked(const struct model *model, uint64_t epoch);
uint64_t model_synced(const struct model *model); /* newest epoch whose sync was confirmed */
void model_saw(struct model *model, int64_t now_ms); /* an engine, before it goes: its time */
int64_t model_wall(const struct model *model); /* time of the newest frame */
uint64_t model_frames(const struct model *model); /* all seen so far */
/** The engine was opened at this epoch. `lost`: synced frames that may be missing (after rot). False with `why`. */
bool model_recover(struct model *model, const struct store_recovery *recovery, unsigned lost, char *why, size_t why_bytes);
/** Are the engine's rows the model's at its newest frame? Request records older than record_age_ms may be gone. */
bool model_compare(struct model *model, struct engine *engine, int64_t record_age_ms, char *why, size_t why_bytes);
/** Is this event in a synced frame, just so? */
bool model_event(const struct model *model, uint16_t stream, struct event_id id, int64_t time_ms, struct weir_str key, struct weir_str value);
size_t model_events(const struct model *model, uint16_t stream); /* in synced frames */
/** The same, control events among them, in the order of ids. */
typedef void model_event_fn(void *arg, struct event_id id, int64_t time_ms, struct weir_str key, struct weir_str value);
void model_events_each(const struct model *model, uint16_t stream, model_event_fn *each, void *arg);
/** Of all rows, whatever their order. */
uint64_t model_hash(const struct model *model);
bool model_wrong(const struct model *model, char *why, size_t why_bytes); /* a promise of the writer was broken */

#endif
