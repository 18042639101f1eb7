/*
 * main.c - a fuzz target as a plain test: replays a corpus, then a bounded number of mutations from a fixed seed.
 *
 *   fuzz_NAME [--runs N] [--seed S] [--input FILE] FOLDER...
 *
 * Files that end in .hex hold bytes as hexadecimal digits, with blanks and comments from `#` to the end of the line.
 * A run of more than a second, more than 256 MB or a crash fails the test; the input is then written to
 * fuzz-NAME.input, with the command that replays it. Under a sanitizer or valgrind (WEIR_SLOW=n) time counts n-fold and
 * memory not at all.
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/sanitize_int.h"
#include "fuzz.h"

#define INPUT_BYTES_MAX 8192u
#define RSS_KB_MAX (256u * 1024)

#if defined(WEIR_ASAN) || defined(WEIR_TSAN) || defined(WEIR_MSAN)
#define SLOW 20u
#else
#define SLOW 1u
#endif

struct input {
    char name[64];
    struct buf bytes;
};

static struct input *inputs;
static size_t input_count;
static const char *program;
static const uint8_t *running;
static size_t running_bytes;
static uint64_t seed = 1, run;
static char running_name[64];

/* Only what a signal handler may call. */
static void say(const char *text)
{
    (void)!write(2, text, strlen(text));
}

static void on_crash(int number)
{
    char path[128], text[512];
    const char *slash = strrchr(program, '/');
    snprintf(path, sizeof path, "%s.input", slash ? slash + 1 : program);
    FILE *file = fopen(path, "w");
    if (file) {
        fwrite(running, 1, running_bytes, file);
        fclose(file);
    }
    snprintf(text, sizeof text, "signal %d: seed %llu, run %llu, from %s; again: %s --input %s/%s\n", number,
             (unsigned long long)seed, (unsigned long long)run, running_name, program, getcwd((char[256]){ 0 }, 256), path);
    say(text);
    signal(number, SIG_DFL);
    raise(number);
}

/* The engine ends by _Exit(70) when a promise is broken or memory is out: here that is a crash. */
void __wrap__Exit(int code) __attribute__((noreturn));
void __wrap__Exit(int code)
{
    fprintf(stderr, "the engine ended with exit code %d\n", code);
    abort();
}

/* Of the processor, not of the clock on the wall: the machine may be shared. */
static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t slowest_ns;

static void one(const void *bytes, size_t len, const char *name)
{
    static uint64_t slow;
    if (slow == 0) {
        const char *text = getenv("WEIR_SLOW");
        slow = text ? strtoull(text, NULL, 10) : SLOW;
        if (slow == 0) slow = 1;
    }
    /* a block of exactly this size: reading beyond it is seen */
    uint8_t *copy = mem_realloc(NULL, len);
    if (len > 0) memcpy(copy, bytes, len);
    running = copy;
    running_bytes = len;
    snprintf(running_name, sizeof running_name, "%s", name);
    uint64_t begin = now_ns();
    LLVMFuzzerTestOneInput(copy, len);
    uint64_t ns = now_ns() - begin;
    if (ns > slowest_ns) slowest_ns = ns;
    FUZZ_CHECK(ns < 1000000000u * slow, "a run of %llu ms", (unsigned long long)(ns / 1000000));
    mem_free(copy);
}

/* ---- the corpus ---- */

static void from_hex(struct buf *bytes)
{
    size_t out = 0;
    int high = -1;
    for (size_t i = 0; i < bytes->len; i++) {
        if (bytes->ptr[i] == '#') {
            while (i < bytes->len && bytes->ptr[i] != '\n') i++;
            continue;
        }
        const char *digits = "0123456789abcdef", *digit = strchr(digits, bytes->ptr[i]);
        if (bytes->ptr[i] == 0 || digit == NULL) continue;
        if (high < 0) high = (int)(digit - digits);
        else bytes->ptr[out++] = (char)(high << 4 | (int)(digit - digits)), high = -1;
    }
    bytes->len = out;
}

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    inputs = mem_realloc(inputs, (input_count + 1) * sizeof *inputs);
    struct input *input = &inputs[input_count++];
    *input = (struct input){ 0 };
    const char *slash = strrchr(path, '/');
    snprintf(input->name, sizeof input->name, "%s", slash ? slash + 1 : path);
    char room[4096];
    for (size_t n; (n = fread(room, 1, sizeof room, file)) > 0;) buf_add(&input->bytes, room, n);
    fclose(file);
    size_t len = strlen(path);
    if (len > 4 && strcmp(path + len - 4, ".hex") == 0) from_hex(&input->bytes);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct input *)a)->name, ((const struct input *)b)->name);
}

static void load_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir) {
        fprintf(stderr, "cannot open %s\n", folder);
        exit(1);
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[1024];
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        load(path);
    }
    closedir(dir);
    qsort(inputs, input_count, sizeof *inputs, by_name);
}

/* ---- mutations ---- */

static uint64_t state;

static uint64_t draw(uint64_t below)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return below ? (z ^ (z >> 31)) % below : 0;
}

static void insert(struct buf *b, size_t at, const char *bytes, size_t len)
{
    if (b->len + len > INPUT_BYTES_MAX) return;
    buf_reserve(b, len);
    memmove(b->ptr + at + len, b->ptr + at, b->len - at);
    memcpy(b->ptr + at, bytes, len);
    b->len += len;
}

static void erase(struct buf *b, size_t at, size_t len)
{
    if (len > b->len - at) len = b->len - at;
    memmove(b->ptr + at, b->ptr + at + len, b->len - at - len);
    b->len -= len;
}

static void mutate(struct buf *b)
{
    static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, '\r', '\n', ' ', '-', '0', '9', '{', '"', '\\', '%' };
    size_t at = (size_t)draw(b->len + 1);
    size_t words = 0;
    while (fuzz_words[words]) words++;
    switch (draw(9)) {
    case 0:
        if (at < b->len) b->ptr[at] ^= (char)(1 << draw(8));
        break;
    case 1:
        if (at < b->len) b->ptr[at] = (char)edges[draw(sizeof edges)];
        break;
    case 2: insert(b, at, (const char *)&edges[draw(sizeof edges)], 1); break;
    case 3: erase(b, at, 1 + (size_t)draw(draw(4) ? 4 : 64)); break;
    case 4:
    case 5:
        if (words > 0) {
            const char *word = fuzz_words[draw(words)];
            insert(b, at, word, strlen(word));
        }
        break;
    case 6: { /* a piece of another input */
        const struct buf *other = &inputs[draw(input_count)].bytes;
        size_t from = (size_t)draw(other->len + 1), len = (size_t)draw(other->len - from + 1);
        if (len > 0) insert(b, at, other->ptr + from, len);
        break;
    }
    case 7: { /* a piece of its own, once more */
        char piece[64];
        size_t len = (size_t)draw(sizeof piece);
        if (len > b->len - at) len = b->len - at;
        if (len > 0) memcpy(piece, b->ptr + at, len);
        insert(b, (size_t)draw(b->len + 1), piece, len);
        break;
    }
    default: /* digits: lengths and counts */
        for (size_t i = at; i < b->len; i++) {
            if (b->ptr[i] < '0' || b->ptr[i] > '9') continue;
            b->ptr[i] = (char)('0' + draw(10));
            break;
        }
        break;
    }
}

/* As a dictionary for libFuzzer. */
static int print_words(void)
{
    for (size_t i = 0; fuzz_words[i]; i++) {
        putchar('"');
        for (const char *at = fuzz_words[i]; *at; at++) printf("\\x%02x", (unsigned char)*at);
        puts("\"");
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t runs = 1000;
    const char *input = NULL;
    program = argv[0];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc) runs = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--input") == 0 && i + 1 < argc) input = argv[++i];
        else if (strcmp(argv[i], "--words") == 0) return print_words();
        else load_folder(argv[i]);
    }
    signal(SIGABRT, on_crash);
#if !defined(WEIR_ASAN)
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
    signal(SIGFPE, on_crash);
#endif
    if (input) {
        input_count = 0;
        load(input);
        one(inputs[0].bytes.ptr, inputs[0].bytes.len, inputs[0].name);
        printf("%s: %zu bytes, nothing found\n", input, inputs[0].bytes.len);
        return 0;
    }
    if (input_count == 0) {
        fprintf(stderr, "an empty corpus\n");
        return 1;
    }
    one("", 0, "nothing");
    for (size_t i = 0; i < input_count; i++) one(inputs[i].bytes.ptr, inputs[i].bytes.len, inputs[i].name);
    state = seed;
    struct buf b = { 0 };
    uint64_t begin = now_ns();
    for (run = 1; run <= runs; run++) {
        const struct input *from = &inputs[draw(input_count)];
        buf_reset(&b);
        buf_add_str(&b, buf_str(&from->bytes));
        for (uint64_t n = 1 + draw(draw(4) ? 3 : 16); n > 0; n--) mutate(&b);
        one(b.ptr, b.len, from->name);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%zu inputs, %llu mutations (seed %llu) in %llu ms, slowest %llu ms, %ld MB\n", input_count, (unsigned long long)runs,
           (unsigned long long)seed, (unsigned long long)((now_ns() - begin) / 1000000), (unsigned long long)(slowest_ns / 1000000),
           usage.ru_maxrss / 1024);
    if (SLOW == 1 && getenv("WEIR_SLOW") == NULL) FUZZ_CHECK(usage.ru_maxrss < RSS_KB_MAX, "%ld MB", usage.ru_maxrss / 1024);
    buf_free(&b);
    for (size_t i = 0; i < input_count; i++) buf_free(&inputs[i].bytes);
    mem_free(inputs);
    return 0;
}
