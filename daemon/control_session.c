/* Requests about sessions: attach, detach, end sequence, lists and statistics. A client sees and touches its own
 * sessions only; an operator sees everyone's, but only the owner ends or detaches one. */
#include "daemon/control.h"
#include "daemon/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SUBMIT_SLOTS_DEFAULT 64u
#define SUBMIT_SLOTS_MAX     4096u
#define RESULT_SLOTS_MAX     65536u

/* ---- attach ----------------------------------------------------------------------------------------------------- */

/* The daemon's defaults, with what the client chose put over them. */
static struct lens_cascade_options merge_options(const struct lens_attach *attach,
                                                 const struct lens_cascade_options *defaults)
{
    struct lens_cascade_options o = *defaults;
    lens_options_overlay(&o, &attach->options, attach->options_set);
    return o;
}

/* The power of two that is `wanted` or next above it, between 2 and `max`; larger wishes stay as they are, for the
 * ring to refuse with its sentence. */
static uint32_t slots_for(uint64_t wanted, uint32_t max)
{
    uint32_t slots = 2;
    if (wanted > max)
        return wanted > UINT32_MAX ? UINT32_MAX : (uint32_t)wanted;
    while (slots < wanted)
        slots *= 2;
    return slots;
}

static struct lens_ring_layout wanted_layout(const struct lens_attach *attach)
{
    struct lens_ring_layout layout = {0};
    layout.max_rows = attach->max_rows > 0 ? attach->max_rows : 1;
    layout.expanded_capacity = attach->expanded_capacity > 0 ? attach->expanded_capacity : LENSD_EXPANDED_DEFAULT;
    layout.submit_slots =
        slots_for(attach->submit_slots > 0 ? attach->submit_slots : SUBMIT_SLOTS_DEFAULT, SUBMIT_SLOTS_MAX);
    uint64_t results = (uint64_t)layout.submit_slots * layout.max_rows;
    if (results > RESULT_SLOTS_MAX)
        results = RESULT_SLOTS_MAX;
    layout.result_slots = slots_for(attach->result_slots > 0 ? attach->result_slots : results, RESULT_SLOTS_MAX);
    return layout;
}

/* What one session may still have: its own limit, within what all together have left. */
static uint64_t memory_left(const struct lensd_service *service)
{
    uint64_t total = service->settings->ipc.total_memory, used = service->sessions.memory_bytes;
    uint64_t left = total > used ? total - used : 0;
    return left < service->settings->ipc.session_memory ? left : service->settings->ipc.session_memory;
}

static void send_attached(struct lensd_service *service, struct lensd_connection *c,
                          const struct lensd_session *session)
{
    const struct lensd_served_pack *served = session->binding.served;
    const struct lens_pack_meta *meta = &served->pack->meta;
    struct lens_msg *answer = lensd_control_answer(service, LENS_MSG_ATTACHED);
    answer->u.attached = (struct lens_attached){
        .session = session->id,
        .generation = served->generation,
        .lenses = served->pack->lenses,
        .layout = session->ring.layout,
        .options = session->options,
        .pack = lens_text_of(served->name),
        .model_id = lens_text_of(meta->model_id),
        .tap_layer = lens_text_of(meta->tap_layer),
        .tap_point = lens_text_of(meta->tap_point),
    };
    const int fds[2] = {session->memfd, session->doorbell};
    lensd_connection_send(c, answer, fds, 2);
}

/* The daemon's lists of concepts and the client's. */
static struct lensd_content_source content_of(const struct lensd_service *service, const struct lens_attach *attach)
{
    struct lensd_content_source source = lensd_control_content(service);
    source.asked[LENSD_CONTENT_INCLUDE] = attach->include;
    source.asked[LENSD_CONTENT_EXCLUDE] = attach->exclude;
    source.asked[LENSD_CONTENT_FILTER] = attach->filter;
    source.n_asked[LENSD_CONTENT_INCLUDE] = attach->n_include;
    source.n_asked[LENSD_CONTENT_EXCLUDE] = attach->n_exclude;
    source.n_asked[LENSD_CONTENT_FILTER] = attach->n_filter;
    return source;
}

/* The device reads the session's rows by itself where it can; where not, they are copied, which is said once. */
static void lock_rows(struct lensd_service *service, struct lensd_session *session)
{
    struct lens_error err = {0};
    int r = lensd_session_lock_rows(session, &err);
    if (r == 0 || r == -ENODEV || service->copying_told) /* a device that is lost says so when it is run */
        return;
    service->copying_told = true;
    lensd_log(&service->log, LENSD_LOG_WARNING,
              "rows of session %u are copied to the device before each run, which costs time: %s", session->id,
              err.text);
}

/* Creates the session and hands it to the engine and the table: all or nothing. */
static int make_session(struct lensd_service *service, struct lensd_connection *c, const struct lens_attach *attach,
                        struct lensd_served_pack *served, struct lensd_session **out, struct lens_error *err)
{
    char label[64];
    struct lens_text name = attach->label.length > 0 ? attach->label : lens_text_of(c->name);
    if (!lensd_control_copy(name, label, sizeof label)) {
        lens_error_set(err, -EINVAL, "a session's label may have %zu bytes, found %u", sizeof label - 1, name.length);
        return -EINVAL;
    }
    struct lensd_session_request request = {
        .id = service->last_session + 1,
        .uid = c->peer.uid,
        .pid = c->peer.pid,
        .label = label,
        .layout = wanted_layout(attach),
        .max_sequences = attach->max_sequences > 0 ? attach->max_sequences : LENSD_SEQUENCES_DEFAULT,
        .options = merge_options(attach, &service->settings->cascade),
        .pinned = attach->pinned,
        .n_pinned = attach->n_pinned,
        .content = content_of(service, attach),
        .configured_pins = service->settings->content.pin,
        .events = service->events,
        .rules = service->alerts.rules,
        .memory_limit = memory_left(service),
    };
    int r = lensd_session_create(&request, served, out, err);
    if (r != 0)
        return r;
    (*out)->notify_fd = c->fd;
    lock_rows(service, *out);
    r = lensd_engine_attach(service->engine, *out, err);
    if (r != 0) {
        lensd_session_destroy(*out);
        return r;
    }
    service->last_session++;
    return lensd_attachments_add(&service->sessions, *out, c); /* room was checked */
}

void lensd_control_attach(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lens_attach *attach = &request->u.attach;
    struct lensd_served_pack *served = lensd_service_find_pack(service, attach->pack);
    struct lensd_session *session = NULL;
    struct lens_error err = {0};
    if (served == NULL) {
        lensd_connection_fault(c, LENS_FAULT_NO_SUCH_PACK,
                               service->n_packs == 0 ? "no pack is loaded: start lensd with --pack, or lensctl load"
                                                     : "no pack \"%.*s\" is loaded: see lensctl packs",
                               (int)attach->pack.length, attach->pack.data);
        return;
    }
    if (service->sessions.n >= service->settings->ipc.max_sessions) {
        lensd_connection_fault(c, LENS_FAULT_NO_SPACE, "all %u sessions are taken: see ipc.max_sessions",
                               service->settings->ipc.max_sessions);
        return;
    }
    if (!lensd_connection_takes_descriptors(c)) {
        lensd_connection_fault(c, LENS_FAULT_NO_SPACE, "%u answers to attach wait unread on this connection: read them",
                               LENSD_UNREAD_ATTACHED);
        return;
    }
    if (lensd_ladder_admits(service, served, &err) != 0) {
        lensd_connection_fault(c, LENS_FAULT_NO_SPACE, "%s", err.text);
        return;
    }
    int r = make_session(service, c, attach, served, &session, &err);
    if (r != 0) {
        lensd_connection_fault(c, lensd_control_fault_of(r), "%s", err.text);
        return;
    }
    struct lensd_log_fields fields = lensd_connection_fields(c);
    fields.session = session->id;
    fields.pack = served->name;
    fields.generation = served->generation;
    lensd_log_client(&service->log, LENSD_LOG_INFO, LENSD_LOG_SESSION_ATTACHED, &fields,
                     "session %u of \"%s\" (pid %u, uid %u) on pack %s", session->id, session->label, session->pid,
                     session->uid, served->name);
    send_attached(service, c, session);
}

/* ---- the session's own requests --------------------------------------------------------------------------------- */

/* The connection's own session, or NULL after answering that there is none. */
static struct lensd_session *own_session(struct lensd_service *service, struct lensd_connection *c, uint32_t id)
{
    struct lensd_session *session = lensd_attachments_find(&service->sessions, id, c);
    if (session == NULL)
        lensd_connection_fault(c, LENS_FAULT_NO_SUCH_SESSION, "this connection has no session %u", id);
    return session;
}

void lensd_control_detach(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    struct lensd_session *session = own_session(service, c, request->u.detach.session);
    if (session == NULL)
        return;
    uint32_t id = session->id;
    lensd_attachments_close(&service->sessions, service->engine, session);
    struct lensd_log_fields fields = lensd_connection_fields(c);
    fields.session = id;
    lensd_log_client(&service->log, LENSD_LOG_INFO, LENSD_LOG_SESSION_ENDED, &fields, "session %u detached", id);
    lensd_control_done(service, c, 0, "session %u is detached", id);
}

void lensd_control_end_sequence(struct lensd_service *service, struct lensd_connection *c,
                                const struct lens_msg *request)
{
    struct lensd_session *session = own_session(service, c, request->u.end_sequence.session);
    if (session == NULL)
        return;
    lensd_engine_end_sequence(service->engine, session, request->u.end_sequence.sequence);
    lensd_control_done(service, c, 0, "the sequence is forgotten");
}

/* ---- lists and statistics --------------------------------------------------------------------------------------- */

static void fill_session(const struct lensd_session *session, uint64_t now, struct lens_session_row *out)
{
    struct lens_statistics s;
    lensd_statistics_export(session->statistics, &s);
    const struct lens_stage_row *total = &s.stages[LENS_STAGES - 1];
    *out = (struct lens_session_row){
        .session = session->id,
        .pid = session->pid,
        .uid = session->uid,
        .sequences = atomic_load_explicit(&session->sequences.used, memory_order_relaxed),
        .label = lens_text_of(session->label),
        .pack = lens_text_of(session->binding.served->name),
        .rows = s.rows,
        .dropped = s.dropped_rows,
        .memory_bytes = session->memory_bytes,
        .p50_ns = total->p50,
        .p99_ns = total->p99,
        .age_ns = now - session->created_ns,
    };
}

void lensd_control_sessions(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lensd_connection *scope = lensd_control_scope(c);
    struct lens_session_page *page = &lensd_control_answer(service, LENS_MSG_SESSION_PAGE)->u.session_page;
    uint64_t now = lensd_now_ns();
    page->first = request->u.page.first;
    for (uint32_t i = 0; i < service->sessions.n; i++) {
        const struct lensd_attachment *item = &service->sessions.items[i];
        if (scope != NULL && item->owner != scope)
            continue;
        if (page->total++ >= page->first && page->count < LENS_PAGE_ROWS)
            fill_session(item->session, now, &page->rows[page->count++]);
    }
    lensd_connection_send(c, &service->answer, NULL, 0);
}

void lensd_control_statistics(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    uint32_t id = request->u.statistics.session;
    const struct lensd_connection *scope = lensd_control_scope(c);
    const struct lensd_statistics *statistics;
    if (id == 0 && scope != NULL) {
        lensd_connection_fault(c, LENS_FAULT_NOT_ALLOWED,
                               "statistics of the whole daemon are for operators: ask for one of your sessions");
        return;
    }
    if (id == 0) {
        statistics = lensd_engine_statistics(service->engine);
    } else {
        const struct lensd_session *session = lensd_attachments_find(&service->sessions, id, scope);
        if (session == NULL) {
            lensd_connection_fault(c, LENS_FAULT_NO_SUCH_SESSION, "no session %u: see lensctl sessions", id);
            return;
        }
        statistics = session->statistics;
    }
    struct lens_msg *answer = lensd_control_answer(service, LENS_MSG_STATISTICS_ARE);
    struct lens_statistics_answer *out = &answer->u.statistics_are;
    lensd_statistics_export(statistics, &out->all);
    if (request->u.statistics.buckets)
        out->n_buckets = lensd_statistics_buckets(statistics, out->buckets);
    lensd_connection_send(c, answer, NULL, 0);
}
