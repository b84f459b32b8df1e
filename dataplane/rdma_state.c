/* SPDX-License-Identifier: Apache-2.0 */

/* How RDMA comes up beside a link, and how it is taken down. */

#include "rdma_link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "rdma_room.h"
#include "rdma_way.h"

#include "wherry/clock.h"

/* Works on each pair: of the largest 16 MiB, more than leaves in a delay of 1 ms at 100 Gbit/s. */
#define DEPTH 64u

/* One of so many works tells of its end. */
#define SIGNAL_EVERY 8u

/* Barriers in flight: frames that follow writes, and the answer to one takes a round trip. */
#define MARKS 16u

/* Events of @fd end the wait for something to happen. */
static void watch(struct wh_rdma_link *link, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	/* A test's verbs may have none, and then it has the transport look all the time. */
	if (fd >= 0)
		(void)epoll_ctl(link->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void unwatch(struct wh_rdma_link *link, int fd)
{
	if (fd >= 0)
		(void)epoll_ctl(link->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void wh_rdma_cut(struct wh_rdma_link *link)
{
	if (!link->verbs)
		return;
	unwatch(link, wh_verbs_fd(link->verbs));
	if (link->enroll)
		unwatch(link, wh_rdma_enroll_fd(link->enroll)); /* nobody takes its results now */
	wh_verbs_cut(link->verbs);
}

void wh_rdma_take_down(struct wh_rdma_link *link)
{
	for (uint32_t i = 0; i < link->depth; i++)
		link->slots[i].awaits = NULL;
	if (link->pairs)
		link->arrived = wh_rdma_pairs_arrived(link->pairs);
	wh_rdma_cut(link);
	link->enroll = wh_rdma_enroll_free(link->enroll);
	wh_rdma_chunks_expel(&link->chunks, link->verbs);
	link->pairs = wh_rdma_pairs_free(link->pairs);
	link->verbs = wh_verbs_close(link->verbs);
	link->wake_ns = 0;
	link->unsettled = 0;
	link->paid_bytes = 0;
	link->rate.in_flight_bytes = 0;
}

void wh_rdma_give_up(struct wh_rdma_link *link, const char *reason)
{
	(void)snprintf(link->reason, sizeof(link->reason), "%s",
	               *reason ? reason : "RDMA broke, and the device does not say why");
	wh_rdma_take_down(link);
	link->state = link->passive ? WH_RDMA_OVER : WH_RDMA_BROKEN;
	link->tell_offer = false;
	link->tell_over = true;
	if (link->passive && link->carries)
		link->carries(link->context, WH_TRANSPORT_TCP, link->reason);
}

/* Set how much may be enrolled at once. Return: 0 or -EPERM. */
static int set_room(struct wh_rdma_link *link, bool on_demand, struct wh_error *err)
{
	return wh_rdma_room(link->options.pinned_bytes_max, UINT64_C(1) << link->chunks.order,
	                    on_demand, &link->chunks.pinned_bytes_max, err);
}

/* The pairs are connected: make what is needed to use them. Return: 0, -ENOMEM or -EPERM. */
static int come_up(struct wh_rdma_link *link, struct wh_error *err)
{
	const struct wh_rdma_pairs_config cfg = {
		.verbs = link->verbs,
		.pairs = link->options.pairs,
		.depth = DEPTH,
		.signal_every = SIGNAL_EVERY,
		.marks = MARKS,
	};
	const bool on_demand = link->options.odp && wh_verbs_caps(link->verbs)->on_demand;
	int r = set_room(link, on_demand, err); /* now the device is known */

	if (r < 0)
		return r;
	link->pairs = wh_rdma_pairs_new(&cfg);
	link->enroll = wh_rdma_enroll_new(link->verbs);
	if (!link->pairs || !link->enroll)
		return -ENOMEM;
	watch(link, wh_rdma_enroll_fd(link->enroll));
	link->chunks.enroll = link->enroll;
	link->chunks.rights = (link->passive ? WH_VERBS_LOCAL_WRITE | WH_VERBS_REMOTE_WRITE : 0u) |
	                      (on_demand ? WH_VERBS_ON_DEMAND : 0u);
	link->rate.kernel_charges = wh_verbs_caps(link->verbs)->in_kernel;
	link->state = WH_RDMA_UP;
	link->wake_ns = 0;
	link->try_waiting = true;
	if (link->carries)
		link->carries(link->context, WH_TRANSPORT_RDMA, "");
	return 0;
}

void wh_rdma_begin(struct wh_rdma_link *link, uint16_t port)
{
	struct wh_error err = { "" };
	const struct wh_verbs_config cfg = {
		.passive = link->passive,
		.address = link->address,
		.local = link->local,
		.port = port,
		.pairs = link->options.pairs,
		.depth = DEPTH,
		.marks = WH_RDMA_PAIRS_RECEIVES(MARKS),
		.token = link->token,
	};
	int r = set_room(link, link->options.odp, &err);

	if (r == 0)
		r = wh_verbs_open(&link->verbs, &cfg, &err);
	if (r < 0) {
		wh_rdma_give_up(link, err.text);
		return;
	}
	watch(link, wh_verbs_fd(link->verbs));
	link->give_up_ns = wh_now_ns(&wh_clock_monotonic) + WH_RDMA_CONNECT_NS;
	if (!link->passive)
		link->wake_ns = link->give_up_ns;
}

void wh_rdma_advance(struct wh_rdma_link *link)
{
	struct wh_error err = { "" };
	int r = wh_verbs_advance(link->verbs, &err);

	if (r > 0)
		r = come_up(link, &err);
	if (r < 0)
		wh_rdma_give_up(link, *err.text ? err.text : strerror(-r));
	else if (link->wake_ns && wh_now_ns(&wh_clock_monotonic) >= link->give_up_ns)
		wh_rdma_give_up(link, "the target cannot be reached by RDMA");
}
