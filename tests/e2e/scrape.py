"""Reading what lensd serves over HTTP: one request, and Prometheus's text format."""
import http.client
import re
import socket
import time

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"(,|$)')


class UnixConnection(http.client.HTTPConnection):
    """http.client over a socket file."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Reply:
    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text


def address_of(daemon):
    """(host, port) that the daemon says it serves metrics on, the last time it said so."""
    line = [line for line in daemon.lines if "metrics on http://" in line][-1]
    host, port = re.search(r"http://(\S+):(\d+)/metrics", line).groups()
    return host.strip("[]"), int(port)


def get(where, path="/metrics", method="GET", timeout=30, **more):
    """`where`: a Daemon, (host, port), or the path of a socket file."""
    if hasattr(where, "lines"):
        where = address_of(where)
    connection = http.client.HTTPConnection(*where, timeout=timeout) if isinstance(where, tuple) else \
        UnixConnection(where, timeout)
    try:
        connection.request(method, path, **more)
        reply = connection.getresponse()
        return Reply(reply.status, dict(reply.getheaders()), reply.read().decode())
    finally:
        connection.close()


class Metrics:
    """A parsed scrape: samples[(name, frozenset of labels)] = value; types and helps by family."""

    def __init__(self, text):
        self.samples, self.types, self.helps = {}, {}, {}
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name, self.helps[name] = line[7:].split(" ", 1)[0], line[7:].split(" ", 1)[1]
            elif line.startswith("# TYPE "):
                name, kind = line[7:].split(" ")
                assert name not in self.types, f"{name} comes twice"
                self.types[name] = kind
            else:
                self.add(line)

    def add(self, line):
        match = SAMPLE.match(line)
        assert match, f"not a sample: {line!r}"
        name, labels, value = match.groups()
        pairs = LABEL.findall(labels or "")
        assert "".join(f'{n}="{v}"{c}' for n, v, c in pairs) == (labels or ""), f"bad labels: {line!r}"
        key = (name, frozenset((n, re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], v))
                               for n, v, _ in pairs))
        assert key not in self.samples, f"{line!r} comes twice"
        self.samples[key] = float(value)

    def __call__(self, name, **labels):
        """The one sample of that name with these labels."""
        found = self.all(name, **labels)
        assert len(found) == 1, f"{name} {labels}: {len(found)} samples"
        return next(iter(found.values()))

    def all(self, name, **labels):
        """{labels: value} of the samples of that name that have these labels."""
        wanted = set(labels.items())
        return {key[1]: value for key, value in self.samples.items() if key[0] == name and wanted <= key[1]}

    def values(self, name, label):
        """The label's values, in no order."""
        return {dict(labels)[label] for labels in self.all(name)}

    def counters(self):
        """{(name, labels): value} of all that must never fall: counters, and what histograms consist of."""
        family = lambda name: next((name[:-len(end)] for end in ("_bucket", "_sum", "_count") if name.endswith(end)
                                    and name[:-len(end)] in self.types), name)
        return {key: value for key, value in self.samples.items()
                if self.types.get(family(key[0])) in ("counter", "histogram")}


def scrape(where, **more):
    """Metrics, from a daemon whose loop may be out of breath for a moment (503 says so)."""
    deadline = time.monotonic() + 60
    while True:
        reply = get(where, **more)
        if reply.status == 200:
            return Metrics(reply.text)
        assert reply.status == 503 and time.monotonic() < deadline, f"{reply.status}: {reply.text}"
        time.sleep(0.1)
