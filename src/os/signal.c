/*
 * signal.c - signals taken by waiting for them, and the count of processors.
 * SPDX-License-Identifier: MIT
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/signal.h"

#include <pthread.h>
#include <stdbool.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

/* Under nohup it is ignored, and one that is blocked would be taken all the same. */
static bool hangup_is_ignored(void)
{
    struct sigaction now;
    return sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

static void stop_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    if (!hangup_is_ignored()) sigaddset(set, SIGHUP);
}

void signal_start(void)
{
    sigset_t set;
    stop_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* a file at its limit answers EFBIG: a full disk */
}

int signal_wait(unsigned timeout_ms)
{
    struct timespec pause = { timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000 };
    sigset_t set;
    stop_set(&set);
#ifdef __linux__
    int number = sigtimedwait(&set, NULL, &pause);
    return number > 0 ? number : 0;
#else
    /* No sigtimedwait there: look, sleep, look again. */
    for (int tries = 0; tries < 2; tries++) {
        sigset_t pending;
        int number;
        sigpending(&pending);
        if (sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT) ||
            (sigismember(&pending, SIGHUP) && sigismember(&set, SIGHUP)))
            return sigwait(&set, &number) == 0 ? number : 0;
        if (tries == 0) nanosleep(&pause, NULL);
    }
    return 0;
#endif
}

void signal_exit(int code)
{
    _exit(code);
}

unsigned signal_processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        if (count > 0) return (unsigned)count;
    }
#endif
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (unsigned)count : 1;
}
