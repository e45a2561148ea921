"""CIFAR-10 and CIFAR-100 on small files of their format, and colour images on their way to a learner."""

import functools
import hashlib
import http.server
import pickle
import shutil
import tarfile
import threading

import numpy as np
import pytest
import torch

from metalearn_lite.data import FewShotDataset
from metalearn_lite.data.cifar import CIFAR_FS_TEST, CIFAR_FS_VAL, cifar10, cifar100
from metalearn_lite.episodes import BatchSampler, EpisodeSampler
from metalearn_lite.nets import Conv4
from metalearn_lite.transfer import NearestCentroid, shift_and_rotate

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
OTHERS = [f"training class {i:02}" for i in range(64)]
HUNDRED = sorted([*CIFAR_FS_VAL, *CIFAR_FS_TEST, *OTHERS])
SHAPES = {"CIFAR10": (10, 6), "CIFAR100": (100, 3)}     # classes, and images of a class, the last one for testing


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def image(label, number):
    """An image of a class as CIFAR stores it: 3,072 bytes, the red ones first."""
    return np.random.default_rng([label, number]).integers(0, 256, 3072, dtype=np.uint8)


def make_files(folder, kind):
    """The files of CIFAR-10 or CIFAR-100, few images in each, in no order of classes; the MD5 sum of each."""
    classes, per_class = SHAPES[kind]
    key = "labels" if kind == "CIFAR10" else "fine_labels"
    numbers = {"train": [0, 1], "test": [2]}                # which images of each class lie in which file
    if kind == "CIFAR10":
        numbers = {f"data_batch_{i + 1}": [i] for i in range(5)} | {"test_batch": [5]}
    order = [np.random.default_rng(number).permutation(classes).tolist() for number in range(per_class)]
    parts = {name: [(label, i) for i in inside for label in order[i]] for name, inside in numbers.items()}
    contents = {name: {"data": np.stack([image(*which) for which in part]), key: [n for n, _ in part]}
                for name, part in parts.items()}
    if kind == "CIFAR10":
        contents["batches.meta"] = {"label_names": TEN}
    else:
        contents["meta"] = {"fine_label_names": HUNDRED}
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in contents}


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(params=list(SHAPES))
def served(request, tmp_path, monkeypatch):
    """The archive served on loopback as torchvision's source, with the MD5 sums of its small files made known to it."""
    kind = request.param
    source = getattr(pytest.importorskip("torchvision.datasets"), kind)
    server = tmp_path / "server"
    sums = make_files(server / source.base_folder, kind)
    archive = server / source.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(server / source.base_folder, source.base_folder)
    monkeypatch.setattr(source, "train_list", [[name, sums[name]] for name, _ in source.train_list])
    monkeypatch.setattr(source, "test_list", [[name, sums[name]] for name, _ in source.test_list])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": sums[source.meta["filename"]]})
    monkeypatch.setattr(source, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    handler = functools.partial(QuietHandler, directory=server)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(source, "url", f"http://127.0.0.1:{web.server_port}/{source.filename}")
        yield kind, {"CIFAR10": cifar10, "CIFAR100": cifar100}[kind], server, source
        web.shutdown()


def check(dataset, kind):
    classes, per_class = SHAPES[kind]
    names = TEN if kind == "CIFAR10" else HUNDRED
    assert dataset.items.shape == (classes, per_class, 3, 32, 32) and dataset.items.dtype == torch.uint8
    assert dataset.class_names == dataset.group_names == names and dataset.groups.tolist() == list(range(classes))
    assert repr(dataset) == (f"FewShotDataset: {classes} classes x {per_class} images of 3x32x32, {classes} groups")
    for label, number in ((0, 0), (classes - 1, per_class - 1), (3, 1)):
        assert np.array_equal(dataset.items[label, number].numpy().reshape(-1), image(label, number))
    if kind == "CIFAR10":
        assert dataset.splits == {}
        parts = dataset.with_random_splits(2, 2, seeded())
        assert [len(parts.split(name)) for name in ("train", "val", "test")] == [6, 2, 2]
    else:
        assert {name: dataset.split(name).class_names for name in ("train", "val", "test")} == {
            "train": OTHERS, "val": list(CIFAR_FS_VAL), "test": list(CIFAR_FS_TEST)}


def test_by_torchvisions_download(served, tmp_path):
    kind, load, server, source = served
    check(load(tmp_path / "root", download=True), kind)
    shutil.rmtree(server)                                   # the second call needs no network
    check(load(str(tmp_path / "root")), kind)


def test_from_a_folder_put_there_by_hand(served, tmp_path):
    kind, load, server, source = served
    shutil.copytree(server / source.base_folder, tmp_path / "root" / source.base_folder)
    check(load(tmp_path / "root"), kind)


def test_files_that_are_missing_or_damaged_or_cannot_be_had_say_what_to_do(served, tmp_path):
    kind, load, server, source = served
    with pytest.raises(RuntimeError) as error:
        load(tmp_path / "root")
    for part in (str(tmp_path / "root" / source.base_folder), "not there, or not whole", "download=True", source.url,
                 f"unpack it in {tmp_path / 'root'}", f"{kind.lower()}(root)", "glyphs()"):
        assert part in str(error.value)
    (server / source.filename).unlink()
    with pytest.raises(RuntimeError, match="the download failed .*404.*in another way"):
        load(tmp_path / "root", download=True)
    shutil.copytree(server / source.base_folder, tmp_path / "root" / source.base_folder)
    (tmp_path / "root" / source.base_folder / source.train_list[0][0]).write_bytes(pickle.dumps({}))
    with pytest.raises(RuntimeError, match="not there, or not whole"):      # another MD5 sum: it is not unpickled
        load(tmp_path / "root")


def test_the_split_is_that_of_cifar_fs():
    assert (len(set(CIFAR_FS_VAL)), len(set(CIFAR_FS_TEST))) == (16, 20) and not set(CIFAR_FS_VAL) & set(CIFAR_FS_TEST)


def test_colour_images_reach_the_learner():
    items = torch.randint(256, (6, 5, 3, 32, 32), generator=seeded(), dtype=torch.uint8)
    dataset = FewShotDataset(items)
    draw = EpisodeSampler(dataset, 3, 2, 1, 4, seeded(1))
    classes, numbers = EpisodeSampler(dataset, 3, 2, 1, 4, seeded(1)).draw_indices()
    episode = draw()
    assert episode.support_x.shape == (4, 6, 3, 32, 32) and episode.support_x.dtype == torch.float32
    assert episode.query_x.shape == (4, 3, 3, 32, 32)
    for task in range(4):
        for n in range(3):
            expected = items[classes[task, n], numbers[task, n]] / 255
            assert torch.allclose(episode.support_x[task, 2 * n : 2 * n + 2], expected[:2])
            assert torch.allclose(episode.query_x[task, n], expected[2])
    batch = BatchSampler(dataset, 20, seeded(), shift_and_rotate)()
    assert batch.x.shape == (20, 3, 32, 32) and 0 <= batch.x.min() and batch.x.max() <= 1
    net = Conv4(4, generator=seeded(), channels=3)
    logits = NearestCentroid(net)(episode.support_x, episode.support_y, episode.query_x)
    assert logits.shape == (4, 3, 3) and torch.isfinite(logits).all()
    assert dataset.subset([4, 1]).items.shape == (2, 5, 3, 32, 32)
    for shape in ((6, 5, 1, 32, 32), (6, 5, 4, 32, 32), (6, 5, 32, 32, 3)):
        with pytest.raises(ValueError, match=r"expected \(C, P, H, W\) for uint8 images, or \(C, P, 3, H, W\)"):
            FewShotDataset(torch.zeros(shape, dtype=torch.uint8))
