/* What a concept did lately, by the rows that the daemon remembers; see explain.h. */
#include "client/lensctl/explain.h"

#include "client/lensctl/event_feed.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_BACK 65536u /* rows at most, so that the daemon isn't kept busy for a sentence */
#define SECOND_NS UINT64_C(1000000000)

/* A pattern that matches `key` and nothing else. */
static void exactly(struct lens_text key, char *out, size_t size)
{
    size_t used = 0;
    for (uint32_t i = 0; i < key.length && used + 3 < size; i++) {
        if (strchr("*?[]\\", key.data[i]) != NULL)
            out[used++] = '\\';
        out[used++] = key.data[i];
    }
    out[used] = '\0';
}

/* How long ago a moment was; 0 when the clock was set back since. */
static uint64_t since(uint64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t now = (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
    return now > ns ? now - ns : 0;
}

/* One page of any rows from `from` on: *first is the oldest row's time. */
static enum event_feed_news look_at(struct event_feed *feed, struct lens_client *client, uint64_t from,
                                    uint64_t *first_ns, uint64_t *end)
{
    const struct lens_events want = {.from = from, .min_score = 1.0f};
    event_feed_init(feed, client, &want);
    enum event_feed_news news = event_feed_next(feed);
    const struct lens_event_page *page = &feed->msg.u.event_page;
    if (news != EVENT_FEED_PAGE)
        return news;
    *end = page->end;
    *first_ns = page->count > 0 ? page->rows[0].time_ns : 0;
    return news;
}

static void take_page(const struct lens_event_page *page, struct explain_recent *out)
{
    for (uint32_t i = 0; i < page->count; i++) {
        const struct lens_event_row *row = &page->rows[i];
        const struct lens_detection *d = &page->detections[row->first_detection];
        if (row->stored_detections == 0)
            continue;
        out->reported++;
        out->last_ns = row->time_ns;
        out->last_session = row->session;
        out->last_score = d->score;
        out->best_score = d->score > out->best_score ? d->score : out->best_score;
    }
}

static int look(struct event_feed *feed, struct lens_client *client, const char *glob, struct explain_recent *out)
{
    uint64_t first_ns = 0, end = 0, from = 0;
    enum event_feed_news news = look_at(feed, client, LENS_EVENTS_NOW, &first_ns, &end);
    from = end > LOOK_BACK ? end - LOOK_BACK : 1;
    if (news == EVENT_FEED_PAGE)
        news = look_at(feed, client, from, &first_ns, &end);
    if (news == EVENT_FEED_PAGE && first_ns > 0) {
        from += feed->lost; /* what is remembered no more */
        const struct lens_events want = {.from = from, .glob = lens_text_of(glob), .only_hits = true};
        event_feed_init(feed, client, &want);
        out->rows = end - from;
        out->span_ns = since(first_ns);
        out->best_score = -1.0f;
        do {
            news = event_feed_next(feed);
            if (news == EVENT_FEED_PAGE)
                take_page(&feed->msg.u.event_page, out);
        } while (news == EVENT_FEED_PAGE && feed->want.from < end && !feed->caught_up);
    }
    out->known = news == EVENT_FEED_PAGE;
    if (news == EVENT_FEED_AWAY || news == EVENT_FEED_RESTARTED)
        return ctl_fail(CTL_NO_DAEMON, "lensd went away");
    /* A daemon that remembers no rows refuses: there is nothing to say then. */
    bool none = news == EVENT_FEED_REFUSED && feed->msg.type == LENS_MSG_ERROR &&
                feed->msg.u.fault.code == LENS_FAULT_UNSUPPORTED;
    return news == EVENT_FEED_PAGE || none ? CTL_OK : ctl_fail(CTL_FAILED, "%s", feed->err.text);
}

int explain_recent_ask(struct lens_client *client, struct lens_text key, struct explain_recent *out)
{
    char glob[1024];
    struct event_feed *feed = calloc(1, sizeof *feed);
    *out = (struct explain_recent){0};
    if (feed == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    exactly(key, glob, sizeof glob);
    int r = look(feed, client, glob, out);
    free(feed);
    return r;
}

void explain_say_recent(const struct explain_recent *recent, struct sentences *s)
{
    char span[32], ago[32];
    if (!recent->known) {
        explain_say(s, "What it did lately isn't known: this daemon remembers no rows (telemetry.events = 0).");
        return;
    }
    ctl_duration_text(recent->span_ns, span, sizeof span);
    if (recent->reported == 0) {
        explain_say(s, "Not reported in the last %llu rows%s%s.", (unsigned long long)recent->rows,
                    recent->rows > 0 ? ", of " : "", recent->rows > 0 ? span : "");
        return;
    }
    ctl_duration_text(since(recent->last_ns), ago, sizeof ago);
    explain_say(s,
                "Reported in %llu of the last %llu rows, of %s: last %s ago in session %u with %.2f, at best with "
                "%.2f.",
                (unsigned long long)recent->reported, (unsigned long long)recent->rows, span, ago, recent->last_session,
                (double)recent->last_score, (double)recent->best_score);
}

json_t *explain_recent_json(const struct explain_recent *recent)
{
    if (!recent->known)
        return json_null();
    json_t *object = json_object();
    ctl_json_set_count(object, "rows", recent->rows);
    json_object_set_new(object, "seconds", ctl_json_number((double)recent->span_ns / 1e9));
    ctl_json_set_count(object, "reported", recent->reported);
    if (recent->reported > 0) {
        json_object_set_new(object, "last_time", ctl_json_time(recent->last_ns));
        ctl_json_set_count(object, "last_session", recent->last_session);
        json_object_set_new(object, "last_score", ctl_json_number((double)recent->last_score));
        json_object_set_new(object, "best_score", ctl_json_number((double)recent->best_score));
    }
    return object;
}
