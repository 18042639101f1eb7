/*
 * main.c - the command line: picks the verb.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "server/server.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *text;
} verbs[] = {
    { "run", verb_run, "serve an application over HTTP and RESP" },
    { "call", verb_call, "call a handler of an entity" },
    { "get", verb_get, "show the row of an entity" },
    { "wait", verb_wait, "wait for an answer that was still to come" },
    { "tail", verb_tail, "print the events of a stream" },
    { "emit", verb_emit, "add events to a stream" },
    { "load", verb_load, "add the lines of a file to a stream, each once" },
    { "parked", verb_parked, "see, retry or drop work that failed too often" },
    { "schedule", verb_schedule, "see, pause, resume or run what repeats" },
    { "stat", verb_stat, "show the figures of a running server" },
    { "check", verb_check, "report the mistakes of an application without starting it" },
    { "graph", verb_graph, "draw the dataflow of an application" },
    { "new", verb_new, "write a small application to begin with" },
    { "test", verb_test, "run the tests of an application in virtual time" },
    { "user", verb_user, "keep the file of users of a server" },
    { "bench", verb_bench, "measure a workload and verify what it left" },
    { "version", verb_version, "print the version" },
};
#define VERB_COUNT (sizeof verbs / sizeof verbs[0])

static void help(FILE *out)
{
    fprintf(out, "usage: weir VERB [words] [options]\n\n"
                 "Durable, serializable transactions over sharded entities.\n\nverbs:\n");
    for (size_t i = 0; i < VERB_COUNT; i++)
        fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].text);
    fprintf(out, "\nexit code 74, of each: what it prints cannot be written\n"
                 "`weir VERB --help` says more. To begin: weir new hello\n");
}

/* A descriptor that the caller closed would go to the next connection or file of the data, and what is printed into it.
 * These are opened the wrong way round, so that using one still fails. */
static bool streams_hold(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) continue;
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) return false;
    }
    return true;
}

/* An answer that nobody got is no success. A server goes on without its report. */
static int shown(int code, bool serves)
{
    if (code != SERVER_EXIT_OK || serves) return code;
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    fprintf(stderr, "weir: cannot write the output%s%s\n", errno ? ": " : "",
            errno ? strerror(errno) : "");
    return SERVER_EXIT_IO;
}

int main(int argc, char **argv)
{
    if (!streams_hold()) {
        fprintf(stderr, "weir: cannot open /dev/null in place of a closed descriptor: %s\n",
                strerror(errno));
        return SERVER_EXIT_IO;
    }
    if (argc < 2) {
        help(stderr);
        return SERVER_EXIT_USAGE;
    }
    const char *word = argv[1];
    char all[] = "--help";
    char *ask[] = { all };
    bool asked = strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 ||
                 strcmp(word, "help") == 0;
    if (asked && argc == 2) {
        help(stdout);
        return shown(SERVER_EXIT_OK, false);
    }
    if (asked) word = argv[2]; /* weir help bench */
    if (strcmp(word, "--version") == 0) word = "version";
    const char *names[VERB_COUNT];
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(word, verbs[i].name) == 0)
            return asked ? shown(verbs[i].run(1, ask), false)
                         : shown(verbs[i].run(argc - 2, argv + 2), verbs[i].run == verb_run);
        names[i] = verbs[i].name;
    }
    const char *near = args_nearest(word, names, VERB_COUNT);
    fprintf(stderr, "weir: no verb `%s`", word);
    if (near) fprintf(stderr, "; did you mean `weir %s`?", near);
    fprintf(stderr, "\n`weir --help` lists the verbs\n");
    return SERVER_EXIT_USAGE;
}
