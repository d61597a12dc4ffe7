/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init: the first process of our Linux guests.
 *
 * It mounts what a process needs, carries out the orders of the kernel command
 * line and ends the guest. Started as anything but PID 1 it is the check
 * program, or offload if that is its name: one static file is /init,
 * /sbin/init, /bin/check and /bin/offload.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "guest/init/check.h"
#include "guest/init/offload.h"
#include "guest/init/orders.h"
#include "guest/init/report.h"

#define CMDLINE_MAX	     2048 /* of the x86 kernel, with the NUL */
#define SYSLOG_CONSOLE_LEVEL 8
#define CONSOLE_ONLY_ERRORS  4

static void mount_on(const char *dir, const char *type)
{
	/* A read-only root has the folder already. */
	(void)mkdir(dir, 0755);
	/* The kernel itself may have mounted /dev. */
	if (mount(type, dir, type, MS_NOSUID, NULL) && errno != EBUSY)
		report("mount %s: %s", dir, strerror(errno));
}

/* The orders; buf holds the kernel command line. */
static char *find_orders(char *buf, size_t size)
{
	static const char key[] = "mayfly.run=";
	FILE *f = fopen("/proc/cmdline", "re");
	char *save, *found = NULL;

	if (f) {
		if (!fgets(buf, (int)size, f))
			buf[0] = 0;
		(void)fclose(f);
		for (char *s = strtok_r(buf, " \n", &save); s;
		     s = strtok_r(NULL, " \n", &save))
			if (!strncmp(s, key, sizeof(key) - 1))
				found = s + sizeof(key) - 1;
	}
	if (found)
		return found;
	(void)snprintf(buf, size, "%s", ORDERS_DEFAULT);
	return buf;
}

static _Noreturn void end_guest(enum order_end end)
{
	/* Without ACPI a power-off only halts, and nobody would notice. */
	if (end == ORDER_POWER_OFF && access("/sys/firmware/acpi", F_OK)) {
		report("no ACPI to power off by");
		end = ORDER_REBOOT;
	}
	sync();
	/* Leaves a clean file system; fails harmlessly on an initramfs. */
	(void)mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	report("%s", end == ORDER_REBOOT ? "reboot" : "power off");
	/* The console sends on its own time; the end does not wait for it. */
	(void)tcdrain(STDOUT_FILENO);
	(void)reboot(end == ORDER_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
	report("reboot: %s", strerror(errno));
	for (;;)
		pause();
}

static _Noreturn void run_guest(void)
{
	char cmdline[CMDLINE_MAX] = "";
	enum order_end end = ORDER_POWER_OFF;
	struct timespec up;

	mount_on("/dev", "devtmpfs");
	mount_on("/proc", "proc");
	mount_on("/sys", "sysfs");
	mount_on("/tmp", "tmpfs");
	/* Kernel messages would cut our lines. */
	(void)klogctl(SYSLOG_CONSOLE_LEVEL, NULL, CONSOLE_ONLY_ERRORS);
	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	report("userspace after %lld.%02ld s", (long long)up.tv_sec,
	       up.tv_nsec / 10000000);
	unsigned int failed =
		orders_run(find_orders(cmdline, sizeof(cmdline)), &end);

	report("done, %u failed", failed);
	end_guest(end);
}

int main(int argc, char **argv)
{
	if (getpid() == 1)
		run_guest();
	const char *slash = strrchr(argv[0], '/');

	if (!strcmp(slash ? slash + 1 : argv[0], "offload"))
		return offload_main(argc, argv);
	return check_main(argc, argv);
}
