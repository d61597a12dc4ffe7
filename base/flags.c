/* SPDX-License-Identifier: Apache-2.0 */
#include "base/flags.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

/* The table, what it fills, and which of its flags were there. */
struct parser {
	const struct flag *table;
	size_t n;
	void *out;
	uint64_t given;
	struct flags_fault *fault;
};

__attribute__((format(printf, 4, 5))) static int refuse(struct flags_fault *f,
							const char *kind,
							const char *name,
							const char *fmt, ...)
{
	va_list ap;

	*f = (struct flags_fault){.kind = kind, .name = name};
	va_start(ap, fmt);
	(void)vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int refuse_unexpected(struct flags_fault *f, const char *name)
{
	return refuse(f, "UnexpectedArgument", name,
		      "Found argument '%.128s' which wasn't expected, or isn't "
		      "valid in this context.",
		      name);
}

int flags_missing(struct flags_fault *f, const char *name)
{
	return refuse(f, "MissingArgument", name,
		      "Argument '%s' required, but not found.", name);
}

static const struct flag *find(const struct parser *p, const char *name)
{
	for (size_t i = 0; i < p->n; i++) {
		if (!strcmp(p->table[i].name, name))
			return &p->table[i];
	}
	return NULL;
}

static uint64_t bit_of(const struct parser *p, const struct flag *flag)
{
	return UINT64_C(1) << (flag - p->table);
}

static bool is_given(const struct parser *p, const char *name)
{
	return p->given & bit_of(p, find(p, name));
}

static bool is_long(const char *word)
{
	return !strncmp(word, "--", 2);
}

static int store(struct parser *p, const struct flag *flag, const char *value)
{
	void *field = (char *)p->out + flag->offset;
	struct flag_list *list = field;

	if (!flag->value) {
		*(bool *)field = true;
		return 0;
	}
	if (!value || is_long(value))
		return refuse(p->fault, "MissingValue", flag->name,
			      "The argument '%s' requires a value, but none "
			      "was supplied.",
			      flag->name);
	if (!flag->is_list) {
		*(const char **)field = value;
		return 0;
	}
	if (list->n == FLAG_LIST_MAX)
		return refuse(p->fault, "DuplicateArgument", flag->name,
			      "The argument '%s' was provided more than %d "
			      "times.",
			      flag->name, FLAG_LIST_MAX);
	list->items[list->n++] = value;
	return 0;
}

static int take_words(struct parser *p, int n, char **words)
{
	for (int i = 0; i < n; i++) {
		const struct flag *flag;
		int ret;

		if (!is_long(words[i]))
			return refuse_unexpected(p->fault, words[i]);
		flag = find(p, words[i] + 2);
		if (!flag)
			return refuse_unexpected(p->fault, words[i] + 2);
		if (p->given & bit_of(p, flag) && !flag->is_list)
			return refuse(p->fault, "DuplicateArgument", flag->name,
				      "The argument '%s' was provided more "
				      "than once.",
				      flag->name);
		p->given |= bit_of(p, flag);
		ret = store(p, flag, i + 1 < n ? words[i + 1] : NULL);
		if (ret < 0)
			return ret;
		if (flag->value)
			i++;
	}
	return 0;
}

static int check_rules(const struct parser *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct flag *flag = &p->table[i];

		if (!(p->given & bit_of(p, flag)))
			continue;
		if (flag->requires && !is_given(p, flag->requires))
			return flags_missing(p->fault, flag->requires);
		if (flag->forbids && is_given(p, flag->forbids)) {
			(void)refuse(p->fault, "ForbiddenArgument", flag->name,
				     "Argument '%s' cannot be used together "
				     "with argument '%s'.",
				     flag->forbids, flag->name);
			p->fault->other = flag->forbids;
			return -EINVAL;
		}
	}
	return 0;
}

static bool contains(int n, char **words, const char *word)
{
	for (int i = 0; i < n; i++) {
		if (!strcmp(words[i], word))
			return true;
	}
	return false;
}

int flags_parse(const struct flag *table, size_t n, void *out, int argc,
		char **argv, struct flags_rest *rest, struct flags_fault *f)
{
	struct parser p = {.table = table, .n = n, .out = out, .fault = f};
	int words = argc > 0 ? argc - 1 : 0;
	char **first = argv + (argc > 0 ? 1 : 0);
	int own = 0;
	int ret;

	assert(n <= 64);
	while (own < words && strcmp(first[own], "--") != 0)
		own++;
	*rest = (struct flags_rest){.words = first + words};
	if (own < words) {
		rest->words = first + own + 1;
		rest->n = words - own - 1;
	}
	if (contains(own, first, "--help") || contains(own, first, "-h"))
		return FLAGS_HELP;
	if (contains(own, first, "--version"))
		return FLAGS_VERSION;
	ret = take_words(&p, own, first);
	if (ret == 0)
		ret = check_rules(&p);
	return ret < 0 ? ret : FLAGS_RUN;
}

void flags_print_help(const struct flag *table, size_t n, FILE *out)
{
	for (size_t i = 0; i < n; i++) {
		char left[48];

		(void)snprintf(left, sizeof(left), "--%s %s", table[i].name,
			       table[i].value ? table[i].value : "");
		(void)fprintf(out, "  %-34s %s\n", left, table[i].help);
	}
	(void)fprintf(out, "  %-34s %s\n  %-34s %s\n", "--version",
		      "Print the version", "-h, --help", "Print this");
}

bool flags_started_as(const char *argv0, const char *name)
{
	const char *slash = argv0 ? strrchr(argv0, '/') : NULL;
	const char *last = slash ? slash + 1 : argv0;

	return last && !strcmp(last, name);
}
