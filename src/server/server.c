/*
 * server.c - what `weir run` does, in order:
 *
 *   load the application -> bind the ports -> open and recover the data -> start -> serve
 *     -> SIGTERM, SIGINT or SIGHUP: drain (at most DRAIN_MS_MAX) -> close
 *
 * Ports come before the data, so that a taken one is told at once and health answers `loading` meanwhile.
 * A process that was just killed may hold its port and its lock for a moment: both are tried again for
 * BUSY_MS_MAX before the start is given up. The main thread then waits for signals and looks
 * WATCH_MS apart whether the log is still whole; it takes no part in any request.
 * SPDX-License-Identifier: MIT
 */
#include "server/server.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/limit.h"
#include "connect/asks.h"
#include "net/net.h"
#include "os/place.h"
#include "os/signal.h"
#include "server/access.h"
#include "server/describe.h"
#include "server/load.h"
#include "server/trace.h"

#define BUSY_MS_MAX 5000u
#define BUSY_STEP_MS 50u
#define DRAIN_MS_MAX 10000u
#define DRAIN_STEP_MS 2u
#define POISON_DRAIN_MS_MAX 500u
#define WATCH_MS 200u

struct server {
    const struct server_options *options;
    struct env *env;
    struct trace trace;
    struct load load;
    struct access_files access;
    uint32_t user_count;
    struct net *net;
    struct engine *engine;
    struct asks *asks;
    struct store_recovery recovery;
    struct engine_limits engine_limits;
    enum conflict_policy conflict_policy;
    struct net_limits net_limits;
    uint32_t shards, threads;
    int io_processor;
    struct lua_limits lua_limits;
    struct net_setting lua_settings[8]; /* the same, for CONFIG GET */
};

static int exit_code(enum weir_status status)
{
    switch (status) {
    case WEIR_OK: return SERVER_EXIT_OK;
    case WEIR_CORRUPT:
    case WEIR_NEWER: return SERVER_EXIT_CORRUPT;
    case WEIR_LOCKED: return SERVER_EXIT_LOCKED;
    case WEIR_CONFIG: return SERVER_EXIT_CONFIG;
    default: return SERVER_EXIT_IO; /* IO, DISKFULL, POISONED and what else a disk may answer */
    }
}

static int fail(const struct server_options *options, int code, const char *text)
{
    if (options->json) {
        struct buf line = { 0 };
        buf_printf(&line, "{\"error\":");
        json_write_text(&line, str_of(text));
        buf_printf(&line, ",\"exit\":%d}\n", code);
        fwrite(line.ptr, 1, line.len, options->err);
        buf_free(&line);
    } else {
        fprintf(options->err, "weir: %s\n", text);
    }
    return code;
}

/* ---- limits ---- */

/* Sets the limit of that name; false if there is none. */
static bool limit_set(struct server *server, struct weir_str name, uint64_t value)
{
    if (engine_limit_set(&server->engine_limits, name, value)) return true;
#define X(member, standard, text)                                                                  \
    if (str_eq(name, STR(#member))) {                                                              \
        server->net_limits.member = value;                                                         \
        return true;                                                                               \
    }
    NET_LIMITS(X)
#undef X
    return lua_limit_set(&server->lua_limits, name, value);
}

void server_limits_print(FILE *out)
{
#define X(member, standard, text)                                                                  \
    fprintf(out, "  %-22s %12" PRIu64 "  %s\n", #member, (uint64_t)(standard), text);
    ENGINE_LIMITS(X)
    NET_LIMITS(X)
    LUA_LIMITS(X)
#undef X
}

static int limits_parse(struct server *server)
{
    const char *const *limit = server->options->limits;
    char wrong[256], why[300];
    struct weir_str name;
    uint64_t value;
    for (; limit && *limit; limit++) {
        bool good = limit_read(*limit, &name, &value, wrong, sizeof wrong);
        if (good && limit_set(server, name, value)) continue;
        if (good)
            snprintf(wrong, sizeof wrong, "%s: no such limit; `weir run --limits` lists them",
                     *limit);
        snprintf(why, sizeof why, "--limit %s", wrong);
        return fail(server->options, SERVER_EXIT_USAGE, why);
    }
    return 0;
}

static int policy_parse(struct server *server)
{
    const char *word = server->options->conflict_policy;
    char why[256];
    if (word == NULL || conflict_policy_read(str_of(word), &server->conflict_policy)) return 0;
    snprintf(why, sizeof why, "--conflict-policy %s: wound_wait, wait_die or no_wait", word);
    return fail(server->options, SERVER_EXIT_USAGE, why);
}

static int io_processor_parse(struct server *server)
{
    const char *word = server->options->io_processor;
    char why[256], *end;
    server->io_processor = PLACE_AUTO;
    if (word == NULL || strcmp(word, "auto") == 0) return 0;
    server->io_processor = PLACE_NONE;
    if (strcmp(word, "none") == 0) return 0;
    long number = strtol(word, &end, 10);
    if (end != word && *end == 0 && place_may_be(number)) {
        server->io_processor = (int)number;
        return 0;
    }
    snprintf(why, sizeof why,
             "--io-processor %s: auto, none, or the number of one this process may use", word);
    return fail(server->options, SERVER_EXIT_USAGE, why);
}

/* ---- starting ---- */

static void shards_choose(struct server *server)
{
    server->shards = server->options->shards;
    server->threads = server->options->threads;
    engine_shards_choose(signal_processors(), &server->shards, &server->threads);
}

static int application_load(struct server *server)
{
    struct load_options options = {
        .files = server->options->files,
        .file_count = server->options->file_count,
        .lua = { .env = server->env,
                 .settings = server->options->settings,
                 .limits = server->lua_limits,
                 .trace = trace_write,
                 .trace_arg = &server->trace },
    };
    if (load_open(&options, &server->load) == WEIR_OK) return 0;
    return fail(server->options, SERVER_EXIT_CONFIG, server->load.error);
}

/* Waits a step between two tries of a start that something else stands in the way of: true to go on. */
static bool busy_wait(struct server *server, unsigned *waited_ms, const char *error)
{
    if (*waited_ms >= BUSY_MS_MAX) return false;
    if (*waited_ms == 0) fprintf(server->options->err, "weir: %s; waiting up to 5 s\n", error);
    if (signal_wait(BUSY_STEP_MS) != 0) return false;
    *waited_ms += BUSY_STEP_MS;
    return true;
}

static int users_read(struct server *server, struct users **users)
{
    char error[512];
    server->access.users_file = server->options->users;
    server->access.password_file = server->options->password_file;
    if (!access_is_closed(&server->access)) return 0;
    *users = access_read(&server->access, error, sizeof error);
    if (!*users) return fail(server->options, SERVER_EXIT_CONFIG, error);
    server->user_count = (*users)->count;
    return 0;
}

/* A changed file takes effect if it can be read; else what was holds on, and the trace says why. */
static void users_refresh(struct server *server)
{
    char error[512];
    if (!access_has_changed(&server->access)) return;
    struct users *users = access_read(&server->access, error, sizeof error);
    if (users) {
        trace_event(&server->trace, "\"event\":\"users_read\",\"users\":%u", users->count);
        net_replace_users(server->net, users);
        return;
    }
    struct buf quoted = { 0 };
    json_write_text(&quoted, str_of(error));
    trace_event(&server->trace, "\"event\":\"users_unreadable\",\"level\":\"error\",\"error\":%.*s",
                (int)quoted.len, quoted.ptr);
    buf_free(&quoted);
}

static void lua_settings_list(struct server *server)
{
    struct net_setting *at = server->lua_settings;
#define X(member, standard, text)                                                                  \
    *at++ = (struct net_setting){ #member, server->lua_limits.member ? server->lua_limits.member   \
                                                                     : (standard) };
    LUA_LIMITS(X)
#undef X
}

static int doors_open(struct server *server)
{
    lua_settings_list(server);
    struct net_options options = {
        .env = server->env,
        .http_host = server->options->http_host,
        .http_port = server->options->http_port,
        .resp_host = server->options->resp_host,
        .resp_port = server->options->resp_port,
        .bind_anywhere = server->options->insecure_bind,
        .host_names = server->options->hosts,
        .limits = server->net_limits,
        .settings = server->lua_settings,
        .started_wall_ms = (uint64_t)server->env->wall_ms(server->env),
        .version = WEIR_VERSION,
        .trace = trace_write,
        .trace_arg = &server->trace,
    };
    char error[512] = "";
    unsigned waited_ms = 0;
    enum weir_status status;
    do {
        int code = users_read(server, &options.users); /* net_open() takes them, failing too */
        if (code != 0) return code;
        status = net_open(&options, &server->net, error, sizeof error);
    } while (status != WEIR_OK && strstr(error, "in use") && busy_wait(server, &waited_ms, error));
    if (status == WEIR_OK) return 0;
    server->net = NULL;
    return fail(server->options, exit_code(status), error);
}

static int data_open(struct server *server)
{
    struct engine_options options = {
        .env = server->env,
        .data = server->options->data,
        .shards = server->shards,
        .threads = server->threads,
        .ports = 2,
        .catalog = server->load.catalog,
        .runtimes = server->load.runtimes,
        .runtime_count = server->load.runtime_count,
        .limits = server->engine_limits,
        .conflict_policy = server->conflict_policy,
        .trace = trace_write,
        .trace_arg = &server->trace,
    };
    char error[512] = "";
    unsigned waited_ms = 0;
    enum weir_status status;
    do {
        status = engine_open(&options, &server->engine, &server->recovery, error, sizeof error);
    } while (status == WEIR_LOCKED && busy_wait(server, &waited_ms, error));
    if (status == WEIR_OK) return 0;
    server->engine = NULL;
    return fail(server->options, exit_code(status), error[0] ? error : weir_status_text(status));
}

/* The sender of requests outside, on a port of its own. */
static int outside_open(struct server *server)
{
    struct outside_options options = { .env = server->env };
    char error[512] = "";
    enum weir_status status = asks_open(server->engine, 1, &options, &server->asks, error,
                                        sizeof error);
    if (status == WEIR_OK) return 0;
    return fail(server->options, exit_code(status), error);
}

/* ---- the start-up report ---- */

static const char *url_host(const char *host)
{
    return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0 ? "localhost" : host;
}

/* True when a door can be reached from other machines. */
static bool is_reachable(const struct server_options *options)
{
    return (options->http_host && !net_host_is_loopback(options->http_host)) ||
           (options->resp_host && !net_host_is_loopback(options->resp_host));
}

static void report_access(const struct server *server, struct buf *out)
{
    if (access_is_closed(&server->access))
        buf_printf(out, "\nCallers name themselves: AUTH, or Authorization: Bearer. %u user%s.\n",
                   server->user_count, server->user_count == 1 ? "" : "s");
    else if (is_reachable(server->options))
        buf_add_text(out, "\nWARNING: no users, and other machines can connect: every caller is "
                          "the operator.\n");
    else buf_add_text(out, "\nOn loopback every caller is the operator and may call all of it.\n");
    if (access_is_closed(&server->access) && is_reachable(server->options))
        buf_add_text(out,
                     "Nothing is encrypted: put a proxy with TLS in front of other networks.\n");
}

static void report_text(struct server *server, struct buf *out)
{
    const struct server_options *options = server->options;
    buf_printf(out, "weir %s\n", WEIR_VERSION);
    buf_printf(out, "data  %s: ", options->data);
    if (server->recovery.rows == 0 && server->recovery.changes == 0) {
        buf_add_text(out, "new");
    } else {
        buf_printf(
            out, "durable up to epoch %" PRIu64 ", %" PRIu64 " rows and %" PRIu64 " changes read%s",
            server->recovery.durable_epoch, server->recovery.rows, server->recovery.changes,
            server->recovery.clean ? "" : ", after an unclean stop");
        if (server->recovery.torn_bytes)
            buf_printf(out, ", %" PRIu64 " unfinished bytes cut", server->recovery.torn_bytes);
    }
    buf_printf(out,
               "\nruns  %u shard%s on %u thread%s; a reply leaves once its effects are synced\n",
               server->shards, server->shards == 1 ? "" : "s", server->threads,
               server->threads == 1 ? "" : "s");
    if (options->http_host) {
        buf_add_text(out, "http  http://");
        describe_address(options->http_host, net_http_port(server->net), out);
        buf_add_text(out, "/   POST /{type}/{key}/{handler}, GET /{type}/{key}, /metrics\n");
    }
    if (options->resp_host) {
        buf_add_text(out, "resp  ");
        describe_address(options->resp_host, net_resp_port(server->net), out);
        buf_add_text(out, "   CALL type key handler [arg ...]\n");
    }
    buf_add_text(out, "\n");
    describe_catalog(server->load.catalog, out);
    report_access(server, out);
    describe_access(server->load.catalog, access_is_closed(&server->access), out);
    struct buf example = { 0 };
    if (options->http_host && describe_example(server->load.catalog, url_host(options->http_host),
                                               net_http_port(server->net), &example))
        buf_printf(out, "\nTry:  %.*s%s\n", (int)example.len, example.ptr,
                   access_is_closed(&server->access) ? " -H \"Authorization: Bearer $WEIR_TOKEN\""
                                                     : "");
    buf_free(&example);
}

static void report_json(struct server *server, struct buf *out)
{
    const struct server_options *options = server->options;
    buf_printf(out, "{\"version\":\"%s\",\"data\":", WEIR_VERSION);
    json_write_text(out, str_of(options->data));
    buf_printf(out,
               ",\"durable_epoch\":%" PRIu64 ",\"rows\":%" PRIu64 ",\"changes\":%" PRIu64
               ",\"clean\":%s,\"torn_bytes\":%" PRIu64 ",\"shards\":%u,\"threads\":%u",
               server->recovery.durable_epoch, server->recovery.rows, server->recovery.changes,
               server->recovery.clean ? "true" : "false", server->recovery.torn_bytes,
               server->shards, server->threads);
    if (options->http_host) {
        buf_add_text(out, ",\"http\":\"");
        describe_address(options->http_host, net_http_port(server->net), out);
        buf_add_text(out, "\"");
    }
    if (options->resp_host) {
        buf_add_text(out, ",\"resp\":\"");
        describe_address(options->resp_host, net_resp_port(server->net), out);
        buf_add_text(out, "\"");
    }
    if (access_is_closed(&server->access)) buf_printf(out, ",\"users\":%u", server->user_count);
    else buf_add_text(out, ",\"users\":null");
    buf_add_text(out, ",");
    describe_json(server->load.catalog, out);
    buf_add_text(out, "}\n");
}

static void report(struct server *server)
{
    struct buf out = { 0 };
    if (server->options->json) report_json(server, &out);
    else report_text(server, &out);
    fwrite(out.ptr, 1, out.len, server->options->out);
    fflush(server->options->out);
    buf_free(&out);
}

/* ---- serving and stopping ---- */

/* Until all is answered and durable, or the time is up. A second signal ends the process. */
static bool drain(struct server *server, unsigned ms_max)
{
    bool doors = false, inside = false;
    for (unsigned waited = 0; waited <= ms_max; waited += DRAIN_STEP_MS) {
        doors = net_drain(server->net);
        inside = engine_drain(server->engine);
        bool outside = asks_drain(server->asks);
        if (doors && inside && outside) return true;
        if (signal_wait(DRAIN_STEP_MS) != 0) signal_exit(SERVER_EXIT_FORCED);
    }
    return false;
}

static int serve(struct server *server)
{
    struct engine_stats stats;
    for (;;) {
        int number = signal_wait(WATCH_MS);
        if (number) {
            trace_event(&server->trace, "\"event\":\"draining\",\"signal\":%d", number);
            bool all = drain(server, DRAIN_MS_MAX);
            trace_event(&server->trace, "\"event\":\"drained\",\"complete\":%s",
                        all ? "true" : "false");
            return SERVER_EXIT_OK;
        }
        users_refresh(server);
        place_look();
        engine_stats(server->engine, &stats);
        if (!stats.store.poisoned) continue;
        /* What waits cannot become durable any more: the doors answer `unknown`, then all stops. */
        drain(server, POISON_DRAIN_MS_MAX);
        struct buf text = { 0 };
        buf_printf(&text,
                   "writing to %s failed: %s. Replies not yet sent have an unknown outcome. "
                   "Check the disk, then start again: what was acknowledged is kept.",
                   server->options->data, stats.store.poison);
        buf_add_byte(&text, 0);
        fail(server->options, SERVER_EXIT_IO, text.ptr);
        buf_free(&text);
        return SERVER_EXIT_IO;
    }
}

static void trace_started(struct server *server)
{
    char io[48] = "";
    if (server->io_processor != PLACE_NONE)
        snprintf(io, sizeof io, ",\"io_processor\":%d", server->io_processor);
    trace_event(&server->trace,
                "\"event\":\"started\",\"durable_epoch\":%" PRIu64
                ",\"shards\":%u,\"threads\":%u%s",
                server->recovery.durable_epoch, server->shards, server->threads, io);
}

int server_run(const struct server_options *options)
{
    struct server server = { .options = options, .env = env_real() };
    server.trace.env = server.env;
    server.trace.json = options->trace_json;
    signal_start();
    shards_choose(&server);
    int code = limits_parse(&server);
    if (code == 0) code = policy_parse(&server);
    if (code == 0) code = io_processor_parse(&server);
    if (code == 0) code = application_load(&server);
    if (code != 0) goto unload;
    code = doors_open(&server);
    if (code != 0) goto unload;
    net_start(server.net);
    code = data_open(&server);
    if (code != 0) goto close_doors;
    server.io_processor = place_choose(server.io_processor, options->data);
    code = outside_open(&server);
    if (code != 0) goto close_doors;
    engine_start(server.engine);
    net_serve(server.net, server.engine);
    report(&server);
    trace_started(&server);
    code = serve(&server);
close_doors:
    if (server.engine) engine_stop(server.engine); /* first: it wakes the doors' actors */
    net_close(server.net);
    asks_close(server.asks);
    if (server.engine) engine_close(server.engine);
    if (code == 0) trace_event(&server.trace, "\"event\":\"stopped\"");
unload:
    load_close(&server.load);
    return code;
}
