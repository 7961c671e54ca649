/* lensctl tail: detections as they happen, from the daemon's ring of answered rows, until someone ends it.
 *
 * Bounded: a page is read, printed and written out before the next is asked for. Whoever reads slowly loses rows in the
 * daemon's ring, and is told how many. */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"
#include "client/lensctl/event_feed.h"
#include "client/lensctl/live_output.h"
#include "client/lensctl/tail_print.h"
#include "client/lensctl/waiting.h"
#include "proto/wire.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MIN      0.5f /* a detection that says "yes" */
#define DEFAULT_INTERVAL 0.2

struct tail {
    const struct ctl *ctl;
    struct lens_client *client;
    struct event_feed feed;
    struct tail_lines lines;
    char *text; /* of `lines`, since the last write */
    size_t length;
    int signals;
    bool away, asked;
    bool alerts;   /* rows that raised a rule alone */
    uint64_t goal; /* what was remembered at the beginning ends there: --seconds doesn't cut that short */
    uint64_t next; /* number of the event after the last one that was shown or passed over; 0 = none was */
    uint64_t rows, max_rows, until_ns, interval_ns;
    enum ctl_live live;
};

/* ---- what is wanted --------------------------------------------------------------------------------------------- */

static int take_from(const char *text, uint64_t *from)
{
    char *end = NULL;
    *from = LENS_EVENTS_NOW;
    if (text == NULL || strcmp(text, "now") == 0)
        return CTL_OK;
    *from = 0;
    if (strcmp(text, "start") == 0)
        return CTL_OK;
    errno = 0;
    *from = strtoull(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *from > 0 && *from < LENS_EVENTS_NOW)
        return CTL_OK;
    return ctl_fail(CTL_USAGE, "--from expects the number of an event from 1 on, or start, or now; found '%s'", text);
}

static int take_flags(struct tail *tail, struct lens_events *want)
{
    const struct ctl *ctl = tail->ctl;
    const struct ctl_value *glob = ctl_value(ctl, "--concept"), *min = ctl_value(ctl, "--min");
    const struct ctl_value *seconds = ctl_value(ctl, "--seconds"), *interval = ctl_value(ctl, "--interval");
    *want = (struct lens_events){
        .session = (uint32_t)ctl_value(ctl, "--session")->number,
        .glob = lens_text_of(glob->set ? glob->text : ""),
        .min_score = min->set ? (float)min->real : DEFAULT_MIN,
        .only_hits = !ctl_value(ctl, "--all-rows")->set && !ctl_value(ctl, "--alerts")->set,
    };
    tail->alerts = ctl_value(ctl, "--alerts")->set;
    tail->max_rows = (uint64_t)(ctl_value(ctl, "--rows")->number + ctl_value(ctl, "-n")->number);
    if (ctl_value(ctl, "--rows")->set && ctl_value(ctl, "-n")->set)
        return ctl_fail(CTL_USAGE, "--rows and -n are the same flag: give one of them");
    tail->until_ns = seconds->set ? ctl_now_ns() + (uint64_t)(seconds->real * 1e9) : UINT64_MAX;
    tail->interval_ns = (uint64_t)((interval->set ? interval->real : DEFAULT_INTERVAL) * 1e9);
    tail->lines.filtered = want->glob.length > 0 || want->min_score > 0;
    return take_from(ctl_value(ctl, "--from")->text, &want->from);
}

/* ---- following -------------------------------------------------------------------------------------------------- */

static bool is_enough(const struct tail *tail)
{
    bool begun = tail->asked && (tail->away || tail->feed.want.from >= tail->goal);
    return tail->live != CTL_LIVE_GOES_ON || (tail->max_rows > 0 && tail->rows >= tail->max_rows) ||
           (begun && ctl_now_ns() >= tail->until_ns);
}

static void print_page(struct tail *tail)
{
    const struct lens_event_page *page = &tail->feed.msg.u.event_page;
    if (!tail->asked)
        tail->goal = page->end;
    if (tail->feed.caught_up)
        tail->goal = 0; /* also where a daemon names an end that it never comes to */
    tail->asked = true;
    if (page->lost > 0)
        tail_print_lost(&tail->lines, page->lost);
    tail->next = page->next;
    for (uint32_t i = 0; i < page->count; i++) {
        if (tail->max_rows > 0 && tail->rows == tail->max_rows) {
            tail->next = page->rows[i].number;
            break;
        }
        if (tail->alerts && (page->rows[i].flags & LENS_ROW_ALERT) == 0)
            continue;
        tail_print_row(&tail->lines, page, &page->rows[i]);
        tail->rows++;
    }
}

static void print_restart(struct tail *tail)
{
    tail->goal = 0;
    tail->next = 1;
    tail_print_daemon(&tail->lines, "restarted", tail->feed.daemon_start_ns,
                      "lensd was started anew: events are counted from 1 again");
}

static int print_news(struct tail *tail, enum event_feed_news news)
{
    bool was_away = tail->away;
    tail->away = news == EVENT_FEED_AWAY;
    tail->asked = tail->asked || tail->away;
    switch (news) {
    case EVENT_FEED_REFUSED:
        return ctl_fail(CTL_FAILED, "%s", tail->feed.err.text);
    case EVENT_FEED_AWAY:
        if (!was_away)
            tail_print_daemon(&tail->lines, "away", 0, "lensd is away; waiting for it");
        break;
    case EVENT_FEED_RESTARTED:
        print_restart(tail);
        break;
    case EVENT_FEED_PAGE:
        if (was_away)
            tail_print_daemon(&tail->lines, "back", 0, "lensd is back");
        print_page(tail);
        break;
    }
    return CTL_OK;
}

/* Hands the reader what was printed since the last time. */
static int write_out(struct tail *tail)
{
    FILE *file = tail->lines.out.file;
    if (fflush(file) != 0 || ferror(file))
        return ctl_fail(CTL_FAILED, "out of memory");
    tail->live = ctl_live_write(fileno(tail->ctl->out.file), tail->text, tail->length, tail->signals);
    rewind(file); /* the buffer is used again */
    if (tail->live == CTL_LIVE_FAILED)
        return ctl_fail(CTL_FAILED, "could not write all of the output: %s", strerror(errno));
    return CTL_OK;
}

/* Between two pages that are there no time is lost; ^C is heard all the same, though none of them has a row to show. */
static void wait_a_while(struct tail *tail)
{
    uint64_t next = tail->feed.caught_up ? ctl_now_ns() + tail->interval_ns : 0;
    tail->live =
        ctl_live_wait(fileno(tail->ctl->out.file), next < tail->until_ns ? next : tail->until_ns, tail->signals);
}

static int follow(struct tail *tail)
{
    int r = CTL_OK;
    while (r == CTL_OK && !is_enough(tail)) {
        enum event_feed_news news = event_feed_next(&tail->feed);
        r = print_news(tail, news);
        if (r == CTL_OK)
            r = write_out(tail);
        if (news == EVENT_FEED_RESTARTED && tail->feed.want.session != 0)
            return ctl_fail(CTL_FAILED,
                            "session %u ended with the daemon it belonged to; `lensctl sessions` lists those of the "
                            "one that runs now",
                            tail->feed.want.session);
        if (r == CTL_OK && !is_enough(tail))
            wait_a_while(tail);
    }
    return r;
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

static int start(struct tail *tail)
{
    struct lens_events want;
    int r = take_flags(tail, &want);
    if (r != CTL_OK)
        return r;
    r = ctl_connect(tail->ctl, &tail->client);
    if (r == CTL_OK)
        r = ctl_watch_signals(&tail->signals);
    if (r != CTL_OK)
        return r;
    (void)signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an ordinary end */
    event_feed_init(&tail->feed, tail->client, &want);
    rule_names_init(&tail->lines.rules, tail->ctl->socket_path);
    tail->lines.out = tail->ctl->out;
    tail->lines.screen = &tail->ctl->out;
    tail->lines.json = tail->ctl->json || !tail->ctl->out.terminal;
    tail->lines.out.file = open_memstream(&tail->text, &tail->length);
    return tail->lines.out.file != NULL ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

/* How to go on from here, for a person; a program knows the number of the last event. */
static void say_how_to_go_on(const struct tail *tail)
{
    if (!tail->lines.json && !tail->away && tail->next != 0)
        fprintf(stderr, "lensctl: %llu row%s shown, %llu lost; --from %llu goes on from here\n",
                (unsigned long long)tail->rows, tail->rows == 1 ? "" : "s", (unsigned long long)tail->feed.lost,
                (unsigned long long)tail->next);
}

int ctl_run_tail(struct ctl *ctl)
{
    struct tail *tail = calloc(1, sizeof *tail);
    if (tail == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    tail->ctl = ctl;
    tail->signals = -1;
    int r = start(tail);
    if (r == CTL_OK)
        r = follow(tail);
    if (r == CTL_OK)
        say_how_to_go_on(tail);
    lens_client_close(tail->client);
    rule_names_free(&tail->lines.rules);
    if (tail->lines.out.file != NULL && tail->lines.out.file != ctl->out.file)
        fclose(tail->lines.out.file);
    if (tail->signals >= 0)
        close(tail->signals);
    free(tail->text);
    free(tail);
    return r;
}
