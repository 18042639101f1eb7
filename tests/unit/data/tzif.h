/*
 * tzif.h - TZif files made by hand, and those of this system.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TEST_TZIF_H
#define WEIR_TEST_TZIF_H

#include <stdio.h>

#include "data/zone.h"

/* What a file says. Type 0 holds before the first transition. */
struct tzif {
    uint8_t version; /* 0, '2' and up */
    uint32_t count;  /* of transitions */
    const int64_t *at_s;
    const uint8_t *type;
    uint32_t type_count;
    const int32_t *offset_s;
    const char *footer;
};

static inline void tzif_be(struct buf *out, int64_t n, unsigned bytes)
{
    while (bytes--) buf_add_byte(out, (uint8_t)((uint64_t)n >> 8 * bytes));
}

static inline void tzif_block(struct buf *out, const struct tzif *from, unsigned width)
{
    static const char reserved[15];
    buf_add_text(out, "TZif");
    buf_add_byte(out, from->version);
    buf_add(out, reserved, sizeof(reserved));
    tzif_be(out, 0, 4);
    tzif_be(out, 0, 4);
    tzif_be(out, 0, 4);
    tzif_be(out, from->count, 4);
    tzif_be(out, from->type_count, 4);
    tzif_be(out, 4, 4);
    for (uint32_t i = 0; i < from->count; i++) tzif_be(out, from->at_s[i], width);
    buf_add(out, from->type, from->count);
    for (uint32_t i = 0; i < from->type_count; i++) {
        tzif_be(out, from->offset_s[i], 4);
        buf_add_byte(out, i % 2);
        buf_add_byte(out, 0);
    }
    buf_add(out, "LMT", 4);
}

/** Adds the file's bytes. */
static inline void tzif_write(struct buf *out, const struct tzif *from)
{
    static const int32_t zero = 0;
    struct tzif empty = { .version = from->version, .type_count = 1, .offset_s = &zero };
    if (from->version == 0) {
        tzif_block(out, from, 4);
        return;
    }
    tzif_block(out, &empty, 4);
    tzif_block(out, from, 8);
    buf_add_byte(out, '\n');
    buf_add_text(out, from->footer);
    buf_add_byte(out, '\n');
}

/** A zone of a footer alone; NULL with *why when it is malformed. */
static inline const struct zone *zone_of_footer(struct arena *arena, const char *footer,
                                                const char **why)
{
    static const int32_t zero = 0;
    struct tzif from = { .version = '3', .type_count = 1, .offset_s = &zero, .footer = footer };
    struct buf bytes = { 0 };
    tzif_write(&bytes, &from);
    const struct zone *zone = zone_parse(arena, buf_str(&bytes), why);
    buf_free(&bytes);
    return zone;
}

/** The zone of this system's file; NULL where it has none. */
static inline const struct zone *zone_of_system(struct arena *arena, const char *name)
{
    char path[128];
    const char *why;
    struct buf bytes = { 0 };
    snprintf(path, sizeof(path), "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    buf_reserve(&bytes, ZONE_BYTES_MAX);
    bytes.len = fread(bytes.ptr, 1, ZONE_BYTES_MAX, file);
    fclose(file);
    const struct zone *zone = zone_parse(arena, buf_str(&bytes), &why);
    buf_free(&bytes);
    return zone;
}

#endif
