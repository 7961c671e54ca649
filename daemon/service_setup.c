/* See service_setup.h. */
#include "daemon/service_setup.h"

#include "daemon/content.h"
#include "daemon/control.h"
#include "daemon/fault_script.h"
#include "daemon/pack_path.h"
#include "daemon/pack_progress.h"
#include "daemon/sys.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_DEFAULT_MAX 8u

static uint32_t default_threads(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    uint32_t n = (uint32_t)CPU_COUNT(&set);
    if (n > THREADS_DEFAULT_MAX)
        n = THREADS_DEFAULT_MAX;
    return n > 0 ? n : 1;
}

int lensd_service_open_cpu(const struct lensd_service *service, struct lens_backend **out, struct lens_error *err)
{
    static const char *const variants[] = {"auto", "scalar", "avx2", "avx512"};
    const struct lensd_settings *settings = service->settings;
    struct lens_cpu_options options = {
        .threads = settings->engine.threads > 0 ? settings->engine.threads : default_threads(),
        .variant = variants[settings->engine.cpu_variant],
    };
    return lens_cpu_open(&options, out, err);
}

static int open_cuda(const struct lensd_service *service, struct lens_backend **out, struct lens_error *err)
{
    const char *library = service->settings->engine.cuda_library;
    const struct lens_cuda_options options = {
        .library = library[0] != '\0' ? library : NULL,
        .device = service->settings->engine.device,
    };
    return lens_cuda_load(&options, out, err);
}

static void give_reason(struct lensd_service *service, const char *cpu_because)
{
    const struct lensd_settings *settings = service->settings;
    if (cpu_because == NULL)
        snprintf(service->reason, sizeof service->reason, "%s",
                 service->arguments->backend == LENSD_BACKEND_CUDA ? "--backend cuda" : "--backend auto found a card");
    else
        snprintf(service->reason, sizeof service->reason, "%s; %s", cpu_because,
                 settings->engine.cpu_variant == LENSD_CPU_AUTO ? "the best variant this processor runs"
                                                                : "variant by engine.cpu_variant");
}

/* A card, or the CPU: as asked for, or the CPU for want of a card. */
static int choose_backend(struct lensd_service *service, struct lens_error *err)
{
    enum lensd_backend_choice choice = service->arguments->backend;
    struct lens_error no_card = {0};
    const char *because = "--backend cpu";
    if (choice == LENSD_BACKEND_AUTO && service->arguments->fault_script != NULL) {
        because = "--fault-script takes the CPU";
    } else if (choice != LENSD_BACKEND_CPU) {
        int r = open_cuda(service, &service->backend, &no_card);
        if (r != 0 && choice == LENSD_BACKEND_CUDA)
            return lens_error_set(err, r, "--backend cuda: %s", no_card.text);
        because = r != 0 ? no_card.text : NULL;
    }
    int r = because != NULL ? lensd_service_open_cpu(service, &service->backend, err) : 0;
    if (r == 0)
        give_reason(service, because);
    return r;
}

int lensd_service_open_backend(struct lensd_service *service, struct lens_error *err)
{
    lensd_supervisor_extend(&service->supervisor, "Opening the backend");
    int r = choose_backend(service, err);
    if (r == 0 && service->arguments->fault_script != NULL)
        r = lensd_fault_script_wrap(service->arguments->fault_script, false, &service->backend, err);
    if (r != 0)
        return r;
    service->backend->ops->describe(service->backend, &service->device);
    bool card = service->backend->ops->memory_free != NULL;
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_BACKEND, NULL, "backend %s (%s, %u %s) on %s: %s",
                    service->device.backend, service->device.variant, service->device.threads,
                    card ? "multiprocessors" : "threads", service->device.name, service->reason);
    return 0;
}

static int open_at(struct lensd_service *service, const char *path, struct lens_error *err)
{
    struct lensd_pool_config config;
    struct lensd_served_pack *served;
    struct lensd_pack_progress progress;
    uint64_t before = lensd_now_ns();
    lensd_service_pool_config(service, &config);
    lensd_pack_progress_begin(&progress, &service->log, path);
    progress.supervisor = &service->supervisor;
    int r = lensd_pack_path_add_directory(service->pack_directories, sizeof service->pack_directories, path, err);
    if (r != 0)
        return r;
    lensd_log(&service->log, LENSD_LOG_INFO, "pack %s: opening", path);
    lensd_pack_progress_tell_manager(&progress);
    lensd_telemetry_opening(&service->telemetry, &progress);
    r = lensd_served_pack_open(path, NULL, service->backend, &config, service->last_generation + 1,
                               service->settings->packs.verify, lensd_pack_progress_report, &progress, &served, err);
    lensd_telemetry_opening(&service->telemetry, NULL);
    if (r != 0)
        return lens_error_prefix(err, "pack %s", path);
    if (lensd_service_find_pack(service, lens_text_of(served->name)) != NULL) {
        r = lens_error_set(err, -EEXIST, "two packs to serve are named %s: rename one", served->name);
        lensd_served_pack_close(served);
        return r;
    }
    service->last_generation++;
    service->packs[service->n_packs++] = served;
    lensd_log_event(&service->log, LENSD_LOG_INFO, LENSD_LOG_PACK_LOADED,
                    &(struct lensd_log_fields){.pack = served->name, .generation = served->generation},
                    "pack %s: %u lenses of %s, %u in slots, opened in %.1f s", served->name, served->pack->lenses,
                    served->pack->meta.model_id, lensd_pool_resident(served->pool),
                    (double)(lensd_now_ns() - before) / 1e9);
    lensd_control_check_content(service, served);
    return 0;
}

static int open_pack(struct lensd_service *service, const char *path, struct lens_error *err)
{
    char absolute[PATH_MAX];
    int r = lensd_pack_path_absolute(path, absolute, err);
    return r == 0 ? open_at(service, absolute, err) : r;
}

static int open_listed(struct lensd_service *service, const char *list, struct lens_error *err)
{
    struct lens_text item;
    int r = 0;
    while (r == 0 && lensd_list_next(&list, &item)) {
        char path[LENSD_CONTENT_PATTERN_MAX + 1]; /* lensd_list_check holds items to that */
        memcpy(path, item.data, item.length);
        path[item.length] = '\0';
        r = open_pack(service, path, err);
    }
    return r;
}

/* Where a service manager has the daemon keep what it owns: packs there may be loaded, too. */
static int add_state_directory(struct lensd_service *service, struct lens_error *err)
{
    const char *list = getenv("STATE_DIRECTORY");
    if (list == NULL)
        return 0;
    return lensd_pack_path_add_list(service->pack_directories, sizeof service->pack_directories, list, err);
}

int lensd_service_open_packs(struct lensd_service *service, struct lens_error *err)
{
    const struct lensd_arguments *arguments = service->arguments;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < arguments->n_packs; i++)
        r = open_pack(service, arguments->packs[i], err);
    if (r == 0 && arguments->n_packs == 0)
        r = open_listed(service, service->settings->packs.serve, err);
    return r == 0 ? add_state_directory(service, err) : r;
}
