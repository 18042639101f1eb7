/*
 * cli.h - what the verbs of `weir` share: options, places to connect to, errors.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CLI_H
#define WEIR_CLI_H

#include <stdbool.h>
#include <stddef.h>

#define CLI_DONE (-1) /* args_parse(): go on */
#define CLI_LIST_MAX 64
#define CLI_PLACES_MAX 256

/* An option that may be given several times. */
struct args_list {
    const char *item[CLI_LIST_MAX + 1]; /* NULL-terminated */
    unsigned count;
};

/* One option of a verb; exactly one of the three targets is set. */
struct args_option {
    const char *name;  /* "--data" */
    const char *value; /* "DIR" for the help; NULL: a flag */
    const char *text;
    const char **text_into;
    struct args_list *list_into;
    bool *flag_into;
};

struct args_verb {
    const char *usage; /* "weir get TYPE KEY [options]": also names what is missing */
    const char *about; /* a paragraph */
    const char *more;  /* after the options: examples; may be NULL */
    const struct args_option *options; /* ends with a zeroed one */
    unsigned places_min, places_max;   /* words that are no options */
};

struct args_places {
    const char *place[CLI_PLACES_MAX];
    unsigned count;
};

/** Parses what follows the verb. CLI_DONE, or the exit code: 0 after --help, 64 after a mistake. `--` ends
 *  the options; a word that begins with a single dash, as a number below zero, is no option. */
int args_parse(const struct args_verb *verb, int argc, char **argv, struct args_places *places);
/** A whole number from `min` to `max`, from an option; false after a message. */
bool args_number(const char *option, const char *text, unsigned long long min,
                 unsigned long long max, unsigned long long *out);
/** "HOST:PORT", ":PORT", "PORT" or "HOST" into its parts, *host in `room`. False after a message. */
bool args_address(const char *option, const char *text, int standard_port, char *room,
                  size_t room_bytes, const char **host, int *port);
/** True if each is NAME=VALUE; false after a message. */
bool args_settings(const struct args_list *settings);
/** Of the names, the one nearest to `word`, or NULL when none is near. */
const char *args_nearest(const char *word, const char *const *names, size_t count);

int verb_run(int argc, char **argv);
int verb_call(int argc, char **argv);
int verb_get(int argc, char **argv);
int verb_wait(int argc, char **argv);
int verb_stat(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_new(int argc, char **argv);
int verb_test(int argc, char **argv);
int verb_user(int argc, char **argv);
int verb_graph(int argc, char **argv);
int verb_tail(int argc, char **argv);
int verb_emit(int argc, char **argv);
int verb_load(int argc, char **argv);
int verb_parked(int argc, char **argv);
int verb_schedule(int argc, char **argv);
int verb_bench(int argc, char **argv);
int verb_version(int argc, char **argv);

#endif
