from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import images

from diffusion_lib.data import Digits
from diffusion_lib.metrics import (
    DigitClassifier,
    Judge,
    Scores,
    copied,
    frechet_distance,
    frechet_parts,
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


def cloud(mean, axes):
    """Points mean ± each row of ``axes``: their mean and covariance are known exactly."""
    axes = torch.as_tensor(axes, dtype=torch.float64)
    return torch.as_tensor(mean, dtype=torch.float64) + torch.cat([axes, -axes])


def covariance(axes):
    """That covariance, unbiased."""
    axes = torch.as_tensor(axes, dtype=torch.float64)
    return 2 * axes.T @ axes / (2 * len(axes) - 1)


def test_the_parts_of_a_frechet_distance_in_closed_form():
    # Σ and Σ_r diagonal: the covariance part is the sum of squared differences of standard deviations.
    one, other = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 2.0, 1.0]).double()
    turn = torch.linalg.qr(images(3, 3))[0]
    factor = 2 / (2 * 3 - 1)
    expected = (9 + 16, factor * (one - other).square().sum().item())
    points = cloud([3.0, 0.0, 0.0], one.diag()), cloud([0.0, 4.0, 0.0], other.diag())
    assert tuple(frechet_parts(*points)) == pytest.approx(expected)
    assert tuple(frechet_parts(*(p @ turn for p in points))) == pytest.approx(expected)  # no direction is special
    assert frechet_parts(*points).whole == pytest.approx(sum(expected))
    # One dimension: (μ − μ_r)² and (σ − σ_r)².
    assert tuple(frechet_parts(cloud([1.0], [[2.0]]), cloud([-1.0], [[0.5]]))) == pytest.approx((4, 2 * 1.5**2))


def test_the_covariance_part_of_two_clouds_that_share_no_axes():
    # In two dimensions tr(M^½) = √(tr M + 2 √det M), for M = Σ Σ_r.
    one, other = [[2.0, 1.0], [0.0, 1.0]], [[1.0, -1.5], [0.5, 1.0]]
    a, b = covariance(one), covariance(other)
    assert not torch.allclose(a @ b, b @ a)
    root = ((a @ b).trace() + 2 * (a @ b).det().sqrt()).sqrt()
    expected = (a.trace() + b.trace() - 2 * root).item()
    assert tuple(frechet_parts(cloud([0, 0], one), cloud([0, 0], other))) == pytest.approx((0, expected))
    with pytest.raises(ValueError, match="at least two points, but there are 1 and 4"):
        frechet_parts(cloud([0, 0], one)[:1], cloud([0, 0], other))


def test_frechet_distance_equals_that_of_another_library():
    from torchmetrics.image.fid import FrechetInceptionDistance

    torch.manual_seed(0)
    classifier = DigitClassifier().eval()
    a, b = images(300, 1, 28, 28, dtype=torch.float32), images(300, 1, 28, 28, seed=1, dtype=torch.float32) * 0.7 + 0.2

    class Extractor(torch.nn.Module):
        num_features = DigitClassifier.num_features

        def forward(self, x):
            return classifier.features(x)

    theirs = FrechetInceptionDistance(feature=Extractor())
    with torch.no_grad():
        theirs.update(a, real=False)
        theirs.update(b, real=True)
    assert frechet_distance(classifier, a, b) == pytest.approx(theirs.compute().item(), rel=1e-4)
    assert frechet_distance(classifier, a, a) == pytest.approx(0, abs=1e-6)


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


def test_a_copy_is_far_nearer_to_one_training_image_than_to_any_other():
    """Training images 12 apart on a line: a third of the way to the second nearest lies 3 from the nearest."""
    training = torch.tensor([[0.0, 0.0], [12.0, 0.0], [0.0, 40.0]]).view(3, 1, 1, 2)
    points = torch.tensor([[0.0, 0.0], [2.9, 0.0], [3.1, 0.0], [6.0, 0.0], [12.5, 0.0], [0.0, 39.0], [1e-4, 0.0]])
    told = copied(points.view(7, 1, 1, 2), training)
    assert told.tolist() == [True, True, False, False, True, True, True]
    assert copied(points.view(7, 1, 1, 2), training, 0.5).tolist() == [True, True, True, False, True, True, True]


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


def test_a_score_splits_the_distance_and_measures_the_features_of_each_label(judge):
    pictures, labels = drawn_digits(40, 2)[:]
    scores = judge.score(pictures, labels)
    assert scores.frechet_mean + scores.frechet_covariance == pytest.approx(scores.frechet)
    with torch.no_grad():
        ours, theirs = (judge.classifier.features(x).double().numpy() for x in (pictures, judge.test[1::2][0]))
    assert scores.frechet_mean == pytest.approx(((ours.mean(0) - theirs.mean(0)) ** 2).sum(), rel=1e-4)

    def spread(features, labels):
        return np.sqrt(np.mean([features[labels == n].var(axis=0, ddof=1) for n in range(10)]))

    expected = spread(ours, labels.numpy()) / spread(theirs, judge.test[1::2][1].numpy())
    assert scores.feature_spread == pytest.approx(expected, rel=1e-4)


def test_a_table_leaves_out_what_no_row_has():
    old = Scores(0.9, 0.8, 0.95, 1.0, 12.0, 9.0, 40)
    new = replace(old, feature_spread=0.5, frechet_mean=2.0, frechet_covariance=10.0)
    assert "covariance" not in table({"old": old})
    gaps = ["old", "40", "90.0%", "80.0%", "-", "95.0%", "1.000", "-", "12.00", "-", "-", "9.00"]
    assert table({"old": old, "new": new}).splitlines()[1].split() == gaps
    assert "0.500" in table({"new": new})


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
