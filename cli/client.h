/*
 * client.h - a small RESP3 client: one connection, one command at a time, replies turned into JSON.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CLI_CLIENT_H
#define WEIR_CLI_CLIENT_H

#include "base/mem.h"

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

/** Connects to "HOST:PORT" and asks for RESP3. False with client->error. */
bool client_open(struct client *client, const char *host, int port);
/** Sends one command and reads its reply. False with client->error when the connection fails. */
bool client_ask(struct client *client, const char *const *words, size_t count,
                struct client_reply *reply);
void client_reply_free(struct client_reply *reply);
void client_close(struct client *client);

#endif
