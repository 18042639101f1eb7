/*
 * work.h - the transactions of a history: what each one asks for, and its line.
 *
 * A transaction is a function of (seed, number) alone: whoever must send it again, also after its own
 * death, makes it again. Values are unique over a history, as the checker wants them.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_WORK_H
#define WEIR_TESTS_WORK_H

#include "../harness/history_app.h"

#define WORK_OPS_MAX 8
#define WORK_ACCOUNTS 12
#define WORK_LISTS 8
#define WORK_REGS 8
#define WORK_SOURCES 16
/* Transactions before names are new: lists, so that they stay short; the others, so that what nobody can know any
 * more (two unknown changes by one amount) stays with few keys, and the checker can replay the others. */
#define WORK_LIST_AGE 150
#define WORK_REG_AGE 600
#define WORK_ACCOUNT_AGE 3000
#define WORK_TALLY_AGE 5000
#define WORK_RING_AGE 1000

/* Which handler is asked: the service with all operations, or one entity straight. */
enum entry { ENTRY_RUN, ENTRY_TRANSFER, ENTRY_AUDIT, ENTRY_READ, ENTRY_GET, ENTRY_TALLY, ENTRY_LOOK };
#define ENTRY_COUNT 7

struct work {
    uint64_t number;
    enum entry entry;
    bool has_id, is_final;
    char id[40];
    size_t count;
    struct op ops[WORK_OPS_MAX];
    char names[WORK_OPS_MAX][2][24];
};

/* What a line says besides the operations. */
struct seen {
    unsigned client, shards;
    uint64_t start, end;
    const char *outcome; /* ok, fail, unknown */
    const char *code;    /* of a failure */
};

struct text {
    char *ptr;
    size_t len, capacity;
};

void text_add(struct text *text, const void *bytes, size_t len);
__attribute__((format(printf, 2, 3))) void text_print(struct text *text, const char *format, ...);

void work_make(struct work *work, uint64_t seed, uint64_t number);
/* The n-th read after the last fault; false when every entity that `numbers` transactions can have touched
 * has been read. */
bool work_make_final(struct work *work, uint64_t numbers, uint64_t n);
/* Appends the line; `results` is NULL unless the outcome is ok. */
void work_line(struct text *text, const struct work *work, const struct seen *seen,
               const struct op_result *results);
/* Number of shards whose entities it names, when there are so many. */
unsigned work_spread(const struct work *work, unsigned shards);
/* What is wrong with answers that prove themselves; NULL: nothing. */
const char *work_judge(const struct work *work, const struct op_result *results);
/* The lines that say what the accounts of so many transactions hold at first. */
void work_initial(struct text *text, uint64_t numbers);
uint64_t work_now(void);

#endif
