/* SPDX-License-Identifier: Apache-2.0 */

/* Config of RDMA - the keys "transport" and "rdma" of config.h. */

#ifndef WH_CONFIG_RDMA_H
#define WH_CONFIG_RDMA_H

#include "wherry/error.h"
#include "wherry/transport.h"

struct wh_yaml_node;

/* What holds without the key. */
extern const struct wh_rdma_options wh_rdma_defaults;

/* Each returns 0, or -errno with the place of the mistake. */
wh_must_check int wh_rdma_config_read(struct wh_rdma_options *ret, const struct wh_yaml_node *node,
                                      struct wh_error *err);
wh_must_check int wh_transport_kind_read(enum wh_transport_kind *ret,
                                         const struct wh_yaml_node *node, struct wh_error *err);

/* "auto", "tcp", "rdma" */
const char *wh_transport_kind_name(enum wh_transport_kind kind);

/* The kind of this name. Return: 0, or -EINVAL if there is none. */
wh_must_check int wh_transport_kind_parse(enum wh_transport_kind *ret, const char *name);

#endif
