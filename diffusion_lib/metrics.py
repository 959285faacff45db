"""Numbers that judge samples, each printed beside the same number for real images.

A picture grid flatters and a single number can be gamed: a sampler that draws one perfect 3 for every 3
has full label agreement. So agreement always stands beside within-class spread, and both beside their floor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lib.data import Digits
from diffusion_lib.profiles import DataConfig
from diffusion_lib.shapes import Images, Labels

Features = Float[Tensor, "count feature"]
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
    """The metrics of one set of labelled images."""

    agreement: float  # share of images that the classifier reads as their label, 0 ... 1
    agreement_low: float  # 95 % Wilson interval
    agreement_high: float
    spread: float  # within-class spread, as a share of real digits'
    frechet: float  # Fréchet distance on the classifier's features
    nearest: float  # median distance to the nearest training image
    count: int

    def row(self, name: str) -> str:
        """One line of the table that :func:`table` prints."""
        interval = f"{self.agreement_low:.1%} - {self.agreement_high:.1%}"
        return (
            f"{name:<24}{self.count:>7}{self.agreement:>11.1%}  {interval:<16}{self.spread:>8.3f}"
            f"{self.frechet:>10.2f}{self.nearest:>10.2f}"
        )


def table(rows: dict[str, Scores]) -> str:
    """The scores as fixed-width text, one row each."""
    head = f"{'':<24}{'images':>7}{'agreement':>11}  {'95 % interval':<16}{'spread':>8}{'Fréchet':>10}{'nearest':>10}"
    return "\n".join([head, *(scores.row(name) for name, scores in rows.items())])


@torch.no_grad()
def in_batches(function: Callable[[Tensor], Tensor], images: Images, size: int = 500) -> Tensor:
    """``function`` applied to slices of ``images``, the results joined."""
    return torch.cat([function(part) for part in images.split(size)])


def label_agreement(classifier: nn.Module, images: Images, labels: Labels) -> float:
    """The share of images that the classifier reads as their label, 0 ... 1."""
    return (in_batches(classifier, images).argmax(dim=1) == labels).float().mean().item()


def wilson_interval(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share measured on ``count`` images (Wilson 1927)."""
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def within_class_spread(images: Images, labels: Labels) -> float:
    """How much images of one label differ: the root of the mean within-class pixel variance.

    Classes count equally, and each needs at least two images. 0 means that every 3 is the same 3.
    """
    counts = torch.bincount(labels, minlength=int(labels.max()) + 1)
    if bool(((counts > 0) & (counts < 2)).any()):
        raise ValueError(f"each label needs at least two images, but the counts are {counts.tolist()}.")
    classes = [images[labels == label].flatten(1) for label in labels.unique()]
    return torch.stack([c.var(dim=0).mean() for c in classes]).mean().sqrt().item()


def frechet_distance(classifier: DigitClassifier, images: Images, real: Others) -> float:
    """Fréchet distance between two sets of images on the classifier's features (Heusel et al. 2017).

    It shrinks with the number of images: compare equal counts only.
    """
    return _distance_to(_reference(classifier, real), images)


def _reference(classifier: DigitClassifier, real: Others) -> Any:
    """torchmetrics' Fréchet distance with the features of ``real`` in it."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_FeatureExtractor(classifier), reset_real_features=False)
    for part in real.split(500):
        metric.update(part, real=True)
    return metric


def _distance_to(reference: Any, images: Images) -> float:
    reference.reset()  # forgets the last images, not the real ones
    for part in images.split(500):
        reference.update(part, real=False)
    return reference.compute().item()


class _FeatureExtractor(nn.Module):
    """Features from the device of the images, sums of them on the CPU: they are float64, and Apple's GPUs take none."""

    num_features = DigitClassifier.num_features

    def __init__(self, classifier: DigitClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    @torch.no_grad()
    def forward(self, images: Images) -> Features:
        return self.classifier.features(images).cpu()


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


class Judge:
    """Scores samples against real digits, which it looks at once.

    Spread and Fréchet distance are taken against every second ``test`` digit. The first ``neighbours`` samples are
    searched for their nearest among the first 20,000 ``train`` images.
    """

    def __init__(self, classifier: DigitClassifier, *, test: Digits, train: Digits, neighbours: int = 200) -> None:
        self.classifier, self.test, self.neighbours = classifier, test, neighbours
        self.training = train.take(20_000)
        _check_counts(test)
        real, real_labels = test[1::2]
        self.real_spread = within_class_spread(real, real_labels)
        self.reference = _reference(classifier, real)

    def score(self, images: Images, labels: Labels) -> Scores:
        """All metrics of ``images``, (B, C, H, W) in [-1, 1], drawn as ``labels``, (B,)."""
        agreement = label_agreement(self.classifier, images, labels)
        low, high = wilson_interval(agreement, len(images))
        distances, _ = nearest_neighbours(images[: self.neighbours], self.training[:][0])
        return Scores(
            agreement=agreement,
            agreement_low=low,
            agreement_high=high,
            spread=within_class_spread(images, labels) / self.real_spread,
            frechet=_distance_to(self.reference, images),
            nearest=distances.median().item(),
            count=len(images),
        )

    def floor(self, count: int) -> Scores:
        """The same scores for ``count`` real images, as many of each label: the best that a model can hope for.

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
