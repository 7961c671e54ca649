/* The rows of a timeline out of what the daemon remembers of a session; see timeline_collect.h. */
#include "client/lensctl/concept_tree.h"
#include "client/lensctl/event_feed.h"
#include "client/lensctl/timeline_collect.h"

#include <stdlib.h>
#include <string.h>

struct reader {
    struct event_feed feed;
    struct timeline *timeline;
    bool only_look; /* for the sequence that was active last */
    bool found;
    uint64_t sequence;
    uint32_t generation; /* of the last row taken */
};

/* Packs that are gone have no names any more; their lenses still are told apart. */
static int64_t concept_of(struct timeline *timeline, const struct lens_event_page *page,
                          const struct lens_event_row *row, uint32_t id)
{
    struct lens_text key = event_feed_key(page, row, id);
    char number[48];
    if (key.length > 0)
        return timeline_concept(timeline, key.data, key.length);
    snprintf(number, sizeof number, "lens %u of generation %u", id, row->generation);
    return timeline_concept(timeline, number, strlen(number));
}

static int take_row(struct reader *reader, const struct lens_event_page *page, const struct lens_event_row *row)
{
    struct timeline *t = reader->timeline;
    const struct timeline_token token = {
        .row = row->position, .token_id = row->token_id, .status = row->status, .flags = row->flags};
    /* A position before the last one is the number of a sequence in use again: its latest run is the one that counts.
     */
    if (t->n_tokens > 0 && row->position < t->tokens[t->n_tokens - 1].row)
        timeline_free(t);
    int r = timeline_add_token(t, &token);
    for (uint32_t i = 0; i < row->stored_detections && r == 0; i++) {
        const struct lens_detection *d = &page->detections[row->first_detection + i];
        const struct timeline_cell cell = {d->score, d->raw, d->logit};
        int64_t concept = concept_of(t, page, row, d->id);
        r = concept < 0 ? (int)concept : timeline_add_score(t, (uint32_t)concept, &cell);
    }
    reader->generation = row->generation;
    return r == 0 ? CTL_OK : timeline_add_failed(r);
}

static int take_page(struct reader *reader)
{
    const struct lens_event_page *page = &reader->feed.msg.u.event_page;
    int r = CTL_OK;
    for (uint32_t i = 0; i < page->count && r == CTL_OK; i++) {
        const struct lens_event_row *row = &page->rows[i];
        if (reader->only_look)
            reader->sequence = row->sequence;
        else if (row->sequence == reader->sequence)
            r = take_row(reader, page, row);
        else
            continue;
        reader->found = true;
    }
    return r;
}

/* Everything that is remembered of the session now: rows that come while it is read would be followed without end. */
static int read_all(struct reader *reader, struct lens_client *client, uint32_t session)
{
    const struct lens_events want = {.session = session};
    event_feed_init(&reader->feed, client, &want);
    reader->found = false;
    uint64_t end = 0;
    int r = CTL_OK;
    do {
        switch (event_feed_next(&reader->feed)) {
        case EVENT_FEED_PAGE:
            end = end == 0 ? reader->feed.msg.u.event_page.end : end;
            r = take_page(reader);
            break;
        case EVENT_FEED_REFUSED:
            return ctl_fail(CTL_FAILED, "%s", reader->feed.err.text);
        case EVENT_FEED_AWAY:
        case EVENT_FEED_RESTARTED:
            return ctl_fail(CTL_NO_DAEMON, "lensd went away, and session %u with it", session);
        }
    } while (r == CTL_OK && !reader->feed.caught_up && reader->feed.want.from < end);
    return r;
}

static int choose_sequence(const struct ctl *ctl, struct reader *reader, struct lens_client *client, uint32_t session)
{
    const struct ctl_value *sequence = ctl_value(ctl, "--sequence");
    reader->sequence = (uint64_t)sequence->number;
    if (sequence->set)
        return CTL_OK;
    reader->only_look = true;
    int r = read_all(reader, client, session);
    reader->only_look = false;
    if (r == CTL_OK && !reader->found)
        r = ctl_fail(CTL_FAILED,
                     "lensd remembers no row of session %u: it sent none, or others have taken their places since "
                     "(telemetry.events says how many rows are remembered)",
                     session);
    return r;
}

/* ---- names and paths -------------------------------------------------------------------------------------------- */

/* The loaded pack of that generation into name[size]; "" when it is gone. */
static int find_pack(struct lens_client *client, uint32_t generation, char *name, size_t size)
{
    struct lens_msg msg;
    uint32_t first = 0, total = 1;
    name[0] = '\0';
    while (first < total) {
        ctl_request(&msg, LENS_MSG_PACKS);
        msg.u.page.first = first;
        int r = ctl_call(client, &msg, LENS_MSG_PACK_PAGE);
        if (r != CTL_OK)
            return r;
        const struct lens_pack_page *page = &msg.u.pack_page;
        for (uint32_t i = 0; i < page->count; i++) {
            if (page->rows[i].generation == generation)
                snprintf(name, size, "%.*s", (int)page->rows[i].name.length, page->rows[i].name.data);
        }
        total = page->count > 0 ? page->total : 0;
        first += page->count;
    }
    return CTL_OK;
}

static int add_paths(const struct reader *reader, struct lens_client *client, struct timeline_origin *origin)
{
    struct concept_tree tree = {0};
    int r = find_pack(client, reader->generation, origin->pack, sizeof origin->pack);
    if (r != CTL_OK || origin->pack[0] == '\0')
        return r;
    r = concept_tree_fetch(client, origin->pack, &tree);
    for (size_t i = 0; i < reader->timeline->n_concepts && r == CTL_OK; i++) {
        struct timeline_concept *c = &reader->timeline->concepts[i];
        uint32_t id;
        if (concept_tree_find(&tree, c->key, strlen(c->key), &id) == 0)
            c->path = concept_tree_path(&tree, id);
    }
    concept_tree_free(&tree);
    return r;
}

int timeline_from_session(const struct ctl *ctl, uint32_t session, struct timeline *timeline,
                          struct timeline_origin *origin)
{
    struct lens_client *client = NULL;
    struct reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return ctl_fail(CTL_FAILED, "out of memory");
    reader->timeline = timeline;
    int r = ctl_connect(ctl, &client);
    if (r == CTL_OK)
        r = choose_sequence(ctl, reader, client, session);
    if (r == CTL_OK)
        r = read_all(reader, client, session);
    if (r == CTL_OK && !reader->found)
        r = ctl_fail(CTL_FAILED, "lensd remembers no row of sequence %llu of session %u",
                     (unsigned long long)reader->sequence, session);
    if (r == CTL_OK && timeline->tokens[0].row > 0)
        fprintf(stderr, "lensctl: the oldest row that lensd remembers of this sequence is at position %llu\n",
                (unsigned long long)timeline->tokens[0].row);
    if (r == CTL_OK)
        r = add_paths(reader, client, origin);
    snprintf(origin->name, sizeof origin->name, "session %u, sequence %llu", session,
             (unsigned long long)reader->sequence);
    lens_client_close(client);
    free(reader);
    return r;
}
