/*
 * config.c - what the operator gives: command lines, addresses, numbers, settings of an application, files of users.
 *
 * The first byte picks; the words stand between line ends. What is taken must lie within its range, and what is refused
 * be refused with the exit code of a usage mistake and a word of why (on stderr, which is closed here: tests/integration
 * reads it).
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include "../../cli/cli.h"
#include "../unit/func/fake_ctx.h"
#include "base/sanitize_int.h"
#include "fuzz.h"
#include "net/users.h"
#include "server/server.h"

#define WORDS_MAX 300u

/* The memory sanitizer does not see LuaJIT: all that it writes would be reported. */
#ifdef WEIR_MSAN
#define LUA_UNSEEN 1
#else
#define LUA_UNSEEN 0
#endif

const char *const fuzz_words[] = { "--data\n", "--data=", "--set\n", "--set=a=b\n", "--json\n", "--json=1\n", "--help\n", "-h\n", "--\n", "-1\n", "--dta\n", "--=\n", "app.lua\n",
    "127.0.0.1:8080", ":80", "[::1]:1", "[::1", "::1", "none", "65535", "65536", "-1", "+1", " 1", "0x10", "18446744073709551616", "localhost:",
    "n=5\n", "n=\n", "=5\n", "n\n", "f=1e308\n", "f=nan\n", "b=true\n", "t=\xff\n", "e=x\n", "weir.jit=off\n", "ann clerk,op sha256:", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n", "bob - sha256:", "# x\n",  "n=9007199254740992\n", NULL };

static unsigned split(struct weir_str text, char *room, size_t room_bytes, char **words)
{
    unsigned count = 0;
    size_t at = 0;
    for (size_t i = 0; i < text.len && count < WORDS_MAX; i++) {
        size_t end = i;
        while (end < text.len && text.ptr[end] != '\n' && text.ptr[end] != 0) end++;
        if (at + (end - i) + 1 > room_bytes) break;
        words[count++] = room + at;
        if (end > i) memcpy(room + at, text.ptr + i, end - i);
        at += end - i;
        room[at++] = 0;
        i = end;
    }
    words[count] = NULL;
    return count;
}

static void command_line(char **words, unsigned count)
{
    const char *data = NULL;
    bool json = false;
    struct args_list settings = { .count = 0 };
    const struct args_option options[] = { { "--data", "DIR", "", .text_into = &data }, { "--set", "NAME=VALUE", "", .list_into = &settings },
                                           { "--json", NULL, "", .flag_into = &json }, { 0 } };
    const struct args_verb verb = { .usage = "weir x", .about = "about", .options = options, .places_min = 1, .places_max = 3 };
    struct args_places places;
    int code = args_parse(&verb, (int)count, words, &places);
    FUZZ_CHECK(code == CLI_DONE || code == 0 || code == SERVER_EXIT_USAGE, "%d", code);
    FUZZ_CHECK(settings.count <= CLI_LIST_MAX && settings.item[settings.count] == NULL);
    FUZZ_CHECK(code != CLI_DONE || (places.count >= 1 && places.count <= 3));
    for (unsigned i = 0; i < places.count; i++) FUZZ_CHECK(places.place[i] != NULL);
}

static void address(char **words, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char room[16];
        const char *host = NULL;
        int port = -1;
        unsigned long long n;
        memset(room, 'x', sizeof room);
        if (args_address("--http", words[i], 8080, room, sizeof room, &host, &port))
            FUZZ_CHECK(host == room && memchr(room, 0, sizeof room) && room[0] && port >= 0 && port <= 65535, "%s", words[i]);
        if (args_number("--shards", words[i], 2, 64, &n)) FUZZ_CHECK(n >= 2 && n <= 64, "%s", words[i]);
        const char *names[] = { "--data", "--set", "--json", words[0] };
        (void)args_nearest(words[i], names, 4);
    }
}

static void settings(char **words, unsigned count)
{
    static const char app[] =
        "local weir = require 'weir'\nlocal s = weir.service 's'\n"
        "local n = weir.setting('n', weir.int { min = 0, max = 10, default = 1 })\nlocal f = weir.setting('f', weir.float { default = 0.5 })\n"
        "local b = weir.setting('b', weir.bool { default = true })\nlocal t = weir.setting('t', weir.text { max = 20, default = '' })\n"
        "local e = weir.setting('e', weir.enum { 'x', 'y' } { default = 'x' })\n"
        "assert(n >= 0 and n <= 10 and f == f and #t <= 20 and (b == true or b == false) and (e == 'x' or e == 'y'), 'a setting beyond its rule')\n"
        "s:query('all', { returns = weir.any }, function() return { n = n, f = f, b = b, t = t, e = e } end)\n";
    struct lua_problem problem = { .line = 0 };
    fake_files_reset();
    fake_settings((const char *const *)words);
    struct fake *fake = fake_try(app, &problem);
    if (fake == NULL) {
        FUZZ_CHECK(strncmp(problem.text, "setting `", 9) == 0, "%s", problem.text); /* not by the assert() */
        fake_files_reset();
        return;
    }
    const char *answer = fake_call(fake, "s", "", "all", "");
    FUZZ_CHECK(strncmp(answer, "ok ", 3) == 0, "%s", answer);
    fake_destroy(fake);
}

/* A file of users: each that is taken has a good name and is found by it, and is written as a line that reads as the same. */
static void users(struct weir_str text)
{
    char why[256] = "", again[256] = "";
    struct users *users = users_create(), *copy = users_create();
    if (users_parse(users, text, why, sizeof why)) {
        struct buf lines = { 0 };
        for (uint32_t i = 0; i < users->count; i++) {
            FUZZ_CHECK(user_name_is_fit(users->list[i].name) && users_by_name(users, users->list[i].name) == &users->list[i]);
            user_write(&users->list[i], &lines);
        }
        FUZZ_CHECK(users_parse(copy, buf_str(&lines), again, sizeof again), "%s: %.*s", again, STR_ARG(buf_str(&lines)));
        FUZZ_CHECK(copy->count == users->count);
        for (uint32_t i = 0; i < copy->count; i++)
            FUZZ_CHECK(str_eq(copy->list[i].roles, users->list[i].roles) && memcmp(copy->list[i].digest, users->list[i].digest, SHA256_BYTES) == 0);
        buf_free(&lines);
    } else {
        FUZZ_CHECK(why[0] != 0 && memchr(why, 0, sizeof why), "refused without a word");
    }
    (void)users_by_secret(users, text);
    (void)users_by_both(users, text, text);
    users_destroy(users);
    users_destroy(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char room[8192], *words[WORDS_MAX + 1];
    static FILE *nowhere;
    struct bytes in = bytes_of(data, size);
    uint8_t way = take_byte(&in);
    if (way % 4 == 3) {
        users(take_rest(&in));
        return 0;
    }
    unsigned count = split(take_rest(&in), room, sizeof room, words);
    if (nowhere == NULL) nowhere = fopen("/dev/null", "w");
    FILE *out = stdout, *err = stderr;
    stdout = nowhere;
    stderr = nowhere;
    if (way % 4 == 0) command_line(words, count);
    else if (way % 4 == 1 && count > 0) address(words, count);
    stdout = out;
    stderr = err;
    if (way % 4 == 2 && !LUA_UNSEEN) settings(words, count);
    return 0;
}
