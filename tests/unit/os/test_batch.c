/*
 * test_batch.c - calls on many sockets at once: by io_uring, and one after the other where there is none.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/batch.h"

#define PAIRS (2 * ENV_SOCK_CALLS_MAX + 1) /* more than go to the kernel at once */

struct world {
    bool together;       /* half of the cases go without a ring */
    struct batch *batch; /* NULL: none of ours, or none to be had */
    int near[PAIRS], far[PAIRS];
};

static int world_open(void **state, bool together)
{
    static struct world world;
    world.together = together;
    world.batch = together ? batch_open() : NULL;
    for (int i = 0; i < PAIRS; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
        world.near[i] = pair[0];
        world.far[i] = pair[1];
    }
    *state = &world;
    return 0;
}

static int alone(void **state)
{
    return world_open(state, false);
}

static int together(void **state)
{
    return world_open(state, true);
}

static int world_close(void **state)
{
    struct world *world = *state;
    batch_close(world->batch);
    for (int i = 0; i < PAIRS; i++) {
        close(world->near[i]);
        close(world->far[i]);
    }
    return 0;
}

static struct world *world_of(void **state)
{
    struct world *world = *state;
    if (world->together && !world->batch) {
        print_message("skipped: the kernel gives this process no io_uring\n");
        skip();
    }
    return world;
}

static struct env_sock_call sends(int fd, void *bytes, size_t len)
{
    return (struct env_sock_call){ .fd = fd, .sends = true, .bytes = bytes, .len = len };
}

static struct env_sock_call receives(int fd, void *bytes, size_t len)
{
    return (struct env_sock_call){ .fd = fd, .bytes = bytes, .len = len };
}

/* Every count, so that the few that are made one by one are among them; a ring that kept an entry would be off by it. */
static void each_call_has_its_own_answer(void **state)
{
    struct world *world = world_of(state);
    struct env_sock_call calls[PAIRS];
    char out[PAIRS][8], in[PAIRS][8];
    for (int round = 0; round < 20 * PAIRS; round++) {
        int count = round % (PAIRS + 1);
        for (int i = 0; i < count; i++) {
            size_t len = (size_t)snprintf(out[i], sizeof out[i], "%d", round * i % 99991);
            calls[i] = sends(world->near[i], out[i], len);
        }
        batch_run(world->batch, calls, count);
        for (int i = 0; i < count; i++) assert_int_equal(calls[i].done, calls[i].len);
        for (int i = 0; i < count; i++)
            calls[i] = receives(world->far[count - 1 - i], in[i], sizeof in[i]);
        batch_run(world->batch, calls, count);
        for (int i = 0; i < count; i++) {
            const char *sent = out[count - 1 - i];
            assert_int_equal(calls[i].done, strlen(sent));
            assert_memory_equal(in[i], sent, strlen(sent));
        }
    }
}

static void calls_are_made_in_their_order(void **state)
{
    struct world *world = world_of(state);
    char a[] = "first ", b[] = "second", in[16] = { 0 };
    struct env_sock_call calls[] = { receives(world->far[0], in, sizeof in),
                                     sends(world->near[0], a, 6), sends(world->near[0], b, 6),
                                     receives(world->far[0], in, sizeof in) };
    batch_run(world->batch, calls, 4);
    assert_int_equal(calls[0].done, -EAGAIN);
    assert_int_equal(calls[1].done, 6);
    assert_int_equal(calls[2].done, 6);
    assert_int_equal(calls[3].done, 12);
    assert_string_equal(in, "first second");
}

static void what_fails_leaves_the_others_alone(void **state)
{
    struct world *world = world_of(state);
    char in[4], x[] = "x";
    close(world->far[1]);
    struct env_sock_call calls[] = { receives(world->near[0], in, sizeof in),
                                     receives(world->near[1], in, sizeof in),
                                     sends(world->near[1], x, 1), sends(-1, x, 1),
                                     sends(world->near[2], x, 1) };
    for (int i = 0; i < 3; i++) {
        batch_run(world->batch, calls, 5);
        assert_int_equal(calls[0].done, -EAGAIN);
        assert_int_equal(calls[1].done, 0);
        assert_int_equal(calls[2].done, -EPIPE);
        assert_int_equal(calls[3].done, -EBADF);
        assert_int_equal(calls[4].done, 1);
    }
    world->far[1] = -1;
}

static void full_sockets_take_a_part_and_then_nothing(void **state)
{
    struct world *world = world_of(state);
    static char much[1 << 22];
    int64_t taken[4] = { 0 };
    struct env_sock_call calls[4];
    for (bool room = true; room;) {
        room = false;
        for (int i = 0; i < 4; i++)
            calls[i] = sends(world->near[i], much, sizeof much - (size_t)taken[i]);
        batch_run(world->batch, calls, 4);
        for (int i = 0; i < 4; i++) {
            if (calls[i].done == -EAGAIN) continue;
            assert_in_range(calls[i].done, 1, sizeof much - 1);
            taken[i] += calls[i].done;
            room = true;
        }
    }
    for (int i = 0; i < 4; i++) {
        int64_t got = 0, n;
        while ((n = recv(world->far[i], much, sizeof much, 0)) > 0) got += n;
        assert_int_equal(got, taken[i]);
    }
}

#define BOTH(test)                                                                                 \
    { #test " (alone)", test, alone, world_close, NULL },                                          \
    {                                                                                              \
        #test " (together)", test, together, world_close, NULL                                     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(each_call_has_its_own_answer),
        BOTH(calls_are_made_in_their_order),
        BOTH(what_fails_leaves_the_others_alone),
        BOTH(full_sockets_take_a_part_and_then_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
