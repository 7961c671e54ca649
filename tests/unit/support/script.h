/* What a client does in a test, and what it got: a random script of submissions, played over the rings of an engine
 * world as often and under as many circumstances as a test likes. Test support: fails the test when something that
 * can't be goes on (a row answered twice, out of order, or not at all). */
#ifndef LENS_TEST_SCRIPT_H
#define LENS_TEST_SCRIPT_H

#include "tests/unit/support/engine_world.h"

enum { SCRIPT_SUBMISSIONS = 24, SCRIPT_SEQUENCES = 16, SCRIPT_ROWS = SCRIPT_SUBMISSIONS * 64 };

struct script_submission {
    uint64_t sequence;
    uint32_t first, n; /* rows */
    uint32_t flags;
};

struct script {
    struct lens_cascade_options options;
    char lists[LENSD_CONTENT_LISTS][72]; /* comma-separated patterns, "" = none */
    uint32_t pinned[3], n_pinned;
    struct script_submission submissions[SCRIPT_SUBMISSIONS];
    uint32_t n, n_rows;
    float *rows; /* [n_rows, dim] */
};

/* A session that waits: all options, pins and lists random; up to 16 sequences, 1..64 rows, NaNs now and then. */
void script_make(struct script *script, const struct lens_pack *pack, unsigned *seed);
/* A session that doesn't wait (LENS_MISS_SKIP or LENS_MISS_DEADLINE): single rows, each with RESET, so that what it
 * gets when nothing is missing doesn't depend on what was missing before; some with PREWARM. */
void script_make_hasty(struct script *script, const struct lens_pack *pack, enum lens_miss miss, unsigned *seed);
void script_free(struct script *script);

/* Lenses that are pinned while sessions with these scripts are attached: base layers and pins, each once. */
uint32_t script_pinned(const struct script *const *scripts, uint32_t n, const struct lens_pack *pack);

/* One answered row; `digest` covers status, reason, flags, scored, expanded ids and detections bit for bit. */
struct script_answer {
    uint64_t digest;
    uint32_t missing, scored;
    uint8_t status, flags;
    bool seen;
};

struct play {
    const struct script *script;
    struct ring_client client;
    uint32_t submitted, received;
    uint32_t last_serial[SCRIPT_SEQUENCES];
    struct script_answer answers[SCRIPT_ROWS];
};

/* Opens a session for the script, its results poisoned, but doesn't attach it. `miss` is the session's. */
void play_open(struct play *play, struct engine_world *w, const struct script *script, enum lens_miss miss,
               uint32_t id);
/* Plays them at once until every row is answered: each submits what its ring takes, at most `ahead` submissions before
 * the oldest answer that is due. Deadlines are `deadline_ns` from the submission. */
void play_all(struct play *plays, uint32_t n, uint32_t ahead, uint64_t deadline_ns, unsigned *seed);

#endif
