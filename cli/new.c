/*
 * new.c - `weir new` writes a small application and its test; `weir version`.
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "server/server.h"

#define NAME_BYTES_MAX 48

/* @ stands for the name. */
static const char app_text[] =
    "-- @.lua: counters that anyone can add to.\n"
    "--\n"
    "--   weir run @.lua\n"
    "--   curl localhost:8080/counter/visits/add -d '[1]'\n"
    "--   curl localhost:8080/counter/visits/value\n"
    "local weir = require \"weir\"\n"
    "local int = weir.int\n"
    "\n"
    "-- An entity type: each counter has a key (\"visits\") and a row with these fields. A counter "
    "exists\n"
    "-- from its first write. `max` is a rule: a request that breaks it changes nothing.\n"
    "local counter = weir.entity(\"counter\", { value = int { min = 0, max = 1000000 } })\n"
    "\n"
    "-- A handler: its parameters' types, what it returns, who may call it. It runs as one "
    "transaction, and\n"
    "-- its reply leaves once its effects are on disk.\n"
    "counter:on(\"add\", { int { min = 1 }, returns = int, allow = \"anyone\" }, function(self, "
    "amount)\n"
    "  self.value = self.value + amount\n"
    "  return self.value\n"
    "end)\n"
    "\n"
    "-- Calls to other entities belong to the same transaction: both counters change, or neither.\n"
    "counter:on(\"move\", { counter, int { min = 1 } }, function(self, to, amount)\n"
    "  self.value = self.value - amount\n"
    "  to:add(amount)\n"
    "end)\n"
    "\n"
    "-- A query only reads.\n"
    "counter:query(\"value\", { returns = int, allow = \"anyone\" }, function(self)\n"
    "  return self.value\n"
    "end)\n";

static const char test_text[] =
    "-- @_test.lua: run with `weir test @_test.lua`. Each case starts empty; each call is a "
    "request.\n"
    "local t = require \"weir.test\"\n"
    "local app = t.app \"@.lua\"\n"
    "\n"
    "t.case(\"adding adds up\", function()\n"
    "  app.counter(\"visits\"):add(2)\n"
    "  t.equal(app.counter(\"visits\"):add(3), 5)\n"
    "end)\n"
    "\n"
    "t.case(\"a move that would leave less than nothing changes nothing\", function()\n"
    "  app.counter(\"a\"):add(1)\n"
    "  t.fails(\"check\", function() app.counter(\"a\"):move(app.counter \"b\", 2) end)\n"
    "  t.equal(app.counter(\"a\"):value(), 1)\n"
    "  t.equal(app.counter(\"b\"):value(), 0)\n"
    "end)\n"
    "\n"
    "t.case(\"it survives a power cut\", function()\n"
    "  app.counter(\"visits\"):add(2)\n"
    "  t.crash()\n"
    "  t.equal(app.counter(\"visits\"):value(), 2)\n"
    "end)\n";

static bool name_is_good(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_BYTES_MAX || !isalpha((unsigned char)name[0])) return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '-') return false;
    return true;
}

/* Writes the text under a name that is not taken; false after a message. */
static bool file_write(const char *path, const char *text, const char *name)
{
    FILE *file = fopen(path, "wx");
    if (!file) {
        fprintf(stderr, "weir: %s: %s\n", path,
                errno == EEXIST ? "is there already; it is left alone" : strerror(errno));
        return false;
    }
    for (const char *at = text; *at; at++) {
        if (*at == '@') fputs(name, file);
        else fputc(*at, file);
    }
    if (fclose(file) == 0) return true;
    fprintf(stderr, "weir: %s: %s\n", path, strerror(errno));
    (void)!unlink(path); /* half of it would be in the way */
    return false;
}

int verb_new(int argc, char **argv)
{
    bool json = false;
    const struct args_option options[] = {
        { "--json", NULL, "print the names of the files as JSON", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir new NAME [options]",
        .about = "Writes NAME.lua, a small application that works, and NAME_test.lua, its tests, "
                 "into this folder.",
        .more = "exit codes: 0 done; 64 usage; 74 a file is there already, or cannot be written\n\n"
                "example: weir new hello",
        .options = options,
        .places_min = 1,
        .places_max = 1,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    const char *name = places.place[0];
    if (!name_is_good(name)) {
        fprintf(stderr, "weir: %s: a name is letters, digits, _ and -, and begins with a letter\n",
                name);
        return SERVER_EXIT_USAGE;
    }
    char app[NAME_BYTES_MAX + 16], test[NAME_BYTES_MAX + 16];
    snprintf(app, sizeof app, "%s.lua", name);
    snprintf(test, sizeof test, "%s_test.lua", name);
    if (!file_write(app, app_text, name)) return SERVER_EXIT_IO;
    if (!file_write(test, test_text, name)) {
        (void)!unlink(app); /* both or neither */
        return SERVER_EXIT_IO;
    }
    if (json) printf("{\"files\":[\"%s\",\"%s\"],\"next\":\"weir run %s\"}\n", app, test, app);
    else
        printf("wrote %s and %s\n\nnext:  weir test %s\n       weir run %s\n", app, test, test,
               app);
    return SERVER_EXIT_OK;
}

int verb_version(int argc, char **argv)
{
    bool json = false;
    const struct args_option options[] = {
        { "--json", NULL, "as JSON", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir version",
        .about = "Prints the version.",
        .options = options,
        .places_max = 0,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    if (json) printf("{\"version\":\"%s\"}\n", WEIR_VERSION);
    else printf("weir %s\n", WEIR_VERSION);
    return SERVER_EXIT_OK;
}
