/*
 * user.c - `weir user add | list | remove`: the file of users.
 *
 * A file is changed whole: the new one is begun under another name, which also keeps a second change out, then the
 * old one is read, and the new one takes its place. A token is shown once and stands nowhere else.
 * SPDX-License-Identifier: MIT
 */
#include "core/catalog.h"
#include "data/shape.h"
#include "net/users.h"
#include "os/env.h"
#include "os/private.h"
#include "server/server.h"

static int refuse(const struct server_user_options *options, int code, const char *text)
{
    fprintf(options->err, "weir: %s\n", text);
    return code;
}

static uint64_t random_of(void *arg)
{
    struct env *env = arg;
    return env->random(env);
}

/* The file's users; one that does not exist has none if `may_lack`. */
static int file_read(const struct server_user_options *options, bool may_lack, struct users *users,
                     struct buf *text)
{
    char error[512], why[256];
    struct private_stamp stamp;
    private_look(options->file, &stamp);
    if (stamp.file == 0 && may_lack) return 0;
    if (stamp.file == 0) {
        snprintf(error, sizeof error, "there is no file %s; `weir user add` makes one",
                 options->file);
        return refuse(options, SERVER_EXIT_CONFIG, error);
    }
    if (!private_read(options->file, false, text, &stamp, error, sizeof error))
        return refuse(options, SERVER_EXIT_CONFIG, error);
    if (users_parse(users, buf_str(text), why, sizeof why)) return 0;
    snprintf(error, sizeof error, "%s: %s", options->file, why);
    return refuse(options, SERVER_EXIT_CONFIG, error);
}

/* ---- add ---- */

/* The roles with commas between. */
static int roles_join(const struct server_user_options *options, struct buf *roles)
{
    unsigned count = 0;
    for (const char *const *role = options->roles; role && *role; role++, count++) {
        if (!user_role_is_fit(str_of(*role)) || count == USER_ROLES_MAX)
            return refuse(options, SERVER_EXIT_USAGE,
                          "a role is a word of letters, digits and _, as in `allow`; not anyone, "
                          "which everybody is; at most 16");
        buf_printf(roles, "%s%s", count ? "," : "", *role);
    }
    return 0;
}

/* Whether it was seen: a token that nobody has must not get into the file. */
static bool show_token(const struct server_user_options *options, const struct user *user,
                       const char *token)
{
    if (options->json) {
        struct buf line = { 0 };
        buf_add_text(&line, "{\"user\":");
        json_write_text(&line, user->name);
        buf_add_text(&line, ",\"roles\":[");
        for (const char *const *role = options->roles; role && *role; role++)
            buf_printf(&line, "%s\"%s\"", role == options->roles ? "" : ",", *role);
        fprintf(options->out, "%.*s],\"token\":\"%.*s\"}\n", (int)line.len, line.ptr,
                (int)TOKEN_BYTES, token);
        buf_free(&line);
        return fflush(options->out) == 0;
    }
    fprintf(options->err, "the token of %.*s, shown this once:\n", STR_ARG(user->name));
    fprintf(options->out, "%.*s\n", (int)TOKEN_BYTES, token);
    return fflush(options->out) == 0;
}

static int add(const struct server_user_options *options, struct users *users, struct buf *text,
               struct user *user, char token[TOKEN_BYTES])
{
    struct env *env = env_real();
    int code = file_read(options, true, users, text);
    if (code != 0) return code;
    if (users_by_name(users, user->name))
        return refuse(options, SERVER_EXIT_FAILED,
                      "there is a user of that name; remove it first to give it another token");
    if (users->count == USERS_MAX) return refuse(options, SERVER_EXIT_FAILED, "1000 users is all");
    token_make(random_of, env, token);
    sha256((struct weir_str){ token, TOKEN_BYTES }, user->digest);
    if (text->len > 0 && text->ptr[text->len - 1] != '\n') buf_add_byte(text, '\n');
    if (text->len == 0)
        buf_add_text(text, "# users of weir: name, roles, digest of the token; `weir user` writes "
                           "this file\n");
    user_write(user, text);
    return 0;
}

/* ---- remove ---- */

/* Takes the user's line out and leaves all others as they are. */
static int take_out(const struct server_user_options *options, struct users *users,
                    struct buf *text)
{
    struct weir_str name = str_of(options->name);
    struct buf kept = { 0 };
    int code = file_read(options, false, users, text);
    if (code != 0) return code;
    if (!users_by_name(users, name))
        return refuse(options, SERVER_EXIT_FAILED, "there is no user of that name");
    for (size_t at = 0; at < text->len;) {
        size_t end = at, begin = at;
        while (end < text->len && text->ptr[end] != '\n') end++;
        while (begin < end && (text->ptr[begin] == ' ' || text->ptr[begin] == '\t')) begin++;
        bool found = end - begin > name.len &&
                     str_eq((struct weir_str){ text->ptr + begin, name.len }, name) &&
                     (text->ptr[begin + name.len] == ' ' || text->ptr[begin + name.len] == '\t');
        if (end < text->len) end++;
        if (!found) buf_add(&kept, text->ptr + at, end - at);
        at = end;
    }
    buf_free(text);
    *text = kept;
    return 0;
}

/* ---- the verbs ---- */

static int change(const struct server_user_options *options)
{
    char error[512], token[TOKEN_BYTES];
    struct buf text = { 0 }, roles = { 0 };
    struct user user = { .name = str_of(options->name) };
    if (!user_name_is_fit(user.name))
        return refuse(options, SERVER_EXIT_USAGE, "a name is 1 to 64 letters, digits, and - _ . @");
    int code = options->remove ? 0 : roles_join(options, &roles);
    int handle = code == 0 ? private_replace_begin(options->file, error, sizeof error) : -1;
    if (code == 0 && handle < 0) code = refuse(options, SERVER_EXIT_IO, error);
    if (handle >= 0) {
        struct users *users = users_create();
        user.roles = buf_str(&roles);
        code = options->remove ? take_out(options, users, &text)
                               : add(options, users, &text, &user, token);
        users_destroy(users);
        if (code == 0 && !options->remove && !show_token(options, &user, token))
            code = refuse(options, SERVER_EXIT_IO, "the token cannot be shown: nothing is added");
        if (code != 0) private_replace_abort(options->file, handle);
        else if (!private_replace_end(options->file, handle, buf_str(&text), error, sizeof error))
            code = refuse(options, SERVER_EXIT_IO, error);
    }
    if (code == 0 && options->remove && options->json)
        fprintf(options->out, "{\"removed\":\"%s\"}\n", options->name);
    secret_wipe(token, sizeof token);
    buf_free(&text);
    buf_free(&roles);
    return code;
}

int server_user_change(const struct server_user_options *options)
{
    return change(options);
}

int server_user_list(const struct server_user_options *options)
{
    struct buf text = { 0 }, out = { 0 };
    struct users *users = users_create();
    int code = file_read(options, false, users, &text);
    if (options->json) buf_add_text(&out, "{\"users\":[");
    for (uint32_t i = 0; i < users->count; i++) {
        const struct user *user = &users->list[i];
        if (!options->json) {
            buf_printf(&out, "%-24.*s %.*s\n", STR_ARG(user->name),
                       STR_ARG(user->roles.len ? user->roles : STR("-")));
            continue;
        }
        buf_printf(&out, "%s{\"user\":", i ? "," : "");
        json_write_text(&out, user->name);
        buf_add_text(&out, ",\"roles\":[");
        for (size_t at = 0; at < user->roles.len; at++) {
            size_t begin = at;
            while (at < user->roles.len && user->roles.ptr[at] != ',') at++;
            buf_printf(&out, "%s\"%.*s\"", begin ? "," : "", (int)(at - begin),
                       user->roles.ptr + begin);
        }
        buf_add_text(&out, "]}");
    }
    if (options->json) buf_add_text(&out, "]}\n");
    if (code == 0) fwrite(buf_str(&out).ptr, 1, out.len, options->out);
    users_destroy(users);
    buf_free(&text);
    buf_free(&out);
    return code;
}
