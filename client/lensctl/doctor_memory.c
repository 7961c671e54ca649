/* Huge pages, free memory, limits of memory and of descriptors, swap; see doctor.h. */
#include "client/lensctl/doctor.h"
#include "client/lensctl/doctor_files.h"
#include "client/lensctl/output.h"

#include <stdio.h>
#include <string.h>

#define THP_DIR    "/sys/kernel/mm/transparent_hugepage"
#define HUGE_WORTH ((uint64_t)64 << 20) /* slots below that hardly miss in the TLB */

static void check_huge_pages(struct doctor *doctor)
{
    char text[256], chosen[64];
    if (!doctor_read(doctor->root, THP_DIR "/enabled", text, sizeof text) ||
        !doctor_chosen(text, chosen, sizeof chosen)) {
        doctor_find(&doctor->report, "memory.hugepages", DOCTOR_NOTE,
                    "This kernel has no transparent huge pages: reading slots costs more address translation.");
        return;
    }
    if (strcmp(chosen, "never") != 0) {
        doctor_find(&doctor->report, "memory.hugepages", DOCTOR_OK,
                    "Transparent huge pages are on (%s); lensd asks for them.", chosen);
        return;
    }
    doctor_find(&doctor->report, "memory.hugepages", DOCTOR_WARNING,
                "Transparent huge pages are off: slots lie in pages of 4 KiB, and scoring spends time on address "
                "translation.");
    doctor_advise(&doctor->report, "echo madvise > " THP_DIR "/enabled (transparent_hugepage=madvise at boot), then "
                                   "restart lensd.");
}

static void check_defrag(struct doctor *doctor)
{
    char text[256], chosen[64];
    if (!doctor_read(doctor->root, THP_DIR "/defrag", text, sizeof text) || !doctor_chosen(text, chosen, sizeof chosen))
        return;
    if (strcmp(chosen, "never") != 0 && strcmp(chosen, "defer") != 0) {
        doctor_find(&doctor->report, "memory.defrag", DOCTOR_OK, "Memory is made free for huge pages on demand (%s).",
                    chosen);
        return;
    }
    doctor_find(&doctor->report, "memory.defrag", DOCTOR_NOTE,
                "transparent_hugepage/defrag is %s: lensd gets huge pages only as far as they are free already.",
                chosen);
    doctor_advise(&doctor->report, "echo madvise > " THP_DIR "/defrag, then restart lensd.");
}

/* What the slots really lie in; the kernel tells the daemon's own user and root. */
static void check_huge_in_use(struct doctor *doctor)
{
    char path[64], text[DOCTOR_TEXT], huge[32], slab[32];
    const struct doctor_daemon *daemon = &doctor->daemon;
    uint64_t kib;
    if (!doctor_sees_daemon(doctor) || doctor_on_card(daemon) || daemon->status.slab_bytes < HUGE_WORTH)
        return;
    snprintf(path, sizeof path, "/proc/%llu/smaps_rollup", (unsigned long long)daemon->status.pid);
    if (!doctor_read(doctor->root, path, text, sizeof text) || !doctor_line_number(text, "AnonHugePages", &kib))
        return;
    ctl_bytes_text(kib << 10, huge, sizeof huge);
    ctl_bytes_text(daemon->status.slab_bytes, slab, sizeof slab);
    if (kib << 10 >= daemon->status.slab_bytes / 2) {
        doctor_find(&doctor->report, "memory.slab", DOCTOR_OK, "lensd has %s in huge pages; its slots take %s.", huge,
                    slab);
        return;
    }
    doctor_find(&doctor->report, "memory.slab", DOCTOR_NOTE, "lensd has %s in huge pages, though its slots take %s.",
                huge, slab);
    doctor_advise(&doctor->report,
                  "Memory was scattered when lensd started: echo 1 > /proc/sys/vm/compact_memory, then "
                  "restart it.");
}

/* Memory that the largest pack's slots take: what a swap needs once more. */
static uint64_t largest_slab(const struct doctor_daemon *daemon)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < daemon->n_packs; i++) {
        uint64_t bytes = daemon->packs[i].slots * daemon->packs[i].slot_bytes;
        most = bytes > most ? bytes : most;
    }
    return most;
}

static void say_free(struct doctor *doctor, uint64_t available, uint64_t total)
{
    char left[32], all[32], need[32];
    uint64_t swap = doctor_on_card(&doctor->daemon) ? 0 : largest_slab(&doctor->daemon);
    ctl_bytes_text(available, left, sizeof left);
    ctl_bytes_text(total, all, sizeof all);
    if (available < total / 20) {
        doctor_find(&doctor->report, "memory.available", DOCTOR_WARNING,
                    "%s of %s are available: the kernel will soon take pages of lensd's packs back.", left, all);
        doctor_advise(&doctor->report, "Free memory, or bound lensd's (pool.slots, pool.dtype, cache.host_memory).");
    } else if (available < swap) {
        doctor_find(&doctor->report, "memory.available", DOCTOR_NOTE,
                    "%s of %s are available; a pack's slots take %s, so `lensctl swap` gives a new one fewer.", left,
                    all, ctl_bytes_text(swap, need, sizeof need));
        doctor_advise(&doctor->report, "Bound pool.slots so that two packs fit, or unload before you load.");
    } else {
        doctor_find(&doctor->report, "memory.available", DOCTOR_OK, "%s of %s are available.", left, all);
    }
}

static void check_available(struct doctor *doctor)
{
    char text[DOCTOR_TEXT];
    uint64_t available, total;
    if (doctor_read(doctor->root, "/proc/meminfo", text, sizeof text) &&
        doctor_line_number(text, "MemAvailable", &available) && doctor_line_number(text, "MemTotal", &total))
        say_free(doctor, available << 10, total << 10);
}

static void check_cgroup(struct doctor *doctor)
{
    char process[32], a[32], b[32];
    uint64_t limit, used;
    if (!doctor_cgroup_memory(doctor->root, doctor_process(doctor, process), &limit, &used))
        return;
    ctl_bytes_text(used, a, sizeof a);
    ctl_bytes_text(limit, b, sizeof b);
    if (used <= limit / 10 * 9) {
        doctor_find(&doctor->report, "memory.cgroup", DOCTOR_OK, "A control group limits memory to %s; %s are in use.",
                    b, a);
        return;
    }
    doctor_find(&doctor->report, "memory.cgroup", DOCTOR_WARNING,
                "A control group limits memory to %s, and %s are in use (with cached files): near the limit the kernel "
                "takes pages back, past it it kills.",
                b, a);
    doctor_advise(&doctor->report, "Raise the limit (MemoryMax=, --memory, a pod's memory limit) or bound pool.slots.");
}

static void check_swap(struct doctor *doctor)
{
    char path[64], text[DOCTOR_TEXT], out[32];
    uint64_t kib;
    if (!doctor_sees_daemon(doctor))
        return;
    snprintf(path, sizeof path, "/proc/%llu/status", (unsigned long long)doctor->daemon.status.pid);
    if (!doctor_read(doctor->root, path, text, sizeof text) || !doctor_line_number(text, "VmSwap", &kib))
        return;
    if (kib == 0) {
        doctor_find(&doctor->report, "memory.swap", DOCTOR_OK, "Nothing of lensd is swapped out.");
        return;
    }
    doctor_find(&doctor->report, "memory.swap", DOCTOR_WARNING,
                "%s of lensd are swapped out: a row that needs them waits for the disk, milliseconds a page.",
                ctl_bytes_text(kib << 10, out, sizeof out));
    doctor_advise(&doctor->report,
                  "Free memory, then swapoff -a && swapon -a; MemorySwapMax=0 in the unit keeps it so.");
}

/* The soft limit named `name` in /proc/PID/limits; UINT64_MAX = unlimited. */
static bool soft_limit(const struct doctor *doctor, const char *name, uint64_t *out)
{
    char process[32], path[64], text[DOCTOR_TEXT], value[128];
    snprintf(path, sizeof path, "/proc/%s/limits", doctor_process(doctor, process));
    if (!doctor_read(doctor->root, path, text, sizeof text) || !doctor_line(text, name, value, sizeof value))
        return false;
    *out = UINT64_MAX;
    return strncmp(value, "unlimited", 9) == 0 || doctor_line_number(text, name, out);
}

static void check_descriptors(struct doctor *doctor)
{
    uint64_t limit, connections, sessions;
    const struct doctor_daemon *daemon = &doctor->daemon;
    if (!doctor_sees_daemon(doctor) || !soft_limit(doctor, "Max open files", &limit))
        return;
    connections = doctor_setting_number(daemon, "ipc.max_connections", 0);
    sessions = doctor_setting_number(daemon, "ipc.max_sessions", 0);
    uint64_t wanted = connections + 2 * sessions + 64; /* a session has memory and a doorbell; packs, timers, the log */
    if (limit >= wanted) {
        doctor_find(&doctor->report, "memory.files", DOCTOR_OK, "lensd may open as many files as its settings need.");
        return;
    }
    doctor_find(&doctor->report, "memory.files", DOCTOR_WARNING,
                "lensd may open %llu files; %llu connections and %llu sessions can need %llu: the last ones would be "
                "refused.",
                (unsigned long long)limit, (unsigned long long)connections, (unsigned long long)sessions,
                (unsigned long long)wanted);
    doctor_advise(&doctor->report, "Raise the hard limit (LimitNOFILE=%llu in the unit, ulimit -Hn) and restart lensd.",
                  (unsigned long long)wanted);
}

/* lensd locks memory through the card's driver alone. */
static void check_locked(struct doctor *doctor)
{
    uint64_t limit;
    char text[32];
    if (!doctor_on_card(&doctor->daemon) || !doctor_sees_daemon(doctor) ||
        !soft_limit(doctor, "Max locked memory", &limit))
        return;
    if (limit >= doctor_setting_number(&doctor->daemon, "ipc.total_memory", (uint64_t)64 << 20)) {
        doctor_find(&doctor->report, "memory.memlock", DOCTOR_OK,
                    "lensd may lock as much memory as sessions may have.");
        return;
    }
    doctor_find(&doctor->report, "memory.memlock", DOCTOR_NOTE,
                "lensd may lock %s: a driver that counts locked memory copies the rows of further sessions.",
                ctl_bytes_text(limit, text, sizeof text));
    doctor_advise(&doctor->report, "Set LimitMEMLOCK=infinity in the unit if lensd's log says that rows are copied.");
}

void doctor_check_memory(struct doctor *doctor)
{
    check_huge_pages(doctor);
    check_defrag(doctor);
    check_huge_in_use(doctor);
    check_available(doctor);
    check_cgroup(doctor);
    check_swap(doctor);
    check_descriptors(doctor);
    check_locked(doctor);
}
