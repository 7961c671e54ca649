"""A page in Chromium, asked over a pipe (the DevTools protocol), with nothing but the standard library. Tests that use
it are skipped where there is no Chromium: it isn't among what `make check-deps` installs.

    with Page("file:///x.html") as page:
        page.run("document.title")
"""
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
import unittest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_S = 120


def chromium():
    for name in NAMES:
        if shutil.which(name):
            return shutil.which(name)
    raise unittest.SkipTest("no Chromium here: what the page does in a browser isn't tested")


class Page:
    """One page of a headless browser of its own. `errors` are uncaught errors and what the browser found wrong
    with it, `requests` the addresses it asked for."""

    def __init__(self, url, width=1200, height=700):
        self.profile = tempfile.mkdtemp(prefix="lensd-chromium-")
        commands, self.commands = os.pipe()
        self.answers, answers = os.pipe()
        self.number, self.buffer = 0, b""
        command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--remote-debugging-pipe", f"--user-data-dir={self.profile}", f"--window-size={width},{height}",
                   "about:blank"]
        # The protocol's pipes are descriptors 3 and 4, which ours may be already: by way of others.
        script = f'exec 20<&{commands} 21>&{answers}; exec 3<&20 4>&21 20<&- 21>&-; exec "$@"'
        self.process = subprocess.Popen(["bash", "-c", script, "bash", *command], pass_fds=(commands, answers),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        self.session, self.errors, self.requests = None, [], []
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
        except (AssertionError, OSError) as error:
            self.close()
            raise unittest.SkipTest(f"Chromium doesn't start here: {error}") from None
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Page", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.open(url)

    def open(self, url):
        """Loads a page in the place of the one before."""
        self.loaded, self.errors, self.requests = False, [], []
        self.call("Page.navigate", url=url)
        self.wait(lambda: self.loaded)

    def send(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data):]
        return self.number

    def receive(self, deadline):
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.answers], [], [], left)[0]:
                raise AssertionError("the browser doesn't answer")
            piece = os.read(self.answers, 1 << 20)
            if not piece:
                raise AssertionError(f"the browser ended: {self.process.wait()}")
            self.buffer += piece
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def take_event(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def wait(self, condition):
        deadline = time.monotonic() + WAIT_S
        while not condition():
            self.take_event(self.receive(deadline))

    def call(self, method, **params):
        number, deadline = self.send(method, **params), time.monotonic() + WAIT_S
        while True:
            message = self.receive(deadline)
            if message.get("id") != number:
                self.take_event(message)
            elif "error" in message:
                raise AssertionError(f"{method}: {message['error']}")
            else:
                return message["result"]

    def run(self, script):
        """The value of a JavaScript expression, or of the promise it is."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(result["exceptionDetails"]["exception"].get("description"))
        return result["result"].get("value")

    def settle(self):
        """Waits for two frames, so that what was asked for is drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def key(self, key, modifiers=0):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=modifiers)
        self.settle()

    def mouse(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.settle()

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        for fd in (self.commands, self.answers):
            os.close(fd)
        shutil.rmtree(self.profile, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
