/*
 * web.c - a small HTTP/1.1 client. Blocking sockets; answers with a length, in chunks, or up to the end.
 *
 * The connection is kept; one that the server has closed in the meantime is found out before it is used.
 * SPDX-License-Identifier: MIT
 */
#include "web.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/secret.h"
#include "cli.h"
#include "server/server.h"
#include "span.h"

#define HTTP_PORT 8080
#define READ_BYTES 65536
#define HEAD_BYTES_MAX 65536
#define SILENCE_S 90 /* longer than any answer is held back on purpose */
#define PAUSE_MS_MAX 2000
#define HELD_MS_MAX 250

uint64_t web_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void add_base64(struct buf *out, struct weir_str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        unsigned char three[3] = { 0 };
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        memcpy(three, bytes.ptr + i, n);
        uint32_t all = (uint32_t)three[0] << 16 | (uint32_t)three[1] << 8 | three[2];
        for (size_t d = 0; d < 4; d++)
            buf_add_byte(out, (uint8_t)(d <= n ? digits[all >> (18 - 6 * d) & 63] : '='));
    }
}

int web_open(struct web *web, const struct client_where *where)
{
    char room[256], secret[CLIENT_SECRET_BYTES_MAX];
    const char *host;
    memset(web, 0, sizeof *web);
    web->fd = -1;
    if (!args_address("--host", where->address, HTTP_PORT, room, sizeof room, &host, &web->port))
        return SERVER_EXIT_USAGE;
    snprintf(web->host, sizeof web->host, "%s", host);
    if (!client_secret(where, secret, web->error, sizeof web->error)) {
        fprintf(stderr, "weir: %s\n", web->error);
        return SERVER_EXIT_USAGE;
    }
    if (secret[0]) {
        struct buf both = { 0 };
        buf_printf(&both, "%s:%s", where->user ? where->user : "", secret);
        buf_add_text(&web->authorization, "Authorization: Basic ");
        add_base64(&web->authorization, buf_str(&both));
        buf_add_text(&web->authorization, "\r\n");
        secret_wipe(both.ptr, both.len);
        buf_free(&both);
    }
    secret_wipe(secret, sizeof secret);
    return 0;
}

static void hang_up(struct web *web)
{
    if (web->fd >= 0) close(web->fd);
    web->fd = -1;
    buf_reset(&web->in);
}

void web_close(struct web *web)
{
    hang_up(web);
    if (web->authorization.ptr) secret_wipe(web->authorization.ptr, web->authorization.len);
    buf_free(&web->authorization);
    buf_free(&web->in);
    buf_free(&web->body);
}

/* ---- one request ---- */

static bool lost(struct web *web, const char *why)
{
    snprintf(web->error, sizeof web->error, "%s", why);
    hang_up(web);
    return false;
}

static bool dial(struct web *web)
{
    char byte;
    if (web->fd >= 0) {
        ssize_t n = recv(web->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
        hang_up(web);
    }
    web->fd = client_dial(web->host, web->port, web->error, sizeof web->error);
    if (web->fd < 0) return false;
    struct timeval silence = { .tv_sec = SILENCE_S };
    int on = 1;
    (void)setsockopt(web->fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    (void)setsockopt(web->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return true;
}

static bool send_all(struct web *web, struct weir_str bytes)
{
    while (bytes.len) {
        ssize_t n = send(web->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes.ptr += n;
        bytes.len -= (size_t)n;
    }
    return true;
}

/* Bytes that came; 0 at the end. */
static size_t read_more(struct web *web)
{
    buf_reserve(&web->in, READ_BYTES);
    ssize_t n;
    do {
        n = recv(web->fd, web->in.ptr + web->in.len, READ_BYTES, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) web->in.len += (size_t)n;
    return n > 0 ? (size_t)n : 0;
}

static bool closed(struct web *web)
{
    bool stranger = !web->reached && web->in.len == 0;
    return lost(web, stranger ? "the server closed the connection without an answer; --host is the "
                                "HTTP door. Whether the request was applied is unknown"
                              : "the server closed the connection; whether the request was applied "
                                "is unknown");
}

struct head {
    size_t bytes; /* of it, with the empty line */
    bool close, chunked, has_length;
    size_t length;
};

static void header_take(struct web *web, struct head *head, struct weir_str line)
{
    char text[256];
    snprintf(text, sizeof text, "%.*s", STR_ARG(line));
    char *value = strchr(text, ':');
    if (!value) return;
    *value++ = 0;
    value += strspn(value, " \t");
    if (strcasecmp(text, "content-length") == 0) {
        head->has_length = true;
        head->length = strtoull(value, NULL, 10);
    } else if (strcasecmp(text, "transfer-encoding") == 0) {
        head->chunked = strcasecmp(value, "chunked") == 0;
    } else if (strcasecmp(text, "connection") == 0) {
        head->close = strcasecmp(value, "close") == 0;
    } else if (strcasecmp(text, "idempotency-replayed") == 0) {
        web->replayed = strcasecmp(value, "true") == 0;
    }
}

/* The empty line that ends a head. */
static const char *head_end(const struct buf *in)
{
    for (size_t i = 0; i + 4 <= in->len; i++)
        if (memcmp(in->ptr + i, "\r\n\r\n", 4) == 0) return in->ptr + i;
    return NULL;
}

static bool read_head(struct web *web, struct head *head)
{
    const char *end;
    memset(head, 0, sizeof *head);
    while (!(end = head_end(&web->in))) {
        if (web->in.len > HEAD_BYTES_MAX) return lost(web, "not a Weir server: an endless head");
        if (!read_more(web)) return closed(web);
    }
    head->bytes = (size_t)(end - web->in.ptr) + 4;
    if (memcmp(web->in.ptr, "HTTP/1.", 7) != 0 || head->bytes < 16)
        return lost(web, "not an HTTP server; --host is the HTTP door");
    web->status = (int)strtol(web->in.ptr + 9, NULL, 10);
    head->close = web->in.ptr[7] == '0';
    web->replayed = false;
    const char *at = memchr(web->in.ptr, '\n', head->bytes);
    while (at && at + 1 < end) {
        const char *next = memchr(at + 1, '\n', (size_t)(end + 2 - (at + 1)));
        if (!next) break;
        header_take(web, head, (struct weir_str){ at + 1, (size_t)(next - at - 2) });
        at = next;
    }
    return true;
}

static bool read_exactly(struct web *web, size_t bytes)
{
    while (web->in.len < bytes)
        if (!read_more(web)) return closed(web);
    return true;
}

static void drop(struct web *web, size_t bytes)
{
    ASSERT(web->in.ptr != NULL);
    web->in.len -= bytes;
    if (web->in.len > 0) memmove(web->in.ptr, web->in.ptr + bytes, web->in.len);
}

static bool read_chunks(struct web *web)
{
    for (;;) {
        const char *end = NULL;
        while (web->in.ptr == NULL || !(end = memchr(web->in.ptr, '\n', web->in.len)))
            if (!read_more(web)) return closed(web);
        size_t bytes = strtoull(web->in.ptr, NULL, 16);
        drop(web, (size_t)(end - web->in.ptr) + 1);
        if (bytes > ((size_t)1 << 30)) return lost(web, "not an HTTP server");
        if (!read_exactly(web, bytes + 2)) return false;
        buf_add(&web->body, web->in.ptr, bytes);
        drop(web, bytes + 2);
        if (bytes == 0) return true;
    }
}

static bool read_answer(struct web *web)
{
    struct head head;
    do {
        if (!read_head(web, &head)) return false;
        drop(web, head.bytes);
    } while (web->status >= 100 && web->status < 200);
    buf_reset(&web->body);
    if (head.chunked) {
        if (!read_chunks(web)) return false;
    } else if (head.has_length) {
        if (!read_exactly(web, head.length)) return false;
        buf_add(&web->body, web->in.ptr ? web->in.ptr : "", head.length);
        drop(web, head.length);
    } else {
        while (read_more(web)) continue;
        buf_add_str(&web->body, buf_str(&web->in));
        head.close = true;
    }
    if (head.close) hang_up(web);
    return true;
}

bool web_ask(struct web *web, const char *method, const char *path, const char *headers,
             struct weir_str body)
{
    struct buf head = { 0 };
    web->status = 0;
    if (!dial(web)) return false;
    buf_printf(&head, "%s %s HTTP/1.1\r\nHost: %s%s%s:%d\r\n", method, path,
               strchr(web->host, ':') ? "[" : "", web->host, strchr(web->host, ':') ? "]" : "",
               web->port);
    buf_add_str(&head, buf_str(&web->authorization));
    buf_add_text(&head, headers);
    if (strcmp(method, "GET") != 0) buf_printf(&head, "Content-Length: %zu\r\n", body.len);
    buf_add_text(&head, "\r\n");
    buf_add_str(&head, body);
    /* One that refuses may answer before all is sent: so the answer is looked for in any case. */
    bool sent = send_all(web, buf_str(&head));
    secret_wipe(head.ptr, head.len);
    buf_free(&head);
    bool answered = read_answer(web);
    if (!sent) hang_up(web);
    if (!answered) web->status = 0;
    web->reached = web->reached || answered;
    return answered;
}

static void pause_ms(unsigned ms)
{
    struct timespec span = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
    while (nanosleep(&span, &span) != 0 && errno == EINTR) continue;
}

static void add_grouped(struct buf *out, uint64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) buf_add_byte(out, ',');
        buf_add_byte(out, digits[i]);
    }
}

/* A stream's sources are held back, for one that follows it is far behind: that is no fault, however long it takes. */
static bool is_held(struct web *web)
{
    static const char *const kinds[] = { "follower", "window", "join" };
    struct weir_str body = buf_str(&web->body), lag = span_member(body, "lag");
    if (web->status != 429 || lag.len == 0) return false;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct weir_str name = span_member(body, kinds[i]);
        if (name.len == 0) continue;
        struct buf text = { 0 };
        buf_printf(&text, "waits for %s ", kinds[i]);
        span_text(name, &text);
        buf_add_text(&text, ", ");
        add_grouped(&text, span_number(lag));
        buf_add_text(&text, " behind");
        buf_add_byte(&text, 0);
        if (web->held != NULL) web->held(web->held_arg, text.ptr);
        else if (!web->told_held) fprintf(stderr, "weir: %s\n", text.ptr);
        web->told_held = true;
        buf_free(&text);
        return true;
    }
    return false;
}

bool web_ask_until(struct web *web, const char *method, const char *path, const char *headers,
                   struct weir_str body, unsigned patience_s)
{
    uint64_t until = web_now_ns() + (uint64_t)patience_s * 1000000000u;
    bool told = false;
    for (unsigned pause = 50;; pause = pause * 2 > PAUSE_MS_MAX ? PAUSE_MS_MAX : pause * 2) {
        bool answered = web_ask(web, method, path, headers, body);
        bool again = answered ? web->status == 429 || web->status == 503 || web->status == 504
                              : web->reached;
        if (answered && is_held(web)) {
            if (pause > HELD_MS_MAX) pause = HELD_MS_MAX;
            pause_ms(pause);
            until = web_now_ns() + (uint64_t)patience_s * 1000000000u;
            continue;
        }
        if (!again || web_now_ns() >= until) return answered;
        if (!told && !answered)
            fprintf(stderr, "weir: %s; trying again for %u s\n", web->error, patience_s);
        told = told || !answered;
        pause_ms(pause);
    }
}

/* ---- errors ---- */

void web_tell(struct weir_str text, bool json)
{
    struct buf line = { 0 };
    if (json) client_json_text(&line, text);
    if (json) fprintf(stderr, "{\"error\":{\"detail\":%.*s}}\n", STR_ARG(buf_str(&line)));
    else fprintf(stderr, "weir: %.*s\n", STR_ARG(text));
    buf_free(&line);
}

int web_complain(const struct web *web, bool json)
{
    if (web->status == 0) {
        web_tell(str_of(web->error), json);
        return SERVER_EXIT_UNREACHABLE;
    }
    struct weir_str body = buf_str(&web->body);
    struct weir_str type = span_member(body, "type"), detail = span_member(body, "detail");
    struct buf text = { 0 };
    while (body.len && memchr("\r\n ", body.ptr[body.len - 1], 3)) body.len--;
    span_text(detail.len ? detail : span_member(body, "title"), &text);
    if (json && type.len) {
        fprintf(stderr, "{\"error\":%.*s}\n", STR_ARG(body));
    } else if (text.len) {
        struct buf code = { 0 };
        span_text(span_member(body, "code"), &code);
        fprintf(stderr, "weir: %.*s%s%.*s\n", STR_ARG(buf_str(&code)), code.len ? ": " : "",
                STR_ARG(buf_str(&text)));
        buf_free(&code);
    } else {
        buf_printf(&text, "the server answered %d; is %s:%d the HTTP door?", web->status, web->host,
                   web->port);
        web_tell(buf_str(&text), json);
    }
    if (web->status == 401 && web->authorization.len == 0 && !json)
        fprintf(stderr,
                "weir: say who you are: --token-file FILE, or WEIR_TOKEN in the environment\n");
    buf_free(&text);
    return SERVER_EXIT_FAILED;
}

void web_add_part(struct buf *path, const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                     (*at >= '0' && *at <= '9') || strchr("-_~:", *at) ||
                     (*at == '.' && at > (const unsigned char *)text);
        if (plain) buf_add_byte(path, *at);
        else buf_printf(path, "%%%02X", *at);
    }
}
