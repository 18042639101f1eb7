/*
 * resp.c - RESP requests: pipelines of commands, whole and cut anywhere.
 *
 * The first byte says how many of the next bytes are cuts; 0: byte by byte. Answers must be RESP values, as many as there
 * were commands or fewer when the connection was closed for a broken one.
 * SPDX-License-Identifier: MIT
 */
#include "doors.h"

const char *const fuzz_words[] = { "\r\n", "*1\r\n", "*2\r\n", "*4\r\n", "$4\r\nCALL\r\n", "$5\r\nthing\r\n", "$1\r\nk\r\n", "$4\r\nsay\r\n",
    "*0\r\n", "*-1\r\n", "$-1\r\n", "$0\r\n\r\n", "*2147483647\r\n", "$536870912\r\n", "*00000000000000000001\r\n", "PING\r\n", "CALL thing full echo ",
    "GETROW thing full\r\n", "HELLO 3\r\n", "HELLO 3 SETNAME x\r\n", "\"\\x00\"", "'", "\"", "CALL.ONCE id thing k fill\r\n", "CLIENT SETINFO LIB-NAME x\r\n",
    "CLIENT ID\r\n", "CONFIG GET *max*\r\n", "COMMAND DOCS\r\n", "QUIT\r\n", "RESET\r\n", "CALL desk - say 1 x []\r\n", "Host:", "POST / HTTP/1.1\r\n",
    "XADD s * a 1\r\n", "XRANGE s (1-1 + COUNT 2\r\n",
    "XREAD COUNT 1 BLOCK 1 STREAMS s t $ 0-0\r\n", "XREADGROUP GROUP g c NOACK STREAMS s >\r\n", "XGROUP CREATE s g $ MKSTREAM\r\n",
    "XPENDING s g IDLE 1 - + 9 c\r\n", "XCLAIM s g c 0 1-1 2 JUSTID\r\n", "XAUTOCLAIM s g c 0 0 COUNT 1\r\n", "XINFO HELP\r\n", "XACK s g 1-1\r\n",
    "ECHO ", "INFO all\r\n", "AUTH a b\r\n", "{\"a\":[1,2.5,null,\"x\"]}", NULL };

/* One value from the front; false when the bytes are no RESP. */
static bool value(struct weir_str *in, unsigned depth);

static bool line(struct weir_str *in, struct weir_str *out)
{
    for (size_t i = 0; i + 1 < in->len; i++) {
        if (in->ptr[i] == '\n') return false;
        if (in->ptr[i] != '\r') continue;
        *out = (struct weir_str){ in->ptr, i };
        in->ptr += i + 2;
        in->len -= i + 2;
        return in->ptr[-1] == '\n';
    }
    return false;
}

static bool several(struct weir_str *in, struct weir_str head, unsigned times, unsigned depth)
{
    long long count = strtoll(head.ptr + 1, NULL, 10);
    if (count < -1 || depth > 80) return false;
    for (long long i = 0; i < count * (long long)times; i++)
        if (!value(in, depth + 1)) return false;
    return true;
}

static bool value(struct weir_str *in, unsigned depth)
{
    struct weir_str head;
    if (!line(in, &head) || head.len == 0) return false;
    switch (head.ptr[0]) {
    case '+':
    case '-':
    case ':':
    case '_':
    case '#':
    case '(':
    case ',': return true;
    case '$':
    case '=': {
        long long len = strtoll(head.ptr + 1, NULL, 10);
        if (len == -1) return true;
        if (len < 0 || (size_t)len + 2 > in->len || memcmp(in->ptr + len, "\r\n", 2) != 0) return false;
        in->ptr += len + 2;
        in->len -= (size_t)len + 2;
        return true;
    }
    case '*':
    case '~': return several(in, head, 1, depth);
    case '%': return several(in, head, 2, depth);
    default: return false;
    }
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
    doors_compare(DOOR_RESP, take_rest(&in), pieces, &answer);
    struct weir_str rest = buf_str(&answer);
    while (rest.len > 0) FUZZ_CHECK(value(&rest, 0), "the answer is no RESP: %.*s", STR_ARG(buf_str(&answer)));
    buf_free(&answer);
    return 0;
}
