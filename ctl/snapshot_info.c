/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/num.h"
#include "ctl/memfile.h"
#include "ctl/snapshot.h"
#include "ctl/text.h"
#include "snapshot/host.h"
#include "snapshot/origin.h"
#include "snapshot/sections.h"

/* What is printed, in either form. */
struct info {
	const char *path;
	const struct snapshot *s;
	struct snapshot_cpu cpu;
	struct origin_host host; /* empty: not recorded */
	struct json config;	 /* scanned without errors */
};

static int read_info(struct info *i, struct err *e)
{
	struct archive a = state_find(&i->s->file, TAG_HOST, 0);
	const char *text;
	size_t len;
	int ret = snapshot_cpu_read(i->s, &i->cpu, e);

	if (ret < 0)
		return ret;
	if (!a.failed)
		origin_host_describe(&i->host, &a);
	if (!archive_ok(&a))
		i->host = (struct origin_host){0};
	text = snapshot_config(i->s, &len);
	ret = json_scan(&i->config, text, len, e);
	if (ret == 0 && i->config.error)
		ret = json_syntax_err(&i->config, e);
	return ret < 0 ? err_wrap(e, "The configuration in it: ") : 0;
}

/* ---- the configuration, as it is ---- */

/* The value of a member, or NULL. */
static const struct json_tok *member(const struct json *j,
				     const struct json_tok *obj,
				     const char *name)
{
	uint32_t end = obj->next;

	if (obj->kind != JSON_OBJECT)
		return NULL;
	for (uint32_t key = (uint32_t)(obj - j->tok) + 1; key < end;
	     key = j->tok[key + 1].next) {
		if (json_string_is(j, &j->tok[key], name))
			return &j->tok[key + 1];
	}
	return NULL;
}

/* A string without its quotes, anything else as it stands. */
static void print_member(const struct json *j, const struct json_tok *obj,
			 const char *before, const char *name)
{
	const struct json_tok *t = member(j, obj, name);
	uint32_t quote = t && t->kind == JSON_STRING;

	if (!t || t->kind == JSON_NULL)
		return;
	(void)printf("%s", before);
	text_print(stdout, j->text + t->at + quote, t->end - t->at - 2 * quote);
}

static bool is_true(const struct json *j, const struct json_tok *obj,
		    const char *name)
{
	const struct json_tok *t = member(j, obj, name);

	return t && t->kind == JSON_TRUE;
}

static void print_drive(const struct json *j, const struct json_tok *d)
{
	print_member(j, d, "drive      ", "drive_id");
	print_member(j, d, "  ", "path_on_host");
	(void)printf("  %s%s\n",
		     is_true(j, d, "is_read_only") ? "read-only" : "writable",
		     is_true(j, d, "is_root_device") ? ", root" : "");
}

static void print_net(const struct json *j, const struct json_tok *d)
{
	print_member(j, d, "network    ", "iface_id");
	print_member(j, d, "  ", "host_dev_name");
	print_member(j, d, "  ", "guest_mac");
	(void)printf("\n");
}

static void print_list(const struct json *j, const char *name,
		       void (*print)(const struct json *j,
				     const struct json_tok *d))
{
	const struct json_tok *list = member(j, &j->tok[0], name);

	if (!list || list->kind != JSON_ARRAY)
		return;
	for (uint32_t i = (uint32_t)(list - j->tok) + 1; i < list->next;
	     i = j->tok[i].next)
		print(j, &j->tok[i]);
}

static void print_devices(const struct json *j)
{
	const struct json_tok *vsock = member(j, &j->tok[0], "vsock");

	print_list(j, "drives", print_drive);
	print_list(j, "network-interfaces", print_net);
	if (vsock && vsock->kind == JSON_OBJECT) {
		print_member(j, vsock, "vsock      CID ", "guest_cid");
		print_member(j, vsock, "  ", "uds_path");
		(void)printf("\n");
	}
}

/* A Diff says so, unless what it was laid over made it whole. */
static const char *kind(const struct snapshot *s)
{
	return state_find(&s->file, TAG_DIFF, 0).failed ? "full" : "diff";
}

/* ---- for people ---- */

static void print_id(const struct state_file *f)
{
	for (size_t i = 0; i < sizeof(f->id); i++)
		(void)printf("%02x", f->id[i]);
}

static void print_cpu(const struct info *i)
{
	const struct snapshot_cpu *c = &i->cpu;

	(void)printf("vCPUs      %u\nCPU        ", c->n_vcpus);
	text_print(stdout, c->vendor, strlen(c->vendor));
	(void)printf(" family %u model %u stepping %u, \"", c->family, c->model,
		     c->stepping);
	text_print(stdout, c->brand, strlen(c->brand));
	(void)printf("\"\n           TSC %" PRIu32 " kHz, XCR0 0x%" PRIx64
		     ", %" PRIu32 " MSRs, XSAVE %" PRIu32 " bytes\n",
		     c->tsc_khz, c->xcr0, c->n_msrs, c->xsave_bytes);
}

static void print_sections(const struct state_file *f)
{
	for (uint32_t i = 0; i < f->n_sections; i++) {
		const struct state_section *s = &f->section[i];

		(void)printf("section    ");
		text_print(stdout, (const char *)&s->tag, sizeof(s->tag));
		(void)printf(" %-3" PRIu32 " %7" PRIu32
			     " bytes  CRC32C %08" PRIx32 "%s\n",
			     s->index, s->bytes, s->crc,
			     s->flags & STATE_REQUIRED ? "  required" : "");
	}
}

static void print_text(const struct info *i)
{
	const struct state_file *f = &i->s->file;

	(void)printf("file       ");
	text_print(stdout, i->path, strlen(i->path));
	(void)printf("\nformat     %u.%u, %zu bytes\nid         ", f->major,
		     f->minor, f->len);
	print_id(f);
	if (i->host.release[0])
		(void)printf("\nmade on    Linux %s", i->host.release);
	(void)printf("\nmemory     %" PRIu64 " bytes (%" PRIu64 " MiB), %s\n",
		     f->mem_bytes, f->mem_bytes / MIB, kind(i->s));
	print_cpu(i);
	print_devices(&i->config);
	print_sections(f);
}

/* ---- for scripts: one line ---- */

static void json_sections(const struct state_file *f)
{
	(void)printf("\"sections\":[");
	for (uint32_t i = 0; i < f->n_sections; i++) {
		const struct state_section *s = &f->section[i];

		(void)printf("%s{\"tag\":", i ? "," : "");
		text_json(stdout, (const char *)&s->tag, sizeof(s->tag));
		(void)printf(",\"index\":%" PRIu32 ",\"bytes\":%" PRIu32
			     ",\"crc32c\":%" PRIu32 ",\"required\":%s}",
			     s->index, s->bytes, s->crc,
			     s->flags & STATE_REQUIRED ? "true" : "false");
	}
	(void)printf("]");
}

static void json_cpu(const struct snapshot_cpu *c)
{
	(void)printf("\"vcpus\":%u,\"cpu\":{\"vendor\":", c->n_vcpus);
	text_json(stdout, c->vendor, strlen(c->vendor));
	(void)printf(",\"brand\":");
	text_json(stdout, c->brand, strlen(c->brand));
	(void)printf(",\"family\":%u,\"model\":%u,\"stepping\":%u,"
		     "\"tsc_khz\":%" PRIu32 ",\"xcr0\":%" PRIu64
		     ",\"msrs\":%" PRIu32 ",\"xsave_bytes\":%" PRIu32 "}",
		     c->family, c->model, c->stepping, c->tsc_khz, c->xcr0,
		     c->n_msrs, c->xsave_bytes);
}

static void print_json(const struct info *i)
{
	const struct state_file *f = &i->s->file;

	(void)printf("{\"file\":");
	text_json(stdout, i->path, strlen(i->path));
	(void)printf(",\"format\":\"%u.%u\",\"bytes\":%zu,\"id\":\"", f->major,
		     f->minor, f->len);
	print_id(f);
	(void)printf("\",\"kernel\":");
	text_json(stdout, i->host.release, strlen(i->host.release));
	(void)printf(",\"kind\":\"%s\",\"memory_bytes\":%" PRIu64 ",",
		     kind(i->s), f->mem_bytes);
	json_cpu(&i->cpu);
	/* It was scanned: it is JSON. Line ends in it would be a second line.
	 */
	(void)printf(",\"config\":");
	for (uint32_t n = 0; n < i->config.len; n++) {
		if (i->config.text[n] != '\n' && i->config.text[n] != '\r')
			(void)putchar(i->config.text[n]);
	}
	(void)putchar(',');
	json_sections(f);
	(void)printf("}\n");
}

static int info_of(const char *path, bool json)
{
	struct snapshot s;
	struct info i = {.path = path, .s = &s};
	struct err e;
	int ret = snapshot_load(&s, path);

	if (ret != CTL_GOOD)
		return ret;
	if (read_info(&i, &e) < 0)
		ret = snapshot_failed(path, &e);
	else if (json)
		print_json(&i);
	else
		print_text(&i);
	json_exit(&i.config);
	snapshot_exit(&s);
	return ret;
}

int snapshot_info(int argc, char **argv)
{
	bool json = argc > 1 && !strcmp(argv[1], "--json");
	int worst = CTL_GOOD, first = 1 + json;

	if (first == argc || argv[first][0] == '-')
		return snapshot_usage();
	for (int i = first; i < argc; i++) {
		int ret = info_of(argv[i], json);

		worst = MAX(worst, ret);
		if (!json && i + 1 < argc)
			(void)printf("\n");
	}
	return worst;
}
