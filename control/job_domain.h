/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Domains - what is different where the guest is a domain of libvirt: docs/libvirt.md.
 *
 * libvirt's own migration is the frame: it makes the QEMU at the target, moves device state and disks,
 * and ends the QEMU at the source. All that it says to the other node goes through wherry's
 * tunnels. Within it, wherry moves the memory (engine offload), or lets QEMU do it (native).
 *
 *	source                                     target
 *	expect                             ->      waits for libvirt's hook
 *	                                   <-  expected
 *	libvirt begins  ~~ tunnel ~~~~~~~~~~~~~~~> libvirt makes a QEMU; its reply is held back
 *	                                   <-  ready      the mover listens
 *	movers copy
 *	journal: asking
 *	proceed                            ->      journal: asking; the reply is let go
 *	QEMU's stream   ~~ held back
 *	the guest stands still: last pass
 *	                                   <-  landed
 *	the stream is let go  ~~~~~~~~~~~~~~~~~~~> QEMU has loaded
 *	libvirt calls Finish:
 *	QEMU is frozen
 *	                ~~~~~~~~~~~~~~~~~~~~~~~~~> QEMU is frozen; libvirt hears the call
 *	                                           journal: done     the commit
 *	                                           QEMU is thawed, libvirt lets the guest run
 *	                                   <-  running
 *	libvirt hears that all went well
 *	journal: done; QEMU is thawed, and libvirt ends it
 *
 * libvirt resumes the guest at the source unless it hears that the target's half went well. A QEMU that is
 * frozen does not do that before it is known that the guest does not run at the target: so no failure, of
 * whomever, lets it run on both.
 *
 *	job_domain.c          what both sides share
 *	job_domain_ways.c     sockets that lead to the other node, and what goes through them
 *	job_domain_disks.c    disks that are not shared
 *	job_domain_source.c   a source, until its stream is let go
 *	job_domain_finish.c   from there until libvirt has ended it
 *	job_domain_undo.c     or until all is as it was
 *	job_domain_native.c   a source whose memory QEMU moves
 *	job_domain_target.c   a target, until its memory has landed
 *	job_domain_commit.c   from there until the guest runs
 *	job_domain_recover.c  what an earlier wherryd left in the journal
 */

#ifndef WH_JOB_DOMAIN_H
#define WH_JOB_DOMAIN_H

#include <stdbool.h>
#include <sys/un.h>

#include "hook.h"
#include "job.h"
#include "libvirt.h"
#include "streams.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* QEMU's sockets in the directory of the record: wherry-ID.sock, wherry-ID.disks. */
#define WH_DOMAIN_SOCKET_PREFIX "wherry-"

struct wh_way; /* job_domain_ways.c */

/* A unix socket of the source that leads to the target. */
struct wh_lead {
	struct wh_job *job;
	enum wh_stream stream;
	struct wh_watch accept;
	int fd; /* -1 if it does not listen */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct wh_job_domain {
	struct wh_lead leads[WH_STREAMS];
	struct wh_way *ways;
	struct wh_tunnel *held; /* offload: QEMU's stream, borrowed from its way */
	bool released;          /* or is to be, as soon as it is there */
	struct wh_streams
		*streams; /* what goes through a process of its own; NULL if nothing does */

	struct wh_watch vmm_watch; /* the hypervisor's end */
	struct wh_timer vmm_again; /* it could not be watched so far */
	int vmm_pidfd;
	bool vmm_gone;
	unsigned due;             /* calls to libvirt whose answers come to this job */
	struct wh_timer again;    /* something of libvirt's is to be tried again */
	bool rpc_ended;           /* libvirt's own connection */
	bool recovered;           /* by a later wherryd */
	void (*ended)(void *ctx); /* to be called when libvirt is done; NULL for nothing */

	/* Source. */
	struct wh_node_disk files[WH_DISKS_MAX]; /* that may have to be copied */
	uint32_t file_count;
	bool migrating;           /* libvirt is at it; counted in @due */
	bool finishing;           /* it is, or may be, about to let the guest run at the target */
	bool frozen;              /* QEMU, by us */
	bool went_well;           /* is what the target's libvirt has answered */
	bool asked;               /* the target, who knew */
	bool moved;               /* the guest has */
	struct wh_timer read_due; /* then: whether our libvirtd has read so */
	bool killed;              /* QEMU, by us */
	bool by_libvirt;          /* it knows that the guest has moved, and has forgotten it */
	bool ignoring;            /* x-ignore-shared may be on */
	bool persistent;
	char *live_xml;
	char *persistent_xml;
	char *disks; /* to be copied, "vda,vdb"; NULL if none is */
	bool leaves; /* they are */

	/* Target. */
	struct wh_node_message *expect; /* what it began with */
	unsigned tries;                 /* to begin: an earlier domain was still there */
	struct wh_hook *hook;
	bool proceeded; /* libvirt rules from here on */
	bool leaving;   /* the guest is at the source: what came is being removed */
	bool stays;     /* the source waits to hear that what was begun here is undone */
};

/* job_domain.c */
bool wh_job_is_domain(const struct wh_job *job);
/* Never fails: memory is asserted. */
void wh_domain_open(struct wh_job *job);
/* Whether a domain of that name runs here. Return: 0 or -errno. */
wh_must_check int wh_domain_check(const struct wh_daemon *daemon, const char *name,
                                  struct wh_error *err);
/* Which process its QEMU is. Return: 0 or -errno. */
wh_must_check int wh_domain_find_vmm(struct wh_job *job, struct wh_error *err);
/* Close all; no answer may be due any more, but when wherryd ends. */
void wh_domain_close(struct wh_job *job);
/* Tell when the hypervisor of the record ends: at once, if it has. */
void wh_domain_watch_vmm(struct wh_job *job, void (*gone)(void *ctx, uint32_t events));
/* "DIR/wherry-ID.sock". Return: 0 or -ENAMETOOLONG. */
wh_must_check int wh_domain_path(const struct wh_job *job, const char *prefix, const char *suffix,
                                 char *buf, size_t size);
/* Where libvirt's own connection goes to at the source. Return: 0 or -ENAMETOOLONG. */
wh_must_check int wh_domain_libvirt_path(const struct wh_job *job, char *buf, size_t size);
/* The monitor of a target's hypervisor: our own, or the configuration's. 0 or -errno. */
wh_must_check int wh_target_monitor_path(const struct wh_job *job, char *buf, size_t size,
                                         struct wh_error *err);
/* Leave a target's hypervisor as it was before the migration. */
void wh_target_restore(struct wh_job *job, wh_qmp_reply_fn reply);
/* In a second, in place of what was to be tried again before. */
void wh_domain_again(struct wh_job *job, void (*fired)(void *ctx));
/* The guest is not to run at the target: that its ways end is what libvirt's migration fails of. */
void wh_domain_refuse(struct wh_job *job, const char *why);
/* Switch x-ignore-shared, the one capability of QEMU's that libvirt does not know. */
void wh_domain_ignore_shared(struct wh_job *job, bool on, wh_qmp_reply_fn reply);

/* job_domain_ways.c */
wh_must_check int wh_ways_listen(struct wh_job *job, enum wh_stream stream, const char *path,
                                 struct wh_error *err);
/* The source's connection of @stream has come. */
void wh_ways_arrive(struct wh_job *job, const struct wh_target_tunnel *tunnel);
/*
 * Target: let the source's libvirtd wait for the answers of ours, and no longer. Return: whether there is a
 * connection of its.
 */
bool wh_ways_hold_replies(struct wh_job *job);
void wh_ways_release_replies(struct wh_job *job);
/* Pass on the call of Finish, or its answer, that waits. */
void wh_ways_go_on(struct wh_job *job);
/* Source: whether our libvirtd has read all that the target's has said. */
bool wh_ways_was_read(const struct wh_job *job);
/* Whether libvirt's connection is there. */
bool wh_ways_has_rpc(const struct wh_job *job);
/* Let go what is held back, now or when it comes. */
void wh_ways_release(struct wh_job *job);
/* Close all of them, both ends, and listen no more. */
void wh_ways_close(struct wh_job *job);

/* job_domain_disks.c */
/* Source: find the domain's disks that are files, and mark their directories. 0 or -errno. */
wh_must_check int wh_disks_find(struct wh_job *job, const char *xml, struct wh_error *err);
/* Source: the target wants these to be copied. */
void wh_disks_copy(struct wh_job *job, const struct wh_node_message *expected);
/* Source: whether the rest waits for them to be copied. */
bool wh_disks_linger(const struct wh_job *job);
/* Source: ask how far that has come. */
void wh_disks_tick(struct wh_job *job);
/*
 * Target: make a place for those that are not shared, and name them in @expected. What is in the way
 * is left alone. Return: 0 or -errno.
 */
wh_must_check int wh_disks_place(struct wh_job *job, const struct wh_node_message *expect,
                                 struct wh_node_message *expected, struct wh_error *err);
/*
 * Source: the marks. Target: the places, unless the guest has come to use them. Files that have taken the place
 * of ours are left alone.
 */
void wh_disks_remove(struct wh_job *job);

/* job_domain_source.c */
/*
 * Choose the engine, where @why says why the memory cannot be moved by us; NULL if it can. Return: why the
 * domain cannot be moved, or NULL.
 */
const char *wh_domain_choose(struct wh_job *job, const char *why);
void wh_domain_begin(struct wh_job *job);  /* described, and in the journal */
void wh_domain_near(struct wh_job *job);   /* all but its disks */
void wh_domain_leaves(struct wh_job *job); /* QEMU begins to send: its disks are there */
void wh_domain_nears_stop(struct wh_job *job);
void wh_domain_converged(struct wh_job *job);
void wh_domain_event(struct wh_job *job, const char *name, const char *status);
void wh_domain_landed(struct wh_job *job);

/* job_domain_finish.c */
void wh_domain_finish(struct wh_job *job);              /* libvirt calls for it */
void wh_domain_finished(struct wh_job *job, bool well); /* and it is answered */
void wh_domain_rpc_ended(struct wh_job *job);
void wh_domain_moved(struct wh_job *job);                /* the guest runs at the target */
void wh_domain_ask(struct wh_job *job, const char *why); /* or not: who knows */
/* The target does; @owed: and lacks some of its memory. */
void wh_domain_told(struct wh_job *job, bool runs_there, bool owed);
void wh_domain_thaw(struct wh_job *job); /* does nothing if it is not frozen */
void wh_domain_kill(struct wh_job *job); /* it is frozen, and the guest has moved */
/* Whether libvirt, or its definition of the domain, has still to end; then @ended is called later. */
bool wh_domain_is_ending(struct wh_job *job, void (*ended)(void *ctx));

/* job_domain_undo.c */
/* Each call to libvirt that answers to a source ends with this. Return: whether the job goes on. */
bool wh_domain_answered(struct wh_job *job);
void wh_domain_undo(struct wh_job *job);
void wh_domain_undo_further(struct wh_job *job); /* something that it waits for has come */
void wh_domain_monitor_lost(struct wh_job *job, const char *why);
/* What only domains have. Return: whether it was that. */
bool wh_domain_message(struct wh_job *job, const struct wh_node_message *msg);
void wh_domain_target_failed(struct wh_job *job, const char *why); /* after it was let go */

/* job_domain_native.c */
/* Start the process that carries what is large, in the migration's cgroup. 0 or -errno. */
wh_must_check int wh_native_open(struct wh_job *job, struct wh_error *err);
void wh_native_begin(struct wh_job *job);  /* libvirt has been told to */
void wh_native_leaves(struct wh_job *job); /* QEMU begins to send */
void wh_native_event(struct wh_job *job, const char *status);
/* Somebody wants post-copy. Return: 0 or -errno. */
wh_must_check int wh_native_postcopy(struct wh_job *job, struct wh_error *err);

/* job_domain_target.c */
wh_must_check int wh_domain_target_new(struct wh_daemon *daemon, struct wh_peer *peer,
                                       const struct wh_node_message *expect, struct wh_job **ret,
                                       struct wh_error *err);
/* Its QEMU is the one that was expected: go on. */
void wh_domain_target_described(struct wh_job *job);
void wh_domain_proceed(struct wh_job *job, bool running);
void wh_domain_target_undo(struct wh_job *job);
/* Whether it may be the guest's place, by the source's word only: nothing else undoes it. */
bool wh_domain_is_claimed(const struct wh_job *job);
/* Of one that is: have the source's side fail, and with it libvirt's. Else does nothing. */
void wh_domain_give_up(struct wh_job *job, const char *why);
/* The guest is at the source, for good: remove what came, and tell @peer when that is done. */
void wh_domain_stay(struct wh_job *job, struct wh_peer *peer);

/* job_domain_commit.c */
void wh_domain_target_finish(struct wh_job *job); /* the source's libvirt calls for it */
void wh_domain_target_finished(struct wh_job *job, bool well); /* and ours has answered */
void wh_domain_target_rpc_ended(struct wh_job *job);
void wh_domain_resumed(
	struct wh_job *job); /* committed: the guest runs, or stands still as it did */
/* Committed, and that is not known: find out, and go on trying. */
void wh_domain_let_run(struct wh_job *job);
/* The source asks where the guest is: committed, or failed sooner or later. */
void wh_domain_target_ask(struct wh_job *job, struct wh_peer *peer);
/* Its QEMU has ended, or the monitor of one that has. */
void wh_domain_target_gone(struct wh_job *job);
/* Whether libvirt's connection is still needed; then @ended is called later. */
bool wh_domain_target_is_ending(struct wh_job *job, void (*ended)(void *ctx));

/* job_domain_recover.c */
void wh_domain_recover_begun(struct wh_job *job);  /* a source that is to be undone */
void wh_domain_recover_source(struct wh_job *job); /* in phase asking */
void wh_domain_recover_moved(struct wh_job *job);  /* in phase done or postcopy */
void wh_domain_recover_target(struct wh_job *job);
void wh_domain_recover_owed(struct wh_job *job); /* a target in post-copy */

#endif
