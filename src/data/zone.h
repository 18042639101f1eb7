/*
 * zone.h - time zones: from UTC to local time and back.
 *
 * A zone is parsed from the bytes of a TZif file: RFC 8536, version 1 to 4, with the footer, a POSIX TZ text
 * that holds after the last transition (hours -167 to 167 as version 3 has them). The C library's time zone is
 * global to the process and its files are not ours to read, so it is not used. A zone is immutable and any
 * thread may read it.
 *
 * Instants are seconds since 1970-01-01T00:00:00Z, without leap seconds; |instant| <= 2^54, so that any time
 * in milliseconds fits. A local time is what the clock on the wall shows, as seconds since 1970-01-01T00:00:00
 * of that clock. local = instant + offset: east of Greenwich is positive.
 *
 * Going back has two cases besides the plain one. Where a clock is put forward there is a GAP: local times that
 * no instant has. Where it is put back there is a FOLD: local times that two instants have.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_DATA_ZONE_H
#define WEIR_DATA_ZONE_H

#include "base/mem.h"

#define ZONE_BYTES_MAX (64u << 10) /* of a file; the largest known has 4 KB */
#define ZONE_NAME_MAX 63u
/* Offsets are within these: RFC 8536, 3.2. */
#define ZONE_OFFSET_S_MIN (-89999)
#define ZONE_OFFSET_S_MAX 93599

struct zone;

/** Offset 0 always. */
const struct zone *zone_utc(void);
/**
 * Parses a TZif file. Files that count leap seconds ("right/...") are refused.
 *
 * @param bytes  borrowed
 * @param why    out: on failure, what is wrong; in the arena or static
 *
 * The zone lives in the arena. NULL on failure. Cost: linear in the bytes.
 */
const struct zone *zone_parse(struct arena *arena, struct weir_str bytes, const char **why);
/** True for a name that may be looked up as a file: 1 to ZONE_NAME_MAX of [A-Za-z0-9_+-/], parts between
 *  slashes not empty. No dots: so no way out of the folder. */
bool zone_name_is_good(struct weir_str name);

/* A span of time with one offset; the neighbours' offsets may be the same. */
struct zone_period {
    int64_t from_s;  /* first instant; INT64_MIN: always was */
    int64_t until_s; /* first instant of the next; INT64_MAX: for ever */
    int32_t offset_s;
};
/** The period that holds an instant. Cost: a binary search, after the last transition about 10 dates. */
struct zone_period zone_period(const struct zone *zone, int64_t at_s);
/** local - UTC at an instant. */
int32_t zone_offset_s(const struct zone *zone, int64_t at_s);

enum zone_fit {
    ZONE_ONCE, /* one instant has this local time: first_s == last_s */
    ZONE_GAP,  /* none has: both are the instant at which the clock jumps over it */
    ZONE_FOLD  /* two have (more, where clocks change again at once): the first and the last */
};
struct zone_instants {
    enum zone_fit fit;
    int64_t first_s, last_s;
};
/** The instants of a local time. first_s is when the clock first shows or passes it: never falling as
 *  local_s grows. */
struct zone_instants zone_instants(const struct zone *zone, int64_t local_s);

#endif
