"""Text that people send beside a video: from bytes to lines, or refused with file and line."""

from typing import Final, NoReturn

from topclip.errors import InvalidRequest

MAX_BYTES: Final = 8 << 20
BYTE_ORDER_MARKS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


class TextFile:
    """A file of text: what it is called, and how it is refused."""

    def __init__(self, name: str, field: str, error: type[InvalidRequest], kinds: str) -> None:
        """name: as its sender calls it. field: of the request. kinds: what may be sent, such as `an SRT file`."""
        self.name, self._field, self._error, self._kinds = name, field, error, kinds

    def decode(self, content: bytes) -> str:
        """The text with plain line ends: UTF-8, or UTF-16 with its mark. Raises: the file's error."""
        if len(content) > MAX_BYTES:
            self.refuse(f"is larger than {MAX_BYTES >> 20} MiB", "no video has so much text: is it the right file?")
        encoding = next((codec for mark, codec in BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as err:
            line = content.count(b"\n", 0, err.start) + 1
            hint = f"save it as UTF-8, such as by: iconv -f WINDOWS-1252 -t UTF-8 {self.name}"
            self.refuse(f"not {encoding.upper().removesuffix('-SIG')} text", hint, line)
        if "\0" in text:
            line = text.count("\n", 0, text.index("\0")) + 1
            self.refuse("no text, but binary data", f"send {self._kinds}", line)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def refuse(self, what: str, hint: str, line: int | None = None) -> NoReturn:
        """Raise the file's error. line: from 1; None: the whole file is meant."""
        where = f"{self.name} " if line is None else f"{self.name}, line {line}: "
        raise self._error(f"{where}{what}", {"field": self._field, "hint": hint})
