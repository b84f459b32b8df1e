/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Left domain - one migration of a domain that an earlier wherryd has left in the journal, and the next one takes up.
 *
 * libvirt is a fake; journal, the process that stands for QEMU, and the connection to the other node are real.
 */

#ifndef WH_LEFT_DOMAIN_H
#define WH_LEFT_DOMAIN_H

#include "job_domain.h"

extern char left_dir[]; /* where the journal is, and its sockets */

struct left_domain {
	struct wh_config config;
	struct wh_libvirt_config libvirt;
	struct wh_node b;
	struct wh_daemon daemon;
	struct wh_job *job;
	bool defined; /* libvirt had known the domain before */
	pid_t vmm;    /* 0 once it is gone */
	int listener;
	int peer; /* the connection, as node b has it; -1 for none */
};

/* For cmocka: of the group, and of each test, whose state is a struct left_domain. */
int left_make_dir(void **state);
int left_remove_dir(void **state);
int left_begin(void **state);
int left_end(void **state);

/* Start on a record of engine offload, of a guest that ran. */
struct wh_job *left_recover(struct left_domain *f, enum wh_worker_role role, enum wh_phase phase);

/* Go on, as the daemon does, until it @is_so; or no more, as one that stops. */
void left_run_until(struct left_domain *f, bool (*is_so)(const struct left_domain *f));
bool left_is_over(const struct left_domain *f);
void left_end_jobs(struct left_domain *f);

/* The phase in the journal, or WH_PHASES if there is no record. */
enum wh_phase left_phase(void);

/* QEMU. */
void left_end_vmm(struct left_domain *f);
void left_freeze(const struct left_domain *f);
bool left_is_frozen(const struct left_domain *f);

/* libvirt: the next call, now or later, is this; and its answer. */
void left_expect_call(struct left_domain *f, const char *text);
void left_answer(struct left_domain *f, const char *text);
void left_answer_job(struct left_domain *f, bool active);

/* Node b: takes the call, or calls itself; and reads what comes but for pings. */
void left_take_call(struct left_domain *f);
struct wh_peer *left_call(struct left_domain *f);
void left_expect_line(struct left_domain *f, const char *text);
void left_say(const struct left_domain *f, const char *text);

#endif
