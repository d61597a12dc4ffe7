/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter_probe.c: try what a thread may do under mayfly's filters.
 *
 * usage: filter_probe FOLDER-OF-TABLES        all of it, TAP
 *
 * Each call is made by a forked child that has the filters of a role: every
 * system call number, x32's and i386's among them; for each row of the tables
 * the arguments at its bounds, and one beyond each bound; then combinations of
 * all values that some row names. The tables, read anew, say what must happen.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/filter.h"
#include "base/num.h"
#include "tools/syscalls/table.h"

#define LAST_CALL 512
#define X32_BIT	  0x40000000
#define VALUES	  256

static const char *const role_names[FILTER_ROLES] = {"start", "main", "helper",
						     "vcpu", "pager"};

struct probe {
	struct table table[FILTER_ROLES]; /* start: with all others' rows */
	volatile int *survived;		  /* shared with the child */
	int role;
	unsigned int calls, allowed, wrong;
};

static void arm(int role)
{
	if (filter_first(&filter_builtin[FILTER_START]) < 0)
		_exit(3);
	if (role != FILTER_START && filter_add(&filter_builtin[role]) < 0)
		_exit(3);
}

/* One call; nothing that makes others may follow. */
static void child(struct probe *p, long nr, const uint64_t a[6], bool i386)
{
	long ret;

	/* F_SETFL is allowed on these, and shared with whoever reads us. */
	(void)close_range(0, UINT32_MAX, 0);
	arm(p->role);
	if (i386)
		__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr) : "memory");
	else
		(void)syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	*p->survived = 1;
	__builtin_trap();
}

/* Whether the filter let it pass. */
static bool passes(struct probe *p, long nr, const uint64_t a[6], bool i386)
{
	int status;
	pid_t pid;

	*p->survived = 0;
	p->calls++;
	pid = fork();
	if (pid == 0)
		child(p, nr, a, i386);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		exit(2);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
		puts("Bail out! no filter can be added");
		exit(1);
	}
	/* Without i386 in the kernel int $0x80 is a fault. */
	return *p->survived || WIFEXITED(status) ||
	       (WTERMSIG(status) != SIGSYS && !i386);
}

/*
 * uretprobe and uprobe: the kernel shows them to no filter, and raises SIGILL
 * when a call does not come from a page of its own.
 */
static bool is_unfiltered(long nr)
{
	return nr == 335 || nr == 336;
}

static void judge(struct probe *p, long nr, const uint64_t a[6])
{
	bool should = table_find(&p->table[p->role], (int)nr, a) != NULL;
	bool is = passes(p, nr, a, false);

	p->allowed += is && should;
	if (is == should || is_unfiltered(nr))
		return;
	p->wrong++;
	printf("# %s: call %ld (%#llx, %#llx, %#llx, %#llx) is %s\n",
	       role_names[p->role], nr, (unsigned long long)a[0],
	       (unsigned long long)a[1], (unsigned long long)a[2],
	       (unsigned long long)a[3], is ? "allowed" : "refused");
}

/* No file, no address, nothing that a call could do harm with. */
static void set_harmless(uint64_t a[6])
{
	for (int i = 0; i < 6; i++)
		a[i] = UINT64_MAX;
}

static void every_number(struct probe *p)
{
	uint64_t a[6];

	set_harmless(a);
	for (long nr = 0; nr <= LAST_CALL; nr++) {
		judge(p, nr, a);
		judge(p, nr | X32_BIT, a);
	}
	judge(p, -1, a);
}

static void i386_dies(struct probe *p)
{
	const uint64_t a[6] = {0};

	/* exit, read, write, getpid and a number that does not exist */
	static const long calls[] = {1, 3, 4, 20, 9999};

	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		p->wrong += passes(p, calls[i], a, true);
}

static void set_inside(const struct row *row, uint64_t a[6])
{
	set_harmless(a);
	for (unsigned int i = 0; i < row->n_rules; i++) {
		const struct rule *r = &row->rule[i];

		a[r->arg] =
			r->none_of ? ~(uint64_t)r->low & UINT32_MAX : r->low;
	}
}

static void each_bound(struct probe *p, const struct row *row)
{
	uint64_t a[6];

	set_inside(row, a);
	judge(p, row->nr, a);
	for (unsigned int i = 0; i < row->n_rules; i++) {
		const struct rule *r = &row->rule[i];
		const uint64_t at[] = {r->low, r->high, r->low - 1ULL,
				       r->high + 1ULL, r->low | 1ULL << 31};

		for (size_t k = 0; k < ARRAY_LEN(at); k++) {
			set_inside(row, a);
			a[r->arg] = at[k];
			judge(p, row->nr, a);
		}
	}
}

static size_t add_value(uint64_t *values, size_t n, uint64_t v)
{
	for (size_t i = 0; i < n; i++) {
		if (values[i] == v)
			return n;
	}
	if (n == VALUES)
		exit(2);
	values[n] = v;
	return n + 1;
}

/* Values of one argument of a call that rows of any role name. */
static size_t values_of(const struct probe *p, int nr, unsigned int arg,
			uint64_t *values)
{
	const struct table *t = &p->table[FILTER_START];
	size_t n = add_value(values, 0, UINT32_MAX);

	for (size_t i = 0; i < t->n; i++) {
		for (unsigned int k = 0; k < t->row[i].n_rules; k++) {
			const struct rule *r = &t->row[i].rule[k];

			if (t->row[i].nr != nr || r->arg != arg)
				continue;
			n = add_value(values, n, r->low);
			n = add_value(values, n, r->high);
		}
	}
	return n;
}

/* What belongs to different rows must not add up to something allowed. */
static void combinations(struct probe *p, int nr)
{
	static uint64_t first[VALUES], second[VALUES];
	size_t n = values_of(p, nr, 0, first);
	size_t m = values_of(p, nr, 1, second);
	uint64_t a[6];

	set_harmless(a);
	for (size_t i = 0; n > 1 && m > 1 && i < n; i++) {
		for (size_t k = 0; k < m; k++) {
			a[0] = first[i];
			a[1] = second[k];
			judge(p, nr, a);
		}
	}
}

static void every_row(struct probe *p)
{
	const struct table *all = &p->table[FILTER_START];

	for (size_t i = 0; i < all->n; i++) {
		const struct row *row = &all->row[i];
		size_t k = 0;

		each_bound(p, row);
		while (all->row[k].nr != row->nr)
			k++;
		if (k == i)
			combinations(p, row->nr);
	}
}

static bool load(struct probe *p, const char *dir)
{
	bool good = true;
	char path[4096];

	for (int r = 0; r < FILTER_ROLES; r++) {
		(void)snprintf(path, sizeof(path), "%s/%s.tbl", dir,
			       role_names[r]);
		good = table_load(&p->table[FILTER_START], path) && good;
		if (r != FILTER_START)
			good = table_load(&p->table[r], path) && good;
	}
	return good;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(struct probe *p);
	} tests[] = {
		{"every system call number, x32's too", every_number},
		{"every row, at its bounds and beyond", every_row},
		{"calls of i386", i386_dies},
	};
	static struct probe p;
	const struct rlimit no_core = {0};
	unsigned int n = 0, wrong = 0;

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	p.survived = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (argc != 2 || p.survived == MAP_FAILED || !load(&p, argv[1]))
		return 2;
	printf("1..%zu\n", FILTER_ROLES * ARRAY_LEN(tests));
	for (p.role = 0; p.role < FILTER_ROLES; p.role++) {
		for (size_t i = 0; i < ARRAY_LEN(tests); i++) {
			p.calls = p.allowed = p.wrong = 0;
			tests[i].fn(&p);
			printf("%sok %u - %s: %s (%u calls, %u pass)\n",
			       p.wrong ? "not " : "", ++n, role_names[p.role],
			       tests[i].name, p.calls, p.allowed);
			wrong += p.wrong;
		}
	}
	return wrong ? 1 : 0;
}
