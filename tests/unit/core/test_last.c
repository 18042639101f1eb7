/*
 * test_last.c - weir_call_last(): what it answers, how it fails, and that neither depends on where the called entity lives.
 *
 * The same requests on one shard, where every call is an ordinary one, and on four, where most of them are decided by the
 * callee's shard.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "weir/weir.h"

#define KEYS 12

struct purse {
    int64_t coins, visits;
};
struct give {
    struct weir_ref to;
    int64_t coins;
};
struct slip {
    struct weir_str from;
    int64_t coins;
};
struct answer {
    int64_t coins;
    struct weir_str word;
};
static const struct weir_field purse_fields[] = {
    WEIR_FIELD(struct purse, coins, WEIR_INT, .min = WEIR_BOUND(0), .max = WEIR_BOUND(1000)),
    WEIR_FIELD(struct purse, visits, WEIR_INT), WEIR_END
};
static const struct weir_field give_fields[] = { WEIR_FIELD(struct give, to, WEIR_REF, .type = "purse"),
                                                 WEIR_FIELD(struct give, coins, WEIR_INT), WEIR_END };
static const struct weir_field slip_fields[] = { WEIR_FIELD(struct slip, from, WEIR_TEXT),
                                                 WEIR_FIELD(struct slip, coins, WEIR_INT), WEIR_END };
static const struct weir_field answer_fields[] = { WEIR_FIELD(struct answer, coins, WEIR_INT),
                                                   WEIR_FIELD(struct answer, word, WEIR_TEXT), WEIR_END };
#define GIVE WEIR_SHAPE(struct give, give_fields)
#define SLIP WEIR_SHAPE(struct slip, slip_fields)
#define ANSWER WEIR_SHAPE(struct answer, answer_fields)
#define NUMBER WEIR_SCALAR(WEIR_INT)
#define FEW WEIR_SCALAR(WEIR_INT, .max = WEIR_BOUND(5))

static struct weir_verb put = { .type = "purse", .handler = "put", .args = SLIP, .result = ANSWER };
static struct weir_verb count = { .type = "purse", .handler = "count", .args = SLIP, .result = NUMBER };
static struct weir_verb refuse = { .type = "purse", .handler = "refuse", .args = SLIP, .result = ANSWER };
static struct weir_verb send_on = { .type = "purse", .handler = "send_on", .args = SLIP, .result = NUMBER };
static struct weir_verb look = { .type = "purse", .handler = "look", .args = WEIR_NOTHING, .result = NUMBER };

/* Answers with more text than fits into a message, so that it travels beside it. */
static enum weir_status purse_put(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct purse *self = row;
    const struct slip *in = args;
    struct answer *out = result;
    char *word = weir_scratch(ctx, 64);
    self->coins += in->coins;
    self->visits++;
    snprintf(word, 64, "from %.*s, with many thanks for it", (int)in->from.len, in->from.ptr);
    *out = (struct answer){ self->coins, { word, strlen(word) } };
    return WEIR_OK;
}

static enum weir_status purse_count(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct purse *self = row;
    self->coins += ((const struct slip *)args)->coins;
    *(int64_t *)result = self->coins;
    return WEIR_OK;
}

static enum weir_status purse_refuse(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct purse *)row)->coins++;
    return weir_fail(ctx, "unwanted", ((const struct slip *)args)->from);
}

/* Sends a message, so its shard does not decide. */
static enum weir_status purse_send_on(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct purse *self = row;
    struct slip none = { { "x", 1 }, 0 };
    self->coins += ((const struct slip *)args)->coins;
    *(int64_t *)result = self->coins;
    return weir_send(ctx, (struct weir_ref){ { "sink", 4 } }, &put, &none);
}

static enum weir_status purse_look(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ((const struct purse *)row)->coins;
    return WEIR_OK;
}

/* The slip's memory is overwritten on return: the engine has a copy. */
static enum weir_status last_with(struct weir_ctx *ctx, void *row, const void *args, const struct weir_verb *verb)
{
    const struct give *in = args;
    char from[32];
    struct weir_str self = weir_self(ctx);
    snprintf(from, sizeof(from), "%.*s", (int)self.len, self.ptr);
    struct slip slip = { { from, strlen(from) }, in->coins };
    ((struct purse *)row)->coins -= in->coins;
    enum weir_status st = weir_call_last(ctx, in->to, verb, &slip);
    memset(from, '#', sizeof(from));
    slip.coins = -999;
    return st;
}

#define LAST(name, verb)                                                                                \
    static enum weir_status name(struct weir_ctx *ctx, void *row, const void *args, void *result)       \
    {                                                                                                   \
        return last_with(ctx, row, args, &verb);                                                        \
    }
LAST(purse_give, put)
LAST(purse_give_count, count)
LAST(purse_give_quietly, count)
LAST(purse_give_few, count)
LAST(purse_give_wrong, count)
LAST(purse_give_refused, refuse)
LAST(purse_give_on, send_on)

static enum weir_status purse_give_twice(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    enum weir_status st = last_with(ctx, row, args, &put);
    assert_int_equal(st, WEIR_OK);
    return last_with(ctx, row, args, &put);
}

/* A failure after the call was noted: it is not made. */
static enum weir_status purse_give_then_fail(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    assert_int_equal(last_with(ctx, row, args, &put), WEIR_OK);
    return weir_fail(ctx, "changed_my_mind", (struct weir_str){ NULL, 0 });
}

/* What the row becomes after the call was noted counts: the call comes behind. */
static enum weir_status purse_give_back(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    enum weir_status st = last_with(ctx, row, args, &count);
    ((struct purse *)row)->coins += 1;
    return st;
}

#define TAKES(name, function, args, result) { name, WEIR_ON, function, args, result, "anyone" }
static const struct weir_handler handlers[] = {
    TAKES("put", purse_put, SLIP, ANSWER), TAKES("count", purse_count, SLIP, NUMBER),
    TAKES("refuse", purse_refuse, SLIP, ANSWER), TAKES("send_on", purse_send_on, SLIP, NUMBER),
    TAKES("give", purse_give, GIVE, ANSWER), TAKES("give_count", purse_give_count, GIVE, NUMBER),
    TAKES("give_quietly", purse_give_quietly, GIVE, WEIR_NOTHING), TAKES("give_few", purse_give_few, GIVE, FEW),
    TAKES("give_wrong", purse_give_wrong, GIVE, ANSWER), TAKES("give_refused", purse_give_refused, GIVE, ANSWER),
    TAKES("give_on", purse_give_on, GIVE, NUMBER), TAKES("give_twice", purse_give_twice, GIVE, ANSWER),
    TAKES("give_then_fail", purse_give_then_fail, GIVE, ANSWER), TAKES("give_back", purse_give_back, GIVE, NUMBER),
    { "look", WEIR_QUERY, purse_look, WEIR_NOTHING, NUMBER, "anyone" }, WEIR_END
};
static const struct weir_entity purse = { .name = "purse", .row = WEIR_SHAPE(struct purse, purse_fields), .handlers = handlers };

/* ---- one engine at a time ---- */

static struct weir_engine *engine;
static char folder[64];

static void engine_begin(uint32_t shards)
{
    struct weir_app *app;
    struct weir_error error;
    struct weir_verb *verbs[] = { &put, &count, &refuse, &send_on, &look };
    snprintf(folder, sizeof(folder), "/tmp/weir-last-XXXXXX");
    assert_non_null(mkdtemp(folder));
    struct weir_options options = WEIR_OPTIONS;
    options.data = folder;
    options.shards = shards;
    assert_int_equal(weir_open(&options, &app, &error), WEIR_OK);
    assert_int_equal(weir_add_entity(app, &purse), WEIR_OK);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) assert_int_equal(weir_use(app, verbs[i]), WEIR_OK);
    assert_int_equal(weir_start(app, &engine, &error), WEIR_OK);
}

static void engine_end(void)
{
    char command[100];
    weir_close(engine);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static struct weir_ref ref_of(const char *key)
{
    return (struct weir_ref){ { key, strlen(key) } };
}

static int64_t coins_of(const char *key)
{
    int64_t coins = -1;
    struct weir_error error;
    assert_int_equal(weir_request(engine, ref_of(key), &look, (struct weir_str){ NULL, 0 }, NULL, &coins, &error), WEIR_OK);
    return coins;
}

static void coins_set(const char *key, int64_t coins)
{
    int64_t sum;
    struct weir_error error;
    struct slip slip = { { "x", 1 }, coins - coins_of(key) };
    assert_int_equal(weir_request(engine, ref_of(key), &count, (struct weir_str){ NULL, 0 }, &slip, &sum, &error), WEIR_OK);
}

static const struct row {
    const char *handler;
    int64_t coins;         /* given, of 10 */
    enum weir_status status;
    const char *code;
    int64_t left, got;     /* what both have then; the other had 3 */
    int64_t number;        /* the answer */
    const char *word;      /* how its text begins */
} rows[] = {
    { "give", 4, WEIR_OK, "", 6, 7, 7, "from giver" },
    { "give_count", 4, WEIR_OK, "", 6, 7, 7, NULL },
    { "give_quietly", 4, WEIR_OK, "", 6, 7, -1, NULL },
    { "give_few", 2, WEIR_OK, "", 8, 5, 5, NULL },       /* at most 5: a rule of the caller's own */
    { "give_few", 3, WEIR_HANDLER, "handler", 10, 3, 0, NULL },
    { "give_wrong", 4, WEIR_HANDLER, "handler", 10, 3, 0, NULL },
    { "give_refused", 4, WEIR_FAILED, "unwanted", 10, 3, 0, NULL },
    { "give_on", 4, WEIR_OK, "", 6, 7, 7, NULL },
    { "give_twice", 4, WEIR_HANDLER, "handler", 10, 3, 0, NULL },
    { "give_then_fail", 4, WEIR_FAILED, "changed_my_mind", 10, 3, 0, NULL },
    { "give_back", 4, WEIR_OK, "", 7, 7, 7, NULL },
    { "give", 10, WEIR_OK, "", 0, 13, 13, "from giver" },
    { "give", 11, WEIR_CHECK, "check", 10, 3, 0, NULL }, /* the giver's rule, before the call */
    { "give_back", 11, WEIR_OK, "", 0, 14, 14, NULL },
    { "give", -4, WEIR_CHECK, "check", 10, 3, 0, NULL }, /* the other's rule */
    { "give", -3, WEIR_OK, "", 13, 0, 0, "from giver" },
};

static void row_try(const struct row *row, const char *from, const char *to)
{
    bool words = row->word != NULL, none = strcmp(row->handler, "give_quietly") == 0;
    struct weir_verb verb = { .type = "purse", .handler = row->handler, .args = GIVE };
    struct give give = { ref_of(to), row->coins };
    union {
        struct answer answer;
        int64_t number;
    } result = { .answer = { -1, { NULL, 0 } } };
    struct weir_error error;
    if (none) verb.result = (struct weir_shape)WEIR_NOTHING;
    else if (strcmp(row->handler, "give_few") == 0) verb.result = (struct weir_shape)FEW;
    else if (words || row->status != WEIR_OK) verb.result = (struct weir_shape)ANSWER;
    else verb.result = (struct weir_shape)NUMBER;
    coins_set(from, 10);
    coins_set(to, 3);
    enum weir_status st = weir_request(engine, ref_of(from), &verb, (struct weir_str){ NULL, 0 }, &give, &result, &error);
    if (st != row->status || (st != WEIR_OK && strcmp(error.code, row->code) != 0))
        fail_msg("%s of %lld from %s to %s: %d %s %s", row->handler, (long long)row->coins, from, to, (int)st, error.code, error.detail);
    if (st == WEIR_OK) assert_int_equal(result.number, row->number);
    if (words) assert_true(strncmp(result.answer.word.ptr, row->word, strlen(row->word)) == 0 &&
                           strstr(result.answer.word.ptr, "many thanks") != NULL);
    assert_int_equal(coins_of(from), row->left);
    assert_int_equal(coins_of(to), row->got);
}

static void it_means_the_same_on_any_shards(void **state)
{
    (void)state;
    for (uint32_t shards = 1; shards <= 4; shards += 3) {
        engine_begin(shards);
        for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
            for (int k = 0; k < KEYS; k++) {
                char from[24], to[24];
                snprintf(from, sizeof(from), "giver%d", k);
                snprintf(to, sizeof(to), "taker%d", k * 7);
                row_try(&rows[r], from, to);
            }
        }
        engine_end();
    }
}

/* The giver's own purse: the call comes when the row was judged, and changes it once more. */
static void it_may_call_the_entity_itself(void **state)
{
    (void)state;
    engine_begin(2);
    struct weir_verb verb = { .type = "purse", .handler = "give_count", .args = GIVE, .result = NUMBER };
    struct give give = { ref_of("self"), 4 };
    int64_t sum = 0;
    struct weir_error error;
    coins_set("self", 10);
    assert_int_equal(weir_request(engine, ref_of("self"), &verb, (struct weir_str){ "id-1", 4 }, &give, &sum, &error), WEIR_OK);
    assert_int_equal(sum, 10);
    assert_int_equal(coins_of("self"), 10);
    engine_end();
}

/* A request with an id that ends so is recorded with the other's answer: a repeat gets that and nothing happens. */
static void its_answer_is_remembered(void **state)
{
    (void)state;
    engine_begin(4);
    struct weir_verb verb = { .type = "purse", .handler = "give", .args = GIVE, .result = ANSWER };
    struct weir_error error;
    for (int k = 0; k < KEYS; k++) {
        char from[24], to[24], id[24];
        snprintf(from, sizeof(from), "giver%d", k);
        snprintf(to, sizeof(to), "taker%d", k * 7);
        snprintf(id, sizeof(id), "id-%d", k);
        struct give give = { ref_of(to), 4 };
        coins_set(from, 10);
        for (int again = 0; again < 3; again++) {
            struct answer answer = { 0 };
            assert_int_equal(weir_request(engine, ref_of(from), &verb, (struct weir_str){ id, strlen(id) }, &give, &answer, &error), WEIR_OK);
            assert_int_equal(answer.coins, 4);
            assert_true(strncmp(answer.word.ptr, "from giver", 10) == 0);
        }
        assert_int_equal(coins_of(from), 6);
        assert_int_equal(coins_of(to), 4);
    }
    engine_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_means_the_same_on_any_shards),
        cmocka_unit_test(it_may_call_the_entity_itself),
        cmocka_unit_test(its_answer_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
