/* Asks the daemon for one look at its counters; see figures.h. */
#include "client/lensctl/figures.h"

#include "client/lensctl/output.h"
#include "client/lensctl/waiting.h"

#include <errno.h>
#include <string.h>

static int ask(struct lens_client *client, struct lens_msg *msg, enum lens_msg_type expected,
               struct lens_client_error *err)
{
    enum lens_msg_type asked = msg->type;
    int r = lens_control_call(client, msg, msg, LENS_CONTROL_TIMEOUT_MS, err);
    if (r != 0 || msg->type == expected)
        return r;
    snprintf(err->text, sizeof err->text,
             "expected %s as the answer to %s, found %s: do lensctl and lensd fit together?", lens_msg_name(expected),
             lens_msg_name(asked), lens_msg_name(msg->type));
    return -EPROTO;
}

/* Copies a text of the daemon in a form that a terminal shows; one that doesn't fit ends in "..". */
static void copy(struct lens_text text, char *out, size_t size)
{
    char whole[2048];
    ctl_printable(text.data, text.length, whole, sizeof whole);
    if (strlen(whole) < size) {
        memcpy(out, whole, strlen(whole) + 1);
        return;
    }
    ctl_printable(text.data, text.length, out, size - 2);
    memcpy(out + strlen(out), "..", 3);
}

static void take_status(const struct lens_status *s, struct ctl_sample *out)
{
    out->start_time_ns = s->start_time_ns;
    out->uptime_ns = s->uptime_ns;
    out->loads = s->loads;
    out->load_bytes = s->load_bytes;
    out->evictions = s->evictions;
    out->heap_bytes = s->heap_bytes;
    out->slab_bytes = s->slab_bytes;
    out->queued = s->queued;
    out->packs = s->packs;
    out->sessions = s->sessions;
    out->slots = s->slots;
    out->resident = s->resident;
    copy(s->version, out->version, sizeof out->version);
    copy(s->backend, out->backend, sizeof out->backend);
    copy(s->device, out->device, sizeof out->device);
    copy(s->degraded, out->degraded, sizeof out->degraded);
    copy(s->loading, out->loading, sizeof out->loading);
}

static void take_statistics(const struct lens_statistics_answer *s, struct ctl_sample *out)
{
    const struct lens_stage_row *total = &s->all.stages[LENS_STAGES - 1];
    out->rows = s->all;
    out->total.count = total->count;
    out->total.sum = s->all.sums[LENS_STAGES - 1];
    out->total.max = total->max;
    for (uint32_t i = 0; i < s->n_buckets; i++)
        out->total.buckets[s->buckets[i].index] = s->buckets[i].count;
}

int ctl_sample_take_status(struct lens_client *client, struct ctl_sample *out, struct lens_client_error *err)
{
    struct lens_msg msg = {.type = LENS_MSG_STATUS};
    memset(out, 0, sizeof *out);
    int r = ask(client, &msg, LENS_MSG_STATUS_IS, err);
    if (r == 0)
        take_status(&msg.u.status_is, out);
    out->at_ns = ctl_now_ns();
    return r;
}

int ctl_sample_take(struct lens_client *client, uint32_t session, struct ctl_sample *out, struct lens_client_error *err)
{
    struct lens_msg msg = {.type = LENS_MSG_STATISTICS};
    int r = ctl_sample_take_status(client, out, err);
    if (r != 0)
        return r;
    msg.u.statistics.session = session;
    msg.u.statistics.buckets = true;
    r = ask(client, &msg, LENS_MSG_STATISTICS_ARE, err);
    if (r == 0)
        take_statistics(&msg.u.statistics_are, out);
    out->at_ns = ctl_now_ns();
    return r;
}
