/*
 * main.c - the command line: picks the verb.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

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
    fprintf(out, "\n`weir VERB --help` says more. To begin: weir new hello\n");
}

int main(int argc, char **argv)
{
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
        return SERVER_EXIT_OK;
    }
    if (asked) word = argv[2]; /* weir help bench */
    if (strcmp(word, "--version") == 0) word = "version";
    const char *names[VERB_COUNT];
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(word, verbs[i].name) == 0)
            return asked ? verbs[i].run(1, ask) : verbs[i].run(argc - 2, argv + 2);
        names[i] = verbs[i].name;
    }
    const char *near = args_nearest(word, names, VERB_COUNT);
    fprintf(stderr, "weir: no verb `%s`", word);
    if (near) fprintf(stderr, "; did you mean `weir %s`?", near);
    fprintf(stderr, "\n`weir --help` lists the verbs\n");
    return SERVER_EXIT_USAGE;
}
