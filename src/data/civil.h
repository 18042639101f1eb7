/*
 * civil.h - days, months and years: the proleptic Gregorian calendar.
 *
 * A date is a count of days since 1970-01-01, negative before. Months are 1 to 12, days of the month 1 to 31,
 * weekdays 0 (Sunday) to 6. Years may be 0 and negative (astronomical). Source: Howard Hinnant,
 * "chrono-Compatible Low-Level Date Algorithms", 2013.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_DATA_CIVIL_H
#define WEIR_DATA_CIVIL_H

#include <stdint.h>

#define CIVIL_DAY_S INT64_C(86400)

struct civil {
    int64_t year;
    unsigned month, day;
};

struct civil civil_of_days(int64_t days);
/** The day need not exist in its month: 31 February is 2 or 3 March. */
int64_t civil_days(int64_t year, unsigned month, unsigned day);
/** 28 to 31. */
unsigned civil_month_days(int64_t year, unsigned month);
unsigned civil_weekday(int64_t days);
/** Rounds down, also below zero; `unit` > 0. */
static inline int64_t civil_floor(int64_t n, int64_t unit)
{
    return n / unit - (n % unit < 0);
}

#endif
