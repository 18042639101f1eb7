/*
 * mem.c - heap memory, growing buffers, readers, arenas and strings.
 *
 * The only callers of malloc in Weir. Blocks of 256 bytes or more stand on a cache line, so that
 * structs with _Alignas(64) members may be allocated here. An arena is a chain of chunks filled one
 * after the other; `current` is the one being filled, those behind it are empty. What an arena has not
 * handed out is zero: a reset clears what was used at once, which costs less than clearing each block.
 * SPDX-License-Identifier: MIT
 */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/sanitize_int.h"

#define LINE_BYTES 64
#define LINE_ALIGNED_FROM 192
/* Small: a connection may have a thousand requests on their way, each with an arena of its own. */
#define CHUNK_BYTES_MIN ((size_t)1024)
#define CHUNK_BYTES_MAX ((size_t)32 * 1024)
#define ARENA_KEEP_BYTES ((size_t)64 * 1024)

struct arena_chunk {
    struct arena_chunk *next;
    size_t cap; /* with `next` 16 bytes, so `bytes` is aligned as the chunk is */
    char bytes[];
};

__attribute__((noreturn)) static void mem_exhausted(size_t bytes)
{
    fprintf(stderr, "weir: out of memory: %zu bytes refused\n", bytes);
    _Exit(70);
}

/* ---- heap ---- */

#ifdef WEIR_MARKS
static int64_t blocks_live; /* the simulator is one thread */

int64_t mem_blocks(void)
{
    return blocks_live;
}
#define BLOCKS_ADD(n) (blocks_live += (n))
#else
#define BLOCKS_ADD(n) ((void)0)
#endif

static void *mem_zeroed(size_t bytes)
{
    void *ptr = calloc(1, bytes);
    if (!ptr) mem_exhausted(bytes);
    BLOCKS_ADD(1);
    return ptr;
}

void *mem_aligned(size_t align, size_t bytes)
{
    void *ptr = NULL;
    if (bytes > PTRDIFF_MAX || posix_memalign(&ptr, align, bytes)) mem_exhausted(bytes);
    BLOCKS_ADD(1);
    return ptr;
}

void *mem_alloc(size_t bytes)
{
    if (bytes < LINE_ALIGNED_FROM) return mem_zeroed(bytes ? bytes : 1);
    bool pages = bytes % MEM_PAGE_BYTES == 0;
    return memset(pages ? mem_pages(bytes) : mem_aligned(LINE_BYTES, bytes), 0, bytes);
}

void *mem_pages(size_t bytes)
{
    ASSERT(bytes % MEM_PAGE_BYTES == 0);
    void *ptr = mem_aligned(MEM_PAGE_BYTES, bytes);
    (void)madvise(ptr, bytes, MADV_HUGEPAGE);
    return ptr;
}

void *mem_map(size_t bytes)
{
    ASSERT(bytes % MEM_PAGE_BYTES == 0);
    size_t more = bytes + MEM_PAGE_BYTES; /* so much that a large page begins in it */
    char *ptr = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ptr == MAP_FAILED) mem_exhausted(bytes);
    size_t front = MEM_PAGE_BYTES - (uintptr_t)ptr % MEM_PAGE_BYTES;
    (void)munmap(ptr, front);
    if (front < MEM_PAGE_BYTES) (void)munmap(ptr + front + bytes, MEM_PAGE_BYTES - front);
    (void)madvise(ptr + front, bytes, MADV_HUGEPAGE);
    BLOCKS_ADD(1);
    return ptr + front;
}

void mem_unmap(void *ptr, size_t bytes)
{
    if (ptr == NULL) return;
    BLOCKS_ADD(-1);
    (void)munmap(ptr, bytes);
}

void *mem_realloc(void *ptr, size_t bytes)
{
    BLOCKS_ADD(ptr == NULL);
    void *moved = realloc(ptr, bytes ? bytes : 1);
    if (!moved) mem_exhausted(bytes);
    return moved;
}

void mem_free(void *ptr)
{
    BLOCKS_ADD(-(ptr != NULL));
    free(ptr);
}

/* ---- buffers ---- */

void buf_grow(struct buf *buf, size_t more)
{
    if (more > PTRDIFF_MAX - buf->len) mem_exhausted(more);
    size_t cap = buf->cap ? buf->cap * 2 : 64;
    if (cap < buf->len + more) cap = buf->len + more;
    buf->ptr = mem_realloc(buf->ptr, cap);
    buf->cap = cap;
}

void buf_add_str(struct buf *buf, struct weir_str text)
{
    buf_add(buf, text.ptr, text.len);
}

void buf_add_text(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args, again;
    ASSERT(format);
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(len >= 0);
    buf_reserve(buf, (size_t)len + 1);
    vsnprintf(buf->ptr + buf->len, (size_t)len + 1, format, again);
    va_end(again);
    buf->len += (size_t)len;
}

void buf_free(struct buf *buf)
{
    mem_free(buf->ptr);
    *buf = (struct buf){ 0 };
}

/* ---- readers ---- */

uint64_t reader_varint_long(struct reader *reader)
{
    uint64_t n = 0;
    const char *at = reader->at;
    for (unsigned shift = 0; shift < 64 && at < reader->end && !reader->failed; shift += 7) {
        uint8_t byte = (uint8_t)*at++;
        /* the tenth group holds one bit: more would be a number beyond 64 bits */
        if (shift == 63 && byte > 1) break;
        n |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            reader->at = at;
            return n;
        }
    }
    reader->failed = true;
    return 0;
}

struct weir_str reader_bytes(struct reader *reader, size_t len)
{
    if (reader->failed || len > (size_t)(reader->end - reader->at)) {
        reader->failed = true;
        return (struct weir_str){ "", 0 };
    }
    struct weir_str bytes = { reader->at, len };
    /* NULL + 0 is undefined before C23 */
    if (len) reader->at += len;
    return bytes;
}

/* ---- arenas ---- */

static struct arena_chunk *chunk_create(size_t cap)
{
    if (cap > PTRDIFF_MAX - sizeof(struct arena_chunk)) mem_exhausted(cap);
    struct arena_chunk *chunk = mem_zeroed(sizeof(*chunk) +
                                           cap); /* not touched where it is fresh */
    chunk->cap = cap;
    MEM_POISON(chunk->bytes, cap);
    return chunk;
}

static void chunk_destroy(struct arena_chunk *chunk)
{
    MEM_UNPOISON(chunk->bytes, chunk->cap);
    mem_free(chunk);
}

/* The current chunk is too full: moves to one that has room, made if need be. */
static void arena_next(struct arena *arena, size_t bytes)
{
    struct arena_chunk *last = arena->current;
    struct arena_chunk *next = last ? last->next : arena->first;
    if (!next || next->cap < bytes) {
        size_t cap = last ? last->cap * 2 : CHUNK_BYTES_MIN;
        if (cap > CHUNK_BYTES_MAX) cap = CHUNK_BYTES_MAX;
        struct arena_chunk *made = chunk_create(bytes > cap ? bytes : cap);
        made->next = next;
        if (last) last->next = made;
        else arena->first = made;
        next = made;
    }
    arena->current = next;
    arena->at = next->bytes;
    arena->end = next->bytes + next->cap;
}

void *arena_alloc_more(struct arena *arena, size_t bytes)
{
    if (bytes > PTRDIFF_MAX - LINE_BYTES) mem_exhausted(bytes);
    size_t whole = ((bytes + 15) & ~(size_t)15) + MEM_REDZONE;
    if (whole > (size_t)(arena->end - arena->at)) arena_next(arena, whole);
    char *ptr = arena->at;
    arena->at += whole;
    arena->used += bytes;
    MEM_UNPOISON(ptr, bytes);
    return ptr;
}

char *arena_cstr(struct arena *arena, struct weir_str text)
{
    char *copy = arena_alloc(arena, text.len + 1);
    if (text.len) memcpy(copy, text.ptr, text.len);
    return copy;
}

struct weir_str arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args, again;
    ASSERT(format);
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(len >= 0);
    char *text = arena_alloc(arena, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return (struct weir_str){ text, (size_t)len };
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *only = arena->first;
    if (!only) return;
    if (!only->next && only->cap <= ARENA_KEEP_BYTES) { /* most often */
        MEM_UNPOISON(only->bytes, only->cap);
        memset(only->bytes, 0, (size_t)(arena->at - only->bytes));
        MEM_POISON(only->bytes, only->cap);
        arena->at = only->bytes;
        arena->used = 0;
        return;
    }
    size_t kept = 0;
    bool used = arena->current != NULL;
    for (struct arena_chunk **link = &arena->first; *link;) {
        struct arena_chunk *chunk = *link;
        bool last = chunk == arena->current;
        if (kept + chunk->cap > ARENA_KEEP_BYTES) {
            *link = chunk->next;
            chunk_destroy(chunk);
            used = used && !last;
            continue;
        }
        kept += chunk->cap;
        MEM_UNPOISON(chunk->bytes, chunk->cap);
        if (used) memset(chunk->bytes, 0, last ? (size_t)(arena->at - chunk->bytes) : chunk->cap);
        used = used && !last;
        MEM_POISON(chunk->bytes, chunk->cap);
        link = &chunk->next;
    }
    arena->current = arena->first;
    arena->at = arena->first ? arena->first->bytes : NULL;
    arena->end = arena->first ? arena->first->bytes + arena->first->cap : NULL;
    arena->used = 0;
}

void arena_free(struct arena *arena)
{
    for (struct arena_chunk *chunk = arena->first, *next; chunk; chunk = next) {
        next = chunk->next;
        chunk_destroy(chunk);
    }
    *arena = (struct arena){ 0 };
}

/* ---- strings ---- */

int str_cmp(struct weir_str a, struct weir_str b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared ? memcmp(a.ptr, b.ptr, shared) : 0;
    if (order) return order;
    return (a.len > b.len) - (a.len < b.len);
}

/* How many digits: 1233/4096 is a little above log 2. */
static size_t digit_count(uint64_t n)
{
    static const uint64_t powers[20] = { 0,
                                         10,
                                         100,
                                         1000,
                                         10000,
                                         100000,
                                         1000000,
                                         10000000,
                                         100000000,
                                         1000000000,
                                         10000000000,
                                         100000000000,
                                         1000000000000,
                                         10000000000000,
                                         100000000000000,
                                         1000000000000000,
                                         10000000000000000,
                                         100000000000000000,
                                         1000000000000000000,
                                         10000000000000000000u };
    size_t guess = (64 - (size_t)__builtin_clzll(n | 1)) * 1233 >> 12;
    return guess + (n >= powers[guess]);
}

size_t int_text(int64_t n, char out[INT_TEXT_MAX])
{
    static const char pairs[] = "0001020304050607080910111213141516171819"
                                "2021222324252627282930313233343536373839"
                                "4041424344454647484950515253545556575859"
                                "6061626364656667686970717273747576777879"
                                "8081828384858687888990919293949596979899";
    size_t minus = n < 0;
    uint64_t left = minus ? 0 - (uint64_t)n : (uint64_t)n;
    size_t len = minus + digit_count(left);
    char *at = out + len;
    if (minus) out[0] = '-';
    for (; left >= 100; left /= 100) {
        at -= 2;
        memcpy(at, pairs + left % 100 * 2, 2);
    }
    if (left >= 10) memcpy(at - 2, pairs + left * 2, 2);
    else at[-1] = (char)('0' + left);
    return len;
}

/*
 * Length of the well-formed sequence at `at`, 0 if there is none: table 3-7 of the Unicode standard,
 * where only the second byte's range depends on the first.
 */
static size_t utf8_sequence(const uint8_t *at, size_t left)
{
    uint8_t first = at[0], low = 0x80, high = 0xbf;
    size_t len;
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first <= 0xdf) len = 2;
    else if (first >= 0xe0 && first <= 0xef) len = 3;
    else if (first >= 0xf0 && first <= 0xf4) len = 4;
    else return 0;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    if (left < len || at[1] < low || at[1] > high) return 0;
    for (size_t i = 2; i < len; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    return len;
}

/* Of fewer than eight bytes. */
static bool is_ascii_short(const uint8_t *at, size_t len)
{
    uint32_t head, tail;
    if (len < 4) return len == 0 || (at[0] | at[len / 2] | at[len - 1]) < 0x80;
    memcpy(&head, at, 4);
    memcpy(&tail, at + len - 4, 4);
    return ((head | tail) & 0x80808080u) == 0;
}

bool str_is_utf8(struct weir_str text)
{
    const uint8_t *bytes = (const uint8_t *)text.ptr;
    size_t i = 0;
    if (text.len < 8 && is_ascii_short(bytes, text.len)) return true;
    for (uint64_t four[4]; text.len - i >= sizeof(four); i += sizeof(four)) { /* most is ASCII */
        memcpy(four, bytes + i, sizeof(four));
        if ((four[0] | four[1] | four[2] | four[3]) & 0x8080808080808080u) break;
    }
    while (i < text.len) {
        uint64_t eight;
        if (text.len - i >= 8) {
            memcpy(&eight, bytes + i, 8);
            if (!(eight & 0x8080808080808080u)) {
                i += 8;
                continue;
            }
        } else if (is_ascii_short(bytes + i, text.len - i)) {
            return true;
        }
        if (bytes[i] < 0x80) {
            i++;
            continue;
        }
        size_t len = utf8_sequence(bytes + i, text.len - i);
        if (len == 0) return false;
        i += len;
    }
    return true;
}

void text_print(char *out, size_t bytes, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(out, bytes, format, args);
    va_end(args);
    if (len < 0) out[0] = 0;
    /* A character of several bytes that lost some: at most three of it are left. */
    size_t end = strlen(out), from = end;
    while (from > 0 && end - from < 3 && ((uint8_t)out[from - 1] & 0xc0) == 0x80) from--;
    if (from > 0 && (uint8_t)out[from - 1] >= 0xc0) from--;
    if (len >= 0 && (size_t)len > end &&
        utf8_sequence((const uint8_t *)out + from, end - from) == 0)
        out[from] = 0;
    str_make_utf8(out);
}

void str_make_utf8(char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        size_t len = utf8_sequence((const uint8_t *)text, left);
        if (len == 0) *text = '?';
        if (len == 0) len = 1;
        text += len;
        left -= len;
    }
}
