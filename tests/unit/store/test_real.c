/*
 * test_real.c - the store on files of the kernel: written, closed, killed, damaged and locked.
 * SPDX-License-Identifier: MIT
 */
#include <fcntl.h>
#include <unistd.h>

#include "twin.h"

static char path[256];

static struct twin *real_create(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(path, sizeof(path), "%s/weir-store-XXXXXX", parent ? parent : "/tmp");
    assert_non_null(mkdtemp(path));
    struct twin *t = mem_alloc(sizeof(*t));
    t->env = *env_real();
    t->options = (struct store_options){ 8192, 65536, 0 };
    t->value_bytes = 300;
    return t;
}

static enum weir_status real_open(struct twin *t)
{
    memset(t->got, 0, sizeof(t->got));
    return store_open(&t->env, path, &t->options, twin_row, t, &t->store, &t->recovery, t->error, sizeof(t->error));
}

static void remove_one(void *arg, const char *name)
{
    char file[sizeof(path) + ENV_NAME_MAX];
    snprintf(file, sizeof(file), "%s/%s", path, name);
    unlink(file);
}

static void real_destroy(struct twin *t)
{
    if (t->store != NULL) store_abandon(t->store);
    int dir = t->env.dir_open(&t->env, path, false);
    t->env.dir_list(&t->env, dir, remove_one, NULL);
    t->env.dir_close(&t->env, dir);
    rmdir(path);
    mem_free(t);
}

static void real_store_keeps_rows_over_closes_and_kills(void **state)
{
    struct twin *t = real_create();
    assert_int_equal(real_open(t), WEIR_OK);
    for (int i = 0; i < 6; i++) {
        twin_commit(t, 50);
        (void)store_prepare(t->store);
        if (i % 2 == 1) assert_int_equal(twin_checkpoint(t), WEIR_OK);
        if (i % 3 == 0) store_abandon(t->store);
        else store_close(t->store);
        t->store = NULL;
        assert_int_equal(real_open(t), WEIR_OK);
        assert_int_equal(t->recovery.clean, i % 3 != 0);
        assert_int_equal(t->recovery.durable_epoch, t->epoch);
        assert_true(twin_matches(t));
    }
    real_destroy(t);
}

static void real_store_second_open_is_locked(void **state)
{
    struct twin *t = real_create();
    assert_int_equal(real_open(t), WEIR_OK);
    struct store *first = t->store;
    assert_int_equal(real_open(t), WEIR_LOCKED);
    t->store = first;
    twin_commit(t, 1);
    real_destroy(t);
}

static char newest[ENV_NAME_MAX];

static void note_log(void *arg, const char *name)
{
    if (strncmp(name, "log-", 4) == 0 && newest[0] == '\0') snprintf(newest, sizeof(newest), "%s", name);
}

static void real_store_refuses_damaged_log(void **state)
{
    struct twin *t = real_create();
    assert_int_equal(real_open(t), WEIR_OK);
    twin_commit(t, 10);
    store_close(t->store);
    t->store = NULL;
    int dir = t->env.dir_open(&t->env, path, false);
    newest[0] = '\0';
    t->env.dir_list(&t->env, dir, note_log, NULL);
    int fd = t->env.open(&t->env, dir, newest, ENV_WRITE);
    char byte;
    assert_int_equal(t->env.read(&t->env, fd, &byte, 1, 700), 1);
    byte ^= 0x10;
    assert_int_equal(t->env.write(&t->env, fd, &byte, 1, 700), 1);
    t->env.close(&t->env, fd);
    t->env.dir_close(&t->env, dir);
    assert_int_equal(real_open(t), WEIR_CORRUPT);
    assert_non_null(strstr(t->error, newest));
    real_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_store_keeps_rows_over_closes_and_kills),
        cmocka_unit_test(real_store_second_open_is_locked),
        cmocka_unit_test(real_store_refuses_damaged_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
