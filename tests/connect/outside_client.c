/*
 * outside_client.c - outside calls of the real transport, driven by lines on stdin.
 *
 *     outside_client [--ca FILE] [--in-flight N] [--per-host N] [--answer-max N] [--headers-max N]
 *
 * A line is a word and `key=value` pairs, separated by tabs:
 *     call url= line= [body= id= secret= header=NAME: VALUE retry=N redirects= only_2xx= timeout= give_up=
 *          backoff=]           times in ms, give_up from now; header and retry may be repeated
 *     load url= count=         calls POST /load/N with id N for N below count, and wants the answer N
 *     cancel id=
 *     stats
 *     stop                     what is pending comes back
 * Each call that is back is printed as `id outcome status attempts cut error body`, separated by tabs, the
 * body as its length and, up to 200 bytes, its text. At the end of stdin it waits for all calls.
 * SPDX-License-Identifier: MIT
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "connect/outside.h"
#include "os/signal.h"
#include "os/wait.h"

#define HEADERS_MAX 16
#define RETRIES_MAX 16

static const char *const OUTCOMES[] = { "pending", "answered", "unknown", "cancelled",
                                        "abandoned" };

static struct env *env;
static struct outside *outside;
/* under `wait`: calls out, and those of a load */
static struct wait *wait;
static size_t pending, load_pending, load_wrong, load_attempts;
static char load_mark; /* user of a call of a load */

static void call_print(const struct outside_call *call)
{
    printf("%.*s\t%s\t%d\t%u\t%d\t%s\t%zu", STR_ARG(call->request.id), OUTCOMES[call->outcome],
           call->status, call->attempts, call->body_cut, call->error, call->body.len);
    if (call->body.len && call->body.len <= 200) printf("\t%.*s", STR_ARG(call->body));
    printf("\n");
    fflush(stdout);
}

static void call_back(struct outside_call *call)
{
    wait_lock(wait);
    if (call->user == &load_mark) {
        load_pending--;
        load_attempts += call->attempts;
        load_wrong += call->outcome != OUTSIDE_ANSWERED || call->status != 200 ||
                      !str_eq(call->body, call->request.id);
    } else {
        call_print(call);
    }
    pending--;
    wait_wake(wait);
    wait_unlock(wait);
    outside_call_free(call);
}

static uint64_t owner_turn(void *self)
{
    for (struct outside_call *call; (call = outside_next(outside));) call_back(call);
    return ENV_NEVER;
}

static void submit(const struct outside_request *request, void *user)
{
    struct outside_call *call;
    char error[256];
    enum weir_status status = outside_call_create(request, &call, error, sizeof(error));
    if (status == WEIR_OK) {
        call->user = user;
        wait_lock(wait);
        pending++;
        wait_unlock(wait);
        status = outside_submit(outside, call);
        if (status == WEIR_OK) return;
        outside_call_free(call);
        wait_lock(wait);
        pending--;
        wait_unlock(wait);
        snprintf(error, sizeof(error), "not taken");
    }
    printf("%.*s\trefused\t%d\t0\t0\t%s\t0\n", STR_ARG(request->id), (int)status, error);
    fflush(stdout);
}

static int64_t from_now(const char *ms)
{
    return env->wall_ms(env) + strtoll(ms, NULL, 10);
}

static void command_call(char *rest)
{
    struct outside_header headers[HEADERS_MAX];
    uint16_t retry[RETRIES_MAX];
    struct outside_request request = { .headers = headers,
                                       .retry = retry,
                                       .give_up_at_ms = from_now("60000") };
    for (char *pair; (pair = strsep(&rest, "\t"));) {
        char *value = strchr(pair, '=');
        ASSERT(value);
        *value++ = 0;
        if (strcmp(pair, "url") == 0) request.url = str_of(value);
        else if (strcmp(pair, "line") == 0) request.line = str_of(value);
        else if (strcmp(pair, "body") == 0) request.body = str_of(value);
        else if (strcmp(pair, "id") == 0) request.id = str_of(value);
        else if (strcmp(pair, "id_header") == 0) request.id_header = str_of(value);
        else if (strcmp(pair, "secret") == 0) request.secret = str_of(value);
        else if (strcmp(pair, "redirects") == 0) request.redirects_max = (unsigned)atoi(value);
        else if (strcmp(pair, "only_2xx") == 0) request.only_2xx = atoi(value) != 0;
        else if (strcmp(pair, "timeout") == 0) request.timeout_ms = (uint64_t)atoll(value);
        else if (strcmp(pair, "backoff") == 0) request.backoff_ms = (uint64_t)atoll(value);
        else if (strcmp(pair, "give_up") == 0) request.give_up_at_ms = from_now(value);
        else if (strcmp(pair, "retry") == 0) {
            ASSERT(request.retry_count < RETRIES_MAX);
            retry[request.retry_count++] = (uint16_t)atoi(value);
        } else if (strcmp(pair, "header") == 0) {
            char *colon = strstr(value, ": ");
            ASSERT(colon && request.header_count < HEADERS_MAX);
            headers[request.header_count++] = (struct outside_header){
                { value, (size_t)(colon - value) }, str_of(colon + 2)
            };
        } else ASSERT(!"a known key");
    }
    submit(&request, NULL);
}

static void command_load(char *rest)
{
    char *url = strstr(rest, "url="), *count = strstr(rest, "count=");
    ASSERT(url && count);
    size_t calls = strtoull(count + 6, NULL, 10);
    url[strcspn(url, "\t")] = 0;
    wait_lock(wait);
    load_pending = calls;
    load_wrong = load_attempts = 0;
    wait_unlock(wait);
    uint64_t begin = env->mono_ns(env);
    for (size_t i = 0; i < calls; i++) {
        char id[32], line[64];
        snprintf(id, sizeof(id), "%zu", i);
        snprintf(line, sizeof(line), "POST /load/%zu", i);
        submit(&(struct outside_request){ .url = str_of(url + 4),
                                          .line = str_of(line),
                                          .id = str_of(id),
                                          .body = str_of(id),
                                          .give_up_at_ms = from_now("120000") },
               &load_mark);
    }
    wait_lock(wait);
    while (load_pending) wait_sleep(wait, 0);
    printf("load\t%zu\t%zu\t%llu\n", load_wrong, load_attempts,
           (unsigned long long)((env->mono_ns(env) - begin) / 1000000));
    wait_unlock(wait);
    fflush(stdout);
}

static void command(char *line)
{
    char *rest = line, *word = strsep(&rest, "\t");
    if (strcmp(word, "call") == 0) command_call(rest);
    else if (strcmp(word, "load") == 0) command_load(rest);
    else if (strcmp(word, "cancel") == 0) outside_cancel(outside, str_of(rest + 3));
    else if (strcmp(word, "stats") == 0) {
        struct outside_stats stats = outside_stats(outside);
        wait_lock(wait);
        printf("stats\t%llu\t%llu\t%llu\n", (unsigned long long)stats.calls,
               (unsigned long long)stats.in_flight, (unsigned long long)stats.attempts);
        fflush(stdout);
        wait_unlock(wait);
    } else ASSERT(!"a known word");
}

static void options_read(struct outside_options *options, int count, char **words)
{
    for (int i = 1; i + 1 < count; i += 2) {
        uint64_t n = strtoull(words[i + 1], NULL, 10);
        if (strcmp(words[i], "--ca") == 0) options->ca_file = words[i + 1];
        else if (strcmp(words[i], "--in-flight") == 0) options->limits.in_flight_max = n;
        else if (strcmp(words[i], "--per-host") == 0) options->limits.host_in_flight_max = n;
        else if (strcmp(words[i], "--answer-max") == 0) options->limits.answer_bytes_max = n;
        else if (strcmp(words[i], "--headers-max") == 0)
            options->limits.answer_header_bytes_max = n;
        else ASSERT(!"a known option");
    }
}

int main(int count, char **words)
{
    struct actor owner = { .name = "owner", .turn = owner_turn };
    struct outside_options options = { .owner = &owner, .proxy = "" };
    char error[256], *line = NULL;
    size_t room = 0;
    bool stopped = false;
    env = options.env = env_real();
    signal_start(); /* SIGPIPE is ignored, as in the server */
    options_read(&options, count, words);
    wait = wait_create();
    outside = outside_create(&options);
    ASSERT(env->actor_start(env, &owner) == 0);
    ASSERT(outside_start(outside, error, sizeof(error)) == WEIR_OK);
    for (ssize_t len; (len = getline(&line, &room, stdin)) > 0;) {
        line[len - 1] = 0;
        if ((stopped = strcmp(line, "stop") == 0)) break;
        command(line);
    }
    if (stopped) {
        /* the owner's duties pass to this thread */
        env->actor_stop(env, &owner);
        outside_stop(outside);
        owner_turn(NULL);
    } else {
        wait_lock(wait);
        while (pending) wait_sleep(wait, 0);
        wait_unlock(wait);
        env->actor_stop(env, &owner);
    }
    ASSERT(pending == 0 && outside_stats(outside).calls == 0);
    outside_destroy(outside);
    wait_destroy(wait);
    free(line);
    return 0;
}
