/*
 * chunk.c - bodies sent in chunks (RFC 9112, section 7.1), byte by byte.
 *
 * http_parser is not asked: as distributions build it, it skips the two bytes behind a chunk's data without looking, and
 * takes a bare LF for a line's end. A proxy that reads such bytes otherwise sees other requests on the connection
 * than we do. One reader of the body, and that a strict one.
 *
 *   SIZE -> EXTENSION -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *   SIZE_LF of size 0 -> LINE -> TRAILER -> TRAILER_LF -> LINE ... -> LAST_LF -> DONE
 * SPDX-License-Identifier: MIT
 */
#include "net/net_int.h"

#define DIGITS_MAX 15u

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool is_text(char c)
{
    return (unsigned char)c >= 0x20 ? c != 0x7f : c == '\t';
}

static bool size_next(struct chunks *chunks, char c)
{
    int value = hex_value(c);
    if (value >= 0) {
        chunks->left = chunks->left * 16 + (uint64_t)value;
        return ++chunks->digits <= DIGITS_MAX;
    }
    chunks->state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXTENSION;
    return chunks->digits > 0 && (c == '\r' || c == ';');
}

static bool line_goes_on(struct chunks *chunks, char c, enum chunk_state end)
{
    if (c == '\r') chunks->state = end;
    return c == '\r' || is_text(c);
}

static bool turn(struct chunks *chunks, bool fits, enum chunk_state next)
{
    chunks->state = next;
    chunks->digits = 0;
    return fits;
}

static bool byte_next(struct chunks *chunks, char c)
{
    switch (chunks->state) {
    case CHUNK_SIZE: return size_next(chunks, c);
    case CHUNK_EXTENSION: return line_goes_on(chunks, c, CHUNK_SIZE_LF);
    case CHUNK_SIZE_LF: return turn(chunks, c == '\n', chunks->left ? CHUNK_DATA : CHUNK_LINE);
    case CHUNK_DATA_CR: return turn(chunks, c == '\r', CHUNK_DATA_LF);
    case CHUNK_DATA_LF: return turn(chunks, c == '\n', CHUNK_SIZE);
    case CHUNK_LINE:
        if (c == '\r') return turn(chunks, true, CHUNK_LAST_LF);
        return turn(chunks, is_text(c) && c != ' ' && c != '\t', CHUNK_TRAILER);
    case CHUNK_TRAILER: return line_goes_on(chunks, c, CHUNK_TRAILER_LF);
    case CHUNK_TRAILER_LF: return turn(chunks, c == '\n', CHUNK_LINE);
    case CHUNK_LAST_LF: return turn(chunks, c == '\n', CHUNK_DONE);
    case CHUNK_DATA:
    case CHUNK_DONE: break;
    }
    return false;
}

enum chunks_found chunks_take(struct chunks *chunks, const char *bytes, size_t len, size_t most,
                              struct buf *body, size_t *used)
{
    size_t at = 0;
    enum chunks_found found = CHUNKS_MORE;
    while (at < len && found == CHUNKS_MORE && chunks->state != CHUNK_DONE) {
        if (chunks->state != CHUNK_DATA) {
            if (!byte_next(chunks, bytes[at++])) found = CHUNKS_BROKEN;
            /* refused from the length alone: nothing of it is kept */
            else if (chunks->state == CHUNK_DATA && chunks->left > most - body->len)
                found = CHUNKS_TOO_MANY;
            continue;
        }
        size_t taken = len - at < chunks->left ? len - at : (size_t)chunks->left;
        buf_add(body, bytes + at, taken);
        chunks->left -= taken;
        at += taken;
        if (chunks->left == 0) chunks->state = CHUNK_DATA_CR;
    }
    *used = at;
    return found;
}
