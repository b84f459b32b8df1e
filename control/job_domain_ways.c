/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Ways - what libvirt and QEMU of the source say to the target goes to unix sockets here, through a
 * connection each over the migration network, to a unix socket there.
 *
 * Little goes through wherryd itself: libvirt's own connection, and the device state of a domain whose
 * memory is offloaded, which has to be held back. What is large goes through wherry-tunnel.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "files.h"
#include "job_domain.h"

#include "wherry/assert.h"
#include "wherry/fdpass.h"
#include "wherry/log.h"

struct wh_way {
	struct wh_way *next;
	struct wh_job *job;
	enum wh_stream stream;
	struct wh_connecting connecting;
	int local; /* until there is a tunnel */
	enum wh_tunnel_mode mode;
	bool after_ack; /* it is held only from there on */
	struct wh_tunnel *tunnel;
};

static struct wh_way *new_way(struct wh_job *job, enum wh_stream stream, int local)
{
	struct wh_way *way = calloc(1, sizeof(*way));

	wh_assert(way);
	way->job = job;
	way->stream = stream;
	way->local = local;
	way->connecting.fd = -1;
	way->next = job->domain->ways;
	job->domain->ways = way;
	return way;
}

static struct wh_way *free_way(struct wh_way *way)
{
	struct wh_way *next = way->next;

	wh_connect_stop(&way->connecting);
	way->tunnel = wh_tunnel_close(way->tunnel);
	wh_closep(&way->local);
	free(way);
	return next;
}

/* libvirt and QEMU learn by the end of their sockets that there is no way, and say so. */
static void give_up(struct wh_way *way, const char *why)
{
	wh_log(WH_LOG_WARNING, "migration.no-way", WH_STR("migration", way->job->record.id),
	       WH_STR("peer", way->job->record.peer), WH_STR("reason", why));
	wh_closep(&way->local);
}

static bool is_held(const struct wh_way *way)
{
	return way->stream == WH_STREAM_MEMORY && way->job->record.role == WH_ROLE_SOURCE;
}

static void on_gate(void *ctx, enum wh_tunnel_gate gate)
{
	struct wh_way *way = ctx;
	struct wh_job *job = way->job;
	const bool source = job->record.role == WH_ROLE_SOURCE;

	if (gate == WH_GATE_CALL && source)
		wh_domain_finish(job);
	else if (gate == WH_GATE_CALL)
		wh_domain_target_finish(job);
	else if (source)
		wh_domain_finished(job, gate == WH_GATE_GOOD);
	else
		wh_domain_target_finished(job, gate == WH_GATE_GOOD);
}

static void on_rpc_ended(void *ctx, int result)
{
	struct wh_way *way = ctx;
	struct wh_job *job = way->job;

	(void)result;
	if (job->record.role == WH_ROLE_SOURCE)
		wh_domain_rpc_ended(job);
	else
		wh_domain_target_rpc_ended(job);
}

static void carry(struct wh_way *way, int to, const struct wh_target_tunnel *from)
{
	struct wh_job_domain *d = way->job->domain;
	struct wh_tunnel_config cfg = { .loop = way->job->daemon->loop,
		                        .a = wh_steal_fd(&way->local),
		                        .b = to };

	cfg.mode = way->mode;
	if (way->mode == WH_TUNNEL_RPC) {
		cfg.at_gate = on_gate;
		cfg.said_all = on_rpc_ended;
		cfg.ctx = way;
	}
	if (from) {
		cfg.early = from->early;
		cfg.early_len = from->early_len;
	}
	if (wh_tunnel_open(&way->tunnel, &cfg) < 0) {
		give_up(way, "no memory for the tunnel");
		return;
	}
	if (!is_held(way))
		return;
	d->held = way->tunnel;
	if (d->released)
		wh_tunnel_release(d->held);
	else if (way->after_ack)
		wh_tunnel_hold_after_ack(d->held);
}

/* The source's side. */

static void on_connected(void *ctx, int fd, const char *why)
{
	wh_cleanup(wh_freep) char *line = NULL;
	struct wh_way *way = ctx;
	size_t len;

	if (fd < 0) {
		give_up(way, why);
		return;
	}
	line = wh_job_tunnel_line(way->job, way->stream);
	len = strlen(line);
	line[len] = '\n'; /* in place of the NUL: send() counts */
	if (send(fd, line, len + 1, MSG_NOSIGNAL) == (ssize_t)len + 1) {
		carry(way, fd, NULL);
		return;
	}
	wh_closep(&fd);
	give_up(way, "the connection takes no data");
}

static void connect_way(struct wh_way *way)
{
	const struct wh_job *job = way->job;
	union wh_worker_address to;
	int r = wh_address_parse(&to, job->node->address, job->daemon->config->port);

	way->connecting = (struct wh_connecting){ .done = on_connected, .ctx = way };
	if (r == 0)
		r = wh_connect_start(&way->connecting, job->daemon->loop, job->interface, &to);
	if (r < 0)
		give_up(way, strerror(-r));
}

static bool is_on(const json_t *capabilities, const char *name)
{
	for (size_t i = 0; i < json_array_size(capabilities); i++) {
		const json_t *c = json_array_get(capabilities, i);

		if (!strcmp(wh_json_text(c, "capability"), name))
			return json_is_true(json_object_get(c, "state"));
	}
	return false;
}

/* QEMU's stream. */
static struct wh_way *held_way(const struct wh_job *job)
{
	struct wh_way *way = job->domain ? job->domain->ways : NULL;

	while (way && !is_held(way))
		way = way->next;
	return way;
}

/*
 * One that waits for the destination's leave to stop its guest must get it, or it never ends. One that does not
 * may stop it and send its state before it answers this, and answers nothing while nobody takes that: so the
 * stream is taken in from its beginning.
 */
static void on_capabilities(void *ctx, const json_t *result, const char *error)
{
	struct wh_job *job = ctx;
	struct wh_way *way = held_way(job);

	(void)error; /* whoever has lost QEMU's monitor says so */
	if (!way || !result || job->domain->released || !is_on(result, "switchover-ack"))
		return;
	way->after_ack = true;
	if (way->tunnel)
		wh_tunnel_hold_after_ack(way->tunnel);
}

static void carry_by_streams(struct wh_job *job, enum wh_stream stream, int local)
{
	wh_cleanup(wh_freep) char *line = wh_job_tunnel_line(job, stream);
	struct wh_stream_to to = { .interface = job->interface, .first_line = line };

	if (wh_address_parse(&to.address, job->node->address, job->daemon->config->port) < 0)
		wh_closep(&local);
	else
		wh_streams_connect(job->domain->streams, local, &to);
}

static bool is_large(const struct wh_job *job, enum wh_stream stream)
{
	return stream == WH_STREAM_DISKS ||
	       (stream == WH_STREAM_MEMORY && job->record.engine == WH_ENGINE_NATIVE);
}

/* Whether QEMU begins to say what is to be held back, and nobody has let libvirt go on. */
static bool is_early(const struct wh_job *job, enum wh_stream stream)
{
	return stream == WH_STREAM_MEMORY && job->record.phase != WH_PHASE_ASKING;
}

static void on_accept(void *ctx, uint32_t events)
{
	struct wh_lead *lead = ctx;
	struct wh_job *job = lead->job;
	int fd = accept4(lead->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct wh_way *way;

	(void)events;
	if (fd < 0)
		return;
	if (is_large(job, lead->stream)) {
		if (lead->stream == WH_STREAM_MEMORY)
			wh_native_leaves(job);
		carry_by_streams(job, lead->stream, fd);
		return;
	}
	if (is_early(job, lead->stream)) {
		wh_closep(&fd);
		wh_job_fail(
			job, WH_OUTCOME_FAILED,
			"libvirt of the target did not wait: wherry-libvirt-hook must be installed "
			"there, and libvirtd restarted after that");
		return;
	}
	way = new_way(job, lead->stream, fd);
	if (lead->stream == WH_STREAM_LIBVIRT)
		way->mode = WH_TUNNEL_RPC;
	if (is_held(way) && !job->qmp_ready) {
		give_up(way, "QEMU's monitor is lost");
		return;
	}
	if (is_held(way)) {
		way->mode = WH_TUNNEL_HOLD_ALL;
		wh_domain_leaves(job);
		wh_domain_nears_stop(job);
		wh_qmp_call(job->qmp, "query-migrate-capabilities", NULL, on_capabilities, job);
	}
	connect_way(way);
}

int wh_ways_listen(struct wh_job *job, enum wh_stream stream, const char *path,
                   struct wh_error *err)
{
	struct wh_lead *lead = &job->domain->leads[stream];
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int r;

	wh_assert(strlen(path) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, path, strlen(path));
	memcpy(lead->path, addr.sun_path, sizeof(lead->path));
	lead->job = job;
	lead->stream = stream;
	lead->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (lead->fd < 0)
		return wh_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
	(void)unlink(path); /* left by a daemon that was killed */
	if (bind(lead->fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(lead->fd, 16) < 0)
		return wh_fail(err, -errno, "cannot listen at %s: %s", path, strerror(errno));
	lead->accept = (struct wh_watch){ .ready = on_accept, .ctx = lead };
	r = wh_watch_start(&lead->accept, job->daemon->loop, lead->fd, EPOLLIN);
	return r < 0 ? wh_fail(err, r, "cannot watch a socket") : 0;
}

/* The target's side. */

/* Who listens here for what the source's @stream says. Return: 0 or -ENAMETOOLONG. */
static int local_path(const struct wh_job *job, enum wh_stream stream, char *buf, size_t size)
{
	int n;

	if (stream == WH_STREAM_MEMORY)
		return wh_domain_path(job, WH_DOMAIN_SOCKET_PREFIX, ".sock", buf, size);
	if (stream == WH_STREAM_DISKS)
		return wh_domain_path(job, WH_DOMAIN_SOCKET_PREFIX, ".disks", buf, size);
	n = snprintf(buf, size, "%s", job->daemon->config->libvirt->socket);
	return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

static int connect_local(const struct wh_job *job, enum wh_stream stream, struct wh_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	wh_cleanup(wh_closep) int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r = local_path(job, stream, addr.sun_path, sizeof(addr.sun_path));

	if (fd < 0)
		return wh_fail(err, -errno, "cannot make a socket: %s", strerror(errno));
	if (r < 0)
		return wh_fail(err, r, "the path of a socket is too long");
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return wh_fail(err, -errno, "nobody listens at %s: %s", addr.sun_path,
		               strerror(errno));
	return wh_steal_fd(&fd);
}

void wh_ways_arrive(struct wh_job *job, const struct wh_target_tunnel *t)
{
	const bool large = is_large(job, t->stream);
	struct wh_way *way;
	struct wh_error err;
	int fd = t->fd;
	int local;

	if (t->stream == WH_STREAM_STATE || (large && !job->domain->streams))
		local = wh_fail(&err, -EPROTO, "nothing of the kind was announced");
	else
		local = connect_local(job, t->stream, &err);
	if (local < 0) {
		wh_log(WH_LOG_WARNING, "migration.no-way", WH_STR("migration", job->record.id),
		       WH_STR("peer", job->record.peer), WH_STR("reason", err.text));
		wh_closep(&fd);
		return;
	}
	if (large) {
		wh_streams_join(job->domain->streams, fd, local, t->early, t->early_len);
		return;
	}
	way = new_way(job, t->stream, fd); /* what came early came from there */
	if (t->stream == WH_STREAM_LIBVIRT)
		way->mode = WH_TUNNEL_RPC;
	carry(way, local, t);
}

/* Between libvirtd's connections here, the one that its hook was called for. */
static struct wh_way *rpc_way(const struct wh_job *job)
{
	struct wh_way *way = job->domain->ways;

	while (way && (way->mode != WH_TUNNEL_RPC || !way->tunnel))
		way = way->next;
	return way;
}

bool wh_ways_hold_replies(struct wh_job *job)
{
	struct wh_way *way = rpc_way(job);

	if (way)
		wh_tunnel_hold_replies(way->tunnel);
	return way != NULL;
}

bool wh_ways_has_rpc(const struct wh_job *job)
{
	return rpc_way(job) != NULL;
}

bool wh_ways_was_read(const struct wh_job *job)
{
	const struct wh_way *way = rpc_way(job);

	return way && wh_tunnel_was_read(way->tunnel);
}

void wh_ways_go_on(struct wh_job *job)
{
	struct wh_way *way = rpc_way(job);

	if (way)
		wh_tunnel_go_on(way->tunnel);
}

void wh_ways_release_replies(struct wh_job *job)
{
	struct wh_way *way = rpc_way(job);

	if (way)
		wh_tunnel_release(way->tunnel);
}

/* Both. */

void wh_ways_release(struct wh_job *job)
{
	job->domain->released = true;
	if (job->domain->held)
		wh_tunnel_release(job->domain->held);
}

void wh_ways_close(struct wh_job *job)
{
	struct wh_job_domain *d = job->domain;

	for (enum wh_stream s = 0; s < WH_STREAMS; s++) {
		wh_watch_stop(&d->leads[s].accept);
		if (d->leads[s].fd >= 0)
			(void)unlink(d->leads[s].path); /* it is ours */
		wh_closep(&d->leads[s].fd);
	}
	d->held = NULL;
	while (d->ways)
		d->ways = free_way(d->ways);
}
