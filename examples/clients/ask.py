"""Asks a question: python3 ask.py "Which currency is used in Namibia?" [NUMBER OF DOCUMENTS]

URL: the server. TOKEN: its token, if it has one. Python's standard library is enough.
"""

import json
import os
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def safe(text):
    """The text on one line, without characters that control the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def walk(path):
    """A path as text. An arrow points in the direction of the fact, not of the path."""
    text = ""
    for step in path["steps"]:
        head, relation, tail = step["head"], step["relation"], step["tail"]
        start, end = (tail, head) if step["inverse"] else (head, tail)
        arrow = f" <-{relation}- " if step["inverse"] else f" -{relation}-> "
        text = (text or start) + arrow + end
    return text or "the search started at it, or at what it mentions"


if len(sys.argv) < 2:
    sys.exit(__doc__)
body = {"question": sys.argv[1], "k": int(sys.argv[2]) if len(sys.argv) > 2 else 5}
headers = {"content-type": "application/json"}
if os.environ.get("TOKEN"):
    headers["authorization"] = "Bearer " + os.environ["TOKEN"]
url = os.environ.get("URL", "http://127.0.0.1:7878")
try:
    with urlopen(Request(url + "/ask", json.dumps(body).encode(), headers), timeout=60) as response:
        answer = json.load(response)
except HTTPError as e:
    text = e.read().decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        message = "; ".join(filter(None, [error["message"], error["hint"]]))
    except (ValueError, LookupError, TypeError):  # a proxy between has answers of its own
        message = f"{e}: {text}"
    sys.exit(safe(f"error: {message}"))
except (OSError, ValueError) as e:
    sys.exit(safe(f"error: {url} does not answer: {e}"))

for note in answer["notes"]:
    print(safe(f"note: {note}"))
for found in answer["documents"]:
    print(safe(f"{found['rank']}. {found['title']}"))
    if found["sentence"]:
        print(safe(f"   {found['sentence']}"))
    if found["paths"]:
        print(safe(f"   {walk(found['paths'][0])}"))
