#!/usr/bin/env python3
"""A picture of a page after some seconds: screenshot.py URL FILE SECONDS.

`chromium --screenshot` takes it when the page is loaded, before its graph has
anything to show. Chromium reads commands from descriptor 3 and answers at 4.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time

url, file, seconds = sys.argv[1:]
commands, ours = os.pipe()
answers, theirs = os.pipe()
with tempfile.TemporaryDirectory() as profile:
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
               "--user-data-dir=" + profile, "--hide-scrollbars", "--window-size=900,850"]
    # A shell puts the pipes where they are expected.
    shell = ["sh", "-c", f'exec "$@" 3<&{commands} 4>&{theirs}', "sh", *browser]
    chromium = subprocess.Popen(shell, pass_fds=(commands, theirs), stderr=subprocess.DEVNULL)
    answers = os.fdopen(answers, "rb")

    def ask(method, session=None, **parameters):
        question = {"id": 1, "method": method, "params": parameters}
        if session:
            question["sessionId"] = session
        os.write(ours, json.dumps(question).encode() + b"\0")
        message = b""
        while True:
            message += answers.read(1)
            if message.endswith(b"\0"):
                answer = json.loads(message[:-1])
                if answer.get("id") == 1:
                    return answer["result"]
                message = b""

    target = ask("Target.createTarget", url=url)["targetId"]
    session = ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    time.sleep(float(seconds))
    picture = ask("Page.captureScreenshot", session)["data"]
    with open(file, "wb") as out:
        out.write(base64.b64decode(picture))
    ask("Browser.close")
    chromium.wait()
