/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What carries the pages of a migration: TCP, or RDMA beside it.
 *
 *	source                                    target
 *	the wish: of the request, or configured
 *	what this host has, TLS, memlock
 *	prepare or expect, "rdma"      ->         what that host has, TLS, memlock
 *	                               <-         ready, perhaps "no_rdma"
 *	a mover that tries                        a mover that tries
 *
 * Both movers try, or neither does. Whether it works out they find out by themselves, and go on over TCP
 * where it does not. With the wish "rdma" a migration whose nodes know beforehand that it cannot does
 * not begin. Post-copy that is resumed is always by TCP: neither side remembers then what was agreed.
 *
 * Memory that RDMA sends is not encrypted, so with TLS it needs leave.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config_rdma.h"
#include "fabric.h"
#include "job.h"
#include "memlock.h"

#include "wherry/fdpass.h"
#include "wherry/log.h"

#define SYSFS "/sys"

/* What the library pins beside the guest's memory: its queues. */
#define QUEUES_BYTES (16ull << 20)

/* The interface that this migration takes. */
static int find_interface(const struct wh_job *job, char interface[IFNAMSIZ], struct wh_error *err)
{
	union wh_worker_address local;
	int r;

	if (*job->interface) {
		memcpy(interface, job->interface, IFNAMSIZ);
		return 0;
	}
	r = wh_peer_local_address(job->peer, &local);
	return r < 0 ? wh_fail(err, r, "the connection is lost")
	             : wh_network_of(interface, &local, err);
}

/* Whether this node can do RDMA for this migration. Return: 0, or -errno with the reason. */
static int check_here(const struct wh_job *job, struct wh_error *err)
{
	const struct wh_config *config = job->daemon->config;
	struct wh_fabric fabric;
	char interface[IFNAMSIZ];
	int r;

	if (!job->settings.disable_tls && !config->plaintext_rdma)
		return wh_fail(err, -EACCES,
		               "TLS is on (disableTLS: false) and RDMA does not encrypt; "
		               "allowPlaintextRDMA: true lets it");
	r = find_interface(job, interface, err);
	if (r == 0)
		r = wh_fabric_find(&fabric, SYSFS, interface, err);
	if (r == 0)
		r = wh_fabric_is_up(&fabric, err);
	if (r == 0)
		r = wh_fabric_ask(&fabric, err);
	if (r == 0 && !(config->rdma.odp && fabric.odp))
		r = wh_memlock_allow(config->rdma.pinned_bytes_max + QUEUES_BYTES, err);
	return r;
}

/*
 * An adapter passes no hook of the kernel, so the mover has to have the bucket, also of a limit that is set
 * later: it is made before there are sockets.
 */
static int make_bucket(struct wh_job *job, struct wh_error *err)
{
	wh_cleanup(wh_closep) int procs = wh_job_open_leaf(job, err);
	int bucket;

	return procs < 0 ? procs : wh_rate_bpf_share(job->rate, &bucket, err);
}

static int check_source(struct wh_job *job, struct wh_error *err)
{
	int r;

	if (!wh_peer_knows_rdma(job->peer))
		return wh_fail(err, -EOPNOTSUPP, "the wherryd of node %s is too old for RDMA",
		               job->record.peer);
	r = check_here(job, err);
	return r < 0 ? r : make_bucket(job, err);
}

/* RDMA is out of the question, @why. Return: 0, or -EOPNOTSUPP if the migration is not to be without. */
static int do_without(struct wh_job *job, const char *why, struct wh_error *err)
{
	job->tries_rdma = false;
	(void)snprintf(job->no_rdma.text, sizeof(job->no_rdma.text), "%s", why);
	if (job->wish != WH_TRANSPORT_RDMA)
		return 0;
	return wh_fail(err, -EOPNOTSUPP, "transport: rdma cannot be: %s", why);
}

int wh_job_offer_rdma(struct wh_job *job, struct wh_node_message *msg, struct wh_error *err)
{
	struct wh_error why;

	/* "" is none, and what this version does not know comes from a later one. */
	if (wh_transport_kind_parse(&job->wish, job->move.transport) < 0)
		job->wish = job->daemon->config->transport;
	if (job->wish == WH_TRANSPORT_TCP || job->record.engine == WH_ENGINE_NATIVE)
		return 0;
	if (check_source(job, &why) < 0)
		return do_without(job, why.text, err);
	job->tries_rdma = true;
	job->rdma = job->daemon->config->rdma;
	msg->rdma_pairs = job->rdma.pairs;
	msg->rdma_chunk_bytes = job->rdma.chunk_bytes;
	return 0;
}

int wh_job_hear_rdma(struct wh_job *job, const struct wh_node_message *ready, struct wh_error *err)
{
	struct wh_error why;

	if (!job->tries_rdma || !*ready->no_rdma)
		return 0;
	(void)wh_fail(&why, 0, "node %s: %s", job->record.peer, ready->no_rdma);
	return do_without(job, why.text, err);
}

void wh_job_accept_rdma(struct wh_job *job, const struct wh_node_message *prepare)
{
	if (prepare->rdma_pairs == 0)
		return;
	job->wish = job->daemon->config->transport;
	if (job->wish == WH_TRANSPORT_TCP) {
		(void)wh_fail(&job->no_rdma, 0, "its configuration says transport: tcp");
		return;
	}
	if (check_here(job, &job->no_rdma) < 0)
		return;
	job->tries_rdma = true;
	job->rdma = job->daemon->config->rdma;
	job->rdma.pairs = prepare->rdma_pairs;
	job->rdma.chunk_bytes = prepare->rdma_chunk_bytes;
	if (job->rdma.pinned_bytes_max < 2 * job->rdma.chunk_bytes)
		job->rdma.pinned_bytes_max = 2 * job->rdma.chunk_bytes;
}

int wh_job_put_rdma(const struct wh_job *job, struct wh_worker_start *start, int *bucket,
                    struct wh_error *err)
{
	*bucket = -1;
	if (!job->tries_rdma || start->resume)
		return 0;
	start->transport = WH_TRANSPORT_RDMA;
	start->rdma_pairs = job->rdma.pairs;
	start->rdma_chunk_bytes = job->rdma.chunk_bytes;
	start->rdma_pinned_bytes_max = job->rdma.pinned_bytes_max;
	start->rdma_odp = job->rdma.odp;
	start->bucket = job->rate != NULL;
	return job->rate ? wh_rate_bpf_share(job->rate, bucket, err) : 0;
}

void wh_job_carries(void *ctx, enum wh_transport_kind kind, const char *why)
{
	struct wh_job *job = ctx;

	job->carries = kind;
	(void)snprintf(job->no_rdma.text, sizeof(job->no_rdma.text), "%s", why);
	if (kind == WH_TRANSPORT_RDMA)
		wh_log(WH_LOG_INFO, "migration.rdma", WH_STR("migration", job->record.id),
		       WH_STR("vm", job->record.vm), WH_STR("peer", job->record.peer));
	else
		wh_log(WH_LOG_WARNING, "migration.no-rdma", WH_STR("migration", job->record.id),
		       WH_STR("vm", job->record.vm), WH_STR("peer", job->record.peer),
		       WH_STR("reason", why));
}
