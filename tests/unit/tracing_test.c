/* The daemon's end of a trace (daemon/tracing.h): memory nobody can resize, rows a recorder can read. */
#include "daemon/tracing.h"

#include "daemon/sys.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static uint8_t layer[4] = {0, 0, 1, 2};
static int32_t child_offsets[5] = {0, 1, 1, 2, 2}, child_ids[2] = {2, 3};
static const struct lens_pack pack = {
    .lenses = 4, .layer = layer, .child_offsets = child_offsets, .child_ids = child_ids};

static struct lensd_tracing *open_tracing(void)
{
    struct lensd_tracing *tracing;
    struct lens_error err = {0};
    assert_int_equal(lensd_tracing_create(&pack, &tracing, &err), 0);
    assert_non_null(tracing);
    return tracing;
}

static void rows_reach_a_recorder(void **state)
{
    static const uint32_t scored[3] = {3, 0, 2};
    static const float logits[4] = {1.5f, 99.0f, NAN, -2.25f}; /* by lens id */
    const struct lens_trace_row row = {
        .n = 3, .n_active = 1, .sequence = UINT64_C(0x0b00000007), .base_layers = 3, .flags = LENS_TRACE_PREWARM};
    struct lensd_tracing *tracing = open_tracing();
    struct lens_trace_consumer consumer;
    struct lens_trace_row got;
    uint32_t words[8];
    (void)state;
    void *memory = mmap(NULL, tracing->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, tracing->memfd, 0);
    assert_true(memory != MAP_FAILED);
    lensd_tracing_row(tracing, &row, scored, logits);
    assert_int_equal(lens_trace_consumer_init(&consumer, memory, tracing->bytes), 0);
    assert_int_equal(consumer.tables.lenses, 4);
    assert_int_equal(consumer.tables.edges, 2);
    assert_int_equal(lens_trace_take(&consumer, &got, words, 8), 1);
    assert_memory_equal(&got, &row, sizeof row);
    assert_int_equal(lens_trace_lens(words[0]), 3);
    assert_true(lens_trace_logit(words[0]) == -2.25f);
    assert_int_equal(lens_trace_lens(words[1]), 0);
    assert_true(lens_trace_logit(words[1]) == 1.5f);
    assert_int_equal(lens_trace_lens(words[2]), 2);
    assert_true(isnan(lens_trace_logit(words[2])));
    assert_int_equal(lens_trace_take(&consumer, &got, words, 8), 0);
    munmap(memory, tracing->bytes);
    lensd_tracing_destroy(tracing);
}

static void without_a_recorder_rows_are_counted_as_left_out(void **state)
{
    enum { ROWS = 2000000 };
    static const uint32_t scored[4] = {0, 1, 2, 3};
    static const float logits[4] = {0};
    const struct lens_trace_row row = {.n = 4, .n_active = 4};
    struct lensd_tracing *tracing = open_tracing();
    (void)state;
    for (int i = 0; i < ROWS; i++)
        lensd_tracing_row(tracing, &row, scored, logits);
    assert_int_equal(tracing->producer.dropped, ROWS - LENSD_TRACE_RING_WORDS / 10);
    lensd_tracing_destroy(tracing);
}

static void the_recorder_cannot_resize_the_memory(void **state)
{
    struct lensd_tracing *tracing = open_tracing();
    (void)state;
    assert_int_not_equal(ftruncate(tracing->memfd, 4096), 0);
    assert_int_not_equal(ftruncate(tracing->memfd, (off_t)(tracing->bytes * 2)), 0);
    lensd_tracing_destroy(tracing);
}

static void a_pack_with_more_lenses_than_ids_is_refused(void **state)
{
    struct lens_pack large = {.lenses = LENS_TRACE_ROW_MAX + 1};
    struct lensd_tracing *tracing = (void *)&large;
    struct lens_error err = {0};
    (void)state;
    large.child_offsets = calloc(large.lenses + 1, sizeof(int32_t));
    assert_non_null(large.child_offsets);
    assert_int_equal(lensd_tracing_create(&large, &tracing, &err), -ENOTSUP);
    assert_null(tracing);
    assert_non_null(strstr(err.text, "1048577"));
    free(large.child_offsets);
}

static int refuse_one(void *arg, const char *call)
{
    int *left = arg;
    (void)call;
    return (*left)-- == 0 ? ENOMEM : 0;
}

static void every_failure_leaves_nothing(void **state)
{
    struct lensd_tracing *tracing;
    struct lens_error err = {0};
    int calls = 0, r = -1;
    (void)state;
    int next = dup(0);
    close(next);
    while (r != 0) {
        int left = calls++;
        lensd_sys_set_hook(refuse_one, &left);
        r = lensd_tracing_create(&pack, &tracing, &err);
        lensd_sys_set_hook(NULL, NULL);
        assert_true(r == 0 ? tracing != NULL : tracing == NULL && r == -ENOMEM && err.text[0] != '\0');
        if (r == 0)
            lensd_tracing_destroy(tracing);
        int fd = dup(0);
        close(fd);
        assert_int_equal(fd, next);
    }
    assert_true(calls > 4); /* calloc, memfd_create, fallocate, seals, mmap */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_reach_a_recorder),
        cmocka_unit_test(without_a_recorder_rows_are_counted_as_left_out),
        cmocka_unit_test(the_recorder_cannot_resize_the_memory),
        cmocka_unit_test(a_pack_with_more_lenses_than_ids_is_refused),
        cmocka_unit_test(every_failure_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
