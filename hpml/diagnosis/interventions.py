"""What each trial of a diagnosis takes out of the job."""

from hpml.diagnosis.trial_figures import AGAIN, AS_IT_IS, LOADER_ALONE, ONE_THREAD
from hpml.trials.intervention import Intervention

INTERVENTIONS = {
    AS_IT_IS: Intervention(),
    ONE_THREAD: Intervention(threads=1),
    "loading_free": Intervention(loading=True),
    "transfer_free": Intervention(transfer=True),
    "compute_free": Intervention(compute=True),
    "hooks_free": Intervention(hooks=True),
    "communication_free": Intervention(communication=True),
    "host_alone": Intervention(loading=True, compute=True, communication=True),
    "loop_alone": Intervention(
        loading=True, transfer=True, compute=True, hooks=True, communication=True
    ),
    AGAIN: Intervention(),
}
# Trials that every job can do; of the others a module or a callback may need what is taken out.
ESSENTIAL = (AS_IT_IS, AGAIN, "loading_free", LOADER_ALONE, "with_all")
