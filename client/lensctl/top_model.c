/* See top_model.h. */
#include "client/lensctl/top_model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SILENT 0.01 /* a score below which a concept that isn't detected any more may go */

/* ---- the table -------------------------------------------------------------------------------------------------- */

int top_model_init(struct top_model *model, uint32_t capacity, const char *only_pack)
{
    *model = (struct top_model){.capacity = capacity, .n_heads = 2 * capacity};
    model->concepts = calloc(capacity, sizeof *model->concepts);
    model->order = calloc(capacity, sizeof *model->order);
    model->heads = calloc(model->n_heads, sizeof *model->heads);
    model->only_pack = only_pack != NULL ? strdup(only_pack) : NULL;
    if (model->concepts != NULL && model->order != NULL && model->heads != NULL &&
        (only_pack == NULL || model->only_pack != NULL))
        return 0;
    top_model_free(model);
    return -ENOMEM;
}

static void free_concept(struct top_concept *concept)
{
    if (concept == NULL)
        return;
    free(concept->key);
    free(concept->pack);
    free(concept->path);
    free(concept);
}

void top_model_forget_packs(struct top_model *model)
{
    for (uint32_t i = 0; i < TOP_PACKS; i++) {
        free(model->packs[i].pack);
        model->packs[i].pack = NULL;
        model->packs[i].generation = 0;
    }
    for (uint32_t i = 0; i < model->n; i++)
        model->concepts[i]->generation = 0;
}

void top_model_free(struct top_model *model)
{
    uint32_t n = model->concepts != NULL ? model->n : 0;
    for (uint32_t i = 0; i < n; i++)
        free_concept(model->concepts[i]);
    model->n = 0;
    top_model_forget_packs(model);
    free(model->concepts);
    free(model->order);
    free(model->heads);
    free(model->only_pack);
    *model = (struct top_model){0};
}

static uint64_t hash_bytes(uint64_t hash, const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++) /* FNV-1a */
        hash = (hash ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint32_t *head_of(const struct top_model *model, const char *pack, const char *key, size_t length)
{
    uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), pack, strlen(pack) + 1);
    return &model->heads[hash_bytes(hash, key, length) % model->n_heads];
}

static struct top_concept *find(const struct top_model *model, const char *pack, const char *key, size_t length)
{
    for (uint32_t i = *head_of(model, pack, key, length); i != 0; i = model->concepts[i - 1]->next) {
        struct top_concept *c = model->concepts[i - 1];
        if (strlen(c->key) == length && memcmp(c->key, key, length) == 0 && strcmp(c->pack, pack) == 0)
            return c;
    }
    return NULL;
}

/* The link that says `index` + 1: of its list's head or of the one before it. */
static uint32_t *link_to(struct top_model *model, uint32_t index)
{
    const struct top_concept *c = model->concepts[index];
    uint32_t *link = head_of(model, c->pack, c->key, strlen(c->key));
    while (*link != index + 1)
        link = &model->concepts[*link - 1]->next;
    return link;
}

/* The last one takes the place of the one that goes. */
static void drop(struct top_model *model, uint32_t index)
{
    struct top_concept *gone = model->concepts[index];
    *link_to(model, index) = gone->next;
    uint32_t last = model->n - 1;
    if (index != last) {
        *link_to(model, last) = index + 1;
        model->concepts[index] = model->concepts[last];
    }
    model->concepts[last] = NULL;
    model->n--;
    free_concept(gone);
}

static double interest(const struct top_concept *c)
{
    return c->score > (double)c->open_max ? c->score : (double)c->open_max;
}

/* Makes room for one more. False when all that are kept are watched. */
static bool forget_least(struct top_model *model)
{
    uint32_t least = model->n;
    for (uint32_t i = 0; i < model->n; i++) {
        const struct top_concept *c = model->concepts[i];
        if (!c->watched && (least == model->n || interest(c) < interest(model->concepts[least])))
            least = i;
    }
    if (least == model->n)
        return false;
    drop(model, least);
    model->forgotten++;
    return true;
}

/* The concept of that pack and key, made when it isn't there; NULL for want of memory or room. */
static struct top_concept *take(struct top_model *model, const char *pack, const char *key, size_t length)
{
    struct top_concept *c = find(model, pack, key, length);
    if (c != NULL)
        return c;
    if (model->n == model->capacity && !forget_least(model))
        return NULL;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->key = strndup(key, length);
    c->pack = strdup(pack);
    if (c->key == NULL || c->pack == NULL) {
        free_concept(c);
        return NULL;
    }
    uint32_t *head = head_of(model, pack, key, strlen(c->key));
    c->next = *head;
    model->concepts[model->n++] = c;
    *head = model->n;
    return c;
}

/* ---- packs ------------------------------------------------------------------------------------------------------ */

static const char *pack_of(const struct top_model *model, uint32_t generation)
{
    for (uint32_t i = 0; i < TOP_PACKS; i++) {
        if (model->packs[i].pack != NULL && model->packs[i].generation == generation)
            return model->packs[i].pack;
    }
    return NULL;
}

uint32_t top_model_unknown_pack(const struct top_model *model, const struct lens_event_page *page)
{
    for (uint32_t i = 0; i < page->count; i++) {
        uint32_t generation = page->rows[i].generation;
        if (generation != 0 && pack_of(model, generation) == NULL)
            return generation;
    }
    return 0;
}

int top_model_name_pack(struct top_model *model, uint32_t generation, struct lens_text pack)
{
    char *copy = strndup(pack.data, pack.length);
    if (copy == NULL)
        return -ENOMEM;
    free(model->packs[model->next_pack].pack);
    model->packs[model->next_pack].pack = copy;
    model->packs[model->next_pack].generation = generation;
    model->next_pack = (model->next_pack + 1) % TOP_PACKS;
    return 0;
}

static bool is_wanted(const struct top_model *model, const char *pack)
{
    return model->only_pack == NULL || (pack != NULL && strcmp(pack, model->only_pack) == 0);
}

/* ---- events ----------------------------------------------------------------------------------------------------- */

#define PLACES 512u /* more than twice the concepts of a page */
_Static_assert(PLACES >= 2 * LENS_EVENT_CONCEPTS, "few collisions");

/* Where in the page's list of concepts one stands: places hold index + 1. */
struct page_index {
    const struct lens_event_page *page;
    uint16_t places[PLACES];
};

static uint16_t *place_of(struct page_index *index, uint32_t generation, uint32_t id)
{
    uint32_t at = (id * 2654435761u ^ generation * 40503u) % PLACES;
    for (;; at = (at + 1) % PLACES) {
        uint16_t found = index->places[at];
        if (found == 0)
            return &index->places[at];
        const struct lens_event_concept *c = &index->page->concepts[found - 1];
        if (c->id == id && c->generation == generation)
            return &index->places[at];
    }
}

static void index_page(struct page_index *index, const struct lens_event_page *page)
{
    memset(index, 0, sizeof *index);
    index->page = page;
    for (uint32_t i = 0; i < page->n_concepts; i++)
        *place_of(index, page->concepts[i].generation, page->concepts[i].id) = (uint16_t)(i + 1);
}

static int add_detection(struct top_model *model, struct page_index *index, uint32_t generation, const char *pack,
                         const struct lens_detection *detection)
{
    uint16_t place = *place_of(index, generation, detection->id);
    const struct lens_event_concept *named = place != 0 ? &index->page->concepts[place - 1] : NULL;
    if (pack == NULL || named == NULL || named->key.length == 0) {
        model->unnamed++;
        return 0;
    }
    struct top_concept *c = take(model, pack, named->key.data, named->key.length);
    if (c == NULL)
        return -ENOMEM;
    if (c->generation != generation) { /* another version of the pack may have it elsewhere */
        free(c->path);
        c->path = NULL;
    }
    c->generation = generation;
    c->id = detection->id;
    c->last = detection->score;
    c->open_max = detection->score > c->open_max ? detection->score : c->open_max;
    c->open_count++;
    c->detections++;
    return 0;
}

static int add_row(struct top_model *model, struct page_index *index, const struct lens_event_row *row)
{
    const struct lens_event_page *page = index->page;
    const char *pack = pack_of(model, row->generation);
    if (!is_wanted(model, pack))
        return 0;
    model->rows++;
    model->open_rows++;
    if (row->total_ns > 0)
        lensd_histogram_record(&model->open_total, row->total_ns);
    int r = 0;
    for (uint32_t i = 0; i < row->stored_detections && row->first_detection + i < page->n_detections; i++) {
        model->detections++;
        int added = add_detection(model, index, row->generation, pack, &page->detections[row->first_detection + i]);
        r = r == 0 ? added : r;
    }
    return r;
}

int top_model_add(struct top_model *model, const struct lens_event_page *page)
{
    struct page_index index;
    index_page(&index, page);
    int r = 0;
    for (uint32_t i = 0; i < page->count; i++) {
        int added = add_row(model, &index, &page->rows[i]);
        r = r == 0 ? added : r;
    }
    return r;
}

/* ---- intervals -------------------------------------------------------------------------------------------------- */

float top_history(const struct top_model *model, const struct top_concept *concept, uint32_t back)
{
    if (back >= TOP_HISTORY || back >= model->intervals)
        return 0.0f;
    return concept->history[(model->intervals - 1 - back) % TOP_HISTORY];
}

static double mean_of(const struct top_model *model, const struct top_concept *c, uint32_t from, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)top_history(model, c, from + i);
    return sum / n;
}

static void set_trend(const struct top_model *model, struct top_concept *c)
{
    uint32_t n = model->intervals / 2 < TOP_TREND ? (uint32_t)(model->intervals / 2) : TOP_TREND;
    if (n == 0) {
        c->trend = TOP_UNKNOWN;
        c->trend_step = 0.0;
        return;
    }
    double step = mean_of(model, c, 0, n) - mean_of(model, c, n, n);
    c->trend_step = step;
    c->trend = step >= TOP_TREND_STEP ? TOP_RISING : step <= -TOP_TREND_STEP ? TOP_FALLING : TOP_STEADY;
}

static void close_concept(const struct top_model *model, struct top_concept *c, double seconds)
{
    double decayed = c->score * exp2(-seconds / TOP_HALF_LIFE_S);
    c->score = (double)c->open_max > decayed ? (double)c->open_max : decayed;
    c->rate = seconds > 0.0 ? c->open_count / seconds : 0.0;
    c->history[(model->intervals - 1) % TOP_HISTORY] = c->open_max;
    c->open_max = 0.0f;
    c->open_count = 0;
    set_trend(model, c);
}

static bool is_over(const struct top_concept *c)
{
    if (c->watched || c->score >= SILENT)
        return false;
    for (uint32_t i = 0; i < TOP_HISTORY; i++) {
        if (c->history[i] > 0.0f)
            return false;
    }
    return true;
}

void top_model_close(struct top_model *model, double seconds)
{
    model->intervals++;
    model->interval_s = seconds;
    model->rows_per_s = seconds > 0.0 ? (double)model->open_rows / seconds : 0.0;
    model->open_rows = 0;
    model->total = model->open_total;
    memset(&model->open_total, 0, sizeof model->open_total);
    for (uint32_t i = 0; i < model->n; i++)
        close_concept(model, model->concepts[i], seconds);
    for (uint32_t i = model->n; i-- > 0;) {
        if (is_over(model->concepts[i]))
            drop(model, i);
    }
}

/* ---- the watch list --------------------------------------------------------------------------------------------- */

uint32_t top_model_watched(const struct top_model *model)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < model->n; i++)
        n += model->concepts[i]->watched;
    return n;
}

int top_model_toggle(struct top_model *model, struct top_concept *concept)
{
    if (!concept->watched && top_model_watched(model) >= TOP_WATCHED)
        return -ENOSPC;
    concept->watched = !concept->watched;
    return 0;
}

int top_model_watch(struct top_model *model, const char *pack, const char *key)
{
    if (top_model_watched(model) >= TOP_WATCHED)
        return -ENOSPC;
    struct top_concept *c = take(model, pack, key, strlen(key));
    if (c == NULL)
        return -ENOMEM;
    c->watched = true;
    return 0;
}
