/*
 * sim_group.c - consumer groups through crashes: each event goes to one consumer once, and stays pending until it is
 * acknowledged, by whoever has it then.
 *
 *   sim_group [--seed N] [--seeds COUNT] [--events N] [--crashes N]
 *
 * Producers emit numbered events, the same again after a crash until they are answered. Consumers compete for one group:
 * they read their history after a start, take what is new, acknowledge some of it and forget the rest, take over what
 * others have pending, and at times leave the group with all they had, by name. What they were told is kept in a table of
 * the world, outside the engine: no event may be taken twice or acknowledged twice; at the end all are acknowledged, but
 * for those whose acknowledgement a crash left in doubt, and nothing is pending.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "core/app.h"
#include "core/feed.h"
#include "core/group.h"
#include "os/sim.h"

#define PRODUCERS 4
#define CONSUMERS 4
#define EVENTS_MAX 4000
#define BATCH 16

struct note {
    int64_t n;
};
static const struct weir_field note_fields[] = { WEIR_FIELD(struct note, n, WEIR_INT), WEIR_END };
static struct weir_stream notes = { .name = "notes", .event = WEIR_SHAPE(struct note, note_fields), .keep = "forever" };
static const struct weir_field box_fields[] = { WEIR_FIELD(struct note, n, WEIR_INT), WEIR_END };
static const struct weir_handler box_handlers[] = { WEIR_END };
static const struct weir_entity box_entity = { .name = "box", .row = WEIR_SHAPE(struct note, box_fields), .handlers = box_handlers };

/* What is known of an event from outside. */
struct fact {
    struct event_id id;
    uint32_t taken, acked;
    bool doubt; /* an acknowledgement was asked for when the world crashed */
};

enum actor_kind { PRODUCER, CONSUMER };

struct party {
    struct request request;
    struct feed_read read;
    enum actor_kind kind;
    bool busy, reading;
    /* producer */
    bool answered;
    uint64_t number;
    struct note note;
    /* consumer */
    bool fresh; /* its history is not read yet */
    enum group_op op;
    struct group_args args;
    struct event_id at, ids[GROUP_BATCH_MAX], had[BATCH];
    size_t had_count;
};
struct world {
    struct sim *sim;
    struct env *env;
    struct weir_app app;
    struct engine *engine;
    struct port *port;
    struct actor actor;
    struct party parties[PRODUCERS + CONSUMERS];
    struct fact facts[EVENTS_MAX];
    size_t fact_count;
    uint64_t begun, target, accepted, wrong, claimed, history, competed;
    int64_t pending; /* as the group says at the end */
    struct event_id last;
    bool created, closing, stop, final, idle[CONSUMERS], summed;
};

static const char *const names[CONSUMERS] = { "ann", "bob", "cee", "dan" };

static struct fact *fact_of(struct world *w, struct event_id id)
{
    for (size_t i = 0; i < w->fact_count; i++)
        if (event_id_cmp(w->facts[i].id, id) == 0) return &w->facts[i];
    ASSERT(w->fact_count < EVENTS_MAX);
    w->facts[w->fact_count].id = id;
    return &w->facts[w->fact_count++];
}

static void wrong(struct world *w, const char *what)
{
    if (w->wrong++ == 0) printf("wrong: %s\n", what);
}

static void request_reset(struct request *r)
{
    struct arena arena = r->arena;
    arena_reset(&arena);
    *r = (struct request){ .arena = arena };
}

/* ---- producers ---- */

static void emit(struct world *w, struct party *p)
{
    struct request *r = &p->request;
    request_reset(r);
    if (p->answered) p->number = w->begun++;
    p->answered = false;
    p->note.n = (int64_t)p->number;
    r->handler = w->app.catalog->streams[0]->emit;
    r->id = arena_printf(&r->arena, "e%llu", (unsigned long long)p->number);
    r->args = &p->note;
    p->busy = true;
    port_submit(w->port, r);
}

/* ---- consumers ---- */

static int place(const struct world *w, const struct party *p)
{
    return (int)(p - w->parties) - PRODUCERS;
}

static void ask(struct world *w, struct party *p, enum group_op op, struct group_args args)
{
    struct request *r = &p->request;
    request_reset(r);
    p->op = op;
    p->args = args;
    if (args.name.ptr == NULL) p->args.name = str_of(names[place(w, p)]);
    r->handler = group_handler(w->app.catalog, op);
    r->key = STR("notes/g");
    r->args = &p->args;
    p->busy = true;
    port_submit(w->port, r);
}

static struct event_id id_at(struct weir_str ids, size_t i)
{
    struct event_id id;
    ASSERT(ids.len >= (i + 1) * sizeof(id));
    memcpy(&id, ids.ptr + i * sizeof(id), sizeof(id));
    return id;
}

/* It has these now; it will acknowledge them, the last of them perhaps never. */
static void keep(struct world *w, struct party *p, struct weir_str ids, size_t from)
{
    size_t count = ids.len / sizeof(struct event_id);
    for (size_t i = from; i < count && p->had_count < BATCH; i++) p->had[p->had_count++] = id_at(ids, i);
    if (!w->final && p->had_count > 0 && sim_choose(w->sim, 4) == 0) p->had_count--;
}

static void next_step(struct world *w, struct party *p)
{
    static const struct event_id zero;
    struct weir_str nothing = { (const char *)&zero, sizeof(zero) };
    if (!w->created) {
        if (place(w, p) == 0) ask(w, p, GROUP_CREATE, (struct group_args){ .from = nothing });
    } else if (p->had_count > 0) { /* one at a time: what is in doubt is one event */
        struct event_id *id = &p->had[p->had_count - 1];
        ask(w, p, GROUP_ACK, (struct group_args){ .ids = { (const char *)id, sizeof(*id) } });
    } else if (p->fresh) {
        ask(w, p, GROUP_AGAIN, (struct group_args){ .from = nothing, .count = BATCH });
    } else if (sim_choose(w->sim, w->final ? 3 : 10) == 0) {
        ask(w, p, GROUP_AUTOCLAIM, (struct group_args){ .from = nothing, .count = 1 + (int64_t)sim_choose(w->sim, BATCH) });
    } else {
        ask(w, p, GROUP_POSITION, (struct group_args){ 0 });
    }
}

static void read_after(struct world *w, struct party *p)
{
    p->read = (struct feed_read){ .op = FEED_READ, .stream = w->app.catalog->streams[0], .from = { p->at.epoch, p->at.n + 1 },
                                  .count = 1 + (uint32_t)sim_choose(w->sim, BATCH), .user = p };
    if (!w->final) p->read.until_ns = w->env->mono_ns(w->env) + 1000000 * sim_choose(w->sim, 50);
    p->reading = true;
    feed_submit(w->port, &p->read);
}

static void read_take(struct world *w, struct party *p)
{
    size_t count = 0;
    p->reading = false;
    for (struct feed_item *item = p->read.items; item != NULL; item = item->next) p->ids[count++] = item->id;
    feed_read_free(&p->read);
    if (count == 0) {
        w->idle[place(w, p)] = true;
        return;
    }
    ask(w, p, GROUP_TAKE, (struct group_args){ .from = { (const char *)&p->at, sizeof(p->at) },
                                               .ids = { (const char *)p->ids, count * sizeof(p->ids[0]) } });
}

static void answered(struct world *w, struct party *p, const struct group_answer *a)
{
    size_t count = p->args.ids.len / sizeof(struct event_id);
    switch (p->op) {
    case GROUP_POSITION:
        p->at = id_at(a->from, 0);
        read_after(w, p);
        break;
    case GROUP_TAKE:
        if (!a->known || (size_t)a->count > count) wrong(w, "a take that does not fit");
        if ((size_t)a->count < count) w->competed++;
        for (size_t i = count - (size_t)a->count; i < count; i++)
            if (fact_of(w, p->ids[i])->taken++ > 0) wrong(w, "an event is taken twice");
        keep(w, p, p->args.ids, count - (size_t)a->count);
        break;
    case GROUP_ACK: {
        struct fact *fact = fact_of(w, p->had[--p->had_count]);
        fact->acked += (uint32_t)a->count;
        if (fact->acked > 1) wrong(w, "an event is acknowledged twice");
        break;
    }
    case GROUP_AGAIN:
        p->fresh = a->ids.len > 0;
        w->history += a->ids.len / sizeof(struct event_id);
        keep(w, p, a->ids, 0);
        break;
    case GROUP_AUTOCLAIM:
        w->claimed += a->ids.len / sizeof(struct event_id);
        keep(w, p, a->ids, 0);
        break;
    case GROUP_SUMMARY: w->pending = a->count; break;
    default: break;
    }
}

static void take(struct world *w, struct party *p)
{
    struct request *r = &p->request;
    p->busy = false;
    if (p->kind == CONSUMER && p->op == GROUP_CREATE) {
        if (r->status != WEIR_OK && !str_eq(r->code, STR("busygroup"))) wrong(w, "the group is not made");
        w->created = true;
    } else if (r->status != WEIR_OK) {
        printf("unexpected answer %s: %.*s %.*s\n", weir_status_word(r->status), STR_ARG(r->code), STR_ARG(r->text));
        abort();
    } else if (p->kind == PRODUCER) {
        p->answered = true;
        w->accepted++;
    } else {
        answered(w, p, r->result);
    }
}

static bool all_is_done(const struct world *w)
{
    for (int i = 0; i < CONSUMERS; i++)
        if (!w->idle[i] || w->parties[PRODUCERS + i].had_count > 0) return false;
    return true;
}

static uint64_t parties_turn(void *self)
{
    struct world *w = self;
    struct request *r;
    struct feed_read *read;
    while ((r = port_next(w->port)) != NULL) take(w, (struct party *)r);
    while ((read = feed_next(w->port)) != NULL) read_take(w, read->user);
    uint32_t emitting = 0, out = 0;
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) {
        struct party *p = &w->parties[i];
        bool free = !p->busy && !p->reading;
        if (free && p->kind == PRODUCER && (!p->answered || w->begun < w->target)) emit(w, p);
        if (free && p->kind == CONSUMER && !w->closing && !(w->final && all_is_done(w))) next_step(w, p);
        emitting += p->kind == PRODUCER && p->busy;
        out += p->busy || p->reading;
    }
    if (w->final && out == 0) {
        struct party *p = &w->parties[PRODUCERS];
        if (w->summed && w->pending == 0) w->stop = true;
        else if (w->summed) w->idle[0] = w->summed = false; /* somebody forgot some: they are claimed */
        else w->summed = true, ask(w, p, GROUP_SUMMARY, (struct group_args){ 0 });
    } else if (!w->final && emitting == 0 && w->created) {
        w->closing = w->closing || sim_choose(w->sim, 20) == 0;
        w->stop = w->closing && out == 0;
    }
    port_flush(w->port);
    return w->stop ? ENV_NEVER : w->env->mono_ns(w->env) + 1000000;
}

/* ---- lives ---- */

static void world_open(void *arg)
{
    struct world *w = arg;
    char error[512];
    struct store_recovery recovery;
    app_init(&w->app, catalog_create());
    ASSERT(weir_add_entity(&w->app, &box_entity) == WEIR_OK);
    ASSERT(weir_add_stream(&w->app, &notes) == WEIR_OK);
    if (!app_finish(&w->app)) {
        printf("app: %s\n", w->app.why);
        abort();
    }
    uint32_t shards = 1 + (uint32_t)sim_choose(w->sim, 4);
    struct engine_options options = { .env = w->env, .data = "data", .shards = shards,
                                      .threads = 1 + (uint32_t)sim_choose(w->sim, shards), .ports = 1, .catalog = w->app.catalog };
    options.store = (struct store_options){ 32 << 10, 256 << 10, 0 };
    options.event_block_bytes = 300 + sim_choose(w->sim, 700);
    options.event_file_bytes = 2000 + sim_choose(w->sim, 4000);
    options.limits.request_deadline_ms = 60000;
    options.limits.queue_wait_max_ms = 60000;
    options.limits.checkpoint_bytes_min = 40000;
    enum weir_status st = engine_open(&options, &w->engine, &recovery, error, sizeof(error));
    if (st != WEIR_OK) {
        printf("engine_open: %s: %s\n", weir_status_word(st), error);
        abort();
    }
    for (int i = 0; i < CONSUMERS; i++) {
        struct party *p = &w->parties[PRODUCERS + i];
        p->fresh = true;
        p->had_count = 0;
        w->idle[i] = false;
    }
    w->actor = (struct actor){ .name = "parties", .turn = parties_turn, .self = w };
    w->port = engine_port(w->engine, 0, &w->actor);
    w->env->actor_start(w->env, &w->actor);
    engine_start(w->engine);
}

static void world_close(void *arg)
{
    struct world *w = arg;
    w->env->actor_stop(w->env, &w->actor);
    engine_close(w->engine);
    w->engine = NULL;
    app_deinit(&w->app);
    catalog_destroy(w->app.catalog);
}

static bool is_stopped(void *arg)
{
    return ((struct world *)arg)->stop;
}

static void parties_forget(struct world *w)
{
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) {
        struct party *p = &w->parties[i];
        if (p->kind == CONSUMER && p->busy && p->op == GROUP_ACK) fact_of(w, p->had[p->had_count - 1])->doubt = true;
        p->busy = p->reading = false;
    }
}

/* One life; false when it got stuck. */
static bool live(struct world *w, uint64_t seed, bool last)
{
    bool alive = sim_guard(w->sim, world_open, w);
    if (alive) alive = sim_run(w->sim, is_stopped, w, UINT64_C(36000000000000));
    if (alive && last) {
        w->stop = w->closing = false;
        w->final = true;
        memset(w->idle, 0, sizeof(w->idle));
        w->env->actor_wake(w->env, &w->actor);
        alive = sim_run(w->sim, is_stopped, w, UINT64_C(3600000000000));
    }
    if (!alive && !sim_crashed(w->sim)) {
        printf("seed %llu: stuck: %llu events, %lld pending\n", (unsigned long long)seed, (unsigned long long)w->begun,
               (long long)w->pending);
        return false;
    }
    if (alive) {
        alive = sim_guard(w->sim, world_close, w);
        sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
    }
    parties_forget(w);
    if (alive) return true;
    if (w->engine != NULL) engine_abandon(w->engine);
    w->engine = NULL;
    app_deinit(&w->app);
    catalog_destroy(w->app.catalog);
    return true;
}

static bool run_seed(uint64_t seed, uint64_t events, uint64_t crashes)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->sim = sim_create(seed);
    w->env = sim_env(w->sim);
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) {
        w->parties[i].kind = i < PRODUCERS ? PRODUCER : CONSUMER;
        w->parties[i].answered = true;
    }
    for (uint64_t life = 0; life <= crashes; life++) {
        w->stop = w->closing = false;
        w->target = events * (life + 1) / (crashes + 1);
        if (life < crashes)
            sim_crash_at(w->sim, 1 + sim_choose(w->sim, 100 + events / (crashes + 1)), (enum sim_crash_mode)sim_choose(w->sim, 4));
        if (!live(w, seed, life == crashes)) return false;
    }
    uint64_t acked = 0, doubt = 0;
    for (size_t i = 0; i < w->fact_count; i++) {
        acked += w->facts[i].acked >= 1;
        doubt += w->facts[i].acked == 0 && w->facts[i].doubt;
    }
    bool good = w->wrong == 0 && w->pending == 0 && w->fact_count == w->begun && w->accepted == w->begun && acked > 0 &&
                acked + doubt == w->begun;
    printf("seed %llu: %llu events, %llu acknowledged, %llu in doubt; %llu read again, %llu claimed, %llu takes shared; wrong %llu: %s\n",
           (unsigned long long)seed, (unsigned long long)w->begun, (unsigned long long)acked, (unsigned long long)doubt,
           (unsigned long long)w->history, (unsigned long long)w->claimed, (unsigned long long)w->competed,
           (unsigned long long)w->wrong, good ? "ok" : "WRONG");
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) arena_free(&w->parties[i].request.arena);
    sim_destroy(w->sim);
    mem_free(w);
    return good;
}

/* A simulated crash leaves a call in its middle, as a power cut would: what that call held is lost, not leaked. */
__attribute__((visibility("default"))) const char *__asan_default_options(void); // the sanitizer looks it up from its own library
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, seeds = 1, events = 400, crashes = 4, bad = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0) seed = value;
        else if (strcmp(argv[i], "--seeds") == 0) seeds = value;
        else if (strcmp(argv[i], "--events") == 0) events = value;
        else if (strcmp(argv[i], "--crashes") == 0) crashes = value;
    }
    for (uint64_t s = seed; s < seed + seeds; s++) bad += !run_seed(s, events, crashes);
    printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)(seeds - bad), (unsigned long long)bad);
    return bad != 0;
}
