/*
 * box_app.c - see box_app.h.
 * SPDX-License-Identifier: MIT
 */
#include "box_app.h"

#include <stdio.h>
#include <string.h>

struct box_plan box_plan = { .fail_one_in = 16, .delay_max_ms = 500 };

/* ---- boxes ---- */

#define BOX(member) WEIR_FIELD(struct box, member, WEIR_INT)
static const struct weir_field box_fields[] = { BOX(sent), BOX(received), BOX(set), BOX(fired), BOX(done), BOX(duplicates),
                                                BOX(disorder), BOX(early), BOX(refused), BOX(balked), WEIR_END };
enum { SEEN, LAST, FIRED };
static const struct weir_map box_maps[] = {
    { "seen", { WEIR_TEXT, WEIR_INT }, WEIR_SCALAR(WEIR_BOOL) },
    { "last", { WEIR_TEXT }, WEIR_SCALAR(WEIR_INT) },
    { "fired", { WEIR_INT }, WEIR_SCALAR(WEIR_BOOL) }, WEIR_END };
static const struct weir_field act_fields[] = { WEIR_FIELD(struct box_act, to, WEIR_REF, .type = "box"),
    WEIR_FIELD(struct box_act, messages, WEIR_INT), WEIR_FIELD(struct box_act, timers, WEIR_INT),
    WEIR_FIELD(struct box_act, refused, WEIR_INT), WEIR_END };
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

static bool fails_now(struct weir_ctx *ctx)
{
    return box_plan.fail_one_in != 0 && weir_random(ctx) % box_plan.fail_one_in == 0;
}

static void act_timers(struct weir_ctx *ctx, struct box *self, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        uint64_t draw = weir_random(ctx);
        int64_t most = draw % 8 ? 500 : box_plan.delay_max_ms;
        struct alarm alarm = { ++self->set, weir_now(ctx) + 1 + (int64_t)((draw >> 8) % (uint64_t)most) };
        weir_at(ctx, alarm.due, "ring", &alarm);
        if (alarm.n % 5 == 0) { /* cancelled and set again */
            struct alarm same = alarm;
            weir_cancel(ctx, "ring", &same);
            weir_at(ctx, alarm.due, "ring", &same);
        }
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
    for (int64_t i = 0; i < in->refused; i++) {
        struct note note = { weir_self(ctx), ++self->refused };
        struct alarm alarm = { ++self->balked, weir_now(ctx) + 1 };
        char *key = weir_scratch(ctx, 64); /* a receiver of its own: a failed message holds back what is behind it */
        snprintf(key, 64, "x-%.*s-%lld", (int)note.from.len, note.from.ptr, (long long)note.n);
        weir_send(ctx, (struct weir_ref){ { key, strlen(key) } }, &refuse, &note);
        weir_at(ctx, alarm.due, "balk", &alarm);
    }
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
    if (weir_map_get(ctx, FIRED, WEIR_KEY(weir_number(in->n))) != NULL) self->duplicates++;
    if (weir_now(ctx) < in->due) self->early++;
    bool *mark = weir_map_put(ctx, FIRED, WEIR_KEY(weir_number(in->n)));
    *mark = true;
    self->fired++;
    return WEIR_OK;
}

static enum weir_status box_look(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(struct box *)result = *(const struct box *)row;
    return WEIR_OK;
}

static const struct weir_handler box_handlers[] = {
    { "act", WEIR_ON, box_act, WEIR_SHAPE(struct box_act, act_fields), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "poke", WEIR_ON, box_poke, WEIR_NOTHING, WEIR_SCALAR(WEIR_INT), NULL },
    { "receive", WEIR_ON, box_receive, WEIR_SHAPE(struct note, note_fields), WEIR_NOTHING, NULL },
    { "echo", WEIR_ON, box_echo, WEIR_SHAPE(struct echo, echo_fields), WEIR_SCALAR(WEIR_INT), NULL },
    { "refuse", WEIR_ON, box_refuse, WEIR_SHAPE(struct note, note_fields), WEIR_NOTHING, NULL },
    { "ring", WEIR_ON, box_ring, WEIR_SHAPE(struct alarm, alarm_fields), WEIR_NOTHING, NULL },
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
    { "tick", WEIR_ON, thing_tick, WEIR_SCALAR(WEIR_INT), WEIR_NOTHING, NULL },
    { "put", WEIR_ON, thing_put, WEIR_SHAPE(struct thing_put, put_fields), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "drop", WEIR_ON, thing_drop, WEIR_SCALAR(WEIR_INT), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "look", WEIR_QUERY, thing_look, WEIR_NOTHING, WEIR_SHAPE(struct thing_scan, scan_fields), "anyone" },
    { "unmake", WEIR_ON, thing_unmake, WEIR_NOTHING, WEIR_NOTHING, "anyone" },
    WEIR_END
};
static const struct weir_entity thing_entity = { .name = "thing", .row = WEIR_SHAPE(struct thing, thing_fields),
                                                 .maps = thing_maps, .handlers = thing_handlers };

enum weir_status box_app(struct weir_app *app)
{
    weir_use(app, &receive);
    weir_use(app, &refuse);
    weir_use(app, &poke);
    weir_use(app, &echo);
    enum weir_status st = weir_add_entity(app, &box_entity);
    return st == WEIR_OK ? weir_add_entity(app, &thing_entity) : st;
}
