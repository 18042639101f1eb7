/*
 * url.c - where a URL leads, read by libcurl's own parser.
 *
 * The allow-list must judge the very host that will be connected to: two parsers that read one text differently
 * are how such lists are passed by (Orange Tsai, "A New Era of SSRF", Black Hat USA 2017).
 * SPDX-License-Identifier: MIT
 */
#include "connect/connect_int.h"

#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

/* One part as text; false when absent or longer than its place. */
static bool url_part(CURLU *handle, CURLUPart what, unsigned flags, char *to, size_t bytes)
{
    char *part = NULL;
    bool fits = curl_url_get(handle, what, &part, flags) == CURLUE_OK && strlen(part) < bytes;
    if (fits) memcpy(to, part, strlen(part) + 1);
    curl_free(part);
    return fits;
}

static bool url_read(CURLU *handle, struct url *url)
{
    char scheme[8], port[8];
    if (!url_part(handle, CURLUPART_SCHEME, 0, scheme, sizeof(scheme)) ||
        !url_part(handle, CURLUPART_HOST, 0, url->host, sizeof(url->host)) ||
        !url_part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof(port)))
        return false;
    url->https = strcmp(scheme, "https") == 0;
    if (!url->https && strcmp(scheme, "http") != 0) return false;
    for (char *at = url->host; *at; at++)
        if (*at >= 'A' && *at <= 'Z') *at = (char)(*at - 'A' + 'a');
    snprintf(url->origin, sizeof(url->origin), "%s:%s", url->host, port);
    return true;
}

bool url_parse(const char *text, struct url *url, char *error, size_t error_bytes)
{
    CURLU *handle = curl_url();
    *url = (struct url){ 0 };
    CURLUcode rc = handle ? curl_url_set(handle, CURLUPART_URL, text, CURLU_DISALLOW_USER)
                          : CURLUE_OUT_OF_MEMORY;
    bool good = rc == CURLUE_OK && url_read(handle, url);
    curl_url_cleanup(handle);
    if (!good)
        snprintf(error, error_bytes, "%s: the url must be as in \"https://host:port/path\"",
                 rc == CURLUE_USER_NOT_ALLOWED ? "user name or password in it: use a header"
                                               : "malformed, or neither http nor https");
    return good;
}
