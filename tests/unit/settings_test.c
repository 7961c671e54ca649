/* Settings: who wins, what is refused and how it is said, where a value came from. */
#include "daemon/man_text.h"
#include "daemon/settings.h"
#include "daemon/settings_file.h"
#include "daemon/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct lensd_settings settings;
static struct lens_error err;
static char changes[800];

static int fresh(void **state)
{
    (void)state;
    memset(&err, 0, sizeof err);
    return lensd_settings_init(&settings, &err);
}

static int done(void **state)
{
    (void)state;
    lensd_sys_set_hook(NULL, NULL);
    lensd_settings_free(&settings);
    return 0;
}

static uint32_t row_of(const char *key)
{
    int row = lensd_setting_find(key, strlen(key));
    assert_true(row >= 0);
    return (uint32_t)row;
}

static int set(const char *key, const char *text)
{
    return lensd_settings_set(&settings, row_of(key), text, LENSD_ORIGIN_FLAG, &err);
}

static int read_text(const char *text)
{
    return lensd_settings_read_text(&settings, "lensd.conf", text, strlen(text), &err);
}

static void assert_says(const char *part)
{
    if (strstr(err.text, part) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", err.text, part);
}

static void assert_refused(const char *key, const char *text, const char *part)
{
    assert_int_equal(set(key, text), -EINVAL);
    assert_says(key);
    assert_says(part);
}

static void defaults_are_the_documented_ones(void **state)
{
    (void)state;
    struct lens_cascade_options options;
    lens_options_default(&options);
    assert_int_equal(settings.cascade.base_layers, options.base_layers);
    assert_int_equal(settings.cascade.keep_top_k, options.keep_top_k);
    assert_int_equal(settings.cascade.max_scored, options.max_scored);
    assert_int_equal(settings.cascade.top_k, options.top_k);
    assert_int_equal(settings.cascade.max_depth, options.max_depth);
    assert_int_equal(settings.cascade.expand, options.expand);
    assert_int_equal(settings.cascade.miss, options.miss);
    assert_true(settings.cascade.load_threshold == options.load_threshold);
    assert_true(settings.cascade.unload_threshold == options.unload_threshold);
    assert_true(settings.cascade.suppress_at == options.suppress_at);
    assert_int_equal(settings.ipc.session_memory, 256u << 20);
    assert_int_equal(settings.engine.max_batch_rows, 256);
    assert_true(lensd_ids_have(&settings.ipc.admin_uids, 0));
    assert_true(lensd_ids_have(&settings.ipc.admin_uids, geteuid()));
    assert_int_equal(lensd_settings_check(&settings, &err), 0);
}

static void flags_win_over_environment_over_file_over_defaults(void **state)
{
    (void)state;
    char *environment[] = {"HOME=/", "LENSD_POOL_SLOTS=20", "LENSD_ENGINE_THREADS=2", NULL};
    uint32_t slots = row_of("pool.slots"), threads = row_of("engine.threads"), spin = row_of("engine.spin_us");
    assert_int_equal(set("pool.slots", "30"), 0);
    assert_int_equal(lensd_settings_read_environment(&settings, environment, &err), 0);
    assert_int_equal(read_text("[pool]\nslots = 10\n[engine]\nthreads = 1\nspin_us = 7\n"), 0);
    assert_int_equal(settings.pool.slots, 30);
    assert_int_equal(settings.engine.threads, 2);
    assert_int_equal(settings.engine.spin_us, 7);
    assert_int_equal(settings.origin[slots], LENSD_ORIGIN_FLAG);
    assert_int_equal(settings.origin[threads], LENSD_ORIGIN_ENVIRONMENT);
    assert_int_equal(settings.origin[spin], LENSD_ORIGIN_FILE);
    assert_int_equal(settings.origin[row_of("pool.dtype")], LENSD_ORIGIN_DEFAULT);
    assert_string_equal(settings.text[slots], "30");
}

static void a_weaker_value_is_checked_though_it_loses(void **state)
{
    (void)state;
    assert_int_equal(set("pool.slots", "30"), 0);
    assert_int_equal(read_text("[pool]\nslots = many\n"), -EINVAL);
    assert_says("line 2");
}

static void what_no_type_says_is_refused_with_its_line_even_where_it_loses(void **state)
{
    (void)state;
    static const char *const files[][2] = {{"[http]\nlisten = 192.0.2.1:1\n", "http.listen"},
                                           {"[cache]\nquotas = 2:3\n", "cache.quotas"},
                                           {"[packs]\nserve = a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\n", "packs.serve"}};
    assert_int_equal(set("http.listen", "off"), 0);
    assert_int_equal(set("cache.quotas", ""), 0);
    assert_int_equal(set("packs.serve", ""), 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        assert_int_equal(read_text(files[i][0]), -EINVAL);
        assert_says("lensd.conf line 2: ");
        assert_says(files[i][1]);
    }
}

static void values_out_of_bounds_are_refused_with_a_sentence(void **state)
{
    (void)state;
    assert_refused("pool.slots", "-1", "0 to 1048576");
    assert_refused("pool.slots", "99999999999999999999", "0 to");
    assert_refused("pool.slots", "1e3", "whole number");
    assert_refused("pool.slots", " 3", "whole number");
    assert_refused("pool.slots", "", "whole number");
    assert_refused("cascade.load_threshold", "1.5", "0 to 1");
    assert_refused("cascade.load_threshold", "nan", "number");
    assert_refused("cascade.keep_top_k", "-2", "-1 to");
    assert_refused("cascade.top_k", "0", "1 to 256");
    assert_refused("cascade.base_layers", "0,64", "0 and 63");
    assert_refused("cascade.base_layers", "0,0", "each once");
    assert_refused("cascade.expand", "both", "threshold, topk");
    assert_refused("cascade.suppress_parents", "maybe", "on or off");
    assert_refused("ipc.session_memory", "12Q", "64K");
    assert_refused("ipc.session_memory", "99999999999999999T", "bytes");
    assert_refused("ipc.session_memory", "1K", "65536 to");
    assert_refused("ipc.admin_uids", "*", "name each");
    assert_refused("ipc.allow_uids", "root", "numeric");
    assert_refused("ipc.allow_uids", "1,", "after the last comma");
    assert_refused("ipc.allow_uids", ",1", "commas");
    assert_refused("ipc.allow_uids", "4294967295", "numeric");
    assert_refused("engine.max_batch_rows", "63", "64 to");
}

static void a_choice_outside_the_list_is_refused_with_the_list(void **state)
{
    (void)state;
    assert_int_equal(set("cache.policy", "sieve"), 0);
    assert_int_equal(set("engine.degrade", "no"), 0);
    assert_int_equal(set("cache.policy", "fifo"), -EINVAL);
    assert_says("lru, hatcat");
}

static void a_card_is_chosen_and_bounded(void **state)
{
    (void)state;
    assert_int_equal(settings.pool.device_memory, 0);
    assert_int_equal(settings.engine.device, 0);
    assert_string_equal(settings.engine.cuda_library, "");
    assert_int_equal(set("pool.device_memory", "12G"), 0);
    assert_int_equal(settings.pool.device_memory, UINT64_C(12) << 30);
    assert_int_equal(set("engine.device", "3"), 0);
    assert_int_equal(settings.engine.device, 3);
    assert_int_equal(set("engine.cuda_library", "/opt/lens_cuda.so"), 0);
    assert_string_equal(settings.engine.cuda_library, "/opt/lens_cuda.so");
    assert_int_equal(set("pool.dtype", "fp8"), 0);
    assert_int_equal(settings.pool.dtype, 5);
    assert_refused("engine.device", "256", "0 to 255");
    assert_refused("engine.device", "all", "whole number");
    assert_refused("pool.device_memory", "80%", "size in bytes");
    assert_refused("pool.dtype", "fp4", "fp8");
}

static void values_are_read_as_users_write_them(void **state)
{
    (void)state;
    assert_int_equal(set("ipc.session_memory", "1G"), 0);
    assert_int_equal(settings.ipc.session_memory, 1u << 30);
    assert_int_equal(set("ipc.session_memory", "64KiB"), 0);
    assert_int_equal(settings.ipc.session_memory, 65536);
    assert_int_equal(set("cascade.base_layers", ""), 0);
    assert_int_equal(settings.cascade.base_layers, 0);
    assert_int_equal(set("cascade.base_layers", "2,0"), 0);
    assert_int_equal(settings.cascade.base_layers, 5);
    assert_int_equal(set("cascade.suppress_parents", "Yes"), 0);
    assert_true(settings.cascade.suppress_parents);
    assert_int_equal(set("cascade.keep_top_k", "-1"), 0);
    assert_int_equal(settings.cascade.keep_top_k, -1);
    assert_int_equal(set("ipc.allow_uids", "*"), 0);
    assert_true(lensd_ids_have(&settings.ipc.allow_uids, 12345));
    assert_int_equal(set("ipc.allow_gids", "7,8"), 0);
    assert_true(lensd_ids_have(&settings.ipc.allow_gids, 8));
    assert_false(lensd_ids_have(&settings.ipc.allow_gids, 9));
    assert_int_equal(set("ipc.socket", "/tmp/a.sock"), 0);
    assert_string_equal(settings.ipc.socket, "/tmp/a.sock");
}

static void names_match_flags_and_nothing_shorter(void **state)
{
    (void)state;
    assert_int_equal(lensd_setting_find("cascade-keep-top-k", 18), lensd_setting_find("cascade.keep_top_k", 18));
    assert_int_equal(lensd_setting_find("CASCADE_KEEP_TOP_K", 18), lensd_setting_find("cascade.keep_top_k", 18));
    assert_int_equal(lensd_setting_find("cascade-keep", 12), -1);
    assert_int_equal(lensd_setting_find("", 0), -1);
    assert_string_equal(lensd_setting_nearest("pool-slot", 9), "pool.slots");
    assert_null(lensd_setting_nearest("zzzzzzzzzzzzzzzzzzzzzzzzzzz", 27));
}

static void a_bad_rule_is_an_error_with_its_line(void **state)
{
    (void)state;
    assert_int_equal(read_text("[alerts]\nrules = a: on=A:0 above=0.5 action=stop,\n  b: on=\"B c:1/*\" deviation=2\n"),
                     0);
    assert_int_equal(read_text("[alerts]\nrules = a: on=A:0 above=0.5\n  b: on=B:1/* above=1.5\n"), -EINVAL);
    assert_says("lensd.conf line 3: alerts.rules: rule b: expected above from 0 to 1, found 1.5");
}

static void the_file_names_line_and_nearest_setting(void **state)
{
    (void)state;
    assert_int_equal(read_text("[pool]\n\n# comment\nslot = 3\n"), -EINVAL);
    assert_says("lensd.conf line 4");
    assert_says("did you mean pool.slots");
    assert_int_equal(read_text("[pools]\n"), -EINVAL);
    assert_says("line 1");
    assert_says("known are pool, cache, cascade, engine, http, telemetry, alerts, ipc, packs, log");
    assert_int_equal(read_text("slots = 3\n"), -EINVAL);
    assert_says("before the first [section]");
    assert_int_equal(read_text("[pool]\nslots\n"), -EINVAL);
    assert_says("line 2: expected [section] or setting = value");
    assert_int_equal(read_text("[pool]\nslots = 1\ndtype = f32\nslots = 2\n"), -EINVAL);
    assert_says("line 4");
    assert_says("given on line 2 already");
    assert_int_equal(read_text("[pool]\nslots = 4\n  5\n"), -EINVAL);
    assert_says("line 3");
    assert_int_equal(read_text("[pool]\nSlots = 4\n"), -EINVAL);
    assert_says("did you mean pool.slots");
}

static void a_list_goes_on_over_lines_and_repeated_settings(void **state)
{
    (void)state;
    assert_int_equal(read_text("[cascade]\n"
                               "exclude = Deception:*/*, Fraud:3\n"
                               "  [AB]*:1,\n"
                               "\t*Lie:3\n"
                               "top_k = 5\n"
                               "exclude = War:2\n"
                               "[log]\nlevel = debug\n"),
                     0);
    assert_string_equal(settings.content.exclude, "Deception:*/*, Fraud:3,[AB]*:1,*Lie:3,War:2");
    assert_string_equal(settings.content.include, "");
    assert_int_equal(settings.cascade.top_k, 5);
}

static void a_list_of_the_file_is_not_added_to_a_stronger_one(void **state)
{
    (void)state;
    assert_int_equal(set("cascade.pin", "Fear:2"), 0);
    assert_int_equal(read_text("[cascade]\npin = Stray:2\n  Knife:3\n"), 0);
    assert_string_equal(settings.content.pin, "Fear:2");
    assert_int_equal(read_text("[cascade]\npin = Stray:2\n  Knife:3,,Fear:2\n"), -EINVAL);
    assert_says("line 3");
    assert_says("between two commas");
}

static void a_list_on_a_reload_is_the_new_file_s_alone(void **state)
{
    (void)state;
    struct lensd_settings again;
    const char *file = "[cascade]\nfilter = C:*\n";
    assert_int_equal(read_text("[cascade]\nfilter = A:*\n  B:*\n"), 0);
    assert_int_equal(lensd_settings_init(&again, &err), 0);
    assert_int_equal(lensd_settings_read_text(&again, "lensd.conf", file, strlen(file), &err), 0);
    assert_int_equal(lensd_settings_take_live(&settings, &again, 1, changes, sizeof changes), 0);
    lensd_settings_free(&again);
    assert_string_equal(settings.content.filter, "C:*");
    assert_ptr_equal(settings.content.filter, settings.text[row_of("cascade.filter")]);
}

static void the_first_error_of_a_file_is_the_one_told(void **state)
{
    (void)state;
    assert_int_equal(read_text("[pool]\nbroken\nslots = x\n"), -EINVAL);
    assert_says("line 2");
    assert_int_equal(read_text("[pool]\nslots = x\nbroken\n"), -EINVAL);
    assert_says("line 2");
    assert_says("whole number");
}

static void lines_that_a_parser_would_cut_are_refused(void **state)
{
    (void)state;
    char text[600] = "[packs]\ndirectories = ";
    memset(text + strlen(text), 'a', 400);
    assert_int_equal(read_text(text), -EINVAL);
    assert_says("line 2");
    assert_int_equal(lensd_settings_read_text(&settings, "x", "[pool]\nslots = 1\0002\n", 18, &err), -EINVAL);
    assert_says("NUL");
    assert_int_equal(settings.pool.slots, 0);
}

static void comments_blank_lines_and_carriage_returns_are_fine(void **state)
{
    (void)state;
    assert_int_equal(read_text("; c\r\n\r\n[pool]\r\nslots = 12 ; inline\r\n\r\n[cascade]\r\nexpand = topk"), 0);
    assert_int_equal(settings.pool.slots, 12);
    assert_int_equal(settings.cascade.expand, LENS_EXPAND_TOPK);
    assert_int_equal(read_text(""), 0);
}

static void unknown_variables_of_a_known_section_are_errors(void **state)
{
    (void)state;
    char *wrong[] = {"LENSD_POOL_SLOT=1", NULL}, *bad[] = {"LENSD_POOL_SLOTS=x", NULL};
    char *foreign[] = {"LENSD_BUILD=/x", "LENSD_SOCKET=/y", "LENSDX=1", "LENSD_=", NULL};
    assert_int_equal(lensd_settings_read_environment(&settings, wrong, &err), -EINVAL);
    assert_says("LENSD_POOL_SLOT ");
    assert_says("pool.slots");
    assert_int_equal(lensd_settings_read_environment(&settings, bad, &err), -EINVAL);
    assert_says("variable LENSD_POOL_SLOTS");
    assert_int_equal(lensd_settings_read_environment(&settings, foreign, &err), 0);
}

static void a_missing_file_says_why(void **state)
{
    (void)state;
    assert_int_equal(lensd_settings_read_file(&settings, "/nowhere/lensd.conf", &err), -ENOENT);
    assert_says("/nowhere/lensd.conf");
    assert_int_equal(lensd_settings_read_file(&settings, "/", &err), -EISDIR);
}

static void what_is_no_file_is_refused_without_waiting_for_it(void **state)
{
    (void)state;
    char directory[] = "/tmp/settings-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/fifo", directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(lensd_settings_read_file(&settings, path, &err), -EINVAL);
    assert_says("found a pipe");
    assert_int_equal(lensd_settings_read_file(&settings, "/dev/zero", &err), -EINVAL);
    assert_says("found a device");
    unlink(path);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)LENSD_FILE_MAX + 1), 0);
    close(fd);
    assert_int_equal(lensd_settings_read_file(&settings, path, &err), -EFBIG);
    unlink(path);
    rmdir(directory);
}

static void the_sample_configuration_is_accepted(void **state)
{
    (void)state;
    assert_int_equal(lensd_settings_read_file(&settings, "config/lensd.conf", &err), 0);
    assert_int_equal(lensd_settings_check(&settings, &err), 0);
}

static void settings_that_contradict_each_other_are_refused(void **state)
{
    (void)state;
    assert_int_equal(set("cascade.unload_threshold", "0.5"), 0);
    assert_int_equal(lensd_settings_check(&settings, &err), -EINVAL);
    assert_says("unload_threshold");
    assert_int_equal(set("cascade.unload_threshold", "0.1"), 0);
    assert_int_equal(set("ipc.total_memory", "100M"), 0);
    assert_int_equal(lensd_settings_check(&settings, &err), -EINVAL);
    assert_says("100M");
}

/* As a reload does it: `text` is the file now. */
static uint32_t reload_text(const char *text)
{
    struct lensd_settings next;
    assert_int_equal(lensd_settings_init(&next, &err), 0);
    assert_int_equal(lensd_settings_read_text(&next, "lensd.conf", text, strlen(text), &err), 0);
    uint32_t waiting = lensd_settings_take_live(&settings, &next, 3, changes, sizeof changes);
    lensd_settings_free(&next);
    return waiting;
}

static void slots_and_arithmetic_that_no_backend_has_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *dtype, *compute;
        int result;
    } cases[] = {{"pack", "int8", 0},       {"int8", "int8", 0},  {"f32", "int8", -EINVAL}, {"bf16", "bf16", 0},
                 {"int8", "bf16", -EINVAL}, {"log8", "exact", 0}, {"fp8", "exact", 0},      {"log8", "bf16", -EINVAL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(set("pool.dtype", cases[i].dtype), 0);
        assert_int_equal(set("pool.compute", cases[i].compute), 0);
        assert_int_equal(lensd_settings_check(&settings, &err), cases[i].result);
    }
    assert_says("pool.compute = bf16 works on slots of pool.dtype = bf16 (or pack), found log8");
}

static void a_reload_takes_what_can_change_and_names_what_cannot(void **state)
{
    (void)state;
    uint32_t threads = row_of("engine.threads"), slots = row_of("pool.slots"), top_k = row_of("cascade.top_k");
    assert_int_equal(reload_text("[cascade]\ntop_k = 7\n[packs]\ndirectories = /a:/b\n"
                                 "[engine]\nthreads = 4\nspin_us = 9\n[pool]\nslots = 5\n"),
                     1);
    assert_int_equal(settings.cascade.top_k, 7);
    assert_int_equal(settings.pool.slots, 5);
    assert_int_equal(settings.engine.spin_us, 9);
    assert_string_equal(settings.packs.directories, "/a:/b");
    assert_int_equal(settings.origin[top_k], LENSD_ORIGIN_FILE);
    assert_int_equal(settings.line[top_k], 2);
    assert_int_equal(settings.older[slots], 3);
    assert_int_equal(settings.engine.threads, 0);
    assert_string_equal(settings.text[threads], "0");
    assert_string_equal(settings.pending[threads], "4");
    assert_string_equal(changes, "pool.slots 0 -> 5 (new packs), cascade.top_k 10 -> 7 (new sessions), "
                                 "engine.spin_us 50 -> 9, packs.directories empty -> /a:/b; "
                                 "needs a restart: engine.threads 0 -> 4");
}

static void what_waits_for_a_restart_waits_until_the_file_says_the_old_value_again(void **state)
{
    (void)state;
    uint32_t threads = row_of("engine.threads");
    assert_int_equal(reload_text("[engine]\nthreads = 4\n"), 1);
    assert_int_equal(reload_text("[engine]\nthreads = 5\n"), 1);
    assert_string_equal(settings.pending[threads], "5");
    assert_int_equal(reload_text(""), 0);
    assert_null(settings.pending[threads]);
    assert_string_equal(changes, "");
}

static void changes_that_the_sentence_has_no_room_for_are_counted(void **state)
{
    (void)state;
    struct lensd_settings next;
    char small[90];
    assert_int_equal(lensd_settings_init(&next, &err), 0);
    assert_int_equal(lensd_settings_set(&next, row_of("engine.spin_us"), "7", LENSD_ORIGIN_FILE, &err), 0);
    assert_int_equal(lensd_settings_set(&next, row_of("engine.drain_ms"), "7", LENSD_ORIGIN_FILE, &err), 0);
    assert_int_equal(lensd_settings_set(&next, row_of("ipc.socket"), "/a", LENSD_ORIGIN_FILE, &err), 0);
    assert_int_equal(lensd_settings_set(&next, row_of("engine.threads"), "7", LENSD_ORIGIN_FILE, &err), 0);
    assert_int_equal(lensd_settings_take_live(&settings, &next, 0, small, sizeof small), 2);
    lensd_settings_free(&next);
    assert_string_equal(small, "engine.spin_us 50 -> 7, engine.drain_ms 2000 -> 7; and 2 more");
}

static int fail_nth(void *arg, const char *call)
{
    int *left = arg;
    return strcmp(call, "calloc") == 0 && (*left)-- == 0 ? ENOMEM : 0;
}

static void running_out_of_memory_leaves_nothing(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < lensd_settings_count; n++) {
        struct lensd_settings other;
        int left = (int)n;
        lensd_sys_set_hook(fail_nth, &left);
        assert_int_equal(lensd_settings_init(&other, &err), -ENOMEM);
        assert_null(other.text[0]);
    }
    int left = 0;
    lensd_sys_set_hook(fail_nth, &left);
    assert_int_equal(lensd_settings_read_file(&settings, "config/lensd.conf", &err), -ENOMEM);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, done)
    const struct CMUnitTest tests[] = {
        T(defaults_are_the_documented_ones),
        T(flags_win_over_environment_over_file_over_defaults),
        T(a_weaker_value_is_checked_though_it_loses),
        T(what_no_type_says_is_refused_with_its_line_even_where_it_loses),
        T(values_out_of_bounds_are_refused_with_a_sentence),
        T(a_choice_outside_the_list_is_refused_with_the_list),
        T(a_card_is_chosen_and_bounded),
        T(values_are_read_as_users_write_them),
        T(names_match_flags_and_nothing_shorter),
        T(a_bad_rule_is_an_error_with_its_line),
        T(the_file_names_line_and_nearest_setting),
        T(a_list_goes_on_over_lines_and_repeated_settings),
        T(a_list_of_the_file_is_not_added_to_a_stronger_one),
        T(a_list_on_a_reload_is_the_new_file_s_alone),
        T(the_first_error_of_a_file_is_the_one_told),
        T(lines_that_a_parser_would_cut_are_refused),
        T(comments_blank_lines_and_carriage_returns_are_fine),
        T(unknown_variables_of_a_known_section_are_errors),
        T(a_missing_file_says_why),
        T(what_is_no_file_is_refused_without_waiting_for_it),
        T(the_sample_configuration_is_accepted),
        T(settings_that_contradict_each_other_are_refused),
        T(slots_and_arithmetic_that_no_backend_has_are_refused),
        T(a_reload_takes_what_can_change_and_names_what_cannot),
        T(what_waits_for_a_restart_waits_until_the_file_says_the_old_value_again),
        T(changes_that_the_sentence_has_no_room_for_are_counted),
        T(running_out_of_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
