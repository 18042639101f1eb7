/*
 * zone_probe.c - answers questions about zones, one a line, for test_zone_twin.py.
 *
 * In: "zone NAME", answered by ok or why not; "at SECONDS" by the offset; "local SECONDS" by fit, first and last
 * instant.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/zone_load.h"

int main(void)
{
    static const char *const fits[] = { "once", "gap", "fold" };
    struct arena arena = { 0 };
    const struct zone *zone = zone_utc();
    char line[256];
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "zone ", 5) == 0) {
            const char *why = "ok";
            arena_reset(&arena);
            enum weir_status status = zone_load(env_real(), str_of(line + 5), &arena, &zone, &why);
            if (status != WEIR_OK) zone = zone_utc();
            puts(status == WEIR_OK ? "ok" : why);
        } else if (strncmp(line, "at ", 3) == 0) {
            printf("%d\n", (int)zone_offset_s(zone, strtoll(line + 3, NULL, 10)));
        } else if (strncmp(line, "local ", 6) == 0) {
            struct zone_instants found = zone_instants(zone, strtoll(line + 6, NULL, 10));
            printf("%s %lld %lld\n", fits[found.fit], (long long)found.first_s,
                   (long long)found.last_s);
        } else {
            puts("what?");
        }
    }
    arena_free(&arena);
    return 0;
}
