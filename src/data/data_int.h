/*
 * data_int.h - what the files of this room share: members of structs, and problems.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_DATA_INT_H
#define WEIR_DATA_INT_H

#include "data/shape.h"

const char *kind_name(enum weir_kind kind);
bool kind_is_int(enum weir_kind kind);
bool kind_is_text(enum weir_kind kind);
int64_t int_load(const struct field *f, const void *at);
void int_store(const struct field *f, void *at, int64_t n);
void text_store(const struct field *f, void *at, struct weir_str text);
bool start_is_nil(const struct field *f);
bool value_is_nil(const struct field *f, const void *at);
void value_set_nil(const struct field *f, void *at);
enum weir_status problem_set(struct problem *problem, enum weir_status status,
                             struct weir_str field, const char *rule, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/** Puts the name of what holds the field before its path; index < 0: a record. */
void problem_within(struct problem *problem, struct weir_str outer, int64_t index);

#endif
