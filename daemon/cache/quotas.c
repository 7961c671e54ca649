/* Reads the setting cache.quotas: "2:0.25,3:0.4". */
#include "daemon/cache/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int bad_quotas(const char *at, struct lens_error *err)
{
    return lens_error_set(
        err, -EINVAL,
        "quotas are LAYER:SHARE[,..] with layers 0 to %u, each once, and shares above 0 up to 1, like "
        "2:0.25,3:0.4; found '%.60s'",
        LENSD_CACHE_LAYERS - 1, at);
}

static bool begins_number(const char *text)
{
    return (*text >= '0' && *text <= '9') || *text == '.';
}

int lensd_cache_quotas_parse(const char *text, struct lensd_cache_quotas *out, struct lens_error *err)
{
    memset(out, 0, sizeof *out);
    for (const char *at = text; *at != '\0';) {
        char *end = NULL;
        unsigned long layer = begins_number(at) ? strtoul(at, &end, 10) : LENSD_CACHE_LAYERS;
        if (layer >= LENSD_CACHE_LAYERS || *end != ':' || !begins_number(end + 1) || out->share[layer] > 0)
            return bad_quotas(at, err);
        float share = strtof(end + 1, &end);
        if (!(share > 0 && share <= 1) || (*end != '\0' && (*end != ',' || end[1] == '\0')))
            return bad_quotas(at, err);
        out->share[layer] = share;
        at = *end == ',' ? end + 1 : end;
    }
    return 0;
}
