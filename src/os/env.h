/*
 * env.h - the one table of calls through which everything outside the process is reached.
 *
 * Time, randomness, files, sockets, threads and wake-ups. env_real() gives the kernel's; the simulator
 * (sim.h) gives a seeded world in which all actors run on one thread, the disk forgets or tears what was
 * not synced, and the clock is moved by hand. Nothing else may call the kernel (tools/check_style).
 *
 * Results are >= 0, or a negative errno. File calls may block: only the log writer, start and stop use
 * them. Names are relative to a directory handle; files are created 0600, directories 0700, links refused
 * but with ENV_FOLLOW.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_ENV_H
#define WEIR_OS_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum env_open {
    ENV_READ = 0,
    ENV_WRITE = 1,
    ENV_CREATE = 2,
    ENV_EXCLUSIVE = 4,
    ENV_FOLLOW = 8, /* for what the system installs: half of its time zones are links */
    /* Past the page cache, where the file system has that: what is read and written through this handle are whole blocks at
     * their places, from and to memory that begins on one. */
    ENV_DIRECT = 16
};
#define ENV_BLOCK_BYTES 4096u /* of ENV_DIRECT; no less than any disk's in use */
#define ENV_NEVER UINT64_MAX
#define ENV_NAME_MAX 64

/*
 * Something that runs by turns: a thread of the real world, an entry of the simulator's scheduler.
 * `turn` does what there is to do and returns when it wants to run next: 0 at once, ENV_NEVER only when
 * woken, else a mono_ns time. A wake that comes during or after a turn is never lost: it starts another.
 */
struct actor {
    const char *name;
    uint64_t (*turn)(void *self);
    void *self;
    void *handle; /* env's */
    bool helps;   /* see actor_pass */
    bool sockets; /* reads and writes many at once: see sock_calls */
    bool prompt;  /* its turns are short and others wait for them: see place.h */
};

/* What a poll found. */
struct env_event {
    void *user;
    bool readable, writable, broken;
};

/* One call on a socket, of several that are made together. */
struct env_sock_call {
    int fd;
    bool sends; /* or receives */
    void *bytes;
    size_t len;
    int64_t done; /* what recv() or send() would have returned */
};
/* So many go to the kernel at once. Many kernels are not stopped within a call: who waits for the processor meanwhile, as the log
 * writer does between writing and syncing, waits for all of them. */
#define ENV_SOCK_CALLS_MAX 16

struct env {
    void *self;
    /* The simulator's: an actor may end its turn between what it loads and what it does with that, as a thread
     * may be stopped there. */
    bool cuts_turns;
    /* The simulator's: true now and then, so that a rare branch is taken on purpose. NULL in the real world: ask by
     * ENV_CHANCE(), and not in inner loops. The name is a literal: points of one name share one fate. */
    bool (*chance)(struct env *env, const char *name);
    /* time and randomness */
    uint64_t (*mono_ns)(struct env *env);
    int64_t (*wall_ms)(struct env *env);
    uint64_t (*random)(struct env *env);        /* secure in the real world */
    uint64_t (*thread_cpu_ns)(struct env *env); /* CPU time of the calling thread */
    /* files */
    /* A handle, or -errno. `create`: it is ours, made 0700 when absent; -EPERM when it belongs to another user or
     * may be written by everybody. */
    int (*dir_open)(struct env *env, const char *path, bool create);
    void (*dir_close)(struct env *env, int dir);
    int (*dir_lock)(struct env *env, int dir); /* flock on the file "lock"; -EWOULDBLOCK if held */
    int (*dir_sync)(struct env *env, int dir);
    /* Calls `each` for every plain file, in name order. */
    int (*dir_list)(struct env *env, int dir, void (*each)(void *arg, const char *name), void *arg);
    int64_t (*dir_free_bytes)(struct env *env, int dir);
    int (*open)(struct env *env, int dir, const char *name, int flags);
    void (*close)(struct env *env, int fd);
    int64_t (*read)(struct env *env, int fd, void *bytes, size_t len,
                    uint64_t offset); /* short at end */
    int64_t (*write)(struct env *env, int fd, const void *bytes, size_t len,
                     uint64_t offset);    /* all, or -errno */
    int (*sync)(struct env *env, int fd); /* data and what is needed to find it */
    /* A hint: what was written there will be synced, and may be on its way already. Waits for nothing. */
    void (*sync_begin)(struct env *env, int fd, uint64_t offset, uint64_t len);
    int64_t (*size)(struct env *env, int fd);
    int (*truncate)(struct env *env, int fd, uint64_t len);
    int (*rename)(struct env *env, int dir, const char *from, const char *to);
    int (*unlink)(struct env *env, int dir, const char *name);
    /* actors */
    int (*actor_start)(struct env *env, struct actor *actor);
    void (*actor_wake)(struct env *env,
                       struct actor *actor); /* from any thread; cheap when awake */
    /* As actor_wake; an actor that `helps` and has nothing else to do when its own turn is over may run the turn itself,
     * on its thread: no thread needs to be woken for it. */
    void (*actor_pass)(struct env *env, struct actor *actor);
    void (*actor_stop)(struct env *env, struct actor *actor); /* after its current turn; joins */
    /* sockets: non-blocking TCP. A poller belongs to one actor; env_wake on that actor ends its poll. */
    int (*listen)(struct env *env, const char *host, int port);
    int (*local_port)(struct env *env, int fd);
    int (*accept)(struct env *env, int fd);                            /* -EAGAIN when none */
    int64_t (*recv)(struct env *env, int fd, void *bytes, size_t len); /* 0: peer closed */
    int64_t (*send)(struct env *env, int fd, const void *bytes, size_t len);
    /* Inside the turn of an actor that has `sockets`: makes the calls in their order, see batch.h. False: each is made
     * alone. */
    bool (*sock_calls)(struct env *env, struct actor *actor, struct env_sock_call *calls,
                       int count);
    void (*sock_close)(struct env *env, int fd);
    int (*poll_add)(struct env *env, struct actor *actor, int fd, void *user, bool write);
    int (*poll_change)(struct env *env, struct actor *actor, int fd, void *user, bool read,
                       bool write);
    void (*poll_remove)(struct env *env, struct actor *actor, int fd);
    /* Inside the actor's turn: waits until an event, a wake or `until_ns`; returns the count. */
    int (*poll_wait)(struct env *env, struct actor *actor, struct env_event *events, int max,
                     uint64_t until_ns);
};

#define ENV_CHANCE(env, name)                                                                      \
    (__builtin_expect((env)->chance != NULL, 0) && (env)->chance(env, name))

/** The kernel's. One per process. */
struct env *env_real(void);

#endif
