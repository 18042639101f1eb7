/*
 * load.c - `weir load stream`: the lines of a file into a stream, each once, however often it is tried.
 *
 * The file is cut into batches, by its bytes alone: --batch lines, or fewer when they are long. A batch is one
 * transaction whose idempotency key is made of its content and its place, so a batch that is in the stream already
 * answers as it did before and adds nothing. Nothing is kept on this side. Batches go one after the other: the order
 * of the lines is the order of the events. The server forgets keys after 24 hours.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "cli.h"
#include "server/server.h"
#include "span.h"
#include "web.h"

#define LINES_MAX 1000u               /* of one transaction; see POST /streams */
#define BATCH_BYTES_MAX (192 * 1024u) /* below what the server cuts at */
#define LINE_BYTES_MAX (16u << 20)
#define BAR_NS 100000000u
#define BAR_CELLS 28u

struct load_stream {
    struct web web;
    struct buf path, in;
    const char *file, *name, *stream;
    int fd;
    bool json, bar, ended, end;
    unsigned long long batch, patience_s;
    uint64_t bytes, bytes_done; /* of the file */
    uint64_t line;              /* lines done */
    uint64_t events, replayed;
    uint64_t begun_ns, drawn_ns;
    char held[128];                /* what it waits for; empty: it goes on */
    uint64_t bytes_new, lines_new; /* those that were not there before: for the speed */
};

/* ---- progress ---- */

static void draw(struct load_stream *load, bool last)
{
    uint64_t now = web_now_ns();
    if (!load->bar || (!last && now - load->drawn_ns < BAR_NS)) return;
    load->drawn_ns = now;
    double share = load->bytes ? (double)load->bytes_done / (double)load->bytes : 1.0;
    if (share > 1.0) share = 1.0;
    double seconds = (double)(now - load->begun_ns) / 1e9;
    double speed = seconds > 0 ? (double)load->lines_new / seconds : 0;
    char cells[3 * BAR_CELLS + 1] = "";
    size_t len = 0;
    for (unsigned i = 0; i < BAR_CELLS; i++)
        len += (size_t)snprintf(cells + len, sizeof cells - len, "%s",
                                i < (unsigned)(share * BAR_CELLS + 0.5) ? "█" : "░");
    fprintf(stderr, "\r%s %s %3.0f%%  %" PRIu64 " lines  %.0f/s", load->name, cells, share * 100,
            load->line, speed);
    double left = load->bytes_new > 0 && load->bytes > load->bytes_done
                      ? seconds * (double)(load->bytes - load->bytes_done) / (double)load->bytes_new
                      : 0;
    if (!last && load->held[0]) fprintf(stderr, "  %s", load->held);
    else if (!last && left >= 1) fprintf(stderr, "  %.0f s left", left);
    fprintf(stderr, "\033[K%s", last ? "\n" : "");
}

static void held(void *arg, const char *what)
{
    struct load_stream *load = arg;
    bool first = load->held[0] == 0;
    snprintf(load->held, sizeof load->held, "%s", what);
    if (load->bar) draw(load, false);
    else if (first && !load->json && !load->web.told_held)
        fprintf(stderr, "weir: %s %s\n", load->stream, what);
}

/* ---- batches ---- */

/* The next batch at the beginning of load->in, read as needed: its bytes, and its lines in *count. 0 at the end.
 * False after a message. */
static bool batch_next(struct load_stream *load, size_t *bytes, uint64_t *count)
{
    size_t end = 0, seen = 0;
    *count = 0;
    while (*count < load->batch) {
        const char *found = seen < load->in.len
                                ? memchr(load->in.ptr + seen, '\n', load->in.len - seen)
                                : NULL;
        if (!found && !load->ended) {
            seen = load->in.len;
            if (load->in.len - end > LINE_BYTES_MAX) {
                fprintf(stderr, "weir: %s:%" PRIu64 ": a line longer than 16 MiB is no event\n",
                        load->file, load->line + *count + 1);
                return false;
            }
            buf_reserve(&load->in, 1 << 18);
            ssize_t n = read(load->fd, load->in.ptr + load->in.len, 1 << 18);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) {
                fprintf(stderr, "weir: cannot read %s: %s\n", load->file, strerror(errno));
                return false;
            }
            load->ended = n == 0;
            load->in.len += (size_t)n;
            continue;
        }
        size_t next = found ? (size_t)(found - load->in.ptr) + 1 : load->in.len;
        if (next == end || (next > BATCH_BYTES_MAX && end > 0)) break;
        end = seen = next;
        (*count)++;
    }
    *bytes = end;
    return true;
}

static void batch_headers(const struct load_stream *load, struct weir_str batch, uint64_t count,
                          struct buf *headers)
{
    uint8_t digest[SHA256_BYTES];
    sha256(batch, digest);
    buf_reset(headers);
    buf_add_text(headers, "Content-Type: application/x-ndjson\r\nIdempotency-Key: \"load-");
    for (unsigned i = 0; i < 20; i++) buf_printf(headers, "%02x", digest[i]);
    buf_printf(headers, "-%" PRIu64 "-%" PRIu64 "\"\r\n", load->line + 1, load->line + count);
    buf_add_byte(headers, 0);
}

/* `refused`: the line of the file at which it ended, or 0. */
static void print_counts(const struct load_stream *load, uint64_t refused)
{
    uint64_t added = load->events - load->replayed;
    if (!load->json) {
        printf("%" PRIu64 " lines: %" PRIu64 " events added, %" PRIu64 " there before\n",
               load->line, added, load->replayed);
        return;
    }
    printf("{\"lines\":%" PRIu64 ",\"added\":%" PRIu64 ",\"there_before\":%" PRIu64, load->line,
           added, load->replayed);
    if (refused) printf(",\"refused_line\":%" PRIu64, refused);
    printf("}\n");
}

/* What is in the stream when it ends early. */
static void tell_lines(const struct load_stream *load)
{
    if (load->line) fprintf(stderr, "lines 1 to %" PRIu64 " are in the stream", load->line);
    else fprintf(stderr, "no line is in the stream");
}

/* What came of a batch: exit code, 0 to go on. */
static int batch_done(struct load_stream *load, bool answered, size_t bytes, uint64_t count)
{
    struct weir_str body = buf_str(&load->web.body);
    load->held[0] = 0;
    if (answered && load->web.status == 200) {
        uint64_t events = span_number(span_member(body, "count"));
        load->events += events;
        if (load->web.replayed) load->replayed += events;
        else load->bytes_new += bytes, load->lines_new += count;
        load->line += count;
        load->bytes_done += bytes;
        return 0;
    }
    if (load->bar) fputc('\n', stderr);
    int code = web_complain(&load->web, load->json);
    uint64_t line = answered ? span_number(span_member(body, "line")) : 0;
    if (load->json) {
        print_counts(load, line ? load->line + line : 0);
    } else if (line > 0) {
        fprintf(stderr, "weir: that is %s:%" PRIu64 "; ", load->file, load->line + line);
        tell_lines(load);
        fputc('\n', stderr);
    } else if (code == SERVER_EXIT_UNREACHABLE && load->web.reached) {
        fprintf(stderr, "weir: ");
        tell_lines(load);
        fprintf(stderr, "; the same command goes on and adds nothing twice\n");
    }
    return code;
}

static int load_run(struct load_stream *load)
{
    struct buf headers = { 0 };
    int code = 0;
    load->begun_ns = web_now_ns();
    while (code == 0) {
        size_t bytes;
        uint64_t count;
        if (!batch_next(load, &bytes, &count)) code = SERVER_EXIT_IO;
        if (code != 0 || bytes == 0) break;
        struct weir_str batch = { load->in.ptr, bytes };
        batch_headers(load, batch, count, &headers);
        bool answered = web_ask_until(&load->web, "POST", load->path.ptr, headers.ptr, batch,
                                      (unsigned)load->patience_s);
        code = batch_done(load, answered, bytes, count);
        load->in.len -= bytes;
        memmove(load->in.ptr, load->in.ptr + bytes, load->in.len);
        if (code == 0) draw(load, false);
    }
    buf_free(&headers);
    if (code != 0) return code;
    draw(load, true);
    if (load->end) {
        /* All lines are in the stream: only now may windows over it close for good. */
        load->path.len--;
        buf_add_text(&load->path, "/end");
        buf_add_byte(&load->path, 0);
        bool answered = web_ask_until(&load->web, "POST", load->path.ptr, "", STR(""),
                                      (unsigned)load->patience_s);
        if (!answered || load->web.status != 200) return web_complain(&load->web, load->json);
    }
    print_counts(load, 0);
    return SERVER_EXIT_OK;
}

static bool file_open(struct load_stream *load)
{
    struct stat stat;
    const char *slash = strrchr(load->file, '/');
    load->name = slash ? slash + 1 : load->file;
    load->fd = open(load->file, O_RDONLY | O_CLOEXEC);
    if (load->fd >= 0 && fstat(load->fd, &stat) == 0 && S_ISREG(stat.st_mode)) {
        load->bytes = (uint64_t)stat.st_size;
        return true;
    }
    if (load->fd < 0) fprintf(stderr, "weir: cannot read %s: %s\n", load->file, strerror(errno));
    else
        fprintf(stderr, "weir: %s is no file; lines of a pipe are what `weir emit` takes\n",
                load->file);
    return false;
}

int verb_load(int argc, char **argv)
{
    struct client_where where = WEB_WHERE;
    const char *batch = "500", *patience = "60";
    struct load_stream load = { .fd = -1 };
    const struct args_option options[] = {
        { "--batch", "N", "lines of a transaction, 1 to 1000 (500)", .text_into = &batch },
        { "--patience", "S", "seconds to wait for a server that went away (60)",
          .text_into = &patience },
        { "--end", NULL, "after the last line no event will come: windows over it close",
          .flag_into = &load.end },
        { "--json", NULL, "counts and errors as JSON, no progress bar", .flag_into = &load.json },
        WEB_OPTIONS(where),
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir load stream STREAM FILE.ndjson [options]",
        .about =
            "Adds the lines of a file, each a JSON object, to a stream, in their order. After a "
            "crash of the server or\n"
            "of this program the same command goes on: a batch that is there already is not added "
            "again. For that\n"
            "the file and --batch must be the same, within 24 hours.",
        .more = "exit codes: 0 all lines are in the stream; 1 a line was refused; 64 usage; 69 no "
                "server; 74 the file cannot be\n"
                "read\n\n"
                "example: weir load stream moved moves.ndjson",
        .options = options,
        .places_min = 3,
        .places_max = 3,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    if (strcmp(places.place[0], "stream") != 0) {
        fprintf(stderr, "weir: load %s: only streams are loaded\nusage: %s\n", places.place[0],
                verb.usage);
        return SERVER_EXIT_USAGE;
    }
    if (!args_number("--batch", batch, 1, LINES_MAX, &load.batch) ||
        !args_number("--patience", patience, 0, 86400, &load.patience_s))
        return SERVER_EXIT_USAGE;
    load.file = places.place[2];
    load.stream = places.place[1];
    load.bar = !load.json && isatty(STDERR_FILENO) == 1;
    code = web_open(&load.web, &where);
    if (code == 0 && !file_open(&load)) code = SERVER_EXIT_IO;
    load.web.held = held;
    load.web.held_arg = &load;
    if (code == 0) {
        buf_add_text(&load.path, "/streams/");
        web_add_part(&load.path, places.place[1]);
        buf_add_byte(&load.path, 0);
        code = load_run(&load);
    }
    if (load.fd >= 0) close(load.fd);
    web_close(&load.web);
    buf_free(&load.path);
    buf_free(&load.in);
    return code;
}
