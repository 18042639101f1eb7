/*
 * data_int.h - what the files of this room share: members of structs, and problems.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_DATA_INT_H
#define WEIR_DATA_INT_H

#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "data/shape.h"

enum wire { WIRE_VARINT = 0, WIRE_DOUBLE = 1, WIRE_BYTES = 2, WIRE_NIL = 3 };

/* How a field is packed, read, judged; see plan.c. */
enum step_kind {
    STEP_FIELD, /* as struct field says */
    STEP_INT,   /* int64_t that starts as 0 */
    STEP_TIME,  /* int64_t that starts as nil */
    STEP_TEXT   /* struct weir_str that starts empty */
};
struct step {
    uint32_t offset;
    uint32_t tag; /* of the packed form; of STEP_FIELD one that there is not */
    uint8_t kind;
    bool free; /* not STEP_FIELD, and no rule but these bounds, which only a number has */
    int64_t least, most;
};
static_assert(sizeof(struct weir_str) == 16, "text_stays() compares two words");
struct plan {
    void *start;         /* shape->size bytes */
    void *base;          /* the same of what is absent in packed form */
    uint32_t deep_count; /* fields whose copy is more than their bytes */
    uint8_t *deep;       /* their places */
    struct step steps[];
};

/** The same bytes at the same place, which nobody writes to. */
static inline bool text_stays(const char *at, const char *before)
{
    return load_le64(at) == load_le64(before) && load_le64(at + 8) == load_le64(before + 8);
}

const char *kind_name(enum weir_kind kind);
static inline bool kind_is_int(enum weir_kind kind)
{
    return kind == WEIR_INT || kind == WEIR_TIME || kind == WEIR_ENUM;
}

static inline bool kind_is_text(enum weir_kind kind)
{
    return kind == WEIR_TEXT || kind == WEIR_BYTES || kind == WEIR_REF || kind == WEIR_ANY;
}

static inline bool field_may_be_nil(const struct field *f)
{
    return f->optional || f->kind == WEIR_TIME || f->kind == WEIR_REF || f->kind == WEIR_ANY;
}
/** True when the field's start is nil. */
static inline bool start_is_nil(const struct field *f)
{
    return !f->has_start && field_may_be_nil(f);
}
/** What the packed form is made against. */
static inline const struct field *field_packed_against(const struct field *f)
{
    return f->base ? f->base : f;
}
/** A whole number that starts as 0: most fields are such. */
static inline bool field_is_plain(const struct field *f)
{
    return f->kind == WEIR_INT && !f->has_start && !f->optional && f->base == NULL;
}
void field_start(const struct field *f, void *at);
/** Of what is absent in packed form. */
void shape_base(const struct shape *shape, void *out);
bool value_is_nil(const struct field *f, const void *at);
enum weir_status problem_set(struct problem *problem, enum weir_status status,
                             struct weir_str field, const char *rule, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/** Of a field that is absent or nil and must not be. */
enum weir_status problem_missing(struct problem *problem, const struct field *f);
/** Puts the name of what holds the field before its path; index < 0: a record. */
void problem_within(struct problem *problem, struct weir_str outer, int64_t index);

#endif
