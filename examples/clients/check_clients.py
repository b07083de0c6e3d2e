"""Tests of the clients. `check` starts the servers and sets the variables."""

import asyncio
import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import unittest

import langchain_retriever
import llama_index_retriever
from langchain_core.runnables import RunnableLambda
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine

HERE = pathlib.Path(__file__).parent
OPEN, LOCKED, SECRET = (os.environ[name] for name in ["OPEN_URL", "LOCKED_URL", "SECRET"])
QUESTION = "Which currency is used in the country where Hosea Kutako International Airport stands?"
REFUSED = ["k is 100000", "write a whole number from 1 to 1000"]
NO_FILE = ["no document is in a file that matches"]
NO_TOKEN = ["the request has no valid token", "send the header authorization: Bearer TOKEN"]


def asked(k):
    """The documents that `gfm-pipe ask` finds."""
    ask = [os.environ["GFM_PIPE"], "ask", QUESTION, "--json", "-k", str(k)]
    output = subprocess.check_output([*ask, "--store", os.environ["STORE"]], text=True)
    return json.loads(output)["documents"]


def run(*command, url=OPEN, token=""):
    """The exit status of a client that is a program, and what it prints."""
    env = {**os.environ, "URL": url, "TOKEN": token}
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=60)
    return done.returncode, done.stdout, done.stderr


def ask_py(*args, **how):
    return run(sys.executable, HERE / "ask.py", *args, **how)


def ask_sh(*args, **how):
    return run(HERE / "ask.sh", *args, **how)


class Canned(http.server.BaseHTTPRequestHandler):
    """Answers every question alike."""

    status, body = 200, ""

    def do_POST(self):
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def canned(status, body):
    """The URL of a server that answers with this."""
    handler = type("Handler", (Canned,), {"status": status, "body": body})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.expected = asked(k=3)

    def test_the_answer_is_worth_comparing(self):
        scores = [found["score"] for found in self.expected]
        self.assertEqual(len(scores), 3)
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertIn("Namibia", [found["title"] for found in self.expected])
        for found in self.expected:
            self.assertIn(found["sentence"], found["text"])
            self.assertTrue(found["paths"])

    def check_texts(self, found):
        """Compares id, text and everything else of each document with what `ask` prints."""
        for (id, text, values), expected in zip(found, self.expected, strict=True):
            self.assertEqual((id, text), (str(expected["id"]), expected["text"]))
            keys = ["title", "score", "sentence", "source", "paths"]
            self.assertEqual(values, {key: expected[key] for key in keys})

    def check_refused(self, words, call):
        with self.assertRaises(RuntimeError) as refused:
            call(QUESTION)
        for word in words:
            self.assertIn(word, str(refused.exception))

    def test_langchain(self):
        make = langchain_retriever.GfmPipeRetriever
        for retriever in [make(url=OPEN, k=3), make(url=LOCKED, token=SECRET, k=3)]:
            self.assertNotIn(SECRET, repr(retriever))
            for found in [retriever.invoke(QUESTION), asyncio.run(retriever.ainvoke(QUESTION))]:
                self.check_texts((d.id, d.page_content, d.metadata) for d in found)
        self.check_refused(REFUSED, make(url=OPEN, k=100000).invoke)
        self.check_refused(NO_TOKEN, make(url=LOCKED).invoke)
        self.check_refused(NO_TOKEN, make(url=LOCKED, token="wrong").invoke)
        self.check_refused(NO_FILE, make(url=OPEN, source="*.none").invoke)
        # As a part of a chain.
        chain = make(url=OPEN, k=3) | RunnableLambda(lambda found: [d.id for d in found])
        batch = chain.batch([QUESTION, QUESTION])
        self.assertEqual(batch, [[str(found["id"]) for found in self.expected]] * 2)

    def test_llama_index(self):
        def parts(n):
            return n.node.node_id, n.node.text, {**n.node.metadata, "score": n.score}

        make = llama_index_retriever.GfmPipeRetriever
        for retriever in [make(OPEN, k=3), make(LOCKED, token=SECRET, k=3)]:
            for found in [retriever.retrieve(QUESTION), asyncio.run(retriever.aretrieve(QUESTION))]:
                self.check_texts(map(parts, found))
        self.check_refused(REFUSED, make(OPEN, k=100000).retrieve)
        self.check_refused(NO_TOKEN, make(LOCKED).retrieve)
        self.check_refused(NO_TOKEN, make(LOCKED, token="wrong").retrieve)
        self.check_refused(NO_FILE, make(OPEN, source="*.none").retrieve)
        # As a part of an engine. The model repeats what it is told: texts and titles, no paths.
        engine = RetrieverQueryEngine.from_args(make(OPEN, k=3), llm=MockLLM())
        told = str(engine.query(QUESTION))
        for found in self.expected:
            self.assertIn(f"title: {found['title']}\n", told)
            self.assertIn(found["text"], told)
        self.assertNotIn("head_node", told)

    def test_ask_py(self):
        for how in [{}, {"url": LOCKED, "token": SECRET}]:
            status, out, err = ask_py(QUESTION, "3", **how)
            self.assertEqual((status, err), (0, ""))
            lines = [line for line in out.splitlines() if not line.startswith("note: ")]
            for rank, found in enumerate(self.expected):
                title, sentence, path = lines[3 * rank : 3 * rank + 3]
                self.assertEqual(title, f"{rank + 1}. {found['title']}")
                self.assertEqual(sentence, f"   {found['sentence']}")
                for step in found["paths"][0]["steps"]:
                    for name in [step["head"], step["relation"], step["tail"]]:
                        self.assertIn(name, path)
        status, out, err = ask_py(QUESTION, "100000")
        self.assertEqual((status, out, err), (1, "", f"error: {'; '.join(REFUSED)}\n"))
        status, out, err = ask_py(QUESTION, url=LOCKED)
        self.assertEqual((status, out, err), (1, "", f"error: {'; '.join(NO_TOKEN)}\n"))
        # Nothing listens on this port.
        status, out, err = ask_py(QUESTION, url="http://127.0.0.1:1")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("http://127.0.0.1:1 does not answer", err)

    def test_ask_py_prints_no_controls(self):
        evil = "a\x1b[31mb\x9bc\u202ed\ne"
        step = {"head": evil, "relation": evil, "tail": evil, "inverse": True}
        found = {"rank": 1, "title": evil, "sentence": evil, "paths": [{"steps": [step]}]}
        answer = {"notes": [evil], "documents": [found]}
        error = {"error": {"message": evil, "hint": evil}}
        for status, body in [(200, answer), (400, error), (502, evil), (502, "[]")]:
            body = body if isinstance(body, str) else json.dumps(body)
            with canned(status, body) as url:
                code, out, err = ask_py(QUESTION, url=url)
            self.assertEqual(code, int(status != 200), err)
            self.assertTrue((out + err).replace("\n", "").isprintable(), out + err)
            self.assertNotIn("Traceback", err)
            self.assertEqual(len((out + err).splitlines()), 4 if status == 200 else 1)

    def test_ask_sh(self):
        for how in [{}, {"url": LOCKED, "token": SECRET}]:
            status, out, err = ask_sh(QUESTION, "Namibian", **how)
            self.assertEqual((status, err), (0, ""))
            self.assertTrue(out.isascii())
            values = []
            while out.strip():
                value, end = json.JSONDecoder().raw_decode(out.lstrip())
                values.append(value)
                out = out.lstrip()[end:]
            keys = ["title", "score", "sentence"]
            expected = [{key: found[key] for key in keys} for found in self.expected]
            self.assertEqual(values[:3], expected)
            titles = [found["title"] for found in asked(k=5)]
            self.assertEqual(values[3:5], [titles, titles[:1]])
            self.assertEqual(values[5]["title"], "Namibian dollar")
            self.assertIn("Namibia", values[5]["text"])
            self.assertEqual(len(values), 6)
        status, out, err = ask_sh(QUESTION, "Namibian", url=LOCKED)
        self.assertNotEqual(status, 0)
        self.assertEqual([json.loads(out)[key] for key in ["message", "hint"]], NO_TOKEN)
        status, out, err = ask_sh(QUESTION, "no such document")
        self.assertNotEqual(status, 0)
        self.assertIn("no such title", err)


if __name__ == "__main__":
    unittest.main()
