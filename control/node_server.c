/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Node server - a caller is a stranger with a socket until its first line has been checked; then
 * it is a peer with a control connection, or its socket is taken over as a tunnel.
 *
 * Asking and closing a record need no job: the journal alone knows what was committed.
 */

#include "node_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coordinator.h"
#include "job.h"
#include "job_domain.h"
#include "lines.h"
#include "network.h"
#include "node_protocol.h"
#include "peer.h"

#include "wherry/clock.h"
#include "wherry/fdpass.h"
#include "wherry/limits.h"
#include "wherry/log.h"

#define LISTEN_AGAIN_NS (5 * WH_NSEC_PER_SEC)

struct caller {
	struct caller *next;
	struct wh_node_server *server;
	struct wh_lines *lines; /* a stranger's; NULL once it is a peer */
	struct wh_timer timer;  /* a stranger must speak */
	struct wh_peer *peer;
	struct wh_job *job; /* borrowed; what it has prepared */
	char node[WH_NAME_MAX];
};

struct wh_node_server {
	struct wh_daemon *daemon;
	struct wh_watch watch;
	struct wh_timer again;
	int fd; /* -1 while it cannot listen */
	char interface[IFNAMSIZ];
	struct wh_error trouble; /* the last one logged */
	struct caller *callers;
	unsigned count;
};

static void drop(struct caller *c)
{
	struct caller **at = &c->server->callers;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->server->count--;
	wh_timer_stop(&c->timer);
	c->lines = wh_lines_close(c->lines);
	c->peer = wh_peer_close(c->peer);
	free(c);
}

static void refuse(struct caller *c, const char *why)
{
	struct wh_node_message msg = { .type = WH_NODE_FAILED };
	char *line;

	wh_log(WH_LOG_WARNING, "peer.refused", WH_STR("reason", why));
	(void)snprintf(msg.reason, sizeof(msg.reason), "%s", why);
	line = wh_node_format(&msg);
	wh_lines_send(c->lines, line);
	free(line);
	drop(c);
}

/* Peers. */

static bool same_token(const uint8_t *a, const uint8_t *b)
{
	uint8_t difference = 0;

	for (size_t i = 0; i < WH_TOKEN_BYTES; i++)
		difference |= (uint8_t)(a[i] ^ b[i]);
	return difference == 0;
}

/* What the journal says of a migration into this node. Return: whether it was committed. */
static bool is_committed(const struct caller *c, const struct wh_node_message *msg)
{
	struct wh_record rec;
	bool committed;

	if (wh_journal_read(c->server->daemon->config->state, msg->migration, &rec, NULL) < 0)
		return false;
	committed = rec.role == WH_ROLE_TARGET && wh_phase_is_committed(rec.phase) &&
	            !strcmp(rec.peer, c->node) && same_token(rec.token, msg->token);
	wh_record_done(&rec);
	return committed;
}

/* The live job of @msg, if the caller proves that it is its. */
static struct wh_job *job_of(const struct caller *c, const struct wh_node_message *msg)
{
	struct wh_job *job = wh_job_find(c->server->daemon, msg->migration);

	if (!job || job->record.role != WH_ROLE_TARGET || wh_job_is_over(job->state) ||
	    strcmp(job->record.id, msg->migration) != 0 ||
	    !same_token(job->record.token, msg->token))
		return NULL;
	return job;
}

static void on_prepare(struct caller *c, const struct wh_node_message *msg)
{
	int (*announce)(struct wh_daemon * daemon, struct wh_peer * peer,
	                const struct wh_node_message *msg, struct wh_job **ret,
	                struct wh_error *err) = msg->type == WH_NODE_EXPECT ? wh_domain_target_new
	                                                                    : wh_target_new;
	struct wh_node_message prepare = *msg;
	struct wh_error err;

	memcpy(prepare.node, c->node, WH_NAME_MAX);
	if (c->job)
		(void)wh_fail(&err, 0, "one connection prepares one migration");
	if (c->job || announce(c->server->daemon, c->peer, &prepare, &c->job, &err) < 0) {
		struct wh_node_message no = { .type = WH_NODE_FAILED };

		memcpy(no.reason, err.text, sizeof(no.reason));
		wh_peer_send(c->peer, &no);
	}
}

/* The source has called again: its earlier connection does not speak for the job any more. */
static void hand_job_to(struct caller *c, struct wh_job *job)
{
	for (struct caller *other = c->server->callers; other; other = other->next)
		if (other->job == job)
			other->job = NULL;
	c->job = job;
}

static void on_ask(struct caller *c, const struct wh_node_message *msg)
{
	struct wh_node_message answer = { .type = WH_NODE_ANSWER };
	struct wh_job *job = job_of(c, msg);

	if (job && (!wh_phase_is_committed(job->record.phase) || job->resuming)) {
		hand_job_to(c, job);
		wh_target_ask(job, c->peer);
		return;
	}
	answer.committed = is_committed(c, msg);
	answer.postcopy = answer.committed && job && wh_target_is_owed(job);
	wh_peer_send(c->peer, &answer);
}

/* Of a domain: whatever came here is not the guest. */
static void on_stay(struct caller *c, const struct wh_node_message *msg)
{
	const struct wh_node_message closed = { .type = WH_NODE_CLOSED };
	struct wh_job *job = wh_job_find(c->server->daemon, msg->migration);

	if (!job || strcmp(job->record.id, msg->migration) != 0 ||
	    job->record.role != WH_ROLE_TARGET || !same_token(job->record.token, msg->token) ||
	    is_committed(c, msg)) {
		wh_peer_send(c->peer, &closed);
		return;
	}
	hand_job_to(c, job);
	wh_domain_stay(job, c->peer);
}

static void on_resume(struct caller *c, const struct wh_node_message *msg)
{
	struct wh_node_message answer = { .type = WH_NODE_ANSWER };
	struct wh_job *job = job_of(c, msg);

	if (job && job->domain)
		wh_domain_resumed(
			job); /* the source has been told, by a wherryd that did not live to note it */
	if (job && wh_target_is_owed(job)) {
		hand_job_to(c, job);
		wh_owed_resume(job, c->peer);
		return;
	}
	answer.committed = is_committed(c, msg);
	wh_peer_send(c->peer, &answer);
}

static void on_finished(struct caller *c, const struct wh_node_message *msg)
{
	const struct wh_node_message closed = { .type = WH_NODE_CLOSED };
	struct wh_job *job = job_of(c, msg);
	struct wh_error err;

	if (job && job->domain)
		wh_domain_resumed(job); /* as above */
	job = job_of(c, msg);
	if (job && wh_phase_is_committed(job->record.phase)) {
		job->closing = true; /* the record goes with it, at its end */
		/* Its mover has heard that all has arrived; ours may not have lived to tell. */
		wh_owed_arrived(job);
	} else if (is_committed(c, msg) &&
	           wh_journal_remove(c->server->daemon->config->state, msg->migration, &err) < 0) {
		wh_log(WH_LOG_WARNING, "journal.failed", WH_STR("migration", msg->migration),
		       WH_STR("reason", err.text));
	}
	wh_peer_send(c->peer, &closed);
}

static void on_cancel(struct caller *c, const struct wh_node_message *msg)
{
	struct wh_error err;

	(void)wh_fail(&err, 0, "node %s: %s", c->node, msg->reason);
	if (c->job)
		wh_job_fail(c->job, WH_OUTCOME_FAILED, err.text);
}

static void on_proceed(struct caller *c, const struct wh_node_message *msg)
{
	struct wh_job *job = c->job;

	if (job && job->domain && job->state < WH_JOB_HAND_OVER && !job->domain->proceeded)
		wh_domain_proceed(job, msg->running);
}

static void on_message(void *ctx, const struct wh_node_message *msg)
{
	struct caller *c = ctx;

	if (msg->type == WH_NODE_PREPARE || msg->type == WH_NODE_EXPECT)
		on_prepare(c, msg);
	else if (msg->type == WH_NODE_PROCEED)
		on_proceed(c, msg);
	else if (msg->type == WH_NODE_STAY)
		on_stay(c, msg);
	else if (msg->type == WH_NODE_ASK)
		on_ask(c, msg);
	else if (msg->type == WH_NODE_RESUME)
		on_resume(c, msg);
	else if (msg->type == WH_NODE_FINISHED)
		on_finished(c, msg);
	else if (msg->type == WH_NODE_CANCEL)
		on_cancel(c, msg);
	else
		wh_log(WH_LOG_WARNING, "peer.unexpected", WH_STR("peer", c->node),
		       WH_STR("message", wh_node_type_name(msg->type)));
}

static void on_lost(void *ctx, const char *why)
{
	struct caller *c = ctx;

	if (c->job && c->job->peer == c->peer)
		wh_target_lost(c->job, why);
	drop(c);
}

/* Strangers. */

static bool comes_from(const struct caller *c, const struct wh_node *node)
{
	union wh_worker_address theirs;
	union wh_worker_address known;

	return wh_address_of(wh_lines_fd(c->lines), true, &theirs) == 0 &&
	       wh_address_parse(&known, node->address, 0) == 0 &&
	       wh_address_same_host(&theirs, &known);
}

/* The highest version that both speak. */
static uint32_t common_version(const struct wh_node_message *hello)
{
	return hello->version_max < WH_NODE_VERSION_MAX ? hello->version_max : WH_NODE_VERSION_MAX;
}

static void welcome(struct caller *c, const struct wh_node_message *hello)
{
	const struct wh_config *config = c->server->daemon->config;
	struct wh_node_message msg = { .type = WH_NODE_WELCOME,
		                       .version_max = common_version(hello) };
	struct wh_peer_config cfg = {
		.loop = c->server->daemon->loop,
		.node = config->node,
		.peer = c->node,
		.interface = c->server->interface,
		.handler = { .message = on_message, .lost = on_lost, .ctx = c },
	};

	memcpy(c->node, hello->node, WH_NAME_MAX);
	memcpy(msg.node, config->node, WH_NAME_MAX);
	wh_timer_stop(&c->timer);
	if (wh_peer_adopt(&c->peer, c->lines, msg.version_max, &cfg) < 0) {
		c->lines = NULL;
		drop(c);
		return;
	}
	c->lines = NULL;
	wh_peer_send(c->peer, &msg);
}

/* Its connection becomes the coordinator's. */
static void take_member(struct caller *c, const struct wh_node_message *join)
{
	struct wh_node_message msg = { .type = WH_NODE_WELCOME,
		                       .version_max = common_version(join) };
	struct wh_daemon *d = c->server->daemon;
	char *line;

	if (!d->coordinator) {
		refuse(c, "this node is not the coordinator, by its configuration");
		return;
	}
	memcpy(msg.node, d->config->node, WH_NAME_MAX);
	line = wh_node_format(&msg);
	wh_lines_send(c->lines, line);
	free(line);
	wh_coordinator_adopt(d->coordinator, wh_steal(c->lines), join->node);
	drop(c);
}

static void on_hello(struct caller *c, const struct wh_node_message *hello)
{
	const struct wh_node *node = wh_find_node(c->server->daemon->config, hello->node);

	if (!node)
		refuse(c, "no node of that name is in the configuration");
	else if (!comes_from(c, node))
		refuse(c, "that node has another address in the configuration");
	else if (hello->version_min > WH_NODE_VERSION_MAX ||
	         hello->version_max < WH_NODE_VERSION_MIN)
		refuse(c, "no version of the protocol in common: this node speaks versions 1 to 4");
	else if (hello->type == WH_NODE_JOIN)
		take_member(c, hello);
	else
		welcome(c, hello);
}

static void on_tunnel(struct caller *c, const struct wh_node_message *msg)
{
	struct wh_target_tunnel tunnel = { .stream = msg->stream, .running = msg->running };
	struct wh_job *job = job_of(c, msg);

	if (!job) {
		refuse(c, "no such migration");
		return;
	}
	tunnel.early_len = wh_lines_rest(c->lines, (const char **)&tunnel.early);
	tunnel.fd = wh_lines_take_fd(c->lines);
	wh_target_tunnel(job, &tunnel);
	drop(c);
}

static void on_first_line(void *ctx, const char *text, size_t len)
{
	struct caller *c = ctx;
	struct wh_node_message msg;
	struct wh_error err;

	if (wh_node_parse(&msg, text, len, &err) < 0)
		refuse(c, err.text);
	else if (msg.type == WH_NODE_HELLO || msg.type == WH_NODE_JOIN)
		on_hello(c, &msg);
	else if (msg.type == WH_NODE_TUNNEL)
		on_tunnel(c, &msg);
	else
		refuse(c, "a connection begins with hello, join or tunnel");
}

static void on_stranger_gone(void *ctx, const char *why)
{
	(void)why;
	drop(ctx);
}

static void on_silent(void *ctx)
{
	refuse(ctx, "silence");
}

static void on_accept(void *ctx, uint32_t events)
{
	struct wh_node_server *s = ctx;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct caller *c;

	(void)events;
	if (fd < 0)
		return;
	c = s->count < WH_STRANGERS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		wh_closep(&fd);
		return;
	}
	c->server = s;
	if (wh_lines_open(&c->lines, fd,
	                  &(struct wh_lines_config){
				  .loop = s->daemon->loop,
				  .line_max = WH_NODE_LINE_MAX,
				  .line = on_first_line,
				  .closed = on_stranger_gone,
				  .ctx = c,
			  }) < 0) {
		free(c);
		return;
	}
	c->next = s->callers;
	s->callers = c;
	s->count++;
	c->timer = (struct wh_timer){ .fired = on_silent, .ctx = c };
	wh_timer_start(&c->timer, s->daemon->loop, WH_PEER_SILENCE_NS);
}

/* Listening. */

static int try_listen(struct wh_node_server *s, struct wh_error *err)
{
	const struct wh_daemon *d = s->daemon;
	int r = wh_network_find(s->interface, d->config, d->settings.network, err);

	if (r < 0)
		return r;
	s->fd = wh_network_listen(s->interface, d->config->port, err);
	if (s->fd < 0)
		return s->fd;
	s->watch = (struct wh_watch){ .ready = on_accept, .ctx = s };
	return wh_watch_start(&s->watch, d->loop, s->fd, EPOLLIN);
}

static void listen_again(void *ctx)
{
	struct wh_node_server *s = ctx;
	struct wh_error err = { "" };

	if (try_listen(s, &err) == 0) {
		wh_log(WH_LOG_INFO, "network.listening", WH_U64("port", s->daemon->config->port),
		       WH_STR("interface", s->interface));
		s->trouble.text[0] = '\0';
		return;
	}
	wh_closep(&s->fd);
	if (strcmp(err.text, s->trouble.text) != 0)
		wh_log(WH_LOG_WARNING, "network.unusable", WH_STR("reason", err.text));
	s->trouble = err;
	wh_timer_start(&s->again, s->daemon->loop, LISTEN_AGAIN_NS);
}

const char *wh_node_server_trouble(const struct wh_node_server *s)
{
	return s->fd < 0 ? s->trouble.text : "";
}

int wh_node_server_open(struct wh_node_server **ret, struct wh_daemon *daemon, struct wh_error *err)
{
	struct wh_node_server *s = calloc(1, sizeof(*s));

	if (!s)
		return wh_fail(err, -ENOMEM, "out of memory");
	s->daemon = daemon;
	s->fd = -1;
	s->again = (struct wh_timer){ .fired = listen_again, .ctx = s };
	listen_again(s);
	*ret = s;
	return 0;
}

void wh_node_server_reopen(struct wh_node_server *s)
{
	wh_watch_stop(&s->watch);
	wh_timer_stop(&s->again);
	wh_closep(&s->fd);
	listen_again(s);
}

struct wh_node_server *wh_node_server_close(struct wh_node_server *s)
{
	if (!s)
		return NULL;
	while (s->callers)
		drop(s->callers);
	wh_watch_stop(&s->watch);
	wh_timer_stop(&s->again);
	wh_closep(&s->fd);
	free(s);
	return NULL;
}
