/*
 * user.c - `weir user`: who may call a server that other machines can reach.
 * SPDX-License-Identifier: MIT
 */
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "server/server.h"

int verb_user(int argc, char **argv)
{
    const char *file = NULL;
    bool json = false;
    struct args_list roles = { .count = 0 };
    const struct args_option options[] = {
        { "--users", "FILE", "the file of users", .text_into = &file },
        { "--role", "ROLE", "add: a role, as in `allow`; may be repeated", .list_into = &roles },
        { "--json", NULL, "as one JSON object", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir user add|remove NAME --users FILE [options], weir user list --users FILE",
        .about = "Keeps the file of users for `weir run --users FILE`. `add` makes a token of 160 "
                 "random bits and prints it,\n"
                 "once: the file holds only its digest. The role `operator` may do all. A running "
                 "server sees a change\n"
                 "within a second; connections of a user who was removed have no user from then "
                 "on.",
        .more = "exit codes: 0 done; 1 no such user, or one too many; 64 usage; 74 the file cannot "
                "be written; 78 the\n"
                "file is wrong or others may change it\n\n"
                "example: weir user add ann --role clerk --users weir.users",
        .options = options,
        .places_min = 1,
        .places_max = 2,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    const char *what = places.place[0];
    bool list = strcmp(what, "list") == 0, take = strcmp(what, "remove") == 0;
    if (!list && !take && strcmp(what, "add") != 0) {
        fprintf(stderr, "weir: user %s: add, list or remove\nusage: %s\n", what, verb.usage);
        return SERVER_EXIT_USAGE;
    }
    if (places.count != (list ? 1u : 2u) || !file || !file[0] ||
        (roles.count > 0 && (list || take))) {
        fprintf(stderr, "weir: %s\nusage: %s\n",
                !file || !file[0]                   ? "which file? --users FILE"
                : roles.count > 0 && (list || take) ? "--role belongs to add"
                : list                              ? "list takes no name"
                                                    : "which user?",
                verb.usage);
        return SERVER_EXIT_USAGE;
    }
    char behind[PATH_MAX]; /* a link stays one: what it names is changed */
    struct server_user_options user = {
        .file = realpath(file, behind) ? behind : file,
        .name = list ? NULL : places.place[1],
        .roles = roles.item,
        .remove = take,
        .json = json,
        .out = stdout,
        .err = stderr,
    };
    signal(SIGPIPE, SIG_IGN); /* a token that goes nowhere is an error, and the file is put back */
    return list ? server_user_list(&user) : server_user_change(&user);
}
