/* A set of rules on content, in terms of a small pack, with the states of one sequence. The pack is the one of
 * pack_files.h, in which É:2 is a child of F:0, too. Functions end the running cmocka test when something fails. */
#ifndef LENS_TEST_RULES_WORLD_H
#define LENS_TEST_RULES_WORLD_H

#include "daemon/rules.h"
#include "tests/unit/support/pack_files.h"

enum lens { A, F, B, C, D, E }; /* ids of the pack; E is É:2 */

struct rules_world {
    struct lens_pack *pack;
    struct lensd_rule_totals totals;
    struct lensd_rules *rules;
    struct lensd_rule_map *map;
    uint32_t silent;
    void *state;
    struct lensd_verdict verdict; /* of the last row */
};

void rules_start(struct rules_world *w, const char *list);
void rules_stop(struct rules_world *w);

/* For another sequence; of the very size, so that a sanitizer sees what goes beyond. The caller's to free. */
void *rules_new_state(const struct lensd_rules *rules);
struct lensd_rule_reading rules_reading(const struct rules_world *w, uint32_t rule);

#endif
