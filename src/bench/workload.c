/*
 * workload.c - the list of workloads, and what they share: building calls, settings, ordinary answers.
 * SPDX-License-Identifier: MIT
 */
#include "bench/workload.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>

#include "base/assert.h"
#include "base/hash.h"
#include "store/store.h"

const struct workload *const workloads[] = { &workload_ycsb,   &workload_smallbank, &workload_tpcc,
                                             &workload_travel, &workload_voter,     &workload_fan,
                                             &workload_market, &workload_hot,       NULL };

const struct bench_param param_keys = { "keys", "N", "entities that are drawn from" };
const struct bench_param param_zipf = {
    "zipf", "THETA", "skew of the keys, 0 (uniform) to 0.999; 0 is the hottest"
};
const struct bench_param param_cross = {
    "cross", "PERCENT", "share of requests over two shards, 0 to 100 (as the keys fall)"
};
const struct bench_param param_hot = {
    "hot", "PERCENT", "share of requests whose account, or second one, is u0 (0)"
};
const struct bench_param param_initial = { "initial", "N",
                                           "what each account, place or product has at first" };
const struct bench_param param_mix = { "mix", "NAME", "which transactions; see below" };

/* ---- calls ---- */

void shot_begin(struct shot *shot, uint32_t verb, uint32_t kind)
{
    shot->verb = verb;
    shot->kind = kind;
    shot->key_len = shot->arg_count = shot->text_len = shot->cell_count = 0;
}

void shot_key(struct shot *shot, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(shot->key, sizeof(shot->key), format, args);
    va_end(args);
    ASSERT(len >= 0 && (size_t)len < sizeof(shot->key));
    shot->key_len = (uint32_t)len;
}

static uint32_t number_write(char *out, char letter, uint64_t n)
{
    out[0] = letter;
    return 1 + (uint32_t)int_text((int64_t)n, out + 1);
}

void shot_key_number(struct shot *shot, char letter, uint64_t n)
{
    shot->key_len = number_write(shot->key, letter, n);
}

static struct shot_arg *arg_add(struct shot *shot, enum shot_arg_kind kind)
{
    ASSERT(shot->arg_count < SHOT_ARGS_MAX);
    struct shot_arg *arg = &shot->arg[shot->arg_count++];
    arg->kind = kind;
    return arg;
}

void shot_int(struct shot *shot, int64_t n)
{
    arg_add(shot, SHOT_INT)->n = n;
}

void shot_text(struct shot *shot, struct weir_str text)
{
    struct shot_arg *arg = arg_add(shot, SHOT_TEXT);
    ASSERT(shot->text_len + text.len <= sizeof(shot->text));
    memcpy(shot->text + shot->text_len, text.ptr, text.len);
    arg->at = shot->text_len;
    arg->len = (uint32_t)text.len;
    shot->text_len += arg->len;
}

void shot_text_number(struct shot *shot, char letter, uint64_t n)
{
    struct shot_arg *arg = arg_add(shot, SHOT_TEXT);
    ASSERT(shot->text_len + 24 <= sizeof(shot->text));
    arg->at = shot->text_len;
    arg->len = number_write(shot->text + shot->text_len, letter, n);
    shot->text_len += arg->len;
}

int64_t *shot_rows(struct shot *shot, uint32_t rows, const char *const *names, uint32_t columns)
{
    struct shot_arg *arg = arg_add(shot, SHOT_ROWS);
    ASSERT(shot->cell_count + rows * columns <= SHOT_CELLS_MAX);
    arg->n = rows;
    arg->columns = columns;
    arg->names = names;
    arg->at = shot->cell_count;
    shot->cell_count += rows * columns;
    return shot->cell + arg->at;
}

uint32_t key_shard(struct weir_str key, uint32_t shards)
{
    return (uint32_t)(hash64(0, key.ptr, key.len) % STORE_SLOTS % shards);
}

/* ---- answers ---- */

bool answer_is_error(const struct answer *answer, const char *word)
{
    return answer->kind == ANSWER_ERROR && answer->word.len == strlen(word) &&
           strncasecmp(answer->word.ptr, word, answer->word.len) == 0;
}

enum outcome answer_outcome(const struct answer *answer, const char *rule)
{
    static const char *const busy[] = { "overloaded", "timeout", "loading",
                                        "shutdown",   "oom",     "diskfull" };
    if (answer->kind != ANSWER_ERROR) return OUTCOME_WRONG;
    if (rule && answer_is_error(answer, rule)) return OUTCOME_REFUSED;
    if (answer_is_error(answer, "unknown")) return OUTCOME_UNKNOWN;
    for (size_t i = 0; i < sizeof(busy) / sizeof(busy[0]); i++)
        if (answer_is_error(answer, busy[i])) return OUTCOME_FAILED;
    return OUTCOME_WRONG;
}

/* ---- settings ---- */

const char *setting_text(const struct workload_setup *setup, const char *name)
{
    for (unsigned i = 0; i < setup->options->setting_count; i++)
        if (strcmp(setup->options->settings[i].name, name) == 0)
            return setup->options->settings[i].text;
    return NULL;
}

bool setting_number(struct workload_setup *setup, const char *name, uint64_t standard, uint64_t min,
                    uint64_t max, uint64_t *out)
{
    const char *text = setting_text(setup, name);
    *out = standard;
    if (!text) return true;
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == 0 && n >= min && n <= max) {
        *out = n;
        return true;
    }
    snprintf(setup->why, sizeof(setup->why), "--%s %s: a whole number from %llu to %llu is wanted",
             name, text, (unsigned long long)min, (unsigned long long)max);
    return false;
}

bool setting_share(struct workload_setup *setup, const char *name, double standard, double max,
                   double *out)
{
    const char *text = setting_text(setup, name);
    *out = standard;
    if (!text) return true;
    char *end = NULL;
    double n = strtod(text, &end);
    if (text[0] && *end == 0 && n >= 0 && n <= max) {
        *out = n;
        return true;
    }
    snprintf(setup->why, sizeof(setup->why), "--%s %s: a number from 0 to %g is wanted", name, text,
             max);
    return false;
}

bool setting_word(struct workload_setup *setup, const char *name, const char *const *words,
                  uint32_t *place)
{
    const char *text = setting_text(setup, name);
    *place = 0;
    if (!text) return true;
    for (uint32_t i = 0; words[i]; i++) {
        if (strcasecmp(words[i], text) != 0) continue;
        *place = i;
        return true;
    }
    int at = snprintf(setup->why, sizeof(setup->why), "--%s %s: one of", name, text);
    for (uint32_t i = 0; words[i] && at > 0 && (size_t)at < sizeof(setup->why); i++)
        at += snprintf(setup->why + at, sizeof(setup->why) - (size_t)at, "%s %s", i ? "," : "",
                       words[i]);
    return false;
}

/* ---- handlers in C ---- */

enum weir_status native_add(struct weir_app *app, const struct weir_entity *entities, size_t count,
                            struct weir_verb *const *used, size_t used_count)
{
    enum weir_status status = WEIR_OK;
    for (size_t i = 0; i < count && status == WEIR_OK; i++)
        status = weir_add_entity(app, &entities[i]);
    for (size_t i = 0; i < used_count && status == WEIR_OK; i++) status = weir_use(app, used[i]);
    return status;
}

const struct weir_field native_account_fields[] = {
    WEIR_FIELD(struct native_account, balance, WEIR_INT, .min = WEIR_BOUND(0)), WEIR_END
};

enum weir_status native_account_open(struct weir_ctx *ctx, void *row, const void *args,
                                     void *result)
{
    (void)ctx;
    (void)result;
    *(struct native_account *)row = *(const struct native_account *)args;
    return WEIR_OK;
}

enum weir_status native_account_balance(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    (void)ctx;
    (void)args;
    *(int64_t *)result = ((const struct native_account *)row)->balance;
    return WEIR_OK;
}

/* ---- the list ---- */

const struct workload *workload_named(const char *name)
{
    for (unsigned i = 0; workloads[i]; i++)
        if (strcmp(workloads[i]->name, name) == 0) return workloads[i];
    return NULL;
}

bool bench_workload_exists(const char *name)
{
    return workload_named(name) != NULL;
}

const char *bench_workload_name(unsigned place)
{
    return workloads[place] ? workloads[place]->name : NULL;
}

unsigned bench_params(const struct bench_param **params)
{
    unsigned count = 0;
    for (unsigned w = 0; workloads[w]; w++) {
        for (unsigned p = 0; workloads[w]->params[p]; p++) {
            unsigned i = 0;
            while (i < count && params[i] != workloads[w]->params[p]) i++;
            ASSERT(i < BENCH_PARAMS_MAX);
            if (i == count) params[count++] = workloads[w]->params[p];
        }
    }
    return count;
}

void bench_workloads_print(FILE *out)
{
    for (unsigned w = 0; workloads[w]; w++) {
        fprintf(out, "  %-12s %s\n%15s", workloads[w]->name, workloads[w]->about, "");
        for (unsigned p = 0; workloads[w]->params[p]; p++)
            fprintf(out, "--%s ", workloads[w]->params[p]->name);
        fprintf(out, "\n");
    }
}
