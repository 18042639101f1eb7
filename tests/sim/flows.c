/*
 * flows.c - what flows beside the clients' requests: readers and a consumer group of the stream, the bank that is asked.
 *
 * A reader walks the stream from its beginning in each life, a second one here and there. Consumers compete for one
 * group: they read their history after a start, take what is new, acknowledge some of it and forget the rest, take over
 * what others have pending. What they were told is kept in a table of the world, outside the engine. The bank
 * answers as it pleases and keeps each id with what it stood for.
 * SPDX-License-Identifier: MIT
 */
#include "swarm.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/hash.h"
#include "connect/transport.h"

static const char *const names[CONSUMERS] = { "ann", "bob", "cee" };

/* ---- readers ---- */

static const struct stream *stream_of(const struct world *w)
{
    return w->app.catalog->streams[0];
}

/* Each event is in a synced frame of the log, byte for byte as it is read. */
void judge_item(struct world *w, const struct stream *stream, const struct feed_item *item)
{
    if (!model_event(w->model, stream->id, item->id, item->time_ms, item->key, item->value))
        wrong(w, "event %" PRIu64 "-%" PRIu64 " of `%.*s` is read and not in a synced frame as it is", item->id.epoch, item->id.n,
              STR_ARG(stream->name));
}

static void newest_note(struct world *w, struct newest *table, struct weir_str key, struct event_id id, bool gone)
{
    uint64_t hash = hash64(3, key.ptr, key.len) | 1;
    for (uint32_t tries = 0; tries < NEWEST; tries++) {
        struct newest *at = &table[(hash + tries) % NEWEST];
        if (at->key != 0 && at->key != hash) continue;
        *at = (struct newest){ hash, id, gone };
        return;
    }
    wrong(w, "more keys than the test has room for");
}

static void read_more(struct world *w)
{
    struct flows *f = &w->flows;
    if (f->reading || f->read_over || w->env->mono_ns(w->env) < f->again_ns) return;
    f->read = (struct feed_read){ .op = FEED_READ, .stream = stream_of(w), .from = f->read_at, .count = 1 + (uint32_t)sim_choose(w->sim, 50) };
    if (!w->final) f->read.until_ns = w->env->mono_ns(w->env) + 1000000 * sim_choose(w->sim, 2000);
    f->reading = true;
    feed_submit(w->port, &f->read);
}

static void read_restart(struct flows *f)
{
    f->read_over = false;
    f->read_at = (struct event_id){ 0, 0 };
    f->read_total = 0;
    memset(f->seen, 0, sizeof(f->seen));
    memset(f->newest, 0, sizeof(f->newest));
}

struct latest {
    struct world *w;
    struct newest table[NEWEST];
};

static void latest_gather(void *arg, struct event_id id, int64_t time_ms, struct weir_str key, struct weir_str value)
{
    struct latest *all = arg;
    struct arena arena = { 0 };
    struct box_note note = { .n = 0 };
    if (feed_unpack(stream_of(all->w), value, &arena, &note) != WEIR_OK) wrong(all->w, "an event in the log cannot be read");
    newest_note(all->w, all->table, key, id, note.gone);
    arena_free(&arena);
}

/* Whoever reads a compacted stream sees the newest event of each key; of a key that has ended that one or nothing. A
 * reader that was on its way when the end went may have seen what it ended: it reads again. */
static void latest_judge(struct world *w)
{
    struct flows *f = &w->flows;
    if (!w->plan.latest) return;
    struct latest *all = calloc(1, sizeof(*all));
    if (all == NULL) abort();
    all->w = w;
    bool again = false;
    model_events_each(w->model, stream_of(w)->id, latest_gather, all);
    for (uint32_t i = 0; i < NEWEST; i++) {
        const struct newest *e = &all->table[i], *read = NULL;
        for (uint32_t k = 0; e->key != 0 && k < NEWEST && read == NULL; k++) {
            const struct newest *at = &f->newest[(e->key + k) % NEWEST];
            if (at->key == 0) break;
            if (at->key == e->key) read = at;
        }
        if (e->key == 0 || (read != NULL && event_id_cmp(read->id, e->id) == 0) || (read == NULL && e->gone)) continue;
        if (!e->gone || f->passes >= 20)
            wrong(w, "the newest event of a key, %" PRIu64 "-%" PRIu64 "%s, is not read from a stream kept as latest, %s", e->id.epoch, e->id.n,
                  e->gone ? " (which ends it)" : "", read ? "an older one is" : "nor is another");
        again = true;
    }
    free(all);
    if (!again) return;
    f->passes++;
    read_restart(f);
    f->again_ns = w->env->mono_ns(w->env) + SECOND_NS / 5;
}

static void read_take(struct world *w)
{
    struct flows *f = &w->flows;
    struct arena arena = { 0 };
    f->reading = false;
    if (f->read.status != WEIR_OK) {
        /* A disk that fails to read now and then: again. A poisoned engine answers nobody any more. */
        bool faulty = w->faults_on || w->silent || w->plan.rot;
        if (!faulty) wrong(w, "a read of the stream is answered %s", weir_status_word(f->read.status));
        f->again_ns = w->env->mono_ns(w->env) + SECOND_NS / 2;
    }
    /* Retention took what this reader had not seen yet. */
    if (w->plan.keep_bytes && event_id_cmp(f->read.info.first, f->read_at) > 0) memset(f->seen, 0, sizeof(f->seen));
    for (const struct feed_item *item = f->read.items; item != NULL; item = item->next) {
        struct box_note note = { .n = 0 };
        judge_item(w, f->read.stream, item);
        if (feed_unpack(f->read.stream, item->value, &arena, &note) != WEIR_OK || !str_eq(item->key, note.to.key) ||
            event_id_cmp(item->id, f->read_at) < 0)
            wrong(w, "event %" PRIu64 "-%" PRIu64 " does not fit", item->id.epoch, item->id.n);
        if (note.by == 0 && note.n > 0) {
            /* A stream kept by size may have lost its first part, never a middle. */
            int64_t *seen = &f->seen[note.to.key.ptr[1] - '0'];
            if (note.n != *seen + 1 && !(w->plan.keep_bytes && *seen == 0) && !(w->plan.latest && note.n > *seen))
                wrong(w, "event %" PRIu64 "-%" PRIu64 " of %.*s has number %" PRId64 " behind %" PRId64, item->id.epoch, item->id.n,
                      STR_ARG(item->key), note.n, *seen);
            *seen = note.n;
        }
        f->read_at = (struct event_id){ item->id.epoch, item->id.n + 1 };
        f->some = item->id;
        f->read_total++;
        if (w->plan.latest) newest_note(w, f->newest, item->key, item->id, note.gone);
    }
    if (w->final && f->read.status == WEIR_OK && f->read.item_count == 0) {
        f->read_over = true;
        latest_judge(w);
    }
    feed_read_free(&f->read);
    arena_free(&arena);
}

/* Backward, by key, by time, figures only; some are called off. */
static void side_begin(struct world *w)
{
    struct flows *f = &w->flows;
    struct sim *sim = w->sim;
    f->side = (struct feed_read){ .op = FEED_READ, .stream = stream_of(w), .count = 1 + (uint32_t)sim_choose(sim, 20) };
    switch (sim_choose(sim, 5)) {
    case 0: f->side.reverse = true; break;
    case 1: f->side.reverse = true, f->side.to = f->some; break;
    case 2: f->side.op = FEED_INFO; break;
    case 3:
        f->side.op = FEED_FIND_TIME;
        f->side.time_ms = w->env->wall_ms(w->env) - (int64_t)sim_choose(sim, 100000);
        break;
    default:
        snprintf(f->side_key, sizeof(f->side_key), "b%" PRIu64, sim_choose(sim, BOXES));
        f->side.key = str_of(f->side_key);
        f->side.from = f->some;
        f->side.until_ns = w->env->mono_ns(w->env) + 1000000 * sim_choose(sim, 3000);
    }
    f->siding = true;
    feed_submit(w->port, &f->side);
}

static void side_take(struct world *w)
{
    struct flows *f = &w->flows;
    const struct feed_item *last = NULL;
    f->siding = false;
    for (const struct feed_item *item = f->side.items; item != NULL; last = item, item = item->next) {
        judge_item(w, f->side.stream, item);
        int order = last ? event_id_cmp(item->id, last->id) : f->side.reverse ? -1 : 1;
        if (f->side.reverse ? order >= 0 : order <= 0) wrong(w, "a reader gets events out of order");
        if (f->side.key.ptr != NULL && !str_eq(item->key, f->side.key)) wrong(w, "a reader of one key gets another's event");
    }
    if (f->side.op == FEED_INFO && f->side.info.count > model_events(w->model, f->side.stream->id))
        wrong(w, "a stream of %" PRIu64 " events, %zu were emitted", f->side.info.count, model_events(w->model, f->side.stream->id));
    feed_read_free(&f->side);
}

/* ---- the group ---- */

static struct fact *fact_of(struct world *w, struct event_id id)
{
    uint64_t at = hash64(0, &id, sizeof(id));
    for (uint32_t tries = 0; tries < FACTS; tries++, at++) {
        struct fact *fact = &w->flows.facts[at % FACTS];
        if (fact->id.epoch != 0 && event_id_cmp(fact->id, id) != 0) continue;
        w->flows.fact_count += fact->id.epoch == 0;
        fact->id = id;
        return fact;
    }
    wrong(w, "more events than the test has room for");
}

static void ask(struct world *w, struct consumer *c, enum group_op op, struct group_args args)
{
    struct request *r = &c->request;
    struct arena arena = r->arena;
    arena_reset(&arena);
    *r = (struct request){ .arena = arena, .user = c };
    c->op = op;
    c->args = args;
    c->args.name = str_of(names[c - w->flows.consumers]);
    r->handler = group_handler(w->app.catalog, op);
    r->key = STR("moved/g");
    r->args = &c->args;
    c->busy = true;
    w->busy++;
    port_submit(w->port, r, w->env->mono_ns(w->env));
}

static struct event_id id_at(struct weir_str ids, size_t i)
{
    struct event_id id = { 0, 0 };
    if (ids.len >= (i + 1) * sizeof(id)) memcpy(&id, ids.ptr + i * sizeof(id), sizeof(id));
    return id;
}

/* It has these now; it will acknowledge them, the last of them perhaps never. */
static void keep(struct world *w, struct consumer *c, struct weir_str ids, size_t from)
{
    size_t count = ids.len / sizeof(struct event_id);
    for (size_t i = from; i < count && c->had_count < TAKE_MAX; i++) c->had[c->had_count++] = id_at(ids, i);
    if (!w->final && c->had_count > 0 && sim_choose(w->sim, 4) == 0) c->had_count--;
}

static void consumer_step(struct world *w, struct consumer *c)
{
    static const struct event_id zero;
    struct weir_str nothing = { (const char *)&zero, sizeof(zero) };
    if (!w->flows.created) {
        if (c == w->flows.consumers) ask(w, c, GROUP_CREATE, (struct group_args){ .from = nothing });
    } else if (c->had_count > 0) { /* one at a time: what is in doubt is one event */
        struct event_id *id = &c->had[c->had_count - 1];
        ask(w, c, GROUP_ACK, (struct group_args){ .ids = { (const char *)id, sizeof(*id) } });
    } else if (c->fresh) {
        ask(w, c, GROUP_AGAIN, (struct group_args){ .from = nothing, .count = TAKE_MAX });
    } else if (sim_choose(w->sim, w->final ? 3 : 10) == 0) {
        ask(w, c, GROUP_AUTOCLAIM, (struct group_args){ .from = nothing, .count = 1 + (int64_t)sim_choose(w->sim, TAKE_MAX) });
    } else {
        ask(w, c, GROUP_POSITION, (struct group_args){ 0 });
    }
}

static void consumer_read(struct world *w, struct consumer *c)
{
    c->read = (struct feed_read){ .op = FEED_READ, .stream = stream_of(w), .from = { c->at.epoch, c->at.n + 1 },
                                  .count = 1 + (uint32_t)sim_choose(w->sim, TAKE_MAX), .user = c };
    if (!w->final) c->read.until_ns = w->env->mono_ns(w->env) + 1000000 * sim_choose(w->sim, 1000);
    c->reading = true;
    feed_submit(w->port, &c->read);
}

static void consumer_take(struct world *w, struct consumer *c)
{
    size_t count = 0;
    c->reading = false;
    for (struct feed_item *item = c->read.items; item != NULL; item = item->next) c->ids[count++] = item->id;
    feed_read_free(&c->read);
    c->idle = count == 0;
    if (c->read.status != WEIR_OK) c->again_ns = w->env->mono_ns(w->env) + SECOND_NS / 2;
    if (count == 0) return;
    ask(w, c, GROUP_TAKE, (struct group_args){ .from = { (const char *)&c->at, sizeof(c->at) },
                                               .ids = { (const char *)c->ids, count * sizeof(c->ids[0]) } });
}

static void consumer_answer(struct world *w, struct consumer *c, const struct group_answer *a)
{
    struct flows *f = &w->flows;
    size_t count = c->args.ids.len / sizeof(struct event_id);
    switch (c->op) {
    case GROUP_CREATE: f->created = true; break;
    case GROUP_POSITION:
        c->at = id_at(a->from, 0);
        consumer_read(w, c);
        break;
    case GROUP_TAKE:
        if (!a->known || (size_t)a->count > count) wrong(w, "a take that does not fit");
        for (size_t i = count - (size_t)a->count; i < count; i++)
            if (fact_of(w, c->ids[i])->taken++ > 0) wrong(w, "event %" PRIu64 "-%" PRIu64 " is taken twice", c->ids[i].epoch, c->ids[i].n);
        keep(w, c, c->args.ids, count - (size_t)a->count);
        break;
    case GROUP_ACK: {
        struct fact *fact = fact_of(w, c->had[--c->had_count]);
        fact->acked += (uint32_t)a->count;
        if (fact->acked > 1) wrong(w, "event %" PRIu64 "-%" PRIu64 " is acknowledged twice", fact->id.epoch, fact->id.n);
        break;
    }
    case GROUP_AGAIN:
        c->fresh = a->ids.len > 0;
        keep(w, c, a->ids, 0);
        break;
    case GROUP_AUTOCLAIM: keep(w, c, a->ids, 0); break;
    case GROUP_SUMMARY:
        f->group_over = a->count == 0;
        if (!f->group_over) c->idle = false; /* somebody forgot some: they are claimed */
        break;
    default: break;
    }
}

/* Its answer did not come: what it asked for may have happened. */
static void consumer_doubts(struct world *w, struct consumer *c)
{
    if (c->op == GROUP_ACK) fact_of(w, c->had[--c->had_count])->doubt = true;
    c->fresh = true;
}

void consumer_done(struct world *w, struct consumer *c)
{
    const struct request *r = &c->request;
    c->busy = false;
    w->busy--;
    if (r->status == WEIR_OK || (c->op == GROUP_CREATE && str_eq(r->code, STR("busygroup")))) {
        if (r->status == WEIR_OK) consumer_answer(w, c, r->result);
        w->flows.created = true;
        return;
    }
    c->again_ns = w->env->mono_ns(w->env) + sim_choose(w->sim, SECOND_NS / 5);
    if (r->status == WEIR_UNKNOWN) consumer_doubts(w, c);
    else if (!not_applied(r->status))
        wrong(w, "operation %d of a group is answered %s %.*s: %.*s", c->op, weir_status_word(r->status), STR_ARG(r->code), STR_ARG(r->text));
}

static bool consumers_rest(const struct world *w)
{
    for (int i = 0; i < CONSUMERS; i++) {
        const struct consumer *c = &w->flows.consumers[i];
        if (c->busy || c->reading || !c->idle || c->had_count > 0) return false;
    }
    return true;
}

/* ---- turns ---- */

void flows_turn(struct world *w, bool open)
{
    struct flows *f = &w->flows;
    for (struct feed_read *read; (read = feed_next(w->port)) != NULL;) {
        if (windows_owns(w, read)) windows_take(w);
        else if (read == &f->read) read_take(w);
        else if (read == &f->side) side_take(w);
        else consumer_take(w, read->user);
    }
    windows_turn(w);
    if (!w->plan.streams || w->silent || (!open && !w->final)) return;
    read_more(w);
    if (f->siding && f->side.until_ns != 0 && sim_choose(w->sim, 100) == 0) feed_cancel(w->engine, &f->side);
    if (!f->siding && sim_choose(w->sim, 20) == 0) side_begin(w);
    if (!w->plan.group || f->group_over) return;
    uint64_t now = w->env->mono_ns(w->env);
    if (w->final && f->created && consumers_rest(w)) {
        ask(w, f->consumers, GROUP_SUMMARY, (struct group_args){ 0 });
        return;
    }
    for (int i = 0; i < CONSUMERS; i++) {
        struct consumer *c = &f->consumers[i];
        if (!c->busy && !c->reading && now >= c->again_ns && !(w->final && c->idle && c->had_count == 0) &&
            sim_choose(w->sim, 3) == 0)
            consumer_step(w, c);
    }
}

bool flows_quiet(const struct world *w)
{
    for (int i = 0; i < CONSUMERS; i++) {
        if (w->flows.consumers[i].busy || w->flows.consumers[i].reading) return false;
    }
    return !w->flows.reading && !w->flows.siding;
}

/* The readers have seen all, and nothing is pending in the group. */
bool flows_over(const struct world *w)
{
    const struct flows *f = &w->flows;
    return windows_over(w) && (!w->plan.streams || (f->read_over && !f->siding && (!w->plan.group || f->group_over)));
}

void flows_begin(struct world *w)
{
    struct flows *f = &w->flows;
    f->reading = f->siding = f->group_over = false;
    f->again_ns = 0;
    if (w->plan.streams) f->stream_id = stream_of(w)->id;
    read_restart(f);
    for (int i = 0; i < CONSUMERS; i++) {
        struct consumer *c = &f->consumers[i];
        c->fresh = true;
        c->busy = c->reading = c->idle = false;
        c->had_count = 0;
        c->again_ns = 0;
    }
}

/* All is read once more, from the beginning. */
void flows_final(struct world *w)
{
    struct flows *f = &w->flows;
    f->group_over = false;
    read_restart(f);
    for (int i = 0; i < CONSUMERS; i++) f->consumers[i].idle = false;
}

void flows_lost(struct world *w)
{
    struct flows *f = &w->flows;
    for (int i = 0; i < CONSUMERS; i++) {
        struct consumer *c = &f->consumers[i];
        if (c->busy) {
            w->busy--;
            consumer_doubts(w, c);
        }
        if (c->reading && w->plan.tidy) feed_read_free(&c->read);
        c->busy = c->reading = false;
    }
    /* What a machine that stopped inside a call held of them is lost with it. */
    if (f->reading && w->plan.tidy) feed_read_free(&f->read);
    if (f->siding && w->plan.tidy) feed_read_free(&f->side);
    f->reading = f->siding = false;
}

void flows_judge(struct world *w)
{
    struct flows *f = &w->flows;
    if (!w->plan.streams) return;
    size_t events = model_events(w->model, f->stream_id);
    bool less = w->plan.keep_bytes || w->plan.latest;
    if (less ? f->read_total > events || (events > 0 && f->read_total == 0) : f->read_total != events)
        wrong(w, "%" PRIu64 " events read, %zu were emitted", f->read_total, events);
    if (!w->plan.group) return;
    uint64_t acked = 0, doubt = 0;
    for (uint32_t i = 0; i < FACTS; i++) {
        acked += f->facts[i].acked >= 1;
        doubt += f->facts[i].acked == 0 && f->facts[i].doubt;
    }
    /* One that was taken in doubt and acknowledged in doubt, both, is known by its doubt too. */
    if (w->plan.latest ? acked + doubt > events : acked + doubt != events)
        wrong(w, "a group: of %zu events %" PRIu64 " are acknowledged, %" PRIu64 " in doubt, nothing is pending", events, acked, doubt);
}

/* ---- the bank ---- */

static struct weir_str header_of(const struct outside_attempt *attempt, const char *name)
{
    size_t len = strlen(name);
    for (const char *const *line = attempt->header_lines; *line != NULL; line++)
        if (strncmp(*line, name, len) == 0 && (*line)[len] == ':') return str_of(*line + len + 2);
    return STR_NIL;
}

/* One id for one request and for no other, and none before its transaction is on the disk. */
static void bank_judge(struct world *w, const struct outside_attempt *attempt)
{
    struct weir_str id = header_of(attempt, "Idempotency-Key"), body = attempt->request->body;
    uint64_t what = hash64(1, body.ptr, body.len), which = hash64(2, id.ptr, id.len), at = what;
    const char *dash = memchr(id.ptr, '-', id.len);
    if (dash == NULL || strtoull(dash + 1, NULL, 10) > model_synced(w->model))
        wrong(w, "the bank is asked as `%.*s` before that is on the disk", STR_ARG(id));
    for (uint32_t tries = 0; tries < PAID; tries++, at++) {
        struct paid *paid = &w->flows.paid[at % PAID];
        if (paid->what == 0) *paid = (struct paid){ what, which };
        if (paid->what != what) continue;
        if (paid->id != which) wrong(w, "the bank is asked `%.*s` under two ids", STR_ARG(body));
        return;
    }
    wrong(w, "more asks than the test has room for");
}

static void bank_answer(void *arg, const struct outside_attempt *attempt, struct outside_reply *reply)
{
    struct world *w = arg;
    struct sim *sim = w->sim;
    static const int statuses[] = { 500, 503, 429, 408 };
    bank_judge(w, attempt);
    *reply = (struct outside_reply){ .status = 200, .body = attempt->request->body, .delay_ms = sim_choose(sim, w->calm ? 100 : 1500) };
    w->flows.attempts++;
    if (w->calm) return;
    uint64_t draw = sim_choose(sim, 16);
    if (draw == 0) reply->silent = true;
    if (draw == 1 || draw == 2) reply->status = 0;
    if (draw >= 3 && draw <= 5) reply->status = statuses[sim_choose(sim, 4)];
    if (draw == 5) reply->retry_after_ms = 1 + (int64_t)sim_choose(sim, 3000);
    if (draw == 6) reply->delay_ms = sim_choose(sim, 8000);
}

void bank_open(struct world *w)
{
    char error[200];
    if (!w->plan.asks) return;
    w->flows.bank = outside_fake_create(bank_answer, w);
    struct outside_options options = { .limits = w->plan.outside, .transport = outside_fake_transport(w->flows.bank) };
    if (asks_open(w->engine, 1, &options, &w->flows.asks, error, sizeof(error)) != WEIR_OK) wrong(w, "asks_open: %s", error);
}

/* After a machine that stopped inside a call it may be in any state, and is left where it is. */
void bank_close(struct world *w, bool whole)
{
    if (whole) {
        asks_close(w->flows.asks);
        outside_fake_destroy(w->flows.bank);
    }
    w->flows.asks = NULL;
    w->flows.bank = NULL;
}
