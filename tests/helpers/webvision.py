"""Tiny data sets in the layouts that recipes name: WebVision 2.0 and 1.0 with all their files, folder trees.

Three classes whose brightness tells them apart, with a few wrong labels; WebVision's titles name a class too.
"""

import json
from pathlib import Path

import cv2
import numpy as np

N_CLASSES = 3
WORDS = ("one", "two", "three")  # of the classes, in synsets.txt
QUERIES = {number: (number - 1) % N_CLASSES for number in range(1, 10)}  # number -> label


def write_lists(root: Path, version: int = 2, queries: dict[int, int] | None = None, seed: int = 0) -> list:
    """A small WebVision folder without images; returns its rows as the table must hold them. ``queries``: to label."""
    rng = np.random.default_rng(seed)
    queries = queries or {1: 0, 2: 0, 3: 1, 4: 2}
    digits, first, rows = (5, 0, []) if version == 2 else (4, 1, [])
    texts: dict[str, list[str]] = {
        "info/synsets.txt": ["n00000001 one, first", "n00000002 two", "n00000003 three"],
        "info/queries_synsets_map.txt": [f"{query} {label + first}" for query, label in queries.items()],
        "info/val_filelist.txt": ["val000001.jpg 2", "val000002.jpg 0"],
    }
    for name in ("queries.txt",) if version == 2 else ("queries_google.txt", "queries_flickr.txt"):
        texts[f"info/{name}"] = [f"query {query}" for query in queries]
    for engine in ("google", "flickr"):
        listed = texts[f"info/train_filelist_{engine}.txt"] = []
        where = texts[f"info/train_meta_list_{engine}.txt"] = []
        folder = f"{engine}_images_resized" if version == 2 else engine
        for query, label in queries.items():
            entries, n = [], int(rng.integers(1, 6))
            for i in range(n):
                name = f"{engine[0]}{query}x{i}"
                title, tags = f"title {rng.integers(9)} ü", ["nice", "old boat"][: rng.integers(3)]
                entry = {"id": name, "title": title, "description": None if i % 2 else "more"}
                if engine == "flickr":
                    entry["tags"] = tags if version == 1 else " ".join(tags)
                entries.append(entry)
            name = f"{engine}/q{query:0{digits}d}.json"
            texts[name] = [json.dumps(entries)]
            for i in sorted(rng.choice(n, rng.integers(1, n + 1), replace=False).tolist()):
                entry = entries[i]
                path = f"{folder}/q{query:0{digits}d}/{entry['id']}.jpg"
                parts = [entry["title"], entry["description"], entry.get("tags")]
                parts = [" ".join(part) if isinstance(part, list) else part for part in parts]
                text = "\n".join(part for part in parts if part)
                listed.append(f"{path} {label}")
                where.append(f"{name} {i + 1}")
                rows.append((path, label, query, i, engine, text))
    for name, lines in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (root / ("val_images_resized" if version == 2 else "val_images_256")).mkdir(exist_ok=True)
    return rows


def write_web(root: Path, version: int) -> int:
    """A WebVision folder of three queries per class, images and all; returns its number of training rows."""
    rows = write_lists(root, version, QUERIES)
    rng = np.random.default_rng(0)
    for path, label, *_ in rows:
        write_image(root / path, int(rng.integers(N_CLASSES)) if rng.random() < 0.2 else label, rng)
    validation = root / ("val_images_resized" if version == 2 else "val_images_256")
    for line in (root / "info" / "val_filelist.txt").read_text().splitlines():
        name, label = line.split()
        write_image(validation / name, int(label), rng)
    for engine in ("google", "flickr"):
        for file in (root / engine).glob("q*.json"):
            _name_classes(file, QUERIES[int(file.stem[1:])], rng)
    return len(rows)


def write_folders(root: Path, n: int = 12) -> int:
    """root/train and root/val, a sub-folder per class; returns the number of training images."""
    rng = np.random.default_rng(1)
    for label, word in enumerate(WORDS):
        for i in range(n):
            shown = (label + 1) % N_CLASSES if i % 5 == 4 else label
            write_image(root / "train" / word / f"{i}.jpg", shown, rng)
        write_image(root / "val" / word / "0.jpg", label, rng)
    return n * N_CLASSES


def write_listed(root: Path, folders: Path) -> int:
    """ImageNet's lists over the images of ``write_folders``; returns the number of training images."""
    for part in ("train", "val"):
        paths = sorted((folders / part).glob("*/*.jpg"))
        lines = []
        for path in paths:
            label = WORDS.index(path.parent.name)
            lines.append(f"{part}/{path.parent.name}/{path.name} {label}\n")
            place = root / lines[-1].split()[0]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
        (root / f"{part}_list.txt").write_text("".join(lines))
    return len((root / "train_list.txt").read_text().splitlines())


def write_image(path: Path, label: int, rng: np.random.Generator) -> None:
    """40 x 36 noisy pixels, the brighter the higher the label."""
    image = rng.normal(60 + 60 * label, 30, (36, 40, 3)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def _name_classes(file: Path, label: int, rng: np.random.Generator) -> None:
    """Let the titles of a query's metadata name its class, or now and then another one."""
    entries = json.loads(file.read_text(encoding="utf-8"))
    for entry in entries:
        named = label if rng.random() < 0.8 else int(rng.integers(N_CLASSES))
        entry["title"] = f"{WORDS[named]}, {entry['title']}"
    file.write_text(json.dumps(entries), encoding="utf-8")
