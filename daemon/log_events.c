/* See log_events.h. Ids are random 128-bit numbers (systemd-id128 new): a new event gets a new one. */
#include "daemon/log_events.h"

#include "daemon/man_text.h"

#include <stdio.h>

const struct lensd_log_event_info lensd_log_events[LENSD_LOG_EVENTS] = {
    [LENSD_LOG_READY] = {"ready", "92d2fd1b5c5347cbb2dec5cda138322c",
                         "The daemon serves: packs are loaded, the socket listens.", ""},
    [LENSD_LOG_START_FAILED] = {"start-failed", "8b44da85d5a447c2ae2557d058d640a5", "The daemon could not start.",
                                "The line says what is wrong: the configuration, the socket, the backend or a pack."},
    [LENSD_LOG_STOPPING] = {"stopping", "398d4028b472445d82b9f6d2f16b6f7f",
                            "A signal or an operator ends the daemon; rows that are submitted are answered first.", ""},
    [LENSD_LOG_STOPPED] = {"stopped", "b5551a541d804b7891fad7372a1a604b", "The daemon ends.", ""},
    [LENSD_LOG_RELOADED] =
        {"reloaded", "32f76bbbd96c4e4589bf8f68444757fc",
         "The configuration was read again; the line names what changed, and what waits for a restart.", ""},
    [LENSD_LOG_RELOAD_FAILED] = {"reload-failed", "051215317bc8427789f07ee3c80e9ace",
                                 "The configuration was read again and has an error: the one before stays in force.",
                                 "Correct the line that is named, check with lensd --check-config, reload again."},
    [LENSD_LOG_CONFIG_ODD] = {"config-odd", "3d962e86de13404f86ad7597a51fe473",
                              "The configuration is allowed, but something in it is probably not meant.",
                              "The line names the setting; lensd --check-config says the same."},
    [LENSD_LOG_PACK_LOADED] = {"pack-loaded", "dde769b5c5964e6084e7570d14b58cbe",
                               "A pack is served that was not served before.", ""},
    [LENSD_LOG_PACK_SWAPPED] = {"pack-swapped", "08f8d331a37d4e1abfb0cc452cf93508",
                                "A pack took the place of another; its sessions go on with it.", ""},
    [LENSD_LOG_PACK_UNLOADED] = {"pack-unloaded", "bc3ab093938545e8b599a43649fee33c", "A pack is served no more.", ""},
    [LENSD_LOG_PACK_REFUSED] = {"pack-refused", "41e9655b50f14886950c27168d45905f",
                                "A pack could not be loaded or swapped in; what was served before still is.",
                                "lensctl pack verify FILE looks at the file; the line says what is wrong with it."},
    [LENSD_LOG_PACK_UNUSABLE] =
        {"pack-unusable", "c9bf38ff237b43f3a605c1aab87792cc",
         "A pack is served that no session can attach to with the configured lists or base layers.",
         "Correct cascade.pin, include, exclude, filter or base_layers, or raise pool.slots, and reload."},
    [LENSD_LOG_BATCHES_FAILED] =
        {"batches-failed", "6a98470ab5574fe9a1366fa04d78459f",
         "The backend failed on batches; their rows were answered without results, flagged.",
         "The line has the backend's own words. When they go on, lensctl status says what is degraded."},
    [LENSD_LOG_DEVICE_LOST] =
        {"device-lost", "649c57e31d29454eb58f52f3336518fa",
         "The card is lost for this process; its packs go over to the CPU.",
         "Answers stay right, at the CPU's speed. Look at the kernel's log for the card, then restart lensd."},
    [LENSD_LOG_DEVICE_REPLACED] = {"device-replaced", "47bbd8522dfc4454ba2d4df020a038d3",
                                   "The CPU serves a pack that the lost card had.", ""},
    [LENSD_LOG_TAKEOVER_FAILED] =
        {"takeover-failed", "c7b4475e2e9244e88f5269d9af6e8be3",
         "The CPU cannot take over from a lost card; new sessions are refused. It is tried again.",
         "The line says what is missing, mostly memory: fewer pool.slots, or unload a pack."},
    [LENSD_LOG_MEMORY_SHORT] =
        {"memory-short", "b824a11110e64de5ab939c30414265c7",
         "A card has little memory left: packs give slots back, and rows wait for lenses more often.",
         "See what else uses the card; pool.device_memory bounds what packs take."},
    [LENSD_LOG_MEMORY_EASED] = {"memory-eased", "956b5bb7490748c8b22df90ad9f81be9",
                                "A card has memory again: slots are taken back.", ""},
    [LENSD_LOG_DEGRADED] = {"degraded", "63ae2e864b9e43e185781e54300ae0cb",
                            "A pack's rows are slow: base, pinned and kept lenses alone are scored (engine.degrade).",
                            "lensctl latency shows which stage is slow; fewer sessions or more slots help."},
    [LENSD_LOG_RECOVERED] = {"recovered", "58f0ef53b2434fffb2cf067186e1b064", "A pack's rows are scored in full again.",
                             ""},
    [LENSD_LOG_SESSION_ATTACHED] = {"session-attached", "af49e42a3432472fa402c892f6d57d4b",
                                    "A client opened a session.", ""},
    [LENSD_LOG_SESSION_ENDED] = {"session-ended", "82b462390a6643c2b79ae57017752a14",
                                 "A session ended, by itself or with its client's connection.", ""},
    [LENSD_LOG_CLIENT_DROPPED] = {"client-dropped", "d519e7e1cc6a4e2195024c6f456c8797",
                                  "A client broke the protocol, forged its shared memory or does not read its answers.",
                                  "The line names program, pid and uid. Others are not affected."},
    [LENSD_LOG_BACKEND] = {"backend", "437636b423394f2086b8ead52be140ee",
                           "Where lenses are scored, and why there: the card, or the processor for want of one.", ""},
    [LENSD_LOG_METRICS_FAILED] = {"metrics-failed", "9e952345d1e546d0bf24b45e694a2ef9",
                                  "Metrics, health and readiness are not served.",
                                  "Another program has the address, or it can't be had: set http.listen and reload."},
    [LENSD_LOG_SLOTS_FEWER] =
        {"slots-fewer", "bf2461bfd7004054bdae8e365550e408",
         "A pack has fewer slots than its settings ask for, for want of memory or by pool.device_memory.",
         "Rows wait for lenses more often. lensctl status shows how many slots are missing."},
    [LENSD_LOG_SESSION_CHANGED] =
        {"session-changed", "d3749cd554d043ed9cd6f7f842a54881",
         "A session that moved to another pack lost pins or patterns that the pack does not know.", ""},
    [LENSD_LOG_TRACE_BEGAN] = {"trace-began", "d2541ed190d34b92826fbe389f0007a7",
                               "An operator records what rows ask of the cache.", ""},
    [LENSD_LOG_TRACE_ENDED] = {"trace-ended", "97951fc091f84a3fb0d01de187999833", "A recording ended.", ""},
    [LENSD_LOG_ALERT] =
        {"alert", "e04da3a1705c4337a97143499c106eb4",
         "A row raised a rule of alerts.rules: LENSD_RULE, LENSD_ACTION and LENSD_SEQUENCE say which, and where.",
         "lensctl rules lists the rules, lensctl timeline SESSION shows what the sequence scored."},
};

void lensd_log_events_print_man(void (*print)(void *arg, const char *line), void *arg)
{
    char line[128];
    print(arg, ".Bl -tag -width Ds\n");
    for (int i = LENSD_LOG_PLAIN + 1; i < LENSD_LOG_EVENTS; i++) {
        const struct lensd_log_event_info *event = &lensd_log_events[i];
        snprintf(line, sizeof line, ".It Sy %s\n", event->name);
        print(arg, line);
        lensd_man_sentences(event->meaning, print, arg);
        lensd_man_sentences(event->remedy, print, arg);
        snprintf(line, sizeof line, ".Pq MESSAGE_ID %s\n", event->id);
        print(arg, line);
    }
    print(arg, ".El\n");
}

void lensd_log_events_print_catalog(void (*print)(void *arg, const char *line), void *arg)
{
    char line[1024];
    for (int i = LENSD_LOG_PLAIN + 1; i < LENSD_LOG_EVENTS; i++) {
        const struct lensd_log_event_info *event = &lensd_log_events[i];
        snprintf(line, sizeof line, "-- %s\nSubject: lensd: %s\nDefined-By: lensd\nDocumentation: man:lensd(8)\n\n%s\n",
                 event->id, event->name, event->meaning);
        print(arg, line);
        if (event->remedy[0] != '\0') {
            snprintf(line, sizeof line, "%s\n", event->remedy);
            print(arg, line);
        }
        print(arg, "\n");
    }
}
