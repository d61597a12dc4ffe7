/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Custom CPU templates: numbers and bitmaps come as strings.
 */
#include "api/body.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/body_tables.h"
#include "api/wording.h"
#include "base/err.h"

struct body_register {
	int reg; /* 0 to 3: eax, ebx, ecx, edx */
	struct cpu_bits bits;
};

struct body_leaf {
	uint32_t leaf, subleaf, flags;
	struct body_register *regs;
	unsigned int n_regs;
};

struct body_cpu {
	struct kvm_cap_modifier *cap;
	struct body_leaf *leaf;
	struct msr_modifier *msr;
	unsigned int n_cap, n_leaf, n_msr;
};

enum digits_error { DIGITS_EMPTY, DIGITS_INVALID, DIGITS_TOO_LARGE };

/* As Debug and as Display. */
static const char *const digits_names[] = {
	[DIGITS_EMPTY] = "Empty",
	[DIGITS_INVALID] = "InvalidDigit",
	[DIGITS_TOO_LARGE] = "PosOverflow",
};
static const char *const digits_texts[] = {
	[DIGITS_EMPTY] = "cannot parse integer from empty string",
	[DIGITS_INVALID] = "invalid digit found in string",
	[DIGITS_TOO_LARGE] = "number too large to fit in target type",
};

/* 16 and more: no digit. */
static unsigned int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? (unsigned int)(c - 'a') + 10 : 16;
}

/* Digits of a base of at most 16, perhaps behind a '+', that fit 32 bits. */
static bool parse_digits(const char *s, size_t len, unsigned int base,
			 uint32_t *value, enum digits_error *why)
{
	uint32_t total = 0;

	*why = len ? DIGITS_INVALID : DIGITS_EMPTY;
	if (len > 1 && *s == '+') {
		s++;
		len--;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned int digit = digit_of(s[i]);

		if (digit >= base)
			return false;
		if (!num_mul(total, base, &total) ||
		    !num_add(total, digit, &total)) {
			*why = DIGITS_TOO_LARGE;
			return false;
		}
	}
	*value = total;
	return len > 0;
}

/* "0x10a" or "0b101" */
static int parse_prefixed(const struct text *s, void *to, struct err *e)
{
	bool binary = strncmp(s->s, "0b", 2) == 0;
	bool hex = strncmp(s->s, "0x", 2) == 0;
	char shown[WORDING_SHOWN];
	enum digits_error why;

	wording_show(shown, s->s, s->len);
	if (!binary && !hex)
		return err_set(e, -EINVAL,
			       "No supported number system prefix found in "
			       "value [%s]. Make sure to prefix the number "
			       "with '0x' for hexadecimal numbers or '0b' for "
			       "binary numbers.",
			       shown);
	if (parse_digits(s->s + 2, s->len - 2, binary ? 2 : 16, to, &why))
		return 0;
	return err_set(e, -EINVAL,
		       "Failed to parse string [%s] as a number for CPU "
		       "template - ParseIntError { kind: %s }",
		       shown, digits_names[why]);
}

/* "172", or "!172" for one that need not be there */
static int parse_cap(const struct text *s, void *to, struct err *e)
{
	struct kvm_cap_modifier *cap = to;
	char shown[WORDING_SHOWN];
	enum digits_error why;

	cap->remove = s->s[0] == '!';
	if (parse_digits(s->s + cap->remove, s->len - cap->remove, 10,
			 &cap->cap, &why))
		return 0;
	wording_show(shown, s->s, s->len);
	return err_set(e, -EINVAL,
		       "Failed to parse string [%s] as a kvm capability - can "
		       "not convert to numeric: %s",
		       shown, digits_texts[why]);
}

static int parse_register(const struct text *s, void *to, struct err *e)
{
	static const char *const names[] = {"eax", "ebx", "ecx", "edx"};

	for (int i = 0; i < (int)ARRAY_LEN(names); i++) {
		if (s->len == 3 && strcmp(s->s, names[i]) == 0) {
			*(int *)to = i;
			return 0;
		}
	}
	return err_set(
		e, -EINVAL,
		"Invalid CPUID register. Must be one of [eax, ebx, ecx, edx]");
}

/* "0bx01": highest bit first, x: not touched, _ is skipped, 0b may lack. */
static int parse_bitmap(const struct text *s, unsigned int n_bits,
			struct cpu_bits *to, struct err *e)
{
	size_t start = strncmp(s->s, "0b", 2) == 0 ? 2 : 0;
	struct cpu_bits out = {0};
	char shown[WORDING_SHOWN];
	unsigned int bit = 0;

	wording_show(shown, s->s, s->len);
	for (size_t i = s->len; i-- > start;) {
		char c = s->s[i];

		if (bit == n_bits)
			return err_set(e, -EINVAL,
				       "Failed to parse string [%s] as a "
				       "bitmap - string is too long",
				       shown);
		if (c == '_')
			continue;
		if (c != 'x' && c != '0' && c != '1')
			return err_set(e, -EINVAL,
				       "Failed to parse string [%s] as a "
				       "bitmap - unknown character: %u",
				       shown, (unsigned char)c);
		out.filter |= (uint64_t)(c != 'x') << bit;
		out.bits |= (uint64_t)(c == '1') << bit;
		bit++;
	}
	*to = out;
	return 0;
}

static int parse_bitmap32(const struct text *s, void *to, struct err *e)
{
	return parse_bitmap(s, 32, to, e);
}

static int parse_bitmap64(const struct text *s, void *to, struct err *e)
{
	return parse_bitmap(s, 64, to, e);
}

static const struct field register_fields[] = {
	{"register", FIELD_PARSED, FIELD_REQUIRED,
	 .at = offsetof(struct body_register, reg), .parse = parse_register},
	{"bitmap", FIELD_PARSED, FIELD_REQUIRED,
	 .at = offsetof(struct body_register, bits), .parse = parse_bitmap32},
};

static const struct schema register_schema = {
	.name = "CpuidRegisterModifier",
	.fields = register_fields,
	.n_fields = ARRAY_LEN(register_fields),
	.open = true,
};

static const struct field register_item = {
	.kind = FIELD_STRUCT,
	.schema = &register_schema,
};

#define AT(m) .at = offsetof(struct body_leaf, m)
static const struct field leaf_fields[] = {
	{"leaf", FIELD_PARSED, FIELD_REQUIRED, AT(leaf),
	 .parse = parse_prefixed},
	{"subleaf", FIELD_PARSED, FIELD_REQUIRED, AT(subleaf),
	 .parse = parse_prefixed},
	{"flags", FIELD_U32, FIELD_REQUIRED, AT(flags)},
	{"modifiers", FIELD_LIST, FIELD_REQUIRED, AT(regs),
	 .list = {&register_item, sizeof(struct body_register),
		  offsetof(struct body_leaf, n_regs)}},
};
#undef AT

static const struct schema leaf_schema = {
	.name = "CpuidLeafModifier",
	.fields = leaf_fields,
	.n_fields = ARRAY_LEN(leaf_fields),
	.open = true,
};

static const struct field msr_fields[] = {
	{"addr", FIELD_PARSED, FIELD_REQUIRED,
	 .at = offsetof(struct msr_modifier, index), .parse = parse_prefixed},
	{"bitmap", FIELD_PARSED, FIELD_REQUIRED,
	 .at = offsetof(struct msr_modifier, value), .parse = parse_bitmap64},
};

static const struct schema msr_schema = {
	.name = "RegisterModifier",
	.fields = msr_fields,
	.n_fields = ARRAY_LEN(msr_fields),
	.open = true,
};

static const struct field cap_item = {.kind = FIELD_PARSED, .parse = parse_cap};
static const struct field leaf_item = {.kind = FIELD_STRUCT,
				       .schema = &leaf_schema};
static const struct field msr_item = {.kind = FIELD_STRUCT,
				      .schema = &msr_schema};

#define AT(m) .at = offsetof(struct body_cpu, m)
static const struct field cpu_fields[] = {
	{"kvm_capabilities", FIELD_LIST, 0, AT(cap),
	 .list = {&cap_item, sizeof(struct kvm_cap_modifier),
		  offsetof(struct body_cpu, n_cap)}},
	{"cpuid_modifiers", FIELD_LIST, 0, AT(leaf),
	 .list = {&leaf_item, sizeof(struct body_leaf),
		  offsetof(struct body_cpu, n_leaf)}},
	{"msr_modifiers", FIELD_LIST, 0, AT(msr),
	 .list = {&msr_item, sizeof(struct msr_modifier),
		  offsetof(struct body_cpu, n_msr)}},
};
#undef AT

static const struct schema cpu_schema = {
	.name = "CustomCpuTemplate",
	.fields = cpu_fields,
	.n_fields = ARRAY_LEN(cpu_fields),
};

/* Modifiers of one register follow each other: one that does the same. */
static void add_register(struct cpuid_modifier *m,
			 const struct body_register *r)
{
	struct cpu_bits *reg = &m->reg[r->reg];

	m->set |= 1U << r->reg;
	reg->bits = (reg->bits & ~r->bits.filter) | r->bits.bits;
	reg->filter |= r->bits.filter;
}

/* Take what *b holds, and free the rest. */
static int take(struct cpu_template *t, struct body_cpu *b, struct err *e)
{
	struct cpuid_modifier *cpuid = NULL;

	if (b->n_leaf)
		cpuid = calloc(b->n_leaf, sizeof(*cpuid));
	if (b->n_leaf && !cpuid) {
		schema_exit(&cpu_schema, b);
		return err_set(e, -ENOMEM, "Out of memory");
	}
	for (unsigned int i = 0; i < b->n_leaf; i++) {
		const struct body_leaf *from = &b->leaf[i];

		cpuid[i].leaf = from->leaf;
		cpuid[i].subleaf = from->subleaf;
		cpuid[i].flags = from->flags;
		for (unsigned int k = 0; k < from->n_regs; k++)
			add_register(&cpuid[i], &from->regs[k]);
	}
	*t = (struct cpu_template){
		.cpuid = cpuid,
		.msr = b->msr,
		.cap = b->cap,
		.n_cpuid = b->n_leaf,
		.n_msr = b->n_msr,
		.n_cap = b->n_cap,
	};
	b->msr = NULL;
	b->cap = NULL;
	b->n_msr = 0;
	b->n_cap = 0;
	schema_exit(&cpu_schema, b);
	return 0;
}

int body_cpu_parse(struct cpu_template *t, const char *text, size_t len,
		   struct err *e)
{
	struct body_cpu b;
	int ret = body_parse(&cpu_schema, text, len, &b, sizeof(b), e);

	return ret ? ret : take(t, &b, e);
}

int body_cpu_file_parse(struct cpu_template *t, const char *text, size_t len,
			struct err *e)
{
	struct body_cpu b;
	int ret = schema_parse(&cpu_schema, text, len, &b, sizeof(b), e);

	return ret ? ret : take(t, &b, e);
}

int body_cpu_fill(struct cpu_template *t, const struct json *j,
		  const struct json_tok *tok, struct err *e)
{
	struct body_cpu b = {0};
	int ret = schema_fill(&cpu_schema, j, tok, &b, e);

	return ret ? ret : take(t, &b, e);
}
