/*
 * function.h - the door that function runtimes fill in (native C: core itself; Lua: func), and what the
 * engine offers them beside weir.h.
 *
 * A handler runs on a fiber of its own, one per call, on the thread of its shard. A runtime keeps one
 * state per shard. Arguments and results cross as structs of the handler's shapes: so neither side of a
 * call knows what language the other is in, and a local call copies as a remote one does.
 *
 * When a transaction fails, is wounded or times out, its frames end innermost first. A frame of a runtime
 * with `drops` is not resumed: its fiber is dropped and dropped() called; others are resumed with
 * WEIR_ABORTED and must return.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_FUNCTION_H
#define WEIR_CORE_FUNCTION_H

#include "core/catalog.h"
#include "os/env.h"

struct runtime {
    const char *name;
    bool drops;
    void *self;
    /** A state for one shard; called on the starting thread before the shard runs. */
    void *(*shard_start)(void *self, struct env *env, uint32_t shard);
    void (*shard_stop)(void *self, void *state);
    /** Runs the handler on the current fiber. `args` is read-only and lives until return; `row` is the working
     *  struct (NULL for a service); `result` zeroed, texts of it go into weir_scratch() memory. A status
     *  other than WEIR_OK must have been given to weir_fail() or ctx_fail(). */
    enum weir_status (*invoke)(void *state, struct weir_ctx *ctx, const struct handler *handler,
                               void *row, const void *args, void *result);
    /** The frame whose ctx_user() this was will never be resumed. May be NULL. */
    void (*dropped)(void *state, void *user);
    /** Called between turns, when no frame of this shard is on the thread: e.g. to collect garbage. May be NULL. */
    void (*idle)(void *state);
};

/* What an engine's shard keeps for a runtime: slots by order of catalog's runtimes. */

/** Ends this frame for good, with the failure already given to weir_fail() or found by a call. Never
 *  returns; dropped() follows. Only for runtimes with `drops`. */
__attribute__((noreturn)) void ctx_abandon(struct weir_ctx *ctx);
/** Dooms the transaction with one of the engine's statuses. First failure wins. Returns the status. */
enum weir_status ctx_fail(struct weir_ctx *ctx, enum weir_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Dooms the transaction, with an application's word when `status` is WEIR_FAILED and JSON as detail. */
enum weir_status ctx_fail_json(struct weir_ctx *ctx, enum weir_status status, struct weir_str code,
                               struct weir_str json);
/** Every suspended frame of this runtime on this shard is lost with its state: their transactions are
 *  undone and run again. dropped() is not called for them. The caller's own frame then ends by ctx_abandon(). */
void ctx_state_lost(struct weir_ctx *ctx);
/** The runtime's pointer of this frame. */
void **ctx_user(struct weir_ctx *ctx);
/** The handler that runs, its shard's state of a runtime. */
const struct handler *ctx_handler(struct weir_ctx *ctx);
void *ctx_state(struct weir_ctx *ctx);
/** True inside a query: the row, maps, timers and messages may not be written. */
bool ctx_read_only(struct weir_ctx *ctx);
const struct catalog *ctx_catalog(struct weir_ctx *ctx);
/** Transaction memory, as weir_scratch(). */
struct arena *ctx_arena(struct weir_ctx *ctx);

/** weir_call() by handler instead of verb. `args` must stay until return; `result` is a struct of handler->result. */
enum weir_status ctx_call(struct weir_ctx *ctx, const struct handler *handler, struct weir_str key,
                          const void *args, void *result);
/** The same for who knows the key's place already, type_place(handler->type, key), and reads the result at once: on success
 *  *result is a struct of handler->result that stays until the next call into the engine. */
enum weir_status ctx_call_at(struct weir_ctx *ctx, const struct handler *handler,
                             struct weir_str key, struct key_place place, const void *args,
                             const void **result);
/** type_place(), known already of an entity among the request's own arguments, where its key is given as it stands there. */
struct key_place ctx_place(struct weir_ctx *ctx, const struct type *type, struct weir_str key);
/** An entity of the type will soon be called: what is met first on the way to it is fetched; called again some time later, `near`, what is met
 *  next. */
void ctx_expect(struct weir_ctx *ctx, const struct type *type, struct key_place place, bool near);
/** May a call now leave the decision to another shard, if it is the handler's last act? Cheap: asks for no key. */
bool ctx_may_end(const struct weir_ctx *ctx);
/** weir_call_last(), by handler; `key` and `args` stay. False: nothing is gained by it, or the results differ in form: make it
 *  by ctx_call(). True: it is made when the handler has returned, and `result` is not to be filled in. */
bool ctx_call_last(struct weir_ctx *ctx, const struct handler *handler, struct weir_str key,
                   struct key_place place, const void *args);
struct all;
/** Begins calls that may be out at the same time (weir.all), of so many parts; NULL: they are made in turn, with nothing of
 *  what follows. The handler may not return before ctx_all_end(). */
struct all *ctx_all_begin(struct weir_ctx *ctx, size_t count);
/** The part at `place`, from 0 on, begins. False: the transaction is doomed. */
bool ctx_all_next(struct all *all, size_t place);
/** The last act of a part: a call that is not waited for. `args` and `key` stay until the end. False: make it by ctx_call(). */
bool ctx_all_call(struct all *all, const struct handler *handler, struct weir_str key,
                  struct key_place place, const void *args);
/** Waits for what is out; also when the handler is about to leave with an error. */
enum weir_status ctx_all_end(struct all *all);
/** After a good end: the handler that was called by ctx_all_call(), its result and ticket; NULL: none was. */
const struct handler *ctx_all_answer(const struct all *all, size_t place, void **result,
                                     struct weir_ticket *ticket);
enum weir_status ctx_send(struct weir_ctx *ctx, const struct handler *handler, struct weir_str key,
                          const void *args);
/** weir_emit() by stream. */
enum weir_status ctx_emit(struct weir_ctx *ctx, const struct stream *stream, const void *event);
/** Asks outside: `line` "POST /charges", `body` JSON. `handler` (NULL: a webhook) of the own type gets the answer as
 *  its first argument, which `args` leaves empty. */
enum weir_status ctx_ask(struct weir_ctx *ctx, const struct outside_def *outside,
                         struct weir_str line, struct weir_str body, const struct handler *handler,
                         const void *args);
/** weir_at() and weir_cancel() by handler of the own type. */
enum weir_status ctx_timer(struct weir_ctx *ctx, const struct handler *handler, int64_t time_ms,
                           const void *args);
enum weir_status ctx_timer_cancel(struct weir_ctx *ctx, const struct handler *handler,
                                  const void *args);
/** The roles of the request's caller, with commas between; empty in messages and timers. */
struct weir_str ctx_roles(struct weir_ctx *ctx);

#endif
