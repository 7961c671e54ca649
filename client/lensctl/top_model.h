/* What `lensctl top` knows of the concepts that fire: a series per concept, out of pages of events. It asks nobody and
 * draws nothing.
 *
 * Time goes in intervals: events are counted into the one that is open, top_model_close ends it. Of each concept:
 *
 * - last: the score of its latest detection
 * - score: the decayed maximum: the highest score of the interval, or the maximum so far if that is more, which halves
 *   every TOP_HALF_LIFE_S seconds
 * - rate: detections per second in the interval that was closed last
 * - history: the highest score of each of the last TOP_HISTORY intervals, 0 = no detection
 * - trend: the mean of the last TOP_TREND intervals of the history less the mean of as many before them
 *
 * The trend is rising from +TOP_TREND_STEP on, falling from -TOP_TREND_STEP on, else steady; with fewer than 2 *
 * TOP_TREND intervals halves of what there is are compared, and before there are two it is unknown.
 *
 * A concept is known by its pack and key, so that it stays itself when the pack is swapped and ids change.
 *
 * Memory is bounded: at most `capacity` concepts are kept. One more takes the place of that with the lowest score among
 * those that aren't watched, which is counted in `forgotten`. One that was silent for the whole history goes as well.
 *
 * Threads: one at a time. */
#ifndef LENSCTL_TOP_MODEL_H
#define LENSCTL_TOP_MODEL_H

#include "daemon/histogram.h"
#include "proto/codec.h"

#define TOP_HISTORY     64u
#define TOP_HALF_LIFE_S 10.0
#define TOP_TREND       4u
#define TOP_TREND_STEP  0.05
#define TOP_CAPACITY    4096u
#define TOP_PACKS       64u /* generations whose pack is remembered */
#define TOP_WATCHED     64u

enum top_sort { TOP_BY_SCORE, TOP_BY_RATE, TOP_BY_TREND, TOP_BY_NAME, TOP_SORTS };
enum top_trend { TOP_UNKNOWN, TOP_RISING, TOP_FALLING, TOP_STEADY };

struct top_concept {
    char *key;       /* "Name:layer", as the daemon says it: printed through ctl_printable */
    char *pack;      /* its name */
    char *path;      /* for whoever shows it: keys from the root, each ended by NUL; NULL until somebody sets it */
    uint32_t n_path; /* of the keys in path */
    uint32_t generation, id; /* as seen last; generation 0: not yet detected */
    bool watched;
    float last;
    double score, rate;
    double trend_step; /* the difference that `trend` goes by */
    enum top_trend trend;
    uint64_t detections;        /* in all */
    float history[TOP_HISTORY]; /* see top_history */
    uint32_t open_count;        /* of the open interval */
    float open_max;
    uint32_t next; /* of the same hash; used inside */
};

struct top_model {
    struct top_concept **concepts; /* in no order; [n], pointers stay the same while a concept is kept */
    uint32_t n, capacity;
    uint32_t *heads; /* of the hash's lists, index + 1, 0 = none */
    uint32_t n_heads;
    uint64_t intervals;          /* closed so far */
    double interval_s;           /* how long the last one was */
    uint64_t rows, detections;   /* seen in all; rows without detections only where they were asked for */
    uint64_t forgotten, unnamed; /* concepts that gave way to others; detections of packs that were gone */
    uint64_t open_rows;
    double rows_per_s;                        /* seen, in the last closed interval */
    struct lensd_histogram open_total, total; /* of the rows seen in the open and the last closed one, nanoseconds */
    struct {
        uint32_t generation;
        char *pack;
    } packs[TOP_PACKS];
    uint32_t next_pack;
    char *only_pack;            /* NULL = all */
    struct top_concept **order; /* [capacity], for top_model_order */
};

/* Keeps at most `capacity` concepts, of `only_pack` alone (copied; NULL = of all). -ENOMEM. */
int top_model_init(struct top_model *model, uint32_t capacity, const char *only_pack);
void top_model_free(struct top_model *model);

/* A generation in the page whose pack isn't known yet, or 0. Say it with top_model_name_pack before the page is added;
 * "" for one that is gone. -ENOMEM. */
uint32_t top_model_unknown_pack(const struct top_model *model, const struct lens_event_page *page);
int top_model_name_pack(struct top_model *model, uint32_t generation, struct lens_text pack);

/* Counts a page of events into the open interval. -ENOMEM: some of it is missing. */
int top_model_add(struct top_model *model, const struct lens_event_page *page);

/* Ends the open interval, which was `seconds` long, and brings everything up to date. */
void top_model_close(struct top_model *model, double seconds);

/* Another daemon answers now: its generations begin anew. Series go on under the same pack and key. */
void top_model_forget_packs(struct top_model *model);

/* Watches a concept, which is kept and stays on top from now on, detected or not. 0, -ENOMEM, or -ENOSPC when
 * TOP_WATCHED are. */
int top_model_watch(struct top_model *model, const char *pack, const char *key);
int top_model_toggle(struct top_model *model, struct top_concept *concept);
uint32_t top_model_watched(const struct top_model *model);

/* The highest score of the interval that was closed `back` intervals ago (0 = last), 0 where there was none. */
float top_history(const struct top_model *model, const struct top_concept *concept, uint32_t back);

/* top_order.c: the concepts to show: the watched ones, then those that match `filter`, each by `sort` (ties by key).
 * The filter is matched against "Name:layer" (fnmatch); one without any of * ? [ matches everything that contains it,
 * whatever the case; "" = all. The list is the model's, valid until the next call of anything here. Returns how many.
 */
uint32_t top_model_order(struct top_model *model, enum top_sort sort, const char *filter, struct top_concept ***out);

extern const char *const top_sort_names[TOP_SORTS + 1];
extern const char *const top_trend_names[];

#endif
