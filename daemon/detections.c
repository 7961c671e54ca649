/* See detections.h. */
#include "daemon/detections.h"

#include "daemon/counter.h"
#include "daemon/sys.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

int lensd_detections_create(uint32_t lenses, struct lensd_detections **out)
{
    *out = NULL;
    struct lensd_detections *d = lensd_calloc(1, sizeof *d);
    if (d == NULL)
        return -ENOMEM;
    d->lenses = lenses;
    d->detected = lensd_calloc(lenses, sizeof *d->detected);
    d->best = lensd_calloc(lenses, sizeof *d->best);
    d->seen = lensd_calloc(lenses, sizeof *d->seen);
    d->recent = lensd_calloc(lenses, sizeof *d->recent);
    if (d->detected == NULL || d->best == NULL || d->seen == NULL || d->recent == NULL) {
        lensd_detections_destroy(d);
        return -ENOMEM;
    }
    *out = d;
    return 0;
}

void lensd_detections_destroy(struct lensd_detections *detections)
{
    if (detections == NULL)
        return;
    lensd_free(detections->detected);
    lensd_free(detections->best);
    lensd_free(detections->seen);
    lensd_free(detections->recent);
    lensd_free(detections);
}

void lensd_detections_note(struct lensd_detections *detections, const struct lens_row_out *row)
{
    bool first = true;
    for (uint32_t i = 0; i < row->n_detections; i++) {
        const struct lens_detection *found = &row->detections[i];
        if (found->raw < LENSD_DETECTED_AT || found->id >= detections->lenses)
            continue;
        lensd_counter_add(&detections->detected[found->id], 1);
        if (first)
            lensd_counter_add(&detections->best[found->id], 1);
        first = false;
    }
}

/* ---- routing ---------------------------------------------------------------------------------------------------- */

/* Takes in what is new; returns the rows that count. */
static double age_and_add(struct lensd_detections *d, double age_s)
{
    double rows = 0, keep = exp(-age_s / LENSD_ROUTING_MEAN_S);
    for (uint32_t i = 0; i < d->lenses; i++) {
        uint64_t now = lensd_counter_get(&d->best[i]);
        d->recent[i] = (float)(d->recent[i] * keep + (double)(now - d->seen[i]));
        d->seen[i] = now;
        rows += d->recent[i];
    }
    return rows;
}

void lensd_detections_look(struct lensd_detections *d, uint64_t now_ns)
{
    double age_s = (double)(now_ns - d->looked_ns) / 1e9;
    if (d->looked_ns != 0 && age_s < LENSD_ROUTING_LOOK_S)
        return;
    d->looked_ns = now_ns;
    struct lensd_routing routing = {.rows = age_and_add(d, age_s)};
    if (routing.rows < 1) { /* what is left of rows long ago */
        d->routing = (struct lensd_routing){0};
        return;
    }
    for (uint32_t i = 0; i < d->lenses; i++) {
        double share = d->recent[i] / routing.rows;
        if (share <= 0)
            continue;
        routing.entropy_bits -= share * log2(share);
        routing.top_share = share > routing.top_share ? share : routing.top_share;
    }
    routing.entropy_bits = routing.entropy_bits > 0 ? routing.entropy_bits : 0; /* not -0 */
    d->routing = routing;
}

/* ---- the watch list --------------------------------------------------------------------------------------------- */

void lensd_watch_parse(const char *list, struct lensd_watch *out)
{
    struct lens_text item;
    out->n = 0;
    out->version++;
    while (out->n < LENSD_WATCH_MAX && lensd_list_next(&list, &item))
        if (item.length < LENSD_WATCH_TEXT)
            snprintf(out->names[out->n++], LENSD_WATCH_TEXT, "%.*s", (int)item.length, item.data);
}

int lensd_watch_check(const char *list, struct lens_error *err)
{
    struct lens_text item, other;
    uint32_t n = 0;
    for (const char *at = list; lensd_list_next(&at, &item); n++) {
        const char *rest = at;
        while (lensd_list_next(&rest, &other))
            if (other.length == item.length && memcmp(other.data, item.data, item.length) == 0)
                return lens_error_set(err, -EINVAL, "\"%.*s\" is listed twice", (int)item.length, item.data);
    }
    if (n > LENSD_WATCH_MAX)
        return lens_error_set(err, -EINVAL, "expected at most %u concepts to watch, found %u", LENSD_WATCH_MAX, n);
    return 0;
}

static void note_missing(struct lensd_detections *d, const char *name)
{
    size_t used = strlen(d->missing);
    snprintf(d->missing + used, sizeof d->missing - used, "%s%s", used > 0 ? ", " : "", name);
}

bool lensd_detections_watch(struct lensd_detections *d, const struct lens_pack *pack, const struct lensd_watch *watch)
{
    if (d->watch_version == watch->version)
        return false;
    uint64_t carried[LENSD_WATCH_MAX] = {0};
    int32_t watched[LENSD_WATCH_MAX];
    d->missing[0] = '\0';
    for (uint32_t i = 0; i < watch->n; i++) {
        uint32_t lens;
        watched[i] = lens_pack_find(pack, watch->names[i], &lens) == 0 ? (int32_t)lens : -1;
        if (watched[i] < 0)
            note_missing(d, watch->names[i]);
        for (uint32_t j = 0; d->watch_version != 0 && watched[i] >= 0 && j < LENSD_WATCH_MAX; j++)
            if (d->watched[j] == watched[i])
                carried[i] = d->carried[j];
    }
    for (uint32_t i = watch->n; i < LENSD_WATCH_MAX; i++)
        watched[i] = -1;
    memcpy(d->watched, watched, sizeof watched);
    memcpy(d->carried, carried, sizeof carried);
    d->watch_version = watch->version;
    return true;
}

uint64_t lensd_detections_total(const struct lensd_detections *d, uint32_t i)
{
    uint64_t own = d->watched[i] >= 0 ? lensd_counter_get(&d->detected[d->watched[i]]) : 0;
    return d->carried[i] + own;
}

void lensd_detections_carry(struct lensd_detections *d, const struct lensd_detections *old)
{
    for (uint32_t i = 0; d->watch_version == old->watch_version && i < LENSD_WATCH_MAX; i++)
        d->carried[i] += lensd_detections_total(old, i);
}
