/*
 * test_watch.c - the signal that stops code: many at once, and code that may be left.
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>

#include "os/watch.h"

enum { SIGNALS = 1000, STACK_BYTES = 512 * 1024 };

static int mask_signal(int how)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, WATCH_SIGNAL);
    return pthread_sigmask(how, &mask, NULL);
}

/* Each takes a frame of 3 KiB or more: handled within each other they would need some MiB. */
static void *flood(void *arg)
{
    unsigned *queued = arg;
    uint32_t ticks = 1;
    struct watch_run run = { .ticks = &ticks, .ticks_max = 1 };
    if (!watch_thread()) return NULL;
    watch_switch(&run);
    (void)mask_signal(SIG_BLOCK);
    while (*queued < SIGNALS && pthread_sigqueue(pthread_self(), WATCH_SIGNAL, (union sigval){ 0 }) == 0) ++*queued;
    (void)mask_signal(SIG_UNBLOCK); /* all are handled before this returns */
    watch_switch(NULL);
    return NULL;
}

/* On a slow machine signals came faster than they were handled, and each within the one before. First of the tests, while
 * no code may be left. */
static void signals_are_handled_one_after_another(void **state)
{
    pthread_attr_t attr;
    pthread_t thread;
    unsigned queued = 0;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, STACK_BYTES), 0);
    assert_int_equal(pthread_create(&thread, &attr, flood, &queued), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
    if (queued < SIGNALS) skip(); /* RLIMIT_SIGPENDING */
}

/* A jump out of the handler leaves the signal as it was: the second run is stopped, too. */
static void code_is_left_again_and_again(void **state)
{
    static volatile int stopped;
#ifdef __SANITIZE_THREAD__
    skip(); /* it keeps a signal until the code calls something */
#endif
    assert_true(watch_allow((const void *)(uintptr_t)&code_is_left_again_and_again));
    assert_true(watch_thread());
    for (stopped = 0; stopped < 3;) {
        static uint32_t ticks;
        static struct watch_run run = { .ticks = &ticks, .ticks_max = 2 };
        ticks = 0;
        if (sigsetjmp(run.jump, 0) != 0) {
            stopped++;
            continue;
        }
        watch_switch(&run);
        for (;;) {}
    }
    sigset_t mask;
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    assert_false(sigismember(&mask, WATCH_SIGNAL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signals_are_handled_one_after_another),
        cmocka_unit_test(code_is_left_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
