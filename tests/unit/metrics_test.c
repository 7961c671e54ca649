/* The text of /metrics: exactly what a snapshot says, whatever is in a name. */
#include "daemon/exposition.h"
#include "daemon/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static char *text;
static size_t length;
static FILE *out;

static int open_text(void **state)
{
    (void)state;
    out = open_memstream(&text, &length);
    return out == NULL;
}

static int free_text(void **state)
{
    (void)state;
    if (out != NULL)
        fclose(out);
    out = NULL;
    free(text);
    text = NULL;
    return 0;
}

static const char *written(void)
{
    fclose(out);
    out = NULL;
    return text;
}

static void assert_has(const char *line)
{
    size_t n = strlen(line);
    for (const char *at = text; (at = strstr(at, line)) != NULL; at++)
        if ((at == text || at[-1] == '\n') && at[n] == '\n')
            return;
    fail_msg("no line \"%s\" in\n%s", line, text);
}

static void assert_value(const char *value, const char *expected)
{
    char line[512];
    lensd_exposition_count(out, "m", (const struct lensd_label[]){{"l", value}}, 1, 1);
    snprintf(line, sizeof line, "m{l=\"%s\"} 1\n", expected);
    assert_string_equal(written(), line);
    free(text);
    out = open_memstream(&text, &length);
}

static void labels_are_escaped(void **state)
{
    (void)state;
    assert_value("", "");
    assert_value("plain.Name:1", "plain.Name:1");
    assert_value("a\"b\\c\nd", "a\\\"b\\\\c\\nd");
    assert_value("} 1\nevil 2", "} 1\\nevil 2");
    assert_value("\x01\x1f\x7f\t", "\\\\x01\\\\x1f\\\\x7f\\\\x09");
}

static void utf8_stays_and_what_is_none_is_written_out(void **state)
{
    (void)state;
    assert_value("Über\xe2\x82\xac\xf0\x9f\x94\x8d", "Über\xe2\x82\xac\xf0\x9f\x94\x8d");
    assert_value("\xff\xfe", "\\\\xff\\\\xfe");
    assert_value("\xc0\xaf", "\\\\xc0\\\\xaf");                       /* overlong */
    assert_value("\xe0\x80\xaf", "\\\\xe0\\\\x80\\\\xaf");            /* overlong */
    assert_value("\xed\xa0\x80", "\\\\xed\\\\xa0\\\\x80");            /* a surrogate */
    assert_value("\xf4\x90\x80\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80"); /* beyond U+10FFFF */
    assert_value("ab\xe2\x82", "ab\\\\xe2\\\\x82");                   /* cut off */
    assert_value("\xc3(\xf0\x9f\x94z", "\\\\xc3(\\\\xf0\\\\x9f\\\\x94z");
}

static void samples_are_written_as_prometheus_reads_them(void **state)
{
    (void)state;
    const struct lensd_label labels[] = {{"a", "x"}, {"b", "y"}};
    lensd_exposition_family(out, "m_total", "counter", "What it is.");
    lensd_exposition_count(out, "m_total", labels, 2, UINT64_MAX);
    lensd_exposition_value(out, "m", NULL, 0, 0.1);
    lensd_exposition_value(out, "m", NULL, 0, 1796077715.56571);
    lensd_exposition_value(out, "m", NULL, 0, (double)NAN);
    lensd_exposition_value(out, "m", NULL, 0, (double)INFINITY);
    lensd_exposition_value(out, "m", NULL, 0, -(double)INFINITY);
    assert_string_equal(written(), "# HELP m_total What it is.\n# TYPE m_total counter\n"
                                   "m_total{a=\"x\",b=\"y\"} 18446744073709551615\n"
                                   "m 0.1\nm 1796077715.56571\nm NaN\nm +Inf\nm -Inf\n");
}

static void histograms_end_with_everything(void **state)
{
    (void)state;
    static const double bounds[] = {1e-05, 0.25};
    static const uint64_t counts[] = {1, 4, 9};
    lensd_exposition_histogram(out, "h", &(struct lensd_label){"stage", "base"}, bounds, counts, 2, 1.5);
    lensd_exposition_histogram(out, "g", NULL, bounds, counts, 2, 3);
    assert_string_equal(written(), "h_bucket{stage=\"base\",le=\"1e-05\"} 1\nh_bucket{stage=\"base\",le=\"0.25\"} 4\n"
                                   "h_bucket{stage=\"base\",le=\"+Inf\"} 9\nh_sum{stage=\"base\"} 1.5\n"
                                   "h_count{stage=\"base\"} 9\n"
                                   "g_bucket{le=\"1e-05\"} 1\ng_bucket{le=\"0.25\"} 4\ng_bucket{le=\"+Inf\"} 9\n"
                                   "g_sum 3\ng_count 9\n");
}

static const struct lensd_process_metrics process = {.start_time_s = 1e9,
                                                     .cpu_s = 1.25,
                                                     .resident_bytes = 4096,
                                                     .virtual_bytes = -1,
                                                     .open_fds = 7,
                                                     .max_fds = 1024,
                                                     .heap_allocated = -1,
                                                     .heap_active = -1,
                                                     .heap_metadata = -1,
                                                     .heap_resident = -1,
                                                     .heap_mapped = -1,
                                                     .heap_retained = -1};

static void without_a_loop_the_process_speaks_for_itself(void **state)
{
    (void)state;
    lensd_metrics_render(NULL, &process, out);
    written();
    assert_has("lensd_ready 0");
    assert_has("process_cpu_seconds_total 1.25");
    assert_has("process_start_time_seconds 1000000000");
    assert_has("process_open_fds 7");
    assert_null(strstr(text, "process_virtual_memory_bytes"));
    assert_null(strstr(text, "lensd_heap_bytes"));
    assert_null(strstr(text, "lensd_rows_total"));
}

static struct lensd_metrics *snapshot(void)
{
    struct lensd_metrics *m = calloc(1, sizeof *m);
    strcpy(m->backend, "cpu");
    strcpy(m->variant, "avx2");
    strcpy(m->device, "A \"processor\"");
    m->ready = true;
    m->rows = 100;
    m->complete_rows = 90;
    m->partial_rows = 7;
    m->invalid_rows = 3;
    m->dropped_rows = 11;
    m->abandoned_rows = 13;
    m->reasons[LENS_REASON_NOT_FINITE] = 3;
    m->slot_hits = 1000;
    m->host_hits = 20;
    m->cold = 5;
    m->pool = (struct lensd_pool_counters){.host_hits = 21, .cold = 6, .prefetch_late = 2, .prefetch_wasted = 4};
    m->prefetch_in_time = 8;
    m->batch_rows = 100;
    m->batch_sizes[0] = 10;
    m->batch_sizes[2] = 5;
    m->batch_sizes[12] = 1;
    m->stage_counts[0][0] = 4;
    for (uint32_t i = 1; i <= LENSD_STAGE_BOUNDS; i++)
        m->stage_counts[0][i] = 6;
    m->stage_sums_ns[0] = 1500000000;
    m->engine_busy_ns = 250000000;
    m->steps[LENSD_STEP_BASE_ONLY] = true;
    m->reload_ok = true;
    m->reload_time_s = 5;
    m->slab_bytes = 4096;
    return m;
}

static void a_snapshot_is_told_in_full(void **state)
{
    (void)state;
    struct lensd_metrics *m = snapshot();
    lensd_metrics_render(m, &process, out);
    free(m);
    written();
    assert_has("lensd_build_info{version=\"" LENSD_VERSION "\",backend=\"cpu\",variant=\"avx2\"} 1");
    assert_has("lensd_ready 1");
    assert_has("lensd_rows_total 100");
    assert_has("lensd_rows_by_status_total{status=\"complete\"} 90");
    assert_has("lensd_rows_by_status_total{status=\"partial\"} 7");
    assert_has("lensd_rows_by_status_total{status=\"invalid_input\"} 3");
    assert_has("lensd_dropped_rows_total{reason=\"ring_full\"} 11");
    assert_has("lensd_dropped_rows_total{reason=\"session_ended\"} 13");
    assert_has("lensd_unscored_rows_total{reason=\"not_finite\"} 3");
    assert_has("lensd_unscored_rows_total{reason=\"engine_failure\"} 0");
    assert_has("lensd_cache_requests_total{tier=\"slot\",outcome=\"hit\"} 1000");
    assert_has("lensd_cache_requests_total{tier=\"slot\",outcome=\"miss\"} 25");
    assert_has("lensd_cache_requests_total{tier=\"host\",outcome=\"miss\"} 5");
    assert_has("lensd_loads_total{source=\"host\"} 21");
    assert_has("lensd_prefetch_total{outcome=\"used\"} 8");
    assert_has("lensd_row_duration_seconds_bucket{stage=\"queue\",le=\"1e-05\"} 4");
    assert_has("lensd_row_duration_seconds_bucket{stage=\"queue\",le=\"0.1\"} 6");
    assert_has("lensd_row_duration_seconds_sum{stage=\"queue\"} 1.5");
    assert_has("lensd_row_duration_seconds_count{stage=\"total\"} 0");
    assert_has("lensd_batch_rows_bucket{le=\"1\"} 10");
    assert_has("lensd_batch_rows_bucket{le=\"2\"} 10");
    assert_has("lensd_batch_rows_bucket{le=\"4\"} 15");
    assert_has("lensd_batch_rows_bucket{le=\"4096\"} 16");
    assert_has("lensd_batch_rows_sum 100");
    assert_has("lensd_engine_busy_seconds_total 0.25");
    assert_has("lensd_degraded{reason=\"base_only\"} 1");
    assert_has("lensd_degraded{reason=\"card_lost\"} 0");
    assert_has("lensd_device_memory_bytes{device=\"A \\\"processor\\\"\"} 4096");
    assert_null(strstr(text, "lensd_device_memory_free_bytes"));
}

static void packs_and_watched_concepts_have_labels(void **state)
{
    (void)state;
    struct lensd_metrics *m = snapshot();
    m->n_packs = 2;
    m->packs[0] =
        (struct lensd_metrics_pack){.name = "one", .model = "m", .slots = 5, .resident = 4, .watched = {3, -1}};
    m->packs[0].routing = (struct lensd_routing){.rows = 12.5, .entropy_bits = 1.5, .top_share = 0.5};
    m->packs[0].detections[0] = 42;
    m->packs[1] = (struct lensd_metrics_pack){.name = "two\"", .watched = {-1, 0}};
    m->watch.n = 2;
    strcpy(m->watch.names[0], "Dog:5");
    strcpy(m->watch.names[1], "Cat:5");
    lensd_metrics_render(m, &process, out);
    free(m);
    written();
    assert_has("lensd_pack_info{pack=\"one\",model=\"m\",dtype=\"\",slot_dtype=\"\",policy=\"\"} 1");
    assert_has("lensd_pack_slots{pack=\"one\"} 5");
    assert_has("lensd_lenses_resident{tier=\"slot\"} 4");
    assert_has("lensd_routing_rows{pack=\"one\"} 12.5");
    assert_has("lensd_routing_entropy{pack=\"one\"} 1.5");
    assert_has("lensd_routing_top_share{pack=\"one\"} 0.5");
    assert_has("lensd_routing_rows{pack=\"two\\\"\"} 0");
    assert_has("lensd_routing_entropy{pack=\"two\\\"\"} NaN");
    assert_has("lensd_concept_detections_total{pack=\"one\",concept=\"Dog:5\"} 42");
    assert_has("lensd_concept_detections_total{pack=\"two\\\"\",concept=\"Cat:5\"} 0");
    assert_null(strstr(text, "concept_detections_total{pack=\"one\",concept=\"Cat:5\""));
}

#define T(name) cmocka_unit_test_setup_teardown(name, open_text, free_text)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(labels_are_escaped),
        T(utf8_stays_and_what_is_none_is_written_out),
        T(samples_are_written_as_prometheus_reads_them),
        T(histograms_end_with_everything),
        T(without_a_loop_the_process_speaks_for_itself),
        T(a_snapshot_is_told_in_full),
        T(packs_and_watched_concepts_have_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
