/*
 * place.c - where the threads run that others wait for.
 *
 *   PLACED -> LOOSE   they took more than LOOSE_FROM of their processor since the last look
 *   LOOSE -> PLACED   less than PLACED_BELOW
 *
 * How the interrupts are found: /sys/dev/block/MAJOR:MINOR is a folder among the devices, its `mq` has a folder for each queue.
 * Above it a PCI device has `msi_irqs`, or a folder is called as /proc/interrupts calls it (virtio1). Of the interrupts found so the
 * one that came most often is that of the queue; /proc/irq/N/effective_affinity_list has who takes it.
 * SPDX-License-Identifier: MIT
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/place.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "os/clock.h"

#define SLICE_NS 100000u /* the least there is */
#define THREADS_MAX 16u
#define LINE_BYTES 16384 /* of /proc/interrupts: 11 a processor; what is longer is cut */
#define DISKS_DEEP 8     /* of what disks may be made of */
#define FOLLOW_LOOKS 25u
#define LOOSE_FROM 85u /* percent of one processor */
#define PLACED_BELOW 60u

struct thread {
    pid_t id; /* 0: free */
    clockid_t clock;
};

/* Guarded by `guard`. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct thread threads[THREADS_MAX];
    cpu_set_t all; /* this process may use */
    int processor; /* PLACE_NONE: threads may be anywhere */
    bool loose;
    int interrupt; /* followed; PLACE_NONE: none */
    uint64_t looked_ns, used_ns;
    unsigned looks;
} place = { .processor = PLACE_NONE, .interrupt = PLACE_NONE };

/* ---- the processor that takes the interrupts ---- */

/* A path too long is none. */
__attribute__((format(printf, 2, 3))) static bool path_is(char out[PATH_MAX], const char *format,
                                                          ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(out, PATH_MAX, format, args);
    va_end(args);
    return len > 0 && len < PATH_MAX;
}

static bool exists(const char *folder, const char *name)
{
    char path[PATH_MAX];
    return path_is(path, "%s/%s", folder, name) && access(path, F_OK) == 0;
}

/* How many entries a folder has, and the name of one of them. */
static int entries(const char *folder, const char *name, char one[NAME_MAX + 1])
{
    char path[PATH_MAX];
    int count = 0;
    DIR *dir = path_is(path, "%s/%s", folder, name) ? opendir(path) : NULL;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        count++;
        snprintf(one, NAME_MAX + 1, "%s", entry->d_name);
    }
    if (dir != NULL) closedir(dir);
    return count;
}

/* The folder of the one disk below a partition, a mapped device or a RAID of one. */
static bool disk_folder(const char *root, unsigned major, unsigned minor, char folder[PATH_MAX])
{
    char path[PATH_MAX], one[NAME_MAX + 1];
    if (!path_is(path, "%s/sys/dev/block/%u:%u", root, major, minor)) return false;
    for (int i = 0; i < DISKS_DEEP; i++) {
        if (realpath(path, folder) == NULL) return false;
        if (exists(folder, "partition")) *strrchr(folder, '/') = 0;
        int slaves = entries(folder, "slaves", one);
        if (slaves == 0) return true;
        if (slaves > 1 || !path_is(path, "%s/slaves/%s", folder, one)) return false;
    }
    return false;
}

/* What tells a disk's interrupts: a folder of their numbers, or the name of the device; "" where there is none. */
struct marks {
    char numbers[PATH_MAX], name[NAME_MAX + 1];
};

static void marks_find(const char *folder, struct marks *marks)
{
    char at[PATH_MAX];
    marks->numbers[0] = marks->name[0] = 0;
    if (!path_is(at, "%s", folder)) return;
    for (char *last; (last = strrchr(at, '/')) != NULL && last != at; *last = 0) {
        if (strncmp(last, "/virtio", 7) == 0)
            snprintf(marks->name, sizeof(marks->name), "%s", last + 1);
        if (!exists(at, "msi_irqs")) continue;
        (void)path_is(marks->numbers, "%s/msi_irqs", at);
        return;
    }
}

/* A line of /proc/interrupts: number, a count for each processor, what it is. Returns the number if it is one of the disk's. */
static int line_read(const char *line, const struct marks *marks, uint64_t *total)
{
    char *at, number[16];
    long irq = strtol(line, &at, 10);
    if (at == line || *at != ':' || irq < 0 || irq > INT_MAX) return -1;
    snprintf(number, sizeof(number), "%ld", irq);
    *total = 0;
    for (at++;;) {
        char *end;
        unsigned long long count = strtoull(at, &end, 10);
        if (end == at || (*end != ' ' && *end != '\n')) break;
        *total += count;
        at = end;
    }
    size_t len = strcspn(at, "\n");
    while (len > 0 && at[len - 1] == ' ') len--;
    size_t name = strlen(marks->name);
    bool named = name > 0 && len > name && at[len - name - 1] == ' ' &&
                 memcmp(at + len - name, marks->name, name) == 0;
    return named || (marks->numbers[0] != 0 && exists(marks->numbers, number)) ? (int)irq : -1;
}

static int interrupt_find(const char *root, const struct marks *marks)
{
    char path[PATH_MAX], line[LINE_BYTES];
    uint64_t most = 0, total;
    int found = PLACE_NONE;
    FILE *file = path_is(path, "%s/proc/interrupts", root) ? fopen(path, "re") : NULL;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        int irq = line_read(line, marks, &total);
        if (irq < 0 || total <= most) continue;
        most = total;
        found = irq;
    }
    if (file != NULL) fclose(file);
    return found;
}

int place_interrupt(const char *root, unsigned major, unsigned minor)
{
    char folder[PATH_MAX], one[NAME_MAX + 1];
    struct marks marks;
    if (!disk_folder(root, major, minor, folder) || entries(folder, "mq", one) != 1)
        return PLACE_NONE;
    marks_find(folder, &marks);
    return interrupt_find(root, &marks);
}

int place_of_interrupt(const char *root, int interrupt)
{
    char path[PATH_MAX], text[32] = "", *end;
    if (interrupt < 0 || !path_is(path, "%s/proc/irq/%d/effective_affinity_list", root, interrupt))
        return PLACE_NONE;
    FILE *file = fopen(path, "re");
    if (file == NULL) return PLACE_NONE;
    if (fgets(text, sizeof(text), file) == NULL) text[0] = 0;
    fclose(file);
    long processor = strtol(text, &end, 10);
    bool one_only = end != text && (*end == 0 || *end == '\n'); /* else "0-3" */
    return one_only && processor >= 0 && processor < CPU_SETSIZE ? (int)processor : PLACE_NONE;
}

/* ---- threads ---- */

/* Linux 6.12 and later; others take no notice. Policy and niceness, which may have been set from outside, stay. */
static void slice_shorten(void)
{
    struct { /* struct sched_attr, whose header does not go with <sched.h> everywhere */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attr = { .size = sizeof(attr),
               .flags = 0x08, /* SCHED_FLAG_KEEP_POLICY */
               .nice = getpriority(PRIO_PROCESS, 0),
               .runtime = SLICE_NS };
    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

/* Locked. One that may not be moved stays where it is. */
static void thread_put(const struct thread *thread)
{
    cpu_set_t set = place.all;
    if (place.processor >= 0 && !place.loose) {
        CPU_ZERO(&set);
        CPU_SET((unsigned)place.processor, &set);
    }
    if (thread->id != 0) (void)sched_setaffinity(thread->id, sizeof(set), &set);
}

static void threads_put(void)
{
    for (unsigned i = 0; i < THREADS_MAX; i++) thread_put(&place.threads[i]);
}

void place_enter(void)
{
    slice_shorten();
    pthread_mutex_lock(&guard);
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        struct thread *thread = &place.threads[i];
        if (thread->id != 0 || pthread_getcpuclockid(pthread_self(), &thread->clock) != 0) continue;
        thread->id = gettid();
        if (place.processor >= 0) thread_put(thread);
        break;
    }
    pthread_mutex_unlock(&guard);
}

void place_leave(void)
{
    pthread_mutex_lock(&guard);
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        if (place.threads[i].id == gettid()) place.threads[i].id = 0;
    }
    pthread_mutex_unlock(&guard);
}

/* Locked. */
static uint64_t threads_used_ns(void)
{
    uint64_t used = 0;
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        if (place.threads[i].id != 0) used += clock_ns(place.threads[i].clock);
    }
    return used;
}

/* ---- choosing ---- */

bool place_may_be(long processor)
{
    cpu_set_t set;
    return processor >= 0 && processor < CPU_SETSIZE &&
           sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_ISSET((unsigned)processor, &set);
}

static int disk_processor(void)
{
    int processor = place_of_interrupt("", place.interrupt);
    bool fits = processor >= 0 && CPU_COUNT(&place.all) > 1 &&
                CPU_ISSET((unsigned)processor, &place.all);
    return fits ? processor : PLACE_NONE;
}

int place_choose(int wanted, const char *path)
{
    struct stat at;
    pthread_mutex_lock(&guard);
    int before = place.processor;
    place.processor = wanted == PLACE_AUTO ? PLACE_NONE : wanted;
    place.loose = false;
    place.interrupt = PLACE_NONE;
    if (sched_getaffinity(0, sizeof(place.all), &place.all) != 0) CPU_ZERO(&place.all);
    if (wanted == PLACE_AUTO) {
        if (stat(path, &at) == 0)
            place.interrupt = place_interrupt("", major(at.st_dev), minor(at.st_dev));
        place.processor = disk_processor();
    }
    place.looked_ns = clock_ns(CLOCK_MONOTONIC);
    place.used_ns = threads_used_ns();
    if (place.processor >= 0 || before >= 0) threads_put();
    int processor = place.processor;
    pthread_mutex_unlock(&guard);
    return processor;
}

/* Locked; a processor is chosen. */
static void place_judge(void)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC), used = threads_used_ns();
    uint64_t past = now - place.looked_ns, took = used > place.used_ns ? used - place.used_ns : 0;
    bool loose = place.loose;
    int processor = place.processor;
    place.looked_ns = now;
    place.used_ns = used;
    if (took > past / 100 * LOOSE_FROM) place.loose = true;
    if (took < past / 100 * PLACED_BELOW) place.loose = false;
    if (place.interrupt >= 0 && ++place.looks % FOLLOW_LOOKS == 0) {
        int there = disk_processor();
        if (there >= 0) place.processor = there;
    }
    if (loose != place.loose || processor != place.processor) threads_put();
}

void place_look(void)
{
    pthread_mutex_lock(&guard);
    if (place.processor >= 0) place_judge();
    pthread_mutex_unlock(&guard);
}
