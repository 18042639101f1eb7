/*
 * fan_native.c - the handlers of fan.lua in C.
 * SPDX-License-Identifier: MIT
 */
#include "bench/workload.h"

#define PAD_BYTES_MAX 32768

struct cell {
    int64_t n;
    struct weir_str pad;
};
struct open {
    int64_t bytes;
};
struct add {
    int64_t loops;
};
struct run {
    struct weir_str others;
    int64_t size, loops, together;
};

static const struct weir_field cell_fields[] = {
    WEIR_FIELD(struct cell, n, WEIR_INT),
    WEIR_FIELD(struct cell, pad, WEIR_TEXT, .max = WEIR_BOUND(PAD_BYTES_MAX)), WEIR_END
};
static const struct weir_field open_fields[] = { WEIR_FIELD(struct open, bytes, WEIR_INT,
                                                            .min = WEIR_BOUND(0),
                                                            .max = WEIR_BOUND(PAD_BYTES_MAX)),
                                                 WEIR_END };
static const struct weir_field add_fields[] = { WEIR_FIELD(struct add, loops, WEIR_INT), WEIR_END };
static const struct weir_field run_fields[] = {
    WEIR_FIELD(struct run, others, WEIR_TEXT),
    WEIR_FIELD(struct run, size, WEIR_INT, .min = WEIR_BOUND(1)),
    WEIR_FIELD(struct run, loops, WEIR_INT), WEIR_FIELD(struct run, together, WEIR_INT), WEIR_END
};
#define OPEN WEIR_SHAPE(struct open, open_fields)
#define ADD WEIR_SHAPE(struct add, add_fields)
#define RUN WEIR_SHAPE(struct run, run_fields)
#define NUMBER WEIR_SCALAR(WEIR_INT)

static const struct weir_shape number = NUMBER;
#define NUMBERS WEIR_SCALAR(WEIR_LIST, .shape = &number)

static struct weir_verb add = {
    .type = "cell", .handler = "add", .args = ADD, .result = WEIR_NOTHING
};

/* Each step waits for the one before, four cycles or so; the compiler must think that the result is used. */
static void work(int64_t loops)
{
    uint64_t x = 1;
    for (int64_t i = 0; i < loops; i++)
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    __asm__ volatile("" : : "r"(x));
}

static enum weir_status cell_open(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct cell *self = row;
    size_t bytes = (size_t)((const struct open *)args)->bytes;
    char *pad = weir_scratch(ctx, bytes + 1);
    (void)result;
    memset(pad, 'x', bytes);
    self->pad = (struct weir_str){ pad, bytes };
    self->n = 0;
    return WEIR_OK;
}

static enum weir_status cell_add(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    (void)ctx;
    (void)result;
    work(((const struct add *)args)->loops);
    ((struct cell *)row)->n++;
    return WEIR_OK;
}

static enum weir_status cell_run(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct cell *self = row;
    const struct run *in = args;
    struct add out = { in->loops };
    size_t size = (size_t)in->size, count = in->others.len / size;
    struct weir_call *calls = weir_scratch(ctx, (count + 1) * sizeof(*calls));
    enum weir_status status = WEIR_OK;
    for (size_t i = 0; i < count; i++)
        calls[i] = (struct weir_call){ { { in->others.ptr + i * size, size } }, &add, &out, NULL };
    if (in->together) status = weir_call_all(ctx, calls, count);
    for (size_t i = 0; i < count && !in->together && status == WEIR_OK; i++)
        status = weir_call(ctx, calls[i].to, calls[i].verb, calls[i].args, calls[i].result);
    work(in->loops);
    *(int64_t *)result = ++self->n;
    return status;
}

static enum weir_status cell_audit(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct cell *self = row;
    int64_t *found = weir_scratch(ctx, 2 * sizeof(*found));
    (void)args;
    found[0] = self->n;
    found[1] = (int64_t)self->pad.len;
    *(struct weir_list *)result = (struct weir_list){ found, 2 };
    return WEIR_OK;
}

static const struct weir_handler handlers[] = {
    { "open", WEIR_ON, cell_open, OPEN, WEIR_NOTHING, NULL },
    { "add", WEIR_ON, cell_add, ADD, WEIR_NOTHING, NULL },
    { "run", WEIR_ON, cell_run, RUN, NUMBER, NULL },
    { "audit", WEIR_QUERY, cell_audit, WEIR_NOTHING, NUMBERS, NULL },
    WEIR_END
};

static const struct weir_entity cell = {
    .name = "cell",
    .row = WEIR_SHAPE(struct cell, cell_fields),
    .handlers = handlers,
};

enum weir_status fan_native(struct weir_app *app)
{
    struct weir_verb *const used[] = { &add };
    return native_add(app, &cell, 1, used, 1);
}
