/*
 * sanitize_int.h - which sanitizer this build has, and the calls that tell it what memory is ours.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_SANITIZE_INT_H
#define WEIR_BASE_SANITIZE_INT_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define WEIR_TSAN 1
#endif
#if __has_feature(memory_sanitizer)
#define WEIR_MSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define WEIR_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define WEIR_TSAN 1
#endif

#ifdef WEIR_ASAN
#include <sanitizer/asan_interface.h>
#define MEM_POISON(ptr, len) __asan_poison_memory_region(ptr, len)
#define MEM_UNPOISON(ptr, len) __asan_unpoison_memory_region(ptr, len)
#define MEM_REDZONE 16
#else
#define MEM_POISON(ptr, len) ((void)(ptr), (void)(len))
#define MEM_UNPOISON(ptr, len) ((void)(ptr), (void)(len))
#define MEM_REDZONE 0
#endif

/* Of a function that code calls which the memory sanitizer does not see: what it is given counts as written. */
#ifdef WEIR_MSAN
#define CALLED_FROM_OUTSIDE __attribute__((no_sanitize("memory")))
#else
#define CALLED_FROM_OUTSIDE
#endif

/* Valgrind, too, must be told which memory is a stack. Only the build that is meant for it asks for its header. */
#if defined(WEIR_FIBER_UCONTEXT) && defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define STACK_BEGINS(low, high) VALGRIND_STACK_REGISTER(low, high)
#define STACK_ENDS(id) VALGRIND_STACK_DEREGISTER(id)
#endif
#endif
#ifndef STACK_BEGINS
#define STACK_BEGINS(low, high) 0u
#define STACK_ENDS(id) ((void)(id))
#endif

#endif
