// From the C structs of codec.h to FlatBuffers tables, in memory of a fixed size. Part of codec.cc.
//
// The builder can't report that its memory is full, so nothing is handed to it before there is room for it: texts and
// lists by their length, tables by a bound that holds for all of ours. When there is none, `code` is set and the rest
// of the message is left out.
#ifndef LENS_CODEC_ENCODE_HPP
#define LENS_CODEC_ENCODE_HPP

#include "proto/codec_text.hpp"
#include "proto/codec_wire.hpp"

#include <cerrno>

// More than any table takes with its vtable and the builder's notes about its fields (StatusIs: 39 fields).
constexpr size_t kTableRoom = 1024;

// Lends one buffer to the builder, once.
class Arena final : public flat::Allocator
{
  public:
    Arena(unsigned char *bytes, size_t size) : bytes_(bytes), size_(size)
    {
    }
    uint8_t *allocate(size_t size) override
    {
        if (bytes_ == nullptr || size > size_)
            __builtin_trap(); // Writer::room keeps the builder from growing
        uint8_t *lent = bytes_;
        bytes_ = nullptr;
        return lent;
    }
    void deallocate(uint8_t *, size_t) override
    {
    }

  private:
    unsigned char *bytes_;
    size_t size_;
};

using Text = flat::Offset<flat::String>;
template <typename T> using List = flat::Offset<flat::Vector<T>>;

struct Writer {
    flat::FlatBufferBuilder b;
    size_t size;
    int code = 0;

    Writer(Arena *arena, size_t arena_size) : b(arena_size, arena, false), size(arena_size)
    {
    }

    void fail(int why)
    {
        if (code == 0)
            code = why;
    }

    bool room(size_t bytes)
    {
        if (code == 0 && b.GetSize() + b.buf_.scratch_size() + bytes + kTableRoom > size)
            fail(-EMSGSIZE);
        return code == 0;
    }

    Text text(const lens_text &t)
    {
        if (t.data == nullptr && t.length != 0)
            fail(-EINVAL);
        if (t.length == 0 || !room(t.length))
            return 0;
        Text offset = b.CreateString(t.data, t.length);
        text_repair(b.GetCurrentBufferPointer() + sizeof(flat::uoffset_t), t.length);
        return offset;
    }

    template <typename E> E value(unsigned v)
    {
        if (v > static_cast<unsigned>(E::MAX))
            fail(-EINVAL);
        return static_cast<E>(v);
    }

    bool bounded(uint32_t n, uint32_t limit)
    {
        if (n > limit)
            fail(-EINVAL);
        return code == 0;
    }

    template <typename T> List<T> list(const T *items, uint32_t n, uint32_t limit)
    {
        if (!bounded(n, limit) || n == 0 || !room(n * sizeof(T)))
            return 0;
        return b.CreateVector(items, n);
    }

    // A list of structs that C has, too.
    template <typename T, typename C>
    flat::Offset<flat::Vector<const T *>> structs(const C *items, uint32_t n, uint32_t limit)
    {
        static_assert(sizeof(T) == sizeof(C), "codec_wire.hpp holds them together");
        if (!bounded(n, limit) || n == 0 || !room(n * sizeof(T)))
            return 0;
        return b.CreateVectorOfStructs(reinterpret_cast<const T *>(items), n);
    }

    template <uint32_t Limit> List<Text> texts(const lens_text *items, uint32_t n)
    {
        Text offsets[Limit];
        if (!bounded(n, Limit) || n == 0)
            return 0;
        for (uint32_t i = 0; i < n && code == 0; i++) {
            offsets[i] = text(items[i]);
            if (offsets[i].IsNull() && room(0)) // a list holds no absent texts
                offsets[i] = b.CreateString("", 0);
        }
        if (!room(n * sizeof(Text)))
            return 0;
        return b.CreateVector(offsets, n);
    }
};

using Body = flat::Offset<void>;

// Ends every message: `create` runs only when there is room for the table and nothing went wrong.
template <typename F> static Body table(Writer &w, F create)
{
    return w.room(0) ? create().Union() : Body();
}

// In the order of enum lens_option_bit. Only the values that count are looked at.
static bool enums_are_valid(const lens_cascade_options &o, uint32_t set)
{
    return (!(set & LENS_OPT_EXPAND) || raw(o.expand) <= static_cast<unsigned>(fbs::Expand::MAX)) &&
           (!(set & LENS_OPT_REPORT) || raw(o.report) <= static_cast<unsigned>(fbs::Report::MAX)) &&
           (!(set & LENS_OPT_RANK) || raw(o.rank) <= static_cast<unsigned>(fbs::Rank::MAX)) &&
           (!(set & LENS_OPT_UNCALIBRATED) || raw(o.uncalibrated) <= static_cast<unsigned>(fbs::Uncalibrated::MAX)) &&
           (!(set & LENS_OPT_MISS) || raw(o.miss) <= static_cast<unsigned>(fbs::Miss::MAX));
}

static flat::Offset<fbs::CascadeOptions> write_options(Writer &w, const lens_cascade_options &from, uint32_t set)
{
    lens_cascade_options o;
    lens_options_default(&o);
    if (enums_are_valid(from, set))
        lens_options_overlay(&o, &from, set);
    else
        w.fail(-EINVAL);
    if (lens_options_check(&o, nullptr) != 0)
        w.fail(-EINVAL);
    if (!w.room(0))
        return 0;
    return fbs::CreateCascadeOptions(w.b, o.base_layers, static_cast<fbs::Expand>(o.expand),
                                     static_cast<fbs::Report>(o.report), static_cast<fbs::Rank>(o.rank),
                                     static_cast<fbs::Uncalibrated>(o.uncalibrated), static_cast<fbs::Miss>(o.miss),
                                     o.load_threshold, o.unload_threshold, o.suppress_at, o.suppress_parents, o.top_k,
                                     o.keep_top_k, o.max_depth, o.max_scored);
}

static Body write(Writer &w, const lens_hello &m)
{
    Text name = w.text(m.client_name);
    return table(w, [&] { return fbs::CreateHello(w.b, m.protocol_version, name); });
}

static Body write(Writer &w, const lens_hello_ok &m)
{
    Text version = w.text(m.daemon_version);
    fbs::PeerRole role = w.value<fbs::PeerRole>(m.role);
    return table(
        w, [&] { return fbs::CreateHelloOk(w.b, m.protocol_version, version, role, m.daemon_pid, m.start_time_ns); });
}

static List<Text> write_patterns(Writer &w, const lens_text *patterns, uint32_t n)
{
    for (uint32_t i = 0; i < n && i < LENS_MAX_PATTERNS; i++) {
        if (patterns[i].length == 0 || patterns[i].length > LENS_PATTERN_MAX)
            w.fail(-EINVAL);
    }
    return w.texts<LENS_MAX_PATTERNS>(patterns, n);
}

static Body write(Writer &w, const lens_attach &m)
{
    if ((m.options_set & ~static_cast<uint32_t>(LENS_OPT_ALL)) != 0)
        w.fail(-EINVAL);
    Text pack = w.text(m.pack);
    Text label = w.text(m.label);
    List<uint32_t> pinned = w.list(m.pinned, m.n_pinned, LENS_MAX_PINNED);
    List<Text> include = write_patterns(w, m.include, m.n_include);
    List<Text> exclude = write_patterns(w, m.exclude, m.n_exclude);
    List<Text> filter = write_patterns(w, m.filter, m.n_filter);
    auto options = write_options(w, m.options, m.options_set);
    return table(w, [&] {
        return fbs::CreateAttach(w.b, pack, label, m.max_rows, m.submit_slots, m.result_slots, m.expanded_capacity,
                                 m.max_sequences, static_cast<fbs::OptionBits>(m.options_set), options, pinned, include,
                                 exclude, filter);
    });
}

static Body write(Writer &w, const lens_attached &m)
{
    const lens_ring_layout &l = m.layout;
    Text pack = w.text(m.pack);
    Text model_id = w.text(m.model_id);
    Text tap_layer = w.text(m.tap_layer);
    Text tap_point = w.text(m.tap_point);
    auto options = write_options(w, m.options, LENS_OPT_ALL);
    if (!w.room(0))
        return Body();
    auto layout = fbs::CreateRingLayout(w.b, l.dim, l.max_rows, l.top_k, l.expanded_capacity, l.submit_slots,
                                        l.result_slots, l.result_stride, l.payload_bytes, l.submit_offset,
                                        l.result_offset, l.payload_offset, l.total_bytes);
    return table(w, [&] {
        return fbs::CreateAttached(w.b, m.session, m.generation, m.lenses, layout, options, pack, model_id, tap_layer,
                                   tap_point);
    });
}

static Body write(Writer &w, const lens_end_sequence &m)
{
    return table(w, [&] { return fbs::CreateEndSequence(w.b, m.session, m.sequence); });
}

static Body write(Writer &w, const lens_concepts &m)
{
    Text pack = w.text(m.pack);
    Text glob = w.text(m.glob);
    return table(w, [&] { return fbs::CreateConcepts(w.b, pack, glob, m.first); });
}

static Body write(Writer &w, const lens_explain &m)
{
    Text pack = w.text(m.pack);
    Text concept_ = w.text(m.concept);
    return table(w, [&] { return fbs::CreateExplain(w.b, pack, concept_); });
}

static Body write(Writer &w, const lens_statistics_query &m)
{
    return table(w, [&] { return fbs::CreateStatistics(w.b, m.session, m.buckets); });
}

static Body write(Writer &w, const lens_events &m)
{
    if (!(m.min_score >= 0.0f && m.min_score <= 1.0f))
        w.fail(-EINVAL);
    Text glob = w.text(m.glob);
    return table(w, [&] { return fbs::CreateEvents(w.b, m.session, glob, m.min_score, m.from, m.only_hits); });
}

// Load, Swap, Unload.
template <typename Create> static Body write_load(Writer &w, const lens_load &m, Create create)
{
    Text pack = w.text(m.pack);
    Text name = w.text(m.name);
    return table(w, [&] { return create(w.b, pack, name); });
}

// Trace, Preload.
template <typename Create> static Body write_pack_ref(Writer &w, const lens_pack_ref &m, Create create)
{
    Text pack = w.text(m.pack);
    return table(w, [&] { return create(w.b, pack); });
}

// Pin, Unpin.
template <typename Create> static Body write_pin(Writer &w, const lens_pin &m, Create create)
{
    Text pack = w.text(m.pack);
    Text concept_ = w.text(m.concept);
    return table(w, [&] { return create(w.b, pack, concept_, m.alone); });
}

static Body write(Writer &w, const lens_readings &m)
{
    Text pack = w.text(m.pack);
    Text concept_ = w.text(m.concept);
    return table(w, [&] { return fbs::CreateReadings(w.b, pack, concept_, m.first); });
}

static Body write(Writer &w, const lens_tracing &m)
{
    Text pack = w.text(m.pack);
    return table(w, [&] { return fbs::CreateTracing(w.b, m.generation, m.lenses, m.bytes, pack); });
}

static Body write(Writer &w, const lens_done &m)
{
    Text text = w.text(m.text);
    return table(w, [&] { return fbs::CreateDone(w.b, text, m.generation); });
}

static Body write(Writer &w, const lens_fault_answer &m)
{
    Text text = w.text(m.text);
    fbs::FaultCode code = w.value<fbs::FaultCode>(m.code);
    if (m.code == 0)
        w.fail(-EINVAL);
    return table(w, [&] { return fbs::CreateError(w.b, code, text); });
}

static Body write(Writer &w, const lens_goodbye &m)
{
    Text text = w.text(m.text);
    return table(w, [&] { return fbs::CreateGoodbye(w.b, m.session, text); });
}

static Body write(Writer &w, const lens_status &m)
{
    Text version = w.text(m.version);
    Text backend = w.text(m.backend);
    Text device = w.text(m.device);
    Text variant = w.text(m.variant);
    Text reason = w.text(m.reason);
    Text degraded = w.text(m.degraded);
    Text policy = w.text(m.policy);
    Text loading = w.text(m.loading);
    Text memory = w.text(m.memory);
    Text config = w.text(m.config);
    Text metrics = w.text(m.metrics);
    return table(w, [&] {
        return fbs::CreateStatusIs(w.b, version, backend, device, variant, reason, m.pid, m.uptime_ns, m.start_time_ns,
                                   m.threads, m.packs, m.sessions, m.rows, m.dropped_rows, m.invalid_rows,
                                   m.lenses_scored, m.heap_bytes, m.slab_bytes, m.slots, m.resident, m.host_resident,
                                   m.slot_hits, m.slot_misses, m.load_bytes, degraded, m.p50_ns, m.p99_ns, m.evictions,
                                   m.prefetch_issued, m.prefetch_used, m.prefetch_wasted, m.prefetch_late, m.loads,
                                   m.loads_behind, m.host_hits, m.cold, m.host_bytes, policy, loading, m.loads_waited,
                                   m.degraded_rows, memory, config, metrics, m.queued);
    });
}

static flat::Offset<fbs::PackRow> write_row(Writer &w, const lens_pack_row &m)
{
    Text name = w.text(m.name);
    Text path = w.text(m.path);
    Text model_id = w.text(m.model_id);
    Text tap_layer = w.text(m.tap_layer);
    Text tap_point = w.text(m.tap_point);
    Text dtype = w.text(m.dtype);
    Text slab_dtype = w.text(m.slab_dtype);
    Text compute = w.text(m.compute);
    Text policy = w.text(m.policy);
    Text pins = w.text(m.pins);
    if (!w.room(0))
        return 0;
    return fbs::CreatePackRow(w.b, name, path, model_id, tap_layer, tap_point, dtype, slab_dtype, compute, m.lenses,
                              m.dim, m.h1, m.h2, m.generation, m.sessions, m.slots, m.resident, m.file_bytes, policy,
                              m.lens_bytes, m.slot_bytes, m.host_resident, m.host_slots, m.pinned, pins);
}

static flat::Offset<fbs::ConceptRow> write_row(Writer &w, const lens_concept_row &m)
{
    Text name = w.text(m.name);
    fbs::LensRole role = w.value<fbs::LensRole>(m.role);
    if (!w.room(0))
        return 0;
    return fbs::CreateConceptRow(w.b, m.id, m.parent, m.children, m.layer, role, m.calibrated != 0, m.resident != 0,
                                 name);
}

static flat::Offset<fbs::ReadingRow> write_row(Writer &w, const lens_reading_row &m)
{
    Text key = w.text(m.key);
    if (!w.room(0))
        return 0;
    return fbs::CreateReadingRow(w.b, m.id, m.parent, m.layer, m.resident != 0, m.pinned != 0, key, m.last_logit,
                                 m.peak_logit, m.age_ns, m.rows, m.hits);
}

static flat::Offset<fbs::SessionRow> write_row(Writer &w, const lens_session_row &m)
{
    Text label = w.text(m.label);
    Text pack = w.text(m.pack);
    if (!w.room(0))
        return 0;
    return fbs::CreateSessionRow(w.b, m.session, m.pid, m.uid, m.sequences, label, pack, m.rows, m.dropped,
                                 m.memory_bytes, m.p50_ns, m.p99_ns, m.age_ns);
}

static flat::Offset<fbs::SettingRow> write_row(Writer &w, const lens_setting_row &m)
{
    Text name = w.text(m.name);
    Text value = w.text(m.value);
    Text origin = w.text(m.origin);
    Text help = w.text(m.help);
    Text place = w.text(m.place);
    Text fallback = w.text(m.fallback);
    Text applies = w.text(m.applies);
    Text pending = w.text(m.pending);
    if (!w.room(0))
        return 0;
    return fbs::CreateSettingRow(w.b, name, value, origin, help, m.live != 0, place, fallback, applies, pending,
                                 m.waits != 0, m.older_packs);
}

static flat::Offset<fbs::RuleRow> write_row(Writer &w, const lens_rule_row &m)
{
    Text name = w.text(m.name);
    Text text = w.text(m.text);
    fbs::Verdict action = w.value<fbs::Verdict>(m.action);
    if (!w.room(0))
        return 0;
    return fbs::CreateRuleRow(w.b, m.id, name, text, action, m.raised);
}

static flat::Offset<fbs::RuleReadingRow> write_row(Writer &w, const lens_rule_reading_row &m)
{
    Text name = w.text(m.name);
    fbs::Verdict action = w.value<fbs::Verdict>(m.action);
    if (!w.room(0))
        return 0;
    return fbs::CreateRuleReadingRow(w.b, m.id, name, action, m.raised != 0, m.reading, m.smoothed, m.deviation,
                                     m.trend);
}

template <typename Table, typename Row>
static List<flat::Offset<Table>> write_rows(Writer &w, const Row *rows, uint32_t count)
{
    flat::Offset<Table> offsets[LENS_PAGE_ROWS];
    if (!w.bounded(count, LENS_PAGE_ROWS))
        return 0;
    for (uint32_t i = 0; i < count && w.code == 0; i++)
        offsets[i] = write_row(w, rows[i]);
    if (!w.room(count * sizeof offsets[0]))
        return 0;
    return w.b.CreateVector(offsets, count);
}

static Body write(Writer &w, const lens_pack_page &m)
{
    auto rows = write_rows<fbs::PackRow>(w, m.rows, m.count);
    return table(w, [&] { return fbs::CreatePackPage(w.b, m.first, m.total, rows); });
}

static Body write(Writer &w, const lens_concept_page &m)
{
    auto rows = write_rows<fbs::ConceptRow>(w, m.rows, m.count);
    return table(w, [&] { return fbs::CreateConceptPage(w.b, m.generation, m.next, rows); });
}

static Body write(Writer &w, const lens_reading_page &m)
{
    Text pack = w.text(m.pack);
    auto rows = write_rows<fbs::ReadingRow>(w, m.rows, m.count);
    return table(w, [&] { return fbs::CreateReadingPage(w.b, pack, m.generation, m.branch, m.lenses, m.next, rows); });
}

static Body write(Writer &w, const lens_session_page &m)
{
    auto rows = write_rows<fbs::SessionRow>(w, m.rows, m.count);
    return table(w, [&] { return fbs::CreateSessionPage(w.b, m.first, m.total, rows); });
}

static Body write(Writer &w, const lens_setting_page &m)
{
    auto rows = write_rows<fbs::SettingRow>(w, m.rows, m.count);
    return table(w, [&] { return fbs::CreateSettingPage(w.b, m.first, m.total, rows); });
}

static Body write(Writer &w, const lens_rule_page &m)
{
    auto rows = write_rows<fbs::RuleRow>(w, m.rows, m.count);
    return table(w, [&] { return fbs::CreateRulePage(w.b, m.first, m.total, rows); });
}

static Body write(Writer &w, const lens_rule_reading_page &m)
{
    auto rows = write_rows<fbs::RuleReadingRow>(w, m.rows, m.count);
    return table(w, [&] { return fbs::CreateRuleReadingPage(w.b, rows); });
}

static Body write(Writer &w, const lens_explanation &m)
{
    constexpr uint32_t n_calibration = sizeof m.calibration / sizeof m.calibration[0];
    Text key = w.text(m.key);
    fbs::LensRole role = w.value<fbs::LensRole>(m.role);
    List<float> calibration = w.list(m.calibration, n_calibration, n_calibration);
    List<uint32_t> path = w.list(m.path, m.n_path, LENS_PATH_DEPTH);
    List<Text> path_keys = w.texts<LENS_PATH_DEPTH>(m.path_keys, m.n_path);
    List<uint32_t> children = w.list(m.children, m.count, LENS_PAGE_ROWS);
    List<Text> child_keys = w.texts<LENS_PAGE_ROWS>(m.child_keys, m.count);
    Text content = w.text(m.content);
    return table(w, [&] {
        return fbs::CreateExplanation(w.b, m.id, m.generation, key, m.layer, role, m.calibrated != 0, m.resident != 0,
                                      calibration, path, path_keys, m.n_children, children, child_keys, content);
    });
}

static Body write(Writer &w, const lens_statistics_answer &answer)
{
    const lens_statistics &m = answer.all;
    if (answer.n_buckets > LENS_BUCKETS)
        w.fail(-EINVAL);
    if (!w.room(sizeof m.stages + sizeof m.sums + answer.n_buckets * sizeof answer.buckets[0]))
        return Body();
    auto stages = w.b.CreateVectorOfStructs(reinterpret_cast<const fbs::StageRow *>(m.stages), LENS_STAGES);
    auto sums = w.list(m.sums, LENS_STAGES, LENS_STAGES);
    auto buckets =
        answer.n_buckets == 0
            ? flat::Offset<flat::Vector<const fbs::Bucket *>>()
            : w.b.CreateVectorOfStructs(reinterpret_cast<const fbs::Bucket *>(answer.buckets), answer.n_buckets);
    return table(w, [&] {
        return fbs::CreateStatisticsAre(w.b, m.rows, m.dropped_rows, m.invalid_rows, m.partial_rows, m.capped_rows,
                                        m.lenses_scored, m.lenses_expanded, m.lenses_loaded, m.slot_hits, m.host_hits,
                                        m.cold, m.batches, m.batch_rows, stages, m.degraded_rows, sums, buckets);
    });
}

// Rows may name only detections that the page has.
static bool event_rows_fit(const lens_event_page &m)
{
    for (uint32_t i = 0; i < m.count; i++) {
        const lens_event_row &row = m.rows[i];
        if (row.first_detection > m.n_detections || row.stored_detections > m.n_detections - row.first_detection)
            return false;
    }
    return true;
}

// Not inlined: its lists would enlarge the frame of every request, too.
__attribute__((noinline)) static Body write(Writer &w, const lens_event_page &m)
{
    uint32_t generations[LENS_EVENT_CONCEPTS], ids[LENS_EVENT_CONCEPTS];
    lens_text keys[LENS_EVENT_CONCEPTS];
    if (!w.bounded(m.count, LENS_PAGE_ROWS) || !w.bounded(m.n_detections, LENS_EVENT_DETECTIONS) ||
        !w.bounded(m.n_concepts, LENS_EVENT_CONCEPTS))
        return Body();
    if (!event_rows_fit(m))
        w.fail(-EINVAL);
    for (uint32_t i = 0; i < m.n_concepts; i++) {
        generations[i] = m.concepts[i].generation;
        ids[i] = m.concepts[i].id;
        keys[i] = m.concepts[i].key;
    }
    auto rows = w.structs<fbs::EventRow>(m.rows, m.count, LENS_PAGE_ROWS);
    auto detections = w.structs<fbs::Detection>(m.detections, m.n_detections, LENS_EVENT_DETECTIONS);
    auto generation_list = w.list(generations, m.n_concepts, LENS_EVENT_CONCEPTS);
    auto id_list = w.list(ids, m.n_concepts, LENS_EVENT_CONCEPTS);
    auto key_list = w.texts<LENS_EVENT_CONCEPTS>(keys, m.n_concepts);
    return table(w, [&] {
        return fbs::CreateEventPage(w.b, m.next, m.end, m.lost, rows, detections, generation_list, id_list, key_list);
    });
}

#endif
