/* Lists of branches that are pinned at run time, and what they come to in a pack. */
#include "daemon/branch.h"
#include "daemon/pins.h"
#include "tests/unit/support/expected.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct lens_pack *open_pack(void)
{
    return import_for_test("tests/fixtures/hatcat-small", LENS_F32);
}

static struct lensd_pin pin_of(const struct lens_pack *pack, const char *key, bool alone)
{
    struct lensd_pin pin = {.alone = alone};
    assert_int_equal(lens_pack_find(pack, key, &pin.concept), 0);
    return pin;
}

/* Whether a walk up from `lens` through any parents comes past `head`: the plain definition, by the children's lists.
 */
static bool is_below(const struct lens_pack *pack, uint32_t head, uint32_t lens)
{
    if (head == lens)
        return true;
    for (uint32_t parent = 0; parent < pack->lenses; parent++)
        for (uint32_t i = 0; i < lens_pack_child_count(pack, parent); i++)
            if ((uint32_t)pack->child_ids[(uint32_t)pack->child_offsets[parent] + i] == lens &&
                is_below(pack, head, parent))
                return true;
    return false;
}

static void a_branch_is_a_concept_and_all_below_it_through_any_parent(void **state)
{
    (void)state;
    struct lens_pack *pack = open_pack();
    for (uint32_t head = 0; head < pack->lenses; head++) {
        struct lensd_branch branch;
        uint32_t found = 0;
        assert_int_equal(lensd_branch_find(pack, head, false, &branch), 0);
        for (uint32_t lens = 0; lens < pack->lenses; lens++) {
            assert_int_equal(lensd_branch_has(&branch, lens), is_below(pack, head, lens));
            found += lensd_branch_has(&branch, lens);
        }
        assert_int_equal(branch.lenses, found);
        assert_int_equal(branch.parents[head], -1);
        lensd_branch_free(&branch);
    }
    lens_pack_close(pack);
}

static void branches_are_added_and_removed_one_by_one(void **state)
{
    (void)state;
    struct lens_pack *pack = open_pack();
    struct lens_error err = {0};
    struct lensd_pin whole = pin_of(pack, "Deception:1", false), alone = pin_of(pack, "Deception:1", true);
    struct lensd_pins *one, *two, *back, *none;
    assert_int_equal(lensd_pins_add(NULL, pack, whole, &one, &err), 0);
    assert_int_equal(lensd_pins_add(one, pack, whole, &two, &err), -EEXIST);
    assert_int_equal(lensd_pins_add(one, pack, alone, &two, &err), 0);
    assert_int_equal(two->n, one->n); /* each lens once */
    for (uint32_t i = 1; i < one->n; i++)
        assert_true(one->lenses[i - 1] < one->lenses[i]);
    for (uint32_t lens = 0; lens < pack->lenses; lens++)
        assert_int_equal(lensd_pins_has(one, lens), is_below(pack, whole.concept, lens));
    assert_int_equal(lensd_pins_remove(two, pack, whole, &back, &err), 0);
    assert_int_equal(back->n, 1);
    assert_int_equal(lensd_pins_remove(back, pack, whole, &none, &err), -ENOENT);
    assert_non_null(strstr(err.text, "Deception:1"));
    assert_int_equal(lensd_pins_remove(back, pack, alone, &none, &err), 0);
    assert_null(none);
    assert_int_equal(lensd_pins_count(none), 0);
    assert_false(lensd_pins_has(none, 0));
    lensd_pins_free(one);
    lensd_pins_free(two);
    lensd_pins_free(back);
    lens_pack_close(pack);
}

static void more_branches_than_there_may_be_are_refused(void **state)
{
    (void)state;
    struct lens_pack *pack = open_pack();
    struct lensd_pins *pins = NULL, *next;
    struct lens_error err = {0};
    char text[200];
    assert_true(pack->lenses > LENSD_PINS_BRANCHES);
    for (uint32_t i = 0; i < LENSD_PINS_BRANCHES; i++) {
        assert_int_equal(lensd_pins_add(pins, pack, (struct lensd_pin){i, true}, &next, &err), 0);
        lensd_pins_free(pins);
        pins = next;
    }
    assert_int_equal(lensd_pins_add(pins, pack, (struct lensd_pin){LENSD_PINS_BRANCHES, true}, &next, &err), -E2BIG);
    lensd_pins_text(pins, pack, text, sizeof text); /* doesn't fit: says how many are left out */
    unsigned left_out = 0, named = 0;
    assert_int_equal(sscanf(strstr(text, "and "), "and %u more", &left_out), 1);
    for (const char *at = text; (at = strstr(at, " alone")) != NULL; at++)
        named++;
    assert_int_equal(named + left_out, LENSD_PINS_BRANCHES);
    lensd_pins_free(pins);
    lens_pack_close(pack);
}

static void another_pack_gets_the_same_branches_by_key(void **state)
{
    (void)state;
    struct lens_pack *from = open_pack(), *to = open_pack();
    struct lensd_pins *first, *both, *carried;
    struct lens_error err = {0};
    uint32_t lost = 99;
    assert_int_equal(lensd_pins_add(NULL, from, pin_of(from, "Deception:1", false), &first, &err), 0);
    assert_int_equal(lensd_pins_add(first, from, pin_of(from, "Law:1", true), &both, &err), 0);
    uint32_t law = pin_of(to, "Law:1", true).concept;
    to->names[to->name_offsets[law]] = 'P'; /* "Paw" */
    assert_int_equal(lensd_pins_carry(both, from, to, &carried, &lost, &err), 0);
    assert_int_equal(lost, 1);
    assert_int_equal(carried->n_items, 1);
    assert_int_equal(carried->n, first->n);
    lensd_pins_free(carried);
    assert_int_equal(lensd_pins_carry(NULL, from, to, &carried, &lost, &err), 0);
    assert_null(carried);
    assert_int_equal(lost, 0);
    lensd_pins_free(first);
    lensd_pins_free(both);
    lens_pack_close(from);
    lens_pack_close(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_branch_is_a_concept_and_all_below_it_through_any_parent),
        cmocka_unit_test(branches_are_added_and_removed_one_by_one),
        cmocka_unit_test(more_branches_than_there_may_be_are_refused),
        cmocka_unit_test(another_pack_gets_the_same_branches_by_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
