/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mkfilters: turn the tables into C, while mayfly is built.
 *
 *	mkfilters DIR       the filters, for mayfly (base/filter.h)
 *	mkfilters -l DIR    texts, for mayflyctl (ctl/seccomp.h)
 *
 * A thread keeps its first filter when it adds the one of its role, so the
 * first allows what the others do, too.
 */
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/filter.h"
#include "base/num.h"
#include "ctl/policy.h"
#include "tools/syscalls/table.h"

static const char *const role_names[FILTER_ROLES] = {"start", "main", "helper",
						     "vcpu", "pager"};

/* What filter files call them, as Firecracker does; NULL: not in them. */
static const char *const categories[FILTER_ROLES] = {NULL, "vmm", "api",
						     "vcpu"};

struct maker {
	scmp_filter_ctx ctx;
	bool first;
	struct err err;
	int ret;
	/* Called once for each combination of comparisons that a row allows. */
	void (*emit)(struct maker *m, const struct row *row,
		     const struct scmp_arg_cmp *cmp);
};

/*
 * Comparisons of libseccomp are one an argument, so a range is cut into blocks
 * that one mask can match.
 */
static void expand(struct maker *m, const struct row *row, unsigned int i,
		   struct scmp_arg_cmp *cmp)
{
	const struct rule *r = &row->rule[i];

	if (i == row->n_rules) {
		m->emit(m, row, cmp);
		return;
	}
	if (r->none_of) {
		cmp[i] = SCMP_CMP64(r->arg, SCMP_CMP_MASKED_EQ, r->low, 0);
		expand(m, row, i + 1, cmp);
		return;
	}
	for (uint64_t at = r->low; at <= r->high;) {
		uint64_t size = 1;

		while (at % (2 * size) == 0 && at + 2 * size - 1 <= r->high)
			size *= 2;
		cmp[i] = SCMP_CMP64(r->arg, SCMP_CMP_MASKED_EQ,
				    UINT32_MAX & ~(size - 1), at);
		expand(m, row, i + 1, cmp);
		at += size;
	}
}

static void each_rule(struct maker *m, const struct table *t)
{
	struct scmp_arg_cmp cmp[TABLE_RULES];

	for (size_t i = 0; i < t->n; i++)
		expand(m, &t->row[i], 0, cmp);
}

/* ---- filters ---- */

static void add_rule(struct maker *m, const struct row *row,
		     const struct scmp_arg_cmp *cmp)
{
	if (m->ret == 0)
		m->ret = policy_add(m->ctx, SCMP_ACT_ALLOW, row->nr,
				    row->n_rules, cmp, &m->err);
}

static int print_filter(const char *name, const struct table *t, size_t *n)
{
	struct maker m = {.emit = add_rule};
	struct sock_filter *code = NULL;

	m.ret = policy_new(&m.ctx, SCMP_ACT_KILL_PROCESS, &m.err);
	if (m.ret == 0)
		each_rule(&m, t);
	if (m.ret == 0)
		m.ret = policy_code(m.ctx, &code, n, &m.err);
	seccomp_release(m.ctx);
	if (m.ret < 0 || !code) {
		(void)fprintf(stderr, "mkfilters: %s: %s\n", name, m.err.text);
		return 1;
	}
	(void)printf("\nstatic const struct sock_filter %s[] = {\n", name);
	for (size_t i = 0; i < *n; i++)
		(void)printf("\t{%#06x, %u, %u, %#010x},\n", code[i].code,
			     code[i].jt, code[i].jf, code[i].k);
	(void)printf("};\n");
	free(code);
	return 0;
}

static int print_filters(const struct table *t)
{
	size_t n[FILTER_ROLES] = {0};
	int ret = 0;

	(void)printf("/* Made by mkfilters. */\n"
		     "#include <linux/filter.h>\n\n"
		     "#include \"base/filter.h\"\n");
	for (int r = 0; r < FILTER_ROLES; r++)
		ret |= print_filter(role_names[r], &t[r], &n[r]);
	(void)printf("\nconst struct filter filter_builtin[FILTER_ROLES] = "
		     "{\n");
	for (int r = 0; r < FILTER_ROLES; r++)
		(void)printf("\t{%s, %zu},\n", role_names[r], n[r]);
	(void)printf("};\n");
	return ret;
}

/* ---- texts ---- */

static void print_quoted(const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			(void)printf("\\n\"\n\t\"");
		else if (*text == '"' || *text == '\\')
			(void)printf("\\%c", *text);
		else
			(void)putchar(*text);
	}
}

static int print_file(const char *dir, int role)
{
	char path[4096], line[256];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s.tbl", dir, role_names[role]);
	f = fopen(path, "re");
	if (!f) {
		perror(path);
		return 1;
	}
	(void)printf("\t\"%s\", \"", role_names[role]);
	while (fgets(line, sizeof(line), f))
		print_quoted(line);
	(void)printf("\",\n");
	(void)fclose(f);
	return 0;
}

/* A rule as an object of a filter file, on a line of its own. */
static void print_rule(struct maker *m, const struct row *row,
		       const struct scmp_arg_cmp *cmp)
{
	char *name =
		seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, row->nr);
	char line[640];
	size_t at = 0;

#define ADD(...) \
	(at += (size_t)snprintf(line + at, sizeof(line) - at, __VA_ARGS__))
	ADD("%s\n\t{\"syscall\": \"%s\", ", m->first ? "" : ",", name);
	for (unsigned int i = 0; i < row->n_rules; i++) {
		ADD("%s{\"index\": %u, \"type\": \"dword\", \"op\": ",
		    i ? ", " : "\"args\": [", cmp[i].arg);
		if (cmp[i].datum_a == UINT32_MAX)
			ADD("\"eq\"");
		else
			ADD("{\"masked_eq\": %llu}",
			    (unsigned long long)cmp[i].datum_a);
		ADD(", \"val\": %llu}", (unsigned long long)cmp[i].datum_b);
	}
	ADD("%s\"comment\": \"%s\"}", row->n_rules ? "], " : "", row->reason);
#undef ADD
	m->first = false;
	print_quoted(line);
	free(name);
}

static int print_texts(const char *dir, const struct table *t)
{
	int ret = 0;

	(void)printf("/* Made by mkfilters. */\n"
		     "#include \"ctl/seccomp.h\"\n\n"
		     "const char *const seccomp_tables[] = {\n");
	for (int r = 0; r < FILTER_ROLES; r++)
		ret |= print_file(dir, r);
	(void)printf("\tNULL,\n};\n\nconst char *const seccomp_json[] = {\n");
	for (int r = FILTER_MAIN; r <= FILTER_VCPU; r++) {
		struct maker m = {.first = true, .emit = print_rule};

		(void)printf("\t\"");
		print_quoted(r == FILTER_MAIN ? "{" : ",\n");
		print_quoted("\"");
		print_quoted(categories[r]);
		print_quoted("\": {\"default_action\": \"kill_process\", "
			     "\"filter_action\": \"allow\", \"filter\": [");
		each_rule(&m, &t[r]);
		print_quoted("]}");
		print_quoted(r == FILTER_VCPU ? "}\n" : "");
		(void)printf("\",\n");
	}
	(void)printf("\tNULL,\n};\n");
	return ret;
}

/* ---- */

static bool load(struct table t[FILTER_ROLES], const char *dir, bool first)
{
	bool good = true;
	char path[4096];

	for (int r = 0; r < FILTER_ROLES; r++) {
		(void)snprintf(path, sizeof(path), "%s/%s.tbl", dir,
			       role_names[r]);
		if (r != FILTER_START)
			good = table_load(&t[r], path) && good;
		if (first)
			good = table_load(&t[FILTER_START], path) && good;
	}
	return good;
}

int main(int argc, char **argv)
{
	static struct table t[FILTER_ROLES];
	bool texts = argc == 3 && !strcmp(argv[1], "-l");

	if (argc != 2 + texts) {
		(void)fprintf(stderr, "usage: mkfilters [-l] DIR\n");
		return 2;
	}
	if (!load(t, argv[argc - 1], !texts))
		return 1;
	return texts ? print_texts(argv[2], t) : print_filters(t);
}
