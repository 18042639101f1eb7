/*
 * describe.h - what an application offers, as text for people: start-up lines and `weir check`.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_SERVER_DESCRIBE_H
#define WEIR_SERVER_DESCRIBE_H

#include "core/catalog.h"

/** Types and services with their fields, maps and handlers, one line each. */
void describe_catalog(const struct catalog *catalog, struct buf *out);
/** What is open to anyone, what to which role, and what is (`users`) or will be closed once there are users. */
void describe_access(const struct catalog *catalog, bool users, struct buf *out);
/** The same two as JSON members, without braces: "types":[...],"open":[...],"closes":[...],"roles":{...} */
void describe_json(const struct catalog *catalog, struct buf *out);
/** A curl that works on the first handler of the catalog; false if there is none. */
bool describe_example(const struct catalog *catalog, const char *host, int port, struct buf *out);

/** HOST:PORT; an address of IPv6, which has colons of its own, in brackets. */
void describe_address(const char *host, int port, struct buf *out);
/** A size as it may be declared, to the byte: "1MB512KB". */
void describe_size(uint64_t bytes, struct buf *out);

#endif
