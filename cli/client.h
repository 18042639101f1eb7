/*
 * client.h - a small RESP3 client: one connection, one command at a time, replies turned into JSON.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CLI_CLIENT_H
#define WEIR_CLI_CLIENT_H

#include "base/mem.h"

#define CLIENT_SECRET_BYTES_MAX 1100

struct client {
    int fd;
    struct buf in;
    size_t at; /* read up to here */
    char error[256];
};

struct client_reply {
    bool failed; /* an error reply: text is "CODE detail" */
    bool nil;
    bool plain; /* a string: text is what it says */
    struct buf json, text;
};

/* Where to connect and as whom; the options are CLIENT_OPTIONS. */
struct client_where {
    const char *address;    /* HOST:PORT of the door */
    const char *user;       /* NULL: whoever has the secret */
    const char *token_file; /* NULL: the environment's WEIR_TOKEN, or nothing */
};
#define CLIENT_WHERE ((struct client_where){ .address = "127.0.0.1:6400" })
#define CLIENT_OPTIONS(where)                                                                      \
    { "--host", "HOST:PORT", "RESP door of the server (127.0.0.1:6400)",                           \
      .text_into = &(where).address },                                                             \
        { "--user", "NAME", "as this user (whose token it is)", .text_into = &(where).user },      \
    {                                                                                              \
        "--token-file", "FILE", "the token or password, one line (the variable WEIR_TOKEN)",       \
            .text_into = &(where).token_file                                                       \
    }

/** A connected socket, or -1 with the reason. */
int client_dial(const char *host, int port, char *error, size_t error_bytes);
/** The caller's token or password, or "" for none; false with the reason. secret_wipe() it. */
bool client_secret(const struct client_where *where, char secret[CLIENT_SECRET_BYTES_MAX],
                   char *error, size_t error_bytes);

/** Connects, asks for RESP3 and names the user. 0, or the exit code with client->error. */
int client_open(struct client *client, const struct client_where *where);
/** Prints client->error, if there is one that was not printed yet, or what the server refused. */
void client_complain(const struct client *client, bool json);
/** Says on stderr what is wrong, as JSON {"error":"..."}; and, after NOAUTH, what to do. */
void client_tell(struct weir_str text, bool json);
/** Added as a string of JSON. A byte that is no UTF-8 becomes \udc80 to \udcff, which no text has. */
void client_json_text(struct buf *out, struct weir_str text);
/** Sends one command and reads its reply. False with client->error when the connection fails. */
bool client_ask(struct client *client, const char *const *words, size_t count,
                struct client_reply *reply);
void client_reply_free(struct client_reply *reply);
void client_close(struct client *client);

#endif
