"""The ways an image may be packed in a request's body: forms of all clients, JSON with base64, bytes as they are."""

from __future__ import annotations

import base64
import json
import re

import pytest

pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from tools.service.content import reader_of
from tools.service.refused import Refused

MOST = 5
DATA = bytes(range(256)) * 3  # every letter of base64, both `+` and `/`
TEXT = base64.b64encode(DATA).decode()


def images(body, kind="application/json"):
    """File names and bytes."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [(upload.file, upload.data) for upload in reader_of(kind)(body, MOST)]


def refusal(body, kind="application/json"):
    with pytest.raises(Refused) as caught:
        images(body, kind)
    return caught.value.status, caught.value.text


# --- JSON


@pytest.mark.parametrize(
    "write",
    [
        lambda text: text,
        lambda text: text.rstrip("="),
        lambda text: re.sub("(.{76})", "\\1\\r\\n", text),
        lambda text: f"\n {text}\n",
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: f"data:image/png;base64,{text}",
        lambda text: f" DATA:image/jpeg;charset=x;BASE64,{text}",
        lambda text: f"data:;base64,{text.rstrip('=')}\n",
    ],
)
def test_base64_is_read_however_it_is_written(write):
    for data in (DATA, DATA[1:], DATA[2:], b"a", b""):
        assert images({"image": write(base64.b64encode(data).decode())}) == [("", data)]


def test_json_has_one_image_or_several():
    other = base64.b64encode(b"other").decode()
    assert images({"image": TEXT}) == images({"images": [TEXT]}) == images({"images": TEXT}) == [("", DATA)]
    assert images({"images": [TEXT, f"data:image/png;base64,{other}"]}) == [("", DATA), ("", b"other")]
    assert images({"image": [other], "images": [TEXT, other]}) == [("", b"other"), ("", DATA), ("", b"other")]
    assert images({"image": ""}) == [("", b"")]
    text = json.dumps({"image": TEXT})
    for body in (
        text.replace("/", "\\/").encode(),
        text.encode("utf-8-sig"),
        text.encode("utf-16"),
        b"\r\n " + text.encode(),
    ):
        assert images(body) == [("", DATA)]
    for kind in ("Application/JSON", "application/json; charset=utf-8", "application/json ;charset=utf-8"):
        assert images(text.encode(), kind) == [("", DATA)]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"images": [TEXT, "ab!c"]}, 400, "images[1]: is not base64 text; found '!' in it"),
        ({"images": [TEXT, TEXT, "\u00e9abc"]}, 400, "images[2]: is not base64 text; found 'é' in it"),
        ({"image": "ab=cd"}, 400, "image: is not base64 text; found '=' in it"),
        (
            {"image": TEXT[:-3]},
            400,
            f"image: is not base64 text; {len(TEXT) - 3} characters are not possible, so its end is missing",
        ),
        ({"image": "data:image/png,abc"}, 400, "image: a data: URL without `;base64,`; base64 is accepted"),
        ({"image": "data:image/png;base64"}, 400, "image: a data: URL without `;base64,`; base64 is accepted"),
        ({"image": "http://x.example/cat.jpg"}, 400, "image: is not base64 text; found ':' in it"),
        ({"image": None}, 400, "image: found null; a base64 text is accepted"),
        ({"images": [TEXT, 7]}, 400, "images[1]: found a number; a base64 text is accepted"),
        ({"images": [[TEXT]]}, 400, "images[0]: found a list; a base64 text is accepted"),
        ({"images": {"0": TEXT}}, 400, "images: found an object; a base64 text is accepted"),
        ({"img": TEXT}, 400, "JSON: found a key 'img'; accepted: `image` or `images`"),
        (
            {"image": TEXT, "topk": 3},
            400,
            "JSON: found a key 'topk'; accepted: `image` or `images`; topk goes into the address:",
        ),
        ({}, 400, "JSON: holds no image; accepted: `image` or `images`"),
        ({"images": []}, 400, "JSON: holds no image; accepted: `image` or `images`"),
        ([TEXT], 400, "JSON: found a list; accepted: {"),
        (b'{"image": "a", "image": "b"}', 400, "JSON: cannot be read (a key is given twice)"),
        (b'{"image": "a"', 400, "JSON: cannot be read (Expecting"),
        (b"", 400, "JSON: cannot be read ("),
        (b"\xff\xd8\xff\xe0", 400, "JSON: cannot be read ("),
        (b"[" * 30, 400, "JSON: cannot be read ("),
        (b"1" * 9999, 400, "JSON: "),
        ({"images": [TEXT] * 6}, 413, "JSON: found 6; at most 5 images are accepted in a request"),
        (
            {"images": [TEXT] * 99},
            413,
            "JSON: has more lists and commas than images need; at most 5 images are accepted",
        ),
        (b"[" * 10**6, 413, "JSON: has more lists and commas than images need"),
        (b'{"images": [' + b"{}," * 10**6 + b"{}]}", 413, "JSON: has more lists and commas than images need"),
    ],
)
def test_other_json_is_refused_and_a_bad_image_is_named_by_its_place(body, status, said):
    found, text = refusal(body)
    assert (found, text[: len(said)]) == (status, said)


# --- forms

KIND = "multipart/form-data; boundary=XX"


def part(headers, data=DATA):
    return b"--XX\r\n" + headers.encode() + b"\r\n\r\n" + data + b"\r\n"


def form_of(*parts):
    return b"".join(parts) + b"--XX--\r\n"


@pytest.mark.parametrize(
    "field", ["image", "images", "file", "files", "image[]", "images[]", "file[]", "files[]", "files[0]", "images[12]"]
)
def test_a_field_has_one_of_the_usual_names(field):
    body = form_of(*(part(f'Content-Disposition: form-data; name="{field}"; filename="{name}"') for name in "ab"))
    assert images(body, KIND) == [("a", DATA), ("b", DATA)]


@pytest.mark.parametrize("field", ["img", "picture", "File", "image[", "image[x]", "images2", "", "image "])
def test_another_field_is_refused_with_those_that_are_accepted(field):
    good = part('Content-Disposition: form-data; name="image"')
    body = form_of(good, part(f'Content-Disposition: form-data; name="{field}"'))
    accepted = "accepted: `image`, `images`, `file` or `files`, each also with []"
    assert refusal(body, KIND) == (400, f"form: found a field {field!r}; {accepted}")


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('filename="a b.jpg"', "a b.jpg"),
        ('filename="é 图.jpg"', "é 图.jpg"),
        ("filename*=UTF-8''%C3%A9%20%E5%9B%BE.jpg", "é 图.jpg"),
        ("filename*=utf-8'en'%C3%A9.jpg", "é.jpg"),
        ("filename*=iso-8859-1''%E9.jpg", "é.jpg"),
        ("filename=\"=?utf-8?B?w6kuanBn?=\"; filename*=utf-8''%C3%A9.jpg", "é.jpg"),
        ("filename=\"plain.jpg\"; filename*=klingon''x", "plain.jpg"),
        ('filename="a;b=c.jpg"', "a;b=c.jpg"),
        ('filename="a\\"b.jpg"', 'a"b.jpg'),
        ('filename="C:\\dir\\cat.jpg"', "cat.jpg"),
        ("filename=cat.jpg", "cat.jpg"),
        ('filename=""', ""),
        ("x=y", ""),
    ],
)
def test_a_file_s_name_is_read_as_clients_write_it(written, name):
    assert images(form_of(part(f'content-disposition: form-data; name="file"; {written}')), KIND) == [(name, DATA)]


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("base64", base64.encodebytes(DATA)),
        ("BASE64", TEXT.encode()),
        ("binary", DATA),
        ("8bit", DATA),
        ("quoted-printable", b"".join(b"=%02X" % byte for byte in DATA)),
    ],
)
def test_a_part_may_have_an_encoding_of_its_own(encoding, data):
    head = f'Content-Disposition: form-data; name="image"; filename="a"\r\nContent-Transfer-Encoding: {encoding}'
    assert images(form_of(part(head, data)), KIND) == [("a", DATA)]


def test_a_part_may_be_what_a_canvas_gives():
    head = 'Content-Disposition: form-data; name="image"'
    assert images(form_of(part(head, f"data:image/png;base64,{TEXT}".encode())), KIND) == [("", DATA)]
    bad = form_of(part(head), part(head, b"data:image/png;base64,a!"))
    assert refusal(bad, KIND) == (400, "form: image 1: is not base64 text; found '!' in it")


def test_a_form_of_thousands_of_fields_is_refused_at_the_first_too_many():
    head = 'Content-Disposition: form-data; name="image"'
    assert refusal(form_of(*[part(head, b"")] * 9999), KIND) == (
        413,
        "form: at most 5 images are accepted in a request",
    )
    status, text = refusal(form_of(part("\r\n".join(f"X-{i}: {i}" for i in range(99)))), KIND)
    assert status == 400 and text.startswith("form: damaged (")


# --- bytes as they are


@pytest.mark.parametrize("kind", ["image/png", "image/x-anything", "IMAGE/JPEG; a=b", "application/octet-stream"])
def test_any_image_type_is_taken_as_it_is(kind):
    assert images(DATA, kind) == images(DATA, "") == [("", DATA)]


@pytest.mark.parametrize("kind", ["", "application/x-www-form-urlencoded"])
def test_clients_that_were_not_told_the_type_are_understood(kind):
    """`curl --data-binary @cat.jpg`, `curl -d '{…}'`, `requests.post(url, data=…)`."""
    assert images(DATA, kind) == [("", DATA)]
    assert images(json.dumps({"image": TEXT}).encode(), kind) == [("", DATA)]
    for body in (b"image=abc&topk=3", b"", f"image={TEXT}".encode()):
        status, text = refusal(body, kind)
        assert status == 415 and text.endswith(
            "; accepted: multipart/form-data, application/json, image/* or application/octet-stream"
        )


@pytest.mark.parametrize("kind", ["text/plain", "application/pdf", "multipart/mixed; boundary=x", "json", "image"])
def test_other_types_are_refused(kind):
    status, text = refusal(DATA, kind)
    assert status == 415 and text.startswith(f"content type: found {kind!r}; accepted: multipart/form-data, ")
