/* Requests that read packs: the list, the hierarchy page by page, one concept in full. */
#include "daemon/control.h"
#include "daemon/glob.h"
#include "daemon/pins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTENT_MAX (sizeof(struct lens_error) + 64)
#define PINS_TEXT   768u  /* bytes of the list of branches pinned in a pack: LENSD_PACKS_MAX of them fit the keys */
#define SCAN_MAX    8192u /* lenses one concepts request looks at: bounds what a pattern may cost */

/* Written by the engine thread while we look: a moment's answer is all there is. */
bool lensd_control_is_resident(const struct lensd_served_pack *served, uint32_t lens)
{
    return __atomic_load_n(&lensd_pool_slab(served->pool)->slot_of[lens], __ATOMIC_RELAXED) >= 0;
}

/* The branches that are pinned, in the service's key space. */
static struct lens_text pins_text(struct lensd_service *service, const struct lensd_served_pack *served)
{
    char *at = service->keys + service->keys_used;
    if (served->pins == NULL || sizeof service->keys - service->keys_used < PINS_TEXT)
        return (struct lens_text){"", 0};
    lensd_pins_text(served->pins, served->pack, at, PINS_TEXT);
    service->keys_used += PINS_TEXT;
    return lens_text_of(at);
}

static void fill_pack(struct lensd_service *service, const struct lensd_served_pack *served, struct lens_pack_row *out)
{
    const struct lens_pack *pack = served->pack;
    const struct lens_slab *slab = lensd_pool_slab(served->pool);
    *out = (struct lens_pack_row){
        .name = lens_text_of(served->name),
        .path = lens_text_of(pack->path),
        .model_id = lens_text_of(pack->meta.model_id),
        .tap_layer = lens_text_of(pack->meta.tap_layer),
        .tap_point = lens_text_of(pack->meta.tap_point),
        .dtype = lens_text_of(lens_dtype_name(pack->w1_dtype)),
        .slab_dtype = lens_text_of(lens_dtype_name(slab->config.dtype)),
        .compute = lens_text_of(lens_compute_name(slab->config.compute)),
        .lenses = pack->lenses,
        .dim = pack->dim,
        .h1 = pack->h1,
        .h2 = pack->h2,
        .generation = served->generation,
        .sessions = served->sessions,
        .slots = lensd_pool_slots(served->pool),
        .resident = lensd_pool_resident(served->pool),
        .file_bytes = pack->file_bytes,
        .policy = lens_text_of(lensd_cache_policy_names[lensd_pool_policy(served->pool)]),
        .lens_bytes = pack->w1_lens_bytes + pack->w1_sign_bytes,
        .slot_bytes = lensd_pool_slot_bytes(served->pool),
        .host_resident = lensd_pool_host_held(served->pool),
        .host_slots = lensd_pool_host_places(served->pool),
        .pinned = lensd_pins_count(served->pins),
        .pins = pins_text(service, served),
    };
}

void lensd_control_packs(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    struct lens_pack_page *page = &lensd_control_answer(service, LENS_MSG_PACK_PAGE)->u.pack_page;
    page->first = request->u.page.first;
    page->total = service->n_packs;
    for (uint32_t i = page->first; i < service->n_packs && page->count < LENS_PAGE_ROWS; i++)
        fill_pack(service, service->packs[i], &page->rows[page->count++]);
    lensd_connection_send(c, &service->answer, NULL, 0);
}

/* A glob of no steps is none: all match. */
static bool matches(const struct lens_pack *pack, uint32_t lens, const struct lensd_glob *glob)
{
    char key[1024];
    if (glob->n == 0)
        return true;
    int n = lens_pack_key(pack, lens, key, sizeof key);
    return n >= 0 && (size_t)n < sizeof key && lensd_glob_matches(glob, key, (size_t)n);
}

static void fill_concept(const struct lensd_served_pack *served, uint32_t lens, struct lens_concept_row *out)
{
    const struct lens_pack *pack = served->pack;
    out->id = lens;
    out->parent = pack->parent[lens];
    out->children = lens_pack_child_count(pack, lens);
    out->layer = pack->layer[lens];
    out->role = pack->role[lens];
    out->calibrated = lens_pack_calibrated(pack, lens);
    out->resident = lensd_control_is_resident(served, lens);
    out->name.data = lens_pack_name(pack, lens, &out->name.length);
}

void lensd_control_concepts(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lens_concepts *asked = &request->u.concepts;
    const struct lensd_served_pack *served = lensd_control_pack(service, c, asked->pack);
    struct lensd_glob glob;
    if (served == NULL)
        return;
    if (asked->glob.length > LENS_PATTERN_MAX) {
        lensd_connection_fault(c, LENS_FAULT_BAD_MESSAGE, "a pattern may have %u bytes, found %u", LENS_PATTERN_MAX,
                               asked->glob.length);
        return;
    }
    lensd_glob_read(&glob, asked->glob.data, asked->glob.length);
    struct lens_concept_page *page = &lensd_control_answer(service, LENS_MSG_CONCEPT_PAGE)->u.concept_page;
    uint32_t lenses = served->pack->lenses, lens = asked->first < lenses ? asked->first : lenses;
    uint32_t stop = lenses - lens > SCAN_MAX ? lens + SCAN_MAX : lenses;
    page->generation = served->generation;
    for (; lens < stop && page->count < LENS_PAGE_ROWS; lens++) {
        if (matches(served->pack, lens, &glob))
            fill_concept(served, lens, &page->rows[page->count++]);
    }
    page->next = lens;
    lensd_connection_send(c, &service->answer, NULL, 0);
}

/* The lens a person means by "Name:layer", "Name" or a number. */
static int find_concept(const struct lens_pack *pack, const char *text, uint32_t *lens)
{
    int r = lens_pack_find(pack, text, lens);
    if (r != -ENOENT || text[0] < '0' || text[0] > '9')
        return r;
    char *end;
    unsigned long long id = strtoull(text, &end, 10);
    if (*end != '\0' || id >= pack->lenses)
        return -ENOENT;
    *lens = (uint32_t)id;
    return 0;
}

bool lensd_control_concept(struct lensd_connection *c, const struct lensd_served_pack *served, struct lens_text name,
                           uint32_t *lens)
{
    char text[1024];
    int r = -ENOENT;
    *lens = 0;
    if (lensd_control_copy(name, text, sizeof text))
        r = find_concept(served->pack, text, lens);
    if (r == -ENOTUNIQ)
        lensd_connection_fault(c, LENS_FAULT_NO_SUCH_CONCEPT,
                               "%s is a concept of several layers: add the layer, as in %s:1", text, text);
    else if (r != 0)
        lensd_connection_fault(c, LENS_FAULT_NO_SUCH_CONCEPT,
                               "pack %s has no concept \"%.*s\": lensctl concepts lists them", served->name,
                               (int)name.length, name.data);
    return r == 0;
}

/* Root first, the concept itself last; of a path deeper than the answer holds, its lower end. */
static void fill_path(struct lensd_service *service, const struct lens_pack *pack, uint32_t lens,
                      struct lens_explanation *out)
{
    uint32_t upwards[LENS_PATH_DEPTH];
    uint32_t n = 0;
    for (int32_t at = (int32_t)lens; at >= 0 && n < LENS_PATH_DEPTH; at = pack->parent[at])
        upwards[n++] = (uint32_t)at;
    for (uint32_t i = 0; i < n; i++) {
        out->path[i] = upwards[n - 1 - i];
        out->path_keys[i] = lensd_control_key(service, pack, out->path[i]);
    }
    out->n_path = n;
}

static void fill_children(struct lensd_service *service, const struct lens_pack *pack, uint32_t lens,
                          struct lens_explanation *out)
{
    const int32_t *children = pack->child_ids + pack->child_offsets[lens];
    out->n_children = lens_pack_child_count(pack, lens);
    while (out->count < out->n_children && out->count < LENS_PAGE_ROWS) {
        uint32_t child = (uint32_t)children[out->count];
        struct lens_text key = lensd_control_key(service, pack, child);
        if (key.length == 0)
            return; /* no room for more texts; n_children says how many there are */
        out->children[out->count] = child;
        out->child_keys[out->count++] = key;
    }
}

static void explain_content(const struct lensd_service *service, const struct lens_pack *pack, uint32_t lens, char *out,
                            size_t size)
{
    struct lens_error err = {0};
    const struct lensd_content_source source = lensd_control_content(service);
    if (lensd_content_explain(&source, service->settings->content.pin, pack, lens, out, size, &err) != 0)
        snprintf(out, size, "What the daemon's lists say of it can't be told: %s.", err.text);
}

static void explain(struct lensd_service *service, struct lensd_connection *c, const struct lensd_served_pack *served,
                    uint32_t lens)
{
    char content[CONTENT_MAX];
    const struct lens_pack *pack = served->pack;
    struct lens_explanation *out = &lensd_control_answer(service, LENS_MSG_EXPLANATION)->u.explanation;
    out->id = lens;
    out->generation = served->generation;
    out->key = lensd_control_key(service, pack, lens);
    out->layer = pack->layer[lens];
    out->role = pack->role[lens];
    out->calibrated = lens_pack_calibrated(pack, lens);
    out->resident = lensd_control_is_resident(served, lens);
    memcpy(out->calibration, pack->calibration + (size_t)lens * LENS_CALIBRATION_FIELDS, sizeof out->calibration);
    fill_path(service, pack, lens, out);
    fill_children(service, pack, lens, out);
    explain_content(service, pack, lens, content, sizeof content);
    out->content = lens_text_of(content);
    lensd_connection_send(c, &service->answer, NULL, 0);
}

void lensd_control_explain(struct lensd_service *service, struct lensd_connection *c, const struct lens_msg *request)
{
    const struct lensd_served_pack *served = lensd_control_pack(service, c, request->u.explain.pack);
    uint32_t lens;
    if (served != NULL && lensd_control_concept(c, served, request->u.explain.concept, &lens))
        explain(service, c, served, lens);
}
