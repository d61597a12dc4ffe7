/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/init/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void report(const char *fmt, ...)
{
	char line[512] = "init: ";
	size_t n = strlen(line);
	size_t room = sizeof(line) - n - 1; /* the newline */
	va_list ap;

	va_start(ap, fmt);
	int len = vsnprintf(line + n, room, fmt, ap);
	va_end(ap);
	if (len > 0)
		n += (size_t)len < room ? (size_t)len : room - 1;
	line[n++] = '\n';
	/* Nobody is left to be told of a failure. */
	(void)!write(STDOUT_FILENO, line, n);
}
