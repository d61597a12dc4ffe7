/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/args.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/version.h"

#define DEFAULT_BASE	"/srv/jailer"
#define DEFAULT_NO_FILE 2048

#define ID_MAX 64

#define FLAG(n, member, ...)                                          \
	{                                                             \
		.name = (n), .offset = offsetof(struct args, member), \
		__VA_ARGS__                                           \
	}

static const struct flag flags[] = {
	FLAG("cgroup", cgroup, .value = "FILE=VALUE", .is_list = true,
	     .help = "Write to a file of the jail's cgroup; may be repeated"),
	FLAG("cgroup-version", version_text, .value = "1|2",
	     .help = "Use this version of cgroups [as the host has them]"),
	FLAG("chroot-base-dir", chroot_base_dir, .value = "DIR",
	     .help = "Folder of all jails [" DEFAULT_BASE "]"),
	FLAG("daemonize", daemonize,
	     .help = "Own session, /dev/null for standard input and output"),
	FLAG("exec-file", exec_file, .value = "PATH",
	     .help = "Program to run, linked statically; required"),
	FLAG("gid", gid_text, .value = "N", .help = "Its group; required"),
	FLAG("id", id, .value = "ID",
	     .help = "Name of the jail, A-Z a-z 0-9 -; required"),
	FLAG("netns", netns, .value = "PATH", .forbids = "new-net-ns",
	     .help = "Join this network namespace"),
	FLAG("new-net-ns", new_net_ns, .forbids = "netns",
	     .help = "Run without any network"),
	FLAG("new-pid-ns", new_pid_ns,
	     .help = "Run as process 1 of a namespace"),
	FLAG("parent-cgroup", parent_cgroup, .value = "PATH",
	     .help = "Cgroup above the jail's [the program's name]"),
	FLAG("private-mounts", private_mounts,
	     .help = "Let no later mount of the host arrive inside"),
	FLAG("remove", remove,
	     .help = "Remove the jail of a program that has ended"),
	FLAG("resource-limit", resource_limit, .value = "NAME=N",
	     .is_list = true,
	     .help = "fsize=BYTES or no-file=N [2048]; may be repeated"),
	FLAG("uid", uid_text, .value = "N", .help = "Its user; required"),
};

bool args_number(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t n = 0;

	if (!*text || (text[0] == '0' && text[1]))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || !num_mul(n, 10, &n) ||
		    !num_add(n, (uint64_t)(*text - '0'), &n))
			return false;
	}
	if (n > max)
		return false;
	*out = n;
	return true;
}

static bool is_id_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '-';
}

static int check_id(const char *id, struct err *e)
{
	size_t len = strlen(id);

	if (len < 1 || len > ID_MAX)
		return err_set(e, -EINVAL,
			       "Invalid instance ID: Invalid len (%zu);  the "
			       "length must be between 1 and %d",
			       len, ID_MAX);
	for (size_t i = 0; i < len; i++) {
		if (!is_id_char(id[i]))
			return err_set(e, -EINVAL,
				       "Invalid instance ID: Invalid char (%c) "
				       "at position %zu",
				       id[i], i);
	}
	return 0;
}

static int check_exec_name(struct args *a, struct err *e)
{
	const char *slash, *name;

	if (!a->exec_file)
		return 0;
	slash = strrchr(a->exec_file, '/');
	name = slash ? slash + 1 : a->exec_file;
	/* Room for ".pid". */
	if (!*name || !strcmp(name, ".") || !strcmp(name, "..") ||
	    strlen(name) > NAME_MAX - 4)
		return err_set(e, -EINVAL,
			       "Failed to extract filename from path %s",
			       a->exec_file);
	a->exec_name = name;
	return 0;
}

/* -1 is not an id: to the kernel it means "leave it". */
static int check_owner(struct args *a, struct err *e)
{
	uint64_t uid, gid;

	if (!args_number(a->uid_text, UINT32_MAX - 1, &uid))
		return err_set(e, -EINVAL, "Invalid uid: %s", a->uid_text);
	if (!args_number(a->gid_text, UINT32_MAX - 1, &gid))
		return err_set(e, -EINVAL, "Invalid gid: %s", a->gid_text);
	a->uid = (uid_t)uid;
	a->gid = (gid_t)gid;
	return 0;
}

/* No empty, "." or ".." component, so neither a "/" in front. */
static bool is_plain_path(const char *path)
{
	do {
		size_t len = strcspn(path, "/");

		if (len == 0 || (len <= 2 && !strncmp(path, "..", len)))
			return false;
		path += len;
	} while (*path++);
	return true;
}

/* "controller.property", which names a file in the cgroup's folder. */
static bool is_cgroup_file(const char *s, size_t len)
{
	const char *dot = memchr(s, '.', len);

	return dot && dot != s && dot != s + len - 1 && !memchr(s, '/', len);
}

static int check_cgroups(struct args *a, struct err *e)
{
	for (int i = 0; i < a->cgroup.n; i++) {
		const char *item = a->cgroup.items[i];
		size_t len = strcspn(item, "=");

		if (!item[len] || !item[len + 1])
			return err_set(e, -EINVAL,
				       "Invalid format for cgroups: %s", item);
		if (!is_cgroup_file(item, len))
			return err_set(e, -EINVAL, "Cgroup invalid file: %.*s",
				       (int)MIN(len, 255), item);
	}
	a->parent_given = a->parent_cgroup;
	if (!a->parent_given)
		a->parent_cgroup = a->exec_name;
	else if (!is_plain_path(a->parent_cgroup))
		return err_set(e, -EINVAL,
			       "Parent cgroup path is invalid. Path should not "
			       "be absolute or contain '..' or '.'");
	if (!a->version_text)
		return 0;
	if (strcmp(a->version_text, "1") != 0 &&
	    strcmp(a->version_text, "2") != 0)
		return err_set(e, -EINVAL,
			       "%s is an invalid cgroup version specifier",
			       a->version_text);
	a->version = a->version_text[0] - '0';
	return 0;
}

static int check_limits(struct args *a, struct err *e)
{
	for (int i = 0; i < a->resource_limit.n; i++) {
		const char *item = a->resource_limit.items[i];
		const char *value = strchr(item, '=');
		size_t len = strcspn(item, "=");
		uint64_t n;

		if (!value)
			return err_set(e, -EINVAL,
				       "Invalid format for resources limits: "
				       "%s",
				       item);
		if (!args_number(++value, ARGS_NO_LIMIT - 1, &n))
			return err_set(e, -EINVAL,
				       "Invalid limit value for resource: %s: "
				       "invalid digit found in string",
				       value);
		if (len == 5 && !strncmp(item, "fsize", len))
			a->limit_fsize = n;
		else if (len == 7 && !strncmp(item, "no-file", len))
			a->limit_no_file = n;
		else
			return err_set(e, -EINVAL,
				       "Invalid resource argument: %.*s",
				       (int)MIN(len, 255), item);
	}
	return 0;
}

/* The first in the order of their names is reported. */
static int check_required(const struct args *a, struct flags_fault *f)
{
	if (!a->exec_file && !a->remove)
		return flags_missing(f, "exec-file");
	if (!a->gid_text && !a->remove)
		return flags_missing(f, "gid");
	if (!a->id)
		return flags_missing(f, "id");
	if (!a->uid_text && !a->remove)
		return flags_missing(f, "uid");
	return 0;
}

static int check_values(struct args *a, struct err *e)
{
	int ret = check_id(a->id, e);

	if (ret == 0)
		ret = check_exec_name(a, e);
	if (ret == 0 && !a->remove)
		ret = check_owner(a, e);
	if (ret == 0)
		ret = check_cgroups(a, e);
	return ret < 0 ? ret : check_limits(a, e);
}

int args_parse(struct args *a, int argc, char **argv, struct err *e)
{
	struct flags_fault fault;
	int ret;

	*a = (struct args){
		.chroot_base_dir = DEFAULT_BASE,
		.limit_fsize = ARGS_NO_LIMIT,
		.limit_no_file = DEFAULT_NO_FILE,
	};
	ret = flags_parse(flags, ARRAY_LEN(flags), a, argc, argv, &a->extra,
			  &fault);
	if (ret > 0) {
		a->action = (enum flags_action)ret;
		return 0;
	}
	if (ret == 0)
		ret = check_required(a, &fault);
	if (ret < 0)
		return err_set(e, ret, "Failed to parse arguments: %s",
			       fault.text);
	return check_values(a, e);
}

void args_print_version(FILE *out, const char *argv0)
{
	if (flags_started_as(argv0, "jailer"))
		(void)fprintf(out, "Jailer v" FIRECRACKER_VERSION "\n\n");
	else
		(void)fprintf(out, "mayfly-jailer v" MAYFLY_VERSION
				   " (Firecracker API v" FIRECRACKER_VERSION
				   ")\n\n");
}

void args_print_help(FILE *out, const char *argv0)
{
	args_print_version(out, argv0);
	(void)fprintf(out, "Make a jail and run one program in it.\n\n");
	flags_print_help(flags, ARRAY_LEN(flags), out);
	(void)fprintf(out, "\nAny arguments after the -- separator will be "
			   "supplied to the jailed binary.\n");
}
