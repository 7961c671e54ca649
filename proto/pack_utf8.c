/* See pack_utf8.h. */
#include "proto/pack_utf8.h"

#include <stdint.h>

/* Bytes of the sequence that starts with `lead`, 0 when none does. */
static size_t sequence_length(unsigned char lead)
{
    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead < 0xe0)
        return 2;
    if (lead >= 0xe0 && lead < 0xf0)
        return 3;
    return lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

static bool code_point(const unsigned char *at, size_t length, uint32_t *out)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t value = length == 1 ? at[0] : at[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return false;
        value = value << 6 | (at[i] & 0x3fu);
    }
    *out = value;
    return value >= smallest[length] && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff);
}

/* Bytes of the printable character at `at`, 0 when there is none. */
static size_t printable(const unsigned char *at, size_t left)
{
    size_t n = sequence_length(at[0]);
    uint32_t value;
    if (n == 0 || n > left || !code_point(at, n, &value))
        return 0;
    return value >= 0x20 && (value < 0x7f || value >= 0xa0) ? n : 0;
}

bool pack_utf8_is_name(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t i = 0; i < length;) {
        size_t n = printable(at + i, length - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

void pack_utf8_make_name(char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        size_t n = printable((const unsigned char *)text + i, length - i);
        if (n == 0)
            text[i++] = '?';
        i += n;
    }
}
