"""The package with the program that it finds: GFM_PIPE, or that of the wheel.

python -m unittest discover python/tests
"""

import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
from pathlib import Path

import gfm_pipe

NOTES = {
    "berlin.txt": "Berlin is the capital of Germany. It lies on the Spree.",
    "spree.txt": "The Spree is a river. It flows into the Havel.",
    "havel.txt": "The Havel is a river. It flows into the Elbe.",
}


def pipeline(notes):
    """Documents to a retriever that walks on their graph."""
    return {
        "name": "notes",
        "vars": {"notes": str(notes)},
        "stages": {
            "documents": {"op": "ingest-documents", "with": {"path": "{{ notes }}"}},
            "extract": {"op": "extract", "in": {"documents": "documents.documents"}},
            "kg": {
                "op": "build-kg",
                "in": {
                    "documents": "documents.documents",
                    "mentions": "extract.mentions",
                    "facts": "extract.facts",
                },
            },
            "retriever": {
                "op": "retriever",
                "in": {
                    "documents": "documents.documents",
                    "sources": "documents.sources",
                    "entities": "kg.entities",
                    "relations": "kg.relations",
                    "triples": "kg.triples",
                    "links": "kg.links",
                },
            },
        },
    }


def quietly(*args, **options):
    """`gfm_pipe.run`, without its lines on standard error."""
    with contextlib.redirect_stderr(io.StringIO()):
        return gfm_pipe.run(*args, **options)


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.root = Path(cls.folder.name)
        cls.notes = cls.root / "notes"
        cls.notes.mkdir()
        for name, text in NOTES.items():
            (cls.notes / name).write_text(text)
        cls.store = cls.root / "store"
        cls.run_ = quietly(pipeline(cls.notes), store=cls.store)

    def retriever(self, **options):
        retriever = gfm_pipe.Retriever(self.store, **options)
        self.addCleanup(retriever.close)
        return retriever

    def test_the_program_says_what_it_is(self):
        self.assertRegex(gfm_pipe.version(), r"^gfm-pipe \d+\.\d+\.\d+ \(.+\)\nfeatures: .*serve")

    def test_a_run_has_stages_and_tables(self):
        self.assertEqual(
            [s.name for s in self.run_.stages], ["documents", "extract", "kg", "retriever"]
        )
        self.assertEqual({s.status for s in self.run_.stages}, {"ran"})
        self.assertIn("4 ran, 0 cached", repr(self.run_))
        table = self.run_.table("documents.documents")
        titles = {row["title"] for row in table.rows()}
        self.assertEqual(titles, {"berlin", "spree", "havel"})
        latest = gfm_pipe.table("documents.documents", store=self.store)
        self.assertEqual(latest.path, table.path)
        self.assertEqual(latest.paths, (table.path,))
        several = gfm_pipe.Table(table.name, table.paths * 2)
        with self.assertRaises(ValueError):
            _ = several.path
        with self.assertRaisesRegex(gfm_pipe.UsageError, "no stage `dokuments`"):
            self.run_.table("dokuments.documents")

    def test_finished_stages_are_cached_and_parameters_change_them(self):
        again = quietly(pipeline(self.notes), store=self.store)
        self.assertEqual({s.status for s in again.stages}, {"cached"})
        other = quietly(
            pipeline("elsewhere"),
            store=self.store,
            params={"notes": self.notes},
            set={"retriever.with.system": "bm25"},
        )
        ran = [s for s in other.stages if s.status == "ran"]
        self.assertEqual([s.name for s in ran], ["retriever"])
        self.assertEqual(ran[0].reasons, ["system null -> bm25"])

    def test_a_file_and_a_dict_are_the_same_pipeline(self):
        import json

        file = self.root / "p.yaml"
        file.write_text(json.dumps(pipeline(self.notes)))
        run = quietly(file, store=self.store, until=["kg"])
        self.assertEqual([s.status for s in run.stages][:3], ["cached"] * 3)
        self.assertIn("kg", gfm_pipe.plan(file, store=self.store))

    def test_events_are_told_as_they_come(self):
        events = []
        gfm_pipe.run(pipeline(self.notes), store=self.store, force=["kg"], on_event=events.append)
        kinds = [e["event"] for e in events]
        self.assertEqual((kinds[0], kinds[-1]), ("run_started", "run_finished"))
        forced = [e for e in events if e["event"] == "stage_started"]
        self.assertEqual([e["stage"] for e in forced], ["kg"])

        def fails(event):
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            gfm_pipe.run(pipeline(self.notes), store=self.store, on_event=fails)

    def test_mistakes_have_the_messages_of_the_program(self):
        wrong = pipeline(self.notes)
        wrong["stages"]["kg"]["op"] = "bild-kg"
        with self.assertRaisesRegex(gfm_pipe.UsageError, "did you mean `build-kg`") as caught:
            quietly(wrong, store=self.store)
        self.assertEqual(caught.exception.code, 2)
        # It names the line of what was written to standard input.
        self.assertRegex(str(caught.exception), r"<stdin>:\d+:\d+")
        for given, params in [({"a": {1, 2}}, {}), ({}, {"x": {1}}), ({}, {"x": "\ud800"})]:
            with self.assertRaisesRegex(gfm_pipe.Error, "cannot be written as YAML"):
                quietly({"stages": given}, store=self.store, params=params)

    def test_a_failing_stage_says_why(self):
        (self.root / "bad.json").write_text("{")
        read = {"op": "ingest-documents", "with": {"path": str(self.root / "bad.json")}}
        failing = {"stages": {"s": read}}
        with self.assertRaises(gfm_pipe.RunError) as caught:
            quietly(failing, store=self.root / "other")
        self.assertRegex(str(caught.exception), "s: .*no document could be read(.|\n)*hint: ")
        self.assertEqual(caught.exception.code, 1)

    def test_answers_have_documents_and_paths(self):
        with self.retriever() as retriever:
            self.assertEqual(retriever.about()["documents"], 3)
            answer = retriever.ask("Which river flows into the Elbe?", k=2, why_not=["berlin"])
            self.assertEqual(len(answer.documents), 2)
            self.assertEqual(answer.documents[0].title, "havel")
            self.assertEqual(answer.documents[0].text, NOTES["havel.txt"])
            self.assertEqual(answer.why_not[0].title, "berlin")
            self.assertTrue(answer.start)
            paths = [path for found in answer.documents for path in found.paths]
            self.assertTrue(all(str(path) for path in paths) and paths)
            self.assertEqual(answer.raw["system"], answer.system)
            only = retriever.ask("river", source="spree*")
            self.assertEqual([d.title for d in only.documents], ["spree"])

    def test_wrong_questions_are_errors_and_the_next_one_is_answered(self):
        retriever = self.retriever()
        # The retriever of these tests has no language model, and the message says how to set one.
        with self.assertRaisesRegex(gfm_pipe.QuestionError, "llm"):
            retriever.ask("Which river flows into the Elbe?", answer=True)
        for options in [{"k": 0}, {"source": "none*"}, {"why_not": ["nothing"]}]:
            with self.assertRaises(gfm_pipe.QuestionError):
                retriever.ask("river", **options)
        self.assertEqual(len(retriever.ask_all(["\u6cb3" * 4000] * 64)), 64)
        answers = retriever.ask_all(["river", "", "Elbe"] * 30)
        self.assertEqual(len(answers), 90)
        self.assertIsInstance(answers[1], gfm_pipe.QuestionError)
        self.assertEqual(answers[89].question, "Elbe")

    def test_threads_ask_together(self):
        retriever = self.retriever()
        want = [d.id for d in retriever.ask("river").documents]
        got = []

        def ask():
            got.extend([d.id for d in retriever.ask("river").documents] for _ in range(20))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(got, [want] * 160)

    def test_nothing_to_ask_says_what_to_do(self):
        with self.assertRaisesRegex(
            gfm_pipe.UsageError, "nothing to ask(.|\n)*hint: gfm-pipe init"
        ):
            gfm_pipe.Retriever(self.root / "nowhere")

    def test_the_process_ends_with_the_retriever(self):
        retriever = gfm_pipe.Retriever(self.store)
        process, folder = retriever._server._process, retriever._server._messages.parent
        self.assertIn("over 3 documents", repr(retriever))
        retriever.close()
        retriever.close()
        self.assertEqual(process.returncode, 0)
        self.assertFalse(folder.exists())
        with self.assertRaisesRegex(gfm_pipe.Error, "closed"):
            retriever.ask("river")

        retriever = gfm_pipe.Retriever(self.store)
        process = retriever._server._process
        del retriever
        gc.collect()
        self.assertEqual(process.returncode, 0)

    def test_the_process_ends_with_this_one_even_if_that_is_killed(self):
        script = f"""
            import gfm_pipe, os, signal
            retriever = gfm_pipe.Retriever({str(self.store)!r})
            print(retriever._server._process.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, check=False
        )
        pid = int(done.stdout)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                os.kill(pid, 0)
                stat = Path(f"/proc/{pid}/stat")
                if stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    return  # It has ended, and nobody has asked how.
            except ProcessLookupError:
                return
            time.sleep(0.05)
        self.fail("the server goes on")

    def test_a_fork_does_not_end_the_process(self):
        retriever = self.retriever()
        retriever.ask("river")
        child = os.fork()
        if child == 0:
            asked = retriever.ask("river")
            retriever.close()
            os._exit(0 if asked.documents else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertTrue(retriever.ask("river").documents)

    def test_ctrl_c_ends_a_run_whose_events_nobody_reads(self):
        many = {f"s{i}": pipeline(self.notes)["stages"]["documents"] for i in range(300)}

        def interrupts(event):
            if event["event"] == "run_started":
                time.sleep(1)
                raise KeyboardInterrupt

        # All may have been done when it was pressed.
        with self.assertRaises((gfm_pipe.Interrupted, KeyboardInterrupt)):
            gfm_pipe.run(
                {"vars": {"notes": str(self.notes)}, "stages": many},
                store=self.store,
                on_event=interrupts,
            )

        def breaks(event):
            raise BrokenPipeError

        with self.assertRaises(BrokenPipeError):
            gfm_pipe.run(pipeline(self.notes), store=self.store, on_event=breaks)

    def test_a_signal_to_python_alone_stops_running_stages(self):
        sleeps = {
            "op": "exec",
            "with": {"command": ["sleep", "60"], "outputs": {"x": "documents"}},
        }

        def interrupts(event):
            if event["event"] == "stage_started":
                os.kill(os.getpid(), signal.SIGINT)

        begun = time.monotonic()
        with self.assertRaises(gfm_pipe.Interrupted) as caught:
            gfm_pipe.run(
                {"stages": {"s": sleeps}},
                store=self.root / "other",
                allow_exec=True,
                on_event=interrupts,
            )
        self.assertLess(time.monotonic() - begun, 30)
        self.assertIn("goes on from here", str(caught.exception))

    def test_warnings_are_printed(self):
        folder = self.root / "mixed"
        folder.mkdir()
        (folder / "a.txt").write_text("Text.")
        (folder / "b.pdf").write_text("%PDF-1.7")
        read = {"op": "ingest-documents", "with": {"path": str(folder)}}
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            gfm_pipe.run({"stages": {"s": read}}, store=self.root / "other")
        self.assertIn("warning: 1 files or records rejected (b.pdf: PDF", told.getvalue())

    def test_arguments_of_the_wrong_kind_are_refused(self):
        retriever = self.retriever()
        one = pipeline(self.notes)
        self.assertEqual(len(quietly(one, store=self.store, until="kg", force="kg").stages), 4)
        why = retriever.ask("river", why_not="berlin").why_not
        self.assertEqual([d.title for d in why], ["berlin"])
        for wrong in [
            lambda: gfm_pipe.run(one, args=["-C", "/tmp"]),
            lambda: gfm_pipe.run(one, args="--store=x"),
            lambda: gfm_pipe.run(one, params=["a=1"]),
            lambda: gfm_pipe.Retriever(self.store, pipeline=one),
            lambda: gfm_pipe.Retriever(self.notes / "berlin.txt"),
            lambda: retriever.ask_all("river"),
        ]:
            self.assertRaises(gfm_pipe.UsageError, wrong)
        self.assertRaises(gfm_pipe.QuestionError, lambda: retriever.ask(None))
        self.assertRaises(gfm_pipe.QuestionError, lambda: retriever.ask("river", k="five"))

    def test_text_from_outside_is_shown_escaped(self):
        folder = self.root / "colours"
        folder.mkdir()
        (folder / "a\x1b[31m.json").write_text("{")
        read = {"op": "ingest-documents", "with": {"path": str(folder)}}
        told = io.StringIO()
        with contextlib.redirect_stderr(told), self.assertRaises(gfm_pipe.RunError) as caught:
            gfm_pipe.run({"stages": {"s": read}}, store=self.root / "other")
        self.assertNotIn("\x1b", told.getvalue() + str(caught.exception))

    def test_a_killed_server_is_reported(self):
        retriever = self.retriever()
        retriever.ask("river")
        retriever._server._process.kill()
        retriever._server._process.wait()
        with self.assertRaisesRegex(gfm_pipe.RunError, "has ended"):
            retriever.ask("river")

    def test_a_program_that_is_not_there_is_reported(self):
        kept = os.environ.get("GFM_PIPE")
        os.environ["GFM_PIPE"] = str(self.root / "no-such-program")
        try:
            with self.assertRaisesRegex(gfm_pipe.Error, "no-such-program"):
                gfm_pipe.version()
        finally:
            os.environ.pop("GFM_PIPE")
            if kept is not None:
                os.environ["GFM_PIPE"] = kept


if __name__ == "__main__":
    unittest.main()
