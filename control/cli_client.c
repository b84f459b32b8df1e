/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli.h"
#include "files.h"

#include "wherry/fdpass.h"
#include "wherry/limits.h"

static int connect_daemon(struct wh_cli *cli, struct wh_error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (strlen(cli->socket) >= sizeof(addr.sun_path))
		return wh_fail(err, -ENAMETOOLONG, "%s is longer than a socket's path may be",
		               cli->socket);
	memcpy(addr.sun_path, cli->socket, strlen(cli->socket));
	cli->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (cli->fd >= 0 && connect(cli->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return 0;
	(void)wh_fail(err, -errno, "no wherryd listens at %s: %s", cli->socket, strerror(errno));
	wh_closep(&cli->fd);
	return -ECONNREFUSED;
}

static int send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Read up to the next newline. wherryd answers one line a request and nothing else. */
static int receive_line(int fd, char **ret, size_t *ret_len)
{
	wh_cleanup(wh_freep) char *data = NULL;
	size_t len = 0;
	size_t size = 0;

	while (len == 0 || data[len - 1] != '\n') {
		ssize_t n;

		if (len == size) {
			char *more = size < WH_OUTPUT_MAX ? realloc(data, size * 2 + 4096) : NULL;

			if (!more)
				return -EMSGSIZE;
			data = more;
			size = size * 2 + 4096;
		}
		n = recv(fd, data + len, size - len, 0);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	}
	*ret = wh_steal(data);
	*ret_len = len - 1;
	return 0;
}

static int exchange(int fd, json_t *request, char **answer, size_t *len)
{
	wh_cleanup(wh_freep) char *line = wh_json_line(request);
	int r = line ? send_all(fd, line, strlen(line)) : -ENOMEM;

	if (r == 0)
		r = send_all(fd, "\n", 1);
	return r < 0 ? r : receive_line(fd, answer, len);
}

int wh_cli_ask(struct wh_cli *cli, json_t *request, json_t **ret, struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *json = NULL;
	wh_cleanup(wh_freep) char *answer = NULL;
	size_t len = 0;
	int r = 0;

	if (!request)
		return wh_fail(err, -EINVAL, "what was given is not UTF-8 text");
	if (cli->fd < 0)
		r = connect_daemon(cli, err);
	if (r < 0) {
		json_decref(request);
		return r;
	}
	r = exchange(cli->fd, request, &answer, &len);
	json_decref(request);
	if (r < 0) {
		wh_closep(&cli->fd); /* the next request shall find another */
		return wh_fail(err, r, "wherryd does not answer: %s", strerror(-r));
	}
	r = wh_json_parse(&json, answer, len, err);
	if (r < 0)
		return r;
	if (!json_is_true(json_object_get(json, "ok")))
		return wh_fail(err, -EREMOTEIO, "%s", wh_json_text(json, "error"));
	*ret = wh_steal(json);
	return 0;
}

int wh_cli_view(struct wh_cli *cli, const char *migration, struct wh_view *ret,
                struct wh_error *err)
{
	wh_cleanup(wh_json_unrefp) json_t *answer = NULL;
	int r = wh_cli_ask(cli,
	                   json_pack("{s:s, s:s}", "command", "status", "migration", migration),
	                   &answer, err);

	if (r < 0)
		return r;
	return wh_view_parse(ret, json_array_get(json_object_get(answer, "migrations"), 0), err);
}
