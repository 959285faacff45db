"""Ask a student's function what an exercise asks, and say what its answers are worth."""

from importlib import import_module

from diffusion_lib.homework.checks import Verdict, judge
from diffusion_lib.homework.exercises import Assignment, Exercise, tree
from diffusion_lib.homework.finding import definitions, parsed
from diffusion_lib.homework.records import Record
from grader.hand_ins import HandIn
from grader.sandbox.client import ENDLESS, Ran, Sandbox


def credit(verdict: Verdict, worth: float, assignment: Assignment) -> float:
    """Points for a verdict: all, or part for one named mistake, or part for each layer that passes."""
    if verdict.passed:
        return worth
    if len(verdict.mistakes) == 1:
        return worth * assignment.named_mistake
    if not verdict.layers.get("S") and not verdict.layers.get("G"):
        return 0.0  # a trace alone says nothing: returning the input would pass it
    present = {layer: assignment.layers[layer] for layer in verdict.layers}
    passed = sum(share for layer, share in present.items() if verdict.layers[layer])
    return worth * passed / sum(present.values())


def answered(hand_in: HandIn, exercise: Exercise, assignment: Assignment, record: Record, sandbox: Sandbox) -> Verdict:
    """As it runs at home; where that is not right, among the library's functions, so that no mistake counts twice.

    The other way round where a function of the hand-in is known to give no answer: this one may call it.
    """
    verdicts: dict[bool, Verdict] = {}
    for given in (True, False) if hand_in.unanswered else (False, True):
        ran = sandbox.run(exercise.name, hand_in.sources[exercise.path], hand_in.beside, given=given)
        hand_in.notes += [note for note in ran.notes if note not in hand_in.notes]
        if ran.seen is None:
            verdicts[given] = Verdict(exercise.name, False, problem=ran.problem)
            if ran.stuck:
                hand_in.is_stuck(exercise.path, ran.problem)
            hand_in.unanswered |= bool(ran.ended)
            if not _elsewhere(ran, exercise, hand_in.sources[exercise.path]):
                break
            continue
        verdicts[given] = judge(exercise, ran.seen, record)
        if verdicts[given].passed:
            break
    # of two that are worth the same, the one among the library's functions says more, and of two problems the other
    return max(
        (verdicts[given] for given in (False, True) if given in verdicts),
        key=lambda v: (credit(v, 1.0, assignment), not v.problem, (v is verdicts.get(True)) != bool(v.problem)),
    )


def _elsewhere(ran: Ran, exercise: Exercise, source: str) -> bool:
    """Was it, as far as is known, another function that gave no answer, for which the library's can stand in?"""
    if not ran.ended.startswith(ENDLESS):
        return bool(ran.ended)  # nothing tells where a program was ended; but that is soon asked again
    file, line = ran.where or ("", 0)
    if file != exercise.path:
        return file.startswith("diffusion_lib/") and (tree() / file).is_file()
    inside = {name for name in vars(import_module(exercise.module)) for f in definitions(parsed(source), name)
              if f.lineno <= line <= (f.end_lineno or line)}  # fmt: skip
    return bool(inside - {exercise.attribute})
