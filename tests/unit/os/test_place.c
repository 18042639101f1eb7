/*
 * test_place.c - where the threads run that others wait for: machines made of folders, and this one.
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/place.h"

/* ---- machines made of folders ---- */

struct machine {
    char root[64];
};

#define PCI "/sys/devices/pci0000:00/0000:00:02.0"

/* The whole path; its folders are made. */
static void path_make(const struct machine *m, const char *path, char whole[512])
{
    snprintf(whole, 512, "%s%s", m->root, path);
    for (char *at = whole + strlen(m->root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = 0;
        mkdir(whole, 0700);
        *at = '/';
    }
}

static void put(const struct machine *m, const char *path, const char *text)
{
    char whole[512];
    path_make(m, path, whole);
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void put_folder(const struct machine *m, const char *path)
{
    char whole[512];
    path_make(m, path, whole);
    assert_int_equal(mkdir(whole, 0700), 0);
}

static void put_link(const struct machine *m, const char *path, const char *to)
{
    char whole[512], target[1024], *root = realpath(m->root, NULL);
    assert_non_null(root);
    path_make(m, path, whole);
    assert_true((size_t)snprintf(target, sizeof(target), "%s%s", root, to) < sizeof(target));
    free(root);
    assert_int_equal(symlink(target, whole), 0);
}

static const char *const interrupts =
    "           CPU0       CPU1\n"
    "  0:          5          0   IO-APIC   2-edge      timer\n"
    " 35:          1          0 PCI-MSIX-0000:00:02.0   0-edge      virtio1-config\n"
    " 36:          3        900 PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0\n"
    " 40:       7000       9000 PCI-MSIX-0000:00:04.0   1-edge      virtio3-rx\n"
    " 52:         10        400 IO-APIC 5-edge virtio2\n"
    "LOC:    1000000    1000000   Local timer interrupts\n";

/* One disk of one queue on a PCI device, as a cloud's virtual machine has it: 254:0, interrupt 36, processor 1. */
static void machine_init(struct machine *m)
{
    snprintf(m->root, sizeof(m->root), "weir-test-XXXXXX");
    assert_non_null(mkdtemp(m->root));
    put(m, PCI "/virtio1/block/vda/mq/0/nr_tags", "256\n");
    put_folder(m, PCI "/virtio1/block/vda/slaves");
    put(m, PCI "/msi_irqs/35", "msix\n");
    put(m, PCI "/msi_irqs/36", "msix\n");
    put(m, "/proc/interrupts", interrupts);
    put(m, "/proc/irq/35/effective_affinity_list", "0\n");
    put(m, "/proc/irq/36/effective_affinity_list", "1\n");
    put(m, "/proc/irq/52/effective_affinity_list", "0\n");
    put_link(m, "/sys/dev/block/254:0", PCI "/virtio1/block/vda");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

static void machine_deinit(struct machine *m)
{
    assert_int_equal(nftw(m->root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static int asked(const struct machine *m, unsigned minor)
{
    return place_of_interrupt(m->root, place_interrupt(m->root, 254, minor));
}

static void the_queue_of_a_disk_and_of_what_lies_on_it(void **state)
{
    struct machine m;
    machine_init(&m);
    assert_int_equal(asked(&m, 0), 1);
    /* a partition */
    put(&m, PCI "/virtio1/block/vda/vda1/partition", "1\n");
    put_link(&m, "/sys/dev/block/254:1", PCI "/virtio1/block/vda/vda1");
    assert_int_equal(asked(&m, 1), 1);
    /* a mapped device on that partition */
    put_link(&m, "/sys/devices/virtual/block/dm-0/slaves/vda1", PCI "/virtio1/block/vda/vda1");
    put_link(&m, "/sys/dev/block/254:2", "/sys/devices/virtual/block/dm-0");
    assert_int_equal(asked(&m, 2), 1);
    /* on two disks: either may end a sync */
    put_folder(&m, "/sys/devices/virtual/block/dm-0/slaves/vdb");
    assert_int_equal(asked(&m, 2), PLACE_NONE);
    machine_deinit(&m);
}

static void a_device_without_numbers_is_known_by_its_name(void **state)
{
    struct machine m;
    machine_init(&m);
    put(&m, "/sys/devices/platform/virtio2/block/vdb/mq/0/nr_tags", "256\n");
    put_link(&m, "/sys/dev/block/254:16", "/sys/devices/platform/virtio2/block/vdb");
    assert_int_equal(asked(&m, 16), 0);
    machine_deinit(&m);
}

static void who_cannot_tell_says_none(void **state)
{
    struct machine m;
    machine_init(&m);
    assert_int_equal(asked(&m, 7), PLACE_NONE); /* no such device, as of overlayfs and btrfs */
    put(&m, "/proc/irq/36/effective_affinity_list", "0-1\n");
    assert_int_equal(asked(&m, 0), PLACE_NONE);
    put(&m, "/proc/irq/36/effective_affinity_list", "");
    assert_int_equal(asked(&m, 0), PLACE_NONE);
    put(&m, "/proc/irq/36/effective_affinity_list", "1");
    assert_int_equal(asked(&m, 0), 1);
    put(&m, PCI "/virtio1/block/vda/mq/1/nr_tags", "256\n"); /* a queue for each processor */
    assert_int_equal(asked(&m, 0), PLACE_NONE);
    machine_deinit(&m);
    machine_init(&m);
    put(&m, "/proc/interrupts", "           CPU0\n 36:  0 PCI-MSIX virtio1-req.0\nERR: 0\n");
    assert_int_equal(asked(&m, 0), PLACE_NONE); /* none has come yet */
    put(&m, "/proc/interrupts", "");
    assert_int_equal(asked(&m, 0), PLACE_NONE);
    machine_deinit(&m);
}

/* ---- this machine ---- */

enum { TRIES_MAX = 20000000 };

struct worker {
    pthread_t thread;
    bool rests, ends; /* guarded by `lock` */
    pthread_mutex_t lock;
    pthread_cond_t told;
};

/* How many processors a thread may use. */
static int processors_of(pthread_t thread)
{
    cpu_set_t set;
    assert_int_equal(pthread_getaffinity_np(thread, sizeof(set), &set), 0);
    return CPU_COUNT(&set);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    bool ends = false;
    place_enter();
    while (!ends) {
        pthread_mutex_lock(&w->lock);
        while (w->rests && !w->ends) pthread_cond_wait(&w->told, &w->lock);
        ends = w->ends;
        pthread_mutex_unlock(&w->lock);
    }
    place_leave();
    return NULL;
}

static void worker_tell(struct worker *w, bool rests, bool ends)
{
    pthread_mutex_lock(&w->lock);
    w->rests = rests;
    w->ends = ends;
    pthread_cond_signal(&w->told);
    pthread_mutex_unlock(&w->lock);
}

/* Until the worker may use so many. */
static bool wait_until(struct worker *w, int processors, bool looks)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        if (processors_of(w->thread) == processors) return true;
        if (looks) place_look();
    }
    return false;
}

static void a_busy_one_is_let_go_and_comes_back(void **state)
{
    struct worker w = { .lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER };
    int all = processors_of(pthread_self()), there = -1;
    if (all < 2) {
        print_message("skipped: this process may use one processor only\n");
        skip();
    }
    for (int i = CPU_SETSIZE - 1; i >= 0 && there < 0; i--) {
        if (place_may_be(i)) there = i;
    }
    assert_false(place_may_be(-1));
    assert_false(place_may_be(CPU_SETSIZE));
    assert_int_equal(place_choose(there, "."), there);
    assert_int_equal(pthread_create(&w.thread, NULL, work, &w), 0);
    assert_true(wait_until(&w, 1, false));
    assert_true(wait_until(&w, all, true)); /* it does nothing but work */
    worker_tell(&w, true, false);
    assert_true(wait_until(&w, 1, true));
    assert_int_equal(place_choose(PLACE_NONE, "."), PLACE_NONE);
    assert_int_equal(processors_of(w.thread), all);
    worker_tell(&w, true, true);
    pthread_join(w.thread, NULL);
    assert_int_equal(processors_of(pthread_self()), all); /* who chooses stays where it was */
    assert_in_range(place_choose(PLACE_AUTO, ".") + 1, 0, CPU_SETSIZE);
    assert_int_equal(place_choose(PLACE_AUTO, "no such folder"), PLACE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_queue_of_a_disk_and_of_what_lies_on_it),
        cmocka_unit_test(a_device_without_numbers_is_known_by_its_name),
        cmocka_unit_test(who_cannot_tell_says_none),
        cmocka_unit_test(a_busy_one_is_let_go_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
