/*
 * asks.c - one actor between the engine and outside.c: a request that is durable becomes a call, the call's end a report.
 *
 * A report is an ordinary request (core/ask.h); it is made again until the engine has taken it, so an answer is never
 * lost to an overload. One that the engine stops for stays a row.
 * SPDX-License-Identifier: MIT
 */
#include "connect/asks.h"

#include "base/assert.h"
#include "base/mark.h"
#include "core/ask.h"

_Static_assert(ASK_URL_BYTES_MAX == OUTSIDE_URL_BYTES_MAX,
               "what is refused when it is asked, and when it is sent");

#define AGAIN_NS UINT64_C(200000000)

/* A report on its way into the engine, or waiting to be made again. */
struct report {
    struct request request; /* first: port_next() gives back its address */
    struct report *next;
    struct ask *ask;
    struct outside_call *call;
    uint64_t again_ns;
};

struct asks {
    struct actor actor;
    struct engine *engine;
    struct env *env;
    struct port *port;
    struct outside *outside;
    struct ask *held; /* outside_submit() had no room */
    struct report *waiting;
    bool started;
};

static void report_free(struct report *r)
{
    arena_free(&r->request.arena);
    if (r->call != NULL) outside_call_free(r->call);
    ask_free(r->ask);
    mem_free(r);
}

static void report_send(struct asks *asks, struct report *r)
{
    struct arena arena = r->request.arena;
    const struct outside_call *call = r->call;
    arena_reset(&arena);
    r->request = (struct request){ .arena = arena };
    bool answered = call != NULL && call->outcome == OUTSIDE_ANSWERED;
    ask_report(asks->engine, r->ask, answered ? ASK_ANSWERED : ASK_UNKNOWN, call ? call->status : 0,
               call ? call->body : STR(""), call ? str_of(call->error) : STR("it cannot be sent"),
               &r->request);
    port_submit(asks->port, &r->request, asks->env->mono_ns(asks->env));
}

static void report_begin(struct asks *asks, struct ask *ask, struct outside_call *call)
{
    struct report *r = mem_alloc(sizeof(*r));
    r->ask = ask;
    r->call = call;
    report_send(asks, r);
}

/* The call of a request; NULL with what is wrong in `error`. */
static struct outside_call *call_of(struct ask *ask, char *error, size_t error_bytes)
{
    const struct outside_def *def = ask->outside;
    struct outside_call *call = NULL;
    struct outside_header *headers = arena_alloc(&ask->arena,
                                                 (def->header_count + 1) * sizeof(*headers));
    for (uint32_t i = 0; i < def->header_count; i++)
        headers[i] = (struct outside_header){ def->header_names[i], def->header_values[i] };
    int64_t give_up = def->give_up_ms ? def->give_up_ms : OUTSIDE_GIVE_UP_MS_DEFAULT;
    struct outside_request request = { .url = def->url,
                                       .line = ask->line,
                                       .headers = headers,
                                       .header_count = def->header_count,
                                       .body = ask->body,
                                       .id = ask->id,
                                       .id_header = def->id_header,
                                       .secret = def->secret,
                                       .retry = def->retry,
                                       .retry_count = def->retry_count,
                                       .only_2xx = !ask->answered_to,
                                       .timeout_ms = (uint64_t)def->timeout_ms,
                                       .give_up_at_ms = ask->made_ms + give_up };
    if (outside_call_create(&request, &call, error, error_bytes) != WEIR_OK) return NULL;
    call->user = ask;
    return call;
}

/* False when there is no room now: it is held, and nothing is taken meanwhile. */
static bool ask_send(struct asks *asks, struct ask *ask)
{
    char error[256] = "the application has no such service outside any more";
    struct outside_call *call = ask->outside != NULL ? call_of(ask, error, sizeof(error)) : NULL;
    if (call == NULL) {
        report_begin(asks, ask, NULL);
        return true;
    }
    enum weir_status st = outside_submit(asks->outside, call);
    if (st == WEIR_OK) return true;
    outside_call_free(call);
    if (st == WEIR_FULL) {
        MARK("no room for a call outside");
        asks->held = ask;
        return false;
    }
    if (st == WEIR_SHUTDOWN) ask_free(ask); /* the row has it */
    else report_begin(asks, ask, NULL);
    return true;
}

/* Reports that are to be made again now; when the next one is. */
static uint64_t reports_again(struct asks *asks, uint64_t now)
{
    uint64_t next = ENV_NEVER;
    for (struct report **at = &asks->waiting; *at != NULL;) {
        struct report *r = *at;
        if (r->again_ns <= now) {
            *at = r->next;
            report_send(asks, r);
            continue;
        }
        if (r->again_ns < next) next = r->again_ns;
        at = &r->next;
    }
    return next;
}

/* Done, or nothing that another try would change: the row tells after a restart. True: one waits to be made again. */
static bool reports_take(struct asks *asks, uint64_t now)
{
    bool again = false;
    for (struct request *request; (request = port_next(asks->port)) != NULL;) {
        struct report *r = (struct report *)request;
        bool refused = request->status == WEIR_OVERLOADED || request->status == WEIR_TIMEOUT ||
                       request->status == WEIR_DISKFULL || request->status == WEIR_OOM;
        bool twice = request->status == WEIR_OK && ENV_CHANCE(asks->env, "asks.report_twice");
        if (!refused && !twice) {
            report_free(r);
            continue;
        }
        if (refused) MARK("a report is refused");
        if (twice) MARK("a report is made though it was done");
        r->again_ns = now + AGAIN_NS;
        r->next = asks->waiting;
        asks->waiting = r;
        again = true;
    }
    return again;
}

static uint64_t asks_turn(void *self)
{
    struct asks *asks = self;
    if (ENV_CHANCE(asks->env, "asks.late")) return 0;
    uint64_t now = asks->env->mono_ns(asks->env), next = reports_again(asks, now);
    for (struct outside_call *call; (call = outside_next(asks->outside)) != NULL;) {
        struct ask *ask = call->user;
        if (call->outcome == OUTSIDE_ABANDONED) {
            outside_call_free(call);
            ask_free(ask);
            continue;
        }
        report_begin(asks, ask, call);
    }
    bool room = true;
    if (asks->held != NULL) {
        struct ask *held = asks->held;
        asks->held = NULL;
        room = ask_send(asks, held);
    }
    for (struct ask *ask; room && (ask = ask_next(asks->engine)) != NULL;)
        room = ask_send(asks, ask);
    port_flush(asks->port);
    /* Last: a report that the engine refuses (it drains) is answered at once, and nobody wakes for that. */
    bool again = reports_take(asks, now);
    if ((again || !room) && next > now + AGAIN_NS) next = now + AGAIN_NS;
    return next;
}

enum weir_status asks_open(struct engine *engine, uint32_t port,
                           const struct outside_options *options, struct asks **out, char *error,
                           size_t error_bytes)
{
    *out = NULL;
    if (engine_catalog(engine)->outside_count == 0) return WEIR_OK;
    struct asks *asks = mem_alloc(sizeof(*asks));
    asks->engine = engine;
    asks->env = engine_env(engine);
    asks->actor = (struct actor){ .name = "weir-asks", .turn = asks_turn, .self = asks };
    asks->port = engine_port(engine, port, &asks->actor);
    struct outside_options outside = *options;
    outside.env = asks->env;
    outside.owner = &asks->actor;
    asks->outside = outside_create(&outside);
    enum weir_status st = outside_start(asks->outside, error, error_bytes);
    if (st != WEIR_OK) {
        outside_destroy(asks->outside);
        mem_free(asks);
        return st;
    }
    ask_sender(engine, &asks->actor);
    asks->env->actor_start(asks->env, &asks->actor);
    asks->env->actor_wake(asks->env, &asks->actor);
    *out = asks;
    return WEIR_OK;
}

bool asks_drain(struct asks *asks)
{
    return asks == NULL || outside_drain(asks->outside);
}

void asks_close(struct asks *asks)
{
    if (asks == NULL) return;
    asks->env->actor_stop(asks->env, &asks->actor);
    ask_sender(asks->engine, NULL);
    outside_stop(asks->outside);
    for (struct outside_call *call; (call = outside_next(asks->outside)) != NULL;) {
        ask_free(call->user);
        outside_call_free(call);
    }
    outside_destroy(asks->outside);
    /* Reports that the engine still has go with it; those in its port are taken back first. */
    for (struct request *request; (request = port_next(asks->port)) != NULL;)
        report_free((struct report *)request);
    while (asks->waiting != NULL) {
        struct report *r = asks->waiting;
        asks->waiting = r->next;
        report_free(r);
    }
    if (asks->held != NULL) ask_free(asks->held);
    mem_free(asks);
}
