/*
 * main.c - weir-check-history: is a history of clients strictly serializable?
 *
 * Exit status: 0 it is; 1 an anomaly; 2 wrong usage or a malformed file; 3 no anomaly, but too little
 * happened for that to mean anything (a vacuous pass).
 *
 * SPDX-License-Identifier: MIT
 */
#include "history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KINDS_MAX 64

static struct kind_count {
    char kind[32];
    uint64_t count;
} kinds[KINDS_MAX]; /* what was reported: the one result of a run */
static unsigned report_limit = 5;

struct limits {
    double ok_share_min, multi_shard_min, rate_min; /* transactions a second, where times are in ns */
    uint64_t txns_min, aborts_min;
};

void report_set_limit(unsigned limit)
{
    report_limit = limit;
}

void report(const char *kind, const char *format, ...)
{
    unsigned i = 0;
    while (i < KINDS_MAX - 1 && kinds[i].kind[0] != 0 && strcmp(kinds[i].kind, kind) != 0) i++;
    snprintf(kinds[i].kind, sizeof kinds[i].kind, "%s", kind);
    if (++kinds[i].count > report_limit) return;
    va_list arguments;
    va_start(arguments, format);
    printf("ANOMALY %s: ", kind);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

uint64_t report_count(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < KINDS_MAX; i++) sum += kinds[i].count;
    return sum;
}

void report_summary(void)
{
    for (unsigned i = 0; i < KINDS_MAX && kinds[i].kind[0] != 0; i++)
        printf("anomalies %s=%llu\n", kinds[i].kind, (unsigned long long)kinds[i].count);
}

static double share(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0.0 : (double)part / (double)whole;
}

static void print_counts(const struct history *history)
{
    uint64_t sum = history->client_ok + history->client_fail + history->client_unknown;
    printf("txns=%llu ok=%llu fail=%llu unknown=%llu ok_share=%.4f",
           (unsigned long long)sum, (unsigned long long)history->client_ok,
           (unsigned long long)history->client_fail, (unsigned long long)history->client_unknown,
           share(history->client_ok, sum));
    if (history->with_shards > 0)
        printf(" multi_shard=%.4f", share(history->multi_shard, history->with_shards));
    if (history->effects > 0) printf(" effects=%llu", (unsigned long long)history->effects);
    if (history->window_count > 0)
        printf(" quiet_ok_share=%.4f", share(history->quiet_ok, history->quiet));
    printf(" keys=%u replayed=%u ops=%u edges=%llu\n", history->key_count, replay_key_count(),
           history->op_count, (unsigned long long)graph_edge_count());
    for (uint32_t i = 0; i < history->codes.count; i++)
        printf("fail %.*s=%u\n", (int)history->codes.items[i].len, history->codes.items[i].ptr,
               history->codes.items[i].count);
}

/* A run in which nothing happened has no anomalies either. */
static bool is_vacuous(const struct history *history, const struct limits *limits)
{
    uint64_t sum = history->client_ok + history->client_fail + history->client_unknown;
    bool found = false;
    if (sum < limits->txns_min && (found = true))
        printf("VACUOUS: %llu transactions, wanted %llu\n", (unsigned long long)sum,
               (unsigned long long)limits->txns_min);
    if (history->client_fail < limits->aborts_min && (found = true))
        printf("VACUOUS: %llu failures, wanted %llu\n", (unsigned long long)history->client_fail,
               (unsigned long long)limits->aborts_min);
    double quiet_share = share(history->quiet_ok, history->quiet);
    if (quiet_share < limits->ok_share_min && (found = true))
        printf("VACUOUS: a share of %.4f succeeded outside of faults, wanted %.4f\n", quiet_share,
               limits->ok_share_min);
    double seconds = (double)(history->last_end - history->first_start) / 1e9;
    double rate = seconds > 0.0 ? (double)sum / seconds : 0.0;
    if (rate < limits->rate_min && (found = true))
        printf("VACUOUS: %.1f transactions a second, wanted %.1f\n", rate, limits->rate_min);
    if (share(history->multi_shard, history->with_shards) < limits->multi_shard_min &&
        (found = true))
        printf("VACUOUS: a share of %.4f touched several shards, wanted %.4f\n",
               share(history->multi_shard, history->with_shards), limits->multi_shard_min);
    return found;
}

__attribute__((noreturn)) static void usage(void)
{
    fprintf(stderr, "usage: weir-check-history [--min-ok-share F] [--min-txns N] [--min-aborts N]\n"
                    "                          [--min-multi-shard F] [--min-rate N] [--windows FILE]\n"
                    "                          [--forget ww|wr|rw|process|time] [--show N] FILE\n");
    exit(2);
}

static void parse_forget(const char *word)
{
    static const char *const words[] = { "ww", "wr", "rw", "process", "time" };
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i]) != 0) continue;
        graph_forget((enum edge_kind)i);
        return;
    }
    usage();
}

static const char *parse_options(int argc, char **argv, struct limits *limits,
                                 struct history *history)
{
    const char *path = NULL;
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        char *end = NULL;
        if (strncmp(option, "--", 2) != 0) {
            if (path != NULL) usage();
            path = option;
            continue;
        }
        if (value == NULL) usage();
        if (strcmp(option, "--windows") == 0 || strcmp(option, "--forget") == 0) {
            if (option[2] == 'w') history_load_windows(history, value);
            else parse_forget(value);
            i++;
            continue;
        }
        double number = strtod(value, &end);
        if (end == value || *end != '\0' || number < 0.0) usage();
        if (strcmp(option, "--min-ok-share") == 0) limits->ok_share_min = number;
        else if (strcmp(option, "--min-multi-shard") == 0) limits->multi_shard_min = number;
        else if (strcmp(option, "--min-rate") == 0) limits->rate_min = number;
        else if (strcmp(option, "--min-txns") == 0) limits->txns_min = (uint64_t)number;
        else if (strcmp(option, "--min-aborts") == 0) limits->aborts_min = (uint64_t)number;
        else if (strcmp(option, "--show") == 0) report_set_limit((unsigned)number);
        else usage();
        i++;
    }
    if (path == NULL) usage();
    return path;
}

int main(int argc, char **argv)
{
    static struct history history;
    struct limits limits = { 0 };
    const char *path = parse_options(argc, argv, &limits, &history);
    history_load(&history, path);
    order_check(&history);
    uint32_t *order = graph_check(&history);
    if (order != NULL) replay_check(&history, order);
    free(order);
    print_counts(&history);
    report_summary();
    bool vacuous = is_vacuous(&history, &limits);
    if (report_count() > 0) {
        printf("NOT strictly serializable\n");
        return 1;
    }
    if (vacuous) return 3;
    printf("strictly serializable\n");
    return 0;
}
