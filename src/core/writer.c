/*
 * writer.c - the log writer: raises epochs, gathers what the shards sealed, writes one frame, syncs it, and
 * only then lets replies of that epoch go. Also drives checkpoints, whose rows the shards hand over.
 *
 *   IDLE -> SEALING   something waits for the open epoch: G is raised, here or by a shard, e = G - 1 is being sealed
 *   SEALING -> WRITTEN  all shards sealed e or are parked; its frame is on the file
 *   WRITTEN -> IDLE   synced: durable = e
 *
 * While e is sealed, written and synced, the shards work in e + 1. G is raised again only after that, so at
 * most two epochs are open. One file operation a turn, so that a simulated crash finds every gap.
 * A failed sync poisons the log for good: every waiting answer becomes `unknown` and the process ends with
 * exit code 74. A full disk is waited out.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

#define DISK_RETRY_NS 500000000u
#define CHECKPOINT_LIVE_FROM                                                                       \
    (64u << 20) /* below this the limit alone decides, so that tests can shrink it */
#define CHECKPOINT_RETRY_NS 10000000000u
/* Of a checkpoint before all stops: how little log is none's worth, as a part of checkpoint_bytes_min; and how much memory
 * what is written for it may take: so that a stop is a matter of a second. */
#define LAST_LOG_PART 16u
#define LAST_MEMORY_MAX (256u << 20)

static void wake_ports(struct engine *engine)
{
    for (uint32_t p = 0; p < engine->port_count; p++) {
        if (engine->ports[p].actor != NULL)
            engine->env->actor_wake(engine->env, engine->ports[p].actor);
    }
}

static void stats_publish(struct engine *engine)
{
    uint32_t unlocked = 0;
    while (!atomic_compare_exchange_weak(&engine->stats_lock, &unlocked, 1)) unlocked = 0;
    store_stats(engine->store, &engine->store_stats);
    atomic_store(&engine->stats_lock, 0);
}

static void disk_full_set(struct engine *engine, bool full)
{
    if ((atomic_exchange(&engine->disk_full, full) != 0) == full) return;
    if (full) MARK("writes refused: disk full");
    if (!full) MARK("the disk has room again");
    engine_trace(engine, full ? "\"event\":\"disk_full\"" : "\"event\":\"disk_has_room\"");
    stats_publish(engine);
}

/* ---- epochs ---- */

static bool must_raise(const struct engine *engine)
{
    uint64_t open = atomic_load(&engine->durable) + 1;
    return atomic_load(&engine->epoch) != open || atomic_load(&engine->due) >= open;
}

/* Idle: all below the open epoch is durable, so whoever raised G, this one is to be sealed. */
static void writer_raise(struct engine *engine)
{
    struct writer *w = &engine->writer;
    uint64_t open = w->epoch = atomic_load_explicit(&engine->durable, memory_order_relaxed) + 1;
    w->state = WRITER_SEALING;
    if (!atomic_compare_exchange_strong(&engine->epoch, &open, open + 1)) {
        MARK("a shard had raised the epoch");
        return;
    }
    epoch_raised(engine);
}

/* Of one that is parked there will be nothing more in that epoch, see shard.c. */
bool epoch_is_sealed(struct engine *engine, uint64_t epoch)
{
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct shard *s = &engine->shards[i];
        if (atomic_load(&s->state) == SHARD_PARKED) continue;
#ifdef MUTANT_one_shard_sealed
        if (atomic_load_explicit(&s->sealed, memory_order_acquire) >= epoch) return true;
#endif
        if (atomic_load(&s->sealed) < epoch) return false;
    }
    return true;
}

static void writer_durable(struct engine *engine, uint64_t epoch)
{
    feed_durable(engine, epoch); /* before: who sees it durable finds its events with the feed */
    atomic_store(&engine->durable, epoch); /* then the wake: see ports_flush() */
    engine->writer.state = WRITER_IDLE;
    wake_ports(engine);
    feed_news(engine);
    if (engine->ask_actor != NULL) engine->env->actor_wake(engine->env, engine->ask_actor);
}

static void writer_poison(struct engine *engine)
{
    atomic_store(&engine->poisoned, 1);
    engine_trace(engine, "\"event\":\"log_failed\",\"level\":\"error\"");
    stats_publish(engine);
    wake_ports(engine);
}

/* Writes the frame of the sealed epoch; an epoch without effects writes nothing. */
static uint64_t writer_write(struct engine *engine)
{
    struct writer *w = &engine->writer;
    struct weir_str parts[ENGINE_SHARDS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct buf *bytes = &engine->shards[i].buffers[w->epoch % EPOCH_BUFFERS];
        if (bytes->len > 0) parts[count++] = buf_str(bytes);
    }
    if (count == 0) {
        MARK("an epoch without effects");
        writer_durable(engine, w->epoch);
        return 0;
    }
    w->wall_ms = engine_now_ms(engine);
#ifdef MUTANT_wall_clock_raw
    w->wall_ms = engine->env->wall_ms(engine->env);
#endif
    struct store_frame frame = {
        .epoch = w->epoch, .wall_ms = w->wall_ms, .parts = parts, .part_count = count
    };
    enum weir_status st = store_write(engine->store, &frame);
    if (st == WEIR_DISKFULL) {
        MARK("frame: no room");
        disk_full_set(engine, true);
        w->retry_ns = engine->env->mono_ns(engine->env) + DISK_RETRY_NS;
        wake_ports(engine);
        return w->retry_ns;
    }
    if (st != WEIR_OK) {
        MARK("poisoned: write");
        writer_poison(engine);
        return ENV_NEVER;
    }
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct buf *bytes = &engine->shards[i].buffers[w->epoch % EPOCH_BUFFERS];
        buf_reset(bytes);
        if (bytes->cap > (4u << 20)) buf_free(bytes);
    }
    w->state = WRITER_WRITTEN;
#ifdef MUTANT_ack_before_sync
    atomic_store_explicit(&engine->durable, w->epoch, memory_order_release);
    wake_ports(engine);
#endif
    return 0;
}

/* ---- checkpoints ---- */

/* Draining, once: a start reads a checkpoint sooner than a log of much more. */
static bool checkpoint_last_due(struct engine *engine, uint64_t log, uint64_t live)
{
    struct writer *w = &engine->writer;
    if (w->checkpoint_last) return false;
    w->checkpoint_last = true;
    uint64_t memory = 0;
    for (uint32_t i = 0; i < engine->shard_count; i++)
        memory += atomic_load_explicit(&engine->shards[i].published.memory_bytes,
                                       memory_order_relaxed);
    bool due = log > engine->limits.checkpoint_bytes_min / LAST_LOG_PART && log / 2 > live &&
               memory <= LAST_MEMORY_MAX &&
               engine->env->mono_ns(engine->env) >= w->checkpoint_retry_ns;
    if (due) MARK("a checkpoint before all stops");
    return due || (log > 0 && ENV_CHANCE(engine->env, "writer.checkpoint_last"));
}

static bool checkpoint_due(struct engine *engine)
{
    struct store_stats stats;
    store_stats(engine->store, &stats);
    uint64_t live = 0;
    for (uint32_t i = 0; i < engine->shard_count; i++)
        live += atomic_load_explicit(&engine->shards[i].published.state_bytes,
                                     memory_order_relaxed);
    if (atomic_load_explicit(&engine->draining, memory_order_relaxed))
        return checkpoint_last_due(engine, stats.log_bytes_since_checkpoint, live);
    uint64_t trigger = engine->limits.checkpoint_bytes_min;
    if (live > CHECKPOINT_LIVE_FROM && live > trigger) trigger = live;
#ifdef MUTANT_control_checkpoint_later
    trigger *= 4;
#endif
    if (stats.log_bytes_since_checkpoint > 0 && ENV_CHANCE(engine->env, "writer.checkpoint_now"))
        return true;
    return stats.log_bytes_since_checkpoint > trigger &&
           engine->env->mono_ns(engine->env) >= engine->writer.checkpoint_retry_ns;
}

static void checkpoint_drop(struct engine *engine)
{
    struct writer *w = &engine->writer;
    MARK("checkpoint dropped");
    store_checkpoint_abort(engine->store);
    w->checkpoint_begun = false;
    w->checkpoint_failed = true;
    w->checkpoint_retry_ns = engine->env->mono_ns(engine->env) + CHECKPOINT_RETRY_NS;
    engine_trace(engine, "\"event\":\"checkpoint_failed\"");
}

static void checkpoint_begin(struct engine *engine)
{
    struct writer *w = &engine->writer;
    /* One begin for all slots, the least: changes are full values, so replaying more of them ends the same. */
    uint64_t begin = UINT64_MAX;
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        if (engine->shards[i].walk.begin < begin) begin = engine->shards[i].walk.begin;
    }
    w->checkpoint_begun = true;
    w->checkpoint_begin = begin;
    if (store_checkpoint_begin(engine->store, begin) != WEIR_OK) checkpoint_drop(engine);
}

/* One piece of its end: others wait no longer for it than for any file operation. */
static void checkpoint_end(struct engine *engine)
{
    struct writer *w = &engine->writer;
    bool more;
    enum weir_status st = store_checkpoint_finish(engine->store, &more);
    if (more) return;
    w->checkpoint = 0;
    w->checkpoint_ending = false;
    if (st != WEIR_OK) {
        MARK("checkpoint cannot be finished");
        checkpoint_drop(engine);
        if (st == WEIR_POISONED) writer_poison(engine);
        return;
    }
    MARK("checkpoint finished");
    w->checkpoints++;
    engine_trace(engine, "\"event\":\"checkpoint\",\"number\":%u,\"end_epoch\":%llu",
                 w->checkpoint_number, (unsigned long long)w->checkpoint_end);
}

/* One step of a running checkpoint; true if something was done. */
static bool checkpoint_step(struct engine *engine)
{
    struct writer *w = &engine->writer;
    uint64_t end = 0;
    bool ended = true;
    if (w->checkpoint_ending) {
        checkpoint_end(engine);
        return true;
    }
    bool draining = atomic_load(&engine->draining) != 0;
    if (draining && w->checkpoint != 0 && !w->checkpoint_last && !checkpoint_due(engine)) {
        MARK("a checkpoint is left behind where all stops");
        atomic_store(&w->rested, 1);
    }
    if (w->checkpoint == 0) {
        if (!checkpoint_due(engine)) {
            if (draining) atomic_store(&w->rested, 1);
            return false;
        }
        w->checkpoint = ++w->checkpoint_number;
        w->checkpoint_begun = w->checkpoint_failed = false;
        for (uint32_t i = 0; i < engine->shard_count; i++) {
            atomic_store_explicit(&engine->shards[i].walk.wanted, w->checkpoint,
                                  memory_order_release);
            shard_wake(&engine->shards[i]);
        }
        return true;
    }
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct walk *walk = &engine->shards[i].walk;
        if (atomic_load_explicit(&walk->begun, memory_order_acquire) != w->checkpoint) return false;
    }
    if (!w->checkpoint_begun && !w->checkpoint_failed) {
        checkpoint_begin(engine);
        return true;
    }
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct shard *s = &engine->shards[i];
        bool over = atomic_load_explicit(&s->walk.ended, memory_order_acquire) == w->checkpoint;
        struct walk_batch *batch = atomic_exchange(&s->walk.batch, NULL);
        if (batch != NULL) {
            if (w->checkpoint_begun &&
                (ENV_CHANCE(engine->env, "writer.checkpoint_drop") ||
                 store_checkpoint_add(engine->store, buf_str(&batch->bytes)) != WEIR_OK))
                checkpoint_drop(engine);
            buf_free(&batch->bytes);
            mem_free(batch);
            shard_wake(s);
            return true;
        }
        ended = ended && over;
        if (over && s->walk.end > end) end = s->walk.end;
    }
    if (!ended) return false;
    /* H9 (5): what the walk saw up to its end must be durable before the manifest names it. */
    if (!w->checkpoint_failed && atomic_load(&engine->durable) < end) {
        MARK("checkpoint waits for the sync of what its walk saw");
        /* Others raise it meanwhile: a plain store could take back what they want. */
        engine_wants(engine, end);
        return false;
    }
    if (!w->checkpoint_failed && !feed_covers(engine, w->checkpoint_begin)) return false;
    if (w->checkpoint_failed) {
        MARK("checkpoint walked to its end after it failed");
        w->checkpoint = 0;
        return true;
    }
    ASSERT(end <= atomic_load(&engine->durable));
    w->checkpoint_ending = true;
    w->checkpoint_end = end;
    return true;
}

/* A manifest may be half named: then nothing may be written any more. */
static bool store_is_poisoned(struct engine *engine)
{
    struct store_stats stats;
    store_stats(engine->store, &stats);
    if (stats.poisoned) writer_poison(engine);
    return stats.poisoned;
}

/* Idle, or between two epochs if it must be: makes a piece of the next segment ahead of need. When there is no room for it, writes are refused from here on,
 * while the current segment still takes what is under way. */
static uint64_t writer_prepare(struct engine *engine)
{
    struct writer *w = &engine->writer;
    uint64_t now = engine->env->mono_ns(engine->env);
    if (now < w->prepare_ns) return w->prepare_ns;
    bool made = store_prepare(engine->store);
    if (store_is_poisoned(engine)) return ENV_NEVER;
    struct store_stats stats;
    store_stats(engine->store, &stats);
    disk_full_set(engine, stats.disk_full);
    if (made) return 0;
    if (!stats.disk_full && !stats.prepare_failed) return ENV_NEVER;
    MARK("no next segment yet");
    w->prepare_ns = now + DISK_RETRY_NS;
    return w->prepare_ns;
}

uint64_t writer_turn(void *self)
{
    struct engine *engine = self;
    struct writer *w = &engine->writer;
    if (atomic_load_explicit(&engine->poisoned, memory_order_relaxed)) return ENV_NEVER;
    if (w->state == WRITER_SEALING) {
        if (w->retry_ns > engine->env->mono_ns(engine->env)) return w->retry_ns;
        w->retry_ns = 0;
        if (ENV_CHANCE(engine->env, "writer.late")) return 0;
        if (epoch_is_sealed(engine, w->epoch)) return writer_write(engine);
        return ENV_NEVER;
    }
    if (w->state == WRITER_WRITTEN) {
        if (ENV_CHANCE(engine->env, "writer.sync_late")) return 0;
        if (store_sync(engine->store) != WEIR_OK) {
            MARK("poisoned: sync");
            writer_poison(engine);
            return ENV_NEVER;
        }
        stats_publish(engine); /* before: who was answered finds its bytes and its sync counted */
        writer_durable(engine, w->epoch);
        return 0;
    }
    if (w->checkpoint != 0 && ENV_CHANCE(engine->env, "writer.checkpoint_later")) return 0;
    if (checkpoint_step(engine)) {
        if (atomic_load_explicit(&engine->poisoned, memory_order_relaxed)) return ENV_NEVER;
        if (must_raise(engine) && !ENV_CHANCE(engine->env, "writer.raise_late"))
            writer_raise(engine);
        return 0;
    }
    while (store_prepare_is_due(engine->store) &&
           engine->env->mono_ns(engine->env) >= w->prepare_ns) {
        MARK("the next segment is made between epochs");
        (void)writer_prepare(engine);
        if (atomic_load_explicit(&engine->poisoned, memory_order_relaxed)) return ENV_NEVER;
    }
    if (must_raise(engine) || ENV_CHANCE(engine->env, "writer.raise_early")) {
        writer_raise(engine);
        return epoch_is_sealed(engine, w->epoch) ? 0 : ENV_NEVER;
    }
    if (feed_names(engine)) return store_is_poisoned(engine) ? ENV_NEVER : 0;
    return writer_prepare(engine);
}
