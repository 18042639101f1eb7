/*
 * fail.c - a malloc that fails once, put before the program's by LD_PRELOAD.
 *
 * The file named by WEIR_FAIL is shared with the test: u64 allocations so far, u64 the one that fails (0: none), u64 whether
 * one has failed. The test may set it while the program runs. Those of libc, LuaJIT and jansson count as well.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *ptr, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);

static uint64_t *shared; /* NULL before it is mapped: nothing is counted */

__attribute__((constructor)) static void shared_open(void)
{
    const char *path = getenv("WEIR_FAIL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED) shared = at;
}

static bool refuse(void)
{
    if (!shared) return false;
    uint64_t n = __atomic_add_fetch(&shared[0], 1, __ATOMIC_RELAXED), at = __atomic_load_n(&shared[1], __ATOMIC_RELAXED);
    if (at == 0 || n < at || __atomic_exchange_n(&shared[2], 1, __ATOMIC_RELAXED)) return false;
    errno = ENOMEM;
    return true;
}

__attribute__((visibility("default"))) void *malloc(size_t bytes)
{
    return refuse() ? NULL : __libc_malloc(bytes);
}
__attribute__((visibility("default"))) void *calloc(size_t count, size_t bytes)
{
    return refuse() ? NULL : __libc_calloc(count, bytes);
}
__attribute__((visibility("default"))) void *realloc(void *ptr, size_t bytes)
{
    return refuse() ? NULL : __libc_realloc(ptr, bytes);
}
__attribute__((visibility("default"))) int posix_memalign(void **ptr, size_t align, size_t bytes)
{
    if (refuse()) return ENOMEM;
    *ptr = __libc_memalign(align, bytes);
    return *ptr ? 0 : ENOMEM;
}
