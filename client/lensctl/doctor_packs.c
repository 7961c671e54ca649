/* Files of the loaded packs: there, unchanged, readable, on a disk that is fast enough; see doctor.h. */
#include "client/lensctl/doctor.h"
#include "client/lensctl/doctor_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

enum same { SAME_UNKNOWN, SAME_YES, SAME_NO };

/* The path as the daemon's process reaches it. False when it is relative, and this user may not know to what. */
static bool find_path(const struct doctor *doctor, const char *path, char out[PATH_MAX])
{
    char link[PATH_MAX], folder[PATH_MAX];
    if (path[0] == '/')
        return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    if (!doctor_sees_daemon(doctor))
        return false;
    snprintf(link, sizeof link, "%s/proc/%llu/cwd", doctor->root, (unsigned long long)doctor->daemon.status.pid);
    ssize_t n = readlink(link, folder, sizeof folder - 1);
    if (n <= 0)
        return false;
    folder[n] = '\0';
    return snprintf(out, PATH_MAX, "%s/%s", folder, path) < PATH_MAX;
}

/* What the descriptor `link` of the daemon says: it is the file that has the name now, or one that had it. */
static enum same compare(const char *link, const char *path, const struct stat *now)
{
    struct stat open;
    char target[PATH_MAX];
    size_t length = strlen(path);
    if (stat(link, &open) == 0 && open.st_dev == now->st_dev && open.st_ino == now->st_ino)
        return SAME_YES;
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n < (ssize_t)length || strncmp(target, path, length) != 0)
        return SAME_UNKNOWN;
    target[n] = '\0';
    return target[length] == '\0' || strcmp(target + length, " (deleted)") == 0 ? SAME_NO : SAME_UNKNOWN;
}

/* Whether the daemon has the file open that has the name now. Only its own user and root may look. */
static enum same is_same(const struct doctor *doctor, const char *pack, const struct stat *now)
{
    char path[PATH_MAX], link[PATH_MAX];
    enum same found = SAME_UNKNOWN;
    snprintf(path, sizeof path, "%s/proc/%llu/fd", doctor->root, (unsigned long long)doctor->daemon.status.pid);
    DIR *dir = doctor_sees_daemon(doctor) ? opendir(path) : NULL;
    // cppcheck-suppress readdirCalled ; the directory is this reader's alone
    for (const struct dirent *entry; dir != NULL && found != SAME_YES && (entry = readdir(dir)) != NULL;) {
        if (snprintf(link, sizeof link, "%s/%s", path, entry->d_name) >= (int)sizeof link)
            continue;
        enum same here = compare(link, pack, now);
        found = here != SAME_UNKNOWN ? here : found;
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

static void say_file(struct doctor *doctor, const struct doctor_pack *pack, const char *path, const struct stat *st)
{
    enum same same = is_same(doctor, path, st);
    if (same == SAME_NO) {
        doctor_find(&doctor->report, "packs.file", DOCTOR_WARNING,
                    "%s: another file has the name %s since lensd opened it; lensd goes on with the one it has.",
                    pack->name, path);
        doctor_advise(&doctor->report, "lensctl swap --name %s %s takes the new one.", pack->name, path);
    } else if ((uint64_t)st->st_size != pack->file_bytes) {
        doctor_find(&doctor->report, "packs.file", DOCTOR_PROBLEM,
                    "%s: %s has %llu bytes; it had %llu when lensd opened it.", pack->name, path,
                    (unsigned long long)st->st_size, (unsigned long long)pack->file_bytes);
        doctor_advise(&doctor->report,
                      "It was changed where it lies: write the pack anew under another name, verify and "
                      "swap it in.");
    } else if (same == SAME_YES) {
        doctor_find(&doctor->report, "packs.file", DOCTOR_OK, "%s: its file is the one that lensd opened.", pack->name);
    } else {
        doctor_find(&doctor->report, "packs.file", DOCTOR_OK, "%s: its file is there, with as many bytes as it had.",
                    pack->name);
    }
}

/* Lenses that aren't in slots are read from the file while rows wait. */
static bool reads_while_serving(const struct doctor_pack *pack)
{
    return pack->slots < pack->lenses;
}

static const char *network_name(const char *path)
{
    static const struct {
        unsigned long type;
        const char *name;
    } types[] = {{0x6969, "NFS"},    {0xff534d42, "CIFS"}, {0xfe534d42, "SMB"},    {0x65735546, "FUSE"},
                 {0x01021997, "9p"}, {0x00c36400, "Ceph"}, {0x0bd00bd0, "Lustre"}, {0x47504653, "GPFS"}};
    struct statfs fs;
    if (statfs(path, &fs) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (((unsigned long)fs.f_type & 0xffffffffu) == types[i].type)
            return types[i].name;
    }
    return NULL;
}

/* Disks of a hypervisor's call themselves rotating whatever they are. */
static bool is_virtual(const struct doctor *doctor, const struct stat *st)
{
    char path[PATH_MAX], device[PATH_MAX];
    snprintf(path, sizeof path, "%s/sys/dev/block/%u:%u", doctor->root, major(st->st_dev), minor(st->st_dev));
    ssize_t n = readlink(path, device, sizeof device - 1);
    if (n <= 0)
        return false;
    device[n] = '\0';
    return strstr(device, "/virtio") != NULL || strstr(device, "/vbd-") != NULL || strstr(device, "/virtual/") != NULL;
}

static bool is_rotating(const struct doctor *doctor, const struct stat *st)
{
    static const char *const places[] = {"queue/rotational", "../queue/rotational"}; /* of a disk, of a partition */
    uint64_t rotates;
    char path[128];
    for (size_t i = 0; i < 2 && !is_virtual(doctor, st); i++) {
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s", major(st->st_dev), minor(st->st_dev), places[i]);
        if (doctor_read_number(doctor->root, path, &rotates))
            return rotates != 0;
    }
    return false;
}

static void say_storage(struct doctor *doctor, const struct doctor_pack *pack, const char *path, const struct stat *st)
{
    char whole[PATH_MAX];
    int n = snprintf(whole, sizeof whole, "%s%s", doctor->root, path);
    const char *network = n < (int)sizeof whole ? network_name(whole) : NULL;
    const char *kind = network != NULL ? network : is_rotating(doctor, st) ? "a rotating disk" : NULL;
    if (kind == NULL) {
        doctor_find(&doctor->report, "packs.storage", DOCTOR_OK, "%s: its file lies on a local disk.", pack->name);
        return;
    }
    bool matters = reads_while_serving(pack);
    doctor_find(&doctor->report, "packs.storage", matters ? DOCTOR_WARNING : DOCTOR_NOTE, "%s: its file lies on %s%s.",
                pack->name, kind,
                matters ? ", and rows wait for what isn't in a slot" : ", which costs time at start alone");
    if (matters)
        doctor_advise(&doctor->report, "Copy it to a local SSD, or keep all lenses in memory (pool.slots = 0, or "
                                       "cache.host_memory).");
}

/* The file as the daemon sees it, which may live in a container, or with a /tmp of its own. 0; -ENOENT when it isn't
 * there; -EACCES when this user can't know. */
static int look(const struct doctor *doctor, const char *path, struct stat *out)
{
    char root[64], whole[PATH_MAX];
    snprintf(root, sizeof root, "/proc/%llu/root", (unsigned long long)doctor->daemon.status.pid);
    bool inside = doctor_sees_daemon(doctor) && doctor_exists(doctor->root, root);
    int n = snprintf(whole, sizeof whole, "%s%s", inside ? root : "", path);
    if (n < (int)sizeof whole && doctor_stat(doctor->root, whole, out))
        return 0;
    return inside && errno == ENOENT ? -ENOENT : -EACCES;
}

static void check_pack(struct doctor *doctor, const struct doctor_pack *pack)
{
    struct stat st;
    struct doctor_who who;
    char process[32], blocked[PATH_MAX], path[PATH_MAX];
    if (!find_path(doctor, pack->path, path))
        return;
    int r = look(doctor, path, &st);
    if (r == -EACCES)
        return;
    if (r != 0) {
        doctor_find(&doctor->report, "packs.file", DOCTOR_WARNING,
                    "%s: %s isn't there any more; lensd goes on with the file it has open, and can't load it again.",
                    pack->name, path);
        doctor_advise(&doctor->report, "Put it back before lensd is restarted.");
        return;
    }
    say_file(doctor, pack, path, &st);
    say_storage(doctor, pack, path, &st);
    if (!doctor_sees_daemon(doctor) || !doctor_who_is(doctor->root, doctor_process(doctor, process), &who) ||
        doctor_reach(doctor->root, path, &who, 4, blocked, sizeof blocked) != -EACCES)
        return;
    doctor_find(&doctor->report, "packs.readable", DOCTOR_WARNING,
                "%s: lensd (uid %u) could not open its file now: %s is closed to it.", pack->name, (unsigned)who.uid,
                blocked);
    doctor_advise(&doctor->report, "Give it read rights (folders on the way need x) before lensd is restarted.");
}

/* Folders that `lensctl load` may open packs below. */
static void check_directories(struct doctor *doctor)
{
    const char *list = doctor_setting(&doctor->daemon, "packs.directories");
    char process[32], folder[PATH_MAX], blocked[PATH_MAX];
    struct doctor_who who;
    if (list == NULL || !doctor_sees_daemon(doctor) ||
        !doctor_who_is(doctor->root, doctor_process(doctor, process), &who))
        return;
    for (const char *at = list; *at != '\0';) {
        size_t n = strcspn(at, ":");
        snprintf(folder, sizeof folder, "%.*s", (int)n, at);
        at += n + (at[n] == ':');
        int r = folder[0] == '/' ? doctor_reach(doctor->root, folder, &who, 5, blocked, sizeof blocked) : 0;
        if (r == 0)
            continue;
        doctor_find(&doctor->report, "packs.directories", DOCTOR_WARNING,
                    "packs.directories names %s, and %s: no pack can be loaded from there.", folder,
                    r == -ENOENT ? "there is no such folder" : "lensd may not read it");
        doctor_advise(&doctor->report, "%s %s, or change packs.directories.",
                      r == -ENOENT ? "Make the folder" : "Open to lensd's user", blocked);
    }
}

static void check_verify(struct doctor *doctor)
{
    const char *verify = doctor_setting(&doctor->daemon, "packs.verify");
    if (verify == NULL)
        return;
    if (strcmp(verify, "on") == 0) {
        doctor_find(&doctor->report, "packs.verify", DOCTOR_OK, "Checksums are verified before a pack is served.");
        return;
    }
    doctor_find(&doctor->report, "packs.verify", DOCTOR_NOTE,
                "Packs are served without a look at their checksums (packs.verify = off).");
    doctor_advise(&doctor->report, "lensctl pack verify FILE checks one; a flipped bit in a weight changes scores "
                                   "silently.");
}

void doctor_check_packs(struct doctor *doctor)
{
    const struct doctor_daemon *daemon = &doctor->daemon;
    if (!daemon->running)
        return;
    if (daemon->packs_total == 0) {
        doctor_find(&doctor->report, "packs.loaded", DOCTOR_WARNING, "No pack is loaded: there is nothing to score.");
        doctor_advise(&doctor->report, "lensctl load FILE, or lensd --pack FILE.");
    }
    for (uint32_t i = 0; i < daemon->n_packs; i++)
        check_pack(doctor, &daemon->packs[i]);
    if (daemon->packs_total > daemon->n_packs)
        doctor_find(&doctor->report, "packs.loaded", DOCTOR_NOTE, "%u packs are loaded; the first %u were looked at.",
                    daemon->packs_total, daemon->n_packs);
    check_directories(doctor);
    check_verify(doctor);
}
