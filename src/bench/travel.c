/*
 * travel.c - searches, recommendations, logins, and reservations of a hotel and a flight together.
 *
 * Y. Gan et al., "An Open-Source Benchmark Suite for Microservices", ASPLOS 2019 (hotel reservation), with flights as H. Zhang
 * et al., "Fault-tolerant and transactional stateful serverless workflows", OSDI 2020, added them. Points, rates and the mix
 * (search 60 %, recommend 39, login 0.5, reserve 0.5) are theirs. Corrected: lookups are over all hotels, a reservation takes
 * what it reserves, and what is sold out is refused. --mix reserve has 50 % reservations, as half a percent says nothing of them.
 *
 * Checked: an order that was answered has its hotel and flight, one that was refused is nowhere; each hotel and each flight
 * has as many guests as orders, and that many fewer places.
 * SPDX-License-Identifier: MIT
 */
#include "bench/workload.h"

#define HOTELS 80u /* that can be found */
#define LOOKUPS                                                                                    \
    (3ull * HOTELS - 1) /* points and rates of all, recommendations of all but the last */
#define PLACES 100u     /* hotels, and flights, that can be reserved */
#define USERS 501u

enum {
    SEARCH,
    RECOMMEND,
    LOGIN,
    RESERVE,
    GEO_ADD,
    RATE_SET,
    ADVICE_ADD,
    USER_SET,
    HOTEL_STOCK,
    FLIGHT_STOCK,
    AUDIT_HOTEL,
    AUDIT_FLIGHT,
    AUDIT_ORDER
};
static const struct verb verbs[] = {
    { "desk", "search" }, { "advice", "best" },  { "user", "login" },  { "order", "reserve" },
    { "geo", "add" },     { "rate", "set" },     { "advice", "add" },  { "user", "set" },
    { "hotel", "stock" }, { "flight", "stock" }, { "hotel", "audit" }, { "flight", "audit" },
    { "desk", "order" },  { NULL, NULL },
};
static const char *const kinds[] = { "search", "recommend", "login", "reserve", NULL };
static const char *const mixes[] = { "standard", "reserve", NULL };
static const uint32_t weights[][4] = { { 600, 390, 5, 5 }, { 300, 195, 5, 500 } }; /* of 1,000 */
static const struct bench_param *const params[] = { &param_mix, &param_initial, NULL };

/* An order, by its number. */
struct booking {
    uint8_t hotel, flight;
    bool done;
};

struct travel {
    uint32_t mix;
    uint64_t initial;
    struct booking *order;
    uint64_t count, room;
    uint64_t booked[2][PLACES]; /* hotels, flights */
    uint64_t done, wrong;
    char first[160];
};

static void travel_destroy(void *ptr)
{
    struct travel *self = ptr;
    mem_free(self->order);
    mem_free(self);
}

static void *travel_create(struct workload_setup *setup)
{
    struct travel *self = mem_alloc(sizeof(*self));
    if (setting_word(setup, "mix", mixes, &self->mix) &&
        setting_number(setup, "initial", 1000000, 1, 1000000000, &self->initial))
        return self;
    travel_destroy(self);
    return NULL;
}

/* ---- loading ---- */

/* Millionths of a degree; `h` from 1. */
static void point_of(uint64_t h, int64_t *lat, int64_t *lon)
{
    static const int64_t first[][2] = {
        { 37786700, -122411200 }, { 37785400, -122400500 }, { 37785400, -122407100 },
        { 37793600, -122393000 }, { 37783100, -122418100 }, { 37786300, -122401500 },
    };
    if (h <= 6) {
        *lat = first[h - 1][0];
        *lon = first[h - 1][1];
        return;
    }
    *lat = 37783500 + (int64_t)h * 6000;
    *lon = -122410000 + (int64_t)h * 8000;
}

/* The rate, and the price, in cents. */
static void rate_of(uint64_t h, int64_t *rate, int64_t *price)
{
    static const int64_t first[][2] = { { 10900, 15000 }, { 13900, 12000 }, { 10900, 19000 },
                                        { 12900, 16000 }, { 11900, 14000 }, { 14900, 20000 } };
    static const int64_t later[][2] = {
        { 10900, 12317 }, { 12000, 14000 }, { 12400, 14400 }, { 13200, 15800 }, { 23200, 25800 }
    };
    static const int64_t other[2] = { 13500, 17900 };
    const int64_t *pair = h <= 6 ? first[h - 1] : h % 3 == 0 ? later[h % 5] : other;
    *rate = pair[0];
    *price = pair[1];
}

static void place_key(struct shot *shot, bool flight, uint64_t n)
{
    shot_key_number(shot, flight ? 'f' : 'h', n);
}

static void password(struct shot *shot, uint64_t user)
{
    char text[64];
    size_t len = 0;
    for (int i = 0; i < 10; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%llu", (unsigned long long)user);
    shot_text(shot, (struct weir_str){ text, len });
}

static uint64_t travel_load_count(void *ptr)
{
    return LOOKUPS + USERS + 2ull * PLACES;
}

static void load_hotel(uint64_t table, uint64_t h, struct shot *shot)
{
    int64_t lat, lon, rate, price;
    point_of(h, &lat, &lon);
    rate_of(h, &rate, &price);
    shot_begin(shot, table == 0 ? GEO_ADD : table == 1 ? RATE_SET : ADVICE_ADD, 0);
    if (table == 1) { /* rates: of the first three, and of every third */
        shot_key(shot, "%llu", (unsigned long long)h);
        shot_int(shot, 9);
        shot_int(shot, 24);
        shot_int(shot, h <= 3 || h % 3 == 0 ? price : 0);
        return;
    }
    shot_key(shot, "all");
    shot_int(shot, (int64_t)h);
    shot_int(shot, lat);
    shot_int(shot, lon);
    if (table == 0) return;
    shot_int(shot, rate);
    shot_int(shot, price);
}

static void travel_load(void *ptr, uint64_t place, struct shot *shot)
{
    struct travel *self = ptr;
    if (place < LOOKUPS) {
        load_hotel(place / HOTELS, place % HOTELS + 1, shot);
        return;
    }
    place -= LOOKUPS;
    if (place < USERS) {
        shot_begin(shot, USER_SET, 0);
        shot_key(shot, "Cornell_%llu", (unsigned long long)place);
        password(shot, place);
        return;
    }
    place -= USERS;
    bool flight = place >= PLACES;
    shot_begin(shot, flight ? FLIGHT_STOCK : HOTEL_STOCK, 0);
    place_key(shot, flight, place % PLACES);
    shot_int(shot, (int64_t)self->initial);
}

/* ---- requests ---- */

static void coordinates(struct random *random, struct shot *shot)
{
    shot_int(shot, 38023500 + random_between(random, 0, 481) * 1000 - 240500);
    shot_int(shot, -122095000 + random_between(random, 0, 325) * 1000 - 157000);
}

static void reserve(struct travel *self, struct random *random, struct shot *shot)
{
    char user[32];
    struct booking *order;
    if (self->count == self->room) {
        self->room = self->room ? self->room * 2 : 1024;
        self->order = mem_realloc(self->order, self->room * sizeof(*self->order));
    }
    order = &self->order[self->count];
    *order = (struct booking){ .hotel = (uint8_t)random_below(random, PLACES),
                               .flight = (uint8_t)random_below(random, PLACES) };
    shot->note[0] = (int64_t)self->count;
    shot_key_number(shot, 'o', self->count++);
    shot_text_number(shot, 'h', order->hotel);
    shot_text_number(shot, 'f', order->flight);
    int len = snprintf(user, sizeof(user), "Cornell_%llu",
                       (unsigned long long)random_below(random, USERS));
    shot_text(shot, (struct weir_str){ user, (size_t)len });
}

static void travel_next(void *ptr, struct random *random, struct shot *shot)
{
    struct travel *self = ptr;
    uint64_t n = random_below(random, 1000);
    uint32_t kind = 0;
    while (n >= weights[self->mix][kind]) n -= weights[self->mix][kind++];
    shot_begin(shot, kind, kind);
    switch (kind) {
    case SEARCH: {
        int64_t from = random_between(random, 9, 23);
        coordinates(random, shot);
        shot_int(shot, from);
        shot_int(shot, random_between(random, from + 1, 24));
        break;
    }
    case RECOMMEND:
        n = random_below(random, 100);
        shot_key(shot, "all");
        shot_int(shot, n < 33 ? 1 : n < 66 ? 2 : 3);
        coordinates(random, shot);
        break;
    case LOGIN:
        n = random_below(random, USERS);
        shot_key(shot, "Cornell_%llu", (unsigned long long)n);
        password(shot, n);
        break;
    default: reserve(self, random, shot); break;
    }
}

static bool hotels_are(const struct answer *answer, uint32_t step)
{
    for (uint32_t i = 0; i < answer->count; i += step)
        if (answer->numbers[i] < 1 || answer->numbers[i] > HOTELS) return false;
    return answer->count % step == 0;
}

static enum outcome travel_judge(void *ptr, const struct shot *shot, const struct answer *answer)
{
    static const enum answer_kind expected[] = { ANSWER_NUMBERS, ANSWER_NUMBERS, ANSWER_NUMBER,
                                                 ANSWER_NIL };
    struct travel *self = ptr;
    bool good = true;
    if (answer->kind != expected[shot->kind])
        return answer_outcome(answer, shot->kind == RESERVE ? "sold_out" : NULL);
    switch (shot->kind) {
    case SEARCH: good = hotels_are(answer, 2) && answer->count <= 10; break;
    case RECOMMEND: good = hotels_are(answer, 1) && answer->count >= 1; break;
    case LOGIN: good = answer->number == 1; break;
    default: {
        struct booking *order = &self->order[shot->note[0]];
        order->done = true;
        self->booked[0][order->hotel]++;
        self->booked[1][order->flight]++;
        self->done++;
        break;
    }
    }
    return good ? OUTCOME_DONE : OUTCOME_WRONG;
}

/* ---- afterwards ---- */

static uint64_t travel_verify_count(void *ptr)
{
    return 2ull * PLACES + ((struct travel *)ptr)->count;
}

static void travel_verify(void *ptr, uint64_t place, struct shot *shot)
{
    struct travel *self = ptr;
    bool flight = place >= PLACES;
    if (place == 0) self->wrong = 0;
    if (place >= 2ull * PLACES) {
        place -= 2ull * PLACES;
        shot_begin(shot, AUDIT_ORDER, 0);
        shot_text_number(shot, 'o', place);
    } else {
        place %= PLACES;
        shot_begin(shot, flight ? AUDIT_FLIGHT : AUDIT_HOTEL, 0);
        place_key(shot, flight, place);
    }
    shot->note[0] = (int64_t)place;
}

static void wrong(struct travel *self, const char *what, uint64_t place, const char *how)
{
    if (self->wrong++ > 0) return;
    snprintf(self->first, sizeof(self->first), "%s %llu %s", what, (unsigned long long)place, how);
}

static void travel_verified(void *ptr, const struct shot *shot, const struct answer *answer)
{
    struct travel *self = ptr;
    uint64_t place = (uint64_t)shot->note[0];
    const int64_t *n = answer->numbers;
    uint32_t count = answer->kind == ANSWER_NUMBERS ? answer->count : UINT32_MAX;
    if (shot->verb == AUDIT_ORDER) {
        const struct booking *order = &self->order[place];
        if (!order->done && count != 0) wrong(self, "order", place, "was refused and is there");
        if (order->done && (count != 2 || n[0] != order->hotel || n[1] != order->flight))
            wrong(self, "order", place, "was answered and has not its hotel and flight");
        return;
    }
    const char *name = shot->verb == AUDIT_HOTEL ? "hotel" : "flight";
    uint64_t booked = self->booked[shot->verb == AUDIT_FLIGHT][place];
    if (count != 2 || n[0] != (int64_t)(self->initial - booked) || n[0] < 0)
        wrong(self, name, place, "has not as many places left as its orders leave");
    else if (n[1] != (int64_t)booked) wrong(self, name, place, "has not as many guests as orders");
}

static bool travel_conclude(void *ptr, struct buf *what)
{
    struct travel *self = ptr;
    if (self->wrong > 0) {
        buf_printf(what, "%llu are wrong, first %s", (unsigned long long)self->wrong, self->first);
        return false;
    }
    buf_printf(what,
               "%llu orders have a hotel and a flight, %llu that were refused have neither; places "
               "and guests are what the orders add up to",
               (unsigned long long)self->done, (unsigned long long)(self->count - self->done));
    return true;
}

extern const char travel_lua[];
const struct workload workload_travel = {
    .name = "travel",
    .about = "hotels and flights: --mix standard (reservations 0.5 %) or reserve (50 %)",
    .params = params,
    .verbs = verbs,
    .kinds = kinds,
    .lua = travel_lua,
    .create = travel_create,
    .destroy = travel_destroy,
    .load_count = travel_load_count,
    .load = travel_load,
    .next = travel_next,
    .judge = travel_judge,
    .verify_count = travel_verify_count,
    .verify = travel_verify,
    .verified = travel_verified,
    .conclude = travel_conclude,
};
