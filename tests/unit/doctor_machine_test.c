/* lensctl doctor's findings on processors, memory and cards, each both ways, on machines made of files. */
#include "tests/unit/support/doctor_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CPU          "/sys/devices/system/cpu"
#define THP          "/sys/kernel/mm/transparent_hugepage"
#define AVX2_FLAGS   "fpu sse2 avx avx2 fma f16c"
#define AVX512_FLAGS AVX2_FLAGS " avx512f avx512bw avx512vl avx512dq"

/* ---- processors -------------------------------------------------------------------------------------------------- */

static void processors_that_lensd_may_not_use_are_noted(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_write(rig, CPU "/online", "0-3\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.count", DOCTOR_OK, "4 processors, and lensd may use all");
    doctor_rig_write(rig, CPU "/online", "0-7,16-23\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.count", DOCTOR_NOTE, "4 of this machine's 16");
}

static void more_threads_than_processors_are_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.threads", DOCTOR_OK, "2 threads score, on 4");
    rig->doctor.daemon.status.threads = 8;
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.threads", DOCTOR_WARNING, "8 threads on 4 processors");
    doctor_rig_expect_advice(rig, "cpu.threads", "engine.threads to at most 4");
    rig->doctor.daemon.status.threads = 1;
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.threads", DOCTOR_NOTE, "1 thread");
    snprintf(rig->doctor.daemon.backend, sizeof rig->doctor.daemon.backend, "cuda"); /* threads are multiprocessors */
    rig->doctor.daemon.status.threads = 132;
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect_none(rig, "cpu.threads");
}

static void a_quota_below_the_threads_is_a_warning_in_both_versions_of_control_groups(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect_none(rig, "cpu.quota");
    doctor_rig_write(rig, "/proc/77/cgroup", "0::/system.slice/lensd.service\n");
    doctor_rig_write(rig, "/sys/fs/cgroup/system.slice/lensd.service/cpu.max", "max 100000\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect_none(rig, "cpu.quota");
    doctor_rig_write(rig, "/sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"); /* a group above counts too */
    doctor_rig_write(rig, "/sys/fs/cgroup/system.slice/cpu.stat", "nr_periods 100\nnr_throttled 17\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.quota", DOCTOR_WARNING,
                      "allows 1.5 processors for 2 threads, and was used up 17 times");
    doctor_rig_write(rig, "/sys/fs/cgroup/system.slice/cpu.max", "400000 100000\n");
    doctor_rig_write(rig, "/sys/fs/cgroup/system.slice/cpu.stat", "nr_periods 100\nnr_throttled 0\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.quota", DOCTOR_OK, "allows 4 processors");
    doctor_rig_write(rig, "/sys/fs/cgroup/system.slice/cpu.stat", "nr_periods 100\nnr_throttled 5\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.quota", DOCTOR_NOTE, "used up 5 times"); /* while packs were read, perhaps */
    doctor_rig_write(rig, "/proc/77/cgroup", "5:cpuset:/\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n0::/\n");
    doctor_rig_write(rig, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"); /* a container sees its own as the root */
    doctor_rig_write(rig, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.quota", DOCTOR_WARNING, "allows 0.5 processors");
    doctor_rig_write(rig, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect_none(rig, "cpu.quota");
}

static void a_governor_that_holds_processors_back_is_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.governor", DOCTOR_OK, "doesn't govern");
    doctor_rig_write(rig, CPU "/cpu0/cpufreq/scaling_governor", "performance\n");
    doctor_rig_write(rig, CPU "/cpu1/cpufreq/scaling_governor", "performance\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.governor", DOCTOR_OK, "performance");
    doctor_rig_write(rig, CPU "/cpu1/cpufreq/scaling_governor", "powersave\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.governor", DOCTOR_NOTE, "several");
    doctor_rig_write(rig, CPU "/cpu0/cpufreq/scaling_governor", "powersave\n");
    doctor_rig_write(rig, CPU "/cpu0/cpufreq/scaling_driver", "acpi-cpufreq\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.governor", DOCTOR_WARNING, "lowest frequency");
    doctor_rig_write(rig, CPU "/cpu0/cpufreq/scaling_driver", "intel_pstate\n"); /* its powersave follows the load */
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.governor", DOCTOR_NOTE, "powersave");
}

static void a_clock_that_costs_system_calls_is_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    static const char current[] = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    static const char available[] = "/sys/devices/system/clocksource/clocksource0/available_clocksource";
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect_none(rig, "cpu.clock");
    doctor_rig_write(rig, current, "kvm-clock\n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.clock", DOCTOR_OK, "kvm-clock");
    doctor_rig_write(rig, current, "hpet\n");
    doctor_rig_write(rig, available, "hpet acpi_pm \n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect(rig, "cpu.clock", DOCTOR_WARNING, "hpet");
    doctor_rig_expect_advice(rig, "cpu.clock", "unstable");
    doctor_rig_write(rig, available, "tsc hpet acpi_pm \n");
    doctor_rig_run(rig, doctor_check_cpu);
    doctor_rig_expect_advice(rig, "cpu.clock", "echo tsc");
}

static void instruction_sets_that_are_missing_are_named_with_what_they_cost(void **state)
{
    struct doctor_rig *rig = *state;
    static const struct {
        const char *flags;
        enum doctor_level level;
        const char *part;
    } rows[] = {{"fpu sse2", DOCTOR_WARNING, "no AVX2"},
                {"fpu sse2 avx2", DOCTOR_WARNING, "no AVX2"}, /* without fma it can't be used */
                {AVX2_FLAGS, DOCTOR_NOTE, "no AVX-512"},
                {AVX512_FLAGS, DOCTOR_NOTE, "without VNNI and BF16: pool.compute int8 or bf16"},
                {AVX512_FLAGS " avx512_bf16", DOCTOR_NOTE, "without VNNI: pool.compute int8 goes"},
                {AVX512_FLAGS " avx512_vnni", DOCTOR_NOTE, "without BF16: pool.compute bf16 goes"},
                {AVX512_FLAGS " avx512_vnni avx512_bf16", DOCTOR_OK, "VNNI and BF16"}};
    doctor_rig_run(rig, doctor_check_isa);
    doctor_rig_expect_none(rig, "cpu.isa");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "processor\t: 0\nflags\t\t: %s\nbugs\t\t: none\n", rows[i].flags);
        doctor_rig_write(rig, "/proc/cpuinfo", text);
        doctor_rig_run(rig, doctor_check_isa);
        doctor_rig_expect(rig, "cpu.isa", rows[i].level, rows[i].part);
    }
}

static void kernels_below_what_the_processor_can_are_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_write(rig, "/proc/cpuinfo", "flags\t: " AVX512_FLAGS "\n");
    doctor_rig_run(rig, doctor_check_isa);
    doctor_rig_expect_none(rig, "cpu.variant");
    snprintf(rig->doctor.daemon.variant, sizeof rig->doctor.daemon.variant, "scalar");
    doctor_rig_run(rig, doctor_check_isa);
    doctor_rig_expect(rig, "cpu.variant", DOCTOR_WARNING, "scalar");
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void huge_pages_that_are_off_are_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.hugepages", DOCTOR_NOTE, "no transparent huge pages");
    doctor_rig_write(rig, THP "/enabled", "always madvise [never]\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.hugepages", DOCTOR_WARNING, "off");
    doctor_rig_write(rig, THP "/enabled", "always [madvise] never\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.hugepages", DOCTOR_OK, "madvise");
    doctor_rig_write(rig, THP "/enabled", "[always] madvise never\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.hugepages", DOCTOR_OK, "always");
}

static void huge_pages_that_no_memory_is_made_free_for_are_noted(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_write(rig, THP "/defrag", "always defer defer+madvise [madvise] never\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.defrag", DOCTOR_OK, "madvise");
    doctor_rig_write(rig, THP "/defrag", "always defer defer+madvise madvise [never]\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.defrag", DOCTOR_NOTE, "never");
}

static void slots_that_lie_in_small_pages_all_the_same_are_noted(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    rig->doctor.daemon.status.slab_bytes = (uint64_t)1 << 30;
    doctor_rig_write(rig, "/proc/77/smaps_rollup", "Rss: 2000000 kB\nAnonHugePages:   1048576 kB\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.slab", DOCTOR_OK, "1.0 GiB");
    doctor_rig_write(rig, "/proc/77/smaps_rollup", "Rss: 2000000 kB\nAnonHugePages:     2048 kB\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.slab", DOCTOR_NOTE, "2.0 MiB");
    rig->doctor.daemon.status.slab_bytes = (uint64_t)1 << 20; /* too little to matter */
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect_none(rig, "memory.slab");
}

static void memory_that_runs_short_is_a_warning_and_a_swap_that_will_not_fit_a_note(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    rig->doctor.daemon.n_packs = 1;
    rig->doctor.daemon.packs[0] = (struct doctor_pack){.lenses = 1000, .slots = 1000, .slot_bytes = 1 << 20};
    doctor_rig_write(rig, "/proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.available", DOCTOR_OK, "4.0 GiB of 8.0 GiB");
    doctor_rig_write(rig, "/proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 900000 kB\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.available", DOCTOR_NOTE, "swap");
    doctor_rig_write(rig, "/proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 200000 kB\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.available", DOCTOR_WARNING, "are available");
}

static void a_control_group_that_is_nearly_full_is_a_warning_in_both_versions(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_write(rig, "/proc/77/cgroup", "0::/a/b\n");
    doctor_rig_write(rig, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect_none(rig, "memory.cgroup");
    doctor_rig_write(rig, "/sys/fs/cgroup/a/memory.max", "1073741824\n");
    doctor_rig_write(rig, "/sys/fs/cgroup/a/memory.current", "536870912\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.cgroup", DOCTOR_OK, "to 1.0 GiB; 512.0 MiB");
    doctor_rig_write(rig, "/sys/fs/cgroup/a/memory.current", "1063741824\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.cgroup", DOCTOR_WARNING, "1.0 GiB");
    doctor_rig_write(rig, "/proc/77/cgroup", "4:memory:/c\n0::/\n");
    doctor_rig_write(rig, "/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "9223372036854771712\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect_none(rig, "memory.cgroup");
    doctor_rig_write(rig, "/sys/fs/cgroup/memory/c/memory.limit_in_bytes", "2097152\n");
    doctor_rig_write(rig, "/sys/fs/cgroup/memory/c/memory.usage_in_bytes", "2097000\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.cgroup", DOCTOR_WARNING, "2.0 MiB");
}

static void memory_of_lensd_in_swap_is_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.swap", DOCTOR_OK, "Nothing");
    doctor_rig_write(rig, "/proc/77/status", "Name:\tlensd\nVmSwap:\t    2048 kB\n");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.swap", DOCTOR_WARNING, "2.0 MiB");
}

static void limits(struct doctor_rig *rig, const char *files, const char *locked)
{
    char text[512];
    snprintf(text, sizeof text,
             "Limit                     Soft Limit           Hard Limit           Units     \n"
             "Max locked memory         %-20s %-20s bytes     \nMax open files            %-20s 1048576  files     \n",
             locked, locked, files);
    doctor_rig_write(rig, "/proc/77/limits", text);
}

static void too_few_descriptors_for_the_settings_are_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_setting(rig, "ipc.max_connections", "4000");
    doctor_rig_setting(rig, "ipc.max_sessions", "64");
    limits(rig, "1048576", "8388608");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.files", DOCTOR_OK, "as many");
    limits(rig, "1024", "8388608");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.files", DOCTOR_WARNING, "may open 1024 files");
    doctor_rig_expect_advice(rig, "memory.files", "LimitNOFILE=4192");
    limits(rig, "unlimited", "8388608");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.files", DOCTOR_OK, "as many");
}

static void little_lockable_memory_is_noted_where_a_card_reads_rows(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_setting(rig, "ipc.total_memory", "2G");
    limits(rig, "1048576", "8388608");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect_none(rig, "memory.memlock");
    snprintf(rig->doctor.daemon.backend, sizeof rig->doctor.daemon.backend, "cuda");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.memlock", DOCTOR_NOTE, "8.0 MiB");
    limits(rig, "1048576", "4294967296");
    doctor_rig_run(rig, doctor_check_memory);
    doctor_rig_expect(rig, "memory.memlock", DOCTOR_OK, "as much");
}

/* ---- cards ------------------------------------------------------------------------------------------------------- */

static void add_card(struct doctor_rig *rig)
{
    doctor_rig_write(rig, "/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
    doctor_rig_write(rig, "/sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n");
    doctor_rig_write(rig, "/sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de\n"); /* its sound device */
    doctor_rig_write(rig, "/sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n");
}

static void add_driver(struct doctor_rig *rig)
{
    doctor_rig_write(rig, "/proc/driver/nvidia/version",
                     "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
                     "GCC version:  gcc version 12.2.0\n");
}

static void a_machine_without_a_card_lacks_nothing(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    doctor_rig_write(rig, "/sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n");
    doctor_rig_write(rig, "/sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n");
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.present", DOCTOR_OK, "No NVIDIA card");
    assert_int_equal(rig->doctor.report.count, 1);
}

static void a_card_without_its_driver_is_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    add_card(rig);
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.driver", DOCTOR_WARNING, "There is 1 NVIDIA card, and no driver");
    doctor_rig_write(rig, "/sys/module/nouveau/refcnt", "1\n");
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.driver", DOCTOR_WARNING, "nouveau");
    add_driver(rig);
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.driver", DOCTOR_OK, "535.129.03");
}

static void device_files_that_lensd_may_not_open_are_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    add_card(rig);
    add_driver(rig);
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.files", DOCTOR_WARNING, "/dev/nvidiactl isn't there");
    doctor_rig_expect_advice(rig, "card.files", "nvidia-modprobe");
    doctor_rig_write(rig, "/dev/nvidiactl", "");
    doctor_rig_write(rig, "/dev/nvidia-uvm", "");
    doctor_rig_write(rig, "/dev/nvidia0", "");
    doctor_rig_mode(rig, "/dev/nvidiactl", 0666);
    doctor_rig_mode(rig, "/dev/nvidia-uvm", 0666);
    doctor_rig_mode(rig, "/dev/nvidia0", 0600);
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.files", DOCTOR_WARNING, "/dev/nvidia0 may not be read");
    doctor_rig_expect_advice(rig, "card.files", "uid 500");
    doctor_rig_mode(rig, "/dev/nvidia0", 0666);
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.files", DOCTOR_OK, "may be opened");
}

static void libraries_are_looked_for_where_the_linker_and_lensd_look(void **state)
{
    struct doctor_rig *rig = *state;
    char cache[] = "glibc-ld.so.cache1.1 libcuda.so.1 ";
    doctor_rig_daemon(rig);
    add_card(rig);
    add_driver(rig);
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.libcuda", DOCTOR_WARNING, "wasn't found");
    doctor_rig_expect(rig, "card.library", DOCTOR_WARNING, "beside lensd");
    doctor_rig_write(rig, "/usr/lib64/libcuda.so.1", "");
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.libcuda", DOCTOR_OK, "is there");
    doctor_rig_remove(rig, "/usr/lib64/libcuda.so.1");
    doctor_rig_write(rig, "/etc/ld.so.cache", cache); /* names in it end in NUL */
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.libcuda", DOCTOR_WARNING, "wasn't found");
    char path[128];
    snprintf(path, sizeof path, "%s/etc/ld.so.cache", rig->root);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    cache[strlen(cache) - 1] = '\0';
    assert_int_equal(fwrite(cache, 1, sizeof cache, file), sizeof cache);
    fclose(file);
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.libcuda", DOCTOR_OK, "is there");
    doctor_rig_link(rig, "/proc/77/exe", "/usr/bin/lensd");
    doctor_rig_write(rig, "/usr/bin/lensd", "");
    doctor_rig_write(rig, "/usr/lib/lensd/lens_cuda.so", "");
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.library", DOCTOR_OK, "is there");
    doctor_rig_setting(rig, "engine.cuda_library", "/opt/other.so");
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.library", DOCTOR_WARNING, "/opt/other.so");
}

static void a_card_that_lensd_does_not_use_is_a_warning_with_the_reason(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_daemon(rig);
    add_card(rig);
    add_driver(rig);
    snprintf(rig->doctor.daemon.reason, sizeof rig->doctor.daemon.reason, "no CUDA driver");
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.backend", DOCTOR_WARNING, "no CUDA driver");
    snprintf(rig->doctor.daemon.backend, sizeof rig->doctor.daemon.backend, "cuda");
    doctor_rig_run(rig, doctor_check_card);
    doctor_rig_expect(rig, "card.backend", DOCTOR_OK, "on the card");
}

static void an_empty_machine_gives_no_false_alarm(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_check_cpu(&rig->doctor);
    doctor_check_isa(&rig->doctor);
    doctor_check_memory(&rig->doctor);
    doctor_check_card(&rig->doctor);
    assert_true(doctor_worst(&rig->doctor.report) <= DOCTOR_NOTE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, doctor_rig_setup, doctor_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(processors_that_lensd_may_not_use_are_noted),
        TEST(more_threads_than_processors_are_a_warning),
        TEST(a_quota_below_the_threads_is_a_warning_in_both_versions_of_control_groups),
        TEST(a_governor_that_holds_processors_back_is_a_warning),
        TEST(a_clock_that_costs_system_calls_is_a_warning),
        TEST(instruction_sets_that_are_missing_are_named_with_what_they_cost),
        TEST(kernels_below_what_the_processor_can_are_a_warning),
        TEST(huge_pages_that_are_off_are_a_warning),
        TEST(huge_pages_that_no_memory_is_made_free_for_are_noted),
        TEST(slots_that_lie_in_small_pages_all_the_same_are_noted),
        TEST(memory_that_runs_short_is_a_warning_and_a_swap_that_will_not_fit_a_note),
        TEST(a_control_group_that_is_nearly_full_is_a_warning_in_both_versions),
        TEST(memory_of_lensd_in_swap_is_a_warning),
        TEST(too_few_descriptors_for_the_settings_are_a_warning),
        TEST(little_lockable_memory_is_noted_where_a_card_reads_rows),
        TEST(a_machine_without_a_card_lacks_nothing),
        TEST(a_card_without_its_driver_is_a_warning),
        TEST(device_files_that_lensd_may_not_open_are_a_warning),
        TEST(libraries_are_looked_for_where_the_linker_and_lensd_look),
        TEST(a_card_that_lensd_does_not_use_is_a_warning_with_the_reason),
        TEST(an_empty_machine_gives_no_false_alarm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
