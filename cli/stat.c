/*
 * stat.c - `weir stat`: the figures of INFO as a table or as JSON.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "cli.h"
#include "client.h"
#include "server/server.h"

static void print_section(struct weir_str line, bool json, bool *open)
{
    while (line.len && (line.ptr[0] == '#' || line.ptr[0] == ' ')) {
        line.ptr++;
        line.len--;
    }
    if (json) printf("%s\"%.*s\":{", *open ? "}," : "", STR_ARG(line));
    else printf("%s%.*s\n", *open ? "\n" : "", STR_ARG(line));
    *open = true;
}

static bool is_number(struct weir_str text)
{
    size_t dots = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '.') dots++;
        else if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
    }
    return text.len > 0 && dots <= 1 && text.ptr[0] != '.' && text.ptr[text.len - 1] != '.' &&
           (text.ptr[0] != '0' || text.len == 1 || text.ptr[1] == '.');
}

static void print_json_text(struct weir_str text)
{
    struct buf quoted = { 0 };
    client_json_text(&quoted, text);
    printf("%.*s", STR_ARG(buf_str(&quoted)));
    buf_free(&quoted);
}

static void print_figure(struct weir_str line, bool json, bool first)
{
    const char *colon = memchr(line.ptr, ':', line.len);
    if (!colon) return;
    struct weir_str name = { line.ptr, (size_t)(colon - line.ptr) };
    struct weir_str value = { colon + 1, line.len - name.len - 1 };
    if (!json) {
        printf("  %-28.*s %.*s\n", STR_ARG(name), STR_ARG(value));
        return;
    }
    if (!first) putchar(',');
    print_json_text(name);
    putchar(':');
    if (is_number(value)) printf("%.*s", STR_ARG(value));
    else print_json_text(value);
}

static void print_info(struct weir_str info, bool json)
{
    bool open = false, first = true;
    if (json) putchar('{');
    while (info.len) {
        const char *end = memchr(info.ptr, '\n', info.len);
        struct weir_str line = { info.ptr, end ? (size_t)(end - info.ptr) : info.len };
        size_t taken = line.len + (end ? 1 : 0);
        info.ptr += taken;
        info.len -= taken;
        if (line.len && line.ptr[line.len - 1] == '\r') line.len--;
        if (line.len == 0) continue;
        if (line.ptr[0] == '#') {
            print_section(line, json, &open);
            first = true;
        } else if (open || !json) {
            print_figure(line, json, first);
            first = false;
        }
    }
    if (json) printf("%s}\n", open ? "}" : "");
}

int verb_stat(int argc, char **argv)
{
    struct client_where where = CLIENT_WHERE;
    bool json = false;
    const struct args_option options[] = {
        CLIENT_OPTIONS(where),
        { "--json", NULL, "as one JSON object, errors as JSON", .flag_into = &json },
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir stat [options]",
        .about = "Prints the figures of a running server: connections, log, transactions, memory, "
                 "streams.",
        .more = "exit codes: 0 done; 1 refused; 64 usage; 69 no server",
        .options = options,
        .places_max = 0,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    struct client client;
    struct client_reply reply = { 0 };
    code = client_open(&client, &where);
    if (code == 0 && !client_ask(&client, (const char *const[]){ "INFO" }, 1, &reply))
        code = SERVER_EXIT_UNREACHABLE;
    if (code != 0) {
        client_complain(&client, json);
    } else if (reply.failed) {
        client_tell(buf_str(&reply.text), json);
        code = SERVER_EXIT_FAILED;
    } else {
        print_info(buf_str(&reply.text), json);
        code = SERVER_EXIT_OK;
    }
    client_reply_free(&reply);
    client_close(&client);
    return code;
}
