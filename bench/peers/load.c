/*
 * load.c - the load of `weir bench ycsb` against something else: the same requests, clock, histograms and judgement.
 *
 *     load redis|tarantool|sqlite|lmdb --folder DIR [--port N --pid N] [--connections N] [--pipeline N] [--keys N]
 *          [--seconds S] [--warmup S] [--seed N]
 *
 * Closed loop. Prints one line of JSON: the figures of the measured span as `weir bench --json` has them, but `syncs` are
 * the cache flushes of the whole disk that DIR is on (0: not known). Exit code 1 when accounts do not hold what they sent and got,
 * or a request failed. bench/peers/run.py is who calls it.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bench/report.h"
#include "doors.h"

struct load {
    struct bench_options options;
    const char *peer, *folder;
    int port, pid;
    struct door *door;
    bool (*figures)(struct door *door, struct figures *figures); /* the door's own */
};
static struct load load;

/* Redis: functions by name, with the count of keys and the keys. */
static const struct verb redis_verbs[VERB_COUNT + 1] = {
    { "account", "open", "FCALL open 1" },
    { "account", "transfer", "FCALL transfer 2" },
    { "account", "balance", "FCALL balance 1" },
};

/* The eleventh number and those behind: discards; the 16th: flushes. Of partitions the kernel counts none, of their disk it does. */
static uint64_t disk_flushes(const char *folder)
{
    struct stat st;
    char path[200];
    unsigned long long flushes = 0;
    if (stat(folder, &st) != 0) return 0;
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(st.st_dev),
             minor(st.st_dev));
    const char *up = access(path, F_OK) == 0 ? "../" : "";
    snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%sstat", major(st.st_dev), minor(st.st_dev),
             up);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    if (fscanf(file, "%*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %llu",
               &flushes) != 1)
        flushes = 0;
    fclose(file);
    return flushes;
}

static bool figures_read(struct door *door, struct figures *figures)
{
    if (!load.figures(door, figures)) return false;
    figures->syncs = disk_flushes(load.folder);
    return true;
}

static bool options_read(int argc, char **argv)
{
    struct bench_options *o = &load.options;
    *o = BENCH_OPTIONS;
    o->settings[o->setting_count++] = (struct bench_setting){ "keys", "1000" };
    if (argc < 2 || argc % 2 != 0) return false;
    load.peer = argv[1];
    for (int i = 2; i < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--folder") == 0) load.folder = value;
        else if (strcmp(name, "--port") == 0) load.port = atoi(value);
        else if (strcmp(name, "--pid") == 0) load.pid = atoi(value);
        else if (strcmp(name, "--connections") == 0) o->connections = (uint32_t)atoi(value);
        else if (strcmp(name, "--pipeline") == 0) o->pipeline = (uint32_t)atoi(value);
        else if (strcmp(name, "--keys") == 0) o->settings[0].text = value;
        else if (strcmp(name, "--seconds") == 0) o->seconds = atof(value);
        else if (strcmp(name, "--warmup") == 0) o->warmup_seconds = atof(value);
        else if (strcmp(name, "--seed") == 0) o->seed = strtoull(value, NULL, 10);
        else return false;
    }
    return load.folder && o->connections > 0 && o->pipeline > 0;
}

static struct door *door_open(const struct workload *workload, char *error, size_t bytes)
{
    const struct bench_options *o = &load.options;
    if (strcmp(load.peer, "redis") == 0)
        return door_resp_open(workload, "127.0.0.1", load.port, load.pid, o->connections,
                              o->pipeline, error, bytes);
    if (strcmp(load.peer, "tarantool") == 0)
        return door_iproto_open(workload, load.port, load.pid, o->connections, o->pipeline, error,
                                bytes);
    if (strcmp(load.peer, "sqlite") == 0) return door_sqlite_open(load.folder, error, bytes);
    if (strcmp(load.peer, "lmdb") == 0) return door_lmdb_open(load.folder, error, bytes);
    snprintf(error, bytes, "no peer %s", load.peer);
    return NULL;
}

/* The passes of bench_run(); an empty error: all went well and the money is there. */
static void passes_run(struct driver *d, struct report *report, char *error, size_t bytes)
{
    const struct bench_options *o = &load.options;
    struct buf what = { 0 }, json = { 0 };
    bool good = true, holds = false;
    for (enum pass pass = PASS_LOAD; pass <= PASS_VERIFY && good; pass++) {
        if (pass == PASS_MEASURE) {
            report->before = pace_measure();
            driver_begin_measure(d, o->warmup_seconds, o->seconds, 0, false, o->seed);
            good = load.door->run(load.door, d);
            report->after = pace_measure();
            if (!good) continue;
            driver_sum(d);
            report_point_json(report, d, &json);
        } else {
            driver_begin_all(d, pass);
            good = load.door->run(load.door, d);
        }
    }
    if (good) holds = d->workload->conclude(d->self, &what);
    if (good)
        printf("{\"peer\":\"%s\",\"holds\":%s,\"what\":\"%.*s\",\"point\":%.*s}\n", load.peer,
               holds ? "true" : "false", STR_ARG(buf_str(&what)), STR_ARG(buf_str(&json)));
    if (!good) snprintf(error, bytes, "%s", d->error);
    else if (!holds) snprintf(error, bytes, "%.*s", STR_ARG(buf_str(&what)));
    buf_free(&what);
    buf_free(&json);
}

int main(int argc, char **argv)
{
    char error[600] = "";
    if (!options_read(argc, argv)) {
        fprintf(stderr, "load: see the comment that opens bench/peers/load.c\n");
        return 64;
    }
    struct workload workload = workload_ycsb;
    if (strcmp(load.peer, "redis") == 0) workload.verbs = redis_verbs;
    struct workload_setup setup = { .options = &load.options, .shards = 1 };
    struct driver *d = mem_alloc(sizeof(*d));
    struct report report = { .options = &load.options, .workload = &workload };
    void *self = workload.create(&setup);
    if (!self) snprintf(error, sizeof(error), "%s", setup.why);
    else load.door = door_open(&workload, error, sizeof(error));
    if (load.door) {
        load.figures = load.door->figures;
        load.door->figures = figures_read;
        d->workload = &workload;
        d->self = self;
        d->door = load.door;
        passes_run(d, &report, error, sizeof(error));
        load.door->close(load.door);
    }
    if (self) workload.destroy(self);
    mem_free(d);
    if (error[0]) fprintf(stderr, "load: %s\n", error);
    return error[0] ? 1 : 0;
}
