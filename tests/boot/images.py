# SPDX-License-Identifier: Apache-2.0
"""Kernels for tests, made of bytes: good ones and broken ones."""
import struct

LOAD_GPA = 0x200000
# Valid as 32-bit code (PVH) and as 64-bit code (Linux protocol).
SAY_READY = bytes.fromhex("66baf803" "b016ee")  # mov dx,0x3f8; mov al,22; out
HALT = bytes.fromhex("fa" "f4" "ebfd")          # cli; 1: hlt; jmp 1b
RESET = bytes.fromhex("b0fe" "e664")            # mov al,0xfe; out 0x64,al
UNDEFINED = bytes.fromhex("0f0b")               # ud2, and no interrupt table

# Prints the command line, at 0x20000: mov esi,..; 1: lodsb; test al,al; jz 2f;
# out dx,al; jmp 1b; 2: what follows
SAY_CMDLINE = bytes.fromhex("be00000200" "ac" "84c0" "7403" "ee" "ebf8")

PT_LOAD, PT_NOTE = 1, 4
PVH_ENTRY = 18


def note(name, kind, desc):
    """An ELF note."""
    pad = lambda b: b + bytes(-len(b) % 4)
    return struct.pack("<III", len(name), len(desc), kind) + pad(name) + \
        pad(desc)


def pvh(gpa=LOAD_GPA):
    """The note of a kernel with a PVH entry."""
    return note(b"Xen\0", PVH_ENTRY, struct.pack("<I", gpa))


def segment(kind, offset, gpa, file_bytes, mem_bytes=None):
    """A program header."""
    return struct.pack("<IIQQQQQQ", kind, 7, offset, gpa, gpa, file_bytes,
                       file_bytes if mem_bytes is None else mem_bytes, 4)


def elf(headers, data=b"", entry=LOAD_GPA, **fields):
    """An ELF file: header, program headers, data; data starts at 0x1000."""
    f = {"phoff": 64, "phentsize": 56, "phnum": len(headers), "machine": 62,
         "magic": b"\x7fELF", "cls": 2} | fields
    head = f["magic"] + bytes([f["cls"], 1, 1]) + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, f["machine"], 1, entry,
                        f["phoff"], 0, 0, 64, f["phentsize"], f["phnum"],
                        0, 0, 0)
    image = head + b"".join(headers)
    return image + bytes(0x1000 - len(image)) + data if data else image


def kernel(code, notes=None):
    """A kernel that says it is there and runs code; by PVH unless without."""
    code = SAY_READY + code
    notes = pvh() if notes is None else notes
    headers = [segment(PT_LOAD, 0x1000, LOAD_GPA, len(code))]
    if notes:
        headers.append(segment(PT_NOTE, 0x1000 + len(code), 0, len(notes)))
    return elf(headers, code + notes)


def bzimage(setup_sects=4, version=0x020f, payload=b"\xf4" * 4096,
            boot_flag=0xaa55, init_size=0x100000, pref=0x100000):
    """The head of a bzImage with some bytes behind it."""
    head = bytearray((setup_sects + 1) * 512)
    head[0x1f1] = setup_sects
    struct.pack_into("<I", head, 0x1f4, (len(payload) + 15) // 16)
    struct.pack_into("<H", head, 0x1fe, boot_flag)
    head[0x200:0x202] = b"\xeb\x66"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    head[0x211] = 1                             # loaded high
    head[0x234] = 1                             # relocatable
    struct.pack_into("<H", head, 0x236, 1)      # with a 64-bit entry
    struct.pack_into("<I", head, 0x238, 2047)
    struct.pack_into("<Q", head, 0x258, pref)
    struct.pack_into("<I", head, 0x260, init_size)
    return bytes(head) + payload
