// Control messages in and out of FlatBuffers packets: the one C++ unit of lensd, behind the C header codec.h.
//
// Compiled without exceptions, RTTI and the C++ library; allocates nothing from the heap. The parts: codec_wire.hpp
// (generated code, the proof that it matches the C headers), codec_decode.hpp, codec_encode.hpp.
#include "proto/codec_wire.hpp"

#include "proto/codec_decode.hpp"
#include "proto/codec_encode.hpp"

#include <cstring>

// FlatBuffers' default allocator mentions these; our packets live in fixed buffers, so nothing calls them. Their names
// are private to this object (codec_wire.hpp), so a C++ program that links liblens.a keeps its own.
void *operator new(std::size_t)
{
    __builtin_trap();
}
void *operator new[](std::size_t)
{
    __builtin_trap();
}
void operator delete(void *) noexcept
{
    __builtin_trap();
}
void operator delete[](void *) noexcept
{
    __builtin_trap();
}
void operator delete(void *, std::size_t) noexcept
{
    __builtin_trap();
}
void operator delete[](void *, std::size_t) noexcept
{
    __builtin_trap();
}

namespace
{

constexpr uint32_t kMaxDepth = 6;                   // message, body, rows: 3 in a good packet
constexpr uint32_t kMaxTables = LENS_PAGE_ROWS + 8; // a page: its rows, itself, the message

Body write_body(Writer &w, const lens_msg &m)
{
    switch (raw(m.type)) {
    case LENS_MSG_HELLO:
        return write(w, m.u.hello);
    case LENS_MSG_ATTACH:
        return write(w, m.u.attach);
    case LENS_MSG_DETACH:
        return table(w, [&] { return fbs::CreateDetach(w.b, m.u.detach.session); });
    case LENS_MSG_END_SEQUENCE:
        return write(w, m.u.end_sequence);
    case LENS_MSG_STATUS:
        return table(w, [&] { return fbs::CreateStatus(w.b); });
    case LENS_MSG_PACKS:
        return table(w, [&] { return fbs::CreatePacks(w.b, m.u.page.first); });
    case LENS_MSG_CONCEPTS:
        return write(w, m.u.concepts);
    case LENS_MSG_EXPLAIN:
        return write(w, m.u.explain);
    case LENS_MSG_STATISTICS:
        return write(w, m.u.statistics);
    case LENS_MSG_SESSIONS:
        return table(w, [&] { return fbs::CreateSessions(w.b, m.u.page.first); });
    case LENS_MSG_CONFIG:
        return table(w, [&] { return fbs::CreateConfig(w.b, m.u.page.first); });
    case LENS_MSG_EVENTS:
        return write(w, m.u.events);
    case LENS_MSG_LOAD:
        return write_load(w, m.u.load, fbs::CreateLoad);
    case LENS_MSG_SWAP:
        return write_load(w, m.u.load, fbs::CreateSwap);
    case LENS_MSG_UNLOAD:
        return write_load(w, m.u.load, fbs::CreateUnload);
    case LENS_MSG_SHUTDOWN:
        return table(w, [&] { return fbs::CreateShutdown(w.b); });
    case LENS_MSG_TRACE:
        return write_pack_ref(w, m.u.pack_ref, fbs::CreateTrace);
    case LENS_MSG_PRELOAD:
        return write_pack_ref(w, m.u.pack_ref, fbs::CreatePreload);
    case LENS_MSG_RULES:
        return table(w, [&] { return fbs::CreateRules(w.b, m.u.page.first); });
    case LENS_MSG_PIN:
        return write_pin(w, m.u.pin, fbs::CreatePin);
    case LENS_MSG_UNPIN:
        return write_pin(w, m.u.pin, fbs::CreateUnpin);
    case LENS_MSG_RULE_READINGS:
        return table(
            w, [&] { return fbs::CreateRuleReadings(w.b, m.u.rule_readings.session, m.u.rule_readings.sequence); });
    case LENS_MSG_READINGS:
        return write(w, m.u.readings);
    case LENS_MSG_HELLO_OK:
        return write(w, m.u.hello_ok);
    case LENS_MSG_ATTACHED:
        return write(w, m.u.attached);
    case LENS_MSG_DONE:
        return write(w, m.u.done);
    case LENS_MSG_STATUS_IS:
        return write(w, m.u.status_is);
    case LENS_MSG_PACK_PAGE:
        return write(w, m.u.pack_page);
    case LENS_MSG_CONCEPT_PAGE:
        return write(w, m.u.concept_page);
    case LENS_MSG_EXPLANATION:
        return write(w, m.u.explanation);
    case LENS_MSG_STATISTICS_ARE:
        return write(w, m.u.statistics_are);
    case LENS_MSG_SESSION_PAGE:
        return write(w, m.u.session_page);
    case LENS_MSG_SETTING_PAGE:
        return write(w, m.u.setting_page);
    case LENS_MSG_ERROR:
        return write(w, m.u.fault);
    case LENS_MSG_EVENT_PAGE:
        return write(w, m.u.event_page);
    case LENS_MSG_TRACING:
        return write(w, m.u.tracing);
    case LENS_MSG_RULE_PAGE:
        return write(w, m.u.rule_page);
    case LENS_MSG_RULE_READING_PAGE:
        return write(w, m.u.rule_reading_page);
    case LENS_MSG_READING_PAGE:
        return write(w, m.u.reading_page);
    case LENS_MSG_RESULTS_READY:
        return table(w, [&] { return fbs::CreateResultsReady(w.b, m.u.results_ready.session); });
    case LENS_MSG_GOODBYE:
        return write(w, m.u.goodbye);
    }
    w.fail(-EINVAL);
    return Body();
}

// `Size`: bytes of packet at most. A client's requests take the small frame, so that a user's thread needs little
// stack.
template <size_t Size> __attribute__((noinline)) int encode(const lens_msg &msg, void *buf, size_t capacity)
{
    constexpr size_t arena_size = Size + 2 * kTableRoom;
    alignas(8) unsigned char bytes[arena_size];
    Arena arena(bytes, arena_size);
    Writer w(&arena, arena_size);
    Body body = write_body(w, msg);
    if (!w.room(0))
        return w.code;
    fbs::FinishMessageBuffer(w.b, fbs::CreateMessage(w.b, msg.request_id, static_cast<fbs::Body>(msg.type), body));
    if (w.b.GetSize() > capacity || w.b.GetSize() > Size)
        return -EMSGSIZE;
    memcpy(buf, w.b.GetBufferPointer(), w.b.GetSize());
    return static_cast<int>(w.b.GetSize());
}

void read_body(Reader &r, const fbs::Message &m, lens_msg &out)
{
    switch (raw(out.type)) {
    case LENS_MSG_HELLO:
        return read(r, *m.body_as_Hello(), out.u.hello);
    case LENS_MSG_ATTACH:
        return read(r, *m.body_as_Attach(), out.u.attach);
    case LENS_MSG_DETACH:
        return read(r, *m.body_as_Detach(), out.u.detach);
    case LENS_MSG_END_SEQUENCE:
        return read(r, *m.body_as_EndSequence(), out.u.end_sequence);
    case LENS_MSG_STATUS:
    case LENS_MSG_SHUTDOWN:
        return;
    case LENS_MSG_PACKS:
        return read(r, *m.body_as_Packs(), out.u.page);
    case LENS_MSG_CONCEPTS:
        return read(r, *m.body_as_Concepts(), out.u.concepts);
    case LENS_MSG_EXPLAIN:
        return read(r, *m.body_as_Explain(), out.u.explain);
    case LENS_MSG_STATISTICS:
        return read(r, *m.body_as_Statistics(), out.u.statistics);
    case LENS_MSG_SESSIONS:
        return read(r, *m.body_as_Sessions(), out.u.page);
    case LENS_MSG_CONFIG:
        return read(r, *m.body_as_Config(), out.u.page);
    case LENS_MSG_EVENTS:
        return read(r, *m.body_as_Events(), out.u.events);
    case LENS_MSG_LOAD:
        return read(r, *m.body_as_Load(), out.u.load);
    case LENS_MSG_SWAP:
        return read(r, *m.body_as_Swap(), out.u.load);
    case LENS_MSG_UNLOAD:
        return read(r, *m.body_as_Unload(), out.u.load);
    case LENS_MSG_TRACE:
        return read(r, *m.body_as_Trace(), out.u.pack_ref);
    case LENS_MSG_PRELOAD:
        return read(r, *m.body_as_Preload(), out.u.pack_ref);
    case LENS_MSG_RULES:
        return read(r, *m.body_as_Rules(), out.u.page);
    case LENS_MSG_PIN:
        return read(r, *m.body_as_Pin(), out.u.pin);
    case LENS_MSG_UNPIN:
        return read(r, *m.body_as_Unpin(), out.u.pin);
    case LENS_MSG_RULE_READINGS:
        return read(r, *m.body_as_RuleReadings(), out.u.rule_readings);
    case LENS_MSG_READINGS:
        return read(r, *m.body_as_Readings(), out.u.readings);
    case LENS_MSG_HELLO_OK:
        return read(r, *m.body_as_HelloOk(), out.u.hello_ok);
    case LENS_MSG_ATTACHED:
        return read(r, *m.body_as_Attached(), out.u.attached);
    case LENS_MSG_DONE:
        return read(r, *m.body_as_Done(), out.u.done);
    case LENS_MSG_STATUS_IS:
        return read(r, *m.body_as_StatusIs(), out.u.status_is);
    case LENS_MSG_PACK_PAGE:
        return read(r, *m.body_as_PackPage(), out.u.pack_page);
    case LENS_MSG_CONCEPT_PAGE:
        return read(r, *m.body_as_ConceptPage(), out.u.concept_page);
    case LENS_MSG_EXPLANATION:
        return read(r, *m.body_as_Explanation(), out.u.explanation);
    case LENS_MSG_STATISTICS_ARE:
        return read(r, *m.body_as_StatisticsAre(), out.u.statistics_are);
    case LENS_MSG_SESSION_PAGE:
        return read(r, *m.body_as_SessionPage(), out.u.session_page);
    case LENS_MSG_SETTING_PAGE:
        return read(r, *m.body_as_SettingPage(), out.u.setting_page);
    case LENS_MSG_ERROR:
        return read(r, *m.body_as_Error(), out.u.fault);
    case LENS_MSG_EVENT_PAGE:
        return read(r, *m.body_as_EventPage(), out.u.event_page);
    case LENS_MSG_TRACING:
        return read(r, *m.body_as_Tracing(), out.u.tracing);
    case LENS_MSG_RULE_PAGE:
        return read(r, *m.body_as_RulePage(), out.u.rule_page);
    case LENS_MSG_RULE_READING_PAGE:
        return read(r, *m.body_as_RuleReadingPage(), out.u.rule_reading_page);
    case LENS_MSG_READING_PAGE:
        return read(r, *m.body_as_ReadingPage(), out.u.reading_page);
    case LENS_MSG_RESULTS_READY:
        return read(r, *m.body_as_ResultsReady(), out.u.results_ready);
    case LENS_MSG_GOODBYE:
        return read(r, *m.body_as_Goodbye(), out.u.goodbye);
    }
    r.fail("unknown message type");
}

} // namespace

extern "C" int lens_msg_encode(const struct lens_msg *msg, void *buf, size_t capacity)
{
    if (capacity <= LENS_REQUEST_MAX)
        return encode<LENS_REQUEST_MAX>(*msg, buf, capacity);
    return encode<LENS_ANSWER_MAX>(*msg, buf, capacity);
}

extern "C" int lens_msg_decode(const void *buf, size_t length, size_t limit, struct lens_msg *out,
                               struct lens_error *err)
{
    if (length > limit)
        return lens_error_set(err, -EMSGSIZE, "a packet may have %zu bytes, found %zu", limit, length);
    if (reinterpret_cast<uintptr_t>(buf) % 8 != 0)
        return lens_error_set(err, -EBADMSG, "the packet's buffer must be aligned to 8 bytes");
    flat::Verifier verifier(static_cast<const uint8_t *>(buf), length, kMaxDepth, kMaxTables);
    if (!fbs::VerifyMessageBuffer(verifier))
        return lens_error_set(err, -EBADMSG, "the packet is not a whole lensd message");
    const fbs::Message &message = *fbs::GetMessage(buf);
    out->type = static_cast<lens_msg_type>(message.body_type());
    out->request_id = message.request_id();
    Reader reader{length, err};
    read_body(reader, message, *out);
    if (reader.code != 0)
        lens_error_prefix(err, "bad %s message", lens_msg_name(out->type));
    return reader.code;
}

extern "C" const char *lens_msg_name(enum lens_msg_type type)
{
    switch (raw(type)) {
    case LENS_MSG_HELLO:
        return "hello";
    case LENS_MSG_ATTACH:
        return "attach";
    case LENS_MSG_DETACH:
        return "detach";
    case LENS_MSG_END_SEQUENCE:
        return "end-sequence";
    case LENS_MSG_STATUS:
        return "status";
    case LENS_MSG_PACKS:
        return "packs";
    case LENS_MSG_CONCEPTS:
        return "concepts";
    case LENS_MSG_EXPLAIN:
        return "explain";
    case LENS_MSG_STATISTICS:
        return "statistics";
    case LENS_MSG_SESSIONS:
        return "sessions";
    case LENS_MSG_CONFIG:
        return "config";
    case LENS_MSG_EVENTS:
        return "events";
    case LENS_MSG_LOAD:
        return "load";
    case LENS_MSG_SWAP:
        return "swap";
    case LENS_MSG_UNLOAD:
        return "unload";
    case LENS_MSG_SHUTDOWN:
        return "shutdown";
    case LENS_MSG_TRACE:
        return "trace";
    case LENS_MSG_PRELOAD:
        return "preload";
    case LENS_MSG_RULES:
        return "rules";
    case LENS_MSG_PIN:
        return "pin";
    case LENS_MSG_UNPIN:
        return "unpin";
    case LENS_MSG_RULE_READINGS:
        return "rule-readings";
    case LENS_MSG_READINGS:
        return "readings";
    case LENS_MSG_HELLO_OK:
        return "hello-ok";
    case LENS_MSG_ATTACHED:
        return "attached";
    case LENS_MSG_DONE:
        return "done";
    case LENS_MSG_STATUS_IS:
        return "status-is";
    case LENS_MSG_PACK_PAGE:
        return "pack-page";
    case LENS_MSG_CONCEPT_PAGE:
        return "concept-page";
    case LENS_MSG_EXPLANATION:
        return "explanation";
    case LENS_MSG_STATISTICS_ARE:
        return "statistics-are";
    case LENS_MSG_SESSION_PAGE:
        return "session-page";
    case LENS_MSG_SETTING_PAGE:
        return "setting-page";
    case LENS_MSG_ERROR:
        return "error";
    case LENS_MSG_EVENT_PAGE:
        return "event-page";
    case LENS_MSG_TRACING:
        return "tracing";
    case LENS_MSG_RULE_PAGE:
        return "rule-page";
    case LENS_MSG_RULE_READING_PAGE:
        return "rule-reading-page";
    case LENS_MSG_READING_PAGE:
        return "reading-page";
    case LENS_MSG_RESULTS_READY:
        return "results-ready";
    case LENS_MSG_GOODBYE:
        return "goodbye";
    }
    return "?";
}

extern "C" const char *lens_fault_name(uint32_t code)
{
    static const char *const names[] = {
        "?",        "bad-message", "bad-version", "not-allowed", "no-such-pack",  "no-such-session", "no-such-concept",
        "no-space", "bad-pack",    "in-use",      "unsupported", "shutting-down", "internal",        "path-not-allowed",
    };
    static_assert(sizeof names / sizeof names[0] == static_cast<size_t>(fbs::FaultCode::MAX) + 1, "a name per code");
    return code < sizeof names / sizeof names[0] ? names[code] : "?";
}

// Copies without looking: what C callers put into an enum may be no value of it.
template <typename T> static void take_if(bool set, T &onto, const T &from)
{
    if (set)
        memcpy(&onto, &from, sizeof onto);
}

extern "C" void lens_options_overlay(struct lens_cascade_options *onto, const struct lens_cascade_options *from,
                                     uint32_t set)
{
    take_if(set & LENS_OPT_BASE, onto->base_layers, from->base_layers);
    take_if(set & LENS_OPT_EXPAND, onto->expand, from->expand);
    take_if(set & LENS_OPT_REPORT, onto->report, from->report);
    take_if(set & LENS_OPT_RANK, onto->rank, from->rank);
    take_if(set & LENS_OPT_UNCALIBRATED, onto->uncalibrated, from->uncalibrated);
    take_if(set & LENS_OPT_MISS, onto->miss, from->miss);
    take_if(set & LENS_OPT_LOAD_THRESHOLD, onto->load_threshold, from->load_threshold);
    take_if(set & LENS_OPT_UNLOAD_THRESHOLD, onto->unload_threshold, from->unload_threshold);
    take_if(set & LENS_OPT_SUPPRESS_AT, onto->suppress_at, from->suppress_at);
    take_if(set & LENS_OPT_SUPPRESS_PARENTS, onto->suppress_parents, from->suppress_parents);
    take_if(set & LENS_OPT_TOP_K, onto->top_k, from->top_k);
    take_if(set & LENS_OPT_KEEP_TOP_K, onto->keep_top_k, from->keep_top_k);
    take_if(set & LENS_OPT_MAX_DEPTH, onto->max_depth, from->max_depth);
    take_if(set & LENS_OPT_MAX_SCORED, onto->max_scored, from->max_scored);
}
