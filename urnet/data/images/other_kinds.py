"""Names for files that are not a picture we read, by their first bytes: an error that says "an HEIC picture" helps."""

from __future__ import annotations

import re
from typing import NamedTuple


class Other(NamedTuple):
    """What a file is, with its article; whether it is a picture, which then can be converted; else what to do."""

    name: str
    picture: bool = True
    remedy: str = ""


def other_kind(data: bytes) -> Other | None:
    """What begins like this (512 bytes are enough), where that is known."""
    for start, other in _STARTS.items():
        if data.startswith(start):
            return other
    if data[:4] in (b"\0\0\1\0", b"\0\0\2\0") and any(data[4:6]):  # and how many; TGA has two zeros there
        return Other("an icon (ICO)" if data[2] == 1 else "a cursor (CUR)")
    if re.match(rb"\0\0[\2\3\x0a\x0b]\0{5}.{8}[\x08\x10\x18\x20][\0-\x2f]", data, re.DOTALL):
        return Other("a TGA picture")
    if data[4:8] == b"ftyp":
        return _brand(data)
    if data[:4] == b"RIFF":
        return {b"AVI ": _VIDEO, b"WAVE": _SOUND}.get(data[8:12])
    if data[128:132] == b"DICM":
        return Other("a DICOM picture")
    if not data[:512].strip(b"\0"):
        return Other("nothing but zero bytes", False, "download or copy it again")
    return _text(data)


_RAW = Other("a camera's raw picture")
_ARCHIVE = Other("an archive", False, "unpack it")
_VIDEO = Other("a video", False, "cut pictures out of it")
_SOUND = Other("a sound file", False)
_STARTS = {
    b"\0\0\0\x0cJXL \r\n\x87\n": Other("a JPEG XL picture"),
    b"\xff\x0a": Other("a JPEG XL picture"),
    b"II\xbc\x01": Other("a JPEG XR picture"),
    b"8BPS": Other("a Photoshop picture"),
    b"gimp xcf": Other("a GIMP picture"),
    b"icns": Other("an icon (ICNS)"),
    b"\x76\x2f\x31\x01": Other("an OpenEXR picture"),
    b"#?RADIANCE": Other("a Radiance HDR picture"),
    b"#?RGBE": Other("a Radiance HDR picture"),
    b"DDS ": Other("a DDS texture"),
    b"qoif": Other("a QOI picture"),
    b"BPG\xfb": Other("a BPG picture"),
    b"FLIF": Other("a FLIF picture"),
    b"\x59\xa6\x6a\x95": Other("a Sun raster picture"),
    b"\x0a\x05\x01": Other("a PCX picture"),
    b"PF\n": Other("a PFM picture (floating point)"),
    b"Pf\n": Other("a PFM picture (floating point)"),
    b"SIMPLE  =": Other("a FITS picture"),
    b"\xd7\xcd\xc6\x9a": Other("a Windows metafile"),
    b"%!PS": Other("a PostScript picture"),
    b"\xc5\xd0\xd3\xc6": Other("a PostScript picture"),
    b"AT&TFORM": Other("a DjVu document"),
    b"IIRO": _RAW,
    b"IIRS": _RAW,
    b"IIU\0": _RAW,
    b"FUJIFILMCCD-RAW": _RAW,
    b"FOVb": _RAW,
    b"%PDF": Other("a PDF document", False, "take the pictures out of it"),
    b"PK\3\4": _ARCHIVE,
    b"\x1f\x8b": _ARCHIVE,
    b"Rar!": _ARCHIVE,
    b"7z\xbc\xaf\x27\x1c": _ARCHIVE,
    b"BZh": _ARCHIVE,
    b"\xfd7zXZ": _ARCHIVE,
    b"\x28\xb5\x2f\xfd": _ARCHIVE,
    b"\x1a\x45\xdf\xa3": _VIDEO,
    b"FLV\1": _VIDEO,
    b"\0\0\1\xba": _VIDEO,
    b"ID3": _SOUND,
    b"OggS": _SOUND,
    b"version https://git-lfs": Other("a Git LFS pointer", False, "fetch the file itself with `git lfs pull`"),
}


def _brand(data: bytes) -> Other | None:
    """What an ISO base media file is (AVIF is known before this is asked)."""
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(int.from_bytes(data[:4], "big"), 256), 4))}
    if b"crx " in brands:
        return _RAW
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return Other("an HEIC picture")
    return _VIDEO


_SPACE = b" \t\r\n\v\f\xef\xbb\xbf"
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def _text(data: bytes) -> Other | None:
    """The kind of text, if it is one."""
    start = data[:512]
    if _CONTROL.search(start):
        return None
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # else a letter is cut in two
            return None
    words = start.lstrip(_SPACE).lower()
    if b"<svg" in words:
        return Other("an SVG drawing")
    if words.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")) or b"<html" in words:
        return Other("an HTML page", False, "the server sent it in place of a picture: download it again")
    if words.startswith(b"<?xml"):
        return Other("an XML file", False)
    if words.startswith((b"{", b"[")):
        return Other("a JSON file", False)
    return Other("a text file", False) if words else Other("nothing but blanks", False, "download or copy it again")
