/*
 * test_rows.c - what handlers in C do to rows: texts of their own memory are kept, within the transaction too; what is part of
 * the key stays; deleting and writing anew in one transaction; queries change nothing. On one shard and on four.
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

#define NOTES 8
#define KEY_BYTES 50

struct note {
    int64_t w, n;
    struct weir_str title, body;
    int64_t count;
    char code[4];
};
struct line {
    struct weir_str text;
    int64_t n;
};
struct set {
    struct weir_str title;
};
struct write {
    int64_t w, n;
    struct weir_str first, second;
};
static const struct weir_field note_fields[] = {
    WEIR_FIELD(struct note, w, WEIR_INT),      WEIR_FIELD(struct note, n, WEIR_INT),
    WEIR_FIELD(struct note, title, WEIR_TEXT), WEIR_FIELD(struct note, body, WEIR_TEXT, .max = WEIR_BOUND(40)),
    WEIR_FIELD(struct note, count, WEIR_INT, .min = WEIR_BOUND(0)), WEIR_FIELD(struct note, code, WEIR_TEXT), WEIR_END
};
static const struct weir_field line_fields[] = { WEIR_FIELD(struct line, text, WEIR_TEXT), WEIR_FIELD(struct line, n, WEIR_INT),
                                                 WEIR_END };
static const struct weir_field set_fields[] = { WEIR_FIELD(struct set, title, WEIR_TEXT), WEIR_END };
static const struct weir_field write_fields[] = { WEIR_FIELD(struct write, w, WEIR_INT), WEIR_FIELD(struct write, n, WEIR_INT),
                                                  WEIR_FIELD(struct write, first, WEIR_TEXT),
                                                  WEIR_FIELD(struct write, second, WEIR_TEXT), WEIR_END };
static const struct weir_map note_maps[] = { { "lines", { WEIR_INT }, WEIR_SHAPE(struct line, line_fields), NULL }, WEIR_END };
#define SET WEIR_SHAPE(struct set, set_fields)
#define WRITE WEIR_SHAPE(struct write, write_fields)
#define TEXT WEIR_SCALAR(WEIR_TEXT)

static struct weir_verb set = { "note", "set", SET, WEIR_NOTHING, NULL };
static struct weir_verb add = { "note", "add", WEIR_NOTHING, WEIR_NOTHING, NULL };
static struct weir_verb same = { "note", "same", WEIR_NOTHING, WEIR_NOTHING, NULL };
static struct weir_verb move = { "note", "move", WEIR_NOTHING, WEIR_NOTHING, NULL };
static struct weir_verb renew = { "note", "renew", SET, WEIR_NOTHING, NULL };
static struct weir_verb line = { "note", "line", SET, WEIR_NOTHING, NULL };
static struct weir_verb look = { "note", "look", WEIR_NOTHING, TEXT, NULL };
static struct weir_verb spoil = { "note", "spoil", WEIR_NOTHING, TEXT, NULL };
static struct weir_verb claim = { "note", "claim", WEIR_NOTHING, TEXT, NULL };
static struct weir_verb spoil_title = { "note", "spoil_title", WEIR_NOTHING, TEXT, NULL };
static struct weir_verb write_twice = { "desk", "write", WRITE, TEXT, NULL };
static struct weir_verb write_lines = { "desk", "lines", WRITE, TEXT, NULL };
static struct weir_verb expect_all = { "desk", "expect", WEIR_NOTHING, TEXT, NULL };
static struct weir_verb write_renew = { "desk", "renew", WRITE, TEXT, NULL };

/* The text in memory of the handlers' own, which the next one uses, too. */
static _Thread_local char own[64];

static struct weir_str own_text(struct weir_str text)
{
    memset(own, '#', sizeof(own));
    memcpy(own, text.ptr, text.len);
    return (struct weir_str){ own, text.len };
}

static enum weir_status note_set(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct note *self = row;
    self->title = own_text(((const struct set *)args)->title);
    memcpy(self->code, "ab", 3);
    return WEIR_OK;
}

static enum weir_status note_add(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct note *)row)->count++;
    return WEIR_OK;
}

/* The same row in other bytes. */
static enum weir_status note_same(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct note *self = row;
    char copy[64];
    memcpy(copy, self->title.ptr, self->title.len);
    self->title = own_text((struct weir_str){ copy, self->title.len });
    return WEIR_OK;
}

static enum weir_status note_move(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct note *self = row;
    self->w = 99;
    self->n = -1;
    self->count += 10;
    return WEIR_OK;
}

static enum weir_status note_renew(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct note *self = row;
    enum weir_status st = weir_delete(ctx);
    if (st != WEIR_OK || self->title.len != 0 || self->count != 0) return WEIR_HANDLER;
    return note_set(ctx, row, args, result);
}

static enum weir_status note_line(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct line *to = weir_map_put(ctx, 0, WEIR_KEY(weir_number(1)));
    to->text = own_text(((const struct set *)args)->title);
    to->n++;
    return WEIR_OK;
}

/* "w:n title/body code count line" */
static enum weir_status note_look(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct note *self = row;
    const struct line *of = weir_map_get(ctx, 0, WEIR_KEY(weir_number(1)));
    char *text = weir_scratch(ctx, 400);
    struct weir_str none = { "-", 1 }, said = of ? of->text : none;
    int len = snprintf(text, 400, "%lld:%lld %.*s/%.*s %.4s %lld %.*s*%lld", (long long)self->w, (long long)self->n, (int)self->title.len,
                       self->title.ptr, (int)self->body.len, self->body.ptr, self->code, (long long)self->count, (int)said.len, said.ptr,
                       (long long)(of ? of->n : 0));
    *(struct weir_str *)result = (struct weir_str){ text, (size_t)len };
    return WEIR_OK;
}

/* Words that say what only the engine knows are not an application's. */
static enum weir_status note_claim(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    return weir_fail(ctx, "unknown", (struct weir_str){ NULL, 0 });
}

static enum weir_status note_spoil(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct note *)row)->count++;
    *(struct weir_str *)result = (struct weir_str){ "", 0 };
    return WEIR_OK;
}

static enum weir_status note_spoil_title(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct note *)row)->title = (struct weir_str){ "x", 1 };
    *(struct weir_str *)result = (struct weir_str){ "", 0 };
    return WEIR_OK;
}

static struct weir_ref note_of(char *key, int64_t w, int64_t n)
{
    return (struct weir_ref){ { key, (size_t)snprintf(key, KEY_BYTES, "%lld:%lld", (long long)w, (long long)n) } };
}

/* Calls `verb` with both texts, one after the other, then adds and looks. */
static enum weir_status desk_with(struct weir_ctx *ctx, const void *args, void *result, const struct weir_verb *verb)
{
    const struct write *in = args;
    char key[KEY_BYTES];
    struct weir_ref to = note_of(key, in->w, in->n);
    const struct weir_str texts[] = { in->first, in->second };
    for (int i = 0; i < 2; i++) {
        struct set what = { texts[i] };
        weir_call(ctx, to, verb, &what, NULL);
        memset(own, '#', sizeof(own));
    }
    weir_call(ctx, to, &same, NULL, NULL);
    memset(own, '#', sizeof(own));
    weir_call(ctx, to, &add, NULL, NULL);
    return weir_call(ctx, to, &look, NULL, result);
}
static enum weir_status desk_write(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    return desk_with(ctx, args, result, &set);
}
static enum weir_status desk_lines(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    return desk_with(ctx, args, result, &line);
}
static enum weir_status desk_renew(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    return desk_with(ctx, args, result, &renew);
}

/* A hint about entities that are here, elsewhere, nowhere, and about keys that are none, says nothing and changes nothing. */
static enum weir_status desk_expect(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    char keys[3 * NOTES][KEY_BYTES];
    struct weir_ref to[3 * NOTES + 2];
    for (int i = 0; i < 3 * NOTES; i++) to[i] = note_of(keys[i], i, 7 * i);
    to[3 * NOTES] = (struct weir_ref){ { NULL, 0 } };
    to[3 * NOTES + 1] = (struct weir_ref){ { "no key", 6 } };
    weir_expect(ctx, &look, to, 0);
    weir_expect(ctx, &look, to, 3 * NOTES + 2);
    weir_expect(ctx, &set, to, 1);
    for (int i = 0; i < NOTES; i++) {
        struct set what = { to[i].key };
        weir_call(ctx, to[i], &set, &what, NULL);
    }
    weir_expect(ctx, &look, to, 3 * NOTES + 2);
    return weir_call(ctx, to[NOTES - 1], &look, NULL, result);
}

#define TAKES(name, function, args, result) { name, WEIR_ON, function, args, result, "anyone" }
#define ASKS(name, function) { name, WEIR_QUERY, function, WEIR_NOTHING, TEXT, "anyone" }
static const struct weir_handler note_handlers[] = {
    TAKES("set", note_set, SET, WEIR_NOTHING),     TAKES("add", note_add, WEIR_NOTHING, WEIR_NOTHING),
    TAKES("same", note_same, WEIR_NOTHING, WEIR_NOTHING), TAKES("move", note_move, WEIR_NOTHING, WEIR_NOTHING),
    TAKES("renew", note_renew, SET, WEIR_NOTHING), TAKES("line", note_line, SET, WEIR_NOTHING),
    ASKS("look", note_look), ASKS("spoil", note_spoil), ASKS("claim", note_claim), ASKS("spoil_title", note_spoil_title), WEIR_END
};
static const struct weir_handler desk_handlers[] = { TAKES("write", desk_write, WRITE, TEXT), TAKES("lines", desk_lines, WRITE, TEXT),
                                                     TAKES("renew", desk_renew, WRITE, TEXT),
                                                     TAKES("expect", desk_expect, WEIR_NOTHING, TEXT), WEIR_END };
static const struct weir_entity note_entity = { .name = "note", .key = "{w}:n", .row = WEIR_SHAPE(struct note, note_fields),
                                                .maps = note_maps, .handlers = note_handlers };
static const struct weir_field desk_fields[] = { WEIR_FIELD(struct set, title, WEIR_TEXT), WEIR_END };
static const struct weir_entity desk_entity = { .name = "desk", .row = WEIR_SHAPE(struct set, desk_fields), .handlers = desk_handlers };

/* ---- one engine at a time ---- */

static struct weir_engine *engine;
static char folder[64];

static void engine_begin(uint32_t shards)
{
    struct weir_app *app;
    struct weir_error error;
    struct weir_verb *verbs[] = { &set, &add, &same, &renew, &line, &look };
    struct weir_options options = WEIR_OPTIONS;
    options.data = folder;
    options.shards = shards;
    assert_int_equal(weir_open(&options, &app, &error), WEIR_OK);
    assert_int_equal(weir_add_entity(app, &note_entity), WEIR_OK);
    assert_int_equal(weir_add_entity(app, &desk_entity), WEIR_OK);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) assert_int_equal(weir_use(app, verbs[i]), WEIR_OK);
    assert_int_equal(weir_start(app, &engine, &error), WEIR_OK);
}

static int folder_make(void **state)
{
    snprintf(folder, sizeof(folder), "/tmp/weir-rows-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    char command[100];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static enum weir_status ask(struct weir_ref to, const struct weir_verb *verb, const void *args, struct weir_str *text)
{
    struct weir_error error;
    enum weir_status st = weir_request(engine, to, verb, (struct weir_str){ NULL, 0 }, args, text, &error);
    if (st != WEIR_OK && st != WEIR_HANDLER) fail_msg("%s %s: %s %s", verb->type, verb->handler, error.code, error.detail);
    return st;
}

static void look_is(int64_t w, int64_t n, const char *wanted)
{
    char key[KEY_BYTES];
    struct weir_str text = { NULL, 0 };
    assert_int_equal(ask(note_of(key, w, n), &look, NULL, &text), WEIR_OK);
    if (text.len != strlen(wanted) || memcmp(text.ptr, wanted, text.len) != 0)
        fail_msg("`%.*s`, not `%s`", (int)text.len, text.ptr, wanted);
}

static void desk_is(const struct weir_verb *verb, int desk, const void *what, const char *wanted)
{
    char key[KEY_BYTES];
    struct weir_str text = { NULL, 0 };
    struct weir_ref at = { { key, (size_t)snprintf(key, KEY_BYTES, "desk%d", desk) } };
    assert_int_equal(ask(at, verb, what, &text), WEIR_OK);
    if (text.len != strlen(wanted) || memcmp(text.ptr, wanted, text.len) != 0)
        fail_msg("`%.*s`, not `%s`", (int)text.len, text.ptr, wanted);
}

static struct weir_str text_of(const char *text)
{
    return (struct weir_str){ text, strlen(text) };
}

/* Limits of an embedded engine are as those of the command line. */
static void limits_are_set(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        { "row_bytes_max", "name=number" },       { "row_bytes_max=0", "above 0" },
        { "row_bytes_max=-1", "above 0" },        { "row_bytes_max= 7", "above 0" },
        { "row_bytes_max=7k", "above 0" },        { "=7", "no such limit" },
        { "rows_max=7", "no such limit" },        { "cpu_ms_max=7", "no such limit" },
        { "roots_max=1000000001", "at most" },    { "row_bytes_max=1000000000000001", "at most" },
        { "timers_max=18446744073709551617", "at most" }, { "queue_wait_max_ms=1000000000001", "at most" },
    };
    struct weir_app *app;
    struct weir_error error;
    const char *limits[] = { "roots_max=1000000000", NULL, NULL };
    struct weir_options options = WEIR_OPTIONS;
    options.data = folder;
    options.shards = 1;
    options.limits = limits;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        limits[1] = wrong[i][0];
        assert_int_equal(weir_open(&options, &app, &error), WEIR_CONFIG);
        if (strstr(error.detail, wrong[i][1]) == NULL) fail_msg("%s: %s", wrong[i][0], error.detail);
    }
    limits[1] = "row_bytes_max=60";
    assert_int_equal(weir_open(&options, &app, &error), WEIR_OK);
    assert_int_equal(weir_add_entity(app, &note_entity), WEIR_OK);
    assert_int_equal(weir_use(app, &set), WEIR_OK);
    assert_int_equal(weir_start(app, &engine, &error), WEIR_OK);
    static const char title[] = "a title that is longer than what one row may be, which is sixty";
    char key[KEY_BYTES];
    struct set what = { .title = { title, sizeof(title) - 1 } };
    assert_int_equal(weir_request(engine, note_of(key, 1, 1), &set, (struct weir_str){ NULL, 0 }, &what, NULL, &error), WEIR_BUDGET);
    assert_non_null(strstr(error.detail, "row_bytes_max"));
    what.title.len = 10;
    assert_int_equal(weir_request(engine, note_of(key, 1, 1), &set, (struct weir_str){ NULL, 0 }, &what, NULL, &error), WEIR_OK);
    what.title.ptr = "\xff";
    what.title.len = 1;
    assert_int_equal(weir_request(engine, note_of(key, 1, 1), &set, (struct weir_str){ NULL, 0 }, &what, NULL, &error), WEIR_ARG);
    assert_non_null(strstr(error.detail, "title"));
    weir_close(engine);
}

/* Each engine goes on with the data of the last one. */
static void rows_are_as_written(void **state)
{
    (void)state;
    for (uint32_t shards = 1; shards <= 4; shards += 3) {
        engine_begin(shards);
        for (int i = 0; i < NOTES; i++) {
            int64_t w = i + 100 * shards, n = 7 * i;
            struct write what = { w, n, text_of("first text"), text_of("other text") };
            char key[KEY_BYTES], wanted[200], place[50];
            struct weir_ref to = note_of(key, w, n);
            snprintf(place, sizeof(place), "%lld:%lld", (long long)w, (long long)n);
#define WANTED(rest) (snprintf(wanted, sizeof(wanted), "%s " rest, place), wanted)
            /* two texts of one length in the same memory, and a change of something else behind them */
            desk_is(&write_twice, i, &what, WANTED("other text/ ab 1 -*0"));
            look_is(w, n, WANTED("other text/ ab 1 -*0"));
            desk_is(&write_lines, i, &what, WANTED("other text/ ab 2 other text*2"));
            look_is(w, n, WANTED("other text/ ab 2 other text*2"));
            /* what is part of the key is not the handler's */
            assert_int_equal(ask(to, &move, NULL, NULL), WEIR_OK);
            look_is(w, n, WANTED("other text/ ab 12 other text*2"));
            assert_int_equal(ask(to, &spoil, NULL, NULL), WEIR_HANDLER);
            assert_int_equal(ask(to, &spoil_title, NULL, NULL), WEIR_HANDLER);
            assert_int_equal(ask(to, &claim, NULL, NULL), WEIR_HANDLER);
            look_is(w, n, WANTED("other text/ ab 12 other text*2"));
            /* deleted and written anew, twice in one transaction */
            what.second = text_of("third");
            desk_is(&write_renew, i, &what, WANTED("third/ ab 1 -*0"));
            look_is(w, n, WANTED("third/ ab 1 -*0"));
        }
        desk_is(&expect_all, 1, NULL, "7:49 7:49/ ab 0 -*0");
        look_is(6, 42, "6:42 6:42/ ab 0 -*0");
        weir_close(engine);
    }
    engine_begin(2);
    for (int i = 0; i < NOTES; i++) {
        char wanted[100];
        snprintf(wanted, sizeof(wanted), "%d:%d third/ ab 1 -*0", i + 400, 7 * i);
        look_is(i + 400, 7 * i, wanted);
    }
    weir_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(limits_are_set, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(rows_are_as_written, folder_make, folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
