/* The host tier against a model: which lenses are held, who leaves, what is protected, and that places keep what was
 * put in them. */
#include "daemon/host_tier.h"
#include "tests/unit/support/expected.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SMALL "tests/fixtures/hatcat-small"

enum { LENSES = 70, STEPS = 20000 };

static uint64_t lens_bytes(const struct lens_pack *pack)
{
    return (pack->w1_lens_bytes + pack->w1_sign_bytes + 63) / 64 * 64;
}

static struct lens_backend *backend; /* of host memory */

struct model {
    unsigned char *place[LENSES]; /* NULL = not held */
    uint64_t touched[LENSES];     /* when it was reserved or got last */
    uint32_t under_way[LENSES];   /* loads that read or fill it */
    bool filled[LENSES];          /* its first load was settled as good */
    unsigned char mark[LENSES];
    uint64_t now;
    uint32_t held, places;
    size_t bytes;
};

/* The lens that must leave for a new one; LENSES when all are protected. */
static uint32_t oldest(const struct model *m)
{
    uint32_t found = LENSES;
    for (uint32_t lens = 0; lens < LENSES; lens++)
        if (m->place[lens] != NULL && m->under_way[lens] == 0 &&
            (found == LENSES || m->touched[lens] < m->touched[found]))
            found = lens;
    return found;
}

static void get(struct lensd_host_tier *tier, struct model *m, uint32_t lens)
{
    unsigned char *place = lensd_host_tier_get(tier, lens);
    assert_ptr_equal(place, m->place[lens]);
    if (place == NULL)
        return;
    m->under_way[lens]++;
    m->touched[lens] = ++m->now;
    assert_int_equal(place[0], m->mark[lens]); /* nobody wrote into it meanwhile */
    assert_int_equal(place[m->bytes - 1], m->mark[lens]);
}

static void reserve(struct lensd_host_tier *tier, struct model *m, uint32_t lens)
{
    uint32_t leaves = m->held == m->places ? oldest(m) : LENSES;
    bool fits = m->held < m->places || leaves < LENSES;
    unsigned char *place = lensd_host_tier_reserve(tier, lens);
    assert_int_equal(place != NULL, fits);
    if (!fits)
        return;
    if (leaves < LENSES) {
        assert_ptr_equal(place, m->place[leaves]);
        m->place[leaves] = NULL;
        m->held--;
    }
    for (uint32_t other = 0; other < LENSES; other++)
        assert_ptr_not_equal(place, m->place[other]);
    m->place[lens] = place;
    m->held++;
    m->under_way[lens] = 1;
    m->filled[lens] = false;
    m->touched[lens] = ++m->now;
    m->mark[lens] = (unsigned char)m->now;
    memset(place, m->mark[lens], m->bytes);
}

/* Only a load that filled the place can be settled as bad: it is the only one then. */
static void settle(struct lensd_host_tier *tier, struct model *m, uint32_t lens, bool good)
{
    good = good || m->filled[lens] || m->under_way[lens] > 1;
    lensd_host_tier_settle(tier, lens, good);
    m->under_way[lens]--;
    m->filled[lens] = m->filled[lens] || good;
    if (good)
        return;
    m->place[lens] = NULL;
    m->held--;
}

static void check(const struct lensd_host_tier *tier, const struct model *m)
{
    assert_int_equal(lensd_host_tier_held(tier), m->held);
    for (uint32_t lens = 0; lens < LENSES; lens++)
        assert_int_equal(lensd_host_tier_holds(tier, lens), m->place[lens] != NULL);
}

static void walk(const struct lens_pack *pack, uint32_t places, unsigned *seed)
{
    struct lensd_host_tier *tier;
    struct lens_error err = {0};
    struct model m = {.places = places, .bytes = pack->w1_lens_bytes + pack->w1_sign_bytes};
    assert_int_equal(
        lensd_host_tier_create(pack, backend, places * lens_bytes(pack) + lens_bytes(pack) - 1, &tier, &err), 0);
    assert_int_equal(lensd_host_tier_places(tier), places);
    for (int step = 0; step < STEPS; step++) {
        uint32_t lens = (uint32_t)rand_r(seed) % (rand_r(seed) % 2 ? LENSES : 12);
        if (m.under_way[lens] > 0 && rand_r(seed) % 4 != 0)
            settle(tier, &m, lens, rand_r(seed) % 4 != 0);
        else if (m.place[lens] != NULL || rand_r(seed) % 8 == 0)
            get(tier, &m, lens);
        else
            reserve(tier, &m, lens);
        check(tier, &m);
    }
    lensd_host_tier_destroy(tier);
}

static void what_is_held_and_who_leaves_is_as_a_model_says(void **state)
{
    static const uint32_t places[] = {1, 2, 5, 30, LENSES};
    unsigned seed = (unsigned)time(NULL);
    print_message("# seed %u\n", seed);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        walk(*state, places[i], &seed);
}

static void places_in_use_by_loads_are_not_given_away(void **state)
{
    const struct lens_pack *pack = *state;
    struct lensd_host_tier *tier;
    struct lens_error err = {0};
    assert_int_equal(lensd_host_tier_create(pack, backend, 2 * lens_bytes(pack), &tier, &err), 0);
    void *first = lensd_host_tier_reserve(tier, 1), *second = lensd_host_tier_reserve(tier, 2);
    assert_true(first != NULL && second != NULL && first != second);
    assert_null(lensd_host_tier_reserve(tier, 3));
    lensd_host_tier_settle(tier, 1, true);
    assert_ptr_equal(lensd_host_tier_get(tier, 1), first);
    assert_null(lensd_host_tier_reserve(tier, 3)); /* 1 is being read, 2 filled */
    lensd_host_tier_settle(tier, 2, false);
    assert_null(lensd_host_tier_get(tier, 2));
    assert_ptr_equal(lensd_host_tier_reserve(tier, 3), second);
    lensd_host_tier_settle(tier, 1, true);
    lensd_host_tier_destroy(tier);
}

static void too_little_memory_for_a_lens_is_no_tier(void **state)
{
    const struct lens_pack *pack = *state;
    struct lensd_host_tier *tier = (struct lensd_host_tier *)&pack;
    struct lens_error err = {0};
    assert_int_equal(lensd_host_tier_create(pack, backend, lens_bytes(pack) - 1, &tier, &err), 0);
    assert_null(tier);
    assert_int_equal(lensd_host_tier_places(NULL), 0);
    assert_int_equal(lensd_host_tier_held(NULL), 0);
    assert_null(lensd_host_tier_get(NULL, 1));
    assert_null(lensd_host_tier_reserve(NULL, 1));
    assert_int_equal(lensd_host_tier_create(pack, backend, UINT64_MAX / 2, &tier, &err), 0);
    assert_int_equal(lensd_host_tier_places(tier), LENSES); /* one for each lens is all there is */
    lensd_host_tier_destroy(tier);
}

static int import_small(void **state)
{
    const struct lens_cpu_options options = {.threads = 1, .variant = "scalar"};
    struct lens_error err = {0};
    assert_int_equal(lens_cpu_open(&options, &backend, &err), 0);
    *state = import_for_test(SMALL, LENS_LOG8);
    return 0;
}

static int close_small(void **state)
{
    lens_pack_close(*state);
    backend->ops->close(backend);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held_and_who_leaves_is_as_a_model_says),
        cmocka_unit_test(places_in_use_by_loads_are_not_given_away),
        cmocka_unit_test(too_little_memory_for_a_lens_is_no_tier),
    };
    return cmocka_run_group_tests(tests, import_small, close_small);
}
