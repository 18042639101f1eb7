/*
 * call.c - a request judged, copied and made ready to send.
 *
 * All texts stand in one block behind the struct, so that one wipe removes every secret of a call. What a
 * handler may have built from a stranger's input (path, header values, id) is refused here when it could mean
 * another request than the one written: line breaks, dot segments, credentials, a second framing.
 * SPDX-License-Identifier: MIT
 */
#include "connect/connect_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"

static const char *const METHODS[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" };

/* Framing and connection are the transport's; Host would slip past the allow-list. */
static const char *const REFUSED_HEADERS[] = {
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "Upgrade",
    "Expect",
    "TE",
    "Trailer",
    "Proxy-Authorization",
    "Proxy-Connection",
    OUTSIDE_SIGNATURE_HEADER,
};

/* A request taken apart. */
struct parts {
    const char *method;
    struct weir_str path;
    struct weir_str id_header;
    bool typed; /* a header says what the body is */
};

__attribute__((format(printf, 4, 5))) static enum weir_status refuse(enum weir_status status,
                                                                     char *error,
                                                                     size_t error_bytes,
                                                                     const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, error_bytes, format, args);
    va_end(args);
    return status;
}

static bool names_equal(struct weir_str a, struct weir_str b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

/* RFC 9110, 5.6.2 */
static bool is_token(struct weir_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!word && (c == 0 || !strchr("!#$%&'*+-.^_`|~", c))) return false;
    }
    return text.len > 0;
}

/* RFC 9110, 5.5, without blanks at the ends: a server strips them, and the value would be another. */
static bool is_header_value(struct weir_str text)
{
    if (text.len && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) return false;
    if (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t')) return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) return false;
    }
    return true;
}

static bool is_printable(struct weir_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~') return false;
    return true;
}

/* One dot or two, plain or as %2e: a path must not climb out of the service's URL. */
static bool is_dots(const char *at, const char *end)
{
    unsigned dots = 0;
    while (at < end) {
        if (*at == '.') at++;
        else if (end - at >= 3 && strncasecmp(at, "%2e", 3) == 0) at += 3;
        else return false;
        dots++;
    }
    return dots == 1 || dots == 2;
}

static bool has_dots(struct weir_str path)
{
    const char *at = path.ptr, *end = path.ptr + path.len;
    const char *query = memchr(at, '?', path.len);
    if (query) end = query;
    while (at < end) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        if (is_dots(at, slash ? slash : end)) return true;
        if (!slash) break;
        at = slash + 1;
    }
    return false;
}

static enum weir_status line_read(struct weir_str line, struct parts *parts, char *error,
                                  size_t error_bytes)
{
    const char *blank = line.len ? memchr(line.ptr, ' ', line.len) : NULL;
    size_t len = blank ? (size_t)(blank - line.ptr) : 0;
    for (size_t i = 0; i < sizeof(METHODS) / sizeof(METHODS[0]); i++)
        if (str_eq(str_of(METHODS[i]), (struct weir_str){ line.ptr, len }))
            parts->method = METHODS[i];
    if (!parts->method)
        return refuse(WEIR_ARG, error, error_bytes,
                      "\"%.*s\" does not begin with GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS "
                      "and a blank, as in \"POST /charges\"",
                      (int)(line.len < 80 ? line.len : 80), line.ptr ? line.ptr : "");
    parts->path = (struct weir_str){ blank + 1, line.len - len - 1 };
    if (parts->path.len == 0 || parts->path.ptr[0] != '/' || !is_printable(parts->path) ||
        memchr(parts->path.ptr, '#', parts->path.len) ||
        memchr(parts->path.ptr, '\\', parts->path.len))
        return refuse(WEIR_ARG, error, error_bytes,
                      "the path after %s must begin with / and have no blanks, #, \\ or bytes that "
                      "are not ASCII: encode them as %%20",
                      parts->method);
    if (has_dots(parts->path))
        return refuse(WEIR_ARG, error, error_bytes, "the path has a segment . or ..");
    return WEIR_OK;
}

static enum weir_status headers_judge(const struct outside_request *request, struct parts *parts,
                                      char *error, size_t error_bytes)
{
    size_t bytes = 0;
    if (request->header_count > OUTSIDE_HEADERS_MAX)
        return refuse(WEIR_TOOBIG, error, error_bytes, "%zu headers; at most %d are sent",
                      request->header_count, OUTSIDE_HEADERS_MAX);
    for (size_t i = 0; i < request->header_count; i++) {
        struct weir_str name = request->headers[i].name, value = request->headers[i].value;
        bytes += name.len + value.len;
        if (!is_token(name) || !is_header_value(value))
            return refuse(
                WEIR_ARG, error, error_bytes,
                "header %zu: the name is no token, or the value has control characters or "
                "blanks at its ends",
                i + 1);
        bool refused = request->id.len && names_equal(name, parts->id_header);
        for (size_t j = 0; j < sizeof(REFUSED_HEADERS) / sizeof(REFUSED_HEADERS[0]); j++)
            refused |= names_equal(name, str_of(REFUSED_HEADERS[j]));
        if (refused)
            return refuse(WEIR_ARG, error, error_bytes, "the header %.*s is not yours to set",
                          STR_ARG(name));
        parts->typed |= names_equal(name, STR("Content-Type"));
    }
    if (bytes > OUTSIDE_HEADER_BYTES_MAX)
        return refuse(WEIR_TOOBIG, error, error_bytes, "%zu bytes of headers; at most %d are sent",
                      bytes, OUTSIDE_HEADER_BYTES_MAX);
    return WEIR_OK;
}

static enum weir_status request_judge(const struct outside_request *request, struct parts *parts,
                                      char *error, size_t error_bytes)
{
    enum weir_status status = line_read(request->line, parts, error, error_bytes);
    if (status != WEIR_OK) return status;
    parts->id_header = request->id_header.len ? request->id_header : STR("Idempotency-Key");
    if (!is_token(parts->id_header) || !is_printable(request->id))
        return refuse(WEIR_ARG, error, error_bytes,
                      "the id must be printable ASCII, and id_header a header's name");
    if (request->id.len > OUTSIDE_ID_BYTES_MAX || parts->id_header.len > OUTSIDE_ID_BYTES_MAX)
        return refuse(WEIR_TOOBIG, error, error_bytes, "an id of %zu bytes; at most %d are sent",
                      request->id.len, OUTSIDE_ID_BYTES_MAX);
    status = headers_judge(request, parts, error, error_bytes);
    if (status != WEIR_OK) return status;
    if (request->url.len + parts->path.len > OUTSIDE_URL_BYTES_MAX)
        return refuse(WEIR_TOOBIG, error, error_bytes, "an address of %zu bytes; at most %d",
                      request->url.len + parts->path.len, OUTSIDE_URL_BYTES_MAX);
    if (request->url.len == 0 || !is_printable(request->url) ||
        memchr(request->url.ptr, '?', request->url.len) ||
        memchr(request->url.ptr, '#', request->url.len) ||
        memchr(request->url.ptr, '\\', request->url.len))
        return refuse(WEIR_ARG, error, error_bytes,
                      "the url must be printable ASCII without ?, # and \\");
    if (request->body.len && strcmp(parts->method, "HEAD") == 0)
        return refuse(WEIR_ARG, error, error_bytes, "a HEAD request has no body");
    if (request->give_up_at_ms <= 0)
        return refuse(WEIR_ARG, error, error_bytes, "give_up_at_ms is not given");
    if (request->timeout_ms > OUTSIDE_TIMEOUT_MS_MAX ||
        request->redirects_max > OUTSIDE_REDIRECTS_MAX ||
        request->backoff_ms > OUTSIDE_TIMEOUT_MS_MAX ||
        request->backoff_ms_max > OUTSIDE_TIMEOUT_MS_MAX)
        return refuse(WEIR_ARG, error, error_bytes,
                      "timeout and backoff are at most a day, redirects at most %d",
                      OUTSIDE_REDIRECTS_MAX);
    return WEIR_OK;
}

/* ---- the copy ---- */

/* Fills a block; with `at` NULL it only counts. Every text gets a NUL. */
struct filler {
    char *at;
    size_t bytes;
};

static void fill(struct filler *filler, struct weir_str text)
{
    if (filler->at && text.len) memcpy(filler->at + filler->bytes, text.ptr, text.len);
    filler->bytes += text.len;
}

static struct weir_str filled(struct filler *filler, size_t begin)
{
    fill(filler, (struct weir_str){ "", 1 });
    return (struct weir_str){ filler->at ? filler->at + begin : "", filler->bytes - begin - 1 };
}

static struct weir_str fill_text(struct filler *filler, struct weir_str text)
{
    size_t begin = filler->bytes;
    fill(filler, text);
    return filled(filler, begin);
}

static const char *fill_header(struct filler *filler, struct weir_str name, struct weir_str value)
{
    size_t begin = filler->bytes;
    fill(filler, name);
    fill(filler, value.len ? STR(": ") : STR(";")); /* as libcurl wants an empty one written */
    fill(filler, value);
    return filled(filler, begin).ptr;
}

static void fill_align(struct filler *filler)
{
    static const char zeros[16];
    fill(filler, (struct weir_str){ zeros, -filler->bytes & 15 });
}

/* An array of pointers or structs inside the block. */
static void *fill_array(struct filler *filler, size_t bytes)
{
    fill_align(filler);
    void *array = filler->at ? filler->at + filler->bytes : NULL;
    filler->bytes += bytes;
    return array;
}

static struct outside_header *fill_headers(struct filler *filler,
                                           const struct outside_request *from)
{
    struct outside_header *headers = fill_array(filler, from->header_count * sizeof(*headers));
    for (size_t i = 0; i < from->header_count; i++) {
        struct outside_header copy = { fill_text(filler, from->headers[i].name),
                                       fill_text(filler, from->headers[i].value) };
        if (headers) headers[i] = copy;
    }
    return headers;
}

static const char **fill_lines(struct filler *filler, const struct outside_request *from,
                               const struct parts *parts)
{
    const char **lines = fill_array(filler, (from->header_count + 6) * sizeof(*lines));
    const char *none[OUTSIDE_HEADERS_MAX + 6];
    const char **line = lines ? lines : none;
    for (size_t i = 0; i < from->header_count; i++)
        *line++ = fill_header(filler, from->headers[i].name, from->headers[i].value);
    if (from->id.len) *line++ = fill_header(filler, parts->id_header, from->id);
    if (from->body.len && !parts->typed)
        *line++ = fill_header(filler, STR("Content-Type"), STR("application/json"));
    *line = NULL;
    return lines;
}

/* Behind the struct: all that the call points to. Run twice, to count and to copy. */
static void call_fill(struct filler *filler, struct call *call, const struct outside_request *from,
                      const struct parts *parts)
{
    struct outside_request *request = &call->open.request;
    uint16_t *retry = fill_array(filler, from->retry_count * sizeof(*retry));
    if (retry && from->retry_count) memcpy(retry, from->retry, from->retry_count * sizeof(*retry));
    request->retry = retry;
    request->headers = fill_headers(filler, from);
    call->header_lines = fill_lines(filler, from, parts);
    request->url = fill_text(filler, from->url);
    request->line = fill_text(filler, from->line);
    request->body = fill_text(filler, from->body);
    request->id_header = fill_text(filler, parts->id_header);
    call->secret = fill_text(filler, from->secret);
    /* the number behind the id is written at submission */
    call->by_id.key = fill_text(filler, from->id);
    request->id = call->by_id.key;
    fill_array(filler, sizeof(uint64_t));
    struct weir_str base = from->url;
    if (base.ptr[base.len - 1] == '/') base.len--;
    size_t begin = filler->bytes;
    fill(filler, base);
    fill(filler, parts->path);
    call->url = filled(filler, begin).ptr;
}

enum weir_status outside_call_create(const struct outside_request *request,
                                     struct outside_call **out, char *error, size_t error_bytes)
{
    struct parts parts = { 0 };
    struct call counted = { 0 };
    struct filler filler = { .bytes = sizeof(struct call) };
    *out = NULL;
    enum weir_status status = request_judge(request, &parts, error, error_bytes);
    if (status != WEIR_OK) return status;
    call_fill(&filler, &counted, request, &parts);

    struct call *call = mem_alloc(filler.bytes);
    size_t bytes = filler.bytes;
    filler = (struct filler){ .at = (char *)call, .bytes = sizeof(struct call) };
    call->open.request = *request;
    call->bytes = bytes;
    call->method = parts.method;
    call_fill(&filler, call, request, &parts);
    ASSERT(filler.bytes == bytes);
    struct outside_request *copy = &call->open.request;
    copy->secret = STR_NIL;
    if (!copy->timeout_ms) copy->timeout_ms = OUTSIDE_TIMEOUT_MS;
    if (!copy->backoff_ms) copy->backoff_ms = OUTSIDE_BACKOFF_FIRST_MS;
    if (!copy->backoff_ms_max) copy->backoff_ms_max = OUTSIDE_BACKOFF_MS_MAX;
    if (!url_parse(call->url, &call->at, error, error_bytes)) {
        outside_call_free(&call->open);
        return WEIR_ARG;
    }
    *out = &call->open;
    return WEIR_OK;
}

void outside_call_free(struct outside_call *open)
{
    if (!open) return;
    struct call *call = call_of(open);
    ASSERT(call->phase == CALL_NEW || call->phase == CALL_DONE);
    buf_free(&call->attempt.body);
    explicit_bzero(call, call->bytes);
    mem_free(call);
}
