/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the bandwidth limit relies upon: a socket belongs to the cgroup that its maker was in, for
 * good. So a mover is moved into its leaf before it opens a socket, and nothing gets out of it.
 *
 * The kernel itself is asked (sock_diag): programs attached to the leaf see what it names.
 * The leaf is removed by a process that only waits for the test, so also when that is killed.
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define PATH_BYTES 512
#define UNKNOWN    0 /* no cgroup has this id */

/* Where cgroup2 is mounted: hybrid hosts have it at /sys/fs/cgroup/unified. */
static bool find_cgroup2(char *path, size_t size)
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char line[4096];
	bool found = false;

	tap_need(mounts, "/proc/self/mountinfo");
	while (!found && fgets(line, sizeof(line), mounts)) {
		char point[PATH_BYTES];

		found = strstr(line, " - cgroup2 ") &&
		        sscanf(line, "%*s %*s %*s %*s %511s", point) == 1;
		if (found)
			(void)snprintf(path, size, "%s", point);
	}
	(void)fclose(mounts);
	return found;
}

static void enter(const char *cgroup)
{
	char path[PATH_BYTES + 64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	tap_need(fd >= 0 && write(fd, "0", 1) == 1, path);
	(void)close(fd);
}

static uint64_t id_of(const char *cgroup)
{
	struct stat st;

	tap_need(stat(cgroup, &st) == 0, cgroup);
	return st.st_ino; /* the same number on 64-bit machines */
}

static uint64_t cgroup_attribute(const struct nlmsghdr *msg)
{
	const char *at = (const char *)NLMSG_DATA(msg) + sizeof(struct inet_diag_msg);
	const char *end = (const char *)msg + msg->nlmsg_len;
	uint64_t id = UNKNOWN;
	struct rtattr attr;

	for (; at + sizeof(attr) <= end; at += RTA_ALIGN(attr.rta_len)) {
		memcpy(&attr, at, sizeof(attr));
		tap_need(attr.rta_len >= sizeof(attr), "walk sock_diag's attributes");
		if (attr.rta_type == INET_DIAG_CGROUP_ID)
			memcpy(&id, at + RTA_LENGTH(0), sizeof(id));
	}
	return id;
}

static int ask_for_sockets(void)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 diag;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
		            .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		            .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.diag = { .sdiag_family = AF_INET,
		          .sdiag_protocol = IPPROTO_TCP,
		          .idiag_states = ~0u },
	};
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (netlink < 0)
		tap_skip_all("sock_diag");
	tap_need(send(netlink, &request, sizeof(request), 0) == sizeof(request), "ask sock_diag");
	return netlink;
}

/* The id of the cgroup that the kernel has noted for @sock. */
static uint64_t cgroup_of(int sock)
{
	int netlink = ask_for_sockets();
	uint64_t id = UNKNOWN;
	bool more = true;
	struct stat st;

	tap_need(fstat(sock, &st) == 0, "fstat");

	/* This ends: a dump ends with NLMSG_DONE, or with an error. */
	while (more) {
		_Alignas(struct nlmsghdr) char buffer[16384];
		ssize_t len = recv(netlink, buffer, sizeof(buffer), 0);
		const struct nlmsghdr *msg = (const struct nlmsghdr *)(void *)buffer;

		tap_need(len > 0, "sock_diag's answer");
		for (; NLMSG_OK(msg, (uint32_t)len); msg = NLMSG_NEXT(msg, len)) {
			const struct inet_diag_msg *diag = NLMSG_DATA(msg);

			if (msg->nlmsg_type != SOCK_DIAG_BY_FAMILY)
				more = false;
			else if (diag->idiag_inode == (uint32_t)st.st_ino)
				id = cgroup_attribute(msg);
		}
	}
	(void)close(netlink);
	return id;
}

static void bring_up_loopback(int sock)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	tap_need(ioctl(sock, SIOCSIFFLAGS, &lo) == 0, "lo up");
}

static int tcp_socket(void)
{
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	tap_need(sock >= 0, "socket");
	return sock;
}

static int listen_anywhere(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int sock = tcp_socket();

	*at = (struct sockaddr_in){ .sin_family = AF_INET };
	at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	tap_need(bind(sock, (struct sockaddr *)at, len) == 0 && listen(sock, 4) == 0, "listen");
	tap_need(getsockname(sock, (struct sockaddr *)at, &len) == 0, "getsockname");
	return sock;
}

static void connect_to(int sock, const struct sockaddr_in *at)
{
	tap_need(connect(sock, (const struct sockaddr *)at, sizeof(*at)) == 0, "connect");
}

/* The descriptors are left to the end of the process. */
static int test_in(const char *leaf, const char *outside)
{
	uint64_t leaf_id = id_of(leaf);
	struct sockaddr_in at;
	int early = tcp_socket();
	int late;
	int server;

	bring_up_loopback(early);
	enter(leaf);
	late = tcp_socket();
	server = listen_anywhere(&at);
	connect_to(early, &at);
	connect_to(late, &at);

	tap_ok(cgroup_of(server) == leaf_id, "a listener made in the leaf is in the leaf");
	tap_ok(cgroup_of(late) == leaf_id, "a connection made in the leaf is in the leaf");
	tap_ok(cgroup_of(early) != leaf_id, "a socket made BEFORE the move is not");
	tap_ok(cgroup_of(accept(server, NULL, NULL)) == leaf_id,
	       "an accepted socket is in the leaf");

	enter(outside);
	tap_ok(cgroup_of(late) == leaf_id, "a socket stays there when its maker moves out");
	tap_ok(cgroup_of(accept(server, NULL, NULL)) == leaf_id,
	       "what is accepted outside is in the leaf of its listener");
	return tap_done();
}

static void run_test(const char *leaf, const char *outside)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	if (unshare(CLONE_NEWNET) < 0)
		tap_skip_all("the right to make network namespaces");
	tap_exit(test_in(leaf, outside));
}

int main(void)
{
	char root[PATH_BYTES];
	char leaf[PATH_BYTES + 64];
	int status = 0;
	pid_t pid;

	if (geteuid() != 0 || !find_cgroup2(root, sizeof(root)))
		tap_skip_all("cgroup v2, or the right to use it");
	(void)snprintf(leaf, sizeof(leaf), "%s/wherry-probe-%d", root, (int)getpid());
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	tap_need(mkdir(leaf, 0755) == 0, leaf);

	pid = fork();
	if (pid == 0)
		run_test(leaf, root);
	(void)waitpid(pid, &status, 0);
	tap_need(rmdir(leaf) == 0, leaf);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
