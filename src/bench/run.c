/*
 * run.c - one run: a server and a folder for it, the workload loaded, measured, verified, reported.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/child.h"
#include "bench/plot.h"
#include "bench/report.h"
#include "core/engine.h"
#include "server/server.h"

#define SUSTAINED 0.97 /* of what was due must be answered in time */
#define SETTLE_SECONDS 60
#define SETTLE_LOOK_NS 5000000

struct run {
    const struct bench_options *options;
    const struct workload *workload;
    void *self; /* the workload's */
    struct child child;
    struct door *door;
    struct driver *driver;
    struct report report;
    char folder[400], app[500];
    bool folder_is_ours;
    uint32_t points_done; /* each has requests of its own */
    char error[600];
};

static int complain(struct run *run, int code, const char *text)
{
    fprintf(run->options->err, "weir: %s\n", text);
    return code;
}

/* ---- the folder ---- */

/* In the current folder, as /tmp is often in memory, where a sync costs nothing. */
static int folder_make(struct run *run)
{
    char text[600], data[500];
    if (!run->options->data) {
        snprintf(run->folder, sizeof(run->folder), "./weir-bench-XXXXXX");
        if (mkdtemp(run->folder)) {
            run->folder_is_ours = true;
            return 0;
        }
        snprintf(text, sizeof(text), "%s: %s; --data DIR names another folder", run->folder,
                 strerror(errno));
        return complain(run, SERVER_EXIT_IO, text);
    }
    snprintf(run->folder, sizeof(run->folder), "%s", run->options->data);
    snprintf(data, sizeof(data), "%s/data", run->folder);
    if (mkdir(run->folder, 0700) != 0 && errno != EEXIST) {
        snprintf(text, sizeof(text), "%s: %s", run->folder, strerror(errno));
        return complain(run, SERVER_EXIT_IO, text);
    }
    if (access(data, F_OK) == 0) {
        snprintf(text, sizeof(text),
                 "%s holds data already, and a run begins without: remove it or name "
                 "another folder",
                 data);
        return complain(run, SERVER_EXIT_CONFIG, text);
    }
    return 0;
}

static int app_write(struct run *run)
{
    char text[600];
    if (run->options->app) {
        snprintf(run->app, sizeof(run->app), "%s", run->options->app);
        return 0;
    }
    snprintf(run->app, sizeof(run->app), "%s/%s.lua", run->folder, run->workload->name);
    FILE *file = fopen(run->app, "w");
    bool good = file && fputs(run->workload->lua, file) >= 0;
    if (file && fclose(file) != 0) good = false;
    if (good) return 0;
    snprintf(text, sizeof(text), "%s: %s", run->app, strerror(errno));
    return complain(run, SERVER_EXIT_IO, text);
}

/* ---- the server ---- */

static int engine_begin(struct run *run)
{
    const struct bench_options *o = run->options;
    char data[500];
    int code = folder_make(run);
    if (code == 0 && !o->native) code = app_write(run);
    if (code != 0) return code;
    snprintf(data, sizeof(data), "%s/data", run->folder);
    struct door_port_options door = { .app = o->native ? NULL : run->app,
                                      .data = data,
                                      .shards = o->shards,
                                      .threads = o->threads,
                                      .in_flight = o->connections * o->pipeline,
                                      .loaders = o->loaders,
                                      .limits = o->limits,
                                      .settings = o->app_settings,
                                      .conflict_policy = o->conflict_policy };
    door_port_shards(&door.shards, &door.threads);
    run->report.shards = door.shards;
    run->report.threads = door.threads;
    run->report.where = o->native ? "no network (handlers in C)" : "no network";
    run->door = door_port_open(run->workload, &door, run->error, sizeof(run->error));
    return run->door ? 0 : complain(run, SERVER_EXIT_CONFIG, run->error);
}

static int server_reach(struct run *run)
{
    const struct bench_options *o = run->options;
    const char *host = o->connect_host;
    int port = o->connect_port;
    if (o->in_process) return engine_begin(run);
    if (!host) {
        struct child_options child = { .program = o->program,
                                       .app = run->app,
                                       .folder = run->folder,
                                       .shards = o->shards,
                                       .threads = o->threads,
                                       .limits = o->limits,
                                       .settings = o->app_settings,
                                       .conflict_policy = o->conflict_policy,
                                       .io_processor = o->io_processor };
        int code = folder_make(run);
        if (code == 0) code = app_write(run);
        if (code != 0) return code;
        child.app = run->app;
        if (!child_start(&child, &run->child, run->error, sizeof(run->error)))
            return complain(run, SERVER_EXIT_CONFIG, run->error);
        host = "127.0.0.1";
        port = run->child.port;
        run->report.shards = run->child.shards;
        run->report.threads = run->child.threads;
    }
    run->door = door_resp_open(run->workload, host, port, run->child.pid, o->connections,
                               o->pipeline, run->error, sizeof(run->error));
    if (!run->door) return complain(run, SERVER_EXIT_UNREACHABLE, run->error);
    if (!run->report.shards) door_resp_shards(run->door, &run->report.shards, &run->report.threads);
    return 0;
}

static void server_leave(struct run *run)
{
    if (run->door) run->door->close(run->door);
    child_stop(&run->child);
    if (run->folder_is_ours) folder_remove(run->folder);
}

/* ---- passes ---- */

static bool pass_run(struct run *run, const char *name)
{
    if (run->door->run(run->door, run->driver)) return true;
    char last[512] = "", text[1200];
    if (run->child.pid) child_last_words(&run->child, last, sizeof(last));
    snprintf(text, sizeof(text), "%s: %s%s%s", name, run->driver->error,
             last[0] ? "\nthe server's last words: " : "", last);
    complain(run, 0, text);
    return false;
}

/*
 * Waits until what the transactions left to later ones has been done. Shards tell their figures one after another, and what is on
 * its way from one to another may be in neither: so twice in a row nothing is pending and nothing was committed between.
 */
static bool settle(struct run *run)
{
    struct figures now = { 0 }, before = { .pending = 1 };
    const struct timespec pause = { .tv_nsec = SETTLE_LOOK_NS };
    char text[160];
    uint64_t begin = mono_ns(), end;
    for (;;) {
        end = mono_ns();
        if (!run->door->figures(run->door, &now)) {
            complain(run, 0, "the server tells no figures");
            return false;
        }
        if (now.pending == 0 && before.pending == 0 && now.commits == before.commits) break;
        if (end - begin > SETTLE_SECONDS * UINT64_C(1000000000)) {
            snprintf(text, sizeof(text), "%llu messages and events are still not done after %d s",
                     (unsigned long long)now.pending, SETTLE_SECONDS);
            complain(run, 0, text);
            return false;
        }
        before = now;
        nanosleep(&pause, NULL);
    }
    fprintf(run->options->out, "settled       %.2f s after the last answer\n",
            (double)(end - begin) / 1e9);
    return true;
}

/* Whether what the workload promises holds now. */
static bool verify(struct run *run, bool *holds)
{
    struct buf what = { 0 };
    if (run->workload->settles && !settle(run)) return false;
    driver_begin_all(run->driver, PASS_VERIFY);
    if (!pass_run(run, "verifying")) return false;
    *holds = run->workload->conclude(run->self, &what);
    fprintf(run->options->out, "%s       %.*s\n", *holds ? "holds " : "BROKEN",
            STR_ARG(buf_str(&what)));
    fflush(run->options->out);
    if (!*holds)
        fprintf(run->options->err, "weir: the invariant of %s is broken: %.*s\n",
                run->workload->name, STR_ARG(buf_str(&what)));
    buf_free(&what);
    return true;
}

/* `-` is where the report goes. */
static int file_write(struct run *run, const char *path, const struct buf *text)
{
    char why[600];
    bool ours = strcmp(path, "-") == 0;
    FILE *file = ours ? run->options->out : fopen(path, "w");
    bool good = file && fwrite(text->ptr, 1, text->len, file) == text->len;
    if (file && !ours && fclose(file) != 0) good = false;
    if (good) return 0;
    snprintf(why, sizeof(why), "%s: %s", path, strerror(errno));
    return complain(run, SERVER_EXIT_IO, why);
}

/* Before all that is measured would have nowhere to go. */
static int file_judge(struct run *run, const char *path)
{
    char folder[600], why[700];
    if (!path || strcmp(path, "-") == 0) return 0;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (errno == ENOENT && strlen(path) < sizeof(folder)) {
        snprintf(folder, sizeof(folder), "%s", path);
        char *slash = strrchr(folder, '/');
        if (slash) slash[slash == folder] = 0;
        if (access(slash ? folder : ".", W_OK | X_OK) == 0) return 0;
    }
    snprintf(why, sizeof(why), "%s: %s", path, strerror(errno));
    return complain(run, SERVER_EXIT_IO, why);
}

static int json_write_file(struct run *run, const struct buf *points)
{
    const char *path = run->options->json;
    if (!path) return 0;
    struct buf text = { 0 };
    buf_add_text(&text, "{");
    report_head_json(&run->report, &text);
    buf_add_text(&text, ",\"points\":[");
    buf_add_str(&text, buf_str(points));
    buf_add_text(&text, "]}\n");
    int code = file_write(run, path, &text);
    buf_free(&text);
    return code;
}

static bool load(struct run *run)
{
    uint64_t begin = mono_ns();
    driver_begin_all(run->driver, PASS_LOAD);
    if (!pass_run(run, "loading")) return false;
    double s = (double)(mono_ns() - begin) / 1e9;
    fprintf(run->options->out, "loaded        %llu requests in %.2f s\n",
            (unsigned long long)run->driver->count, s);
    fflush(run->options->out);
    return true;
}

/* One rate, verified. */
static bool point_run(struct run *run, double rate, struct buf *points, struct plot_point *point,
                      bool *holds)
{
    const struct bench_options *o = run->options;
    struct driver *d = run->driver;
    static const double shares[PLOT_LINES] = { 0.5, 0.9, 0.99, 0.999 };
    uint64_t seed = o->seed + run->points_done++;
    run->report.before = pace_measure();
    if (o->requests > 0) driver_begin_measure_count(d, o->requests, rate, o->steady, seed);
    else driver_begin_measure(d, o->warmup_seconds, o->seconds, rate, o->steady, seed);
    if (!pass_run(run, "measuring")) return false;
    driver_sum(d);
    run->report.after = pace_measure();
    report_point(&run->report, d, o->out);
    if (points->len > 0) buf_add_byte(points, ',');
    report_point_json(&run->report, d, points);
    *point = (struct plot_point){ .offered = rate, .throughput = report_throughput(d) };
    for (uint32_t l = 0; l < PLOT_LINES; l++)
        point->us[l] = (double)histogram_quantile(&d->all.latency, shares[l]) / 1e3;
    uint64_t due = d->all.latency.count;
    point->sustained = d->unsent == 0 && (double)d->completed >= SUSTAINED * (double)due;
    return verify(run, holds);
}

static int plot_write_file(struct run *run, const struct plot_point *sweep, uint32_t count)
{
    const struct bench_options *o = run->options;
    struct buf svg = { 0 };
    char title[200];
    if (!o->plot) return 0;
    snprintf(title, sizeof(title), "%s over %s, %u shards, %u x %u, %u cores, weir %s", o->workload,
             run->report.where, run->report.shards, o->connections, o->pipeline, run->report.cores,
             report_commit());
    plot_write(sweep, count, title, &svg);
    int code = file_write(run, o->plot, &svg);
    buf_free(&svg);
    return code;
}

static void sweep_print(const struct plot_point *sweep, uint32_t count, double peak, FILE *out)
{
    double knee = 0;
    fprintf(out, "\n%12s %12s %10s %10s %10s %10s\n", "offered", "done", "p50 us", "p90 us",
            "p99 us", "p99.9 us");
    for (uint32_t i = 0; i < count; i++) {
        const struct plot_point *p = &sweep[i];
        fprintf(out, "%12.0f %12.0f %10.0f %10.0f %10.0f %10.0f%s\n", p->offered, p->throughput,
                p->us[0], p->us[1], p->us[2], p->us[3], p->sustained ? "" : "  not sustained");
        if (p->sustained && p->offered > knee) knee = p->offered;
    }
    fprintf(out, "peak %.0f a second in a closed loop, sustained %.0f in an open one\n", peak,
            knee);
}

/* Up to the first rate that is not sustained. */
static bool sweep_run(struct run *run, struct buf *points, double peak, struct plot_point *sweep,
                      uint32_t *count, bool *holds)
{
    static const double steps[] = { 0.05, 0.1,  0.2, 0.3,  0.4, 0.5, 0.6, 0.7,
                                    0.8,  0.85, 0.9, 0.95, 1,   1.1, 1.25 };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && *holds; i++) {
        fprintf(run->options->out, "\n");
        if (!point_run(run, steps[i] * peak, points, &sweep[*count], holds)) return false;
        if (!sweep[(*count)++].sustained) break;
    }
    return true;
}

static int measure(struct run *run)
{
    const struct bench_options *o = run->options;
    struct buf points = { 0 };
    struct plot_point first, sweep[PLOT_POINTS_MAX];
    uint32_t count = 0;
    bool holds = false;
    if (!load(run)) return SERVER_EXIT_FAILED;
    bool good = point_run(run, o->rate, &points, &first, &holds);
    if (good && o->sweep) {
        good = sweep_run(run, &points, first.throughput, sweep, &count, &holds);
        sweep_print(sweep, count, first.throughput, o->out);
    }
    int code = good ? json_write_file(run, &points) : 0;
    if (good && code == 0) code = plot_write_file(run, sweep, count);
    buf_free(&points);
    return !good || !holds ? SERVER_EXIT_FAILED : code;
}

/* Settings that another workload has are no mistake of spelling: say whose they are. */
static int settings_judge(struct run *run)
{
    char text[200];
    for (unsigned i = 0; i < run->options->setting_count; i++) {
        const char *name = run->options->settings[i].name;
        unsigned p = 0;
        while (run->workload->params[p] && strcmp(run->workload->params[p]->name, name) != 0) p++;
        if (run->workload->params[p]) continue;
        snprintf(text, sizeof(text), "%s takes no --%s; `weir bench --help` lists what it takes",
                 run->workload->name, name);
        return complain(run, SERVER_EXIT_USAGE, text);
    }
    return 0;
}

/* So that server and folder go, too. */
static void signals_take(void)
{
    struct sigaction action = { .sa_handler = driver_interrupt };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int bench_run(const struct bench_options *options)
{
    struct run run = { .options = options, .workload = workload_named(options->workload) };
    struct workload_setup setup = { .options = options };
    if (run.workload && run.workload->choose) run.workload = run.workload->choose(&setup);
    if (!run.workload) return complain(&run, SERVER_EXIT_USAGE, setup.why);
    int code = settings_judge(&run);
    if (code == 0) code = file_judge(&run, options->json);
    if (code == 0) code = file_judge(&run, options->plot);
    if (code != 0) return code;
    if (options->native && !run.workload->native)
        return complain(&run, SERVER_EXIT_USAGE, "--lang c: this workload is in Lua only");
    enum conflict_policy policy;
    if (options->conflict_policy &&
        !conflict_policy_read(str_of(options->conflict_policy), &policy))
        return complain(&run, SERVER_EXIT_USAGE,
                        "--conflict-policy: wound_wait, wait_die or no_wait");
    run.report = (struct report){ .options = options,
                                  .workload = run.workload,
                                  .where = "RESP",
                                  .cores = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN) };
    run.driver = mem_alloc(sizeof(*run.driver));
    signals_take();
    code = server_reach(&run);
    if (code != 0) goto leave;
    setup.shards = run.report.shards;
    run.self = run.workload->create(&setup);
    if (!run.self) {
        code = complain(&run, SERVER_EXIT_USAGE, setup.why);
        goto leave;
    }
    run.driver->workload = run.workload;
    run.driver->self = run.self;
    run.driver->door = run.door;
    report_head(&run.report, options->out);
    fflush(options->out);
    code = measure(&run);
    run.workload->destroy(run.self);
leave:
    server_leave(&run);
    driver_deinit(run.driver);
    mem_free(run.driver);
    return code;
}
