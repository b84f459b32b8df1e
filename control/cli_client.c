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

	if (cli->fd < 0)
		r = connect_daemon(cli, err);
	if (r < 0) {
		json_decref(request);
		return r;
	}
	r = exchange(cli->fd, request, &answer, &len);
	json_decref(request);
	if (r < 0)
		return wh_fail(err, r, "wherryd does not answer: %s", strerror(-r));
	r = wh_json_parse(&json, answer, len, err);
	if (r < 0)
		return r;
	if (!json_is_true(json_object_get(json, "ok")))
		return wh_fail(err, -EREMOTEIO, "%s", wh_json_text(json, "error"));
	*ret = wh_steal(json);
	return 0;
}

static int parse_downtime(struct wh_view *v, const json_t *json, struct wh_error *err)
{
	const struct {
		const char *key;
		uint64_t *to;
	} parts[] = {
		{ "total_ns", &v->downtime.total_ns },   { "stop_ns", &v->downtime.stop_ns },
		{ "scan_ns", &v->downtime.scan_ns },     { "pages_ns", &v->downtime.pages_ns },
		{ "device_ns", &v->downtime.device_ns }, { "resume_ns", &v->downtime.resume_ns },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(*parts); i++)
		r = wh_json_u64(json, parts[i].key, INT64_MAX, parts[i].to, err);
	return r;
}

static int parse_names(struct wh_view *v, const json_t *json, struct wh_error *err)
{
	const struct {
		const char *key;
		char *to;
		size_t size;
	} names[] = {
		{ "migration", v->migration, sizeof(v->migration) },
		{ "vm", v->vm, sizeof(v->vm) },
		{ "role", v->role, sizeof(v->role) },
		{ "peer", v->peer, sizeof(v->peer) },
		{ "state", v->state, sizeof(v->state) },
		{ "outcome", v->outcome, sizeof(v->outcome) },
		{ "reason", v->reason, sizeof(v->reason) },
		{ "note", v->note, sizeof(v->note) },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(names) / sizeof(*names); i++)
		r = wh_json_string(json, names[i].key, names[i].to, names[i].size, err);
	return r;
}

static int parse_stats(struct wh_view *v, const json_t *stats, struct wh_error *err)
{
	const json_t *waits = json_object_get(stats, wh_stat_faults_info.name);
	int r = 0;

	for (enum wh_stat s = 0; r == 0 && s < WH_STAT_COUNT; s++)
		r = wh_json_u64(stats, wh_stat_table[s].name, INT64_MAX, &v->stats[s], err);
	for (size_t i = 0; r == 0 && i < WH_FAULT_BUCKETS; i++)
		v->fault_ns_log2[i] = (uint64_t)json_integer_value(json_array_get(waits, i));
	return r;
}

/* Only the source has it. */
static int parse_throttle(struct wh_view *v, const json_t *json, struct wh_error *err)
{
	int r;

	if (!json_object_get(json, "throttle_percent"))
		return 0;
	r = wh_json_u64(json, "throttle_percent", 100, &v->throttle_percent, err);
	if (r == 0)
		r = wh_json_u64(json, "throttle_peak_percent", 100, &v->throttle_peak_percent, err);
	return r;
}

int wh_view_parse(struct wh_view *ret, const json_t *json, struct wh_error *err)
{
	struct wh_view v = { 0 };
	int r = parse_names(&v, json, err);

	if (r == 0)
		r = wh_json_bool(json, "over", &v.over, err);
	if (r == 0)
		r = wh_json_u64(json, "bandwidth_bps", INT64_MAX, &v.bandwidth_bps, err);
	if (r == 0)
		r = parse_throttle(&v, json, err);
	if (r == 0)
		r = wh_json_u64(json, "elapsed_ns", INT64_MAX, &v.elapsed_ns, err);
	if (r == 0)
		r = wh_json_u64(json, "copied_ns", INT64_MAX, &v.copied_ns, err);
	if (r == 0)
		r = parse_downtime(&v, json_object_get(json, "downtime"), err);
	if (r == 0)
		r = wh_json_u64(json, "postcopy_ns", INT64_MAX, &v.postcopy_ns, err);
	if (r == 0)
		r = parse_stats(&v, json_object_get(json, "stats"), err);
	if (r == 0)
		*ret = v;
	return r;
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

int wh_cli_fail(const struct wh_error *err)
{
	(void)fprintf(stderr, "wherry: %s\n", err->text);
	return WH_EXIT_FAILED;
}
