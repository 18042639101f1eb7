/*
 * stream.c - `weir tail` and `weir emit`: the events of a stream, out of and into a terminal or a pipe.
 *
 * Following is a long poll from a position that the client keeps: a server that goes away and comes back is waited
 * for, and each event is printed once. What is emitted carries an idempotency key of its own, so that it can be sent
 * again when no answer came.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "server/server.h"
#include "span.h"
#include "web.h"

#define LATEST 10u /* what `weir tail STREAM` shows */
#define PAGE 1000u
#define PATIENCE_S 60u
#define LINES_MAX 1000u /* of one transaction; see POST /streams */
#define LINES_BYTES_MAX (192 * 1024u)
#define LINE_BYTES_MAX (16u << 20)

/* ---- tail ---- */

struct tail {
    struct web web;
    const char *stream;
    bool json, follow;
    uint64_t left; /* events still to print */
    struct buf from;
};

static void print_event(const struct tail *tail, struct weir_str event)
{
    if (tail->json) {
        printf("%.*s\n", STR_ARG(event));
        return;
    }
    struct buf id = { 0 }, time = { 0 };
    struct weir_str key = span_member(event, "key");
    bool bare = key.len > 2 && key.ptr[0] == '"' && !memchr(key.ptr, '\\', key.len) &&
                !memchr(key.ptr, ' ', key.len);
    span_text(span_member(event, "id"), &id);
    span_text(span_member(event, "time"), &time);
    if (bare) key = (struct weir_str){ key.ptr + 1, key.len - 2 };
    if (str_eq(key, STR("null"))) key = STR("-");
    printf("%.*s  %.*s  %.*s  %.*s\n", STR_ARG(buf_str(&id)), STR_ARG(buf_str(&time)), STR_ARG(key),
           STR_ARG(span_member(event, "event")));
    buf_free(&id);
    buf_free(&time);
}

static void tail_path(const struct tail *tail, struct buf *path, uint64_t limit)
{
    buf_reset(path);
    buf_add_text(path, "/streams/");
    web_add_part(path, tail->stream);
    buf_printf(path, "?limit=%" PRIu64, limit);
}

/* The position behind an id: "12-3" to "12-4". */
static void from_after(struct tail *tail, struct weir_str id)
{
    struct buf text = { 0 };
    span_text(id, &text);
    buf_add_byte(&text, 0);
    char *dash = strchr(text.ptr, '-');
    if (dash) {
        *dash = 0;
        buf_reset(&tail->from);
        buf_printf(&tail->from, "%s-%llu", text.ptr, strtoull(dash + 1, NULL, 10) + 1);
    }
    buf_free(&text);
}

/* The newest `count`, oldest of them first; tail->from is behind them then. */
static int tail_newest(struct tail *tail, uint64_t count)
{
    struct buf path = { 0 };
    struct weir_str events[PAGE], event;
    size_t n = 0;
    tail_path(tail, &path, count);
    buf_add_text(&path, "&reverse=true");
    buf_add_byte(&path, 0);
    bool answered = web_ask(&tail->web, "GET", path.ptr, "", STR(""));
    buf_free(&path);
    if (!answered || tail->web.status != 200) return web_complain(&tail->web, tail->json);
    struct weir_str list = span_member(buf_str(&tail->web.body), "events");
    for (size_t at = 0; n < PAGE && span_next(list, &at, NULL, &event);) events[n++] = event;
    if (n > 0) from_after(tail, span_member(events[0], "id"));
    else buf_add_text(&tail->from, "oldest");
    while (n > 0) print_event(tail, events[--n]);
    return SERVER_EXIT_OK;
}

/* From tail->from on, until there is nothing more or, following, for ever. */
static int tail_on(struct tail *tail)
{
    struct buf path = { 0 };
    int code = SERVER_EXIT_OK;
    while (tail->left > 0) {
        tail_path(tail, &path, tail->left < PAGE ? tail->left : PAGE);
        buf_add_text(&path, "&from=");
        buf_add_byte(&tail->from, 0);
        web_add_part(&path, tail->from.ptr);
        if (tail->follow) buf_add_text(&path, "&wait=30s");
        buf_add_byte(&path, 0);
        if (fflush(stdout) != 0) break; /* main.c says so */
        bool answered = tail->follow
                            ? web_ask_until(&tail->web, "GET", path.ptr, "", STR(""), PATIENCE_S)
                            : web_ask(&tail->web, "GET", path.ptr, "", STR(""));
        if (!answered || tail->web.status != 200) {
            code = web_complain(&tail->web, tail->json);
            break;
        }
        struct weir_str body = buf_str(&tail->web.body), event, list = span_member(body, "events");
        size_t n = 0;
        for (size_t at = 0; tail->left > 0 && span_next(list, &at, NULL, &event); n++) {
            print_event(tail, event);
            tail->left--;
        }
        if (n == 0 && !tail->follow) break;
        buf_reset(&tail->from);
        span_text(span_member(body, "next"), &tail->from);
    }
    buf_free(&path);
    return code;
}

int verb_tail(int argc, char **argv)
{
    struct client_where where = WEB_WHERE;
    const char *from = NULL, *limit = NULL;
    struct tail tail = { .left = UINT64_MAX };
    const struct args_option options[] = {
        { "--from", "PLACE", "oldest, now, an event's id, or a time (RFC 3339 or milliseconds)",
          .text_into = &from },
        { "--limit", "N", "at most so many (without --from: so many of the newest, 10)",
          .text_into = &limit },
        { "--follow", NULL, "go on with what comes, until Ctrl-C", .flag_into = &tail.follow },
        { "--json", NULL, "each event as a line of JSON, errors as JSON", .flag_into = &tail.json },
        WEB_OPTIONS(where),
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir tail STREAM [options]",
        .about = "Prints events of a stream, one a line: id, time, key, event. Without --from the "
                 "newest ones.\n"
                 "With --follow each event is printed once, also when the server is started anew "
                 "meanwhile.",
        .more = "exit codes: 0 done; 1 refused, as for a stream that does not exist; 64 usage; 69 "
                "no server\n\n"
                "example: weir tail moved --from oldest --follow",
        .options = options,
        .places_min = 1,
        .places_max = 1,
    };
    struct args_places places;
    unsigned long long count = LATEST;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    if (limit && !args_number("--limit", limit, 0, from ? UINT64_MAX : PAGE, &count))
        return SERVER_EXIT_USAGE;
    if (limit && count == 0) return SERVER_EXIT_OK;
    tail.stream = places.place[0];
    code = web_open(&tail.web, &where);
    if (code == 0 && from) {
        buf_add_text(&tail.from, from);
        if (limit) tail.left = count;
    } else if (code == 0) {
        code = tail_newest(&tail, count);
    }
    if (code == 0 && (from || tail.follow)) code = tail_on(&tail);
    web_close(&tail.web);
    buf_free(&tail.from);
    return code;
}

/* ---- emit ---- */

struct emit {
    struct web web;
    struct buf path;
    const char *id; /* given; NULL: one is made for each request */
    bool json;
    uint64_t sent;  /* requests */
    uint64_t line;  /* lines read before those at hand */
    uint64_t count; /* events in the stream by now */
};

/* One request, sent until it is answered. 0, or the exit code after a message. */
static int emit_ask(struct emit *emit, const char *type, struct weir_str body)
{
    struct buf headers = { 0 };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    buf_printf(&headers, "Content-Type: %s\r\nIdempotency-Key: \"", type);
    if (emit->id) {
        for (const char *at = emit->id; *at; at++)
            buf_printf(&headers, "%s%c", *at == '"' || *at == '\\' ? "\\" : "", *at);
    } else {
        buf_printf(&headers, "emit-%lld.%09ld-%ld-%" PRIu64, (long long)now.tv_sec, now.tv_nsec,
                   (long)getpid(), emit->sent);
    }
    buf_add_text(&headers, "\"\r\n");
    buf_add_byte(&headers, 0);
    emit->sent++;
    bool answered = web_ask_until(&emit->web, "POST", emit->path.ptr, headers.ptr, body,
                                  PATIENCE_S);
    buf_free(&headers);
    if (answered && emit->web.status == 200) return 0;
    return web_complain(&emit->web, emit->json);
}

static int emit_one(struct emit *emit, const char *event)
{
    int code = emit_ask(emit, "application/json", str_of(event));
    if (code != 0) return code;
    struct weir_str body = buf_str(&emit->web.body), id = span_member(body, "id");
    while (body.len && memchr("\r\n ", body.ptr[body.len - 1], 3)) body.len--;
    if (emit->json || id.len < 2) printf("%.*s\n", STR_ARG(body));
    else printf("%.*s\n", (int)id.len - 2, id.ptr + 1);
    return SERVER_EXIT_OK;
}

/* Sends whole lines; says which line it is when one is refused. */
static int emit_lines(struct emit *emit, struct weir_str lines, uint64_t count)
{
    int code = emit_ask(emit, "application/x-ndjson", lines);
    struct weir_str body = buf_str(&emit->web.body);
    if (code == 0) {
        emit->count += span_number(span_member(body, "count"));
        emit->line += count;
    } else if (emit->web.status != 0 && emit->line > 0 && !emit->json) {
        fprintf(stderr,
                "weir: counted from line %" PRIu64 " of the input on; the %" PRIu64
                " events before are in the stream\n",
                emit->line + 1, emit->count);
    }
    return code;
}

/* Whole lines at the beginning of `in`, at most what one transaction takes. */
static size_t lines_ready(struct weir_str in, bool ended, uint64_t *count)
{
    size_t end = 0;
    *count = 0;
    while (end < in.len && *count < LINES_MAX) {
        const char *found = memchr(in.ptr + end, '\n', in.len - end);
        if (!found && !ended) break;
        size_t next = found ? (size_t)(found - in.ptr) + 1 : in.len;
        if (next > LINES_BYTES_MAX && end > 0) break;
        end = next;
        (*count)++;
    }
    return end;
}

static int emit_input(struct emit *emit)
{
    struct buf in = { 0 };
    int code = 0;
    for (bool ended = false; code == 0 && !ended;) {
        buf_reserve(&in, 65536);
        ssize_t n = read(STDIN_FILENO, in.ptr + in.len, 65536);
        if (n < 0 && errno == EINTR) continue;
        ended = n <= 0;
        if (n < 0) {
            fprintf(stderr, "weir: cannot read the input: %s\n", strerror(errno));
            code = SERVER_EXIT_IO;
        }
        bool whole = ended || (n > 0 && memchr(in.ptr + in.len, '\n', (size_t)n));
        if (n > 0) in.len += (size_t)n;
        if (!whole && in.len > LINE_BYTES_MAX) {
            web_tell(STR("a line longer than 16 MiB is no event"), emit->json);
            code = SERVER_EXIT_IO;
        }
        for (uint64_t count; code == 0 && whole;) {
            size_t bytes = lines_ready(buf_str(&in), ended, &count);
            if (bytes == 0) break;
            code = emit_lines(emit, (struct weir_str){ in.ptr, bytes }, count);
            in.len -= bytes;
            memmove(in.ptr, in.ptr + bytes, in.len);
        }
    }
    buf_free(&in);
    if (emit->json) printf("{\"count\":%" PRIu64 "}\n", emit->count);
    else if (code == 0) printf("%" PRIu64 " event%s\n", emit->count, emit->count == 1 ? "" : "s");
    return code;
}

int verb_emit(int argc, char **argv)
{
    struct client_where where = WEB_WHERE;
    struct emit emit = { 0 };
    const struct args_option options[] = {
        { "--id", "ID", "idempotency key: a repeat adds nothing", .text_into = &emit.id },
        { "--json", NULL, "the answer and errors as JSON", .flag_into = &emit.json },
        WEB_OPTIONS(where),
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir emit STREAM [EVENT] [options]",
        .about =
            "Adds an event, a JSON object, to a stream and prints its id once it is on the disk. "
            "Without EVENT, or\n"
            "for `-`, the lines of the standard input, each an event, as they come; prints "
            "their count.",
        .more = "exit codes: 0 done; 1 refused, with the reason on stderr; 64 usage; 69 no server; "
                "74 the input cannot be\n"
                "read\n\n"
                "example: weir emit moved '{\"account\":\"ann\",\"amount\":5}'",
        .options = options,
        .places_min = 1,
        .places_max = 2,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    bool input = places.count == 1 || strcmp(places.place[1], "-") == 0;
    if (emit.id && input) {
        fprintf(stderr, "weir: --id is for one EVENT; a file is added once, also when it is tried "
                        "again, by `weir load stream`\n");
        return SERVER_EXIT_USAGE;
    }
    if (emit.id && (!emit.id[0] || emit.id[strcspn(emit.id, "\r\n")])) {
        fprintf(stderr, "weir: --id is a text of one line\n");
        return SERVER_EXIT_USAGE;
    }
    code = web_open(&emit.web, &where);
    if (code == 0) {
        buf_add_text(&emit.path, "/streams/");
        web_add_part(&emit.path, places.place[0]);
        buf_add_byte(&emit.path, 0);
        code = input ? emit_input(&emit) : emit_one(&emit, places.place[1]);
    }
    web_close(&emit.web);
    buf_free(&emit.path);
    return code;
}
