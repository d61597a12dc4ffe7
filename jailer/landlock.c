/* SPDX-License-Identifier: Apache-2.0 */
#include "jailer/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Bits that the headers of a distribution may lack, by the ABI that has them.
 */
#define FS_ABI1	     ((UINT64_C(1) << 13) - 1)
#define FS_REFER     (UINT64_C(1) << 13) /* ABI 2 */
#define FS_TRUNCATE  (UINT64_C(1) << 14) /* ABI 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* ABI 5 */
#define NET_ALL	     UINT64_C(3)	 /* ABI 4: bind, connect of TCP */
#define SCOPE_ALL    UINT64_C(3)	 /* ABI 6: abstract sockets, signals */

#define IN_ROOT                                                          \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |  \
	 LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |     \
	 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 FS_TRUNCATE | FS_IOCTL_DEV)

struct ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

static struct ruleset ruleset_of(long abi)
{
	return (struct ruleset){
		.fs = FS_ABI1 | (abi >= 2 ? FS_REFER : 0) |
		      (abi >= 3 ? FS_TRUNCATE : 0) |
		      (abi >= 5 ? FS_IOCTL_DEV : 0),
		.net = abi >= 4 ? NET_ALL : 0,
		.scoped = abi >= 6 ? SCOPE_ALL : 0,
	};
}

static int create(long abi, const struct ruleset *r)
{
	size_t size = abi >= 6	 ? sizeof(*r)
		      : abi >= 4 ? offsetof(struct ruleset, scoped)
				 : offsetof(struct ruleset, net);

	return (int)syscall(SYS_landlock_create_ruleset, r, size, 0);
}

static int allow(int ruleset, int fd, uint64_t access)
{
	const struct landlock_path_beneath_attr rule = {
		.allowed_access = access,
		.parent_fd = fd,
	};

	return (int)syscall(SYS_landlock_add_rule, ruleset,
			    LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

int landlock_prepare(int program, int *rules, struct err *e)
{
	cleanup_fd int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int ruleset = -1;
	struct ruleset r = {0};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0,
			   LANDLOCK_CREATE_RULESET_VERSION);

	*rules = -1;
	/* Sandboxes above may refuse what they do not know. */
	if (abi < 1)
		return errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM
			       ? 0
			       : err_sys(e, "Failed to ask for Landlock");
	/* Some kernels announce an ABI of which they lack a part. */
	for (; ruleset < 0 && abi >= 1; abi--) {
		r = ruleset_of(abi);
		ruleset = create(abi, &r);
		if (ruleset < 0 && errno != EINVAL)
			break;
	}
	if (ruleset < 0)
		return err_sys(e, "Failed to make a Landlock ruleset");
	if (allow(ruleset, root, IN_ROOT & r.fs) < 0 ||
	    allow(ruleset, program,
		  LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE) <
		    0)
		return err_sys(e, "Failed to add a Landlock rule");
	*rules = fd_steal(&ruleset);
	return 0;
}

int landlock_enter(int rules, struct err *e)
{
	if (rules >= 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		return err_sys(e, "Failed to restrict by Landlock");
	return 0;
}
