/*
 * embedded.c - a program with windows and joins of its own: weir.h and libweir, nothing else.
 *
 *     embedded DATA SHARDS FIRST LAST     card c(i % 5) moves i at second i, for each i; prints the cards, then waits for stdin to end
 *     embedded DATA SHARDS state          prints the cards
 *     embedded DATA 1 wrong               tries declarations that are refused, and prints why
 *
 * A card's line: windows closed, their events, their sum, their best, results of `where`, pairs, their difference, late.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weir/weir.h"

#define CARDS 5

struct card {
    int64_t windows, events, sum, best, odd, pairs, difference, late;
};
static const struct weir_field card_fields[] = {
    WEIR_FIELD(struct card, windows, WEIR_INT),    WEIR_FIELD(struct card, events, WEIR_INT), WEIR_FIELD(struct card, sum, WEIR_INT),
    WEIR_FIELD(struct card, best, WEIR_INT),       WEIR_FIELD(struct card, odd, WEIR_INT),    WEIR_FIELD(struct card, pairs, WEIR_INT),
    WEIR_FIELD(struct card, difference, WEIR_INT), WEIR_FIELD(struct card, late, WEIR_INT),   WEIR_END
};

struct moved {
    struct weir_ref card;
    int32_t amount; /* of another width than the columns */
    int64_t at;
};
static const struct weir_field moved_fields[] = { WEIR_FIELD(struct moved, card, WEIR_REF, .type = "card"),
                                                  WEIR_FIELD(struct moved, amount, WEIR_INT), WEIR_FIELD(struct moved, at, WEIR_TIME),
                                                  WEIR_END };
struct paid {
    struct weir_str whose;
    int64_t price, at;
};
static const struct weir_field paid_fields[] = { WEIR_FIELD(struct paid, whose, WEIR_TEXT), WEIR_FIELD(struct paid, price, WEIR_INT),
                                                 WEIR_FIELD(struct paid, at, WEIR_TIME), WEIR_END };
static struct weir_stream moved = { .name = "moved", .event = WEIR_SHAPE(struct moved, moved_fields), .key = "card", .time = "at" },
                          paid = { .name = "paid", .event = WEIR_SHAPE(struct paid, paid_fields), .key = "whose", .time = "at" };

/* Members in an order of the program's own. */
struct tens {
    int64_t total, n;
    bool final;
    struct weir_list best;
    double mean;
    int64_t to, from;
    struct weir_ref card;
};
static const struct weir_shape number = WEIR_SCALAR(WEIR_INT);
static const struct weir_field tens_fields[] = {
    WEIR_FIELD(struct tens, total, WEIR_INT), WEIR_FIELD(struct tens, n, WEIR_INT),
    WEIR_FIELD(struct tens, final, WEIR_BOOL), WEIR_FIELD(struct tens, best, WEIR_LIST, .shape = &number),
    WEIR_FIELD(struct tens, mean, WEIR_FLOAT), WEIR_FIELD(struct tens, to, WEIR_TIME),
    WEIR_FIELD(struct tens, from, WEIR_TIME), WEIR_FIELD(struct tens, card, WEIR_REF, .type = "card"), WEIR_END
};
struct lost {
    struct weir_str why;
    struct weir_ref card;
    int64_t at, amount;
};
static const struct weir_field lost_fields[] = { WEIR_FIELD(struct lost, why, WEIR_TEXT), WEIR_FIELD(struct lost, card, WEIR_REF, .type = "card"),
                                                 WEIR_FIELD(struct lost, at, WEIR_TIME), WEIR_FIELD(struct lost, amount, WEIR_INT), WEIR_END };
static const char *const by_card[] = { "card", NULL };
static const struct weir_aggregate aggregates[] = { { .name = "n", .kind = WEIR_COUNT },
                                                    { .name = "total", .kind = WEIR_SUM, .field = "amount" },
                                                    { .name = "mean", .kind = WEIR_AVG, .field = "amount" },
                                                    { .name = "best", .kind = WEIR_TOP, .field = "amount", .top = 2 },
                                                    WEIR_END };
static struct weir_window tens = { .name = "tens", .from = "moved", .by = by_card, .size = "10s", .late = "1s", .aggregates = aggregates,
                                   .row = WEIR_SHAPE(struct tens, tens_fields), .late_row = WEIR_SHAPE(struct lost, lost_fields) };

static bool is_odd(const void *event)
{
    return ((const struct moved *)event)->amount % 2 != 0;
}

struct odds {
    struct weir_ref who;
    int64_t from, to, n;
    bool final;
};
static const struct weir_field odds_fields[] = { WEIR_FIELD(struct odds, who, WEIR_REF, .type = "card"), WEIR_FIELD(struct odds, from, WEIR_TIME),
                                                 WEIR_FIELD(struct odds, to, WEIR_TIME), WEIR_FIELD(struct odds, n, WEIR_INT),
                                                 WEIR_FIELD(struct odds, final, WEIR_BOOL), WEIR_END };
static const char *const by_who[] = { "who = card", NULL };
static const struct weir_window odds = { .name = "odds", .from = "moved", .by = by_who, .gap = "6s", .late = "1s", .aggregates = aggregates,
                                         .where = is_odd };
static const struct weir_aggregate count_only[] = { { .name = "n", .kind = WEIR_COUNT }, WEIR_END };

/* Of a pair the events, in structs with room for what the columns hold. */
struct wide_moved {
    int64_t amount, at;
    struct weir_ref card;
};
static const struct weir_field wide_fields[] = { WEIR_FIELD(struct wide_moved, amount, WEIR_INT), WEIR_FIELD(struct wide_moved, at, WEIR_TIME),
                                                 WEIR_FIELD(struct wide_moved, card, WEIR_REF, .type = "card"), WEIR_END };
static const struct weir_shape wide_shape = WEIR_SHAPE(struct wide_moved, wide_fields), paid_shape = WEIR_SHAPE(struct paid, paid_fields);
struct pair {
    struct paid right;
    struct wide_moved left;
    int64_t time;
    struct weir_ref card;
};
static const struct weir_field pair_fields[] = { WEIR_FIELD(struct pair, right, WEIR_RECORD, .shape = &paid_shape),
                                                 WEIR_FIELD(struct pair, left, WEIR_RECORD, .shape = &wide_shape),
                                                 WEIR_FIELD(struct pair, time, WEIR_TIME),
                                                 WEIR_FIELD(struct pair, card, WEIR_REF, .type = "card"), WEIR_END };
static const char *const by_pair[] = { "card = whose", NULL };
static struct weir_join pairs = { .name = "pairs", .left = "moved", .right = "paid", .by = by_pair, .within = "600ms", .late = "1s",
                                  .row = WEIR_SHAPE(struct pair, pair_fields) };

/* ---- handlers ---- */

static enum weir_status card_move(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    int64_t i = *(const int64_t *)args;
    struct moved m = { { weir_self(ctx) }, (int32_t)i, i * 1000 };
    struct paid p = { weir_self(ctx), 2 * i + 1, i * 1000 + 500 };
    weir_emit(ctx, &moved, &m);
    return weir_emit(ctx, &paid, &p);
}

static enum weir_status card_state(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    memcpy(result, row, sizeof(struct card));
    return WEIR_OK;
}

static enum weir_status card_tens(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct card *self = row;
    const struct tens *w = args;
    if (!w->final || w->to - w->from != 10000 || w->mean * (double)w->n != (double)w->total) return weir_fail(ctx, "odd_row", (struct weir_str){ "", 0 });
    self->windows++;
    self->events += w->n;
    self->sum += w->total;
    self->best += *(const int64_t *)w->best.items;
    return WEIR_OK;
}

static enum weir_status card_odds(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    ((struct card *)row)->odd += ((const struct odds *)args)->n;
    return WEIR_OK;
}

static enum weir_status card_pair(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct card *self = row;
    const struct pair *p = args;
    struct weir_str me = weir_self(ctx);
    if (p->right.whose.len != me.len || memcmp(p->left.card.key.ptr, me.ptr, me.len) != 0 || p->time != p->right.at)
        return weir_fail(ctx, "odd_pair", (struct weir_str){ "", 0 });
    self->pairs++;
    self->difference += p->right.price - p->left.amount;
    return WEIR_OK;
}

static enum weir_status card_lost(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct card *self = row;
    const struct lost *l = args;
    if (l->why.len == 4 && memcmp(l->why.ptr, "late", 4) == 0) self->late += l->amount;
    return WEIR_OK;
}

#define STATE WEIR_SHAPE(struct card, card_fields)
static const struct weir_handler handlers[] = { { "move", WEIR_ON, card_move, WEIR_SCALAR(WEIR_INT), WEIR_NOTHING, .allow = "anyone" },
                                                { "state", WEIR_QUERY, card_state, WEIR_NOTHING, STATE, .allow = "anyone" },
                                                WEIR_END };
static const struct weir_entity card = { .name = "card", .row = STATE, .handlers = handlers };
static const struct weir_verb move_verb = { "card", "move", WEIR_SCALAR(WEIR_INT), WEIR_NOTHING, NULL },
                              state_verb = { "card", "state", WEIR_NOTHING, STATE, NULL };

static int complain(const struct weir_error *error)
{
    printf("error %s %s\n", error->code, error->detail);
    return 1;
}

static struct weir_ref card_of(long i)
{
    static char text[CARDS][4];
    snprintf(text[i % CARDS], sizeof(text[0]), "c%ld", i % CARDS);
    return (struct weir_ref){ { text[i % CARDS], 2 } };
}

/* Each is refused by weir_start() with the first thing that is wrong. */
static int wrong(const struct weir_options *options)
{
    static const struct weir_field few_fields[] = { WEIR_FIELD(struct tens, total, WEIR_INT), WEIR_END };
    static const struct weir_field kind_fields[] = { WEIR_FIELD(struct pair, right, WEIR_RECORD, .shape = &paid_shape),
                                                     WEIR_FIELD(struct pair, left, WEIR_RECORD, .shape = &paid_shape),
                                                     WEIR_FIELD(struct pair, time, WEIR_TIME),
                                                     WEIR_FIELD(struct pair, card, WEIR_REF, .type = "card"), WEIR_END };
    static const struct weir_shape narrow_shape = WEIR_SHAPE(struct moved, moved_fields);
    static const struct weir_field narrow_fields[] = { WEIR_FIELD(struct pair, right, WEIR_RECORD, .shape = &paid_shape),
                                                       { .name = "left", .kind = WEIR_RECORD, .size = sizeof(struct moved), .shape = &narrow_shape },
                                                       WEIR_FIELD(struct pair, time, WEIR_TIME),
                                                       WEIR_FIELD(struct pair, card, WEIR_REF, .type = "card"), WEIR_END };
    for (int i = 0; i < 7; i++) {
        struct weir_app *app;
        struct weir_engine *engine;
        struct weir_error error;
        struct weir_window w = tens;
        struct weir_join j = pairs;
        if (i == 0) w.row = (struct weir_shape)WEIR_SHAPE(struct tens, few_fields);
        if (i == 1) w.size = "ten";
        if (i == 2) w.gap = "1s";
        if (i == 3) w.from = "nowhere";
        if (i == 4) j.row = (struct weir_shape)WEIR_SHAPE(struct pair, kind_fields);
        if (i == 5) j.row = (struct weir_shape)WEIR_SHAPE(struct pair, narrow_fields);
        if (i == 6) j.by = NULL;
        if (weir_open(options, &app, &error) != WEIR_OK) return complain(&error);
        weir_add_entity(app, &card);
        weir_add_stream(app, &moved);
        weir_add_stream(app, &paid);
        if (i < 4) weir_add_window(app, &w);
        else weir_add_join(app, &j);
        if (weir_start(app, &engine, &error) == WEIR_OK) return 2;
        printf("%s\n", error.detail);
    }
    return 0;
}

static int print_cards(struct weir_engine *engine)
{
    struct weir_error error;
    for (long i = 0; i < CARDS; i++) {
        struct card c;
        if (weir_request(engine, card_of(i), &state_verb, (struct weir_str){ "", 0 }, NULL, &c, &error) != WEIR_OK) return complain(&error);
        printf("%lld %lld %lld %lld %lld %lld %lld %lld\n", (long long)c.windows, (long long)c.events, (long long)c.sum, (long long)c.best,
               (long long)c.odd, (long long)c.pairs, (long long)c.difference, (long long)c.late);
    }
    puts(".");
    return fflush(stdout);
}

int main(int argc, char **argv)
{
    struct weir_options options = WEIR_OPTIONS;
    struct weir_app *app;
    struct weir_engine *engine;
    struct weir_error error;
    struct weir_window odd = odds;
    if (argc < 4) return 64;
    options.data = argv[1];
    options.shards = (uint32_t)atoi(argv[2]);
    if (strcmp(argv[3], "wrong") == 0) return wrong(&options);
    odd.aggregates = count_only;
    odd.row = (struct weir_shape)WEIR_SHAPE(struct odds, odds_fields);
    if (weir_open(&options, &app, &error) != WEIR_OK) return complain(&error);
    weir_add_entity(app, &card);
    weir_add_stream(app, &moved);
    weir_add_stream(app, &paid);
    weir_add_window(app, &tens);
    weir_add_window(app, &odd);
    weir_add_join(app, &pairs);
    weir_add_follow(app, &(struct weir_follow){ "card", "tens", "card", card_tens, NULL });
    weir_add_follow(app, &(struct weir_follow){ "card", "odds", "who", card_odds, NULL });
    weir_add_follow(app, &(struct weir_follow){ "card", "pairs", "card", card_pair, NULL });
    weir_add_follow(app, &(struct weir_follow){ "card", "tens_late", "card", card_lost, NULL });
    if (weir_start(app, &engine, &error) != WEIR_OK) return complain(&error);
    for (int64_t i = argc > 4 ? atoi(argv[3]) : 0, last = argc > 4 ? atoi(argv[4]) : 0; i < last; i++)
        if (weir_request(engine, card_of(i), &move_verb, (struct weir_str){ "", 0 }, &i, NULL, &error) != WEIR_OK) return complain(&error);
    /* Each byte of the input asks once more. */
    do {
        if (print_cards(engine) != 0) return 1;
    } while (getchar() != EOF);
    weir_close(engine);
    return 0;
}
