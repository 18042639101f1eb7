/*
 * sim_engine.c - the whole engine, all shards, on one thread in the simulated world: random transactions from
 * many clients, crashes at random file operations, restarts with another number of shards.
 *
 *   sim_engine [--seed N] [--seeds COUNT] [--txns N] [--crashes N] [--history FILE] [--twice]
 *   sim_engine --crash-op K [--mode M] [--second K2] ...    a crash at the K-th file operation of the first life, and
 *                                                           one at the K2-th of the next: inside recovery
 *
 * What it judges by itself: every request is answered, a doomed engine ends, equal seeds give equal runs. What
 * it writes, the checker judges (tests/check): each transaction as its client saw it.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "../harness/history_app.h"
#include "base/assert.h"
#include "base/hash.h"
#include "core/app.h"
#include "core/engine.h"
#include "os/sim.h"

#define CLIENTS 24
#define ACCOUNTS 10
#define LISTS 6
#define REGS 6
#define LIST_AGE 150 /* transactions before lists get new names, so that they stay short */

struct client {
    struct request request;
    bool busy;
    uint64_t start, number;
    struct ops ops;
    struct op list[8];
    const struct handler *handler;
    struct weir_str key;
    int64_t amount; /* direct transfer */
    struct weir_str to;
};

struct world {
    struct sim *sim;
    struct env *env;
    struct weir_app app;
    struct engine *engine;
    struct port *port;
    struct actor actor;
    struct client clients[CLIENTS];
    const struct handler *run, *look, *transfer;
    FILE *history;
    uint64_t begun, ok, failed, unknown, target, multi, wounds, commits, checkpoints;
    uint32_t shards, busy;
    bool stop, final, faulty;
    uint64_t final_next;
    uint64_t checkpoint_bytes, segment_bytes;
};

struct move {
    struct weir_ref to;
    int64_t amount;
};
struct moved {
    int64_t a, b, c, d;
};

/* ---- history lines ---- */

static void write_op(struct world *w, const struct op *op, const struct op_result *r)
{
    FILE *f = w->history;
    switch ((enum op_kind)op->kind) {
    case OP_APPEND:
        fprintf(f, "[\"append\",\"%.*s\",%lld", STR_ARG(op->key), (long long)op->value);
        if (r) fprintf(f, ",%lld", (long long)r->a);
        break;
    case OP_READ:
        fprintf(f, "[\"read\",\"%.*s\"", STR_ARG(op->key));
        if (r) {
            fprintf(f, ",[");
            for (size_t i = 0; i < r->items.count; i++) fprintf(f, "%s%lld", i ? "," : "", (long long)((int64_t *)r->items.items)[i]);
            fprintf(f, "]");
        }
        break;
    case OP_WRITE:
        fprintf(f, "[\"write\",\"%.*s\",%lld", STR_ARG(op->key), (long long)op->value);
        if (r) fprintf(f, ",%lld", (long long)r->a);
        break;
    case OP_GET:
        fprintf(f, "[\"read\",\"%.*s\"", STR_ARG(op->key));
        if (r) fprintf(f, ",%lld", (long long)r->a);
        break;
    case OP_TRANSFER:
    case OP_CYCLE:
        fprintf(f, "[\"transfer\",\"%.*s\",\"%.*s\",%lld", STR_ARG(op->key), STR_ARG(op->to), (long long)op->value);
        if (r) fprintf(f, ",[%lld,%lld],[%lld,%lld]", (long long)r->a, (long long)r->b, (long long)r->c, (long long)r->d);
        if (op->kind == OP_TRANSFER) break;
        fprintf(f, "],[\"deposit\",\"%.*s\",0", STR_ARG(op->key));
        if (r) fprintf(f, ",[%lld,%lld]", (long long)r->a + 1, (long long)(r->b - op->value));
        break;
    case OP_AUDIT:
        fprintf(f, "[\"read\",\"%.*s\"", STR_ARG(op->key));
        if (r) fprintf(f, ",[%lld,%lld]", (long long)r->a, (long long)r->b);
        break;
    }
    fprintf(f, "]");
}

static void write_txn(struct world *w, struct client *c, const char *outcome, uint64_t end, const struct op_result *results)
{
    if (w->history == NULL) return;
    fprintf(w->history, "%s c=%d s=%llu e=%llu", w->final ? "f" : "t", (int)(c - w->clients), (unsigned long long)c->start,
            (unsigned long long)end);
    uint64_t mask = 0;
    for (size_t i = 0; i < c->ops.ops.count; i++) {
        mask |= UINT64_C(1) << (hash64(0, c->list[i].key.ptr, c->list[i].key.len) % 256 % w->shards);
        if (c->list[i].to.len) mask |= UINT64_C(1) << (hash64(0, c->list[i].to.ptr, c->list[i].to.len) % 256 % w->shards);
    }
    fprintf(w->history, " shards=%d r=%s", __builtin_popcountll(mask), outcome);
    if (outcome[0] == 'f') fprintf(w->history, " x=%s", c->request.code.len ? arena_cstr(&c->request.arena, c->request.code) : weir_status_word(c->request.status));
    fprintf(w->history, " o=[");
    if (outcome[0] == 'f' && c->request.handler == w->transfer && c->request.detail.len > 0 && c->request.detail.ptr[0] == '[')
        fprintf(w->history, "[\"read\",\"%.*s\",%.*s]]\n", STR_ARG(c->list[0].key), STR_ARG(c->request.detail));
    else for (size_t i = 0; i < c->ops.ops.count; i++) {
        if (i) fprintf(w->history, ",");
        write_op(w, &c->list[i], results ? &results[i] : NULL);
        if (i + 1 == c->ops.ops.count) fprintf(w->history, "]\n");
    }
}

/* ---- transactions ---- */

static struct weir_str key_text(struct world *w, struct client *c, char kind, uint64_t n)
{
    return arena_printf(&c->request.arena, "%c%llu", kind, (unsigned long long)n);
}

static void make_op(struct world *w, struct client *c, struct op *op)
{
    struct sim *sim = w->sim;
    uint64_t kind = sim_choose(sim, 100), age = w->begun / LIST_AGE;
    *op = (struct op){ .value = (int64_t)(w->begun * 16 + (uint64_t)(op - c->list) + 1) };
    uint64_t hot = sim_choose(sim, 3) == 0 ? 1 : 0;
    if (kind < 20) op->kind = OP_APPEND;
    else if (kind < 35) op->kind = OP_READ;
    else if (kind < 50) op->kind = OP_WRITE;
    else if (kind < 60) op->kind = OP_GET;
    else if (kind < 85) op->kind = OP_TRANSFER;
    else if (kind < 92) op->kind = OP_AUDIT;
    else op->kind = OP_CYCLE;
    if (op->kind == OP_APPEND || op->kind == OP_READ) {
        op->key = key_text(w, c, 'l', age * LISTS + (hot ? 0 : sim_choose(sim, LISTS)));
    } else if (op->kind == OP_WRITE || op->kind == OP_GET) {
        op->key = key_text(w, c, 'r', hot ? 0 : sim_choose(sim, REGS));
    } else {
        uint64_t from = sim_choose(sim, ACCOUNTS), to = sim_choose(sim, ACCOUNTS - 1);
        if (hot && sim_choose(sim, 2)) from = 0;
        else if (hot && from > 0) to = 0;
        op->key = key_text(w, c, 'a', from);
        if (op->kind != OP_AUDIT) op->to = key_text(w, c, 'a', to >= from ? to + 1 : to);
        op->value = (int64_t)sim_choose(sim, 60) + 1;
        if (op->kind == OP_CYCLE) op->value = 1;
    }
}

static void submit(struct world *w, struct client *c)
{
    struct request *r = &c->request;
    struct arena arena = r->arena;
    arena_reset(&arena);
    *r = (struct request){ .arena = arena };
    c->start = w->env->mono_ns(w->env);
    c->number = w->begun++;
    if (sim_choose(w->sim, 100) < 30) { /* straight to an account */
        c->ops.ops = (struct weir_list){ c->list, 1 };
        do make_op(w, c, &c->list[0]);
        while (c->list[0].kind != OP_TRANSFER);
        struct move *move = arena_alloc(&r->arena, sizeof(*move));
        move->to.key = c->list[0].to;
        move->amount = c->list[0].value;
        r->handler = w->transfer;
        r->key = c->list[0].key;
        r->args = move;
    } else {
        c->ops.ops = (struct weir_list){ c->list, 1 + sim_choose(w->sim, 8) };
        bool look = sim_choose(w->sim, 4) == 0; /* reads only: answered by what it read (H6) */
        for (size_t i = 0; i < c->ops.ops.count; i++) {
            do make_op(w, c, &c->list[i]);
            while (look && c->list[i].kind != OP_READ && c->list[i].kind != OP_GET && c->list[i].kind != OP_AUDIT);
        }
        r->handler = look ? w->look : w->run;
        r->args = &c->ops;
        if (sim_choose(w->sim, 4) == 0) r->id = arena_printf(&r->arena, "id-%llu", (unsigned long long)c->number);
    }
    c->busy = true;
    w->busy++;
    port_submit(w->port, r);
}

/* After the last fault: every entity once, for the checker to know the end of each. */
static void submit_final(struct world *w, struct client *c)
{
    uint64_t n = w->final_next++;
    uint64_t lists = (w->begun / LIST_AGE + 1) * LISTS;
    struct request *r = &c->request;
    struct arena arena = r->arena;
    arena_reset(&arena);
    *r = (struct request){ .arena = arena };
    c->start = w->env->mono_ns(w->env);
    c->ops.ops = (struct weir_list){ c->list, 1 };
    c->list[0] = (struct op){ 0 };
    if (n < lists) c->list[0] = (struct op){ .kind = OP_READ, .key = key_text(w, c, 'l', n) };
    else if (n < lists + REGS) c->list[0] = (struct op){ .kind = OP_GET, .key = key_text(w, c, 'r', n - lists) };
    else if (n < lists + REGS + ACCOUNTS) c->list[0] = (struct op){ .kind = OP_AUDIT, .key = key_text(w, c, 'a', n - lists - REGS) };
    else {
        w->stop = w->busy == 0;
        return;
    }
    r->handler = w->run;
    r->args = &c->ops;
    c->busy = true;
    w->busy++;
    port_submit(w->port, r);
}

static void take(struct world *w, struct client *c)
{
    struct request *r = &c->request;
    uint64_t now = w->env->mono_ns(w->env);
    c->busy = false;
    w->busy--;
    if (r->status == WEIR_OK) {
        struct op_result one = { 0 };
        const struct op_result *results = &one;
        if (r->handler == w->transfer) memcpy(&one, r->result, sizeof(struct moved));
        else results = ((struct weir_list *)r->result)->items;
        w->ok++;
        write_txn(w, c, "ok", now, results);
    } else if (r->status == WEIR_UNKNOWN) {
        w->unknown++;
        write_txn(w, c, "unknown", now, NULL);
    } else {
        if (r->status != WEIR_FAILED && r->status != WEIR_CHECK) {
            printf("unexpected answer %s: %.*s\n", weir_status_word(r->status), STR_ARG(r->text));
            abort();
        }
        w->failed++;
        write_txn(w, c, "fail", now, NULL);
    }
}

static uint64_t clients_turn(void *self)
{
    struct world *w = self;
    struct request *r;
    while ((r = port_next(w->port)) != NULL) take(w, (struct client *)r);
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        if (c->busy || w->stop) continue;
        if (w->final) submit_final(w, c);
        else if (w->begun < w->target && sim_choose(w->sim, 3) != 0) submit(w, c);
    }
    port_flush(w->port);
    if (!w->final && w->begun >= w->target && w->busy == 0) w->stop = true;
    return w->stop ? ENV_NEVER : w->env->mono_ns(w->env) + 1000 + sim_choose(w->sim, sim_choose(w->sim, 10) ? 100000 : 10000000);
}

/* ---- the engine's lives ---- */

static void world_open(void *arg)
{
    struct world *w = arg;
    char error[512];
    struct store_recovery recovery;
    app_init(&w->app, catalog_create());
    if (history_app(&w->app) != WEIR_OK || !app_finish(&w->app)) {
        printf("app: %s\n", w->app.why);
        abort();
    }
    w->shards = 1 + (uint32_t)sim_choose(w->sim, 4);
    struct engine_options options = { .env = w->env, .data = "data", .shards = w->shards,
                                      .threads = 1 + (uint32_t)sim_choose(w->sim, w->shards), .ports = 1,
                                      .catalog = w->app.catalog };
    options.store = (struct store_options){ w->segment_bytes, w->segment_bytes * (w->segment_bytes > 4096 ? 8 : 1), 0 };
    options.limits.request_deadline_ms = 60000;
    options.limits.queue_wait_max_ms = 60000;
    options.limits.checkpoint_bytes_min = w->checkpoint_bytes;
    enum weir_status st = engine_open(&options, &w->engine, &recovery, error, sizeof(error));
    if (st != WEIR_OK && !w->faulty) {
        printf("engine_open: %s: %s\n", weir_status_word(st), error);
        abort();
    }
    if (recovery.damaged_checkpoints > 0) { /* crashes alone must not damage what a manifest names */
        printf("%u damaged checkpoints\n", recovery.damaged_checkpoints);
        abort();
    }
    if (st != WEIR_OK) return; /* it ends with exit code 74 and is started again */
    w->run = type_handler(catalog_type(w->app.catalog, STR("work")), STR("run"));
    w->look = type_handler(catalog_type(w->app.catalog, STR("work")), STR("look"));
    w->transfer = type_handler(catalog_type(w->app.catalog, STR("account")), STR("transfer"));
    w->actor = (struct actor){ .name = "clients", .turn = clients_turn, .self = w };
    w->port = engine_port(w->engine, 0, &w->actor);
    w->env->actor_start(w->env, &w->actor);
    engine_start(w->engine);
}

static void world_gone(struct world *w)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct client *c = &w->clients[i];
        if (!c->busy) continue;
        c->busy = false;
        w->busy--;
        w->unknown++;
        write_txn(w, c, "unknown", w->env->mono_ns(w->env), NULL);
    }
    if (w->engine != NULL) {
        struct engine_stats stats;
        engine_stats(w->engine, &stats);
        w->wounds += stats.wounds_total;
        w->commits += stats.commits_total;
        w->multi += stats.multi_shard_total;
        w->checkpoints += stats.checkpoints_total;
        engine_abandon(w->engine);
    }
    w->engine = NULL;
    app_deinit(&w->app);
    catalog_destroy(w->app.catalog);
}

static void world_close(void *arg)
{
    struct world *w = arg;
    struct engine_stats stats;
    engine_stats(w->engine, &stats);
    w->wounds += stats.wounds_total;
    w->commits += stats.commits_total;
    w->multi += stats.multi_shard_total;
    w->checkpoints += stats.checkpoints_total;
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

struct plan {
    uint64_t crash_op, second, mode; /* crash_op 0: at random */
    uint64_t fault_op;               /* the sync from there on in the first life fails, its pages are lost */
};

static uint64_t run_seed(uint64_t seed, uint64_t txns, uint64_t crashes, const struct plan *plan, FILE *history)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->sim = sim_create(seed);
    w->env = sim_env(w->sim);
    w->history = history;
    w->segment_bytes = plan->crash_op ? 4096 : 32768;
    w->checkpoint_bytes = plan->crash_op ? 6000 : 60000;
    if (history != NULL) {
        for (int i = 0; i < ACCOUNTS; i++) fprintf(history, "i a%d %d\n", i, HISTORY_BALANCE);
    }
    for (uint64_t life = 0; life <= crashes; life++) {
        w->stop = false;
        w->target = txns * (life + 1) / (crashes + 1);
        bool crash = life < crashes && sim_choose(w->sim, 8) != 0;
        uint64_t planned = life == 0 ? plan->crash_op : life == 1 ? plan->second : 0;
        if (plan->crash_op != 0) {
            sim_crash_at(w->sim, planned, (enum sim_crash_mode)plan->mode);
        } else if (crash) sim_crash_at(w->sim, 1 + sim_choose(w->sim, 60 + txns / (crashes + 1) / 4), (enum sim_crash_mode)sim_choose(w->sim, 4));
        if (life == 0 && plan->fault_op != 0) {
            sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
            sim_fault_at(w->sim, plan->fault_op, SIM_FAULT_SYNC_LOST);
        } else {
            sim_fault_at(w->sim, 0, SIM_FAULT_NONE);
        }
        w->faulty = life == 0 && plan->fault_op != 0;
        bool alive = sim_guard(w->sim, world_open, w);
        if (alive && w->engine == NULL) {
            app_deinit(&w->app);
            catalog_destroy(w->app.catalog);
            continue;
        }
        if (alive) alive = sim_run(w->sim, is_stopped, w, UINT64_C(3600000000000));
        if (alive && life == crashes) {
            w->stop = false;
            w->final = true;
            w->env->actor_wake(w->env, &w->actor);
            alive = sim_run(w->sim, is_stopped, w, UINT64_C(3600000000000)) && w->busy == 0;
        }
        if (!alive && !sim_crashed(w->sim)) {
            printf("seed %llu: stuck in life %llu: %u requests are not answered\n", (unsigned long long)seed,
                   (unsigned long long)life, w->busy);
            abort();
        }
        if (alive) {
            alive = sim_guard(w->sim, world_close, w);
            sim_crash_at(w->sim, 0, SIM_KEEP_ALL);
        }
        if (!alive) world_gone(w);
    }
    uint64_t hash = sim_trace_hash(w->sim);
    if (plan->crash_op != 0) printf("operations %llu checkpoints %llu\n", (unsigned long long)sim_operations(w->sim), (unsigned long long)w->checkpoints);
    else printf("seed %llu: %llu begun, %llu ok, %llu failed, %llu unknown, %llu over shards, %llu wounds, trace %016llx\n",
           (unsigned long long)seed, (unsigned long long)w->begun, (unsigned long long)w->ok, (unsigned long long)w->failed,
           (unsigned long long)w->unknown, (unsigned long long)w->multi, (unsigned long long)w->wounds, (unsigned long long)hash);
    for (int i = 0; i < CLIENTS; i++) arena_free(&w->clients[i].request.arena);
    sim_destroy(w->sim);
    mem_free(w);
    return hash;
}

/* A simulated crash leaves a call in its middle, as a power cut would: what that call held is lost, not leaked. */
__attribute__((visibility("default"))) const char *__asan_default_options(void); // the sanitizer looks it up from its own library
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* what is said before an abort must be seen */
    uint64_t seed = 1, seeds = 1, txns = 2000, crashes = 3;
    const char *history = NULL;
    struct plan plan = { 0 };
    bool twice = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--seed") == 0) seed = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--seeds") == 0) seeds = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--txns") == 0) txns = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--crashes") == 0) crashes = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--history") == 0) history = value, i++;
        else if (strcmp(argv[i], "--crash-op") == 0) plan.crash_op = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--second") == 0) plan.second = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--fault-op") == 0) plan.fault_op = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--mode") == 0) plan.mode = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--twice") == 0) twice = true;
    }
    for (uint64_t s = seed; s < seed + seeds; s++) {
        FILE *file = history ? fopen(history, "w") : NULL;
        uint64_t hash = run_seed(s, txns, crashes, &plan, file);
        if (file != NULL) fclose(file);
        if (twice && run_seed(s, txns, crashes, &plan, NULL) != hash) {
            printf("seed %llu: two runs differ\n", (unsigned long long)s);
            return 1;
        }
    }
    return 0;
}
