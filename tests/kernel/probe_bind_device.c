/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What keeps a migration on its network: SO_BINDTODEVICE. A socket bound to the migration
 * network's interface reaches nothing else, even where a route leads there.
 *
 * Two namespaces, ours and a child's, joined by two veth pairs: "migr" and "other". Both vanish
 * with their processes.
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define PORT    7411
#define WAIT_MS 5000

/* Our ends have .1, the peer's have .2 in these networks. */
#define MIGR  "192.0.2."
#define OTHER "198.51.100."

static bool run(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int tcp_socket(const char *device)
{
	int sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	tap_need(sock >= 0, "socket");
	if (device)
		tap_need(setsockopt(sock, SOL_SOCKET, SO_BINDTODEVICE, device,
		                    (socklen_t)strlen(device)) == 0,
		         "SO_BINDTODEVICE");
	return sock;
}

static struct sockaddr_in address(const char *text, uint16_t port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port) };

	tap_need(inet_pton(AF_INET, text, &addr.sin_addr) == 1, "inet_pton");
	return addr;
}

static int listener(const char *device, uint16_t port)
{
	struct sockaddr_in addr = address("0.0.0.0", port);
	int sock = tcp_socket(device);

	tap_need(bind(sock, (struct sockaddr *)&addr, sizeof(addr)) == 0, "bind");
	tap_need(listen(sock, 8) == 0, "listen");
	return sock;
}

/* Return: 0 or the errno of a connection attempt. */
static int try_connect(const char *device, const char *to, uint16_t port)
{
	struct sockaddr_in addr = address(to, port);
	int sock = tcp_socket(device);
	struct pollfd done = { .fd = sock, .events = POLLOUT };
	int error = ETIMEDOUT;
	socklen_t len = sizeof(error);

	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)) < 0 && errno != EINPROGRESS)
		error = errno;
	else if (poll(&done, 1, WAIT_MS) == 1)
		(void)getsockopt(sock, SOL_SOCKET, SO_ERROR, &error, &len);
	(void)close(sock);
	return error;
}

/* The child: a namespace with two listeners, one of them for the migration network only. */
static void be_the_peer(int sock)
{
	char byte = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNET) < 0 || write(sock, &byte, 1) != 1 || read(sock, &byte, 1) != 1)
		_exit(1);
	(void)listener(NULL, PORT);
	(void)listener("migr", PORT + 1);
	(void)!write(sock, &byte, 1);
	(void)pause();
	_exit(0);
}

/* arp_ignore: the peer says an address is here only on the interface that has it. */
static bool join_namespaces(pid_t peer)
{
	char command[1024];

	(void)snprintf(command, sizeof(command),
	               "set -e; peer=%d; in_peer() { nsenter -t $peer -n \"$@\"; }\n"
	               "in_peer sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore'\n"
	               "for name in migr:" MIGR " other:" OTHER "; do\n"
	               "  dev=${name%%:*} net=${name#*:}\n"
	               "  ip link add $dev type veth peer name $dev netns $peer\n"
	               "  ip addr add ${net}1/24 dev $dev; ip link set $dev up\n"
	               "  in_peer ip addr add ${net}2/24 dev $dev; in_peer ip link set $dev up\n"
	               "  echo 50 > /proc/sys/net/ipv4/neigh/$dev/retrans_time_ms\n"
	               "done",
	               (int)peer);
	return run(command);
}

static pid_t start_peer(void)
{
	int pair[2];
	char byte;
	pid_t pid;

	tap_need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	pid = fork();
	tap_need(pid >= 0, "fork");
	if (pid == 0)
		be_the_peer(pair[1]);
	tap_need(read(pair[0], &byte, 1) == 1, "the peer's namespace");
	tap_need(join_namespaces(pid), "set up interfaces with ip(8)");
	tap_need(write(pair[0], &byte, 1) == 1 && read(pair[0], &byte, 1) == 1, "listeners");
	return pid;
}

static void accepted_sockets_are_bound(void)
{
	char device[IFNAMSIZ] = "";
	socklen_t len = sizeof(device);
	int server = listener("lo", PORT + 2);
	int sock;

	tap_ok(try_connect(NULL, "127.0.0.1", PORT + 2) == 0, "a bound listener is reached");
	sock = accept(server, NULL, NULL);
	tap_need(sock >= 0, "accept");
	tap_ok(getsockopt(sock, SOL_SOCKET, SO_BINDTODEVICE, device, &len) == 0 &&
	               strcmp(device, "lo") == 0,
	       "what it accepts is bound to the same interface");
	(void)close(sock);
	(void)close(server);
}

int main(void)
{
	pid_t peer;
	int error;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		tap_skip_all("the right to make network namespaces");
	if (!run("command -v ip nsenter > /dev/null"))
		tap_skip_all("the commands ip and nsenter");
	tap_need(run("ip link set lo up"), "ip link set lo up");
	peer = start_peer();

	tap_ok(try_connect(NULL, OTHER "2", PORT) == 0, "unbound, the other network is reached");
	tap_ok(try_connect("migr", MIGR "2", PORT) == 0, "bound, the migration network is reached");
	error = try_connect("migr", OTHER "2", PORT);
	tap_ok(error == EHOSTUNREACH, "bound, the other network is NOT reached (%s)",
	       strerrorname_np(error));
	tap_ok(try_connect(NULL, MIGR "2", PORT + 1) == 0, "a bound listener serves its network");
	error = try_connect(NULL, OTHER "2", PORT + 1);
	tap_ok(error == ECONNREFUSED, "and refuses the other (%s)", strerrorname_np(error));
	accepted_sockets_are_bound();

	(void)kill(peer, SIGKILL);
	(void)waitpid(peer, NULL, 0);
	return tap_done();
}
