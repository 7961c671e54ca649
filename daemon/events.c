/* See events.h. Each place holds a stamp and a row. The writer takes the stamp away, writes the row, and puts the new
 * stamp there; a reader that finds the same stamp before and after has a whole row. All words are atomic, stored with
 * release and loaded with acquire order: a reader that saw one word of a newer row also sees that the stamp is gone. */
#include "daemon/events.h"

#include "daemon/sys.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define WORDS (sizeof(struct lensd_event) / sizeof(uint64_t))

static_assert(sizeof(struct lensd_event) % sizeof(uint64_t) == 0, "a row is copied by words");

struct place {
    uint64_t stamp; /* number of the row; 0 = none, or one that is being written */
    uint64_t words[WORDS];
};

struct lensd_events {
    uint32_t rows;
    uint64_t end; /* number of the next row */
    struct place places[];
};

int lensd_events_create(uint32_t rows, struct lensd_events **out)
{
    *out = lensd_calloc(1, sizeof **out + (size_t)rows * sizeof(struct place));
    if (*out == NULL)
        return -ENOMEM;
    (*out)->rows = rows;
    (*out)->end = 1;
    return 0;
}

void lensd_events_destroy(struct lensd_events *events)
{
    lensd_free(events);
}

/* The words of a row that say something: those of detections it doesn't have are left as they are. */
static size_t words_of(uint32_t detections)
{
    return (offsetof(struct lensd_event, detections) + detections * sizeof(struct lens_detection)) / sizeof(uint64_t);
}

static void put(struct lensd_events *events, const struct lensd_event *event)
{
    uint64_t words[WORDS];
    struct place *place = &events->places[event->row.number % events->rows];
    size_t n = words_of(event->row.stored_detections);
    memcpy(words, event, n * sizeof words[0]);
    __atomic_store_n(&place->stamp, 0, __ATOMIC_RELAXED);
    for (size_t i = 0; i < n; i++)
        __atomic_store_n(&place->words[i], words[i], __ATOMIC_RELEASE);
    __atomic_store_n(&place->stamp, event->row.number, __ATOMIC_RELEASE);
    __atomic_store_n(&events->end, event->row.number + 1, __ATOMIC_RELEASE);
}

void lensd_events_add(struct lensd_events *events, uint32_t session, uint32_t uid,
                      const struct lens_result_header *header, const struct lens_detection *detections, uint64_t now_ns)
{
    struct lensd_event event;
    uint32_t stored = header->detections < LENSD_EVENT_STORED ? header->detections : LENSD_EVENT_STORED;
    event.row = (struct lens_event_row){
        .number = __atomic_load_n(&events->end, __ATOMIC_RELAXED),
        .time_ns = now_ns,
        .sequence = header->sequence,
        .position = header->position,
        .tag = header->tag,
        .queue_ns = header->timing.queue,
        .total_ns = header->timing.total,
        .session = session,
        .generation = header->pack_generation,
        .token_id = header->token_id,
        .scored = header->counts.scored,
        .expanded = header->counts.expanded,
        .n_detections = header->detections,
        .stored_detections = stored,
        .status = header->status,
        .reason = header->reason,
        .flags = header->flags,
        .verdict = header->verdict,
        .verdict_rule = header->verdict_rule,
    };
    event.uid = uid;
    event.reserved = 0;
    if (stored > 0)
        memcpy(event.detections, detections, stored * sizeof *detections);
    put(events, &event);
}

void lensd_events_range(const struct lensd_events *events, uint64_t *first, uint64_t *end)
{
    *end = __atomic_load_n(&events->end, __ATOMIC_ACQUIRE);
    *first = *end > events->rows ? *end - events->rows : 1;
}

bool lensd_events_read(const struct lensd_events *events, uint64_t number, struct lensd_event *out)
{
    uint64_t words[WORDS];
    const struct place *place = &events->places[number % events->rows];
    if (number == 0 || __atomic_load_n(&place->stamp, __ATOMIC_ACQUIRE) != number)
        return false;
    for (size_t i = 0; i < WORDS; i++)
        words[i] = __atomic_load_n(&place->words[i], __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&place->stamp, __ATOMIC_RELAXED) != number)
        return false;
    memcpy(out, words, sizeof *out);
    return true;
}
