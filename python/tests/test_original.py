"""The usage of the service that this package took the place of, word for word."""

import sys
import textwrap
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import nas_sync
import pytest
from models import Document, utcnow
from nas_sync import NASSyncError, NASSyncService, get_nas_sync_service


@pytest.fixture
def app(monkeypatch):
    """`app.services.nas_sync_service`, as a backend may keep it: one line."""
    service = ModuleType("app.services.nas_sync_service")
    exec("from nas_sync import NASSyncService, NASSyncError, get_nas_sync_service", vars(service))
    for name, module in [("app", ModuleType("app")), ("app.services", ModuleType("app.services"))]:
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "app.services.nas_sync_service", service)


def original(db):
    usage = Path(__file__).with_name("original_usage.txt").read_text()
    names = {"db": db, "Document": Document}
    exec(f"def use():\n{textwrap.indent(usage, '    ')}\n    return locals()", names)
    return names["use"]()


@pytest.mark.filterwarnings("ignore:.*Query.get:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.LegacyAPIWarning")
def test_the_original_snippet(app, durable, backend, capsys):
    nas = durable
    one, two, three = backend.add("one.pdf", "Reçu n° 2.pdf", "three.pdf")
    (backend.uploads / "three.pdf").unlink()
    backend.add("of another user.pdf", user_id=7)
    began = utcnow()
    with backend.session() as db:
        names = original(db)
        assert names["success"] is True and names["message"] == f"Document {one} is on the NAS (durable)", names
        # The mark is there for whoever looks at the object, too.
        assert names["document"].synced_to_nas is True
        at = names["document"].synced_at
        assert type(at) is datetime and at.tzinfo is None and began <= at <= utcnow(), at
    assert capsys.readouterr().out == "Synchronisés: 1\nÉchecs: 1\n"
    results = names["results"]
    assert results["total"] == 2 and len(results["errors"]) == 1
    assert results["errors"][0].startswith(f"Document {three}: ")
    assert backend.synced() == [one, two]
    assert sorted(path.name for path in nas.iterdir()) == ["Reçu n° 2.pdf", "one.pdf"]
    assert (nas / "one.pdf").read_bytes() == b"one.pdf"


def test_the_original_snippet_without_configuration(app, nas, backend, monkeypatch, capsys):
    monkeypatch.delenv("NAS_HOST")
    with backend.session() as db:
        assert original(db) is None
    assert capsys.readouterr().out == "NAS non configuré\n"


def test_the_original_snippet_without_a_nas(app, nas, backend, monkeypatch, capsys):
    monkeypatch.setenv("NAS_PORT", "1")
    with backend.session() as db:
        assert original(db) is None
    assert capsys.readouterr().out.startswith("Erreur: ")


def test_the_error_and_the_service_are_made_as_they_were(backend, nas):
    error = NASSyncError("message", "details")
    assert (error.message, error.details, str(error)) == ("message", "details", "message")
    assert NASSyncError("message").details is None
    with backend.session() as db:
        assert isinstance(get_nas_sync_service(db), NASSyncService)
        assert isinstance(NASSyncService(db), NASSyncService)
    assert set(nas_sync.__all__) >= {"NASSyncService", "NASSyncError", "get_nas_sync_service", "Client", "Outcome"}


def test_statistics(nas, backend):
    with backend.session() as db:
        service = get_nas_sync_service(db)
        nothing = {
            "total_documents": 0, "synced": 0, "pending": 0, "sync_percentage": 0.0, "last_sync": None,
            "nas_configured": True,
        }
        assert service.get_sync_stats(user_id=1) == nothing
        last = utcnow().replace(microsecond=0)
        backend.add("a", "b", synced_to_nas=True, synced_at=last)
        backend.add("c", synced_to_nas=True, synced_at=last - timedelta(days=1))
        backend.add("d", "e")
        backend.add("f", synced_to_nas=None)
        backend.add("g", user_id=7, synced_to_nas=True, synced_at=last + timedelta(days=1))
        stats = service.get_sync_stats(user_id=1)
        assert stats == {
            "total_documents": 6, "synced": 3, "pending": 3, "sync_percentage": 50.0, "last_sync": last.isoformat(),
            "nas_configured": True,
        }
        assert datetime.fromisoformat(stats["last_sync"]) == last


def test_the_configuration_shows_no_secret(nas, backend):
    with backend.session() as db:
        config = get_nas_sync_service(db, key="sesame", port=2222).get_config_status()
    assert config["configured"] is True and (config["nas_host"], config["nas_user"], config["nas_path"]) == (True,) * 3
    assert (config["host"], config["path"], config["port"]) == ("127.0.0.1", str(nas), 2222)
    assert "sesame" not in str(config)
