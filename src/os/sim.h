/*
 * sim.h - a simulated world from one seed: scheduler, disk, clock, randomness.
 *
 * All actors run on the calling thread, chosen by a seeded scheduler. The disk keeps, per file, what is
 * synced and a list of pending writes in 512-byte sectors; a crash keeps, drops or tears each pending
 * sector by the chosen mode; creations, renames and removals stay pending until dir_sync and persist as
 * a random subset. Faults come at random, each kind at its own rate. After sim_crash() the world stands still with all actors gone and all handles
 * invalid; a new engine may be started on the same disk: it sees what survived.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_SIM_H
#define WEIR_OS_SIM_H

#include "os/env.h"

struct sim;

enum sim_crash_mode {
    SIM_KEEP_NOTHING,
    SIM_KEEP_ALL,
    SIM_KEEP_RANDOM,
    SIM_KEEP_PREFIX_TORN,
    SIM_KEEP_GARBLED, /* as random, and some sectors hold bytes that nobody wrote */
    SIM_KILL          /* the process only: the page cache stays, nothing becomes durable by it */
};
enum sim_fault {
    SIM_FAULT_NONE,
    SIM_FAULT_EIO,
    SIM_FAULT_ENOSPC,
    SIM_FAULT_SYNC_LOST /* sync fails once,
    pages marked clean and lost at the next crash: ext4 and XFS */
};

/* What may go wrong by chance, and how often it did. */
// clang-format off
#define SIM_FAULTS(X)                                                                   \
    X(READ_EIO, "a read fails")                                                         \
    X(WRITE_EIO, "a write fails, a part of it may be there")                            \
    X(WRITE_ENOSPC, "a write finds no room, a part of it may be there")                 \
    X(NAME_EIO, "creating, renaming, removing or truncating a file, or a directory's sync, fails") \
    X(SYNC_EIO, "a sync fails: its pages stay readable, and are lost (ext4, XFS)")      \
    X(SYNC_ENOSPC, "the same, reported as a full disk (XFS on thin space)")             \
    X(SYNC_REVERT, "a sync fails: the old content is back (btrfs)")                     \
    X(SYNC_LATE, "a sync fails, and only the file's next one says so (ext4 data=journal)")         \
    X(SLOW, "a file operation takes up to two seconds")                                 \
    X(LATENT, "a sector cannot be read any more, until it is written")                  \
    X(LOST_WRITE, "a write is confirmed and synced, and not there after a power cut")   \
    X(MISDIRECTED, "a write lands elsewhere in its file")                               \
    X(FREEZE, "an actor does not run for up to a second")
// clang-format on
enum sim_fault_kind {
#define X(name, text) SIM_##name,
    SIM_FAULTS(X)
#undef X
        SIM_FAULT_KINDS
};
struct sim_faults {
    uint32_t per_million[SIM_FAULT_KINDS]; /* of the calls that it may befall */
};

struct sim *sim_create(uint64_t seed);
void sim_destroy(struct sim *sim);
struct env *sim_env(struct sim *sim);
/** Runs one actor that is due; false when none is runnable before time must move. */
bool sim_step(struct sim *sim);
/** Moves the clock to the next actor's wish (or by at most max_ns); false if none wishes. */
bool sim_advance(struct sim *sim, uint64_t max_ns);
/** Steps, and moves the clock when idle, until `done` says so or limit_ns of simulated time passed. */
bool sim_run(struct sim *sim, bool (*done)(void *arg), void *arg, uint64_t limit_ns);
void sim_clock_add(struct sim *sim, uint64_t ns); /* both clocks */
void sim_wall_jump(struct sim *sim, int64_t ms);  /* wall clock only */
/** How fast the wall clock goes from here on: 1000 is right, 0 stands still. */
void sim_wall_rate(struct sim *sim, uint32_t per_mille);
/** Faults by chance from here on; NULL: none. */
void sim_faults_set(struct sim *sim, const struct sim_faults *faults);
uint64_t sim_faults_fired(const struct sim *sim, enum sim_fault_kind kind);
const char *sim_fault_name(enum sim_fault_kind kind);
/** Points of ENV_CHANCE(): each is chosen for this seed with a chance of 1 in 4, and then taken often or seldom. */
void sim_chances(struct sim *sim, bool on);
/** Calls `each` with every point that was asked, and how often it was taken. */
void sim_chances_each(const struct sim *sim,
                      void (*each)(void *arg, const char *name, uint64_t taken), void *arg);
/** Asked at each counted file operation, by its number: true crashes it there, by `mode` of the last sim_crash_at(). */
void sim_on_operation(struct sim *sim, bool (*crash)(void *arg, uint64_t operation), void *arg);
/** Another course of chance from here on. */
void sim_reseed(struct sim *sim, uint64_t seed);
/** Handles of files and directories not closed. */
uint32_t sim_open_handles(const struct sim *sim);
/** Crash when the n-th file operation from now begins (counted: write, sync, dir_sync, open with create,
 *  rename, unlink, truncate). 0 switches off. The call longjmps out of sim_step()/sim_run(): those then
 *  return false and sim_crashed() is true. Calls made outside a turn longjmp to sim_guard(). */
void sim_crash_at(struct sim *sim, uint64_t operation, enum sim_crash_mode mode);
bool sim_crashed(const struct sim *sim);
/** Runs fn(arg) so that a planned crash inside ends it; true if it ended by itself. */
bool sim_guard(struct sim *sim, void (*fn)(void *arg), void *arg);
/** Crash now (between steps). */
void sim_crash(struct sim *sim, enum sim_crash_mode mode);
uint64_t sim_operations(const struct sim *sim); /* file operations so far */
/** The n-th file operation from now fails with the fault. */
void sim_fault_at(struct sim *sim, uint64_t operation, enum sim_fault fault);
/** Free space: writes beyond fail with ENOSPC. */
void sim_disk_limit(struct sim *sim, uint64_t bytes);
/** Flips one bit of a file's durable content; false if there is no such byte. */
bool sim_flip(struct sim *sim, const char *path, uint64_t offset, int bit);
/** Hash of every scheduling choice and file operation so far: equal seeds give equal hashes. */
uint64_t sim_trace_hash(const struct sim *sim);
/** Seeded choice below n, for workloads. */
uint64_t sim_choose(struct sim *sim, uint64_t n);

#endif
