/*
 * shape.h - the declared form of rows, arguments and results, and their three forms:
 * struct (what handlers see), packed (what is stored and sent), JSON (what people see).
 *
 * Packed: for each field that differs from its start, in order of id: varint (id << 2 | wire), then
 *   wire 0: varint (whole numbers zigzag; bool; enum places), 1: 8 bytes (double),
 *   wire 2: varint length and bytes (texts, refs, JSON; records packed inside; lists: varint count and
 *           then each element as varint length and the packed element), wire 3: nil, where start is not.
 * A scalar packs as a shape with one field of id 1. An unknown id is skipped, an absent one has its start:
 * so fields may come and go. Equal structs give equal bytes. The start that counts is the one that the data
 * has seen first, `base`: another start is one of new structs and changes none that there is.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_DATA_SHAPE_H
#define WEIR_DATA_SHAPE_H

#include "base/mem.h"

#define SHAPE_LIST_MAX 1000u
#define SHAPE_FIELDS_MAX 256u
#define SHAPE_DEPTH_MAX 8u

struct shape;

/* A rule of the application's own on one value, e.g. a Lua function; true: kept. */
typedef bool shape_check_fn(void *arg, const void *value);

struct field {
    struct weir_str name;
    enum weir_kind kind;
    uint32_t id; /* in packed form; from 1. Arguments: the position. Rows: given by the catalog */
    uint32_t offset, size;
    bool optional;
    bool inline_text; /* char[n] member */
    bool has_min, has_max;
    int64_t min, max;            /* also for floats, when whole */
    double float_min, float_max; /* floats */
    bool has_start;
    int64_t start_int; /* int, bool, enum, time */
    double start_float;
    struct weir_str start_text;
    /* Whose start the packed form leaves out, where that is another than ours: what the data was begun with. NULL: ours. */
    const struct field *base;
    struct weir_str type; /* ref: the entity type's name */
    const struct weir_str *words;
    uint32_t word_count;
    const struct shape *shape; /* record, list element */
    shape_check_fn *check;
    void *check_arg;
};

struct shape {
    struct field *fields;
    uint32_t count;
    uint32_t size;     /* bytes of the struct */
    bool scalar;       /* one unnamed field at offset 0 */
    struct plan *plan; /* NULL: none, all is done field by field */
    /* where there is a plan: */
    bool deep;  /* with texts or lists: a copy is more than its bytes */
    bool flat;  /* no lists: structs with the same bytes are the same value */
    bool heavy; /* flat, and it takes longer to pack one than to compare two */
};

/* What is wrong with a value, ready for a client. */
struct problem {
    enum weir_status status; /* ARG, RANGE, CHECK, TOOBIG */
    char text[256];          /* for people: which field, which rule, the limit, the value */
    char field[96];          /* path, e.g. "lines[2].count" */
    char rule[32]; /* "type", "min", "max", "missing", "unknown", "utf8", "check", "range" */
};
/** No problem yet. As an initializer, without clearing 400 bytes. */
static inline void problem_clear(struct problem *problem)
{
    problem->status = WEIR_OK;
    problem->text[0] = problem->field[0] = problem->rule[0] = 0;
}

/** Lays out fields in order with natural alignment: fills offset and size of each (int, time, enum as
 *  int64_t; bool; double; weir_str; weir_ref; weir_list; nested size) and shape->size. */
void shape_layout(struct shape *shape);
/** Makes the engine's shape of a public one; false with *why when it makes no sense. */
bool shape_of(struct arena *arena, const struct weir_shape *from, struct shape **shape,
              const char **why);
/** A copy with fields of its own, so that they may be numbered otherwise, in the same struct; without a plan. */
struct shape *shape_clone(struct arena *arena, const struct shape *from);
/**
 * Plans a shape that is used often, and those within: the same results, faster. Once all fields are as they stay, ids too; to be
 * called again after a change. Not while another thread uses the shape.
 */
void shape_plan(struct arena *arena, struct shape *shape);
/** A text, bytes, reference or JSON member: char[n] or struct weir_str. */
struct weir_str text_load(const struct field *f, const void *at);
void text_store(const struct field *f, void *at, struct weir_str text);
/** A whole number, time or enum of any size; `at` is the member. */
static inline int64_t int_load(const struct field *f, const void *at)
{
    switch (f->size) {
    case 1: return *(const int8_t *)at;
    case 2: {
        int16_t n;
        memcpy(&n, at, sizeof(n));
        return n;
    }
    case 4: {
        int32_t n;
        memcpy(&n, at, sizeof(n));
        return n;
    }
    default: {
        int64_t n;
        memcpy(&n, at, sizeof(n));
        return n;
    }
    }
}
static inline void int_store(const struct field *f, void *at, int64_t n)
{
    int8_t n8 = (int8_t)n;
    int16_t n16 = (int16_t)n;
    int32_t n32 = (int32_t)n;
    switch (f->size) {
    case 1: memcpy(at, &n8, 1); return;
    case 2: memcpy(at, &n16, 2); return;
    case 4: memcpy(at, &n32, 4); return;
    default: memcpy(at, &n, 8); return;
    }
}
/** Nil into the member at `at`, where its kind has one. */
void value_set_nil(const struct field *f, void *at);
/** Start values into `out` (shape->size bytes). */
void shape_start(const struct shape *shape, void *out);
/** What stored values depend on, of a field as it is declared: width, start, what it refers to. See field_base(). */
void field_form(const struct field *f, struct buf *out);
/** False: values of `was`, a form, may not fit the field any more; *why says what has changed. */
bool field_form_fits(const struct field *f, struct weir_str was, const char **why);
/** The same form with the width that the field has now: what is stored from here on may be as wide. */
void field_form_grown(const struct field *f, struct weir_str was, struct buf *out);
/** Sets the field's base, kept in `arena`, from such a form of its. */
void field_base(struct field *f, struct weir_str was, struct arena *arena);
/** The same of all arguments, or of a result: of equal forms the same packed bytes are the same values. */
void args_form(const struct shape *args, struct buf *out);
void result_form(const struct shape *result, struct buf *out);
/** True if what was packed as arguments of the form `was` is the same as arguments now: at most optional ones have been added. */
bool args_form_takes(const struct shape *args, struct weir_str was);
/** Deep copy with texts and lists in `arena`. */
void shape_copy(const struct shape *shape, const void *in, struct arena *arena, void *out);
/** Copies texts that stand elsewhere than in `before`, an earlier copy of the struct or NULL, into `arena`; those in lists stay. */
void shape_keep_texts(const struct shape *shape, const void *before, struct arena *arena,
                      void *value);
/** Judges types' limits and declared rules: widths, 2^53, finite, UTF-8, enum place, min, max, check,
 *  nil where not optional (arguments only: `nil_allowed` false refuses nil refs and times too). */
enum weir_status shape_judge(const struct shape *shape, const void *value, bool nil_allowed,
                             struct problem *problem);
/** The same of a value that was good as `before`, a copy of the struct: a text that stands where it stood is not looked through. */
enum weir_status shape_judge_change(const struct shape *shape, const void *value,
                                    const void *before, bool nil_allowed, struct problem *problem);
/** True if a value of `a` may be read as `b`: same kinds by position (names for records), b's widths not
 *  judged. `why` says the first difference. */
bool shape_fits(const struct shape *a, const struct shape *b, struct arena *arena,
                const char **why);
/** True when the layout is the same and every value that keeps the rules of `from` keeps those of `own`. */
bool shape_takes(const struct shape *own, const struct shape *from);
/** True when structs of both have the very same layout, so that a pointer may be passed on. */
bool shape_same_layout(const struct shape *a, const struct shape *b);

void pack(const struct shape *shape, const void *in, struct buf *out);
/** WEIR_CORRUPT on malformed bytes. Texts point into `bytes` unless `arena` copies are asked by `copy`. */
enum weir_status unpack(const struct shape *shape, struct weir_str bytes, struct arena *arena,
                        bool copy, void *out);

/* ---- JSON; jansson parses, we write ---- */
#define JSON_BYTES_MAX (1u << 20)
#define JSON_DEPTH_MAX 64u
void json_write(const struct shape *shape, const void *in,
                struct buf *out);                            /* scalar: the bare value */
void json_write_text(struct buf *out, struct weir_str text); /* quoted and escaped */
/** One value of the shape. */
enum weir_status json_read(const struct shape *shape, struct weir_str text, struct arena *arena,
                           void *out, struct problem *problem);
/** Arguments: an array by position, or an object by name; empty text is no arguments. */
enum weir_status json_read_args(const struct shape *shape, struct weir_str text,
                                struct arena *arena, void *out, struct problem *problem);
/** An argument or member that is not given is nil for `opt` and `any`, or has its declared start; else it is missing. */
bool field_may_be_left_out(const struct field *field);
/* The members of an object, or the items of an array, one by one. */
struct json_part {
    struct weir_str name; /* of a member */
    struct weir_str json; /* the value, compact; nil for null */
    struct weir_str text; /* of a string: its text; else nil */
};
struct json_parts {
    struct json_part *items;
    uint32_t count;
    bool is_object;
};
/** Takes an object or array apart, into the arena. */
enum weir_status json_parts(struct weir_str text, struct arena *arena, struct json_parts *out,
                            struct problem *problem);
/** One field from plain text, as RESP arguments and query parameters bring it: numbers in decimal, true or
 *  false or 1 or 0, words, keys and texts bare; records, lists and any as JSON, any falls back to a string. */
enum weir_status field_read_text(const struct field *field, struct weir_str text,
                                 struct arena *arena, void *out_struct, struct problem *problem);
/** The same of a text that lives as long as the arena: the value may point into it. */
enum weir_status field_keep_text(const struct field *field, struct weir_str text,
                                 struct arena *arena, void *out_struct, struct problem *problem);
/** True if the text is one valid JSON value. */
bool json_is_valid(struct weir_str text);
/** Rewrites valid JSON compactly. */
enum weir_status json_compact(struct weir_str text, struct buf *out);

/* ---- keys of typed parts: "{w}:d:c" ---- */
struct key_form {
    uint32_t count;
    const struct shape *row; /* that it was parsed for; another one may have the fields elsewhere */
    struct {
        struct weir_str name;
        enum weir_kind kind;
        uint32_t place; /* of its field in that row */
        bool braced;
    } part[WEIR_KEY_PARTS_MAX];
};
/** Parses a declaration; the kinds come from the row's fields of these names. */
bool key_form_parse(struct arena *arena, struct weir_str text, const struct shape *row,
                    struct key_form *form, const char **why);
/** "3:117" from parts; false when a part does not fit (a colon in any but the last). */
bool key_build(const struct key_form *form, const struct weir_part *parts, struct buf *out);
/** Sets the key parts' fields of a row struct from the key text; false when it does not fit the form. */
bool key_apply(const struct key_form *form, const struct shape *row, struct weir_str key,
               void *out);
/** The part of a key that routes: between the first { and the next } if there are, else for a form with a
 *  braced part that part, else the whole key. */
struct weir_str key_route(const struct key_form *form, struct weir_str key);

/* ---- ordered keys of maps: order of bytes is order of values ---- */
void map_key_write(const enum weir_kind *kinds, struct weir_key key, struct buf *out);
bool map_key_read(const enum weir_kind *kinds, struct weir_str bytes, struct arena *arena,
                  struct weir_key *key);

#endif
