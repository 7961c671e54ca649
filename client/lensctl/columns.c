/* How many columns of a terminal text takes; see output.h. By a table of our own, because wcwidth knows nothing of
 * East Asia in the C.UTF-8 locale, which containers and services have. */
#include "client/lensctl/output.h"

struct range {
    uint32_t first, last;
};

/* Unicode's wide and full-width blocks, and the blocks of emoji, by first character. */
static const struct range wide[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x23e9, 0x23ec},   {0x25fd, 0x25fe},   {0x2e80, 0x303e},
    {0x3041, 0xa4cf},   {0xa960, 0xa97c},   {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},
    {0xff00, 0xff60},   {0xffe0, 0xffe6},   {0x16fe0, 0x18aff}, {0x1b000, 0x1b2ff}, {0x1f300, 0x1f64f},
    {0x1f680, 0x1f6ff}, {0x1f7e0, 0x1f7eb}, {0x1f900, 0x1f9ff}, {0x1fa70, 0x1faff}, {0x20000, 0x3fffd},
};

/* What stands on the character before it: accents, joiners, variation selectors. */
static const struct range on_top[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd},   {0x0610, 0x061a}, {0x064b, 0x065f}, {0x093c, 0x093c},
    {0x0941, 0x0948}, {0x094d, 0x094d}, {0x0e31, 0x0e31},   {0x0e34, 0x0e3a}, {0x0e47, 0x0e4e}, {0x1ab0, 0x1aff},
    {0x1dc0, 0x1dff}, {0x200b, 0x200d}, {0x20d0, 0x20ff},   {0x302a, 0x302d}, {0x3099, 0x309a}, {0xfe00, 0xfe0f},
    {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0xe0100, 0xe01ef},
};

static bool is_in(const struct range *ranges, size_t n, uint32_t c)
{
    for (size_t i = 0; i < n && ranges[i].first <= c; i++) {
        if (c <= ranges[i].last)
            return true;
    }
    return false;
}

unsigned ctl_character(const char *at, size_t *length)
{
    const unsigned char *p = (const unsigned char *)at;
    size_t n = p[0] < 0xc0 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    size_t taken = 1;
    for (; taken < n && (p[taken] & 0xc0) == 0x80; taken++)
        c = c << 6 | (p[taken] & 0x3fu);
    *length = taken;
    if (c < 0x300 || taken < n) /* a broken one counts as one */
        return 1;
    if (is_in(on_top, sizeof on_top / sizeof on_top[0], c))
        return 0;
    return is_in(wide, sizeof wide / sizeof wide[0], c) ? 2 : 1;
}

size_t ctl_columns(const char *text)
{
    size_t columns = 0;
    for (size_t length; *text != '\0'; text += length)
        columns += ctl_character(text, &length);
    return columns;
}
