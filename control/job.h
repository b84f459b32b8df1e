/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Job - one side of one migration, from the request to its end.
 *
 * The states are those of docs/session-states.md. The table in job.c says which moves are legal;
 * wh_job_move() makes them all.
 *
 *	job.c                 states, what both sides have, end
 *	job_source.c          Pending, Preparing, PreCopy
 *	job_reads.c           how long a source's disks read, if it matters
 *	job_hand_over.c       Paused, HandOver and Asking of a source, and finishing
 *	job_postcopy.c        the switch; PostCopy and PostCopyPaused of a source
 *	job_throttle.c        slows the guest of a source in PreCopy
 *	job_undo.c            Cancelling of a source
 *	job_target.c          a target, but for
 *	job_target_owed.c     PostCopy and PostCopyPaused of a target
 *	job_transport.c       what carries the pages
 *	job_recover.c         what an earlier wherryd left in the journal
 *	job_domain*.c         what is different where the guest is a domain of libvirt
 *
 * Threads: the loop's own.
 */

#ifndef WH_JOB_H
#define WH_JOB_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "cgroup.h"
#include "child.h"
#include "daemon.h"
#include "deadline.h"
#include "guest.h"
#include "journal.h"
#include "move.h"
#include "network.h"
#include "peer.h"
#include "qmp.h"
#include "rate_bpf.h"
#include "retire.h"
#include "throttle.h"
#include "throttle_plan.h"
#include "totals.h"
#include "tunnel.h"
#include "worker.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/stats.h"
#include "wherry/worker.h"

enum wh_job_state {
	WH_JOB_PENDING,
	WH_JOB_PREPARING,
	WH_JOB_PRECOPY,
	WH_JOB_PAUSED, /* the last pass is long, and the guest stands still for it */
	WH_JOB_HAND_OVER,
	WH_JOB_ASKING, /* handed over, and the target was lost: the guest waits until it is known */
	WH_JOB_POSTCOPY,        /* the guest runs at the target, memory follows */
	WH_JOB_POSTCOPY_PAUSED, /* the same, and nothing follows at the moment */
	WH_JOB_CANCELLING,
	WH_JOB_SUCCEEDED,
	WH_JOB_CANCELLED,
	WH_JOB_FAILED,
	WH_JOB_STATES,
};

/* But for the first, CLOCK_MONOTONIC ns of this node, 0 until it happened. */
struct wh_job_times {
	uint64_t created_ms; /* CLOCK_REALTIME, ms since 1970 */
	uint64_t created_ns;
	uint64_t begun_ns;     /* Preparing */
	uint64_t ready_ns;     /* source: the target's QEMU and mover wait for us */
	uint64_t stopped_ns;   /* the guest stood still: QEMU's STOP event */
	uint64_t drained_ns;   /* and block I/O, too: pre-switchover */
	uint64_t landed_ns;    /* the target had every byte, and said so */
	uint64_t completed_ns; /* QEMU had sent or loaded the device state */
	uint64_t running_ns;   /* source: the target's word arrived; target: the guest runs */
	uint64_t ended_ns;
};

/* What movers have counted. */
struct wh_job_stats {
	uint64_t value[WH_STAT_COUNT];
	uint64_t fault_ns_log2[WH_FAULT_BUCKETS];
};

struct wh_job_domain; /* job_domain.h */

struct wh_job {
	struct wh_job *next;
	struct wh_daemon *daemon;
	const struct wh_vm *vm; /* borrowed from the configuration; NULL if it is not there now */
	struct wh_job_domain *domain; /* NULL if the guest is no domain of libvirt */
	const struct wh_node *node;   /* the other one, the same */
	enum wh_job_state state;
	enum wh_outcome outcome;
	struct wh_error reason;      /* why it does not succeed */
	struct wh_error note;        /* what it waits for */
	struct wh_error engine_note; /* a domain: why QEMU moves its memory; "" if we do */
	struct wh_settings settings; /* fixed when it began, but for the bandwidth */
	struct wh_record record;     /* who, where, and what the journal holds */
	bool journaled;
	struct wh_move move; /* source: what the coordinator knows; the target has only names */
	bool telling;        /* over, and in a report that is not yet answered */
	bool told;           /* over, and the coordinator knows */
	bool staged;         /* the record with @staged_phase waits beside the journal */
	enum wh_phase staged_phase;
	struct wh_job_times times;
	struct wh_job_stats stats;    /* of the movers that are gone */
	struct wh_job_stats disks;    /* what else was moved, where a mover moves the memory */
	struct wh_rate_stats limiter; /* the limit's last */
	uint64_t peak_rate_bps;

	struct wh_qmp *qmp;
	bool qmp_ready;
	struct wh_guest guest;
	char interface[IFNAMSIZ];
	struct wh_peer *peer; /* source: owned. Target: borrowed from node_server.c */
	struct wh_worker *worker;
	struct wh_cgroup *leaf;
	struct wh_rate_bpf *rate;
	struct wh_tunnel *tunnel;
	struct wh_retire retire;
	bool retiring;
	bool landed_here;  /* our mover says so */
	bool landed_there; /* source: the target says so */
	bool may_postcopy; /* both sides know how, and the settings allow it */
	bool unfit;        /* source: for post-copy, the target's memory is */
	bool postcopy;     /* landed without all of its memory */
	bool arrived;      /* now with all of it */
	bool mover_lost;   /* in post-copy, before it was known that the guest has moved */

	/* job_transport.c */
	enum wh_transport_kind wish;    /* source: of the request, or configured */
	bool tries_rdma;                /* both movers do */
	struct wh_rdma_options rdma;    /* if so */
	enum wh_transport_kind carries; /* what moves pages now: TCP or RDMA */
	struct wh_error no_rdma;        /* why that is TCP, unless it is wished; else "" */

	/* Source. */
	uint16_t mover_port; /* the target's mover listens there */
	struct wh_deadline deadline;
	struct wh_timer tick;     /* PreCopy: looks at the stats */
	struct wh_timer timer;    /* whatever the state waits for */
	struct wh_timer patience; /* for the other side's reason */
	struct wh_connecting connecting;
	int tunnel_fd;
	int listen_fd;
	struct wh_watch accept;
	enum wh_switch_mode switching; /* what our mover was told, if anything */
	bool holds;        /* QEMU leaves it to us to stop the guest, also while it migrates */
	bool stopped;      /* we told QEMU to stop the guest */
	bool stands_still; /* and it said that it has */
	bool asleep;       /* the guest is in S3: nothing runs, but QEMU may wake it */
	bool migrating;    /* "migrate" was sent */
	bool drained;      /* pre-switchover */
	bool continued;    /* migrate-continue was sent: the guest may run elsewhere */
	bool staying;      /* a domain that has not moved, and the target has to hear of that */
	bool closing; /* has moved; the target still holds its record, or is about to drop it */
	uint64_t retry_ns;
	uint64_t postcopy_ns; /* when post-copy began or was resumed */
	bool resume_sent;     /* PostCopyPaused: an attempt is under way */
	bool theirs_known;    /* the target has told how long its guest waited: */
	struct wh_job_stats theirs_stats;

	/* Source: job_reads.c. */
	uint32_t reads_due; /* questions that QEMU has not yet answered */
	uint64_t reads_ns;  /* when it was asked last */

	/* Source: job_throttle.c. */
	struct wh_throttle_plan throttle_plan;
	struct wh_throttle *throttle; /* from the first step on */
	unsigned throttle_percent;    /* now */
	unsigned throttle_peak;       /* the most so far */
	bool throttle_unable;         /* it was tried */

	/* Target. */
	struct wh_child *child;
	struct wh_worker_region theirs[WH_REGIONS_MAX]; /* the source's RAM blocks */
	uint32_t their_count;
	struct wh_timer beat; /* PostCopy: tells the source about faults */
	bool loaded;          /* QEMU has the device state */
	bool resuming;        /* committed, "cont" not yet answered */
	bool asked;           /* the source waits for an answer meanwhile */
};

const char *wh_job_state_name(enum wh_job_state state); /* "PreCopy" */
bool wh_job_may_move(enum wh_job_state from, enum wh_job_state to);
bool wh_job_is_over(enum wh_job_state state);
const char *wh_outcome_name(enum wh_outcome outcome); /* "deadline" */

/* Make a job in @state and put it first. Never NULL. */
struct wh_job *wh_job_new(struct wh_daemon *daemon, enum wh_worker_role role,
                          enum wh_job_state state);

/* Give it the id of its move, and a token. */
void wh_job_name(struct wh_job *job, const struct wh_move *move);

/* Change the state: logs it. What there is to do is the caller's. */
void wh_job_move(struct wh_job *job, enum wh_job_state to);

/* The job of this id, or the newest that is not over of this VM; NULL if there is none. */
struct wh_job *wh_job_find(const struct wh_daemon *daemon, const char *name);

/* Write the record with a new phase. Return: 0 once it is on disk, or -errno. */
wh_must_check int wh_job_record(struct wh_job *job, enum wh_phase phase, struct wh_error *err);
void wh_job_unrecord(struct wh_job *job);

/*
 * Have all of that done but for the last step, which the next wh_job_record() of the same phase makes. If
 * that does not work, it makes all of them.
 */
void wh_job_record_ahead(struct wh_job *job, enum wh_phase phase);

/* Make leaf and limit (source). Return: its cgroup.procs, the caller's, or -errno. */
wh_must_check int wh_job_open_leaf(struct wh_job *job, struct wh_error *err);

/* Make leaf, limit (source) and mover. Return: 0 or -errno. */
wh_must_check int wh_job_open_worker(struct wh_job *job, const struct wh_worker_handler *handler,
                                     struct wh_error *err);

/* START with what both sides have in common filled in. Return: 0 or -errno. */
wh_must_check int wh_job_begin_worker(struct wh_job *job, struct wh_worker_start *start,
                                      struct wh_error *err);

/* Kill the mover and remove its leaf and limit; its last stats stay. */
void wh_job_drop_worker(struct wh_job *job);

/* When it was @ns, one of its times, in ms since 1970; 0 if that is 0. */
uint64_t wh_job_wall_ms(const struct wh_job *job, uint64_t ns);

/*
 * The movers' counter, also after their end; of the faults what the target says, where it does.
 */
uint64_t wh_job_stat(const struct wh_job *job, enum wh_stat which);
uint64_t wh_job_fault_bucket(const struct wh_job *job, uint32_t bucket);

/* What the limit has counted, also after its end. All is 0 if there never was one. */
void wh_job_limiter(const struct wh_job *job, struct wh_rate_stats *ret);

/* Close everything that a job holds while it works, and enter a final state. */
void wh_job_end(struct wh_job *job, enum wh_job_state state);

/* Free a job that is over and no longer in the daemon's list. */
void wh_job_free(struct wh_job *job);

/* End it without success, for a reason (copied). On any state: does nothing if it is too late. */
void wh_job_fail(struct wh_job *job, enum wh_outcome outcome, const char *reason);

/* Whether it can still be cancelled. */
bool wh_job_can_undo(const struct wh_job *job);

/* Whether it is in PostCopy or PostCopyPaused: the guest is at the target for good. */
bool wh_job_in_postcopy(const struct wh_job *job);

/* What both PREPARE and EXPECT say of the guest. */
void wh_job_describe(const struct wh_job *job, struct wh_node_message *msg);

/* The first line of a tunnel, from malloc(). Never NULL. */
char *wh_job_tunnel_line(const struct wh_job *job, enum wh_stream stream);

/* The unix socket of this migration's device state. -ENAMETOOLONG if it does not fit. */
wh_must_check int wh_job_socket_path(const struct wh_job *job, char *buf, size_t size);

/* job_source.c */
/* Begin what the coordinator orders; a move that is known already is begun. 0 or -errno. */
wh_must_check int wh_source_start(struct wh_daemon *daemon, const struct wh_move *move,
                                  struct wh_error *err);
void wh_source_watch_time(struct wh_job *job); /* PreCopy and Paused: until tick is stopped */
/* The configuration's entries by name; NULL if there is none. */
const struct wh_vm *wh_find_vm(const struct wh_config *config, const char *name);
const struct wh_node *wh_find_node(const struct wh_config *config, const char *name);
/* Call the target. Return: 0 or -errno. */
wh_must_check int wh_source_call(struct wh_job *job, struct wh_error *err);
/* Connect to QEMU's monitor; @ready is called once it takes commands. Return: 0 or -errno. */
wh_must_check int wh_source_monitor(struct wh_job *job, void (*ready)(void *ctx),
                                    struct wh_error *err);

/* job_hand_over.c: all are called by job_source.c as things happen. */
void wh_hand_over_enter(struct wh_job *job);
bool wh_hand_over_is_on(const struct wh_job *job); /* Paused or HandOver */
void wh_hand_over_converged(struct wh_job *job);   /* our mover made one more round */
void wh_hand_over_landed(struct wh_job *job);
void wh_hand_over_event(struct wh_job *job, const char *name, const char *status);
void wh_hand_over_running(struct wh_job *job); /* the target runs the guest */
void wh_asking_enter(struct wh_job *job, const char *why);
void wh_asking_lost(struct wh_job *job, const char *why); /* the connection broke meanwhile */
void wh_asking_welcome(struct wh_job *job);
/* @owed: committed, but memory has still to follow. */
void wh_asking_answer(struct wh_job *job, bool committed, bool owed);
void wh_asking_abandon(struct wh_job *job); /* it will never answer, and does not run the guest */
void wh_finish_enter(struct wh_job *job);   /* the guest has moved: remove it here */
void wh_finish_closed(struct wh_job *job);  /* the target has forgotten its record */

/* job_postcopy.c: a source's. */
/* Tell the mover to end its rounds. Return: 0 or -errno. */
wh_must_check int wh_source_switch(struct wh_job *job, enum wh_switch_mode mode, const char *why,
                                   struct wh_error *err);
/* Take note that it was switched: by us, or by libvirt at our word. */
void wh_source_note_switch(struct wh_job *job, enum wh_switch_mode mode, const char *why);
/* Somebody asks for post-copy, or for an attempt to resume it. Return: 0 or -errno. */
wh_must_check int wh_postcopy_ask(struct wh_job *job, struct wh_error *err);
wh_must_check int wh_postcopy_recover(struct wh_job *job, struct wh_error *err);
void wh_postcopy_enter(struct wh_job *job);  /* the guest runs at the target */
void wh_postcopy_owed(struct wh_job *job);   /* it does, as we hear now, and waits for memory */
void wh_postcopy_resume(struct wh_job *job); /* try it, in PostCopyPaused */
void wh_postcopy_lost(struct wh_job *job, const char *why); /* our mover is */
void wh_postcopy_peer_lost(struct wh_job *job, const char *why);
void wh_postcopy_message(struct wh_job *job, const struct wh_node_message *msg);
void wh_postcopy_faults(struct wh_job *job, const struct wh_node_message *msg);
/* job_source.c: start a mover against the target's, at mover_port. Return: 0 or -errno. */
wh_must_check int wh_source_start_mover(struct wh_job *job, bool resume, struct wh_error *err);

/* job_target_owed.c: a target's. */
void wh_owed_enter(struct wh_job *job);                    /* the guest runs here */
void wh_owed_landed(struct wh_job *job, int32_t vmm_uffd); /* again: a mover serves it */
void wh_owed_arrived(struct wh_job *job);                  /* all of its memory is here */
void wh_owed_lost(struct wh_job *job, const char *why);    /* our mover is */
void wh_owed_recover(struct wh_job *job);                  /* found in the journal */
void wh_owed_monitor_lost(struct wh_job *job, const char *why);
void wh_owed_resume(struct wh_job *job, struct wh_peer *peer); /* the source asks for it */
/* job_target.c: start a mover. Return: 0 or -errno. */
wh_must_check int wh_target_start_mover(struct wh_job *job, bool resume, struct wh_error *err);
bool wh_target_is_owed(const struct wh_job *job); /* committed without all of its memory */
void wh_target_answer(const struct wh_job *job);  /* as the record says */
void wh_target_tell(const struct wh_job *job, enum wh_node_type type);
void wh_target_settle(struct wh_job *job); /* QEMU has resumed the guest */
void wh_target_finish(struct wh_job *job); /* and nothing of its memory is missing */

/* job_reads.c: a source's. They do nothing for a guest without disks with O_DIRECT. */
void wh_job_watch_reads(struct wh_job *job); /* before the mover starts */
void wh_job_tick_reads(struct wh_job *job);  /* PreCopy: asks now and then */
void wh_job_ask_reads(struct wh_job *job);   /* the answer is there when reads_due is 0 again */
void wh_job_reads_event(struct wh_job *job, const char *name, const json_t *data);

/* job_throttle.c: a source's. */
void wh_throttle_tick(struct wh_job *job);  /* PreCopy: looks whether it is time for a step */
void wh_throttle_lift(struct wh_job *job);  /* full speed, at once */
void wh_job_unthrottle(struct wh_job *job); /* and nothing of it left; does nothing a second time */
/* Undo what an earlier wherryd left of migration @id. @vm may be "". */
void wh_throttle_recover(const char *id, const char *vm);

/* job_transport.c */
/* Source: say in @msg, a PREPARE or EXPECT, that RDMA is tried. 0, or -errno: it must be, and cannot. */
wh_must_check int wh_job_offer_rdma(struct wh_job *job, struct wh_node_message *msg,
                                    struct wh_error *err);
/* Source: the target's answer. Return: 0, or -errno: the same. */
wh_must_check int wh_job_hear_rdma(struct wh_job *job, const struct wh_node_message *ready,
                                   struct wh_error *err);
/* Target: @no_rdma is why, if it is offered and cannot be. */
void wh_job_accept_rdma(struct wh_job *job, const struct wh_node_message *prepare);
/* Say in START what was agreed; @bucket is borrowed, -1 for none. Return: 0 or -errno. */
wh_must_check int wh_job_put_rdma(const struct wh_job *job, struct wh_worker_start *start,
                                  int *bucket, struct wh_error *err);
/* For a struct wh_worker_handler whose context is the job. */
void wh_job_carries(void *ctx, enum wh_transport_kind kind, const char *why);

/* job_undo.c */
void wh_undo_source(struct wh_job *job);
void wh_undo_monitor_lost(struct wh_job *job, const char *why);

/* job_recover.c: take up what the journal holds. Return: 0 or -errno. */
wh_must_check int wh_recover(struct wh_daemon *daemon, struct wh_error *err);

/* job_target.c */
/* Return: 0 or -errno, and then the source is to be told why. */
wh_must_check int wh_target_new(struct wh_daemon *daemon, struct wh_peer *peer,
                                const struct wh_node_message *prepare, struct wh_job **ret,
                                struct wh_error *err);
void wh_target_undo(struct wh_job *job);
/* A job for a guest that comes in, as it is announced; NULL if its network is unusable. */
struct wh_job *wh_target_job(struct wh_daemon *daemon, struct wh_peer *peer,
                             const struct wh_node_message *announced, struct wh_error *err);
/* Say in its record where the missing file of post-copy is to be. Return: 0 or -errno. */
wh_must_check int wh_target_name_missing(struct wh_job *job, struct wh_error *err);
/* Connect to the monitor of its hypervisor, which may not listen yet. */
void wh_target_monitor(struct wh_job *job);
/* The source's tunnel. @fd is owned by the job; @running: the guest is to run here. */
struct wh_target_tunnel {
	int fd;
	enum wh_stream stream;
	const void *early; /* bytes after the first line */
	size_t early_len;
	bool running;
};
void wh_target_tunnel(struct wh_job *job, const struct wh_target_tunnel *tunnel);
/* The source asks. Answers now, or when it is known. */
void wh_target_ask(struct wh_job *job, struct wh_peer *peer);
/* The control connection is gone. */
void wh_target_lost(struct wh_job *job, const char *why);

#endif
