/*
 * embedded.c - the history application inside a program: threads that ask libweir, and what they saw.
 *
 *   history_embedded DATA EVENTS [--txns N] [--seed N] [--threads N] [--shards N]
 *
 * It is killed at any moment and started again on the same folder, so what it saw must outlive it: EVENTS gets
 * `b NUMBER LINE` before a request, with the line as it would be if no answer came, and `t NUMBER LINE` after the
 * answer. At the start the program reads EVENTS: it goes on behind the last number and first asks again, with
 * the same id, what has an id and no answer. After the last transaction every entity is read once.
 *
 * Standard output: the number of transactions begun now and then, `final` before the last reads. Exit codes: 0
 * all done; 1 an answer that nobody should get.
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "work.h"

#define THREADS_MAX 64
#define PROGRESS 100
#define FENCES 16

struct move {
    struct weir_ref to;
    int64_t amount;
};
struct moved {
    int64_t a, b, c, d;
};
static const struct weir_field move_fields[] = {
    WEIR_FIELD(struct move, to, WEIR_REF, .type = "account"), WEIR_FIELD(struct move, amount, WEIR_INT), WEIR_END
};
static const struct weir_field moved_fields[] = {
    WEIR_FIELD(struct moved, a, WEIR_INT), WEIR_FIELD(struct moved, b, WEIR_INT),
    WEIR_FIELD(struct moved, c, WEIR_INT), WEIR_FIELD(struct moved, d, WEIR_INT), WEIR_END
};
static const struct weir_shape int_shape = WEIR_SCALAR(WEIR_INT);

/* What all threads share; the lock guards what is below it. */
struct load {
    struct weir_engine *engine;
    struct weir_verb verbs[ENTRY_COUNT]; /* by enum entry */
    uint64_t txns, seed;
    unsigned shards, thread_count;
    int events;
    pthread_mutex_t lock;
    uint64_t begun, finals;
    uint64_t *again; /* numbers to be asked again */
    size_t again_count;
    bool is_final;
};
struct client {
    struct load *load;
    unsigned number;
    pthread_t thread;
    struct text text;
};

/* ---- events ---- */

static void event_write(struct client *client, char kind, const struct work *work, const struct seen *seen,
                        const struct op_result *results)
{
    struct text *text = &client->text;
    text->len = 0;
    text_print(text, "%c %" PRIu64 " ", kind, work->number);
    work_line(text, work, seen, results);
    if (write(client->load->events, text->ptr, text->len) == (ssize_t)text->len) return;
    perror("history_embedded: events");
    exit(1);
}

/* One event of an earlier life. `open` has a flag for each number that waits for an answer. */
static void event_read(struct load *load, const char *line, uint8_t **open, size_t *open_capacity)
{
    uint64_t number = strtoull(line + 2, NULL, 10);
    const char *rest = strchr(line + 2, ' ');
    if (rest == NULL || rest[1] != 't') return;
    if (number >= load->begun) load->begun = number + 1;
    if (number >= *open_capacity) {
        size_t capacity = (number + 1) * 2;
        *open = realloc(*open, capacity);
        if (*open == NULL) abort();
        memset(*open + *open_capacity, 0, capacity - *open_capacity);
        *open_capacity = capacity;
    }
    (*open)[number] = line[0] == 'b' && strstr(rest, " id=") != NULL;
}

static void events_open(struct load *load, const char *path)
{
    char *line = NULL;
    size_t line_capacity = 0, open_capacity = 0;
    uint8_t *open_flags = NULL;
    off_t whole = 0;
    load->events = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    FILE *file = fopen(path, "r");
    if (load->events < 0 || file == NULL) {
        perror(path);
        exit(1);
    }
    for (ssize_t len; (len = getline(&line, &line_capacity, file)) > 0 && line[len - 1] == '\n'; whole += len)
        event_read(load, line, &open_flags, &open_capacity);
    fclose(file);
    /* The kill may have come in the middle of a line. */
    if (ftruncate(load->events, whole) != 0) perror(path);
    load->again = calloc(load->begun + 1, sizeof *load->again);
    if (load->again == NULL) abort();
    for (uint64_t i = 0; i < load->begun && i < open_capacity; i++)
        if (open_flags[i]) load->again[load->again_count++] = i;
    free(open_flags);
    free(line);
}

/* ---- requests ---- */

static enum weir_status ask(struct load *load, const struct work *work, struct op_result *results,
                            const struct op_result **seen, struct weir_error *error)
{
    const struct op *op = &work->ops[0];
    struct ops ops = { { (void *)(uintptr_t)work->ops, work->count } };
    struct move move = { .to = { op->to }, .amount = op->value };
    struct moved moved = { 0 };
    struct weir_list list = { 0 };
    struct weir_ref to = { work->entry == ENTRY_RUN || work->entry == ENTRY_LOOK ? (struct weir_str){ "", 0 } : op->key };
    struct weir_str id = { work->id, work->has_id ? strlen(work->id) : 0 };
    const struct weir_verb *verb = &load->verbs[work->entry];
    enum weir_status status = WEIR_OK;
    *seen = results;
    switch (work->entry) {
    case ENTRY_RUN:
    case ENTRY_LOOK:
        status = weir_request(load->engine, to, verb, id, &ops, &list, error);
        *seen = list.items;
        break;
    case ENTRY_TRANSFER:
    case ENTRY_AUDIT:
        status = weir_request(load->engine, to, verb, id, work->entry == ENTRY_TRANSFER ? &move : NULL, &moved, error);
        results[0] = (struct op_result){ .a = moved.a, .b = moved.b, .c = moved.c, .d = moved.d };
        break;
    case ENTRY_TALLY:
    case ENTRY_READ: status = weir_request(load->engine, to, verb, id, NULL, &results[0].items, error); break;
    case ENTRY_GET: status = weir_request(load->engine, to, verb, id, NULL, &results[0].a, error); break;
    }
    return status;
}

/* True when it is to be asked again. */
static bool work_do(struct client *client, const struct work *work)
{
    struct op_result results[WORK_OPS_MAX] = { 0 };
    const struct op_result *answer;
    struct weir_error error;
    struct seen seen = { client->number, client->load->shards, work_now(), 0, "unknown", NULL };
    seen.end = seen.start;
    event_write(client, 'b', work, &seen, NULL);
    enum weir_status status = ask(client->load, work, results, &answer, &error);
    seen.end = work_now();
    if (status == WEIR_OK) {
        const char *wrong = work_judge(work, answer);
        if (wrong != NULL) {
            fprintf(stderr, "transaction %" PRIu64 ": %s\n", work->number, wrong);
            exit(1);
        }
        seen.outcome = "ok";
        event_write(client, 't', work, &seen, answer);
        return false;
    }
    if (status == WEIR_UNKNOWN) {
        event_write(client, 't', work, &seen, NULL);
        return work->has_id;
    }
    if (work->is_final || strcmp(error.code, "selfcheck") == 0 || (status != WEIR_FAILED && status != WEIR_CHECK && status != WEIR_TIMEOUT &&
                           status != WEIR_OVERLOADED)) {
        fprintf(stderr, "transaction %" PRIu64 " was answered: %s %s\n", work->number, error.code, error.detail);
        exit(1);
    }
    seen.outcome = "fail";
    seen.code = error.code;
    event_write(client, 't', work, &seen, NULL);
    return status == WEIR_OVERLOADED && work->has_id;
}

static bool work_take(struct load *load, struct work *work)
{
    bool found = true;
    pthread_mutex_lock(&load->lock);
    if (load->is_final) {
        found = work_make_final(work, load->begun, load->finals++);
    } else if (load->again_count > 0) {
        work_make(work, load->seed, load->again[--load->again_count]);
    } else if (load->begun < load->txns) {
        work_make(work, load->seed, load->begun++);
        if (load->begun % PROGRESS == 0) printf("%" PRIu64 "\n", load->begun);
    } else {
        found = false;
    }
    pthread_mutex_unlock(&load->lock);
    return found;
}

static void *client_run(void *self)
{
    struct client *client = self;
    struct work work;
    while (work_take(client->load, &work))
        while (work_do(client, &work)) continue;
    return NULL;
}

static void clients_run(struct load *load)
{
    struct client clients[THREADS_MAX] = { 0 };
    for (unsigned i = 0; i < load->thread_count; i++) {
        clients[i].load = load;
        clients[i].number = i;
        if (pthread_create(&clients[i].thread, NULL, client_run, &clients[i]) != 0) abort();
    }
    for (unsigned i = 0; i < load->thread_count; i++) {
        pthread_join(clients[i].thread, NULL);
        free(clients[i].text.ptr);
    }
}

/* ---- the last timers ---- */

/*
 * A program has no INFO. A timer on each of some lists, due later than any that the load has set, must have fired;
 * messages go out at once and are older still.
 */
static void effects_wait(struct load *load)
{
    struct later {
        int64_t delay, value;
    };
    static const struct weir_field fields[] = { WEIR_FIELD(struct later, delay, WEIR_INT),
                                                WEIR_FIELD(struct later, value, WEIR_INT), WEIR_END };
    const struct weir_verb later = { "list", "later", WEIR_SHAPE(struct later, fields), WEIR_NOTHING, NULL };
    struct later alarm = { 600, 1 };
    struct weir_error error;
    struct weir_list items;
    uint64_t deadline = work_now() + UINT64_C(60000000000);
    char name[24];
    for (int i = 0; i < FENCES; i++) {
        int len = snprintf(name, sizeof name, "fence%d", i);
        struct weir_ref to = { { name, (size_t)len } };
        if (weir_request(load->engine, to, &later, (struct weir_str){ "", 0 }, &alarm, NULL, &error) != WEIR_OK) abort();
    }
    for (int i = 0; i < FENCES;) {
        int len = snprintf(name, sizeof name, "fence%d", i);
        struct weir_ref to = { { name, (size_t)len } };
        items.count = 0;
        if (weir_request(load->engine, to, &load->verbs[ENTRY_READ], (struct weir_str){ "", 0 }, NULL, &items, &error) !=
            WEIR_OK)
            abort();
        i += items.count > 0;
        if (work_now() < deadline) continue;
        fprintf(stderr, "a timer did not fire in time\n");
        exit(1);
    }
}

/* ---- start ---- */

static void verbs_make(struct load *load)
{
    static const struct weir_shape nothing = WEIR_NOTHING;
    static const struct weir_shape whole = WEIR_SCALAR(WEIR_INT);
    static const struct weir_shape list = WEIR_SCALAR(WEIR_LIST, .shape = &int_shape, .max = WEIR_BOUND(100000));
    static const struct weir_shape move = WEIR_SHAPE(struct move, move_fields);
    static const struct weir_shape moved = WEIR_SHAPE(struct moved, moved_fields);
    load->verbs[ENTRY_RUN] = (struct weir_verb){ "work", "run", history_ops_shape, history_results_shape, NULL };
    load->verbs[ENTRY_TRANSFER] = (struct weir_verb){ "account", "transfer", move, moved, NULL };
    load->verbs[ENTRY_AUDIT] = (struct weir_verb){ "account", "audit", nothing, moved, NULL };
    load->verbs[ENTRY_READ] = (struct weir_verb){ "list", "read", nothing, list, NULL };
    load->verbs[ENTRY_GET] = (struct weir_verb){ "reg", "get", nothing, whole, NULL };
    load->verbs[ENTRY_TALLY] = (struct weir_verb){ "tally", "read", nothing, list, NULL };
    load->verbs[ENTRY_LOOK] = (struct weir_verb){ "work", "look", history_ops_shape, history_results_shape, NULL };
}

static void engine_begin(struct load *load, const char *data)
{
    struct weir_options options = WEIR_OPTIONS;
    struct weir_app *app;
    struct weir_error error;
    options.data = data;
    options.shards = options.threads = load->shards;
    if (weir_open(&options, &app, &error) == WEIR_OK && history_app(app) == WEIR_OK &&
        weir_start(app, &load->engine, &error) == WEIR_OK)
        return;
    fprintf(stderr, "history_embedded: %s %s\n", error.code, error.detail);
    exit(1);
}

int main(int argc, char **argv)
{
    static struct load load = { .txns = 10000, .seed = 1, .shards = 2, .thread_count = 16,
                                .lock = PTHREAD_MUTEX_INITIALIZER };
    for (int i = 3; i + 1 < argc; i += 2) {
        uint64_t n = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--txns") == 0) load.txns = n;
        else if (strcmp(argv[i], "--seed") == 0) load.seed = n;
        else if (strcmp(argv[i], "--threads") == 0) load.thread_count = (unsigned)n;
        else if (strcmp(argv[i], "--shards") == 0) load.shards = (unsigned)n;
        else argc = 0;
    }
    if (argc < 3 || load.thread_count - 1 >= THREADS_MAX || load.shards - 1 >= 64) {
        fprintf(stderr, "usage: history_embedded DATA EVENTS [--txns N] [--seed N] [--threads N] [--shards N]\n");
        return 64;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    events_open(&load, argv[2]);
    verbs_make(&load);
    engine_begin(&load, argv[1]);
    printf("started\n");
    clients_run(&load);
    effects_wait(&load);
    printf("final\n");
    load.is_final = true;
    clients_run(&load);
    weir_close(load.engine);
    free(load.again);
    return 0;
}
