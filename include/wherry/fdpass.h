/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Descriptor passing over a unix SOCK_SEQPACKET socket.
 *
 * Threads: any, one at a time for each socket.
 */

#ifndef WH_FDPASS_H
#define WH_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

#include "cleanup.h"

/* The kernel's SCM_MAX_FD: more descriptors than this cannot travel with one message. */
#define WH_FDPASS_MAX 253u

/* What travels in one message. The descriptors are borrowed when sending. */
struct wh_fdpass {
	void *data;
	size_t len; /* bytes in @data; when receiving, its size */
	int *fds;
	size_t fd_count; /* when receiving, room in @fds */
};

/* Send one message. Return: 0 or -errno. Never raises SIGPIPE. */
wh_must_check int wh_fdpass_send(int sock, const struct wh_fdpass *msg);

/**
 * wh_fdpass_recv() - Receive one message
 * @msg:	says how much fits; receives how much came. The descriptors are then the caller's,
 *		close-on-exec.
 *
 * Return: 1 with a message, 0 if the peer has closed its end, -EMSGSIZE if the message or its
 * descriptors did not fit (none is kept), -EAGAIN on an empty non-blocking socket, or -errno.
 */
wh_must_check int wh_fdpass_recv(int sock, struct wh_fdpass *msg);

/* Move a descriptor out of *@fd: returns it and leaves -1 there. */
int wh_steal_fd(int *fd);

/* Close *@fd if it is open, and leave -1 there. For wh_cleanup(). */
void wh_closep(int *fd);

#endif
