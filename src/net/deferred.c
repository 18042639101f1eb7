/*
 * deferred.c - waiting on for a deferred answer, on both doors: GET /requests/{id}?wait=5s, CALL.WAIT id [BLOCK ms].
 *
 * For whoever made the request, and the operator; the engine judges that. A request made without a name is read by
 * whoever has its id, which is 128 random bits: so this is open to strangers, too.
 * SPDX-License-Identifier: MIT
 */
#include "net/http_int.h"

/* Its answer came, or is still to come: then it was the caller's to ask for, and a stranger's time begins anew. A
 * stranger is told the same of what there is not and of what is another's. */
static void wait_resumed(struct call *call)
{
    enum weir_status status = call->request.status;
    struct conn *conn = call->conn;
    bool his = status != WEIR_NOTFOUND && status != WEIR_NOPERM;
    if (his) conn->trusted_ns = conn->net->now_ns;
    if (his || conn->user) call_answer(call);
    else call_refuse(call, WEIR_NOAUTH, "Authentication required.");
}

/* At most as long as a request has. */
static void wait_submit(struct call *call, struct weir_str id, uint64_t wait_ms)
{
    struct net *net = call->conn->net;
    struct request *request = &call->request;
    uint64_t most_ms = engine_limits(net->engine)->request_deadline_ms;
    if (wait_ms > most_ms) wait_ms = most_ms;
    request->handler = engine_wait_query(net->engine);
    request->answer_id = arena_copy(&request->arena, id);
    request->waits = true;
    request->deadline_ns = net->now_ns + wait_ms * 1000000u;
    call->resumed = wait_resumed;
    call_submit(call);
}

static bool number_read(struct weir_str text, uint64_t *out)
{
    *out = 0;
    return str_eq(text, STR("0")) || http_count_read(text, UINT32_MAX, out);
}

/* "10s" as elsewhere, or just 10. */
static bool wait_read(struct weir_str text, uint64_t *ms)
{
    if (http_wait_read(text, ms)) return true;
    bool good = number_read(text, ms);
    *ms *= 1000;
    return good;
}

void http_route_requests(struct call *call, const struct http_state *http, const struct path *path)
{
    struct weir_str query = path->query, name, value;
    uint64_t wait_ms = UINT64_MAX;
    int more = 0;
    bool good = true;
    call->counted = true;
    call->fresh = true;
    if (path->count != 2) {
        call_refuse(call, WEIR_NOTFOUND, "no such path: GET /requests/{id}?wait=5s");
        return;
    }
    if (!http_is_read(http)) {
        http_refuse_method(call, "GET, HEAD");
        return;
    }
    while (good && (more = http_parameter(&call->request.arena, &query, &name, &value)) > 0)
        good = str_eq(name, STR("wait")) && wait_read(value, &wait_ms);
    if (good && more == 0) wait_submit(call, path->segment[1], wait_ms);
    else call_refuse(call, WEIR_ARG, "the answer of a request takes one parameter: wait, as 5s");
}

void resp_call_wait(struct call *call, const struct resp_command *command)
{
    uint64_t wait_ms = UINT64_MAX;
    bool block = command->count == 4 && resp_is(command->args[2], "BLOCK");
    call->counted = true;
    if (!call->conn->net->engine) call_submit(call); /* which refuses */
    else if (command->count == 2 || (block && number_read(command->args[3], &wait_ms)))
        wait_submit(call, command->args[1], wait_ms);
    else call_refuse(call, WEIR_ARG, "CALL.WAIT id [BLOCK ms]");
}
