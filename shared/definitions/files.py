"""The files of a definitions folder: which there are, and their text. Everything that cannot be used is a named problem."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

from shared.contracts.bodies import MAX_FILES, MAX_FOLDER_BYTES
from shared.definitions.models import Definition
from shared.definitions.yaml_text import DefinitionError, Document, Problem

D_co = TypeVar("D_co", bound=Definition, covariant=True)

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_TEMPLATE_BYTES: Final = 256 * 1024
TOO_MANY: Final = f"holds more than {MAX_FILES} definition files: take away those that nothing uses"
MAX_ENTRIES: Final = 20_000
"""Names of any kind that are looked at below a folder."""
MAX_FOLDERS_DEEP: Final = 16
MAX_PATH: Final = 500
"""Bytes of a path below the folder."""
MAX_NAME: Final = 255
"""Bytes of each of its parts: what a file system takes."""

YAML_SUFFIXES: Final = (".yaml", ".yml")
TEMPLATE_SUFFIX: Final = ".liquid"
SUFFIXES: Final = (*YAML_SUFFIXES, TEMPLATE_SUFFIX)
_EDITORS_OWN: Final = (".#", "._")
"""Beginnings of names beside a file: Emacs' locks, and what macOS knows of a file."""


@dataclass(frozen=True)
class Defined(Generic[D_co]):
    """One definition as it stands in a file."""

    file: str
    text: str
    document: Document
    definition: D_co


@dataclass(frozen=True)
class File:
    """A definition file. `name`: its path below the folder, with slashes, as problems name it. `content`: itself, or where it stands."""

    content: Path | bytes
    name: str

    @property
    def own_name(self) -> str:
        """The last part of its path."""
        return self.name.rpartition("/")[2]

    @property
    def content_bytes(self) -> bytes:
        """Its content as it is, at most a byte more than may be. Raises DefinitionError if it cannot be read."""
        return self.content if isinstance(self.content, bytes) else self._read(self.content)

    @property
    def is_template(self) -> bool:
        return self.name.endswith(TEMPLATE_SUFFIX)

    @property
    def most_bytes(self) -> int:
        return MAX_TEMPLATE_BYTES if self.is_template else MAX_FILE_BYTES

    def too_large(self) -> Problem:
        return Problem(self.name, 1, "", f"is larger than {self.most_bytes} bytes")

    def text(self) -> str:
        """Its content. Raises DefinitionError if it cannot be read, is too large, or is no UTF-8."""
        raw = self.content_bytes
        if len(raw) > self.most_bytes:
            raise DefinitionError([self.too_large()])
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise DefinitionError([Problem(self.name, line, "", "is not UTF-8")]) from None

    def _read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(self.most_bytes + 1)
        except OSError as error:
            raise DefinitionError([Problem(self.name, 1, "", f"cannot be read: {error.strerror}")]) from None


@dataclass
class Listing:
    """The definition files below a folder in a stable order. Links are followed; hidden folders are left out.

    A name that ends as a definition's does and is not read is a problem. `hidden`: those that begin with a dot.
    """

    folder: Path
    files: list[File] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    hidden: list[Problem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._entries = self._bytes = 0
        try:
            top = os.stat(self.folder)
        except OSError:
            top = None
        if top is None or not stat.S_ISDIR(top.st_mode):
            self.problems.append(Problem(shown(str(self.folder)), 1, "", "is no folder"))
            return
        self._walk(self.folder, "", (_identity(top),))

    def _walk(self, folder: Path, name: str, above: tuple[tuple[int, int], ...]) -> bool:
        """List what is below `folder`; False once a bound of the whole folder is passed."""
        for entry in self._entries_of(folder, name):
            path, below = folder / entry, f"{name}{shown(entry)}"
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                return self._too_much(f"holds more than {MAX_ENTRIES} files and folders: definitions want a folder of their own")
            if entry.startswith("."):
                self._pass_over(path, below)
                continue
            try:
                info = os.stat(path)
            except OSError as error:
                self.problems.append(Problem(below, 1, "", _why_unusable(path, error)))
                continue
            if stat.S_ISDIR(info.st_mode):
                if self._may_enter(below, info, above) and not self._walk(path, f"{below}/", (*above, _identity(info))):
                    return False
            elif path.suffix in SUFFIXES:
                if not self._take(File(path, below), info):
                    return False
            elif (ending := _ending(entry)) is not None:
                self.problems.append(Problem(below, 1, "", f"the name must end in {ending}, in small letters: nothing reads it so"))
        return True

    def _pass_over(self, path: Path, name: str) -> None:
        """A name that begins with a dot."""
        if _ending(path.name) is not None and not path.name.startswith(_EDITORS_OWN) and not path.is_dir():
            self.hidden.append(Problem(name, 1, "", "begins with a dot, so nothing reads it: give it another name, or take it away"))

    def _entries_of(self, folder: Path, name: str) -> Iterator[str]:
        try:
            found = os.listdir(folder)
        except OSError as error:
            self.problems.append(Problem(name or shown(str(folder)), 1, "", f"cannot be read: {error.strerror}"))
            return
        yield from sorted(found)

    def _may_enter(self, name: str, info: os.stat_result, above: tuple[tuple[int, int], ...]) -> bool:
        if _identity(info) in above:
            self.problems.append(Problem(name, 1, "", "is a link to a folder that it lies in: following it would never end"))
            return False
        if len(above) > MAX_FOLDERS_DEEP:
            self.problems.append(Problem(name, 1, "", f"folders may nest no deeper than {MAX_FOLDERS_DEEP}"))
            return False
        return True

    def _take(self, file: File, info: os.stat_result) -> bool:
        if not stat.S_ISREG(info.st_mode):
            self.problems.append(Problem(file.name, 1, "", "is no regular file"))
            return True
        wrong = wrong_path(file.name)
        if wrong is not None:
            self.problems.append(Problem(file.name, 1, "", wrong))
            return True
        if info.st_size > file.most_bytes:
            self.problems.append(file.too_large())
            return True
        self.files.append(file)
        self._bytes += info.st_size
        if len(self.files) > MAX_FILES:
            return self._too_much(TOO_MANY)
        if self._bytes > MAX_FOLDER_BYTES:
            return self._too_much(f"holds definition files of more than {MAX_FOLDER_BYTES} bytes together")
        return True

    def _too_much(self, message: str) -> bool:
        self.files.clear()  # a part of the folder would be read as if it were all of it
        self.problems.append(Problem(shown(str(self.folder)), 1, "", message))
        return False


def _ending(name: str) -> str | None:
    """The ending that makes `name` one of a definition's, in whatever letters it is written."""
    return next((ending for ending in SUFFIXES if name.lower().endswith(ending)), None)


def wrong_path(path: str) -> str | None:
    """Why no file of definitions may have this path below its folder, in whatever way it comes; None if it may."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or not path.isprintable() or "\\" in path:
        return "is no path below a folder: names joined by slashes, in characters that can be printed, are expected"
    if len(path.encode("utf-8", "replace")) > MAX_PATH or any(len(part.encode("utf-8", "replace")) > MAX_NAME for part in parts):
        return f"is longer than {MAX_PATH} bytes, or one of its names than {MAX_NAME}"
    return None


def shown(name: str) -> str:
    """A file name as it can be printed: bytes that are no UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def _why_unusable(path: Path, error: OSError) -> str:
    """Why `path` could not be looked at."""
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    if path.is_symlink() and error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"is a link to {shown(os.readlink(path))}, which is not there"
    return f"cannot be read: {error.strerror}"
