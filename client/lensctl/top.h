/* `lensctl top` between its parts: what is known (top_model.h, figures.h), how it is asked for (top_poll.c), what the
 * keys change (top_keys.c), and the texts it is shown as (top_lines.c on a screen, top_once.c without one). */
#ifndef LENSCTL_TOP_H
#define LENSCTL_TOP_H

#include "client/lensctl/command.h"
#include "client/lensctl/event_feed.h"
#include "client/lensctl/figures.h"
#include "client/lensctl/rule_names.h"
#include "client/lensctl/top_model.h"

#define TOP_FILTER_MAX 127u

struct top {
    const struct ctl *ctl;
    struct lens_client *client;
    const char *pack; /* --pack, or NULL */
    uint32_t session; /* 0 = all */
    double interval_s;
    float min_score; /* less counts as nothing */
    bool operator_;  /* figures of everyone may be asked for */

    struct top_model model;
    struct event_feed feed;
    struct ctl_sample before, after; /* `after` is the one that is shown */
    struct ctl_figures figures;      /* of the last closed interval; NAN all over until there is one */
    bool has_figures;
    uint64_t opened_ns; /* when the open interval began */

    /* Rows that raised one of the daemon's rules since the beginning; when the last was seen (ctl_now_ns), and what it
     * said. */
    struct rule_names rules;
    uint64_t alerts, alert_ns;
    uint8_t alert_action;
    char alert_rule[RULE_NAME_BYTES];

    bool connected;
    uint64_t gone_ns;  /* since when not; ctl_now_ns */
    bool look_refused; /* the daemon doesn't give the figures; trouble says why */
    char trouble[512]; /* why not, or what the daemon refused; "" = nothing */

    /* What the keys change. */
    enum top_sort sort;
    char filter[TOP_FILTER_MAX + 1];
    char edited[TOP_FILTER_MAX + 1]; /* the filter while it is typed */
    bool editing, paused, help, over;
    bool moved;               /* a key moved the mark since the list was last put in order */
    uint32_t selected, first; /* rows of the list: the marked one, the topmost one on the screen */
    const void *marked;       /* the concept that a key marked: the mark goes with it while it is on the screen; only
                               * compared, it may be gone */
    uint32_t page_rows;       /* as many as the screen has for the list; set by it */
    char notice[160];         /* what the last key did, when that doesn't show by itself */
};

/* ---- top_poll.c: asking the daemon ------------------------------------------------------------------------------ */

/* The first look, and following begins. An enum ctl_exit, failures said on stderr. */
int top_start(struct top *top);

/* Takes in what was answered since. 0, or the negative errno with top->connected and trouble set. */
int top_poll(struct top *top);

/* Takes in the rest of the open interval and ends it. As top_poll. */
int top_close_interval(struct top *top);

/* Asks for the paths that concepts list[0..n) lack. */
void top_fetch_paths(struct top *top, struct top_concept **list, uint32_t n);

/* ---- top_keys.c: what a key does -------------------------------------------------------------------------------- */

enum top_key { /* beside the characters themselves */
               TOP_KEY_UP = 0x110000,
               TOP_KEY_DOWN,
               TOP_KEY_PAGE_UP,
               TOP_KEY_PAGE_DOWN,
               TOP_KEY_HOME,
               TOP_KEY_END,
               TOP_KEY_BACKSPACE,
               TOP_KEY_ENTER,
               TOP_KEY_ESCAPE
};

/* `key` is a Unicode character or an enum top_key. */
void top_press(struct top *top, uint32_t key);

/* Keeps the marked row on its concept, inside the list and on the screen; list[n] is as top_model_order gave it. */
void top_keep_in_view(struct top *top, struct top_concept **list, uint32_t n);

/* ---- top_lines.c: texts of the screen --------------------------------------------------------------------------- */

#define TOP_LINE 4096u /* bytes */

enum top_style { TOP_PLAIN, TOP_BOLD, TOP_DIM, TOP_GOOD, TOP_BAD, TOP_NOTE };

/* How wide each column of the list is on a screen of so many columns; 0 = not shown. */
struct top_columns {
    unsigned name, score, last, trend, spark, rate, path;
};
void top_columns_fit(unsigned width, struct top_columns *out);

/* Lines above the list, the most important first. Texts are UTF-8 without control characters. */
enum top_header { TOP_SERVICE, TOP_WORK, TOP_LIST, TOP_MEMORY, TOP_DAEMON, TOP_HEADERS };
enum top_style top_header(const struct top *top, enum top_header which, uint32_t shown, char *out, size_t size);

void top_titles(const struct top_columns *columns, char *out, size_t size);
void top_row(const struct top *top, const struct top_concept *concept, const struct top_columns *columns, bool utf8,
             char *out, size_t size);
const char *const *top_help(void); /* lines, ended by NULL */

/* One cell of a history: a block as high as the score, ' ' for none. */
const char *top_block(float score, bool utf8);

/* Copies text to exactly `width` columns of a terminal: cut (with a mark), or filled with spaces. Characters that
 * the locale can't show, or that would turn the writing direction, become '?'. */
char *top_fit(const char *text, unsigned width, char *out, size_t size);

/* ---- top_once.c: without a screen ------------------------------------------------------------------------------- */

/* One snapshot, as a table or as JSON. An enum ctl_exit. */
int top_print(struct top *top);

/* ---- top_screen.c: with one ------------------------------------------------------------------------------------- */

/* Whether there is a terminal to draw on. CTL_OK or CTL_USAGE, said on stderr. */
int top_check_terminal(void);

/* Shows it until someone ends it. An enum ctl_exit; the terminal is as it was before. */
int top_show(struct top *top);

#endif
