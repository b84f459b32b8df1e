/* SPDX-License-Identifier: Apache-2.0 */

#include "rdma_room.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

/* Whether the limit does not count for this process. */
static bool may_pin_all(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	return syscall(SYS_capget, &header, data) == 0 && data[0].effective & 1u << CAP_IPC_LOCK;
}

int wh_rdma_room(uint64_t wanted, uint64_t chunk_bytes, bool on_demand, uint64_t *ret,
                 struct wh_error *err)
{
	struct rlimit limit;
	uint64_t room = wanted;
	bool is_limited;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return wh_fail(err, -errno, "cannot read RLIMIT_MEMLOCK");
	is_limited = !on_demand && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < wanted &&
	             !may_pin_all();
	if (is_limited)
		room = limit.rlim_cur;
	if (room >= chunk_bytes) {
		*ret = room;
		return 0;
	}
	if (!is_limited)
		return wh_fail(err, -EPERM,
		               "one of the two sides may pin %" PRIu64
		               " KiB, one chunk has %" PRIu64
		               " KiB: raise pinnedMiB there, or lower chunkMiB at the source",
		               room >> 10, chunk_bytes >> 10);
	return wh_fail(err, -EPERM,
	               "RLIMIT_MEMLOCK lets %" PRIu64 " KiB be pinned, one chunk has %" PRIu64
	               " KiB: raise LimitMEMLOCK= of wherryd's unit, or give it CAP_IPC_LOCK",
	               room >> 10, chunk_bytes >> 10);
}
