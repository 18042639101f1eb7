/*
 * group.c - the handlers of consumer groups; group.h says what each takes and answers.
 *
 * A pending event is two map rows: by id (who has it, since when, how often) and by consumer, so that neither a history
 * nor a claim walks over what is not its own. Both, the row and the counts move in one transaction.
 * What may hold more entries than one transaction may touch (a group or consumer that goes) is taken apart in steps of
 * STEP rows: the first step ends it for everybody else, the next ones clear up, and one that is made anew before they
 * did clears up first.
 * SPDX-License-Identifier: MIT
 */
#include "core/group.h"

#include "core/core_int.h"

#define STEP 1000u
#define LOOK 2000u /* entries looked at by one listing or claim */

enum { PENDING, OWNED, CONSUMERS, GROUPS };

struct group_row {
    bool made;            /* false: it goes, its entries are being cleared */
    struct weir_str last; /* delivered */
    int64_t read, pending;
};
struct pending {
    struct weir_str consumer;
    int64_t since, tries;
};
struct consumer {
    int64_t seen, active, pending; /* active: WEIR_NIL until it got something */
};

/* ---- small things ---- */

/* In three parts: a whole number in a key has 53 bits. */
static bool id_key(struct event_id id, struct weir_part part[3])
{
    if (id.epoch > (uint64_t)WEIR_INT_MAX) return false; /* no event has it */
    part[0] = weir_number((int64_t)id.epoch);
    part[1] = weir_number((int64_t)(id.n >> 32));
    part[2] = weir_number((int64_t)(id.n & UINT32_MAX));
    return true;
}

static struct weir_key pending_key(const struct weir_part part[3])
{
    return weir_key_of(part, 3);
}

static struct weir_key owned_key(struct weir_str consumer, const struct weir_part part[3])
{
    return WEIR_KEY(weir_text(consumer), part[0], part[1], part[2]);
}

static struct event_id id_of_key(const struct weir_part part[3])
{
    return (struct event_id){ (uint64_t)part[0].n,
                              (uint64_t)part[1].n << 32 | (uint64_t)part[2].n };
}

/* The bound of a walk; a bound beyond all ids is open. */
static struct weir_key bound_key(struct event_id id)
{
    struct weir_part part[3];
    return id_key(id, part) ? pending_key(part) : (struct weir_key){ 0 };
}

static struct event_id id_at(struct weir_str ids, size_t i)
{
    struct event_id id = { 0, 0 };
    if (ids.len >= (i + 1) * sizeof(id)) memcpy(&id, ids.ptr + i * sizeof(id), sizeof(id));
    return id;
}

static size_t id_count(struct weir_str ids)
{
    return ids.len / sizeof(struct event_id);
}

static struct event_id id_after(struct event_id id)
{
    return id.n == UINT64_MAX ? (struct event_id){ id.epoch + 1, 0 }
                              : (struct event_id){ id.epoch, id.n + 1 };
}

/* Ids for an answer, in the transaction's memory. */
struct ids {
    struct event_id *items;
    size_t count;
};

static struct ids ids_new(struct weir_ctx *f, size_t most)
{
    return (struct ids){ weir_scratch(f, (most + 1) * sizeof(struct event_id)), 0 };
}

static struct weir_str ids_str(struct ids ids)
{
    return (struct weir_str){ (const char *)ids.items, ids.count * sizeof(struct event_id) };
}

static struct weir_str id_str(struct weir_ctx *f, struct event_id id)
{
    struct ids one = ids_new(f, 1);
    one.items[one.count++] = id;
    return ids_str(one);
}

static struct event_id row_last(const struct group_row *row)
{
    struct event_id id = { 0, 0 };
    (void)event_id_read(row->last, 0, &id);
    return id;
}

static void row_set_last(struct weir_ctx *f, struct group_row *row, struct event_id id)
{
    char text[EVENT_ID_TEXT_MAX];
    row->last = arena_copy(ctx_arena(f), (struct weir_str){ text, event_id_write(id, text) });
}

static bool is_there(struct weir_ctx *f, const struct group_row *row)
{
    if (!row->made) (void)weir_fail(f, "nogroup", STR_NIL);
    return row->made;
}

static size_t count_of(const struct group_args *in)
{
    return in->count > 0 && in->count < (int64_t)GROUP_BATCH_MAX ? (size_t)in->count
                                                                 : GROUP_BATCH_MAX;
}

/* The list of all groups of this one's stream. */
static struct weir_str index_key(struct weir_ctx *f)
{
    struct weir_str key = weir_self(f);
    const char *slash = memchr(key.ptr, '/', key.len);
    return (struct weir_str){ key.ptr, slash ? (size_t)(slash - key.ptr) + 1 : key.len };
}

static struct weir_str group_name(struct weir_ctx *f)
{
    size_t head = index_key(f).len;
    struct weir_str key = weir_self(f);
    return (struct weir_str){ key.ptr + head, key.len - head };
}

static enum weir_status group_call(struct weir_ctx *f, enum group_op op, struct weir_str key,
                                   const struct group_args *args, struct group_answer *answer)
{
    return ctx_call(f, ctx_handler(f)->type->handlers[op], key, args, answer);
}

/* ---- entries and consumers ---- */

/* NULL after failing: too many. */
static struct consumer *consumer_open(struct weir_ctx *f, struct weir_str name, bool *made)
{
    struct weir_key key = WEIR_KEY(weir_text(name));
    struct consumer *c = weir_map_edit(f, CONSUMERS, key);
    *made = false;
    if (weir_failed(f) != WEIR_OK) return NULL;
    if (c != NULL) return c;
    if (weir_map_count(f, CONSUMERS) >= (int64_t)GROUP_CONSUMERS_MAX) {
        (void)weir_fail(f, "toomany", STR("consumers"));
        return NULL;
    }
    *made = true;
    c = weir_map_put(f, CONSUMERS, key);
    c->seen = weir_now(f);
    return c;
}

static struct consumer *consumer_active(struct weir_ctx *f, struct weir_str name)
{
    bool made;
    struct consumer *c = consumer_open(f, name, &made);
    if (c != NULL) c->seen = c->active = weir_now(f);
    return c;
}

static void entry_count(struct weir_ctx *f, struct group_row *row, struct weir_str consumer,
                        int64_t more)
{
    struct consumer *c = weir_map_edit(f, CONSUMERS, WEIR_KEY(weir_text(consumer)));
    if (c != NULL) c->pending += more;
    row->pending += more;
}

static bool entry_remove(struct weir_ctx *f, struct group_row *row, struct event_id id)
{
    struct weir_part part[3];
    if (!id_key(id, part)) return false;
    const struct pending *p = weir_map_get(f, PENDING, pending_key(part));
    if (p == NULL) return false;
    (void)weir_map_remove(f, OWNED, owned_key(p->consumer, part));
    entry_count(f, row, p->consumer, -1);
    return weir_map_remove(f, PENDING, pending_key(part));
}

static void entry_make(struct weir_ctx *f, struct group_row *row, struct consumer *c,
                       struct weir_str consumer, struct event_id id)
{
    struct weir_part part[3];
    if (!id_key(id, part)) return;
    struct pending *p = weir_map_put(f, PENDING, pending_key(part));
    p->consumer = consumer;
    p->since = weir_now(f);
    p->tries = 1;
    *(bool *)weir_map_put(f, OWNED, owned_key(consumer, part)) = true;
    c->pending++;
    row->pending++;
}

/* Into other hands. */
static void entry_move(struct weir_ctx *f, struct group_row *row, struct pending *p,
                       struct weir_str consumer, const struct weir_part part[3])
{
    if (str_eq(p->consumer, consumer)) return;
    (void)weir_map_remove(f, OWNED, owned_key(p->consumer, part));
    entry_count(f, row, p->consumer, -1);
    entry_count(f, row, consumer, 1);
    *(bool *)weir_map_put(f, OWNED, owned_key(consumer, part)) = true;
    p->consumer = consumer;
}

static int64_t since_ms(struct weir_ctx *f, int64_t then)
{
    int64_t now = weir_now(f);
    return then == WEIR_NIL ? -1 : now > then ? now - then : 0;
}

/* ---- the group itself ---- */

/* Up to STEP rows of a group that goes; true when some are left. */
static bool clear_some(struct weir_ctx *f)
{
    static const int maps[] = { PENDING, OWNED, CONSUMERS };
    unsigned n = 0;
    for (size_t m = 0; m < 3; m++) {
        struct weir_scan scan = { 0 };
        struct weir_key key;
        void *value;
        while (weir_map_next(f, maps[m], &scan, &key, &value)) {
            if (n++ == STEP) return true;
            (void)weir_map_remove(f, maps[m], key);
        }
    }
    return false;
}

static enum weir_status group_create(struct weir_ctx *f, void *self, const void *args, void *result)
{
    struct group_row *row = self;
    const struct group_args *in = args;
    struct group_answer *out = result;
    if (row->made) return weir_fail(f, "busygroup", STR_NIL);
    row_set_last(f, row, id_at(in->from, 0));
    out->more = clear_some(f);
    row->pending = 0;
    row->read = in->count;
    if (out->more) return weir_failed(f);
    row->made = true;
    struct group_args enlist = { .name = group_name(f) };
    struct group_answer answer;
    return group_call(f, GROUP_ENLIST, index_key(f), &enlist, &answer);
}

static enum weir_status group_setid(struct weir_ctx *f, void *self, const void *args, void *result)
{
    struct group_row *row = self;
    const struct group_args *in = args;
    if (!is_there(f, row)) return weir_failed(f);
    row_set_last(f, row, id_at(in->from, 0));
    row->read = in->count;
    return weir_failed(f);
}

static enum weir_status group_destroy(struct weir_ctx *f, void *self, const void *args,
                                      void *result)
{
    struct group_row *row = self;
    const struct group_args *in = args;
    struct group_answer *out = result;
    if (row->made && in->quiet) return WEIR_OK; /* another one, made meanwhile */
    if (!row->made && row->last.len == 0) return WEIR_OK;
    if (row->made) {
        struct group_args delist = { .name = group_name(f) };
        struct group_answer answer;
        if (group_call(f, GROUP_DELIST, index_key(f), &delist, &answer) != WEIR_OK)
            return weir_failed(f);
        out->known = true;
        row->made = false;
    }
    out->more = clear_some(f);
    return out->more ? weir_failed(f) : weir_delete(f);
}

static enum weir_status group_consumer(struct weir_ctx *f, void *self, const void *args,
                                       void *result)
{
    const struct group_args *in = args;
    struct group_answer *out = result;
    if (is_there(f, self)) (void)consumer_open(f, in->name, &out->known);
    return weir_failed(f);
}

static enum weir_status group_drop(struct weir_ctx *f, void *self, const void *args, void *result)
{
    struct group_row *row = self;
    const struct group_args *in = args;
    struct group_answer *out = result;
    struct weir_key name = WEIR_KEY(weir_text(in->name));
    struct weir_scan scan = { .from = name, .to = name };
    struct weir_key key;
    void *value;
    if (!is_there(f, row)) return weir_failed(f);
    while (weir_map_next(f, OWNED, &scan, &key, &value)) {
        if (out->count == (int64_t)STEP) {
            out->more = true;
            return weir_failed(f);
        }
        out->count += entry_remove(f, row, id_of_key(key.part + 1));
    }
    (void)weir_map_remove(f, CONSUMERS, name);
    return weir_failed(f);
}

/* ---- delivering ---- */

static enum weir_status group_position(struct weir_ctx *f, void *self, const void *args,
                                       void *result)
{
    const struct group_args *in = args;
    struct group_answer *out = result;
    if (!is_there(f, self)) return weir_failed(f);
    out->from = id_str(f, row_last(self));
    out->known = weir_map_get(f, CONSUMERS, WEIR_KEY(weir_text(in->name))) != NULL;
    return weir_failed(f);
}

static enum weir_status group_take(struct weir_ctx *f, void *self, const void *args, void *result)
{
    struct group_row *row = self;
    const struct group_args *in = args;
    struct group_answer *out = result;
    if (!is_there(f, row)) return weir_failed(f);
    struct event_id last = row_last(row);
    size_t count = id_count(in->ids), i = 0;
    out->known = event_id_cmp(last, id_at(in->from, 0)) >= 0; /* else it was set back */
    while (i < count && event_id_cmp(id_at(in->ids, i), last) <= 0) i++;
    if (out->known && i < count) {
        struct consumer *c = consumer_active(f, in->name);
        if (c == NULL) return weir_failed(f);
        out->count = (int64_t)(count - i);
        if (row->read >= 0) row->read += out->count;
        for (; i < count && !in->quiet; i++) entry_make(f, row, c, in->name, id_at(in->ids, i));
        last = id_at(in->ids, count - 1);
        row_set_last(f, row, last);
    }
    out->from = id_str(f, last);
    return weir_failed(f);
}

static enum weir_status group_again(struct weir_ctx *f, void *self, const void *args, void *result)
{
    const struct group_args *in = args;
    struct group_answer *out = result;
    struct weir_part part[3];
    bool made;
    if (!is_there(f, self)) return weir_failed(f);
    struct consumer *c = consumer_open(f, in->name, &made);
    if (c == NULL) return weir_failed(f);
    c->seen = weir_now(f);
    if (!id_key(id_after(id_at(in->from, 0)), part)) return weir_failed(f);
    struct weir_scan scan = { .from = owned_key(in->name, part),
                              .to = WEIR_KEY(weir_text(in->name)) };
    struct ids ids = ids_new(f, count_of(in));
    struct weir_key key;
    void *value;
    size_t most = ENV_CHANCE(f->txn->shard->env, "group.again_few") ? 1 : count_of(in);
    while (ids.count < most && weir_map_next(f, OWNED, &scan, &key, &value)) {
        struct pending *p = weir_map_edit(f, PENDING, pending_key(key.part + 1));
        if (p == NULL) continue;
        p->since = weir_now(f);
        p->tries++;
        ids.items[ids.count++] = id_of_key(key.part + 1);
    }
    out->ids = ids_str(ids);
    return weir_failed(f);
}

static enum weir_status group_ack(struct weir_ctx *f, void *self, const void *args, void *result)
{
    const struct group_args *in = args;
    struct group_answer *out = result;
    if (!is_there(f, self)) return weir_failed(f);
    for (size_t i = 0; i < id_count(in->ids); i++)
        out->count += entry_remove(f, self, id_at(in->ids, i));
    return weir_failed(f);
}

/* ---- claiming ---- */

static enum weir_status group_claim(struct weir_ctx *f, void *self, const void *args, void *result)
{
    struct group_row *row = self;
    const struct group_args *in = args;
    struct group_answer *out = result;
    struct ids ids = ids_new(f, id_count(in->ids));
    if (!is_there(f, row)) return weir_failed(f);
    if (event_id_cmp(id_at(in->from, 0), row_last(row)) > 0)
        row_set_last(f, row, id_at(in->from, 0));
    struct consumer *c = consumer_active(f, in->name);
    for (size_t i = 0; i < id_count(in->ids) && c != NULL; i++) {
        struct weir_part part[3];
        struct event_id id = id_at(in->ids, i);
        struct pending *p = id_key(id, part) ? weir_map_edit(f, PENDING, pending_key(part)) : NULL;
        if (p == NULL || since_ms(f, p->since) < in->idle_ms) continue;
        entry_move(f, row, p, in->name, part);
        p->since = in->time_ms == WEIR_NIL ? weir_now(f) : in->time_ms;
        if (in->tries >= 0) p->tries = in->tries;
        else if (!in->quiet) p->tries++;
        ids.items[ids.count++] = id;
    }
    out->ids = ids_str(ids);
    return weir_failed(f);
}

static enum weir_status group_autoclaim(struct weir_ctx *f, void *self, const void *args,
                                        void *result)
{
    struct group_row *row = self;
    const struct group_args *in = args;
    struct group_answer *out = result;
    struct weir_scan scan = { .from = bound_key(id_at(in->from, 0)) };
    struct ids ids = ids_new(f, count_of(in));
    struct event_id next = { 0, 0 };
    struct weir_key key;
    void *value;
    unsigned looked = 0, look = ENV_CHANCE(f->txn->shard->env, "group.claim_few") ? 1 : LOOK;
    if (!is_there(f, row)) return weir_failed(f);
    if (consumer_active(f, in->name) == NULL) return weir_failed(f);
    while (weir_map_next(f, PENDING, &scan, &key, &value)) {
        struct pending *p = value;
        if (ids.count == count_of(in) || looked++ == look) {
            next = id_of_key(key.part);
            break;
        }
        if (since_ms(f, p->since) < in->idle_ms) continue;
        entry_move(f, row, p, in->name, key.part);
        p->since = weir_now(f);
        if (!in->quiet) p->tries++;
        ids.items[ids.count++] = id_of_key(key.part);
    }
    out->ids = ids_str(ids);
    out->to = id_str(f, next);
    return weir_failed(f);
}

/* ---- looking ---- */

static void pending_edge(struct weir_ctx *f, bool reverse, struct weir_str *id)
{
    struct weir_scan scan = { .reverse = reverse, .limit = 1 };
    struct weir_key key;
    void *value;
    if (weir_map_next(f, PENDING, &scan, &key, &value)) *id = id_str(f, id_of_key(key.part));
}

/* Consumers by name; `all`, or those that have something pending. */
static enum weir_status consumers_list(struct weir_ctx *f, bool all, struct weir_list *list)
{
    struct group_info *infos = weir_scratch(f, GROUP_CONSUMERS_MAX * sizeof(struct group_info));
    struct weir_scan scan = { .limit = (int64_t)GROUP_CONSUMERS_MAX };
    struct weir_key key;
    void *value;
    list->items = infos;
    while (weir_map_next(f, CONSUMERS, &scan, &key, &value)) {
        const struct consumer *c = value;
        if (!all && c->pending == 0) continue;
        infos[list->count++] = (struct group_info){ .name = key.part[0].text,
                                                    .pending = c->pending,
                                                    .idle_ms = since_ms(f, c->seen),
                                                    .inactive_ms = since_ms(f, c->active) };
    }
    return weir_failed(f);
}

static enum weir_status group_summary(struct weir_ctx *f, void *self, const void *args,
                                      void *result)
{
    struct group_row *row = self;
    struct group_answer *out = result;
    if (!is_there(f, row)) return weir_failed(f);
    out->count = row->pending;
    pending_edge(f, false, &out->from);
    pending_edge(f, true, &out->to);
    return consumers_list(f, false, &out->infos);
}

static bool entry_at(struct weir_ctx *f, struct event_id id, struct pending *p)
{
    struct weir_part part[3];
    const struct pending *found = id_key(id, part) ? weir_map_get(f, PENDING, pending_key(part))
                                                   : NULL;
    if (found != NULL) *p = *found;
    return found != NULL;
}

static enum weir_status group_pending(struct weir_ctx *f, void *self, const void *args,
                                      void *result)
{
    const struct group_args *in = args;
    struct group_answer *out = result;
    struct event_id to = id_at(in->to, 0), id = { 0, 0 };
    struct weir_part part[3];
    struct weir_scan scan = { .from = bound_key(id_at(in->from, 0)) };
    bool one = in->name.ptr != NULL;
    unsigned looked = 0;
    if (!is_there(f, self)) return weir_failed(f);
    if (!id_key(id_at(in->from, 0), part)) return WEIR_OK;
    if (one) {
        scan.from = owned_key(in->name, part);
        scan.to = WEIR_KEY(weir_text(in->name));
    }
    struct group_entry *entries = weir_scratch(f, GROUP_BATCH_MAX * sizeof(struct group_entry));
    struct weir_key key;
    void *value;
    out->entries.items = entries;
    while (weir_map_next(f, one ? OWNED : PENDING, &scan, &key, &value)) {
        struct pending p;
        struct event_id at = id_of_key(key.part + one);
        if (event_id_cmp(at, to) > 0) break;
        if (out->entries.count == count_of(in) || looked++ == LOOK) {
            out->more = true;
            break;
        }
        id = at;
        if (!entry_at(f, at, &p) || since_ms(f, p.since) < in->idle_ms) continue;
        entries[out->entries.count++] = (struct group_entry){ id_str(f, at), p.consumer,
                                                              since_ms(f, p.since), p.tries };
    }
    out->to = id_str(f, id);
    return weir_failed(f);
}

static enum weir_status group_info(struct weir_ctx *f, void *self, const void *args, void *result)
{
    const struct group_row *row = self;
    struct group_answer *out = result;
    struct group_info *info = weir_scratch(f, sizeof(*info));
    if (!is_there(f, row)) return weir_failed(f);
    *info = (struct group_info){ .name = group_name(f),
                                 .last = row->last,
                                 .consumers = weir_map_count(f, CONSUMERS),
                                 .pending = row->pending,
                                 .read = row->read };
    out->infos = (struct weir_list){ info, 1 };
    return weir_failed(f);
}

static enum weir_status group_consumers(struct weir_ctx *f, void *self, const void *args,
                                        void *result)
{
    struct group_answer *out = result;
    return is_there(f, self) ? consumers_list(f, true, &out->infos) : weir_failed(f);
}

/* ---- the list of a stream's groups ---- */

static enum weir_status index_enlist(struct weir_ctx *f, void *self, const void *args, void *result)
{
    const struct group_args *in = args;
    if (weir_map_count(f, GROUPS) >= (int64_t)GROUPS_PER_STREAM_MAX)
        return weir_fail(f, "toomany", STR("groups"));
    *(bool *)weir_map_put(f, GROUPS, WEIR_KEY(weir_text(in->name))) = true;
    return weir_failed(f);
}

static enum weir_status index_delist(struct weir_ctx *f, void *self, const void *args, void *result)
{
    const struct group_args *in = args;
    (void)weir_map_remove(f, GROUPS, WEIR_KEY(weir_text(in->name)));
    return weir_failed(f);
}

static enum weir_status index_list(struct weir_ctx *f, void *self, const void *args, void *result)
{
    struct group_answer *out = result;
    struct group_info *infos = weir_scratch(f, GROUPS_PER_STREAM_MAX * sizeof(struct group_info));
    struct weir_scan scan = { .limit = (int64_t)GROUPS_PER_STREAM_MAX };
    struct group_args nothing = { 0 };
    struct weir_key key;
    void *value;
    out->infos.items = infos;
    while (weir_map_next(f, GROUPS, &scan, &key, &value)) {
        struct group_answer one = { 0 };
        struct weir_str head = weir_self(f), name = key.part[0].text;
        struct weir_str whole = arena_printf(ctx_arena(f), "%.*s%.*s", STR_ARG(head),
                                             STR_ARG(name));
        if (group_call(f, GROUP_INFO, whole, &nothing, &one) != WEIR_OK) return weir_failed(f);
        if (one.infos.count == 1) infos[out->infos.count++] = *(struct group_info *)one.infos.items;
    }
    return weir_failed(f);
}

/* ---- the type ---- */

static const struct weir_field row_fields[] = { WEIR_FIELD(struct group_row, made, WEIR_BOOL),
                                                WEIR_FIELD(struct group_row, last, WEIR_TEXT),
                                                WEIR_FIELD(struct group_row, read, WEIR_INT),
                                                WEIR_FIELD(struct group_row, pending, WEIR_INT),
                                                WEIR_END };
static const struct weir_field pending_fields[] = { WEIR_FIELD(struct pending, consumer, WEIR_TEXT),
                                                    WEIR_FIELD(struct pending, since, WEIR_TIME),
                                                    WEIR_FIELD(struct pending, tries, WEIR_INT),
                                                    WEIR_END };
static const struct weir_field consumer_fields[] = {
    WEIR_FIELD(struct consumer, seen, WEIR_TIME),
    WEIR_FIELD(struct consumer, active, WEIR_TIME, .optional = true),
    WEIR_FIELD(struct consumer, pending, WEIR_INT), WEIR_END
};
static const struct weir_map maps[] = {
    [PENDING] = { .name = "pending",
                  .key = { WEIR_INT, WEIR_INT, WEIR_INT },
                  .value = WEIR_SHAPE(struct pending, pending_fields) },
    [OWNED] = { .name = "owned",
                .key = { WEIR_TEXT, WEIR_INT, WEIR_INT, WEIR_INT },
                .value = WEIR_SCALAR(WEIR_BOOL) },
    [CONSUMERS] = { .name = "consumers",
                    .key = { WEIR_TEXT },
                    .value = WEIR_SHAPE(struct consumer, consumer_fields) },
    [GROUPS] = { .name = "groups", .key = { WEIR_TEXT }, .value = WEIR_SCALAR(WEIR_BOOL) },
    { .name = NULL }
};

static const struct weir_field args_fields[] = {
    WEIR_FIELD(struct group_args, name, WEIR_TEXT, .optional = true),
    WEIR_FIELD(struct group_args, ids, WEIR_BYTES, .optional = true),
    WEIR_FIELD(struct group_args, from, WEIR_BYTES, .optional = true),
    WEIR_FIELD(struct group_args, to, WEIR_BYTES, .optional = true),
    WEIR_FIELD(struct group_args, count, WEIR_INT),
    WEIR_FIELD(struct group_args, idle_ms, WEIR_INT),
    WEIR_FIELD(struct group_args, time_ms, WEIR_TIME, .optional = true),
    WEIR_FIELD(struct group_args, tries, WEIR_INT),
    WEIR_FIELD(struct group_args, quiet, WEIR_BOOL),
    WEIR_END
};
static const struct weir_field entry_fields[] = {
    WEIR_FIELD(struct group_entry, id, WEIR_BYTES, .optional = true),
    WEIR_FIELD(struct group_entry, consumer, WEIR_TEXT, .optional = true),
    WEIR_FIELD(struct group_entry, idle_ms, WEIR_INT),
    WEIR_FIELD(struct group_entry, tries, WEIR_INT), WEIR_END
};
static const struct weir_field info_fields[] = {
    WEIR_FIELD(struct group_info, name, WEIR_TEXT, .optional = true),
    WEIR_FIELD(struct group_info, last, WEIR_TEXT, .optional = true),
    WEIR_FIELD(struct group_info, consumers, WEIR_INT),
    WEIR_FIELD(struct group_info, pending, WEIR_INT),
    WEIR_FIELD(struct group_info, read, WEIR_INT),
    WEIR_FIELD(struct group_info, idle_ms, WEIR_INT),
    WEIR_FIELD(struct group_info, inactive_ms, WEIR_INT),
    WEIR_END
};
static const struct weir_shape entry_shape = WEIR_SHAPE(struct group_entry, entry_fields),
                               info_shape = WEIR_SHAPE(struct group_info, info_fields);
static const struct weir_field answer_fields[] = {
    WEIR_FIELD(struct group_answer, known, WEIR_BOOL),
    WEIR_FIELD(struct group_answer, more, WEIR_BOOL),
    WEIR_FIELD(struct group_answer, count, WEIR_INT),
    WEIR_FIELD(struct group_answer, ids, WEIR_BYTES, .optional = true),
    WEIR_FIELD(struct group_answer, from, WEIR_BYTES, .optional = true),
    WEIR_FIELD(struct group_answer, to, WEIR_BYTES, .optional = true),
    WEIR_FIELD(struct group_answer, entries, WEIR_LIST, .shape = &entry_shape),
    WEIR_FIELD(struct group_answer, infos, WEIR_LIST, .shape = &info_shape),
    WEIR_END
};

#define HANDLER(op, kind_, name_, fn_)                                                             \
    [op] = { .name = name_,                                                                        \
             .kind = kind_,                                                                        \
             .fn = fn_,                                                                            \
             .args = WEIR_SHAPE(struct group_args, args_fields),                                   \
             .result = WEIR_SHAPE(struct group_answer, answer_fields) }
static const struct weir_handler handlers[] = {
    HANDLER(GROUP_CREATE, WEIR_ON, "create", group_create),
    HANDLER(GROUP_SETID, WEIR_ON, "setid", group_setid),
    HANDLER(GROUP_DESTROY, WEIR_ON, "destroy", group_destroy),
    HANDLER(GROUP_CONSUMER, WEIR_ON, "consumer", group_consumer),
    HANDLER(GROUP_DROP, WEIR_ON, "drop", group_drop),
    HANDLER(GROUP_POSITION, WEIR_QUERY, "position", group_position),
    HANDLER(GROUP_TAKE, WEIR_ON, "take", group_take),
    HANDLER(GROUP_AGAIN, WEIR_ON, "again", group_again),
    HANDLER(GROUP_ACK, WEIR_ON, "ack", group_ack),
    HANDLER(GROUP_SUMMARY, WEIR_QUERY, "summary", group_summary),
    HANDLER(GROUP_PENDING, WEIR_QUERY, "pending", group_pending),
    HANDLER(GROUP_CLAIM, WEIR_ON, "claim", group_claim),
    HANDLER(GROUP_AUTOCLAIM, WEIR_ON, "autoclaim", group_autoclaim),
    HANDLER(GROUP_INFO, WEIR_QUERY, "info", group_info),
    HANDLER(GROUP_CONSUMERS, WEIR_QUERY, "consumers", group_consumers),
    HANDLER(GROUP_ENLIST, WEIR_ON, "enlist", index_enlist),
    HANDLER(GROUP_DELIST, WEIR_ON, "delist", index_delist),
    HANDLER(GROUP_LIST, WEIR_QUERY, "list", index_list),
    [GROUP_OPS] = { .name = NULL }
};

const struct weir_entity group_entity = { .name = "_group",
                                          .row = WEIR_SHAPE(struct group_row, row_fields),
                                          .maps = maps,
                                          .handlers = handlers };

const struct handler *group_handler(const struct catalog *catalog, enum group_op op)
{
    return catalog->groups->handlers[op];
}
