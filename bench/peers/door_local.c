/*
 * door_local.c - SQLite and LMDB in this process: one transaction at a time, each on disk before the next begins.
 *
 * Their processor time is the client's: there is no other process. Each is built in only where its library is (HAVE_SQLITE,
 * HAVE_LMDB, bench/peers/meson.build).
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#ifdef HAVE_SQLITE
#include <sqlite3.h>
#endif
#ifdef HAVE_LMDB
#include <lmdb.h>
#endif

#include "doors.h"

#if defined(HAVE_SQLITE) || defined(HAVE_LMDB)

struct local {
    struct door door;
    /** One transaction. */
    void (*execute)(struct local *local, const struct shot *shot, struct answer *answer);
    void (*leave)(struct local *local);
#ifdef HAVE_SQLITE
    sqlite3 *sqlite;
    sqlite3_stmt *begin, *commit, *rollback, *insert, *subtract, *add, *select;
#endif
#ifdef HAVE_LMDB
    MDB_env *env;
    MDB_dbi accounts;
#endif
};

static bool local_run(struct door *base, struct driver *driver)
{
    struct local *local = (struct local *)base;
    struct shot *shot = mem_alloc(sizeof(*shot));
    struct answer answer;
    for (;;) {
        uint64_t now = mono_ns();
        driver_turn(driver, now);
        if (driver_done(driver)) break;
        if (!driver_take(driver, now, shot)) continue;
        local->execute(local, shot, &answer);
        driver_answer(driver, shot, &answer, mono_ns());
    }
    mem_free(shot);
    return driver->error[0] == 0;
}

static bool local_figures(struct door *base, struct figures *f)
{
    memset(f, 0, sizeof(*f));
    f->client = cpu_used(RUSAGE_SELF);
    return true;
}

static void local_close(struct door *base)
{
    struct local *local = (struct local *)base;
    local->leave(local);
    mem_free(local);
}

static struct local *local_create(void (*execute)(struct local *, const struct shot *,
                                                  struct answer *),
                                  void (*leave)(struct local *))
{
    struct local *local = mem_alloc(sizeof(*local));
    local->door = (struct door){ local_run, local_figures, local_close };
    local->execute = execute;
    local->leave = leave;
    return local;
}

static struct answer answer_number(int64_t n)
{
    return (struct answer){ .kind = ANSWER_NUMBER, .number = n };
}

static struct answer answer_error(const char *word, const char *text)
{
    return (struct answer){ .kind = ANSWER_ERROR,
                            .word = { word, strlen(word) },
                            .text = { text, strlen(text) } };
}

#endif

/* ---- SQLite: a write-ahead log, synced with each commit ---- */

#ifdef HAVE_SQLITE

/* Keys are numbers behind a letter: a table by number is the fastest that SQLite has. */
static int64_t number_of(const char *text)
{
    return strtoll(text + 1, NULL, 10);
}

/* Runs it to its end; *out is the first column of its last row. False: it failed. */
static bool step(sqlite3_stmt *statement, int64_t a, int64_t b, int64_t *out, bool *found)
{
    int code, count = sqlite3_bind_parameter_count(statement);
    if (count > 0) sqlite3_bind_int64(statement, 1, a);
    if (count > 1) sqlite3_bind_int64(statement, 2, b);
    *found = false;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        *found = true;
        *out = sqlite3_column_int64(statement, 0);
    }
    sqlite3_reset(statement);
    return code == SQLITE_DONE;
}

static void sqlite_execute(struct local *l, const struct shot *shot, struct answer *answer)
{
    int64_t left = 0, none = 0, key = 0;
    bool found = false, enough = false, good = true;
    char text[SHOT_KEY_BYTES_MAX + 1] = "";
    memcpy(text, shot->key, shot->key_len);
    key = number_of(text);
    switch (shot->verb) {
    case VERB_OPEN:
        good = step(l->insert, key, shot->arg[0].n, &none, &found);
        *answer = (struct answer){ .kind = ANSWER_NIL };
        break;
    case VERB_BALANCE:
        good = step(l->select, key, 0, &left, &found);
        *answer = found ? answer_number(left) : answer_error("missing", "missing: no such account");
        break;
    default:
        good = step(l->begin, 0, 0, &none, &found) && step(l->subtract, key, 0, &left, &enough);
        if (good && enough) good = step(l->add, shot->note[1], 0, &none, &found) && found;
        *answer = enough ? answer_number(left) : answer_error("check", "check: not enough");
        if (good) good = step(enough ? l->commit : l->rollback, 0, 0, &none, &found);
    }
    if (!good) *answer = answer_error("sqlite", sqlite3_errmsg(l->sqlite));
}

static void sqlite_leave(struct local *l)
{
    sqlite3_stmt *all[] = { l->begin,    l->commit, l->rollback, l->insert,
                            l->subtract, l->add,    l->select };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) sqlite3_finalize(all[i]);
    sqlite3_close(l->sqlite);
}

struct door *door_sqlite_open(const char *folder, char *error, size_t error_bytes)
{
    struct local *l = local_create(sqlite_execute, sqlite_leave);
    char path[600];
    snprintf(path, sizeof(path), "%s/accounts.sqlite", folder);
    const struct {
        sqlite3_stmt **into;
        const char *text;
    } statements[] = {
        { &l->begin, "BEGIN IMMEDIATE" },
        { &l->commit, "COMMIT" },
        { &l->rollback, "ROLLBACK" },
        { &l->insert, "INSERT INTO account VALUES (?, ?)" },
        { &l->subtract, "UPDATE account SET balance = balance - 1 WHERE id = ? AND balance >= 1 "
                        "RETURNING balance" },
        { &l->add, "UPDATE account SET balance = balance + 1 WHERE id = ? RETURNING balance" },
        { &l->select, "SELECT balance FROM account WHERE id = ?" },
    };
    bool good = sqlite3_open(path, &l->sqlite) == SQLITE_OK &&
                sqlite3_exec(l->sqlite,
                             "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                             "PRAGMA synchronous = FULL;"
                             "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT "
                             "NULL)",
                             NULL, NULL, NULL) == SQLITE_OK;
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]) && good; i++)
        good = sqlite3_prepare_v2(l->sqlite, statements[i].text, -1, statements[i].into, NULL) ==
               SQLITE_OK;
    if (good) return &l->door;
    snprintf(error, error_bytes, "%s: %s", path, sqlite3_errmsg(l->sqlite));
    local_close(&l->door);
    return NULL;
}

#else

struct door *door_sqlite_open(const char *folder, char *error, size_t error_bytes)
{
    snprintf(error, error_bytes, "built without SQLite");
    return NULL;
}

#endif

/* ---- LMDB: pages copied on write, data and meta page synced with each commit ---- */

#ifdef HAVE_LMDB

static int lmdb_read(struct local *l, MDB_txn *txn, MDB_val *key, int64_t *balance)
{
    MDB_val value;
    int code = mdb_get(txn, l->accounts, key, &value);
    if (code == 0) memcpy(balance, value.mv_data, sizeof(*balance));
    return code;
}

static int lmdb_write(struct local *l, MDB_txn *txn, MDB_val *key, int64_t balance)
{
    MDB_val value = { sizeof(balance), &balance };
    return mdb_put(txn, l->accounts, key, &value, 0);
}

static int lmdb_transfer(struct local *l, MDB_txn *txn, MDB_val *a, MDB_val *b,
                         struct answer *answer)
{
    int64_t from = 0, to = 0;
    int code = lmdb_read(l, txn, a, &from);
    if (code == 0) code = lmdb_read(l, txn, b, &to);
    if (code == 0) *answer = answer_number(from - 1);
    if (code != 0 || from < 1) return code;
    code = lmdb_write(l, txn, a, from - 1);
    return code == 0 ? lmdb_write(l, txn, b, to + 1) : code;
}

static void lmdb_execute(struct local *l, const struct shot *shot, struct answer *answer)
{
    MDB_txn *txn = NULL;
    char from[SHOT_KEY_BYTES_MAX], to[SHOT_TEXT_BYTES_MAX];
    memcpy(from, shot->key, shot->key_len);
    MDB_val a = { shot->key_len, from }, b = { 0, to };
    int64_t balance = 0;
    *answer = (struct answer){ .kind = ANSWER_NIL };
    int code = mdb_txn_begin(l->env, NULL, shot->verb == VERB_BALANCE ? MDB_RDONLY : 0, &txn);
    if (code == 0 && shot->verb == VERB_OPEN) {
        code = lmdb_write(l, txn, &a, shot->arg[0].n);
    } else if (code == 0 && shot->verb == VERB_BALANCE) {
        code = lmdb_read(l, txn, &a, &balance);
        *answer = answer_number(balance);
    } else if (code == 0) {
        b.mv_size = shot->arg[0].len;
        memcpy(to, shot->text + shot->arg[0].at, b.mv_size);
        code = lmdb_transfer(l, txn, &a, &b, answer);
        if (code == 0 && answer->number < 0) *answer = answer_error("check", "check: not enough");
    }
    if (code == 0 && answer->kind != ANSWER_ERROR) code = mdb_txn_commit(txn);
    else if (txn) mdb_txn_abort(txn);
    if (code != 0) *answer = answer_error("lmdb", mdb_strerror(code));
}

static void lmdb_leave(struct local *l)
{
    if (l->env) mdb_env_close(l->env);
}

struct door *door_lmdb_open(const char *folder, char *error, size_t error_bytes)
{
    struct local *l = local_create(lmdb_execute, lmdb_leave);
    MDB_txn *txn = NULL;
    int code = mdb_env_create(&l->env);
    if (code == 0) code = mdb_env_set_mapsize(l->env, (size_t)1 << 30);
    if (code == 0) code = mdb_env_open(l->env, folder, 0, 0600);
    if (code == 0) code = mdb_txn_begin(l->env, NULL, 0, &txn);
    if (code == 0) code = mdb_dbi_open(txn, NULL, MDB_CREATE, &l->accounts);
    if (code == 0) code = mdb_txn_commit(txn);
    if (code == 0) return &l->door;
    snprintf(error, error_bytes, "%s: %s", folder, mdb_strerror(code));
    local_close(&l->door);
    return NULL;
}

#else

struct door *door_lmdb_open(const char *folder, char *error, size_t error_bytes)
{
    snprintf(error, error_bytes, "built without LMDB");
    return NULL;
}

#endif
