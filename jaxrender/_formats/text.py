"""The lines and numbers of text files: one tokenizer for OBJ, MTL, PLY, OFF and STL.

Lines are found, and numbers read, for a whole file at a time. Where that cannot be, because a word
is no number, the lines are read one by one, and the first that is wrong is named.

Shapes: `L` lines of a table, `N` numbers of all of them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

NEWLINE, SPACE = 10, 32  # all bytes up to a space stand between words
CONTINUED = re.compile(rb"^([^#\n]*)(\\[ \t]*\n)", re.MULTILINE)  # no comment: these hold paths
SENTINEL = 998244353
CASE = 32  # the bit that tells small letters from capitals
MARKS = ((codecs.BOM_UTF8, ""), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class LineError(ValueError):
    """A line that is not as its format says."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{shown(path.name)}, line {line}: {message}")


class Notes:
    """What of a file is dropped or approximated, each once."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def add(self, path: Path, text: str) -> None:
        """Keeps what a warning is to say."""
        self._texts[f"{shown(str(path))}: {text}"] = None


def read_bytes(path: Path) -> bytes:
    """A file without its byte order mark, as UTF-8 if it was UTF-16."""
    data = path.read_bytes()
    for mark, codec in MARKS:
        if data.startswith(mark):
            return data.decode(codec).encode() if codec else data[len(mark) :]
    return data


def decoded(data: bytes) -> str:
    """Text such that each byte that is not UTF-8 stays what it is, and different names differ."""
    return data.decode("utf-8", errors="surrogateescape")


def shown(name: str) -> str:
    """A decoded name for people: bytes that are not UTF-8 as Latin-1."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return name.encode("utf-8", errors="surrogateescape").decode("latin-1")
    return name


class Lines:
    """The lines of a file that have words, counted from 0.

    Attributes:
        path: the file.
        words: `[L]` how many words each has.
    """

    def __init__(
        self,
        path: Path,
        data: bytes,
        *,
        start: int = 0,
        comment: bytes = b"",
        continued: bool = False,
    ) -> None:
        """Finds them.

        Args:
            path: for messages.
            data: the whole file.
            start: where the lines start that are meant.
            comment: a sign behind which nothing of a line counts, if not empty.
            continued: whether a backslash at the end goes on with the next line.
        """
        self.path = path

        # Let each line end in one way, at the byte where it did.
        if b"\r" in data:
            data = data.replace(b"\r\n", b" \n").replace(b"\r", b"\n")
        self._original = data
        if continued and b"\\" in data:
            data = CONTINUED.sub(lambda found: found[1] + b" " * len(found[2]), data)
        self._named = data
        buffer = bytearray(data)
        buffer += b"\n" + b" " * 16
        place = data.find(comment) if comment else -1
        while place >= 0:
            end = buffer.find(b"\n", place)
            buffer[place:end] = b" " * (end - place)
            place = data.find(comment, end)
        self._bytes = np.frombuffer(buffer, np.uint8)

        # Count the words of each line, and keep those that have some.
        if start:
            self._bytes[:start] = SPACE
        ends = np.flatnonzero(self._bytes == NEWLINE)
        starts = np.concatenate([[0], ends[:-1] + 1])
        space = self._bytes <= SPACE
        first = ~space
        first[1:] &= space[:-1]
        words = np.add.reduceat(first, starts, dtype=np.int32)
        filled = np.flatnonzero(words)
        self.words = words[filled]
        self._starts, self._ends = starts[filled], ends[filled]

        # Find the first word of each.
        self._begins = self._starts.copy()
        indented = np.flatnonzero(space[self._begins])
        while len(indented):
            self._begins[indented] += 1
            indented = indented[space[self._begins[indented]]]
        self._firsts = self._bytes[self._begins]

    def __len__(self) -> int:
        return len(self.words)

    def number(self, line: int) -> int:
        """Which line of the file it is, counted from 1."""
        return self._original.count(b"\n", 0, int(self._begins[line])) + 1

    def error(self, line: int, message: str) -> LineError:
        """An error that names a line."""
        return LineError(self.path, self.number(line), message)

    def text(self, line: int) -> str:
        """A line as it stands in the file, comments included."""
        return decoded(self._named[self._begins[line] : self._ends[line]]).strip()

    def starting(self, keyword: str) -> np.ndarray:
        """The lines whose first word is this one, in any case."""
        found = np.flatnonzero((self._firsts | CASE) == ord(keyword[0]))
        for offset, letter in enumerate(keyword[1:], 1):
            found = found[(self._bytes[self._begins[found] + offset] | CASE) == ord(letter)]
        return found[self._bytes[self._begins[found] + len(keyword)] <= SPACE]

    def block(self, lines: np.ndarray, skip: int = 0) -> bytes:
        """The text of some lines in order, without comments and without their first bytes."""
        for offset in range(skip):
            self._bytes[self._begins[lines] + offset] = SPACE
        if not len(lines):
            return b""
        breaks = np.flatnonzero(np.diff(lines) != 1)
        firsts = self._starts[lines[np.concatenate([[0], breaks + 1])]].tolist()
        lasts = self._ends[lines[np.concatenate([breaks, [len(lines) - 1]])]].tolist()
        view = self._bytes.data
        return b"".join([view[a : b + 1] for a, b in zip(firsts, lasts, strict=True)])

    def rows(self, lines: np.ndarray, keyword: str = "") -> Rows:
        """The numbers of some lines, behind their keyword.

        Raises:
            LineError: a word is no number.
        """
        counts = self.words[lines].astype(np.int64) - bool(keyword)
        block = self.block(lines, len(keyword))
        values = parsed(block, np.float64, int(counts.sum()))
        if values is None:
            words = [(line, word) for line in lines.tolist() for word in self.split(line)]
            values = np.array([self._value(line, word) for line, word in words], np.float64)
        return Rows(self, lines, values, counts)

    def split(self, line: int) -> list[bytes]:
        """The words of a line, without comments and without what `block` has skipped."""
        return bytes(self._bytes[self._starts[line] : self._ends[line]]).split()

    def _value(self, line: int, word: bytes) -> float:
        try:
            if b"_" in word:
                raise ValueError
            return float(word)
        except ValueError:
            message = f"could not convert {shown(decoded(word))!r} to a number"
            raise self.error(line, message) from None


def parsed(text: bytes, dtype: Any, count: int) -> np.ndarray | None:
    """All numbers of a text of words; None if there are not so many, or some word is none."""
    # Put a known number behind, to see that all was read: where a word is no number, NumPy stops,
    # and warns. To catch that warning would change the filters of other threads.
    try:
        values = np.fromstring(text + b" %d" % SENTINEL, dtype, sep=" ")
    except (DeprecationWarning, ValueError):
        return None
    whole = len(values) == count + 1 and values[-1] == SENTINEL
    return values[:-1] if whole else None


class Rows:
    """The numbers of some lines, which need not have equally many.

    Attributes:
        lines: where they are from.
        which: `[L]` the numbers of these lines.
        values: `[N]` all numbers.
        counts: `[L]` how many each line has.
        starts: `[L]` where in `values` those of a line start.
    """

    def __init__(
        self, lines: Lines, which: np.ndarray, values: np.ndarray, counts: np.ndarray
    ) -> None:
        self.lines, self.which, self.values, self.counts = lines, which, values, counts
        self.starts = np.cumsum(counts) - counts

    def __len__(self) -> int:
        return len(self.counts)

    def error(self, row: int, message: str) -> LineError:
        """An error that names the line of a row."""
        return self.lines.error(int(self.which[row]), message)

    def need(self, least: int, what: str) -> None:
        """Sees to it that each row has so many numbers.

        Raises:
            LineError: one has less.
        """
        short = np.flatnonzero(self.counts < least)
        if len(short):
            raise self.error(int(short[0]), f"{what}, got {self.counts[short[0]]}")

    def columns(self, first: int, last: int, fill: float = np.nan) -> np.ndarray:
        """The numbers `first` to `last - 1` of each row `[L, K]`, `fill` where it has less."""
        if len(self) and (self.counts == self.counts[0]).all() and self.counts[0] >= last:
            return self.values.reshape(len(self), -1)[:, first:last]
        place = self.starts[:, None] + np.arange(first, last)[None]
        there = np.arange(first, last)[None] < self.counts[:, None]
        values = np.append(self.values, fill)
        return np.where(there, values[np.where(there, place, len(self.values))], fill)
