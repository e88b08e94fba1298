"""Fetching the checkpoint while an image is built, from a stand-in for the hub that serves the demonstration model."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.checkpoint import MODEL_ID, REVISION
from models import DEMO

ROOT = Path(__file__).parents[2]
COMMIT = REVISION + "0" * (40 - len(REVISION))


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers what a client asks that wants one revision of one repository: which files there are, and each of them."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        files = {path.name: path.read_bytes() for path in DEMO.iterdir()} | {"pytorch_model.bin": b"not asked for"}
        path = self.path.partition("?")[0]
        if path == f"/api/models/{MODEL_ID}/revision/{REVISION}":
            self.answer(json.dumps({"id": MODEL_ID, "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}))
        elif path.startswith(f"/api/models/{MODEL_ID}/tree/{COMMIT}"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            self.answer(json.dumps(entries))
        elif path.startswith(f"/{MODEL_ID}/resolve/{COMMIT}/") and (content := files.get(path.rpartition("/")[2])):
            self.answer(content)
        else:
            self.send_error(404)

    def answer(self, content: bytes | str) -> None:
        data = content.encode() if isinstance(content, str) else content
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Type", "application/json" if isinstance(content, str) else "application/octet-stream")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # Not what an engine of this process has set for its own.
    env = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    env |= {"HF_HOME": str(home)} | environment
    command = [sys.executable, "-m", "scripts.fetch_weights"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


def test_what_was_fetched_is_found_offline(hub: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    fetched = fetch(tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}")
    assert fetched.returncode == 0, fetched.stderr
    offline = fetch(tmp_path, HF_HUB_OFFLINE="1")
    assert offline.stdout == fetched.stdout, offline.stderr
    folder = Path(fetched.stdout.strip())
    assert folder.is_relative_to(tmp_path)
    wanted = {path.name: path.read_bytes() for path in DEMO.iterdir() if path.suffix != ".md"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == wanted


def test_a_hub_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    failed = fetch(tmp_path, HF_HUB_OFFLINE="1")
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"The weights of {MODEL_ID}@{REVISION} are not in the cache ({tmp_path}")
    assert failed.stderr.count("\n") == 1
