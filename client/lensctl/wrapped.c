/* Sentences on a terminal: broken between words, as wide as it is. See output.h. */
#include "client/lensctl/output.h"

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
static unsigned columns_of(const char *text, size_t length)
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

unsigned ctl_print_wrapped(const struct ctl_output *out, const char *text, unsigned indent)
{
    unsigned width = ctl_width(out), column = indent;
    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        unsigned columns = columns_of(text, length);
        if (column > indent && width > 0 && column + 1 + columns > width) {
            fprintf(out->file, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out->file);
            column++;
        }
        fwrite(text, 1, length, out->file);
        column += columns;
        text += length + (text[length] == ' ');
    }
    return column;
}
