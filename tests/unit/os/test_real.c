/*
 * test_real.c - the kernel's env: files, locks, actors, sockets. A lost wake shows as a timeout.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/env.h"

#define ROUNDS 20000u

/* ---- files ---- */

struct place {
    char path[64];
    int dir;
};

static void place_init(struct place *place)
{
    snprintf(place->path, sizeof(place->path), "weir-test-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    place->dir = env_real()->dir_open(env_real(), place->path, false);
    assert_true(place->dir >= 0);
}

static void remove_name(void *arg, const char *name)
{
    struct place *place = arg;
    assert_int_equal(env_real()->unlink(env_real(), place->dir, name), 0);
}

static void place_deinit(struct place *place)
{
    struct env *env = env_real();
    assert_int_equal(env->dir_list(env, place->dir, remove_name, place), 0);
    env->dir_close(env, place->dir);
    assert_int_equal(rmdir(place->path), 0);
}

static void file_keeps_what_is_written_where(void **state)
{
    struct env *env = env_real();
    struct place place;
    char bytes[16] = { 0 };
    place_init(&place);
    assert_int_equal(env->open(env, place.dir, "log", ENV_READ), -ENOENT);
    int fd = env->open(env, place.dir, "log", ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE);
    assert_true(fd >= 0);
    assert_int_equal(env->open(env, place.dir, "log", ENV_WRITE | ENV_CREATE | ENV_EXCLUSIVE),
                     -EEXIST);
    assert_int_equal(env->write(env, fd, "hello", 5, 3), 5);
    assert_int_equal(env->size(env, fd), 8);
    assert_int_equal(env->sync(env, fd), 0);
    assert_int_equal(env->read(env, fd, bytes, sizeof(bytes), 0), 8);
    assert_memory_equal(bytes, "\0\0\0hello", 8);
    assert_int_equal(env->read(env, fd, bytes, sizeof(bytes), 8), 0);
    assert_int_equal(env->truncate(env, fd, 5), 0);
    assert_int_equal(env->size(env, fd), 5);
    env->close(env, fd);
    fd = env->open(env, place.dir, "log", ENV_READ);
    assert_true(env->write(env, fd, "x", 1, 0) < 0);
    env->close(env, fd);
    assert_int_equal(env->dir_sync(env, place.dir), 0);
    assert_true(env->dir_free_bytes(env, place.dir) > 0);
    place_deinit(&place);
}

/* Whole blocks go past the page cache where there is such a way; what is none goes through it, and so does all behind that. */
static void blocks_go_past_the_page_cache_and_the_rest_through_it(void **state)
{
    struct env *env = env_real();
    struct place place;
    place_init(&place);
    char *blocks = mem_aligned(ENV_BLOCK_BYTES, 2 * ENV_BLOCK_BYTES), found[8];
    memset(blocks, 'a', 2 * ENV_BLOCK_BYTES);
    int fd = env->open(env, place.dir, "log", ENV_WRITE | ENV_CREATE | ENV_DIRECT);
    assert_true(fd >= 0);
    assert_int_equal(env->write(env, fd, blocks, 2 * ENV_BLOCK_BYTES, 0), 2 * ENV_BLOCK_BYTES);
    memset(blocks, 'b', ENV_BLOCK_BYTES);
    assert_int_equal(env->write(env, fd, blocks, ENV_BLOCK_BYTES, ENV_BLOCK_BYTES), ENV_BLOCK_BYTES);
    assert_int_equal(env->sync(env, fd), 0);
    memset(blocks, 0, 2 * ENV_BLOCK_BYTES);
    assert_int_equal(env->read(env, fd, blocks, 2 * ENV_BLOCK_BYTES, 0), 2 * ENV_BLOCK_BYTES);
    assert_true(blocks[0] == 'a' && blocks[ENV_BLOCK_BYTES] == 'b');
    assert_int_equal(env->write(env, fd, "cd", 2, ENV_BLOCK_BYTES - 1), 2);
    assert_int_equal(env->read(env, fd, found, 4, ENV_BLOCK_BYTES - 2), 4);
    assert_memory_equal(found, "acdb", 4);
    assert_int_equal(env->write(env, fd, blocks, ENV_BLOCK_BYTES, 0), ENV_BLOCK_BYTES);
    assert_int_equal(env->size(env, fd), 2 * ENV_BLOCK_BYTES);
    env->close(env, fd);
    mem_free(blocks);
    place_deinit(&place);
}

static void files_are_private_and_links_refused(void **state)
{
    struct env *env = env_real();
    struct place place;
    struct stat found;
    char path[128];
    place_init(&place);
    int fd = env->open(env, place.dir, "file", ENV_WRITE | ENV_CREATE);
    env->close(env, fd);
    snprintf(path, sizeof(path), "%s/file", place.path);
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0600);
    snprintf(path, sizeof(path), "%s/link", place.path);
    assert_int_equal(symlink("file", path), 0);
    assert_int_equal(env->open(env, place.dir, "link", ENV_READ), -ELOOP);
    assert_int_equal(env->open(env, place.dir, "link", ENV_WRITE | ENV_CREATE), -ELOOP);
    fd = env->open(env, place.dir, "link", ENV_READ | ENV_FOLLOW);
    assert_true(fd >= 0);
    env->close(env, fd);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof(path), "%s/new", place.path);
    int dir = env->dir_open(env, path, true);
    assert_true(dir >= 0);
    env->dir_close(env, dir);
    assert_int_equal(stat(path, &found), 0);
    assert_int_equal(found.st_mode & 0777, 0700);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(env->dir_open(env, path, false), -ENOENT);
    place_deinit(&place);
}

static void add_name(void *arg, const char *name)
{
    buf_printf(arg, "%s ", name);
}

static void dir_list_is_in_name_order(void **state)
{
    static const char *const names[] = { "b", "a9", "c", "a10", "a" };
    struct env *env = env_real();
    struct place place;
    struct buf list = { 0 };
    char path[128];
    place_init(&place);
    for (int i = 0; i < 5; i++) {
        int fd = env->open(env, place.dir, names[i], ENV_WRITE | ENV_CREATE);
        env->close(env, fd);
    }
    snprintf(path, sizeof(path), "%s/folder", place.path);
    assert_int_equal(mkdir(path, 0700), 0); /* not a plain file */
    assert_int_equal(env->rename(env, place.dir, "c", "b"), 0);
    assert_int_equal(env->rename(env, place.dir, "c", "d"), -ENOENT);
    assert_int_equal(env->unlink(env, place.dir, "c"), -ENOENT);
    assert_int_equal(env->dir_list(env, place.dir, add_name, &list), 0);
    assert_true(str_eq(buf_str(&list), STR("a a10 a9 b ")));
    buf_free(&list);
    assert_int_equal(rmdir(path), 0);
    place_deinit(&place);
}

static void dir_lock_is_held_until_the_directory_is_closed(void **state)
{
    struct env *env = env_real();
    struct place place;
    place_init(&place);
    int other = env->dir_open(env, place.path, false);
    assert_true(env->dir_lock(env, other) >= 0);
    assert_int_equal(env->dir_lock(env, place.dir), -EWOULDBLOCK);
    env->dir_close(env, other);
    assert_true(env->dir_lock(env, place.dir) >= 0);
    place_deinit(&place);
}

static void clocks_move_on_and_numbers_differ(void **state)
{
    struct env *env = env_real();
    uint64_t before = env->mono_ns(env), cpu = env->thread_cpu_ns(env), sum = 0;
    assert_true(env->wall_ms(env) > INT64_C(1600000000000));
    for (int i = 0; i < 1000; i++) {
        uint64_t n = env->random(env);
        assert_true(n != env->random(env));
        sum += n;
    }
    assert_true(sum != 0);
    assert_true(env->mono_ns(env) > before);
    assert_true(env->thread_cpu_ns(env) > cpu);
}

/* ---- actors ---- */

/* Two of these hand a number back and forth; each sleeps until woken. */
struct player {
    struct actor actor;
    struct player *other;
    _Atomic uint64_t *number;
    unsigned parity;
    bool polls; /* waits inside its turn */
    bool passes;
    _Atomic bool done;
};

static void player_wake_other(struct player *player)
{
    struct env *env = env_real();
    if (player->passes) env->actor_pass(env, &player->other->actor);
    else env->actor_wake(env, &player->other->actor);
}

static uint64_t player_turn(void *self)
{
    struct player *player = self;
    struct env *env = env_real();
    uint64_t n = atomic_load(player->number);
    if (n >= ROUNDS) {
        atomic_store(&player->done, true);
        player_wake_other(player);
        return ENV_NEVER;
    }
    if (n % 2 == player->parity) {
        atomic_store(player->number, n + 1);
        player_wake_other(player);
    }
    if (!player->polls) return ENV_NEVER;
    struct env_event event;
    env->poll_wait(env, &player->actor, &event, 1, ENV_NEVER);
    return 0;
}

static void players_run_with(struct player a, struct player b)
{
    struct env *env = env_real();
    _Atomic uint64_t number = 0;
    a.number = b.number = &number;
    b.parity = 1;
    a.actor = (struct actor){ .name = "a", .turn = player_turn, .self = &a, .helps = a.passes };
    b.actor = (struct actor){ .name = "b", .turn = player_turn, .self = &b, .helps = b.passes };
    a.other = &b;
    b.other = &a;
    assert_int_equal(env->actor_start(env, &a.actor), 0);
    assert_int_equal(env->actor_start(env, &b.actor), 0);
    while (!atomic_load(&a.done) || !atomic_load(&b.done)) sched_yield();
    env->actor_stop(env, &a.actor);
    env->actor_stop(env, &b.actor);
    env->actor_wake(env, &a.actor); /* late: of no effect */
    assert_int_equal(atomic_load(&number), ROUNDS);
}

static void players_run(bool first_polls, bool second_polls)
{
    players_run_with((struct player){ .polls = first_polls }, (struct player){ .polls = second_polls });
}

static void actor_wake_is_never_lost(void **state)
{
    players_run(false, false);
}

static void actor_wake_ends_a_poll(void **state)
{
    players_run(true, true);
    players_run(true, false);
}

static void a_wake_that_is_passed_is_never_lost(void **state)
{
    players_run_with((struct player){ .passes = true }, (struct player){ 0 });
    players_run_with((struct player){ .passes = true }, (struct player){ .passes = true });
    players_run_with((struct player){ .passes = true, .polls = true }, (struct player){ 0 });
    players_run_with((struct player){ .passes = true, .polls = true }, (struct player){ .polls = true });
    players_run_with((struct player){ .passes = true, .polls = true }, (struct player){ .passes = true, .polls = true });
}

struct crowd {
    struct actor actor;
    _Atomic unsigned posted, seen;
    unsigned turns; /* plain: turns are never at the same time, wherever they run */
    _Atomic bool inside;
    _Atomic uint64_t due; /* it asks to run again so much later; 0: when woken */
    _Atomic uint64_t turned_ns;
    _Atomic unsigned lent; /* turns on another's thread */
    pthread_t own;
    _Atomic bool own_known;
    unsigned long work; /* loops in each turn */
};

static uint64_t crowd_turn(void *self)
{
    struct crowd *crowd = self;
    assert_false(atomic_exchange(&crowd->inside, true));
    crowd->turns++;
    if (!atomic_load(&crowd->own_known)) {
        crowd->own = pthread_self();
        atomic_store(&crowd->own_known, true);
    }
    if (!pthread_equal(crowd->own, pthread_self())) atomic_fetch_add(&crowd->lent, 1);
    for (volatile unsigned long i = 0; i < crowd->work; i++) continue;
    uint64_t now = env_real()->mono_ns(env_real());
    atomic_store(&crowd->turned_ns, now);
    atomic_store(&crowd->inside, false);
    atomic_store(&crowd->seen, atomic_load_explicit(&crowd->posted, memory_order_relaxed));
    return crowd->due ? now + crowd->due : ENV_NEVER;
}

static void *crowd_post(void *arg)
{
    struct crowd *crowd = arg;
    for (unsigned i = 0; i < 5000; i++) {
        /* relaxed: the wake itself must order this before the turn */
        atomic_fetch_add_explicit(&crowd->posted, 1, memory_order_relaxed);
        env_real()->actor_wake(env_real(), &crowd->actor);
    }
    return NULL;
}

static void actor_sees_what_was_written_before_the_wake(void **state)
{
    struct env *env = env_real();
    struct crowd crowd = { .actor = { .name = "crowd", .turn = crowd_turn, .self = &crowd } };
    pthread_t threads[3];
    assert_int_equal(env->actor_start(env, &crowd.actor), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_post, &crowd), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    while (atomic_load(&crowd.seen) != 15000) sched_yield();
    env->actor_stop(env, &crowd.actor);
}

/* One that helps: posts to a crowd in each turn, and is woken by others. */
struct helper {
    struct actor actor;
    struct crowd *crowd;
    unsigned left;
    bool polls;
    bool paced; /* posts when the crowd has done what was posted, and so may sleep */
    _Atomic bool done;
};

static uint64_t helper_turn(void *self)
{
    struct helper *helper = self;
    struct env *env = env_real();
    struct env_event event;
    if (helper->left == 0) {
        atomic_store(&helper->done, true);
        return ENV_NEVER;
    }
    helper->left--;
    while (helper->paced && atomic_load(&helper->crowd->seen) != atomic_load(&helper->crowd->posted))
        sched_yield();
    atomic_fetch_add_explicit(&helper->crowd->posted, 1, memory_order_relaxed);
    env->actor_pass(env, &helper->crowd->actor);
    if (!helper->polls) return env->mono_ns(env) + 1000;
    env->poll_wait(env, &helper->actor, &event, 1, env->mono_ns(env) + 1000000);
    return 0;
}

/* Two that help, and three threads that wake as ever: turns are one at a time, none is lost. */
static void turns_on_other_threads_are_turns_like_any(void **state)
{
    struct env *env = env_real();
    struct crowd crowd = { .actor = { .name = "crowd", .turn = crowd_turn, .self = &crowd } };
    struct helper helper[3] = { { .crowd = &crowd, .left = 3000 }, { .crowd = &crowd, .left = 3000, .polls = true } };
    pthread_t threads[3];
    assert_int_equal(env->actor_start(env, &crowd.actor), 0);
    while (!atomic_load(&crowd.own_known)) sched_yield();
    for (int i = 0; i < 2; i++) {
        helper[i].actor = (struct actor){ .name = "helper", .turn = helper_turn, .self = &helper[i], .helps = true };
        assert_int_equal(env->actor_start(env, &helper[i].actor), 0);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_post, &crowd), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    while (!atomic_load(&helper[0].done) || !atomic_load(&helper[1].done)) sched_yield();
    helper[2] = (struct helper){ .crowd = &crowd, .left = 3000 }; /* alone, so that the crowd sleeps now and then */
    helper[2].actor = (struct actor){ .name = "helper", .turn = helper_turn, .self = &helper[2], .helps = true };
    assert_int_equal(env->actor_start(env, &helper[2].actor), 0);
    while (!atomic_load(&helper[2].done) || atomic_load(&crowd.seen) != 24000) sched_yield();
    assert_true(atomic_load(&crowd.lent) > 0);
    for (int i = 0; i < 3; i++) env->actor_stop(env, &helper[i].actor);
    env->actor_stop(env, &crowd.actor);
}

/* What is due earlier than the thread sleeps, it is told. */
static void one_whose_turns_run_elsewhere_keeps_its_time(void **state)
{
    struct env *env = env_real();
    struct crowd crowd = { .actor = { .name = "crowd", .turn = crowd_turn, .self = &crowd } };
    struct helper helper = { .crowd = &crowd, .left = 300 };
    helper.actor = (struct actor){ .name = "helper", .turn = helper_turn, .self = &helper, .helps = true };
    assert_int_equal(env->actor_start(env, &crowd.actor), 0);
    while (!atomic_load(&crowd.own_known)) sched_yield();
    crowd.due = 2000000; /* from its next turn on, which a loan may be */
    assert_int_equal(env->actor_start(env, &helper.actor), 0);
    while (!atomic_load(&helper.done)) sched_yield();
    env->actor_stop(env, &helper.actor);
    uint64_t last = atomic_load(&crowd.turned_ns);
    while (atomic_load(&crowd.turned_ns) < last + 3 * crowd.due) sched_yield();
    env->actor_stop(env, &crowd.actor);
}

/* One helps 40 times with turns of so much work; `ready` (or -1) is what it polls. Returns how often another's turn was run on its
 * thread, and in how long a time. */
static unsigned long_turns_lent(unsigned long work, int ready, uint64_t *took)
{
    bool polls = ready >= 0;
    struct env *env = env_real();
    struct crowd crowd = { .actor = { .name = "crowd", .turn = crowd_turn, .self = &crowd }, .work = work };
    struct helper helper = { .crowd = &crowd, .left = 40, .polls = polls, .paced = true };
    uint64_t begin = env->mono_ns(env);
    helper.actor = (struct actor){ .name = "helper", .turn = helper_turn, .self = &helper, .helps = true };
    if (polls) assert_int_equal(env->poll_add(env, &helper.actor, ready, &helper, false), 0);
    assert_int_equal(env->actor_start(env, &crowd.actor), 0);
    while (!atomic_load(&crowd.own_known)) sched_yield();
    assert_int_equal(env->actor_start(env, &helper.actor), 0);
    while (!atomic_load(&helper.done) || atomic_load(&crowd.seen) != 40) sched_yield();
    *took = env->mono_ns(env) - begin;
    env->actor_stop(env, &helper.actor);
    env->actor_stop(env, &crowd.actor);
    return atomic_load(&crowd.lent);
}

/* Who helps stands still for one long turn, not for the next, where somebody waits for it or may: a rest of a hundred times as
 * long follows. */
static void long_turns_are_not_run_by_who_is_waited_for(void **state)
{
    int pipes[2];
    uint64_t took;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], "x", 1), 1);
    /* more than 1 ms, and nobody knows who waits */
    assert_true(long_turns_lent(6000000, -1, &took) <= 1 + took / 100000000u);
    /* more than 5 ms: who asked before it may, although nothing comes */
    assert_true(long_turns_lent(30000000, pipes[1], &took) <= 1 + took / 500000000u);
    /* more than 50 us */
    assert_true(long_turns_lent(300000, pipes[0], &took) <= 1 + took / 5000000u);
    assert_true(long_turns_lent(20000, pipes[1], &took) > 5); /* nothing comes there */
    close(pipes[0]);
    close(pipes[1]);
}

/* ---- slices ---- */

struct sliced {
    struct actor actor;
    unsigned long ns; /* 0: the kernel does not say */
    _Atomic bool done;
};

static uint64_t sliced_turn(void *self)
{
    struct sliced *sliced = self;
    char line[200];
    FILE *f = fopen("/proc/thread-self/sched", "r");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, "se.slice", 8) == 0) sliced->ns = strtoul(strchr(line, ':') + 1, NULL, 10);
    if (f != NULL) fclose(f);
    atomic_store(&sliced->done, true);
    return ENV_NEVER;
}

static unsigned long slice_of(bool prompt)
{
    struct env *env = env_real();
    struct sliced sliced = { .actor = { .name = "sliced", .turn = sliced_turn, .self = &sliced, .prompt = prompt } };
    assert_int_equal(env->actor_start(env, &sliced.actor), 0);
    while (!atomic_load(&sliced.done)) sched_yield();
    env->actor_stop(env, &sliced.actor);
    return sliced.ns;
}

/* Linux has such slices since 6.12; one before, or one that does not show them, is skipped. */
static void a_prompt_actor_comes_soon_after_its_wake(void **state)
{
    unsigned long usual = slice_of(false), prompt = slice_of(true);
    if (prompt == 0 || prompt == usual) skip();
    assert_int_equal(prompt, 100000);
}

struct clocked {
    struct actor actor;
    uint64_t due;
    bool early, polls;
    _Atomic unsigned turns;
};

static uint64_t clocked_turn(void *self)
{
    struct clocked *clocked = self;
    struct env *env = env_real();
    if (env->mono_ns(env) < clocked->due) clocked->early = true;
    if (atomic_fetch_add(&clocked->turns, 1) == 5) return ENV_NEVER;
    clocked->due = env->mono_ns(env) + 1500000;
    if (!clocked->polls) return clocked->due;
    struct env_event event;
    assert_int_equal(env->poll_wait(env, &clocked->actor, &event, 1, clocked->due), 0);
    return 0;
}

static void actor_turns_at_its_time_and_not_before(void **state)
{
    struct env *env = env_real();
    for (int i = 0; i < 2; i++) {
        struct clocked clocked = { .polls = i == 1 };
        clocked.actor = (struct actor){ .name = "clocked", .turn = clocked_turn, .self = &clocked };
        assert_int_equal(env->actor_start(env, &clocked.actor), 0);
        while (atomic_load(&clocked.turns) < 6) sched_yield();
        env->actor_stop(env, &clocked.actor);
        assert_false(clocked.early);
    }
}

/* ---- sockets ---- */

struct echo {
    struct actor actor;
    int listener, peer;
    _Atomic bool closed;
};

static void echo_peer(struct echo *echo)
{
    struct env *env = env_real();
    char bytes[64];
    int64_t got = env->recv(env, echo->peer, bytes, sizeof(bytes));
    if (got == -EAGAIN) return;
    if (got > 0) {
        assert_int_equal(env->send(env, echo->peer, bytes, (size_t)got), got);
        return;
    }
    env->poll_remove(env, &echo->actor, echo->peer);
    env->sock_close(env, echo->peer);
    atomic_store(&echo->closed, true);
}

static uint64_t echo_turn(void *self)
{
    struct echo *echo = self;
    struct env *env = env_real();
    struct env_event events[4];
    int count = env->poll_wait(env, &echo->actor, events, 4, ENV_NEVER);
    for (int i = 0; i < count; i++) {
        if (events[i].user == &echo->peer) {
            echo_peer(echo);
            continue;
        }
        echo->peer = env->accept(env, echo->listener);
        assert_true(echo->peer >= 0);
        assert_int_equal(env->accept(env, echo->listener), -EAGAIN);
        assert_int_equal(env->poll_add(env, &echo->actor, echo->peer, &echo->peer, true), 0);
        assert_int_equal(env->poll_change(env, &echo->actor, echo->peer, &echo->peer, true, false),
                         0);
    }
    return 0;
}

static void socket_echoes_and_sees_the_peer_close(void **state)
{
    struct env *env = env_real();
    struct echo echo = { .peer = -1 };
    struct sockaddr_in at = { .sin_family = AF_INET };
    char bytes[8] = { 0 };
    echo.actor = (struct actor){ .name = "echo", .turn = echo_turn, .self = &echo };
    echo.listener = env->listen(env, "localhost", 0);
    assert_true(echo.listener >= 0);
    int port = env->local_port(env, echo.listener);
    assert_in_range(port, 1, 65535);
    assert_int_equal(env->listen(env, "127.0.0.1", port), -EADDRINUSE);
    assert_int_equal(env->listen(env, "some.name", 0), -EADDRNOTAVAIL);
    assert_int_equal(env->poll_add(env, &echo.actor, echo.listener, &echo.listener, false), 0);
    assert_int_equal(env->actor_start(env, &echo.actor), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    at.sin_port = htons((uint16_t)port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(send(client, "echo me", 7, MSG_NOSIGNAL), 7);
        assert_int_equal(recv(client, bytes, 7, MSG_WAITALL), 7);
        assert_string_equal(bytes, "echo me");
    }
    close(client);
    while (!atomic_load(&echo.closed)) sched_yield();
    env->actor_stop(env, &echo.actor);
    env->sock_close(env, echo.listener);
}

static void send_to_a_closed_peer_is_an_error_and_no_signal(void **state)
{
    struct env *env = env_real();
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    close(pair[1]);
    assert_int_equal(env->send(env, pair[0], "x", 1), -EPIPE);
    close(pair[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_keeps_what_is_written_where),
        cmocka_unit_test(blocks_go_past_the_page_cache_and_the_rest_through_it),
        cmocka_unit_test(files_are_private_and_links_refused),
        cmocka_unit_test(dir_list_is_in_name_order),
        cmocka_unit_test(dir_lock_is_held_until_the_directory_is_closed),
        cmocka_unit_test(clocks_move_on_and_numbers_differ),
        cmocka_unit_test(actor_wake_is_never_lost),
        cmocka_unit_test(actor_wake_ends_a_poll),
        cmocka_unit_test(a_wake_that_is_passed_is_never_lost),
        cmocka_unit_test(turns_on_other_threads_are_turns_like_any),
        cmocka_unit_test(one_whose_turns_run_elsewhere_keeps_its_time),
        cmocka_unit_test(long_turns_are_not_run_by_who_is_waited_for),
        cmocka_unit_test(a_prompt_actor_comes_soon_after_its_wake),
        cmocka_unit_test(actor_sees_what_was_written_before_the_wake),
        cmocka_unit_test(actor_turns_at_its_time_and_not_before),
        cmocka_unit_test(socket_echoes_and_sees_the_peer_close),
        cmocka_unit_test(send_to_a_closed_peer_is_an_error_and_no_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
