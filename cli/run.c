/*
 * run.c - `weir run`.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "server/server.h"

#define HTTP_PORT 8080
#define RESP_PORT 6400

/* ./bank.data for path/to/bank.lua */
static void data_default(const char *file, char *room, size_t room_bytes)
{
    const char *slash = strrchr(file, '/');
    const char *name = slash ? slash + 1 : file;
    const char *dot = strrchr(name, '.');
    size_t len = dot && dot != name ? (size_t)(dot - name) : strlen(name);
    snprintf(room, room_bytes, "./%.*s.data", (int)len, name);
}

/* "none" closes a door. */
static bool door(const char *option, const char *text, int port, char *room, size_t room_bytes,
                 const char **host, int *port_out)
{
    if (strcmp(text, "none") == 0) {
        *host = NULL;
        return true;
    }
    return args_address(option, text, port, room, room_bytes, host, port_out);
}

/* A name that no Host header can hold would never be asked for. */
static bool hosts_are_names(const char *const *host)
{
    for (; *host; host++) {
        if ((*host)[0] && !(*host)[strcspn(*host, (*host)[0] == '[' ? "/@ \t\r\n" : "/:@ \t\r\n")])
            continue;
        fprintf(stderr, "weir: --allow-host `%s`: a name alone, as weir.example.com\n", *host);
        return false;
    }
    return true;
}

static bool doors_differ(const struct server_options *server)
{
    const char *http = server->http_host, *resp = server->resp_host;
    if (!http || !resp || server->http_port != server->resp_port || server->http_port == 0 ||
        strcmp(http, resp) != 0)
        return true;
    fprintf(stderr, "weir: --http and --resp on one port, %s:%d; each door has its own\n", http,
            server->http_port);
    return false;
}

int verb_run(int argc, char **argv)
{
    const char *data = NULL, *http = "127.0.0.1:8080", *resp = "127.0.0.1:6400";
    const char *shards = "0", *threads = "0", *format = "text";
    const char *users = NULL, *password = NULL, *policy = NULL, *io_processor = NULL;
    bool json = false, limits_wanted = false, insecure = false;
    struct args_list settings = { .count = 0 }, limits = { .count = 0 }, hosts = { .count = 0 };
    const struct args_option options[] = {
        { "--data", "DIR", "data directory (./APP.data)", .text_into = &data },
        { "--http", "HOST:PORT", "HTTP door (127.0.0.1:8080); `none`: closed; port 0: any free",
          .text_into = &http },
        { "--resp", "HOST:PORT", "RESP door (127.0.0.1:6400), likewise", .text_into = &resp },
        { "--users", "FILE", "who may call; `weir user add` makes the file", .text_into = &users },
        { "--password-file", "FILE", "the password of the user `operator`, one line",
          .text_into = &password },
        { "--insecure-bind", NULL, "other addresses than loopback without users",
          .flag_into = &insecure },
        { "--allow-host", "NAME", "a name of this server in Host headers; may be repeated",
          .list_into = &hosts },
        { "--shards", "N", "shards, 1 to 64 (processors less one)", .text_into = &shards },
        { "--threads", "N", "threads that run shards (as shards, at most processors less one)",
          .text_into = &threads },
        { "--io-processor", "N|auto|none",
          "of the threads that read, send and write the log (auto: where the disk's interrupts go)",
          .text_into = &io_processor },
        { "--set", "NAME=VALUE", "a setting of the application; may be repeated",
          .list_into = &settings },
        { "--conflict-policy", "WORD",
          "when transactions meet at a lock: wound_wait, wait_die or no_wait (wound_wait)",
          .text_into = &policy },
        { "--limit", "NAME=N", "changes a limit; may be repeated", .list_into = &limits },
        { "--limits", NULL, "lists the limits and their defaults", .flag_into = &limits_wanted },
        { "--log-format", "text|json", "form of the trace on stderr (text)", .text_into = &format },
        { "--json", NULL, "the start-up report as one line of JSON", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir run APP.lua|APP.so [...] [options]",
        .about = "Serves applications, each a Lua file or a native service, until SIGTERM or "
                 "Ctrl-C. A reply\n"
                 "leaves once its effects are on disk. Stopping finishes what runs, at most 10 "
                 "seconds; a second\n"
                 "signal ends at once, and loses nothing that was acknowledged. Without users "
                 "every caller is the operator,\n"
                 "and only this machine can connect.",
        .more = "exit codes: 0 stopped; 64 usage; 65 data damaged or newer; 70 internal error; 73 "
                "data directory in\n"
                "use; 74 input/output error; 78 bad application, address or port taken; 130 second "
                "signal\n\n"
                "example: weir run examples/bank.lua --shards 2",
        .options = options,
        .places_min = 0,
        .places_max = 32,
    };
    struct args_places files;
    int code = args_parse(&verb, argc, argv, &files);
    if (code != CLI_DONE) return code;
    if (limits_wanted) {
        server_limits_print(stdout);
        return SERVER_EXIT_OK;
    }
    if (files.count == 0) {
        fprintf(stderr, "weir: which application? e.g. weir run bank.lua\n");
        return SERVER_EXIT_USAGE;
    }
    bool trace_json = strcmp(format, "json") == 0;
    if (!trace_json && strcmp(format, "text") != 0) {
        fprintf(stderr, "weir: --log-format %s: text or json\n", format);
        return SERVER_EXIT_USAGE;
    }
    if (data && !data[0]) {
        fprintf(stderr, "weir: --data ``: which directory?\n");
        return SERVER_EXIT_USAGE;
    }
    char data_room[512], http_room[256], resp_room[256];
    data_default(files.place[0], data_room, sizeof data_room);
    struct server_options server = {
        .files = files.place,
        .file_count = files.count,
        .data = data ? data : data_room,
        .settings = settings.item,
        .limits = limits.item,
        .conflict_policy = policy,
        .io_processor = io_processor,
        .users = users,
        .password_file = password,
        .insecure_bind = insecure,
        .hosts = hosts.item,
        .trace_json = trace_json,
        .json = json,
        .out = stdout,
        .err = stderr,
    };
    unsigned long long n_shards, n_threads;
    if (!args_number("--shards", shards, 0, 64, &n_shards) ||
        !args_number("--threads", threads, 0, 64, &n_threads) ||
        !door("--http", http, HTTP_PORT, http_room, sizeof http_room, &server.http_host,
              &server.http_port) ||
        !door("--resp", resp, RESP_PORT, resp_room, sizeof resp_room, &server.resp_host,
              &server.resp_port) ||
        !hosts_are_names(hosts.item) || !args_settings(&settings) || !doors_differ(&server))
        return SERVER_EXIT_USAGE;
    server.shards = (unsigned)n_shards;
    server.threads = (unsigned)n_threads;
    return server_run(&server);
}
