"""liblens.so through ctypes, as much of lens.h as tests need: a session that submits rows and reads answers."""
import array
import ctypes
import os
import pathlib
import threading
import unittest
from ctypes import POINTER, byref, c_char, c_char_p, c_float, c_int, c_int8, c_int32, c_uint8, c_uint32, c_uint64, \
    c_void_p

from tests.e2e.harness import BUILD, ROOT, SANITIZED


PLAIN_BUILD = pathlib.Path(os.environ.get("LENSD_PLAIN_BUILD", ROOT / "build")).resolve()


TOKEN_IDS = 8  # LENS_SLOT_TOKEN_IDS


class Error(ctypes.Structure):
    _fields_ = [("code", c_int), ("text", c_char * 512)]


class Params(ctypes.Structure):
    _fields_ = [("pack", c_char_p), ("max_rows", c_uint32), ("queue_depth", c_uint32), ("result_slots", c_uint32),
                ("max_sequences", c_uint32), ("max_expanded", c_uint32), ("top_k", c_int32), ("keep_top_k", c_int32),
                ("max_depth", c_int32), ("max_scored", c_int32), ("load_threshold", c_float),
                ("unload_threshold", c_float), ("suppress_at", c_float), ("expand", c_int8), ("report", c_int8),
                ("rank", c_int8), ("uncalibrated", c_int8), ("suppress_parents", c_int8), ("miss", c_int8),
                ("base_layers", POINTER(c_uint8)), ("n_base_layers", c_uint32), ("pinned", POINTER(c_uint32)),
                ("n_pinned", c_uint32), ("spin_us", c_uint32), ("label", c_char_p), ("include", POINTER(c_char_p)),
                ("exclude", POINTER(c_char_p)), ("filter", POINTER(c_char_p)), ("n_include", c_uint32),
                ("n_exclude", c_uint32), ("n_filter", c_uint32)]


class Info(ctypes.Structure):
    _fields_ = [("pack", c_char_p), ("model_id", c_char_p), ("tap_layer", c_char_p), ("tap_point", c_char_p),
                ("id", c_uint32), ("dim", c_uint32), ("lenses", c_uint32), ("max_rows", c_uint32),
                ("top_k", c_uint32), ("generation", c_uint32)]


class Slot(ctypes.Structure):
    _fields_ = [("rows", c_void_p), ("token_ids", c_void_p), ("sequence", c_uint64), ("tag", c_uint64),
                ("first_position", c_uint64), ("deadline_ns", c_uint64), ("flags", c_uint32), ("n", c_uint32),
                ("reserved", c_uint64 * 16)]


class Hit(ctypes.Structure):
    _fields_ = [("id", c_uint32), ("score", c_float), ("raw", c_float), ("logit", c_float)]


class Answer(ctypes.Structure):
    _fields_ = [("sequence", c_uint64), ("tag", c_uint64), ("position", c_uint64), ("serial", c_uint32),
                ("row", c_uint32), ("rows", c_uint32), ("token_id", c_int32), ("status", c_uint8),
                ("reason", c_uint8), ("flags", c_uint8), ("verdict", c_uint8), ("verdict_rule", c_uint32),
                ("generation", c_uint32), ("n_hits", c_uint32), ("n_expanded_stored", c_uint32),
                ("hits", POINTER(Hit)), ("expanded", POINTER(c_uint32)), ("counts", c_uint32 * 7),
                ("ns", c_uint64 * 8)]


def library_path():
    """A sanitized library can't be loaded into Python: then the plain build's serves ($LENSD_PLAIN_BUILD, build/)."""
    path = (PLAIN_BUILD if SANITIZED else BUILD) / "liblens.so"
    if not path.exists():
        raise unittest.SkipTest(f"needs a plain build's {path}")
    return str(path)


def library():
    lib = ctypes.CDLL(library_path())
    lib.lens_session_submit.argtypes = [c_void_p, POINTER(Slot)]
    lib.lens_session_acquire.argtypes = [c_void_p, c_uint32, c_int, c_uint32, POINTER(Slot)]
    lib.lens_session_wait.argtypes = [c_void_p, c_uint64, POINTER(Answer)]
    lib.lens_session_release.argtypes = [c_void_p]
    lib.lens_session_get_info.argtypes = [c_void_p, POINTER(Info)]
    lib.lens_session_lost.argtypes, lib.lens_session_lost.restype = [c_void_p], c_uint64
    lib.lens_client_close.argtypes = [c_void_p]
    return lib


class LensError(Exception):
    pass


class Client:
    """A connection with one session on the daemon at `socket`; `params` are fields of lens_session_params."""

    def __init__(self, socket, **params):
        self.lib = library()
        self.client, self.session, error = c_void_p(), c_void_p(), Error()
        if self.lib.lens_client_open(str(socket).encode(), byref(self.client), byref(error)) != 0:
            raise LensError(error.text.decode())
        wanted = Params()
        self.lib.lens_session_params_default(byref(wanted))
        for name, value in params.items():
            setattr(wanted, name, value)
        if self.lib.lens_session_open(self.client, byref(wanted), byref(self.session), byref(error)) != 0:
            self.lib.lens_client_close(self.client)
            raise LensError(error.text.decode())

    def info(self):
        out = Info()
        self.lib.lens_session_get_info(self.session, byref(out))
        return out

    def submit(self, row, sequence=0, position=0, token_id=None):
        """Submits one f32 row; negative errno when that can't be."""
        slot, values = Slot(), array.array("f", row)
        code = self.lib.lens_session_acquire(self.session, 1, 0, 0 if token_id is None else TOKEN_IDS, byref(slot))
        if code != 0:
            return code
        ctypes.memmove(slot.rows, values.buffer_info()[0], len(values) * 4)
        if token_id is not None:
            ctypes.memmove(slot.token_ids, byref(c_int32(token_id)), 4)
        slot.sequence, slot.first_position = sequence, position
        return self.lib.lens_session_submit(self.session, byref(slot))

    def wait(self, timeout_s=10):
        """The next answer: (negative errno or 0, [(id, score)..], Answer)."""
        out = Answer()
        code = self.lib.lens_session_wait(self.session, int(timeout_s * 1e6), byref(out))
        hits = [(out.hits[i].id, out.hits[i].score) for i in range(out.n_hits)] if code == 0 else []
        if code == 0:
            self.lib.lens_session_release(self.session)
        return code, hits, out

    def ask(self, row, sequence=0, position=0, token_id=None):
        """Submits and waits; the hits. Raises LensError when the session is lost or stuck."""
        code = self.submit(row, sequence, position, token_id)
        if code == 0:
            code, hits, _ = self.wait()
        if code != 0:
            raise LensError(f"error {code}")
        return hits

    def lost(self):
        """Submissions that reconnections left without an answer."""
        return self.lib.lens_session_lost(self.session)

    def close(self):
        if self.client:
            self.lib.lens_client_close(self.client)
            self.client = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Sender:
    """A client that asks row after row until it is stopped; counts them and keeps the hits of the last. `pause_s` is
    between two."""

    def __init__(self, daemon, row=None, pause_s=0.0, **params):
        self.client = Client(daemon.socket, **params)
        self.id = self.client.info().id
        self.row = row or [((7 * i) % 23 - 11) / 3 for i in range(self.client.info().dim)]
        self.rows, self.hits, self.pause_s = 0, [], pause_s
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._send, daemon=True)
        self.thread.start()

    def _send(self):
        while not self.over.wait(self.pause_s):
            try:
                self.hits = self.client.ask(self.row)
            except LensError:
                return
            self.rows += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)
        self.client.close()
