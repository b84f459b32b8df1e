/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Golden bytes - what travels in version 1 of the wire protocol, in hex.
 *
 * They never change: a change here breaks movers that are in use. tests/unit/test_wire.c holds
 * the code to them, and tests/fuzz/seeds.py makes the fuzzer's first inputs of them.
 */

#ifndef WH_GOLDEN_H
#define WH_GOLDEN_H

/* Record headers: type, region, length, offset. */
#define GOLDEN_RECORD_HELLO       "0100 0000 1c000000 0000000000000000"
#define GOLDEN_RECORD_WELCOME     "0200 0000 04000000 0000000000000000"
#define GOLDEN_RECORD_WRITE       "0300 0201 00002000 00f0debc9a785634"
#define GOLDEN_RECORD_FRAME       "0400 0000 2c000000 0000000000000000"
#define GOLDEN_RECORD_WRITE_ZSTD  "0500 0200 17000000 0070000000000000"
#define GOLDEN_RECORD_WRITE_DELTA "0600 0200 18000000 0070000000000000"
#define GOLDEN_RECORD_FETCH       "0700 0200 04000000 0070000000000000"
#define GOLDEN_RECORD_ZEROES      "0800 0200 04000000 0070000000000000"

/* What follows FETCH and ZEROES: how many bytes. */
#define GOLDEN_SPAN "00002000"

/* What follows WRITE_ZSTD: the contents' length, and a zstd frame of that many 'w'. */
#define GOLDEN_ZSTD "00100000 28b52ffd60000f4d00001077770100fbf70116"

/* The same behind one bit: it is the difference to a page that is there. */
#define GOLDEN_DELTA "00100000 01 28b52ffd60000f4d00001077770100fbf70116"

/* Magic, version, connection, connections, kind, token. */
#define GOLDEN_HELLO        "57485259 0100 0300 0400 0000 000102030405060708090a0b0c0d0e0f"
#define GOLDEN_HELLO_URGENT "57485259 0100 0000 0400 0100 000102030405060708090a0b0c0d0e0f"

/* Version, reserved. */
#define GOLDEN_WELCOME "0100 0000"

/* Frames: kind and reserved, then the kind's own fields. */
#define GOLDEN_REGION         "0100 0000 0201 0000004001000000 0400 72616d30"
#define GOLDEN_START          "0200 0000 00100000 0300"
#define GOLDEN_READY          "0300 0000"
#define GOLDEN_ZERO           "0400 0000 0100 0200 0500000000000000 03000000 8877665544332211 ffffffff"
#define GOLDEN_ROUND_END      "0500 0000 78563412 00000000"
#define GOLDEN_ROUND_END_LAST "0500 0000 09000000 01000000"
#define GOLDEN_ROUND_LANDED   "0600 0000 78563412"
#define GOLDEN_READY_HUGE     "0300 0900"
#define GOLDEN_READY_NONE     "0300 ffff"
#define GOLDEN_MISSING        "0700 0000 0100 0200 0500000000000000 03000000 8877665544332211 ffffffff"
#define GOLDEN_SWITCH         "0800 0000"
#define GOLDEN_SWITCHED       "0900 0000"
#define GOLDEN_RESUME         "0a00 0000 00100000 0300"

/* Frames of a link with RDMA: kind and reserved, then the kind's own fields. */
#define GOLDEN_RDMA_DATA    "0100 0000 78563412 66"
#define GOLDEN_RDMA_OFFER   "0200 0000 409c 0400 1800 0000000400000000"
#define GOLDEN_RDMA_WANT    "0300 0000 0200 0100 05000000 0200 78563412"
#define GOLDEN_RDMA_KEYS    "0400 0000 0100 0100 05000000 ddccbbaa 8877665544332211"
#define GOLDEN_RDMA_REFUSED "0500 0000 0100 0100 05000000"
#define GOLDEN_RDMA_FREE    "0600 0000 0100 0100 05000000"
#define GOLDEN_RDMA_DOWN    "0700 0000 0000 0400 676f6e65"
#define GOLDEN_RDMA_CLOSED  "0800 0000 0100 0000"
#define GOLDEN_RDMA_RESENT  "0900 0000"

#endif
