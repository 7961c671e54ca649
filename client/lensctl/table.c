/* Tables: aligned columns on a terminal, tab-separated lines elsewhere; see output.h. */
#include "client/lensctl/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ESCAPED 4 /* \xNN */

void ctl_table_init(struct ctl_table *table, const struct ctl_column *columns, unsigned n_columns)
{
    *table = (struct ctl_table){.columns = columns, .n_columns = n_columns};
}

static bool make_room(struct ctl_table *table)
{
    if (table->n_cells < table->capacity)
        return true;
    size_t capacity = table->capacity ? table->capacity * 2 : 64;
    char **cells = realloc(table->cells, capacity * sizeof *cells);
    if (cells == NULL)
        return false;
    table->cells = cells;
    table->capacity = capacity;
    return true;
}

/* A cell holds all of its text, whatever its length: a byte takes ESCAPED bytes at most when it is printable. */
static void add_cell(struct ctl_table *table, const char *data, size_t length)
{
    size_t size = ESCAPED * length + 1;
    char *cell = table->no_memory || !make_room(table) ? NULL : malloc(size);
    if (cell == NULL) {
        table->no_memory = true;
        return;
    }
    ctl_printable(data, length, cell, size);
    char *fitting = realloc(cell, strlen(cell) + 1);
    if (fitting != NULL)
        cell = fitting;
    table->cells[table->n_cells++] = cell;
}

void ctl_table_text(struct ctl_table *table, struct lens_text text)
{
    add_cell(table, text.data != NULL ? text.data : "", text.length);
}

void ctl_table_add(struct ctl_table *table, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        table->no_memory = true;
        return;
    }
    add_cell(table, text, (size_t)length);
    free(text);
}

void ctl_table_free(struct ctl_table *table)
{
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    ctl_table_init(table, table->columns, table->n_columns);
}

static size_t column_width(const struct ctl_table *table, unsigned column)
{
    const char *title = table->columns[column].title;
    size_t width = title != NULL ? ctl_columns(title) : 0;
    for (size_t i = column; i < table->n_cells; i += table->n_columns) {
        size_t n = ctl_columns(table->cells[i]);
        width = n > width ? n : width;
    }
    return width;
}

/* A row that is wider than the terminal goes on in further lines, set in as far; the text of its last column is broken
 * between words. A table without a head is names and texts: there the texts are broken alone. */
#define SET_IN 4

/* Where the columns stand on a terminal. */
struct layout {
    size_t *widths, *begins;
    bool *folds; /* the column begins a further line */
};

static void free_layout(struct layout *layout)
{
    free(layout->widths);
    free(layout->begins);
    free(layout->folds);
}

static void fold_columns(const struct ctl_table *table, const struct ctl_output *out, struct layout *layout)
{
    unsigned room = ctl_width(out);
    bool may = room > 0 && table->columns[0].title != NULL;
    for (unsigned c = 1; c < table->n_columns; c++) {
        size_t begin = layout->begins[c - 1] + layout->widths[c - 1] + 2;
        layout->folds[c] = may && begin + layout->widths[c] > room;
        layout->begins[c] = layout->folds[c] ? SET_IN : begin;
    }
}

static int make_layout(const struct ctl_table *table, const struct ctl_output *out, struct layout *layout)
{
    layout->widths = calloc(table->n_columns, sizeof *layout->widths);
    layout->begins = calloc(table->n_columns, sizeof *layout->begins);
    layout->folds = calloc(table->n_columns, sizeof *layout->folds);
    if (layout->widths == NULL || layout->begins == NULL || layout->folds == NULL)
        return -ENOMEM;
    for (unsigned c = 0; c < table->n_columns; c++)
        layout->widths[c] = column_width(table, c);
    fold_columns(table, out, layout);
    return 0;
}

static void print_aligned(const struct ctl_table *table, const struct ctl_output *out, const struct layout *layout,
                          const char *text, unsigned column)
{
    bool end = column + 1 == table->n_columns, last = end || layout->folds[column + 1];
    int pad = (int)(layout->widths[column] - ctl_columns(text));
    if (layout->folds[column])
        fprintf(out->file, "\n%*s", SET_IN, "");
    else if (column > 0)
        fputs("  ", out->file);
    if (table->columns[column].right)
        fprintf(out->file, "%*s%s", pad, "", text);
    else if (end)
        (void)ctl_print_wrapped(out, text, (unsigned)layout->begins[column]);
    else
        fprintf(out->file, "%s%*s", text, last ? 0 : pad, "");
}

static void print_cell(const struct ctl_table *table, const struct ctl_output *out, const struct layout *layout,
                       const char *text, unsigned column)
{
    if (out->terminal)
        print_aligned(table, out, layout, text, column);
    else
        fprintf(out->file, "%s%s", column > 0 ? "\t" : "", text);
}

static void print_head(const struct ctl_table *table, const struct ctl_output *out, const struct layout *layout)
{
    if (table->columns[0].title == NULL)
        return;
    fputs(ctl_style(out, CTL_BOLD), out->file);
    for (unsigned c = 0; c < table->n_columns; c++)
        print_cell(table, out, layout, table->columns[c].title, c);
    fprintf(out->file, "%s\n", ctl_style(out, CTL_PLAIN));
}

int ctl_table_print(struct ctl_table *table, const struct ctl_output *out)
{
    struct layout layout = {0};
    int r = make_layout(table, out, &layout);
    if (r == 0) {
        print_head(table, out, &layout);
        for (size_t i = 0; i < table->n_cells; i++) {
            unsigned column = (unsigned)(i % table->n_columns);
            print_cell(table, out, &layout, table->cells[i], column);
            if (column + 1 == table->n_columns)
                fputc('\n', out->file);
        }
        r = table->no_memory ? -ENOMEM : 0;
    }
    free_layout(&layout);
    ctl_table_free(table);
    return r;
}

bool ctl_table_fits(const struct ctl_table *table, const struct ctl_output *out)
{
    struct layout layout = {0};
    bool fits = make_layout(table, out, &layout) == 0;
    for (unsigned c = 0; fits && c < table->n_columns; c++)
        fits = !layout.folds[c];
    free_layout(&layout);
    return fits;
}
