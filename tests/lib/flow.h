/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Flow - TCP connections that carry nothing but volume, to see how fast they may.
 *
 * Each function returns 0 or a useful positive value, or -errno.
 */

#ifndef WH_FLOW_H
#define WH_FLOW_H

#include <netinet/in.h>
#include <stdint.h>

#define FLOW_MAX 16

/* Listen on @address; port 0 takes a free one and stores it there. Return: the socket. */
int flow_listen(struct sockaddr_in *address);

/* Accept @count connections. */
int flow_accept(int listener, int *fds, int count);

/* Connect @count sockets. */
int flow_connect(const struct sockaddr_in *to, int *fds, int count);

/* Send on all of them as fast as they take it, until @end_ns (CLOCK_MONOTONIC). */
int flow_send(const int *fds, int count, uint64_t end_ns);

/* Receive and discard until @end_ns, or until all peers have closed. Return: bytes. */
int64_t flow_receive(const int *fds, int count, uint64_t end_ns);

#endif
