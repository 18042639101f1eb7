/*
 * http.c - HTTP/1.1 requests: whole and cut anywhere; the answers are read by a strict reader.
 *
 * The first byte says how many of the next bytes are cuts; 0: byte by byte. Each answer must be framed by its
 * Content-Length, its JSON be JSON in UTF-8, and nothing may follow one that says `Connection: close`. Beside that a reader
 * of requests as RFC 9112 would have it, written for this test, counts what the bytes hold: the door must not answer more
 * requests than that, which is what smuggling one would be.
 * SPDX-License-Identifier: MIT
 */
#include "doors.h"

#include <strings.h>

const char *const fuzz_words[] = { "\r\n", "\r\n\r\n", "\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST /thing/k/say HTTP/1.1\r\nHost: localhost\r\n",
    "Content-Length: 2\r\n", "Content-Length : 2\r\n", "Content-Length: +2\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding : chunked\r\n", "Transfer-Encoding: chunked, chunked\r\n", "Transfer-Encoding:\vchunked\r\n", "0\r\n\r\n", "2\r\n[]\r\n", "2;x=y\r\n[]\r\n",
    "0000000000000002\r\n", "fffffffffffffffff\r\n", "Expect: 100-continue\r\n", "Connection: close\r\n", "Connection: upgrade\r\nUpgrade: h2c\r\n",
    "Idempotency-Key: \"a\"\r\n", "Host: evil\r\n", "Origin: http://evil\r\n", " HTTP/1.0\r\n", "GET /thing/full HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "/thing/full/say?n=1&t=x&ns=[]", "%00", "%2e%2e", "/../", "//", "http://localhost/", "HEAD ", "DELETE ", "[1,null,[]]", "{\"n\":1,\"ns\":[]}",
    "/thing/full/log?from=1&reverse", "/metrics", "/readyz", "/desk/say", "CONNECT localhost:1 HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NULL };

/* ---- a strict reader of requests ---- */

static bool header_is(struct weir_str line, const char *name, struct weir_str *value)
{
    size_t len = strlen(name);
    if (line.len <= len || strncasecmp(line.ptr, name, len) != 0 || line.ptr[len] != ':') return false;
    *value = (struct weir_str){ line.ptr + len + 1, line.len - len - 1 };
    while (value->len > 0 && (value->ptr[0] == ' ' || value->ptr[0] == '\t')) value->ptr++, value->len--;
    while (value->len > 0 && (value->ptr[value->len - 1] == ' ' || value->ptr[value->len - 1] == '\t')) value->len--;
    return true;
}

static bool take_line(struct weir_str *in, struct weir_str *line)
{
    const char *end = in->len >= 2 ? memchr(in->ptr, '\r', in->len - 1) : NULL;
    if (end == NULL || end[1] != '\n') return false;
    *line = (struct weir_str){ in->ptr, (size_t)(end - in->ptr) };
    in->ptr = end + 2;
    in->len -= line->len + 2;
    return memchr(line->ptr, '\n', line->len) == NULL;
}

static bool take_chunks(struct weir_str *in)
{
    struct weir_str line;
    for (;;) {
        if (!take_line(in, &line)) return false;
        uint64_t len = 0;
        size_t digits = 0;
        for (; digits < line.len && strchr("0123456789abcdefABCDEF", line.ptr[digits]) && line.ptr[digits]; digits++)
            len = len * 16 + (uint64_t)strtol((char[2]){ line.ptr[digits], 0 }, NULL, 16);
        if (digits == 0 || digits > 15 || (digits < line.len && line.ptr[digits] != ';')) return false;
        if (len == 0) break;
        if (len > in->len || in->len - len < 2 || memcmp(in->ptr + len, "\r\n", 2) != 0) return false;
        in->ptr += len + 2;
        in->len -= (size_t)len + 2;
    }
    do if (!take_line(in, &line)) return false;
    while (line.len > 0);
    return true;
}

/* Takes one request off the front; false when there is none that is whole and well-formed. */
static bool take_request(struct weir_str *in)
{
    struct weir_str line, value, length = STR_NIL;
    bool chunked = false;
    while (in->len >= 2 && memcmp(in->ptr, "\r\n", 2) == 0) in->ptr += 2, in->len -= 2;
    if (!take_line(in, &line)) return false;
    for (;;) {
        if (!take_line(in, &line)) return false;
        if (line.len == 0) break;
        if (header_is(line, "Content-Length", &value)) {
            if (length.ptr || value.len == 0 || value.len > 18) return false;
            for (size_t i = 0; i < value.len; i++)
                if (value.ptr[i] < '0' || value.ptr[i] > '9') return false;
            length = value;
        } else if (header_is(line, "Transfer-Encoding", &value)) {
            if (chunked || value.len != 7 || strncasecmp(value.ptr, "chunked", 7) != 0) return false;
            chunked = true;
        }
    }
    if (chunked && length.ptr) return false;
    if (chunked) return take_chunks(in);
    uint64_t bytes = length.ptr ? strtoull(length.ptr, NULL, 10) : 0;
    if (bytes > in->len) return false;
    in->ptr += bytes;
    in->len -= (size_t)bytes;
    return true;
}

/* ---- a strict reader of answers ---- */

/* Takes one; counts it unless it is interim, returns its status. */
static int take_answer(struct weir_str *in, bool head_only, bool *closes)
{
    struct weir_str line, value, length = STR_NIL, type = STR_NIL;
    *closes = false;
    if (!take_line(in, &line) || line.len < 12 || memcmp(line.ptr, "HTTP/1.1 ", 9) != 0) return -1;
    int status = (int)strtol(line.ptr + 9, NULL, 10);
    for (;;) {
        if (!take_line(in, &line)) return -1;
        if (line.len == 0) break;
        for (size_t i = 0; i < line.len; i++)
            if ((unsigned char)line.ptr[i] < 0x20) return -1;
        if (header_is(line, "Content-Length", &value)) length = value;
        if (header_is(line, "Content-Type", &value)) type = value;
        if (header_is(line, "Connection", &value)) *closes = str_eq(value, STR("close"));
    }
    if (status == 100) return status;
    if (length.ptr == NULL) return -1;
    size_t bytes = (size_t)strtoull(length.ptr, NULL, 10);
    if (head_only) return status;
    if (bytes > in->len) return -1;
    struct weir_str body = { in->ptr, bytes };
    bool json = type.len >= 16 && memcmp(type.ptr, "application/", 12) == 0;
    FUZZ_CHECK(!json || body.len > JSON_BYTES_MAX || json_is_valid(body), "not JSON: %.*s", STR_ARG(body));
    in->ptr += bytes;
    in->len -= bytes;
    return status;
}

static bool is_head(struct weir_str bytes)
{
    for (size_t i = 0; i + 4 < bytes.len; i++)
        if (memcmp(bytes.ptr + i, "HEAD", 4) == 0) return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t single[] = { 1 };
    struct bytes in = bytes_of(data, size);
    struct buf answer = { 0 };
    size_t count = take_byte(&in) % 8, left = (size_t)(in.end - in.at);
    if (count > left) count = left;
    struct pieces pieces = count > 0 ? (struct pieces){ in.at, count } : (struct pieces){ single, 1 };
    in.at += count;
    struct weir_str bytes = take_rest(&in), requests = bytes;
    doors_compare(DOOR_HTTP, bytes, pieces, &answer);
    if (!is_head(bytes)) { /* the answers to HEAD have lengths and no bodies: which they are is not followed here */
        unsigned whole = 0, good = 0;
        bool closed = false;
        while (requests.len > 0 && take_request(&requests)) whole++;
        struct weir_str rest = buf_str(&answer);
        while (rest.len > 0) {
            FUZZ_CHECK(!closed, "bytes behind the last answer: %.*s", STR_ARG(buf_str(&answer)));
            int status = take_answer(&rest, false, &closed);
            FUZZ_CHECK(status >= 100, "the answer is no HTTP: %.*s", STR_ARG(buf_str(&answer)));
            if (status != 100 && status != 400 && status != 501 && status != 505 && status != 413 && status != 414 && status != 431 && status != 417 && status != 403)
                good++;
        }
        FUZZ_CHECK(good <= whole, "%u requests stand in the bytes, %u were answered: %.*s\n%.*s", whole, good, STR_ARG(bytes), STR_ARG(buf_str(&answer)));
    }
    buf_free(&answer);
    return 0;
}
