/* See rules_world.h. */
#include "tests/unit/support/rules_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lens_pack *open_pack(void)
{
    static const int32_t child_offsets[] = {0, 3, 4, 6, 6, 6, 6}, child_ids[] = {B, C, E, E, D, E};
    char folder[64], path[128];
    struct small_pack plan;
    struct lens_pack *pack = NULL;
    struct lens_error err = {0};
    temp_folder(folder);
    snprintf(path, sizeof path, "%s/tiny.lens", folder);
    small_pack_fill(&plan, LENS_F32, 1);
    memcpy(plan.child_offsets, child_offsets, sizeof child_offsets);
    memcpy(plan.child_ids, child_ids, sizeof child_ids);
    if (small_pack_write(&plan, path, &err) != 0 || lens_pack_open(path, &pack, &err) != 0)
        fail_msg("%s", err.text);
    remove_folder(folder);
    return pack;
}

void *rules_new_state(const struct lensd_rules *rules)
{
    assert_int_equal(lensd_rules_state_bytes(rules) % 8, 0);
    return calloc(1, lensd_rules_state_bytes(rules));
}

void rules_start(struct rules_world *w, const char *list)
{
    struct lens_error err = {0};
    memset(w, 0, sizeof *w);
    w->pack = open_pack();
    if (lensd_rules_parse(list, &w->totals, &w->rules, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(lensd_rule_map_create(w->rules, w->pack, &w->map, &w->silent), 0);
    w->state = rules_new_state(w->rules);
}

void rules_stop(struct rules_world *w)
{
    free(w->state);
    lensd_rule_map_destroy(w->map);
    lensd_rules_drop(w->rules);
    lens_pack_close(w->pack);
}

struct lensd_rule_reading rules_reading(const struct rules_world *w, uint32_t rule)
{
    struct lensd_rule_reading out;
    lensd_rules_reading(w->rules, w->state, rule, &out);
    return out;
}
