"""The exercises: which functions of the library a student writes, and where the course teaches them.

The library is the answer key. What each exercise is worth stands in ``homework/assignment.toml``.
"""

import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusion_lib.homework.questions import Question, load_questions
from diffusion_lib.homework.rules import Late, Rules


@dataclass(frozen=True)
class Exercise:
    """One function to write."""

    number: str
    name: str  # what ``check`` takes
    target: str  # "module:function" or "module:Class.method"
    notebook: str
    reread: str  # the section that teaches it
    task: str  # what the stub says
    begins: str = ""  # with this statement the student's part begins; by default with the first
    shown: str = ""  # what the notebook shows in place of the function itself
    after: str = ""  # where no cell shows it, or cells call it sooner: the section at whose end it stands, not reread's
    gives_away: tuple[str, ...] = ()  # ids of cells that students get after the deadline where this is handed out

    @property
    def module(self) -> str:
        """Module name: "diffusion_lib.diffusion"."""
        return self.target.partition(":")[0]

    @property
    def path(self) -> str:
        """The module's file, as a path inside a hand-in: "diffusion_lib/diffusion.py"."""
        return self.module.replace(".", "/") + ".py"

    @property
    def attribute(self) -> str:
        """Name inside the module: "q_sample" or "ResBlock.forward"."""
        return self.target.partition(":")[2]


EXERCISES = (
    Exercise(
        "1.1", "q_sample", "diffusion_lib.diffusion:q_sample", "01_forward_process", "01, 1.3 All steps at once",
        "return x_t, the clean images noised to level t in one step (DDPM eq. 4)",
    ),
    Exercise(
        "2.1", "ddpm_loss", "diffusion_lib.diffusion:ddpm_loss", "03_training_loss", "03, 3.2 Algorithm 1",
        "draw t and noise where they are None, noise the images, and return the loss of Algorithm 1 as a scalar",
    ),
    Exercise(
        "3.1", "p_sample", "diffusion_lib.diffusion:p_sample", "04_reverse_sampling", "04, 4.2 One step back",
        "return x_{t-1}: line 4 of Algorithm 2, for a whole batch of levels t",
    ),
    Exercise(
        "P.1", "timestep_embedding", "diffusion_lib.embeddings:timestep_embedding", "02_embeddings_and_unet",
        "02, 2.3 A timestep as a vector of waves",
        "return the sines, then the cosines, of t at dim / 2 frequencies",
    ),
    Exercise(
        "P.2", "res_block", "diffusion_lib.unet:ResBlock.forward", "02_embeddings_and_unet",
        "02, 2.4 Time enters as one bias per channel",
        "two convolutions with the time bias between them, and the shortcut",
    ),
    Exercise(
        "P.3", "attention", "diffusion_lib.unet:Attention.forward", "02_embeddings_and_unet",
        "02, 2.5 The label enters by cross-attention",
        "attention of each head (Vaswani et al. 2017, eq. 1), then the output layer",
        shown="SpatialTransformer.forward",
    ),
    Exercise(
        "P.4", "ddim_step", "diffusion_lib.diffusion:ddim_step", "04_reverse_sampling", "04, 4.4 Fewer steps: DDIM",
        "jump from level t to level t_prev (DDIM eq. 12 and 16); t_prev = -1 is the clean image",
    ),
    Exercise(
        "P.5", "guided", "diffusion_lib.guidance:guided", "06_guidance",
        "06, 6.2 Steering by the difference",
        "return a function of x and t that gives the guided noise (Ho and Salimans 2022, eq. 6, with scale = 1 + w)",
    ),
    Exercise(
        "P.6", "label_tokens", "diffusion_lib.embeddings:LabelEmbedding.forward", "02_embeddings_and_unet",
        "02, 2.5 The label enters by cross-attention",
        "look each label up, None as the null label, and return its context tokens",
    ),
    Exercise(
        "P.7", "decoder", "diffusion_lib.unet:UNet.forward", "02_embeddings_and_unet",
        "02, 2.1 The whole network, with shapes",
        "from the lowest stage to the predicted noise: the middle, the way up with its skips, the output",
        begins="h = self.middle1",
    ),
    Exercise(
        "P.8", "flow_loss", "diffusion_lib.flow:flow_loss", "08_straight_paths", "08, 8.1 A line from image to noise",
        "find each image's point on its line, and return the mean squared error of the guessed velocity",
    ),
    Exercise(
        "P.9", "euler_step", "diffusion_lib.flow:euler_step", "08_straight_paths", "08, 8.1 A line from image to noise",
        "walk from tau to tau_next along the velocity; each may be a number, or one for each image",
    ),
    Exercise(
        "P.10", "inpaint_step", "diffusion_lib.editing:inpaint_step", "10_what_people_do",
        "10, 10.1 Known pixels, put back",
        "put the known pixels back into x_prev, noised to the level t_prev at which it has arrived",
        gives_away=("10-04", "10-05"),
    ),
    Exercise(
        "P.11", "encode_scaled", "diffusion_lib.latents:encode_scaled", "09_labels_to_words",
        "09, 9.9 Broken on purpose: latents that are not scaled",
        "return the means that the encoder gives, brought to variance 1 by the scale",
        after="9.4 Broken on purpose: word order lost",
    ),
)  # fmt: skip
BY_NAME = {exercise.name: exercise for exercise in EXERCISES}
REREAD = {exercise.name: exercise.reread for exercise in EXERCISES}
TESTABLE = ("q_sample", "ddpm_loss", "p_sample")  # for which students can be asked to write tests
LEAST_PHRASE = 12
TESTS_FILE = "tests_by_me.py"  # where they write them, beside the folder diffusion_lib


def get(name: str) -> Exercise:
    """The exercise called ``name``."""
    if name not in BY_NAME:
        raise ValueError(f"there is no exercise {name!r}; choose one of {', '.join(BY_NAME)}.")
    return BY_NAME[name]


def find(module: Any, attribute: str) -> Any:
    """``module.attribute``, where the attribute may have dots."""
    found = module
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


@dataclass(frozen=True)
class Assignment:
    """What ``assignment.toml`` says, titles, deadline, points, rules, and the questions that it asks."""

    title: str
    deadline: str
    exercises: Mapping[str, float]  # name -> points, of the exercises that are taken out of the library
    tests: Mapping[str, float]  # name -> points, of the exercises for which students write tests
    questions: Mapping[str, Question]  # id -> question; none in a student's copy, which has no file of them
    rules: Rules
    layers: Mapping[str, float]  # "S", "G", "T" -> share of an exercise's points
    named_mistake: float  # share of the points for code whose only fault is one mistake of the catalogue
    source: str  # the file's text
    late: Late = field(default_factory=Late)
    variants: str = ""  # a phrase that only the teacher knows: other numbers for each student; empty: the same for all

    @property
    def written(self) -> dict[str, tuple[str, float, str]]:
        """The written parts: id -> (question, points, notebook)."""
        return {name: (asked.question, asked.points, asked.notebook) for name, asked in self.questions.items()}

    @property
    def points(self) -> float:
        """The points of everything together."""
        return sum(self.by_machine.values()) + sum(points for _, points, _ in self.written.values())

    @property
    def published(self) -> str:
        """The file's text as students get it, without the phrase of ``variants``; ValueError where it would show."""
        text = re.sub(r"(?m)^variants[ \t]*=.*$", 'variants = ""', self.source)
        if self.variants and self.variants in text:
            raise ValueError("the phrase of variants stands somewhere else in the assignment's file too: change it.")
        return text

    @property
    def by_machine(self) -> dict[str, float]:
        """What no person marks: the exercises, then the tests of some, "q_sample_tests"."""
        return {**self.exercises, **{tests_name(name): points for name, points in self.tests.items()}}


def tests_name(exercise: str) -> str:
    """What the tests of an exercise are called in a table of results."""
    return f"{exercise}_tests"


def load_assignment(path: Path) -> Assignment:
    """Read and check ``assignment.toml``; raises ValueError that says what to repair."""
    questions = _questions(path)
    try:
        assignment = _assignment(path.read_text(encoding="utf-8"), questions)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from error
    except KeyError as error:
        raise ValueError(f"{path} lacks the entry {error}.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} has a value of the wrong kind: {error}.") from error
    unknown = set(assignment.exercises) - set(BY_NAME)
    if unknown:
        raise ValueError(f"{path} names unknown exercises {sorted(unknown)}; choose from {', '.join(BY_NAME)}.")
    if untestable := set(assignment.tests) - set(TESTABLE):
        raise ValueError(f"{path} asks for tests of {sorted(untestable)}; they can be of {', '.join(TESTABLE)}.")
    layers, named = assignment.layers.values(), assignment.named_mistake
    worth = [*assignment.by_machine.values(), *layers]
    if min(worth) < 0 or not 0 <= named <= 1 or abs(sum(layers) - 1) > 1e-9:
        raise ValueError(f"{path}: points must not be negative, named_mistake lies in 0 ... 1, layers add up to 1.")
    return assignment


def _questions(path: Path) -> dict[str, Question]:
    """All questions: those beside the assignment's file, or else the repository's; none in a student's copy."""
    places = (path.with_name("questions.toml"), tree() / "homework" / "questions.toml")
    return next((load_questions(place) for place in places if place.exists()), {})


def _asked(names: Any, questions: Mapping[str, Question]) -> dict[str, Question]:
    """The questions that ``written`` names, in its order."""
    if not isinstance(names, list):
        raise ValueError('written is a list of questions of questions.toml, such as written = ["latent"]')
    unknown = [str(name) for name in names if name not in questions]
    if unknown and questions:
        raise ValueError(f"written names {', '.join(unknown)}; questions.toml has {', '.join(questions)}")
    return {name: questions[name] for name in names if name in questions}


def _assignment(text: str, questions: Mapping[str, Question]) -> Assignment:
    """The file's values as they stand."""
    table = tomllib.loads(text)
    exercises = table[table.get("set", "exercises")].items()
    return Assignment(
        title=str(table["title"]),
        deadline=str(table["deadline"]),
        exercises={name: float(entry["points"]) for name, entry in exercises},
        tests={name: float(entry["tests"]) for name, entry in exercises if "tests" in entry},
        questions=_asked(table.get("written", []), questions),
        rules=Rules.read(table.get("rules", {})),
        layers={layer: float(table["credit"]["layers"][layer]) for layer in ("S", "G", "T")},
        named_mistake=float(table["credit"]["named_mistake"]),
        source=text,
        late=Late.read(table.get("late", {})),
        variants=_phrase(table.get("variants", "")),
    )


def _phrase(value: Any) -> str:
    """The phrase of ``variants``: nothing, or long enough that nobody guesses it."""
    if not isinstance(value, str) or 0 < len(value) < LEAST_PHRASE:
        raise ValueError(f'variants is {value!r}; accepted: "", or a phrase of {LEAST_PHRASE} letters or more')
    return value


def tree() -> Path:
    """The folder that holds ``diffusion_lib``: the repository, or a student's copy."""
    return Path(sys.modules["diffusion_lib"].__file__ or "").resolve().parent.parent


def assignment_path() -> Path:
    """``assignment.toml`` of the repository (homework/) or of a student's copy (at the top)."""
    top = tree() / "assignment.toml"
    return top if top.exists() else tree() / "homework" / "assignment.toml"
