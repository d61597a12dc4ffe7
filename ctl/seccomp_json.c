/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters in Firecracker's JSON, to a file of instructions:
 *
 *	{"vmm": {"default_action": ACTION, "filter_action": ACTION,
 *		 "filter": [{"syscall": NAME, "args": [CONDITION...]}...]},
 *	 "api": ..., "vcpu": ...}
 *
 * A condition is {"index", "type", "op", "val"}. Rules may say why by
 * "comment". The threads are main, helper and vCPUs.
 */
#include "ctl/seccomp.h"

#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/filter.h"
#include "base/json.h"
#include "base/num.h"
#include "ctl/policy.h"

#define NAME_BYTES 64
#define N_ARGS	   6

/* A number for a word. */
struct word {
	const char *name;
	uint32_t value;
};

static const struct word actions[] = {
	{"allow", SCMP_ACT_ALLOW},
	{"kill_process", SCMP_ACT_KILL_PROCESS},
	{"kill_thread", SCMP_ACT_KILL_THREAD},
	{"log", SCMP_ACT_LOG},
	{"trap", SCMP_ACT_TRAP},
	{NULL, 0},
};

static const struct word operators[] = {
	{"eq", SCMP_CMP_EQ}, {"ge", SCMP_CMP_GE}, {"gt", SCMP_CMP_GT},
	{"le", SCMP_CMP_LE}, {"lt", SCMP_CMP_LT}, {"ne", SCMP_CMP_NE},
	{NULL, 0},
};

static const struct word types[] = {{"dword", 1}, {"qword", 0}, {NULL, 0}};

/* What the scanner found, and where errors go. */
struct reader {
	struct json json;
	struct err *e;
};

static int fault(struct reader *r, uint32_t tok, const char *what)
{
	return json_err(&r->json, r->json.tok[tok].at, r->e, "%s", what);
}

static const struct json_tok *token(const struct reader *r, uint32_t tok)
{
	return &r->json.tok[tok];
}

/*
 * The members of an object: at[i] becomes the value of names[i], or 0. The
 * first `required` must be there, others must not.
 */
static int read_object(struct reader *r, uint32_t obj, const char *const *names,
		       size_t n, size_t required, uint32_t *at)
{
	const struct json *j = &r->json;

	memset(at, 0, n * sizeof(*at));
	if (token(r, obj)->kind != JSON_OBJECT)
		return fault(r, obj, "not an object");
	for (uint32_t key = obj + 1; key < j->tok[obj].next;
	     key = j->tok[key + 1].next) {
		size_t i = 0;

		while (i < n && !json_string_is(j, &j->tok[key], names[i]))
			i++;
		if (i == n)
			return fault(r, key, "unknown field");
		if (at[i])
			return fault(r, key, "duplicate field");
		at[i] = key + 1;
	}
	for (size_t i = 0; i < required; i++) {
		if (!at[i])
			return json_err(j, j->tok[obj].at, r->e,
					"missing field `%s` in the object",
					names[i]);
	}
	return 0;
}

static int read_word(struct reader *r, uint32_t tok, const struct word *w,
		     uint32_t *value)
{
	if (token(r, tok)->kind != JSON_STRING)
		return fault(r, tok, "not a string");
	for (; w->name; w++) {
		if (json_string_is(&r->json, token(r, tok), w->name)) {
			*value = w->value;
			return 0;
		}
	}
	return fault(r, tok, "unknown word");
}

static int read_number(struct reader *r, uint32_t tok, uint64_t max,
		       uint64_t *value)
{
	if (token(r, tok)->kind != JSON_UINT)
		return fault(r, tok, "not a number without sign");
	*value = json_uint(&r->json, token(r, tok));
	return *value > max ? fault(r, tok, "the number is too large") : 0;
}

/* A word, {"errno": N} or {"trace": N}. */
static int read_action(struct reader *r, uint32_t tok, uint32_t *action)
{
	static const char *const names[] = {"errno", "trace"};
	uint32_t at[ARRAY_LEN(names)];
	uint64_t n = 0;
	int ret;

	if (token(r, tok)->kind == JSON_STRING)
		return read_word(r, tok, actions, action);
	ret = read_object(r, tok, names, ARRAY_LEN(names), 0, at);
	if (ret < 0)
		return ret;
	if (!at[0] == !at[1])
		return fault(r, tok, "not an action");
	ret = read_number(r, at[0] ? at[0] : at[1], UINT16_MAX, &n);
	if (ret < 0)
		return ret;
	*action = at[0] ? SCMP_ACT_ERRNO(n) : SCMP_ACT_TRACE(n);
	return 0;
}

/* A word, or {"masked_eq": MASK}. */
static int read_operator(struct reader *r, uint32_t tok, uint32_t *op,
			 uint64_t *mask)
{
	static const char *const names[] = {"masked_eq"};
	uint32_t at[ARRAY_LEN(names)];
	int ret;

	if (token(r, tok)->kind == JSON_STRING)
		return read_word(r, tok, operators, op);
	ret = read_object(r, tok, names, ARRAY_LEN(names), ARRAY_LEN(names),
			  at);
	*op = SCMP_CMP_MASKED_EQ;
	return ret < 0 ? ret : read_number(r, at[0], UINT64_MAX, mask);
}

static int read_condition(struct reader *r, uint32_t tok,
			  struct scmp_arg_cmp *cmp)
{
	static const char *const names[] = {"index", "type", "op", "val",
					    "comment"};
	uint32_t at[ARRAY_LEN(names)], is_dword = 0, op = 0;
	uint64_t index = 0, value = 0, mask = 0;
	int ret;

	ret = read_object(r, tok, names, ARRAY_LEN(names), 4, at);
	if (ret == 0)
		ret = read_number(r, at[0], N_ARGS - 1, &index);
	if (ret == 0)
		ret = read_word(r, at[1], types, &is_dword);
	if (ret == 0)
		ret = read_operator(r, at[2], &op, &mask);
	if (ret == 0)
		ret = read_number(r, at[3], is_dword ? UINT32_MAX : UINT64_MAX,
				  &value);
	if (ret < 0)
		return ret;
	/* Of a dword the upper half does not count. */
	if (is_dword && op == SCMP_CMP_EQ) {
		op = SCMP_CMP_MASKED_EQ;
		mask = UINT32_MAX;
	} else if (is_dword) {
		mask &= UINT32_MAX;
	}
	*cmp = (struct scmp_arg_cmp){
		.arg = (unsigned int)index,
		.op = (enum scmp_compare)op,
		.datum_a = op == SCMP_CMP_MASKED_EQ ? mask : value,
		.datum_b = op == SCMP_CMP_MASKED_EQ ? value : 0,
	};
	return 0;
}

static int read_syscall(struct reader *r, uint32_t tok, int *nr)
{
	const struct json_tok *t = token(r, tok);
	char name[NAME_BYTES];

	if (t->kind != JSON_STRING || t->end - t->at >= sizeof(name))
		return fault(r, tok, "not the name of a system call");
	(void)json_string(&r->json, t, name);
	*nr = seccomp_syscall_resolve_name(name);
	return *nr < 0 ? fault(r, tok, "no such system call") : 0;
}

static int read_rule(struct reader *r, uint32_t tok, scmp_filter_ctx ctx,
		     uint32_t action)
{
	static const char *const names[] = {"syscall", "args", "comment"};
	uint32_t at[ARRAY_LEN(names)];
	struct scmp_arg_cmp cmp[N_ARGS];
	unsigned int n = 0;
	int nr = 0, ret;

	ret = read_object(r, tok, names, ARRAY_LEN(names), 1, at);
	if (ret == 0)
		ret = read_syscall(r, at[0], &nr);
	if (ret < 0)
		return ret;
	if (at[1] && token(r, at[1])->kind != JSON_ARRAY)
		return fault(r, at[1], "not an array");
	for (uint32_t arg = at[1] + 1; at[1] && arg < token(r, at[1])->next;
	     arg = token(r, arg)->next) {
		if (n == N_ARGS)
			return fault(r, arg, "too many conditions");
		ret = read_condition(r, arg, &cmp[n++]);
		if (ret < 0)
			return ret;
	}
	ret = policy_add(ctx, action, nr, n, cmp, r->e);
	return ret < 0 ? fault(r, tok,
			       "a rule that libseccomp does not take (two "
			       "conditions on one argument, or the default "
			       "action)")
		       : 0;
}

static int read_rules(struct reader *r, uint32_t tok, scmp_filter_ctx ctx,
		      uint32_t action)
{
	int ret = 0;

	if (token(r, tok)->kind != JSON_ARRAY)
		return fault(r, tok, "not an array");
	for (uint32_t rule = tok + 1; ret == 0 && rule < token(r, tok)->next;
	     rule = token(r, rule)->next)
		ret = read_rule(r, rule, ctx, action);
	return ret;
}

static int read_filter(struct reader *r, uint32_t tok,
		       struct sock_filter **code, size_t *n)
{
	static const char *const names[] = {"default_action", "filter_action",
					    "filter"};
	uint32_t at[ARRAY_LEN(names)], otherwise = 0, action = 0;
	scmp_filter_ctx ctx = NULL;
	int ret;

	ret = read_object(r, tok, names, ARRAY_LEN(names), ARRAY_LEN(names),
			  at);
	if (ret == 0)
		ret = read_action(r, at[0], &otherwise);
	if (ret == 0)
		ret = read_action(r, at[1], &action);
	if (ret == 0)
		ret = policy_new(&ctx, otherwise, r->e);
	if (ret == 0)
		ret = read_rules(r, at[2], ctx, action);
	if (ret == 0)
		ret = policy_code(ctx, code, n, r->e);
	seccomp_release(ctx);
	return ret;
}

/* Header and instructions in one piece. */
static int make_file(struct sock_filter *const code[3], const size_t n[3],
		     uint8_t **file, size_t *len, struct err *e)
{
	const size_t unsummed = offsetof(struct filter_header, n);
	struct filter_header h = {.version = FILTER_VERSION};
	size_t at = sizeof(h);
	uint8_t *p;

	*len = sizeof(h) + (n[0] + n[1] + n[2]) * sizeof(*code[0]);
	p = malloc(*len);
	if (!p)
		return err_code(e, -ENOMEM, "Filter file");
	memcpy(h.magic, FILTER_MAGIC, sizeof(h.magic));
	for (size_t i = 0; i < 3; i++) {
		h.n[i] = (uint32_t)n[i];
		memcpy(p + at, code[i], n[i] * sizeof(*code[i]));
		at += n[i] * sizeof(*code[i]);
	}
	memcpy(p, &h, sizeof(h));
	h.crc = crc32c(0, p + unsummed, *len - unsummed);
	memcpy(p, &h, sizeof(h));
	*file = p;
	return 0;
}

int seccomp_compile(const char *json, size_t len, uint8_t **file, size_t *n,
		    struct err *e)
{
	static const char *const names[] = {"vmm", "api", "vcpu"};
	struct reader r = {.e = e};
	struct sock_filter *code[ARRAY_LEN(names)] = {NULL};
	size_t lens[ARRAY_LEN(names)] = {0};
	uint32_t at[ARRAY_LEN(names)];
	int ret = json_scan(&r.json, json, len, e);

	if (ret == 0 && r.json.error)
		ret = json_syntax_err(&r.json, e);
	if (ret == 0)
		ret = read_object(&r, 0, names, ARRAY_LEN(names),
				  ARRAY_LEN(names), at);
	for (size_t i = 0; ret == 0 && i < ARRAY_LEN(names); i++)
		ret = read_filter(&r, at[i], &code[i], &lens[i]);
	if (ret == 0)
		ret = make_file(code, lens, file, n, e);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		free(code[i]);
	json_exit(&r.json);
	return ret;
}
