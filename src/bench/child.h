/*
 * child.h - a server of our own: `weir run` as another process, on a port that the kernel chooses.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_CHILD_H
#define WEIR_BENCH_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct child {
    int pid; /* 0: none */
    int port;
    uint32_t shards, threads;
    char trace[512]; /* file with what it wrote to stderr */
};

struct child_options {
    const char *program, *app;
    const char *folder;          /* its data is FOLDER/data, its trace FOLDER/trace */
    uint32_t shards, threads;    /* 0: as it chooses */
    const char *const *limits;   /* NULL-terminated; may be NULL */
    const char *const *settings; /* likewise */
    const char *conflict_policy, *io_processor; /* NULL: its own choice */
};

/** Starts it and waits until it serves. False with the reason and the end of its trace. */
bool child_start(const struct child_options *options, struct child *child, char *error,
                 size_t error_bytes);
/** Asks it to stop and waits. True if it ended well. */
bool child_stop(struct child *child);
/** A folder with all that is in it. */
void folder_remove(const char *path);
/** The last line of its trace. */
void child_last_words(const struct child *child, char *text, size_t text_bytes);

#endif
