/* `lensctl top --once`: one snapshot as a table or as JSON; see top.h. */
#include "client/lensctl/top.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t layer_of(const char *key)
{
    const char *colon = strrchr(key, ':');
    return colon != NULL ? (uint32_t)strtoul(colon + 1, NULL, 10) : 0;
}

static json_t *path_json(const struct top_concept *concept)
{
    json_t *path = json_array();
    const char *at = concept->path;
    for (uint32_t i = 0; at != NULL && i < concept->n_path; i++) {
        json_array_append_new(path, ctl_json_text(lens_text_of(at)));
        at += strlen(at) + 1;
    }
    return path;
}

/* Oldest first. */
static json_t *history_json(const struct top *top, const struct top_concept *concept)
{
    json_t *history = json_array();
    uint32_t n = top->model.intervals < TOP_HISTORY ? (uint32_t)top->model.intervals : TOP_HISTORY;
    for (uint32_t i = n; i-- > 0;)
        json_array_append_new(history, ctl_json_number((double)top_history(&top->model, concept, i)));
    return history;
}

static json_t *concept_json(const struct top *top, const struct top_concept *concept)
{
    bool seen = concept->detections > 0;
    json_t *object = json_object();
    ctl_json_set_text(object, "concept", lens_text_of(concept->key));
    ctl_json_set_text(object, "pack", lens_text_of(concept->pack));
    json_object_set_new(object, "id", seen ? json_integer(concept->id) : json_null());
    json_object_set_new(object, "generation", seen ? json_integer(concept->generation) : json_null());
    ctl_json_set_count(object, "layer", layer_of(concept->key));
    json_object_set_new(object, "watched", json_boolean(concept->watched));
    json_object_set_new(object, "score", seen ? ctl_json_number(concept->score) : json_null());
    json_object_set_new(object, "last", seen ? ctl_json_number((double)concept->last) : json_null());
    json_object_set_new(object, "trend", json_string(top_trend_names[concept->trend]));
    json_object_set_new(object, "per_s", ctl_json_number(concept->rate));
    ctl_json_set_count(object, "detections", concept->detections);
    json_object_set_new(object, "history", history_json(top, concept));
    json_object_set_new(object, "path", path_json(concept));
    return object;
}

static json_t *daemon_json(const struct top *top)
{
    const struct ctl_sample *s = &top->after;
    json_t *object = json_object();
    ctl_json_set_text(object, "version", lens_text_of(s->version));
    ctl_json_set_text(object, "backend", lens_text_of(s->backend));
    ctl_json_set_text(object, "device", lens_text_of(s->device));
    ctl_json_set_count(object, "uptime_ns", s->uptime_ns);
    ctl_json_set_count(object, "packs", s->packs);
    json_object_set_new(object, "sessions", top->operator_ ? json_integer(s->sessions) : json_null());
    ctl_json_set_count(object, "slots", s->slots);
    ctl_json_set_count(object, "resident", s->resident);
    ctl_json_set_count(object, "slab_bytes", s->slab_bytes);
    ctl_json_set_count(object, "heap_bytes", s->heap_bytes);
    ctl_json_set_text(object, "loading", lens_text_of(s->loading));
    ctl_json_set_text(object, "degraded", lens_text_of(s->degraded));
    return object;
}

static json_t *figures_json(const struct ctl_figures *f)
{
    json_t *object = json_object();
    json_object_set_new(object, "rows_per_s", ctl_json_number(f->rows_per_s));
    json_object_set_new(object, "dropped_per_s", ctl_json_number(f->dropped_per_s));
    json_object_set_new(object, "invalid_per_s", ctl_json_number(f->invalid_per_s));
    json_object_set_new(object, "p50_ns", ctl_json_number(f->p50_ns));
    json_object_set_new(object, "p99_ns", ctl_json_number(f->p99_ns));
    json_object_set_new(object, "queue_ns", ctl_json_number(f->queue_ns));
    json_object_set_new(object, "batch_rows", ctl_json_number(f->batch_rows));
    json_object_set_new(object, "scored_per_row", ctl_json_number(f->scored_per_row));
    json_object_set_new(object, "hit_rate", ctl_json_number(f->hit_rate));
    json_object_set_new(object, "loads_per_s", ctl_json_number(f->loads_per_s));
    json_object_set_new(object, "load_bytes_per_s", ctl_json_number(f->load_bytes_per_s));
    json_object_set_new(object, "evictions_per_s", ctl_json_number(f->evictions_per_s));
    return object;
}

static int print_json(const struct top *top, struct top_concept **list, uint32_t n)
{
    json_t *object = ctl_json_new(), *concepts = json_array();
    json_object_set_new(object, "seconds", ctl_json_number(top->figures.seconds));
    json_object_set_new(object, "everyone", json_boolean(top->operator_ && top->session == 0));
    json_object_set_new(object, "min_score", ctl_json_number((double)top->min_score));
    json_object_set_new(object, "daemon", daemon_json(top));
    json_object_set_new(object, "figures", figures_json(&top->figures));
    ctl_json_set_count(object, "rows_not_seen", top->feed.lost);
    ctl_json_set_count(object, "alerts", top->alerts);
    ctl_json_set_count(object, "detections", top->model.detections);
    ctl_json_set_count(object, "detections_without_a_name", top->model.unnamed);
    ctl_json_set_count(object, "concepts_forgotten", top->model.forgotten);
    json_object_set_new(object, "sort", json_string(top_sort_names[top->sort]));
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(concepts, concept_json(top, list[i]));
    json_object_set_new(object, "concepts", concepts);
    return ctl_json_print(&top->ctl->out, object, false);
}

static void add_path(struct ctl_table *table, const struct top_concept *concept)
{
    char text[TOP_LINE] = "";
    const char *at = concept->path;
    for (uint32_t i = 0; at != NULL && i + 1 < concept->n_path; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? " > " : "", at);
        at += strlen(at) + 1;
    }
    ctl_table_text(table, lens_text_of(text));
}

static int print_text(const struct top *top, struct top_concept **list, uint32_t n)
{
    static const enum top_header headers[] = {TOP_DAEMON, TOP_WORK, TOP_MEMORY, TOP_SERVICE, TOP_LIST};
    static const struct ctl_column columns[] = {{"concept", false}, {"score", true}, {"last", true},
                                                {"trend", false},   {"per s", true}, {"watched", false},
                                                {"pack", false},    {"below", false}};
    struct ctl_table table;
    char text[TOP_LINE];
    for (unsigned i = 0; i < TOP_HEADERS; i++) {
        bool bad = top_header(top, headers[i], n, text, sizeof text) == TOP_BAD;
        fprintf(top->ctl->out.file, "%s%s%s\n", bad ? ctl_style(&top->ctl->out, CTL_RED) : "", text,
                bad ? ctl_style(&top->ctl->out, CTL_PLAIN) : "");
    }
    fputc('\n', top->ctl->out.file);
    ctl_table_init(&table, columns, 8);
    for (uint32_t i = 0; i < n; i++) {
        bool seen = list[i]->detections > 0;
        ctl_table_text(&table, lens_text_of(list[i]->key));
        ctl_table_add(&table, seen ? "%.3f" : "-", list[i]->score);
        ctl_table_add(&table, seen ? "%.3f" : "-", (double)list[i]->last);
        ctl_table_add(&table, "%s", top_trend_names[list[i]->trend]);
        ctl_table_add(&table, "%.1f", list[i]->rate);
        ctl_table_add(&table, "%s", list[i]->watched ? "yes" : "no");
        ctl_table_text(&table, lens_text_of(list[i]->pack));
        add_path(&table, list[i]);
    }
    return ctl_table_print(&table, &top->ctl->out) == 0 ? CTL_OK : ctl_fail(CTL_FAILED, "out of memory");
}

int top_print(struct top *top)
{
    struct top_concept **list;
    uint32_t n = top_model_order(&top->model, top->sort, top->filter, &list);
    top_fetch_paths(top, list, n);
    return top->ctl->json ? print_json(top, list, n) : print_text(top, list, n);
}
