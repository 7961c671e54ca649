/* See event_follower.h. */
#include "client/lensctl/event_follower.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static uint64_t start_of_daemon(const struct lens_client *client)
{
    struct lens_hello_ok hello;
    lens_control_daemon(client, &hello);
    return hello.start_time_ns;
}

void event_follower_init(struct event_follower *follower, struct lens_client *client, const struct lens_events *want)
{
    *follower = (struct event_follower){.client = client, .want = *want, .start_time_ns = start_of_daemon(client)};
    follower->want.from = LENS_EVENTS_NOW;
}

static int ask(struct event_follower *follower, struct lens_msg *msg, struct lens_client_error *err)
{
    memset(msg, 0, sizeof *msg);
    msg->type = LENS_MSG_EVENTS;
    msg->u.events = follower->want;
    int r = lens_control_call(follower->client, msg, msg, LENS_CONTROL_TIMEOUT_MS, err);
    if (r == 0 && msg->type != LENS_MSG_EVENT_PAGE) {
        snprintf(err->text, sizeof err->text, "expected events, found %s: do lensctl and lensd fit together?",
                 lens_msg_name(msg->type));
        return -EPROTO;
    }
    return r;
}

int event_follower_next(struct event_follower *follower, struct lens_msg *msg, struct lens_client_error *err)
{
    int r = ask(follower, msg, err);
    if (r != 0 && r != -EREMOTEIO) /* nobody answered: `start_of_daemon` is still the last one's */
        return r;
    uint64_t start = start_of_daemon(follower->client);
    if (start != follower->start_time_ns) {
        follower->start_time_ns = start;
        follower->restarts++;
        follower->want.from = 0;
        r = ask(follower, msg, err);
    }
    if (r != 0)
        return r;
    follower->last_from = follower->want.from;
    follower->last_lost = msg->u.event_page.lost;
    follower->want.from = msg->u.event_page.next;
    follower->lost += msg->u.event_page.lost;
    return 0;
}

int event_follower_again(struct event_follower *follower, struct lens_msg *msg, struct lens_client_error *err)
{
    follower->want.from = follower->last_from;
    follower->lost -= follower->last_lost;
    return event_follower_next(follower, msg, err);
}
