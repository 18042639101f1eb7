/*
 * shape.c - declared forms: layout, start values, copies, judgement, and whether two fit each other.
 * SPDX-License-Identifier: MIT
 */
#include "data/shape.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "data/data_int.h"

static const char *const kind_names[] = { "nothing", "int",  "float",     "bool",   "text", "bytes",
                                          "time",    "enum", "reference", "record", "list", "any" };

const char *kind_name(enum weir_kind kind)
{
    return kind <= WEIR_ANY ? kind_names[kind] : "?";
}

/* ---- members ---- */

struct weir_str text_load(const struct field *f, const void *at)
{
    struct weir_str text;
    if (f->inline_text) {
        const char *bytes = at;
        text.ptr = bytes;
        text.len = strnlen(bytes, f->size);
        return text;
    }
    memcpy(&text, at, sizeof(text));
    return text;
}

void text_store(const struct field *f, void *at, struct weir_str text)
{
    if (!f->inline_text) {
        memcpy(at, &text, sizeof(text));
        return;
    }
    memset(at, 0, f->size);
    size_t len = text.len < f->size ? text.len : f->size;
    if (len > 0) memcpy(at, text.ptr, len);
}

bool value_is_nil(const struct field *f, const void *at)
{
    if (kind_is_int(f->kind)) return f->size == 8 && int_load(f, at) == WEIR_NIL;
    if (kind_is_text(f->kind)) return !f->inline_text && text_load(f, at).ptr == NULL;
    if (f->kind == WEIR_FLOAT) {
        double n;
        memcpy(&n, at, sizeof(n));
        return isnan(n);
    }
    return false;
}

void value_set_nil(const struct field *f, void *at)
{
    double nan = (double)NAN;
    if (kind_is_int(f->kind)) int_store(f, at, WEIR_NIL);
    else if (kind_is_text(f->kind)) text_store(f, at, STR_NIL);
    else if (f->kind == WEIR_FLOAT) memcpy(at, &nan, sizeof(nan));
}

/* ---- layout ---- */

static uint32_t kind_size(const struct field *f)
{
    switch (f->kind) {
    case WEIR_BOOL: return sizeof(bool);
    case WEIR_INT:
    case WEIR_TIME:
    case WEIR_ENUM: return sizeof(int64_t);
    case WEIR_FLOAT: return sizeof(double);
    case WEIR_TEXT:
    case WEIR_BYTES:
    case WEIR_REF:
    case WEIR_ANY: return sizeof(struct weir_str);
    case WEIR_LIST: return sizeof(struct weir_list);
    case WEIR_RECORD: return f->shape->size;
    case WEIR_NONE: break;
    }
    return 0;
}

void shape_layout(struct shape *shape)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < shape->count; i++) {
        struct field *f = &shape->fields[i];
        f->size = kind_size(f);
        if (f->kind != WEIR_BOOL) at = (at + 7u) & ~7u;
        f->offset = at;
        at += f->size;
    }
    shape->size = (at + 7u) & ~7u;
}

struct shape *shape_clone(struct arena *arena, const struct shape *from)
{
    struct shape *shape = arena_alloc(arena, sizeof(*shape));
    *shape = *from;
    shape->plan = NULL;
    shape->deep = shape->flat = shape->heavy = false;
    shape->fields = arena_alloc(arena, (from->count + 1) * sizeof(struct field));
    for (uint32_t i = 0; i < from->count; i++) {
        struct field *f = &shape->fields[i];
        *f = from->fields[i];
        if (f->shape != NULL) f->shape = shape_clone(arena, f->shape);
    }
    return shape;
}

static bool wrong(const char **why, const char *text)
{
    *why = text;
    return false;
}

static bool field_of(struct arena *arena, const struct weir_field *from, struct field *f,
                     uint32_t depth, const char **why);

static bool shape_make(struct arena *arena, const struct weir_shape *from, struct shape **out,
                       uint32_t depth, const char **why)
{
    if (depth > SHAPE_DEPTH_MAX) return wrong(why, "records and lists nest deeper than 8");
    struct shape *shape = arena_alloc(arena, sizeof(*shape));
    uint32_t count = 0;
    if (from->scalar) count = 1;
    else
        while (from->fields != NULL && from->fields[count].name != NULL) count++;
    if (count > SHAPE_FIELDS_MAX) return wrong(why, "more than 256 fields");
    shape->fields = arena_alloc(arena, (count + 1) * sizeof(struct field));
    shape->count = count;
    shape->scalar = from->scalar;
    for (uint32_t i = 0; i < count; i++) {
        if (!field_of(arena, from->scalar ? &from->one : &from->fields[i], &shape->fields[i], depth,
                      why))
            return false;
        shape->fields[i].id = i + 1;
        for (uint32_t n = 0; n < i; n++) {
            if (str_eq(shape->fields[n].name, shape->fields[i].name))
                return wrong(why, "two fields of one name");
        }
    }
    shape->size = from->scalar ? shape->fields[0].size : from->size;
    *out = shape;
    return true;
}

static bool field_of(struct arena *arena, const struct weir_field *from, struct field *f,
                     uint32_t depth, const char **why)
{
    f->name = str_of(from->name);
    f->kind = from->kind;
    f->offset = from->offset;
    f->optional = from->optional;
    f->has_min = from->min.set;
    f->min = from->min.n;
    f->float_min = (double)from->min.n;
    f->has_max = from->max.set;
    f->max = from->max.n;
    f->float_max = (double)from->max.n;
    f->has_start = from->start.set;
    f->start_int = from->start.n;
    f->start_float = (double)from->start.n;
    if (from->type != NULL) f->type = str_of(from->type);
    if (from->kind <= WEIR_NONE || from->kind > WEIR_ANY)
        return wrong(why, "a field without a kind");
    if (from->shape != NULL) {
        struct shape *shape;
        if (!shape_make(arena, from->shape, &shape, depth + 1, why)) return false;
        f->shape = shape;
    }
    bool nested = from->kind == WEIR_RECORD || from->kind == WEIR_LIST;
    if (nested && (f->shape == NULL || f->shape->count == 0))
        return wrong(why, "a record or list without a shape");
    if (nested && from->optional) return wrong(why, "a record or list cannot be optional");
    if (from->kind == WEIR_BOOL && from->optional) return wrong(why, "a bool cannot be optional");
    f->size = from->size ? from->size : kind_size(f);
    if (from->kind == WEIR_TEXT && f->size != sizeof(struct weir_str)) f->inline_text = true;
    if (kind_is_int(from->kind) && f->size != 1 && f->size != 2 && f->size != 4 && f->size != 8)
        return wrong(why, "a whole number must be int8_t, int16_t, int32_t or int64_t");
    bool fixed = !kind_is_int(from->kind) && !f->inline_text;
    if (fixed && f->size != kind_size(f))
        return wrong(why, "a member's C type does not fit its kind");
    if ((from->optional || from->kind == WEIR_TIME) && kind_is_int(from->kind) && f->size != 8)
        return wrong(why, "a time or optional number must be int64_t");
    if (from->optional && f->inline_text) return wrong(why, "a char array cannot be optional");
    if (from->kind == WEIR_ENUM) {
        uint32_t count = 0;
        while (from->words != NULL && from->words[count] != NULL) count++;
        if (count == 0) return wrong(why, "an enum without words");
        struct weir_str *words = arena_alloc(arena, count * sizeof(struct weir_str));
        for (uint32_t i = 0; i < count; i++) words[i] = str_of(from->words[i]);
        f->words = words;
        f->word_count = count;
    }
    return true;
}

bool shape_of(struct arena *arena, const struct weir_shape *from, struct shape **shape,
              const char **why)
{
    return shape_make(arena, from, shape, 0, why);
}

/* ---- start values and copies ---- */

void field_start(const struct field *f, void *at)
{
    memset(at, 0, f->size);
    if (start_is_nil(f)) value_set_nil(f, at);
    else if (kind_is_int(f->kind)) int_store(f, at, f->has_start ? f->start_int : 0);
    else if (f->kind == WEIR_BOOL) *(bool *)at = f->has_start && f->start_int != 0;
    else if (f->kind == WEIR_FLOAT) memcpy(at, &f->start_float, sizeof(double));
    else if (kind_is_text(f->kind))
        text_store(f, at, f->has_start && f->start_text.ptr ? f->start_text : STR(""));
    else if (f->kind == WEIR_RECORD) shape_start(f->shape, at);
}

void shape_start(const struct shape *shape, void *out)
{
    if (shape->plan != NULL) {
        memcpy(out, shape->plan->start, shape->size);
        return;
    }
    memset(out, 0, shape->size);
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        if (field_is_plain(f)) continue; /* 0, as it is */
        field_start(f, (char *)out + f->offset);
    }
}

void shape_base(const struct shape *shape, void *out)
{
    if (shape->plan != NULL) {
        memcpy(out, shape->plan->base, shape->size);
        return;
    }
    shape_start(shape, out);
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        char *at = (char *)out + f->offset;
        if (f->kind == WEIR_RECORD) shape_base(f->shape, at);
        if (f->base == NULL || (start_is_nil(f->base) && !field_may_be_nil(f))) continue;
        field_start(f->base, at);
    }
}

static void field_copy(const struct field *f, const void *in, struct arena *arena, void *out)
{
    memmove(out, in, f->size);
    if (kind_is_text(f->kind) && !f->inline_text) {
        struct weir_str text = text_load(f, in);
        if (text.ptr != NULL) text_store(f, out, arena_copy(arena, text));
    } else if (f->kind == WEIR_RECORD) {
        shape_copy(f->shape, in, arena, out);
    } else if (f->kind == WEIR_LIST) {
        struct weir_list from;
        memcpy(&from, in, sizeof(from));
        struct weir_list to = { NULL, from.count };
        size_t size = f->shape->size;
        to.items = arena_alloc(arena, from.count * size + 8u);
        for (size_t i = 0; i < from.count; i++)
            shape_copy(f->shape, (const char *)from.items + i * size, arena,
                       (char *)to.items + i * size);
        memcpy(out, &to, sizeof(to));
    }
}

/* The fields whose copy is more than their bytes: one after the other, from the i-th on; count at the end. */
static inline uint32_t deep_next(const struct shape *shape, uint32_t *i)
{
    const struct plan *plan = shape->plan;
    if (plan != NULL) return *i < plan->deep_count ? plan->deep[(*i)++] : shape->count;
    return *i < shape->count ? (*i)++ : shape->count;
}

void shape_copy(const struct shape *shape, const void *in, struct arena *arena, void *out)
{
    if (in != out) memcpy(out, in, shape->size);
    if (shape->plan != NULL && !shape->deep) return;
    uint32_t at = 0;
    for (uint32_t i; (i = deep_next(shape, &at)) < shape->count;) {
        const struct field *f = &shape->fields[i];
        if (kind_is_text(f->kind) || f->kind == WEIR_RECORD || f->kind == WEIR_LIST)
            field_copy(f, (const char *)in + f->offset, arena, (char *)out + f->offset);
    }
}

void shape_keep_texts(const struct shape *shape, const void *before, struct arena *arena,
                      void *value)
{
    uint32_t next = 0;
    for (uint32_t i; (i = deep_next(shape, &next)) < shape->count;) {
        const struct field *f = &shape->fields[i];
        char *at = (char *)value + f->offset;
        const char *was = before ? (const char *)before + f->offset : NULL;
        if (f->kind == WEIR_RECORD) shape_keep_texts(f->shape, was, arena, at);
        if (!kind_is_text(f->kind) || f->inline_text || (was && text_stays(at, was))) continue;
        struct weir_str text = text_load(f, at);
        if (text.len > 0) text_store(f, at, arena_copy(arena, text));
    }
}

/* ---- judgement ---- */

enum weir_status problem_set(struct problem *problem, enum weir_status status,
                             struct weir_str field, const char *rule, const char *format, ...)
{
    problem->status = status;
    /* The path grows from the inside out: records and lists put their own name before it. */
    text_print(problem->field, sizeof(problem->field), "%.*s", STR_ARG(field));
    snprintf(problem->rule, sizeof(problem->rule), "%s", rule);
    int at = field.len > 0
                 ? snprintf(problem->text, sizeof(problem->text), "%.*s: ", STR_ARG(field))
                 : 0;
    va_list args;
    va_start(args, format);
    if (at >= 0 && (size_t)at < sizeof(problem->text))
        vsnprintf(problem->text + at, sizeof(problem->text) - (size_t)at, format, args);
    va_end(args);
    str_make_utf8(problem->text); /* what it quotes may be no text, and was cut at a byte */
    return status;
}

enum weir_status problem_missing(struct problem *problem, const struct field *f)
{
    const char *name = kind_name(f->kind), *article = strchr("aei", name[0]) ? "an" : "a";
    return problem_set(problem, WEIR_ARG, f->name, "missing", "%s %s is missing", article, name);
}

void problem_within(struct problem *problem, struct weir_str outer, int64_t index)
{
    char inner[sizeof(problem->field)], text[sizeof(problem->text)];
    memcpy(inner, problem->field, sizeof(inner));
    memcpy(text, problem->text, sizeof(text));
    const char *dot = inner[0] && inner[0] != '[' ? "." : "";
    if (index >= 0)
        text_print(problem->field, sizeof(problem->field), "%.*s[%lld]%s%s", STR_ARG(outer),
                   (long long)index, dot, inner);
    else
        text_print(problem->field, sizeof(problem->field), "%.*s%s%s", STR_ARG(outer),
                   outer.len ? dot : "", inner);
    size_t skip = strlen(inner);
    bool named = skip > 0 && strncmp(text, inner, skip) == 0 && text[skip] == ':';
    const char *rest = named ? text + skip + 2 : text;
    text_print(problem->text, sizeof(problem->text), "%s: %s", problem->field, rest);
}

/* Of a whole number or time; nil keeps to nothing. */
static inline bool int_keeps(const struct field *f, int64_t n)
{
    return n <= WEIR_INT_MAX && n >= -WEIR_INT_MAX && (!f->has_min || n >= f->min) &&
           (!f->has_max || n <= f->max);
}

static enum weir_status judge_int(const struct field *f, int64_t n, struct problem *problem)
{
    if (f->kind == WEIR_ENUM) {
        if (n >= 0 && n < (int64_t)f->word_count) return WEIR_OK;
        return problem_set(problem, WEIR_RANGE, f->name, "range",
                           "%lld is no place of the enum's %u words", (long long)n, f->word_count);
    }
    if (int_keeps(f, n)) return WEIR_OK;
    if (n > WEIR_INT_MAX || n < -WEIR_INT_MAX)
        return problem_set(problem, WEIR_RANGE, f->name, "range", "%lld is beyond 2^53 - 1",
                           (long long)n);
    if (f->has_min && n < f->min)
        return problem_set(problem, WEIR_CHECK, f->name, "min", "%lld is below its least, %lld",
                           (long long)n, (long long)f->min);
    return problem_set(problem, WEIR_CHECK, f->name, "max", "%lld is above its most, %lld",
                       (long long)n, (long long)f->max);
}

static enum weir_status judge_float(const struct field *f, double n, struct problem *problem)
{
    if (!isfinite(n))
        return problem_set(problem, WEIR_RANGE, f->name, "range", "the number is not finite");
    if (f->has_min && n < f->float_min)
        return problem_set(problem, WEIR_CHECK, f->name, "min", "%g is below its least, %g", n,
                           f->float_min);
    if (f->has_max && n > f->float_max)
        return problem_set(problem, WEIR_CHECK, f->name, "max", "%g is above its most, %g", n,
                           f->float_max);
    return WEIR_OK;
}

static bool is_key(struct weir_str text)
{
    return text.len > 0 && text.len <= 1024 && str_is_utf8(text);
}

/* Of a reference, which few have bounds for; nil keeps to nothing. */
static inline bool ref_keeps(const struct field *f, const void *at)
{
    return !f->has_min && !f->has_max && is_key(text_load(f, at));
}

static enum weir_status judge_text(const struct field *f, struct weir_str text,
                                   struct problem *problem)
{
    if (f->kind == WEIR_TEXT && !str_is_utf8(text))
        return problem_set(problem, WEIR_ARG, f->name, "utf8", "the text is not valid UTF-8");
    if (f->kind == WEIR_REF && !is_key(text))
        return problem_set(problem, WEIR_ARG, f->name, "key", "a key is a text of 1 to 1024 bytes");
    if (f->kind == WEIR_ANY) return WEIR_OK;
    if (f->has_min && text.len < (uint64_t)(f->min > 0 ? f->min : 0))
        return problem_set(problem, WEIR_CHECK, f->name, "min",
                           "%zu bytes are below its least, %lld", text.len, (long long)f->min);
    if (f->has_max && text.len > (uint64_t)(f->max > 0 ? f->max : 0))
        return problem_set(problem, WEIR_CHECK, f->name, "max",
                           "%zu bytes are above its most, %lld", text.len, (long long)f->max);
    return WEIR_OK;
}

static enum weir_status judge_list(const struct field *f, const void *at, bool nil_allowed,
                                   struct problem *problem)
{
    struct weir_list list;
    memcpy(&list, at, sizeof(list));
    uint64_t most = f->has_max ? (uint64_t)f->max : SHAPE_LIST_MAX;
    if (list.count > most)
        return problem_set(problem, f->has_max ? WEIR_CHECK : WEIR_BUDGET, f->name, "max",
                           "%zu elements are above its most, %llu", list.count,
                           (unsigned long long)most);
    if (f->has_min && list.count < (uint64_t)f->min)
        return problem_set(problem, WEIR_CHECK, f->name, "min",
                           "%zu elements are below its least, %lld", list.count, (long long)f->min);
    for (size_t i = 0; i < list.count; i++) {
        enum weir_status st = shape_judge(f->shape, (const char *)list.items + i * f->shape->size,
                                          nil_allowed, problem);
        if (st == WEIR_OK) continue;
        problem_within(problem, f->name, (int64_t)i + 1);
        return st;
    }
    return WEIR_OK;
}

static enum weir_status judge_field(const struct field *f, const void *at, bool nil_allowed,
                                    struct problem *problem)
{
    if (value_is_nil(f, at)) {
        bool may = f->optional || f->kind == WEIR_ANY || (nil_allowed && start_is_nil(f));
        if (may) return WEIR_OK;
        return problem_missing(problem, f);
    }
    enum weir_status st = WEIR_OK;
    double number;
    switch (f->kind) {
    case WEIR_INT:
    case WEIR_TIME:
    case WEIR_ENUM: st = judge_int(f, int_load(f, at), problem); break;
    case WEIR_FLOAT:
        memcpy(&number, at, sizeof(number));
        st = judge_float(f, number, problem);
        break;
    case WEIR_TEXT:
    case WEIR_BYTES:
    case WEIR_REF:
    case WEIR_ANY: st = judge_text(f, text_load(f, at), problem); break;
    case WEIR_RECORD:
        st = shape_judge(f->shape, at, nil_allowed, problem);
        if (st != WEIR_OK) problem_within(problem, f->name, -1);
        break;
    case WEIR_LIST: st = judge_list(f, at, nil_allowed, problem); break;
    case WEIR_BOOL:
    case WEIR_NONE: break;
    }
    if (st == WEIR_OK && f->check != NULL && !f->check(f->check_arg, at))
        st = problem_set(problem, WEIR_CHECK, f->name, "check", "its rule does not hold");
    return st;
}

static inline bool step_keeps_number(const struct step *step, const char *value)
{
    int64_t n;
    if (!step->free || step->kind == STEP_TEXT) return false;
    memcpy(&n, value + step->offset, sizeof(n));
    return n >= step->least && n <= step->most;
}

/* Is it one of the most, whose rules are kept and take no more than a look at its step? */
static inline bool step_keeps(const struct step *step, const char *value, const char *before,
                              bool nil_allowed)
{
    const char *at = value + step->offset;
    struct weir_str text;
    int64_t n;
    if (!step->free) return false;
    if (step->kind != STEP_TEXT) {
        memcpy(&n, at, sizeof(n));
        if (n >= step->least && n <= step->most) return true;
        return n == WEIR_NIL && nil_allowed && step->kind == STEP_TIME;
    }
    if (before != NULL && text_stays(at, before + step->offset)) return true;
    memcpy(&text, at, sizeof(text));
    return text.ptr != NULL && str_is_utf8(text);
}

/* The fields from the i-th on, whatever they are. */
static __attribute__((noinline)) enum weir_status judge_fields(const struct shape *shape,
                                                               uint32_t i, const void *value,
                                                               const void *before, bool nil_allowed,
                                                               struct problem *problem)
{
    const struct step *steps = shape->plan ? shape->plan->steps : NULL;
    for (; i < shape->count; i++) {
        if (steps != NULL && step_keeps(&steps[i], value, before, nil_allowed)) continue;
        const struct field *f = &shape->fields[i];
        const char *at = (const char *)value + f->offset;
        if (f->kind == WEIR_INT && f->check == NULL && int_keeps(f, int_load(f, at))) continue;
        if (f->kind == WEIR_REF && f->check == NULL && ref_keeps(f, at)) continue;
        enum weir_status st = judge_field(f, at, nil_allowed, problem);
        if (st != WEIR_OK) return st;
    }
    return WEIR_OK;
}

enum weir_status shape_judge_change(const struct shape *shape, const void *value,
                                    const void *before, bool nil_allowed, struct problem *problem)
{
    uint32_t i = 0, count = shape->count;
    /* numbers that come first, without a call */
    if (shape->plan != NULL) {
        const struct step *steps = shape->plan->steps;
        while (i < count && step_keeps_number(&steps[i], value)) i++;
    }
    return i == count ? WEIR_OK : judge_fields(shape, i, value, before, nil_allowed, problem);
}

enum weir_status shape_judge(const struct shape *shape, const void *value, bool nil_allowed,
                             struct problem *problem)
{
    return shape_judge_change(shape, value, NULL, nil_allowed, problem);
}

/* ---- do two shapes meet? ---- */

static bool field_fits(const struct field *a, const struct field *b, struct arena *arena,
                       const char **why)
{
    if (a->kind != b->kind) {
        *why = arena_printf(arena, "`%.*s` is %s here and %s there", STR_ARG(b->name),
                            kind_name(a->kind), kind_name(b->kind))
                   .ptr;
        return false;
    }
    return a->shape == NULL || b->shape == NULL || shape_fits(a->shape, b->shape, arena, why);
}

bool shape_fits(const struct shape *a, const struct shape *b, struct arena *arena, const char **why)
{
    /* A scalar meets a struct of one field: weir_verb's WEIR_SCALAR and a handler of one parameter. */
    if (a->count != b->count) {
        *why = arena_printf(arena, "%u fields here and %u there", a->count, b->count).ptr;
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (!field_fits(&a->fields[i], &b->fields[i], arena, why)) return false;
    }
    return true;
}

bool shape_same_layout(const struct shape *a, const struct shape *b)
{
    if (a->count != b->count || a->size != b->size) return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct field *f = &a->fields[i], *g = &b->fields[i];
        if (f->kind != g->kind || f->offset != g->offset || f->size != g->size ||
            f->inline_text != g->inline_text)
            return false;
        if (f->word_count != g->word_count) return false;
        if ((f->shape == NULL) != (g->shape == NULL)) return false;
        if (f->shape != NULL && !shape_same_layout(f->shape, g->shape)) return false;
    }
    return true;
}

static bool field_takes(const struct field *own, const struct field *from)
{
    if (own->check != NULL || (from->optional && !own->optional)) return false;
    if (own->kind == WEIR_FLOAT && (own->has_min || own->has_max)) return false;
    if (own->has_min && !(from->has_min && from->min >= own->min)) return false;
    if (own->has_max && !(from->has_max && from->max <= own->max)) return false;
    if (own->kind == WEIR_LIST && !own->has_max && from->has_max && from->max > SHAPE_LIST_MAX)
        return false;
    return own->shape == NULL || shape_takes(own->shape, from->shape);
}

bool shape_takes(const struct shape *own, const struct shape *from)
{
    if (own == from) return true;
    if (!shape_same_layout(own, from)) return false;
    for (uint32_t i = 0; i < own->count; i++) {
        if (!field_takes(&own->fields[i], &from->fields[i])) return false;
    }
    return true;
}
