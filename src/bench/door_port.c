/*
 * door_port.c - requests to the engine inside this process, through ports, as the doors of a server make them.
 *
 * The load is one actor or several beside shards and log writer, each with a port. It builds each argument struct by the
 * handler's shape, has it judged, and submits; answers come back once they are durable. Nothing is parsed or formatted, no
 * thread waits for one request, so what is left is the engine. The load's processor time is that of its actors' threads,
 * the engine's is the process's less that. Several loaders take their requests from one driver, and give it their
 * answers, some hundred at a time under its lock: a workload is never on two threads at once. One that says that it may be
 * (`parallel`) is measured by a driver for each loader, added up at the end: the lock would be the limit.
 * SPDX-License-Identifier: MIT
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limit.h"
#include "bench/driver.h"
#include "core/app.h"
#include "core/engine.h"
#include "func/lua.h"
#include "os/signal.h"
#include "os/wait.h"

#define DRAIN_MS_MAX 10000u
#define TURN_ORDERS_MAX 512u       /* answers taken, or requests made, under the lock at once */
#define QUANTUM_NS UINT64_C(50000) /* see door_resp.c */
#define CPU_READ_NS UINT64_C(1000000)

struct order {
    struct request request; /* first: port_next() gives it back */
    struct shot shot;
    struct order *next;
};

struct door_port;

struct loader {
    struct door_port *door;
    struct port *port;
    struct actor actor;
    struct order *free;
    struct driver *driver; /* of the pass under way; under the door's lock */
    struct driver *own; /* of a measured pass that each loader makes for itself; NULL: the door's */
    _Atomic uint64_t user_us, system_us; /* used by its thread, a moment ago */
    uint64_t used_ns;
    struct buf scratch;
    int64_t numbers[ANSWER_NUMBERS_MAX];
};

struct door_port {
    struct door door;
    const struct workload *workload;
    struct env *env;
    struct catalog *catalog;
    struct weir_app app;
    struct lua_app *lua;
    struct engine *engine;
    struct wait *wait;   /* guards the loaders' drivers, what is in a shared one, and `running` */
    uint32_t running;    /* passes under way: one, or one for each loader */
    bool apart;          /* the latter */
    struct door no_door; /* of all drivers but the first: figures are read once */
    struct order *orders;
    uint32_t loader_count;
    struct loader *loaders;
    const struct handler **handlers; /* of workload->verbs */
};

/* ---- asking ---- */

static void rows_store(const struct field *field, void *args, const struct shot *shot,
                       const struct shot_arg *arg, struct arena *arena)
{
    const struct shape *shape = field->shape;
    const int64_t *cell = shot->cell + arg->at;
    uint32_t place[SHOT_CELLS_MAX] = { 0 };
    for (uint32_t c = 0; c < arg->columns; c++) {
        while (place[c] < shape->count &&
               !str_eq(shape->fields[place[c]].name, str_of(arg->names[c])))
            place[c]++;
        ASSERT(place[c] < shape->count);
    }
    char *items = arena_alloc(arena, (size_t)arg->n * shape->size + 1);
    for (int64_t r = 0; r < arg->n; r++) {
        shape_start(shape, items + (size_t)r * shape->size);
        for (uint32_t c = 0; c < arg->columns; c++) {
            const struct field *member = &shape->fields[place[c]];
            int_store(member, items + (size_t)r * shape->size + member->offset, *cell++);
        }
    }
    struct weir_list *list = (struct weir_list *)(void *)((char *)args + field->offset);
    *list = (struct weir_list){ items, (uint32_t)arg->n };
}

/* The argument struct of the handler; its texts stay in the shot. */
static const void *args_make(struct order *order, const struct handler *handler)
{
    const struct shape *shape = handler->args;
    const struct shot *shot = &order->shot;
    char *args = arena_alloc(&order->request.arena, shape->size + 8u);
    ASSERT(shot->arg_count <= shape->count);
    shape_start(shape, args);
    for (uint32_t i = 0; i < shot->arg_count; i++) {
        const struct shot_arg *arg = &shot->arg[i];
        const struct field *field = &shape->fields[i];
        switch (arg->kind) {
        case SHOT_INT: int_store(field, args + field->offset, arg->n); break;
        case SHOT_TEXT:
            text_store(field, args + field->offset,
                       (struct weir_str){ shot->text + arg->at, arg->len });
            break;
        case SHOT_ROWS: rows_store(field, args, shot, arg, &order->request.arena); break;
        }
    }
    return args;
}

/* Takes what is due, up to a number, as a list. Under the lock. */
static struct order *orders_take(struct loader *loader, struct driver *d, uint64_t now)
{
    struct order *taken = NULL, **tail = &taken;
    for (uint32_t count = 0; count < TURN_ORDERS_MAX && loader->free; count++) {
        struct order *order = loader->free;
        if (!driver_take(d, now, &order->shot)) break;
        loader->free = order->next;
        order->next = NULL;
        *tail = order;
        tail = &order->next;
    }
    return taken;
}

/* False: the workload has made what its handler does not take. */
static bool submit(struct loader *loader, struct order *order, uint64_t now,
                   struct problem *problem)
{
    const struct handler *handler = loader->door->handlers[order->shot.verb];
    struct request *request = &order->request;
    struct arena arena = request->arena;
    arena_reset(&arena);
    *request = (struct request){ .handler = handler, .arena = arena, .user = order };
    request->key = (struct weir_str){ order->shot.key, order->shot.key_len };
    request->args = args_make(order, handler);
    bool good = shape_judge(handler->args, request->args, false, problem) == WEIR_OK;
    port_submit(loader->port, request, now);
    return good;
}

/* ---- answers ---- */

static void list_take(struct loader *loader, const struct field *field, const char *at,
                      struct answer *a)
{
    const struct weir_list *list = (const struct weir_list *)(const void *)at;
    *a = (struct answer){ .kind = ANSWER_NUMBERS,
                          .numbers = loader->numbers,
                          .items = (uint32_t)list->count,
                          .rows = (uint32_t)list->count };
    if (!field->shape->scalar || field->shape->fields[0].kind != WEIR_INT) return;
    for (uint32_t i = 0; i < list->count && i < ANSWER_NUMBERS_MAX; i++)
        loader->numbers[a->count++] = ((const int64_t *)list->items)[i];
}

static void answer_take(struct loader *loader, const struct request *r, struct answer *a)
{
    const struct shape *shape = r->handler->result;
    *a = (struct answer){ .kind = ANSWER_NIL };
    if (r->status != WEIR_OK) {
        a->kind = ANSWER_ERROR;
        a->word = r->status == WEIR_FAILED ? r->code : str_of(weir_status_word(r->status));
        buf_reset(&loader->scratch);
        buf_printf(&loader->scratch, "%.*s %.*s%.*s", STR_ARG(a->word), STR_ARG(r->text),
                   STR_ARG(r->detail));
        a->text = buf_str(&loader->scratch);
        return;
    }
    if (!shape->scalar || !r->result) return;
    const struct field *field = &shape->fields[0];
    const char *at = r->result;
    switch (field->kind) {
    case WEIR_INT:
    case WEIR_TIME:
        a->kind = ANSWER_NUMBER;
        a->number = int_load(field, at);
        break;
    case WEIR_TEXT:
    case WEIR_BYTES:
    case WEIR_ANY:
        a->text = text_load(field, at);
        a->kind = a->text.ptr ? ANSWER_TEXT : ANSWER_NIL;
        break;
    case WEIR_LIST: list_take(loader, field, at, a); break;
    default: break;
    }
}

/* True: there may be more. */
static bool answers_take(struct loader *loader, struct driver *d, uint64_t now)
{
    struct answer answer;
    uint32_t count = 0;
    for (struct request *r; count < TURN_ORDERS_MAX && (r = port_next(loader->port)) != NULL;
         count++) {
        struct order *order = r->user;
        answer_take(loader, r, &answer);
        driver_answer(d, &order->shot, &answer, now);
        order->next = loader->free;
        loader->free = order;
    }
    return count == TURN_ORDERS_MAX;
}

/* ---- turns ---- */

/* What a loader and its driver have for each other; under the lock when that is shared. `taken` is to be sent. The moment for
 * the next turn. */
static uint64_t exchange(struct loader *loader, struct driver *d, struct order **taken)
{
    uint64_t now = mono_ns();
    bool more = answers_take(loader, d, now);
    if (now - loader->used_ns > CPU_READ_NS) {
        struct cpu used = cpu_used(RUSAGE_THREAD);
        atomic_store_explicit(&loader->user_us, used.user_us, memory_order_relaxed);
        atomic_store_explicit(&loader->system_us, used.system_us, memory_order_relaxed);
        loader->used_ns = now;
    }
    driver_turn(d, now);
    *taken = orders_take(loader, d, now);
    uint64_t due = driver_next_due(d), later = now + 10000000;
    if (more || (loader->free && due <= now)) return 0;
    if (d->rate == 0 || !loader->free || due > later) return later; /* answers wake it */
    return due > now + QUANTUM_NS ? due : now + QUANTUM_NS;
}

/* Under the lock. After an error, too, what is under way is waited for. */
static bool pass_ends(struct loader *loader, const struct driver *d)
{
    struct door_port *door = loader->door;
    if (!driver_done(d) || d->in_flight > 0) return false;
    for (uint32_t i = 0; i < door->loader_count; i++)
        if (door->loaders[i].driver == d) door->loaders[i].driver = NULL;
    if (--door->running == 0) wait_wake(door->wait);
    return true;
}

static uint64_t turn(void *self)
{
    struct loader *loader = self;
    struct door_port *door = loader->door;
    struct order *taken = NULL, *next;
    struct problem problem;
    bool good = true;
    wait_lock(door->wait);
    struct driver *d = loader->driver;
    bool apart = door->apart;
    if (!d || apart) wait_unlock(door->wait);
    if (!d) return ENV_NEVER;
    uint64_t again = exchange(loader, d, &taken);
    if (apart) wait_lock(door->wait);
    if (pass_ends(loader, d)) again = ENV_NEVER;
    wait_unlock(door->wait);
    uint64_t now = mono_ns();
    for (; taken; taken = next) {
        next = taken->next; /* once submitted it is the engine's */
        if (!submit(loader, taken, now, &problem)) good = false;
    }
    port_flush(loader->port);
    if (good) return again;
    wait_lock(door->wait);
    driver_fail(d, "%s", problem.text); /* which is under way: it has this request to wait for */
    wait_unlock(door->wait);
    return 0;
}

/* A driver for each loader, which makes its share of the load from numbers of its own. */
static void drivers_part(struct door_port *door, struct driver *driver)
{
    driver->rate /= door->loader_count;
    for (uint32_t i = 1; i < door->loader_count; i++) {
        struct driver *own = mem_alloc(sizeof(*own));
        *own = *driver;
        own->door = &door->no_door;
        own->again = NULL;
        own->again_room = 0;
        own->random.state += random_next(&driver->random);
        own->arrival.state += random_next(&driver->arrival);
        door->loaders[i].own = own;
    }
}

static void drivers_join(struct door_port *door, struct driver *driver)
{
    driver->rate *= door->loader_count;
    for (uint32_t i = 1; i < door->loader_count; i++) {
        driver_add(driver, door->loaders[i].own);
        driver_deinit(door->loaders[i].own);
        mem_free(door->loaders[i].own);
        door->loaders[i].own = NULL;
    }
}

static bool door_run(struct door *base, struct driver *driver)
{
    struct door_port *door = (struct door_port *)base;
    bool apart = door->loader_count > 1 && driver->workload->parallel &&
                 driver->pass == PASS_MEASURE && driver->count == 0;
    if (apart) drivers_part(door, driver);
    wait_lock(door->wait);
    door->apart = apart;
    door->running = apart ? door->loader_count : 1;
    for (uint32_t i = 0; i < door->loader_count; i++)
        door->loaders[i].driver = door->loaders[i].own ? door->loaders[i].own : driver;
    wait_unlock(door->wait);
    for (uint32_t i = 0; i < door->loader_count; i++)
        door->env->actor_wake(door->env, &door->loaders[i].actor);
    wait_lock(door->wait);
    while (door->running > 0) wait_sleep(door->wait, 0);
    wait_unlock(door->wait);
    if (apart) drivers_join(door, driver);
    return driver->error[0] == 0;
}

static bool no_figures(struct door *base, struct figures *f)
{
    memset(f, 0, sizeof(*f));
    return true;
}

/* On the thread of the first loader, or of whom has the lock; between passes on any. */
static bool door_figures(struct door *base, struct figures *f)
{
    struct door_port *door = (struct door_port *)base;
    struct engine_stats s;
    struct cpu all = cpu_used(RUSAGE_SELF);
    memset(f, 0, sizeof(*f));
    engine_stats(door->engine, &s);
    for (uint32_t i = 0; i < door->loader_count; i++) {
        f->client.user_us += atomic_load_explicit(&door->loaders[i].user_us, memory_order_relaxed);
        f->client.system_us += atomic_load_explicit(&door->loaders[i].system_us,
                                                    memory_order_relaxed);
    }
    f->server = (struct cpu){ all.user_us - f->client.user_us,
                              all.system_us - f->client.system_us };
    f->server_known = true;
    cpu_of_threads(getpid(), f->thread);
    f->syncs = s.store.syncs;
    f->log_bytes = s.store.bytes_written;
    f->commits = s.commits_total;
    f->failures = s.failures_total;
    f->wounds = s.wounds_total;
    f->deaths = s.deaths_total;
    f->in_turn = s.reruns_in_turn_total;
    f->together = s.together_calls_total;
    f->multi_shard = s.multi_shard_total;
    f->overloads = s.overloads_total;
    f->timeouts = s.timeouts_total;
    f->local_calls = s.local_calls_total;
    f->remote_calls = s.remote_calls_total;
    f->checkpoints = s.checkpoints_total;
    f->entities = s.entities;
    f->memory_bytes = s.memory_bytes;
    f->pending = s.messages_pending + (s.events_emitted_total - s.events_followed_total);
    return true;
}

/* ---- opening and closing ---- */

/* Of the engine, and where the handlers are in Lua, theirs. */
struct limits {
    struct engine_limits engine;
    struct lua_limits lua;
};

static bool limits_take(const struct door_port_options *o, struct limits *limits, char *error,
                        size_t error_bytes)
{
    for (const char *const *texts = o->limits; texts && *texts; texts++) {
        struct weir_str name;
        uint64_t value;
        char wrong[256];
        bool good = limit_read(*texts, &name, &value, wrong, sizeof(wrong));
        if (good && engine_limit_set(&limits->engine, name, value)) continue;
        if (good && o->app && lua_limit_set(&limits->lua, name, value)) continue;
        if (good) snprintf(wrong, sizeof(wrong), "%s: the engine has no such limit", *texts);
        snprintf(error, error_bytes, "--limit %s", wrong);
        return false;
    }
    return true;
}

static bool app_load(struct door_port *door, const struct door_port_options *o,
                     const struct lua_limits *limits, char *error, size_t error_bytes)
{
    door->catalog = catalog_create();
    app_init(&door->app, door->catalog);
    if (o->app) {
        struct lua_options lua = { .env = door->env, .settings = o->settings, .limits = *limits };
        struct lua_problem problem = { .line = 0 };
        door->lua = lua_app_create(door->catalog, &lua);
        if (lua_app_load(door->lua, o->app, &problem) != WEIR_OK) {
            snprintf(error, error_bytes, "%s:%d: %s", problem.file, problem.line, problem.text);
            return false;
        }
    } else if (door->workload->native(&door->app) != WEIR_OK) {
        snprintf(error, error_bytes, "%s", door->app.why);
        return false;
    }
    if (app_finish(&door->app)) return true;
    snprintf(error, error_bytes, "%s", door->app.why);
    return false;
}

static bool handlers_find(struct door_port *door, char *error, size_t error_bytes)
{
    const struct verb *verbs = door->workload->verbs;
    uint32_t count = 0;
    while (verbs[count].type) count++;
    door->handlers = mem_alloc(count * sizeof(*door->handlers));
    for (uint32_t i = 0; i < count; i++) {
        const struct type *type = catalog_type(door->catalog, str_of(verbs[i].type));
        door->handlers[i] = type ? type_handler(type, str_of(verbs[i].handler)) : NULL;
        if (door->handlers[i]) continue;
        snprintf(error, error_bytes, "the application has no %s %s", verbs[i].type,
                 verbs[i].handler);
        return false;
    }
    return true;
}

static void door_close(struct door *base)
{
    struct door_port *door = (struct door_port *)base;
    if (door->engine) {
        wait_lock(door->wait);
        for (unsigned waited = 0; waited < DRAIN_MS_MAX && !engine_drain(door->engine); waited++)
            wait_sleep(door->wait, 1);
        wait_unlock(door->wait);
        engine_stop(door->engine); /* first: it wakes the actors below */
        for (uint32_t i = 0; i < door->loader_count; i++)
            door->env->actor_stop(door->env, &door->loaders[i].actor);
        engine_close(door->engine);
    }
    for (uint32_t i = 0; i < door->loader_count; i++) {
        struct loader *loader = &door->loaders[i];
        for (struct order *o = loader->free; o; o = o->next) arena_free(&o->request.arena);
        buf_free(&loader->scratch);
    }
    if (door->lua) lua_app_destroy(door->lua);
    app_deinit(&door->app);
    if (door->catalog) catalog_destroy(door->catalog);
    wait_destroy(door->wait);
    mem_free(door->handlers);
    mem_free(door->loaders);
    mem_free(door->orders);
    mem_free(door);
}

static bool engine_begin(struct door_port *door, const struct door_port_options *o,
                         const struct engine_limits *limits, char *error, size_t error_bytes)
{
    const struct runtime *runtimes[1];
    struct engine_options options = {
        .env = door->env,
        .data = o->data,
        .shards = o->shards,
        .threads = o->threads,
        .ports = door->loader_count,
        .catalog = door->catalog,
        .runtimes = runtimes,
        .limits = *limits,
    };
    struct store_recovery recovery;
    if (door->lua) runtimes[options.runtime_count++] = lua_app_runtime(door->lua);
    if (o->conflict_policy)
        (void)conflict_policy_read(str_of(o->conflict_policy), &options.conflict_policy);
    if (engine_open(&options, &door->engine, &recovery, error, error_bytes) != WEIR_OK) {
        door->engine = NULL;
        return false;
    }
    for (uint32_t i = 0; i < door->loader_count; i++) {
        struct loader *loader = &door->loaders[i];
        loader->actor = (struct actor){
            .name = "bench", .turn = turn, .self = loader, .helps = true
        };
        loader->port = engine_port(door->engine, i, &loader->actor);
    }
    engine_start(door->engine);
    for (uint32_t i = 0; i < door->loader_count; i++)
        door->env->actor_start(door->env, &door->loaders[i].actor);
    return true;
}

struct door *door_port_open(const struct workload *workload, const struct door_port_options *o,
                            char *error, size_t error_bytes)
{
    struct door_port *door = mem_alloc(sizeof(*door));
    door->door = (struct door){ door_run, door_figures, door_close };
    door->no_door.figures = no_figures;
    door->workload = workload;
    door->env = env_real();
    door->wait = wait_create();
    door->loader_count = o->loaders;
    door->loaders = mem_alloc(o->loaders * sizeof(*door->loaders));
    door->orders = mem_alloc(o->in_flight * sizeof(*door->orders));
    for (uint32_t i = 0; i < o->in_flight; i++) {
        struct loader *loader = &door->loaders[i % o->loaders];
        loader->door = door;
        door->orders[i].next = loader->free;
        loader->free = &door->orders[i];
    }
    struct limits limits = { 0 };
    if (limits_take(o, &limits, error, error_bytes) &&
        app_load(door, o, &limits.lua, error, error_bytes) &&
        handlers_find(door, error, error_bytes) &&
        engine_begin(door, o, &limits.engine, error, error_bytes))
        return &door->door;
    door_close(&door->door);
    return NULL;
}

void door_port_shards(uint32_t *shards, uint32_t *threads)
{
    engine_shards_choose(signal_processors(), shards, threads); /* as `weir run` does */
}
