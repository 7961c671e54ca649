/* An emulated card with a small model on it, for tests of the CUDA backend's host side. Link the emulated card itself
 * (CUDA_LINKED_TESTS in the Makefile). All functions end the running cmocka test when something fails. */
#ifndef CARD_WORLD_H
#define CARD_WORLD_H

#include "tests/gpu/emulator/emulator.h"
#include "tests/unit/support/conformance.h"

#define LENSES 40u
#define ROWS   6u

/* One setting of the emulated card (NULL: none); all others are its own. */
void card_settle(const char *name, const char *value);

/* Around each test: a card with nothing on it before, and after. */
int card_fresh(void **state);
int card_is_empty(void **state);
#define ON_A_CARD(test) cmocka_unit_test_setup_teardown(test, card_fresh, card_is_empty)

/* Prints both seeds. */
void card_start(void);
uint64_t card_seed(void);

int card_open(void *arg, uint32_t threads, struct lens_backend **out, struct lens_error *err);

struct card_world {
    struct conformance_random random;
    struct conformance_model *model;
    struct conformance_rig rig;
    void *rows; /* [ROWS] f32 */
};

/* LENSES bf16 slots, exact, ROWS rows, 3 loaders. */
extern const struct lens_slab_config card_usual;

struct conformance_model *card_small_model(struct conformance_random *random, enum lens_dtype stored);
void card_world_open(struct card_world *w, const struct lens_slab_config *config);
void card_world_close(struct card_world *w);

/* All rows over all lenses. */
void card_ask(struct card_world *w, float logits[ROWS * LENSES]);

/* A job of the first rows that scores all lenses, with room for all it can answer. */
struct card_question {
    struct lens_cascade_options options;
    struct lens_job job;
    struct lens_row_out out[ROWS];
    struct lens_detection detections[ROWS][4];
    uint32_t ids[3 * LENSES], retained[LENSES];
};
void card_pose(struct card_question *q, const void *rows, uint32_t n_rows);

/* One run of n jobs; what it returned. */
struct card_asked {
    uint32_t misses[LENSES], used[LENSES];
    struct lens_batch batch;
    struct lens_error err;
};
int card_run(struct card_world *w, struct card_asked *asked, struct lens_job **jobs, uint32_t n);

void card_expect_says(const struct lens_error *err, int code, const char *words);

#endif
