/* The few assertions of cmocka that the conformance suite uses, for machines that have no cmocka: a machine with a card
 * is often bare. The suite's sources find this header instead of cmocka's; a failed assertion prints where and why and
 * ends the process (each check is a process of its own, see conformance.c).
 *
 * Main thread only. */
#ifndef STANDALONE_CMOCKA_H
#define STANDALONE_CMOCKA_H

#include <stdint.h>
#include <string.h>

void standalone_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
void standalone_expect_equal(const char *file, int line, const char *what, long long a, long long b);
void standalone_expect_same_bytes(const char *file, int line, const char *what, const void *a, const void *b, size_t n);

#define fail_msg(...) standalone_fail(__FILE__, __LINE__, __VA_ARGS__)
#define assert_true(condition)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            standalone_fail(__FILE__, __LINE__, "%s doesn't hold", #condition);                                        \
    } while (0)
#define assert_false(condition)           assert_true(!(condition))
#define assert_null(pointer)              assert_true((pointer) == NULL)
#define assert_non_null(pointer)          assert_true((pointer) != NULL)
#define assert_int_equal(a, b)            standalone_expect_equal(__FILE__, __LINE__, #a " is " #b, (long long)(a), (long long)(b))
#define assert_memory_equal(a, b, length) standalone_expect_same_bytes(__FILE__, __LINE__, #a " is " #b, a, b, length)

#endif
