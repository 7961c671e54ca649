/* The trace ring of trace_ring.h: whole rows in order or left out and counted, whatever the other side writes. */
#include "proto/trace_ring.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

enum { LENSES = 7, EDGES = 5, RING_WORDS = 64, HEAD_WORDS = 6, GUARD = 256 };

static const uint8_t layer[LENSES] = {0, 0, 1, 1, 1, 2, 3};
static const int32_t child_offsets[LENSES + 1] = {0, 2, 3, 3, 4, 5, 5, 5};
static const int32_t child_ids[EDGES] = {2, 3, 4, 5, 6};
static const struct lens_trace_tables tables = {
    .lenses = LENSES, .edges = EDGES, .layer = layer, .child_offsets = child_offsets, .child_ids = child_ids};

/* Both sides over one memory, with guards around it. */
struct rig {
    unsigned char *block, *memory;
    uint64_t bytes;
    struct lens_trace_producer producer;
    struct lens_trace_consumer consumer;
};

static void open_rig(struct rig *rig, uint32_t ring_words)
{
    rig->bytes = lens_trace_bytes(&tables, ring_words);
    assert_true(rig->bytes > 0);
    rig->block = malloc(rig->bytes + 2 * GUARD);
    assert_non_null(rig->block);
    memset(rig->block, 0xa5, rig->bytes + 2 * GUARD);
    rig->memory = rig->block + GUARD;
    memset(rig->memory, 0, rig->bytes);
    lens_trace_producer_init(&rig->producer, rig->memory, &tables, ring_words);
    memset(&rig->consumer, 0x5a, sizeof rig->consumer);
    assert_int_equal(lens_trace_consumer_init(&rig->consumer, rig->memory, rig->bytes), 0);
}

static void close_rig(struct rig *rig)
{
    for (unsigned i = 0; i < GUARD; i++) {
        assert_int_equal(rig->block[i], 0xa5);
        assert_int_equal(rig->memory[rig->bytes + i], 0xa5);
    }
    free(rig->block);
}

static struct lens_trace_row row_of(uint64_t serial, uint32_t n)
{
    return (struct lens_trace_row){.n = n,
                                   .n_active = n / 2,
                                   .sequence = serial * UINT64_C(0x9e3779b97f4a7c15),
                                   .base_layers = (uint32_t)serial | 1,
                                   .flags = LENS_TRACE_LAST};
}

static uint32_t word_of(uint64_t serial, uint32_t i)
{
    return (uint32_t)((serial + i) % LENSES) | (uint32_t)((serial * 7 + i) % 4096) << 20;
}

static bool give(struct lens_trace_producer *producer, uint64_t serial, uint32_t n)
{
    struct lens_trace_row row = row_of(serial, n);
    if (!lens_trace_begin(producer, &row))
        return false;
    for (uint32_t i = 0; i < n; i++)
        lens_trace_put(producer, word_of(serial, i));
    lens_trace_publish(producer);
    return true;
}

static bool is_row(const struct lens_trace_row *row, const uint32_t *words, uint64_t serial, uint32_t n)
{
    struct lens_trace_row expected = row_of(serial, n);
    bool same = memcmp(row, &expected, sizeof expected) == 0;
    for (uint32_t i = 0; same && i < n; i++)
        same = words[i] == word_of(serial, i);
    return same;
}

static void take_row(struct rig *rig, uint64_t serial, uint32_t n)
{
    struct lens_trace_row row;
    uint32_t words[RING_WORDS];
    memset(&row, 0x5a, sizeof row);
    memset(words, 0x5a, sizeof words);
    assert_int_equal(lens_trace_take(&rig->consumer, &row, words, COUNT_OF(words)), 1);
    assert_true(is_row(&row, words, serial, n));
}

static void take_nothing(struct rig *rig)
{
    struct lens_trace_row row;
    uint32_t words[RING_WORDS];
    assert_int_equal(lens_trace_take(&rig->consumer, &row, words, COUNT_OF(words)), 0);
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static void a_word_holds_a_lens_and_its_logit(void **state)
{
    static const float logits[] = {-15.99f, -3.25f, 0.0f, 0.004f, 1.0f, 15.97f};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(logits); i++) {
        uint32_t word = lens_trace_word(0xfffff, logits[i]);
        assert_int_equal(lens_trace_lens(word), 0xfffff);
        assert_true(fabsf(lens_trace_logit(word) - logits[i]) <= 1.0f / 256 + 1e-6f);
    }
    assert_true(lens_trace_logit(lens_trace_word(3, -INFINITY)) == -16.0f);
    assert_true(lens_trace_logit(lens_trace_word(3, 1e30f)) == 4094.0f / 128 - 16);
    assert_true(isnan(lens_trace_logit(lens_trace_word(3, NAN))));
    assert_int_equal(lens_trace_lens(lens_trace_word(3, NAN)), 3);
}

static void tables_and_rows_survive(void **state)
{
    struct rig rig;
    (void)state;
    open_rig(&rig, RING_WORDS);
    assert_int_equal(rig.consumer.tables.lenses, LENSES);
    assert_int_equal(rig.consumer.tables.edges, EDGES);
    assert_memory_equal(rig.consumer.tables.layer, layer, sizeof layer);
    assert_memory_equal(rig.consumer.tables.child_offsets, child_offsets, sizeof child_offsets);
    assert_memory_equal(rig.consumer.tables.child_ids, child_ids, sizeof child_ids);
    take_nothing(&rig);
    assert_true(give(&rig.producer, 1, 10));
    assert_true(give(&rig.producer, 2, 0));
    assert_true(give(&rig.producer, 3, 5));
    take_row(&rig, 1, 10);
    take_row(&rig, 2, 0);
    take_row(&rig, 3, 5);
    take_nothing(&rig);
    close_rig(&rig);
}

static void a_row_is_there_only_when_it_is_published(void **state)
{
    struct rig rig;
    struct lens_trace_row row = row_of(1, 1);
    (void)state;
    open_rig(&rig, RING_WORDS);
    assert_true(lens_trace_begin(&rig.producer, &row));
    take_nothing(&rig);
    lens_trace_put(&rig.producer, word_of(1, 0));
    take_nothing(&rig);
    lens_trace_publish(&rig.producer);
    take_row(&rig, 1, 1);
    close_rig(&rig);
}

static void rows_wrap_anywhere(void **state)
{
    struct rig rig;
    (void)state;
    open_rig(&rig, RING_WORDS);
    for (uint64_t serial = 0; serial < 10000; serial++) {
        uint32_t n = (uint32_t)(serial * 13 % (RING_WORDS - HEAD_WORDS + 1));
        assert_true(give(&rig.producer, serial, n));
        take_row(&rig, serial, n);
    }
    assert_true(lens_trace_dropped(&rig.consumer) == 0);
    close_rig(&rig);
}

static void a_full_ring_leaves_out_whole_rows_and_counts_them(void **state)
{
    struct rig rig;
    (void)state;
    open_rig(&rig, RING_WORDS);
    for (uint64_t serial = 0; serial < 4; serial++)
        assert_true(give(&rig.producer, serial, 10)); /* 16 words each: the ring is full */
    assert_false(give(&rig.producer, 4, 0));
    assert_false(give(&rig.producer, 5, 10));
    assert_true(lens_trace_dropped(&rig.consumer) == 2);
    take_row(&rig, 0, 10);
    assert_false(give(&rig.producer, 6, 11)); /* one word too many */
    assert_true(give(&rig.producer, 7, 10));
    for (uint64_t serial = 1; serial < 4; serial++)
        take_row(&rig, serial, 10);
    take_row(&rig, 7, 10);
    take_nothing(&rig);
    assert_true(lens_trace_dropped(&rig.consumer) == 3);
    close_rig(&rig);
}

static void a_row_that_never_fits_is_left_out(void **state)
{
    struct rig rig;
    struct lens_trace_row row = row_of(1, RING_WORDS - HEAD_WORDS + 1);
    (void)state;
    open_rig(&rig, RING_WORDS);
    assert_false(lens_trace_begin(&rig.producer, &row));
    row.n = UINT32_MAX;
    assert_false(lens_trace_begin(&rig.producer, &row));
    assert_true(lens_trace_dropped(&rig.consumer) == 2);
    assert_true(give(&rig.producer, 2, RING_WORDS - HEAD_WORDS));
    take_row(&rig, 2, RING_WORDS - HEAD_WORDS);
    close_rig(&rig);
}

static void a_row_larger_than_the_callers_buffer_stays(void **state)
{
    struct rig rig;
    struct lens_trace_row row;
    uint32_t words[9];
    (void)state;
    open_rig(&rig, RING_WORDS);
    assert_true(give(&rig.producer, 1, 10));
    assert_int_equal(lens_trace_take(&rig.consumer, &row, words, COUNT_OF(words)), -EMSGSIZE);
    take_row(&rig, 1, 10);
    close_rig(&rig);
}

static void sizes_out_of_their_bounds_are_refused(void **state)
{
    struct lens_trace_tables large = tables;
    (void)state;
    assert_true(lens_trace_bytes(&tables, 0) == 0);
    assert_true(lens_trace_bytes(&tables, 32) == 0);
    assert_true(lens_trace_bytes(&tables, 100) == 0);
    assert_true(lens_trace_bytes(&tables, 1u << 31) == 0);
    large.lenses = LENS_TRACE_ROW_MAX + 1;
    assert_true(lens_trace_bytes(&large, RING_WORDS) == 0);
}

/* ---- a hostile recorder ----------------------------------------------------------------------------------------- */

static void no_tail_makes_the_producer_write_outside_or_wait(void **state)
{
    const uint64_t far = UINT64_C(1) << 40;
    struct rig rig;
    (void)state;
    open_rig(&rig, RING_WORDS);
    assert_true(give(&rig.producer, 1, 10));
    const uint64_t head = rig.producer.head;
    const uint64_t forged[] = {head + 1,       head + RING_WORDS,     head + far,
                               UINT64_MAX / 2, head - RING_WORDS - 1, head - far};
    for (size_t i = 0; i < COUNT_OF(forged); i++) {
        rig.producer.shm->tail = forged[i];
        assert_false(give(&rig.producer, 2, 0));
        assert_true(lens_trace_dropped(&rig.consumer) == i + 1);
        assert_true(rig.producer.head == head);
    }
    rig.producer.shm->tail = 0; /* the truth: it goes on */
    assert_true(give(&rig.producer, 3, 10));
    take_row(&rig, 1, 10);
    take_row(&rig, 3, 10);
    close_rig(&rig);
}

static void what_a_recorder_writes_is_never_read_back(void **state)
{
    unsigned seed = 20261120;
    struct rig rig;
    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    open_rig(&rig, RING_WORDS);
    uint64_t given = 0, calls = 0, words = 0;
    for (; calls < 100000; calls++) {
        uint32_t n = (uint32_t)rand() % 20;
        for (int k = rand() % 4; k > 0; k--) /* anything but the tail, which must be true now and then */
            rig.memory[(uint64_t)rand() % rig.bytes] ^= (unsigned char)rand();
        rig.producer.shm->tail = rand() % 3 == 0 ? (uint64_t)rand() << 33 : rig.producer.head - (uint64_t)rand() % 80;
        bool there = give(&rig.producer, calls, n);
        given += there;
        words += there ? HEAD_WORDS + n : 0;
    }
    assert_true(given > 0 && given < calls);
    assert_true(rig.producer.head == words && rig.producer.dropped == calls - given);
    assert_int_equal(rig.producer.ring_words, RING_WORDS);
    close_rig(&rig);
}

/* ---- hostile memory --------------------------------------------------------------------------------------------- */

struct poke {
    size_t offset, width;
    uint64_t value;
};

#define POKE(field, to)                                                                                                \
    {                                                                                                                  \
        offsetof(struct lens_trace_shm, field), sizeof(((struct lens_trace_shm *)0)->field), to                        \
    }

static void memory_that_does_not_hold_together_is_refused(void **state)
{
    static const size_t offsets = sizeof(struct lens_trace_shm) + 8, ids = offsets + sizeof child_offsets;
    const struct poke pokes[] = {
        POKE(magic, LENS_TRACE_MAGIC + 1),
        POKE(version, LENS_TRACE_VERSION + 1),
        POKE(lenses, LENSES + 1),
        POKE(lenses, UINT32_MAX),
        POKE(edges, EDGES - 1),
        POKE(edges, UINT32_MAX),
        POKE(ring_words, 0),
        POKE(ring_words, 48),
        POKE(ring_words, RING_WORDS * 2048),
        POKE(ring_words, UINT32_C(1) << 31),
        POKE(tables_offset, 0),
        POKE(tables_offset, UINT64_MAX),
        POKE(ring_offset, 0),
        POKE(ring_offset, UINT64_MAX - 63),
        POKE(total_bytes, 0),
        POKE(total_bytes, UINT64_MAX),
        {offsets, 4, 1},
        {offsets + 4, 4, UINT32_MAX},
        {offsets + 4, 4, 4},
        {offsets + 4 * LENSES, 4, EDGES + 1},
        {ids, 4, LENSES},
        {ids + 4, 4, UINT32_MAX},
    };
    struct rig rig;
    (void)state;
    open_rig(&rig, RING_WORDS);
    for (size_t i = 0; i < COUNT_OF(pokes); i++) {
        struct lens_trace_consumer consumer;
        unsigned char kept[8];
        memcpy(kept, rig.memory + pokes[i].offset, pokes[i].width);
        memcpy(rig.memory + pokes[i].offset, &pokes[i].value, pokes[i].width);
        if (lens_trace_consumer_init(&consumer, rig.memory, rig.bytes) != -EPROTO)
            fail_msg("change %zu was taken", i);
        memcpy(rig.memory + pokes[i].offset, kept, pokes[i].width);
    }
    for (uint64_t bytes = 0; bytes < rig.bytes; bytes += 8)
        assert_int_equal(lens_trace_consumer_init(&rig.consumer, rig.memory, bytes), -EPROTO);
    assert_int_equal(lens_trace_consumer_init(&rig.consumer, rig.memory, rig.bytes), 0);
    close_rig(&rig);
}

static void a_head_that_cannot_be_is_refused(void **state)
{
    static const uint64_t forged[] = {1, HEAD_WORDS - 1, HEAD_WORDS + 9, RING_WORDS + 1, UINT64_MAX, UINT64_C(1) << 32};
    struct rig rig;
    struct lens_trace_row row;
    uint32_t words[RING_WORDS];
    (void)state;
    open_rig(&rig, RING_WORDS);
    assert_true(give(&rig.producer, 1, 10));
    for (size_t i = 0; i < COUNT_OF(forged); i++) {
        rig.consumer.shm->head = forged[i];
        assert_int_equal(lens_trace_take(&rig.consumer, &row, words, COUNT_OF(words)), -EPROTO);
    }
    rig.consumer.shm->head = rig.producer.head;
    take_row(&rig, 1, 10);
    close_rig(&rig);
}

static void rows_that_cannot_be_are_refused(void **state)
{
    static const struct poke pokes[] = {
        {0, 4, 11},                       /* n: more than is there */
        {0, 4, UINT32_MAX},               /* n */
        {4, 4, 11},                       /* n_active */
        {4 * (HEAD_WORDS + 9), 4, LENSES} /* an id */
    };
    struct rig rig;
    struct lens_trace_row row;
    uint32_t words[RING_WORDS];
    (void)state;
    open_rig(&rig, RING_WORDS);
    assert_true(give(&rig.producer, 1, 10));
    unsigned char *ring = (unsigned char *)rig.producer.ring;
    for (size_t i = 0; i < COUNT_OF(pokes); i++) {
        unsigned char kept[4];
        memcpy(kept, ring + pokes[i].offset, 4);
        memcpy(ring + pokes[i].offset, &pokes[i].value, 4);
        assert_int_equal(lens_trace_take(&rig.consumer, &row, words, COUNT_OF(words)), -EPROTO);
        memcpy(ring + pokes[i].offset, kept, 4);
    }
    take_row(&rig, 1, 10);
    close_rig(&rig);
}

/* ---- two threads ------------------------------------------------------------------------------------------------ */

enum { ROWS = 60000 };

struct stress {
    struct rig rig;
    uint64_t left_out; /* the producer's; read after joining it */
};

static uint32_t words_of(uint64_t serial)
{
    return (uint32_t)(serial * 31 % 300);
}

static void *produce(void *arg)
{
    struct stress *s = arg;
    for (uint64_t serial = 0; serial <= ROWS; serial++) {
        uint32_t n = serial == ROWS ? 1 : words_of(serial);
        /* Now and then one that doesn't fit is gone; the last one comes through. */
        while (!give(&s->rig.producer, serial, n)) {
            s->left_out++;
            if (serial % 64 == 0 && serial != ROWS)
                break;
            sched_yield();
        }
    }
    return NULL;
}

static void two_threads_lose_nothing_uncounted(void **state)
{
    static struct stress s;
    static uint32_t words[4096];
    struct lens_trace_row row;
    pthread_t thread;
    uint64_t taken = 0, next = 0, skipped = 0;
    (void)state;
    open_rig(&s.rig, 4096);
    assert_int_equal(pthread_create(&thread, NULL, produce, &s), 0);
    while (next <= ROWS) {
        int r = lens_trace_take(&s.rig.consumer, &row, words, COUNT_OF(words));
        assert_true(r >= 0);
        if (r == 0) {
            sched_yield();
            continue;
        }
        uint64_t serial = next;
        while (serial <= ROWS && row_of(serial, 0).sequence != row.sequence)
            serial++;
        assert_true(serial <= ROWS);
        assert_true(is_row(&row, words, serial, serial == ROWS ? 1 : words_of(serial)));
        skipped += serial - next;
        next = serial + 1;
        taken++;
    }
    pthread_join(thread, NULL);
    print_message("%llu rows taken, %llu left out\n", (unsigned long long)taken, (unsigned long long)s.left_out);
    assert_true(taken + skipped == ROWS + 1);
    assert_true(lens_trace_dropped(&s.rig.consumer) == s.left_out && s.left_out >= skipped);
    close_rig(&s.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_holds_a_lens_and_its_logit),
        cmocka_unit_test(tables_and_rows_survive),
        cmocka_unit_test(a_row_is_there_only_when_it_is_published),
        cmocka_unit_test(rows_wrap_anywhere),
        cmocka_unit_test(a_full_ring_leaves_out_whole_rows_and_counts_them),
        cmocka_unit_test(a_row_that_never_fits_is_left_out),
        cmocka_unit_test(a_row_larger_than_the_callers_buffer_stays),
        cmocka_unit_test(sizes_out_of_their_bounds_are_refused),
        cmocka_unit_test(no_tail_makes_the_producer_write_outside_or_wait),
        cmocka_unit_test(what_a_recorder_writes_is_never_read_back),
        cmocka_unit_test(memory_that_does_not_hold_together_is_refused),
        cmocka_unit_test(a_head_that_cannot_be_is_refused),
        cmocka_unit_test(rows_that_cannot_be_are_refused),
        cmocka_unit_test(two_threads_lose_nothing_uncounted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
