/* The ring of rows answered lately: what is read is what was written, a row that was overwritten is never given as
 * another, and a reader beside the writer sees whole rows alone. Meant for ThreadSanitizer as well. */
#include "daemon/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

enum { ROWS = 8, MANY = 200000 };

/* A row all of whose values follow from `n`, with n % 20 detections. */
static void add(struct lensd_events *events, uint64_t n)
{
    struct lens_detection detections[20];
    const uint32_t count = (uint32_t)(n % 20);
    for (uint32_t i = 0; i < count; i++)
        detections[i] = (struct lens_detection){.id = (uint32_t)(n + i), .score = (float)(n % 1000), .logit = (float)i};
    const struct lens_result_header header = {
        .sequence = n * 3,
        .tag = n * 5,
        .position = n * 7,
        .token_id = (int32_t)n,
        .pack_generation = (uint32_t)n + 1,
        .detections = count,
        .status = LENS_ROW_PARTIAL,
        .flags = LENS_ROW_CAPPED,
        .counts = {.scored = (uint32_t)n + 2, .expanded = (uint32_t)n + 3},
        .timing = {.queue = n + 4, .total = n + 5},
    };
    lensd_events_add(events, (uint32_t)n + 6, (uint32_t)n + 7, &header, count > 0 ? detections : NULL, n + 8);
}

/* Whether the event is the one that `add` made of n, whole. */
static bool is_row(const struct lensd_event *e, uint64_t n)
{
    const uint32_t count = (uint32_t)(n % 20), stored = count < LENSD_EVENT_STORED ? count : LENSD_EVENT_STORED;
    const struct lens_event_row *row = &e->row;
    bool right = row->sequence == n * 3 && row->tag == n * 5 && row->position == n * 7 && row->token_id == (int32_t)n &&
                 row->generation == n + 1 && row->n_detections == count && row->stored_detections == stored &&
                 row->first_detection == 0 && row->status == LENS_ROW_PARTIAL && row->flags == LENS_ROW_CAPPED &&
                 row->scored == n + 2 && row->expanded == n + 3 && row->queue_ns == n + 4 && row->total_ns == n + 5 &&
                 row->session == n + 6 && e->uid == n + 7 && row->time_ns == n + 8;
    for (uint32_t i = 0; i < stored; i++)
        right = right && e->detections[i].id == n + i && e->detections[i].score == (float)(n % 1000) &&
                e->detections[i].logit == (float)i;
    return right;
}

static void rows_come_back_as_they_were_written(void **state)
{
    struct lensd_events *events;
    struct lensd_event event;
    uint64_t first, end;
    (void)state;
    assert_int_equal(lensd_events_create(ROWS, &events), 0);
    lensd_events_range(events, &first, &end);
    assert_int_equal(first, 1);
    assert_int_equal(end, 1);
    assert_false(lensd_events_read(events, 0, &event));
    assert_false(lensd_events_read(events, 1, &event));
    for (uint64_t n = 1; n <= 100; n++) {
        add(events, n);
        lensd_events_range(events, &first, &end);
        assert_int_equal(end, n + 1);
        assert_int_equal(first, n > ROWS ? n - ROWS + 1 : 1);
        for (uint64_t number = first; number < end; number++) {
            memset(&event, 0xa5, sizeof event);
            assert_true(lensd_events_read(events, number, &event));
            assert_int_equal(event.row.number, number);
            assert_true(is_row(&event, number));
        }
        assert_false(lensd_events_read(events, end, &event));
        if (first > 1)
            assert_false(lensd_events_read(events, first - 1, &event));
    }
    lensd_events_destroy(events);
}

static void *write_many(void *arg)
{
    struct lensd_events *events = arg;
    for (uint64_t n = 1; n <= MANY; n++)
        add(events, n);
    return NULL;
}

static void a_reader_beside_the_writer_sees_whole_rows_alone(void **state)
{
    struct lensd_events *events;
    struct lensd_event event;
    pthread_t writer;
    uint64_t next = 1, first, end, torn = 0, read = 0, lost = 0;
    (void)state;
    assert_int_equal(lensd_events_create(ROWS, &events), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_many, events), 0);
    while (next <= MANY) {
        lensd_events_range(events, &first, &end);
        lost += first > next ? first - next : 0;
        next = first > next ? first : next;
        for (; next < end; next++) {
            if (!lensd_events_read(events, next, &event)) {
                lost++;
                continue;
            }
            torn += !is_row(&event, next);
            read++;
        }
    }
    pthread_join(writer, NULL);
    lensd_events_destroy(events);
    assert_int_equal(torn, 0);
    assert_int_equal(read + lost, MANY);
    assert_true(read >= ROWS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_as_they_were_written),
        cmocka_unit_test(a_reader_beside_the_writer_sees_whole_rows_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
