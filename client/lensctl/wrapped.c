/* Sentences on a terminal: broken between words, as wide as it is. See output.h. */
#include "client/lensctl/output.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

unsigned ctl_width(const struct ctl_output *out)
{
    struct winsize size;
    if (!out->terminal || ioctl(fileno(out->file), TIOCGWINSZ, &size) != 0 || size.ws_col < 40)
        return 0;
    return size.ws_col;
}

/* Columns of the first `length` bytes. */
static unsigned bytes_width(const char *text, size_t length)
{
    const char *end = text + length;
    unsigned columns = 0;
    while (text < end) {
        size_t bytes;
        columns += ctl_character(text, &bytes);
        text += bytes;
    }
    return columns;
}

/* The text begins in `column`, further lines in `indent`. */
static unsigned print_from(const struct ctl_output *out, const char *text, unsigned column, unsigned indent)
{
    unsigned width = ctl_width(out), first = column;
    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        unsigned columns = bytes_width(text, length);
        if (column > first && width > 0 && column + 1 + columns > width) {
            fprintf(out->file, "\n%*s", (int)indent, "");
            column = first = indent;
        } else if (column > first) {
            fputc(' ', out->file);
            column++;
        }
        fwrite(text, 1, length, out->file);
        column += columns;
        text += length + (text[length] == ' ');
    }
    return column;
}

unsigned ctl_print_wrapped(const struct ctl_output *out, const char *text, unsigned indent)
{
    return print_from(out, text, indent, indent);
}

void ctl_print_line(const struct ctl_output *out, unsigned indent, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length >= 0) {
        fprintf(out->file, "%*s", (int)indent, "");
        (void)print_from(out, text, indent, indent + 2);
        fputc('\n', out->file);
    }
    free(length >= 0 ? text : NULL);
}

void ctl_print_paragraphs(const struct ctl_output *out, const char *text)
{
    char *copy = ctl_width(out) > 0 ? strdup(text) : NULL;
    if (copy == NULL) {
        fprintf(out->file, "%s\n", text);
        return;
    }
    for (char *line = copy, *end; line != NULL; line = end) {
        end = strchr(line, '\n');
        while (end != NULL && end[1] != ' ' && line[0] != ' ') { /* lines that are set in stay what they are */
            *end = ' ';
            end = strchr(end, '\n');
        }
        if (end != NULL)
            *end++ = '\0';
        if (line[0] == ' ')
            fputs(line, out->file);
        else
            (void)ctl_print_wrapped(out, line, 0);
        fputc('\n', out->file);
    }
    free(copy);
}
