/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/syscalls/table.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

/* Calls that do different things by one argument, and what its names begin with
 */
static const struct {
	const char *name;
	int arg;
	const char *prefix;
} keys[] = {
	{"epoll_ctl", 1, "EPOLL_CTL_"},
	{"fcntl", 1, "F_"},
	{"futex", 1, "FUTEX_"},
	{"io_uring_register", 1, "IORING_"},
	{"ioctl", 1, ""},
	{"madvise", 2, "MADV_"},
	{"mmap", 3, ""},
	{"mprotect", 2, "PROT_"},
	{"prctl", 0, "PR_"},
	{"rt_sigaction", 0, "SIG"},
	{"rt_sigprocmask", 0, "SIG_"},
	{"socket", 0, "AF_"},
	{"tgkill", 2, "SIG"},
};

static int number_of(const char *name)
{
	return seccomp_syscall_resolve_name(name);
}

static size_t find_key(int nr)
{
	size_t i = 0;

	while (i < ARRAY_LEN(keys) && number_of(keys[i].name) != nr)
		i++;
	return i;
}

int table_key_arg(int nr)
{
	size_t i = find_key(nr);

	return i < ARRAY_LEN(keys) ? keys[i].arg : -1;
}

/* Names or numbers joined by "|". */
static bool parse_value(char *text, uint32_t *value)
{
	char *save = NULL;

	*value = 0;
	for (char *word = strtok_r(text, "|", &save); word;
	     word = strtok_r(NULL, "|", &save)) {
		uint32_t bits;

		if (!consts_value(word, &bits))
			return false;
		*value |= bits;
	}
	return true;
}

static bool parse_rule(char *text, struct rule *r)
{
	char *value = text + 2;
	char *range;

	if (text[0] < '0' || text[0] > '5')
		return false;
	r->arg = (unsigned int)(text[0] - '0');
	if (!strncmp(text + 1, "!&", 2)) {
		r->none_of = true;
		value++;
	} else if (text[1] != '=') {
		return false;
	}
	range = strstr(value, "..");
	if (range)
		*range = '\0';
	if (!parse_value(value, &r->low))
		return false;
	r->high = r->low;
	if (!range)
		return true;
	if (r->none_of || !parse_value(range + 2, &r->high))
		return false;
	return r->low < r->high--;
}

/* Returns what is wrong, or NULL. */
static const char *parse_row(struct row *row, char *line)
{
	char *reason = strchr(line, '#');
	char *save = NULL;
	char *word;

	if (!reason)
		return "no reason";
	*reason++ = '\0';
	reason += strspn(reason, " \t");
	reason[strcspn(reason, "\n")] = '\0';
	if (!reason[0] || strlen(reason) >= sizeof(row->reason))
		return "no reason, or a long one";
	memcpy(row->reason, reason, strlen(reason) + 1);
	word = strtok_r(line, " \t", &save);
	row->nr = word ? number_of(word) : -1;
	if (row->nr < 0)
		return "no such system call";
	while ((word = strtok_r(NULL, " \t", &save))) {
		if (row->n_rules == TABLE_RULES)
			return "too many rules";
		if (!parse_rule(word, &row->rule[row->n_rules++]))
			return "a rule that makes no sense";
	}
	return NULL;
}

static bool parse_line(struct table *t, char *line, const char *path, int n)
{
	const char *wrong;

	if (line[strspn(line, " \t\n")] == '\0' || line[0] == '#')
		return true;
	if (t->n == TABLE_ROWS) {
		(void)fprintf(stderr, "%s:%d: too many rows\n", path, n);
		return false;
	}
	t->row[t->n] = (struct row){.line = (unsigned int)n};
	wrong = parse_row(&t->row[t->n], line);
	if (wrong) {
		(void)fprintf(stderr, "%s:%d: %s\n", path, n, wrong);
		return false;
	}
	t->n++;
	return true;
}

bool table_load(struct table *t, const char *path)
{
	FILE *f = fopen(path, "re");
	bool good = f != NULL;
	char *line = NULL;
	size_t size = 0;

	if (!f) {
		perror(path);
		return false;
	}
	for (int n = 1; getline(&line, &size, f) >= 0; n++)
		good = parse_line(t, line, path, n) && good;
	free(line);
	(void)fclose(f);
	return good;
}

static bool rule_holds(const struct rule *r, const uint64_t args[6])
{
	uint32_t value = (uint32_t)args[r->arg];

	if (r->none_of)
		return (value & r->low) == 0;
	return value >= r->low && value <= r->high;
}

static bool row_matches(const struct row *row, int nr, const uint64_t args[6])
{
	if (row->nr != nr)
		return false;
	for (unsigned int i = 0; i < row->n_rules; i++) {
		if (!rule_holds(&row->rule[i], args))
			return false;
	}
	return true;
}

struct row *table_find(struct table *t, int nr, const uint64_t args[6])
{
	for (size_t i = 0; i < t->n; i++) {
		if (row_matches(&t->row[i], nr, args))
			return &t->row[i];
	}
	return NULL;
}

/* Calls that name a path, or make what a path names: the helper's alone. */
static bool names_path(int nr)
{
	static const char *const names[] = {
		"bind",	     "connect", "getcwd",   "newfstatat",
		"open",	     "openat",	"readlink", "rename",
		"renameat2", "socket",	"unlink",   "unlinkat",
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (number_of(names[i]) == nr)
			return true;
	}
	return false;
}

/* Count what table t adds to the set of n calls, and add it. */
static size_t add_calls(int *set, size_t n, const struct table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		size_t at = 0;

		while (at < n && set[at] != t->row[i].nr)
			at++;
		if (at == n && !names_path(t->row[i].nr))
			set[n++] = t->row[i].nr;
	}
	return n;
}

/* Rows of ioctl() on KVM's descriptors, which all other ioctls are not. */
static size_t count_kvm(const struct table *t)
{
	int nr = number_of("ioctl");
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += t->row[i].nr == nr;
	return n;
}

bool table_within_limits(const struct table *main_thread,
			 const struct table *helper, const struct table *vcpu,
			 const struct table *pager)
{
	int set[4 * TABLE_ROWS];
	size_t vcpu_calls = add_calls(set, 0, vcpu);
	size_t kvm = count_kvm(vcpu);
	size_t all = add_calls(set, vcpu_calls, main_thread);

	all = add_calls(set, all, helper);
	all = add_calls(set, all, pager);
	(void)printf("vcpu: %zu of 8 calls, %zu of 4 KVM commands; "
		     "all threads: %zu of 30 calls\n",
		     vcpu_calls, kvm, all);
	return vcpu_calls <= 8 && kvm <= 4 && all <= 30;
}

void table_describe(char *buf, size_t size, int nr, const uint64_t args[6])
{
	char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, nr);
	size_t i = find_key(nr);
	const char *value = NULL;

	if (i == ARRAY_LEN(keys)) {
		(void)snprintf(buf, size, "%s", name ? name : "?");
	} else {
		uint32_t arg = (uint32_t)args[keys[i].arg];

		value = consts_name(keys[i].prefix, arg);
		if (value && strcmp(keys[i].name, "mmap") != 0)
			(void)snprintf(buf, size, "%s %d=%s", name, keys[i].arg,
				       value);
		else
			(void)snprintf(buf, size, "%s %d=%#x", name,
				       keys[i].arg, arg);
	}
	free(name);
}
