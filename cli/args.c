/*
 * args.c - options of the verbs.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "server/server.h"

#define NAME_BYTES_MAX 48
#define LEFT_CHARS 22 /* of the help: options and what their values are */

/* Edits between two words: insert, remove, replace, swap neighbours (F. J. Damerau, CACM 7(3), 1964), by
 * rows; no letter is edited twice. */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][NAME_BYTES_MAX + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > NAME_BYTES_MAX || b_len > NAME_BYTES_MAX) return NAME_BYTES_MAX;
    for (size_t j = 0; j <= b_len; j++) rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        const unsigned *above = rows[(i - 1) % 3], *higher = rows[(i + 1) % 3];
        unsigned *row = rows[i % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);
            if (above[j] + 1 < best) best = above[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && higher[j - 2] + 1 < best) best = higher[j - 2] + 1;
            row[j] = best;
        }
    }
    return rows[a_len % 3][b_len];
}

const char *args_nearest(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    unsigned best_distance = 4;
    for (size_t i = 0; i < count; i++) {
        unsigned d = distance(word, names[i]);
        /* of a short word most others are near */
        if (d < best_distance && d * 2 <= strlen(word)) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}

static void help(const struct args_verb *verb)
{
    printf("usage: %s\n\n%s\n\noptions:\n", verb->usage, verb->about);
    for (const struct args_option *option = verb->options; option->name; option++) {
        char left[64];
        int len = snprintf(left, sizeof left, "%s%s%s", option->name, option->value ? " " : "",
                           option->value ? option->value : "");
        if (len > LEFT_CHARS) printf("  %s\n  %-*s %s\n", left, LEFT_CHARS, "", option->text);
        else printf("  %-*s %s\n", LEFT_CHARS, left, option->text);
    }
    printf("  %-*s %s\n", LEFT_CHARS, "--help", "this text");
    if (verb->more) printf("\n%s\n", verb->more);
}

static int mistake(const struct args_verb *verb, const char *what, const char *word)
{
    fprintf(stderr, "weir: %s%s\nusage: %s\n", what, word, verb->usage);
    return SERVER_EXIT_USAGE;
}

/* Says which word is not there, as the usage names it: "weir load stream STREAM FILE.ndjson [options]". */
static int missing(const struct args_verb *verb, unsigned given)
{
    /* where the first word decides what follows, the usage is several */
    if (strstr(verb->usage, ", weir ")) return mistake(verb, "what to do is missing", "");
    const char *at = verb->usage;
    for (unsigned i = 0; i < 2 + given; i++) {
        at += strcspn(at, " ");
        at += *at == ' ';
    }
    int len = (int)strcspn(at, " ");
    bool literal = at[0] >= 'a' && at[0] <= 'z';
    fprintf(stderr, "weir: %s%.*s%s is missing\nusage: %s\n", literal ? "the word `" : "", len, at,
            literal ? "`" : "", verb->usage);
    return SERVER_EXIT_USAGE;
}

static int unknown(const struct args_verb *verb, const char *word)
{
    const char *names[64] = { "--help" };
    size_t count = 1;
    for (const struct args_option *option = verb->options; option->name && count < 64; option++)
        names[count++] = option->name;
    const char *near = args_nearest(word, names, count);
    fprintf(stderr, "weir: unknown option %s", word);
    if (near) fprintf(stderr, "; did you mean %s?", near);
    fprintf(stderr, "\nusage: %s\n", verb->usage);
    return SERVER_EXIT_USAGE;
}

/* One word more than there may be: `tail -f moved`, which other programs take. */
static int too_many(const struct args_verb *verb, const struct args_places *places,
                    const char *word)
{
    const char *dashed = word[0] == '-' ? word : NULL;
    for (unsigned i = places->count; i-- > 0;)
        if (places->place[i][0] == '-' && places->place[i][1]) dashed = places->place[i];
    if (!dashed) return mistake(verb, "one word too many: ", word);
    fprintf(stderr, "weir: unknown option %s; options begin with two dashes\nusage: %s\n", dashed,
            verb->usage);
    return SERVER_EXIT_USAGE;
}

static const struct args_option *option_named(const struct args_verb *verb, const char *word,
                                              size_t len)
{
    for (const struct args_option *option = verb->options; option->name; option++)
        if (strlen(option->name) == len && memcmp(option->name, word, len) == 0) return option;
    return NULL;
}

int args_parse(const struct args_verb *verb, int argc, char **argv, struct args_places *places)
{
    bool ended = false;
    places->count = 0;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (ended || strncmp(word, "--", 2) != 0) {
            if (!ended && strcmp(word, "-h") == 0) {
                help(verb);
                return SERVER_EXIT_OK;
            }
            if (places->count == verb->places_max || places->count == CLI_PLACES_MAX)
                return too_many(verb, places, word);
            places->place[places->count++] = word;
            continue;
        }
        if (word[2] == 0) {
            ended = true;
            continue;
        }
        if (strcmp(word, "--help") == 0) {
            help(verb);
            return SERVER_EXIT_OK;
        }
        const char *equals = strchr(word, '=');
        size_t len = equals ? (size_t)(equals - word) : strlen(word);
        const struct args_option *option = option_named(verb, word, len);
        if (!option) return unknown(verb, word);
        if (!option->value) {
            if (equals) return mistake(verb, "takes no value: ", option->name);
            *option->flag_into = true;
            continue;
        }
        const char *value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!value) return mistake(verb, "a value is missing after ", option->name);
        if (option->text_into) {
            *option->text_into = value;
        } else {
            if (option->list_into->count == CLI_LIST_MAX)
                return mistake(verb, "given too often: ", option->name);
            option->list_into->item[option->list_into->count++] = value;
        }
    }
    if (places->count < verb->places_min) return missing(verb, places->count);
    return CLI_DONE;
}

bool args_number(const char *option, const char *text, unsigned long long min,
                 unsigned long long max, unsigned long long *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno == 0 && end != text && *end == 0 && text[0] >= '0' && text[0] <= '9' && n >= min &&
        n <= max) {
        *out = n;
        return true;
    }
    fprintf(stderr, "weir: %s %s: a whole number from %llu to %llu is wanted\n", option, text, min,
            max);
    return false;
}

bool args_settings(const struct args_list *settings)
{
    for (unsigned i = 0; i < settings->count; i++) {
        const char *equals = strchr(settings->item[i], '=');
        if (equals && equals != settings->item[i]) continue;
        fprintf(stderr, "weir: --set `%s`: NAME=VALUE is wanted\n", settings->item[i]);
        return false;
    }
    return true;
}

static bool address_wrong(const char *option, const char *text)
{
    fprintf(stderr, "weir: %s `%s`: HOST:PORT is wanted, or one of both\n", option, text);
    return false;
}

bool args_address(const char *option, const char *text, int standard_port, char *room,
                  size_t room_bytes, const char **host, int *port)
{
    const char *colon = strrchr(text, ':');
    const char *begin = text, *end = colon ? colon : text + strlen(text);
    const char *number = colon ? colon + 1 : NULL;
    bool digits = strspn(text, "0123456789") == strlen(text);
    unsigned long long n = (unsigned long long)standard_port;
    if (!text[0] || text[strcspn(text, "/@ \t\r\n")]) return address_wrong(option, text);
    if (text[0] == '[') { /* [::1]:8080 */
        begin = text + 1;
        end = strchr(text, ']');
        if (!end || end == begin || (end[1] && end[1] != ':')) return address_wrong(option, text);
        number = end[1] ? end + 2 : NULL;
    } else if (colon && strchr(text, ':') != colon) { /* ::1 */
        end = text + strlen(text);
        number = NULL;
    } else if (digits) {
        end = text;
        number = text;
    }
    size_t len = (size_t)(end - begin);
    if (len >= room_bytes || (number && !number[0])) return address_wrong(option, text);
    if (number && !args_number(option, number, 0, 65535, &n)) return false;
    if (len) memcpy(room, begin, len);
    else snprintf(room, room_bytes, "127.0.0.1");
    if (len) room[len] = 0;
    *host = room;
    *port = (int)n;
    return true;
}
