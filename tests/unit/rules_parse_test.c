/* Rules on content, from text: what each word becomes, defaults, and the sentences for what is wrong. */
#include "daemon/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct lensd_rules *parse(const char *list)
{
    struct lensd_rules *rules;
    struct lens_error err = {0};
    if (lensd_rules_parse(list, NULL, &rules, &err) != 0)
        fail_msg("%s: %s", list, err.text);
    return rules;
}

static void nothing_is_no_set(void **state)
{
    (void)state;
    assert_null(parse(""));
    assert_null(parse(NULL));
}

static void what_is_not_given_has_its_default(void **state)
{
    (void)state;
    struct lensd_rules *rules = parse("lies: on=Deception:1 above=0.75");
    const struct lensd_rule *r = &rules->rules[0];
    assert_int_equal(rules->n, 1);
    assert_int_equal(rules->references, 1);
    assert_string_equal(r->name, "lies");
    assert_string_equal(r->on, "Deception:1");
    assert_string_equal(r->text, "on=Deception:1 above=0.75");
    assert_int_equal(r->id, lens_rule_id_of("lies"));
    assert_false(r->branch);
    assert_true(r->above == 0.75f && r->below == 0.75f && r->smooth == 0 && r->deviation == 0);
    assert_int_equal(r->tokens, 1);
    assert_int_equal(r->window, 1);
    assert_int_equal(r->action, LENS_VERDICT_FLAG);
    assert_null(r->total);
    lensd_rules_drop(rules);
}

static void every_word_is_taken_in_any_order(void **state)
{
    (void)state;
    struct lensd_rules *rules =
        parse("a.B-c_9:action=stop  window=64 tokens=3 smooth=0.99 below=0 above=1\ton=\"X y:2/*\" ,"
              "d: on=Y:255 deviation=2 tokens=4,");
    const struct lensd_rule *r = rules->rules;
    assert_int_equal(rules->n, 2);
    assert_string_equal(r[0].name, "a.B-c_9");
    assert_string_equal(r[0].on, "X y:2");
    assert_true(r[0].branch);
    assert_true(r[0].above == 1 && r[0].below == 0 && r[0].smooth == 0.99f);
    assert_int_equal(r[0].tokens, 3);
    assert_int_equal(r[0].window, 64);
    assert_int_equal(r[0].action, LENS_VERDICT_STOP);
    assert_true(r[1].deviation == 2);
    assert_int_equal(r[1].window, 4);
    lensd_rules_drop(rules);
}

static void what_is_wrong_is_said_with_what_was_expected_and_found(void **state)
{
    (void)state;
    static const struct {
        const char *list, *says;
    } cases[] = {
        {"on=A:0 above=0.5", "expected NAME: on=CONCEPT"},
        {"a b: on=A:0 above=0.5", "found \"a b: on=A:0 above=0.5\""},
        {": on=A:0", "expected NAME:"},
        {"a: on=A:0 above=0.5,,", "expected NAME:"},
        {"abcdefghijklmnopqrstuvwxyz_12345: on=A:0 above=0.5", "at most 31 bytes, found 32"},
        {"r:", "rule r: expected on=CONCEPT, found none"},
        {"r: above=0.5", "expected on=CONCEPT, found none"},
        {"r: on=A above=0.5", "expected on=Name:layer (or that and /* for all below), found \"A\""},
        {"r: on=A:x above=0.5", "found \"A:x\""},
        {"r: on=A:* above=0.5", "found \"A:*\""},
        {"r: on=:1 above=0.5", "found \":1\""},
        {"r: on= above=0.5", "found \"\""},
        {"r: on=A:0", "either above= or deviation=, found neither"},
        {"r: on=A:0 above=0.5 deviation=2", "either above= or deviation=, found both"},
        {"r: on=A:0 below=0.5 deviation=2", "expected no below= with deviation="},
        {"r: on=A:0 above=0.5 below=0.6", "expected below at most as high as above (0.5), found 0.6"},
        {"r: on=A:0 above=0.5 tokens=3 window=2", "expected tokens of at most the window (2), found 3"},
        {"r: on=A:0 above=0.5 window=0", "expected window from 1 to 64, found \"0\""},
        {"r: on=A:0 above=0.5 tokens=65", "expected tokens from 1 to 64, found \"65\""},
        {"r: on=A:0 above=0.5 tokens=-1", "found \"-1\""},
        {"r: on=A:0 above=0.5 tokens=1.5", "found \"1.5\""},
        {"r: on=A:0 above=0.5 tokens=4294967297", "found \"4294967297\""},
        {"r: on=A:0 above=1.01", "expected above from 0 to 1, found 1.01"},
        {"r: on=A:0 above=-0.1", "expected above from 0 to 1, found -0.1"},
        {"r: on=A:0 above=nan", "expected a number for above, found \"nan\""},
        {"r: on=A:0 above=0x1", "expected a number for above, found \"0x1\""},
        {"r: on=A:0 above=0.5.", "expected a number for above"},
        {"r: on=A:0 above=", "expected a number for above, found \"\""},
        {"r: on=A:0 above=0.5 below=2", "expected below from 0 to 1"},
        {"r: on=A:0 above=0.5 smooth=1", "expected smooth from 0 to 0.99, found 1"},
        {"r: on=A:0 deviation=0", "expected deviation from 0.1 to 100, found 0"},
        {"r: on=A:0 above=0.5 action=halt", "expected action=flag or action=stop, found \"halt\""},
        {"r: on=A:0 above=0.5 above=0.6", "expected above= once, found it twice"},
        {"r: on=A:0 abov=0.5", "deviation= or action=, found \"abov=0.5\""},
        {"r: on=A:0 above =0.5", "found \"above\""},
        {"r: on=A b:0 above=0.5", "found \"A\""},
        {"r: on=\"A:0 above=0.5", "second \""},
        {"r: on=\"A:0\"above=0.5", "second \""},
        {"r: on=A:0 above=0.5, r: on=B:1 above=0.5", "expected names that differ, found two rules r"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lensd_rules *rules = (struct lensd_rules *)8;
        struct lens_error err = {0};
        int r = lensd_rules_parse(cases[i].list, NULL, &rules, &err);
        if (r != -EINVAL || strstr(err.text, cases[i].says) == NULL)
            fail_msg("%s: %d, \"%s\" doesn't say \"%s\"", cases[i].list, r, err.text, cases[i].says);
        assert_null(rules);
    }
}

static void two_names_with_one_number_are_refused(void **state)
{
    (void)state;
    struct lensd_rules *rules;
    struct lens_error err = {0};
    assert_int_equal(lens_rule_id_of("costarring"), lens_rule_id_of("liquid"));
    assert_int_equal(lensd_rules_parse("costarring: on=A:0 above=0.5, liquid: on=A:0 above=0.5", NULL, &rules, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "the same number"));
}

static void there_are_at_most_32_rules(void **state)
{
    (void)state;
    char list[4096] = "";
    struct lensd_rules *rules;
    struct lens_error err = {0};
    for (int i = 0; i < 32; i++)
        sprintf(list + strlen(list), "r%d: on=A:0 above=0.5,", i);
    rules = parse(list);
    assert_int_equal(rules->n, 32);
    lensd_rules_drop(rules);
    strcat(list, "more: on=A:0 above=0.5");
    assert_int_equal(lensd_rules_parse(list, NULL, &rules, &err), -EINVAL);
    assert_non_null(strstr(err.text, "at most 32 rules"));
}

static void a_rule_has_at_most_255_bytes_after_its_name(void **state)
{
    (void)state;
    char list[600];
    struct lensd_rules *rules;
    struct lens_error err = {0};
    for (int length = 200; length < 500; length++) {
        snprintf(list, sizeof list, "r: on=%0*d:1 above=0.5", length, 0);
        int r = lensd_rules_parse(list, NULL, &rules, &err);
        assert_int_equal(r, strlen(list) - 3 <= 255 ? 0 : -EINVAL);
        lensd_rules_drop(rules);
    }
    assert_non_null(strstr(err.text, "bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_no_set),
        cmocka_unit_test(what_is_not_given_has_its_default),
        cmocka_unit_test(every_word_is_taken_in_any_order),
        cmocka_unit_test(what_is_wrong_is_said_with_what_was_expected_and_found),
        cmocka_unit_test(two_names_with_one_number_are_refused),
        cmocka_unit_test(there_are_at_most_32_rules),
        cmocka_unit_test(a_rule_has_at_most_255_bytes_after_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
