"""A FastAPI backend with the five routes of the original: those of the package's README."""

import asyncio
from pathlib import Path
from typing import Iterator

import httpx
import pytest
from fastapi import FastAPI
from models import Document
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture
def app(nas, backend):
    # The routes run in threads.
    engine = create_engine(backend.url)
    app = FastAPI()

    def get_db() -> Iterator[Session]:
        with Session(engine) as db:
            yield db

    _, section = README.read_text().split("### In FastAPI\n")
    routes = section.split("```python\n")[1].split("```")[0]
    exec(routes, {"app": app, "get_db": get_db, "Document": Document})
    yield app
    engine.dispose()


def ask(app, *requests):
    """All at once; gives status and object of each."""

    async def run():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://backend", timeout=120) as client:
            answers = await asyncio.gather(*(client.request(method, path) for method, path in requests))
            return [(answer.status_code, answer.json()) for answer in answers]

    return asyncio.run(run())


def test_the_five_routes(app, nas, backend):
    one, two, three = backend.add("one.pdf", "two.pdf", "three.pdf")
    (backend.uploads / "three.pdf").unlink()
    assert ask(app, ("GET", "/sync/config"))[0][1].items() >= {
        "configured": True, "nas_host": True, "nas_user": True, "nas_path": True, "host": "127.0.0.1", "path": str(nas)
    }.items()
    ((code, answer),) = ask(app, ("POST", "/sync/test"))
    assert (code, answer["success"]) == (200, True)
    ((code, answer),) = ask(app, ("POST", f"/sync/document/{one}"))
    assert (code, answer) == (200, {"success": True, "message": f"Document {one} is on the NAS (stored)"})
    assert backend.synced() == [one]
    ((code, answer),) = ask(app, ("POST", "/sync/run?user_id=1"))
    assert (code, answer["total"], answer["synced"], answer["failed"]) == (200, 2, 1, 1)
    assert answer["errors"][0].startswith(f"Document {three}: ")
    ((code, answer),) = ask(app, ("GET", "/sync/status?user_id=1"))
    assert answer["total_documents"] == 3 and (answer["synced"], answer["pending"]) == (2, 1)
    assert answer["sync_percentage"] == 66.7 and answer["last_sync"] and answer["nas_configured"] is True
    assert ask(app, ("POST", "/sync/document/999"))[0][0] == 404
    assert ask(app, ("POST", "/sync/document/x"))[0][0] == 422
    for id in [2**31, -(2**31) - 1, 2**70]:
        asked = ("POST", f"/sync/document/{id}"), ("GET", f"/sync/status?user_id={id}"), ("POST", f"/sync/run?user_id={id}")
        assert [code for code, _ in ask(app, *asked)] == [422] * 3, id


def test_requests_at_once(app, nas, backend):
    keys = backend.add(*(f"{number}.pdf" for number in range(6)))
    answers = ask(app, *(("POST", f"/sync/document/{key}") for key in keys), ("GET", "/sync/status?user_id=1"))
    assert all(code == 200 for code, _ in answers), answers
    assert all(answer["success"] for _, answer in answers[:-1]), answers
    assert backend.synced() == keys


def test_a_nas_that_is_not_configured(app, nas, backend, monkeypatch):
    (key,) = backend.add("one.pdf")
    monkeypatch.delenv("NAS_USER")
    answers = ask(app, ("POST", "/sync/test"), ("POST", "/sync/run?user_id=1"), ("POST", f"/sync/document/{key}"), ("GET", "/sync/status?user_id=1"))
    assert [code for code, _ in answers] == [200, 500, 200, 200]
    assert answers[0][1]["success"] is answers[2][1]["success"] is answers[3][1]["nas_configured"] is False
    assert answers[1][1]["detail"] == "not configured, missing: NAS_USER"
    assert backend.synced() == []
