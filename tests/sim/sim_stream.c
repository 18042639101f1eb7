/*
 * sim_stream.c - streams through crashes: events take effect once, in the order of the transactions that emitted them.
 *
 *   sim_stream [--seed N] [--seeds COUNT] [--txns N] [--crashes N]
 *
 * A request on one box asks another, on whatever shard, for its next number, in the same transaction, and emits an
 * event { to, n }. So for each box the numbers say in which order the transactions came. The box follows the stream:
 * it must be told 1, 2, 3 ... without a gap, though the emitters lie on all shards, handlers fail at times, and the
 * world crashes. A reader walks the whole stream: ids grow, and numbers too, for each box. In some seeds the stream
 * is kept by size only, so that files go, in others as latest: compaction then leaves out events, but the follower is
 * told all of them, and a reader ends with the newest number of each box. Blocks and files are tiny, so that all of that
 * happens.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "core/app.h"
#include "core/feed.h"
#include "os/sim.h"
#include "seeds.h"

#define BOXES 8
#define CLIENTS 8
#define QUIET_TURNS 100

/* ---- the application ---- */

struct box {
    int64_t numbered, followed, done, disorder;
};
#define BOX(member) WEIR_FIELD(struct box, member, WEIR_INT)
static const struct weir_field box_fields[] = { BOX(numbered), BOX(followed), BOX(done), BOX(disorder), WEIR_END };

struct act {
    struct weir_ref to;
    int64_t events;
};
static const struct weir_field act_fields[] = { WEIR_FIELD(struct act, to, WEIR_REF, .type = "box"),
                                                WEIR_FIELD(struct act, events, WEIR_INT), WEIR_END };
struct note {
    struct weir_ref to;
    int64_t n;
    bool gone; /* never: no box ends */
};
static const struct weir_field note_fields[] = { WEIR_FIELD(struct note, to, WEIR_REF, .type = "box"),
                                                 WEIR_FIELD(struct note, n, WEIR_INT),
                                                 WEIR_FIELD(struct note, gone, WEIR_BOOL), WEIR_END };
static struct weir_stream notes = { .name = "notes", .event = WEIR_SHAPE(struct note, note_fields), .key = "to", .keep = "forever" };

static struct weir_verb number = { "box", "number", WEIR_NOTHING, WEIR_SCALAR(WEIR_INT) };

static enum weir_status box_act(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct act *in = args;
    for (int64_t i = 0; i < in->events; i++) {
        struct note note = { .to = in->to };
        weir_call(ctx, in->to, &number, NULL, &note.n);
        weir_emit(ctx, &notes, &note);
    }
    *(int64_t *)result = ++self->done;
    return WEIR_OK;
}

static enum weir_status box_number(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ++((struct box *)row)->numbered;
    return WEIR_OK;
}

static enum weir_status box_note(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct note *in = args;
    if (weir_random(ctx) % 16 == 0) return weir_fail(ctx, "not_now", STR_NIL);
    if (in->n != self->followed + 1) self->disorder++;
    self->followed++;
    return WEIR_OK;
}

static enum weir_status box_look(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(struct box *)result = *(const struct box *)row;
    return WEIR_OK;
}

static const struct weir_handler box_handlers[] = {
    { "act", WEIR_ON, box_act, WEIR_SHAPE(struct act, act_fields), WEIR_SCALAR(WEIR_INT) },
    { "number", WEIR_ON, box_number, WEIR_NOTHING, WEIR_SCALAR(WEIR_INT) },
    { "look", WEIR_QUERY, box_look, WEIR_NOTHING, WEIR_SHAPE(struct box, box_fields) },
    WEIR_END
};
static const struct weir_entity box_entity = { .name = "box", .row = WEIR_SHAPE(struct box, box_fields), .handlers = box_handlers };
static const struct weir_follow box_follows = { "box", "notes", "to", box_note, NULL };

/* ---- clients: each sends its numbered requests, the same again after a crash until it is answered ---- */

struct client {
    struct request request;
    bool busy, answered;
    uint64_t number;
    struct act act;
};
struct world {
    struct sim *sim;
    struct env *env;
    struct weir_app app;
    struct engine *engine;
    struct port *port;
    struct actor actor;
    struct client clients[CLIENTS];
    struct feed_read read;
    bool reading, read_over;
    struct event_id read_at;
    int64_t seen[BOXES], read_total, read_wrong;
    const struct handler *act, *look;
    uint64_t begun, target, accepted, replayed;
    uint64_t looked;
    bool stop, final, kept, latest;
    uint32_t quiet; /* turns since all was done: time for compaction */
    struct box sum;
};

static struct weir_str box_key(struct world *w, struct client *c, uint64_t n)
{
    return arena_printf(&c->request.arena, "b%llu", (unsigned long long)n);
}

static void submit(struct world *w, struct client *c)
{
    struct request *r = &c->request;
    struct arena arena = r->arena;
    arena_reset(&arena);
    *r = (struct request){ .arena = arena };
    if (c->answered) c->number = w->begun++;
    c->answered = false;
    /* The content follows from the number, so that a repeat is the same request. */
    uint64_t n = c->number * 2654435761u;
    c->act = (struct act){ { box_key(w, c, (n >> 8) % BOXES) }, (int64_t)(n >> 16) % 4 };
    r->handler = w->act;
    r->key = box_key(w, c, n % BOXES);
    r->id = arena_printf(&r->arena, "r%llu", (unsigned long long)c->number);
    r->args = &c->act;
    c->busy = true;
    port_submit(w->port, r);
}

static void submit_look(struct world *w, struct client *c)
{
    struct arena arena = c->request.arena;
    arena_reset(&arena);
    c->request = (struct request){ .arena = arena };
    c->request.handler = w->look;
    c->request.key = box_key(w, c, w->looked++);
    c->busy = true;
    port_submit(w->port, &c->request);
}

static void take(struct world *w, struct client *c)
{
    struct request *r = &c->request;
    c->busy = false;
    if (r->status != WEIR_OK) {
        printf("unexpected answer %s: %.*s\n", weir_status_word(r->status), STR_ARG(r->text));
        abort();
    }
    if (r->handler == w->act) {
        c->answered = true;
        w->accepted++;
        w->replayed += r->replayed;
        return;
    }
    const struct box *box = r->result;
    const int64_t *from = (const int64_t *)box;
    int64_t *to = (int64_t *)&w->sum;
    for (size_t i = 0; i < sizeof(*box) / sizeof(int64_t); i++) to[i] += from[i];
}

/* ---- the reader: waits at the end while others write, and reads all again at the end of each life ---- */

static void read_more(struct world *w)
{
    if (w->reading || w->read_over) return;
    w->read = (struct feed_read){ .op = FEED_READ, .stream = w->app.catalog->streams[0], .from = w->read_at,
                                  .count = 1 + (uint32_t)sim_choose(w->sim, 50) };
    if (!w->final) w->read.until_ns = w->env->mono_ns(w->env) + 1000000 * sim_choose(w->sim, 100);
    w->reading = true;
    feed_submit(w->port, &w->read);
}

/* At the end from the start once more: by now what may go has gone. */
static void read_again(struct world *w)
{
    if (w->reading) return;
    w->quiet++;
    w->read_over = false;
    w->read_at = (struct event_id){ 0, 0 };
    memset(w->seen, 0, sizeof(w->seen));
    w->read_total = 0;
}

static void read_take(struct world *w)
{
    struct arena arena = { 0 };
    w->reading = false;
    /* Retention took what this reader had not seen yet. */
    if (w->kept && event_id_cmp(w->read.info.first, w->read_at) > 0) memset(w->seen, 0, sizeof(w->seen));
    for (struct feed_item *item = w->read.items; item != NULL; item = item->next) {
        struct note note = { 0 };
        ASSERT(feed_unpack(w->read.stream, item->value, &arena, &note) == WEIR_OK);
        int64_t *seen = &w->seen[note.to.key.ptr[1] - '0'];
        bool good = event_id_cmp(item->id, w->read_at) >= 0 && str_eq(item->key, note.to.key);
        /* A stream kept by size may have lost its first part, never a middle. */
        if (note.n != *seen + 1 && !(w->kept && *seen == 0) && !(w->latest && note.n > *seen)) good = false;
        if (!good) w->read_wrong++;
        *seen = note.n;
        w->read_at = (struct event_id){ item->id.epoch, item->id.n + 1 };
        w->read_total++;
    }
    if (w->read.status != WEIR_OK) w->read_wrong++;
    if (w->final && w->read.item_count == 0) w->read_over = true;
    feed_read_free(&w->read);
    arena_free(&arena);
}

static uint64_t clients_turn(void *self)
{
    struct world *w = self;
    struct request *r;
    while ((r = port_next(w->port)) != NULL) take(w, (struct client *)r);
    while (feed_next(w->port) != NULL) read_take(w);
    uint32_t busy = 0;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        busy += c->busy;
        if (c->busy) continue;
        if (w->final && w->looked < BOXES) submit_look(w, c), busy++;
        else if (!w->final && (!c->answered || w->begun < w->target)) submit(w, c), busy++;
    }
    port_flush(w->port);
    if (w->final && busy == 0 && w->sum.followed != w->sum.numbered) {
        w->looked = 0; /* followers are at it still: look again */
        w->sum = (struct box){ 0 };
    } else if (w->final && busy == 0 && w->quiet < QUIET_TURNS) {
        w->quiet++;
    } else if (busy == 0 && (!w->final || (w->quiet > QUIET_TURNS && w->read_over))) {
        w->stop = w->final || sim_choose(w->sim, 20) == 0;
    }
    if (w->final && w->quiet == QUIET_TURNS) read_again(w);
    if (!w->stop) read_more(w);
    return w->stop ? ENV_NEVER : w->env->mono_ns(w->env) + 1000000;
}

static void world_open(void *arg)
{
    struct world *w = arg;
    char error[512];
    struct store_recovery recovery;
    app_init(&w->app, catalog_create());
    notes.keep = w->kept ? "6KB" : w->latest ? "latest" : "forever";
    notes.tombstone = w->latest ? "gone" : NULL;
    weir_use(&w->app, &number);
    ASSERT(weir_add_entity(&w->app, &box_entity) == WEIR_OK);
    ASSERT(weir_add_stream(&w->app, &notes) == WEIR_OK);
    ASSERT(weir_add_follow(&w->app, &box_follows) == WEIR_OK);
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
    options.event_cache_bytes = 1000 + sim_choose(w->sim, 4000);
    /* As latest: compaction is often there before the follower. */
    options.limits.retention_check_ms = w->latest ? 1 : 5;
    options.limits.follow_window = 1 + sim_choose(w->sim, w->latest ? 3 : 64);
    options.limits.request_deadline_ms = 60000;
    options.limits.queue_wait_max_ms = 60000;
    options.limits.checkpoint_bytes_min = 40000;
    options.limits.compact_bytes_min = 1 + sim_choose(w->sim, sim_choose(w->sim, 2) ? 200 : 4000);
    options.limits.compact_dirty_percent = 1 + sim_choose(w->sim, 60);
    options.limits.tombstone_keep_ms = 1;
    options.limits.compact_memory_bytes = 1 + sim_choose(w->sim, 2) * 100000;
    enum weir_status st = engine_open(&options, &w->engine, &recovery, error, sizeof(error));
    if (st != WEIR_OK) {
        printf("engine_open: %s: %s\n", weir_status_word(st), error);
        abort();
    }
    struct type *type = catalog_type(w->app.catalog, STR("box"));
    w->reading = false;
    w->read_at = (struct event_id){ 0, 0 };
    memset(w->seen, 0, sizeof(w->seen));
    w->read_total = 0;
    w->act = type_handler(type, STR("act"));
    w->look = type_handler(type, STR("look"));
    w->actor = (struct actor){ .name = "clients", .turn = clients_turn, .self = w };
    w->port = engine_port(w->engine, 0, &w->actor);
    w->env->actor_start(w->env, &w->actor);
    engine_start(w->engine);
}

static void world_close(void *arg)
{
    struct world *w = arg;
    feed_read_free(&w->read);
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

static bool run_seed(uint64_t seed, uint64_t txns, uint64_t crashes)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->sim = sim_create(seed);
    w->env = sim_env(w->sim);
    w->kept = seed % 3 == 0;
    w->latest = seed % 3 == 1;
    for (int i = 0; i < CLIENTS; i++) w->clients[i].answered = true;
    for (uint64_t life = 0; life <= crashes; life++) {
        w->stop = false;
        w->target = txns * (life + 1) / (crashes + 1);
        if (life < crashes)
            sim_crash_at(w->sim, 1 + sim_choose(w->sim, 60 + txns / (crashes + 1) / 2), (enum sim_crash_mode)sim_choose(w->sim, 4));
        bool alive = sim_guard(w->sim, world_open, w);
        if (alive) alive = sim_run(w->sim, is_stopped, w, UINT64_C(36000000000000));
        if (alive && life == crashes) {
            w->stop = false;
            w->final = true;
            w->env->actor_wake(w->env, &w->actor);
            alive = sim_run(w->sim, is_stopped, w, UINT64_C(3600000000000));
        }
        if (!alive && !sim_crashed(w->sim)) {
            struct engine_stats stats;
            engine_stats(w->engine, &stats);
            printf("seed %llu: stuck: numbered %lld, followed %lld, read %lld; %llu messages pending, %llu parked, %llu open\n",
                   (unsigned long long)seed, (long long)w->sum.numbered, (long long)w->sum.followed, (long long)w->read_total,
                   (unsigned long long)stats.messages_pending, (unsigned long long)stats.messages_failed,
                   (unsigned long long)stats.open_transactions);
            return false;
        }
        if (alive) {
            alive = sim_guard(w->sim, world_close, w);
            sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
        }
        if (!alive) {
            for (int i = 0; i < CLIENTS; i++) w->clients[i].busy = false;
            if (!w->reading) feed_read_free(&w->read);
            if (w->engine != NULL) engine_abandon(w->engine);
            w->engine = NULL;
            app_deinit(&w->app);
            catalog_destroy(w->app.catalog);
        }
    }
    struct box *sum = &w->sum;
    bool good = sum->numbered == sum->followed && sum->disorder == 0 && (uint64_t)sum->done == w->begun &&
                w->accepted == w->begun && sum->numbered > 0 && w->read_wrong == 0;
    int64_t newest = 0;
    for (int i = 0; i < BOXES; i++) newest += w->seen[i];
    if (w->kept) good = good && w->read_total > 0 && w->read_total <= sum->numbered;
    else if (w->latest) good = good && newest == sum->numbered && w->read_total < sum->numbered;
    else good = good && w->read_total == sum->numbered;
    printf("seed %llu: %llu requests, done %lld, %llu replayed; emitted %lld followed %lld out of order %lld; read %lld wrong %lld%s: "
           "%s\n",
           (unsigned long long)seed, (unsigned long long)w->begun, (long long)sum->done, (unsigned long long)w->replayed,
           (long long)sum->numbered, (long long)sum->followed, (long long)sum->disorder, (long long)w->read_total,
           (long long)w->read_wrong, w->kept ? " (kept by size)" : w->latest ? " (kept as latest)" : "", good ? "ok" : "WRONG");
    for (int i = 0; i < CLIENTS; i++) arena_free(&w->clients[i].request.arena);
    sim_destroy(w->sim);
    mem_free(w);
    return good;
}

int main(int argc, char **argv)
{
    return seeds_main(argc, argv, 600, run_seed);
}
