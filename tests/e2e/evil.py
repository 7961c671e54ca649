"""A client that keeps no rule: packets byte by byte, a session whose shared memory is written at will. Stdlib only."""
import array
import ctypes
import mmap
import os
import socket
import struct

HELLO, ATTACH, DETACH, END_SEQUENCE, STATUS, PACKS, CONCEPTS, EXPLAIN = range(1, 9)
STATISTICS, SESSIONS, CONFIG, EVENTS, LOAD, SWAP, UNLOAD, SHUTDOWN = range(9, 17)
HELLO_OK, ATTACHED, DONE, ERROR, GOODBYE = 64, 65, 66, 74, 129
NO_SUCH_SESSION, NOT_ALLOWED = 5, 3

# Where the indices and flags of struct lens_shm_header lie (proto/wire.h).
SUBMIT_HEAD, SUBMIT_TAIL, RESULT_HEAD, RESULT_TAIL = 128, 256, 384, 512
DAEMON_SLEEPING, CLIENT_SLEEPING, RESULT_FUTEX, DROPPED = 640, 768, 772, 896
DESCRIPTOR = struct.Struct("<6Q5IHBB56x")

SCALARS = {"u8": "<B", "u32": "<I", "i32": "<i", "u64": "<Q", "f32": "<f"}

# The fields of each request in schema order (proto/lens.fbs).
FIELDS = {
    HELLO: ("u32", "str"), DETACH: ("u32",), END_SEQUENCE: ("u32", "u64"), STATUS: (), PACKS: ("u32",),
    ATTACH: ("str", "str", "u32", "u32", "u32", "u32", "u32", "u32", "table", "ids"),
    CONCEPTS: ("str", "str", "u32"), EXPLAIN: ("str", "str"), STATISTICS: ("u32",), SESSIONS: ("u32",),
    CONFIG: ("u32",), EVENTS: ("u32", "str", "f32", "u64", "u8"), LOAD: ("str", "str"), SWAP: ("str", "str"),
    UNLOAD: ("str", "str"), SHUTDOWN: (),
}
OPTION_FIELDS = ("u64", "u8", "u8", "u8", "u8", "u8", "f32", "f32", "f32", "u8", "u32", "i32", "u32", "u32")


def _align(out, to):
    out.extend(bytes(-len(out) % to))


def _table(out, kinds, values):
    """Appends a table, every field in an 8-byte slot of its own, and what it refers to; returns its place."""
    _align(out, 8)
    vtable = len(out)
    out += struct.pack("<HH", 4 + 2 * len(kinds), 8 + 8 * len(kinds))
    out += b"".join(struct.pack("<H", 8 + 8 * i if v is not None else 0) for i, v in enumerate(values))
    _align(out, 8)
    place = len(out)
    out += struct.pack("<ii", place - vtable, 0) + bytes(8 * len(kinds))
    for i, (kind, value) in enumerate(zip(kinds, values)):
        at = place + 8 + 8 * i
        if value is None:
            continue
        if kind in SCALARS:
            struct.pack_into(SCALARS[kind], out, at, value)
            continue
        if kind == "table":
            target = _table(out, *value)
        else:
            _align(out, 4)
            target = len(out)
            items = value if kind == "str" else array.array("I", value).tobytes()
            out += struct.pack("<I", len(value)) + items + (b"\0" if kind == "str" else b"")
        struct.pack_into("<I", out, at, target - at)
    return place


def packet(kind, *values, request_id=1):
    """A request as lensctl would send it; values in schema order, those left out absent."""
    fields = FIELDS[kind]
    values = list(values) + [None] * (len(fields) - len(values))
    out = bytearray(b"\0\0\0\0LNS1")
    root = _table(out, ("u64", "u8", "table"), (request_id, kind, (fields, values)))
    struct.pack_into("<I", out, 0, root)
    return bytes(out)


def field(data, table, index):
    """Place of a table's field, or None."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if 4 + 2 * index >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * index)[0]
    return table + offset if offset != 0 else None


def kind_of(answer):
    """(message type, place of its body) of the daemon's packet."""
    root = struct.unpack_from("<I", answer, 0)[0]
    body = field(answer, root, 2)
    return answer[field(answer, root, 1)], body + struct.unpack_from("<I", answer, body)[0]


def u32_field(answer, index=0):
    """A u32 of the body; the first one is an error's code, a session's id."""
    place = field(answer, kind_of(answer)[1], index)
    return struct.unpack_from("<I", answer, place)[0] if place is not None else 0


class Peer:
    """A connection that may have said hello."""

    def __init__(self, daemon, hello=True, timeout=20):
        self.socket = daemon.connect(timeout)
        if hello:
            self.ask(HELLO, 1, b"evil")

    def ask(self, kind, *values):
        self.socket.send(packet(kind, *values))
        return self.receive()

    def receive(self):
        """The next packet; b"" at the end. Notices are passed over."""
        while True:
            try:
                answer = self.socket.recv(65536)
            except ConnectionError:
                return b""
            if not answer or kind_of(answer)[0] < 128:
                return answer

    def close(self):
        self.socket.close()


class Evil(Peer):
    """A connection with a session, its memory mapped for writing."""

    def __init__(self, daemon, attach=(), options=None):
        super().__init__(daemon)
        sizes = list(attach) + [None] * (5 - len(attach))
        self.socket.send(packet(ATTACH, b"", b"evil", *sizes, *(options or ())))
        answer, fds, _, _ = socket.recv_fds(self.socket, 65536, 4)
        if kind_of(answer)[0] != ATTACHED:
            self.close()
            raise ConnectionRefusedError(answer)
        self.memfd, self.doorbell = fds
        self.session = u32_field(answer)
        self.memory = mmap.mmap(self.memfd, os.fstat(self.memfd).st_size)
        (self.submit_slots, self.result_slots, self.stride, self.expanded, self.top_k, self.dim,
         self.max_rows) = struct.unpack_from("<7I", self.memory, 12)
        (self.submit_offset, self.result_offset, self.payload_offset, self.payload_bytes,
         self.total) = struct.unpack_from("<5Q", self.memory, 40)
        self.head = 0
        self.payload = 0

    def get(self, offset):
        return struct.unpack_from("<Q", self.memory, offset)[0]

    def put(self, offset, value, form="<Q"):
        struct.pack_into(form, self.memory, offset, value & (2 ** (8 * struct.calcsize(form)) - 1))

    def ring(self):
        try:
            os.write(self.doorbell, struct.pack("<Q", 1))
        except (BlockingIOError, OSError):
            pass

    def write(self, **changes):
        """Writes the next descriptor, a right one but for `changes`; publish makes it visible."""
        rows = changes.get("rows", 1)
        size = -(-rows * self.dim * 4 // 64) * 64 if rows <= 64 else 64
        at = self.payload
        if at % self.payload_bytes + size > self.payload_bytes:
            at += self.payload_bytes - at % self.payload_bytes
        d = {"sequence": 0, "tag": 7, "first_position": 0, "payload_offset": at, "submitted_ns": 0, "deadline_ns": 0,
             "payload_bytes": size, "rows": 1, "serial": self.head & 0xffffffff, "flags": 0, "adapter": 0, "tap": 0,
             "dtype": 0, "reserved0": 0} | changes
        DESCRIPTOR.pack_into(self.memory, self.submit_offset + self.head % self.submit_slots * 128, *d.values())
        self.payload = at + size
        self.head += 1

    def publish(self):
        self.put(SUBMIT_HEAD, self.head)
        self.ring()

    def submit(self, **changes):
        self.write(**changes)
        self.publish()

    def read_all(self):
        """Frees every result slot."""
        self.put(RESULT_TAIL, self.get(RESULT_HEAD))

    def punch(self, offset=0, length=None):
        """FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        return libc.fallocate(self.memfd, 3, offset, length if length is not None else self.total)

    def close(self):
        super().close()
        if hasattr(self, "memory"):
            self.memory.close()
            os.close(self.memfd)
            os.close(self.doorbell)
