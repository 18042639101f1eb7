/*
 * main.c - weir-check-history: reads a history, judges it, says what it found.
 *
 *   weir-check-history [--min-txns N] [--min-ok-share X] [--min-aborts N] [--min-multi-shard X] [--expect KIND] FILE
 *
 * Ends with 0 when nothing is wrong, 1 when something is, 2 when the file cannot be read. The minimums guard
 * against a run that passes because nothing happened in it. With --expect, 0 means that KIND was found.
 * SPDX-License-Identifier: MIT
 */
#include "history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KINDS_MAX 64

static struct {
    const char *kind;
    uint64_t count;
} kinds[KINDS_MAX];
static unsigned kind_count, limit = 10;
static uint64_t reports;

void report_set_limit(unsigned most)
{
    limit = most;
}

void report(const char *kind, const char *format, ...)
{
    unsigned i = 0;
    while (i < kind_count && strcmp(kinds[i].kind, kind) != 0) i++;
    if (i == kind_count && kind_count < KINDS_MAX) kinds[kind_count++].kind = kind;
    if (i < KINDS_MAX) kinds[i].count++;
    reports++;
    if (kinds[i].count > limit) return;
    va_list args;
    va_start(args, format);
    printf("%s: ", kind);
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

uint64_t report_count(void)
{
    return reports;
}

void report_summary(void)
{
    for (unsigned i = 0; i < kind_count; i++) printf("%s %llu\n", kinds[i].kind, (unsigned long long)kinds[i].count);
}

static bool was_reported(const char *kind)
{
    for (unsigned i = 0; i < kind_count; i++)
        if (strcmp(kinds[i].kind, kind) == 0 || strcmp(kind, "any") == 0) return true;
    return false;
}

int main(int argc, char **argv)
{
    const char *path = NULL, *expect = NULL;
    double min_ok = 0, min_multi = 0;
    uint64_t min_txns = 0, min_aborts = 0;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--min-ok-share") == 0) min_ok = strtod(value, NULL), i++;
        else if (strcmp(argv[i], "--min-multi-shard") == 0) min_multi = strtod(value, NULL), i++;
        else if (strcmp(argv[i], "--min-txns") == 0) min_txns = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--min-aborts") == 0) min_aborts = strtoull(value, NULL, 10), i++;
        else if (strcmp(argv[i], "--expect") == 0) expect = value, i++;
        else if (argv[i][0] == '-' && argv[i][1] != '\0') return fprintf(stderr, "unknown option %s\n", argv[i]), 2;
        else path = argv[i];
    }
    if (path == NULL) return fprintf(stderr, "usage: weir-check-history [options] FILE\n"), 2;
    struct history history;
    history_load(&history, path);
    order_check(&history);
    graph_check(&history);
    uint64_t all = history.client_ok + history.client_fail + history.client_unknown;
    uint64_t answered = history.client_ok + history.client_fail;
    double ok = answered ? (double)history.client_ok / (double)answered : 0;
    double multi = history.with_shards ? (double)history.multi_shard / (double)history.with_shards : 0;
    printf("%llu transactions: %llu ok, %llu failed, %llu unknown; %.0f %% of those that name shards touch several\n",
           (unsigned long long)all, (unsigned long long)history.client_ok, (unsigned long long)history.client_fail,
           (unsigned long long)history.client_unknown, multi * 100);
    if (all < min_txns) report("vacuous", "fewer than %llu transactions", (unsigned long long)min_txns);
    if (history.client_fail < min_aborts) report("vacuous", "fewer than %llu aborts", (unsigned long long)min_aborts);
    if (ok < min_ok) report("vacuous", "only %.1f %% of the answers are ok", ok * 100);
    if (multi < min_multi) report("vacuous", "only %.1f %% touch several shards", multi * 100);
    report_summary();
    if (expect != NULL) {
        if (was_reported(expect)) return 0;
        printf("expected %s, which was not found\n", expect);
        return 1;
    }
    printf(reports ? "NOT strictly serializable\n" : "strictly serializable\n");
    return reports != 0;
}
