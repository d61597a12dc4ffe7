/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the configuration file and as each body: whatever comes out,
 * errors have a text and nothing is lost or freed twice.
 */
#include "api/body.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/num.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

union any_body {
	struct body_machine machine;
	struct body_net net;
	struct body_vsock vsock;
	struct body_mmds mmds;
	struct body_boot_source boot_source;
	struct body_drive drive;
	struct body_logger logger;
	struct body_metrics metrics;
	struct body_serial serial;
	struct cpu_template cpu;
	int word; /* of actions and /vm */
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

	if (!parsed(schema_parse(&body_config_schema, text, len, &c, sizeof(c),
				 &e),
		    &e))
		return;
	if (len < c.pmem.at + (size_t)c.pmem.len ||
	    len < c.balloon.at + (size_t)c.balloon.len)
		abort();
	schema_exit(&body_config_schema, &c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct schema *const bodies[] = {
		&body_machine_schema, &body_machine_patch_schema,
		&body_action_schema,  &body_vm_schema,
		&body_drive_schema,   &body_drive_patch_schema,
		&body_net_schema,     &body_net_patch_schema,
		&body_vsock_schema,   &body_mmds_schema,
		&body_logger_schema,  &body_boot_source_schema,
		&body_metrics_schema, &body_serial_schema,
	};
	const char *text = (const char *)data;
	union any_body b;
	struct err e;

	parse_config(text, size);
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		if (parsed(body_parse(bodies[i], text, size, &b, sizeof(b), &e),
			   &e))
			schema_exit(bodies[i], &b);
	}
	if (parsed(body_cpu_parse(&b.cpu, text, size, &e), &e))
		cpu_template_exit(&b.cpu);
	if (parsed(body_cpu_file_parse(&b.cpu, text, size, &e), &e))
		cpu_template_exit(&b.cpu);
	return 0;
}
