/*
 * ycsb_rows.c - the core workloads of YCSB (B. F. Cooper et al., SoCC 2010) by --mix: A half reads and half updates, B 95 to 5,
 * C reads only, E 95 scans of 1 to 100 records to 5 inserts, F half reads and half read-modify-writes.
 *
 * Records of ten fields of 100 bytes; reads take all fields, updates change one. A value begins with the number of its
 * write. Checked: each record was changed as often as it was answered, each of its fields holds a value that was sent to
 * that field of that record; with E each scan has as many records as there are, and each insert is there.
 * SPDX-License-Identifier: MIT
 */
#include "bench/draw.h"

#define FIELDS 10u
#define FIELD_BYTES 100u
#define RANGE 1000u
#define SCAN_MAX 100
#define NUMBER_DIGITS 12

enum { READ, UPDATE, MODIFY, SCAN, INSERT, OPEN, AUDIT, AUDIT_RANGE };
static const struct verb verbs[] = {
    { "record", "read" },  { "record", "update" }, { "record", "modify" },
    { "range", "scan" },   { "range", "insert" },  { "record", "open" },
    { "record", "audit" }, { "range", "audit" },   { NULL, NULL },
};
static const char *const kinds[] = { "read", "update", "modify", "scan", "insert", NULL };
static const char *const mixes[] = { "a", "b", "c", "e", "f", NULL };
static const struct {
    uint32_t common, rare, percent; /* `percent` of the common one */
} shares[] = { { READ, UPDATE, 50 },
               { READ, UPDATE, 95 },
               { READ, READ, 100 },
               { SCAN, INSERT, 95 },
               { READ, MODIFY, 50 } };
#define MIX_E 3u

static const struct bench_param *const params[] = { &param_keys, &param_zipf, &param_mix, NULL };

struct rows {
    uint64_t keys;
    uint32_t mix;
    struct draw draw;
    uint32_t *changes; /* of each record, answered */
    uint64_t *target;  /* of each write, by its number: record * FIELDS + field */
    uint64_t writes, writes_room;
    uint64_t inserted; /* numbers given out so far, the loaded ones too */
    uint64_t *range_count, *range_sum, ranges_room;
    uint64_t wrong;
    char first[200];
};

static void rows_destroy(void *ptr)
{
    struct rows *self = ptr;
    draw_deinit(&self->draw);
    mem_free(self->changes);
    mem_free(self->target);
    mem_free(self->range_count);
    mem_free(self->range_sum);
    mem_free(self);
}

static void *rows_create(struct workload_setup *setup)
{
    struct rows *self = mem_alloc(sizeof(*self));
    if (setting_number(setup, "keys", 10000, 200, 100000000, &self->keys) &&
        setting_word(setup, "mix", mixes, &self->mix) &&
        draw_init(&self->draw, setup, 'r', self->keys, 0.99)) {
        self->changes = mem_alloc(self->keys * sizeof(*self->changes));
        self->inserted = self->keys;
        return self;
    }
    rows_destroy(self);
    return NULL;
}

/* A number for this write; so that what is found later can be told. */
static uint64_t write_number(struct rows *self, uint64_t record, uint32_t field)
{
    if (self->writes == self->writes_room) {
        self->writes_room = self->writes_room ? self->writes_room * 2 : 1024;
        self->target = mem_realloc(self->target, self->writes_room * sizeof(*self->target));
    }
    self->target[self->writes] = record * FIELDS + field;
    return self->writes++;
}

static void value_write(char *out, uint64_t number)
{
    char digits[NUMBER_DIGITS + 1];
    snprintf(digits, sizeof(digits), "%0*llu", NUMBER_DIGITS, (unsigned long long)number);
    memcpy(out, digits, NUMBER_DIGITS);
    for (uint32_t i = NUMBER_DIGITS; i < FIELD_BYTES; i++) out[i] = (char)('a' + (number + i) % 26);
}

/* All fields in one text. */
static void values_add(struct shot *shot, struct rows *self, uint64_t record)
{
    char values[FIELDS * FIELD_BYTES];
    for (uint32_t f = 0; f < FIELDS; f++)
        value_write(values + f * FIELD_BYTES, write_number(self, record, f));
    shot_text(shot, (struct weir_str){ values, sizeof(values) });
}

static void insert(struct rows *self, uint64_t n, uint32_t kind, struct shot *shot)
{
    shot_begin(shot, INSERT, kind);
    shot_key(shot, "%llu", (unsigned long long)(n / RANGE));
    shot_int(shot, (int64_t)n);
    values_add(shot, self, n);
    shot->note[0] = (int64_t)n;
}

/* What came into a range, by requests that were answered. */
static void range_note(struct rows *self, uint64_t n)
{
    uint64_t range = n / RANGE;
    if (range >= self->ranges_room) {
        uint64_t room = (range + 1) * 2;
        self->range_count = mem_realloc(self->range_count, room * sizeof(*self->range_count));
        self->range_sum = mem_realloc(self->range_sum, room * sizeof(*self->range_sum));
        for (uint64_t i = self->ranges_room; i < room; i++)
            self->range_count[i] = self->range_sum[i] = 0;
        self->ranges_room = room;
    }
    self->range_count[range]++;
    self->range_sum[range] += n;
}

static uint64_t rows_count(void *ptr)
{
    return ((struct rows *)ptr)->keys;
}

static void rows_load(void *ptr, uint64_t place, struct shot *shot)
{
    struct rows *self = ptr;
    if (self->mix == MIX_E) {
        insert(self, place, 0, shot);
        range_note(self, place); /* a load that fails ends the run */
        return;
    }
    shot_begin(shot, OPEN, 0);
    shot_key_number(shot, 'r', place);
    values_add(shot, self, place);
}

static void change(struct rows *self, struct random *random, uint64_t record, struct shot *shot)
{
    char value[FIELD_BYTES];
    uint32_t field = (uint32_t)random_below(random, FIELDS);
    value_write(value, write_number(self, record, field));
    shot_int(shot, field);
    shot_text(shot, (struct weir_str){ value, sizeof(value) });
}

static void rows_next(void *ptr, struct random *random, struct shot *shot)
{
    struct rows *self = ptr;
    bool common = random_below(random, 100) < shares[self->mix].percent;
    uint32_t kind = common ? shares[self->mix].common : shares[self->mix].rare;
    uint64_t record = draw_one(&self->draw, random);
    if (kind == INSERT) {
        insert(self, self->inserted++, INSERT, shot);
        return;
    }
    shot_begin(shot, kind, kind);
    shot->note[0] = (int64_t)record;
    if (kind == SCAN) {
        shot_key(shot, "%llu", (unsigned long long)(record / RANGE));
        shot->note[1] = random_between(random, 1, SCAN_MAX);
        shot_int(shot, (int64_t)record);
        shot_int(shot, shot->note[1]);
        return;
    }
    shot_key_number(shot, 'r', record);
    if (kind != READ) change(self, random, record, shot);
}

static enum outcome rows_judge(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct rows *self = ptr;
    uint64_t record = (uint64_t)shot->note[0], least, most;
    bool nothing = shot->kind == UPDATE || shot->kind == INSERT;
    if (answer->kind != (nothing ? ANSWER_NIL : ANSWER_NUMBERS))
        return answer_outcome(answer, NULL);
    switch (shot->kind) {
    case READ: return answer->items == FIELDS ? OUTCOME_DONE : OUTCOME_WRONG;
    case MODIFY:
        self->changes[record]++;
        return answer->items == FIELDS ? OUTCOME_DONE : OUTCOME_WRONG;
    case UPDATE: self->changes[record]++; return OUTCOME_DONE;
    case INSERT: range_note(self, record); return OUTCOME_DONE;
    case SCAN:
        /* What was loaded is there for sure; beyond, what has been inserted meanwhile may be. */
        most = (uint64_t)shot->note[1];
        least = self->keys - record < most ? self->keys - record : most;
        return answer->rows >= least && answer->rows <= most ? OUTCOME_DONE : OUTCOME_WRONG;
    default: return OUTCOME_WRONG;
    }
}

static uint64_t rows_verify_count(void *ptr)
{
    struct rows *self = ptr;
    return self->mix == MIX_E ? (self->inserted + RANGE - 1) / RANGE : self->keys;
}

static void rows_verify(void *ptr, uint64_t place, struct shot *shot)
{
    struct rows *self = ptr;
    if (place == 0) self->wrong = 0;
    shot_begin(shot, self->mix == MIX_E ? AUDIT_RANGE : AUDIT, 0);
    if (self->mix == MIX_E) shot_key(shot, "%llu", (unsigned long long)place);
    else shot_key_number(shot, 'r', place);
    shot->note[0] = (int64_t)place;
}

static void wrong(struct rows *self, const char *what, uint64_t place, int64_t found,
                  int64_t wanted)
{
    if (self->wrong++ > 0) return;
    snprintf(self->first, sizeof(self->first), "%s %llu: %lld, not %lld", what,
             (unsigned long long)place, (long long)found, (long long)wanted);
}

static void rows_verified(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct rows *self = ptr;
    uint64_t place = (uint64_t)shot->note[0];
    const int64_t *n = answer->numbers;
    uint32_t wanted = self->mix == MIX_E ? 2 : 1 + FIELDS;
    if (answer->kind != ANSWER_NUMBERS || answer->count != wanted) {
        wrong(self, "figures of", place, answer->count, wanted);
        return;
    }
    if (self->mix == MIX_E) {
        int64_t count = place < self->ranges_room ? (int64_t)self->range_count[place] : 0;
        int64_t sum = place < self->ranges_room ? (int64_t)self->range_sum[place] : 0;
        if (n[0] != count) wrong(self, "records in range", place, n[0], count);
        else if (n[1] != sum) wrong(self, "the numbers in range", place, n[1], sum);
        return;
    }
    if (n[0] != self->changes[place])
        wrong(self, "changes of record", place, n[0], self->changes[place]);
    for (uint32_t f = 0; f < FIELDS; f++) {
        uint64_t write = (uint64_t)n[1 + f];
        if (write >= self->writes || self->target[write] != place * FIELDS + f)
            wrong(self, "a field of record", place, n[1 + f], -1);
    }
}

static bool rows_conclude(void *ptr, struct buf *what)
{
    struct rows *self = ptr;
    uint64_t sum = 0;
    if (self->wrong > 0) {
        buf_printf(what, "%llu are wrong, first %s", (unsigned long long)self->wrong, self->first);
        return false;
    }
    for (uint64_t i = 0; i < self->keys; i++) sum += self->changes[i];
    if (self->mix == MIX_E)
        buf_printf(what, "all %llu records that were loaded or inserted are there",
                   (unsigned long long)self->inserted);
    else
        buf_printf(what, "%llu records hold what was sent to them and were changed %llu times",
                   (unsigned long long)self->keys, (unsigned long long)sum);
    return true;
}

extern const char ycsb_rows_lua[];
const struct workload workload_ycsb_rows = {
    .name = "ycsb",
    .about = "",
    .params = params,
    .verbs = verbs,
    .kinds = kinds,
    .lua = ycsb_rows_lua,
    .create = rows_create,
    .destroy = rows_destroy,
    .load_count = rows_count,
    .load = rows_load,
    .next = rows_next,
    .judge = rows_judge,
    .verify_count = rows_verify_count,
    .verify = rows_verify,
    .verified = rows_verified,
    .conclude = rows_conclude,
};
