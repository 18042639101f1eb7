/*
 * market.c - Online Marketplace (R. Laigner et al., PACMMOD 3(1), 2025): customers fill carts and check out, sellers change prices and
 * products and look at their dashboards, parcels are delivered.
 *
 * The mix is theirs: customer sessions 30 %, dashboards 5, prices 3, products 2 (of which a tenth are taken off the market),
 * deliveries 60. A session is one of these and several requests: 1 to 10 products into the cart, at once, and the checkout when all of
 * these have been answered; so in which order requests go out depends on answers, though not what a session is. A customer has one
 * session at a time. Customers and products are as many, a seller has ten products.
 *
 * Checked, when all messages and events have been worked off, against what was answered:
 * - a checkout is there as a whole: the order (until it is delivered), one payment that adds up, one shipment, the stock; one that
 *   was refused is nowhere; what is left in stock and what was sold are what was there at first, nothing stays reserved
 * - the stock has its product's version, at every look
 * - a cart's price is one that the product had, never an older one than when it was added or than was answered before that; when all
 *   is quiet it is the product's
 * - a dashboard's sums are those of its rows, at every look; a seller saw the steps of each order in their order
 * - a parcel is delivered once, the last one ends its order
 * SPDX-License-Identifier: MIT
 */
#include "base/assert.h"
#include "bench/workload.h"

#define PER_SELLER 10u
#define DEPOTS 64u
#define LINES_MAX 10u
#define ROOM_FIRST 1024u
#define GONE_PERCENT 10u     /* of the changes of products */
#define VOUCHER_PERCENT 5u   /* of the lines of a cart */
#define CUSTOMER_DRAWS 1000u /* to find one who is idle */

enum kind { ADD, CHECKOUT, DASHBOARD, PRICE, PRODUCT, DELIVERY, KINDS };
enum {
    VERB_DELETE = KINDS,
    VERB_PRODUCT_OPEN,
    VERB_SELLER_OPEN,
    VERB_CUSTOMER_OPEN,
    AUDIT_PRODUCT,
    AUDIT_CART,
    AUDIT_CUSTOMER,
    AUDIT_SELLER,
    AUDIT_DEPOT,
    AUDIT_ORDER
};
static const struct verb verbs[] = {
    { "cart", "add" },        { "cart", "checkout" },   { "seller", "dashboard" },
    { "product", "reprice" }, { "product", "replace" }, { "depot", "deliver" },
    { "product", "delete" },  { "product", "open" },    { "seller", "open" },
    { "customer", "open" },   { "desk", "product" },    { "cart", "audit" },
    { "customer", "audit" },  { "seller", "audit" },    { "depot", "audit" },
    { "desk", "order" },      { NULL, NULL },
};
static const char *const kinds[] = { "add",     "checkout", "dashboard", "price",
                                     "product", "delivery", NULL };
static const uint32_t weights[] = {
    [ADD] = 30, [DASHBOARD] = 5, [PRICE] = 3, [PRODUCT] = 2, [DELIVERY] = 60
}; /* of 100; ADD: a session */
static const struct bench_param *const params[] = { &param_keys, &param_zipf, &param_initial,
                                                    NULL };

/* What grows at its end. */
struct list {
    void *items;
    uint64_t count, room;
};

struct product {
    int64_t freight, first_price;
    int64_t version; /* the newest that was answered */
    bool gone;       /* that one */
    int64_t known;   /* the newest price that was answered */
    int64_t *prices; /* by number; 0: not answered */
    uint32_t prices_room;
    int64_t sold;
    int64_t carts; /* that hold it; counted when all is over */
};

struct customer {
    bool busy, touched;
    struct list orders; /* uint64_t, places of its orders by their numbers */
    int64_t spent, packages_delivered;
    uint64_t session; /* the one that it has while busy */
};

struct line {
    uint64_t product;
    int64_t count, voucher;
    int64_t change; /* that the answer named; -1: not in the cart */
};

struct session {
    uint64_t customer;
    uint32_t lines, waiting; /* waiting: for answers */
    struct line line[LINES_MAX];
    uint64_t next_free;
};

/* The next request of a session; line LINES_MAX: its checkout. */
struct step {
    uint64_t session;
    uint32_t line;
};

struct sale {
    uint64_t product;
    int64_t price, change, amount; /* amount: less the voucher, without freight */
    bool delivered;
};
struct order {
    uint64_t customer, first; /* in sales */
    uint32_t lines, delivered;
    int64_t n, total, vouchers;
};
struct delivery {
    int64_t customer, n, seller;
};

struct market {
    uint64_t keys, sellers, initial;
    struct zipf seller_draw, product_draw;
    struct product *products;
    struct customer *customers;
    struct {
        int64_t open, value, earned;
    } * seller;
    int64_t waiting[DEPOTS]; /* parcels */
    struct list sessions, steps, touched, orders, sales, deliveries;
    uint64_t sessions_free; /* place + 1 */
    uint64_t steps_done;
    uint64_t active;
    uint64_t judged; /* deliveries */
    uint64_t dashboards, left_out, parcels, wrong;
    char first[200];
};

static void *list_add(struct list *list, size_t size)
{
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : ROOM_FIRST;
        list->items = mem_realloc(list->items, list->room * size);
    }
    void *item = (char *)list->items + list->count++ * size;
    memset(item, 0, size);
    return item;
}

#define LIST_ADD(list, type) ((type *)list_add((list), sizeof(type)))
#define LIST_AT(list, type, place) (&((type *)(list)->items)[place])

static void market_destroy(void *ptr)
{
    struct market *self = ptr;
    for (uint64_t i = 0; self->products && i < self->keys; i++) mem_free(self->products[i].prices);
    for (uint64_t i = 0; self->customers && i < self->keys; i++)
        mem_free(self->customers[i].orders.items);
    mem_free(self->products);
    mem_free(self->customers);
    mem_free(self->seller);
    mem_free(self->sessions.items);
    mem_free(self->steps.items);
    mem_free(self->touched.items);
    mem_free(self->orders.items);
    mem_free(self->sales.items);
    mem_free(self->deliveries.items);
    mem_free(self);
}

static void *market_create(struct workload_setup *setup)
{
    struct market *self = mem_alloc(sizeof(*self));
    double theta;
    if (!setting_number(setup, "keys", 100000, 100, 10000000, &self->keys) ||
        !setting_share(setup, "zipf", 0, 0.999, &theta) ||
        !setting_number(setup, "initial", 10000, 1, 1000000000, &self->initial)) {
        market_destroy(self);
        return NULL;
    }
    self->sellers = self->keys / PER_SELLER;
    self->keys = self->sellers * PER_SELLER;
    self->products = mem_alloc(self->keys * sizeof(*self->products));
    self->customers = mem_alloc(self->keys * sizeof(*self->customers));
    self->seller = mem_alloc(self->sellers * sizeof(*self->seller));
    zipf_init(&self->seller_draw, self->sellers, theta);
    zipf_init(&self->product_draw, PER_SELLER, theta);
    return self;
}

static void wrong(struct market *self, const char *what, uint64_t place, const char *which,
                  int64_t found, int64_t wanted)
{
    if (self->wrong++ > 0) return;
    snprintf(self->first, sizeof(self->first), "%s %llu: %s %lld, not %lld", what,
             (unsigned long long)place, which, (long long)found, (long long)wanted);
}

/* ---- prices, as they were answered ---- */

static void price_note(struct market *self, uint64_t p, int64_t change, int64_t price)
{
    struct product *product = &self->products[p];
    if (change < 0 || change > UINT32_MAX / 2) return;
    if (change >= product->prices_room) {
        uint32_t room = (uint32_t)change * 2 + 4;
        product->prices = mem_realloc(product->prices, room * sizeof(*product->prices));
        for (uint32_t i = product->prices_room; i < room; i++) product->prices[i] = 0;
        product->prices_room = room;
    }
    product->prices[change] = price;
    if (change > product->known) product->known = change;
}

static int64_t price_of(const struct market *self, uint64_t p, int64_t change)
{
    const struct product *product = &self->products[p];
    if (change == 0) return product->first_price;
    return change > 0 && change < product->prices_room ? product->prices[change] : 0;
}

/* ---- loading ---- */

static uint64_t market_load_count(void *ptr)
{
    struct market *self = ptr;
    return 2 * self->keys + self->sellers;
}

static void market_load(void *ptr, uint64_t place, struct shot *shot)
{
    struct market *self = ptr;
    if (place < self->keys) {
        struct random random = { place };
        struct product *product = &self->products[place];
        product->first_price = random_between(&random, 100, 100000);
        product->freight = random_between(&random, 0, 1000);
        product->version = 1;
        shot_begin(shot, VERB_PRODUCT_OPEN, 0);
        shot_key(shot, "%llu", (unsigned long long)place);
        shot_int(shot, (int64_t)(place / PER_SELLER));
        shot_int(shot, product->first_price);
        shot_int(shot, product->freight);
        shot_int(shot, (int64_t)self->initial);
        return;
    }
    place -= self->keys;
    bool seller = place < self->sellers;
    if (!seller) place -= self->sellers;
    shot_begin(shot, seller ? VERB_SELLER_OPEN : VERB_CUSTOMER_OPEN, 0);
    shot_key(shot, "%llu", (unsigned long long)place);
    shot_text_number(shot, seller ? 's' : 'c', place);
}

/* ---- sessions ---- */

static uint64_t product_draw(const struct market *self, struct random *random)
{
    return zipf_next(&self->seller_draw, random) * PER_SELLER +
           zipf_next(&self->product_draw, random);
}

static void step_add(struct market *self, uint64_t session, uint32_t line)
{
    if (self->steps_done == self->steps.count) self->steps_done = self->steps.count = 0;
    *LIST_ADD(&self->steps, struct step) = (struct step){ session, line };
}

static uint64_t session_take(struct market *self)
{
    uint64_t place = self->sessions.count;
    if (self->sessions_free == 0) {
        (void)LIST_ADD(&self->sessions, struct session);
        return place;
    }
    place = self->sessions_free - 1;
    self->sessions_free = LIST_AT(&self->sessions, struct session, place)->next_free;
    return place;
}

static void session_end(struct market *self, uint64_t place)
{
    struct session *session = LIST_AT(&self->sessions, struct session, place);
    self->customers[session->customer].busy = false;
    session->next_free = self->sessions_free;
    self->sessions_free = place + 1;
    self->active--;
}

static bool line_has(const struct session *session, uint64_t product)
{
    for (uint32_t i = 0; i < session->lines; i++)
        if (session->line[i].product == product) return true;
    return false;
}

/* False: each customer has a session already. */
static bool session_begin(struct market *self, struct random *random)
{
    uint64_t c = random_below(random, self->keys);
    for (uint32_t i = 0; i < CUSTOMER_DRAWS && self->customers[c].busy; i++)
        c = random_below(random, self->keys);
    struct customer *customer = &self->customers[c];
    if (customer->busy) return false;
    uint64_t place = session_take(self);
    struct session *session = LIST_AT(&self->sessions, struct session, place);
    uint64_t wanted = 1 + random_below(random, LINES_MAX);
    *session = (struct session){ .customer = c };
    for (uint64_t i = 0; i < wanted; i++) {
        uint64_t p = product_draw(self, random);
        bool voucher = random_below(random, 100) < VOUCHER_PERCENT;
        int64_t count = random_between(random, 1, 10), value = random_between(random, 100, 2000);
        if (line_has(session, p)) continue; /* a hot product is drawn again and again */
        session->line[session->lines] = (struct line){
            .product = p, .count = count, .voucher = voucher ? value : 0, .change = -1
        };
        step_add(self, place, session->lines++);
    }
    session->waiting = session->lines;
    customer->busy = true;
    customer->session = place;
    self->active++;
    if (!customer->touched) *LIST_ADD(&self->touched, uint64_t) = c;
    customer->touched = true;
    return true;
}

static void step_next(struct market *self, struct random *random, struct shot *shot)
{
    struct step step = *LIST_AT(&self->steps, struct step, self->steps_done++);
    const struct session *session = LIST_AT(&self->sessions, struct session, step.session);
    bool add = step.line < LINES_MAX;
    shot_begin(shot, add ? ADD : CHECKOUT, add ? ADD : CHECKOUT);
    shot_key(shot, "%llu", (unsigned long long)session->customer);
    shot->note[0] = (int64_t)step.session;
    shot->note[1] = step.line;
    if (!add) {
        shot_int(shot, random_between(random, 1, 2));
        return;
    }
    const struct line *line = &session->line[step.line];
    shot_int(shot, (int64_t)line->product);
    shot_int(shot, line->count);
    shot_int(shot, line->voucher);
    shot->note[2] = self->products[line->product].known; /* what it must not be older than */
}

static void market_next(void *ptr, struct random *random, struct shot *shot)
{
    struct market *self = ptr;
    uint64_t n = random_below(random, 100);
    uint32_t kind = ADD;
    if (self->steps_done < self->steps.count) {
        step_next(self, random, shot);
        return;
    }
    while (n >= weights[kind]) n -= weights[kind++];
    if (kind == ADD && session_begin(self, random)) {
        step_next(self, random, shot);
        return;
    }
    if (kind == ADD) kind = DELIVERY;
    uint64_t p = product_draw(self, random);
    bool gone = kind == PRODUCT && random_below(random, 100) < GONE_PERCENT;
    shot_begin(shot, gone ? VERB_DELETE : kind, kind);
    shot->note[0] = (int64_t)p;
    if (kind == DASHBOARD) p /= PER_SELLER;
    if (kind == DELIVERY) p = random_below(random, DEPOTS);
    shot_key(shot, "%llu", (unsigned long long)p);
    if (kind == PRICE) shot_int(shot, random_between(random, 1, 10));
}

/* ---- answers ---- */

static enum outcome add_judge(struct market *self, const struct shot *shot,
                              const struct answer *answer)
{
    uint64_t place = (uint64_t)shot->note[0];
    struct session *session = LIST_AT(&self->sessions, struct session, place);
    struct line *line = &session->line[shot->note[1]];
    bool good = answer->kind == ANSWER_NUMBER, any = false;
    if (good) line->change = answer->number;
    if (--session->waiting == 0) {
        for (uint32_t i = 0; i < session->lines; i++) any |= session->line[i].change >= 0;
        if (any) step_add(self, place, LINES_MAX);
        else session_end(self, place);
    }
    if (!good) return answer_outcome(answer, "gone");
    return answer->number >= shot->note[2] ? OUTCOME_DONE : OUTCOME_WRONG;
}

/* A line of an order that was answered: product, price, and which of its prices. */
static bool sale_note(struct market *self, const struct session *session, struct order *order,
                      const int64_t *n)
{
    const struct line *line = NULL;
    for (uint32_t i = 0; i < session->lines; i++)
        if ((int64_t)session->line[i].product == n[0]) line = &session->line[i];
    if (!line || line->change < 0 || n[2] < line->change || n[1] < 1) return false;
    int64_t all = line->count * n[1], off = line->voucher < all ? line->voucher : all;
    struct sale *sale = LIST_ADD(&self->sales, struct sale);
    *sale = (struct sale){
        .product = line->product, .price = n[1], .change = n[2], .amount = all - off
    };
    self->products[line->product].sold += line->count;
    order->total += sale->amount + self->products[line->product].freight;
    order->vouchers += off;
    order->lines++;
    return true;
}

static enum outcome checkout_judge(struct market *self, const struct shot *shot,
                                   const struct answer *answer)
{
    uint64_t place = (uint64_t)shot->note[0];
    const struct session *session = LIST_AT(&self->sessions, struct session, place);
    struct customer *customer = &self->customers[session->customer];
    uint32_t added = 0, sold = answer->count > 2 ? (answer->count - 2) / 3 : 0;
    if (answer->kind != ANSWER_NUMBERS) {
        enum outcome outcome = answer_outcome(answer, NULL);
        if (outcome == OUTCOME_FAILED) step_add(self, place, LINES_MAX); /* the cart is full yet */
        return outcome;
    }
    for (uint32_t i = 0; i < session->lines; i++) added += session->line[i].change >= 0;
    bool good = sold <= added && (answer->count == 0 || answer->count == 2 + 3 * sold);
    self->left_out += added - sold;
    if (good && sold > 0) {
        struct order *order = LIST_ADD(&self->orders, struct order);
        *LIST_ADD(&customer->orders, uint64_t) = self->orders.count - 1;
        *order = (struct order){ .customer = session->customer,
                                 .first = self->sales.count,
                                 .n = answer->numbers[0] };
        for (uint32_t i = 0; i < sold && good; i++)
            good = sale_note(self, session, order, answer->numbers + 2 + 3 * i);
        customer->spent += order->total;
        good = good && answer->numbers[1] == order->total &&
               order->n == (int64_t)customer->orders.count;
    }
    session_end(self, place);
    return good ? OUTCOME_DONE : OUTCOME_WRONG;
}

static enum outcome dashboard_judge(struct market *self, const struct answer *answer)
{
    int64_t sum = 0;
    if (answer->kind != ANSWER_NUMBERS) return answer_outcome(answer, NULL);
    if (answer->count < 2 || answer->numbers[0] != (int64_t)answer->items - 2) return OUTCOME_WRONG;
    self->dashboards++;
    if (answer->count < answer->items) return OUTCOME_DONE; /* more rows than are kept */
    for (uint32_t i = 2; i < answer->count; i++) sum += answer->numbers[i];
    return sum == answer->numbers[1] ? OUTCOME_DONE : OUTCOME_WRONG;
}

static enum outcome price_judge(struct market *self, uint64_t p, const struct answer *answer)
{
    if (answer->kind != ANSWER_NUMBERS) return answer_outcome(answer, NULL);
    if (answer->count != 2 || price_of(self, p, answer->numbers[0]) != 0) return OUTCOME_WRONG;
    price_note(self, p, answer->numbers[0], answer->numbers[1]);
    return OUTCOME_DONE;
}

static enum outcome product_judge(struct market *self, uint64_t p, bool gone,
                                  const struct answer *answer)
{
    struct product *product = &self->products[p];
    if (answer->kind != ANSWER_NUMBER) return answer_outcome(answer, NULL);
    if (answer->number > product->version) {
        product->version = answer->number;
        product->gone = gone;
    }
    return answer->number > 1 ? OUTCOME_DONE : OUTCOME_WRONG;
}

static enum outcome delivery_judge(struct market *self, const struct answer *answer)
{
    if (answer->kind != ANSWER_NUMBERS) return answer_outcome(answer, NULL);
    if (answer->count % 3 != 0) return OUTCOME_WRONG;
    for (uint32_t i = 0; i < answer->count; i += 3)
        *LIST_ADD(&self->deliveries, struct delivery) = (struct delivery){ answer->numbers[i],
                                                                           answer->numbers[i + 1],
                                                                           answer->numbers[i + 2] };
    return OUTCOME_DONE;
}

static enum outcome market_judge(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct market *self = ptr;
    uint64_t p = (uint64_t)shot->note[0];
    switch ((enum kind)shot->kind) {
    case ADD: return add_judge(self, shot, answer);
    case CHECKOUT: return checkout_judge(self, shot, answer);
    case DASHBOARD: return dashboard_judge(self, answer);
    case PRICE: return price_judge(self, p, answer);
    case PRODUCT: return product_judge(self, p, shot->verb == VERB_DELETE, answer);
    case DELIVERY: return delivery_judge(self, answer);
    case KINDS: break;
    }
    return OUTCOME_WRONG;
}

/* ---- what must be there now ---- */

/* A delivery may be answered before the checkout that it delivers, so they are booked when all is over. */
static void delivery_book(struct market *self, const struct delivery *d)
{
    const struct list *orders = d->customer >= 0 && (uint64_t)d->customer < self->keys
                                    ? &self->customers[d->customer].orders
                                    : NULL;
    if (!orders || d->n < 1 || (uint64_t)d->n > orders->count) {
        wrong(self, "a parcel of customer", (uint64_t)d->customer, "of an order", d->n, 0);
        return;
    }
    struct order *order = LIST_AT(&self->orders, struct order,
                                  *LIST_AT(orders, uint64_t, d->n - 1));
    uint32_t packages = 0;
    for (uint32_t i = 0; i < order->lines; i++) {
        struct sale *sale = LIST_AT(&self->sales, struct sale, order->first + i);
        if ((int64_t)(sale->product / PER_SELLER) != d->seller || sale->delivered) continue;
        sale->delivered = true;
        packages++;
    }
    if (packages == 0)
        wrong(self, "a parcel of customer", (uint64_t)d->customer, "delivered anew, of", d->n, 0);
    order->delivered += packages;
    self->customers[d->customer].packages_delivered += packages;
    self->parcels++;
}

static void order_book(struct market *self, const struct order *order)
{
    const struct sale *sales = LIST_AT(&self->sales, struct sale, order->first);
    for (uint32_t i = 0; i < order->lines; i++) {
        const struct sale *sale = &sales[i];
        uint64_t s = sale->product / PER_SELLER;
        int64_t price = price_of(self, sale->product, sale->change);
        bool first = true;
        if (price != sale->price)
            wrong(self, "product", sale->product, "was sold at a price of", sale->price, price);
        for (uint32_t j = 0; j < i; j++) first &= sales[j].product / PER_SELLER != s;
        if (sale->delivered) {
            self->seller[s].earned += sale->amount;
            continue;
        }
        self->seller[s].value += sale->amount;
        self->seller[s].open += first;
        self->waiting[order->customer % DEPOTS] += first;
    }
}

static void carts_count(struct market *self)
{
    for (uint64_t p = 0; p < self->keys; p++) self->products[p].carts = 0;
    for (uint64_t i = 0; i < self->touched.count; i++) {
        const struct customer *customer = &self->customers[*LIST_AT(&self->touched, uint64_t, i)];
        if (!customer->busy) continue;
        const struct session *session = LIST_AT(&self->sessions, struct session, customer->session);
        for (uint32_t l = 0; l < session->lines; l++)
            self->products[session->line[l].product].carts += session->line[l].change >= 0;
    }
}

static void books_close(struct market *self)
{
    self->wrong = 0;
    while (self->judged < self->deliveries.count)
        delivery_book(self, LIST_AT(&self->deliveries, struct delivery, self->judged++));
    memset(self->seller, 0, self->sellers * sizeof(*self->seller));
    memset(self->waiting, 0, sizeof(self->waiting));
    for (uint64_t i = 0; i < self->orders.count; i++)
        order_book(self, LIST_AT(&self->orders, struct order, i));
    carts_count(self);
}

/* ---- verifying ---- */

static uint64_t market_verify_count(void *ptr)
{
    struct market *self = ptr;
    return self->keys + self->sellers + DEPOTS + 2 * self->touched.count + self->orders.count;
}

static void market_verify(void *ptr, uint64_t place, struct shot *shot)
{
    struct market *self = ptr;
    const uint64_t counts[] = { self->keys, self->touched.count, self->touched.count, self->sellers,
                                DEPOTS,     self->orders.count };
    uint32_t verb = AUDIT_PRODUCT;
    if (place == 0) books_close(self);
    while (place >= counts[verb - AUDIT_PRODUCT]) place -= counts[verb++ - AUDIT_PRODUCT];
    if (verb == AUDIT_CART || verb == AUDIT_CUSTOMER)
        place = *LIST_AT(&self->touched, uint64_t, place);
    shot_begin(shot, verb, 0);
    shot->note[0] = (int64_t)place;
    if (verb == AUDIT_PRODUCT) {
        shot_int(shot, (int64_t)place);
    } else if (verb == AUDIT_ORDER) {
        const struct order *order = LIST_AT(&self->orders, struct order, place);
        shot_int(shot, (int64_t)order->customer);
        shot_int(shot, order->n);
    } else {
        shot_key(shot, "%llu", (unsigned long long)place);
    }
}

/* One figure of an answer: what it is, and what it must be. */
struct figure {
    const char *name;
    int64_t wanted;
};

static void figures_compare(struct market *self, const char *what, uint64_t place,
                            const struct answer *answer, const struct figure *figures,
                            uint32_t count)
{
    if (answer->kind != ANSWER_NUMBERS || answer->count != count) {
        wrong(self, what, place, "figures", answer->count, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        if (answer->numbers[i] != figures[i].wanted)
            wrong(self, what, place, figures[i].name, answer->numbers[i], figures[i].wanted);
}

/* Of the session that its customer has. */
static struct line *cart_line(struct market *self, uint64_t c, int64_t p)
{
    const struct customer *customer = &self->customers[c];
    if (!customer->busy) return NULL;
    struct session *session = LIST_AT(&self->sessions, struct session, customer->session);
    for (uint32_t i = 0; i < session->lines; i++)
        if ((int64_t)session->line[i].product == p && session->line[i].change >= 0)
            return &session->line[i];
    return NULL;
}

static uint32_t cart_lines(const struct market *self, uint64_t c)
{
    const struct customer *customer = &self->customers[c];
    uint32_t count = 0;
    if (!customer->busy) return 0;
    const struct session *session = LIST_AT(&self->sessions, struct session, customer->session);
    for (uint32_t i = 0; i < session->lines; i++) count += session->line[i].change >= 0;
    return count;
}

static void cart_verified(struct market *self, uint64_t c, const struct answer *answer)
{
    uint32_t wanted = cart_lines(self, c);
    const int64_t *n = answer->numbers;
    if (answer->kind != ANSWER_NUMBERS || answer->count != 3 * wanted) {
        wrong(self, "cart", c, "lines", answer->count / 3, wanted);
        return;
    }
    for (uint32_t i = 0; i < wanted; i++, n += 3) {
        if (!cart_line(self, c, n[0])) {
            wrong(self, "cart", c, "holds product", n[0], -1);
            continue;
        }
        const struct product *product = &self->products[n[0]];
        if (n[2] != product->known) wrong(self, "cart", c, "price number", n[2], product->known);
        if (n[1] != price_of(self, (uint64_t)n[0], n[2]))
            wrong(self, "cart", c, "price", n[1], price_of(self, (uint64_t)n[0], n[2]));
    }
}

static void product_verified(struct market *self, uint64_t p, const struct answer *answer)
{
    const struct product *product = &self->products[p];
    const struct figure figures[] = {
        { "version", product->version },
        { "gone", product->gone },
        { "price", price_of(self, p, product->known) },
        { "prices", product->known },
        { "carts", product->carts },
        { "version of the stock", product->version },
        { "stock gone", product->gone },
        { "left in stock", (int64_t)self->initial - product->sold },
        { "reserved", 0 },
        { "sold", product->sold },
    };
    figures_compare(self, "product", p, answer, figures, 10);
}

static void order_verified(struct market *self, uint64_t place, const struct answer *answer)
{
    const struct order *order = LIST_AT(&self->orders, struct order, place);
    bool over = order->delivered == order->lines;
    const struct figure figures[] = {
        { "total", over ? 0 : order->total },
        { "paid", order->total },
        { "the payment's line", order->total },
        { "vouchers", order->vouchers },
        { "packages", order->lines },
        { "delivered", order->delivered },
        { "concluded", over },
    };
    figures_compare(self, "order", place, answer, figures, 7);
}

static void market_verified(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct market *self = ptr;
    uint64_t place = (uint64_t)shot->note[0];
    const struct customer *customer;
    switch (shot->verb) {
    case AUDIT_PRODUCT: product_verified(self, place, answer); break;
    case AUDIT_CART: cart_verified(self, place, answer); break;
    case AUDIT_CUSTOMER:
        customer = &self->customers[place];
        figures_compare(self, "customer", place, answer,
                        (struct figure[]){ { "orders", (int64_t)customer->orders.count },
                                           { "spent", customer->spent },
                                           { "delivered", customer->packages_delivered } },
                        3);
        break;
    case AUDIT_SELLER:
        figures_compare(self, "seller", place, answer,
                        (struct figure[]){ { "open orders", self->seller[place].open },
                                           { "their value", self->seller[place].value },
                                           { "earned", self->seller[place].earned },
                                           { "steps out of order", 0 } },
                        4);
        break;
    case AUDIT_DEPOT:
        figures_compare(self, "depot", place, answer,
                        (struct figure[]){ { "parcels", self->waiting[place] } }, 1);
        break;
    default: order_verified(self, place, answer); break;
    }
}

static bool market_conclude(void *ptr, struct buf *what)
{
    struct market *self = ptr;
    if (self->wrong > 0) {
        buf_printf(what, "%llu are wrong, first %s", (unsigned long long)self->wrong, self->first);
        return false;
    }
    buf_printf(
        what,
        "%llu orders of %llu lines (%llu were left out) have stock, payment and shipment or were "
        "delivered, %llu parcels once each; prices in carts, versions of stock, %llu dashboards "
        "and the steps that sellers saw agree",
        (unsigned long long)self->orders.count, (unsigned long long)self->sales.count,
        (unsigned long long)self->left_out, (unsigned long long)self->parcels,
        (unsigned long long)self->dashboards);
    return true;
}

extern const char market_lua[];
const struct workload workload_market = {
    .name = "market",
    .about = "Online Marketplace: carts, stock, orders, payments, shipments, sellers' dashboards",
    .params = params,
    .verbs = verbs,
    .kinds = kinds,
    .lua = market_lua,
    .settles = true,
    .create = market_create,
    .destroy = market_destroy,
    .load_count = market_load_count,
    .load = market_load,
    .next = market_next,
    .judge = market_judge,
    .verify_count = market_verify_count,
    .verify = market_verify,
    .verified = market_verified,
    .conclude = market_conclude,
};
