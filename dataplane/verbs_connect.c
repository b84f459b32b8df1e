/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Verbs - how queue pairs are connected, by librdmacm.
 *
 * Each pair of the active side goes through its own
 *
 *	address -> route -> queue pair -> connect
 *
 * and what it shows when it connects says which pair it is and that it belongs to this migration:
 * docs/wire-protocol.md, "RDMA". The passive side refuses everything else and goes on to listen, as
 * strangers may knock.
 *
 * Events are copied and acknowledged before they are handled, since an id cannot be destroyed while
 * an event of its own is not.
 */

#include "verbs_end.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "wherry/assert.h"

/* For an address, and for a route, until the kernel gives up. The caller's deadline is another. */
#define RESOLVE_MS 5000

/* 7 would be "for ever" to soft-RoCE: a peer that is gone would never be missed. */
#define RETRIES 6

/*
 * How long the peer may take to acknowledge: 4.096 us times 2 to this power, 0.27 s. With the
 * retries it is lost after 2 s of silence, before TCP finds the same.
 */
#define ACK_TIMEOUT 16

/* More reads at once than this no device needs for its rate, and few can. */
#define READS_MAX 16

/* What a pair shows when it connects. InfiniBand carries 56 bytes. */
struct hello {
	uint8_t magic[4];
	uint8_t version;
	uint8_t pair;
	uint8_t pairs;
	uint8_t zero;
	uint8_t token[WH_TOKEN_BYTES];
};

static_assert(sizeof(struct hello) == 24, "docs/wire-protocol.md says so");

static const uint8_t magic[4] = { 'W', 'H', 'R', 'D' };

#define VERSION 1

/* Of an event, what is needed after it was acknowledged. */
struct news {
	enum rdma_cm_event_type type;
	struct rdma_cm_id *id;
	int status;
	struct hello hello;
	size_t hello_bytes;
	uint8_t responder_resources, initiator_depth;
};

/* --- both sides ------------------------------------------------------------------------------- */

static int parse_address(struct sockaddr_storage *ret, const char *address, uint16_t port,
                         struct wh_error *err)
{
	const struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *found;
	char service[8];
	int r;

	(void)snprintf(service, sizeof(service), "%u", port);
	r = getaddrinfo(address, service, &hints, &found);
	if (r)
		return wh_fail(err, -EINVAL, "'%s': %s", address, gai_strerror(r));
	memcpy(ret, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return 0;
}

static uint8_t least(uint8_t a, uint8_t b)
{
	return a < b ? a : b;
}

static void fill_param(const struct wh_verbs *v, struct rdma_conn_param *param)
{
	*param = (struct rdma_conn_param){
		.responder_resources = least(v->responder_resources, READS_MAX),
		.initiator_depth = least(v->initiator_depth, READS_MAX),
		.retry_count = RETRIES,
		.rnr_retry_count = RETRIES,
	};
}

static int set_ack_timeout(struct rdma_cm_id *id, struct wh_error *err)
{
	uint8_t timeout = ACK_TIMEOUT;

	if (rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout,
	                    sizeof(timeout)) < 0 &&
	    errno != ENOSYS && errno != EOPNOTSUPP)
		return wh_fail(err, -errno, "cannot set how long the peer may be silent: %s",
		               strerror(errno));
	return 0;
}

/* --- the active side -------------------------------------------------------------------------- */

static int begin_to_connect(struct wh_verbs *v, const struct wh_verbs_config *cfg,
                            struct wh_error *err)
{
	struct sockaddr_storage peer;
	int r;

	r = parse_address(&peer, cfg->address, cfg->port, err);
	if (r == 0 && cfg->local[0])
		r = parse_address(&v->local, cfg->local, 0, err);
	for (uint32_t i = 0; i < v->cfg.pairs && r == 0; i++) {
		struct wh_verbs_pair *pair = &v->pairs[i];
		struct sockaddr *local = (struct sockaddr *)&v->local;

		if (rdma_create_id(v->cm, &pair->id, pair, RDMA_PS_TCP) < 0)
			return wh_fail(err, -errno, "cannot create an RDMA connection: %s",
			               strerror(errno));
		if (rdma_resolve_addr(pair->id, local->sa_family ? local : NULL,
		                      (struct sockaddr *)&peer, RESOLVE_MS) < 0)
			r = wh_fail(err, -errno, "no RDMA device reaches %s: %s", cfg->address,
			            strerror(errno));
	}
	return r;
}

static int find_route(struct wh_verbs *v, struct rdma_cm_id *id, struct wh_error *err)
{
	int r = wh_verbs_use_device(v, id, err);

	if (r < 0)
		return r;
	r = set_ack_timeout(id, err);
	if (r < 0)
		return r;
	if (rdma_resolve_route(id, RESOLVE_MS) < 0)
		return wh_fail(err, -errno, "no RDMA route: %s", strerror(errno));
	return 0;
}

static int connect_pair(struct wh_verbs *v, struct wh_verbs_pair *pair, struct wh_error *err)
{
	struct hello hello = {
		.version = VERSION,
		.pair = (uint8_t)(pair - v->pairs),
		.pairs = (uint8_t)v->cfg.pairs,
	};
	struct rdma_conn_param param;
	int r;

	r = wh_verbs_create_pair(pair, err);
	if (r < 0)
		return r;
	memcpy(hello.magic, magic, sizeof(magic));
	memcpy(hello.token, v->token, sizeof(v->token));
	fill_param(v, &param);
	param.private_data = &hello;
	param.private_data_len = sizeof(hello);
	if (rdma_connect(pair->id, &param) < 0)
		return wh_fail(err, -errno, "cannot connect by RDMA: %s", strerror(errno));
	return 0;
}

/* --- the passive side ------------------------------------------------------------------------- */

static int begin_to_listen(struct wh_verbs *v, const struct wh_verbs_config *cfg,
                           struct wh_error *err)
{
	struct sockaddr_storage at;
	int r;

	r = parse_address(&at, cfg->address, 0, err);
	if (r < 0)
		return r;
	if (rdma_create_id(v->cm, &v->listener, v, RDMA_PS_TCP) < 0)
		return wh_fail(err, -errno, "cannot listen for RDMA: %s", strerror(errno));
	if (rdma_bind_addr(v->listener, (struct sockaddr *)&at) < 0)
		return wh_fail(err, -errno, "no RDMA device has the address %s: %s", cfg->address,
		               strerror(errno));
	if (!v->listener->verbs)
		return wh_fail(err, -ENODEV, "no RDMA device has the address %s", cfg->address);
	r = wh_verbs_use_device(v, v->listener, err);
	if (r < 0)
		return r;
	if (rdma_listen(v->listener, (int)v->cfg.pairs) < 0)
		return wh_fail(err, -errno, "cannot listen for RDMA at %s: %s", cfg->address,
		               strerror(errno));
	return 0;
}

/* The pair that @n asks for, or NULL: a stranger's, or one of something else than this migration. */
static struct wh_verbs_pair *pair_asked_for(struct wh_verbs *v, const struct news *n)
{
	const struct hello *hello = &n->hello;

	if (n->hello_bytes < sizeof(*hello) || memcmp(hello->magic, magic, sizeof(magic)) != 0 ||
	    hello->version != VERSION || hello->pairs != v->cfg.pairs ||
	    hello->pair >= v->cfg.pairs || n->id->verbs != v->device)
		return NULL;
	if (memcmp(hello->token, v->token, sizeof(v->token)) != 0 || v->pairs[hello->pair].id)
		return NULL;
	return &v->pairs[hello->pair];
}

static int accept_pair(struct wh_verbs *v, const struct news *n, struct wh_error *err)
{
	struct wh_verbs_pair *pair = pair_asked_for(v, n);
	struct rdma_conn_param param;
	int r;

	if (!pair) {
		(void)rdma_reject(n->id, NULL, 0); /* a stranger may be told or not */
		(void)rdma_destroy_id(n->id);
		return 0;
	}
	pair->id = n->id;
	pair->id->context = pair;
	r = wh_verbs_create_pair(pair, err);
	if (r < 0)
		return r;
	r = set_ack_timeout(pair->id, err);
	if (r < 0)
		return r;
	fill_param(v, &param);
	param.responder_resources = least(param.responder_resources, n->responder_resources);
	param.initiator_depth = least(param.initiator_depth, n->initiator_depth);
	v->caps.reads_max = param.initiator_depth;
	if (rdma_accept(pair->id, &param) < 0)
		return wh_fail(err, -errno, "cannot accept an RDMA connection: %s",
		               strerror(errno));
	return 0;
}

int wh_verbs_begin(struct wh_verbs *v, const struct wh_verbs_config *cfg, struct wh_error *err)
{
	return cfg->passive ? begin_to_listen(v, cfg, err) : begin_to_connect(v, cfg, err);
}

uint16_t wh_verbs_port(const struct wh_verbs *v)
{
	return ntohs(rdma_get_src_port(v->listener));
}

/* --- events ----------------------------------------------------------------------------------- */

static void pair_is_connected(struct wh_verbs *v, struct wh_verbs_pair *pair)
{
	if (!pair->connected)
		v->connected++;
	pair->connected = true;
}

/* What takes a connection forward. Return: 0 or -errno. */
static int go_on(struct wh_verbs *v, const struct news *n, struct wh_error *err)
{
	if (n->type == RDMA_CM_EVENT_ADDR_RESOLVED)
		return find_route(v, n->id, err);
	if (n->type == RDMA_CM_EVENT_ROUTE_RESOLVED)
		return connect_pair(v, n->id->context, err);
	if (n->type == RDMA_CM_EVENT_CONNECT_REQUEST)
		return accept_pair(v, n, err);
	pair_is_connected(v, n->id->context);
	return 0;
}

/* InfiniBand has numbers for it, iWARP a negative errno. */
static const char *refusal(int status)
{
	if (status == 8)
		return "nobody listens there";
	if (status == 28)
		return "the peer knows nothing of it";
	return status < 0 ? strerror(-status) : "the peer does not say why";
}

static int code_of(const struct news *n, int otherwise)
{
	return n->status < 0 ? n->status : otherwise;
}

static void handle(struct wh_verbs *v, const struct news *n)
{
	struct wh_error err;
	int r;

	switch (n->type) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
	case RDMA_CM_EVENT_CONNECT_REQUEST:
	case RDMA_CM_EVENT_ESTABLISHED:
		r = go_on(v, n, &err);
		if (r < 0)
			wh_verbs_end(v, r, "%s", err.text);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
		r = code_of(n, -EHOSTUNREACH);
		wh_verbs_end(v, r, "no RDMA route to the peer: %s", strerror(-r));
		break;
	case RDMA_CM_EVENT_REJECTED:
		wh_verbs_end(v, -ECONNREFUSED, "an RDMA connection was refused: %s",
		             refusal(n->status));
		break;
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
		r = code_of(n, -EHOSTUNREACH);
		wh_verbs_end(v, r, "cannot connect by RDMA: %s", strerror(-r));
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		wh_verbs_end(v, -ECONNRESET, "the peer ended the RDMA connection");
		break;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		v->removed = true;
		wh_verbs_end(v, -ENODEV, "the RDMA device %s was removed", v->caps.device);
		break;
	case RDMA_CM_EVENT_CONNECT_RESPONSE: /* only without a queue pair */
	case RDMA_CM_EVENT_MULTICAST_JOIN:
	case RDMA_CM_EVENT_MULTICAST_ERROR:
	case RDMA_CM_EVENT_ADDR_CHANGE:   /* if that breaks it, works time out */
	case RDMA_CM_EVENT_TIMEWAIT_EXIT: /* behind the end */
		break;
	}
}

static struct news copy_of(const struct rdma_cm_event *event)
{
	const struct rdma_conn_param *param = &event->param.conn;
	struct news n = {
		.type = event->event,
		.id = event->id,
		.status = event->status,
	};

	if (event->event != RDMA_CM_EVENT_CONNECT_REQUEST)
		return n;
	n.responder_resources = param->responder_resources;
	n.initiator_depth = param->initiator_depth;
	if (param->private_data && param->private_data_len >= sizeof(n.hello)) {
		memcpy(&n.hello, param->private_data, sizeof(n.hello));
		n.hello_bytes = sizeof(n.hello);
	}
	return n;
}

/* Strangers may go on to knock, so not for ever: the channel is readable as long as there is more. */
void wh_verbs_take_cm_events(struct wh_verbs *v)
{
	struct rdma_cm_event *event;

	for (uint32_t i = 0; i < WH_POLL_BATCH; i++) {
		struct news n;

		if (rdma_get_cm_event(v->cm, &event) < 0) {
			if (errno != EAGAIN)
				wh_verbs_end(v, -errno, "no news of RDMA connections: %s",
				             strerror(errno));
			return;
		}
		n = copy_of(event);
		(void)rdma_ack_cm_event(event); /* fails for no event only */
		handle(v, &n);
	}
}
