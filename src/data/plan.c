/*
 * plan.c - what is known of a shape before any value comes: its start, and half a cache line a field instead of the three
 * cache lines of a `struct field`.
 *
 * Most fields are whole numbers that start as 0, times that start as nil and texts that start empty. Each has a step of
 * its own in pack.c and shape.c; the others are done by their fields, as all are where a shape has no plan.
 * SPDX-License-Identifier: MIT
 */
#include "base/assert.h"
#include "data/data_int.h"

#define NO_TAG UINT32_MAX
#define HEAVY_FIELDS 6u

static enum step_kind step_kind_of(const struct field *f)
{
    bool plain = !f->has_start && !f->optional && f->base == NULL;
    if (f->kind == WEIR_INT && f->size == sizeof(int64_t) && plain) return STEP_INT;
    if (f->kind == WEIR_TIME && !f->has_start && f->base == NULL) return STEP_TIME;
    if (f->kind == WEIR_TEXT && !f->inline_text && plain) return STEP_TEXT;
    return STEP_FIELD;
}

/* Nothing is asked of a value but what its kind asks, and of a number its bounds. */
static bool step_is_free(const struct field *f, enum step_kind kind)
{
    bool bounded = f->has_min || f->has_max;
    return f->check == NULL && kind != STEP_FIELD && (kind != STEP_TEXT || !bounded);
}

static struct step step_make(const struct field *f)
{
    enum step_kind kind = step_kind_of(f);
    uint32_t tag = f->id << 2 | (kind == STEP_TEXT ? WIRE_BYTES : WIRE_VARINT);
    struct step step = { .offset = f->offset,
                         .tag = kind == STEP_FIELD ? NO_TAG : tag,
                         .kind = (uint8_t)kind,
                         .free = step_is_free(f, kind),
                         .least = -WEIR_INT_MAX,
                         .most = WEIR_INT_MAX };
    if (f->has_min && f->min > step.least) step.least = f->min;
    if (f->has_max && f->max < step.most) step.most = f->max;
    return step;
}

static bool field_is_flat(const struct field *f)
{
    return f->kind != WEIR_LIST && (f->kind != WEIR_RECORD || f->shape->flat);
}

static bool field_is_deep(const struct field *f)
{
    if (f->kind == WEIR_RECORD) return f->shape->deep;
    return f->kind == WEIR_LIST || (kind_is_text(f->kind) && !f->inline_text);
}

static struct plan *plan_make(struct arena *arena, const struct shape *shape)
{
    struct plan *plan = arena_alloc(arena, sizeof(*plan) + shape->count * sizeof(struct step));
    plan->start = arena_alloc(arena, shape->size + 1u);
    plan->base = arena_alloc(arena, shape->size + 1u);
    plan->deep = arena_alloc(arena, shape->count + 1u);
    return plan;
}

void shape_plan(struct arena *arena, struct shape *shape)
{
    ASSERT(shape->count <= SHAPE_FIELDS_MAX);
    struct plan *plan = shape->plan ? shape->plan : plan_make(arena, shape);
    shape->plan = NULL; /* so that the start is made field by field */
    shape->flat = true;
    plan->deep_count = 0;
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        ASSERT(f->kind != WEIR_RECORD || f->shape != NULL);
        if (f->shape != NULL) shape_plan(arena, (struct shape *)(uintptr_t)f->shape);
        plan->steps[i] = step_make(f);
        shape->flat = shape->flat && field_is_flat(f);
        if (field_is_deep(f)) plan->deep[plan->deep_count++] = (uint8_t)i;
    }
    shape->deep = plan->deep_count > 0;
    shape->heavy = shape->flat && (shape->deep || shape->count >= HEAVY_FIELDS);
    shape_start(shape, plan->start);
    shape_base(shape, plan->base);
    shape->plan = plan;
}
