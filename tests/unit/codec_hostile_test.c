/* What comes off a socket: nothing can crash the decoder or get a value out of its bounds past it. What is sent is
 * codec_test's. */
#include "proto/codec.h"
#include "tests/unit/support/messages.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static struct lens_msg given, got;
static _Alignas(8) unsigned char packet[LENS_ANSWER_MAX];

static int encoded(enum lens_msg_type type)
{
    given.type = type;
    return lens_msg_encode(&given, packet, sizeof packet);
}

static void a_packet_over_its_limit_is_refused(void **state)
{
    struct lens_error err = {0};
    (void)state;
    memset(&given, 0, sizeof given);
    int n = encoded(LENS_MSG_STATUS);
    assert_int_equal(message_decode_exact(packet, (size_t)n, (size_t)n - 1, &got, &err), -EMSGSIZE);
    assert_int_equal(err.code, -EMSGSIZE);
    assert_int_equal(message_decode_exact(packet, (size_t)n, (size_t)n, &got, &err), 0);
}

static void a_misaligned_packet_is_refused(void **state)
{
    static _Alignas(8) unsigned char shifted[128];
    struct lens_error err = {0};
    (void)state;
    memset(&given, 0, sizeof given);
    int n = encoded(LENS_MSG_STATUS);
    memcpy(shifted + 4, packet, (size_t)n);
    assert_int_equal(lens_msg_decode(shifted + 4, (size_t)n, LENS_ANSWER_MAX, &got, &err), -EBADMSG);
}

static void a_packet_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_shapes; i++) {
        fill_message(&given, &shapes[i], 3, 0);
        int n = lens_msg_encode(&given, packet, sizeof packet);
        for (int length = 0; length < n; length++) {
            struct lens_error err = {0};
            int r = message_decode_exact(packet, (size_t)length, LENS_ANSWER_MAX, &got, &err);
            assert_true(r == -EBADMSG || (r == 0 && length > n - 8)); /* only padding is missing */
            assert_int_equal(err.code, r);
        }
    }
}

/* What gets through must be sound: it can be sent again, since encoding checks the same bounds. */
static unsigned accept_or_refuse(const unsigned char *bytes, size_t length)
{
    static _Alignas(8) unsigned char again[LENS_ANSWER_MAX];
    int r = message_decode_exact(bytes, length, LENS_ANSWER_MAX, &got, NULL);
    assert_true(r == 0 || r == -EBADMSG);
    if (r != 0)
        return 0;
    assert_string_not_equal(lens_msg_name(got.type), "?");
    int n = lens_msg_encode(&got, again, sizeof again);
    assert_true(n > 0 || n == -EMSGSIZE);
    return 1;
}

static void no_flipped_bit_crashes_or_smuggles_a_value(void **state)
{
    unsigned accepted = 0, tried = 0;
    (void)state;
    for (size_t i = 0; i < n_shapes; i++) {
        fill_message(&given, &shapes[i], 2, 0);
        int n = lens_msg_encode(&given, packet, sizeof packet);
        for (int bit = 0; bit < 8 * n; bit++) {
            packet[bit / 8] ^= (unsigned char)(1u << bit % 8);
            accepted += accept_or_refuse(packet, (size_t)n);
            tried++;
            packet[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
    }
    assert_true(tried > 10000 && accepted > 0 && accepted < tried);
}

static void no_other_byte_makes_an_unknown_type(void **state)
{
    (void)state;
    memset(&given, 0, sizeof given);
    int n = encoded(LENS_MSG_SHUTDOWN);
    for (int i = 0; i < n; i++) {
        unsigned char kept = packet[i];
        for (unsigned value = 0; value < 256; value++) {
            packet[i] = (unsigned char)value;
            accept_or_refuse(packet, (size_t)n);
        }
        packet[i] = kept;
    }
}

static void random_bytes_are_refused_without_harm(void **state)
{
    unsigned seed = 20240607;
    (void)state;
    print_message("seed %u\n", seed);
    srand(seed);
    for (int round = 0; round < 20000; round++) {
        const struct shape *shape = &shapes[(size_t)rand() % n_shapes];
        fill_message(&given, shape, 2, (uint32_t)round % 100);
        int n = lens_msg_encode(&given, packet, sizeof packet);
        for (int k = rand() % 6; k >= 0; k--)
            packet[rand() % n] = (unsigned char)rand();
        accept_or_refuse(packet, (size_t)n);
    }
}

/* Puts `bad` in the place of the text "AAAAAAAA" of a message. */
static int decode_with_text(const char *bad, size_t length, struct lens_error *err)
{
    memset(&given, 0, sizeof given);
    given.u.explain.pack = lens_text_of("AAAAAAAA");
    int n = encoded(LENS_MSG_EXPLAIN);
    unsigned char *at = memmem(packet, (size_t)n, "AAAAAAAA", 8);
    assert_non_null(at);
    memcpy(at, bad, length);
    return message_decode_exact(packet, (size_t)n, LENS_ANSWER_MAX, &got, err);
}

static void texts_must_be_utf8_without_nul(void **state)
{
    static const char *const bad[] = {
        "\x80",         "\xff",          "\xc0\x80",         "\xc1\xbf",         "\xc3(",
        "\xe0\x9f\xbf", "\xed\xa0\x80",  "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
        "AAAAAAA\xc3",  "AAAAAA\xe2\x82"};
    static const char *const good[] = {"\xc2\x80",         "\xdf\xbf",       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",     "\xef\xbf\xbf",   "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf", "AAAAAA\xc3\xa9", "\x7f"};
    struct lens_error err = {0};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(decode_with_text(bad[i], strlen(bad[i]), &err), -EBADMSG);
        assert_non_null(strstr(err.text, "pack"));
        assert_non_null(strstr(err.text, "explain"));
    }
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_int_equal(decode_with_text(good[i], strlen(good[i]), &err), 0);
    assert_int_equal(decode_with_text("A\0A", 3, &err), -EBADMSG);
}

static unsigned char *find_u32(int n, uint32_t value)
{
    for (int i = 0; i + 4 <= n; i += 4) {
        if (memcmp(packet + i, &value, sizeof value) == 0)
            return packet + i;
    }
    fail_msg("no %u in the packet", value);
    return NULL;
}

static void a_list_over_its_bound_is_refused(void **state)
{
    static char label[600];
    struct lens_error err = {0};
    const uint32_t more = LENS_MAX_PINNED + 1;
    (void)state;
    memset(label, 'L', sizeof label);
    memset(&given, 0, sizeof given);
    given.u.attach.label = (struct lens_text){label, sizeof label}; /* room behind the list */
    given.u.attach.n_pinned = 201;
    int n = encoded(LENS_MSG_ATTACH);
    memcpy(find_u32(n, 201), &more, sizeof more);
    assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_REQUEST_MAX, &got, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "pinned may have 256 entries, found 257"));
}

static struct lens_text *patterns_of(struct lens_attach *attach, int list, uint32_t **n)
{
    uint32_t *const counts[] = {&attach->n_include, &attach->n_exclude, &attach->n_filter};
    struct lens_text *const lists[] = {attach->include, attach->exclude, attach->filter};
    *n = counts[list];
    return lists[list];
}

static void full_lists_of_patterns_survive(void **state)
{
    static char text[LENS_PATTERN_MAX];
    uint32_t *n_given, *n_got;
    (void)state;
    memset(text, '*', sizeof text);
    for (int list = 0; list < 3; list++) {
        memset(&given, 0, sizeof given);
        struct lens_text *patterns = patterns_of(&given.u.attach, list, &n_given);
        *n_given = LENS_MAX_PATTERNS;
        for (uint32_t i = 0; i < LENS_MAX_PATTERNS; i++)
            patterns[i] = (struct lens_text){text, i == 7 ? LENS_PATTERN_MAX : 1 + i % 40};
        int n = encoded(LENS_MSG_ATTACH);
        assert_true(n > 0 && n <= (int)LENS_REQUEST_MAX);
        assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_REQUEST_MAX, &got, NULL), 0);
        const struct lens_text *back = patterns_of(&got.u.attach, list, &n_got);
        assert_int_equal(got.u.attach.n_include + got.u.attach.n_exclude + got.u.attach.n_filter, LENS_MAX_PATTERNS);
        assert_int_equal(*n_got, LENS_MAX_PATTERNS);
        for (uint32_t i = 0; i < LENS_MAX_PATTERNS; i++) {
            assert_int_equal(back[i].length, patterns[i].length);
            assert_memory_equal(back[i].data, text, back[i].length);
        }
    }
}

static void patterns_out_of_their_bounds_are_refused(void **state)
{
    static const char *const names[] = {"include", "exclude", "filter"};
    static const uint32_t bad[] = {0, LENS_PATTERN_MAX + 1};
    static char text[LENS_PATTERN_MAX + 1];
    uint32_t *n_given;
    (void)state;
    memset(text, '*', sizeof text);
    for (int list = 0; list < 3; list++) {
        for (size_t k = 0; k < COUNT_OF(bad); k++) {
            struct lens_error err = {0};
            memset(&given, 0, sizeof given);
            patterns_of(&given.u.attach, list, &n_given)[0] = (struct lens_text){text, LENS_PATTERN_MAX - 1};
            *n_given = 1;
            given.u.attach.label = (struct lens_text){text, 256}; /* comes next; its length begins with a zero byte */
            int n = encoded(LENS_MSG_ATTACH);
            assert_true(n > 0);
            unsigned char *at = find_u32(n, LENS_PATTERN_MAX - 1);
            memcpy(at, &bad[k], sizeof bad[k]);
            memset(at + 4, '*', bad[k]);
            at[4 + bad[k]] = 0; /* a string must end with one */
            assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_REQUEST_MAX, &got, &err), -EBADMSG);
            assert_non_null(strstr(err.text, names[list]));
            assert_non_null(strstr(err.text, "1 to 255 bytes"));
        }
    }
}

static void options_out_of_their_bounds_are_refused(void **state)
{
    static const float bad[] = {1.5f, -0.1f, NAN, INFINITY};
    const float marker = 0.123456f;
    uint32_t bits;
    (void)state;
    memcpy(&bits, &marker, sizeof bits);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct lens_error err = {0};
        memset(&given, 0, sizeof given);
        given.u.attach.options_set = LENS_OPT_LOAD_THRESHOLD;
        given.u.attach.options.load_threshold = marker;
        int n = encoded(LENS_MSG_ATTACH);
        memcpy(find_u32(n, bits), &bad[i], sizeof bad[i]);
        assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_REQUEST_MAX, &got, &err), -EBADMSG);
        assert_non_null(strstr(err.text, "load_threshold"));
    }
}

/* All rows of a page made to share the one with a long name: small packet, large work. */
static void shared_strings_do_not_multiply_the_work(void **state)
{
    static char name[20000];
    struct lens_error err = {0};
    (void)state;
    memset(name, 'n', sizeof name);
    memset(&given, 0, sizeof given);
    given.u.concept_page.count = LENS_PAGE_ROWS;
    given.u.concept_page.generation = 1;
    given.u.concept_page.rows[0].name = (struct lens_text){name, sizeof name};
    int n = encoded(LENS_MSG_CONCEPT_PAGE);
    assert_true(n > 0);
    unsigned char *offsets = find_u32(n, LENS_PAGE_ROWS) + 4;
    uint32_t first;
    memcpy(&first, offsets, sizeof first);
    for (uint32_t i = 1; i < LENS_PAGE_ROWS; i++) {
        uint32_t offset = first - 4 * i;
        memcpy(offsets + 4 * (size_t)i, &offset, sizeof offset);
    }
    assert_int_equal(message_decode_exact(packet, (size_t)n, LENS_ANSWER_MAX, &got, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "longer than the message"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_packet_over_its_limit_is_refused),
        cmocka_unit_test(a_misaligned_packet_is_refused),
        cmocka_unit_test(a_packet_cut_at_any_byte_is_refused),
        cmocka_unit_test(no_flipped_bit_crashes_or_smuggles_a_value),
        cmocka_unit_test(no_other_byte_makes_an_unknown_type),
        cmocka_unit_test(random_bytes_are_refused_without_harm),
        cmocka_unit_test(texts_must_be_utf8_without_nul),
        cmocka_unit_test(a_list_over_its_bound_is_refused),
        cmocka_unit_test(full_lists_of_patterns_survive),
        cmocka_unit_test(patterns_out_of_their_bounds_are_refused),
        cmocka_unit_test(options_out_of_their_bounds_are_refused),
        cmocka_unit_test(shared_strings_do_not_multiply_the_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
