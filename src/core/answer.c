/*
 * answer.c - the handlers of `_answer`; see answer.h. Settled ones are kept as request records are, and go by a timer.
 *
 * States of a row: (none) -> awaited (open) -> kept (settle) -> (none) (expire).
 * SPDX-License-Identifier: MIT
 */
#include "core/answer.h"

static const struct weir_field row_fields[] = {
    WEIR_FIELD(struct answer_row, caller, WEIR_TEXT),
    WEIR_FIELD(struct answer_row, type, WEIR_TEXT),
    WEIR_FIELD(struct answer_row, handler, WEIR_TEXT),
    WEIR_FIELD(struct answer_row, done, WEIR_BOOL),
    WEIR_FIELD(struct answer_row, status, WEIR_INT),
    WEIR_FIELD(struct answer_row, code, WEIR_TEXT),
    WEIR_FIELD(struct answer_row, detail, WEIR_ANY, .optional = true),
    WEIR_FIELD(struct answer_row, text, WEIR_TEXT),
    WEIR_FIELD(struct answer_row, result, WEIR_ANY, .optional = true),
    WEIR_END
};

static const struct weir_field opening_fields[] = {
    WEIR_FIELD(struct answer_opening, caller, WEIR_TEXT),
    WEIR_FIELD(struct answer_opening, type, WEIR_TEXT),
    WEIR_FIELD(struct answer_opening, handler, WEIR_TEXT), WEIR_END
};
static const struct weir_field settling_fields[] = {
    WEIR_FIELD(struct answer_settling, status, WEIR_INT),
    WEIR_FIELD(struct answer_settling, code, WEIR_TEXT),
    WEIR_FIELD(struct answer_settling, detail, WEIR_ANY, .optional = true),
    WEIR_FIELD(struct answer_settling, text, WEIR_TEXT),
    WEIR_FIELD(struct answer_settling, result, WEIR_ANY, .optional = true),
    WEIR_END
};

/* ---- the handlers ---- */

static uint64_t answer_count(const struct shard *s)
{
    return s->stats.answers_pending + s->stats.answers_kept;
}

static enum weir_status answer_open(struct weir_ctx *f, void *row, const void *args, void *result)
{
    struct answer_row *self = row;
    const struct answer_opening *in = args;
    const struct shard *s = f->txn->shard;
    uint64_t most = s->engine->limits.deferred_max;
    if (answer_count(s) >= most) {
        MARK("limit: deferred_max");
        return ctx_fail(
            f, WEIR_OVERLOADED,
            "deferred_max = %llu answers that come later are awaited or kept on a shard",
            (unsigned long long)most);
    }
    self->caller = in->caller;
    self->type = in->type;
    self->handler = in->handler;
    return WEIR_OK;
}

/* A shard that keeps many keeps them less long: what is awaited must find room. */
static int64_t keep_ms(const struct shard *s)
{
    const struct engine_limits *limits = &s->engine->limits;
    /* Longer than the request record that names it, which is looked for once in a while only. */
    if (answer_count(s) <= limits->deferred_max / 2)
        return (int64_t)(limits->dedup_window_ms + limits->dedup_window_min_ms);
    MARK("deferred answers are kept less long");
    return (int64_t)limits->dedup_window_min_ms;
}

static enum weir_status answer_settle(struct weir_ctx *f, void *row, const void *args, void *result)
{
    struct answer_row *self = row;
    const struct answer_settling *in = args;
    if (!f->access->exists || self->done) return WEIR_OK;
    self->done = true;
    self->status = in->status;
    self->code = in->code;
    self->detail = in->detail;
    self->text = in->text;
    self->result = in->result;
    return weir_after(f, keep_ms(f->txn->shard), "expire", NULL);
}

static enum weir_status answer_expire(struct weir_ctx *f, void *row, const void *args, void *result)
{
    return weir_delete(f);
}

static const struct weir_handler handlers[] = {
    [ANSWER_OPEN] = { "open", WEIR_ON, answer_open,
                      WEIR_SHAPE(struct answer_opening, opening_fields), WEIR_NOTHING },
    [ANSWER_SETTLE] = { "settle", WEIR_ON, answer_settle,
                        WEIR_SHAPE(struct answer_settling, settling_fields), WEIR_NOTHING },
    { "expire", WEIR_ON, answer_expire, WEIR_NOTHING, WEIR_NOTHING },
    WEIR_END
};
const struct weir_entity answer_entity = { .name = "_answer",
                                           .row = WEIR_SHAPE(struct answer_row, row_fields),
                                           .handlers = handlers };
