/*
 * trace.c - steps in words.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "model.h"

const char *const message_names[] = { "nothing", "CALL",   "ANSWER", "COMMIT", "ABORT",
                                      "WOUND",   "CANCEL", "HINT",   "DONE" };

static void print_message(const struct model *m, struct message msg)
{
    printf("%s", message_names[msg.kind]);
    if (msg.kind == MSG_HINT || msg.kind == MSG_DONE) printf(" of T%u", msg.id);
    else printf(" T%u.%u", msg.id / ATTEMPTS_MAX, msg.id % ATTEMPTS_MAX);
    if (msg.kind == MSG_CALL)
        printf("%s on %c", msg.arg & CALL_TAIL ? " (tail)" : "",
               'A' + m->scenario->handlers[msg.arg & ~CALL_TAIL].entity);
    if (msg.kind == MSG_ANSWER && msg.arg & RECORD_COMMITTED) printf(" committed");
    if (msg.kind == MSG_COMMIT || msg.kind == MSG_DONE) printf(" in epoch %u", msg.arg);
    if (msg.kind == MSG_ANSWER && msg.arg & RECORD_CANCELLED) printf(" cancelled");
    if (msg.kind == MSG_ANSWER && msg.arg & RECORD_FAILED) printf(" failed");
    if (msg.kind == MSG_ANSWER && msg.arg & RECORD_DIED) printf(" died");
    if (msg.kind == MSG_ANSWER && msg.arg & RECORD_IN_TURN) printf(" wants its calls in turn");
    if (msg.line) printf(" (call %u that is out)", msg.line);
    printf(" [sent in epoch %u]", msg.epoch);
}

static void print_step(const struct model *m, const struct state *st, struct step step)
{
    int a = step.a, b = step.b, at;
    switch (step.kind) {
    case STEP_ARRIVE: printf("T%d begins", a); break;
    case STEP_HANDLE:
        printf("shard %d takes from shard %d: ", b, a);
        at = 0;
        for (int i = 0; m->mutant == MUTANT_H2_cancel_overtakes && i < st->rings[a][b].published;
             i++) {
            if (st->rings[a][b].slots[i].kind == MSG_CANCEL) at = i;
        }
        print_message(m, st->rings[a][b].slots[at]);
        break;
    case STEP_RUN:
        printf("T%d runs on", a);
        if (b) printf(" in call %d that is out", b);
        break;
    case STEP_ADOPT: printf("shard %d adopts epoch %u", a, st->global); break;
    case STEP_READ_MARK:
        printf("shard %d reads mark %u, state %s of shard %d", a, st->rings[b][a].mark,
               st->shards[b].run == SHARD_PARKED ? "parked" : "running", b);
        break;
    case STEP_READ_TAIL:
        printf("shard %d reads the tail of shard %d: %u left", a, b, st->rings[b][a].published);
        break;
    case STEP_SEAL: printf("shard %d seals epoch %u", a, st->shards[a].sealed + 1); break;
    case STEP_PARK: printf("shard %d parks", a); break;
    case STEP_UNPARK: printf("shard %d unparks, first step", a); break;
    case STEP_UNPARKED: printf("shard %d unparks, second step", a); break;
    case STEP_PUBLISH_TAIL: printf("shard %d publishes its tail to shard %d", a, b); break;
    case STEP_PUBLISH_MARK:
        printf("shard %d publishes mark %u to shard %d", a, st->shards[a].epoch, b);
        break;
    case STEP_RAISE: printf("the writer raises G to %u", st->global + 1); break;
    case STEP_WRITER_STATE:
        printf("the writer reads the state of shard %d: %s", a,
               st->shards[a].run == SHARD_PARKED ? "parked" : "running");
        break;
    case STEP_WRITER_SEALED:
        printf("the writer reads sealed of shard %d: %u", a, st->shards[a].sealed);
        break;
    case STEP_WRITE:
        printf("the frame of epoch %u is %s", st->written + 1,
               m->scenario->disk ? "written" : "durable");
        break;
    case STEP_SYNC: printf("the frame of epoch %u is synced", st->written); break;
    case STEP_WAKE: printf("T%d has slept", a); break;
    case STEP_CLOCK: printf("it is %u", st->clock + 1); break;
    case STEP_CLOCK_BACK: printf("the clock is set back to %u", st->clock - 1); break;
    case STEP_CHECKPOINT: printf("checkpoint %u begins", st->checkpoints + 1); break;
    case STEP_WALK:
        printf("shard %d walks on", a);
        if (st->walk_at[a] == WALK_NONE) printf(", its begin is %u", st->shards[a].sealed + 1);
        break;
    case STEP_NAME: printf("the checkpoint is named"); break;
    case STEP_REHOME: printf("recovery has made epoch %u durable", st->written); break;
    case STEP_RELEASE: printf("the reply of T%d leaves", a); break;
    case STEP_CRASH:
        printf("crash; recovered up to epoch %u%s", st->synced + a,
               b ? ", the newest checkpoint is unreadable" : "");
        break;
    }
}

void step_print(const struct model *m, const struct state *before, const struct state *after,
                struct step step)
{
    print_step(m, before, step);
    const char *between = "  ->  ";
    for (int t = 0; t < m->scenario->txns; t++) {
        const struct txn *old = &before->txns[t], *now = &after->txns[t];
        static const char *const phases[] = { "waits to begin", "is live", "is decided", "is done",
                                              "is lost" };
        if (old->phase != now->phase) {
            printf("%sT%d %s", between, t,
                   now->failed && now->phase == TXN_REPLIES ? "has failed" : phases[now->phase]);
            if (now->phase == TXN_REPLIES && !now->failed) printf(" in epoch %u", now->commit);
            between = "; ";
        }
        if (old->phase == TXN_LIVE && now->phase == TXN_LIVE && old->attempt != now->attempt) {
            printf("%sT%d tries again as T%d.%u", between, t, t, now->attempt);
            between = "; ";
        }
        if (now->line.state == FRAME_WAITS_LOCK && old->line.state != FRAME_WAITS_LOCK) {
            printf("%sT%d waits for %c", between, t,
                   'A' + m->scenario->handlers[now->line.frames[now->line.depth - 1].handler].entity);
            between = "; ";
        }
    }
    for (int e = 0; e < m->scenario->entities; e++) {
        const struct entity *old = &before->entities[e], *now = &after->entities[e];
        if (old->owner == now->owner) continue;
        if (now->owner)
            printf("%s%c is held by T%u.%u", between, 'A' + e, (now->owner - 1) / ATTEMPTS_MAX,
                   (now->owner - 1) % ATTEMPTS_MAX);
        else printf("%s%c is free", between, 'A' + e);
        between = "; ";
    }
    for (int s = 0; s < m->scenario->shards; s++) {
        for (int i = 0; i < EPOCHS_MAX; i++) {
            if (before->log[s][i] == after->log[s][i] || step.kind == STEP_CRASH) continue;
            bool lost = before->log[s][i] & (uint32_t)~after->log[s][i];
            printf("%sshard %d %s epoch %d", between, s, lost ? "is left out of" : "logs in", i);
            for (int t = 0; t < m->scenario->txns; t++) {
                uint32_t fresh = after->log[s][i] & (uint32_t)~before->log[s][i];
                if (fresh & LOG_WROTE(t)) printf(" writes-of-T%d", t);
                if (fresh & LOG_PUT(t)) printf(" message-T%d", t);
                if (fresh & LOG_DELETED(t)) printf(" message-T%d-gone", t);
                if (fresh & LOG_RECORD(t)) printf(" record-of-T%d", t);
                if (fresh & LOG_SET(t)) printf(" timer-of-T%d", t);
                if (fresh & LOG_GONE(t)) printf(" timer-of-T%d-gone", t);
            }
            between = "; ";
        }
        if (before->shards[s].epoch != after->shards[s].epoch && step.kind != STEP_ADOPT) {
            printf("%sshard %d is in epoch %u", between, s, after->shards[s].epoch);
            between = "; ";
        }
    }
    printf("\n");
}
