/* SPDX-License-Identifier: Apache-2.0 */

/* Libvirtd started - when it did: some of what it reads, it reads only then. */

#ifndef WH_LIBVIRTD_STARTED_H
#define WH_LIBVIRTD_STARTED_H

#include <time.h>

/* Of the libvirtd that listens there, in seconds since 1970; 0 if nobody knows. */
time_t wh_libvirtd_started(const char *socket_path);

#endif
