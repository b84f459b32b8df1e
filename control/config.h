/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Config - wherryd's own configuration: who this node is and what it can reach.
 *
 *	node: a
 *	socket: /run/wherry/wherryd.sock     # where the CLI connects
 *	state: /var/lib/wherry               # journal of migrations, applied manifests
 *	coordinator: a                       # the node that keeps objects and the queue
 *	compatibility: documentation         # or kubevirt: which policy wins
 *	manifests: /etc/wherry/manifests     # read at the coordinator's first start, optional
 *	mover: /usr/libexec/wherry-mover     # optional
 *	cgroup: wherry                       # leaf directory below the cgroup v2 mount
 *	port: 7411                           # node-to-node control
 *	connections: 2                       # TCP connections of a migration
 *	congestionControl: auto              # of these: auto, system, or a name
 *	transport: auto                      # of page contents: auto, tcp or rdma
 *	rdma:
 *	  pairs: 4                           # queue pairs of a migration
 *	  chunkMiB: 32                       # registered with the device at once
 *	  pinnedMiB: 4096                    # of this host's memory, for each migration
 *	  odp: false                         # pin nothing, if the device can do without
 *	allowPlaintextRDMA: false            # although TLS is on
 *	compression: auto                    # of page contents: auto, none or zstd
 *	downtimeMs: 300                      # downtime target
 *	directIoMs: 1000                     # no read of a disk with O_DIRECT takes as long
 *	metrics: 127.0.0.1:9179              # where HTTP is served: '[::1]:9179', none
 *	networks:                            # migration networks this node is on
 *	  - {name: migration, interface: mig0}
 *	nodes:                               # the other nodes
 *	  - {name: b, address: 192.0.2.2}
 *	vms:                                 # guests this node may run
 *	  - name: db1
 *	    namespace: default               # its Kubernetes namespace
 *	    qmp: /run/vms/db1.qmp            # its QMP socket, when it runs here
 *	    incoming: [/usr/libexec/start-db1, --incoming]
 *	libvirt:                             # this host's domains are guests of this node, too
 *	  uri: qemu:///system
 *	  socket: /run/libvirt/libvirt-sock  # of its libvirtd, for that of another node
 *	  directory: /var/lib/libvirt/qemu   # where its QEMUs may make sockets
 *	  pids: /run/libvirt/qemu            # where it keeps their pid files
 *	  engine: auto                       # of these: auto, offload, native
 *	  tunnel: /usr/libexec/wherry-tunnel # optional
 *
 * "incoming" starts the destination's hypervisor: with -S -incoming defer, its QMP socket at
 * "qmp", and RAM as memory-backend-file,share=on with the source's backend ids and sizes. It may
 * stay in the foreground or daemonize.
 *
 * node, socket and state are required; coordinator is this node if it is left out; of the rest, the values above are the defaults, and the
 * lists are empty if they are left out. Nothing of libvirt is used without that key, and "libvirt: {}" is
 * all of its defaults. mover and tunnel are looked for next to the running program, then in
 * the libexec directory of the installation. Paths are absolute, names are DNS labels. No two
 * entries of a list may share a name, an address, an interface or a QMP socket, and no other node
 * may be called as this one.
 */

#ifndef WH_CONFIG_H
#define WH_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy.h"

#include "wherry/cleanup.h"
#include "wherry/error.h"
#include "wherry/limits.h"
#include "wherry/transport.h"

struct wh_endpoint {
	char address[WH_NAME_MAX]; /* numeric IPv4 or IPv6 */
	uint16_t port;             /* 0 for nowhere */
};

struct wh_network {
	char name[WH_NAME_MAX];
	char interface[WH_NAME_MAX]; /* a device of this host; it need not be there yet */
};

struct wh_node {
	char name[WH_NAME_MAX];
	char address[WH_NAME_MAX]; /* numeric IPv4 or IPv6, on the migration network */
};

struct wh_vm {
	char name[WH_NAME_MAX];
	char name_space[WH_NAME_MAX];
	char *qmp;
	char **incoming; /* argv, ends with NULL; NULL if guests cannot come in */
};

/* What moves the memory of a domain. */
enum wh_engine_wish {
	WH_WISH_AUTO,    /* a mover if that can be, else QEMU */
	WH_WISH_OFFLOAD, /* a mover, or it is not moved */
	WH_WISH_NATIVE,  /* QEMU itself */
};

/* None of it is NULL: defaults are filled in. */
struct wh_libvirt_config {
	char *uri;
	char *socket;
	char *directory;
	char *pids;
	enum wh_engine_wish engine;
	char *tunnel;
};

struct wh_config {
	char node[WH_NAME_MAX];
	char *socket;
	char *state;
	char coordinator[WH_NAME_MAX]; /* this node, or one of @nodes */
	enum wh_compatibility compatibility;
	char *manifests; /* NULL if none */
	char *mover;     /* never NULL: the default is filled in */
	char *cgroup;
	uint16_t port;
	uint32_t connections;
	char congestion[WH_CONGESTION_MAX]; /* "auto", "system", or what the kernel calls it */
	enum wh_transport_kind transport;
	struct wh_rdma_options rdma;
	bool plaintext_rdma;
	enum wh_compression compression;
	uint64_t downtime_ns;
	uint64_t direct_io_ns;
	struct wh_endpoint metrics;
	struct wh_network *networks;
	size_t network_count;
	struct wh_node *nodes;
	size_t node_count;
	struct wh_vm *vms;
	size_t vm_count;
	struct wh_libvirt_config *libvirt; /* NULL if it is not to be used */
};

/**
 * wh_config_load() - Read the configuration of this node
 * @ret:	receives it; owned by the caller, untouched on failure
 * @err:	receives "FILE:LINE:COLUMN: what is wrong; what would be right"
 *
 * Return: 0; -EINVAL if it is not what is described above, or -errno if it cannot be read.
 */
wh_must_check int wh_config_load(struct wh_config **ret, const char *path, struct wh_error *err);

struct wh_config *wh_config_free(struct wh_config *config);

WH_DEFINE_CLEANUP(struct wh_config, wh_config_free)

#endif
