/* SPDX-License-Identifier: Apache-2.0 */

#include "memlock.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB_SHIFT 20

static bool is_exempt(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	return syscall(SYS_capget, &header, data) == 0 &&
	       (data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK)) != 0;
}

uint64_t wh_memlock_bytes(void)
{
	struct rlimit limit;

	if (is_exempt() || getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

int wh_memlock_allow(uint64_t bytes, struct wh_error *err)
{
	struct rlimit limit;
	rlim_t before;

	if (wh_memlock_bytes() >= bytes)
		return 0;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return wh_fail(err, -errno, "getrlimit: %s", strerror(errno));
	before = limit.rlim_cur;
	limit.rlim_cur = bytes;
	if (limit.rlim_max < bytes)
		limit.rlim_max = bytes; /* needs CAP_SYS_RESOURCE */
	if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0)
		return 0;
	return wh_fail(err, -EPERM,
	               "RLIMIT_MEMLOCK is %" PRIu64 " MiB, but %" PRIu64
	               " MiB are needed: set LimitMEMLOCK=infinity in wherryd's unit, give it "
	               "CAP_IPC_LOCK, or lower rdma.pinnedMiB",
	               (uint64_t)before >> MIB_SHIFT, bytes >> MIB_SHIFT);
}
