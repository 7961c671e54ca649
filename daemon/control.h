/* The answers to control requests. Each handler reads one verified request and answers it through the connection,
 * now, or later when a worker is done (it then sets connection->busy).
 *
 * Threads: the loop's. */
#ifndef LENSD_CONTROL_H
#define LENSD_CONTROL_H

#include "daemon/connection.h"
#include "daemon/service.h"

/* Finds the handler of a verified request and checks that the peer has the role for it. */
void lensd_control_dispatch(struct lensd_service *service, struct lensd_connection *connection,
                            const struct lens_msg *request);

typedef void lensd_control_fn(struct lensd_service *service, struct lensd_connection *connection,
                              const struct lens_msg *request);

/* control_session.c */
lensd_control_fn lensd_control_attach, lensd_control_detach, lensd_control_end_sequence, lensd_control_sessions,
    lensd_control_statistics;
/* control_pack.c */
lensd_control_fn lensd_control_packs, lensd_control_concepts, lensd_control_explain;
/* control_load.c */
lensd_control_fn lensd_control_load, lensd_control_swap, lensd_control_unload;
/* control_pin.c */
lensd_control_fn lensd_control_pin, lensd_control_unpin;
/* control_readings.c */
lensd_control_fn lensd_control_readings;
/* control_trace.c */
lensd_control_fn lensd_control_trace;
/* The connection closes: what it records ends. */
void lensd_control_trace_left(struct lensd_service *service, const struct lensd_connection *connection);
/* The pack is about to be closed: a recording of it ends, and with a goodbye its recorder's connection. */
void lensd_control_trace_ends(struct lensd_service *service, const struct lensd_served_pack *served);
/* control_preload.c */
lensd_control_fn lensd_control_preload;
/* The pack's pool is about to be closed, or was exchanged: whoever waits for its preload hears why it ends. */
void lensd_control_preload_ends(struct lensd_service *service, const struct lensd_served_pack *served,
                                enum lens_fault fault, const char *why);
#define LENSD_PRELOAD_GONE "it is being replaced or unloaded"
#define LENSD_PRELOAD_LOST "its card was lost: ask again when the CPU has taken over (lensctl status)"
/* What the preload under way has come to, "" when there is none. */
void lensd_control_preload_text(const struct lensd_service *service, char *out, size_t size);
/* control_daemon.c */
lensd_control_fn lensd_control_hello, lensd_control_status, lensd_control_config, lensd_control_shutdown;
/* control_events.c */
lensd_control_fn lensd_control_events;
/* control_rules.c */
lensd_control_fn lensd_control_rules, lensd_control_rule_readings;

/* ---- helpers ---------------------------------------------------------------------------------------------------- */

/* The service's answer, cleared, of `type`. */
struct lens_msg *lensd_control_answer(struct lensd_service *service, enum lens_msg_type type);

/* Sends DONE with a sentence. */
void lensd_control_done(struct lensd_service *service, struct lensd_connection *connection, uint32_t generation,
                        const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The fault that says best what a negative errno of an inner call means. */
enum lens_fault lensd_control_fault_of(int error);

/* "Name:layer" of a lens, in the service's key space until the next answer; empty when that is full. */
struct lens_text lensd_control_key(struct lensd_service *service, const struct lens_pack *pack, uint32_t lens);

/* The lists of concepts that the configuration has; lent by the settings. */
struct lensd_content_source lensd_control_content(const struct lensd_service *service);
/* Logs a warning when those lists keep sessions from attaching to the pack: who attaches is told, too. */
void lensd_control_check_content(const struct lensd_service *service, const struct lensd_served_pack *served);

/* The pack of that name ("" = the first); NULL after the connection was told that there is none. */
struct lensd_served_pack *lensd_control_pack(struct lensd_service *service, struct lensd_connection *c,
                                             struct lens_text name);

/* The lens that a person means by "Name:layer", "Name" or a number; false after the connection was told that there is
 * none. */
bool lensd_control_concept(struct lensd_connection *c, const struct lensd_served_pack *served, struct lens_text name,
                           uint32_t *lens);

/* Whether the lens is in a slot, as of a moment ago. */
bool lensd_control_is_resident(const struct lensd_served_pack *served, uint32_t lens);

/* Copies a text and terminates it; false when it is longer than size - 1. */
bool lensd_control_copy(struct lens_text text, char *out, size_t size);

/* Whose sessions the connection may see: NULL (everyone's) for operators, else its own. */
const struct lensd_connection *lensd_control_scope(const struct lensd_connection *connection);

#endif
