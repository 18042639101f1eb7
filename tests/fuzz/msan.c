/*
 * msan.c - libraries that the memory sanitizer does not see: jansson and http_parser, in the targets of `make msan`.
 *
 * They are wrapped by the linker. What they return or write into our structures counts as written, since they wrote it; a
 * function that is not sanitized gives and takes values as written. jansson's blocks come zeroed, or all that it keeps
 * would look as if nobody had written it. So: what our code hands to them is seen (json_loadb and http_parser_execute check
 * their input here), what they do with it is not.
 * SPDX-License-Identifier: MIT
 */
#include <http_parser.h>
#include <jansson.h>
#include <sanitizer/msan_interface.h>
#include <stdlib.h>

#include "base/sanitize_int.h"

#define STACK_BYTES 16384 /* below us: where the library's own variables will lie, over what we left there */

static void stack_forget(void)
{
    char here;
    __msan_unpoison(&here - STACK_BYTES, STACK_BYTES);
}

#define WRAP(result, name, params, args)                                                                                            \
    result __real_##name params;                                                                                                    \
    result __wrap_##name params;                                                                                                    \
    CALLED_FROM_OUTSIDE result __wrap_##name params                                                                                 \
    {                                                                                                                               \
        stack_forget();                                                                                                             \
        return __real_##name args;                                                                                                  \
    }

/* ---- jansson ---- */

WRAP(json_t *, json_array, (void), ())
WRAP(json_t *, json_array_get, (const json_t *array, size_t i), (array, i))
WRAP(size_t, json_array_size, (const json_t *array), (array))
WRAP(void, json_delete, (json_t *json), (json))
WRAP(json_int_t, json_integer_value, (const json_t *json), (json))
WRAP(double, json_number_value, (const json_t *json), (json))
WRAP(double, json_real_value, (const json_t *json), (json))
WRAP(json_t *, json_object_getn, (const json_t *object, const char *key, size_t len), (object, key, len))
WRAP(void *, json_object_iter, (json_t *object), (object))
WRAP(const char *, json_object_iter_key, (void *iter), (iter))
WRAP(void *, json_object_iter_next, (json_t *object, void *iter), (object, iter))
WRAP(json_t *, json_object_iter_value, (void *iter), (iter))
WRAP(void *, json_object_key_to_iter, (const char *key), (key))
WRAP(size_t, json_object_size, (const json_t *object), (object))
WRAP(size_t, json_string_length, (const json_t *string), (string))
WRAP(const char *, json_string_value, (const json_t *string), (string))
WRAP(char *, json_dumps, (const json_t *json, size_t flags), (json, flags))

size_t __real_json_dumpb(const json_t *json, char *buffer, size_t size, size_t flags);
size_t __wrap_json_dumpb(const json_t *json, char *buffer, size_t size, size_t flags);
CALLED_FROM_OUTSIDE size_t __wrap_json_dumpb(const json_t *json, char *buffer, size_t size, size_t flags)
{
    stack_forget();
    size_t len = __real_json_dumpb(json, buffer, size, flags);
    if (size > 0) __msan_unpoison(buffer, len < size ? len : size);
    return len;
}

json_t *__real_json_loadb(const char *buffer, size_t len, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *buffer, size_t len, size_t flags, json_error_t *error);
CALLED_FROM_OUTSIDE json_t *__wrap_json_loadb(const char *buffer, size_t len, size_t flags, json_error_t *error)
{
    __msan_check_mem_is_initialized(buffer, len);
    stack_forget();
    json_t *json = __real_json_loadb(buffer, len, flags, error);
    if (error) __msan_unpoison(error, sizeof *error);
    return json;
}

static void *zeroed(size_t bytes)
{
    return calloc(1, bytes ? bytes : 1);
}

__attribute__((constructor)) static void jansson_begins(void)
{
    json_set_alloc_funcs(zeroed, free);
}

/* ---- http_parser ---- */

WRAP(int, http_should_keep_alive, (const http_parser *parser), (parser))
WRAP(const char *, http_errno_description, (enum http_errno error), (error))
WRAP(void, http_parser_pause, (http_parser *parser, int paused), (parser, paused))

void __real_http_parser_init(http_parser *parser, enum http_parser_type type);
void __wrap_http_parser_init(http_parser *parser, enum http_parser_type type);
CALLED_FROM_OUTSIDE void __wrap_http_parser_init(http_parser *parser, enum http_parser_type type)
{
    __real_http_parser_init(parser, type);
    __msan_unpoison(parser, sizeof *parser);
}

/* What it calls back goes through a function that is not sanitized: the arguments count as written. */
static const http_parser_settings *called;

#define BACK(name)                                                                                                                  \
    CALLED_FROM_OUTSIDE static int back_##name(http_parser *parser, const char *at, size_t len)                                    \
    {                                                                                                                               \
        __msan_unpoison(parser, sizeof *parser);                                                                                    \
        return called->name(parser, at, len);                                                                                       \
    }
#define BACK_PLAIN(name)                                                                                                            \
    CALLED_FROM_OUTSIDE static int back_##name(http_parser *parser)                                                                \
    {                                                                                                                               \
        __msan_unpoison(parser, sizeof *parser);                                                                                    \
        return called->name(parser);                                                                                                \
    }
BACK(on_url)
BACK(on_header_field)
BACK(on_header_value)
BACK(on_body)
BACK_PLAIN(on_headers_complete)
BACK_PLAIN(on_message_complete)

size_t __real_http_parser_execute(http_parser *parser, const http_parser_settings *settings, const char *data, size_t len);
size_t __wrap_http_parser_execute(http_parser *parser, const http_parser_settings *settings, const char *data, size_t len);
CALLED_FROM_OUTSIDE size_t __wrap_http_parser_execute(http_parser *parser, const http_parser_settings *settings, const char *data, size_t len)
{
    http_parser_settings mine = { 0 };
    if (settings->on_message_begin || settings->on_status || settings->on_chunk_header || settings->on_chunk_complete) abort();
#define PASS(name)                                                                                                                  \
    if (settings->name) mine.name = back_##name
    PASS(on_url);
    PASS(on_header_field);
    PASS(on_header_value);
    PASS(on_body);
    PASS(on_headers_complete);
    PASS(on_message_complete);
    __msan_check_mem_is_initialized(data, len);
    called = settings;
    stack_forget();
    __msan_unpoison(&mine, sizeof mine);
    size_t done = __real_http_parser_execute(parser, &mine, data, len);
    __msan_unpoison(parser, sizeof *parser);
    return done;
}
