/*
 * client.c - a small RESP3 client. Blocking sockets; a reply is parsed as it arrives.
 *
 * Maps become objects, lists and sets arrays, blobs and simple strings JSON strings, `(` big numbers
 * numbers, pushes are skipped. Replies nest at most DEPTH_MAX deep: what is deeper is no Weir server.
 * SPDX-License-Identifier: MIT
 */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/secret.h"
#include "cli.h"
#include "server/server.h"

#define DEPTH_MAX 64
#define READ_BYTES 65536
#define RESP_PORT 6400

static bool ask_and(struct client *client, const char *const *words, size_t count, const char *tail,
                    struct client_reply *reply);

/* ---- connection ---- */

int client_dial(const char *host, int port, char *error, size_t error_bytes)
{
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int failed = getaddrinfo(host, service, &hints, &found);
    if (failed) {
        snprintf(error, error_bytes, "%s: %s", host, gai_strerror(failed));
        return -1;
    }
    int reason = 0, good = -1;
    for (struct addrinfo *at = found; at && good < 0; at = at->ai_next) {
        int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (fd < 0) continue;
        if (connect(fd, at->ai_addr, at->ai_addrlen) == 0) {
            good = fd;
        } else {
            reason = errno;
            close(fd);
        }
    }
    freeaddrinfo(found);
    if (good < 0)
        snprintf(error, error_bytes, "no server at %s:%d (%s); start one with `weir run APP.lua`",
                 host, port, strerror(reason));
    return good;
}

/* The first line of the file, into `secret`. */
static bool secret_read(const char *path, char *secret, size_t bytes, char *error,
                        size_t error_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, secret, bytes - 1);
    if (got < 0) snprintf(error, error_bytes, "cannot read %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
    if (got < 0) return false;
    secret[got] = 0;
    secret[strcspn(secret, "\r\n")] = 0;
    if (secret[0]) return true;
    snprintf(error, error_bytes, "%s: the first line is empty", path);
    return false;
}

bool client_secret(const struct client_where *where, char secret[CLIENT_SECRET_BYTES_MAX],
                   char *error, size_t error_bytes)
{
    const char *given = getenv("WEIR_TOKEN");
    secret[0] = 0;
    if (where->token_file)
        return secret_read(where->token_file, secret, CLIENT_SECRET_BYTES_MAX, error, error_bytes);
    if (given && strlen(given) >= CLIENT_SECRET_BYTES_MAX) {
        snprintf(error, error_bytes, "WEIR_TOKEN is longer than a token is");
        return false;
    }
    if (given) snprintf(secret, CLIENT_SECRET_BYTES_MAX, "%s", given);
    secret[strcspn(secret, "\r\n")] = 0; /* as a file has one */
    if (!where->user || secret[0]) return true;
    snprintf(error, error_bytes,
             "--user needs a token: --token-file FILE, or WEIR_TOKEN in the environment");
    return false;
}

/* A server with users wants a name; one that knows nothing of RESP3 is spoken to in RESP2. 0, or the exit code. */
static int greet(struct client *client, const struct client_where *where, const char *secret)
{
    struct client_reply reply = { 0 };
    const char *words[] = { "HELLO", "3", "AUTH", where->user ? where->user : "default", secret };
    int code = 0;
    /* An HTTP door would wait for the rest of a head: the empty line, which RESP skips, ends it. */
    if (!ask_and(client, words, secret[0] ? 5 : 2, "\r\n", &reply)) {
        snprintf(client->error, sizeof client->error,
                 "no RESP server answers at %s; --host is the RESP door", where->address);
        code = SERVER_EXIT_UNREACHABLE;
    } else if (reply.failed && secret[0]) {
        snprintf(client->error, sizeof client->error, "%.*s", (int)reply.text.len, reply.text.ptr);
        code = SERVER_EXIT_FAILED;
    }
    client_reply_free(&reply);
    return code;
}

int client_open(struct client *client, const struct client_where *where)
{
    char room[256], secret[CLIENT_SECRET_BYTES_MAX];
    const char *host;
    int port;
    memset(client, 0, sizeof *client);
    client->fd = -1;
    if (!args_address("--host", where->address, RESP_PORT, room, sizeof room, &host, &port) ||
        !client_secret(where, secret, client->error, sizeof client->error))
        return SERVER_EXIT_USAGE;
    client->fd = client_dial(host, port, client->error, sizeof client->error);
    int code = client->fd < 0 ? SERVER_EXIT_UNREACHABLE : greet(client, where, secret);
    secret_wipe(secret, sizeof secret);
    return code;
}

void client_tell(struct weir_str text, bool json)
{
    if (json) {
        struct buf line = { 0 };
        client_json_text(&line, text);
        fprintf(stderr, "{\"error\":%.*s}\n", STR_ARG(buf_str(&line)));
        buf_free(&line);
        return;
    }
    fprintf(stderr, "weir: %.*s\n", STR_ARG(text));
    if (text.len >= 6 && memcmp(text.ptr, "NOAUTH", 6) == 0)
        fprintf(stderr,
                "weir: say who you are: --token-file FILE, or WEIR_TOKEN in the environment\n");
}

void client_complain(const struct client *client, bool json)
{
    if (client->error[0]) client_tell(str_of(client->error), json);
}

void client_close(struct client *client)
{
    if (client->fd >= 0) close(client->fd);
    buf_free(&client->in);
}

static bool lost(struct client *client, const char *why)
{
    snprintf(client->error, sizeof client->error, "%s", why);
    return false;
}

static bool send_all(struct client *client, struct weir_str bytes)
{
    while (bytes.len) {
        ssize_t n = send(client->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return lost(client, "the connection broke while sending");
        bytes.ptr += n;
        bytes.len -= (size_t)n;
    }
    return true;
}

static bool read_more(struct client *client)
{
    if (client->at == client->in.len) client->at = client->in.len = 0;
    buf_reserve(&client->in, READ_BYTES);
    ssize_t n;
    do {
        n = recv(client->fd, client->in.ptr + client->in.len, READ_BYTES, 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return lost(client,
                    "the server closed the connection; whether the request was applied is unknown");
    client->in.len += (size_t)n;
    return true;
}

/* The next line, without its end; points into client->in until the next read. */
static bool read_line(struct client *client, struct weir_str *line)
{
    size_t seen = 0;
    for (;;) {
        char *begin = client->in.ptr + client->at;
        size_t len = client->in.len - client->at;
        char *end = len > seen ? memchr(begin + seen, '\n', len - seen) : NULL;
        if (end) {
            *line = (struct weir_str){ begin, (size_t)(end - begin) };
            if (line->len && begin[line->len - 1] == '\r') line->len--;
            client->at += (size_t)(end - begin) + 1;
            return true;
        }
        seen = len;
        if (!read_more(client)) return false;
    }
}

/* `len` bytes and the line end behind them. */
static bool read_blob(struct client *client, size_t len, struct weir_str *blob)
{
    while (client->in.len - client->at < len + 2)
        if (!read_more(client)) return false;
    *blob = (struct weir_str){ client->in.ptr + client->at, len };
    client->at += len + 2;
    return true;
}

/* ---- replies ---- */

/* The bytes of the letter of UTF-8 that stands there; 0 when none does. */
static size_t letter_bytes(struct weir_str text)
{
    for (size_t n = 1; n <= 4 && n <= text.len; n++)
        if (str_is_utf8((struct weir_str){ text.ptr, n })) return n;
    return 0;
}

void client_json_text(struct buf *out, struct weir_str text)
{
    buf_add_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        size_t n = c < 0x80 ? 1 : letter_bytes((struct weir_str){ text.ptr + i, text.len - i });
        if (c == '"' || c == '\\') buf_printf(out, "\\%c", c);
        else if (c == '\n') buf_add_text(out, "\\n");
        else if (c < 0x20) buf_printf(out, "\\u%04x", c);
        else if (n == 0) buf_printf(out, "\\udc%02x", c);
        else buf_add(out, text.ptr + i, n);
        if (n > 1) i += n - 1;
    }
    buf_add_byte(out, '"');
}

static bool read_value(struct client *client, struct client_reply *reply, int depth);

static bool read_many(struct client *client, struct client_reply *reply, long count, bool pairs,
                      int depth)
{
    buf_add_byte(&reply->json, pairs ? '{' : '[');
    for (long i = 0; i < count; i++) {
        if (i) buf_add_byte(&reply->json, ',');
        if (!read_value(client, reply, depth + 1)) return false;
        if (!pairs) continue;
        buf_add_byte(&reply->json, ':');
        if (!read_value(client, reply, depth + 1)) return false;
    }
    buf_add_byte(&reply->json, pairs ? '}' : ']');
    return true;
}

static bool read_string(struct client *client, struct client_reply *reply, char kind, long len,
                        int depth)
{
    struct weir_str text;
    if (!read_blob(client, (size_t)len, &text)) return false;
    if (kind == '=' && text.len >= 4) { /* "txt:" */
        text.ptr += 4;
        text.len -= 4;
    }
    if (depth == 0) {
        buf_add_str(&reply->text, text);
        reply->failed = kind == '!';
        reply->plain = kind != '!';
    }
    client_json_text(&reply->json, text);
    return true;
}

static bool read_value(struct client *client, struct client_reply *reply, int depth)
{
    struct weir_str line;
    if (depth > DEPTH_MAX) return lost(client, "the reply is nested too deep");
    if (!read_line(client, &line)) return false;
    if (line.len == 0) return lost(client, "not a RESP server");
    char kind = line.ptr[0];
    struct weir_str rest = { line.ptr + 1, line.len - 1 };
    long count = strtol(rest.ptr, NULL, 10); /* stops at the line's end */
    switch (kind) {
    case '-':
    case '+':
        if (depth == 0) {
            reply->failed = kind == '-';
            reply->plain = kind == '+';
            buf_add_str(&reply->text, rest);
        }
        client_json_text(&reply->json, rest);
        return true;
    case ':':
    case ',':
    case '(': buf_add_str(&reply->json, rest); return true;
    case '#':
        buf_add_text(&reply->json, rest.len && rest.ptr[0] == 't' ? "true" : "false");
        return true;
    case '$':
    case '=':
    case '!':
        if (count >= 0) return read_string(client, reply, kind, count, depth);
        break;
    case '*':
    case '~':
        if (count >= 0) return read_many(client, reply, count, false, depth);
        break;
    case '%': return read_many(client, reply, count, true, depth);
    case '>': { /* a push: read past it */
        struct client_reply skipped = { 0 };
        bool good = read_many(client, &skipped, count, false, depth);
        client_reply_free(&skipped);
        return good && read_value(client, reply, depth);
    }
    case '_': break;
    default: return lost(client, "not a RESP server");
    }
    reply->nil = depth == 0;
    buf_add_text(&reply->json, "null");
    return true;
}

/* `tail` is sent behind the command. */
static bool ask_and(struct client *client, const char *const *words, size_t count, const char *tail,
                    struct client_reply *reply)
{
    struct buf command = { 0 };
    memset(reply, 0, sizeof *reply);
    buf_printf(&command, "*%zu\r\n", count);
    for (size_t i = 0; i < count; i++)
        buf_printf(&command, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    buf_add_text(&command, tail);
    bool good = send_all(client, buf_str(&command)) && read_value(client, reply, 0);
    secret_wipe(command.ptr, command.len); /* AUTH is one */
    buf_free(&command);
    return good;
}

bool client_ask(struct client *client, const char *const *words, size_t count,
                struct client_reply *reply)
{
    return ask_and(client, words, count, "", reply);
}

void client_reply_free(struct client_reply *reply)
{
    buf_free(&reply->json);
    buf_free(&reply->text);
}
