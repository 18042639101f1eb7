/*
 * zone_load.h - time zones by name, from the system's files.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_ZONE_LOAD_H
#define WEIR_CORE_ZONE_LOAD_H

#include "data/zone.h"
#include "os/env.h"

/**
 * Reads a zone as "Europe/Berlin" from /usr/share/zoneinfo or, where it is not there, /usr/lib/zoneinfo.
 * "UTC" and "Etc/UTC" need no file.
 *
 * @param zone  out: in the arena or static; NULL on failure
 * @param why   out: on failure, what is wrong, naming the zone; in the arena or static
 *
 * Errors: WEIR_ARG       no name that may be looked up (zone_name_is_good())
 *         WEIR_NOTFOUND  no such file; also where the system has no zones at all (*why tells them apart)
 *         WEIR_IO        it cannot be read
 *         WEIR_CORRUPT   it is no zone
 * Thread: those that may block (os/env.h): call it while an application is loaded, and keep the zone.
 */
WEIR_MUST_USE enum weir_status zone_load(struct env *env, struct weir_str name, struct arena *arena,
                                         const struct zone **zone, const char **why);

#endif
