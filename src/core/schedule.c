/*
 * schedule.c - what repeats: weir.every. A schedule is an entity of the built-in type `_schedule`, its next run one
 * durable timer of that entity, and a run a message to the handler that the schedule names.
 *
 * So all of it is rows: a run happens once, whatever crashes, and what was missed while nothing ran is found by
 * comparing the last time in the row with now. The expression itself stands in the application: a tick that finds
 * another one in its row begins anew, one whose schedule is gone deletes itself.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "core/core_int.h"
#include "core/zone_load.h"

struct schedule_row {
    struct weir_str text, zone;
    int64_t last, next; /* looked at up to here; next run: WEIR_NIL while paused */
    bool paused;
    int64_t runs;
};
static const struct weir_field row_fields[] = { WEIR_FIELD(struct schedule_row, text, WEIR_TEXT),
                                                WEIR_FIELD(struct schedule_row, zone, WEIR_TEXT),
                                                WEIR_FIELD(struct schedule_row, last, WEIR_TIME),
                                                WEIR_FIELD(struct schedule_row, next, WEIR_TIME),
                                                WEIR_FIELD(struct schedule_row, paused, WEIR_BOOL),
                                                WEIR_FIELD(struct schedule_row, runs, WEIR_INT),
                                                WEIR_END };

static const struct schedule_def *def_of(struct weir_ctx *ctx)
{
    const struct catalog *catalog = ctx_catalog(ctx);
    for (uint32_t i = 0; i < catalog->schedule_count; i++) {
        if (str_eq(catalog->schedules[i]->name, weir_self(ctx))) return catalog->schedules[i];
    }
    return NULL;
}

/* One run: the due time is its argument if it takes one. */
static void run_send(struct weir_ctx *ctx, const struct schedule_def *def, int64_t due_ms)
{
    const struct shape *args = def->handler->args;
    int64_t *value = weir_scratch(ctx, args->size + 8u);
    if (args->count == 1) memcpy((char *)value + args->fields[0].offset, &due_ms, sizeof(due_ms));
    (void)ctx_send(ctx, def->handler, def->key, value);
}

static void plan_next(struct weir_ctx *ctx, const struct schedule_def *def,
                      struct schedule_row *self)
{
    self->next = schedule_next(&def->schedule, def->zone, weir_now(ctx));
    if (self->next > WEIR_INT_MAX) self->next = WEIR_NIL;
    else (void)weir_at(ctx, self->next, "tick", NULL);
}

static enum weir_status schedule_tick(struct weir_ctx *ctx, void *row, const void *args,
                                      void *result)
{
    struct schedule_row *self = row;
    const struct schedule_def *def = def_of(ctx);
    if (def == NULL) return weir_delete(ctx);
    if (!str_eq(self->text, def->text) || !str_eq(self->zone, def->zone_name)) {
        self->text = def->text;
        self->zone = def->zone_name;
        self->last = weir_now(ctx);
    }
    if (self->paused) return WEIR_OK;
    int64_t *due = weir_scratch(ctx, SCHEDULE_MISSED_MAX * sizeof(int64_t));
    bool cut = false;
    uint32_t count = schedule_missed(&def->schedule, def->zone, self->last, weir_now(ctx),
                                     def->policy, due, &cut);
    if (count > 1) MARK("a schedule makes up for missed runs");
    if (count == 0) MARK("a schedule ticks and nothing is due");
    for (uint32_t i = 0; i < count; i++) run_send(ctx, def, due[i]);
    if (cut) weir_trace(ctx, "older runs of a schedule were missed beyond the limit");
    self->last = weir_now(ctx);
    self->runs += count;
    plan_next(ctx, def, self);
    return WEIR_OK;
}

static enum weir_status schedule_pause(struct weir_ctx *ctx, void *row, const void *args,
                                       void *result)
{
    struct schedule_row *self = row;
    if (def_of(ctx) == NULL) return ctx_fail(ctx, WEIR_NOTFOUND, "there is no such schedule");
    self->paused = true;
    self->next = WEIR_NIL;
    return weir_cancel(ctx, "tick", NULL);
}

static enum weir_status schedule_resume(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    struct schedule_row *self = row;
    const struct schedule_def *def = def_of(ctx);
    if (def == NULL) return ctx_fail(ctx, WEIR_NOTFOUND, "there is no such schedule");
    if (!self->paused) return WEIR_OK;
    self->paused = false;
    self->last = weir_now(ctx);
    plan_next(ctx, def, self);
    return WEIR_OK;
}

/* A run now, besides those that are planned. */
static enum weir_status schedule_run(struct weir_ctx *ctx, void *row, const void *args,
                                     void *result)
{
    struct schedule_row *self = row;
    const struct schedule_def *def = def_of(ctx);
    if (def == NULL) return ctx_fail(ctx, WEIR_NOTFOUND, "there is no such schedule");
    run_send(ctx, def, weir_now(ctx));
    self->runs++;
    return WEIR_OK;
}

static const struct weir_handler handlers[] = {
    { "tick", WEIR_ON, schedule_tick, WEIR_NOTHING, WEIR_NOTHING, NULL },
    { "pause", WEIR_ON, schedule_pause, WEIR_NOTHING, WEIR_NOTHING, NULL },
    { "resume", WEIR_ON, schedule_resume, WEIR_NOTHING, WEIR_NOTHING, NULL },
    { "run", WEIR_ON, schedule_run, WEIR_NOTHING, WEIR_NOTHING, NULL },
    WEIR_END
};
const struct weir_entity schedule_entity = { .name = "_schedule",
                                             .row = WEIR_SHAPE(struct schedule_row, row_fields),
                                             .handlers = handlers };

/* ---- declaring ---- */

bool catalog_add_schedule(struct catalog *catalog, struct env *env, const struct schedule_def *from,
                          struct weir_str missed, const char **why)
{
    struct arena *arena = &catalog->arena;
    struct schedule_def *def = arena_alloc(arena, sizeof(*def));
    def->type = arena_copy(arena, from->type);
    def->handler_name = arena_copy(arena, from->handler_name);
    def->key = arena_copy(arena, from->key);
    def->text = arena_copy(arena, from->text);
    def->zone_name = arena_copy(arena, from->zone_name.len ? from->zone_name : STR("UTC"));
    def->at = from->at.ptr ? arena_copy(arena, from->at) : STR_NIL;
    def->name = from->name.len ? arena_copy(arena, from->name)
                               : arena_printf(arena, "%.*s%s%.*s:%.*s", STR_ARG(def->type),
                                              def->key.len ? "/" : "", STR_ARG(def->key),
                                              STR_ARG(def->handler_name));
    *why = NULL;
    if (!schedule_parse(def->text, arena, &def->schedule, why)) return false;
    if (!schedule_policy_parse(missed.len ? missed : STR("once"), &def->policy)) {
        *why = "`missed` is \"once\", \"all\" or \"skip\"";
        return false;
    }
    if (env != NULL && zone_load(env, def->zone_name, arena, &def->zone, why) != WEIR_OK)
        return false;
    *why = NULL;
    if (def->name.len > KEY_BYTES_MAX) *why = "its name is too long: give it one by `name`";
    for (uint32_t i = 0; i < catalog->schedule_count; i++) {
        if (str_eq(catalog->schedules[i]->name, def->name))
            *why = "there is one of that name: give it another by `name`";
    }
    if (*why != NULL) return false;
    catalog->schedules = mem_realloc(catalog->schedules,
                                     (catalog->schedule_count + 1) * sizeof(struct schedule_def *));
    catalog->schedules[catalog->schedule_count++] = def;
    return true;
}

/* ---- starting ---- */

/* Each schedule that is new, changed, or lost its timer gets one that is due at once: its tick sees to the rest. */
bool schedules_begin(struct engine *engine, struct buf *changes, char *error, size_t error_bytes)
{
    const struct catalog *catalog = engine->catalog;
    const struct type *type = catalog_type(catalog, STR("_schedule"));
    struct buf key = { 0 }, value = { 0 };
    struct arena arena = { 0 };
    bool good = true;
    for (uint32_t i = 0; i < catalog->schedule_count; i++) {
        struct schedule_def *def = catalog->schedules[i];
        const char *why = NULL;
        if (def->zone == NULL && zone_load(engine->env, def->zone_name, &engine->catalog->arena,
                                           &def->zone, &why) != WEIR_OK) {
            snprintf(error, error_bytes, "the schedule %.*s: %s", STR_ARG(def->name), why);
            good = false;
            break;
        }
        uint8_t slot = type_slot(type, def->name);
        struct shard *s = &engine->shards[slot_shard(engine, slot)];
        const struct entity *e = entity_look(s, type->id, def->name);
        struct schedule_row row = { .last = WEIR_NIL };
        if (e != NULL && entity_has_row(e) &&
            unpack(type->row, entity_row(e), &arena, false, &row) != WEIR_OK)
            row = (struct schedule_row){ .last = WEIR_NIL };
        bool same = str_eq(row.text, def->text) && str_eq(row.zone, def->zone_name);
        buf_reset(&key);
        key_owned(&key, ROW_TIMER, type->id, def->name);
        buf_add_byte(&key, 4);
        buf_add_text(&key, "tick");
        bool timer = tree_find(&s->rows, buf_str(&key)) != NULL;
        if (same && (timer || row.paused)) continue;
        buf_reset(&value);
        timer_value(&value, engine->env->wall_ms(engine->env), false, STR(""));
        (void)row_set(s, slot, buf_str(&key), buf_str(&value));
        store_change(changes, slot, buf_str(&key), buf_str(&value));
    }
    arena_free(&arena);
    buf_free(&key);
    buf_free(&value);
    return good;
}
