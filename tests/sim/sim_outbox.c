/*
 * sim_outbox.c - messages, timers and request records through crashes: each takes effect exactly once.
 *
 *   sim_outbox [--seed N] [--seeds COUNT] [--txns N] [--crashes N]
 *
 * Every box sends numbered messages to other boxes and sets numbered timers; a receiver keeps each (sender,
 * number) in a map and refuses a second one, and the next number of each sender must be the next in order.
 * Some messages fail a few times on purpose. Some timers set themselves anew for the same moment once, some call
 * another box (so that they are wounded and run again), with
 * the clock set back meanwhile. Requests carry idempotency keys and are sent again after a crash
 * with the same key. A third of them are answered by later transactions (weir_defer()), some steps on, some through a
 * handler that was called; they wait too short a time, and ask again until the answer is there. At the end, when all is quiet: sent = received, set = fired, accepted = done, per box.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "core/app.h"
#include "core/engine.h"
#include "os/sim.h"

#define BOXES 8
#define CLIENTS 8

static struct sim *the_sim; /* a handler sets its clock back */

/* ---- the application ---- */

struct box {
    int64_t sent, received, set, fired, done, failures, duplicates, disorder, early, relayed, served;
};
#define BOX(member) WEIR_FIELD(struct box, member, WEIR_INT)
static const struct weir_field box_fields[] = { BOX(sent), BOX(received), BOX(set), BOX(fired), BOX(done), BOX(failures),
                                                BOX(duplicates), BOX(disorder), BOX(early), BOX(relayed), BOX(served), WEIR_END };
enum { SEEN, LAST, FIRED, AGAIN };
static const struct weir_map box_maps[] = {
    { "seen", { WEIR_TEXT, WEIR_INT }, WEIR_SCALAR(WEIR_BOOL) },
    { "last", { WEIR_TEXT }, WEIR_SCALAR(WEIR_INT) },
    { "fired", { WEIR_INT }, WEIR_SCALAR(WEIR_BOOL) },
    { "again", { WEIR_INT }, WEIR_SCALAR(WEIR_BOOL) }, WEIR_END };

struct act {
    struct weir_ref to;
    int64_t messages, timers;
};
static const struct weir_field act_fields[] = { WEIR_FIELD(struct act, to, WEIR_REF, .type = "box"),
    WEIR_FIELD(struct act, messages, WEIR_INT), WEIR_FIELD(struct act, timers, WEIR_INT), WEIR_END };
struct note {
    struct weir_str from;
    int64_t n;
};
static const struct weir_field note_fields[] = { WEIR_FIELD(struct note, from, WEIR_TEXT), WEIR_FIELD(struct note, n, WEIR_INT), WEIR_END };
struct alarm {
    int64_t n, due;
};
static const struct weir_field alarm_fields[] = { WEIR_FIELD(struct alarm, n, WEIR_INT), WEIR_FIELD(struct alarm, due, WEIR_INT), WEIR_END };

/* What a deferred answer comes of: so many steps from box to box. */
struct relay {
    int64_t n, steps;
};
static const struct weir_field relay_fields[] = { WEIR_FIELD(struct relay, n, WEIR_INT), WEIR_FIELD(struct relay, steps, WEIR_INT), WEIR_END };
static struct weir_verb relay = { "box", "relay", WEIR_SHAPE(struct relay, relay_fields), WEIR_SCALAR(WEIR_INT) };
static struct weir_verb defer = { "box", "defer", WEIR_SHAPE(struct relay, relay_fields), WEIR_SCALAR(WEIR_INT) };

static struct weir_verb receive = { "box", "receive", WEIR_SHAPE(struct note, note_fields), WEIR_NOTHING };
static struct weir_verb poke = { "box", "poke", WEIR_NOTHING, WEIR_SCALAR(WEIR_INT) };

static enum weir_status box_act(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct act *in = args;
    for (int64_t i = 0; i < in->messages; i++) {
        struct note note = { weir_self(ctx), ++self->sent };
        weir_send(ctx, in->to, &receive, &note);
        if (i == 0) weir_call(ctx, in->to, &poke, NULL, NULL); /* the sender's transaction spans shards, too */
    }
    for (int64_t i = 0; i < in->timers; i++) {
        int64_t due = (weir_now(ctx) / 50 + 1 + (int64_t)(weir_random(ctx) % 10)) * 50; /* many at once: they meet */
        struct alarm alarm = { ++self->set, due };
        weir_at(ctx, alarm.due, "ring", &alarm);
        if (alarm.n % 5 == 0) { /* moved, and one cancelled and set again */
            struct alarm same = alarm;
            weir_cancel(ctx, "ring", &same);
            weir_at(ctx, alarm.due, "ring", &same);
        }
    }
    *(int64_t *)result = ++self->done;
    return WEIR_OK;
}

static enum weir_status box_poke(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ((struct box *)row)->received;
    return WEIR_OK;
}

static enum weir_status box_receive(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct note *in = args;
    if (weir_random(ctx) % 16 == 0) return weir_fail(ctx, "not_now", STR_NIL);
    struct weir_key seen = WEIR_KEY(weir_text(in->from), weir_number(in->n));
    if (weir_map_get(ctx, SEEN, seen) != NULL) self->duplicates++;
    bool *mark = weir_map_put(ctx, SEEN, seen);
    *mark = true;
    int64_t *last = weir_map_put(ctx, LAST, WEIR_KEY(weir_text(in->from)));
    if (in->n <= *last) self->disorder++;
    *last = in->n;
    self->received++;
    return WEIR_OK;
}

static enum weir_status box_ring(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct alarm *in = args;
    if (weir_random(ctx) % 16 == 0) return weir_fail(ctx, "not_now", STR_NIL);
    if (in->n % 2 == 1) {
        if (weir_random(ctx) % 4 == 0) sim_wall_jump(the_sim, -1 - (int64_t)(weir_random(ctx) % 20));
        static const char names[BOXES][2] = { "b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7" };
        weir_call(ctx, (struct weir_ref){ { names[weir_random(ctx) % BOXES], 2 } }, &poke, NULL, NULL);
        if (weir_failed(ctx)) return weir_failed(ctx);
    }
    if (in->n % 7 == 3 && weir_map_get(ctx, AGAIN, WEIR_KEY(weir_number(in->n))) == NULL) {
        bool *again = weir_map_put(ctx, AGAIN, WEIR_KEY(weir_number(in->n)));
        *again = true;
        weir_at(ctx, in->due, "ring", in);
        return WEIR_OK;
    }
    if (weir_map_get(ctx, FIRED, WEIR_KEY(weir_number(in->n))) != NULL) self->duplicates++;
    if (weir_now(ctx) < in->due) self->early++;
    bool *mark = weir_map_put(ctx, FIRED, WEIR_KEY(weir_number(in->n)));
    *mark = true;
    self->fired++;
    return WEIR_OK;
}

static struct weir_ref box_of(int64_t n)
{
    static const char names[BOXES][2] = { "b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7" };
    return (struct weir_ref){ { names[(uint64_t)n % BOXES], 2 } };
}

static int64_t answer_to(int64_t n)
{
    return n * 7 + 1;
}

static enum weir_status box_defer(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    struct relay next = *(const struct relay *)args;
    if (next.n / 3 % 3 == 0 && next.steps > 0) {
        next.steps = 0; /* by a call, whose ticket this one hands on */
        weir_call(ctx, box_of(next.n / 8 + 3), &defer, &next, NULL);
        return weir_defer(ctx, weir_ticket(ctx));
    }
    self->relayed++;
    weir_send(ctx, box_of(next.n), &receive, &(struct note){ weir_self(ctx), ++self->sent }); /* another before it */
    weir_send(ctx, box_of(next.n + 1), &relay, &next);
    return weir_defer(ctx, weir_ticket(ctx));
}

static enum weir_status box_relay(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct relay next = *(const struct relay *)args;
    if (weir_random(ctx) % 16 == 0) return weir_fail(ctx, "not_now", STR_NIL);
    if (next.steps == 0) {
        ((struct box *)row)->served++;
        *(int64_t *)result = answer_to(next.n);
        return WEIR_OK;
    }
    next.steps--;
    weir_send(ctx, box_of(next.n + next.steps + 2), &relay, &next);
    return weir_defer(ctx, weir_ticket(ctx));
}

static enum weir_status box_look(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(struct box *)result = *(const struct box *)row;
    return WEIR_OK;
}

static const struct weir_handler box_handlers[] = {
    { "act", WEIR_ON, box_act, WEIR_SHAPE(struct act, act_fields), WEIR_SCALAR(WEIR_INT) },
    { "poke", WEIR_ON, box_poke, WEIR_NOTHING, WEIR_SCALAR(WEIR_INT) },
    { "receive", WEIR_ON, box_receive, WEIR_SHAPE(struct note, note_fields), WEIR_NOTHING },
    { "ring", WEIR_ON, box_ring, WEIR_SHAPE(struct alarm, alarm_fields), WEIR_NOTHING },
    { "defer", WEIR_ON, box_defer, WEIR_SHAPE(struct relay, relay_fields), WEIR_SCALAR(WEIR_INT) },
    { "relay", WEIR_ON, box_relay, WEIR_SHAPE(struct relay, relay_fields), WEIR_SCALAR(WEIR_INT) },
    { "look", WEIR_QUERY, box_look, WEIR_NOTHING, WEIR_SHAPE(struct box, box_fields) },
    WEIR_END
};
static const struct weir_entity box_entity = { .name = "box", .row = WEIR_SHAPE(struct box, box_fields), .maps = box_maps,
                                               .handlers = box_handlers };

/* ---- clients: each sends its numbered requests, the same again after a crash until it is answered ---- */

struct client {
    struct request request;
    bool busy, answered;
    uint64_t number;
    struct act act;
    struct relay relay;
};
struct world {
    struct sim *sim;
    struct env *env;
    struct weir_app app;
    struct engine *engine;
    struct port *port;
    struct actor actor;
    struct client clients[CLIENTS];
    const struct handler *act, *defer, *look;
    uint64_t begun, target, accepted, replayed, deferred, pending, late;
    uint64_t looked;
    bool stop, final;
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
    c->act = (struct act){ { box_key(w, c, (n >> 8) % BOXES) }, (int64_t)(n >> 16) % 4, (int64_t)(n >> 20) % 3 };
    r->handler = c->number % 3 == 2 ? w->defer : w->act;
    r->key = box_key(w, c, n % BOXES);
    r->id = arena_printf(&r->arena, "r%llu", (unsigned long long)c->number);
    r->args = &c->act;
    if (r->handler == w->defer) {
        c->relay = (struct relay){ (int64_t)c->number, (int64_t)(n >> 24) % 4 };
        r->args = &c->relay;
        r->deadline_ns = w->env->mono_ns(w->env) + (1 + sim_choose(w->sim, 60)) * 1000000;
    }
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
    if (r->handler == w->defer && (r->status == WEIR_PENDING || r->status == WEIR_TIMEOUT)) {
        w->pending += r->status == WEIR_PENDING;
        w->late += r->status == WEIR_TIMEOUT;
        return; /* again, under the same id */
    }
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
    if (r->handler == w->defer) {
        if (*(const int64_t *)r->result != answer_to((int64_t)c->number)) {
            printf("request %llu has the answer of another: %lld\n", (unsigned long long)c->number, (long long)*(const int64_t *)r->result);
            abort();
        }
        c->answered = true;
        w->accepted++;
        w->deferred++;
        w->replayed += r->replayed;
        return;
    }
    const struct box *box = r->result;
    const int64_t *from = (const int64_t *)box;
    int64_t *to = (int64_t *)&w->sum;
    for (size_t i = 0; i < sizeof(*box) / sizeof(int64_t); i++) to[i] += from[i];
}

static uint64_t clients_turn(void *self)
{
    struct world *w = self;
    struct request *r;
    struct engine_stats stats;
    while ((r = port_next(w->port)) != NULL) take(w, (struct client *)r);
    uint32_t busy = 0;
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        busy += c->busy;
        if (c->busy) continue;
        if (w->final && w->looked < BOXES) submit_look(w, c), busy++;
        else if (!w->final && (!c->answered || w->begun < w->target)) submit(w, c), busy++;
    }
    port_flush(w->port);
    if (busy == 0) {
        engine_stats(w->engine, &stats);
        /* each answer that is kept has a timer */
        bool quiet = stats.messages_pending == 0 && stats.answers_pending == 0 && stats.timers_pending == stats.answers_kept;
        if (w->final || quiet || sim_choose(w->sim, 50) == 0) w->stop = w->final || w->begun < UINT64_MAX;
        if (!quiet && !w->final) w->stop = false;
    }
    return w->stop ? ENV_NEVER : w->env->mono_ns(w->env) + 1000000;
}

static void world_open(void *arg)
{
    struct world *w = arg;
    char error[512];
    struct store_recovery recovery;
    app_init(&w->app, catalog_create());
    weir_use(&w->app, &receive);
    weir_use(&w->app, &poke);
    weir_use(&w->app, &relay);
    weir_use(&w->app, &defer);
    ASSERT(weir_add_entity(&w->app, &box_entity) == WEIR_OK);
    if (!app_finish(&w->app)) {
        printf("app: %s\n", w->app.why);
        abort();
    }
    uint32_t shards = 1 + (uint32_t)sim_choose(w->sim, 4);
    struct engine_options options = { .env = w->env, .data = "data", .shards = shards,
                                      .threads = 1 + (uint32_t)sim_choose(w->sim, shards), .ports = 1, .catalog = w->app.catalog };
    options.store = (struct store_options){ 32 << 10, 256 << 10, 0 };
    options.limits.request_deadline_ms = 60000;
    options.limits.queue_wait_max_ms = 60000;
    options.limits.checkpoint_bytes_min = 40000;
    enum weir_status st = engine_open(&options, &w->engine, &recovery, error, sizeof(error));
    if (st != WEIR_OK) {
        printf("engine_open: %s: %s\n", weir_status_word(st), error);
        abort();
    }
    struct type *type = catalog_type(w->app.catalog, STR("box"));
    w->act = type_handler(type, STR("act"));
    w->defer = type_handler(type, STR("defer"));
    w->look = type_handler(type, STR("look"));
    w->actor = (struct actor){ .name = "clients", .turn = clients_turn, .self = w };
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

static bool run_seed(uint64_t seed, uint64_t txns, uint64_t crashes)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->sim = the_sim = sim_create(seed);
    w->env = sim_env(w->sim);
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
            printf("seed %llu: stuck: %llu messages, %llu timers pending, %llu failed, %llu open\n", (unsigned long long)seed,
                   (unsigned long long)stats.messages_pending, (unsigned long long)stats.timers_pending,
                   (unsigned long long)stats.messages_failed, (unsigned long long)stats.open_transactions);
            return false;
        }
        if (alive) {
            alive = sim_guard(w->sim, world_close, w);
            sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
        }
        if (!alive) {
            for (int i = 0; i < CLIENTS; i++) w->clients[i].busy = false;
            if (w->engine != NULL) engine_abandon(w->engine);
            w->engine = NULL;
            app_deinit(&w->app);
            catalog_destroy(w->app.catalog);
        }
    }
    struct box *sum = &w->sum;
    bool good = sum->sent == sum->received && sum->set == sum->fired && sum->duplicates == 0 && sum->disorder == 0 &&
                sum->early == 0 && (uint64_t)sum->done == w->begun - w->deferred && w->accepted == w->begun && sum->sent > 0 && sum->set > 0 &&
                (uint64_t)sum->served == w->deferred && sum->relayed == sum->served && w->deferred > 0;
    printf("seed %llu: %llu requests, done %lld, %llu replayed; sent %lld received %lld; set %lld fired %lld; duplicates %lld, "
           "out of order %lld, early %lld; %llu deferred, served %lld, %llu times pending, %llu late: %s\n",
           (unsigned long long)seed, (unsigned long long)w->begun, (long long)sum->done, (unsigned long long)w->replayed,
           (long long)sum->sent, (long long)sum->received, (long long)sum->set, (long long)sum->fired, (long long)sum->duplicates,
           (long long)sum->disorder, (long long)sum->early, (unsigned long long)w->deferred, (long long)sum->served,
           (unsigned long long)w->pending, (unsigned long long)w->late, good ? "ok" : "WRONG");
    for (int i = 0; i < CLIENTS; i++) arena_free(&w->clients[i].request.arena);
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
    uint64_t seed = 1, seeds = 1, txns = 600, crashes = 4, bad = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0) seed = value;
        else if (strcmp(argv[i], "--seeds") == 0) seeds = value;
        else if (strcmp(argv[i], "--txns") == 0) txns = value;
        else if (strcmp(argv[i], "--crashes") == 0) crashes = value;
    }
    for (uint64_t s = seed; s < seed + seeds; s++) bad += !run_seed(s, txns, crashes);
    printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)(seeds - bad), (unsigned long long)bad);
    return bad != 0;
}
