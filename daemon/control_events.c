/* The request for the rows answered lately: what the engine remembers (events.h), filtered for whoever asks, a page at
 * a time. Nothing of the asker is kept between two requests, and one request looks at a bounded number of rows. */
#include "daemon/control.h"
#include "daemon/events.h"
#include "daemon/glob.h"
#include "daemon/sys.h"

#include <stdio.h>
#include <string.h>

#define LOOKED_AT    1024u  /* rows in one request at most, so that nobody keeps the loop busy */
#define TRIED        1024u  /* detections that a glob is tried on in one request, or a row's more: as above */
#define KEY_BYTES    8192u  /* of the concepts' keys in one page, with their terminators */
#define OVERFLOW_UID 65534u /* what the kernel says of users that our namespace doesn't know */

/* One request being answered. */
struct asked {
    struct lensd_service *service;
    struct lens_event_page *page;
    const struct lens_events *want;
    struct lensd_glob glob; /* no steps = all */
    uint32_t tried;
    bool everyone; /* an operator asks */
    uint32_t uid;
    uint64_t offset_ns; /* CLOCK_REALTIME - CLOCK_MONOTONIC */
};

static const struct lens_pack *pack_of(const struct lensd_service *service, uint32_t generation)
{
    for (uint32_t i = 0; i < service->n_packs; i++)
        if (service->packs[i]->generation == generation)
            return service->packs[i]->pack;
    return NULL;
}

static bool is_visible(const struct asked *a, const struct lensd_event *event)
{
    if (a->want->session != 0 && event->row.session != a->want->session)
        return false;
    return a->everyone || (event->uid == a->uid && a->uid != OVERFLOW_UID);
}

/* The page's concept of that id, or NULL. */
static struct lens_event_concept *known_concept(const struct asked *a, uint32_t generation, uint32_t id)
{
    for (uint32_t i = 0; i < a->page->n_concepts; i++) {
        struct lens_event_concept *concept = &a->page->concepts[i];
        if (concept->id == id && concept->generation == generation)
            return concept;
    }
    return NULL;
}

enum fit { FITS, LEFT_OUT, PAGE_FULL };

/* Names the concept of a detection in the page, unless the glob leaves it out. Names of packs that are gone are "",
 * which only the absent glob takes. */
static enum fit name_concept(struct asked *a, const struct lens_pack *pack, uint32_t generation, uint32_t id)
{
    struct lens_event_page *page = a->page;
    if (known_concept(a, generation, id) != NULL)
        return FITS;
    uint32_t keys_used = a->service->keys_used;
    struct lens_text key = {"", 0};
    if (pack != NULL && id < pack->lenses)
        key = lensd_control_key(a->service, pack, id);
    a->tried += a->glob.n > 0;
    enum fit fit = FITS;
    if (a->glob.n > 0 && (key.length == 0 || !lensd_glob_matches(&a->glob, key.data, key.length)))
        fit = LEFT_OUT;
    else if (page->n_concepts == LENS_EVENT_CONCEPTS || a->service->keys_used > KEY_BYTES)
        fit = PAGE_FULL;
    if (fit == FITS)
        page->concepts[page->n_concepts++] = (struct lens_event_concept){generation, id, key};
    else
        a->service->keys_used = keys_used;
    return fit;
}

/* Takes the row into the page, or passes it over; false, with nothing taken, when the page has no room for it. */
static bool take(struct asked *a, const struct lensd_event *event)
{
    struct lens_event_page *page = a->page;
    const struct lens_pack *pack = pack_of(a->service, event->row.generation);
    uint32_t n_concepts = page->n_concepts, n_detections = page->n_detections;
    uint32_t keys_used = a->service->keys_used;
    bool room = page->count < LENS_PAGE_ROWS && n_detections + event->row.stored_detections <= LENS_EVENT_DETECTIONS;
    for (uint32_t i = 0; room && i < event->row.stored_detections; i++) {
        const struct lens_detection *detection = &event->detections[i];
        if (!(detection->score >= a->want->min_score))
            continue;
        enum fit fit = name_concept(a, pack, event->row.generation, detection->id);
        if (fit == FITS)
            page->detections[page->n_detections++] = *detection;
        room = fit != PAGE_FULL;
    }
    if (!room) {
        page->n_concepts = n_concepts;
        page->n_detections = n_detections;
        a->service->keys_used = keys_used;
        return false;
    }
    bool raised = (event->row.flags & LENS_ROW_ALERT) != 0;
    if (a->want->only_hits && !raised && page->n_detections == n_detections)
        return true;
    struct lens_event_row *row = &page->rows[page->count++];
    *row = event->row;
    row->time_ns += a->offset_ns;
    row->first_detection = n_detections;
    row->stored_detections = page->n_detections - n_detections;
    return true;
}

/* Rows from `first` on, as far as page and patience go. `to` is the number of the next row to be answered. */
static void collect(struct asked *a, uint64_t first, uint64_t to)
{
    struct lensd_event event;
    uint64_t number = first;
    for (uint32_t looked = 0; number < to && looked < LOOKED_AT && a->tried < TRIED; number++, looked++) {
        if (!lensd_events_read(a->service->events, number, &event)) {
            a->page->lost++; /* overwritten since we looked at the range */
            continue;
        }
        if (is_visible(a, &event) && !take(a, &event))
            break;
    }
    a->page->next = number;
    a->page->end = to;
}

static bool refused(struct lensd_service *service, struct lensd_connection *c, const struct lens_events *want)
{
    if (service->events == NULL)
        lensd_connection_fault(c, LENS_FAULT_UNSUPPORTED,
                               "this daemon remembers no rows: telemetry.events is 0; raise it and start lensd anew");
    else if (want->session > service->last_session)
        lensd_connection_fault(c, LENS_FAULT_NO_SUCH_SESSION, "there was no session %u yet: see lensctl sessions",
                               want->session);
    else if (want->glob.length > LENSD_GLOB_MAX)
        lensd_connection_fault(c, LENS_FAULT_BAD_MESSAGE, "a pattern may have %u bytes, found %u", LENSD_GLOB_MAX,
                               want->glob.length);
    else
        return false;
    return true;
}

void lensd_control_events(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lens_events *want = &request->u.events;
    uint64_t first, end;
    if (refused(service, c, want))
        return;
    lensd_events_range(service->events, &first, &end);
    uint64_t from = want->from == LENS_EVENTS_NOW ? end : want->from;
    if (from > end) {
        lensd_connection_fault(c, LENS_FAULT_BAD_MESSAGE,
                               "event %llu is still to come: this daemon is at %llu; was it restarted? begin anew",
                               (unsigned long long)from, (unsigned long long)end);
        return;
    }
    struct asked asked = {
        .service = service,
        .page = &lensd_control_answer(service, LENS_MSG_EVENT_PAGE)->u.event_page,
        .want = want,
        .everyone = lensd_control_scope(c) == NULL,
        .uid = c->peer.uid,
        .offset_ns = lensd_realtime_ns() - lensd_now_ns(),
    };
    lensd_glob_read(&asked.glob, want->glob.data, want->glob.length);
    asked.page->lost = from != 0 && from < first ? first - from : 0;
    collect(&asked, from > first ? from : first, end);
    lensd_connection_send(c, &service->answer, NULL, 0);
}
