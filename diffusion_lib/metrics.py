"""Numbers that judge samples, each printed beside the same number for real images.

A picture grid flatters and a single number can be gamed: a sampler that draws one perfect 3 for every 3
has full label agreement. So agreement always stands beside the spread within a label, of pixels and of features, and
all of them beside their reference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lib.data import Digits
from diffusion_lib.profiles import DataConfig
from diffusion_lib.shapes import Images, Labels

Features = Float[Tensor, "count feature"]
Values = Float[Tensor, "batch *values"]
Others = Float[Tensor, "other channel height width"]


class DigitClassifier(nn.Module):
    """A small convolutional classifier; its last hidden layer gives the features of the Fréchet distance."""

    num_features = 128

    def __init__(self, channels: int = 1, size: tuple[int, int] = (28, 28), num_classes: int = 10) -> None:
        super().__init__()
        if min(size) < 4:
            raise ValueError(f"the classifier halves each side twice: 4 pixels are the least, but size is {size}.")
        pixels = (size[0] // 4) * (size[1] // 4)
        self.body = nn.Sequential(
            _conv(channels, 32), _conv(32, 32), nn.MaxPool2d(2), _conv(32, 64), _conv(64, 64), nn.MaxPool2d(2),
            _conv(64, 96), nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * pixels, self.num_features),
        )  # fmt: skip
        self.head = nn.Linear(self.num_features, num_classes)

    @classmethod
    def of(cls, data: DataConfig) -> "DigitClassifier":
        """One for images of that shape and those classes, untrained."""
        return cls(data.channels, data.size, data.num_classes)

    def features(self, images: Images) -> Features:
        """(B, C, H, W) in [-1, 1] -> (B, 128)."""
        return F.relu(self.body(images))

    def forward(self, images: Images) -> Float[Tensor, "count class"]:
        """(B, C, H, W) in [-1, 1] -> one score for each class, (B, number of classes)."""
        return self.head(self.features(images))


def _conv(in_channels: int, out_channels: int) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


@dataclass(frozen=True)
class Scores:
    """The metrics of one set of labelled images. The last three are None in files measured before there were any."""

    agreement: float  # share of images that the classifier reads as their label, 0 ... 1
    agreement_low: float  # 95 % Wilson interval
    agreement_high: float
    spread: float  # of the pixels within a class, as a share of real digits'
    frechet: float  # Fréchet distance on the classifier's features
    nearest: float  # median distance to the nearest training image
    count: int
    feature_spread: float | None = None  # of the features within a class, as a share of real digits'
    frechet_mean: float | None = None  # the two parts of the Fréchet distance
    frechet_covariance: float | None = None


COLUMNS: tuple[tuple[str, int, Callable[[Scores], str | None]], ...] = (  # head, width, entry
    ("images", 7, lambda s: str(s.count)),
    ("agreement", 11, lambda s: f"{s.agreement:.1%}"),
    ("95 % interval", 17, lambda s: f"{s.agreement_low:.1%} - {s.agreement_high:.1%}"),
    ("spread", 8, lambda s: f"{s.spread:.3f}"),
    ("of features", 13, lambda s: _rounded(s.feature_spread, 3)),
    ("Fréchet", 9, lambda s: _rounded(s.frechet, 2)),
    ("mean", 7, lambda s: _rounded(s.frechet_mean, 2)),
    ("covariance", 12, lambda s: _rounded(s.frechet_covariance, 2)),
    ("nearest", 9, lambda s: _rounded(s.nearest, 2)),
)


def _rounded(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def table(rows: dict[str, Scores]) -> str:
    """The scores as fixed-width text, one row each. A column that no row has is left out; a gap in one is a dash."""
    first = max(len(name) for name in rows)
    shown = [column for column in COLUMNS if any(column[2](scores) for scores in rows.values())]
    lines = [" " * first + "".join(f"{head:>{width}}" for head, width, _ in shown)]
    for name, scores in rows.items():
        lines.append(f"{name:<{first}}" + "".join(f"{entry(scores) or '-':>{width}}" for _, width, entry in shown))
    return "\n".join(lines)


@torch.no_grad()
def in_batches(function: Callable[[Tensor], Tensor], images: Images, size: int = 100) -> Tensor:
    """``function`` applied to slices of ``images``, the results joined; small ones stay in a CPU's cache."""
    return torch.cat([function(part) for part in images.split(size)])


def label_agreement(classifier: nn.Module, images: Images, labels: Labels) -> float:
    """The share of images that the classifier reads as their label, 0 ... 1."""
    return (in_batches(classifier, images).argmax(dim=1) == labels).float().mean().item()


def wilson_interval(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share measured on ``count`` images (Wilson 1927)."""
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def within_class_spread(values: Values, labels: Labels) -> float:
    """How much the members of one class differ: the root of the mean within-class variance.

    √( 1/(C D) · Σ_c Σ_j Var(x_j | c) )   over C classes and the D entries of each member

    ``values`` (B, ...) are images, or their features. Classes count equally, and each needs at least two members.
    0 means that every 3 is the same 3. Variances are unbiased, so the number of members hardly matters.
    """
    counts = torch.bincount(labels, minlength=int(labels.max()) + 1)
    if bool(((counts > 0) & (counts < 2)).any()):
        raise ValueError(f"each label needs at least two images, but the counts are {counts.tolist()}.")
    classes = [values[labels == label].flatten(1) for label in labels.unique()]
    return torch.stack([c.var(dim=0).mean() for c in classes]).mean().sqrt().item()


class Frechet(NamedTuple):
    """The Fréchet distance in its two parts."""

    mean: float  # ‖μ − μ_r‖²: the clouds stand apart
    covariance: float  # tr(Σ + Σ_r − 2 (Σ Σ_r)^½): they differ in width or direction

    @property
    def whole(self) -> float:
        """The distance itself, their sum."""
        return self.mean + self.covariance


def frechet_parts(features: Features, real: Float[Tensor, "other feature"]) -> Frechet:
    """The Fréchet distance, squared, of two clouds of points as if both were Gaussian (Heusel et al. 2017, eq. 6).

    d² = ‖μ − μ_r‖² + tr(Σ + Σ_r − 2 (Σ Σ_r)^½), which is called the distance wherever it is reported, as in FID

    ``features`` (N, F) and ``real`` (M, F), at least two of each. The covariance part is biased upwards for few
    points: compare equal counts only.
    """
    if min(len(features), len(real)) < 2:
        raise ValueError(f"a covariance needs at least two points, but there are {len(features)} and {len(real)}.")
    ours, theirs = features.double(), real.double()
    mean = (ours.mean(dim=0) - theirs.mean(dim=0)).square().sum().item()
    cov, cov_r = torch.atleast_2d(ours.T.cov()), torch.atleast_2d(theirs.T.cov())
    root = torch.linalg.eigvals(cov @ cov_r).sqrt().real.sum()  # the trace of (Σ Σ_r)^½
    return Frechet(mean, (cov.trace() + cov_r.trace() - 2 * root).item())


def frechet_distance(classifier: DigitClassifier, images: Images, real: Others) -> float:
    """Fréchet distance between two sets of images on the classifier's features (Heusel et al. 2017).

    It shrinks with the number of images: compare equal counts only.
    """
    return frechet_parts(_features(classifier, images), _features(classifier, real)).whole


def _features(classifier: DigitClassifier, images: Others) -> Float[Tensor, "other feature"]:
    """On the CPU: sums of them are in float64, which Apple's GPUs do not have."""
    return in_batches(classifier.features, images).cpu()


@torch.no_grad()
def nearest_neighbours(images: Images, training: Others) -> tuple[Float[Tensor, " count"], Tensor]:
    """For each image, the Euclidean pixel distance to its nearest training image, and that one's index.

    A copy has distance 0. The fast way, by a matrix product, cancels near 0: it only finds the four that are nearest.
    """
    flat, distances, indices = training.flatten(1), [], []
    for part in images.flatten(1).split(250):
        near = torch.cdist(part, flat).topk(min(4, len(flat)), largest=False).indices
        exact = torch.stack([(part - flat[column]).norm(dim=1) for column in near.T], dim=1)
        distance, place = exact.min(dim=1)
        distances.append(distance)
        indices.append(near.gather(1, place[:, None])[:, 0])
    return torch.cat(distances), torch.cat(indices)


@torch.no_grad()
def copied(images: Images, training: Others, share: float = 1 / 3) -> Bool[Tensor, " count"]:
    """Which images are copies: far nearer to one training image than to any other (Yoon et al. 2023).

    ‖x − x_near‖ < share · ‖x − x_second‖   with the nearest and the second nearest of ``training``, at least two
    """
    exact = "donot_use_mm_for_euclid_dist"  # the matrix product would lose the small distances of copies
    distances = torch.cdist(images.flatten(1), training.flatten(1), compute_mode=exact)
    near, second = distances.sort(dim=1).values[:, :2].unbind(dim=1)
    return near < share * second


class Judge:
    """Scores samples against real digits, which it looks at once.

    Both spreads and the Fréchet distance are taken against every second ``test`` digit. The first ``neighbours``
    samples are searched for their nearest among the first 20,000 ``train`` images.
    """

    def __init__(self, classifier: DigitClassifier, *, test: Digits, train: Digits, neighbours: int = 200) -> None:
        self.classifier, self.test, self.neighbours = classifier, test, neighbours
        self.training = train.take(20_000)
        _check_counts(test)
        real, real_labels = test[1::2]
        self.real_spread = within_class_spread(real, real_labels)
        self.real_features = _features(classifier, real)
        self.real_feature_spread = within_class_spread(self.real_features, real_labels.cpu())

    def score(self, images: Images, labels: Labels) -> Scores:
        """All metrics of ``images``, (B, C, H, W) in [-1, 1], drawn as ``labels``, (B,)."""
        agreement = label_agreement(self.classifier, images, labels)
        low, high = wilson_interval(agreement, len(images))
        distances, _ = nearest_neighbours(images[: self.neighbours], self.training[:][0])
        features = _features(self.classifier, images)
        frechet = frechet_parts(features, self.real_features)
        return Scores(
            agreement=agreement,
            agreement_low=low,
            agreement_high=high,
            spread=within_class_spread(images, labels) / self.real_spread,
            frechet=frechet.whole,
            nearest=distances.median().item(),
            count=len(images),
            feature_spread=within_class_spread(features, labels.cpu()) / self.real_feature_spread,
            frechet_mean=frechet.mean,
            frechet_covariance=frechet.covariance,
        )

    def floor(self, count: int) -> Scores:
        """The same scores for ``count`` real images, as many of each label: the reference, which samples can pass.

        They are test digits that :meth:`score` does not compare with, evenly from the whole set: the first half of
        MNIST's test digits is neater than the second.
        """
        images, labels = self.test[0::2]
        classes = [(labels == label).nonzero().flatten() for label in range(self.test.config.num_classes)]
        # Labels in turn, as samples are drawn: only the first images are searched for their nearest neighbours.
        places = [c[torch.linspace(0, len(c) - 1, count // len(classes)).long()] for c in classes]
        chosen = torch.stack(places, dim=1).flatten()
        return self.score(images[chosen], labels[chosen])


def _check_counts(test: Digits) -> None:
    """Each half of the test images, every second, needs two of each class."""
    counts = test.labels.bincount(minlength=test.config.num_classes)
    if int(counts.min()) < 4:
        name = test.config.class_names[int(counts.argmin())]
        raise ValueError(
            f"judging takes at least four test images of each class, but of {name} there are {int(counts.min())}. "
            "In a folder every fifth image is for testing, so each class needs 20."
        )
