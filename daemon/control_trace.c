/* The request to record a trace: one recorder at a time, an operator's connection, until that connection closes. */
#include "daemon/control.h"
#include "daemon/tracing.h"

static int start(struct lensd_service *service, const struct lensd_connection *c, struct lensd_served_pack *served,
                 struct lens_error *err)
{
    struct lensd_recording *recording = &service->recording;
    int r = lensd_tracing_create(served->pack, &recording->tracing, err);
    if (r != 0)
        return r;
    recording->served = served;
    recording->recorder = c->id;
    lensd_engine_trace(service->engine, served, recording->tracing);
    return 0;
}

static void stop(struct lensd_service *service)
{
    struct lensd_recording *recording = &service->recording;
    if (service->engine != NULL)
        lensd_engine_trace(service->engine, recording->served, NULL);
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_TRACE_ENDED,
                    &(struct lensd_log_fields){.pack = recording->served->name},
                    "trace of pack %s ends: %llu rows went to the recorder, %llu were left out",
                    recording->served->name, (unsigned long long)lensd_tracing_rows(recording->tracing),
                    (unsigned long long)lensd_tracing_dropped(recording->tracing));
    lensd_tracing_destroy(recording->tracing);
    *recording = (struct lensd_recording){0};
}

void lensd_control_trace(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    struct lensd_served_pack *served = lensd_control_pack(service, c, request->u.pack_ref.pack);
    struct lens_error err = {0};
    if (served == NULL)
        return;
    if (service->recording.tracing != NULL) {
        lensd_connection_fault(c, LENS_FAULT_IN_USE,
                               "a trace of pack %s is being recorded: one at a time, end it first",
                               service->recording.served->name);
        return;
    }
    if (!lensd_connection_takes_descriptors(c)) {
        lensd_connection_fault(c, LENS_FAULT_NO_SPACE,
                               "answers with descriptors wait unread on this connection: read "
                               "them");
        return;
    }
    int r = start(service, c, served, &err);
    if (r != 0) {
        lensd_connection_fault(c, lensd_control_fault_of(r), "%s", err.text);
        return;
    }
    struct lensd_log_fields fields = lensd_connection_fields(c);
    fields.pack = served->name;
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_TRACE_BEGAN, &fields,
                    "trace of pack %s begins, for \"%s\" (pid %u, uid %u)", served->name, c->name, c->peer.pid,
                    c->peer.uid);
    struct lens_msg *answer = lensd_control_answer(service, LENS_MSG_TRACING);
    answer->u.tracing = (struct lens_tracing){
        .generation = served->generation,
        .lenses = served->pack->lenses,
        .bytes = service->recording.tracing->bytes,
        .pack = lens_text_of(served->name),
    };
    lensd_connection_send(c, answer, &service->recording.tracing->memfd, 1);
}

void lensd_control_trace_left(struct lensd_service *service, const struct lensd_connection *c)
{
    if (service->recording.tracing != NULL && service->recording.recorder == c->id)
        stop(service);
}

void lensd_control_trace_ends(struct lensd_service *service, const struct lensd_served_pack *served)
{
    if (service->recording.tracing == NULL || service->recording.served != served)
        return;
    struct lensd_connection *c = lensd_connection_find(service, service->recording.recorder);
    stop(service);
    lensd_connection_goodbye(c, 0, "the pack being traced is replaced");
    lensd_connection_close(c);
}
