/*
 * check.c - `weir check` and `weir test`: what can be said about an application without serving it.
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>

#include "func/native.h"
#include "server/describe.h"
#include "server/load.h"
#include "server/server.h"

#define PROBLEMS_MAX 64u

/* ---- check ---- */

struct findings {
    struct lua_problem *problem;
    unsigned count;
};

static void findings_add(struct findings *findings, const char *file, int line, const char *text)
{
    if (findings->count >= PROBLEMS_MAX) return;
    struct lua_problem *problem = &findings->problem[findings->count++];
    text_print(problem->file, sizeof problem->file, "%s", file);
    text_print(problem->text, sizeof problem->text, "%s", text);
    problem->line = line;
}

/* What the files do wrong, each beside those before it, as they are loaded. */
static void check_files(const struct server_options *options, struct findings *findings)
{
    struct lua_options lua = { .env = env_real(), .settings = options->settings };
    struct catalog *catalog = catalog_create();
    struct lua_app *app = lua_app_create(catalog, &lua);
    struct weir_app native;
    app_init(&native, catalog);
    for (unsigned i = 0; i < options->file_count; i++) {
        char why[512];
        const char *file = options->files[i];
        if (!load_is_native(file))
            findings->count = lua_app_check(app, file, findings->problem, findings->count,
                                            PROBLEMS_MAX);
        else if (native_load(&native, file, why, sizeof why) != WEIR_OK)
            findings_add(findings, "", 0, why);
    }
    lua_app_destroy(app);
    app_deinit(&native);
    catalog_destroy(catalog);
}

/* Opens the data as `weir run` would, and closes it again. The names of this application do not come to stay by that. */
static int check_data(const struct server_options *options, struct load *load,
                      struct store_recovery *recovery, struct findings *findings)
{
    struct engine_options engine_options = {
        .env = env_real(),
        .data = options->data,
        .shards = 1,
        .threads = 1,
        .ports = 1,
        .catalog = load->catalog,
        .runtimes = load->runtimes,
        .runtime_count = load->runtime_count,
        .looks_only = true,
    };
    struct engine *engine;
    char error[512] = "";
    enum weir_status status = engine_open(&engine_options, &engine, recovery, error, sizeof error);
    if (status != WEIR_OK) {
        findings_add(findings, options->data, 0, error[0] ? error : weir_status_text(status));
        return status == WEIR_LOCKED                            ? SERVER_EXIT_LOCKED
               : status == WEIR_CONFIG                          ? SERVER_EXIT_FAILED
               : status == WEIR_CORRUPT || status == WEIR_NEWER ? SERVER_EXIT_CORRUPT
                                                                : SERVER_EXIT_IO;
    }
    engine_close(engine);
    return 0;
}

static void print_text(const struct server_options *options, const struct load *load,
                       const struct findings *findings, const struct store_recovery *recovery)
{
    for (unsigned i = 0; i < findings->count; i++) {
        const struct lua_problem *problem = &findings->problem[i];
        if (problem->line > 0)
            fprintf(options->err, "%s:%d: %s\n", problem->file, problem->line, problem->text);
        else
            fprintf(options->err, "%s%s%s\n", problem->file, problem->file[0] ? ": " : "",
                    problem->text);
    }
    if (findings->count) {
        fprintf(options->err, "%u mistake%s\n", findings->count, findings->count == 1 ? "" : "s");
        return;
    }
    struct buf out = { 0 };
    describe_catalog(load->catalog, &out);
    describe_access(load->catalog, false, &out);
    if (options->data)
        buf_printf(&out, "data %s: opens, durable up to epoch %" PRIu64 "\n", options->data,
                   recovery->durable_epoch);
    buf_add_text(&out, "no mistakes\n");
    fwrite(out.ptr, 1, out.len, options->out);
    buf_free(&out);
}

static void print_json(const struct server_options *options, const struct load *load,
                       const struct findings *findings, const struct store_recovery *recovery)
{
    struct buf out = { 0 };
    buf_add_text(&out, "{\"mistakes\":[");
    for (unsigned i = 0; i < findings->count; i++) {
        if (i) buf_add_text(&out, ",");
        buf_add_text(&out, "{\"file\":");
        json_write_text(&out, str_of(findings->problem[i].file));
        buf_printf(&out, ",\"line\":%d,\"text\":", findings->problem[i].line);
        json_write_text(&out, str_of(findings->problem[i].text));
        buf_add_text(&out, "}");
    }
    buf_add_text(&out, "]");
    if (findings->count == 0) {
        buf_add_text(&out, ",");
        describe_json(load->catalog, &out);
        if (options->data) buf_printf(&out, ",\"durable_epoch\":%" PRIu64, recovery->durable_epoch);
    }
    buf_add_text(&out, "}\n");
    fwrite(out.ptr, 1, out.len, options->out);
    buf_free(&out);
}

int server_check(const struct server_options *options)
{
    struct findings findings = { .problem = mem_alloc(PROBLEMS_MAX * sizeof(struct lua_problem)) };
    struct store_recovery recovery = { 0 };
    struct load_options load_options = {
        .files = options->files,
        .file_count = options->file_count,
        .lua = { .env = env_real(), .settings = options->settings },
    };
    struct load load = { 0 };
    int code = 0;
    check_files(options, &findings);
    /* They may refer to what none declares. */
    if (findings.count == 0 && load_open(&load_options, &load) != WEIR_OK)
        findings_add(&findings, "", 0, load.error);
    if (findings.count == 0 && options->data)
        code = check_data(options, &load, &recovery, &findings);
    if (options->json) print_json(options, &load, &findings, &recovery);
    else print_text(options, &load, &findings, &recovery);
    if (code == 0 && findings.count) code = SERVER_EXIT_FAILED;
    if (load.catalog) load_close(&load);
    mem_free(findings.problem);
    return code;
}

/* ---- test ---- */

struct tally {
    const struct server_test_options *options;
    unsigned passed, failed;
};

static void test_each(void *arg, const struct lua_test_result *result)
{
    struct tally *tally = arg;
    FILE *out = tally->options->out;
    if (result->passed) tally->passed++;
    else tally->failed++;
    if (tally->options->json) {
        struct buf line = { 0 };
        buf_add_text(&line, "{\"case\":");
        json_write_text(&line, str_of(result->name));
        buf_printf(&line, ",\"passed\":%s", result->passed ? "true" : "false");
        if (!result->passed) {
            buf_add_text(&line, ",\"message\":");
            json_write_text(&line, str_of(result->message ? result->message : ""));
        }
        buf_add_text(&line, "}\n");
        fwrite(line.ptr, 1, line.len, out);
        buf_free(&line);
    } else if (result->passed) {
        fprintf(out, "ok    %s\n", result->name);
    } else {
        fprintf(out, "FAIL  %s\n      %s\n", result->name, result->message ? result->message : "");
    }
    fflush(out);
}

/* As a shell takes it as one word. */
static void only_print(const struct server_test_options *options)
{
    fprintf(options->err, " --only '");
    for (const char *at = options->only; *at; at++)
        fprintf(options->err, *at == '\'' ? "'\\''" : "%c", *at);
    fprintf(options->err, "'");
}

static void problem_print(const struct server_test_options *options,
                          const struct lua_problem *problem)
{
    const char *file = problem->file[0] ? problem->file : options->file;
    if (options->json) {
        struct buf line = { 0 };
        buf_add_text(&line, "{\"error\":");
        json_write_text(&line, str_of(problem->text));
        buf_add_text(&line, ",\"file\":");
        json_write_text(&line, str_of(file));
        buf_printf(&line, ",\"line\":%d}\n", problem->line);
        fwrite(line.ptr, 1, line.len, options->out);
        buf_free(&line);
    } else if (problem->line > 0) {
        fprintf(options->err, "weir: %s:%d: %s\n", file, problem->line, problem->text);
    } else {
        fprintf(options->err, "weir: %s: %s\n", file, problem->text);
    }
}

int server_test(const struct server_test_options *options)
{
    struct tally tally = { .options = options };
    struct lua_problem problem = { .line = 0 };
    struct env *env = env_real();
    uint64_t seed = options->seed ? options->seed : (env->random(env) % 1000000000 + 1);
    if (!lua_test_run(options->file, seed, options->only, test_each, &tally, &problem)) {
        problem_print(options, &problem);
        return SERVER_EXIT_CONFIG;
    }
    if (!options->json)
        fprintf(options->out, "%u passed, %u failed, 0 skipped\n", tally.passed, tally.failed);
    if (tally.failed) {
        fprintf(options->err, "again:  weir test %s --seed %" PRIu64, options->file, seed);
        if (options->only) only_print(options);
        fprintf(options->err, "\n");
    }
    bool none = options->only && tally.passed + tally.failed == 0;
    if (none)
        fprintf(options->err, "weir: no case of %s has `%s` in its name\n", options->file,
                options->only);
    return tally.failed || none ? SERVER_EXIT_FAILED : SERVER_EXIT_OK;
}
