/*
 * test_sim.c - the simulated world: what a crash may leave, and equal seeds.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "os/sim.h"

#define SEEDS 200u
#define SECTOR 512u

/* A world with one open directory and file. */
struct world {
    struct sim *sim;
    struct env *env;
    int dir, fd;
};

static void world_open(struct world *world)
{
    world->env = sim_env(world->sim);
    world->dir = world->env->dir_open(world->env, "data", true);
    assert_true(world->dir >= 0);
    world->fd = world->env->open(world->env, world->dir, "file", ENV_WRITE | ENV_CREATE);
    assert_true(world->fd >= 0);
}

static void world_init(struct world *world, uint64_t seed)
{
    world->sim = sim_create(seed);
    world_open(world);
    assert_int_equal(world->env->dir_sync(world->env, world->dir), 0);
}

static void world_write(struct world *world, char letter, uint64_t offset, size_t len)
{
    char bytes[8 * SECTOR];
    memset(bytes, letter, sizeof(bytes));
    assert_int_equal(world->env->write(world->env, world->fd, bytes, len, offset), len);
}

static size_t world_read(struct world *world, char *bytes, size_t len)
{
    int64_t got = world->env->read(world->env, world->fd, bytes, len, 0);
    assert_true(got >= 0);
    return (size_t)got;
}

static size_t world_crash_and_read(struct world *world, enum sim_crash_mode mode, char *bytes,
                                   size_t len)
{
    sim_crash(world->sim, mode);
    world_open(world);
    return world_read(world, bytes, len);
}

/* ---- the disk ---- */

static void synced_bytes_survive_every_mode(void **state)
{
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        struct world world;
        char bytes[64];
        world_init(&world, seed);
        world_write(&world, 'a', 0, 32);
        assert_int_equal(world.env->sync(world.env, world.fd), 0);
        world_write(&world, 'b', 32, 32);
        size_t got = world_crash_and_read(&world, (enum sim_crash_mode)(seed % 4), bytes, 64);
        assert_in_range(got, 32, 64);
        for (size_t i = 0; i < 32; i++) assert_int_equal(bytes[i], 'a');
        sim_destroy(world.sim);
    }
}

static void unsynced_bytes_are_lost_or_kept_as_the_mode_says(void **state)
{
    struct world world;
    char bytes[64];
    world_init(&world, 1);
    world_write(&world, 'a', 0, 40);
    assert_int_equal(world_read(&world, bytes, 64), 40);
    assert_int_equal(world_crash_and_read(&world, SIM_KEEP_NOTHING, bytes, 64), 0);
    world_write(&world, 'b', 0, 40);
    assert_int_equal(world_crash_and_read(&world, SIM_KEEP_ALL, bytes, 64), 40);
    assert_int_equal(bytes[39], 'b');
    /* what survived a crash is durable */
    assert_int_equal(world_crash_and_read(&world, SIM_KEEP_NOTHING, bytes, 64), 40);
    sim_destroy(world.sim);
}

static void random_crash_keeps_any_subset_of_sectors(void **state)
{
    unsigned shapes[8] = { 0 };
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        struct world world;
        char bytes[3 * SECTOR];
        unsigned shape = 0;
        world_init(&world, seed);
        world_write(&world, 'a', 0, 3 * SECTOR);
        assert_int_equal(world.env->sync(world.env, world.fd), 0);
        world_write(&world, 'b', 0, 3 * SECTOR);
        assert_int_equal(world_crash_and_read(&world, SIM_KEEP_RANDOM, bytes, sizeof(bytes)),
                         sizeof(bytes));
        for (unsigned sector = 0; sector < 3; sector++) {
            const char *at = bytes + sector * SECTOR;
            assert_true(at[0] == 'a' || at[0] == 'b');
            for (unsigned i = 0; i < SECTOR; i++) assert_int_equal(at[i], at[0]);
            shape |= (at[0] == 'b') << sector;
        }
        shapes[shape]++;
        sim_destroy(world.sim);
    }
    for (int i = 0; i < 8; i++) assert_true(shapes[i] > 0);
}

/* Three writes of two sectors: a prefix of them, the next one perhaps in part, none behind. */
static void torn_crash_keeps_a_prefix_and_a_part(void **state)
{
    bool seen[7] = { false };
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        struct world world;
        char bytes[6 * SECTOR];
        world_init(&world, seed);
        for (unsigned i = 0; i < 3; i++)
            world_write(&world, (char)('a' + i), i * 2 * SECTOR, 2 * SECTOR);
        size_t got = world_crash_and_read(&world, SIM_KEEP_PREFIX_TORN, bytes, sizeof(bytes));
        assert_int_equal(got % SECTOR, 0);
        for (size_t i = 0; i < got; i++) assert_int_equal(bytes[i], 'a' + i / (2 * SECTOR));
        seen[got / SECTOR] = true;
        sim_destroy(world.sim);
    }
    for (int i = 0; i < 6; i++) assert_true(seen[i]);
}

static void cutting_a_file_is_pending_until_sync_too(void **state)
{
    struct world world;
    char bytes[64];
    world_init(&world, 1);
    world_write(&world, 'a', 0, 40);
    assert_int_equal(world.env->sync(world.env, world.fd), 0);
    assert_int_equal(world.env->truncate(world.env, world.fd, 10), 0);
    assert_int_equal(world.env->size(world.env, world.fd), 10);
    assert_int_equal(world_crash_and_read(&world, SIM_KEEP_NOTHING, bytes, 64), 40);
    assert_int_equal(world.env->truncate(world.env, world.fd, 10), 0);
    assert_int_equal(world.env->sync(world.env, world.fd), 0);
    assert_int_equal(world_crash_and_read(&world, SIM_KEEP_NOTHING, bytes, 64), 10);
    sim_destroy(world.sim);
}

static void add_name(void *arg, const char *name)
{
    buf_printf(arg, "%s ", name);
}

/* Compares the directory's names, each with a blank behind, after a crash if `mode` is one. */
static void expect_names(struct world *world, int mode, const char *expected)
{
    struct buf list = { 0 };
    struct env *env = world->env;
    if (mode >= 0) {
        sim_crash(world->sim, (enum sim_crash_mode)mode);
        world->dir = env->dir_open(env, "data", false);
    }
    assert_int_equal(env->dir_list(env, world->dir, add_name, &list), 0);
    buf_add_byte(&list, 0);
    assert_string_equal(list.ptr, expected);
    buf_free(&list);
}

static void names_are_pending_until_the_directory_is_synced(void **state)
{
    struct world world;
    struct env *env;
    world_init(&world, 1);
    env = world.env;
    assert_true(env->open(env, world.dir, "b", ENV_WRITE | ENV_CREATE) >= 0);
    assert_true(env->open(env, world.dir, "a", ENV_WRITE | ENV_CREATE) >= 0);
    expect_names(&world, -1, "a b file ");
    expect_names(&world, SIM_KEEP_NOTHING, "file ");
    assert_int_equal(env->rename(env, world.dir, "file", "moved"), 0);
    expect_names(&world, -1, "moved ");
    expect_names(&world, SIM_KEEP_NOTHING, "file ");
    assert_int_equal(env->rename(env, world.dir, "file", "moved"), 0);
    assert_int_equal(env->dir_sync(env, world.dir), 0);
    expect_names(&world, SIM_KEEP_NOTHING, "moved ");
    assert_int_equal(env->unlink(env, world.dir, "moved"), 0);
    assert_int_equal(env->unlink(env, world.dir, "moved"), -ENOENT);
    expect_names(&world, -1, "");
    expect_names(&world, SIM_KEEP_NOTHING, "moved ");
    assert_int_equal(env->unlink(env, world.dir, "moved"), 0);
    expect_names(&world, SIM_KEEP_ALL, "");
    sim_destroy(world.sim);
}

static void random_crash_keeps_any_subset_of_names(void **state)
{
    unsigned counts[4] = { 0 };
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        struct world world;
        struct buf list = { 0 };
        world_init(&world, seed);
        assert_true(world.env->open(world.env, world.dir, "a", ENV_WRITE | ENV_CREATE) >= 0);
        assert_true(world.env->open(world.env, world.dir, "b", ENV_WRITE | ENV_CREATE) >= 0);
        sim_crash(world.sim, SIM_KEEP_RANDOM);
        world.dir = world.env->dir_open(world.env, "data", false);
        world.env->dir_list(world.env, world.dir, add_name, &list);
        struct weir_str names = buf_str(&list);
        if (str_eq(names, STR("file "))) counts[0]++;
        else if (str_eq(names, STR("a file "))) counts[1]++;
        else if (str_eq(names, STR("b file "))) counts[2]++;
        else if (str_eq(names, STR("a b file "))) counts[3]++;
        else fail();
        buf_free(&list);
        sim_destroy(world.sim);
    }
    for (int i = 0; i < 4; i++) assert_true(counts[i] > 0);
}

static void rename_to_itself_changes_nothing(void **state)
{
    struct world world;
    world_init(&world, 1);
    assert_int_equal(world.env->rename(world.env, world.dir, "file", "file"), 0);
    expect_names(&world, -1, "file ");
    expect_names(&world, SIM_KEEP_ALL, "file ");
    sim_destroy(world.sim);
}

static void handles_from_before_a_crash_are_refused(void **state)
{
    struct world world;
    char byte;
    world_init(&world, 1);
    struct env *env = world.env;
    sim_crash(world.sim, SIM_KEEP_ALL);
    assert_int_equal(env->read(env, world.fd, &byte, 1, 0), -EBADF);
    assert_int_equal(env->write(env, world.fd, "x", 1, 0), -EBADF);
    assert_int_equal(env->sync(env, world.fd), -EBADF);
    assert_int_equal(env->size(env, world.fd), -EBADF);
    assert_int_equal(env->truncate(env, world.fd, 0), -EBADF);
    assert_int_equal(env->open(env, world.dir, "file", ENV_READ), -EBADF);
    assert_int_equal(env->dir_sync(env, world.dir), -EBADF);
    assert_int_equal(env->dir_lock(env, world.dir), -EBADF);
    assert_int_equal(env->unlink(env, world.dir, "file"), -EBADF);
    env->close(env, world.fd);
    env->dir_close(env, world.dir);
    sim_destroy(world.sim);
}

static void lock_is_held_until_closed_or_crashed(void **state)
{
    struct world world;
    world_init(&world, 1);
    struct env *env = world.env;
    int other = env->dir_open(env, "data", false);
    assert_true(env->dir_lock(env, world.dir) >= 0);
    assert_int_equal(env->dir_lock(env, other), -EWOULDBLOCK);
    env->dir_close(env, world.dir);
    assert_true(env->dir_lock(env, other) >= 0);
    sim_crash(world.sim, SIM_KEEP_ALL);
    other = env->dir_open(env, "data", false);
    assert_true(env->dir_lock(env, other) >= 0);
    sim_destroy(world.sim);
}

/* ---- faults ---- */

static void fault_hits_the_nth_operation_once(void **state)
{
    struct world world;
    char bytes[8];
    world_init(&world, 1);
    sim_fault_at(world.sim, 2, SIM_FAULT_EIO);
    assert_int_equal(world.env->write(world.env, world.fd, "abc", 3, 0), 3);
    assert_int_equal(world.env->sync(world.env, world.fd), -EIO);
    assert_int_equal(world.env->sync(world.env, world.fd), 0);
    sim_fault_at(world.sim, 1, SIM_FAULT_ENOSPC);
    assert_int_equal(world.env->write(world.env, world.fd, "abc", 3, 3), -ENOSPC);
    sim_fault_at(world.sim, 0, SIM_FAULT_NONE);
    assert_int_equal(world.env->write(world.env, world.fd, "def", 3, 3), 3);
    assert_int_equal(world.env->sync(world.env, world.fd), 0);
    assert_int_equal(world_crash_and_read(&world, SIM_KEEP_NOTHING, bytes, 8), 6);
    sim_destroy(world.sim);
}

static void lost_sync_says_ok_the_second_time_and_the_bytes_are_gone(void **state)
{
    struct world world;
    char bytes[8];
    world_init(&world, 1);
    sim_fault_at(world.sim, 1, SIM_FAULT_SYNC_LOST);
    assert_int_equal(world.env->write(world.env, world.fd, "abc", 3, 0), 3);
    assert_int_equal(world.env->sync(world.env, world.fd), -EIO);
    assert_int_equal(world.env->sync(world.env, world.fd), 0);
    assert_int_equal(world_read(&world, bytes, 8), 3); /* still in the page cache */
    assert_int_equal(world_crash_and_read(&world, SIM_KEEP_ALL, bytes, 8), 0);
    sim_destroy(world.sim);
}

static void full_disk_refuses_what_does_not_fit(void **state)
{
    struct world world;
    world_init(&world, 1);
    sim_disk_limit(world.sim, 100);
    world_write(&world, 'a', 0, 90);
    assert_int_equal(world.env->dir_free_bytes(world.env, world.dir), 10);
    assert_int_equal(world.env->write(world.env, world.fd, "12345678901", 11, 90), -ENOSPC);
    world_write(&world, 'b', 0, 90);
    world_write(&world, 'c', 90, 10);
    assert_int_equal(world.env->dir_free_bytes(world.env, world.dir), 0);
    sim_destroy(world.sim);
}

static void flip_changes_one_durable_bit(void **state)
{
    struct world world;
    char bytes[4];
    world_init(&world, 1);
    world_write(&world, 'a', 0, 4);
    assert_false(sim_flip(world.sim, "data/file", 0, 0)); /* not durable */
    assert_int_equal(world.env->sync(world.env, world.fd), 0);
    assert_true(sim_flip(world.sim, "data/file", 2, 1));
    assert_false(sim_flip(world.sim, "data/file", 4, 1));
    assert_false(sim_flip(world.sim, "data/other", 0, 1));
    assert_int_equal(world_crash_and_read(&world, SIM_KEEP_NOTHING, bytes, 4), 4);
    assert_memory_equal(bytes, "aaca", 4);
    sim_destroy(world.sim);
}

/* ---- actors ---- */

/* Writes a byte a turn and wakes a random other one. */
struct worker {
    struct actor actor;
    struct world *world;
    struct worker *all;
    unsigned turns;
    uint64_t wish;
};

static uint64_t worker_turn(void *self)
{
    struct worker *worker = self;
    struct world *world = worker->world;
    worker->turns++;
    world->env->write(world->env, world->fd, "x", 1, worker->turns);
    if (worker->turns % 4 == 0) world->env->sync(world->env, world->fd);
    world->env->actor_wake(world->env, &worker->all[sim_choose(world->sim, 3)].actor);
    return world->env->mono_ns(world->env) + 1000000;
}

static bool never(void *arg)
{
    return false;
}

static void workers_start(struct world *world, struct worker *workers)
{
    for (int i = 0; i < 3; i++) {
        workers[i] = (struct worker){ .world = world, .all = workers };
        workers[i].actor = (struct actor){ .name = "worker",
                                           .turn = worker_turn,
                                           .self = &workers[i] };
        assert_int_equal(world->env->actor_start(world->env, &workers[i].actor), 0);
    }
}

static uint64_t trace_of(uint64_t seed)
{
    struct world world;
    struct worker workers[3];
    world_init(&world, seed);
    workers_start(&world, workers);
    for (int i = 0; i < 200; i++)
        if (!sim_step(world.sim)) sim_advance(world.sim, ENV_NEVER);
    uint64_t hash = sim_trace_hash(world.sim);
    sim_destroy(world.sim);
    return hash;
}

static void equal_seeds_give_equal_traces(void **state)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        assert_true(trace_of(seed) == trace_of(seed));
        assert_true(trace_of(seed) != trace_of(seed + 1));
    }
}

static uint64_t sleeper_turn(void *self)
{
    struct worker *worker = self;
    worker->turns++;
    return worker->wish;
}

static void actor_runs_when_woken_or_due_and_else_not(void **state)
{
    struct world world;
    struct worker worker = { .wish = ENV_NEVER };
    world_init(&world, 1);
    struct env *env = world.env;
    worker.actor = (struct actor){ .name = "sleeper", .turn = sleeper_turn, .self = &worker };
    assert_int_equal(env->actor_start(env, &worker.actor), 0);
    assert_true(sim_step(world.sim)); /* the first turn */
    assert_false(sim_step(world.sim));
    assert_false(sim_advance(world.sim, ENV_NEVER));
    worker.wish = env->mono_ns(env) + 5000000;
    env->actor_wake(env, &worker.actor);
    assert_true(sim_step(world.sim));
    assert_false(sim_step(world.sim));
    assert_true(sim_advance(world.sim, 1000000));
    assert_false(sim_step(world.sim));
    assert_true(sim_advance(world.sim, ENV_NEVER));
    assert_true(env->mono_ns(env) == worker.wish);
    worker.wish = ENV_NEVER;
    assert_true(sim_step(world.sim));
    assert_int_equal(worker.turns, 3);
    env->actor_stop(env, &worker.actor);
    env->actor_wake(env, &worker.actor);
    assert_false(sim_step(world.sim));
    sim_destroy(world.sim);
}

static void run_ends_at_its_limit_of_simulated_time(void **state)
{
    struct world world;
    struct worker workers[3];
    world_init(&world, 3);
    workers_start(&world, workers);
    for (int i = 0; i < 3; i++) workers[i].actor.turn = sleeper_turn;
    for (int i = 0; i < 3; i++) workers[i].wish = ENV_NEVER;
    assert_false(sim_run(world.sim, never, NULL, ENV_NEVER)); /* nothing left to do */
    sim_destroy(world.sim);
}

static void crash_ends_the_turn_and_the_actors(void **state)
{
    for (uint64_t at = 1; at < 40; at++) {
        struct world world;
        struct worker workers[3];
        world_init(&world, at);
        workers_start(&world, workers);
        uint64_t before = sim_operations(world.sim);
        sim_crash_at(world.sim, at, (enum sim_crash_mode)(at % 4));
        assert_false(sim_run(world.sim, never, NULL, ENV_NEVER));
        assert_true(sim_crashed(world.sim));
        assert_int_equal(sim_operations(world.sim) - before, at);
        assert_false(sim_step(world.sim));
        world_open(&world); /* the next start */
        assert_false(sim_crashed(world.sim));
        assert_false(sim_step(world.sim)); /* no actor came along */
        sim_destroy(world.sim);
    }
}

static void write_twice(void *arg)
{
    struct world *world = arg;
    world->env->write(world->env, world->fd, "a", 1, 0);
    world->env->write(world->env, world->fd, "b", 1, 1);
}

static void guard_takes_a_crash_outside_of_turns(void **state)
{
    struct world world;
    char bytes[4];
    world_init(&world, 1);
    assert_true(sim_guard(world.sim, write_twice, &world));
    assert_int_equal(world.env->sync(world.env, world.fd), 0);
    sim_crash_at(world.sim, 2, SIM_KEEP_NOTHING);
    assert_false(sim_guard(world.sim, write_twice, &world));
    assert_true(sim_crashed(world.sim));
    world_open(&world);
    assert_int_equal(world_read(&world, bytes, 4), 2);
    sim_destroy(world.sim);
}

static void clocks_move_by_hand(void **state)
{
    struct world world;
    world_init(&world, 1);
    struct env *env = world.env;
    uint64_t mono = env->mono_ns(env);
    int64_t wall = env->wall_ms(env);
    sim_clock_add(world.sim, 5000000);
    assert_true(env->mono_ns(env) == mono + 5000000);
    assert_int_equal(env->wall_ms(env), wall + 5);
    sim_wall_jump(world.sim, -1000);
    assert_true(env->mono_ns(env) == mono + 5000000);
    assert_int_equal(env->wall_ms(env), wall - 995);
    assert_int_equal(env->listen(env, "localhost", 0), -ENOSYS);
    sim_destroy(world.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synced_bytes_survive_every_mode),
        cmocka_unit_test(unsynced_bytes_are_lost_or_kept_as_the_mode_says),
        cmocka_unit_test(random_crash_keeps_any_subset_of_sectors),
        cmocka_unit_test(torn_crash_keeps_a_prefix_and_a_part),
        cmocka_unit_test(cutting_a_file_is_pending_until_sync_too),
        cmocka_unit_test(names_are_pending_until_the_directory_is_synced),
        cmocka_unit_test(random_crash_keeps_any_subset_of_names),
        cmocka_unit_test(rename_to_itself_changes_nothing),
        cmocka_unit_test(handles_from_before_a_crash_are_refused),
        cmocka_unit_test(lock_is_held_until_closed_or_crashed),
        cmocka_unit_test(fault_hits_the_nth_operation_once),
        cmocka_unit_test(lost_sync_says_ok_the_second_time_and_the_bytes_are_gone),
        cmocka_unit_test(full_disk_refuses_what_does_not_fit),
        cmocka_unit_test(flip_changes_one_durable_bit),
        cmocka_unit_test(equal_seeds_give_equal_traces),
        cmocka_unit_test(actor_runs_when_woken_or_due_and_else_not),
        cmocka_unit_test(run_ends_at_its_limit_of_simulated_time),
        cmocka_unit_test(crash_ends_the_turn_and_the_actors),
        cmocka_unit_test(guard_takes_a_crash_outside_of_turns),
        cmocka_unit_test(clocks_move_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
