/*
 * resp.c - RESP2 and RESP3 commands: parsing and what each command does.
 *
 * Parsing is stateless: it starts again at the command's first byte when more has come, but not before as many
 * bytes are there as the lengths seen so far ask for. So where the bytes were split cannot matter, and a
 * length too large is refused as soon as it has been read. The words of protocol errors are those of Redis.
 * A line of HTTP closes the connection without an answer: a browser was made to talk to this port.
 * SPDX-License-Identifier: MIT
 */
#include "net/net_int.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

/* ---- parsing ---- */

__attribute__((format(printf, 2, 3))) static enum resp_found broken(struct resp_command *command,
                                                                    const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(command->error, sizeof(command->error), format, args);
    va_end(args);
    return RESP_BROKEN;
}

bool resp_is(struct weir_str text, const char *word)
{
    for (size_t i = 0; i < text.len; i++) {
        char differs = text.ptr[i] ^ word[i];
        bool letter = (word[i] | 0x20) >= 'a' && (word[i] | 0x20) <= 'z';
        /* the case of a letter is one bit; and at the word's end something always differs */
        if (differs && (differs != 0x20 || !letter)) return false;
        if (!word[i]) return false;
    }
    return word[text.len] == 0;
}

/* The number of a length line at `at` (behind its type byte). 1: read, *next behind its CRLF; 0: more bytes
 * are needed; -1: no number. */
static int length_line(struct weir_str bytes, size_t at, int64_t *number, size_t *next)
{
    const char *line = bytes.ptr + at;
    if (at + 3 <= bytes.len && line[0] >= '0' && line[0] <= '9' && line[1] == '\r' &&
        line[2] == '\n') {
        *number = line[0] - '0'; /* most are of one digit */
        *next = at + 3;
        return 1;
    }
    bool negative = at < bytes.len && bytes.ptr[at] == '-';
    size_t digits = 0, i = at + negative;
    int64_t n = 0;
    for (; i < bytes.len && bytes.ptr[i] >= '0' && bytes.ptr[i] <= '9'; i++) {
        if (++digits > 18) return -1;
        n = n * 10 + (bytes.ptr[i] - '0');
    }
    if (i == bytes.len) return 0;
    if (digits == 0 || bytes.ptr[i] != '\r') return -1;
    if (i + 1 == bytes.len) return 0;
    if (bytes.ptr[i + 1] != '\n') return -1;
    *number = negative ? -n : n;
    *next = i + 2;
    return 1;
}

static enum resp_found parse_bulk(struct weir_str bytes, const struct net_limits *limits,
                                  size_t *at, struct resp_command *command)
{
    int64_t len;
    size_t next;
    if (*at == bytes.len) return RESP_MORE;
    if (bytes.ptr[*at] != '$') {
        unsigned char c = (unsigned char)bytes.ptr[*at];
        return broken(command, "expected '$', got '%c'", c >= 0x20 && c < 0x7f ? c : '?');
    }
    int found = length_line(bytes, *at + 1, &len, &next);
    if (found == 0) return RESP_MORE;
    if (found < 0 || len < 0 || (uint64_t)len > limits->request_bytes_max)
        return broken(command, "invalid bulk length");
    if (command->text_bytes + (uint64_t)len > limits->request_bytes_max)
        return broken(command, "request larger than %llu bytes",
                      (unsigned long long)limits->request_bytes_max);
    size_t end = next + (size_t)len + 2;
    if (end > bytes.len) {
        command->need = end;
        return RESP_MORE;
    }
    if (bytes.ptr[end - 2] != '\r' || bytes.ptr[end - 1] != '\n')
        return broken(command, "expected CRLF after a bulk string");
    command->args[command->count++] = (struct weir_str){ bytes.ptr + next, (size_t)len };
    command->text_bytes += (size_t)len;
    *at = end;
    return RESP_COMMAND;
}

/* Takes the bulk strings of one digit's length that are all there, as most are. The others are parse_bulk()'s. */
static void parse_short(struct weir_str bytes, uint64_t bytes_max, uint32_t count, size_t *place,
                        struct resp_command *command)
{
    const char *head = bytes.ptr + *place, *end = bytes.ptr + bytes.len;
    struct weir_str *arg = command->args + command->count, *last = command->args + count;
    size_t sum = command->text_bytes;
    for (; arg < last && end - head >= 6 && head[0] == '$'; arg++) {
        size_t len = (size_t)(unsigned char)head[1] - '0';
        if (len > 9 || memcmp(head + 2, "\r\n", 2) != 0 || end - head < (ptrdiff_t)len + 6) break;
        if (memcmp(head + 4 + len, "\r\n", 2) != 0 || sum + len > bytes_max) break;
        *arg = (struct weir_str){ head + 4, len };
        sum += len;
        head += len + 6;
    }
    *place = (size_t)(head - bytes.ptr);
    command->count = (uint32_t)(arg - command->args);
    command->text_bytes = sum;
}

static enum resp_found parse_array(struct weir_str bytes, const struct net_limits *limits,
                                   struct resp_command *command)
{
    int64_t count;
    size_t at;
    int found = length_line(bytes, 1, &count, &at);
    if (found == 0) return RESP_MORE;
    if (found < 0 || count > (int64_t)limits->arguments_max)
        return broken(command, "invalid multibulk length");
    for (;;) {
        parse_short(bytes, limits->request_bytes_max, count > 0 ? (uint32_t)count : 0, &at,
                    command);
        if (command->count >= count) break;
        enum resp_found one = parse_bulk(bytes, limits, &at, command);
        if (one != RESP_COMMAND) return one;
    }
    command->used = at;
    return count > 0 ? RESP_COMMAND : RESP_EMPTY;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* One character of a double-quoted argument, behind a backslash. */
static size_t unescape(struct weir_str line, size_t at, struct buf *out)
{
    char c = line.ptr[at];
    if (c == 'x' && at + 2 < line.len && hex_digit(line.ptr[at + 1]) >= 0 &&
        hex_digit(line.ptr[at + 2]) >= 0) {
        buf_add_byte(out,
                     (uint8_t)(hex_digit(line.ptr[at + 1]) * 16 + hex_digit(line.ptr[at + 2])));
        return at + 3;
    }
    static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
    const char *known = c ? strchr(from, c) : NULL;
    buf_add_byte(out, (uint8_t)(known ? to[known - from] : c));
    return at + 1;
}

/* One argument of an inline line; false for quotes that do not close. */
static bool inline_argument(struct weir_str line, size_t *place, struct buf *out)
{
    size_t at = *place;
    char quote = 0;
    for (; at < line.len; at++) {
        char c = line.ptr[at];
        if (quote == '"' && c == '\\' && at + 1 < line.len) {
            at = unescape(line, at + 1, out) - 1;
        } else if (quote == '\'' && c == '\\' && at + 1 < line.len && line.ptr[at + 1] == '\'') {
            buf_add_byte(out, '\'');
            at++;
        } else if (quote && c == quote) {
            at++;
            *place = at;
            return at == line.len || isspace((unsigned char)line.ptr[at]);
        } else if (!quote && (c == '"' || c == '\'')) {
            quote = c;
        } else if (!quote && isspace((unsigned char)c)) {
            break;
        } else {
            buf_add_byte(out, (uint8_t)c);
        }
    }
    *place = at;
    return quote == 0;
}

/* An argument of an array may well be "HTTP/1.1": only a line of plain text is a request line. */
static bool is_http(const struct resp_command *command, bool line)
{
    struct weir_str first = command->args[0], last = command->args[command->count - 1];
    if (resp_is(first, "POST") || resp_is(first, "Host:")) return true;
    return line && command->count > 1 && last.len > 5 && strncasecmp(last.ptr, "HTTP/", 5) == 0;
}

static enum resp_found parse_inline(struct weir_str bytes, const struct net_limits *limits,
                                    struct buf *unquoted, struct resp_command *command)
{
    const char *end = memchr(bytes.ptr, '\n', bytes.len);
    size_t len = end ? (size_t)(end - bytes.ptr) : bytes.len;
    if (len > limits->header_bytes_max) return broken(command, "too big inline request");
    if (!end) return RESP_MORE;
    command->used = len + 1;
    struct weir_str line = { bytes.ptr, len };
    if (len > 0 && line.ptr[len - 1] == '\r') line.len--;
    buf_reset(unquoted);
    buf_reserve(unquoted,
                line.len + 1); /* unquoting never makes it longer: pointers into it stay */
    for (size_t at = 0;;) {
        while (at < line.len && isspace((unsigned char)line.ptr[at])) at++;
        if (at == line.len) break;
        if (command->count == limits->arguments_max)
            return broken(command, "invalid multibulk length");
        size_t begin = unquoted->len;
        if (!inline_argument(line, &at, unquoted))
            return broken(command, "unbalanced quotes in request");
        command->args[command->count++] = (struct weir_str){ unquoted->ptr + begin,
                                                             unquoted->len - begin };
        command->text_bytes += unquoted->len - begin;
    }
    return command->count > 0 ? RESP_COMMAND : RESP_EMPTY;
}

enum resp_found resp_parse(struct weir_str bytes, const struct net_limits *limits,
                           struct buf *unquoted, struct resp_command *command)
{
    command->count = 0;
    command->used = command->need = command->text_bytes = 0;
    command->error[0] = 0;
    if (bytes.len == 0) return RESP_MORE;
    bool line = bytes.ptr[0] != '*';
    enum resp_found found = line ? parse_inline(bytes, limits, unquoted, command)
                                 : parse_array(bytes, limits, command);
    if (found == RESP_COMMAND && is_http(command, line)) return RESP_FOREIGN;
    return found;
}

/* ---- answers the door makes itself ---- */

/* The bytes in net->scratch are the answer. */
void resp_answer_scratch(struct call *call)
{
    call->is_ready = true;
    call->ready = arena_copy(&call->request.arena, buf_str(&call->conn->net->scratch));
    call_answer(call);
}

struct buf *resp_scratch(struct call *call)
{
    struct buf *out = &call->conn->net->scratch;
    buf_reset(out);
    return out;
}

static void answer_simple(struct call *call, const char *text)
{
    resp_add_simple(resp_scratch(call), text);
    resp_answer_scratch(call);
}

static void answer_bulk(struct call *call, struct weir_str text)
{
    resp_add_bulk(resp_scratch(call), text);
    resp_answer_scratch(call);
}

void resp_answer_error(struct call *call, const char *word, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    resp_add_error(resp_scratch(call), str_of(word), str_of(text));
    resp_answer_scratch(call);
}

/* ---- requests ---- */

/* A text that moved with all between the key and the last argument. */
struct kept {
    const char *from;
    const char *to;
};

static inline struct weir_str text_moved(struct weir_str text, struct kept kept)
{
    return (struct weir_str){ kept.to + (text.ptr - kept.from), text.len };
}

/* Copies from that argument to the last in one piece: the input buffer moves on before the engine answers. */
static struct kept arguments_keep(struct call *call, const struct resp_command *command,
                                  uint32_t first)
{
    struct weir_str last = command->args[command->count - 1];
    const char *from = command->args[first].ptr;
    struct weir_str all = { from, (size_t)(last.ptr + last.len - from) };
    return (struct kept){ from, arena_copy(&call->request.arena, all).ptr };
}

/* Reads the arguments from `first` on by position; those at the end that may be may be left out. False after answering. */
static bool arguments_read(struct call *call, const struct handler *handler,
                           const struct resp_command *command, uint32_t first, struct kept kept)
{
    const struct shape *shape = handler->args;
    uint32_t count = command->count - first;
    struct problem problem;
    problem_clear(&problem);
    bool missing = count > shape->count;
    for (uint32_t i = count; i < shape->count && !missing; i++)
        missing = !field_may_be_left_out(&shape->fields[i]);
    if (missing) {
        struct buf *out = resp_scratch(call);
        admin_signature(handler, out);
        call_refuse(call, WEIR_ARG, "%.*s takes %u, not %u", STR_ARG(buf_str(out)), shape->count,
                    count);
        return false;
    }
    struct arena *arena = &call->request.arena;
    void *args = arena_alloc(arena, shape->size);
    enum weir_status status = WEIR_OK;
    shape_start(shape, args);
    for (uint32_t i = 0; i < count && status == WEIR_OK; i++)
        status = field_keep_text(&shape->fields[i], text_moved(command->args[first + i], kept),
                                 arena, args, &problem);
    if (status == WEIR_OK) status = shape_judge(shape, args, false, &problem);
    if (status != WEIR_OK) {
        call_refuse_problem(call, status, &problem);
        return false;
    }
    call->request.args = args;
    return true;
}

/* May this caller have the handler, and is there one? False after answering. */
static bool route_is_open(struct call *call, struct route *route, const struct weir_str *names)
{
    const struct user *user = call->conn->user;
    if (!call_is_in_sight(call, route->handler)) return false;
    if (!route->type) {
        call_refuse(call, WEIR_NOTYPE, "no type or service %.*s", STR_ARG(names[0]));
        return false;
    }
    if (!route->handler) {
        call_refuse(call, WEIR_NOHANDLER, "%.*s has no handler %.*s", STR_ARG(names[0]),
                    STR_ARG(names[2]));
        return false;
    }
    if (!call_is_admitted(call, route->handler)) return false;
    route->admitted = user;
    return true;
}

/* CALL and CALL.ONCE from the type on: type, key, handler, arguments. */
static void call_handler(struct call *call, const struct resp_command *command, uint32_t first)
{
    struct conn *conn = call->conn;
    const struct weir_str *texts = command->args + first;
    call->counted = true;
    if (!conn->net->engine) {
        call_submit(call);
        return;
    }
    struct route *route = conn_route(conn, texts[0], texts[2]);
    bool known = conn->user && route->admitted == conn->user;
    if (!known && !route_is_open(call, route, texts)) return;
    const struct handler *handler = route->handler;
    bool service = route->type->service, no_key = texts[1].len == 1 && texts[1].ptr[0] == '-';
    if (service && !no_key) {
        call_refuse(call, WEIR_ARG, "%.*s is a service and has no key: write -", STR_ARG(texts[0]));
        return;
    }
    if (!service && !key_is_fit(call, texts[1])) return;
    struct kept kept = arguments_keep(call, command, first + 1);
    if (!arguments_read(call, handler, command, first + 3, kept)) return;
    call->request.handler = handler;
    if (!service) call->request.key = text_moved(texts[1], kept);
    call_submit(call);
}

static void do_call(struct call *call, const struct resp_command *command)
{
    call_handler(call, command, 1);
}

static void do_call_once(struct call *call, const struct resp_command *command)
{
    struct weir_str id = command->args[1];
    if (id.len == 0 || id.len > ID_BYTES_MAX || !str_is_utf8(id)) {
        call->counted = true;
        call_refuse(call, WEIR_ARG, "a request id is text of 1 to %u bytes", ID_BYTES_MAX);
        return;
    }
    call->request.id = arena_copy(&call->request.arena, id);
    call_handler(call, command, 2);
}

static void do_getrow(struct call *call, const struct resp_command *command)
{
    struct net *net = call->conn->net;
    const struct weir_str *texts = command->args + 1;
    call->counted = true;
    if (!net->engine) {
        call_submit(call);
        return;
    }
    const struct type *type = catalog_type(engine_catalog(net->engine), texts[0]);
    if (!type || type->service) {
        call_refuse(call, WEIR_NOTYPE, "no type %.*s", STR_ARG(texts[0]));
        return;
    }
    if (!key_is_fit(call, texts[1])) return;
    call->request.handler = engine_row_query(net->engine, type);
    call->request.key = arena_copy(&call->request.arena, texts[1]);
    call->request.args = arena_alloc(&call->request.arena, call->request.handler->args->size);
    call->absent_is_null = true;
    call_submit(call);
}

/* ---- the connection's own commands ---- */

static void do_ping(struct call *call, const struct resp_command *command)
{
    if (command->count == 2) answer_bulk(call, command->args[1]);
    else if (!call->conn->net->engine) resp_answer_error(call, "LOADING", "replaying the log");
    else answer_simple(call, "PONG");
}

static void do_echo(struct call *call, const struct resp_command *command)
{
    answer_bulk(call, command->args[1]);
}

static void do_quit(struct call *call, const struct resp_command *command)
{
    struct conn *conn = call->conn;
    answer_simple(call, "OK");
    conn->closing = true;
}

static void do_reset(struct call *call, const struct resp_command *command)
{
    call->conn->resp = (struct resp_state){ .protocol = 2 };
    call->conn->user = net_first_user(call->conn->net);
    call->protocol = 2;
    answer_simple(call, "RESET");
}

static void do_select(struct call *call, const struct resp_command *command)
{
    if (resp_is(command->args[1], "0")) answer_simple(call, "OK");
    else resp_answer_error(call, "ERR", "DB index is out of range");
}

/* Takes the user of that name and secret; a nil name, and Redis' own `default`, mean whoever has the secret. False
 * after answering. */
static bool authenticate(struct call *call, struct weir_str name, struct weir_str secret)
{
    struct conn *conn = call->conn;
    const struct users *users = conn->net->users;
    bool any = !name.ptr || str_eq(name, STR("default"));
    conn->secret_in = true;
    if (!users && any) return true; /* as Redis without a password */
    const struct user *user = !users ? NULL
                              : any  ? users_by_secret(users, secret)
                                     : users_by_both(users, name, secret);
    if (user) {
        conn_take_user(conn, user);
        return true;
    }
    resp_answer_error(call, "WRONGPASS", "invalid username-password pair or user is disabled.");
    if (users && conn_count_failure(conn)) conn->closing = true;
    return false;
}

static void do_auth(struct call *call, const struct resp_command *command)
{
    bool named = command->count == 3;
    call->conn->secret_in = true;
    if (!named && !call->conn->net->users) {
        resp_answer_error(
            call, "ERR",
            "AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?");
        return;
    }
    if (authenticate(call, named ? command->args[1] : STR_NIL, command->args[named ? 2 : 1]))
        answer_simple(call, "OK");
}

static void do_shutdown(struct call *call, const struct resp_command *command)
{
    resp_answer_error(call, "ERR", "SHUTDOWN is refused here: send SIGTERM to the process");
}

/* A name of printable characters without spaces. False after answering. */
static bool name_read(struct call *call, struct weir_str text, const char *what,
                      char out[NAME_BYTES])
{
    bool printable = true;
    for (size_t i = 0; i < text.len; i++)
        printable = printable && text.ptr[i] >= '!' && text.ptr[i] <= '~';
    if (!printable) {
        resp_answer_error(call, "ERR", "%s cannot contain spaces, newlines or special characters.",
                          what);
        return false;
    }
    if (text.len >= NAME_BYTES) {
        resp_answer_error(call, "ERR", "%s cannot be longer than %u bytes.", what, NAME_BYTES - 1);
        return false;
    }
    memcpy(out, text.ptr, text.len);
    out[text.len] = 0;
    return true;
}

static void add_pair(struct buf *out, const char *name, struct weir_str value)
{
    resp_add_bulk(out, str_of(name));
    resp_add_bulk(out, value);
}

static void answer_hello(struct call *call)
{
    struct conn *conn = call->conn;
    struct buf *out = resp_scratch(call);
    const char *version = conn->net->options.version;
    resp_add_map(out, call->protocol, 7);
    add_pair(out, "server", STR("weir"));
    add_pair(out, "version", str_of(version ? version : ""));
    resp_add_bulk(out, STR("proto"));
    resp_add_int(out, call->protocol);
    resp_add_bulk(out, STR("id"));
    resp_add_int(out, (int64_t)conn->id);
    add_pair(out, "mode", STR("standalone"));
    add_pair(out, "role", STR("master"));
    resp_add_bulk(out, STR("modules"));
    resp_add_array(out, 0);
    resp_answer_scratch(call);
}

static void do_hello(struct call *call, const struct resp_command *command)
{
    struct conn *conn = call->conn;
    uint8_t protocol = conn->resp.protocol;
    char name[NAME_BYTES];
    bool named = false;
    uint32_t auth = 0;                            /* where AUTH stands */
    for (uint32_t i = 2; i < command->count; i++) /* also when another word of it is wrong */
        conn->secret_in = conn->secret_in || resp_is(command->args[i], "AUTH");
    if (command->count > 1) {
        if (!resp_is(command->args[1], "2") && !resp_is(command->args[1], "3")) {
            resp_answer_error(call, "NOPROTO", "unsupported protocol version");
            return;
        }
        protocol = (uint8_t)(command->args[1].ptr[0] - '0');
    }
    for (uint32_t i = 2; i < command->count;) {
        if (resp_is(command->args[i], "SETNAME") && i + 1 < command->count) {
            if (!name_read(call, command->args[i + 1], "Client names", name)) return;
            named = true;
            i += 2;
        } else if (resp_is(command->args[i], "AUTH") && i + 2 < command->count) {
            auth = i;
            i += 3;
        } else {
            resp_answer_error(call, "ERR", "Syntax error in HELLO option '%.*s'",
                              (int)(command->args[i].len < 64 ? command->args[i].len : 64),
                              command->args[i].ptr);
            return;
        }
    }
    if (auth > 0 && !authenticate(call, command->args[auth + 1], command->args[auth + 2])) return;
    if (!conn->user) {
        resp_answer_error(
            call, "NOAUTH",
            "HELLO must be called with the client already authenticated, otherwise the "
            "HELLO <proto> AUTH <user> <pass> option can be used to authenticate the "
            "client and select the RESP protocol version at the same time");
        return;
    }
    if (named) memcpy(conn->resp.name, name, sizeof(name));
    conn->resp.protocol = call->protocol = protocol;
    answer_hello(call);
}

static void client_line(struct call *call, struct buf *out)
{
    const struct conn *conn = call->conn;
    buf_printf(out, "id=%llu name=%s lib-name=%s lib-ver=%s resp=%d age=%llu db=0 cmd=client\n",
               (unsigned long long)conn->id, conn->resp.name, conn->resp.lib_name,
               conn->resp.lib_version, conn->resp.protocol,
               (unsigned long long)((conn->net->now_ns - conn->opened_ns) / 1000000000));
}

static void client_setinfo(struct call *call, const struct resp_command *command)
{
    struct resp_state *resp = &call->conn->resp;
    bool name = resp_is(command->args[2], "LIB-NAME"),
         version = resp_is(command->args[2], "LIB-VER");
    if (!name && !version) {
        resp_answer_error(call, "ERR", "Unrecognized option '%.*s'",
                          (int)(command->args[2].len < 64 ? command->args[2].len : 64),
                          command->args[2].ptr);
    } else if (name_read(call, command->args[3], "lib-name and lib-ver",
                         name ? resp->lib_name : resp->lib_version)) {
        answer_simple(call, "OK");
    }
}

static void do_client(struct call *call, const struct resp_command *command)
{
    struct conn *conn = call->conn;
    struct weir_str verb = command->args[1];
    if (resp_is(verb, "ID") && command->count == 2) {
        resp_add_int(resp_scratch(call), (int64_t)conn->id);
        resp_answer_scratch(call);
    } else if (resp_is(verb, "GETNAME") && command->count == 2) {
        if (conn->resp.name[0]) {
            answer_bulk(call, str_of(conn->resp.name));
        } else {
            resp_add_null(resp_scratch(call), call->protocol);
            resp_answer_scratch(call);
        }
    } else if (resp_is(verb, "SETNAME") && command->count == 3) {
        if (name_read(call, command->args[2], "Client names", conn->resp.name))
            answer_simple(call, "OK");
    } else if (resp_is(verb, "SETINFO") && command->count == 4) {
        client_setinfo(call, command);
    } else if (resp_is(verb, "INFO") || resp_is(verb, "LIST")) {
        struct buf line = { 0 };
        client_line(call, &line);
        answer_bulk(call, buf_str(&line));
        buf_free(&line);
    } else if (resp_is(verb, "REPLY")) {
        resp_answer_error(call, "ERR", "CLIENT REPLY is refused: each request is answered");
    } else {
        resp_answer_error(call, "ERR",
                          "unknown subcommand or wrong number of arguments for '%.*s'. Known: ID, "
                          "GETNAME, SETNAME, SETINFO, INFO, LIST",
                          (int)(verb.len < 64 ? verb.len : 64), verb.ptr);
    }
}

static void do_info(struct call *call, const struct resp_command *command)
{
    struct buf text = { 0 };
    struct weir_str section = command->count > 1 ? command->args[1] : STR_NIL;
    if (resp_is(section, "all") || resp_is(section, "default") || resp_is(section, "everything"))
        section = STR_NIL;
    admin_info(call->conn->net, section, &text);
    struct buf *out = resp_scratch(call);
    if (call->protocol == 3) {
        buf_printf(out, "=%zu\r\ntxt:", text.len + 4);
        buf_add_str(out, buf_str(&text));
        buf_add_text(out, "\r\n");
    } else {
        resp_add_bulk(out, buf_str(&text));
    }
    buf_free(&text);
    resp_answer_scratch(call);
}

/* ---- CONFIG ---- */

/* Patterns of names and '*'; case does not matter. */
static bool glob_fits(struct weir_str pattern, struct weir_str name)
{
    size_t p = 0, n = 0, star = SIZE_MAX, back = 0;
    while (n < name.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            back = n;
        } else if (p < pattern.len && tolower((unsigned char)pattern.ptr[p]) == name.ptr[n]) {
            p++;
            n++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            n = ++back;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*') p++;
    return p == pattern.len;
}

#define SETTINGS_MAX 96u

static void settings_read(const struct net *net, struct net_setting *settings, size_t *count)
{
    const struct net_setting *others = net->options.settings;
    size_t n = 0;
#define X(limit, value, text) settings[n++] = (struct net_setting){ #limit, net->limits.limit };
    NET_LIMITS(X)
#undef X
    if (net->engine) {
        const struct engine_limits *limits = engine_limits(net->engine);
#define X(limit, value, text) settings[n++] = (struct net_setting){ #limit, limits->limit };
        ENGINE_LIMITS(X)
#undef X
    }
    for (; others && others->name && n < SETTINGS_MAX; others++) settings[n++] = *others;
    *count = n;
}

static bool config_fits(const struct resp_command *command, const char *name)
{
    for (uint32_t i = 2; i < command->count; i++)
        if (glob_fits(command->args[i], str_of(name))) return true;
    return false;
}

static void do_config(struct call *call, const struct resp_command *command)
{
    static const char *const empties[] = { "save",
                                           "appendonly" }; /* what redis-benchmark asks for */
    struct net_setting settings[SETTINGS_MAX];
    size_t count, fits = 0;
    char number[24];
    if (!resp_is(command->args[1], "GET") || command->count < 3) {
        resp_answer_error(call, "ERR",
                          "CONFIG knows GET name [name...] only: settings are given at the start");
        return;
    }
    settings_read(call->conn->net, settings, &count);
    for (size_t i = 0; i < 2; i++) fits += config_fits(command, empties[i]);
    for (size_t i = 0; i < count; i++) fits += config_fits(command, settings[i].name);
    struct buf *out = resp_scratch(call);
    resp_add_map(out, call->protocol, fits);
    for (size_t i = 0; i < 2; i++)
        if (config_fits(command, empties[i])) add_pair(out, empties[i], STR(""));
    for (size_t i = 0; i < count; i++) {
        if (!config_fits(command, settings[i].name)) continue;
        snprintf(number, sizeof(number), "%llu", (unsigned long long)settings[i].value);
        add_pair(out, settings[i].name, str_of(number));
    }
    resp_answer_scratch(call);
}

/* ---- the table of commands ---- */

struct resp_verb {
    const char *name;
    uint32_t least, most; /* arguments with the name */
    void (*run)(struct call *call, const struct resp_command *command);
    enum right right;
    const char *flags; /* one, for COMMAND */
    const char *use, *summary;
};

static void do_command(struct call *call, const struct resp_command *command);
static void do_help(struct call *call, const struct resp_command *command);

static const struct resp_verb verbs[] = {
    { "call", 4, UINT32_MAX, do_call, RIGHT_HANDLER, "write", "type key handler [arg ...]",
      "Runs a handler; key - for a service" },
    { "call.once", 5, UINT32_MAX, do_call_once, RIGHT_HANDLER, "write",
      "id type key handler [arg ...]",
      "The same once for each id: a repeat gets the first answer" },
    { "call.wait", 2, 4, resp_call_wait, RIGHT_HANDLER, "readonly", "id [BLOCK ms]",
      "Waits on for an answer that was PENDING" },
    { "getrow", 3, 3, do_getrow, RIGHT_OPERATOR, "readonly", "type key",
      "The row of an entity, or null" },
    { "xadd", 5, UINT32_MAX, resp_xadd, RIGHT_HANDLER, "write",
      "stream [NOMKSTREAM] * field value [field value ...]", "Emits an event; answers its id" },
    { "xlen", 2, 2, resp_xlen, RIGHT_USER, "readonly", "stream", "How many events are kept" },
    { "xrange", 4, 6, resp_xrange, RIGHT_USER, "readonly", "stream start end [COUNT n]",
      "Events by id; - and + are the ends, (id leaves it out" },
    { "xrevrange", 4, 6, resp_xrevrange, RIGHT_USER, "readonly", "stream end start [COUNT n]",
      "The same from the last down" },
    { "xread", 4, UINT32_MAX, resp_xread, RIGHT_USER, "readonly",
      "[COUNT n] [BLOCK ms] STREAMS stream [stream ...] id [id ...]",
      "Events after the ids; $ is now, + the last event" },
    { "xreadgroup", 7, UINT32_MAX, resp_xreadgroup, RIGHT_USER, "write",
      "GROUP group consumer [COUNT n] [BLOCK ms] [NOACK] STREAMS stream [stream ...] id [id ...]",
      "Events that no consumer of the group has had (>), or what this one has pending" },
    { "xack", 4, UINT32_MAX, resp_xack, RIGHT_USER, "write", "stream group id [id ...]",
      "These are done; answers how many were pending" },
    { "xgroup", 2, UINT32_MAX, resp_xgroup, RIGHT_USER, "write",
      "CREATE|SETID|DESTROY|CREATECONSUMER|DELCONSUMER|HELP ...", "Makes and changes groups" },
    { "xpending", 3, 9, resp_xpending, RIGHT_USER, "readonly",
      "stream group [[IDLE ms] start end count [consumer]]",
      "What is delivered, not acknowledged" },
    { "xclaim", 6, UINT32_MAX, resp_xclaim, RIGHT_USER, "write",
      "stream group consumer min-idle-ms id [id ...] [IDLE ms|TIME ms] [RETRYCOUNT n] [JUSTID] "
      "[LASTID id]",
      "Takes pending events over" },
    { "xautoclaim", 6, 9, resp_xautoclaim, RIGHT_USER, "write",
      "stream group consumer min-idle-ms start [COUNT n] [JUSTID]",
      "Takes over what is pending for long" },
    { "xinfo", 2, UINT32_MAX, resp_xinfo, RIGHT_USER, "readonly",
      "STREAM stream|GROUPS stream|CONSUMERS stream group|HELP", "Figures of streams and groups" },
    { "xdel", 3, UINT32_MAX, resp_xdel, RIGHT_USER, "write", "stream id [id ...]",
      "Refused: events are facts" },
    { "xtrim", 4, UINT32_MAX, resp_xtrim, RIGHT_USER, "write", "stream ...",
      "Refused: retention is declared" },
    { "xsetid", 3, UINT32_MAX, resp_xsetid, RIGHT_USER, "write", "stream id",
      "Refused: ids are the engine's" },
    { "ping", 1, 2, do_ping, RIGHT_USER, "fast", "[text]", "Answers PONG" },
    { "echo", 2, 2, do_echo, RIGHT_USER, "fast", "text", "Answers the text" },
    { "hello", 1, UINT32_MAX, do_hello, RIGHT_ANYONE, "fast",
      "[2|3 [AUTH user secret] [SETNAME name]]", "Chooses the protocol" },
    { "auth", 2, 3, do_auth, RIGHT_ANYONE, "fast", "[user] secret",
      "Names the user of this connection" },
    { "select", 2, 2, do_select, RIGHT_USER, "fast", "0", "There is one database" },
    { "client", 2, UINT32_MAX, do_client, RIGHT_USER, "admin",
      "ID|GETNAME|SETNAME name|SETINFO name value|INFO|LIST", "About this connection" },
    { "command", 1, UINT32_MAX, do_command, RIGHT_USER, "loading",
      "[COUNT|LIST|DOCS [name ...]|INFO [name ...]]", "About these commands" },
    { "config", 2, UINT32_MAX, do_config, RIGHT_OPERATOR, "admin", "GET name [name ...]",
      "Limits in force" },
    { "info", 1, 2, do_info, RIGHT_OPERATOR, "loading", "[section]",
      "Figures of server and engine" },
    { "parked", 2, UINT32_MAX, resp_parked, RIGHT_OPERATOR, "admin",
      "LIST [COUNT n] [AFTER next]|RETRY id|RETRY ALL|DROP id", "Work that waits for a person" },
    { "reset", 1, 1, do_reset, RIGHT_ANYONE, "fast", "", "Protocol 2, no name, no user" },
    { "quit", 1, UINT32_MAX, do_quit, RIGHT_ANYONE, "fast", "", "Answers OK and closes" },
    { "help", 1, UINT32_MAX, do_help, RIGHT_USER, "loading", "", "This list" },
    { "shutdown", 1, UINT32_MAX, do_shutdown, RIGHT_OPERATOR, "admin", "",
      "Refused: send SIGTERM" },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct resp_verb *verb_find(struct weir_str name)
{
    if (name.len == 4 && memcmp(name.ptr, "CALL", 4) == 0) return &verbs[0]; /* most often */
    for (size_t i = 0; i < VERBS; i++)
        if (resp_is(name, verbs[i].name)) return &verbs[i];
    return NULL;
}

static void add_verb(struct buf *out, const struct resp_verb *verb)
{
    resp_add_array(out, 6);
    resp_add_bulk(out, str_of(verb->name));
    resp_add_int(out, verb->least == verb->most ? (int64_t)verb->least : -(int64_t)verb->least);
    resp_add_array(out, 1);
    resp_add_simple(out, verb->flags);
    for (int i = 0; i < 3; i++) resp_add_int(out, 0); /* no key stands at a fixed place */
}

static void add_docs(struct buf *out, uint8_t protocol, const struct resp_verb *verb)
{
    resp_add_bulk(out, str_of(verb->name));
    resp_add_map(out, protocol, 4);
    add_pair(out, "summary", str_of(verb->summary));
    add_pair(out, "since", STR("0.1.0"));
    add_pair(out, "group", STR("generic"));
    add_pair(out, "complexity", str_of(verb->use));
}

static void do_command(struct call *call, const struct resp_command *command)
{
    struct buf *out = resp_scratch(call);
    struct weir_str part = command->count > 1 ? command->args[1] : STR("INFO");
    uint32_t named = command->count > 2 ? command->count - 2 : 0, known = 0;
    for (uint32_t i = 0; i < named; i++) known += verb_find(command->args[2 + i]) != NULL;
    if (resp_is(part, "COUNT")) {
        resp_add_int(out, (int64_t)VERBS);
    } else if (resp_is(part, "LIST")) {
        resp_add_array(out, VERBS);
        for (size_t i = 0; i < VERBS; i++) resp_add_bulk(out, str_of(verbs[i].name));
    } else if (resp_is(part, "DOCS")) {
        resp_add_map(out, call->protocol, named ? known : VERBS);
        for (size_t i = 0; i < (named ? named : VERBS); i++) {
            const struct resp_verb *verb = named ? verb_find(command->args[2 + i]) : &verbs[i];
            if (verb) add_docs(out, call->protocol, verb);
        }
    } else if (resp_is(part, "INFO")) {
        resp_add_array(out, named ? named : VERBS);
        for (size_t i = 0; i < (named ? named : VERBS); i++) {
            const struct resp_verb *verb = named ? verb_find(command->args[2 + i]) : &verbs[i];
            if (verb) add_verb(out, verb);
            else resp_add_null(out, call->protocol);
        }
    } else {
        resp_answer_error(call, "ERR",
                          "unknown subcommand of COMMAND. Known: COUNT, LIST, DOCS, INFO");
        return;
    }
    resp_answer_scratch(call);
}

static void do_help(struct call *call, const struct resp_command *command)
{
    char line[256];
    struct buf *out = resp_scratch(call);
    resp_add_array(out, VERBS);
    for (size_t i = 0; i < VERBS; i++) {
        size_t n = 0;
        for (; verbs[i].name[n] && n < 16; n++)
            line[n] = (char)toupper((unsigned char)verbs[i].name[n]);
        snprintf(line + n, sizeof(line) - n, "%s%s - %s", verbs[i].use[0] ? " " : "", verbs[i].use,
                 verbs[i].summary);
        resp_add_bulk(out, str_of(line));
    }
    resp_answer_scratch(call);
}

static void refuse_unknown(struct call *call, struct weir_str name)
{
    char shown[65];
    size_t n = 0;
    for (; n < name.len && n < 64; n++) {
        unsigned char c = (unsigned char)name.ptr[n];
        shown[n] = (char)(c < 0x20 || c == 0x7f || c == '\'' ? '?' : c);
    }
    shown[n] = 0;
    resp_answer_error(call, "ERR", "unknown command '%s', see CALL, CALL.ONCE, GETROW, HELP",
                      shown);
}

static void run_command(struct conn *conn, const struct resp_command *command)
{
    const struct resp_verb *verb = verb_find(command->args[0]);
    struct call *call = call_begin(conn, command->used);
    conn->net->commands_total++;
    if (verb && verb->run == do_auth)
        conn->secret_in = true; /* also when it is refused for its form */
    enum right right = verb ? verb->right : RIGHT_USER;
    if (right != RIGHT_HANDLER &&
        !call_has_right(call, right, "run the '%s' command", verb ? verb->name : "unknown"))
        return;
    if (!verb) {
        refuse_unknown(call, command->args[0]);
    } else if (command->count < verb->least || command->count > verb->most) {
        resp_answer_error(call, "ERR", "wrong number of arguments for '%s' command, use: %s %s",
                          verb->name, verb->name, verb->use);
    } else {
        verb->run(call, command);
    }
}

/* A stranger's requests are smaller; the words for one that is too large are Redis'. */
static enum resp_found stranger_parse(struct net *net, struct weir_str bytes,
                                      struct resp_command *command)
{
    enum resp_found found = resp_parse(bytes, &net->stranger_limits, &net->body, command);
    if (found != RESP_BROKEN) return found;
    const char *what = strstr(command->error, "multibulk") ? "multibulk" : "bulk";
    if (resp_parse(bytes, &net->limits, &net->body, command) != RESP_BROKEN)
        snprintf(command->error, sizeof(command->error), "unauthenticated %s length", what);
    return RESP_BROKEN;
}

static void break_off(struct conn *conn, const char *error)
{
    struct call *call = call_begin(conn, 0);
    resp_answer_error(call, "ERR", "Protocol error: %s", error);
    conn->closing = true;
}

size_t resp_input(struct conn *conn, const char *bytes, size_t len)
{
    struct net *net = conn->net;
    struct weir_str input = { bytes, len };
    struct resp_command command; /* left unset: only what is parsed is read */
    switch (conn->user ? resp_parse(input, &net->limits, &net->body, &command)
                       : stranger_parse(net, input, &command)) {
    case RESP_MORE: conn->need = command.need; return 0;
    case RESP_EMPTY: return command.used;
    case RESP_COMMAND: run_command(conn, &command); return command.used;
    case RESP_FOREIGN:
        conn_trace(conn, "HTTP on the RESP port", "protocol", 0);
        conn->closing = true;
        return len;
    case RESP_BROKEN: break;
    }
    break_off(conn, command.error);
    return len;
}

void resp_time_out(struct conn *conn)
{
    break_off(conn, "the command came too slowly");
}
