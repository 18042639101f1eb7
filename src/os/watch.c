/*
 * watch.c - one POSIX timer per watched thread, and the signal's handler.
 *
 * The signal goes to the thread whose clock it is (SIGEV_THREAD_ID). It is blocked while handled: on a machine that is
 * slow for a while the next one is due before the handler has returned, and handlers within handlers would use up the
 * stack. The kernel looks at timers of CPU clocks on its own tick only, some milliseconds apart; a handler that raises
 * errors all the time is rarely found in code it may be left from, so the second look comes by a timer of real time, which
 * is exact.
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "os/watch.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/assert.h"

#define OBJECTS_MAX 256u
#define AGAIN_NS 50000L
#define AGAIN_NS_MAX 10000000L

/* Code of loaded objects. A changed list is made in the other table and then shown to the handlers at once. */
struct code {
    struct {
        uintptr_t low, high;
        bool allowed;
    } range[OBJECTS_MAX];
    unsigned count;
    unsigned long long objects; /* loaded so far, when the list was made */
    bool full;
};
static struct code codes[2];
static _Atomic(struct code *) code_now = &codes[0];
static atomic_flag code_busy = ATOMIC_FLAG_INIT;

static __thread struct {
    struct watch_run *volatile current;
    timer_t timer, again;
    long again_ns;
    uintptr_t seen_at; /* what it was interrupted in the last time */
    bool started;
} watched;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_end;

struct wanted {
    struct code *code;
    uintptr_t function;
};

static int object_add(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct wanted *wanted = arg;
    struct code *code = wanted->code;
    bool allowed = false;
    unsigned first = code->count;
    code->objects = info->dlpi_adds;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        if (code->count == OBJECTS_MAX) {
            code->full = true;
            return 1;
        }
        uintptr_t low = info->dlpi_addr + part->p_vaddr, high = low + part->p_memsz;
        code->range[code->count].low = low;
        code->range[code->count].high = high;
        code->range[code->count].allowed = false;
        code->count++;
        if (wanted->function >= low && wanted->function < high) allowed = true;
    }
    for (unsigned i = first; allowed && i < code->count; i++) code->range[i].allowed = true;
    return 0;
}

static int objects_count(struct dl_phdr_info *info, size_t size, void *arg)
{
    *(unsigned long long *)arg = info->dlpi_adds;
    return 1;
}

static bool code_allows(const struct code *code)
{
    for (unsigned i = 0; i < code->count; i++) {
        if (code->range[i].allowed) return true;
    }
    return false;
}

bool watch_allow(const void *function)
{
    unsigned long long objects = 0;
    dl_iterate_phdr(objects_count, &objects);
    while (atomic_flag_test_and_set(&code_busy)) {}
    struct code *code = atomic_load(&code_now);
    if (code->count == 0 || code->objects != objects) {
        code = code == &codes[0] ? &codes[1] : &codes[0];
        *code = (struct code){ .count = 0 };
        struct wanted wanted = { code, (uintptr_t)function };
        dl_iterate_phdr(object_add, &wanted);
        atomic_store(&code_now, code);
    }
    bool allows = code_allows(code);
    atomic_flag_clear(&code_busy);
    return allows;
}

/* Code in no object is what the compiler made at run time. */
static bool may_leave(uintptr_t pc)
{
    const struct code *code = atomic_load(&code_now);
    for (unsigned i = 0; i < code->count; i++) {
        if (pc >= code->range[i].low && pc < code->range[i].high) return code->range[i].allowed;
    }
    return code->count > 0 && !code->full;
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

/* Code found where it was has not run in between, for signals take all of its time: they come less often then. */
static void look_again(uintptr_t pc)
{
    if (pc != watched.seen_at) watched.again_ns = AGAIN_NS;
    else if (watched.again_ns < AGAIN_NS_MAX) watched.again_ns *= 2;
    watched.seen_at = pc;
    struct itimerspec when = { .it_value = { 0, watched.again_ns } };
    timer_settime(watched.again, 0, &when, NULL);
}

static void signal_allow(void)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, WATCH_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
}

static void on_tick(int number, siginfo_t *info, void *context)
{
    struct watch_run *run = watched.current;
    if (run == NULL) return;
    bool is_tick = info->si_value.sival_int == 0;
    if (is_tick && *run->ticks < run->ticks_max) ++*run->ticks;
    if (*run->ticks < run->ticks_max) return;
    uintptr_t pc = interrupted_at(context);
    if (!may_leave(pc)) {
        look_again(pc);
        return;
    }
    watched.current = NULL;
    signal_allow();
    siglongjmp(run->jump, 1);
}

static void thread_ended(void *arg)
{
    timer_delete(watched.timer);
    timer_delete(watched.again);
}

static void watch_init(void)
{
    struct sigaction action = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART };
    sigemptyset(&action.sa_mask);
    ASSERT(sigaction(WATCH_SIGNAL, &action, NULL) == 0);
    ASSERT(pthread_key_create(&thread_end, thread_ended) == 0);
}

static bool timer_make(clockid_t clock, int mark, timer_t *timer)
{
    struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID,
                              .sigev_signo = WATCH_SIGNAL,
                              .sigev_value.sival_int = mark };
#ifdef sigev_notify_thread_id
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
#else
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
#endif
    return timer_create(clock, &event, timer) == 0;
}

bool watch_thread(void)
{
    if (watched.started) return true;
    pthread_once(&once, watch_init);
    signal_allow();
    if (!timer_make(CLOCK_THREAD_CPUTIME_ID, 0, &watched.timer)) return false;
    if (!timer_make(CLOCK_MONOTONIC, 1, &watched.again)) {
        timer_delete(watched.timer);
        return false;
    }
    watched.started = true;
    pthread_setspecific(thread_end, &watched);
    struct itimerspec tick = { .it_interval = { 0, WATCH_TICK_MS * 1000000L },
                               .it_value = { 0, WATCH_TICK_MS * 1000000L } };
    return timer_settime(watched.timer, 0, &tick, NULL) == 0;
}

struct watch_run *watch_switch(struct watch_run *run)
{
    struct watch_run *before = watched.current;
    watched.current = run;
    return before;
}
