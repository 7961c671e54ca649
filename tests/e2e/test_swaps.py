"""A pack swapped again and again under load: every row is answered once, in order, in full, and by one pack alone: the
one whose generation the answer names."""
import threading
import unittest

from tests.e2e.harness import SANITIZED, Daemon, copy_pack, small_pack
from tests.e2e.liblens import Client

SWAPS = 60 if SANITIZED else 1000
SENDERS, ROWS = 3, 7
STALE = 4  # the first row of a sequence after a swap: what it had retained is gone


def row(n, dim):
    return [((11 * n + 7 * i) % 23 - 11) / 3 for i in range(dim)]


def answers(pack):
    """What each row's answer must be, bit for bit, by a daemon that serves this pack alone."""
    with Daemon(packs=[pack]) as daemon, Client(daemon.socket, keep_top_k=0) as client:
        return [client.ask(row(n, client.info().dim)) for n in range(ROWS)]


class Sender(threading.Thread):
    """Sends row after row until it is stopped; what is wrong with the answers is in `wrong`."""

    def __init__(self, daemon, number, right):
        super().__init__()
        self.client, self.number, self.right = Client(daemon.socket, keep_top_k=0), number, right
        self.rows = [row(n, self.client.info().dim) for n in range(ROWS)]
        self.over, self.sent, self.wrong, self.generations = threading.Event(), 0, [], set()

    def run(self):
        while not self.over.is_set() and not self.wrong:
            n = (self.sent + self.number) % ROWS
            code = self.client.submit(self.rows[n], sequence=self.number, position=self.sent)
            found = self.client.wait(60) if code == 0 else (code, [], None)
            self.look_at(n, *found)
            self.sent += 1

    def look_at(self, n, code, hits, answer):
        if code != 0:
            self.wrong.append(f"row {self.sent}: error {code}")
            return
        self.generations.add(answer.generation)
        found = (answer.sequence, answer.position, answer.status, answer.flags & ~STALE)
        if found != (self.number, self.sent, 0, 0):
            self.wrong.append(f"row {self.sent}: sequence, position, status, flags {found}")
        if hits != self.right[answer.generation % 2][n]:
            self.wrong.append(f"row {self.sent}: not what the pack of generation {answer.generation} answers: {hits}")


class SwapsUnderLoad(unittest.TestCase):
    def test_no_row_is_lost_or_mixed(self):
        first, second = copy_pack(small_pack(), "p.lens"), copy_pack(small_pack("int8"), "q.lens")
        right = {1: answers(first), 0: answers(second)}  # by the generation's lowest bit
        for n in range(ROWS):
            self.assertNotEqual(right[0][n], right[1][n], "packs that can't be told apart show nothing")
        with Daemon(packs=[first], args=["--packs-directories", f"{first.parent}:{second.parent}"]) as daemon:
            senders = [Sender(daemon, n, right) for n in range(SENDERS)]
            for sender in senders:
                sender.start()
            try:
                for i in range(SWAPS):
                    daemon.lensctl("swap", first if i % 2 else second, "--name", "p").check()
            finally:
                for sender in senders:
                    sender.over.set()
                for sender in senders:
                    sender.join()
                    sender.client.close()
            for sender in senders:
                self.assertEqual(sender.wrong, [])
                self.assertGreater(len(sender.generations), SWAPS // 4, "rows went on while packs were swapped")
            status = daemon.lensctl("--json", "status").check().json()
            self.assertEqual(status["rows"], sum(sender.sent for sender in senders))
            self.assertEqual(status["dropped_rows"], 0)
            packs = daemon.lensctl("--json", "packs").check().json()["packs"]
            self.assertEqual([pack["generation"] for pack in packs], [SWAPS + 1])


if __name__ == "__main__":
    unittest.main()
