/* See exposition.h. */
#include "daemon/exposition.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

void lensd_exposition_family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Bytes of the UTF-8 sequence at `text`, 0 when there is none: no overlong forms, surrogates, or beyond U+10FFFF. */
static size_t sequence_length(const unsigned char *text)
{
    unsigned char first = text[0];
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < least || text[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

static void write_value(FILE *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at != '\0') {
        size_t length = sequence_length(at);
        bool plain = length > 1 || (length == 1 && *at >= 0x20 && *at != 0x7f);
        if (*at == '\\' || *at == '"')
            fprintf(out, "\\%c", *at);
        else if (*at == '\n')
            fputs("\\n", out);
        else if (plain)
            fwrite(at, 1, length, out);
        else
            fprintf(out, "\\\\x%02x", *at);
        at += plain ? length : 1;
    }
}

static void write_labels(FILE *out, const struct lensd_label *labels, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        fprintf(out, "%c%s=\"", i == 0 ? '{' : ',', labels[i].name);
        write_value(out, labels[i].value);
        fputc('"', out);
    }
    if (n > 0)
        fputc('}', out);
}

void lensd_exposition_count(FILE *out, const char *name, const struct lensd_label *labels, uint32_t n, uint64_t value)
{
    fputs(name, out);
    write_labels(out, labels, n);
    fprintf(out, " %llu\n", (unsigned long long)value);
}

void lensd_exposition_value(FILE *out, const char *name, const struct lensd_label *labels, uint32_t n, double value)
{
    fputs(name, out);
    write_labels(out, labels, n);
    if (isnan(value))
        fputs(" NaN\n", out);
    else if (isinf(value))
        fputs(value > 0 ? " +Inf\n" : " -Inf\n", out);
    else
        fprintf(out, " %.15g\n", value);
}

void lensd_exposition_histogram(FILE *out, const char *name, const struct lensd_label *label, const double *bounds,
                                const uint64_t *counts, uint32_t n, double sum)
{
    char part[128], bound[32];
    uint32_t own = label != NULL;
    struct lensd_label labels[2] = {{"le", bound}, {"le", bound}};
    if (label != NULL)
        labels[0] = *label;
    snprintf(part, sizeof part, "%s_bucket", name);
    for (uint32_t i = 0; i <= n; i++) {
        snprintf(bound, sizeof bound, "+Inf");
        if (i < n)
            snprintf(bound, sizeof bound, "%.15g", bounds[i]);
        lensd_exposition_count(out, part, labels, own + 1, counts[i]);
    }
    snprintf(part, sizeof part, "%s_sum", name);
    lensd_exposition_value(out, part, labels, own, sum);
    snprintf(part, sizeof part, "%s_count", name);
    lensd_exposition_count(out, part, labels, own, counts[n]);
}
