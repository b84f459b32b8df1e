/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Verbs - memory, works and completions, over libibverbs.
 *
 * All pairs share two completion queues, one for what this end posts and one for marks that arrive,
 * and one channel that tells of both. It is one of three that can say something; the others are the
 * connection manager's and the device's own. They are asked only when there is no completion, which
 * costs one system call; a device that is gone completes nothing.
 *
 * A mark is a write of no bytes with immediate data. iWARP has no such thing, so there it is a send
 * of four bytes, out of and into memory that is enrolled for that ("notes").
 */

#include "verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "verbs_end.h"

#include "wherry/assert.h"

void wh_verbs_end(struct wh_verbs *v, int code, const char *fmt, ...)
{
	va_list args;

	wh_assert(code < 0);
	if (v->over)
		return;
	v->over = code;
	va_start(args, fmt);
	if (vsnprintf(v->reason.text, sizeof(v->reason.text), fmt, args) < 0)
		v->reason.text[0] = '\0';
	va_end(args);
}

const char *wh_verbs_reason(const struct wh_verbs *v)
{
	return v->reason.text;
}

/* --- what all pairs share --------------------------------------------------------------------- */

static int watch(struct wh_verbs *v, int fd, struct wh_error *err)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
	const int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    epoll_ctl(v->fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return wh_fail(err, -errno, "cannot watch a channel of the RDMA device: %s",
		               strerror(errno));
	return 0;
}

/* The kernel's two devices of software, rxe and siw, by what they say instead of a vendor's number. */
static bool is_in_kernel(const struct ibv_device_attr *attr)
{
	return attr->vendor_id == 0xffffff || attr->vendor_id == 0x626d74;
}

static bool faults_pages_in(const struct ibv_odp_caps *odp)
{
	const uint32_t needed = IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;

	return (odp->general_caps & IBV_ODP_SUPPORT) &&
	       (odp->per_transport_caps.rc_odp_caps & needed) == needed;
}

static int query(struct wh_verbs *v, uint8_t port, struct wh_error *err)
{
	struct ibv_device_attr_ex attr;
	struct ibv_port_attr port_attr;
	const struct ibv_device_attr *d = &attr.orig_attr;
	const char *name = ibv_get_device_name(v->device->device);
	int r;

	r = ibv_query_device_ex(v->device, NULL, &attr);
	if (r == 0)
		r = ibv_query_port(v->device, port, &port_attr);
	if (r)
		return wh_fail(err, -r, "cannot ask RDMA device %s: %s", name, strerror(r));
	if ((uint32_t)d->max_qp_wr < v->cfg.depth || (uint32_t)d->max_qp_wr < v->cfg.marks ||
	    (uint32_t)d->max_cqe < v->cfg.depth * v->cfg.pairs)
		return wh_fail(err, -ENOSPC, "RDMA device %s has queues of %d works, too few", name,
		               d->max_qp_wr);
	v->initiator_depth = (uint8_t)(d->max_qp_init_rd_atom < 255 ? d->max_qp_init_rd_atom : 255);
	v->responder_resources = (uint8_t)(d->max_qp_rd_atom < 255 ? d->max_qp_rd_atom : 255);
	v->caps = (struct wh_verbs_caps){
		.device = name,
		.write_len_max = port_attr.max_msg_sz < WH_RDMA_WRITE_LEN_MAX
		                         ? port_attr.max_msg_sz
		                         : WH_RDMA_WRITE_LEN_MAX,
		.reads_max = v->initiator_depth,
		.enroll_max = d->max_mr_size,
		.on_demand = faults_pages_in(&attr.odp_caps),
		.in_kernel = is_in_kernel(d),
		.write_with_imm = v->device->device->transport_type != IBV_TRANSPORT_IWARP &&
		                  !v->cfg.marks_as_sends,
	};
	return 0;
}

/* Notes of a pair: first those that arrive, one for each receive, then those that are sent. */
static uint32_t *notes_of(const struct wh_verbs *v, const struct wh_verbs_pair *pair)
{
	return &v->notes[(size_t)(pair - v->pairs) * (v->cfg.marks + v->cfg.depth)];
}

static int create_notes(struct wh_verbs *v)
{
	const size_t count = (size_t)v->cfg.pairs * (v->cfg.marks + v->cfg.depth);

	if (v->caps.write_with_imm)
		return 0;
	v->notes = calloc(count, sizeof(*v->notes));
	if (!v->notes)
		return -ENOMEM;
	v->notes_mr =
		ibv_reg_mr(v->pd, v->notes, count * sizeof(*v->notes), IBV_ACCESS_LOCAL_WRITE);
	return v->notes_mr ? 0 : -errno;
}

static int create_queues(struct wh_verbs *v)
{
	const int sends = (int)(v->cfg.pairs * v->cfg.depth);
	const int receives = (int)(v->cfg.pairs * v->cfg.marks);

	v->pd = ibv_alloc_pd(v->device);
	if (!v->pd)
		return -errno;
	v->channel = ibv_create_comp_channel(v->device);
	if (!v->channel)
		return -errno;
	v->send_cq = ibv_create_cq(v->device, sends, NULL, v->channel, 0);
	if (!v->send_cq)
		return -errno;
	v->recv_cq = ibv_create_cq(v->device, receives, NULL, v->channel, 0);
	return v->recv_cq ? 0 : -errno;
}

int wh_verbs_use_device(struct wh_verbs *v, struct rdma_cm_id *id, struct wh_error *err)
{
	int r;

	if (v->device)
		return v->device == id->verbs
		               ? 0
		               : wh_fail(err, -EXDEV, "the peer is behind several RDMA devices");
	v->device = id->verbs;
	r = query(v, id->port_num, err);
	if (r < 0)
		return r;
	r = create_queues(v);
	if (r == 0)
		r = create_notes(v);
	if (r < 0)
		return wh_fail(err, r, "RDMA device %s has no queues for us: %s", v->caps.device,
		               strerror(-r));
	r = watch(v, v->channel->fd, err);
	return r < 0 ? r : watch(v, v->device->async_fd, err);
}

/* --- works ------------------------------------------------------------------------------------ */

static int post_receive(struct wh_verbs_pair *pair, uint32_t slot)
{
	struct wh_verbs *v = pair->end;
	struct ibv_recv_wr wr = { .wr_id = slot }, *bad;
	struct ibv_sge sge;

	if (v->notes) {
		sge = (struct ibv_sge){
			.addr = (uintptr_t)&notes_of(v, pair)[slot],
			.length = sizeof(*v->notes),
			.lkey = v->notes_mr->lkey,
		};
		wr.sg_list = &sge;
		wr.num_sge = 1;
	}
	return -ibv_post_recv(pair->id->qp, &wr, &bad);
}

int wh_verbs_create_pair(struct wh_verbs_pair *pair, struct wh_error *err)
{
	struct wh_verbs *v = pair->end;
	struct ibv_qp_init_attr attr = {
		.send_cq = v->send_cq,
		.recv_cq = v->recv_cq,
		.cap = {
			.max_send_wr = v->cfg.depth,
			.max_recv_wr = v->cfg.marks,
			.max_send_sge = 1,
			.max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC,
	};

	if (rdma_create_qp(pair->id, v->pd, &attr) < 0)
		return wh_fail(err, -errno, "RDMA device %s has no queue pair for us: %s",
		               v->caps.device, strerror(errno));
	for (uint32_t i = 0; i < v->cfg.marks; i++) {
		int r = post_receive(pair, i);

		if (r < 0)
			return wh_fail(err, r, "cannot receive by RDMA: %s", strerror(-r));
	}
	return 0;
}

static void take_news(struct wh_verbs *v);

static int post(struct wh_verbs *v, uint32_t number, struct ibv_send_wr *wr)
{
	struct ibv_send_wr *bad;
	int r;

	wh_assert(number < v->cfg.pairs && !v->cut);
	if (v->over)
		return v->over;
	r = ibv_post_send(v->pairs[number].id->qp, wr, &bad);
	if (!r)
		return 0;
	take_news(v); /* which may know why */
	wh_verbs_end(v, -r, "cannot send by RDMA: %s", strerror(r));
	return v->over;
}

/* A work request's id is its cookie, and above it its kind: a failure does not tell the latter. */
static int post_work(struct wh_verbs *v, uint32_t pair, const struct wh_verbs_work *w, bool reads)
{
	const uint64_t kind = reads ? WH_COMPLETION_READ : WH_COMPLETION_WRITE;
	struct ibv_sge sge = {
		.addr = (uintptr_t)w->local_addr,
		.length = w->len,
		.lkey = w->local_key,
	};
	struct ibv_send_wr wr = {
		.wr_id = kind << WH_VERBS_COOKIE_BITS | w->cookie,
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = reads ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
		.send_flags = w->signalled ? IBV_SEND_SIGNALED : 0,
		.wr.rdma = { .remote_addr = w->remote_addr, .rkey = w->remote_key },
	};

	wh_assert(w->len >= 1 && w->len <= v->caps.write_len_max && w->cookie < WH_VERBS_COOKIES);
	return post(v, pair, &wr);
}

int wh_verbs_write(struct wh_verbs *v, uint32_t pair, const struct wh_verbs_work *w)
{
	return post_work(v, pair, w, false);
}

int wh_verbs_read(struct wh_verbs *v, uint32_t pair, const struct wh_verbs_work *w)
{
	return post_work(v, pair, w, true);
}

/* Of as many notes as there may be works, none is taken again while it is on its way. */
static struct ibv_sge note(struct wh_verbs *v, struct wh_verbs_pair *pair, uint32_t value)
{
	uint32_t *note = &notes_of(v, pair)[v->cfg.marks + pair->notes_sent++ % v->cfg.depth];

	*note = htonl(value);
	return (struct ibv_sge){
		.addr = (uintptr_t)note,
		.length = sizeof(*note),
		.lkey = v->notes_mr->lkey,
	};
}

int wh_verbs_mark(struct wh_verbs *v, uint32_t pair, uint32_t value, uint64_t cookie)
{
	struct ibv_send_wr wr = {
		.wr_id = (uint64_t)WH_COMPLETION_MARK << WH_VERBS_COOKIE_BITS | cookie,
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.send_flags = IBV_SEND_SIGNALED,
		.imm_data = htonl(value),
	};
	struct ibv_sge sge;

	wh_assert(pair < v->cfg.pairs && cookie < WH_VERBS_COOKIES);
	if (v->notes) {
		sge = note(v, &v->pairs[pair], value);
		wr.opcode = IBV_WR_SEND;
		wr.sg_list = &sge;
		wr.num_sge = 1;
	}
	return post(v, pair, &wr);
}

/* --- completions ------------------------------------------------------------------------------ */

static int error_of(enum ibv_wc_status status)
{
	if (status == IBV_WC_SUCCESS)
		return 0;
	if (status == IBV_WC_WR_FLUSH_ERR)
		return -ECANCELED;
	if (status == IBV_WC_RETRY_EXC_ERR || status == IBV_WC_RNR_RETRY_EXC_ERR ||
	    status == IBV_WC_RESP_TIMEOUT_ERR)
		return -ETIMEDOUT;
	if (status == IBV_WC_REM_ACCESS_ERR)
		return -EACCES;
	if (status == IBV_WC_LOC_PROT_ERR || status == IBV_WC_LOC_ACCESS_ERR)
		return -EFAULT;
	return -EIO;
}

static struct wh_verbs_pair *pair_of(struct wh_verbs *v, uint32_t qp_num)
{
	uint32_t i = 0;

	while (v->pairs[i].id->qp->qp_num != qp_num) {
		i++;
		wh_assert(i < v->cfg.pairs); /* no others are on these queues */
	}
	return &v->pairs[i];
}

static struct wh_completion sent(struct wh_verbs *v, const struct ibv_wc *wc)
{
	return (struct wh_completion){
		.kind = (enum wh_completion_kind)(wc->wr_id >> WH_VERBS_COOKIE_BITS),
		.pair = (uint32_t)(pair_of(v, wc->qp_num) - v->pairs),
		.cookie = wc->wr_id & (WH_VERBS_COOKIES - 1),
		.error = error_of(wc->status),
	};
}

/* What is no mark, or an empty one, has the value 0, which nobody sends. */
static uint32_t value_of(struct wh_verbs *v, struct wh_verbs_pair *pair, const struct ibv_wc *wc)
{
	if (wc->wc_flags & IBV_WC_WITH_IMM)
		return ntohl(wc->imm_data);
	if (v->notes && wc->byte_len == sizeof(*v->notes))
		return ntohl(notes_of(v, pair)[wc->wr_id]);
	return 0;
}

static struct wh_completion received(struct wh_verbs *v, const struct ibv_wc *wc)
{
	struct wh_verbs_pair *pair = pair_of(v, wc->qp_num);
	struct wh_completion c = {
		.kind = WH_COMPLETION_MARKED,
		.pair = (uint32_t)(pair - v->pairs),
		.error = error_of(wc->status),
	};
	int r;

	if (c.error)
		return c;
	c.value = value_of(v, pair, wc);
	r = post_receive(pair, (uint32_t)wc->wr_id);
	if (r < 0)
		wh_verbs_end(v, r, "cannot receive by RDMA: %s", strerror(-r));
	return c;
}

static void note_error(struct wh_verbs *v, const struct wh_completion *c, enum ibv_wc_status status)
{
	if (c->error && c->error != -ECANCELED)
		wh_verbs_end(v, c->error == -ETIMEDOUT ? -ECONNRESET : -EIO,
		             "RDMA on queue pair %u of %s: %s", c->pair, v->caps.device,
		             ibv_wc_status_str(status));
}

/* Take up to @max from one queue. Return: how many, or -errno. */
static int take_from(struct wh_verbs *v, struct ibv_cq *cq, struct wh_completion *completions,
                     uint32_t max)
{
	struct ibv_wc wcs[WH_POLL_BATCH];
	int n;

	n = ibv_poll_cq(cq, (int)(max < WH_POLL_BATCH ? max : WH_POLL_BATCH), wcs);
	if (n < 0)
		wh_verbs_end(v, -EIO, "RDMA device %s tells of no works any more", v->caps.device);
	for (int i = 0; i < n; i++) {
		completions[i] = cq == v->send_cq ? sent(v, &wcs[i]) : received(v, &wcs[i]);
		note_error(v, &completions[i], wcs[i].status);
	}
	return n;
}

/* --- news of the device ----------------------------------------------------------------------- */

static bool is_ours(const struct wh_verbs *v, const struct ibv_qp *qp)
{
	for (uint32_t i = 0; i < v->cfg.pairs; i++) {
		if (v->pairs[i].id && v->pairs[i].id->qp == qp)
			return true;
	}
	return false;
}

/* Whether RDMA is over by it. A port that went down may come back; if not, works time out. */
static bool ends_it(const struct wh_verbs *v, const struct ibv_async_event *event)
{
	switch (event->event_type) {
	case IBV_EVENT_CQ_ERR:
		return event->element.cq == v->send_cq || event->element.cq == v->recv_cq;
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
	case IBV_EVENT_PATH_MIG_ERR:
		return is_ours(v, event->element.qp);
	case IBV_EVENT_DEVICE_FATAL: /* the caller's */
	case IBV_EVENT_COMM_EST:
	case IBV_EVENT_SQ_DRAINED:
	case IBV_EVENT_PATH_MIG:
	case IBV_EVENT_PORT_ACTIVE:
	case IBV_EVENT_PORT_ERR:
	case IBV_EVENT_LID_CHANGE:
	case IBV_EVENT_PKEY_CHANGE:
	case IBV_EVENT_SM_CHANGE:
	case IBV_EVENT_SRQ_ERR:
	case IBV_EVENT_SRQ_LIMIT_REACHED:
	case IBV_EVENT_QP_LAST_WQE_REACHED:
	case IBV_EVENT_CLIENT_REREGISTER:
	case IBV_EVENT_GID_CHANGE:
	case IBV_EVENT_WQ_FATAL:
		return false;
	}
	return false;
}

static void take_async_events(struct wh_verbs *v)
{
	struct ibv_async_event event;

	for (uint32_t i = 0; i < WH_POLL_BATCH; i++) {
		if (ibv_get_async_event(v->device, &event) < 0)
			return;
		v->removed |= event.event_type == IBV_EVENT_DEVICE_FATAL;
		if (v->removed)
			wh_verbs_end(v, -ENODEV, "the RDMA device %s failed or was removed",
			             v->caps.device);
		else if (ends_it(v, &event))
			wh_verbs_end(v, -EIO, "RDMA device %s: %s", v->caps.device,
			             ibv_event_type_str(event.event_type));
		ibv_ack_async_event(&event);
	}
}

/* The channel has said what it had to: that there are completions, which are asked for anyway. */
static void take_notifications(struct wh_verbs *v)
{
	struct ibv_cq *cq;
	void *context;

	while (ibv_get_cq_event(v->channel, &cq, &context) == 0) {
		ibv_ack_cq_events(cq, 1);
		v->armed = false;
	}
}

/* Hear all three channels, as far as they have something to say. */
static void take_news(struct wh_verbs *v)
{
	struct epoll_event events[3];
	const int n = epoll_wait(v->fd, events, 3, 0);

	for (int i = 0; i < n; i++) {
		if (events[i].data.fd == v->cm->fd)
			wh_verbs_take_cm_events(v);
		else if (events[i].data.fd == v->channel->fd)
			take_notifications(v);
		else
			take_async_events(v);
	}
}

int wh_verbs_poll(struct wh_verbs *v, struct wh_completion *completions, uint32_t max)
{
	int n, more;

	wh_assert(max >= 1 && !v->cut);
	n = take_from(v, v->send_cq, completions, max);
	if (n >= 0 && (uint32_t)n < max) {
		more = take_from(v, v->recv_cq, completions + n, max - (uint32_t)n);
		n += more > 0 ? more : 0;
	}
	if (n > 0) {
		v->armed = false;
		return n;
	}
	take_news(v);
	return v->over;
}

int wh_verbs_arm(struct wh_verbs *v)
{
	int r;

	if (v->armed)
		return 1;
	r = ibv_req_notify_cq(v->send_cq, 0);
	if (r == 0)
		r = ibv_req_notify_cq(v->recv_cq, 0);
	v->armed = r == 0;
	return -r;
}

int wh_verbs_fd(const struct wh_verbs *v)
{
	return v->fd;
}

/* --- memory ----------------------------------------------------------------------------------- */

static unsigned int access_of(uint32_t rights)
{
	unsigned int access = 0;

	if (rights & (WH_VERBS_LOCAL_WRITE | WH_VERBS_REMOTE_WRITE))
		access |= IBV_ACCESS_LOCAL_WRITE;
	if (rights & WH_VERBS_REMOTE_WRITE)
		access |= IBV_ACCESS_REMOTE_WRITE;
	if (rights & WH_VERBS_REMOTE_READ)
		access |= IBV_ACCESS_REMOTE_READ;
	if (rights & WH_VERBS_ON_DEMAND)
		access |= IBV_ACCESS_ON_DEMAND;
	return access;
}

int wh_verbs_enroll(struct wh_verbs *v, const void *addr, uint64_t bytes, uint32_t rights,
                    struct wh_verbs_key *ret)
{
	void *start = (void *)(uintptr_t)addr;
	struct ibv_mr *mr;

	mr = ibv_reg_mr(v->pd, start, bytes, access_of(rights));
	if (!mr)
		return -errno;
	(void)atomic_fetch_add(&v->keys, 1);
	*ret = (struct wh_verbs_key){ .local = mr->lkey, .remote = mr->rkey, .handle = mr };
	return 0;
}

void wh_verbs_expel(struct wh_verbs *v, struct wh_verbs_key *key)
{
	if (!key->handle)
		return;
	(void)ibv_dereg_mr(
		key->handle); /* fails if the device is gone, which has unpinned it, too */
	(void)atomic_fetch_sub(&v->keys, 1);
	*key = (struct wh_verbs_key){ 0 };
}

/* --- an end from open to close ---------------------------------------------------------------- */

static int open_channels(struct wh_verbs *v, struct wh_error *err)
{
	v->fd = epoll_create1(EPOLL_CLOEXEC);
	if (v->fd < 0)
		return wh_fail(err, -errno, "epoll_create1: %s", strerror(errno));
	v->cm = rdma_create_event_channel();
	if (!v->cm)
		return wh_fail(err, -ENODEV, "this host has no RDMA: %s", strerror(errno));
	return watch(v, v->cm->fd, err);
}

int wh_verbs_open(struct wh_verbs **ret, const struct wh_verbs_config *cfg, struct wh_error *err)
{
	wh_cleanup(wh_verbs_closep) struct wh_verbs *v = calloc(1, sizeof(*v));
	int r;

	wh_assert(cfg->pairs >= 1 && cfg->pairs <= WH_RDMA_PAIRS_MAX);
	wh_assert(cfg->depth >= 1 && cfg->depth <= WH_RDMA_DEPTH_MAX);
	if (!v)
		return wh_fail(err, -ENOMEM, "no memory for RDMA");
	v->fd = -1;
	v->cfg = (struct wh_verbs_config){
		.passive = cfg->passive,
		.pairs = cfg->pairs,
		.depth = cfg->depth,
		.marks = cfg->marks,
		.marks_as_sends = cfg->marks_as_sends,
	};
	memcpy(v->token, cfg->token, sizeof(v->token));
	for (uint32_t i = 0; i < cfg->pairs; i++)
		v->pairs[i].end = v;
	r = open_channels(v, err);
	if (r == 0)
		r = wh_verbs_begin(v, cfg, err);
	if (r < 0)
		return r;
	*ret = wh_steal(v);
	return 0;
}

int wh_verbs_advance(struct wh_verbs *v, struct wh_error *err)
{
	take_news(v);
	if (v->over)
		return wh_fail(err, v->over, "%s", v->reason.text);
	return v->connected == v->cfg.pairs;
}

const struct wh_verbs_caps *wh_verbs_caps(const struct wh_verbs *v)
{
	return &v->caps;
}

void wh_verbs_cut(struct wh_verbs *v)
{
	v->cut = true;
	for (uint32_t i = 0; i < v->cfg.pairs; i++) {
		struct rdma_cm_id *id = v->pairs[i].id;

		if (!id || !id->qp)
			continue;
		(void)rdma_disconnect(id); /* fails if the peer was faster, or the device is gone */
		rdma_destroy_qp(id);
	}
}

/* What is destroyed here may be of a device that is gone: then it fails, and nothing is left. */
static void close_device(struct wh_verbs *v)
{
	if (v->notes_mr)
		(void)ibv_dereg_mr(v->notes_mr);
	if (v->recv_cq)
		(void)ibv_destroy_cq(v->recv_cq);
	if (v->send_cq)
		(void)ibv_destroy_cq(v->send_cq);
	if (v->channel)
		(void)ibv_destroy_comp_channel(v->channel);
	if (v->pd)
		(void)ibv_dealloc_pd(v->pd);
	free(v->notes);
}

/*
 * librdmacm keeps a device open until the process ends, and a kernel whose driver cannot take a
 * device away from its users (soft-RoCE of Linux 6.12) waits for that. So its descriptors become
 * another file's.
 */
static void let_go_of_device(const struct wh_verbs *v)
{
	if (!v->removed)
		return;
	(void)dup3(v->fd, v->device->cmd_fd, O_CLOEXEC); /* there is nothing else to be tried */
	(void)dup3(v->fd, v->device->async_fd, O_CLOEXEC);
}

struct wh_verbs *wh_verbs_close(struct wh_verbs *v)
{
	if (!v)
		return NULL;
	if (v->device)
		take_news(v); /* of a removal, whatever was the reason to close */
	wh_verbs_cut(v);
	wh_assert(atomic_load(&v->keys) == 0);
	close_device(v);
	let_go_of_device(v); /* before its ids: from then on it may be freed */
	for (uint32_t i = 0; i < v->cfg.pairs; i++) {
		if (v->pairs[i].id)
			(void)rdma_destroy_id(v->pairs[i].id);
	}
	if (v->listener)
		(void)rdma_destroy_id(v->listener);
	if (v->cm)
		rdma_destroy_event_channel(v->cm);
	if (v->fd >= 0)
		(void)close(v->fd);
	free(v);
	return NULL;
}
