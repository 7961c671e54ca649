/* See control.h. Who may ask what, and what handlers share. */
#include "daemon/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct route {
    enum lens_role_of_peer role; /* needed at least */
    lensd_control_fn *handler;
};

/* Indexed by enum lens_msg_type; requests only. */
static const struct route routes[] = {
    [LENS_MSG_HELLO] = {LENS_PEER_CLIENT, lensd_control_hello},
    [LENS_MSG_ATTACH] = {LENS_PEER_CLIENT, lensd_control_attach},
    [LENS_MSG_DETACH] = {LENS_PEER_CLIENT, lensd_control_detach},
    [LENS_MSG_END_SEQUENCE] = {LENS_PEER_CLIENT, lensd_control_end_sequence},
    [LENS_MSG_STATUS] = {LENS_PEER_CLIENT, lensd_control_status},
    [LENS_MSG_PACKS] = {LENS_PEER_CLIENT, lensd_control_packs},
    [LENS_MSG_CONCEPTS] = {LENS_PEER_CLIENT, lensd_control_concepts},
    [LENS_MSG_EXPLAIN] = {LENS_PEER_CLIENT, lensd_control_explain},
    [LENS_MSG_STATISTICS] = {LENS_PEER_CLIENT, lensd_control_statistics},
    [LENS_MSG_SESSIONS] = {LENS_PEER_CLIENT, lensd_control_sessions},
    [LENS_MSG_CONFIG] = {LENS_PEER_CLIENT, lensd_control_config},
    [LENS_MSG_EVENTS] = {LENS_PEER_CLIENT, lensd_control_events},
    [LENS_MSG_RULE_READINGS] = {LENS_PEER_CLIENT, lensd_control_rule_readings},
    [LENS_MSG_RULES] = {LENS_PEER_CLIENT, lensd_control_rules},
    [LENS_MSG_LOAD] = {LENS_PEER_OPERATOR, lensd_control_load},
    [LENS_MSG_SWAP] = {LENS_PEER_OPERATOR, lensd_control_swap},
    [LENS_MSG_UNLOAD] = {LENS_PEER_OPERATOR, lensd_control_unload},
    [LENS_MSG_TRACE] = {LENS_PEER_OPERATOR, lensd_control_trace},
    [LENS_MSG_PRELOAD] = {LENS_PEER_OPERATOR, lensd_control_preload},
    [LENS_MSG_PIN] = {LENS_PEER_OPERATOR, lensd_control_pin},
    [LENS_MSG_UNPIN] = {LENS_PEER_OPERATOR, lensd_control_unpin},
    [LENS_MSG_READINGS] = {LENS_PEER_OPERATOR, lensd_control_readings},
    [LENS_MSG_SHUTDOWN] = {LENS_PEER_OPERATOR, lensd_control_shutdown},
};

static const struct route *route_of(enum lens_msg_type type)
{
    size_t at = (size_t)type;
    return at < sizeof routes / sizeof routes[0] && routes[at].handler != NULL ? &routes[at] : NULL;
}

void lensd_control_dispatch(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct route *route = route_of(request->type);
    if (!c->peer.allowed) {
        lensd_connection_fault(c, LENS_FAULT_NOT_ALLOWED,
                               "uid %u may not use this daemon: its ipc.allow_uids and ipc.allow_gids don't name it",
                               c->peer.uid);
        c->doomed = true;
    } else if (route == NULL) {
        lensd_connection_fault(c, LENS_FAULT_BAD_MESSAGE, "%s isn't a request", lens_msg_name(request->type));
        c->doomed = true;
    } else if (c->greeted == (request->type == LENS_MSG_HELLO)) {
        lensd_connection_fault(c, LENS_FAULT_BAD_MESSAGE, "hello comes first, and once: found %s",
                               lens_msg_name(request->type));
        c->doomed = true;
    } else if (c->peer.role < route->role) {
        lensd_connection_fault(c, LENS_FAULT_NOT_ALLOWED,
                               "%s is for operators: uid %u isn't in the daemon's ipc.admin_uids",
                               lens_msg_name(request->type), c->peer.uid);
    } else if (service->stopping) {
        lensd_connection_fault(c, LENS_FAULT_SHUTTING_DOWN, "the daemon is stopping");
    } else {
        route->handler(service, c, request);
    }
}

struct lens_msg *lensd_control_answer(struct lensd_service *service, enum lens_msg_type type)
{
    memset(&service->answer, 0, sizeof service->answer);
    service->answer.type = type;
    service->keys_used = 0;
    return &service->answer;
}

void lensd_control_done(struct lensd_service *service, struct lensd_connection *c, uint32_t generation,
                        const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct lens_msg *answer = lensd_control_answer(service, LENS_MSG_DONE);
    answer->u.done.text = lens_text_of(text);
    answer->u.done.generation = generation;
    lensd_connection_send(c, answer, NULL, 0);
}

enum lens_fault lensd_control_fault_of(int error)
{
    switch (error) {
    case -ENOSPC:
    case -ENOMEM:
    case -EMFILE:
    case -ENFILE:
        return LENS_FAULT_NO_SPACE;
    case -ENOENT:
        return LENS_FAULT_NO_SUCH_CONCEPT;
    case -EINVAL:
        return LENS_FAULT_BAD_MESSAGE;
    case -EBUSY:
        return LENS_FAULT_IN_USE;
    case -EACCES:
        return LENS_FAULT_PATH_NOT_ALLOWED;
    case -ENOTSUP:
        return LENS_FAULT_UNSUPPORTED;
    default:
        return LENS_FAULT_INTERNAL;
    }
}

struct lens_text lensd_control_key(struct lensd_service *service, const struct lens_pack *pack, uint32_t lens)
{
    char *at = service->keys + service->keys_used;
    size_t room = sizeof service->keys - service->keys_used;
    int n = lens_pack_key(pack, lens, at, room);
    if (n < 0 || (size_t)n >= room)
        return (struct lens_text){"", 0};
    service->keys_used += (uint32_t)n + 1;
    return (struct lens_text){at, (uint32_t)n};
}

struct lensd_content_source lensd_control_content(const struct lensd_service *service)
{
    struct lensd_content_source source = {0};
    source.configured[LENSD_CONTENT_INCLUDE] = service->settings->content.include;
    source.configured[LENSD_CONTENT_EXCLUDE] = service->settings->content.exclude;
    source.configured[LENSD_CONTENT_FILTER] = service->settings->content.filter;
    return source;
}

struct lensd_served_pack *lensd_control_pack(struct lensd_service *service, struct lensd_connection *c,
                                             struct lens_text name)
{
    struct lensd_served_pack *served = lensd_service_find_pack(service, name);
    if (served == NULL)
        lensd_connection_fault(c, LENS_FAULT_NO_SUCH_PACK, "no pack \"%.*s\" is loaded: see lensctl packs",
                               (int)name.length, name.data);
    return served;
}

/* The slots don't even hold the base lenses of a session that chooses nothing. */
static void check_slots(const struct lensd_service *service, const struct lensd_served_pack *served)
{
    uint64_t layers = service->settings->cascade.base_layers;
    uint32_t slots = lensd_pool_slots(served->pool), base = 0;
    for (uint32_t i = 0; i < served->pack->lenses; i++)
        base += served->pack->layer[i] < 64 && (layers >> served->pack->layer[i] & 1) != 0;
    if (slots < served->pack->lenses && base >= slots)
        lensd_log_event(
            &service->log, LENSD_LOG_WARNING, LENSD_LOG_PACK_UNUSABLE, &(struct lensd_log_fields){.pack = served->name},
            "pack %s: no session with the base layers of cascade.base_layers can attach: they hold %u lenses, which "
            "need %u slots; pool.slots is %u: raise it or choose fewer layers",
            served->name, base, base + 1, slots);
}

void lensd_control_check_content(const struct lensd_service *service, const struct lensd_served_pack *served)
{
    check_slots(service, served);
    struct lens_error err = {0};
    const struct lensd_content_source source = lensd_control_content(service);
    if (lensd_content_check(&source, service->settings->content.pin, served->pack, &err) != 0)
        lensd_log_event(&service->log, LENSD_LOG_WARNING, LENSD_LOG_PACK_UNUSABLE,
                        &(struct lensd_log_fields){.pack = served->name}, "pack %s: no session can attach to it: %s",
                        served->name, err.text);
}

bool lensd_control_copy(struct lens_text text, char *out, size_t size)
{
    if (text.length >= size)
        return false;
    if (text.length > 0)
        memcpy(out, text.data, text.length);
    out[text.length] = '\0';
    return true;
}

const struct lensd_connection *lensd_control_scope(const struct lensd_connection *c)
{
    return c->peer.role == LENS_PEER_OPERATOR ? NULL : c;
}
