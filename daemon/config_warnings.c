/* See config_warnings.h. */
#include "daemon/config_warnings.h"

#include "daemon/content.h"
#include "proto/pack.h"
#include "proto/pack_utf8.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Who hears of it. */
struct teller {
    void (*tell)(void *arg, const char *sentence);
    void *arg;
};

static void warn(const struct teller *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void warn(const struct teller *to, const char *format, ...)
{
    char sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    pack_utf8_make_name(sentence, strlen(sentence)); /* paths and names may hold anything */
    to->tell(to->arg, sentence);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static void look_at_file(const struct teller *to, const char *path)
{
    struct stat st;
    if (path != NULL && stat(path, &st) == 0 && (st.st_mode & S_IWOTH) != 0)
        warn(to, "%s may be written by everyone, who may so have any pack served: chmod o-w", path);
}

static void look_at_directory(const struct teller *to, const char *setting, const char *path, const char *without)
{
    struct stat st;
    if (stat(path, &st) != 0)
        warn(to, "%s: %s: %s; %s", setting, path, strerror(errno), without);
    else if (!S_ISDIR(st.st_mode))
        warn(to, "%s: %s isn't a directory; %s", setting, path, without);
    else if (access(path, R_OK | X_OK) != 0)
        warn(to, "%s: %s can't be read: %s; %s", setting, path, strerror(errno), without);
}

static void look_at_directories(const struct teller *to, const char *list)
{
    while (*list != '\0') {
        char path[PATH_MAX];
        size_t length = strcspn(list, ":");
        if (length > 0 && length < sizeof path) {
            memcpy(path, list, length);
            path[length] = '\0';
            look_at_directory(to, "packs.directories", path, "lensctl load and swap open nothing there");
        }
        list += length;
        list += *list == ':';
    }
}

/* The socket's directory must be there when the daemon starts; a service manager may make it just then. */
static void look_at_socket(const struct teller *to, const char *socket)
{
    char path[PATH_MAX];
    const char *slash = strrchr(socket, '/');
    if (slash == NULL || slash == socket || (size_t)(slash - socket) >= sizeof path)
        return;
    memcpy(path, socket, (size_t)(slash - socket));
    path[slash - socket] = '\0';
    look_at_directory(to, "ipc.socket", path, "a start needs it");
}

static void look_at_library(const struct teller *to, const char *library)
{
    if (strchr(library, '/') != NULL && access(library, R_OK) != 0)
        warn(to, "engine.cuda_library: %s: %s; without it lenses are scored on the CPU", library, strerror(errno));
}

static void look_at_pack(const struct teller *to, const char *path)
{
    struct lens_pack *pack = NULL;
    struct lens_error err = {0};
    struct stat st;
    if (stat(path, &st) != 0)
        warn(to, "pack %s: %s; a start would fail", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        warn(to, "pack %s isn't a file; a start would fail", path);
    else if (lens_pack_open(path, &pack, &err) != 0)
        warn(to, "%s; a start would fail", err.text);
    lens_pack_close(pack);
}

static void look_at_packs(const struct teller *to, const struct lensd_arguments *arguments, const char *list)
{
    struct lens_text item;
    for (uint32_t i = 0; i < arguments->n_packs; i++)
        look_at_pack(to, arguments->packs[i]);
    while (arguments->n_packs == 0 && lensd_list_next(&list, &item)) {
        char path[PATH_MAX];
        if (item.length >= sizeof path)
            continue;
        memcpy(path, item.data, item.length);
        path[item.length] = '\0';
        look_at_pack(to, path);
    }
}

/* ---- the machine ------------------------------------------------------------------------------------------------ */

static void look_at_threads(const struct teller *to, uint32_t threads)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && threads > (uint32_t)CPU_COUNT(&set))
        warn(to, "engine.threads: %u threads on %d processors take turns, which makes rows slower", threads,
             CPU_COUNT(&set));
}

static void look_at_memory(const struct teller *to, const char *setting, uint64_t bytes)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0 && bytes > (uint64_t)pages * (uint64_t)page)
        warn(to, "%s: this machine has %llu MiB of memory, fewer than the setting allows", setting,
             (unsigned long long)((uint64_t)pages * (uint64_t)page >> 20));
}

void lensd_config_warnings(const struct lensd_arguments *arguments, const struct lensd_settings *settings, bool packs,
                           void (*tell)(void *arg, const char *sentence), void *arg)
{
    const struct teller to = {tell, arg};
    look_at_file(&to, arguments->config);
    look_at_directories(&to, settings->packs.directories);
    look_at_socket(&to, settings->ipc.socket);
    look_at_library(&to, settings->engine.cuda_library);
    look_at_threads(&to, settings->engine.threads);
    look_at_memory(&to, "cache.host_memory", settings->cache.host_memory);
    look_at_memory(&to, "ipc.total_memory", settings->ipc.total_memory);
    if (settings->cascade.base_layers == 0 && settings->content.pin[0] == '\0')
        warn(&to, "cascade.base_layers and cascade.pin are empty: a session that chooses none itself scores nothing");
    if (packs)
        look_at_packs(&to, arguments, settings->packs.serve);
}
