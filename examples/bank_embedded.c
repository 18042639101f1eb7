/*
 * bank_embedded.c - the same bank inside a program of one's own: no server, no sockets, durable all the same.
 *
 *     make
 *     gcc -std=gnu17 -Iinclude examples/bank_embedded.c -Lbuild -lweir -Wl,-rpath,$PWD/build -pthread -o bank_embedded
 *     ./bank_embedded bank.data                   a little workload; prints the balances
 *     ./bank_embedded bank.data serve 4           reads requests from stdin, on four threads
 *
 * After `make install`: gcc -std=gnu17 examples/bank_embedded.c $(pkg-config --cflags --libs weir) -pthread
 *
 * `serve` answers each line with one line, which is out only once it is durable:
 *     TAG deposit KEY AMOUNT [ID]       TAG ok BALANCE
 *     TAG withdraw KEY AMOUNT [ID]      TAG error CODE DETAIL
 *     TAG transfer KEY TO AMOUNT [ID]
 *     TAG balance KEY
 * ID is an idempotency key: a repeat gets the first answer and changes nothing. TAG is any word. Lines given to
 * several threads run at the same time, so answers come in any order.
 * SPDX-License-Identifier: MIT
 */
#include "bank_module.c"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 64
#define LINE_BYTES_MAX 4096

static const struct weir_verb withdraw = { "account", "withdraw", AMOUNT, BALANCE, NULL };
static const struct weir_verb transfer = { "account", "transfer", TRANSFER, BALANCE, NULL };
static const struct weir_verb balance = { "account", "balance", WEIR_NOTHING, BALANCE, NULL };

static struct weir_engine *engine;
static pthread_mutex_t input = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

static struct weir_str text(const char *word)
{
    return (struct weir_str){ word ? word : "", word ? strlen(word) : 0 };
}

/* One request; the balance it answers, or false with the error. */
static bool ask(const char *key, const struct weir_verb *verb, const char *id, const void *args,
                int64_t *answer, struct weir_error *error)
{
    return weir_request(engine, (struct weir_ref){ text(key) }, verb, text(id), args, answer,
                        error) == WEIR_OK;
}

static bool ask_words(char *const *word, int count, int64_t *answer, struct weir_error *error)
{
    const char *name = word[1], *key = word[2];
    bool moves = strcmp(name, "transfer") == 0;
    int id_at = moves ? 5 : 4;
    const char *id = count > id_at ? word[id_at] : "";
    if (strcmp(name, "balance") == 0) return ask(key, &balance, "", NULL, answer, error);
    if (count < id_at) goto usage;
    struct amount amount = { strtoll(word[id_at - 1], NULL, 10) };
    if (moves) {
        struct transfer args = { { text(word[3]) }, amount.amount };
        return ask(key, &transfer, id, &args, answer, error);
    }
    if (strcmp(name, "deposit") == 0) return ask(key, &deposit, id, &amount, answer, error);
    if (strcmp(name, "withdraw") == 0) return ask(key, &withdraw, id, &amount, answer, error);
usage:
    snprintf(error->code, sizeof error->code, "usage");
    snprintf(error->detail, sizeof error->detail, "\"see the head of bank_embedded.c\"");
    return false;
}

static void serve_line(char *line)
{
    char *word[6] = { NULL }, *rest = NULL;
    int count = 0;
    for (char *at = strtok_r(line, " \t\n", &rest); at && count < 6;
         at = strtok_r(NULL, " \t\n", &rest))
        word[count++] = at;
    if (count == 0) return;
    struct weir_error error = { .status = WEIR_ARG };
    int64_t answer = 0;
    bool good = false;
    if (count >= 3) good = ask_words(word, count, &answer, &error);
    pthread_mutex_lock(&output);
    if (good) printf("%s ok %" PRId64 "\n", word[0], answer);
    else printf("%s error %s %s\n", word[0], error.code[0] ? error.code : "usage", error.detail);
    fflush(stdout);
    pthread_mutex_unlock(&output);
}

static void *serve(void *unused)
{
    char line[LINE_BYTES_MAX];
    for (;;) {
        pthread_mutex_lock(&input);
        bool more = fgets(line, sizeof line, stdin) != NULL;
        pthread_mutex_unlock(&input);
        if (!more) return unused;
        serve_line(line);
    }
}

static int serve_stdin(int threads)
{
    pthread_t thread[THREADS_MAX];
    if (threads < 1) threads = 1;
    if (threads > THREADS_MAX) threads = THREADS_MAX;
    printf("ready\n");
    fflush(stdout);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, serve, NULL) != 0) return 1;
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    return 0;
}

static int workload(void)
{
    static const char *const names[] = { "ann", "bob", "cid", "dora" };
    struct weir_error error;
    int64_t answer;
    for (int i = 0; i < 4; i++) {
        struct amount amount = { 100 };
        if (!ask(names[i], &deposit, "", &amount, &answer, &error)) goto failed;
    }
    for (int i = 0; i < 100; i++) {
        struct transfer args = { { text(names[(i + 1 + i / 4 % 3) % 4]) }, 1 + i % 7 };
        if (!ask(names[i % 4], &transfer, "", &args, &answer, &error) && error.status != WEIR_CHECK)
            goto failed;
    }
    int64_t total = 0;
    for (int i = 0; i < 4; i++) {
        if (!ask(names[i], &balance, "", NULL, &answer, &error)) goto failed;
        printf("%-5s %6" PRId64 "\n", names[i], answer);
        total += answer;
    }
    printf("total %6" PRId64 "\n", total);
    /* More than there is: refused, and nothing has changed. */
    struct amount too_much = { total + 1 };
    if (ask("ann", &withdraw, "", &too_much, &answer, &error)) return 1;
    printf("ann may not withdraw %" PRId64 ": %s\n", too_much.amount, error.code);
    return total % 400 == 0 ? 0 : 1;
failed:
    fprintf(stderr, "bank_embedded: %s %s\n", error.code, error.detail);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bank_embedded DATA [serve THREADS]\n");
        return 64;
    }
    struct weir_options options = WEIR_OPTIONS;
    options.data = argv[1];
    const char *shards = getenv("WEIR_SHARDS"), *threads = getenv("WEIR_THREADS");
    if (shards) options.shards = (uint32_t)atoi(shards);
    if (threads) options.threads = (uint32_t)atoi(threads);
    struct weir_app *app;
    struct weir_error error;
    if (weir_open(&options, &app, &error) != WEIR_OK || weir_module(app) != WEIR_OK ||
        weir_start(app, &engine, &error) != WEIR_OK) {
        fprintf(stderr, "bank_embedded: %s %s\n", error.code, error.detail);
        return error.status == WEIR_LOCKED ? 73 : error.status == WEIR_CORRUPT ? 65 : 1;
    }
    bool serves = argc > 2 && strcmp(argv[2], "serve") == 0;
    int code = serves ? serve_stdin(argc > 3 ? atoi(argv[3]) : 1) : workload();
    weir_close(engine);
    return code;
}
