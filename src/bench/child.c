/*
 * child.c - see child.h.
 *
 * It says where it serves in one line of JSON (`weir run --json`). Its processor time is what the kernel says of it: user
 * and system, all threads, in ticks of 10 ms.
 * SPDX-License-Identifier: MIT
 */
#include "bench/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/driver.h"

#define WORDS_MAX 100u
#define REPORT_BYTES 65536u

extern char **environ;

bool cpu_of_process(int pid, struct cpu *cpu)
{
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got <= 0) return false;
    text[got] = 0;
    /* Behind the name, which may hold anything: state and ten numbers, then user and system ticks. */
    const char *at = strrchr(text, ')');
    unsigned long long user = 0, system = 0;
    if (!at || sscanf(at + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu %llu", &user,
                      &system) != 2)
        return false;
    uint64_t tick_us = 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    *cpu = (struct cpu){ user * tick_us, system * tick_us };
    return true;
}

/* The first line of a small file; false when there is none, as the thread has ended. */
static bool line_read(const char *path, char *text, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = read(fd, text, bytes - 1);
    close(fd);
    if (got <= 0) return false;
    text[got] = 0;
    text[strcspn(text, "\n")] = 0;
    return true;
}

static void thread_add(struct thread_cpu *threads, const char *name, uint64_t ns)
{
    for (uint32_t i = 0; i < FIGURE_THREADS_MAX; i++) {
        if (!threads[i].name[0]) snprintf(threads[i].name, sizeof(threads[i].name), "%s", name);
        if (strcmp(threads[i].name, name) != 0) continue;
        threads[i].ns += ns;
        return;
    }
}

void cpu_of_threads(int pid, struct thread_cpu *threads)
{
    char folder[64], path[128], name[16], times[128];
    snprintf(folder, sizeof(folder), "/proc/%d/task", pid);
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        int thread = atoi(e->d_name);
        if (thread <= 0) continue;
        snprintf(path, sizeof(path), "%s/%d/comm", folder, thread);
        if (!line_read(path, name, sizeof(name))) continue;
        /* On a processor, waiting for one, how often: nanoseconds where `stat` has ticks. */
        snprintf(path, sizeof(path), "%s/%d/schedstat", folder, thread);
        if (line_read(path, times, sizeof(times)))
            thread_add(threads, name, strtoull(times, NULL, 10));
    }
    if (dir) closedir(dir);
}

void folder_remove(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        char name[1024];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (unlink(name) != 0) folder_remove(name);
    }
    if (dir) closedir(dir);
    rmdir(path);
}

void child_last_words(const struct child *child, char *text, size_t text_bytes)
{
    char end[2048];
    text[0] = 0;
    int fd = open(child->trace, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > (off_t)sizeof(end) - 1 ? size - ((off_t)sizeof(end) - 1) : 0;
    ssize_t got = pread(fd, end, sizeof(end) - 1, from);
    close(fd);
    while (got > 0 && end[got - 1] == '\n') got--;
    if (got <= 0) return;
    end[got] = 0;
    const char *line = strrchr(end, '\n');
    snprintf(text, text_bytes, "%s", line ? line + 1 : end);
}

/* The sentence alone of {"error":"...","exit":N}, in its place. */
static void sentence_only(char *text)
{
    static const char begin[] = "{\"error\":\"";
    char *to = text;
    if (strncmp(text, begin, sizeof(begin) - 1) != 0) return;
    for (const char *at = text + sizeof(begin) - 1; *at && *at != '"'; at++) {
        if (*at == '\\' && at[1]) at++;
        *to++ = *at;
    }
    *to = 0;
}

/* Up to the end of its line, or of the pipe. */
static size_t report_read(int fd, char *text, size_t bytes)
{
    size_t len = 0;
    while (len + 1 < bytes) {
        ssize_t n = read(fd, text + len, bytes - 1 - len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        len += (size_t)n;
        if (memchr(text, '\n', len)) break;
    }
    text[len] = 0;
    return len;
}

static bool report_take(const char *text, struct child *child)
{
    const char *resp = strstr(text, "\"resp\":\""), *shards = strstr(text, "\"shards\":"),
               *threads = strstr(text, "\"threads\":");
    if (!resp || !shards || !threads) return false;
    const char *end = strchr(resp + 8, '"');
    while (end && *end != ':' && end > resp) end--;
    if (!end) return false;
    child->port = atoi(end + 1);
    child->shards = (uint32_t)atoi(shards + 9);
    child->threads = (uint32_t)atoi(threads + 10);
    return child->port > 0;
}

/* execve takes no const words, and changes none. What goes wrong in the child is its last words. */
static int spawn(const char *const *words, int out, int err)
{
    char *writable[WORDS_MAX + 1];
    memcpy(writable, words, sizeof(writable));
    pid_t parent = getpid(), pid = fork();
    if (pid != 0) return pid > 0 ? pid : 0;
    /* it ends with the benchmark, however that ends */
    bool good = prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent &&
                dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0;
    if (good) execve(words[0], writable, environ);
    dprintf(err, "%s: %s\n", words[0], strerror(errno));
    _exit(127);
}

static unsigned words_list(const char **words, unsigned count, const char *option,
                           const char *const *list)
{
    for (unsigned i = 0; list && list[i] && count + 2 <= WORDS_MAX; i++) {
        words[count++] = option;
        words[count++] = list[i];
    }
    return count;
}

bool child_start(const struct child_options *o, struct child *child, char *error,
                 size_t error_bytes)
{
    const char *words[WORDS_MAX + 1] = { 0 };
    char data[512], shards[16], threads[16], report[REPORT_BYTES], last[512];
    unsigned count = 0;
    int pipe_out[2];
    memset(child, 0, sizeof(*child));
    snprintf(data, sizeof(data), "%s/data", o->folder);
    snprintf(child->trace, sizeof(child->trace), "%s/trace", o->folder);
    snprintf(shards, sizeof(shards), "%u", o->shards);
    snprintf(threads, sizeof(threads), "%u", o->threads);
    const char *const fixed[] = { o->program,    "run",    o->app,     "--data",
                                  data,          "--http", "none",     "--resp",
                                  "127.0.0.1:0", "--json", "--shards", shards };
    for (; count < sizeof(fixed) / sizeof(fixed[0]); count++) words[count] = fixed[count];
    if (o->threads) {
        words[count++] = "--threads";
        words[count++] = threads;
    }
    if (o->conflict_policy) {
        words[count++] = "--conflict-policy";
        words[count++] = o->conflict_policy;
    }
    if (o->io_processor) {
        words[count++] = "--io-processor";
        words[count++] = o->io_processor;
    }
    count = words_list(words, count, "--limit", o->limits);
    words_list(words, count, "--set", o->settings);
    int err = open(child->trace, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (err < 0 || pipe2(pipe_out, O_CLOEXEC) != 0) {
        snprintf(error, error_bytes, "%s: %s", child->trace, strerror(errno));
        if (err >= 0) close(err);
        return false;
    }
    child->pid = spawn(words, pipe_out[1], err);
    int reason = errno;
    close(pipe_out[1]);
    close(err);
    bool good = child->pid != 0 && report_read(pipe_out[0], report, sizeof(report)) > 0 &&
                report_take(report, child);
    close(pipe_out[0]); /* it says no more */
    if (good) return true;
    child_last_words(child, last, sizeof(last));
    sentence_only(last);
    if (child->pid == 0) snprintf(error, error_bytes, "%s: %s", o->program, strerror(reason));
    else snprintf(error, error_bytes, "the server did not start: %s", last);
    child_stop(child);
    return false;
}

bool child_stop(struct child *child)
{
    int status = 0;
    if (child->pid == 0) return true;
    kill(child->pid, SIGTERM);
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR) continue;
    child->pid = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
