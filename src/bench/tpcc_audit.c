/*
 * tpcc_audit.c - whether what a run of TPC-C left is consistent: conditions 1 to 12 of clause 3.3.2, and beyond them that orders,
 * payments, deliveries and stock are what the answers add up to.
 *
 * Everything is read back by queries after the run: each warehouse, district, customer, item in stock, and all orders, in chunks.
 * Order lines are lists in their orders, so conditions 4 and 6 compare O_OL_CNT with the lists' lengths. Condition 11 is
 * for the state before a run; after it, orders less those unsent are what has been delivered, and that is compared.
 * SPDX-License-Identifier: MIT
 */
#include "bench/tpcc.h"

#include <stdarg.h>

/* How many of each are asked for, in this order. */
struct ranges {
    uint64_t warehouses, districts, customers, stocks, chunks;
};

static struct ranges ranges_of(const struct tpcc *self)
{
    struct ranges r = { .warehouses = self->warehouses, .districts = self->warehouses * DISTRICTS };
    r.customers = r.districts * self->customers;
    r.stocks = self->warehouses * self->items;
    r.chunks = r.districts * self->chunks;
    return r;
}

uint64_t tpcc_verify_count(void *ptr)
{
    struct tpcc *self = ptr;
    uint32_t most = 0;
    for (uint64_t d = 0; d < self->warehouses * DISTRICTS; d++)
        if (self->district[d].orders > most) most = self->district[d].orders;
    self->chunks = most / ORDERS_A_CHUNK + 1;
    struct ranges r = ranges_of(self);
    return r.warehouses + r.districts + r.customers + r.stocks + r.chunks;
}

static void found_reset(struct tpcc *self)
{
    self->wrong = 0;
    for (uint64_t d = 0; d < self->warehouses * DISTRICTS; d++) {
        struct tpcc_district *district = &self->district[d];
        district->broken[0] = district->broken[1] = district->broken[2] = 0;
        district->lines = district->lines_counted = district->history = 0;
    }
    for (uint64_t c = 0; c < self->warehouses * DISTRICTS * self->customers; c++)
        self->customer[c].delivered = 0;
}

/* The note is the place among those of its kind. */
static void ask(struct shot *shot, uint32_t verb, uint64_t place)
{
    shot_begin(shot, verb, 0);
    shot->note[0] = (int64_t)place;
}

/* What printf takes, counted from 1: which of `each` it belongs to, and which of those it is. */
static unsigned long long outer(uint64_t place, uint64_t each)
{
    uint64_t n = place / each + 1;
    return n;
}

static unsigned long long inner(uint64_t place, uint64_t each)
{
    uint64_t n = place % each + 1;
    return n;
}

static void ask_district(struct shot *shot, uint32_t verb, uint64_t place)
{
    ask(shot, verb, place);
    shot_key(shot, "%llu:%llu", outer(place, DISTRICTS), inner(place, DISTRICTS));
}

void tpcc_verify(void *ptr, uint64_t place, struct shot *shot)
{
    struct tpcc *self = ptr;
    struct ranges r = ranges_of(self);
    if (place == 0) found_reset(self);
    if (place < r.warehouses) {
        ask(shot, AUDIT_WAREHOUSE, place);
        shot_key(shot, "%llu", outer(place, 1));
        return;
    }
    place -= r.warehouses;
    if (place < r.districts) {
        ask_district(shot, AUDIT_DISTRICT, place);
        return;
    }
    place -= r.districts;
    if (place < r.customers) {
        uint64_t d = place / self->customers;
        ask(shot, AUDIT_CUSTOMER, place);
        shot_key(shot, "%llu:%llu:%llu", outer(d, DISTRICTS), inner(d, DISTRICTS),
                 inner(place, self->customers));
        return;
    }
    place -= r.customers;
    if (place < r.stocks) {
        ask(shot, AUDIT_STOCK, place);
        shot_key(shot, "%llu:%llu", outer(place, self->items), inner(place, self->items));
        return;
    }
    place -= r.stocks;
    uint64_t from = place % self->chunks * ORDERS_A_CHUNK, to = from + ORDERS_A_CHUNK;
    ask_district(shot, AUDIT_ORDERS, place / self->chunks);
    shot_int(shot, (int64_t)from + 1);
    shot_int(shot, (int64_t)to);
}

/* ---- what was found ---- */

__attribute__((format(printf, 3, 4))) static void judge(struct tpcc *self, bool good,
                                                        const char *format, ...)
{
    va_list args;
    if (good || self->wrong++ > 0) return;
    va_start(args, format);
    vsnprintf(self->first, sizeof(self->first), format, args);
    va_end(args);
}

static void stock_judge(struct tpcc *self, uint64_t place, const int64_t *n)
{
    const struct tpcc_stock *stock = &self->stock[place];
    unsigned long long w = outer(place, self->items), i = inner(place, self->items);
    judge(self, n[1] == stock->ytd && n[2] == stock->orders && n[3] == stock->remote,
          "stock %llu:%llu: %lld sold in %lld lines, %lld of them remote, but answered were %u, %u "
          "and %u",
          w, i, (long long)n[1], (long long)n[2], (long long)n[3], stock->ytd, stock->orders,
          stock->remote);
    /* What is sold goes, and 91 come whenever fewer than 10 would be left. */
    judge(self, n[0] >= 10 && n[0] <= 100 && (n[0] + n[1] - stock->quantity) % 91 == 0,
          "stock %llu:%llu: %lld are left of %u when %lld are sold", (unsigned long long)w,
          (unsigned long long)i, (long long)n[0], stock->quantity, (long long)n[1]);
}

static void customer_take(struct tpcc *self, uint64_t place, const struct answer *answer)
{
    struct tpcc_customer *customer = &self->customer[place];
    const int64_t *n = answer->numbers;
    customer->balance = n[0];
    customer->found_paid = n[1];
    customer->found_payments = n[2];
    customer->found_deliveries = n[3];
    customer->history = 0;
    for (uint32_t i = 4; i + 2 < answer->count; i += 3) {
        uint64_t d = (uint64_t)(n[i] - 1) * DISTRICTS + (uint64_t)n[i + 1] - 1;
        customer->history += n[i + 2];
        if (d < self->warehouses * DISTRICTS) self->district[d].history += n[i + 2];
    }
}

static void orders_take(struct tpcc *self, uint64_t place, const struct answer *answer)
{
    struct tpcc_district *district = &self->district[place];
    const int64_t *n = answer->numbers;
    for (int i = 0; i < 3; i++) district->broken[i] += n[i];
    district->lines_counted += n[3];
    district->lines += n[4];
    for (uint32_t i = 5; i + 1 < answer->count; i += 2)
        if (n[i] >= 1 && n[i] <= (int64_t)self->customers)
            self->customer[place * self->customers + (uint64_t)n[i] - 1].delivered += n[i + 1];
}

void tpcc_verified(void *ptr, const struct shot *shot, const struct answer *answer)
{
    static const uint32_t least[] = { [AUDIT_WAREHOUSE] = 1,
                                      [AUDIT_DISTRICT] = 7,
                                      [AUDIT_ORDERS] = 5,
                                      [AUDIT_CUSTOMER] = 4,
                                      [AUDIT_STOCK] = 4 };
    struct tpcc *self = ptr;
    uint64_t place = (uint64_t)shot->note[0];
    const int64_t *n = answer->numbers;
    struct tpcc_district *district = &self->district[place];
    if (answer->kind != ANSWER_NUMBERS || answer->count < least[shot->verb]) {
        judge(self, false, "an audit of %.*s answers %u numbers", (int)shot->key_len, shot->key,
              answer->count);
        return;
    }
    switch (shot->verb) {
    case AUDIT_WAREHOUSE: self->warehouse[place].ytd = n[0]; break;
    case AUDIT_DISTRICT:
        district->ytd = n[0];
        district->next_order = n[1];
        district->last = n[2];
        district->unsent_first = n[3];
        district->unsent_last = n[4];
        district->unsent = n[5];
        district->order_count = n[6];
        break;
    case AUDIT_CUSTOMER: customer_take(self, place, answer); break;
    case AUDIT_ORDERS: orders_take(self, place, answer); break;
    default: stock_judge(self, place, n); break;
    }
}

/* ---- conclusions ---- */

static void warehouse_conclude(struct tpcc *self, uint64_t w)
{
    const struct tpcc_district *district = &self->district[w * DISTRICTS];
    long long ytd = self->warehouse[w].ytd, sum = 0, history = 0;
    for (uint32_t d = 0; d < DISTRICTS; d++) {
        sum += district[d].ytd;
        history += district[d].history;
    }
    judge(self, ytd == sum, "condition 1: W_YTD of %llu is %lld, the sum of D_YTD %lld",
          (unsigned long long)w + 1, ytd, sum);
    judge(self, ytd == history, "condition 8: W_YTD of %llu is %lld, the sum of H_AMOUNT %lld",
          (unsigned long long)w + 1, ytd, history);
}

static void district_conclude(struct tpcc *self, uint64_t place)
{
    const struct tpcc_district *d = &self->district[place];
    char name[48];
    snprintf(name, sizeof(name), "%llu:%llu", outer(place, DISTRICTS), inner(place, DISTRICTS));
    judge(self,
          d->next_order - 1 == d->last && (d->unsent == 0 || d->next_order - 1 == d->unsent_last),
          "condition 2: in %s D_NEXT_O_ID is %lld, max(O_ID) %lld, max(NO_O_ID) %lld", name,
          (long long)d->next_order, (long long)d->last, (long long)d->unsent_last);
    judge(self, d->unsent == 0 || d->unsent_last - d->unsent_first + 1 == d->unsent,
          "condition 3: in %s NO_O_ID go from %lld to %lld and are %lld", name,
          (long long)d->unsent_first, (long long)d->unsent_last, (long long)d->unsent);
    judge(self, d->lines_counted == d->lines,
          "condition 4: in %s the sum of O_OL_CNT is %lld, and there are %lld lines", name,
          (long long)d->lines_counted, (long long)d->lines);
    judge(self, d->broken[0] == 0,
          "condition 5: in %s %lld orders have a carrier and are NEW-ORDERs, or neither", name,
          (long long)d->broken[0]);
    judge(self, d->broken[1] == 0, "condition 6: in %s %lld orders have not O_OL_CNT lines", name,
          (long long)d->broken[1]);
    judge(self, d->broken[2] == 0,
          "condition 7: in %s %lld orders have lines delivered without a carrier, or the other way "
          "round",
          name, (long long)d->broken[2]);
    judge(self, d->ytd == d->history, "condition 9: D_YTD of %s is %lld, the sum of H_AMOUNT %lld",
          name, (long long)d->ytd, (long long)d->history);
    judge(self, d->order_count - d->unsent == d->delivered,
          "condition 11: in %s %lld orders less %lld unsent are not the %u delivered", name,
          (long long)d->order_count, (long long)d->unsent, d->delivered);
    judge(self, d->order_count == d->orders && d->last == d->orders,
          "in %s are %lld orders up to %lld, and %u were answered", name, (long long)d->order_count,
          (long long)d->last, d->orders);
}

static void customer_conclude(struct tpcc *self, uint64_t place)
{
    const struct tpcc_customer *c = &self->customer[place];
    uint64_t d = place / self->customers;
    int64_t settled = c->balance + c->found_paid;
    char name[72];
    snprintf(name, sizeof(name), "%llu:%llu:%llu", outer(d, DISTRICTS), inner(d, DISTRICTS),
             inner(place, self->customers));
    judge(self, c->balance == c->delivered - c->history,
          "condition 10: C_BALANCE of %s is %lld, delivered lines %lld less H_AMOUNT %lld", name,
          (long long)c->balance, (long long)c->delivered, (long long)c->history);
    judge(self, settled == c->delivered,
          "condition 12: C_BALANCE of %s and C_YTD_PAYMENT are %lld, delivered lines %lld", name,
          (long long)settled, (long long)c->delivered);
    judge(self, c->found_paid == c->paid && c->found_payments == c->payments,
          "%s paid %lld in %lld payments, but answered were %lld in %u", name,
          (long long)c->found_paid, (long long)c->found_payments, (long long)c->paid, c->payments);
}

bool tpcc_conclude(void *ptr, struct buf *what)
{
    struct tpcc *self = ptr;
    uint64_t districts = self->warehouses * DISTRICTS, orders = 0, delivered = 0, payments = 0,
             first;
    int64_t lines = 0, deliveries = 0, answered;
    for (uint64_t w = 0; w < self->warehouses; w++) warehouse_conclude(self, w);
    for (uint64_t d = 0; d < districts; d++) {
        district_conclude(self, d);
        orders += self->district[d].orders;
        delivered += self->district[d].delivered;
        lines += self->district[d].lines;
    }
    for (uint64_t c = 0; c < districts * self->customers; c++) {
        customer_conclude(self, c);
        payments += self->customer[c].payments;
        deliveries += self->customer[c].found_deliveries;
    }
    first = districts * (self->customers - self->customers * 3 / 10);
    answered = (int64_t)delivered - (int64_t)first;
    judge(self, deliveries == answered,
          "the sum of C_DELIVERY_CNT is %lld, and %lld deliveries were answered",
          (long long)deliveries, (long long)answered);
    if (self->wrong > 0) {
        buf_printf(what, "%s; %llu findings like this", self->first,
                   (unsigned long long)self->wrong);
        return false;
    }
    buf_printf(what,
               "conditions 1 to 12 of clause 3.3.2, on %llu orders with %lld lines, %llu of them "
               "delivered, and %llu payments; orders, payments, deliveries and stock are what the "
               "answers add up to",
               (unsigned long long)orders, (long long)lines, (unsigned long long)delivered,
               (unsigned long long)payments);
    return true;
}
