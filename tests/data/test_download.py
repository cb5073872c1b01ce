"""Downloading from a loopback server: mirrors, checksums, resuming, and being offline."""

from __future__ import annotations

import gzip
import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from kiso.data import download as module
from kiso.data import load
from kiso.data.download import RemoteFile, fetch
from kiso.errors import DataError
from tests.data.test_idx import arrays, idx

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
SUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/good serves; /plain without ranges; /cut stops midway; /wrong sends others; else 404."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        kind, name = self.path.strip("/").split("/")
        self.server.asked.append((kind, self.headers.get("Range")))
        if kind not in ("good", "plain", "cut", "wrong"):
            self.send_error(404)
            return
        body = self.server.files.get(name, CONTENT)
        body = body[::-1] if kind == "wrong" else body
        start = 0
        if self.headers.get("Range") and kind in ("good", "cut"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:len(body) // 2] if kind == "cut" else body[start:])
        if kind == "cut":
            self.close_connection = True

    def log_message(self, format, *args):
        """Quiet."""


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.files = [], {}
        running.base = f"http://127.0.0.1:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def remote(server, *kinds, checksum=SUM):
    return RemoteFile("a.bin", checksum, tuple(f"{server.base}/{kind}/a.bin" for kind in kinds))


def test_one_file(server, tmp_path):
    seen = []
    path = fetch(remote(server, "good"), tmp_path / "new" / "folder",
                 lambda *progress: seen.append(progress))
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]
    assert seen[-1] == ("a.bin", len(CONTENT), len(CONTENT))


def test_a_good_file_is_not_fetched_again(server, tmp_path):
    (tmp_path / "a.bin").write_bytes(CONTENT)
    fetch(remote(server, "good"), tmp_path)
    assert server.asked == []
    (tmp_path / "a.bin").write_bytes(b"old")
    fetch(remote(server, "good"), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("first", ["missing", "wrong", "cut"])
def test_the_next_mirror_helps(server, tmp_path, first):
    path = fetch(remote(server, first, "good"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [kind for kind, _ in server.asked] == [first, "good"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_what_has_arrived_is_not_sent_again(server, tmp_path):
    with pytest.raises(DataError):
        fetch(remote(server, "cut"), tmp_path)
    have = (tmp_path / "a.bin.part").stat().st_size
    assert len(CONTENT) // 2 - 2**16 < have <= len(CONTENT) // 2  # but for the last chunk
    assert not (tmp_path / "a.bin").exists()
    assert fetch(remote(server, "good"), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("good", f"bytes={have}-")
    assert len(server.asked) == 2


def test_mirrors_that_cannot_resume(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(remote(server, "plain"), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize("rest", [b"rubbish", CONTENT, CONTENT + b"more"])
def test_rests_of_other_files(server, tmp_path, rest):
    (tmp_path / "a.bin.part").write_bytes(rest)
    assert fetch(remote(server, "good"), tmp_path).read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_wrong_checksums_are_refused(server, tmp_path):
    with pytest.raises(DataError) as caught:
        fetch(remote(server, "wrong", "missing"), tmp_path)
    text = str(caught.value)
    assert "hash" in text
    assert "404" in text
    assert f"{server.base}/wrong/a.bin" in text
    assert list(tmp_path.iterdir()) == []
    assert caught.value.exit_code == 2


def test_offline(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.bin"
    with pytest.raises(DataError, match="offline") as caught:
        fetch(RemoteFile("a.bin", SUM, (url,)), tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "by hand" in str(caught.value)


def test_data_sets_by_name_only_when_asked(server, tmp_path, monkeypatch):
    files = []
    for part, n in (("train", 100), ("t10k", 30)):
        x, y = arrays(n, n)
        for what, array in (("images-idx3", x), ("labels-idx1", y)):
            name, content = f"{part}-{what}-ubyte.gz", gzip.compress(idx(array))
            server.files[name] = content
            files.append(RemoteFile(name, "md5:" + hashlib.md5(content).hexdigest(), (
                f"{server.base}/missing/{name}", f"{server.base}/good/{name}")))
    monkeypatch.setitem(module.SOURCES, "mnist", tuple(files))
    monkeypatch.setenv("KISO_CACHE", str(tmp_path))
    monkeypatch.delenv("KISO_DATA", raising=False)
    with pytest.raises(DataError, match=r"(?s)mnist was not found.*data/mnist.*--download"):
        load("mnist")
    assert server.asked == []
    splits = load("mnist", download=True)
    assert splits.counts() == {"train": 90, "val": 10, "test": 30}
    assert len(list((tmp_path / "data" / "mnist").iterdir())) == 4
    (tmp_path / "data" / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="lacks the IDX files t10k-labels"):
        load("mnist")
    assert load("mnist", download=True).counts() == splits.counts()  # a broken-off download
    asked = len(server.asked)
    assert load("mnist").train.source == splits.train.source
    assert load("mnist", download=True).counts() == splits.counts()
    assert len(server.asked) == asked


def test_known_sources_are_complete():
    for name, files in module.SOURCES.items():
        assert len(files) == (1 if name == "cifar10" else 4)
        for file in files:
            kind, value = file.checksum.split(":")
            assert len(value) == {"sha256": 64, "md5": 32}[kind]
            assert len(file.urls) >= 2
            assert all(url.endswith(file.name) for url in file.urls)
