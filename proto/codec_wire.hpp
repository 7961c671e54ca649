// The generated FlatBuffers code, kept to one C++ unit (codec.cc), and the proof that the C structs of wire.h and the
// numbers of codec.h, options.h and dtype.h are those of lens.fbs.
//
// liblens.a is linked into other people's programs, which may use another FlatBuffers or define operator new. So
// everything C++ here gets private names: the FlatBuffers namespace, the generated namespace, and the allocation
// operators, which FlatBuffers mentions but never calls when it is given an allocator (codec.cc traps in them).
#ifndef LENS_CODEC_WIRE_HPP
#define LENS_CODEC_WIRE_HPP

#include <cstddef>
#include <cstring>

void *operator new(std::size_t) __asm__("lens_codec_no_new");
void *operator new[](std::size_t) __asm__("lens_codec_no_new_array");
void operator delete(void *) noexcept __asm__("lens_codec_no_delete");
void operator delete[](void *) noexcept __asm__("lens_codec_no_delete_array");
void operator delete(void *, std::size_t) noexcept __asm__("lens_codec_no_delete_sized");
void operator delete[](void *, std::size_t) noexcept __asm__("lens_codec_no_delete_array_sized");

#define flatbuffers lens_codec_flatbuffers
#define wire        lens_codec_wire
#include "proto/lens_generated.h"
namespace fbs = lens::wire;
namespace flat = flatbuffers;
#undef wire
#undef flatbuffers

#include "proto/codec.h"
#include "proto/dtype.h"
#include "proto/wire.h"

#define SAME_FIELD(fb, c, field)                                                                                       \
    static_assert(offsetof(fbs::fb, field##_) == offsetof(struct c, field) &&                                          \
                      sizeof(fbs::fb::field##_) == sizeof(c::field),                                                   \
                  #c "." #field " differs from lens.fbs")
#define SAME_SIZE(fb, c)  static_assert(sizeof(fbs::fb) == sizeof(struct c), #c " differs from lens.fbs")
#define SAME_VALUE(fb, c) static_assert(static_cast<long>(fbs::fb) == static_cast<long>(c), #c " differs from lens.fbs")

SAME_SIZE(SubmitDescriptor, lens_submit_descriptor);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, sequence);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, tag);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, first_position);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, payload_offset);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, submitted_ns);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, deadline_ns);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, payload_bytes);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, rows);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, serial);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, flags);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, adapter);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, tap);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, dtype);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, reserved0);
SAME_FIELD(SubmitDescriptor, lens_submit_descriptor, reserved);

SAME_SIZE(RowTiming, lens_row_timing);
SAME_FIELD(RowTiming, lens_row_timing, queue);
SAME_FIELD(RowTiming, lens_row_timing, copy_in);
SAME_FIELD(RowTiming, lens_row_timing, base);
SAME_FIELD(RowTiming, lens_row_timing, load);
SAME_FIELD(RowTiming, lens_row_timing, expand);
SAME_FIELD(RowTiming, lens_row_timing, select);
SAME_FIELD(RowTiming, lens_row_timing, copy_out);
SAME_FIELD(RowTiming, lens_row_timing, total);

SAME_SIZE(RowCounts, lens_row_counts);
SAME_FIELD(RowCounts, lens_row_counts, scored);
SAME_FIELD(RowCounts, lens_row_counts, expanded);
SAME_FIELD(RowCounts, lens_row_counts, loaded);
SAME_FIELD(RowCounts, lens_row_counts, slot_hits);
SAME_FIELD(RowCounts, lens_row_counts, host_hits);
SAME_FIELD(RowCounts, lens_row_counts, cold);
SAME_FIELD(RowCounts, lens_row_counts, missing);
SAME_FIELD(RowCounts, lens_row_counts, reserved);

SAME_SIZE(ResultHeader, lens_result_header);
SAME_FIELD(ResultHeader, lens_result_header, sequence);
SAME_FIELD(ResultHeader, lens_result_header, tag);
SAME_FIELD(ResultHeader, lens_result_header, position);
SAME_FIELD(ResultHeader, lens_result_header, serial);
SAME_FIELD(ResultHeader, lens_result_header, row);
SAME_FIELD(ResultHeader, lens_result_header, rows);
SAME_FIELD(ResultHeader, lens_result_header, token_id);
SAME_FIELD(ResultHeader, lens_result_header, status);
SAME_FIELD(ResultHeader, lens_result_header, reason);
SAME_FIELD(ResultHeader, lens_result_header, flags);
SAME_FIELD(ResultHeader, lens_result_header, verdict);
SAME_FIELD(ResultHeader, lens_result_header, verdict_rule);
SAME_FIELD(ResultHeader, lens_result_header, pack_generation);
SAME_FIELD(ResultHeader, lens_result_header, expanded_stored);
SAME_FIELD(ResultHeader, lens_result_header, detections);
SAME_FIELD(ResultHeader, lens_result_header, reserved);
SAME_FIELD(ResultHeader, lens_result_header, counts);
SAME_FIELD(ResultHeader, lens_result_header, timing);

SAME_SIZE(Detection, lens_detection);
SAME_FIELD(Detection, lens_detection, id);
SAME_FIELD(Detection, lens_detection, score);
SAME_FIELD(Detection, lens_detection, raw);
SAME_FIELD(Detection, lens_detection, logit);

SAME_SIZE(EventRow, lens_event_row);
SAME_FIELD(EventRow, lens_event_row, number);
SAME_FIELD(EventRow, lens_event_row, time_ns);
SAME_FIELD(EventRow, lens_event_row, sequence);
SAME_FIELD(EventRow, lens_event_row, position);
SAME_FIELD(EventRow, lens_event_row, tag);
SAME_FIELD(EventRow, lens_event_row, queue_ns);
SAME_FIELD(EventRow, lens_event_row, total_ns);
SAME_FIELD(EventRow, lens_event_row, session);
SAME_FIELD(EventRow, lens_event_row, generation);
SAME_FIELD(EventRow, lens_event_row, token_id);
SAME_FIELD(EventRow, lens_event_row, scored);
SAME_FIELD(EventRow, lens_event_row, expanded);
SAME_FIELD(EventRow, lens_event_row, n_detections);
SAME_FIELD(EventRow, lens_event_row, first_detection);
SAME_FIELD(EventRow, lens_event_row, stored_detections);
SAME_FIELD(EventRow, lens_event_row, status);
SAME_FIELD(EventRow, lens_event_row, reason);
SAME_FIELD(EventRow, lens_event_row, flags);
SAME_FIELD(EventRow, lens_event_row, verdict);
SAME_FIELD(EventRow, lens_event_row, verdict_rule);

SAME_SIZE(ShmHeader, lens_shm_header);
SAME_FIELD(ShmHeader, lens_shm_header, magic);
SAME_FIELD(ShmHeader, lens_shm_header, version);
SAME_FIELD(ShmHeader, lens_shm_header, submit_slots);
SAME_FIELD(ShmHeader, lens_shm_header, result_slots);
SAME_FIELD(ShmHeader, lens_shm_header, result_stride);
SAME_FIELD(ShmHeader, lens_shm_header, expanded_capacity);
SAME_FIELD(ShmHeader, lens_shm_header, top_k);
SAME_FIELD(ShmHeader, lens_shm_header, dim);
SAME_FIELD(ShmHeader, lens_shm_header, max_rows);
SAME_FIELD(ShmHeader, lens_shm_header, submit_offset);
SAME_FIELD(ShmHeader, lens_shm_header, result_offset);
SAME_FIELD(ShmHeader, lens_shm_header, payload_offset);
SAME_FIELD(ShmHeader, lens_shm_header, payload_bytes);
SAME_FIELD(ShmHeader, lens_shm_header, total_bytes);
SAME_FIELD(ShmHeader, lens_shm_header, reserved0);
SAME_FIELD(ShmHeader, lens_shm_header, submit_head);
SAME_FIELD(ShmHeader, lens_shm_header, reserved1);
SAME_FIELD(ShmHeader, lens_shm_header, submit_tail);
SAME_FIELD(ShmHeader, lens_shm_header, reserved2);
SAME_FIELD(ShmHeader, lens_shm_header, result_head);
SAME_FIELD(ShmHeader, lens_shm_header, reserved3);
SAME_FIELD(ShmHeader, lens_shm_header, result_tail);
SAME_FIELD(ShmHeader, lens_shm_header, reserved4);
SAME_FIELD(ShmHeader, lens_shm_header, daemon_sleeping);
SAME_FIELD(ShmHeader, lens_shm_header, reserved5);
SAME_FIELD(ShmHeader, lens_shm_header, client_sleeping);
SAME_FIELD(ShmHeader, lens_shm_header, result_futex);
SAME_FIELD(ShmHeader, lens_shm_header, reserved6);
SAME_FIELD(ShmHeader, lens_shm_header, dropped_results);
SAME_FIELD(ShmHeader, lens_shm_header, reserved7);

SAME_SIZE(Bucket, lens_bucket);
SAME_FIELD(Bucket, lens_bucket, index);
SAME_FIELD(Bucket, lens_bucket, count);

SAME_SIZE(StageRow, lens_stage_row);
SAME_FIELD(StageRow, lens_stage_row, count);
SAME_FIELD(StageRow, lens_stage_row, p50);
SAME_FIELD(StageRow, lens_stage_row, p90);
SAME_FIELD(StageRow, lens_stage_row, p99);
SAME_FIELD(StageRow, lens_stage_row, p999);
SAME_FIELD(StageRow, lens_stage_row, max);
SAME_FIELD(StageRow, lens_stage_row, mean);

SAME_VALUE(DType::F32, LENS_F32);
SAME_VALUE(DType::F16, LENS_F16);
SAME_VALUE(DType::BF16, LENS_BF16);
SAME_VALUE(DType::I8, LENS_I8);
SAME_VALUE(DType::LOG8, LENS_LOG8);
SAME_VALUE(DType::FP8, LENS_FP8);
SAME_VALUE(Expand::THRESHOLD, LENS_EXPAND_THRESHOLD);
SAME_VALUE(Expand::TOPK, LENS_EXPAND_TOPK);
SAME_VALUE(Report::FRONTIER, LENS_REPORT_FRONTIER);
SAME_VALUE(Report::ALL, LENS_REPORT_ALL);
SAME_VALUE(Report::LEAVES, LENS_REPORT_LEAVES);
SAME_VALUE(Rank::RAW, LENS_RANK_RAW);
SAME_VALUE(Rank::CALIBRATED, LENS_RANK_CALIBRATED);
SAME_VALUE(Uncalibrated::RAW, LENS_UNCALIBRATED_RAW);
SAME_VALUE(Uncalibrated::HALF, LENS_UNCALIBRATED_HALF);
SAME_VALUE(Miss::WAIT, LENS_MISS_WAIT);
SAME_VALUE(Miss::DEADLINE, LENS_MISS_DEADLINE);
SAME_VALUE(Miss::SKIP, LENS_MISS_SKIP);
SAME_VALUE(PeerRole::CLIENT, LENS_PEER_CLIENT);
SAME_VALUE(PeerRole::OPERATOR, LENS_PEER_OPERATOR);
SAME_VALUE(RowStatus::COMPLETE, LENS_ROW_COMPLETE);
SAME_VALUE(RowStatus::PARTIAL, LENS_ROW_PARTIAL);
SAME_VALUE(RowStatus::INVALID_INPUT, LENS_ROW_INVALID_INPUT);
SAME_VALUE(RowFlags::CAPPED, LENS_ROW_CAPPED);
SAME_VALUE(RowFlags::DEGRADED, LENS_ROW_DEGRADED);
SAME_VALUE(RowFlags::STALE, LENS_ROW_STALE);
SAME_VALUE(RowFlags::ALERT, LENS_ROW_ALERT);
SAME_VALUE(Verdict::NONE, LENS_VERDICT_NONE);
SAME_VALUE(Verdict::FLAG, LENS_VERDICT_FLAG);
SAME_VALUE(Verdict::STOP, LENS_VERDICT_STOP);
SAME_VALUE(RowReason::NONE, LENS_REASON_NONE);
SAME_VALUE(RowReason::NOT_FINITE, LENS_REASON_NOT_FINITE);
SAME_VALUE(RowReason::BAD_DESCRIPTOR, LENS_REASON_BAD_DESCRIPTOR);
SAME_VALUE(RowReason::TOO_MANY_SEQUENCES, LENS_REASON_TOO_MANY_SEQUENCES);
SAME_VALUE(RowReason::ENGINE_FAILURE, LENS_REASON_ENGINE_FAILURE);
SAME_VALUE(SubmitFlags::LAST, LENS_SUBMIT_LAST);
SAME_VALUE(SubmitFlags::PREWARM, LENS_SUBMIT_PREWARM);
SAME_VALUE(SubmitFlags::RESET, LENS_SUBMIT_RESET);
SAME_VALUE(SubmitFlags::TOKEN_IDS, LENS_SUBMIT_TOKEN_IDS);
SAME_VALUE(SubmitFlags::ANY, LENS_SUBMIT_KNOWN_FLAGS);
SAME_VALUE(ClientSleep::AWAKE, LENS_CLIENT_AWAKE);
SAME_VALUE(ClientSleep::ON_FUTEX, LENS_CLIENT_ON_FUTEX);
SAME_VALUE(ClientSleep::ON_SOCKET, LENS_CLIENT_ON_SOCKET);
SAME_VALUE(OptionBits::BASE, LENS_OPT_BASE);
SAME_VALUE(OptionBits::EXPAND, LENS_OPT_EXPAND);
SAME_VALUE(OptionBits::REPORT, LENS_OPT_REPORT);
SAME_VALUE(OptionBits::RANK, LENS_OPT_RANK);
SAME_VALUE(OptionBits::UNCALIBRATED, LENS_OPT_UNCALIBRATED);
SAME_VALUE(OptionBits::MISS, LENS_OPT_MISS);
SAME_VALUE(OptionBits::LOAD_THRESHOLD, LENS_OPT_LOAD_THRESHOLD);
SAME_VALUE(OptionBits::UNLOAD_THRESHOLD, LENS_OPT_UNLOAD_THRESHOLD);
SAME_VALUE(OptionBits::SUPPRESS_AT, LENS_OPT_SUPPRESS_AT);
SAME_VALUE(OptionBits::SUPPRESS_PARENTS, LENS_OPT_SUPPRESS_PARENTS);
SAME_VALUE(OptionBits::TOP_K, LENS_OPT_TOP_K);
SAME_VALUE(OptionBits::KEEP_TOP_K, LENS_OPT_KEEP_TOP_K);
SAME_VALUE(OptionBits::MAX_DEPTH, LENS_OPT_MAX_DEPTH);
SAME_VALUE(OptionBits::MAX_SCORED, LENS_OPT_MAX_SCORED);
SAME_VALUE(OptionBits::ANY, LENS_OPT_ALL);
SAME_VALUE(FaultCode::BAD_MESSAGE, LENS_FAULT_BAD_MESSAGE);
SAME_VALUE(FaultCode::BAD_VERSION, LENS_FAULT_BAD_VERSION);
SAME_VALUE(FaultCode::NOT_ALLOWED, LENS_FAULT_NOT_ALLOWED);
SAME_VALUE(FaultCode::NO_SUCH_PACK, LENS_FAULT_NO_SUCH_PACK);
SAME_VALUE(FaultCode::NO_SUCH_SESSION, LENS_FAULT_NO_SUCH_SESSION);
SAME_VALUE(FaultCode::NO_SUCH_CONCEPT, LENS_FAULT_NO_SUCH_CONCEPT);
SAME_VALUE(FaultCode::NO_SPACE, LENS_FAULT_NO_SPACE);
SAME_VALUE(FaultCode::BAD_PACK, LENS_FAULT_BAD_PACK);
SAME_VALUE(FaultCode::IN_USE, LENS_FAULT_IN_USE);
SAME_VALUE(FaultCode::UNSUPPORTED, LENS_FAULT_UNSUPPORTED);
SAME_VALUE(FaultCode::SHUTTING_DOWN, LENS_FAULT_SHUTTING_DOWN);
SAME_VALUE(FaultCode::INTERNAL, LENS_FAULT_INTERNAL);
SAME_VALUE(FaultCode::PATH_NOT_ALLOWED, LENS_FAULT_PATH_NOT_ALLOWED);
SAME_VALUE(Body::Hello, LENS_MSG_HELLO);
SAME_VALUE(Body::Attach, LENS_MSG_ATTACH);
SAME_VALUE(Body::Detach, LENS_MSG_DETACH);
SAME_VALUE(Body::EndSequence, LENS_MSG_END_SEQUENCE);
SAME_VALUE(Body::Status, LENS_MSG_STATUS);
SAME_VALUE(Body::Packs, LENS_MSG_PACKS);
SAME_VALUE(Body::Concepts, LENS_MSG_CONCEPTS);
SAME_VALUE(Body::Explain, LENS_MSG_EXPLAIN);
SAME_VALUE(Body::Statistics, LENS_MSG_STATISTICS);
SAME_VALUE(Body::Sessions, LENS_MSG_SESSIONS);
SAME_VALUE(Body::Config, LENS_MSG_CONFIG);
SAME_VALUE(Body::Events, LENS_MSG_EVENTS);
SAME_VALUE(Body::Load, LENS_MSG_LOAD);
SAME_VALUE(Body::Swap, LENS_MSG_SWAP);
SAME_VALUE(Body::Unload, LENS_MSG_UNLOAD);
SAME_VALUE(Body::Shutdown, LENS_MSG_SHUTDOWN);
SAME_VALUE(Body::Trace, LENS_MSG_TRACE);
SAME_VALUE(Body::Preload, LENS_MSG_PRELOAD);
SAME_VALUE(Body::Rules, LENS_MSG_RULES);
SAME_VALUE(Body::Pin, LENS_MSG_PIN);
SAME_VALUE(Body::Unpin, LENS_MSG_UNPIN);
SAME_VALUE(Body::Readings, LENS_MSG_READINGS);
SAME_VALUE(Body::RuleReadings, LENS_MSG_RULE_READINGS);
SAME_VALUE(Body::HelloOk, LENS_MSG_HELLO_OK);
SAME_VALUE(Body::Attached, LENS_MSG_ATTACHED);
SAME_VALUE(Body::Done, LENS_MSG_DONE);
SAME_VALUE(Body::StatusIs, LENS_MSG_STATUS_IS);
SAME_VALUE(Body::PackPage, LENS_MSG_PACK_PAGE);
SAME_VALUE(Body::ConceptPage, LENS_MSG_CONCEPT_PAGE);
SAME_VALUE(Body::Explanation, LENS_MSG_EXPLANATION);
SAME_VALUE(Body::StatisticsAre, LENS_MSG_STATISTICS_ARE);
SAME_VALUE(Body::SessionPage, LENS_MSG_SESSION_PAGE);
SAME_VALUE(Body::SettingPage, LENS_MSG_SETTING_PAGE);
SAME_VALUE(Body::Error, LENS_MSG_ERROR);
SAME_VALUE(Body::EventPage, LENS_MSG_EVENT_PAGE);
SAME_VALUE(Body::Tracing, LENS_MSG_TRACING);
SAME_VALUE(Body::RulePage, LENS_MSG_RULE_PAGE);
SAME_VALUE(Body::ReadingPage, LENS_MSG_READING_PAGE);
SAME_VALUE(Body::RuleReadingPage, LENS_MSG_RULE_READING_PAGE);
SAME_VALUE(Body::ResultsReady, LENS_MSG_RESULTS_READY);
SAME_VALUE(Body::Goodbye, LENS_MSG_GOODBYE);

#undef SAME_FIELD
#undef SAME_SIZE
#undef SAME_VALUE

// What a C enum really holds: C callers may put any number there, C++ may not even look at it as the enum.
template <typename E> static inline unsigned raw(const E &e)
{
    static_assert(sizeof(E) == sizeof(unsigned), "C enums are ints");
    unsigned value;
    memcpy(&value, &e, sizeof value);
    return value;
}

#endif
