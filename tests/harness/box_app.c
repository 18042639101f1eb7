/*
 * box_app.c - see box_app.h.
 * SPDX-License-Identifier: MIT
 */
#include "box_app.h"

#include <stdio.h>
#include <string.h>

struct box_plan box_plan = { .fail_one_in = 16, .delay_max_ms = 500, .timer_step_ms = 1 };

/* ---- boxes ---- */

#define BOX(member) WEIR_FIELD(struct box, member, WEIR_INT)
static const struct weir_field box_fields[] = { BOX(sent), BOX(received), BOX(set), BOX(fired), BOX(done), BOX(duplicates),
                                                BOX(disorder), BOX(early), BOX(refused), BOX(balked), BOX(numbered),
                                                BOX(followed), BOX(heard), BOX(shunned), BOX(nudged), BOX(asked), BOX(told), BOX(doubtful),
                                                BOX(hooked), WEIR_END };
enum { SEEN, LAST, FIRED, AGAIN, HEARD, TOLD, NUDGE };
static const struct weir_map box_maps[] = {
    { "seen", { WEIR_TEXT, WEIR_INT }, WEIR_SCALAR(WEIR_BOOL) },
    { "last", { WEIR_TEXT }, WEIR_SCALAR(WEIR_INT) },
    { "fired", { WEIR_INT }, WEIR_SCALAR(WEIR_BOOL) },
    { "again", { WEIR_INT }, WEIR_SCALAR(WEIR_BOOL) },
    { "heard", { WEIR_INT }, WEIR_SCALAR(WEIR_INT) },
    { "told", { WEIR_INT }, WEIR_SCALAR(WEIR_BOOL) },
    { "nudge", { WEIR_INT }, WEIR_SCALAR(WEIR_INT) }, WEIR_END };
static const struct weir_field act_fields[] = { WEIR_FIELD(struct box_act, to, WEIR_REF, .type = "box"),
    WEIR_FIELD(struct box_act, messages, WEIR_INT), WEIR_FIELD(struct box_act, timers, WEIR_INT),
    WEIR_FIELD(struct box_act, refused, WEIR_INT), WEIR_FIELD(struct box_act, events, WEIR_INT),
    WEIR_FIELD(struct box_act, asks, WEIR_INT), WEIR_END };
struct note {
    struct weir_str from;
    int64_t n;
};
static const struct weir_field note_fields[] = { WEIR_FIELD(struct note, from, WEIR_TEXT), WEIR_FIELD(struct note, n, WEIR_INT), WEIR_END };
struct alarm {
    int64_t n, due;
};
static const struct weir_field alarm_fields[] = { WEIR_FIELD(struct alarm, n, WEIR_INT), WEIR_FIELD(struct alarm, due, WEIR_INT), WEIR_END };

static struct weir_verb receive = { "box", "receive", WEIR_SHAPE(struct note, note_fields), WEIR_NOTHING };
struct echo {
    int64_t n, steps;
};
static const struct weir_field echo_fields[] = { WEIR_FIELD(struct echo, n, WEIR_INT), WEIR_FIELD(struct echo, steps, WEIR_INT), WEIR_END };
static struct weir_verb echo = { "box", "echo", WEIR_SHAPE(struct echo, echo_fields), WEIR_SCALAR(WEIR_INT) };
static struct weir_verb refuse = { "box", "refuse", WEIR_SHAPE(struct note, note_fields), WEIR_NOTHING };
static struct weir_verb poke = { "box", "poke", WEIR_NOTHING, WEIR_SCALAR(WEIR_INT) };
static struct weir_verb number = { "box", "number", WEIR_NOTHING, WEIR_SCALAR(WEIR_INT) };

static const struct weir_field event_fields[] = { WEIR_FIELD(struct box_note, to, WEIR_REF, .type = "box"),
    WEIR_FIELD(struct box_note, n, WEIR_INT), WEIR_FIELD(struct box_note, by, WEIR_INT),
    WEIR_FIELD(struct box_note, gone, WEIR_BOOL), WEIR_END };
struct weir_stream box_stream = { .name = "moved", .event = WEIR_SHAPE(struct box_note, event_fields), .key = "to" };

static struct weir_outside bank = { .name = "bank", .url = "http://bank.test" };
static const struct weir_field answer_fields[] = WEIR_ANSWER_FIELDS;
static const struct weir_shape answer_shape = WEIR_SHAPE(struct weir_answer, answer_fields);
struct told {
    struct weir_answer answer;
    int64_t n;
};
static const struct weir_field told_fields[] = { WEIR_FIELD(struct told, answer, WEIR_RECORD, .shape = &answer_shape),
                                                 WEIR_FIELD(struct told, n, WEIR_INT), WEIR_END };

static bool fails_now(struct weir_ctx *ctx)
{
    return box_plan.fail_one_in != 0 && weir_random(ctx) % box_plan.fail_one_in == 0;
}

/* Few timers that are moved or cancelled by whoever comes, also when they are due. The map says when each is due. */
static void act_nudge(struct weir_ctx *ctx)
{
    uint64_t draw = weir_random(ctx) >> 1;
    int64_t due = weir_now(ctx) + 1 + (int64_t)((draw >> 16) % (draw % 16 ? 10 : 3000));
    int64_t n = (int64_t)(draw >> 8) % 2;
    struct weir_key key = WEIR_KEY(weir_number(n));
    if (draw % 3 == 0 && weir_map_remove(ctx, NUDGE, key)) {
        weir_cancel(ctx, "nudge", &n);
        return;
    }
    int64_t *at = weir_map_put(ctx, NUDGE, key);
    *at = due;
    weir_at(ctx, due, "nudge", &n);
}

static void act_timers(struct weir_ctx *ctx, struct box *self, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t draw = weir_random(ctx);
        int64_t most = draw % 8 ? 500 : box_plan.delay_max_ms;
        int64_t due = weir_now(ctx) + 1 + (int64_t)((draw >> 8) % (uint64_t)most), step = box_plan.timer_step_ms;
        struct alarm alarm = { ++self->set, (due + step - 1) / step * step };
        weir_at(ctx, alarm.due, "ring", &alarm);
        if (alarm.n % 5 == 0) { /* cancelled and set again */
            struct alarm same = alarm;
            weir_cancel(ctx, "ring", &same);
            weir_at(ctx, alarm.due, "ring", &same);
        }
    }
}

/* Keys for what always fails: each second one has nothing but to wait behind the first. */
static struct weir_ref shunned(struct weir_ctx *ctx, char kind, int64_t n)
{
    struct weir_str self = weir_self(ctx);
    char *key = weir_scratch(ctx, 64);
    snprintf(key, 64, "%c-%.*s-%lld", kind, (int)self.len, self.ptr, (long long)(n + 1) / 2);
    return (struct weir_ref){ { key, strlen(key) } };
}

static void act_events(struct weir_ctx *ctx, const struct box_act *in)
{
    for (int64_t i = 0; i < in->events; i++) {
        struct box_note note = { .to = in->to };
        weir_call(ctx, in->to, &number, NULL, &note.n);
        weir_emit(ctx, &box_stream, &note);
    }
}

/* What the body of a request says comes back as the answer. */
static void ask_body(char *out, size_t bytes, struct weir_str self, int64_t n)
{
    snprintf(out, bytes, "{\"box\":\"%.*s\",\"n\":%lld}", (int)self.len, self.ptr, (long long)n);
}

static void act_asks(struct weir_ctx *ctx, struct box *self, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        char body[80];
        bool hook = box_plan.hooks && (self->asked + self->hooked) % 4 == 3;
        struct told told = { .answer = { .id = { "", 0 } }, .n = hook ? -++self->hooked : ++self->asked };
        ask_body(body, sizeof(body), weir_self(ctx), told.n);
        weir_ask(ctx, &bank, "POST /pay", (struct weir_str){ body, strlen(body) }, hook ? NULL : "told", &told);
    }
}

static enum weir_status box_act(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct box_act *in = args;
    for (int64_t i = 0; i < in->messages; i++) {
        struct note note = { weir_self(ctx), ++self->sent };
        weir_send(ctx, in->to, &receive, &note);
        if (i == 0) weir_call(ctx, in->to, &poke, NULL, NULL); /* the sender's transaction spans shards, too */
    }
    act_timers(ctx, self, in->timers);
    if (in->timers > 0) act_nudge(ctx);
    for (int64_t i = 0; i < in->refused; i++) {
        struct note note = { weir_self(ctx), ++self->refused };
        struct alarm alarm = { ++self->balked, weir_now(ctx) + 1 };
        weir_send(ctx, shunned(ctx, 'x', note.n), &refuse, &note);
        weir_at(ctx, alarm.due, "balk", &alarm);
        if (!box_plan.streams) continue;
        struct box_note event = { .to = shunned(ctx, 'y', note.n), .n = -1 };
        weir_emit(ctx, &box_stream, &event);
        self->shunned++;
    }
    act_events(ctx, in);
    act_asks(ctx, self, in->asks);
    *(int64_t *)result = ++self->done;
    if (in->messages != 2) return WEIR_OK;
    /* The answer comes later, by way of the receiver and back: the same as it would be now. */
    weir_send(ctx, in->to, &echo, &(struct echo){ self->done, in->timers });
    return weir_defer(ctx, weir_ticket(ctx));
}

static enum weir_status box_echo(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct echo more = *(const struct echo *)args;
    if (fails_now(ctx)) return weir_fail(ctx, "not_now", (struct weir_str){ 0 });
    *(int64_t *)result = more.n;
    if (more.steps-- == 0) return WEIR_OK;
    weir_send(ctx, (struct weir_ref){ weir_self(ctx) }, &echo, &more);
    return weir_defer(ctx, weir_ticket(ctx));
}

static enum weir_status box_poke(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ((struct box *)row)->received;
    return WEIR_OK;
}

static enum weir_status box_number(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ++((struct box *)row)->numbered;
    return WEIR_OK;
}

static void call_some(struct weir_ctx *ctx)
{
    static const char names[][2] = { "b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7" };
    weir_call(ctx, (struct weir_ref){ { names[weir_random(ctx) % 8], 2 } }, &poke, NULL, NULL);
}

/* The follower of the stream. */
static enum weir_status box_event(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct box_note *in = args;
    if (in->n < 0) {
        self->followed++; /* must not be seen */
        return weir_fail(ctx, "never", (struct weir_str){ 0 });
    }
    if (fails_now(ctx)) return weir_fail(ctx, "not_now", (struct weir_str){ 0 });
    for (int i = 0; box_plan.slow && i < 3; i++) call_some(ctx);
    if (weir_event_meta(ctx).id.len == 0) self->disorder++;
    if (in->by == 0) {
        if (in->n != ++self->followed) self->disorder++;
        return WEIR_OK;
    }
    int64_t *last = weir_map_put(ctx, HEARD, WEIR_KEY(weir_number(in->by)));
    if (in->n <= *last) self->disorder++;
    *last = in->n;
    self->heard++;
    return WEIR_OK;
}

static enum weir_status box_told(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct told *in = args;
    char body[80];
    if (fails_now(ctx)) return weir_fail(ctx, "not_now", (struct weir_str){ 0 });
    bool *mark = weir_map_put(ctx, TOLD, WEIR_KEY(weir_number(in->n)));
    if (*mark) self->duplicates++;
    *mark = true;
    self->told++;
    ask_body(body, sizeof(body), weir_self(ctx), in->n);
    if (in->answer.outcome != 0) self->doubtful++;
    else if (in->answer.status != 200 || in->answer.body.len != strlen(body) ||
             memcmp(in->answer.body.ptr, body, in->answer.body.len) != 0)
        self->disorder++;
    return WEIR_OK;
}

static enum weir_status box_receive(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct note *in = args;
    if (fails_now(ctx)) return weir_fail(ctx, "not_now", (struct weir_str){ 0 });
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

static enum weir_status box_refuse(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct box *)row)->received++; /* must not be seen */
    return weir_fail(ctx, "never", (struct weir_str){ 0 });
}

static enum weir_status box_ring(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct alarm *in = args;
    if (fails_now(ctx)) return weir_fail(ctx, "not_now", (struct weir_str){ 0 });
    if (in->n % 4 == 1) { /* it reaches for another box: so it is wounded at times, and runs again */
        if (box_plan.clock_back != NULL) box_plan.clock_back(1 + (int64_t)(weir_random(ctx) % 20));
        call_some(ctx);
    }
    if (in->n % 7 == 3 && weir_map_get(ctx, AGAIN, WEIR_KEY(weir_number(in->n))) == NULL) {
        bool *again = weir_map_put(ctx, AGAIN, WEIR_KEY(weir_number(in->n)));
        *again = true;
        return weir_at(ctx, in->due, "ring", in); /* set anew for the same moment, once */
    }
    if (weir_map_get(ctx, FIRED, WEIR_KEY(weir_number(in->n))) != NULL) self->duplicates++;
    if (weir_now(ctx) < in->due) self->early++;
    bool *mark = weir_map_put(ctx, FIRED, WEIR_KEY(weir_number(in->n)));
    *mark = true;
    self->fired++;
    return WEIR_OK;
}

static enum weir_status box_nudge(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    struct weir_key key = WEIR_KEY(weir_number(*(const int64_t *)args));
    if (fails_now(ctx)) return weir_fail(ctx, "not_now", (struct weir_str){ 0 });
    const int64_t *due = weir_map_get(ctx, NUDGE, key);
    if (due == NULL) self->duplicates++; /* it was cancelled */
    else if (weir_now(ctx) < *due) self->early++;
    weir_map_remove(ctx, NUDGE, key);
    return WEIR_OK;
}

static enum weir_status box_look(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *out = result;
    *out = *(const struct box *)row;
    out->nudged = weir_map_count(ctx, NUDGE);
    return WEIR_OK;
}

/* A query that changes its row: refused. */
static enum weir_status box_meddle(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct box *)row)->done++;
    return WEIR_OK;
}

static const struct weir_handler box_handlers[] = {
    { "act", WEIR_ON, box_act, WEIR_SHAPE(struct box_act, act_fields), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "poke", WEIR_ON, box_poke, WEIR_NOTHING, WEIR_SCALAR(WEIR_INT), NULL },
    { "number", WEIR_ON, box_number, WEIR_NOTHING, WEIR_SCALAR(WEIR_INT), NULL },
    { "told", WEIR_ON, box_told, WEIR_SHAPE(struct told, told_fields), WEIR_NOTHING, NULL },
    { "receive", WEIR_ON, box_receive, WEIR_SHAPE(struct note, note_fields), WEIR_NOTHING, NULL },
    { "echo", WEIR_ON, box_echo, WEIR_SHAPE(struct echo, echo_fields), WEIR_SCALAR(WEIR_INT), NULL },
    { "refuse", WEIR_ON, box_refuse, WEIR_SHAPE(struct note, note_fields), WEIR_NOTHING, NULL },
    { "ring", WEIR_ON, box_ring, WEIR_SHAPE(struct alarm, alarm_fields), WEIR_NOTHING, NULL },
    { "nudge", WEIR_ON, box_nudge, WEIR_SCALAR(WEIR_INT), WEIR_NOTHING, NULL },
    { "meddle", WEIR_QUERY, box_meddle, WEIR_NOTHING, WEIR_NOTHING, "anyone" },
    { "balk", WEIR_ON, box_refuse, WEIR_SHAPE(struct alarm, alarm_fields), WEIR_NOTHING, NULL },
    { "look", WEIR_QUERY, box_look, WEIR_NOTHING, WEIR_SHAPE(struct box, box_fields), "anyone" },
    WEIR_END
};
static const struct weir_entity box_entity = { .name = "box", .row = WEIR_SHAPE(struct box, box_fields), .maps = box_maps,
                                               .handlers = box_handlers };

/* ---- things ---- */

struct thing {
    int64_t generation, stale, ticks;
};
static const struct weir_field thing_fields[] = { WEIR_FIELD(struct thing, generation, WEIR_INT),
    WEIR_FIELD(struct thing, stale, WEIR_INT), WEIR_FIELD(struct thing, ticks, WEIR_INT), WEIR_END };
static const struct weir_map thing_maps[] = { { "values", { WEIR_INT }, WEIR_SCALAR(WEIR_INT) }, WEIR_END };
static const struct weir_field put_fields[] = { WEIR_FIELD(struct thing_put, key, WEIR_INT),
                                                WEIR_FIELD(struct thing_put, value, WEIR_INT), WEIR_END };
static const struct weir_field scan_fields[] = { WEIR_FIELD(struct thing_scan, generation, WEIR_INT),
    WEIR_FIELD(struct thing_scan, count, WEIR_INT), WEIR_FIELD(struct thing_scan, sum, WEIR_INT),
    WEIR_FIELD(struct thing_scan, stale, WEIR_INT), WEIR_FIELD(struct thing_scan, ticks, WEIR_INT), WEIR_END };

static enum weir_status thing_make(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct thing *self = row;
    self->generation = *(const int64_t *)args;
    self->stale = weir_map_count(ctx, 0);
    weir_after(ctx, 1 + (int64_t)(weir_random(ctx) % 3000), "tick", &self->generation);
    *(int64_t *)result = self->stale;
    return WEIR_OK;
}

/* Made, filled and deleted in one transaction: nothing may stay. */
static enum weir_status thing_flash(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct thing *)row)->generation = 1;
    int64_t *value = weir_map_put(ctx, 0, WEIR_KEY(weir_number(1)));
    *value = 1;
    int64_t n = -1;
    weir_after(ctx, 1, "tick", &n);
    return weir_delete(ctx);
}

static enum weir_status thing_tick(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct thing *self = row;
    if (*(const int64_t *)args == self->generation) self->ticks++;
    else self->stale++;
    return WEIR_OK;
}

/* Answers the value that was there. */
static enum weir_status thing_put(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct thing_put *in = args;
    int64_t *value = weir_map_put(ctx, 0, WEIR_KEY(weir_number(in->key)));
    *(int64_t *)result = *value;
    *value = in->value;
    return WEIR_OK;
}

static enum weir_status thing_drop(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = weir_map_remove(ctx, 0, WEIR_KEY(weir_number(*(const int64_t *)args)));
    return WEIR_OK;
}

static enum weir_status thing_look(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct thing *self = row;
    struct thing_scan *out = result;
    *out = (struct thing_scan){ .generation = self->generation, .stale = self->stale, .ticks = self->ticks };
    struct weir_scan scan = { .reverse = self->generation % 2 };
    struct weir_key key;
    void *value;
    while (weir_map_next(ctx, 0, &scan, &key, &value)) {
        out->count++;
        out->sum += *(int64_t *)value * (key.part[0].n + 1);
    }
    if (weir_map_count(ctx, 0) != out->count) out->stale += 1000;
    return WEIR_OK;
}

/* Deletes, and once in a while makes values behind itself in the same transaction: they must not stay. */
static enum weir_status thing_unmake(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct thing *self = row;
    if (self->generation % 3 == 0) {
        int64_t *value = weir_map_put(ctx, 0, WEIR_KEY(weir_number(THING_KEYS + 1)));
        *value = 1;
    }
    return weir_delete(ctx);
}

static const struct weir_handler thing_handlers[] = {
    { "make", WEIR_CREATE, thing_make, WEIR_SCALAR(WEIR_INT), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "flash", WEIR_CREATE, thing_flash, WEIR_NOTHING, WEIR_NOTHING, "anyone" },
    { "tick", WEIR_ON, thing_tick, WEIR_SCALAR(WEIR_INT), WEIR_NOTHING, NULL },
    { "put", WEIR_ON, thing_put, WEIR_SHAPE(struct thing_put, put_fields), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "drop", WEIR_ON, thing_drop, WEIR_SCALAR(WEIR_INT), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "look", WEIR_QUERY, thing_look, WEIR_NOTHING, WEIR_SHAPE(struct thing_scan, scan_fields), "anyone" },
    { "unmake", WEIR_ON, thing_unmake, WEIR_NOTHING, WEIR_NOTHING, "anyone" },
    WEIR_END
};
static const struct weir_entity thing_entity = { .name = "thing", .row = WEIR_SHAPE(struct thing, thing_fields),
                                                 .maps = thing_maps, .handlers = thing_handlers };

/* ---- clocks: called by schedules ---- */

static const struct weir_field clock_fields[] = { WEIR_FIELD(struct clock_row, count, WEIR_INT),
    WEIR_FIELD(struct clock_row, last, WEIR_INT), WEIR_FIELD(struct clock_row, wrong, WEIR_INT), WEIR_END };

/* Each due time once and in order, none before its time, and with "all" none left out. */
static enum weir_status clock_tick(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct clock_row *self = row;
    int64_t due = *(const int64_t *)args, every = box_plan.every_ms;
    bool all = weir_self(ctx).ptr[0] == 'a';
    if (due % every != 0 || due > weir_now(ctx) || due <= self->last || (all && self->count > 0 && due != self->last + every))
        self->wrong++;
    self->last = due;
    self->count++;
    return WEIR_OK;
}

/* A schedule that is due in years only: it runs when somebody says so. */
static enum weir_status clock_push(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct clock_row *)row)->count++;
    return WEIR_OK;
}

static enum weir_status clock_look(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(struct clock_row *)result = *(const struct clock_row *)row;
    return WEIR_OK;
}

static const struct weir_handler clock_handlers[] = {
    { "tick", WEIR_ON, clock_tick, WEIR_SCALAR(WEIR_TIME), WEIR_NOTHING, NULL },
    { "push", WEIR_ON, clock_push, WEIR_NOTHING, WEIR_NOTHING, NULL },
    { "look", WEIR_QUERY, clock_look, WEIR_NOTHING, WEIR_SHAPE(struct clock_row, clock_fields), "anyone" },
    WEIR_END
};
static const struct weir_entity clock_entity = { .name = "clock", .row = WEIR_SHAPE(struct clock_row, clock_fields),
                                                 .handlers = clock_handlers };

static enum weir_status add_schedules(struct weir_app *app)
{
    static const char *const policies[] = { "once", "all", "skip", "once" }, *const keys[] = { "once", "all", "skip", "nap" };
    enum weir_status st = WEIR_OK;
    for (int i = 0; i < 4 && st == WEIR_OK; i++) {
        struct weir_schedule s = { .when = box_plan.every, .type = "clock", .key = keys[i], .handler = "tick",
                                   .missed = policies[i], .name = keys[i] };
        st = weir_every(app, &s);
    }
    struct weir_schedule hand = { .when = "@yearly", .type = "clock", .key = "hand", .handler = "push", .missed = "skip", .name = "hand" };
    return st == WEIR_OK ? weir_every(app, &hand) : st;
}

enum weir_status box_app(struct weir_app *app)
{
    static const struct weir_follow follow = { "box", "moved", "to", box_event, NULL };
    weir_use(app, &receive);
    weir_use(app, &refuse);
    weir_use(app, &poke);
    weir_use(app, &echo);
    weir_use(app, &number);
    enum weir_status st = weir_add_entity(app, &box_entity);
    if (st == WEIR_OK) st = weir_add_entity(app, &thing_entity);
    if (st == WEIR_OK) st = weir_add_entity(app, &clock_entity);
    if (box_plan.streams) {
        box_stream.keep = box_plan.keep;
        box_stream.tombstone = box_plan.latest ? "gone" : NULL;
        if (st == WEIR_OK) st = weir_add_stream(app, &box_stream);
        if (st == WEIR_OK) st = weir_add_follow(app, &follow);
    }
    if (box_plan.asks) {
        bank.timeout_ms = box_plan.timeout_ms;
        bank.give_up_ms = box_plan.give_up_ms;
        if (st == WEIR_OK) st = weir_add_outside(app, &bank);
    }
    if (box_plan.schedules && st == WEIR_OK) st = add_schedules(app);
    return st;
}
