/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What each transport implements: the calls of include/wherry/transport.h. An implementation's
 * own link begins with a struct wh_transport.
 */

#ifndef WH_TRANSPORT_OPS_H
#define WH_TRANSPORT_OPS_H

#include "wherry/transport.h"

struct wh_transport_ops {
	const char *scheme; /* the part of the URI before "://" */
	int (*open)(struct wh_transport **ret, const struct wh_link_config *cfg,
	            struct wh_error *err);
	struct wh_transport *(*close)(struct wh_transport *link);
	int (*map)(struct wh_transport *link, uint16_t region, const struct wh_memory *memory);
	void (*unmap)(struct wh_transport *link, uint16_t region);
	int (*write)(struct wh_transport *link, const struct wh_write *w);
	void (*forget)(struct wh_transport *link, uint16_t region, uint64_t offset, uint64_t len);

	/* NULL where no device knows memory. */
	bool (*pins)(struct wh_transport *link, uint16_t region, uint64_t offset, uint64_t len);
	void (*discard)(struct wh_transport *link, uint16_t region, uint64_t offset, uint64_t len);

	/*
	 * From now on, a poll that would wait returns -EAGAIN when @fd, which is borrowed, is readable.
	 * NULL where nothing goes beside.
	 */
	void (*watch)(struct wh_transport *link, int fd);
	int (*send)(struct wh_transport *link, const void *data, uint32_t len);
	int (*poll)(struct wh_transport *link, struct wh_event *events, uint32_t max,
	            uint64_t deadline_ns);
	int (*urgent)(const struct wh_transport *link);

	/* NULL where there is no RDMA. */
	struct wh_rdma_reads *(*reads)(const struct wh_transport *link,
	                               const struct wh_rdma_reads_config *cfg);
	struct wh_rdma_lend *(*lend)(const struct wh_transport *link,
	                             const struct wh_rdma_lend_config *cfg);
	struct wh_sent (*sent)(const struct wh_transport *link);
};

struct wh_transport {
	const struct wh_transport_ops *ops;
};

/* The transports of this program; ends with NULL. */
extern const struct wh_transport_ops *const wh_transports[];

/* The one of this program that RDMA goes beside. */
extern const struct wh_transport_ops *const wh_rdma_beside;

extern const struct wh_transport_ops wh_transport_tcp;
extern const struct wh_transport_ops wh_transport_rdma;
extern const struct wh_transport_ops wh_transport_loop;

#endif
