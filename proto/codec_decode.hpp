// From a verified FlatBuffers table to the C struct of codec.h, with every value checked. Part of codec.cc.
//
// FlatBuffers' own verification keeps reads inside the packet; it accepts any value, unknown enums and strings that
// aren't UTF-8. What a value may be is decided here, and nowhere later.
#ifndef LENS_CODEC_DECODE_HPP
#define LENS_CODEC_DECODE_HPP

#include "proto/codec_text.hpp"
#include "proto/codec_wire.hpp"

#include <cerrno>
#include <cstring>

// Collects the first thing that is wrong; later reads go on harmlessly.
struct Reader {
    size_t text_budget; // bytes of text one packet may yield: shared strings can't multiply the work
    lens_error *err;
    int code = 0;

    void fail(const char *what)
    {
        if (code == 0)
            code = lens_error_set(err, -EBADMSG, "%s", what);
    }

    lens_text text(const flat::String *s, const char *name)
    {
        if (s == nullptr)
            return lens_text{"", 0};
        if (s->size() > text_budget) {
            fail("the message's texts are longer than the message");
            return lens_text{"", 0};
        }
        text_budget -= s->size();
        if (!text_is_valid(s->c_str(), s->size()) && code == 0)
            code = lens_error_set(err, -EBADMSG, "%s must be UTF-8 text without NUL bytes", name);
        return lens_text{s->c_str(), s->size()};
    }

    template <typename E> uint8_t value(E e, const char *name)
    {
        if (static_cast<unsigned>(e) <= static_cast<unsigned>(E::MAX))
            return static_cast<uint8_t>(e);
        if (code == 0)
            code = lens_error_set(err, -EBADMSG, "%s must be at most %u, found %u", name, static_cast<unsigned>(E::MAX),
                                  static_cast<unsigned>(e));
        return 0;
    }

    template <typename V> uint32_t count(const V *vector, uint32_t limit, const char *name)
    {
        uint32_t n = vector == nullptr ? 0 : vector->size();
        if (n <= limit)
            return n;
        if (code == 0)
            code = lens_error_set(err, -EBADMSG, "%s may have %u entries, found %u", name, limit, n);
        return 0;
    }
};

// Options that aren't in `set` come out as lens_options_default has them, whatever the packet says.
static void read_options(Reader &r, const fbs::CascadeOptions *t, uint32_t set, lens_cascade_options &out)
{
    lens_options_default(&out);
    if (t == nullptr)
        return;
    lens_cascade_options o = out;
    o.base_layers = t->base_layers();
    o.expand = static_cast<lens_expand>(r.value(t->expand(), "expand"));
    o.report = static_cast<lens_report>(r.value(t->report(), "report"));
    o.rank = static_cast<lens_rank>(r.value(t->rank(), "rank"));
    o.uncalibrated = static_cast<lens_uncalibrated>(r.value(t->uncalibrated(), "uncalibrated"));
    o.miss = static_cast<lens_miss>(r.value(t->miss(), "miss"));
    o.load_threshold = t->load_threshold();
    o.unload_threshold = t->unload_threshold();
    o.suppress_at = t->suppress_at();
    o.suppress_parents = t->suppress_parents();
    o.top_k = t->top_k();
    o.keep_top_k = t->keep_top_k();
    o.max_depth = t->max_depth();
    o.max_scored = t->max_scored();
    lens_options_overlay(&out, &o, set);
    if (r.code == 0 && lens_options_check(&out, r.err) != 0)
        r.code = -EBADMSG;
}

static void read(Reader &r, const fbs::Hello &t, lens_hello &o)
{
    o.protocol_version = t.protocol_version();
    o.client_name = r.text(t.client_name(), "client_name");
}

static void read(Reader &r, const fbs::HelloOk &t, lens_hello_ok &o)
{
    o.protocol_version = t.protocol_version();
    o.daemon_version = r.text(t.daemon_version(), "daemon_version");
    o.role = r.value(t.role(), "role");
    o.daemon_pid = t.daemon_pid();
    o.start_time_ns = t.start_time_ns();
}

// Patterns, each of 1 to LENS_PATTERN_MAX bytes.
template <typename V> static uint32_t read_patterns(Reader &r, const V *patterns, lens_text *out, const char *name)
{
    uint32_t n = r.count(patterns, LENS_MAX_PATTERNS, name);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = r.text(patterns->Get(i), name);
        if ((out[i].length == 0 || out[i].length > LENS_PATTERN_MAX) && r.code == 0)
            r.code = lens_error_set(r.err, -EBADMSG, "%s: a pattern has 1 to %u bytes, found %u", name,
                                    LENS_PATTERN_MAX, out[i].length);
    }
    return n;
}

static void read(Reader &r, const fbs::Attach &t, lens_attach &o)
{
    o.pack = r.text(t.pack(), "pack");
    o.label = r.text(t.label(), "label");
    o.max_rows = t.max_rows();
    o.submit_slots = t.submit_slots();
    o.result_slots = t.result_slots();
    o.expanded_capacity = t.expanded_capacity();
    o.max_sequences = t.max_sequences();
    o.options_set = static_cast<uint32_t>(t.options_set());
    if ((o.options_set & ~static_cast<uint32_t>(LENS_OPT_ALL)) != 0)
        r.fail("options_set names an unknown option");
    read_options(r, t.options(), o.options_set, o.options);
    o.n_pinned = r.count(t.pinned(), LENS_MAX_PINNED, "pinned");
    for (uint32_t i = 0; i < o.n_pinned; i++)
        o.pinned[i] = t.pinned()->Get(i);
    o.n_include = read_patterns(r, t.include(), o.include, "include");
    o.n_exclude = read_patterns(r, t.exclude(), o.exclude, "exclude");
    o.n_filter = read_patterns(r, t.filter(), o.filter, "filter");
}

static void read(Reader &r, const fbs::Attached &t, lens_attached &o)
{
    const fbs::RingLayout &l = *t.layout();
    o.session = t.session();
    o.generation = t.generation();
    o.lenses = t.lenses();
    o.layout.dim = l.dim();
    o.layout.max_rows = l.max_rows();
    o.layout.top_k = l.top_k();
    o.layout.expanded_capacity = l.expanded_capacity();
    o.layout.submit_slots = l.submit_slots();
    o.layout.result_slots = l.result_slots();
    o.layout.result_stride = l.result_stride();
    o.layout.payload_bytes = l.payload_bytes();
    o.layout.submit_offset = l.submit_offset();
    o.layout.result_offset = l.result_offset();
    o.layout.payload_offset = l.payload_offset();
    o.layout.total_bytes = l.total_bytes();
    read_options(r, t.options(), LENS_OPT_ALL, o.options);
    o.pack = r.text(t.pack(), "pack");
    o.model_id = r.text(t.model_id(), "model_id");
    o.tap_layer = r.text(t.tap_layer(), "tap_layer");
    o.tap_point = r.text(t.tap_point(), "tap_point");
}

// Detach, ResultsReady.
template <typename T> static void read(Reader &, const T &t, lens_session_ref &o)
{
    o.session = t.session();
}

// EndSequence, RuleReadings.
template <typename T> static void read(Reader &, const T &t, lens_end_sequence &o)
{
    o.session = t.session();
    o.sequence = t.sequence();
}

// Packs, Sessions, Config, Rules.
template <typename T> static void read(Reader &, const T &t, lens_page &o)
{
    o.first = t.first();
}

static void read(Reader &r, const fbs::Concepts &t, lens_concepts &o)
{
    o.pack = r.text(t.pack(), "pack");
    o.glob = r.text(t.glob(), "glob");
    o.first = t.first();
}

static void read(Reader &r, const fbs::Explain &t, lens_explain &o)
{
    o.pack = r.text(t.pack(), "pack");
    o.concept = r.text(t.concept_(), "concept");
}

static void read(Reader &, const fbs::Statistics &t, lens_statistics_query &o)
{
    o.session = t.session();
    o.buckets = t.buckets();
}

static void read(Reader &r, const fbs::Events &t, lens_events &o)
{
    o.session = t.session();
    o.glob = r.text(t.glob(), "glob");
    o.min_score = t.min_score();
    o.from = t.from();
    o.only_hits = t.only_hits();
    if (!(o.min_score >= 0.0f && o.min_score <= 1.0f))
        r.fail("min_score must be between 0 and 1");
}

// Load, Swap, Unload.
template <typename T> static void read(Reader &r, const T &t, lens_load &o)
{
    o.pack = r.text(t.pack(), "pack");
    o.name = r.text(t.name(), "name");
}

// Trace, Preload.
template <typename T> static void read(Reader &r, const T &t, lens_pack_ref &o)
{
    o.pack = r.text(t.pack(), "pack");
}

// Pin, Unpin.
template <typename T> static void read(Reader &r, const T &t, lens_pin &o)
{
    o.pack = r.text(t.pack(), "pack");
    o.concept = r.text(t.concept_(), "concept");
    o.alone = t.alone();
}

static void read(Reader &r, const fbs::Readings &t, lens_readings &o)
{
    o.pack = r.text(t.pack(), "pack");
    o.concept = r.text(t.concept_(), "concept");
    o.first = t.first();
}

static void read(Reader &r, const fbs::Tracing &t, lens_tracing &o)
{
    o.generation = t.generation();
    o.lenses = t.lenses();
    o.bytes = t.bytes();
    o.pack = r.text(t.pack(), "pack");
}

static void read(Reader &r, const fbs::Done &t, lens_done &o)
{
    o.text = r.text(t.text(), "text");
    o.generation = t.generation();
}

static void read(Reader &r, const fbs::Error &t, lens_fault_answer &o)
{
    o.code = r.value(t.code(), "error code");
    if (o.code == 0)
        r.fail("error code must not be 0");
    o.text = r.text(t.text(), "text");
}

static void read(Reader &r, const fbs::Goodbye &t, lens_goodbye &o)
{
    o.session = t.session();
    o.text = r.text(t.text(), "text");
}

static void read(Reader &r, const fbs::StatusIs &t, lens_status &o)
{
    o.version = r.text(t.version(), "version");
    o.backend = r.text(t.backend(), "backend");
    o.device = r.text(t.device(), "device");
    o.variant = r.text(t.variant(), "variant");
    o.reason = r.text(t.reason(), "reason");
    o.pid = t.pid();
    o.uptime_ns = t.uptime_ns();
    o.start_time_ns = t.start_time_ns();
    o.threads = t.threads();
    o.packs = t.packs();
    o.sessions = t.sessions();
    o.rows = t.rows();
    o.dropped_rows = t.dropped_rows();
    o.invalid_rows = t.invalid_rows();
    o.lenses_scored = t.lenses_scored();
    o.heap_bytes = t.heap_bytes();
    o.slab_bytes = t.slab_bytes();
    o.slots = t.slots();
    o.resident = t.resident();
    o.host_resident = t.host_resident();
    o.slot_hits = t.slot_hits();
    o.slot_misses = t.slot_misses();
    o.load_bytes = t.load_bytes();
    o.degraded = r.text(t.degraded(), "degraded");
    o.p50_ns = t.p50_ns();
    o.p99_ns = t.p99_ns();
    o.evictions = t.evictions();
    o.prefetch_issued = t.prefetch_issued();
    o.prefetch_used = t.prefetch_used();
    o.prefetch_wasted = t.prefetch_wasted();
    o.prefetch_late = t.prefetch_late();
    o.loads = t.loads();
    o.loads_behind = t.loads_behind();
    o.host_hits = t.host_hits();
    o.cold = t.cold();
    o.host_bytes = t.host_bytes();
    o.policy = r.text(t.policy(), "policy");
    o.loading = r.text(t.loading(), "loading");
    o.loads_waited = t.loads_waited();
    o.degraded_rows = t.degraded_rows();
    o.memory = r.text(t.memory(), "memory");
    o.config = r.text(t.config(), "config");
    o.metrics = r.text(t.metrics(), "metrics");
    o.queued = t.queued();
}

static void read(Reader &r, const fbs::PackRow &t, lens_pack_row &o)
{
    o.name = r.text(t.name(), "name");
    o.path = r.text(t.path(), "path");
    o.model_id = r.text(t.model_id(), "model_id");
    o.tap_layer = r.text(t.tap_layer(), "tap_layer");
    o.tap_point = r.text(t.tap_point(), "tap_point");
    o.dtype = r.text(t.dtype(), "dtype");
    o.slab_dtype = r.text(t.slab_dtype(), "slab_dtype");
    o.compute = r.text(t.compute(), "compute");
    o.lenses = t.lenses();
    o.dim = t.dim();
    o.h1 = t.h1();
    o.h2 = t.h2();
    o.generation = t.generation();
    o.sessions = t.sessions();
    o.slots = t.slots();
    o.resident = t.resident();
    o.file_bytes = t.file_bytes();
    o.policy = r.text(t.policy(), "policy");
    o.lens_bytes = t.lens_bytes();
    o.slot_bytes = t.slot_bytes();
    o.host_resident = t.host_resident();
    o.host_slots = t.host_slots();
    o.pinned = t.pinned();
    o.pins = r.text(t.pins(), "pins");
}

static void read(Reader &r, const fbs::ConceptRow &t, lens_concept_row &o)
{
    o.id = t.id();
    o.parent = t.parent();
    o.children = t.children();
    o.layer = t.layer();
    o.role = r.value(t.role(), "role");
    o.calibrated = t.calibrated();
    o.resident = t.resident();
    o.name = r.text(t.name(), "name");
}

static void read(Reader &r, const fbs::ReadingRow &t, lens_reading_row &o)
{
    o.id = t.id();
    o.parent = t.parent();
    o.layer = t.layer();
    o.resident = t.resident();
    o.pinned = t.pinned();
    o.key = r.text(t.key(), "key");
    o.last_logit = t.last_logit();
    o.peak_logit = t.peak_logit();
    o.age_ns = t.age_ns();
    o.rows = t.rows();
    o.hits = t.hits();
}

static void read(Reader &r, const fbs::SessionRow &t, lens_session_row &o)
{
    o.session = t.session();
    o.pid = t.pid();
    o.uid = t.uid();
    o.sequences = t.sequences();
    o.label = r.text(t.label(), "label");
    o.pack = r.text(t.pack(), "pack");
    o.rows = t.rows();
    o.dropped = t.dropped();
    o.memory_bytes = t.memory_bytes();
    o.p50_ns = t.p50_ns();
    o.p99_ns = t.p99_ns();
    o.age_ns = t.age_ns();
}

static void read(Reader &r, const fbs::SettingRow &t, lens_setting_row &o)
{
    o.name = r.text(t.name(), "name");
    o.value = r.text(t.value(), "value");
    o.origin = r.text(t.origin(), "origin");
    o.help = r.text(t.help(), "help");
    o.live = t.live();
    o.place = r.text(t.place(), "place");
    o.fallback = r.text(t.fallback(), "fallback");
    o.applies = r.text(t.applies(), "applies");
    o.pending = r.text(t.pending(), "pending");
    o.waits = t.waits();
    o.older_packs = t.older_packs();
}

static void read(Reader &r, const fbs::RuleRow &t, lens_rule_row &o)
{
    o.id = t.id();
    o.name = r.text(t.name(), "name");
    o.text = r.text(t.text(), "text");
    o.action = r.value(t.action(), "action");
    o.raised = t.raised();
}

static void read(Reader &r, const fbs::RuleReadingRow &t, lens_rule_reading_row &o)
{
    o.id = t.id();
    o.name = r.text(t.name(), "name");
    o.action = r.value(t.action(), "action");
    o.raised = t.raised();
    o.reading = t.reading();
    o.smoothed = t.smoothed();
    o.deviation = t.deviation();
    o.trend = t.trend();
}

template <typename V, typename Row> static uint32_t read_rows(Reader &r, const V *vector, Row *rows)
{
    uint32_t n = r.count(vector, LENS_PAGE_ROWS, "rows");
    for (uint32_t i = 0; i < n; i++)
        read(r, *vector->Get(i), rows[i]);
    return n;
}

// PackPage, SessionPage, SettingPage, RulePage.
template <typename T, typename Page> static void read_page(Reader &r, const T &t, Page &o)
{
    o.first = t.first();
    o.total = t.total();
    o.count = read_rows(r, t.rows(), o.rows);
}

static void read(Reader &r, const fbs::PackPage &t, lens_pack_page &o)
{
    read_page(r, t, o);
}

static void read(Reader &r, const fbs::SessionPage &t, lens_session_page &o)
{
    read_page(r, t, o);
}

static void read(Reader &r, const fbs::SettingPage &t, lens_setting_page &o)
{
    read_page(r, t, o);
}

static void read(Reader &r, const fbs::RulePage &t, lens_rule_page &o)
{
    read_page(r, t, o);
}

static void read(Reader &r, const fbs::RuleReadingPage &t, lens_rule_reading_page &o)
{
    o.count = read_rows(r, t.rows(), o.rows);
}

static void read(Reader &r, const fbs::ConceptPage &t, lens_concept_page &o)
{
    o.generation = t.generation();
    o.next = t.next();
    o.count = read_rows(r, t.rows(), o.rows);
}

static void read(Reader &r, const fbs::ReadingPage &t, lens_reading_page &o)
{
    o.pack = r.text(t.pack(), "pack");
    o.generation = t.generation();
    o.branch = t.branch();
    o.lenses = t.lenses();
    o.next = t.next();
    o.count = read_rows(r, t.rows(), o.rows);
}

// A list of lens ids with their keys, both of the same length.
template <typename Ids, typename Keys>
static uint32_t read_keyed_ids(Reader &r, const Ids *ids, const Keys *keys, uint32_t limit, uint32_t *id_out,
                               lens_text *key_out)
{
    uint32_t n = r.count(ids, limit, "ids");
    if (r.count(keys, limit, "keys") != n) {
        r.fail("as many keys as ids must follow");
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        id_out[i] = ids->Get(i);
        key_out[i] = r.text(keys->Get(i), "key");
    }
    return n;
}

static void read(Reader &r, const fbs::Explanation &t, lens_explanation &o)
{
    constexpr uint32_t n_calibration = sizeof o.calibration / sizeof o.calibration[0];
    o.id = t.id();
    o.generation = t.generation();
    o.key = r.text(t.key(), "key");
    o.layer = t.layer();
    o.role = r.value(t.role(), "role");
    o.calibrated = t.calibrated();
    o.resident = t.resident();
    bool complete = r.count(t.calibration(), n_calibration, "calibration") == n_calibration;
    if (!complete)
        r.fail("calibration must have 7 numbers");
    for (uint32_t i = 0; i < n_calibration; i++)
        o.calibration[i] = complete ? t.calibration()->Get(i) : 0.0f;
    o.n_path = read_keyed_ids(r, t.path(), t.path_keys(), LENS_PATH_DEPTH, o.path, o.path_keys);
    o.n_children = t.n_children();
    o.count = read_keyed_ids(r, t.children(), t.child_keys(), LENS_PAGE_ROWS, o.children, o.child_keys);
    o.content = r.text(t.content(), "content");
}

static void read_buckets(Reader &r, const fbs::StatisticsAre &t, lens_statistics_answer &o)
{
    o.n_buckets = r.count(t.buckets(), LENS_BUCKETS, "buckets");
    if (o.n_buckets > 0) // the verifier doesn't check the alignment of structs in a vector
        memcpy(o.buckets, t.buckets()->Data(), o.n_buckets * sizeof o.buckets[0]);
    for (uint32_t i = 0; i < o.n_buckets; i++) {
        if (o.buckets[i].index >= LENS_BUCKETS || (i > 0 && o.buckets[i].index <= o.buckets[i - 1].index))
            r.fail("buckets must have ascending indices below 2368");
    }
    if (r.code != 0)
        o.n_buckets = 0;
}

static void read(Reader &r, const fbs::StatisticsAre &t, lens_statistics_answer &answer)
{
    lens_statistics &o = answer.all;
    o.rows = t.rows();
    o.dropped_rows = t.dropped_rows();
    o.invalid_rows = t.invalid_rows();
    o.partial_rows = t.partial_rows();
    o.capped_rows = t.capped_rows();
    o.degraded_rows = t.degraded_rows();
    o.lenses_scored = t.lenses_scored();
    o.lenses_expanded = t.lenses_expanded();
    o.lenses_loaded = t.lenses_loaded();
    o.slot_hits = t.slot_hits();
    o.host_hits = t.host_hits();
    o.cold = t.cold();
    o.batches = t.batches();
    o.batch_rows = t.batch_rows();
    if (r.count(t.stages(), LENS_STAGES, "stages") != LENS_STAGES) {
        r.fail("stages must have 8 rows");
        memset(o.stages, 0, sizeof o.stages);
        return;
    }
    // The verifier doesn't check the alignment of structs in a vector.
    memcpy(o.stages, t.stages()->Data(), sizeof o.stages);
    bool summed = r.count(t.sums(), LENS_STAGES, "sums") == LENS_STAGES;
    if (!summed)
        r.fail("sums must have 8 numbers");
    for (uint32_t i = 0; i < LENS_STAGES; i++)
        o.sums[i] = summed ? t.sums()->Get(i) : 0;
    read_buckets(r, t, answer);
}

// Structs in a vector, copied: the verifier doesn't check their alignment.
template <typename V, typename C> static uint32_t read_structs(Reader &r, const V *vector, C *out, uint32_t limit)
{
    uint32_t n = r.count(vector, limit, "list");
    if (n > 0)
        memcpy(out, vector->Data(), n * sizeof *out);
    return n;
}

static void check_event_row(Reader &r, const lens_event_row &row, uint32_t n_detections)
{
    r.value(static_cast<fbs::RowStatus>(row.status), "status");
    r.value(static_cast<fbs::RowReason>(row.reason), "reason");
    r.value(static_cast<fbs::Verdict>(row.verdict), "verdict");
    if (row.first_detection > n_detections || row.stored_detections > n_detections - row.first_detection)
        r.fail("an event's detections must be in the page");
}

static void read(Reader &r, const fbs::EventPage &t, lens_event_page &o)
{
    o.next = t.next();
    o.end = t.end();
    o.lost = t.lost();
    o.count = read_structs(r, t.rows(), o.rows, LENS_PAGE_ROWS);
    o.n_detections = read_structs(r, t.detections(), o.detections, LENS_EVENT_DETECTIONS);
    for (uint32_t i = 0; i < o.count; i++)
        check_event_row(r, o.rows[i], o.n_detections);
    o.n_concepts = r.count(t.ids(), LENS_EVENT_CONCEPTS, "ids");
    if (r.count(t.generations(), LENS_EVENT_CONCEPTS, "generations") != o.n_concepts ||
        r.count(t.keys(), LENS_EVENT_CONCEPTS, "keys") != o.n_concepts) {
        r.fail("as many generations and keys as ids must follow");
        o.n_concepts = 0;
    }
    for (uint32_t i = 0; i < o.n_concepts; i++) {
        o.concepts[i].generation = t.generations()->Get(i);
        o.concepts[i].id = t.ids()->Get(i);
        o.concepts[i].key = r.text(t.keys()->Get(i), "key");
    }
}

#endif
