/* See doctor_ask.h. */
#include "client/lensctl/doctor_ask.h"

#include "client/lensctl/output.h"
#include "client/liblens/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void copy_text(struct lens_text text, char *out, size_t size)
{
    ctl_printable(text.data != NULL ? text.data : "", text.length, out, size);
}

static void take_status(const struct lens_status *status, struct doctor_daemon *out)
{
    out->status = *status;
    copy_text(status->version, out->version, sizeof out->version);
    copy_text(status->backend, out->backend, sizeof out->backend);
    copy_text(status->variant, out->variant, sizeof out->variant);
    copy_text(status->reason, out->reason, sizeof out->reason);
    copy_text(status->degraded, out->degraded, sizeof out->degraded);
    copy_text(status->memory, out->memory, sizeof out->memory);
    copy_text(status->metrics, out->metrics, sizeof out->metrics);
    copy_text(status->config, out->config, sizeof out->config);
}

static void take_packs(const struct lens_pack_page *page, struct doctor_daemon *out)
{
    out->packs_total = page->total;
    for (uint32_t i = 0; i < page->count && out->n_packs < DOCTOR_PACKS; i++) {
        const struct lens_pack_row *row = &page->rows[i];
        struct doctor_pack *pack = &out->packs[out->n_packs++];
        copy_text(row->name, pack->name, sizeof pack->name);
        copy_text(row->path, pack->path, sizeof pack->path);
        pack->file_bytes = row->file_bytes;
        pack->lens_bytes = row->lens_bytes;
        pack->slot_bytes = row->slot_bytes;
        pack->lenses = row->lenses;
        pack->slots = row->slots;
    }
}

static int take_settings(const struct lens_setting_page *page, struct doctor_daemon *out)
{
    for (uint32_t i = 0; i < page->count && out->n_settings < DOCTOR_SETTINGS; i++) {
        struct doctor_setting *setting = &out->settings[out->n_settings];
        copy_text(page->rows[i].name, setting->name, sizeof setting->name);
        size_t size = (size_t)page->rows[i].value.length * 4 + 1; /* each byte may be shown as four */
        setting->value = malloc(size);
        if (setting->value == NULL)
            return -ENOMEM;
        copy_text(page->rows[i].value, setting->value, size);
        out->n_settings++;
    }
    return 0;
}

/* One request, its answer of type `expected` in *msg. */
static int ask(struct lens_client *client, struct lens_msg *msg, enum lens_msg_type type, uint32_t first,
               enum lens_msg_type expected, struct lens_client_error *err)
{
    memset(msg, 0, sizeof *msg);
    msg->type = type;
    if (type == LENS_MSG_PACKS || type == LENS_MSG_CONFIG)
        msg->u.page.first = first;
    int r = lens_control_call(client, msg, msg, LENS_CONTROL_TIMEOUT_MS, err);
    return r == 0 && msg->type != expected ? -EPROTO : r;
}

static int ask_settings(struct lens_client *client, struct lens_msg *msg, struct doctor_daemon *out,
                        struct lens_client_error *err)
{
    for (uint32_t first = 0;;) {
        int r = ask(client, msg, LENS_MSG_CONFIG, first, LENS_MSG_SETTING_PAGE, err);
        if (r == 0)
            r = take_settings(&msg->u.setting_page, out);
        first += r == 0 ? msg->u.setting_page.count : 0;
        if (r != 0 || msg->u.setting_page.count == 0 || first >= msg->u.setting_page.total)
            return r;
    }
}

static int ask_all(struct lens_client *client, struct lens_msg *msg, struct doctor_daemon *out,
                   struct lens_client_error *err)
{
    struct lens_hello_ok hello;
    lens_control_daemon(client, &hello);
    out->is_operator = hello.role == LENS_PEER_OPERATOR;
    int r = ask(client, msg, LENS_MSG_STATUS, 0, LENS_MSG_STATUS_IS, err);
    if (r != 0)
        return r;
    take_status(&msg->u.status_is, out);
    r = ask(client, msg, LENS_MSG_PACKS, 0, LENS_MSG_PACK_PAGE, err);
    if (r != 0)
        return r;
    take_packs(&msg->u.pack_page, out);
    /* Somebody who isn't an operator is refused the statistics of all. */
    r = ask(client, msg, LENS_MSG_STATISTICS, 0, LENS_MSG_STATISTICS_ARE, err);
    if (r == 0)
        out->statistics = msg->u.statistics_are.all;
    else if (r != -EREMOTEIO)
        return r;
    return ask_settings(client, msg, out, err);
}

int doctor_ask(const char *socket_path, struct doctor_daemon *out)
{
    struct lens_client *client;
    struct lens_client_error err = {0};
    struct lens_msg *msg = malloc(sizeof *msg);
    if (msg == NULL)
        return -ENOMEM;
    if (socket_path != NULL)
        copy_text((struct lens_text){socket_path, (uint32_t)strlen(socket_path)}, out->socket, sizeof out->socket);
    int r = lens_client_open(socket_path, &client, &err);
    if (r == 0) {
        r = ask_all(client, msg, out, &err);
        lens_client_close(client);
    }
    free(msg);
    if (r == -ENOMEM)
        return r;
    out->running = r == 0;
    out->code = r;
    copy_text((struct lens_text){err.text, (uint32_t)strlen(err.text)}, out->sentence, sizeof out->sentence);
    return 0;
}
