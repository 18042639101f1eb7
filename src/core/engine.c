/*
 * engine.c - putting the parts together: opening and recovering data, workers, ports, figures, stopping.
 *
 * A port is a door's end of the rings: requests go out by slot, answers come back at once with the epoch
 * they depend on, and the port keeps them until that epoch is durable. port_next() asserts it, in release
 * too: no reply leaves before the sync of what it wrote and read.
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stdio.h>

#include "core/core_int.h"

#define FIBER_STACK_BYTES (FIBER_STACK_BYTES_DEFAULT + STACK_SHARED_BYTES)
#define LOCK_WAIT_NS UINT64_C(5000000000)
#define PASS_MAX                                                                                   \
    16u /* with so few requests under way a door has time to run a shard's turn itself */

int64_t engine_now_ms(struct engine *engine)
{
    int64_t now = engine->env->wall_ms(engine->env);
    int64_t last = atomic_load_explicit(&engine->now_ms, memory_order_relaxed);
    if (now < last) MARK("the clock was set back");
    if (last > 0 && ENV_CHANCE(engine->env, "clock.stands")) return last;
    while (now > last) {
        if (atomic_compare_exchange_weak(&engine->now_ms, &last, now)) return now;
    }
    return last;
}

void engine_trace(struct engine *engine, const char *format, ...)
{
    if (engine->options.trace == NULL) return;
    struct buf text = { 0 };
    char line[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (len >= (int)sizeof(line)) {
        va_start(args, format);
        buf_reserve(&text, (size_t)len + 1);
        vsnprintf(text.ptr, (size_t)len + 1, format, args);
        va_end(args);
    }
    engine->options.trace(engine->options.trace_arg, text.ptr ? text.ptr : line);
    buf_free(&text);
}

static enum weir_status native_invoke(void *state, struct weir_ctx *ctx,
                                      const struct handler *handler, void *row, const void *args,
                                      void *result)
{
    return handler->fn(ctx, row, args, result);
}
const struct runtime native_runtime = { .name = "native", .invoke = native_invoke };

/* ---- opening ---- */

static void limits_set(struct engine *engine)
{
    const struct engine_limits *given = &engine->options.limits;
#define X(name, value, text) engine->limits.name = given->name ? given->name : (uint64_t)(value);
    ENGINE_LIMITS(X)
#undef X
}

bool engine_limit_set(struct engine_limits *limits, struct weir_str name, uint64_t value)
{
#define X(member, standard, text)                                                                  \
    if (str_eq(name, STR(#member))) {                                                              \
        limits->member = value;                                                                    \
        return true;                                                                               \
    }
    ENGINE_LIMITS(X)
#undef X
    return false;
}

static const char *const policy_words[] = { "wound_wait", "wait_die", "no_wait" };

bool conflict_policy_read(struct weir_str word, enum conflict_policy *policy)
{
    for (unsigned i = 0; i < sizeof(policy_words) / sizeof(policy_words[0]); i++) {
        if (!str_eq(word, str_of(policy_words[i]))) continue;
        *policy = (enum conflict_policy)i;
        return true;
    }
    return false;
}

const char *conflict_policy_word(enum conflict_policy policy)
{
    return policy_words[policy];
}

void engine_shards_choose(uint32_t processors, uint32_t *shards, uint32_t *threads)
{
    uint32_t spare = processors > 1 ? processors - 1 : 1;
    if (*shards == 0) *shards = spare;
    if (*shards > ENGINE_SHARDS_MAX) *shards = ENGINE_SHARDS_MAX;
    if (*threads == 0) *threads = spare;
    if (*threads > *shards) *threads = *shards;
}

static void shard_init(struct engine *engine, uint32_t index)
{
    struct shard *s = &engine->shards[index];
    uint32_t shards = engine->shard_count, ports = engine->port_count;
    uint32_t ring = engine->options.ring_capacity ? engine->options.ring_capacity : RING_CAPACITY;
    s->engine = engine;
    s->env = engine->env;
    s->index = index;
    s->in = mem_alloc(shards * sizeof(struct ring));
    s->overflow = mem_alloc(shards * sizeof(struct message *));
    s->overflow_tail = mem_alloc(shards * sizeof(struct message **));
    s->marks = mem_alloc(shards * sizeof(uint64_t));
    for (uint32_t p = 0; p < shards; p++) {
        if (p != index) ring_init(&s->in[p], ring);
        s->overflow_tail[p] = &s->overflow[p];
    }
    s->from_port = mem_alloc(ports * sizeof(struct ring));
    s->to_port = mem_alloc(ports * sizeof(struct ring));
    s->port_overflow = mem_alloc(ports * sizeof(struct request *));
    s->port_overflow_tail = mem_alloc(ports * sizeof(struct request **));
    for (uint32_t p = 0; p < ports; p++) {
        ring_init(&s->from_port[p], ring);
        ring_init(&s->to_port[p], ring);
        s->port_overflow_tail[p] = &s->port_overflow[p];
        s->port_least[p] = UINT64_MAX;
    }
    s->records_tail = &s->records;
    s->ready_tail = &s->ready;
    s->pending_tail = &s->pending;
    s->next_txn = 1;
    s->fibers = fiber_pool_create(FIBER_STACK_BYTES, (unsigned)engine->limits.fibers_max);
}

static enum weir_status open_store(struct engine *engine, struct store_recovery *recovery,
                                   char *error, size_t bytes)
{
    struct store_options store = engine->options.store;
    struct store_options standard = STORE_OPTIONS;
    if (store.segment_bytes_first == 0) store = standard;
    store.torn_files_max = (uint32_t)engine->limits.torn_files_max;
    store.existing = engine->options.looks_only;
    struct replay replay = { .engine = engine };
    enum weir_status st = store_open(engine->env, engine->options.data, &store, replay_add, &replay,
                                     &engine->store, recovery, error, bytes);
    replay_end(&replay);
    return st;
}

/* Names that this application is the first to use become rows, durable before anything uses their ids. */
static enum weir_status write_catalog(struct engine *engine, struct store_recovery *recovery,
                                      struct buf *changes, char *error, size_t bytes)
{
    if (changes->len == 0) return WEIR_OK;
    MARK("names of types written");
    struct weir_str part = buf_str(changes);
    atomic_store(&engine->now_ms, recovery->wall_ms);
    int64_t now = engine_now_ms(engine);
    struct store_frame frame = {
        .epoch = recovery->durable_epoch + 1, .wall_ms = now, .parts = &part, .part_count = 1
    };
    enum weir_status st = store_write(engine->store, &frame);
    if (st == WEIR_OK) st = store_sync(engine->store);
    if (st == WEIR_POISONED)
        st = WEIR_IO; /* as store_open(): it is a start that failed, exit code 74 */
    if (st != WEIR_OK) {
        snprintf(error, bytes, "cannot write the names of the application's types: %s",
                 weir_status_text(st));
        return st;
    }
    recovery->durable_epoch++;
    recovery->wall_ms = now;
    return WEIR_OK;
}

static void worker_stop_all(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->worker_count; i++)
        engine->env->actor_stop(engine->env, &engine->workers[i].actor);
    engine->env->actor_stop(engine->env, &engine->writer.actor);
    feed_stop(engine);
}

static void shard_deinit(struct engine *engine, uint32_t index)
{
    struct shard *s = &engine->shards[index];
    heap_free(&s->deadlines); /* before what is in them */
    heap_free(&s->retries);
    heap_free(&s->sleepers);
    for (uint32_t i = 0; i < engine->runtime_count; i++) {
        if (engine->started && engine->runtimes[i]->shard_stop != NULL)
            engine->runtimes[i]->shard_stop(engine->runtimes[i]->self, s->states[i]);
    }
    for (uint32_t p = 0; p < engine->shard_count; p++) {
        if (p == index) continue;
        (void)ring_publish(&s->in[p], ring_mark(&s->in[p])); /* what its producer has only pushed */
        for (struct message *m; (m = ring_pop(&s->in[p])) != NULL;) message_free(m);
        ring_deinit(&s->in[p]);
        for (struct message *m = s->overflow[p], *next; m != NULL; m = next) {
            next = m->next;
            message_free(m);
        }
    }
    for (uint32_t p = 0; p < engine->port_count; p++) {
        ring_deinit(&s->from_port[p]);
        ring_deinit(&s->to_port[p]);
    }
    for (size_t i = 0; i < s->txn_cap; i++) {
        for (struct txn *t = s->txns[i], *next; t != NULL; t = next) {
            next = t->chain;
            for (struct weir_ctx *f = t->top, *below; f != NULL; f = below) {
                below = f->below;
                if (f->fiber != NULL && f->bottom == f) fiber_drop(f->fiber);
                mem_free(f);
            }
            if (t->root != NULL) {
                arena_free(&t->root->arena);
                mem_free(t->root);
            }
            arena_free(&t->arena);
            buf_free(&t->trace);
            mem_free(t);
        }
    }
    for (struct txn *t = s->txn_free, *next; t != NULL; t = next) {
        next = t->chain;
        arena_free(&t->arena);
        buf_free(&t->trace);
        mem_free(t);
    }
    for (struct message *m = s->messages_kept, *next; m != NULL; m = next) {
        next = m->next;
        mem_free(m);
    }
    for (struct weir_ctx *f = s->frame_free, *next; f != NULL; f = next) {
        next = f->below;
        mem_free(f);
    }
    for (struct root *r = s->root_free, *next; r != NULL; r = next) {
        next = r->next;
        arena_free(&r->arena);
        mem_free(r);
    }
    for (size_t i = 0; i < s->pair_cap; i++) {
        for (struct pair *p = s->pairs[i], *next; p != NULL; p = next) {
            next = p->chain;
            for (struct delivery *d = p->head, *after; d != NULL; d = after) {
                after = d->next;
                mem_free(d);
            }
            mem_free(p);
        }
    }
    struct walk_batch *batches[] = { atomic_exchange(&s->walk.batch, NULL), s->walk.filling };
    for (unsigned i = 0; i < 2; i++) {
        if (batches[i] != NULL) buf_free(&batches[i]->bytes);
        mem_free(batches[i]);
    }
    buf_free(&s->walk.row_at);
    mem_free(s->pairs);
    follow_deinit(s);
    answer_deinit(s);
    state_free(s);
    mem_free(s->parked);                       /* rows that go take themselves out of it */
    ASSERT(fiber_pool_in_use(s->fibers) == 0); /* all belonged to frames */
    fiber_pool_destroy(s->fibers);
    mem_free(s->txns);
    for (uint32_t i = 0; i < EPOCH_BUFFERS; i++) {
        buf_free(&s->buffers[i]);
        buf_free(&s->events[i]);
    }
    buf_free(&s->scratch);
    mem_free(s->in);
    mem_free(s->overflow);
    mem_free(s->overflow_tail);
    mem_free(s->marks);
    mem_free(s->from_port);
    mem_free(s->to_port);
    mem_free(s->port_overflow);
    mem_free(s->port_overflow_tail);
}

static void engine_free(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->shard_count; i++) shard_deinit(engine, i);
    for (uint32_t i = 0; i < engine->worker_count; i++) mem_free(engine->workers[i].shards);
    for (uint32_t p = 0; p < engine->port_count; p++) {
        mem_free(engine->ports[p].overflow);
        mem_free(engine->ports[p].overflow_tail);
    }
    builtin_free(engine);
    feed_close(engine);
    asks_deinit(engine);
    buf_free(&engine->recovered_events);
    mem_free(engine->workers);
    mem_free(engine->shards);
    mem_free(engine);
}

static uint64_t worker_turn(void *self)
{
    struct worker *w = self;
    uint64_t next = ENV_NEVER;
    for (uint32_t i = 0; i < w->shard_count; i++) {
        uint64_t due = shard_turn(w->shards[i]);
        if (due < next) next = due;
    }
    return next;
}

static void workers_make(struct engine *engine)
{
    engine->workers = mem_alloc(engine->worker_count * sizeof(struct worker));
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        struct worker *w = &engine->workers[i];
        w->engine = engine;
        w->actor = (struct actor){ .name = "weir-shards", .turn = worker_turn, .self = w };
        w->shards = mem_alloc(engine->shard_count * sizeof(struct shard *));
        for (uint32_t n = i; n < engine->shard_count; n += engine->worker_count) {
            w->shards[w->shard_count++] = &engine->shards[n];
            engine->shards[n].worker = w;
        }
    }
    engine->writer.actor = (struct actor){
        .name = "weir-log", .turn = writer_turn, .self = engine, .prompt = true
    };
}

/* Of answers that wait for their epochs. */
static void list_empty(struct port *port, uint32_t list)
{
    port->waiting[list] = NULL;
    port->waiting_tail[list] = &port->waiting[list];
    port->waiting_least[list] = UINT64_MAX;
    port->waiting_most[list] = 0;
}

static void list_bound(struct port *port, uint32_t list, uint64_t epoch)
{
    if (epoch < port->waiting_least[list]) port->waiting_least[list] = epoch;
    if (epoch > port->waiting_most[list]) port->waiting_most[list] = epoch;
}

static void ports_make(struct engine *engine)
{
    for (uint32_t p = 0; p < engine->port_count; p++) {
        struct port *port = &engine->ports[p];
        port->engine = engine;
        port->index = p;
        port->ready_tail = &port->ready;
        for (uint32_t i = 0; i < EPOCH_BUFFERS; i++) list_empty(port, i);
        port->overflow = mem_alloc(engine->shard_count * sizeof(struct request *));
        port->overflow_tail = mem_alloc(engine->shard_count * sizeof(struct request **));
        for (uint32_t i = 0; i < engine->shard_count; i++)
            port->overflow_tail[i] = &port->overflow[i];
    }
}

enum weir_status engine_open(const struct engine_options *options, struct engine **out,
                             struct store_recovery *recovery, char *error, size_t error_bytes)
{
    *out = NULL;
    *recovery = (struct store_recovery){ 0 };
    if (options->shards < 1 || options->shards > ENGINE_SHARDS_MAX || options->threads < 1 ||
        options->ports < 1 || options->ports > ENGINE_PORTS_MAX ||
        options->runtime_count >= ENGINE_RUNTIMES_MAX) {
        snprintf(error, error_bytes, "shards must be 1 to %u, threads 1 or more",
                 ENGINE_SHARDS_MAX);
        return WEIR_CONFIG;
    }
    struct engine *engine = mem_alloc(sizeof(*engine));
    engine->options = *options;
    engine->env = options->env;
    engine->catalog = options->catalog;
    engine->shard_count = options->shards;
    engine->worker_count = options->threads < options->shards ? options->threads : options->shards;
    engine->port_count = options->ports;
    engine->runtimes[engine->runtime_count++] = &native_runtime;
    for (uint32_t i = 0; i < options->runtime_count; i++)
        engine->runtimes[engine->runtime_count++] = options->runtimes[i];
    limits_set(engine);
    engine->shards = mem_alloc(engine->shard_count * sizeof(struct shard));
    for (uint32_t i = 0; i < engine->shard_count; i++) shard_init(engine, i);
    workers_make(engine);
    ports_make(engine);
    struct buf changes = { 0 };
    enum weir_status st = open_store(engine, recovery, error, error_bytes);
    if (st == WEIR_OK && !catalog_bind(engine, &changes, error, error_bytes)) st = WEIR_CONFIG;
    if (st == WEIR_OK && !schedules_begin(engine, &changes, error, error_bytes)) st = WEIR_CONFIG;
    if (st == WEIR_OK && !options->looks_only)
        st = write_catalog(engine, recovery, &changes, error, error_bytes);
    if (st == WEIR_OK) st = feed_open(engine, error, error_bytes);
    buf_free(&changes);
    if (st != WEIR_OK) {
        feed_close(engine);
        if (engine->store != NULL) store_abandon(engine->store);
        engine_free(engine);
        return st;
    }
    builtin_make(engine);
    uint64_t durable = recovery->durable_epoch;
    atomic_store(&engine->durable, durable);
    atomic_store(&engine->epoch, durable + 1);
    atomic_store(&engine->now_ms, recovery->wall_ms);
    engine->writer.wall_ms = recovery->wall_ms;
    store_stats(engine->store, &engine->store_stats);
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct shard *s = &engine->shards[i];
        s->epoch = durable + 1;
        s->sealed_local = s->effect_epoch = durable;
        atomic_store(&s->sealed, durable);
    }
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        outbox_recover(&engine->shards[i]);
        follow_recover(&engine->shards[i]);
        shard_publish(&engine->shards[i]);
    }
    *out = engine;
    return WEIR_OK;
}

void engine_start(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        for (uint32_t n = 0; n < engine->runtime_count; n++) {
            const struct runtime *r = engine->runtimes[n];
            if (r->shard_start != NULL)
                engine->shards[i].states[n] = r->shard_start(r->self, engine->env, i);
        }
    }
    engine->started = true;
    engine->env->actor_start(engine->env, &engine->writer.actor);
    feed_start(engine);
    for (uint32_t i = 0; i < engine->worker_count; i++) {
        engine->env->actor_start(engine->env, &engine->workers[i].actor);
        engine->env->actor_wake(engine->env, &engine->workers[i].actor);
    }
}

bool engine_drain(struct engine *engine)
{
    if (atomic_exchange(&engine->draining, 1) == 0) {
        /* Requests that wait for deferred answers are told so. */
        for (uint32_t i = 0; i < engine->shard_count; i++) shard_wake(&engine->shards[i]);
        /* There may be one more checkpoint. */
        engine->env->actor_wake(engine->env, &engine->writer.actor);
    }
    for (uint32_t p = 0; p < engine->port_count; p++) {
        if (engine->ports[p].in_flight > 0) return false;
    }
    if (atomic_load(&engine->poisoned)) return true;
    /* Every effect has raised `wanted`: so all that was decided is durable. Messages and timers go on after a
     * restart. */
    return atomic_load(&engine->wanted) <= atomic_load(&engine->durable) &&
           atomic_load(&engine->writer.rested) != 0;
}

void engine_stop(struct engine *engine)
{
    if (!engine->started || engine->stopped) return;
    engine->stopped = true;
    worker_stop_all(engine);
}

void engine_close(struct engine *engine)
{
    engine_stop(engine);
    feed_close(engine);
    /* Effects decided but not yet on the disk go with the last frame only if drained: else they were never
     * acknowledged and the log just ends. */
    if (atomic_load(&engine->poisoned)) store_abandon(engine->store);
    else store_close(engine->store);
    engine_free(engine);
}

void engine_abandon(struct engine *engine)
{
    feed_close(engine);
    store_abandon(engine->store);
    engine_free(engine);
}

/* ---- ports ---- */

struct port *engine_port(struct engine *engine, uint32_t index, struct actor *actor)
{
    ASSERT(index < engine->port_count);
    engine->ports[index].actor = actor;
    return &engine->ports[index];
}

static void port_refuse(struct port *port, struct request *request, enum weir_status status,
                        const char *text)
{
    request->status = status;
    request->text = str_of(text);
    request->epoch = 0;
    request->next = NULL;
    *port->ready_tail = request;
    port->ready_tail = &request->next;
}

static uint32_t answer_shard(const struct engine *engine, struct weir_str id)
{
    return slot_shard(engine, type_slot(engine->catalog->answers, id));
}

static void port_push(struct port *port, uint32_t to, struct request *request)
{
    port->touched |= UINT64_C(1) << to;
    if (port->overflow[to] == NULL && !ENV_CHANCE(port->engine->env, "port.ring_full") &&
        ring_push(&port->engine->shards[to].from_port[port->index], request))
        return;
    MARK("port to shard: ring full");
    *port->overflow_tail[to] = request;
    port->overflow_tail[to] = &request->next;
}

/* Of its one writer, the door's thread. */
static uint32_t in_flight_add(struct port *port, uint32_t more)
{
    uint32_t n = atomic_load_explicit(&port->in_flight, memory_order_relaxed) + more;
    atomic_store_explicit(&port->in_flight, n, memory_order_release);
    return n;
}

/* An entity among the arguments will probably be called: the door has the key at hand, the shard would wait for it. */
static void partner_place(struct request *request)
{
    const struct field *f = request->handler->partner;
    if (f == NULL) return;
    request->partner_key = text_load(f, (const char *)request->args + f->offset);
    if (request->partner_key.ptr != NULL)
        request->partner = type_place(request->handler->partner_type, request->partner_key);
}

void port_submit(struct port *port, struct request *request, uint64_t now_ns)
{
    struct engine *engine = port->engine;
    request->request_id = STR_NIL;
    atomic_store_explicit(&request->id_bits[0], 0, memory_order_relaxed);
    atomic_store_explicit(&request->id_bits[1], 0, memory_order_relaxed);
    request->port = port;
    request->next = NULL;
    request->result = NULL;
    request->replayed = false;
    request->partner_key = STR_NIL;
    request->epoch = request->answer_bytes = 0;
    request->code = request->detail = request->text = STR_NIL;
    if (!request->waits) request->answer_id = STR_NIL;
    request->arrival_ns = now_ns;
    uint32_t in_flight = in_flight_add(port, 1);
    if (atomic_load_explicit(&engine->draining, memory_order_relaxed)) {
        MARK("request refused: draining");
        port_refuse(port, request, WEIR_SHUTDOWN, "the server is shutting down");
        return;
    }
    if (in_flight > engine->limits.requests_max) {
        MARK("request refused: requests_max");
        port_refuse(port, request, WEIR_OVERLOADED,
                    "requests_max requests are in the engine already");
        return;
    }
    if (request->parked != NULL) {
        port_push(port, request->parked->shard % engine->shard_count, request);
        return;
    }
    if (request->waits) {
        request->request_id = request->answer_id;
        port_push(port, answer_shard(engine, request->answer_id), request);
        return;
    }
    const struct type *type = request->handler->type;
    if (type->service) {
        if (request->id.len > 0) request->key = request->id;
        else if (request->key.len == 0) request->key = request_name(engine->env, request);
    } else if (request->key.len == 0 || request->key.len > KEY_BYTES_MAX) {
        port_refuse(port, request, request->key.len ? WEIR_TOOBIG : WEIR_ARG,
                    "a key has 1 to 1024 bytes");
        return;
    } else if (!type_key_fits(type, request->key)) {
        port_refuse(port, request, WEIR_ARG, "the key is not of the form that its type declares");
        return;
    }
    request->place = type_place(type, request->key);
    partner_place(request);
    port_push(port, slot_shard(engine, request->place.slot), request);
}

void port_flush(struct port *port)
{
    struct engine *engine = port->engine;
    bool few = port_in_flight(port) <= PASS_MAX;
    for (uint64_t left = port->touched; left != 0; left &= left - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(left);
        struct ring *ring = &engine->shards[to].from_port[port->index];
        while (port->overflow[to] != NULL) {
            struct request *next = port->overflow[to]->next;
            if (!ring_push(ring, port->overflow[to])) break;
            port->overflow[to] = next;
        }
        if (port->overflow[to] == NULL) {
            port->overflow_tail[to] = &port->overflow[to];
            port->touched &= ~(UINT64_C(1) << to);
        }
        if (!ring_publish(ring, 0)) continue;
        struct actor *worker = &engine->shards[to].worker->actor;
        if (few) engine->env->actor_pass(engine->env, worker);
        else engine->env->actor_wake(engine->env, worker);
    }
}

/* All of one waiting list is durable: handed out as it is. */
static void port_release_all(struct port *port, uint32_t list)
{
#ifdef MUTANT_control_replies_reordered
    /* replies of one door have no order among themselves */
    *port->waiting_tail[list] = port->ready;
    if (port->ready == NULL) port->ready_tail = port->waiting_tail[list];
    port->ready = port->waiting[list];
#else
    *port->ready_tail = port->waiting[list];
    port->ready_tail = port->waiting_tail[list];
#endif
    list_empty(port, list);
}

/* Hands out of one waiting list what is durable by now. A list may hold epochs four apart, when the door was
 * away for a while: each answer is judged by its own. Those that can never be known become `unknown`. */
static void port_release(struct port *port, uint32_t list, uint64_t durable, bool lost,
                         uint64_t late_ns)
{
    struct request *r = port->waiting[list], *next;
    list_empty(port, list);
    for (; r != NULL; r = next) {
        next = r->next;
        r->next = NULL;
        bool gone = r->epoch > durable && (lost || (late_ns != 0 && r->arrival_ns < late_ns));
        if (gone && lost) MARK("answer unknown: log poisoned");
        if (gone && !lost) MARK("answer unknown: disk full past the deadline");
        if (gone) {
            r->status = WEIR_UNKNOWN;
            r->text = STR("the outcome is unknown: the log could not be made durable");
            r->detail = STR_NIL;
            r->epoch = 0;
        }
        if (r->epoch > durable) {
            MARK("answer waits on while others of its list go");
            *port->waiting_tail[list] = r;
            port->waiting_tail[list] = &r->next;
            list_bound(port, list, r->epoch);
            continue;
        }
        *port->ready_tail = r;
        port->ready_tail = &r->next;
    }
}

static void port_take(struct port *port)
{
    struct engine *engine = port->engine;
    if (ENV_CHANCE(engine->env, "port.take_late")) {
        if (port->actor != NULL) engine->env->actor_wake(engine->env, port->actor);
        return;
    }
    uint64_t durable = atomic_load_explicit(&engine->durable, memory_order_acquire);
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct request *r;
        while ((r = ring_pop(&engine->shards[i].to_port[port->index])) != NULL) {
            r->next = NULL;
            uint32_t list = r->epoch % EPOCH_BUFFERS;
            bool ready = r->epoch <= durable;
            struct request ***tail = ready ? &port->ready_tail : &port->waiting_tail[list];
            **tail = r;
            *tail = &r->next;
            if (!ready) list_bound(port, list, r->epoch);
        }
    }
    bool lost = atomic_load_explicit(&engine->poisoned, memory_order_relaxed) != 0;
    bool full = atomic_load_explicit(&engine->disk_full, memory_order_relaxed) != 0;
    uint64_t late_ns = full ? engine->env->mono_ns(engine->env) -
                                  engine->limits.request_deadline_ms * 1000000u
                            : 0;
    for (uint32_t i = 0; i < EPOCH_BUFFERS; i++) {
        if (port->waiting[i] != NULL && port->waiting_most[i] <= durable) port_release_all(port, i);
        else if (lost || full || port->waiting_least[i] <= durable)
            port_release(port, i, durable, lost, late_ns);
    }
}

static struct request *ready_pop(struct port *port)
{
    struct request *request = port->ready;
    if (request == NULL) return NULL;
    port->ready = request->next;
    if (port->ready == NULL) port->ready_tail = &port->ready;
    request->next = NULL;
    if (request->answer_bytes != 0)
        atomic_fetch_sub_explicit(&port->answer_bytes, request->answer_bytes, memory_order_relaxed);
    return request;
}

/* Its handler deferred, durably: from here on it waits for the answer, where that will be. */
static bool port_defer(struct port *port, struct request *request)
{
    if (request->waits || request->answer_id.len == 0 || request->status != WEIR_OK) return false;
    MARK("a request goes on as one that waits");
    request->waits = true;
    request->request_id = request->answer_id;
    request->answer_bytes = 0;
    port_push(port, answer_shard(port->engine, request->answer_id), request);
    return true;
}

struct request *port_next(struct port *port)
{
    if (port->ready == NULL) port_take(port);
    struct request *request = ready_pop(port);
    while (request != NULL && port_defer(port, request)) request = ready_pop(port);
    if (port->touched != 0) port_flush(port);
    if (request == NULL) return NULL;
    in_flight_add(port, UINT32_MAX); /* one less */
    /* The release rule: nothing leaves before what it depends on is on the disk. */
    ASSERT(request->epoch <= atomic_load_explicit(&port->engine->durable, memory_order_acquire));
    return request;
}

uint32_t port_in_flight(const struct port *port)
{
    return port->in_flight;
}

/* ---- figures ---- */

void engine_stats(struct engine *engine, struct engine_stats *stats)
{
    *stats = (struct engine_stats){ 0 };
    uint32_t unlocked = 0;
    while (!atomic_compare_exchange_weak(&engine->stats_lock, &unlocked, 1)) unlocked = 0;
    stats->store = engine->store_stats;
    atomic_store(&engine->stats_lock, 0);
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct shard_published *p = &engine->shards[i].published;
#define X(name, text) stats->name += atomic_load_explicit(&p->name, memory_order_relaxed);
        ENGINE_COUNTERS(X)
#undef X
    }
    stats->checkpoints_total = atomic_load_explicit(&engine->writer.checkpoints,
                                                    memory_order_relaxed);
    if (atomic_load(&engine->poisoned) && !stats->store.poisoned) {
        stats->store.poisoned = true;
        snprintf(stats->store.poison, sizeof(stats->store.poison),
                 "writing a file of events failed: nothing more is accepted; restart to recover");
    }
    stats->epoch = atomic_load(&engine->epoch);
    stats->durable_epoch = atomic_load(&engine->durable);
    stats->dedup_window_ms = engine->limits.dedup_window_ms;
    stats->shards = engine->shard_count;
    stats->threads = engine->worker_count;
}

struct catalog *engine_catalog(struct engine *engine)
{
    return engine->catalog;
}

struct env *engine_env(struct engine *engine)
{
    return engine->env;
}

const struct engine_limits *engine_limits(const struct engine *engine)
{
    return &engine->limits;
}
