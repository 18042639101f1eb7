/*
 * real.c - the kernel's env: Linux files, threads, epoll and clocks.
 *
 * An actor is a thread with a word that is AWAKE, ASLEEP, ASLEEP_IN_POLL or LENT, and may be WOKEN beside that. A wake
 * sets WOKEN and calls the kernel only when it was asleep: one atomic operation for an actor that runs. The thread
 * goes to sleep by compare-and-exchange from AWAKE, so a wake since the turn began makes it turn again;
 * it is AWAKE only from the exchange before a turn, which makes all that the wakers wrote visible.
 *
 * Passing (actor_pass): the one who wakes an actor that sleeps only sets WOKEN, and notes that he owes it a turn. When his own turn
 * is over and he has nothing to do, he takes the sleeper's word from ASLEEP to LENT, runs its turns on his own thread, and
 * puts the word back; its thread sleeps on and never knows. With something to do, he wakes it after all. A thread
 * leaves its sleep by compare-and-exchange only, so never while its turn is LENT. Turns that take long, or that somebody
 * waited for, are the thread's own again for a hundred times as long: who lends stands still for one part in a hundred at
 * most.
 *
 * Handles of stopped actors are kept for the next ones and never freed: a late wake finds a thread that
 * is gone, not freed memory or someone else's file descriptor.
 * SPDX-License-Identifier: MIT
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/env.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "os/batch.h"
#include "os/clock.h"
#include "os/place.h"

#define NS_PER_S 1000000000u
#define EVENTS_MAX 128
#define LISTEN_BACKLOG 1024
/* Turns on another's thread: its own goes on after so long; who waits no longer for them than a wake costs has lost nothing;
 * where somebody did, or they took so long, the next one is so many times as long away. */
#define LOAN_NS_MAX 1000000u
#define LOAN_NS_FREE 50000u
#define LOAN_NS_LONG 5000000u /* longer than the kernel mostly takes a processor away for */
#define LOAN_REST 100u

/* AWAKE is none of them; WOKEN comes beside the others. */
enum handle_word { AWAKE = 0, WOKEN = 1, ASLEEP = 2, ASLEEP_IN_POLL = 4, LENT = 8 };

struct handle {
    _Alignas(64) _Atomic uint32_t word; /* enum handle_word; the futex */
    _Atomic bool stopping;
    _Atomic bool waits_back;  /* its thread waits until it is LENT no more */
    _Atomic uint64_t rest_ns; /* it is not lent before */
    bool started;
    struct actor *actor;
    pthread_t thread;
    uint64_t until_ns;     /* its thread sleeps until then; whoever has it LENT may read it */
    struct handle *passed; /* its thread's own: the one whose turn it owes, or a wake */
    struct handle *lent;   /* likewise: the one whose loan was the longest of the last ones; ... */
    uint64_t lent_ns;      /* ... that long */
    _Atomic int epoll_fd;  /* -1 until something is polled */
    struct batch *batch;   /* of sockets; NULL: none yet, or none to be had */
    int event_fd;          /* in the epoll set, edge-triggered: it is written and never read */
    struct handle *next;
};

/* The lock of an open directory. */
struct dir_lock {
    int dir;
    int fd;
    struct dir_lock *next;
};

/* Guarded by `guard`: handles waiting for another actor, and held locks. There is one kernel. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static struct handle *handles_idle;
static struct dir_lock *dir_locks;

/* ---- time and randomness ---- */

static uint64_t real_mono_ns(struct env *env)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static int64_t real_wall_ms(struct env *env)
{
    return (int64_t)(clock_ns(CLOCK_REALTIME) / 1000000);
}

static uint64_t real_thread_cpu_ns(struct env *env)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t real_random(struct env *env)
{
    /* of each thread, so that a number costs no kernel call and no lock; used numbers are wiped */
    static _Thread_local uint64_t pool[512];
    static _Thread_local unsigned left;
    if (left == 0) {
        size_t filled = 0;
        while (filled < sizeof(pool)) { /* a signal may cut it short beyond 256 bytes */
            ssize_t got = getrandom((char *)pool + filled, sizeof(pool) - filled, 0);
            ASSERT(got > 0 || errno == EINTR);
            if (got > 0) filled += (size_t)got;
        }
        left = sizeof(pool) / sizeof(pool[0]);
    }
    uint64_t n = pool[--left];
    pool[left] = 0;
    return n;
}

/* ---- directories ---- */

/* A directory of ours holds what nobody else may read or exchange: -EPERM when somebody else could. */
static int dir_is_safe(int dir)
{
    struct stat found;
    if (fstat(dir, &found)) return -errno;
    return found.st_uid != geteuid() || found.st_mode & S_IWOTH ? -EPERM : 0;
}

static int real_dir_open(struct env *env, const char *path, bool create)
{
    bool made = create && mkdir(path, 0700) == 0;
    if (made && chmod(path, 0700)) return -errno; /* whatever the umask left of it */
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) return -errno;
    int unsafe = create ? dir_is_safe(dir) : 0;
    if (unsafe) {
        close(dir);
        return unsafe;
    }
    if (!made) return dir;
    /* a new directory is found again after a crash only if its parent is synced */
    int parent = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = parent < 0 || fsync(parent) ? errno : 0;
    if (parent >= 0) close(parent);
    if (!failed) return dir;
    close(dir);
    return -failed;
}

static void real_dir_close(struct env *env, int dir)
{
    pthread_mutex_lock(&guard);
    for (struct dir_lock **link = &dir_locks; *link;) {
        struct dir_lock *lock = *link;
        if (lock->dir != dir) {
            link = &lock->next;
            continue;
        }
        *link = lock->next;
        close(lock->fd);
        mem_free(lock);
    }
    pthread_mutex_unlock(&guard);
    close(dir);
}

/* A plain file, never through a link. What is created is 0600, whatever the umask. */
static int file_open(int dir, const char *name, int mode)
{
    int fd = openat(dir, name, mode | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    if (!(mode & O_CREAT) || fchmod(fd, 0600) == 0) return fd;
    int failed = errno;
    close(fd);
    return -failed;
}

static int real_dir_lock(struct env *env, int dir)
{
    int fd = file_open(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW);
    if (fd < 0) return fd;
    if (flock(fd, LOCK_EX | LOCK_NB)) {
        int failed = errno;
        close(fd);
        return -failed;
    }
    struct dir_lock *lock = mem_alloc(sizeof(*lock));
    lock->dir = dir;
    lock->fd = fd;
    pthread_mutex_lock(&guard);
    lock->next = dir_locks;
    dir_locks = lock;
    pthread_mutex_unlock(&guard);
    return 0;
}

static int real_dir_sync(struct env *env, int dir)
{
    return fsync(dir) ? -errno : 0;
}

static bool entry_is_file(int dir, const struct dirent *entry)
{
    struct stat found;
    if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_REG;
    return fstatat(dir, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(found.st_mode);
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Names of ENV_NAME_MAX bytes and more are nobody's of ours and are left out. */
static int real_dir_list(struct env *env, int dir, void (*each)(void *arg, const char *name),
                         void *arg)
{
    struct buf names = { 0 };
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        int failed = errno;
        if (fd >= 0) close(fd);
        return -failed;
    }
    struct dirent *entry;
    while ((errno = 0, entry = readdir(stream))) {
        char name[ENV_NAME_MAX] = { 0 };
        size_t len = strlen(entry->d_name);
        if (len >= sizeof(name) || !entry_is_file(dir, entry)) continue;
        memcpy(name, entry->d_name, len);
        buf_add(&names, name, sizeof(name));
    }
    int failed = errno;
    closedir(stream);
    if (!failed && names.len) {
        qsort(names.ptr, names.len / ENV_NAME_MAX, ENV_NAME_MAX, name_cmp);
        for (size_t at = 0; at < names.len; at += ENV_NAME_MAX) each(arg, names.ptr + at);
    }
    buf_free(&names);
    return -failed;
}

static int64_t real_dir_free_bytes(struct env *env, int dir)
{
    struct statvfs found;
    if (fstatvfs(dir, &found)) return -errno;
    return (int64_t)(found.f_bavail * found.f_frsize);
}

/* ---- files ---- */

static int real_open(struct env *env, int dir, const char *name, int flags)
{
    int mode = flags & ENV_WRITE ? O_RDWR : O_RDONLY;
    if (!(flags & ENV_FOLLOW)) mode |= O_NOFOLLOW;
    if (flags & ENV_CREATE) mode |= O_CREAT;
    if (flags & ENV_EXCLUSIVE) mode |= O_EXCL;
    int fd = file_open(dir, name, flags & ENV_DIRECT ? mode | O_DIRECT : mode);
    return fd == -EINVAL && (flags & ENV_DIRECT) ? file_open(dir, name, mode) : fd;
}

/* A file system may take O_DIRECT and refuse the write, as do all of them where a limit of the file's size ends within a
 * block: from then on through the page cache. */
static bool direct_end(int fd)
{
    int mode = fcntl(fd, F_GETFL);
    return mode >= 0 && (mode & O_DIRECT) && fcntl(fd, F_SETFL, mode & ~O_DIRECT) == 0;
}

static bool io_again(int fd)
{
    return errno == EINTR || (errno == EINVAL && direct_end(fd));
}

static void real_close(struct env *env, int fd)
{
    close(fd);
}

static int64_t real_read(struct env *env, int fd, void *bytes, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        ssize_t got = pread(fd, (char *)bytes + done, len - done, (off_t)(offset + done));
        if (got < 0 && io_again(fd)) continue;
        if (got < 0) return -errno;
        if (got == 0) break;
        done += (size_t)got;
    }
    return (int64_t)done;
}

static int64_t real_write(struct env *env, int fd, const void *bytes, size_t len, uint64_t offset)
{
    size_t done = 0;
    while (done < len) {
        ssize_t put = pwrite(fd, (const char *)bytes + done, len - done, (off_t)(offset + done));
        if (put < 0 && io_again(fd)) continue;
        if (put < 0) return -errno;
        done += (size_t)put;
    }
    return (int64_t)done;
}

static int real_sync(struct env *env, int fd)
{
    return fdatasync(fd) ? -errno : 0;
}

static void real_sync_begin(struct env *env, int fd, uint64_t offset, uint64_t len)
{
    (void)sync_file_range(fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

static int64_t real_size(struct env *env, int fd)
{
    struct stat found;
    return fstat(fd, &found) ? -errno : (int64_t)found.st_size;
}

static int real_truncate(struct env *env, int fd, uint64_t len)
{
    int rc;
    do rc = ftruncate(fd, (off_t)len);
    while (rc && errno == EINTR);
    return rc ? -errno : 0;
}

static int real_rename(struct env *env, int dir, const char *from, const char *to)
{
    return renameat(dir, from, dir, to) ? -errno : 0;
}

static int real_unlink(struct env *env, int dir, const char *name)
{
    return unlinkat(dir, name, 0) ? -errno : 0;
}

/* ---- actors ---- */

static struct handle *handle_find(struct actor *actor)
{
    return __atomic_load_n(&actor->handle, __ATOMIC_ACQUIRE);
}

static struct handle *handle_get(struct actor *actor)
{
    struct handle *handle = handle_find(actor);
    if (handle && handle->actor == actor) return handle;
    pthread_mutex_lock(&guard);
    handle = handles_idle;
    if (handle) handles_idle = handle->next;
    pthread_mutex_unlock(&guard);
    if (!handle) {
        handle = mem_alloc(sizeof(*handle) < 256 ? 256 : sizeof(*handle));
        handle->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        handle->epoll_fd = -1;
    }
    handle->actor = actor;
    handle->next = NULL;
    atomic_store(&handle->rest_ns, 0);
    __atomic_store_n(&actor->handle, (void *)handle, __ATOMIC_RELEASE);
    return handle;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };
}

static void word_wake(struct handle *handle)
{
    syscall(SYS_futex, &handle->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void handle_sleep(struct handle *handle, uint64_t until_ns)
{
    uint32_t word = AWAKE;
    struct timespec until = timespec_of(until_ns);
    bool late = false;
    handle->until_ns = until_ns;
    if (!atomic_compare_exchange_strong(&handle->word, &word, ASLEEP)) return;
    for (;;) {
        word = atomic_load(&handle->word);
        if (word & LENT) {
            atomic_store(&handle->waits_back, true);
            if (atomic_load(&handle->word) & LENT)
                syscall(SYS_futex, &handle->word, FUTEX_WAIT_BITSET_PRIVATE, word, NULL, NULL,
                        FUTEX_BITSET_MATCH_ANY);
            continue;
        }
        if (((word & WOKEN) || late) && atomic_compare_exchange_strong(&handle->word, &word, AWAKE))
            break;
        if (word != ASLEEP) continue;
        long rc = syscall(SYS_futex, &handle->word, FUTEX_WAIT_BITSET_PRIVATE, ASLEEP,
                          until_ns == ENV_NEVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
        late = rc && errno == ETIMEDOUT;
    }
    atomic_store(&handle->waits_back, false);
}

/* ---- turns on another's thread ---- */

static _Thread_local struct handle *here;

static void handle_rest(struct handle *handle, uint64_t now, uint64_t took)
{
    atomic_store(&handle->rest_ns, now + took * LOAN_REST);
}

/* The sleeper is WOKEN, and nobody told its thread: runs its turns, or does tell. Returns how long they took. */
static uint64_t handle_lend(struct handle *to)
{
    uint32_t word = ASLEEP | WOKEN;
    uint64_t begin = clock_ns(CLOCK_MONOTONIC), took = 0;
    bool back = false, stop = false;
    if (begin < atomic_load(&to->rest_ns)) {
        word_wake(to);
        return 0;
    }
    if (!atomic_compare_exchange_strong(&to->word, &word, LENT)) return 0; /* awake already */
    while (!stop && !back) {
        atomic_fetch_and(&to->word, ~(uint32_t)WOKEN);
        uint64_t at = to->actor->turn(to->actor->self);
        took = clock_ns(CLOCK_MONOTONIC) - begin;
        stop = atomic_load(&to->stopping) || took > LOAN_NS_MAX;
        /* who asked before it may wait although nothing comes; and without sockets it is not known who does */
        if (took > LOAN_NS_LONG || (stop && here->epoll_fd < 0)) handle_rest(to, begin, took);
        if (at == 0) continue;
        if (at < to->until_ns) break; /* earlier than its thread sleeps */
        word = LENT;
        back = atomic_compare_exchange_strong(&to->word, &word, ASLEEP); /* else WOKEN meanwhile */
    }
    if (back && !atomic_load(&to->waits_back)) return took;
    if (!back) atomic_store(&to->word, ASLEEP | WOKEN);
    word_wake(to);
    return took;
}

/* What it owes: by a wake, or when there is nothing else to do, by doing it. */
static void passed_settle(struct handle *handle, bool idle)
{
    handle->lent_ns = 0;
    while (handle->passed) {
        struct handle *to = handle->passed;
        handle->passed = NULL;
        uint64_t took = 0;
        if (idle) took = handle_lend(to);
        else word_wake(to);
        if (took <= handle->lent_ns) continue;
        handle->lent = to;
        handle->lent_ns = took;
    }
}

static void *handle_main(void *arg)
{
    struct handle *handle = arg;
    char name[16] = { 0 };
    here = handle;
    if (handle->actor->name) {
        snprintf(name, sizeof(name), "%s", handle->actor->name);
        pthread_setname_np(pthread_self(), name);
    }
    if (handle->actor->prompt) place_enter();
    if (handle->actor->sockets) handle->batch = batch_open();
    for (;;) {
        atomic_exchange(&handle->word, AWAKE);
        if (atomic_load(&handle->stopping)) {
            passed_settle(handle, false);
            if (handle->actor->prompt) place_leave();
            return NULL;
        }
        uint64_t at = handle->actor->turn(handle->actor->self);
        if (handle->passed && (at || handle->epoll_fd < 0)) passed_settle(handle, at != 0);
        if (at) handle_sleep(handle, at);
    }
}

static int real_actor_start(struct env *env, struct actor *actor)
{
    /* SIGXFSZ comes to the thread that writes: blocked, its write answers EFBIG instead */
    static const int process_signals[] = { SIGINT,  SIGTERM, SIGHUP, SIGQUIT,
                                           SIGUSR1, SIGUSR2, SIGXFSZ };
    struct handle *handle = handle_get(actor);
    sigset_t blocked, before;
    if (handle->event_fd < 0) return -EMFILE;
    ASSERT(!handle->started);
    atomic_store(&handle->stopping, false);
    /* signals meant for the process stay with the thread that waits for them */
    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof(process_signals) / sizeof(process_signals[0]); i++)
        sigaddset(&blocked, process_signals[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    int failed = pthread_create(&handle->thread, NULL, handle_main, handle);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    handle->started = !failed;
    return -failed;
}

static void handle_wake(struct handle *handle)
{
    uint32_t before = atomic_fetch_or(&handle->word, WOKEN);
    if (before == ASLEEP) {
        word_wake(handle);
    } else if (before == ASLEEP_IN_POLL) {
        uint64_t one = 1;
        /* cannot fail but by a full counter, and then the edge is there already */
        ssize_t put = write(handle->event_fd, &one, sizeof(one));
        (void)put;
    }
}

static void real_actor_wake(struct env *env, struct actor *actor)
{
    struct handle *handle = handle_find(actor);
    /* not started yet: it will begin with a turn anyway */
    if (handle) handle_wake(handle);
}

static void real_actor_pass(struct env *env, struct actor *actor)
{
    struct handle *handle = handle_find(actor);
    uint32_t word = ASLEEP;
    if (!handle) return;
    /* one that polls does so on its own thread */
    if (here && here->actor->helps && !here->passed && handle->epoll_fd < 0 &&
        atomic_compare_exchange_strong(&handle->word, &word, ASLEEP | WOKEN))
        here->passed = handle;
    else handle_wake(handle);
}

static void real_actor_stop(struct env *env, struct actor *actor)
{
    struct handle *handle = handle_find(actor);
    if (!handle || handle->actor != actor) return;
    if (handle->started) {
        atomic_store(&handle->stopping, true);
        handle_wake(handle);
        pthread_join(handle->thread, NULL);
    }
    if (handle->epoll_fd >= 0) close(handle->epoll_fd);
    handle->epoll_fd = -1;
    batch_close(handle->batch);
    handle->batch = NULL;
    handle->started = false;
    handle->actor = NULL;
    pthread_mutex_lock(&guard);
    handle->next = handles_idle;
    handles_idle = handle;
    pthread_mutex_unlock(&guard);
}

/* ---- sockets ---- */

static int socket_listen(const struct addrinfo *at)
{
    int on = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        bind(fd, at->ai_addr, at->ai_addrlen) || listen(fd, LISTEN_BACKLOG)) {
        int failed = errno;
        close(fd);
        return -failed;
    }
    return fd;
}

/* No names but "localhost" are looked up: a resolver may block, and may be someone else's. */
static int real_listen(struct env *env, const char *host, int port)
{
    char service[16];
    struct addrinfo *found = NULL;
    struct addrinfo hints = { .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    if (port < 0 || port > 65535) return -EINVAL;
    snprintf(service, sizeof(service), "%d", port);
    if (!host || strcmp(host, "localhost") == 0) host = "127.0.0.1";
    int failed = getaddrinfo(host, service, &hints, &found);
    if (failed) return failed == EAI_MEMORY ? -ENOMEM : -EADDRNOTAVAIL;
    int fd = socket_listen(found);
    freeaddrinfo(found);
    return fd;
}

static int real_local_port(struct env *env, int fd)
{
    struct sockaddr_storage at = { 0 };
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    socklen_t len = sizeof(at);
    if (getsockname(fd, (struct sockaddr *)&at, &len)) return -errno;
    memcpy(&in4, &at, sizeof(in4));
    memcpy(&in6, &at, sizeof(in6));
    return ntohs(at.ss_family == AF_INET6 ? in6.sin6_port : in4.sin_port);
}

static int real_accept(struct env *env, int fd)
{
    int on = 1, peer;
    /* a peer that left before we came is not an error of the listener */
    do peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (peer < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (peer < 0) return -errno;
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return peer;
}

static int64_t real_recv(struct env *env, int fd, void *bytes, size_t len)
{
    return sock_recv(fd, bytes, len);
}

static int64_t real_send(struct env *env, int fd, const void *bytes, size_t len)
{
    return sock_send(fd, bytes, len);
}

static bool real_sock_calls(struct env *env, struct actor *actor, struct env_sock_call *calls,
                            int count)
{
    return batch_run(handle_find(actor)->batch, calls, count);
}

/* ---- polling ---- */

static int handle_open_poll(struct handle *handle)
{
    struct epoll_event wake = { .events = EPOLLIN | EPOLLET, .data.ptr = handle };
    if (handle->epoll_fd >= 0) return 0;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) return -errno;
    /* what an earlier actor of this handle was woken by is no edge for this one */
    uint64_t count;
    ssize_t got = read(handle->event_fd, &count, sizeof(count));
    (void)got;
    if (epoll_ctl(fd, EPOLL_CTL_ADD, handle->event_fd, &wake)) {
        int failed = errno;
        close(fd);
        return -failed;
    }
    handle->epoll_fd = fd;
    return 0;
}

static int handle_control(struct handle *handle, int what, int fd, void *user, bool readable,
                          bool writable)
{
    struct epoll_event event = { .data.ptr = user };
    event.events = (readable ? (uint32_t)EPOLLIN : 0) | (writable ? (uint32_t)EPOLLOUT : 0);
    return epoll_ctl(handle->epoll_fd, what, fd, &event) ? -errno : 0;
}

static int real_poll_add(struct env *env, struct actor *actor, int fd, void *user, bool writable)
{
    struct handle *handle = handle_get(actor);
    int rc = handle_open_poll(handle);
    if (rc < 0) return rc;
    return handle_control(handle, EPOLL_CTL_ADD, fd, user, true, writable);
}

static int real_poll_change(struct env *env, struct actor *actor, int fd, void *user, bool readable,
                            bool writable)
{
    struct handle *handle = handle_find(actor);
    if (!handle || handle->actor != actor) return -EINVAL;
    return handle_control(handle, EPOLL_CTL_MOD, fd, user, readable, writable);
}

static void real_poll_remove(struct env *env, struct actor *actor, int fd)
{
    struct handle *handle = handle_find(actor);
    /* a stopped actor polls nothing any more */
    if (!handle || handle->actor != actor || handle->epoll_fd < 0) return;
    handle_control(handle, EPOLL_CTL_DEL, fd, NULL, false, false);
}

/* Rounded up: an actor that polls until a time is not to find that it woke before. */
static int timeout_ms_of(uint64_t until_ns)
{
    if (until_ns == ENV_NEVER) return -1;
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (until_ns <= now) return 0;
    uint64_t ms = (until_ns - now + 999999) / 1000000;
    return ms > 1000000 ? 1000000 : (int)ms;
}

/* What came while another's turn was run here: then that one is not run so again for a while. */
static int poll_after_loan(struct handle *handle, struct epoll_event *found, int max)
{
    bool came = false;
    int count = epoll_wait(handle->epoll_fd, found, max, 0);
    for (int i = 0; i < count; i++) came = came || found[i].data.ptr != handle;
    if (came) handle_rest(handle->lent, clock_ns(CLOCK_MONOTONIC), handle->lent_ns);
    return count;
}

static int real_poll_wait(struct env *env, struct actor *actor, struct env_event *events, int max,
                          uint64_t until_ns)
{
    struct handle *handle = handle_get(actor);
    struct epoll_event found[EVENTS_MAX];
    uint32_t expected = AWAKE;
    int rc = handle_open_poll(handle), filled = 0, count = 0, failed = 0;
    if (rc < 0) return rc;
    if (max > EVENTS_MAX) max = EVENTS_MAX;
    int timeout = until_ns ? timeout_ms_of(until_ns) : 0;
    if (handle->passed) {
        passed_settle(handle, timeout != 0);
        if (handle->lent_ns > LOAN_NS_FREE) count = poll_after_loan(handle, found, max);
        if (timeout) timeout = timeout_ms_of(until_ns); /* it took its time */
    }
    if (count <= 0) {
        /* woken since the turn began: look at the sockets, but do not wait */
        if (timeout && !atomic_compare_exchange_strong(&handle->word, &expected, ASLEEP_IN_POLL))
            timeout = 0;
        count = epoll_wait(handle->epoll_fd, found, max, timeout);
        failed = count < 0 ? errno : 0;
        /* a wake stays noted: it starts another turn, whatever this one does about it */
        expected = ASLEEP_IN_POLL;
        atomic_compare_exchange_strong(&handle->word, &expected, AWAKE);
    }
    if (failed) return failed == EINTR ? 0 : -failed;
    for (int i = 0; i < count; i++) {
        uint32_t what = found[i].events;
        if (found[i].data.ptr == handle) continue;
        events[filled++] = (struct env_event){ .user = found[i].data.ptr,
                                               .readable = what & EPOLLIN,
                                               .writable = what & EPOLLOUT,
                                               .broken = what & (EPOLLERR | EPOLLHUP) };
    }
    return filled;
}

struct env *env_real(void)
{
    static struct env env = {
        .mono_ns = real_mono_ns,
        .wall_ms = real_wall_ms,
        .random = real_random,
        .thread_cpu_ns = real_thread_cpu_ns,
        .dir_open = real_dir_open,
        .dir_close = real_dir_close,
        .dir_lock = real_dir_lock,
        .dir_sync = real_dir_sync,
        .dir_list = real_dir_list,
        .dir_free_bytes = real_dir_free_bytes,
        .open = real_open,
        .close = real_close,
        .read = real_read,
        .write = real_write,
        .sync = real_sync,
        .sync_begin = real_sync_begin,
        .size = real_size,
        .truncate = real_truncate,
        .rename = real_rename,
        .unlink = real_unlink,
        .actor_start = real_actor_start,
        .actor_wake = real_actor_wake,
        .actor_pass = real_actor_pass,
        .actor_stop = real_actor_stop,
        .listen = real_listen,
        .local_port = real_local_port,
        .accept = real_accept,
        .recv = real_recv,
        .send = real_send,
        .sock_calls = real_sock_calls,
        .sock_close = real_close,
        .poll_add = real_poll_add,
        .poll_change = real_poll_change,
        .poll_remove = real_poll_remove,
        .poll_wait = real_poll_wait,
    };
    return &env;
}
