/* SPDX-License-Identifier: Apache-2.0 */

/*
 * limit - hold a bandwidth limit on a cgroup, for tests.
 *
 *	limit CGROUP_DIRECTORY BYTES_PER_SECOND
 *
 * It says "ready" and then obeys lines on standard input: "set BYTES_PER_SECOND" answers "ok"
 * or the reason, "stats" answers one line of JSON. At the end of input the limit goes.
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rate_bpf.h"

static void answer(struct wh_rate_bpf *rate, const char *line)
{
	struct wh_rate_stats stats;
	struct wh_error err;

	if (!strncmp(line, "set ", 4)) {
		if (wh_rate_bpf_set(rate, strtoull(line + 4, NULL, 10), &err) < 0)
			(void)puts(err.text);
		else
			(void)puts("ok");
	} else {
		wh_rate_bpf_stats(rate, &stats);
		(void)printf("{\"limit\": %llu, \"charged\": %llu, \"dropped\": %llu, "
		             "\"waits\": %llu, \"debt_us\": %.1f}\n",
		             (unsigned long long)stats.limit_bps,
		             (unsigned long long)stats.charged_bytes,
		             (unsigned long long)stats.dropped_packets,
		             (unsigned long long)stats.waits, (double)stats.debt_ns / 1e3);
	}
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	wh_cleanup(wh_rate_bpf_closep) struct wh_rate_bpf *rate = NULL;
	struct wh_error err;
	char line[64];
	int fd;

	if (argc != 3)
		return EXIT_FAILURE;
	fd = open(argv[1], O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (fd < 0 || wh_rate_bpf_open(&rate, fd, strtoull(argv[2], NULL, 10), &err) < 0) {
		(void)fprintf(stderr, "limit: %s\n", fd < 0 ? "no such cgroup" : err.text);
		return EXIT_FAILURE;
	}
	(void)puts("ready");
	(void)fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		answer(rate, line);
	return EXIT_SUCCESS;
}
