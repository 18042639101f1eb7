/*
 * graph.c - `weir graph`.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "cli.h"
#include "server/server.h"

int verb_graph(int argc, char **argv)
{
    const char *format = "text";
    bool json = false;
    struct args_list settings = { .count = 0 };
    const struct args_option options[] = {
        { "--format", "FORMAT", "text, dot, svg or json (text)", .text_into = &format },
        { "--set", "NAME=VALUE", "a setting of the application; may be repeated",
          .list_into = &settings },
        { "--json", NULL, "as --format json", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir graph APP.lua|APP.so [...] [options]",
        .about =
            "Shows the dataflow of an application, without starting it: entities, services, "
            "streams, schedules and\n"
            "services outside; what follows what, whose keys are held where. What a handler emits, "
            "asks or calls is what\n"
            "its Lua code mentions.",
        .more = "exit codes: 0 done; 1 mistakes in the application, which `weir check` lists; 64 "
                "usage; 74 the output cannot be\n"
                "written\n\n"
                "example: weir graph examples/shop.lua --format svg > shop.svg",
        .options = options,
        .places_min = 1,
        .places_max = 32,
    };
    struct args_places files;
    int code = args_parse(&verb, argc, argv, &files);
    if (code != CLI_DONE) return code;
    if (!args_settings(&settings)) return SERVER_EXIT_USAGE;
    struct server_graph_options graph = {
        .files = files.place,
        .file_count = files.count,
        .settings = settings.item,
        .format = json ? "json" : format,
        .out = stdout,
        .err = stderr,
    };
    return server_graph(&graph);
}
