/* See load_watch.h. */
#include "client/lensctl/load_watch.h"

#include "client/lensctl/daemon_link.h"
#include "client/lensctl/progress.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_NS 200000000L

struct ctl_load_watch {
    const char *socket_path;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over; /* under lock */
    struct ctl_progress progress;
};

bool ctl_load_numbers(struct lens_text loading, uint64_t *done, uint64_t *total)
{
    char text[256];
    if (loading.length >= sizeof text)
        return false;
    memcpy(text, loading.data, loading.length);
    text[loading.length] = '\0';
    char *of = NULL; /* the last: a pack's name may hold anything */
    for (char *at = strstr(text, " of "); at != NULL; at = strstr(at + 1, " of "))
        of = at;
    if (of == NULL)
        return false;
    char *number = of;
    while (number > text && number[-1] >= '0' && number[-1] <= '9')
        number--;
    *done = strtoull(number, NULL, 10);
    *total = strtoull(of + 4, NULL, 10);
    return number<of && * total> 0;
}

static void look(struct ctl_load_watch *watch, struct lens_client *client, struct lens_msg *msg)
{
    uint64_t done, total;
    ctl_request(msg, LENS_MSG_STATUS);
    if (lens_control_call(client, msg, msg, LENS_CONTROL_TIMEOUT_MS, NULL) != 0 || msg->type != LENS_MSG_STATUS_IS)
        return;
    if (ctl_load_numbers(msg->u.status_is.loading, &done, &total))
        ctl_progress_update(&watch->progress, "loading", done, total);
}

/* False when the watch is over. */
static bool pause_between(struct ctl_load_watch *watch)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_NS;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&watch->lock);
    while (!watch->over && pthread_cond_timedwait(&watch->changed, &watch->lock, &until) == 0)
        continue;
    bool over = watch->over;
    pthread_mutex_unlock(&watch->lock);
    return !over;
}

static void *run(void *arg)
{
    struct ctl_load_watch *watch = arg;
    struct lens_client *client;
    struct lens_msg *msg = malloc(sizeof *msg);
    if (msg == NULL || lens_client_open(watch->socket_path, &client, NULL) != 0) {
        free(msg);
        return NULL;
    }
    while (pause_between(watch))
        look(watch, client, msg);
    lens_client_close(client);
    free(msg);
    return NULL;
}

struct ctl_load_watch *ctl_load_watch_begin(const struct ctl *ctl)
{
    struct ctl_load_watch *watch = calloc(1, sizeof *watch);
    if (watch == NULL)
        return NULL;
    ctl_progress_begin(&watch->progress);
    watch->socket_path = ctl->socket_path;
    pthread_mutex_init(&watch->lock, NULL);
    pthread_cond_init(&watch->changed, NULL);
    if (watch->progress.terminal && pthread_create(&watch->thread, NULL, run, watch) == 0)
        return watch;
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
    return NULL;
}

void ctl_load_watch_end(struct ctl_load_watch *watch)
{
    if (watch == NULL)
        return;
    pthread_mutex_lock(&watch->lock);
    watch->over = true;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    ctl_progress_end(&watch->progress);
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->lock);
    free(watch);
}
