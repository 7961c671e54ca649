/* What each lens of a pack said last, for whichever row: its logit, when, and how often.
 *
 * Threads: `note` is the engine's (no locks, no allocation); `get` any other's, at the same time: what it reads of one
 * lens may be of two rows that follow each other. */
#ifndef LENSD_READINGS_H
#define LENSD_READINGS_H

#include "kernels/backend.h"
#include "proto/codec.h"

#define LENSD_READING_WINDOW_NS UINT64_C(30000000000) /* the highest is of this window and the one before */

struct lensd_readings;

int lensd_readings_create(uint32_t lenses, struct lensd_readings **out); /* -ENOMEM */
void lensd_readings_destroy(struct lensd_readings *readings);            /* NULL is fine */

/* Takes in the lenses that one answered row scored; its views are still valid. */
void lensd_readings_note(struct lensd_readings *readings, const struct lens_row_out *row, uint64_t now_ns);

/* Fills last_logit, peak_logit, age_ns, rows and hits; the rest of *out stays. */
void lensd_readings_get(const struct lensd_readings *readings, uint32_t lens, uint64_t now_ns,
                        struct lens_reading_row *out);

#endif
