/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Manifest - the settings of a cluster, from the object that carries them.
 *
 *	HyperConverged  hco.kubevirt.io/v1beta1  spec.liveMigrationConfig
 *	HyperConverged  hco.kubevirt.io/v1       spec.virtualization.liveMigrationConfig
 *	KubeVirt        kubevirt.io/v1           spec.configuration.migrations
 *
 * Objects of other kinds and all other parts of these are ignored. What the section does not say
 * has its default, and so has everything if the section is missing. At most one such object may
 * be given, in all files together.
 *
 * Each function returns 1 with settings in @ret, 0 if no object of these kinds is there, or a
 * negative errno with words ("FILE:LINE:COLUMN: what is wrong; what would be right"). Unless it
 * returns 1, @ret is untouched, so settings in force stay in force.
 */

#ifndef WH_MANIFEST_H
#define WH_MANIFEST_H

#include <stddef.h>

#include "settings.h"
#include "wherry/cleanup.h"
#include "wherry/error.h"

/* From @len bytes in memory; @name stands for the file in errors. */
wh_must_check int wh_manifest_parse(struct wh_settings *ret, const char *name, const void *data,
                                    size_t len, struct wh_error *err);

/* From one file. */
wh_must_check int wh_manifest_load(struct wh_settings *ret, const char *path, struct wh_error *err);

/* From all *.yaml, *.yml and *.json files of a directory, in the order of their names. */
wh_must_check int wh_manifest_load_dir(struct wh_settings *ret, const char *path,
                                       struct wh_error *err);

#endif
