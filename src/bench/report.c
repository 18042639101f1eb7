/*
 * report.c - see report.h. Times are microseconds in text and JSON alike; counts are of the measured span only.
 * SPDX-License-Identifier: MIT
 */
#include "bench/report.h"

#include "bench/commit.h"

static const struct {
    const char *name;
    double share;
} quantiles[] = {
    { "p50", 0.5 }, { "p90", 0.9 }, { "p99", 0.99 }, { "p99.9", 0.999 }, { "max", 1.0 }
};
#define QUANTILE_COUNT (sizeof(quantiles) / sizeof(quantiles[0]))

/* Figures that are differences of two readings. */
#define COUNTERS(X)                                                                                \
    X(commits)                                                                                     \
    X(failures)                                                                                    \
    X(wounds)                                                                                      \
    X(deaths)                                                                                      \
    X(in_turn)                                                                                     \
    X(together)                                                                                    \
    X(overloads)                                                                                   \
    X(timeouts) X(multi_shard) X(local_calls) X(remote_calls) X(syncs) X(log_bytes) X(checkpoints)

const char *report_commit(void)
{
    return BENCH_COMMIT;
}

double report_throughput(const struct driver *d)
{
    double s = (double)(d->ended_ns - d->began_ns) / 1e9;
    return s > 0 ? (double)d->completed / s : 0;
}

static double quantile_us(const struct histogram *h, size_t i)
{
    return (double)(quantiles[i].share < 1 ? histogram_quantile(h, quantiles[i].share) : h->max) /
           1e3;
}

/* Of one request. */
static double per(double n, const struct driver *d)
{
    return d->completed ? n / (double)d->completed : 0;
}

void report_head(const struct report *r, FILE *out)
{
    const struct bench_options *o = r->options;
    fprintf(out, "weir %s (%s), %u cores, client on the machine: %s\n", WEIR_VERSION, BENCH_COMMIT,
            r->cores, o->connect_host ? "perhaps" : "yes");
    fprintf(out, "%s over %s, %u shards on %u threads, %u connections x %u, seed %llu", o->workload,
            r->where, r->shards, r->threads, o->connections, o->pipeline,
            (unsigned long long)o->seed);
    for (unsigned i = 0; i < o->setting_count; i++)
        fprintf(out, ", %s %s", o->settings[i].name, o->settings[i].text);
    if (o->conflict_policy) fprintf(out, ", %s", o->conflict_policy);
    if (o->io_processor) fprintf(out, ", --io-processor %s", o->io_processor);
    fprintf(out, "\n");
}

static void latency_line(const char *name, const struct tally *t, FILE *out)
{
    fprintf(out, *name ? "%-12s" : "%s", name);
    for (size_t i = 0; i < QUANTILE_COUNT; i++)
        fprintf(out, "  %s %.0f us", quantiles[i].name, quantile_us(&t->latency, i));
    fprintf(out, "\n");
}

/* In process, the engine's share is a difference of what the kernel says of process and thread, each by its own ratio of
   user to system: a short run may have less than none of one of them. */
static double cpu_between(uint64_t from, uint64_t to)
{
    return (double)(int64_t)(to - from);
}

static void cpu_line(const char *name, struct cpu from, struct cpu to, const struct driver *d,
                     FILE *out)
{
    double user = cpu_between(from.user_us, to.user_us),
           system = cpu_between(from.system_us, to.system_us);
    double span_us = (double)(d->ended_ns - d->began_ns) / 1e3;
    fprintf(
        out,
        "%-12s  %.3f us of processor time a request (user %.3f, system %.3f), %.0f %% of a core\n",
        name, per(user + system, d), per(user, d), per(system, d),
        span_us > 0 ? 100 * (user + system) / span_us : 0);
}

/* Of one thread's time: what it was at the beginning. Threads may come in between. */
static uint64_t thread_before(const struct driver *d, const struct thread_cpu *thread)
{
    for (uint32_t i = 0; i < FIGURE_THREADS_MAX; i++)
        if (strcmp(d->at_begin.thread[i].name, thread->name) == 0) return d->at_begin.thread[i].ns;
    return 0;
}

/* In microseconds; of the load's own threads, in this process, nothing. */
static double thread_us(const struct report *r, const struct driver *d,
                        const struct thread_cpu *thread)
{
    bool ours = r->options->in_process &&
                (strcmp(thread->name, "bench") == 0 || strcmp(thread->name, "weir") == 0);
    if (ours || !thread->name[0]) return 0;
    return (double)(thread->ns - thread_before(d, thread)) / 1e3;
}

static void threads_line(const struct report *r, const struct driver *d, FILE *out)
{
    const char *before = "threads       ";
    for (uint32_t i = 0; i < FIGURE_THREADS_MAX; i++) {
        const struct thread_cpu *thread = &d->at_end.thread[i];
        double us = per(thread_us(r, d, thread), d);
        if (us < 0.001) continue;
        fprintf(out, "%s%s %.3f us", before, thread->name, us);
        before = ", ";
    }
    if (before[0] == ',') fprintf(out, " a request\n");
}

void report_point(const struct report *r, const struct driver *d, FILE *out)
{
    const struct figures *a = &d->at_begin, *b = &d->at_end;
    const struct tally *t = &d->all;
    if (d->rate > 0) fprintf(out, "offered       %.0f a second\n", d->rate);
    fprintf(out, "throughput    %.0f a second\n", report_throughput(d));
    latency_line("latency", t, out);
    for (uint32_t i = 0; r->workload->kinds[i] && r->workload->kinds[1]; i++) {
        if (d->kind[i].latency.count == 0) continue;
        fprintf(out, "  %-18s%7.0f a second", r->workload->kinds[i],
                (double)(d->kind[i].done + d->kind[i].refused) /
                    ((double)(d->end_ns - d->begin_ns) / 1e9));
        latency_line("", &d->kind[i], out);
    }
    if (d->rate > 0) {
        fprintf(out, "sent late     p50 %.0f us, p99 %.0f us", quantile_us(&d->lag, 0),
                quantile_us(&d->lag, 2));
        if (d->unsent) fprintf(out, "; %llu never sent", (unsigned long long)d->unsent);
        fprintf(out, "\n");
    }
    if (b->server_known) cpu_line("server", a->server, b->server, d, out);
    threads_line(r, d, out);
    cpu_line("client", a->client, b->client, d, out);
    fprintf(out, "processor     %.1f G additions a second before, %.1f after", r->before.additions,
            r->after.additions);
    if (r->before.line_ns > 0 && r->after.line_ns > 0)
        fprintf(out, "; a cache line to another and back in %.0f ns before, %.0f after",
                r->before.line_ns, r->after.line_ns);
    fprintf(out, "\n");
    uint64_t commits = b->commits - a->commits, syncs = b->syncs - a->syncs;
    fprintf(out, "log           %.1f bytes a commit, %llu syncs, %.1f commits a sync\n",
            commits ? (double)(b->log_bytes - a->log_bytes) / (double)commits : 0,
            (unsigned long long)syncs, syncs ? (double)commits / (double)syncs : 0);
    fprintf(out,
            "transactions  %llu commits, %.1f %% over several shards, %llu undone for an older one "
            "(%.4f a commit)",
            (unsigned long long)commits,
            commits ? 100.0 * (double)(b->multi_shard - a->multi_shard) / (double)commits : 0,
            (unsigned long long)(b->wounds - a->wounds),
            commits ? (double)(b->wounds - a->wounds) / (double)commits : 0);
    if (b->deaths > a->deaths)
        fprintf(out, ", %llu since another had a lock (%.4f a commit)",
                (unsigned long long)(b->deaths - a->deaths),
                commits ? (double)(b->deaths - a->deaths) / (double)commits : 0);
    if (b->together > a->together)
        fprintf(out, ", %.1f calls a commit by weir.all at once, %llu undone to make them in turn",
                commits ? (double)(b->together - a->together) / (double)commits : 0,
                (unsigned long long)(b->in_turn - a->in_turn));
    fprintf(out, "\n");
    fprintf(out, "answers       %llu done, %llu refused by a rule, %llu failed",
            (unsigned long long)t->done, (unsigned long long)t->refused,
            (unsigned long long)t->failed);
    for (uint32_t i = 0; i < CAUSES_MAX && d->cause[i].count; i++)
        fprintf(out, "%s%s %llu", i ? ", " : ": ", d->cause[i].word,
                (unsigned long long)d->cause[i].count);
    fprintf(out, "\n");
}

/* ---- JSON ---- */

static void json_string(struct buf *out, const char *text)
{
    buf_add_byte(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') buf_add_byte(out, '\\');
        buf_add_byte(out, (uint8_t)*text);
    }
    buf_add_byte(out, '"');
}

void report_head_json(const struct report *r, struct buf *out)
{
    const struct bench_options *o = r->options;
    buf_printf(
        out,
        "\"version\":\"%s\",\"commit\":\"%s\",\"cores\":%u,\"workload\":\"%s\",\"door\":\"%s\",",
        WEIR_VERSION, BENCH_COMMIT, r->cores, r->workload->name, r->where);
    buf_printf(out, "\"shards\":%u,\"threads\":%u,\"connections\":%u,\"pipeline\":%u,", r->shards,
               r->threads, o->connections, o->pipeline);
    if (o->conflict_policy) buf_printf(out, "\"conflict_policy\":\"%s\",", o->conflict_policy);
    if (o->io_processor) buf_printf(out, "\"io_processor\":\"%s\",", o->io_processor);
    if (o->requests > 0) buf_printf(out, "\"requests\":%llu,", (unsigned long long)o->requests);
    else buf_printf(out, "\"seconds\":%g,\"warmup_seconds\":%g,", o->seconds, o->warmup_seconds);
    buf_printf(out, "\"seed\":%llu,\"settings\":{", (unsigned long long)o->seed);
    for (unsigned i = 0; i < o->setting_count; i++) {
        if (i) buf_add_byte(out, ',');
        json_string(out, o->settings[i].name);
        buf_add_byte(out, ':');
        json_string(out, o->settings[i].text);
    }
    buf_add_text(out, "}");
}

static void json_latency(const struct histogram *h, struct buf *out)
{
    buf_add_text(out, "{");
    for (size_t i = 0; i < QUANTILE_COUNT; i++)
        buf_printf(out, "\"%s\":%.3f,", quantiles[i].name, quantile_us(h, i));
    buf_printf(out, "\"mean\":%.3f,\"count\":%llu}", h->count ? h->sum / (double)h->count / 1e3 : 0,
               (unsigned long long)h->count);
}

static void json_tally(const struct tally *t, struct buf *out)
{
    buf_printf(out, "\"done\":%llu,\"refused\":%llu,\"failed\":%llu,\"latency_us\":",
               (unsigned long long)t->done, (unsigned long long)t->refused,
               (unsigned long long)t->failed);
    json_latency(&t->latency, out);
}

static void json_cpu(const char *name, struct cpu from, struct cpu to, const struct driver *d,
                     struct buf *out)
{
    double user = cpu_between(from.user_us, to.user_us),
           system = cpu_between(from.system_us, to.system_us);
    buf_printf(out, "\"%s_cpu_us\":{\"user\":%.0f,\"system\":%.0f,\"per_request\":%.4f},", name,
               user, system, per(user + system, d));
}

static void json_threads(const struct report *r, const struct driver *d, struct buf *out)
{
    buf_add_text(out, "\"server_threads_us\":{");
    for (uint32_t i = 0; i < FIGURE_THREADS_MAX; i++) {
        double us = thread_us(r, d, &d->at_end.thread[i]);
        if (us <= 0) continue;
        if (out->ptr[out->len - 1] != '{') buf_add_byte(out, ',');
        json_string(out, d->at_end.thread[i].name);
        buf_printf(out, ":%.1f", us);
    }
    buf_add_text(out, "},");
}

static void json_pace(const char *name, const struct pace *pace, struct buf *out)
{
    buf_printf(out, "\"%s\":{\"additions\":%.3f,\"line_ns\":%.1f},", name, pace->additions,
               pace->line_ns);
}

void report_point_json(const struct report *r, const struct driver *d, struct buf *out)
{
    const struct figures *a = &d->at_begin, *b = &d->at_end;
    uint64_t commits = b->commits - a->commits;
    buf_printf(
        out,
        "{\"loop\":\"%s\",\"offered\":%.3f,\"throughput\":%.3f,\"completed\":%llu,\"unsent\":%llu,",
        d->rate == 0 ? "closed"
        : d->steady  ? "steady"
                     : "poisson",
        d->rate, report_throughput(d), (unsigned long long)d->completed,
        (unsigned long long)d->unsent);
    json_tally(&d->all, out);
    buf_add_text(out, ",\"sent_late_us\":");
    json_latency(&d->lag, out);
    buf_add_text(out, ",\"kinds\":{");
    for (uint32_t i = 0; r->workload->kinds[i]; i++) {
        buf_printf(out, "%s\"%s\":{", i ? "," : "", r->workload->kinds[i]);
        json_tally(&d->kind[i], out);
        buf_add_text(out, "}");
    }
    buf_add_text(out, "},\"causes\":{");
    for (uint32_t i = 0; i < CAUSES_MAX && d->cause[i].count; i++) {
        if (i) buf_add_byte(out, ',');
        json_string(out, d->cause[i].word);
        buf_printf(out, ":%llu", (unsigned long long)d->cause[i].count);
    }
    buf_add_text(out, "},");
    if (b->server_known) json_cpu("server", a->server, b->server, d, out);
    json_threads(r, d, out);
    json_cpu("client", a->client, b->client, d, out);
    json_pace("before", &r->before, out);
    json_pace("after", &r->after, out);
#define X(name) buf_printf(out, "\"%s\":%llu,", #name, (unsigned long long)(b->name - a->name));
    COUNTERS(X)
#undef X
    buf_printf(out, "\"log_bytes_per_commit\":%.3f,\"entities\":%llu,\"memory_bytes\":%llu}",
               commits ? (double)(b->log_bytes - a->log_bytes) / (double)commits : 0,
               (unsigned long long)b->entities, (unsigned long long)b->memory_bytes);
}
