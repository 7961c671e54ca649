/* Processors, threads, frequency governor and clock; see doctor.h. */
#include "client/lensctl/doctor.h"
#include "client/lensctl/doctor_files.h"

#include <stdio.h>
#include <string.h>

#define CPU_DIR     "/sys/devices/system/cpu"
#define CLOCK_DIR   "/sys/devices/system/clocksource/clocksource0"
#define CPUS_LOOKED 4096u

/* Processors that the process may run on; 0 = unknown. */
static unsigned usable(const struct doctor *doctor)
{
    char process[32], path[64], text[DOCTOR_TEXT], list[1024];
    snprintf(path, sizeof path, "/proc/%s/status", doctor_process(doctor, process));
    if (!doctor_read(doctor->root, path, text, sizeof text) ||
        !doctor_line(text, "Cpus_allowed_list", list, sizeof list))
        return 0;
    return doctor_count_list(list);
}

static void check_count(struct doctor *doctor, unsigned allowed)
{
    char online[1024];
    const char *who = doctor_sees_daemon(doctor) ? "lensd" : "a process started here";
    if (allowed == 0 || !doctor_read(doctor->root, CPU_DIR "/online", online, sizeof online))
        return;
    unsigned all = doctor_count_list(online);
    if (allowed >= all) {
        doctor_find(&doctor->report, "cpu.count", DOCTOR_OK, "%u processors, and %s may use all of them.", all, who);
        return;
    }
    doctor_find(&doctor->report, "cpu.count", DOCTOR_NOTE, "%s may run on %u of this machine's %u processors.", who,
                allowed, all);
    doctor_advise(&doctor->report, "If that isn't meant, look at taskset, CPUAffinity= and AllowedCPUs=.");
}

static void check_affinity(struct doctor *doctor, unsigned threads, unsigned allowed)
{
    if (threads > allowed) {
        doctor_find(&doctor->report, "cpu.threads", DOCTOR_WARNING,
                    "lensd scores with %u threads on %u processors: at each step of a row all wait for the one that "
                    "has no processor.",
                    threads, allowed);
        doctor_advise(&doctor->report, "Set engine.threads to at most %u, or let lensd run on more processors.",
                      allowed);
    } else if (threads == 1 && allowed > 2) {
        doctor_find(&doctor->report, "cpu.threads", DOCTOR_NOTE,
                    "lensd scores with 1 thread, and may use %u processors.", allowed);
        doctor_advise(&doctor->report, "If rows are too slow, raise engine.threads (0 takes up to 8).");
    } else {
        doctor_find(&doctor->report, "cpu.threads", DOCTOR_OK, "%u threads score, on %u processors.", threads, allowed);
    }
}

static void check_quota(struct doctor *doctor, unsigned threads)
{
    char process[32], whom[32] = "";
    double cpus;
    uint64_t throttled;
    if (!doctor_cgroup_cpus(doctor->root, doctor_process(doctor, process), &cpus, &throttled))
        return;
    bool enough = threads > 0 ? cpus >= (double)threads : cpus >= 1.0;
    if (enough && throttled == 0) {
        doctor_find(&doctor->report, "cpu.quota", DOCTOR_OK, "A quota allows %.3g processors, which is enough.", cpus);
        return;
    }
    if (threads > 0)
        snprintf(whom, sizeof whom, " for %u threads", threads);
    doctor_find(
        &doctor->report, "cpu.quota", enough ? DOCTOR_NOTE : DOCTOR_WARNING,
        "The control group's quota allows %.3g processors%s, and was used up %llu times: all threads then stand "
        "still until the next period, up to 0.1 s.",
        cpus, whom, (unsigned long long)throttled);
    doctor_advise(&doctor->report, "Take the quota away (CPUQuota=, --cpus, a pod's cpu limit) and keep lensd to some "
                                   "processors with CPUAffinity= instead, or set engine.threads below it.");
}

/* The governor of all processors, "several", or "" where frequencies aren't governed. */
static void find_governor(const struct doctor *doctor, char *out, size_t size)
{
    char path[96], governor[32];
    out[0] = '\0';
    for (unsigned cpu = 0, missing = 0; cpu < CPUS_LOOKED && missing < 64; cpu++) {
        snprintf(path, sizeof path, CPU_DIR "/cpu%u/cpufreq/scaling_governor", cpu);
        if (!doctor_read(doctor->root, path, governor, sizeof governor)) {
            missing++; /* offline, or past the last */
            continue;
        }
        if (out[0] == '\0')
            snprintf(out, size, "%s", governor);
        else if (strcmp(out, governor) != 0)
            snprintf(out, size, "several");
    }
}

/* Drivers whose "powersave" follows the load, unlike the generic one, which stays at the lowest frequency. */
static bool follows_load(const struct doctor *doctor)
{
    char driver[64];
    return doctor_read(doctor->root, CPU_DIR "/cpu0/cpufreq/scaling_driver", driver, sizeof driver) &&
           (strcmp(driver, "intel_pstate") == 0 || strncmp(driver, "amd-pstate", 10) == 0 ||
            strcmp(driver, "amd_pstate_epp") == 0);
}

static void check_governor(struct doctor *doctor)
{
    char governor[32];
    find_governor(doctor, governor, sizeof governor);
    if (governor[0] == '\0') {
        doctor_find(&doctor->report, "cpu.governor", DOCTOR_OK,
                    "This kernel doesn't govern the processors' frequency (a virtual machine, or the firmware does).");
    } else if (strcmp(governor, "performance") == 0) {
        doctor_find(&doctor->report, "cpu.governor", DOCTOR_OK, "The frequency governor is performance.");
    } else {
        bool slow = strcmp(governor, "powersave") == 0 && !follows_load(doctor);
        doctor_find(&doctor->report, "cpu.governor", slow ? DOCTOR_WARNING : DOCTOR_NOTE,
                    slow ? "The frequency governor is %s: processors stay at their lowest frequency."
                         : "The frequency governor is %s: a row that comes after a pause finds slow processors.",
                    governor);
        doctor_advise(&doctor->report, "cpupower frequency-set -g performance, if latency matters more than power.");
    }
}

static void check_clock(struct doctor *doctor)
{
    static const char *const fast[] = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"};
    char now[64], all[256];
    if (!doctor_read(doctor->root, CLOCK_DIR "/current_clocksource", now, sizeof now))
        return;
    for (size_t i = 0; i < sizeof fast / sizeof fast[0]; i++) {
        if (strcmp(now, fast[i]) == 0) {
            doctor_find(&doctor->report, "cpu.clock", DOCTOR_OK, "The clock is %s, read without a system call.", now);
            return;
        }
    }
    bool has_tsc =
        doctor_read(doctor->root, CLOCK_DIR "/available_clocksource", all, sizeof all) && doctor_has_word(all, "tsc");
    doctor_find(&doctor->report, "cpu.clock", DOCTOR_WARNING,
                "The clock is %s: each of the times taken of a row costs a system call or a slow device access.", now);
    doctor_advise(&doctor->report,
                  has_tsc ? "echo tsc > " CLOCK_DIR "/current_clocksource, or boot with clocksource=tsc tsc=reliable."
                          : "The kernel found the tsc unstable (see dmesg): look for a firmware update, or boot with "
                            "clocksource=tsc tsc=reliable if you know that it is sound.");
}

void doctor_check_cpu(struct doctor *doctor)
{
    bool scores = doctor->daemon.running && !doctor_on_card(&doctor->daemon);
    unsigned allowed = usable(doctor), threads = scores ? doctor->daemon.status.threads : 0;
    check_count(doctor, allowed);
    if (threads > 0 && allowed > 0 && doctor_sees_daemon(doctor))
        check_affinity(doctor, threads, allowed);
    check_quota(doctor, threads);
    check_governor(doctor);
    check_clock(doctor);
}
