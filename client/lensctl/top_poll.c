/* How `lensctl top` asks the daemon; see top.h. Nothing here writes to the terminal once top_start is over: the screen
 * is someone else's then. */
#include "client/lensctl/top.h"

#include "client/lensctl/daemon_link.h"
#include "client/lensctl/waiting.h"
#include "proto/wire.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pages of one look: enough for 100,000 rows a second. What is still left then is taken at the next look, or is counted
 * as lost by the daemon. */
#define PAGES_OF_A_LOOK 512u

static int trouble(struct top *top, int code, const char *sentence)
{
    bool gone = code != -EREMOTEIO && code != -ENOMEM;
    if (gone && top->connected)
        top->gone_ns = ctl_now_ns();
    top->connected = !gone;
    ctl_printable(sentence, strlen(sentence), top->trouble, sizeof top->trouble);
    return code;
}

static void all_well(struct top *top)
{
    top->connected = true;
    if (!top->look_refused)
        top->trouble[0] = '\0';
}

static int wrong_answer(const struct lens_msg *msg, struct lens_client_error *err)
{
    snprintf(err->text, sizeof err->text,
             "the daemon answered %s to something else: do lensctl and lensd fit together?", lens_msg_name(msg->type));
    return -EPROTO;
}

/* ---- packs ------------------------------------------------------------------------------------------------------ */

/* Learns the name of the pack of that generation; *found: it is loaded. */
static int name_loaded_pack(struct top *top, uint32_t generation, bool *found, struct lens_client_error *err)
{
    struct lens_msg msg;
    uint32_t first = 0, total = 0, count = 0;
    do {
        memset(&msg, 0, sizeof msg);
        msg.type = LENS_MSG_PACKS;
        msg.u.page.first = first;
        int r = lens_control_call(top->client, &msg, &msg, LENS_CONTROL_TIMEOUT_MS, err);
        if (r != 0)
            return r;
        const struct lens_pack_page *page = &msg.u.pack_page;
        if (msg.type != LENS_MSG_PACK_PAGE)
            return wrong_answer(&msg, err);
        for (uint32_t i = 0; i < page->count; i++) {
            if (page->rows[i].generation != generation)
                continue;
            *found = true;
            r = top_model_name_pack(&top->model, generation, page->rows[i].name);
            if (r != 0)
                return r;
        }
        count = page->count;
        total = page->total;
        first += count;
    } while (!*found && count > 0 && first < total);
    return 0;
}

/* The packs that the page tells of get names. Asking for those overwrites the page's texts: *again says that the page
 * has to be asked for once more. */
static int name_packs(struct top *top, bool *again, struct lens_client_error *err)
{
    uint32_t generation = top_model_unknown_pack(&top->model, &top->feed.msg.u.event_page);
    *again = generation != 0;
    if (generation == 0)
        return 0;
    bool found = false;
    int r = name_loaded_pack(top, generation, &found, err);
    return r != 0 || found ? r : top_model_name_pack(&top->model, generation, lens_text_of(""));
}

static void take_alerts(struct top *top, const struct lens_event_page *page)
{
    for (uint32_t i = 0; i < page->count; i++) {
        const struct lens_event_row *row = &page->rows[i];
        if ((row->flags & LENS_ROW_ALERT) == 0)
            continue;
        top->alerts++;
        top->alert_ns = ctl_now_ns();
        top->alert_action = row->verdict;
        snprintf(top->alert_rule, sizeof top->alert_rule, "%s", rule_name(&top->rules, row->verdict_rule));
    }
}

/* One page into the model. */
static int take_page(struct top *top, uint64_t from, uint64_t lost)
{
    struct lens_client_error err = {0};
    bool again;
    int r = name_packs(top, &again, &err);
    if (r == 0 && !again) {
        r = top_model_add(&top->model, &top->feed.msg.u.event_page);
        take_alerts(top, &top->feed.msg.u.event_page);
    }
    if (again || (r != 0 && r != -ENOMEM)) {
        top->feed.want.from = from;
        top->feed.lost = lost;
        top->feed.caught_up = false;
    }
    return r == 0 ? 0 : trouble(top, r, r == -ENOMEM ? "out of memory: some detections aren't shown" : err.text);
}

int top_poll(struct top *top)
{
    struct event_feed *feed = &top->feed;
    feed->caught_up = false;
    for (uint32_t pages = 0; pages < PAGES_OF_A_LOOK && !feed->caught_up; pages++) {
        uint64_t from = feed->want.from, lost = feed->lost;
        enum event_feed_news news = event_feed_next(feed);
        if (news == EVENT_FEED_AWAY)
            return trouble(top, -ENOTCONN, feed->err.text);
        if (news == EVENT_FEED_REFUSED)
            return trouble(top, -EREMOTEIO, feed->err.text);
        if (news == EVENT_FEED_RESTARTED)
            top_model_forget_packs(&top->model);
        int r = news == EVENT_FEED_PAGE ? take_page(top, from, lost) : 0;
        if (r != 0)
            return r;
    }
    all_well(top);
    return 0;
}

/* ---- intervals -------------------------------------------------------------------------------------------------- */

/* What the figures say of rows, out of the events: all there is for whoever may not ask for everyone's. */
static void rows_of_events(struct top *top)
{
    const struct lensd_histogram *total = &top->model.total;
    struct ctl_figures *f = &top->figures;
    f->rows_per_s = top->model.rows_per_s;
    f->dropped_per_s = f->invalid_per_s = f->batch_rows = f->queue_ns = f->scored_per_row = f->hit_rate = NAN;
    f->p50_ns = total->count > 0 ? (double)lensd_histogram_quantile(total, 0.5) : (double)NAN;
    f->p99_ns = total->count > 0 ? (double)lensd_histogram_quantile(total, 0.99) : (double)NAN;
}

static int look(struct top *top, struct ctl_sample *out, struct lens_client_error *err)
{
    return top->operator_ ? ctl_sample_take(top->client, top->session, out, err)
                          : ctl_sample_take_status(top->client, out, err);
}

int top_close_interval(struct top *top)
{
    struct lens_client_error err = {0};
    int r = top_poll(top);
    uint64_t now = ctl_now_ns();
    double seconds = (double)(now - top->opened_ns) / 1e9;
    top->opened_ns = now;
    if (r != 0 && r != -ENOMEM)
        return r; /* nothing is known of this time: no interval was it */
    top_model_close(&top->model, seconds);
    top->before = top->after;
    r = look(top, &top->after, &err);
    if (r != 0) {
        top->after = top->before;
        top->has_figures = false;
        top->look_refused = r == -EREMOTEIO;
        return trouble(top, r, err.text);
    }
    top->look_refused = false;
    top->trouble[0] = '\0';
    ctl_figures_between(&top->before, &top->after, &top->figures);
    if (!top->operator_)
        rows_of_events(top);
    top->has_figures = true;
    return 0;
}

/* ---- paths ------------------------------------------------------------------------------------------------------ */

static void set_path(struct top_concept *concept, const struct lens_explanation *e)
{
    size_t bytes = 1;
    for (uint32_t i = 0; i < e->n_path; i++)
        bytes += e->path_keys[i].length + 1;
    char *path = malloc(bytes), *at = path;
    if (path == NULL)
        return;
    for (uint32_t i = 0; i < e->n_path; i++) {
        memcpy(at, e->path_keys[i].data, e->path_keys[i].length);
        at += e->path_keys[i].length;
        *at++ = '\0';
    }
    *at = '\0';
    concept->path = path;
    concept->n_path = e->n_path;
}

static int explain(struct top *top, const char *pack, const char *key, struct lens_msg *msg,
                   struct lens_client_error *err)
{
    memset(msg, 0, sizeof *msg);
    msg->type = LENS_MSG_EXPLAIN;
    msg->u.explain.pack = lens_text_of(pack);
    msg->u.explain.concept = lens_text_of(key);
    int r = lens_control_call(top->client, msg, msg, LENS_CONTROL_TIMEOUT_MS, err);
    return r == 0 && msg->type != LENS_MSG_EXPLANATION ? wrong_answer(msg, err) : r;
}

void top_fetch_paths(struct top *top, struct top_concept **list, uint32_t n)
{
    struct lens_msg msg;
    for (uint32_t i = 0; i < n && top->connected; i++) {
        struct lens_client_error err = {0};
        if (list[i]->path != NULL)
            continue;
        int r = explain(top, list[i]->pack, list[i]->key, &msg, &err);
        if (r == -EREMOTEIO) { /* the pack or the concept is gone: no path, and no more questions about it */
            list[i]->path = calloc(1, 1);
            list[i]->n_path = 0;
        } else if (r != 0) {
            trouble(top, r, err.text);
        } else {
            set_path(list[i], &msg.u.explanation);
        }
    }
}

/* ---- the beginning ---------------------------------------------------------------------------------------------- */

static int watch(struct top *top, const char *pack, const char *text, size_t length)
{
    struct lens_msg msg;
    char name[512];
    if (length == 0 || length >= sizeof name)
        return ctl_fail(CTL_USAGE, "--watch expects CONCEPT[,..], each \"Name:layer\" or \"Name\"");
    snprintf(name, sizeof name, "%.*s", (int)length, text);
    ctl_request(&msg, LENS_MSG_EXPLAIN);
    msg.u.explain.pack = lens_text_of(pack);
    msg.u.explain.concept = lens_text_of(name);
    int r = ctl_call(top->client, &msg, LENS_MSG_EXPLANATION);
    if (r != CTL_OK)
        return r;
    char *key = strndup(msg.u.explanation.key.data, msg.u.explanation.key.length);
    r = key != NULL ? top_model_watch(&top->model, pack, key) : -ENOMEM;
    free(key);
    if (r == -ENOSPC)
        return ctl_fail(CTL_USAGE, "--watch takes %u concepts at most", TOP_WATCHED);
    return r == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

/* --watch, in the pack of --pack or the first one. */
static int watch_all(struct top *top, const char *list)
{
    struct lens_msg msg;
    int r;
    const struct lens_pack_row *row = ctl_find_pack(top->client, top->pack, &msg, &r);
    if (row == NULL)
        return r;
    char *pack = strndup(row->name.data, row->name.length);
    if (pack == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    for (r = CTL_OK; list != NULL && r == CTL_OK;) {
        size_t length = strcspn(list, ",");
        r = watch(top, pack, list, length);
        list = list[length] == ',' ? list + length + 1 : NULL;
    }
    free(pack);
    return r;
}

int top_start(struct top *top)
{
    struct lens_client_error err = {0};
    struct lens_hello_ok hello;
    struct lens_events want = {
        .session = top->session, .glob = {"", 0}, .min_score = top->min_score, .from = LENS_EVENTS_NOW};
    const char *list = ctl_value(top->ctl, "--watch")->text;
    lens_control_daemon(top->client, &hello);
    top->operator_ = hello.role == LENS_PEER_OPERATOR;
    want.only_hits = top->operator_; /* rows are counted by the daemon's figures */
    int r = list != NULL || top->pack != NULL ? watch_all(top, list) : CTL_OK;
    if (r != CTL_OK)
        return r;
    event_feed_init(&top->feed, top->client, &want);
    int code = top_poll(top);
    if (code == 0)
        code = look(top, &top->after, &err);
    else
        snprintf(err.text, sizeof err.text, "%s", top->trouble);
    top->before = top->after;
    top->opened_ns = ctl_now_ns();
    return code == 0 ? CTL_OK : ctl_link_failed(code, err.text);
}
