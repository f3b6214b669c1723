"""Columns of one's own: how they are read and matched, what they do to a training, tools/table.py."""

import numpy as np
import pytest

import urnet
from tests.helpers.tiny_stages import actions, plan, recipe_of, train
from tests.helpers.tiny_training import write_images
from tools import table as tool
from urnet.checkpoints.checkpoint import read_weights
from urnet.core import cli
from urnet.core.checks import InputError
from urnet.data.lists.path_values import read_path_values
from urnet.pipeline.own_columns import add_column, built_table

PLAIN = ("stages.class.balance=0", "stages.class.reweight=null", "stages.class.loss_weight=[]")
WEIGHED = (*PLAIN, "stages.class.loss_weight=[mine]")


@pytest.fixture
def images(tmp_path):
    write_images(tmp_path)
    return tmp_path


def run_of(images, name, *overrides):
    """A recipe of one stage of four steps whose run has this name."""
    folder = images / name
    folder.mkdir(exist_ok=True)
    return recipe_of(images, folder, *PLAIN, *overrides, stages=())


def weights_of(recipe):
    (result,) = train(recipe)
    return read_weights(result.folder / "final")


def paths_of(table):
    return table.strings("path", range(table.n_rows))


# --- what a row's weight does


def test_rows_weigh_what_the_column_says(images):
    plain = weights_of(run_of(images, "plain"))
    recipe = run_of(images, "two", *WEIGHED)
    table = built_table(recipe)
    add_column(table, "mine", np.full(table.n_rows, 2.0))
    trained = weights_of(recipe)  # a loss is a weighted mean: twice is the same
    for name, values in plain.items():
        np.testing.assert_array_equal(trained[name], values, err_msg=name)

    table = built_table(run_of(images, "less", *WEIGHED))
    weight = dict(zip(paths_of(table), 1.0 + np.arange(table.n_rows) % 3, strict=True))
    unsure = paths_of(table)[::5]
    weight.update(dict.fromkeys(unsure, 0))
    add_column(table, "mine", weight)
    trained = weights_of(run_of(images, "less", *WEIGHED))
    assert any((trained[name] != values).any() for name, values in plain.items())

    listed = (images / "train.txt").read_text().splitlines()  # the labels of rows without weight teach nothing
    turned = [f"{path} {(int(label) + 1) % 3 if path in unsure else label}" for path, label in map(str.split, listed)]
    (images / "train.txt").write_text("\n".join(turned) + "\n")
    recipe = run_of(images, "turned", *WEIGHED)
    add_column(built_table(recipe), "mine", weight)
    for name, values in weights_of(recipe).items():
        np.testing.assert_array_equal(trained[name], values, err_msg=name)


def test_another_column_trains_again_and_replace_keeps_it(images, capsys):
    recipe = run_of(images, "run", *WEIGHED)
    with pytest.raises(InputError, match=r"no column 'mine'; .*\(tools/table.py --column mine=FILE adds your own"):
        train(recipe)
    table = built_table(recipe)
    built = (table.folder / "base.arrow").stat()
    weight = add_column(table, "mine", np.arange(table.n_rows))
    train(recipe)
    assert (table.folder / "base.arrow").stat() == built
    assert actions(recipe) == {"class": "keep"}
    add_column(table, "mine", weight)
    assert actions(recipe) == {"class": "keep"}
    add_column(table, "mine", weight[::-1])
    action, why = plan(recipe)["class"]
    assert action == "again" and "column mine, which it trains with, would differ" in why
    assert actions(recipe, replace=True) == {"class": "again"}
    again = built_table(recipe, replace=True)
    np.testing.assert_array_equal(again.column("mine"), weight[::-1])
    listed = (images / "train.txt").read_text().splitlines(True)
    fewer = [line.replace(" 0", " 1") for line in listed[3:]]  # images gone, others with another label
    (images / "train.txt").write_text("".join(fewer))
    with pytest.raises(InputError, match="61 training images then, 58 now"):
        built_table(recipe)
    assert actions(recipe, replace=True) == {"class": "again"}
    again = built_table(recipe, replace=True)
    np.testing.assert_array_equal(again.column("mine"), weight[::-1][3:])
    (images / "train.txt").write_text("".join(listed))
    capsys.readouterr()
    with pytest.raises(InputError, match="no column 'mine'"):
        train(recipe, replace=True)
    assert "column mine was removed, as it has no value for some of the current images" in capsys.readouterr().err
    assert urnet.Table.open(again.folder).n_rows == 58  # all is as it was


# --- how values find their rows


def test_arrays_mappings_and_files_give_the_same(images, capsys):
    table = built_table(run_of(images, "run"))
    paths, weight = paths_of(table), np.random.default_rng(0).random(table.n_rows)
    lines = [f"{name},{value}\n" for name, value in zip(paths, weight, strict=True)]
    (images / "w.csv").write_text("path,weight\n" + "".join(lines[::-1]))
    absolute = dict(zip(table.paths(range(table.n_rows)), weight, strict=True))
    expected = weight.astype(np.float32)
    for values in (weight, weight.tolist(), dict(zip(paths, weight, strict=True)), absolute, str(images / "w.csv")):
        np.testing.assert_array_equal(add_column(table, "mine", values), expected)
        assert (table.column("mine") == expected).all() and table.file_of("mine") == "mine"
    assert capsys.readouterr().err == ""
    add_column(table, "mine", {paths[0]: 3, "val/000.png": 2}, missing=0)
    assert table.column("mine").tolist() == [3] + [0] * (table.n_rows - 1)
    add_column(table, "mine", {paths[0]: 0.25}, missing=1)  # a whole number makes no whole numbers of the others
    assert table.column("mine").tolist() == [0.25] + [1] * (table.n_rows - 1)
    said = capsys.readouterr().err
    assert "1 path of 2 is not in the table and is ignored; the first: 'val/000.png'" in said
    assert f"60 rows of 61 have no value of mine, the first {paths[1]!r}; they get 0" in said


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("mine", np.ones(60), r"found float64 \(60,\); a number per row is accepted, \(61,\)"),
        ("mine", np.full(61, "1"), r"found <U1 \(61,\)"),
        ("mine", np.where(np.arange(61) == 7, np.nan, 1), r"found nan in row 7 \(train/007.png\); finite weights of 0"),
        ("mine", np.where(np.arange(61) == 7, -1, 1), "found -1 in row 7"),
        ("mine", np.full(61, 1e39), "found 1e.39 in row 0"),
        ("mine", np.zeros(61), "all weights are 0"),
        (
            "mine",
            {"train/000.png": 1},
            "60 rows of 61 have no value of mine, the first 'train/001.png'; each row needs one",
        ),
        ("mine", {"train/000.png": None}, "a number for each path"),
        ("mine", "nowhere.csv", "nowhere.csv: cannot be read"),
        ("Mine", np.ones(61), "small letters, digits and _"),
        ("label", np.ones(61), "a run writes this name itself; choose another, such as my_label"),
        ("class_weight", np.ones(61), "a run writes this name itself"),
        ("bag", np.ones(61), "a run writes this name itself"),
    ],
)
def test_one_line_for_what_is_no_column(images, name, values, message):
    table = built_table(run_of(images, "run"))
    with pytest.raises(InputError, match=message):
        add_column(table, name, values)
    assert table.files == ()


def write(folder, text, **how):
    (folder / "w.csv").write_text(text, **how)
    return folder / "w.csv"


@pytest.mark.parametrize(
    "text",
    [
        "path,weight\na.jpg,1\nb c.jpg,.5\n",
        "weight;label;Image_Path\n1;cat;a.jpg\n5e-1;dog;b c.jpg",
        '\ufefffilename\tother\tmine\r\n"a.jpg"\tx\t1.0\r\n\r\n# said\t1\r\nb c.jpg\t"y"\t0.5\r\n',
        "mine,weight,path\n1,7,a.jpg\n0.5,7,b c.jpg\n",
        "path,score\n{root}/a.jpg,1\nd.jpg\nb c.jpg,0.5,\n",
    ],
)
def test_ways_to_write_a_csv(tmp_path, text):
    found = read_path_values(write(tmp_path, text.replace("{root}", str(tmp_path))), tmp_path, "mine", block_bytes=16)
    assert found.paths.to_pylist() == ["a.jpg", "b c.jpg"]
    assert found.values.tolist() == [1, 0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,1\n", r"w.csv:1: found 'a.jpg,1'; a first line that names the columns is accepted: `path,mine`"),
        ("path\na.jpg\n", "w.csv:1: found 'path'"),
        ("path,score,other\na.jpg,1,2\n", "w.csv:1: has no column 'mine'; nearest: score, other"),
        ("path,mine,mine\na.jpg,1,2\n", "names column 'mine' twice"),
        ("path,mine\n\na.jpg,high\n", r"w.csv:3: mine 'high' is not a number, in 'a.jpg,high'"),
        ("path,mine\na.jpg\n", "holds no image with a value"),
        ("path,mine\n,1\n", "w.csv:2: no path"),
        ("path,mine\n../a.jpg,1\n", r"path '../a.jpg' leaves its folder"),
        ('path,mine\n"a.jpg,1\n', "quotes are around a field"),
        ("path,mine\n", "holds no image"),
        ("", "holds no image"),
    ],
)
def test_one_line_for_what_is_no_csv_of_values(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_path_values(write(tmp_path, text), tmp_path, "mine")


def test_a_path_with_two_values_is_refused(images):
    table = built_table(run_of(images, "run"))
    text = "path,mine\ntrain/000.png,1\ntrain/001.png,1\ntrain/000.png,{}\n"
    with pytest.raises(InputError, match=r"w.csv:4: 'train/000.png' has 2 here and 1 in line 2; one value is accepted"):
        add_column(table, "mine", write(images, text.format(2)), missing=1)
    add_column(table, "mine", write(images, text.format(1)), missing=0)
    assert table.column("mine").sum() == 2
    with pytest.raises(InputError, match=r"column mine: found nan in row 0 \(train/000.png\); finite weights of 0"):
        add_column(table, "mine", write(images, "path,mine\ntrain/000.png,nan\n"), missing=1)


def test_a_file_of_other_images_is_refused(images):
    """Else ``missing`` would be the weight of all, and the file of none."""
    table = built_table(run_of(images, "run"))
    with pytest.raises(
        InputError, match=r"none of its 2 paths is in the table; the first is 'a/0.png', the table's 't"
    ):
        add_column(table, "mine", {"a/0.png": 1, "a/1.png": 2}, missing=1)
    assert "mine" not in table.columns


# --- the command


def call(capsys, *arguments):
    try:
        code = cli.run(tool.main, [str(argument) for argument in arguments])
    except SystemExit as ended:  # argparse refuses
        code = ended.code
    return code, *capsys.readouterr()


def test_the_command_builds_adds_and_shows(images, capsys):
    recipe = run_of(images, "run", *WEIGHED)
    file = images / "run/stages.yaml"
    home = images / "run/out/tiny"
    code, out, _ = call(capsys, "-c", file)
    first = f"{home}/table: 61 rows, 3 classes, of {images}\n  base.arrow: path, label, source, query, rank, text\n"
    assert (code, out) == (0, first)
    csv = write(images, "path,weight\ntrain/000.png,0\ntrain/001.png,2\n")
    code, out, _ = call(capsys, "-c", file, "--column", f"mine={csv}", "--missing", 1)
    assert (code, out) == (0, first + "  mine.arrow: mine; 0 to 2, mean 1, 1 are 0\n")
    assert actions(recipe) == {"class": "run"}
    assert call(capsys, "-c", file, "--replace")[1] == out
    assert sorted(item.name for item in home.iterdir()) == [".lock", "table"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--column mine", "found 'mine'; NAME=FILE is accepted"),
        ("--column mine=nowhere.csv", "nowhere.csv: cannot be read"),
        ("--column path=nowhere.csv", "column 'path': a run writes this name itself"),
        ("--missing 1", "it needs --column NAME=FILE"),
        ("-o data.root=nowhere", "data.root: nowhere is not a folder"),
        ("-o model.name=ResNet5", "model.name: 'ResNet5' is not known"),
        ("-o stages.class.lr=1", "unknown key"),
    ],
)
def test_one_line_for_what_the_command_refuses(images, capsys, words, message):
    run_of(images, "run")
    code, out, err = call(capsys, "-c", images / "run/stages.yaml", *words.split())
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1
