/*
 * shapes.h - declared forms with every kind of field, for the targets that decode against a shape.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_FUZZ_SHAPES_H
#define WEIR_TESTS_FUZZ_SHAPES_H

#include "data/shape.h"
#include "weir/weir.h"

struct inner {
    int64_t n;
    struct weir_str t;
    struct weir_list ns;
};
struct wide {
    int64_t i;
    int8_t small;
    int64_t maybe;
    double f;
    bool b;
    struct weir_str t;
    char code[8];
    struct weir_str bytes;
    int64_t when;
    int8_t colour;
    struct weir_ref other;
    struct inner in;
    struct weir_list list;
    struct weir_str any;
};

static const struct weir_shape int_shape = WEIR_SCALAR(WEIR_INT);
static const char *const colours[] = { "red", "green", "blue", NULL };
static const struct weir_field inner_fields[] = {
    WEIR_FIELD(struct inner, n, WEIR_INT, .min = WEIR_BOUND(-5), .max = WEIR_BOUND(1000), .start = WEIR_BOUND(7)),
    WEIR_FIELD(struct inner, t, WEIR_TEXT, .optional = true),
    WEIR_FIELD(struct inner, ns, WEIR_LIST, .shape = &int_shape, .max = WEIR_BOUND(4)), WEIR_END
};
static const struct weir_shape inner_shape = WEIR_SHAPE(struct inner, inner_fields);
static const struct weir_field wide_fields[] = {
    WEIR_FIELD(struct wide, i, WEIR_INT), WEIR_FIELD(struct wide, small, WEIR_INT),
    WEIR_FIELD(struct wide, maybe, WEIR_INT, .optional = true), WEIR_FIELD(struct wide, f, WEIR_FLOAT, .max = WEIR_BOUND(1 << 30)),
    WEIR_FIELD(struct wide, b, WEIR_BOOL, .start = WEIR_BOUND(1)), WEIR_FIELD(struct wide, t, WEIR_TEXT, .max = WEIR_BOUND(200)),
    WEIR_FIELD(struct wide, code, WEIR_TEXT), WEIR_FIELD(struct wide, bytes, WEIR_BYTES),
    WEIR_FIELD(struct wide, when, WEIR_TIME), WEIR_FIELD(struct wide, colour, WEIR_ENUM, .words = colours),
    WEIR_FIELD(struct wide, other, WEIR_REF, .type = "thing"), WEIR_FIELD(struct wide, in, WEIR_RECORD, .shape = &inner_shape),
    WEIR_FIELD(struct wide, list, WEIR_LIST, .shape = &inner_shape, .max = WEIR_BOUND(5)),
    WEIR_FIELD(struct wide, any, WEIR_ANY), WEIR_END
};
static const struct weir_shape wide_shape = WEIR_SHAPE(struct wide, wide_fields);

#endif
