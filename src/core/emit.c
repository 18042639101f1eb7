/*
 * emit.c - events emitted inside transactions: buffered until the decision, then given their ids.
 *
 * An id is (commit epoch, n): n orders within the epoch, from the decision's clock downward: clock, root's
 * shard, emitting shard, place among the transaction's events there. So ids are unique, grow along every
 * dependency (epoch_meet()), and all events of a transaction stand together.
 * An event is a change in the log of its epoch and, beside that, in the shard's buffer for the feed.
 * SPDX-License-Identifier: MIT
 */
#include <assert.h>
#include <stdio.h>

#include "core/core_int.h"

#define PLACE_BITS 10u
#define SHARD_BITS 6u
static_assert((1u << SHARD_BITS) == ENGINE_SHARDS_MAX, "shards in event ids");

uint64_t event_n(uint64_t clock, uint32_t root, uint32_t shard, uint32_t place)
{
    return ((clock << SHARD_BITS | root) << SHARD_BITS | shard) << PLACE_BITS | place;
}

static struct weir_str event_key(struct weir_ctx *f, const struct stream *stream, const void *event)
{
    if (stream->key_field >= 0) {
        const struct field *field = &stream->event->fields[stream->key_field];
        return text_load(field, (const char *)event + field->offset);
    }
    return f->handler->type->service ? STR("") : entity_key(f->entity);
}

static void emit_add(struct weir_ctx *f, const struct stream *stream, struct weir_str key,
                     struct weir_str packed)
{
    struct txn *t = f->txn;
    if (!effect_in_turn(f)) return;
    struct emit *emit = arena_alloc(&t->arena, sizeof(*emit));
    emit->stream = stream;
    emit->slot = f->entity->slot;
    emit->packed = arena_copy(&t->arena, packed);
    emit->key = key;
    *t->emits_tail = emit;
    t->emits_tail = &emit->next;
    t->emit_count++;
}

enum weir_status ctx_emit(struct weir_ctx *f, const struct stream *stream, const void *event)
{
    struct txn *t = f->txn;
    const struct engine_limits *limits = &t->shard->engine->limits;
    if (weir_failed(f) != WEIR_OK) return weir_failed(f);
    if (f->read_only)
        return ctx_fail(f, WEIR_HANDLER, "the query `%.*s` emits an event",
                        STR_ARG(f->handler->name));
    if (stream->from != NULL)
        return ctx_fail(f, WEIR_ARG,
                        "%.*s holds the results of a window or join: nobody else emits",
                        STR_ARG(stream->name));
    struct problem problem;
    problem_clear(&problem);
    if (shape_judge(stream->event, event, false, &problem) != WEIR_OK)
        return ctx_fail(f, WEIR_ARG, "an event of %.*s: %s", STR_ARG(stream->name), problem.text);
    if (t->emit_count >= limits->events_max)
        return ctx_fail(f, WEIR_BUDGET, "a transaction emits more than events_max = %llu events",
                        (unsigned long long)limits->events_max);
    struct buf *scratch = &t->shard->scratch;
    buf_reset(scratch);
    pack(stream->event, event, scratch);
    if (scratch->len > limits->event_bytes_max)
        return ctx_fail(f, WEIR_BUDGET, "an event of %zu bytes is above event_bytes_max = %llu",
                        scratch->len, (unsigned long long)limits->event_bytes_max);
    t->bytes_written += scratch->len;
    if (t->bytes_written > limits->txn_bytes_max)
        return ctx_fail(f, WEIR_BUDGET, "a transaction writes more than txn_bytes_max = %llu bytes",
                        (unsigned long long)limits->txn_bytes_max);
    emit_add(f, stream, arena_copy(&t->arena, event_key(f, stream, event)), buf_str(scratch));
    return weir_failed(f);
}

enum weir_status weir_emit(struct weir_ctx *f, const struct weir_stream *stream, const void *event)
{
    if (weir_failed(f) != WEIR_OK) return weir_failed(f);
    if (stream->place == NULL)
        return ctx_fail(f, WEIR_HANDLER, "the stream `%s` was not given to weir_add_stream()",
                        stream->name);
    return ctx_emit(f, stream->place, event);
}

/* ---- handlers of the type `streams`: for those outside ---- */

/* Those outside wait while somebody who follows the stream is far behind, see feed.c. A repeat of what was taken before is
 * answered as ever: its record is looked at first. */
static bool is_held_back(struct weir_ctx *ctx, const struct stream *stream)
{
    struct txn *t = ctx->txn;
    struct engine *engine = t->shard->engine;
    uint64_t lag;
    const struct follower *by = feed_held_by(engine, stream, &lag);
    if (by == NULL) return false;
    t->shard->stats.emits_held_total++;
    t->shard->stats.overloads_total++;
    const char *kind = by->derived == NULL          ? "follower"
                       : by->derived->in_count == 2 ? "join"
                                                    : "window";
    unsigned long long events = lag, limit = engine->limits.follower_lag_max;
    struct weir_str detail = arena_printf(
        &t->arena, "{\"stream\":\"%.*s\",\"%s\":\"%.*s\",\"lag\":%llu,\"limit\":%llu}",
        STR_ARG(stream->name), kind, STR_ARG(by->type->name), events, limit);
    txn_doom(t, WEIR_OVERLOADED, STR(""), detail,
             arena_printf(&t->arena,
                          "%.*s waits for its %s %.*s, %llu events behind (follower_lag_max = "
                          "%llu)",
                          STR_ARG(stream->name), kind, STR_ARG(by->type->name), events, limit));
    return true;
}

enum weir_status stream_emit_one(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct stream *stream = ctx_handler(ctx)->code;
    return is_held_back(ctx, stream) ? weir_failed(ctx) : ctx_emit(ctx, stream, args);
}

/* { events = list }; what it answers is filled in at the decision, when the ids are known. */
enum weir_status stream_emit_batch(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct stream *stream = ctx_handler(ctx)->code;
    const struct weir_list *list = args;
    if (is_held_back(ctx, stream)) return weir_failed(ctx);
    for (size_t i = 0; i < list->count; i++)
        (void)ctx_emit(ctx, stream, (const char *)list->items + i * stream->event->size);
    return weir_failed(ctx);
}

enum weir_status stream_end(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct buf *scratch = &ctx->txn->shard->scratch;
    buf_reset(scratch);
    control_write(scratch, CONTROL_END, 0, 0);
    emit_add(ctx, ctx_handler(ctx)->code, STR(""), buf_str(scratch));
    return WEIR_OK;
}

struct weir_event_meta weir_event_meta(struct weir_ctx *f)
{
    struct weir_event_meta meta = { { "", 0 }, WEIR_NIL };
    if (f->handler->hidden)
        memcpy(&meta, (const char *)f->args + f->handler->args->fields[1].offset, sizeof(meta));
    return meta;
}

static void add_be(struct buf *out, uint64_t n, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) buf_add_byte(out, (uint8_t)(n >> (8 * i)));
}

/* The event as a change of the epoch, in the log and for the feed. */
static void event_write(struct shard *s, const struct emit *emit, uint64_t epoch, uint64_t n,
                        int64_t now_ms)
{
    struct buf *value = &s->scratch;
    char head[19], time[8];
    struct buf key = { .ptr = head, .cap = sizeof(head) };
    buf_reset(value);
    buf_add_byte(&key, ROW_EVENT);
    add_be(&key, emit->stream->id, 2);
    add_be(&key, epoch, 8);
    add_be(&key, n, 8);
    store_le64(time, (uint64_t)now_ms);
    buf_add(value, time, 8);
    buf_add_varint(value, emit->key.len);
    buf_add_str(value, emit->key);
    buf_add_str(value, emit->packed);
    effect_put(s, epoch, emit->slot, buf_str(&key), buf_str(value));
    store_change(&s->events[epoch % EPOCH_BUFFERS], emit->slot, buf_str(&key), buf_str(value));
    s->stats.events_emitted_total++;
}

void emits_apply(struct txn *t, uint64_t epoch, uint64_t clock)
{
    struct shard *s = t->shard;
    uint32_t place = 0;
    for (struct emit *emit = t->emits; emit != NULL; emit = emit->next)
        event_write(s, emit, epoch, event_n(clock, t->id % ENGINE_SHARDS_MAX, s->index, place++),
                    t->now_ms);
}

void event_put(struct shard *s, const struct stream *stream, uint8_t slot, struct weir_str key,
               struct weir_str packed, uint64_t n)
{
    struct emit emit = { .stream = stream, .slot = slot, .key = key, .packed = packed };
    event_write(s, &emit, s->epoch, n, s->now_ms);
}

void emits_answer(struct txn *t, uint64_t epoch, uint64_t clock)
{
    struct shard *s = t->shard;
    char text[EVENT_ID_TEXT_MAX];
    uint32_t root = t->id % ENGINE_SHARDS_MAX;
    struct event_id first = { epoch, event_n(clock, root, s->index, 0) },
                    last = { epoch, event_n(clock, root, s->index, t->emit_count - 1) };
    struct weir_str first_text = arena_copy(&t->arena,
                                            (struct weir_str){ text, event_id_write(first, text) });
    if (t->root->handler->result->scalar) {
        *(struct weir_str *)t->result = first_text;
        return;
    }
    struct emitted *out = t->result;
    out->count = t->emit_count;
    out->first = first_text;
    out->last = arena_copy(&t->arena, (struct weir_str){ text, event_id_write(last, text) });
}
