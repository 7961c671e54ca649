/* See event_feed.h. */
#include "client/lensctl/event_feed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint64_t daemon_start(const struct event_feed *feed)
{
    struct lens_hello_ok daemon;
    lens_control_daemon(feed->client, &daemon);
    return daemon.start_time_ns;
}

void event_feed_init(struct event_feed *feed, struct lens_client *client, const struct lens_events *want)
{
    *feed = (struct event_feed){.client = client, .want = *want};
    feed->daemon_start_ns = daemon_start(feed);
}

static enum event_feed_news restarted(struct event_feed *feed, uint64_t start_ns)
{
    feed->daemon_start_ns = start_ns;
    feed->want.from = 0;
    feed->caught_up = false;
    return EVENT_FEED_RESTARTED;
}

static enum event_feed_news refused(struct event_feed *feed, const char *sentence)
{
    feed->err.code = -EPROTO;
    snprintf(feed->err.text, sizeof feed->err.text, "%s", sentence);
    return EVENT_FEED_REFUSED;
}

/* What a failed call means for the one who follows. */
static enum event_feed_news failed(struct event_feed *feed, int code)
{
    bool ending =
        code == -EREMOTEIO && feed->msg.type == LENS_MSG_ERROR && feed->msg.u.fault.code == LENS_FAULT_SHUTTING_DOWN;
    feed->caught_up = true;
    if (ending || code == -ENOENT || code == -ECONNREFUSED || code == -ENOTCONN || code == -ETIMEDOUT ||
        code == -EAGAIN)
        return EVENT_FEED_AWAY;
    return EVENT_FEED_REFUSED;
}

static enum event_feed_news take_page(struct event_feed *feed)
{
    const struct lens_event_page *page = &feed->msg.u.event_page;
    if (feed->msg.type != LENS_MSG_EVENT_PAGE)
        return refused(feed, "the daemon answered something else than events: do lensctl and lensd fit together?");
    if (feed->want.from != LENS_EVENTS_NOW && page->next < feed->want.from)
        return refused(feed, "the daemon's events don't go on where they ended: do lensctl and lensd fit together?");
    /* A page that brings nothing and goes no further would be asked for without an end. */
    feed->caught_up = page->next >= page->end || page->next == feed->want.from;
    feed->want.from = page->next;
    feed->lost += page->lost;
    return EVENT_FEED_PAGE;
}

enum event_feed_news event_feed_next(struct event_feed *feed)
{
    struct lens_msg *msg = &feed->msg;
    memset(msg, 0, sizeof *msg);
    msg->type = LENS_MSG_EVENTS;
    msg->u.events = feed->want;
    int r = lens_control_call(feed->client, msg, msg, LENS_CONTROL_TIMEOUT_MS, &feed->err);
    /* Looked at whatever the answer was: another daemon's "no such event" isn't about what we asked for. */
    uint64_t start_ns = daemon_start(feed);
    if ((r == 0 || r == -EREMOTEIO) && start_ns != feed->daemon_start_ns)
        return restarted(feed, start_ns);
    return r == 0 ? take_page(feed) : failed(feed, r);
}

struct lens_text event_feed_key(const struct lens_event_page *page, const struct lens_event_row *row, uint32_t id)
{
    for (uint32_t i = 0; i < page->n_concepts; i++) {
        const struct lens_event_concept *concept = &page->concepts[i];
        if (concept->id == id && concept->generation == row->generation)
            return concept->key;
    }
    return lens_text_of("");
}
