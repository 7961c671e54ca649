/* See messages.h. */
#include "tests/unit/support/messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIELD(type, name, kind)                                                                                        \
    {                                                                                                                  \
        offsetof(struct type, name), kind, 1                                                                           \
    }
#define ARRAY(type, name, kind, count)                                                                                 \
    {                                                                                                                  \
        offsetof(struct type, name), kind, count                                                                       \
    }
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define N_PATTERNS  20 /* a request holds no three full lists beside the pins */

static const struct field hello[] = {FIELD(lens_hello, protocol_version, U32), FIELD(lens_hello, client_name, TEXT)};
static const struct field hello_ok[] = {
    FIELD(lens_hello_ok, protocol_version, U32), FIELD(lens_hello_ok, daemon_version, TEXT),
    FIELD(lens_hello_ok, role, ONE), FIELD(lens_hello_ok, daemon_pid, U64), FIELD(lens_hello_ok, start_time_ns, U64)};
#define OPTIONS(type)                                                                                                  \
    FIELD(type, options.base_layers, U64), FIELD(type, options.expand, ONE), FIELD(type, options.report, TWO),         \
        FIELD(type, options.rank, ONE), FIELD(type, options.uncalibrated, ONE), FIELD(type, options.miss, TWO),        \
        FIELD(type, options.load_threshold, UNIT), FIELD(type, options.unload_threshold, UNIT),                        \
        FIELD(type, options.suppress_at, UNIT), FIELD(type, options.suppress_parents, BOOL),                           \
        FIELD(type, options.top_k, TOP_K), FIELD(type, options.keep_top_k, KEEP),                                      \
        FIELD(type, options.max_depth, DEPTH), FIELD(type, options.max_scored, U32)
static const struct field attach[] = {FIELD(lens_attach, pack, TEXT),
                                      FIELD(lens_attach, label, TEXT),
                                      FIELD(lens_attach, max_rows, U32),
                                      FIELD(lens_attach, submit_slots, U32),
                                      FIELD(lens_attach, result_slots, U32),
                                      FIELD(lens_attach, expanded_capacity, U32),
                                      FIELD(lens_attach, max_sequences, U32),
                                      OPTIONS(lens_attach),
                                      ARRAY(lens_attach, pinned, U32, LENS_MAX_PINNED),
                                      ARRAY(lens_attach, include, PATTERN, N_PATTERNS),
                                      ARRAY(lens_attach, exclude, PATTERN, N_PATTERNS),
                                      ARRAY(lens_attach, filter, PATTERN, N_PATTERNS)};
static const struct field attached[] = {FIELD(lens_attached, session, U32),
                                        FIELD(lens_attached, generation, U32),
                                        FIELD(lens_attached, lenses, U32),
                                        FIELD(lens_attached, layout.dim, U32),
                                        FIELD(lens_attached, layout.max_rows, U32),
                                        FIELD(lens_attached, layout.top_k, U32),
                                        FIELD(lens_attached, layout.expanded_capacity, U32),
                                        FIELD(lens_attached, layout.submit_slots, U32),
                                        FIELD(lens_attached, layout.result_slots, U32),
                                        FIELD(lens_attached, layout.result_stride, U32),
                                        FIELD(lens_attached, layout.payload_bytes, U64),
                                        FIELD(lens_attached, layout.submit_offset, U64),
                                        FIELD(lens_attached, layout.result_offset, U64),
                                        FIELD(lens_attached, layout.payload_offset, U64),
                                        FIELD(lens_attached, layout.total_bytes, U64),
                                        OPTIONS(lens_attached),
                                        FIELD(lens_attached, pack, TEXT),
                                        FIELD(lens_attached, model_id, TEXT),
                                        FIELD(lens_attached, tap_layer, TEXT),
                                        FIELD(lens_attached, tap_point, TEXT)};
static const struct field session_ref[] = {FIELD(lens_session_ref, session, U32)};
static const struct field end_sequence[] = {FIELD(lens_end_sequence, session, U32),
                                            FIELD(lens_end_sequence, sequence, U64)};
static const struct field page[] = {FIELD(lens_page, first, U32)};
static const struct field concepts[] = {FIELD(lens_concepts, pack, TEXT), FIELD(lens_concepts, glob, TEXT),
                                        FIELD(lens_concepts, first, U32)};
static const struct field explain[] = {FIELD(lens_explain, pack, TEXT), FIELD(lens_explain, concept, TEXT)};
static const struct field statistics[] = {FIELD(lens_statistics_query, session, U32),
                                          FIELD(lens_statistics_query, buckets, BOOL)};
static const struct field events[] = {FIELD(lens_events, session, U32), FIELD(lens_events, glob, TEXT),
                                      FIELD(lens_events, min_score, UNIT), FIELD(lens_events, from, U64),
                                      FIELD(lens_events, only_hits, BOOL)};
#define DETECTIONS (LENS_EVENT_DETECTIONS * sizeof(struct lens_detection) / sizeof(uint32_t))
static const struct field event_page[] = {FIELD(lens_event_page, next, U64), FIELD(lens_event_page, end, U64),
                                          FIELD(lens_event_page, lost, U64),
                                          ARRAY(lens_event_page, detections, U32, DETECTIONS)};
static const struct field event_row[] = {FIELD(lens_event_row, number, U64),
                                         FIELD(lens_event_row, time_ns, U64),
                                         FIELD(lens_event_row, sequence, U64),
                                         FIELD(lens_event_row, position, U64),
                                         FIELD(lens_event_row, tag, U64),
                                         FIELD(lens_event_row, queue_ns, U64),
                                         FIELD(lens_event_row, total_ns, U64),
                                         FIELD(lens_event_row, session, U32),
                                         FIELD(lens_event_row, generation, U32),
                                         FIELD(lens_event_row, token_id, I32),
                                         FIELD(lens_event_row, scored, U32),
                                         FIELD(lens_event_row, expanded, U32),
                                         FIELD(lens_event_row, n_detections, U32),
                                         FIELD(lens_event_row, first_detection, ONE),
                                         FIELD(lens_event_row, stored_detections, TWO),
                                         FIELD(lens_event_row, status, BOOL),
                                         FIELD(lens_event_row, reason, THREE),
                                         FIELD(lens_event_row, flags, U8),
                                         FIELD(lens_event_row, verdict, BOOL),
                                         FIELD(lens_event_row, verdict_rule, U32)};
static const struct field load[] = {FIELD(lens_load, pack, TEXT), FIELD(lens_load, name, TEXT)};
static const struct field pack_ref[] = {FIELD(lens_pack_ref, pack, TEXT)};
static const struct field tracing[] = {FIELD(lens_tracing, generation, U32), FIELD(lens_tracing, lenses, U32),
                                       FIELD(lens_tracing, bytes, U64), FIELD(lens_tracing, pack, TEXT)};
static const struct field done[] = {FIELD(lens_done, text, TEXT), FIELD(lens_done, generation, U32)};
static const struct field fault[] = {FIELD(lens_fault_answer, code, CODE), FIELD(lens_fault_answer, text, TEXT)};
static const struct field goodbye[] = {FIELD(lens_goodbye, session, U32), FIELD(lens_goodbye, text, TEXT)};
static const struct field status[] = {FIELD(lens_status, version, TEXT),      FIELD(lens_status, backend, TEXT),
                                      FIELD(lens_status, device, TEXT),       FIELD(lens_status, variant, TEXT),
                                      FIELD(lens_status, reason, TEXT),       FIELD(lens_status, pid, U64),
                                      FIELD(lens_status, uptime_ns, U64),     FIELD(lens_status, start_time_ns, U64),
                                      FIELD(lens_status, threads, U32),       FIELD(lens_status, packs, U32),
                                      FIELD(lens_status, sessions, U32),      FIELD(lens_status, rows, U64),
                                      FIELD(lens_status, dropped_rows, U64),  FIELD(lens_status, invalid_rows, U64),
                                      FIELD(lens_status, lenses_scored, U64), FIELD(lens_status, heap_bytes, U64),
                                      FIELD(lens_status, slab_bytes, U64),    FIELD(lens_status, slots, U32),
                                      FIELD(lens_status, resident, U32),      FIELD(lens_status, host_resident, U32),
                                      FIELD(lens_status, slot_hits, U64),     FIELD(lens_status, slot_misses, U64),
                                      FIELD(lens_status, load_bytes, U64),    FIELD(lens_status, degraded, TEXT),
                                      FIELD(lens_status, p50_ns, U64),        FIELD(lens_status, p99_ns, U64),
                                      FIELD(lens_status, evictions, U64),     FIELD(lens_status, prefetch_issued, U64),
                                      FIELD(lens_status, prefetch_used, U64), FIELD(lens_status, prefetch_wasted, U64),
                                      FIELD(lens_status, prefetch_late, U64), FIELD(lens_status, loads, U64),
                                      FIELD(lens_status, loads_behind, U64),  FIELD(lens_status, host_hits, U64),
                                      FIELD(lens_status, cold, U64),          FIELD(lens_status, host_bytes, U64),
                                      FIELD(lens_status, policy, TEXT),       FIELD(lens_status, loading, TEXT),
                                      FIELD(lens_status, loads_waited, U64),  FIELD(lens_status, degraded_rows, U64),
                                      FIELD(lens_status, memory, TEXT),       FIELD(lens_status, config, TEXT),
                                      FIELD(lens_status, metrics, TEXT),      FIELD(lens_status, queued, U64)};
static const struct field two_counts[] = {FIELD(lens_pack_page, first, U32), FIELD(lens_pack_page, total, U32)};
static const struct field pack_row[] = {FIELD(lens_pack_row, name, TEXT),
                                        FIELD(lens_pack_row, path, TEXT),
                                        FIELD(lens_pack_row, model_id, TEXT),
                                        FIELD(lens_pack_row, tap_layer, TEXT),
                                        FIELD(lens_pack_row, tap_point, TEXT),
                                        FIELD(lens_pack_row, dtype, TEXT),
                                        FIELD(lens_pack_row, slab_dtype, TEXT),
                                        FIELD(lens_pack_row, compute, TEXT),
                                        FIELD(lens_pack_row, lenses, U32),
                                        FIELD(lens_pack_row, dim, U32),
                                        FIELD(lens_pack_row, h1, U32),
                                        FIELD(lens_pack_row, h2, U32),
                                        FIELD(lens_pack_row, generation, U32),
                                        FIELD(lens_pack_row, sessions, U32),
                                        FIELD(lens_pack_row, slots, U32),
                                        FIELD(lens_pack_row, resident, U32),
                                        FIELD(lens_pack_row, file_bytes, U64),
                                        FIELD(lens_pack_row, policy, TEXT),
                                        FIELD(lens_pack_row, lens_bytes, U64),
                                        FIELD(lens_pack_row, slot_bytes, U64),
                                        FIELD(lens_pack_row, host_resident, U32),
                                        FIELD(lens_pack_row, host_slots, U32),
                                        FIELD(lens_pack_row, pinned, U32),
                                        FIELD(lens_pack_row, pins, TEXT)};
static const struct field pin[] = {FIELD(lens_pin, pack, TEXT), FIELD(lens_pin, concept, TEXT),
                                   FIELD(lens_pin, alone, BOOL)};
static const struct field readings[] = {FIELD(lens_readings, pack, TEXT), FIELD(lens_readings, concept, TEXT),
                                        FIELD(lens_readings, first, U32)};
static const struct field reading_page[] = {
    FIELD(lens_reading_page, pack, TEXT), FIELD(lens_reading_page, generation, U32),
    FIELD(lens_reading_page, branch, U32), FIELD(lens_reading_page, lenses, U32), FIELD(lens_reading_page, next, U32)};
static const struct field reading_row[] = {
    FIELD(lens_reading_row, id, U32),          FIELD(lens_reading_row, parent, I32),
    FIELD(lens_reading_row, layer, U8),        FIELD(lens_reading_row, resident, BOOL),
    FIELD(lens_reading_row, pinned, BOOL),     FIELD(lens_reading_row, key, TEXT),
    FIELD(lens_reading_row, last_logit, UNIT), FIELD(lens_reading_row, peak_logit, UNIT),
    FIELD(lens_reading_row, age_ns, U64),      FIELD(lens_reading_row, rows, U64),
    FIELD(lens_reading_row, hits, U64)};
static const struct field concept_page[] = {FIELD(lens_concept_page, generation, U32),
                                            FIELD(lens_concept_page, next, U32)};
static const struct field concept_row[] = {
    FIELD(lens_concept_row, id, U32),        FIELD(lens_concept_row, parent, I32),
    FIELD(lens_concept_row, children, U32),  FIELD(lens_concept_row, layer, U8),
    FIELD(lens_concept_row, role, THREE),    FIELD(lens_concept_row, calibrated, BOOL),
    FIELD(lens_concept_row, resident, BOOL), FIELD(lens_concept_row, name, TEXT)};
static const struct field session_row[] = {
    FIELD(lens_session_row, session, U32),      FIELD(lens_session_row, pid, U32),
    FIELD(lens_session_row, uid, U32),          FIELD(lens_session_row, sequences, U32),
    FIELD(lens_session_row, label, TEXT),       FIELD(lens_session_row, pack, TEXT),
    FIELD(lens_session_row, rows, U64),         FIELD(lens_session_row, dropped, U64),
    FIELD(lens_session_row, memory_bytes, U64), FIELD(lens_session_row, p50_ns, U64),
    FIELD(lens_session_row, p99_ns, U64),       FIELD(lens_session_row, age_ns, U64)};
static const struct field setting_row[] = {
    FIELD(lens_setting_row, name, TEXT),      FIELD(lens_setting_row, value, TEXT),
    FIELD(lens_setting_row, origin, TEXT),    FIELD(lens_setting_row, help, TEXT),
    FIELD(lens_setting_row, live, BOOL),      FIELD(lens_setting_row, place, TEXT),
    FIELD(lens_setting_row, fallback, TEXT),  FIELD(lens_setting_row, applies, TEXT),
    FIELD(lens_setting_row, pending, TEXT),   FIELD(lens_setting_row, waits, BOOL),
    FIELD(lens_setting_row, older_packs, U32)};
static const struct field rule_reading_row[] = {
    FIELD(lens_rule_reading_row, id, U32),         FIELD(lens_rule_reading_row, name, TEXT),
    FIELD(lens_rule_reading_row, action, BOOL),    FIELD(lens_rule_reading_row, raised, BOOL),
    FIELD(lens_rule_reading_row, reading, UNIT),   FIELD(lens_rule_reading_row, smoothed, UNIT),
    FIELD(lens_rule_reading_row, deviation, UNIT), FIELD(lens_rule_reading_row, trend, UNIT)};
static const struct field rule_row[] = {FIELD(lens_rule_row, id, U32), FIELD(lens_rule_row, name, TEXT),
                                        FIELD(lens_rule_row, text, TEXT), FIELD(lens_rule_row, action, BOOL),
                                        FIELD(lens_rule_row, raised, U64)};
static const struct field explanation[] = {FIELD(lens_explanation, id, U32),
                                           FIELD(lens_explanation, generation, U32),
                                           FIELD(lens_explanation, key, TEXT),
                                           FIELD(lens_explanation, layer, U8),
                                           FIELD(lens_explanation, role, THREE),
                                           FIELD(lens_explanation, calibrated, BOOL),
                                           FIELD(lens_explanation, resident, BOOL),
                                           ARRAY(lens_explanation, calibration, UNIT, 7),
                                           ARRAY(lens_explanation, path, U32, LENS_PATH_DEPTH),
                                           ARRAY(lens_explanation, path_keys, TEXT, LENS_PATH_DEPTH),
                                           FIELD(lens_explanation, n_children, U32),
                                           ARRAY(lens_explanation, children, U32, LENS_PAGE_ROWS),
                                           ARRAY(lens_explanation, child_keys, TEXT, LENS_PAGE_ROWS),
                                           FIELD(lens_explanation, content, TEXT)};
static const struct field statistics_are[] = {
    FIELD(lens_statistics, rows, U64),
    FIELD(lens_statistics, dropped_rows, U64),
    FIELD(lens_statistics, invalid_rows, U64),
    FIELD(lens_statistics, partial_rows, U64),
    FIELD(lens_statistics, capped_rows, U64),
    FIELD(lens_statistics, degraded_rows, U64),
    FIELD(lens_statistics, lenses_scored, U64),
    FIELD(lens_statistics, lenses_expanded, U64),
    FIELD(lens_statistics, lenses_loaded, U64),
    FIELD(lens_statistics, slot_hits, U64),
    FIELD(lens_statistics, host_hits, U64),
    FIELD(lens_statistics, cold, U64),
    FIELD(lens_statistics, batches, U64),
    FIELD(lens_statistics, batch_rows, U64),
    ARRAY(lens_statistics, stages, U64, LENS_STAGES * sizeof(struct lens_stage_row) / sizeof(uint64_t)),
    ARRAY(lens_statistics, sums, U64, LENS_STAGES)}; /* stands first in the answer */
static const struct field bucket[] = {FIELD(lens_bucket, index, U32), FIELD(lens_bucket, count, U32)};

#define SHAPE(type, fields)                                                                                            \
    {                                                                                                                  \
        type, fields, COUNT_OF(fields), NULL, 0, 0, 0, 0                                                               \
    }
#define PAGED(type, fields, row, page_type)                                                                            \
    {                                                                                                                  \
        type, fields, COUNT_OF(fields), row, COUNT_OF(row), sizeof(((struct page_type *)0)->rows[0]),                  \
            offsetof(struct page_type, rows), offsetof(struct page_type, count)                                        \
    }

const struct shape shapes[] = {SHAPE(LENS_MSG_HELLO, hello),
                               SHAPE(LENS_MSG_ATTACH, attach),
                               SHAPE(LENS_MSG_DETACH, session_ref),
                               SHAPE(LENS_MSG_END_SEQUENCE, end_sequence),
                               {LENS_MSG_STATUS, NULL, 0, NULL, 0, 0, 0, 0},
                               SHAPE(LENS_MSG_PACKS, page),
                               SHAPE(LENS_MSG_CONCEPTS, concepts),
                               SHAPE(LENS_MSG_EXPLAIN, explain),
                               SHAPE(LENS_MSG_STATISTICS, statistics),
                               SHAPE(LENS_MSG_SESSIONS, page),
                               SHAPE(LENS_MSG_CONFIG, page),
                               SHAPE(LENS_MSG_EVENTS, events),
                               SHAPE(LENS_MSG_LOAD, load),
                               SHAPE(LENS_MSG_SWAP, load),
                               SHAPE(LENS_MSG_UNLOAD, load),
                               {LENS_MSG_SHUTDOWN, NULL, 0, NULL, 0, 0, 0, 0},
                               SHAPE(LENS_MSG_TRACE, pack_ref),
                               SHAPE(LENS_MSG_PRELOAD, pack_ref),
                               SHAPE(LENS_MSG_RULES, page),
                               SHAPE(LENS_MSG_PIN, pin),
                               SHAPE(LENS_MSG_UNPIN, pin),
                               SHAPE(LENS_MSG_READINGS, readings),
                               SHAPE(LENS_MSG_RULE_READINGS, end_sequence),
                               SHAPE(LENS_MSG_HELLO_OK, hello_ok),
                               SHAPE(LENS_MSG_ATTACHED, attached),
                               SHAPE(LENS_MSG_DONE, done),
                               SHAPE(LENS_MSG_STATUS_IS, status),
                               PAGED(LENS_MSG_PACK_PAGE, two_counts, pack_row, lens_pack_page),
                               PAGED(LENS_MSG_CONCEPT_PAGE, concept_page, concept_row, lens_concept_page),
                               SHAPE(LENS_MSG_EXPLANATION, explanation),
                               {LENS_MSG_STATISTICS_ARE, statistics_are, COUNT_OF(statistics_are), bucket,
                                COUNT_OF(bucket), sizeof(struct lens_bucket),
                                offsetof(struct lens_statistics_answer, buckets),
                                offsetof(struct lens_statistics_answer, n_buckets)},
                               PAGED(LENS_MSG_SESSION_PAGE, two_counts, session_row, lens_session_page),
                               PAGED(LENS_MSG_SETTING_PAGE, two_counts, setting_row, lens_setting_page),
                               SHAPE(LENS_MSG_ERROR, fault),
                               PAGED(LENS_MSG_EVENT_PAGE, event_page, event_row, lens_event_page),
                               SHAPE(LENS_MSG_TRACING, tracing),
                               PAGED(LENS_MSG_RULE_PAGE, two_counts, rule_row, lens_rule_page),
                               PAGED(LENS_MSG_READING_PAGE, reading_page, reading_row, lens_reading_page),
                               {LENS_MSG_RULE_READING_PAGE, NULL, 0, rule_reading_row, COUNT_OF(rule_reading_row),
                                sizeof(struct lens_rule_reading_row), offsetof(struct lens_rule_reading_page, rows),
                                offsetof(struct lens_rule_reading_page, count)},
                               SHAPE(LENS_MSG_RESULTS_READY, session_ref),
                               SHAPE(LENS_MSG_GOODBYE, goodbye)};
const size_t n_shapes = COUNT_OF(shapes);

static char texts[8192][16];

bool is_text(enum kind kind)
{
    return kind == TEXT || kind == PATTERN;
}

static size_t size_of(enum kind kind)
{
    switch (kind) {
    case TEXT:
    case PATTERN:
        return sizeof(struct lens_text);
    case U8:
    case BOOL:
    case THREE:
        return 1;
    case U64:
        return 8;
    default:
        return 4;
    }
}

/* hello_ok.role is a byte, the options' enums are ints; both hold ONE. */
size_t width_of(const struct shape *shape, const struct field *f)
{
    if (f->kind == ONE && shape->type == LENS_MSG_HELLO_OK)
        return 1;
    return size_of(f->kind);
}

void fill_value(unsigned char *at, const struct shape *shape, const struct field *f, uint32_t n)
{
    static const uint32_t limits[] = {[ONE] = 1, [TWO] = 2, [THREE] = 3, [BOOL] = 1};
    uint64_t value = n + 0x100;
    float unit = 1.0f / (float)(n + 2);
    struct lens_text text = {texts[n % COUNT_OF(texts)], 0};
    switch (f->kind) {
    case TEXT:
    case PATTERN:
        text.length = (uint32_t)snprintf(texts[n % COUNT_OF(texts)], sizeof texts[0], "t\xc3\xa9xt-%u", n);
        memcpy(at, &text, sizeof text);
        return;
    case UNIT:
        memcpy(at, &unit, sizeof unit);
        return;
    case U64:
        value = (uint64_t)n << 33 | 0x1234567u;
        break;
    case I32:
        value = (uint32_t) - (int32_t)(n + 1);
        break;
    case CODE:
        value = 1 + n % 13;
        break;
    case TOP_K:
        value = 1 + n % 256;
        break;
    case DEPTH:
        value = n % 65;
        break;
    case ONE:
    case TWO:
    case THREE:
    case BOOL:
        value = n % (limits[f->kind] + 1);
        break;
    case U8:
    case U32:
    case KEEP:
        break;
    }
    memcpy(at, &value, width_of(shape, f));
}

static uint32_t visit_fields(unsigned char *base, const struct shape *shape, const struct field *fields,
                             size_t n_fields, uint32_t n, visitor *visit, void *context)
{
    for (size_t i = 0; i < n_fields; i++) {
        for (uint32_t k = 0; k < fields[i].count; k++)
            visit(base + fields[i].offset + k * width_of(shape, &fields[i]), shape, &fields[i], n++, context);
    }
    return n;
}

uint32_t visit_message(struct lens_msg *msg, const struct shape *shape, uint32_t rows, visitor *visit, void *context)
{
    unsigned char *body = (unsigned char *)&msg->u;
    uint32_t n = visit_fields(body, shape, shape->fields, shape->n_fields, 1, visit, context);
    for (uint32_t r = 0; r < rows && shape->row != NULL; r++)
        n = visit_fields(body + shape->rows_offset + r * shape->row_size, shape, shape->row, shape->n_row, n, visit,
                         context);
    return n;
}

static void fill(unsigned char *at, const struct shape *shape, const struct field *f, uint32_t n, void *context)
{
    const uint32_t *salt = context;
    fill_value(at, shape, f, n + *salt);
}

void fill_message(struct lens_msg *msg, const struct shape *shape, uint32_t rows, uint32_t salt)
{
    memset(msg, 0xa5, sizeof *msg); /* poison: nothing may depend on what a message doesn't set */
    msg->type = shape->type;
    msg->request_id = 0xfeedfacecafef00dull;
    visit_message(msg, shape, rows, fill, &salt);
    if (shape->row != NULL)
        memcpy((unsigned char *)&msg->u + shape->count_offset, &rows, sizeof rows);
    if (shape->type == LENS_MSG_ATTACH) {
        msg->u.attach.options_set = LENS_OPT_ALL;
        msg->u.attach.n_pinned = LENS_MAX_PINNED;
        msg->u.attach.n_include = msg->u.attach.n_exclude = msg->u.attach.n_filter = N_PATTERNS;
    }
    if (shape->type == LENS_MSG_EVENT_PAGE) {
        msg->u.event_page.n_detections = LENS_EVENT_DETECTIONS;
        msg->u.event_page.n_concepts = 0; /* codec_test has one for them */
    }
    if (shape->type == LENS_MSG_EXPLANATION) {
        msg->u.explanation.n_path = LENS_PATH_DEPTH;
        msg->u.explanation.count = LENS_PAGE_ROWS;
    }
}

int message_decode_exact(const unsigned char *bytes, size_t length, size_t limit, struct lens_msg *out,
                         struct lens_error *err)
{
    static unsigned char *kept; /* texts of `out` point into it */
    free(kept);
    kept = malloc(length > 0 ? length : 1);
    assert_non_null(kept);
    memcpy(kept, bytes, length);
    memset(out, 0x5a, sizeof *out);
    return lens_msg_decode(kept, length, limit, out, err);
}
