/*
 * users.c - the set of users: its file's form, and finding one by a secret.
 * SPDX-License-Identifier: MIT
 */
#include "net/users.h"

#include <stdio.h>

#include "core/catalog.h"

#define DIGEST_PREFIX "sha256:"

struct users *users_create(void)
{
    return mem_alloc(sizeof(struct users));
}

void users_destroy(struct users *users)
{
    if (!users) return;
    arena_free(&users->arena);
    secret_wipe(users->list, sizeof users->list);
    mem_free(users);
}

/* ---- words ---- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool user_name_is_fit(struct weir_str name)
{
    if (name.len == 0 || name.len > USER_NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!is_letter(c) && !is_digit(c) && (!c || !strchr("-_.@", c))) return false;
    }
    return is_letter(name.ptr[0]) || is_digit(name.ptr[0]);
}

bool user_role_is_fit(struct weir_str role)
{
    if (role.len == 0 || role.len > CATALOG_NAME_BYTES_MAX || !is_letter(role.ptr[0])) return false;
    for (size_t i = 0; i < role.len; i++)
        if (!is_letter(role.ptr[i]) && !is_digit(role.ptr[i]) && role.ptr[i] != '_') return false;
    return !str_eq(role, STR(HANDLER_ANYONE));
}

static bool roles_are_fit(struct weir_str roles)
{
    size_t count = 0;
    for (size_t at = 0; at <= roles.len; count++) {
        size_t end = at;
        while (end < roles.len && roles.ptr[end] != ',') end++;
        if (!user_role_is_fit((struct weir_str){ roles.ptr + at, end - at })) return false;
        at = end + 1;
    }
    return count <= USER_ROLES_MAX;
}

static int hex_digit(char c)
{
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool digest_read(struct weir_str text, uint8_t digest[SHA256_BYTES])
{
    size_t prefix = sizeof DIGEST_PREFIX - 1;
    if (text.len != prefix + 2 * SHA256_BYTES || memcmp(text.ptr, DIGEST_PREFIX, prefix) != 0)
        return false;
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        int high = hex_digit(text.ptr[prefix + 2 * i]);
        int low = hex_digit(text.ptr[prefix + 2 * i + 1]);
        if (high < 0 || low < 0) return false;
        digest[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/* ---- the file ---- */

static struct user *user_add(struct users *users, struct weir_str name, struct weir_str roles)
{
    struct user *user = &users->list[users->count++];
    user->name = arena_copy(&users->arena, name);
    user->roles = arena_copy(&users->arena, roles);
    return user;
}

/* The next word of a line; empty at its end. */
static struct weir_str word_next(struct weir_str *line)
{
    size_t begin = 0, end;
    while (begin < line->len && (line->ptr[begin] == ' ' || line->ptr[begin] == '\t')) begin++;
    end = begin;
    while (end < line->len && line->ptr[end] != ' ' && line->ptr[end] != '\t') end++;
    struct weir_str word = { line->ptr + begin, end - begin };
    line->ptr += end;
    line->len -= end;
    return word;
}

/* NULL, or what is wrong with the line. */
static const char *line_read(struct users *users, struct weir_str line)
{
    uint8_t digest[SHA256_BYTES];
    struct weir_str name = word_next(&line), roles = word_next(&line), text = word_next(&line);
    if (name.len == 0 || name.ptr[0] == '#') return NULL;
    if (!user_name_is_fit(name)) return "a name is 1 to 64 letters, digits, and - _ . @";
    if (str_eq(roles, STR("-"))) roles.len = 0;
    else if (!roles_are_fit(roles)) return "roles are words with commas between, or -";
    if (!digest_read(text, digest) || word_next(&line).len > 0)
        return "a line is NAME ROLES sha256:DIGEST; `weir user add` writes them";
    if (users_by_name(users, name)) return "the user is there twice";
    for (uint32_t i = 0; i < users->count; i++)
        if (secret_eq(users->list[i].digest, digest, sizeof digest))
            return "the token is another user's, too";
    if (users->count == USERS_MAX) return "more than 1000 users";
    memcpy(user_add(users, name, roles)->digest, digest, sizeof digest);
    return NULL;
}

bool users_parse(struct users *users, struct weir_str text, char *error, size_t error_bytes)
{
    for (unsigned number = 1; text.len > 0; number++) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t len = end ? (size_t)(end - text.ptr) : text.len;
        struct weir_str line = { text.ptr, len };
        if (len > 0 && line.ptr[len - 1] == '\r') line.len--;
        const char *fault = line_read(users, line);
        if (fault) {
            snprintf(error, error_bytes, "line %u: %s", number, fault);
            return false;
        }
        text.ptr += len + (end ? 1 : 0);
        text.len -= len + (end ? 1 : 0);
    }
    return true;
}

void user_write(const struct user *user, struct buf *out)
{
    buf_printf(out, "%.*s %.*s " DIGEST_PREFIX, STR_ARG(user->name),
               STR_ARG(user->roles.len ? user->roles : STR("-")));
    for (size_t i = 0; i < SHA256_BYTES; i++) buf_printf(out, "%02x", user->digest[i]);
    buf_add_byte(out, '\n');
}

bool users_add_password(struct users *users, struct weir_str password, char *error,
                        size_t error_bytes)
{
    while (password.len > 0 && strchr("\r\n", password.ptr[password.len - 1])) password.len--;
    if (password.len < PASSWORD_BYTES_MIN || password.len > PASSWORD_BYTES_MAX ||
        memchr(password.ptr, '\n', password.len)) {
        snprintf(error, error_bytes,
                 "a password is one line of %u to %u bytes: head -c 24 /dev/urandom | base64",
                 PASSWORD_BYTES_MIN, PASSWORD_BYTES_MAX);
        return false;
    }
    if (users_by_name(users, STR(ROLE_OPERATOR)) || users->count == USERS_MAX) {
        snprintf(error, error_bytes,
                 "the password is the user operator's, and the users file has one, too");
        return false;
    }
    sha256(password, user_add(users, STR(ROLE_OPERATOR), STR(ROLE_OPERATOR))->digest);
    return true;
}

void token_make(uint64_t (*number)(void *arg), void *arg, char token[TOKEN_BYTES])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    size_t prefix = sizeof TOKEN_PREFIX - 1;
    memcpy(token, TOKEN_PREFIX, prefix);
    for (size_t i = 0; i < TOKEN_BYTES - prefix; i += 8) {
        uint64_t bits = number(arg);
        for (size_t j = 0; j < 8; j++) token[prefix + i + j] = digits[bits >> (5 * j) & 31];
        secret_wipe(&bits, sizeof bits);
    }
}

/* ---- finding ---- */

const struct user *users_by_secret(const struct users *users, struct weir_str secret)
{
    uint8_t digest[SHA256_BYTES];
    const struct user *found = NULL;
    sha256(secret, digest);
    for (uint32_t i = 0; i < users->count; i++)
        if (secret_eq(users->list[i].digest, digest, sizeof digest)) found = &users->list[i];
    secret_wipe(digest, sizeof digest);
    return found;
}

const struct user *users_by_name(const struct users *users, struct weir_str name)
{
    for (uint32_t i = 0; i < users->count; i++)
        if (str_eq(users->list[i].name, name)) return &users->list[i];
    return NULL;
}

const struct user *users_by_both(const struct users *users, struct weir_str name,
                                 struct weir_str secret)
{
    const struct user *user = users_by_secret(users, secret);
    return user && str_eq(user->name, name) ? user : NULL;
}
