/* SPDX-License-Identifier: Apache-2.0 */

/* Config of libvirt - the key "libvirt" of config.h. */

#ifndef WH_CONFIG_LIBVIRT_H
#define WH_CONFIG_LIBVIRT_H

#include "config.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"

struct wh_yaml_node;

/* Return: 0 or -errno with the place of the mistake. */
wh_must_check int wh_libvirt_config_read(struct wh_libvirt_config **ret,
                                         const struct wh_yaml_node *node, struct wh_error *err);

/* Accepts NULL and half-read ones, returns NULL. */
struct wh_libvirt_config *wh_libvirt_config_free(struct wh_libvirt_config *config);

WH_DEFINE_CLEANUP(struct wh_libvirt_config, wh_libvirt_config_free)

#endif
