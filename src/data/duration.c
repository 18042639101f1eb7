/*
 * duration.c - see duration.h.
 * SPDX-License-Identifier: MIT
 */
#include "data/duration.h"

struct unit {
    struct weir_str word;
    int64_t factor;
};
static const struct unit times[] = { { { "ms", 2 }, 1 },           { { "s", 1 }, 1000 },
                                     { { "m", 1 }, 60 * 1000 },    { { "h", 1 }, 3600 * 1000 },
                                     { { "d", 1 }, 86400 * 1000 }, { { "w", 1 }, 604800 * 1000 } };
static const struct unit sizes[] = { { { "B", 1 }, 1 },
                                     { { "KB", 2 }, INT64_C(1) << 10 },
                                     { { "MB", 2 }, INT64_C(1) << 20 },
                                     { { "GB", 2 }, INT64_C(1) << 30 },
                                     { { "TB", 2 }, INT64_C(1) << 40 } };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Both are not negative. */
static int64_t add(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int64_t times_factor(int64_t n, int64_t factor)
{
    return n > INT64_MAX / factor ? INT64_MAX : n * factor;
}

static bool units_read(struct weir_str text, const struct unit *units, size_t count, int64_t *sum)
{
    int64_t total = 0;
    *sum = 0;
    for (size_t at = 0; at < text.len;) {
        int64_t n = 0, factor = 0;
        size_t digits = at;
        for (; at < text.len && is_digit(text.ptr[at]); at++)
            n = add(times_factor(n, 10), text.ptr[at] - '0');
        size_t unit = at;
        while (at < text.len && !is_digit(text.ptr[at])) at++;
        struct weir_str word = { text.ptr + unit, at - unit };
        for (size_t i = 0; i < count; i++) {
            if (str_eq(units[i].word, word)) factor = units[i].factor;
        }
        if (digits == unit || factor == 0) return false;
        total = add(total, times_factor(n, factor));
    }
    *sum = total;
    return text.len > 0;
}

bool duration_read(struct weir_str text, int64_t *ms)
{
    return units_read(text, times, sizeof(times) / sizeof(times[0]), ms);
}

bool size_read(struct weir_str text, int64_t *bytes)
{
    return units_read(text, sizes, sizeof(sizes) / sizeof(sizes[0]), bytes);
}

void duration_write(struct buf *out, int64_t ms)
{
    if (ms == 0) buf_add_text(out, "0s");
    for (size_t i = 5; i-- > 0; ms %= times[i].factor) {
        if (ms >= times[i].factor)
            buf_printf(out, "%lld%s", (long long)(ms / times[i].factor), times[i].word.ptr);
    }
}
