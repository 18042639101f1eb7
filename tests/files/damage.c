/*
 * damage.c - a data directory of about 64 KiB is damaged in every way and place, and opened.
 *
 * One bit flipped in each byte, each file cut at each length, blocks zeroed, swapped, or taken from an earlier time,
 * files gone, manifests and checkpoints of earlier times put back. After a clean stop the store must refuse, with a
 * text that names the file and what is lost, or the state must be exactly what it was: then the bytes were unused or
 * doubled. After an unclean stop only the last frame may be cut as torn (or those in the last
 * block, where a whole block is damaged). A wrong state, another status or a crash fails.
 *
 *   damage [--seed N] [--stride N] [--bits 1..8] [--unclean] [--case KIND,FILE,AT,BIT]
 *
 * The files lie in memory behind an env of this program, so a case takes microseconds; test_damage.py does a sample
 * with the real binary. The twin is an array of row stamps for each epoch.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "store/store.h"

#define FILES 48u
#define FDS 16u
#define KEYS 96u
#define EPOCHS 400u
#define BLOCK 512u

/* ---- a directory in memory ---- */

struct file {
    char name[ENV_NAME_MAX];
    char *bytes;
    size_t len, cap;
    bool borrowed; /* from a snapshot, until it is written */
};
struct folder {
    struct file files[FILES];
    unsigned count;
};
struct disk {
    struct env env;
    struct folder now;
    int fds[FDS]; /* file behind a handle + 1; 0: free */
    uint64_t random;
};

static struct file *file_find(struct folder *f, const char *name)
{
    for (unsigned i = 0; i < f->count; i++) {
        if (strcmp(f->files[i].name, name) == 0) return &f->files[i];
    }
    return NULL;
}

static void file_own(struct file *file, size_t cap)
{
    if (!file->borrowed && cap <= file->cap) return;
    size_t size = cap > file->len ? cap : file->len;
    char *bytes = mem_alloc(size + 1);
    memcpy(bytes, file->bytes, file->len);
    if (!file->borrowed) mem_free(file->bytes);
    file->bytes = bytes;
    file->cap = size;
    file->borrowed = false;
}

static void folder_clear(struct folder *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        if (!f->files[i].borrowed) mem_free(f->files[i].bytes);
    }
    f->count = 0;
}

/* A copy whose bytes are the original's until written; the original must stay as it is. */
static void folder_borrow(struct folder *to, const struct folder *from)
{
    folder_clear(to);
    *to = *from;
    for (unsigned i = 0; i < to->count; i++) to->files[i].borrowed = true;
}

static void folder_copy(struct folder *to, const struct folder *from)
{
    folder_borrow(to, from);
    for (unsigned i = 0; i < to->count; i++) file_own(&to->files[i], to->files[i].len);
}

static struct disk *disk_of(struct env *env)
{
    return env->self;
}

static uint64_t zero_clock(struct env *env)
{
    return 1;
}
static int64_t zero_wall(struct env *env)
{
    return 1;
}
static uint64_t next_random(struct env *env)
{
    struct disk *d = disk_of(env);
    d->random = d->random * 6364136223846793005u + 1442695040888963407u;
    return hash64(1, &d->random, sizeof(d->random));
}
static int ok_dir_open(struct env *env, const char *path, bool create)
{
    return 3;
}
static void ok_dir_close(struct env *env, int dir) {}
static void no_hint(struct env *env, int fd, uint64_t offset, uint64_t len)
{
}

static int ok_dir(struct env *env, int dir)
{
    return 0;
}
static int64_t much_room(struct env *env, int dir)
{
    return INT64_C(1) << 40;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static int disk_list(struct env *env, int dir, void (*each)(void *arg, const char *name), void *arg)
{
    struct folder *f = &disk_of(env)->now;
    for (unsigned i = 0; i < FDS; i++) {
        if (disk_of(env)->fds[i] != 0) abort(); /* sorting moves files */
    }
    qsort(f->files, f->count, sizeof(*f->files), by_name);
    for (unsigned i = 0; i < f->count; i++) each(arg, f->files[i].name);
    return 0;
}

/* A place that no name and no handle holds. */
static struct file *file_slot(struct disk *d)
{
    for (unsigned i = 0; i < d->now.count; i++) {
        bool held = d->now.files[i].name[0] != '\0';
        for (unsigned fd = 0; fd < FDS; fd++) held = held || d->fds[fd] == (int)i + 1;
        if (held) continue;
        if (!d->now.files[i].borrowed) mem_free(d->now.files[i].bytes);
        return &d->now.files[i];
    }
    if (d->now.count == FILES) abort();
    return &d->now.files[d->now.count++];
}

static int disk_open(struct env *env, int dir, const char *name, int flags)
{
    struct disk *d = disk_of(env);
    struct file *file = file_find(&d->now, name);
    if (file == NULL) {
        if (!(flags & ENV_CREATE)) return -ENOENT;
        file = file_slot(d);
        *file = (struct file){ .bytes = mem_alloc(1) };
        snprintf(file->name, sizeof(file->name), "%s", name);
    }
    for (int i = 0; i < (int)FDS; i++) {
        if (d->fds[i] != 0) continue;
        d->fds[i] = (int)(file - d->now.files) + 1;
        return i;
    }
    abort();
}

static void disk_close(struct env *env, int fd)
{
    disk_of(env)->fds[fd] = 0;
}

static struct file *file_of(struct env *env, int fd)
{
    struct disk *d = disk_of(env);
    if (fd < 0 || fd >= (int)FDS || d->fds[fd] == 0) abort();
    return &d->now.files[d->fds[fd] - 1];
}

static int64_t disk_read(struct env *env, int fd, void *bytes, size_t len, uint64_t offset)
{
    const struct file *file = file_of(env, fd);
    if (offset >= file->len) return 0;
    if (len > file->len - offset) len = file->len - offset;
    memcpy(bytes, file->bytes + offset, len);
    return (int64_t)len;
}

static int64_t disk_write(struct env *env, int fd, const void *bytes, size_t len, uint64_t offset)
{
    struct file *file = file_of(env, fd);
    file_own(file, offset + len);
    if (offset > file->len) memset(file->bytes + file->len, 0, offset - file->len);
    memcpy(file->bytes + offset, bytes, len);
    if (offset + len > file->len) file->len = offset + len;
    return (int64_t)len;
}

static int64_t disk_size(struct env *env, int fd)
{
    return (int64_t)file_of(env, fd)->len;
}

static int disk_truncate(struct env *env, int fd, uint64_t len)
{
    struct file *file = file_of(env, fd);
    file_own(file, len);
    if (len > file->len) memset(file->bytes + file->len, 0, len - file->len);
    file->len = len;
    return 0;
}

/* Files keep their places, for handles point to them: one that goes leaves an empty name. */
static int disk_unlink(struct env *env, int dir, const char *name)
{
    struct file *file = file_find(&disk_of(env)->now, name);
    if (file == NULL) return -ENOENT;
    file->name[0] = '\0';
    return 0;
}

static int disk_rename(struct env *env, int dir, const char *from, const char *to)
{
    struct file *file = file_find(&disk_of(env)->now, from);
    if (file == NULL) return -ENOENT;
    (void)disk_unlink(env, dir, to);
    snprintf(file->name, sizeof(file->name), "%s", to);
    return 0;
}

/* Lets go what has no name, between two lives of a store. */
static void disk_settle(struct disk *d)
{
    memset(d->fds, 0, sizeof(d->fds));
    unsigned kept = 0;
    for (unsigned i = 0; i < d->now.count; i++) {
        struct file *file = &d->now.files[i];
        if (file->name[0] != '\0') d->now.files[kept++] = *file;
        else if (!file->borrowed) mem_free(file->bytes);
    }
    d->now.count = kept;
}

static void disk_init(struct disk *d, uint64_t seed)
{
    *d = (struct disk){ .random = seed };
    d->env = (struct env){ .self = d,
                           .mono_ns = zero_clock,
                           .wall_ms = zero_wall,
                           .random = next_random,
                           .dir_open = ok_dir_open,
                           .dir_close = ok_dir_close,
                           .dir_lock = ok_dir,
                           .dir_sync = ok_dir,
                           .dir_list = disk_list,
                           .dir_free_bytes = much_room,
                           .open = disk_open,
                           .close = disk_close,
                           .read = disk_read,
                           .write = disk_write,
                           .sync = ok_dir,
                           .sync_begin = no_hint,
                           .size = disk_size,
                           .truncate = disk_truncate,
                           .rename = disk_rename,
                           .unlink = disk_unlink };
}

/* ---- rows and their twin ---- */

struct world {
    struct disk disk;
    struct store *store;
    struct store_recovery recovery;
    char error[400];
    uint64_t rows[EPOCHS][KEYS]; /* hash of the value after that epoch; 0: absent */
    uint64_t got[KEYS];
    uint64_t epoch;
    bool wrong, clean;
    struct folder final;      /* what is damaged */
    struct folder then[24];   /* the directory at earlier times */
    unsigned then_count;
};

static struct world w;
static uint64_t counts[3]; /* cases that were refused, changed nothing, lost the last frame */
static uint64_t failures;
static char current[200];

static void row_found(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
    uint16_t number;
    if (op == STORE_EXPECT) return;
    if (key.len != 2) {
        w.wrong = true;
        return;
    }
    memcpy(&number, key.ptr, 2);
    if (number >= KEYS || slot != number % 251) w.wrong = true;
    else w.got[number] = value.ptr == NULL ? 0 : hash64(number, value.ptr, value.len);
}

static enum weir_status world_open(void)
{
    static const struct store_options options = { 4096, 16384, 0, 0 };
    memset(w.got, 0, sizeof(w.got));
    w.wrong = false;
    return store_open(&w.disk.env, "d", &options, row_found, NULL, &w.store, &w.recovery, w.error, sizeof(w.error));
}

static void world_leave(void)
{
    if (w.store != NULL) store_abandon(w.store);
    w.store = NULL;
    disk_settle(&w.disk);
}

static size_t value_make(uint16_t number, char *out)
{
    size_t len = 8 + next_random(&w.disk.env) % 300;
    for (size_t i = 0; i < len; i++) out[i] = (char)(next_random(&w.disk.env) >> (i % 8 * 8));
    memcpy(out, &number, 2);
    return len;
}

static void epoch_write(void)
{
    struct buf batch = { 0 };
    char value[320];
    uint64_t epoch = ++w.epoch;
    memcpy(w.rows[epoch], w.rows[epoch - 1], sizeof(w.got));
    for (unsigned n = 1 + (unsigned)(next_random(&w.disk.env) % 4); n > 0; n--) {
        uint16_t number = (uint16_t)(next_random(&w.disk.env) % KEYS);
        struct weir_str key = { (const char *)&number, 2 };
        if (next_random(&w.disk.env) % 9 == 0) {
            store_change_delete(&batch, (uint8_t)(number % 251), key);
            w.rows[epoch][number] = 0;
            continue;
        }
        size_t len = value_make(number, value);
        store_change(&batch, (uint8_t)(number % 251), key, (struct weir_str){ value, len });
        w.rows[epoch][number] = hash64(number, value, len);
    }
    struct weir_str part = buf_str(&batch);
    struct store_frame frame = { .epoch = epoch, .wall_ms = (int64_t)epoch, .parts = &part, .part_count = 1 };
    if (store_write(w.store, &frame) != WEIR_OK || store_sync(w.store) != WEIR_OK) abort();
    buf_free(&batch);
}

/* The rows of a checkpoint are read back from the log's own twin: a store of the same files opened aside would do, but
 * values are needed, so they are kept. */
static struct buf values[KEYS];

static void value_keep(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
    uint16_t number;
    if (op == STORE_EXPECT) return;
    memcpy(&number, key.ptr, 2);
    buf_reset(&values[number]);
    if (value.ptr != NULL) buf_add_str(&values[number], value);
}

static void checkpoint_write(void)
{
    struct folder kept = { 0 };
    struct disk *aside = mem_alloc(sizeof(*aside));
    struct store *store;
    struct store_recovery recovery;
    static const struct store_options options = { 4096, 16384, 0, 0 };
    char error[200];
    struct buf batch = { 0 };
    /* A copy of the directory is opened, and gives the values. */
    disk_init(aside, 99);
    folder_copy(&kept, &w.disk.now);
    aside->now = kept;
    disk_settle(aside);
    if (store_open(&aside->env, "d", &options, value_keep, NULL, &store, &recovery, error, sizeof(error)) != WEIR_OK) abort();
    store_abandon(store);
    disk_settle(aside);
    folder_clear(&aside->now);
    mem_free(aside);
    if (store_checkpoint_begin(w.store, w.epoch + 1) != WEIR_OK) abort();
    for (uint16_t number = 0; number < KEYS; number++) {
        if (w.rows[w.epoch][number] == 0) continue;
        store_change(&batch, (uint8_t)(number % 251), (struct weir_str){ (const char *)&number, 2 }, buf_str(&values[number]));
        if (batch.len < 2000) continue;
        if (store_checkpoint_add(w.store, buf_str(&batch)) != WEIR_OK) abort();
        buf_reset(&batch);
    }
    if (batch.len > 0 && store_checkpoint_add(w.store, buf_str(&batch)) != WEIR_OK) abort();
    for (bool more = true; more;) {
        if (store_checkpoint_finish(w.store, &more) != WEIR_OK) abort();
    }
    buf_free(&batch);
}

static void remember(void)
{
    if (w.then_count == sizeof(w.then) / sizeof(w.then[0])) return;
    struct folder named = { 0 };
    folder_copy(&named, &w.disk.now);
    unsigned kept = 0;
    for (unsigned i = 0; i < named.count; i++) {
        if (named.files[i].name[0] != '\0') named.files[kept++] = named.files[i];
        else mem_free(named.files[i].bytes);
    }
    named.count = kept;
    w.then[w.then_count++] = named;
}

static void world_make(uint64_t seed, bool clean)
{
    disk_init(&w.disk, seed);
    w.clean = clean;
    if (world_open() != WEIR_OK) abort();
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 60; i++) {
            epoch_write();
            if (i % 15 == 0) remember();
            if (i % 5 == 0) (void)store_prepare(w.store);
        }
        checkpoint_write();
        remember();
    }
    for (unsigned i = 0; i < 12; i++) epoch_write();
    (void)store_prepare(w.store);
    if (clean) {
        store_close(w.store);
        w.store = NULL;
    }
    world_leave();
    qsort(w.disk.now.files, w.disk.now.count, sizeof(struct file), by_name);
    folder_copy(&w.final, &w.disk.now);
}

/* ---- judging ---- */

static void wrong(const char *text)
{
    failures++;
    printf("FAIL %s: %s (%s)\n", current, text, w.error);
}

static bool text_is_good(const char *text)
{
    static const char *const files[] = { "log-", "checkpoint", "manifest" }, *const means[] = { "lost", "gone", "newer", "older" };
    bool file = false, mean = false;
    for (unsigned i = 0; i < 3; i++) file = file || strstr(text, files[i]) != NULL;
    for (unsigned i = 0; i < 4; i++) mean = mean || strstr(text, means[i]) != NULL;
    return file && mean;
}

static bool state_is(uint64_t least)
{
    uint64_t epoch = w.recovery.durable_epoch;
    return !w.wrong && epoch <= w.epoch && epoch >= least && memcmp(w.got, w.rows[epoch], sizeof(w.got)) == 0;
}

/* Newest epoch that the manifests know as durable. */
static uint64_t manifest_knows(void)
{
    uint64_t most = 0;
    for (unsigned i = 0; i < w.final.count; i++) {
        const struct file *file = &w.final.files[i];
        if (strncmp(file->name, "manifest-", 9) == 0 && load_le64(file->bytes + 64) > most) most = load_le64(file->bytes + 64);
    }
    return most;
}

/* Opens what the case left in the directory, and wants an epoch no less than `least`. */
static void judge(uint64_t least)
{
    enum weir_status st = world_open();
    if (st == WEIR_CORRUPT || st == WEIR_NEWER) {
        if (!text_is_good(w.error) && st != WEIR_NEWER) wrong("the text does not say what is lost");
        counts[0]++;
    } else if (st != WEIR_OK) {
        wrong("neither refused nor opened");
    } else if (!state_is(least)) {
        wrong("a wrong state");
    } else {
        uint64_t epoch = w.recovery.durable_epoch;
        counts[epoch == w.epoch ? 1 : 2]++;
        world_leave();
        if (world_open() != WEIR_OK || w.recovery.durable_epoch != epoch || !state_is(epoch)) wrong("opened twice, it differs");
    }
    world_leave();
    folder_borrow(&w.disk.now, &w.final);
}

/* ---- the ways to damage ---- */

enum kind { FLIP, CUT, ZERO, SWAP, STALE, GONE, OLD_MANIFEST, OLD_FILE, KINDS };
static const char *const kind_names[] = { "flip", "cut", "zero", "swap", "stale", "gone", "old-manifest", "old-file" };

static bool is_data(const char *name)
{
    return strncmp(name, "log-", 4) == 0 || strncmp(name, "checkpoint-", 11) == 0 || strncmp(name, "manifest-", 9) == 0;
}

/* Puts the file as it was then in the place of the one of that name; false if there was none, or it was the same. */
static bool put_old(const struct folder *then, const char *from, const char *name)
{
    struct folder *past = mem_alloc(sizeof(*past));
    *past = *then;
    struct file *old = file_find(past, from), *now = file_find(&w.disk.now, name);
    bool differs = old != NULL && now != NULL && (old->len != now->len || memcmp(old->bytes, now->bytes, old->len) != 0);
    if (differs) {
        if (!now->borrowed) mem_free(now->bytes);
        now->bytes = old->bytes;
        now->len = old->len;
        now->borrowed = true;
    }
    mem_free(past);
    return differs;
}

/* Does the damage; false if there is nothing to do there. */
static bool damage(enum kind kind, unsigned number, uint64_t at, unsigned bit)
{
    struct file *file = &w.disk.now.files[number];
    size_t size = file->len;
    switch (kind) {
    case FLIP:
        if (at >= size) return false;
        file_own(file, size);
        file->bytes[at] ^= (char)(1 << bit);
        return true;
    case CUT:
        if (at >= size) return false;
        file_own(file, size);
        file->len = at;
        return true;
    case ZERO:
        if (at >= size) return false;
        file_own(file, size);
        memset(file->bytes + at, 0, size - at < BLOCK ? size - at : BLOCK);
        return true;
    case SWAP: { /* with the block that lies `bit` + 1 behind it */
        uint64_t other = at + (bit + 1) * BLOCK;
        char kept[BLOCK];
        if (other + BLOCK > size) return false;
        file_own(file, size);
        memcpy(kept, file->bytes + at, BLOCK);
        memcpy(file->bytes + at, file->bytes + other, BLOCK);
        memcpy(file->bytes + other, kept, BLOCK);
        return true;
    }
    case STALE: { /* the block as it was at time `bit` */
        if (bit >= w.then_count || at >= size) return false;
        const struct file *old = file_find(&w.then[bit], file->name);
        if (old == NULL || at >= old->len) return false;
        size_t len = old->len - at < BLOCK ? old->len - at : BLOCK;
        if (at + len > size) return false;
        file_own(file, size);
        memcpy(file->bytes + at, old->bytes + at, len);
        return true;
    }
    case GONE: file->name[0] = '\0'; return true;
    case OLD_MANIFEST: /* both, or one of them */
        if (number > 2 || at >= w.then_count) return false;
    {
        bool a = number != 0 && put_old(&w.then[at], "manifest-a", "manifest-a");
        bool b = number != 1 && put_old(&w.then[at], "manifest-b", "manifest-b");
        return a || b;
    }
    case OLD_FILE: { /* a file of an earlier time in this one's place, whatever its name was */
        if (bit >= w.then_count || at >= w.then[bit].count) return false;
        const char *from = w.then[bit].files[at].name;
        return is_data(from) && strncmp(from, file->name, 4) == 0 && put_old(&w.then[bit], from, file->name);
    }
    case KINDS: break;
    }
    return false;
}

static uint64_t cases;

static void one(enum kind kind, unsigned number, uint64_t at, unsigned bit)
{
    if (kind == OLD_MANIFEST)
        snprintf(current, sizeof(current), "%s %s at time %llu (--case %u,%u,%llu,%u)", kind_names[kind],
                 number == 2 ? "both" : number == 1 ? "b" : "a", (unsigned long long)at, kind, number, (unsigned long long)at, bit);
    else
        snprintf(current, sizeof(current), "%s %s at %llu, %u (--case %u,%u,%llu,%u)", kind_names[kind],
                 w.disk.now.files[number].name, (unsigned long long)at, bit, kind, number, (unsigned long long)at, bit);
    if (!damage(kind, number, at, bit)) {
        folder_borrow(&w.disk.now, &w.final);
        return;
    }
    disk_settle(&w.disk);
    cases++;
    /* A block holds several small frames: after an unclean stop the last ones may be gone without a witness, but what is
     * left is whole, and no less than the manifest knows. */
    if (w.clean) judge(w.epoch);
    else judge(kind == FLIP || kind == CUT ? w.epoch - 1 : manifest_knows());
}

static void crashed(int number)
{
    static const char text[] = "FAIL crashed in: ";
    ssize_t put = write(1, text, sizeof(text) - 1);
    put += write(1, current, strlen(current));
    put += write(1, "\n", 1);
    _exit(put > 0 ? 1 : 2);
}

struct options {
    uint64_t seed, stride, bits;
    bool unclean, one;
    unsigned kind, number, bit;
    uint64_t at;
};

static void sweep(const struct options *o, enum kind kind)
{
    uint64_t before[3] = { counts[0], counts[1], counts[2] }, had = cases;
    static const unsigned bits[KINDS] = { 8, 1, 1, 4, 24, 1, 1, 24 };
    static const uint64_t steps[KINDS] = { 1, 1, BLOCK, BLOCK, BLOCK, UINT64_MAX, 1, 1 };
    for (unsigned number = 0; number < w.final.count; number++) {
        if (kind != OLD_MANIFEST && !is_data(w.final.files[number].name)) continue;
        uint64_t end = kind == OLD_MANIFEST || kind == OLD_FILE ? FILES : w.final.files[number].len;
        uint64_t step = steps[kind] == 1 && kind <= CUT ? o->stride : steps[kind];
        for (uint64_t at = step == o->stride ? (o->seed + number) % step : 0; at < end; at = step > end ? end : at + step) {
            if (kind != FLIP || o->bits == 8) {
                for (unsigned bit = 0; bit < bits[kind]; bit++) one(kind, number, at, bit);
            } else {
                for (unsigned n = 0; n < o->bits; n++)
                    one(kind, number, at, (unsigned)(hash64(o->seed + n, &at, sizeof(at)) % 8));
            }
        }
    }
    printf("  %-12s %8llu: %llu refused, %llu changed nothing, %llu cut the end\n", kind_names[kind],
           (unsigned long long)(cases - had), (unsigned long long)(counts[0] - before[0]),
           (unsigned long long)(counts[1] - before[1]), (unsigned long long)(counts[2] - before[2]));
}

static bool options_read(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--unclean") == 0) {
            o->unclean = true;
            continue;
        }
        if (i + 1 == argc) return false;
        char *end, *value = argv[++i];
        if (strcmp(argv[i - 1], "--seed") == 0) o->seed = strtoull(value, &end, 10);
        else if (strcmp(argv[i - 1], "--stride") == 0) o->stride = strtoull(value, &end, 10);
        else if (strcmp(argv[i - 1], "--bits") == 0) o->bits = strtoull(value, &end, 10);
        else if (strcmp(argv[i - 1], "--case") == 0) {
            unsigned long long at;
            o->one = sscanf(value, "%u,%u,%llu,%u", &o->kind, &o->number, &at, &o->bit) == 4 && o->kind < KINDS;
            o->at = at;
            if (!o->one) return false;
        } else return false;
    }
    return o->stride > 0 && o->bits > 0 && o->bits <= 8;
}

static uint64_t bytes_used(void)
{
    uint64_t used = 0;
    for (unsigned i = 0; i < w.final.count; i++) {
        size_t len = w.final.files[i].len;
        if (!is_data(w.final.files[i].name)) continue;
        while (len > 0 && w.final.files[i].bytes[len - 1] == 0) len--;
        used += len;
    }
    return used;
}

int main(int argc, char **argv)
{
    struct options o = { .seed = 1, .stride = 1, .bits = 1 };
    if (!options_read(&o, argc, argv)) {
        fprintf(stderr, "usage: damage [--seed N] [--stride N] [--bits 1..8] [--unclean] [--case KIND,FILE,AT,BIT]\n");
        return 64;
    }
    signal(SIGSEGV, crashed);
    signal(SIGABRT, crashed);
    signal(SIGBUS, crashed);
    world_make(o.seed, !o.unclean);
    folder_borrow(&w.disk.now, &w.final);
    snprintf(current, sizeof(current), "no damage");
    judge(w.epoch);
    if (counts[1] != 1) wrong("the directory does not open as it is");
    printf("damage: seed %llu, %s stop, %llu bytes used in %u files\n", (unsigned long long)o.seed,
           o.unclean ? "unclean" : "clean", (unsigned long long)bytes_used(), w.final.count);
    if (o.one) one((enum kind)o.kind, o.number, o.at, o.bit);
    for (unsigned kind = 0; kind < KINDS && !o.one && failures < 20; kind++) sweep(&o, (enum kind)kind);
    /* What was never refused and never harmless was never damaged. */
    if (!o.one && (counts[0] < cases / 20 || counts[1] == 0)) wrong("vacuous");
    printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long)(cases - (failures < cases ? failures : cases)),
           (unsigned long long)failures);
    return failures ? 1 : 0;
}
