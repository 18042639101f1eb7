/*
 * test_figures.c - histograms beside sorted lists, draws beside their formulas.
 *
 * Seeds are fixed: what is compared is an approximation with its own bound, not chance.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bench/driver.h"
#include "bench/plot.h"

#define VALUES 20000u

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void quantiles_are_those_of_a_sorted_list(void **state)
{
    static const double shares[] = { 0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1 };
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct histogram *h = calloc(1, sizeof(*h));
        uint64_t *twin = calloc(VALUES, sizeof(*twin));
        struct random random = { seed };
        double sum = 0;
        for (uint32_t i = 0; i < VALUES; i++) {
            twin[i] = random_next(&random) >> (24 + random_below(&random, 40)); /* all sizes up to 2^40 */
            histogram_add(h, twin[i]);
            sum += (double)twin[i];
        }
        qsort(twin, VALUES, sizeof(*twin), compare);
        assert_int_equal(h->count, VALUES);
        assert_int_equal(h->max, twin[VALUES - 1]);
        assert_true(fabs(h->sum - sum) <= sum * 1e-9);
        for (size_t s = 0; s < sizeof(shares) / sizeof(shares[0]); s++) {
            uint32_t place = (uint32_t)ceil(shares[s] * VALUES);
            uint64_t wanted = twin[place ? place - 1 : 0], got = histogram_quantile(h, shares[s]);
            if (got < wanted || (double)got > (double)wanted * (1 + 1.0 / HISTOGRAM_STEPS)) {
                print_error("seed %llu, share %g: %llu, not %llu\n", (unsigned long long)seed, shares[s],
                            (unsigned long long)got, (unsigned long long)wanted);
                fail();
            }
        }
        free(h);
        free(twin);
    }
}

static void small_values_are_exact_and_huge_ones_fit(void **state)
{
    struct histogram *h = calloc(1, sizeof(*h));
    (void)state;
    assert_int_equal(histogram_quantile(h, 0.5), 0);
    for (uint64_t v = 0; v < HISTOGRAM_STEPS; v++) histogram_add(h, v);
    for (uint64_t v = 0; v < HISTOGRAM_STEPS; v++)
        assert_int_equal(histogram_quantile(h, (double)(v + 1) / HISTOGRAM_STEPS), v);
    histogram_add(h, UINT64_MAX);
    assert_true(histogram_quantile(h, 1) <= h->max);
    assert_true(h->max == UINT64_MAX);
    free(h);
}

static void merged_histograms_are_one(void **state)
{
    struct histogram *all = calloc(3, sizeof(*all));
    struct random random = { 7 };
    (void)state;
    for (uint32_t i = 0; i < VALUES; i++) {
        uint64_t v = random_below(&random, 1000000000);
        histogram_add(&all[0], v);
        histogram_add(&all[1 + i % 2], v);
    }
    histogram_merge(&all[1], &all[2]);
    for (double share = 0; share <= 1; share += 0.01)
        assert_int_equal(histogram_quantile(&all[0], share), histogram_quantile(&all[1], share));
    assert_int_equal(all[0].max, all[1].max);
    free(all);
}

/* How often the first ranks come, against 1/(k+1)^theta; Gray's generator is exact for the first two and close below. */
static void hot_ranks_come_as_often_as_they_should(void **state)
{
    static const double thetas[] = { 0, 0.5, 0.9, 0.99, 0.999 };
    enum { RANKS = 1000, DRAWS = 400000 };
    (void)state;
    for (size_t t = 0; t < sizeof(thetas) / sizeof(thetas[0]); t++) {
        struct random random = { 11 };
        struct zipf zipf;
        double zeta = 0;
        uint32_t *seen = calloc(RANKS, sizeof(*seen));
        zipf_init(&zipf, RANKS, thetas[t]);
        for (int k = 1; k <= RANKS; k++) zeta += pow(k, -thetas[t]);
        for (int i = 0; i < DRAWS; i++) {
            uint64_t rank = zipf_next(&zipf, &random);
            assert_true(rank < RANKS);
            seen[rank]++;
        }
        for (int k = 0; k < 2; k++) {
            double wanted = DRAWS * pow(k + 1, -thetas[t]) / zeta;
            assert_true(fabs(seen[k] - wanted) < 5 * sqrt(wanted));
        }
        double first = 0, wanted = 0; /* a tenth of the ranks together: within 3 % */
        for (int k = 0; k < RANKS / 10; k++) {
            first += seen[k];
            wanted += DRAWS * pow(k + 1, -thetas[t]) / zeta;
        }
        assert_true(fabs(first - wanted) < 0.03 * wanted);
        free(seen);
    }
}

static void draws_stay_in_their_bounds_and_reach_them(void **state)
{
    struct random random = { 3 };
    bool low = false, high = false;
    (void)state;
    for (int i = 0; i < 10000; i++) {
        int64_t n = random_between(&random, -3, 4);
        assert_true(n >= -3 && n <= 4);
        low |= n == -3;
        high |= n == 4;
        double share = random_share(&random);
        assert_true(share >= 0 && share < 1);
    }
    assert_true(low && high);
}

static void a_plot_of_nothing_and_of_zeros_has_finite_places(void **state)
{
    struct plot_point points[3] = { { .offered = 0 }, { .offered = 1e9, .us = { 1e9, 1e9, 1e9, 1e9 } } };
    (void)state;
    for (uint32_t count = 0; count <= 3; count++) {
        struct buf out = { 0 };
        plot_write(points, count, "a < b & c", &out);
        buf_add_byte(&out, 0);
        assert_non_null(strstr(out.ptr, "</svg>"));
        assert_null(strstr(out.ptr, "nan"));
        assert_null(strstr(out.ptr, "inf"));
        assert_non_null(strstr(out.ptr, "a &lt; b &amp; c"));
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_those_of_a_sorted_list),
        cmocka_unit_test(small_values_are_exact_and_huge_ones_fit),
        cmocka_unit_test(merged_histograms_are_one),
        cmocka_unit_test(hot_ranks_come_as_often_as_they_should),
        cmocka_unit_test(draws_stay_in_their_bounds_and_reach_them),
        cmocka_unit_test(a_plot_of_nothing_and_of_zeros_has_finite_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
