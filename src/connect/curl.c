/*
 * curl.c - the transport on libcurl: its multi interface under the poller of struct env.
 *
 * libcurl opens and reads its sockets; env waits for them, so that a wake of the actor ends the wait. libcurl is
 * asked for its next timeout before each wait (curl_multi_timeout) in place of keeping what its timer callback
 * said: that one is not repeated when a timeout is served a moment too early, and the transfer would hang.
 *
 * Name look-ups run on libcurl's own threads, one per look-up.
 * SPDX-License-Identifier: MIT
 */
#include "connect/connect_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "base/assert.h"

#define EVENTS_MAX 64
#define NS_PER_MS 1000000u

struct carrier {
    struct outside_transport table;
    struct env *env;
    struct actor *actor;
    CURLM *multi;
    const char *ca_file, *proxy;
    uint64_t connections_max;
};

/* Of an attempt. */
struct carried {
    CURL *easy;
    struct curl_slist *headers;
    uint64_t header_bytes;
    char error[CURL_ERROR_SIZE];
};

/* ---- sockets ---- */

/* The poller's mark of a socket: its number, and never NULL. */
static void *socket_mark(curl_socket_t fd)
{
    return (void *)(intptr_t)(fd + 1);
}

static int carrier_socket(CURL *easy, curl_socket_t fd, int what, void *self, void *known)
{
    struct carrier *carrier = self;
    struct env *env = carrier->env;
    bool reads = what == CURL_POLL_IN || what == CURL_POLL_INOUT;
    bool writes = what == CURL_POLL_OUT || what == CURL_POLL_INOUT;
    if (what == CURL_POLL_REMOVE) {
        env->poll_remove(env, carrier->actor, fd);
        curl_multi_assign(carrier->multi, fd, NULL);
        return 0;
    }
    if (!known) {
        int rc = env->poll_add(env, carrier->actor, fd, socket_mark(fd), writes);
        if (rc < 0 && rc != -EEXIST) return -1;
        curl_multi_assign(carrier->multi, fd, socket_mark(fd));
    }
    return env->poll_change(env, carrier->actor, fd, socket_mark(fd), reads, writes) < 0 ? -1 : 0;
}

/* ---- answers ---- */

static size_t answer_body(char *bytes, size_t size, size_t count, void *user)
{
    struct outside_attempt *attempt = user;
    size_t len = size * count, room = attempt->answer_bytes_max - attempt->body.len;
    buf_add(&attempt->body, bytes, len < room ? len : room);
    if (len <= room) return len;
    attempt->body_cut = true;
    return 0; /* breaks the transfer off: the rest is nobody's */
}

static size_t answer_header(char *bytes, size_t size, size_t count, void *user)
{
    struct outside_attempt *attempt = user;
    struct carried *carried = attempt->own;
    carried->header_bytes += size * count;
    return carried->header_bytes > attempt->answer_header_bytes_max ? 0 : size * count;
}

static void answer_read(struct outside_attempt *attempt, CURL *easy)
{
    long status = 0;
    curl_off_t retry_after_s = 0;
    char *text = NULL;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    attempt->status = (int)status;
    if (curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after_s) == CURLE_OK &&
        retry_after_s > 0)
        attempt->retry_after_ms = retry_after_s < INT32_MAX ? retry_after_s * 1000
                                                            : INT32_MAX * INT64_C(1000);
    if (curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &text) == CURLE_OK && text)
        snprintf(attempt->content_type, sizeof(attempt->content_type), "%s", text);
    buf_reset(&attempt->location);
    text = NULL;
    if (curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &text) == CURLE_OK && text &&
        strlen(text) <= OUTSIDE_URL_BYTES_MAX)
        buf_add(&attempt->location, text, strlen(text) + 1);
}

static void carried_free(struct carrier *carrier, struct outside_attempt *attempt)
{
    struct carried *carried = attempt->own;
    attempt->own = NULL;
    if (carried->easy) {
        curl_multi_remove_handle(carrier->multi, carried->easy);
        curl_easy_cleanup(carried->easy);
    }
    /* may hold secrets */
    for (struct curl_slist *line = carried->headers; line; line = line->next)
        explicit_bzero(line->data, strlen(line->data));
    curl_slist_free_all(carried->headers);
    mem_free(carried);
}

static void carried_end(struct carrier *carrier, struct outside_attempt *attempt, CURLcode rc)
{
    struct carried *carried = attempt->own;
    if (rc == CURLE_OK || attempt->body_cut) {
        answer_read(attempt, carried->easy);
    } else {
        snprintf(attempt->error, attempt->error_bytes, "%s",
                 carried->header_bytes > attempt->answer_header_bytes_max
                     ? "the answer's headers are more than answer_header_bytes_max"
                 : carried->error[0] ? carried->error
                                     : curl_easy_strerror(rc));
    }
    carried_free(carrier, attempt);
    outside_attempt_end(attempt);
}

static bool carrier_collect(struct carrier *carrier)
{
    bool any = false;
    int left = 0;
    for (CURLMsg *done; (done = curl_multi_info_read(carrier->multi, &left));) {
        char *attempt = NULL;
        CURLcode rc = done->data.result;
        if (done->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(done->easy_handle, CURLINFO_PRIVATE, &attempt);
        carried_end(carrier, (struct outside_attempt *)(void *)attempt, rc);
        any = true;
    }
    return any;
}

/* ---- attempts ---- */

static void easy_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

static void easy_method(CURL *easy, const struct outside_attempt *attempt)
{
    struct weir_str body = attempt->request->body;
    if (strcmp(attempt->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    /* the body is borrowed: it lives as long as the call. An empty one says Content-Length: 0 */
    if (body.len || strcmp(attempt->method, "GET") != 0) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.ptr);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, attempt->method);
}

static void easy_headers(struct carried *carried, const struct outside_attempt *attempt)
{
    struct curl_slist *lines = NULL;
    bool typed = false;
    for (const char *const *line = attempt->header_lines; *line; line++) {
        lines = curl_slist_append(lines, *line);
        typed |= strncasecmp(*line, "Content-Type", 12) == 0;
    }
    if (attempt->signature) lines = curl_slist_append(lines, attempt->signature);
    /* what libcurl adds by itself: a form's type to an empty body, and a wait before a long one */
    if (!typed) lines = curl_slist_append(lines, "Content-Type:");
    lines = curl_slist_append(lines, "Expect:");
    ASSERT(lines);
    carried->headers = lines;
    curl_easy_setopt(carried->easy, CURLOPT_HTTPHEADER, lines);
}

static void carrier_begin(void *self, struct outside_attempt *attempt)
{
    struct carrier *carrier = self;
    struct carried *carried = mem_alloc(sizeof(*carried));
    CURL *easy = curl_easy_init();
    ASSERT(easy); /* it fails for lack of memory only */
    attempt->own = carried;
    carried->easy = easy;
    easy_protocols(easy);
    easy_method(easy, attempt);
    easy_headers(carried, attempt);
    curl_easy_setopt(easy, CURLOPT_URL, attempt->url);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "weir/" WEIR_VERSION);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, attempt);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, carried->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, answer_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, attempt);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, answer_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, attempt);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    /* A handler of signals would be the process's; os ignores SIGPIPE. Time is up when outside.c says so. */
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)OUTSIDE_TIMEOUT_MS_MAX);
#if LIBCURL_VERSION_NUM >= 0x075700
    /* an attempt dropped in the middle of a name look-up leaves the thread of the look-up to itself; without
     * this the actor would wait for it, as long as the name server is silent */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    if (carrier->ca_file) curl_easy_setopt(easy, CURLOPT_CAINFO, carrier->ca_file);
    if (carrier->proxy) curl_easy_setopt(easy, CURLOPT_PROXY, carrier->proxy);
    CURLMcode rc = curl_multi_add_handle(carrier->multi, easy);
    ASSERT(rc == CURLM_OK);
}

static void carrier_drop(void *self, struct outside_attempt *attempt)
{
    carried_free(self, attempt);
}

static uint64_t carrier_turn(void *self, uint64_t until_ns)
{
    struct carrier *carrier = self;
    struct env *env = carrier->env;
    struct env_event events[EVENTS_MAX];
    int running = 0;
    long timeout_ms = -1;
    curl_multi_timeout(carrier->multi, &timeout_ms);
    if (timeout_ms == 0) {
        curl_multi_socket_action(carrier->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        if (carrier_collect(carrier)) return 0;
        curl_multi_timeout(carrier->multi, &timeout_ms);
    }
    if (timeout_ms == 0) until_ns = 0;
    if (timeout_ms > 0) {
        uint64_t at = env->mono_ns(env) + (uint64_t)timeout_ms * NS_PER_MS;
        if (at < until_ns) until_ns = at;
    }
    int count = env->poll_wait(env, carrier->actor, events, EVENTS_MAX, until_ns);
    ASSERT(count >= 0); /* only an epoll of ours that is broken fails */
    for (int i = 0; i < count; i++) {
        int what = (events[i].readable ? CURL_CSELECT_IN : 0) |
                   (events[i].writable ? CURL_CSELECT_OUT : 0) |
                   (events[i].broken ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(carrier->multi, (curl_socket_t)(intptr_t)events[i].user - 1, what,
                                 &running);
    }
    carrier_collect(carrier);
    return 0;
}

static enum weir_status carrier_start(void *self, struct env *env, struct actor *actor, char *error,
                                      size_t error_bytes)
{
    struct carrier *carrier = self;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        snprintf(error, error_bytes, "libcurl cannot be used here");
        return WEIR_CONFIG;
    }
    carrier->env = env;
    carrier->actor = actor;
    carrier->multi = curl_multi_init();
    ASSERT(carrier->multi);
    curl_multi_setopt(carrier->multi, CURLMOPT_SOCKETFUNCTION, carrier_socket);
    curl_multi_setopt(carrier->multi, CURLMOPT_SOCKETDATA, carrier);
    curl_multi_setopt(carrier->multi, CURLMOPT_MAXCONNECTS, (long)carrier->connections_max);
    return WEIR_OK;
}

static void carrier_stop(void *self)
{
    struct carrier *carrier = self;
    curl_multi_cleanup(carrier->multi);
    carrier->multi = NULL;
    curl_global_cleanup();
}

struct outside_transport *curl_transport_create(const struct outside_options *options)
{
    struct carrier *carrier = mem_alloc(sizeof(*carrier));
    carrier->ca_file = options->ca_file;
    carrier->proxy = options->proxy;
    carrier->connections_max = options->limits.in_flight_max ? options->limits.in_flight_max : 256;
    carrier->table = (struct outside_transport){ .self = carrier,
                                                 .start = carrier_start,
                                                 .begin = carrier_begin,
                                                 .drop = carrier_drop,
                                                 .turn = carrier_turn,
                                                 .stop = carrier_stop };
    return &carrier->table;
}

void curl_transport_destroy(struct outside_transport *transport)
{
    mem_free(transport->self);
}
