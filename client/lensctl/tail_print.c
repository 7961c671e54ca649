/* See tail_print.h. */
#include "client/lensctl/tail_print.h"

#include "client/lensctl/event_feed.h"
#include "client/lensctl/row_words.h"
#include "proto/wire.h"

#include <time.h>

#define SECOND_NS UINT64_C(1000000000)
#define SET_IN    12u /* of what didn't fit a line: below the event's number */
#define STRONG    0.5f

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static json_t *detections_json(const struct lens_event_page *page, const struct lens_event_row *row)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < row->stored_detections; i++) {
        const struct lens_detection *d = &page->detections[row->first_detection + i];
        struct lens_text key = event_feed_key(page, row, d->id);
        json_t *object = json_object();
        json_object_set_new(object, "concept", key.length > 0 ? ctl_json_text(key) : json_null());
        ctl_json_set_count(object, "id", d->id);
        json_object_set_new(object, "score", ctl_json_number((double)d->score));
        json_object_set_new(object, "raw", ctl_json_number((double)d->raw));
        json_object_set_new(object, "logit", ctl_json_number((double)d->logit));
        json_array_append_new(list, object);
    }
    return list;
}

static struct row_verdict verdict_of(const struct lens_event_row *row)
{
    return (struct row_verdict){row->verdict, row->flags, row->verdict_rule};
}

static void row_json(struct tail_lines *lines, const struct lens_event_page *page, const struct lens_event_row *row)
{
    const struct row_verdict verdict = verdict_of(row);
    json_t *object = ctl_json_new();
    ctl_json_set_count(object, "event", row->number);
    json_object_set_new(object, "time", ctl_json_time(row->time_ns));
    ctl_json_set_count(object, "session", row->session);
    ctl_json_set_count(object, "sequence", row->sequence);
    ctl_json_set_count(object, "position", row->position);
    ctl_json_set_count(object, "tag", row->tag);
    json_object_set_new(object, "token_id", row->token_id >= 0 ? json_integer(row->token_id) : json_null());
    json_object_set_new(object, "status", json_string(ctl_row_status(row->status)));
    if (row->status == LENS_ROW_INVALID_INPUT)
        json_object_set_new(object, "reason", json_string(lens_reason_text(row->reason)));
    json_object_set_new(object, "flags", ctl_row_flags_json(row->flags));
    json_object_set_new(object, "verdict", verdict_json(&lines->rules, &verdict));
    ctl_json_set_count(object, "generation", row->generation);
    ctl_json_set_count(object, "scored", row->scored);
    ctl_json_set_count(object, "expanded", row->expanded);
    ctl_json_set_count(object, "reported", row->n_detections);
    json_object_set_new(object, "detections", detections_json(page, row));
    json_object_set_new(object, "timing_ns",
                        json_pack("{s:I,s:I}", "queue", (json_int_t)row->queue_ns, "total", (json_int_t)row->total_ns));
    (void)ctl_json_print(&lines->out, object,
                         true); /* the file is memory: whoever writes it out knows what is missing */
}

/* ---- text ------------------------------------------------------------------------------------------------------- */

/* Returns the columns it took. */
static unsigned print_when_and_where(const struct tail_lines *lines, const struct lens_event_row *row)
{
    const struct ctl_output *out = &lines->out;
    char clock[16], where[128];
    time_t seconds = (time_t)(row->time_ns / SECOND_NS);
    struct tm tm;
    localtime_r(&seconds, &tm);
    strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    int columns = snprintf(where, sizeof where, "%s.%03u  #%llu  session %u  sequence %llu", clock,
                           (unsigned)(row->time_ns % SECOND_NS / 1000000u), (unsigned long long)row->number,
                           row->session, (unsigned long long)row->sequence);
    fprintf(out->file, "%s%s%s", ctl_style(out, CTL_DIM), where, ctl_style(out, CTL_PLAIN));
    columns += snprintf(where, sizeof where, "%5llu", (unsigned long long)row->position);
    fprintf(out->file, "  %s%s%s", ctl_style(out, CTL_CYAN), where, ctl_style(out, CTL_PLAIN));
    if (row->token_id >= 0)
        columns += fprintf(out->file, "  token %d", row->token_id);
    return (unsigned)columns + 2;
}

/* In a further line, below the event's number, when this one is full. Returns the column it ends in. */
static unsigned print_part(const struct tail_lines *lines, enum ctl_style style, const char *text, unsigned column)
{
    unsigned columns = 2 + (unsigned)ctl_columns(text), width = ctl_width(lines->screen);
    if (width > 0 && column > SET_IN && column + columns > width) {
        fprintf(lines->out.file, "\n%*s", (int)SET_IN, "");
        column = SET_IN;
    }
    fprintf(lines->out.file, "  %s%s%s", ctl_style(&lines->out, style), text, ctl_style(&lines->out, CTL_PLAIN));
    return column + columns;
}

static void row_text(struct tail_lines *lines, const struct lens_event_page *page, const struct lens_event_row *row)
{
    const struct ctl_output *out = &lines->out;
    const struct row_verdict verdict = verdict_of(row);
    char text[300], name[256];
    unsigned column = print_when_and_where(lines, row);
    column += ctl_print_row_state(out, row->status, row->flags, row->reason, 0);
    column += verdict_print(out, &lines->rules, &verdict);
    for (uint32_t i = 0; i < row->stored_detections; i++) {
        const struct lens_detection *d = &page->detections[row->first_detection + i];
        struct lens_text key = event_feed_key(page, row, d->id);
        if (key.length > 0)
            ctl_printable(key.data, key.length, name, sizeof name);
        else
            snprintf(name, sizeof name, "lens %u of a pack that is gone", d->id);
        snprintf(text, sizeof text, "%s %.2f", name, (double)d->score);
        column = print_part(lines, d->score >= STRONG ? CTL_BOLD : CTL_DIM, text, column);
    }
    if (!lines->filtered && row->n_detections > row->stored_detections) {
        snprintf(text, sizeof text, "and %u more", row->n_detections - row->stored_detections);
        (void)print_part(lines, CTL_DIM, text, column);
    }
    fputc('\n', out->file);
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

void tail_print_row(struct tail_lines *lines, const struct lens_event_page *page, const struct lens_event_row *row)
{
    if (lines->json)
        row_json(lines, page, row);
    else
        row_text(lines, page, row);
}

void tail_print_lost(const struct tail_lines *lines, uint64_t lost)
{
    if (lines->json) {
        json_t *object = ctl_json_new();
        ctl_json_set_count(object, "lost", lost);
        (void)ctl_json_print(&lines->out, object, true);
        return;
    }
    fprintf(lines->out.file, "%s%llu rows lost: they came faster than they were read%s\n",
            ctl_style(&lines->out, CTL_YELLOW), (unsigned long long)lost, ctl_style(&lines->out, CTL_PLAIN));
}

void tail_print_daemon(const struct tail_lines *lines, const char *what, uint64_t start_ns, const char *sentence)
{
    if (lines->json) {
        json_t *object = ctl_json_new();
        json_object_set_new(object, "daemon", json_string(what));
        if (start_ns != 0)
            json_object_set_new(object, "started", ctl_json_time(start_ns));
        (void)ctl_json_print(&lines->out, object, true);
        return;
    }
    fprintf(lines->out.file, "%s%s%s\n", ctl_style(&lines->out, CTL_YELLOW), sentence,
            ctl_style(&lines->out, CTL_PLAIN));
}
