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

static void print_cell(const struct ctl_table *table, const struct ctl_output *out, const char *text, unsigned column,
                       size_t width)
{
    bool last = column + 1 == table->n_columns;
    size_t pad = width - ctl_columns(text);
    if (!out->terminal)
        fprintf(out->file, "%s%s", text, last ? "" : "\t");
    else if (table->columns[column].right)
        fprintf(out->file, "%*s%s%s", (int)pad, "", text, last ? "" : "  ");
    else
        fprintf(out->file, "%s%*s", text, last ? 0 : (int)pad + 2, "");
}

static void print_head(const struct ctl_table *table, const struct ctl_output *out, const size_t *widths)
{
    if (table->columns[0].title == NULL)
        return;
    fputs(ctl_style(out, CTL_BOLD), out->file);
    for (unsigned c = 0; c < table->n_columns; c++)
        print_cell(table, out, table->columns[c].title, c, widths[c]);
    fprintf(out->file, "%s\n", ctl_style(out, CTL_PLAIN));
}

int ctl_table_print(struct ctl_table *table, const struct ctl_output *out)
{
    size_t *widths = calloc(table->n_columns, sizeof *widths);
    int r = widths == NULL || table->no_memory ? -ENOMEM : 0;
    if (widths != NULL) {
        for (unsigned c = 0; c < table->n_columns; c++)
            widths[c] = column_width(table, c);
        print_head(table, out, widths);
        for (size_t i = 0; i < table->n_cells; i++) {
            unsigned column = (unsigned)(i % table->n_columns);
            print_cell(table, out, table->cells[i], column, widths[column]);
            if (column + 1 == table->n_columns)
                fputc('\n', out->file);
        }
    }
    free(widths);
    ctl_table_free(table);
    return r;
}
