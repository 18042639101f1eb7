/*
 * server.h - Weir as a program: run an application, check one, test one. Ties all rooms together.
 *
 * Each call returns the exit code of the process:
 *   0 done; 1 the application failed its check or its tests; 64 usage; 65 the data is damaged or newer;
 *   70 an assertion failed; 73 the data directory is in use; 74 input/output error; 78 bad application,
 *   address or option; 130 stopped by a second signal.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_SERVER_SERVER_H
#define WEIR_SERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SERVER_EXIT_OK 0
#define SERVER_EXIT_FAILED 1
#define SERVER_EXIT_USAGE 64
#define SERVER_EXIT_CORRUPT 65
#define SERVER_EXIT_UNREACHABLE 69
#define SERVER_EXIT_LOCKED 73
#define SERVER_EXIT_IO 74
#define SERVER_EXIT_CONFIG 78
#define SERVER_EXIT_FORCED 130

struct server_options {
    const char *const *files; /* applications: .lua and .so */
    unsigned file_count;
    const char *data;      /* data directory */
    const char *http_host; /* NULL: no HTTP door */
    int http_port;         /* 0: any free one */
    const char *resp_host; /* NULL: no RESP door */
    int resp_port;
    uint32_t shards, threads;    /* 0: by the processors of this machine */
    const char *const *settings; /* "name=value", NULL-terminated; may be NULL */
    const char *const *limits;   /* "name=number", NULL-terminated; may be NULL */
    const char *conflict_policy; /* its word, as core/engine.h has it; NULL: wound_wait */
    const char *io_processor;    /* of doors and log: its number, "none" or "auto"; NULL: auto */
    const char *users,
        *password_file;       /* files; NULL: none. Both NULL: every caller is the operator */
    bool insecure_bind;       /* other addresses than loopback, without users too */
    const char *const *hosts; /* further names in Host headers, NULL-terminated; may be NULL */
    bool trace_json;          /* trace as JSON lines instead of text */
    bool json;                /* start-up report as one JSON line */
    FILE *out, *err;
};

/** Serves until SIGTERM, SIGINT or SIGHUP. */
int server_run(const struct server_options *options);

/** Reports every mistake found in the application without starting it, and with `data` set whether the
 *  data opens. Of the options: files, settings, data (NULL: not looked at), json, out, err. */
int server_check(const struct server_options *options);

struct server_graph_options {
    const char *const *files;
    unsigned file_count;
    const char *const *settings; /* "name=value", NULL-terminated; may be NULL */
    const char *format;          /* "text", "dot", "svg" or "json" */
    FILE *out, *err;
};
/** Writes the dataflow of the application, without starting it. */
int server_graph(const struct server_graph_options *options);

struct server_test_options {
    const char *file;
    const char *only; /* NULL: all cases */
    uint64_t seed;    /* 0: a random one, printed when a case fails */
    bool json;
    FILE *out, *err;
};
/** Runs a test file against the engine in the simulator. */
int server_test(const struct server_test_options *options);

struct server_user_options {
    const char *file;
    const char *name;
    const char *const *roles; /* NULL-terminated; may be NULL */
    bool remove;
    bool json;
    FILE *out, *err;
};
/** Adds a user and prints the token, or removes one. */
int server_user_change(const struct server_user_options *options);
int server_user_list(const struct server_user_options *options);

/** Prints the limits that --limit sets: name, default, meaning. */
void server_limits_print(FILE *out);

#endif
