/* See served_pack.h. */
#include "daemon/served_pack.h"

#include "daemon/batch.h"
#include "daemon/detections.h"
#include "daemon/pins.h"
#include "daemon/readings.h"
#include "daemon/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The file's name without its folders and its last suffix. */
static void stem_of(const char *path, char *out, size_t size)
{
    const char *name = strrchr(path, '/');
    name = name != NULL ? name + 1 : path;
    const char *dot = strrchr(name, '.');
    size_t length = dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name);
    length = length < size - 1 ? length : size - 1;
    memcpy(out, name, length);
    out[length] = '\0';
}

static int name_it(struct lensd_served_pack *served, const char *path, const char *name, struct lens_error *err)
{
    if (name == NULL || name[0] == '\0') {
        stem_of(path, served->name, sizeof served->name);
        return 0;
    }
    if (strlen(name) >= sizeof served->name)
        return lens_error_set(err, -ENAMETOOLONG, "a pack's name may have %zu bytes, found %zu",
                              sizeof served->name - 1, strlen(name));
    memcpy(served->name, name, strlen(name) + 1);
    return 0;
}

static int32_t tap_of(const struct lens_pack *pack)
{
    char *end;
    const char *text = pack->meta.tap_layer;
    unsigned long tap = strtoul(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && tap <= UINT16_MAX ? (int32_t)tap : -1;
}

/* Says which part of the work the numbers are of. */
struct part {
    lens_progress_fn progress;
    void *arg;
    const char *what;
};

static void report_part(void *arg, const char *what, uint64_t done, uint64_t total)
{
    const struct part *part = arg;
    (void)what;
    if (part->progress != NULL)
        part->progress(part->arg, part->what, done, total);
}

static int make_batch(struct lensd_served_pack *served, struct lens_error *err)
{
    uint32_t rows = lensd_pool_slab(served->pool)->config.max_batch_rows; /* what the slab can take */
    if (lensd_batch_create(rows, served->pack->lenses, &served->batch) != 0)
        return lens_error_set(err, -ENOMEM, "no memory for the %u rows of a batch", rows);
    if (lensd_detections_create(served->pack->lenses, &served->detections) != 0)
        return lens_error_set(err, -ENOMEM, "no memory to count detections of %u lenses", served->pack->lenses);
    if (lensd_readings_create(served->pack->lenses, &served->readings) != 0)
        return lens_error_set(err, -ENOMEM, "no memory for the readings of %u lenses", served->pack->lenses);
    return 0;
}

int lensd_served_pack_open(const char *path, const char *name, struct lens_backend *backend,
                           const struct lensd_pool_config *config, uint32_t generation, bool verify,
                           lens_progress_fn progress, void *arg, struct lensd_served_pack **out, struct lens_error *err)
{
    struct part verifying = {progress, arg, "lenses verified"}, loading = {progress, arg, "lenses loaded"};
    *out = NULL;
    struct lensd_served_pack *served = lensd_calloc(1, sizeof *served);
    if (served == NULL)
        return lens_error_set(err, -ENOMEM, "no memory to serve %s", path);
    served->generation = generation;
    served->config = *config;
    int r = name_it(served, path, name, err);
    if (r == 0)
        r = lens_pack_open(path, &served->pack, err);
    if (r == 0)
        served->tap = tap_of(served->pack);
    if (r == 0 && verify)
        r = lens_pack_verify(served->pack, report_part, &verifying, err);
    if (r == 0)
        r = lensd_pool_create(backend, served->pack, config, &served->pool, err);
    if (r == 0)
        r = make_batch(served, err);
    if (r == 0 && config->preload)
        r = lensd_pool_preload(served->pool, report_part, &loading, err);
    if (r != 0) {
        lensd_served_pack_close(served);
        return r;
    }
    *out = served;
    return 0;
}

void lensd_served_pack_close(struct lensd_served_pack *served)
{
    if (served == NULL)
        return;
    lensd_batch_destroy(served->batch);
    lensd_detections_destroy(served->detections);
    lensd_readings_destroy(served->readings);
    lensd_pins_free(served->pins);
    lensd_pool_destroy(served->pool);
    lens_pack_close(served->pack);
    lensd_free(served);
}
