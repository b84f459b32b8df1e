/* SPDX-License-Identifier: Apache-2.0 */

/* Every bound of the product, and why it is what it is. */

#ifndef WH_LIMITS_H
#define WH_LIMITS_H

/* The granule of dirty tracking. Larger pages are tracked in these parts. */
#define WH_PAGE_SIZE 4096u

/* RAM blocks of one guest: their descriptors travel in one message, which holds 253. */
#define WH_REGIONS_MAX 128u

/*
 * Page tables of a mover's mapping of guest memory: 16 MiB. They would be 2 MiB for each GiB used,
 * and taking single pages out of them does not free them.
 */
#define WH_PAGE_TABLES_MAX 4096u

/* Memory that one page table maps. */
#define WH_PAGE_TABLE_BYTES (2u << 20)

/* Threads that scan for written pages: what 16 leave of a guest of 16 TiB is half a second. */
#define WH_SCAN_THREADS_MAX 16u

/* Connections of one migration: more than this never helped a 400 Gbit/s link. */
#define WH_CONNECTIONS_MAX 16u

/* Queue pairs of one migration: what a 400 Gbit/s adapter needs for pages of 4 KiB, and to spare. */
#define WH_RDMA_PAIRS_MAX 8u

/* Memory is registered with the device in such chunks: less is all overhead, more pins what is not needed. */
#define WH_RDMA_CHUNK_BYTES_MIN (16ull << 20)
#define WH_RDMA_CHUNK_BYTES_MAX (1ull << 30)

/* The least that may be pinned: two chunks of the smallest size, the one in use and the next. */
#define WH_RDMA_PINNED_BYTES_MIN (32ull << 20)

/* The most: no machine has more memory. */
#define WH_RDMA_PINNED_BYTES_MAX (1ull << 50)

/* One RDMA write: larger ones save nothing, and what is in flight is felt after a limit has changed. */
#define WH_RATE_WRITE_MAX (256u << 10)

/* Under a limit, bytes of writes without a completion of their own: four writes of the largest size. */
#define WH_RATE_UNTOLD_BYTES (1u << 20)

/* Writes in flight on one link: 4096 of 2 MiB is 8 GiB, beyond any bandwidth-delay product. */
#define WH_QUEUE_DEPTH_MAX 4096u

/* Huge pages of hugetlbfs: what a write carries and the page tables of x86-64 hold in one step. Those
 * of 1 GiB would be dirty all the time, and one write could not bring a whole one. */
#define WH_HUGE_BYTES_MAX (2u << 20)

/* One write: a huge page. Large enough that its header costs nothing. */
#define WH_WRITE_LEN_MAX (2u << 20)

/* One write by RDMA: what a limiter lets go at once. */
#define WH_RDMA_WRITE_LEN_MAX (256u << 10)

/* Works on one queue pair: 256 of the largest are 64 MiB, beyond the delay of any RDMA network. */
#define WH_RDMA_DEPTH_MAX 256u

/* Marks on their way on one queue pair. There is one for each frame behind writes. */
#define WH_RDMA_MARKS_MAX 64u

/* One control frame: a page, so that a receive buffer is one, too. */
#define WH_FRAME_LEN_MAX 4096u

/* vCPUs of one guest that are slowed: QEMU's largest machine has 4096. */
#define WH_VCPUS_MAX 4096u

/* Pages of one run: what one write may carry. */
#define WH_RUN_PAGES_MAX (WH_WRITE_LEN_MAX / WH_PAGE_SIZE)

/* Limits of the bandwidth limiter: below, a packet takes minutes; above, no network goes. */
#define WH_RATE_MIN_BPS 1024ull
#define WH_RATE_MAX_BPS (1ull << 44)

/* Events taken from a link at once: enough that a poll costs little for each. */
#define WH_POLL_BATCH 64u

/* The proof that a connection belongs to a migration: 128 random bits cannot be guessed. */
#define WH_TOKEN_BYTES 16u

/* Name of a TCP congestion control, with the final NUL: the kernel's TCP_CA_NAME_MAX. */
#define WH_CONGESTION_MAX 16u

/* Streams of one migration: QEMU's own, one for each of its channels, and libvirt's, and some to spare. */
#define WH_STREAMS_MAX 64u

/* What a stream begins with: a line that says which migration it belongs to, without its newline. */
#define WH_STREAM_LINE_MAX 1024u

/* Bytes that came behind such a line: as much as may be read with it. A pipe holds them. */
#define WH_STREAM_EARLY_MAX (64u << 10)

/* Names of regions, nodes, VMs and networks, with the final NUL: a DNS label is 63. */
#define WH_NAME_MAX 64u

/* Names of other Kubernetes objects, with the final NUL: a DNS subdomain is 253. */
#define WH_OBJECT_NAME_MAX 254u

/* Value of a Kubernetes label, and its key without a prefix: what Kubernetes allows. */
#define WH_LABEL_LEN_MAX 63u

/* One line between nodes: a list of WH_REGIONS_MAX regions is 16 KiB. */
#define WH_NODE_LINE_MAX (64u << 10)

/* One line from a QEMU: qom-list of a guest with hundreds of devices is some 100 KiB. */
#define WH_QMP_LINE_MAX (4u << 20)

/* One line of the API: a manifest of the largest size allowed, escaped. */
#define WH_API_LINE_MAX (32u << 20)

/* Bytes that wait because a peer does not read. One that lets this much pile up is dropped. */
#define WH_OUTPUT_MAX (16u << 20)

/* CLI connections at once: several per migration and some to spare. */
#define WH_CLIENTS_MAX 64u

/* Connections from nodes that have not yet said what they want. */
#define WH_STRANGERS_MAX 32u

/* HTTP connections at once: a few monitoring systems, and somebody who looks. */
#define WH_HTTP_CONNECTIONS_MAX 16u

/* Memory of an HTTP connection: requests are some hundred bytes, pages are not in it. */
#define WH_HTTP_MEMORY_MAX (8u << 10)

/* An HTTP connection from its first byte to its last: half of how often Prometheus asks. */
#define WH_HTTP_NS (5ull * 1000 * 1000 * 1000)

/* How old a page may be: who asks all the time costs ten pages a second. */
#define WH_HTTP_FRESH_NS (100ull * 1000 * 1000)

/* Migrations that wherryd remembers after their end, for "wherry status". */
#define WH_HISTORY_MAX 100u

/* Migrations of the whole cluster that the coordinator remembers: days of a busy one, in 1 MiB. */
#define WH_CLUSTER_HISTORY_MAX 1000u

/* Events that wherryd keeps: hours of a busy node, for a reader that looks each minute at most. */
#define WH_EVENTS_MAX 4096u

/* Memory of their text: one answer of the API holds them all. */
#define WH_EVENTS_BYTES_MAX (4u << 20)

/* A command to a QEMU that is alive answers within this, even on a busy host. */
#define WH_QMP_REPLY_NS (10ull * 1000 * 1000 * 1000)

/* The same through libvirt, which itself waits 30 s for whatever else is done with the domain. */
#define WH_DOMAIN_REPLY_NS (40ull * 1000 * 1000 * 1000)

/* libvirtd is lost if it answers none of so many probes in turn, each after so many seconds of silence. */
#define WH_LIBVIRT_PROBE_S 5
#define WH_LIBVIRT_PROBES  3

/* Until the next attempt to reach a libvirtd that could not be reached. */
#define WH_LIBVIRT_RETRY_NS (2ull * 1000 * 1000 * 1000)

/* How long until the domains are looked at again though nothing was said: at first, and at last. */
#define WH_LIBVIRT_LOOK_FIRST_NS (1ull * 1000 * 1000 * 1000)
#define WH_LIBVIRT_LOOK_MAX_NS   (64ull * 1000 * 1000 * 1000)

/* For calls to libvirt to end when nobody needs them any more. */
#define WH_LIBVIRT_CLOSE_NS (1ull * 1000 * 1000 * 1000)

/* Threads that call libvirt, and connections: one for each domain of a large host that is asked or moved. */
#define WH_LIBVIRT_CALLERS_MAX 256u

/* Threads kept for the next calls. */
#define WH_LIBVIRT_IDLE_MAX 4u

/* A hypervisor for an incoming guest starts: clearing huge pages takes its time. */
#define WH_INCOMING_NS (60ull * 1000 * 1000 * 1000)

/* From asking for the last pass until both sides have everything. The guest stands still. */
#define WH_HAND_OVER_NS (30ull * 1000 * 1000 * 1000)

/* After its guest has moved, a QEMU that has not completed its migration has this long before it is killed. */
#define WH_COMPLETE_NS (2ull * 1000 * 1000 * 1000)

/* After its guest has moved, a QEMU that was told to quit has this long before it is killed. */
#define WH_QUIT_NS (10ull * 1000 * 1000 * 1000)

/* How long a lost link waits for the other side's own reason, which says more. */
#define WH_REASON_NS (500ull * 1000 * 1000)

/* For a mover to end by itself: 20 ms for each GiB that it tracks. One that is stuck is killed then. */
#define WH_MOVER_END_NS (3ull * 1000 * 1000 * 1000)

/* Silence on a link or a control connection after which the peer counts as lost. */
#define WH_PEER_SILENCE_NS (5ull * 1000 * 1000 * 1000)

/* Time to set up the links of a migration. */
#define WH_CONNECT_NS (10ull * 1000 * 1000 * 1000)

/* Downtime target when none is configured: what QEMU's users are used to. */
#define WH_DOWNTIME_DEFAULT_NS (300ull * 1000 * 1000)

/* Largest downtime target: what QEMU accepts for its own. */
#define WH_DOWNTIME_MAX_MS 2000000u

/* Longest read of a disk with O_DIRECT when none is configured: disks that work well take a tenth. */
#define WH_DIRECT_IO_DEFAULT_NS (1000ull * 1000 * 1000)

/* The same at most: twice what the kernel gives a disk before it starts to reset it. */
#define WH_DIRECT_IO_MAX_MS 60000u

/*
 * One YAML file: 10,000 policies in a List, with the metadata that a cluster adds, are 6 MiB and 380,000
 * nodes in bench/policy. This is more than twice that, and more than ten of the largest objects that
 * Kubernetes stores.
 */
#define WH_YAML_BYTES_MAX (16u << 20)

/* Nodes of one YAML file, keys included. Its tree, and what libyaml needs beside it, stay below
 * 256 MiB, and are gone as soon as the objects are read. */
#define WH_YAML_NODES_MAX (1u << 20)

/* A key as JSON. libyaml wants the ':' of "key:" within 1024 characters, so that JSON can be read. */
#define WH_YAML_KEY_BYTES_MAX 1000u

/* One object as JSON: what Kubernetes itself stores of one, 1.5 MiB. */
#define WH_OBJECT_JSON_MAX (3u << 19)

/* Nesting in a YAML file: the tree is walked by recursion. Real manifests stay below 15. */
#define WH_YAML_DEPTH_MAX 64u

/* Keys of one YAML mapping: each is compared with those before it to find duplicates. */
#define WH_YAML_KEYS_MAX 1024u

/* Characters of a quantity: far more than any sensible one, few enough to compute with exactly. */
#define WH_QUANTITY_LEN_MAX 64u

/* A libvirt domain as XML: what libvirt itself carries in one string. */
#define WH_DOMAIN_XML_MAX (4u << 20)

/* Labels of one VM: as many as a mapping of a manifest may have keys. */
#define WH_LABELS_MAX WH_YAML_KEYS_MAX

/* Manifest files in one directory: a cluster has one object with settings and some policies. */
#define WH_MANIFEST_FILES_MAX 1024u

#endif
