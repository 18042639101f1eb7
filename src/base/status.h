/*
 * status.h - of the words of include/weir/status.h those that an application may not say.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_STATUS_H
#define WEIR_BASE_STATUS_H

#include <stdbool.h>

/** A word that says what only the engine can know: what was applied, what state the server is in, which of its limits was met. */
bool word_is_engines(const char *code);

#endif
