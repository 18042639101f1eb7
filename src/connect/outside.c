/*
 * outside.c - the life of calls: queues by host, attempts, backoff, giving up.
 *
 * Submitted calls and cancellations arrive in one inbox and ended calls leave by one list. Both are stacks that
 * many push to by compare-and-exchange and one takes whole by an exchange (Treiber, "Systems Programming: Coping
 * with Parallelism", IBM RJ 5118, 1986); taking all at once leaves no room for ABA, and reversing gives the order
 * of arrival back. The release of the push pairs with the acquire of the exchange.
 *
 * Everything between is the actor's. A call is in the heap from its arrival to its end, for the next moment at
 * which something is due: the end of its backoff, of its attempt, or of its patience. Deadlines on the wall
 * clock are looked at again at least every GIVE_UP_LOOK_MS, and always before an attempt begins.
 *
 * Cost per call without retries: two atomic exchanges, four heap operations, one search by id, one by host.
 * SPDX-License-Identifier: MIT
 */
#include "connect/connect_int.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define NS_PER_MS 1000000u
#define GIVE_UP_LOOK_MS 60000

/* A host and port, as long as calls to it are pending. */
struct host {
    struct tree_item by_origin;
    size_t calls; /* pending, in any phase */
    uint64_t in_flight;
    struct call *first, *last; /* READY, in order */
    bool listed;               /* among those that may begin an attempt */
    struct host *next;
    char origin[sizeof(((struct url *)NULL)->origin)];
};

struct outside {
    struct outside_options options;
    struct outside_limits limits;
    struct env *env;
    struct actor actor;
    struct outside_transport *transport;
    struct outside_transport *own_transport; /* NULL: the options' */
    bool started;

    /* pushed by any thread, taken by the actor; after outside_stop() by the owner */
    _Atomic(struct post *) inbox;
    /* pushed by the actor, taken by the owner */
    _Atomic(struct call *) ended;
    _Atomic uint64_t calls; /* submitted and not taken back: raised by any, lowered by the owner */
    _Atomic uint64_t untaken; /* in `ended` or `taken`: raised by the actor, lowered by the owner */
    _Atomic uint64_t in_flight_seen; /* the actor's number, for others to read */
    _Atomic bool draining, stopped;  /* set by the owner */
    _Atomic uint64_t attempts, answered, unknown;

    struct call *taken; /* the owner's: what it took from `ended`, in order */

    /* the actor's */
    struct tree ids, hosts;
    struct heap timed;
    struct host *host_first, *host_last; /* listed */
    uint64_t in_flight;
    uint64_t number; /* of the last call that arrived */
    struct call *attempts_ended;
    bool owner_due;
};

static uint64_t now_ns(struct outside *outside)
{
    return outside->env->mono_ns(outside->env);
}

static int64_t patience_ms(struct outside *outside, const struct call *call)
{
    int64_t now = outside->env->wall_ms(outside->env);
    return call->open.request.give_up_at_ms > now ? call->open.request.give_up_at_ms - now : 0;
}

/* ---- hosts ---- */

static void host_list(struct outside *outside, struct host *host)
{
    if (host->listed || !host->first || host->in_flight >= outside->limits.host_in_flight_max)
        return;
    host->listed = true;
    host->next = NULL;
    if (outside->host_last) outside->host_last->next = host;
    else outside->host_first = host;
    outside->host_last = host;
}

static struct host *host_unlist(struct outside *outside)
{
    struct host *host = outside->host_first;
    outside->host_first = host->next;
    if (!outside->host_first) outside->host_last = NULL;
    host->listed = false;
    return host;
}

static struct host *host_get(struct outside *outside, const char *origin)
{
    struct tree_item *found = tree_find(&outside->hosts, str_of(origin));
    if (found) return container_of(found, struct host, by_origin);
    struct host *host = mem_alloc(sizeof(*host));
    memcpy(host->origin, origin, strlen(origin));
    host->by_origin.key = str_of(host->origin);
    tree_add(&outside->hosts, &host->by_origin);
    return host;
}

static void host_let_go(struct outside *outside, struct host *host)
{
    ASSERT(host->calls > 0);
    if (--host->calls) return;
    ASSERT(!host->first && !host->in_flight);
    if (host->listed) {
        struct host **link = &outside->host_first, *last = NULL;
        for (; *link != host; link = &(*link)->next) last = *link;
        *link = host->next;
        if (outside->host_last == host) outside->host_last = last;
    }
    tree_remove(&outside->hosts, host->by_origin.key);
    mem_free(host);
}

/* ---- from phase to phase ---- */

static void call_time(struct outside *outside, struct call *call, uint64_t at)
{
    if (call->timed.place) heap_remove(&outside->timed, &call->timed);
    call->timed.at = (int64_t)at;
    heap_add(&outside->timed, &call->timed);
}

/* When a call that waits is looked at next: at `due_ns`, or when its patience may be over. */
static void call_time_patience(struct outside *outside, struct call *call, uint64_t now,
                               uint64_t due_ns)
{
    int64_t left = patience_ms(outside, call);
    if (left > GIVE_UP_LOOK_MS) left = GIVE_UP_LOOK_MS;
    uint64_t look = now + (uint64_t)left * NS_PER_MS;
    call_time(outside, call, look < due_ns ? look : due_ns);
}

static void call_ready(struct outside *outside, struct call *call, uint64_t now)
{
    struct host *host = call->host;
    call->phase = CALL_READY;
    call->next = NULL;
    call->previous = host->last;
    if (host->last) host->last->next = call;
    else host->first = call;
    host->last = call;
    host_list(outside, host);
    call_time_patience(outside, call, now, UINT64_MAX);
}

static void call_unready(struct call *call)
{
    struct host *host = call->host;
    if (call->previous) call->previous->next = call->next;
    else host->first = call->next;
    if (call->next) call->next->previous = call->previous;
    else host->last = call->previous;
    call->previous = call->next = NULL;
}

static void in_flight_add(struct outside *outside, struct call *call, int n)
{
    outside->in_flight += (uint64_t)n;
    call->host->in_flight += (uint64_t)n;
    atomic_store_explicit(&outside->in_flight_seen, outside->in_flight, memory_order_release);
    if (n < 0) host_list(outside, call->host);
}

static void call_finish(struct outside *outside, struct call *call, enum outside_outcome outcome)
{
    struct host *host = call->host;
    ASSERT(call->phase != CALL_DONE && call->phase != CALL_RUNNING);
    if (call->phase == CALL_READY) call_unready(call);
    if (call->timed.place) heap_remove(&outside->timed, &call->timed);
    struct tree_item *removed = tree_remove(&outside->ids, call->by_id.key);
    ASSERT(removed == &call->by_id);
    call->host = NULL;
    buf_free(&call->attempt.location);
    host_let_go(outside, host);
    call->phase = CALL_DONE;
    call->open.outcome = outcome;
    if (outcome == OUTSIDE_ANSWERED) {
        call->open.body = buf_str(&call->attempt.body);
        call->open.content_type = str_of(call->attempt.content_type);
        atomic_fetch_add_explicit(&outside->answered, 1, memory_order_relaxed);
    } else {
        buf_free(&call->attempt.body);
        if (outcome == OUTSIDE_UNKNOWN)
            atomic_fetch_add_explicit(&outside->unknown, 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&outside->untaken, 1, memory_order_relaxed);
    struct call *top = atomic_load_explicit(&outside->ended, memory_order_relaxed);
    do call->next = top;
    while (!atomic_compare_exchange_weak_explicit(&outside->ended, &top, call, memory_order_release,
                                                  memory_order_relaxed));
    outside->owner_due = true;
}

static void call_give_up(struct outside *outside, struct call *call)
{
    if (!call->open.error[0])
        snprintf(call->open.error, sizeof(call->open.error), "time was up before an attempt");
    call_finish(outside, call, OUTSIDE_UNKNOWN);
}

/* ---- attempts ---- */

static void call_begin(struct outside *outside, struct call *call, uint64_t now)
{
    struct outside_attempt *attempt = &call->attempt;
    uint64_t left = (uint64_t)patience_ms(outside, call);
    ASSERT(call->phase == CALL_READY);
    if (left == 0) {
        call_give_up(outside, call);
        return;
    }
    call_unready(call);
    call->phase = CALL_RUNNING;
    in_flight_add(outside, call, 1);
    call->open.attempts++;
    atomic_fetch_add_explicit(&outside->attempts, 1, memory_order_relaxed);

    /* where a redirect led to stands in `location`, and is where this attempt goes on */
    if (!call->redirects) buf_reset(&attempt->location);
    attempt->url = call->redirects ? attempt->location.ptr : call->url;
    attempt->request = &call->open.request;
    attempt->method = call->method;
    attempt->header_lines = call->header_lines;
    attempt->number = call->open.attempts;
    attempt->answer_bytes_max = outside->limits.answer_bytes_max;
    attempt->answer_header_bytes_max = outside->limits.answer_header_bytes_max;
    attempt->status = 0;
    attempt->body_cut = false;
    attempt->retry_after_ms = 0;
    attempt->content_type[0] = 0;
    attempt->error = call->open.error;
    attempt->error_bytes = sizeof(call->open.error);
    attempt->signature = NULL;
    buf_reset(&attempt->body);
    if (call->secret.len) {
        char value[OUTSIDE_SIGNATURE_BYTES];
        int64_t unix_s = outside->env->wall_ms(outside->env) / 1000;
        outside_sign(call->secret, unix_s, call->open.request.body, value);
        snprintf(call->signature, sizeof(call->signature), OUTSIDE_SIGNATURE_HEADER ": %s", value);
        attempt->signature = call->signature;
    }
    uint64_t timeout = call->open.request.timeout_ms < left ? call->open.request.timeout_ms : left;
    call_time(outside, call, now + timeout * NS_PER_MS);
    outside->transport->begin(outside->transport->self, attempt);
}

static void calls_begin(struct outside *outside, uint64_t now)
{
    if (atomic_load_explicit(&outside->draining, memory_order_acquire)) return;
    while (outside->host_first && outside->in_flight < outside->limits.in_flight_max &&
           atomic_load(&outside->untaken) < outside->limits.untaken_max) {
        /* one attempt for each host in turn: a busy one does not hold up the others */
        struct host *host = host_unlist(outside);
        if (!host->first) continue;
        host->calls++; /* it must outlive its last call here */
        call_begin(outside, host->first, now);
        host_list(outside, host);
        host_let_go(outside, host);
    }
}

/* Half of the delay is fixed and half drawn: "equal jitter", so that calls that failed together part. */
static uint64_t backoff_ms(struct outside *outside, const struct call *call)
{
    const struct outside_request *request = &call->open.request;
    uint64_t delay = request->backoff_ms;
    for (unsigned i = 1; i < call->failed && delay < request->backoff_ms_max; i++) delay *= 2;
    if (delay > request->backoff_ms_max) delay = request->backoff_ms_max;
    delay = delay / 2 + outside->env->random(outside->env) % (delay / 2 + 1);
    if (call->attempt.retry_after_ms <= (int64_t)delay) return delay;
    /* as the service asked, and not all at the same moment */
    return (uint64_t)call->attempt.retry_after_ms +
           outside->env->random(outside->env) % (request->backoff_ms + 1);
}

static void call_retry(struct outside *outside, struct call *call, uint64_t now)
{
    call->failed++;
    call->redirects = 0;
    call->phase = CALL_WAITING;
    buf_free(&call->attempt.body);
    uint64_t delay = ENV_CHANCE(outside->env, "outside.again_now") ? 0 : backoff_ms(outside, call);
    /* what would begin too late is given up now: its owner need not wait for nothing */
    if (delay >= (uint64_t)patience_ms(outside, call)) {
        call_give_up(outside, call);
        return;
    }
    call->due_ns = now + delay * NS_PER_MS;
    call_time_patience(outside, call, now, call->due_ns);
}

static bool status_is_final(const struct outside_request *request, int status)
{
    if (request->only_2xx) return status >= 200 && status <= 299;
    if (status == 408 || status == 425 || status == 429 || status >= 500) return false;
    for (size_t i = 0; i < request->retry_count; i++)
        if (request->retry[i] == status) return false;
    return true;
}

/* A redirect that may be followed keeps method and body (307, 308), or has no body to lose, and stays where the
 * call was meant to go: elsewhere neither its headers nor its secrets have any business. */
static bool attempt_leads_on(const struct call *call)
{
    struct url to;
    char error[128];
    int status = call->attempt.status;
    bool reads = strcmp(call->method, "GET") == 0 || strcmp(call->method, "HEAD") == 0;
    bool kind = status == 307 || status == 308 ||
                (reads && (status == 301 || status == 302 || status == 303));
    return kind && call->redirects < call->open.request.redirects_max &&
           call->attempt.location.len &&
           url_parse(call->attempt.location.ptr, &to, error, sizeof(error)) &&
           to.https == call->at.https && strcmp(to.origin, call->at.origin) == 0;
}

static void attempt_judge(struct outside *outside, struct call *call, uint64_t now)
{
    struct outside_attempt *attempt = &call->attempt;
    ASSERT(call->phase == CALL_RUNNING);
    call->phase = CALL_WAITING;
    in_flight_add(outside, call, -1);
    if (ENV_CHANCE(outside->env, "outside.answer_lost")) attempt->status = 0;
    if (attempt->status == 0) {
        call_retry(outside, call, now);
        return;
    }
    call->open.status = attempt->status;
    if (attempt_leads_on(call)) {
        call->redirects++;
        call_ready(outside, call, now);
        return;
    }
    if (!status_is_final(&call->open.request, attempt->status)) {
        snprintf(call->open.error, sizeof(call->open.error), "answered with status %d",
                 attempt->status);
        call_retry(outside, call, now);
        return;
    }
    call->open.error[0] = 0;
    call->open.body_cut = attempt->body_cut;
    if (attempt->body_cut)
        snprintf(call->open.error, sizeof(call->open.error),
                 "the answer has more than answer_bytes_max, %zu bytes, and was cut",
                 attempt->body.len);
    call_finish(outside, call, OUTSIDE_ANSWERED);
}

void outside_attempt_end(struct outside_attempt *attempt)
{
    struct call *call = container_of(attempt, struct call, attempt);
    ASSERT(call->phase == CALL_RUNNING && !call->next);
    call->previous = NULL;
    call->next = call->outside->attempts_ended;
    call->outside->attempts_ended = call;
}

static bool attempts_judge(struct outside *outside)
{
    struct call *call = NULL, *next = outside->attempts_ended;
    outside->attempts_ended = NULL;
    for (struct call *at = next; at; at = next) {
        next = at->next;
        at->next = call;
        call = at;
    }
    if (!call) return false;
    uint64_t now = now_ns(outside);
    for (; call; call = next) {
        next = call->next;
        call->next = NULL;
        attempt_judge(outside, call, now);
    }
    return true;
}

/* Breaks off a running attempt; the call then is in no queue. */
static void attempt_drop(struct outside *outside, struct call *call)
{
    outside->transport->drop(outside->transport->self, &call->attempt);
    call->phase = CALL_WAITING;
    in_flight_add(outside, call, -1);
}

/* ---- time ---- */

/* An attempt that was cut short tells nothing new: what went wrong before it says more. */
static void timeout_tell(struct outside *outside, struct call *call)
{
    struct outside_call *open = &call->open;
    if (patience_ms(outside, call) > 0)
        snprintf(open->error, sizeof(open->error), "no answer in time (%llu ms)",
                 (unsigned long long)open->request.timeout_ms);
    else if (!open->error[0])
        snprintf(open->error, sizeof(open->error), "no answer before time was up");
}

static void call_wake(struct outside *outside, struct call *call, uint64_t now)
{
    if (call->phase == CALL_RUNNING) {
        attempt_drop(outside, call);
        call->attempt.retry_after_ms = 0;
        timeout_tell(outside, call);
        call_retry(outside, call, now);
    } else if (patience_ms(outside, call) == 0) {
        call_give_up(outside, call);
    } else if (call->phase == CALL_WAITING && call->due_ns <= now) {
        call_ready(outside, call, now);
    } else {
        call_time_patience(outside, call, now,
                           call->phase == CALL_WAITING ? call->due_ns : UINT64_MAX);
    }
}

static void calls_wake(struct outside *outside, uint64_t now)
{
    for (;;) {
        struct heap_item *first = heap_min(&outside->timed);
        if (!first || (uint64_t)first->at > now) return;
        struct call *call = container_of(first, struct call, timed);
        heap_remove(&outside->timed, first);
        call_wake(outside, call, now);
    }
}

/* ---- the inbox ---- */

static void call_arrive(struct outside *outside, struct call *call)
{
    uint64_t number = ++outside->number;
    struct weir_str *key = &call->by_id.key;
    /* the room behind the id was left by call_fill(): a NUL and eight bytes */
    char *end = (char *)call + (key->ptr - (char *)call) + key->len + 1;
    for (int i = 7; i >= 0; i--, number >>= 8) end[i] = (char)(number & 0xff);
    key->len += 1 + 8;
    tree_add(&outside->ids, &call->by_id);
    call->timed.tie = outside->number;
    call->host = host_get(outside, call->at.origin);
    call->host->calls++;
    call_ready(outside, call, now_ns(outside));
}

static void calls_cancel(struct outside *outside, struct weir_str id)
{
    struct buf from = { 0 };
    buf_add_str(&from, id);
    buf_add_byte(&from, 0);
    for (;;) {
        struct tree_item *found = tree_seek(&outside->ids, buf_str(&from), false);
        struct call *call = found ? container_of(found, struct call, by_id) : NULL;
        if (!call || !str_eq(call->open.request.id, id)) break;
        if (call->phase == CALL_RUNNING) attempt_drop(outside, call);
        call_finish(outside, call, OUTSIDE_CANCELLED);
    }
    buf_free(&from);
}

static void inbox_push(struct outside *outside, struct post *post)
{
    struct post *top = atomic_load_explicit(&outside->inbox, memory_order_relaxed);
    do post->next = top;
    while (!atomic_compare_exchange_weak_explicit(&outside->inbox, &top, post, memory_order_release,
                                                  memory_order_relaxed));
    outside->env->actor_wake(outside->env, &outside->actor);
}

static void inbox_take(struct outside *outside)
{
    struct post *top = atomic_exchange_explicit(&outside->inbox, NULL, memory_order_acquire);
    struct post *post = NULL, *next = NULL;
    for (; top; top = next) {
        next = top->next;
        top->next = post;
        post = top;
    }
    for (; post; post = next) {
        next = post->next;
        if (!post->cancels) {
            call_arrive(outside, container_of(post, struct call, post));
            continue;
        }
        struct cancel *cancel = container_of(post, struct cancel, post);
        calls_cancel(outside, cancel->id);
        mem_free(cancel);
    }
}

static void owner_wake(struct outside *outside)
{
    if (!outside->owner_due) return;
    outside->owner_due = false;
    if (outside->options.owner) outside->env->actor_wake(outside->env, outside->options.owner);
}

static uint64_t outside_turn(void *self)
{
    struct outside *outside = self;
    if (ENV_CHANCE(outside->env, "outside.late")) return 0;
    inbox_take(outside);
    uint64_t now = now_ns(outside);
    calls_wake(outside, now);
    calls_begin(outside, now);
    owner_wake(outside);
    struct heap_item *first = heap_min(&outside->timed);
    uint64_t until = first ? (uint64_t)first->at : ENV_NEVER;
    uint64_t next = outside->transport->turn(outside->transport->self, until);
    if (attempts_judge(outside)) return 0; /* the next turn wakes the owner and begins others */
    return next < until ? next : until;
}

/* ---- the door ---- */

struct outside *outside_create(const struct outside_options *options)
{
    struct outside *outside = mem_alloc(sizeof(*outside));
    outside->options = *options;
    outside->env = options->env;
    outside->limits = options->limits;
#define X(name, value, text)                                                                       \
    if (!outside->limits.name) outside->limits.name = (value);
    OUTSIDE_LIMITS(X)
#undef X
    outside->transport = options->transport;
    if (!outside->transport)
        outside->transport = outside->own_transport = curl_transport_create(options);
    outside->actor = (struct actor){ .name = "outside", .turn = outside_turn, .self = outside };
    return outside;
}

enum weir_status outside_start(struct outside *outside, char *error, size_t error_bytes)
{
    struct outside_transport *transport = outside->transport;
    ASSERT(!outside->started && !atomic_load(&outside->stopped));
    enum weir_status status = transport->start(transport->self, outside->env, &outside->actor,
                                               error, error_bytes);
    if (status != WEIR_OK) return status;
    int rc = outside->env->actor_start(outside->env, &outside->actor);
    if (rc < 0) {
        transport->stop(transport->self);
        snprintf(error, error_bytes, "the thread for outside calls did not start: %s",
                 strerror(-rc));
        return WEIR_IO;
    }
    outside->started = true;
    return WEIR_OK;
}

static bool host_is_allowed(const struct outside *outside, const struct url *at)
{
    if (!outside->options.allow) return true;
    for (const char *const *name = outside->options.allow; *name; name++)
        if (strcmp(*name, at->host) == 0 || strcmp(*name, at->origin) == 0) return true;
    return false;
}

enum weir_status outside_submit(struct outside *outside, struct outside_call *open)
{
    struct call *call = call_of(open);
    ASSERT(call->phase == CALL_NEW && !call->outside);
    if (atomic_load(&outside->stopped)) return WEIR_SHUTDOWN;
    if (!host_is_allowed(outside, &call->at)) return WEIR_DENIED;
    if (open->request.body.len > outside->limits.request_bytes_max) return WEIR_TOOBIG;
    if (atomic_fetch_add(&outside->calls, 1) >= outside->limits.calls_max ||
        ENV_CHANCE(outside->env, "outside.full")) {
        atomic_fetch_sub(&outside->calls, 1);
        return WEIR_FULL;
    }
    call->outside = outside;
    inbox_push(outside, &call->post);
    return WEIR_OK;
}

void outside_cancel(struct outside *outside, struct weir_str id)
{
    if (id.len == 0 || id.len > OUTSIDE_ID_BYTES_MAX || atomic_load(&outside->stopped)) return;
    struct cancel *cancel = mem_alloc(sizeof(*cancel) + id.len);
    memcpy(cancel + 1, id.ptr, id.len);
    cancel->id = (struct weir_str){ (char *)(cancel + 1), id.len };
    cancel->post.cancels = true;
    inbox_push(outside, &cancel->post);
}

/* Everything pending goes back. The actor is gone: its state is the caller's now. */
static void calls_abandon(struct outside *outside)
{
    inbox_take(outside);
    for (;;) {
        struct tree_item *found = tree_seek(&outside->ids, STR(""), false);
        if (!found) return;
        struct call *call = container_of(found, struct call, by_id);
        if (call->phase == CALL_RUNNING) attempt_drop(outside, call);
        call_finish(outside, call, OUTSIDE_ABANDONED);
    }
}

struct outside_call *outside_next(struct outside *outside)
{
    if (!outside->taken) {
        /* a submission that passed outside_stop() on its way */
        if (atomic_load(&outside->stopped)) calls_abandon(outside);
        struct call *top = atomic_exchange_explicit(&outside->ended, NULL, memory_order_acquire);
        for (struct call *next; top; top = next) {
            next = top->next;
            top->next = outside->taken;
            outside->taken = top;
        }
    }
    struct call *call = outside->taken;
    if (!call) return NULL;
    outside->taken = call->next;
    call->next = NULL;
    atomic_fetch_sub(&outside->calls, 1);
    /* the actor may have stopped to begin attempts because of these */
    if (atomic_fetch_sub(&outside->untaken, 1) == outside->limits.untaken_max)
        outside->env->actor_wake(outside->env, &outside->actor);
    return &call->open;
}

bool outside_drain(struct outside *outside)
{
    /* The first call only asks; the actor has seen it when a turn has passed: so in_flight_seen may still rise
     * after a true here. Harmless: outside_stop() breaks such an attempt off like any other. */
    atomic_store_explicit(&outside->draining, true, memory_order_release);
    return atomic_load_explicit(&outside->in_flight_seen, memory_order_acquire) == 0;
}

void outside_stop(struct outside *outside)
{
    if (atomic_exchange(&outside->stopped, true)) return;
    if (outside->started) outside->env->actor_stop(outside->env, &outside->actor);
    calls_abandon(outside);
    if (outside->started) outside->transport->stop(outside->transport->self);
    outside->started = false;
}

void outside_destroy(struct outside *outside)
{
    if (!outside) return;
    outside_stop(outside);
    for (struct outside_call *call; (call = outside_next(outside));) outside_call_free(call);
    ASSERT(!outside->ids.count && !outside->hosts.count && !outside->timed.count);
    tree_free(&outside->ids);
    tree_free(&outside->hosts);
    heap_free(&outside->timed);
    if (outside->own_transport) curl_transport_destroy(outside->own_transport);
    mem_free(outside);
}

struct outside_stats outside_stats(const struct outside *outside)
{
    return (struct outside_stats){
        .calls = atomic_load(&outside->calls),
        .in_flight = atomic_load(&outside->in_flight_seen),
        .attempts = atomic_load(&outside->attempts),
        .answered = atomic_load(&outside->answered),
        .unknown = atomic_load(&outside->unknown),
    };
}
