/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Node protocol - what the wherryds of two nodes say to each other: docs/node-protocol.md.
 *
 * One connection serves one migration, or is a member's to its coordinator. Messages are JSON lines; each type has exactly the fields
 * that the table in node_protocol.c gives it, and a message with a field missing, of the wrong
 * type, out of bounds or unknown is refused. What passed is well-formed and still only a claim.
 */

#ifndef WH_NODE_PROTOCOL_H
#define WH_NODE_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"
#include "wherry/stats.h"
#include "wherry/worker.h"

/* The versions spoken here; a hello offers them, and the answer picks one. */
#define WH_NODE_VERSION_MIN 1u
#define WH_NODE_VERSION_MAX 5u

/* The first one that knows post-copy. */
#define WH_NODE_VERSION_POST_COPY 2u

/* The first one that knows RDMA. */
#define WH_NODE_VERSION_RDMA 4u

/* The first one that moves domains of libvirt as it is done now. */
#define WH_NODE_VERSION_DOMAINS 5u

enum wh_node_type {
	WH_NODE_HELLO,    /* caller's first line on a control connection */
	WH_NODE_WELCOME,  /* its answer */
	WH_NODE_JOIN,     /* first line of a member of the cluster; rpc.h follows */
	WH_NODE_TUNNEL,   /* first line of a tunnel; raw bytes follow */
	WH_NODE_PREPARE,  /* source: make a destination for this guest */
	WH_NODE_EXPECT,   /* source: libvirt is about to bring this domain */
	WH_NODE_EXPECTED, /* target: it may begin */
	WH_NODE_READY,    /* target: the mover listens at this port */
	WH_NODE_PROCEED,  /* source: the target's libvirt may go on, and receive the device state */
	WH_NODE_LANDED,   /* target: its memory is complete */
	WH_NODE_STAY,     /* source: the domain is here for good, remove what came */
	WH_NODE_RUNNING,  /* target: committed, and the guest runs if it ran before */
	WH_NODE_FAILED,   /* target: it will never run the guest */
	WH_NODE_CANCEL,   /* source: undo */
	WH_NODE_ASK,      /* source: did you commit? */
	WH_NODE_ANSWER,   /* target */
	WH_NODE_RESUME,   /* source: post-copy broke off, go on */
	WH_NODE_FAULTS,   /* target: how long the guest has waited for pages */
	WH_NODE_FINISHED, /* source: its guest is gone, the record may go, too */
	WH_NODE_CLOSED,   /* target: the record is gone */
	WH_NODE_PING,     /* either, each second */
	WH_NODE_TYPES,
};

/* What a tunnel carries. */
enum wh_stream {
	WH_STREAM_STATE,   /* the stream of a QEMU that wherry drives itself */
	WH_STREAM_LIBVIRT, /* a connection to the target's libvirtd */
	WH_STREAM_MEMORY,  /* the stream of a domain's QEMU: device state, and perhaps memory */
	WH_STREAM_DISKS,   /* disks that are copied: one connection each */
	WH_STREAMS,
};

/* Room for the path of a directory where a hypervisor may make sockets. */
#define WH_DIRECTORY_MAX 64u

/* A disk of a domain that is a file, and may not be shared. */
#define WH_DISKS_MAX     16u
#define WH_DISK_PATH_MAX 256u

struct wh_node_disk {
	char target[WH_NAME_MAX]; /* "vda" */
	char path[WH_DISK_PATH_MAX];
	char format[WH_NAME_MAX]; /* "raw" */
	uint64_t bytes;           /* of the file */
};

/* Only the fields that the type has are valid. */
struct wh_node_message {
	enum wh_node_type type;
	uint32_t version_min; /* HELLO; WELCOME has the version chosen in both */
	uint32_t version_max;
	char node[WH_NAME_MAX];
	char migration[WH_NAME_MAX]; /* safe as a file name */
	uint8_t token[WH_TOKEN_BYTES];
	char vm[WH_NAME_MAX];
	enum wh_stream stream;            /* TUNNEL */
	char directory[WH_DIRECTORY_MAX]; /* EXPECTED: absolute, where QEMU's sockets are */
	bool running;                     /* TUNNEL, PROCEED: the guest ran until now */
	bool committed;                   /* ANSWER */
	bool postcopy;       /* PREPARE: it may become post-copy; ANSWER: memory is still owed */
	uint32_t rdma_pairs; /* PREPARE, EXPECT: of a mover that tries RDMA; else 0 */
	uint64_t rdma_chunk_bytes; /* of such a mover: a power of two */
	char no_rdma
		[WH_ERROR_TEXT_MAX]; /* READY: why the mover does not try what was asked for; or "" */
	uint16_t port;
	char reason[WH_ERROR_TEXT_MAX];
	uint64_t faults;
	uint64_t stall_ns;
	uint64_t fault_ns_log2[WH_FAULT_BUCKETS];
	struct wh_node_disk disks[WH_DISKS_MAX]; /* EXPECT; EXPECTED: to be copied, @target only */
	uint32_t disk_count;
	uint32_t ram_count; /* 1 to WH_REGIONS_MAX; EXPECT: 0 if QEMU brings the memory, too */
	struct wh_worker_region ram[WH_REGIONS_MAX];
};

/* Return: 0 or -EPROTO. @ret is untouched on failure. */
wh_must_check int wh_node_parse(struct wh_node_message *ret, const char *line, size_t len,
                                struct wh_error *err);

/* One line without newline, from malloc(). Never NULL. */
char *wh_node_format(const struct wh_node_message *msg);

/* Whether @name is made of letters, digits, '-', '_' and '.', and does not begin with '.'. */
bool wh_node_is_name(const char *name);

const char *wh_node_type_name(enum wh_node_type type);

/* A token as hex digits, and back. */
#define WH_TOKEN_TEXT_MAX (2 * WH_TOKEN_BYTES + 1)
void wh_node_token_format(char text[WH_TOKEN_TEXT_MAX], const uint8_t token[WH_TOKEN_BYTES]);
wh_must_check int wh_node_token_parse(uint8_t ret[WH_TOKEN_BYTES], const char *text);

#endif
