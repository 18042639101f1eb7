/*
 * bench.c - `weir bench`.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "cli.h"
#include "server/server.h"

#define OPTIONS_MAX 64
#define RESP_PORT 6400

/* The options as texts, before they are judged. */
struct texts {
    const char *shards, *threads, *connections, *pipeline, *loaders, *rate, *seconds, *warmup,
        *seed, *connect, *schedule, *lang, *requests;
};

static bool count_read(const char *option, const char *text, unsigned min, unsigned max,
                       uint32_t *out)
{
    unsigned long long n;
    if (!text) return true;
    if (!args_number(option, text, min, max, &n)) return false;
    *out = (uint32_t)n;
    return true;
}

static bool share_read(const char *option, const char *text, double min, double max, double *out)
{
    char *end = NULL;
    if (!text) return true;
    *out = strtod(text, &end);
    if (text[0] && *end == 0 && *out >= min && *out <= max) return true;
    fprintf(stderr, "weir: %s %s: a number from %g to %g is wanted\n", option, text, min, max);
    return false;
}

static bool texts_read(const struct texts *t, struct bench_options *o)
{
    unsigned long long seed = o->seed, requests = 0;
    if (!count_read("--shards", t->shards, 0, 64, &o->shards) ||
        !count_read("--threads", t->threads, 0, 64, &o->threads) ||
        !count_read("--connections", t->connections, 1, 10000, &o->connections) ||
        !count_read("--pipeline", t->pipeline, 1, 4096, &o->pipeline) ||
        !count_read("--loaders", t->loaders, 1, BENCH_LOADERS_MAX, &o->loaders) ||
        !share_read("--rate", t->rate, 1, 1e8, &o->rate) ||
        !share_read("--seconds", t->seconds, 0.1, 86400, &o->seconds) ||
        !share_read("--warmup", t->warmup, 0, 86400, &o->warmup_seconds) ||
        (t->seed && !args_number("--seed", t->seed, 0, UINT64_MAX, &seed)) ||
        (t->requests && !args_number("--requests", t->requests, 1, 1000000000, &requests)))
        return false;
    o->seed = seed;
    o->requests = requests;
    if (t->requests && (t->seconds || t->warmup || o->sweep)) {
        fprintf(stderr, "weir: --requests are in place of --seconds, --warmup and --sweep\n");
        return false;
    }
    o->steady = t->schedule && strcmp(t->schedule, "steady") == 0;
    if (t->schedule && !o->steady && strcmp(t->schedule, "poisson") != 0) {
        fprintf(stderr, "weir: --schedule %s: poisson or steady\n", t->schedule);
        return false;
    }
    o->native = t->lang && strcmp(t->lang, "c") == 0;
    if (t->lang && !o->native && strcmp(t->lang, "lua") != 0) {
        fprintf(stderr, "weir: --lang %s: lua or c\n", t->lang);
        return false;
    }
    if (o->native && (!o->in_process || o->app)) {
        fprintf(stderr,
                "weir: --lang c: with --in-process and without --app: a server loads Lua files\n");
        return false;
    }
    if (t->rate && o->sweep) {
        fprintf(stderr, "weir: --rate or --sweep, not both\n");
        return false;
    }
    if (o->plot && !o->sweep) {
        fprintf(stderr, "weir: --plot shows latency against rate: with --sweep\n");
        return false;
    }
    if (t->schedule && !t->rate && !o->sweep) {
        fprintf(stderr, "weir: --schedule is of an open loop: with --rate or --sweep\n");
        return false;
    }
    if (o->loaders > 1 && (!o->in_process || o->connections * o->pipeline < o->loaders)) {
        fprintf(stderr,
                "weir: --loaders: with --in-process, and a request under way for each at least\n");
        return false;
    }
    if (t->connect && o->in_process) {
        fprintf(stderr, "weir: --connect or --in-process, not both\n");
        return false;
    }
    if (o->in_process && o->io_processor) {
        fprintf(stderr, "weir: --io-processor: of a server, so not with --in-process\n");
        return false;
    }
    if (t->connect && (t->shards || t->threads || o->conflict_policy || o->io_processor)) {
        fprintf(stderr, "weir: --connect: the server has its shards, threads, policy and processor "
                        "already\n");
        return false;
    }
    return true;
}

static int workload_complain(const char *word)
{
    const char *names[32];
    size_t count = 0;
    while (count < 32 && (names[count] = bench_workload_name((unsigned)count)) != NULL) count++;
    const char *near = args_nearest(word, names, count);
    fprintf(stderr, "weir: no workload `%s`", word);
    if (near) fprintf(stderr, "; did you mean `weir bench %s`?", near);
    fprintf(stderr, "\nthere are:\n");
    bench_workloads_print(stderr);
    return SERVER_EXIT_USAGE;
}

static void more_write(char *text, size_t bytes)
{
    FILE *out = fmemopen(text, bytes, "w");
    if (!out) return;
    fprintf(out, "workloads, and what each takes of the options above:\n");
    bench_workloads_print(out);
    fprintf(out, "\nWithout --rate: closed loop, as many requests under way as there is room for. "
                 "With --rate: open\n"
                 "loop, a latency counts from when the request was due.\n"
                 "exit codes: 0 done; 1 the invariant is broken or requests failed; 64 usage; 69 "
                 "no server;\n"
                 "74 input/output error; 78 the server does not start");
    fclose(out);
}

int verb_bench(int argc, char **argv)
{
    struct texts t = { 0 };
    struct bench_options o = BENCH_OPTIONS;
    struct args_list limits = { .count = 0 }, settings = { .count = 0 };
    const struct bench_param *params[BENCH_PARAMS_MAX];
    const char *values[BENCH_PARAMS_MAX] = { 0 };
    char names[BENCH_PARAMS_MAX][24], room[256], program[1024], more[4096];
    const struct args_option fixed[] = {
        { "--shards", "N", "shards of the server (as `weir run` has it)", .text_into = &t.shards },
        { "--threads", "N", "threads that run them (likewise)", .text_into = &t.threads },
        { "--connections", "N", "connections (16)", .text_into = &t.connections },
        { "--pipeline", "N", "requests under way on each (32)", .text_into = &t.pipeline },
        { "--rate", "N", "open loop: requests a second (closed loop)", .text_into = &t.rate },
        { "--sweep", NULL, "the peak, then open loops up to the first rate not sustained",
          .flag_into = &o.sweep },
        { "--schedule", "KIND", "poisson or steady, with --rate (poisson)",
          .text_into = &t.schedule },
        { "--seconds", "S", "time that is measured (10)", .text_into = &t.seconds },
        { "--warmup", "S", "time before that is not (2)", .text_into = &t.warmup },
        { "--requests", "N", "so many requests are measured, instead of a time",
          .text_into = &t.requests },
        { "--seed", "N", "of requests and their times (1)", .text_into = &t.seed },
        { "--connect", "HOST:PORT", "a running server, instead of one of its own",
          .text_into = &t.connect },
        { "--in-process", NULL, "the engine in this process, without network",
          .flag_into = &o.in_process },
        { "--loaders", "N", "threads that make the load, up to 8, with --in-process (1)",
          .text_into = &t.loaders },
        { "--lang", "lua|c", "handlers in C, with --in-process (lua)", .text_into = &t.lang },
        { "--app", "FILE", "another application than the workload's own", .text_into = &o.app },
        { "--conflict-policy", "WORD", "of the server, as `weir run` has it (wound_wait)",
          .text_into = &o.conflict_policy },
        { "--io-processor", "WORD", "likewise; not with --in-process (auto)",
          .text_into = &o.io_processor },
        { "--limit", "NAME=N", "a limit of the server; may be repeated", .list_into = &limits },
        { "--set", "NAME=VALUE", "a setting of the application; may be repeated",
          .list_into = &settings },
        { "--data", "DIR", "folder to work in, kept (a new one here, removed)",
          .text_into = &o.data },
        { "--plot", "FILE.svg", "latency against rate, with --sweep", .text_into = &o.plot },
        { "--json", "FILE", "all figures, as JSON (`-`: after the text)", .text_into = &o.json },
    };
    const unsigned fixed_count = sizeof(fixed) / sizeof(fixed[0]);
    struct args_option options[OPTIONS_MAX] = { 0 };
    memcpy(options, fixed, sizeof(fixed));
    unsigned count = bench_params(params);
    for (unsigned i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "--%s", params[i]->name);
        options[fixed_count + i] = (struct args_option){ names[i], params[i]->value,
                                                         params[i]->text, .text_into = &values[i] };
    }
    more_write(more, sizeof(more));
    const struct args_verb verb = {
        .usage = "weir bench WORKLOAD [options]",
        .about = "Runs a workload against a server that it starts, verifies what is left, and "
                 "prints throughput,\n"
                 "latencies and processor time.",
        .more = more,
        .options = options,
        .places_min = 1,
        .places_max = 1,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    o.workload = places.place[0];
    if (!bench_workload_exists(o.workload)) return workload_complain(o.workload);
    if (!texts_read(&t, &o) || !args_settings(&settings)) return SERVER_EXIT_USAGE;
    if (t.connect && !args_address("--connect", t.connect, RESP_PORT, room, sizeof(room),
                                   &o.connect_host, &o.connect_port))
        return SERVER_EXIT_USAGE;
    for (unsigned i = 0; i < count; i++)
        if (values[i])
            o.settings[o.setting_count++] = (struct bench_setting){ params[i]->name, values[i] };
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len < 0) {
        fprintf(stderr, "weir: /proc/self/exe: %s\n", strerror(errno));
        return SERVER_EXIT_IO;
    }
    program[len] = 0;
    o.program = program;
    o.limits = limits.item;
    o.app_settings = settings.item;
    o.out = stdout;
    o.err = stderr;
    return bench_run(&o);
}
