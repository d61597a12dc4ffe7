/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the configuration file and as each body: whatever comes out,
 * errors have a text and nothing is lost or freed twice.
 */
#include "api/body.h"

#include <stdlib.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

union any_body {
	struct body_machine machine;
	struct body_boot_source boot_source;
	struct body_drive drive;
	struct body_logger logger;
	struct body_metrics metrics;
	struct body_serial serial;
	struct cpu_template cpu;
	enum body_action action;
	enum body_vm_state vm;
};

static bool parsed(int ret, const struct err *e)
{
	if (ret && (ret > 0 || ret != e->code || e->text[0] == '\0'))
		abort();
	return ret == 0;
}

static void parse_config(const char *text, size_t len)
{
	struct body_config c;
	struct err e;

	if (!parsed(body_config_parse(&c, text, len, &e), &e))
		return;
	if (len < c.vsock.at + (size_t)c.vsock.len ||
	    len < c.network_interfaces.at + (size_t)c.network_interfaces.len)
		abort();
	body_config_exit(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	union any_body b;
	struct err e;

	parse_config(text, size);
	(void)parsed(body_machine_parse(&b.machine, text, size, &e), &e);
	(void)parsed(body_machine_patch_parse(&b.machine, text, size, &e), &e);
	(void)parsed(body_action_parse(&b.action, text, size, &e), &e);
	(void)parsed(body_vm_parse(&b.vm, text, size, &e), &e);
	if (parsed(body_boot_source_parse(&b.boot_source, text, size, &e), &e))
		body_boot_source_exit(&b.boot_source);
	if (parsed(body_drive_parse(&b.drive, text, size, &e), &e))
		body_drive_exit(&b.drive);
	if (parsed(body_drive_patch_parse(&b.drive, text, size, &e), &e))
		body_drive_exit(&b.drive);
	if (parsed(body_logger_parse(&b.logger, text, size, &e), &e))
		body_logger_exit(&b.logger);
	if (parsed(body_metrics_parse(&b.metrics, text, size, &e), &e))
		body_metrics_exit(&b.metrics);
	if (parsed(body_serial_parse(&b.serial, text, size, &e), &e))
		body_serial_exit(&b.serial);
	if (parsed(body_cpu_parse(&b.cpu, text, size, &e), &e))
		cpu_template_exit(&b.cpu);
	if (parsed(body_cpu_file_parse(&b.cpu, text, size, &e), &e))
		cpu_template_exit(&b.cpu);
	return 0;
}
