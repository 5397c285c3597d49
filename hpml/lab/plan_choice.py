"""Which plan a start of the lab follows: the one that is under way, or a new one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from hpml.formatting import duration_in_words
from hpml.lab.pilot import Pilot
from hpml.lab.plan import REPORT_S, Plan, least_min, parts_within, usable_s
from hpml.lab.state import State
from hpml.lab.tasks import Tasks, command_for


@dataclass(frozen=True)
class Decided:
    """A plan, and the tasks of the parts that are in it."""

    plan: Plan
    tasks: Tasks
    asked: dict[str, Any]
    left_out: dict[str, Any]  # the parts that do not fit, and the minutes that all would take
    spent_s: float = 0.0  # before it
    is_resumed: bool = False

    def lines(self, name: str) -> Iterator[str]:
        """What is to be done by the lab of a name; what it is bound to; what is left out."""
        yield from self.plan.lines()
        yield from self._kept(name)
        if parts := self.left_out["parts"]:
            command = command_for(self.tasks.typed, name, f"lab.parts=[{','.join(parts)}]")
            enough = f"lab.budget_min={self.left_out['least_min']} is enough for all"
            yield f"left out: {', '.join(parts).upper()}; {enough}. To run them: {command}"

    @property
    def facts(self) -> dict[str, Any]:
        """What a start after this one resumes with."""
        return {
            "asked": self.asked,
            "parts": self.tasks.chosen,
            "left_out": self.left_out,
            "limit": self.plan.limit,
            "rounds": self.tasks.worker_rounds,
            "search_s": self.tasks.search_s,
            "seconds": self.plan.seconds_in_all + self.spent_s,
        }

    def _kept(self, name: str) -> Iterator[str]:
        """What trainings take over from those before, for all of them are compared."""
        plan, tasks = self.plan, self.tasks
        if not (plan.is_fixed and tasks.trainings) or self.is_resumed:
            return
        if plan.limit:
            whole = whole_command(tasks.typed, name)
            yield f"trainings stay at epochs of {plan.length}, as those before; whole ones: {whole}"
        elif self.asked["budget_min"] is not None:
            yield "trainings stay as long as those that are there, whatever lab.budget_min is"
        if tasks.to_train_with != tasks.best:
            yield f"trainings stay with data.num_workers={tasks.to_train_with}, as those before"


def whole_command(typed: Sequence[str], name: str) -> str:
    """What runs a lab whose epochs a budget has shortened with whole ones, for a shell."""
    return command_for(typed, f"{name}-whole")


def decide(
    cfg: DictConfig, tasks: Tasks, state: State, pilots: dict[str, Pilot], spent_s: float
) -> Decided:
    """The plan of the last start, where it was for the same and is not carried out; or a new one.

    Of a budget some seconds are spent. Raises UserError where no part fits into it.
    """
    budget_min, is_fixed = cfg.lab.budget_min, state.has_begun
    asked = {"parts": tasks.chosen, "seeds": cfg.lab.seeds, "budget_min": budget_min}
    asked["again"] = cfg.lab.again
    tasks.limit, tasks.num_workers = map(state.of_trainings, ("limit", "num_workers"))
    if (kept := state.plan_of(asked, tasks.done)) is not None:
        tasks = tasks.of(kept["parts"])
        tasks.limit = kept["limit"]
        tasks.worker_rounds, tasks.search_s = kept["rounds"], kept.get("search_s")
        plan = Plan.of_lab(cfg, tasks, pilots, is_fixed)
        return Decided(plan, tasks, asked, kept["left_out"], is_resumed=True)

    def plan_of(parts: Sequence[str]) -> Plan:
        return Plan.of_lab(cfg, tasks.of(parts), pilots, is_fixed)

    plan, left_out = plan_of(tasks.chosen), {"parts": [], "least_min": 0}
    if budget_min is not None:
        budget_s = usable_s(budget_min) - spent_s
        if (every_s := plan.least_s) > budget_s:
            parts = parts_within(budget_min, tasks.chosen, plan_of, spent_s)
            out = [part for part in tasks.chosen if part not in parts]
            left_out = {"parts": out, "least_min": least_min(every_s + spent_s)}
            tasks, plan = tasks.of(parts), plan_of(parts)
        plan = plan.fitted(budget_s)
        tasks.worker_rounds, tasks.search_s = plan.rounds, plan.search_s
        tasks.limit = plan.limit
    return Decided(plan, tasks, asked, left_out, spent_s)


def shortened(cfg: DictConfig, plan: Plan, tasks: Tasks, spent_s: float) -> tuple[Plan, str]:
    """The plan of the trainings once all before them is done, and what it changes, in a sentence.

    They are as long as they were announced, and shorter where the budget would not do.
    """
    now = Plan.of_lab(cfg, tasks, plan.pilots, is_fixed=False)
    left_s = 60 * (cfg.lab.budget_min or 0) - spent_s - REPORT_S
    if cfg.lab.budget_min is None or now.trainings_s <= left_s:
        return now, ""
    short = now.with_trainings_in(left_s)
    if short.limit == now.limit:
        return now, ""
    left, whole, less = (
        duration_in_words(s)[6:] for s in (max(0.0, left_s), now.trainings_s, short.trainings_s)
    )
    return short, (
        f"epochs of {short.limit:,} instead of {now.length}: of lab.budget_min="
        f"{cfg.lab.budget_min:g} about {left} are left; the trainings would take about {whole}, "
        f"and now take about {less}"
    )
