/* SPDX-License-Identifier: Apache-2.0 */

/* TCP socket - what sockets of a migration have in common, whatever they carry. */

#ifndef WH_TCP_SOCKET_H
#define WH_TCP_SOCKET_H

#include "wherry/cleanup.h"
#include "wherry/error.h"

/* Make a socket that talks over @interface only, or wherever if that is "". Return: it, or -errno. */
wh_must_check int wh_tcp_socket(int family, const char *interface, struct wh_error *err);

/* Set an option that is a number. Return: as setsockopt(). */
wh_must_check int wh_tcp_set(int fd, int level, int option, int value);

/* Choose how the sender reacts to congestion: "auto", "system" or a name. Return: 0 or -errno. */
wh_must_check int wh_tcp_congestion(int fd, const char *name, struct wh_error *err);

#endif
