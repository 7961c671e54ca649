/* Words that only the running daemon knows; see complete.h. Whatever fails, there is nothing to propose. */
#include "client/lensctl/complete.h"
#include "client/liblens/control.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* A person waits with a finger on the key: after a second what has been found so far has to do. */
static void give_up(int number)
{
    (void)number;
    _exit(0);
}

static void begin_deadline(void)
{
    const struct sigaction action = {.sa_handler = give_up};
    const struct itimerval second = {.it_value = {.tv_sec = 1}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &second, NULL);
}

static bool ask(struct lens_client *client, struct lens_msg *msg, enum lens_msg_type expected)
{
    return lens_control_call(client, msg, msg, LENS_CONTROL_TIMEOUT_MS, NULL) == 0 && msg->type == expected;
}

static void request(struct lens_msg *msg, enum lens_msg_type type)
{
    memset(msg, 0, sizeof *msg);
    msg->type = type;
}

static void propose_text(const struct ctl_completion *c, struct lens_text word, struct lens_text what)
{
    char text[512], shown[512];
    if (word.length >= sizeof text)
        return;
    memcpy(text, word.data, word.length);
    text[word.length] = '\0';
    ctl_propose(c, text, ctl_printable(what.data, what.length, shown, sizeof shown));
}

static void propose_packs(const struct ctl_completion *c, struct lens_client *client, struct lens_msg *msg)
{
    uint32_t first = 0;
    do {
        request(msg, LENS_MSG_PACKS);
        msg->u.page.first = first;
        if (!ask(client, msg, LENS_MSG_PACK_PAGE))
            return;
        const struct lens_pack_page *page = &msg->u.pack_page;
        for (uint32_t i = 0; i < page->count; i++)
            propose_text(c, page->rows[i].name, page->rows[i].model_id);
        first += page->count;
    } while (msg->u.pack_page.count > 0 && first < msg->u.pack_page.total);
}

static void propose_sessions(const struct ctl_completion *c, struct lens_client *client, struct lens_msg *msg)
{
    uint32_t first = 0;
    do {
        request(msg, LENS_MSG_SESSIONS);
        msg->u.page.first = first;
        if (!ask(client, msg, LENS_MSG_SESSION_PAGE))
            return;
        const struct lens_session_page *page = &msg->u.session_page;
        for (uint32_t i = 0; i < page->count; i++) {
            char number[16];
            snprintf(number, sizeof number, "%u", page->rows[i].session);
            propose_text(c, lens_text_of(number), page->rows[i].label);
        }
        first += page->count;
    } while (msg->u.session_page.count > 0 && first < msg->u.session_page.total);
}

static void propose_settings(const struct ctl_completion *c, struct lens_client *client, struct lens_msg *msg)
{
    uint32_t first = 0;
    do {
        request(msg, LENS_MSG_CONFIG);
        msg->u.page.first = first;
        if (!ask(client, msg, LENS_MSG_SETTING_PAGE))
            return;
        const struct lens_setting_page *page = &msg->u.setting_page;
        for (uint32_t i = 0; i < page->count; i++)
            propose_text(c, page->rows[i].name, page->rows[i].value);
        first += page->count;
    } while (msg->u.setting_page.count > 0 && first < msg->u.setting_page.total);
}

/* The glob of everything that begins with `typed`, whose own pattern characters stand for themselves. */
static void prefix_glob(const char *typed, char *out, size_t size)
{
    size_t used = 0;
    for (; *typed != '\0' && used + 4 < size; typed++) {
        if (strchr("*?[]\\", *typed) != NULL)
            out[used++] = '\\';
        out[used++] = *typed;
    }
    out[used++] = '*';
    out[used] = '\0';
}

static void propose_concepts(const struct ctl_completion *c, struct lens_client *client, struct lens_msg *msg)
{
    char glob[LENS_PATTERN_MAX];
    uint32_t first = 0, next = 0;
    prefix_glob(c->typed, glob, sizeof glob);
    do {
        first = next;
        request(msg, LENS_MSG_CONCEPTS);
        msg->u.concepts.pack = lens_text_of(c->pack != NULL ? c->pack : "");
        msg->u.concepts.glob = lens_text_of(glob);
        msg->u.concepts.first = first;
        if (!ask(client, msg, LENS_MSG_CONCEPT_PAGE))
            return;
        const struct lens_concept_page *page = &msg->u.concept_page;
        for (uint32_t i = 0; i < page->count; i++) {
            char key[512];
            const struct lens_concept_row *row = &page->rows[i];
            snprintf(key, sizeof key, "%.*s:%u", (int)row->name.length, row->name.data, row->layer);
            propose_text(c, lens_text_of(key), lens_text_of(""));
        }
        next = page->next;
    } while (msg->u.concept_page.count > 0 && next > first);
}

void ctl_propose_from_daemon(const struct ctl_completion *c, enum ctl_words words)
{
    struct lens_client *client;
    struct lens_msg *msg = malloc(sizeof *msg);
    begin_deadline();
    if (msg == NULL || lens_client_open(c->socket_path, &client, NULL) != 0) {
        free(msg);
        return;
    }
    if (words == CTL_WORDS_PACK)
        propose_packs(c, client, msg);
    else if (words == CTL_WORDS_SESSION)
        propose_sessions(c, client, msg);
    else if (words == CTL_WORDS_SETTING)
        propose_settings(c, client, msg);
    else
        propose_concepts(c, client, msg);
    lens_client_close(client);
    free(msg);
}
