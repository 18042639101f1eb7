/*
 * tpcc_native.c - the handlers of tpcc.lua in C.
 *
 * After a failed call all later ones fail too, and so does the transaction: nothing is tested on the way.
 * SPDX-License-Identifier: MIT
 */
#include "bench/workload.h"

#define DISTRICTS 10
#define INFO_BYTES 24u /* of a district, in a stock's `dists` */
#define LINES_MAX 15
#define LEVEL_ORDERS 20
#define DATA_BYTES_MAX 500u

/* ---- shapes ---- */

#define NUMBER WEIR_SCALAR(WEIR_INT)
#define TEXT WEIR_SCALAR(WEIR_TEXT)
static const struct weir_shape number_shape = NUMBER;
#define NUMBERS WEIR_SCALAR(WEIR_LIST, .shape = &number_shape)
#define INT(structure, member) WEIR_FIELD(structure, member, WEIR_INT)
#define STRING(structure, member) WEIR_FIELD(structure, member, WEIR_TEXT)

struct item {
    int64_t w, i;
    struct weir_str name;
    int64_t price;
    struct weir_str data;
};
static const struct weir_field item_fields[] = { INT(struct item, w),       INT(struct item, i),
                                                 STRING(struct item, name), INT(struct item, price),
                                                 STRING(struct item, data), WEIR_END };

struct stock {
    int64_t w, i, quantity, ytd, orders, remote;
    struct weir_str data, dists;
};
static const struct weir_field stock_fields[] = {
    INT(struct stock, w),       INT(struct stock, i),        INT(struct stock, quantity),
    INT(struct stock, ytd),     INT(struct stock, orders),   INT(struct stock, remote),
    STRING(struct stock, data), STRING(struct stock, dists), WEIR_END
};

struct customer {
    int64_t w, d, c;
    struct weir_str first, last, address;
    int64_t bad_credit, discount, last_order, balance, paid, payments, deliveries;
    struct weir_str data;
};
static const struct weir_field customer_fields[] = { INT(struct customer, w),
                                                     INT(struct customer, d),
                                                     INT(struct customer, c),
                                                     STRING(struct customer, first),
                                                     STRING(struct customer, last),
                                                     STRING(struct customer, address),
                                                     INT(struct customer, bad_credit),
                                                     INT(struct customer, discount),
                                                     INT(struct customer, last_order),
                                                     INT(struct customer, balance),
                                                     INT(struct customer, paid),
                                                     INT(struct customer, payments),
                                                     INT(struct customer, deliveries),
                                                     STRING(struct customer, data),
                                                     WEIR_END };
struct history {
    int64_t at, w, d, amount;
};
static const struct weir_field history_fields[] = { WEIR_FIELD(struct history, at, WEIR_TIME),
                                                    INT(struct history, w), INT(struct history, d),
                                                    INT(struct history, amount), WEIR_END };

struct warehouse {
    int64_t w;
    struct weir_str name, address;
    int64_t tax, ytd;
};
static const struct weir_field warehouse_fields[] = {
    INT(struct warehouse, w),   STRING(struct warehouse, name), STRING(struct warehouse, address),
    INT(struct warehouse, tax), INT(struct warehouse, ytd),     WEIR_END
};

struct district {
    int64_t w, d;
    struct weir_str name, address;
    int64_t tax, ytd, next_order;
};
static const struct weir_field district_fields[] = {
    INT(struct district, w),          INT(struct district, d),
    STRING(struct district, name),    STRING(struct district, address),
    INT(struct district, tax),        INT(struct district, ytd),
    INT(struct district, next_order), WEIR_END
};
struct line {
    int64_t item, supply, quantity, amount, delivered;
    struct weir_str info;
};
static const struct weir_field line_fields[] = { INT(struct line, item),
                                                 INT(struct line, supply),
                                                 INT(struct line, quantity),
                                                 INT(struct line, amount),
                                                 WEIR_FIELD(struct line, delivered, WEIR_TIME,
                                                            .optional = true),
                                                 STRING(struct line, info),
                                                 WEIR_END };
static const struct weir_shape line_shape = WEIR_SHAPE(struct line, line_fields);
struct order {
    int64_t customer, entered, carrier, count;
    struct weir_list lines;
};
static const struct weir_field order_fields[] = { INT(struct order, customer),
                                                  WEIR_FIELD(struct order, entered, WEIR_TIME),
                                                  INT(struct order, carrier),
                                                  INT(struct order, count),
                                                  WEIR_FIELD(struct order, lines, WEIR_LIST,
                                                             .shape = &line_shape),
                                                  WEIR_END };

enum { HISTORY };
static const struct weir_map customer_maps[] = {
    { "history", { WEIR_INT }, WEIR_SHAPE(struct history, history_fields), NULL }, WEIR_END
};
enum { ORDERS, UNSENT, BY_NAME };
static const struct weir_map district_maps[] = {
    { "orders", { WEIR_INT }, WEIR_SHAPE(struct order, order_fields), NULL },
    { "unsent", { WEIR_INT }, WEIR_SCALAR(WEIR_BOOL), NULL },
    { "by_name", { WEIR_TEXT, WEIR_TEXT, WEIR_INT }, WEIR_SCALAR(WEIR_BOOL), NULL },
    WEIR_END
};

/* Arguments. */
struct one {
    int64_t n;
};
static const struct weir_field one_fields[] = { INT(struct one, n), WEIR_END };
#define ONE WEIR_SHAPE(struct one, one_fields)
struct two {
    int64_t a, b;
};
static const struct weir_field two_fields[] = { INT(struct two, a), INT(struct two, b), WEIR_END };
#define TWO WEIR_SHAPE(struct two, two_fields)
struct three {
    int64_t a, b, c;
};
static const struct weir_field three_fields[] = { INT(struct three, a), INT(struct three, b),
                                                  INT(struct three, c), WEIR_END };
#define THREE WEIR_SHAPE(struct three, three_fields)
struct name {
    struct weir_str last;
};
static const struct weir_field name_fields[] = { STRING(struct name, last), WEIR_END };
#define NAME WEIR_SHAPE(struct name, name_fields)
struct item_add {
    struct weir_str name;
    int64_t price;
    struct weir_str data;
};
static const struct weir_field item_add_fields[] = { STRING(struct item_add, name),
                                                     INT(struct item_add, price),
                                                     STRING(struct item_add, data), WEIR_END };
struct stock_open {
    int64_t quantity;
    struct weir_str dists, data;
};
static const struct weir_field stock_open_fields[] = { INT(struct stock_open, quantity),
                                                       STRING(struct stock_open, dists),
                                                       STRING(struct stock_open, data), WEIR_END };
struct place_open {
    struct weir_str name, address;
    int64_t tax, ytd, next_order;
};
static const struct weir_field warehouse_open_fields[] = { STRING(struct place_open, name),
                                                           STRING(struct place_open, address),
                                                           INT(struct place_open, tax),
                                                           INT(struct place_open, ytd), WEIR_END };
static const struct weir_field district_open_fields[] = {
    STRING(struct place_open, name),    STRING(struct place_open, address),
    INT(struct place_open, tax),        INT(struct place_open, ytd),
    INT(struct place_open, next_order), WEIR_END
};
struct enroll {
    int64_t c;
    struct customer_open {
        struct weir_str first, last, address, data;
        int64_t discount, bad_credit;
    } who;
};
static const struct weir_field customer_open_fields[] = { STRING(struct customer_open, first),
                                                          STRING(struct customer_open, last),
                                                          STRING(struct customer_open, address),
                                                          STRING(struct customer_open, data),
                                                          INT(struct customer_open, discount),
                                                          INT(struct customer_open, bad_credit),
                                                          WEIR_END };
#define ENROLL_FIELD(member, kind_)                                                                \
    {                                                                                              \
        .name = #member, .kind = kind_, .offset = (uint32_t)offsetof(struct enroll, who.member),   \
        .size = (uint32_t)sizeof(((struct enroll *)0)->who.member)                                 \
    }
static const struct weir_field enroll_fields[] = { INT(struct enroll, c),
                                                   ENROLL_FIELD(first, WEIR_TEXT),
                                                   ENROLL_FIELD(last, WEIR_TEXT),
                                                   ENROLL_FIELD(address, WEIR_TEXT),
                                                   ENROLL_FIELD(data, WEIR_TEXT),
                                                   ENROLL_FIELD(discount, WEIR_INT),
                                                   ENROLL_FIELD(bad_credit, WEIR_INT),
                                                   WEIR_END };
struct entered_line {
    int64_t item, amount;
};
static const struct weir_field entered_line_fields[] = { INT(struct entered_line, item),
                                                         INT(struct entered_line, amount),
                                                         WEIR_END };
static const struct weir_shape entered_line_shape = WEIR_SHAPE(struct entered_line,
                                                               entered_line_fields);
struct entered {
    int64_t order, c, carrier;
    struct weir_list lines;
};
static const struct weir_field entered_fields[] = {
    INT(struct entered, order), INT(struct entered, c), INT(struct entered, carrier),
    WEIR_FIELD(struct entered, lines, WEIR_LIST, .shape = &entered_line_shape), WEIR_END
};
struct wanted {
    int64_t item, supply, quantity;
};
static const struct weir_field wanted_fields[] = {
    INT(struct wanted, item), INT(struct wanted, supply),
    WEIR_FIELD(struct wanted, quantity, WEIR_INT, .min = WEIR_BOUND(1), .max = WEIR_BOUND(10)),
    WEIR_END
};
static const struct weir_shape wanted_shape = WEIR_SHAPE(struct wanted, wanted_fields);
struct new_order {
    int64_t c;
    struct weir_list lines;
};
static const struct weir_field new_order_fields[] = {
    INT(struct new_order, c),
    WEIR_FIELD(struct new_order, lines, WEIR_LIST, .shape = &wanted_shape), WEIR_END
};
struct payment {
    int64_t amount, cw, cd, c;
    struct weir_str last;
};
static const struct weir_field payment_fields[] = { WEIR_FIELD(struct payment, amount, WEIR_INT,
                                                               .min = WEIR_BOUND(1)),
                                                    INT(struct payment, cw),
                                                    INT(struct payment, cd),
                                                    INT(struct payment, c),
                                                    STRING(struct payment, last),
                                                    WEIR_END };
struct who {
    int64_t c;
    struct weir_str last;
};
static const struct weir_field who_fields[] = { INT(struct who, c), STRING(struct who, last),
                                                WEIR_END };

static struct weir_verb customer_open_verb = {
    "customer", "open", WEIR_SHAPE(struct customer_open, customer_open_fields), WEIR_NOTHING, NULL
};
static struct weir_verb ordered = { "customer", "ordered", ONE, NUMBER, NULL };
static struct weir_verb pay = { "customer", "pay", THREE, NUMBER, NULL };
static struct weir_verb status_of = { "customer", "status", WEIR_NOTHING, NUMBERS, NULL };
static struct weir_verb delivered = { "customer", "delivered", ONE, WEIR_NOTHING, NULL };
static struct weir_verb rate = { "warehouse", "rate", WEIR_NOTHING, NUMBER, NULL };
static struct weir_verb took = { "warehouse", "took", ONE, WEIR_NOTHING, NULL };
static struct weir_verb cost = { "item", "cost", WEIR_NOTHING, NUMBER, NULL };
static struct weir_verb take = { "stock", "take", THREE, TEXT, NULL };
static struct weir_verb left = { "stock", "left", WEIR_NOTHING, NUMBER, NULL };
static struct weir_verb named = { "district", "named", NAME, NUMBER, NULL };
static struct weir_verb deliver = { "district", "deliver", ONE, NUMBER, NULL };

/* ---- helpers ---- */

struct key {
    char text[72];
    uint32_t len;
};

static void key_number(struct key *key, int64_t n)
{
    if (key->len > 0) key->text[key->len++] = ':';
    key->len += (uint32_t)int_text(n, key->text + key->len);
}

static struct weir_ref at_one(struct key *key, int64_t w)
{
    key->len = 0;
    key_number(key, w);
    return (struct weir_ref){ { key->text, key->len } };
}

static struct weir_ref at_two(struct key *key, int64_t w, int64_t d)
{
    at_one(key, w);
    key_number(key, d);
    return (struct weir_ref){ { key->text, key->len } };
}

static struct weir_ref at_three(struct key *key, int64_t w, int64_t d, int64_t c)
{
    at_two(key, w, d);
    key_number(key, c);
    return (struct weir_ref){ { key->text, key->len } };
}

static int64_t *numbers_make(struct weir_ctx *ctx, void *result, size_t count)
{
    struct weir_list *list = result;
    *list = (struct weir_list){ weir_scratch(ctx, count * sizeof(int64_t) + 1), count };
    return list->items;
}

static int64_t edge(struct weir_ctx *ctx, int map, bool reverse)
{
    struct weir_scan scan = { .reverse = reverse, .limit = 1 };
    struct weir_key key = { 0 };
    void *row;
    return weir_map_next(ctx, map, &scan, &key, &row) ? key.part[0].n : 0;
}

/* ---- items, stock ---- */

static enum weir_status item_add(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct item_add *in = args;
    struct item *self = row;
    self->name = in->name;
    self->price = in->price;
    self->data = in->data;
    return WEIR_OK;
}

static enum weir_status item_cost(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ((const struct item *)row)->price;
    return WEIR_OK;
}

static enum weir_status stock_open(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct stock_open *in = args;
    struct stock *self = row;
    self->quantity = in->quantity;
    self->dists = in->dists;
    self->data = in->data;
    return WEIR_OK;
}

static enum weir_status stock_take(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct three *in = args; /* home, district, count */
    struct stock *self = row;
    self->quantity -= in->c;
    if (self->quantity < 10) self->quantity += 91;
    self->ytd += in->c;
    self->orders++;
    self->remote += in->a != self->w;
    *(struct weir_str *)result = (struct weir_str){
        self->dists.ptr + (size_t)(in->b - 1) * INFO_BYTES, INFO_BYTES
    };
    return WEIR_OK;
}

static enum weir_status stock_left(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    *(int64_t *)result = ((const struct stock *)row)->quantity;
    return WEIR_OK;
}

static enum weir_status stock_audit(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct stock *self = row;
    int64_t *n = numbers_make(ctx, result, 4);
    n[0] = self->quantity;
    n[1] = self->ytd;
    n[2] = self->orders;
    n[3] = self->remote;
    return WEIR_OK;
}

/* ---- customers ---- */

static void history_add(struct weir_ctx *ctx, int64_t w, int64_t d, int64_t amount)
{
    int64_t n;
    struct history *h = weir_map_append(ctx, HISTORY, &n);
    *h = (struct history){ weir_now(ctx), w, d, amount };
}

static enum weir_status customer_open(struct weir_ctx *ctx, void *row, const void *args,
                                      void *result)
{
    const struct customer_open *in = args;
    struct customer *self = row;
    self->first = in->first;
    self->last = in->last;
    self->address = in->address;
    self->data = in->data;
    self->discount = in->discount;
    self->bad_credit = in->bad_credit;
    self->balance = -1000;
    self->paid = 1000;
    self->payments = 1;
    history_add(ctx, self->w, self->d, 1000);
    return WEIR_OK;
}

static enum weir_status customer_ordered(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result)
{
    struct customer *self = row;
    self->last_order = ((const struct one *)args)->n;
    *(int64_t *)result = self->discount;
    return WEIR_OK;
}

static enum weir_status customer_pay(struct weir_ctx *ctx, void *row, const void *args,
                                     void *result)
{
    const struct three *in = args; /* amount, warehouse, district */
    struct customer *self = row;
    self->balance -= in->a;
    self->paid += in->a;
    self->payments++;
    history_add(ctx, in->b, in->c, in->a);
    if (self->bad_credit == 1) {
        size_t room = self->data.len + 160;
        char *data = weir_scratch(ctx, room);
        int len = snprintf(data, room, "%lld %lld %lld %lld %lld %lld|%.*s", (long long)self->c,
                           (long long)self->d, (long long)self->w, (long long)in->c,
                           (long long)in->b, (long long)in->a, STR_ARG(self->data));
        self->data = (struct weir_str){ data, (size_t)len < DATA_BYTES_MAX ? (size_t)len
                                                                           : DATA_BYTES_MAX };
    }
    *(int64_t *)result = self->balance;
    return WEIR_OK;
}

static enum weir_status customer_status(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    const struct customer *self = row;
    int64_t *n = numbers_make(ctx, result, 2);
    n[0] = self->balance;
    n[1] = self->last_order;
    return WEIR_OK;
}

static enum weir_status customer_delivered(struct weir_ctx *ctx, void *row, const void *args,
                                           void *result)
{
    struct customer *self = row;
    self->balance += ((const struct one *)args)->n;
    self->deliveries++;
    return WEIR_OK;
}

static enum weir_status customer_audit(struct weir_ctx *ctx, void *row, const void *args,
                                       void *result)
{
    const struct customer *self = row;
    struct weir_scan scan = { 0 };
    struct weir_key key;
    void *at;
    size_t count = 4;
    int64_t *n = numbers_make(ctx, result, 4 + 3 * (size_t)weir_map_count(ctx, HISTORY));
    n[0] = self->balance;
    n[1] = self->paid;
    n[2] = self->payments;
    n[3] = self->deliveries;
    while (weir_map_next(ctx, HISTORY, &scan, &key, &at)) {
        const struct history *h = at;
        size_t i = 4;
        while (i < count && (n[i] != h->w || n[i + 1] != h->d)) i += 3;
        if (i == count) {
            n[count] = h->w;
            n[count + 1] = h->d;
            n[count + 2] = 0;
            count += 3;
        }
        n[i + 2] += h->amount;
    }
    ((struct weir_list *)result)->count = count;
    return WEIR_OK;
}

/* ---- warehouses ---- */

static enum weir_status warehouse_open(struct weir_ctx *ctx, void *row, const void *args,
                                       void *result)
{
    const struct place_open *in = args;
    struct warehouse *self = row;
    self->name = in->name;
    self->address = in->address;
    self->tax = in->tax;
    self->ytd = in->ytd;
    return WEIR_OK;
}

static enum weir_status warehouse_rate(struct weir_ctx *ctx, void *row, const void *args,
                                       void *result)
{
    *(int64_t *)result = ((const struct warehouse *)row)->tax;
    return WEIR_OK;
}

static enum weir_status warehouse_took(struct weir_ctx *ctx, void *row, const void *args,
                                       void *result)
{
    ((struct warehouse *)row)->ytd += ((const struct one *)args)->n;
    return WEIR_OK;
}

static enum weir_status warehouse_delivery(struct weir_ctx *ctx, void *row, const void *args,
                                           void *result)
{
    int64_t *n = numbers_make(ctx, result, DISTRICTS), w = ((const struct warehouse *)row)->w;
    enum weir_status status = WEIR_OK;
    struct key key;
    for (int64_t d = 1; d <= DISTRICTS; d++)
        status = weir_call(ctx, at_two(&key, w, d), &deliver, args, &n[d - 1]);
    return status;
}

static enum weir_status warehouse_audit(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    *numbers_make(ctx, result, 1) = ((const struct warehouse *)row)->ytd;
    return WEIR_OK;
}

/* ---- districts: loading ---- */

static enum weir_status district_open(struct weir_ctx *ctx, void *row, const void *args,
                                      void *result)
{
    const struct place_open *in = args;
    struct district *self = row;
    self->name = in->name;
    self->address = in->address;
    self->tax = in->tax;
    self->ytd = in->ytd;
    self->next_order = in->next_order;
    return WEIR_OK;
}

static enum weir_status district_enroll(struct weir_ctx *ctx, void *row, const void *args,
                                        void *result)
{
    const struct enroll *in = args;
    const struct district *self = row;
    struct key key;
    *(bool *)weir_map_put(
        ctx, BY_NAME,
        WEIR_KEY(weir_text(in->who.last), weir_text(in->who.first), weir_number(in->c))) = true;
    return weir_call(ctx, at_three(&key, self->w, self->d, in->c), &customer_open_verb, &in->who,
                     NULL);
}

static enum weir_status district_entered(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result)
{
    const struct entered *in = args;
    const struct entered_line *from = in->lines.items;
    const struct district *self = row;
    struct order *order = weir_map_put(ctx, ORDERS, WEIR_KEY(weir_number(in->order)));
    struct line *lines = weir_scratch(ctx, in->lines.count * sizeof(*lines) + 1);
    struct key key;
    int64_t discount;
    for (size_t i = 0; i < in->lines.count; i++)
        lines[i] = (struct line){ .item = from[i].item,
                                  .supply = self->w,
                                  .quantity = 5,
                                  .amount = from[i].amount,
                                  .delivered = in->carrier > 0 ? weir_now(ctx) : WEIR_NIL,
                                  .info = STR("xxxxxxxxxxxxxxxxxxxxxxxx") };
    *order = (struct order){
        in->c, weir_now(ctx), in->carrier, (int64_t)in->lines.count, { lines, in->lines.count }
    };
    if (in->carrier == 0)
        *(bool *)weir_map_put(ctx, UNSENT, WEIR_KEY(weir_number(in->order))) = true;
    return weir_call(ctx, at_three(&key, self->w, self->d, in->c), &ordered,
                     &(struct one){ in->order }, &discount);
}

/* ---- districts: the transactions ---- */

/* At most LINES_MAX lines. */
static enum weir_status lines_take(struct weir_ctx *ctx, const struct district *self,
                                   const struct wanted *from, struct line *lines, size_t count)
{
    struct key item_keys[LINES_MAX], stock_keys[LINES_MAX];
    struct weir_ref items[LINES_MAX], stocks[LINES_MAX];
    for (size_t i = 0; i < count; i++) {
        items[i] = at_two(&item_keys[i], self->w, from[i].item);
        stocks[i] = at_two(&stock_keys[i], from[i].supply, from[i].item);
    }
    weir_expect(ctx, &cost, items, count);
    weir_expect(ctx, &take, stocks, count);
    for (size_t i = 0; i < count; i++) {
        struct line *line = &lines[i];
        int64_t price = 0;
        *line = (struct line){ .item = from[i].item,
                               .supply = from[i].supply,
                               .quantity = from[i].quantity,
                               .delivered = WEIR_NIL,
                               .info = STR("") };
        weir_call(ctx, items[i], &cost, NULL, &price);
        weir_call(ctx, stocks[i], &take, &(struct three){ self->w, self->d, line->quantity },
                  &line->info);
        line->amount = line->quantity * price;
    }
    return weir_failed(ctx);
}

static enum weir_status district_new_order(struct weir_ctx *ctx, void *row, const void *args,
                                           void *result)
{
    const struct new_order *in = args;
    const struct wanted *from = in->lines.items;
    struct district *self = row;
    struct line *lines = weir_scratch(ctx, in->lines.count * sizeof(*lines) + 1);
    int64_t o = self->next_order++, discount = 0, tax = 0, sum = 0;
    struct key key;
    weir_call(ctx, at_three(&key, self->w, self->d, in->c), &ordered, &(struct one){ o },
              &discount);
    weir_call(ctx, at_one(&key, self->w), &rate, NULL, &tax);
    tax += self->tax;
    for (size_t done = 0; done < in->lines.count; done += LINES_MAX) {
        size_t more = in->lines.count - done;
        enum weir_status status = lines_take(ctx, self, from + done, lines + done,
                                             more < LINES_MAX ? more : LINES_MAX);
        if (status != WEIR_OK) return status;
    }
    for (size_t i = 0; i < in->lines.count; i++) sum += lines[i].amount;
    struct order *order = weir_map_put(ctx, ORDERS, WEIR_KEY(weir_number(o)));
    *order = (struct order){
        in->c, weir_now(ctx), 0, (int64_t)in->lines.count, { lines, in->lines.count }
    };
    *(bool *)weir_map_put(ctx, UNSENT, WEIR_KEY(weir_number(o))) = true;
    int64_t *n = numbers_make(ctx, result, 2);
    n[0] = o;
    n[1] = (sum * (10000 - discount) * (10000 + tax) + 50000000) / 100000000;
    return WEIR_OK;
}

/* The middle one of that name, by first name. */
static int64_t name_find(struct weir_ctx *ctx, struct weir_str last)
{
    struct weir_key bound = WEIR_KEY(weir_text(last)), key = { 0 };
    struct weir_scan scan = { .from = bound, .to = bound };
    int64_t count = 0;
    void *row;
    while (weir_map_next(ctx, BY_NAME, &scan, &key, &row)) count++;
    if (count == 0) {
        weir_fail(ctx, "no_such_name", last);
        return 0;
    }
    scan = (struct weir_scan){ .from = bound, .to = bound, .limit = (count + 1) / 2 };
    while (weir_map_next(ctx, BY_NAME, &scan, &key, &row)) continue;
    return key.part[2].n;
}

static enum weir_status district_named(struct weir_ctx *ctx, void *row, const void *args,
                                       void *result)
{
    *(int64_t *)result = name_find(ctx, ((const struct name *)args)->last);
    return weir_failed(ctx);
}

static enum weir_status district_payment(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result)
{
    const struct payment *in = args;
    struct district *self = row;
    int64_t *n = numbers_make(ctx, result, 2);
    struct key key;
    n[0] = in->c;
    n[1] = 0;
    self->ytd += in->amount;
    weir_call(ctx, at_one(&key, self->w), &took, &(struct one){ in->amount }, NULL);
    if (in->c == 0) {
        if (in->cw == self->w && in->cd == self->d) n[0] = name_find(ctx, in->last);
        else
            weir_call(ctx, at_two(&key, in->cw, in->cd), &named, &(struct name){ in->last }, &n[0]);
    }
    return weir_call(ctx, at_three(&key, in->cw, in->cd, n[0]), &pay,
                     &(struct three){ in->amount, self->w, self->d }, &n[1]);
}

static enum weir_status district_order_status(struct weir_ctx *ctx, void *row, const void *args,
                                              void *result)
{
    const struct who *in = args;
    const struct district *self = row;
    int64_t c = in->c ? in->c : name_find(ctx, in->last);
    struct weir_list status = { 0 };
    struct key key;
    weir_call(ctx, at_three(&key, self->w, self->d, c), &status_of, NULL, &status);
    if (weir_failed(ctx) != WEIR_OK) return weir_failed(ctx);
    const int64_t *about = status.items;
    const struct order *order = weir_map_get(ctx, ORDERS, WEIR_KEY(weir_number(about[1])));
    if (!order) return weir_fail(ctx, "no_order", weir_self(ctx));
    const struct line *line = order->lines.items;
    int64_t *n = numbers_make(ctx, result, 4 + 5 * order->lines.count);
    *n++ = c;
    *n++ = about[0];
    *n++ = about[1];
    *n++ = order->carrier;
    for (size_t i = 0; i < order->lines.count; i++, line++) {
        *n++ = line->item;
        *n++ = line->supply;
        *n++ = line->quantity;
        *n++ = line->amount;
        *n++ = line->delivered != WEIR_NIL;
    }
    return WEIR_OK;
}

static enum weir_status district_deliver(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result)
{
    const struct district *self = row;
    int64_t o = edge(ctx, UNSENT, false), sum = 0;
    struct key key;
    *(int64_t *)result = o;
    if (o == 0) return weir_failed(ctx);
    struct order *order = weir_map_edit(ctx, ORDERS, WEIR_KEY(weir_number(o)));
    if (!order) return weir_fail(ctx, "no_order", weir_self(ctx));
    weir_map_remove(ctx, UNSENT, WEIR_KEY(weir_number(o)));
    order->carrier = ((const struct one *)args)->n;
    struct line *lines = order->lines.items;
    for (size_t i = 0; i < order->lines.count; i++) {
        lines[i].delivered = weir_now(ctx);
        sum += lines[i].amount;
    }
    return weir_call(ctx, at_three(&key, self->w, self->d, order->customer), &delivered,
                     &(struct one){ sum }, NULL);
}

/* True: it was not among them, and is now. */
static bool seen_add(int64_t *seen, uint32_t *count, int64_t n)
{
    for (uint32_t i = 0; i < *count; i++)
        if (seen[i] == n) return false;
    seen[(*count)++] = n;
    return true;
}

static enum weir_status district_stock_level(struct weir_ctx *ctx, void *row, const void *args,
                                             void *result)
{
    const struct district *self = row;
    struct weir_scan scan = { .from = WEIR_KEY(weir_number(self->next_order - LEVEL_ORDERS)),
                              .limit = LEVEL_ORDERS };
    int64_t seen[LEVEL_ORDERS * LINES_MAX], shorts = 0, quantity;
    uint32_t count = 0;
    struct weir_key at;
    struct key key;
    void *value;
    while (weir_map_next(ctx, ORDERS, &scan, &at, &value)) {
        const struct order *order = value;
        const struct line *line = order->lines.items;
        for (size_t i = 0; i < order->lines.count && i < LINES_MAX; i++, line++) {
            if (!seen_add(seen, &count, line->item)) continue;
            quantity = 0;
            weir_call(ctx, at_two(&key, self->w, line->item), &left, NULL, &quantity);
            shorts += quantity < ((const struct one *)args)->n;
        }
    }
    *(int64_t *)result = shorts;
    return weir_failed(ctx);
}

/* ---- districts: audits ---- */

static enum weir_status district_audit(struct weir_ctx *ctx, void *row, const void *args,
                                       void *result)
{
    const struct district *self = row;
    int64_t *n = numbers_make(ctx, result, 7);
    n[0] = self->ytd;
    n[1] = self->next_order;
    n[2] = edge(ctx, ORDERS, true);
    n[3] = edge(ctx, UNSENT, false);
    n[4] = edge(ctx, UNSENT, true);
    n[5] = weir_map_count(ctx, UNSENT);
    n[6] = weir_map_count(ctx, ORDERS);
    return WEIR_OK;
}

static enum weir_status district_audit_orders(struct weir_ctx *ctx, void *row, const void *args,
                                              void *result)
{
    const struct two *in = args;
    struct weir_scan scan = { .from = WEIR_KEY(weir_number(in->a)),
                              .to = WEIR_KEY(weir_number(in->b)) };
    int64_t *n = numbers_make(ctx, result, 5 + 2 * (size_t)(in->b - in->a + 1));
    struct weir_key at;
    void *value;
    size_t count = 5;
    memset(n, 0, 5 * sizeof(*n));
    while (weir_map_next(ctx, ORDERS, &scan, &at, &value)) {
        const struct order *order = value;
        const struct line *line = order->lines.items;
        int64_t sum = 0;
        size_t dated = 0;
        for (size_t i = 0; i < order->lines.count; i++, line++) {
            sum += line->amount;
            dated += line->delivered != WEIR_NIL;
        }
        bool unsent = weir_map_get(ctx, UNSENT, at) != NULL;
        n[0] += (order->carrier == 0) != unsent;
        n[1] += order->count != (int64_t)order->lines.count;
        n[2] += dated != (order->carrier == 0 ? 0 : order->lines.count);
        n[3] += order->count;
        n[4] += (int64_t)order->lines.count;
        if (order->carrier == 0) continue;
        n[count++] = order->customer;
        n[count++] = sum;
    }
    ((struct weir_list *)result)->count = count;
    return WEIR_OK;
}

/* ---- the tables ---- */

static const struct weir_handler item_handlers[] = {
    { "add", WEIR_CREATE, item_add, WEIR_SHAPE(struct item_add, item_add_fields), WEIR_NOTHING,
      NULL },
    { "cost", WEIR_QUERY, item_cost, WEIR_NOTHING, NUMBER, NULL },
    WEIR_END
};
static const struct weir_handler stock_handlers[] = {
    { "open", WEIR_ON, stock_open, WEIR_SHAPE(struct stock_open, stock_open_fields), WEIR_NOTHING,
      NULL },
    { "take", WEIR_ON, stock_take, THREE, TEXT, NULL },
    { "left", WEIR_QUERY, stock_left, WEIR_NOTHING, NUMBER, NULL },
    { "audit", WEIR_QUERY, stock_audit, WEIR_NOTHING, NUMBERS, NULL },
    WEIR_END
};
static const struct weir_handler customer_handlers[] = {
    { "open", WEIR_ON, customer_open, WEIR_SHAPE(struct customer_open, customer_open_fields),
      WEIR_NOTHING, NULL },
    { "ordered", WEIR_ON, customer_ordered, ONE, NUMBER, NULL },
    { "pay", WEIR_ON, customer_pay, THREE, NUMBER, NULL },
    { "status", WEIR_QUERY, customer_status, WEIR_NOTHING, NUMBERS, NULL },
    { "delivered", WEIR_ON, customer_delivered, ONE, WEIR_NOTHING, NULL },
    { "audit", WEIR_QUERY, customer_audit, WEIR_NOTHING, NUMBERS, NULL },
    WEIR_END
};
static const struct weir_handler warehouse_handlers[] = {
    { "open", WEIR_ON, warehouse_open, WEIR_SHAPE(struct place_open, warehouse_open_fields),
      WEIR_NOTHING, NULL },
    { "rate", WEIR_QUERY, warehouse_rate, WEIR_NOTHING, NUMBER, NULL },
    { "took", WEIR_ON, warehouse_took, ONE, WEIR_NOTHING, NULL },
    { "delivery", WEIR_ON, warehouse_delivery, ONE, NUMBERS, NULL },
    { "audit", WEIR_QUERY, warehouse_audit, WEIR_NOTHING, NUMBERS, NULL },
    WEIR_END
};
static const struct weir_handler district_handlers[] = {
    { "open", WEIR_ON, district_open, WEIR_SHAPE(struct place_open, district_open_fields),
      WEIR_NOTHING, NULL },
    { "enroll", WEIR_ON, district_enroll, WEIR_SHAPE(struct enroll, enroll_fields), WEIR_NOTHING,
      NULL },
    { "entered", WEIR_ON, district_entered, WEIR_SHAPE(struct entered, entered_fields),
      WEIR_NOTHING, NULL },
    { "new_order", WEIR_ON, district_new_order, WEIR_SHAPE(struct new_order, new_order_fields),
      NUMBERS, NULL },
    { "named", WEIR_QUERY, district_named, NAME, NUMBER, NULL },
    { "payment", WEIR_ON, district_payment, WEIR_SHAPE(struct payment, payment_fields), NUMBERS,
      NULL },
    { "order_status", WEIR_QUERY, district_order_status, WEIR_SHAPE(struct who, who_fields),
      NUMBERS, NULL },
    { "deliver", WEIR_ON, district_deliver, ONE, NUMBER, NULL },
    { "stock_level", WEIR_QUERY, district_stock_level, ONE, NUMBER, NULL },
    { "audit", WEIR_QUERY, district_audit, WEIR_NOTHING, NUMBERS, NULL },
    { "audit_orders", WEIR_QUERY, district_audit_orders, TWO, NUMBERS, NULL },
    WEIR_END
};
static const struct weir_entity entities[] = {
    { .name = "item",
      .key = "{w}:i",
      .row = WEIR_SHAPE(struct item, item_fields),
      .handlers = item_handlers },
    { .name = "stock",
      .key = "{w}:i",
      .row = WEIR_SHAPE(struct stock, stock_fields),
      .handlers = stock_handlers },
    { .name = "customer",
      .key = "{w}:d:c",
      .row = WEIR_SHAPE(struct customer, customer_fields),
      .maps = customer_maps,
      .handlers = customer_handlers },
    { .name = "warehouse",
      .key = "{w}",
      .row = WEIR_SHAPE(struct warehouse, warehouse_fields),
      .handlers = warehouse_handlers },
    { .name = "district",
      .key = "{w}:d",
      .row = WEIR_SHAPE(struct district, district_fields),
      .maps = district_maps,
      .handlers = district_handlers },
};

enum weir_status tpcc_native(struct weir_app *app)
{
    struct weir_verb *const used[] = { &customer_open_verb,
                                       &ordered,
                                       &pay,
                                       &status_of,
                                       &delivered,
                                       &rate,
                                       &took,
                                       &cost,
                                       &take,
                                       &left,
                                       &named,
                                       &deliver };
    return native_add(app, entities, sizeof(entities) / sizeof(entities[0]), used,
                      sizeof(used) / sizeof(used[0]));
}
