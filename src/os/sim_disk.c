/*
 * sim_disk.c - the simulated disk: what is synced is safe, all else may be kept, lost or torn by a crash.
 *
 * A file has its durable bytes, its present bytes, and the writes between the two. A sync moves the pending
 * writes to the durable side. A crash starts from the durable bytes and adds pending writes by sectors of 512
 * bytes, as the mode says. Names work alike: creations, renames and removals are pending until dir_sync.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>

#include "base/assert.h"
#include "os/sim_int.h"

#define SECTOR 512u
#define FD_MAX 4096u
#define DIR_HANDLE 100000
#define SLOW_NS_MAX UINT64_C(2000000000)

struct sim_write {
    struct sim_write *next;
    uint64_t offset, len;
    bool truncate;
    char *bytes;
};
struct sim_file {
    uint32_t refs; /* names, pending operations and handles */
    struct buf durable, now;
    struct sim_write *pending, **tail;
    struct sim_write *limbo,
        **limbo_tail;    /* confirmed by a sync that has failed, and did not say so */
    bool late, told;     /* the next sync says so; it has */
    uint64_t bad_sector; /* cannot be read: its number and 1; 0: none */
};
struct sim_name {
    struct sim_name *next;
    char name[ENV_NAME_MAX];
    struct sim_file *file;
};
struct sim_dir_op {
    struct sim_dir_op *next;
    char name[ENV_NAME_MAX], to[ENV_NAME_MAX]; /* to: of a rename */
    struct sim_file *file;                     /* NULL: a removal */
};
struct sim_dir {
    struct sim_dir *next;
    char *path;
    bool locked;
    struct sim_name *durable, *now;
    struct sim_dir_op *pending, **tail;
};
struct sim_fd {
    struct sim_file *file;
    struct sim_dir *dir;
    bool lock;
    bool direct; /* see ENV_DIRECT */
};

/* ---- files and names ---- */

static void writes_free(struct sim_write *w)
{
    for (struct sim_write *next; w != NULL; w = next) {
        next = w->next;
        mem_free(w->bytes);
        mem_free(w);
    }
}

static void file_release(struct sim_file *file)
{
    if (file == NULL || --file->refs > 0) return;
    writes_free(file->pending);
    writes_free(file->limbo);
    buf_free(&file->durable);
    buf_free(&file->now);
    mem_free(file);
}

static struct sim_name *name_find(struct sim_name *list, const char *name)
{
    while (list != NULL && strcmp(list->name, name) != 0) list = list->next;
    return list;
}

static void name_remove(struct sim_name **list, const char *name)
{
    for (; *list != NULL; list = &(*list)->next) {
        if (strcmp((*list)->name, name) != 0) continue;
        struct sim_name *gone = *list;
        *list = gone->next;
        file_release(gone->file);
        mem_free(gone);
        return;
    }
}

static void name_set(struct sim_name **list, const char *name, struct sim_file *file)
{
    ASSERT(file != NULL);
    file->refs++;
    name_remove(list, name);
    while (*list != NULL && strcmp((*list)->name, name) < 0) list = &(*list)->next;
    struct sim_name *n = mem_alloc(sizeof(*n));
    snprintf(n->name, sizeof(n->name), "%s", name);
    n->file = file;
    n->next = *list;
    *list = n;
}

static void bytes_write(struct buf *to, uint64_t offset, const char *bytes, uint64_t len)
{
    if (to->len < offset + len) {
        buf_reserve(to, offset + len - to->len);
        memset(to->ptr + to->len, 0, offset + len - to->len);
        to->len = offset + len;
    }
    if (len > 0) memcpy(to->ptr + offset, bytes, len);
}

static void bytes_truncate(struct buf *to, uint64_t len)
{
    if (len < to->len) to->len = len;
    else bytes_write(to, len, "", 0);
}

static void names_apply(struct sim_name **list, const struct sim_dir_op *op)
{
    if (op->to[0] != '\0') {
        name_set(list, op->to, op->file);
        name_remove(list, op->name);
    } else if (op->file != NULL) {
        name_set(list, op->name, op->file);
    } else {
        name_remove(list, op->name);
    }
}

static void dir_op(struct sim_dir *dir, const char *name, const char *to, struct sim_file *file)
{
    struct sim_dir_op *op = mem_alloc(sizeof(*op));
    snprintf(op->name, sizeof(op->name), "%s", name);
    snprintf(op->to, sizeof(op->to), "%s", to);
    op->file = file;
    if (file != NULL) file->refs++;
    *dir->tail = op;
    dir->tail = &op->next;
    names_apply(&dir->now, op);
}

/* ---- operations: counted, crashed, failed ---- */

enum { OP_DIR_SYNC = 1, OP_CREATE, OP_WRITE, OP_SYNC, OP_TRUNCATE, OP_RENAME, OP_UNLINK };

/* Returns a negative errno when a fault is planned here. `after` says that the call's effect is pending now. */
static int operation(struct sim *sim, int kind, bool is_sync)
{
    sim->operations++;
    sim_trace(sim, 1000u + (uint64_t)kind);
    if (sim_fault(sim, SIM_SLOW)) sim->now_ns += sim_choose(sim, SLOW_NS_MAX);
    if (sim->on_operation != NULL && sim->on_operation(sim->on_operation_arg, sim->operations))
        sim_crash_now(sim);
    if (sim->crash_at != 0 && --sim->crash_at == 0) sim_crash_now(sim);
    if (kind != OP_WRITE && kind != OP_SYNC && sim_fault(sim, SIM_NAME_EIO)) return -EIO;
    if (sim->fault_at == 0 || --sim->fault_at != 0) return 0;
    switch (sim->fault) {
    case SIM_FAULT_EIO: return -EIO;
    case SIM_FAULT_ENOSPC: return -ENOSPC;
    case SIM_FAULT_SYNC_LOST:
        if (is_sync) return -EIO;
        sim->fault_at = 1; /* the next sync */
        return 0;
    case SIM_FAULT_NONE: break;
    }
    return 0;
}

/* Numbers go round over crashes too (fd_take), so that a handle from before one is soon nobody's: -EBADF. */
static struct sim_fd *dir_fd(struct sim *sim, int handle)
{
    if (handle < DIR_HANDLE || (uint32_t)(handle - DIR_HANDLE) >= FD_MAX) return NULL;
    struct sim_fd *fd = &sim->fds[handle - DIR_HANDLE];
    return fd->dir ? fd : NULL;
}

static struct sim_dir *dir_of(struct sim *sim, int handle)
{
    struct sim_fd *fd = dir_fd(sim, handle);
    return fd ? fd->dir : NULL;
}

static struct sim_file *file_of(struct sim *sim, int fd)
{
    return fd >= 0 && (uint32_t)fd < FD_MAX ? sim->fds[fd].file : NULL;
}

static int fd_take(struct sim *sim)
{
    for (uint32_t i = 3; i < FD_MAX; i++) {
        uint32_t at = sim->fd_count++ % (FD_MAX - 3) + 3;
        if (sim->fds[at].file == NULL && sim->fds[at].dir == NULL) return (int)at;
    }
    return -EMFILE;
}

static int disk_dir_open(struct env *env, const char *path, bool create)
{
    struct sim *sim = env->self;
    struct sim_dir *dir = sim->dirs;
    while (dir != NULL && strcmp(dir->path, path) != 0) dir = dir->next;
    if (dir == NULL && !create) return -ENOENT;
    if (dir == NULL) {
        dir = mem_alloc(sizeof(*dir));
        dir->path = mem_alloc(strlen(path) + 1);
        memcpy(dir->path, path, strlen(path));
        dir->tail = &dir->pending;
        dir->next = sim->dirs;
        sim->dirs = dir;
    }
    int fd = fd_take(sim);
    if (fd < 0) return fd;
    sim->fds[fd] = (struct sim_fd){ .dir = dir };
    sim->crashed = false;
    return fd + DIR_HANDLE;
}

static void disk_dir_close(struct env *env, int handle)
{
    struct sim *sim = env->self;
    struct sim_fd *fd = dir_fd(sim, handle);
    if (fd == NULL) return;
    if (fd->lock) fd->dir->locked = false;
    *fd = (struct sim_fd){ 0 };
}

static void limbo_write(struct sim_file *file)
{
    for (struct sim_write *w = file->limbo; w != NULL; w = w->next) {
        if (w->truncate) bytes_truncate(&file->durable, w->len);
        else bytes_write(&file->durable, w->offset, w->bytes, w->len);
    }
}

static void limbo_free(struct sim_file *file)
{
    writes_free(file->limbo);
    file->limbo = NULL;
    file->late = file->told = false;
}

/* A later process finds in the page cache what a late failure has lost; the disk never gets it. What nobody was told
 * of was written by a later try. */
static void limbo_end(struct sim_dir *dir)
{
    for (struct sim_name *n = dir->now; n != NULL; n = n->next) {
        if (!n->file->told) limbo_write(n->file);
        limbo_free(n->file);
    }
}

static int disk_dir_lock(struct env *env, int handle)
{
    struct sim *sim = env->self;
    struct sim_fd *fd = dir_fd(sim, handle);
    if (fd == NULL) return -EBADF;
    if (fd->dir->locked) return -EWOULDBLOCK;
    fd->dir->locked = fd->lock = true;
    limbo_end(fd->dir);
    return 0;
}

static void ops_drop(struct sim_dir *dir)
{
    for (struct sim_dir_op *op = dir->pending, *next; op != NULL; op = next) {
        next = op->next;
        file_release(op->file);
        mem_free(op);
    }
    dir->pending = NULL;
    dir->tail = &dir->pending;
}

static int disk_dir_sync(struct env *env, int handle)
{
    struct sim *sim = env->self;
    struct sim_dir *dir = dir_of(sim, handle);
    if (dir == NULL) return -EBADF;
    int error = operation(sim, OP_DIR_SYNC, true);
    if (error < 0) return error;
    for (struct sim_dir_op *op = dir->pending; op != NULL; op = op->next)
        names_apply(&dir->durable, op);
    ops_drop(dir);
    return 0;
}

static int disk_dir_list(struct env *env, int handle, void (*each)(void *arg, const char *name),
                         void *arg)
{
    struct sim_dir *dir = dir_of(env->self, handle);
    if (dir == NULL) return -EBADF;
    for (struct sim_name *n = dir->now; n != NULL; n = n->next) each(arg, n->name);
    return 0;
}

static uint64_t disk_used(const struct sim *sim)
{
    uint64_t used = 0;
    for (struct sim_dir *dir = sim->dirs; dir != NULL; dir = dir->next) {
        for (struct sim_name *n = dir->now; n != NULL; n = n->next) used += n->file->now.len;
    }
    return used;
}

static int64_t disk_free_bytes(struct env *env, int handle)
{
    struct sim *sim = env->self;
    uint64_t used = disk_used(sim);
    if (sim->disk_limit == 0) return INT64_C(1) << 40;
    return used < sim->disk_limit ? (int64_t)(sim->disk_limit - used) : 0;
}

static int disk_open(struct env *env, int handle, const char *name, int flags)
{
    struct sim *sim = env->self;
    struct sim_dir *dir = dir_of(sim, handle);
    if (dir == NULL) return -EBADF;
    struct sim_name *n = name_find(dir->now, name);
    if (n != NULL && (flags & ENV_EXCLUSIVE)) return -EEXIST;
    if (n == NULL && !(flags & ENV_CREATE)) return -ENOENT;
    struct sim_file *file = n ? n->file : NULL;
    if (file == NULL) {
        file = mem_alloc(sizeof(*file));
        file->tail = &file->pending;
        dir_op(dir, name, "", file);
        int error = operation(sim, OP_CREATE, false);
        if (error < 0) return error;
    }
    int fd = fd_take(sim);
    if (fd < 0) return fd;
    file->refs++;
    sim->fds[fd].file = file;
    sim->fds[fd].direct = flags & ENV_DIRECT;
    return fd;
}

static void blocks_check(const struct sim *sim, int fd, const void *bytes, size_t len,
                         uint64_t offset)
{
    if (!sim->fds[fd].direct) return;
    ASSERT(((uintptr_t)bytes | len | offset) % ENV_BLOCK_BYTES == 0);
}

static void disk_close(struct env *env, int fd)
{
    struct sim *sim = env->self;
    struct sim_file *file = file_of(sim, fd);
    if (file == NULL) return;
    sim->fds[fd].file = NULL;
    file_release(file);
}

static int64_t disk_read(struct env *env, int fd, void *bytes, size_t len, uint64_t offset)
{
    struct sim *sim = env->self;
    struct sim_file *file = file_of(sim, fd);
    if (file == NULL) return -EBADF;
    struct buf *now = &file->now;
    blocks_check(sim, fd, bytes, len, offset);
    if (offset >= now->len) return 0;
    if (sim_fault(sim, SIM_READ_EIO)) return -EIO;
    if (sim_fault(sim, SIM_LATENT)) file->bad_sector = (offset + sim_choose(sim, len)) / SECTOR + 1;
    uint64_t bad = (file->bad_sector - 1) * SECTOR;
    if (file->bad_sector != 0 && bad < offset + len && bad + SECTOR > offset) return -EIO;
    size_t left = now->len - offset < len ? now->len - offset : len;
    memcpy(bytes, now->ptr + offset, left);
    return (int64_t)left;
}

static void pending_add(struct sim_file *file, uint64_t offset, const void *bytes, uint64_t len,
                        bool truncate)
{
    struct sim_write *w = mem_alloc(sizeof(*w));
    w->offset = offset;
    w->len = len;
    w->truncate = truncate;
    if (!truncate) {
        w->bytes = mem_alloc(len + 1);
        memcpy(w->bytes, bytes, len);
    }
    *file->tail = w;
    file->tail = &w->next;
}

/* A write while faults may come: it fails with a part of it done, or lands where it should not. */
static int64_t write_faulty(struct sim *sim, struct sim_file *file, const void *bytes, size_t len,
                            uint64_t offset)
{
    int64_t error = sim_fault(sim, SIM_WRITE_EIO)      ? -EIO
                    : sim_fault(sim, SIM_WRITE_ENOSPC) ? -ENOSPC
                                                       : 0;
    size_t part = error < 0 ? sim_choose(sim, len + 1) : len;
    bool lost = sim_fault(sim, SIM_LOST_WRITE);
    if (sim_fault(sim, SIM_MISDIRECTED)) {
        uint64_t sectors = file->now.len / SECTOR;
        offset = sim_choose(sim, sectors + 1) * SECTOR + offset % SECTOR;
    }
    if (part > 0 && !lost) pending_add(file, offset, bytes, part, false);
    if (part > 0) bytes_write(&file->now, offset, bytes, part);
    int planned = operation(sim, OP_WRITE, false);
    if (error < 0) return error;
    return planned < 0 ? planned : (int64_t)len;
}

static int64_t disk_write(struct env *env, int fd, const void *bytes, size_t len, uint64_t offset)
{
    struct sim *sim = env->self;
    struct sim_file *file = file_of(sim, fd);
    if (file == NULL) return -EBADF;
    blocks_check(sim, fd, bytes, len, offset);
    uint64_t grows = offset + len > file->now.len ? offset + len - file->now.len : 0;
    if (sim->disk_limit != 0 && disk_used(sim) + grows > sim->disk_limit) return -ENOSPC;
    uint64_t bad = (file->bad_sector - 1) * SECTOR;
    if (file->bad_sector != 0 && offset <= bad && offset + len >= bad + SECTOR)
        file->bad_sector = 0;
    if (sim->faulty) return write_faulty(sim, file, bytes, len, offset);
    pending_add(file, offset, bytes, len, false);
    bytes_write(&file->now, offset, bytes, len);
    int error = operation(sim, OP_WRITE, false);
    return error < 0 ? error : (int64_t)len;
}

static void writes_settle(struct sim_file *file, bool keep)
{
    for (struct sim_write *w = file->pending, *next; w != NULL; w = next) {
        next = w->next;
        if (keep && w->truncate) bytes_truncate(&file->durable, w->len);
        else if (keep) bytes_write(&file->durable, w->offset, w->bytes, w->len);
        mem_free(w->bytes);
        mem_free(w);
    }
    file->pending = NULL;
    file->tail = &file->pending;
}

/* How a sync fails: < 0 the error; 1 it has, and does not say so; 0 it works. */
static int sync_faulty(struct sim *sim, struct sim_file *file)
{
    if (file->late) {
        file->late = false;
        file->told = true;
        return -EIO;
    }
    if (sim_fault(sim, SIM_SYNC_EIO)) return -EIO;
    if (sim_fault(sim, SIM_SYNC_ENOSPC)) return -ENOSPC;
    if (sim_fault(sim, SIM_SYNC_REVERT)) {
        buf_reset(&file->now);
        buf_add(&file->now, file->durable.ptr ? file->durable.ptr : "", file->durable.len);
        return -EIO;
    }
    if (file->pending == NULL || !sim_fault(sim, SIM_SYNC_LATE)) return 0;
    file->late = true;
    if (file->limbo == NULL) file->limbo_tail = &file->limbo;
    *file->limbo_tail = file->pending;
    file->limbo_tail = file->tail;
    file->pending = NULL;
    file->tail = &file->pending;
    return 1;
}

/* What is pending may reach the disk at any time anyway. */
static void disk_sync_begin(struct env *env, int fd, uint64_t offset, uint64_t len)
{
}

static int disk_sync(struct env *env, int fd)
{
    struct sim *sim = env->self;
    struct sim_file *file = file_of(sim, fd);
    if (file == NULL) return -EBADF;
    int error = operation(sim, OP_SYNC, true);
    bool lost = error < 0 && sim->fault == SIM_FAULT_SYNC_LOST;
    if (error < 0 && !lost) return error;
    if (sim->faulty || file->late) {
        error = sync_faulty(sim, file);
        if (error > 0) return 0;
        lost = error < 0;
    }
    writes_settle(file, !lost); /* lost: the pages count as clean, yet are not on the disk */
    return error;
}

static int64_t disk_size(struct env *env, int fd)
{
    struct sim_file *file = file_of(env->self, fd);
    return file ? (int64_t)file->now.len : -EBADF;
}

static int disk_truncate(struct env *env, int fd, uint64_t len)
{
    struct sim *sim = env->self;
    struct sim_file *file = file_of(sim, fd);
    if (file == NULL) return -EBADF;
    pending_add(file, 0, NULL, len, true);
    bytes_truncate(&file->now, len);
    return operation(sim, OP_TRUNCATE, false);
}

static int disk_rename(struct env *env, int handle, const char *from, const char *to)
{
    struct sim *sim = env->self;
    struct sim_dir *dir = dir_of(sim, handle);
    if (dir == NULL) return -EBADF;
    struct sim_name *n = name_find(dir->now, from);
    if (n == NULL) return -ENOENT;
    if (strcmp(from, to) == 0) return 0;
    dir_op(dir, from, to, n->file);
    return operation(sim, OP_RENAME, false);
}

static int disk_unlink(struct env *env, int handle, const char *name)
{
    struct sim *sim = env->self;
    struct sim_dir *dir = dir_of(sim, handle);
    if (dir == NULL) return -EBADF;
    if (name_find(dir->now, name) == NULL) return -ENOENT;
    dir_op(dir, name, "", NULL);
    return operation(sim, OP_UNLINK, false);
}

void sim_disk_env(struct sim *sim)
{
    struct env *env = &sim->env;
    sim->fds = mem_alloc(FD_MAX * sizeof(struct sim_fd));
    env->dir_open = disk_dir_open;
    env->dir_close = disk_dir_close;
    env->dir_lock = disk_dir_lock;
    env->dir_sync = disk_dir_sync;
    env->dir_list = disk_dir_list;
    env->dir_free_bytes = disk_free_bytes;
    env->open = disk_open;
    env->close = disk_close;
    env->read = disk_read;
    env->write = disk_write;
    env->sync = disk_sync;
    env->sync_begin = disk_sync_begin;
    env->size = disk_size;
    env->truncate = disk_truncate;
    env->rename = disk_rename;
    env->unlink = disk_unlink;
}

/* ---- crashes and faults ---- */

/* How many of `count` pending things survive, for the prefix mode. */
static uint64_t kept_prefix(struct sim *sim, enum sim_crash_mode mode, uint64_t count)
{
    if (mode == SIM_KEEP_NOTHING) return 0;
    if (mode == SIM_KEEP_PREFIX_TORN) return sim_choose(sim, count + 1);
    return count;
}

/* What is overwritten by what is there stays as it is: SQLite's "powersafe overwrite". The log's last block is written again
 * with each record, as a page of the page cache would be. */
static void garble(struct sim *sim, const struct buf *there, uint64_t offset, char *bytes,
                   uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        char random = (char)sim_random(sim);
        if (offset + i >= there->len || there->ptr[offset + i] != bytes[i]) bytes[i] = random;
    }
}

static void file_crash(struct sim *sim, struct sim_file *file, enum sim_crash_mode mode)
{
    limbo_write(file); /* the journal still has them */
    limbo_free(file);
    bool random = mode == SIM_KEEP_RANDOM || mode == SIM_KEEP_GARBLED;
    uint64_t count = 0, i = 0;
    for (struct sim_write *w = file->pending; w != NULL; w = w->next) count++;
    uint64_t kept = kept_prefix(sim, mode, count);
    for (struct sim_write *w = file->pending; w != NULL; w = w->next, i++) {
        if (w->truncate) {
            if (i < kept && (!random || sim_choose(sim, 2))) bytes_truncate(&file->durable, w->len);
            continue;
        }
        bool torn = mode == SIM_KEEP_PREFIX_TORN && i == kept;
        if (i >= kept && !torn) continue;
        uint64_t sectors = torn ? sim_choose(sim, w->len / SECTOR + 1) : w->len / SECTOR + 1;
        for (uint64_t at = 0, n = 0; at < w->len && n < sectors; at += SECTOR, n++) {
            if (random && sim_choose(sim, 2)) continue;
            uint64_t len = w->len - at < SECTOR ? w->len - at : SECTOR;
            if (mode == SIM_KEEP_GARBLED && sim_choose(sim, 3) == 0)
                garble(sim, &file->durable, w->offset + at, w->bytes + at, len);
            bytes_write(&file->durable, w->offset + at, w->bytes + at, len);
        }
    }
    writes_settle(file, false);
    buf_reset(&file->now);
    buf_add(&file->now, file->durable.ptr ? file->durable.ptr : "", file->durable.len);
}

static void names_free(struct sim_name **list)
{
    while (*list != NULL) name_remove(list, (*list)->name);
}

void sim_disk_crash(struct sim *sim, enum sim_crash_mode mode)
{
    for (uint32_t i = 0; i < FD_MAX; i++) {
        file_release(sim->fds[i].file);
        sim->fds[i] = (struct sim_fd){ 0 };
    }
    for (struct sim_dir *dir = sim->dirs; dir != NULL; dir = dir->next) {
        dir->locked = false;
        if (mode == SIM_KILL) continue;
        uint64_t count = 0, i = 0;
        for (struct sim_dir_op *op = dir->pending; op != NULL; op = op->next) count++;
        uint64_t kept = kept_prefix(sim, mode, count);
        for (struct sim_dir_op *op = dir->pending; op != NULL; op = op->next, i++) {
            bool random = mode == SIM_KEEP_RANDOM || mode == SIM_KEEP_GARBLED;
            if (i < kept && (!random || sim_choose(sim, 2))) names_apply(&dir->durable, op);
        }
        ops_drop(dir);
        names_free(&dir->now);
        for (struct sim_name *n = dir->durable; n != NULL; n = n->next) {
            name_set(&dir->now, n->name, n->file);
            file_crash(sim, n->file, mode);
        }
    }
}

uint32_t sim_open_handles(const struct sim *sim)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < FD_MAX; i++)
        count += sim->fds[i].file != NULL || sim->fds[i].dir != NULL;
    return count;
}

void sim_disk_free(struct sim *sim)
{
    sim_disk_crash(sim, SIM_KEEP_NOTHING);
    for (struct sim_dir *dir = sim->dirs, *next; dir != NULL; dir = next) {
        next = dir->next;
        names_free(&dir->now);
        names_free(&dir->durable);
        mem_free(dir->path);
        mem_free(dir);
    }
    mem_free(sim->fds);
}

void sim_crash_at(struct sim *sim, uint64_t operation, enum sim_crash_mode mode)
{
    sim->crash_at = operation;
    sim->crash_mode = mode;
}

uint64_t sim_operations(const struct sim *sim)
{
    return sim->operations;
}

void sim_fault_at(struct sim *sim, uint64_t operation, enum sim_fault fault)
{
    sim->fault_at = operation;
    sim->fault = fault;
}

void sim_disk_limit(struct sim *sim, uint64_t bytes)
{
    sim->disk_limit = bytes;
}

bool sim_flip(struct sim *sim, const char *path, uint64_t offset, int bit)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) return false;
    for (struct sim_dir *dir = sim->dirs; dir != NULL; dir = dir->next) {
        if (strlen(dir->path) != (size_t)(slash - path) ||
            strncmp(dir->path, path, (size_t)(slash - path)) != 0)
            continue;
        struct sim_name *n = name_find(dir->durable, slash + 1);
        if (n == NULL || offset >= n->file->durable.len) return false;
        n->file->durable.ptr[offset] ^= (char)(1 << bit);
        if (offset < n->file->now.len) n->file->now.ptr[offset] ^= (char)(1 << bit);
        return true;
    }
    return false;
}
