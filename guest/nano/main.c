/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nano.run=ORDER[,ORDER...] (may stand several times), nano.end=HOW. Every
 * order ends with a line "nano: ok ORDER" or "nano: FAIL what: ORDER"; the
 * last line is "nano: done".
 *
 *	hello
 *	devices			what was found
 *	cpus			start all processors, count them; with the
 *				word nano.spin the others spin
 *	mem			print the map, check RAM, also above 4 GiB
 *	dirty=MIB[:RATE[:all]]	write RAM for ever, see dirty.c
 *	touch=MIB		dirty that much RAM, one word a page
 *	clock			rate of the TSC
 *	uptime=N		a line about every 10 ms with KVM's clock, for
 *				N ms of it
 *	config=N		how configuration spaces begin, now and at N
 *				interrupts for them
 *	boottimer		write 123 to the boot timer
 *	flood=BYTES		to the console
 *	generation=N		VMGenID and VMClock, now and at N changes
 *	echo			what the console sends, up to Ctrl-D
 *	tick=N			a line about every 10 ms (0: for ever), halting
 *	keys=N			that many bytes from the keyboard
 *	mmio=N			N lines (0: for ever) while registers are
 *				accessed, see mmio.c
 *	blk=N:...		see blkorder.c
 *	net=N:...		see netorder.c
 *	vsock=...		see vsockorder.c
 *	fault=...		see fault.c
 *
 * HOW: acpi (default: sleep control register), reset (i8042), triple, halt,
 * spin. Where acpi or reset do not end the guest, the next one follows.
 *
 * The word acpi finds devices by the DSDT instead of by the command line. See
 * virtio.h for the words that drivers obey.
 */
#include "guest/nano/nano.h"
#include "guest/nano/virtio.h"

#define ZERO_PAGE_E820_N   0x1e8
#define ZERO_PAGE_CMDLINE  0x228
#define ZERO_PAGE_E820	   0x2d0
#define E820_BYTES	   20
#define START_INFO_CMDLINE 24
#define START_INFO_MEMMAP  40
#define START_INFO_N	   48
#define MEMMAP_BYTES	   24

#define GPA_BOOT_TIMER	0xc0000000UL
#define BOOT_TIMER_BYTE 123
#define PORT_KEYS	0x60
#define PORT_I8042	0x64
#define I8042_RESET	0xfe
#define PORT_SLEEP	0x600
#define SLEEP_TYPE	5
#define SLEEP_ENABLE	0x20
#define END_WAIT_NS	(200 * NS_PER_MS)

/* entry.S sets the one that it was entered with. */
const uint8_t *boot_zero_page;
const uint8_t *boot_start_info;

static void read_boot_data(void)
{
	const uint8_t *boot = boot_start_info;
	const uint8_t *entry, *text;
	uint32_t n, step;
	if (boot) {
		text = (const uint8_t *)get64(boot + START_INFO_CMDLINE);
		entry = (const uint8_t *)get64(boot + START_INFO_MEMMAP);
		n = get32(boot + START_INFO_N);
		step = MEMMAP_BYTES;
	} else {
		boot = boot_zero_page;
		text = (const uint8_t *)(uint64_t)get32(boot +
							ZERO_PAGE_CMDLINE);
		entry = boot + ZERO_PAGE_E820;
		n = boot[ZERO_PAGE_E820_N];
		step = E820_BYTES;
	}
	cmdline_setup((const char *)text);
	for (; n--; entry += step)
		mem_add(get64(entry), get64(entry + 8), get32(entry + 16));
	mem_map();
}

static const char *order_hello(struct piece args)
{
	print("nano: hello by %s\n", boot_zero_page ? "linux64" : "pvh");
	return "";
}

static const char *order_boottimer(struct piece args)
{
	*(volatile uint8_t *)GPA_BOOT_TIMER = BOOT_TIMER_BYTE;
	return "";
}

static const char *order_tick(struct piece args)
{
	uint64_t n = piece_number(args, 0);
	for (uint64_t i = 1; n == 0 || i <= n; i++) {
		cpu_idle();
		print("nano: tick %lu\n", i);
	}
	return "";
}

static const char *order_keys(struct piece args)
{
	for (uint64_t n = piece_number(args, 1); n; cpu_idle()) {
		for (; n && in8(PORT_I8042) & 1; n--)
			print("nano: key 0x%x\n", in8(PORT_KEYS));
	}
	return "";
}

static const struct order orders[] = {
	{"hello", order_hello},	  {"devices", order_devices},
	{"cpus", order_cpus},	  {"mem", order_mem},
	{"dirty", order_dirty},	  {"touch", order_touch},
	{"clock", order_clock},	  {"uptime", order_uptime},
	{"config", order_config}, {"boottimer", order_boottimer},
	{"flood", order_flood},	  {"generation", order_generation},
	{"echo", order_echo},	  {"tick", order_tick},
	{"keys", order_keys},	  {"mmio", order_mmio},
	{"blk", order_blk},	  {"net", order_net},
	{"vsock", order_vsock},	  {"fault", order_fault},
};

static void print_piece(struct piece p)
{
	for (size_t i = 0; i < p.len; i++)
		print("%c", p.s[i]);
	print("\n");
}

static void run(struct piece order)
{
	struct piece args = order;
	struct piece name = piece_cut(&args, '=');
	const char *wrong = "no such order";
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (piece_is(name, orders[i].name))
			wrong = orders[i].run(args);
	}
	if (*wrong)
		print("nano: FAIL %s: ", wrong);
	else
		print("nano: ok ");
	print_piece(order);
}

_Noreturn void nano_main(void)
{
	cpu_setup();
	out8(PORT_COM1 + COM1_FCR, 1);
	read_boot_data();
	virtio_setup();
	for (unsigned int n = 0;; n++) {
		struct piece list = cmdline_value("nano.run=", n);
		if (list.len == 0)
			break;
		for (; list.len; mem_release_all())
			run(piece_cut(&list, ','));
	}
	nano_end();
}

/* The guest may take a moment to end. */
static void end_by(uint16_t port, uint8_t v)
{
	out8(port, v);
	for (uint64_t start = clock_ns(); clock_ns() - start < END_WAIT_NS;)
		cpu_idle();
}

_Noreturn void nano_end(void)
{
	struct piece how = cmdline_value("nano.end=", 0);
	print("nano: done\n");
	while (piece_is(how, "halt"))
		cpu_idle();
	while (piece_is(how, "spin"))
		pause();
	if (how.len == 0 || piece_is(how, "acpi"))
		end_by(PORT_SLEEP, SLEEP_TYPE << 2 | SLEEP_ENABLE);
	if (!piece_is(how, "triple"))
		end_by(PORT_I8042, I8042_RESET);
	cpu_triple_fault();
	for (;;)
		pause();
}
