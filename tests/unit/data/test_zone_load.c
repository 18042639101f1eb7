/*
 * test_zone_load.c - zones by name, from a simulated disk and from this system.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/zone_load.h"
#include "os/sim.h"
#include "tzif.h"

static void file_put(struct env *env, const char *folder, const char *name, struct weir_str bytes)
{
    int dir = env->dir_open(env, folder, true);
    assert_true(dir >= 0);
    int fd = env->open(env, dir, name, ENV_WRITE | ENV_CREATE);
    assert_true(fd >= 0);
    assert_true(env->write(env, fd, bytes.ptr, bytes.len, 0) >= 0);
    env->close(env, fd);
    env->dir_close(env, dir);
}

static void zone_put(struct env *env, const char *folder, const char *name, int32_t offset_s)
{
    struct tzif from = { .version = '2', .type_count = 1, .offset_s = &offset_s, .footer = "" };
    struct buf bytes = { 0 };
    tzif_write(&bytes, &from);
    file_put(env, folder, name, buf_str(&bytes));
    buf_free(&bytes);
}

static void load_fails(struct env *env, struct weir_str name, enum weir_status status,
                       const char *part)
{
    struct arena arena = { 0 };
    const struct zone *zone = zone_utc();
    const char *why = "";
    assert_int_equal(zone_load(env, name, &arena, &zone, &why), status);
    assert_null(zone);
    if (!strstr(why, part)) print_error("`%s` does not say `%s`\n", why, part);
    assert_non_null(strstr(why, part));
    arena_free(&arena);
}

static int32_t load_offset_s(struct env *env, struct weir_str name)
{
    struct arena arena = { 0 };
    const struct zone *zone;
    const char *why = "";
    enum weir_status status = zone_load(env, name, &arena, &zone, &why);
    if (status != WEIR_OK) print_error("%s\n", why);
    assert_int_equal(status, WEIR_OK);
    int32_t offset_s = zone_offset_s(zone, 0);
    arena_free(&arena);
    return offset_s;
}

static void zone_load_looks_into_both_folders(void **state)
{
    struct sim *sim = sim_create(1);
    struct env *env = sim_env(sim);
    load_fails(env, STR("Moon/Crater"), WEIR_NOTFOUND, "tzdata");
    assert_int_equal(load_offset_s(env, STR("UTC")), 0);
    zone_put(env, "/usr/lib/zoneinfo", "Moon/Crater", 100);
    zone_put(env, "/usr/lib/zoneinfo", "Moon/Sea", 200);
    assert_int_equal(load_offset_s(env, STR("Moon/Crater")), 100);
    zone_put(env, "/usr/share/zoneinfo", "Moon/Crater", 300);
    assert_int_equal(load_offset_s(env, STR("Moon/Crater")), 300);
    assert_int_equal(load_offset_s(env, STR("Moon/Sea")), 200);
    load_fails(env, STR("Moon/Rim"), WEIR_NOTFOUND, "no such zone");
    sim_destroy(sim);
}

static void zone_load_refuses_bad_names_and_bad_files(void **state)
{
    struct sim *sim = sim_create(1);
    struct env *env = sim_env(sim);
    struct buf large = { 0 };
    buf_reserve(&large, 2 * ZONE_BYTES_MAX);
    memset(large.ptr, 0, 2 * ZONE_BYTES_MAX);
    large.len = 2 * ZONE_BYTES_MAX;
    file_put(env, "/usr/share/zoneinfo", "text", STR("no zone at all"));
    file_put(env, "/usr/share/zoneinfo", "empty", STR(""));
    file_put(env, "/usr/share/zoneinfo", "large", buf_str(&large));
    load_fails(env, STR("../share/zoneinfo/text"), WEIR_ARG, "Europe/Berlin");
    load_fails(env, STR("/text"), WEIR_ARG, "Europe/Berlin");
    load_fails(env, STR(""), WEIR_ARG, "Europe/Berlin");
    load_fails(env, STR("text"), WEIR_CORRUPT, "`text`: this is no TZif file");
    load_fails(env, STR("empty"), WEIR_CORRUPT, "no TZif");
    load_fails(env, STR("large"), WEIR_CORRUPT, "longer");
    buf_free(&large);
    sim_destroy(sim);
}

static void zone_load_reads_the_zones_of_this_system(void **state)
{
    struct arena arena = { 0 };
    bool there = zone_of_system(&arena, "Asia/Kolkata") != NULL;
    arena_free(&arena);
    if (!there) {
        print_message("skipped: this system has no tzdata\n");
        skip();
    }
    assert_int_equal(load_offset_s(env_real(), STR("Asia/Kolkata")), 5 * 3600 + 1800);
    load_fails(env_real(), STR("Europe"), WEIR_IO, "folder");
    load_fails(env_real(), STR("Europe/Atlantis"), WEIR_NOTFOUND, "no such zone");
    load_fails(env_real(), STR("Asia/Kolkata/x"), WEIR_NOTFOUND, "no such zone");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zone_load_looks_into_both_folders),
        cmocka_unit_test(zone_load_refuses_bad_names_and_bad_files),
        cmocka_unit_test(zone_load_reads_the_zones_of_this_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
