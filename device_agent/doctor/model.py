"""Checks of the models on the shelf: whole, running, and one to fall back to."""

from device_agent.disk.shelf import Shelf
from device_agent.doctor.finding import Finding, Patient, fail, ok, skip, warn
from device_agent.errors import AgentError
from device_agent.loop.box import TryModel, try_model_in_child


def check_active(patient: Patient, try_model: TryModel = try_model_in_child) -> Finding:
    """Check that the active model has the bytes of its manifest, and answers in a child."""
    shelf = Shelf(patient.paths)
    model_id = shelf.active_id()
    if model_id is None:
        return skip("active model", "none yet")
    mend = _way_back(shelf)
    try:
        manifest, path = shelf.verified(model_id)
    except AgentError as exc:
        return fail("active model", str(exc), mend)
    trouble = try_model(path, manifest)
    if trouble is not None:
        return fail("active model", f"{model_id}: {trouble}", mend)
    accuracy = f"balanced accuracy {manifest.balanced_accuracy:.3f} on {manifest.n_test} images"
    return ok("active model", f"{model_id}: whole and answering; {accuracy}")


def _way_back(shelf: Shelf) -> str:
    return "device_agent once" if shelf.previous_id() is None else "device_agent rollback"


def check_previous(patient: Patient) -> Finding:
    """Check that the last known good model, which serves when the active one fails, is whole."""
    shelf = Shelf(patient.paths)
    model_id = shelf.previous_id()
    if shelf.active_id() is None:
        return skip("last known good", "no model is active")
    if model_id is None:
        return ok("last known good", "none yet: the active model is the first")
    try:
        shelf.verified(model_id)
    except AgentError as exc:
        return warn("last known good", str(exc), "device_agent once")
    return ok("last known good", f"{model_id}: whole")
