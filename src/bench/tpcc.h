/*
 * tpcc.h - what the driver of TPC-C (tpcc.c) and the judge of its state (tpcc_audit.c) share.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_TPCC_H
#define WEIR_BENCH_TPCC_H

#include "bench/workload.h"

#define DISTRICTS 10u
#define ORDERS_A_CHUNK 256u /* so that an answer of district audit_orders fits */

enum tpcc_kind {
    NEW_ORDER,
    PAYMENT,
    ORDER_STATUS,
    DELIVERY,
    STOCK_LEVEL,
    TPCC_KINDS,
    ITEM_ADD = TPCC_KINDS,
    STOCK_OPEN,
    WAREHOUSE_OPEN,
    DISTRICT_OPEN,
    ENROLL,
    ENTERED,
    AUDIT_WAREHOUSE,
    AUDIT_DISTRICT,
    AUDIT_ORDERS,
    AUDIT_CUSTOMER,
    AUDIT_STOCK
};

/* By answers: what must be there. Found: what the audits tell. Places: warehouse w-1, district (w-1) * 10 + d-1, and so on. */
struct tpcc_warehouse {
    int64_t ytd; /* found */
};
struct tpcc_district {
    uint32_t orders, delivered;                                                    /* by answers */
    int64_t ytd, next_order, last, unsent_first, unsent_last, unsent, order_count; /* found */
    int64_t broken[3], lines_counted, lines;
    int64_t history; /* found at customers: paid here */
};
struct tpcc_customer {
    int64_t paid;                                                           /* by answers */
    uint32_t payments;                                                      /* likewise */
    int64_t delivered;                                                      /* found at orders */
    int64_t balance, found_paid, found_payments, found_deliveries, history; /* found */
};
struct tpcc_stock {
    uint32_t ytd, orders, remote; /* by answers */
    uint8_t quantity;             /* at first */
};

struct tpcc {
    uint64_t warehouses, items, customers;
    uint32_t mix;
    uint32_t *
        order_customer; /* who placed order o-1 before the run: a permutation, the same in each district */
    struct tpcc_warehouse *warehouse;
    struct tpcc_district *district;
    struct tpcc_customer *customer;
    struct tpcc_stock *stock;
    uint64_t chunks; /* of a district's orders, verified */
    uint64_t wrong;
    char first[200]; /* what was wrong first */
};

uint64_t tpcc_verify_count(void *self);
void tpcc_verify(void *self, uint64_t place, struct shot *shot);
void tpcc_verified(void *self, const struct shot *shot, const struct answer *answer);
bool tpcc_conclude(void *self, struct buf *what);

#endif
