/*
 * http_reply.c - answers as HTTP/1.1: results as JSON, errors as problem details (RFC 9457).
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <time.h>

#include "net/net_int.h"

static const char *reason_of(int status)
{
    switch (status) {
    case 200: return "OK";
    case 202: return "Accepted";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Error";
    }
}

/* The date changes once a second: it is written once for all answers of that second. */
static const char *date_text(struct net *net)
{
    int64_t now = net->env->wall_ms(net->env) / 1000;
    if (now != net->date_s) {
        static const char *const days[] = { "Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed" };
        static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                              "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
        time_t seconds = (time_t)now;
        struct tm tm;
        gmtime_r(&seconds, &tm);
        snprintf(net->date, sizeof(net->date), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                 days[(now / 86400) % 7], tm.tm_mday % 100, months[tm.tm_mon % 12],
                 (tm.tm_year + 1900) % 10000, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
        net->date_s = now;
    }
    return net->date;
}

/* Members of an object given as JSON are taken over (field, rule, limit, value); anything else is the detail. */
static void add_detail(struct buf *body, struct weir_str detail)
{
    if (detail.len >= 2 && detail.ptr[0] == '{') {
        if (detail.len > 2) {
            buf_add_byte(body, ',');
            buf_add(body, detail.ptr + 1, detail.len - 2);
        }
        return;
    }
    buf_add_text(body, ",\"detail\":");
    buf_add_str(body, detail);
}

static void add_problem(struct buf *body, const struct call *call, int http)
{
    const struct request *r = &call->request;
    enum weir_status status = status_public(r->status);
    struct weir_str word = str_of(weir_status_word(status));
    struct weir_str code = status == WEIR_FAILED && r->code.len > 0 ? r->code : word;
    struct weir_str own = request_own_detail(r);
    buf_printf(body, "{\"type\":\"/problems/%.*s\",\"title\":", STR_ARG(word));
    json_write_text(body, str_of(weir_status_text(status)));
    buf_printf(body, ",\"status\":%d,\"code\":", http);
    json_write_text(body, code);
    bool object = r->detail.len >= 2 && r->detail.ptr[0] == '{';
    if (own.ptr != NULL) {
        buf_add_text(body, ",\"detail\":");
        buf_add_str(body, own);
    } else if (status != WEIR_FAILED) {
        /* The engine's own: a sentence, and what it found out as members beside it. */
        if (r->detail.ptr == NULL || object) {
            buf_add_text(body, ",\"detail\":");
            json_write_text(body, request_text(r));
        }
        if (r->detail.ptr != NULL) add_detail(body, r->detail);
    }
    buf_printf(body, ",\"request_id\":\"%.*s\",\"applied\":%s}\n", STR_ARG(r->request_id),
               status_is_unknown(status) ? "\"unknown\""
               : call->partly            ? "\"partly\""
                                         : "false");
}

static void add_head(struct net *net, struct buf *out, const struct call *call, int http,
                     const char *type, size_t len)
{
    const struct request *r = &call->request;
    enum weir_status status = status_public(r->status);
    buf_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n",
               http, reason_of(http), date_text(net), type, len);
    buf_printf(out, "X-Request-Id: %.*s\r\n", STR_ARG(r->request_id));
    /* Basic is taken but not asked for: a browser would keep it, and send it with what other sites make it do */
    if (http == 401) buf_add_text(out, "WWW-Authenticate: Bearer realm=\"weir\"\r\n");
    if (call->next_page.len > 0)
        buf_printf(out, "Link: <%.*s>; rel=\"next\"\r\n", STR_ARG(call->next_page));
    if (call->allow) buf_printf(out, "Allow: %s\r\n", call->allow);
    if (http == 429 || http == 503 || status == WEIR_PENDING)
        buf_add_text(out, "Retry-After: 1\r\n");
    if (status == WEIR_PENDING)
        buf_printf(out, "Location: /requests/%.*s\r\n", STR_ARG(r->request_id));
    if (r->replayed && status == WEIR_OK) buf_add_text(out, "Idempotency-Replayed: true\r\n");
    if (http != 200 || !call->is_ready || call->fresh)
        buf_add_text(out, "Cache-Control: no-store\r\n");
    buf_add_text(out, "X-Content-Type-Options: nosniff\r\n");
    if (call->close) buf_add_text(out, "Connection: close\r\n");
    else if (call->old) buf_add_text(out, "Connection: keep-alive\r\n");
    buf_add_text(out, "\r\n");
}

void http_begin_streamed(struct net *net, struct call *call, const char *type)
{
    struct buf *out = &call->conn->out;
    (void)request_name(net->env, &call->request);
    call->streamed = call->close = true;
    call->chunked = !call->old;
    buf_printf(out,
               "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: %s\r\nX-Request-Id: %.*s\r\n"
               "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
               "X-Accel-Buffering: no\r\nConnection: close\r\n%s\r\n",
               date_text(net), type, STR_ARG(call->request.request_id),
               call->chunked ? "Transfer-Encoding: chunked\r\n" : "");
}

void http_add_streamed(struct call *call, struct weir_str bytes)
{
    struct buf *out = &call->conn->out;
    if (bytes.len == 0 || call->head) return; /* an empty chunk would be the end */
    if (call->chunked) buf_printf(out, "%zx\r\n", bytes.len);
    buf_add_str(out, bytes);
    if (call->chunked) buf_add_text(out, "\r\n");
}

void http_add_answer(struct net *net, struct buf *out, struct call *call)
{
    struct request *r = &call->request;
    struct buf *body = &net->body;
    if (call->interim) {
        buf_add_text(out, "HTTP/1.1 100 Continue\r\n\r\n");
        return;
    }
    if (call->streamed) {
        if (call->chunked && !call->head) buf_add_text(out, "0\r\n\r\n");
        return;
    }
    if (net_is_draining(net)) call->close = true;
    (void)request_name(net->env, r);
    enum weir_status status = status_public(r->status);
    int http = call->http_status ? call->http_status : weir_status_http(status);
    const char *type = "application/json";
    buf_reset(body);
    if (call->is_ready) {
        buf_add_str(body, call->ready);
        if (call->content_type) type = call->content_type;
    } else if (status == WEIR_OK) {
        const struct shape *shape = r->handler ? r->handler->result : NULL;
        if (shape == NULL || shape->count == 0 || r->result == NULL) buf_add_text(body, "null");
        else json_write(shape, r->result, body);
        buf_add_byte(body, '\n');
    } else if (status == WEIR_PENDING) {
        buf_printf(body, "{\"status\":\"pending\",\"request_id\":\"%.*s\",\"applied\":true}\n",
                   STR_ARG(r->request_id));
    } else {
        type = "application/problem+json";
        add_problem(body, call, http);
    }
    add_head(net, out, call, http, type, body->len);
    if (!call->head) buf_add_str(out, buf_str(body));
}

void http_add_refusal(struct net *net, struct buf *out)
{
    static const char body[] =
        "{\"type\":\"/problems/overloaded\",\"title\":\"too busy, try again\",\"status\":503,"
        "\"code\":\"overloaded\",\"detail\":\"connections_max connections are "
        "open\",\"applied\":false}\n";
    buf_printf(
        out,
        "HTTP/1.1 503 Service Unavailable\r\nDate: %s\r\nContent-Type: application/problem+json\r\n"
        "Content-Length: %zu\r\nRetry-After: 1\r\nConnection: close\r\n\r\n%s",
        date_text(net), sizeof(body) - 1, body);
}
