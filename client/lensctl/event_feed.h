/* The rows that the daemon answered lately, page after page, as they come: for lensctl tail, top and timeline.
 *
 * The daemon remembers a bounded number of rows and keeps no state of who asks; this follows them by number, so that a
 * reader that is slow, or whose daemon is away for a while, hears how many rows it missed. A daemon that starts anew
 * counts from 1 again, which is told by its start time: numbers of the one before mean nothing then, nor do numbers of
 * its sessions.
 *
 * Threads: those of the client it is given (lens.h): one at a time. Nothing here waits but for one answer. */
#ifndef LENSCTL_EVENT_FEED_H
#define LENSCTL_EVENT_FEED_H

#include "client/liblens/control.h"

struct event_feed {
    struct lens_client *client; /* lent */
    struct lens_events want;    /* `from` goes on by itself */
    uint64_t daemon_start_ns;   /* CLOCK_REALTIME: tells one daemon from the next */
    uint64_t lost;              /* rows missed so far */
    bool caught_up;             /* the last page was all for now: wait a while before the next call */
    struct lens_client_error err;
    struct lens_msg msg; /* the page */
};

/* `want` says which rows and where to begin (want->from); its glob must outlive the feed. The client is connected. */
void event_feed_init(struct event_feed *feed, struct lens_client *client, const struct lens_events *want);

enum event_feed_news {
    EVENT_FEED_PAGE,      /* feed->msg.u.event_page: 0 or more rows, and how many were lost before them */
    EVENT_FEED_AWAY,      /* no daemon, or it doesn't answer: wait a while, and call again */
    EVENT_FEED_RESTARTED, /* another daemon than before answers: the next page begins with the oldest row it has */
    EVENT_FEED_REFUSED,   /* the daemon doesn't give them; feed->err says why */
};

/* Asks for what comes next. Texts of a page are valid until the next call on the feed's client. */
enum event_feed_news event_feed_next(struct event_feed *feed);

/* The key of a detection of `row` in the page: "" when its pack is gone, or the page doesn't say. */
struct lens_text event_feed_key(const struct lens_event_page *page, const struct lens_event_row *row, uint32_t id);

#endif
