/* SPDX-License-Identifier: Apache-2.0 */
#include "api/body.h"

#include "base/num.h"
#include "tests/api/body_check.h"

static void cpu_templates_are_read(void **state)
{
	static const char text[] =
		"{\"kvm_capabilities\":[\"171\",\"!+172\"],"
		"\"cpuid_modifiers\":[{\"leaf\":\"0x80000001\",\"subleaf\":"
		"\"0b11\",\"flags\":1,\"y\":{},\"modifiers\":["
		"{\"register\":\"edx\",\"bitmap\":\"0b1x0\"},"
		"{\"register\":\"edx\",\"bitmap\":\"_x_01\"},"
		"{\"register\":\"eax\",\"bitmap\":\"\"}]}],"
		"\"msr_modifiers\":[{\"addr\":\"0x10a\",\"x\":1,\"bitmap\":"
		"\"1xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		"xx"
		"x0\"}]}";
	struct cpu_template t;

	(void)state;
	assert_fn_parses(body_cpu_parse, &t, text);
	assert_int_equal(t.n_cap, 2);
	assert_true(t.cap[0].cap == 171 && !t.cap[0].remove);
	assert_true(t.cap[1].cap == 172 && t.cap[1].remove);
	assert_int_equal(t.n_cpuid, 1);
	assert_int_equal(t.cpuid[0].leaf, 0x80000001);
	assert_int_equal(t.cpuid[0].subleaf, 3);
	assert_int_equal(t.cpuid[0].flags, 1);
	assert_int_equal(t.cpuid[0].set, 1 << 3 | 1 << 0);
	/* Two modifiers of edx, the second on top of the first. */
	assert_int_equal(t.cpuid[0].reg[3].filter, 7);
	assert_int_equal(t.cpuid[0].reg[3].bits, 5);
	assert_int_equal(t.cpuid[0].reg[0].filter, 0);
	assert_int_equal(t.n_msr, 1);
	assert_int_equal(t.msr[0].index, 0x10a);
	assert_true(t.msr[0].value.filter == ((uint64_t)1 << 63 | 1));
	assert_true(t.msr[0].value.bits == (uint64_t)1 << 63);
	cpu_template_exit(&t);
	assert_fn_parses(body_cpu_parse, &t, "{}");
	assert_int_equal(t.n_cap + t.n_cpuid + t.n_msr, 0);
	cpu_template_exit(&t);
}

static const struct {
	const char *text, *want;
} refused[] = {
	{"{\"kvm_capabilities\":{}}",
	 PREFIX "invalid type: map, expected a sequence at line 1 column "
		"20."},
	{"{\"foo\":1}",
	 PREFIX "unknown field `foo`, expected one of `kvm_capabilities`, "
		"`cpuid_modifiers`, `msr_modifiers` at line 1 column 6."},
	{"{\"kvm_capabilities\":[\"!x\"]}",
	 PREFIX "Failed to parse string [!x] as a kvm capability - can not "
		"convert to numeric: invalid digit found in string at line "
		"1 column 26."},
	{"{\"kvm_capabilities\":[\"\" , \"1\"]}",
	 PREFIX "Failed to parse string [] as a kvm capability - can not "
		"convert to numeric: cannot parse integer from empty "
		"string at line 1 column 26."},
	{"{\"kvm_capabilities\":[\"4294967296\"]}",
	 PREFIX "Failed to parse string [4294967296] as a kvm capability - "
		"can not convert to numeric: number too large to fit in "
		"target type at line 1 column 34."},
	{"{\"cpuid_modifiers\":[{\"leaf\":\"1\"}]}",
	 PREFIX "No supported number system prefix found in value [1]. Make "
		"sure to prefix the number with '0x' for hexadecimal "
		"numbers or '0b' for binary numbers. at line 1 column 32."},
	{"{\"cpuid_modifiers\":[{\"leaf\":\"0x\"}]}",
	 PREFIX "Failed to parse string [0x] as a number for CPU template "
		"- ParseIntError { kind: Empty } at line 1 column 33."},
	{"{\"cpuid_modifiers\":[{\"leaf\":\"0b2\"}]}",
	 PREFIX "Failed to parse string [0b2] as a number for CPU template "
		"- ParseIntError { kind: InvalidDigit } at line 1 column "
		"34."},
	{"{\"msr_modifiers\":[{\"addr\":\"0x100000000\"}]}",
	 PREFIX "Failed to parse string [0x100000000] as a number for CPU "
		"template - ParseIntError { kind: PosOverflow } at line 1 "
		"column 40."},
	{"{\"msr_modifiers\":[{\"addr\":\"0x1\"}]}",
	 PREFIX "missing field `bitmap` at line 1 column 32."},
	{"{\"msr_modifiers\":[{\"bitmap\":\"0b12\"}]}",
	 PREFIX "Failed to parse string [0b12] as a bitmap - unknown "
		"character: 50 at line 1 column 35."},
	{"{\"cpuid_modifiers\":[{\"modifiers\":[{\"register\":"
	 "\"ekx\"}]}]}",
	 PREFIX "Invalid CPUID register. Must be one of [eax, ebx, ecx, "
		"edx] at line 1 column 52."},
	{"{\"cpuid_modifiers\":[{\"modifiers\":[{\"bitmap\":"
	 "\"000000000000000000000000000000000\"}]}]}",
	 PREFIX "Failed to parse string "
		"[000000000000000000000000000000000] as a bitmap - string "
		"is too long at line 1 column 80."},
};

static void cpu_template_errors_are_firecrackers(void **state)
{
	struct cpu_template t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		assert_fn_refuses(body_cpu_parse, &t, refused[i].text,
				  refused[i].want);
	assert_fn_refuses(body_cpu_file_parse, &t, "3",
			  "invalid type: integer `3`, expected struct "
			  "CustomCpuTemplate at line 1 column 1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cpu_templates_are_read),
		cmocka_unit_test(cpu_template_errors_are_firecrackers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
