/*
 * pace.h - how fast the processors are at the moment: what a figure was measured beside.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_PACE_H
#define WEIR_BENCH_PACE_H

struct pace {
    double additions; /* of one thread, 10^9 a second of its processor time */
    double
        line_ns; /* a cache line from the first processor to the last and back; 0: not known, as there is one only or others take turns with them */
};

/** Takes 20 to 40 ms of the calling thread, and of another. */
struct pace pace_measure(void);

#endif
