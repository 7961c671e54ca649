/* What the rows of one pack detect, counted lens by lens: for the watch list (telemetry.watch) and for seeing that the
 * routing collapsed, which is when one concept is the best of nearly every row.
 *
 * A row detects a lens when the lens is in its report with a raw score of at least LENSD_DETECTED_AT. Every lens is
 * counted, so the watch list may change at any time, and the engine knows nothing of it.
 *
 * Threads: `note` is the engine's (no locks, no allocation); all else the loop's, at the same time. */
#ifndef LENSD_DETECTIONS_H
#define LENSD_DETECTIONS_H

#include "daemon/content.h"
#include "kernels/backend.h"
#include "proto/pack.h"

#define LENSD_DETECTED_AT    0.5f
#define LENSD_WATCH_MAX      64u  /* concepts */
#define LENSD_WATCH_TEXT     256u /* bytes of one of them */
#define LENSD_ROUTING_LOOK_S 10.0 /* between two looks */
#define LENSD_ROUTING_MEAN_S 60.0 /* what is this old counts 1/e */

/* Concepts as the configuration names them: "Name:layer". */
struct lensd_watch {
    uint32_t n;
    uint32_t version; /* changes with the list */
    char names[LENSD_WATCH_MAX][LENSD_WATCH_TEXT];
};

/* Of the rows of about the last minute that detected something, by the best detection of each. */
struct lensd_routing {
    double rows;         /* how many, older ones counting less; 0 = none: then the others say nothing */
    double entropy_bits; /* of the distribution over lenses: 0 = always the same one */
    double top_share;    /* of the lens that was best most often, 0..1 */
};

/* The concepts of a list between commas that lensd_watch_check accepted; a new version. */
void lensd_watch_parse(const char *list, struct lensd_watch *out);
/* Of a list that lensd_list_check accepted: -EINVAL with a sentence that doesn't name the setting: too many, or one
 * twice. */
int lensd_watch_check(const char *list, struct lens_error *err);

struct lensd_detections {
    uint32_t lenses;
    uint64_t *detected; /* [lenses] rows that detected it */
    uint64_t *best;     /* [lenses] rows whose best detection it was */
    uint64_t *seen;     /* [lenses] of `best`, by the last look */
    float *recent;      /* [lenses] */
    uint64_t looked_ns;
    struct lensd_routing routing;
    uint32_t watch_version;             /* of the list that the next two are for; 0 = none */
    int32_t watched[LENSD_WATCH_MAX];   /* the lens, -1 = the pack has no such concept */
    uint64_t carried[LENSD_WATCH_MAX];  /* what packs that this one replaced had counted */
    char missing[2 * LENSD_WATCH_TEXT]; /* names of concepts the pack lacks, "" = none */
};

int lensd_detections_create(uint32_t lenses, struct lensd_detections **out); /* -ENOMEM */
void lensd_detections_destroy(struct lensd_detections *detections);          /* NULL is fine */

/* Counts one answered row. */
void lensd_detections_note(struct lensd_detections *detections, const struct lens_row_out *row);

/* Once LENSD_ROUTING_LOOK_S have passed: takes in what was counted since. */
void lensd_detections_look(struct lensd_detections *detections, uint64_t now_ns);

/* Finds the list's concepts in the pack, if it has changed since; true when it had. Totals of concepts that stay on the
 * list stay. */
bool lensd_detections_watch(struct lensd_detections *detections, const struct lens_pack *pack,
                            const struct lensd_watch *watch);
/* Rows that detected the i-th concept of the list, since it was served under this name. */
uint64_t lensd_detections_total(const struct lensd_detections *detections, uint32_t i);
/* `detections` takes the place of `old`, whose engine is done with it, both for the same list. */
void lensd_detections_carry(struct lensd_detections *detections, const struct lensd_detections *old);

#endif
