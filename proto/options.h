/* How a cascade runs: the options of DESIGN 4, their names and their bounds. One set per session; part of the attach
 * message, of the configuration and of every batch. Enum values are wire values (proto/lens.fbs). */
#ifndef LENS_OPTIONS_H
#define LENS_OPTIONS_H

#include "proto/lens_error.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum lens_expand { LENS_EXPAND_THRESHOLD = 0, LENS_EXPAND_TOPK = 1 };
enum lens_report { LENS_REPORT_FRONTIER = 0, LENS_REPORT_ALL = 1, LENS_REPORT_LEAVES = 2 };
enum lens_rank { LENS_RANK_RAW = 0, LENS_RANK_CALIBRATED = 1 };
enum lens_uncalibrated { LENS_UNCALIBRATED_RAW = 0, LENS_UNCALIBRATED_HALF = 1 };
enum lens_miss { LENS_MISS_WAIT = 0, LENS_MISS_DEADLINE = 1, LENS_MISS_SKIP = 2 };

struct lens_cascade_options {
    uint64_t base_layers; /* bit L = layer L is base; layers 0..63 */
    enum lens_expand expand;
    enum lens_report report;
    enum lens_rank rank;
    enum lens_uncalibrated uncalibrated;
    enum lens_miss miss;
    float load_threshold;   /* raw, 0..1 */
    float unload_threshold; /* raw, 0..1 */
    float suppress_at;      /* score, 0..1 */
    bool suppress_parents;
    uint32_t top_k;      /* 1..256 */
    int32_t keep_top_k;  /* -1 all, 0 none */
    uint32_t max_depth;  /* expansion steps, 0..64 */
    uint32_t max_scored; /* lenses of one row beyond the active set */
};

/* Base layers 0 and 1, threshold, frontier, raw, wait, 0.3 / 0.1 / 0.5, no suppression, top_k 10, keep 30, depth 5,
 * max_scored 4096. */
void lens_options_default(struct lens_cascade_options *out);

/* -EINVAL with a sentence naming the first option out of its bounds. */
int lens_options_check(const struct lens_cascade_options *options, struct lens_error *err);

/* Names as users write them: "threshold", "topk"; "frontier", "all", "leaves"; "raw", "calibrated"; "raw", "half";
 * "wait", "deadline", "skip". NULL-terminated, indexed by the enum. */
extern const char *const lens_expand_names[];
extern const char *const lens_report_names[];
extern const char *const lens_rank_names[];
extern const char *const lens_uncalibrated_names[];
extern const char *const lens_miss_names[];

/* Index of `text` in such a table, -EINVAL when it isn't there. */
int lens_option_parse(const char *const names[], const char *text);

/* "0,1" <-> bits. -EINVAL on anything but a comma-separated list of 0..63 without repeats; "" is no base at all.
 * The text form needs at most 192 bytes. */
int lens_base_layers_parse(const char *text, uint64_t *out);
void lens_base_layers_format(uint64_t bits, char *out, uint32_t size);

#ifdef __cplusplus
}
#endif
#endif
