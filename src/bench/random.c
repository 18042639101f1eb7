/*
 * random.c - ranks with a hot end.
 * SPDX-License-Identifier: MIT
 */
#include "bench/random.h"

#include <math.h>

void zipf_init(struct zipf *zipf, uint64_t n, double theta)
{
    *zipf = (struct zipf){ .n = n, .theta = theta };
    if (theta == 0.0 || n < 2) return;
    for (uint64_t i = 1; i <= n; i++) zipf->zeta += pow((double)i, -theta);
    double two = 1.0 + pow(0.5, theta);
    zipf->alpha = 1.0 / (1.0 - theta);
    zipf->eta = (1.0 - pow(2.0 / (double)n, 1.0 - theta)) / (1.0 - two / zipf->zeta);
    zipf->half = two;
}

uint64_t zipf_next(const struct zipf *zipf, struct random *r)
{
    if (zipf->theta == 0.0 || zipf->n < 2) return random_below(r, zipf->n);
    double u = random_share(r), weight = u * zipf->zeta;
    if (weight < 1.0) return 0;
    if (weight < zipf->half) return 1;
    double rank = (double)zipf->n * pow(zipf->eta * u - zipf->eta + 1.0, zipf->alpha);
    return rank < (double)zipf->n ? (uint64_t)rank : zipf->n - 1;
}
