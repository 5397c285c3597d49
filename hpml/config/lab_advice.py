"""Advice in the words of whoever reads it: what the lab starts is asked for by the lab's keys."""

import os
import re

LAB = "HPML_LAB"  # set in what the lab starts
# What a command advises, and what asks the lab for the same.
IN_THE_LAB = {
    "sweep seed=0,1,2": "lab.seeds=3 repeats each",
    "sweep.on_disturbance=rerun, with the same sweep.name,": "lab.again=true",
    "give another sweep.name": "give another lab.name",
    "workers.rounds={}": "+workers.rounds={} under another lab.name",
    "workers.budget_s={}": "+workers.budget_s={} under another lab.name",
    "diagnose.budget_s={}": "+diagnose.budget_s={} under another lab.name",
}


def in_the_lab() -> bool:
    return LAB in os.environ


def advised(words: str) -> str:
    """These words, one of IN_THE_LAB, or what says the same in a process of the lab's."""
    return IN_THE_LAB[words] if in_the_lab() else words


def of_the_lab(sentence: str) -> str:
    """A sentence that a command has kept, with what the lab advises in place of its own advice."""
    for words, labs in IN_THE_LAB.items():
        pattern = re.escape(words).replace(re.escape("{}"), r"(\d+)")
        sentence = re.sub(rf"(?<!\+){pattern}", labs.replace("{}", r"\1"), sentence)
    return sentence
