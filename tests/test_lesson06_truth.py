"""Lesson 06: references against the library and scikit-learn; and what its text claims."""
import math
import re
import sys
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from metalearn_lite import data, drawpad, metric, nets, pairs
from metalearn_lite.check import lesson06
from metalearn_lite.evaluate import embed_dataset

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import lessons  # noqa: E402

contrastive, auc, batch_hard, prototypes, proto_linear, partners = (exercise.reference for exercise in (
    lesson06.contrastive, lesson06.auc, lesson06.batch_hard, lesson06.prototypes, lesson06.proto_linear,
    lesson06.partners))
CELLS = [cell.source for cell in lessons.read_script(ROOT / "solutions" / "06_siamese_networks.py").cells]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def cell(beginning):
    (found,) = [source for source in CELLS if beginning in source]
    return found


# ------------------------------------------------------------------------------------------- the references


@pytest.mark.parametrize("margin", [0.5, 2.0, 4.0])
def test_contrastive_is_the_librarys(margin):
    a, b, same = draw(40, 3), draw(40, 3, seed=1), (torch.arange(40) % 2).double()
    assert contrastive(a, b, same, margin).item() == pytest.approx(pairs.contrastive_loss(a, b, same, margin).item())


def test_contrastive_has_a_gradient_where_a_pair_coincides():
    a = draw(4, 3).requires_grad_()
    contrastive(a, a.detach().clone(), torch.tensor([1.0, 0.0, 1.0, 0.0]).double(), 1.0).backward()
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("digits", [1, 6])
def test_auc_is_scikit_learns(digits):
    same = (torch.rand(300, generator=seeded(1)) < 0.3).double()
    dist = (draw(300).abs() + 0.5 * (1 - same)).round(decimals=digits)  # one digit: many ties
    assert auc(dist, same).item() == pytest.approx(roc_auc_score(same.numpy(), -dist.numpy()), abs=1e-12)


def test_batch_hard_takes_the_librarys_triplets():
    z, y = draw(12, 4), torch.arange(4).repeat(3)
    anchor, positive, negative = pairs.batch_hard(z[None], y[None])
    far, near = batch_hard(z, y)
    assert torch.allclose(far, (z[anchor] - z[positive]).norm(dim=1))
    assert torch.allclose(near, (z[anchor] - z[negative]).norm(dim=1))


def test_batch_hard_has_a_gradient():
    z = draw(8, 3)
    z[1] = z[0]  # two drawings at one point
    z.requires_grad_()
    F.softplus(torch.sub(*batch_hard(z, torch.arange(4).repeat_interleave(2)))).mean().backward()
    assert torch.isfinite(z.grad).all()


def test_prototypes_are_the_librarys():
    y = torch.tensor([2, 0, 1, 1, 0, 2, 2])
    z = draw(7, 5)
    assert torch.allclose(prototypes(z, y, 3), metric.prototypes(z[None], y[None], 3)[0])


def test_a_prototypical_network_is_a_linear_classifier():
    z, c = draw(50, 6), draw(4, 6, seed=1)
    W, b = proto_linear(c)
    logits = metric.prototypical_logits(c[None], torch.arange(4)[None], z[None])[0]
    assert (F.linear(z, W, b).softmax(1) - logits.softmax(1)).abs().max() < 1e-10
    assert torch.allclose(F.linear(z, W, b) - logits, z.square().sum(1, keepdim=True).expand(50, 4))


# ------------------------------------------------------------------------------------------- what the text claims


def test_found_pairs_are_perfect_for_a_network_that_knows_nothing():
    letters = data.glyphs().split("val").subset(list(range(40)))
    items = embed_dataset(nets.Conv4(8, generator=seeded()), letters).items
    a = torch.stack([torch.randint(40, (400,), generator=seeded(1)), torch.randint(20, (400,), generator=seeded(2))], 1)
    same = (torch.arange(400) % 2 == 0).double()
    score = {name: auc(pairs.distance(items[a[:, 0], a[:, 1]], items[b[:, 0], b[:, 1]]), same).item() for name, b in
             (("found", lesson06.partners.start(a, 40, 20, 3)), ("repaired", partners(a, 40, 20, 3)))}
    assert score["found"] == 1 and 0.5 < score["repaired"] < 0.9


def test_numbers_of_the_text():
    assert round(100 * 0.99 ** 19) == 83  # the guess on twenty letters
    assert 0.01 * 999 == pytest.approx(10, abs=0.1) and 0.99 / (0.99 + 9.99) == pytest.approx(0.09, abs=0.005)  # the door
    assert 0.9 ** (1 / 19) == pytest.approx(0.9945, abs=5e-5)
    assert 0.999 ** 9999 == pytest.approx(0.00005, abs=1e-5)
    d, same = torch.tensor([1.0, 3, 2, 3]), torch.tensor([1.0, 1, 0, 0])
    assert auc(d, same) == 2.5 / 4  # the example of exercise 2
    assert auc(torch.tensor([1.0, 2, 2, 5, 6]), torch.tensor([1.0, 1, 0, 0, 0])).item() == pytest.approx(5.5 / 6)

    def pay(distance, same):
        return contrastive(torch.zeros(1, 1), torch.tensor([[distance]]), torch.tensor([same]), 1.0).item()

    assert [pay(*p) for p in ((0.5, 1.0), (0.5, 0.0), (3.0, 0.0), (0.8, 0.0), (1.2, 0.0), (0.8, 1.0))] == pytest.approx(
        [0.125, 0.125, 0, 0.02, 0, 0.32], abs=1e-6)
    letters = torch.arange(3).repeat_interleave(2)
    for z in (torch.zeros(6, 2), F.one_hot(letters, 3).float()):  # one point; a point for each letter: both cost nothing
        assert contrastive(z[0::2], z[1::2], torch.ones(3), 1.0).item() == pytest.approx(0, abs=1e-6)
    assert 800 * 64 / (500 * 64) == 1.6  # lesson 04's images against these
    W, b = proto_linear(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    assert W.tolist() == [[2, 0], [0, 4]] and b.tolist() == [-1, -4]
    assert (W @ torch.ones(2) + b).tolist() == [1, 0]


def test_accuracy_among_n_is_the_mean_of_p_to_the_power():
    """Rivals drawn one after the other: simulated, and not the power of the mean."""
    p = torch.rand(200_000, generator=seeded(), dtype=torch.float64) ** 0.1
    won = (torch.rand(200_000, 19, generator=seeded(1), dtype=torch.float64) < p[:, None]).all(1).double().mean()
    assert won == pytest.approx(p.pow(19).mean().item(), abs=0.005)
    assert won > p.mean() ** 19 + 0.05


def test_no_rival_twice_counts_the_draws_without_a_winner():
    """Section 4's last column: of 243 others `better` are nearer than the own letter; draw `way - 1`, none of them."""
    space = {"torch": torch, "w": (243 - torch.arange(0, 243, 20).double()) / 243}
    loop = re.search(r"    no_repeats = .*?clamp\(min=0\)\n", cell("def chances"), re.DOTALL)[0]
    for way in (2, 20, 100):
        exec("if True:\n" + loop, space | {"way": way}, found := {})
        expected = [math.comb(243 - better, way - 1) / math.comb(243, way - 1) for better in range(0, 243, 20)]
        assert found["no_repeats"].tolist() == pytest.approx(expected, abs=1e-12)


def test_where_all_is_one_point_the_hardest_triplets_cost_ln_2_and_pull_nowhere():
    z = torch.ones(8, 3, dtype=torch.float64, requires_grad=True)
    loss = F.softplus(torch.sub(*batch_hard(z, torch.arange(4).repeat_interleave(2)))).mean()
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2)) and z.grad.abs().max() == 0


def test_a_temperature_changes_no_answer_and_a_softmax_cannot_refuse():
    logits = draw(100, 5)
    for T in (0.1, 3.0):
        assert torch.equal((logits / T).argmax(1), logits.argmax(1))
        assert torch.allclose((logits / T).softmax(1).sum(1), torch.ones(100).double())


def test_matching_by_hand_is_the_librarys():
    space = {"torch": torch, "F": F}
    exec(re.search(r"def matching.*?labels\n", cell("def matching"), re.DOTALL)[0], space)
    sz, sy, qz = draw(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]), draw(5, 4, seed=1)
    library = metric.MatchingNetwork(torch.nn.Identity())(sz[None], sy[None], qz[None])[0].exp()
    assert torch.allclose(space["matching"](sz, sy, qz, 3), library)


# ------------------------------------------------------------------------------------------- the draw pad's answer


@pytest.fixture
def answer():
    """The lesson's own `answer`, on pixels instead of a network."""
    proto = type("proto", (), {"embed": staticmethod(lambda x: x.flatten(1))})
    space = {"torch": torch, "math": math, "checked_prototypes": prototypes, "TAU": 50.0, "proto": proto}
    exec(cell("def answer(examples, query)"), space)
    return space["answer"]


def bar(column):
    image = torch.zeros(28, 28, dtype=torch.uint8)
    image[4:24, column:column + 3] = 255
    return image


def test_the_pads_answer(answer):
    similarities, text = answer([(bar(3), 0), (bar(12), 3)], bar(12))
    assert text == "D" and similarities[3] == 1 and 0 < similarities[0] < 0.5
    assert [math.isnan(s) for s in similarities] == [False, True, True, False, True]
    assert answer([(bar(3), 0), (bar(12), 3)], bar(22))[1] == "none of these"
    one, two = (answer([(bar(12), 1), (bar(3), 0)] + more, bar(5))[0][0] for more in ([], [(bar(7), 0)]))
    assert two != one  # a second example moves the prototype


def test_the_pads_answer_is_taken_by_the_pad(answer):
    pad = drawpad.DrawPad(answer, ("A", "B", "C", "D", "E"))
    for name, symbol in (("Tamil ta", 0), ("Cyrillic zhe", 1)):
        pad.keep(pad.sample(name), symbol)
    similarities, text = pad.ask(pad.sample("Tamil ta"))
    assert text in ("A", "B", "none of these") and len(similarities) == 5
