/* A timeline as text: concepts down, tokens across. On a terminal it is a heat map, wrapped in blocks to its width;
 * elsewhere one table with tabs. */
#include "client/lensctl/timeline.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#define LABEL_COLUMNS 30u /* of a concept's key */
#define MIN_COLUMNS   3u  /* of a token: room for ".97" */
#define MAX_COLUMNS   12u
#define TEXT_BYTES    512u
#define RULER_STEP    10u
#define SCALE_COLUMNS 9u
#define FAINT         0.1f /* below it a cell stays empty */
#define STRONG        0.5f /* from here on a cell has a colour of its own, and its number */

struct map {
    const struct timeline_view *view;
    const struct ctl_output *out;
    unsigned width;
    bool narrow, unicode;
    unsigned label; /* columns */
};

/* How a score is drawn; the steps' lower bounds are multiples of 0.1. */
struct shade {
    const char *block, *ascii, *colour;
};

/* Dark blue to yellow as a background with a text that can be read on it: the same on dark and light terminals. */
static const struct shade shades[11] = {
    {" ", " ", ""},
    {"░", ".", "\033[38;5;67m"},
    {"░", ":", "\033[38;5;67m"},
    {"▒", "-", "\033[38;5;67m"},
    {"▒", "=", "\033[38;5;67m"},
    {"▓", "+", "\033[48;5;24;38;5;255m"},
    {"▓", "*", "\033[48;5;30;38;5;255m"},
    {"█", "%", "\033[48;5;36;38;5;232m"},
    {"█", "#", "\033[48;5;71;38;5;232m"},
    {"█", "@", "\033[48;5;178;38;5;232m"},
    {"█", "@", "\033[48;5;220;38;5;232m"},
};

static const struct shade *shade_of(float score)
{
    if (!(score >= FAINT)) /* none, too */
        return &shades[0];
    return &shades[score < 1.0f ? (unsigned)(score * 10.0f) : 10];
}

/* Whether the user's locale writes UTF-8; without touching the program's own locale, which numbers are printed by. */
static bool writes_unicode(void)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    bool yes = locale != (locale_t)0 && strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
    if (locale != (locale_t)0)
        freelocale(locale);
    return yes;
}

/* Printable text cut to `columns`, with "~" at the end when something is missing; the columns it takes. */
static unsigned fit(const char *from, unsigned columns, char *out, size_t size)
{
    ctl_printable(from, strlen(from), out, size);
    unsigned used = 0, whole = 0;
    size_t end = 0; /* of what may stand before a "~", which takes `whole` columns */
    for (size_t i = 0, length; out[i] != '\0'; i += length) {
        unsigned n = ctl_character(out + i, &length);
        if (used + n > columns) {
            snprintf(out + end, size - end, "~");
            return whole + 1;
        }
        used += n;
        if (used < columns) {
            end = i + length;
            whole = used;
        }
    }
    return used;
}

/* The text above a token's column: the token, or its row number. */
static unsigned token_label(const struct map *map, size_t i, char *out, size_t size)
{
    const struct timeline_token *token = &map->view->timeline->tokens[i];
    char number[24];
    snprintf(number, sizeof number, "%llu", (unsigned long long)token->row);
    const char *text = token->text != NULL ? token->text : number;
    while (*text == ' ' && text[1] != '\0') /* a token's own space before the word */
        text++;
    return fit(text, MAX_COLUMNS, out, size);
}

static unsigned token_columns(const struct map *map, size_t i)
{
    char text[TEXT_BYTES];
    unsigned n = token_label(map, i, text, sizeof text);
    return map->narrow ? 1 : n < MIN_COLUMNS ? MIN_COLUMNS : n;
}

/* The end of the block that begins at token `first`: as many as fit, one at least. */
static size_t block_end(const struct map *map, size_t first)
{
    size_t end = first, n = map->view->timeline->n_tokens;
    unsigned used = map->label + 2;
    while (end < n) {
        unsigned columns = token_columns(map, end) + (map->narrow ? 0 : 1);
        if (used + columns > map->width && end > first)
            break;
        used += columns;
        end++;
    }
    return end;
}

static void print_token_labels(const struct map *map, size_t first, size_t end)
{
    FILE *file = map->out->file;
    fprintf(file, "%*s", (int)map->label + 2, "");
    for (size_t i = first; i < end; i++) {
        char text[TEXT_BYTES];
        bool odd = map->view->timeline->tokens[i].status != 0;
        unsigned used = token_label(map, i, text, sizeof text);
        fprintf(file, "%s%s%s%*s", ctl_style(map->out, odd ? CTL_RED : CTL_CYAN), text, ctl_style(map->out, CTL_PLAIN),
                (int)(token_columns(map, i) - used) + 1, "");
    }
    fputc('\n', file);
}

/* Above narrow columns: the row numbers of every tenth token. */
static void print_ruler(const struct map *map, size_t first, size_t end)
{
    FILE *file = map->out->file;
    fprintf(file, "%*s%s", (int)map->label + 2, "", ctl_style(map->out, CTL_DIM));
    for (size_t i = first; i < end; i += RULER_STEP) {
        if (i + RULER_STEP <= end)
            fprintf(file, "%-*llu", (int)RULER_STEP, (unsigned long long)map->view->timeline->tokens[i].row);
    }
    fprintf(file, "%s\n", ctl_style(map->out, CTL_PLAIN));
}

static void repeat(FILE *file, const char *text, unsigned n)
{
    while (n-- > 0)
        fputs(text, file);
}

/* ".97", or "1.0" for what is all but 1: three columns. */
static void score_text(float score, char out[8])
{
    if (score >= 0.9995f)
        memcpy(out, "1.0", 4);
    else
        snprintf(out, 8, ".%02u", (unsigned)fminf(score * 100.0f + 0.5f, 99.0f));
}

static void print_cell(const struct map *map, float score, unsigned columns)
{
    FILE *file = map->out->file;
    const struct shade *shade = shade_of(score);
    char number[8];
    if (!map->out->colour || shade->colour[0] == '\0') {
        repeat(file, map->unicode ? shade->block : shade->ascii, columns);
    } else if (score < STRONG || columns < MIN_COLUMNS) {
        fputs(shade->colour, file);
        repeat(file, score < STRONG ? (map->unicode ? shade->block : shade->ascii) : " ", columns);
        fputs(ctl_style(map->out, CTL_PLAIN), file);
    } else {
        unsigned before = (columns - 3) / 2;
        score_text(score, number);
        fprintf(file, "%s%*s%s%*s%s", shade->colour, (int)before, "", number, (int)(columns - 3 - before), "",
                ctl_style(map->out, CTL_PLAIN));
    }
}

static void print_block(const struct map *map, size_t first, size_t end)
{
    const struct timeline_view *view = map->view;
    if (map->narrow)
        print_ruler(map, first, end);
    else
        print_token_labels(map, first, end);
    for (size_t c = 0; c < view->n; c++) {
        char key[TEXT_BYTES];
        unsigned used = fit(view->timeline->concepts[view->concepts[c]].key, map->label, key, sizeof key);
        fprintf(map->out->file, "%s%*s  ", key, (int)(map->label - used), "");
        for (size_t i = first; i < end; i++) {
            print_cell(map, timeline_cell(view, c, i)->score, token_columns(map, i));
            if (!map->narrow)
                fputc(' ', map->out->file);
        }
        fputc('\n', map->out->file);
    }
    fputc('\n', map->out->file);
}

static void print_scale(const struct map *map)
{
    FILE *file = map->out->file;
    unsigned used = map->label;
    fprintf(file, "%-*s", (int)map->label, "scale");
    for (unsigned i = 1; i < 10; i++, used += SCALE_COLUMNS) {
        if (used + SCALE_COLUMNS > map->width && used > map->label) {
            fprintf(file, "\n%*s", (int)map->label, "");
            used = map->label;
        }
        fprintf(file, "  %.1f ", (double)i / 10);
        print_cell(map, (float)i / 10 + 0.05f, 3);
    }
    fputc('\n', file);
}

static void print_map(const struct timeline_view *view, const struct ctl_output *out, unsigned width, bool narrow)
{
    struct map map = {.view = view, .out = out, .width = width, .narrow = narrow, .unicode = writes_unicode()};
    for (size_t c = 0; c < view->n; c++) {
        char key[TEXT_BYTES];
        unsigned n = fit(view->timeline->concepts[view->concepts[c]].key, LABEL_COLUMNS, key, sizeof key);
        map.label = n > map.label ? n : map.label;
    }
    for (size_t first = 0; first < view->timeline->n_tokens;) {
        size_t end = block_end(&map, first);
        print_block(&map, first, end);
        first = end;
    }
    print_scale(&map);
}

static void print_table(const struct timeline_view *view, FILE *file)
{
    const struct timeline *t = view->timeline;
    char text[TEXT_BYTES];
    fputs("concept", file);
    for (size_t i = 0; i < t->n_tokens; i++) {
        fprintf(file, "\t%llu", (unsigned long long)t->tokens[i].row);
        if (t->tokens[i].text != NULL)
            fprintf(file, " %s", ctl_printable(t->tokens[i].text, strlen(t->tokens[i].text), text, sizeof text));
    }
    fputc('\n', file);
    for (size_t c = 0; c < view->n; c++) {
        const char *key = t->concepts[view->concepts[c]].key;
        fputs(ctl_printable(key, strlen(key), text, sizeof text), file);
        for (size_t i = 0; i < t->n_tokens; i++) {
            float score = timeline_cell(view, c, i)->score;
            if (isnan(score))
                fputc('\t', file);
            else
                fprintf(file, "\t%.4f", (double)score);
        }
        fputc('\n', file);
    }
}

void timeline_print(const struct timeline_view *view, const struct ctl_output *out, unsigned width, bool narrow)
{
    if (out->terminal)
        print_map(view, out, width, narrow);
    else
        print_table(view, out->file);
}
