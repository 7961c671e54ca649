/* What the files of rules.h share: a map's inside, and how the names of a set get their totals. */
#ifndef LENSD_RULES_PRIVATE_H
#define LENSD_RULES_PRIVATE_H

#include "daemon/rules.h"

/* One bit a rule, so that a lens without any costs the engine one load. */
struct lensd_rule_map {
    uint32_t *rules_of; /* [lenses of the pack] bit r: rule r watches the lens */
    uint32_t *pins;     /* ascending */
    uint32_t n_pins;
    uint32_t watching; /* bit r: rule r has a lens; others are silent */
};

/* Gives each rule its place in the totals, a new one where the name is new. -ENOSPC: then nothing has changed. */
int lensd_rules_count_in(struct lensd_rules *rules, struct lensd_rule_totals *totals, struct lens_error *err);

#endif
