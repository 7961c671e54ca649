/* What the files of lensctl explain share: where a concept stands is said by cmd_explain.c; why its calibrated score
 * differs from the raw one by explain_calibration.c; when it is scored and reported by explain_rules.c; what it did
 * lately by explain_recent.c. */
#ifndef LENSCTL_EXPLAIN_H
#define LENSCTL_EXPLAIN_H

#include "client/lensctl/daemon_link.h"

#define EXPLAIN_SENTENCES 8

struct sentences {
    char text[EXPLAIN_SENTENCES][640];
    unsigned count;
};

void explain_say(struct sentences *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- calibration (SEEDS.md row H11) ----------------------------------------------------------------------------- */

/* How one raw score becomes a calibrated one. */
struct explain_steps {
    double raw, logit;
    bool calibrated;          /* else the result is raw */
    bool clean;               /* hardly fires where it shouldn't: only `most` counts */
    bool stretched;           /* between the two means: gap and r count */
    double cross, gen, noise; /* fire rates */
    double most;              /* the higher of cross and gen */
    double self_mean, cross_mean, gap;
    double trust, k; /* k: the trust, less where the gap is small */
    double r;        /* raw, stretched */
    double w, result;
};
void explain_calibrate(const struct lens_explanation *e, double logit, struct explain_steps *out);

/* What calibration makes of this concept's scores, whatever they are. */
void explain_calibration(const struct lens_explanation *e, struct sentences *s);
/* The same for one score, step by step. */
void explain_say_steps(const struct explain_steps *steps, struct sentences *s);

/* ---- rules ------------------------------------------------------------------------------------------------------ */

/* The daemon's settings that decide what is scored and reported; a session may have its own. */
struct explain_rules {
    char base_layers[128], expand[16], report[16], rank[16];
    double load_threshold, unload_threshold, suppress_at;
    bool suppress_parents;
    int keep_top_k, top_k;
};
/* An enum ctl_exit, failures said. */
int explain_rules_ask(struct lens_client *client, struct explain_rules *out);

/* When the concept is scored, and when it is reported. */
void explain_say_rules(const struct lens_explanation *e, const struct explain_rules *rules, struct sentences *s);
/* What a raw score means to them. */
void explain_say_thresholds(const struct lens_explanation *e, const struct explain_rules *rules, double raw,
                            struct sentences *s);

/* ---- recent activity -------------------------------------------------------------------------------------------- */

struct explain_recent {
    bool known;             /* false: the daemon remembers no rows */
    uint64_t rows, span_ns; /* the latest ones; those that the peer may see were looked at */
    uint64_t reported;      /* in so many of them, among the detections that are remembered */
    uint64_t last_ns;       /* CLOCK_REALTIME */
    uint32_t last_session;
    float last_score, best_score;
};
/* Looks for detections of `key`. An enum ctl_exit, failures said. */
int explain_recent_ask(struct lens_client *client, struct lens_text key, struct explain_recent *out);

void explain_say_recent(const struct explain_recent *recent, struct sentences *s);
json_t *explain_recent_json(const struct explain_recent *recent);

#endif
