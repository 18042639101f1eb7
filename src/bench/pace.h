/*
 * pace.h - how fast a processor is at the moment: what a figure was measured beside.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_PACE_H
#define WEIR_BENCH_PACE_H

/** Additions of the calling thread, 10^9 a second of its processor time; takes 20 ms of that. */
double pace_measure(void);

#endif
