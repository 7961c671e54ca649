/* What only holds between settings. See settings.h. */
#include "daemon/settings.h"

#include "kernels/backend.h"

#include <errno.h>
#include <string.h>

/* What no backend computes; pool.dtype = pack is decided by the pack. */
static int check_compute(const struct lensd_settings *settings, struct lens_error *err)
{
    static const char *const dtypes[] = {"pack", "f32", "bf16", "int8", "log8", "fp8"};
    const char *dtype = dtypes[settings->pool.dtype];
    const char *compute = lens_compute_name((enum lens_compute)settings->pool.compute);
    if (settings->pool.dtype == 0 || settings->pool.compute == LENS_COMPUTE_EXACT || strcmp(dtype, compute) == 0)
        return 0;
    return lens_error_set(err, -EINVAL, "pool.compute = %s works on slots of pool.dtype = %s (or pack), found %s",
                          compute, compute, dtype);
}

int lensd_settings_check(const struct lensd_settings *settings, struct lens_error *err)
{
    if (settings->cascade.unload_threshold > settings->cascade.load_threshold)
        return lens_error_set(err, -EINVAL,
                              "cascade.unload_threshold (%g) must not be above cascade.load_threshold (%g): a lens "
                              "that was just loaded would leave at once",
                              (double)settings->cascade.unload_threshold, (double)settings->cascade.load_threshold);
    if (settings->ipc.session_memory > settings->ipc.total_memory)
        return lens_error_set(err, -EINVAL, "ipc.session_memory (%s) must not be above ipc.total_memory (%s)",
                              settings->text[lensd_setting_find("ipc.session_memory", 18)],
                              settings->text[lensd_setting_find("ipc.total_memory", 16)]);
    int r = check_compute(settings, err);
    if (r != 0)
        return r;
    return lens_options_check(&settings->cascade, err);
}
