/*
 * native.h - services written in C, loaded from shared objects that export weir_module().
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_FUNC_NATIVE_H
#define WEIR_FUNC_NATIVE_H

#include "core/app.h"

/** Opens the shared object and lets it register its types. WEIR_CONFIG with *why. It stays loaded. */
enum weir_status native_load(struct weir_app *app, const char *path, char *why, size_t why_bytes);

#endif
