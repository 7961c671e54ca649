"""A daemon that lies: stands between lensctl and a real lensd, and changes what either says. Standard library only.

    daemon = HostileDaemon(real.socket, answer=lambda packet, n: changed, request=lambda packet: changed)

`answer` gets the real daemon's packets, and how many came before on that connection; `request` those of lensctl. Both
return the packet to pass on, b"" for none.
"""
import array
import os
import select
import socket
import threading

from tests.e2e.harness import temp_dir

PACKET_MAX = 1 << 17


def _receive(source):
    data, ancillary, _, _ = source.recvmsg(PACKET_MAX, 4096)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[:len(content) - len(content) % descriptors.itemsize])
    return data, descriptors


def _pass_on(target, data, descriptors):
    try:
        if data:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if descriptors else []
            target.sendmsg([data], rights)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


class HostileDaemon:
    def __init__(self, target, answer=lambda packet, n: packet, request=lambda packet: packet):
        self.target, self.answer, self.request = str(target), answer, request
        self.socket = temp_dir() / "hostile.sock"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(self.socket))
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as real:
            try:
                real.connect(self.target)
                self._relay(client, real)
            except OSError:
                pass  # one of the two has gone, or what was made of the packet can't be sent

    def _relay(self, client, real):
        answers = 0
        while True:
            readable, _, _ = select.select([client, real], [], [])
            for source, target in ((client, real), (real, client)):
                if source not in readable:
                    continue
                data, descriptors = _receive(source)
                if not data:
                    return
                if source is real:
                    data, answers = self.answer(data, answers), answers + 1
                else:
                    data = self.request(data)
                _pass_on(target, data, descriptors)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
