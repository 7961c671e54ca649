/* lensctl timeline FILE: hidden states through the daemon, shown as one map of tokens and concepts. */
#include "client/lensctl/commands.h"
#include "client/lensctl/detect.h"
#include "client/lensctl/timeline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TERMINAL_CONCEPTS 20u
#define PAGE_CONCEPTS     200u
#define DEFAULT_MIN       0.3f /* the default of cascade.load_threshold: what expands, appears */
#define DEFAULT_WIDTH     100u
#define PATH_MAX_LENGTH   64u

struct collector {
    struct timeline timeline;
    char pack[256];
};

/* ---- collecting ------------------------------------------------------------------------------------------------- */

static int add_failed(int code)
{
    if (code == -E2BIG)
        return ctl_fail(CTL_FAILED, "a timeline has room for %u tokens, and there are more: show a part of them",
                        TIMELINE_MAX_TOKENS);
    return ctl_fail(CTL_FAILED, "out of memory");
}

static json_t *path_json(const struct concept_tree *tree, uint32_t id)
{
    uint32_t path[PATH_MAX_LENGTH];
    unsigned n = concept_tree_path(tree, id, path, PATH_MAX_LENGTH);
    json_t *list = json_array();
    for (unsigned i = 0; i < n; i++)
        json_array_append_new(list, ctl_json_text(lens_text_of(concept_tree_key(tree, path[i]))));
    return list;
}

static int add_hit(struct timeline *timeline, const struct concept_tree *tree, const struct lens_hit *hit)
{
    const char *key = concept_tree_key(tree, hit->id);
    int64_t concept = timeline_concept(timeline, key, strlen(key));
    if (concept < 0)
    return (int)concept;
    if (timeline->concepts[concept].path == NULL)
        timeline->concepts[concept].path = path_json(tree, hit->id);
    const struct timeline_cell cell = {hit->score, hit->raw, hit->logit};
    return timeline_add_score(timeline, (uint32_t) concept, &cell);
}

static int take_row(struct detect *d, uint64_t row, const struct lens_answer *answer)
{
    struct collector *c = d->arg;
    int r = timeline_add_token(&c->timeline, row, hidden_states_token(&d->states, row), answer->status, answer->flags);
    for (uint32_t i = 0; i < answer->n_hits && r == 0; i++)
        r = add_hit(&c->timeline, &d->tree, &answer->hits[i]);
    snprintf(c->pack, sizeof c->pack, "%s", d->tree.pack);
    return r == 0 ? CTL_OK : add_failed(r);
}

/* ---- showing ---------------------------------------------------------------------------------------------------- */

static unsigned terminal_width(const struct ctl_output *out)
{
    struct winsize size;
    if (ioctl(fileno(out->file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return DEFAULT_WIDTH;
}

static void choose(const struct ctl *ctl, struct timeline_choice *choice)
{
    const struct ctl_value *concepts = ctl_value(ctl, "--concepts"), *min = ctl_value(ctl, "--min");
    bool few = ctl->out.terminal && !ctl->json && !ctl_value(ctl, "--html")->set;
    *choice = (struct timeline_choice){
        .concepts = concepts->set ? (unsigned)concepts->number
                    : few         ? TERMINAL_CONCEPTS
                                  : PAGE_CONCEPTS,
        .glob = ctl_value(ctl, "--concept")->text,
        .min = min->set ? (float)min->real : DEFAULT_MIN,
        .sort = (enum timeline_sort)ctl_value(ctl, "--sort")->number,
    };
}

static int write_html(const struct ctl *ctl, const struct timeline_view *view, const struct timeline_source *source)
{
    const char *path = ctl_value(ctl, "--html")->text;
    struct lens_error err = {0};
    char size[32], shown[1024];
    uint64_t bytes = 0;
    if (timeline_write_html(timeline_json(view, source), path, &bytes, &err) != 0)
        return ctl_fail(CTL_FAILED, "%s", err.text);
    if (ctl->json) {
        json_t *object = ctl_json_new();
        ctl_json_set_text(object, "file", lens_text_of(path));
        ctl_json_set_count(object, "bytes", bytes);
        ctl_json_set_count(object, "tokens", view->timeline->n_tokens);
        ctl_json_set_count(object, "concepts", view->n);
        ctl_json_set_count(object, "concepts_matching", view->matching);
        return ctl_json_print(&ctl->out, object, false);
    }
    fprintf(ctl->out.file, "%zu tokens, %zu concepts; %s in %s\n", view->timeline->n_tokens, view->n,
            ctl_bytes_text(bytes, size, sizeof size), ctl_printable(path, strlen(path), shown, sizeof shown));
    return CTL_OK;
}

/* What the choice left out, on stderr, so that the map itself stays a map. */
static void say_what_is_missing(const struct timeline_view *view, const struct timeline_choice *choice)
{
    if (view->n < view->matching)
        fprintf(stderr,
                "lensctl: the %zu strongest of %zu concepts that score %.2g or more; --concepts N shows others\n",
                view->n, view->matching, (double)choice->min);
    else if (view->n == 0)
        fprintf(stderr, "lensctl: of %zu concepts with a score none%s reaches %.2g; --min 0 shows them all the same\n",
                view->timeline->n_concepts, choice->glob != NULL ? " that matches" : "", (double)choice->min);
}

static int show(const struct ctl *ctl, const struct timeline *timeline, const struct timeline_source *source)
{
    struct timeline_choice choice;
    struct timeline_view view;
    int r = CTL_OK;
    choose(ctl, &choice);
    if (timeline_select(timeline, &choice, &view) != 0)
        return ctl_fail(CTL_FAILED, "out of memory");
    say_what_is_missing(&view, &choice);
    if (ctl_value(ctl, "--html")->set)
        r = write_html(ctl, &view, source);
    else if (ctl->json)
        r = ctl_json_print(&ctl->out, timeline_json(&view, source), true);
    else
        timeline_print(&view, &ctl->out, terminal_width(&ctl->out), ctl_value(ctl, "--narrow")->set);
    timeline_view_free(&view);
    return r;
}

int ctl_run_timeline(struct ctl *ctl)
{
    struct collector collector = {.timeline = {0}};
    int r = detect_run(ctl, true, take_row, &collector);
    if (r == CTL_OK) {
        const struct timeline_source source = {.name = ctl_argument(ctl, 0), .pack = collector.pack};
        r = show(ctl, &collector.timeline, &source);
    }
    timeline_free(&collector.timeline);
    return r;
}
