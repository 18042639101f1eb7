/*
 * test_epoch.c - when an epoch ends: at once for one request, with half of them for many that wait to begin.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/app.h"
#include "core/catalog.h"
#include "core/engine.h"
#include "os/sim.h"

#define MANY 1000u
#define MS UINT64_C(1000000)

struct box {
    int64_t n;
};
static const struct weir_field box_fields[] = { WEIR_FIELD(struct box, n, WEIR_INT), WEIR_END };

static enum weir_status box_bump(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ++((struct box *)row)->n;
    return WEIR_OK;
}

static const struct weir_handler box_handlers[] = { { "bump", WEIR_ON, box_bump, WEIR_NOTHING, WEIR_SCALAR(WEIR_INT), NULL },
                                                    WEIR_END };
static const struct weir_entity box = { .name = "box", .row = WEIR_SHAPE(struct box, box_fields), .handlers = box_handlers };

static struct {
    struct actor actor;
    struct sim *sim;
    struct weir_app app;
    struct engine *engine;
    struct port *port;
    struct request requests[MANY];
    char keys[MANY][8];
    uint64_t epochs[MANY]; /* of the answers, as they came */
    unsigned answered, wanted;
} w;

static uint64_t door_turn(void *self)
{
    for (struct request *r; (r = port_next(w.port)) != NULL;) {
        assert_int_equal(r->status, WEIR_OK);
        w.epochs[w.answered++] = r->epoch;
    }
    return ENV_NEVER;
}

static bool all_answered(void *arg)
{
    return w.answered == w.wanted;
}

static bool is_drained(void *arg)
{
    return engine_drain(w.engine);
}

static void world_open(uint64_t seed)
{
    char error[512] = "";
    struct store_recovery recovery;
    memset(&w, 0, sizeof(w));
    w.sim = sim_create(seed);
    app_init(&w.app, catalog_create());
    assert_int_equal(weir_add_entity(&w.app, &box), WEIR_OK);
    assert_true(app_finish(&w.app));
    struct engine_options options = {
        .env = sim_env(w.sim), .data = "data", .shards = 1, .threads = 1, .ports = 1, .catalog = w.app.catalog
    };
    assert_int_equal(engine_open(&options, &w.engine, &recovery, error, sizeof(error)), WEIR_OK);
    w.actor = (struct actor){ .name = "door", .turn = door_turn };
    w.port = engine_port(w.engine, 0, &w.actor);
    engine_start(w.engine);
    options.env->actor_start(options.env, &w.actor);
}

static void world_close(void)
{
    assert_true(sim_run(w.sim, is_drained, NULL, 1000 * MS));
    engine_close(w.engine);
    app_deinit(&w.app);
    catalog_destroy(w.app.catalog);
    sim_destroy(w.sim);
}

/* `count` at once, each for a box of its own. */
static void ask(unsigned count)
{
    struct env *env = sim_env(w.sim);
    struct type *type = catalog_type(w.app.catalog, STR("box"));
    w.answered = 0;
    w.wanted = count;
    for (unsigned i = 0; i < count; i++) {
        int len = snprintf(w.keys[i], sizeof(w.keys[i]), "b%u", i);
        w.requests[i] = (struct request){ .handler = type_handler(type, STR("bump")), .key = { w.keys[i], (size_t)len } };
        port_submit(w.port, &w.requests[i], env->mono_ns(env));
    }
    port_flush(w.port);
    assert_true(sim_run(w.sim, all_answered, NULL, 1000 * MS));
    for (unsigned i = 0; i < count; i++) arena_free(&w.requests[i].arena);
}

/* Of the answers of the epoch that was first. */
static unsigned first_epoch(void)
{
    unsigned count = 0;
    while (count < w.wanted && w.epochs[count] == w.epochs[0]) count++;
    return count;
}

static void one_request_does_not_wait(void **state)
{
    world_open(1);
    struct env *env = sim_env(w.sim);
    uint64_t before = env->mono_ns(env);
    ask(1);
    assert_true(env->mono_ns(env) - before < MS);
    world_close();
}

static void half_of_many_share_a_sync(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        world_open(seed);
        ask(MANY);
        assert_in_range(first_epoch(), MANY / 2, MANY * 3 / 4);
        world_close();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(one_request_does_not_wait), cmocka_unit_test(half_of_many_share_a_sync) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
