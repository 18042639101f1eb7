/*
 * admin.c - what the doors tell of themselves: index, health, metrics, INFO.
 *
 * Metrics are Prometheus text, names as the field has them: a prefix, base units, _total for what only grows, no
 * keys of entities as labels.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "net/net_int.h"

static const uint64_t buckets_ns[LATENCY_BUCKETS] = {
    100000,   250000,    500000,    1000000,   2500000,    5000000,    10000000,   25000000,
    50000000, 100000000, 250000000, 500000000, 1000000000, 2500000000, 5000000000, 10000000000
};
static const char *const door_names[DOORS] = { "http", "resp" };

/* ---- signatures ---- */

void admin_field_type(const struct field *field, struct buf *out)
{
    static const char *const names[] = { "nothing", "int",  "float", "bool",   "text", "bytes",
                                         "time",    "enum", "ref",   "record", "list", "any" };
    switch (field->kind) {
    case WEIR_REF: buf_printf(out, "%.*s", STR_ARG(field->type)); break;
    case WEIR_ENUM:
        for (uint32_t i = 0; i < field->word_count; i++)
            buf_printf(out, "%s%.*s", i ? "|" : "", STR_ARG(field->words[i]));
        break;
    case WEIR_LIST:
        buf_add_text(out, "list(");
        if (field->shape->scalar) admin_field_type(&field->shape->fields[0], out);
        else buf_add_text(out, "record");
        buf_add_byte(out, ')');
        break;
    case WEIR_RECORD:
        buf_add_byte(out, '{');
        for (uint32_t i = 0; i < field->shape->count; i++) {
            buf_printf(out, "%s%.*s ", i ? ", " : "", STR_ARG(field->shape->fields[i].name));
            admin_field_type(&field->shape->fields[i], out);
        }
        buf_add_byte(out, '}');
        break;
    default: buf_add_text(out, field->kind <= WEIR_ANY ? names[field->kind] : "?"); break;
    }
    if (field->optional) buf_add_byte(out, '?');
}

void admin_signature(const struct handler *handler, struct buf *out)
{
    buf_printf(out, "%.*s(", STR_ARG(handler->name));
    for (uint32_t i = 0; i < handler->args->count; i++) {
        const struct field *field = &handler->args->fields[i];
        buf_add_text(out, i ? ", " : "");
        if (field->name.len > 0) buf_printf(out, "%.*s ", STR_ARG(field->name));
        admin_field_type(field, out);
    }
    buf_add_byte(out, ')');
}

/* ---- GET / ---- */

static void add_handler(const struct handler *handler, struct buf *out)
{
    static const char *const kinds[] = { "", "on", "query", "create" };
    struct buf signature = { 0 };
    const struct type *type = handler->type;
    admin_signature(handler, &signature);
    buf_add_text(out, "{\"name\":");
    json_write_text(out, handler->name);
    buf_printf(out, ",\"kind\":\"%s\",\"signature\":", kinds[handler->kind]);
    json_write_text(out, buf_str(&signature));
    buf_add_text(out, ",\"allow\":");
    if (handler->allow.ptr) json_write_text(out, handler->allow);
    else buf_add_text(out, "null");
    buf_printf(out, ",\"path\":\"/%.*s%s/%.*s\",\"methods\":[%s\"POST\"]}", STR_ARG(type->name),
               type->service ? "" : "/{key}", STR_ARG(handler->name),
               handler->kind == WEIR_QUERY ? "\"GET\"," : "");
    buf_free(&signature);
}

/* A first command to try: the first handler, of that type if one is named, that is called with a body. */
static void add_example(struct net *net, const struct type *only, struct weir_str roles,
                        struct buf *out)
{
    const struct catalog *catalog = engine_catalog(net->engine);
    struct buf text = { 0 };
    for (uint32_t i = 0; i < catalog->type_count && text.len == 0; i++) {
        const struct type *type = catalog->types[i];
        if (only != NULL && only != type) continue;
        for (uint32_t h = 0; h < type->handler_count && text.len == 0; h++) {
            const struct handler *handler = type->handlers[h];
            if (handler->kind == WEIR_QUERY || type->builtin || !handler_admits(handler, roles))
                continue;
            buf_add_text(&text, "curl -d '[");
            for (uint32_t a = 0; a < handler->args->count; a++)
                buf_printf(&text, "%s%.*s", a ? ", " : "", STR_ARG(handler->args->fields[a].name));
            buf_printf(&text, "]' http://%s:%d/%.*s%s/%.*s",
                       net->options.http_host ? net->options.http_host : "127.0.0.1",
                       net_http_port(net), STR_ARG(type->name), type->service ? "" : "/KEY",
                       STR_ARG(handler->name));
        }
    }
    json_write_text(out, buf_str(&text));
    buf_free(&text);
}

/* How many handlers of the type a caller with these roles may call. */
static uint32_t handlers_admitted(const struct type *type, struct weir_str roles)
{
    uint32_t count = 0;
    for (uint32_t h = 0; h < type->handler_count; h++)
        count += handler_admits(type->handlers[h], roles);
    return count;
}

static void add_type(const struct type *type, struct weir_str roles, struct buf *out)
{
    bool first = true;
    buf_add_text(out, "{\"name\":");
    json_write_text(out, type->name);
    buf_printf(out, ",\"service\":%s,\"handlers\":[", type->service ? "true" : "false");
    for (uint32_t h = 0; h < type->handler_count; h++) {
        if (!handler_admits(type->handlers[h], roles)) continue;
        if (!first) buf_add_byte(out, ',');
        first = false;
        add_handler(type->handlers[h], out);
    }
    buf_add_text(out, "],\"maps\":[");
    for (uint32_t m = 0; m < type->map_count && roles_hold(roles, STR(ROLE_OPERATOR)); m++) {
        if (m > 0) buf_add_byte(out, ',');
        json_write_text(out, type->maps[m].name);
    }
    buf_add_text(out, "]}");
}

/* The paths of streams into which a caller with these roles may emit, or that he may read. */
static void add_streams_index(struct net *net, struct weir_str roles, struct buf *out)
{
    const struct catalog *catalog = engine_catalog(net->engine);
    bool first = true;
    buf_add_text(out, ",\n\"streams\":[");
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        const struct stream *stream = catalog->streams[i];
        bool reads = roles_may_read(roles, stream), emits = handler_admits(stream->emit, roles);
        if (!reads && !emits) continue;
        buf_add_text(out, first ? "\n{\"name\":" : ",\n{\"name\":");
        first = false;
        json_write_text(out, stream->name);
        buf_add_text(out, ",\"allow\":");
        if (stream->allow.ptr) json_write_text(out, stream->allow);
        else buf_add_text(out, "null");
        buf_printf(out, ",\"path\":\"/streams/%.*s\",\"methods\":[%s%s%s]", STR_ARG(stream->name),
                   reads ? "\"GET\"" : "", reads && emits ? "," : "", emits ? "\"POST\"" : "");
        if (reads)
            buf_printf(out, ",\"info\":\"/streams/%.*s/info\",\"groups\":\"/streams/%.*s/groups\"",
                       STR_ARG(stream->name), STR_ARG(stream->name));
        uint64_t lag;
        const struct follower *held = feed_held_by(net->engine, stream, &lag);
        if (held != NULL)
            buf_printf(out, ",\"held_by\":\"%.*s\",\"lag\":%llu", STR_ARG(held->type->name),
                       (unsigned long long)lag);
        buf_add_byte(out, '}');
    }
    buf_add_byte(out, ']');
}

static void add_schedules(const struct catalog *catalog, struct buf *out)
{
    buf_add_text(out, ",\n\"schedules\":[");
    for (uint32_t i = 0; i < catalog->schedule_count; i++) {
        const struct schedule_def *def = catalog->schedules[i];
        struct buf to = { 0 };
        buf_printf(&to, "%.*s%s%.*s", STR_ARG(def->type), def->key.len ? "/" : "",
                   STR_ARG(def->key));
        buf_add_text(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_write_text(out, def->name);
        buf_add_text(out, ",\"every\":");
        json_write_text(out, def->text);
        buf_add_text(out, ",\"zone\":");
        json_write_text(out, def->zone_name);
        buf_add_text(out, ",\"to\":");
        json_write_text(out, buf_str(&to));
        buf_add_text(out, ",\"handler\":");
        json_write_text(out, def->handler_name);
        buf_add_byte(out, '}');
        buf_free(&to);
    }
    buf_add_byte(out, ']');
}

void admin_index(struct net *net, const struct type *only, struct weir_str roles, struct buf *out)
{
    if (net->engine == NULL) {
        buf_add_text(out, "{\"status\":\"loading\"}\n");
        return;
    }
    const struct catalog *catalog = engine_catalog(net->engine);
    buf_printf(out, "{\"weir\":\"%s\",\"types\":[",
               net->options.version ? net->options.version : "");
    bool first = true;
    for (uint32_t i = 0; i < catalog->type_count; i++) {
        const struct type *type = catalog->types[i];
        if (type->builtin || (only != NULL && only != type)) continue;
        if (handlers_admitted(type, roles) == 0 && !roles_hold(roles, STR(ROLE_OPERATOR))) continue;
        buf_add_text(out, first ? "\n" : ",\n");
        first = false;
        add_type(type, roles, out);
    }
    buf_add_byte(out, ']');
    if (only == NULL) add_streams_index(net, roles, out);
    if (only == NULL && roles_hold(roles, STR(ROLE_OPERATOR))) add_schedules(catalog, out);
    buf_add_text(out, ",\n\"row\":\"GET /{type}/{key}\",\"call\":\"POST /{type}/{key}/{handler} "
                      "with a JSON array or object\",\"health\":[");
    http_list_pages(out);
    buf_add_text(out, "],\"example\":");
    add_example(net, only, roles, out);
    buf_add_text(out, "}\n");
}

/* ---- health ---- */

bool admin_ready(struct net *net, struct buf *out)
{
    struct buf reasons = { 0 };
    if (net->engine == NULL) {
        buf_add_text(&reasons, "\"loading\"");
    } else {
        struct engine_stats stats;
        engine_stats(net->engine, &stats);
        if (net_is_draining(net)) buf_add_text(&reasons, "\"shutdown\"");
        if (stats.store.poisoned) buf_printf(&reasons, "%s\"log_failed\"", reasons.len ? "," : "");
        if (stats.store.disk_full) buf_printf(&reasons, "%s\"disk_full\"", reasons.len ? "," : "");
    }
    bool ready = reasons.len == 0;
    buf_printf(out, "{\"status\":\"%s\",\"reasons\":[%.*s]}\n", ready ? "ready" : "not ready",
               (int)reasons.len, reasons.ptr ? reasons.ptr : "");
    buf_free(&reasons);
    return ready;
}

/* ---- metrics ---- */

void admin_observe(struct net *net, const struct call *call)
{
    struct door_figures *f = &net->figures[call->conn->door];
    enum weir_status status = status_public(call->request.status);
    f->outcomes[status < OUTCOMES ? status : WEIR_UNKNOWN]++;
    uint64_t ns = net->now_ns > call->begun_ns ? net->now_ns - call->begun_ns : 0;
    if (ns != f->last_ns) {
        uint32_t i = 0;
        while (i < LATENCY_BUCKETS && ns > buckets_ns[i]) i++;
        f->last_ns = ns;
        f->last_bucket = i;
    }
    f->buckets[f->last_bucket]++;
    f->latency_ns += ns;
    f->latency_count++;
}

static void add_family(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_doors(struct net *net, struct buf *out)
{
    add_family(out, "weir_requests_total", "counter", "Requests answered, by door and outcome.");
    for (int d = 0; d < DOORS; d++) {
        for (uint32_t i = 0; i < OUTCOMES; i++) {
            uint64_t n = net->figures[d].outcomes[i];
            if (n > 0 || i == WEIR_OK)
                buf_printf(out, "weir_requests_total{door=\"%s\",outcome=\"%s\"} %llu\n",
                           door_names[d], weir_status_word(i), (unsigned long long)n);
        }
    }
    add_family(out, "weir_request_duration_seconds", "histogram",
               "From a request read to its answer written.");
    for (int d = 0; d < DOORS; d++) {
        const struct door_figures *f = &net->figures[d];
        uint64_t sum = 0;
        for (uint32_t i = 0; i < LATENCY_BUCKETS; i++) {
            sum += f->buckets[i];
            buf_printf(out, "weir_request_duration_seconds_bucket{door=\"%s\",le=\"%g\"} %llu\n",
                       door_names[d], (double)buckets_ns[i] / 1e9, (unsigned long long)sum);
        }
        buf_printf(out, "weir_request_duration_seconds_bucket{door=\"%s\",le=\"+Inf\"} %llu\n",
                   door_names[d], (unsigned long long)f->latency_count);
        buf_printf(out, "weir_request_duration_seconds_sum{door=\"%s\"} %.9f\n", door_names[d],
                   (double)f->latency_ns / 1e9);
        buf_printf(out, "weir_request_duration_seconds_count{door=\"%s\"} %llu\n", door_names[d],
                   (unsigned long long)f->latency_count);
    }
#define DOOR_METRIC(member, name, type, help)                                                      \
    add_family(out, name, type, help);                                                             \
    for (int d = 0; d < DOORS; d++)                                                                \
    buf_printf(out, "%s{door=\"%s\"} %llu\n", name, door_names[d],                                 \
               (unsigned long long)net->figures[d].member)
    DOOR_METRIC(conns, "weir_connections", "gauge", "Connections open.");
    DOOR_METRIC(conns_total, "weir_connections_total", "counter", "Connections accepted.");
    DOOR_METRIC(conns_refused_total, "weir_connections_refused_total", "counter",
                "Connections refused.");
    DOOR_METRIC(slow_total, "weir_connections_closed_for_limits_total", "counter",
                "Connections closed for slowness or size.");
    DOOR_METRIC(auth_failures_total, "weir_auth_failures_total", "counter",
                "Wrong passwords and tokens.");
    DOOR_METRIC(bytes_in_total, "weir_network_receive_bytes_total", "counter", "Bytes received.");
    DOOR_METRIC(bytes_out_total, "weir_network_transmit_bytes_total", "counter", "Bytes sent.");
#undef DOOR_METRIC
    add_family(out, "weir_requests_in_flight", "gauge", "Requests in the engine.");
    buf_printf(out, "weir_requests_in_flight %u\n", net->in_engine);
}

static void add_number(struct buf *out, const char *name, const char *help, uint64_t n)
{
    size_t len = strlen(name);
    bool total = len > 6 && strcmp(name + len - 6, "_total") == 0;
    char full[128];
    snprintf(full, sizeof(full), "weir_%s", name);
    add_family(out, full, total ? "counter" : "gauge", help);
    buf_printf(out, "%s %llu\n", full, (unsigned long long)n);
}

/* Streams have names that the application gave, few and fixed; keys are no labels. */
static void add_streams(struct net *net, struct buf *out)
{
    const struct catalog *catalog = engine_catalog(net->engine);
    struct feed_figures f;
    int64_t now = net->env->wall_ms(net->env);
    if (catalog->stream_count == 0) return;
#define STREAM_METRIC(metric, help, format, value)                                                 \
    add_family(out, metric, "gauge", help);                                                        \
    for (uint32_t i = 0; i < catalog->stream_count; i++) {                                         \
        feed_figures(net->engine, i, &f);                                                          \
        buf_printf(out, "%s{stream=\"%.*s\"} " format "\n", metric,                                \
                   STR_ARG(catalog->streams[i]->name), value);                                     \
    }
    STREAM_METRIC("weir_stream_events", "Events kept.", "%llu", (unsigned long long)f.events)
    STREAM_METRIC("weir_stream_bytes", "Bytes of events kept.", "%llu", (unsigned long long)f.bytes)
    STREAM_METRIC("weir_stream_oldest_age_seconds", "Age of the oldest event kept.", "%.3f",
                  f.oldest_ms > 0 && now > f.oldest_ms ? (double)(now - f.oldest_ms) / 1000 : 0.0)
#undef STREAM_METRIC
    if (catalog->follower_count == 0) return;
    add_family(out, "weir_stream_held", "gauge",
               "1 while sources outside wait for a follower that is far behind.");
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        uint64_t lag;
        bool held = feed_held_by(net->engine, catalog->streams[i], &lag) != NULL;
        buf_printf(out, "weir_stream_held{stream=\"%.*s\"} %d\n",
                   STR_ARG(catalog->streams[i]->name), held);
    }
    add_family(out, "weir_follower_lag_events", "gauge",
               "Events that a follower is not done with.");
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        const struct follower *follower = catalog->followers[i];
        buf_printf(out, "weir_follower_lag_events{stream=\"%.*s\",type=\"%.*s\"} %llu\n",
                   STR_ARG(follower->stream->name), STR_ARG(follower->type->name),
                   (unsigned long long)feed_lag(net->engine, i));
    }
}

void admin_metrics(struct net *net, struct buf *out)
{
    add_family(out, "weir_build_info", "gauge", "Version.");
    buf_printf(out, "weir_build_info{version=\"%s\"} 1\n",
               net->options.version ? net->options.version : "");
    add_family(out, "weir_up", "gauge", "1 when the log is recovered and requests are taken.");
    buf_printf(out, "weir_up %d\n", net->engine != NULL);
    add_family(out, "process_start_time_seconds", "gauge", "Start of the process since 1970.");
    buf_printf(out, "process_start_time_seconds %.3f\n",
               (double)net->options.started_wall_ms / 1000);
    add_doors(net, out);
    if (net->engine == NULL) return;
    struct engine_stats s;
    engine_stats(net->engine, &s);
#define X(name, text)                                                                              \
    if (strcmp(#name, "requests_total") != 0) add_number(out, #name, text ".", s.name);
    ENGINE_COUNTERS(X)
#undef X
    add_number(out, "epoch", "Newest open epoch.", s.epoch);
    add_number(out, "durable_epoch", "Newest epoch on the disk.", s.durable_epoch);
    add_number(out, "log_syncs_total", "Syncs of the log.", s.store.syncs);
    add_number(out, "log_frames_total", "Epochs written to the log.", s.store.frames);
    add_number(out, "log_written_bytes_total", "Bytes written to the log.", s.store.bytes_written);
    add_number(out, "log_segments", "Segments of the log.", s.store.segment_count);
    add_number(out, "checkpoints", "Checkpoints kept.", s.store.checkpoint_count);
    add_number(out, "log_since_checkpoint_bytes", "Log since the last checkpoint.",
               s.store.log_bytes_since_checkpoint);
    add_family(out, "weir_log_last_sync_seconds", "gauge", "Duration of the last sync.");
    buf_printf(out, "weir_log_last_sync_seconds %.9f\n", (double)s.store.last_sync_ns / 1e9);
    add_number(out, "disk_free_bytes", "Free space for the data.",
               (uint64_t)(s.store.disk_free_bytes > 0 ? s.store.disk_free_bytes : 0));
    add_number(out, "disk_full", "1 while writes are refused for want of space.",
               s.store.disk_full);
    add_number(out, "log_failed",
               "1 once the log could not be written: the server is about to end.",
               s.store.poisoned);
    add_number(out, "degraded", "1 while log_failed or disk_full is.",
               s.store.poisoned || s.store.disk_full);
    add_family(out, "weir_dedup_window_seconds", "gauge",
               "Age up to which a repeated request is known.");
    buf_printf(out, "weir_dedup_window_seconds %.3f\n", (double)s.dedup_window_ms / 1000);
    add_streams(net, out);
    add_number(out, "stream_reads", "Reads of streams by doors, waiting ones included.",
               net->reads_out);
    add_number(out, "shards", "Shards.", s.shards);
    add_number(out, "threads", "Threads that run shards.", s.threads);
}

/* ---- INFO ---- */

static bool wants(struct weir_str section, const char *name)
{
    if (section.ptr == NULL || section.len == 0) return true;
    if (section.len != strlen(name)) return false;
    for (size_t i = 0; i < section.len; i++) {
        char c = section.ptr[i];
        if (c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        if (c != name[i]) return false;
    }
    return true;
}

static void info_engine(const struct net *net, const struct engine_stats *s,
                        struct weir_str section, struct buf *out)
{
    if (wants(section, "persistence")) {
        buf_printf(out,
                   "# "
                   "Persistence\r\nloading:0\r\ndurable_epoch:%llu\r\nepoch:%llu\r\nlast_fsync_us:%"
                   "llu\r\nsyncs_total:%llu\r\n"
                   "log_bytes_total:%llu\r\nlog_bytes_since_checkpoint:%llu\r\nlog_segments:%"
                   "llu\r\ncheckpoints:%llu\r\n"
                   "disk_free:%lld\r\ndisk_full:%d\r\nlog_failed:%d\r\ndegraded:%s\r\n\r\n",
                   (unsigned long long)s->durable_epoch, (unsigned long long)s->epoch,
                   (unsigned long long)(s->store.last_sync_ns / 1000),
                   (unsigned long long)s->store.syncs, (unsigned long long)s->store.bytes_written,
                   (unsigned long long)s->store.log_bytes_since_checkpoint,
                   (unsigned long long)s->store.segment_count,
                   (unsigned long long)s->store.checkpoint_count,
                   (long long)s->store.disk_free_bytes, s->store.disk_full, s->store.poisoned,
                   s->store.poisoned    ? "log_failed"
                   : s->store.disk_full ? "disk_full"
                                        : "");
    }
    if (wants(section, "stats")) {
        uint64_t unknown = net->figures[0].outcomes[WEIR_UNKNOWN] +
                           net->figures[1].outcomes[WEIR_UNKNOWN];
        buf_add_text(out, "# Stats\r\n");
#define X(name, text) buf_printf(out, #name ":%llu\r\n", (unsigned long long)s->name);
        ENGINE_COUNTERS(X)
#undef X
        buf_printf(out,
                   "dedup_window_ms:%llu\r\nshed_total:%llu\r\nshards:%u\r\nthreads:%u\r\n"
                   "total_commands_processed:%llu\r\nunknown_total:%llu\r\n\r\n",
                   (unsigned long long)s->dedup_window_ms, (unsigned long long)s->overloads_total,
                   s->shards, s->threads, (unsigned long long)net->commands_total,
                   (unsigned long long)unknown);
    }
    if (wants(section, "memory"))
        buf_printf(out, "# Memory\r\nused_memory_rows:%llu\r\n\r\n",
                   (unsigned long long)s->state_bytes);
}

static void info_streams(struct net *net, struct weir_str section, struct buf *out)
{
    const struct catalog *catalog = engine_catalog(net->engine);
    struct feed_figures f;
    int64_t now = net->env->wall_ms(net->env);
    if (!wants(section, "streams")) return;
    buf_add_text(out, "# Streams\r\n");
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        feed_figures(net->engine, i, &f);
        int64_t age = f.oldest_ms > 0 && now > f.oldest_ms ? now - f.oldest_ms : 0;
        uint64_t lag;
        const struct follower *held = feed_held_by(net->engine, catalog->streams[i], &lag);
        buf_printf(out, "stream_%.*s:events=%llu,bytes=%llu,oldest_age_ms=%lld",
                   STR_ARG(catalog->streams[i]->name), (unsigned long long)f.events,
                   (unsigned long long)f.bytes, (long long)age);
        if (held != NULL) buf_printf(out, ",held_by=%.*s", STR_ARG(held->type->name));
        buf_add_text(out, "\r\n");
    }
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        const struct follower *follower = catalog->followers[i];
        buf_printf(out, "follower_%.*s_%.*s:lag=%llu\r\n", STR_ARG(follower->stream->name),
                   STR_ARG(follower->type->name), (unsigned long long)feed_lag(net->engine, i));
    }
    buf_add_text(out, "\r\n");
}

void admin_info(struct net *net, struct weir_str section, struct buf *out)
{
    uint64_t started = net->options.started_wall_ms, now = (uint64_t)net->env->wall_ms(net->env);
    if (wants(section, "server")) {
        buf_printf(
            out,
            "# "
            "Server\r\nserver_name:weir\r\nweir_version:%s\r\nredis_version:7.0.0\r\nredis_mode:"
            "standalone\r\nmultiplexing_api:%s\r\ntcp_port:%d\r\nhttp_port:%d\r\nuptime_in_seconds:"
            "%llu\r\n\r\n",
            net->options.version ? net->options.version : "",
            net->env->sock_calls(net->env, &net->actor, NULL, 0) ? "epoll, io_uring" : "epoll",
            net_resp_port(net), net_http_port(net),
            (unsigned long long)(now > started ? (now - started) / 1000 : 0));
    }
    if (wants(section, "clients")) {
        buf_printf(
            out,
            "# Clients\r\nconnected_clients:%u\r\nmaxclients:%llu\r\nrequests_in_flight:%u\r\n\r\n",
            net->conn_count, (unsigned long long)net->limits.connections_max, net->in_engine);
    }
    if (net->engine == NULL) {
        if (wants(section, "persistence")) buf_add_text(out, "# Persistence\r\nloading:1\r\n\r\n");
        return;
    }
    struct engine_stats stats;
    engine_stats(net->engine, &stats);
    info_engine(net, &stats, section, out);
    info_streams(net, section, out);
}
