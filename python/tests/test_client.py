"""The client without a database."""

import asyncio
import hashlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import logins, until
from nas_sync import Client, Fetched, NASSyncError, Outcome

KINDS = re.findall(r"^\| `(\w+)` \|", (Path(__file__).parents[2] / "docs" / "errors.md").read_text(), re.MULTILINE)
# Each of its zeros is read, hashed and sent: long enough to be ended in the middle.
LONG = 2 << 30


def sparse(path, size=LONG):
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def write(folder, name, content=b"content"):
    path = folder / name
    path.write_bytes(content)
    return path


def cut_logins():
    # What serves the logins, and the listening server behind it.
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes()
            parent = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1]
            above = Path(f"/proc/{parent}/cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith(b"sshd: ") and os.fsencode(Path(os.environ["NAS_KEY_FILE"]).parent) in above:
            os.kill(int(process), signal.SIGKILL)


def test_each_document_gets_its_outcome(durable, uploads):
    nas = durable
    content, key = b"an invoice" * 9000, uuid.uuid4()
    write(uploads, "a.pdf", content)
    with Client() as client:
        outcomes = client.send(
            [
                (42, uploads / "a.pdf", "2024/Facture n° 7\nà payer.pdf"),
                ("gone", str(uploads / "gone.pdf"), "gone.pdf"),
                (key, os.fsencode(write(uploads, "b", b"")), b"caf\xe9"),
                (-1, uploads / "a.pdf", "../a.pdf"),
            ]
        )
    sum_of = hashlib.sha256(content).hexdigest()
    assert outcomes[0] == Outcome(42, "durable", sum_of, 90_000, None)
    assert (nas / "2024/Facture n° 7\nà payer.pdf").read_bytes() == content
    gone, empty, outside = outcomes[1:]
    assert (gone.key, gone.level, gone.sha256, gone.bytes) == ("gone", None, None, None)
    assert gone.error.kind == "source_missing" and gone.error.cause and gone.error.solution
    assert (empty.key, empty.bytes, empty.error) == (key, 0, None) and (nas / os.fsdecode(b"caf\xe9")).exists()
    assert outside.error.kind == "name_unsendable"


def test_a_login_is_kept_and_shared_and_closed(nas, uploads):
    file = write(uploads, "a")
    before = logins()
    Client().send([(1, file, "a")])
    kept = logins() - before
    assert len(kept) == 1
    with Client() as again:
        again.send([(2, file, "b")])
        assert again.test()["level"] == "stored"
        assert logins() - before == kept, "another client with the same settings uses the login that is there"
    until("the login ends", lambda: not logins() & kept)


@pytest.mark.skipif(not os.environ.get("NAS_SYNC_LONG"), reason="NAS_SYNC_LONG=1 runs it: it takes a minute")
def test_a_login_that_nobody_uses_ends_by_itself(nas, uploads):
    before = logins()
    Client().send([(1, write(uploads, "a"), "a")])
    kept = logins() - before
    assert kept
    until("the login ends", lambda: not logins() & kept, 120)


def test_a_login_that_was_cut_is_made_anew(nas, uploads):
    file = write(uploads, "a")
    client = Client()
    client.send([(1, file, "a")])
    cut_logins()
    assert client.send([(2, file, "b")])[0].error is None
    client.close()


def test_progress_is_told_as_objects(nas, uploads):
    events, files = [], [(key, write(uploads, f"{key}", bytes(100_000)), f"{key}") for key in range(20)]
    with Client() as client:
        client.send([*files, ("gone", uploads / "gone", "gone")], events.append)
    assert events[0] == {"event": "started", "documents": 21, "bytes": 2_000_000}
    told = [event for event in events if event["event"] == "document"]
    assert sorted(str(event["id"]) for event in told) == sorted([*(str(key) for key in range(20)), "gone"])
    assert {"event": "document", "id": 7, "outcome": "synced", "level": "stored", "bytes": 100_000} in told
    failed = next(event for event in told if event["outcome"] == "failed")
    assert failed["id"] == "gone" and failed["error"]["kind"] == "source_missing"
    progress = [event for event in events if event["event"] == "progress"]
    names = {"event", "done", "documents", "bytes", "bytes_total", "bytes_per_second", "eta_seconds", "current"}
    assert progress and all(set(event) == names for event in progress)
    assert (progress[-1]["done"], progress[-1]["bytes"]) == (21, 2_000_000)
    assert events[-1].items() >= {"event": "finished", "synced": 20, "failed": 1}.items() and "elapsed_ms" in events[-1]


def test_documents_come_back_as_they_were_sent_and_what_is_here_is_left_alone(nas, uploads):
    content, key, events = b"an invoice" * 9000, uuid.uuid4(), []
    file = write(uploads, "a.pdf", content)
    with Client(upload_dir=uploads) as client:
        os.utime(write(uploads, "b", b"b"), (1e9, 1e9))
        sent = client.send([(key, "a.pdf", "2024/a.pdf"), (2, "b", "b"), (3, "b", "c")])
        sums = [outcome.sha256 for outcome in sent]
        file.unlink()
        (uploads / "b").write_bytes(b"newer than there")
        for name in ("c", "d"):
            (nas / name).write_bytes(b"of somebody else")
        wanted = [
            (key, "2024/a.pdf", "new/folder/a.pdf", sums[0]),
            (2, "b", "b", sums[1]),
            (3, "c", "c", sums[2]),
            (4, "d", "unchecked", None),
            ("gone", "gone", "gone", None),
            (5, "../b", "e", None),
            (6, "e", "../outside", None),
            (7, "c", "again", None),
        ]
        fetched = client.fetch(wanted, on_progress=events.append)
        assert [one.key for one in fetched] == [key, 2, 3, 4, "gone", 5, 6, 7]
        assert fetched[0] == Fetched(key, str(uploads / "new/folder/a.pdf"), None)
        assert (uploads / "new/folder/a.pdf").read_bytes() == content
        kinds = [one.error and one.error.kind for one in fetched[1:]]
        assert kinds == [
            "newer_here", "not_received", None, "not_received", "name_unsendable", "source_outside", "usage"
        ]
        assert (uploads / "b").read_bytes() == b"newer than there" and not (uploads / "c").exists()
        assert (uploads / "c.from-nas").read_bytes() == (uploads / "unchecked").read_bytes() == b"of somebody else"
        assert not (uploads.parent / "outside").exists()
        assert client.fetch([(2, "b", "b", sums[1])], overwrite=True)[0].error is None
        assert (uploads / "b").read_bytes() == b"b"
    assert events[0]["event"] == "started"
    assert events[-1].items() >= {"event": "finished", "synced": 2, "failed": 6}.items()


def test_documents_come_back_beside_an_event_loop_over_a_login_that_was_cut(nas, uploads):
    client = Client()
    sent = client.send([(key, write(uploads, f"{key}", bytes(1000)), f"{key}") for key in range(5)])
    cut_logins()

    async def run():
        wanted = [(one.key, f"{one.key}", uploads / f"back-{one.key}", one.sha256) for one in sent]
        return await client.fetch_async(wanted)

    assert [one.error for one in asyncio.run(run())] == [None] * 5
    client.close()


@pytest.mark.parametrize(
    ("document", "error", "says"),
    [
        ((1, "a", "a"), TypeError, "a document is"),
        ((None, "a", "a", None), TypeError, "a key is"),
        ((1, None, "a", None), TypeError, "NoneType"),
        ((1, "a", "a", b""), TypeError, "bytes"),
        ((1, "a", "a", "12"), NASSyncError, "is no SHA-256"),
        ((1, "a", "a", "x" * 64), NASSyncError, "is no SHA-256"),
    ],
)
def test_wanted_documents_that_make_no_sense(nas, document, error, says):
    with pytest.raises(error, match=says):
        Client().fetch([document])


def test_a_callback_that_raises_ends_the_transfer_in_order(nas, uploads):
    class Mine(Exception):
        pass

    def on_progress(event):
        if event["event"] == "document":
            raise Mine(event["id"])

    small, large = write(uploads, "small"), sparse(uploads / "large")
    with Client() as client:
        with pytest.raises(Mine):
            client.send([(1, small, "small"), (2, uploads / "gone", "gone"), (3, large, "large")], on_progress)
        assert not (nas / "large").exists()
        assert client.send([(1, small, "again")])[0].error is None, "the login serves the next call"


def test_keyboard_interrupt_ends_a_transfer_in_order(nas, uploads):
    write(uploads, "small")
    sparse(uploads / "large")
    program = """
        import signal
        import sys
        from nas_sync import Client

        # Whoever started the tests in the background has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def on_progress(event):
            if event["event"] == "progress" and event["bytes"] > 1_000_000:
                print("busy", flush=True)

        try:
            Client().send([(1, "uploads/small", "small"), (2, "uploads/large", "large")], on_progress)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "busy\n"
        child.send_signal(signal.SIGINT)
        assert child.stdout.read().splitlines()[-1] == "interrupted"
    assert child.returncode == 0
    assert (nas / "small").exists() and not (nas / "large").exists()


def test_other_threads_go_on_while_bytes_move(nas, uploads):
    large, begun, seen = sparse(uploads / "large", 256 << 20), threading.Event(), []

    def look():
        begun.set()
        # rsync writes under another name, which only a thread that runs meanwhile can see.
        until("something is on the NAS", lambda: list(nas.iterdir()))
        seen.extend(path.name for path in nas.iterdir())

    thread = threading.Thread(target=look)
    thread.start()
    begun.wait()
    with Client() as client:
        assert client.send([(1, large, "large")])[0].error is None
    thread.join()
    assert seen and seen != ["large"], seen


def test_several_threads_at_once(nas, uploads):
    client, errors = Client(), []

    def send(thread):
        for number in range(5):
            name = f"{thread}-{number}"
            errors.extend(outcome.error for outcome in client.send([(name, write(uploads, name), name)]) if outcome.error)

    threads = [threading.Thread(target=send, args=[thread]) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()
    assert not errors and len(list(nas.iterdir())) == 40


def test_a_forked_child_makes_its_own_login_in_the_middle_of_its_parents_transfer(nas, uploads):
    small, large, client = write(uploads, "small"), sparse(uploads / "large", 256 << 20), Client()
    client.send([(0, small, "before")])
    busy, outcomes = threading.Event(), []
    thread = threading.Thread(
        target=lambda: outcomes.extend(client.send([(1, large, "large")], lambda event: busy.set()))
    )
    thread.start()
    assert busy.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        done = 1
        try:
            done = 0 if client.send([(2, small, "of the child")])[0].error is None else 1
        finally:
            os._exit(done)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    thread.join()
    assert outcomes[0].error is None and (nas / "large").stat().st_size == 256 << 20
    assert client.send([(3, small, "after")])[0].error is None
    client.close()
    assert (nas / "of the child").exists()


def test_beside_an_event_loop(nas, uploads):
    files = [(key, write(uploads, f"{key}", bytes(1_000_000)), f"{key}") for key in range(30)]
    events, turns = [], [0]

    async def count():
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async def run():
        counting = asyncio.create_task(count())
        loop = asyncio.get_running_loop()

        def on_progress(event):
            assert asyncio.get_running_loop() is loop
            events.append(event["event"])

        async with Client() as client:
            outcomes = await client.send_async(files, on_progress)
        counting.cancel()
        return outcomes

    outcomes = asyncio.run(run())
    assert [outcome.key for outcome in outcomes] == list(range(30)) and not any(outcome.error for outcome in outcomes)
    assert turns[0] > 100 and events[0] == "started" and events[-1] == "finished"


def test_a_cancelled_task_ends_the_transfer_in_order(nas, uploads):
    large = sparse(uploads / "large")

    async def run():
        client, busy = Client(), asyncio.Event()
        task = asyncio.create_task(client.send_async([(1, large, "large")], lambda event: busy.set()))
        await busy.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not (nas / "large").exists()
        outcomes = await client.send_async([(2, write(uploads, "small"), "small")])
        assert outcomes[0].error is None
        client.close()

    asyncio.run(run())


def test_a_callback_that_raises_beside_an_event_loop(nas, uploads):
    def on_progress(event):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        asyncio.run(Client().send_async([(1, sparse(uploads / "large"), "large")], on_progress))
    assert not (nas / "large").exists()


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"port": "x"}, NASSyncError, 'port is "x", but must be a whole number'),
        ({"port": 0}, NASSyncError, "port is"),
        ({"hots": "nas"}, TypeError, "did you mean 'host'"),
        ({"port": 22.5}, TypeError, "port must be text or a number, not float"),
        ({"port": True}, TypeError, "port must be text or a number, not bool"),
        ({"accept_new_host_key": "yes"}, TypeError, "must be True or False"),
        ({"durability": "forever"}, NASSyncError, "durability is"),
        ({"key": "x", "key_file": "y"}, NASSyncError, "both set"),
    ],
)
def test_settings_that_make_no_sense(settings, error, says):
    with pytest.raises(error, match=says):
        Client(**settings)


def test_settings_as_keyword_arguments(nas, tmp_path):
    client = Client(host="nas", connect_timeout=timedelta(minutes=1), path=tmp_path, port=None, accept_new_host_key=False)
    assert (client.config()["host"], client.config()["path"]) == ("nas", str(tmp_path))


def test_settings_from_the_environment_and_its_file(nas, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("NAS_HOST")
    monkeypatch.setenv("NAS_HOTS", "nas")
    (tmp_path / ".env").write_text("NAS_HOST=from.the.file\nNAS_PORT=1\n")
    config = Client().config()
    assert config["host"] == "from.the.file" and config["port"] == int(os.environ["NAS_PORT"])
    assert Client(host="given").config()["host"] == "given"
    told = [record.message for record in caplog.records if record.name == "nas_sync"]
    assert len(told) == 1 and told[0].startswith("NAS_HOTS is not a setting of nas-sync"), told


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ((1, "a"), "a document is"),
        (7, "a document is"),
        ((None, "a", "a"), "a key is"),
        ((True, "a", "a"), "a key is"),
        ((1.5, "a", "a"), "a key is"),
        ((2**63, "a", "a"), "64 bits"),
        ((1, None, "a"), "NoneType"),
        ((1, "a", 7), "int"),
    ],
)
def test_documents_that_make_no_sense(nas, document, says):
    with pytest.raises(TypeError, match=says):
        Client().send([document])


def test_nothing_to_send_and_a_key_that_stands_for_two(nas, uploads):
    file = write(uploads, "a")
    assert Client().send([]) == []
    with pytest.raises(NASSyncError, match="stands for two documents") as raised:
        Client().send([(1, file, "a"), (1, file, "b")])
    assert raised.value.kind == "usage" and not list(nas.iterdir())


def test_no_solution_is_one_of_the_command_line():
    # What the program alone meets, and the options of Docker.
    of_others = {"not_allowed", "key_not_installed", "resource_shortage"}
    for kind in set(KINDS) - of_others:
        solution = NASSyncError("x", kind=kind).solution
        assert solution and not any(word in solution for word in ("nas-sync ", "--", "command", "`watch")), f"{kind}: {solution}"


def test_a_nas_that_cannot_be_used(nas, uploads, tmp_path):
    file = write(uploads, "a")
    for settings, kind in [
        ({"port": 1}, "connection_refused"),
        ({"user": "nobody-of-that-name"}, "login_refused"),
        ({"known_hosts": tmp_path / "none"}, "host_key_unknown"),
        ({"key_file": tmp_path / "none"}, "key_unusable"),
    ]:
        with pytest.raises(NASSyncError) as raised:
            Client(**settings).send([(1, file, "a")])
        assert raised.value.kind == kind and raised.value.solution
        assert "--" not in raised.value.solution, "the program's flags are none here"
        assert ("accept_new_host_key=True" in raised.value.solution) is (kind == "host_key_unknown")
    nas.rmdir()
    with Client() as client:
        assert client.send([(1, file, "a")])[0].error.kind == "destination_missing"
        with pytest.raises(NASSyncError):
            client.test()
