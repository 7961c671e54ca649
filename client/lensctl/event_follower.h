/* Follows the rows that the daemon answers: asks for its events page by page, and knows where to go on, also after the
 * connection was lost or the daemon was restarted (whose numbers begin anew). */
#ifndef LENSCTL_EVENT_FOLLOWER_H
#define LENSCTL_EVENT_FOLLOWER_H

#include "client/liblens/control.h"

struct event_follower {
    struct lens_client *client;
    struct lens_events want; /* `from` goes on with each page; texts are lent for as long as it follows */
    uint64_t start_time_ns;  /* of the daemon that `from` counts in */
    uint64_t lost;           /* events overwritten before they were asked for, so far; not those lost in a restart */
    uint32_t restarts;       /* daemons met since the first */
    uint64_t last_from, last_lost; /* of the last page */
};

/* Begins with what comes next. The client is connected; want->from is ignored. */
void event_follower_init(struct event_follower *follower, struct lens_client *client, const struct lens_events *want);

/* Asks for the next page, which is in msg->u.event_page then (texts live until the next call on the client). 0, or what
 * lens_control_call returns, with err filled in. There is no more for now when next == end. Of a daemon that was
 * started since the last call all that it remembers is asked for. */
int event_follower_next(struct event_follower *follower, struct lens_msg *msg, struct lens_client_error *err);

/* The last page once more, for who made another call meanwhile and lost its texts. As event_follower_next. */
int event_follower_again(struct event_follower *follower, struct lens_msg *msg, struct lens_client_error *err);

#endif
