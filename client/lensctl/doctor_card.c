/* NVIDIA card, driver, device files and libraries; see doctor.h. Nothing is loaded or opened: only looked for. */
#include "client/lensctl/doctor.h"
#include "client/lensctl/doctor_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PCI_DIR "/sys/bus/pci/devices"

static bool is_nvidia_card(const char *root, const char *device)
{
    char path[PATH_MAX], text[32];
    snprintf(path, sizeof path, PCI_DIR "/%s/vendor", device);
    if (!doctor_read(root, path, text, sizeof text) || strcmp(text, "0x10de") != 0)
        return false;
    snprintf(path, sizeof path, PCI_DIR "/%s/class", device);
    return doctor_read(root, path, text, sizeof text) && strncmp(text, "0x03", 4) == 0; /* display and 3D controllers */
}

static unsigned count_cards(const char *root)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s" PCI_DIR, root);
    DIR *dir = opendir(path);
    unsigned n = 0;
    // cppcheck-suppress readdirCalled ; the directory is this reader's alone
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.' && is_nvidia_card(root, entry->d_name);
    if (dir != NULL)
        closedir(dir);
    return n;
}

/* The kernel driver's version: the first word of its line that is numbers and dots. */
static bool driver_version(const char *root, char *out, size_t size)
{
    char text[1024];
    if (!doctor_read(root, "/proc/driver/nvidia/version", text, sizeof text))
        return false;
    for (const char *at = text; *at != '\0' && *at != '\n'; at++) {
        size_t n = strspn(at, "0123456789.");
        bool word = at == text || at[-1] == ' ';
        if (word && n >= 3 && memchr(at, '.', n) != NULL && (at[n] == ' ' || at[n] == '\n' || at[n] == '\0')) {
            snprintf(out, size, "%.*s", (int)n, at);
            return true;
        }
        at += n > 0 ? n - 1 : 0;
    }
    snprintf(out, size, "of unknown version");
    return true;
}

static bool check_driver(struct doctor *doctor, unsigned cards)
{
    char version[64];
    if (driver_version(doctor->root, version, sizeof version)) {
        doctor_find(&doctor->report, "card.driver", DOCTOR_OK, "The NVIDIA driver is %s.", version);
        return true;
    }
    bool nouveau = doctor_exists(doctor->root, "/sys/module/nouveau");
    doctor_find(&doctor->report, "card.driver", DOCTOR_WARNING,
                "There %s %u NVIDIA card%s, and %s: lensd scores on the processor.", cards == 1 ? "is" : "are", cards,
                cards == 1 ? "" : "s", nouveau ? "the nouveau driver, which has no CUDA, holds it" : "no driver");
    doctor_advise(&doctor->report, "Install NVIDIA's driver (Debian: nvidia-driver)%s.",
                  nouveau ? ", which also puts nouveau aside, and reboot" : "; if it is there, modprobe nvidia");
    return false;
}

/* The device files that CUDA opens. */
static void check_files(struct doctor *doctor)
{
    static const char *const files[] = {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0"};
    char process[32], blocked[PATH_MAX];
    struct doctor_who who;
    if (!doctor_who_is(doctor->root, doctor_process(doctor, process), &who))
        return;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        int r = doctor_reach(doctor->root, files[i], &who, 6, blocked, sizeof blocked);
        if (r == 0)
            continue;
        doctor_find(&doctor->report, "card.files", DOCTOR_WARNING, "%s %s: CUDA can't be used.", files[i],
                    r == -ENOENT ? "isn't there" : "may not be read and written by the user that lensd runs as");
        if (r == -ENOENT)
            doctor_advise(&doctor->report,
                          "nvidia-modprobe -c 0 -u makes the device files; in a container pass the card "
                          "in (--gpus).");
        else
            doctor_advise(&doctor->report, "Add uid %u to the group of %s, or allow it in the unit (DeviceAllow=).",
                          (unsigned)who.uid, blocked);
        return;
    }
    doctor_find(&doctor->report, "card.files", DOCTOR_OK, "The card's device files may be opened.");
}

/* Whether the linker's cache names the library. */
static bool in_linker_cache(const char *root, const char *library)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/etc/ld.so.cache", root);
    FILE *file = fopen(path, "re");
    bool found = false;
    if (file == NULL)
        return false;
    if (fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        char *text = size > 0 ? malloc((size_t)size) : NULL;
        rewind(file);
        if (text != NULL && fread(text, 1, (size_t)size, file) == (size_t)size)
            found = memmem(text, (size_t)size, library, strlen(library) + 1) != NULL;
        free(text);
    }
    fclose(file);
    return found;
}

static bool has_libcuda(const char *root)
{
    static const char *const places[] = {"/usr/lib/x86_64-linux-gnu/libcuda.so.1",
                                         "/usr/lib/aarch64-linux-gnu/libcuda.so.1", "/usr/lib64/libcuda.so.1",
                                         "/usr/lib/libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"};
    if (in_linker_cache(root, "libcuda.so.1"))
        return true;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (doctor_exists(root, places[i]))
            return true;
    }
    return false;
}

static void check_libcuda(struct doctor *doctor)
{
    if (has_libcuda(doctor->root)) {
        doctor_find(&doctor->report, "card.libcuda", DOCTOR_OK, "libcuda.so.1, the driver's library, is there.");
        return;
    }
    doctor_find(&doctor->report, "card.libcuda", DOCTOR_WARNING,
                "libcuda.so.1, the driver's library, wasn't found: lensd scores on the processor.");
    doctor_advise(&doctor->report, "Install it in the driver's own version (Debian: libcuda1), and run ldconfig.");
}

/* The folder of lensd where it runs, else of this program. */
static bool program_folder(const struct doctor *doctor, char out[PATH_MAX])
{
    char process[32], path[PATH_MAX];
    snprintf(path, sizeof path, "%s/proc/%s/exe", doctor->root, doctor_process(doctor, process));
    ssize_t n = readlink(path, out, PATH_MAX - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash != NULL)
        *slash = '\0';
    return slash != NULL;
}

/* lensd's own part for cards, where lensd looks for it. */
static void check_library(struct doctor *doctor)
{
    static const char *const places[] = {"/lens_cuda.so", "/../lib/lensd/lens_cuda.so"};
    char folder[PATH_MAX], path[PATH_MAX + 64];
    const char *named = doctor_setting(&doctor->daemon, "engine.cuda_library");
    bool found = in_linker_cache(doctor->root, "lens_cuda.so");
    if (named != NULL && named[0] != '\0') {
        found = doctor_exists(doctor->root, named);
    } else if (program_folder(doctor, folder)) {
        for (size_t i = 0; i < sizeof places / sizeof places[0] && !found; i++) {
            snprintf(path, sizeof path, "%s%s", folder, places[i]);
            found = doctor_exists(doctor->root, path);
        }
    }
    if (found) {
        doctor_find(&doctor->report, "card.library", DOCTOR_OK, "lens_cuda.so, lensd's backend for cards, is there.");
        return;
    }
    doctor_find(&doctor->report, "card.library", DOCTOR_WARNING,
                "lens_cuda.so, lensd's backend for cards, isn't %s: lensd scores on the processor.",
                named != NULL && named[0] != '\0' ? named : "beside lensd or in ../lib/lensd");
    doctor_advise(&doctor->report, "Build lensd where nvcc is (make says so when it leaves the backend out), or point "
                                   "engine.cuda_library at it.");
}

static void check_backend(struct doctor *doctor)
{
    const struct doctor_daemon *daemon = &doctor->daemon;
    if (!daemon->running)
        return;
    if (doctor_on_card(daemon)) {
        doctor_find(&doctor->report, "card.backend", DOCTOR_OK, "lensd scores on the card.");
        return;
    }
    doctor_find(&doctor->report, "card.backend", DOCTOR_WARNING,
                "This machine has a card, and lensd scores on the processor: %s.", daemon->reason);
    doctor_advise(&doctor->report,
                  "See the findings above; `lensd --backend cuda` ends with the whole reason. If it is "
                  "meant so, there is nothing to do.");
}

void doctor_check_card(struct doctor *doctor)
{
    unsigned cards = count_cards(doctor->root);
    if (cards == 0 && !doctor_exists(doctor->root, "/proc/driver/nvidia/version")) {
        doctor_find(&doctor->report, "card.present", DOCTOR_OK, "No NVIDIA card: rows are scored by the processor.");
        return;
    }
    if (check_driver(doctor, cards)) {
        check_files(doctor);
        check_libcuda(doctor);
    }
    check_library(doctor);
    check_backend(doctor);
}
