// UTF-8 without NUL: what a text in a message may be. Part of codec.cc.
#ifndef LENS_CODEC_TEXT_HPP
#define LENS_CODEC_TEXT_HPP

#include <cstddef>
#include <cstdint>

// Length of the valid character at p[0..n), 0 when there is none: NUL, stray or missing continuation bytes, overlong
// forms, surrogates, beyond U+10FFFF.
static inline size_t utf8_length(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return p[0] != 0;
    size_t length = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || length > n)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return length;
}

static inline bool text_is_valid(const char *data, size_t n)
{
    const unsigned char *p = reinterpret_cast<const unsigned char *>(data);
    for (size_t i = 0; i < n;) {
        size_t step = utf8_length(p + i, n - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

// Puts '?' in the place of every byte that belongs to no valid character.
static inline void text_repair(unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t step = utf8_length(p + i, n - i);
        if (step == 0)
            p[i] = '?';
        i += step == 0 ? 1 : step;
    }
}

#endif
