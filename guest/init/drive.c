/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/init/drive.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "guest/init/check.h"
#include "guest/init/report.h"

#define SECTOR	   512
#define PATH_BYTES (NAME_MAX + 48) /* around a drive's name */

struct drive {
	char name[NAME_MAX + 1];
	char device[64]; /* what the transport is called on its bus */
	uint64_t bytes;
	bool read_only;
	bool root;
};

static uint64_t attribute(const char *name, const char *attr)
{
	char path[PATH_BYTES], text[32] = "";

	(void)snprintf(path, sizeof(path), "/sys/block/%s/%s", name, attr);
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	(void)!fgets(text, sizeof(text), f);
	(void)fclose(f);
	return strtoull(text, NULL, 10);
}

static size_t link_of(const char *path, char *to, size_t size)
{
	ssize_t n = readlink(path, to, size - 1);
	size_t len = n < 0 ? 0 : (size_t)n;

	to[len] = 0;
	return len;
}

/* The root file system may be on the drive itself or on a partition of it. */
static bool holds_root(const char *name)
{
	char path[64], link[PATH_MAX], part[PATH_BYTES];
	struct stat st;

	if (stat("/", &st))
		return false;
	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u",
		       major(st.st_dev), minor(st.st_dev));
	size_t n = link_of(path, link, sizeof(link) - 1);

	memcpy(link + n, "/", 2);
	(void)snprintf(part, sizeof(part), "/block/%s/", name);
	return strstr(link, part);
}

/* In .../platform/LNRO0005:00/virtio0/block/vda: LNRO0005:00. */
static void find_device(struct drive *d)
{
	char path[PATH_BYTES], link[PATH_MAX];

	(void)snprintf(path, sizeof(path), "/sys/block/%s", d->name);
	(void)link_of(path, link, sizeof(link));
	char *block = strstr(link, "/block/");

	if (!block)
		return;
	*block = 0;
	char *virtio = strrchr(link, '/');

	if (!virtio)
		return;
	*virtio = 0;
	const char *bus = strrchr(link, '/');

	if (bus)
		(void)snprintf(d->device, sizeof(d->device), "%s", bus + 1);
}

static void probe(struct drive *d, const char *name)
{
	*d = (struct drive){.device = "?"};
	(void)snprintf(d->name, sizeof(d->name), "%s", name);
	d->bytes = attribute(name, "size") * SECTOR;
	d->read_only = attribute(name, "ro");
	d->root = holds_root(name);
	find_device(d);
}

static int each(int (*visit)(const struct drive *d))
{
	struct dirent **entry;
	int n = scandir("/sys/block", &entry, NULL, alphasort);
	int first = 0;

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		struct drive d;

		if (entry[i]->d_name[0] != '.') {
			probe(&d, entry[i]->d_name);
			int r = visit(&d);

			first = first ? first : r;
		}
		free(entry[i]);
	}
	free(entry);
	return first;
}

static int list(const struct drive *d)
{
	report("drive %s %llu bytes %s%s at %s", d->name,
	       (unsigned long long)d->bytes, d->read_only ? "ro" : "rw",
	       d->root ? " root" : "", d->device);
	return 0;
}

/* The kernel lets a read-only device be opened, but not written. */
static int must_refuse(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	static const char sector[SECTOR];

	if (fd < 0)
		return -errno;
	bool refused = write(fd, sector, sizeof(sector)) < 0 || fsync(fd);
	int error = errno;

	(void)close(fd);
	if (!refused) {
		report("%s is read-only but was written", path);
		return -EBADMSG;
	}
	report("%s refuses writing: %s", path, strerror(error));
	return 0;
}

static int exercise(const struct drive *d)
{
	char path[PATH_BYTES];

	if (d->root || !d->bytes)
		return 0;
	(void)snprintf(path, sizeof(path), "/dev/%s", d->name);
	int r = check_read(path, NULL);

	if (r || d->read_only)
		return r ? r : must_refuse(path);
	/* vdb is 1 */
	uint64_t seed = (uint64_t)(d->name[strlen(d->name) - 1] - 'a');

	r = check_write(path, d->bytes, seed);
	return r ? r : check_read(path, &seed);
}

int drive_list(void)
{
	return each(list);
}

int drive_exercise(void)
{
	return each(exercise);
}
