/*
 * test_all.c - weir_call_all(): that it means what calls one after the other mean, wherever the called entities live, and that
 * calls to other shards are out at the same time.
 *
 * Drawn programs of calls, nested, that read, change, send and fail, over so few entities that they meet: each is run on one
 * shard, where every call is in turn, and on several. Answers, failures and all rows must be the same. A failure prints the
 * seed: `ALL_SEED=n build/tests/unit/core/test_core_all` runs it again.
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "weir/weir.h"

#define CELLS 26
#define PROGRAM_MAX 1500
#define PARTS_MAX 6
#define PROGRAMS 250

/* ---- the application: a cell runs a program ---- */

struct cell {
    int64_t n;     /* depends on the order of all that was done to it */
    int64_t heard; /* likewise, of messages */
    int64_t letters;
};
struct told {
    int64_t value, sends;
};
static const struct weir_field cell_fields[] = { WEIR_FIELD(struct cell, n, WEIR_INT),
                                                 WEIR_FIELD(struct cell, heard, WEIR_INT),
                                                 WEIR_FIELD(struct cell, letters, WEIR_INT), WEIR_END };
static const struct weir_field told_fields[] = { WEIR_FIELD(struct told, value, WEIR_INT),
                                                 WEIR_FIELD(struct told, sends, WEIR_INT), WEIR_END };
struct letter {
    struct weir_ref to;
    int64_t value;
};
static const struct weir_field letter_fields[] = { WEIR_FIELD(struct letter, to, WEIR_REF, .type = "cell"),
                                                   WEIR_FIELD(struct letter, value, WEIR_INT), WEIR_END };
#define TEXT WEIR_SCALAR(WEIR_TEXT, .max = WEIR_BOUND(PROGRAM_MAX))
#define NUMBER WEIR_SCALAR(WEIR_INT)
#define TOLD WEIR_SHAPE(struct told, told_fields)
#define LETTER WEIR_SHAPE(struct letter, letter_fields)
#define CELL WEIR_SHAPE(struct cell, cell_fields)

static struct weir_verb run = { .type = "cell", .handler = "run", .args = TEXT, .result = TOLD };
static struct weir_verb ask = { .type = "cell", .handler = "ask", .args = TEXT, .result = TOLD };
static struct weir_verb hear = { .type = "cell", .handler = "hear", .args = NUMBER, .result = WEIR_NOTHING };
static struct weir_verb look = { .type = "cell", .handler = "look", .args = WEIR_NOTHING, .result = CELL };
static struct weir_verb meet = { .type = "cell", .handler = "meet", .args = WEIR_NOTHING, .result = NUMBER };
static struct weir_verb drop = { .type = "post", .handler = "drop", .args = LETTER, .result = WEIR_NOTHING };

static _Atomic uint64_t handlers_run;

static int64_t mix(int64_t n, int64_t value)
{
    return (n * 31 + value + 7) % 1000000007;
}

/* The end of the bracket that opens at `at`. */
static size_t closing(struct weir_str program, size_t at)
{
    int depth = 0;
    for (; at < program.len; at++) {
        if (program.ptr[at] == '(') depth++;
        if (program.ptr[at] == ')' && --depth == 0) return at;
    }
    abort();
}

/* One of a row of calls: `k(...)` runs, `k?(...)` asks. Returns where the next stands. */
static size_t call_read(struct weir_ctx *ctx, struct weir_str program, size_t at, struct weir_call *call, struct told *told)
{
    struct weir_str *inner = weir_scratch(ctx, sizeof(*inner));
    call->to = (struct weir_ref){ { program.ptr + at++, 1 } };
    call->verb = &run;
    if (program.ptr[at] == '?') {
        call->verb = &ask;
        at++;
    }
    size_t end = closing(program, at);
    *inner = (struct weir_str){ program.ptr + at + 1, end - at - 1 };
    call->args = inner;
    call->result = told;
    return end + 1;
}

/*
 * a: changes the cell. l k: looks at a cell. c k(...): calls. { k(...) k?(...) }: calls all. p k: a message, of a service that
 * all share. f x: fails with that word. Each step's value goes into the answer.
 */
static enum weir_status interpret(struct weir_ctx *ctx, struct cell *self, struct weir_str program, struct told *out)
{
    int64_t value = self->n;
    for (size_t at = 0; at < program.len && weir_failed(ctx) == WEIR_OK;) {
        char step = program.ptr[at++];
        struct weir_call calls[PARTS_MAX];
        struct told told[PARTS_MAX] = { 0 };
        struct cell seen = { 0 };
        size_t count = 0;
        if (step == 'a') {
            value = self->n = mix(self->n, value);
        } else if (step == 'l') {
            weir_call(ctx, (struct weir_ref){ { program.ptr + at++, 1 } }, &look, NULL, &seen);
            value = mix(value, seen.n);
        } else if (step == 'p') {
            struct letter letter = { { { program.ptr + at++, 1 } }, value };
            weir_call(ctx, (struct weir_ref){ { "", 0 } }, &drop, &letter, NULL);
            out->sends++;
        } else if (step == 'f') {
            char word[] = { 'f', program.ptr[at++], 0 };
            return weir_fail(ctx, word, (struct weir_str){ NULL, 0 });
        } else if (step == 'c') {
            at = call_read(ctx, program, at, &calls[0], &told[0]);
            weir_call(ctx, calls[0].to, calls[0].verb, calls[0].args, calls[0].result);
            count = 1;
        } else if (step == '{') {
            for (; program.ptr[at] != '}'; count++) at = call_read(ctx, program, at, &calls[count], &told[count]);
            at++;
            weir_call_all(ctx, calls, count);
        } else {
            abort();
        }
        for (size_t i = 0; i < count; i++) {
            value = mix(value, told[i].value);
            out->sends += told[i].sends;
        }
    }
    out->value = value;
    return weir_failed(ctx);
}

static enum weir_status cell_run(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    handlers_run++;
    return interpret(ctx, row, *(const struct weir_str *)args, result);
}

static enum weir_status cell_hear(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct cell *self = row;
    self->heard = mix(self->heard, *(const int64_t *)args);
    self->letters++;
    return WEIR_OK;
}

static enum weir_status cell_look(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(struct cell *)result = *(const struct cell *)row;
    return WEIR_OK;
}

/* ---- those that wait for each other ---- */

#define MEET_NS UINT64_C(100000000)
#define LETTERS_NS UINT64_C(20000000000)
static _Atomic int arrived;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* 1 once another is here too. */
static enum weir_status cell_meet(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    uint64_t end = now_ns() + MEET_NS;
    arrived++;
    while (arrived < 2 && now_ns() < end) continue;
    *(int64_t *)result = arrived >= 2;
    return WEIR_OK;
}

static enum weir_status cell_both(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct weir_str keys = *(const struct weir_str *)args;
    int64_t met[2] = { 0 };
    struct weir_call calls[2];
    for (size_t i = 0; i < 2; i++) calls[i] = (struct weir_call){ { { keys.ptr + i, 1 } }, &meet, NULL, &met[i] };
    enum weir_status st = weir_call_all(ctx, calls, 2);
    *(int64_t *)result = met[0] + met[1];
    return st;
}

/* More than may be out at the same time: in turn. */
static enum weir_status cell_many(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    size_t count = (size_t)*(const int64_t *)args;
    struct weir_call *calls = weir_scratch(ctx, count * sizeof(*calls));
    struct cell *seen = weir_scratch(ctx, count * sizeof(*seen));
    for (size_t i = 0; i < count; i++)
        calls[i] = (struct weir_call){ { { &letters[i % 26], 1 } }, &look, NULL, &seen[i] };
    enum weir_status st = weir_call_all(ctx, calls, count);
    for (size_t i = 0; i < count; i++) *(int64_t *)result += seen[i].letters;
    return st;
}

static enum weir_status post_drop(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct letter *in = args;
    return weir_send(ctx, in->to, &hear, &in->value);
}

static const struct weir_handler cell_handlers[] = {
    { "run", WEIR_ON, cell_run, TEXT, TOLD, "anyone" }, { "ask", WEIR_QUERY, cell_run, TEXT, TOLD, "anyone" },
    { "hear", WEIR_ON, cell_hear, NUMBER, WEIR_NOTHING, "anyone" }, { "look", WEIR_QUERY, cell_look, WEIR_NOTHING, CELL, "anyone" },
    { "meet", WEIR_ON, cell_meet, WEIR_NOTHING, NUMBER, "anyone" }, { "both", WEIR_ON, cell_both, TEXT, NUMBER, "anyone" },
    { "many", WEIR_ON, cell_many, NUMBER, NUMBER, "anyone" }, WEIR_END
};
static const struct weir_entity cell_entity = { .name = "cell", .row = CELL, .handlers = cell_handlers };
static const struct weir_handler post_handlers[] = { { "drop", WEIR_ON, post_drop, LETTER, WEIR_NOTHING, "anyone" }, WEIR_END };
static const struct weir_service post_service = { "post", post_handlers };

/* ---- an engine ---- */

struct world {
    struct weir_engine *engine;
    char folder[64];
    int64_t letters; /* that were sent */
};

static void world_begin(struct world *w, uint32_t shards, const char *policy)
{
    struct weir_app *app;
    struct weir_error error;
    struct weir_verb *verbs[] = { &run, &ask, &hear, &look, &meet, &drop };
    *w = (struct world){ .folder = "/tmp/weir-all-XXXXXX" };
    assert_non_null(mkdtemp(w->folder));
    struct weir_options options = WEIR_OPTIONS;
    options.data = w->folder;
    options.shards = shards;
    options.threads = shards;
    options.conflict_policy = policy;
    assert_int_equal(weir_open(&options, &app, &error), WEIR_OK);
    assert_int_equal(weir_add_entity(app, &cell_entity), WEIR_OK);
    assert_int_equal(weir_add_service(app, &post_service), WEIR_OK);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) assert_int_equal(weir_use(app, verbs[i]), WEIR_OK);
    assert_int_equal(weir_start(app, &w->engine, &error), WEIR_OK);
}

static void world_end(struct world *w)
{
    char command[100];
    weir_close(w->engine);
    snprintf(command, sizeof(command), "rm -rf %s", w->folder);
    assert_int_equal(system(command), 0);
}

static enum weir_status request(struct world *w, struct weir_str key, const struct weir_verb *verb, const void *args, void *result,
                                struct weir_error *error)
{
    return weir_request(w->engine, (struct weir_ref){ key }, verb, (struct weir_str){ NULL, 0 }, args, result, error);
}

static struct cell cell_of(struct world *w, int k)
{
    char key[] = { (char)('a' + k), 0 };
    struct weir_error error;
    struct cell cell = { 0 };
    assert_int_equal(request(w, (struct weir_str){ key, 1 }, &look, NULL, &cell, &error), WEIR_OK);
    return cell;
}

/* Until every message was heard: what comes after must not be told apart by that. */
static void letters_wait(struct world *w)
{
    uint64_t end = now_ns() + LETTERS_NS;
    int64_t heard;
    do {
        heard = 0;
        for (int k = 0; k < CELLS; k++) heard += cell_of(w, k).letters;
    } while (heard < w->letters && now_ns() < end);
    assert_int_equal(heard, w->letters);
}

static enum weir_status program_run(struct world *w, struct weir_str program, struct told *told, struct weir_error *error)
{
    *told = (struct told){ 0 };
    *error = (struct weir_error){ 0 };
    enum weir_status st = request(w, (struct weir_str){ "a", 1 }, &run, &program, told, error);
    if (st == WEIR_OK && told->sends > 0) {
        w->letters += told->sends;
        letters_wait(w);
    }
    return st;
}

/* ---- programs ---- */

static uint64_t drawn;

static uint32_t draw(uint32_t below)
{
    drawn = drawn * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(drawn >> 33) % below;
}

static char text[PROGRAM_MAX + 1];
static size_t text_len;
static uint32_t cells_used;        /* few: calls meet often */
static bool one_hears, fails_often; /* all messages go to one cell that nobody calls */

static void put(char c)
{
    if (text_len < PROGRAM_MAX) text[text_len++] = c;
}

static void put_cell(void)
{
    put((char)('a' + draw(cells_used)));
}

static void program_draw(uint32_t depth, bool reads);

static void call_draw(uint32_t depth, bool reads)
{
    put_cell();
    bool asks = reads || draw(3) == 0;
    if (asks) put('?');
    put('(');
    program_draw(depth - 1, asks);
    put(')');
}

static void program_draw(uint32_t depth, bool reads)
{
    uint32_t steps = draw(4);
    for (uint32_t i = 0; i < steps && text_len < PROGRAM_MAX - 400; i++) {
        uint32_t step = draw(depth > 0 ? 20 : 12);
        if (step >= 16) {
            uint32_t count = 1 + draw(PARTS_MAX);
            put('{');
            for (uint32_t k = 0; k < count; k++) call_draw(depth, reads);
            put('}');
        } else if (step >= 12) {
            put('c');
            call_draw(depth, reads);
        } else if (step >= 8 || (reads && step >= 3)) {
            put('l');
            put_cell();
        } else if (step >= 3) {
            put('a');
        } else if (step >= 1) {
            if (reads) continue;
            put('p');
            if (one_hears) put('z');
            else put_cell();
        } else if (fails_often || draw(3) == 0) {
            put('f');
            put((char)('a' + draw(26)));
        }
    }
}

/* A slow one and a quick one behind it, both of which send, or fail. */
static void race_draw(void)
{
    static const char form[] = "{b(acd()cf()pz)h(apz)}", fails[] = "{b(acd()cf()fx)h(afy)}";
    char shift = (char)draw(18);
    const char *from = draw(3) == 0 ? fails : form;
    for (size_t i = 0; from[i] != 0; i++) {
        bool is_cell = from[i + 1] == '(';
        put((char)(from[i] + (is_cell ? shift : 0)));
    }
}

static struct weir_str program_new(void)
{
    text_len = 0;
    cells_used = draw(2) == 0 ? CELLS - 1 : 2 + draw(8);
    one_hears = draw(2) == 0;
    fails_often = draw(4) == 0;
    if (draw(4) == 0) race_draw();
    while (text_len == 0) program_draw(3, false);
    text[text_len] = 0;
    return (struct weir_str){ text, text_len };
}

static void twin_judge(struct world *one, struct world *many, struct weir_str program, uint64_t seed)
{
    struct told told[2];
    struct weir_error errors[2];
    enum weir_status a = program_run(one, program, &told[0], &errors[0]), b = program_run(many, program, &told[1], &errors[1]);
    if (a == b && told[0].value == told[1].value && told[0].sends == told[1].sends && strcmp(errors[0].code, errors[1].code) == 0) return;
    fail_msg("ALL_SEED=%" PRIu64 ": %s\nin turn: %d %s %" PRId64 " %" PRId64 "\ntogether: %d %s %" PRId64 " %" PRId64, seed, program.ptr, (int)a,
             errors[0].code, told[0].value, told[0].sends, (int)b, errors[1].code, told[1].value, told[1].sends);
}

static void twins_run(uint32_t shards, const char *policy, uint64_t seed)
{
    struct world one, many;
    uint64_t ran[2] = { 0 }, failed = 0;
    drawn = seed;
    world_begin(&one, 1, policy);
    world_begin(&many, shards, policy);
    for (int i = 0; i < PROGRAMS; i++) {
        struct weir_str program = program_new();
        twin_judge(&one, &many, program, seed);
        struct told told;
        struct weir_error error;
        uint64_t before = handlers_run;
        failed += program_run(&one, program, &told, &error) != WEIR_OK;
        uint64_t between = handlers_run;
        (void)program_run(&many, program, &told, &error);
        ran[0] += between - before;
        ran[1] += handlers_run - between;
    }
    for (int k = 0; k < CELLS; k++) {
        struct cell a = cell_of(&one, k), b = cell_of(&many, k);
        if (memcmp(&a, &b, sizeof(a)) != 0) fail_msg("ALL_SEED=%" PRIu64 ": the cells %c differ", seed, 'a' + k);
    }
    world_end(&one);
    world_end(&many);
    /* some were undone to be run in turn, and some failed: else nothing was tried */
    assert_true(ran[1] > ran[0] + PROGRAMS / 10);
    assert_in_range(failed, 3, PROGRAMS / 2);
}

static uint64_t seed_of(uint64_t n)
{
    const char *given = getenv("ALL_SEED");
    return given ? strtoull(given, NULL, 10) : now_ns() * 16 + n;
}

static void they_mean_the_same_on_two_shards(void **state)
{
    (void)state;
    twins_run(2, NULL, seed_of(0));
}

static void they_mean_the_same_on_four_shards(void **state)
{
    (void)state;
    twins_run(4, NULL, seed_of(1));
}

static void they_mean_the_same_when_the_younger_die(void **state)
{
    (void)state;
    twins_run(3, "wait_die", seed_of(2));
}

/* Two on shards of their own, neither of which ends before both have begun. */
static void they_are_out_at_the_same_time(void **state)
{
    (void)state;
    struct world w;
    struct weir_verb both = { .type = "cell", .handler = "both", .args = TEXT, .result = NUMBER };
    int together = 0;
    world_begin(&w, 3, NULL);
    for (int i = 0; i < 60 && together == 0; i++) { /* most are not on three shards */
        char keys[] = { (char)('a' + i % 12), (char)('c' + i % 11), 0 }, from = (char)('p' + i % 10);
        struct weir_str args = { keys, 2 };
        struct weir_error error;
        int64_t met = 0;
        arrived = 0;
        if (keys[0] == keys[1]) continue;
        assert_int_equal(request(&w, (struct weir_str){ &from, 1 }, &both, &args, &met, &error), WEIR_OK);
        together = met == 2;
    }
    assert_int_equal(together, 1);
    world_end(&w);
}

static void many_are_called_too(void **state)
{
    (void)state;
    struct world w;
    struct weir_verb many = { .type = "cell", .handler = "many", .args = NUMBER, .result = NUMBER };
    struct weir_error error;
    world_begin(&w, 3, NULL);
    static const int64_t counts[] = { 0, 1, 2, 255, 256, 257, 1000 };
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        int64_t sum = -1;
        assert_int_equal(request(&w, (struct weir_str){ "a", 1 }, &many, &counts[i], &sum, &error), WEIR_OK);
        assert_int_equal(sum, 0);
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_mean_the_same_on_two_shards),  cmocka_unit_test(they_mean_the_same_on_four_shards),
        cmocka_unit_test(they_mean_the_same_when_the_younger_die), cmocka_unit_test(they_are_out_at_the_same_time),
        cmocka_unit_test(many_are_called_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
