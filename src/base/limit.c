/*
 * limit.c - "name=number", as limits are set from outside.
 * SPDX-License-Identifier: MIT
 */
#include "base/limit.h"

#include <stdio.h>
#include <string.h>

static bool has_word(struct weir_str name, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= name.len; i++) {
        bool begins = i == 0 || name.ptr[i - 1] == '_';
        bool ends = i + len == name.len || name.ptr[i + len] == '_';
        if (begins && ends && memcmp(name.ptr + i, word, len) == 0) return true;
    }
    return false;
}

uint64_t limit_most(struct weir_str name)
{
    if (has_word(name, "ms")) return LIMIT_MS_MOST;
    return has_word(name, "bytes") || has_word(name, "memory") ? LIMIT_BYTES_MOST
                                                               : LIMIT_COUNT_MOST;
}

bool limit_read(const char *text, struct weir_str *name, uint64_t *value, char *why,
                size_t why_bytes)
{
    const char *equals = strchr(text, '='), *at = equals ? equals + 1 : text;
    *name = (struct weir_str){ text, equals ? (size_t)(equals - text) : 0 };
    *value = 0;
    uint64_t most = limit_most(*name);
    bool good = equals != NULL && *at != 0;
    for (; good && *at != 0; at++) {
        good = *at >= '0' && *at <= '9';
        if (good && *value <= most) *value = *value * 10 + (uint64_t)(*at - '0');
    }
    if (good && *value >= 1 && *value <= most) return true;
    if (good && *value > most)
        snprintf(why, why_bytes, "%s: at most %llu", text, (unsigned long long)most);
    else snprintf(why, why_bytes, "%s: write name=number, the number whole and above 0", text);
    return false;
}
