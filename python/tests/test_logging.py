"""What the library logs, in Python's `logging`."""

import logging
import os
import shutil
import threading

import pytest
from nas_sync import Client


@pytest.fixture
def lacking(tmp_path, monkeypatch):
    """A NAS whose rsync confirms no single file, of which a person should know."""
    rsync = tmp_path / "rsync"
    rsync.write_text(
        '#!/bin/sh\ncase "$*" in *--remove-source-files*) echo "rsync: --remove-source-files: unknown option" >&2; exit 1;; esac\n'
        f'exec {shutil.which("rsync")} "$@"\n'
    )
    rsync.chmod(0o755)
    monkeypatch.setenv("NAS_RSYNC_PATH", str(rsync))


def document(uploads, name="a.pdf"):
    (uploads / name).write_bytes(b"content")
    return [(name, uploads / name, name)]


def test_what_a_person_should_know_is_logged_by_the_thread_that_asked(durable, uploads, lacking, caplog):
    heard = []

    class Handler(logging.Handler):
        def emit(self, record):
            heard.append((record.name, record.levelno, threading.get_ident(), record.getMessage()))

    handler = Handler()
    logging.getLogger("nas_sync").addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "nas_sync"), Client() as client:
            [outcome] = client.send(document(uploads))
    finally:
        logging.getLogger("nas_sync").removeHandler(handler)
    assert outcome.error is None
    assert {(name, thread) for name, _, thread, _ in heard} == {("nas_sync", threading.get_ident())}
    warnings = [text for _, level, _, text in heard if level == logging.WARNING]
    assert len(warnings) == len(set(warnings)) and any("cannot acknowledge" in text for text in warnings), heard
    assert any(level == logging.DEBUG and "rsync" in text for _, level, _, text in heard), heard


def test_debug_lines_are_left_out_unless_they_are_wanted(nas, uploads, caplog):
    with caplog.at_level(logging.INFO, "nas_sync"), Client() as client:
        client.send(document(uploads))
    assert [record for record in caplog.records if record.levelno < logging.INFO] == []


def test_a_handler_that_raises_ends_the_transfer_in_order(nas, uploads, caplog):
    class Handler(logging.Handler):
        def emit(self, record):
            raise ArithmeticError("a handler of the caller's")

    handler = Handler()
    logging.getLogger("nas_sync").addHandler(handler)
    try:
        with caplog.at_level(logging.DEBUG, "nas_sync"), Client() as client:
            with pytest.raises(ArithmeticError, match="a handler of the caller's"):
                client.send(document(uploads))
    finally:
        logging.getLogger("nas_sync").removeHandler(handler)
    with Client() as client:
        [outcome] = client.send(document(uploads, "b.pdf"))
    assert outcome.error is None


def test_a_forked_child_logs_its_own_lines(durable, uploads, lacking, caplog):
    """A fork while threads of the parent log over and over."""
    caplog.set_level(logging.WARNING, "nas_sync")
    with Client() as client:
        client.send(document(uploads))
        ended = threading.Event()

        def send_on():
            while not ended.is_set():
                client.send(document(uploads, "again.pdf"))

        sender = threading.Thread(target=send_on)
        sender.start()
        try:
            for number in range(2):
                child = os.fork()
                if child == 0:
                    status = 1
                    try:
                        caplog.clear()
                        with Client() as own:
                            [outcome] = own.send(document(uploads, f"child {number}.pdf"))
                        lines = [record.getMessage() for record in caplog.records]
                        status = 0 if outcome.error is None and any("cannot acknowledge" in line for line in lines) else 2
                    finally:
                        os._exit(status)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            ended.set()
            sender.join()
