/*
 * fiber.c - switched stacks and the pool that keeps them.
 *
 * A switch saves the registers that the ABI says a callee keeps, on the stack it leaves, and takes them
 * from the stack it enters. The fiber's own record stands at the top of its stack, below it a guard page
 * turns an overflow into a fault. Whoever switches in is remembered in the fiber, so fibers may nest.
 * mmap and mprotect are called here and not in src/os: a stack is memory, and base must stand alone.
 *
 * States: free -> ready (taken) -> running -> suspended -> running ... -> free (returned or dropped).
 * SPDX-License-Identifier: MIT
 */
#include "base/fiber.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/sanitize_int.h"

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(WEIR_FIBER_UCONTEXT)
#define WEIR_FIBER_UCONTEXT 1
#endif
#ifdef WEIR_FIBER_UCONTEXT
#include <ucontext.h>
#endif
#ifdef WEIR_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WEIR_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Where a suspended flow of control goes on. */
struct context {
#ifdef WEIR_FIBER_UCONTEXT
    ucontext_t kernel;
#else
    void *sp;
#endif
};

/* What the sanitizers want to know of one side of a switch. */
struct side {
    const void *stack_low;
    size_t stack_bytes;
    void *fake_stack;
    void *tsan_fiber;
};

enum fiber_state { FIBER_FREE, FIBER_READY, FIBER_RUNNING, FIBER_SUSPENDED };

struct fiber {
    struct fiber_pool *pool;
    struct fiber *next_free;
    struct fiber *next_all;
    void (*fn)(void *arg);
    void *arg;
    void *user;
    enum fiber_state state;
    unsigned stack_id; /* valgrind's */
    bool dropped;      /* resumed only to tell the address sanitizer that the stack is done */
    struct context context, caller;
    struct side side, caller_side;
};

struct fiber_pool {
    struct fiber *free; /* last in, first out */
    struct fiber *all;
    size_t stack_bytes;
    size_t page_bytes;
    unsigned count_max;
    unsigned in_use;
};

/* ---- contexts ---- */

/* Not static: assembly calls it. */
__attribute__((noreturn, used)) void fiber_main(struct fiber *fiber);

#ifdef WEIR_FIBER_UCONTEXT

static void context_start(unsigned high, unsigned low)
{
    fiber_main((struct fiber *)(uintptr_t)((uint64_t)high << 32 | low));
}

static void context_init(struct fiber *fiber)
{
    uint64_t self = (uintptr_t)fiber;
    ASSERT(getcontext(&fiber->context.kernel) == 0);
    fiber->context.kernel.uc_stack.ss_sp = (void *)(uintptr_t)fiber->side.stack_low;
    fiber->context.kernel.uc_stack.ss_size = fiber->side.stack_bytes;
    fiber->context.kernel.uc_link = NULL;
    makecontext(&fiber->context.kernel, (void (*)(void))context_start, 2, (unsigned)(self >> 32),
                (unsigned)self);
}

static void context_switch(struct context *from, struct context *to)
{
    ASSERT(swapcontext(&from->kernel, &to->kernel) == 0);
}

#else

void fiber_jump(void **sp_saved, void *sp);
void fiber_entry(void);

#if defined(__x86_64__)
#define FRAME_WORDS 8
#define FRAME_SELF 4 /* r12 */
#define FRAME_RETURN 7
#define FRAME_FLOAT_MODES 0x0000037f00001f80u /* the ABI's initial x87 control word and mxcsr */
__asm__(".text\n"
        ".balign 16\n"
        ".hidden fiber_jump\n"
        ".globl fiber_jump\n"
        ".type fiber_jump,@function\n"
        "fiber_jump:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    subq $8, %rsp\n"
        "    stmxcsr (%rsp)\n"
        "    fnstcw 4(%rsp)\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    ldmxcsr (%rsp)\n"
        "    fldcw 4(%rsp)\n"
        "    addq $8, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size fiber_jump,.-fiber_jump\n"
        ".balign 16\n"
        ".hidden fiber_entry\n"
        ".globl fiber_entry\n"
        ".type fiber_entry,@function\n"
        "fiber_entry:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined rip\n" /* unwinders stop here */
        "    movq %r12, %rdi\n"
        "    call fiber_main\n"
        "    ud2\n"
        "    .cfi_endproc\n"
        ".size fiber_entry,.-fiber_entry\n");
#else
#define FRAME_WORDS 20
#define FRAME_SELF 0 /* x19 */
#define FRAME_RETURN 11
__asm__(".text\n"
        ".balign 16\n"
        ".hidden fiber_jump\n"
        ".globl fiber_jump\n"
        ".type fiber_jump,%function\n"
        "fiber_jump:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size fiber_jump,.-fiber_jump\n"
        ".balign 16\n"
        ".hidden fiber_entry\n"
        ".globl fiber_entry\n"
        ".type fiber_entry,%function\n"
        "fiber_entry:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined x30\n" /* unwinders stop here */
        "    mov x0, x19\n"
        "    bl fiber_main\n"
        "    brk #1\n"
        "    .cfi_endproc\n"
        ".size fiber_entry,.-fiber_entry\n");
#endif

static void context_init(struct fiber *fiber)
{
    char *top = (char *)(uintptr_t)fiber->side.stack_low + fiber->side.stack_bytes;
    uint64_t *frame = (uint64_t *)(void *)top - FRAME_WORDS;
    memset(frame, 0, FRAME_WORDS * sizeof(uint64_t));
    frame[FRAME_SELF] = (uintptr_t)fiber;
    frame[FRAME_RETURN] = (uintptr_t)fiber_entry;
#ifdef FRAME_FLOAT_MODES
    frame[0] = FRAME_FLOAT_MODES;
#endif
    fiber->context.sp = frame;
}

static void context_switch(struct context *from, struct context *to)
{
    fiber_jump(&from->sp, to->sp);
}

#endif

/* ---- what the sanitizers are told ---- */

/* Before a switch. A side that is left for ever (`gone`) gives its fake stack back. */
static void side_leave(struct side *from, const struct side *to, bool gone)
{
#ifdef WEIR_ASAN
    __sanitizer_start_switch_fiber(gone ? NULL : &from->fake_stack, to->stack_low, to->stack_bytes);
#endif
#ifdef WEIR_TSAN
    __tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
    (void)from, (void)to, (void)gone;
}

/* After a switch, on the stack entered. */
static void side_enter(struct side *side, struct side *from)
{
#ifdef WEIR_ASAN
    __sanitizer_finish_switch_fiber(side->fake_stack, from ? &from->stack_low : NULL,
                                    from ? &from->stack_bytes : NULL);
#endif
    (void)side, (void)from;
}

static void fiber_announce(struct fiber *fiber)
{
    fiber->side.fake_stack = NULL;
#ifdef WEIR_TSAN
    fiber->side.tsan_fiber = __tsan_create_fiber(0);
#endif
}

static void fiber_renounce(struct fiber *fiber)
{
#ifdef WEIR_TSAN
    __tsan_destroy_fiber(fiber->side.tsan_fiber);
#endif
    MEM_UNPOISON(fiber->side.stack_low, fiber->side.stack_bytes);
}

/* ---- fibers ---- */

static void fiber_put_back(struct fiber *fiber)
{
    fiber_renounce(fiber);
    fiber->state = FIBER_FREE;
    fiber->next_free = fiber->pool->free;
    fiber->pool->free = fiber;
    fiber->pool->in_use--;
}

__attribute__((noreturn)) static void fiber_leave_for_ever(struct fiber *fiber)
{
    side_leave(&fiber->side, &fiber->caller_side, true);
    context_switch(&fiber->context, &fiber->caller);
    assert_failed("a fiber that ended is not resumed", __FILE__, __LINE__);
}

CALLED_FROM_OUTSIDE void fiber_main(struct fiber *fiber)
{
    side_enter(&fiber->side, &fiber->caller_side);
    fiber->fn(fiber->arg);
    fiber->state = FIBER_FREE;
    fiber_leave_for_ever(fiber);
}

/* Runs the fiber until it comes back. */
static void fiber_enter(struct fiber *fiber)
{
#ifdef WEIR_TSAN
    fiber->caller_side.tsan_fiber = __tsan_get_current_fiber();
#endif
    side_leave(&fiber->caller_side, &fiber->side, false);
    context_switch(&fiber->caller, &fiber->context);
    side_enter(&fiber->caller_side, NULL);
}

static struct fiber *fiber_create(struct fiber_pool *pool)
{
    size_t whole = pool->page_bytes + pool->stack_bytes;
    char *low = mmap(NULL, whole, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (low == MAP_FAILED) return NULL;
    if (mprotect(low + pool->page_bytes, pool->stack_bytes, PROT_READ | PROT_WRITE)) {
        munmap(low, whole);
        return NULL;
    }
    size_t record = (sizeof(struct fiber) + 63) & ~(size_t)63;
    struct fiber *fiber = (struct fiber *)(void *)(low + whole - record);
    fiber->pool = pool;
    fiber->side.stack_low = low + pool->page_bytes;
    fiber->side.stack_bytes = pool->stack_bytes - record;
    fiber->stack_id = STACK_BEGINS(fiber->side.stack_low, (char *)fiber - 1);
    fiber->next_all = pool->all;
    pool->all = fiber;
    return fiber;
}

struct fiber_pool *fiber_pool_create(size_t stack_bytes, unsigned count_max)
{
    struct fiber_pool *pool = mem_alloc(sizeof(*pool));
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    ASSERT(stack_bytes >= 4096);
    pool->page_bytes = page;
    pool->stack_bytes = (stack_bytes + page - 1) / page * page;
    pool->count_max = count_max;
    return pool;
}

void fiber_pool_destroy(struct fiber_pool *pool)
{
    if (!pool) return;
    for (struct fiber *fiber = pool->all, *next; fiber; fiber = next) {
        next = fiber->next_all;
        ASSERT(fiber->state != FIBER_RUNNING);
        if (fiber->state != FIBER_FREE) fiber_drop(fiber);
        STACK_ENDS(fiber->stack_id);
        char *low = (char *)(uintptr_t)fiber->side.stack_low - pool->page_bytes;
        munmap(low, pool->page_bytes + pool->stack_bytes);
    }
    mem_free(pool);
}

struct fiber *fiber_take(struct fiber_pool *pool, void (*fn)(void *arg), void *arg)
{
    struct fiber *fiber = pool->free;
    if (pool->in_use >= pool->count_max) return NULL;
    if (fiber) pool->free = fiber->next_free;
    else fiber = fiber_create(pool);
    /* a kernel that has no more mappings for us is one more limit on the count */
    if (!fiber) return NULL;
    pool->in_use++;
    fiber->fn = fn;
    fiber->arg = arg;
    fiber->state = FIBER_READY;
    fiber->dropped = false;
    fiber_announce(fiber);
    context_init(fiber);
    return fiber;
}

bool fiber_switch_in(struct fiber *fiber)
{
    ASSERT(fiber->state == FIBER_READY || fiber->state == FIBER_SUSPENDED);
    fiber->state = FIBER_RUNNING;
    fiber_enter(fiber);
    if (fiber->state == FIBER_SUSPENDED) return true;
    fiber_put_back(fiber);
    return false;
}

void fiber_suspend(struct fiber *fiber)
{
    ASSERT(fiber->state == FIBER_RUNNING);
    fiber->state = FIBER_SUSPENDED;
    side_leave(&fiber->side, &fiber->caller_side, false);
    context_switch(&fiber->context, &fiber->caller);
    side_enter(&fiber->side, &fiber->caller_side);
    if (fiber->dropped) fiber_leave_for_ever(fiber);
}

void fiber_drop(struct fiber *fiber)
{
    ASSERT(fiber->state == FIBER_READY || fiber->state == FIBER_SUSPENDED);
#ifdef WEIR_ASAN
    /* only the stack itself can give back its fake stack */
    if (fiber->state == FIBER_SUSPENDED) {
        fiber->dropped = true;
        fiber_enter(fiber);
    }
#endif
    fiber_put_back(fiber);
}

unsigned fiber_pool_in_use(const struct fiber_pool *pool)
{
    return pool->in_use;
}

size_t fiber_stack_used(const struct fiber *fiber)
{
    return (size_t)((uintptr_t)fiber - (uintptr_t)__builtin_frame_address(0));
}

void **fiber_user(struct fiber *fiber)
{
    return &fiber->user;
}
