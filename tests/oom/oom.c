/*
 * oom.c - the n-th allocation fails, for every n of every scenario (T12).
 *
 *   oom [--most N] [--scenario NAME] [--at N]     at most N of a scenario's allocations, evenly; 0: each
 *
 * The engine and both doors run in the simulated world. The linker puts our malloc in front of the engine's and we give
 * jansson one, so nothing of this is in the engine. A scenario is prepared once; then a child is forked for each n, in which
 * the n-th allocation of the scenario is refused. What may follow (src/base/README.md): an error answer, or the end of
 * the process with exit code 70 and one line. The end is taken as a power cut there and then, with the disk in one of
 * four states; in the same child the engine is opened again over that disk and must hold everything that was answered, and
 * nothing by halves:
 *
 *   - a counter stands at what was last answered, or one above when a request was under way
 *   - what moves between two boxes keeps its sum; what was sent arrives, once; a repeated id has its effect once
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fuzz/doors.h"
#include "core/app.h"
#include "os/sim.h"

#define BOXES 4u
#define START 1000
#define BIG_BYTES (1000u * 1000u)

/* ---- the application ---- */

struct box {
    int64_t n, held, sent, heard, late;
    struct weir_str note;
};
static const struct weir_field box_fields[] = {
    WEIR_FIELD(struct box, n, WEIR_INT), WEIR_FIELD(struct box, held, WEIR_INT, .start = WEIR_BOUND(START), .min = WEIR_BOUND(0)),
    WEIR_FIELD(struct box, sent, WEIR_INT), WEIR_FIELD(struct box, heard, WEIR_INT), WEIR_FIELD(struct box, late, WEIR_INT),
    WEIR_FIELD(struct box, note, WEIR_TEXT), WEIR_END
};
static const struct weir_map box_maps[] = { { "log", { WEIR_INT }, WEIR_SCALAR(WEIR_INT) }, WEIR_END };
struct move {
    struct weir_ref to;
    int64_t amount;
};
static const struct weir_field move_fields[] = { WEIR_FIELD(struct move, to, WEIR_REF, .type = "box"), WEIR_FIELD(struct move, amount, WEIR_INT), WEIR_END };
static struct weir_verb take_verb = { "box", "take", WEIR_SCALAR(WEIR_INT), WEIR_NOTHING };
static struct weir_verb hear_verb = { "box", "hear", WEIR_SCALAR(WEIR_INT), WEIR_NOTHING };

static enum weir_status box_bump(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    int64_t n, *item = weir_map_append(ctx, 0, &n);
    *item = *(int64_t *)result = ++self->n;
    return WEIR_OK;
}
static enum weir_status box_move(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct move *in = args;
    self->held -= in->amount;
    return weir_call(ctx, in->to, &take_verb, &in->amount, NULL);
}
static enum weir_status box_take(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct box *)row)->held += *(const int64_t *)args;
    return WEIR_OK;
}
static enum weir_status box_send(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    const struct move *in = args;
    self->sent += in->amount;
    *(int64_t *)result = ++self->n;
    weir_after(ctx, 5, "ring", &in->amount);
    return weir_send(ctx, in->to, &hear_verb, &in->amount);
}
static enum weir_status box_hear(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct box *)row)->heard += *(const int64_t *)args;
    return WEIR_OK;
}
static enum weir_status box_ring(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct box *)row)->late += *(const int64_t *)args;
    return WEIR_OK;
}
static enum weir_status box_write(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct box *self = row;
    self->note = *(const struct weir_str *)args;
    *(int64_t *)result = ++self->n;
    return WEIR_OK;
}
static enum weir_status box_refuse(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct box *)row)->n += 1000;
    return weir_fail(ctx, "refused", (struct weir_str){ "no", 2 });
}

static const struct weir_handler box_handlers[] = {
    { "bump", WEIR_ON, box_bump, WEIR_NOTHING, WEIR_SCALAR(WEIR_INT), "anyone" },
    { "move", WEIR_ON, box_move, WEIR_SHAPE(struct move, move_fields), WEIR_NOTHING, "anyone" },
    { "take", WEIR_ON, box_take, WEIR_SCALAR(WEIR_INT), WEIR_NOTHING, NULL },
    { "send", WEIR_ON, box_send, WEIR_SHAPE(struct move, move_fields), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "hear", WEIR_ON, box_hear, WEIR_SCALAR(WEIR_INT), WEIR_NOTHING, NULL },
    { "ring", WEIR_ON, box_ring, WEIR_SCALAR(WEIR_INT), WEIR_NOTHING, NULL },
    { "write", WEIR_ON, box_write, WEIR_SCALAR(WEIR_TEXT), WEIR_SCALAR(WEIR_INT), "anyone" },
    { "refuse", WEIR_ON, box_refuse, WEIR_NOTHING, WEIR_NOTHING, "anyone" },
    WEIR_END
};
static const struct weir_entity box_entity = { .name = "box", .row = WEIR_SHAPE(struct box, box_fields), .maps = box_maps, .handlers = box_handlers };

static enum weir_status boxes(struct weir_app *app)
{
    weir_use(app, &take_verb);
    weir_use(app, &hear_verb);
    return weir_add_entity(app, &box_entity);
}

/* ---- memory that fails ---- */

static bool counting;
static uint64_t allocations, fail_at;
static bool refused;

static bool refuse(void)
{
    if (!counting || ++allocations != fail_at) return false;
    refused = true;
    return true;
}

void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *ptr, size_t bytes);
int __real_posix_memalign(void **ptr, size_t align, size_t bytes);
void __real_free(void *ptr);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    return refuse() ? NULL : __real_calloc(count, bytes);
}
void *__wrap_realloc(void *ptr, size_t bytes);
void *__wrap_realloc(void *ptr, size_t bytes)
{
    return refuse() ? NULL : __real_realloc(ptr, bytes);
}
int __wrap_posix_memalign(void **ptr, size_t align, size_t bytes);
int __wrap_posix_memalign(void **ptr, size_t align, size_t bytes)
{
    return refuse() ? ENOMEM : __real_posix_memalign(ptr, align, bytes);
}
static void *library_alloc(size_t bytes)
{
    return refuse() ? NULL : __real_realloc(NULL, bytes ? bytes : 1);
}
static void library_free(void *ptr)
{
    free(ptr);
}
void json_set_alloc_funcs(void *(*alloc)(size_t), void (*release)(void *)); /* jansson's, whose header belongs to data */

/* ---- the world ---- */

static struct sim *sim;
static uint64_t answered[BOXES], asked[BOXES]; /* counters: as answered; with what was under way */
static struct buf answer;
static const char *scenario_name;
static char errors_path[64];
static uint64_t *counted_in_child; /* shared with children */

/* What the simulated disk needs for itself is not the engine's, and it must not be left in the middle of a change. */
static struct env inner;

#define OUTSIDE(type, name, parameters, arguments)                                                                     \
    static type outside_##name parameters                                                                             \
    {                                                                                                                  \
        bool was = counting;                                                                                           \
        counting = false;                                                                                              \
        type result = inner.name arguments;                                                                            \
        counting = was;                                                                                                \
        return result;                                                                                                 \
    }
OUTSIDE(int, dir_open, (struct env * env, const char *path, bool create), (env, path, create))
OUTSIDE(int, dir_sync, (struct env * env, int dir), (env, dir))
OUTSIDE(int, dir_lock, (struct env * env, int dir), (env, dir))
OUTSIDE(int, open, (struct env * env, int dir, const char *name, int flags), (env, dir, name, flags))
OUTSIDE(int64_t, read, (struct env * env, int fd, void *bytes, size_t len, uint64_t at), (env, fd, bytes, len, at))
OUTSIDE(int64_t, write, (struct env * env, int fd, const void *bytes, size_t len, uint64_t at), (env, fd, bytes, len, at))
OUTSIDE(int, sync, (struct env * env, int fd), (env, fd))
OUTSIDE(int, truncate, (struct env * env, int fd, uint64_t len), (env, fd, len))
OUTSIDE(int, rename, (struct env * env, int dir, const char *from, const char *to), (env, dir, from, to))
OUTSIDE(int, unlink, (struct env * env, int dir, const char *name), (env, dir, name))

static void env_wrap(struct env *env)
{
    inner = *env;
    env->dir_open = outside_dir_open;
    env->dir_sync = outside_dir_sync;
    env->dir_lock = outside_dir_lock;
    env->open = outside_open;
    env->read = outside_read;
    env->write = outside_write;
    env->sync = outside_sync;
    env->truncate = outside_truncate;
    env->rename = outside_rename;
    env->unlink = outside_unlink;
}

static bool world_open(char error[512])
{
    struct engine_options options = { .shards = 3, .threads = 2, .store = { 4096, 16384, 0 } };
    options.limits.checkpoint_bytes_min = 24000;
    options.limits.row_bytes_max = 1u << 20;
    options.limits.request_deadline_ms = options.limits.queue_wait_max_ms = 60000;
    return doors_open(sim, boxes, options, (struct net_limits){ 0 }, error);
}

static void must_open(void)
{
    char error[512] = "";
    FUZZ_CHECK(world_open(error), "%s", error);
}

static void talk(enum door door, struct weir_str bytes)
{
    doors_talk(door, bytes, (struct pieces){ NULL, 0 }, &answer);
}

/* The numbers that were answered so far, or are being answered when the end comes: RESP integers or JSON bodies. */
static void read_answers(unsigned box)
{
    for (size_t i = 0; i + 3 < answer.len; i++) {
        bool resp = answer.ptr[i] == ':' && (i == 0 || answer.ptr[i - 1] == '\n');
        bool http = memcmp(answer.ptr + i, "\r\n\r\n", 4) == 0;
        if (!resp && !http) continue;
        const char *at = answer.ptr + i + (resp ? 1 : 4);
        size_t left = (size_t)(answer.ptr + answer.len - at);
        char number[24] = { 0 };
        memcpy(number, at, left < 20 ? left : 20);
        uint64_t n = strtoull(number, NULL, 10);
        if (strchr(number, '\n') && n > answered[box]) answered[box] = n;
    }
}

static unsigned under_way; /* the box of the request that runs */

/* `count` requests, each of which raises the counter of the box by one. */
static void counted(enum door door, unsigned box, unsigned count, struct weir_str bytes)
{
    under_way = box;
    asked[box] = answered[box] + count;
    talk(door, bytes);
    read_answers(box);
}

static int64_t member(const char *name)
{
    char text[32];
    snprintf(text, sizeof text, "%s\r\n:", name);
    buf_add_byte(&answer, 0);
    const char *at = strstr(answer.ptr, text);
    answer.len--;
    FUZZ_CHECK(at != NULL, "no %s in %.*s", name, STR_ARG(buf_str(&answer)));
    return strtoll(at + strlen(text), NULL, 10);
}

/* What must hold after the restart. */
static void judge(void)
{
    int64_t held = 0, sent = 0, heard = 0, late = 0;
    char command[64];
    doors_wait(UINT64_C(100000000)); /* messages and timers */
    for (unsigned i = 0; i < BOXES; i++) {
        int len = snprintf(command, sizeof command, "HELLO 3\r\nGETROW box b%u\r\n", i);
        talk(DOOR_RESP, (struct weir_str){ command, (size_t)len });
        buf_add_byte(&answer, 0);
        bool none = strstr(answer.ptr, "_\r\n") != NULL;
        answer.len--;
        if (none) {
            FUZZ_CHECK(answered[i] == 0, "box %u is gone, and %llu was answered", i, (unsigned long long)answered[i]);
            held += START;
            continue;
        }
        int64_t n = member("n");
        FUZZ_CHECK(n >= (int64_t)answered[i] && n <= (int64_t)asked[i], "box %u stands at %lld, answered was %llu, asked for %llu", i, (long long)n,
                   (unsigned long long)answered[i], (unsigned long long)asked[i]);
        held += member("held");
        sent += member("sent");
        heard += member("heard");
        late += member("late");
    }
    FUZZ_CHECK(held == BOXES * START, "moved by halves: %lld", (long long)held);
    FUZZ_CHECK(sent == heard && sent == late, "sent %lld, heard %lld, rung %lld", (long long)sent, (long long)heard, (long long)late);
    /* and it goes on */
    uint64_t n = asked[0];
    talk(DOOR_RESP, STR("CALL box b0 bump\r\n"));
    FUZZ_CHECK(answer.len > 0 && answer.ptr[0] == ':', "%.*s", STR_ARG(buf_str(&answer)));
    FUZZ_CHECK(strtoull(answer.ptr + 1, NULL, 10) <= n + 1);
    asked[0]++;
    read_answers(0);
}

static void *again(void *arg)
{
    char error[512] = "";
    sim_crash(sim, (enum sim_crash_mode)(fail_at % 4));
    buf_free(&answer);
    FUZZ_CHECK(world_open(error), "the restart: %s", error);
    judge();
    return NULL;
}

static void one_line_was_said(void)
{
    char text[1024] = { 0 };
    FILE *file = fopen(errors_path, "r");
    size_t len = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file) fclose(file);
    const char *end = strchr(text, '\n');
    FUZZ_CHECK(len > 0 && end == text + len - 1 && strstr(text, "out of memory"), "said: %s", text);
}

/* The process would be gone now. What it left is looked at from a thread with a stack of its own: the engine may have died
 * on a handler's. */
void __wrap__Exit(int code) __attribute__((noreturn));
void __real__Exit(int code) __attribute__((noreturn));
void __wrap__Exit(int code)
{
    pthread_t thread;
    counting = false;
    FUZZ_CHECK(code == 70 && refused, "exit code %d", code);
    one_line_was_said();
    read_answers(under_way);
    FUZZ_CHECK(pthread_create(&thread, NULL, again, NULL) == 0);
    pthread_join(thread, NULL);
    __real__Exit(0);
}

/* ---- scenarios: what is prepared, and what runs while memory fails ---- */

static void bump_many(unsigned box, unsigned count)
{
    struct buf bytes = { 0 };
    for (unsigned i = 0; i < count; i++) buf_printf(&bytes, "CALL box b%u bump\r\n", box);
    counted(DOOR_RESP, box, count, buf_str(&bytes));
    buf_free(&bytes);
}

static void nothing(void)
{
}
static void ready(void)
{
    must_open();
    for (unsigned i = 0; i < BOXES; i++) bump_many(i, 3);
}
static void stopped(void)
{
    ready();
    doors_close();
}
static void big_stopped(void)
{
    ready();
    for (unsigned i = 0; i < 12; i++) bump_many(i % BOXES, 40);
    doors_close();
}
static void cut(void)
{
    ready();
    sim_crash(sim, SIM_KEEP_RANDOM);
}
static void big_cut(void)
{
    ready();
    for (unsigned i = 0; i < 12; i++) bump_many(i % BOXES, 40);
    sim_crash(sim, SIM_KEEP_PREFIX_TORN);
}
static void start(void)
{
    char error[512] = "";
    FUZZ_CHECK(world_open(error), "%s", error);
}
static void one_bump(void)
{
    bump_many(1, 1);
}
static void pipeline(void)
{
    bump_many(2, 60);
}
static void move(void)
{
    talk(DOOR_RESP, STR("CALL box b0 move b1 7\r\nCALL box b1 move b2 7\r\nCALL box b2 move b3 7\r\nCALL box b3 move b0 7\r\n"));
}
static void move_refused(void)
{
    talk(DOOR_RESP, STR("CALL box b0 move b1 5000\r\nCALL box b1 refuse\r\n"));
}
static void message(void)
{
    counted(DOOR_RESP, 1, 1, STR("CALL box b1 send b2 5\r\n"));
    doors_wait(20000000);
}
static void once(void)
{
    counted(DOOR_RESP, 3, 1, STR("CALL.ONCE id-1 box b3 bump\r\nCALL.ONCE id-1 box b3 bump\r\n"));
}
static void once_done(void)
{
    ready();
    once();
}
static void once_again(void)
{
    counted(DOOR_RESP, 3, 0, STR("CALL.ONCE id-1 box b3 bump\r\n"));
}
static void read_rows(void)
{
    talk(DOOR_HTTP, STR("GET /box/b0 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /box/b1/log?from=1&limit=3 HTTP/1.1\r\nHost: localhost\r\n\r\n"
                        "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
}
static void http_bump(void)
{
    counted(DOOR_HTTP, 0, 1, STR("POST /box/b0/bump HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\r\n[]"));
}
static void http_wrong(void)
{
    talk(DOOR_HTTP, STR("POST /box/b0/move HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[\"b1\",{}]GET /x HTTP/1.1\r\nHost: evil\r\n\r\n"));
}
static void http_big(void)
{
    struct buf bytes = { 0 };
    buf_printf(&bytes, "POST /box/b0/write HTTP/1.1\r\nHost: localhost\r\nContent-Length: %u\r\n\r\n[\"", BIG_BYTES + 4);
    for (unsigned i = 0; i < BIG_BYTES; i++) buf_add_byte(&bytes, 'a' + i % 26);
    buf_add_text(&bytes, "\"]");
    counted(DOOR_HTTP, 0, 1, buf_str(&bytes));
    buf_free(&bytes);
}
static void http_big_list(void)
{
    struct buf bytes = { 0 };
    buf_add_text(&bytes, "POST /box/b0/write HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n[");
    for (unsigned i = 1; i < 10000; i++) buf_add_text(&bytes, "1,");
    buf_add_text(&bytes, "]\r\n0\r\n\r\n");
    talk(DOOR_HTTP, buf_str(&bytes));
    buf_free(&bytes);
}
static void resp_big(void)
{
    struct buf bytes = { 0 };
    buf_printf(&bytes, "*5\r\n$4\r\nCALL\r\n$3\r\nbox\r\n$2\r\nb1\r\n$5\r\nwrite\r\n$%u\r\n", BIG_BYTES);
    for (unsigned i = 0; i < BIG_BYTES; i++) buf_add_byte(&bytes, 'a' + i % 26);
    buf_add_text(&bytes, "\r\n");
    counted(DOOR_RESP, 1, 1, buf_str(&bytes));
    buf_free(&bytes);
}
static void checkpoint(void)
{
    for (unsigned i = 0; i < 12; i++) bump_many(i % BOXES, 40);
    doors_wait(50000000);
}
static void checkpointed(void)
{
    ready();
    checkpoint();
}
static void stop(void)
{
    doors_close();
}

static const struct scenario {
    const char *name;
    void (*prepare)(void);
    void (*run)(void);
    bool stops; /* at its end no engine runs */
} scenarios[] = {
    { "start_new", nothing, start, false }, { "start_after_stop", stopped, start, false },
    { "start_after_stop_with_checkpoints", big_stopped, start, false }, { "recover", cut, start, false },
    { "recover_with_checkpoints", big_cut, start, false }, { "accept_and_execute", ready, one_bump, false },
    { "pipeline", ready, pipeline, false }, { "over_shards", ready, move, false }, { "refused", ready, move_refused, false },
    { "message_and_timer", ready, message, false }, { "once", ready, once, false }, { "once_again", once_done, once_again, false },
    { "read", ready, read_rows, false }, { "http", ready, http_bump, false }, { "http_wrong", ready, http_wrong, false },
    { "http_1mb", ready, http_big, false }, { "http_list", ready, http_big_list, false }, { "resp_1mb", ready, resp_big, false },
    { "checkpoint", ready, checkpoint, false }, { "stop", ready, stop, true }, { "stop_after_checkpoints", checkpointed, stop, true },
};

/* In a child: 0 good, 3 the scenario has fewer allocations. */
static void child(const struct scenario *s, uint64_t n)
{
    FUZZ_CHECK(freopen(errors_path, "w", stderr) != NULL);
    setvbuf(stderr, NULL, _IONBF, 0);
    fail_at = n;
    allocations = 0;
    counting = true;
    s->run();
    counting = false;
    *counted_in_child = allocations;
    if (!refused) __real__Exit(3);
    /* an error answer, or nothing at all: the same must hold without a restart, and after one */
    if (!s->stops) judge();
    (void)again(NULL);
    __real__Exit(0);
}

static bool failed_at(const struct scenario *s, uint64_t n, bool *ended)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) child(s, n);
    FUZZ_CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    *ended = WIFEXITED(status) && WEXITSTATUS(status) == 3;
    if (*ended || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) return false;
    char text[2000] = { 0 };
    FILE *file = fopen(errors_path, "r");
    if (file && fread(text, 1, sizeof text - 1, file) > 0) printf("%s", text);
    if (file) fclose(file);
    printf("%s: allocation %llu: status %x; again: oom --scenario %s --at %llu\n", s->name, (unsigned long long)n, (unsigned)status, s->name,
           (unsigned long long)n);
    return true;
}

/* Each scenario in a process of its own: prepared once, forked from for each n. */
static int scenario_run(const struct scenario *s, uint64_t most, uint64_t at)
{
    fflush(NULL);
    pid_t pid = fork();
    int status;
    if (pid != 0) {
        FUZZ_CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
    }
    scenario_name = s->name;
    *counted_in_child = 0;
    snprintf(errors_path, sizeof errors_path, "/tmp/weir-oom-%d", (int)getpid());
    sim = sim_create(7);
    env_wrap(sim_env(sim));
    s->prepare();
    bool failed = false, ended = false;
    uint64_t runs = 0;
    failed = failed_at(s, UINT64_MAX, &ended); /* nothing fails: counts */
    uint64_t count = *counted_in_child, step = most && count > most ? (count + most - 1) / most : 1;
    for (uint64_t n = at ? at : 1; !failed && n <= count; n += step) {
        failed = failed_at(s, n, &ended);
        runs++;
        if (at || ended) break;
    }
    unlink(errors_path);
    bool vacuous = !failed && runs == 0;
    printf("%s %-34s each %llu. of %llu allocations failed: %llu runs\n", failed || vacuous ? "FAIL" : "ok  ", s->name, (unsigned long long)step,
           (unsigned long long)count, (unsigned long long)runs);
    fflush(stdout);
    __real__Exit(failed || vacuous);
}

__attribute__((visibility("default"))) const char *__asan_default_options(void); // the sanitizer looks it up from its own library
const char *__asan_default_options(void)
{
    return "detect_leaks=0"; /* a process that ends in the middle of a call frees nothing */
}

int main(int argc, char **argv)
{
    uint64_t most = 100, at = 0;
    const char *only = NULL;
    unsigned passed = 0, failed = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--most") == 0) most = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--scenario") == 0) only = argv[i + 1];
        else if (strcmp(argv[i], "--at") == 0) at = strtoull(argv[i + 1], NULL, 10);
    }
    counted_in_child = mmap(NULL, sizeof *counted_in_child, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FUZZ_CHECK(counted_in_child != MAP_FAILED);
    json_set_alloc_funcs(library_alloc, library_free);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        if (only && strcmp(only, scenarios[i].name) != 0) continue;
        if (scenario_run(&scenarios[i], most, at) == 0) passed++;
        else failed++;
    }
    printf("%u passed, %u failed, 0 skipped\n", passed, failed);
    return failed || passed == 0;
}
