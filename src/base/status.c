/*
 * status.c - the columns of the status table as functions.
 *
 * Visible outside, since handlers in C name statuses too. weir.h is not included: its macros share
 * names with the table.
 * SPDX-License-Identifier: MIT
 */
#include "base/status.h"

#include <string.h>

#include "weir/status.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT const char *weir_status_word(enum weir_status status)
{
    switch (status) {
#define X(name, number, word, http, text)                                                          \
    case WEIR_##name: return word;
        WEIR_STATUS_TABLE(X)
#undef X
    }
    return "unknown";
}

EXPORT const char *weir_status_text(enum weir_status status)
{
    switch (status) {
#define X(name, number, word, http, text)                                                          \
    case WEIR_##name: return text;
        WEIR_STATUS_TABLE(X)
#undef X
    }
    return "a status that this version does not know";
}

EXPORT int weir_status_http(enum weir_status status)
{
    switch (status) {
#define X(name, number, word, http, text)                                                          \
    case WEIR_##name: return http;
        WEIR_STATUS_TABLE(X)
#undef X
    }
    return 500;
}

bool word_is_engines(const char *code)
{
    static const enum weir_status words[] = { WEIR_OK,      WEIR_HANDLER,     WEIR_BUDGET,
                                              WEIR_TIMEOUT, WEIR_OVERLOADED,  WEIR_UNKNOWN,
                                              WEIR_OOM,     WEIR_DISKFULL,    WEIR_LOADING,
                                              WEIR_DENIED,  WEIR_IDEMPOTENCY, WEIR_SHUTDOWN,
                                              WEIR_PENDING };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(weir_status_word(words[i]), code) == 0) return true;
    }
    return false;
}
