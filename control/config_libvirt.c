/* SPDX-License-Identifier: Apache-2.0 */

#include "config_libvirt.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"
#include "value.h"
#include "yaml.h"

#define TUNNEL "wherry-tunnel"

#define KEYS(table) (table), sizeof(table) / sizeof((table)[0])

static int read_path(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_path(field, node, err);
}

static int read_socket(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_socket(field, node, err);
}

/* Domains are moved from and to this host, so it is of no use to reach those of another one. */
static int read_uri(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	static const char *const local[] = { "qemu:///", "qemu+unix:///" };
	const char *text = "";
	int r = wh_value_string(&text, node, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
		if (!strncmp(text, local[i], strlen(local[i])))
			return wh_value_copy(field, node, err);
	return wh_yaml_fail(err, node,
	                    "'%.40s' does not lead to the QEMUs of this host; write one such as "
	                    "qemu:///system or qemu+unix:///system?socket=/run/libvirt-sock",
	                    text);
}

static int read_engine(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	static const char *const names[] = {
		[WH_WISH_AUTO] = "auto",
		[WH_WISH_OFFLOAD] = "offload",
		[WH_WISH_NATIVE] = "native",
	};
	unsigned which = 0;
	int r = wh_value_word(
		&which, node,
		&(struct wh_value_words){ KEYS(names), "engine", "auto, offload or native" }, err);

	if (r == 0)
		*(enum wh_engine_wish *)field = (enum wh_engine_wish)which;
	return r;
}

static const struct wh_value_key libvirt_keys[] = {
	{ "uri", read_uri, offsetof(struct wh_libvirt_config, uri), false },
	{ "socket", read_socket, offsetof(struct wh_libvirt_config, socket), false },
	{ "directory", read_path, offsetof(struct wh_libvirt_config, directory), false },
	{ "pids", read_path, offsetof(struct wh_libvirt_config, pids), false },
	{ "engine", read_engine, offsetof(struct wh_libvirt_config, engine), false },
	{ "tunnel", read_path, offsetof(struct wh_libvirt_config, tunnel), false },
};

/* What is still missing. */
static int fill_in(struct wh_libvirt_config *config, struct wh_error *err)
{
	const struct {
		char **field;
		const char *text;
	} defaults[] = {
		{ &config->uri, "qemu:///system" },
		{ &config->socket, "/run/libvirt/libvirt-sock" },
		{ &config->directory, "/var/lib/libvirt/qemu" },
		{ &config->pids, "/run/libvirt/qemu" },
	};

	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
		if (*defaults[i].field)
			continue;
		*defaults[i].field = strdup(defaults[i].text);
		if (!*defaults[i].field)
			return wh_fail(err, -ENOMEM, "out of memory");
	}
	return config->tunnel ? 0 : wh_program_find(&config->tunnel, TUNNEL, err);
}

int wh_libvirt_config_read(struct wh_libvirt_config **ret, const struct wh_yaml_node *node,
                           struct wh_error *err)
{
	wh_cleanup(wh_libvirt_config_freep) struct wh_libvirt_config *config = NULL;
	int r;

	config = calloc(1, sizeof(*config));
	if (!config)
		return wh_fail(err, -ENOMEM, "out of memory");
	r = wh_value_object(config, node, KEYS(libvirt_keys), err);
	if (r == 0)
		r = fill_in(config, err);
	if (r < 0)
		return r;

	*ret = wh_steal(config);
	return 0;
}

struct wh_libvirt_config *wh_libvirt_config_free(struct wh_libvirt_config *config)
{
	if (!config)
		return NULL;
	free(config->uri);
	free(config->socket);
	free(config->directory);
	free(config->pids);
	free(config->tunnel);
	free(config);
	return NULL;
}
