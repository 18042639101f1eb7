/*
 * fake.c - a transport whose services are a function, for the simulator and for tests of applications.
 *
 * An attempt arrives when it begins and is answered after the delay that the function chose, in the order of
 * those times; equal times in the order of arrival.
 * SPDX-License-Identifier: MIT
 */
#include "connect/connect_int.h"

#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000u

struct outside_fake {
    struct outside_transport table;
    struct env *env;
    void (*answer)(void *arg, const struct outside_attempt *attempt, struct outside_reply *reply);
    void *arg;
    struct heap due;
    uint64_t number;
};

/* An answer on its way. */
struct faked {
    struct heap_item due;
    struct outside_attempt *attempt;
    struct outside_reply reply; /* but its texts: */
    struct buf body, type, location, error;
};

static void text_copy(struct buf *to, const char *text)
{
    if (text) buf_add(to, text, strlen(text) + 1);
}

static void faked_free(struct outside_fake *fake, struct faked *faked)
{
    if (faked->due.place) heap_remove(&fake->due, &faked->due);
    faked->attempt->own = NULL;
    buf_free(&faked->body);
    buf_free(&faked->type);
    buf_free(&faked->location);
    buf_free(&faked->error);
    mem_free(faked);
}

static enum weir_status fake_start(void *self, struct env *env, struct actor *actor, char *error,
                                   size_t error_bytes)
{
    struct outside_fake *fake = self;
    fake->env = env;
    return WEIR_OK;
}

static void fake_begin(void *self, struct outside_attempt *attempt)
{
    struct outside_fake *fake = self;
    struct faked *faked = mem_alloc(sizeof(*faked));
    struct outside_reply *reply = &faked->reply;
    fake->answer(fake->arg, attempt, reply);
    faked->attempt = attempt;
    attempt->own = faked;
    buf_add_str(&faked->body, reply->body);
    text_copy(&faked->type, reply->type ? reply->type : "application/json");
    text_copy(&faked->location, reply->location);
    text_copy(&faked->error, reply->error ? reply->error : "the connection broke");
    if (reply->silent) return;
    faked->due.at = (int64_t)(fake->env->mono_ns(fake->env) + reply->delay_ms * NS_PER_MS);
    faked->due.tie = ++fake->number;
    heap_add(&fake->due, &faked->due);
}

static void fake_drop(void *self, struct outside_attempt *attempt)
{
    faked_free(self, attempt->own);
}

static void faked_end(struct outside_fake *fake, struct faked *faked)
{
    struct outside_attempt *attempt = faked->attempt;
    attempt->status = faked->reply.status;
    attempt->retry_after_ms = faked->reply.retry_after_ms;
    buf_reset(&attempt->location);
    if (attempt->status) {
        struct weir_str body = buf_str(&faked->body);
        attempt->body_cut = body.len > attempt->answer_bytes_max;
        if (attempt->body_cut) body.len = attempt->answer_bytes_max;
        buf_add_str(&attempt->body, body);
        buf_add(&attempt->location, faked->location.ptr, faked->location.len);
        snprintf(attempt->content_type, sizeof(attempt->content_type), "%s", faked->type.ptr);
    } else {
        snprintf(attempt->error, attempt->error_bytes, "%s", faked->error.ptr);
    }
    faked_free(fake, faked);
    outside_attempt_end(attempt);
}

static uint64_t fake_turn(void *self, uint64_t until_ns)
{
    struct outside_fake *fake = self;
    uint64_t now = fake->env->mono_ns(fake->env);
    for (;;) {
        struct heap_item *first = heap_min(&fake->due);
        if (!first) return ENV_NEVER;
        if ((uint64_t)first->at > now) return (uint64_t)first->at;
        faked_end(fake, container_of(first, struct faked, due));
    }
}

static void fake_stop(void *self)
{
}

struct outside_fake *outside_fake_create(void (*answer)(void *arg,
                                                        const struct outside_attempt *attempt,
                                                        struct outside_reply *reply),
                                         void *arg)
{
    struct outside_fake *fake = mem_alloc(sizeof(*fake));
    fake->answer = answer;
    fake->arg = arg;
    fake->table = (struct outside_transport){ .self = fake,
                                              .start = fake_start,
                                              .begin = fake_begin,
                                              .drop = fake_drop,
                                              .turn = fake_turn,
                                              .stop = fake_stop };
    return fake;
}

struct outside_transport *outside_fake_transport(struct outside_fake *fake)
{
    return &fake->table;
}

void outside_fake_destroy(struct outside_fake *fake)
{
    if (!fake) return;
    heap_free(&fake->due);
    mem_free(fake);
}
