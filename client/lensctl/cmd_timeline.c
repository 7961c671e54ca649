/* lensctl timeline FILE|SESSION: one map of tokens and concepts. */
#include "client/lensctl/commands.h"
#include "client/lensctl/timeline_collect.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TERMINAL_CONCEPTS 20u
#define PAGE_CONCEPTS     200u
#define DEFAULT_MIN       0.3f /* the default of cascade.load_threshold: what expands, appears */
#define DEFAULT_WIDTH     100u
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

/* A number is a session; a file of such a name is ./5. */
static bool is_session(const char *argument, uint32_t *session)
{
    size_t length = strlen(argument);
    unsigned long long number = strtoull(argument, NULL, 10);
    *session = (uint32_t)number;
    return length > 0 && length <= 10 && strspn(argument, "0123456789") == length && number > 0 && number <= UINT32_MAX;
}

int ctl_run_timeline(struct ctl *ctl)
{
    struct timeline timeline = {0};
    struct timeline_origin origin = {.name = ""};
    uint32_t session;
    bool live = is_session(ctl_argument(ctl, 0), &session);
    if (!live && ctl_value(ctl, "--sequence")->set)
        return ctl_fail(CTL_USAGE, "--sequence goes with the number of a session; a file is one sequence");
    int r =
        live ? timeline_from_session(ctl, session, &timeline, &origin) : timeline_from_file(ctl, &timeline, &origin);
    if (r == CTL_OK) {
        const struct timeline_source source = {.name = origin.name, .pack = origin.pack};
        r = show(ctl, &timeline, &source);
    }
    timeline_free(&timeline);
    return r;
}
