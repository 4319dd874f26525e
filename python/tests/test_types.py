"""The types that the package promises."""

import subprocess
import sys
import textwrap
from pathlib import Path

import nas_sync
import pytest

USE = """
    import asyncio
    from pathlib import Path
    from typing import Any, Optional

    from nas_sync import Client, Fetched, NASSyncError, NASSyncService, Outcome, get_nas_sync_service
    from sqlalchemy.orm import Session

    def backend(db: Session, document: object) -> Optional[str]:
        service: NASSyncService = get_nas_sync_service(db, port=22, upload_dir=Path("/srv"))
        success, message = service.sync_file(document)
        results: dict[str, Any] = service.sync_all_pending(user_id=1, on_progress=print)
        service.restore([document], overwrite=True)
        try:
            service.get_sync_stats(1)
        except NASSyncError as error:
            return error.details or error.solution
        return message if success else None

    async def client() -> list[Outcome]:
        async with Client(host="nas", user="me", path="/volume1") as nas:
            return await nas.send_async([(1, "a", "b"), ("key", Path("a"), "c")])

    async def back() -> list[Fetched]:
        return await Client().fetch_async([(1, "a", Path("b"), None), ("key", "a", "c", 64 * "0")])

    Client(prot=22)  # type: ignore[call-arg]
    asyncio.run(client())
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """What one run of mypy leaves for the next."""
    return f"--cache-dir={tmp_path_factory.mktemp('mypy')}"


def mypy(module, *words, cwd):
    done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_program_that_uses_it(tmp_path, cache):
    program = tmp_path / "use.py"
    program.write_text(textwrap.dedent(USE))
    mypy("mypy", "--strict", cache, str(program), cwd=tmp_path)
    assert (Path(nas_sync.__file__).parent / "py.typed").exists()


def test_the_package_itself(tmp_path, cache):
    mypy("mypy", "--strict", cache, "-p", "nas_sync", cwd=tmp_path)


def test_the_stubs_of_the_native_module(tmp_path):
    (tmp_path / "allowed").write_text("nas_sync._native.(Key|Day|Sink|_Facts|__all__)\n")
    mypy("mypy.stubtest", "nas_sync._native", "--allowlist", "allowed", "--ignore-unused-allowlist", cwd=tmp_path)


def test_everything_public_is_described():
    for name in nas_sync.__all__:
        thing = getattr(nas_sync, name)
        assert thing.__doc__, name
        if isinstance(thing, type):
            methods = [method for word, method in vars(thing).items() if callable(method) and not word.startswith("_")]
            assert all(method.__doc__ for method in methods), name
