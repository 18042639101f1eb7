/*
 * seeds.c - see seeds.h.
 * SPDX-License-Identifier: MIT
 */
#include "seeds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A simulated crash leaves a call in its middle, as a power cut would: what that call held is lost, not leaked. */
__attribute__((visibility("default"))) const char *__asan_default_options(void); // the sanitizer looks it up from its own library
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int seeds_main(int argc, char **argv, uint64_t txns, bool (*run_seed)(uint64_t seed, uint64_t txns, uint64_t crashes))
{
    uint64_t seed = 1, seeds = 1, crashes = 4, bad = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seed") == 0) seed = value;
        else if (strcmp(argv[i], "--seeds") == 0) seeds = value;
        else if (strcmp(argv[i], "--txns") == 0) txns = value;
        else if (strcmp(argv[i], "--crashes") == 0) crashes = value;
    }
    for (uint64_t s = seed; s < seed + seeds; s++) bad += !run_seed(s, txns, crashes);
    printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)(seeds - bad), (unsigned long long)bad);
    return bad != 0;
}
