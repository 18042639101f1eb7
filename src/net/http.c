/*
 * http.c - HTTP/1.1 requests: framing, what a browser must not be able to do, and routes.
 *
 * The head is collected until its empty line and judged as raw bytes (line ends, control characters, size)
 * before http_parser sees any of it, whole; bodies it does not see at all. So where the bytes were split
 * cannot matter, and the parser's leniencies cannot be reached. Bodies are JSON whatever
 * their type says; against other sites' scripts stand the checks of Host and Origin.
 * SPDX-License-Identifier: MIT
 */
#include "net/http_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#define RATE_MS 1000u
#define METHOD_BYTES_MAX 16u
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

/* ---- http_parser's calls ---- */

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct http_state *http = parser->data;
    if (!http->url.ptr) http->url.ptr = at;
    http->url.len = (size_t)(at + len - http->url.ptr);
    return 0;
}

static int on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct http_state *http = parser->data;
    http->field = (struct weir_str){ at, len };
    http->headers++;
    return 0;
}

bool http_name_is(struct weir_str text, const char *name)
{
    size_t len = strlen(name);
    return text.len == len && strncasecmp(text.ptr, name, len) == 0;
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
    struct http_state *http = parser->data;
    struct weir_str value = { at, len };
    if (http_name_is(http->field, "host")) {
        http->host = value;
        http->hosts++;
    } else if (http_name_is(http->field, "origin")) {
        http->origin = value;
        http->origins++;
    } else if (http_name_is(http->field, "idempotency-key")) {
        http->id = value;
        http->ids++;
    } else if (http_name_is(http->field, "authorization")) {
        http->authorization = value;
        http->authorizations++;
    } else if (http_name_is(http->field, "expect")) {
        http->expect = value;
    } else if (http_name_is(http->field, "content-type")) {
        http->type = value;
        http->types++;
    } else if (http_name_is(http->field, "accept")) {
        http->accept = value;
    } else if (http_name_is(http->field, "last-event-id")) {
        http->last_id = value;
    } else if (http->field.len > 3 && strncasecmp(http->field.ptr, "ce-", 3) == 0) {
        if (http->event_headers < EVENT_HEADERS_MAX) {
            http->event_names[http->event_headers] = http->field;
            http->event_values[http->event_headers] = value;
        }
        http->event_headers++;
    } else if (http_name_is(http->field, "transfer-encoding")) {
        http->encodings++;
        http->other_encoding = http->other_encoding || !http_name_is(value, "chunked");
    }
    return 0;
}

static int on_headers_complete(http_parser *parser)
{
    struct http_state *http = parser->data;
    if (parser->method != HTTP_CONNECT) parser->upgrade = 0; /* no protocol is changed here */
    http->keep_alive = http_should_keep_alive(parser) != 0;
    http->in_body = true;
    return 0;
}

static int on_message_complete(http_parser *parser)
{
    struct http_state *http = parser->data;
    http->done = true;
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_message_complete = on_message_complete,
};

/* ---- state ---- */

static void http_state_reset(struct http_state *http)
{
    struct buf head = http->head, body = http->body;
    if (head.cap > 4096) buf_free(&head);
    if (body.cap > 4096) buf_free(&body);
    *http = (struct http_state){ .head = head, .body = body };
    buf_reset(&http->head);
    buf_reset(&http->body);
    http_parser_init(&http->parser, HTTP_REQUEST);
    http->parser.data = http;
}

static struct http_state *http_of(struct conn *conn)
{
    if (!conn->http) {
        conn->http = mem_alloc(sizeof(*conn->http));
        http_state_reset(conn->http);
    }
    return conn->http;
}

void http_state_destroy(struct conn *conn)
{
    if (!conn->http) return;
    buf_free(&conn->http->head);
    buf_free(&conn->http->body);
    mem_free(conn->http);
    conn->http = NULL;
}

bool http_is_midway(const struct conn *conn)
{
    return conn->http && conn->http->in_body;
}

uint64_t http_deadline(const struct conn *conn, const char **reason)
{
    const struct net_limits *limits = &conn->net->limits;
    const struct http_state *http = conn->http;
    if (!http || !http->in_body) {
        *reason = "header_ms_max";
        return conn->begun_ns + limits->header_ms_max * 1000000;
    }
    *reason = "body_bytes_per_s_min";
    return http->head_ns +
           (limits->header_ms_max + http->raw_bytes * RATE_MS / limits->body_bytes_per_s_min) *
               1000000;
}

/* ---- refusals that end the connection ---- */

__attribute__((format(printf, 4, 5))) static void refuse_and_close(struct conn *conn,
                                                                   enum weir_status status,
                                                                   int http_status,
                                                                   const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct call *call = call_begin(conn, 0);
    call->close = true;
    call->counted = true;
    call->http_status = http_status;
    conn->closing = true;
    conn->linger = http_status >= 413;
    call_refuse(call, status, "%s", text);
}

/* A request whose body cannot be read to its end; one that was routed already answers for itself. */
static void refuse_midway(struct conn *conn, enum weir_status status, int http_status,
                          const char *text)
{
    struct http_state *http = conn->http;
    if (http && http->lines) http_lines_fail(http->lines, status, http_status, text);
    else if (http && http->routed) conn->closing = true;
    else refuse_and_close(conn, status, http_status, "%s", text);
}

void http_time_out(struct conn *conn)
{
    refuse_midway(conn, WEIR_BADREQUEST, 408, "the request came too slowly");
}

void http_input_ended(struct conn *conn)
{
    if (conn->http && conn->http->lines)
        http_lines_fail(conn->http->lines, WEIR_BADREQUEST, 400, "the body ended before its end");
}

void http_drain(struct conn *conn)
{
    if (conn->http && conn->http->lines)
        http_lines_fail(conn->http->lines, WEIR_SHUTDOWN, 0, "shutting down, connect again later");
}

/* ---- the head as raw bytes ---- */

/*
 * False once these bytes cannot become a request line: no method stands before its first space, or its end is there and
 * no version before that. Where the bytes end changes nothing but how soon it is found.
 */
static bool line_is_fit(const char *bytes, size_t len, size_t limit)
{
    size_t at = 0;
    while (at < len && at < METHOD_BYTES_MAX &&
           ((bytes[at] >= 'A' && bytes[at] <= 'Z') || bytes[at] == '-'))
        at++;
    if (at < len && (at == 0 || bytes[at] != ' ')) return false;
    const char *end = memchr(bytes, '\n', len < limit ? len : limit);
    if (!end) return true; /* one that is too long is told so */
    if (end > bytes && end[-1] == '\r') end--;
    return end - bytes > 9 && memcmp(end - 9, " HTTP/", 6) == 0;
}

/* Most often that of another protocol: a client of Redis at the wrong port, or one of TLS. */
static void refuse_line(struct conn *conn)
{
    int port = net_resp_port(conn->net);
    char other[64] = "";
    if (port > 0) snprintf(other, sizeof(other), "; RESP, as of Redis, is spoken on port %d", port);
    conn_trace(conn, "no HTTP on the HTTP port", "protocol", 0);
    refuse_and_close(conn, WEIR_BADREQUEST, 400,
                     "malformed request: HTTP is spoken on this port, and this is none%s", other);
}

/* Length of the head with its empty line; 0: not there yet. */
static size_t head_length(struct http_state *http, const char *bytes, size_t len)
{
    size_t at = http->scanned;
    while (at < len) {
        const char *end = memchr(bytes + at, '\n', len - at);
        if (!end) break;
        at = (size_t)(end - bytes) + 1;
        if (at >= 4 && memcmp(bytes + at - 4, "\r\n\r\n", 4) == 0) return at;
        if (at >= 2 && memcmp(bytes + at - 2, "\n\n", 2) == 0)
            return at; /* refused by head_fault() */
    }
    http->scanned = len;
    return 0;
}

/* What is wrong with the head's bytes, or NULL. */
static const char *head_fault(const char *bytes, size_t len)
{
    bool in_name = false; /* of a header: not in the first line, nor behind a colon */
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == ':') in_name = false;
        if (in_name && (c == ' ' || c == '\t')) return "a space in a header's name";
        if (c == '\r') {
            in_name = true;
            if (i + 1 == len || bytes[i + 1] != '\n') return "a CR without LF";
            i++;
            if (i + 1 < len && (bytes[i + 1] == ' ' || bytes[i + 1] == '\t'))
                return "a folded header line";
        } else if (c == '\n') {
            return "a line that does not end with CRLF";
        } else if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return "a control character";
        }
    }
    return NULL;
}

/* True when nothing can be done until more bytes come. */
static bool head_is_unfinished(struct conn *conn, size_t head, const char *bytes, size_t len)
{
    size_t limit = conn->net->limits.header_bytes_max;
    if (head == 0 && len <= limit) return true;
    if (head > 0 && head <= limit) return false;
    bool first_line = memchr(bytes, '\n', len < limit ? len : limit) == NULL;
    refuse_and_close(conn, WEIR_TOOBIG, first_line ? 414 : 431, "%s larger than %zu bytes",
                     first_line ? "a request line" : "headers", limit);
    return false;
}

/* ---- what may be asked from where ---- */

/* The host part of "host:port" or "[v6]:port"; nil when malformed. */
static struct weir_str host_part(struct weir_str text)
{
    size_t len = 0;
    if (text.len > 0 && text.ptr[0] == '[') {
        while (len < text.len && text.ptr[len] != ']') len++;
        if (len == text.len) return STR_NIL;
        len++;
    } else {
        while (len < text.len && text.ptr[len] != ':') len++;
    }
    if (len < text.len && text.ptr[len] != ':') return STR_NIL;
    for (size_t i = len + 1; i < text.len; i++)
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return STR_NIL;
    return (struct weir_str){ text.ptr, len };
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* "10.0.0.5" or "[fe80::1]": no name that somebody else's name server could have turned to us. */
static bool host_is_address(struct weir_str host)
{
    bool six = host.len > 0 && host.ptr[0] == '[';
    int dots = 0;
    for (size_t i = six ? 1 : 0; i < host.len - (six ? 1 : 0); i++) {
        if (host.ptr[i] == '.') dots++;
        else if (six ? hex_value(host.ptr[i]) < 0 && host.ptr[i] != ':'
                     : host.ptr[i] < '0' || host.ptr[i] > '9')
            return false;
    }
    return six || dots == 3;
}

/* A name that is this server's wherever the request came in. */
static bool host_is_ours(const struct net *net, struct weir_str host)
{
    const char *bound = net->options.http_host;
    if (host.len == 0) return false;
    if (http_name_is(host, "localhost") || http_name_is(host, "127.0.0.1") ||
        http_name_is(host, "[::1]") || (bound && http_name_is(host, bound)))
        return true;
    for (const char *const *name = net->options.host_names; name && *name; name++)
        if (http_name_is(host, *name)) return true;
    return false;
}

bool http_host_is_known(const struct net *net, struct weir_str text)
{
    struct weir_str host = host_part(text);
    const char *bound = net->options.http_host;
    if (host_is_ours(net, host)) return true;
    return host.len > 0 && bound && !net_host_is_loopback(bound) && host_is_address(host);
}

/* Pages of this server may ask it: those of a name that is ours, or of the very host that the request is for. */
static bool origin_is_known(const struct net *net, const struct http_state *http)
{
    struct weir_str origin = http->origin, asked = host_part(http->host);
    size_t scheme = origin.len > 7 && strncasecmp(origin.ptr, "http://", 7) == 0    ? 7
                    : origin.len > 8 && strncasecmp(origin.ptr, "https://", 8) == 0 ? 8
                                                                                    : 0;
    if (scheme == 0) return false;
    struct weir_str host = host_part((struct weir_str){ origin.ptr + scheme, origin.len - scheme });
    return host_is_ours(net, host) || (host.len > 0 && host.len == asked.len &&
                                       strncasecmp(host.ptr, asked.ptr, host.len) == 0);
}

/* Judges a complete head. False after refusing. */
static bool head_is_fit(struct conn *conn)
{
    struct net *net = conn->net;
    struct http_state *http = conn->http;
    const http_parser *parser = &http->parser;
    if (parser->http_major != 1)
        refuse_and_close(conn, WEIR_BADREQUEST, 505, "HTTP/1.1 is spoken here");
    else if (http->headers > net->limits.headers_max)
        refuse_and_close(conn, WEIR_TOOBIG, 431, "more than %llu headers",
                         (unsigned long long)net->limits.headers_max);
    else if (http->other_encoding)
        refuse_and_close(conn, WEIR_BADREQUEST, 501, "of transfer encodings only chunked is known");
    else if (http->encodings > 0 && parser->http_minor == 0)
        refuse_and_close(conn, WEIR_BADREQUEST, 400, "HTTP/1.0 knows no Transfer-Encoding");
    else if (http->hosts > 1 || http->ids > 1 || http->origins > 1 || http->authorizations > 1 ||
             http->encodings > 1)
        refuse_and_close(conn, WEIR_BADREQUEST, 400, "a header that may come once came twice");
    else if (http->hosts == 0 && parser->http_minor > 0)
        refuse_and_close(conn, WEIR_BADREQUEST, 400, "the Host header is missing");
    else if (http->hosts > 0 && !http_host_is_known(net, http->host))
        refuse_and_close(conn, WEIR_DENIED, 403,
                         "the Host header names another host: use localhost, or start with "
                         "--allow-host NAME");
    else if (http->origins > 0 && !origin_is_known(net, http))
        refuse_and_close(conn, WEIR_DENIED, 403, "the Origin header names another site");
    else if (http->url.len == 0 || http->url.ptr[0] != '/')
        /* nor as http://host/path: two names of the host in one request are one to mislead a proxy with */
        refuse_and_close(conn, WEIR_BADREQUEST, 400, "the request target is not a path");
    else if (http->expect.len > 0 && !http_name_is(http->expect, "100-continue"))
        refuse_and_close(conn, WEIR_BADREQUEST, 417, "only 100-continue can be expected");
    else return true;
    return false;
}

/* ---- who asks ---- */

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes in place; false for what is no base64. */
static bool base64_decode(char *text, size_t *len)
{
    uint32_t bits = 0, count = 0;
    size_t out = 0, left = *len;
    while (left > 0 && text[left - 1] == '=' && *len - left < 2) left--;
    for (size_t i = 0; i < left; i++) {
        int value = base64_value(text[i]);
        if (value < 0) return false;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count < 8) continue;
        count -= 8;
        text[out++] = (char)(bits >> count);
        bits &= (1u << count) - 1;
    }
    *len = out;
    return true;
}

/* "Bearer TOKEN", or "Basic" with base64 of "user:secret", an empty user being any. `text` may be overwritten. */
static const struct user *user_of(const struct users *users, char *text, size_t len)
{
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t')) len--;
    bool bearer = len > 7 && strncasecmp(text, "bearer ", 7) == 0;
    if (!bearer && !(len > 6 && strncasecmp(text, "basic ", 6) == 0)) return NULL;
    text += bearer ? 7 : 6;
    len -= bearer ? 7 : 6;
    while (len > 0 && *text == ' ') {
        text++;
        len--;
    }
    if (bearer) return users_by_secret(users, (struct weir_str){ text, len });
    char *colon = base64_decode(text, &len) ? memchr(text, ':', len) : NULL;
    if (!colon) return NULL;
    struct weir_str name = { text, (size_t)(colon - text) };
    struct weir_str secret = { colon + 1, len - name.len - 1 };
    return name.len == 0 ? users_by_secret(users, secret) : users_by_both(users, name, secret);
}

/* Reads the caller off the head. False after refusing: too many wrong secrets. */
static bool caller_take(struct conn *conn)
{
    struct http_state *http = conn->http;
    const struct users *users = conn->net->users;
    conn->secret_in = http->authorizations > 0;
    if (!users) return true;
    conn->user = NULL;
    if (http->authorizations == 0) return true;
    char *text = http->head.ptr + (http->authorization.ptr - http->head.ptr);
    size_t len = http->authorization.len;
    const struct user *user = user_of(users, text, len);
    secret_wipe(text, len);
    http->wrong_secret = !user;
    if (user) conn_take_user(conn, user);
    if (user || !conn_count_failure(conn)) return true;
    refuse_and_close(conn, WEIR_NOAUTH, 401, "wrong secrets too often");
    return false;
}

static size_t body_limit(const struct conn *conn)
{
    const struct net_limits *limits = &conn->net->limits;
    return conn->user ? limits->request_bytes_max : limits->stranger_bytes_max;
}

static void refuse_body(struct conn *conn)
{
    size_t limit = body_limit(conn);
    if (conn->user) refuse_and_close(conn, WEIR_TOOBIG, 413, "a body larger than %zu bytes", limit);
    else {
        refuse_and_close(conn, WEIR_NOAUTH, 401,
                         "a body larger than %zu bytes needs authentication", limit);
        conn->linger = true;
    }
}

/* Judges the length that the head announces. False after refusing. */
static bool length_is_fit(struct conn *conn)
{
    const http_parser *parser = &conn->http->parser;
    if (parser->flags & F_CHUNKED || parser->content_length == UINT64_MAX ||
        parser->content_length <= body_limit(conn))
        return true;
    refuse_body(conn);
    return false;
}

static void answer_continue(struct conn *conn)
{
    struct call *call = call_begin(conn, 0);
    call->is_ready = call->interim = true;
    call->ready = STR(CONTINUE);
    call_answer(call);
}

/* ---- paths and parameters ---- */

bool http_unescape(struct arena *arena, struct weir_str text, bool plus_is_space,
                   struct weir_str *out)
{
    char *at = arena_alloc(arena, text.len + 1);
    *out = (struct weir_str){ at, 0 };
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_value(text.ptr[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) return false;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c == 0) return false;
        *at++ = c;
    }
    out->len = (size_t)(at - out->ptr);
    return str_is_utf8(*out);
}

/* Splits and decodes; false for bad escapes, NUL, "." or "..", empty segments. */
static bool path_read(struct arena *arena, struct weir_str url, struct path *path)
{
    *path = (struct path){ 0 };
    const char *mark = memchr(url.ptr, '?', url.len);
    if (mark) {
        path->query = (struct weir_str){ mark + 1, (size_t)(url.ptr + url.len - mark - 1) };
        url.len = (size_t)(mark - url.ptr);
    }
    if (url.len == 1) return true;
    for (size_t at = 1; at <= url.len;) {
        size_t end = at;
        while (end < url.len && url.ptr[end] != '/') end++;
        struct weir_str segment;
        if (!http_unescape(arena, (struct weir_str){ url.ptr + at, end - at }, false, &segment))
            return false;
        if (segment.len == 0 || str_eq(segment, STR(".")) || str_eq(segment, STR("..")))
            return false;
        if (path->count == SEGMENTS_MAX) path->too_many = true;
        else path->segment[path->count++] = segment;
        at = end + 1;
    }
    return true;
}

/* Takes the next "name=value" off a query; 1: taken, 0: none is left, -1: bad escape. */
int http_parameter(struct arena *arena, struct weir_str *query, struct weir_str *name,
                   struct weir_str *value)
{
    while (query->len > 0 && query->ptr[0] == '&') {
        query->ptr++;
        query->len--;
    }
    if (query->len == 0) return 0;
    size_t len = 0;
    while (len < query->len && query->ptr[len] != '&') len++;
    const char *equals = memchr(query->ptr, '=', len);
    struct weir_str left = { query->ptr, equals ? (size_t)(equals - query->ptr) : len };
    struct weir_str right = { equals ? equals + 1 : query->ptr + len,
                              equals ? len - left.len - 1 : 0 };
    query->ptr += len;
    query->len -= len;
    return http_unescape(arena, left, true, name) && http_unescape(arena, right, true, value) ? 1
                                                                                              : -1;
}

static int field_find(const struct shape *shape, struct weir_str name)
{
    if (shape->scalar) return str_eq(name, STR("value")) ? 0 : -1;
    for (uint32_t i = 0; i < shape->count; i++)
        if (str_eq(shape->fields[i].name, name)) return (int)i;
    return -1;
}

/* Arguments from a query string. False after answering. */
static bool parameters_read(struct call *call, const struct handler *handler, struct weir_str query)
{
    const struct shape *shape = handler->args;
    struct arena *arena = &call->request.arena;
    bool given[SHAPE_FIELDS_MAX] = { false };
    struct problem problem;
    problem_clear(&problem);
    struct weir_str name, value;
    int more;
    void *args = arena_alloc(arena, shape->size);
    shape_start(shape, args);
    while ((more = http_parameter(arena, &query, &name, &value)) > 0) {
        int place = field_find(shape, name);
        if (place < 0 || given[place]) {
            call_refuse(call, WEIR_ARG, "%.*s %s parameter %.*s", STR_ARG(handler->name),
                        place < 0 ? "has no" : "was given twice its", STR_ARG(name));
            return false;
        }
        given[place] = true;
        enum weir_status status = field_keep_text(&shape->fields[place], value, arena, args,
                                                  &problem);
        if (status != WEIR_OK) {
            call_refuse_problem(call, status, &problem);
            return false;
        }
    }
    if (more < 0) {
        call_refuse(call, WEIR_ARG, "a parameter is not UTF-8 in percent escapes");
        return false;
    }
    for (uint32_t i = 0; i < shape->count; i++) {
        if (given[i] || field_may_be_left_out(&shape->fields[i])) continue;
        call_refuse(call, WEIR_ARG, "%.*s needs the parameter %.*s", STR_ARG(handler->name),
                    STR_ARG(shape->scalar ? STR("value") : shape->fields[i].name));
        return false;
    }
    enum weir_status status = shape_judge(shape, args, false, &problem);
    call->request.args = args; /* before a refusal, which may give the call back */
    if (status != WEIR_OK) call_refuse_problem(call, status, &problem);
    return status == WEIR_OK;
}

bool http_begins_with_mark(struct weir_str bytes)
{
    return bytes.len >= 3 && memcmp(bytes.ptr, "\xef\xbb\xbf", 3) == 0;
}

bool http_json_begins_well(struct call *call, struct weir_str body)
{
    if (!http_begins_with_mark(body)) return true;
    call_refuse(
        call, WEIR_ARG,
        "not valid JSON: the body begins with a byte order mark, the bytes EF BB BF; send it "
        "without");
    return false;
}

/* Arguments from a JSON body. False after answering. */
static bool body_read(struct call *call, const struct handler *handler, struct weir_str body)
{
    struct problem problem;
    problem_clear(&problem);
    if (!http_json_begins_well(call, body)) return false;
    void *args = arena_alloc(&call->request.arena, handler->args->size);
    enum weir_status status = json_read_args(handler->args, body, &call->request.arena, args,
                                             &problem);
    if (status == WEIR_OK) status = shape_judge(handler->args, args, false, &problem);
    call->request.args = args;
    if (status != WEIR_OK) call_refuse_problem(call, status, &problem);
    return status == WEIR_OK;
}

/* `Idempotency-Key`: a quoted string of structured fields, or bare. False after answering. */
bool http_id_read(struct call *call, const struct http_state *http)
{
    struct weir_str text = http->id;
    if (http->ids == 0) return true;
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    char *out = arena_alloc(&call->request.arena, text.len + 1);
    size_t len = 0;
    bool fit = true;
    if (text.len > 0 && text.ptr[0] == '"') {
        size_t at = 1;
        for (; at < text.len && text.ptr[at] != '"'; at++) {
            if (text.ptr[at] == '\\') at++;
            if (at < text.len) out[len++] = text.ptr[at];
        }
        fit = at + 1 == text.len;
    } else {
        memcpy(out, text.ptr, text.len);
        len = text.len;
    }
    call->request.id = (struct weir_str){ out, len };
    if (fit && len > 0 && len <= ID_BYTES_MAX && str_is_utf8(call->request.id)) return true;
    call_refuse(call, WEIR_ARG, "Idempotency-Key is text of 1 to %u bytes, quoted or bare",
                ID_BYTES_MAX);
    return false;
}

/* ---- routes ---- */

bool http_is_read(const struct http_state *http)
{
    return http->parser.method == HTTP_GET || http->parser.method == HTTP_HEAD;
}

void http_refuse_method(struct call *call, const char *allow)
{
    call->http_status = 405;
    call->allow = allow;
    call_refuse(call, WEIR_BADREQUEST, "the method does not fit this path; allowed: %s", allow);
}

void http_answer_body(struct call *call, int status, const char *type, struct buf *text)
{
    call->is_ready = true;
    call->http_status = status;
    call->content_type = type;
    call->ready = arena_copy(&call->request.arena, buf_str(text));
    buf_free(text);
    call_answer(call);
}

static void route_handler(struct call *call, const struct http_state *http, const struct path *path,
                          const struct handler *handler, struct weir_str key)
{
    if (!call_is_admitted(call, handler)) return;
    bool query = handler->kind == WEIR_QUERY;
    if (http->parser.method != HTTP_POST && !(query && http_is_read(http))) {
        http_refuse_method(call, query ? "GET, HEAD, POST" : "POST");
        return;
    }
    if (handler->type->service ? false : !key_is_fit(call, key)) return;
    if (!http_is_read(http) && !http_id_read(call, http)) return;
    bool by_query = http_is_read(http) || (http->body.len == 0 && path->query.len > 0);
    if (by_query ? !parameters_read(call, handler, path->query)
                 : !body_read(call, handler, buf_str(&http->body)))
        return;
    call->request.handler = handler;
    if (!handler->type->service) call->request.key = key;
    call_submit(call);
}

static void route_row(struct call *call, const struct http_state *http, const struct type *type,
                      struct weir_str key)
{
    const struct handler *handler = engine_row_query(call->conn->net->engine, type);
    if (!call_is_admitted(call, handler)) return;
    if (!http_is_read(http)) {
        http_refuse_method(call, "GET, HEAD");
        return;
    }
    if (!key_is_fit(call, key)) return;
    call->request.handler = handler;
    call->request.key = key;
    call->request.args = arena_alloc(&call->request.arena, handler->args->size);
    call_submit(call);
}

static int page_index(struct call *call, struct buf *out)
{
    admin_index(call->conn->net, NULL, conn_roles(call->conn), out);
    return 200;
}

static int page_live(struct call *call, struct buf *out)
{
    buf_add_text(out, "{\"status\":\"ok\"}\n");
    return 200;
}

static int page_ready(struct call *call, struct buf *out)
{
    return admin_ready(call->conn->net, out) ? 200 : 503;
}

static int page_metrics(struct call *call, struct buf *out)
{
    admin_metrics(call->conn->net, out);
    call->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return 200;
}

/* Pages of the server itself. */
static const struct page {
    const char *name;
    int (*write)(struct call *call, struct buf *out); /* the status */
    enum right right;
} pages[] = {
    { "", page_index, RIGHT_USER },
    { "livez", page_live, RIGHT_ANYONE },
    { "readyz", page_ready, RIGHT_ANYONE },
    { "healthz", page_ready, RIGHT_ANYONE },
    { "metrics", page_metrics, RIGHT_OPERATOR },
};
#define PAGES (sizeof(pages) / sizeof(pages[0]))

void http_list_pages(struct buf *out)
{
    for (size_t i = 1; i < PAGES; i++)
        buf_printf(out, "%s\"/%s\"", i > 1 ? "," : "", pages[i].name);
}

static const struct page *page_find(const struct path *path)
{
    struct weir_str name = path->count > 0 ? path->segment[0] : STR_NIL;
    for (size_t i = 0; i < PAGES && path->count <= 1; i++)
        if (str_eq(name, str_of(pages[i].name))) return &pages[i];
    return NULL;
}

/* False after refusing. What names itself wrongly is refused where it needed no name, too, but for health. */
static bool page_is_open(struct call *call, const struct http_state *http, enum right right)
{
    if (right == RIGHT_ANYONE) return true;
    if (!http->wrong_secret) return call_has_right(call, right, "see this page");
    call_refuse(call, WEIR_NOAUTH, "the token or password is wrong");
    return false;
}

static void route_page(struct call *call, const struct http_state *http, const struct page *page)
{
    struct buf text = { 0 };
    if (!page_is_open(call, http, page->right)) return;
    if (!http_is_read(http)) {
        http_refuse_method(call, "GET, HEAD");
        return;
    }
    call->content_type = "application/json";
    int status = page->write(call, &text);
    http_answer_body(call, status, call->content_type, &text);
}

/* A path whose first segment names a type or service. */
static void route_type(struct call *call, const struct http_state *http, const struct path *path)
{
    struct net *net = call->conn->net;
    struct weir_str name = path->segment[0], last = path->segment[path->count - 1];
    const struct route *route = conn_route(call->conn, name, last);
    const struct type *type = route->type;
    call->counted = true;
    if (!call_is_in_sight(call, route->handler)) return;
    if (!type) {
        call_refuse(call, WEIR_NOTYPE, "no type or service %.*s; GET / lists what there is",
                    STR_ARG(name));
        return;
    }
    if (path->count == 1) {
        struct buf text = { 0 };
        if (!call_has_right(call, RIGHT_USER, "see this page")) return;
        if (!http_is_read(http)) {
            http_refuse_method(call, "GET, HEAD");
            return;
        }
        admin_index(net, type, conn_roles(call->conn), &text);
        http_answer_body(call, 200, "application/json", &text);
        return;
    }
    if (!type->service && path->count == 2) {
        route_row(call, http, type, path->segment[1]);
        return;
    }
    bool fits = !path->too_many && path->count == (type->service ? 2u : 3u);
    int map = type->service || !fits || route->handler ? -1 : type_map(type, last);
    if (fits && route->handler) route_handler(call, http, path, route->handler, path->segment[1]);
    else if (map >= 0) http_route_map(call, http, path, type, map);
    else if (fits)
        call_refuse(call, WEIR_NOHANDLER, "%.*s has no handler %.*s", STR_ARG(name), STR_ARG(last));
    else if (type->service)
        call_refuse(call, WEIR_NOHANDLER, "%.*s is a service: /%.*s/{handler}", STR_ARG(name),
                    STR_ARG(name));
    else call_refuse(call, WEIR_NOHANDLER, "no such path: /%.*s/{key}/{handler}", STR_ARG(name));
}

/* Who is routed with a method that nothing here has, to be told which the path has: not a stranger, who would learn
 * what is there, and not to where all but GET is taken for POST. */
static bool methods_are_judged(const struct call *call, const struct path *path)
{
    return call->conn->user && !str_eq(path->segment[0], STR("streams")) &&
           !str_eq(path->segment[0], STR("parked"));
}

static void route_request(struct call *call, const struct http_state *http)
{
    struct path path;
    if (!path_read(&call->request.arena, http->url, &path)) {
        call->http_status = 400;
        call_refuse(call, WEIR_BADREQUEST,
                    "the path is not names in UTF-8 and percent escapes without NUL, '.', '..' and "
                    "empty parts");
    } else if (http->parser.method != HTTP_POST && !http_is_read(http) &&
               !methods_are_judged(call, &path)) {
        http_refuse_method(call, "GET, HEAD, POST");
    } else if (page_find(&path)) {
        route_page(call, http, page_find(&path));
    } else if (!page_is_open(call, http, RIGHT_HANDLER)) {
        return;
    } else if (!call->conn->net->engine) {
        call_submit(call);
    } else if (str_eq(path.segment[0], STR("streams"))) {
        http_route_streams(call, &path);
    } else if (str_eq(path.segment[0], STR("requests"))) {
        http_route_requests(call, http, &path);
    } else if (str_eq(path.segment[0], STR("parked"))) {
        http_route_parked(call, http, &path);
    } else {
        route_type(call, http, &path);
    }
}

/* ---- input ---- */

static void request_complete(struct conn *conn)
{
    struct http_state *http = conn->http;
    struct call *call = call_begin(conn, http->head.len + http->raw_bytes);
    call->head = http->parser.method == HTTP_HEAD;
    call->close = !http->keep_alive;
    call->old = http->parser.http_minor == 0;
    if (call->close) conn->closing = true;
    route_request(call, http);
    http_state_reset(http);
}

/* Lines are routed before they are all there. */
static void request_open(struct conn *conn)
{
    struct http_state *http = conn->http;
    struct call *call = call_begin(conn, http->head.len);
    call->close = true; /* if it is refused at once: its body is not read */
    call->old = http->parser.http_minor == 0;
    http->routed = true;
    route_request(call, http);
    if (http->lines) call->close = !http->keep_alive;
    else conn->closing = conn->linger = true;
}

/* What came of them. */
static void lines_take(struct conn *conn)
{
    struct http_state *http = conn->http;
    bool done = http->done;
    if (!conn->user && http->raw_bytes > body_limit(conn)) {
        refuse_midway(conn, WEIR_NOAUTH, 401, "a body as large needs authentication");
        return;
    }
    if (done && !http->keep_alive) conn->closing = true;
    if (http->lines) http_lines_take(http->lines, buf_str(&http->body), done);
    buf_reset(&http->body);
    if (done) http_state_reset(http);
}

static void refuse_parse(struct conn *conn)
{
    char text[128];
    enum http_errno error = HTTP_PARSER_ERRNO(&conn->http->parser);
    snprintf(text, sizeof(text), "malformed request: %s", http_errno_description(error));
    refuse_midway(conn, WEIR_BADREQUEST, 400, text);
}

/* Of a body whose length was told. */
static size_t take_plain(struct http_state *http, const char *bytes, size_t len)
{
    uint64_t left = http->parser.content_length - http->raw_bytes;
    size_t part = len < left ? len : (size_t)left;
    buf_add(&http->body, bytes, part);
    http->done = part == left;
    return part;
}

/* Bytes behind the head. Returns those used; the request may be complete then. */
static size_t take_body(struct conn *conn, const char *bytes, size_t len)
{
    struct http_state *http = conn->http;
    size_t limit = body_limit(conn), used;
    enum chunks_found found = CHUNKS_MORE;
    if (http->parser.flags & F_CHUNKED) {
        /* lines leave the body as they come: it has no bound */
        found = chunks_take(&http->chunks, bytes, len, http->routed ? SIZE_MAX : limit, &http->body,
                            &used);
        http->done = http->chunks.state == CHUNK_DONE;
    } else {
        used = take_plain(http, bytes, len);
    }
    http->raw_bytes += used;
    if (found == CHUNKS_BROKEN) {
        refuse_midway(conn, WEIR_BADREQUEST, 400, "malformed request: the frame of a chunk");
        return len;
    }
    if (http->routed) {
        lines_take(conn);
        return used;
    }
    if (found == CHUNKS_TOO_MANY ||
        http->raw_bytes > 2 * limit + conn->net->limits.header_bytes_max) {
        refuse_body(conn);
        return len;
    }
    if (http->done) request_complete(conn);
    return used;
}

/* A body without a bound, of callers who are known; others' are read whole first. */
static bool brings_lines(const struct http_state *http)
{
    return http->parser.method == HTTP_POST && http->url.len > 9 &&
           memcmp(http->url.ptr, "/streams/", 9) == 0 && http_brings_lines(http);
}

static size_t take_head(struct conn *conn, const char *bytes, size_t len)
{
    struct http_state *http = conn->http;
    if (bytes[0] == '\r' && len == 1) return 0;
    if (memcmp(bytes, "\r\n", len < 2 ? 1 : 2) == 0) return 2; /* left by a former body */
    if (!line_is_fit(bytes, len, conn->net->limits.header_bytes_max)) {
        refuse_line(conn);
        return len;
    }
    size_t head = head_length(http, bytes, len);
    if (head_is_unfinished(conn, head, bytes, len)) return 0;
    if (conn->closing) return len;
    const char *fault = head_fault(bytes, head);
    if (fault) {
        refuse_and_close(conn, WEIR_BADREQUEST, 400, "malformed request: %s", fault);
        return len;
    }
    buf_add(&http->head, bytes, head);
    http_parser_execute(&http->parser, &settings, http->head.ptr, http->head.len);
    enum http_errno error = HTTP_PARSER_ERRNO(&http->parser);
    if (http->parser.upgrade) {
        refuse_and_close(conn, WEIR_BADREQUEST, 400, "CONNECT is for proxies, and this is none");
        return len;
    }
    if ((error != HPE_OK && error != HPE_PAUSED) || !http->in_body) {
        refuse_parse(conn);
        return len;
    }
    if (!head_is_fit(conn) || !caller_take(conn)) return len;
    bool lines = conn->user && !http->done && brings_lines(http);
    if (!lines && !length_is_fit(conn)) return len;
    http->head_ns = conn->net->now_ns;
    if (http->done) request_complete(conn);
    else if (http->expect.len > 0) answer_continue(conn);
    if (lines) request_open(conn);
    return head;
}

size_t http_input(struct conn *conn, const char *bytes, size_t len)
{
    struct http_state *http = http_of(conn);
    return http->in_body ? take_body(conn, bytes, len) : take_head(conn, bytes, len);
}
