/* lensctl doctor's findings on a daemon's packs and its cache, each both ways: what the daemon said is filled in by
 * hand, files are a tree of the test's own. */
#include "tests/unit/support/doctor_rig.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- packs ------------------------------------------------------------------------------------------------------- */

#define PACK "/srv/packs/small.lens"

static struct doctor_pack *add_pack(struct doctor_rig *rig)
{
    struct doctor_daemon *daemon = &rig->doctor.daemon;
    doctor_rig_daemon(rig);
    daemon->n_packs = daemon->packs_total = 1;
    daemon->packs[0] = (struct doctor_pack){.file_bytes = 6, .lenses = 70, .slots = 70, .slot_bytes = 7000};
    snprintf(daemon->packs[0].name, sizeof daemon->packs[0].name, "small");
    snprintf(daemon->packs[0].path, sizeof daemon->packs[0].path, PACK);
    doctor_rig_write(rig, PACK, "lenses");
    return &daemon->packs[0];
}

static void a_daemon_without_a_pack_is_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.loaded", DOCTOR_WARNING, "No pack");
    add_pack(rig);
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect_none(rig, "packs.loaded");
    rig->doctor.daemon.packs_total = 40;
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.loaded", DOCTOR_NOTE, "40 packs");
}

static void a_file_that_is_gone_changed_or_replaced_is_told_apart(void **state)
{
    struct doctor_rig *rig = *state;
    char target[256];
    add_pack(rig);
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_OK, "as many bytes as it had"); /* nobody sees what lensd has open */
    doctor_rig_link(rig, "/proc/77/fd/3", "socket:[1]");
    doctor_rig_link(rig, "/proc/77/fd/7", PACK ".older");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_OK, "as many bytes as it had");
    doctor_rig_write(rig, PACK, "other lenses");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_PROBLEM, "has 12 bytes; it had 6");
    snprintf(target, sizeof target, "%s (deleted)", PACK);
    doctor_rig_link(rig, "/proc/77/fd/9", target);
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_WARNING, "another file");
    doctor_rig_expect_advice(rig, "packs.file", "lensctl swap --name small " PACK);
    doctor_rig_remove(rig, PACK);
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_WARNING, "isn't there any more");
}

static void a_file_that_lensd_has_open_is_known_whatever_it_is_called(void **state)
{
    struct doctor_rig *rig = *state;
    char target[256];
    add_pack(rig);
    snprintf(target, sizeof target, "%s%s", rig->root, PACK);
    doctor_rig_link(rig, "/proc/77/fd/9", target); /* leads there by another name, as through a link */
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_OK, "is the one that lensd opened");
    doctor_rig_remove(rig, PACK);
    doctor_rig_write(rig, PACK, "lenses");
    doctor_rig_link(rig, "/proc/77/fd/9", PACK); /* the name, and another file */
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_WARNING, "another file");
}

static void a_daemon_with_a_root_of_its_own_is_looked_at_from_there(void **state)
{
    struct doctor_rig *rig = *state;
    char inner[128], file[256];
    add_pack(rig);
    doctor_rig_remove(rig, PACK); /* not on the host */
    snprintf(inner, sizeof inner, "%s/container", rig->root);
    snprintf(file, sizeof file, "/container%s", PACK);
    doctor_rig_write(rig, file, "lenses");
    doctor_rig_link(rig, "/proc/77/root", inner);
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_OK, "as many bytes");
    doctor_rig_remove(rig, "/proc/77/root"); /* this user may not look there */
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect_none(rig, "packs.file");
}

static void a_relative_path_is_relative_to_the_daemons_folder(void **state)
{
    struct doctor_rig *rig = *state;
    struct doctor_pack *pack = add_pack(rig);
    snprintf(pack->path, sizeof pack->path, "packs/small.lens");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect_none(rig, "packs.file"); /* nobody knows where that is */
    doctor_rig_link(rig, "/proc/77/cwd", "/srv");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_OK, "as many bytes");
    doctor_rig_link(rig, "/proc/77/cwd", "/home");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.file", DOCTOR_WARNING, "/home/packs/small.lens isn't there");
}

static void a_pack_on_a_rotating_disk_matters_when_lenses_are_read_while_serving(void **state)
{
    struct doctor_rig *rig = *state;
    struct doctor_pack *pack = add_pack(rig);
    char path[256], disk[256];
    struct stat st;
    snprintf(path, sizeof path, "%s%s", rig->root, PACK);
    assert_int_equal(stat(path, &st), 0);
    snprintf(disk, sizeof disk, "/sys/dev/block/%u:%u/queue/rotational", major(st.st_dev), minor(st.st_dev));
    doctor_rig_write(rig, disk, "0\n");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.storage", DOCTOR_OK, "local disk");
    doctor_rig_write(rig, disk, "1\n");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.storage", DOCTOR_NOTE, "rotating");
    pack->slots = 40;
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.storage", DOCTOR_WARNING, "rotating");
}

static void a_pack_that_lensd_could_not_open_again_is_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    add_pack(rig);
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect_none(rig, "packs.readable");
    doctor_rig_mode(rig, PACK, 0600); /* lensd is uid 500 */
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.readable", DOCTOR_WARNING, PACK " is closed");
    doctor_rig_mode(rig, PACK, 0644);
    doctor_rig_mode(rig, "/srv/packs", 0710);
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.readable", DOCTOR_WARNING, "/srv/packs is closed");
}

static void folders_that_packs_may_be_loaded_from_must_be_there_and_open(void **state)
{
    struct doctor_rig *rig = *state;
    add_pack(rig);
    doctor_rig_setting(rig, "packs.directories", "/srv/packs");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect_none(rig, "packs.directories");
    doctor_rig_setting(rig, "packs.directories", "/srv/packs:/srv/more");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.directories", DOCTOR_WARNING, "/srv/more, and there is no such folder");
    doctor_rig_setting(rig, "packs.directories", "/srv/packs");
    doctor_rig_mode(rig, "/srv/packs", 0711);
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.directories", DOCTOR_WARNING, "may not read it");
}

static void packs_that_are_not_verified_are_noted(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_setting(rig, "packs.verify", "on");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.verify", DOCTOR_OK, "verified");
    doctor_rig_setting(rig, "packs.verify", "off");
    doctor_rig_run(rig, doctor_check_packs);
    doctor_rig_expect(rig, "packs.verify", DOCTOR_NOTE, "off");
}

/* ---- cache ------------------------------------------------------------------------------------------------------- */

static void slots_for_all_lenses_are_well_and_fewer_are_noted(void **state)
{
    struct doctor_rig *rig = *state;
    struct doctor_pack *pack = add_pack(rig);
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.slots", DOCTOR_OK, "each of its 70 lenses");
    pack->slots = 40;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.slots", DOCTOR_NOTE, "40 slots for 70 lenses");
}

static void a_low_hit_rate_is_a_warning_that_says_whether_all_would_fit(void **state)
{
    struct doctor_rig *rig = *state;
    struct doctor_pack *pack = add_pack(rig);
    struct lens_status *s = &rig->doctor.daemon.status;
    pack->slots = 40;
    s->slot_hits = 500;
    s->slot_misses = 499;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect_none(rig, "cache.hits"); /* too few rows to say */
    s->slot_hits = 9900;
    s->slot_misses = 100;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.hits", DOCTOR_OK, "99.0%");
    s->slot_misses = 800;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.hits", DOCTOR_NOTE, "92.5%");
    s->slot_misses = 9900;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.hits", DOCTOR_WARNING, "50.0%");
    doctor_rig_expect_advice(rig, "cache.hits", "Raise pool.slots as far as memory goes");
    doctor_rig_write(rig, "/proc/meminfo", "MemAvailable: 100 kB\n"); /* 30 slots of 7000 bytes are wanted */
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect_advice(rig, "cache.hits", "Raise pool.slots as far as memory goes");
    doctor_rig_write(rig, "/proc/meminfo", "MemAvailable: 300 kB\n");
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect_advice(rig, "cache.hits", "Every lens would fit");
}

static void lenses_that_push_each_other_out_are_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    add_pack(rig)->slots = 40;
    struct lens_status *s = &rig->doctor.daemon.status;
    *s = (struct lens_status){.slots = 40, .loads = 5000, .evictions = 4960, .slot_hits = 90000, .slot_misses = 5000};
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.evictions", DOCTOR_WARNING, "99.2% of all loads");
    s->slot_hits = 9000000; /* many rows, few misses */
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.evictions", DOCTOR_OK, "4960");
    s->evictions = 0;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect_none(rig, "cache.evictions");
}

static void rows_that_wait_for_lenses_are_said_so(void **state)
{
    struct doctor_rig *rig = *state;
    add_pack(rig);
    struct lens_status *s = &rig->doctor.daemon.status;
    s->rows = 10000;
    s->loads_waited = 100;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.waits", DOCTOR_OK, "0.010");
    s->loads_waited = 5000;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.waits", DOCTOR_NOTE, "0.50");
    s->loads_waited = 50000;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.waits", DOCTOR_WARNING, "5.00");
}

static void prefetch_that_is_mostly_wasted_is_noted(void **state)
{
    struct doctor_rig *rig = *state;
    add_pack(rig);
    struct lens_status *s = &rig->doctor.daemon.status;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect_none(rig, "cache.prefetch");
    s->prefetch_issued = 10000;
    s->prefetch_wasted = 1000;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.prefetch", DOCTOR_OK, "10.0%");
    s->prefetch_wasted = 8000;
    doctor_rig_run(rig, doctor_check_cache);
    doctor_rig_expect(rig, "cache.prefetch", DOCTOR_NOTE, "80.0%");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, doctor_rig_setup, doctor_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_daemon_without_a_pack_is_a_warning),
        TEST(a_file_that_is_gone_changed_or_replaced_is_told_apart),
        TEST(a_file_that_lensd_has_open_is_known_whatever_it_is_called),
        TEST(a_daemon_with_a_root_of_its_own_is_looked_at_from_there),
        TEST(a_relative_path_is_relative_to_the_daemons_folder),
        TEST(a_pack_on_a_rotating_disk_matters_when_lenses_are_read_while_serving),
        TEST(a_pack_that_lensd_could_not_open_again_is_a_warning),
        TEST(folders_that_packs_may_be_loaded_from_must_be_there_and_open),
        TEST(packs_that_are_not_verified_are_noted),
        TEST(slots_for_all_lenses_are_well_and_fewer_are_noted),
        TEST(a_low_hit_rate_is_a_warning_that_says_whether_all_would_fit),
        TEST(lenses_that_push_each_other_out_are_a_warning),
        TEST(rows_that_wait_for_lenses_are_said_so),
        TEST(prefetch_that_is_mostly_wasted_is_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
