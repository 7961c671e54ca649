/* The control messages of codec.h: every field of every message survives the trip, and only what fits its bounds is
 * sent. What comes in from others is codec_hostile_test's. */
#include "proto/codec.h"
#include "tests/unit/support/messages.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static struct lens_msg given, got;
static _Alignas(8) unsigned char packet[LENS_ANSWER_MAX];

static void compare(unsigned char *at, const struct shape *shape, const struct field *f, uint32_t n, void *context)
{
    unsigned char *other = (unsigned char *)&got + (at - (unsigned char *)&given);
    struct lens_text a, b;
    (void)n;
    (void)context;
    if (!is_text(f->kind)) {
        assert_memory_equal(at, other, width_of(shape, f));
        return;
    }
    memcpy(&a, at, sizeof a);
    memcpy(&b, other, sizeof b);
    assert_int_equal(a.length, b.length);
    assert_memory_equal(a.data, b.data, a.length);
}

/* ---- good messages ---------------------------------------------------------------------------------------------- */

static void every_field_of_every_message_survives(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_shapes; i++) {
        struct lens_error err = {0};
        size_t limit = shapes[i].type < 64 ? LENS_REQUEST_MAX : LENS_ANSWER_MAX;
        fill_message(&given, &shapes[i], 9, 0);
        int n = lens_msg_encode(&given, packet, limit);
        assert_true(n > 0);
        assert_int_equal(message_decode_exact(packet, (size_t)n, limit, &got, &err), 0);
        assert_int_equal(got.type, given.type);
        assert_true(got.request_id == given.request_id);
        visit_message(&given, &shapes[i], 9, compare, NULL);
        if (shapes[i].row != NULL) {
            uint32_t count;
            memcpy(&count, (unsigned char *)&got.u + shapes[i].count_offset, sizeof count);
            assert_int_equal(count, 9);
        }
    }
    assert_int_equal(got.u.goodbye.session, given.u.goodbye.session);
}

struct change {
    uint32_t which, seen;
};

static void leave(unsigned char *at, const struct shape *shape, const struct field *f, uint32_t n, void *context)
{
    (void)at, (void)shape, (void)f, (void)n, (void)context;
}

static void change_one(unsigned char *at, const struct shape *shape, const struct field *f, uint32_t n, void *context)
{
    struct change *change = context;
    if (change->seen++ != change->which)
        return;
    uint32_t other = n + 1;
    unsigned char before[sizeof(struct lens_text)];
    memcpy(before, at, width_of(shape, f));
    fill_value(at, shape, f, other + 4000);
    if (memcmp(before, at, width_of(shape, f)) == 0)
        fill_value(at, shape, f, other + 4001);
}

static void every_field_changes_the_packet(void **state)
{
    static _Alignas(8) unsigned char changed[LENS_ANSWER_MAX];
    (void)state;
    for (size_t i = 0; i < n_shapes; i++) {
        uint32_t salt = 0;
        fill_message(&given, &shapes[i], 2, salt);
        uint32_t values = visit_message(&given, &shapes[i], 2, leave, NULL) - 1;
        int n = lens_msg_encode(&given, packet, sizeof packet);
        for (uint32_t which = 0; which < values; which++) {
            struct change change = {.which = which};
            fill_message(&given, &shapes[i], 2, salt);
            visit_message(&given, &shapes[i], 2, change_one, &change);
            int m = lens_msg_encode(&given, changed, sizeof changed);
            assert_true(m > 0);
            assert_true(m != n || memcmp(packet, changed, (size_t)n) != 0);
        }
    }
}

static void a_packet_is_the_same_for_the_same_message(void **state)
{
    static _Alignas(8) unsigned char again[LENS_ANSWER_MAX];
    (void)state;
    for (size_t i = 0; i < n_shapes; i++) {
        fill_message(&given, &shapes[i], 3, 7);
        int n = lens_msg_encode(&given, packet, sizeof packet);
        memset(again, 0xee, sizeof again);
        assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_ANSWER_MAX, &got, NULL), 0);
        assert_int_equal(lens_msg_encode(&got, again, sizeof again), n);
        assert_memory_equal(packet, again, (size_t)n);
    }
}

static void full_pages_of_usual_texts_fit(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_shapes; i++) {
        fill_message(&given, &shapes[i], LENS_PAGE_ROWS, 0);
        assert_true(lens_msg_encode(&given, packet, sizeof packet) > 0);
    }
}

static void a_histogram_with_every_bucket_fits_and_survives(void **state)
{
    struct lens_statistics_answer *answer = &given.u.statistics_are;
    (void)state;
    memset(&given, 0, sizeof given);
    given.type = LENS_MSG_STATISTICS_ARE;
    answer->n_buckets = LENS_BUCKETS;
    for (uint32_t i = 0; i < LENS_BUCKETS; i++)
        answer->buckets[i] = (struct lens_bucket){.index = i, .count = UINT32_MAX - i};
    int n = lens_msg_encode(&given, packet, sizeof packet);
    assert_true(n > 0);
    assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_ANSWER_MAX, &got, NULL), 0);
    assert_int_equal(got.u.statistics_are.n_buckets, LENS_BUCKETS);
    assert_memory_equal(got.u.statistics_are.buckets, answer->buckets, sizeof answer->buckets);
    answer->n_buckets++;
    assert_int_equal(lens_msg_encode(&given, packet, sizeof packet), -EINVAL);
}

static void buckets_out_of_order_or_range_are_refused(void **state)
{
    static const struct lens_bucket bad[][2] = {{{5, 1}, {5, 1}}, {{6, 1}, {5, 1}}, {{0, 1}, {LENS_BUCKETS, 1}}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        memset(&given, 0, sizeof given);
        given.type = LENS_MSG_STATISTICS_ARE;
        given.u.statistics_are.n_buckets = 2;
        memcpy(given.u.statistics_are.buckets, bad[i], sizeof bad[i]);
        int n = lens_msg_encode(&given, packet, sizeof packet);
        assert_true(n > 0);
        assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_ANSWER_MAX, &got, NULL), -EBADMSG);
    }
}

static void a_page_of_events_names_its_concepts(void **state)
{
    char keys[LENS_EVENT_CONCEPTS][48];
    (void)state;
    memset(&given, 0, sizeof given);
    given.type = LENS_MSG_EVENT_PAGE;
    struct lens_event_page *page = &given.u.event_page;
    page->count = LENS_PAGE_ROWS;
    page->n_detections = LENS_EVENT_DETECTIONS;
    page->n_concepts = LENS_EVENT_CONCEPTS;
    for (uint32_t i = 0; i < LENS_EVENT_CONCEPTS; i++) {
        /* 42 bytes each: as much as the daemon puts into one page */
        snprintf(keys[i], sizeof keys[i], "Concept-of-some-length-number-%06u-\xc3\xa9:%u", i, i % 7);
        page->concepts[i] = (struct lens_event_concept){i + 1, 7 * i, lens_text_of(i == 5 ? "" : keys[i])};
    }
    int n = lens_msg_encode(&given, packet, sizeof packet);
    assert_true(n > 0);
    assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_ANSWER_MAX, &got, NULL), 0);
    const struct lens_event_page *back = &got.u.event_page;
    assert_int_equal(back->count, LENS_PAGE_ROWS);
    assert_int_equal(back->n_detections, LENS_EVENT_DETECTIONS);
    assert_int_equal(back->n_concepts, LENS_EVENT_CONCEPTS);
    for (uint32_t i = 0; i < LENS_EVENT_CONCEPTS; i++) {
        assert_int_equal(back->concepts[i].generation, i + 1);
        assert_int_equal(back->concepts[i].id, 7 * i);
        assert_int_equal(back->concepts[i].key.length, page->concepts[i].key.length);
        assert_memory_equal(back->concepts[i].key.data, page->concepts[i].key.data, back->concepts[i].key.length);
    }
}

static void options_that_are_not_set_decode_as_defaults(void **state)
{
    struct lens_cascade_options defaults;
    (void)state;
    lens_options_default(&defaults);
    memset(&given, 0, sizeof given);
    given.type = LENS_MSG_ATTACH;
    given.u.attach.options_set = LENS_OPT_TOP_K;
    given.u.attach.options.top_k = 77;
    given.u.attach.options.load_threshold = NAN; /* not set: nobody looks */
    int n = lens_msg_encode(&given, packet, LENS_REQUEST_MAX);
    assert_true(n > 0);
    assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_REQUEST_MAX, &got, NULL), 0);
    assert_int_equal(got.u.attach.options_set, LENS_OPT_TOP_K);
    assert_int_equal(got.u.attach.options.top_k, 77);
    assert_true(got.u.attach.options.load_threshold == defaults.load_threshold);
    assert_int_equal(got.u.attach.options.keep_top_k, defaults.keep_top_k);
    assert_true(got.u.attach.options.base_layers == defaults.base_layers);
    assert_int_equal(got.u.attach.pack.length, 0);
    assert_non_null(got.u.attach.pack.data);
}

static void each_option_is_overlaid_by_its_own_bit(void **state)
{
    struct lens_cascade_options defaults, others, merged;
    (void)state;
    lens_options_default(&defaults);
    others = (struct lens_cascade_options){.base_layers = 12,
                                           .expand = LENS_EXPAND_TOPK,
                                           .report = LENS_REPORT_LEAVES,
                                           .rank = LENS_RANK_CALIBRATED,
                                           .uncalibrated = LENS_UNCALIBRATED_HALF,
                                           .miss = LENS_MISS_SKIP,
                                           .load_threshold = 0.9f,
                                           .unload_threshold = 0.8f,
                                           .suppress_at = 0.7f,
                                           .suppress_parents = true,
                                           .top_k = 3,
                                           .keep_top_k = -1,
                                           .max_depth = 9,
                                           .max_scored = 17};
    for (unsigned bit = 0; bit < 14; bit++) {
        merged = defaults;
        lens_options_overlay(&merged, &others, 1u << bit);
        int changed = (merged.base_layers == 12) + (merged.expand == LENS_EXPAND_TOPK) +
                      (merged.report == LENS_REPORT_LEAVES) + (merged.rank == LENS_RANK_CALIBRATED) +
                      (merged.uncalibrated == LENS_UNCALIBRATED_HALF) + (merged.miss == LENS_MISS_SKIP) +
                      (merged.load_threshold == 0.9f) + (merged.unload_threshold == 0.8f) +
                      (merged.suppress_at == 0.7f) + merged.suppress_parents + (merged.top_k == 3) +
                      (merged.keep_top_k == -1) + (merged.max_depth == 9) + (merged.max_scored == 17);
        assert_int_equal(changed, 1);
    }
}

static void every_type_and_fault_has_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_shapes; i++) {
        assert_string_not_equal(lens_msg_name(shapes[i].type), "?");
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(lens_msg_name(shapes[i].type), lens_msg_name(shapes[k].type));
    }
    assert_string_equal(lens_msg_name(LENS_MSG_ATTACH), "attach");
    assert_string_equal(lens_msg_name(LENS_MSG_STATUS_IS), "status-is");
    assert_string_equal(lens_msg_name((enum lens_msg_type)0), "?");
    assert_string_equal(lens_msg_name((enum lens_msg_type)999), "?");
    assert_string_equal(lens_fault_name(LENS_FAULT_NO_SUCH_PACK), "no-such-pack");
    assert_string_equal(lens_fault_name(LENS_FAULT_PATH_NOT_ALLOWED), "path-not-allowed");
    assert_string_equal(lens_fault_name(0), "?");
    assert_string_equal(lens_fault_name(14), "?");
}

/* ---- what doesn't fit or isn't allowed out ---------------------------------------------------------------------- */

static void a_message_fits_or_is_refused_at_every_capacity(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_shapes; i++) {
        fill_message(&given, &shapes[i], 5, 0);
        int n = lens_msg_encode(&given, packet, sizeof packet);
        for (int capacity = 0; capacity <= n; capacity++) {
            memset(packet, 0xcc, (size_t)n + 1);
            assert_int_equal(lens_msg_encode(&given, packet, (size_t)capacity), capacity < n ? -EMSGSIZE : n);
            assert_int_equal(packet[capacity], 0xcc);
        }
    }
}

static void texts_of_any_length_fit_or_are_refused(void **state)
{
    static char text[40000];
    (void)state;
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < n_shapes; i++) {
        for (uint32_t length = 1; length < sizeof text; length = length * 3 / 2 + 1) {
            fill_message(&given, &shapes[i], LENS_PAGE_ROWS, 0);
            for (size_t k = 0; k < shapes[i].n_fields; k++) {
                struct lens_text long_text = {text, length};
                if (shapes[i].fields[k].kind == TEXT)
                    memcpy((unsigned char *)&given.u + shapes[i].fields[k].offset, &long_text, sizeof long_text);
            }
            int n = lens_msg_encode(&given, packet, sizeof packet);
            assert_true(n > 0 || n == -EMSGSIZE);
            n = lens_msg_encode(&given, packet, LENS_REQUEST_MAX);
            assert_true((n > 0 && n <= (int)LENS_REQUEST_MAX) || n == -EMSGSIZE);
        }
    }
}

static void bytes_that_are_not_utf8_go_out_as_question_marks(void **state)
{
    (void)state;
    memset(&given, 0, sizeof given);
    given.type = LENS_MSG_DONE;
    given.u.done.text = (struct lens_text){"ok\xff-\xc3\xa9-\xe2\x82-\0!", 11};
    int n = lens_msg_encode(&given, packet, sizeof packet);
    assert_true(n > 0);
    assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_ANSWER_MAX, &got, NULL), 0);
    assert_int_equal(got.u.done.text.length, 11);
    assert_memory_equal(got.u.done.text.data, "ok?-\xc3\xa9-\?\?-?", 11);
}

static int encoded(enum lens_msg_type type)
{
    given.type = type;
    return lens_msg_encode(&given, packet, sizeof packet);
}

static void values_out_of_their_bounds_are_not_sent(void **state)
{
    (void)state;
    memset(&given, 0, sizeof given);
    assert_int_equal(encoded((enum lens_msg_type)0), -EINVAL);
    assert_int_equal(encoded((enum lens_msg_type)24), -EINVAL);
    assert_int_equal(encoded((enum lens_msg_type)80), -EINVAL);
    assert_int_equal(encoded((enum lens_msg_type)999), -EINVAL);
    given.u.hello_ok.role = 2;
    assert_int_equal(encoded(LENS_MSG_HELLO_OK), -EINVAL);
    memset(&given, 0, sizeof given);
    assert_int_equal(encoded(LENS_MSG_ERROR), -EINVAL);
    given.u.fault.code = 14;
    assert_int_equal(encoded(LENS_MSG_ERROR), -EINVAL);
    memset(&given, 0, sizeof given);
    given.u.attach.n_pinned = LENS_MAX_PINNED + 1;
    assert_int_equal(encoded(LENS_MSG_ATTACH), -EINVAL);
    given.u.attach.n_pinned = 0;
    given.u.attach.n_filter = 1;
    assert_int_equal(encoded(LENS_MSG_ATTACH), -EINVAL); /* an empty pattern */
    given.u.attach.n_filter = LENS_MAX_PATTERNS + 1;
    assert_int_equal(encoded(LENS_MSG_ATTACH), -EINVAL);
    given.u.attach.n_filter = 0;
    given.u.attach.options_set = 1u << 14;
    assert_int_equal(encoded(LENS_MSG_ATTACH), -EINVAL);
    given.u.attach.options_set = LENS_OPT_EXPAND;
    memset(&given.u.attach.options.expand, 7, 1);
    assert_int_equal(encoded(LENS_MSG_ATTACH), -EINVAL);
    given.u.attach.options_set = LENS_OPT_LOAD_THRESHOLD;
    given.u.attach.options.load_threshold = NAN;
    assert_int_equal(encoded(LENS_MSG_ATTACH), -EINVAL);
    memset(&given, 0, sizeof given);
    given.u.concept_page.count = LENS_PAGE_ROWS + 1;
    assert_int_equal(encoded(LENS_MSG_CONCEPT_PAGE), -EINVAL);
    given.u.concept_page.count = 1;
    given.u.concept_page.rows[0].role = 4;
    assert_int_equal(encoded(LENS_MSG_CONCEPT_PAGE), -EINVAL);
    memset(&given, 0, sizeof given);
    given.u.explanation.n_path = LENS_PATH_DEPTH + 1;
    assert_int_equal(encoded(LENS_MSG_EXPLANATION), -EINVAL);
    memset(&given, 0, sizeof given);
    given.u.events.min_score = 1.5f;
    assert_int_equal(encoded(LENS_MSG_EVENTS), -EINVAL);
    memset(&given, 0, sizeof given);
    given.u.event_page.count = 1;
    given.u.event_page.n_detections = 3;
    given.u.event_page.rows[0].first_detection = 2;
    given.u.event_page.rows[0].stored_detections = 2; /* the page has one from there on */
    assert_int_equal(encoded(LENS_MSG_EVENT_PAGE), -EINVAL);
    given.u.event_page.n_detections = LENS_EVENT_DETECTIONS + 1;
    assert_int_equal(encoded(LENS_MSG_EVENT_PAGE), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_every_message_survives),
        cmocka_unit_test(every_field_changes_the_packet),
        cmocka_unit_test(a_packet_is_the_same_for_the_same_message),
        cmocka_unit_test(full_pages_of_usual_texts_fit),
        cmocka_unit_test(a_histogram_with_every_bucket_fits_and_survives),
        cmocka_unit_test(buckets_out_of_order_or_range_are_refused),
        cmocka_unit_test(a_page_of_events_names_its_concepts),
        cmocka_unit_test(options_that_are_not_set_decode_as_defaults),
        cmocka_unit_test(each_option_is_overlaid_by_its_own_bit),
        cmocka_unit_test(every_type_and_fault_has_its_name),
        cmocka_unit_test(a_message_fits_or_is_refused_at_every_capacity),
        cmocka_unit_test(texts_of_any_length_fit_or_are_refused),
        cmocka_unit_test(bytes_that_are_not_utf8_go_out_as_question_marks),
        cmocka_unit_test(values_out_of_their_bounds_are_not_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
