/* Text, styles and JSON; see output.h. Tables are in table.c. */
#include "client/lensctl/output.h"

#include "client/lensctl/command.h"
#include "proto/pack_utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void ctl_output_init(struct ctl_output *out, FILE *file)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    bool dumb = term == NULL || strcmp(term, "dumb") == 0;
    out->file = file;
    out->terminal = isatty(fileno(file)) == 1;
    out->colour = out->terminal && !dumb && (no_color == NULL || no_color[0] == '\0');
}

const char *ctl_style(const struct ctl_output *out, enum ctl_style style)
{
    static const char *const escapes[] = {"\033[0m",  "\033[1m",  "\033[2m", "\033[31m",
                                          "\033[32m", "\033[33m", "\033[36m"};
    return out->colour ? escapes[style] : "";
}

int ctl_fail(int code, const char *format, ...)
{
    char text[1024], shown[2048]; /* names in files and messages of others may hold anything */
    struct ctl_output out;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ctl_output_init(&out, stderr);
    ctl_print_line(&out, 0, "lensctl: %s", ctl_printable(text, strlen(text), shown, sizeof shown));
    return code;
}

/* Writes one control character in a form that a terminal shows; returns the bytes written. */
static size_t escape(unsigned char c, char *out)
{
    static const char hex[] = "0123456789abcdef", plain[] = "\n\t\r", letters[] = "ntr";
    const char *known = c != 0 ? strchr(plain, c) : NULL;
    out[0] = '\\';
    if (known != NULL) {
        out[1] = letters[known - plain];
        return 2;
    }
    out[1] = 'x';
    out[2] = hex[c >> 4];
    out[3] = hex[c & 15];
    return 4;
}

/* C0, DEL, and the C1 controls that UTF-8 writes as C2 80..9F. */
static bool is_control(const unsigned char *p, size_t left)
{
    return p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && left > 1 && p[1] >= 0x80 && p[1] < 0xa0);
}

/* Line separators, and what turns the direction of text around: U+200E, 200F, 2028..202E, 2066..2069. Three bytes of
 * UTF-8, or none of these. */
static bool is_turn(const unsigned char *p, size_t left)
{
    if (left < 3 || p[0] != 0xe2)
        return false;
    return (p[1] == 0x80 && (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae))) ||
           (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
}

static size_t sequence_length(unsigned char lead)
{
    return lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

char *ctl_printable(const char *data, size_t length, char *out, size_t size)
{
    const unsigned char *p = (const unsigned char *)data;
    size_t used = 0;
    if (size == 0)
        return out;
    for (size_t i = 0; i < length;) {
        char piece[8];
        size_t taken = sequence_length(p[i]);
        bool control = is_control(p + i, length - i);
        /* The bytes behind one that only looks like the first of several are looked at by themselves. */
        if (!control && (taken > length - i || !pack_utf8_is_name(data + i, taken)))
            taken = 1;
        size_t n = taken;
        if (control || (taken == 1 && p[i] >= 0x80))
            n = escape(p[i] == 0xc2 && taken == 2 ? p[i + 1] : p[i], piece);
        else if (is_turn(p + i, length - i))
            n = (size_t)snprintf(piece, sizeof piece, "\\u20%02x", (p[i + 1] & 1u) << 6 | (p[i + 2] & 0x3fu));
        else
            memcpy(piece, p + i, taken);
        if (used + n >= size)
            break;
        memcpy(out + used, piece, n);
        used += n;
        i += taken;
    }
    out[used] = '\0';
    return out;
}

char *ctl_bytes_text(uint64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    while (value >= 1024.0 && unit < 4) {
        value /= 1024.0;
        unit++;
    }
    snprintf(out, size, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

char *ctl_duration_text(uint64_t ns, char *out, size_t size)
{
    unsigned long long seconds = ns / 1000000000u;
    if (seconds < 60)
        snprintf(out, size, "%llu s", seconds);
    else if (seconds < 3600)
        snprintf(out, size, "%llu min %llu s", seconds / 60, seconds % 60);
    else if (seconds < 86400)
        snprintf(out, size, "%llu h %llu min", seconds / 3600, seconds % 3600 / 60);
    else
        snprintf(out, size, "%llu d %llu h", seconds / 86400, seconds % 86400 / 3600);
    return out;
}

char *ctl_latency_text(uint64_t ns, char *out, size_t size)
{
    if (ns < 10000000u)
        snprintf(out, size, "%.1f us", (double)ns / 1e3);
    else
        snprintf(out, size, "%.1f ms", (double)ns / 1e6);
    return out;
}

char *ctl_percent_text(uint64_t part, uint64_t whole, char *out, size_t size)
{
    if (whole == 0)
        snprintf(out, size, "-");
    else
        snprintf(out, size, "%.1f%%", 100.0 * (double)part / (double)whole);
    return out;
}

json_t *ctl_json_new(void)
{
    json_t *object = json_object();
    json_object_set_new(object, "schema_version", json_integer(1));
    return object;
}

json_t *ctl_json_text(struct lens_text text)
{
    json_t *value = json_stringn(text.data != NULL ? text.data : "", text.length);
    return value != NULL ? value : json_null();
}

json_t *ctl_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *ctl_json_time(uint64_t ns)
{
    char date[32], text[64];
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof text, "%s.%06uZ", date, (unsigned)(ns % 1000000000u / 1000u));
    return json_string(text);
}

void ctl_json_set_text(json_t *object, const char *key, struct lens_text text)
{
    json_object_set_new(object, key, ctl_json_text(text));
}

void ctl_json_set_count(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* A piece of JSON, whole characters, to the file: DEL and the C1 controls, which JSON lets stand, as escapes. */
static int write_piece(const char *piece, size_t length, void *file)
{
    const unsigned char *p = (const unsigned char *)piece;
    size_t begin = 0;
    for (size_t i = 0; i < length; i++) {
        if (p[i] < 0x7f || !is_control(p + i, length - i))
            continue;
        size_t taken = p[i] == 0x7f ? 1 : 2;
        fwrite(piece + begin, 1, i - begin, file);
        fprintf(file, "\\u%04x", p[i + taken - 1]);
        begin = i + taken;
        i += taken - 1;
    }
    fwrite(piece + begin, 1, length - begin, file);
    return ferror((FILE *)file) != 0 ? -1 : 0;
}

int ctl_json_print(const struct ctl_output *out, json_t *object, bool compact)
{
    /* Nine digits bring every float back exactly. */
    size_t flags = JSON_REAL_PRECISION(9) | (compact ? JSON_COMPACT : JSON_INDENT(2));
    int r = object == NULL ? -1 : json_dump_callback(object, write_piece, out->file, flags);
    json_decref(object);
    if (r != 0)
        return ctl_fail(CTL_FAILED, "could not write the JSON answer: out of memory, or the output is closed");
    fputc('\n', out->file);
    return CTL_OK;
}
