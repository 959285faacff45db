import numpy as np
import pytest
import torch
from conftest import images
from numpy.linalg import eigvals

from diffusion_lib.data import Digits
from diffusion_lib.metrics import (
    DigitClassifier,
    Judge,
    frechet_distance,
    label_agreement,
    nearest_neighbours,
    table,
    wilson_interval,
    within_class_spread,
)
from diffusion_lib.training.checkpoints import load_classifier


def test_the_shipped_classifier_reads_mnist(mnist):
    accuracy = label_agreement(load_classifier(), *mnist["test"][:])
    assert accuracy >= 0.993


def test_frechet_distance_equals_its_formula():
    torch.manual_seed(0)
    classifier = DigitClassifier().eval()
    a, b = images(300, 1, 28, 28, dtype=torch.float32), images(300, 1, 28, 28, seed=1, dtype=torch.float32) * 0.7 + 0.2
    with torch.no_grad():
        f, g = (classifier.features(x).double().numpy() for x in (a, b))
    cov_f, cov_g = np.cov(f, rowvar=False), np.cov(g, rowvar=False)
    root = eigvals(cov_f @ cov_g).real.clip(0) ** 0.5  # the eigenvalues of the matrix root
    expected = ((f.mean(0) - g.mean(0)) ** 2).sum() + np.trace(cov_f + cov_g) - 2 * root.sum()
    assert frechet_distance(classifier, a, b) == pytest.approx(expected, rel=1e-2, abs=1e-4)
    assert frechet_distance(classifier, a, a) == pytest.approx(0, abs=1e-3)


def test_wilson_interval_against_published_values():
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_within_class_spread_by_hand():
    labels = torch.tensor([0, 0, 1, 1])
    pictures = torch.zeros(4, 1, 1, 2)
    pictures[1, 0, 0, 0] = 2.0  # class 0: variance 2 in one of two pixels; class 1: none
    assert within_class_spread(pictures, labels) == pytest.approx(((2 / 2 + 0) / 2) ** 0.5)
    with pytest.raises(ValueError, match="at least two images"):
        within_class_spread(pictures, torch.tensor([0, 0, 0, 1]))


def test_collapse_is_seen_by_spread_alone(stand_in):
    x, label = stand_in[:500]
    first = torch.stack([x[label == n][0] for n in range(10)])
    assert within_class_spread(first[label], label) == pytest.approx(0, abs=1e-6)
    assert within_class_spread(x, label) > 0.1


def test_nearest_neighbours(stand_in):
    x, _ = stand_in[:50]
    distance, index = nearest_neighbours(x[[3, 7]] + 0.01, x)
    assert index.tolist() == [3, 7]
    assert distance.tolist() == pytest.approx([0.28, 0.28], abs=0.01)  # 0.01 in each of 784 pixels


def test_scores_of_real_digits_stand_beside_their_floor(mnist):
    classifier = load_classifier()
    test, train = mnist["test"].take(400), mnist["train"].take(1500)
    judge = Judge(classifier, test=test, train=train)
    floor = judge.floor(200)
    assert floor.agreement > 0.97
    assert floor.spread == pytest.approx(1, abs=0.05)
    x, label = test[:200]
    noisy = judge.score((x + 0.5 * torch.randn_like(x)).clamp(-1, 1), label)
    assert noisy.frechet > floor.frechet
    assert judge.floor(200) == floor  # nothing of one set is left in the next
    plain = frechet_distance(classifier, x, test[1::2][0])
    assert judge.score(x, label).frechet == pytest.approx(plain, rel=1e-5)
    assert noisy.nearest > floor.nearest
    text = table({"real digits": floor, "noisy": noisy})
    assert "real digits" in text.splitlines()[1]
    assert len({len(line) for line in text.splitlines()}) == 1


def drawn_digits(count, seed):
    """Random pictures, all different, labelled 0 ... 9 in an order of no use."""
    draw = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (count, 1, 28, 28), generator=draw, dtype=torch.uint8)
    return Digits(pictures, torch.arange(count).div(2, rounding_mode="floor").remainder(10), "drawn")


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return Judge(DigitClassifier().eval(), test=drawn_digits(160, 0), train=drawn_digits(80, 1), neighbours=20)


def test_the_floor_is_drawn_from_the_half_that_is_no_reference(judge, monkeypatch):
    asked, score = [], judge.score
    monkeypatch.setattr(judge, "score", lambda *given: asked.append(given) or score(*given))
    judge.floor(60)
    [(pictures, labels)] = asked
    assert labels.tolist() == list(range(10)) * 6
    every, _ = judge.test[:]
    place = torch.stack([(every == picture).flatten(1).all(dim=1).nonzero().squeeze() for picture in pictures])
    assert (place % 2 == 0).all()  # every second one from 1 on is the reference
    assert torch.equal(judge.test.labels[place], labels)
    assert len(place.unique()) == 60
    assert place.max() >= 140  # evenly from the whole set
    assert place.min() < 20


def test_spread_is_a_share_of_the_real_digits(judge):
    real, labels = judge.test[1::2]
    for factor in (1.0, 0.5):
        assert judge.score(real * factor, labels).spread == pytest.approx(factor, rel=1e-5)


def test_a_score_holds_each_metric_of_the_same_images(judge):
    judge.score(*drawn_digits(30, 3)[:])  # nothing of these is left in the next
    pictures, labels = drawn_digits(40, 2)[:]
    scores = judge.score(pictures, labels)
    with torch.no_grad():
        read = judge.classifier(pictures).argmax(dim=1)
    agreement = sum(int(a == b) for a, b in zip(read, labels, strict=True)) / 40
    assert scores.agreement == pytest.approx(agreement)
    assert (scores.agreement_low, scores.agreement_high) == pytest.approx(wilson_interval(agreement, 40))
    nearest = [min((p - q).square().sum().sqrt() for q in judge.training[:][0]).item() for p in pictures[:20]]
    assert scores.nearest == pytest.approx(sorted(nearest)[9], rel=1e-4)  # torch's median is the lower one
    assert scores.count == 40
    assert scores.frechet == pytest.approx(frechet_distance(judge.classifier, pictures, judge.test[1::2][0]), rel=1e-4)


def test_the_judge_looks_at_20_000_training_images_and_few_neighbours(judge):
    many = Digits(torch.zeros(20_001, 1, 28, 28, dtype=torch.uint8), torch.zeros(20_001, dtype=torch.int64), "none")
    assert len(Judge(judge.classifier, test=judge.test, train=many).training) == 20_000


def test_agreement_is_the_share_of_labels_read():
    class Reader(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(x[:, 0, 0, 0].long(), 10).float()

    pictures = torch.tensor([3.0, 4.0, 5.0, 6.0]).view(4, 1, 1, 1)
    assert label_agreement(Reader(), pictures, torch.tensor([3, 4, 5, 0])) == 0.75


def test_within_class_spread_counts_classes_equally():
    pictures = torch.zeros(6, 1, 1, 1)
    pictures[1] = 2.0  # class 0: variance 2; class 1, twice as many images: none
    assert within_class_spread(pictures, torch.tensor([0, 0, 1, 1, 1, 1])) == pytest.approx(1.0)
