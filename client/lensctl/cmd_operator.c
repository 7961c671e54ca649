/* lensctl load | swap | preload | pin | unpin | unload | shutdown: what operators may ask of a daemon. */
#include "client/lensctl/commands.h"
#include "client/lensctl/daemon_link.h"
#include "client/lensctl/load_watch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static int print_done(const struct ctl *ctl, const struct lens_done *done)
{
    char text[512];
    if (ctl->json) {
        json_t *object = ctl_json_new();
        json_object_set_new(object, "done", ctl_json_text(done->text));
        json_object_set_new(object, "generation", json_integer(done->generation));
        return ctl_json_print(&ctl->out, object, false);
    }
    ctl_print_line(&ctl->out, 0, "%s", ctl_printable(done->text.data, done->text.length, text, sizeof text));
    return CTL_OK;
}

/* Sends the request and prints the answer, with a progress bar for what may take long. */
static int finish(const struct ctl *ctl, struct lens_client *client, struct lens_msg *msg)
{
    bool is_long = msg->type == LENS_MSG_LOAD || msg->type == LENS_MSG_SWAP || msg->type == LENS_MSG_PRELOAD;
    struct ctl_load_watch *watch = is_long ? ctl_load_watch_begin(ctl) : NULL;
    int r = ctl_call(client, msg, LENS_MSG_DONE);
    ctl_load_watch_end(watch);
    return r == CTL_OK ? print_done(ctl, &msg->u.done) : r;
}

static int ask(const struct ctl *ctl, enum lens_msg_type type, const struct lens_load *load)
{
    struct lens_client *client;
    struct lens_msg msg;
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK)
        return r;
    ctl_request(&msg, type);
    if (load != NULL)
        msg.u.load = *load;
    r = finish(ctl, client, &msg);
    lens_client_close(client);
    return r;
}

/* The daemon's working directory is not ours, so it gets the file's whole path. */
static int ask_with_file(const struct ctl *ctl, enum lens_msg_type type)
{
    const char *path = ctl_argument(ctl, 0);
    const char *name = ctl_value(ctl, "--name")->text;
    char *whole = realpath(path, NULL);
    if (whole == NULL)
        return ctl_fail(CTL_FAILED, "%s: %s; %s expects a pack file", path, strerror(errno), ctl->command->name);
    struct lens_load load = {.pack = lens_text_of(whole), .name = lens_text_of(name != NULL ? name : "")};
    int r = ask(ctl, type, &load);
    free(whole);
    return r;
}

int ctl_run_load(struct ctl *ctl)
{
    return ask_with_file(ctl, LENS_MSG_LOAD);
}

int ctl_run_swap(struct ctl *ctl)
{
    return ask_with_file(ctl, LENS_MSG_SWAP);
}

int ctl_run_preload(struct ctl *ctl)
{
    struct lens_client *client;
    struct lens_msg msg;
    const char *pack = ctl_argument(ctl, 0);
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK)
        return r;
    ctl_request(&msg, LENS_MSG_PRELOAD);
    msg.u.pack_ref.pack = lens_text_of(pack != NULL ? pack : "");
    r = finish(ctl, client, &msg);
    lens_client_close(client);
    return r;
}

static int ask_to_pin(const struct ctl *ctl, enum lens_msg_type type)
{
    struct lens_client *client;
    struct lens_msg msg;
    const char *pack = ctl_value(ctl, "--pack")->text;
    int r = ctl_connect(ctl, &client);
    if (r != CTL_OK)
        return r;
    ctl_request(&msg, type);
    msg.u.pin.pack = lens_text_of(pack != NULL ? pack : "");
    msg.u.pin.concept = lens_text_of(ctl_argument(ctl, 0));
    msg.u.pin.alone = ctl_value(ctl, "--alone")->set;
    r = finish(ctl, client, &msg);
    lens_client_close(client);
    return r;
}

int ctl_run_pin(struct ctl *ctl)
{
    return ask_to_pin(ctl, LENS_MSG_PIN);
}

int ctl_run_unpin(struct ctl *ctl)
{
    return ask_to_pin(ctl, LENS_MSG_UNPIN);
}

int ctl_run_unload(struct ctl *ctl)
{
    struct lens_load load = {.pack = lens_text_of(ctl_argument(ctl, 0)), .name = lens_text_of("")};
    return ask(ctl, LENS_MSG_UNLOAD, &load);
}

int ctl_run_shutdown(struct ctl *ctl)
{
    return ask(ctl, LENS_MSG_SHUTDOWN, NULL);
}
