/* Branches of a pack that operators pinned at run time: their lenses belong to the active set of every session on it.
 *
 * A list never changes: adding and removing make another one, which the engine then takes in the old one's place
 * (lensd_engine_repin). NULL is the empty list.
 *
 * Threads: any, each list read only. */
#ifndef LENSD_PINS_H
#define LENSD_PINS_H

#include "proto/pack.h"

#define LENSD_PINS_BRANCHES 64u

struct lensd_pin {
    uint32_t concept;
    bool alone; /* without what is below it */
};

struct lensd_pins {
    struct lensd_pin items[LENSD_PINS_BRANCHES];
    uint32_t n_items;
    uint32_t *lenses; /* all they hold, ascending, each once */
    uint32_t n;
};

/* `old` with one more branch: -EEXIST, -E2BIG (too many branches), -ENOMEM, with a sentence. */
int lensd_pins_add(const struct lensd_pins *old, const struct lens_pack *pack, struct lensd_pin pin,
                   struct lensd_pins **out, struct lens_error *err);
/* `old` without it: -ENOENT with a sentence when it isn't one of them; -ENOMEM. *out may be NULL then: none are left.
 */
int lensd_pins_remove(const struct lensd_pins *old, const struct lens_pack *pack, struct lensd_pin pin,
                      struct lensd_pins **out, struct lens_error *err);
/* The same branches of another pack, by key; *lost counts those it doesn't have. -ENOMEM. */
int lensd_pins_carry(const struct lensd_pins *old, const struct lens_pack *from, const struct lens_pack *to,
                     struct lensd_pins **out, uint32_t *lost, struct lens_error *err);
void lensd_pins_free(struct lensd_pins *pins); /* NULL is fine */

static inline uint32_t lensd_pins_count(const struct lensd_pins *pins)
{
    return pins != NULL ? pins->n : 0;
}
bool lensd_pins_has(const struct lensd_pins *pins, uint32_t lens);

/* "Name:1" or "Name:1 alone". */
void lensd_pin_text(struct lensd_pin pin, const struct lens_pack *pack, char *out, size_t size);
/* All of them, between commas, and how many more there are where `size` ends. */
void lensd_pins_text(const struct lensd_pins *pins, const struct lens_pack *pack, char *out, size_t size);

#endif
