/*
 * sweep.h - one run of a sweep, whatever is swept: stopped or failed at a file operation, and what comes after.
 *
 * Included once, behind `struct world` and `struct tally` of the program. Of a world it needs sim, random, faulty and why;
 * the program defines the steps that are declared here.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_CRASH_SWEEP_H
#define WEIR_TESTS_CRASH_SWEEP_H

#include <stdio.h>

#include "os/sim.h"

static void script(void *world);        /* all that is done, until it is stopped */
static void reopen(void *world);        /* recovers and judges */
static void forget(struct world *w);    /* what was open is no more */
static void aftermath(struct world *w); /* recovers, goes on, and again */

static const enum sim_crash_mode crash_modes[] = { SWEEP_CRASH_MODES };
static const enum sim_fault faults[] = { SIM_FAULT_SYNC_LOST, SIM_FAULT_EIO, SIM_FAULT_ENOSPC };
#define MODES (sizeof(crash_modes) / sizeof(crash_modes[0]))
#define FAULTS (sizeof(faults) / sizeof(faults[0]))

static uint64_t draw(struct world *w, uint64_t n)
{
    uint64_t z = (w->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
}

static bool fail(struct world *w, const char *text, uint64_t a, uint64_t b)
{
    if (w->why[0] == '\0')
        snprintf(w->why, sizeof(w->why), "%s (%llu, %llu)", text, (unsigned long long)a, (unsigned long long)b);
    return false;
}

/* The store of a machine that stopped is not there any more; its memory is left to the end of the process. */
static void power_cut(struct world *w, enum sim_crash_mode mode)
{
    forget(w);
    sim_crash(w->sim, mode);
}

static void run_crash(struct world *w, uint64_t at, uint64_t way, struct tally *tally)
{
    sim_crash_at(w->sim, at, crash_modes[way % MODES]);
    sim_guard(w->sim, script, w);
    if (sim_crashed(w->sim)) {
        forget(w);
        tally->crashes++;
        if ((at + way) % 2 == 0) { /* again, inside recovery */
            sim_crash_at(w->sim, 1 + sim_choose(w->sim, 12), crash_modes[sim_choose(w->sim, MODES)]);
            sim_guard(w->sim, reopen, w);
            if (sim_crashed(w->sim)) {
                tally->second_crashes++;
                forget(w);
            }
        }
    }
    sim_crash_at(w->sim, 0, SIM_KEEP_NOTHING);
    aftermath(w);
}

static void run_fault(struct world *w, uint64_t at, uint64_t way)
{
    w->faulty = true;
    sim_fault_at(w->sim, at, faults[way % FAULTS]);
    sim_guard(w->sim, script, w);
    sim_fault_at(w->sim, 0, SIM_FAULT_NONE);
    if (w->why[0] != '\0') return;
    /* What was confirmed must not live in the page cache alone. */
    power_cut(w, way / FAULTS % 2 ? SIM_KEEP_RANDOM : SIM_KEEP_NOTHING);
    aftermath(w);
}

/* "KIND,AT,WAY" of --run. */
static void run_read(const char *text, uint64_t *kind, uint64_t *at, uint64_t *way)
{
    char *end;
    *kind = strtoull(text, &end, 10);
    *at = strtoull(*end ? end + 1 : end, &end, 10);
    *way = strtoull(*end ? end + 1 : end, &end, 10);
}

#endif
