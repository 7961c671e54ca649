/* Control messages between lensd and its clients: C structs in and out of FlatBuffers packets (DESIGN 7).
 *
 * One message per SEQPACKET packet. Decoding verifies the packet (which must be 8-byte aligned private memory) before
 * anything is read, then fills a struct lens_msg; strings and blobs in it are views into the packet, valid as long as
 * the packet is. Encoding writes into a buffer of the caller's; nothing here allocates from the heap beyond what the
 * FlatBuffers builder takes from a fixed buffer inside the codec's frame (6 KiB for a request, 34 KiB for an answer).
 * Unknown message types, values out of their enum, texts that aren't UTF-8 or hold a NUL, and lists over their bound
 * are refused with -EBADMSG; so is a packet larger than its limit (-EMSGSIZE).
 *
 * Threads: pure functions, safe from any thread. */
#ifndef LENS_CODEC_H
#define LENS_CODEC_H

#include "proto/lens_error.h"
#include "proto/options.h"
#include "proto/ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LENS_PROTOCOL_VERSION 1u
#define LENS_REQUEST_MAX      4096u  /* bytes of a client's packet */
#define LENS_ANSWER_MAX       32768u /* bytes of a daemon's packet */
#define LENS_PAGE_ROWS        64u    /* rows of one page of a list */
#define LENS_MAX_PINNED       256u   /* pinned ids in one attach */
#define LENS_MAX_PATTERNS     64u    /* patterns in each of an attach's three lists */
#define LENS_PATTERN_MAX      255u   /* bytes of one; an empty one is refused */
#define LENS_EVENT_DETECTIONS 512u   /* detections in one page of events */
#define LENS_EVENT_CONCEPTS   192u   /* concepts they are of */
#define LENS_EVENTS_NOW       UINT64_MAX
#define LENS_PATH_DEPTH       16u
#define LENS_STAGES           8u    /* queue, copy_in, base, load, expand, select, copy_out, total */
#define LENS_BUCKETS          2368u /* of a histogram (daemon/histogram.h) */

/* UTF-8 without terminator. Decoding gives "" (never NULL) for an absent text. Encoding takes any bytes: those that
 * aren't part of valid UTF-8, and NULs, go out as '?', so that an odd file name or a sentence cut in mid-character
 * never costs an answer. */
struct lens_text {
    const char *data;
    uint32_t length;
};

/* Message types; stable numbers, also in lens.fbs. Requests < 64 <= answers < 128 <= notices. */
enum lens_msg_type {
    LENS_MSG_HELLO = 1,
    LENS_MSG_ATTACH = 2,
    LENS_MSG_DETACH = 3,
    LENS_MSG_END_SEQUENCE = 4,
    LENS_MSG_STATUS = 5,
    LENS_MSG_PACKS = 6,
    LENS_MSG_CONCEPTS = 7,
    LENS_MSG_EXPLAIN = 8,
    LENS_MSG_STATISTICS = 9,
    LENS_MSG_SESSIONS = 10,
    LENS_MSG_CONFIG = 11,
    LENS_MSG_EVENTS = 12,
    LENS_MSG_LOAD = 13, /* operators only, like the next five */
    LENS_MSG_SWAP = 14,
    LENS_MSG_UNLOAD = 15,
    LENS_MSG_SHUTDOWN = 16,
    LENS_MSG_TRACE = 17,
    LENS_MSG_PRELOAD = 18,
    LENS_MSG_RULES = 19, /* for everybody, like the first twelve */
    LENS_MSG_PIN = 20,   /* operators only, like the next two */
    LENS_MSG_UNPIN = 21,
    LENS_MSG_READINGS = 22,
    LENS_MSG_RULE_READINGS = 23,
    LENS_MSG_HELLO_OK = 64,
    LENS_MSG_ATTACHED = 65, /* carries two descriptors: memory, doorbell */
    LENS_MSG_DONE = 66,
    LENS_MSG_STATUS_IS = 67,
    LENS_MSG_PACK_PAGE = 68,
    LENS_MSG_CONCEPT_PAGE = 69,
    LENS_MSG_EXPLANATION = 70,
    LENS_MSG_STATISTICS_ARE = 71,
    LENS_MSG_SESSION_PAGE = 72,
    LENS_MSG_SETTING_PAGE = 73,
    LENS_MSG_ERROR = 74,
    LENS_MSG_EVENT_PAGE = 75,
    LENS_MSG_TRACING = 76, /* carries one descriptor: the trace ring's memory */
    LENS_MSG_RULE_PAGE = 77,
    LENS_MSG_READING_PAGE = 78,
    LENS_MSG_RULE_READING_PAGE = 79,
    LENS_MSG_RESULTS_READY = 128, /* for clients that poll a descriptor; request id 0 */
    LENS_MSG_GOODBYE = 129,       /* the daemon ends or the session was closed; says why */
};

/* Stable error codes of LENS_MSG_ERROR. */
enum lens_fault {
    LENS_FAULT_BAD_MESSAGE = 1, /* the packet or a value in it breaks the protocol */
    LENS_FAULT_BAD_VERSION = 2, /* client and daemon speak different protocol versions */
    LENS_FAULT_NOT_ALLOWED = 3, /* role */
    LENS_FAULT_NO_SUCH_PACK = 4,
    LENS_FAULT_NO_SUCH_SESSION = 5,
    LENS_FAULT_NO_SUCH_CONCEPT = 6,
    LENS_FAULT_NO_SPACE = 7, /* slots, memory or sessions exhausted */
    LENS_FAULT_BAD_PACK = 8, /* doesn't open or verify */
    LENS_FAULT_IN_USE = 9,
    LENS_FAULT_UNSUPPORTED = 10,
    LENS_FAULT_SHUTTING_DOWN = 11,
    LENS_FAULT_INTERNAL = 12,
    LENS_FAULT_PATH_NOT_ALLOWED = 13, /* not below a configured pack directory */
};

enum lens_role_of_peer { LENS_PEER_CLIENT = 0, LENS_PEER_OPERATOR = 1 };

struct lens_hello {
    uint32_t protocol_version;
    struct lens_text client_name;
};
struct lens_hello_ok {
    uint32_t protocol_version;
    struct lens_text daemon_version;
    uint8_t role;                       /* enum lens_role_of_peer */
    uint64_t daemon_pid, start_time_ns; /* CLOCK_REALTIME: tells one daemon from the next */
};

/* Every session parameter; *_set says which options the client chose, the others take the daemon's defaults. */
enum lens_option_bit {
    LENS_OPT_BASE = 1u << 0,
    LENS_OPT_EXPAND = 1u << 1,
    LENS_OPT_REPORT = 1u << 2,
    LENS_OPT_RANK = 1u << 3,
    LENS_OPT_UNCALIBRATED = 1u << 4,
    LENS_OPT_MISS = 1u << 5,
    LENS_OPT_LOAD_THRESHOLD = 1u << 6,
    LENS_OPT_UNLOAD_THRESHOLD = 1u << 7,
    LENS_OPT_SUPPRESS_AT = 1u << 8,
    LENS_OPT_SUPPRESS_PARENTS = 1u << 9,
    LENS_OPT_TOP_K = 1u << 10,
    LENS_OPT_KEEP_TOP_K = 1u << 11,
    LENS_OPT_MAX_DEPTH = 1u << 12,
    LENS_OPT_MAX_SCORED = 1u << 13,
    LENS_OPT_ALL = (1u << 14) - 1
};
struct lens_attach {
    struct lens_text pack, label;                                                    /* pack "" = the first loaded */
    uint32_t max_rows, submit_slots, result_slots, expanded_capacity, max_sequences; /* 0 = default */
    uint32_t options_set;                                                            /* enum lens_option_bit */
    struct lens_cascade_options options; /* those not set are ignored, and decode as lens_options_default */
    uint32_t pinned[LENS_MAX_PINNED];
    uint32_t n_pinned;
    /* Patterns of "Name:layer" (fnmatch). All three lists together must fit LENS_REQUEST_MAX. */
    struct lens_text include[LENS_MAX_PATTERNS], exclude[LENS_MAX_PATTERNS], filter[LENS_MAX_PATTERNS];
    uint32_t n_include, n_exclude, n_filter;
};
struct lens_attached {
    uint32_t session, generation, lenses;
    struct lens_ring_layout layout;
    struct lens_cascade_options options; /* as they are in force */
    struct lens_text pack, model_id, tap_layer, tap_point;
};
struct lens_session_ref { /* DETACH */
    uint32_t session;
};
struct lens_end_sequence {
    uint32_t session;
    uint64_t sequence;
};
struct lens_status {
    struct lens_text version, backend, device, variant, reason; /* reason: why this backend */
    uint64_t pid, uptime_ns, start_time_ns;
    uint32_t threads, packs, sessions;
    uint64_t rows, dropped_rows, invalid_rows, lenses_scored;
    uint64_t heap_bytes, slab_bytes;
    uint32_t slots, resident, host_resident;
    uint64_t slot_hits, slot_misses, load_bytes;
    struct lens_text degraded; /* "" = full service */
    uint64_t p50_ns, p99_ns;   /* total, since start */
    /* Lenses, of all packs: evicted; brought ahead of any row; of those the ones a row wanted in time, the ones evicted
     * unwanted, the ones wanted while on their way; brought into slots in all; after the row was answered without. */
    uint64_t evictions, prefetch_issued, prefetch_used, prefetch_wasted, prefetch_late, loads, loads_behind;
    uint64_t host_hits, cold; /* loads from host memory, from the pack file */
    uint64_t host_bytes;      /* host memory that holds lenses */
    struct lens_text policy;  /* of the first pack */
    struct lens_text loading; /* "" = nothing; else how far, like "real-tree: 3120 of 7947 lenses" */
    uint64_t loads_waited;    /* that rows waited for */
    uint64_t degraded_rows;   /* flagged DEGRADED */
    struct lens_text memory;  /* "" = every pack has the slots it was to have; else how many, and why */
    struct lens_text config;  /* "" = the last reload was taken, or there was none; else why it wasn't */
    struct lens_text metrics; /* where /metrics is served, "off", or why it isn't */
    uint64_t queued;          /* submissions that aren't answered yet */
};
struct lens_page {  /* PACKS, SESSIONS, CONFIG, RULES: request for one page */
    uint32_t first; /* row to start at */
};
struct lens_pack_row {
    struct lens_text name, path, model_id, tap_layer, tap_point, dtype, slab_dtype, compute;
    uint32_t lenses, dim, h1, h2, generation, sessions, slots, resident;
    uint64_t file_bytes;
    struct lens_text policy;            /* which lens leaves its slot when another needs it */
    uint64_t lens_bytes, slot_bytes;    /* of one lens in the file, of one slot */
    uint32_t host_resident, host_slots; /* lenses that are, and may be, in host memory */
    uint32_t pinned;                    /* lenses pinned at run time, */
    struct lens_text pins;              /* and the branches they are of */
};
struct lens_pack_page {
    uint32_t first, total, count;
    struct lens_pack_row rows[LENS_PAGE_ROWS];
};
struct lens_concepts {     /* request */
    struct lens_text pack; /* "" = first */
    struct lens_text glob; /* matched against "Name:layer" with fnmatch; "" = all */
    uint32_t first;        /* lens id to start at */
};
struct lens_concept_row {
    uint32_t id;
    int32_t parent;
    uint32_t children;
    uint8_t layer, role, calibrated, resident;
    struct lens_text name; /* without the layer */
};
struct lens_concept_page {
    uint32_t generation;
    uint32_t next; /* id to ask for next; = lenses of the pack when this was the last page */
    uint32_t count;
    struct lens_concept_row rows[LENS_PAGE_ROWS];
};
struct lens_explain {               /* request */
    struct lens_text pack, concept; /* "Name:layer", "Name" or a decimal id */
};
struct lens_explanation {
    uint32_t id, generation;
    struct lens_text key;
    uint8_t layer, role, calibrated, resident;
    float calibration[7];
    uint32_t n_path; /* ids from root to the concept itself */
    uint32_t path[LENS_PATH_DEPTH];
    struct lens_text path_keys[LENS_PATH_DEPTH];
    uint32_t n_children; /* all */
    uint32_t count;      /* in this answer: the first LENS_PAGE_ROWS */
    uint32_t children[LENS_PAGE_ROWS];
    struct lens_text child_keys[LENS_PAGE_ROWS];
    struct lens_text content; /* what the daemon's lists of concepts say of it, as sentences; "" = nothing */
};
struct lens_statistics_query {
    uint32_t session; /* 0 = the whole daemon */
    bool buckets;     /* the histogram of the stage total as well */
};
struct lens_stage_row { /* nanoseconds */
    uint64_t count, p50, p90, p99, p999, max, mean;
};
struct lens_statistics {
    uint64_t rows, dropped_rows, invalid_rows, partial_rows, capped_rows, degraded_rows, lenses_scored, lenses_expanded,
        lenses_loaded, slot_hits, host_hits, cold, batches, batch_rows;
    struct lens_stage_row stages[LENS_STAGES];
    uint64_t sums[LENS_STAGES]; /* nanoseconds of all rows together */
};
struct lens_bucket { /* as daemon/histogram.h numbers them; counts wrap at 2^32 */
    uint32_t index, count;
};
struct lens_statistics_answer {
    struct lens_statistics all;
    uint32_t n_buckets; /* that aren't empty, of the stage total since start; 0 unless asked for */
    struct lens_bucket buckets[LENS_BUCKETS];
};
struct lens_session_row {
    uint32_t session, pid, uid, sequences;
    struct lens_text label, pack;
    uint64_t rows, dropped, memory_bytes, p50_ns, p99_ns, age_ns;
};
struct lens_session_page {
    uint32_t first, total, count;
    struct lens_session_row rows[LENS_PAGE_ROWS];
};
struct lens_setting_row {
    struct lens_text name, value, origin, help; /* origin: default, file, environment, flag */
    uint8_t live;                               /* can change without restart */
    /* Where in file, environment or flags; the default; what a reload changes it for; the value that waits for a
     * restart, when `waits`; loaded packs that were made before the setting changed last. */
    struct lens_text place, fallback, applies, pending;
    uint8_t waits;
    uint32_t older_packs;
};
struct lens_setting_page {
    uint32_t first, total, count;
    struct lens_setting_row rows[LENS_PAGE_ROWS];
};
struct lens_rule_row {
    uint32_t id; /* lens_rule_id_of(name): verdict_rule of results and events */
    struct lens_text name;
    struct lens_text text; /* "on=.. above=..", as configured; "" = not any more, though older sessions may have it */
    uint8_t action;        /* enum lens_verdict */
    uint64_t raised;       /* since the daemon began */
};
struct lens_rule_page {
    uint32_t first, total, count;
    struct lens_rule_row rows[LENS_PAGE_ROWS];
};
/* What each rule of a session last read in one of its sequences. RULE_READINGS asks with a struct lens_end_sequence. */
struct lens_rule_reading_row {
    uint32_t id;
    struct lens_text name;
    uint8_t action, raised;                    /* enum lens_verdict; whether it is raised now */
    float reading, smoothed, deviation, trend; /* NaN = there is none yet, or the rule has none */
};
struct lens_rule_reading_page {
    uint32_t count;
    struct lens_rule_reading_row rows[LENS_PAGE_ROWS];
};
/* Rows answered lately. The daemon keeps no state of who asks: a client that asks again with `from` = the page's
 * `next` misses nothing that isn't counted in `lost`, also after it was away. */
struct lens_events {
    uint32_t session;      /* 0 = all that the peer may see: an operator everyone's, others those of their user id */
    struct lens_text glob; /* of "Name:layer" (fnmatch): other detections are left out; "" = none is */
    float min_score;       /* 0..1: detections that score less are left out */
    uint64_t from;  /* number of the first event wanted; 0 = the oldest kept, LENS_EVENTS_NOW = what comes next */
    bool only_hits; /* rows without any detection left are passed over, but for those that raised a rule */
};
struct lens_event_concept {
    uint32_t generation, id;
    struct lens_text key; /* "Name:layer"; "" when the pack of that generation is gone */
};
struct lens_event_page {
    uint64_t next; /* ask for it next */
    uint64_t end;  /* number of the next row to be answered: = next when this was all for now */
    uint64_t lost; /* events between `from` and `next` that were overwritten before they were asked for */
    uint32_t count, n_detections, n_concepts;
    struct lens_event_row rows[LENS_PAGE_ROWS]; /* oldest first */
    struct lens_detection detections[LENS_EVENT_DETECTIONS];
    struct lens_event_concept concepts[LENS_EVENT_CONCEPTS]; /* each that a detection names, once */
};
struct lens_load { /* LOAD and SWAP: path of a pack file; UNLOAD: name of a loaded pack */
    struct lens_text pack;
    struct lens_text name; /* SWAP: loaded pack to replace, "" = the first; LOAD: name to give, "" = file stem */
};
struct lens_pack_ref {     /* TRACE, PRELOAD */
    struct lens_text pack; /* "" = first */
};
struct lens_pin {                   /* PIN, UNPIN */
    struct lens_text pack, concept; /* "" = first; "Name:layer", "Name" or a decimal id */
    bool alone;                     /* without what is below the concept */
};
struct lens_readings { /* request */
    struct lens_text pack, concept;
    uint32_t first; /* lens id to start at */
};
struct lens_reading_row {
    uint32_t id;
    int32_t parent; /* by which it belongs to the branch, -1 = the branch itself */
    uint8_t layer, resident, pinned;
    struct lens_text key;
    float last_logit, peak_logit; /* NaN = never scored; not in the last 30 to 60 seconds */
    uint64_t age_ns, rows, hits;  /* since it was scored last; rows that scored it; of those above a raw score of 0.5 */
};
struct lens_reading_page {
    struct lens_text pack;
    uint32_t generation, branch, lenses; /* branch: id of the concept asked for; lenses: of the whole branch */
    uint32_t next;                       /* id to ask for next; = lenses of the pack when this was the last page */
    uint32_t count;
    struct lens_reading_row rows[LENS_PAGE_ROWS];
};
struct lens_tracing {
    uint32_t generation, lenses; /* of the pack */
    uint64_t bytes;              /* of the memory */
    struct lens_text pack;
};
struct lens_done {
    struct lens_text text;
    uint32_t generation; /* of the pack concerned, 0 = none */
};
struct lens_fault_answer {
    uint32_t code; /* enum lens_fault */
    struct lens_text text;
};
struct lens_goodbye {
    uint32_t session; /* 0 = the whole daemon */
    struct lens_text text;
};

/* A message of any type; large (tens of KiB): keep one per connection or thread, not on a small stack. */
struct lens_msg {
    enum lens_msg_type type;
    uint64_t request_id; /* given by the client, returned by the answer */
    union {
        struct lens_hello hello;
        struct lens_hello_ok hello_ok;
        struct lens_attach attach;
        struct lens_attached attached;
        struct lens_session_ref detach;
        struct lens_end_sequence end_sequence;
        struct lens_status status_is;
        struct lens_page page; /* PACKS, SESSIONS, CONFIG, RULES */
        struct lens_pack_page pack_page;
        struct lens_concepts concepts;
        struct lens_concept_page concept_page;
        struct lens_explain explain;
        struct lens_explanation explanation;
        struct lens_statistics_query statistics;
        struct lens_statistics_answer statistics_are;
        struct lens_session_page session_page;
        struct lens_setting_page setting_page;
        struct lens_rule_page rule_page;
        struct lens_end_sequence rule_readings;
        struct lens_rule_reading_page rule_reading_page;
        struct lens_events events;
        struct lens_event_page event_page;
        struct lens_load load;         /* LOAD, SWAP, UNLOAD */
        struct lens_pack_ref pack_ref; /* TRACE, PRELOAD */
        struct lens_pin pin;           /* PIN, UNPIN */
        struct lens_readings readings;
        struct lens_reading_page reading_page;
        struct lens_tracing tracing;
        struct lens_done done;
        struct lens_fault_answer fault;
        struct lens_goodbye goodbye;
        struct lens_session_ref results_ready;
    } u;
};

/* Encodes into buf[capacity]; returns the packet's length, or -EMSGSIZE when it doesn't fit (a page with fewer rows
 * may), -EINVAL when a value is outside its bounds. */
int lens_msg_encode(const struct lens_msg *msg, void *buf, size_t capacity);

/* Decodes buf[length] (8-byte aligned). 0, -EBADMSG or -EMSGSIZE; `limit` is LENS_REQUEST_MAX or LENS_ANSWER_MAX. */
int lens_msg_decode(const void *buf, size_t length, size_t limit, struct lens_msg *out, struct lens_error *err);

/* Takes from `from` the options in `set` (enum lens_option_bit) over those of `onto`: what a client chose over the
 * daemon's defaults. */
void lens_options_overlay(struct lens_cascade_options *onto, const struct lens_cascade_options *from, uint32_t set);

/* "attach", "status-is", ..; "?" outside the enum. */
const char *lens_msg_name(enum lens_msg_type type);
const char *lens_fault_name(uint32_t code); /* "no-such-pack", .. */

static inline struct lens_text lens_text_of(const char *s)
{
    struct lens_text text = {s, 0};
    while (s != NULL && s[text.length] != '\0')
        text.length++;
    return text;
}

#ifdef __cplusplus
}
#endif
#endif
