/*
 * mem.h - heap memory, buffers that grow, and arenas that are emptied at once.
 *
 * Allocation failure ends the process with exit code 70 after a line on stderr: nothing answered is lost, as answers
 * are durable. Sizes that input asks for are refused by their limits long before (README.md).
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_MEM_H
#define WEIR_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "weir/weir.h"

/** Zeroed memory; never NULL. Given. */
void *mem_alloc(size_t bytes);
/** A multiple of MEM_PAGE_BYTES, not zeroed, on large pages where the kernel has them: for tables that are looked up all over.
 *  mem_alloc() of such a size takes them, too. Given. */
#define MEM_PAGE_BYTES ((size_t)2 * 1024 * 1024)
void *mem_pages(size_t bytes);
/** The same, zeroed; but a page is taken when it is first used, so none of this takes time now. Goes by mem_unmap(). */
void *mem_map(size_t bytes);
void mem_unmap(void *ptr, size_t bytes);
/** Begins at a multiple of `align`, a power of two; not zeroed. Given. */
void *mem_aligned(size_t align, size_t bytes);
/** Not zeroed beyond what it held; never NULL. */
void *mem_realloc(void *ptr, size_t bytes);
void mem_free(void *ptr);
#ifdef WEIR_MARKS
/** Blocks not freed; only in the simulator's build, whose one thread makes counting cheap. */
int64_t mem_blocks(void);
#endif

/* Bytes that grow. Zero it to begin; buf_free() at the end. */
struct buf {
    char *ptr;
    size_t len;
    size_t cap;
};

void buf_grow(struct buf *buf, size_t more);
static inline void buf_reserve(struct buf *buf, size_t more)
{
    if (more > buf->cap - buf->len) buf_grow(buf, more);
}
static inline void buf_add(struct buf *buf, const void *bytes, size_t len)
{
    if (len == 0) return;
    buf_reserve(buf, len);
    memcpy(buf->ptr + buf->len, bytes, len);
    buf->len += len;
}
void buf_add_str(struct buf *buf, struct weir_str text);
void buf_add_text(struct buf *buf, const char *text);
static inline void buf_add_byte(struct buf *buf, uint8_t byte)
{
    buf_reserve(buf, 1);
    buf->ptr[buf->len++] = (char)byte;
}
/** Base-128, low group first; at most 10 bytes. Returns what follows. */
static inline char *varint_put(char *at, uint64_t n)
{
    for (; n >= 0x80; n >>= 7) *at++ = (char)(n | 0x80);
    *at++ = (char)n;
    return at;
}
static inline void buf_add_varint(struct buf *buf, uint64_t n)
{
    buf_reserve(buf, 10);
    ASSERT_SLOW(buf->ptr != NULL);
    buf->len = (size_t)(varint_put(buf->ptr + buf->len, n) - buf->ptr);
}
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_free(struct buf *buf);
static inline void buf_reset(struct buf *buf)
{
    buf->len = 0;
}
static inline struct weir_str buf_str(const struct buf *buf)
{
    return (struct weir_str){ buf->ptr ? buf->ptr : "", buf->len };
}

/* Reads from bytes; `failed` sticks, reads after it give zeros. */
struct reader {
    const char *at;
    const char *end;
    bool failed;
};
static inline struct reader reader_of(struct weir_str bytes)
{
    return (struct reader){ bytes.ptr, bytes.ptr + bytes.len, false };
}
static inline uint8_t reader_byte(struct reader *reader)
{
    if (reader->failed || reader->at == reader->end) {
        reader->failed = true;
        return 0;
    }
    return (uint8_t)*reader->at++;
}
uint64_t reader_varint_long(struct reader *reader);
static inline uint64_t reader_varint(struct reader *reader)
{
    if (reader->failed || reader->at == reader->end || (uint8_t)*reader->at >= 0x80)
        return reader_varint_long(reader);
    return (uint8_t)*reader->at++;
}
struct weir_str reader_bytes(struct reader *reader, size_t len);

static inline uint64_t zigzag(int64_t n)
{
    return ((uint64_t)n << 1) ^ (uint64_t)(n >> 63);
}
static inline int64_t unzigzag(uint64_t n)
{
    return (int64_t)(n >> 1) ^ -(int64_t)(n & 1);
}

/* Every block of an arena then has a zone behind it that must not be touched. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_CHECKED 1
#endif
#endif
#ifndef ARENA_CHECKED
#define ARENA_CHECKED 0
#endif

/* An arena: chunks kept over resets. Under the address sanitizer a reset poisons what it takes back. */
struct arena {
    struct arena_chunk *first, *current;
    char *at, *end; /* what is left of the current chunk */
    size_t used;    /* bytes handed out since the last reset */
};
/** arena_alloc() when the current chunk is full, and always under the address sanitizer. */
void *arena_alloc_more(struct arena *arena, size_t bytes) __attribute__((noinline, cold));
/** Zeroed, 16-byte aligned; until the reset. */
static inline void *arena_alloc(struct arena *arena, size_t bytes)
{
    size_t left = (size_t)(arena->end - arena->at);
    if (ARENA_CHECKED || bytes > left || ((bytes + 15) & ~(size_t)15) > left)
        return arena_alloc_more(arena, bytes);
    char *ptr = arena->at;
    arena->at += (bytes + 15) & ~(size_t)15;
    arena->used += bytes;
    return ptr;
}
static inline struct weir_str arena_copy(struct arena *arena, struct weir_str text)
{
    if (text.len == 0) return (struct weir_str){ "", 0 };
    return (struct weir_str){ memcpy(arena_alloc(arena, text.len), text.ptr, text.len), text.len };
}
/** As arena_copy() with a NUL behind. */
char *arena_cstr(struct arena *arena, struct weir_str text);
struct weir_str arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/** Takes all back; keeps at most 64 KiB of chunks. */
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

/* ---- strings ---- */
#define STR(literal) ((struct weir_str){ "" literal, sizeof(literal) - 1 })
#define STR_NIL ((struct weir_str){ NULL, 0 })
static inline struct weir_str str_of(const char *text)
{
    return (struct weir_str){ text, text ? strlen(text) : 0 };
}
static inline bool str_eq(struct weir_str a, struct weir_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
/** memcmp order, shorter first among equals. */
int str_cmp(struct weir_str a, struct weir_str b);
bool str_is_utf8(struct weir_str text);
#define INT_TEXT_MAX 20
/** Writes the decimal digits, no NUL; returns how many characters. */
size_t int_text(int64_t n, char out[INT_TEXT_MAX]);
/** Puts '?' for each byte that is in no well-formed sequence: for texts that quote input or were cut. */
void str_make_utf8(char *text);
/** Prints what fits, cut behind a whole character; what is no UTF-8 becomes '?'. For texts whose end may be missing, as
 *  a message for people; `bytes` with the NUL. */
void text_print(char *out, size_t bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** For printf's %.*s */
#define STR_ARG(text) (int)(text).len, (text).ptr ? (text).ptr : ""

#endif
