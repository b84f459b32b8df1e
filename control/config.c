/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every object of the file (the whole, a network, a node, a VM) has a table of its keys; the
 * functions named there read one value each into a field. wh_value_object() does the rest.
 */

#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_libvirt.h"
#include "config_rdma.h"
#include "program.h"
#include "value.h"
#include "yaml.h"

#define PORT_DEFAULT          7411
#define CONNECTIONS_DEFAULT   2
#define CONGESTION_DEFAULT    "auto"
#define CGROUP_DEFAULT        "wherry"
#define NAMESPACE_DEFAULT     "default"
#define CONGESTION_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789_-"
#define METRICS_DEFAULT           \
	{                         \
		"127.0.0.1", 9179 \
	}
#define MOVER     "wherry-mover"
#define NS_PER_MS 1000000u

#define KEYS(table) (table), sizeof(table) / sizeof((table)[0])

static int no_memory(struct wh_error *err)
{
	(void)wh_fail(err, -ENOMEM, "out of memory"); /* it returns the same */
	return -ENOMEM;
}

static int copy(char **ret, const char *text, struct wh_error *err)
{
	char *fresh = strdup(text);

	if (!fresh)
		return no_memory(err);
	free(*ret);
	*ret = fresh;
	return 0;
}

static int read_name(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_name(field, node, err);
}

static int read_path(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_path(field, node, err);
}

static int read_socket(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_socket(field, node, err);
}

/* Whether @path stays below the directory it starts from. */
static bool stays_below(const char *path)
{
	size_t len;

	for (; *path; path += len + (path[len] == '/')) {
		len = strcspn(path, "/");
		if (len == 0 || !strncmp(path, "..", len)) /* "", "." or ".." */
			return false;
	}
	return true;
}

static int read_cgroup(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *text;
	int r;

	r = wh_value_string(&text, node, err);
	if (r < 0)
		return r;
	if (!stays_below(text))
		return wh_yaml_fail(err, node,
		                    "'%.40s' does not name a directory below the cgroup mount; "
		                    "write one such as wherry or system.slice/wherry",
		                    text);
	return copy(field, text, err);
}

static int read_port(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	uint64_t value;
	int r;

	r = wh_value_integer(&value, node, 1, UINT16_MAX, err);
	if (r < 0)
		return r;
	*(uint16_t *)field = (uint16_t)value;
	return 0;
}

static int read_connections(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	uint64_t value;
	int r;

	r = wh_value_integer(&value, node, 1, WH_CONNECTIONS_MAX, err);
	if (r < 0)
		return r;
	*(uint32_t *)field = (uint32_t)value;
	return 0;
}

/* Whether the kernel has it is seen when a migration starts: it loads modules on demand. */
static int read_congestion(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *text;
	int r = wh_value_string(&text, node, err);

	if (r < 0)
		return r;
	if (strlen(text) >= WH_CONGESTION_MAX || text[strspn(text, CONGESTION_CHARACTERS)])
		return wh_yaml_fail(
			err, node,
			"'%.40s' is no TCP congestion control; write auto, system, or a "
			"name such as cubic",
			text);
	(void)snprintf(field, WH_CONGESTION_MAX, "%s", text);
	return 0;
}

static int read_compression(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	static const char *const names[] = {
		[WH_COMPRESSION_NONE] = "none",
		[WH_COMPRESSION_AUTO] = "auto",
		[WH_COMPRESSION_ZSTD] = "zstd",
	};
	unsigned which = 0;
	int r = wh_value_word(
		&which, node,
		&(struct wh_value_words){ KEYS(names), "compression", "auto, none or zstd" }, err);

	if (r == 0)
		*(enum wh_compression *)field = (enum wh_compression)which;
	return r;
}

static int read_compatibility(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	static const char *const names[] = {
		[WH_COMPATIBLE_DOCS] = "documentation",
		[WH_COMPATIBLE_KUBEVIRT] = "kubevirt",
	};
	unsigned which = 0;
	int r = wh_value_word(&which, node,
	                      &(struct wh_value_words){ KEYS(names), "compatibility",
	                                                "documentation or kubevirt" },
	                      err);

	if (r == 0)
		*(enum wh_compatibility *)field = (enum wh_compatibility)which;
	return r;
}

static int read_ms(uint64_t *ret_ns, const struct wh_yaml_node *node, uint64_t max_ms,
                   struct wh_error *err)
{
	uint64_t value_ms;
	int r;

	r = wh_value_integer(&value_ms, node, 1, max_ms, err);
	if (r < 0)
		return r;
	*ret_ns = value_ms * NS_PER_MS;
	return 0;
}

static int read_downtime(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return read_ms(field, node, WH_DOWNTIME_MAX_MS, err);
}

static int read_direct_io(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return read_ms(field, node, WH_DIRECT_IO_MAX_MS, err);
}

/* What the kernel accepts as the name of a device. */
static int read_interface(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *text;
	int r;

	r = wh_value_string(&text, node, err);
	if (r < 0)
		return r;
	if (strlen(text) >= IFNAMSIZ || strpbrk(text, "/: \t\r\n\v\f") || !strcmp(text, ".") ||
	    !strcmp(text, ".."))
		return wh_yaml_fail(err, node,
		                    "'%.40s' cannot be an interface; write 1 to %d characters "
		                    "without blanks, '/' and ':'",
		                    text, IFNAMSIZ - 1);
	memcpy(field, text, strlen(text) + 1);
	return 0;
}

/*
 * Kept in the one form that inet_ntop() writes, so that equal addresses are equal strings. Return:
 * whether @text is an address.
 */
static bool parse_address(char address[WH_NAME_MAX], const char *text)
{
	unsigned char bytes[sizeof(struct in6_addr)];
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	return inet_pton(family, text, bytes) == 1 &&
	       inet_ntop(family, bytes, address, WH_NAME_MAX);
}

static int read_address(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	const char *text;
	int r;

	r = wh_value_string(&text, node, err);
	if (r < 0)
		return r;
	if (!parse_address(field, text))
		return wh_yaml_fail(err, node,
		                    "'%.40s' is not a numeric address; write one such as "
		                    "192.0.2.2 or 2001:db8::2",
		                    text);
	return 0;
}

/* ADDRESS:PORT, where IPv6 is in brackets. Return: whether @text is that. */
static bool parse_endpoint(struct wh_endpoint *ret, const char *text)
{
	const char *port = strrchr(text, ':');
	bool brackets = *text == '[';
	char address[WH_NAME_MAX];
	unsigned long number;
	size_t len;
	char *end;

	if (!port || port[1] < '1' || port[1] > '9')
		return false;
	number = strtoul(port + 1, &end, 10);
	if (*end || number > UINT16_MAX)
		return false;
	len = (size_t)(port - text);
	if (brackets && (len < 2 || port[-1] != ']'))
		return false;
	if (brackets) {
		text++;
		len -= 2;
	}
	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	if (brackets != !!strchr(address, ':') || !parse_address(ret->address, address))
		return false;
	ret->port = (uint16_t)number;
	return true;
}

static int read_endpoint(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	struct wh_endpoint *endpoint = field;
	const char *text;
	int r = wh_value_string(&text, node, err);

	if (r < 0)
		return r;
	if (!strcmp(text, "none")) {
		*endpoint = (struct wh_endpoint){ 0 };
		return 0;
	}
	if (!parse_endpoint(endpoint, text))
		return wh_yaml_fail(err, node,
		                    "'%.40s' is not a numeric address with a port; write none, "
		                    "or one such as 127.0.0.1:9179 or '[::1]:9179'",
		                    text);
	return 0;
}

static char **argv_free(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
	return NULL;
}

WH_DEFINE_CLEANUP(char *, argv_free)

static int read_argv(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	wh_cleanup(argv_freep) char **argv = NULL;

	if (node->type != WH_YAML_SEQUENCE || node->count == 0)
		return wh_yaml_fail(err, node,
		                    "no list of words; write one such as [/usr/bin/start, now]");
	argv = calloc(node->count + 1, sizeof(*argv));
	if (!argv)
		return no_memory(err);

	for (size_t i = 0; i < node->count; i++) {
		const char *text;
		int r;

		r = wh_value_string(&text, node->items[i], err);
		if (r < 0)
			return r;
		r = copy(&argv[i], text, err);
		if (r < 0)
			return r;
	}
	if (argv[0][0] != '/')
		return wh_yaml_fail(err, node->items[0],
		                    "'%.40s' is not absolute; begin the path of the "
		                    "program with '/'",
		                    argv[0]);

	*(char ***)field = wh_steal(argv);
	return 0;
}

static const struct wh_value_key network_keys[] = {
	{ "name", read_name, offsetof(struct wh_network, name), true },
	{ "interface", read_interface, offsetof(struct wh_network, interface), true },
};

static const struct wh_value_key node_keys[] = {
	{ "name", read_name, offsetof(struct wh_node, name), true },
	{ "address", read_address, offsetof(struct wh_node, address), true },
};

static const struct wh_value_key vm_keys[] = {
	{ "name", read_name, offsetof(struct wh_vm, name), true },
	{ "namespace", read_name, offsetof(struct wh_vm, name_space), false },
	{ "qmp", read_socket, offsetof(struct wh_vm, qmp), true },
	{ "incoming", read_argv, offsetof(struct wh_vm, incoming), false },
};

/* The clash functions name the key that two entries must not share but do, or give NULL. */

static const char *networks_clash(const void *a, const void *b)
{
	const struct wh_network *one = a;
	const struct wh_network *other = b;

	if (!strcmp(one->name, other->name))
		return "name";
	return strcmp(one->interface, other->interface) != 0 ? NULL : "interface";
}

static const char *nodes_clash(const void *a, const void *b)
{
	const struct wh_node *one = a;
	const struct wh_node *other = b;

	if (!strcmp(one->name, other->name))
		return "name";
	return strcmp(one->address, other->address) != 0 ? NULL : "address";
}

static const char *vms_clash(const void *a, const void *b)
{
	const struct wh_vm *one = a;
	const struct wh_vm *other = b;

	if (!strcmp(one->name, other->name))
		return "name";
	return strcmp(one->qmp, other->qmp) != 0 ? NULL : "qmp";
}

struct entry_kind {
	size_t size; /* of the struct */
	const struct wh_value_key *keys;
	size_t key_count;
	const char *(*clash)(const void *a, const void *b);
};

static const struct entry_kind network_kind = { sizeof(struct wh_network), KEYS(network_keys),
	                                        networks_clash };
static const struct entry_kind node_kind = { sizeof(struct wh_node), KEYS(node_keys), nodes_clash };
static const struct entry_kind vm_kind = { sizeof(struct wh_vm), KEYS(vm_keys), vms_clash };

static int check_clash(const char *entries, const struct wh_yaml_node *list, size_t last,
                       const struct entry_kind *kind, struct wh_error *err)
{
	for (size_t i = 0; i < last; i++) {
		const char *key;

		key = kind->clash(entries + i * kind->size, entries + last * kind->size);
		if (key)
			return wh_yaml_fail(
				err, wh_yaml_get(list->items[last], key),
				"the entry in line %u has the same %s; change or remove one",
				list->items[i]->line, key);
	}
	return 0;
}

/* Fill @entries, which has room for the items of @list. */
static int read_entries(char *entries, const struct wh_yaml_node *list,
                        const struct entry_kind *kind, struct wh_error *err)
{
	if (list->type != WH_YAML_SEQUENCE)
		return wh_yaml_fail(err, list,
		                    "this is not a list; write '- name: NAME' and so on");

	for (size_t i = 0; i < list->count; i++) {
		int r = wh_value_object(entries + i * kind->size, list->items[i], kind->keys,
		                        kind->key_count, err);
		if (r < 0)
			return r;
		r = check_clash(entries, list, i, kind, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The lists belong to the configuration before they are full: it frees them on failure. */

static int read_networks(void *object, const struct wh_yaml_node *list, struct wh_error *err)
{
	struct wh_config *config = object;

	config->networks = calloc(list->count + 1, sizeof(*config->networks));
	if (!config->networks)
		return no_memory(err);
	config->network_count = list->count;
	return read_entries((char *)config->networks, list, &network_kind, err);
}

static int read_nodes(void *object, const struct wh_yaml_node *list, struct wh_error *err)
{
	struct wh_config *config = object;

	config->nodes = calloc(list->count + 1, sizeof(*config->nodes));
	if (!config->nodes)
		return no_memory(err);
	config->node_count = list->count;
	return read_entries((char *)config->nodes, list, &node_kind, err);
}

static int read_vms(void *object, const struct wh_yaml_node *list, struct wh_error *err)
{
	struct wh_config *config = object;

	config->vms = calloc(list->count + 1, sizeof(*config->vms));
	if (!config->vms)
		return no_memory(err);
	config->vm_count = list->count;
	for (size_t i = 0; i < list->count; i++)
		memcpy(config->vms[i].name_space, NAMESPACE_DEFAULT, sizeof(NAMESPACE_DEFAULT));
	return read_entries((char *)config->vms, list, &vm_kind, err);
}

static int read_libvirt(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_libvirt_config_read(field, node, err);
}

static int read_transport(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_transport_kind_read(field, node, err);
}

static int read_rdma(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_rdma_config_read(field, node, err);
}

static int read_boolean(void *field, const struct wh_yaml_node *node, struct wh_error *err)
{
	return wh_value_boolean(field, node, err);
}

/* The lists are given the whole object, since each is two fields of it. */
static const struct wh_value_key config_keys[] = {
	{ "node", read_name, offsetof(struct wh_config, node), true },
	{ "socket", read_socket, offsetof(struct wh_config, socket), true },
	{ "state", read_path, offsetof(struct wh_config, state), true },
	{ "coordinator", read_name, offsetof(struct wh_config, coordinator), false },
	{ "compatibility", read_compatibility, offsetof(struct wh_config, compatibility), false },
	{ "manifests", read_path, offsetof(struct wh_config, manifests), false },
	{ "mover", read_path, offsetof(struct wh_config, mover), false },
	{ "cgroup", read_cgroup, offsetof(struct wh_config, cgroup), false },
	{ "port", read_port, offsetof(struct wh_config, port), false },
	{ "connections", read_connections, offsetof(struct wh_config, connections), false },
	{ "congestionControl", read_congestion, offsetof(struct wh_config, congestion), false },
	{ "transport", read_transport, offsetof(struct wh_config, transport), false },
	{ "rdma", read_rdma, offsetof(struct wh_config, rdma), false },
	{ "allowPlaintextRDMA", read_boolean, offsetof(struct wh_config, plaintext_rdma), false },
	{ "compression", read_compression, offsetof(struct wh_config, compression), false },
	{ "downtimeMs", read_downtime, offsetof(struct wh_config, downtime_ns), false },
	{ "directIoMs", read_direct_io, offsetof(struct wh_config, direct_io_ns), false },
	{ "metrics", read_endpoint, offsetof(struct wh_config, metrics), false },
	{ "networks", read_networks, 0, false },
	{ "nodes", read_nodes, 0, false },
	{ "vms", read_vms, 0, false },
	{ "libvirt", read_libvirt, offsetof(struct wh_config, libvirt), false },
};

static int check_nodes(const struct wh_config *config, const struct wh_yaml_node *root,
                       struct wh_error *err)
{
	for (size_t i = 0; i < config->node_count; i++) {
		const struct wh_yaml_node *entry = wh_yaml_get(root, "nodes")->items[i];

		if (!strcmp(config->nodes[i].name, config->node))
			return wh_yaml_fail(err, wh_yaml_get(entry, "name"),
			                    "'%s' is this node itself; list only the others",
			                    config->node);
	}
	return 0;
}

/* Without the key, each node is a cluster of its own. */
static int check_coordinator(struct wh_config *config, const struct wh_yaml_node *root,
                             struct wh_error *err)
{
	if (!*config->coordinator)
		memcpy(config->coordinator, config->node, WH_NAME_MAX);
	if (!strcmp(config->coordinator, config->node))
		return 0;
	for (size_t i = 0; i < config->node_count; i++)
		if (!strcmp(config->coordinator, config->nodes[i].name))
			return 0;
	return wh_yaml_fail(err, wh_yaml_get(root, "coordinator"),
	                    "'%s' is neither this node nor one of 'nodes'; write one of them",
	                    config->coordinator);
}

static int read_config(struct wh_config *config, const struct wh_yaml *tree, struct wh_error *err)
{
	const struct wh_yaml_node *documents = tree->documents;
	int r;

	if (documents->count == 0)
		return wh_yaml_fail(err, documents,
		                    "the file is empty; write at least node, socket and state");
	if (documents->count > 1)
		return wh_yaml_fail(err, documents->items[1], "a second document; write one only");

	r = copy(&config->cgroup, CGROUP_DEFAULT, err);
	if (r < 0)
		return r;
	r = wh_value_object(config, documents->items[0], KEYS(config_keys), err);
	if (r < 0)
		return r;
	r = check_nodes(config, documents->items[0], err);
	if (r == 0)
		r = check_coordinator(config, documents->items[0], err);
	if (r < 0)
		return r;
	return config->mover ? 0 : wh_program_find(&config->mover, MOVER, err);
}

int wh_config_load(struct wh_config **ret, const char *path, struct wh_error *err)
{
	wh_cleanup(wh_yaml_freep) struct wh_yaml *tree = NULL;
	wh_cleanup(wh_config_freep) struct wh_config *config = NULL;
	int r;

	r = wh_yaml_load(&tree, path, err);
	if (r < 0)
		return r;
	config = calloc(1, sizeof(*config));
	if (!config)
		return no_memory(err);
	config->port = PORT_DEFAULT;
	config->connections = CONNECTIONS_DEFAULT;
	memcpy(config->congestion, CONGESTION_DEFAULT, sizeof(CONGESTION_DEFAULT));
	config->transport = WH_TRANSPORT_AUTO;
	config->rdma = wh_rdma_defaults;
	config->compression = WH_COMPRESSION_AUTO;
	config->downtime_ns = WH_DOWNTIME_DEFAULT_NS;
	config->direct_io_ns = WH_DIRECT_IO_DEFAULT_NS;
	config->metrics = (struct wh_endpoint)METRICS_DEFAULT;
	r = read_config(config, tree, err);
	if (r < 0)
		return r;

	*ret = wh_steal(config);
	return 0;
}

struct wh_config *wh_config_free(struct wh_config *config)
{
	if (!config)
		return NULL;
	for (size_t i = 0; i < config->vm_count; i++) {
		free(config->vms[i].qmp);
		argv_free(config->vms[i].incoming);
	}
	free(config->vms);
	config->libvirt = wh_libvirt_config_free(config->libvirt);
	free(config->nodes);
	free(config->networks);
	free(config->cgroup);
	free(config->mover);
	free(config->manifests);
	free(config->state);
	free(config->socket);
	free(config);
	return NULL;
}
