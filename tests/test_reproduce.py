"""The reproduction table: each row runs on real Omniglot, its record says what it was, its verdict follows from the figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from metalearn_lite import reproduce
from metalearn_lite.data import omniglot

ROOT = Path(__file__).resolve().parent.parent
PACKED = ROOT.parent / "shared/data/omniglot/omniglot_full_28.npz"
needs_omniglot = pytest.mark.skipif(not PACKED.is_file(), reason="needs a packed Omniglot in ../shared/data")


@pytest.fixture(scope="module")
def letters():
    return omniglot(packed=PACKED)


@needs_omniglot
def test_the_split_is_of_1200_and_423_characters_with_their_rotations(letters):
    training, test = reproduce.random_characters(letters)
    assert (len(training), len(test)) == (4 * 1200, 4 * 423)
    assert not set(training.class_names) & set(test.class_names)
    assert not {name.split(",")[0] for name in training.class_names} & {name.split(",")[0] for name in test.class_names}
    assert len(set(training.group_names) & set(test.group_names)) > 40  # regardless of alphabet, as in the papers
    training, test = reproduce.from_glyphs(letters)
    assert len(training) == 765 and len(test) == 659


@needs_omniglot
@pytest.mark.parametrize("name", reproduce.ROWS)
def test_each_row_trains_and_tests(name, letters, monkeypatch):
    row = reproduce.ROWS[name]
    if name == "cross-domain":  # as it is, on every twentieth letter
        small, glyphs = letters.subset(range(0, 1623, 20)), reproduce.glyphs().subset(range(0, 1264, 20))
        monkeypatch.setattr(reproduce, "glyphs", lambda: glyphs)
    else:  # a small test set: embedding 33,840 images takes its time
        small = letters.subset(range(0, 1623, 3))
        monkeypatch.setattr(reproduce, "random_characters",
                            lambda data: (data.subset(range(100)), data.subset(range(100, 140)).with_rotations()))
    found = reproduce.run(name, small, seeds=[3], updates=1, episodes=20)
    assert found["updates"] == 1 and found["full"] == row.updates
    assert set(row.published) <= set(found["figures"]) and found["figures"]
    for runs in found["figures"].values():
        (mean, half), = runs
        assert 0 < mean <= 100 and 0 < half < 50


@needs_omniglot
def test_the_command_prints_and_records_and_the_table_reads_it(tmp_path, capsys):
    file = tmp_path / "runs.jsonl"
    for seed in ("0", "1"):
        reproduce.main(["maml-1shot", "--data", str(PACKED), "--updates", "1", "--episodes", "40", "--seeds", seed, "--device", "cpu",
                        "--record", str(file)])
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [r["seeds"] for r in records] == [[0], [1]]
    first = records[0]
    assert first["command"] == ("python -m metalearn_lite.reproduce maml-1shot --data DATA --updates 1 --episodes 40 --seeds 0 "
                                f"--device cpu --record {file}")
    assert len(first["commit"].split("-")[0]) >= 7 and first["device"].startswith("CPU") and first["processes"] == 1
    capsys.readouterr()
    reproduce.main(["table", str(file)])
    said = capsys.readouterr().out
    assert said.count("| maml-1shot | 5-way 1-shot | 98.7 ± 0.4 |") == 2 and "1 of 60,000" in said and "max-pooling" in said


def record(mean, half=0.2, what="5-way 1-shot", row="maml-1shot", updates=60_000):
    return dict(row=row, figures={what: [[mean, half], [mean, half]]}, seeds=[0, 1], updates=updates, full=60_000, episodes=1000,
                minutes=1.0, cpu_minutes=2.0, command="c", commit="abc", device="d", processes=1, torch="t", python="p", date="2026-01-01")


def test_the_verdict_follows_from_the_figures():
    inside, touching, above, short = (reproduce.table([r]) for r in (record(98.4), record(98.2), record(99.5),
                                                                     record(90.0, updates=6_000)))
    assert "inside the paper's interval" in inside and "98.4 (98.4 ± 0.2, 98.4 ± 0.2)" in inside
    assert "the intervals overlap" in touching and "inside" not in touching
    assert "+0.8 points |" in above
    assert "-8.7 points, after 10 % of a full run" in short
    assert "no figure to compare with" in reproduce.table([record(90.0, what="another")])


def test_omniglot_is_fetched_unless_it_is_there(tmp_path, monkeypatch):
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "omniglot", lambda *a, **k: asked.append((a, k)) or 1 / 0)
    for arguments in ([], ["--data", "here"]):
        with pytest.raises(ZeroDivisionError):
            reproduce.main(["maml-1shot", *arguments])
    assert asked == [((Path("omniglot"),), {"download": True}), ((Path("here"),), {"download": True})]


def test_what_is_missing_is_said(capsys):
    for arguments, words in ((["table"], "FILE"), (["alchemy"], "invalid choice")):
        with pytest.raises(SystemExit):
            reproduce.main(arguments)
        assert words in capsys.readouterr().err


@needs_omniglot
@pytest.mark.slow
def test_torchrun_trains_one_learner_on_two_processes(tmp_path):
    file = tmp_path / "runs.jsonl"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
         "metalearn_lite.reproduce", "maml-1shot", "--data", str(PACKED), "--updates", "2", "--episodes", "40", "--seeds", "0",
         "--device", "cpu", "--checkpoint", str(tmp_path / "run"), "--record", str(file)],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (line,) = file.read_text().splitlines()  # process 0 alone writes
    assert json.loads(line)["processes"] == 2
    assert len(torch.load(tmp_path / "run.maml-1shot.0.pt", weights_only=True)["loss"]) == 2
