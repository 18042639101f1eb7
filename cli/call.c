/*
 * call.c - `weir call`, `weir wait` and `weir get`: one request to a running server.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "cli.h"
#include "client.h"
#include "server/server.h"

/* Prints a reply: the value on stdout, or the error on stderr. Returns the exit code. */
static int print_reply(const struct client_reply *reply, bool json)
{
    if (reply->failed) {
        struct weir_str text = buf_str(&reply->text);
        client_tell(text, json);
        if (!json && text.len > 8 && memcmp(text.ptr, "PENDING ", 8) == 0) {
            size_t id = 8;
            while (id < text.len && text.ptr[id] != ' ') id++;
            fprintf(stderr, "weir: `weir wait %.*s` waits on\n", (int)(id - 8), text.ptr + 8);
        }
        return SERVER_EXIT_FAILED;
    }
    const struct buf *shown = reply->plain && !json ? &reply->text : &reply->json;
    if (shown->len) fwrite(shown->ptr, 1, shown->len, stdout);
    putchar('\n');
    return SERVER_EXIT_OK;
}

static int ask(const struct client_where *where, const char *const *words, size_t count, bool json,
               bool nil_fails)
{
    struct client client;
    struct client_reply reply = { 0 };
    int code = client_open(&client, where);
    if (code == 0 && !client_ask(&client, words, count, &reply)) code = SERVER_EXIT_UNREACHABLE;
    if (code != 0) {
        client_complain(&client, json);
    } else if (reply.nil && nil_fails) {
        struct buf text = { 0 };
        buf_printf(&text, "%s/%s has no row", words[1], words[2]);
        client_tell(buf_str(&text), json);
        buf_free(&text);
        code = SERVER_EXIT_FAILED;
    } else {
        code = print_reply(&reply, json);
    }
    client_reply_free(&reply);
    client_close(&client);
    return code;
}

int verb_call(int argc, char **argv)
{
    struct client_where where = CLIENT_WHERE;
    const char *id = NULL;
    bool json = false;
    const struct args_option options[] = {
        { "--id", "ID", "idempotency key: a repeat gets the first answer", .text_into = &id },
        CLIENT_OPTIONS(where),
        { "--json", NULL, "strings in quotes, errors as JSON", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir call TYPE KEY HANDLER [ARG ...] [options]",
        .about = "Calls a handler and prints what it answers. Each argument is read as its "
                 "parameter's declared\n"
                 "type; lists and records are JSON. The key of a service is `-`.",
        .more = "exit codes: 0 done; 1 refused, or PENDING with an id that `weir wait` takes, on "
                "stderr; "
                "64 usage;\n69 no server\n\n"
                "example: weir call account ann transfer bob 30",
        .options = options,
        .places_min = 3,
        .places_max = CLI_PLACES_MAX - 2,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    const char *words[CLI_PLACES_MAX + 2];
    size_t count = 0;
    words[count++] = id ? "CALL.ONCE" : "CALL";
    if (id) words[count++] = id;
    for (unsigned i = 0; i < places.count; i++) words[count++] = places.place[i];
    return ask(&where, words, count, json, false);
}

int verb_get(int argc, char **argv)
{
    struct client_where where = CLIENT_WHERE;
    bool json = false;
    const struct args_option options[] = {
        CLIENT_OPTIONS(where),
        { "--json", NULL, "errors as JSON; the row is JSON in any case", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir get TYPE KEY [options]",
        .about = "Prints the row of an entity as JSON.",
        .more = "exit codes: 0 done; 1 no such row; 64 usage; 69 no server\n\nexample: weir get "
                "account ann",
        .options = options,
        .places_min = 2,
        .places_max = 2,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    const char *words[] = { "GETROW", places.place[0], places.place[1] };
    return ask(&where, words, 3, json, true);
}

int verb_wait(int argc, char **argv)
{
    struct client_where where = CLIENT_WHERE;
    bool json = false;
    const struct args_option options[] = {
        CLIENT_OPTIONS(where),
        { "--json", NULL, "strings in quotes, errors as JSON", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir wait ID [options]",
        .about = "Waits, as long as a request may take, for the answer of a call that was PENDING, "
                 "and prints it.",
        .more = "exit codes: 0 done; 1 refused, or PENDING still; 64 usage; 69 no server\n\n"
                "example: weir wait 01h8xq5vd3k2m7n9pqrstvwxyz",
        .options = options,
        .places_min = 1,
        .places_max = 1,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    const char *words[] = { "CALL.WAIT", places.place[0] };
    return ask(&where, words, 2, json, false);
}
