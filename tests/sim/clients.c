/*
 * clients.c - the simulator's clients: what they ask for, what they expect, what they write down.
 *
 * A request with an id that was not settled (the answer was lost, or a refusal said that nothing was applied) is
 * sent again under its id until it is. Each client has a thing of its own and knows what must be in it.
 * SPDX-License-Identifier: MIT
 */
#include "swarm.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"

/* ---- history lines: tests/check ---- */

static void write_op(struct world *w, const struct op *op, const struct op_result *r)
{
    FILE *f = w->history;
    switch ((enum op_kind)op->kind) {
    case OP_APPEND:
        fprintf(f, "[\"append\",\"%.*s\",%" PRId64, STR_ARG(op->key), op->value);
        if (r) fprintf(f, ",%" PRId64, r->a);
        break;
    case OP_READ:
        fprintf(f, "[\"read\",\"%.*s\"", STR_ARG(op->key));
        if (r) {
            fprintf(f, ",[");
            for (size_t i = 0; i < r->items.count; i++) fprintf(f, "%s%" PRId64, i ? "," : "", ((int64_t *)r->items.items)[i]);
            fprintf(f, "]");
        }
        break;
    case OP_WRITE:
        fprintf(f, "[\"write\",\"%.*s\",%" PRId64, STR_ARG(op->key), op->value);
        if (r) fprintf(f, ",%" PRId64, r->a);
        break;
    case OP_GET:
        fprintf(f, "[\"read\",\"%.*s\"", STR_ARG(op->key));
        if (r) fprintf(f, ",%" PRId64, r->a);
        break;
    case OP_TRANSFER:
    case OP_CYCLE:
        fprintf(f, "[\"transfer\",\"%.*s\",\"%.*s\",%" PRId64, STR_ARG(op->key), STR_ARG(op->to), op->value);
        if (r) fprintf(f, ",[%" PRId64 ",%" PRId64 "],[%" PRId64 ",%" PRId64 "]", r->a, r->b, r->c, r->d);
        if (op->kind == OP_TRANSFER) break;
        fprintf(f, "],[\"deposit\",\"%.*s\",0", STR_ARG(op->key));
        if (r) fprintf(f, ",[%" PRId64 ",%" PRId64 "]", r->a + 1, r->b - op->value);
        break;
    case OP_AUDIT:
        fprintf(f, "[\"read\",\"%.*s\"", STR_ARG(op->key));
        if (r) fprintf(f, ",[%" PRId64 ",%" PRId64 "]", r->a, r->b);
        break;
    }
    fprintf(f, "]");
}

static uint32_t shard_of(const struct world *w, struct weir_str key)
{
    return (uint32_t)(hash64(0, key.ptr, key.len) % SLOTS % w->shards);
}

static void write_txn(struct world *w, struct client *c, const char *outcome, uint64_t end, const struct op_result *results)
{
    FILE *f = w->history;
    struct request *r = &c->request;
    uint64_t mask = 0;
    if (f == NULL) return;
    for (size_t i = 0; i < c->ops.ops.count; i++) {
        mask |= UINT64_C(1) << shard_of(w, c->list[i].key);
        if (c->list[i].to.len) mask |= UINT64_C(1) << shard_of(w, c->list[i].to);
    }
    fprintf(f, "%s c=%d s=%" PRIu64 " e=%" PRIu64 " shards=%d r=%s", w->final ? "f" : "t", (int)(c - w->clients), c->start, end,
            __builtin_popcountll(mask), outcome);
    if (c->with_id) fprintf(f, " id=%" PRIu64, c->number);
    if (outcome[0] == 'f')
        fprintf(f, " x=%.*s", STR_ARG(r->code.len ? r->code : str_of(weir_status_word(r->status))));
    fprintf(f, " o=[");
    if (outcome[0] == 'f' && c->how == HOW_TRANSFER && r->detail.len > 0 && r->detail.ptr[0] == '[') {
        fprintf(f, "[\"read\",\"%.*s\",%.*s]]\n", STR_ARG(c->list[0].key), STR_ARG(r->detail));
        return;
    }
    for (size_t i = 0; i < c->ops.ops.count; i++) {
        if (i) fprintf(f, ",");
        write_op(w, &c->list[i], results ? &results[i] : NULL);
    }
    fprintf(f, "]\n");
}

/* ---- intentions ---- */

static struct weir_str name_of(struct client *c, int slot, char kind, uint64_t n)
{
    int len = snprintf(c->names[slot], sizeof(c->names[slot]), "%c%" PRIu64, kind, n);
    return (struct weir_str){ c->names[slot], (size_t)len };
}

static void make_op(struct world *w, struct client *c, int i)
{
    static const enum op_kind draws[] = { OP_APPEND, OP_APPEND, OP_READ, OP_READ, OP_WRITE, OP_WRITE, OP_GET, OP_TRANSFER,
                                          OP_TRANSFER, OP_TRANSFER, OP_AUDIT, OP_CYCLE };
    struct sim *sim = w->sim;
    struct op *op = &c->list[i];
    uint64_t age = w->begun / LIST_AGE;
    *op = (struct op){ .value = (int64_t)(c->number * 16 + (uint64_t)i + 1) };
    bool hot = sim_choose(sim, 3) == 0;
    do op->kind = draws[sim_choose(sim, sizeof(draws) / sizeof(draws[0]))];
    while (!w->plan.kinds[op->kind]);
    if (op->kind == OP_APPEND || op->kind == OP_READ) {
        op->key = name_of(c, 2 * i, 'l', age * LISTS + (hot ? 0 : sim_choose(sim, LISTS)));
    } else if (op->kind == OP_WRITE || op->kind == OP_GET) {
        op->key = name_of(c, 2 * i, 'r', hot ? 0 : sim_choose(sim, REGS));
    } else {
        uint64_t from = sim_choose(sim, ACCOUNTS), to = sim_choose(sim, ACCOUNTS - 1);
        if (hot && sim_choose(sim, 2)) from = 0;
        else if (hot && from > 0) to = 0;
        op->key = name_of(c, 2 * i, 'a', from);
        if (op->kind != OP_AUDIT) op->to = name_of(c, 2 * i + 1, 'a', to >= from ? to + 1 : to);
        op->value = op->kind == OP_CYCLE ? 1 : (int64_t)sim_choose(sim, 60) + 1;
    }
}

static bool is_read(const struct op *op)
{
    return op->kind == OP_READ || op->kind == OP_GET || op->kind == OP_AUDIT;
}

static void intend_work(struct world *w, struct client *c)
{
    struct sim *sim = w->sim;
    const struct plan *p = &w->plan;
    c->kind = C_WORK;
    c->with_id = p->ids && sim_choose(sim, 3) == 0;
    if (p->direct && p->kinds[OP_TRANSFER] && sim_choose(sim, 100) < 30) {
        c->how = HOW_TRANSFER;
        c->ops.ops = (struct weir_list){ c->list, 1 };
        do make_op(w, c, 0);
        while (c->list[0].kind != OP_TRANSFER);
        c->move.to.key = c->list[0].to;
        c->move.amount = c->list[0].value;
        return;
    }
    bool reads = p->kinds[OP_READ] || p->kinds[OP_GET] || p->kinds[OP_AUDIT];
    bool look = reads && sim_choose(sim, 4) == 0; /* reads only: answered by what it read (H6) */
    c->how = look ? HOW_LOOK : HOW_RUN;
    if (look) c->with_id = false;
    c->ops.ops = (struct weir_list){ c->list, 1 + sim_choose(sim, 8) };
    for (size_t i = 0; i < c->ops.ops.count; i++) {
        do make_op(w, c, (int)i);
        while (look && !is_read(&c->list[i]));
    }
}

/* The content of an act follows from its number, so that a repeat is the same request. */
static void act_of(struct world *w, struct client *c, uint64_t number)
{
    uint64_t n = (number + 1) * 2654435761u;
    c->act = (struct box_act){ { name_of(c, 0, 'b', (n >> 8) % BOXES) }, (int64_t)(n >> 16) % 4, (int64_t)(n >> 20) % 3,
                               w->plan.refused && number % 64 == 7, w->plan.streams ? (int64_t)(n >> 24) % 4 * (box_plan.slow ? 4 : 1) : 0,
                               w->plan.asks && (n >> 28) % 4 == 0 };
    snprintf(c->text, sizeof(c->text), "b%" PRIu64, n % BOXES);
}

static void intend_thing(struct world *w, struct client *c)
{
    struct sim *sim = w->sim;
    uint64_t draw = sim_choose(sim, 100);
    bool odd = sim_choose(sim, 16) == 0; /* what does not fit: make it twice, change what is not there */
    c->kind = C_THING;
    c->with_id = true;
    c->put = (struct thing_put){ (int64_t)sim_choose(sim, THING_KEYS), (int64_t)c->number + 1 };
    snprintf(c->text, sizeof(c->text), "g%d", (int)(c - w->clients));
    if (c->exists == odd) c->thing_op = THING_MAKE;
    else if (draw < 45) c->thing_op = THING_PUT;
    else if (draw < 60) c->thing_op = THING_DROP;
    else if (draw < 85) c->thing_op = THING_LOOK;
    else c->thing_op = THING_UNMAKE;
    if (c->thing_op == THING_LOOK) c->with_id = false;
}

/* Numbered by the client, so that who follows sees whether they come in its order. */
static void intend_emit(struct world *w, struct client *c)
{
    c->kind = C_EMIT;
    c->with_id = true;
    c->batch = (struct weir_list){ c->notes, 1 + sim_choose(w->sim, 4) };
    for (size_t i = 0; i < c->batch.count; i++)
        c->notes[i] = (struct box_note){ { name_of(c, (int)i, 'b', sim_choose(w->sim, BOXES)) }, ++c->emitted, c - w->clients + 1,
                                         w->plan.latest && sim_choose(w->sim, 6) == 0 };
}

static void intend_schedule(struct world *w, struct client *c)
{
    c->kind = C_SCHEDULE;
    c->with_id = true;
    c->schedule_op = (enum schedule_op)sim_choose(w->sim, 3);
    snprintf(c->text, sizeof(c->text), "%s", c->schedule_op == SCHEDULE_RUN ? "hand" : "nap");
}

/* All that is parked on a shard is seen, or tried once more. */
static void intend_parked(struct world *w, struct client *c)
{
    c->kind = C_PARKED;
    c->with_id = false;
    c->parked = (struct parked_request){ .op = sim_choose(w->sim, 2) ? PARKED_RETRY : PARKED_LIST, .shard = (uint32_t)sim_choose(w->sim, w->shards),
                                         .all = true, .limit = 1 + (uint32_t)sim_choose(w->sim, 50) };
}

static bool intend(struct world *w, struct client *c)
{
    const struct plan *p = &w->plan;
    struct sim *sim = w->sim;
    for (int tries = 0; tries < 100; tries++) {
        c->number = w->begun;
        uint64_t draw = sim_choose(sim, p->windows ? 126 : 110);
        if (draw < 60 && p->work) {
            intend_work(w, c);
        } else if (draw >= 60 && draw < 80 && p->box && w->acts < RESULTS_MAX) {
            c->kind = C_ACT;
            c->with_id = true;
            c->number = w->acts++;
            act_of(w, c, c->number);
        } else if (draw >= 80 && draw < 95 && p->thing) {
            intend_thing(w, c);
        } else if (draw == 95 && p->query) {
            c->kind = sim_choose(sim, 2) ? C_FLASH : C_MEDDLE;
            c->with_id = false;
            snprintf(c->text, sizeof(c->text), "%c%" PRIu64, c->kind == C_FLASH ? 'f' : 'b', sim_choose(sim, BOXES));
        } else if (draw >= 96 && draw < 98 && p->query) {
            c->kind = C_QUERY;
            c->with_id = false;
            snprintf(c->text, sizeof(c->text), "b%" PRIu64, sim_choose(sim, BOXES + 1));
            c->thing_op = (enum thing_op)sim_choose(sim, 2);
        } else if (draw >= 98 && draw < 100 && p->misuse && w->acts > 0) {
            c->number = sim_choose(sim, w->acts);
            if (!w->result_known[c->number]) continue;
            c->kind = sim_choose(sim, 2) ? C_REPLAY : C_MISUSE;
            c->with_id = true;
            act_of(w, c, c->number);
            if (c->kind == C_MISUSE) c->act.messages += 10;
        } else if (draw >= 100 && draw < 107 && p->streams) {
            intend_emit(w, c);
        } else if (draw >= 107 && draw < 109 && p->schedules && c == w->clients) {
            intend_schedule(w, c);
        } else if (draw == 109 && p->refused) {
            intend_parked(w, c);
        } else if (draw >= 110 && windows_intend(w, c)) {
            /* numbers of its own */
        } else {
            continue;
        }
        w->begun++;
        return true;
    }
    return false;
}

/* ---- submitting ---- */

const char *const clock_names[CLOCKS] = { "once", "all", "skip", "nap", "hand" };

static const void *thing_args(struct client *c)
{
    switch (c->thing_op) {
    case THING_MAKE: c->put.value = c->generation + 1; return &c->put.value;
    case THING_PUT: return &c->put;
    case THING_DROP: return &c->put.key;
    case THING_LOOK:
    case THING_UNMAKE: break;
    }
    return NULL;
}

static void submit(struct world *w, struct client *c)
{
    static const struct map_query first_map = { .limit = 20 };
    struct request *r = &c->request;
    struct arena arena = r->arena;
    arena_reset(&arena);
    *r = (struct request){ .arena = arena };
    c->start = w->env->mono_ns(w->env);
    const char *id = "w";
    switch (c->kind) {
    case C_WORK:
    case C_READ:
        r->handler = w->work[c->how];
        if (c->how == HOW_TRANSFER) {
            r->key = c->list[0].key;
            r->args = &c->move;
        } else {
            r->args = &c->ops;
        }
        break;
    case C_ACT:
    case C_REPLAY:
    case C_MISUSE:
        id = "a";
        r->handler = w->act;
        r->key = str_of(c->text);
        r->args = &c->act;
        break;
    case C_THING:
    case C_LOOK_THING:
        id = "t";
        r->handler = w->thing[c->thing_op];
        r->key = str_of(c->text);
        r->args = thing_args(c);
        break;
    case C_QUERY:
        r->handler = c->thing_op ? engine_map_query(w->engine, w->act->type) : engine_row_query(w->engine, w->act->type);
        r->key = str_of(c->text);
        r->args = c->thing_op ? (const void *)&first_map : NULL;
        break;
    case C_LOOK_BOX:
    case C_LOOK_CLOCK:
        r->handler = c->kind == C_LOOK_BOX ? w->box_look : w->clock_look;
        r->key = str_of(c->text);
        break;
    case C_FLASH:
    case C_MEDDLE:
        r->handler = c->kind == C_FLASH ? w->flash : w->meddle;
        r->key = str_of(c->text);
        break;
    case C_EMIT: { /* without a name that orders: the id does */
        const struct stream *stream = w->app.catalog->streams[0];
        id = "e";
        r->handler = c->batch.count == 1 ? stream->emit : stream->batch;
        r->args = c->batch.count == 1 ? (const void *)c->notes : &c->batch;
        break;
    }
    case C_MOVE:
        id = "m";
        r->handler = windows_batch(w, c);
        break;
    case C_END:
        r->handler = windows_end(w, c);
        r->key = STR("end");
        break;
    case C_SCHEDULE:
        id = "s";
        r->handler = w->schedule[c->schedule_op];
        r->key = str_of(c->text);
        break;
    case C_PARKED:
    case C_LOOK_PARKED: r->parked = &c->parked; break;
    }
    if (c->with_id) r->id = arena_printf(&r->arena, "%s%" PRIu64, id, c->number);
    c->busy = true;
    w->busy++;
    port_submit(w->port, r, w->env->mono_ns(w->env));
}

static bool clients_rest(const struct world *w)
{
    for (uint32_t i = 0; i < w->plan.clients; i++) {
        if (w->clients[i].busy || w->clients[i].pending) return false;
    }
    return true;
}

/* Followers and the bank's answers are at it still: boxes are looked at again. */
static bool sums_settled(const struct world *w)
{
    const struct box *sum = &w->sum;
    /* A webhook given up counts as a failed message: then is_quiet() may have been too early by as many. */
    if (box_plan.hooks && box_plan.give_up_ms && (sum->sent != sum->received || sum->set != sum->fired || sum->nudged != 0)) return false;
    return sum->numbered == sum->followed && sum->heard == (int64_t)w->emitted && sum->asked == sum->told;
}

static void final_end(struct world *w)
{
    if (!clients_rest(w)) return;
    if (!sums_settled(w)) {
        w->final_next = w->final_boxes;
        w->pause_until_ns = w->env->mono_ns(w->env) + SECOND_NS / 4;
    }
    else w->stop = flows_over(w) && w->busy == 0;
}

/* After the last fault: every entity once, so that the end of each is known. */
static void submit_final(struct world *w, struct client *c)
{
    uint64_t n = w->final_next++, lists = (w->begun / LIST_AGE + 1) * LISTS, things = w->plan.clients;
    c->how = HOW_RUN;
    c->kind = C_READ;
    c->with_id = false;
    c->ops.ops = (struct weir_list){ c->list, 1 };
    c->list[0] = (struct op){ 0 };
    if (n < lists) {
        c->list[0] = (struct op){ .kind = OP_READ, .key = name_of(c, 0, 'l', n) };
    } else if ((n -= lists) < REGS) {
        c->list[0] = (struct op){ .kind = OP_GET, .key = name_of(c, 0, 'r', n) };
    } else if ((n -= REGS) < ACCOUNTS) {
        c->list[0] = (struct op){ .kind = OP_AUDIT, .key = name_of(c, 0, 'a', n) };
    } else if ((n -= ACCOUNTS) < things) {
        /* any client asks for any thing: what is expected stands with its owner */
        c->kind = C_LOOK_THING;
        c->thing_op = THING_LOOK;
        c->number = n;
        snprintf(c->text, sizeof(c->text), "g%" PRIu64, n);
    } else if ((n -= things) < (w->plan.windows ? windows_ends : 0)) {
        c->kind = C_END;
        c->number = n;
    } else if ((n -= w->plan.windows ? windows_ends : 0) < BOXES) {
        if (n == 0) {
            w->sum = (struct box){ 0 };
            w->parked_seen = w->hooks_parked = 0;
            w->final_boxes = w->final_next - 1;
        }
        c->kind = C_LOOK_BOX;
        snprintf(c->text, sizeof(c->text), "b%" PRIu64, n);
    } else if ((n -= BOXES) < w->shards) {
        c->kind = C_LOOK_PARKED;
        c->parked = (struct parked_request){ .op = PARKED_LIST, .shard = (uint32_t)n, .limit = 1000000 };
    } else if ((n -= w->shards) < CLOCKS && w->plan.schedules) {
        c->kind = C_LOOK_CLOCK;
        c->number = n;
        snprintf(c->text, sizeof(c->text), "%s", clock_names[n]);
    } else {
        final_end(w);
        return;
    }
    submit(w, c);
}

/* ---- answers ---- */

bool not_applied(enum weir_status st)
{
    return st == WEIR_TIMEOUT || st == WEIR_OVERLOADED || st == WEIR_DISKFULL || st == WEIR_OOM || st == WEIR_BUDGET ||
           st == WEIR_SHUTDOWN;
}

static void judge_look(struct world *w, const struct client *asked, const struct client *owner)
{
    const struct request *r = &asked->request;
    if (!owner->exists) {
        if (r->status != WEIR_NOTFOUND) wrong(w, "thing %s is deleted, a look says %s", asked->text, weir_status_word(r->status));
        return;
    }
    if (r->status != WEIR_OK) wrong(w, "thing %s exists, a look says %s", asked->text, weir_status_word(r->status));
    const struct thing_scan *scan = r->result;
    int64_t count = 0, sum = 0;
    for (int i = 0; i < THING_KEYS; i++) {
        count += owner->values[i] != 0;
        sum += owner->values[i] * (i + 1);
    }
    if (scan->generation != owner->generation || scan->count != count || scan->sum != sum || scan->stale != 0 || scan->ticks > 1)
        wrong(w, "thing %s: generation %" PRId64 " of %" PRId64 ", %" PRId64 " values of %" PRId64 ", sum %" PRId64 " of %" PRId64
              ", stale %" PRId64 ", ticks %" PRId64, asked->text, scan->generation, owner->generation, scan->count, count, scan->sum,
              sum, scan->stale, scan->ticks);
    if (w->final && scan->ticks != 1) wrong(w, "thing %s: its timer never fired", asked->text);
}

static void take_thing(struct world *w, struct client *c)
{
    const struct request *r = &c->request;
    enum weir_status expected = c->thing_op == THING_MAKE ? (c->exists ? WEIR_EXISTS : WEIR_OK) : c->exists ? WEIR_OK : WEIR_NOTFOUND;
    if (c->thing_op == THING_LOOK) {
        judge_look(w, c, c);
        return;
    }
    if (r->status != expected)
        wrong(w, "thing %s: operation %d answers %s, not %s (%.*s)", c->text, c->thing_op, weir_status_word(r->status),
              weir_status_word(expected), STR_ARG(r->text));
    if (r->status != WEIR_OK) return;
    int64_t got = c->thing_op == THING_UNMAKE ? 0 : *(const int64_t *)r->result, *value = &c->values[c->put.key];
    switch (c->thing_op) {
    case THING_MAKE:
        c->exists = true;
        c->generation++;
        memset(c->values, 0, sizeof(c->values));
        if (got != 0) wrong(w, "thing %s begins with %" PRId64 " values of an earlier life", c->text, got);
        break;
    case THING_PUT:
        if (got != *value) wrong(w, "thing %s: the value before is %" PRId64 ", not %" PRId64, c->text, got, *value);
        *value = c->put.value;
        break;
    case THING_DROP:
        if (got != (*value != 0)) wrong(w, "thing %s: removed %" PRId64 ", the value was %" PRId64, c->text, got, *value);
        *value = 0;
        break;
    case THING_UNMAKE: c->exists = false; break;
    case THING_LOOK: break;
    }
}

static void take_act(struct world *w, struct client *c)
{
    const struct request *r = &c->request;
    if (c->kind == C_MISUSE) {
        if (r->status != WEIR_IDEMPOTENCY) wrong(w, "an id with another payload is answered %s", weir_status_word(r->status));
        return;
    }
    if (r->status != WEIR_OK) wrong(w, "act %" PRIu64 " is answered %s: %.*s", c->number, weir_status_word(r->status), STR_ARG(r->text));
    int64_t done = *(const int64_t *)r->result;
    w->replays += r->replayed;
    if (w->result_known[c->number] && (done != w->results[c->number] || !r->replayed))
        wrong(w, "act %" PRIu64 " was answered %" PRId64 " before, now %" PRId64, c->number, w->results[c->number], done);
    if (!w->result_known[c->number] && c->act.refused) w->shunned[c->text[1] - '0']++;
    w->results[c->number] = done;
    w->result_known[c->number] = true;
}

static void take_box(struct world *w, struct client *c)
{
    if (c->request.status != WEIR_OK) wrong(w, "a look at a box is answered %s", weir_status_word(c->request.status));
    const int64_t *from = c->request.result;
    int64_t *to = (int64_t *)&w->sum;
    for (size_t i = 0; i < sizeof(struct box) / sizeof(int64_t); i++) to[i] += from[i];
}

static void take_emit(struct world *w, struct client *c)
{
    const struct request *r = &c->request;
    if (r->status != WEIR_OK) wrong(w, "an event is answered %s: %.*s", weir_status_word(r->status), STR_ARG(r->text));
    size_t count = c->batch.count == 1 ? ((const struct weir_str *)r->result)->len > 0 : (size_t)((const struct emitted *)r->result)->count;
    if (count != c->batch.count) wrong(w, "%zu events are answered as %zu", c->batch.count, count);
    w->emitted += count;
}

static void take_schedule(struct world *w, struct client *c)
{
    const struct request *r = &c->request;
    if (r->status != WEIR_OK) wrong(w, "a schedule answers %s: %.*s", weir_status_word(r->status), STR_ARG(r->text));
    if (c->schedule_op == SCHEDULE_RUN) w->pushed++;
    else w->napping = c->schedule_op == SCHEDULE_PAUSE;
}

static void take_parked(struct world *w, struct client *c)
{
    const struct request *r = &c->request;
    if (r->status != WEIR_OK) wrong(w, "parked work is answered %s: %.*s", weir_status_word(r->status), STR_ARG(r->text));
    if (c->kind != C_LOOK_PARKED) return;
    struct weir_str text = *(const struct weir_str *)r->result;
    static const char kind[] = ",\"kind\":", outside[] = ",\"kind\":\"outside\"";
    for (size_t i = 0; i + sizeof(outside) <= text.len; i++) {
        bool hook = memcmp(text.ptr + i, outside, sizeof(outside) - 1) == 0;
        w->hooks_parked += hook;
        w->parked_seen += !hook && memcmp(text.ptr + i, kind, sizeof(kind) - 1) == 0;
    }
}

static void take_clock(struct world *w, struct client *c)
{
    const struct request *r = &c->request;
    if (r->status != WEIR_OK) wrong(w, "a look at a clock is answered %s", weir_status_word(r->status));
    const struct clock_row *clock = r->result;
    int64_t now = w->env->wall_ms(w->env), late = now - clock->last - box_plan.every_ms;
    bool hand = strcmp(c->text, "hand") == 0, none_left_out = strcmp(c->text, "once") == 0 || strcmp(c->text, "all") == 0;
    if (clock->wrong != 0) wrong(w, "%" PRId64 " of %" PRId64 " runs of the schedule `%s` are wrong", clock->wrong, clock->count, c->text);
    if (hand && clock->count != (int64_t)w->pushed)
        wrong(w, "a schedule ran %" PRId64 " times, asked for %" PRIu64, clock->count, w->pushed);
    /* One that failed as often as it may waits for a person. */
    struct engine_stats s;
    engine_stats(w->engine, &s);
    none_left_out = none_left_out && s.timers_failed == 0 && s.messages_failed == 0;
    /* A start whose log failed has left no schedule behind. */
    int64_t since = clock->count == 0 && w->opened_ms > w->born_ms ? w->opened_ms : w->born_ms;
    if (none_left_out && now - since > box_plan.every_ms + 5000 && late > 5000)
        wrong(w, "the schedule `%s` is %" PRId64 " ms late after %" PRId64 " runs", c->text, late, clock->count);
    w->ticks += (uint64_t)clock->count;
}

static void take_work(struct world *w, struct client *c, uint64_t now)
{
    struct request *r = &c->request;
    if (r->status == WEIR_OK) {
        struct op_result one = { 0 };
        const struct op_result *results = &one;
        if (c->how == HOW_TRANSFER) memcpy(&one, r->result, 4 * sizeof(int64_t));
        else results = ((struct weir_list *)r->result)->items;
        write_txn(w, c, "ok", now, results);
        return;
    }
    if (r->status != WEIR_FAILED && r->status != WEIR_CHECK && !not_applied(r->status))
        wrong(w, "unexpected answer %s: %.*s", weir_status_word(r->status), STR_ARG(r->text));
    write_txn(w, c, "fail", now, NULL);
}

static void count(struct world *w, enum weir_status st)
{
    if (st == WEIR_OK) w->ok++;
    else if (st == WEIR_UNKNOWN) w->unknown++;
    else if (not_applied(st)) w->refused++;
    else w->failed++;
}

static void take(struct world *w, struct request *r)
{
    uint64_t now = w->env->mono_ns(w->env);
    if (!w->final) count(w, r->status);
    if (!model_acked(w->model, r->epoch)) wrong(w, "an answer of epoch %" PRIu64 " goes out before its sync", r->epoch);
    if (w->calm && r->status == WEIR_TIMEOUT) wrong(w, "a request is stuck until its deadline, without faults");
    if (r->user != NULL) {
        consumer_done(w, r->user);
        return;
    }
    struct client *c = (struct client *)r;
    c->busy = false;
    w->busy--;
    bool work = c->kind == C_WORK || c->kind == C_READ;
    if (r->status == WEIR_UNKNOWN) {
        if (work) write_txn(w, c, "unknown", now, NULL);
        c->pending = c->with_id || c->kind >= C_READ;
        c->again_ns = now + sim_choose(w->sim, SECOND_NS / 10);
        return;
    }
    if (r->status == WEIR_PENDING) {
        c->pending = c->with_id;
        c->again_ns = now + sim_choose(w->sim, SECOND_NS / 10);
        return;
    }
    if (not_applied(r->status)) {
        if (work) write_txn(w, c, "fail", now, NULL);
        bool never = c->kind == C_ACT && r->status == WEIR_BUDGET; /* the same limit would meet it again */
        w->given_up += never;
        c->pending = ((c->with_id && c->kind != C_WORK) || c->kind >= C_READ) && !never;
        c->again_ns = now + sim_choose(w->sim, SECOND_NS / 5);
        return;
    }
    c->pending = false;
    switch (c->kind) {
    case C_WORK:
    case C_READ: take_work(w, c, now); break;
    case C_ACT:
    case C_REPLAY:
    case C_MISUSE: take_act(w, c); break;
    case C_THING: take_thing(w, c); break;
    case C_LOOK_THING: judge_look(w, c, &w->clients[c->number]); break;
    case C_LOOK_BOX: take_box(w, c); break;
    case C_EMIT: take_emit(w, c); break;
    case C_MOVE: windows_batch_done(w, c); break;
    case C_END: windows_end_done(w, c); break;
    case C_FLASH:
        if (r->status != WEIR_OK) wrong(w, "a thing that is made and deleted is answered %s", weir_status_word(r->status));
        break;
    case C_MEDDLE:
        if (r->status != WEIR_HANDLER) wrong(w, "a query that changes its row is answered %s", weir_status_word(r->status));
        break;
    case C_SCHEDULE: take_schedule(w, c); break;
    case C_PARKED:
    case C_LOOK_PARKED: take_parked(w, c); break;
    case C_LOOK_CLOCK: take_clock(w, c); break;
    case C_QUERY:
        if (r->status != WEIR_OK && r->status != WEIR_NOTFOUND) wrong(w, "a query is answered %s", weir_status_word(r->status));
        break;
    }
}

void clients_lost(struct world *w)
{
    for (uint32_t i = 0; i < w->plan.clients; i++) {
        struct client *c = &w->clients[i];
        if (!c->busy) continue;
        c->busy = false;
        w->busy--;
        w->unknown++;
        if (c->kind == C_WORK || c->kind == C_READ) write_txn(w, c, "unknown", w->env->mono_ns(w->env), NULL);
        c->pending = c->with_id || c->kind >= C_READ;
    }
    flows_lost(w);
}

/* ---- the clients' turn: also where clocks jump and disks fill ---- */

static void trouble(struct world *w)
{
    struct sim *sim = w->sim;
    const struct plan *p = &w->plan;
    uint64_t now = w->env->mono_ns(w->env);
    if (p->clock && sim_choose(sim, 400) == 0) {
        static const uint32_t rates[] = { 1000, 0, 500, 900, 1100, 3000 };
        int64_t jump = (int64_t)sim_choose(sim, 7200001) - 3600000;
        if (sim_choose(sim, 2)) {
            sim_wall_jump(sim, jump - w->clock_offset_ms);
            w->clock_offset_ms = jump;
        } else {
            sim_wall_rate(sim, rates[sim_choose(sim, 6)]);
        }
        if (sim_choose(sim, 4) == 0) sim_clock_add(sim, sim_choose(sim, 5 * SECOND_NS)); /* all stands still */
    }
    if (w->disk_limit_until_ns != 0 && now > w->disk_limit_until_ns) {
        sim_disk_limit(sim, 0);
        w->disk_limit_until_ns = 0;
    }
    if (p->disk_full && w->disk_limit_until_ns == 0 && sim_choose(sim, 1500) == 0) {
        sim_disk_limit(sim, 4096 + sim_choose(sim, sim_choose(sim, 2) ? 60000 : 600000));
        w->disk_limit_until_ns = now + sim_choose(sim, 8 * SECOND_NS);
    }
    if (p->pauses && sim_choose(sim, 300) == 0) w->pause_until_ns = now + sim_choose(sim, 20 * SECOND_NS);
}

/* Messages and events that wait behind a failed one: each second of a box (box_app.c). */
int64_t held_back(const struct world *w)
{
    int64_t held = 0;
    for (int i = 0; i < BOXES; i++) held += w->shunned[i] / 2;
    return w->plan.streams ? 2 * held : held;
}

/* Everything is answered, delivered and fired; what failed for good stays. */
static bool is_quiet(struct world *w)
{
    struct engine_stats s;
    engine_stats(w->engine, &s);
    uint64_t schedules = w->plan.schedules ? CLOCKS - (uint64_t)w->napping : 0; /* each has one timer at any moment */
    uint64_t waiting = s.messages_failed + (uint64_t)held_back(w);
    bool delivered = box_plan.hooks && box_plan.give_up_ms ? s.messages_pending <= waiting : s.messages_pending == waiting;
    return clients_rest(w) && flows_quiet(w) && delivered &&
           s.timers_pending == s.timers_failed + schedules + s.answers_kept && s.answers_pending == 0 && /* a kept answer has a timer */
           s.open_transactions == 0;
}

uint64_t clients_turn(void *self)
{
    struct world *w = self;
    struct request *r;
    while ((r = port_next(w->port)) != NULL) take(w, r);
    if (port_in_flight(w->port) != w->busy) wrong(w, "%u requests in flight, %u asked", port_in_flight(w->port), w->busy);
    if (w->faults_on) trouble(w);
    bool paused = w->pause_until_ns > w->env->mono_ns(w->env);
    bool open = !paused && !w->quiet_wanted && w->begun < w->target;
    for (uint32_t i = 0; i < w->plan.clients && !w->stop && !w->silent; i++) {
        struct client *c = &w->clients[i];
        if (c->busy || c->again_ns > w->env->mono_ns(w->env)) continue;
        if (c->pending) {
            if (sim_choose(w->sim, 3) == 0) submit(w, c);
        } else if (w->final) {
            if (!paused) submit_final(w, c);
        } else if (open && sim_choose(w->sim, 3) != 0 && intend(w, c)) {
            submit(w, c);
        }
    }
    flows_turn(w, open);
    port_flush(w->port);
    if (w->quiet_wanted && !w->final && !w->stop) w->stop = is_quiet(w);
    if (!w->quiet_wanted && w->begun >= w->target && w->busy == 0) w->stop = true;
    if (w->stop) return ENV_NEVER;
    uint64_t wait = paused ? SECOND_NS / 10 : sim_choose(w->sim, 10) ? 100000 : 10000000;
    return w->env->mono_ns(w->env) + 1000 + sim_choose(w->sim, wait);
}
