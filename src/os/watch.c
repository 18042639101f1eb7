/*
 * watch.c - one POSIX timer per watched thread, and the signal's handler.
 *
 * The signal goes to the thread whose clock it is (SIGEV_THREAD_ID). It is never blocked while handled
 * (SA_NODEFER), so leaving the handler by a jump needs no signal mask. The kernel looks at such timers on
 * its own tick, so an interval below some milliseconds means "at the next tick".
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "os/watch.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/assert.h"

#define OBJECTS_MAX 256u
#define AGAIN_NS 100000L
#define WATCH_SIGNAL (SIGRTMIN + 3)

/* Code of loaded objects, by address; written before threads are watched, read by the handler. */
static struct {
    struct { uintptr_t low, high; bool allowed; } range[OBJECTS_MAX];
    unsigned count;
    bool full;
} code;

static __thread struct {
    struct watch_run *volatile current;
    timer_t timer;
    bool started;
} watched;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_end;

static int object_add(struct dl_phdr_info *info, size_t size, void *arg)
{
    uintptr_t function = (uintptr_t)arg;
    bool allowed = false;
    unsigned first = code.count;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        if (code.count == OBJECTS_MAX) {
            code.full = true;
            return 1;
        }
        uintptr_t low = info->dlpi_addr + part->p_vaddr, high = low + part->p_memsz;
        code.range[code.count].low = low;
        code.range[code.count].high = high;
        code.range[code.count].allowed = false;
        code.count++;
        if (function >= low && function < high) allowed = true;
    }
    for (unsigned i = first; allowed && i < code.count; i++) code.range[i].allowed = true;
    return 0;
}

bool watch_allow(const void *function)
{
    code.count = 0;
    code.full = false;
    dl_iterate_phdr(object_add, (void *)(uintptr_t)function);
    for (unsigned i = 0; i < code.count; i++) {
        if (code.range[i].allowed) return true;
    }
    return false;
}

/* Code in no object is what the compiler made at run time. */
static bool may_leave(uintptr_t pc)
{
    for (unsigned i = 0; i < code.count; i++) {
        if (pc >= code.range[i].low && pc < code.range[i].high) return code.range[i].allowed;
    }
    return !code.full;
}

static uintptr_t interrupted_at(void *context)
{
    const ucontext_t *machine = context;
#if defined(__x86_64__)
    return (uintptr_t)machine->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uintptr_t)machine->uc_mcontext.pc;
#else
#error "name the program counter of this machine"
#endif
}

static void arm(long first_ns)
{
    struct itimerspec when = { .it_interval = { 0, WATCH_TICK_MS * 1000000L }, .it_value = { 0, first_ns } };
    timer_settime(watched.timer, 0, &when, NULL);
}

static void on_tick(int number, siginfo_t *info, void *context)
{
    struct watch_run *run = watched.current;
    if (run == NULL) return;
    if (*run->ticks < run->ticks_max) ++*run->ticks;
    if (*run->ticks < run->ticks_max) return;
    if (!may_leave(interrupted_at(context))) {
        arm(AGAIN_NS);
        return;
    }
    watched.current = NULL;
    siglongjmp(run->jump, 1);
}

static void thread_ended(void *arg)
{
    timer_delete(watched.timer);
}

static void watch_init(void)
{
    struct sigaction action = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART };
    sigemptyset(&action.sa_mask);
    ASSERT(sigaction(WATCH_SIGNAL, &action, NULL) == 0);
    ASSERT(pthread_key_create(&thread_end, thread_ended) == 0);
}

bool watch_thread(void)
{
    if (watched.started) return true;
    pthread_once(&once, watch_init);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, WATCH_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = WATCH_SIGNAL };
#ifdef sigev_notify_thread_id
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
#else
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
#endif
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &watched.timer) != 0) return false;
    watched.started = true;
    pthread_setspecific(thread_end, &watched);
    arm(WATCH_TICK_MS * 1000000L);
    return true;
}

struct watch_run *watch_switch(struct watch_run *run)
{
    struct watch_run *before = watched.current;
    watched.current = run;
    return before;
}
