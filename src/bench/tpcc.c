/*
 * tpcc.c - TPC-C, revision 5.11: NewOrder and Payment 51 to 49 (--mix two, as K. Psarakis et al., "Styx: Transactional Stateful
 * Functions on Streaming Dataflows", SIGMOD 2025, have it), all five transactions 45, 43, 4, 4, 4 (--mix full), or NewOrder alone.
 *
 * No terminals: no keying and no thinking time, warehouse and district drawn for each request, so these are no tpmC. Delivery is
 * one transaction over ten districts, at once. The rest is clause 2: NURand, 1 % of lines from another warehouse, 1 % of
 * NewOrders with an item that does not exist, 15 % of payments by a customer of another warehouse, 60 % by last name.
 *
 * Checked: the consistency conditions of clause 3.3.2, and what the answers add up to (tpcc_audit.c).
 * SPDX-License-Identifier: MIT
 */
#include "bench/tpcc.h"

static const struct verb verbs[] = {
    { "district", "new_order" },
    { "district", "payment" },
    { "district", "order_status" },
    { "warehouse", "delivery" },
    { "district", "stock_level" },
    { "item", "add" },
    { "stock", "open" },
    { "warehouse", "open" },
    { "district", "open" },
    { "district", "enroll" },
    { "district", "entered" },
    { "warehouse", "audit" },
    { "district", "audit" },
    { "district", "audit_orders" },
    { "customer", "audit" },
    { "stock", "audit" },
    { NULL, NULL },
};
static const char *const kinds[] = { "new_order", "payment",     "order_status",
                                     "delivery",  "stock_level", NULL };
static const char *const mixes[] = { "two", "full", "neworder", NULL };
static const uint32_t weights[][TPCC_KINDS] = { { 51, 49, 0, 0, 0 },
                                                { 45, 43, 4, 4, 4 },
                                                { 100, 0, 0, 0, 0 } };
static const struct bench_param param_warehouses = { "warehouses", "N", "of TPC-C (1)" };
static const struct bench_param param_items = {
    "items", "N", "of TPC-C, each in stock in each warehouse (100000)"
};
static const struct bench_param param_customers = { "customers", "N",
                                                    "of TPC-C, in each of ten districts (3000)" };
static const struct bench_param *const params[] = { &param_warehouses, &param_items,
                                                    &param_customers, &param_mix, NULL };

static const char *const line_columns[] = { "item", "supply", "quantity" };
static const char *const entered_columns[] = { "item", "amount" };
#define LINES_MIN 5
#define LINES_MAX 15

/* The constants of NURand; last names as loaded and as asked for differ by one that clause 2.1.6.1 allows. */
#define C_LAST_LOADED 100
#define C_LAST 171
#define C_CUSTOMER 259
#define C_ITEM 7911

static void tpcc_destroy(void *ptr)
{
    struct tpcc *self = ptr;
    mem_free(self->order_customer);
    mem_free(self->warehouse);
    mem_free(self->district);
    mem_free(self->customer);
    mem_free(self->stock);
    mem_free(self);
}

static void *tpcc_create(struct workload_setup *setup)
{
    struct tpcc *self = mem_alloc(sizeof(*self));
    if (!setting_number(setup, "warehouses", 1, 1, 10000, &self->warehouses) ||
        !setting_number(setup, "items", 100000, 100, 100000, &self->items) ||
        !setting_number(setup, "customers", 3000, 30, 3000, &self->customers) ||
        !setting_word(setup, "mix", mixes, &self->mix)) {
        tpcc_destroy(self);
        return NULL;
    }
    struct random random = { 0 };
    uint64_t districts = self->warehouses * DISTRICTS;
    self->warehouse = mem_alloc(self->warehouses * sizeof(*self->warehouse));
    self->district = mem_alloc(districts * sizeof(*self->district));
    self->customer = mem_alloc(districts * self->customers * sizeof(*self->customer));
    self->stock = mem_alloc(self->warehouses * self->items * sizeof(*self->stock));
    self->order_customer = mem_alloc(self->customers * sizeof(*self->order_customer));
    for (uint32_t o = 0; o < self->customers; o++) {
        uint32_t at = (uint32_t)random_below(&random, o + 1);
        self->order_customer[o] = self->order_customer[at];
        self->order_customer[at] = o + 1;
    }
    return self;
}

/* ---- loading ---- */

static int64_t nurand(struct random *random, uint64_t a, int64_t c, int64_t low, int64_t high)
{
    int64_t n = (int64_t)(random_below(random, a + 1) |
                          (uint64_t)random_between(random, low, high));
    return (n + c) % (high - low + 1) + low;
}

static void letters(struct shot *shot, struct random *random, int64_t min, int64_t max)
{
    char text[512];
    size_t len = (size_t)random_between(random, min, max);
    for (size_t i = 0; i < len; i++) text[i] = (char)('a' + random_below(random, 26));
    shot_text(shot, (struct weir_str){ text, len });
}

/* Clause 4.3.2.3: a number from 0 to 999 as three syllables. */
static void last_name(struct shot *shot, int64_t n)
{
    static const char *const syllables[] = { "BAR", "OUGHT", "ABLE",  "PRI",   "PRES",
                                             "ESE", "ANTI",  "CALLY", "ATION", "EING" };
    char text[32];
    int len = snprintf(text, sizeof(text), "%s%s%s", syllables[n / 100], syllables[n / 10 % 10],
                       syllables[n % 10]);
    shot_text(shot, (struct weir_str){ text, (size_t)len });
}

/* Only names that somebody bears. */
static int64_t name_max(const struct tpcc *self)
{
    return self->customers < 1000 ? (int64_t)self->customers - 1 : 999;
}

static uint64_t orders_delivered_first(const struct tpcc *self)
{
    return self->customers - self->customers * 3 / 10;
}

static void load_customer(struct tpcc *self, struct random *random, int64_t c, struct shot *shot)
{
    char first[32];
    int64_t name = c <= 1000 ? c - 1 : nurand(random, 255, C_LAST_LOADED, 0, name_max(self));
    int len = snprintf(first, sizeof(first), "F%04lld%08llx",
                       (long long)random_below(random, 10000), (unsigned long long)c);
    shot_int(shot, c);
    shot_text(shot, (struct weir_str){ first, (size_t)len });
    last_name(shot, name);
    letters(shot, random, 80, 100);  /* streets, city, state, zip, phone */
    letters(shot, random, 300, 500); /* data */
    shot_int(shot, random_between(random, 0, 5000));
    shot_int(shot, random_below(random, 10) == 0);
}

static void load_order(struct tpcc *self, struct random *random, int64_t order, struct shot *shot)
{
    bool delivered = (uint64_t)order <= orders_delivered_first(self);
    uint32_t lines = (uint32_t)random_between(random, LINES_MIN, LINES_MAX);
    shot_int(shot, order);
    shot_int(shot, self->order_customer[order - 1]);
    shot_int(shot, delivered ? random_between(random, 1, 10) : 0);
    int64_t *cell = shot_rows(shot, lines, entered_columns, 2);
    for (uint32_t i = 0; i < lines; i++) {
        *cell++ = random_between(random, 1, (int64_t)self->items);
        *cell++ = delivered ? 0 : random_between(random, 1, 999999);
    }
}

/* Of each warehouse: itself, its districts, items, stock, customers, orders. */
static uint64_t load_per_warehouse(const struct tpcc *self)
{
    return 1 + DISTRICTS + 2 * self->items + 2 * DISTRICTS * self->customers;
}

static uint64_t tpcc_load_count(void *ptr)
{
    struct tpcc *self = ptr;
    return self->warehouses * load_per_warehouse(self);
}

static void load_place(struct tpcc *self, uint64_t w, struct random *random, struct shot *shot)
{
    shot_begin(shot, WAREHOUSE_OPEN, 0);
    shot_key(shot, "%llu", (unsigned long long)w);
    letters(shot, random, 6, 10);
    letters(shot, random, 80, 100);
    shot_int(shot, random_between(random, 0, 2000));
    shot_int(shot, (int64_t)(DISTRICTS * self->customers) * 1000);
}

static void load_district(struct tpcc *self, uint64_t w, uint64_t d, struct random *random,
                          struct shot *shot)
{
    struct tpcc_district *district = &self->district[(w - 1) * DISTRICTS + d - 1];
    district->orders = (uint32_t)self->customers;
    district->delivered = (uint32_t)orders_delivered_first(self);
    shot_begin(shot, DISTRICT_OPEN, 0);
    shot_key(shot, "%llu:%llu", (unsigned long long)w, (unsigned long long)d);
    letters(shot, random, 6, 10);
    letters(shot, random, 80, 100);
    shot_int(shot, random_between(random, 0, 2000));
    shot_int(shot, (int64_t)self->customers * 1000);
    shot_int(shot, (int64_t)self->customers + 1);
}

static void load_goods(struct tpcc *self, uint64_t w, uint64_t i, bool stock, struct random *random,
                       struct shot *shot)
{
    shot_begin(shot, stock ? STOCK_OPEN : ITEM_ADD, 0);
    shot_key(shot, "%llu:%llu", (unsigned long long)w, (unsigned long long)i);
    if (stock) {
        int64_t quantity = random_between(random, 10, 100);
        self->stock[(w - 1) * self->items + i - 1].quantity = (uint8_t)quantity;
        shot_int(shot, quantity);
        letters(shot, random, 24 * DISTRICTS, 24 * DISTRICTS);
        letters(shot, random, 26, 50);
    } else {
        random->state = i; /* the same in each warehouse */
        letters(shot, random, 14, 24);
        shot_int(shot, random_between(random, 100, 10000));
        letters(shot, random, 26, 50);
    }
}

static void tpcc_load(void *ptr, uint64_t place, struct shot *shot)
{
    struct tpcc *self = ptr;
    struct random random = { place };
    uint64_t w = place / load_per_warehouse(self) + 1, at = place % load_per_warehouse(self);
    if (at == 0) {
        load_place(self, w, &random, shot);
        return;
    }
    at -= 1;
    if (at < DISTRICTS) {
        load_district(self, w, at + 1, &random, shot);
        return;
    }
    at -= DISTRICTS;
    if (at < 2 * self->items) {
        load_goods(self, w, at / 2 + 1, at % 2, &random, shot);
        return;
    }
    at -= 2 * self->items;
    uint64_t district = at / 2 % DISTRICTS, n = at / 2 / DISTRICTS + 1;
    shot_begin(shot, at % 2 ? ENTERED : ENROLL, 0);
    shot_key(shot, "%llu:%llu", (unsigned long long)w, (unsigned long long)district + 1);
    if (at % 2) {
        load_order(self, &random, (int64_t)n, shot);
        return;
    }
    load_customer(self, &random, (int64_t)n, shot);
    struct tpcc_customer
        *customer = &self->customer[((w - 1) * DISTRICTS + district) * self->customers + n - 1];
    customer->paid = 1000;
    customer->payments = 1;
}

/* ---- requests; notes: district's place, its warehouse, then each kind's own ---- */

static uint64_t other_warehouse(const struct tpcc *self, struct random *random, uint64_t w)
{
    uint64_t other = random_below(random, self->warehouses - 1) + 1;
    return other < w ? other : other + 1;
}

static void new_order(struct tpcc *self, struct random *random, uint64_t w, struct shot *shot)
{
    uint32_t lines = (uint32_t)random_between(random, LINES_MIN, LINES_MAX);
    bool invalid = random_below(random, 100) == 0;
    shot_int(shot, nurand(random, 1023, C_CUSTOMER, 1, (int64_t)self->customers));
    int64_t *cell = shot_rows(shot, lines, line_columns, 3);
    for (uint32_t i = 0; i < lines; i++) {
        bool remote = self->warehouses > 1 && random_below(random, 100) == 0;
        *cell++ = nurand(random, 8191, C_ITEM, 1, (int64_t)self->items);
        *cell++ = (int64_t)(remote ? other_warehouse(self, random, w) : w);
        *cell++ = random_between(random, 1, 10);
    }
    if (invalid) cell[-3] = (int64_t)self->items + 1;
    shot->note[2] = invalid;
}

/* By number, or by last name and number 0. */
static void customer_draw(struct tpcc *self, struct random *random, struct shot *shot)
{
    if (random_below(random, 100) < 60) {
        shot_int(shot, 0);
        last_name(shot, nurand(random, 255, C_LAST, 0, name_max(self)));
    } else {
        shot_int(shot, nurand(random, 1023, C_CUSTOMER, 1, (int64_t)self->customers));
        shot_text(shot, STR(""));
    }
}

static void payment(struct tpcc *self, struct random *random, uint64_t w, uint64_t d,
                    struct shot *shot)
{
    int64_t amount = random_between(random, 100, 500000);
    if (self->warehouses > 1 && random_below(random, 100) < 15) {
        w = other_warehouse(self, random, w);
        d = random_below(random, DISTRICTS) + 1;
    }
    shot->note[2] = amount;
    shot->note[3] = (int64_t)((w - 1) * DISTRICTS + d - 1);
    shot_int(shot, amount);
    shot_int(shot, (int64_t)w);
    shot_int(shot, (int64_t)d);
    customer_draw(self, random, shot);
}

static void tpcc_next(void *ptr, struct random *random, struct shot *shot)
{
    struct tpcc *self = ptr;
    uint64_t n = random_below(random, 100);
    uint64_t w = random_below(random, self->warehouses) + 1,
             d = random_below(random, DISTRICTS) + 1;
    uint32_t kind = 0;
    while (n >= weights[self->mix][kind]) n -= weights[self->mix][kind++];
    shot_begin(shot, kind, kind);
    if (kind == DELIVERY) shot_key(shot, "%llu", (unsigned long long)w);
    else shot_key(shot, "%llu:%llu", (unsigned long long)w, (unsigned long long)d);
    shot->note[0] = (int64_t)((w - 1) * DISTRICTS + d - 1);
    shot->note[1] = (int64_t)w;
    switch (kind) {
    case NEW_ORDER: new_order(self, random, w, shot); break;
    case PAYMENT: payment(self, random, w, d, shot); break;
    case ORDER_STATUS: customer_draw(self, random, shot); break;
    case DELIVERY: shot_int(shot, random_between(random, 1, 10)); break;
    default: shot_int(shot, random_between(random, 10, 20)); break;
    }
}

/* ---- answers ---- */

static bool order_note(struct tpcc *self, const struct shot *shot, const struct answer *answer)
{
    const int64_t *cell = shot->cell;
    if (answer->count != 2 || shot->note[2]) return false;
    self->district[shot->note[0]].orders++;
    for (int64_t i = 0; i < shot->arg[1].n; i++, cell += 3) {
        uint64_t place = (uint64_t)(cell[1] - 1) * self->items + (uint64_t)cell[0] - 1;
        self->stock[place].ytd += (uint32_t)cell[2];
        self->stock[place].orders++;
        self->stock[place].remote += cell[1] != shot->note[1];
    }
    return answer->numbers[0] > 0 && answer->numbers[1] > 0;
}

static bool payment_note(struct tpcc *self, const struct shot *shot, const struct answer *answer)
{
    int64_t c = answer->count == 2 ? answer->numbers[0] : 0, asked = shot->arg[3].n;
    if (c < 1 || c > (int64_t)self->customers || (asked != 0 && c != asked)) return false;
    struct tpcc_customer
        *customer = &self->customer[(uint64_t)shot->note[3] * self->customers + (uint64_t)c - 1];
    customer->paid += shot->note[2];
    customer->payments++;
    return true;
}

static bool delivery_note(struct tpcc *self, const struct shot *shot, const struct answer *answer)
{
    if (answer->count != DISTRICTS) return false;
    for (uint32_t d = 0; d < DISTRICTS; d++)
        self->district[(uint64_t)(shot->note[1] - 1) * DISTRICTS + d]
            .delivered += answer->numbers[d] > 0;
    return true;
}

static enum outcome tpcc_judge(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct tpcc *self = ptr;
    bool good = false;
    if (answer->kind != (shot->kind == STOCK_LEVEL ? ANSWER_NUMBER : ANSWER_NUMBERS))
        return answer_outcome(answer, shot->kind == NEW_ORDER && shot->note[2] ? "notfound" : NULL);
    switch (shot->kind) {
    case NEW_ORDER: good = order_note(self, shot, answer); break;
    case PAYMENT: good = payment_note(self, shot, answer); break;
    case ORDER_STATUS:
        good = answer->count >= 4 + 5 * LINES_MIN && (answer->count - 4) % 5 == 0 &&
               answer->numbers[2] > 0;
        break;
    case DELIVERY: good = delivery_note(self, shot, answer); break;
    default: good = answer->number >= 0 && answer->number <= 20 * LINES_MAX; break;
    }
    return good ? OUTCOME_DONE : OUTCOME_WRONG;
}

extern const char tpcc_lua[];
const struct workload workload_tpcc = {
    .name = "tpcc",
    .about = "TPC-C: --mix two (NewOrder 51, Payment 49), full (45, 43, 4, 4, 4) or neworder",
    .params = params,
    .verbs = verbs,
    .kinds = kinds,
    .lua = tpcc_lua,
    .native = tpcc_native,
    .create = tpcc_create,
    .destroy = tpcc_destroy,
    .load_count = tpcc_load_count,
    .load = tpcc_load,
    .next = tpcc_next,
    .judge = tpcc_judge,
    .verify_count = tpcc_verify_count,
    .verify = tpcc_verify,
    .verified = tpcc_verified,
    .conclude = tpcc_conclude,
};
