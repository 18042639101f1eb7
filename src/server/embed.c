/*
 * embed.c - the engine inside a foreign program: weir_open(), weir_start(), weir_request(), weir_close().
 *
 * The program's threads are no actors, so they may not touch a port. A thread puts its seat into the
 * inbox under the lock, wakes the door and sleeps on the seat; the door, an actor, submits what is in the
 * inbox and hands each answer to the seat it belongs to. A seat belongs to one thread and engine, is made
 * at that thread's first request, keeps the memory of its last result, and goes when the thread ends or
 * the engine closes.
 *
 * Argument and result structs cross as they are when the caller's shape has the handler's layout;
 * otherwise through the packed form, where numbers are widened and judged again.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/limit.h"
#include "connect/asks.h"
#include "core/app.h"
#include "core/engine.h"
#include "os/signal.h"
#include "os/wait.h"

#define OPEN_MS_MAX 5000u
#define DRAIN_MS_MAX 10000u
#define VERBS_MAX 1024u

/* A verb of the caller's as the engine knows it; made at its first use. */
struct verb_bound {
    struct verb_bound *next;
    struct weir_verb verb; /* as it was then */
    const struct handler *handler;
    struct shape *args, *result; /* the caller's */
    bool args_same, result_same; /* same layout as the handler's */
};

enum seat_state { SEAT_FREE, SEAT_WAITING, SEAT_ANSWERED };

struct seat {
    struct weir_engine *owner;
    struct seat *next, *previous; /* all seats; under owner->lock */
    struct seat *inbox_next;
    struct wait *wait; /* guards state */
    enum seat_state state;
    struct request request;
    struct arena result; /* what the last result points into */
    struct buf scratch;
};

struct weir_engine {
    struct weir_app *app;
    struct env *env;
    struct engine *engine;
    struct port *port;
    struct asks *asks; /* NULL: the application declares no service outside */
    struct actor door;
    struct wait *lock; /* guards inbox, seats and verbs */
    struct seat *inbox, **inbox_end;
    struct seat *seats;
    struct wait_slot *slot; /* each thread's seat */
    struct verb_bound *verbs;
    unsigned verb_count;
    struct arena arena; /* of verbs; under lock */
};

/* The application between weir_open() and weir_start(). */
struct embed {
    struct weir_app app;
    struct weir_options options;
    char *data;
    enum conflict_policy policy;
    struct engine_limits limits;
};

/* ---- errors ---- */

static void error_code(struct weir_error *error, enum weir_status status, struct weir_str code)
{
    if (!error) return;
    memset(error, 0, sizeof *error);
    error->status = status;
    snprintf(error->code, sizeof error->code, "%.*s", STR_ARG(code));
}

static void error_json(struct weir_error *error, struct weir_str json)
{
    if (error) snprintf(error->detail, sizeof error->detail, "%.*s", STR_ARG(json));
}

/* A sentence as the detail, quoted as JSON. Returns the status. */
static enum weir_status error_text(struct weir_error *error, enum weir_status status,
                                   const char *text)
{
    struct buf quoted = { 0 };
    json_write_text(&quoted, str_of(text));
    error_code(error, status, str_of(weir_status_word(status)));
    error_json(error, buf_str(&quoted));
    buf_free(&quoted);
    return status;
}

/* ---- the door ---- */

static uint64_t door_turn(void *self)
{
    struct weir_engine *engine = self;
    wait_lock(engine->lock);
    struct seat *seat = engine->inbox;
    engine->inbox = NULL;
    engine->inbox_end = &engine->inbox;
    wait_unlock(engine->lock);
    bool any = seat != NULL;
    uint64_t now_ns = any ? engine->env->mono_ns(engine->env) : 0;
    while (seat) {
        struct seat *next = seat->inbox_next;
        port_submit(engine->port, &seat->request, now_ns);
        seat = next;
    }
    if (any) port_flush(engine->port);
    for (struct request *request; (request = port_next(engine->port)) != NULL;) {
        seat = request->user;
        wait_lock(seat->wait);
        seat->state = SEAT_ANSWERED;
        wait_wake(seat->wait);
        wait_unlock(seat->wait);
    }
    return ENV_NEVER;
}

/* ---- seats ---- */

static void seat_free(struct seat *seat)
{
    wait_destroy(seat->wait);
    arena_free(&seat->request.arena);
    arena_free(&seat->result);
    buf_free(&seat->scratch);
    mem_free(seat);
}

static void seat_ended(void *ptr)
{
    struct seat *seat = ptr;
    struct weir_engine *engine = seat->owner;
    wait_lock(engine->lock);
    if (seat->previous) seat->previous->next = seat->next;
    else engine->seats = seat->next;
    if (seat->next) seat->next->previous = seat->previous;
    wait_unlock(engine->lock);
    seat_free(seat);
}

static struct seat *seat_of_thread(struct weir_engine *engine)
{
    struct seat *seat = wait_slot_get(engine->slot);
    if (seat) return seat;
    seat = mem_alloc(sizeof *seat);
    seat->owner = engine;
    seat->wait = wait_create();
    wait_lock(engine->lock);
    seat->next = engine->seats;
    if (seat->next) seat->next->previous = seat;
    engine->seats = seat;
    wait_unlock(engine->lock);
    wait_slot_set(engine->slot, seat);
    return seat;
}

/* Gives the request to the door and waits until it is answered. */
static void seat_run(struct seat *seat)
{
    struct weir_engine *engine = seat->owner;
    seat->state = SEAT_WAITING;
    seat->inbox_next = NULL;
    wait_lock(engine->lock);
    *engine->inbox_end = seat;
    engine->inbox_end = &seat->inbox_next;
    wait_unlock(engine->lock);
    engine->env->actor_wake(engine->env, &engine->door);
    wait_lock(seat->wait);
    while (seat->state != SEAT_ANSWERED) wait_sleep(seat->wait, 0);
    seat->state = SEAT_FREE;
    wait_unlock(seat->wait);
}

/* ---- verbs ---- */

static bool shape_is(const struct weir_shape *a, const struct weir_shape *b)
{
    return a->scalar == b->scalar && a->size == b->size && a->fields == b->fields &&
           a->one.kind == b->one.kind && a->one.size == b->one.size;
}

static bool verb_is(const struct weir_verb *a, const struct weir_verb *b)
{
    return strcmp(a->type, b->type) == 0 && strcmp(a->handler, b->handler) == 0 &&
           shape_is(&a->args, &b->args) && shape_is(&a->result, &b->result);
}

static enum weir_status verb_make(struct weir_engine *engine, const struct weir_verb *verb,
                                  struct verb_bound **out, struct weir_error *error)
{
    const struct type *type = catalog_type(engine->app->catalog, str_of(verb->type));
    char text[256];
    if (!type) {
        snprintf(text, sizeof text, "no type or service `%s`", verb->type);
        return error_text(error, WEIR_NOTYPE, text);
    }
    const struct handler *handler = type_handler(type, str_of(verb->handler));
    if (!handler) {
        snprintf(text, sizeof text, "`%s` has no handler `%s`", verb->type, verb->handler);
        return error_text(error, WEIR_NOHANDLER, text);
    }
    struct verb_bound *bound = arena_alloc(&engine->arena, sizeof *bound);
    const char *why = "";
    if (!shape_of(&engine->arena, &verb->args, &bound->args, &why) ||
        !shape_fits(bound->args, handler->args, &engine->arena, &why) ||
        !shape_of(&engine->arena, &verb->result, &bound->result, &why)) {
        snprintf(text, sizeof text, "the verb `%s.%s` does not fit the handler: %s", verb->type,
                 verb->handler, why);
        return error_text(error, WEIR_ARG, text);
    }
    bool any = bound->result->scalar && bound->result->fields[0].kind == WEIR_ANY;
    bool nothing = !bound->result->scalar && bound->result->count == 0;
    if (!any && !nothing && !shape_fits(handler->result, bound->result, &engine->arena, &why)) {
        snprintf(text, sizeof text, "the result of `%s.%s` does not fit: %s", verb->type,
                 verb->handler, why);
        return error_text(error, WEIR_ARG, text);
    }
    bound->verb = *verb;
    bound->verb.type = arena_cstr(&engine->arena, str_of(verb->type));
    bound->verb.handler = arena_cstr(&engine->arena, str_of(verb->handler));
    bound->handler = handler;
    bound->args_same = shape_same_layout(bound->args, handler->args);
    bound->result_same = shape_same_layout(bound->result, handler->result);
    bound->next = engine->verbs;
    engine->verbs = bound;
    *out = bound;
    return WEIR_OK;
}

static enum weir_status verb_bind(struct weir_engine *engine, const struct weir_verb *verb,
                                  struct verb_bound **out, struct weir_error *error)
{
    enum weir_status status = WEIR_OK;
    wait_lock(engine->lock);
    struct verb_bound *bound = engine->verbs;
    while (bound && !verb_is(&bound->verb, verb)) bound = bound->next;
    if (bound) *out = bound;
    else if (engine->verb_count == VERBS_MAX)
        status = error_text(error, WEIR_ARG, "more than 1024 verbs in one program");
    else if ((status = verb_make(engine, verb, out, error)) == WEIR_OK) engine->verb_count++;
    wait_unlock(engine->lock);
    return status;
}

/* ---- requests ---- */

/* The caller's arguments as a struct of handler->args; lives until the request is answered. */
static enum weir_status args_take(struct seat *seat, const struct verb_bound *bound,
                                  const void *args, struct weir_error *error)
{
    static const uint64_t none[2]; /* for handlers that take nothing */
    struct request *request = &seat->request;
    const struct shape *shape = bound->handler->args;
    struct problem problem = { .status = WEIR_OK };
    request->args = args ? args : none;
    if (!args && shape->size > sizeof none)
        return error_text(error, WEIR_ARG, "arguments are missing");
    if (args && bound->args->scalar) {
        /* A bool of the caller's is one byte, its shape is eight. */
        void *one = arena_alloc(&request->arena, bound->args->size);
        memcpy(one, args, bound->args->fields[0].size);
        request->args = one;
    }
    if (!bound->args_same) {
        void *made = arena_alloc(&request->arena, shape->size);
        shape_start(shape, made);
        buf_reset(&seat->scratch);
        pack(bound->args, request->args, &seat->scratch);
        struct weir_str packed = arena_copy(&request->arena, buf_str(&seat->scratch));
        if (unpack(shape, packed, &request->arena, false, made) != WEIR_OK)
            return error_text(error, WEIR_ARG, "the arguments do not fit the handler");
        request->args = made;
    }
    enum weir_status status = shape_judge(shape, request->args, false, &problem);
    /* A rule that an argument breaks is the caller's mistake; `check` is kept for rows. */
    if (status == WEIR_CHECK) status = WEIR_ARG;
    if (status != WEIR_OK) return error_text(error, status, problem.text);
    return WEIR_OK;
}

/* The answer into the caller's struct, its texts into the seat. */
static enum weir_status result_give(struct seat *seat, const struct verb_bound *bound, void *result,
                                    struct weir_error *error)
{
    /* Of a deferred answer whose handler is gone by now, any JSON; the verb was bound to this one. */
    const struct shape *from = seat->request.handler->result, *to = bound->result;
    const void *answer = seat->request.result;
    if (!result || to->count == 0) return WEIR_OK;
    void *made = arena_alloc(&seat->result, to->size);
    if (bound->result_same && from == bound->handler->result) {
        shape_copy(to, answer, &seat->result, made);
    } else if (to->scalar && to->fields[0].kind == WEIR_ANY) {
        buf_reset(&seat->scratch);
        json_write(from, answer, &seat->scratch);
        *(struct weir_str *)made = arena_copy(&seat->result, buf_str(&seat->scratch));
    } else {
        struct problem problem = { .status = WEIR_OK };
        buf_reset(&seat->scratch);
        pack(from, answer, &seat->scratch);
        struct weir_str packed = arena_copy(&seat->result, buf_str(&seat->scratch));
        shape_start(to, made);
        if (unpack(to, packed, &seat->result, false, made) != WEIR_OK ||
            shape_judge(to, made, true, &problem) != WEIR_OK)
            return error_text(error, WEIR_RANGE,
                              "done, but the result does not fit the program's struct");
    }
    memcpy(result, made, to->scalar ? to->fields[0].size : to->size);
    return WEIR_OK;
}

static void error_of_request(const struct request *request, struct weir_error *error)
{
    struct weir_str code = request->status == WEIR_FAILED && request->code.len
                               ? request->code
                               : str_of(weir_status_word(request->status));
    error_code(error, request->status, code);
    struct weir_str detail = request->detail;
    bool rule = request->status == WEIR_CHECK || request->status == WEIR_RANGE;
    bool members = rule && detail.len > 2 && detail.ptr[0] == '{';
    struct buf json = { 0 };
    if (detail.ptr == NULL && request->text.len > 0) {
        json_write_text(&json, request->text);
    } else if (members &&
               request->text.len > 0) { /* which field, which rule; and the same for people */
        buf_add_text(&json, "{\"text\":");
        json_write_text(&json, request->text);
        buf_add_byte(&json, ',');
        buf_add(&json, detail.ptr + 1, detail.len - 1);
    } else if (detail.ptr != NULL) {
        buf_add_str(&json, detail);
    }
    error_json(error, buf_str(&json));
    buf_free(&json);
}

/* The request of a seat, made anew in its memory. */
static struct request *request_begin(struct seat *seat, const struct handler *handler)
{
    struct request *request = &seat->request;
    struct arena arena = request->arena;
    arena_reset(&arena);
    arena_reset(&seat->result);
    *request = (struct request){ .handler = handler, .user = seat, .arena = arena };
    request->caller = request->roles = STR(ROLE_OPERATOR); /* the program itself */
    return request;
}

static enum weir_status request_end(struct seat *seat, const struct verb_bound *bound, void *result,
                                    struct weir_error *error)
{
    const struct request *request = &seat->request;
    seat_run(seat);
    if (request->status == WEIR_OK) return result_give(seat, bound, result, error);
    error_of_request(request, error);
    if (error && request->status == WEIR_PENDING)
        snprintf(error->request, sizeof error->request, "%.*s", STR_ARG(request->request_id));
    return request->status;
}

enum weir_status weir_wait(struct weir_engine *engine, const char *id, const struct weir_verb *verb,
                           void *result, struct weir_error *error)
{
    struct verb_bound *bound = NULL;
    if (error) memset(error, 0, sizeof *error);
    enum weir_status status = verb_bind(engine, verb, &bound, error);
    if (status != WEIR_OK) return status;
    struct seat *seat = seat_of_thread(engine);
    struct request *request = request_begin(seat, engine_wait_query(engine->engine));
    request->answer_id = arena_copy(&request->arena, str_of(id));
    request->waits = true;
    return request_end(seat, bound, result, error);
}

enum weir_status weir_request(struct weir_engine *engine, struct weir_ref to,
                              const struct weir_verb *verb, struct weir_str id, const void *args,
                              void *result, struct weir_error *error)
{
    struct verb_bound *bound = NULL;
    if (error) memset(error, 0, sizeof *error);
    enum weir_status status = verb_bind(engine, verb, &bound, error);
    if (status != WEIR_OK) return status;
    if (to.key.len > KEY_BYTES_MAX)
        return error_text(error, WEIR_TOOBIG, "a key is at most 1024 bytes");
    if (!bound->handler->type->service && to.key.len == 0)
        return error_text(error, WEIR_ARG, "the key is empty");
    struct seat *seat = seat_of_thread(engine);
    struct request *request = request_begin(seat, bound->handler);
    request->key = to.key;
    request->id = id;
    if (!request->key.ptr) request->key.ptr = "";
    status = args_take(seat, bound, args, error);
    if (status != WEIR_OK) return status;
    return request_end(seat, bound, result, error);
}

/* ---- opening and closing ---- */

static void app_close(struct weir_app *app)
{
    struct embed *embed = app->embed;
    struct catalog *catalog = app->catalog;
    app_deinit(app);
    catalog_destroy(catalog);
    mem_free(embed->data);
    mem_free(embed);
}

/* False with what is wrong. */
static bool options_read(struct embed *embed, char *why, size_t why_bytes)
{
    const char *policy = embed->options.conflict_policy;
    if (policy && !conflict_policy_read(str_of(policy), &embed->policy)) {
        snprintf(why, why_bytes, "conflict_policy is wound_wait, wait_die or no_wait");
        return false;
    }
    for (const char *const *limit = embed->options.limits; limit && *limit; limit++) {
        struct weir_str name;
        uint64_t value;
        if (!limit_read(*limit, &name, &value, why, why_bytes)) return false;
        if (engine_limit_set(&embed->limits, name, value)) continue;
        snprintf(why, why_bytes, "%s: the engine has no such limit", *limit);
        return false;
    }
    return true;
}

enum weir_status weir_open(const struct weir_options *options, struct weir_app **app,
                           struct weir_error *error)
{
    *app = NULL;
    if (error) memset(error, 0, sizeof *error);
    if (!options || options->size < sizeof(uint32_t) + sizeof(char *) || !options->data ||
        !options->data[0])
        return error_text(error, WEIR_CONFIG,
                          "struct weir_options: begin with WEIR_OPTIONS and set `data`");
    struct embed *embed = mem_alloc(sizeof *embed);
    size_t size = options->size < sizeof embed->options ? options->size : sizeof embed->options;
    memcpy(&embed->options, options, size);
    size_t len = strlen(options->data);
    embed->data = mem_alloc(len + 1);
    memcpy(embed->data, options->data, len);
    app_init(&embed->app, catalog_create());
    embed->app.embed = embed;
    char why[256];
    if (!options_read(embed, why, sizeof why)) {
        app_close(&embed->app);
        return error_text(error, WEIR_CONFIG, why);
    }
    *app = &embed->app;
    return WEIR_OK;
}

/* Opens the data; while a process that was just killed still holds it, tries again for a while. */
static enum weir_status data_open(struct weir_engine *engine, struct weir_error *error)
{
    struct embed *embed = engine->app->embed;
    uint32_t shards = embed->options.shards, threads = embed->options.threads;
    engine_shards_choose(signal_processors(), &shards, &threads);
    struct engine_options options = {
        .env = engine->env,
        .data = embed->data,
        .shards = shards,
        .threads = threads,
        .ports = 2, /* the program's requests; reports of asks */
        .catalog = engine->app->catalog,
        .limits = embed->limits,
        .conflict_policy = embed->policy,
    };
    struct store_recovery recovery;
    char why[512] = "";
    enum weir_status status = WEIR_LOCKED;
    wait_lock(engine->lock);
    for (unsigned waited = 0; waited <= OPEN_MS_MAX; waited += 50) {
        status = engine_open(&options, &engine->engine, &recovery, why, sizeof why);
        if (status != WEIR_LOCKED) break;
        wait_sleep(engine->lock, 50);
    }
    wait_unlock(engine->lock);
    struct outside_options outside = { .env = engine->env };
    if (status == WEIR_OK)
        status = asks_open(engine->engine, 1, &outside, &engine->asks, why, sizeof why);
    if (status != WEIR_OK)
        return error_text(error, status, why[0] ? why : weir_status_text(status));
    return WEIR_OK;
}

enum weir_status weir_start(struct weir_app *app, struct weir_engine **out,
                            struct weir_error *error)
{
    *out = NULL;
    if (error) memset(error, 0, sizeof *error);
    if (!app_finish(app)) {
        enum weir_status bad = error_text(error, WEIR_CONFIG, app->why);
        app_close(app);
        return bad;
    }
    struct weir_engine *engine = mem_alloc(sizeof *engine);
    engine->app = app;
    engine->env = env_real();
    engine->lock = wait_create();
    engine->inbox_end = &engine->inbox;
    enum weir_status status = data_open(engine, error);
    if (status == WEIR_OK) {
        engine->slot = wait_slot_create(seat_ended);
        if (!engine->slot)
            status = error_text(error, WEIR_FULL, "too many engines open in this process");
    }
    if (status != WEIR_OK) {
        asks_close(engine->asks);
        if (engine->engine) engine_close(engine->engine);
        wait_destroy(engine->lock);
        mem_free(engine);
        app_close(app);
        return status;
    }
    engine->door = (struct actor){
        .name = "door", .turn = door_turn, .self = engine, .helps = true, .prompt = true
    };
    engine->port = engine_port(engine->engine, 0, &engine->door);
    engine_start(engine->engine);
    engine->env->actor_start(engine->env, &engine->door);
    *out = engine;
    return WEIR_OK;
}

void weir_close(struct weir_engine *engine)
{
    if (!engine) return;
    wait_lock(engine->lock);
    for (unsigned waited = 0; waited < DRAIN_MS_MAX; waited++) {
        bool inside = engine_drain(engine->engine), outside = asks_drain(engine->asks);
        if (inside && outside) break;
        wait_sleep(engine->lock, 1);
    }
    wait_unlock(engine->lock);
    engine_stop(engine->engine); /* first: it wakes the actors below */
    engine->env->actor_stop(engine->env, &engine->door);
    asks_close(engine->asks);
    engine_close(engine->engine);
    wait_slot_destroy(engine->slot);
    while (engine->seats) {
        struct seat *seat = engine->seats;
        engine->seats = seat->next;
        seat_free(seat);
    }
    arena_free(&engine->arena);
    wait_destroy(engine->lock);
    app_close(engine->app);
    mem_free(engine);
}
