/* Handlers of the command table, each in the cmd_*.c file of its group. All return an enum ctl_exit. */
#ifndef LENSCTL_COMMANDS_H
#define LENSCTL_COMMANDS_H

#include "client/lensctl/command.h"

int ctl_run_help(struct ctl *ctl);   /* cmd_help.c */
int ctl_run_status(struct ctl *ctl); /* cmd_status.c */
int ctl_run_packs(struct ctl *ctl);  /* cmd_lists.c */
int ctl_run_sessions(struct ctl *ctl);
int ctl_run_rules(struct ctl *ctl);
int ctl_run_config(struct ctl *ctl);
int ctl_run_concepts(struct ctl *ctl);    /* cmd_concepts.c */
int ctl_run_branch(struct ctl *ctl);      /* cmd_branch.c */
int ctl_run_explain(struct ctl *ctl);     /* cmd_explain.c */
int ctl_run_detect(struct ctl *ctl);      /* cmd_detect.c */
int ctl_run_tail(struct ctl *ctl);        /* cmd_tail.c */
int ctl_run_timeline(struct ctl *ctl);    /* cmd_timeline.c */
int ctl_run_latency(struct ctl *ctl);     /* cmd_latency.c */
int ctl_run_top(struct ctl *ctl);         /* cmd_top.c */
int ctl_run_dmon(struct ctl *ctl);        /* cmd_dmon.c */
int ctl_run_pack_import(struct ctl *ctl); /* cmd_pack.c */
int ctl_run_pack_inspect(struct ctl *ctl);
int ctl_run_pack_verify(struct ctl *ctl);
int ctl_run_pack_quantize(struct ctl *ctl); /* cmd_quantize.c */
int ctl_run_trace_record(struct ctl *ctl);  /* cmd_trace.c */
int ctl_run_cache_sim(struct ctl *ctl);     /* cmd_cache_sim.c */
int ctl_run_load(struct ctl *ctl);          /* cmd_operator.c */
int ctl_run_swap(struct ctl *ctl);
int ctl_run_preload(struct ctl *ctl);
int ctl_run_unload(struct ctl *ctl);
int ctl_run_pin(struct ctl *ctl);
int ctl_run_unpin(struct ctl *ctl);
int ctl_run_shutdown(struct ctl *ctl);
int ctl_run_bench(struct ctl *ctl);      /* cmd_bench.c */
int ctl_run_doctor(struct ctl *ctl);     /* cmd_doctor.c */
int ctl_run_completion(struct ctl *ctl); /* cmd_completion.c */

extern const char *const ctl_shell_names[]; /* of `completion`, NULL-terminated */

#endif
