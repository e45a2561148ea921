"""Folders and zips of strangers: what is in them, and its bytes. Nothing is unpacked to disk, no link is followed."""

import os
import stat
import unicodedata
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

LARGEST = 25_000_000  # bytes of one file, outputs included; as JSON it may take forty times as much memory
ENTRIES = 20_000  # files in one student's folder or zip
DEPTH = 8  # folders within folders; what lies deeper is not looked at


class Refused(Exception):
    """Words that say why something is not read."""


def suffix(name):
    """Of a file: ".ipynb" for x.ipynb.txt and x.ipynb.json, too, as browsers call a download."""
    name = Path(name.lower())
    return Path(name.stem).suffix if name.suffix in (".txt", ".json") and name.stem.endswith(".ipynb") else name.suffix


class Entry(NamedTuple):
    """A file below the folder of all submissions: its names from there on, and ``read() -> bytes``, which may raise
    Refused. A folder has no ``read``. ``path`` is that of the file, or of the zip that holds it."""

    names: tuple
    path: Path
    modified: datetime | None
    read: Callable | None

    @property
    def suffix(self):
        return suffix(self.names[-1])


def legible(text, keep=""):
    """``text`` with all that is invisible or turns the writing round (\\u202e) spelled out, but for ``keep``."""
    def odd(letter):  # the two that remain are needed to write Persian, Hindi and others
        return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in "\u200c\u200d" + keep
    return "".join(f"\\u{ord(c):04x}" if odd(c) else c for c in unicodedata.normalize("NFC", text))


def refused(problem):
    """A ``read`` that says why not."""
    def read():
        raise Refused(problem)
    return read


def passed_over(name):
    return name.startswith(".") or name in ("__MACOSX", "__pycache__")


# ------------------------------------------------------------------------------------------------ folders


def in_folder(folder):
    """The Entries below a folder. Raises ValueError if the folder itself cannot be read."""
    for entry in _listed(folder, ()):
        yield entry
        if entry.read is None:
            inside = []
            try:
                _walk(entry, inside)
                yield from inside
            except Refused as problem:
                yield entry._replace(read=refused(str(problem)))


def _walk(folder, inside):
    for entry in _listed(folder.path, folder.names):
        inside.append(entry)
        if len(inside) > ENTRIES:
            raise Refused(f"more than {ENTRIES} files")
        if entry.read is None and len(entry.names) <= DEPTH:
            _walk(entry, inside)


def _listed(folder, names):
    """The Entries of one folder, not of those in it."""
    try:
        with os.scandir(folder) as listed:
            found = []
            for item in listed:
                found.append(item)
                if names and len(found) > ENTRIES:
                    break
    except OSError as error:
        if not names:
            raise ValueError(f"{folder}: {error.strerror}") from None
        if len(names) == 1:
            raise Refused(f"unreadable: {error.strerror}") from None
        return []
    return [_entry(item, names) for item in sorted(found, key=lambda item: item.name) if not passed_over(item.name)]


def _entry(item, names):
    path, modified, is_folder = Path(item.path), None, False
    try:
        is_folder = item.is_dir(follow_symlinks=False)
        modified = datetime.fromtimestamp(item.stat(follow_symlinks=False).st_mtime).astimezone()
    except (OSError, ValueError, OverflowError):  # it is gone, or its time is none
        pass
    return Entry((*names, item.name), path, modified, None if is_folder else lambda: _read(path))


def _read(path):
    """The bytes of a plain file; neither a link nor a device is opened, and no pipe is waited for."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISREG(mode):
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                return _within(file.read(LARGEST + 1))
    except OSError as error:
        raise Refused(f"unreadable: {error.strerror}") from None
    raise Refused(_odd_kind(mode))


def _odd_kind(mode):
    return "a symbolic link, not a file" if stat.S_ISLNK(mode) else "not a plain file"


def _within(data):
    if len(data) > LARGEST:
        raise Refused(f"too large: more than {LARGEST // 10**6} MB")
    return data


# ------------------------------------------------------------------------------------------------ zips


def in_zip(file, names, path, most=ENTRIES):
    """The Entries of an open zip, ``names`` before their own. Raises Refused."""
    for encoding in ("utf-8", "cp437"):  # macOS writes UTF-8 without saying so
        try:
            archive = zipfile.ZipFile(file, metadata_encoding=encoding)
            break
        except UnicodeDecodeError:
            continue
        except Exception:  # zipfile raises many kinds for what is no zip
            raise Refused("a damaged zip, or none") from None
    if len(archive.infolist()) > most:
        raise Refused(f"a zip of more than {most} files")
    for info in archive.infolist():
        whole = info.filename.replace("\\", "/")
        inner = tuple(part for part in whole.split("/") if part not in ("", "."))
        try:
            modified = datetime(*info.date_time).astimezone() if info.date_time[0] > 1980 else None
        except (ValueError, OverflowError):
            modified = None
        if whole.startswith("/") or ".." in inner or ":" in whole.split("/")[0]:
            name = inner[-1] if inner else "(no name)"
            yield Entry((*names, name), path, modified, refused("its name leads out of the zip"))
        elif inner and not any(map(passed_over, inner)):
            read = None if whole.endswith("/") else lambda info=info: _member(archive, info)
            yield Entry((*names, *inner), path, modified, read)


def _member(archive, info):
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Refused(_odd_kind(mode))
    if info.flag_bits & 1:
        raise Refused("encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may take gigabytes to unpack
        raise Refused("a kind of zip that is not read here")
    try:
        with archive.open(info) as file:
            data = file.read(LARGEST + 1)
    except Exception:  # a wrong checksum, a cut stream, a lie about the size
        raise Refused("damaged in the zip") from None
    return _within(data)
