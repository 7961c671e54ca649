/* Opening a pack to serve it: who waits hears how far it is, and nothing is left when it fails. */
#include "daemon/served_pack.h"
#include "tests/unit/support/service_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LENSES = 500, DIM = 16 };

struct rig {
    char dir[64], path[96];
    struct lens_backend *backend;
};

static int open_rig(void **state)
{
    static struct rig rig;
    const struct lens_cpu_options options = {.threads = 2, .variant = "scalar"};
    snprintf(rig.dir, sizeof rig.dir, "/tmp/lensd-unit-XXXXXX");
    if (mkdtemp(rig.dir) == NULL)
        return -1;
    snprintf(rig.path, sizeof rig.path, "%s/p.lens", rig.dir);
    service_world_write_pack(rig.path, LENSES, DIM);
    *state = &rig;
    return lens_cpu_open(&options, &rig.backend, NULL);
}

static int close_rig(void **state)
{
    struct rig *rig = *state;
    rig->backend->ops->close(rig->backend);
    unlink(rig->path);
    return rmdir(rig->dir);
}

/* What a lens_progress_fn heard, by part. */
struct heard {
    const char *what[4];
    uint64_t last[4], total[4];
    unsigned parts, calls;
    bool backwards;
};

static void hear(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct heard *heard = arg;
    unsigned part = heard->parts;
    heard->calls++;
    if (part == 0 || strcmp(heard->what[part - 1], what) != 0) {
        assert_true(part < 4);
        heard->what[part] = what;
        heard->last[part] = 0;
        heard->parts = ++part;
    }
    heard->backwards = heard->backwards || done < heard->last[part - 1] || done > total;
    heard->last[part - 1] = done;
    heard->total[part - 1] = total;
}

static int open_pack(const struct rig *rig, uint32_t slots, bool preload, bool verify, struct heard *heard,
                     struct lensd_served_pack **out, struct lens_error *err)
{
    const struct lensd_pool_config config = {
        .slots = slots, .max_batch_rows = LENS_MAX_ROWS, .preload = preload, .load_threads = 2};
    memset(heard, 0, sizeof *heard);
    return lensd_served_pack_open(rig->path, NULL, rig->backend, &config, 1, verify, hear, heard, out, err);
}

static void verifying_and_loading_are_heard_to_their_ends(void **state)
{
    struct heard heard;
    struct lensd_served_pack *served;
    assert_int_equal(open_pack(*state, 0, true, true, &heard, &served, NULL), 0);
    assert_int_equal(heard.parts, 2);
    assert_string_equal(heard.what[0], "lenses verified");
    assert_string_equal(heard.what[1], "lenses loaded");
    for (int part = 0; part < 2; part++) {
        assert_int_equal(heard.last[part], LENSES);
        assert_int_equal(heard.total[part], LENSES);
    }
    assert_false(heard.backwards);
    assert_true(heard.calls > 2);
    assert_int_equal(lensd_pool_resident(served->pool), LENSES);
    lensd_served_pack_close(served);
}

static void only_what_is_done_is_heard(void **state)
{
    struct heard heard;
    struct lensd_served_pack *served;
    assert_int_equal(open_pack(*state, 100, true, false, &heard, &served, NULL), 0);
    assert_int_equal(heard.parts, 1);
    assert_string_equal(heard.what[0], "lenses loaded");
    assert_int_equal(heard.total[0], 100);
    lensd_served_pack_close(served);
    assert_int_equal(open_pack(*state, 100, false, false, &heard, &served, NULL), 0);
    assert_int_equal(heard.calls, 0);
    assert_int_equal(lensd_pool_resident(served->pool), 0);
    lensd_served_pack_close(served);
}

static void nobody_needs_to_listen(void **state)
{
    const struct rig *rig = *state;
    const struct lensd_pool_config config = {.max_batch_rows = LENS_MAX_ROWS, .preload = true};
    struct lensd_served_pack *served;
    assert_int_equal(lensd_served_pack_open(rig->path, "n", rig->backend, &config, 7, true, NULL, NULL, &served, NULL),
                     0);
    assert_string_equal(served->name, "n");
    assert_int_equal(served->generation, 7);
    lensd_served_pack_close(served);
}

static void a_damaged_pack_leaves_nothing(void **state)
{
    const struct rig *rig = *state;
    struct heard heard;
    struct lens_error err = {0};
    struct lensd_served_pack *served = (void *)&heard;
    unsigned before = open_descriptors();
    FILE *file = fopen(rig->path, "r+b");
    assert_non_null(file);
    unsigned char byte;
    assert_int_equal(fseek(file, 8192, SEEK_SET), 0); /* a weight */
    assert_int_equal(fread(&byte, 1, 1, file), 1);
    byte ^= 1;
    assert_int_equal(fseek(file, 8192, SEEK_SET), 0);
    assert_int_equal(fwrite(&byte, 1, 1, file), 1);
    fclose(file);
    assert_int_equal(open_pack(rig, 0, true, true, &heard, &served, &err), -EBADMSG);
    assert_null(served);
    assert_true(err.text[0] != '\0');
    assert_int_equal(open_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verifying_and_loading_are_heard_to_their_ends), cmocka_unit_test(only_what_is_done_is_heard),
        cmocka_unit_test(nobody_needs_to_listen),
        cmocka_unit_test(a_damaged_pack_leaves_nothing), /* the last: it damages the pack */
    };
    return cmocka_run_group_tests(tests, open_rig, close_rig);
}
