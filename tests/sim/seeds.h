/*
 * seeds.h - the main part of a simulated test: its seeds one after the other, and the sum.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_SIM_SEEDS_H
#define WEIR_TESTS_SIM_SEEDS_H

#include <stdbool.h>
#include <stdint.h>

/** Reads --seed S --seeds N --txns T --crashes C (1, 1, `txns`, 4) and runs; the exit code. */
int seeds_main(int argc, char **argv, uint64_t txns, bool (*run_seed)(uint64_t seed, uint64_t txns, uint64_t crashes));

#endif
