/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Network - the migration network: its interface on this node, and sockets bound to it.
 *
 * Where the settings name a network, every socket is bound to its device (SO_BINDTODEVICE), so
 * that nothing of a migration takes another way. Where they name none, routing decides.
 */

#ifndef WH_NETWORK_H
#define WH_NETWORK_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "loop.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/worker.h"

/**
 * wh_network_find() - Where migrations of this node travel now
 * @interface:	receives the device, or "" if @name is ""
 * @name:	the network that the settings name; "" for none
 *
 * Return: 0; -ENONET if the configuration does not know the network; -EADDRNOTAVAIL if its
 * device is missing, down, or without a usable address.
 */
wh_must_check int wh_network_find(char interface[IFNAMSIZ], const struct wh_config *config,
                                  const char *name, struct wh_error *err);

/* The device that has the address @local. Return: 0, -EADDRNOTAVAIL if none has, or -errno. */
wh_must_check int wh_network_of(char interface[IFNAMSIZ], const union wh_worker_address *local,
                                struct wh_error *err);

/* The device that leads to @address, which is numeric. Return: 0, -EINVAL if it is none, or -errno. */
wh_must_check int wh_network_towards(char interface[IFNAMSIZ], const char *address,
                                     struct wh_error *err);

/* Read a numeric address. Return: 0 or -EINVAL. */
wh_must_check int wh_address_parse(union wh_worker_address *ret, const char *text, uint16_t port);

/* Whether both are the same host; ports do not count, and ::ffff:1.2.3.4 is 1.2.3.4. */
bool wh_address_same_host(const union wh_worker_address *a, const union wh_worker_address *b);

/* This end's or the other end's address of a connected socket, IPv4 as such. 0 or -errno. */
wh_must_check int wh_address_of(int fd, bool other_end, union wh_worker_address *ret);

void wh_address_set_port(union wh_worker_address *address, uint16_t port);

/* Listen on @port of all addresses, at the device if one is given. Return: descriptor or -errno. */
wh_must_check int wh_network_listen(const char *interface, uint16_t port, struct wh_error *err);

/* A connection being made. Zeroed memory is none. */
struct wh_connecting {
	struct wh_watch watch;
	struct wh_timer timer;
	int fd;
	bool active;
	/* @fd is the receiver's, or -errno with a reason. May free this struct. */
	void (*done)(void *ctx, int fd, const char *why);
	void *ctx;
};

/* Connect within WH_CONNECT_NS. Return: 0, and @done comes later; or -errno. */
wh_must_check int wh_connect_start(struct wh_connecting *c, sd_event *loop, const char *interface,
                                   const union wh_worker_address *to);
void wh_connect_stop(struct wh_connecting *c);

#endif
