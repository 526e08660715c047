"""Versions as people pack them."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

MANIFEST = {"kind": "faq", "runtime": "faq", "pool": "cpu", "title": "JavaScript FAQ"}
Member = str | zipfile.ZipInfo


def manifest(**fields: Any) -> bytes:
    return json.dumps({**MANIFEST, **fields}).encode()


def pack(folder: Path, files: dict[Member, bytes] | list[tuple[Member, bytes]], **options: Any) -> Path:
    """A zip file of those files, with a manifest at its top unless they bring one."""
    members = list(files.items()) if isinstance(files, dict) else files
    if not any(str(getattr(name, "filename", name)).endswith("manifest.json") for name, _ in members):
        members.append(("manifest.json", manifest()))
    path = folder / "version.zip"
    with zipfile.ZipFile(path, "w", **{"compression": zipfile.ZIP_DEFLATED, **options}) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return path


def lay(store: Path, model: str, version: str, files: dict[str, bytes] | None = None, **fields: Any) -> Path:
    """A version in the store, as a trainer leaves it there."""
    folder = store / model / version
    folder.mkdir(parents=True)
    content = files or {"entries.json": b"[]"}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    digests = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in content.items()}
    about = {"format": 1, "model": model, "version": version, "created_at": "2026-11-23T07:00:00Z", "files": digests}
    (folder / "manifest.json").write_text(json.dumps({**MANIFEST, **about, **fields}))
    return folder
