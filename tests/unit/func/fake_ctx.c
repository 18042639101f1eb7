/*
 * fake_ctx.c - see fake_ctx.h.
 * SPDX-License-Identifier: MIT
 */
#include "fake_ctx.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/assert.h"
#include "base/fiber.h"
#include "core/core_int.h"

#define FILES_MAX 16
#define ANSWER_MAX 8192

struct fake_map_row {
    struct fake_map_row *next;
    int map;
    struct weir_str key; /* ordered bytes */
    void *value;
    bool present;
};
struct fake_entity {
    struct fake_entity *next;
    struct type *type;
    struct buf key, packed;
    bool exists;
    struct buf rows[8], row_keys[8]; /* committed map rows: length-prefixed */
};
struct fake_access {
    struct fake_access *next;
    struct fake_entity *entity;
    void *row;
    bool exists;
    struct fake_map_row *rows; /* ordered by map and key */
};
struct fake_frame {
    struct weir_ctx *ctx;
    struct fake_frame *below;
};
struct fake_txn {
    struct fake *fake;
    struct fake_txn *next;
    struct arena arena;
    struct fake_access *accesses;
    struct weir_ctx *top;
    struct buf effects;
    enum weir_status status;
    char text[ANSWER_MAX];
    void *result;
    const struct handler *handler;
    bool lost, done;
    char answer[ANSWER_MAX];
    uint64_t seed;
};

struct fake {
    struct catalog *catalog;
    struct lua_app *app;
    const struct runtime *runtime;
    void *state;
    struct fiber_pool *fibers;
    struct fake_entity *entities;
    struct fake_txn *txns;
    struct buf effects;
    char answer[ANSWER_MAX];
    unsigned last_calls;
    int64_t now;
};

/* The real struct weir_ctx lies in core_int.h; ours hangs in its members. */
struct frame {
    struct weir_ctx ctx;
    struct fake_txn *fake_txn;
    struct fake_access *fake_access;
};

static struct fake *fake_here; /* one at a time */

/* ---- files ---- */

static struct {
    const char *path[FILES_MAX], *text[FILES_MAX];
    int count;
    char folder[64][128];
    int folder_count;
} files;
static const char *const *settings;
static uint64_t cpu_ms;

void fake_file(const char *path, const char *text)
{
    files.path[files.count] = path;
    files.text[files.count++] = text;
}

void fake_files_reset(void)
{
    files.count = 0;
    files.folder_count = 0;
    settings = NULL;
    cpu_ms = 0;
}

void fake_cpu_ms(uint64_t ms)
{
    cpu_ms = ms;
}

void fake_settings(const char *const *list)
{
    settings = list;
}

static int dir_open(struct env *env, const char *path, bool create)
{
    (void)env, (void)create;
    int at = files.folder_count++ % 64;
    snprintf(files.folder[at], sizeof(files.folder[at]), "%s", path);
    return at;
}

static void dir_close(struct env *env, int dir)
{
    (void)env, (void)dir;
}

static int file_open(struct env *env, int dir, const char *name, int flags)
{
    (void)env, (void)flags;
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", files.folder[dir], name);
    const char *plain = strncmp(path, "./", 2) == 0 ? path + 2 : path;
    for (int i = files.count - 1; i >= 0; i--) {
        if (strcmp(files.path[i], plain) == 0) return i;
    }
    return -2;
}

static void file_close(struct env *env, int fd)
{
    (void)env, (void)fd;
}

static int64_t file_size(struct env *env, int fd)
{
    (void)env;
    return (int64_t)strlen(files.text[fd]);
}

static int64_t file_read(struct env *env, int fd, void *bytes, size_t len, uint64_t offset)
{
    (void)env;
    memcpy(bytes, files.text[fd] + offset, len);
    return (int64_t)len;
}

static uint64_t random_bits(struct env *env)
{
    static uint64_t n = 88172645463325252ull;
    (void)env;
    n ^= n << 13, n ^= n >> 7, n ^= n << 17;
    return n;
}

static uint64_t thread_cpu(struct env *env)
{
    struct timespec now;
    (void)env;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct env env = { .dir_open = dir_open,
                          .dir_close = dir_close,
                          .open = file_open,
                          .close = file_close,
                          .size = file_size,
                          .read = file_read,
                          .random = random_bits,
                          .thread_cpu_ns = thread_cpu };

/* ---- what catalog.c refers to beside ---- */

static enum weir_status native_invoke(void *state, struct weir_ctx *ctx,
                                      const struct handler *handler, void *row, const void *args,
                                      void *result)
{
    (void)state;
    return handler->fn(ctx, row, args, result);
}
const struct runtime native_runtime = { .name = "native", .invoke = native_invoke };

struct row *row_set(struct shard *s, uint8_t slot, struct weir_str key, struct weir_str value)
{
    (void)s, (void)slot, (void)key, (void)value;
    abort();
}
void store_change(struct buf *buf, uint8_t slot, struct weir_str key, struct weir_str value)
{
    (void)buf, (void)slot, (void)key, (void)value;
    abort();
}

/* ---- rows ---- */

static struct frame *frame_of(struct weir_ctx *ctx)
{
    return (struct frame *)ctx;
}

static struct fake_entity *entity_named(struct fake *fake, struct type *type, struct weir_str key)
{
    for (struct fake_entity *e = fake->entities; e != NULL; e = e->next) {
        if (e->type == type && str_eq(buf_str(&e->key), key)) return e;
    }
    struct fake_entity *e = mem_alloc(sizeof(*e));
    e->type = type;
    buf_add_str(&e->key, key);
    e->next = fake->entities;
    fake->entities = e;
    return e;
}

static void start_row(struct fake_txn *t, struct fake_access *a)
{
    struct type *type = a->entity->type;
    shape_start(type->row, a->row);
    if (type->key.count > 0)
        key_apply(&type->key, type->row, arena_copy(&t->arena, buf_str(&a->entity->key)), a->row);
}

static struct fake_access *access_of(struct fake_txn *t, struct fake_entity *e)
{
    for (struct fake_access *a = t->accesses; a != NULL; a = a->next) {
        if (a->entity == e) return a;
    }
    struct fake_access *a = arena_alloc(&t->arena, sizeof(*a));
    a->entity = e;
    a->next = t->accesses;
    t->accesses = a;
    a->row = arena_alloc(&t->arena, e->type->row->size + 8u);
    a->exists = e->exists;
    start_row(t, a);
    if (e->exists) {
        ASSERT(unpack(e->type->row, buf_str(&e->packed), &t->arena, true, a->row) == WEIR_OK);
        if (e->type->key.count > 0)
            key_apply(&e->type->key, e->type->row, arena_copy(&t->arena, buf_str(&e->key)), a->row);
    }
    struct fake_map_row **tail = &a->rows;
    for (uint32_t m = 0; m < e->type->map_count; m++) {
        struct reader keys = reader_of(buf_str(&e->row_keys[m])),
                      values = reader_of(buf_str(&e->rows[m]));
        while (keys.at < keys.end) {
            struct fake_map_row *row = arena_alloc(&t->arena, sizeof(*row));
            row->map = (int)m;
            row->present = true;
            row->key = arena_copy(&t->arena, reader_bytes(&keys, reader_varint(&keys)));
            row->value = arena_alloc(&t->arena, e->type->maps[m].value->size + 8u);
            struct weir_str packed = reader_bytes(&values, reader_varint(&values));
            ASSERT(unpack(e->type->maps[m].value, packed, &t->arena, true, row->value) == WEIR_OK);
            *tail = row;
            tail = &row->next;
        }
    }
    return a;
}

static void commit(struct fake_txn *t)
{
    for (struct fake_access *a = t->accesses; a != NULL; a = a->next) {
        struct fake_entity *e = a->entity;
        e->exists = a->exists;
        buf_reset(&e->packed);
        pack(e->type->row, a->row, &e->packed);
        for (uint32_t m = 0; m < e->type->map_count; m++) {
            buf_reset(&e->rows[m]);
            buf_reset(&e->row_keys[m]);
        }
        for (struct fake_map_row *row = a->rows; row != NULL; row = row->next) {
            if (!row->present) continue;
            struct buf packed = { 0 };
            pack(e->type->maps[row->map].value, row->value, &packed);
            buf_add_varint(&e->row_keys[row->map], row->key.len);
            buf_add_str(&e->row_keys[row->map], row->key);
            buf_add_varint(&e->rows[row->map], packed.len);
            buf_add_str(&e->rows[row->map], buf_str(&packed));
            buf_free(&packed);
        }
    }
    buf_add_str(&t->fake->effects, buf_str(&t->effects));
}

/* ---- failing ---- */

static enum weir_status doom(struct fake_txn *t, enum weir_status status, const char *text)
{
    if (t->status != WEIR_OK) return t->status;
    t->status = status;
    snprintf(t->text, sizeof(t->text), "%s", text);
    return status;
}

enum weir_status ctx_fail(struct weir_ctx *f, enum weir_status status, const char *format, ...)
{
    char text[1000];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    char line[1100];
    snprintf(line, sizeof(line), "%s %s", weir_status_word(status), text);
    return doom(frame_of(f)->fake_txn, status, line);
}

enum weir_status ctx_fail_json(struct weir_ctx *f, enum weir_status status, struct weir_str code,
                               struct weir_str json)
{
    char line[ANSWER_MAX];
    if (status != WEIR_FAILED) code = str_of(weir_status_word(status));
    snprintf(line, sizeof(line), "%.*s %.*s", STR_ARG(code), STR_ARG(json));
    return doom(frame_of(f)->fake_txn, status, line);
}

enum weir_status weir_fail_json(struct weir_ctx *f, const char *code, struct weir_str json)
{
    enum weir_status status = WEIR_FAILED;
    for (int s = WEIR_ARG; s < WEIR_ABORTED; s++) {
        if (strcmp(weir_status_word((enum weir_status)s), code) == 0) status = (enum weir_status)s;
    }
    return ctx_fail_json(f, status, str_of(code), json);
}

/* core's handlers in C call it; none of them runs here */
enum weir_status weir_fail(struct weir_ctx *f, const char *code, struct weir_str detail)
{
    return weir_fail_json(f, code, detail);
}

enum weir_status weir_failed(struct weir_ctx *f)
{
    return frame_of(f)->fake_txn->status;
}

/* ---- frames ---- */

static enum weir_status judge(struct frame *f)
{
    struct fake_access *a = f->fake_access;
    struct problem problem = { 0 };
    struct type *type = a->entity->type;
    if (type->service) return WEIR_OK;
    if (shape_judge(type->row, a->row, true, &problem) != WEIR_OK)
        return ctx_fail(&f->ctx, problem.status, "%s: %s", problem.field, problem.text);
    for (struct fake_map_row *row = a->rows; row != NULL; row = row->next) {
        if (row->present &&
            shape_judge(type->maps[row->map].value, row->value, true, &problem) != WEIR_OK)
            return ctx_fail(&f->ctx, problem.status, "%s: %s", problem.field, problem.text);
    }
    struct weir_str code = STR("");
    if (type->check != NULL && !type->check(&f->ctx, type, a->row, &code))
        return ctx_fail(&f->ctx, WEIR_CHECK, "%.*s", STR_ARG(code));
    if (!f->ctx.read_only) a->exists = true;
    return WEIR_OK;
}

/* The handler's last act: its answer is that of the call. */
static void last_call(struct frame *f)
{
    const struct last_call *last = f->ctx.last_call;
    const struct shape *from = last->handler->result;
    const void *answer;
    f->fake_txn->fake->last_calls++;
    if (ctx_call_at(&f->ctx, last->handler, last->key, last->place, last->args, &answer) != WEIR_OK)
        return;
    if (shape_same_layout(from, f->ctx.handler->result)) {
        shape_copy(from, answer, &f->fake_txn->arena, f->ctx.result);
        return;
    }
    struct buf json = { 0 };
    json_write(from, answer, &json);
    *(struct weir_str *)f->ctx.result = arena_copy(&f->fake_txn->arena, buf_str(&json));
    buf_free(&json);
}

static void frame_main(void *arg)
{
    struct frame *f = arg;
    const struct handler *h = f->ctx.handler;
    void *state = h->runtime == &native_runtime ? NULL : f->fake_txn->fake->state;
    enum weir_status st = h->runtime->invoke(state, &f->ctx, h,
                                             h->type->service ? NULL : f->fake_access->row,
                                             f->ctx.args, f->ctx.result);
    if (st == WEIR_OK && f->fake_txn->status == WEIR_OK) {
        struct problem problem = { 0 };
        judge(f);
        if (f->ctx.last_call != NULL && f->fake_txn->status == WEIR_OK) last_call(f);
        if (f->fake_txn->status == WEIR_OK && h->result->count > 0 &&
            shape_judge(h->result, f->ctx.result, false, &problem) != WEIR_OK)
            ctx_fail(&f->ctx, WEIR_HANDLER, "result: %s", problem.text);
    }
}

static struct frame *frame_begin(struct fake_txn *t, const struct handler *handler,
                                 struct weir_str key, const void *args, void *result,
                                 struct weir_ctx *caller)
{
    const size_t align = _Alignof(struct frame);
    uintptr_t at = (uintptr_t)arena_alloc(&t->arena, sizeof(struct frame) + align);
    struct frame *f = (struct frame *)((at + align - 1) & ~(align - 1));
    f->fake_txn = t;
    f->ctx.handler = handler;
    f->ctx.args = args;
    f->ctx.result = result;
    f->ctx.read_only = handler->kind == WEIR_QUERY || (caller && caller->read_only);
    f->ctx.below = t->top;
    f->ctx.depth = caller ? caller->depth + 1 : 0;
    t->top = &f->ctx;
    f->fake_access = access_of(t, entity_named(t->fake, handler->type, key));
    if (handler->kind == WEIR_CREATE && f->fake_access->exists)
        ctx_fail(&f->ctx, WEIR_EXISTS, "there is one");
    if (handler->kind != WEIR_CREATE && handler->type->has_create && !f->fake_access->exists)
        ctx_fail(&f->ctx, WEIR_NOTFOUND, "there is none");
    if (f->ctx.depth > 63) ctx_fail(&f->ctx, WEIR_BUDGET, "calls deeper than call_depth_max");
    return f;
}

static void frame_drop(struct frame *f)
{
    fiber_drop(f->ctx.fiber);
    f->ctx.fiber = NULL;
    if (!f->ctx.lost && f->ctx.handler->runtime->dropped != NULL)
        f->ctx.handler->runtime->dropped(f->fake_txn->fake->state, f->ctx.user);
}

/* Runs the frame until it waits (true) or is done. */
static bool frame_go(struct frame *f)
{
    struct fake_txn *t = f->fake_txn;
    if (f->ctx.fiber == NULL && t->status == WEIR_OK) {
        f->ctx.fiber = fiber_take(t->fake->fibers, frame_main, f);
        ASSERT(f->ctx.fiber != NULL);
    }
    if (f->ctx.fiber != NULL) {
        bool more = f->ctx.lost || fiber_switch_in(f->ctx.fiber);
        if (more && !f->ctx.abandoned && !f->ctx.lost) return true;
        if (more) {
            frame_drop(f);
            if (t->status == WEIR_OK) doom(t, WEIR_ABORTED, "aborted");
        }
        f->ctx.fiber = NULL;
    }
    t->top = f->ctx.below;
    return false;
}

void ctx_abandon(struct weir_ctx *f)
{
    f->abandoned = true;
    for (;;) fiber_suspend(f->fiber);
}

struct key_place ctx_place(struct weir_ctx *f, const struct type *type, struct weir_str key)
{
    return type_place(type, key);
}

void ctx_expect(struct weir_ctx *f, const struct type *type, struct key_place place, bool near)
{
}

enum weir_status ctx_call_at(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                             struct key_place place, const void *args, const void **result)
{
    *result = NULL;
    struct fake_txn *t = frame_of(f)->fake_txn;
    if (t->status != WEIR_OK) return t->status;
    struct problem problem = { 0 };
    if (handler->args->count > 0 && shape_judge(handler->args, args, false, &problem) != WEIR_OK)
        return ctx_fail(f, WEIR_ARG, "%s: %s", problem.field, problem.text);
    if (f->read_only && handler->kind != WEIR_QUERY)
        return ctx_fail(f, WEIR_HANDLER, "a query calls what may write");
    if (str_eq(handler->type->name, STR("gate"))) {
        fiber_suspend(f->fiber);
        return t->status;
    }
    void *inner = arena_alloc(&t->arena, handler->result->size + 8u);
    struct frame *callee = frame_begin(t, handler, key, args, inner, f);
    while (frame_go(callee)) fiber_suspend(f->fiber);
    if (f->lost) ctx_abandon(f);
    *result = inner;
    return t->status;
}

/* In turn, always. */
struct all *ctx_all_begin(struct weir_ctx *ctx, size_t count)
{
    (void)ctx;
    (void)count;
    return NULL;
}

bool ctx_all_next(struct all *all, size_t place)
{
    (void)all;
    (void)place;
    return false;
}

bool ctx_all_call(struct all *all, const struct handler *handler, struct weir_str key,
                  struct key_place place, const void *args)
{
    (void)all;
    (void)handler;
    (void)key;
    (void)place;
    (void)args;
    return false;
}

enum weir_status ctx_all_end(struct all *all)
{
    (void)all;
    return WEIR_HANDLER;
}

const struct handler *ctx_all_answer(const struct all *all, size_t place, void **result,
                                     struct weir_ticket *ticket)
{
    (void)all;
    (void)place;
    (void)result;
    (void)ticket;
    return NULL;
}

bool ctx_may_end(const struct weir_ctx *f)
{
    return f->depth == 0 && f->last_call == NULL;
}

/* Results of whole numbers, or alike: as the engine does it. */
bool ctx_call_last(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                   struct key_place place, const void *args)
{
    const struct shape *own = f->handler->result, *from = handler->result;
    bool plain = from->scalar && from->fields[0].kind == WEIR_INT;
    if (handler->type->service || !(plain || shape_same_layout(own, from))) return false;
    if (!shape_same_layout(own, from) && !(own->scalar && own->fields[0].kind == WEIR_ANY))
        return false;
    f->last_call = arena_alloc(&frame_of(f)->fake_txn->arena, sizeof(*f->last_call));
    *f->last_call = (struct last_call){
        .handler = handler, .key = key, .place = place, .args = args
    };
    return true;
}

unsigned fake_last_calls(struct fake *fake)
{
    return fake->last_calls;
}

void ctx_state_lost(struct weir_ctx *f)
{
    for (struct fake_txn *t = fake_here->txns; t != NULL; t = t->next) {
        for (struct weir_ctx *g = t->top; g != NULL; g = g->below) {
            if (g == f || g->fiber == NULL || g->last_call != NULL) continue;
            g->lost = true;
            t->lost = t != frame_of(f)->fake_txn;
        }
    }
}

void **ctx_user(struct weir_ctx *f)
{
    return &f->user;
}
const struct handler *ctx_handler(struct weir_ctx *f)
{
    return f->handler;
}
void *ctx_state(struct weir_ctx *f)
{
    return frame_of(f)->fake_txn->fake->state;
}
bool ctx_read_only(struct weir_ctx *f)
{
    return f->read_only;
}
const struct catalog *ctx_catalog(struct weir_ctx *f)
{
    return frame_of(f)->fake_txn->fake->catalog;
}
struct arena *ctx_arena(struct weir_ctx *f)
{
    return &frame_of(f)->fake_txn->arena;
}
/* ---- small things ---- */

struct weir_str weir_self(struct weir_ctx *f)
{
    return buf_str(&frame_of(f)->fake_access->entity->key);
}
int64_t weir_now(struct weir_ctx *f)
{
    return frame_of(f)->fake_txn->fake->now;
}
uint64_t weir_random(struct weir_ctx *f)
{
    (void)f;
    return random_bits(NULL);
}
struct weir_str weir_id(struct weir_ctx *f)
{
    return arena_printf(ctx_arena(f), "%026llu", (unsigned long long)random_bits(NULL));
}
struct weir_str weir_caller(struct weir_ctx *f)
{
    (void)f;
    return STR("tester");
}
struct weir_str ctx_roles(struct weir_ctx *f)
{
    (void)f;
    return STR("clerk,auditor");
}
bool weir_exists(struct weir_ctx *f, const char *type, struct weir_ref ref)
{
    struct fake_txn *t = frame_of(f)->fake_txn;
    struct type *found = catalog_type(t->fake->catalog, str_of(type));
    if (found == NULL) return ctx_fail(f, WEIR_NOTYPE, "%s", type), false;
    return access_of(t, entity_named(t->fake, found, ref.key))->exists;
}
enum weir_status weir_delete(struct weir_ctx *f)
{
    struct fake_access *a = frame_of(f)->fake_access;
    a->rows = NULL;
    start_row(frame_of(f)->fake_txn, a);
    a->exists = false;
    return WEIR_OK;
}
void weir_trace(struct weir_ctx *f, const char *text)
{
    buf_printf(&frame_of(f)->fake_txn->effects, "trace %s\n", text);
}
void *weir_scratch(struct weir_ctx *f, size_t bytes)
{
    return arena_alloc(ctx_arena(f), bytes);
}

static void effect(struct weir_ctx *f, const char *what, const struct handler *h,
                   struct weir_str key, int64_t at, const void *args)
{
    struct buf *out = &frame_of(f)->fake_txn->effects;
    buf_printf(out, "%s %.*s/%.*s:%.*s", what, STR_ARG(h->type->name), STR_ARG(key),
               STR_ARG(h->name));
    if (at >= 0) buf_printf(out, " at %lld", (long long)at);
    buf_add_byte(out, ' ');
    if (args != NULL) json_write(h->args, args, out);
    else buf_add_text(out, "all");
    buf_add_byte(out, '\n');
}
enum weir_status ctx_send(struct weir_ctx *f, const struct handler *h, struct weir_str key,
                          const void *args)
{
    struct problem problem = { 0 };
    if (f->read_only) return ctx_fail(f, WEIR_HANDLER, "a query sends");
    if (shape_judge(h->args, args, false, &problem) != WEIR_OK)
        return ctx_fail(f, WEIR_ARG, "%s: %s", problem.field, problem.text);
    effect(f, "send", h, key, -1, args);
    return WEIR_OK;
}
enum weir_status ctx_emit(struct weir_ctx *f, const struct stream *stream, const void *event)
{
    struct problem problem = { 0 };
    if (f->read_only) return ctx_fail(f, WEIR_HANDLER, "a query emits");
    if (shape_judge(stream->event, event, false, &problem) != WEIR_OK)
        return ctx_fail(f, WEIR_ARG, "%s: %s", problem.field, problem.text);
    struct handler as_handler = { .name = stream->name, .args = stream->event };
    effect(f, "emit", &as_handler, weir_self(f), -1, event);
    return WEIR_OK;
}
const struct weir_entity schedule_entity = { .name = "_schedule" };
const struct weir_entity group_entity = { .name = "_group" };
const struct weir_entity answer_entity = { .name = "_answer" };
struct weir_ticket weir_ticket(struct weir_ctx *f)
{
    return (struct weir_ticket){ 0 };
}
enum weir_status weir_defer(struct weir_ctx *f, struct weir_ticket ticket)
{
    return WEIR_OK;
}
bool catalog_add_schedule(struct catalog *catalog, struct env *reader,
                          const struct schedule_def *from, struct weir_str missed, const char **why)
{
    return true;
}
enum weir_status ctx_ask(struct weir_ctx *f, const struct outside_def *outside,
                         struct weir_str line, struct weir_str body, const struct handler *handler,
                         const void *args)
{
    struct handler as_handler = { .name = line, .args = handler ? handler->args : NULL };
    effect(f, "ask", &as_handler, weir_self(f), -1, args);
    return WEIR_OK;
}
enum weir_status stream_emit_one(struct weir_ctx *f, void *row, const void *args, void *result)
{
    return WEIR_OK;
}
enum weir_status stream_emit_batch(struct weir_ctx *f, void *row, const void *args, void *result)
{
    return WEIR_OK;
}
enum weir_status stream_end(struct weir_ctx *f, void *row, const void *args, void *result)
{
    return WEIR_OK;
}
size_t event_id_write(struct event_id id, char out[EVENT_ID_TEXT_MAX])
{
    return (size_t)snprintf(out, EVENT_ID_TEXT_MAX, "%lu-%lu", id.epoch, id.n);
}
bool event_id_read(struct weir_str text, uint64_t n_if_none, struct event_id *id)
{
    return sscanf(text.ptr, "%lu-%lu", &id->epoch, &id->n) == 2;
}
void follow_begin(struct engine *engine, struct follower *follower, struct buf *changes)
{
}
enum weir_status ctx_timer(struct weir_ctx *f, const struct handler *h, int64_t time_ms,
                           const void *args)
{
    if (f->read_only) return ctx_fail(f, WEIR_HANDLER, "a query sets a timer");
    effect(f, "timer", h, weir_self(f), time_ms, args);
    return WEIR_OK;
}
enum weir_status ctx_timer_cancel(struct weir_ctx *f, const struct handler *h, const void *args)
{
    effect(f, "cancel", h, weir_self(f), -1, args);
    return WEIR_OK;
}

/* ---- maps ---- */

static struct weir_str key_bytes(struct weir_ctx *f, int map, struct weir_key key)
{
    struct buf bytes = { 0 };
    map_key_write(f->handler->type->maps[map].key, key, &bytes);
    struct weir_str copy = arena_copy(ctx_arena(f), buf_str(&bytes));
    buf_free(&bytes);
    return copy;
}
static struct fake_map_row *row_at(struct weir_ctx *f, int map, struct weir_key key, bool make)
{
    struct weir_str bytes = key_bytes(f, map, key);
    struct fake_map_row **at = &frame_of(f)->fake_access->rows;
    while (*at != NULL &&
           ((*at)->map < map || ((*at)->map == map && str_cmp((*at)->key, bytes) < 0)))
        at = &(*at)->next;
    if (*at != NULL && (*at)->map == map && str_eq((*at)->key, bytes)) return *at;
    if (!make) return NULL;
    struct fake_map_row *row = arena_alloc(ctx_arena(f), sizeof(*row));
    *row = (struct fake_map_row){ .next = *at, .map = map, .key = bytes };
    *at = row;
    return row;
}
const void *weir_map_get(struct weir_ctx *f, int map, struct weir_key key)
{
    struct fake_map_row *row = row_at(f, map, key, false);
    return row != NULL && row->present ? row->value : NULL;
}
void *weir_map_edit(struct weir_ctx *f, int map, struct weir_key key)
{
    struct fake_map_row *row = row_at(f, map, key, false);
    return row != NULL && row->present ? row->value : NULL;
}
void *weir_map_put(struct weir_ctx *f, int map, struct weir_key key)
{
    struct fake_map_row *row = row_at(f, map, key, true);
    if (!row->present) {
        row->value = arena_alloc(ctx_arena(f), f->handler->type->maps[map].value->size + 8u);
        shape_start(f->handler->type->maps[map].value, row->value);
    }
    row->present = true;
    return row->value;
}
bool weir_map_remove(struct weir_ctx *f, int map, struct weir_key key)
{
    struct fake_map_row *row = row_at(f, map, key, false);
    bool was = row != NULL && row->present;
    if (was) row->present = false;
    return was;
}
int64_t weir_map_count(struct weir_ctx *f, int map)
{
    int64_t n = 0;
    for (struct fake_map_row *row = frame_of(f)->fake_access->rows; row != NULL; row = row->next)
        n += row->map == map && row->present;
    return n;
}
static bool within(struct weir_str key, struct weir_str bound, bool low)
{
    if (key.len >= bound.len && memcmp(key.ptr, bound.ptr, bound.len) == 0) return true;
    return low ? str_cmp(key, bound) >= 0 : str_cmp(key, bound) <= 0;
}
bool weir_map_next(struct weir_ctx *f, int map, struct weir_scan *scan, struct weir_key *key,
                   void **row)
{
    if (scan->limit > 0 && scan->seen >= scan->limit) return false;
    struct weir_str from = key_bytes(f, map, scan->from), to = key_bytes(f, map, scan->to);
    struct fake_map_row *best = NULL;
    for (struct fake_map_row *at = frame_of(f)->fake_access->rows; at != NULL; at = at->next) {
        if (at->map != map || !at->present || !within(at->key, from, true) ||
            (to.len > 0 && !within(at->key, to, false)))
            continue;
        int order = scan->started ? str_cmp(at->key, scan->at) : 0;
        if (scan->started && (scan->reverse ? order >= 0 : order <= 0)) continue;
        best = at;
        if (!scan->reverse) break;
    }
    if (best == NULL) return false;
    scan->started = true;
    scan->at = best->key;
    scan->seen++;
    *row = best->value;
    return map_key_read(f->handler->type->maps[map].key, best->key, ctx_arena(f), key);
}
void *weir_map_append(struct weir_ctx *f, int map, int64_t *n)
{
    struct weir_scan last = { .reverse = true, .limit = 1 };
    struct weir_key key = { 0 };
    void *row;
    *n = weir_map_next(f, map, &last, &key, &row) ? key.part[0].n + 1 : 1;
    return weir_map_put(f, map, WEIR_KEY(weir_number(*n)));
}

/* ---- driving ---- */

static void gate_add(struct catalog *catalog)
{
    struct type *gate = catalog_type(catalog, STR("gate"));
    if (gate == NULL) gate = catalog_add_type(catalog, STR("gate"), true);
    gate->row = arena_alloc(&catalog->arena, sizeof(*gate->row));
    struct shape *nothing = arena_alloc(&catalog->arena, sizeof(*nothing));
    struct handler wait = { .name = STR("wait"),
                            .kind = WEIR_QUERY,
                            .args = nothing,
                            .result = nothing,
                            .runtime = &native_runtime };
    catalog_add_handler(catalog, gate, &wait);
}

static void trace(void *arg, const char *members)
{
    struct fake *fake = arg;
    buf_printf(&fake->effects, "%s\n", members);
}

struct fake *fake_try(const char *text, struct lua_problem *problem)
{
    struct fake *fake = mem_alloc(sizeof(*fake));
    fake_file("app.lua", text);
    fake->catalog = catalog_create();
    fake->now = 1000000;
    struct lua_options options = { .env = &env, .settings = settings, .limits = { .cpu_ms_max = cpu_ms },
                                   .trace = trace, .trace_arg = fake };
    fake->app = lua_app_create(fake->catalog, &options);
    fake->fibers = fiber_pool_create(FIBER_STACK_BYTES_DEFAULT, 30000);
    if (lua_app_load(fake->app, "app.lua", problem) != WEIR_OK) {
        fake_destroy(fake);
        return NULL;
    }
    gate_add(fake->catalog);
    char why[512];
    if (!catalog_finish(fake->catalog, why, sizeof(why))) {
        snprintf(problem->text, sizeof(problem->text), "%s", why);
        fake_destroy(fake);
        return NULL;
    }
    fake->runtime = lua_app_runtime(fake->app);
    fake->state = fake->runtime->shard_start(fake->runtime->self, &env, 0);
    fake_here = fake;
    return fake;
}

struct fake *fake_create(const char *text)
{
    struct lua_problem problem = { .line = 0 };
    struct fake *fake = fake_try(text, &problem);
    if (fake == NULL) fail_msg("%s:%d: %s", problem.file, problem.line, problem.text);
    return fake;
}

unsigned fake_check(const char *text, struct lua_problem *problems, unsigned max)
{
    fake_file("app.lua", text);
    struct catalog *catalog = catalog_create();
    struct lua_options options = { .env = &env, .settings = settings, .limits = { .cpu_ms_max = cpu_ms } };
    struct lua_app *app = lua_app_create(catalog, &options);
    unsigned count = lua_app_check(app, "app.lua", problems, 0, max);
    for (int i = 0; i < files.count; i++) {
        if (strncmp(files.path[i], "more", 4) == 0)
            count = lua_app_check(app, files.path[i], problems, count, max);
    }
    lua_app_destroy(app);
    catalog_destroy(catalog);
    return count;
}

void fake_destroy(struct fake *fake)
{
    if (fake->state != NULL) fake->runtime->shard_stop(fake->runtime->self, fake->state);
    lua_app_destroy(fake->app);
    catalog_destroy(fake->catalog);
    fiber_pool_destroy(fake->fibers);
    for (struct fake_entity *e = fake->entities, *next; e != NULL; e = next) {
        next = e->next;
        buf_free(&e->key);
        buf_free(&e->packed);
        for (int m = 0; m < 8; m++) buf_free(&e->rows[m]), buf_free(&e->row_keys[m]);
        mem_free(e);
    }
    buf_free(&fake->effects);
    mem_free(fake);
    fake_files_reset();
}

struct catalog *fake_catalog(struct fake *fake)
{
    return fake->catalog;
}
void fake_idle(struct fake *fake)
{
    fake->runtime->idle(fake->state);
}
void fake_now(struct fake *fake, int64_t ms)
{
    fake->now = ms;
}

struct fake_txn *fake_begin(struct fake *fake, const char *type_name, const char *key,
                            const char *name, const char *args)
{
    struct fake_txn *t = mem_alloc(sizeof(*t));
    t->fake = fake;
    t->next = fake->txns;
    fake->txns = t;
    t->seed = random_bits(NULL);
    struct type *type = catalog_type(fake->catalog, str_of(type_name));
    assert_non_null(type);
    t->handler = type_handler(type, str_of(name));
    assert_non_null(t->handler);
    void *in = arena_alloc(&t->arena, t->handler->args->size + 8u);
    t->result = arena_alloc(&t->arena, t->handler->result->size + 8u);
    struct problem problem = { 0 };
    enum weir_status st = json_read_args(t->handler->args, str_of(args), &t->arena, in, &problem);
    if (st == WEIR_OK && t->handler->args->count > 0)
        st = shape_judge(t->handler->args, in, false, &problem);
    struct frame *f = frame_begin(t, t->handler, arena_copy(&t->arena, str_of(key)), in, t->result,
                                  NULL);
    if (st != WEIR_OK) ctx_fail(&f->ctx, st, "%s: %s", problem.field, problem.text);
    return t;
}

bool fake_step(struct fake_txn *t)
{
    if (t->done || t->lost) return false;
    struct frame *root = frame_of(t->top);
    while (root->ctx.below != NULL) root = frame_of(root->ctx.below);
    bool more = frame_go(root);
    t->done = !more;
    return more;
}

static void txn_free(struct fake_txn *t)
{
    struct fake_txn **at = &t->fake->txns;
    while (*at != t) at = &(*at)->next;
    *at = t->next;
    arena_free(&t->arena);
    buf_free(&t->effects);
    mem_free(t);
}

static void frames_drop(struct fake_txn *t)
{
    for (struct weir_ctx *f = t->top; f != NULL; f = f->below) {
        if (f->fiber != NULL) frame_drop(frame_of(f));
    }
}

const char *fake_end(struct fake_txn *t)
{
    struct fake *fake = t->fake;
    if (t->status == WEIR_OK) {
        commit(t);
        struct buf json = { 0 };
        if (t->handler->result->count > 0) json_write(t->handler->result, t->result, &json);
        snprintf(fake->answer, sizeof(fake->answer), "ok %.*s", STR_ARG(buf_str(&json)));
        buf_free(&json);
    } else {
        snprintf(fake->answer, sizeof(fake->answer), "%s", t->text);
    }
    txn_free(t);
    return fake->answer;
}

void fake_drop(struct fake_txn *t)
{
    frames_drop(t);
    txn_free(t);
}

bool fake_lost(const struct fake_txn *t)
{
    return t->lost;
}

const char *fake_call(struct fake *fake, const char *type, const char *key, const char *handler,
                      const char *args)
{
    struct fake_txn *t = fake_begin(fake, type, key, handler, args);
    while (fake_step(t)) {}
    return fake_end(t);
}

const char *fake_row(struct fake *fake, const char *type, const char *key)
{
    struct fake_entity *e = entity_named(fake, catalog_type(fake->catalog, str_of(type)),
                                         str_of(key));
    if (!e->exists) return "none";
    struct arena arena = { 0 };
    struct buf json = { 0 };
    void *row = arena_alloc(&arena, e->type->row->size + 8u);
    ASSERT(unpack(e->type->row, buf_str(&e->packed), &arena, true, row) == WEIR_OK);
    json_write(e->type->row, row, &json);
    snprintf(fake->answer, sizeof(fake->answer), "%.*s", STR_ARG(buf_str(&json)));
    buf_free(&json);
    arena_free(&arena);
    return fake->answer;
}

const char *fake_map(struct fake *fake, const char *type, const char *key, const char *map)
{
    struct fake_entity *e = entity_named(fake, catalog_type(fake->catalog, str_of(type)),
                                         str_of(key));
    int m = type_map(e->type, str_of(map));
    struct arena arena = { 0 };
    struct buf out = { 0 };
    struct reader keys = reader_of(buf_str(&e->row_keys[m])),
                  values = reader_of(buf_str(&e->rows[m]));
    while (keys.at < keys.end) {
        struct weir_key parts;
        map_key_read(e->type->maps[m].key, reader_bytes(&keys, reader_varint(&keys)), &arena,
                     &parts);
        for (uint32_t i = 0; i < parts.count; i++) {
            if (parts.part[i].text.ptr != NULL) buf_add_str(&out, parts.part[i].text);
            else buf_printf(&out, "%lld", (long long)parts.part[i].n);
            buf_add_byte(&out, i + 1 < parts.count ? '/' : '=');
        }
        void *value = arena_alloc(&arena, e->type->maps[m].value->size + 8u);
        unpack(e->type->maps[m].value, reader_bytes(&values, reader_varint(&values)), &arena, true,
               value);
        json_write(e->type->maps[m].value, value, &out);
        if (keys.at < keys.end) buf_add_byte(&out, ' ');
    }
    snprintf(fake->answer, sizeof(fake->answer), "%.*s", STR_ARG(buf_str(&out)));
    buf_free(&out);
    arena_free(&arena);
    return fake->answer;
}

const char *fake_effects(struct fake *fake)
{
    snprintf(fake->answer, sizeof(fake->answer), "%.*s", STR_ARG(buf_str(&fake->effects)));
    buf_reset(&fake->effects);
    return fake->answer;
}
