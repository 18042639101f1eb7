/*
 * parked.c - `weir parked` and `weir schedule`: work that waits for a person, and what repeats.
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>

#include "cli.h"
#include "server/server.h"
#include "span.h"
#include "web.h"

static bool ask(struct web *web, const char *method, struct buf *path)
{
    buf_add_byte(path, 0);
    bool answered = web_ask(web, method, path->ptr, "", STR(""));
    buf_reset(path);
    return answered && web->status == 200;
}

/* The member as text for people: control characters stay escaped, as JSON writes them. */
static void print_member(struct weir_str object, const char *name, const char *format)
{
    struct weir_str value = span_member(object, name);
    if (value.len >= 2 && value.ptr[0] == '"')
        value = (struct weir_str){ value.ptr + 1, value.len - 2 };
    if (value.len == 0 || str_eq(value, STR("null"))) return;
    printf("%s%.*s", format, STR_ARG(value));
}

static int word_place(const char *word, const char *const *words, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0) return i;
    return -1;
}

/* A sub-verb that does not exist. */
static int word_unknown(const struct args_verb *verb, const char *word, const char *const *words,
                        int count)
{
    const char *near = args_nearest(word, words, (size_t)count);
    fprintf(stderr, "weir: no %s here", word);
    if (near) fprintf(stderr, "; did you mean %s?", near);
    fprintf(stderr, "\nusage: %s\n", verb->usage);
    return SERVER_EXIT_USAGE;
}

static int word_count_wrong(const struct args_verb *verb, const char *word, const char *what)
{
    fprintf(stderr, "weir: %s %s\nusage: %s\n", word, what, verb->usage);
    return SERVER_EXIT_USAGE;
}

/* ---- parked ---- */

enum { PARKED_WORD_LIST, PARKED_WORD_SHOW, PARKED_WORD_RETRY, PARKED_WORD_DROP, PARKED_WORD_ALL };
static const char *const parked_words[] = { "list", "show", "retry", "drop", "retry-all" };

static void print_parked_line(struct weir_str item)
{
    print_member(item, "id", "");
    print_member(item, "kind", "  ");
    print_member(item, "to", "  ");
    print_member(item, "handler", ".");
    print_member(item, "from", "  from ");
    print_member(item, "error", "  ");
    printf("\n");
}

static void print_members(struct weir_str object)
{
    struct weir_str name, value;
    for (size_t at = 0; span_next(object, &at, &name, &value);) {
        bool text = value.len >= 2 && value.ptr[0] == '"';
        printf("%-12.*s %.*s\n", (int)name.len - 2, name.ptr + 1, (int)value.len - (text ? 2 : 0),
               value.ptr + (text ? 1 : 0));
    }
}

/* All of them, page by page; with `id` only that one. */
static int parked_walk(struct web *web, const char *id, unsigned long long limit, bool json)
{
    struct buf path = { 0 }, next = { 0 }, wanted = { 0 };
    uint64_t shown = 0;
    int code = SERVER_EXIT_OK;
    bool more = true, found = false;
    while (more && !found && shown < limit) {
        buf_printf(&path, "/parked?limit=%u", 1000u);
        if (next.len > 0) {
            buf_add_byte(&next, 0);
            buf_add_text(&path, "&after=");
            web_add_part(&path, next.ptr);
        }
        if (!ask(web, "GET", &path)) {
            code = web_complain(web, json);
            break;
        }
        struct weir_str body = buf_str(&web->body), item, list = span_member(body, "parked");
        for (size_t at = 0; shown < limit && span_next(list, &at, NULL, &item);) {
            buf_reset(&wanted);
            span_text(span_member(item, "id"), &wanted);
            if (id && !str_eq(buf_str(&wanted), str_of(id))) continue;
            found = id != NULL;
            if (json) printf("%s%.*s", id ? "" : shown ? ",\n" : "[", STR_ARG(item));
            else if (id) print_members(item);
            else print_parked_line(item);
            shown++;
        }
        buf_reset(&next);
        span_text(span_member(body, "next"), &next);
        more = next.len > 0;
    }
    /* what was shown is an array in any case; before anything was, an error stands alone */
    if (json && !id && (code == 0 || shown)) printf("%s]\n", shown ? "" : "[");
    else if (json && found) printf("\n");
    if (code == 0 && id && !found) {
        buf_reset(&path);
        buf_printf(&path, "nothing parked has the id %s; `weir parked list` shows what there is",
                   id);
        web_tell(buf_str(&path), json);
        code = SERVER_EXIT_FAILED;
    } else if (code == 0 && !id && !json) {
        if (shown == 0) fprintf(stderr, "nothing is parked\n");
        else if (more || shown == limit) fprintf(stderr, "the first %" PRIu64 "\n", shown);
    }
    buf_free(&path);
    buf_free(&next);
    buf_free(&wanted);
    return code;
}

static int parked_decide(struct web *web, const char *id, const char *word, bool json)
{
    struct buf path = { 0 };
    buf_add_text(&path, "/parked/");
    if (id) {
        web_add_part(&path, id);
        buf_add_byte(&path, '/');
    }
    buf_add_text(&path, word);
    bool good = ask(web, "POST", &path);
    buf_free(&path);
    if (!good) return web_complain(web, json);
    uint64_t done = span_number(span_member(buf_str(&web->body), "done"));
    if (json) printf("{\"done\":%" PRIu64 "}\n", done);
    else if (strcmp(word, "drop") == 0) printf("dropped\n");
    else printf("%" PRIu64 " to be tried again\n", done);
    return SERVER_EXIT_OK;
}

int verb_parked(int argc, char **argv)
{
    struct client_where where = WEB_WHERE;
    const char *limit = "1000";
    bool json = false;
    const struct args_option options[] = {
        { "--limit", "N", "list: at most so many (1000)", .text_into = &limit },
        { "--json", NULL, "as JSON, errors too", .flag_into = &json },
        WEB_OPTIONS(where),
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir parked list|retry-all [options], weir parked show|retry|drop ID [options]",
        .about = "Messages, events and timers whose handler failed too often wait for a person, "
                 "each with its error. `retry`\n"
                 "runs one again, `retry-all` all; `drop` gives one up, for ever.",
        .more = "exit codes: 0 done; 1 refused, or no such id; 64 usage; 69 no server",
        .options = options,
        .places_min = 1,
        .places_max = 2,
    };
    struct args_places places;
    unsigned long long count;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    int word = word_place(places.place[0], parked_words, 5);
    if (word < 0) return word_unknown(&verb, places.place[0], parked_words, 5);
    bool all = word == PARKED_WORD_LIST || word == PARKED_WORD_ALL;
    if (places.count != (all ? 1u : 2u))
        return word_count_wrong(&verb, parked_words[word],
                                all ? "takes no id" : "takes an id; `weir parked list` shows them");
    if (!args_number("--limit", limit, 1, UINT32_MAX, &count)) return SERVER_EXIT_USAGE;
    struct web web;
    code = web_open(&web, &where);
    if (code == 0 && word == PARKED_WORD_LIST) code = parked_walk(&web, NULL, count, json);
    else if (code == 0 && word == PARKED_WORD_SHOW)
        code = parked_walk(&web, places.place[1], UINT64_MAX, json);
    else if (code == 0)
        code = parked_decide(&web, all ? NULL : places.place[1], parked_words[word], json);
    web_close(&web);
    return code;
}

/* ---- schedules ---- */

enum { SCHEDULE_WORD_LIST, SCHEDULE_WORD_SHOW };
static const char *const schedule_words[] = { "list", "show", "pause", "resume", "run" };

static void row_path(struct buf *path, struct weir_str name)
{
    struct buf text = { 0 };
    buf_add_str(&text, name);
    buf_add_byte(&text, 0);
    buf_add_text(path, "/_schedule/");
    web_add_part(path, text.ptr);
    buf_free(&text);
}

static void print_schedule(struct weir_str def, struct weir_str row, bool whole)
{
    bool paused = str_eq(span_member(row, "paused"), STR("true"));
    if (!whole) {
        print_member(def, "name", "");
        print_member(def, "every", "  ");
        print_member(def, "zone", " ");
        if (paused) printf("  paused");
        else print_member(row, "next", "  next ");
        printf("\n");
        return;
    }
    print_members(def);
    print_members(row);
}

/* What is declared, as GET / tells it, and beside each its row. */
static int schedule_walk(struct web *web, const char *only, bool json)
{
    struct buf path = { 0 }, index = { 0 }, name = { 0 };
    struct weir_str def;
    uint64_t shown = 0;
    int code = SERVER_EXIT_OK;
    buf_add_text(&path, "/");
    if (!ask(web, "GET", &path)) code = web_complain(web, json);
    else buf_add_str(&index, buf_str(&web->body));
    struct weir_str list = span_member(buf_str(&index), "schedules");
    if (code == 0 && list.len == 0) {
        web_tell(STR("the server does not tell its schedules: only the operator may see them, and "
                     "only a server of this version lists them"),
                 json);
        code = SERVER_EXIT_FAILED;
    }
    for (size_t at = 0; code == 0 && span_next(list, &at, NULL, &def);) {
        buf_reset(&name);
        span_text(span_member(def, "name"), &name);
        if (only && !str_eq(buf_str(&name), str_of(only))) continue;
        row_path(&path, buf_str(&name));
        /* one that has not run yet may have no row */
        if (!ask(web, "GET", &path) && web->status != 404) {
            code = web_complain(web, json);
            break;
        }
        struct weir_str row = web->status == 200 ? buf_str(&web->body) : STR("{}");
        while (row.len && memchr("\r\n ", row.ptr[row.len - 1], 3)) row.len--;
        if (json)
            printf("%s%.*s,\"row\":%.*s}",
                   only    ? ""
                   : shown ? ",\n"
                           : "[",
                   (int)def.len - 1, def.ptr, STR_ARG(row));
        else print_schedule(def, row, only != NULL);
        shown++;
    }
    if (json && !only && (code == 0 || shown)) printf("%s]\n", shown ? "" : "[");
    else if (json && shown) printf("\n");
    if (code == 0 && only && shown == 0) {
        buf_reset(&path);
        buf_printf(&path, "there is no schedule %s; `weir schedule list` shows what there is",
                   only);
        web_tell(buf_str(&path), json);
        code = SERVER_EXIT_FAILED;
    } else if (code == 0 && shown == 0 && !json) {
        fprintf(stderr, "the application declares no schedule\n");
    }
    buf_free(&path);
    buf_free(&index);
    buf_free(&name);
    return code;
}

static int schedule_do(struct web *web, const char *name, const char *word, bool json)
{
    struct buf path = { 0 };
    row_path(&path, str_of(name));
    buf_printf(&path, "/%s", word);
    bool good = ask(web, "POST", &path);
    buf_free(&path);
    if (!good) {
        int code = web_complain(web, json);
        if (web->status == 404 && !json)
            fprintf(stderr, "weir: `weir schedule list` shows what there is\n");
        return code;
    }
    return schedule_walk(web, name, json);
}

int verb_schedule(int argc, char **argv)
{
    struct client_where where = WEB_WHERE;
    bool json = false;
    const struct args_option options[] = {
        { "--json", NULL, "as JSON, errors too", .flag_into = &json },
        WEB_OPTIONS(where),
        { 0 },
    };
    const struct args_verb verb = {
        .usage = "weir schedule list [options], weir schedule show|pause|resume|run NAME [options]",
        .about = "What the application repeats (weir.every): when it runs next, and whether it is "
                 "paused. `run` runs it once now,\n"
                 "besides its times.",
        .more = "exit codes: 0 done; 1 refused, or no such schedule; 64 usage; 69 no server",
        .options = options,
        .places_min = 1,
        .places_max = 2,
    };
    struct args_places places;
    int code = args_parse(&verb, argc, argv, &places);
    if (code != CLI_DONE) return code;
    int word = word_place(places.place[0], schedule_words, 5);
    if (word < 0) return word_unknown(&verb, places.place[0], schedule_words, 5);
    if (places.count != (word == SCHEDULE_WORD_LIST ? 1u : 2u))
        return word_count_wrong(&verb, schedule_words[word],
                                word == SCHEDULE_WORD_LIST
                                    ? "takes no name"
                                    : "takes a name; `weir schedule list` shows them");
    struct web web;
    code = web_open(&web, &where);
    if (code == 0 && word == SCHEDULE_WORD_LIST) code = schedule_walk(&web, NULL, json);
    else if (code == 0 && word == SCHEDULE_WORD_SHOW)
        code = schedule_walk(&web, places.place[1], json);
    else if (code == 0) code = schedule_do(&web, places.place[1], schedule_words[word], json);
    web_close(&web);
    return code;
}
