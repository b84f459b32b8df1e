/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Reads - whether a guest's disks read as fast as the copy of its memory needs.
 *
 * A read with O_DIRECT writes memory unseen until it ends, and the mover copies again what was seen
 * when it began (dataplane/echo.h). That is right as long as no read takes longer than the mover waits. QEMU
 * counts how long they take, from when the guest asks until it is told, which is longer; so it can
 * be asked afterwards whether one did.
 *
 * Threads: the loop's own.
 */

#ifndef WH_READS_H
#define WH_READS_H

#include "qmp.h"

#include "wherry/error.h"

/*
 * Have QEMU begin to count the reads of @disks, an array of their qdev ids, that take @limit_ns or
 * longer. @reply is called for each of them; the first error is one too many.
 */
void wh_reads_watch(struct wh_qmp *qmp, const json_t *disks, uint64_t limit_ns,
                    wh_qmp_reply_fn reply, void *ctx);

/**
 * wh_reads_check() - Judge an answer to query-blockstats
 * @disks:	those of wh_reads_watch(), with the same @limit_ns
 *
 * Return: 0 if no read that has ended took as long; -ETIME if one did; -EPROTO if that is not known,
 * since a disk is gone or somebody else has QEMU count other things.
 */
wh_must_check int wh_reads_check(const json_t *blockstats, const json_t *disks, uint64_t limit_ns,
                                 struct wh_error *err);

#endif
