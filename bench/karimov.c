/*
 * karimov.c - how many events per second do windows and joins sustain? In process, without doors.
 *
 *   build/bench/karimov [--query sum|join] [--shards N] [--rate R] [--seconds S] [--packs N] [--users N] [--app FILE] [--data DIR]
 *
 * The method of Karimov et al., ICDE 2018: events are due at a constant rate and carry the time they were due at; a rate is
 * sustained when the queue before the source does not grow and event-time latency, from the end of a window to when its
 * result is read, does not either. Without --rate the highest sustained one is searched downward: green (the queue below
 * 0.2 s), yellow (at times more, and it comes down again), red (more than 2 s, or growing).
 * Results are checked: each price must be in two windows; each pair of purchase and advertisement in as many windows as both share.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/child.h"
#include "core/catalog.h"
#include "core/feed.h"
#include "func/lua.h"

#define BATCH 1000u
#define IN_FLIGHT_MAX 32u
#define SIZE_MS 8000
#define SLIDE_MS 4000
#define MARKS 100000u /* histogram of latencies, in ms */

struct options {
    const char *query, *app, *data;
    uint32_t shards, seconds, packs, users;
    double rate;
};

struct batch {
    struct request request;
    bool busy;
    uint32_t count;
};

/* One trial at one rate. The actor is its generator, its source queue and its sink. */
struct trial {
    struct options *options;
    struct env *env;
    struct engine *engine;
    struct port *port;
    struct actor actor;
    struct stream *purchases, *ads, *results;
    struct batch batches[IN_FLIGHT_MAX];
    struct feed_read read;
    double rate;
    uint64_t begin_ns, cpu_ns, random;
    int64_t begin_ms;
    _Atomic uint64_t sent, acked, found;
    _Atomic bool finishing, ended, failed;
    uint64_t end_after, queue_most, over_queue, looks;
    uint64_t latency[MARKS], early_sum, early_count, late_sum, late_count;
    int64_t total, wanted;
    uint32_t *pairs; /* of the join: purchases and advertisements by window, pack, user */
    uint64_t pair_cells;
};

static uint64_t draw(struct trial *t)
{
    t->random ^= t->random << 13; /* xorshift, Marsaglia 2003 */
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

static void *field_at(const struct shape *shape, const char *name, void *event)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        if (shape->fields[i].name.len == strlen(name) &&
            memcmp(shape->fields[i].name.ptr, name, strlen(name)) == 0)
            return (char *)event + shape->fields[i].offset;
    }
    fprintf(stderr, "karimov: the application has no field %s\n", name);
    exit(1);
}

/* ---- what must come out ---- */

/* An event of that time lies in SIZE / SLIDE windows, known by their last slide. */
static void expect(struct trial *t, bool left, int64_t at, uint64_t pack, uint64_t user, int64_t price)
{
    if (t->pairs == NULL) {
        t->wanted += price * (SIZE_MS / SLIDE_MS);
        return;
    }
    for (int64_t k = 0; k < SIZE_MS / SLIDE_MS; k++) {
        uint64_t window = (uint64_t)(at / SLIDE_MS - t->begin_ms / SLIDE_MS + k);
        uint64_t cell = ((window * t->options->packs + pack) * t->options->users + user) * 2;
        if (cell + 1 >= t->pair_cells) continue;
        t->wanted += t->pairs[cell + left]; /* partners that came before */
        t->pairs[cell + !left]++;
    }
}

/* ---- generating ---- */

static void batch_fill(struct trial *t, struct batch *b, uint32_t count, bool left)
{
    struct stream *stream = left ? t->purchases : t->ads;
    const struct shape *shape = stream->event;
    struct request *r = &b->request;
    memset(r, 0, sizeof(*r));
    struct weir_list *list = arena_alloc(&r->arena, stream->batch->args->size + 8u);
    char *events = arena_alloc(&r->arena, (size_t)count * shape->size);
    uint64_t first = atomic_load(&t->sent);
    for (uint32_t i = 0; i < count; i++) {
        void *event = events + (size_t)i * shape->size;
        uint64_t pack = draw(t) % t->options->packs, user = draw(t) % t->options->users;
        int64_t at = t->begin_ms + (int64_t)((double)(first + i) / t->rate * 1000);
        int64_t price = (int64_t)(draw(t) % 100) + 1;
        struct weir_str *name = field_at(shape, "pack", event);
        *name = arena_printf(&r->arena, "pack-%" PRIu64, pack);
        *(int64_t *)field_at(shape, "user", event) = (int64_t)user;
        *(int64_t *)field_at(shape, "at", event) = at;
        if (left) *(int64_t *)field_at(shape, "price", event) = price;
        expect(t, left, at, pack, user, price);
    }
    *list = (struct weir_list){ events, count };
    r->handler = stream->batch;
    r->args = list;
    r->key = stream->name;
    r->deadline_ns = UINT64_MAX / 2;
    r->user = b;
    b->busy = true;
    b->count = count;
    atomic_fetch_add(&t->sent, count);
    port_submit(t->port, r, env_real()->mono_ns(env_real()));
}

static void end_submit(struct trial *t, struct batch *b, struct stream *stream)
{
    memset(&b->request, 0, sizeof(b->request));
    b->request.handler = stream->end;
    b->request.args = arena_alloc(&b->request.arena, 8);
    b->request.key = stream->name;
    b->request.user = b;
    b->busy = true;
    b->count = 0;
    port_submit(t->port, &b->request, env_real()->mono_ns(env_real()));
}

static void generate(struct trial *t, uint64_t now)
{
    double due = (double)(now - t->begin_ns) / 1e9 * t->rate;
    bool over = now - t->begin_ns >= t->options->seconds * UINT64_C(1000000000);
    uint64_t sent = atomic_load(&t->sent), acked = atomic_load(&t->acked);
    uint64_t queue = due > (double)acked ? (uint64_t)due - acked : 0;
    if (!over) {
        t->looks++;
        if (queue > t->queue_most) t->queue_most = queue;
        if ((double)queue > 0.2 * t->rate) t->over_queue++;
    }
    for (uint32_t i = 0; i < IN_FLIGHT_MAX && !over; i++) {
        uint64_t more = due > (double)sent ? (uint64_t)due - sent : 0;
        /* A small rate's batches are what is due in 10 ms. */
        uint64_t least = (uint64_t)(t->rate / 100) + 1;
        if (more < (least < BATCH ? least : BATCH)) break;
        if (t->batches[i].busy) continue;
        bool left = t->pairs == NULL || draw(t) % 2 == 0;
        batch_fill(t, &t->batches[i], more < BATCH ? (uint32_t)more : BATCH, left);
        sent = atomic_load(&t->sent);
    }
    uint32_t busy = 0;
    for (uint32_t i = 0; i < IN_FLIGHT_MAX; i++) busy += t->batches[i].busy;
    if (over && busy == 0 && !atomic_load(&t->finishing)) {
        t->end_after = now;
        end_submit(t, &t->batches[0], t->purchases);
        if (t->pairs != NULL) end_submit(t, &t->batches[1], t->ads);
        atomic_store(&t->finishing, true);
    }
    port_flush(t->port);
}

/* ---- results ---- */

static void result_take(struct trial *t, const struct feed_item *item, int64_t now_ms)
{
    struct arena arena = { 0 };
    void *event = arena_alloc(&arena, t->results->event->size + 8u);
    if (feed_unpack(t->results, item->value, &arena, event) != WEIR_OK) {
        atomic_store(&t->failed, true);
        return;
    }
    int64_t to = *(int64_t *)field_at(t->results->event, t->pairs ? "time" : "to", event);
    if (t->pairs == NULL) t->total += *(int64_t *)field_at(t->results->event, "total", event);
    else t->total++;
    atomic_fetch_add(&t->found, 1);
    arena_free(&arena);
    int64_t ms = now_ms - to;
    if (atomic_load(&t->finishing)) return; /* the end of the input closes windows before their time */
    t->latency[ms < 0 ? 0 : ms >= MARKS ? MARKS - 1 : ms]++;
    bool early = now_ms - t->begin_ms < (int64_t)t->options->seconds * 500;
    *(early ? &t->early_sum : &t->late_sum) += ms < 0 ? 0 : (uint64_t)ms;
    *(early ? &t->early_count : &t->late_count) += 1;
}

static void read_on(struct trial *t, uint64_t now)
{
    struct event_id next = t->read.next;
    t->read = (struct feed_read){ .op = FEED_READ, .stream = t->results, .from = next, .count = FEED_COUNT_MAX,
                                  .to = { UINT64_MAX, UINT64_MAX }, .bytes_max = 4u << 20, .until_ns = now + 100000000 };
    feed_submit(t->port, &t->read);
}

static uint64_t turn(void *self)
{
    struct trial *t = self;
    struct env *env = t->env;
    uint64_t now = env->mono_ns(env);
    if (t->begin_ns == 0) {
        t->begin_ns = now;
        t->begin_ms = env->wall_ms(env);
        read_on(t, now);
    }
    for (struct request *r; (r = port_next(t->port)) != NULL;) {
        struct batch *b = r->user;
        if (r->status != WEIR_OK) {
            fprintf(stderr, "karimov: %s: %.*s\n", weir_status_text(r->status), STR_ARG(r->text));
            atomic_store(&t->failed, true);
        }
        atomic_fetch_add(&t->acked, b->count);
        arena_free(&r->arena);
        b->busy = false;
    }
    if (feed_next(t->port) != NULL) {
        int64_t now_ms = env->wall_ms(env);
        for (const struct feed_item *item = t->read.items; item != NULL; item = item->next) result_take(t, item, now_ms);
        feed_read_free(&t->read);
        bool all = atomic_load(&t->finishing) && t->total >= t->wanted;
        bool late = t->end_after != 0 && now - t->end_after > UINT64_C(60000000000);
        if (all || late || atomic_load(&t->failed)) atomic_store(&t->ended, true);
        else read_on(t, now);
    }
    if (!atomic_load(&t->ended)) generate(t, now);
    t->cpu_ns = env->thread_cpu_ns(env);
    return atomic_load(&t->ended) ? ENV_NEVER : now + 1000000;
}

/* ---- a trial ---- */

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct stream *stream_named(struct catalog *catalog, const char *name)
{
    struct stream *stream = catalog_stream(catalog, (struct weir_str){ name, strlen(name) });
    if (stream == NULL) {
        fprintf(stderr, "karimov: the application has no stream %s\n", name);
        exit(1);
    }
    return stream;
}

static uint64_t latency_at(const struct trial *t, double share)
{
    uint64_t all = 0, seen = 0;
    for (uint32_t ms = 0; ms < MARKS; ms++) all += t->latency[ms];
    for (uint32_t ms = 0; ms < MARKS; ms++) {
        seen += t->latency[ms];
        if (all > 0 && (double)seen >= share * (double)all) return ms;
    }
    return 0;
}

/* "green", "yellow" or "red"; exits when results are wrong. */
static const char *trial_run(struct options *options, double rate)
{
    static const struct timespec look = { .tv_nsec = 20000000 };
    struct trial *t = calloc(1, sizeof(*t));
    char setting[64], why[512];
    const char *settings[] = { setting, NULL };
    struct lua_problem problem;
    folder_remove(options->data);
    snprintf(setting, sizeof(setting), "query=%s", options->query);
    t->options = options;
    t->env = env_real();
    t->rate = rate;
    t->random = 88172645463325252u;
    struct catalog *catalog = catalog_create();
    struct lua_options lua = { .env = t->env, .settings = settings };
    struct lua_app *app = lua_app_create(catalog, &lua);
    if (lua_app_load(app, options->app, &problem) != WEIR_OK || !catalog_finish(catalog, why, sizeof(why))) {
        fprintf(stderr, "karimov: %s:%d: %s %s\n", problem.file, problem.line, problem.text, why);
        exit(1);
    }
    t->purchases = stream_named(catalog, "purchases");
    t->ads = stream_named(catalog, "ads");
    t->results = stream_named(catalog, "results");
    if (strcmp(options->query, "join") == 0) {
        uint64_t windows = options->seconds * 1000u / SLIDE_MS + 8;
        t->pair_cells = windows * options->packs * options->users * 2;
        t->pairs = calloc(t->pair_cells, sizeof(*t->pairs));
    }
    const struct runtime *runtimes[] = { lua_app_runtime(app) };
    struct engine_options engine = { .env = t->env, .data = options->data, .shards = options->shards, .threads = options->shards,
                                     .limits = { .queue_wait_max_ms = 600000, .request_deadline_ms = 600000, .follower_lag_max = UINT64_MAX },
                                     .ports = 1, .catalog = catalog, .runtimes = runtimes, .runtime_count = 1 };
    struct store_recovery recovery;
    if (engine_open(&engine, &t->engine, &recovery, why, sizeof(why)) != WEIR_OK) {
        fprintf(stderr, "karimov: %s\n", why);
        exit(1);
    }
    t->actor = (struct actor){ .name = "karimov", .turn = turn, .self = t };
    t->port = engine_port(t->engine, 0, &t->actor);
    double cpu = cpu_s();
    t->env->actor_start(t->env, &t->actor);
    engine_start(t->engine);
    while (!atomic_load(&t->ended)) nanosleep(&look, NULL);
    t->env->actor_stop(t->env, &t->actor);
    cpu = cpu_s() - cpu - (double)t->cpu_ns / 1e9;
    uint64_t sent = atomic_load(&t->sent);
    bool growing = t->late_count > 0 && t->early_count > 0 &&
                   (double)t->late_sum / (double)t->late_count > 2 * (double)t->early_sum / (double)t->early_count + 100;
    const char *colour = (double)t->queue_most > 2 * rate || growing ? "red" : t->over_queue * 20 > t->looks ? "yellow" : "green";
    printf("%-6s %9.0f events/s offered, %" PRIu64 " sent, %" PRIu64 " results, latency ms p50 %" PRIu64 " p99 %" PRIu64
           ", queue at most %.2f s, %.2f s of processor time: %.0f events/s per core\n",
           colour, rate, sent, atomic_load(&t->found), latency_at(t, 0.5), latency_at(t, 0.99), (double)t->queue_most / rate, cpu,
           (double)sent / cpu);
    fflush(stdout);
    engine_close(t->engine);
    lua_app_destroy(app);
    catalog_destroy(catalog);
    folder_remove(options->data);
    if (atomic_load(&t->failed) || t->total != t->wanted) {
        printf("WRONG: the results add up to %" PRId64 ", not %" PRId64 "\n", t->total, t->wanted);
        exit(1);
    }
    free(t->pairs);
    free(t);
    return colour;
}

static void usage(void)
{
    fprintf(stderr, "usage: karimov [--query sum|join] [--shards N] [--rate R] [--seconds S] [--packs N] [--users N] [--app FILE] "
                    "[--data DIR]\n");
    exit(64);
}

int main(int argc, char **argv)
{
    struct options o = { .query = "sum", .app = "bench/karimov.lua", .data = "build-bench-karimov", .shards = 1, .seconds = 30,
                         .packs = 100, .users = 1000 };
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL) usage();
        if (strcmp(name, "--query") == 0) o.query = value;
        else if (strcmp(name, "--app") == 0) o.app = value;
        else if (strcmp(name, "--data") == 0) o.data = value;
        else if (strcmp(name, "--shards") == 0) o.shards = (uint32_t)atoi(value);
        else if (strcmp(name, "--seconds") == 0) o.seconds = (uint32_t)atoi(value);
        else if (strcmp(name, "--packs") == 0) o.packs = (uint32_t)atoi(value);
        else if (strcmp(name, "--users") == 0) o.users = (uint32_t)atoi(value);
        else if (strcmp(name, "--rate") == 0) o.rate = atof(value);
        else usage();
    }
    printf("query %s, %u shards, %ld cores, %u s a trial, %u packs, %u users, windows of %d s every %d s\n", o.query, o.shards,
           sysconf(_SC_NPROCESSORS_ONLN), o.seconds, o.packs, o.users, SIZE_MS / 1000, SLIDE_MS / 1000);
    if (o.rate > 0) return strcmp(trial_run(&o, o.rate), "red") == 0;
    for (double rate = 2000000; rate > 1000; rate *= 0.8) {
        if (strcmp(trial_run(&o, rate), "red") == 0) continue;
        printf("sustained: %.0f events per second\n", rate);
        return 0;
    }
    return 1;
}
