# SPDX-License-Identifier: Apache-2.0
"""State files taken apart, changed, and put together with right checksums:
snapshot/file.h and snapshot/sections.h in Python."""
import json
import struct

HEADER = struct.Struct("<8sHHIQ16sQIH10x")
ENTRY = struct.Struct("<4sIIIII")
REQUIRED = 1

# Where things are in a section VCPU: kvm_regs, kvm_sregs2, ...
XCR0_AT = 144 + 320 + 8 + 8
TSC_KHZ_AT = 144 + 320 + 392 + 128 + 1024 + 4 + 64
MSRS_AT = TSC_KHZ_AT + 4
CPUID_ENTRY = struct.Struct("<7I")


def make_table():
    """Of CRC32C, a byte at a time."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = make_table()


def crc32c(data):
    """Of all of it."""
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


class State:
    """Sections by (tag, index): [flags, bytes], in their order."""

    def __init__(self, path):
        with open(path, "rb") as f:
            data = f.read()
        (_, self.major, self.minor, count, _, self.id, self.mem_bytes, _,
         self.arch) = HEADER.unpack_from(data)
        self.sections = {}
        for i in range(count):
            tag, index, flags, _, at, size = ENTRY.unpack_from(
                data, HEADER.size + i * ENTRY.size)
            self.sections[tag, index] = [flags, bytearray(data[at:at + size])]

    def __getitem__(self, key):
        """The bytes of a section, to be changed."""
        return self.sections[key][1]

    def config(self):
        """What the section CONF says."""
        return json.loads(self[b"CONF", 0])

    def set_config(self, config):
        """The opposite."""
        self.sections[b"CONF", 0][1] = bytearray(json.dumps(config).encode())

    def indexes(self, tag):
        """Of the sections of that tag."""
        return [index for t, index in self.sections if t == tag]

    def pack(self):
        """The file."""
        at = HEADER.size + len(self.sections) * ENTRY.size
        table, body = b"", b""
        for (tag, index), (flags, data) in self.sections.items():
            table += ENTRY.pack(tag, index, flags, crc32c(data),
                                at + len(body), len(data))
            body += data

        def header(crc):
            return HEADER.pack(b"mayflySN", self.major, self.minor,
                               len(self.sections), at + len(body), self.id,
                               self.mem_bytes, crc, self.arch)
        return header(crc32c(header(0) + table)) + table + body

    def write(self, path):
        """To a file, whose name is returned."""
        with open(path, "wb") as f:
            f.write(self.pack())
        return path
