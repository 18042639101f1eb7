/*
 * check.c - `weir check` and `weir test`.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "cli.h"
#include "server/server.h"

int verb_check(int argc, char **argv)
{
    const char *data = NULL;
    bool json = false;
    struct args_list settings = { .count = 0 };
    const struct args_option options[] = {
        { "--data", "DIR", "also whether this data directory opens with it", .text_into = &data },
        { "--set", "NAME=VALUE", "a setting of the application; may be repeated",
          .list_into = &settings },
        { "--json", NULL, "as one JSON object", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir check APP.lua|APP.so [...] [options]",
        .about = "Reports the mistakes of an application as FILE:LINE: what is wrong, without "
                 "starting it; and when\n"
                 "there are none, what it offers, what is open to anyone and what closes once "
                 "there are users.",
        .more = "exit codes: 0 no mistakes; 1 mistakes; 64 usage; 65 data damaged or newer; 73 "
                "data directory in use",
        .options = options,
        .places_min = 1,
        .places_max = 32,
    };
    struct args_places files;
    int code = args_parse(&verb, argc, argv, &files);
    if (code != CLI_DONE) return code;
    if (!args_settings(&settings)) return SERVER_EXIT_USAGE;
    struct server_options server = {
        .files = files.place,
        .file_count = files.count,
        .data = data,
        .settings = settings.item,
        .json = json,
        .out = stdout,
        .err = stderr,
    };
    return server_check(&server);
}

int verb_test(int argc, char **argv)
{
    const char *only = NULL, *seed = "0";
    bool json = false;
    const struct args_option options[] = {
        { "--only", "TEXT", "only the cases whose name holds this", .text_into = &only },
        { "--seed", "N", "repeats a run (a random one)", .text_into = &seed },
        { "--json", NULL, "a line of JSON per case", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir test FILE_test.lua [options]",
        .about = "Runs the cases of a test file on the real engine in a simulated world: virtual "
                 "time, a disk in\n"
                 "memory, empty before each case.",
        .more = "exit codes: 0 all passed; 1 a case failed; 64 usage; 78 the file does not load\n\n"
                "example: weir test examples/bank_test.lua",
        .options = options,
        .places_min = 1,
        .places_max = 1,
    };
    struct args_places files;
    int code = args_parse(&verb, argc, argv, &files);
    if (code != CLI_DONE) return code;
    unsigned long long number;
    if (!args_number("--seed", seed, 0, ~0ull, &number)) return SERVER_EXIT_USAGE;
    struct server_test_options test = {
        .file = files.place[0],
        .only = only,
        .seed = number,
        .json = json,
        .out = stdout,
        .err = stderr,
    };
    return server_test(&test);
}
