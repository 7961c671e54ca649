/* How slots, host memory and prefetch do; see doctor.h. */
#include "client/lensctl/doctor.h"
#include "client/lensctl/doctor_files.h"
#include "client/lensctl/output.h"

#include <stdio.h>

#define LOOKUPS_WORTH 1000u

static double part(uint64_t of, uint64_t whole)
{
    return whole == 0 ? 0.0 : (double)of / (double)whole;
}

/* Whether every lens of every pack could have a slot in what memory is available. */
static bool all_would_fit(const struct doctor *doctor, uint64_t *needed)
{
    char text[DOCTOR_TEXT];
    uint64_t available;
    *needed = 0;
    for (uint32_t i = 0; i < doctor->daemon.n_packs; i++) {
        const struct doctor_pack *pack = &doctor->daemon.packs[i];
        *needed +=
            (uint64_t)(pack->lenses - (pack->slots < pack->lenses ? pack->slots : pack->lenses)) * pack->slot_bytes;
    }
    return !doctor_on_card(&doctor->daemon) && doctor_read(doctor->root, "/proc/meminfo", text, sizeof text) &&
           doctor_line_number(text, "MemAvailable", &available) && available << 10 > *needed / 4 * 5;
}

static void advise_slots(struct doctor *doctor)
{
    uint64_t needed;
    char text[32];
    if (all_would_fit(doctor, &needed))
        doctor_advise(&doctor->report,
                      "Every lens would fit: pool.slots = 0 and a restart take %s more, and nothing has to be loaded.",
                      ctl_bytes_text(needed, text, sizeof text));
    else
        doctor_advise(&doctor->report,
                      "Raise pool.slots as far as memory goes, store lenses smaller (pool.dtype, `lensctl "
                      "pack quantize`), or give cache.host_memory; `lensctl cache-sim` tells what helps.");
}

static void check_hits(struct doctor *doctor)
{
    const struct lens_status *s = &doctor->daemon.status;
    uint64_t lookups = s->slot_hits + s->slot_misses;
    char text[32];
    if (lookups < LOOKUPS_WORTH)
        return;
    double hits = part(s->slot_hits, lookups);
    ctl_percent_text(s->slot_hits, lookups, text, sizeof text);
    if (hits >= 0.97) {
        doctor_find(&doctor->report, "cache.hits", DOCTOR_OK, "%s of the lenses that rows wanted were in a slot.",
                    text);
        return;
    }
    doctor_find(&doctor->report, "cache.hits", hits < 0.9 ? DOCTOR_WARNING : DOCTOR_NOTE,
                "%s of the lenses that rows wanted were in a slot; for the others rows waited, or did without.", text);
    advise_slots(doctor);
}

/* Slots that lenses leave as fast as they come. */
static void check_evictions(struct doctor *doctor)
{
    const struct lens_status *s = &doctor->daemon.status;
    uint64_t lookups = s->slot_hits + s->slot_misses;
    char text[32];
    if (s->slots == 0 || s->loads < LOOKUPS_WORTH || s->evictions == 0)
        return;
    if (part(s->evictions, s->loads) < 0.5 || part(s->slot_misses, lookups) < 0.01) {
        doctor_find(&doctor->report, "cache.evictions", DOCTOR_OK, "%llu lenses left their slot, of %llu loaded.",
                    (unsigned long long)s->evictions, (unsigned long long)s->loads);
        return;
    }
    doctor_find(&doctor->report, "cache.evictions", DOCTOR_WARNING,
                "%u slots are too few: %s of all loads pushed a lens out, and %llu times a lens that a row wanted was "
                "missing.",
                s->slots, ctl_percent_text(s->evictions, s->loads, text, sizeof text),
                (unsigned long long)s->slot_misses);
    if (part(s->slot_misses, lookups) > 0.03) /* then it was said already */
        doctor_advise(&doctor->report, "What cache.hits advises helps here too.");
    else
        advise_slots(doctor);
}

static void check_waits(struct doctor *doctor)
{
    const struct lens_status *s = &doctor->daemon.status;
    if (s->rows < LOOKUPS_WORTH)
        return;
    double waits = part(s->loads_waited, s->rows);
    if (waits < 0.1) {
        doctor_find(&doctor->report, "cache.waits", DOCTOR_OK, "Rows waited for %.3f lenses each.", waits);
        return;
    }
    doctor_find(&doctor->report, "cache.waits", waits < 1.0 ? DOCTOR_NOTE : DOCTOR_WARNING,
                "Rows waited for %.2f lenses each, since lensd started.", waits);
    doctor_advise(&doctor->report,
                  "`lensctl preload` fills slots ahead; cache.prefetch = on loads what the next row will "
                  "want; cascade.miss = skip or deadline answers without.");
}

static void check_prefetch(struct doctor *doctor)
{
    const struct lens_status *s = &doctor->daemon.status;
    char text[32];
    if (s->prefetch_issued < LOOKUPS_WORTH)
        return;
    ctl_percent_text(s->prefetch_wasted, s->prefetch_issued, text, sizeof text);
    bool wasteful = part(s->prefetch_wasted, s->prefetch_issued) > 0.5;
    doctor_find(&doctor->report, "cache.prefetch", wasteful ? DOCTOR_NOTE : DOCTOR_OK,
                "%s of the lenses that were loaded ahead left unused.", text);
    if (wasteful)
        doctor_advise(&doctor->report, "Set cache.prefetch = off if the disk or the slots are short.");
}

static void check_slots(struct doctor *doctor)
{
    const struct doctor_daemon *daemon = &doctor->daemon;
    for (uint32_t i = 0; i < daemon->n_packs; i++) {
        const struct doctor_pack *pack = &daemon->packs[i];
        if (pack->slots >= pack->lenses) {
            doctor_find(&doctor->report, "cache.slots", DOCTOR_OK, "%s: each of its %u lenses has a slot.", pack->name,
                        pack->lenses);
            continue;
        }
        doctor_find(&doctor->report, "cache.slots", DOCTOR_NOTE, "%s: %u slots for %u lenses.", pack->name, pack->slots,
                    pack->lenses);
    }
}

void doctor_check_cache(struct doctor *doctor)
{
    if (!doctor->daemon.running)
        return;
    check_slots(doctor);
    check_hits(doctor);
    check_evictions(doctor);
    check_waits(doctor);
    check_prefetch(doctor);
}
