/*
 * civil.c - dates from day counts and back, without tables or loops.
 *
 * Years begin in March here, so that the odd day ends them; 400 of them are an era of 146,097 days.
 * SPDX-License-Identifier: MIT
 */
#include "data/civil.h"

struct civil civil_of_days(int64_t days)
{
    days += 719468;
    int64_t era = civil_floor(days, 146097);
    unsigned doe = (unsigned)(days - era * 146097);
    unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    unsigned mp = (5 * doy + 2) / 153;
    unsigned month = mp < 10 ? mp + 3 : mp - 9;
    return (struct civil){ (int64_t)yoe + era * 400 + (month <= 2), month,
                           doy - (153 * mp + 2) / 5 + 1 };
}

int64_t civil_days(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = civil_floor(year, 400);
    unsigned yoe = (unsigned)(year - era * 400);
    unsigned doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (int64_t)doe - 719468;
}

unsigned civil_month_days(int64_t year, unsigned month)
{
    if (month == 2) return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

unsigned civil_weekday(int64_t days)
{
    int64_t since = days + 4; /* 1970-01-01 was a Thursday */
    return (unsigned)(since - civil_floor(since, 7) * 7);
}
