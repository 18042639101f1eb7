/*
 * users.h - who may call: names, roles, and the digest of each one's token.
 *
 * A file of one user per line: NAME ROLES DIGEST, roles with commas between or `-`, the digest as `sha256:` and 64
 * hex digits; lines that begin with # and empty ones are skipped. Tokens are made by `weir user add` from 160
 * random bits, so a fast digest without salt guards them: they cannot be guessed, and no slow hash gives strangers
 * a way to keep the server busy. A password that a person chose is not for this file; the one operator's password
 * of --password-file comes as text, is long, and only its digest is kept.
 *
 * A set is read-only once made. The token alone finds its user: looking for it compares with every one's
 * digest, all bytes of each.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_NET_USERS_H
#define WEIR_NET_USERS_H

#include "base/mem.h"
#include "base/secret.h"
#include "weir/status.h"

#define USERS_MAX                                                                                  \
    1000u /* LIMIT: each HTTP request compares with all; a table by digest would lift it */
#define USER_NAME_BYTES_MAX 64u
#define USER_ROLES_MAX 16u
#define PASSWORD_BYTES_MIN 16u
#define PASSWORD_BYTES_MAX 1024u
#define TOKEN_PREFIX "weir_" /* so that scanners for leaked secrets can know one */
#define TOKEN_BYTES 37u      /* the prefix and 32 characters of 5 bits */

struct user {
    struct weir_str name;
    struct weir_str roles; /* with commas between */
    uint8_t digest[SHA256_BYTES];
};

struct users {
    struct arena arena;
    struct user list[USERS_MAX];
    uint32_t count;
};

struct users *users_create(void);
void users_destroy(struct users *users);
/** Adds the users of a file's text. False with *error, which names the line and never holds a digest. */
bool users_parse(struct users *users, struct weir_str text, char *error, size_t error_bytes);
/** Adds the user `operator` with that role and this password. */
bool users_add_password(struct users *users, struct weir_str password, char *error,
                        size_t error_bytes);
/** Whose token or password it is, or NULL. */
const struct user *users_by_secret(const struct users *users, struct weir_str secret);
const struct user *users_by_name(const struct users *users, struct weir_str name);
/** The user of that name if it is its secret; takes as long when there is none of that name. */
const struct user *users_by_both(const struct users *users, struct weir_str name,
                                 struct weir_str secret);

/** Whether the text may be a user's name: 1 to 64 letters, digits, and - _ . @ */
bool user_name_is_fit(struct weir_str name);
/** One role: as names in applications, but not "anyone". */
bool user_role_is_fit(struct weir_str role);
/** A line for the file, with its end. */
void user_write(const struct user *user, struct buf *out);
/** A token of numbers that are random. */
void token_make(uint64_t (*number)(void *arg), void *arg, char token[TOKEN_BYTES]);

#endif
