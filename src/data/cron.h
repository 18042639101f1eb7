/*
 * cron.h - schedules: when something that repeats is due, and what was missed.
 *
 * Three forms of text: five fields as in cron, six with seconds first; a nickname; an interval ("1h30m").
 * docs/reference/schedules.md describes them for users. Meaning as in Vixie's cron (P. Vixie, 1987 to 1994,
 * crontab(5)), also in what looks odd: day of month and weekday are joined by OR when neither begins with `*`,
 * else by AND. What differs: `mon-sun` is allowed, and what Vixie takes for something else than it seems
 * (a step beyond the field's range, 30 February) is refused.
 *
 * When clocks change, as in Vixie's cron and without its limit of three hours:
 *   fixed time    (neither seconds, minutes nor hours begin with `*`): due when the local clock first shows or
 *                 passes the time. So once in a fold, and right after a gap once for all that lay in it.
 *   by real time  (one of them does): due at each second whose local time fits. So twice in a fold, not in a gap.
 * Intervals are multiples since 1970-01-01T00:00:00Z and know no zone: so they need no state, and are the same
 * before and after a restart.
 *
 * Times are milliseconds since 1970-01-01T00:00:00Z; a due time of the first two forms is a whole second. All is
 * computed from text, zone and time alone. Any thread.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_DATA_CRON_H
#define WEIR_DATA_CRON_H

#include "data/zone.h"

#define SCHEDULE_TEXT_MAX 256u
#define SCHEDULE_INTERVAL_MS_MIN INT64_C(100)
#define SCHEDULE_INTERVAL_MS_MAX INT64_C(31622400000) /* 366 days */
/* Due times are from year 1 to year 9999. */
#define SCHEDULE_TIME_MS_MIN INT64_C(-62135596800000)
#define SCHEDULE_TIME_MS_MAX INT64_C(253402300799999)
#define SCHEDULE_MISSED_MAX 1000u       /* runs made up for at once by policy "all" */
#define SCHEDULE_LATE_MS INT64_C(60000) /* up to here a run is late, not missed: policy "skip" */

/* Bit n stands for n. */
struct schedule {
    int64_t interval_ms; /* > 0: all else is unused */
    uint64_t seconds, minutes;
    uint32_t hours, days, months;
    uint32_t weekdays; /* bit 0: Sunday */
    bool any_day;      /* day of month or weekday will do; else both must fit */
    bool by_real_time;
};

/**
 * Parses a schedule.
 *
 * @param text   at most SCHEDULE_TEXT_MAX bytes, borrowed
 * @param arena  of *why
 * @param why    out: on failure, what is wrong and what is allowed
 *
 * True: schedule_next() finds a due time in each zone until the last years before 9999.
 */
bool schedule_parse(struct weir_str text, struct arena *arena, struct schedule *schedule,
                    const char **why);

/** The first due time strictly after after_ms; INT64_MAX when there is none by SCHEDULE_TIME_MS_MAX.
 *  Cost: some 0.4 us for most schedules, 2 us for 29 February on a given weekday. */
int64_t schedule_next(const struct schedule *schedule, const struct zone *zone, int64_t after_ms);
/** The last due time strictly before before_ms; INT64_MIN when there is none since SCHEDULE_TIME_MS_MIN.
 *  Cost: up to some 100 of schedule_next(), few where due times are close. */
int64_t schedule_last(const struct schedule *schedule, const struct zone *zone, int64_t before_ms);

/* What is done about due times that passed while nothing ran. */
enum schedule_policy {
    SCHEDULE_ONCE, /* one run for all, with the last due time */
    SCHEDULE_ALL,  /* a run for each, at most the last SCHEDULE_MISSED_MAX */
    SCHEDULE_SKIP  /* none, but for the last if it is at most SCHEDULE_LATE_MS late */
};
/** "once", "all", "skip". */
bool schedule_policy_parse(struct weir_str word, enum schedule_policy *policy);

/**
 * The due times in (last_ms, now_ms] for which there shall be a run, ascending.
 *
 * @param last_ms  due time of the last run, or when the schedule began or was resumed
 * @param due_ms   out: room for SCHEDULE_MISSED_MAX
 * @param cut      out: there were older ones that get no run, by the limit of SCHEDULE_ALL only
 *
 * Gives how many. Whatever the policy, go on with schedule_next(now_ms).
 */
uint32_t schedule_missed(const struct schedule *schedule, const struct zone *zone, int64_t last_ms,
                         int64_t now_ms, enum schedule_policy policy, int64_t *due_ms, bool *cut);

#endif
