/*
 * embedded.c - an embedding program that asks outside: weir.h and libweir, nothing else.
 *
 *     embedded DATA URL KEY LINE [ID]     one order paid by asking LINE ("POST /charges"): prints its answer
 *     embedded DATA URL                   starts, and stops when stdin ends: what was asked before goes on
 *
 * A pending answer is waited for. Prints the status times 1000 plus how often the order asked; "error CODE DETAIL" on failure.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "weir/weir.h"

struct order {
    int64_t asked, status;
};
static const struct weir_field order_fields[] = { WEIR_FIELD(struct order, asked, WEIR_INT),
                                                  WEIR_FIELD(struct order, status, WEIR_INT), WEIR_END };
static const struct weir_field answer_fields[] = WEIR_ANSWER_FIELDS;
struct charged {
    struct weir_answer answer;
    int64_t nth;
};
static const struct weir_shape answer_shape = WEIR_SHAPE(struct weir_answer, answer_fields);
static const struct weir_field charged_fields[] = {
    WEIR_FIELD(struct charged, answer, WEIR_RECORD, .shape = &answer_shape), WEIR_FIELD(struct charged, nth, WEIR_INT), WEIR_END
};

static struct weir_outside bank = { .name = "bank", .timeout_ms = 10000, .give_up_ms = 600000 };

static enum weir_status order_pay(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct order *self = row;
    const struct weir_str *line = args;
    struct charged more = { .answer = { .id = { "", 0 } }, .nth = ++self->asked };
    char text[256];
    snprintf(text, sizeof(text), "%.*s", (int)line->len, line->ptr);
    weir_ask(ctx, &bank, text, (struct weir_str){ "{}", 2 }, "charged", &more);
    return weir_defer(ctx, weir_ticket(ctx));
}

static enum weir_status order_charged(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct order *self = row;
    const struct charged *in = args;
    self->status = in->answer.status;
    *(int64_t *)result = in->answer.status * 1000 + in->nth;
    return WEIR_OK;
}

#define LINE WEIR_SCALAR(WEIR_TEXT)
#define ANSWER WEIR_SCALAR(WEIR_INT)
static const struct weir_handler handlers[] = {
    { "pay", WEIR_ON, order_pay, LINE, ANSWER, .allow = "anyone" },
    { "charged", WEIR_ON, order_charged, WEIR_SHAPE(struct charged, charged_fields), ANSWER },
    WEIR_END
};
static const struct weir_entity order = { .name = "order", .row = WEIR_SHAPE(struct order, order_fields), .handlers = handlers };
static const struct weir_verb pay = { "order", "pay", LINE, ANSWER, NULL };

static int complain(const struct weir_error *error)
{
    printf("error %s %s\n", error->code, error->detail);
    return 1;
}

static struct weir_str word(const char *text)
{
    return (struct weir_str){ text, strlen(text) };
}

int main(int argc, char **argv)
{
    struct weir_options options = WEIR_OPTIONS;
    struct weir_app *app;
    struct weir_engine *engine;
    struct weir_error error;
    if (argc != 3 && argc != 5 && argc != 6) return 64;
    options.data = argv[1];
    options.shards = 2;
    bank.url = argv[2];
    if (weir_open(&options, &app, &error) != WEIR_OK) return complain(&error);
    weir_add_entity(app, &order);
    weir_add_outside(app, &bank);
    if (weir_start(app, &engine, &error) != WEIR_OK) return complain(&error);
    int code = 0;
    if (argc == 3) {
        puts("ready");
        fflush(stdout);
        while (getchar() != EOF) {}
    } else {
        int64_t answer = 0;
        struct weir_str line = word(argv[4]);
        enum weir_status status = weir_request(engine, (struct weir_ref){ word(argv[3]) }, &pay,
                                               word(argc > 5 ? argv[5] : ""), &line, &answer, &error);
        while (status == WEIR_PENDING) {
            char request[sizeof(error.request)];
            printf("pending\n");
            fflush(stdout);
            memcpy(request, error.request, sizeof(request));
            status = weir_wait(engine, request, &pay, &answer, &error);
        }
        if (status == WEIR_OK) printf("%lld\n", (long long)answer);
        else code = complain(&error);
    }
    weir_close(engine);
    return code;
}
