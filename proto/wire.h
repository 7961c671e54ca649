/* What lies in a session's shared memory, byte for byte.
 *
 * These C structs mirror the FlatBuffers structs of the same names in proto/lens.fbs (little endian, explicit padding,
 * no pointers); proto/codec.cc holds the two together with static assertions. Everything here can be changed by the
 * other process at any time: whoever reads copies once into private memory and validates the copy (DESIGN 7). */
#ifndef LENS_WIRE_H
#define LENS_WIRE_H

#include <stdint.h>

#define LENS_WIRE_MAGIC    0x314d48534e454cull /* "LENSHM1" */
#define LENS_WIRE_VERSION  1u
#define LENS_PAYLOAD_ALIGN 64u    /* every submission's rows start on such a boundary */
#define LENS_MAX_ROWS      64u    /* rows of one submission at most */
#define LENS_MAX_EXPANDED  16384u /* expanded ids one result can carry at most */
#define LENS_MAX_TOP_K     256u   /* detections of one row at most */

/* What the client may ask of one submission (SubmitDescriptor.flags). */
enum lens_submit_flags {
    LENS_SUBMIT_LAST = 1u << 0,      /* ends the sequence after this submission: its retained set is forgotten */
    LENS_SUBMIT_PREWARM = 1u << 1,   /* bring lenses near; results are answered as always */
    LENS_SUBMIT_RESET = 1u << 2,     /* forget the retained set before this submission */
    LENS_SUBMIT_TOKEN_IDS = 1u << 3, /* i32[rows] token ids follow the rows, at the next 64-byte boundary */
    LENS_SUBMIT_KNOWN_FLAGS = (1u << 4) - 1,
};

/* One submission: 1..max_rows hidden states of one sequence. 128 bytes. */
struct lens_submit_descriptor {
    uint64_t sequence;       /* the client's name for the sequence */
    uint64_t tag;            /* returned untouched in every result */
    uint64_t first_position; /* token position of row 0 */
    uint64_t payload_offset; /* bytes ever put into the payload ring before this one; multiple of 64 */
    uint64_t submitted_ns;   /* CLOCK_MONOTONIC at submission; only used for the queue time */
    uint64_t deadline_ns;    /* CLOCK_MONOTONIC; 0 = none; read when miss = deadline */
    uint32_t payload_bytes;  /* rows * dim * element, plus token ids, rounded up to 64 */
    uint32_t rows;
    uint32_t serial;  /* counts the session's submissions; returned in results */
    uint32_t flags;   /* enum lens_submit_flags */
    uint32_t adapter; /* 0 = none; others are refused until adapters exist */
    uint16_t tap;     /* transformer block the rows were read at; 0 = the pack's own tap */
    uint8_t dtype;    /* enum lens_dtype: F32, F16 or BF16 */
    uint8_t reserved0;
    uint8_t reserved[56]; /* zero */
};

enum lens_row_status { LENS_ROW_COMPLETE = 0, LENS_ROW_PARTIAL = 1, LENS_ROW_INVALID_INPUT = 2 };

enum lens_row_flags {
    LENS_ROW_CAPPED = 1u << 0,
    LENS_ROW_DEGRADED = 1u << 1,
    LENS_ROW_STALE = 1u << 2,
    LENS_ROW_ALERT = 1u << 3, /* this row raised the rule that verdict_rule names */
};

/* What the daemon's rules on content (alerts.rules) say of a row: the strongest that is raised in its sequence. */
enum lens_verdict { LENS_VERDICT_NONE = 0, LENS_VERDICT_FLAG = 1, LENS_VERDICT_STOP = 2 };

/* A rule's name as results call it: FNV-1a over its bytes. */
static inline uint32_t lens_rule_id_of(const char *name)
{
    uint32_t id = 2166136261u;
    for (; *name != '\0'; name++)
        id = (id ^ (unsigned char)*name) * 16777619u;
    return id;
}

/* Why a row is INVALID_INPUT, or (ENGINE_FAILURE) PARTIAL and DEGRADED without any lens scored. */
enum lens_row_reason {
    LENS_REASON_NONE = 0,
    LENS_REASON_NOT_FINITE = 1,         /* NaN or Inf in the row, or a logit that is not a number */
    LENS_REASON_BAD_DESCRIPTOR = 2,     /* rows, dtype, flags, offset or length out of range */
    LENS_REASON_TOO_MANY_SEQUENCES = 3, /* end some, or attach with a larger max_sequences */
    LENS_REASON_ENGINE_FAILURE = 4,     /* the backend failed on this batch; the row was not scored */
};

/* Nanoseconds. base..select are those of the batch that the row ran in, shared by all rows of the batch. */
struct lens_row_timing {
    uint64_t queue;    /* from submitted_ns until the engine picked it up */
    uint64_t copy_in;  /* copy into private memory and normalisation */
    uint64_t base;     /* scoring the active set */
    uint64_t load;     /* waiting for lenses that were not resident */
    uint64_t expand;   /* choosing and scoring children */
    uint64_t select;   /* report, top-k, retained set */
    uint64_t copy_out; /* writing the result slots before this row's was published */
    uint64_t total;    /* from submitted_ns until published */
};

/* Lenses of this row's cascade. */
struct lens_row_counts {
    uint32_t scored;
    uint32_t expanded; /* how many; the slot holds the first expanded_stored of them */
    uint32_t loaded;   /* lenses loaded for the batch the row ran in */
    uint32_t slot_hits;
    uint32_t host_hits;
    uint32_t cold;
    uint32_t missing; /* wanted, but not resident in time (PARTIAL) */
    uint32_t reserved;
};

/* Head of a result slot: followed by u32 expanded[expanded_capacity] and lens_detection[top_k] (lens_ring.h). */
struct lens_result_header {
    uint64_t sequence;
    uint64_t tag;
    uint64_t position;     /* first_position + row */
    uint32_t serial;       /* of the submission */
    uint32_t row;          /* 0..rows-1 within the submission */
    uint32_t rows;         /* rows of the submission */
    int32_t token_id;      /* -1 when the submission carried none */
    uint8_t status;        /* enum lens_row_status */
    uint8_t reason;        /* enum lens_row_reason */
    uint8_t flags;         /* enum lens_row_flags */
    uint8_t verdict;       /* enum lens_verdict */
    uint32_t verdict_rule; /* lens_rule_id_of the rule, 0 = none */
    uint32_t pack_generation;
    uint32_t expanded_stored;
    uint32_t detections;
    uint32_t reserved;
    struct lens_row_counts counts;
    struct lens_row_timing timing;
};

struct lens_detection {
    uint32_t id; /* pack order */
    float score; /* raw or calibrated, as the session's rank says */
    float raw;   /* sigmoid(logit) */
    float logit;
};

/* One answered row as the daemon remembers it, for whoever asks later (EVENTS). Not in a session's memory. */
struct lens_event_row {
    uint64_t number;  /* counts the daemon's answered rows, from 1 */
    uint64_t time_ns; /* CLOCK_REALTIME when its result was written */
    uint64_t sequence, position, tag;
    uint64_t queue_ns, total_ns; /* as in lens_row_timing */
    uint32_t session;
    uint32_t generation; /* of the pack that `detections` are ids of */
    int32_t token_id;    /* -1 = none was given */
    uint32_t scored, expanded;
    uint32_t n_detections;      /* that the row reported; the daemon remembers the first few */
    uint32_t first_detection;   /* of those in the page, */
    uint32_t stored_detections; /* and how many: those remembered that the request wants */
    uint8_t status;             /* enum lens_row_status */
    uint8_t reason;             /* enum lens_row_reason */
    uint8_t flags;              /* enum lens_row_flags */
    uint8_t verdict;            /* enum lens_verdict */
    uint32_t verdict_rule;      /* 0 = none */
};

/* The first page of a session's memory. Geometry is written once by the daemon for the client to read; the daemon
 * keeps its own copy and never reads it back. Hot indices count items ever passed (they wrap at 2^64, i.e. never)
 * and sit 128 bytes apart, out of each other's cache-line pairs. */
struct lens_shm_header {
    uint64_t magic;
    uint32_t version;
    uint32_t submit_slots;
    uint32_t result_slots;
    uint32_t result_stride; /* bytes of one result slot, multiple of 64 */
    uint32_t expanded_capacity;
    uint32_t top_k;
    uint32_t dim;
    uint32_t max_rows;
    uint64_t submit_offset;
    uint64_t result_offset;
    uint64_t payload_offset;
    uint64_t payload_bytes;
    uint64_t total_bytes;
    uint8_t reserved0[48];
    uint64_t submit_head; /* client: descriptors published */
    uint8_t reserved1[120];
    uint64_t submit_tail; /* daemon: descriptors whose payload it no longer needs */
    uint8_t reserved2[120];
    uint64_t result_head; /* daemon: result slots published */
    uint8_t reserved3[120];
    uint64_t result_tail; /* client: result slots read */
    uint8_t reserved4[120];
    uint32_t daemon_sleeping; /* daemon: 1 = write the doorbell after publishing */
    uint8_t reserved5[124];
    uint32_t client_sleeping; /* client: enum lens_client_sleep */
    uint32_t result_futex;    /* daemon: bumped before a futex wake */
    uint8_t reserved6[120];
    uint64_t dropped_results; /* daemon: results lost because the result ring was full */
    uint8_t reserved7[120];
};

enum lens_client_sleep {
    LENS_CLIENT_AWAKE = 0,
    LENS_CLIENT_ON_FUTEX = 1, /* wake by futex on result_futex */
    LENS_CLIENT_ON_SOCKET = 2 /* wake by a ResultsReady packet on the control socket */
};

#endif
